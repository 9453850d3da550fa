// The open-addressing table under every look-up of a lane that is by a 64-bit key: key and value lie side by side, so that a
// look-up in a table that no cache holds waits for memory once. Linear probing, deletion by backward shift, so there are no
// tombstones and a probe ends at the first empty place.
//
//     | key, value | 0 | key, value | key, value | 0 | ...        0 = empty          home of a key = hash & mask

import Basics
import CHints

/// A keyed 64-bit mix: the secret keeps an attacker from choosing keys that collide.
public struct HashSecret: Sendable, BitwiseCopyable {
    @usableFromInline let first: UInt64
    @usableFromInline let second: UInt64

    public init(using random: inout some RandomNumberGenerator) {
        first = random.next()
        second = random.next() | 1
    }

    /// Multiplies into 128 bits and folds, twice.
    @inlinable @inline(__always)
    public func hash(_ key: UInt64) -> UInt32 {
        let a = (key ^ first).multipliedFullWidth(by: second)
        let b = (a.high ^ a.low).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return UInt32(truncatingIfNeeded: b.high ^ b.low)
    }
}

/// Maps keys, which are never 0, to small values. Never more than half full. A value of 24 octets or less makes places of 32,
/// two of them in a cache line.
@safe
public struct KeyedTable<Value: BitwiseCopyable & Sendable>: ~Copyable, @unchecked Sendable {
    @usableFromInline struct Slot: BitwiseCopyable {
        @usableFromInline var key: UInt64
        @usableFromInline var value: Value

        @inlinable init(key: UInt64, value: Value) {
            self.key = key
            self.value = value
        }
    }

    @usableFromInline let base: UnsafeMutablePointer<Slot>
    @usableFromInline let mask: Int
    @usableFromInline let secret: HashSecret

    /// - Parameters:
    ///   - entries: the most keys that will be in it at once.
    ///   - empty: what fills empty places.
    public init(entries: Int, empty: Value, secret: HashSecret) {
        precondition(entries > 0 && entries <= 1 << 28 && MemoryLayout<Value>.alignment <= 8)
        var size = 16
        while size < entries &* 2 { size <<= 1 }
        mask = size - 1
        self.secret = secret
        // SAFETY: `size` places, all initialised here, at the beginning of a cache line.
        let block = UnsafeMutableRawPointer.allocate(byteCount: size * MemoryLayout<Slot>.stride, alignment: 64)
        unsafe base = block.bindMemory(to: Slot.self, capacity: size)
        unsafe base.initialize(repeating: Slot(key: 0, value: empty), count: size)
    }

    // SAFETY: nobody else has the block; places are plain values.
    deinit { unsafe UnsafeMutableRawPointer(base).deallocate() }

    @inlinable @inline(__always)
    func home(_ key: UInt64) -> Int { Int(truncatingIfNeeded: secret.hash(key)) & mask }

    /// Where the key is, until the table changes; `nil` when it is not there. O(1) expected.
    @inlinable @inline(__always)
    public func find(_ key: UInt64) -> Int? {
        var place = home(key)
        while true {
            // SAFETY: the mask keeps the place within the block.
            let found = unsafe base[place].key
            if found == 0 { return nil }
            if found == key { return place }
            place = (place &+ 1) & mask
        }
    }

    /// Precondition: `place` is what `find` has said, and the table has not changed since.
    @inlinable
    public subscript(place: Int) -> Value {
        @inline(__always)
        unsafeAddress {
            // SAFETY: the mask keeps the place within the block, which lives as long as self; a value follows its key.
            return unsafe UnsafePointer((UnsafeRawPointer(base + (place & mask)) + 8).assumingMemoryBound(to: Value.self))
        }
        @inline(__always)
        unsafeMutableAddress {
            // SAFETY: as above; the access holds self exclusively.
            return unsafe (UnsafeMutableRawPointer(base + (place & mask)) + 8).assumingMemoryBound(to: Value.self)
        }
    }

    /// Asks the processor to fetch where the key would be. Changes nothing.
    @inlinable @inline(__always)
    public func prefetch(_ key: UInt64) {
        // SAFETY: the mask keeps the place within the block; a hint reads nothing.
        unsafe ch_prefetch(base + home(key))
    }

    /// Precondition: the key is not 0 and not in it, and fewer than `entries` are.
    public mutating func insert(_ key: UInt64, _ value: Value) {
        precondition(key != 0)
        var place = home(key)
        // SAFETY: the mask keeps every place within the block, here and below.
        while unsafe base[place].key != 0 { place = (place &+ 1) & mask }
        unsafe base[place] = Slot(key: key, value: value)
    }

    /// Removes a key; nothing happens when it is not there.
    public mutating func remove(_ key: UInt64) {
        guard var hole = find(key) else { return }
        var place = hole
        while true {
            place = (place &+ 1) & mask
            let slot = unsafe base[place]
            if slot.key == 0 { break }
            // It may fill the hole if its home is not between the hole and its place.
            if (place &- home(slot.key)) & mask >= (place &- hole) & mask {
                unsafe base[hole] = slot
                hole = place
            }
        }
        unsafe base[hole].key = 0
    }
}
