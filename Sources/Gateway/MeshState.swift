// What control knows of the mesh: gossip, who has which place among the peers, and the gateways that are asked for the way in.

import Basics
import Mesh
import Switching
import Tunnels

/// What a member of a mesh is made with.
public struct MeshConfiguration: Sendable {
    public var authority: AuthorityKey
    /// Our own pass, as the authority has signed it.
    public var pass: [UInt8]
    /// Where the others reach us; empty where they tell us where they see us.
    public var addresses: [Endpoint]
    /// The names of gateways that are asked for the way in. The driver looks their addresses up.
    public var seeds: [String]
    /// What an earlier run has left, the newest first that is whole.
    public var snapshots: [[UInt8]]

    public init(
        authority: AuthorityKey, pass: [UInt8], addresses: [Endpoint] = [], seeds: [String] = [], snapshots: [[UInt8]] = []
    ) {
        self.authority = authority
        self.pass = pass
        self.addresses = addresses
        self.seeds = seeds
        self.snapshots = snapshots
    }
}

/// Datagrams of one neighbour that have come and been lost since the link's meter was last told, silences left out.
struct LossSample: Sendable {
    /// The lanes' counters at the last look; `nil` when what comes first after it is not to count.
    var base: (count: UInt64, lost: UInt64)?
    private var all: UInt64 = 0
    private var gone: UInt64 = 0
    /// So many make a sample.
    private static let least: UInt64 = 100

    /// The counters as they are. Returns a sample when there is one.
    mutating func take(_ count: UInt64, _ lost: UInt64) -> (all: UInt64, gone: UInt64)? {
        defer { base = (count, lost) }
        guard let base else { return nil }
        // What is late is taken back from what was lost.
        let more = lost > base.lost ? lost - base.lost : 0
        gone &+= more
        all &+= count &- base.count &+ more
        guard all >= LossSample.least else { return nil }
        defer { (all, gone) = (0, 0) }
        return (all, gone)
    }
}

struct MeshState: Sendable {
    /// A gateway whose address alone is known.
    struct Seed: Sendable {
        var name: String
        /// Where its names led to, tried in turn.
        var endpoints: [Endpoint] = []
        /// Who has answered there.
        var site: SiteID?
        /// Of the hellos that are under way.
        var token: UInt64 = 0
        /// Hellos since one was answered.
        var attempts = 0
        /// Parts of its pass that were asked for.
        var asked = 0
        var due: Instant
        var resolveDue: Instant
    }

    let configuration: MeshConfiguration
    var gossip: Gossip
    var seeds: [Seed]
    var parts = HelloParts()
    /// The place of each member among the peers.
    var places: [SiteID: Int] = [:]
    var relays: RelayBook
    /// Of each neighbour.
    var meters: [SiteID: LinkMeter] = [:]
    /// Of each neighbour, what its link's loss is being counted from.
    var samples: [SiteID: LossSample] = [:]
    /// Gives facts that come by gossip the order in which they came.
    var factVersion: UInt64 = 1
    /// Where others have seen us, the newest first; at most `observedLimit`.
    var observed: [Endpoint] = []
    static let observedLimit = 4
    /// When members are looked through again.
    var nextLook: Instant
    static let look = Interval.seconds(1)
    /// What the passes were like when members were looked through.
    var lookedAt: UInt64 = 0
    var ownProblem: PassProblem?
    var fullLimiter = RateLimiter(period: .seconds(60))
    var helloLimiter = RateLimiter(period: .seconds(10))
    /// Hellos answered, and passes that came in hellos and were not good.
    var hellosAnswered: UInt64 = 0
    var passesRefused: UInt64 = 0
    /// Members for whom there was no place.
    var placesRefused: UInt64 = 0

    init(
        _ configuration: MeshConfiguration, identity: KeyPair, peers: Int, version: UInt64, wall: UnixTime, at now: Instant
    ) {
        self.configuration = configuration
        var secret = unsafe identity.privateKey.withOctets { unsafe Array(UnsafeBufferPointer(start: $0, count: 32)) }
        defer { Wipe.octets(&secret) }
        gossip = Gossip(
            GossipConfiguration(
                privateKey: secret, trust: .authority(configuration.authority), firstVersion: version), wall: wall, at: now)
        for snapshot in configuration.snapshots {
            do throws(Gossip.SnapshotProblem) {
                try gossip.restore(snapshot, at: now)
                break
            } catch { continue }
        }
        relays = RelayBook(site: gossip.site, peers: peers, at: now)
        ownProblem = gossip.setPass(configuration.pass, at: now)
        seeds = configuration.seeds.map { Seed(name: $0, due: .distantFuture, resolveDue: now) }
        nextLook = now
        for (rank, address) in configuration.addresses.enumerated() {
            gossip.set(.address(address), .address(rank: UInt8(clamping: rank)), at: now)
        }
    }

    var nextTimeout: Instant {
        var next = min(nextLook, gossip.nextTimeout, relays.nextTimeout)
        for seed in seeds { next = min(next, seed.due, seed.resolveDue) }
        return next
    }

    /// One of the others has seen us there. What the configuration says goes before.
    mutating func noteObserved(_ endpoint: Endpoint, at now: Instant) {
        guard configuration.addresses.isEmpty, observed.first != endpoint else { return }
        observed.removeAll { $0 == endpoint }
        observed.insert(endpoint, at: 0)
        while observed.count > MeshState.observedLimit, let old = observed.popLast() {
            gossip.set(.address(old), nil, at: now)
        }
        for (rank, address) in observed.enumerated() {
            gossip.set(.address(address), .address(rank: UInt8(clamping: rank)), at: now)
        }
    }
}

// MARK: - Facts of switching, as gossip has them

extension MeshTopic {
    init(_ key: FactKey) {
        switch key {
        case .interest(let vlan, let group, let source): self = .interest(vlan, group: group, source: source)
        case .routers(let vlan, let family): self = .routers(vlan, family)
        case .unregistered: self = .unregistered
        }
    }

    /// `nil` for what is not switching's.
    var factKey: FactKey? {
        switch self {
        case .interest(let vlan, let group, let source): .interest(vlan, group: group, source: source)
        case .routers(let vlan, let family): .routers(vlan, family)
        case .unregistered: .unregistered
        case .point, .pass, .address, .link, .other: nil
        }
    }
}

extension MeshValue {
    init(_ value: FactValue) {
        switch value {
        case .interest(let isExcluded, let generations):
            self = .interest(isExcluded: isExcluded, generations: generations.rawValue)
        case .routers(let kinds, let wantsEverything):
            self = .routers(kinds: kinds.rawValue, wantsEverything: wantsEverything)
        case .unregistered: self = .unregistered
        }
    }

    var factValue: FactValue? {
        switch self {
        case .interest(let isExcluded, let generations):
            .interest(isExcluded: isExcluded, Generations(rawValue: generations))
        case .routers(let kinds, let wantsEverything):
            .routers(RouterKinds(rawValue: kinds), wantsEverything: wantsEverything)
        case .unregistered: .unregistered
        case .point, .pass, .address, .link, .other: nil
        }
    }
}
