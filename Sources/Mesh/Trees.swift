// Distribution trees: over which links a datagram for several sites goes, so that each link carries it once. The origin
// computes the tree itself, since it knows all links, and announces it with the stream; a relay then needs no opinion about the
// mesh. Which tree is best is a Steiner problem, and hard; this is the usual approximation (Takahashi and Matsuyama 1980): the
// nearest site that is not in the tree yet joins next, by the cheapest path from anywhere in it.
//
// "Near" is a compromise (Alpert and others 1995): a path's own cost, and a share of the delay from the origin to where it
// leaves the tree. With all of the delay, each site gets its least-cost path, and shared beginnings are shared; with none of
// it, links are few and ways are long.

import Basics
import HeapModule

public struct TreePolicy: Hashable, Sendable {
    /// How much of the delay from the origin counts, in percent: 100 is shortest ways, 0 is fewest links.
    public var delayShare: UInt64
    /// Microseconds that each copy beyond the first costs on the origin's own uplink: large, and one relay copies for all.
    public var copyCost: UInt64
    public var hopLimit: Int

    public init(delayShare: UInt64 = 100, copyCost: UInt64 = 0, hopLimit: Int = Paths.hopLimit) {
        self.delayShare = min(delayShare, 100)
        self.copyCost = copyCost
        self.hopLimit = hopLimit
    }
}

public struct DistributionTree: Hashable, Sendable {
    public struct Node: Hashable, Sendable {
        public var site: SiteID
        /// Where in `nodes` its upstream neighbour is; the origin's own place is 0, and it has none.
        public var parent: Int
        /// Whether the site is of the audience, or only carries for it.
        public var isMember: Bool
    }

    /// In preorder: the origin first, each node's subtree right behind it, children in the order of their names.
    public let nodes: [Node]
    /// Sites of the audience to which no path leads, sorted: they need another way, or wait.
    public let unreachable: [SiteID]
    /// The sum of its links' costs.
    public let cost: UInt64

    public var origin: SiteID { nodes[0].site }
    /// Links between a relay and a site below it.
    public var relayedLinks: Int { nodes.dropFirst().count { $0.parent != 0 } }
    /// Copies that leave the origin.
    public var originCopies: Int { nodes.dropFirst().count { $0.parent == 0 } }
    public var members: [SiteID] { nodes.filter(\.isMember).map(\.site).sorted() }

    /// Where a site passes the tree's datagrams on to.
    public func nextHops(of site: SiteID) -> [SiteID] {
        guard let place = nodes.firstIndex(where: { $0.site == site }) else { return [] }
        return nodes.dropFirst().filter { $0.parent == place }.map(\.site)
    }

    /// From where a site takes them, and from nowhere else.
    public func upstream(of site: SiteID) -> SiteID? {
        guard let place = nodes.firstIndex(where: { $0.site == site }), place > 0 else { return nil }
        return nodes[nodes[place].parent].site
    }
}

extension Topology {
    /// What a tree costs in this graph: the delay to each member, and what further copies of the origin's do. `nil` where a link of
    /// it is gone, or somebody on it does not carry for others. Unlike the sum of its links' costs it says what is better for
    /// members.
    public func price(of tree: DistributionTree, _ policy: TreePolicy) -> UInt64? {
        var delays: [UInt64] = [0]
        var price = policy.copyCost * UInt64(max(tree.originCopies - 1, 0))
        for node in tree.nodes.dropFirst() {
            let above = tree.nodes[node.parent].site
            guard let cost = cost(from: above, to: node.site), node.parent == 0 || mayRelay(above) else { return nil }
            delays.append(delays[node.parent] + UInt64(cost))
            if node.isMember { price += delays[delays.count - 1] }
        }
        return price
    }

    /// Relays that are tried as the origin's only first hop, when copies cost something.
    private static let trials = 8

    /// The tree for an audience. The same graph gives the same tree. O(n · (V + E) log V) at worst, in practice a few searches.
    public func tree(from origin: SiteID, to audience: some Sequence<SiteID>, _ policy: TreePolicy = TreePolicy())
        -> DistributionTree
    {
        let wanted = Set(audience).subtracting([origin])
        let unknown = wanted.filter { index(of: $0) == nil }
        guard let start = index(of: origin) else {
            let node = DistributionTree.Node(site: origin, parent: 0, isMember: false)
            return DistributionTree(nodes: [node], unreachable: wanted.sorted(), cost: 0)
        }
        let members = wanted.compactMap { index(of: $0) }.sorted()
        var best = grow(start, members, policy, first: nil)
        if policy.copyCost > 0 {
            let relays = edges[start].filter { mayRelay[Int($0.to)] }.sorted { ($0.cost, $0.to) < ($1.cost, $1.to) }
            for edge in relays.prefix(Topology.trials) {
                let other = grow(start, members, policy, first: edge)
                if other.isBetter(than: best) { best = other }
            }
        }
        return best.tree(self, start, Set(members), unknown)
    }

