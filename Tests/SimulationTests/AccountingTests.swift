// Every frame is delivered or counted, and the same scenario and seed give the same octets.

import Basics
import Captures
import Foundation
import Gateway
import Settings
import Testing

@testable import Simulation

/// The books of two sites with one port each, on a wire that loses nothing:
///
///     from the LAN    frames in    = sent to the peer + peer-down + transmit-full + key-exhausted
///                                    + runt + oversized + filtered + link-constrained + same-segment
///     from the peer   frames in    = put on the LAN + split-horizon + deliver-full
///     between sites   a's frames out to b = b's frames in from a
@Suite struct AccountingTests {
    private let place = Workplace()

    private func expectBalance(_ outcome: Outcome) {
        let peer = PeerIndex(0)
        let port = PortIndex(0)
        for (me, other) in [(0, 1), (1, 0)] {
            let (mine, theirs) = (outcome.result.sites[me].snapshot, outcome.result.sites[other].snapshot)
            let dropped = [
                DropReason.peerDown, .transmitFull, .keyExhausted, .runt, .oversized, .filtered, .linkConstrained, .sameSegment,
            ].reduce(0) { $0 + mine[$1] }
            #expect(mine[port, .framesIn] == mine[peer, .framesOut] + dropped)
            #expect(mine[peer, .framesIn] == mine[port, .framesOut] + mine[.splitHorizon] + mine[.deliverFull])
            #expect(mine[peer, .framesOut] == theirs[peer, .framesIn])
            #expect(mine[port, .framesOut] == UInt64(outcome.frames[me][0].count))
            #expect(mine[port, .bytesOut] == outcome.frames[me][0].reduce(0) { $0 + UInt64($1.bytes.count) })
            // No other reason has counted anything: nothing is dropped for two reasons, or for none.
            let named: Set<DropReason> = [
                .peerDown, .transmitFull, .keyExhausted, .runt, .oversized, .filtered, .linkConstrained, .sameSegment,
                .splitHorizon, .deliverFull, .unknownStream,
            ]
            #expect(allDrops(mine).keys.allSatisfy { named.contains($0) })
            let link = outcome.result.links.first { $0.from == outcome.plan.sites[me].name }
            let (datagrams, bytes) = (mine[peer, .datagramsOut], mine[peer, .bytesOut])
            // The link also carries handshakes, which are not counted as the peer's traffic.
            #expect((link?.tally.datagrams ?? 0) > datagrams && (link?.tally.bytes ?? 0) > bytes)
        }
    }

    @Test func madeUpFrames() throws {
        let lengths = [0, 13, 14, 60, 1_514, 9_216, 9_217]
        try place.capture(
            "a.pcap",
            (0..<400).map { number in
                let targets = [host(2), host(9), everyone, [1, 0x80, 0xC2, 0, 0, 3]]
                return (
                    UInt64(number) * 700_000,
                    frame(number, from: host(UInt8(1 + number % 2)), to: targets[number % 4], length: lengths[number % 7])
                )
            })
        try place.capture(
            "b.pcap", (0..<100).map { (UInt64($0) * 2_000_000, frame(1_000 + $0, from: host(9), to: host(UInt8($0 % 4)))) })
        for settings in [
            "", "settle = 0s\nlink.a-b.delay = 40ms", "site.a.set.port.lan0.filter = not ether src 02:00:00:00:00:02",
        ] {
            expectBalance(
                try place.replay(
                    "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.b.port.lan0.capture = b.pcap\n" + settings))
        }
    }

    @Test(
        .disabled(if: Collection.isMissing, Collection.reason),
        arguments: Collection.files { $0 == "b-lan-mix" || $0 == "b-unicast" || $0 == "b-l2control" })
    func realFramesBothWays(file: String) throws {
        let directory = try #require(Collection.directory)
        let frames = readAll("\(directory)/\(file)").frames
        // Every other frame is sent at the other site.
        for (name, remainder) in [("a.pcap", 0), ("b.pcap", 1)] {
            let half = frames.enumerated().filter { $0.offset % 2 == remainder }.map { $0.element }
            try place.capture(name, half.map { ($0.timestamp, $0.bytes) })
        }
        expectBalance(
            try place.replay(
                """
                sites = a, b
                align = absolute
                site.a.port.lan0.capture = a.pcap
                site.b.port.lan0.capture = b.pcap
                link.a-b.delay = 1ms
                site.a.set.keepalive = 10s
                site.b.set.keepalive = 10s
                """))
    }

    // MARK: - Determinism

    private static let lossy = """
        sites = a, b, c
        site.a.port.lan0.capture = a.pcap
        site.a.ports = lan0, lan1
        site.c.port.lan0.capture = c.pcap
        site.c.port.lan0.offset = 3ms
        link.a-b.loss = 5%
        link.a-c.delay = 11ms
        """

