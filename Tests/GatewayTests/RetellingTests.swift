// How a peer that has lost what we told is told again: soon, and not for ever at once.

import Basics
import Switching
import Testing
import Wire

@testable import Gateway

@Suite struct RetellingTests {
    private func ms(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

    @Test func atOnceThenAtDoublingDistances() {
        var retelling = Retelling()
        #expect(retelling.due == .distantFuture)
        retelling.handleWish(at: ms(1_000))
        #expect(retelling.due == ms(1_000))
        retelling.handleTold(at: ms(1_000))
        #expect(retelling.due == .distantFuture)
        var told: Int64 = 1_000
        for delay in [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] as [Int64] {
            retelling.handleWish(at: ms(told + 5))
            #expect(retelling.due == ms(told + delay))
            told += delay
            retelling.handleTold(at: ms(told))
        }
        // One that comes when the distance is past already is not kept waiting.
        retelling.handleWish(at: ms(told + 30_000))
        #expect(retelling.due == ms(told + 30_000))
        retelling.handleTold(at: ms(told + 30_000))
        retelling.handleWish(at: ms(told + 89_999))
        #expect(retelling.due == ms(told + 89_999))
        retelling.handleTold(at: ms(told + 89_999))
        // A minute of quiet.
        retelling.handleWish(at: ms(told + 149_999))
        #expect(retelling.due == ms(told + 149_999))
        retelling.handleTold(at: ms(told + 149_999))
        retelling.handleWish(at: ms(told + 150_000))
        #expect(retelling.due == ms(told + 150_199))
    }

    @Test func aPeerThatGoesDownIsOwedNothing() {
        var retelling = Retelling()
        retelling.handleWish(at: ms(1))
        retelling.cancel()
        #expect(retelling.due == .distantFuture)
    }

    /// Two sites; the first wants a group that a member on its LAN joined.
    private func pair() throws -> VirtualMesh {
        let mesh = VirtualMesh([.snooping(), .snooping()])
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        let join = MembershipFrame.report(
            generation: .third, group: group, source: IPAddress(ipv4: 0x0A00_0001), from: host(0), vlan: .untagged)
        mesh.send(join, site: 0)
        mesh.run(for: .seconds(7))
        #expect(wish(mesh))
        return mesh
    }

    private func stream(_ mesh: VirtualMesh) -> UInt64 { mesh.sites[0].core.control.peers[0].channel.sendStream }

    private let group = IPAddress(ipv4: 0xEF01_0001)

    /// Whether the second site knows that the first wants the group.
    private func wish(_ mesh: VirtualMesh) -> Bool {
        let snooper = mesh.sites[1].core.control.snooper
        return snooper.explain(GroupKey(.untagged, group), source: nil, to: mesh.sites[1].peer(0)).decisions[0].reason == .member
    }

    /// The second says every 10 ms that it has lost the stream there is. It is told all again after 0, 0.2, 0.6, 1.4 and 3 s.
    @Test func aPeerThatLosesTheStreamAgainAndAgain() throws {
        let mesh = try pair()
        let peer = mesh.sites[0].peer(1)
        let began = mesh.now
        var streams = [stream(mesh)]
        var times: [Int64] = []
        for _ in 0..<600 {
            // A reset: its kind, the stream, and the newest one that is refused.
            let number = (0..<8).map { UInt8(truncatingIfNeeded: streams[streams.count - 1] >> (56 - 8 * UInt64($0))) }
            _ = ([3] + number + number).withRawSpan {
                mesh.sites[0].core.control.mailbox.segments.push($0, tag: QueuedBytes.segment(peer).tag)
            }
            mesh.flush(mesh.sites[0])
            mesh.run(for: .milliseconds(10))
            if stream(mesh) != streams.last {
                streams.append(stream(mesh))
                times.append((mesh.now - began).nanoseconds / 1_000_000)
            }
        }
        #expect(times.count == 5, "\(times)")
        for (time, due) in zip(times, [10, 200, 600, 1_400, 3_000] as [Int64]) {
            #expect((due...(due + 20)).contains(time), "\(times)")
        }
        // It stops losing it: all is told within the delay.
        mesh.run(for: .seconds(12))
        #expect(wish(mesh))
        // And a peer that is told in peace is left alone.
        let last = stream(mesh)
        mesh.run(for: .seconds(20))
        #expect(stream(mesh) == last)
    }

    /// Within the silence limit of 4 s the first never sees the second go down; the second is told again at once, not when the
    /// first next probes.
    @Test(arguments: [0, 1_300, 2_600, 3_900] as [Int64]) func aQuickRestartIsToldAtOnce(phase: Int64) throws {
        let mesh = try pair()
        mesh.run(for: .milliseconds(phase))
        mesh.kill(1)
        mesh.run(for: .milliseconds(50))
        mesh.restart(1)
        #expect(!wish(mesh))
        let restarted = mesh.now
        while !wish(mesh), mesh.now - restarted < .seconds(10) { mesh.run(for: .milliseconds(1)) }
        // Round trips of 2 ms: the handshake, our stream, their probe, the reset, their facts.
        #expect(mesh.now - restarted < .milliseconds(50), "after \(mesh.now - restarted)")
        #expect(mesh.sites[0].count { if case .peerDown = $0 { true } else { false } } == 0)
        // Then both are quiet: no probe begets a probe.
        mesh.run(for: .seconds(1))
        let before = mesh.sites.map { $0.core.control.snapshot(of: PeerIndex(0)).control.segmentsOut }
        mesh.run(for: .seconds(20))
        let after = mesh.sites.map { $0.core.control.snapshot(of: PeerIndex(0)).control.segmentsOut }
        // Each probes every five seconds and acknowledges the other's.
        for (early, late) in zip(before, after) { #expect(late - early <= 10) }
    }
}
