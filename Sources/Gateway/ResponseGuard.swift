// How much public-key work the responses of one peer get. Whoever sees an initiation on its way, and its annex, which names the
// stream in clear, can make responses that only the work for them shows to be invented.
//
// Those that come from where the initiation was sent have a bucket of their own: who cannot send under that address keeps no true
// response from being read.

import Basics

struct ResponseGuard: Sendable {
    static let rate = TokenRate(perSecond: 10, burst: 10)

    /// When each of the buckets will be full.
    private var expected = Instant.zero
    private var other = Instant.zero

    /// - Parameter isExpected: whether it comes from where the initiation was sent.
    mutating func take(isExpected: Bool, at now: Instant) -> Bool {
        guard let full = ResponseGuard.rate.taking(from: isExpected ? expected : other, at: now) else { return false }
        if isExpected { expected = full } else { other = full }
        return true
    }
}
