// Paths and trees against searches that are written plainly, on small random graphs; and scenarios with known answers.

import Basics
import Testing

@testable import Mesh

@Suite struct PathsTests {
    /// Sites 0... by their place in the order of names.
    private func name(_ number: Int) -> SiteID { SiteID(high: 1, low: UInt64(number)) }

    /// Links with round trips in milliseconds; the same at both ends.
    private func graph(
        _ count: Int, _ links: [(Int, Int, UInt32)], relays: Set<Int>, suspect: Set<Int> = []
    ) -> Topology {
        let told = links.enumerated().flatMap { index, link in
            let measure = LinkMeasure(roundTripMicroseconds: link.2 * 1000, isSuspect: suspect.contains(index))
            return [(name(link.0), name(link.1), measure), (name(link.1), name(link.0), measure)]
        }
        return Topology(sites: (0..<count).map { (name($0), relays.contains($0)) }, links: told)
    }

    private func random(_ random: inout SeededRandom, _ count: Int) -> Topology {
        var links: [(Int, Int, UInt32)] = []
        for a in 0..<count {
            for b in (a + 1)..<count where random.chance(millionths: 450_000) {
                links.append((a, b, .random(in: 1...20, using: &random)))
            }
        }
        return graph(count, links, relays: Set((0..<count).filter { _ in random.chance(millionths: 600_000) }))
    }

    /// The cheapest of all simple paths with relays between, by trying every one.
    private func cheapest(_ topology: Topology, _ from: Int, _ to: Int, _ limit: Int) -> UInt64? {
        var best: UInt64?
        func visit(_ at: Int, _ cost: UInt64, _ seen: Set<Int>, _ hops: Int) {
            if at == to {
                best = min(best ?? .max, cost)
                return
            }
            guard hops < limit, at == from || topology.mayRelay[at] else { return }
            for edge in topology.edges[at] where !seen.contains(Int(edge.to)) {
                visit(Int(edge.to), cost + UInt64(edge.cost), seen.union([Int(edge.to)]), hops + 1)
            }
        }
        visit(from, 0, [from], 0)
        return best
    }

