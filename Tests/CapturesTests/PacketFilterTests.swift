// Filters: what they accept, the program as instructions, and what a wrong expression says.

import Basics
import Captures
import Testing

@Suite("Packet filter")
struct PacketFilterTests {
    /// UDP from 10.0.0.1:40000 to 239.1.1.1:5001, 4 octets of payload.
    static let udp = hex(
        """
        01005e010101 020000000001 0800
        4500 0020 0000 0000 40 11 0000 0a000001 ef010101
        9c40 1389 000c 0000 01020304
        """)
    static let arp = hex("ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002")
    /// The same datagram in VLAN 10.
    static let tagged = Array(udp[..<12]) + [0x81, 0x00, 0x00, 0x0A] + Array(udp[12...])

    @Test(
        arguments: [
            ("", true, true, true),
            ("arp", false, true, false),
            ("not arp", true, false, true),
            ("udp port 5001", true, false, false),
            ("not port 22", true, true, true),
            ("ip multicast", true, false, false),
            ("vlan 10 and udp port 5001", false, false, true),
            ("vlan 11", false, false, false),
            ("ether src 02:00:00:00:00:01", true, true, true),
            ("ether broadcast", false, true, false),
            ("inbound", false, false, false),
            ("outbound", false, false, false),
            ("ifindex 1", false, false, false),
            ("less 45", false, true, false),
        ] as [(String, Bool, Bool, Bool)])
    func matches(expression: String, udp: Bool, arp: Bool, tagged: Bool) throws {
        let filter = try PacketFilter(expression: expression)
        #expect(filter.matches(Self.udp, originalLength: Self.udp.count) == udp)
        #expect(filter.matches(Self.arp, originalLength: Self.arp.count) == arp)
        #expect(filter.matches(Self.tagged, originalLength: Self.tagged.count) == tagged)
        #expect(filter.expression == expression)
    }

    @Test func lengthIsTheOneOnTheWire() throws {
        let filter = try PacketFilter(expression: "greater 1000")
        #expect(filter.matches(Self.udp, originalLength: 1_000))
        #expect(!filter.matches(Self.udp, originalLength: 999))
    }

    @Test func shortFramesMatchNothingTheyDoNotHave() throws {
        let filter = try PacketFilter(expression: "udp port 5001")
        for length in 0..<38 { #expect(!filter.matches(Array(Self.udp[..<length]), originalLength: length)) }
        #expect(try PacketFilter(expression: "").matches([], originalLength: 0))
    }

    @Test func instructions() throws {
        // Load the type, compare with 0x0806, return 262144 or 0.
        #expect(
            try PacketFilter(expression: "arp").instructions == [
                FilterInstruction(code: 0x28, jumpTrue: 0, jumpFalse: 0, k: 12),
                FilterInstruction(code: 0x15, jumpTrue: 0, jumpFalse: 1, k: 0x0806),
                FilterInstruction(code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 262_144),
                FilterInstruction(code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 0),
            ])
    }

    @Test(arguments: ["port", "udp prot 5", "(arp", "no\u{0}arp", "gateway nosuch", "ether host zz", "port 70000"])
    func badExpressions(expression: String) {
        let error = #expect(throws: CaptureError.self) { try PacketFilter(expression: expression) }
        #expect(error?.kind == .filter && error?.problem.isEmpty == false)
        #expect(error?.description.hasPrefix("filter \"\(expression)\": ") == true)
        #expect(error?.description.hasSuffix(" (the syntax is that of tcpdump: man 7 pcap-filter)") == true)
    }

    @Test func syntaxErrorsAreLibpcapsWords() {
        let error = #expect(throws: CaptureError.self) { try PacketFilter(expression: "(arp") }
        #expect(error?.problem.contains("syntax error") == true)
    }

    @Test func compilesOnManyThreads() async throws {
        try await withThrowingTaskGroup(of: Int.self) { group in
            for index in 0..<64 {
                group.addTask { try PacketFilter(expression: "udp port \(1_000 + index % 4)").instructions.count }
            }
            var counts: Set<Int> = []
            for try await count in group { counts.insert(count) }
            #expect(counts.count == 1)
        }
    }
}
