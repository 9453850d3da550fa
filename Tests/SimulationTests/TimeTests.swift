// The virtual clock: alignment and offsets, timestamps that step back, silences of years, the time before the first frame
// and after the last one.

import Basics
import Captures
import Gateway
import Testing

@testable import Simulation

@Suite struct TimeTests {
    private let place = Workplace()
    private let start: UInt64 = 1_700_000_000 * second

    /// Frames numbered in order, from host 1 to a group, at these nanoseconds after `start`.
    @discardableResult
    private func capture(_ name: String, at times: [UInt64], first: Int = 0, from source: UInt8 = 1) throws -> String {
        try place.capture(
            name, times.enumerated().map { (start + $1, frame(first + $0, from: host(source))) })
    }

    // MARK: - Alignment

    @Test func everyCaptureStartsAtZero() throws {
        try capture("a.pcap", at: [5 * second, 6 * second])
        try capture("b.pcap", at: [0, 1], first: 10, from: 2)
        let outcome = try place.replay(
            "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.b.port.lan0.capture = b.pcap")
        #expect(outcome.lan("b").map(\.time) == [0, second])
        #expect(outcome.lan("a").map(\.time) == [0, 1])
        outcome.expectEqual(to: outcome.reference())
    }

    @Test func absoluteKeepsTheDistanceBetweenCaptures() throws {
        try capture("a.pcap", at: [5 * second, 6 * second])
        try capture("b.pcap", at: [1, 2], first: 10, from: 2)
        let outcome = try place.replay(
            """
            sites = a, b
            align = absolute
            site.a.port.lan0.capture = a.pcap
            site.b.port.lan0.capture = b.pcap
            site.b.port.lan0.offset = 3ms
            """)
        #expect(outcome.lan("b").map(\.time) == [5 * second - 1, 6 * second - 1])
        #expect(outcome.lan("a").map(\.time) == [3 * millisecond, 3 * millisecond + 1])
        #expect(outcome.result.duration == .nanoseconds(Int64(6 * second - 1)) + .seconds(5))
    }

    @Test func anOffsetShiftsOneCapture() throws {
        try capture("a.pcap", at: [0, 1])
        let outcome = try place.replay("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.port.lan0.offset = 2500us")
        #expect(outcome.lan("b").map(\.time) == [2_500_000, 2_500_001])
    }

    /// A timestamp that steps back counts as the one before it, and the file's order stays.
    @Test func timestampsThatStepBack() throws {
        try capture("a.pcap", at: [10, 30, 20, 5, 40, 0])
        for align in ["start", "absolute"] {
            let outcome = try place.replay("sites = a, b\nalign = \(align)\nsite.a.port.lan0.capture = a.pcap")
            #expect(outcome.lan("b").map(\.time) == [0, 20, 20, 20, 30, 30])
            #expect(outcome.lan("b").map(\.bytes) == (0..<6).map { frame($0) })
        }
    }

    // MARK: - Silences

    @Test func silencesOfYearsAreSkipped() throws {
        let year = 365 * 86_400 * second
        let times = [0, 1, 3 * year, 3 * year + 1, 40 * year, 40 * year + 2 * 3_600 * second, 41 * year]
        try capture("a.pcap", at: times)
        let clock = ContinuousClock()
        var outcome: Outcome?
        let took = try clock.measure {
            outcome = try place.replay(
                "sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.delay = 20ms\nsettle = 2s")
        }
        let replay = try #require(outcome)
        replay.expectEqual(to: replay.reference())
        #expect(replay.lan("c").map(\.time) == times)
        #expect(replay.lan("b").map(\.time) == times.map { $0 + 20 * millisecond })
        #expect(took < .seconds(2) * patience)
        #expect(replay.snapshot("b").peers.allSatisfy { $0.state == .up })
        #expect(replay.result.duration == .nanoseconds(Int64(41 * year)) + .seconds(5))
    }

