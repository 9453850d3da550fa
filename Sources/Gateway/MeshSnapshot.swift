// The mesh as operators see it: who is a member and how it is reached, the links that gossip tells of, the ways in use, what is
// carried for others, and what everybody's pass says. Of a gateway without passes only the ways to its peers are there.

import Basics
import Mesh
import Tunnels

public struct MeshSnapshot: Sendable {
    public enum Reach: Hashable, Sendable {
        /// This gateway itself.
        case own
        case direct
        /// Through these, in order.
        case through([String])
        case away
    }

    public struct Site: Sendable {
        public var name: String
        public var site: SiteID
        /// `nil` where its pass is not known.
        public var key: PublicKey?
        public var reach: Reach
        /// Since when it is up, or away; `nil` where it was never up, and for ourselves.
        public var since: Instant?
        /// Where it says that it is reached, the best first.
        public var addresses: [Endpoint]
        public var mayRelay: Bool
        /// `nil` where it is not known.
        public var pass: Pass?
        /// Why the pass does not count; `nil` where it does.
        public var problem: String?
    }

    /// A pair of sites of which at least one tells of a link.
    public struct Link: Sendable {
        public var ends: (String, String)
        /// What the first and the second say.
        public var measures: (LinkMeasure?, LinkMeasure?)
        /// Microseconds, and what loss and suspicion add; `nil` unless both tell of it.
        public var cost: UInt32?
    }

    /// How a peer is reached.
    public struct Way: Sendable {
        public enum State: String, Sendable {
            case direct, relayed
            /// Through others, once all of them have said that they carry.
            case opening
            case away
        }

        public var name: String
        public var state: State
        /// In use, or being opened: from the first hop to the peer itself.
        public var hops: [String]
        /// The cheapest way, where it is another one.
        public var better: [String]
        /// As `Topology.cost` has it; `nil` without passes, and out of reach.
        public var cost: UInt64?
        public var path: PathSnapshot
        public var isSuspect: Bool
        /// What carriers know the way by; `nil` where nobody carries.
        public var label: UInt32?
        /// When it was opened, through others.
        public var opened: Instant?
    }

    /// A stream of another site's that is carried here, or comes here through others.
    public struct Transit: Sendable {
        public var stream: UInt32
        /// Of one pair; otherwise of a group.
        public var isPair: Bool
        public var origin: String
        public var upstream: String
        public var nextHops: [String]
        /// Whether it ends here.
        public var isTaken: Bool
        /// Whether the neighbour before us has been told that all is ready.
        public var isReady: Bool
    }

    /// The authority's key in base64; `nil` for a gateway without passes, of which only `ways` is anything.
    public var authority: String?
    /// The time of day.
    public var wall: UnixTime
    /// Ourselves first, then by name.
    public var sites: [Site] = []
    public var links: [Link] = []
    public var ways: [Way] = []
    public var transits: [Transit] = []
    public var revocations: [Revocation] = []
    public var gossip = GossipCounters()
    /// Pages kept, and their octets; what is known of.
    public var pages = 0
    public var pageBytes = 0
    public var neighbours = 0
    /// Gateways that are asked for the way in.
    public var seeds: [String] = []
    public var hellosAnswered: UInt64 = 0
    /// Passes that came in hellos and were not good, and members for whom there was no place.
    public var passesRefused: UInt64 = 0
    public var placesRefused: UInt64 = 0
    public var placesTaken = 0
    public var places = 0
    /// Handshakes that were passed on for others, and what was refused of that kind.
    public var carried: UInt64 = 0
    public var carryingRefused: UInt64 = 0

    /// O(V + E) of the mesh.
    public init(_ control: ControlCore, at now: Instant) {
        wall = control.wall(now)
        places = control.peers.count
        placesTaken = control.peers.count { $0.key != nil }
        let names = Names(control)
        ways = control.peers.indices.filter { control.peers[$0].key != nil }.map { Way(control, $0, names, now) }
        guard let mesh = control.mesh else { return }
        authority = mesh.configuration.authority.base64
        sites = Set(mesh.gossip.sites).union(mesh.gossip.passes.sites).map { Site(control, mesh, $0, names, wall) }.sorted {
            ($0.reach == .own ? 0 : 1, $0.name, $0.site) < ($1.reach == .own ? 0 : 1, $1.name, $1.site)
        }
        links = MeshSnapshot.links(mesh.gossip, names)
        transits = mesh.relays.transits.keys.sorted().compactMap { stream in
            mesh.relays.transits[stream].map { Transit(stream, $0, names) }
        }
        revocations = mesh.gossip.passes.allRevocations
        gossip = mesh.gossip.counters
        (pages, pageBytes, neighbours) = (mesh.gossip.storedPages, mesh.gossip.storedBytes, mesh.gossip.neighbourSites.count)
        seeds = mesh.seeds.map(\.name).filter { !$0.isEmpty }
        (hellosAnswered, passesRefused, placesRefused) = (mesh.hellosAnswered, mesh.passesRefused, mesh.placesRefused)
        (carried, carryingRefused) = (mesh.relays.carried, mesh.relays.refused)
    }

