// Moving a value that cannot be copied into another thread.

import Synchronization

/// Holds one value until somebody takes it.
final class HandOver<Value: ~Copyable>: @unchecked Sendable {
    private var value: Value?
    private let isTaken = Atomic<Bool>(false)

    init(_ value: consuming Value) { self.value = consume value }

    /// The value, for the first who asks; `nil` for all others.
    func take() -> Value? {
        if isTaken.exchange(true, ordering: .acquiringAndReleasing) { return nil }
        return value.take()
    }
}