    /// The files that a replay wrote, by name.
    private func files(_ directory: String) throws -> [String: [UInt8]] {
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(place.path)/\(directory)")
        return try Dictionary(uniqueKeysWithValues: names.map { ($0, try place.contents("\(directory)/\($0)")) })
    }

    @Test func theSameSeedGivesTheSameOctets() throws {
        try place.capture("a.pcap", feed(500, burst: 7))
        try place.capture("c.pcap", (0..<50).map { (UInt64($0) * 5_000_000, frame(9_000 + $0, from: host(7), to: host(1))) })
        let first = try place.replay(Self.lossy, seed: 42, outputs: "one")
        let again = try place.replay(Self.lossy, seed: 42, outputs: "two")
        let other = try place.replay(Self.lossy, seed: 43, outputs: "three")
        #expect(try files("one") == files("two"))
        #expect(try files("one").keys.sorted() == ["a.lan0.pcap", "a.lan1.pcap", "b.lan0.pcap", "c.lan0.pcap"])
        #expect(first.result.events.map(\.event) == again.result.events.map(\.event))
        #expect(first.result.events.map(\.at) == again.result.events.map(\.at))
        #expect(first.result.links.map(\.tally) == again.result.links.map(\.tally))
        for (one, two) in zip(first.result.sites, again.result.sites) {
            #expect(one.snapshot.counters == two.snapshot.counters && one.snapshot.macs == two.snapshot.macs)
            #expect(one.snapshot.publicKey == two.snapshot.publicKey)
        }
        #expect(first.result.sites[0].snapshot.publicKey != other.result.sites[0].snapshot.publicKey)
        #expect(try files("one")["b.lan0.pcap"] != files("three")["b.lan0.pcap"])
        #expect(try files("one")["c.lan0.pcap"] == files("three")["c.lan0.pcap"])
    }

    @Test func anotherSeedOrCipherGivesTheSameFramesOnALosslessWire() throws {
        try place.capture("a.pcap", feed(500, burst: 7))
        let scenario = "sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.delay = 2ms\n"
        _ = try place.replay(scenario, seed: 1, outputs: "first")
        let expected = try files("first")
        for seed in 2...5 as ClosedRange<UInt64> {
            _ = try place.replay(scenario, seed: seed, outputs: "seed\(seed)")
            #expect(try files("seed\(seed)") == expected)
        }
        for cipher in ["aes-256-gcm", "chacha20-poly1305"] {
            let settings = ["a", "b", "c"].map { "site.\($0).set.cipher = \(cipher)\n" }.joined()
            _ = try place.replay(scenario + settings, seed: 1, outputs: cipher)
            #expect(try files(cipher) == expected)
        }
    }

    // MARK: - What cannot be replayed

    @Test func damageEndsOneCaptureOnly() throws {
        try place.capture("a.pcap", feed(10))
        try place.capture("b.pcap", feed(10, first: 100))
        let path = "\(place.path)/a.pcap"
        try Data(try place.contents("a.pcap").dropLast(1)).write(to: URL(filePath: path))
        let outcome = try place.replay("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.b.port.lan0.capture = b.pcap")
        #expect(outcome.lan("b").count == 9 && outcome.lan("a").count == 10)
        #expect(outcome.result.errors.map(\.kind) == [.damaged])
        #expect(outcome.result.errors.first?.description.hasPrefix("\(path): frame 10: the file is damaged from here on") == true)
    }

    /// A capture that is not there is noticed before an earlier replay's outputs are touched.
    @Test func aMissingCaptureLeavesOutputsAlone() throws {
        try place.capture("a.pcap", feed(3))
        let scenario = "sites = a, b\nsite.a.port.lan0.capture = a.pcap\n"
        _ = try place.replay(scenario)
        let before = try files("out")
        let error = #expect(throws: CaptureError.self) {
            try place.replay(scenario + "site.b.port.lan0.capture = nowhere.pcap")
        }
        #expect(error?.kind == .unreadable && error?.subject == "\(place.path)/nowhere.pcap")
        #expect(try files("out") == before)
    }

    @Test func anOutputThatCannotBeWritten() throws {
        let parsed = ReplayScenario.parse(Array("sites = a, b".utf8), file: "s")
        let plan = try #require(parsed.scenario)
        let error = #expect(throws: CaptureError.self) {
            _ = try Replay(plan, seed: 1, outputDirectory: "\(place.path)/missing").run()
        }
        #expect(error?.kind == .unwritable && error?.subject == "\(place.path)/missing/a.lan0.pcap")
    }
}
