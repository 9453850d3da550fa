// A block of memory with one owner, allocated once. Lanes keep all that they write to in blocks of this kind, so that
// the fast path never allocates. Bytes are reached through spans that cannot outlive the borrow.

/// `count` octets, freed with the value. What they hold before they are written to is unspecified: a large block costs
/// memory only where it is used.
@safe
public struct OwnedBytes: ~Copyable, @unchecked Sendable {
    @usableFromInline let base: UnsafeMutableRawPointer
    public let count: Int

    /// - Parameter alignment: of the first octet; a power of two.
    public init(count: Int, alignment: Int = 64) {
        precondition(count > 0)
        unsafe base = .allocate(byteCount: count, alignment: alignment)
        self.count = count
    }

    deinit { unsafe base.deallocate() }

    @inlinable public var bytes: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            // SAFETY: `base` holds `count` initialised octets for as long as self lives, and the span borrows self.
            unsafe _overrideLifetime(RawSpan(_unsafeStart: base, byteCount: count), borrowing: self)
        }
    }

    @inlinable public var mutableBytes: MutableRawSpan {
        @_lifetime(&self)
        mutating get {
            // SAFETY: as above, and the mutable span holds self exclusively.
            unsafe _overrideLifetime(MutableRawSpan(_unsafeStart: base, byteCount: count), mutating: &self)
        }
    }

    /// A part of the block. Precondition: it lies within.
    @inlinable @_lifetime(borrow self)
    public func bytes(at offset: Int, count length: Int) -> RawSpan {
        precondition(offset >= 0 && length >= 0 && length <= count && offset <= count &- length)
        // SAFETY: checked above.
        return unsafe _overrideLifetime(RawSpan(_unsafeStart: base + offset, byteCount: length), borrowing: self)
    }

    /// A part of the block, to write to. Precondition: it lies within.
    @inlinable @_lifetime(&self)
    public mutating func mutableBytes(at offset: Int, count length: Int) -> MutableRawSpan {
        precondition(offset >= 0 && length >= 0 && length <= count && offset <= count &- length)
        // SAFETY: checked above.
        return unsafe _overrideLifetime(MutableRawSpan(_unsafeStart: base + offset, byteCount: length), mutating: &self)
    }

    /// Copies `source` to `offset`. Precondition: it fits.
    @inlinable @inline(__always)
    public mutating func copy(_ source: RawSpan, to offset: Int) {
        let length = source.byteCount
        precondition(offset >= 0 && length <= count && offset <= count &- length)
        if length == 0 { return }
        // SAFETY: the destination is checked above; the source is a span that is alive during the call.
        unsafe source.withUnsafeBytes { from in
            unsafe (base + offset).copyMemory(from: from.baseAddress.unsafelyUnwrapped, byteCount: length)
        }
    }

    /// Copies a part of another block to `destination`. Precondition: it lies within, and fits.
    @inlinable
    public mutating func copy(from other: borrowing OwnedBytes, at offset: Int, count length: Int, to destination: Int) {
        copy(other.bytes(at: offset, count: length), to: destination)
    }

    /// Writes an integer in network order. Precondition: it fits.
    @inlinable @inline(__always)
    public mutating func storeBigEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        precondition(offset >= 0 && MemoryLayout<T>.size <= count && offset <= count &- MemoryLayout<T>.size)
        // SAFETY: checked above.
        unsafe (base + offset).storeBytes(of: value.bigEndian, as: T.self)
    }
}
