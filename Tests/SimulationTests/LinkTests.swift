// The WAN of a replay: what the virtual wire does with datagrams, and what becomes of frames on links that delay, lose, or
// carry less than the gateways think.

import Basics
import Captures
import Gateway
import Testing

@testable import Simulation

@Suite struct VirtualWireTests {
    private func at(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: nanoseconds) }

    private func arrivals(_ wire: inout VirtualWire, by now: Instant = .distantFuture - .seconds(1)) -> [[UInt8]] {
        var arrived: [[UInt8]] = []
        while let next = wire.nextArrived(by: now) { arrived.append(next.bytes) }
        return arrived
    }

    @Test func aPerfectWireDeliversAtOnceInOrder() {
        var wire = VirtualWire(sites: 3, seed: 1)
        #expect(wire.nextArrival == .distantFuture)
        for octet in 0..<5 as Range<UInt8> { wire.carry([octet], from: Int(octet) % 3, to: (Int(octet) + 1) % 3, at: at(7)) }
        #expect(wire.nextArrival == at(7) && wire.nextArrived(by: at(6)) == nil)
        #expect(arrivals(&wire, by: at(7)) == [[0], [1], [2], [3], [4]])
    }

    @Test func delayIsPerLinkAndTheSameBothWays() {
        var wire = VirtualWire(sites: 3, seed: 1)
        wire.setLink(0, 2, LinkCharacter(delay: .milliseconds(5)))
        wire.carry([1], from: 0, to: 2, at: at(0))
        wire.carry([2], from: 2, to: 0, at: at(0))
        wire.carry([3], from: 0, to: 1, at: at(0))
        #expect(wire.nextArrival == at(0))
        #expect(arrivals(&wire, by: at(4_999_999)) == [[3]])
        #expect(wire.tally(from: 0, to: 2).underWay == 1 && wire.tally(from: 0, to: 1).underWay == 0)
        #expect(arrivals(&wire) == [[1], [2]])
    }

    @Test func theMTUCountsHeaders() {
        var wire = VirtualWire(sites: 2, seed: 1)
        wire.setLink(0, 1, LinkCharacter(mtu: 100))
        wire.carry([UInt8](repeating: 1, count: 72), from: 0, to: 1, at: at(0))
        wire.carry([UInt8](repeating: 2, count: 73), from: 0, to: 1, at: at(0))
        #expect(arrivals(&wire).map(\.count) == [72])
        #expect(wire.tally(from: 0, to: 1) == LinkTally(datagrams: 2, bytes: 145, lost: 0, tooLong: 1))
        #expect(wire.tally(from: 1, to: 0) == LinkTally())
    }

    @Test func someComeTwiceSomeAreSpoiltAndSomeOvertakeOthers() {
        func arrivals(_ change: (inout LinkCharacter) -> Void) -> [UInt8] {
            var wire = VirtualWire(sites: 2, seed: 1)
            wire.change(from: 0, to: 1, change)
            for octet in 0..<100 as Range<UInt8> { wire.carry([octet], from: 0, to: 1, at: at(UInt64(octet))) }
            return self.arrivals(&wire).map { $0[0] }
        }
        #expect(arrivals { _ in } == Array(0..<100))
        let twice = arrivals { $0.duplicateMillionths = 1_000_000 }
        #expect(twice == (0..<100).flatMap { [$0, $0] })
        let spoilt = arrivals { $0.corruptMillionths = 1_000_000 }
        #expect(zip(spoilt, 0..<100 as Range<UInt8>).allSatisfy { ($0 ^ $1).nonzeroBitCount == 1 })
        let mixed = arrivals { $0.jitter = .nanoseconds(50) }
        #expect(mixed != Array(0..<100) && mixed.sorted() == Array(0..<100))
        #expect(arrivals { $0.isCut = true } == [])
    }

    @Test func lossIsAsOftenAsItSaysAndComesFromTheSeed() {
        func lost(_ seed: UInt64, _ millionths: UInt32) -> [UInt8] {
            var wire = VirtualWire(sites: 2, seed: seed)
            wire.setLink(0, 1, LinkCharacter(lossMillionths: millionths))
            for octet in 0..<20_000 { wire.carry([UInt8(octet & 255)], from: 0, to: 1, at: at(UInt64(octet))) }
            let arrived = arrivals(&wire).map { $0[0] }
            #expect(wire.tally(from: 0, to: 1).lost == UInt64(20_000 - arrived.count))
            return arrived
        }
        #expect((900...1_100).contains(20_000 - lost(1, 50_000).count))
        #expect(lost(2, 50_000) == lost(2, 50_000) && lost(2, 50_000) != lost(3, 50_000))
        #expect(lost(1, 0).count == 20_000 && lost(1, 1_000_000).isEmpty)
    }
}

