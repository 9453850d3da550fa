// Rates: how exactly and how evenly they are kept, what waits and what is dropped, and that a feed does not notice bulk.

import Basics
import Buffers
import Testing

@testable import Gateway

@Suite struct PacingTests {
    private let bulk: UInt8 = 1 << 2
    private let feed: UInt8 = 46 << 2

    /// Frames of bulk as fast as the queue takes them, for so long; the runs that left.
    private func saturate(_ lane: PacedLane, for time: Interval, every step: Interval, frame: Int = 1_200) {
        let octets = IPFrame(octet: bulk, count: frame).bytes
        while lane.now < .zero + time {
            while lane.waiting(0) < Pacer.leastQueue / 2 { lane.handle(octets) }
            lane.run(until: lane.now + step)
        }
    }

    @Test(arguments: [1, 10, 200, 1_000, 10_000] as [UInt64])
    func ratesAreExactAndEven(_ megabits: UInt64) {
        let rate = megabits * 1_000_000
        let lane = PacedLane(rates: [rate])
        lane.opensDatagrams = false
        // About 3 MB each.
        let time = Interval.nanoseconds(Int64(24_000_000_000_000_000 / rate))
        saturate(lane, for: time, every: .nanoseconds(time.nanoseconds / 2_000))
        let bits = Double(lane.runs.reduce(0) { $0 + $1.wire * 8 })
        let perNanosecond = Double(rate) / 1e9
        let due = Double(lane.now.nanoseconds) * perNanosecond
        // A burst at the beginning, and less than that missing at the end.
        let burst: Double = max(Double(rate) / 1_000, 48_000)
        let excess = bits - due
        #expect(excess <= burst + 24_000, "\(excess) bits too many of \(bits)")
        let quantum: Double = max(Double(rate) / 4_000, 12_000)
        let missing: Double = 2 * quantum + 48_000 + due * 0.002
        #expect(excess >= -missing, "\(excess)")
        // In no span of time, wherever it begins, more than the burst on top.
        for width in [burst * 2 / perNanosecond, burst * 10 / perNanosecond] {
            let most: Double = perNanosecond * width + burst + 30_000
            var first = 0
            var sum = 0
            for run in lane.runs {
                sum += run.wire * 8
                while Double((run.at - lane.runs[first].at).nanoseconds) > width {
                    sum -= lane.runs[first].wire * 8
                    first += 1
                }
                #expect(Double(sum) <= most)
            }
        }
    }

    /// Bulk saturates a rate by ten times, and a feed with a fifth of it loses nothing and waits little.
    @Test(arguments: [10, 200] as [UInt64])
    func aFeedDoesNotNoticeBulk(_ megabits: UInt64) {
        let rate = megabits * 1_000_000
        let lane = PacedLane(rates: [rate])
        let step = Interval.nanoseconds(8_000_000_000_000 / Int64(rate))
        var sent: [Instant] = []
        for number in 0..<2_000 as Range<UInt32> {
            // Bulk first, so that it would have the rate to itself.
            for _ in 0..<10 { lane.handle(IPFrame(flow: 2, octet: bulk, count: 1_000).bytes) }
            lane.handle(IPFrame(flow: 1, number: number, octet: feed, count: 200).bytes)
            sent.append(lane.now)
            lane.run(until: lane.now + step)
        }
        lane.run(until: lane.now + .milliseconds(400))
        let arrived = lane.runs.flatMap { run in run.frames.filter { $0.flow == 1 }.map { (run.at, $0.number) } }
        #expect(arrived.map(\.1) == Array(0..<2_000))
        let longest = arrived.map { $0.0 - sent[Int($0.1)] }.max() ?? .zero
        // A full datagram before it, or a quarter of a millisecond, and what is saved up.
        let most: Interval = .nanoseconds(48_000_000_000_000 / Int64(rate)) + .milliseconds(1)
        #expect(longest <= most, "\(longest)")
        #expect(lane[0, .feedDropped] == 0)
        #expect(lane[0, .bulkDropped] > 1_000)
        #expect(lane[.bulkQueueFull] == lane[0, .bulkDropped])
        // What was neither dropped nor is waiting has left: nothing is lost, nothing doubled.
        let left = lane.runs.flatMap(\.frames).count { $0.flow == 2 }
        #expect(UInt64(left) + lane[0, .bulkDropped] == 20_000)
        #expect(lane.waiting(0) == 0)
    }

