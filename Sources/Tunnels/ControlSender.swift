// The sending half of a control channel: messages waiting, segments underway, and when they are sent again.
//
//     | waiting messages | ->  cut  -> | underway | lost | received | ... |  ->  all before `oldest` acknowledged
//                                        oldest ........... next             at most 64 segments
//
// A segment is *lost* when three segments that were sent after it have been acknowledged, or when the retransmission timer
// of RFC 6298 has run out for it: smoothed round trip and four times its variation, 100 ms to 2 s, doubled each time the
// timer runs out, and measured only on segments that were sent once (Karn). As acknowledgements name each segment, as
// those of RFC 2018 do, only what is lost is repeated. How many segments may be underway at once is halved by each
// timeout and grows by each acknowledged segment, so a path that is gone sees one segment in two seconds.
//
// A sender that has nothing underway probes: at once after `begin`, then after doubling intervals until the peer has
// answered, then every 5 s. That is how a peer that has lost the stream is found. When the peer's own stream begins anew, which
// it does when it was restarted, it probes at once again. A probe begins no stream, so two ends cannot keep each other at it.

import Basics

struct ControlSender: Sendable {
    static let initialTimeout = Interval.milliseconds(300)
    static let leastTimeout = Interval.milliseconds(100)
    static let mostTimeout = Interval.seconds(2)
    static let probeInterval = Interval.seconds(5)
    /// Segments underway at first.
    static let initialAllowance = 16
    /// A segment is lost when so many that were sent after it have been acknowledged.
    static let overtakings = 3

    /// What is known of a segment.
    enum Fate { case underway, lost, received }

    struct Segment: Sendable {
        var sequence: UInt32
        var payload: [UInt8]
        var isLast: Bool
        var fate = Fate.underway
        /// The last time.
        var sentAt: Instant
        /// Numbers transmissions, in the order they were made.
        var order: UInt64
        var transmissions = 1
        var overtakenBy = 0
    }

    enum State {
        /// Nothing was begun yet.
        case silent
        /// The peer has not said yet that it has the stream.
        case begun
        /// The peer has the stream.
        case heard
        /// The peer has lost the stream, or its sequences are used up: only `begin` helps.
        case ended
    }

    let payloadLimit: Int
    let window: Int
    let queueLimit: Int
    let messageLimit: Int
    /// Where a stream ends.
    var sequenceLimit = ControlSegment.sequenceLimit

    private(set) var state = State.silent
    private(set) var stream: UInt64 = 0
    /// The peer refuses streams up to this one.
    private var refusedUpTo: UInt64 = 0
    /// Messages not yet cut up, oldest first, and how much of the first one has been.
    private var waiting: [[UInt8]] = []
    private var cut = 0
    /// In order of their sequences, without gaps.
    private var segments: [Segment] = []
    private var next: UInt32 = 0
    private var order: UInt64 = 0

    /// Segments that may be underway at once.
    private var allowance: Int
    private(set) var roundTrip: Interval?
    private var variation = Interval.zero
    /// How often the timer has run out since the last measurement.
    private var backoff: Int64 = 0
    private var retransmitAt = Instant.distantFuture
    private var probeAt = Instant.distantFuture
    private var probeDelay = initialTimeout
    private(set) var retransmissions: UInt64 = 0
    /// The peer wants a new beginning; until it is fetched.
    var isResyncWanted = false

    init(payloadLimit: Int, window: Int, queueLimit: Int, messageLimit: Int) {
        self.payloadLimit = payloadLimit
        self.window = window
        self.queueLimit = queueLimit
        self.messageLimit = messageLimit
        allowance = min(window, ControlSender.initialAllowance)
    }

    private var isOpen: Bool { state == .begun || state == .heard }
    var hasRoom: Bool { isOpen && waiting.count < queueLimit }
    var isIdle: Bool { waiting.isEmpty && segments.isEmpty }
    /// All segments below have been acknowledged.
    private var oldest: UInt32 { segments.first?.sequence ?? next }
    /// Octets kept, for the tests of bounds.
    var keptBytes: Int { waiting.reduce(0) { $0 + $1.count } + segments.reduce(0) { $0 + $1.payload.count } }

    var nextTimeout: Instant {
        guard isOpen else { return .distantFuture }
        return isIdle ? probeAt : retransmitAt
    }

    mutating func begin(stream: UInt64, at now: Instant) {
        let larger = max(self.stream, refusedUpTo) &+ 1
        self.stream = min(max(stream, larger), ControlSegment.streamLimit)
        clear()
        state = .begun
        isResyncWanted = false
        next = 0
        backoff = 0
        allowance = min(window, ControlSender.initialAllowance)
        probeAt = now
        probeDelay = timeout
    }

    mutating func queue(_ message: [UInt8]) -> Bool {
        guard hasRoom, message.count <= messageLimit else { return false }
        waiting.append(message)
        return true
    }

    /// False when the peer acknowledges what was never sent.
    mutating func handleAck(stream: UInt64, next received: UInt32, bitmap: UInt64, at now: Instant) -> Bool {
        guard isOpen, stream == self.stream else { return true }
        guard received <= next else { return false }
        state = .heard
        probeDelay = ControlSender.probeInterval
        // An old one that was overtaken says nothing new.
        guard received >= oldest else { return true }
        let news = markReceived(below: received, bitmap: bitmap)
        allowance = min(window, allowance + news.count)
        measure(news, at: now)
        markOvertaken(by: news)
        segments.removeFirst(segments.prefix { $0.sequence < received }.count)
        takeBackIfDenied()
        if isIdle { probeAt = now + ControlSender.probeInterval }
        rearm()
        return true
    }

