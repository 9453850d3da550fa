// The one interface behind which all kinds of LAN ports stand. The lane's loop is generic over it and specialised for each
// kind, so a call costs nothing.

import Basics
import Buffers
import Captures
import LinuxIO

/// A LAN port. One thread owns it.
///
/// Contract: after `advance()` has given true, `lendFrame`, `offload` and `isTruncated` describe one frame; its memory is
/// lent until the next `advance()`, and may be changed.
protocol FramePort: ~Copyable {
    /// Readable when a frame waits.
    var fileDescriptor: Int32 { get }
    /// Moves to the next frame that waits; false when there is none.
    mutating func advance() -> Bool
    @_lifetime(&self)
    mutating func lendFrame() -> MutableRawSpan
    /// A frame that waits already, `ahead` calls of `advance` away, to look at; `nil` where none does or the port cannot tell.
    @_lifetime(borrow self)
    func upcoming(_ ahead: Int) -> RawSpan?
    var offload: FrameOffload { get }
    /// Whether frames come with what their senders left undone; else every frame is taken as finished.
    static var receivesMetadata: Bool { get }
    /// True when only a part of the frame could be captured.
    var isTruncated: Bool { get }
    /// What a truncated frame counts as.
    static var truncation: DropReason { get }
    /// Sends the frames of `arena` that go to `port`.
    mutating func transmit(_ arena: borrowing FrameArena, port: PortIndex) -> TransmitResult
    /// Takes an error of the descriptor's, where that does not go away by itself.
    func clearError()
    /// Which super-frames `transmit` is worth giving: none, if the port has to be given every frame as it is.
    var transmitOffload: TransmitOffload { get }
    func isUp() -> Bool
    /// True when the device was removed: the port is of no use then.
    var isGone: Bool { get }
    /// Frames that the kernel could not hand over, since the start.
    mutating func drops() -> UInt64
}

extension PacketPort: FramePort {
    static var truncation: DropReason { .captureTruncated }
    static var receivesMetadata: Bool { true }

    @_lifetime(&self)
    mutating func lendFrame() -> MutableRawSpan { frame }
}

extension TAPPort: FramePort {
    static var truncation: DropReason { .captureTruncated }
    static var receivesMetadata: Bool { false }

    @_lifetime(borrow self)
    func upcoming(_ ahead: Int) -> RawSpan? { nil }

    @_lifetime(&self)
    mutating func lendFrame() -> MutableRawSpan { frame }

    func clearError() {}
    var transmitOffload: TransmitOffload { [] }

    /// A TAP device has no counter of its own for this.
    mutating func drops() -> UInt64 { 0 }
}

extension LivePort: FramePort {
    /// libpcap is asked for as much as the longest frame that is carried.
    static var truncation: DropReason { .oversized }
    static var receivesMetadata: Bool { false }

    @_lifetime(borrow self)
    func upcoming(_ ahead: Int) -> RawSpan? { nil }

    @_lifetime(&self)
    mutating func lendFrame() -> MutableRawSpan { frame }

    func clearError() {}
    var offload: FrameOffload { .none }
    var transmitOffload: TransmitOffload { [] }
    var isGone: Bool { failure != nil }
    func isUp() -> Bool { !isGone && interfaceExists(device) }

    mutating func transmit(_ arena: borrowing FrameArena, port: PortIndex) -> TransmitResult {
        var result = TransmitResult()
        for index in 0..<arena.count where arena.record(index).ports.contains(port) {
            let frame = arena.frame(index)
            if inject(frame) {
                result.sent += 1
                result.bytes += frame.byteCount
            } else {
                result.failed += 1
            }
        }
        return result
    }
}

/// A port in its place.
struct PlacedPort<Port: FramePort & ~Copyable>: ~Copyable {
    let index: PortIndex
    var port: Port
    /// Which frames from the LAN are taken. It runs here, on the frame as it was on the wire, rather than in the kernel: there
    /// it would not see VLAN tags, and nobody would count what it refuses.
    let filter: LaneFilter?

    /// Whether the filter takes the port's current frame.
    mutating func accepts() -> Bool {
        switch filter {
        case .none: return true
        case .some(let filter):
            return filter.matches(port.lendFrame())
        }
    }
}
