// Values that control writes and lanes read by number. An element is written before its number is published (by a store that
// releases, such as a `PublishedTable`'s), and again only after every reader has gone on: so no element is ever read while it
// changes.

@safe
public final class PublishedArray<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {
    @usableFromInline let base: UnsafeMutablePointer<Element>
    public let count: Int

    public init(count: Int, initial: Element) {
        precondition(count > 0)
        self.count = count
        unsafe base = .allocate(capacity: count)
        unsafe base.initialize(repeating: initial, count: count)
    }

    deinit { unsafe base.deallocate() }

    /// Control's. To write: the number is not published, and no reader can still have it. Precondition: `index` is below `count`.
    public subscript(index: Int) -> Element {
        get {
            precondition(index >= 0 && index < count)
            // SAFETY: checked above.
            return unsafe base[index]
        }
        set {
            precondition(index >= 0 && index < count)
            // SAFETY: checked above; nobody reads it, as the caller guarantees.
            unsafe base[index] = newValue
        }
    }
}

/// A lane's way to the elements.
@safe
public struct PublishedArrayReader<Element: BitwiseCopyable & Sendable>: ~Copyable {
    private let array: PublishedArray<Element>
    @usableFromInline let base: UnsafeMutablePointer<Element>
    @usableFromInline let count: Int

    public init(_ array: PublishedArray<Element>) {
        self.array = array
        unsafe base = array.base
        count = array.count
    }

    /// Precondition: `index` is below the array's `count`.
    @inlinable @inline(__always)
    public subscript(index: Int) -> Element {
        precondition(index >= 0 && index < count)
        // SAFETY: checked above; the array lives as long as self.
        return unsafe base[index]
    }
}

extension PublishedArrayReader: @unchecked Sendable {}
