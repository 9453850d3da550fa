// The frames that a gateway sends, against literal octets, and through the parser back to what was said.

import Basics
import Testing
import Wire

@Suite struct MembershipFrameTests {
    static let mac = MACAddress(rawValue: 0x02_00_00_00_00_07)
    static let host4 = v4("192.0.2.7")
    static let host6 = v6(0xFE80_0000_0000_0000, 7)
    static let group4 = v4("239.129.1.1")
    static let group6 = v6(0xFF0E_0000_0000_0000, 0xABCD_0001_0203)

    private func send(_ sent: MembershipQuery, from source: IPAddress, _ vlan: VLAN = .untagged) -> [UInt8] {
        MembershipFrame.query(sent, source: source, from: Self.mac, vlan: vlan)
    }

    private func send(_ records: [GroupRecord], from source: IPAddress, mtu: Int = 1500) -> [[UInt8]] {
        MembershipFrame.reports(records, source: source, from: Self.mac, vlan: .untagged, mtu: mtu)
    }

    @Test func groupAddressesOnTheLAN() {
        // 23 bits: 239.129.1.1 and 224.1.1.1 share an address (rule 14).
        #expect(MACAddress(group: v4("239.129.1.1")) == MACAddress("01:00:5e:01:01:01"))
        #expect(MACAddress(group: v4("224.1.1.1")) == MACAddress("01:00:5e:01:01:01"))
        #expect(MACAddress(group: v4("224.0.0.22")) == MACAddress("01:00:5e:00:00:16"))
        #expect(MACAddress(group: Self.group6) == MACAddress("33:33:00:01:02:03"))
    }

    // MARK: Octets

