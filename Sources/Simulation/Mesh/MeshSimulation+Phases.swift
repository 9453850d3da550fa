// The phases of a simulation, from the first start to the report.

import Basics
import Gateway
import Mesh

extension MeshSimulation {
    private static let look = Interval.milliseconds(200)

    public func run() -> SimulationReport {
        grow()
        for _ in 0..<plan.rounds { breakForARound() }
        heal()
        prove()
        idle()
        report.duration = now - .zero
        report.framesDelivered = checker.delivered
        report.sealed = nonces.datagrams
        report.faults = Fault.allCases.compactMap { fault in faultCounts[fault].map { (fault.rawValue, $0) } }
        return report
    }

    /// Most gateways start within some seconds; one in eight comes later, in the middle of the faults.
    private func grow() {
        let early = sites.indices.filter { $0 < 2 || Int.random(in: 0..<8, using: &random) != 0 }
        for site in early {
            start(site)
            run(for: .milliseconds(Int64.random(in: 0...200, using: &random)))
        }
        let began = now
        if wait({ early.allSatisfy { self.sites[$0].peersUp == early.count - 1 } }) {
            report.upAfter = now - began
        } else {
            violate("after \(plan.bound), not all have found each other: \(missing(early))")
        }
        checkTables()
        note("\(early.count) gateways have found each other")
    }

