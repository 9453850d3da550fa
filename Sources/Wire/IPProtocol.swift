// The protocol numbers that IPv4's Protocol and IPv6's Next Header share (IANA, RFC 8200 section 4).

/// What an IP packet or an IPv6 extension header carries. Every number is a valid value.
public struct IPProtocol: Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8

    @inlinable @inline(always) public init(rawValue: UInt8) { self.rawValue = rawValue }

    @inlinable public static var hopByHop: IPProtocol { IPProtocol(rawValue: 0) }
    @inlinable public static var icmp: IPProtocol { IPProtocol(rawValue: 1) }
    @inlinable public static var igmp: IPProtocol { IPProtocol(rawValue: 2) }
    @inlinable public static var tcp: IPProtocol { IPProtocol(rawValue: 6) }
    @inlinable public static var udp: IPProtocol { IPProtocol(rawValue: 17) }
    @inlinable public static var routing: IPProtocol { IPProtocol(rawValue: 43) }
    @inlinable public static var fragment: IPProtocol { IPProtocol(rawValue: 44) }
    @inlinable public static var authentication: IPProtocol { IPProtocol(rawValue: 51) }
    @inlinable public static var icmpv6: IPProtocol { IPProtocol(rawValue: 58) }
    @inlinable public static var noNextHeader: IPProtocol { IPProtocol(rawValue: 59) }
    @inlinable public static var destinationOptions: IPProtocol { IPProtocol(rawValue: 60) }
    @inlinable public static var pim: IPProtocol { IPProtocol(rawValue: 103) }
}
