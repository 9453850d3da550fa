// Gateways of several lanes: sessions, hosts, flows and counts, whichever lane a frame or a datagram comes to.

import Basics
import Buffers
import Settings
import Switching
import Testing
import Tunnels
import Wire

@testable import Gateway

@Suite struct LanesTests {
    /// Numbered broadcasts in every lane of a site, from a host for each lane; `spacing` between two of one lane.
    private func sendStreams(
        _ mesh: LanesMesh, site: Int, each count: Int, spacing: Interval = .microseconds(500), size: Int = 200
    ) {
        for lane in 0..<mesh.sites[site].lanes.count {
            for number in 0..<count {
                let frame = testFrame(
                    to: .broadcast, from: host(site, 100 + lane), number: UInt32(lane * 1_000_000 + number), count: size)
                mesh.send(frame, site: site, lane: lane, after: spacing * Int64(number))
            }
        }
    }

    /// Every frame of `sendStreams` has arrived at the other site once, and those of each lane in their order.
    private func expectStreams(_ mesh: LanesMesh, from site: Int, each count: Int, _ comment: Comment? = nil) {
        let numbers = mesh.sites[1 - site].numbers()
        for lane in 0..<mesh.sites[site].lanes.count {
            let first = UInt32(lane * 1_000_000)
            let own = numbers.filter { $0 / 1_000_000 == UInt32(lane) }
            #expect(own == (first..<(first + UInt32(count))).map { $0 }, comment)
        }
        #expect(numbers.count == count * mesh.sites[site].lanes.count, comment)
    }

    // MARK: Sessions

    @Test(arguments: [[1, 1], [2, 3], [3, 2], [1, 8], [8, 1], [8, 8], [5, 2]])
    func everyLaneCarriesBothWays(lanes: [Int]) throws {
        let mesh = try LanesMesh.up(lanes)
        for site in 0...1 {
            for lane in 0..<lanes[site] {
                #expect(mesh.sites[site].seals(lane: lane), "site \(site), lane \(lane)")
            }
        }
        sendStreams(mesh, site: 0, each: 50)
        sendStreams(mesh, site: 1, each: 50)
        mesh.run(for: .seconds(1))
        for site in 0...1 { expectStreams(mesh, from: site, each: 50) }
        for site in mesh.sites {
            for reason in [DropReason.unknownStream, .replayed, .authenticationFailed, .lostOnWAN, .crossingFull, .peerDown] {
                #expect(site[reason] == 0, "\(reason)")
            }
            #expect(site.count { if case .peerUp = $0 { true } else { false } } == 1)
            #expect(site.count { $0.level >= .warning } == 0, "\(site.events)")
        }
        // Every lane seals with a stream of its own, and each lane there takes those that are its.
        let origins = Set(mesh.sent.filter { $0.isSealed && $0.from == 0 }.map(\.origin))
        #expect(origins == Set(0..<lanes[0]))
        for delivery in mesh.sites[1].delivered {
            #expect(delivery.lane == Int(frameNumber(delivery.bytes) / 1_000_000) % lanes[1])
        }
    }

    /// One session is one handshake, however many lanes see its first datagram.
    @Test func aHandshakeCountsOnce() throws {
        let mesh = try LanesMesh.up([3, 3])
        #expect(mesh.sites.map { $0.control.snapshot(of: PeerIndex(0)).handshakes }.max()! <= 2)
        let dialled = LanesMesh(
            [3, 3],
            setups: [true, false].map {
                var setup = SiteSetup()
                setup.dials = $0
                return setup
            })
        dialled.run(for: .seconds(3))
        for site in dialled.sites {
            #expect(site.isUp && site.control.snapshot(of: PeerIndex(0)).handshakes == 1)
            #expect(site.count { if case .keysRenewed = $0 { true } else { false } } == 0)
        }
    }

    /// The responder's lanes may seal once any of them has heard the initiator.
    @Test func aLaneThatHearsNothingSealsOnceAnotherHasHeard() throws {
        var waits = SiteSetup()
        waits.dials = false
        let mesh = LanesMesh([2, 2], setups: [SiteSetup(), waits])
        mesh.isLost = { $0.from == 0 && $0.isSealed && $0.origin == 1 }
        mesh.run(for: .seconds(1))
        #expect(mesh.sites[1].isUp && mesh.sites[1].seals(lane: 1))
        mesh.send(testFrame(to: .broadcast, from: host(1), number: 7), site: 1, lane: 1)
        mesh.run(for: .milliseconds(10))
        #expect(mesh.sites[0].numbers() == [7] && mesh.sites[0].delivered.map(\.lane) == [1])
        #expect(mesh.sites[1].lanes[1].bridge.counters[PeerIndex(0), .datagramsIn] == 0)
    }

