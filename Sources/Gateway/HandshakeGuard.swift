// Whether an initiation gets public-key work, a cookie, or nothing: decided from its source and the time alone, before a
// single curve point is multiplied.
//
//     initiation, its mac is right
//        |-- it has a cookie of ours for its source, and is a copy of one that had work --------------> refused
//        |-- it has a cookie of ours for its source -- proven bucket of its prefixes has a token? -- yes --> work
//        |                                                                                        +- no --> refused
//        +-- it has none -- all together below `load`, and the unproven bucket has a token? -------- yes --> work
//                                                                                           +------- no --> a cookie
//
// The complication is that anybody can write anybody's address into a packet. So whoever proves an address has buckets of his
// own: a flood under a peer's address empties the unproven ones and costs that peer a cookie, never the handshake. And with
// addresses that cost nothing, a table of sources can be filled: a full set of places gives up the bucket that is nearest to
// full, which is the one that knows least, and counts it. The hash is keyed, so that nobody can choose who shares a set.
//
// A bucket is one instant (the generic cell rate algorithm): when it will be full again. One that is full is the same as none.

import Basics
import Buffers

/// A token bucket.
struct TokenRate: Sendable {
    /// Between two tokens.
    let interval: Interval
    /// Tokens of a full bucket; 1 at least.
    let burst: Int

    init(perSecond: Int, burst: Int) {
        precondition(perSecond > 0 && burst > 0)
        interval = .nanoseconds(1_000_000_000 / Int64(perSecond))
        self.burst = burst
    }

    /// When a bucket that is full at `full` will be so without one token more; `nil` when it has none.
    func taking(from full: Instant, at now: Instant) -> Instant? {
        let start = max(full, now)
        return start - now > interval * Int64(burst - 1) ? nil : start + interval
    }
}

/// Token buckets by source prefix, in a table of fixed size.
struct SourceTable: Sendable {
    /// What a bucket is for; with the prefix it is its key.
    enum Scope: UInt8 {
        case host = 1
        case network = 2
        case provenHost = 3
        case provenNetwork = 4
    }

    private struct Place {
        var prefix: UInt64 = 0
        /// 0 in an empty place.
        var scope: UInt8 = 0
        var full = Instant.zero
    }

    static let sets = 1_024
    static let ways = 8
    /// A /32 of IPv4, a /64 of IPv6.
    static let host = TokenRate(perSecond: 50, burst: 100)
    /// A /24 of IPv4, a /48 of IPv6.
    static let network = TokenRate(perSecond: 200, burst: 400)

    private var places = [Place](repeating: Place(), count: sets * ways)
    private let secret: HashSecret
    /// Buckets that were given up before they were full.
    private(set) var evictions: UInt64 = 0

    init(secret: HashSecret) { self.secret = secret }

    /// Never changes.
    var placeCount: Int { places.count }

    /// Takes a token from both buckets of a source; false, and nothing taken, when one has none. O(`ways`).
    mutating func take(_ source: Endpoint, isProven: Bool, at now: Instant) -> Bool {
        let (host, network) = SourceTable.prefixes(of: source)
        let first = find(host, isProven ? .provenHost : .host, now)
        guard let hostFull = SourceTable.host.taking(from: places[first].full, at: now) else { return false }
        claim(first, host, isProven ? .provenHost : .host, now)
        let second = find(network, isProven ? .provenNetwork : .network, now)
        guard let networkFull = SourceTable.network.taking(from: places[second].full, at: now) else { return false }
        // Both may have chosen one place; the network's bucket, of which there are fewer, then has it.
        places[first].full = hostFull
        claim(second, network, isProven ? .provenNetwork : .network, now)
        places[second].full = networkFull
        return true
    }

    /// The two prefixes of a source, left-aligned for IPv6; IPv4 has a mark, so that none equals one of IPv6.
    static func prefixes(of source: Endpoint) -> (host: UInt64, network: UInt64) {
        if let address = source.ipv4 {
            let mark: UInt64 = 0xFFFF << 32
            return (mark | UInt64(address), mark | UInt64(address & 0xFFFF_FF00))
        }
        return (source.high, source.high & ~0xFFFF)
    }

    /// Where a bucket is, or the place that it may have.
    private func find(_ prefix: UInt64, _ scope: Scope, _ now: Instant) -> Int {
        let mixed = prefix ^ UInt64(scope.rawValue) &* 0x9E37_79B9_7F4A_7C15
        let start = Int(secret.hash(mixed)) % SourceTable.sets * SourceTable.ways
        var best = start
        for place in start..<(start + SourceTable.ways) {
            if places[place].scope == scope.rawValue && places[place].prefix == prefix { return place }
            if places[place].scope == 0 {
                if places[best].scope != 0 { best = place }
            } else if places[best].scope != 0 && places[place].full < places[best].full {
                best = place
            }
        }
        return best
    }

    /// Makes the place this bucket's, full, unless it is already.
    private mutating func claim(_ place: Int, _ prefix: UInt64, _ scope: Scope, _ now: Instant) {
        if places[place].scope == scope.rawValue && places[place].prefix == prefix { return }
        if places[place].scope != 0 && places[place].full > now { evictions &+= 1 }
        places[place] = Place(prefix: prefix, scope: scope.rawValue, full: now)
    }
}

struct HandshakeGuard: Sendable {
    enum Verdict {
        case work
        /// `isLoad`: since there are too many of all sources, not only of this one.
        case demandCookie(isLoad: Bool)
        case refuse
        /// It had work before.
        case copy
    }

    /// For how long cookies are demanded after there were too many.
    static let loadHold = Interval.seconds(1)

    private let rate: TokenRate
    /// When the bucket of all initiations will be full.
    private var full = Instant.zero
    private var loadedUntil = Instant.zero
    private(set) var sources: SourceTable
    private var judged: JudgedProofs

    /// - Parameter load: initiations a second, and at once.
    init(load: Int, secret: HashSecret) {
        rate = TokenRate(perSecond: load, burst: load)
        sources = SourceTable(secret: secret)
        judged = JudgedProofs(secret: secret)
    }

    /// True while cookies are demanded of everybody.
    func isLoaded(at now: Instant) -> Bool { now < loadedUntil }

    /// Every initiation whose mac is right, once, in order of time.
    /// - Parameter proof: its mac under a cookie, if that is good.
    mutating func judge(proof: [UInt8]?, from source: Endpoint, at now: Instant) -> Verdict {
        if let proof, judged.isCopy(proof, at: now) { return .copy }
        if let next = rate.taking(from: full, at: now) { full = next } else { loadedUntil = now + HandshakeGuard.loadHold }
        if proof != nil { return sources.take(source, isProven: true, at: now) ? .work : .refuse }
        if isLoaded(at: now) { return .demandCookie(isLoad: true) }
        return sources.take(source, isProven: false, at: now) ? .work : .demandCookie(isLoad: false)
    }
}
