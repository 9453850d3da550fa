// What hosts at several sites and ports see of each other, and what one site's settings change for it.

import Basics
import Captures
import Gateway
import Testing

@testable import Simulation

@Suite struct SwitchingTests {
    private let place = Workplace()

    private func outcome(_ scenario: String) throws -> Outcome {
        let outcome = try place.replay(scenario)
        #expect(outcome.result.errors.isEmpty)
        return outcome
    }

    // MARK: - Sites and ports

    @Test func aSiteWithoutACaptureListens() throws {
        try place.capture("feed.pcap", feed(300, burst: 50))
        let outcome = try outcome("sites = a, b, c, d\nsite.c.port.lan0.capture = feed.pcap\nlink.b-c.delay = 3ms")
        outcome.expectEqual(to: outcome.reference())
        for site in ["a", "b", "d"] { #expect(outcome.lan(site).count == 300) }
        #expect(outcome.lan("c").isEmpty)
    }

    @Test func aSiteOfOneIsAllowed() throws {
        try place.capture("feed.pcap", feed(10))
        let outcome = try outcome("sites = a\nsite.a.port.lan0.capture = feed.pcap")
        #expect(outcome.lan("a").isEmpty && outcome.drops("a") == [.noReceiver: 10])
    }

    /// Two hosts at different ports of a, one at b: the ports of a site are one LAN, and b sees what is not for a's own.
    @Test func portsOfASiteBridgeLocally() throws {
        let (x, y, z) = (host(1), host(2), host(3))
        try place.capture(
            "x.pcap",
            [
                (0, frame(0, from: x, to: everyone)), (3 * millisecond, frame(1, from: x, to: y)),
                (4 * millisecond, frame(2, from: x, to: z)), (5 * millisecond, frame(3, from: x, to: x)),
                (6 * millisecond, frame(4, from: x, to: [1, 0x80, 0xC2, 0, 0, 0x0F])),
                (7 * millisecond, frame(5, from: x, to: [1, 0x80, 0xC2, 0, 0, 0x10])),
            ])
        try place.capture("y.pcap", [(0, frame(10, from: y, to: x)), (9 * millisecond, frame(11, from: y, to: host(9)))])
        try place.capture("z.pcap", [(0, frame(20, from: z, to: x))])
        let outcome = try outcome(
            """
            sites = a, b
            site.a.ports = lan0, lan1, spare
            site.a.port.lan0.capture = x.pcap
            site.a.port.lan1.capture = y.pcap
            site.a.port.lan1.offset = 1ms
            site.b.port.lan0.capture = z.pcap
            site.b.port.lan0.offset = 2ms
            """)
        outcome.expectEqual(to: outcome.reference())
        #expect(
            outcome.lan("a", port: 0).map(\.bytes) == [
                frame(10, from: y, to: x), frame(20, from: z, to: x), frame(11, from: y, to: host(9)),
            ])
        #expect(
            outcome.lan("a", port: 1).map(\.bytes) == [
                frame(0, from: x, to: everyone), frame(1, from: x, to: y), frame(5, from: x, to: [1, 0x80, 0xC2, 0, 0, 0x10]),
            ])
        #expect(outcome.lan("a", port: 2).map(\.bytes).count == 3)
        #expect(outcome.drops("a") == [.sameSegment: 1, .linkConstrained: 1])
    }

    /// Three sites talk with each other at random; the reference knows who is where.
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func conversationsAtRandom(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var number = 0
        for site in ["a", "b", "c"] {
            var time: UInt64 = 0
            let frames = (0..<400).map { _ in
                // Times are distinct by site, so that the order of arrivals is certain.
                time += UInt64.random(in: 1...4_000, using: &random) * 30
                number += 1
                let own = UInt8(site.utf8.first! - 97) * 4
                // Hosts are mostly at home, and sometimes seen elsewhere.
                let source =
                    Int.random(in: 0..<20, using: &random) == 0
                    ? UInt8.random(in: 0..<12, using: &random) : own + UInt8.random(in: 0..<4, using: &random)
                var target = host(UInt8.random(in: 0..<13, using: &random))
                if Int.random(in: 0..<4, using: &random) == 0 {
                    target = [everyone, group, [1, 0x80, 0xC2, 0, 0, 2]].randomElement(using: &random)!
                }
                let from = Int.random(in: 0..<30, using: &random) == 0 ? [0, 0, 0, 0, 0, 0] : host(source)
                return (
                    time + UInt64(own / 4) + 1,
                    frame(
                        number, from: from, to: target, length: Int.random(in: 14...2_000, using: &random),
                        vlan: [nil, 5, 6, 0].randomElement(using: &random)!)
                )
            }
            try place.capture("\(site).pcap", frames)
        }
        let outcome = try outcome(
            """
            sites = a, b, c
            align = absolute
            site.a.port.lan0.capture = a.pcap
            site.a.ports = lan0, lan1
            site.b.port.lan0.capture = b.pcap
            site.c.port.lan0.capture = c.pcap
            link.a-b.delay = 333us
            link.a-c.delay = 1100ns
            link.b-c.delay = 20ms
            site.b.set.path.mtu = 600
            """)
        outcome.expectEqual(to: outcome.reference())
    }

    // MARK: - Lengths

    @Test func framesOfEveryKindOfLength() throws {
        let lengths = [
            0, 1, 13, 14, 15, 16, 17, 18, 59, 60, 1_471, 1_472, 1_473, 1_514, 1_518, 9_000, 9_215, 9_216, 9_217, 65_535, 262_144,
        ]
        try place.capture("a.pcap", lengths.enumerated().map { (UInt64($0) * millisecond, frame($0, length: $1)) })
        for mtu in [576, 577, 1_500, 9_216] {
            let outcome = try outcome(
                "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.path.mtu = \(mtu)\n"
                    + "site.b.set.path.mtu = \(mtu)\nlink.a-b.mtu = \(mtu)")
            outcome.expectEqual(to: outcome.reference())
            #expect(outcome.lan("b").map(\.bytes.count) == lengths.filter { (14...9_216).contains($0) })
            #expect(outcome.drops("a") == [.runt: 3, .oversized: 3])
        }
    }

    /// A burst at one instant far beyond what a gateway holds at once: it is emptied in between, and nothing is lost.
    @Test func aBurstOfThousandsAtOneInstant() throws {
        try place.capture("a.pcap", feed(3_000, burst: 3_000, lengths: [1_514, 9_000, 60]))
        let outcome = try outcome("sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nsite.a.ports = lan0, lan1")
        outcome.expectEqual(to: outcome.reference())
    }

    // MARK: - Settings of one site

    @Test func filteredFramesAreCounted() throws {
        let frames = (0..<10).map { (UInt64($0), frame($0, from: host(UInt8($0 % 2)))) }
        try place.capture("a.pcap", frames)
        let outcome = try outcome(
            "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.port.lan0.filter = ether src 02:00:00:00:00:01")
        #expect(outcome.lan("b").map(\.bytes) == stride(from: 1, to: 10, by: 2).map { frame($0, from: host(1)) })
        #expect(outcome.drops("a") == [.filtered: 5])
        #expect(outcome.snapshot("a")[PortIndex(0), .framesIn] == 10)
    }

    @Test func filtersOfTwoPortsAreTheirOwn() throws {
        try place.capture("a.pcap", feed(4, lengths: [60, 500]))
        let outcome = try outcome(
            """
            sites = a, b
            site.a.port.lan0.capture = a.pcap
            site.a.port.lan1.capture = a.pcap
            site.a.set.port.lan1.filter = greater 100
            """)
        #expect(outcome.lan("b").count == 6 && outcome.drops("a") == [.filtered: 2])
        #expect(outcome.lan("a", port: 0).count == 2 && outcome.lan("a", port: 1).count == 4)
    }

    @Test func theMACLimitEvicts() throws {
        try place.capture("a.pcap", (0..<100).map { (UInt64($0), frame($0, from: host(UInt8($0)), to: everyone)) })
        let outcome = try outcome("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.mac.limit = 16")
        #expect(outcome.snapshot("a")[.macs] == 16 && outcome.snapshot("a")[.macEvictions] == 84)
        #expect(outcome.snapshot("b")[.macs] == 100 && outcome.snapshot("b")[.macEvictions] == 0)
        #expect(outcome.snapshot("a").macs?.map(\.address.rawValue) == (84..<100).map { 0x0200_0000_0000 + UInt64($0) })
        #expect(outcome.lan("b").count == 100)
    }

    /// Two hosts on one LAN: while both are known their frames stay there; once one has aged, they are flooded.
    @Test func theMACAgeIsTheSites() throws {
        let (x, y) = (host(1), host(2))
        try place.capture(
            "a.pcap",
            [
                (0, frame(0, from: y, to: x)), (second, frame(1, from: x, to: y)), (9 * second, frame(2, from: x, to: y)),
                (12 * second, frame(3, from: x, to: y)), (301 * second, frame(4, from: x, to: y)),
            ])
        for (setting, ageing) in [("10s", 10), ("300s", 300), ("1000s", 1_000)] as [(String, UInt64)] {
            let settings = ["a", "b"].map { "site.\($0).set.mac.ageing = \(setting)\nsite.\($0).set.keepalive = 60s\n" }
            let outcome = try outcome("sites = a, b\nsite.a.port.lan0.capture = a.pcap\n" + settings.joined())
            let sent = [frame(0, from: y, to: x), frame(3, from: x, to: y), frame(4, from: x, to: y)]
            #expect(outcome.lan("b").map(\.bytes) == (ageing == 10 ? sent : ageing == 300 ? [sent[0], sent[2]] : [sent[0]]))
            outcome.expectEqual(to: outcome.reference(ageing: ageing * second))
        }
    }

    /// A site that still knows where a host is gets a frame from one that has forgotten it: it stays with the host's own site.
    @Test func sitesThatAgeDifferently() throws {
        let (x, y) = (host(1), host(2))
        try place.capture("a.pcap", [(0, frame(0, from: y, to: x)), (12 * second, frame(1, from: x, to: y))])
        let outcome = try outcome("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.mac.ageing = 10s")
        #expect(outcome.lan("b").map(\.bytes) == [frame(0, from: y, to: x)])
        #expect(outcome.drops("a") == [:] && outcome.drops("b") == [.splitHorizon: 1])
    }

    /// Keys that live a second, on links that delay, under a feed that never stops: renewal loses nothing.
    @Test(arguments: ["rekey.time = 1s", "rekey.time = 20s", "rekey.datagrams = 1000"])
    func renewalLosesNothing(setting: String) throws {
        try place.capture("a.pcap", feed(6_000, spacing: 4 * millisecond, lengths: [60, 118, 1_514, 300]))
        let all = ["a", "b", "c"].map { "site.\($0).set.\(setting)\nsite.\($0).set.mac.limit = 64\n" }.joined()
        let outcome = try outcome("sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.delay = 70ms\n" + all)
        outcome.expectEqual(to: outcome.reference())
        // What is flooded is sealed with a key that b and c share: a count of datagrams renews that one, not those of the pairs.
        let byCount = setting.hasPrefix("rekey.datagrams")
        #expect(outcome.snapshot("a").streams.installed > (byCount ? 4 : 1))
        if !byCount { #expect(outcome.snapshot("b").peers[0].handshakes > (setting.hasSuffix("= 1s") ? 20 : 2)) }
    }

    @Test func ciphersCanBeForced() throws {
        try place.capture("a.pcap", feed(50))
        for name in ["aes-256-gcm", "chacha20-poly1305"] {
            let outcome = try outcome("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.b.set.cipher = \(name)")
            #expect(outcome.lan("b").count == 50 && outcome.snapshot("a").peers[0].cipher?.name.lowercased() == name)
        }
        let outcome = try outcome(
            "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.cipher = aes-256-gcm\nsite.b.set.cipher = chacha20-poly1305"
        )
        #expect(outcome.lan("b").isEmpty && outcome.drops("a")[.peerDown] == 50)
        #expect(outcome.result.events.contains { $0.event.message.contains("no cipher in common") })
    }
}