    /// The peer may not have the stream: when nothing is underway that would show it, a probe will.
    mutating func handlePeerBegan(at now: Instant) {
        guard isOpen, isIdle else { return }
        probeAt = now
        probeDelay = timeout
    }

    mutating func handleReset(stream: UInt64, newest: UInt64) {
        guard isOpen, stream == self.stream else { return }
        refusedUpTo = max(refusedUpTo, newest)
        end()
    }

    mutating func handleTimeout(at now: Instant) {
        guard isOpen, !segments.isEmpty, retransmitAt <= now else { return }
        let timeout = timeout
        for index in segments.indices where segments[index].fate == .underway && segments[index].sentAt + timeout <= now {
            segments[index].fate = .lost
        }
        backoff = min(backoff + 1, 10)
        allowance = max(1, allowance / 2)
        rearm()
    }

    mutating func pollSegment(at now: Instant) -> ControlSegment? {
        guard isOpen else { return nil }
        if isIdle {
            guard now >= probeAt else { return nil }
            probeAt = now + probeDelay
            probeDelay = min(probeDelay * 2, ControlSender.probeInterval)
            return .probe(stream: stream, oldest: next)
        }
        guard segments.count(where: { $0.fate == .underway }) < allowance else { return nil }
        if let index = segments.firstIndex(where: { $0.fate == .lost }) { return transmitAgain(index, at: now) }
        guard segments.count < window, let message = waiting.first else { return nil }
        guard next < sequenceLimit else {
            end()
            return nil
        }
        return transmitNext(of: message, at: now)
    }

    /// Sends the next piece of the first waiting message.
    private mutating func transmitNext(of message: [UInt8], at now: Instant) -> ControlSegment {
        let end = min(message.count, cut + payloadLimit)
        let payload = [UInt8](message[cut..<end])
        let isLast = end == message.count
        if isLast {
            waiting.removeFirst()
            cut = 0
        } else {
            cut = end
        }
        order &+= 1
        segments.append(Segment(sequence: next, payload: payload, isLast: isLast, sentAt: now, order: order))
        next &+= 1
        rearm()
        return wire(segments[segments.count - 1])
    }

    private mutating func transmitAgain(_ index: Int, at now: Instant) -> ControlSegment {
        order &+= 1
        retransmissions &+= 1
        segments[index].fate = .underway
        segments[index].sentAt = now
        segments[index].order = order
        segments[index].transmissions &+= 1
        segments[index].overtakenBy = 0
        rearm()
        return wire(segments[index])
    }

    private func wire(_ segment: Segment) -> ControlSegment {
        .data(stream: stream, sequence: segment.sequence, oldest: oldest, isLast: segment.isLast, payload: segment.payload)
    }

    /// The segments that the peer is known to have by this acknowledgement only.
    private mutating func markReceived(below received: UInt32, bitmap: UInt64) -> [Segment] {
        var news: [Segment] = []
        for index in segments.indices where segments[index].fate != .received {
            let sequence = segments[index].sequence
            // A shift by 64 and more leaves 0.
            guard sequence < received || (sequence > received && bitmap >> UInt64(sequence &- received &- 1) & 1 == 1) else {
                continue
            }
            segments[index].fate = .received
            news.append(segments[index])
        }
        return news
    }

    private mutating func markOvertaken(by news: [Segment]) {
        // Of a segment that was sent twice it is not known which one the peer has received.
        let orders = news.filter { $0.transmissions == 1 }.map(\.order)
        for index in segments.indices where segments[index].fate == .underway {
            segments[index].overtakenBy += orders.count { $0 > segments[index].order }
            if segments[index].overtakenBy >= ControlSender.overtakings { segments[index].fate = .lost }
        }
    }

    /// A peer that has a segment never asks for it as its next one. One that does was restarted since, and has taken the
    /// stream up from its beginning, of which nothing was acknowledged for good: what was received is sent again.
    private mutating func takeBackIfDenied() {
        guard segments.first?.fate == .received else { return }
        for index in segments.indices where segments[index].fate == .received { segments[index].fate = .lost }
    }

    /// RFC 6298 section 2, from the segment that was sent last: those before it may have been acknowledged in vain.
    private mutating func measure(_ news: [Segment], at now: Instant) {
        guard let segment = news.filter({ $0.transmissions == 1 }).max(by: { $0.order < $1.order }) else { return }
        let sample = max(.zero, min(now - segment.sentAt, .seconds(60)))
        if let mean = roundTrip {
            let deviation = Interval(nanoseconds: abs(mean.nanoseconds - sample.nanoseconds))
            variation = (variation * 3 + deviation) / 4
            roundTrip = (mean * 7 + sample) / 8
        } else {
            variation = sample / 2
            roundTrip = sample
        }
        backoff = 0
    }

    /// How long a segment may be underway.
    private var timeout: Interval {
        let base = roundTrip.map { max($0 + variation * 4, ControlSender.leastTimeout) } ?? ControlSender.initialTimeout
        return min(base * (1 << backoff), ControlSender.mostTimeout)
    }

    /// The timer runs for the segment that has been underway for longest. Where none is, one is lost and about to be sent.
    private mutating func rearm() {
        let first = segments.lazy.filter { $0.fate == .underway }.map(\.sentAt).min()
        retransmitAt = first.map { $0 + timeout } ?? .distantFuture
    }

    private mutating func end() {
        clear()
        state = .ended
        isResyncWanted = true
    }

    private mutating func clear() {
        waiting = []
        cut = 0
        segments = []
        retransmitAt = .distantFuture
        probeAt = .distantFuture
    }
}
