// Frames on their way to LAN ports: one block of memory, filled by the core and emptied by the driver. Each frame is
// copied in once, with headroom before it, so that a port can put its own header (a virtio header, say) in front
// without another copy.
//
//     | headroom | frame 0 | pad | headroom | frame 1 | pad | ...

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
        public var length: UInt32
        public var ports: PortSet
    }

    @usableFromInline var storage: OwnedBytes
    @usableFromInline var records: FixedArray<Record>
    @usableFromInline var cursor = 0
    /// Frames held.
    @usableFromInline var held = 0
    @inlinable public var count: Int { held }

    public init(byteCapacity: Int, frameCapacity: Int) {
        storage = OwnedBytes(count: byteCapacity)
        records = FixedArray(count: frameCapacity) { _ in Record(offset: 0, length: 0, ports: .none) }
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
        records[held] = Record(
            offset: UInt32(truncatingIfNeeded: offset), length: UInt32(truncatingIfNeeded: length), ports: ports)
        held &+= 1
        cursor = (offset &+ length &+ 7) & ~7
    }

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
