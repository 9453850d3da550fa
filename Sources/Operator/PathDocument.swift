// What an operator is shown of the path to a peer: a part of the peers' document.

import Basics
import Gateway
import Tunnels

extension PeersDocument {
    public struct Path: Codable, Sendable, Equatable {
        /// Octets of the largest IP packet that is sent, and what the search for a larger one is at: `base`, `searching`,
        /// `complete` or `error`, in the words of RFC 8899.
        public var mtu: Int
        public var mtuSearch: String
        /// Times that packets of a size in use vanished.
        public var blackHoles: UInt64
        /// Probes since the start.
        public var probesSent: UInt64
        public var probesAnswered: UInt64
        /// Of the last hundred probes, how many in a million were not answered; absent before the first should have been.
        public var lossMillionths: UInt32?
        /// Round trips of probes in microseconds: smoothed, their jitter, and of the last minutes the median,
        /// the 99th percentile (`high`) and the longest. Absent before the
        /// first measurement, and where nobody counts: in a replay there are no percentiles.
        public var roundTripMicroseconds: Int64?
        public var jitterMicroseconds: Int64?
        public var roundTripMedianMicroseconds: Int64?
        public var roundTripHighMicroseconds: Int64?
        public var roundTripMaximumMicroseconds: Int64?

        public init(_ path: PathSnapshot) {
            mtu = path.size
            mtuSearch = path.search.rawValue
            blackHoles = path.blackHoles
            probesSent = path.probesSent
            probesAnswered = path.probesAnswered
            lossMillionths = path.lossMillionths
            roundTripMicroseconds = path.roundTrip.map(\.microseconds)
            jitterMicroseconds = path.jitter.map(\.microseconds)
            roundTripMedianMicroseconds = path.percentiles.map(\.p50.microseconds)
            roundTripHighMicroseconds = path.percentiles.map(\.p99.microseconds)
            roundTripMaximumMicroseconds = path.percentiles.map(\.maximum.microseconds)
        }
    }
}

extension Interval {
    fileprivate var microseconds: Int64 { nanoseconds / 1_000 }
}
