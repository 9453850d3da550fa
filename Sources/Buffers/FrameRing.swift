// Frames that wait in a lane, first in, first out, in one block of memory: what a rate holds back. For one thread; between
// threads there is `ByteQueue`.
//
//     | length 2 | tag 2 | octets ... | length | tag | octets ... | 0: on at the start |      |

/// A bounded queue of frames, each with a number. Full is full: the newcomer is refused.
public struct FrameRing: ~Copyable {
    private static let headerBytes = 4

    private var storage: OwnedBytes
    private let limit: Int
    /// Where the oldest frame's header is.
    private var head = 0
    /// Where the next one's goes.
    private var tail = 0
    /// Octets between `head` and `tail`, headers and what was left out at the end included.
    private var used = 0
    public private(set) var count = 0
    /// Octets of all frames.
    public private(set) var octets = 0

    /// - Parameters:
    ///   - capacity: octets, of frames and of four more for each.
    ///   - limit: frames.
    public init(capacity: Int, limit: Int) {
        precondition(capacity >= 64 && limit > 0)
        storage = OwnedBytes(count: capacity)
        self.limit = limit
    }

    public var isEmpty: Bool { count == 0 }

    /// Puts a copy at the end; false, and nothing changed, when there is no room. Precondition: 1 to 65,535 octets.
    public mutating func push(_ frame: RawSpan, tag: UInt16) -> Bool {
        let length = frame.byteCount
        precondition(length > 0 && length <= 0xFFFF)
        let needed = FrameRing.headerBytes &+ length
        guard count < limit else { return false }
        // A frame lies in one piece: what is too short for it at the end is passed over.
        let wraps = storage.count &- tail < needed
        let skipped = wraps ? storage.count &- tail : 0
        guard used &+ skipped &+ needed <= storage.count else { return false }
        if wraps {
            if skipped >= FrameRing.headerBytes { storage.storeBigEndian(UInt16(0), at: tail) }
            tail = 0
            used &+= skipped
        }
        storage.storeBigEndian(UInt16(truncatingIfNeeded: length), at: tail)
        storage.storeBigEndian(tag, at: tail &+ 2)
        storage.copy(frame, to: tail &+ FrameRing.headerBytes)
        tail &+= needed
        used &+= needed
        count &+= 1
        octets &+= length
        return true
    }

    /// The oldest frame's octets. Precondition: not empty.
    @_lifetime(borrow self)
    public func front() -> RawSpan {
        precondition(count > 0)
        return storage.bytes(at: head &+ FrameRing.headerBytes, count: Int(word(head)))
    }

    /// The oldest frame's number. Precondition: not empty.
    public var frontTag: UInt16 {
        precondition(count > 0)
        return word(head &+ 2)
    }

    /// Forgets the oldest frame. Precondition: not empty.
    public mutating func pop() {
        precondition(count > 0)
        let length = Int(word(head))
        head &+= FrameRing.headerBytes &+ length
        used &-= FrameRing.headerBytes &+ length
        count &-= 1
        octets &-= length
        if count == 0 {
            (head, tail, used) = (0, 0, 0)
        } else if storage.count &- head < FrameRing.headerBytes || word(head) == 0 {
            used &-= storage.count &- head
            head = 0
        }
    }

    private func word(_ offset: Int) -> UInt16 {
        let span = storage.bytes(at: offset, count: 2)
        // SAFETY: `bytes(at:count:)` has checked that two octets are there.
        return unsafe UInt16(bigEndian: span.unsafeLoadUnaligned(fromUncheckedByteOffset: 0, as: UInt16.self))
    }
}
