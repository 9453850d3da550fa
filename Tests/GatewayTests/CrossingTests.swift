// Both sides begin at the same instant, with ML-KEM: the initiations and their annexes cross on the wire, and so do the
// responses.

import Basics
import Settings
import Testing
import Tunnels

@testable import Gateway

@Suite struct CrossingTests {
    private func pair(seed: UInt64, rekeyTime: Interval = .seconds(120)) -> VirtualMesh {
        let setup = SiteSetup(postQuantum: .required, rekeyTime: rekeyTime)
        return VirtualMesh(sites: 2, seed: seed, setup: setup, wire: WireCharacter(delay: .milliseconds(50)))
    }

    /// Of each kind that a handshake has: when each site sent it first.
    private func firsts(_ mesh: VirtualMesh, _ kind: DatagramKind, since start: Instant) -> [Instant?] {
        (0...1).map { site in mesh.sent.first { $0.kind == kind && $0.from == site && $0.at >= start }?.at }
    }

    private func expectCrossed(_ mesh: VirtualMesh, since start: Instant) {
        for kind in [DatagramKind.initiation, .annex] { #expect(firsts(mesh, kind, since: start) == [start, start]) }
        let later = start + .milliseconds(50)
        #expect(firsts(mesh, .response, since: start) == [later, later])
        for kind in [DatagramKind.initiation, .annex, .response] {
            #expect(mesh.sent.count { $0.kind == kind && $0.at >= start } == 2, "one of each, and no more")
        }
    }

    /// Seeds give either side the lower key.
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func atTheBeginning(_ seed: UInt64) throws {
        let mesh = pair(seed: seed)
        _ = try #require(mesh.runUntilUp(limit: .seconds(1)))
        mesh.run(for: .seconds(5))
        expectCrossed(mesh, since: .zero)
        for site in mesh.sites {
            let peer = site.core.control.peers[0]
            #expect(peer.sessions.count == 2 && peer.sessions.allSatisfy { $0.isConfirmed && $0.isHybrid })
            #expect(peer.pending.isEmpty && peer.waiting == nil && peer.unconfirmed == 0)
            #expect(site.core.control.handshakeCounters.refused == 0)
            #expect(site.count { $0.level >= .warning } == 0)
        }
        // Both hold both sessions; each seals with one that the other has.
        let start = mesh.now
        for number in 0..<200 as Range<UInt32> {
            for site in 0...1 {
                mesh.send(
                    testFrame(to: .broadcast, from: host(site), number: number), site: site,
                    at: start + .milliseconds(Int64(number)))
            }
        }
        mesh.run(for: .seconds(1))
        #expect(mesh.sites.allSatisfy { $0.numbers() == Array(0..<200) })
    }

    /// In the middle of flows, again and again.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func renewalsUnderTraffic(_ seed: UInt64) throws {
        let mesh = pair(seed: seed)
        _ = try #require(mesh.runUntilUp(limit: .seconds(1)))
        mesh.run(for: .seconds(1))
        let start = mesh.now
        for number in 0..<2_000 as Range<UInt32> {
            for site in 0...1 {
                mesh.send(
                    testFrame(to: .broadcast, from: host(site), number: number), site: site,
                    at: start + .milliseconds(2 * Int64(number)))
            }
        }
        for _ in 0..<7 {
            mesh.run(for: .milliseconds(510))
            let begun = mesh.now
            for site in mesh.sites {
                site.core.control.peers[0].nextInitiation = begun
                site.core.handleTimeout(at: begun)
                mesh.flush(site)
            }
            mesh.run(for: .milliseconds(49))
            for kind in [DatagramKind.initiation, .annex] { #expect(firsts(mesh, kind, since: begun) == [begun, begun]) }
        }
        mesh.run(for: .seconds(2))
        for site in mesh.sites {
            #expect(site.numbers() == Array(0..<2_000))
            #expect(site.core.control.handshakeCounters.refused == 0 && site[.unknownStream] == 0)
            let areHybrid = site.core.control.peers[0].sessions.allSatisfy { $0.isHybrid }
            #expect(areHybrid)
            #expect(site.core.control.snapshot(of: PeerIndex(0)).handshakes >= 14)
        }
    }
}