    @Test(arguments: [[2, 2], [2, 3], [4, 1]])
    func renewalUnderWayLosesNothing(lanes: [Int]) throws {
        var setup = SiteSetup()
        setup.rekeyTime = .seconds(2)
        let mesh = try LanesMesh.up(lanes, setup)
        sendStreams(mesh, site: 0, each: 10_000, spacing: .milliseconds(1), size: 80)
        sendStreams(mesh, site: 1, each: 10_000, spacing: .milliseconds(1), size: 80)
        mesh.run(for: .seconds(11))
        for site in 0...1 { expectStreams(mesh, from: site, each: 10_000) }
        for site in mesh.sites {
            #expect(site.control.snapshot(of: PeerIndex(0)).handshakes >= 4)
            #expect(site[.unknownStream] == 0 && site[.lostOnWAN] == 0 && site[.keyExhausted] == 0)
        }
    }

    /// Each lane counts its own datagrams: the first to have sealed enough renews for all.
    @Test func aBusyLaneRenewsForAll() throws {
        var setup = SiteSetup()
        setup.rekeyDatagrams = 1_000
        let mesh = try LanesMesh.up([2, 2], setup)
        let before = mesh.sites[0].control.snapshot(of: PeerIndex(0)).handshakes
        for number in 0..<1_500 {
            let frame = testFrame(to: .broadcast, from: host(0), number: UInt32(number))
            mesh.send(frame, site: 0, lane: 1, after: .milliseconds(Int64(number)))
        }
        mesh.run(for: .seconds(3))
        #expect(mesh.sites[0].control.snapshot(of: PeerIndex(0)).handshakes == before + 1)
        #expect(mesh.sites[1].numbers() == (0..<1_500).map { $0 })
    }