    @Test func priorityWhenDraining() {
        let lane = PacedLane(rates: [1_000_000])
        // The bucket's 6,000 octets, then what waits.
        for number in 0..<6 as Range<UInt32> { lane.handle(IPFrame(flow: 9, number: number, octet: bulk, count: 1_400).bytes) }
        for number in 0..<8 as Range<UInt32> {
            lane.handle(IPFrame(flow: 3, number: number, octet: bulk, count: 1_000).bytes)
            lane.handle(IPFrame(flow: 2, number: number, octet: 0, count: 1_000).bytes)
            lane.handle(IPFrame(flow: 1, number: number, octet: feed, count: 1_000).bytes)
        }
        lane.run(until: lane.now + .seconds(2))
        let flows = lane.runs.flatMap(\.frames).map(\.flow).filter { $0 != 9 }
        let order: [UInt8] = [1, 2, 3].flatMap { (flow: UInt8) -> [UInt8] in [UInt8](repeating: flow, count: 8) }
        #expect(flows == order)
        for flow in 1...3 as ClosedRange<UInt8> {
            #expect(lane.runs.flatMap(\.frames).filter { $0.flow == flow }.map(\.number) == Array(0..<8))
        }
        #expect(Set(lane.runs.map(\.octet)).isSubset(of: [bulk, 0, feed]), "the marks wait with the frames")
    }

    @Test func queuesAreBounded() {
        for (trafficClass, octet, reason, counter): (TrafficClass, UInt8, DropReason, PeerCounter) in [
            (.feed, feed, .feedQueueFull, .feedDropped), (.normal, 0, .normalQueueFull, .normalDropped),
            (.bulk, bulk, .bulkQueueFull, .bulkDropped),
        ] {
            let lane = PacedLane(rates: [20_000_000])
            let limit = Pacer.queueOctets(rate: 20_000_000, trafficClass)
            for _ in 0..<3_000 { lane.handle(IPFrame(octet: octet, count: 1_000).bytes) }
            let waiting = lane.waiting(0)
            let least = limit - limit / 100 - 1_100
            #expect(waiting <= limit, "\(trafficClass)")
            #expect(waiting > least, "\(trafficClass)")
            #expect(lane[reason] == lane[0, counter] && lane[reason] > 0)
            lane.run(until: lane.now + .seconds(2))
            #expect(lane[reason] + lane[0, .framesOut] == 3_000)
            #expect(lane.waiting(0) == 0)
        }
        // In time: 20, 50, 200 ms; never less than 32 KiB, never more than 4 MiB.
        let octets = [TrafficClass.feed, .normal, .bulk].map { Pacer.queueOctets(rate: 200_000_000, $0) }
        #expect(octets == [500_000, 1_250_000, 4 * 1_024 * 1_024])
        #expect([TrafficClass.feed, .normal, .bulk].map { Pacer.queueOctets(rate: 64_000, $0) } == [32_768, 32_768, 32_768])
    }

    /// One peer's queue is full, another's session is gone: a third has no rate and notices nothing.
    @Test func peersDoNotDelayEachOther() {
        let lane = PacedLane(rates: [1_000_000, 1_000_000, 0])
        for number in 0..<300 as Range<UInt32> { lane.handle(IPFrame(number: number, octet: bulk, count: 1_000).bytes) }
        lane.flush()
        #expect(lane.runs.filter { $0.peer == 2 }.flatMap(\.frames).map(\.number) == Array(0..<300))
        #expect(lane[0, .bulkDropped] > 0 && lane[2, .bulkDropped] == 0)
        // Peer 1 goes down with its queue full: it is counted, and peer 0 goes on.
        let waiting = lane[0, .bulkDropped]
        lane.command(.setPeer(PeerIndex(1), isUp: false))
        let before = lane[.peerDown]
        lane.run(until: lane.now + .seconds(3))
        let lost = 300 - lane[1, .framesOut] - lane[1, .bulkDropped]
        #expect(lane[.peerDown] - before == lost)
        #expect(lane[0, .framesOut] + waiting == 300)
        // And it takes new frames when it is up again.
        lane.command(.setPeer(PeerIndex(1), isUp: true))
        lane.forgetRuns()
        lane.handle(IPFrame(number: 7, octet: bulk).bytes)
        lane.flush()
        #expect(Set(lane.runs.map(\.peer)) == [0, 1, 2])
    }

