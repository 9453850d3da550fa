/// A set of peers: one bit each.
public struct PeerSet: Hashable, Sendable, BitwiseCopyable {
    // `Limits.peers` bits, the lowest first.
    @usableFromInline var word0: UInt64 = 0
    @usableFromInline var word1: UInt64 = 0
    @usableFromInline var word2: UInt64 = 0
    @usableFromInline var word3: UInt64 = 0

    @inlinable public init() {}

    /// The first `count` peers.
    public init(first count: Int) { for index in 0..<min(count, Limits.peers) { insert(PeerIndex(index)) } }

    public static let none = PeerSet()

    @inlinable public var isEmpty: Bool { word0 | word1 | word2 | word3 == 0 }
    @inlinable public var count: Int {
        word0.nonzeroBitCount &+ word1.nonzeroBitCount &+ word2.nonzeroBitCount &+ word3.nonzeroBitCount
    }

    /// The peers 64 * `index` and the 63 after it. Precondition: `index` is below `wordCount`.
    @inlinable @inline(always) public func word(_ index: Int) -> UInt64 {
        switch index {
        case 0: word0
        case 1: word1
        case 2: word2
        default: word3
        }
    }

    @inlinable public static var wordCount: Int { 4 }

    public mutating func remove(_ peer: PeerIndex) {
        let bit: UInt64 = 1 << UInt64(peer.rawValue & 63)
        switch peer.rawValue >> 6 {
        case 0: word0 &= ~bit
        case 1: word1 &= ~bit
        case 2: word2 &= ~bit
        case 3: word3 &= ~bit
        default: break
        }
    }

    public mutating func insert(_ peer: PeerIndex) {
        let bit: UInt64 = 1 << UInt64(peer.rawValue & 63)
        switch peer.rawValue >> 6 {
        case 0: word0 |= bit
        case 1: word1 |= bit
        case 2: word2 |= bit
        case 3: word3 |= bit
        default: break
        }
    }

    public func contains(_ peer: PeerIndex) -> Bool {
        peer.index < Limits.peers && word(peer.index >> 6) >> UInt64(peer.rawValue & 63) & 1 != 0
    }

    public func union(_ other: PeerSet) -> PeerSet {
        var result = self
        result.word0 |= other.word0
        result.word1 |= other.word1
        result.word2 |= other.word2
        result.word3 |= other.word3
        return result
    }

    /// The members in ascending order.
    public var members: [PeerIndex] { (0..<Limits.peers).map { PeerIndex($0) }.filter { contains($0) } }
}
