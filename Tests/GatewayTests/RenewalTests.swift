// New keys while frames flow: none lost, none doubled, in order, and the old keys are forgotten.

import Basics
import Settings
import Testing
import Tunnels

@testable import Gateway

@Suite struct RenewalTests {
    /// Two sites that renew often.
    private func pair(
        rekeyTime: Interval = .seconds(120), rekeyDatagrams: UInt64 = 1 << 32, seed: UInt64 = 1,
        wire: WireCharacter = WireCharacter(delay: .milliseconds(10))
    ) throws -> VirtualMesh {
        var setup = SiteSetup()
        setup.rekeyTime = rekeyTime
        setup.rekeyDatagrams = rekeyDatagrams
        let mesh = VirtualMesh(sites: 2, seed: seed, setup: setup, wire: wire)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        return mesh
    }

    /// Bursts both ways, with frames long enough to straddle datagrams.
    private func traffic(_ mesh: VirtualMesh, bursts: Int, every gap: Interval, size: Int = 900) -> Int {
        let perBurst = 7
        let start = mesh.now
        for burst in 0..<bursts {
            for place in 0..<perBurst {
                let number = UInt32(burst * perBurst + place)
                for site in 0...1 {
                    mesh.send(
                        testFrame(to: .broadcast, from: host(site), number: number, count: size + place * 30), site: site,
                        at: start + gap * Int64(burst))
                }
            }
        }
        return bursts * perBurst
    }

    private func renewals(_ mesh: VirtualMesh) -> Int {
        mesh.sites[0].count { if case .keysRenewed = $0 { true } else { false } }
    }

    private func expectAllInOrder(_ mesh: VirtualMesh, _ count: Int) {
        for site in 0...1 {
            let isWhole = mesh.sites[site].numbers() == (0..<count).map { UInt32($0) }
            #expect(isWhole, "site \(site): \(mesh.sites[site].delivered[0].count) of \(count)")
            #expect(mesh.sites[site][.fragmentLost] == 0 && mesh.sites[site][.transmitFull] == 0)
            #expect(mesh.sites[site].count { $0.level >= .warning } == 0)
        }
    }

