// The IPv4 header (RFC 791 section 3.1, DSCP and ECN by RFC 2474 and RFC 3168).
//
//      0               1               2               3
//     +-------+-------+---------------+-------------------------------+
//   0 |version|  IHL  | DSCP      |ECN| total length                  |
//     +-------+-------+-----------+---+-----+-------------------------+
//   4 | identification                |flags| fragment offset         |
//     +---------------+---------------+-----+-------------------------+
//   8 | time to live  | protocol      | header checksum               |
//     +---------------+---------------+-------------------------------+
//  12 | source                                                        |
//     +---------------------------------------------------------------+
//  16 | destination                                                   |
//     +---------------------------------------------------------------+
//  20 | options, to a multiple of four octets                         |

/// IPv4. Addresses are integers in host order: 192.0.2.1 is 0xC0000201.
public enum IPv4 {
    /// Octets of a header without options.
    @inlinable public static var headerByteCount: Int { 20 }

    /// Offsets in octets from the header's start.
    @usableFromInline enum Field {
        @inlinable static var versionAndLength: Int { 0 }
        @inlinable static var trafficClass: Int { 1 }
        @inlinable static var totalLength: Int { 2 }
        @inlinable static var identification: Int { 4 }
        @inlinable static var fragment: Int { 6 }
        @inlinable static var timeToLive: Int { 8 }
        @inlinable static var transport: Int { 9 }
        @inlinable static var checksum: Int { 10 }
        @inlinable static var source: Int { 12 }
        @inlinable static var destination: Int { 16 }
        @inlinable static var options: Int { 20 }
    }

    /// The octets of an IPv4 packet, whose header is known to be there in full.
    public struct View: ~Escapable {
        @usableFromInline let bytes: RawSpan

        /// `nil` unless `bytes` begin with a whole version 4 header whose total length covers it. Octets after the packet
        /// (Ethernet padding) are allowed, and so are missing ones (a capture that was cut).
        @inlinable @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= IPv4.headerByteCount else { return nil }
            // SAFETY: 20 octets are there.
            let first = unsafe bytes.loadByte(unchecked: Field.versionAndLength)
            let total = unsafe Int(bytes.loadBE16(unchecked: Field.totalLength))
            let header = Int(first & 0x0F) &* 4
            guard first >> 4 == 4, header >= IPv4.headerByteCount, header <= total, header <= bytes.byteCount else { return nil }
            self.bytes = bytes
        }

        // SAFETY of every accessor: `init` has checked 20 octets, and that 20 <= headerLength <= byteCount and totalLength.

        /// Octets of the header with its options: 20 to 60.
        @inlinable public var headerLength: Int { unsafe Int(bytes.loadByte(unchecked: Field.versionAndLength) & 0x0F) &* 4 }
        /// DSCP in the high six bits, ECN in the low two.
        @inlinable public var trafficClass: UInt8 { unsafe bytes.loadByte(unchecked: Field.trafficClass) }
        /// Octets of header and payload, as the header claims.
        @inlinable public var totalLength: Int { unsafe Int(bytes.loadBE16(unchecked: Field.totalLength)) }
        @inlinable public var identification: UInt16 { unsafe bytes.loadBE16(unchecked: Field.identification) }
        @inlinable public var dontFragment: Bool { unsafe bytes.loadBE16(unchecked: Field.fragment) & 0x4000 != 0 }
        @inlinable public var moreFragments: Bool { unsafe bytes.loadBE16(unchecked: Field.fragment) & 0x2000 != 0 }
        /// Where this fragment's payload belongs, in octets.
        @inlinable public var fragmentOffset: Int { unsafe Int(bytes.loadBE16(unchecked: Field.fragment) & 0x1FFF) &* 8 }
        /// True for a part of a larger packet, the first part included.
        @inlinable public var isFragment: Bool { unsafe bytes.loadBE16(unchecked: Field.fragment) & 0x3FFF != 0 }
        /// Hops left.
        @inlinable public var timeToLive: UInt8 { unsafe bytes.loadByte(unchecked: Field.timeToLive) }
        @inlinable public var transport: IPProtocol { unsafe IPProtocol(rawValue: bytes.loadByte(unchecked: Field.transport)) }
        @inlinable public var headerChecksum: UInt16 { unsafe bytes.loadBE16(unchecked: Field.checksum) }
        @inlinable public var source: UInt32 { unsafe bytes.loadBE32(unchecked: Field.source) }
        @inlinable public var destination: UInt32 { unsafe bytes.loadBE32(unchecked: Field.destination) }

