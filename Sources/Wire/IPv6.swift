// The IPv6 header and the walk over its extension headers (RFC 8200 sections 3 and 4, RFC 4302 for the authentication
// header, RFC 7045 on how far a middlebox may look).
//
//      0               1               2               3
//     +-------+---------------+---------------------------------------+
//   0 |version| traffic class | flow label                            |
//     +-------+---------------+-------+---------------+---------------+
//   4 | payload length                | next header   | hop limit     |
//     +-------------------------------+---------------+---------------+
//   8 | source, 16 octets                                             |
//     +---------------------------------------------------------------+
//  24 | destination, 16 octets                                        |
//     +---------------------------------------------------------------+

/// IPv6.
public enum IPv6 {
    /// Octets of the fixed header.
    @inlinable public static var headerByteCount: Int { 40 }
    /// Extension headers that are looked through to find the transport header.
    @inlinable public static var maximumExtensionHeaders: Int { 8 }

    /// A 128-bit address as two halves in host order.
    public struct Address: Hashable, Comparable, Sendable, BitwiseCopyable {
        /// The first eight octets, first octet highest.
        public let high: UInt64
        /// The last eight octets.
        public let low: UInt64

        @inlinable public init(high: UInt64, low: UInt64) {
            self.high = high
            self.low = low
        }

        /// ff00::/8.
        @inlinable public var isMulticast: Bool { high >> 56 == 0xFF }

        @inlinable public static func < (a: Address, b: Address) -> Bool {
            a.high != b.high ? a.high < b.high : a.low < b.low
        }
    }

    /// Offsets in octets from the fixed header's start.
    @usableFromInline enum Field {
        @inlinable static var versionClassFlow: Int { 0 }
        @inlinable static var payloadLength: Int { 4 }
        @inlinable static var nextHeader: Int { 6 }
        @inlinable static var hopLimit: Int { 7 }
        @inlinable static var source: Int { 8 }
        @inlinable static var destination: Int { 24 }
    }

    /// Offsets in octets from an extension header's start.
    @usableFromInline enum ExtensionField {
        @inlinable static var nextHeader: Int { 0 }
        /// In units of 8 octets without the first 8; in the authentication header, of 4 octets without the first 8.
        @inlinable static var length: Int { 1 }
        @inlinable static var segmentsLeft: Int { 3 }
        @inlinable static var fragmentOffset: Int { 2 }
        /// No extension header is shorter.
        @inlinable static var minimumByteCount: Int { 8 }
    }

    /// Where the extension headers lead.
    public struct Transport: Hashable, Sendable, BitwiseCopyable {
        /// The first header that is not an extension header. ESP and `noNextHeader` end the walk too.
        public var transport: IPProtocol
        /// Where it begins: octets from the IPv6 header's start. Never beyond the packet's end.
        public var offset: Int
        /// True for a part of a larger packet, the first part included.
        public var isFragment: Bool
        /// Where this fragment's payload belongs, in octets; other than 0, there is no transport header at `offset`.
        public var fragmentOffset: Int
        /// True when a routing header has segments left: the packet's last destination is not the header's.
        public var isSourceRouted: Bool

        @inlinable
        public init(transport: IPProtocol, offset: Int, isFragment: Bool, fragmentOffset: Int, isSourceRouted: Bool) {
            self.transport = transport
            self.offset = offset
            self.isFragment = isFragment
            self.fragmentOffset = fragmentOffset
            self.isSourceRouted = isSourceRouted
        }
    }

    /// The octets of an IPv6 packet, whose fixed header is known to be there in full.
    public struct View: ~Escapable {
        @usableFromInline let bytes: RawSpan

        /// `nil` unless `bytes` begin with a whole version 6 header. Octets after the packet (Ethernet padding) are allowed,
        /// and so are missing ones (a capture that was cut).
        @inlinable @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= IPv6.headerByteCount else { return nil }
            // SAFETY: 40 octets are there.
            guard unsafe bytes.loadByte(unchecked: Field.versionClassFlow) >> 4 == 6 else { return nil }
            self.bytes = bytes
        }

        // SAFETY of every accessor: `init` has checked 40 octets.

        /// DSCP in the high six bits, ECN in the low two.
        @inlinable public var trafficClass: UInt8 {
            unsafe UInt8(truncatingIfNeeded: bytes.loadBE16(unchecked: Field.versionClassFlow) >> 4)
        }
        /// 20 bits.
        @inlinable public var flowLabel: UInt32 { unsafe bytes.loadBE32(unchecked: Field.versionClassFlow) & 0xF_FFFF }
        /// Octets after the fixed header, as the header claims; 0 in a jumbogram (RFC 2675).
        @inlinable public var payloadLength: Int { unsafe Int(bytes.loadBE16(unchecked: Field.payloadLength)) }
        /// The first extension header's kind, or the transport's if there is none.
        @inlinable public var nextHeader: IPProtocol { unsafe IPProtocol(rawValue: bytes.loadByte(unchecked: Field.nextHeader)) }
        /// Hops left.
        @inlinable public var hopLimit: UInt8 { unsafe bytes.loadByte(unchecked: Field.hopLimit) }

        @inlinable public var source: Address {
            unsafe Address(
                high: bytes.loadBE64(unchecked: Field.source), low: bytes.loadBE64(unchecked: Field.source &+ 8))
        }

        @inlinable public var destination: Address {
            unsafe Address(
                high: bytes.loadBE64(unchecked: Field.destination), low: bytes.loadBE64(unchecked: Field.destination &+ 8))
        }