    @Test func byTimeWithoutLosingAFrame() throws {
        let mesh = try pair(rekeyTime: .seconds(2))
        let count = traffic(mesh, bursts: 3_000, every: .milliseconds(5))
        mesh.run(for: .seconds(17))
        expectAllInOrder(mesh, count)
        #expect(renewals(mesh) >= 5 && renewals(mesh) <= 12)
        for site in mesh.sites { #expect(site[.unknownStream] == 0 && site[.replayed] == 0) }
    }

    @Test func byCountWithoutLosingAFrame() throws {
        let mesh = try pair(rekeyDatagrams: 500)
        let count = traffic(mesh, bursts: 1_000, every: .milliseconds(4))
        mesh.run(for: .seconds(6))
        expectAllInOrder(mesh, count)
        #expect(renewals(mesh) >= 5)
    }

    /// Handshakes at any loss never lose more than the datagrams the wire lost.
    @Test func onALossyWireTheTunnelStays() throws {
        let mesh = try pair(
            rekeyTime: .seconds(2), seed: 4, wire: WireCharacter(delay: .milliseconds(40), lossMillionths: 100_000))
        mesh.run(for: .seconds(120))
        #expect(renewals(mesh) > 20)
        for site in mesh.sites {
            #expect(site[.authenticationFailed] == 0)
            #expect(site.state(of: 1 - site.index) == .up)
        }
    }

    /// Keys that are about to be replaced seal nothing that a nonce could repeat under, across all sessions.
    @Test func noCounterIsUsedTwiceUnderOneStream() throws {
        let mesh = try pair(rekeyTime: .seconds(1), rekeyDatagrams: 300)
        _ = traffic(mesh, bursts: 500, every: .milliseconds(5))
        mesh.run(for: .seconds(5))
        var last: [UInt64: UInt64] = [:]
        for datagram in mesh.sent where datagram.kind == .sealed {
            let stream = datagram.bytes[4..<8].reduce(UInt64(datagram.to)) { $0 << 8 | UInt64($1) }
            let counter = datagram.bytes[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            if let before = last[stream] { #expect(counter == before + 1) } else { #expect(counter == 0) }
            last[stream] = counter
        }
        #expect(last.count > 6)
    }

    @Test func oldKeysAreRetired() throws {
        let mesh = try pair(rekeyTime: .seconds(2))
        mesh.run(for: .seconds(1))
        let old = try #require(mesh.sent.last { $0.to == 1 && $0.kind == .sealed })
        mesh.run(for: .seconds(30))
        let site = mesh.sites[1]
        let streams = (0..<site.core.lane.sessions.count).map { site.core.lane.sessions[$0].stream }.filter { $0 != 0 }
        #expect(Set(streams) == Set(site.core.control.peers[0].sessions.map(\.stream)), "the lane has what control has")
        #expect(streams.count <= PeerState.sessionLimit)
        let before = site[.unknownStream]
        mesh.inject(old.bytes, to: 1, from: mesh.sites[0].endpoint)
        #expect(site[.unknownStream] == before + 1)
    }

    /// All sessions run out while nothing can be renewed; what waited is dropped and counted, and nothing traps.
    @Test func sessionsThatExpireWithTrafficUnderWay() throws {
        let mesh = try pair(rekeyTime: .seconds(1))
        mesh.setWire(0, 1) { $0.isCut = true }
        _ = traffic(mesh, bursts: 2_000, every: .milliseconds(10))
        mesh.run(for: .seconds(25))
        #expect(mesh.sites[0].core.control.peers[0].sessions.isEmpty)
        #expect(mesh.sites[0][.peerDown] > 0)
        mesh.setWire(0, 1) { $0.isCut = false }
        #expect(mesh.runUntilUp(limit: .seconds(5)) != nil)
    }

    // MARK: One batch

    /// In one batch a gateway takes frames from its LAN and the datagram that confirms a new key. What is open is closed under
    /// the old key, so nothing that was packed is lost. `take` gives the datagrams that are put in between frames.
    private func batch(_ mesh: VirtualMesh, site index: Int, frames: [[UInt8]], then datagrams: [SentDatagram]) {
        let site = mesh.sites[index]
        for (place, bytes) in frames.enumerated() {
            if place == frames.count - 1 {
                for datagram in datagrams {
                    var bytes = datagram.bytes
                    var span = bytes.mutableSpan
                    var raw = unsafe span.mutableBytes
                    site.core.lane.handleDatagram(&raw, from: mesh.sites[datagram.from].endpoint, at: mesh.now)
                }
                if site.core.lane.wantsDrain { mesh.flush(site) }
            }
            var bytes = bytes
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            site.core.lane.handleFrame(&raw, offload: .none, on: PortIndex(0), at: mesh.now)
        }
        mesh.flush(site)
    }

    /// Runs until a datagram that a pattern picks has been sent, and holds it back.
    private func catchDatagram(_ mesh: VirtualMesh, where picks: (SentDatagram) -> Bool) -> SentDatagram? {
        let before = mesh.sent.count
        for _ in 0..<10_000 {
            if let found = mesh.sent.dropFirst(before).first(where: picks) { return found }
            mesh.run(for: .milliseconds(1))
        }
        return nil
    }

    @Test(arguments: [1, 2, 3, 12, 40])
    func aResponseInTheMiddleOfABatch(_ count: Int) throws {
        let mesh = try pair(rekeyTime: .seconds(2))
        let response = try #require(catchDatagram(mesh) { $0.kind == .response })
        let initiator = response.to
        let frames = (0..<count).map { testFrame(to: .broadcast, from: host(0), number: UInt32($0), count: 900) }
        batch(mesh, site: initiator, frames: frames, then: [response])
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[1 - initiator].delivered[0].map(\.bytes) == frames)
    }

    @Test(arguments: [1, 2, 3, 12, 40])
    func aConfirmationInTheMiddleOfABatch(_ count: Int) throws {
        let mesh = try pair(rekeyTime: .seconds(2))
        let response = try #require(catchDatagram(mesh) { $0.kind == .response })
        let responder = response.from
        // The first datagram under the new key: the first with counter 0 after the response.
        let first = try #require(
            catchDatagram(mesh) { $0.to == responder && $0.kind == .sealed && $0.bytes[8..<16].allSatisfy { $0 == 0 } })
        let frames = (0..<count).map { testFrame(to: .broadcast, from: host(1), number: UInt32($0), count: 900) }
        batch(mesh, site: responder, frames: frames, then: [first])
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[first.from].delivered[0].map(\.bytes) == frames)
    }

    /// The session's end in the middle of a batch.
    @Test func retirementInTheMiddleOfABatch() throws {
        let mesh = try pair(rekeyTime: .seconds(1))
        mesh.setWire(0, 1) { $0.isCut = true }
        let site = mesh.sites[0]
        while let expiry = site.core.control.peers[0].sessions.map(\.expires).min() {
            mesh.run(until: expiry - .nanoseconds(1))
            // Down is down; a gateway whose clock jumps over both instants is still up.
            site.core.lane.bridge.links[0].isUp = true
            var bytes = testFrame(to: .broadcast, from: host(0), count: 1_000)
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            site.core.lane.handleFrame(&raw, offload: .none, on: PortIndex(0), at: mesh.now)
            site.core.handleTimeout(at: expiry)
            mesh.flush(site)
        }
        #expect(site.core.control.peers[0].sessions.isEmpty)
        #expect(mesh.sent.contains { $0.bytes.count > 1_000 }, "what was packed is sent under the key it was packed for")
    }
}