    private func breakForARound() {
        for _ in 0..<(1 + plan.count / 10) { breakSomething() }
        for site in sites.indices where Int.random(in: 0..<3, using: &random) == 0 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0: send(makeFrame(.broadcast, from: site))
            case 1:
                let other = Int.random(in: 0..<plan.count, using: &random)
                if other != site { send(makeFrame(.unicast(other), from: site)) }
            default: send(makeFrame(.feed(Int.random(in: 0..<plan.groups, using: &random)), from: site))
            }
        }
        run(for: .milliseconds(Int64.random(in: 100...1_500, using: &random)))
        checkTables()
    }

    private func checkTables() {
        for site in sites where site.isAlive {
            for problem in site.checkInvariants() { violate("site \(site.index): \(problem)") }
        }
    }

    private func heal() {
        healAll()
        let ended = now
        let all = members
        if wait({ all.allSatisfy { self.sites[$0].peersUp == all.count - 1 } }) {
            report.healedAfter = now - ended
        } else {
            violate("\(plan.bound) after the faults, not all are peers: \(missing(all))")
        }
        if wait({ Set(all.map { self.sites[$0].knowledge }).count == 1 }) {
            report.agreedAfter = now - ended
        } else {
            violate("\(plan.bound) after the faults, gateways know different things")
        }
        // Groups get their streams, and ways their best form; hosts have been asked what they want by all that were restarted.
        run(for: .seconds(20))
        checker.isBanKnown = true
        checkTables()
    }

    /// Feeds of some sites, and unicast between others: to those who are to have them, once, in order, and to nobody else.
    private func prove() {
        for group in 0..<plan.groups {
            let origin = members.randomElement(using: &random) ?? 0
            proveFeed(of: group, from: origin)
        }
        proveBroadcasts()
        proveThatWaysChangeWithoutLoss()
        for _ in 0..<20 {
            guard let from = members.randomElement(using: &random), let to = members.randomElement(using: &random), from != to
            else { continue }
            for site in sites.indices { received[site] = [] }
            let frame = makeFrame(.unicast(to), from: from)
            send(frame)
            run(for: .milliseconds(300))
            for site in sites.indices where received[site] != (site == to ? [frame.number] : []) {
                violate("site \(site) got \(received[site]) and not what is right of unicast from \(from) to \(to)")
            }
        }
        if let revoked = checker.banned.first {
            for site in sites.indices { received[site] = [] }
            send(makeFrame(.broadcast, from: revoked))
            run(for: .seconds(1))
            if received.contains(where: { !$0.isEmpty }) { violate("a revoked site's broadcast arrives") }
        }
        for site in members {
            let snapshot = sites[site].meshSnapshot(at: now)
            for way in snapshot.ways where way.state == .relayed {
                report.relayedPairs += 1
                let link = snapshot.links.first { $0.ends == ("site\(site)", way.name) || $0.ends == (way.name, "site\(site)") }
                note(
                    "site \(site) reaches \(way.name) by \(way.hops), cost \(way.cost ?? 0); the link: \(link.map { "\($0)" } ?? "none")"
                )
            }
        }
    }

    private func proveBroadcasts() {
        for site in sites.indices { received[site] = [] }
        let frames = members.map { makeFrame(.broadcast, from: $0) }
        for frame in frames { send(frame) }
        run(for: .seconds(1))
        for site in sites.indices {
            let isMember = !checker.banned.contains(site)
            let right = isMember ? frames.filter { $0.origin != site }.map(\.number) : []
            if received[site].sorted() != right {
                violate("of \(frames.count) broadcasts, site \(site) got \(received[site].count)")
            }
        }
    }

    /// Links become longer and shorter while a feed of each of some sites runs, so that ways and trees change: whatever is wanted
    /// comes, and once.
    private func proveThatWaysChangeWithoutLoss() {
        for site in sites.indices { received[site] = [] }
        var sent: [(group: Int, origin: Int, number: UInt32)] = []
        let origins = (0..<min(4, plan.groups)).map { ($0, members.randomElement(using: &random) ?? 0) }
        for round in 0..<100 {
            if round % 5 == 0 {
                for _ in 0..<plan.count {
                    let (a, b) = (Int.random(in: 0..<plan.count, using: &random), Int.random(in: 0..<plan.count, using: &random))
                    let delay = Interval.microseconds(Int64.random(in: 500...40_000, using: &random))
                    if a != b { for (from, to) in [(a, b), (b, a)] { wire.change(from: from, to: to) { $0.delay = delay } } }
                }
            }
            for (group, origin) in origins {
                let frame = makeFrame(.feed(group), from: origin)
                sent.append((group, origin, frame.number))
                send(frame)
            }
            run(for: .milliseconds(200))
        }
        run(for: .seconds(1))
        for site in sites.indices where !checker.banned.contains(site) {
            let right = sent.filter {
                $0.origin != site && checker.wants(site, $0.group) && checker.isEntitled(site, to: $0.group, of: $0.origin)
            }.map(\.number)
            // A link that became shorter lets frames overtake those before them.
            let missing = Set(right).subtracting(received[site])
            guard let first = sent.first(where: { missing.contains($0.number) }) else { continue }
            violate(
                "while ways changed, site \(site) missed \(missing.count) of \(right.count) frames, the first of site \(first.origin)"
            )
        }
    }

    private func proveFeed(of group: Int, from origin: Int) {
        for site in sites.indices { received[site] = [] }
        var numbers: [UInt32] = []
        for _ in 0..<20 {
            let frame = makeFrame(.feed(group), from: origin)
            numbers.append(frame.number)
            send(frame)
            run(for: .milliseconds(20))
        }
        run(for: .seconds(1))
        for site in sites.indices {
            let isMember = !checker.banned.contains(site) && site != origin
            let isWanted = isMember && checker.wants(site, group) && checker.isEntitled(site, to: group, of: origin)
            let right = isWanted ? numbers : []
            if received[site] != right {
                violate("of group \(group) from site \(origin), site \(site) got \(received[site]) and not \(right)")
            }
        }
    }

    /// No host sends: what the mesh costs by itself.
    private func idle() {
        run(for: .seconds(5))
        let seconds: Int64 = 20
        let all = members
        let before = all.map { (octetsSent[$0], sites[$0].meshSnapshot(at: now).gossip.bytesOut) }
        run(for: .seconds(seconds))
        checkTables()
        let after = all.map { (octetsSent[$0], sites[$0].meshSnapshot(at: now).gossip.bytesOut) }
        func bits(_ octets: [UInt64]) -> (mean: Double, most: Double) {
            let rates = octets.map { Double($0) * 8 / Double(seconds) }
            return (rates.reduce(0, +) / Double(max(rates.count, 1)), rates.max() ?? 0)
        }
        report.idleBits = bits(zip(before, after).map { $1.0 - $0.0 })
        report.gossipBits = bits(zip(before, after).map { $1.1 - $0.1 })
    }

    /// Runs until something holds, at most until the plan's bound.
    private func wait(_ holds: () -> Bool) -> Bool {
        let end = now + plan.bound
        while now < end {
            if holds() { return true }
            run(for: MeshSimulation.look)
        }
        return holds()
    }

    private func missing(_ among: [Int]) -> String {
        let few = among.filter { sites[$0].peersUp != among.count - 1 }
        return few.prefix(8).map { "site \($0) has \(sites[$0].peersUp) of \(among.count - 1)" }.joined(separator: ", ")
    }
}