        /// Octets of the packet that are there: to the payload length or to the end of what is there.
        @inlinable var end: Int { min(IPv6.headerByteCount &+ payloadLength, bytes.byteCount) }

        /// What follows the fixed header, extension headers included.
        @inlinable public var payload: RawSpan {
            @_lifetime(copy self) get { unsafe bytes.slice(unchecked: IPv6.headerByteCount, end) }
        }

        /// What begins where `transport` says: the transport header and its payload.
        @inlinable @_lifetime(copy self)
        public func payload(of transport: Transport) -> RawSpan {
            // SAFETY: both bounds are clamped to 0...end, and to each other's order.
            unsafe bytes.slice(unchecked: min(max(transport.offset, 0), end), end)
        }

        /// The pseudo-header of this packet for a transport header and payload of `length` octets; not for source-routed ones.
        @inlinable public func pseudoHeader(for transport: IPProtocol, length: Int) -> Checksum {
            .pseudoHeader(source: source, destination: destination, protocol: transport, length: length)
        }

        /// Walks the extension headers: hop-by-hop and destination options, routing, authentication, fragment. `nil` if one
        /// runs out of the packet, or if there are more than `maximumExtensionHeaders`. O(headers).
        @inlinable
        public func findTransport() -> Transport? {
            var found = Transport(
                transport: nextHeader, offset: IPv6.headerByteCount, isFragment: false, fragmentOffset: 0, isSourceRouted: false)
            let end = end
            var headers = 0
            while true {
                switch found.transport {
                case .hopByHop, .destinationOptions, .routing, .authentication, .fragment: break
                default: return found
                }
                guard headers < IPv6.maximumExtensionHeaders,
                    end &- found.offset >= ExtensionField.minimumByteCount
                else { return nil }
                headers &+= 1
                // SAFETY: `offset` starts at 40, grows, and is never beyond `end`; 8 octets from it have been checked.
                let next = unsafe bytes.loadByte(unchecked: found.offset &+ ExtensionField.nextHeader)
                let units = unsafe Int(bytes.loadByte(unchecked: found.offset &+ ExtensionField.length))
                var length = ExtensionField.minimumByteCount
                switch found.transport {
                case .fragment:
                    let field = unsafe bytes.loadBE16(unchecked: found.offset &+ ExtensionField.fragmentOffset)
                    found.isFragment = true
                    found.fragmentOffset = Int(field & 0xFFF8)
                case .authentication:
                    length &+= units &* 4
                case .routing:
                    if unsafe bytes.loadByte(unchecked: found.offset &+ ExtensionField.segmentsLeft) != 0 {
                        found.isSourceRouted = true
                    }
                    length &+= units &* 8
                default:
                    length &+= units &* 8
                }
                guard length <= end &- found.offset else { return nil }
                found.offset &+= length
                found.transport = IPProtocol(rawValue: next)
                // A later fragment continues in the middle of something: its octets are not a header.
                if found.fragmentOffset != 0 { return found }
            }
        }
    }

    /// The fixed header as a value.
    public struct Header: Hashable, Sendable, BitwiseCopyable {
        public var source: Address
        public var destination: Address
        public var nextHeader: IPProtocol
        public var hopLimit: UInt8
        /// DSCP in the high six bits, ECN in the low two.
        public var trafficClass: UInt8
        /// 20 bits.
        public var flowLabel: UInt32
        /// Octets after the fixed header.
        public var payloadCount: Int

        @inlinable
        public init(
            source: Address, destination: Address, nextHeader: IPProtocol, hopLimit: UInt8 = 64, trafficClass: UInt8 = 0,
            flowLabel: UInt32 = 0, payloadCount: Int
        ) {
            self.source = source
            self.destination = destination
            self.nextHeader = nextHeader
            self.hopLimit = hopLimit
            self.trafficClass = trafficClass
            self.flowLabel = flowLabel & 0xF_FFFF
            self.payloadCount = payloadCount
        }

        /// The value of a packet's fixed header.
        @inlinable
        public init(_ view: borrowing View) {
            self.init(
                source: view.source, destination: view.destination, nextHeader: view.nextHeader, hopLimit: view.hopLimit,
                trafficClass: view.trafficClass, flowLabel: view.flowLabel, payloadCount: view.payloadLength)
        }

        /// Writes 40 octets. Returns where the payload begins; `nil`, and nothing written, if the header does not fit or the
        /// payload is longer than 65535 octets.
        @inlinable
        public func emit(into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
            guard payloadCount >= 0, payloadCount <= 0xFFFF, buffer.holds(IPv6.headerByteCount, at: offset) else { return nil }
            let word = 0x6000_0000 | UInt32(trafficClass) << 20 | flowLabel & 0xF_FFFF
            // SAFETY: `holds` has checked 40 octets from `offset`.
            unsafe buffer.storeBE32(word, unchecked: offset &+ Field.versionClassFlow)
            unsafe buffer.storeBE16(UInt16(truncatingIfNeeded: payloadCount), unchecked: offset &+ Field.payloadLength)
            unsafe buffer.storeByte(nextHeader.rawValue, unchecked: offset &+ Field.nextHeader)
            unsafe buffer.storeByte(hopLimit, unchecked: offset &+ Field.hopLimit)
            unsafe buffer.storeBE64(source.high, unchecked: offset &+ Field.source)
            unsafe buffer.storeBE64(source.low, unchecked: offset &+ Field.source &+ 8)
            unsafe buffer.storeBE64(destination.high, unchecked: offset &+ Field.destination)
            unsafe buffer.storeBE64(destination.low, unchecked: offset &+ Field.destination &+ 8)
            return offset &+ IPv6.headerByteCount
        }
    }
}