    @Test func aPeerThatIsDownIsForgottenInEveryLane() throws {
        let mesh = try LanesMesh.up([3, 2])
        sendStreams(mesh, site: 1, each: 1)
        mesh.run(for: .milliseconds(100))
        for lane in 0..<3 { #expect(mesh.sites[0].macCount(lane: lane) == 2) }
        mesh.isLost = { _ in true }
        mesh.run(for: .seconds(6))
        #expect(!mesh.sites[0].isUp)
        for lane in 0..<3 {
            #expect(mesh.sites[0].macCount(lane: lane) == 0 && !mesh.sites[0].sends(lane: lane))
        }
        mesh.isLost = { _ in false }
        mesh.run(for: .seconds(4))
        sendStreams(mesh, site: 0, each: 5)
        mesh.run(for: .seconds(1))
        expectStreams(mesh, from: 0, each: 5)
    }

    /// What a lane has seen of a peer reaches control after the peer was found to be down: the others do not learn it.
    @Test func aSightingOfAPeerThatIsDownIsNotPassedOn() throws {
        let mesh = try LanesMesh.up([2, 2])
        mesh.isLost = { _ in true }
        mesh.run(for: .seconds(6))
        let entry = MACEntry(address: host(1), vlan: .untagged, location: Location(PeerIndex(0)), seen: mesh.now)
        #expect(mesh.sites[0].mailboxes[0].events.push(.sighted(entry)))
        mesh.settle(0)
        #expect(mesh.sites[0].place(of: host(1), lane: 1, at: mesh.now) == nil)
    }

    @Test func roamingMovesEveryLane() throws {
        let mesh = try LanesMesh.up([2, 3])
        let elsewhere = Endpoint(ipv4: 0xC633_6401, port: 4000)
        mesh.sites[1].endpoint = elsewhere
        // One datagram in one lane shows it; without others the news takes at most half a keepalive.
        mesh.isLost = { $0.from == 1 && $0.isSealed && $0.origin != 2 }
        mesh.run(for: .seconds(2))
        #expect(mesh.sites[0].control.snapshot(of: PeerIndex(0)).endpoint == elsewhere)
        for lane in 0..<2 { #expect(mesh.sites[0].target(lane: lane) == elsewhere, "lane \(lane)") }
        #expect(mesh.sites[0].count { if case .peerRoamed = $0 { true } else { false } } == 1)
        mesh.isLost = { _ in false }
        sendStreams(mesh, site: 0, each: 5)
        mesh.run(for: .seconds(1))
        expectStreams(mesh, from: 0, each: 5)
    }

    // MARK: Hosts

    /// A host learned in one lane is known in the others once control has told: no flood.
    @Test func aHostIsKnownToEveryLane() throws {
        var setup = SiteSetup()
        setup.ports = 2
        let mesh = try LanesMesh.up([3, 2], setup)
        mesh.send(testFrame(to: .broadcast, from: host(0, 1)), site: 0, lane: 2, port: 1)
        mesh.run(for: .milliseconds(10))
        for lane in 0..<3 { #expect(mesh.sites[0].place(of: host(0, 1), lane: lane, at: mesh.now) == Location(PortIndex(1))) }
        for lane in 0..<2 { #expect(mesh.sites[1].place(of: host(0, 1), lane: lane, at: mesh.now) == Location(PeerIndex(0))) }
        // From the other port, in another lane: to port 1 alone, and not to the peer.
        let before = (mesh.sites[0].delivered.count, mesh.sites[1].delivered.count)
        mesh.send(testFrame(to: host(0, 1), from: host(0, 2), number: 5), site: 0, lane: 0, port: 0)
        mesh.run(for: .milliseconds(10))
        #expect(mesh.sites[0].delivered.dropFirst(before.0).map(\.port) == [1])
        #expect(mesh.sites[1].delivered.count == before.1)
        // And from the peer, in its other lane: to port 1 alone.
        mesh.send(testFrame(to: host(0, 1), from: host(1, 1), number: 6), site: 1, lane: 1)
        mesh.run(for: .milliseconds(10))
        #expect(mesh.sites[0].delivered.dropFirst(before.0 + 1).map(\.port) == [1])
    }

    /// A host that talks in one lane only stays known in the others as long as it talks.
    @Test func aHostThatStaysIsToldOfAgain() throws {
        var setup = SiteSetup()
        setup.macAgeing = .seconds(16)
        let mesh = try LanesMesh.up([2, 2], setup)
        for second in 0..<60 {
            mesh.send(testFrame(to: .broadcast, from: host(0, 1)), site: 0, lane: 1, after: .seconds(Int64(second)))
        }
        for _ in 0..<60 {
            mesh.run(for: .seconds(1))
            #expect(mesh.sites[0].place(of: host(0, 1), lane: 0, at: mesh.now) != nil, "at \(mesh.now)")
        }
        mesh.run(for: .seconds(20))
        for lane in 0..<2 { #expect(mesh.sites[0].macCount(lane: lane) == 0) }
    }

    @Test func movesWinInEveryLane() throws {
        var setup = SiteSetup()
        setup.ports = 2
        let mesh = try LanesMesh.up([2, 2], setup)
        let mover = host(0, 9)
        // To and fro between a port and the peer, in changing lanes.
        for step in 0..<20 {
            let isHere = step % 2 == 0
            mesh.send(testFrame(to: .broadcast, from: mover), site: isHere ? 0 : 1, lane: step / 2 % 2)
            mesh.run(for: .milliseconds(5))
            for lane in 0..<2 {
                let here = mesh.sites[0].place(of: mover, lane: lane, at: mesh.now)
                let there = mesh.sites[1].place(of: mover, lane: lane, at: mesh.now)
                #expect(here == (isHere ? Location(PortIndex(0)) : Location(PeerIndex(0))), "step \(step)")
                #expect(there == (isHere ? Location(PeerIndex(0)) : Location(PortIndex(0))), "step \(step)")
            }
        }
    }

    /// Control is slow: the other lane hears of a sighting and of the move after it at once, and later than both.
    @Test func aMoveWinsThoughTheNewsOfBothIsLate() throws {
        var setup = SiteSetup()
        setup.ports = 2
        let mesh = try LanesMesh.up([2, 2], setup)
        mesh.controlSleeps = true
        mesh.send(testFrame(to: .broadcast, from: host(0, 9)), site: 0, lane: 0, port: 0)
        mesh.send(testFrame(to: .broadcast, from: host(0, 9)), site: 0, lane: 0, port: 1, after: .milliseconds(3))
        mesh.run(for: .milliseconds(20))
        #expect(mesh.sites[0].place(of: host(0, 9), lane: 1, at: mesh.now) == nil)
        mesh.controlSleeps = false
        mesh.settle(0)
        for lane in 0..<2 { #expect(mesh.sites[0].place(of: host(0, 9), lane: lane, at: mesh.now) == Location(PortIndex(1))) }
    }

    @Test func theTableIsShownOnce() throws {
        let mesh = try LanesMesh.up([3, 3])
        sendStreams(mesh, site: 0, each: 3)
        sendStreams(mesh, site: 1, each: 3)
        mesh.run(for: .seconds(1))
        let rows = mesh.macs(0)
        #expect(rows.map(\.address) == [host(0, 100), host(0, 101), host(0, 102), host(1, 100), host(1, 101), host(1, 102)])
        #expect(rows.map { $0.location.port == nil } == [false, false, false, true, true, true])
        // Moves count once too, though every lane has noted each.
        mesh.send(testFrame(to: .broadcast, from: host(1, 100)), site: 0, lane: 1)
        mesh.run(for: .seconds(2))
        let totals = mesh.sites[0].mailboxes[0].layout.combine(mesh.sites[0].mailboxes.map(\.board))
        #expect(totals[mesh.sites[0].mailboxes[0].layout.index(.macMoves)] == 1)
        #expect(totals[mesh.sites[0].mailboxes[0].layout.index(.macs)] == 6)
    }

    /// A flood of new hosts in one lane leaves room for what control has to say to the other.
    @Test func sightingsLeaveRoomForKeys() throws {
        let mesh = try LanesMesh.up([2, 2])
        mesh.controlSleeps = true
        for number in 0..<2_500 {
            mesh.send(testFrame(to: .broadcast, from: host(0, number)), site: 0, lane: 0)
        }
        mesh.run(for: .milliseconds(10))
        mesh.sites[0].control.handleEvents(at: mesh.now)
        var room = 0
        while mesh.sites[0].mailboxes[1].commands.push(.forgetVLAN(.untagged)) { room += 1 }
        #expect(room == 256)
        #expect(mesh.sites[0].mailboxes[0].commands.isEmpty, "a lane is not told what it said itself")
    }

    // MARK: The wrong lane

    /// The kernel steers nothing: every datagram is handed over, opened by the right lane, once.
    @Test(arguments: [[2, 2], [2, 3], [3, 2], [8, 4]])
    func datagramsAtTheWrongLaneArriveOnce(lanes: [Int]) throws {
        let mesh = try LanesMesh.up(lanes)
        mesh.steering = { site, origin, lanes in (origin + 1) % lanes }
        sendStreams(mesh, site: 0, each: 300, size: 900)
        sendStreams(mesh, site: 1, each: 300, size: 900)
        mesh.run(for: .seconds(2))
        for site in 0...1 { expectStreams(mesh, from: site, each: 300) }
        for delivery in mesh.sites[1].delivered {
            #expect(delivery.lane == Int(frameNumber(delivery.bytes) / 1_000_000) % lanes[1])
        }
        for site in mesh.sites { #expect(site[.crossingFull] == 0 && site[.replayed] == 0 && site[.unknownStream] == 0) }
        #expect(mesh.isUp)
    }

    /// Handshakes and first datagrams too: a session comes up though the kernel gives everything to lane 0.
    @Test func sessionsComeUpThroughOneLane() throws {
        let mesh = LanesMesh([3, 3])
        mesh.steering = { _, _, _ in 0 }
        mesh.run(for: .seconds(2))
        #expect(mesh.isUp)
        sendStreams(mesh, site: 0, each: 50)
        mesh.run(for: .seconds(1))
        expectStreams(mesh, from: 0, each: 50)
    }

    /// A datagram said again is refused in whichever lane it comes to, and one of another lane's stream is never opened here.
    @Test func replayIsRefusedAcrossLanes() throws {
        let mesh = try LanesMesh.up([2, 3])
        sendStreams(mesh, site: 0, each: 20)
        mesh.run(for: .seconds(1))
        expectStreams(mesh, from: 0, each: 20)
        let recorded = mesh.sent.filter { $0.from == 0 && $0.isSealed }
        for datagram in recorded {
            for lane in 0..<3 { mesh.inject(datagram, site: 1, lane: lane, from: mesh.sites[0].endpoint) }
        }
        expectStreams(mesh, from: 0, each: 20)
        #expect(mesh.sites[1][.replayed] == UInt64(recorded.count * 3))
        // Under another origin tag it is another lane's key and another header: nothing opens it.
        let failed = mesh.sites[1][.authenticationFailed]
        var forged = recorded.last!
        forged.bytes[3] ^= 1
        forged.bytes[8] = 0x7F  // a counter that no window has seen
        for lane in 0..<3 { mesh.inject(forged, site: 1, lane: lane, from: mesh.sites[0].endpoint) }
        #expect(mesh.sites[1][.authenticationFailed] == failed + 3)
        // A tag that the peer has no lane for.
        forged.bytes[3] = 2
        let unknown = mesh.sites[1][.unknownStream]
        mesh.inject(forged, site: 1, lane: 0, from: mesh.sites[0].endpoint)
        #expect(mesh.sites[1][.unknownStream] == unknown + 1)
        expectStreams(mesh, from: 0, each: 20)
    }

    /// Lane 1 does not run: what lane 0 hands over is lost once the queue is full, and counted.
    @Test func aFullCrossingIsCounted() throws {
        let mesh = try LanesMesh.up([2, 2])
        for number in 0..<2_500 {
            mesh.send(testFrame(to: .broadcast, from: host(0), number: UInt32(number), count: 1_400), site: 0, lane: 1)
        }
        let before = mesh.sent.count
        mesh.isLost = { $0.from == 0 }
        mesh.run(for: .milliseconds(1))
        let datagrams = mesh.sent.dropFirst(before).filter { $0.from == 0 && $0.origin == 1 }
        var handed = 0
        for datagram in datagrams {
            var bytes = datagram.bytes
            bytes.withMutableRawSpan {
                mesh.sites[1].lanes[0].handleDatagram(&$0, from: mesh.sites[0].endpoint, at: mesh.now)
            }
            handed += 1
        }
        #expect(mesh.sites[1].lanes[0].takeCrossed() == 0b10 && mesh.sites[1].lanes[0].takeCrossed() == 0)
        let refused = Int(mesh.sites[1].lanes[0].bridge.counters[.crossingFull])
        #expect(refused > 0 && refused < handed)
        mesh.isLost = { _ in false }
        mesh.settle(1)
        #expect(Int(mesh.sites[1].lanes[1].bridge.counters[PeerIndex(0), .datagramsIn]) >= handed - refused)
        let numbers = mesh.sites[1].numbers()
        #expect(numbers.count > 300 && numbers == numbers.sorted() && Set(numbers).count == numbers.count)
    }

    // MARK: Multicast

    private func feed(_ group: Int, source: Int, count: Int = 200) -> [UInt8] {
        let (from, to) = (IPAddress(ipv4: 0xC000_0200 | UInt32(source)), IPAddress(ipv4: 0xEF14_0000 | UInt32(group)))
        var ip: [UInt8] = [0x45, 0, UInt8((count - 14) >> 8), UInt8((count - 14) & 255), 0, 0, 0, 0, 8, 17, 0, 0]
        for address in [from, to] { ip += stride(from: 24, through: 0, by: -8).map { UInt8(address.low >> UInt64($0) & 255) } }
        var bytes = testFrame(to: MACAddress(rawValue: 0x0100_5E14_0000 | UInt64(group)), from: host(0, source), count: 14)
        bytes.replaceSubrange(12..<bytes.count, with: [0x08, 0x00])
        return bytes + ip + [UInt8](repeating: 7, count: max(0, count - 34))
    }

    /// A group's feed in two lanes at once goes where it was joined, from both, and is counted as one.
    @Test func whatLanesForwardOfAGroupIsSummed() throws {
        let mesh = try LanesMesh.up([2, 3], .snooping())
        let record = GroupRecord(.isExclude, IPAddress(ipv4: 0xEF14_0001), [])
        let report = MembershipFrame.reports([record], source: IPAddress(ipv4: 0x0A00_0001), from: host(1, 1), vlan: .untagged)[0]
        mesh.send(report, site: 1, lane: 0)
        mesh.run(for: .milliseconds(100))
        for lane in 0..<2 {
            for source in 1...10 { mesh.send(feed(1, source: source), site: 0, lane: lane) }
        }
        mesh.send(feed(2, source: 1), site: 0, lane: 1)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[1].delivered.count { $0.bytes.starts(with: feed(1, source: 1).prefix(6)) } == 20)
        let key = GroupKey(.untagged, IPAddress(ipv4: 0xEF14_0001))
        func totals(_ site: Int) -> GroupTotals? {
            mesh.sites[site].control.snooper.snapshot(withGroups: true, at: mesh.now).groups.first { $0.key == key }?.totals
        }
        #expect(totals(0)?.tally.framesFromLAN == 20 && totals(0)?.tally.bytesFromLAN == 4_000)
        #expect(totals(1)?.tally.framesFromMesh == 20)
        for lane in 0..<2 { #expect(mesh.sites[0].lanes[lane].bridge.counters[PeerIndex(0), .framesOut] >= 10) }
        #expect(mesh.sites[0][.unwanted] == 1)
    }
}