    /// Silences at both ends of what is skipped and what is lived through, with traffic the other way before and after.
    @Test(arguments: [59, 61, 299, 3_599, 3_600, 3_601, 4_000, 90_000] as [UInt64])
    func silencesOfEveryLength(seconds: UInt64) throws {
        try capture("a.pcap", at: [0, seconds * second, seconds * second + 1, 2 * seconds * second])
        try place.capture(
            "b.pcap",
            [
                (0, frame(100, from: host(2), to: host(1))),
                (seconds * second + millisecond, frame(101, from: host(2), to: host(1))),
            ])
        let outcome = try place.replay(
            """
            sites = a, b, c
            site.a.port.lan0.capture = a.pcap
            site.b.port.lan0.capture = b.pcap
            site.b.port.lan0.offset = 1us
            site.a.set.keepalive = 10s
            site.b.set.keepalive = 10s
            site.c.set.keepalive = 10s
            """)
        outcome.expectEqual(to: outcome.reference())
    }

    @Test func anOffsetOfDaysIsASilenceToo() throws {
        try capture("a.pcap", at: [0, 1])
        let outcome = try place.replay("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.port.lan0.offset = 1000000s")
        #expect(outcome.lan("b").map(\.time) == [1_000_000 * second, 1_000_000 * second + 1])
        #expect(outcome.drops("a") == [:] && outcome.drops("b") == [:])
    }

    /// Half an hour of a frame a second is lived through: nothing is lost to timers, keys or ages.
    @Test func halfAnHourOfFrames() throws {
        try capture("a.pcap", at: (0..<1_800).map { $0 * second })
        let outcome = try place.replay(
            "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.keepalive = 60s\nsite.b.set.keepalive = 60s")
        outcome.expectEqual(to: outcome.reference())
        #expect(outcome.snapshot("a").peers[0].handshakes > 10)
    }

    // MARK: - Before and after

    /// With no time to settle and a link that delays, hosts talk before tunnels stand: copies are lost, and counted.
    @Test func framesBeforeTunnelsAreUp() throws {
        try capture("a.pcap", at: [0, 1, 39 * millisecond, second, 2 * second])
        let outcome = try place.replay(
            "sites = a, b, c\nsettle = 0s\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.delay = 20ms\nlink.a-c.delay = 300ms")
        #expect(outcome.lan("b").map(\.bytes) == [3, 4].map { frame($0) })
        #expect(outcome.lan("c").map(\.bytes) == [3, 4].map { frame($0) })
        #expect(outcome.drops("a") == [.peerDown: 6])
        #expect(outcome.snapshot("a")[PortIndex(0), .framesIn] == 5)
    }

    /// Without delay a handshake takes no time, so that nothing is lost even then.
    @Test func noSettlingIsNeededWithoutDelay() throws {
        try capture("a.pcap", at: [0, 1, 2])
        let outcome = try place.replay("sites = a, b\nsettle = 0s\nsite.a.port.lan0.capture = a.pcap")
        #expect(outcome.lan("b").map(\.time) == [0, 1, 2] && outcome.drops("a") == [:])
    }

    @Test func lingerIsHowLongItGoesOn() throws {
        try capture("a.pcap", at: [0, second])
        for (linger, arrives) in [("0s", false), ("499ms", false), ("500ms", true), ("2s", true)] {
            let outcome = try place.replay(
                "sites = a, b\nlinger = \(linger)\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.delay = 500ms")
            #expect(outcome.lan("b").map(\.time) == (arrives ? [500, 1_500] : [500]).map { $0 * millisecond }, "\(linger)")
            // What has not arrived is counted as under way.
            if !arrives { #expect(outcome.link("a", "b").underWay > 0) }
        }
        let outcome = try place.replay(
            "sites = a, b\nlinger = 3h\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.keepalive = 60s\nsite.b.set.keepalive = 60s"
        )
        #expect(outcome.result.duration == .seconds(10_801))
    }

    @Test func aReplayWithoutAnyFrame() throws {
        try place.capture("empty.pcap", [])
        for capture in ["", "site.a.port.lan0.capture = empty.pcap"] {
            let outcome = try place.replay("sites = a, b, c\n" + capture)
            #expect(outcome.frames.flatMap { $0 }.allSatisfy(\.isEmpty) && outcome.frames.count == 3)
            #expect(outcome.result.sites.allSatisfy { $0.snapshot.peers.allSatisfy { $0.state == .up } })
            #expect(outcome.result.duration == .seconds(5) && outcome.result.errors.isEmpty)
        }
    }
}

/// Machines that run these tests may be busy: limits on time are generous by this factor.
let patience = 3
