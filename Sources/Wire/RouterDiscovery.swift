// Multicast router discovery (RFC 4286 sections 3 to 5): the same octets in IGMP and in ICMPv6, under other types. An
// advertisement says where multicast routers are; a switch learns its router ports from it (RFC 4541 section 2.1.1).
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//   0 | type          | ad. interval  | checksum                      |    solicitation and termination end here
//     +---------------+---------------+-------------------------------+
//   4 | query interval                | robustness                    |
//     +-------------------------------+-------------------------------+

import Basics

/// The messages of multicast router discovery.
public enum RouterDiscovery {
    /// Octets of a solicitation or termination.
    static var shortByteCount: Int { 4 }
    /// Octets of an advertisement.
    static var advertisementByteCount: Int { 8 }

    /// Offsets in octets from the message's start.
    enum Field {
        static var kind: Int { 0 }
        /// Seconds; reserved in a solicitation and a termination.
        static var interval: Int { 1 }
        static var checksum: Int { 2 }
        /// Seconds.
        static var queryInterval: Int { 4 }
        static var robustness: Int { 6 }
    }

    /// All-Snoopers, to which advertisements and terminations go (RFC 4286 section 3).
    public static func allSnoopers(_ family: IPFamily) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0xE000_006A) : IPAddress(high: 0xFF02_0000_0000_0000, low: 0x6A)
    }

    /// All-Routers, to which solicitations and leaves go.
    public static func allRouters(_ family: IPFamily) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0xE000_0002) : IPAddress(high: 0xFF02_0000_0000_0000, low: 2)
    }

    /// The octets of an advertisement, known to be there in full.
    public struct AdvertisementView: ~Escapable {
        let bytes: RawSpan

        /// `nil` for fewer than 8 octets. The type is not looked at.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= RouterDiscovery.advertisementByteCount else { return nil }
            self.bytes = bytes
        }

        // SAFETY of the accessors: `init` has checked 8 octets.

        /// How often the router advertises.
        public var interval: Interval { unsafe .seconds(Int64(bytes.loadByte(unchecked: Field.interval))) }
        /// Zero if the router sends no queries.
        public var queryInterval: Interval { unsafe .seconds(Int64(bytes.loadBE16(unchecked: Field.queryInterval))) }
        public var robustness: UInt16 { unsafe bytes.loadBE16(unchecked: Field.robustness) }

        var message: MembershipMessage {
            .advertisement(interval: interval, queryInterval: queryInterval, robustness: robustness)
        }
    }

    /// Writes an advertisement without a checksum; times in whole seconds, rounded down, at most 255 s and 65535 s. Returns
    /// where it ends; `nil` if it does not fit.
    static func emitAdvertisement(
        _ kind: UInt8, interval: Interval, queryInterval: Interval, robustness: UInt16, into buffer: inout MutableRawSpan,
        at offset: Int
    ) -> Int? {
        guard
            emitShort(
                kind, interval: UInt8(clamping: MembershipCode.count(interval, .seconds(1))), into: &buffer, at: offset) != nil,
            buffer.storeBE16(
                UInt16(clamping: MembershipCode.count(queryInterval, .seconds(1))), at: offset + Field.queryInterval),
            buffer.storeBE16(robustness, at: offset + Field.robustness)
        else { return nil }
        return offset + advertisementByteCount
    }

    /// Writes a solicitation or termination without a checksum. Returns where it ends; `nil` if it does not fit.
    static func emitShort(_ kind: UInt8, interval: UInt8 = 0, into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
        guard buffer.storeByte(kind, at: offset + Field.kind), buffer.storeByte(interval, at: offset + Field.interval),
            buffer.storeBE16(0, at: offset + Field.checksum)
        else { return nil }
        return offset + shortByteCount
    }
}
