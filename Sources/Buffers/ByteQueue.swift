// How a lane and control pass each other whole packets: a bounded queue of messages of any length, with one producer and
// one consumer, without locks and without a block of memory for each message. A full queue is the producer's to count;
// neither side ever waits. `SPSCQueue` is its sibling for plain values.
//
//     | count, 64 bit | tag, 64 bit | octets ... | padding to 8 |      a message: contiguous, at a multiple of 8
//     | skip = -1     | unused up to the ring's end              |      before a message that would have crossed the end
//
//     head: next to take, written by the consumer only        tail: next to fill, written by the producer only
//     | taken | ready ... ready | free ... |                  both count octets and are never reduced to the ring
//
// A skip marker and the message behind it are published together, so the consumer never sees a marker alone.

import Synchronization

/// A queue of messages of octets, each with a number of the producer's choice. Exactly one thread may call `push`, and
/// exactly one `pop` and `popInto`.
@safe
public final class ByteQueue: @unchecked Sendable {
    // Each index has a cache line of its own: padding keeps producer and consumer from invalidating each other's.
    private let head = Atomic<Int>(0)
    private let headPadding: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)
    private let tail = Atomic<Int>(0)
    private let tailPadding: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)
    private let base: UnsafeMutableRawPointer
    private let mask: Int

    /// The longest message of any queue, in octets.
    public static let messageLimit = 16_384
    /// What a message takes beside its octets, which are padded to a multiple of 8.
    public static let overhead = 16
    /// Stands where a message's count would be.
    private static let skip = -1

    /// The longest message that this queue takes, in octets: half the ring, so that an empty queue has room wherever its
    /// indexes stand, and at most `messageLimit`.
    public let largestMessage: Int

    /// - Parameter capacity: octets, overhead included; rounded up to a power of two, and to 64 at least.
    public init(capacity: Int) {
        precondition(capacity > 0 && capacity <= 1 << 30)
        var size = 64
        while size < capacity { size <<= 1 }
        mask = size - 1
        largestMessage = min(ByteQueue.messageLimit, size / 2 - ByteQueue.overhead)
        unsafe base = .allocate(byteCount: size, alignment: 64)
    }

    deinit { unsafe base.deallocate() }

    /// Producer: false, and nothing queued, when the message does not fit beside `reserve` octets that are kept for messages
    /// that matter more, or is longer than `largestMessage`.
    public func push(_ bytes: RawSpan, tag: UInt64, leaving reserve: Int = 0) -> Bool {
        let count = bytes.byteCount
        guard count <= largestMessage else { return false }
        let length = (ByteQueue.overhead &+ count &+ 7) & ~7
        let end = tail.load(ordering: .relaxed)
        let place = end & mask
        let toRingEnd = mask &+ 1 &- place
        let skipped = length <= toRingEnd ? 0 : toRingEnd
        let free = mask &+ 1 &- (end &- head.load(ordering: .acquiring))
        guard skipped &+ length <= free &- max(reserve, 0) else { return false }
        // SAFETY: the octets from tail on, as many as are free, are the producer's alone: head has passed them. Places are
        // multiples of 8, so a marker fits before the ring's end; a message ends before it, by the choice of `skipped`.
        if skipped > 0 { unsafe base.storeBytes(of: ByteQueue.skip, toByteOffset: place, as: Int.self) }
        let start = unsafe base + (skipped > 0 ? 0 : place)
        unsafe start.storeBytes(of: count, as: Int.self)
        unsafe start.storeBytes(of: tag, toByteOffset: 8, as: UInt64.self)
        unsafe bytes.withUnsafeBytes { source in
            guard let from = source.baseAddress else { return }
            unsafe (start + ByteQueue.overhead).copyMemory(from: from, byteCount: count)
        }
        tail.store(end &+ skipped &+ length, ordering: .releasing)
        return true
    }

    /// Consumer: `nil` when the queue is empty. Allocates the array.
    public func pop() -> (tag: UInt64, bytes: [UInt8])? {
        guard let (place, count, tag, next) = first() else { return nil }
        // SAFETY: `first` has found a message of `count` octets there, and the producer does not touch it before head moves.
        let octets = unsafe UnsafeRawBufferPointer(start: base + place, count: count)
        let bytes = unsafe [UInt8](octets)
        head.store(next, ordering: .releasing)
        return (tag, bytes)
    }

    /// Consumer: copies the message to the start of `buffer`, without allocation; `nil` when the queue is empty.
    /// Precondition: `buffer` holds `largestMessage` octets.
    public func popInto(_ buffer: inout OwnedBytes) -> (tag: UInt64, count: Int)? {
        precondition(buffer.count >= largestMessage)
        guard let (place, count, tag, next) = first() else { return nil }
        // SAFETY: as above; the span does not outlive this call.
        unsafe buffer.copy(RawSpan(_unsafeStart: base + place, byteCount: count), to: 0)
        head.store(next, ordering: .releasing)
        return (tag, count)
    }

    /// Either side: a moment's view.
    public var isEmpty: Bool { head.load(ordering: .acquiring) == tail.load(ordering: .acquiring) }

    /// Consumer: where the first message's octets are, how many, its tag, and head behind it.
    private func first() -> (place: Int, count: Int, tag: UInt64, next: Int)? {
        var start = head.load(ordering: .relaxed)
        guard start != tail.load(ordering: .acquiring) else { return nil }
        // SAFETY: the producer filled all from head to tail before it moved tail, as `push` says.
        var count = unsafe base.load(fromByteOffset: start & mask, as: Int.self)
        if count == ByteQueue.skip {
            start &+= mask &+ 1 &- start & mask
            count = unsafe base.load(fromByteOffset: start & mask, as: Int.self)
        }
        let place = start & mask
        let tag = unsafe base.load(fromByteOffset: place &+ 8, as: UInt64.self)
        return (place &+ ByteQueue.overhead, count, tag, start &+ (ByteQueue.overhead &+ count &+ 7) & ~7)
    }
}
