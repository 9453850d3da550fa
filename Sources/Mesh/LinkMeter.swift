// What one link is worth telling about: round trips and losses, smoothed, and told anew only when they have changed enough to
// matter, since each telling costs the whole mesh a page. Becoming suspect, and ceasing to be, is told at once.

import Basics

public struct LinkMeter: Sendable {
    /// The least time between two tellings of numbers.
    public static let pause = Interval.seconds(10)
    /// A round trip is told anew when it is off by a fifth, and by more than this.
    static let leastChange: UInt32 = 1_000
    /// Loss is told anew when it is off by this, in 1/10,000; and when it has become less than half of what was told, down to one
    /// in a thousand: a link that has become good must not stay dear.
    static let leastLossChange = 100
    static let leastLoss = 10

    /// Round trips of which the shortest counts: the first are measured while keys are agreed.
    static let firstSamples = 8
    /// The least time between two tellings while there have been no more than these.
    static let firstPause = Interval.seconds(2)

    private var smoothed: Interval?
    private var samples = 0
    /// In 1/10,000, with six more bits.
    private var loss = 0
    private var isSuspect = false
    private var told: LinkMeasure?
    private var toldAt = Instant.zero

    public init() {}

    public mutating func handleRoundTrip(_ sample: Interval) {
        guard sample >= .zero else { return }
        samples += 1
        guard let smoothed, samples > LinkMeter.firstSamples else {
            self.smoothed = min(smoothed ?? sample, sample)
            return
        }
        self.smoothed = smoothed + (sample + smoothed * -1) / 8
    }

    /// Datagrams since the last call: how many, and how many of them were lost.
    public mutating func handleDatagrams(_ count: UInt64, lost: UInt64) {
        guard count > 0 else { return }
        let share = Int(min(lost, count).multipliedFullWidth(by: 10_000 << 6).low / count)
        loss += (share - loss) / 4
    }

    public mutating func handleSuspect(_ isSuspect: Bool) { self.isSuspect = isSuspect }

    /// As it is, told or not; `nil` before the first round trip.
    public var measure: LinkMeasure? {
        guard let smoothed else { return nil }
        return LinkMeasure(
            roundTripMicroseconds: UInt32(clamping: smoothed.nanoseconds / 1_000), loss: UInt16(clamping: loss >> 6),
            isSuspect: isSuspect)
    }

    /// What to tell, if there is something new enough.
    public mutating func pollMeasure(at now: Instant) -> LinkMeasure? {
        guard let measure, isWorthTelling(measure, now) else { return nil }
        told = measure
        toldAt = now
        return measure
    }

    private func isWorthTelling(_ measure: LinkMeasure, _ now: Instant) -> Bool {
        guard let told, told.isSuspect == measure.isSuspect else { return true }
        let pause = samples <= 2 * LinkMeter.firstSamples ? LinkMeter.firstPause : LinkMeter.pause
        guard now - toldAt >= pause else { return false }
        let (a, b) = (told.roundTripMicroseconds, measure.roundTripMicroseconds)
        let change = a > b ? a - b : b - a
        return (change > LinkMeter.leastChange && change > a / 5)
            || abs(Int(told.loss) - Int(measure.loss)) >= LinkMeter.leastLossChange
            || (told.loss >= LinkMeter.leastLoss && measure.loss < told.loss / 2)
    }
}
