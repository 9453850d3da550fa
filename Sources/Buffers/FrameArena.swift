// Frames on their way to LAN ports: one block of memory, filled by the core and emptied by the driver. Each frame is
// copied in once, with headroom before it, so that a port can put its own header (a virtio header, say) in front
// without another copy. The last record may grow into a super-frame that stands for several frames: see Wire's Coalescer.
//
//     | headroom | frame 0 | pad | headroom | frame 1 | payload of the next | of the next | pad | ...

import Basics

/// A batch of frames, each with the set of ports it goes to. Bounded; the lane owns it.
///
/// Contract: the core appends between two drains; the driver reads everything and then calls `removeAll`. Nothing that
/// was handed out stays valid over `removeAll`.
public struct FrameArena: ~Copyable {
    /// Octets in front of each frame that belong to whoever sends it.
    public static let headroom = 16

    public struct Record: BitwiseCopyable, Sendable {
        public var offset: UInt32
        /// Octets that are here.
        public var length: UInt32
        /// Octets of the frames that this one stands for: `length`, unless it is a super-frame.
        public var octets: UInt32
        /// The frames that this one stands for: 1, unless it is a super-frame.
        public var frames: UInt16
        public var ports: PortSet
        /// How a super-frame is to be cut; `.none` for a frame that is ready for a wire.
        public var offload: FrameOffload

        /// Octets of the headers that each frame of a super-frame has; 0 for a frame alone.
        @inlinable public var headerLength: Int {
            frames > 1 ? Int(octets &- length) / Int(frames &- 1) : 0
        }
    }

    @usableFromInline var storage: OwnedBytes
    @usableFromInline var records: FixedArray<Record>
    @usableFromInline var cursor = 0
    /// Frames held.
    @usableFromInline var held = 0
    @inlinable public var count: Int { held }

    public init(byteCapacity: Int, frameCapacity: Int) {
        storage = OwnedBytes(count: byteCapacity)
        records = FixedArray(count: frameCapacity) { _ in
            Record(offset: 0, length: 0, octets: 0, frames: 0, ports: .none, offload: .none)
        }
    }

    @inlinable public var isEmpty: Bool { held == 0 }

    /// True when a frame of `length` octets fits.
    @inlinable public func hasRoom(for length: Int) -> Bool {
        held < records.count && cursor &+ FrameArena.headroom &+ length <= storage.count
    }

    /// True when `frames` frames with `bytes` octets in all fit.
    @inlinable public func hasRoom(frames: Int, bytes: Int) -> Bool {
        held &+ frames <= records.count && cursor &+ bytes &+ frames &* (FrameArena.headroom &+ 8) <= storage.count
    }

    /// Copies a frame in; false, with nothing changed, when it does not fit.
    @inlinable
    public mutating func append(_ frame: RawSpan, to ports: PortSet) -> Bool {
        let length = frame.byteCount
        guard hasRoom(for: length) else { return false }
        let offset = cursor &+ FrameArena.headroom
        storage.copy(frame, to: offset)
        push(offset: offset, length: length, ports: ports)
        return true
    }

    @usableFromInline
    mutating func push(offset: Int, length: Int, ports: PortSet) {
        let count = UInt32(truncatingIfNeeded: length)
        records[held] = Record(
            offset: UInt32(truncatingIfNeeded: offset), length: count, octets: count, frames: 1, ports: ports, offload: .none)
        held &+= 1
        cursor = (offset &+ length &+ 7) & ~7
    }

    // MARK: Super-frames

    /// Copies what follows the first `skipped` octets of `frame`, its headers, behind the last record, which stands for one
    /// frame more from then on; false, with nothing changed, when it does not fit. Never needs more room than `append`.
    /// Precondition: the arena is not empty, and `frame` has at least `skipped` octets.
    @inlinable
    public mutating func extendLast(with frame: RawSpan, skipping skipped: Int) -> Bool {
        precondition(held > 0)
        let last = held &- 1
        let record = records[last]
        let end = Int(record.offset) &+ Int(record.length)
        let rest = frame.extracting(skipped..<frame.byteCount)
        guard end &+ rest.byteCount <= storage.count, record.frames < .max else { return false }
        storage.copy(rest, to: end)
        records[last].length = record.length &+ UInt32(truncatingIfNeeded: rest.byteCount)
        records[last].octets = record.octets &+ UInt32(truncatingIfNeeded: frame.byteCount)
        records[last].frames = record.frames &+ 1
        cursor = (end &+ rest.byteCount &+ 7) & ~7
        return true
    }

    /// The octets of a record, to be changed in place. Precondition: `index` is below `count`.
    @inlinable @_lifetime(&self)
    public mutating func mutableFrame(_ index: Int) -> MutableRawSpan {
        let record = record(index)
        return storage.mutableBytes(at: Int(record.offset), count: Int(record.length))
    }

    /// Says how a super-frame is to be cut. Precondition: `index` is below `count`.
    @inlinable public mutating func setOffload(_ offload: FrameOffload, of index: Int) {
        precondition(index < held)
        records[index].offload = offload
    }

    // MARK: Reading

    /// Precondition: `index` is below `count`.
    @inlinable public func record(_ index: Int) -> Record {
        precondition(index < held)
        return records[index]
    }

    /// Precondition: `index` is below `count`.
    @inlinable @_lifetime(borrow self)
    public func frame(_ index: Int) -> RawSpan {
        let record = record(index)
        return storage.bytes(at: Int(record.offset), count: Int(record.length))
    }

    @inlinable public mutating func removeAll() {
        held = 0
        cursor = 0
    }

    /// Lends the whole block to a driver that needs addresses (scatter lists); valid during the call only.
    @inlinable public mutating func withUnsafeBase<R, E: Error>(
        _ body: (UnsafeMutableRawPointer) throws(E) -> R
    ) throws(E) -> R {
        // SAFETY: the block lives as long as self, which is held exclusively during the call.
        try unsafe body(storage.base)
    }
}
