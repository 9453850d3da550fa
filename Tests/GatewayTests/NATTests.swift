// Both sites behind NATs whose mappings change in the middle of flows, one after the other and both at once; and one site that is
// seen at several addresses, which is no second gateway with its key.

import Basics
import Settings
import Testing
import Tunnels

@testable import Gateway

@Suite struct NATTests {
    private static func mapping(_ site: Int, _ number: Int) -> Endpoint {
        Endpoint(ipv4: 0xC633_6401 + UInt32(site), port: UInt16(40_000 + number))
    }

    /// What each site sends comes from a mapping of its NAT, which forwards another address for good.
    private func pair(_ postQuantum: PostQuantumChoice = .off, _ change: (inout SiteSetup) -> Void = { _ in }) throws
        -> VirtualMesh
    {
        var setup = SiteSetup(postQuantum: postQuantum)
        change(&setup)
        let mesh = VirtualMesh(sites: 2, setup: setup, wire: WireCharacter(delay: .milliseconds(10)))
        for site in mesh.sites {
            site.forwarded = site.endpoint
            site.endpoint = NATTests.mapping(site.index, 0)
        }
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(1))
        return mesh
    }

    /// Frames both ways, one each five milliseconds, from here on.
    private func flow(_ mesh: VirtualMesh, count: UInt32) {
        let start = mesh.now
        for number in 0..<count {
            for site in 0...1 {
                mesh.send(
                    testFrame(to: .broadcast, from: host(site), number: number), site: site,
                    at: start + .milliseconds(5 * Int64(number)))
            }
        }
    }

    private func count(_ mesh: VirtualMesh, _ picks: (GatewayEvent) -> Bool) -> Int {
        mesh.sites.reduce(0) { $0 + $1.count(where: picks) }
    }

    private func rivals(_ mesh: VirtualMesh) -> UInt64 {
        mesh.sites.reduce(0) { $0 + $1.core.control.handshakeCounters.rivals }
    }

    /// A change costs what is under way to the old mapping, and what is sent there until a datagram comes from the new one.
    @Test func mappingsChangeInTurn() throws {
        let mesh = try pair()
        flow(mesh, count: 4_000)
        let changes = 40
        for change in 1...changes {
            mesh.run(for: .milliseconds(490))
            let site = mesh.sites[change % 2]
            site.endpoint = NATTests.mapping(site.index, change)
        }
        mesh.run(for: .seconds(1))
        for site in mesh.sites {
            let numbers = site.numbers()
            #expect(zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }, "in order, and each once")
            #expect(numbers.count >= 4_000 - changes / 2 * 6, "\(numbers.count)")
            #expect(site.core.control.snapshot(of: PeerIndex(0)).endpoint == mesh.sites[1 - site.index].endpoint)
            #expect(site.core.control.snapshot(of: PeerIndex(0), at: mesh.now).path.size == 1_500)
        }
        #expect(count(mesh) { if case .peerSuspect = $0 { true } else { false } } == 0)
        #expect(count(mesh) { if case .peerDown = $0 { true } else { false } } == 0)
        #expect(rivals(mesh) == 0)
    }

    /// Neither hears the other: they are down for each other, and find each other again where the NATs forward.
    @Test(arguments: [PostQuantumChoice.off, .required])
    func bothMappingsChangeAtOnce(_ postQuantum: PostQuantumChoice) throws {
        let mesh = try pair(postQuantum)
        for round in 1...5 {
            let before = mesh.sites.map { $0.delivered[0].count }
            flow(mesh, count: 2_000)
            mesh.run(for: .milliseconds(333))
            for site in mesh.sites { site.endpoint = NATTests.mapping(site.index, round) }
            mesh.run(for: .milliseconds(100))
            #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .up }, "nobody knows of it yet")
            // Down after three seconds, and a handshake.
            mesh.run(for: .milliseconds(4_500))
            #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .up }, "round \(round)")
            mesh.run(for: .seconds(6))
            for site in mesh.sites {
                let numbers = site.numbers().dropFirst(before[site.index])
                #expect(numbers.count >= 900 && numbers.last == 1_999, "round \(round): \(numbers.count)")
                #expect(zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 })
                #expect(site.core.control.snapshot(of: PeerIndex(0)).endpoint == mesh.sites[1 - site.index].endpoint)
            }
        }
        // At the places a, b, a, b of one gateway only if mappings come back; here each is new.
        #expect(rivals(mesh) == 0)
    }

    // MARK: No second gateway

    /// No answer comes back, and each initiation leaves from the other of two addresses.
    @Test func initiationsFromSeveralAddressesAreNoRivals() throws {
        let mesh = VirtualMesh(sites: 2)
        mesh.setOneWay(from: 1, to: 0) { $0.isCut = true }
        let places = [mesh.sites[0].endpoint, NATTests.mapping(0, 1)]
        for turn in 0..<40 {
            mesh.sites[0].endpoint = places[turn % 2]
            mesh.run(for: .milliseconds(1_150))
        }
        let initiations = mesh.sent.filter { $0.kind == .initiation && $0.from == 0 }
        #expect(initiations.count > 10 && mesh.sites[1].core.control.handshakeCounters.judged > 10)
        #expect(rivals(mesh) == 0)
    }

    /// Keys are renewed, and each time the gateway is at the other of two addresses.
    @Test func renewalsFromTwoAddressesAreNoRivals() throws {
        let mesh = try pair { $0.rekeyTime = .seconds(4) }
        for turn in 0..<30 {
            // One after the other, so that each hears where the other is.
            for site in mesh.sites {
                site.endpoint = NATTests.mapping(site.index, turn % 2)
                mesh.run(for: .milliseconds(2_000))
            }
        }
        #expect(mesh.sites[0].core.control.snapshot(of: PeerIndex(0)).handshakes > 10)
        #expect(rivals(mesh) == 0)
    }

    /// Who has recorded initiations sends them again from elsewhere, between the peer's own.
    @Test func replaysFromElsewhereAreNoRivals() throws {
        let mesh = try pair { $0.rekeyTime = .seconds(5) }
        for _ in 0..<20 {
            mesh.run(for: .seconds(5))
            // Whichever begins: all of its own but the newest, which might still be taken as new.
            for site in 0...1 {
                let recorded = mesh.sent.filter { $0.kind == .initiation && $0.from == site }.map(\.bytes).dropLast()
                for bytes in recorded { mesh.inject(bytes, to: 1 - site, from: NATTests.mapping(9, 9)) }
            }
        }
        let refused = mesh.sites.reduce(0) {
            $0 + $1.core.control.handshakeCounters[.replayed] + $1.core.control.handshakeCounters[.clockBack]
        }
        #expect(refused > 100)
        #expect(mesh.sites.contains { $0.core.control.handshakeCounters[.clockBack] > 0 }, "older than what is remembered")
        #expect(rivals(mesh) == 0)
    }
}
