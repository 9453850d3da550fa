// Each protocol against literal octets, both ways.

import Basics
import Testing
import Wire

@Suite struct ARPTests {
    @Test func gratuitousRequest() throws {
        let bytes = Sample.arpGratuitous
        guard let view = ARP.View(bytes.octets.extracting(14..<42)) else {
            Issue.record("refused")
            return
        }
        #expect(view.operation == .request)
        #expect(view.senderHardware == MACAddress("00:e0:ed:01:6e:bd"))
        #expect(view.senderAddress == 0xC0A8_0102)
        #expect(view.targetHardware == .zero)
        #expect(view.targetAddress == 0xC0A8_0101)
        #expect(view.isGratuitous == false)
        var buffer = [UInt8](repeating: 0xEE, count: 28)
        let packet = ARP.Packet(view)
        #expect(mutate(&buffer) { packet.emit(into: &$0, at: 0) } == 28)
        #expect(buffer == [UInt8](bytes[14...]))
        #expect(mutate(&buffer) { packet.emit(into: &$0, at: 1) } == nil)
    }

    @Test func onlyEthernetAndIPv4() {
        for (offset, octet) in [(1, 6), (2, 0x86), (4, 8), (5, 16)] as [(Int, UInt8)] {
            var bytes = [UInt8](Sample.arpGratuitous[14...])
            bytes[offset] = octet
            #expect(ARP.View(bytes.octets)?.operation == nil)
        }
    }

    @Test func unknownOperationIsAValue() throws {
        var bytes = [UInt8](Sample.arpGratuitous[14...])
        bytes[7] = 25
        #expect(ARP.View(bytes.octets)?.operation == ARP.Operation(rawValue: 25))
    }
}

@Suite struct IPv4Tests {
    @Test func fieldsOfACapturedDatagram() throws {
        let bytes = [UInt8](Sample.udp4[14...])
        guard let view = IPv4.View(bytes.octets) else {
            Issue.record("refused")
            return
        }
        #expect(view.headerLength == 20)
        #expect(view.totalLength == 33)
        #expect(view.identification == 0x6A52)
        #expect(!view.dontFragment && !view.moreFragments && !view.isFragment)
        #expect(view.timeToLive == 128)
        #expect(view.transport == .udp)
        #expect(view.headerChecksum == 0x18BA)
        #expect(view.isChecksumValid == true)
        #expect(view.source == 0xC0A8_0102)
        #expect(view.destination == 0xD4F2_2123)
        #expect(view.options.byteCount == 0)
        #expect(view.payload.byteCount == 13)
        let parsed = IPv4.Header(view)
        let header = try #require(parsed)
        var buffer = [UInt8](repeating: 0xEE, count: 20)
        #expect(mutate(&buffer) { header.emit(into: &$0, at: 0) } == 20)
        #expect(buffer == [UInt8](bytes[..<20]))
    }

    @Test func paddingAndMissingOctets() throws {
        let bytes = [UInt8](Sample.udp4[14...]) + [0, 0, 0]
        #expect(IPv4.View(bytes.octets)?.payload.byteCount == 13)
        #expect(IPv4.View(bytes.octets.extracting(0..<25))?.payload.byteCount == 5)
    }

    @Test func optionsAndFragments() throws {
        // An IGMP query with a router alert, 24 octets of header; then as a fragment.
        let bytes = hex("46c00020000040000102 436d c0a80001 e0000001 94040000 1164ee9b00000000")
        guard let view = IPv4.View(bytes.octets) else {
            Issue.record("refused")
            return
        }
        #expect(view.headerLength == 24)
        #expect(view.isChecksumValid == true)
        #expect(array(view.options) == hex("94040000"))
        #expect(view.payload.byteCount == 8)
        #expect(view.trafficClass == 0xC0)
        #expect(view.dontFragment == true)
        var cut = bytes
        cut[6] = 0x20
        cut[7] = 0x03
        guard let fragment = IPv4.View(cut.octets) else {
            Issue.record("refused")
            return
        }
        #expect(fragment.isFragment && fragment.moreFragments && fragment.fragmentOffset == 24)
        #expect(IPv4.Header(fragment) == nil)
        #expect(fragment.isChecksumValid == false)
    }

    @Test func refused() {
        let good = [UInt8](Sample.udp4[14...])
        for (offset, octet) in [(0, 0x65), (0, 0x44), (0, 0x4F), (3, 19)] as [(Int, UInt8)] {
            var bytes = good
            bytes[offset] = octet
            #expect(IPv4.View(bytes.octets)?.headerLength == nil)
        }
    }

