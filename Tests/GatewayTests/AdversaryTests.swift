// What the network may do to a gateway: replays, changed bits, floods, garbage, moved endpoints. No frame is delivered that
// was not sent, no state is made, nothing is answered, and traffic goes on.

import Basics
import Testing
import Tunnels

@testable import Gateway

@Suite struct AdversaryTests {
    private static let elsewhere = Endpoint(ipv4: 0xCB00_7142, port: 4_000)

    private func pair(setup: SiteSetup = SiteSetup(), seed: UInt64 = 1) throws -> VirtualMesh {
        let mesh = VirtualMesh(sites: 2, seed: seed, setup: setup)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(1))
        return mesh
    }

    /// What may not change: sessions on both sides of the mailbox, the peer's place, the table.
    private func state(_ site: VirtualSite) -> [String] {
        let control = site.core.control.peers[0]
        let lane = (0..<site.core.lane.sessions.count).map { site.core.lane.sessions[$0].stream }
        return [
            "\(control.sessions.map(\.stream))", "\(control.pending.map(\.stream))", "\(control.isUp)",
            "\(String(describing: control.endpoint))", "\(lane)", "\(site.core.lane.bridge.links[0].endpoint)",
            "\(site.core.macRows())", "\(site.delivered[0].count)", "\(control.lastTimestamp)",
        ]
    }

    private func sentBy(_ mesh: VirtualMesh, _ site: Int) -> Int { mesh.sent.count { $0.from == site } }

    @Test func replayedInitiationIsRefused() throws {
        let mesh = try pair()
        let initiations = mesh.sent.filter { $0.kind == .initiation }
        #expect(!initiations.isEmpty)
        for initiation in initiations {
            let site = mesh.sites[initiation.to]
            let before = state(site)
            let answers = sentBy(mesh, initiation.to)
            mesh.inject(initiation.bytes, to: initiation.to, from: AdversaryTests.elsewhere)
            #expect(state(site) == before)
            #expect(sentBy(mesh, initiation.to) == answers, "nothing is answered")
            #expect(site.count { if case .replayedInitiation = $0 { true } else { false } } == 1)
        }
    }

    @Test func replayedResponseIsRefused() throws {
        let mesh = try pair()
        for response in mesh.sent.filter({ $0.kind == .response }) {
            let site = mesh.sites[response.to]
            let before = state(site)
            let refused = site.core.control.refusedHandshakes
            mesh.inject(response.bytes, to: response.to, from: AdversaryTests.elsewhere)
            #expect(state(site) == before)
            #expect(site.core.control.refusedHandshakes == refused + 1)
        }
    }

    @Test func replayedDataIsRefused() throws {
        let mesh = try pair()
        for number in 0..<20 as Range<UInt32> {
            mesh.send(testFrame(to: .broadcast, from: host(0), number: number), site: 0)
            mesh.run(for: .milliseconds(10))
        }
        let site = mesh.sites[1]
        #expect(site.numbers() == Array(0..<20))
        let before = state(site)
        let sealed = mesh.sent.filter { $0.to == 1 && $0.kind == .sealed }
        for datagram in sealed { mesh.inject(datagram.bytes, to: 1, from: AdversaryTests.elsewhere) }
        #expect(state(site) == before)
        #expect(site[.replayed] == UInt64(sealed.count))
    }

    /// Duplicates by the wire are replays too: every frame once.
    @Test func aWireThatDoublesAndCorrupts() throws {
        let wire = WireCharacter(
            delay: .milliseconds(5), jitter: .milliseconds(3), duplicateMillionths: 300_000, corruptMillionths: 100_000)
        let mesh = VirtualMesh(sites: 2, seed: 5, wire: wire)
        _ = try #require(mesh.runUntilUp(limit: .seconds(15)))
        var frames: [[UInt8]] = []
        for number in 0..<2_000 as Range<UInt32> {
            frames.append(testFrame(to: .broadcast, from: host(0), number: number, count: 60 + Int(number) % 1_400))
            mesh.send(frames[Int(number)], site: 0, at: mesh.now + .microseconds(Int64(number) * 500))
        }
        mesh.run(for: .seconds(3))
        let numbers = mesh.sites[1].numbers()
        #expect(numbers.count > 1_500 && Set(numbers).count == numbers.count)
        let allRight = mesh.sites[1].delivered[0].allSatisfy { frames[Int(frameNumber($0.bytes))] == $0.bytes }
        #expect(allRight)
        #expect(mesh.sites[1][.authenticationFailed] > 50 && mesh.sites[1][.replayed] > 200)
        #expect(mesh.sites[1][.malformedPacking] == 0)
    }

    /// Every bit, every truncation and an extension of every kind of datagram, before the true one has arrived.
    @Test func changedDatagramsDoNothing() throws {
        let mesh = try pair()
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0)
        mesh.run(for: .milliseconds(5))
        let sealed = try #require(mesh.sent.last { $0.from == 0 && $0.kind == .sealed && !$0.isProbe })
        var random = SeededRandom(seed: 3)
        var initiation = try #require(mesh.sent.first { $0.to == 1 && $0.kind == .initiation }).bytes
        let site = mesh.sites[1]
        let before = state(site)
        let answers = sentBy(mesh, 1)
        for bytes in [sealed.bytes, initiation] {
            for bit in 0..<(bytes.count * 8) {
                // The hop count is the one field that may change.
                if bytes[0] == 4 && bit / 8 == 1 && bit % 8 < 4 { continue }
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                mesh.inject(changed, to: 1, from: AdversaryTests.elsewhere)
            }
            for count in 0..<bytes.count { mesh.inject(Array(bytes.prefix(count)), to: 1, from: AdversaryTests.elsewhere) }
            mesh.inject(bytes + [0], to: 1, from: AdversaryTests.elsewhere)
            mesh.inject(bytes + bytes, to: 1, from: AdversaryTests.elsewhere)
        }
        // A mac that is right for anybody who knows the public key, over noise.
        for index in 4..<initiation.count { initiation[index] = UInt8(truncatingIfNeeded: random.next()) }
        let forged = HandshakeMAC.appended(to: Array(initiation.dropLast(16)), for: site.identity.publicKey)
        mesh.inject(forged, to: 1, from: AdversaryTests.elsewhere)
        #expect(state(site) == before)
        #expect(sentBy(mesh, 1) == answers, "nothing is answered to what does not authenticate")
        mesh.inject(sealed.bytes, to: 1, from: mesh.sites[0].endpoint)
        #expect(site.delivered[0].count == 1, "the true one still opens")
    }

    @Test func garbageDoesNotDisturbTraffic() throws {
        let mesh = try pair()
        var random = SeededRandom(seed: 12)
        let streams = mesh.sites[1].core.control.peers[0].sessions.map(\.stream)
        for number in 0..<200 as Range<UInt32> {
            mesh.send(testFrame(to: .broadcast, from: host(0), number: number), site: 0)
            for _ in 0..<50 {
                var bytes = (0..<Int(random.next() % 120)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                if !bytes.isEmpty { bytes[0] = UInt8(random.next() % 6) }
                // Sometimes for a stream that exists.
                if bytes.count > 8, let stream = streams.first, random.next() % 2 == 0 {
                    for place in 0..<4 { bytes[4 + place] = UInt8(truncatingIfNeeded: stream >> UInt32(24 - 8 * place)) }
                }
                mesh.inject(bytes, to: 1, from: AdversaryTests.elsewhere)
            }
            mesh.run(for: .milliseconds(20))
        }
        #expect(mesh.sites[1].numbers() == Array(0..<200))
        #expect(mesh.sites[1].events.count < 30, "garbage does not fill the log")
        #expect(mesh.sites[1].core.lane.bridge.links[0].endpoint == mesh.sites[0].endpoint)
    }

    /// More handshake datagrams in one batch than control can take: counted, and the lane's own reports still get through.
    @Test func aFloodOfHandshakesIsCounted() throws {
        let mesh = try pair()
        let site = mesh.sites[1]
        let junk = [UInt8](repeating: 1, count: 128)
        func flood(_ count: Int) {
            for _ in 0..<count {
                var bytes = junk
                var span = bytes.mutableSpan
                var raw = unsafe span.mutableBytes
                site.core.lane.handleDatagram(&raw, from: AdversaryTests.elsewhere, at: mesh.now)
            }
        }
        flood(6_000)
        #expect(site[.puntQueueFull] > 1_500)
        mesh.flush(site)
        // A flood in front of everything that the peer sends: it stays up, though control hears of it through the same queue.
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        for _ in 0..<12 {
            let before = mesh.sent.count
            mesh.run(for: .seconds(1))
            flood(4_200)
            for datagram in mesh.sent.dropFirst(before).filter({ $0.to == 1 }) {
                mesh.inject(datagram.bytes, to: 1, from: mesh.sites[0].endpoint)
            }
        }
        #expect(site.state(of: 0) == .up)
        #expect(site.count { if case .peerDown = $0 { true } else { false } } == 0)
    }

    // MARK: Roaming

    @Test func aPeerIsWhereItsLastAuthenticDatagramCameFrom() throws {
        let mesh = try pair()
        let new = Endpoint(ipv4: 0xC633_6401, port: 65_000)
        mesh.sites[0].endpoint = new
        mesh.send(testFrame(to: .broadcast, from: host(0), number: 1), site: 0)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[1].numbers() == [1])
        mesh.send(testFrame(to: .broadcast, from: host(1), number: 2), site: 1)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[0].numbers() == [2])
        // Control is told with the next sign of life, and says it once.
        mesh.run(for: .seconds(10))
        #expect(mesh.sites[1].core.control.snapshot(of: PeerIndex(0)).endpoint == new)
        #expect(mesh.sites[1].count { if case .peerRoamed("site0", new, 0) = $0 { true } else { false } } == 1)
        #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .up })
    }

    /// A datagram that was overtaken does not move a peer back.
    @Test func anOldDatagramMovesNobody() throws {
        let mesh = try pair()
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        for number in 0...1 as ClosedRange<UInt32> {
            mesh.send(testFrame(to: .broadcast, from: host(0), number: number), site: 0)
            mesh.run(for: .milliseconds(5))
        }
        let held = mesh.sent.filter { $0.from == 0 && !$0.isProbe }.suffix(2)
        let new = Endpoint(ipv4: 0xC633_6401, port: 65_000)
        mesh.inject(held.last!.bytes, to: 1, from: new)
        mesh.inject(held.first!.bytes, to: 1, from: AdversaryTests.elsewhere)
        #expect(mesh.sites[1].numbers() == [1, 0])
        #expect(mesh.sites[1].core.lane.bridge.links[0].endpoint == new)
    }

    // MARK: Path size

    @Test(arguments: [576, 1_280, 1_500, 9_000, 9_216])
    func datagramsFillThePathAndNoMore(_ mtu: Int) throws {
        let wire = WireCharacter(limit: mtu - 28)
        let mesh = VirtualMesh(sites: 2, setup: SiteSetup(pathMTU: mtu), wire: wire)
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        let frames = (0..<100 as Range<UInt32>).map {
            testFrame(to: .broadcast, from: host(0), number: $0, count: 60 + Int($0) * 92)
        }
        for frame in frames { mesh.send(frame, site: 0) }
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[1].delivered[0].map(\.bytes) == frames)
        #expect(mesh.tooLong == 0)
        #expect(mesh.sent.contains { $0.bytes.count == mtu - 28 }, "full datagrams are exactly the path's size")
    }

    @Test func overIPv6AHeaderIsLonger() throws {
        let setup = SiteSetup(pathMTU: 1_280, isIPv6: true)
        let mesh = VirtualMesh(sites: 2, setup: setup, wire: WireCharacter(limit: 1_280 - 48))
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        let frames = (0..<30 as Range<UInt32>).map { testFrame(to: .broadcast, from: host(0), number: $0, count: 1_514) }
        for frame in frames { mesh.send(frame, site: 0) }
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[1].delivered[0].map(\.bytes) == frames)
        #expect(mesh.tooLong == 0 && mesh.sent.contains { $0.bytes.count == 1_232 })
    }

    /// Each side sends what its own configuration says and takes what comes.
    @Test func differentPathSizesOnTheTwoSides() throws {
        let mesh = VirtualMesh([SiteSetup(pathMTU: 1_280), SiteSetup(pathMTU: 9_000)])
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        for number in 0..<50 as Range<UInt32> {
            for site in 0...1 {
                mesh.send(testFrame(to: .broadcast, from: host(site), number: number, count: 1_514), site: site)
            }
        }
        mesh.run(for: .milliseconds(100))
        for site in mesh.sites { #expect(site.numbers() == Array(0..<50)) }
        #expect(mesh.sent.filter { $0.from == 0 }.map(\.bytes.count).max() == 1_252)
        #expect(mesh.sent.filter { $0.from == 1 }.map(\.bytes.count).max() == 8_972)
    }

    /// A peer that moves from IPv4 to IPv6 leaves less room in each packet.
    @Test func roamingToIPv6KeepsWithinThePath() throws {
        let mesh = try pair()
        mesh.sites[0].endpoint = VirtualSite.home(0, isIPv6: true)
        mesh.send(testFrame(to: .broadcast, from: host(0), number: 1), site: 0)
        mesh.run(for: .milliseconds(50))
        mesh.setWire(0, 1) { $0.limit = 1_500 - 48 }
        for number in 0..<20 as Range<UInt32> {
            mesh.send(testFrame(to: .broadcast, from: host(1), number: number, count: 1_514), site: 1)
        }
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[0].numbers() == Array(0..<20))
        #expect(mesh.tooLong == 0)
    }
}