    private static func links(_ gossip: Gossip, _ names: Names) -> [Link] {
        var told: [SiteID: [SiteID: LinkMeasure]] = [:]
        for site in gossip.sites { told[site] = gossip.links(of: site) }
        var links: [Link] = []
        for from in told.keys.sorted() {
            for to in (told[from] ?? [:]).keys.sorted() {
                guard let measure = told[from]?[to] else { continue }
                let other = told[to]?[from]
                // Of a link that both tell of, once.
                if other != nil && to < from { continue }
                links.append(
                    Link(
                        ends: (names[from], names[to]), measures: (measure, other),
                        cost: other.map { Topology.cost(measure, $0) }))
            }
        }
        return links.sorted { $0.ends < $1.ends }
    }
}

extension MeshSnapshot {
    /// What sites are called here: as peers, else as their passes say.
    struct Names {
        private let peers: [String]
        private let sites: [SiteID: String]

        init(_ control: ControlCore) {
            peers = control.peers.map(\.name)
            var sites: [SiteID: String] = [:]
            for site in control.mesh?.gossip.passes.sites ?? [] {
                sites[site] = control.mesh?.gossip.passes.pass(of: site)?.pass.site
            }
            for peer in control.peers { if let site = peer.site { sites[site] = peer.name } }
            if let mesh = control.mesh { sites[mesh.gossip.site] = mesh.gossip.passes.ownPass?.pass.site }
            self.sites = sites
        }

        subscript(site: SiteID) -> String { sites[site] ?? "\(site)" }
        subscript(place: Int) -> String { place < peers.count ? peers[place] : "?" }
        subscript(hops: [SiteID]) -> [String] { hops.map { self[$0] } }
    }
}

extension MeshSnapshot.Site {
    init(_ control: ControlCore, _ mesh: MeshState, _ site: SiteID, _ names: MeshSnapshot.Names, _ wall: UnixTime) {
        name = names[site]
        self.site = site
        let isOwn = site == mesh.gossip.site
        pass = (isOwn ? mesh.gossip.passes.ownPass : mesh.gossip.passes.pass(of: site))?.pass
        key = isOwn ? control.configuration.identity.publicKey : mesh.gossip.passes.key(of: site)
        problem = isOwn ? mesh.ownProblem.map { "\($0)" } : mesh.gossip.passes.problem(of: site, at: wall).map { "\($0)" }
        mayRelay = mesh.gossip.passes.entitlements(of: site, at: wall)?.mayRelay ?? false
        addresses = mesh.gossip.addresses(of: site)
        guard !isOwn else {
            reach = .own
            return
        }
        let peer = mesh.places[site].map { control.peers[$0] }
        switch peer {
        case let peer? where peer.isUp && peer.isRelayUsed: reach = .through(names[Array(peer.relay?.hops.dropLast() ?? [])])
        case let peer? where peer.isUp: reach = .direct
        default: reach = .away
        }
        since = peer?.stateSince ?? mesh.gossip.lostSince(site)
    }
}

extension MeshSnapshot.Way {
    init(_ control: ControlCore, _ index: Int, _ names: MeshSnapshot.Names, _ now: Instant) {
        let peer = control.peers[index]
        name = peer.name
        let isRelayed = peer.isRelayUsed
        state = isRelayed ? .relayed : peer.isUp ? .direct : peer.relay != nil ? .opening : .away
        hops = state == .direct ? [peer.name] : names[peer.relay?.hops ?? []]
        let best = peer.site.flatMap { control.mesh?.relays.paths.path(to: $0) }
        cost = best?.cost
        let cheapest = names[best?.hops ?? []]
        better = state == .away || cheapest == hops ? [] : cheapest
        path = (isRelayed ? peer.relayPath : peer.path).snapshot(at: now)
        isSuspect = (isRelayed ? peer.relayPath : peer.path).isSuspect
        label = peer.relay?.label
        opened = peer.relay?.opened
    }
}

extension MeshSnapshot.Transit {
    init(_ stream: UInt32, _ transit: Transit, _ names: MeshSnapshot.Names) {
        self.stream = stream
        isPair = transit.opening.isPair
        origin = names[transit.opening.origin]
        upstream = names[transit.upstream]
        nextHops = transit.children.map { names[$0] }
        isTaken = transit.opening.tree.isMember
        isReady = transit.isTold
    }
}
