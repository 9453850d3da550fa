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

    /// No place at all.
    public static let nowhere = Endpoint(high: 0, low: 0, port: 0)

    public static func < (a: Endpoint, b: Endpoint) -> Bool {
        (a.high, a.low, a.port, a.scope) < (b.high, b.low, b.port, b.scope)
    }
}

extension Endpoint: CustomStringConvertible {
    /// `192.0.2.1:7117` or, in the form of RFC 5952, `[2001:db8::1]:7117`.
    public var description: String {
        let address = IPAddress(high: high, low: low)
        return ipv4 != nil ? "\(address):\(port)" : "[\(address)\(scope == 0 ? "" : "%\(scope)")]:\(port)"
    }
}