    @Test func tooLongToEmit() {
        var buffer = [UInt8](repeating: 0, count: 64)
        for count in [-1, 65_516, .max] {
            let header = IPv4.Header(source: 1, destination: 2, transport: .udp, payloadCount: count)
            #expect(mutate(&buffer) { header.emit(into: &$0, at: 0) } == nil)
        }
    }
}

@Suite struct IPv6Tests {
    @Test func fieldsOfACapturedSegment() throws {
        let bytes = [UInt8](Sample.tcp6[14...])
        guard let view = IPv6.View(bytes.octets) else {
            Issue.record("refused")
            return
        }
        #expect(view.payloadLength == 20)
        #expect(view.nextHeader == .tcp)
        #expect(view.hopLimit == 64)
        #expect(view.source == IPv6.Address(high: 0x2001_06F8_102D_0000, low: 0x02D0_09FF_FEE3_E8DE))
        #expect(view.destination == IPv6.Address(high: 0x2001_06F8_0900_07C0, low: 2))
        #expect(view.destination.isMulticast == false)
        #expect(
            view.findTransport()
                == IPv6.Transport(transport: .tcp, offset: 40, isFragment: false, fragmentOffset: 0, isSourceRouted: false))
    }

    @Test func emitsClassAndFlow() throws {
        let header = IPv6.Header(
            source: IPv6.Address(high: 1, low: 2), destination: IPv6.Address(high: 0xFF02 << 48, low: 1), nextHeader: .icmpv6,
            hopLimit: 1, trafficClass: 0xB8, flowLabel: 0xABCDE, payloadCount: 0x0102)
        var buffer = [UInt8](repeating: 0xEE, count: 40)
        #expect(mutate(&buffer) { header.emit(into: &$0, at: 0) } == 40)
        #expect(
            buffer == hex("6b8abcde 0102 3a 01 0000000000000001 0000000000000002 ff02000000000000 0000000000000001"))
        guard let view = IPv6.View(buffer.octets) else {
            Issue.record("refused")
            return
        }
        #expect(IPv6.Header(view) == header)
        #expect(view.destination.isMulticast)
        var copy = buffer
        #expect(mutate(&copy) { header.emit(into: &$0, at: 1) } == nil)
    }

    @Test func hopByHopLeadsToICMPv6() throws {
        let bytes = [UInt8](Sample.mld6[14...])
        guard let view = IPv6.View(bytes.octets) else {
            Issue.record("refused")
            return
        }
        let walked = view.findTransport()
        let found = try #require(walked)
        #expect(found.transport == .icmpv6)
        #expect(found.offset == 48)
        let message = view.payload(of: found)
        #expect(message.byteCount == 24)
        var checksum = view.pseudoHeader(for: .icmpv6, length: message.byteCount)
        checksum.add(message)
        #expect(checksum.isValid)
    }

    /// A packet to nowhere with these octets after the fixed header.
    func packet(_ first: UInt8, _ rest: String) -> [UInt8] {
        let rest = hex(rest)
        return hex("60000000") + be16(rest.count) + [first, 64] + [UInt8](repeating: 1, count: 32) + rest
    }

    struct WalkCase: Sendable {
        let first: UInt8
        let rest: String
        let expected: IPv6.Transport?
    }

    @Test(arguments: [
        // Routing header with a segment left, 24 octets; then UDP.
        WalkCase(
            first: 43, rest: "11020401 00000000 0000000000000000 0000000000000000",
            expected: .init(transport: .udp, offset: 64, isFragment: false, fragmentOffset: 0, isSourceRouted: true)),
        // First fragment: the transport header is there.
        WalkCase(
            first: 44, rest: "11000001 12345678",
            expected: .init(transport: .udp, offset: 48, isFragment: true, fragmentOffset: 0, isSourceRouted: false)),
        // A later fragment: what follows is not a header, even where its number says so.
        WalkCase(
            first: 44, rest: "3c000188 12345678 1103",
            expected: .init(
                transport: .destinationOptions, offset: 48, isFragment: true, fragmentOffset: 0x188, isSourceRouted: false)),
        // Authentication: 4-octet units.
        WalkCase(
            first: 51, rest: "06040000 00000000 00000000 00000000 00000000 00000000",
            expected: .init(transport: .tcp, offset: 64, isFragment: false, fragmentOffset: 0, isSourceRouted: false)),
        WalkCase(
            first: 59, rest: "",
            expected: .init(transport: .noNextHeader, offset: 40, isFragment: false, fragmentOffset: 0, isSourceRouted: false)),
        // Out of the packet: in the first two octets, in the body, by its length.
        WalkCase(first: 0, rest: "", expected: nil),
        WalkCase(first: 0, rest: "11000000 000000", expected: nil),
        WalkCase(first: 60, rest: "11010000 00000000", expected: nil),
        WalkCase(first: 60, rest: "11ff0000 00000000", expected: nil),
        // Eight are looked through, nine are not.
        WalkCase(
            first: 60, rest: String(repeating: "3c00000000000000", count: 7) + "0600000000000000",
            expected: .init(transport: .tcp, offset: 104, isFragment: false, fragmentOffset: 0, isSourceRouted: false)),
        WalkCase(first: 60, rest: String(repeating: "3c00000000000000", count: 8) + "0600000000000000", expected: nil),
    ])
    func walk(_ row: WalkCase) throws {
        let bytes = packet(row.first, row.rest)
        guard let view = IPv6.View(bytes.octets) else {
            Issue.record("refused")
            return
        }
        #expect(view.findTransport() == row.expected)
    }

    @Test func payloadOfAForeignTransportIsClamped() throws {
        let bytes = packet(17, "0102030405060708")
        guard let view = IPv6.View(bytes.octets) else {
            Issue.record("refused")
            return
        }
        for offset in [Int.min, -1, 0, 48, 49, .max] {
            let foreign = IPv6.Transport(
                transport: .udp, offset: offset, isFragment: false, fragmentOffset: 0, isSourceRouted: false)
            #expect(view.payload(of: foreign).byteCount == 48 - min(max(offset, 0), 48))
        }
    }

    @Test func refused() {
        let bytes = [UInt8](Sample.tcp4[14...]) + [UInt8](repeating: 0, count: 20)
        #expect(IPv6.View(bytes.octets)?.payloadLength == nil)
        let cut = [UInt8](Sample.tcp6[14..<53])
        #expect(IPv6.View(cut.octets)?.payloadLength == nil)
    }
}