    @Test(arguments: 1...60)
    func pathsAreTheCheapest(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let topology = self.random(&random, 7)
        for limit in [1, 2, 3, 8] {
            for from in 0..<7 {
                let paths = topology.paths(from: name(from), hopLimit: limit)
                #expect(paths[name(from)] == nil)
                for to in 0..<7 where to != from {
                    #expect(
                        paths[name(to)]?.cost == cheapest(topology, from, to, limit), "seed \(seed): \(from)-\(to) in \(limit)")
                    guard let path = paths[name(to)] else { continue }
                    #expect(topology.cost(of: path, from: name(from))?.cost == path.cost && path.hops.count <= limit)
                    #expect(
                        path.hops.last == name(to) && Set(path.hops).count == path.hops.count && !path.hops.contains(name(from)))
                }
            }
        }
    }

    @Test func aLinkNeedsBothEndsWord() {
        let measure = LinkMeasure(roundTripMicroseconds: 1000)
        let topology = Topology(sites: [(name(0), true), (name(1), true)], links: [(name(0), name(1), measure)])
        #expect(topology.cost(from: name(0), to: name(1)) == nil && topology.paths(from: name(0)).isEmpty)
    }

    @Test func costs() {
        let quick = LinkMeasure(roundTripMicroseconds: 1000)
        let lossy = LinkMeasure(roundTripMicroseconds: 3000, loss: 100)
        #expect(Topology.cost(quick, quick) == 600 && Topology.cost(quick, lossy) == 11_600)
        #expect(Topology.cost(quick, LinkMeasure(roundTripMicroseconds: 1000, isSuspect: true)) == 10_000_600)
        #expect(Topology.cost(quick, LinkMeasure(roundTripMicroseconds: .max, loss: 10_000)) == 11_000_100)
    }

    @Test func smallChangesMoveNothing() {
        var paths = Paths(source: name(0))
        func direct(_ milliseconds: UInt32, suspect: Set<Int> = [], via: Bool = true) -> Topology {
            let around: [(Int, Int, UInt32)] = via ? [(0, 1, 4), (1, 2, 4)] : []
            return graph(3, [(0, 2, milliseconds)] + around, relays: [1], suspect: suspect)
        }
        #expect(paths.update(direct(8)) == [name(1), name(2)] && paths.nextHop(to: name(2)) == name(2))
        // A tenth slower than the way around: not worth it. A quarter slower is.
        #expect(paths.update(direct(9)) == [] && paths.path(to: name(2))?.cost == 4600)
        #expect(paths.update(direct(12)) == [name(2)] && paths.nextHop(to: name(2)) == name(1))
        // Back once it is no dearer: nobody is to carry for nothing.
        #expect(paths.update(direct(9)) == [] && paths.nextHop(to: name(2)) == name(1))
        #expect(paths.update(direct(8)) == [name(2)] && paths.nextHop(to: name(2)) == name(2))
        // Suspect: kept while there is no other way, left at once when there is one.
        var alone = Paths(source: name(0))
        #expect(alone.update(direct(4, suspect: [0], via: false)) == [name(2)] && alone.nextHop(to: name(2)) == name(2))
        #expect(paths.update(direct(4, suspect: [0])) == [name(2)] && paths.nextHop(to: name(2)) == name(1))
        // Between near sites nothing is cheaper by 500 microseconds: a path of fewer hops needs the eighth alone.
        var near = Paths(source: name(0))
        #expect(near.update(graph(3, [(0, 1, 0), (1, 2, 0)], relays: [1])) == [name(1), name(2)])
        #expect(near.update(graph(3, [(0, 2, 0), (0, 1, 0), (1, 2, 0)], relays: [1])) == [name(2)])
        #expect(near.nextHop(to: name(2)) == name(2))
        // A relay that loses its pass carries no longer.
        #expect(paths.update(graph(3, [(0, 2, 4), (0, 1, 4), (1, 2, 4)], relays: [])) == [name(2)])
        #expect(paths.update(graph(3, [(0, 1, 4)], relays: [1])) == [name(2)] && paths.path(to: name(2)) == nil)
    }

    // MARK: - Trees

    private func check(_ tree: DistributionTree, _ topology: Topology, _ origin: Int, _ audience: Set<SiteID>, _ limit: Int) {
        #expect(tree.origin == name(origin))
        #expect(Set(tree.members).union(tree.unreachable) == audience && Set(tree.members).isDisjoint(with: tree.unreachable))
        #expect(Set(tree.nodes.map(\.site)).count == tree.nodes.count)
        var cost: UInt64 = 0
        var depth = [0]
        for (place, node) in tree.nodes.enumerated().dropFirst() {
            #expect(node.parent < place)
            let parent = tree.nodes[node.parent].site
            cost += UInt64(topology.cost(from: parent, to: node.site) ?? 1 << 60)
            depth.append(depth[node.parent] + 1)
            #expect(node.parent == 0 || topology.mayRelay(parent))
            #expect(node.isMember || !tree.nextHops(of: node.site).isEmpty)
            #expect(tree.upstream(of: node.site) == parent && tree.nextHops(of: parent).contains(node.site))
        }
        #expect(cost == tree.cost && (depth.max() ?? 0) <= limit)
    }

    /// The cheapest tree, by trying every set of links; for very small graphs.
    private func cheapestTree(_ topology: Topology, _ origin: Int, _ audience: Set<Int>) -> UInt64? {
        let links = topology.edges.indices.flatMap { from in
            topology.edges[from].filter { $0.to > from }.map { (from, Int($0.to), UInt64($0.cost)) }
        }
        var best: UInt64?
        for choice in 0..<(1 << links.count) {
            let chosen = links.indices.filter { choice >> $0 & 1 != 0 }.map { links[$0] }
            let cost = chosen.reduce(0) { $0 + $1.2 }
            if let best, cost >= best { continue }
            var reached: Set<Int> = [origin]
            var carriers = [origin]
            while let at = carriers.popLast() {
                for link in chosen where link.0 == at || link.1 == at {
                    let far = link.0 == at ? link.1 : link.0
                    if reached.insert(far).inserted && topology.mayRelay[far] { carriers.append(far) }
                }
            }
            if audience.isSubset(of: reached) { best = cost }
        }
        return best
    }

    @Test(arguments: 1...40)
    func treesAreValidAndNearlyMinimal(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let topology = self.random(&random, 6)
        let audience = Set((1..<6).filter { _ in random.chance(millionths: 600_000) })
        let names = Set(audience.map(name))
        let paths = topology.paths(from: name(0))
        let reachable = audience.filter { paths[name($0)] != nil }
        for share in [0, 50, 100] as [UInt64] {
            let tree = topology.tree(from: name(0), to: names, TreePolicy(delayShare: share))
            check(tree, topology, 0, names, 8)
            #expect(Set(tree.members) == Set(reachable.map(name)))
            #expect(tree == topology.tree(from: name(0), to: names, TreePolicy(delayShare: share)))
            if share == 100 {
                // Every member has its least-cost way.
                for member in tree.members {
                    var cost: UInt64 = 0
                    var at = member
                    while let above = tree.upstream(of: at) {
                        cost += UInt64(topology.cost(from: above, to: at) ?? 0)
                        at = above
                    }
                    #expect(cost == paths[member]?.cost)
                }
            }
            if share == 0, let least = cheapestTree(topology, 0, reachable) { #expect(tree.cost <= 2 * least) }
        }
        let frugal = topology.tree(from: name(0), to: names, TreePolicy(copyCost: 1_000_000))
        check(frugal, topology, 0, names, 8)
        #expect(frugal.originCopies <= topology.tree(from: name(0), to: names).originCopies)
        check(topology.tree(from: name(0), to: names, TreePolicy(hopLimit: 1)), topology, 0, names, 1)
    }

    /// One sender, four receivers, everybody linked to everybody; one of them carries for others.
    @Test func oneCopyOnTheUplink() {
        var links: [(Int, Int, UInt32)] = []
        for a in 0..<5 { for b in (a + 1)..<5 { links.append((a, b, 10)) } }
        let topology = graph(5, links, relays: [3])
        let audience = (1..<5).map(name)
        #expect(topology.tree(from: name(0), to: audience).originCopies == 4)
        let frugal = topology.tree(from: name(0), to: audience, TreePolicy(copyCost: 100_000))
        #expect(frugal.originCopies == 1 && frugal.nextHops(of: name(0)) == [name(3)])
        #expect(frugal.nextHops(of: name(3)) == [name(1), name(2), name(4)])
        // A relay that nobody wants is in the tree only if it carries.
        #expect(topology.tree(from: name(0), to: [name(1)], TreePolicy(copyCost: 100_000)).nodes.count == 2)
        let unknown = topology.tree(from: name(0), to: [name(1), name(77)])
        #expect(unknown.unreachable == [name(77)] && unknown.members == [name(1)])
    }

    @Test func announcements() throws {
        let topology = graph(5, [(0, 1, 1), (1, 2, 1), (1, 3, 1), (3, 4, 1)], relays: [1, 3])
        let tree = topology.tree(from: name(0), to: [name(2), name(3), name(4)])
        let all = try #require(TreeAnnouncement(tree, for: name(0)))
        let one = "0000000000000001"
        #expect(
            hex(all.encoded) == "01" + one + "000000000000000001" + one + "000000000000000102" + one + "000000000000000280"
                + one + "000000000000000381" + one + "000000000000000480")
        #expect(TreeAnnouncement(all.encoded) == all && all.site == name(0) && !all.isMember)
        let part = try #require(all.parts.first)
        #expect(all.parts.count == 1 && part == TreeAnnouncement(tree, for: name(1)))
        #expect(part.parts.map(\.site) == [name(2), name(3)] && part.parts.allSatisfy(\.isMember))
        #expect(part.parts.last?.parts.map(\.site) == [name(4)])
        #expect(TreeAnnouncement(tree, for: name(9)) == nil)
        // Deeper than allowed, twice the same site, a child too few, one too many, nothing.
        #expect(TreeAnnouncement(all.encoded, hopLimit: 2) == nil && TreeAnnouncement(all.encoded, hopLimit: 3) == all)
        let bytes = all.encoded
        #expect(TreeAnnouncement(Array(bytes.dropLast(17))) == nil && TreeAnnouncement(Array(bytes.dropLast())) == nil)
        #expect(TreeAnnouncement(bytes + bytes.suffix(17)) == nil && TreeAnnouncement([1]) == nil && TreeAnnouncement([]) == nil)
        var twice = bytes
        twice.replaceSubrange(69..<85, with: bytes[52..<68])
        #expect(TreeAnnouncement(twice) == nil)
    }

    @Test func aHundredSites() {
        var random = SeededRandom(seed: 5)
        let topology = self.random(&random, 100)
        let audience = (1..<100).map(name)
        check(topology.tree(from: name(0), to: audience), topology, 0, Set(audience), 8)
        #expect(topology.paths(from: name(0)).count == 99)
    }

    @Test func meters() {
        var meter = LinkMeter()
        #expect(meter.pollMeasure(at: seconds(0)) == nil)
        meter.handleRoundTrip(.milliseconds(10))
        #expect(meter.pollMeasure(at: seconds(0)) == LinkMeasure(roundTripMicroseconds: 10_000))
        for _ in 0..<50 { meter.handleRoundTrip(.milliseconds(11)) }
        #expect(meter.pollMeasure(at: seconds(60)) == nil)
        for _ in 0..<50 { meter.handleRoundTrip(.milliseconds(20)) }
        #expect(meter.pollMeasure(at: seconds(9)) == nil)
        #expect(meter.pollMeasure(at: seconds(10)).map { $0.roundTripMicroseconds > 19_000 } == true)
        meter.handleSuspect(true)
        #expect(meter.pollMeasure(at: seconds(10))?.isSuspect == true && meter.pollMeasure(at: seconds(10)) == nil)
        for _ in 0..<50 { meter.handleDatagrams(100, lost: 5) }
        #expect(meter.pollMeasure(at: seconds(20)).map { (480...500).contains($0.loss) } == true)
    }
}
