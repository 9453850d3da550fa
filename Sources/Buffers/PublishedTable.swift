// A table that control writes and lanes look into, without a lock on either side. It is cut into shards; each shard is an
// immutable block, built aside and put in place by one atomic store. A reader that has the old block finishes with it: the
// block is freed only once every reader has said that it is between batches.
//
//     shards:  [ 0 ] [ * ] [ 0 ] [ * ] ...      one atomic address each, 0 where the shard is empty
//                      |
//                      +--> | entry | entry | empty | ...             open addressing, two thirds full at most, never changed
//
// A block begins at a multiple of 64, and the low six bits of its address in the shard hold the logarithm of its capacity: a
// look-up touches the shard's word and the entries, nothing else.
//
//     writer:  build a new block -> store its address -> generation += 1 -> remember the old block with that generation
//     reader:  once a batch, holding nothing: acknowledged = generation
//     writer:  frees every remembered block whose generation all readers have acknowledged

import CHints
import Synchronization

/// What a published table holds: a plain value with its key inside.
public protocol PublishedEntry: BitwiseCopyable, Sendable {
    /// False for the value that fills empty places.
    var isOccupied: Bool { get }
    /// The hash of its key, the same as readers look up.
    func hash(_ secret: HashSecret) -> UInt32
    static var empty: Self { get }
}

/// The shards. One thread publishes; readers go through `PublishedTableReader`.
@safe
public final class PublishedTable<Entry: PublishedEntry>: @unchecked Sendable {
    /// Shards of a table.
    public static var shardCount: Int { 1024 }

    @usableFromInline let shards: UnsafeMutablePointer<Atomic<UInt>>
    private let generation = Atomic<UInt64>(1)
    private let acknowledged: UnsafeMutablePointer<Atomic<UInt64>>
    private let readers: Int
    // Only the publishing thread touches what follows.
    private var retired: [(block: UInt, generation: UInt64)] = []
    /// Octets of all blocks, those that wait to be freed included.
    public private(set) var byteCount = 0
    /// The same, for readers.
    private let published = Atomic<Int>(0)

