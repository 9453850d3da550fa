// Group streams at the lanes: what a lane does with routed datagrams, several lanes, and what is only forwarded. Control is
// played by the tests, which put commands into the lanes' queues.

import Basics
import Buffers
import Testing

@testable import Gateway
@testable import Tunnels

/// The lanes of one site, with peers at 10.0.0.(9 + peer).
private final class Site {
    static let key = Key256((0..<32).map { UInt8($0 + 7) })
    let mailboxes: [LaneMailbox]
    var lanes: FixedArray<LaneCore>
    let peers: Int
    private(set) var now = Instant.zero

    init(lanes count: Int = 1, peers: Int, seed: UInt64 = 1) {
        var random = SeededRandom(seed: seed)
        let mailboxes = LaneMailbox.make(lanes: count, ports: 1, peers: peers, secret: HashSecret(using: &random))
        self.mailboxes = mailboxes
        self.peers = peers
        lanes = FixedArray(count: count) { lane in
            var configuration = LaneConfiguration(
                ports: 1, peers: peers, lane: UInt16(lane), macLimit: 256, keepalive: .seconds(60))
            configuration.isSnooping = false
            return LaneCore(configuration, mailbox: mailboxes[lane], secret: HashSecret(using: &random))
        }
        for peer in 0..<peers {
            let stream = StreamIdentifier.make(slot: peer * StreamIdentifier.slotsPerPeer, random: 0x5555_5000)
            command(
                .install(
                    SessionInstallation(
                        peer: PeerIndex(peer), localStream: stream, remoteStream: UInt32(peer + 1), sendKey: Site.key,
                        receiveKey: Site.key, cipher: .chacha20poly1305, remoteLanes: 8, isConfirmed: true,
                        endpoint: Site.endpoint(peer), generation: 1, renewAfter: 1 << 40)))
            command(.setPath(PeerIndex(peer), size: 1_500))
        }
        _ = take()
    }

    static func endpoint(_ peer: Int) -> Endpoint { Endpoint(ipv4: 0x0A00_0009 + UInt32(peer), port: 1) }

