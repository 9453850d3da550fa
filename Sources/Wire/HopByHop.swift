// The hop-by-hop options header of IPv6 and the Router Alert in it (RFC 8200 sections 4.2 and 4.3, RFC 2711). Every MLD
// message has one (RFC 9777 section 5).
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//   0 | next header   | length        | options                       |    length: units of 8 octets, less one
//     +---------------+---------------+-------------------------------+
//     | 0: Pad1       |  one octet
//     +---------------+---------------+
//     | 1: PadN       | octets after  | zeros
//     +---------------+---------------+-------------------------------+
//     | 5: Alert      | 2             | value, 0 for MLD              |
//     +---------------+---------------+-------------------------------+

import Basics

/// The hop-by-hop options header.
public enum HopByHop {
    /// Octets of the header that Causeway writes: Router Alert and a PadN of none.
    public static var byteCount: Int { 8 }

    /// Offsets in octets from the header's start.
    enum Field {
        static var nextHeader: Int { 0 }
        static var length: Int { 1 }
        static var options: Int { 2 }
    }

    /// Offsets in octets from an option's start; Pad1 has only the first.
    enum OptionField {
        static var kind: Int { 0 }
        static var length: Int { 1 }
        static var value: Int { 2 }
    }

    /// What an option is. Every number is a valid value.
    public struct Kind: Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        public static var pad1: Kind { Kind(rawValue: 0) }
        public static var padN: Kind { Kind(rawValue: 1) }
        public static var routerAlert: Kind { Kind(rawValue: 5) }
    }

    /// One option: where its value stands in the header.
    public struct Option: Hashable, Sendable, BitwiseCopyable {
        public var kind: Kind
        /// Octets from the header's start.
        public var valueOffset: Int
        /// Octets of the value.
        public var valueCount: Int
        /// Where the next option begins.
        public var end: Int { valueOffset + valueCount }
    }

    /// The octets of a hop-by-hop header, known to be there in full.
    public struct View: ~Escapable {
        let bytes: RawSpan

        /// `nil` unless `bytes` begin with a whole header. Octets after it are left alone.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard let units = bytes.loadByte(at: Field.length), bytes.holds((Int(units) + 1) * 8, at: 0) else { return nil }
            // SAFETY: `holds` has checked as many octets.
            self.bytes = unsafe bytes.slice(unchecked: 0, (Int(units) + 1) * 8)
        }

        /// Octets of the header: a multiple of 8.
        public var byteCount: Int { bytes.byteCount }

        // SAFETY: `init` has checked at least 8 octets.
        public var nextHeader: IPProtocol { unsafe IPProtocol(rawValue: bytes.loadByte(unchecked: Field.nextHeader)) }

        /// The option at `offset`, from the header's start; the first is at 2, each next one at `end` of the one before. `nil`
        /// at the header's end, and for an option that runs over it.
        public func option(at offset: Int) -> Option? {
            guard offset >= Field.options, let kind = bytes.loadByte(at: offset) else { return nil }
            if Kind(rawValue: kind) == .pad1 { return Option(kind: .pad1, valueOffset: offset + 1, valueCount: 0) }
            guard let count = bytes.loadByte(at: offset + OptionField.length),
                bytes.holds(Int(count), at: offset + OptionField.value)
            else { return nil }
            return Option(kind: Kind(rawValue: kind), valueOffset: offset + OptionField.value, valueCount: Int(count))
        }

        /// The value of the first Router Alert option; `nil` without one. O(octets).
        public var routerAlert: UInt16? {
            var offset = Field.options
            while let option = option(at: offset) {
                if option.kind == .routerAlert, option.valueCount == 2 { return bytes.loadBE16(at: option.valueOffset) }
                offset = option.end
            }
            return nil
        }
    }

    /// Writes the 8-octet header with Router Alert for MLD. Returns where it ends; `nil`, and nothing written, if it does not fit.
    public static func emitRouterAlert(
        nextHeader: IPProtocol, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        // Router Alert: kind 5, 2 octets, value 0; then PadN without octets.
        let word: UInt64 = 0x0000_0502_0000_0100 | UInt64(nextHeader.rawValue) << 56
        return buffer.storeBE64(word, at: offset) ? offset + byteCount : nil
    }
}

extension IPv6.View {
    /// True if the first extension header is hop-by-hop and holds a Router Alert with the value for MLD, 0 (RFC 2711).
    public var hasMulticastRouterAlert: Bool {
        guard nextHeader == .hopByHop, let header = HopByHop.View(payload) else { return false }
        return header.routerAlert == 0
    }
}

extension IPv6.Address {
    /// The IPv6 address of a value; an IPv4 address becomes its mapped form, which no packet may carry.
    @inlinable public init(_ address: IPAddress) { self.init(high: address.high, low: address.low) }
}

extension IPAddress {
    /// The value of an IPv6 packet's address. A mapped one (`family` is `.v4`) is refused by whoever parses the packet.
    @inlinable @inline(always) public init(_ address: IPv6.Address) { self.init(high: address.high, low: address.low) }
}
