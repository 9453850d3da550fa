// Tunnels coming up, staying up and coming back, on wires of every kind.

import Basics
import Settings
import Testing
import Tunnels

@testable import Gateway

@Suite struct SessionTests {
    /// Sites 0 and 1, of which only some dial.
    private func pair(_ dials: [Bool], seed: UInt64 = 1, wire: WireCharacter = WireCharacter()) -> VirtualMesh {
        VirtualMesh(
            dials.map {
                var setup = SiteSetup()
                setup.dials = $0
                return setup
            }, seed: seed, wire: wire)
    }

    private func carriesBothWays(_ mesh: VirtualMesh) -> Bool {
        let before = mesh.sites.map { $0.delivered[0].count }
        mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0)
        mesh.send(testFrame(to: .broadcast, from: host(1)), site: 1)
        mesh.run(for: .milliseconds(500))
        return mesh.sites[0].delivered[0].count == before[0] + 1 && mesh.sites[1].delivered[0].count == before[1] + 1
    }

    @Test(arguments: [[true, false], [false, true], [true, true]])
    func comesUp(_ dials: [Bool]) throws {
        let mesh = pair(dials)
        let up = try #require(mesh.runUntilUp(limit: .seconds(2)))
        #expect(up <= .zero + .milliseconds(100))
        mesh.run(for: .seconds(1))
        #expect(carriesBothWays(mesh))
        for site in mesh.sites {
            #expect(site.count { if case .peerUp = $0 { true } else { false } } == 1)
            #expect(site.count { $0.level >= .warning } == 0, "\(site.events)")
        }
    }

    @Test func withoutAnAddressNobodyDials() {
        let mesh = pair([false, false])
        mesh.run(for: .seconds(60))
        #expect(mesh.sent.isEmpty)
        #expect(mesh.sites[0].state(of: 1) == .waiting)
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func comesUpWithDelayAndLoss(_ seed: UInt64) throws {
        let wire = WireCharacter(delay: .milliseconds(100), lossMillionths: 300_000)
        let mesh = pair([true, seed % 2 == 0], seed: seed, wire: wire)
        _ = try #require(mesh.runUntilUp(limit: .seconds(15)))
    }

    /// A round trip longer than the time between two initiations.
    @Test func comesUpOverAVeryLongPath() throws {
        let mesh = pair([true, true], wire: WireCharacter(delay: .milliseconds(900)))
        _ = try #require(mesh.runUntilUp(limit: .seconds(10)))
    }

    /// Two keepalives in a row may be lost: a peer is down when three are missed.
    @Test func twoLostKeepalivesAreNotTheEnd() throws {
        for phase in stride(from: Int64(0), to: 1_000, by: 50) {
            let wire = WireCharacter(delay: .milliseconds(100), jitter: .milliseconds(50))
            let mesh = pair([true, true], seed: UInt64(phase), wire: wire)
            _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
            mesh.run(for: .seconds(3))
            // A frame some time after a keepalive, so that the last sign of life need not be one that control was told of.
            mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0, at: mesh.now + .milliseconds(phase))
            mesh.run(for: .milliseconds(phase) + .microseconds(1))
            let before = mesh.sent.count
            mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
            while mesh.sent.dropFirst(before).count(where: { $0.from == 0 }) < 2 { mesh.run(for: .milliseconds(1)) }
            mesh.setOneWay(from: 0, to: 1) { $0.isCut = false }
            mesh.run(for: .seconds(5))
            #expect(mesh.sites[1].count { if case .peerDown = $0 { true } else { false } } == 0, "phase \(phase) ms")
        }
    }

    @Test func aSilentPeerIsDownAndItsAddressesAreForgotten() throws {
        let mesh = pair([true, true])
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        mesh.send(testFrame(to: .broadcast, from: host(1)), site: 1)
        mesh.run(for: .seconds(1))
        #expect(mesh.sites[0].core.lane.bridge.macs.count == 1)
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .seconds(6))
        #expect(mesh.sites[0].state(of: 1) == .connecting)
        #expect(mesh.sites[0].count { if case .peerDown("site1", _) = $0 { true } else { false } } == 1)
        #expect(mesh.sites[0].core.lane.bridge.macs.count == 0)
        mesh.setWire(0, 1) { $0.isCut = false }
        mesh.run(for: .seconds(4))
        #expect(carriesBothWays(mesh))
        #expect(mesh.sites[0].count { if case .peerUp = $0 { true } else { false } } == 2)
    }

    // MARK: Restarts

    /// Traffic both ways again within 5 s of the restart, whoever knows whose address.
    @Test(arguments: [[true, true], [true, false], [false, true]], [Int64(0), 200, 10_000])
    func trafficResumesAfterARestart(_ dials: [Bool], _ downtime: Int64) throws {
        for victim in 0...1 { try restart(victim, dials, downtime) }
    }

    private func restart(_ victim: Int, _ dials: [Bool], _ downtime: Int64) throws {
        let mesh = pair(dials, wire: WireCharacter(delay: .milliseconds(50)))
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        mesh.run(for: .seconds(3))
        mesh.kill(victim)
        mesh.run(for: .milliseconds(downtime))
        mesh.restart(victim)
        let start = mesh.now
        for index in 0..<500 {
            let at = start + .milliseconds(10 * Int64(index))
            mesh.send(testFrame(to: .broadcast, from: host(0), number: UInt32(index)), site: 0, at: at)
            mesh.send(testFrame(to: .broadcast, from: host(1), number: UInt32(index)), site: 1, at: at)
        }
        mesh.run(until: start + .seconds(6))
        for site in 0...1 { #expect(mesh.sites[site].numbers().last == 499, "site \(site), restarted \(victim)") }
    }

    @Test func bothRestartAtOnce() throws {
        let mesh = pair([true, true])
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        mesh.run(for: .seconds(1))
        mesh.restart(0)
        mesh.restart(1)
        mesh.run(for: .seconds(2))
        #expect(carriesBothWays(mesh))
    }

    // MARK: Those that may not

    private func isNeverUp(_ mesh: VirtualMesh, for interval: Interval = .seconds(20)) -> Bool {
        mesh.run(for: interval)
        mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0)
        mesh.send(testFrame(to: .broadcast, from: host(1)), site: 1)
        mesh.run(for: .seconds(1))
        return mesh.sites[0].state(of: 1) != .up && mesh.sites[1].state(of: 0) != .up
            && mesh.sites.allSatisfy { $0.delivered[0].isEmpty }
            && mesh.sites.allSatisfy { $0.count { if case .peerUp = $0 { true } else { false } } == 0 }
    }

    @Test func wrongPublicKey() {
        var random = SeededRandom(seed: 99)
        var setup = SiteSetup()
        setup.wrongKeys = [1: KeyPair.generate(using: &random).publicKey]
        let mesh = VirtualMesh([setup, SiteSetup()])
        #expect(isNeverUp(mesh))
        // Site 0 dials a key that site 1 does not have; site 1 dials rightly and is not known there.
        #expect(mesh.sites[1].count { if case .notForUs = $0 { true } else { false } } >= 1)
        #expect(
            mesh.sites[0].count { if case .unknownKey(mesh.sites[1].identity.publicKey, _, _) = $0 { true } else { false } } >= 1)
        #expect(mesh.sites[0].events.count < 20, "rate-limited")
        #expect(mesh.sites[0].core.control.refusedHandshakes > 5)
        #expect(!mesh.sent.contains { $0.kind == .response || $0.kind == .sealed }, "nothing is answered")
    }

    @Test func unknownPeer() {
        let mesh = VirtualMesh([SiteSetup(), SiteSetup(peers: [])])
        mesh.run(for: .seconds(20))
        #expect(mesh.sites[1].count { if case .unknownKey = $0 { true } else { false } } >= 1)
        #expect(!mesh.sent.contains { $0.from == 1 })
        #expect(mesh.sites[0].count { if case .peerUnanswered = $0 { true } else { false } } >= 1)
    }

    @Test func wrongPresharedKey() {
        var setup = SiteSetup()
        setup.presharedKey = [UInt8](repeating: 1, count: 32)
        let mesh = VirtualMesh([setup, SiteSetup()])
        #expect(isNeverUp(mesh))
        for site in mesh.sites {
            #expect(site.count { if case .unauthenticResponse = $0 { true } else { false } } >= 1)
        }
        #expect(!mesh.sent.contains { $0.kind == .sealed })
    }

    @Test(.enabled(if: CipherSet.supported.contains(.aes256gcm), "this processor has no AES instructions"))
    func ciphersAreAgreed() throws {
        func mesh(_ a: CipherSet, _ b: CipherSet) -> VirtualMesh {
            VirtualMesh([SiteSetup(ciphers: a), SiteSetup(ciphers: b)])
        }
        let cases: [(CipherSet, CipherSet, Cipher)] = [
            ([.aes256gcm, .chacha20poly1305], [.aes256gcm, .chacha20poly1305], .aes256gcm),
            ([.aes256gcm], [.aes256gcm], .aes256gcm), ([.chacha20poly1305], [.chacha20poly1305], .chacha20poly1305),
            ([.aes256gcm, .chacha20poly1305], [.chacha20poly1305], .chacha20poly1305),
            ([.aes256gcm], [.aes256gcm, .chacha20poly1305], .aes256gcm),
        ]
        for (a, b, expected) in cases {
            let mesh = mesh(a, b)
            _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
            mesh.run(for: .seconds(1))
            #expect(carriesBothWays(mesh))
            for site in mesh.sites {
                #expect(site.core.control.snapshot(of: PeerIndex(0)).cipher == expected)
                #expect(site.count { if case .peerUp(_, _, expected.name, "X25519") = $0 { true } else { false } } == 1)
            }
        }
        let without = mesh([.aes256gcm], [.chacha20poly1305])
        #expect(isNeverUp(without))
        for site in without.sites {
            #expect(site.count { if case .noCommonCipher = $0 { true } else { false } } >= 1)
            #expect(site.count { if case .noCommonCipher = $0 { true } else { false } } <= 2)
        }
    }

    /// Gateways whose libraries differ put the same datagrams on the WAN, octet for octet.
    @Test(arguments: [CipherSet.aes256gcm, .chacha20poly1305])
    func theBackendDoesNotShow(_ cipher: CipherSet) throws {
        guard CipherSet.supported.contains(cipher) else { return }
        func sent(_ a: CipherBackends, _ b: CipherBackends) throws -> [[UInt8]] {
            let mesh = VirtualMesh([SiteSetup(ciphers: cipher, backends: a), SiteSetup(ciphers: cipher, backends: b)])
            _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
            mesh.run(for: .seconds(1))
            #expect(carriesBothWays(mesh))
            for (site, backends) in zip(mesh.sites, [a, b]) {
                let snapshot = site.core.snapshot(site: "x", started: .zero, at: mesh.now, ports: [])
                #expect(snapshot.backends == backends)
            }
            return mesh.sent.map(\.bytes)
        }
        let mixed = CipherBackends(aes256gcm: 100, chacha20poly1305: 100)
        let plain = try sent(.sodium, .sodium)
        #expect(plain.count > 4)
        #expect(try sent(.openssl, .openssl) == plain)
        #expect(try sent(mixed, .sodium) == plain)
    }

    // MARK: Names

    @Test func aNameThatDoesNotResolveAtFirstIsAskedForAgain() throws {
        let mesh = VirtualMesh(sites: 2)
        // The meshes's constructor has resolved; these gateways start while the name server is away.
        for index in 0...1 {
            mesh.sites[index].resolverWorks = false
            mesh.restart(index)
        }
        mesh.run(for: .seconds(60))
        #expect(mesh.sites[0].resolves >= 3 && mesh.sites[0].resolves < 60)
        mesh.sites[0].resolverWorks = true
        #expect(mesh.runUntilUp(limit: .seconds(20)) != nil)
    }

    @Test func aPeerThatHasMovedIsResolvedAgain() throws {
        let mesh = VirtualMesh(sites: 2)
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        mesh.kill(1)
        mesh.run(for: .seconds(20))
        mesh.sites[1].endpoint = Endpoint(ipv4: 0xC000_0201, port: 9)
        mesh.restart(1) { $0.dials = false }
        mesh.run(for: .seconds(30))
        #expect(mesh.sites[0].state(of: 1) == .up)
        #expect(mesh.sites[0].core.control.snapshot(of: PeerIndex(0)).endpoint == mesh.sites[1].endpoint)
    }
}