    /// A tree that grows.
    private struct Growth {
        /// By site: its upstream; -1 outside of the tree, and the origin is its own.
        var parent: [Int]
        var missing: [Int] = []
        var cost: UInt64 = 0
        var price: UInt64 = 0

        func isBetter(than other: Growth) -> Bool { (missing.count, price) < (other.missing.count, other.price) }

        func tree(_ topology: Topology, _ start: Int, _ members: Set<Int>, _ unknown: Set<SiteID>) -> DistributionTree {
            var children = [[Int]](repeating: [], count: parent.count)
            for site in parent.indices where parent[site] >= 0 && site != start { children[parent[site]].append(site) }
            var nodes: [DistributionTree.Node] = []
            var stack = [(site: start, parent: 0)]
            while let (site, above) = stack.popLast() {
                let place = nodes.count
                nodes.append(
                    DistributionTree.Node(site: topology.sites[site], parent: above, isMember: members.contains(site)))
                for child in children[site].reversed() { stack.append((child, place)) }
            }
            let lost = Set(missing.map { topology.sites[$0] }).union(unknown)
            return DistributionTree(nodes: nodes, unreachable: lost.sorted(), cost: cost)
        }
    }

    /// - Parameter first: a link of the origin's that the tree begins with, and adds no other of unless it must.
    private func grow(_ start: Int, _ members: [Int], _ policy: TreePolicy, first: Edge?) -> Growth {
        var growth = Growth(parent: [Int](repeating: -1, count: sites.count))
        var delay = [UInt64](repeating: 0, count: sites.count)
        var depth = [Int](repeating: 0, count: sites.count)
        var copies = 0
        growth.parent[start] = start
        var waiting = Set(members)

        var best = [Label?](repeating: nil, count: sites.count)
        var previous = [Int](repeating: -1, count: sites.count)
        var heap = Heap<Label>()
        func enter(_ site: Int) {
            let copy = site == start && copies > 0 ? policy.copyCost : 0
            let label = Label(cost: delay[site] * policy.delayShare / 100 + copy, hops: depth[site], site: site)
            best[site] = label
            previous[site] = -1
            heap.insert(label)
        }
        func join(_ site: Int, to above: Int, _ cost: UInt64) {
            growth.parent[site] = above
            delay[site] = delay[above] + cost
            depth[site] = depth[above] + 1
            growth.cost += cost
            if above == start { copies += 1 }
            waiting.remove(site)
        }
        func restart() {
            best = [Label?](repeating: nil, count: sites.count)
            heap = Heap<Label>()
            for site in sites.indices where growth.parent[site] >= 0 { enter(site) }
        }
        if let first { join(Int(first.to), to: start, UInt64(first.cost)) }
        restart()
        while let label = heap.popMin() {
            let site = label.site
            guard best[site] == label else { continue }
            if waiting.contains(site) {
                // Up to the tree, then down again: each site knows its upstream before it joins.
                var chain = [site]
                while let last = chain.last, growth.parent[last] < 0 { chain.append(previous[last]) }
                let hadCopies = copies
                for (above, below) in zip(chain.reversed(), chain.reversed().dropFirst()) {
                    join(below, to: above, cost(above, below))
                }
                // The origin's next copy has a price from here on: what was reckoned without it is wrong.
                if hadCopies == 0 && copies > 0 && policy.copyCost > 0 {
                    restart()
                } else {
                    for member in chain.dropLast() { enter(member) }
                }
                if waiting.isEmpty { break }
                continue
            }
            guard site == start || mayRelay[site], label.hops < policy.hopLimit else { continue }
            for edge in edges[site] where growth.parent[Int(edge.to)] < 0 {
                let next = Label(cost: label.cost + UInt64(edge.cost), hops: label.hops + 1, site: Int(edge.to))
                if let known = best[next.site] {
                    guard (next.cost, next.hops, site) < (known.cost, known.hops, previous[next.site]) else { continue }
                }
                best[next.site] = next
                previous[next.site] = site
                heap.insert(next)
            }
        }
        growth.missing = waiting.sorted()
        prune(&growth, start, Set(members), &copies)
        growth.price = growth.cost + policy.copyCost * UInt64(max(copies - 1, 0))
        return growth
    }

    /// Takes out a first relay that turned out to carry for nobody.
    private func prune(_ growth: inout Growth, _ start: Int, _ members: Set<Int>, _ copies: inout Int) {
        for site in sites.indices where growth.parent[site] == start && site != start && !members.contains(site) {
            if growth.parent.contains(site) { continue }
            growth.cost -= cost(start, site)
            growth.parent[site] = -1
            copies -= 1
        }
    }

    private func cost(_ a: Int, _ b: Int) -> UInt64 {
        edges[a].first { Int($0.to) == b }.map { UInt64($0.cost) } ?? 0
    }
}
