// The UDP header (RFC 768; RFC 8200 section 8.1 on the checksum over IPv6).
//
//      0               1               2               3
//     +-------------------------------+-------------------------------+
//   0 | source port                   | destination port              |
//     +-------------------------------+-------------------------------+
//   4 | length of header and payload  | checksum; 0 is none           |
//     +-------------------------------+-------------------------------+

/// UDP.
public enum UDP {
    /// Octets of the header.
    @inlinable public static var headerByteCount: Int { 8 }

    /// Offsets in octets from the header's start.
    @usableFromInline enum Field {
        @inlinable static var sourcePort: Int { 0 }
        @inlinable static var destinationPort: Int { 2 }
        @inlinable static var length: Int { 4 }
        @inlinable static var checksum: Int { 6 }
    }

    /// The octets of a UDP datagram, whose header is known to be there in full.
    public struct View: ~Escapable {
        @usableFromInline let bytes: RawSpan

        /// `nil` unless `bytes` begin with a header whose length covers it. Octets after the datagram are allowed, and so
        /// are missing ones.
        @inlinable @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= UDP.headerByteCount else { return nil }
            // SAFETY: 8 octets are there.
            guard unsafe Int(bytes.loadBE16(unchecked: Field.length)) >= UDP.headerByteCount else { return nil }
            self.bytes = bytes
        }

        // SAFETY of every accessor: `init` has checked 8 octets, and that `length` is at least 8.

        @inlinable public var sourcePort: UInt16 { unsafe bytes.loadBE16(unchecked: Field.sourcePort) }
        @inlinable public var destinationPort: UInt16 { unsafe bytes.loadBE16(unchecked: Field.destinationPort) }
        /// Octets of header and payload, as the header claims.
        @inlinable public var length: Int { unsafe Int(bytes.loadBE16(unchecked: Field.length)) }
        /// 0 when the sender computed none.
        @inlinable public var checksum: UInt16 { unsafe bytes.loadBE16(unchecked: Field.checksum) }

        /// What follows the header, to the length or to the end of what is there.
        @inlinable public var payload: RawSpan {
            @_lifetime(copy self) get { unsafe bytes.slice(unchecked: UDP.headerByteCount, min(length, bytes.byteCount)) }
        }

        /// True when the datagram is there in full and its checksum is right; `pseudoHeader` made with this `length`.
        @inlinable public func isChecksumValid(_ pseudoHeader: Checksum) -> Bool {
            guard length <= bytes.byteCount else { return false }
            var checksum = pseudoHeader
            unsafe checksum.add(bytes.slice(unchecked: 0, length))
            return checksum.isValid
        }
    }

    /// A header as a value.
    public struct Header: Hashable, Sendable, BitwiseCopyable {
        public var sourcePort: UInt16
        public var destinationPort: UInt16
        /// Octets after the header.
        public var payloadCount: Int

        @inlinable public init(sourcePort: UInt16, destinationPort: UInt16, payloadCount: Int) {
            self.sourcePort = sourcePort
            self.destinationPort = destinationPort
            self.payloadCount = payloadCount
        }

        @inlinable public init(_ view: borrowing View) {
            self.init(
                sourcePort: view.sourcePort, destinationPort: view.destinationPort,
                payloadCount: view.length &- UDP.headerByteCount)
        }

        /// Writes 8 octets with no checksum; `UDP.storeChecksum` adds it once the payload is in place. Returns where the
        /// payload begins; `nil`, and nothing written, if the header does not fit or the datagram is longer than 65535 octets.
        @inlinable
        public func emit(into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
            guard payloadCount >= 0, payloadCount <= 0xFFFF &- UDP.headerByteCount,
                buffer.holds(UDP.headerByteCount, at: offset)
            else { return nil }
            let length = UInt16(truncatingIfNeeded: payloadCount &+ UDP.headerByteCount)
            // SAFETY: `holds` has checked 8 octets from `offset`.
            unsafe buffer.storeBE16(sourcePort, unchecked: offset &+ Field.sourcePort)
            unsafe buffer.storeBE16(destinationPort, unchecked: offset &+ Field.destinationPort)
            unsafe buffer.storeBE16(length, unchecked: offset &+ Field.length)
            unsafe buffer.storeBE16(0, unchecked: offset &+ Field.checksum)
            return offset &+ UDP.headerByteCount
        }
    }

    /// Computes and stores the checksum of the datagram that occupies `offset..<end`. False, and nothing stored, if there is
    /// no room for a header.
    @inlinable
    public static func storeChecksum(
        in buffer: inout MutableRawSpan, at offset: Int, end: Int, _ pseudoHeader: Checksum
    ) -> Bool {
        Checksum.store(
            in: &buffer, at: offset, end: end, fieldOffset: Field.checksum, pseudoHeader, zeroMeansNone: true)
    }
}
