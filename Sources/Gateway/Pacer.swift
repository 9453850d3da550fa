// A rate for what leaves for one peer, and what waits because of it: a token bucket over whole IP packets, and a queue of
// frames for each class. Frames wait, not sealed datagrams: what waits can still be overtaken by what is more urgent, and no
// number of the stream is used before its turn.
//
//     frame --> credit, and nobody of its class or above waits? --yes--> packer
//                    | no
//                    +--> queue of its class --- release: feed, normal, bulk ---> packer

import Basics
import Buffers

struct Pacer: ~Copyable {
    /// Bits a second, IP headers included; 0 for no limit.
    let rate: Int64
    /// In thousand-millionths of a bit, which a bit a second gains in a nanosecond. Below zero by what was sent too early.
    private(set) var credit: Int64
    /// The most that is saved up.
    private let depth: Int64
    /// What a release waits for, so that it fills a datagram and does not come too often.
    private let quantum: Int64
    private var filled = Instant.zero
    /// Octets that were taken from the credit since `settle`, before anybody knew what they would come to in datagrams.
    private var charged = 0
    /// By the raw value of the class, without control's.
    private var queues: FixedArray<FrameRing>
    /// When the next frame that waits may leave.
    private(set) var releaseAt = Instant.distantFuture

    /// How long a full queue takes to leave, by class: feeds are worthless when late.
    static func patience(_ trafficClass: TrafficClass) -> Interval {
        switch trafficClass {
        case .control, .feed: .milliseconds(20)
        case .normal: .milliseconds(50)
        case .bulk: .milliseconds(200)
        }
    }
    static let leastQueue = 32 * 1024
    static let largestQueue = 4 * 1024 * 1024
    private static let burst = Interval.milliseconds(1)
    private static let releaseInterval = Interval.microseconds(250)
    /// Octets of the shortest frame with what the queue adds.
    private static let leastFrame = 64
    private static let bitsOfOctet: Int64 = 8_000_000_000

    /// - Parameters:
    ///   - rate: bits a second of this lane; 0 for no limit, and no memory.
    ///   - pathMTU: octets of a full IP packet.
    init(rate: UInt64, pathMTU: Int) {
        let rate = Int64(clamping: rate)
        self.rate = rate
        let full = Int64(pathMTU) * Pacer.bitsOfOctet
        depth = max(rate * Pacer.burst.nanoseconds, 4 * full)
        quantum = max(rate * Pacer.releaseInterval.nanoseconds, full)
        credit = depth
        queues = FixedArray(count: rate > 0 ? TrafficClass.count - 1 : 0) { number in
            let octets = Pacer.queueOctets(rate: rate, Pacer.trafficClass(number))
            return FrameRing(capacity: octets, limit: octets / Pacer.leastFrame)
        }
    }

    /// Octets that may wait in a class.
    static func queueOctets(rate: Int64, _ trafficClass: TrafficClass) -> Int {
        let octets = rate / 8_000 * (patience(trafficClass).nanoseconds / 1_000_000)
        return min(max(Int(octets), leastQueue), largestQueue)
    }

    var isPaced: Bool { rate > 0 }
    /// Octets of frames that wait.
    var waiting: Int {
        var octets = 0
        for number in 0..<queues.count { octets &+= queues[number].octets }
        return octets
    }

    enum Verdict {
        case leaves
        case waits
        case dropped
    }

    /// What becomes of a frame that would leave at `now`. Precondition: there is a rate.
    mutating func admit(_ frame: RawSpan, _ mark: FrameMark, at now: Instant) -> Verdict {
        refill(at: now)
        let place = Pacer.place(mark.trafficClass)
        if credit > 0 && isEmpty(upTo: place) {
            charge(frame.byteCount)
            return .leaves
        }
        guard queues[place].push(frame, tag: UInt16(mark.octet)) else { return .dropped }
        schedule(at: now)
        return .waits
    }

    /// The class of the frame that leaves next; `nil` when none waits, or when there is no credit: then `releaseAt` says when.
    mutating func next(at now: Instant) -> TrafficClass? {
        refill(at: now)
        if credit > 0 {
            for number in 0..<queues.count where !queues[number].isEmpty { return Pacer.trafficClass(number) }
        }
        schedule(at: now)
        return nil
    }

    /// What `next` has named. Lent until it is taken.
    @_lifetime(borrow self)
    func front(_ trafficClass: TrafficClass) -> RawSpan { queues[Pacer.place(trafficClass)].front() }

    func frontMark(_ trafficClass: TrafficClass) -> FrameMark {
        FrameMark(trafficClass, octet: UInt8(truncatingIfNeeded: queues[Pacer.place(trafficClass)].frontTag))
    }

    /// It has been packed.
    mutating func take(_ trafficClass: TrafficClass) {
        charge(front(trafficClass).byteCount)
        queues[Pacer.place(trafficClass)].pop()
    }

    /// The packer has no room: again once it has been drained.
    mutating func postpone(from now: Instant) { schedule(at: now) }

    /// Forgets all that waits; how many frames that were.
    mutating func removeAll() -> Int {
        var frames = 0
        for number in 0..<queues.count {
            while !queues[number].isEmpty {
                queues[number].pop()
                frames &+= 1
            }
        }
        releaseAt = .distantFuture
        return frames
    }

    /// A batch has come to so many octets of IP packets.
    mutating func settle(octets: Int) {
        // A peer without frames is never refilled: what it is sent in a year must not wrap.
        credit = max(credit &- Int64(octets &- charged) &* Pacer.bitsOfOctet, .min / 2)
        charged = 0
        // What was scheduled was so before it was known what the batch comes to.
        if releaseAt < .distantFuture { schedule(at: filled) }
    }

    // MARK: Below: the bucket

    private static func place(_ trafficClass: TrafficClass) -> Int { trafficClass.place &- 1 }
    private static func trafficClass(_ place: Int) -> TrafficClass { TrafficClass(place: place &+ 1) }

    private func isEmpty(upTo place: Int) -> Bool {
        for number in 0...place where !queues[number].isEmpty { return false }
        return true
    }

    /// With a sixteenth for the datagrams around it, about what those of full size come to.
    private mutating func charge(_ frame: Int) {
        let octets = frame &+ frame / 16
        charged &+= octets
        credit &-= Int64(octets) &* Pacer.bitsOfOctet
    }

    private mutating func refill(at now: Instant) {
        let elapsed = (now - filled).nanoseconds
        if elapsed <= 0 { return }
        filled = now
        // Never more than what is missing, so that the product stays in its range.
        credit = elapsed > (depth &- credit) / rate ? depth : credit &+ rate &* elapsed
    }

    /// Sets `releaseAt` to when there is credit for what waits, or for a release of full size.
    private mutating func schedule(at now: Instant) {
        let octets = waiting
        if octets == 0 {
            releaseAt = .distantFuture
            return
        }
        let target = min(quantum, Int64(octets) &* Pacer.bitsOfOctet)
        let missing = target &- credit
        // Never at once: what is possible at once has been done.
        releaseAt = now + .nanoseconds(max(1_000, (missing &+ rate &- 1) / rate))
    }
}
