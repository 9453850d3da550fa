// Sets of peers against each other: what audiences are compared with on the fast path, four words at a time.

extension PeerSet {
    @inlinable init(_ word0: UInt64, _ word1: UInt64, _ word2: UInt64, _ word3: UInt64) {
        self.init()
        self.word0 = word0
        self.word1 = word1
        self.word2 = word2
        self.word3 = word3
    }

    public init(_ peers: [PeerIndex]) {
        self.init()
        for peer in peers { insert(peer) }
    }

    @inlinable @inline(__always)
    public func intersection(_ other: PeerSet) -> PeerSet {
        PeerSet(word0 & other.word0, word1 & other.word1, word2 & other.word2, word3 & other.word3)
    }

    @inlinable @inline(__always)
    public func subtracting(_ other: PeerSet) -> PeerSet {
        PeerSet(word0 & ~other.word0, word1 & ~other.word1, word2 & ~other.word2, word3 & ~other.word3)
    }

    @inlinable @inline(__always)
    public func isSubset(of other: PeerSet) -> Bool { subtracting(other).isEmpty }

    /// As `==`, for code that must not call into another module.
    @inlinable @inline(__always)
    public func hasSameMembers(as other: PeerSet) -> Bool {
        word0 ^ other.word0 | word1 ^ other.word1 | word2 ^ other.word2 | word3 ^ other.word3 == 0
    }

    /// Eight bits that sets differ in, mostly: the place of a set in a table of 256.
    @inlinable @inline(__always)
    public var place: Int {
        let mixed = word0 ^ word1 &* 0xC2B2_AE3D_27D4_EB4F ^ word2 &* 0x1656_67B1_9E37_79F9 ^ word3 &* 0x27D4_EB2F_1656_67C5
        return Int(truncatingIfNeeded: (mixed &* 0x9E37_79B9_7F4A_7C15) >> 56)
    }

    /// Takes the first member out; `nil` when there is none.
    @inlinable @inline(__always)
    public mutating func popFirst() -> Int? {
        if word0 != 0 {
            defer { word0 &= word0 &- 1 }
            return word0.trailingZeroBitCount
        }
        if word1 != 0 {
            defer { word1 &= word1 &- 1 }
            return 64 &+ word1.trailingZeroBitCount
        }
        if word2 != 0 {
            defer { word2 &= word2 &- 1 }
            return 128 &+ word2.trailingZeroBitCount
        }
        if word3 != 0 {
            defer { word3 &= word3 &- 1 }
            return 192 &+ word3.trailingZeroBitCount
        }
        return nil
    }
}

/// An order for what must not depend on hashes: by the sets' words.
extension PeerSet: Comparable {
    public static func < (a: PeerSet, b: PeerSet) -> Bool {
        (a.word0, a.word1, a.word2, a.word3) < (b.word0, b.word1, b.word2, b.word3)
    }
}
