// The mesh as a graph: sites, and the links that both their ends tell of. Every gateway that knows the same makes the same
// graph: sites are numbered in the order of their names, links have one cost for both directions, and ties are broken by
// numbers. Only sites whose pass says so carry for others; the rest are ends of paths.

import Basics

public struct Topology: Sendable {
    /// A link, seen from one of its ends.
    struct Edge: Sendable, BitwiseCopyable {
        var to: Int32
        /// Microseconds, and what loss and suspicion add.
        var cost: UInt32
    }

    /// Sorted.
    public let sites: [SiteID]
    private let indices: [SiteID: Int]
    let mayRelay: [Bool]
    /// By site; each sorted by `to`.
    let edges: [[Edge]]
    /// By site, parallel to `edges`.
    let suspects: [[Bool]]

    /// Microseconds that a hop costs beside its link: a gateway takes a moment too.
    static let hopCost: UInt32 = 100
    /// Microseconds for each lost datagram in 10,000: one in a hundred costs as much as 10 ms.
    static let lossCost: UInt32 = 100
    /// A suspect link is used only if there is no other way: more than any delay and all loss together.
    static let suspectCost: UInt32 = 10_000_000
    /// Microseconds of half a round trip that count, at most.
    private static let mostDelay: UInt32 = 10_000_000

    /// One cost for both directions, from what both ends say: the worse of each.
    public static func cost(_ a: LinkMeasure, _ b: LinkMeasure) -> UInt32 {
        let delay = min(max(a.roundTripMicroseconds, b.roundTripMicroseconds) / 2, mostDelay)
        return hopCost + delay + UInt32(max(a.loss, b.loss)) * lossCost + (a.isSuspect || b.isSuspect ? suspectCost : 0)
    }

    public init(sites: [(site: SiteID, mayRelay: Bool)], links: [(from: SiteID, to: SiteID, measure: LinkMeasure)]) {
        var relays: [SiteID: Bool] = [:]
        for site in sites { relays[site.site] = site.mayRelay }
        let sorted = relays.keys.sorted()
        var indices: [SiteID: Int] = [:]
        for (index, site) in sorted.enumerated() { indices[site] = index }
        var told = [[Int: LinkMeasure]](repeating: [:], count: sorted.count)
        for link in links {
            if let from = indices[link.from], let to = indices[link.to], from != to { told[from][to] = link.measure }
        }
        var edges: [[Edge]] = []
        var suspects: [[Bool]] = []
        for from in sorted.indices {
            var list: [Edge] = []
            var doubts: [Bool] = []
            for to in told[from].keys.sorted() {
                guard let one = told[from][to], let other = told[to][from] else { continue }
                list.append(Edge(to: Int32(truncatingIfNeeded: to), cost: Topology.cost(one, other)))
                doubts.append(one.isSuspect || other.isSuspect)
            }
            edges.append(list)
            suspects.append(doubts)
        }
        self.sites = sorted
        self.indices = indices
        self.mayRelay = sorted.map { relays[$0] ?? false }
        self.edges = edges
        self.suspects = suspects
    }

    /// What gossip knows. O(V + E).
    public init(_ gossip: Gossip, at now: Instant) {
        let wall = gossip.wall(now)
        var links: [(from: SiteID, to: SiteID, measure: LinkMeasure)] = []
        let sites = gossip.sites
        for site in sites { for (to, measure) in gossip.links(of: site) { links.append((site, to, measure)) } }
        self.init(
            sites: sites.map { ($0, gossip.passes.entitlements(of: $0, at: wall)?.mayRelay ?? false) }, links: links)
    }

    func index(of site: SiteID) -> Int? { indices[site] }

    /// The cost of the link between two sites; `nil` where there is none.
    public func cost(from a: SiteID, to b: SiteID) -> UInt32? { edge(a, b)?.cost }

    public func isSuspect(from a: SiteID, to b: SiteID) -> Bool { edge(a, b)?.isSuspect ?? false }

    private func edge(_ a: SiteID, _ b: SiteID) -> (cost: UInt32, isSuspect: Bool)? {
        guard let from = indices[a], let to = indices[b], let place = edges[from].firstIndex(where: { $0.to == to }) else {
            return nil
        }
        return (edges[from][place].cost, suspects[from][place])
    }

    public func mayRelay(_ site: SiteID) -> Bool { indices[site].map { mayRelay[$0] } ?? false }
}
