// The tables about multicast, for people.

import Basics
import Gateway
import Testing

@testable import Operator
@testable import Switching

@Suite struct MulticastTablesTests {
    private func text(_ topic: ShowTopic, _ snapshot: GatewaySnapshot = makeMulticastSnapshot()) throws -> String {
        try Tables.text(topic, json: JSON.answer(topic, snapshot))
    }

    @Test func groups() throws {
        let shown = try text(.groups)
        #expect(
            shown == """
                ff3e::8001, untagged: this site wants sources 2001:db8::1, configured
                    forwarded from the LAN 901 frames, 902 bytes; from the mesh 903 frames, 904 bytes
                239.1.1.1, VLAN 10: this site wants every source but 192.0.2.9 (IGMPv2, IGMPv3)
                    port lan0: include, IGMPv3
                        source 192.0.2.7: expires in 31.0s
                        source 192.0.2.8: expires in 42.5s
                        member 10.0.0.1 (02:00:00:00:01:01), IGMPv3, sources 192.0.2.7, 192.0.2.8, expires in 42.5s
                    port lan1: exclude, expires in 3m20s, IGMPv2
                        source 192.0.2.7: expires in 53.0s
                        source 192.0.2.9: not forwarded
                        member 10.0.0.2 (02:00:00:00:01:02), IGMPv2, every source, expires in 3m20s
                        member 10.0.0.3 (02:00:00:00:01:03), IGMPv3, every source but 192.0.2.9, expires in 0.0s
                    site ams: has not asked, is sent it all the same; sent 511 frames, 512 bytes
                    site nyc: wants sources 192.0.2.8 (IGMPv3); sent 0 frames, 0 bytes
                    site tokyo: wants every source (IGMPv1); sent 521 frames, 522 bytes
                    forwarded from the LAN 501 frames, 502 bytes; from the mesh 503 frames, 504 bytes
                IPv6 groups that nobody joined, every other VLAN:
                    forwarded from the LAN 601 frames, 602 bytes; from the mesh 603 frames, 604 bytes
                IPv4 groups that nobody joined, VLAN s7:
                    site nyc: sent 711 frames, 712 bytes
                    forwarded from the LAN 701 frames, 702 bytes; from the mesh 703 frames, 704 bytes
                41 entries, 42 sources, 43 members, 44 facts told

                """, "\(shown)")
    }

    @Test func oneOfEach() throws {
        var snapshot = makeSnapshot()
        snapshot.multicast.entryCount = 1
        snapshot.multicast.sourceCount = 1
        snapshot.multicast.memberCount = 1
        snapshot.multicast.factCount = 1
        snapshot.multicast.groups = []
        #expect(try text(.groups, snapshot) == "nobody has joined a group\n1 entry, 1 source, 1 member, 1 fact told\n")
        var group = makeMulticastSnapshot().multicast.groups[0]
        group.totals = GroupTotals()
        group.totals.tally.framesFromLAN = 1
        group.totals.tally.bytesFromMesh = 1
        snapshot.multicast.groups = [group]
        #expect(try text(.groups, snapshot).contains("from the LAN 1 frame, 0 bytes; from the mesh 0 frames, 1 byte\n"))
    }

    /// A source list of any length stays on a line.
    @Test func manySourcesAreCounted() throws {
        func words(_ count: UInt8) -> String {
            Tables.words(WishDocument(Wish(.include, (1...count).map { v4(192, 0, 2, $0) }), .v4))
        }
        #expect(words(8).hasSuffix("192.0.2.7, 192.0.2.8"))
        #expect(words(9).hasSuffix("192.0.2.8 and 1 more") && words(200).hasSuffix("192.0.2.8 and 192 more"))
        #expect(Tables.words(WishDocument(.nothing, .v4)) == "nothing")
    }

    /// What a limit makes: an entry for every group of a family.
    @Test(arguments: [(IPFamily.v4, "every IPv4 group"), (.v6, "every IPv6 group")])
    func everyGroup(family: IPFamily, name: String) throws {
        var snapshot = makeMulticastSnapshot()
        snapshot.multicast.groups[0].key = GroupKey(ten, .unspecified(family))
        #expect(try text(.groups, snapshot).hasPrefix("\(name), VLAN 10: this site wants "))
    }

    @Test func queriers() throws {
        let shown = try text(.queriers)
        #expect(
            shown == """
                vlan protocol state     querier  expires version robustness interval response
                ---- -------- --------- -------- ------- ------- ---------- -------- --------
                -    MLD      querier   fe80::11       - MLDv2            3     1m1s     7.2s
                10   IGMP     listening 10.0.0.9 in 4m3s IGMPv1           3     1m1s     7.2s
                10   MLD      off       -              - MLDv1            3     1m1s     7.2s

                """, "\(shown)")
    }

    @Test func routers() throws {
        let shown = try text(.routers)
        #expect(
            shown == """
                vlan family port learned from address  mac                expires
                ---- ------ ---- ------------ -------- ----------------- --------
                -    IPv6   lan1 discovery    fe80::33 02:00:00:00:02:01 in 59.0s
                10   IPv4   lan0 pim          10.0.0.9 02:00:00:00:02:02    never
                configured: lan1
                site ams, every VLAN, IPv6: no router; is sent every group
                site nyc, VLAN s7, IPv4: querier, pim; is sent every group
                site tokyo, VLAN 10, IPv4: querier; is sent only what it asks for
                site tokyo floods groups that nobody there has joined

                """, "\(shown)")
    }

    @Test func rules() throws {
        var snapshot = makeSnapshot()
        snapshot.multicast.counters = SnoopCounters()
        #expect(try text(.rules, snapshot) == "nothing was ignored or refused\n")
        snapshot.multicast.counters.add(.badChecksum, 12)
        snapshot.multicast.counters.add(.zeroQuery, 3)
        let shown = try text(.rules, snapshot)
        let lines = shown.split(separator: "\n")
        #expect(lines.count == 4 && lines[0].hasPrefix("rule name         count explanation"))
        #expect(lines[2].hasPrefix("   3 zero-query       3 ") && lines[3].hasPrefix("   8 bad-checksum    12 "))
    }

    @Test func nothingToShow() throws {
        var snapshot = makeSnapshot()
        snapshot.multicast.queriers = []
        snapshot.multicast.groups = []
        snapshot.multicast.routers = []
        snapshot.multicast.routerPorts = .none
        snapshot.multicast.remoteRouters = []
        #expect(try text(.queriers, snapshot) == "multicast.snooping is off\n")
        #expect(try text(.routers, snapshot) == "no multicast router was heard\n")
        #expect(try text(.groups, snapshot).hasPrefix("nobody has joined a group\n"))
    }

    @Test(arguments: [ShowTopic.groups, .queriers, .routers, .rules])
    func everyLineEndsAndNoneInBlanks(topic: ShowTopic) throws {
        let shown = try text(topic)
        #expect(shown.hasSuffix("\n") && !shown.hasSuffix("\n\n"))
        #expect(!shown.split(separator: "\n").contains { $0.hasSuffix(" ") })
    }
}