    /// - Parameter readers: how many readers there will be, each with a number below this.
    public init(readers: Int) {
        precondition(readers > 0)
        self.readers = readers
        unsafe shards = .allocate(capacity: Self.shardCount)
        for index in 0..<Self.shardCount { unsafe (shards + index).initialize(to: Atomic<UInt>(0)) }
        unsafe acknowledged = .allocate(capacity: readers)
        for index in 0..<readers { unsafe (acknowledged + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        for (block, _) in retired { Self.free(block) }
        for index in 0..<Self.shardCount { Self.free(unsafe shards[index].load(ordering: .relaxed)) }
        unsafe shards.deinitialize(count: Self.shardCount)
        unsafe shards.deallocate()
        unsafe acknowledged.deinitialize(count: readers)
        unsafe acknowledged.deallocate()
    }

    /// The shard of entries that belong to `hash`: its high bits, so that places within a shard take the low ones.
    @inlinable public static func shard(of hash: UInt32) -> Int { Int(hash >> 22) }

    // MARK: The publishing thread

    /// Puts `entries`, whose keys differ, in the place of all that the shard held. O(entries).
    /// Precondition: `shard` is below `shardCount`.
    public func publish(_ entries: [Entry], in shard: Int, _ secret: HashSecret) {
        precondition(shard >= 0 && shard < Self.shardCount)
        let block = entries.isEmpty ? 0 : build(entries, secret)
        // SAFETY: checked above.
        let old = unsafe shards[shard].exchange(block, ordering: .acquiringAndReleasing)
        published.store(byteCount, ordering: .relaxed)
        guard old != 0 else { return }
        // Readers that acknowledge this generation began their batch after the exchange.
        let generation = generation.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
        retired.append((old, generation))
        if retired.count >= 64 { reclaim() }
    }

    /// Frees what no reader can still look at. True when nothing is left to free.
    @discardableResult
    public func reclaim() -> Bool {
        let seen = seenByAll
        retired.removeAll { old in
            guard old.generation <= seen else { return false }
            byteCount -= Self.size(old.block)
            Self.free(old.block)
            return true
        }
        return retired.isEmpty
    }

    /// True while replaced blocks are kept for readers.
    public var waitsForReaders: Bool { !retired.isEmpty }

    /// The generation that a change made just before would have to wait for.
    public var currentGeneration: UInt64 { generation.load(ordering: .relaxed) }

    /// Marks a moment: once `seenByAll` has reached the result, no reader uses what was replaced before.
    public func mark() -> UInt64 { generation.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue }

    /// What all readers have acknowledged.
    public var seenByAll: UInt64 {
        var seen = UInt64.max
        // SAFETY: all `readers` places are initialised.
        for index in 0..<readers { seen = min(seen, unsafe acknowledged[index].load(ordering: .acquiring)) }
        return seen
    }

    private func build(_ entries: [Entry], _ secret: HashSecret) -> UInt {
        var capacity = 4
        while capacity * 2 < entries.count * 3 { capacity <<= 1 }
        let size = capacity * MemoryLayout<Entry>.stride
        // SAFETY: the block holds `capacity` entries, all initialised before anybody else sees it.
        let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
        let slots = unsafe block.bindMemory(to: Entry.self, capacity: capacity)
        unsafe slots.initialize(repeating: Entry.empty, count: capacity)
        for entry in entries {
            var place = Int(entry.hash(secret)) & (capacity - 1)
            while unsafe slots[place].isOccupied { place = (place + 1) & (capacity - 1) }
            unsafe slots[place] = entry
        }
        byteCount += size
        return UInt(bitPattern: block) | UInt(capacity.trailingZeroBitCount)
    }

    private static func size(_ block: UInt) -> Int {
        block == 0 ? 0 : (1 << Int(block & 63)) * MemoryLayout<Entry>.stride
    }

    private static func free(_ block: UInt) {
        // SAFETY: a block that `build` made, that no reader holds, freed once.
        unsafe UnsafeMutableRawPointer(bitPattern: block & ~63)?.deallocate()
    }

    // MARK: Readers

    /// Reader `index` holds nothing that it looked up.
    func acknowledge(_ index: Int) {
        // SAFETY: the reader's init has checked its number.
        unsafe acknowledged[index].store(generation.load(ordering: .sequentiallyConsistent), ordering: .releasing)
    }

    var publishedBytes: Int { published.load(ordering: .relaxed) }

    func checkReader(_ index: Int) { precondition(index >= 0 && index < readers) }
}

/// One lane's way into the table. What `find` returns is a copy, so nothing is held between calls; the block that it is copied
/// from is safe until the lane's next `acknowledge`.
@safe
public struct PublishedTableReader<Entry: PublishedEntry>: ~Copyable {
    private let table: PublishedTable<Entry>
    @usableFromInline let shards: UnsafeMutablePointer<Atomic<UInt>>
    private let number: Int

    /// Precondition: `number` is below the table's `readers`, and no other reader has it.
    public init(_ table: PublishedTable<Entry>, number: Int = 0) {
        table.checkReader(number)
        self.table = table
        self.number = number
        unsafe shards = table.shards
    }

    /// Call between batches.
    public func acknowledge() { table.acknowledge(number) }

    /// Octets of all blocks, as of the last change.
    public var byteCount: Int { table.publishedBytes }

    /// Asks the processor to fetch where an entry with this hash would be. Changes nothing.
    @inlinable @inline(__always)
    public func prefetch(_ hash: UInt32, in shardHash: UInt32) {
        // SAFETY: as in `find`; a hint reads nothing.
        let word = unsafe shards[PublishedTable<Entry>.shard(of: shardHash)].load(ordering: .acquiring)
        let place = Int(hash) & (1 << Int(truncatingIfNeeded: word & 63) &- 1)
        let entry = word & ~63 &+ UInt(truncatingIfNeeded: place &* MemoryLayout<Entry>.stride)
        unsafe ch_prefetch(UnsafeRawPointer(bitPattern: entry))
    }

    /// The entry with this hash, in the shard of `shardHash`, for which `matches` is true. O(1) expected, no allocation.
    @inlinable @inline(__always)
    public func find(_ hash: UInt32, in shardHash: UInt32, _ matches: (borrowing Entry) -> Bool) -> Entry? {
        // SAFETY: a shard's number has ten bits. The block stays until this reader acknowledges a later generation; it
        // holds mask + 1 entries, a third of them empty at least, so the walk ends.
        let word = unsafe shards[PublishedTable<Entry>.shard(of: shardHash)].load(ordering: .acquiring)
        guard let block = unsafe UnsafeRawPointer(bitPattern: word & ~63) else { return nil }
        let mask = 1 << Int(truncatingIfNeeded: word & 63) &- 1
        let slots = unsafe block.assumingMemoryBound(to: Entry.self)
        var place = Int(hash) & mask
        while unsafe slots[place].isOccupied {
            if unsafe matches(slots[place]) { return unsafe slots[place] }
            place = (place &+ 1) & mask
        }
        return nil
    }
}

extension PublishedTableReader: @unchecked Sendable {}