@Suite struct UDPTests {
    @Test func checksumsOfCapturedDatagrams() throws {
        let udp4 = Sample.udp4
        guard let v4 = IPv4.View(udp4.octets.extracting(14..<47)) else {
            Issue.record("refused")
            return
        }
        guard let datagram = UDP.View(v4.payload) else {
            Issue.record("refused")
            return
        }
        #expect(datagram.sourcePort == 5060)
        #expect(datagram.destinationPort == 5060)
        #expect(datagram.length == 13)
        #expect(datagram.checksum == 0xC04B)
        #expect(array(datagram.payload) == hex("2020202020"))
        let valid1 = datagram.isChecksumValid(v4.pseudoHeader(length: datagram.length))
        #expect(valid1 == true)
        let udp6 = Sample.udp6
        guard let v6 = IPv6.View(udp6.octets.extracting(14..<74)) else {
            Issue.record("refused")
            return
        }
        guard let other = UDP.View(v6.payload) else {
            Issue.record("refused")
            return
        }
        let valid2 = other.isChecksumValid(v6.pseudoHeader(for: .udp, length: other.length))
        #expect(valid2 == true)
        let valid3 = other.isChecksumValid(v6.pseudoHeader(for: .tcp, length: other.length))
        #expect(valid3 == false)
    }

    @Test func emitsTheCapturedDatagram() throws {
        var buffer = [UInt8](repeating: 0xEE, count: 13)
        let header = UDP.Header(sourcePort: 5060, destinationPort: 5060, payloadCount: 5)
        let pseudo = Checksum.pseudoHeader(source: 0xC0A8_0102, destination: 0xD4F2_2123, protocol: .udp, length: 13)
        #expect(mutate(&buffer) { header.emit(into: &$0, at: 0) } == 8)
        put(hex("2020202020"), in: &buffer, at: 8)
        #expect(mutate(&buffer) { UDP.storeChecksum(in: &$0, at: 0, end: 13, pseudo) })
        #expect(buffer == [UInt8](Sample.udp4[34...]))
        guard let again = UDP.View(buffer.octets) else {
            Issue.record("refused")
            return
        }
        #expect(UDP.Header(again) == header)
        var copy = buffer
        #expect(!mutate(&copy) { UDP.storeChecksum(in: &$0, at: 6, end: 13, pseudo) })
        #expect(!mutate(&copy) { UDP.storeChecksum(in: &$0, at: 0, end: 14, pseudo) })
        #expect(!mutate(&copy) { UDP.storeChecksum(in: &$0, at: .min, end: .max, pseudo) })
    }

