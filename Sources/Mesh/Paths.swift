// Which way to each site: the path of least cost, by Dijkstra's algorithm, and the reluctance to change it.
//
// **The source names the path.** Whoever carries for others follows what the source has announced for the stream, and takes a
// datagram of it only from the hop before. A path visits no site twice, so nothing loops while gateways disagree about the
// mesh; a hop limit bounds what is left. `nextHop` alone would not do: two gateways with different news can each think that
// the other is the way.
//
// A path is kept until another one is better by a margin, so that measurements that waver do not move traffic. A path over a
// suspect link is kept too, until one without stands: loss is worse than waste.

import Basics
import HeapModule

/// Sites from the first hop to the destination.
public struct Path: Hashable, Sendable {
    public var hops: [SiteID]
    /// Microseconds, and what loss and suspicion add.
    public var cost: UInt64

    public init(hops: [SiteID], cost: UInt64) {
        self.hops = hops
        self.cost = cost
    }
}

extension Topology {
    /// What a search knows of one site.
    struct Label: Hashable, Comparable, Sendable {
        var cost: UInt64
        var hops: Int
        var site: Int

        static func < (a: Label, b: Label) -> Bool { (a.cost, a.hops, a.site) < (b.cost, b.hops, b.site) }
    }

    /// Least-cost paths from a site to all others within the hop limit; sites out of reach are missing. O((V + E) log V); only
    /// if some path is longer than the limit, O(V + limit · E) more.
    public func paths(from source: SiteID, hopLimit: Int = Paths.hopLimit) -> [SiteID: Path] {
        guard let start = index(of: source) else { return [:] }
        var best = [Label?](repeating: nil, count: sites.count)
        var previous = [Int](repeating: -1, count: sites.count)
        best[start] = Label(cost: 0, hops: 0, site: start)
        var heap = Heap<Label>([Label(cost: 0, hops: 0, site: start)])
        var isTooLong = false
        while let label = heap.popMin() {
            guard best[label.site] == label else { continue }
            if label.hops > hopLimit { isTooLong = true }
            guard label.site == start || mayRelay[label.site] else { continue }
            for edge in edges[label.site] {
                let next = Label(cost: label.cost + UInt64(edge.cost), hops: label.hops + 1, site: Int(edge.to))
                if let known = best[next.site] {
                    guard (next.cost, next.hops, label.site) < (known.cost, known.hops, previous[next.site]) else { continue }
                }
                best[next.site] = next
                previous[next.site] = label.site
                heap.insert(next)
            }
        }
        if isTooLong { return limitedPaths(from: start, hopLimit) }
        var paths: [SiteID: Path] = [:]
        for site in sites.indices where site != start {
            guard let label = best[site] else { continue }
            var hops: [SiteID] = []
            var at = site
            while at != start {
                hops.append(sites[at])
                at = previous[at]
            }
            paths[sites[site]] = Path(hops: hops.reversed(), cost: label.cost)
        }
        return paths
    }

    /// The same with at most so many hops: by rounds, each of which adds a hop.
    private func limitedPaths(from start: Int, _ hopLimit: Int) -> [SiteID: Path] {
        var round: [Path?] = sites.map { _ in nil }
        round[start] = Path(hops: [], cost: 0)
        for _ in 0..<hopLimit {
            var next = round
            for from in sites.indices {
                guard let path = round[from], from == start || mayRelay[from] else { continue }
                for edge in edges[from] {
                    let to = Int(edge.to)
                    let cost = path.cost + UInt64(edge.cost)
                    if let known = next[to], (known.cost, known.hops.count) <= (cost, path.hops.count + 1) { continue }
                    if to == start || path.hops.contains(sites[to]) { continue }
                    next[to] = Path(hops: path.hops + [sites[to]], cost: cost)
                }
            }
            round = next
        }
        var paths: [SiteID: Path] = [:]
        for site in sites.indices where site != start { paths[sites[site]] = round[site] }
        return paths
    }

    /// What a path costs here; `nil` if a link of it is gone, or a site on it does not carry for others.
    func cost(of path: Path, from source: SiteID) -> (cost: UInt64, isSuspect: Bool)? {
        var at = source
        var total: UInt64 = 0
        var isInDoubt = false
        for (number, hop) in path.hops.enumerated() {
            guard let cost = cost(from: at, to: hop), number == path.hops.count - 1 || mayRelay(hop) else { return nil }
            total += UInt64(cost)
            isInDoubt = isInDoubt || isSuspect(from: at, to: hop)
            at = hop
        }
        return (total, isInDoubt)
    }
}

/// The paths from one site, kept through small changes.
public struct Paths: Sendable {
    /// Links that a datagram crosses at most.
    public static let hopLimit = 8
    /// Another path must be cheaper by an eighth, and by this many microseconds.
    static let leastGain: UInt64 = 500

    /// Whether another path, or tree, is better by enough. One with fewer hops need not be: nobody is to carry for nothing, and the
    /// margin for the way back to more hops keeps it from wavering.
    public static func isWorth(_ new: UInt64, insteadOf held: UInt64, hasFewerHops: Bool) -> Bool {
        hasFewerHops ? new <= held : new + max(held / 8, leastGain) < held
    }

    public let source: SiteID
    private let hopLimit: Int
    private var paths: [SiteID: Path] = [:]

    public init(source: SiteID, hopLimit: Int = Paths.hopLimit) {
        self.source = source
        self.hopLimit = hopLimit
    }

    /// Looks at a new graph.
    /// - Returns: the destinations whose way has changed, or that are in reach or out of it now, sorted.
    public mutating func update(_ topology: Topology) -> [SiteID] {
        let best = topology.paths(from: source, hopLimit: hopLimit)
        var changed: [SiteID] = []
        for site in Set(best.keys).union(paths.keys).sorted() {
            guard let new = best[site] else {
                paths[site] = nil
                changed.append(site)
                continue
            }
            guard let held = paths[site], let held = topology.cost(of: held, from: source).map({ ($0, held) }) else {
                paths[site] = new
                changed.append(site)
                continue
            }
            let isNewInDoubt = topology.cost(of: new, from: source)?.isSuspect ?? true
            let isBetter = Paths.isWorth(
                new.cost, insteadOf: held.0.cost, hasFewerHops: new.hops.count < held.1.hops.count)
            let leavesDoubt = held.0.isSuspect && !isNewInDoubt
            if new.hops != held.1.hops && (isBetter || leavesDoubt) {
                paths[site] = new
                changed.append(site)
            } else {
                paths[site]?.cost = held.0.cost
            }
        }
        return changed
    }

    /// The way to a site; `nil` when it is out of reach.
    public func path(to site: SiteID) -> Path? { paths[site] }

    /// The neighbour through which the way leads.
    public func nextHop(to site: SiteID) -> SiteID? { paths[site]?.hops.first }

    /// Sites in reach, sorted.
    public var destinations: [SiteID] { paths.keys.sorted() }
}
