// Instants and intervals: exact where they fit, saturated where they do not, never a trap.

import Basics
import Testing

@Suite struct TimeTests {
    @Test func instantsSaturateAtBothEnds() {
        let late = Instant(nanoseconds: .max - 5)
        #expect(late + .nanoseconds(5) == .distantFuture)
        #expect(late + .nanoseconds(6) == .distantFuture)
        #expect(late + .seconds(.max) == .distantFuture)
        #expect(Instant.zero + .nanoseconds(-1) == .zero)
        #expect(Instant(nanoseconds: 7) + .nanoseconds(-7) == .zero)
        #expect(Instant(nanoseconds: 7) - .nanoseconds(8) == .zero)
        #expect(Instant(nanoseconds: 7) - .nanoseconds(-8) == Instant(nanoseconds: 15))
        #expect(Instant.zero - Interval(nanoseconds: .min) == Instant(nanoseconds: UInt64(Int64.max)))
        #expect(Instant.distantFuture + Interval(nanoseconds: .min) == Instant(nanoseconds: .max - (1 << 63)))
    }

    @Test func differencesSaturate() {
        #expect(Instant(nanoseconds: 10) - Instant(nanoseconds: 3) == .nanoseconds(7))
        #expect(Instant(nanoseconds: 3) - Instant(nanoseconds: 10) == .nanoseconds(-7))
        #expect(Instant.distantFuture - Instant.zero == Interval(nanoseconds: .max))
        #expect(Instant.zero - Instant.distantFuture == Interval(nanoseconds: -.max))
        #expect(Instant(nanoseconds: 1 << 63) - Instant(nanoseconds: 1) == Interval(nanoseconds: .max))
    }

    @Test func intervalsSaturate() {
        #expect(Interval.seconds(2).nanoseconds == 2_000_000_000)
        #expect(Interval.milliseconds(2) == .microseconds(2_000))
        #expect(Interval.seconds(.max).nanoseconds == .max && Interval.seconds(.min).nanoseconds == .min)
        #expect(Interval.seconds(9_223_372_036).nanoseconds == 9_223_372_036_000_000_000)
        #expect(Interval.seconds(9_223_372_037).nanoseconds == .max)
        #expect(Interval(nanoseconds: .max) + .nanoseconds(1) == Interval(nanoseconds: .max))
        #expect(Interval(nanoseconds: .min) + .nanoseconds(-1) == Interval(nanoseconds: .min))
        #expect(Interval(nanoseconds: .min) * -1 == Interval(nanoseconds: .max))
        #expect(Interval(nanoseconds: -3) * .max == Interval(nanoseconds: .min))
        #expect(Interval.seconds(3) * 4 / 6 == .seconds(2))
    }

    /// The one quotient that does not fit its type.
    @Test func theSmallestIntervalCanBeDivided() {
        #expect(Interval(nanoseconds: .min) / -1 == Interval(nanoseconds: .max))
    }

    @Test func order() {
        #expect(Instant.zero < .distantFuture && !(Instant.zero < .zero))
        #expect(Interval.nanoseconds(-1) < .zero)
    }

    @Test(arguments: [
        (Int64(0), "0s"), (300_000_000_000, "300s"), (20_000_000, "20ms"), (1_500_000, "1500us"), (7, "7ns"),
        (-1_000_000_000, "-1s"), (1_000_000_001, "1000000001ns"), (60_000_000_000, "60s"), (.min, "-9223372036854775808ns"),
    ])
    func printing(_ nanoseconds: Int64, _ text: String) { #expect(Interval(nanoseconds: nanoseconds).description == text) }
}
