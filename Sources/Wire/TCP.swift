// The TCP header (RFC 9293 section 3.1; ECE and CWR by RFC 3168).
//
//      0               1               2               3
//     +-------------------------------+-------------------------------+
//   0 | source port                   | destination port              |
//     +-------------------------------+-------------------------------+
//   4 | sequence number                                               |
//     +---------------------------------------------------------------+
//   8 | acknowledgement number                                        |
//     +-------+-------+---------------+-------------------------------+
//  12 | offset|       | flags         | window                        |
//     +-------+-------+---------------+-------------------------------+
//  16 | checksum                      | urgent pointer                |
//     +-------------------------------+-------------------------------+
//  20 | options, to a multiple of four octets                         |

/// TCP.
public enum TCP {
    /// Octets of a header without options.
    @inlinable public static var headerByteCount: Int { 20 }

    /// The control bits of octet 13.
    public struct Flags: OptionSet, Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt8
        @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
        @inlinable public static var fin: Flags { Flags(rawValue: 0x01) }
        @inlinable public static var syn: Flags { Flags(rawValue: 0x02) }
        @inlinable public static var rst: Flags { Flags(rawValue: 0x04) }
        @inlinable public static var psh: Flags { Flags(rawValue: 0x08) }
        @inlinable public static var ack: Flags { Flags(rawValue: 0x10) }
        @inlinable public static var urg: Flags { Flags(rawValue: 0x20) }
        @inlinable public static var ece: Flags { Flags(rawValue: 0x40) }
        @inlinable public static var cwr: Flags { Flags(rawValue: 0x80) }
    }

    /// Offsets in octets from the header's start.
    @usableFromInline enum Field {
        @inlinable static var sourcePort: Int { 0 }
        @inlinable static var destinationPort: Int { 2 }
        @inlinable static var sequence: Int { 4 }
        @inlinable static var acknowledgement: Int { 8 }
        @inlinable static var dataOffset: Int { 12 }
        @inlinable static var flags: Int { 13 }
        @inlinable static var window: Int { 14 }
        @inlinable static var checksum: Int { 16 }
        @inlinable static var urgentPointer: Int { 18 }
        @inlinable static var options: Int { 20 }
    }

    /// The octets of a TCP segment, whose header is known to be there in full.
    public struct View: ~Escapable {
        @usableFromInline let bytes: RawSpan

        /// `nil` unless `bytes` begin with a whole header. TCP has no length field: `bytes` end where the segment ends.
        @inlinable @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= TCP.headerByteCount else { return nil }
            // SAFETY: 20 octets are there.
            let header = unsafe Int(bytes.loadByte(unchecked: Field.dataOffset) >> 4) &* 4
            guard header >= TCP.headerByteCount, header <= bytes.byteCount else { return nil }
            self.bytes = bytes
        }

        // SAFETY of every accessor: `init` has checked 20 octets, and that 20 <= headerLength <= byteCount.

        @inlinable public var sourcePort: UInt16 { unsafe bytes.loadBE16(unchecked: Field.sourcePort) }
        @inlinable public var destinationPort: UInt16 { unsafe bytes.loadBE16(unchecked: Field.destinationPort) }
        @inlinable public var sequence: UInt32 { unsafe bytes.loadBE32(unchecked: Field.sequence) }
        @inlinable public var acknowledgement: UInt32 { unsafe bytes.loadBE32(unchecked: Field.acknowledgement) }
        /// Octets of the header with its options: 20 to 60.
        @inlinable public var headerLength: Int { unsafe Int(bytes.loadByte(unchecked: Field.dataOffset) >> 4) &* 4 }
        @inlinable public var flags: Flags { unsafe Flags(rawValue: bytes.loadByte(unchecked: Field.flags)) }
        /// In octets, not scaled.
        @inlinable public var window: UInt16 { unsafe bytes.loadBE16(unchecked: Field.window) }
        @inlinable public var checksum: UInt16 { unsafe bytes.loadBE16(unchecked: Field.checksum) }
        @inlinable public var urgentPointer: UInt16 { unsafe bytes.loadBE16(unchecked: Field.urgentPointer) }

        /// The options: 0 to 40 octets.
        @inlinable public var options: RawSpan {
            @_lifetime(copy self) get { unsafe bytes.slice(unchecked: Field.options, headerLength) }
        }

        @inlinable public var payload: RawSpan {
            @_lifetime(copy self) get { unsafe bytes.slice(unchecked: headerLength, bytes.byteCount) }
        }

        /// True when the checksum is right; `pseudoHeader` made with the segment's octets.
        @inlinable public func isChecksumValid(_ pseudoHeader: Checksum) -> Bool {
            var checksum = pseudoHeader
            checksum.add(bytes)
            return checksum.isValid
        }
    }

    /// A header without options, as a value.
    public struct Header: Hashable, Sendable, BitwiseCopyable {
        public var sourcePort: UInt16
        public var destinationPort: UInt16
        public var sequence: UInt32
        public var acknowledgement: UInt32
        public var flags: Flags
        /// In octets, not scaled.
        public var window: UInt16
        public var urgentPointer: UInt16

        @inlinable
        public init(
            sourcePort: UInt16, destinationPort: UInt16, sequence: UInt32, acknowledgement: UInt32, flags: Flags,
            window: UInt16, urgentPointer: UInt16 = 0
        ) {
            self.sourcePort = sourcePort
            self.destinationPort = destinationPort
            self.sequence = sequence
            self.acknowledgement = acknowledgement
            self.flags = flags
            self.window = window
            self.urgentPointer = urgentPointer
        }

        /// The value of a segment's header. Options are left out.
        @inlinable public init(_ view: borrowing View) {
            self.init(
                sourcePort: view.sourcePort, destinationPort: view.destinationPort, sequence: view.sequence,
                acknowledgement: view.acknowledgement, flags: view.flags, window: view.window,
                urgentPointer: view.urgentPointer)
        }

        /// Writes 20 octets with a checksum of 0; `TCP.storeChecksum` adds it once the payload is in place. Returns where the
        /// payload begins; `nil`, and nothing written, if the header does not fit.
        @inlinable
        public func emit(into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
            guard buffer.holds(TCP.headerByteCount, at: offset) else { return nil }
            // SAFETY: `holds` has checked 20 octets from `offset`.
            unsafe buffer.storeBE16(sourcePort, unchecked: offset &+ Field.sourcePort)
            unsafe buffer.storeBE16(destinationPort, unchecked: offset &+ Field.destinationPort)
            unsafe buffer.storeBE32(sequence, unchecked: offset &+ Field.sequence)
            unsafe buffer.storeBE32(acknowledgement, unchecked: offset &+ Field.acknowledgement)
            unsafe buffer.storeByte(0x50, unchecked: offset &+ Field.dataOffset)
            unsafe buffer.storeByte(flags.rawValue, unchecked: offset &+ Field.flags)
            unsafe buffer.storeBE16(window, unchecked: offset &+ Field.window)
            unsafe buffer.storeBE16(0, unchecked: offset &+ Field.checksum)
            unsafe buffer.storeBE16(urgentPointer, unchecked: offset &+ Field.urgentPointer)
            return offset &+ TCP.headerByteCount
        }
    }

    /// Computes and stores the checksum of the segment that occupies `offset..<end`. False, and nothing stored, if there is no
    /// room for a header.
    @inlinable
    public static func storeChecksum(
        in buffer: inout MutableRawSpan, at offset: Int, end: Int, _ pseudoHeader: Checksum
    ) -> Bool {
        Checksum.store(
            in: &buffer, at: offset, end: end, fieldOffset: Field.checksum, pseudoHeader, zeroMeansNone: false)
    }
}
