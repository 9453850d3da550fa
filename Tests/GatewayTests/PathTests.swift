// Paths: whether a peer is there, what size of packet reaches it, and where it is, on wires that lose, narrow and move.

import Basics
import Settings
import Testing
import Tunnels

@testable import Gateway

@Suite struct PathTests {
    private func pair(
        seed: UInt64 = 1, wire: WireCharacter = WireCharacter(), isIPv6: Bool = false, largest: Int = 1_500,
        _ change: (inout PathConfiguration) -> Void = { _ in }
    ) throws -> VirtualMesh {
        var setup = SiteSetup()
        change(&setup.paths)
        setup.isIPv6 = isIPv6
        setup.pathMTU = largest
        let mesh = VirtualMesh(sites: 2, seed: seed, setup: setup, wire: wire)
        _ = try #require(mesh.runUntilUp(limit: .seconds(10)))
        return mesh
    }

    private func path(_ mesh: VirtualMesh, _ site: Int = 0) -> PathSnapshot {
        mesh.sites[site].core.control.snapshot(of: PeerIndex(0), at: mesh.now).path
    }

    private func count(_ mesh: VirtualMesh, _ site: Int, _ picks: (GatewayEvent) -> Bool) -> Int {
        mesh.sites[site].count(where: picks)
    }

    private func suspects(_ mesh: VirtualMesh) -> Int {
        (0...1).reduce(0) { $0 + count(mesh, $1) { if case .peerSuspect = $0 { true } else { false } } }
    }

    // MARK: Alive, suspect, down

