// How the round trips to each peer are distributed, over the last minutes: what `causeway show` gives as percentiles. HDR
// histograms keep three digits of any value at a fixed cost; they live here, with control's thread, since the gateway's core
// imports nothing that is not its own.

import Basics
import Gateway
import Histogram

/// One pair of histograms a peer: one is filled for `turn`, then the other; both are asked, so that an answer is of the last
/// five to ten minutes.
struct RoundTripHistograms {
    private static let turn = Interval.seconds(300)
    /// Microseconds; a longer round trip counts as this one.
    private static let longest: UInt64 = 60_000_000

    private struct Pair {
        var current: Histogram<UInt32>?
        var former: Histogram<UInt32>?
        var since = Instant.zero
    }

    private var pairs: [Pair]

    init(peers: Int) { pairs = Array(repeating: Pair(), count: peers) }

    mutating func record(_ roundTrip: Interval, of peer: PeerIndex, at now: Instant) {
        guard peer.index < pairs.count else { return }
        turnOver(peer.index, now)
        if pairs[peer.index].current == nil { pairs[peer.index].current = RoundTripHistograms.empty }
        let microseconds = UInt64(clamping: (roundTrip.nanoseconds + 500) / 1_000)
        pairs[peer.index].current?.record(min(microseconds, RoundTripHistograms.longest))
    }

    /// `nil` while there is nothing.
    func percentiles(of peer: PeerIndex, at now: Instant) -> PathSnapshot.Percentiles? {
        guard peer.index < pairs.count else { return nil }
        let age = now - pairs[peer.index].since
        guard age < RoundTripHistograms.turn * 2 else { return nil }
        var both = RoundTripHistograms.empty
        if let former = pairs[peer.index].former { both.add(former) }
        if let current = pairs[peer.index].current { both.add(current) }
        guard both.totalCount > 0 else { return nil }
        func interval(_ microseconds: UInt64) -> Interval { .microseconds(Int64(clamping: microseconds)) }
        return PathSnapshot.Percentiles(
            p50: interval(both.valueAtPercentile(50)), p99: interval(both.valueAtPercentile(99)), maximum: interval(both.max))
    }

    private static var empty: Histogram<UInt32> {
        Histogram<UInt32>(highestTrackableValue: longest, numberOfSignificantValueDigits: .two)
    }

    private mutating func turnOver(_ index: Int, _ now: Instant) {
        let age = now - pairs[index].since
        guard age >= RoundTripHistograms.turn else { return }
        pairs[index].former = age >= RoundTripHistograms.turn * 2 ? nil : pairs[index].current
        pairs[index].current = nil
        pairs[index].since = now
    }
}
