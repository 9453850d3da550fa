// Traffic classes without a rate: which frame is of which class, the order in which a batch leaves, what datagrams say on the
// outside, and that nothing is lost, doubled or, within a flow, out of order.

import Basics
import Buffers
import Settings
import Testing
import Wire

@testable import Gateway

@Suite struct ClassTests {
    private func mark(_ frame: [UInt8], _ map: ClassMap = ClassMap()) -> FrameMark? {
        unsafe FrameHeader(frame.span.bytes).map { unsafe map.mark(frame.span.bytes, $0) }
    }

    @Test(arguments: [false, true], [[], customerTag(10), serviceTag(7) + customerTag(3)])
    func codePointsChooseTheClass(isIPv6: Bool, tags: [UInt8]) {
        let feeds: Set<UInt8> = [46, 34, 40, 48, 56]
        let bulk: Set<UInt8> = [1, 8]
        for point in 0..<64 as Range<UInt8> {
            for congestion in 0..<4 as Range<UInt8> {
                let octet = point << 2 | congestion
                var frame = IPFrame(octet: octet, isIPv6: isIPv6, tags: tags)
                let expected: TrafficClass = feeds.contains(point) ? .feed : bulk.contains(point) ? .bulk : .normal
                #expect(mark(frame.bytes)?.trafficClass == expected && mark(frame.bytes)?.octet == octet)
                frame.isMulticast = true
                #expect(mark(frame.bytes)?.trafficClass == (expected == .normal ? .feed : expected))
            }
        }
    }

    @Test func whatIsNotIPIsNormal() {
        #expect(mark(testFrame(to: .broadcast, from: host(1)))?.trafficClass == .normal)
        #expect(mark(testFrame(to: someGroup, from: host(1)))?.trafficClass == .normal)
        // A broadcast, and a group that stays on its link.
        #expect(mark(IPFrame(destination: .broadcast).bytes)?.trafficClass == .normal)
        var mdns = IPFrame(isMulticast: true).bytes
        mdns.replaceSubrange(30..<34, with: [224, 0, 0, 251])
        #expect(mark(mdns)?.trafficClass == .normal)
    }

    @Test func settingsMoveThem() {
        var settings = ClassSettings()
        settings.feed = ClassMembers(CodePointSet([CodePoint(rawValue: 5)]), hasMulticast: false)
        settings.bulk = ClassMembers(CodePointSet([.ef]), hasMulticast: true)
        let map = ClassMap(settings)
        #expect(mark(IPFrame(octet: 5 << 2).bytes, map)?.trafficClass == .feed)
        #expect(mark(IPFrame(octet: 46 << 2).bytes, map)?.trafficClass == .bulk)
        #expect(mark(IPFrame(octet: 34 << 2).bytes, map)?.trafficClass == .normal)
        #expect(mark(IPFrame(isMulticast: true).bytes, map)?.trafficClass == .bulk)
    }

    // MARK: The outer octet

    private func outer(_ octets: [UInt8], _ trafficClass: TrafficClass = .normal, _ map: ClassMap = ClassMap()) -> UInt8 {
        var run = RunMark()
        for octet in octets { run.add(octet) }
        return map.outerOctet(trafficClass, run)
    }

    @Test func theOuterCodePointIsTheCommonOne() {
        // ef is 184 with its two bits behind it, af41 136, cs5 160, af11 40, cs1 32, le 4, cs6 192.
        #expect(outer([184, 184], .feed) == 184)
        #expect(outer([136], .feed) == 136)
        #expect(outer([0, 0], .feed) == 0, "a feed without a code point stays without")
        // Where they differ: ef, cs0, le.
        #expect(outer([136, 160], .feed) == 184)
        #expect(outer([40, 0], .normal) == 0)
        #expect(outer([32, 4], .bulk) == 4)
        #expect(outer([], .control) == 192)
        var settings = ClassSettings()
        settings.feedMark = .point(.ef)
        settings.normalMark = .point(CodePoint(rawValue: 10))
        settings.controlMark = .cs0
        let map = ClassMap(settings)
        #expect(outer([0, 0], .feed, map) == 184)
        #expect(outer([80], .normal, map) == 40)
        #expect(outer([], .control, map) == 0)
    }

