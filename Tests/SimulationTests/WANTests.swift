// What the WAN does to a mesh, as its counters and events tell it: losses show as gaps, and gateways with different
// keepalives agree on when a peer is down.

import Basics
import Captures
import Gateway
import Testing

@testable import Simulation

@Suite struct WANTests {
    private let place = Workplace()

    /// Every datagram that the wire lost, handshakes apart, is one that the receiver misses.
    @Test func lossesAreCountedInDatagrams() throws {
        try place.capture("a.pcap", feed(2_000, spacing: millisecond, lengths: [118]))
        let outcome = try place.replay("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.loss = 10%")
        let lost = outcome.link("a", "b").lost
        let missed = outcome.drops("b")[.lostOnWAN] ?? 0
        #expect(lost > 150 && missed <= lost && missed + 5 >= lost)
        #expect(outcome.snapshot("b")[PeerIndex(0), .datagramsLost] == missed)
        #expect(outcome.drops("a")[.lostOnWAN] ?? 0 <= outcome.link("b", "a").lost)
        #expect(UInt64(outcome.lan("b").count) <= 2_000 - missed + outcome.snapshot("b")[PeerIndex(0), .datagramsIn])
    }

    @Test func nothingIsMissedWhereNothingIsLost() throws {
        try place.capture("a.pcap", feed(500, spacing: millisecond, lengths: [118, 1_514]))
        let outcome = try place.replay(
            "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.delay = 30ms\nsite.a.set.rekey.time = 1s")
        #expect(outcome.lan("b").count == 500)
        #expect(outcome.drops("a") == [:] && outcome.drops("b") == [:])
    }

    /// The side that is heard more often does not take the other for dead.
    @Test(arguments: ["50ms", "60s"])
    func keepalivesMayDiffer(keepalive: String) throws {
        try place.capture("a.pcap", feed(50, spacing: 100 * millisecond, lengths: [118]))
        let outcome = try place.replay(
            "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nsite.a.set.keepalive = \(keepalive)\nlinger = 100s")
        let downs = outcome.result.events.filter { if case .peerDown = $0.event { true } else { false } }
        #expect(downs.isEmpty)
        #expect(outcome.lan("b").count == 50)
        #expect(outcome.snapshot("a").peers[0].state == .up && outcome.snapshot("b").peers[0].state == .up)
    }

    /// A linger of weeks is not lived through.
    @Test func aLongLingerEnds() throws {
        try place.capture("a.pcap", feed(3, spacing: second, lengths: [118]))
        let outcome = try place.replay("sites = a, b\nsite.a.port.lan0.capture = a.pcap\nlinger = 1000000s")
        #expect(outcome.lan("b").count == 3)
        #expect(outcome.result.duration == .seconds(1_000_002))
        #expect(outcome.snapshot("b").macs == [], "every address has aged by then")
    }
}