    func command(_ command: LaneCommand) { for mailbox in mailboxes { #expect(mailbox.commands.push(command)) } }

    func group(_ members: [Int], number: Int = 0, stream: UInt32 = 77, renewAfter: UInt64 = 1 << 40) {
        let set = PeerSet(members.map { PeerIndex($0) })
        command(
            .installGroup(
                GroupInstallation(
                    group: number, audience: set, firstHops: set, stream: stream, key: Site.key, cipher: .chacha20poly1305,
                    renewAfter: renewAfter)))
    }

    func route(
        stream: UInt32 = 77, origin: Int = 0, upstream: Int = 0, next: [Int] = [], place: Int? = 0, lanes: UInt8 = 8
    ) {
        command(
            .installRoute(
                RouteInstallation(
                    stream: stream, origin: PeerIndex(origin), upstream: PeerIndex(upstream),
                    nextHops: PeerSet(next.map { PeerIndex($0) }),
                    local: place.map { RouteInstallation.Local(place: $0, key: Site.key, cipher: .chacha20poly1305) },
                    lanes: lanes)))
    }

    func broadcast(_ number: UInt32, lane: Int = 0, count: Int = 60) {
        var bytes = testFrame(to: .broadcast, from: host(0), number: number, count: count)
        bytes.withMutableRawSpan { lanes[lane].handleFrame(&$0, offload: .none, on: PortIndex(0), at: now) }
    }

    func handle(_ bytes: [UInt8], lane: Int = 0, from peer: Int = 0, octet: UInt8 = 0) {
        var bytes = bytes
        bytes.withMutableRawSpan { lanes[lane].handleDatagram(&$0, from: Site.endpoint(peer), octet: octet, at: now) }
    }

    struct Sent: Equatable {
        var peer: Int
        var bytes: [UInt8]
        var octet: UInt8
        var isRouted: Bool { bytes[1] & 0x80 != 0 }
        var hops: UInt8 { bytes[1] & 0x0F }
    }

    struct Outcome {
        var sent: [Sent] = []
        var runs: [Transmit] = []
        var frames: [UInt32] = []
        var routed: [Sent] { sent.filter(\.isRouted) }
    }

    /// Ends the batch of every lane; twice, so that what was handed to another lane is there.
    func take() -> Outcome {
        var outcome = Outcome()
        for _ in 0..<2 {
            for lane in 0..<lanes.count {
                lanes[lane].handleCommands(at: now)
                flush(lane, &outcome)
            }
        }
        return outcome
    }

    private func flush(_ lane: Int, _ outcome: inout Outcome) {
        lanes[lane].finishBatch(at: now)
        for index in 0..<lanes[lane].transmits {
            let run = lanes[lane].transmit(at: index)
            outcome.runs.append(run)
            #expect(run.endpoint == Site.endpoint(run.peer.index))
            for start in stride(from: 0, to: run.byteCount, by: run.segmentSize) {
                let range = start..<min(start + run.segmentSize, run.byteCount)
                outcome.sent.append(
                    Sent(peer: run.peer.index, bytes: lanes[lane].octets(ofRun: index, range), octet: run.octet))
            }
            lanes[lane].handleTransmitted(run.peer, datagrams: run.datagrams, bytes: run.byteCount, failed: 0)
        }
        for index in 0..<lanes[lane].bridge.frames.count {
            outcome.frames.append(frameNumber(lanes[lane].bridge.octets(ofFrame: index)))
        }
        lanes[lane].drained()
    }

    subscript(reason: DropReason) -> UInt64 { (0..<lanes.count).reduce(0) { $0 + lanes[$1].bridge.counters[reason] } }
    func counters(_ peer: Int, _ counter: PeerCounter) -> UInt64 { lanes[0].bridge.counters[PeerIndex(peer), counter] }
    func relayed(lane: Int = 0) -> UInt64 {
        lanes[lane].bridge.counters.values[lanes[lane].bridge.counters.layout.index(.relayed)]
    }
}

extension LaneCore {
    fileprivate func octets(ofRun run: Int, _ range: Range<Int>) -> [UInt8] {
        Array(copying: transmitBytes(at: run).extracting(range))
    }
}

extension Bridge {
    fileprivate func octets(ofFrame index: Int) -> [UInt8] { Array(copying: frames.frame(index)) }
}

@Suite struct RoutedLaneTests {
    /// Datagrams of a group stream, as a site with this lane seals them.
    private func datagrams(_ count: Int, lane: Int = 0, lanes: Int = 1, size: Int = 60) -> [[UInt8]] {
        let origin = Site(lanes: lanes, peers: 2)
        origin.group([0, 1])
        _ = origin.take()
        return (0..<count).flatMap { number in
            origin.broadcast(UInt32(number), lane: lane, count: size)
            return origin.take().routed.filter { $0.peer == 0 }.map(\.bytes)
        }
    }

    @Test func aGroupIsInUseFromTheNextBatchOn() {
        let site = Site(peers: 3)
        site.broadcast(1)
        site.group([0, 1, 2])
        site.lanes[0].handleCommands(at: site.now)
        site.broadcast(2)
        let first = site.take()
        #expect(first.routed.isEmpty && first.sent.count == 3)
        site.broadcast(3)
        #expect(site.take().routed.map(\.peer) == [0, 1, 2])
        // And so it ends: what is packed leaves as it was packed.
        site.broadcast(4)
        site.command(.removeGroup(0))
        site.lanes[0].handleCommands(at: site.now)
        site.broadcast(5)
        #expect(site.take().routed.count == 3)
        site.broadcast(6)
        let last = site.take()
        #expect(last.routed.isEmpty && last.sent.count == 3)
    }

    @Test func aPeerThatIsDownEndsItsGroupsAtOnce() {
        let site = Site(peers: 3)
        site.group([0, 1, 2])
        _ = site.take()
        site.command(.setPeer(PeerIndex(1), isUp: false))
        site.lanes[0].handleCommands(at: site.now)
        site.broadcast(1)
        let sent = site.take().sent
        #expect(sent.map(\.peer) == [0, 2] && sent.allSatisfy { !$0.isRouted })
        #expect(site[.peerDown] == 1)
        // A group of those that are left has what is flooded.
        site.group([0, 2], number: 5, stream: 78)
        _ = site.take()
        site.broadcast(2)
        #expect(site.take().routed.map(\.peer) == [0, 2])
    }

    @Test func aNewStreamFollowsTheOld() {
        let site = Site(peers: 2)
        site.group([0, 1])
        _ = site.take()
        site.broadcast(1)
        site.group([0, 1], stream: 99)
        site.lanes[0].handleCommands(at: site.now)
        let wantsDrain = site.lanes[0].wantsDrain
        #expect(wantsDrain, "behind a datagram that ended early there is no room")
        let first = site.take()
        site.broadcast(2)
        let sent = (first.routed + site.take().routed).filter { $0.peer == 1 }
        #expect(sent.map { $0.bytes[7] } == [77, 99])
        #expect(sent.map { $0.bytes[15] } == [0, 0], "each stream counts from the beginning")
    }

    @Test func everyLaneSealsWithAKeyOfItsOwn() {
        let site = Site(lanes: 3, peers: 2)
        site.group([0, 1])
        _ = site.take()
        for lane in 0..<3 { site.broadcast(9, lane: lane) }
        let sent = site.take().routed.filter { $0.peer == 0 }
        #expect(sent.map { $0.bytes[3] } == [0, 1, 2])
        #expect(Set(sent.map { $0.bytes.dropFirst(16).map { $0 } }).count == 3)
    }

    @Test func renewalIsAskedForByItsLink() {
        let site = Site(peers: 2)
        site.group([0, 1], number: 3, renewAfter: 2)
        _ = site.take()
        while site.mailboxes[0].events.pop() != nil {}
        for number in 0..<3 {
            site.broadcast(UInt32(number))
            _ = site.take()
        }
        var due: [PeerIndex] = []
        while let event = site.mailboxes[0].events.pop() { if case .renewalDue(let link) = event { due.append(link) } }
        #expect(due == [PeerIndex(2 + 3)])
    }

    @Test(arguments: [1, 2, 3]) func anyLaneGivesItToTheOneThatHasTheWindow(lanes: Int) {
        let site = Site(lanes: lanes, peers: 2)
        site.route()
        _ = site.take()
        var frames: [UInt32] = []
        for origin in 0..<3 {
            for (number, datagram) in datagrams(3, lane: origin, lanes: 3).enumerated() {
                site.handle(datagram, lane: number % lanes)
                frames += site.take().frames
                // The same again, elsewhere.
                site.handle(datagram, lane: (number + 1) % lanes)
                frames += site.take().frames
            }
        }
        #expect(frames == [0, 1, 2, 0, 1, 2, 0, 1, 2])
        #expect(site[.replayed] == 9)
    }

    @Test func aStreamIsTakenOnlyWhileItsRouteStands() {
        let site = Site(peers: 2)
        let sealed = datagrams(4)
        site.handle(sealed[0])
        #expect(site.take().frames.isEmpty && site[.unknownStream] == 1)
        site.route(lanes: 1)
        _ = site.take()
        site.handle(sealed[1])
        #expect(site.take().frames == [1])
        // An origin tag that the stream does not have.
        var tagged = sealed[2]
        tagged[3] = 1
        site.handle(tagged)
        #expect(site[.unknownStream] == 2)
        site.handle(sealed[2], from: 1)
        #expect(site.take().frames.isEmpty && site[.wrongUpstream] == 1)
        site.command(.removeRoute(stream: 77))
        _ = site.take()
        site.handle(sealed[3])
        #expect(site.take().frames.isEmpty && site[.unknownStream] == 3)
        let hosts = site.lanes[0].bridge.macs.count
        #expect(hosts == 1)
    }

    @Test func manyRoutesComeAndGo() {
        let site = Site(peers: 4)
        var random = SeededRandom(seed: 5)
        var table = RouteTable(peers: 4, secret: HashSecret(using: &random))
        var present: Set<UInt32> = []
        for _ in 0..<4_000 {
            let stream = UInt32.random(in: 1...600, using: &random)
            if Bool.random(using: &random) {
                let isNew = !present.contains(stream)
                let fits = table.insert(RouteTable.Route(stream: stream, place: Int(stream)))
                #expect(fits == (!isNew || present.count < 512))
                if fits { present.insert(stream) }
            } else {
                let (removed, wasThere) = (table.remove(stream) != nil, present.remove(stream) != nil)
                #expect(removed == wasThere)
            }
            let probe = UInt32.random(in: 0...600, using: &random)
            let number = table.find(probe)
            #expect((number >= 0) == present.contains(probe))
            if number >= 0, case let place = table.routes[number].place { #expect(place == Int(probe)) }
        }
        #expect(site.peers == 4)
    }

    @Test func onlyFramesAreTakenFromAGroup() {
        // Any member can make a record; a control segment or a probe in a group's datagram is passed over.
        let site = Site(peers: 2)
        site.route()
        _ = site.take()
        while site.mailboxes[0].segments.pop() != nil {}
        let key = SessionKey(.chacha20poly1305, Site.key.forLane(0))!
        var sender = StreamSender(key: key, stream: 77, originTag: 0, flags: SealedLayout.routed | 7)
        var packer = Packer(datagramSize: 1_400)
        for kind in [RecordKind.control, .probe] {
            let octets: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 1]
            let isPacked = octets.withRawSpan { packer.append($0, kind: kind, sender: &sender) }
            #expect(isPacked)
        }
        let frame = testFrame(to: .broadcast, from: host(3), number: 8)
        let isPacked = frame.withRawSpan { packer.append($0, sender: &sender) }
        #expect(isPacked)
        packer.finish(sender: &sender)
        let datagram = Array(copying: packer.finished())
        site.handle(datagram)
        let outcome = site.take()
        #expect(outcome.frames == [8] && outcome.sent.isEmpty, "no probe is answered")
        #expect(site.mailboxes[0].segments.pop() == nil)
    }

    // MARK: Forwarding

    @Test func aRelayForwardsWhatItCannotOpen() {
        let relay = Site(peers: 4)
        relay.route(next: [1, 3], place: nil)
        _ = relay.take()
        let sealed = datagrams(3)
        for datagram in sealed { relay.handle(datagram, octet: 0xB8) }
        let outcome = relay.take()
        #expect(outcome.frames.isEmpty && outcome.routed.count == 6)
        #expect(outcome.routed.allSatisfy { $0.hops == 6 && $0.octet == 0xB8 })
        for peer in [1, 3] {
            let copies = outcome.routed.filter { $0.peer == peer }.map(\.bytes)
            #expect(copies.map { [$0[0], $0[1] & 0xF0] + $0[2...] } == sealed.map { [$0[0], $0[1] & 0xF0] + $0[2...] })
        }
        #expect(outcome.runs.count == 2, "datagrams of one length leave in one piece")
        #expect(relay.relayed() == 6)
        // At the end they open, whatever the hop count.
        let last = Site(peers: 2)
        last.route(origin: 1, upstream: 0)
        _ = last.take()
        for datagram in outcome.routed where datagram.peer == 3 { last.handle(datagram.bytes) }
        #expect(last.take().frames == [0, 1, 2])
        let (frames, datagrams) = (last.counters(1, .framesIn), last.counters(0, .datagramsIn))
        #expect(frames == 3, "frames are the origin's")
        #expect(datagrams == 3, "datagrams are the relay's")
    }

    @Test func aMemberThatRelaysDoesBoth() {
        let relay = Site(lanes: 2, peers: 3)
        relay.route(next: [0, 2])
        _ = relay.take()
        for datagram in datagrams(4, lane: 1, lanes: 2) { relay.handle(datagram, lane: 0) }
        let outcome = relay.take()
        #expect(outcome.frames == [0, 1, 2, 3])
        #expect(outcome.routed.map(\.peer) == [2, 2, 2, 2], "never back to where it came from")
    }

    @Test func hopsAreCounted() {
        let relay = Site(peers: 2)
        relay.route(next: [1], place: nil)
        _ = relay.take()
        var datagram = datagrams(1)[0]
        datagram[1] = 0x80
        relay.handle(datagram)
        #expect(relay.take().sent.isEmpty && relay[.hopLimit] == 1)
        datagram[1] = 0x81
        relay.handle(datagram)
        #expect(relay.take().routed.map(\.hops) == [0])
    }

    @Test func aFullOutboxDropsAndCounts() {
        let relay = Site(peers: 3)
        relay.route(next: [1, 2], place: nil)
        _ = relay.take()
        let datagram = datagrams(1, size: 1_300)[0]
        var handled: UInt64 = 0
        while !relay.lanes[0].wantsDrain {
            relay.handle(datagram)
            handled += 1
        }
        #expect(handled > 500)
        for _ in 0..<200 { relay.handle(datagram) }
        let outcome = relay.take()
        #expect(relay[.relayFull] > 0)
        #expect(UInt64(outcome.routed.count) + relay[.relayFull] == 2 * (handled + 200))
        #expect(outcome.runs.count == 2)
        relay.handle(datagram)
        #expect(relay.take().routed.count == 2)
    }

    @Test func runsEndWhereLengthsOrStreamsDo() {
        let relay = Site(peers: 2)
        relay.route(next: [1], place: nil)
        relay.route(stream: 78, next: [1], place: nil)
        _ = relay.take()
        let (long, short) = (datagrams(1, size: 500)[0], datagrams(1, size: 100)[0])
        var other = long
        other[7] = 78
        let all = [long, long, short, long, other, short, long]
        for datagram in all { relay.handle(datagram) }
        let outcome = relay.take()
        #expect(outcome.routed.map(\.bytes.count) == all.map(\.count))
        #expect(outcome.routed.map { $0.bytes[7] } == all.map { $0[7] })
        #expect(outcome.runs.map(\.datagrams) == [3, 1, 1, 1, 1])
    }
}
