// What every ICMPv6 message begins with (RFC 4443 section 2.1), and the types that Causeway looks at. MLD is in `MLD.swift`;
// neighbour discovery (133 to 137) is named here so that it is plainly never taken for MLD (rule 17).
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//   0 | type          | code          | checksum, with pseudo-header  |
//     +---------------+---------------+-------------------------------+

/// ICMPv6.
public enum ICMPv6 {
    /// Octets before what a type's own format says.
    public static var headerByteCount: Int { 4 }

    /// The message's type. Every number is a valid value.
    public struct Kind: Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt8
        @inlinable @inline(always) public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Multicast Listener Query, of either version.
        @inlinable public static var listenerQuery: Kind { Kind(rawValue: 130) }
        /// MLDv1.
        @inlinable public static var listenerReport: Kind { Kind(rawValue: 131) }
        /// MLDv1's leave.
        @inlinable public static var listenerDone: Kind { Kind(rawValue: 132) }
        @inlinable public static var routerSolicitation: Kind { Kind(rawValue: 133) }
        @inlinable public static var routerAdvertisement: Kind { Kind(rawValue: 134) }
        @inlinable public static var neighbourSolicitation: Kind { Kind(rawValue: 135) }
        @inlinable public static var neighbourAdvertisement: Kind { Kind(rawValue: 136) }
        @inlinable public static var redirect: Kind { Kind(rawValue: 137) }
        /// MLDv2.
        @inlinable public static var listenerReportV2: Kind { Kind(rawValue: 143) }
        @inlinable public static var multicastRouterAdvertisement: Kind { Kind(rawValue: 151) }
        @inlinable public static var multicastRouterSolicitation: Kind { Kind(rawValue: 152) }
        @inlinable public static var multicastRouterTermination: Kind { Kind(rawValue: 153) }

        /// MLD's queries, reports, Done.
        @inlinable public var isMembership: Bool {
            switch self {
            case .listenerQuery, .listenerReport, .listenerDone, .listenerReportV2: true
            default: false
            }
        }

        /// Multicast router discovery (RFC 4286), which is not neighbour discovery's.
        @inlinable public var isDiscovery: Bool { rawValue >= 151 && rawValue <= 153 }
    }

    /// Offsets in octets from the message's start.
    enum Field {
        static var kind: Int { 0 }
        static var code: Int { 1 }
        static var checksum: Int { 2 }
    }

    /// The header of a message, known to be there.
    public struct View: ~Escapable {
        let bytes: RawSpan

        /// `nil` for fewer than 4 octets. `bytes` are all of the message: the checksum is over them.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= ICMPv6.headerByteCount else { return nil }
            self.bytes = bytes
        }

        // SAFETY of the accessors: `init` has checked 4 octets.

        public var kind: Kind { unsafe Kind(rawValue: bytes.loadByte(unchecked: Field.kind)) }
        public var code: UInt8 { unsafe bytes.loadByte(unchecked: Field.code) }
        public var checksum: UInt16 { unsafe bytes.loadBE16(unchecked: Field.checksum) }
        /// Octets of the message.
        public var byteCount: Int { bytes.byteCount }

        /// `pseudoHeader` is `IPv6.View.pseudoHeader(for: .icmpv6, length: byteCount)`.
        public func isChecksumValid(_ pseudoHeader: Checksum) -> Bool {
            var checksum = pseudoHeader
            checksum.add(bytes)
            return checksum.isValid
        }
    }

    /// Computes and stores the checksum of the message in `offset..<end`. Returns `end`; `nil` if that is not inside.
    static func storeChecksum(
        in buffer: inout MutableRawSpan, at offset: Int, end: Int, _ pseudoHeader: Checksum
    ) -> Int? {
        Checksum.store(
            in: &buffer, at: offset, end: end, fieldOffset: Field.checksum, pseudoHeader, zeroMeansNone: false) ? end : nil
    }
}
