// Loads and stores in network order, the only place where `Wire` reaches into memory. The checked ones are for any caller
// and cannot trap; the `unchecked` ones are for views and emitters that have compared a length once.

extension RawSpan {
    /// True when `count` octets begin at `offset`. Never traps, whatever the arguments.
    @inlinable @inline(always) func holds(_ count: Int, at offset: Int) -> Bool {
        offset >= 0 && count >= 0 && count <= byteCount && offset <= byteCount &- count
    }

    /// The octet at `offset`; `nil` beyond the end.
    @inlinable public func loadByte(at offset: Int) -> UInt8? {
        guard holds(1, at: offset) else { return nil }
        // SAFETY: `holds` has checked the bounds.
        return unsafe loadByte(unchecked: offset)
    }

    /// The 16-bit big-endian number at `offset`; `nil` if it is not wholly inside.
    @inlinable public func loadBE16(at offset: Int) -> UInt16? {
        guard holds(2, at: offset) else { return nil }
        // SAFETY: `holds` has checked the bounds.
        return unsafe loadBE16(unchecked: offset)
    }

    /// The 32-bit big-endian number at `offset`; `nil` if it is not wholly inside.
    @inlinable public func loadBE32(at offset: Int) -> UInt32? {
        guard holds(4, at: offset) else { return nil }
        // SAFETY: `holds` has checked the bounds.
        return unsafe loadBE32(unchecked: offset)
    }

    /// The 64-bit big-endian number at `offset`; `nil` if it is not wholly inside.
    @inlinable public func loadBE64(at offset: Int) -> UInt64? {
        guard holds(8, at: offset) else { return nil }
        // SAFETY: `holds` has checked the bounds.
        return unsafe loadBE64(unchecked: offset)
    }

    // SAFETY of the four below: the caller has proven that the whole number is inside; the span keeps the memory alive.

    @unsafe @inlinable @inline(always) func loadByte(unchecked offset: Int) -> UInt8 {
        unsafe unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
    }

    @unsafe @inlinable @inline(always) func loadBE16(unchecked offset: Int) -> UInt16 {
        unsafe UInt16(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self))
    }

    @unsafe @inlinable @inline(always) func loadBE32(unchecked offset: Int) -> UInt32 {
        unsafe UInt32(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self))
    }

    @unsafe @inlinable @inline(always) func loadBE64(unchecked offset: Int) -> UInt64 {
        unsafe UInt64(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
    }

    /// The octets `start..<end`.
    @unsafe @inlinable @inline(always) @_lifetime(copy self) func slice(unchecked start: Int, _ end: Int) -> RawSpan {
        // SAFETY: the caller has proven that 0 <= start <= end <= byteCount.
        unsafe extracting(unchecked: Range(uncheckedBounds: (lower: start, upper: end)))
    }
}

extension MutableRawSpan {
    /// True when `count` octets begin at `offset`. Never traps, whatever the arguments.
    @inlinable @inline(always) func holds(_ count: Int, at offset: Int) -> Bool {
        offset >= 0 && count >= 0 && count <= byteCount && offset <= byteCount &- count
    }

    /// Stores one octet; false, and nothing stored, beyond the end.
    @inlinable public mutating func storeByte(_ value: UInt8, at offset: Int) -> Bool {
        guard holds(1, at: offset) else { return false }
        // SAFETY: `holds` has checked the bounds.
        unsafe storeByte(value, unchecked: offset)
        return true
    }

    /// Stores a 16-bit number in big-endian order; false, and nothing stored, if it does not fit.
    @inlinable public mutating func storeBE16(_ value: UInt16, at offset: Int) -> Bool {
        guard holds(2, at: offset) else { return false }
        // SAFETY: `holds` has checked the bounds.
        unsafe storeBE16(value, unchecked: offset)
        return true
    }

    /// Stores a 32-bit number in big-endian order; false, and nothing stored, if it does not fit.
    @inlinable public mutating func storeBE32(_ value: UInt32, at offset: Int) -> Bool {
        guard holds(4, at: offset) else { return false }
        // SAFETY: `holds` has checked the bounds.
        unsafe storeBE32(value, unchecked: offset)
        return true
    }

    /// Stores a 64-bit number in big-endian order; false, and nothing stored, if it does not fit.
    @inlinable public mutating func storeBE64(_ value: UInt64, at offset: Int) -> Bool {
        guard holds(8, at: offset) else { return false }
        // SAFETY: `holds` has checked the bounds.
        unsafe storeBE64(value, unchecked: offset)
        return true
    }

    /// Copies all of `source` to `offset`; false, and nothing copied, if it does not fit.
    @inlinable public mutating func storeBytes(_ source: RawSpan, at offset: Int) -> Bool {
        guard holds(source.byteCount, at: offset) else { return false }
        // SAFETY: `holds` has checked the destination; the source is copied whole.
        unsafe copy(source, unchecked: offset)
        return true
    }

    // SAFETY of those below: the caller has proven that the whole number is inside; the span has exclusive access to the memory.

    @unsafe @inlinable @inline(always) mutating func storeByte(_ value: UInt8, unchecked offset: Int) {
        unsafe storeBytes(of: value, toUncheckedByteOffset: offset, as: UInt8.self)
    }

    @unsafe @inlinable @inline(always) mutating func storeBE16(_ value: UInt16, unchecked offset: Int) {
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt16.self)
    }

    @unsafe @inlinable @inline(always) mutating func storeBE32(_ value: UInt32, unchecked offset: Int) {
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt32.self)
    }

    @unsafe @inlinable @inline(always) mutating func storeBE64(_ value: UInt64, unchecked offset: Int) {
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt64.self)
    }

    /// Copies all of `source` to `offset`.
    @unsafe @inlinable @inline(always) mutating func copy(_ source: RawSpan, unchecked offset: Int) {
        // SAFETY: the caller has proven that the destination holds `source.byteCount` octets from `offset`; the pointers
        // do not leave the closures.
        unsafe withUnsafeMutableBytes { destination in
            unsafe source.withUnsafeBytes { origin in
                guard let to = destination.baseAddress, let from = origin.baseAddress else { return }
                unsafe (to + offset).copyMemory(from: from, byteCount: origin.count)
            }
        }
    }
}
