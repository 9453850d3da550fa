// The Internet checksum (RFC 1071; incremental update by RFC 1624 equation 3; pseudo-headers of RFC 9293 section 3.1,
// RFC 768 and RFC 8200 section 8.1). IPv4, UDP, TCP, ICMP and IGMP all use it.

/// A ones' complement sum under way. Add pieces in any order, then take `field`.
///
/// Each piece counts as beginning at an even octet of the whole: only the last piece of a packet may have an odd length.
public struct Checksum: Hashable, Sendable, BitwiseCopyable {
    /// A sum of 16-bit words, not yet folded. Each addition adds less than 2^33, so 2^31 of them fit.
    @usableFromInline var sum: UInt64

    @inlinable public init() { sum = 0 }

    @inlinable public mutating func add(_ word: UInt16) { sum &+= UInt64(word) }

    @inlinable public mutating func add(_ number: UInt32) { sum &+= UInt64(number >> 16) &+ UInt64(number & 0xFFFF) }

    @inlinable public mutating func add(_ number: UInt64) {
        add(UInt32(truncatingIfNeeded: number >> 32))
        add(UInt32(truncatingIfNeeded: number))
    }

    /// Adds all of `bytes`; an odd last octet counts as followed by a zero octet. O(n), 32 octets a turn.
    @inlinable public mutating func add(_ bytes: RawSpan) { sum &+= UInt64(Checksum.wordSum(bytes)) }

    /// The sum of everything added, folded to 16 bits: what a partial checksum field holds.
    @inlinable public var folded: UInt16 { Checksum.fold(sum) }

    /// The checksum to store: the complement of the sum. UDP stores 0xffff where this is 0.
    @inlinable public var field: UInt16 { ~folded }

    /// True when what was added, its checksum field included, is intact.
    @inlinable public var isValid: Bool { folded == 0xFFFF }

    // MARK: Pseudo-headers

    /// The IPv4 pseudo-header; addresses in host order, `length` in octets of transport header and payload.
    @inlinable
    public static func pseudoHeader(
        source: UInt32, destination: UInt32, protocol transport: IPProtocol, length: Int
    ) -> Checksum {
        var checksum = Checksum()
        checksum.add(source)
        checksum.add(destination)
        checksum.add(UInt16(transport.rawValue))
        checksum.add(UInt32(truncatingIfNeeded: length))
        return checksum
    }

    /// The IPv6 pseudo-header; `length` in octets of transport header and payload. With a routing header that has segments
    /// left, `destination` is the last of those.
    @inlinable
    public static func pseudoHeader(
        source: IPv6.Address, destination: IPv6.Address, protocol transport: IPProtocol, length: Int
    ) -> Checksum {
        var checksum = Checksum()
        checksum.add(source.high)
        checksum.add(source.low)
        checksum.add(destination.high)
        checksum.add(destination.low)
        checksum.add(UInt16(transport.rawValue))
        checksum.add(UInt32(truncatingIfNeeded: length))
        return checksum
    }

    // MARK: Incremental update

    /// The checksum field after one 16-bit word under it changes from `old` to `new`.
    @inlinable
    public static func updated(_ field: UInt16, replacing old: UInt16, with new: UInt16) -> UInt16 {
        ~fold(UInt64(~field) &+ UInt64(~old) &+ UInt64(new))
    }

    /// The checksum field after two adjacent words under it, the first of them at an even octet, change from `old` to `new`.
    @inlinable
    public static func updated(_ field: UInt16, replacing old: UInt32, with new: UInt32) -> UInt16 {
        var checksum = Checksum()
        checksum.add(~field)
        checksum.add(~old)
        checksum.add(new)
        return checksum.field
    }

    // MARK: Storing

    /// Computes the checksum of `offset..<end` and stores it `fieldOffset` octets from `offset`, where the sum's own field
    /// counts as 0. With `zeroMeansNone`, UDP's rule, a checksum of 0 is stored as its equal 0xffff. False, and nothing
    /// stored, if the field or the octets are not inside.
    @inlinable
    static func store(
        in buffer: inout MutableRawSpan, at offset: Int, end: Int, fieldOffset: Int, _ seed: Checksum, zeroMeansNone: Bool
    ) -> Bool {
        guard end >= offset, buffer.holds(end &- offset, at: offset), end &- offset >= fieldOffset &+ 2 else { return false }
        var checksum = seed
        // SAFETY: `offset..<end` is inside the buffer, and the field, at a small constant or 16-bit `fieldOffset`, inside that.
        unsafe buffer.storeBE16(0, unchecked: offset &+ fieldOffset)
        unsafe checksum.add(buffer.bytes.slice(unchecked: offset, end))
        let field = checksum.field
        unsafe buffer.storeBE16(zeroMeansNone && field == 0 ? 0xFFFF : field, unchecked: offset &+ fieldOffset)
        return true
    }

    // MARK: Arithmetic

    /// Folds a sum to 16 bits with end-around carries.
    @inlinable
    static func fold(_ sum: UInt64) -> UInt16 {
        var folded = (sum >> 32) &+ (sum & 0xFFFF_FFFF)
        folded = (folded >> 32) &+ (folded & 0xFFFF_FFFF)
        folded = (folded >> 16) &+ (folded & 0xFFFF)
        folded = (folded >> 16) &+ (folded & 0xFFFF)
        return UInt16(truncatingIfNeeded: (folded >> 16) &+ folded)
    }

    /// `a + b` with the carry added back in: the ones' complement sum of 64-bit words.
    @inlinable @inline(always)
    static func addWithCarry(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let (sum, carry) = a.addingReportingOverflow(b)
        return sum &+ (carry ? 1 : 0)
    }

    /// The folded sum of big-endian 16-bit words. Words are loaded in the machine's order and the sum is swapped at the
    /// end, which is the same (RFC 1071 section 2 (B)); four chains of carries keep the processor's adders busy.
    @inlinable
    static func wordSum(_ bytes: RawSpan) -> UInt16 {
        let count = bytes.byteCount
        var a: UInt64 = 0
        var b: UInt64 = 0
        var c: UInt64 = 0
        var d: UInt64 = 0
        var offset = 0
        // SAFETY: each turn and each step below first compares what it loads with the octets that are left.
        while count &- offset >= 32 {
            a = unsafe addWithCarry(a, bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
            b = unsafe addWithCarry(b, bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset &+ 8, as: UInt64.self))
            c = unsafe addWithCarry(c, bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset &+ 16, as: UInt64.self))
            d = unsafe addWithCarry(d, bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset &+ 24, as: UInt64.self))
            offset &+= 32
        }
        while count &- offset >= 8 {
            a = unsafe addWithCarry(a, bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
            offset &+= 8
        }
        if count &- offset >= 4 {
            b = unsafe addWithCarry(b, UInt64(bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self)))
            offset &+= 4
        }
        if count &- offset >= 2 {
            c = unsafe addWithCarry(c, UInt64(bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self)))
            offset &+= 2
        }
        if count &- offset >= 1 {
            d = unsafe addWithCarry(d, UInt64(UInt16(bytes.loadByte(unchecked: offset)).littleEndian))
        }
        return UInt16(bigEndian: fold(addWithCarry(addWithCarry(a, b), addWithCarry(c, d))))
    }
}
