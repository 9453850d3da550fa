// Replays in which links are missing or fail: the sites have passes, and carry for each other.

import Basics
import Gateway
import Settings
import Testing

@testable import Simulation

@Suite struct VirtualCutTests {
    @Test func whatIsSentInACutIsNotCarried() {
        func at(_ seconds: Int64) -> Instant { Instant.zero + .seconds(seconds) }
        var wire = VirtualWire(sites: 2, seed: 1)
        wire.setLink(0, 1, LinkCharacter(delay: .seconds(5), cuts: [at(3)..<at(9), at(20)..<at(21)]))
        for second in [2, 3, 8, 9, 20, 21] as [UInt8] { wire.carry([second], from: 0, to: 1, at: at(Int64(second))) }
        var arrived: [[UInt8]] = []
        while let next = wire.nextArrived(by: at(100)) { arrived.append(next.bytes) }
        // What was under way when the cut began arrives.
        #expect(arrived == [[2], [9], [21]])
        #expect(wire.tally(from: 0, to: 1).cut == 3 && wire.tally(from: 0, to: 1).lost == 0)
        #expect(wire.tally(from: 1, to: 0).cut == 0)
    }
}

@Suite struct RelayTests {
    private let place = Workplace()

    private func way(_ outcome: Outcome, _ from: String, _ to: String) -> MeshSnapshot.Way? {
        outcome.snapshot(from).mesh?.ways.first { $0.name == to }
    }

    /// The ends of a chain have no link: what goes between them, the middle carries, unopened.
    @Test func aFrameCrossesAChain() throws {
        let sent = feed(50, spacing: 20 * millisecond)
        try place.capture("a.pcap", sent)
        let outcome = try place.replay(
            "sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nlink.a-c.up = no\nsettle = 30s\nlink.a-b.delay = 5ms")
        #expect(outcome.lan("b").map(\.bytes) == sent.map(\.bytes))
        #expect(outcome.lan("c").map(\.bytes) == sent.map(\.bytes))
        #expect(way(outcome, "a", "c")?.state == .relayed && way(outcome, "a", "c")?.hops == ["b", "c"])
        #expect(way(outcome, "a", "b")?.state == .direct)
        #expect(outcome.snapshot("b").mesh?.transits.isEmpty == false)
        #expect(outcome.snapshot("b")[LaneGauge.relayed] > 0)
        #expect(outcome.link("a", "c").cut == outcome.link("a", "c").datagrams)
    }

    /// Without the middle's leave there is no way.
    @Test func whoMayNotRelayDoesNot() throws {
        try place.capture("a.pcap", feed(20, spacing: 20 * millisecond))
        let outcome = try place.replay(
            "sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nlink.a-c.up = no\nsite.b.pass.relay = no\nsettle = 30s")
        #expect(outcome.lan("b").count == 20 && outcome.lan("c").isEmpty)
        #expect(outcome.snapshot("b")[LaneGauge.relayed] == 0)
    }

    /// While a link is cut another site carries, and afterwards nobody has to. The way over the link is cheaper then by more than
    /// what a path is kept for.
    @Test func aCutHeals() throws {
        let sent = feed(60, spacing: second)
        try place.capture("a.pcap", sent)
        let outcome = try place.replay(
            """
            sites = a, b, c
            site.a.port.lan0.capture = a.pcap
            link.a-c.cut = 10s..30s
            link.a-b.delay = 5ms
            link.b-c.delay = 5ms
            link.a-c.delay = 5ms
            settle = 20s
            snapshot.at = 5s, 25s, 58s
            """)
        let index = outcome.index("a")
        let states = outcome.result.snapshots.map { moment in
            moment.sites[index].mesh?.ways.first { $0.name == "c" }?.state
        }
        #expect(states == [.direct, .relayed, .direct])
        let arrived = Set(outcome.lan("c").map(\.bytes))
        // Some are lost until the silence is noticed; none later.
        #expect(sent.suffix(35).allSatisfy { arrived.contains($0.bytes) })
        #expect(sent[20..<30].allSatisfy { arrived.contains($0.bytes) })
        #expect(outcome.link("a", "c").cut > 0)
    }

    @Test func theSameSeedGivesTheSameOctets() throws {
        try place.capture("a.pcap", feed(40, spacing: 100 * millisecond))
        let text = """
            sites = a, b, c, d
            site.a.port.lan0.capture = a.pcap
            link.a-c.up = no
            link.a-d.cut = 1s..3s
            link.b-c.loss = 5%
            settle = 20s
            """
        func run(_ seed: UInt64, _ outputs: String) throws -> ([[Seen]], [LinkTally], [String]) {
            let outcome = try place.replay(text, seed: seed, outputs: outputs)
            return (
                outcome.frames.flatMap(\.self), outcome.result.links.map(\.tally),
                outcome.result.events.map { "\($0.at) \($0.site) \($0.event.message)" }
            )
        }
        let (first, second, other) = (try run(1, "x"), try run(1, "y"), try run(2, "z"))
        #expect(first.0 == second.0)
        #expect(first.1 == second.1 && first.2 == second.2)
        #expect(first.1 != other.1)
    }

    /// A pass's limits hold in a replay.
    @Test func passesLimitWhatIsSent() throws {
        try place.capture("a.pcap", feed(20, spacing: 20 * millisecond))
        let outcome = try place.replay(
            "sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nsite.b.pass.vlans = 10\nsettle = 20s")
        #expect(outcome.lan("b").isEmpty && outcome.lan("c").count == 20)
    }
}
