// Time as the pure targets see it: an argument, never a clock that is read.
//
// `Instant` counts nanoseconds from an origin that the driver chooses (the machine's monotonic clock when live,
// the scenario's beginning in a replay). `Interval` is the distance between two of them. All arithmetic
// saturates, so that no timestamp from a capture file can trap.

/// A point on the driver's monotonic clock, in nanoseconds.
public struct Instant: Hashable, Comparable, Sendable, BitwiseCopyable {
    public var nanoseconds: UInt64

    @inlinable public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    public static let zero = Instant(nanoseconds: 0)
    /// Later than every event: "no timer is armed".
    public static let distantFuture = Instant(nanoseconds: .max)

    @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    @inlinable public static func + (a: Instant, b: Interval) -> Instant {
        if b.nanoseconds >= 0 {
            let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds.magnitude)
            return Instant(nanoseconds: overflow ? .max : sum)
        }
        let (difference, underflow) = a.nanoseconds.subtractingReportingOverflow(b.nanoseconds.magnitude)
        return Instant(nanoseconds: underflow ? 0 : difference)
    }

    @inlinable public static func - (a: Instant, b: Interval) -> Instant {
        a + Interval(nanoseconds: b.nanoseconds == .min ? .max : -b.nanoseconds)
    }

    /// The interval from `b` to `a`; negative when `a` is earlier.
    @inlinable public static func - (a: Instant, b: Instant) -> Interval {
        if a.nanoseconds >= b.nanoseconds {
            return Interval(nanoseconds: Int64(clamping: a.nanoseconds &- b.nanoseconds))
        }
        return Interval(nanoseconds: -Int64(clamping: b.nanoseconds &- a.nanoseconds))
    }
}

/// A signed length of time, in nanoseconds.
public struct Interval: Hashable, Comparable, Sendable, BitwiseCopyable {
    public var nanoseconds: Int64

    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    public static let zero = Interval(nanoseconds: 0)

    @inlinable public static func nanoseconds(_ n: Int64) -> Interval { Interval(nanoseconds: n) }
    @inlinable public static func microseconds(_ n: Int64) -> Interval { scaled(n, by: 1_000) }
    @inlinable public static func milliseconds(_ n: Int64) -> Interval { scaled(n, by: 1_000_000) }
    @inlinable public static func seconds(_ n: Int64) -> Interval { scaled(n, by: 1_000_000_000) }

    @inlinable static func scaled(_ n: Int64, by factor: Int64) -> Interval {
        let (product, overflow) = n.multipliedReportingOverflow(by: factor)
        return Interval(nanoseconds: overflow ? ((n < 0) != (factor < 0) ? .min : .max) : product)
    }

    @inlinable public static func < (a: Interval, b: Interval) -> Bool { a.nanoseconds < b.nanoseconds }

    @inlinable public static func + (a: Interval, b: Interval) -> Interval {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
        return Interval(nanoseconds: overflow ? (a.nanoseconds < 0 ? .min : .max) : sum)
    }

    @inlinable public static func * (a: Interval, n: Int64) -> Interval { scaled(a.nanoseconds, by: n) }
    /// Precondition: `n` is not 0.
    @inlinable public static func / (a: Interval, n: Int64) -> Interval {
        n == -1 ? a * -1 : Interval(nanoseconds: a.nanoseconds / n)
    }
}

extension Interval: CustomStringConvertible {
    /// The shortest exact form with one unit: `300s`, `20ms`, `1500us`, `7ns`.
    public var description: String {
        let n = nanoseconds
        if n % 1_000_000_000 == 0 { return "\(n / 1_000_000_000)s" }
        if n % 1_000_000 == 0 { return "\(n / 1_000_000)ms" }
        if n % 1_000 == 0 { return "\(n / 1_000)us" }
        return "\(n)ns"
    }
}
