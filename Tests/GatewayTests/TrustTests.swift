// What a tunnel is trusted for, against those who keep datagrams and send them later or again, and against paths that carry one
// way.

import Basics
import Buffers
import Glibc
import Settings
import Testing

@testable import Gateway
@testable import Tunnels

@Suite struct TrustTests {
    private static let elsewhere = Endpoint(ipv4: 0xCB00_7142, port: 4_000)

    private func pair(
        seed: UInt64 = 1, wire: WireCharacter = WireCharacter(), _ change: (inout SiteSetup, Int) -> Void = { _, _ in }
    ) -> VirtualMesh {
        let setups = (0...1).map { number in
            var setup = SiteSetup()
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

    // MARK: Kept back

    /// Somebody keeps initiations of site 0 from arriving, and brings them to site 1 once a session stands that site 1 began:
    /// the answers are worth nothing, and nobody has moved.
    @Test(arguments: [1, 300] as [Int64])
    func anInitiationThatWasKeptBack(_ seconds: Int64) throws {
        let mesh = pair { setup, _ in
            setup.postQuantum = .on
            setup.rekeyTime = .seconds(1_000)
        }
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .milliseconds(3_500))
        func newest(_ kind: DatagramKind, from site: Int) throws -> [UInt8] {
            try #require(mesh.sent.last { $0.from == site && $0.kind == kind }).bytes
        }
        let kept = [try newest(.initiation, from: 0), try newest(.annex, from: 0)]
        mesh.setWire(0, 1) { $0.isCut = false }
        for kind in [DatagramKind.initiation, .annex] {
            mesh.inject(try newest(kind, from: 1), to: 0, from: mesh.sites[1].endpoint)
        }
        mesh.run(for: .milliseconds(20))
        #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .up })
        #expect(mesh.sent.count { $0.kind == .response } == 1, "site 1 began, and nobody else")
        mesh.run(for: .seconds(seconds))
        let sessions = mesh.sites[0].core.control.peers[0].sessions.map(\.stream)
        for bytes in kept { mesh.inject(bytes, to: 1, from: TrustTests.elsewhere) }
        let answer = try #require(mesh.sent.last { $0.from == 1 && $0.kind == .response })
        #expect(answer.to == -1, "it goes to where the initiation came from")
        mesh.inject(answer.bytes, to: 0, from: TrustTests.elsewhere)
        #expect(refusals(mesh, 0, .strayResponse) == 1)
        #expect(mesh.sites[0].core.control.peers[0].sessions.map(\.stream) == sessions)
        #expect(carriesBothWays(mesh))
        for site in mesh.sites {
            #expect(site.core.control.peers[0].endpoint == mesh.sites[1 - site.index].endpoint)
            #expect(site.core.lane.bridge.links[0].endpoint == mesh.sites[1 - site.index].endpoint)
        }
    }

    /// Nobody answers: what is under way is young, and its keys are gone.
    @Test func initiationsAreForgotten() {
        let mesh = pair { setup, number in setup.dials = number == 0 }
        mesh.kill(1)
        mesh.run(for: .seconds(60))
        let pending = mesh.sites[0].core.control.peers[0].pending
        #expect(!pending.isEmpty && pending.allSatisfy { $0.expires > mesh.now && $0.expires <= mesh.now + .seconds(5) })
        mesh.sites[0].core.control.peers[0].nextInitiation = nil
        mesh.run(for: .seconds(6))
        #expect(mesh.sites[0].core.control.peers[0].pending.isEmpty)
    }

    // MARK: Invented

    /// Who sees the initiation and the annex makes responses by the thousand: little work, and the true one is read all the same.
    @Test func inventedResponses() throws {
        let mesh = pair { setup, number in
            setup.postQuantum = .on
            setup.dials = number == 0
        }
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .milliseconds(10))
        let annex = try #require(mesh.sent.first { $0.kind == .annex }).bytes
        let (stream, _) = try #require(Annex.parse(annex))
        let site = mesh.sites[0]
        func invent(_ count: Int, from source: Endpoint) {
            for number in 0..<count {
                let message = [UInt8](repeating: UInt8(number & 255), count: NoiseHandshake.secondOverhead + 20)
                mesh.inject(
                    Response.datagram(message: message, for: stream, to: site.identity.publicKey), to: 0, from: source)
            }
        }
        invent(1_000, from: TrustTests.elsewhere)
        #expect(refusals(mesh, 0, .wrongPresharedKey) == 10 && refusals(mesh, 0, .tooManyResponses) == 990)
        mesh.run(for: .milliseconds(100))
        invent(10, from: TrustTests.elsewhere)
        #expect(refusals(mesh, 0, .wrongPresharedKey) == 11)
        mesh.setWire(0, 1) { $0.isCut = false }
        for kind in [DatagramKind.initiation, .annex] {
            mesh.inject(try #require(mesh.sent.first { $0.kind == kind }).bytes, to: 1, from: site.endpoint)
        }
        invent(10, from: TrustTests.elsewhere)
        mesh.run(for: .milliseconds(10))
        #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .up })
        // Those that seem to come from the peer itself are no better.
        mesh.restart(0)
        mesh.kill(1)
        mesh.run(for: .milliseconds(10))
        let again = try #require(mesh.sent.last { $0.kind == .annex }).bytes
        let (next, _) = try #require(Annex.parse(again))
        for _ in 0..<500 {
            let message = [UInt8](repeating: 1, count: NoiseHandshake.secondOverhead + 20)
            mesh.inject(
                Response.datagram(message: message, for: next, to: site.identity.publicKey), to: 0,
                from: mesh.sites[1].endpoint)
        }
        #expect(refusals(mesh, 0, .wrongPresharedKey) == 10)
    }

    // MARK: One way

    /// What site 0 sends is lost, and what it is sent arrives: both sides hold each other down soon, and come back once it heals.
    @Test(arguments: [50, 1_000] as [Int64])
    func aPathThatCarriesOneWay(_ milliseconds: Int64) throws {
        let mesh = pair { setup, _ in
            setup.paths.suspect = .milliseconds(milliseconds)
            setup.paths.down = .milliseconds(3 * milliseconds)
        }
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(1))
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        let down = Interval.milliseconds(3 * milliseconds) + .milliseconds(2)
        mesh.run(for: down)
        #expect(mesh.sites[1].state(of: 0) == .connecting, "the deaf side")
        mesh.run(for: down)
        #expect(mesh.sites[0].state(of: 1) == .connecting, "the side whose datagrams are lost")
        mesh.run(for: .seconds(30))
        for site in mesh.sites {
            #expect(site.state(of: 1 - site.index) == .connecting)
            #expect(site.count { if case .peerDown = $0 { true } else { false } } == 1, "and it stays so")
            #expect(site.core.lane.endpoint(of: PeerIndex(0)) == nil)
        }
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = false }
        mesh.run(for: .seconds(3))
        #expect(mesh.sites.allSatisfy { $0.state(of: 1 - $0.index) == .up })
        #expect(carriesBothWays(mesh))
    }

    // MARK: Keys on their way

    /// What finds room goes straight to the lane's queue, and what does not waits in its order.
    @Test func commandsWaitInTheirOrder() {
        let lane = SPSCQueue<LaneCommand>(capacity: 4)
        var held = HeldCommands()
        var taken: [UInt32] = []
        func take(_ count: Int) {
            for _ in 0..<count { if case .listMACs(let token) = lane.popWiping() { taken.append(token) } }
        }
        held.push(.listMACs(token: 0), to: lane)
        #expect(held.isEmpty && !lane.isEmpty && !lane.isFull)
        for token in 1..<500 as Range<UInt32> {
            held.push(.listMACs(token: token), to: lane)
            if token % 3 == 0 { take(1) }
        }
        #expect(!held.isEmpty && lane.isFull)
        while !held.isEmpty {
            take(3)
            held.flush(to: lane)
        }
        take(4)
        #expect(taken == Array(0..<500) && lane.isEmpty)
        held.push(.listMACs(token: 500), to: lane)
        #expect(held.isEmpty && !lane.isEmpty)
    }

    // MARK: Memory for keys

    /// A peer with another pre-shared key begins sessions for ever: few of them are kept, here and in the lane.
    @Test func sessionsThatNobodyConfirmsAreFew() {
        let mesh = pair { setup, number in
            setup.dials = number == 0
            if number == 0 { setup.presharedKey = [UInt8](repeating: 1, count: 32) }
        }
        mesh.run(for: .seconds(30))
        let site = mesh.sites[1]
        #expect(site.core.control.handshakeCounters.judged > 15)
        let sessions = site.core.control.peers[0].sessions
        #expect(sessions.count == PeerState.unconfirmedKept && sessions.allSatisfy { !$0.isConfirmed })
        let inLane = (0..<site.core.lane.sessions.count).count { site.core.lane.sessions[$0].stream != 0 }
        #expect(inLane == sessions.count)
        #expect(sessions.map(\.began).max().map { mesh.now - $0 < .seconds(4) } == true, "the newest")
    }

    /// No memory for keys: the lane says so, and control counts it and tells the operator.
    @Test func noMemoryForKeysIsSaid() async {
        await #expect(processExitsWith: .success) {
            let mailbox = testMailbox(ports: 1, peers: 1)
            var random = SeededRandom(seed: 1)
            var lane = LaneCore(
                LaneConfiguration(ports: 1, peers: 1, macLimit: 64), mailbox: mailbox, secret: HashSecret(using: &random))
            let key = Key256([UInt8](repeating: 3, count: 32))
            let install = LaneCommand.install(
                SessionInstallation(
                    peer: PeerIndex(0), localStream: StreamIdentifier.make(slot: 1, random: 0xABCD_0000), remoteStream: 77,
                    sendKey: key, receiveKey: key, cipher: .chacha20poly1305, isConfirmed: true,
                    endpoint: TrustTests.elsewhere, generation: 1, renewAfter: 1 << 32))
            var secrets: [SecretBytes] = []
            secrets.reserveCapacity(20_000)
            var areas: [UInt] = []
            areas.reserveCapacity(200_000)
            while areas.count < 200_000 {
                // Neighbours with the same rights would be one area.
                let rights = areas.count % 2 == 0 ? PROT_READ : PROT_NONE
                let area = unsafe UInt(bitPattern: mmap(nil, 4_096, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
                if area == UInt.max { break }
                areas.append(area)
            }
            if areas.count == 200_000 { exit(0) }
            while secrets.count < 20_000, secrets.last?.isGuarded != false { secrets.append(SecretBytes([1])) }
            if !mailbox.commands.push(install) { exit(2) }
            lane.handleCommands(at: .zero)
            guard case .notInstalled(PeerIndex(0)) = mailbox.events.pop() else { exit(3) }
            if lane.sessions[1].stream != 0 || lane.bridge.links[0].hasSender { exit(4) }
            secrets = []
            for area in areas { unsafe munmap(UnsafeMutableRawPointer(bitPattern: area), 4_096) }
            if !mailbox.commands.push(install) { exit(5) }
            lane.handleCommands(at: .zero)
            if lane.sessions[1].stream == 0 || !lane.bridge.links[0].hasSender { exit(6) }
            exit(0)
        }
        let mesh = pair()
        let site = mesh.sites[0]
        for _ in 0..<3 { site.core.control.handleNotInstalled(0, mesh.now) }
        mesh.run(for: .seconds(1))
        #expect(site.core.control.handshakeCounters.notInstalled == 3)
        #expect(site.count { if case .notInstalled("site1", suppressed: 0) = $0 { true } else { false } } == 1)
    }

    // MARK: Copies

    /// An initiation with a good cookie, seen on its way and sent again and again from where it came: no work, and the peer
    /// itself is not held up.
    @Test func copiesWithACookie() throws {
        let mesh = pair { setup, number in
            setup.dials = number == 0
            setup.handshakeLoad = 1
        }
        let (dialler, site) = (mesh.sites[0], mesh.sites[1])
        // Something that keeps cookies being asked for.
        let junk = Initiation.datagram(message: [UInt8](repeating: 9, count: 113), to: site.identity.publicKey)
        for _ in 0..<2 { mesh.inject(junk, to: 1, from: TrustTests.elsewhere) }
        mesh.run(for: .milliseconds(200))
        let real = try #require(mesh.sent.last { $0.from == 0 && $0.kind == .initiation }).bytes
        #expect(Initiation(real)?.cookieMAC != nil && dialler.state(of: 1) == .up)
        let judged = site.core.control.handshakeCounters.judged
        let sent = mesh.sent.count { $0.from == 1 }
        let refused = refusals(mesh, 1, .replayed)
        for _ in 0..<10_000 { mesh.inject(real, to: 1, from: dialler.endpoint) }
        #expect(site.core.control.handshakeCounters.judged == judged)
        #expect(refusals(mesh, 1, .replayed) == refused + 10_000 && mesh.sent.count { $0.from == 1 } == sent)
        #expect(refusals(mesh, 1, .rateLimited) == 0)
        // The true peer comes back at once.
        for _ in 0..<2 { mesh.inject(junk, to: 1, from: TrustTests.elsewhere) }
        mesh.restart(0)
        mesh.run(for: .milliseconds(100))
        #expect(dialler.state(of: 1) == .up && site.core.control.handshakeCounters.judged == judged + 1)
    }

    @Test func aTableOfProofsForgetsInTime() {
        var random = SeededRandom(seed: 5)
        var table = JudgedProofs(secret: HashSecret(using: &random))
        let proof = (0..<16).map { UInt8($0) }
        let isFirst = !table.isCopy(proof, at: .zero)
        let isSecond = table.isCopy(proof, at: .zero + .seconds(239))
        let isOther = !table.isCopy(Array(proof.reversed()), at: .zero)
        let isLate = !table.isCopy(proof, at: .zero + .seconds(240))
        #expect(isFirst && isSecond && isOther && isLate)
    }

    // MARK: Elsewhere for a moment

    /// One datagram comes by another way, and the next by the usual one, before control has heard of either: the lane goes back
    /// to the size that the path carries.
    @Test func aPeerThatWasElsewhereForAMoment() throws {
        let mesh = pair()
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(1))
        let site = mesh.sites[1]
        func link<R>(_ read: (borrowing PeerLink) -> R) -> R { read(site.core.lane.bridge.links[0]) }
        #expect(link { $0.datagramSize } == 1_472)
        for _ in 0..<2_000 where mesh.now - link({ $0.reported }) > .milliseconds(2) { mesh.run(for: .milliseconds(1)) }
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        for _ in 0..<2 {
            mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0)
            mesh.run(for: .milliseconds(1))
        }
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = false }
        let held = mesh.sent.filter { $0.from == 0 && $0.kind == .sealed }.suffix(2).map(\.bytes)
        mesh.inject(held[0], to: 1, from: TrustTests.elsewhere)
        #expect(link { $0.endpoint } == TrustTests.elsewhere)
        mesh.inject(held[1], to: 1, from: mesh.sites[0].endpoint)
        #expect(site.core.control.peers[0].endpoint == mesh.sites[0].endpoint, "control has not heard of it")
        #expect(link { $0.datagramSize } < 1_472 && link { $0.endpoint } == mesh.sites[0].endpoint)
        mesh.run(for: .seconds(1))
        #expect(link { $0.datagramSize } == 1_472)
        #expect(site.count { if case .peerRoamed = $0 { true } else { false } } == 0)
    }

    // MARK: The log

    /// A path that comes and goes ten times a second fills no disk, and nothing is hidden.
    @Test func aPathThatFlapsIsSaidNowAndThen() throws {
        let mesh = pair { setup, _ in
            setup.paths.suspect = .milliseconds(50)
            setup.paths.down = .seconds(3)
        }
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(1))
        var suspects = 0
        for _ in 0..<150 {
            mesh.setWire(0, 1) { $0.isCut = true }
            mesh.run(for: .milliseconds(70))
            if mesh.sites[0].state(of: 1) == .suspect { suspects += 1 }
            mesh.setWire(0, 1) { $0.isCut = false }
            mesh.run(for: .milliseconds(30))
        }
        #expect(suspects > 100)
        var (said, heldBack) = (0, 0)
        for (_, event) in mesh.sites[0].events {
            if case .peerSuspect(_, _, let suppressed) = event { (said, heldBack) = (said + 1, heldBack + suppressed) }
        }
        #expect(said == 2 && said + heldBack > 60, "\(said) lines for \(heldBack) more")
        #expect(mesh.sites[0].count { if case .peerRecovered = $0 { true } else { false } } == 2)
    }

    /// An initiation that never arrived is sent again much later, from here and from there: it says nothing of where its sender
    /// is.
    @Test func oldInitiationsMakeNoRivals() throws {
        let mesh = pair { setup, number in setup.dials = number == 0 }
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .seconds(15))
        let old = try #require(mesh.sent.first { $0.kind == .initiation }).bytes
        mesh.setWire(0, 1) { $0.isCut = false }
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(30))
        let site = mesh.sites[1]
        let sightings = site.core.control.peers[0].sightings.count
        for turn in 0..<6 {
            mesh.inject(old, to: 1, from: Endpoint(ipv4: 0xCB00_7142 + UInt32(turn % 2), port: 4_000))
        }
        #expect(refusals(mesh, 1, .clockBack) == 6 && site.core.control.handshakeCounters.rivals == 0)
        #expect(site.core.control.peers[0].sightings.count == sightings)
        #expect(site.count { $0.message.contains("old or replayed, or its clock went back") } == 1)
        #expect(site.count { if case .rivals = $0 { true } else { false } } == 0)
    }
}