    @Test func theOuterIsCapableOnlyIfAllAre() {
        let (not, one, zero, marked): (UInt8, UInt8, UInt8, UInt8) = (0, 1, 2, 3)
        for (octets, expected): ([UInt8], UInt8) in [
            ([not], not), ([one], one), ([zero], zero), ([zero, zero], zero), ([one, one, one], one), ([one, zero], zero),
            ([zero, not], not), ([not, one], not), ([marked], zero), ([marked, one], one), ([marked, zero], zero),
            ([marked, not], not), ([one, zero, marked, not], not),
        ] { #expect(outer(octets) == expected, "\(octets)") }
    }

    // MARK: The order of a batch

    @Test func aBatchLeavesByPriority() {
        let lane = PacedLane(rates: [0, 0])
        let octets: [UInt8] = [1 << 2, 0, 46 << 2]
        // Flooded to both peers, the most urgent last; then a segment of control's.
        for number in 0..<30 as Range<UInt32> {
            lane.handle(IPFrame(flow: UInt8(number % 3), number: number, octet: octets[Int(number % 3)]).bytes)
        }
        lane.pushSegment(1)
        lane.flush()
        let order = lane.runs.map { "\($0.trafficClass) \($0.peer)" }
        #expect(order == ["control 1", "feed 0", "feed 1", "normal 0", "normal 1", "bulk 0", "bulk 1"])
        let outside: [UInt8] = [192, 184, 184, 0, 0, 4, 4]
        #expect(lane.runs.map(\.octet) == outside)
        for run in lane.runs.dropFirst() {
            let flow: UInt8 = run.trafficClass == .feed ? 2 : run.trafficClass == .normal ? 1 : 0
            #expect(run.frames.map(\.flow) == [UInt8](repeating: flow, count: 10))
            let numbers: [UInt32] = (0..<10).map { (number: UInt32) -> UInt32 in number * 3 + UInt32(flow) }
            #expect(run.frames.map(\.number) == numbers)
        }
        for peer in 0..<2 {
            #expect(lane[peer, .framesOut] == 30 && lane[peer, .feedOut] == 10 && lane[peer, .bulkOut] == 10)
        }
    }

    /// Frames of all sizes and classes, in batches as large as they come: none lost, none doubled, those of a flow in order.
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func flowsStayInOrder(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let lane = PacedLane(rates: [0], pathMTU: [576, 1_500, 9_000][Int(seed % 3)])
        let octets: [UInt8] = (0..<12).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        var sent = [UInt32](repeating: 0, count: 12)
        for _ in 0..<6_000 {
            let flow = Int(random.next() % 12)
            let frame = IPFrame(
                flow: UInt8(flow), number: sent[flow], octet: octets[flow], isIPv6: flow % 2 == 0, isMulticast: flow % 3 == 0,
                tags: flow % 4 == 0 ? customerTag(5) : [], count: 70 + Int(random.next() % 3_000))
            sent[flow] += 1
            lane.handle(frame.bytes)
            if random.next() % 40 == 0 { lane.flush() }
        }
        lane.flush()
        var seen = [UInt32](repeating: 0, count: 12)
        for frame in lane.runs.flatMap(\.frames) {
            #expect(frame.number == seen[Int(frame.flow)])
            seen[Int(frame.flow)] = frame.number + 1
        }
        #expect(seen == sent && lane[.transmitFull] == 0 && lane[.keyExhausted] == 0)
    }

    /// The same gateway to gateway, over a wire that loses nothing: what the receiver counts as lost is nothing, since numbers of
    /// the stream follow the order in which runs leave.
    @Test func countersFollowTheOrderOfRuns() throws {
        let mesh = VirtualMesh(sites: 2)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        for number in 0..<900 as Range<UInt32> {
            mesh.send(
                IPFrame(flow: UInt8(number % 3), number: number / 3, octet: [4, 0, 184][Int(number % 3)], count: 900).bytes,
                site: 0, at: mesh.now + .milliseconds(Int64(number / 100)))
        }
        mesh.run(for: .seconds(2))
        let frames = mesh.sites[1].delivered[0].compactMap { flowAndNumber($0.bytes) }
        for flow in 0..<3 as Range<UInt8> {
            #expect(frames.filter { $0.flow == flow }.map(\.number) == Array(0..<300))
        }
        #expect(mesh.sites[1][.lostOnWAN] == 0 && mesh.sites[1][.replayed] == 0 && mesh.sites[1][.fragmentLost] == 0)
        let all = mesh.sent.filter { $0.from == 0 && $0.kind == .sealed }
        // Of the session that sealed last.
        let sent = all.filter { $0.bytes[4..<8] == all.last?.bytes[4..<8] }
        let counters: [UInt64] = sent.map { datagram in datagram.bytes[8..<16].reduce(0) { $0 << 8 | UInt64($1) } }
        #expect(counters == counters.sorted())
        let points: Set<UInt8> = Set(sent.map { $0.octet >> 2 })
        #expect(points == [0, 1, 46, 48])
    }
}
