// What the tests of IGMP, MLD and PIM share: headers around a message, written octet by octet with the plain checksum of
// `Support.swift`, and frames as real hosts and routers sent them.

import Basics
import Testing
import Wire

func v4(_ text: String) -> IPAddress {
    IPAddress(ipv4: text.split(separator: ".").reduce(UInt32(0)) { $0 << 8 | UInt32($1)! })
}

func v6(_ high: UInt64, _ low: UInt64) -> IPAddress { IPAddress(high: high, low: low) }

/// A message with its checksum, at octet 2, made right over `pseudoHeader` and the message.
func checksummed(_ message: [UInt8], _ pseudoHeader: [UInt8] = []) -> [UInt8] {
    var message = message
    put([0, 0], in: &message, at: 2)
    put(be16(Int(~naiveSum(pseudoHeader + message))), in: &message, at: 2)
    return message
}

/// An Ethernet frame with an IPv4 header of TTL 1 around `payload`, which is taken as it is.
func frame4(
    _ payload: [UInt8], to destination: String = "224.0.0.22", from source: String = "192.0.2.7", options: String = "94040000",
    protocol number: UInt8 = 2, fragment: Int = 0x4000, total: Int? = nil, link: String = "01005e000016 020000000007 0800"
) -> [UInt8] {
    let options = hex(options)
    let count = total ?? 20 + options.count + payload.count
    var header = [UInt8(0x45 + options.count / 4), 0xC0] + be16(count) + [0, 0] + be16(fragment) + [1, number, 0, 0]
    header += be32(v4(source).ipv4!) + be32(v4(destination).ipv4!) + options
    put(be16(Int(~naiveSum(header))), in: &header, at: 10)
    return hex(link) + header + payload
}

/// The same with an IGMP message whose checksum is made right.
func igmp4(_ message: String, to destination: String = "224.0.0.22", from source: String = "192.0.2.7") -> [UInt8] {
    frame4(checksummed(hex(message)), to: destination, from: source)
}

/// An Ethernet frame with an IPv6 header of hop limit 1, the extension headers `chain`, and an ICMPv6 message whose checksum is
/// made right. `first` is the fixed header's next header.
func icmp6(
    _ message: String, to destination: String = "ff0200000000000000000000 00000016",
    from source: String = "fe80000000000000 0000000000000007", chain: String = "3a00050200000100", first: UInt8 = 0,
    length: Int? = nil, number: UInt8 = 58
) -> [UInt8] {
    let addresses = hex(source) + hex(destination)
    var message = hex(message)
    message = checksummed(message, addresses + be32(UInt32(message.count)) + [0, 0, 0, number])
    let payload = hex(chain) + message
    let header = hex("60000000") + be16(length ?? payload.count) + [first, 1] + addresses
    return hex("333300000016 020000000007 86dd") + header + payload
}

func parsed(_ frame: [UInt8]) -> MembershipParse {
    guard let header = FrameHeader(frame.octets) else { return .other }
    return MembershipPacket.parse(frame.octets, header)
}

/// The message of a frame; `nil` if it is refused or something else.
func message(_ frame: [UInt8]) -> MembershipMessage? {
    if case .packet(let packet) = parsed(frame) { return packet.message }
    return nil
}

func report(_ frame: [UInt8]) -> MembershipReport? {
    if case .report(let report) = message(frame) { return report }
    return nil
}

func query(_ frame: [UInt8]) -> MembershipQuery? {
    if case .query(let query) = message(frame) { return query }
    return nil
}

func hello(_ frame: [UInt8]) -> PIMParse {
    guard let header = FrameHeader(frame.octets) else { return .other }
    return PIM.parse(frame.octets, header)
}

func multicast(_ frame: [UInt8]) -> MulticastHeader? {
    FrameHeader(frame.octets).map { MulticastHeader(frame.octets, $0) }
}

/// Frames as they were on real LANs.
enum Heard {
    /// A Linux host joins 239.1.1.1, 239.2.2.2 and 239.3.3.3: three TO_EX{}.
    static let v3Join = hex(
        """
        01005e000016 08002730c575 0800 46c000380000400001 02ee85 14000164 e0000016 94040000
        2200feed00000003 04000000ef010101 04000000ef020202 04000000ef030303
        """)
    /// A router asks for 239.1.1.1: 1 s, QRV 2, QQIC 125.
    static let v3GroupQuery = hex(
        """
        01005e010101 080027a5d7eb 0800 46c00024e0c1400001 02fe4e 14000101 ef010101 94040000 110afc75ef010101 027d0000
        """)
    /// A router reports ff02::2: one TO_EX{}.
    static let mldV2Report = hex(
        """
        333300000016 c20054f50000 86dd 6e00000000240001 fe80000000000000c00054fffef50000 ff020000000000000000000000000016
        3a00050200000100 8f005c1300000001 04000000ff020000000000000000000000000002
        """)
    /// A host without an address yet reports its solicited-node group with MLDv1.
    static let mldV1Report = hex(
        """
        3333ff0e4c67 000c290e4c67 86dd 6000000000200001 00000000000000000000000000000000 ff0200000000000000000001ff0e4c67
        3a00050200000100 8300e7b800000000 ff0200000000000000000001ff0e4c67
        """)
    /// A router's Hello: holdtime 3 s, LAN prune delay, DR priority 1, generation id.
    static let pimHello = hex(
        """
        01005e00000d 08002716f6f9 0800 45c0003600004000 01678e8e 0a000006 e000000d
        200099b2 000100020003 0002000401f409c4 0013000400000001 00140004dd595cff
        """)
    static let all = [v3Join, v3GroupQuery, mldV2Report, mldV1Report, pimHello]
}