    @Test func generalQueriesOfEachGeneration() {
        let third = MembershipQuery(maxResponse: .seconds(10), robustness: 2, queryInterval: .seconds(125))
        let link = "01005e000001 020000000007 0800"
        #expect(
            send(third, from: Self.host4)
                == frame4(checksummed(hex("1164 0000 00000000 027d0000")), to: "224.0.0.1", link: link))
        var second = third
        second.generation = .second
        #expect(
            send(second, from: Self.host4) == frame4(checksummed(hex("1164 0000 00000000")), to: "224.0.0.1", link: link))
        var first = third
        first.generation = .first
        #expect(
            send(first, from: Self.host4) == frame4(checksummed(hex("1100 0000 00000000")), to: "224.0.0.1", link: link))
        #expect(
            send(third, from: Self.host6)
                == hex("333300000001 020000000007 86dd")
                + icmp6(
                    "8200 0000 2710 0000 00000000000000000000000000000000 027d0000",
                    to: "ff0200000000000000000000 00000001")[14...])
        #expect(
            send(second, from: Self.host6)
                == hex("333300000001 020000000007 86dd")
                + icmp6(
                    "8200 0000 2710 0000 00000000000000000000000000000000", to: "ff0200000000000000000000 00000001")[14...])
        // MLD has no older generation than its first.
        #expect(send(first, from: Self.host6) == send(second, from: Self.host6))
    }

    @Test func aRealRoutersGroupQuery() {
        let sent = MembershipFrame.query(
            MembershipQuery(
                group: v4("239.1.1.1"), maxResponse: .seconds(1), robustness: 2, queryInterval: .seconds(125)),
            source: v4("20.0.1.1"), from: MACAddress("08:00:27:a5:d7:eb")!, vlan: .untagged)
        // But for the identification, and so the header's checksum.
        var expected = Heard.v3GroupQuery
        put([0, 0], in: &expected, at: 18)
        put([0, 0], in: &expected, at: 24)
        put(be16(Int(~naiveSum([UInt8](expected[14..<38])))), in: &expected, at: 24)
        #expect(sent == expected)
    }

    @Test func aRealHostsReport() {
        let sent = MembershipFrame.reports(
            ["239.1.1.1", "239.2.2.2", "239.3.3.3"].map { GroupRecord(.toExclude, v4($0)) }, source: v4("20.0.1.100"),
            from: MACAddress("08:00:27:30:c5:75")!, vlan: .untagged)
        #expect(sent == [Heard.v3Join])
    }

    @Test func aRealHostsMLDReports() {
        let first = MembershipFrame.report(
            generation: .second, group: v6(0xFF02_0000_0000_0000, 0x1_FF0E_4C67), source: .unspecified(.v6),
            from: MACAddress("00:0c:29:0e:4c:67")!, vlan: .untagged)
        #expect(first == Heard.mldV1Report)
        let second = MembershipFrame.reports(
            [GroupRecord(.toExclude, v6(0xFF02_0000_0000_0000, 2))], source: v6(0xFE80_0000_0000_0000, 0xC000_54FF_FEF5_0000),
            from: MACAddress("c2:00:54:f5:00:00")!, vlan: .untagged)
        // But for that router's traffic class.
        var expected = Heard.mldV2Report
        expected[14] = 0x60
        #expect(second == [expected])
    }

    /// The kernel's fault: 200 s goes out as 200 s.
    @Test func twoHundredSecondsInAQueryCode() {
        let asked = MembershipQuery(maxResponse: .seconds(200), robustness: 2, queryInterval: .seconds(200))
        let frame = send(asked, from: Self.host4)
        #expect(frame[14 + 24 + 9] == 0x89 && frame[14 + 24 + 1] == 0xBF)
        #expect(query(frame)?.queryInterval == .seconds(200))
        #expect(query(frame)?.maxResponse == .milliseconds(198_400))
        #expect(query(send(asked, from: Self.host6))?.maxResponse == .seconds(200))
        // v2 is linear and stops at 25.5 s; a time of 0 would make it a v1 query.
        let older = MembershipQuery(generation: .second, maxResponse: .seconds(200))
        #expect(query(send(older, from: Self.host4))?.maxResponse == .milliseconds(25_500))
        #expect(query(send(older, from: Self.host6))?.maxResponse == .milliseconds(65_535))
        let short = query(send(MembershipQuery(generation: .second, maxResponse: .zero), from: Self.host4))
        #expect(short == MembershipQuery(generation: .second, maxResponse: .milliseconds(100)))
    }

    // MARK: There and back

    @Test func queriesThereAndBack() {
        for (source, group, sources) in [
            (Self.host4, Self.group4, [v4("192.0.2.1"), v4("192.0.2.2")]),
            (Self.host6, Self.group6, [v6(0x2001_0DB8_0000_0000, 1), v6(0x2001_0DB8_0000_0000, 2)]),
        ] {
            var asked = MembershipQuery(
                group: group, sources: sources, maxResponse: .seconds(1), suppress: true, robustness: 7,
                queryInterval: .seconds(125))
            #expect(query(send(asked, from: source, VLAN(rawValue: 10))) == asked)
            #expect(query(send(asked, from: source, VLAN(rawValue: 0x100A))) == asked)
            asked.sources = []
            #expect(query(send(asked, from: source)) == asked)
            // A robustness that three bits cannot hold is said as none.
            asked.robustness = 8
            #expect(query(send(asked, from: source))?.robustness == 0)
            let frame = send(asked, from: source)
            let header = FrameHeader(frame.octets)
            #expect(header?.destination == MACAddress(group: group))
        }
    }

    @Test func reportsOfEveryGenerationThereAndBack() {
        for (source, group) in [(Self.host4, Self.group4), (Self.host6, Self.group6)] {
            for generation in MembershipGeneration.allCases {
                let heard = source.family == .v6 ? max(generation, .second) : generation
                let join = MembershipFrame.report(
                    generation: generation, group: group, source: source, from: Self.mac, vlan: .untagged)
                #expect(
                    report(join) == MembershipReport(generation: heard, records: [GroupRecord(.isExclude, group)]))
                let leave = MembershipFrame.leave(
                    generation: generation, group: group, source: source, from: Self.mac, vlan: .untagged)
                #expect(
                    report(leave)
                        == MembershipReport(generation: max(generation, .second), records: [GroupRecord(.toInclude, group)]))
            }
        }
    }

    @Test func routerDiscoveryThereAndBack() {
        for source in [Self.host4, Self.host6] {
            let family = source.family
            let advertisement = MembershipFrame.advertisement(
                interval: .seconds(20), queryInterval: .seconds(125), robustness: 2, source: source, from: Self.mac,
                vlan: .untagged)
            #expect(
                message(advertisement)
                    == .advertisement(interval: .seconds(20), queryInterval: .seconds(125), robustness: 2))
            #expect(multicast(advertisement)?.group == RouterDiscovery.allSnoopers(family))
            let solicitation = MembershipFrame.solicitation(source: source, from: Self.mac, vlan: .untagged)
            #expect(message(solicitation) == .solicitation)
            #expect(multicast(solicitation)?.group == RouterDiscovery.allRouters(family))
            let termination = MembershipFrame.termination(source: source, from: Self.mac, vlan: .untagged)
            #expect(message(termination) == .termination)
            #expect(multicast(termination)?.group == RouterDiscovery.allSnoopers(family))
        }
    }

    /// Rule 26.
    @Test func everythingHasHopLimitOneAndRouterAlert() {
        var frames: [[UInt8]] = []
        for (source, group) in [(Self.host4, Self.group4), (Self.host6, Self.group6)] {
            frames.append(send(MembershipQuery(maxResponse: .seconds(10)), from: source))
            frames += send([GroupRecord(.allow, group, [source])], from: source)
            frames.append(MembershipFrame.leave(group: group, source: source, from: Self.mac, vlan: .untagged))
            frames.append(MembershipFrame.termination(source: source, from: Self.mac, vlan: .untagged))
        }
        for frame in frames {
            guard case .packet(let packet) = parsed(frame) else {
                Issue.record("refused")
                return
            }
            #expect(packet.hopLimit == 1 && packet.hasRouterAlert)
            #expect(packet.family == .v6 ? frame[14...15] == [0x60, 0] : frame[14...15] == [0x46, 0xC0])
        }
    }

    // MARK: Splitting (RFC 9776 section 4.2.16)

    private func sources(_ count: Int, _ family: IPFamily) -> [IPAddress] {
        (1...count).map { family == .v4 ? IPAddress(ipv4: 0x0A00_0000 + UInt32($0)) : v6(0x2001_0DB8_0000_0000, UInt64($0)) }
    }

    /// Octets of IP packet in a frame.
    private func packetLength(_ frame: [UInt8]) -> Int { frame.count - 14 }

    @Test(arguments: [GroupRecordKind.isInclude, .toInclude, .allow, .block])
    func longListsAreSplitOverRecords(kind: GroupRecordKind) {
        for (source, group) in [(Self.host4, Self.group4), (Self.host6, Self.group6)] {
            let wanted = sources(1_000, group.family)
            let frames = send([GroupRecord(kind, group, wanted)], from: source)
            #expect(frames.count == (group.family == .v4 ? 3 : 12))
            for frame in frames { #expect(packetLength(frame) <= 1_500) }
            let records = frames.flatMap { report($0)?.records ?? [] }
            #expect(records.flatMap(\.sources) == wanted)
            for record in records { #expect(record.kind == kind && record.group == group) }
        }
    }

    @Test(arguments: [GroupRecordKind.isExclude, .toExclude]) func longExcludeListsAreCut(kind: GroupRecordKind) {
        let excluded = sources(1_000, .v4)
        let frames = send([GroupRecord(kind, Self.group4, excluded)], from: Self.host4)
        #expect(frames.count == 1 && packetLength(frames[0]) == 1_500)
        // 24 of IP, 8 of report, 8 of record.
        #expect(report(frames[0])?.records == [GroupRecord(kind, Self.group4, Array(excluded.prefix(365)))])
        let frames6 = send([GroupRecord(kind, Self.group6, sources(1_000, .v6))], from: Self.host6)
        // 48 of IP, 8 of report, 20 of record.
        #expect(frames6.count == 1 && report(frames6[0])?.records.first?.sources.count == 89)
    }

    @Test func manyRecordsTakeSeveralPacketsInTheirOrder() {
        let records = (0..<1_000).map { GroupRecord(.isExclude, IPAddress(ipv4: 0xEF01_0000 + UInt32($0))) }
        let frames = send(records, from: Self.host4)
        #expect(frames.count == 6)
        for frame in frames { #expect(packetLength(frame) <= 1_500) }
        #expect(frames.flatMap { report($0)?.records ?? [] } == records)
        #expect(send([], from: Self.host4).isEmpty)
    }

    @Test func nextToALongListThereAreOthers() {
        let records = [
            GroupRecord(.isExclude, Self.group4), GroupRecord(.allow, Self.group4, sources(365, .v4)),
            GroupRecord(.toInclude, Self.group4), GroupRecord(.block, Self.group4, sources(366, .v4)),
        ]
        let frames = send(records, from: Self.host4)
        #expect(frames.map { report($0)?.records.map(\.sources.count) } == [[0], [365], [0], [365], [1]])
    }

    @Test(arguments: [Int.min, 0, 68, 127, 128, 576, 9_000, 65_535, .max]) func everyMTU(mtu: Int) {
        for (source, group) in [(Self.host4, Self.group4), (Self.host6, Self.group6)] {
            let wanted = sources(300, group.family)
            let frames = send([GroupRecord(.isInclude, group, wanted)], from: source, mtu: mtu)
            for frame in frames { #expect(packetLength(frame) <= max(mtu, MembershipFrame.leastMTU)) }
            #expect(frames.flatMap { report($0)?.records.flatMap(\.sources) ?? [] } == wanted)
        }
    }

    @Test func sourcesThatAQueryHasRoomFor() {
        #expect(MembershipFrame.maximumQuerySources(.v4) == 366)
        #expect(MembershipFrame.maximumQuerySources(.v6) == 89)
        for (source, group) in [(Self.host4, Self.group4), (Self.host6, Self.group6)] {
            let most = MembershipFrame.maximumQuerySources(source.family)
            let asked = MembershipQuery(group: group, sources: sources(most, source.family), maxResponse: .seconds(1))
            let frame = send(asked, from: source)
            #expect(query(frame) == asked && packetLength(frame) <= 1_500)
            #expect(packetLength(frame) + (source.family == .v4 ? 4 : 16) > 1_500)
        }
    }
}
