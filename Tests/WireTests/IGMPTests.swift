// IGMP of every version against literal octets, and the rules of multicast.md that decide what a message says.

import Basics
import Testing
import Wire

@Suite struct IGMPTests {
    // MARK: Queries (rule 6)

    @Test func v1QueryIsEightOctetsWithCodeZero() {
        #expect(query(igmp4("1100 0000 00000000")) == MembershipQuery(generation: .first, maxResponse: .seconds(10)))
        // RFC 1112: the group is ignored.
        #expect(query(igmp4("1100 0000 ef010101")) == MembershipQuery(generation: .first, maxResponse: .seconds(10)))
    }

    @Test func v2QueryIsEightOctetsWithACode() {
        #expect(query(igmp4("1164 0000 00000000")) == MembershipQuery(generation: .second, maxResponse: .seconds(10)))
        #expect(
            query(igmp4("110a 0000 ef010101"))
                == MembershipQuery(generation: .second, group: v4("239.1.1.1"), maxResponse: .seconds(1)))
    }

    /// RFC 2236 has no floating point: 0xC8 is 20 s, not 307.2 s.
    @Test func v2CodesAreLinear() {
        #expect(query(igmp4("11c8 0000 00000000"))?.maxResponse == .seconds(20))
        #expect(query(igmp4("11c8 0000 00000000 02c80000"))?.maxResponse == .milliseconds(307_200))
    }

    @Test func v3QueryIsTwelveOctetsAndMore() {
        #expect(
            query(igmp4("1164 0000 00000000 027d0000"))
                == MembershipQuery(maxResponse: .seconds(10), robustness: 2, queryInterval: .seconds(125)))
        #expect(
            query(igmp4("110a 0000 e8010101 0a890002 c0000201 c0000202"))
                == MembershipQuery(
                    group: v4("232.1.1.1"), sources: [v4("192.0.2.1"), v4("192.0.2.2")], maxResponse: .seconds(1),
                    suppress: true, robustness: 2, queryInterval: .seconds(200)))
        // Code 0 in twelve octets is still v3.
        #expect(query(igmp4("1100 0000 00000000 027d0000"))?.generation == .third)
    }

    @Test(arguments: ["02", "027d", "027d00"])
    func queriesOfNineToElevenOctetsAreRefused(more: String) {
        #expect(parsed(igmp4("1164 0000 00000000" + more)) == .refused(.queryLength, .v4))
    }

    @Test func queriedSourcesMustFit() {
        #expect(parsed(igmp4("110a 0000 e8010101 02890002 c0000201")) == .refused(.badLength, .v4))
        #expect(parsed(igmp4("110a 0000 e8010101 0289ffff c0000201")) == .refused(.badLength, .v4))
        // Octets beyond them are ignored, but summed.
        #expect(query(igmp4("110a 0000 e8010101 02890001 c0000201 cafe"))?.sources == [v4("192.0.2.1")])
        var frame = igmp4("110a 0000 e8010101 02890001 c0000201 cafe")
        frame[frame.count - 1] ^= 1
        #expect(parsed(frame) == .refused(.badChecksum, .v4))
    }

    @Test(arguments: ["e0000005", "c0000201", "ffffffff", "00000001"])
    func queriesForWhatNobodyJoinsAreRefused(group: String) {
        #expect(parsed(igmp4("110a 0000 \(group)")) == .refused(.badGroup, .v4))
        #expect(parsed(igmp4("110a 0000 \(group) 027d0000")) == .refused(.badGroup, .v4))
    }

    @Test func sourcesOfAQuery() {
        // Of a general query: none.
        #expect(query(igmp4("1164 0000 00000000 027d0001 c0000201"))?.sources == [])
        // Twice the same, and one that is not unicast.
        #expect(
            query(igmp4("110a 0000 e8010101 02890003 c0000201 e0000001 c0000201"))?.sources == [v4("192.0.2.1")])
        // None is left: it must not become a query for the group.
        #expect(parsed(igmp4("110a 0000 e8010101 02890001 e0000001")) == .refused(.badGroup, .v4))
    }

    // MARK: Reports of v1 and v2, leaves

    @Test func olderReportsAreRecords() {
        let group = v4("239.255.255.250")
        #expect(
            report(igmp4("1200 0000 effffffa"))
                == MembershipReport(generation: .first, records: [GroupRecord(.isExclude, group)]))
        #expect(
            report(igmp4("1600 0000 effffffa"))
                == MembershipReport(generation: .second, records: [GroupRecord(.isExclude, group)]))
        #expect(
            report(igmp4("1700 0000 effffffa"))
                == MembershipReport(generation: .second, records: [GroupRecord(.toInclude, group)]))
        // Longer ones are read as far as they go (RFC 2236 section 2.5).
        #expect(report(igmp4("1600 0000 effffffa 0102"))?.records == [GroupRecord(.isExclude, group)])
    }

    @Test(arguments: ["12", "16", "17"]) func olderReportsOfWhatIsNotSnooped(kind: String) {
        var unsnooped = IgnoredRecords()
        unsnooped.unsnooped = 1
        var notAGroup = IgnoredRecords()
        notAGroup.notAGroup = 1
        #expect(report(igmp4("\(kind)00 0000 e00000fb"))?.ignored == unsnooped)
        #expect(report(igmp4("\(kind)00 0000 e00000fb"))?.records == [])
        #expect(report(igmp4("\(kind)00 0000 c0000201"))?.ignored == notAGroup)
        #expect(report(igmp4("\(kind)00 0000 00000000"))?.records == [])
    }

    // MARK: Reports of v3 (rule 25)

    @Test func everyRecordType() {
        let frame = igmp4(
            """
            2200 0000 0000 0006
            0100 0001 ef010101 c0000201  0200 0000 ef010102  0300 0000 ef010103
            0400 0002 ef010104 c0000202 c0000201  0500 0001 ef010105 c0000201  0600 0001 ef010106 c0000201
            """)
        let one = v4("192.0.2.1")
        #expect(
            report(frame)
                == MembershipReport(
                    generation: .third,
                    records: [
                        GroupRecord(.isInclude, v4("239.1.1.1"), [one]), GroupRecord(.isExclude, v4("239.1.1.2")),
                        GroupRecord(.toInclude, v4("239.1.1.3")),
                        GroupRecord(.toExclude, v4("239.1.1.4"), [v4("192.0.2.2"), one]),
                        GroupRecord(.allow, v4("239.1.1.5"), [one]), GroupRecord(.block, v4("239.1.1.6"), [one]),
                    ]))
    }

    @Test func aRealHostsJoin() {
        let groups = ["239.1.1.1", "239.2.2.2", "239.3.3.3"]
        #expect(
            parsed(Heard.v3Join)
                == .packet(
                    MembershipPacket(
                        source: v4("20.0.1.100"), destination: v4("224.0.0.22"), hopLimit: 1, hasRouterAlert: true,
                        message: .report(
                            MembershipReport(generation: .third, records: groups.map { GroupRecord(.toExclude, v4($0)) })))))
    }

    /// Linux ignores auxiliary data, Open vSwitch counts its octets: it is counted in words, and skipped.
    @Test func auxiliaryDataIsCountedInWords() {
        let frame = igmp4(
            """
            2200 0000 0000 0002
            0402 0001 ef010101 c0000201 06000001 ef090909  0400 0000 ef010102
            """)
        #expect(
            report(frame)?.records == [
                GroupRecord(.toExclude, v4("239.1.1.1"), [v4("192.0.2.1")]), GroupRecord(.toExclude, v4("239.1.1.2")),
            ])
        #expect(parsed(igmp4("2200 0000 00000001 0402 0000 ef010101 01020304 010203")) == .refused(.badLength, .v4))
    }

    /// Open vSwitch stops at the first record type that it does not know.
    @Test(arguments: ["00", "07", "ff"]) func recordsAfterAnUnknownTypeAreUsed(kind: String) {
        let frame = igmp4("2200 0000 0000 0002 \(kind)01 0001 ef010101 c0000201 deadbeef 0400 0000 ef010102")
        #expect(report(frame)?.records == [GroupRecord(.toExclude, v4("239.1.1.2"))])
        #expect(report(frame)?.ignored.unknownKind == 1)
    }

    @Test func aReportThatDoesNotHoldItsRecordsMakesNoState() {
        // Three counted, two there; the second one's source cut; a source count of 65535.
        #expect(
            parsed(igmp4("2200 0000 0000 0003 0400 0000 ef010101 0400 0000 ef010102")) == .refused(.badLength, .v4))
        #expect(
            parsed(igmp4("2200 0000 0000 0002 0400 0000 ef010101 0500 0001 ef010102 c000"))
                == .refused(.badLength, .v4))
        #expect(parsed(igmp4("2200 0000 0000 0001 0500 ffff ef010102 c0000201")) == .refused(.badLength, .v4))
        #expect(parsed(igmp4("2200 0000 0000 ffff")) == .refused(.badLength, .v4))
    }

    @Test func octetsBeyondTheRecordsAreIgnoredButSummed() {
        var frame = igmp4("2200 0000 0000 0001 0400 0000 ef010101 cafebabe")
        #expect(report(frame)?.records == [GroupRecord(.toExclude, v4("239.1.1.1"))])
        frame[frame.count - 1] ^= 0x10
        #expect(parsed(frame) == .refused(.badChecksum, .v4))
    }

    @Test func anEmptyReport() {
        #expect(report(igmp4("2200 0000 0000 0000")) == MembershipReport(generation: .third, records: []))
    }

    @Test func recordsThatMeanNothingAreCounted() {
        let frame = igmp4(
            """
            2200 0000 0000 0006
            0400 0000 e0000016  0400 0000 c0000201  0500 0003 ef010101 e0000001 c0000201 00000000
            0400 0002 ef010102 ffffffff e0000001  0500 0003 ef010103 c0000201 c0000202 c0000201  0400 0000 ef010104
            """)
        var ignored = IgnoredRecords()
        ignored.unsnooped = 1
        ignored.notAGroup = 1
        ignored.badSource = 4
        #expect(
            report(frame)
                == MembershipReport(
                    generation: .third,
                    records: [
                        GroupRecord(.allow, v4("239.1.1.1"), [v4("192.0.2.1")]),
                        GroupRecord(.allow, v4("239.1.1.3"), [v4("192.0.2.1"), v4("192.0.2.2")]),
                        GroupRecord(.toExclude, v4("239.1.1.4")),
                    ], ignored: ignored))
    }

    /// Past sixteen sources another way of finding duplicates takes over.
    @Test func manySourcesAreTakenOnceEach() {
        let sources = (0..<100).map { UInt32(0xC000_0200 + $0 % 40 + 1) }
        let message = hex("2200 0000 0000 0001 0100 0064 ef010101") + sources.flatMap(be32)
        #expect(
            report(frame4(checksummed(message)))?.records == [
                GroupRecord(.isInclude, v4("239.1.1.1"), sources.prefix(40).map { IPAddress(ipv4: $0) })
            ])
    }

    // MARK: Router discovery (rule 30)

    @Test func routerDiscovery() {
        #expect(
            message(igmp4("3014 0000 007d 0002"))
                == .advertisement(interval: .seconds(20), queryInterval: .seconds(125), robustness: 2))
        // RFC 4286 ends these after four octets.
        #expect(message(igmp4("3100 0000")) == .solicitation)
        #expect(message(igmp4("3200 0000")) == .termination)
        #expect(message(igmp4("3200 0000 00000000")) == .termination)
        #expect(parsed(igmp4("3014 0000 007d")) == .refused(.badLength, .v4))
        #expect(parsed(frame4(hex("3100ce"))) == .refused(.badLength, .v4))
        #expect(parsed(frame4(hex("3100ceff 0001"))) == .refused(.badChecksum, .v4))
    }

    // MARK: The headers before it (rules 5, 8, 25)

    @Test(arguments: ["13", "14", "1e", "1f", "15", "00", "ff"]) func unknownTypesAreSomethingElse(kind: String) {
        // Of any length, and whatever their checksum: only the network header is used.
        #expect(parsed(frame4(hex("\(kind)00 1234 00000000"))) == .other)
        #expect(parsed(frame4(hex(kind))) == .other)
    }

    @Test(arguments: ["11", "12", "16", "17", "22"]) func fewerThanEightOctetsAreRefused(kind: String) {
        for count in 1..<8 {
            let octets = [UInt8](hex("\(kind)00 0000 ef0101").prefix(count))
            #expect(parsed(frame4(count < 4 ? octets : checksummed(octets))) == .refused(.badLength, .v4))
        }
        #expect(parsed(frame4([])) == .refused(.badLength, .v4))
    }

    @Test func aWrongChecksumMakesNoState() {
        var message = igmp4("1600 0000 ef010101")
        message[message.count - 3] ^= 1
        #expect(parsed(message) == .refused(.badChecksum, .v4))
        var header = igmp4("1600 0000 ef010101")
        header[14 + 8] = 2
        #expect(parsed(header) == .refused(.badChecksum, .v4))
    }

    /// Ethernet pads to 60 octets: the padding is no part of the message, neither of its length nor of its sum.
    @Test func boundsComeFromTheIPLength() {
        let padding = [UInt8](repeating: 0xA5, count: 20)
        #expect(query(igmp4("1164 0000 00000000") + padding)?.generation == .second)
        #expect(report(igmp4("2200 0000 0000 0000") + padding)?.records == [])
        #expect(
            parsed(igmp4("2200 0000 0000 0001") + hex("04000000ef010101")) == .refused(.badLength, .v4))
        // The frame ends before the packet does.
        let message = checksummed(hex("1600 0000 ef010101"))
        #expect(parsed(frame4(message, total: 33)) == .refused(.badLength, .v4))
    }

    @Test(arguments: [0x2000, 0x0001, 0x2001, 0x1FFF]) func fragmentsAreRefused(field: Int) {
        #expect(parsed(frame4(checksummed(hex("1600 0000 ef010101")), fragment: field)) == .refused(.fragment, .v4))
        #expect(parsed(frame4([], protocol: 17, fragment: field)) == .other)
    }

    @Test func aBrokenHeaderIsRefusedIfItIsIGMPs() {
        var short = igmp4("1600 0000 ef010101")
        short[14] = 0x44
        #expect(parsed(short) == .refused(.badLength, .v4))
        var long = igmp4("1600 0000 ef010101")
        long[14] = 0x4F
        #expect(parsed(long) == .refused(.badLength, .v4))
        var notIGMP = short
        notIGMP[14 + 9] = 17
        #expect(parsed(notIGMP) == .other)
        var otherVersion = igmp4("1600 0000 ef010101")
        otherVersion[14] = 0x56
        #expect(parsed(otherVersion) == .other)
    }

    @Test func onlyProtocolTwo() {
        for number in UInt8.min...UInt8.max where number != 2 {
            #expect(parsed(frame4(checksummed(hex("1600 0000 ef010101")), protocol: number)) == .other)
        }
    }

    /// Rule 26: what is missing is told, not required.
    @Test func routerAlertHopLimitAndSourceAreReported() {
        let message = checksummed(hex("1600 0000 ef010101"))
        func packet(_ frame: [UInt8]) -> MembershipPacket? {
            if case .packet(let packet) = parsed(frame) { return packet }
            return nil
        }
        #expect(packet(frame4(message))?.hasRouterAlert == true)
        #expect(packet(frame4(message, options: ""))?.hasRouterAlert == false)
        #expect(packet(frame4(message, options: "01010101"))?.hasRouterAlert == false)
        #expect(packet(frame4(message, from: "0.0.0.0"))?.source.isUnspecified == true)
        #expect(packet(frame4(message, to: "239.1.1.1"))?.destination == v4("239.1.1.1"))
        #expect(packet(frame4(message))?.hopLimit == 1)
    }

    @Test func tagsAreLookedThrough() {
        let message = checksummed(hex("1600 0000 ef010101"))
        let frame = frame4(message, link: "01005e000016 020000000007 88a80064 8100000a 0800")
        #expect(report(frame)?.records == [GroupRecord(.isExclude, v4("239.1.1.1"))])
    }

    // MARK: Views

    @Test func viewsOfAQuery() {
        let octets = [UInt8](Heard.v3GroupQuery[38...])
        guard let view = IGMP.View(octets.octets), let tail = MembershipPart.QueryTailView(octets.octets, at: 8, .v4) else {
            Issue.record("refused")
            return
        }
        #expect(view.kind == .query && view.code == 10 && view.checksum == 0xFC75)
        #expect(view.group == v4("239.1.1.1"))
        #expect(view.isChecksumValid == true)
        #expect(!tail.suppress && tail.robustness == 2 && tail.queryIntervalCode == 125)
        #expect(tail.sourceCount == 0 && tail.source(at: 0) == nil && tail.source(at: -1) == nil)
    }

    @Test func viewsOfARecord() {
        let octets = hex("0701 0002 ef010101 c0000201 c0000202 deadbeef 00")
        guard let view = MembershipPart.RecordView(octets.octets, at: 0, .v4) else {
            Issue.record("refused")
            return
        }
        #expect(view.kindNumber == 7 && view.kind == nil && view.auxiliaryByteCount == 4 && view.byteCount == 20)
        #expect(view.group == v4("239.1.1.1") && view.sourceCount == 2)
        #expect(view.source(at: 1) == v4("192.0.2.2") && view.source(at: 2) == nil && view.source(at: .min) == nil)
        for offset in [Int.min, -1, 2, 21, .max] {
            #expect(MembershipPart.RecordView(octets.octets, at: offset, .v4)?.byteCount == nil)
        }
    }
}
