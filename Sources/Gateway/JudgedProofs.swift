// Initiations with a good cookie that got public-key work in the last minutes, by their macs under the cookie: a copy of one is
// found here, before it takes a token of its source or costs anything.
//
// Whoever sees a peer's initiation can send it again, from the peer's own address, as long as the cookie is good. In a table of
// fixed size the newer of two in one place stays: filling it takes as many initiations with good cookies as it has places, which
// the limits by source bound.

import Basics
import Buffers
import Tunnels

struct JudgedProofs: Sendable {
    private struct Place {
        var high: UInt64 = 0
        var low: UInt64 = 0
        /// Zero in an empty place.
        var until = Instant.zero
    }

    static let places = 4_096

    private var places = [Place](repeating: Place(), count: JudgedProofs.places)
    private let secret: HashSecret

    init(secret: HashSecret) { self.secret = secret }

    /// True when it is not new. One that is new is so once. Precondition: 16 octets.
    mutating func isCopy(_ proof: [UInt8], at now: Instant) -> Bool {
        precondition(proof.count == 16)
        func integer(_ octets: ArraySlice<UInt8>) -> UInt64 { octets.reduce(0) { $0 << 8 | UInt64($1) } }
        let (high, low) = (integer(proof[0..<8]), integer(proof[8..<16]))
        let place = Int(secret.hash(high)) % JudgedProofs.places
        if places[place].until > now && places[place].high == high && places[place].low == low { return true }
        // For as long as any cookie is good.
        places[place] = Place(high: high, low: low, until: now + CookieSecret.lifetime * 2)
        return false
    }
}
