// The only way that a lane and control talk: a bounded queue with one producer and one consumer, without locks. A full
// queue is the producer's to count; neither side ever waits.
//
//     head: next to take, written by the consumer only        tail: next to fill, written by the producer only
//     | taken | ready ... ready | free ... |                  ready = tail - head, at most the capacity

import Synchronization

/// A queue of plain values. Exactly one thread may call `push`, and exactly one `pop`.
@safe
public final class SPSCQueue<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {
    // Each index has a cache line of its own: padding keeps producer and consumer from invalidating each other's.
    private let head = Atomic<Int>(0)
    private let headPadding: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)
    private let tail = Atomic<Int>(0)
    private let tailPadding: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)
    private let slots: UnsafeMutablePointer<Element>
    private let mask: Int

    /// - Parameter capacity: rounded up to a power of two.
    public init(capacity: Int) {
        precondition(capacity > 0 && capacity <= 1 << 24)
        var size = 1
        while size < capacity { size <<= 1 }
        mask = size - 1
        unsafe slots = .allocate(capacity: size)
    }

    deinit { unsafe slots.deallocate() }

    /// Producer: false when the queue is full, but for `reserve` places that are kept for elements that matter more.
    public func push(_ element: Element, leaving reserve: Int = 0) -> Bool {
        let end = tail.load(ordering: .relaxed)
        guard end &- head.load(ordering: .acquiring) <= mask &- reserve else { return false }
        // SAFETY: the slot is within the block and the consumer is done with it: head has passed it.
        unsafe (slots + (end & mask)).initialize(to: element)
        tail.store(end &+ 1, ordering: .releasing)
        return true
    }

    /// Consumer: `nil` when the queue is empty.
    public func pop() -> Element? {
        let start = head.load(ordering: .relaxed)
        guard start != tail.load(ordering: .acquiring) else { return nil }
        // SAFETY: the producer filled the slot before it moved tail past it.
        let element = unsafe slots[start & mask]
        head.store(start &+ 1, ordering: .releasing)
        return element
    }

    /// Consumer: as `pop`, for elements that hold secrets: nothing of the element stays in the queue.
    public func popWiping() -> Element? {
        let start = head.load(ordering: .relaxed)
        guard start != tail.load(ordering: .acquiring) else { return nil }
        // SAFETY: as in `pop`; a plain value needs no deinitialisation, and the producer fills the slot before it is read again.
        let slot = unsafe slots + (start & mask)
        let element = unsafe slot.pointee
        unsafe UnsafeMutableRawPointer(slot).initializeMemory(
            as: UInt8.self, repeating: 0, count: MemoryLayout<Element>.stride)
        head.store(start &+ 1, ordering: .releasing)
        return element
    }

    /// Producer: while it is false, there is room for one more.
    public var isFull: Bool { tail.load(ordering: .relaxed) &- head.load(ordering: .acquiring) > mask }

    /// Either side: a moment's view.
    public var isEmpty: Bool { head.load(ordering: .acquiring) == tail.load(ordering: .acquiring) }
}
