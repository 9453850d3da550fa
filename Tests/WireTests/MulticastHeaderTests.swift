// What lanes make of a multicast frame, rule by rule.

import Basics
import Testing
import Wire

@Suite struct MulticastHeaderTests {
    private func kind4(
        _ destination: String, protocol number: UInt8 = 17, payload: String = "0001000200080000", fragment: Int = 0,
        link: String = "01005e000000 020000000007 0800"
    ) -> MulticastHeader.Kind? {
        multicast(
            frame4(hex(payload), to: destination, options: "", protocol: number, fragment: fragment, link: link))?.kind
    }

    private func kind6(
        _ destination: String, first: UInt8 = 17, chain: String = "", payload: String = "0001000200080000",
        from source: String = "20010db8000000000000000000000001"
    ) -> MulticastHeader.Kind? {
        multicast(icmp6(payload, to: destination, from: source, chain: chain, first: first))?.kind
    }

    @Test func groupAndSourceOfData() {
        let four = multicast(frame4(hex("0001000200080000"), to: "239.1.1.1", options: "", protocol: 17))
        #expect(four?.kind == .data && four?.group == v4("239.1.1.1") && four?.source == v4("192.0.2.7"))
        let six = multicast(
            icmp6("0001000200080000", to: "ff0e0000000000000000000000000101", chain: "", first: 17))
        #expect(six?.kind == .data && six?.group == v6(0xFF0E_0000_0000_0000, 0x101))
        #expect(six?.source == v6(0xFE80_0000_0000_0000, 7))
    }

