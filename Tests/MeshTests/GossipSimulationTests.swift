// Gossip under faults: random joins, leaves, crashes, lost clocks, partitions, loss up to a fifth and reordering, from seeds.
// Once the faults stop, everybody knows the same within a bound. And what gossip costs.

import Basics
import Foundation
import Testing

@testable import Mesh

@Suite(.serialized) struct GossipSimulationTests {
    private func interest(_ number: Int, _ vlan: UInt16 = 10) -> MeshTopic {
        .interest(VLAN(rawValue: vlan), group: IPAddress(ipv4: 0xEF01_0000 + UInt32(number)), source: nil)
    }
    private let wanted = MeshValue.interest(isExcluded: false, generations: 4)

    /// How long after the last fault all must agree.
    private let bound = Interval.seconds(90)

    private func storm(_ count: Int, degree: Int, steps: Int, seed: UInt64) throws {
        let mesh = GossipMesh(count, seed: seed)
        mesh.faults.loss = UInt32.random(in: 0...200_000, using: &mesh.random)
        mesh.faults.delay = 1_000_000...Int64.random(in: 2_000_000...300_000_000, using: &mesh.random)
        func someone() -> Int { Int.random(in: 0..<count, using: &mesh.random) }
        func mend(_ node: Int) {
            for _ in 0..<degree { mesh.connect(node, someone()) }
        }
        for node in 0..<count where node % 3 != 2 { try mesh.start(node) }
        for node in mesh.nodes.keys.sorted() { mend(node) }
        var saved: [Int: [UInt8]] = [:]
        for _ in 0..<steps {
            let node = someone()
            switch Int.random(in: 0..<12, using: &mesh.random) {
            case 0, 1:
                if mesh.nodes[node] == nil { try mesh.start(node) }
                mend(node)
            case 2:
                saved[node] = mesh.nodes[node]?.snapshot
                mesh.stop(node)
            case 3:
                // A crash, and back at once with an old file, without a clock.
                mesh.stop(node)
                try mesh.start(node, clock: UInt64.random(in: 1...1000, using: &mesh.random), snapshot: saved[node])
                mend(node)
            case 4:
                // Two halves.
                let cut = Int.random(in: 1..<max(count, 2), using: &mesh.random)
                for link in mesh.links.sorted(by: { ($0.low, $0.high) < ($1.low, $1.high) })
                where (link.low < cut) != (link.high < cut) {
                    mesh.disconnect(link.low, link.high)
                }
            case 5:
                let other = someone()
                mesh.disconnect(node, other)
            case 6: mend(node)
            default:
                for _ in 0..<5 {
                    mesh.set(
                        node, interest(Int.random(in: 0..<50, using: &mesh.random)),
                        mesh.random.chance(millionths: 300_000) ? nil : wanted)
                }
            }
            mesh.run(for: .milliseconds(Int64.random(in: 1...2000, using: &mesh.random)))
            #expect(mesh.nodes[node]?.checkInvariants() ?? [] == [], "seed \(seed)")
        }
        // Faults stop: everybody is there, and linked to some others, so that the mesh is one.
        for node in 0..<count where mesh.nodes[node] == nil { try mesh.start(node, snapshot: saved[node]) }
        for node in 0..<count {
            mesh.connect(node, (node + 1) % count)
            mend(node)
        }
        let quiet = mesh.now
        let isAgreed = mesh.run(until: quiet + bound) { mesh.isAgreed() }
        #expect(isAgreed, "seed \(seed): no agreement in \(bound)")
        #expect(mesh.differences().prefix(5) == [], "seed \(seed)")
        #expect(mesh.parts.count == 1)
        for node in 0..<count {
            #expect(mesh.nodes[node]?.checkInvariants() == [], "seed \(seed)")
            #expect(mesh.nodes[node]?.counters.forged == 0 && mesh.nodes[node]?.counters.malformed == 0, "seed \(seed)")
        }
        print("gossip: \(count) nodes, seed \(seed), loss \(mesh.faults.loss / 10_000) %: agreed after \(mesh.now - quiet)")
    }

    @Test(arguments: 1...5) func fiveSites(seed: UInt64) throws { try storm(5, degree: 2, steps: 60, seed: seed) }

    @Test(arguments: 1...2) func twentySites(seed: UInt64) throws { try storm(20, degree: 3, steps: 60, seed: seed) }

    @Test func aHundredSites() throws { try storm(100, degree: 4, steps: 8, seed: 1) }

    /// A hundred sites, two of which hold sessions with everybody; each wants ten of a thousand groups. With GOSSIP_FULL set, and
    /// a release build, all have sessions with all, and each wants a hundred.
    @Test func costs() throws {
        let count = 100
        let isFull = ProcessInfo.processInfo.environment["GOSSIP_FULL"] != nil
        let (hubs, wishes) = isFull ? (count, 100) : (2, 10)
        let mesh = GossipMesh(count, seed: 1, isListed: true)
        for node in 0..<count { try mesh.start(node) }
        for node in 0..<count {
            mesh.with(node) { gossip in
                for number in 0..<wishes { _ = gossip.set(interest((node * 37 + number * 10) % 1000), wanted, at: mesh.now) }
            }
        }
        for a in 0..<count { for b in (a + 1)..<count where b - a <= 3 || a < hubs { mesh.connect(a, b) } }
        mesh.run(until: mesh.now + .seconds(120)) { mesh.isAgreed() }
        #expect(mesh.isAgreed())
        let start = mesh.bytesSent
        mesh.run(for: .seconds(60))
        let idle = Double(mesh.bytesSent - start) * 8 / 60 / Double(count)
        let before = mesh.bytesSent
        mesh.set(50, interest(5000), wanted)
        mesh.run(for: .seconds(2))
        let change = mesh.bytesSent - before
        #expect(mesh.isAgreed())
        let node = try #require(mesh.nodes[50])
        print(
            "gossip, 100 sites, \(mesh.links.count) links, 1,000 groups: idle \(Int(idle)) bit/s a gateway, "
                + "a change \(change) octets in the whole mesh, kept \(node.storedPages) pages, \(node.storedBytes) octets")
        #expect(idle < 10_000)
    }
}
