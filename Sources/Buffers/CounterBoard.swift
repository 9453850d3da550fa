// Counters that a lane publishes and control reads. The lane counts in plain integers of its own and stores the totals
// here once a batch, relaxed: a plain store each, never a locked instruction.

import Synchronization

/// `count` 64-bit totals. One thread stores; any thread loads.
@safe
public final class CounterBoard: @unchecked Sendable {
    private let totals: UnsafeMutablePointer<Atomic<UInt64>>
    public let count: Int

    public init(count: Int) {
        self.count = count
        unsafe totals = .allocate(capacity: max(count, 1))
        for index in 0..<count { unsafe (totals + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        unsafe totals.deinitialize(count: count)
        unsafe totals.deallocate()
    }

    /// Precondition: `index` is below `count`.
    public func store(_ value: UInt64, at index: Int) {
        precondition(index >= 0 && index < count)
        // SAFETY: checked above.
        unsafe totals[index].store(value, ordering: .relaxed)
    }

    /// Precondition: `index` is below `count`.
    public func load(_ index: Int) -> UInt64 {
        precondition(index >= 0 && index < count)
        // SAFETY: checked above.
        return unsafe totals[index].load(ordering: .relaxed)
    }
}
