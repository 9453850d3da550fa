// Every capture of the project's collection from site a to b and c, against the reference rules: market data above all,
// then everything else a LAN carries, malformed frames and odd file formats.

import Basics
import Captures
import Foundation
import Settings
import Testing

@testable import Simulation

@Suite("Shared captures", .disabled(if: Collection.isMissing, Collection.reason))
struct SharedCapturesTests {
    static let marketData = Collection.files { $0 == "a-marketdata" }
    static let otherEthernet = Collection.files { $0.hasPrefix("b-") }
    static let malformed = Collection.files { $0 == "c-malformed" }
    static let formats = Collection.files { $0 == "c-fileformat" }

    /// The links that a capture is sent over.
    enum Underlay: String, CaseIterable {
        case plain = ""
        case delayed = "link.a-b.delay = 20ms\nlink.c-a.delay = 7us\n"
        case narrow = """
            site.a.set.path.mtu = 576
            site.b.set.path.mtu = 576
            site.c.set.path.mtu = 576
            link.a-b.mtu = 576
            link.a-c.mtu = 576

            """
        case wide = "site.a.set.path.mtu = 9000\nlink.a-b.mtu = 9000\nlink.a-c.mtu = 9000\n"
    }

    /// What costs time and changes nothing here: large empty tables, and signs of life every second or more often.
    private static let light = ["a", "b", "c"].map {
        "site.\($0).set.mac.limit = 2048\nsite.\($0).set.keepalive = 30s\n"
            + "site.\($0).set.liveness.suspect = 20s\nsite.\($0).set.liveness.down = 60s\n"
    }.joined()

    private func replay(_ file: String, _ underlay: Underlay, seed: UInt64 = 1) throws -> Outcome {
        let directory = try #require(Collection.directory)
        let place = Workplace()
        return try place.replay(
            "sites = a, b, c\nsite.a.port.lan0.capture = \(directory)/\(file)\n" + underlay.rawValue + Self.light, seed: seed)
    }

