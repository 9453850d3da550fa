// Which VLANs are asked on when there are more than there is room for: 1,024, with two families each. Somebody sends a frame of
// every VLAN; the others' VLANs come back when his are idle.

import Basics
import Buffers
import Testing
import Wire

@testable import Switching

@Suite struct SnooperSegmentTests {
    private let host = MACAddress(rawValue: 0x0200_0000_0001)

    private func time(_ seconds: Int64) -> Instant { .zero + .seconds(seconds) }
    private func vlan(_ number: Int) -> VLAN { VLAN(identifier: UInt16(number), isService: false) }

    private func makeSnooper(_ change: (inout SnoopingConfiguration) -> Void = { _ in }) -> Snooper {
        var configuration = SnoopingConfiguration(ports: 1, peers: 1)
        change(&configuration)
        var random = SeededRandom(seed: 1)
        let board = ForwardingBoard(secret: HashSecret(using: &random))
        return Snooper(
            configuration, plan: ForwardingPlan(board: board, ports: 1, peers: 1), version: 1, random: &random, at: .zero)
    }

    /// The untagged VLAN is there from the start; 1 to 1,023 fill the table.
    private func fill(_ snooper: inout Snooper, at now: Instant) {
        snooper.beginBatch()
        for number in 1...1_023 { snooper.handleVLAN(vlan(number), at: now) }
        snooper.endBatch(at: now)
        while snooper.pollFrame() != nil {}
    }

    private func isAsked(_ snooper: Snooper, _ number: Int) -> Bool {
        let rows = snooper.snapshot(withGroups: false, at: .zero).queriers
        return rows.count { $0.vlan == (number == 0 ? .untagged : vlan(number)) } == 2
    }

    private func report(_ number: Int) -> [UInt8] {
        MembershipFrame.report(
            generation: .third, group: IPAddress(ipv4: 0xEF01_0001), source: IPAddress(ipv4: 0x0A00_0001), from: host,
            vlan: vlan(number))
    }

    @Test func aFullTableRefusesAndTriesAgainAMinuteLater() {
        var snooper = makeSnooper()
        fill(&snooper, at: time(1))
        #expect(snooper.segments.count == 2_048 && snooper.takeForgottenVLANs().isEmpty)
        snooper.handleVLAN(vlan(2_000), at: time(2))
        #expect(!isAsked(snooper, 2_000) && snooper.counters[.vlanLimit] == 2)
        snooper.handleTimeout(at: time(61))
        #expect(snooper.takeForgottenVLANs().isEmpty)
        #expect(snooper.nextTimeout <= time(62))
        snooper.handleTimeout(at: time(62))
        #expect(snooper.takeForgottenVLANs() == [vlan(2_000)])
        // It is in use still, and there is no room still: it will be tried again and again.
        snooper.handleVLAN(vlan(2_000), at: time(63))
        snooper.handleTimeout(at: time(123))
        #expect(snooper.takeForgottenVLANs() == [vlan(2_000)])
        // It is not: nothing is due for it.
        #expect(snooper.room.reconsiderAt == .distantFuture)
    }

    /// K4 + K2 are 395 s.
    @Test func theOneUsedLongestAgoGivesWayWhenItIsIdle() {
        var snooper = makeSnooper()
        fill(&snooper, at: time(10))
        snooper.handleVLAN(vlan(7), at: time(5))
        snooper.segments[.init(vlan: vlan(7), family: .v4)]?.lastUsed = time(5)
        snooper.segments[.init(vlan: vlan(7), family: .v6)]?.lastUsed = time(5)
        snooper.handleVLAN(vlan(2_000), at: time(399))
        #expect(!isAsked(snooper, 2_000) && isAsked(snooper, 7))
        // The look before was less than ten seconds ago.
        snooper.handleVLAN(vlan(2_000), at: time(401))
        #expect(!isAsked(snooper, 2_000))
        snooper.handleVLAN(vlan(2_000), at: time(409))
        #expect(isAsked(snooper, 2_000) && !isAsked(snooper, 7) && isAsked(snooper, 1))
        #expect(snooper.segments.count == 2_048)
        #expect(snooper.takeForgottenVLANs() == [vlan(7), vlan(7)])
        // Noticed anew, it displaces the next; what has just come stays.
        snooper.handleVLAN(vlan(7), at: time(410))
        #expect(isAsked(snooper, 7) && isAsked(snooper, 2_000) && !isAsked(snooper, 1))
        #expect(snooper.segmentKeys == snooper.segments.keys.sorted())
    }

    @Test func whatIsUsedStays() {
        var snooper = makeSnooper {
            $0.statics = [.init(GroupKey(VLAN(rawValue: 3), IPAddress(ipv4: 0xEF01_0001)), source: nil)]
        }
        fill(&snooper, at: time(10))
        // 1 has a member of late, 2 a site that wants a group there, 4 a router, 3 a static group; nobody speaks on the untagged one.
        snooper.handleFrame(report(1), on: PortIndex(0), at: time(200))
        snooper.handleFacts(
            [
                Fact(
                    .interest(vlan(2), group: IPAddress(ipv4: 0xEF01_0001), source: nil), version: 1,
                    .interest(isExcluded: false, [.third]))
            ], from: PeerIndex(0), at: time(11))
        snooper.handleFrame(
            MembershipFrame.pimHello(
                PIMHello(source: IPAddress(ipv4: 0x0A00_00FE), holdTime: .seconds(60_000)), from: host, vlan: vlan(4)),
            on: PortIndex(0), at: time(11))
        snooper.beginBatch()
        for number in 1_024...1_040 { snooper.handleVLAN(vlan(number), at: time(500)) }
        snooper.endBatch(at: time(500))
        for number in 1_024...1_040 { #expect(isAsked(snooper, number)) }
        let rows = snooper.snapshot(withGroups: false, at: time(500)).queriers
        for number in 0...4 {
            #expect(rows.contains { $0.family == .v4 && $0.vlan == (number == 0 ? .untagged : vlan(number)) }, "VLAN \(number)")
        }
        #expect(isAsked(snooper, 0) && !isAsked(snooper, 5))
    }

    /// Frames of all VLANs there are, again and again: the table changes once in K4 + K2, not with every frame.
    @Test func aFloodOfVLANsMakesNoChurn() {
        var snooper = makeSnooper()
        var asked = 0
        for second in stride(from: Int64(0), to: 390, by: 30) {
            snooper.beginBatch()
            for number in 1...4_094 { snooper.handleVLAN(vlan(number), at: time(second)) }
            snooper.handleTimeout(at: time(second))
            snooper.endBatch(at: time(second))
            while let event = snooper.pollEvent() { if case .querier(_, _, .becameQuerier) = event { asked += 1 } }
            while snooper.pollFrame() != nil {}
            #expect(snooper.takeForgottenVLANs().count <= 256)
        }
        #expect(asked == 2_048)
    }
}
