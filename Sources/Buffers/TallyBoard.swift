// Counts of what was forwarded, one cell for each entry of a forwarding table. A lane adds to a cell and nobody else writes
// it while the entry stands; control reads cells at any time, and clears one only after no lane can still reach it.

import Synchronization

/// What one entry has forwarded.
public struct Tally: Hashable, Sendable, BitwiseCopyable {
    /// Frames from the LAN, each counted once, however many ports and peers it went to.
    public var framesFromLAN: UInt64 = 0
    public var bytesFromLAN: UInt64 = 0
    /// Frames from the mesh that went to a LAN port.
    public var framesFromMesh: UInt64 = 0
    public var bytesFromMesh: UInt64 = 0

    public init() {}

    public mutating func add(_ other: Tally) {
        framesFromLAN &+= other.framesFromLAN
        bytesFromLAN &+= other.bytesFromLAN
        framesFromMesh &+= other.framesFromMesh
        bytesFromMesh &+= other.bytesFromMesh
    }
}

/// `count` cells of 32 octets. Cell 0 is for whatever has no cell of its own.
@safe
public final class TallyBoard: @unchecked Sendable {
    private static let wordsPerCell = 4
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    public let count: Int

    /// - Parameter count: at least 1.
    public init(count: Int) {
        precondition(count > 0 && count <= 1 << 28)
        self.count = count
        unsafe words = .allocate(capacity: count * Self.wordsPerCell)
        for index in 0..<(count * Self.wordsPerCell) { unsafe (words + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        unsafe words.deinitialize(count: count * Self.wordsPerCell)
        unsafe words.deallocate()
    }

    /// The lane: one frame of `bytes` octets under `cell`. A number that is no cell's counts under cell 0.
    @inline(__always)
    public func add(_ cell: UInt32, bytes: Int, fromMesh: Bool) {
        let index = Int(cell) < count ? Int(cell) : 0
        let first = index &* Self.wordsPerCell &+ (fromMesh ? 2 : 0)
        // SAFETY: the cell is within, as compared. Only this lane writes to it: a load and a store, both plain.
        let frames = unsafe words[first].load(ordering: .relaxed)
        unsafe words[first].store(frames &+ 1, ordering: .relaxed)
        let octets = unsafe words[first &+ 1].load(ordering: .relaxed)
        unsafe words[first &+ 1].store(octets &+ UInt64(truncatingIfNeeded: bytes), ordering: .relaxed)
    }

    /// Control. Precondition: `cell` is below `count`.
    public subscript(cell: UInt32) -> Tally {
        precondition(Int(cell) < count)
        let first = Int(cell) * Self.wordsPerCell
        var tally = Tally()
        // SAFETY: checked above.
        tally.framesFromLAN = unsafe words[first].load(ordering: .relaxed)
        tally.bytesFromLAN = unsafe words[first + 1].load(ordering: .relaxed)
        tally.framesFromMesh = unsafe words[first + 2].load(ordering: .relaxed)
        tally.bytesFromMesh = unsafe words[first + 3].load(ordering: .relaxed)
        return tally
    }

    /// Control, once no lane can reach the cell. Precondition: `cell` is below `count`.
    public func clear(_ cell: UInt32) {
        precondition(Int(cell) < count)
        // SAFETY: checked above; no lane writes to it, as the caller guarantees.
        for word in 0..<Self.wordsPerCell {
            unsafe words[Int(cell) * Self.wordsPerCell + word].store(0, ordering: .relaxed)
        }
    }
}
