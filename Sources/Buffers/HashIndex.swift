// The open-addressing index under every table that a lane looks into: it maps a 32-bit hash to the place of an entry in a
// pool that the table keeps. Entries never move; only index words do. Linear probing, deletion by backward shift, so
// there are no tombstones and a probe ends at the first empty word.
//
//     word = hash << 32 | (entry + 1)          0 = empty          home of a word = hash & mask

import Basics

/// A keyed 64-bit mix: the secret keeps an attacker from choosing keys that collide.
public struct HashSecret: Sendable, BitwiseCopyable {
    @usableFromInline let first: UInt64
    @usableFromInline let second: UInt64

    public init(using random: inout some RandomNumberGenerator) {
        first = random.next()
        second = random.next() | 1
    }

    /// Multiplies into 128 bits and folds, twice.
    @inlinable public func hash(_ key: UInt64) -> UInt32 {
        let a = (key ^ first).multipliedFullWidth(by: second)
        let b = (a.high ^ a.low).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return UInt32(truncatingIfNeeded: b.high ^ b.low)
    }
}

/// Maps hashes to entry numbers. The table that owns it compares keys. Never more than half full.
public struct HashIndex: ~Copyable {
    @usableFromInline var words: FixedArray<UInt64>
    @usableFromInline let mask: Int

    /// - Parameter entries: the most entries that will be in it at once.
    public init(entries: Int) {
        precondition(entries > 0 && entries <= 1 << 28)
        var size = 16
        while size < entries &* 2 { size <<= 1 }
        words = FixedArray(count: size) { _ in 0 }
        mask = size - 1
    }

    /// The first word at or after the hash's home with that hash, or `nil`. O(1) expected.
    /// Continue with `next(after:hash:)` where the entry's key turns out to be another.
    @inlinable public func first(_ hash: UInt32) -> Int? { scan(from: Int(hash) & mask, hash) }

    @inlinable public func next(after position: Int, _ hash: UInt32) -> Int? { scan(from: (position &+ 1) & mask, hash) }

    @inlinable func scan(from start: Int, _ hash: UInt32) -> Int? {
        var position = start
        while true {
            let word = words[position]
            if word == 0 { return nil }
            if UInt32(truncatingIfNeeded: word >> 32) == hash { return position }
            position = (position &+ 1) & mask
        }
    }

    /// The entry that the word at `position` names.
    @inlinable public func entry(at position: Int) -> Int {
        Int(words[position] & 0xFFFF_FFFF) &- 1
    }

    /// Precondition: fewer than `entries` are in it.
    @inlinable public mutating func insert(_ hash: UInt32, entry: Int) {
        var position = Int(hash) & mask
        while words[position] != 0 { position = (position &+ 1) & mask }
        words[position] = UInt64(hash) << 32 | UInt64(truncatingIfNeeded: entry &+ 1)
    }

    /// Removes the word of `entry`; nothing happens when it is not there.
    @inlinable public mutating func remove(_ hash: UInt32, entry: Int) {
        var position = Int(hash) & mask
        while words[position] != 0 && self.entry(at: position) != entry { position = (position &+ 1) & mask }
        if words[position] == 0 { return }
        var hole = position
        while true {
            position = (position &+ 1) & mask
            let word = words[position]
            if word == 0 { break }
            let home = Int(word >> 32) & mask
            // The word may fill the hole if its home is not between the hole and the word.
            if (position &- home) & mask >= (position &- hole) & mask {
                words[hole] = word
                hole = position
            }
        }
        words[hole] = 0
    }
}
