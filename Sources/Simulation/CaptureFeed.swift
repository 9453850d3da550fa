// One capture file as a source of frames on the virtual clock.

import Basics
import Captures

/// The frames of one capture in file order, each at or after the one before it.
final class CaptureFeed {
    let site: Int
    let port: PortIndex
    private let reader: CaptureReader
    private let filter: PacketFilter?
    private let offset: Interval
    /// The file's timestamp that is virtual time `zero + offset`.
    private var origin: UInt64 = 0
    private var zero = Instant.zero
    private var pending: CapturedFrame?
    private var floor = Instant.zero
    /// Frames of which the capture holds only a part: what it holds is replayed.
    private(set) var cutFrames: UInt64 = 0
    /// Why the feed ended before the file did.
    private(set) var error: CaptureError?
    /// Whether the frame that waits is refused by the port's filter.
    private(set) var isRefused = false

    init(path: String, site: Int, port: PortIndex, filter: PacketFilter?, offset: Interval) throws(CaptureError) {
        reader = try CaptureReader(path: path)
        self.site = site
        self.port = port
        self.filter = filter
        self.offset = offset
        advance()
    }

    /// The first frame's timestamp in the file, in nanoseconds since 1970; `nil` when there are no frames.
    var firstTimestamp: UInt64? { pending?.timestamp }

    /// Says what the file's timestamps mean: `origin` is virtual time `zero`.
    func align(origin: UInt64, zero: Instant) {
        self.origin = origin
        self.zero = zero
        floor = zero + offset
    }

    /// When the frame that waits is due. A timestamp that steps back counts as the one before it.
    var nextFrame: Instant {
        guard let pending else { return .distantFuture }
        let elapsed = Interval(nanoseconds: Int64(clamping: pending.timestamp >= origin ? pending.timestamp - origin : 0))
        return max(floor, zero + offset + elapsed)
    }

    /// The frame that waits; the next one then waits.
    func takeFrame() -> (bytes: [UInt8], isRefused: Bool)? {
        guard let frame = pending else { return nil }
        floor = nextFrame
        if frame.originalLength > frame.bytes.count { cutFrames += 1 }
        let refused = isRefused
        advance()
        return (frame.bytes, refused)
    }

    private func advance() {
        pending = nil
        do throws(CaptureError) {
            pending = try reader.next()
        } catch {
            self.error = error
        }
        if let frame = pending, let filter { isRefused = !filter.matches(frame.bytes, originalLength: frame.originalLength) }
    }
}