@Suite struct LinkTests {
    private let place = Workplace()

    /// True when `part` is what is left of `whole` after removals.
    private func isSubsequence(_ part: [[UInt8]], of whole: [[UInt8]]) -> Bool {
        var rest = whole[...]
        for each in part {
            guard let index = rest.firstIndex(of: each) else { return false }
            rest = rest[(index + 1)...]
        }
        return true
    }

    /// Frames of all sizes over links that lose a tenth: each arrives once and whole or not at all, in order, and what did
    /// not arrive is within what the wire lost.
    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func lossLosesFramesAndNothingElse(seed: UInt64) throws {
        let sent = feed(2_000, spacing: millisecond, burst: 4)
        try place.capture("a.pcap", sent)
        let outcome = try place.replay(
            """
            sites = a, b, c
            site.a.port.lan0.capture = a.pcap
            link.a-b.loss = 10%
            link.a-b.delay = 20ms
            link.a-c.loss = 1%
            """, seed: seed)
        let snapshot = outcome.snapshot("a")
        for (number, site) in ["b", "c"].enumerated() {
            let seen = outcome.lan(site).map(\.bytes)
            #expect(isSubsequence(seen, of: sent.map(\.bytes)) && Set(seen).count == seen.count)
            let tally = outcome.link("a", site)
            #expect(tally.lost > 0 && tally.tooLong == 0)
            #expect(tally.lost * 10 < tally.datagrams * 2, "\(tally)")
            let there = outcome.snapshot(site)
            let copies = snapshot[PeerIndex(number), .framesOut]
            let missing = copies - there[PeerIndex(0), .framesIn]
            #expect(copies <= 2_000)
            #expect(UInt64(seen.count) == there[PeerIndex(0), .framesIn])
            // A datagram of at most 1472 octets ends at most so many frames, and begins one more that runs on.
            #expect(missing > 0 && missing <= tally.lost * 26)
            #expect(there[.fragmentLost] <= missing)
            let carried = tally.datagrams - tally.lost
            #expect(there[PeerIndex(0), .datagramsIn] <= carried)
            #expect(carried - there[PeerIndex(0), .datagramsIn] <= 2 * there.peers[0].handshakes + 20 + there[.unknownStream])
            #expect(there[.authenticationFailed] == 0 && there[.replayed] == 0 && there[.malformedPacking] == 0)
        }
        #expect(outcome.lan("b").count < outcome.lan("c").count)
    }

    /// The gateways are told that the path may carry 1500 octets, and it does not: they find out before there are frames, so that
    /// only probes are too long, and those do not count as lost.
    @Test func aPathNarrowerThanItIsSaidToBe() throws {
        try place.capture("a.pcap", feed(100, lengths: [60, 1_400, 200]))
        let outcome = try place.replay("sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.mtu = 1280")
        let whole = outcome.lan("c").map(\.bytes)
        #expect(whole.count == 100 && outcome.lan("b").map(\.bytes) == whole)
        #expect(outcome.link("a", "b").tooLong > 0 && outcome.link("a", "b").lost == 0)
        let path = outcome.snapshot("a").peers[0].path
        #expect(path.search == .complete && path.size <= 1_280 && path.size > 1_272)
        #expect(outcome.link("a", "c").tooLong == 0)
        #expect(outcome.drops("b").isEmpty)
    }

    @Test func aPathThatIsKnownToBeNarrowLosesNothing() throws {
        try place.capture("a.pcap", feed(100))
        let outcome = try place.replay(
            "sites = a, b\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.mtu = 1280\n"
                + "site.a.set.path.mtu = 1280\nsite.b.set.path.mtu = 1280")
        outcome.expectEqual(to: outcome.reference())
        #expect(outcome.link("a", "b").tooLong == 0)
    }

    /// A link that loses everything: the copies are counted, the other site is not disturbed, and the log says so.
    @Test func aDeadLink() throws {
        try place.capture("a.pcap", feed(20, spacing: 500 * millisecond))
        let outcome = try place.replay("sites = a, b, c\nsite.a.port.lan0.capture = a.pcap\nlink.a-b.loss = 100%")
        #expect(outcome.lan("b").isEmpty && outcome.lan("c").count == 20)
        #expect(outcome.drops("a") == [.peerDown: 20])
        #expect(outcome.snapshot("a").peers.map(\.state) == [.connecting, .up])
        #expect(
            outcome.result.events.contains {
                $0.site == "a" && $0.event.message.contains("peer b at 10.0.0.2:7117 has not answered")
            })
        #expect(outcome.link("a", "b").datagrams == outcome.link("a", "b").lost)
    }
}
