// Lists that control writes and lanes read, by number, without a lock on either side: what is looked through rather than
// looked up, such as ranges of addresses. A list is an immutable block, built aside and put in place by one atomic store; the
// old block is freed once every reader has said that it is between batches. Neighbour: `PublishedTable`, which does the same
// for entries with a key.
//
//     words:  [ 0 ] [ * ] [ 0 ] ...      one atomic address each, 0 where there is no list
//                     |
//                     +--> | count | element | element | ...             never changed

import Synchronization

/// The lists. One thread publishes; readers go through `PublishedBlocksReader`.
@safe
public final class PublishedBlocks<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {
    public let count: Int
    @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt>>
    private let generation = Atomic<UInt64>(1)
    private let acknowledged: UnsafeMutablePointer<Atomic<UInt64>>
    private let readers: Int
    // Only the publishing thread touches what follows.
    private var retired: [(block: UInt, generation: UInt64)] = []

    /// Octets before the first element, which is so aligned too.
    @usableFromInline static var headerBytes: Int { 16 }

    /// - Parameters:
    ///   - count: how many lists.
    ///   - readers: how many readers there will be, each with a number below this.
    public init(count: Int, readers: Int) {
        precondition(count > 0 && readers > 0 && MemoryLayout<Element>.alignment <= PublishedBlocks.headerBytes)
        self.count = count
        self.readers = readers
        unsafe words = .allocate(capacity: count)
        for index in 0..<count { unsafe (words + index).initialize(to: Atomic<UInt>(0)) }
        unsafe acknowledged = .allocate(capacity: readers)
        for index in 0..<readers { unsafe (acknowledged + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        for (block, _) in retired { Self.free(block) }
        for index in 0..<count { Self.free(unsafe words[index].load(ordering: .relaxed)) }
        unsafe words.deinitialize(count: count)
        unsafe words.deallocate()
        unsafe acknowledged.deinitialize(count: readers)
        unsafe acknowledged.deallocate()
    }

    /// Puts a list in the place of the one with this number; an empty one leaves none. O(elements).
    /// Precondition: `index` is below `count`.
    public func publish(_ elements: [Element], at index: Int) {
        precondition(index >= 0 && index < count)
        let block = elements.isEmpty ? 0 : Self.build(elements)
        // SAFETY: checked above.
        let old = unsafe words[index].exchange(block, ordering: .acquiringAndReleasing)
        guard old != 0 else { return }
        // Readers that acknowledge this generation began their batch after the exchange.
        retired.append((old, generation.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue))
        reclaim()
    }

    /// Frees what no reader can still look at.
    public func reclaim() {
        if retired.isEmpty { return }
        var seen = UInt64.max
        // SAFETY: all `readers` places are initialised.
        for index in 0..<readers { seen = min(seen, unsafe acknowledged[index].load(ordering: .acquiring)) }
        retired.removeAll { old in
            guard old.generation <= seen else { return false }
            Self.free(old.block)
            return true
        }
    }

    /// True while replaced lists are kept for readers.
    public var waitsForReaders: Bool { !retired.isEmpty }

    private static func build(_ elements: [Element]) -> UInt {
        let size = headerBytes + elements.count * MemoryLayout<Element>.stride
        // SAFETY: the block holds the count and `elements.count` elements, all initialised before anybody else sees it.
        let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: headerBytes)
        unsafe block.storeBytes(of: elements.count, as: Int.self)
        let places = unsafe (block + headerBytes).bindMemory(to: Element.self, capacity: elements.count)
        for (index, element) in elements.enumerated() { unsafe (places + index).initialize(to: element) }
        return UInt(bitPattern: block)
    }

    private static func free(_ block: UInt) {
        // SAFETY: a block that `build` made, that no reader holds, freed once.
        unsafe UnsafeMutableRawPointer(bitPattern: block)?.deallocate()
    }

    /// Reader `index` holds nothing that it looked at.
    func acknowledge(_ index: Int) {
        // SAFETY: the reader's init has checked its number.
        unsafe acknowledged[index].store(generation.load(ordering: .sequentiallyConsistent), ordering: .releasing)
    }

    func checkReader(_ index: Int) { precondition(index >= 0 && index < readers) }
}

/// One lane's way to the lists.
@safe
public struct PublishedBlocksReader<Element: BitwiseCopyable & Sendable>: ~Copyable {
    private let blocks: PublishedBlocks<Element>
    @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt>>
    @usableFromInline let count: Int
    private let number: Int

    /// Precondition: `number` is below the lists' `readers`, and no other reader has it.
    public init(_ blocks: PublishedBlocks<Element>, number: Int = 0) {
        blocks.checkReader(number)
        self.blocks = blocks
        self.number = number
        unsafe words = blocks.words
        count = blocks.count
    }

    /// Call between batches.
    public func acknowledge() { blocks.acknowledge(number) }

    /// Whether there is a list with this number.
    @inlinable @inline(__always)
    public func hasList(_ index: Int) -> Bool {
        guard index < count else { return false }
        // SAFETY: the index is within, as compared; no reader asks for a negative one.
        return unsafe words[index].load(ordering: .relaxed) != 0
    }

    /// Calls `body` with the list, empty where there is none; it keeps nothing of it.
    @inlinable @inline(__always)
    public func withList<Result>(_ index: Int, _ body: (Span<Element>) -> Result) -> Result {
        guard index < count, index >= 0 else { return body(Span()) }
        // SAFETY: the block stays until this reader acknowledges a later generation, and holds as many elements as it says.
        let word = unsafe words[index].load(ordering: .acquiring)
        guard let block = unsafe UnsafeRawPointer(bitPattern: word) else { return body(Span()) }
        let elements = unsafe (block + PublishedBlocks<Element>.headerBytes).assumingMemoryBound(to: Element.self)
        let list = unsafe UnsafeBufferPointer(start: elements, count: block.load(as: Int.self))
        return body(unsafe Span(_unsafeElements: list))
    }
}

extension PublishedBlocksReader: @unchecked Sendable {}
