// What one path is like, from what is heard on it: whether the other side is there, how long a round trip takes, how much that
// varies, and how many probes are not answered. Sans-IO. Control has one for each peer; the lanes send the probes and answer
// those of others.
//
//     up ---- nothing authentic for `suspect` ----> suspect ---- for `down` ----> down
//      ^                                              |
//      +------------ anything authentic --------------+       a suspect peer is sent to as before: loss is worse than waste
//
// A probe is sent when nothing has been heard for `interval`, a quarter of `suspect`, so that three have to be lost before a
// peer is suspect; and once a second in any case, since only probes measure. Whatever authenticates is a sign of life.

import Basics

public struct PathMonitor: Sendable {
    public enum Verdict: Sendable { case alive, suspect, down }

    /// A probe that was sent.
    private struct Probe {
        var number: UInt32
        var sent: Instant
        var isAnswered = false
    }

    /// Probes that the loss is counted over.
    public static let window = 100
    /// How often the path is measured while there is traffic; `interval` where that is longer.
    private static let measurement = Interval.seconds(1)
    /// Probes are never sent faster than this.
    public static let shortestInterval = Interval.milliseconds(10)

    public let suspect: Interval
    public let down: Interval
    /// How long nothing is heard before a probe is sent.
    public let interval: Interval
    /// When something authentic came last.
    public private(set) var heard: Instant
    /// The silence counts from here at the earliest: a gateway that was itself held up has not listened.
    private var listening: Instant
    private var checked: Instant
    private var lastProbe: Instant?
    /// The newest last; at most `window` and those that may still be answered.
    private var probes: [Probe] = []
    /// Probes sent and answered since the start, whatever has become of the path.
    public private(set) var probesSent: UInt64 = 0
    public private(set) var probesAnswered: UInt64 = 0
    /// Smoothed as RFC 6298 does it; `nil` before the first measurement.
    public private(set) var roundTrip: Interval?
    /// The mean deviation of RFC 6298.
    private var variation = Interval.zero
    private var latest: Interval?
    /// How much a round trip differs from the one before, smoothed as RFC 3550 (section 6.4.1) smooths transit times.
    public private(set) var jitter: Interval?

    public init(suspect: Interval, down: Interval, at now: Instant) {
        self.suspect = suspect
        self.down = max(down, suspect)
        interval = max(suspect / 4, PathMonitor.shortestInterval)
        heard = now
        listening = now
        checked = now
    }

    // MARK: In

    /// The peer came up, or has moved: what was measured tells of another path.
    public mutating func restart(at now: Instant) {
        probes = []
        roundTrip = nil
        variation = .zero
        latest = nil
        jitter = nil
        lastProbe = nil
        heard = max(heard, now)
        listening = now
        checked = now
    }

    public mutating func handleHeard(at instant: Instant) { heard = max(heard, instant) }

    /// A probe of no particular size was given to the lane.
    public mutating func handleProbe(_ number: UInt32, at now: Instant) {
        lastProbe = now
        probesSent &+= 1
        probes.append(Probe(number: number, sent: now))
        while probes.count > PathMonitor.window + 64 { probes.removeFirst() }
    }

    /// What a lane has measured.
    public mutating func handleReply(to number: UInt32, after sample: Interval) {
        if let place = probes.lastIndex(where: { $0.number == number }) {
            probes[place].isAnswered = true
            probesAnswered &+= 1
        }
        guard sample >= .zero else { return }
        if let latest, let jitter {
            self.jitter = jitter + (distance(sample, latest) + jitter * -1) / 16
        } else if let latest {
            jitter = distance(sample, latest)
        }
        latest = sample
        guard let smoothed = roundTrip else {
            roundTrip = sample
            variation = sample / 2
            return
        }
        variation = (variation * 3 + distance(sample, smoothed)) / 4
        roundTrip = (smoothed * 7 + sample) / 8
    }

    private func distance(_ a: Interval, _ b: Interval) -> Interval { a < b ? b + a * -1 : a + b * -1 }

    // MARK: Out

    /// Whether the peer is there. To be asked no later than `nextTimeout`: who asks much later was held up, and the silence of
    /// that time says nothing.
    public mutating func verdict(at now: Instant) -> Verdict {
        if now - checked > max(suspect / 2, interval * 2) { listening = now }
        checked = max(checked, now)
        let silence = self.silence(at: now)
        return silence >= down ? .down : silence >= suspect ? .suspect : .alive
    }

    /// Whether another way is the better bet: two probes in a row were not answered, and the third is due.
    public func isDoubtful(at now: Instant) -> Bool { silence(at: now) >= interval * 3 }

    private func silence(at now: Instant) -> Interval { now - max(heard, listening) }

    public func isProbeDue(at now: Instant) -> Bool { probeDue <= now }

    private var probeDue: Instant {
        guard let lastProbe else { return .zero }
        return min(
            lastProbe + max(interval, PathMonitor.measurement), max(lastProbe, max(heard, listening)) + interval)
    }

    /// When to look again: a probe is due, or the silence has become long enough to mean something.
    public func nextTimeout(isSuspect: Bool) -> Instant {
        min(probeDue, max(heard, listening) + (isSuspect ? down : suspect), checked + interval)
    }

    /// How long a reply may take: several times what is usual. RFC 6298's timer without its floor of a second.
    public var patience: Interval {
        guard let roundTrip else { return .seconds(1) }
        return max(roundTrip + variation * 4, roundTrip * 2) + .milliseconds(10)
    }

    /// Probes in a million that were not answered, of the last hundred that should have been; `nil` while there are none.
    public func lossMillionths(at now: Instant) -> UInt32? {
        let patience = max(self.patience, .seconds(1))
        let settled = probes.filter { $0.isAnswered || now - $0.sent > patience }.suffix(PathMonitor.window)
        guard !settled.isEmpty else { return nil }
        let lost = settled.count { !$0.isAnswered }
        return UInt32(lost * 1_000_000 / settled.count)
    }
}
