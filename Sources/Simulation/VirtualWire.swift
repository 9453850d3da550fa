// The WAN of a replay or a simulation: point-to-point links between sites that delay, lose, double, spoil and measure datagrams,
// on the virtual clock and from one seed. Without jitter nothing is reordered on a link: delay is the same for every datagram.

import Basics
import HeapModule

/// What one direction of a link does.
public struct LinkCharacter: Sendable, Hashable {
    public var delay: Interval
    /// Added to the delay, evenly distributed: with more than the distance of two datagrams, they overtake each other.
    public var jitter = Interval.zero
    /// Datagrams lost in a million.
    public var lossMillionths: UInt32
    /// Datagrams that come twice, and those with a wrong bit, in a million.
    public var duplicateMillionths: UInt32 = 0
    public var corruptMillionths: UInt32 = 0
    /// Whether it carries nothing.
    public var isCut = false
    /// Octets of the longest IP packet.
    public var mtu: Int
    /// When it carries nothing: what is sent from the beginning of a period to just before its end. Ascending.
    public var cuts: [Range<Instant>]

    public init(delay: Interval = .zero, lossMillionths: UInt32 = 0, mtu: Int = 1_500, cuts: [Range<Instant>] = []) {
        self.delay = delay
        self.lossMillionths = lossMillionths
        self.mtu = mtu
        self.cuts = cuts
    }
}

/// What went over one direction. Bytes are UDP payload.
public struct LinkTally: Sendable, Hashable {
    public var datagrams: UInt64 = 0
    public var bytes: UInt64 = 0
    /// Lost by chance.
    public var lost: UInt64 = 0
    /// Longer than the MTU: not carried. Probes of a path's size are among them.
    public var tooLong: UInt64 = 0
    /// Sent while there was no link.
    public var cut: UInt64 = 0
    /// Sent and not arrived yet.
    public var underWay: UInt64 = 0
}

public struct VirtualWire {
    /// A datagram under way.
    public struct Arrival: Comparable {
        public var at: Instant
        /// Ties are in the order of sending.
        public var sequence: UInt64
        public var from: Int
        public var to: Int
        /// Where the receiver sees it come from.
        public var source: Endpoint
        public var bytes: [UInt8]

        public static func < (a: Arrival, b: Arrival) -> Bool { (a.at, a.sequence) < (b.at, b.sequence) }
        public static func == (a: Arrival, b: Arrival) -> Bool { a.sequence == b.sequence }
    }

    /// IPv4 and UDP headers.
    static let headerBytes = 28

    private let sites: Int
    private var characters: [LinkCharacter]
    private var tallies: [LinkTally]
    private var underWay = Heap<Arrival>()
    private var sequence: UInt64 = 0
    private var random: SeededRandom

    public init(sites: Int, seed: UInt64) {
        self.sites = sites
        characters = Array(repeating: LinkCharacter(), count: sites * sites)
        tallies = Array(repeating: LinkTally(), count: sites * sites)
        random = SeededRandom(seed: seed)
    }

    /// Sets both directions between two sites.
    public mutating func setLink(_ a: Int, _ b: Int, _ character: LinkCharacter) {
        characters[a * sites + b] = character
        characters[b * sites + a] = character
    }

    /// Changes the direction from one site to another.
    public mutating func change(from: Int, to: Int, _ change: (inout LinkCharacter) -> Void) {
        change(&characters[from * sites + to])
    }

    /// O(datagrams under way).
    public func tally(from: Int, to: Int) -> LinkTally {
        var tally = tallies[from * sites + to]
        tally.underWay = UInt64(underWay.unordered.count { $0.from == from && $0.to == to })
        return tally
    }

    /// When the next datagram arrives.
    public var nextArrival: Instant { underWay.min?.at ?? .distantFuture }

    public mutating func carry(_ bytes: [UInt8], from: Int, to: Int, source: Endpoint, at now: Instant) {
        let link = from * sites + to
        let character = characters[link]
        tallies[link].datagrams += 1
        tallies[link].bytes += UInt64(bytes.count)
        if character.isCut || character.cuts.contains(where: { $0.contains(now) }) {
            tallies[link].cut += 1
            return
        }
        if bytes.count + VirtualWire.headerBytes > character.mtu {
            tallies[link].tooLong += 1
            return
        }
        if random.chance(millionths: character.lossMillionths) {
            tallies[link].lost += 1
            return
        }
        for _ in 0..<(random.chance(millionths: character.duplicateMillionths) ? 2 : 1) {
            var carried = bytes
            if random.chance(millionths: character.corruptMillionths), !carried.isEmpty {
                carried[Int.random(in: carried.indices, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            var at = now + character.delay
            if character.jitter > .zero {
                at = at + .nanoseconds(Int64.random(in: 0...character.jitter.nanoseconds, using: &random))
            }
            underWay.insert(Arrival(at: at, sequence: sequence, from: from, to: to, source: source, bytes: carried))
            sequence += 1
        }
    }

    /// The datagram that arrives first, if that is not after `now`.
    public mutating func nextArrived(by now: Instant) -> Arrival? {
        guard let first = underWay.min, first.at <= now else { return nil }
        return underWay.removeMin()
    }
}
