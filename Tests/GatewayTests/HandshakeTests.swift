// Handshakes with ML-KEM, under load, and of those that may not: what each refusal counts and says, and that whatever the network
// does, nothing is downgraded, answered or kept that should not be.

import Basics
import Buffers
import Settings
import Testing
import Tunnels

@testable import Gateway

@Suite struct HandshakeTests {
    private static let elsewhere = Endpoint(ipv4: 0xCB00_7142, port: 4_000)

    private func pair(
        _ a: PostQuantumChoice = .on, _ b: PostQuantumChoice = .on, seed: UInt64 = 1, wire: WireCharacter = WireCharacter(),
        _ change: (inout SiteSetup, Int) -> Void = { _, _ in }
    ) -> VirtualMesh {
        let setups = [a, b].enumerated().map { number, choice in
            var setup = SiteSetup(postQuantum: choice)
            change(&setup, number)
            return setup
        }
        return VirtualMesh(setups, seed: seed, wire: wire)
    }

    private func refusals(_ mesh: VirtualMesh, _ site: Int, _ cause: HandshakeRefusal) -> UInt64 {
        mesh.sites[site].core.control.handshakeCounters[cause]
    }

    private func carriesBothWays(_ mesh: VirtualMesh) -> Bool {
        let before = mesh.sites.map { $0.delivered[0].count }
        mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0)
        mesh.send(testFrame(to: .broadcast, from: host(1)), site: 1)
        mesh.run(for: .milliseconds(500))
        return mesh.sites[0].delivered[0].count == before[0] + 1 && mesh.sites[1].delivered[0].count == before[1] + 1
    }

    /// What a refused datagram may not change.
    private func state(_ site: VirtualSite) -> [String] {
        let peer = site.core.control.peers[0]
        return [
            "\(peer.sessions.map(\.stream))", "\(peer.pending.map(\.stream))", "\(peer.isUp)", "\(peer.lastTimestamp)",
            "\(String(describing: peer.endpoint))", "\(String(describing: peer.waiting?.payload))",
            "\(String(describing: peer.cookie?.bytes))",
        ]
    }

    // MARK: Post-quantum

    @Test(arguments: PostQuantumChoice.allCases, PostQuantumChoice.allCases)
    func whoAgreesOnWhat(_ a: PostQuantumChoice, _ b: PostQuantumChoice) {
        let mesh = pair(a, b)
        let isUp = mesh.runUntilUp(limit: .seconds(5)) != nil
        let mayBe = !(a == .required && b == .off) && !(a == .off && b == .required)
        #expect(isUp == mayBe)
        if !mayBe {
            let refusing = a == .required ? 0 : 1
            #expect(refusals(mesh, refusing, .noPostQuantum) > 0)
            #expect(mesh.sites[refusing].count { if case .noPostQuantum = $0 { true } else { false } } == 1)
            #expect(!mesh.sent.contains { $0.kind == .sealed && $0.from == refusing })
            return
        }
        mesh.run(for: .seconds(1))
        #expect(carriesBothWays(mesh))
        let isHybrid = a != .off && b != .off
        let words = isHybrid ? "X25519 + ML-KEM-768" : "X25519"
        for site in mesh.sites {
            #expect(site.core.control.snapshot(of: PeerIndex(0)).isHybrid == isHybrid)
            #expect(site.count { if case .peerUp(_, _, _, words) = $0 { true } else { false } } == 1)
        }
        #expect(mesh.sent.filter { $0.kind != .sealed }.allSatisfy { $0.bytes.count <= 1_232 })
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func comesUpOverWiresThatLoseAndReorder(_ seed: UInt64) throws {
        let wire = WireCharacter(delay: .milliseconds(20), jitter: .milliseconds(30), lossMillionths: 250_000)
        let mesh = pair(.required, .required, seed: seed, wire: wire)
        _ = try #require(mesh.runUntilUp(limit: .seconds(60)))
    }

    /// Renewals under traffic: every frame arrives, every session is hybrid.
    @Test func renewalsLoseNothing() throws {
        let mesh = pair(.on, .on, wire: WireCharacter(delay: .milliseconds(40))) { setup, _ in setup.rekeyTime = .seconds(2) }
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        let start = mesh.now
        for number in 0..<1_000 as Range<UInt32> {
            mesh.send(
                testFrame(to: .broadcast, from: host(0), number: number), site: 0, at: start + .milliseconds(10 * Int64(number)))
        }
        mesh.run(for: .seconds(11))
        #expect(mesh.sites[1].numbers() == Array(0..<1_000))
        #expect(mesh.sites[0].core.control.snapshot(of: PeerIndex(0)).handshakes >= 4)
        #expect(mesh.sites.allSatisfy { $0.core.control.peers[0].sessions.allSatisfy(\.isHybrid) })
    }

    /// Who can drop annexes can prevent the handshake, and nothing else: no session without ML-KEM comes of it.
    @Test func withoutAnnexesThereIsNoSession() {
        let mesh = pair(.on, .on, wire: WireCharacter(limit: 1_207)) { setup, number in setup.dials = number == 0 }
        #expect(mesh.runUntilUp(limit: .seconds(20)) == nil)
        #expect(mesh.sites.allSatisfy { $0.core.control.peers[0].sessions.isEmpty })
        #expect(!mesh.sent.contains { $0.from == 1 }, "nothing is answered")
        #expect(refusals(mesh, 1, .annexMissing) > 5)
        #expect(mesh.sites[1].count { if case .annexMissing = $0 { true } else { false } } == 1)
    }

    /// Datagrams of the handshake cut, changed, made longer, or sent again: no answer, and no state.
    @Test func changedDatagramsDoNothing() throws {
        let mesh = pair(.on, .on) { setup, number in setup.dials = number == 0 }
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .milliseconds(100))
        let initiation = try #require(mesh.sent.first { $0.kind == .initiation }).bytes
        let annex = try #require(mesh.sent.first { $0.kind == .annex }).bytes
        let (dialler, responder) = (mesh.sites[0], mesh.sites[1])

        func disturb(_ bytes: [UInt8], _ site: VirtualSite) {
            let before = state(site)
            let answers = mesh.sent.count { $0.from == site.index }
            for bit in 0..<(bytes.count * 8) {
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                mesh.inject(changed, to: site.index, from: HandshakeTests.elsewhere)
            }
            for count in 0..<bytes.count {
                mesh.inject(Array(bytes.prefix(count)), to: site.index, from: HandshakeTests.elsewhere)
            }
            mesh.inject(bytes + [0], to: site.index, from: HandshakeTests.elsewhere)
            mesh.inject(bytes + bytes, to: site.index, from: HandshakeTests.elsewhere)
            #expect(state(site) == before)
            #expect(mesh.sent.count { $0.from == site.index } == answers, "nothing is answered")
        }
        // An annex before its initiation is nothing either.
        mesh.inject(annex, to: 1, from: dialler.endpoint)
        #expect(refusals(mesh, 1, .strayAnnex) == 1)
        disturb(initiation, responder)
        mesh.inject(initiation, to: 1, from: dialler.endpoint)
        #expect(responder.core.control.peers[0].waiting != nil && !mesh.sent.contains { $0.from == 1 })
        disturb(annex, responder)
        // Another key under the right stream and a right mac, as anybody can make it who has seen the annex.
        var other = Array(annex.dropLast(16))
        other[100] ^= 1
        mesh.inject(HandshakeMAC.appended(to: other, for: responder.identity.publicKey), to: 1, from: dialler.endpoint)
        #expect(refusals(mesh, 1, .annexMismatch) == 1 && responder.core.control.peers[0].waiting != nil)
        mesh.inject(annex, to: 1, from: dialler.endpoint)
        let response = try #require(mesh.sent.last { $0.kind == .response }).bytes
        #expect(response.count <= annex.count)
        disturb(response, dialler)
        // Without its flag it is read as one without ML-KEM: it does not authenticate, also with a right mac.
        var stripped = Array(response.dropLast(16))
        stripped[2] = 0
        for bytes in [stripped, Array(stripped.prefix(40)) + Array(stripped.dropFirst(40 + 1_104))] {
            let before = state(dialler)
            mesh.inject(HandshakeMAC.appended(to: bytes, for: dialler.identity.publicKey), to: 0, from: responder.endpoint)
            #expect(state(dialler) == before)
        }
        mesh.setWire(0, 1) { $0.isCut = false }
        mesh.inject(response, to: 0, from: responder.endpoint)
        #expect(dialler.state(of: 1) == .up)
        mesh.run(for: .milliseconds(50))
        #expect(responder.state(of: 0) == .up)
        // All of it once more: replays.
        for bytes in [initiation, annex] {
            let before = state(responder)
            let answers = mesh.sent.count { $0.from == 1 }
            mesh.inject(bytes, to: 1, from: HandshakeTests.elsewhere)
            #expect(state(responder) == before && mesh.sent.count { $0.from == 1 } == answers)
        }
        #expect(refusals(mesh, 1, .replayed) == 1)
    }

    // MARK: Load

    /// 100,000 initiations from as many sources, all with right macs: public-key work within the limit, an answer of 76 octets at
    /// most for each, and a peer that comes up in the middle of it all.
    @Test func aFloodFromManySources() throws {
        let mesh = pair(.on, .on) { setup, number in
            setup.dials = number == 0
            setup.handshakeLoad = 50
        }
        mesh.setWire(0, 1) { $0.isCut = true }
        let victim = mesh.sites[1]
        var random = SeededRandom(seed: 9)
        var received = 0
        func flood(_ count: Int) {
            for _ in 0..<count {
                let noise = (0..<113).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                let bytes = Initiation.datagram(message: noise, to: victim.identity.publicKey)
                received += bytes.count
                mesh.inject(bytes, to: 1, from: Endpoint(ipv4: UInt32(truncatingIfNeeded: random.next()) | 1 << 31, port: 1_000))
            }
        }
        // Ten seconds at 8,000 a second, then the peer appears.
        for _ in 0..<100 {
            flood(800)
            mesh.run(for: .milliseconds(100))
        }
        mesh.setWire(0, 1) { $0.isCut = false }
        for _ in 0..<25 {
            flood(800)
            mesh.run(for: .milliseconds(100))
        }
        let counters = victim.core.control.handshakeCounters
        #expect(received >= 100_000 * 133)
        #expect(counters.judged <= 60, "\(counters.judged): the first burst and the peer's")
        let answers = mesh.sent.filter { $0.from == 1 && $0.kind == .cookieReply }
        #expect(answers.allSatisfy { $0.bytes.count == 76 } && answers.count == Int(counters.cookiesSent))
        #expect(counters.cookiesSent <= 100_010)
        #expect(victim.core.control.handshakeGuard.sources.placeCount == SourceTable.sets * SourceTable.ways)
        #expect(victim.state(of: 0) == .up && mesh.sites[0].state(of: 1) == .up)
        #expect(mesh.sites[0].core.control.handshakeCounters.cookiesTaken >= 1)
        #expect(victim.count { if case .underLoad = $0 { true } else { false } } <= 3)
        #expect(refusals(mesh, 1, .underLoad) == counters.cookiesSent)
    }

    /// A cookie is good for the address it was sent to, and for two to four minutes.
    @Test func aCookieIsOfNoUseElsewhere() throws {
        let mesh = pair(.off, .off) { setup, number in
            setup.dials = number == 0
            setup.handshakeLoad = 1
        }
        let site = mesh.sites[1]
        // The first is answered; from the second on everybody is asked.
        mesh.run(for: .milliseconds(1))
        let junk = Initiation.datagram(message: [UInt8](repeating: 9, count: 113), to: site.identity.publicKey)
        mesh.inject(junk, to: 1, from: HandshakeTests.elsewhere)
        mesh.inject(junk, to: 1, from: HandshakeTests.elsewhere)
        let reply = try #require(mesh.sent.last { $0.from == 1 && $0.kind == .cookieReply }).bytes
        let cookie = try #require(CookieReply(reply)?.cookie(from: site.identity.publicKey))
        let with = Initiation.datagram(message: [UInt8](repeating: 9, count: 113), to: site.identity.publicKey, cookie: cookie)
        func judged() -> UInt64 { site.core.control.handshakeCounters.judged }
        var before = judged()
        mesh.inject(with, to: 1, from: Endpoint(ipv4: 0xCB00_7142, port: 4_001))
        mesh.inject(with, to: 1, from: Endpoint(ipv4: 0xCB00_7143, port: 4_000))
        #expect(judged() == before)
        mesh.inject(with, to: 1, from: HandshakeTests.elsewhere)
        #expect(judged() == before + 1)
        // Two secrets later.
        mesh.run(for: .seconds(241))
        mesh.inject(junk, to: 1, from: HandshakeTests.elsewhere)
        mesh.inject(junk, to: 1, from: HandshakeTests.elsewhere)
        before = judged()
        mesh.inject(with, to: 1, from: HandshakeTests.elsewhere)
        #expect(judged() == before)
    }

    /// A cookie reply that nobody asked for, or that is not the peer's.
    @Test func foreignCookiesAreRefused() throws {
        let mesh = pair(.off, .off) { setup, number in setup.dials = number == 0 }
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .milliseconds(10))
        let initiation = try #require(mesh.sent.first { $0.kind == .initiation }.flatMap { Initiation($0.bytes) })
        let site = mesh.sites[0]
        let right = CookieReply.datagram(
            cookie: [UInt8](repeating: 1, count: 16), mac: initiation.mac, nonce: [UInt8](repeating: 2, count: 24),
            from: mesh.sites[1].identity.publicKey)
        let before = state(site)
        let sent = mesh.sent.count
        for bit in 0..<(right.count * 8) {
            var changed = right
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            // Octets 2 and 3 are authenticated too.
            mesh.inject(changed, to: 0, from: HandshakeTests.elsewhere)
        }
        let foreign = CookieReply.datagram(
            cookie: [UInt8](repeating: 1, count: 16), mac: initiation.mac, nonce: [UInt8](repeating: 2, count: 24),
            from: site.identity.publicKey)
        mesh.inject(foreign, to: 0, from: HandshakeTests.elsewhere)
        #expect(state(site) == before && mesh.sent.count == sent)
        mesh.inject(right, to: 0, from: mesh.sites[1].endpoint)
        #expect(site.core.control.peers[0].cookie?.bytes == [UInt8](repeating: 1, count: 16))
        mesh.inject(right, to: 0, from: mesh.sites[1].endpoint)
        #expect(refusals(mesh, 0, .strayCookie) >= 2, "once for each initiation")
    }

    /// Noise of every kind and length with right macs, from those who know our public key: nothing is answered, nothing kept, and
    /// the peer comes up afterwards.
    @Test func garbageWithRightMacs() throws {
        let mesh = pair(.on, .on) { setup, number in setup.dials = number == 0 }
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .milliseconds(10))
        let real = mesh.sent.filter { $0.from == 0 }.map(\.bytes)
        mesh.inject(try #require(real.first { $0[0] == 1 }), to: 1, from: mesh.sites[0].endpoint)
        let site = mesh.sites[1]
        let before = state(site)
        var random = SeededRandom(seed: 77)
        for _ in 0..<20_000 {
            var bytes: [UInt8]
            if random.next() % 2 == 0 {
                bytes = Array(try #require(real.randomElement(using: &random)).dropLast(16))
                for _ in 0...(random.next() % 4) {
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8(truncatingIfNeeded: random.next())
                }
                bytes = Array(bytes.prefix(Int.random(in: 1...bytes.count, using: &random)))
            } else {
                bytes = (0..<Int.random(in: 1...1_300, using: &random)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            }
            if random.next() % 4 > 0 { bytes[0] = [1, 2, 3, 5][Int(random.next() % 4)] }
            if bytes.count > 1 && random.next() % 4 > 0 { bytes[1] = 1 }
            let datagram = HandshakeMAC.appended(to: bytes, for: site.identity.publicKey)
            mesh.inject(datagram, to: 1, from: Endpoint(ipv4: UInt32(truncatingIfNeeded: random.next()) | 1 << 31, port: 9))
        }
        #expect(state(site) == before)
        let answers = mesh.sent.filter { $0.from == 1 }
        #expect(answers.allSatisfy { $0.kind == .cookieReply }, "cookies under load, and nothing else")
        mesh.setWire(0, 1) { $0.isCut = false }
        _ = try #require(mesh.runUntilUp(limit: .seconds(10)))
    }

    // MARK: What is said

    @Test func anotherPresharedKey() {
        let mesh = pair { setup, number in
            setup.dials = number == 0
            if number == 0 { setup.presharedKey = [UInt8](repeating: 1, count: 32) }
        }
        mesh.run(for: .seconds(20))
        #expect(refusals(mesh, 0, .wrongPresharedKey) > 5)
        #expect(mesh.sites[0].count { if case .unauthenticResponse = $0 { true } else { false } } <= 2)
        #expect(mesh.sites[1].count { if case .neverConfirmed("site0", _, _, _) = $0 { true } else { false } } == 1)
        #expect(mesh.sites[1].core.control.handshakeCounters.neverConfirmed == 1)
    }

    @Test func ourOwnKey() {
        let mesh = pair()
        let own = mesh.sites[1].identity
        var random = SeededRandom(seed: 4)
        var noise = NoiseHandshake.initiator(
            local: own, remote: own.publicKey, ephemeral: KeyPair.generate(using: &random),
            presharedKey: [UInt8](repeating: 0, count: 32), prologue: Initiation.prologue)
        let payload = Initiation.Payload(timestamp: .max, stream: 1, ciphers: .supported, keepalive: 1_000)
        let message = noise.writeFirst(payload: payload.encoded) ?? []
        mesh.inject(Initiation.datagram(message: message, to: own.publicKey), to: 1, from: HandshakeTests.elsewhere)
        #expect(refusals(mesh, 1, .ownKey) == 1)
        #expect(mesh.sites[1].count { if case .ownKey = $0 { true } else { false } } == 1)
    }

    /// Two machines with one key file: each takes the session from the other.
    @Test func oneKeyInTwoPlaces() throws {
        let mesh = pair { setup, number in setup.dials = number == 0 }
        let places = [mesh.sites[0].endpoint, Endpoint(ipv4: 0xC633_6401, port: 65_000)]
        for turn in 0..<4 {
            mesh.sites[0].endpoint = places[turn % 2]
            mesh.restart(0)
            mesh.run(for: .seconds(2))
        }
        #expect(mesh.sites[1].core.control.handshakeCounters.rivals == 1)
        #expect(mesh.sites[1].count { if case .rivals("site0", _, _, 0) = $0 { true } else { false } } == 1)
    }

    @Test func aClockThatWentBack() throws {
        let mesh = pair(.off, .off) { setup, number in setup.dials = number == 0 }
        _ = try #require(mesh.runUntilUp(limit: .seconds(2)))
        mesh.restart(0)
        mesh.sites[0].core.control.handleClock(VirtualMesh.wallClock - 60_000_000_000, at: mesh.now)
        // Until the other side misses the peer and begins by itself.
        mesh.run(for: .seconds(10))
        #expect(refusals(mesh, 1, .clockBack) > 2 && refusals(mesh, 1, .replayed) == 0)
        #expect(mesh.sites[1].count { if case .clockBack("site0", .seconds(60), _, 0) = $0 { true } else { false } } <= 1)
        #expect(mesh.sites[1].count { if case .clockBack = $0 { true } else { false } } == 1)
    }
}

@Suite struct HandshakeGuardTests {
    private var random = SeededRandom(seed: 3)

    @Test mutating func prefixes() {
        #expect(SourceTable.prefixes(of: Endpoint(ipv4: 0xC000_0217, port: 9)) == (0xFFFF_C000_0217, 0xFFFF_C000_0200))
        let six = Endpoint(high: 0x2001_0DB8_1234_5678, low: 1, port: 9)
        #expect(SourceTable.prefixes(of: six) == (0x2001_0DB8_1234_5678, 0x2001_0DB8_1234_0000))
    }

    /// The host's 100 at once, then 50 a second; the network's 400.
    @Test mutating func tokens() {
        var table = SourceTable(secret: HashSecret(using: &random))
        func source(_ host: UInt32) -> Endpoint { Endpoint(ipv4: 0xC000_0200 + host, port: 9) }
        var taken = 0
        for _ in 0..<150 where table.take(source(1), isProven: false, at: .zero) { taken += 1 }
        #expect(taken == 100)
        for _ in 0..<150 where table.take(source(1), isProven: false, at: .zero + .seconds(1)) { taken += 1 }
        #expect(taken == 150)
        taken = 0
        for host in 0..<100 as Range<UInt32> {
            for _ in 0..<10 where table.take(source(host), isProven: true, at: .zero) { taken += 1 }
        }
        #expect(taken == 400, "who proves an address has buckets of his own")
        #expect(table.evictions == 0)
    }

    @Test mutating func aFullTableForgetsThoseWhoAskedLeast() {
        var table = SourceTable(secret: HashSecret(using: &random))
        let heavy = Endpoint(ipv4: 0x0A00_0001, port: 9)
        for _ in 0..<100 { _ = table.take(heavy, isProven: false, at: .zero) }
        for number in 0..<100_000 as Range<UInt32> {
            _ = table.take(Endpoint(ipv4: 0x8000_0000 + number << 8, port: 9), isProven: false, at: .zero)
        }
        #expect(table.evictions > 100_000 && table.placeCount == 8_192)
        let isTaken = table.take(heavy, isProven: false, at: .zero)
        #expect(!isTaken, "it is not forgotten for those who came once")
    }
}
