// PIM Hello against the octets of a real router and against those worked out from RFC 7761 section 4.9.2.

import Basics
import Testing
import Wire

@Suite struct PIMTests {
    private func hello4(_ message: String, to destination: String = "224.0.0.13", fragment: Int = 0) -> PIMParse {
        hello(
            frame4(
                checksummed(hex(message)), to: destination, from: "192.0.2.9", options: "", protocol: 103, fragment: fragment))
    }

    private func hello6(_ message: String, number: UInt8 = 103, chain: String = "", first: UInt8 = 103) -> PIMParse {
        hello(
            icmp6(
                message, to: "ff02000000000000000000000000000d", from: "fe800000000000000000000000000009", chain: chain,
                first: first, number: number))
    }

    private let source = v4("192.0.2.9")

    @Test func aRealRouters() {
        let expected = PIMHello(
            source: v4("10.0.0.6"), holdTime: .seconds(3), designatedRouterPriority: 1, generationID: 0xDD59_5CFF)
        #expect(hello(Heard.pimHello) == .hello(expected))
        let frame = Heard.pimHello
        guard let header = FrameHeader(frame.octets) else {
            Issue.record("refused")
            return
        }
        let parsed = PIM.parseHello(frame.octets, header)
        #expect(parsed == expected)
    }

    @Test func holdTimes() {
        #expect(hello4("2000 0000") == .hello(PIMHello(source: source, holdTime: .seconds(105))))
        #expect(hello4("2000 0000 00010002 0069") == .hello(PIMHello(source: source, holdTime: .seconds(105))))
        #expect(hello4("2000 0000 00010002 ffff") == .hello(PIMHello(source: source, holdTime: nil)))
        #expect(hello4("2000 0000 00010002 0000") == .hello(PIMHello(source: source, holdTime: .zero)))
        #expect(PIMHello(source: source, holdTime: .zero).isGoodbye)
        #expect(!PIMHello(source: source, holdTime: nil).isGoodbye && !PIMHello(source: source).isGoodbye)
    }

    @Test func unknownOptionsAreSkipped() {
        #expect(
            hello4("2000 0000 fde80003 010203 00010002 0003")
                == .hello(PIMHello(source: source, holdTime: .seconds(3))))
    }

    @Test func brokenOptions() {
        // Over the end, cut, and known ones of another length.
        for text in [
            "00010002 00", "00010003 0003", "000100", "00010002 0003 00", "00010004 00000003", "00130002 0001", "00140000",
            "ffffffff 00",
        ] {
            #expect(hello4("2000 0000" + text) == .malformed)
        }
    }

    @Test func checksums() {
        var frame = Heard.pimHello
        frame[frame.count - 1] ^= 1
        #expect(hello(frame) == .badChecksum)
        var header = Heard.pimHello
        header[14 + 8] ^= 2
        #expect(hello(header) == .badChecksum)
        // IPv6 sums a pseudo-header with protocol 103.
        #expect(
            hello6("2000 0000 00010002 0069") == .hello(PIMHello(source: v6(0xFE80_0000_0000_0000, 9))))
        #expect(hello6("2000 0000 00010002 0069", number: 58) == .badChecksum)
    }

    @Test func otherMessagesAndPlaces() {
        for octet in ["21", "23", "2f", "10", "30"] { #expect(hello4("\(octet)00 0000 00010002 0069") == .other) }
        #expect(hello4("2000 0000", to: "224.0.0.2") == .other)
        #expect(hello(Heard.v3Join) == .other && hello(Heard.mldV2Report) == .other)
        #expect(hello(frame4(hex("2000dfff"), to: "224.0.0.13", options: "", protocol: 17)) == .other)
    }

    @Test func boundsComeFromTheIPLength() {
        #expect(hello(Heard.pimHello + [0xA5, 0xA5]) == hello(Heard.pimHello))
        #expect(hello([UInt8](Heard.pimHello.dropLast())) == .malformed)
        #expect(hello4("2000 0000", fragment: 0x2000) == .malformed)
        #expect(hello6("2000 0000", chain: "6700000100000001", first: 44) == .malformed)
        #expect(hello(frame4(hex("2000df"), to: "224.0.0.13", options: "", protocol: 103)) == .malformed)
    }

    @Test func impossibleSources() {
        let message = checksummed(hex("2000 0000"))
        for source in ["0.0.0.0", "224.0.0.1", "255.255.255.255"] {
            #expect(
                hello(frame4(message, to: "224.0.0.13", from: source, options: "", protocol: 103)) == .malformed)
        }
    }

    @Test func emits() {
        let mac = MACAddress(rawValue: 0x02_00_00_00_00_09)
        let plain = MembershipFrame.pimHello(
            PIMHello(source: source, designatedRouterPriority: 1, generationID: 0xDEAD_BEEF), from: mac, vlan: .untagged)
        #expect(
            plain
                == frame4(
                    checksummed(hex("2000 0000 00010002 0069 00130004 00000001 00140004 deadbeef")), to: "224.0.0.13",
                    from: "192.0.2.9", options: "", protocol: 103, link: "01005e00000d 020000000009 0800"))
        for source in [source, v6(0xFE80_0000_0000_0000, 9)] {
            for holdTime in [nil, .zero, .seconds(105), .seconds(65_534)] as [Interval?] {
                for value in [nil, 7] as [UInt32?] {
                    let sent = PIMHello(
                        source: source, holdTime: holdTime, designatedRouterPriority: value, generationID: value)
                    let frame = MembershipFrame.pimHello(sent, from: mac, vlan: VLAN(rawValue: 10))
                    #expect(hello(frame) == .hello(sent))
                }
            }
        }
        // What is longer than the field holds is as long as it can be, but not for ever.
        let long = MembershipFrame.pimHello(
            PIMHello(source: source, holdTime: .seconds(70_000)), from: mac, vlan: .untagged)
        #expect(hello(long) == .hello(PIMHello(source: source, holdTime: .seconds(65_534))))
    }
}
