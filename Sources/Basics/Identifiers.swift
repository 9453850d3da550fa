// The names of things: addresses, VLANs, ports, peers, sites. Small values, no behaviour beyond parsing and printing.

/// A 48-bit IEEE 802 MAC address, in the low bits of an integer, first octet highest.
public struct MACAddress: Hashable, Comparable, Sendable, BitwiseCopyable {
    public let rawValue: UInt64

    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue & 0xFFFF_FFFF_FFFF }

    /// Parses six hexadecimal octets with `:` or `-` between them; `nil` for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(omittingEmptySubsequences: false, whereSeparator: { $0 == ":" || $0 == "-" })
        guard parts.count == 6 else { return nil }
        var value: UInt64 = 0
        for part in parts {
            guard part.utf8.count == 2, part.allSatisfy(\.isHexDigit), let octet = UInt8(part, radix: 16) else { return nil }
            value = value << 8 | UInt64(octet)
        }
        rawValue = value
    }

    public static let broadcast = MACAddress(rawValue: 0xFFFF_FFFF_FFFF)
    public static let zero = MACAddress(rawValue: 0)

    /// The I/G bit: broadcast and multicast.
    @inlinable public var isGroup: Bool { rawValue & 0x0100_0000_0000 != 0 }

    /// 01:80:c2:00:00:00 to 0f, which IEEE 802.1Q section 8.6.3 keeps on one link (rule 43).
    @inlinable public var isLinkConstrained: Bool { rawValue & 0xFFFF_FFFF_FFF0 == 0x0180_C200_0000 }

    public static func < (a: MACAddress, b: MACAddress) -> Bool { a.rawValue < b.rawValue }
}

extension MACAddress: CustomStringConvertible {
    public var description: String {
        (0..<6).map { index in
            let octet = UInt8(truncatingIfNeeded: rawValue >> UInt64(40 - 8 * index))
            return (octet < 16 ? "0" : "") + String(octet, radix: 16)
        }.joined(separator: ":")
    }
}

/// The segment a frame belongs to: untagged (and priority-tagged), a customer VLAN (802.1Q), or a service VLAN (802.1ad).
/// The outermost tag decides. The two tag protocols have separate number spaces.
public struct VLAN: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// The VLAN identifier in bits 0–11; bit 12 is set for a service tag.
    public let rawValue: UInt16

    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue & 0x1FFF }
    @inlinable public init(identifier: UInt16, isService: Bool) {
        let id = identifier & 0x0FFF
        rawValue = isService && id != 0 ? id | 0x1000 : id
    }

    public static let untagged = VLAN(rawValue: 0)

    @inlinable public var identifier: UInt16 { rawValue & 0x0FFF }
    @inlinable public var isService: Bool { rawValue & 0x1000 != 0 }

    public static func < (a: VLAN, b: VLAN) -> Bool { a.rawValue < b.rawValue }
}

extension VLAN: CustomStringConvertible {
    /// `-` for untagged, `10` for an 802.1Q VLAN, `s10` for an 802.1ad one.
    public var description: String {
        rawValue == 0 ? "-" : (isService ? "s" : "") + String(identifier)
    }
}

/// A LAN port of this gateway, by its place in the configuration.
public struct PortIndex: Hashable, Comparable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    @inlinable public init(_ index: Int) { rawValue = UInt8(truncatingIfNeeded: index) }
    @inlinable public var index: Int { Int(rawValue) }
    public static func < (a: PortIndex, b: PortIndex) -> Bool { a.rawValue < b.rawValue }
}

/// Another gateway that this one knows, by its place in the configuration.
public struct PeerIndex: Hashable, Comparable, Sendable, BitwiseCopyable {
    public let rawValue: UInt16
    @inlinable public init(_ index: Int) { rawValue = UInt16(truncatingIfNeeded: index) }
    @inlinable public var index: Int { Int(rawValue) }
    public static func < (a: PeerIndex, b: PeerIndex) -> Bool { a.rawValue < b.rawValue }
}

/// The most that one gateway is built for. Every table that is indexed by these has this size.
public enum Limits {
    /// LAN ports of one gateway.
    public static let ports = 16
    /// Peers of one gateway.
    public static let peers = 256
    /// Lanes of one gateway.
    public static let lanes = 8
    /// The longest frame carried, in octets, without the frame check sequence: 9000 of payload, header, two tags, and room.
    public static let frameBytes = 9216
    /// The shortest frame carried: an Ethernet header.
    public static let runtBytes = 14
}

/// A set of LAN ports: one bit each.
public struct PortSet: Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt16
    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
    @inlinable @inline(__always)
    public init(_ port: PortIndex) { rawValue = 1 << UInt16(port.rawValue & 15) }
    /// The first `count` ports.
    @inlinable public init(first count: Int) {
        rawValue = count >= Limits.ports ? .max : (1 << UInt16(max(count, 0))) &- 1
    }

    public static let none = PortSet(rawValue: 0)

    @inlinable public var isEmpty: Bool { rawValue == 0 }
    @inlinable public var count: Int { rawValue.nonzeroBitCount }
    @inlinable public func contains(_ port: PortIndex) -> Bool { rawValue & PortSet(port).rawValue != 0 }
    @inlinable @inline(__always)
    public func removing(_ port: PortIndex) -> PortSet {
        PortSet(rawValue: rawValue & ~PortSet(port).rawValue)
    }

    @inlinable public func union(_ other: PortSet) -> PortSet { PortSet(rawValue: rawValue | other.rawValue) }
    @inlinable public func inserting(_ port: PortIndex) -> PortSet { union(PortSet(port)) }
    /// True when every member is one of `other`'s.
    @inlinable public func isSubset(of other: PortSet) -> Bool { rawValue & ~other.rawValue == 0 }
    /// The members in ascending order.
    public var members: [PortIndex] { (0..<Limits.ports).map { PortIndex($0) }.filter { contains($0) } }
}