        /// The options: 0 to 40 octets.
        @inlinable public var options: RawSpan {
            @_lifetime(copy self) get { unsafe bytes.slice(unchecked: Field.options, headerLength) }
        }

        /// What follows the header, to the total length or to the end of what is there.
        @inlinable public var payload: RawSpan {
            @_lifetime(copy self) get { unsafe bytes.slice(unchecked: headerLength, min(totalLength, bytes.byteCount)) }
        }

        /// True when the header's checksum is right.
        @inlinable public var isChecksumValid: Bool {
            var checksum = Checksum()
            unsafe checksum.add(bytes.slice(unchecked: 0, headerLength))
            return checksum.isValid
        }

        /// The pseudo-header of this packet for a transport header and payload of `length` octets.
        @inlinable public func pseudoHeader(length: Int) -> Checksum {
            .pseudoHeader(source: source, destination: destination, protocol: transport, length: length)
        }
    }

    /// A header without options, as a value.
    public struct Header: Hashable, Sendable, BitwiseCopyable {
        public var source: UInt32
        public var destination: UInt32
        public var transport: IPProtocol
        public var timeToLive: UInt8
        /// DSCP in the high six bits, ECN in the low two.
        public var trafficClass: UInt8
        public var identification: UInt16
        public var dontFragment: Bool
        /// Octets after the header.
        public var payloadCount: Int

        @inlinable
        public init(
            source: UInt32, destination: UInt32, transport: IPProtocol, timeToLive: UInt8 = 64, trafficClass: UInt8 = 0,
            identification: UInt16 = 0, dontFragment: Bool = true, payloadCount: Int
        ) {
            self.source = source
            self.destination = destination
            self.transport = transport
            self.timeToLive = timeToLive
            self.trafficClass = trafficClass
            self.identification = identification
            self.dontFragment = dontFragment
            self.payloadCount = payloadCount
        }

        /// The value of a packet's header. Options are left out; `nil` for a fragment, which the value cannot say.
        @inlinable
        public init?(_ view: borrowing View) {
            guard !view.isFragment else { return nil }
            self.init(
                source: view.source, destination: view.destination, transport: view.transport, timeToLive: view.timeToLive,
                trafficClass: view.trafficClass, identification: view.identification, dontFragment: view.dontFragment,
                payloadCount: view.totalLength &- view.headerLength)
        }

        /// Writes 20 octets with their checksum. Returns where the payload begins; `nil`, and nothing written, if the
        /// header does not fit or the packet would be longer than 65535 octets.
        @inlinable
        public func emit(into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
            guard payloadCount >= 0, payloadCount <= 0xFFFF &- IPv4.headerByteCount,
                buffer.holds(IPv4.headerByteCount, at: offset)
            else { return nil }
            let total = UInt16(truncatingIfNeeded: payloadCount &+ IPv4.headerByteCount)
            // SAFETY: `holds` has checked 20 octets from `offset`.
            unsafe buffer.storeByte(0x45, unchecked: offset &+ Field.versionAndLength)
            unsafe buffer.storeByte(trafficClass, unchecked: offset &+ Field.trafficClass)
            unsafe buffer.storeBE16(total, unchecked: offset &+ Field.totalLength)
            unsafe buffer.storeBE16(identification, unchecked: offset &+ Field.identification)
            unsafe buffer.storeBE16(dontFragment ? 0x4000 : 0, unchecked: offset &+ Field.fragment)
            unsafe buffer.storeByte(timeToLive, unchecked: offset &+ Field.timeToLive)
            unsafe buffer.storeByte(transport.rawValue, unchecked: offset &+ Field.transport)
            unsafe buffer.storeBE16(0, unchecked: offset &+ Field.checksum)
            unsafe buffer.storeBE32(source, unchecked: offset &+ Field.source)
            unsafe buffer.storeBE32(destination, unchecked: offset &+ Field.destination)
            var checksum = Checksum()
            unsafe checksum.add(buffer.bytes.slice(unchecked: offset, offset &+ IPv4.headerByteCount))
            unsafe buffer.storeBE16(checksum.field, unchecked: offset &+ Field.checksum)
            return offset &+ IPv4.headerByteCount
        }
    }
}
