// The machine's clocks, read without entering the kernel (vDSO).

import Basics
import CLinux

/// The clock that timers run on: it never steps, and stands still while the machine sleeps (CLOCK_MONOTONIC).
public enum MonotonicClock {
    /// Nanoseconds since the machine started.
    public static func now() -> Instant { Instant(nanoseconds: cwl_clock_monotonic()) }
}

/// The time of day, which may step (CLOCK_REALTIME).
public enum WallClock {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    public static func now() -> UInt64 { cwl_clock_wall() }
}