    @Test(arguments: [50, 1_000, 60_000] as [Int64])
    func aSilentPeerIsSuspectThenDownThenBack(_ milliseconds: Int64) throws {
        let mesh = try pair {
            $0.suspect = .milliseconds(milliseconds)
            $0.down = .milliseconds(milliseconds * 3)
        }
        mesh.run(for: .milliseconds(milliseconds * 2))
        #expect(suspects(mesh) == 0)
        mesh.setWire(0, 1) { $0.isCut = true }
        // What is under way arrives a millisecond later.
        mesh.run(for: .milliseconds(milliseconds) + .milliseconds(2))
        #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .suspect })
        #expect(mesh.sites[0].core.lane.endpoint(of: PeerIndex(0)) != nil, "a suspect peer is sent to")
        mesh.setWire(0, 1) { $0.isCut = false }
        mesh.run(for: .milliseconds(milliseconds / 2))
        #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .up })
        #expect(count(mesh, 0) { if case .peerRecovered = $0 { true } else { false } } == 1)
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .milliseconds(milliseconds * 3) + .milliseconds(2))
        #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .connecting })
        mesh.setWire(0, 1) { $0.isCut = false }
        #expect(mesh.runUntilUp(limit: .seconds(5)) != nil)
    }

    /// Three quarters of the probes of a second may be lost.
    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func lossIsMeasuredAndNoAlarm(_ seed: UInt64) throws {
        let wire = WireCharacter(
            delay: .milliseconds(20), jitter: .milliseconds(4), lossMillionths: 50_000, duplicateMillionths: 20_000)
        let mesh = try pair(seed: seed, wire: wire)
        mesh.run(for: .seconds(120))
        let path = path(mesh)
        #expect(suspects(mesh) == 0)
        // Lost on the way there or back: about a tenth.
        #expect(try #require(path.lossMillionths) < 250_000 && path.probesAnswered < path.probesSent)
        let roundTrip = try #require(path.roundTrip)
        #expect(roundTrip >= .milliseconds(40) && roundTrip <= .milliseconds(48))
        #expect(try #require(path.jitter) < .milliseconds(5))
        #expect(path.size == 1_500 && path.blackHoles == 0)
    }

    /// A queue to control that is full for ever: signs of life are on the board.
    @Test func aFullQueueIsNoSilence() throws {
        let mesh = try pair()
        mesh.run(for: .seconds(1))
        let site = mesh.sites[0]
        let start = mesh.now
        for step in 1...40 as ClosedRange<Int64> {
            mesh.run(until: start + .milliseconds(100 * step))
            // As if it had found no room.
            site.core.control.peers[0].lastHeard = start
        }
        #expect(suspects(mesh) == 0)
    }

    // MARK: The size of the path

    @Test(arguments: [1_500, 1_492, 1_460, 1_420, 1_400, 1_333, 1_280], [false, true])
    func theSizeIsFound(_ size: Int, _ isIPv6: Bool) throws {
        let limit = size - (isIPv6 ? 48 : 28)
        let mesh = try pair(wire: WireCharacter(delay: .milliseconds(1), limit: limit), isIPv6: isIPv6)
        mesh.run(for: .seconds(2))
        let found = path(mesh)
        #expect(found.search == .complete && found.size <= size && found.size > size - 8, "\(found.size) of \(size)")
        for number in 0..<50 as Range<UInt32> {
            mesh.send(testFrame(to: .broadcast, from: host(0), number: number, count: 1_514), site: 0)
        }
        mesh.run(for: .milliseconds(100))
        let isWhole = mesh.sites[1].numbers() == (0..<50).map { UInt32($0) }
        #expect(isWhole)
    }

    @Test func aGoodPathIsUsedWithinMilliseconds() throws {
        let mesh = try pair()
        mesh.run(for: .milliseconds(10))
        #expect(path(mesh).size == 1_500 && path(mesh, 1).size == 1_500)
        #expect(mesh.sites[0].core.lane.bridge.links[0].datagramSize == 1_472)
    }

    @Test func aJumboPath() throws {
        let mesh = try pair(wire: WireCharacter(limit: 8_000 - 28), largest: 9_000)
        mesh.run(for: .seconds(3))
        #expect(path(mesh).size > 8_000 - 8 && path(mesh).size <= 8_000)
    }

    @Test func lessThanTheBase() throws {
        let mesh = try pair(wire: WireCharacter(limit: 1_000 - 28))
        mesh.run(for: .seconds(3))
        #expect(path(mesh).size > 1_000 - 8 && path(mesh).size <= 1_000)
    }

    /// A path that becomes narrow under load: found out within two seconds; and wide again after the recheck.
    @Test func aBlackHole() throws {
        let mesh = try pair { $0.recheck = .seconds(20) }
        mesh.run(for: .seconds(1))
        mesh.setWire(0, 1) { $0.limit = 1_280 - 28 }
        let start = mesh.now
        for number in 0..<4_000 as Range<UInt32> {
            mesh.send(
                testFrame(to: .broadcast, from: host(0), number: number, count: 1_514), site: 0,
                at: start + .milliseconds(Int64(number)))
        }
        mesh.run(for: .milliseconds(2_000))
        #expect(path(mesh).size == 1_280 && path(mesh).blackHoles == 1)
        #expect(count(mesh, 0) { if case .pathChanged(_, size: 1_280, from: 1_500) = $0 { true } else { false } } == 1)
        mesh.run(for: .milliseconds(2_100))
        #expect(mesh.sites[1].numbers().suffix(2_000) == (2_000..<4_000).map { UInt32($0) }[...])
        #expect(suspects(mesh) == 0)
        mesh.setWire(0, 1) { $0.limit = 65_507 }
        mesh.run(for: .seconds(25))
        #expect(path(mesh).size == 1_500)
    }

    /// A stream that waits for what was lost sends nothing to speak of: whenever the path becomes narrow, it is found out.
    @Test(arguments: (0...20).map { Int64($0) * 60 })
    func aBlackHoleSilencesWhoeverSends(offset: Int64) throws {
        let mesh = try pair { $0.recheck = .seconds(2) }
        mesh.run(for: .seconds(1))
        let start = mesh.now
        // Between one recheck, the next, and a while after that.
        let count = UInt32(2_000 + offset)
        for number in 0..<count {
            mesh.send(
                testFrame(to: .broadcast, from: host(0), number: number, count: 1_514), site: 0,
                at: start + .milliseconds(Int64(number)))
        }
        mesh.run(for: .milliseconds(Int64(count)))
        #expect(path(mesh).size == 1_500)
        mesh.setWire(0, 1) { $0.limit = 1_280 - 28 }
        mesh.run(for: .milliseconds(3_000))
        #expect(path(mesh).size == 1_280 && path(mesh).blackHoles >= 1 && suspects(mesh) == 0)
    }

    // MARK: Roaming

    /// A NAT forgets: the peer is elsewhere in the middle of a flow, and what is known of the path begins anew.
    @Test func aMappingChanges() throws {
        let mesh = try pair()
        mesh.run(for: .seconds(1))
        let start = mesh.now
        for number in 0..<400 as Range<UInt32> {
            for site in 0...1 {
                mesh.send(
                    testFrame(to: .broadcast, from: host(site), number: number), site: site,
                    at: start + .milliseconds(5 * Int64(number)))
            }
        }
        mesh.run(for: .milliseconds(500))
        mesh.sites[0].endpoint = Endpoint(ipv4: 0xC633_6401, port: 40_000)
        mesh.run(for: .seconds(3))
        #expect(mesh.sites[1].numbers() == (0..<400).map { UInt32($0) })
        #expect(mesh.sites[0].numbers().count >= 398 && mesh.sites[0].numbers().last == 399)
        #expect(mesh.sites[1].core.control.snapshot(of: PeerIndex(0)).endpoint == mesh.sites[0].endpoint)
        #expect(path(mesh, 1).size == 1_500 && suspects(mesh) == 0)
    }

    /// The newest datagram of an older session, kept back and sent from elsewhere.
    @Test func anOlderSessionMovesNobody() throws {
        var setup = SiteSetup()
        setup.rekeyTime = .seconds(3)
        let mesh = VirtualMesh(sites: 2, setup: setup)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(1))
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        let before = mesh.sent.count
        mesh.run(for: .milliseconds(600))
        let held = try #require(mesh.sent[before...].last { $0.from == 0 && $0.kind == .sealed })
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = false }
        // Others of that session arrive: but what counts is that a newer one has been heard.
        while mesh.sites[1].core.lane.bridge.links[0].heardGeneration < 2 { mesh.run(for: .milliseconds(10)) }
        let home = mesh.sites[0].endpoint
        mesh.inject(held.bytes, to: 1, from: Endpoint(ipv4: 0xC633_6402, port: 1))
        #expect(mesh.sites[1].core.lane.bridge.links[0].endpoint == home)
    }

    @Test func namesAreLookedUpAgain() throws {
        let mesh = try pair { $0.resolveInterval = .seconds(60) }
        let before = mesh.sites[0].resolves
        mesh.run(for: .seconds(301))
        #expect(mesh.sites[0].resolves == before + 5)
        #expect(mesh.sites[0].state(of: 1) == .up)
    }

    @Test func severalAddressesAreTriedInTurn() throws {
        let mesh = VirtualMesh(sites: 2, setup: SiteSetup())
        mesh.kill(1)
        mesh.run(for: .milliseconds(1))
        let dead = Endpoint(ipv4: 0xC000_0202, port: 9)
        mesh.restart(0) { $0.dials = true }
        mesh.sites[0].core.control.handleResolved(PeerIndex(0), to: [dead, mesh.sites[1].endpoint], at: mesh.now)
        mesh.restart(1) { $0.dials = false }
        #expect(mesh.runUntilUp(limit: .seconds(3)) != nil)
    }
}
