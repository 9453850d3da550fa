// A simulated gateway's clocks: they began at another moment than the simulation's, run a little faster or slower, and the time of
// day may be wrong.

import Basics

struct SkewedClock {
    /// Where its monotonic clock stood at the simulation's beginning.
    let start: Interval
    /// How much faster than the simulation's, in millionths: at most 1,000 either way.
    let drift: Int64
    /// How far its time of day is ahead.
    var wallError: Interval

    /// Nanoseconds since 1970 at the simulation's beginning: any fixed number does.
    static let wallClock: UInt64 = 1_700_000_000_000_000_000

    /// What the gateway's clock shows.
    func local(_ instant: Instant) -> Instant {
        if instant == .distantFuture { return instant }
        let passed = Int64(clamping: instant.nanoseconds)
        let ahead = passed / 1_000_000 * drift + passed % 1_000_000 * drift / 1_000_000
        return Instant(nanoseconds: UInt64(start.nanoseconds + passed + ahead))
    }

    /// The first moment at which the gateway's clock shows at least this.
    func global(_ local: Instant) -> Instant {
        guard local != .distantFuture else { return local }
        let shown = Int64(clamping: local.nanoseconds) - start.nanoseconds
        if shown <= 0 { return .zero }
        var guess = Instant(nanoseconds: UInt64(shown / (1_000_000 + drift) * 1_000_000))
        // Off by less than two steps of the drift's rounding.
        while self.local(guess) < local { guess = guess + (local - self.local(guess)) }
        return guess
    }

    /// Nanoseconds since 1970 as the gateway has it.
    func wall(_ instant: Instant) -> UInt64 {
        let (now, error) = (SkewedClock.wallClock &+ instant.nanoseconds, wallError.nanoseconds)
        return error < 0 ? now - min(now, UInt64(-error)) : now + UInt64(error)
    }
}
