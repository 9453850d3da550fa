// When a peer that has lost our stream is told everything again. Telling all costs both sides as much as there are facts, so a
// peer that keeps losing the stream, or says so, is told at growing distances: at once, then 200 ms after the last time, 400 ms,
// and so on up to 10 s. A minute without such a wish, and it begins at once again.

import Basics

struct Retelling: Sendable {
    static let leastDelay = Interval.milliseconds(200)
    static let mostDelay = Interval.seconds(10)
    static let quiet = Interval.seconds(60)

    /// When the peer is to be told; far when it has not lost the stream.
    private(set) var due = Instant.distantFuture
    private var lastWish: Instant?
    private var lastTold = Instant.zero
    /// Between the last time it was told and the next.
    private var delay = leastDelay

    /// The peer has lost our stream.
    mutating func handleWish(at now: Instant) {
        if let lastWish, now - lastWish < Retelling.quiet {
            due = max(now, lastTold + delay)
            delay = min(delay * 2, Retelling.mostDelay)
        } else {
            due = now
            delay = Retelling.leastDelay
        }
        lastWish = now
    }

    /// It is told everything from here on, for whatever reason.
    mutating func handleTold(at now: Instant) {
        lastTold = now
        due = .distantFuture
    }

    /// It is down: it will be told when it comes up.
    mutating func cancel() { due = .distantFuture }
}
