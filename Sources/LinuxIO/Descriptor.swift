// A file descriptor with one owner, and the bounded waiting of everything that sends.

import CLinux
import Glibc

/// Closes its descriptor at the end of its life.
struct OwnedDescriptor: ~Copyable {
    let raw: Int32

    init(_ raw: Int64) { self.raw = Int32(truncatingIfNeeded: raw) }

    deinit { _ = cwl_close(raw) }
}

/// How long sending may wait in all. A full queue costs at most this much time and then counts as failures, so that a slow
/// port or path holds the others up by a bounded time: a port's by each batch, all peers' together by each turn of the lane.
struct Patience {
    /// Waits that are left.
    private var waits: Int

    init(waits: Int) { self.waits = waits }
    /// The longest single wait, in nanoseconds.
    private static let longest: Int64 = 1_000_000
    /// How long a device queue is given to drain (ENOBUFS; there is no event to wait for), in nanoseconds.
    private static let drain: Int64 = 200_000

    /// True when it is worth trying again.
    mutating func wait(_ descriptor: Int32, after code: Int32) -> Bool {
        guard waits > 0 else { return false }
        waits -= 1
        if code == ENOBUFS {
            _ = cwl_poll(descriptor, 0, Patience.drain)
        } else {
            _ = cwl_poll(descriptor, Int16(POLLOUT), Patience.longest)
        }
        return true
    }
}