    /// What holds for every capture: the reference's frames everywhere, nothing back at a, no octet lost on the way.
    private func expectReference(_ outcome: Outcome) {
        let mesh = outcome.reference()
        outcome.expectEqual(to: mesh)
        #expect(outcome.lan("a").isEmpty)
        for link in outcome.result.links { #expect(link.tally.lost == 0 && link.tally.tooLong == 0) }
    }

    // MARK: - Market data

    @Test func theManifestHasMarketData() {
        #expect(Self.marketData.count >= 15 && Self.otherEthernet.count >= 70)
        #expect(Self.malformed.count >= 38 && Self.formats.count >= 20)
    }

    /// All of it is multicast or unknown unicast but for what has been learned, so this needs no model: every frame that is
    /// neither link-constrained nor for a host that has been heard on the same LAN is at b and at c.
    @Test(arguments: marketData)
    func marketDataArrivesAtBothSites(file: String) throws {
        let outcome = try replay(file, .plain)
        expectReference(outcome)
        let sent = readAll(try #require(outcome.plan.sites[0].ports[0].capture)).frames
        var heard: Set<[UInt8]> = []
        var expected: [[UInt8]] = []
        for frame in sent {
            heard.insert(Array(frame.bytes[6..<12]))
            if !heard.contains(Array(frame.bytes[0..<6])) { expected.append(frame.bytes) }
        }
        #expect(outcome.lan("b").map(\.bytes) == expected && outcome.lan("c").map(\.bytes) == expected)
        #expect(outcome.lan("a").isEmpty && !expected.isEmpty)
        #expect(outcome.lan("b").first?.time == 0)
    }

    @Test(arguments: marketData, [Underlay.delayed, .narrow, .wide])
    func marketDataOverEveryUnderlay(file: String, underlay: Underlay) throws {
        let frames = readAll(try #require(Collection.directory) + "/" + file).frames
        let times = frames.map(\.timestamp)
        let isLong = frames.count > 1_000 || (times.max() ?? 0) - (times.min() ?? 0) > 3_600 * second
        // Three seeds; for captures of thousands of frames or of many hours, one for each underlay.
        let own: UInt64 = underlay == .delayed ? 1 : underlay == .narrow ? 2 : 3
        for seed in isLong ? own...own : 1...3 { expectReference(try replay(file, underlay, seed: seed)) }
    }

    /// With the default classes the same frames arrive, each once, and those of one flow in order.
    @Test(arguments: marketData)
    func marketDataInClassesKeepsTheOrderOfFlows(file: String) throws {
        let directory = try #require(Collection.directory)
        let scenario = "sites = a, b, c\nsite.a.port.lan0.capture = \(directory)/\(file)\n" + Self.light
        let classed = try Workplace().replay(scenario, classes: true)
        let plain = try replay(file, .plain)
        // By the octets that name a flow: addresses, type, and the first of the payload with DSCP, addresses and ports.
        func flow(_ frame: Seen) -> [UInt8] { Array(frame.bytes.prefix(16)) + Array(frame.bytes.dropFirst(26).prefix(16)) }
        for site in ["b", "c"] {
            let (seen, expected) = (classed.lan(site), plain.lan(site))
            #expect(Dictionary(grouping: seen, by: flow) == Dictionary(grouping: expected, by: flow))
        }
    }

    // MARK: - Everything else

    @Test(arguments: otherEthernet)
    func otherFramesFollowTheRules(file: String) throws {
        for underlay in [Underlay.plain, .delayed, .narrow] {
            let outcome = try replay(file, underlay)
            expectReference(outcome)
            #expect(outcome.result.errors.isEmpty)
        }
    }

    @Test(arguments: malformed)
    func malformedFramesPassUnchanged(file: String) throws {
        for underlay in [Underlay.plain, .narrow] {
            let outcome = try replay(file, underlay)
            expectReference(outcome)
            #expect(outcome.result.errors.isEmpty)
        }
    }

    /// Files in every shape: what libpcap reads is replayed, up to damage; the rest is refused in a sentence.
    @Test(arguments: formats)
    func oddFilesAreReplayedOrRefused(file: String) throws {
        let path = try #require(Collection.directory) + "/" + file
        let (frames, error) = readAll(path)
        if let error, error.frame == nil {
            #expect(error.kind == .notACapture || error.kind == .linkType)
            let refusal = #expect(throws: CaptureError.self) { try replay(file, .plain) }
            #expect(refusal?.description.hasPrefix("\(path): ") == true)
            return
        }
        let outcome = try replay(file, .delayed)
        expectReference(outcome)
        #expect(outcome.snapshot("a")[PortIndex(0), .framesIn] == UInt64(frames.count))
        if let error {
            #expect(outcome.result.errors.count == 1)
            #expect(outcome.result.errors == [error])
            #expect(error.description.hasPrefix("\(path): frame \(frames.count + 1): "))
        } else {
            #expect(outcome.result.errors.isEmpty)
        }
    }

    @Test func whatTheseFilesComeTo() {
        let refused = Self.formats.filter { file in
            guard let directory = Collection.directory, let error = readAll("\(directory)/\(file)").error else { return false }
            return error.frame == nil
        }
        #expect(
            refused.sorted() == [
                "fmt_linktype_113_sll_tcpdump.pcap", "fmt_not_pcap_netmon_packetlife.cap",
                "fmt_pcap_invalid_version1_libpcap.pcap",
                "fmt_pcapng_invalid_vers1_libpcap.pcapng", "fmt_pcapng_le_test002.pcapng",
            ])
    }

    /// Frames of which the capture holds a part are counted, and the part is what arrives.
    @Test func cutFramesAreCounted() throws {
        let outcome = try replay("fmt_pcapng_le_test004.pcapng", .plain)
        #expect(outcome.result.sites[0].ports[0].cutFrames == 4)
        #expect(outcome.lan("b").allSatisfy { $0.bytes.count < 314 })
    }
}