    @Test func zeroIsStoredAsOnes() {
        // The payload is chosen so that everything sums to 0xffff.
        var buffer = hex("0000 0000 000a 0000 0000")
        let pseudo = Checksum.pseudoHeader(source: 0, destination: 0, protocol: .udp, length: 10)
        put(be16(0xFFFF - 10 - 10 - 17), in: &buffer, at: 8)
        #expect(mutate(&buffer) { UDP.storeChecksum(in: &$0, at: 0, end: 10, pseudo) })
        #expect(buffer[6] == 0xFF && buffer[7] == 0xFF)
        let valid4 = UDP.View(buffer.octets)?.isChecksumValid(pseudo)
        #expect(valid4 == true)
    }

    @Test func refused() {
        #expect(UDP.View(hex("0001000200070000").octets)?.length == nil)
        #expect(UDP.View(hex("00010002000800").octets)?.length == nil)
        // A length beyond the end is a view whose payload ends early, and whose checksum is never right.
        let cut = hex("0001000200090000")
        #expect(UDP.View(cut.octets)?.payload.byteCount == 0)
        let valid5 = UDP.View(cut.octets)?.isChecksumValid(Checksum())
        #expect(valid5 == false)
    }
}

@Suite struct TCPTests {
    @Test func fieldsAndChecksumOfCapturedSegments() throws {
        let tcp4 = Sample.tcp4
        guard let v4 = IPv4.View(tcp4.octets.extracting(14..<54)) else {
            Issue.record("refused")
            return
        }
        guard let segment = TCP.View(v4.payload) else {
            Issue.record("refused")
            return
        }
        #expect(segment.sourcePort == 2720)
        #expect(segment.destinationPort == 21)
        #expect(segment.sequence == 0xAF9D_C32C)
        #expect(segment.acknowledgement == 0xE51F_9606)
        #expect(segment.headerLength == 20)
        #expect(segment.flags == .ack)
        #expect(segment.window == 0x4123)
        #expect(segment.checksum == 0x1E7A)
        #expect(segment.urgentPointer == 0)
        #expect(segment.payload.byteCount == 0)
        let valid6 = segment.isChecksumValid(v4.pseudoHeader(length: 20))
        #expect(valid6 == true)
        let tcp6 = Sample.tcp6
        guard let v6 = IPv6.View(tcp6.octets.extracting(14..<74)) else {
            Issue.record("refused")
            return
        }
        guard let other = TCP.View(v6.payload) else {
            Issue.record("refused")
            return
        }
        let valid7 = other.isChecksumValid(v6.pseudoHeader(for: .tcp, length: 20))
        #expect(valid7 == true)
    }

    @Test func emitsTheCapturedSegment() throws {
        let header = TCP.Header(
            sourcePort: 2720, destinationPort: 21, sequence: 0xAF9D_C32C, acknowledgement: 0xE51F_9606, flags: .ack,
            window: 0x4123)
        let pseudo = Checksum.pseudoHeader(source: 0xC0A8_0102, destination: 0x93EA_01FD, protocol: .tcp, length: 20)
        var buffer = [UInt8](repeating: 0xEE, count: 20)
        #expect(mutate(&buffer) { header.emit(into: &$0, at: 0) } == 20)
        #expect(mutate(&buffer) { TCP.storeChecksum(in: &$0, at: 0, end: 20, pseudo) })
        #expect(buffer == [UInt8](Sample.tcp4[34...]))
        guard let again = TCP.View(buffer.octets) else {
            Issue.record("refused")
            return
        }
        #expect(TCP.Header(again) == header)
    }

    @Test func options() throws {
        let bytes = hex("00500051 00000001 00000002 6012ffff 00000000 020405b4 cafe")
        guard let segment = TCP.View(bytes.octets) else {
            Issue.record("refused")
            return
        }
        #expect(array(segment.options) == hex("020405b4"))
        #expect(array(segment.payload) == hex("cafe"))
        #expect(segment.flags == [.syn, .ack])
    }

    @Test(arguments: [0x40, 0x60, 0xF0] as [UInt8]) func refused(dataOffset: UInt8) {
        var bytes = [UInt8](Sample.tcp4[34...])
        bytes[12] = dataOffset
        #expect(TCP.View(bytes.octets)?.headerLength == nil)
    }
}
