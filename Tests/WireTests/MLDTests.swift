// MLD of both versions against literal octets, and the rules that differ from IGMP's.

import Basics
import Testing
import Wire

@Suite struct MLDTests {
    static let group = v6(0xFF0E_0000_0000_0000, 0x0101)
    static let groupText = "ff0e000000000000 0000000000000101"
    static let source = v6(0x2001_0DB8_0000_0000, 1)
    static let sourceText = "20010db800000000 0000000000000001"
    static let nobody = "0000000000000000 0000000000000000"

    // MARK: Queries (rule 6)

    @Test func v1QueryIs24Octets() {
        #expect(
            query(icmp6("8200 0000 2710 0000 \(Self.nobody)"))
                == MembershipQuery(generation: .second, maxResponse: .seconds(10)))
        #expect(
            query(icmp6("8200 0000 03e8 0000 \(Self.groupText)"))
                == MembershipQuery(generation: .second, group: Self.group, maxResponse: .seconds(1)))
    }

    /// RFC 2710 has no floating point.
    @Test func v1DelaysAreLinear() {
        #expect(query(icmp6("8200 0000 c000 0000 \(Self.nobody)"))?.maxResponse == .milliseconds(0xC000))
        #expect(query(icmp6("8200 0000 c000 0000 \(Self.nobody) 027d0000"))?.maxResponse == .milliseconds(4_096 << 7))
    }

    @Test func v2QueryIs28OctetsAndMore() {
        #expect(
            query(icmp6("8200 0000 2710 0000 \(Self.nobody) 027d0000"))
                == MembershipQuery(maxResponse: .seconds(10), robustness: 2, queryInterval: .seconds(125)))
        #expect(
            query(icmp6("8200 0000 03e8 0000 \(Self.groupText) 0a890001 \(Self.sourceText)"))
                == MembershipQuery(
                    group: Self.group, sources: [Self.source], maxResponse: .seconds(1), suppress: true, robustness: 2,
                    queryInterval: .seconds(200)))
        #expect(
            parsed(icmp6("8200 0000 03e8 0000 \(Self.groupText) 0a890002 \(Self.sourceText)"))
                == .refused(.badLength, .v6))
    }

    @Test(arguments: ["02", "027d", "027d00"]) func queriesOf25To27OctetsAreRefused(more: String) {
        #expect(parsed(icmp6("8200 0000 2710 0000 \(Self.nobody)" + more)) == .refused(.queryLength, .v6))
    }

    @Test(arguments: [
        "ff020000000000000000000000000001", "ff010000000000000000000000000101", "ff100000000000000000000000000101",
        "20010db8000000000000000000000001", "00000000000000000000ffffef010101",
    ])
    func queriesForWhatNobodyJoinsAreRefused(group: String) {
        #expect(parsed(icmp6("8200 0000 2710 0000 \(group)")) == .refused(.badGroup, .v6))
        #expect(parsed(icmp6("8200 0000 2710 0000 \(group) 027d0000")) == .refused(.badGroup, .v6))
    }

    // MARK: Reports

    @Test func olderReportsAreRecords() {
        #expect(
            report(icmp6("8300 0000 00000000 \(Self.groupText)"))
                == MembershipReport(generation: .second, records: [GroupRecord(.isExclude, Self.group)]))
        #expect(
            report(icmp6("8400 0000 00000000 \(Self.groupText)"))
                == MembershipReport(generation: .second, records: [GroupRecord(.toInclude, Self.group)]))
        #expect(report(icmp6("8400 0000 00000000 ff0200000000000000000000 00000001"))?.ignored.unsnooped == 1)
    }

    @Test func realReports() {
        #expect(
            parsed(Heard.mldV1Report)
                == .packet(
                    MembershipPacket(
                        source: .unspecified(.v6), destination: v6(0xFF02_0000_0000_0000, 0x1_FF0E_4C67), hopLimit: 1,
                        hasRouterAlert: true,
                        message: .report(
                            MembershipReport(
                                generation: .second,
                                records: [GroupRecord(.isExclude, v6(0xFF02_0000_0000_0000, 0x1_FF0E_4C67))])))))
        #expect(
            report(Heard.mldV2Report)
                == MembershipReport(
                    generation: .third, records: [GroupRecord(.toExclude, v6(0xFF02_0000_0000_0000, 2))]))
    }

    @Test func recordsOfAReport() {
        let frame = icmp6(
            """
            8f00 0000 0000 0005
            0501 0002 \(Self.groupText) \(Self.sourceText) \(Self.sourceText) deadbeef
            0900 0000 \(Self.groupText)
            0100 0001 \(Self.groupText) 00000000000000000000ffffc0000201
            0400 0000 00000000000000000000ffffef010101
            0600 0001 \(Self.groupText) \(Self.sourceText)
            """)
        var ignored = IgnoredRecords()
        ignored.unknownKind = 1
        ignored.badSource = 1
        ignored.notAGroup = 1
        #expect(
            report(frame)
                == MembershipReport(
                    generation: .third,
                    records: [GroupRecord(.allow, Self.group, [Self.source]), GroupRecord(.block, Self.group, [Self.source])],
                    ignored: ignored))
        #expect(parsed(icmp6("8f00 0000 0000 0002 0400 0000 \(Self.groupText)")) == .refused(.badLength, .v6))
        #expect(parsed(icmp6("8f00 0000 0000 0001 0401 0000 \(Self.groupText) 0000")) == .refused(.badLength, .v6))
    }

    @Test func truncatedMessagesAreRefused() {
        for kind in ["82", "83", "84"] {
            #expect(parsed(icmp6("\(kind)00 0000 27100000 \(Self.nobody.dropLast(2))")) == .refused(.badLength, .v6))
        }
        #expect(parsed(icmp6("8f00 0000 0000 00")) == .refused(.badLength, .v6))
        // The frame ends before the packet does.
        #expect(
            parsed(icmp6("8300 0000 00000000 \(Self.groupText)", length: 33)) == .refused(.badLength, .v6))
        // Padding after the packet is none of its octets.
        #expect(report(icmp6("8300 0000 00000000 \(Self.groupText)") + [1, 2, 3])?.records.count == 1)
    }

    @Test func aWrongChecksumMakesNoState() {
        var frame = icmp6("8300 0000 00000000 \(Self.groupText)")
        frame[frame.count - 1] ^= 2
        #expect(parsed(frame) == .refused(.badChecksum, .v6))
        var moved = icmp6("8300 0000 00000000 \(Self.groupText)")
        moved[14 + 23] ^= 1
        #expect(parsed(moved) == .refused(.badChecksum, .v6))
    }

    // MARK: The headers before it (rule 17)

    /// With other options before the alert, behind further headers, and, leniently, without any.
    @Test func recognisedBehindWhateverHeaders() {
        let message = "8300 0000 00000000 \(Self.groupText)"
        func alert(_ frame: [UInt8]) -> Bool? {
            if case .packet(let packet) = parsed(frame) { return packet.hasRouterAlert }
            return nil
        }
        #expect(alert(icmp6(message)) == true)
        #expect(alert(icmp6(message, chain: "", first: 58)) == false)
        #expect(alert(icmp6(message, chain: "3a01 c2040000ffff 0000 0502 0000 0100")) == true)
        #expect(alert(icmp6(message, chain: "3a00 0104 00000000")) == false)
        // A Router Alert for something else (RFC 2711: 1 is RSVP).
        #expect(alert(icmp6(message, chain: "3a00 0502 0001 0100")) == false)
        #expect(alert(icmp6(message, chain: "3c00 0502 0000 0100 3a00 0104 00000000")) == true)
        #expect(alert(icmp6(message, chain: "3a00 0104 00000000", first: 60)) == false)
    }

    @Test(arguments: [133, 134, 135, 136, 137, 128, 129, 1, 2, 144, 150, 154]) func neighbourDiscoveryIsNever(kind: Int) {
        let text = String(kind, radix: 16)
        let octets = (text.count < 2 ? "0" + text : text) + "00 0000 00000000 \(Self.groupText)"
        #expect(parsed(icmp6(octets)) == .other)
        #expect(parsed(icmp6(octets, chain: "", first: 58)) == .other)
        #expect(multicast(icmp6(octets))?.kind == .data)
    }

    @Test func fragmentsAreRefusedWhereTheTypeIsVisible() {
        let message = "8300 0000 00000000 \(Self.groupText)"
        #expect(parsed(icmp6(message, chain: "3a00 0001 00000001", first: 44)) == .refused(.fragment, .v6))
        #expect(parsed(icmp6(message, chain: "2c00 0502 0000 0100 3a00 0001 00000001")) == .refused(.fragment, .v6))
        #expect(parsed(icmp6(message, chain: "3a00 0009 00000001", first: 44)) == .other)
        #expect(parsed(icmp6("8000 0000 00000000", chain: "3a00 0001 00000001", first: 44)) == .other)
    }

    @Test func aMappedSourceIsNone() {
        let frame = icmp6(
            "8300 0000 00000000 \(Self.groupText)", from: "0000000000000000 0000ffffc0000201")
        #expect(parsed(frame) == .refused(.badLength, .v6))
    }

    @Test func routerDiscovery() {
        #expect(
            message(icmp6("9714 0000 007d 0002"))
                == .advertisement(interval: .seconds(20), queryInterval: .seconds(125), robustness: 2))
        #expect(message(icmp6("9800 0000")) == .solicitation)
        #expect(message(icmp6("9900 0000")) == .termination)
        #expect(parsed(icmp6("9714 0000 007d")) == .refused(.badLength, .v6))
    }

    // MARK: Views

    @Test func views() {
        let octets = [UInt8](Heard.mldV1Report[62...])
        guard let header = ICMPv6.View(octets.octets), let view = MLD.View(octets.octets) else {
            Issue.record("refused")
            return
        }
        #expect(header.kind == .listenerReport && header.code == 0 && header.checksum == 0xE7B8 && header.byteCount == 24)
        #expect(view.maxResponseCode == 0 && view.group == v6(0xFF02_0000_0000_0000, 0x1_FF0E_4C67))
        let short = [UInt8](octets.prefix(23))
        #expect(MLD.View(short.octets)?.byteCount == nil)
        let shorter = [UInt8](octets.prefix(3))
        #expect(ICMPv6.View(shorter.octets)?.byteCount == nil)
    }
}
