// An array whose size is set once, for elements that may be move-only. Elements are changed in place: a subscript here is
// an address and a bounds check, with no uniqueness check and no copy.

/// `count` elements, made at the beginning and destroyed with the value.
@safe
public struct FixedArray<Element: ~Copyable>: ~Copyable {
    @usableFromInline let base: UnsafeMutablePointer<Element>
    public let count: Int

    public init(count: Int, _ make: (Int) -> Element) {
        precondition(count >= 0)
        self.count = count
        // SAFETY: every element below `count` is initialised here, and stays so until deinit.
        unsafe base = .allocate(capacity: max(count, 1))
        for index in 0..<count { unsafe (base + index).initialize(to: make(index)) }
    }

    deinit {
        // SAFETY: all elements are initialised, and nobody else has the block.
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }

    /// Precondition: `index` is within.
    @inlinable
    public subscript(index: Int) -> Element {
        @inline(__always)
        unsafeAddress {
            precondition(index >= 0 && index < count)
            // SAFETY: checked above; all elements are initialised for as long as self lives.
            return unsafe UnsafePointer(base + index)
        }
        @inline(__always)
        unsafeMutableAddress {
            precondition(index >= 0 && index < count)
            // SAFETY: checked above; the access holds self exclusively.
            return unsafe base + index
        }
    }
}

extension FixedArray: @unchecked Sendable where Element: Sendable & ~Copyable {}