    /// The keepalives of the other gateways do not wait, however full the queue is.
    @Test func theTunnelsOwnDoesNotWait() {
        let lane = PacedLane(rates: [64_000])
        for _ in 0..<200 { lane.handle(IPFrame(octet: bulk, count: 1_000).bytes) }
        lane.flush()
        lane.forgetRuns()
        lane.pushSegment(0)
        lane.flush()
        #expect(lane.runs.first?.trafficClass == .control)
    }

    /// Probes and replies leave at once, and what they take is taken from the rate.
    @Test func probesArePaidFor() {
        let lane = PacedLane(rates: [1_000_000, 1_000_000])
        // Four full packets are what is saved up.
        for number in 0..<4 as Range<UInt32> {
            lane.command(.probe(PeerIndex(0), number: number, size: 1_500, losses: 0))
        }
        lane.flush()
        #expect(lane.runs.count == 4 && lane.runs.allSatisfy { $0.wire == 1_500 && $0.trafficClass == .control })
        for peer in 0...1 { lane.command(.setPeer(PeerIndex(peer), isUp: true)) }
        lane.handle(testFrame(to: .broadcast, from: host(0)))
        lane.flush()
        #expect(lane.waiting(0) > 0 && lane.waiting(1) == 0, "the other peer's credit is its own")
        lane.run(until: .zero + .milliseconds(20))
        #expect(lane.waiting(0) == 0)
    }

    /// Years of probes to a peer that no frame leaves for.
    @Test func creditDoesNotWrap() {
        var pacer = Pacer(rate: 1_000_000, pathMTU: 1_500)
        for _ in 0..<1_000 { pacer.settle(octets: 1 << 30) }
        #expect(pacer.credit < 0)
        let frame = testFrame(to: .broadcast, from: host(0))
        let verdict = unsafe pacer.admit(frame.span.bytes, FrameMark(.normal, octet: 0), at: .zero + .seconds(100_000_000_000))
        #expect(verdict == .leaves)
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func flowsStayInOrderUnderARate(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let lane = PacedLane(rates: [50_000_000])
        let octets: [UInt8] = [feed, 0, bulk, 34 << 2, 8 << 2, 10 << 2]
        var sent = [UInt32](repeating: 0, count: 6)
        for _ in 0..<4_000 {
            let flow = Int(random.next() % 6)
            lane.handle(
                IPFrame(flow: UInt8(flow), number: sent[flow], octet: octets[flow], count: 70 + Int(random.next() % 2_000)).bytes)
            sent[flow] += 1
            if random.next() % 8 == 0 { lane.run(until: lane.now + .microseconds(Int64(random.next() % 3_000))) }
        }
        lane.run(until: lane.now + .seconds(1))
        var next = [UInt32](repeating: 0, count: 6)
        var seen = [Int](repeating: 0, count: 6)
        for frame in lane.runs.flatMap(\.frames) {
            #expect(frame.number >= next[Int(frame.flow)], "out of order, or twice")
            next[Int(frame.flow)] = frame.number + 1
            seen[Int(frame.flow)] += 1
        }
        let dropped = lane[.feedQueueFull] + lane[.normalQueueFull] + lane[.bulkQueueFull]
        #expect(UInt64(seen.reduce(0, +)) + dropped == 4_000)
    }

    /// Gateway to gateway, with two lanes that have half the rate each.
    @Test func lanesShareTheRate() throws {
        var setup = SiteSetup()
        setup.rates = [1: 8_000_000]
        let mesh = try LanesMesh.up([2, 1], setup)
        let before = mesh.sent.count
        for step in 0..<1_000 {
            mesh.send(IPFrame(octet: bulk, count: 1_000).bytes, site: 0, lane: 0, after: .microseconds(Int64(step * 1_000)))
        }
        mesh.run(for: .seconds(1))
        let octets = mesh.sent.dropFirst(before).filter { $0.from == 0 && $0.isSealed }.reduce(0) { $0 + $1.bytes.count + 28 }
        #expect(octets > 490_000 && octets < 515_000, "4 Mbit a second of one lane; \(octets) octets")
    }
}
