// Where a datagram goes to or came from: an IPv4 or IPv6 address and a UDP port, as one flat value.

/// A UDP endpoint. IPv4 is held as an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2), so that equal endpoints are equal bits.
public struct Endpoint: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// The address's first eight octets, first octet highest.
    public let high: UInt64
    /// The address's last eight octets.
    public let low: UInt64
    public let port: UInt16
    /// The interface of a link-local IPv6 address; 0 where the address needs none.
    public let scope: UInt32

    @inlinable public init(high: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
        self.high = high
        self.low = low
        self.port = port
        self.scope = scope
    }

    /// An IPv4 endpoint; `address` in host order (192.0.2.1 is 0xC0000201).
    @inlinable public init(ipv4 address: UInt32, port: UInt16) {
        self.init(high: 0, low: 0x0000_FFFF_0000_0000 | UInt64(address), port: port)
    }

    @inlinable public var ipv4: UInt32? {
        high == 0 && low >> 32 == 0xFFFF ? UInt32(truncatingIfNeeded: low) : nil
    }

    public static func < (a: Endpoint, b: Endpoint) -> Bool {
        (a.high, a.low, a.port, a.scope) < (b.high, b.low, b.port, b.scope)
    }
}

extension Endpoint: CustomStringConvertible {
    /// `192.0.2.1:7117` or, in the form of RFC 5952, `[2001:db8::1]:7117`.
    public var description: String {
        if let v4 = ipv4 {
            return "\(v4 >> 24).\(v4 >> 16 & 255).\(v4 >> 8 & 255).\(v4 & 255):\(port)"
        }
        return "[\(ipv6Text)\(scope == 0 ? "" : "%\(scope)")]:\(port)"
    }

    private var ipv6Text: String {
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
