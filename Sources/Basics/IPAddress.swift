// An IPv4 or IPv6 address as one flat value, so that tables keyed by group and source are the same for both families.

/// The two families; IGMP belongs to one, MLD to the other.
public enum IPFamily: UInt8, CaseIterable, Hashable, Comparable, Sendable, BitwiseCopyable {
    case v4 = 4
    case v6 = 6

    public static func < (a: IPFamily, b: IPFamily) -> Bool { a.rawValue < b.rawValue }
}

/// An address. IPv4 is held as an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2): equal addresses are equal bits. A
/// mapped address never stands in a real IPv6 packet; whoever parses one refuses it there.
public struct IPAddress: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// The first eight octets, first octet highest.
    public let high: UInt64
    /// The last eight octets.
    public let low: UInt64

    @inlinable @inline(always) public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// An IPv4 address in host order: 192.0.2.1 is 0xC0000201.
    @inlinable @inline(always) public init(ipv4: UInt32) {
        self.init(high: 0, low: 0x0000_FFFF_0000_0000 | UInt64(ipv4))
    }

    /// The IPv4 address in host order; `nil` for IPv6.
    @inlinable public var ipv4: UInt32? {
        high == 0 && low >> 32 == 0xFFFF ? UInt32(truncatingIfNeeded: low) : nil
    }

    @inlinable public var family: IPFamily { high == 0 && low >> 32 == 0xFFFF ? .v4 : .v6 }

    /// 0.0.0.0 or ::.
    @inlinable public static func unspecified(_ family: IPFamily) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0) : IPAddress(high: 0, low: 0)
    }

    @inlinable public var isUnspecified: Bool { high == 0 && (low == 0 || low == 0x0000_FFFF_0000_0000) }

    /// 224.0.0.0/4 or ff00::/8.
    @inlinable public var isMulticast: Bool {
        if let ipv4 { return ipv4 >> 28 == 0xE }
        return high >> 56 == 0xFF
    }

    /// True for what can be the source of a packet: not unspecified, multicast, broadcast, and not 0.0.0.0/8.
    @inlinable public var isUnicast: Bool {
        if let ipv4 { return ipv4 >> 24 != 0 && ipv4 < 0xE000_0000 }
        return !isUnspecified && !isMulticast
    }

    /// fe80::/10 or 169.254.0.0/16.
    @inlinable public var isLinkLocalUnicast: Bool {
        if let ipv4 { return ipv4 >> 16 == 0xA9FE }
        return high >> 54 == 0x3FA
    }

    /// The groups that go everywhere and that nobody joins: 224.0.0.0/24 and ff02::1 (RFC 4541 sections 2.1.2 and 3).
    @inlinable public var isUnsnoopedGroup: Bool {
        if let ipv4 { return ipv4 >> 8 == 0xE00000 }
        return high == 0xFF02_0000_0000_0000 && low == 1
    }

    /// An IPv6 group of scope 0 or 1: reserved, or never leaves a host (RFC 4291 section 2.7).
    @inlinable public var isInvalidScopeGroup: Bool { high >> 56 == 0xFF && high >> 48 & 0xF < 2 }

    /// True for a group that a host can join and a snooper keeps: multicast, none of the above.
    @inlinable public var isSnoopedGroup: Bool { isMulticast && !isUnsnoopedGroup && !isInvalidScopeGroup }

    /// 224.0.0.1 or ff02::1: who a general query is addressed to.
    @inlinable public static func allHosts(_ family: IPFamily) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0xE000_0001) : IPAddress(high: 0xFF02_0000_0000_0000, low: 1)
    }

    /// IPv4 before IPv6, then by number.
    @inlinable public static func < (a: IPAddress, b: IPAddress) -> Bool {
        if a.family != b.family { return a.family == .v4 }
        return a.high != b.high ? a.high < b.high : a.low < b.low
    }
}

extension IPAddress: CustomStringConvertible {
    /// `192.0.2.1` or, in the form of RFC 5952, `2001:db8::1`.
    public var description: String {
        if let v4 = ipv4 { return "\(v4 >> 24).\(v4 >> 16 & 255).\(v4 >> 8 & 255).\(v4 & 255)" }
        let groups = (0..<8).map { index -> UInt16 in
            let half = index < 4 ? high : low
            return UInt16(truncatingIfNeeded: half >> UInt64(48 - 16 * (index % 4)))
        }
        // The longest run of at least two zero groups, the first of equals, becomes "::".
        var best = (start: 0, length: 1)
        var start = 0
        while start < 8 {
            var end = start
            while end < 8 && groups[end] == 0 { end += 1 }
            if end - start > best.length { best = (start, end - start) }
            start = end + 1
        }
        func text(_ part: ArraySlice<UInt16>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        if best.length < 2 { return text(groups[...]) }
        return text(groups[..<best.start]) + "::" + text(groups[(best.start + best.length)...])
    }
}

/// A block of addresses: `232.0.0.0/8`.
public struct IPPrefix: Hashable, Sendable, BitwiseCopyable {
    public let address: IPAddress
    /// Leading bits that count: 0 to 32, or 0 to 128 for IPv6.
    public let length: Int

    /// Bits of `address` beyond `length` are ignored. `nil` if `length` is longer than the family's addresses.
    public init?(_ address: IPAddress, length: Int) {
        guard length >= 0, length <= (address.family == .v4 ? 32 : 128) else { return nil }
        self.length = length
        self.address = address
    }

    public func contains(_ other: IPAddress) -> Bool {
        guard other.family == address.family else { return false }
        let bits = address.family == .v4 ? length + 96 : length
        let highMask: UInt64 = bits >= 64 ? .max : bits == 0 ? 0 : ~(.max >> UInt64(bits))
        let lowMask: UInt64 = bits <= 64 ? 0 : bits == 128 ? .max : ~(.max >> UInt64(bits - 64))
        return (other.high ^ address.high) & highMask == 0 && (other.low ^ address.low) & lowMask == 0
    }
}

extension IPPrefix: CustomStringConvertible {
    public var description: String { "\(address)/\(length)" }
}