    /// Rule 11.
    @Test func linkLocalGroupsGoEverywhere() {
        for group in ["224.0.0.0", "224.0.0.1", "224.0.0.251", "224.0.0.255"] { #expect(kind4(group) == .everywhere) }
        for group in ["224.0.1.0", "224.1.0.1", "239.0.0.1", "232.0.0.1"] { #expect(kind4(group) == .data) }
        #expect(kind6("ff020000000000000000000000000001") == .everywhere)
        for group in ["ff020000000000000000000000000002", "ff0200000000000000000000000000fb", "ff050000000000000000000000000001"]
        {
            #expect(kind6(group) == .data)
        }
    }

    /// Rule 15.
    @Test func scopesThatAreNeverValid() {
        for group in ["ff00", "ff01", "ff10", "ff31"] {
            #expect(kind6(group + "0000000000000000000000000001") == .invalidScope)
        }
        for group in ["ff02", "ff03", "ff05", "ff0e", "ff12", "ff32", "ff0f"] {
            #expect(kind6(group + "0000000000000000000000000101") == .data)
        }
    }

    @Test func igmpByItsType() {
        for type in ["11", "12", "16", "17", "22"] {
            #expect(kind4("224.0.0.22", protocol: 2, payload: type + "00000000000000") == .membership)
            #expect(kind4("239.1.1.1", protocol: 2, payload: type) == .membership)
        }
        for type in ["30", "31", "32"] {
            #expect(kind4("224.0.0.106", protocol: 2, payload: type + "000000") == .discovery)
        }
        for type in ["00", "13", "14", "1e", "1f", "2f", "33", "ff"] {
            #expect(kind4("224.0.0.4", protocol: 2, payload: type + "00000000000000") == .unknownIGMP)
        }
    }

    /// What cannot be read is for the parser to refuse and count.
    @Test func igmpInPieces() {
        for fragment in [0x2000, 0x0001, 0x2003] {
            #expect(kind4("239.1.1.1", protocol: 2, payload: "13", fragment: fragment) == .membership)
        }
        #expect(kind4("239.1.1.1", protocol: 2, payload: "") == .membership)
        var broken = igmp4("1600 0000 ef010101", to: "239.1.1.1")
        broken[14] = 0x44
        #expect(multicast(broken)?.kind == .membership)
        broken[14 + 9] = 17
        #expect(multicast(broken)?.kind == .other)
        // Ethernet's padding is no message.
        let padded = frame4([], to: "239.1.1.1") + hex("13000000")
        #expect(multicast(padded)?.kind == .membership)
    }

    @Test func dataFragmentsAreData() {
        for fragment in [0x2000, 0x0001] { #expect(kind4("239.1.1.1", fragment: fragment) == .data) }
        #expect(kind6("ff0e0000000000000000000000000101", first: 44, chain: "1100000100000001") == .data)
        #expect(kind6("ff0e0000000000000000000000000101", first: 44, chain: "3a00000900000001", payload: "83000000") == .data)
    }

    /// Rule 17.
    @Test func mldByItsTypeBehindTheHeaders() {
        let reporters = "ff020000000000000000000000000016"
        for (chain, first) in [
            ("3a00050200000100", 0), ("", 58), ("3a01c2040000ffff000005020000 0100", 0), ("3a00010400000000", 60),
            ("3c000502000001003a00010400000000", 0), ("3a00000100000001", 44),
        ] as [(String, UInt8)] {
            for type in ["82", "83", "84", "8f"] {
                #expect(kind6(reporters, first: first, chain: chain, payload: type + "000000") == .membership)
            }
            for type in ["97", "98", "99"] {
                #expect(kind6(reporters, first: first, chain: chain, payload: type + "000000") == .discovery)
            }
            for type in ["85", "86", "87", "88", "89", "80", "01", "8e", "90", "96", "9a"] {
                #expect(kind6(reporters, first: first, chain: chain, payload: type + "000000") == .data)
            }
        }
        #expect(kind6("ff020000000000000000000000000001", first: 58, payload: "82000000") == .membership)
        #expect(kind6("ff020000000000000000000000000001", first: 58, payload: "88000000") == .everywhere)
        #expect(kind6("ff0200000000000000000001ff000001", first: 58, payload: "87000000") == .data)
    }

    @Test func mldThatCannotBeReadGoesByItsGroup() {
        let group = "ff0e0000000000000000000000000101"
        #expect(kind6(group, first: 0, chain: "3a09050200000100", payload: "83000000") == .data)
        let nothing = multicast([UInt8](icmp6("83000000", to: group, chain: "", first: 58, length: 0)))
        #expect(nothing?.kind == .data)
    }

    @Test func pimToAllPIMRouters() {
        #expect(kind4("224.0.0.13", protocol: 103, payload: "2000dfff") == .pim)
        #expect(kind4("224.0.0.14", protocol: 103, payload: "2000dfff") == .everywhere)
        #expect(kind4("224.0.0.13", protocol: 17) == .everywhere)
        #expect(kind4("239.1.1.1", protocol: 103, payload: "2000dfff") == .data)
        #expect(kind6("ff02000000000000000000000000000d", first: 103, payload: "20000000") == .pim)
        #expect(kind6("ff02000000000000000000000000000e", first: 103, payload: "20000000") == .data)
    }

    @Test func everythingElse() {
        #expect(kind4("192.0.2.1") == .other)
        #expect(kind4("255.255.255.255") == .other)
        #expect(kind4("239.1.1.1", link: "0180c2000000 020000000007 0800") == .other)
        #expect(kind4("239.1.1.1", link: "333300000001 020000000007 0800") == .other)
        #expect(kind4("239.1.1.1", link: "01005e010101 020000000007 88f7") == .other)
        #expect(kind4("239.1.1.1", link: "01005e010101 020000000007 86dd") == .other)
        #expect(kind6("20010db8000000000000000000000001") == .other)
        // A mapped source is no IPv6 source; MLD from it is refused by the parser.
        let mapped = "00000000000000000000ffffc0000201"
        #expect(kind6("ff0e0000000000000000000000000101", from: mapped) == .other)
        #expect(kind6("ff020000000000000000000000000016", first: 58, payload: "83000000", from: mapped) == .membership)
    }

    @Test func tagsAreLookedThrough() {
        #expect(kind4("239.1.1.1", link: "01005e010101 020000000007 8100000a 0800") == .data)
    }

    @Test func realFrames() {
        #expect(Heard.all.map { multicast($0)?.kind } == [.membership, .membership, .membership, .membership, .pim])
    }

    @Test func aHeaderOfAnotherFrameDoesNotTrap() {
        let frame = Heard.v3Join
        guard var header = FrameHeader(frame.octets) else {
            Issue.record("refused")
            return
        }
        for offset in [Int.min, -1, 1_000, .max] {
            header.payloadOffset = offset
            let kind = MulticastHeader(frame.octets, header).kind
            let membership = MembershipPacket.parse(frame.octets, header)
            let pim = PIM.parse(frame.octets, header)
            #expect(kind == .other && membership == .other && pim == .other)
        }
    }
}
