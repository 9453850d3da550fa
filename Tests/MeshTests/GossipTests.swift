// Gossip between few nodes, step by step: what is told to whom, what is refused, and what outlives a restart.

import Basics
import Testing

@testable import Mesh

@Suite struct GossipTests {
    private func interest(_ number: UInt32) -> MeshTopic {
        .interest(VLAN(rawValue: 10), group: IPAddress(ipv4: 0xEF01_0000 + number), source: nil)
    }
    private let wanted = MeshValue.interest(isExcluded: false, generations: 4)

    /// Every octet of a page before its signature.
    @Test func octetsOfAPage() throws {
        let one = signer(1)
        let facts = try [
            MeshFact(interest(5), wanted),
            MeshFact(
                .interest(.untagged, group: address(232, 1, 1, 1), source: address(192, 0, 2, 7)),
                .interest(isExcluded: true, generations: 4)),
            MeshFact(.link(SiteID(high: 1, low: 2)), .link(LinkMeasure(roundTripMicroseconds: 258, loss: 3, isSuspect: true))),
            MeshFact(.address(Endpoint(ipv4: 0xC000_0207, port: 7117)), .address(rank: 9)),
            MeshFact(.routers(nil, .v6), .routers(kinds: 2, wantsEverything: true)), MeshFact(.unregistered, .unregistered),
            MeshFact(.other(kind: 77, body: [1, 2]), .other),
        ].map { try #require($0.encoded) }
        let expected = [
            "050009" + "00000a" + "ef010005" + "0004", "05000d" + "010000" + "e8010101" + "c0000207" + "0104",
            "040017" + "0000000000000001" + "0000000000000002" + "00000102" + "0003" + "01",
            "030013" + "0000000000000000" + "0000ffffc0000207" + "1bcd" + "09", "060005" + "ffff" + "06" + "02" + "01", "070000",
            "4d0002" + "0102",
        ]
        #expect(facts.map { hex($0) } == expected)
        let page = GossipPage(
            owner: site(1), number: 3, version: 0x0102, facts: facts.flatMap { $0 }, mesh: authority.key.mesh, by: one)
        var owner: [UInt8] = []
        owner.append(site: site(1))
        #expect(hex(page.bytes.dropLast(64)) == "01000003" + hex(owner) + "0000000000000102" + expected.joined())
        let read = try #require(GossipPage(page.bytes))
        #expect(read == page && read.isSigned(in: authority.key.mesh, by: one.point))
        #expect(!read.isSigned(in: .none, by: one.point) && !read.isSigned(in: authority.key.mesh, by: signer(2).point))
        #expect(read.facts?.count == 7 && read.facts?.last?.topic == .other(kind: 77, body: [1, 2]))
    }

    @Test func octetsOfMessages() {
        let name = SiteID(high: 1, low: 2)
        let hexName = "00000000000000010000000000000002"
        let known: [(GossipMessage, String)] = [
            (.pages([[1, 2], []]), "41" + "00020102" + "0000"),
            (.summary([UInt8](repeating: 9, count: 16)), "42" + String(repeating: "09", count: 16)),
            (
                .digest(revocations: 3, [GossipMessage.OwnerDigest(owner: name, hash: 4)]),
                "43" + "0000000000000003" + hexName + "0000000000000004"
            ),
            (
                .have(name, isAnswer: true, [GossipMessage.PageDigest(number: 5, stamp: PageStamp(version: 6, hash: 7))]),
                "4401" + hexName + "0005" + "0000000000000006" + "0000000000000007"
            ),
            (.answers([[1, 2], []]), "47" + "00020102" + "0000"), (.revocations([[3]]), "45" + "000103"),
            (.revocationsHeld(isAnswer: false, [name]), "4600" + hexName),
        ]
        for (message, text) in known {
            #expect(hex(message.encoded) == text)
            #expect(GossipMessage.parse(message.encoded) == message)
            for count in 0..<message.encoded.count {
                // Cut short, it is another message or none, and never a trap.
                if let less = GossipMessage.parse(Array(message.encoded.prefix(count))) { #expect(less != message) }
            }
        }
        #expect(GossipMessage.parse([0x01]) == nil && GossipMessage.parse([0x7F]) == nil)
    }

    @Test func aChangeGoesAtOnce() throws {
        let mesh = GossipMesh(3, seed: 1)
        for node in 0..<3 { try mesh.start(node) }
        mesh.connect(0, 1)
        mesh.connect(1, 2)
        mesh.run(for: .seconds(3))
        #expect(mesh.isAgreed() && mesh.differences() == [])
        mesh.with(2) { _ = $0.takeChanges() }
        mesh.set(0, interest(1), wanted)
        mesh.run(for: .milliseconds(3))
        #expect(mesh.nodes[2]?.value(of: interest(1), from: mesh.name(0)) == wanted)
        mesh.with(2) {
            #expect($0.takeChanges() == [MeshChange(owner: mesh.name(0), topic: interest(1), value: wanted)])
            #expect($0.takeChanges().isEmpty)
        }
        // Five changes within the pace are one page.
        let before = mesh.nodes[0]?.counters.pagesSigned ?? 0
        for number in 2...6 as ClosedRange<UInt32> { mesh.set(0, interest(number), wanted) }
        mesh.set(0, interest(1), nil)
        mesh.run(for: .milliseconds(200))
        #expect(mesh.nodes[0]?.counters.pagesSigned == before + 1 && mesh.differences() == [])
        #expect(mesh.nodes[2]?.value(of: interest(1), from: mesh.name(0)) == nil)
        #expect(mesh.nodes[1]?.addresses(of: mesh.name(2)) == [Endpoint(ipv4: 0xC000_0202, port: 7117)])
        #expect(mesh.nodes[1]?.counters.forged == 0 && mesh.nodes[1]?.counters.strangers == 0)
    }

    @Test func nobodyIsToldTwice() throws {
        let mesh = GossipMesh(6, seed: 1)
        for node in 0..<6 { try mesh.start(node) }
        for a in 0..<6 { for b in (a + 1)..<6 { mesh.connect(a, b) } }
        mesh.run(for: .seconds(30))
        #expect(mesh.isAgreed())
        let before = (0..<6).map { mesh.nodes[$0]?.counters.duplicates ?? 0 }
        let sent = mesh.messagesSent
        mesh.set(0, interest(1), wanted)
        mesh.run(for: .milliseconds(500))
        #expect((0..<6).map { mesh.nodes[$0]?.counters.duplicates ?? 0 } == before)
        #expect(mesh.messagesSent <= sent + 5 + 12 && mesh.isAgreed())
    }

    @Test func forgeriesAreRefused() throws {
        let mesh = GossipMesh(3, seed: 1)
        for node in 0..<2 { try mesh.start(node) }
        mesh.connect(0, 1)
        mesh.run(for: .seconds(1))
        func offer(_ page: GossipPage) -> GossipCounters {
            mesh.with(0) { $0.handleMessage(GossipMessage.pages([page.bytes]).encoded, from: mesh.name(1), at: mesh.now) }
            return mesh.nodes[0]?.counters ?? GossipCounters()
        }
        let identity = try #require(mesh.nodes[1]?.owners[mesh.name(1)]?.pages[0])
        func page(_ owner: Int, by author: Int, number: UInt16 = 0, version: UInt64 = .max, in mesh: MeshID = authority.key.mesh)
            -> GossipPage
        {
            let facts = identity.bytes.dropFirst(GossipPage.headerBytes).dropLast(64)
            return GossipPage(
                owner: site(owner), number: number, version: version, facts: Array(facts), mesh: mesh, by: signer(author))
        }
        // Of another's pages: signed by the teller, for another mesh, with a pass that is another's; of a stranger.
        #expect(offer(page(1, by: 0)).forged == 1)
        #expect(offer(page(1, by: 1, in: .none)).forged == 2)
        #expect(offer(page(2, by: 2)).strangers == 1)
        #expect(offer(page(2, by: 2, number: 5)).strangers == 2)
        #expect(offer(page(0, by: 1)).forged == 3)
        #expect(mesh.nodes[0]?.sites.count == 2 && mesh.isAgreed())
        #expect(offer(page(1, by: 1, number: 5, version: 1)).pagesTaken == (mesh.nodes[0]?.counters.pagesTaken))
        // A bit anywhere.
        for bit in stride(from: 0, to: identity.bytes.count * 8, by: 37) {
            var bytes = identity.bytes
            bytes[20] = 0xFF
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            let taken = mesh.nodes[0]?.counters.pagesTaken
            mesh.with(0) { $0.handleMessage(GossipMessage.pages([bytes]).encoded, from: mesh.name(1), at: mesh.now) }
            #expect(mesh.nodes[0]?.counters.pagesTaken == taken)
        }
        #expect(mesh.nodes[0]?.handleMessageForTest([0x01, 0x02], from: mesh.name(1)) == false)
    }

    @Test func aLostClock() throws {
        let mesh = GossipMesh(3, seed: 1)
        for node in 0..<3 { try mesh.start(node) }
        mesh.connect(0, 1)
        mesh.connect(1, 2)
        for number in 0..<100 as Range<UInt32> { mesh.set(0, interest(number), wanted) }
        mesh.run(for: .seconds(2))
        mesh.stop(0)
        mesh.run(for: .seconds(2))
        // It is back without its state, thinks that it is 1970, and wants one group instead of a hundred.
        try mesh.start(0, clock: 7)
        mesh.set(0, interest(500), wanted)
        mesh.connect(0, 1)
        mesh.run(for: .seconds(5))
        #expect((mesh.nodes[0]?.counters.versionJumps ?? 0) > 0)
        #expect(mesh.isAgreed() && mesh.differences() == [])
        #expect(mesh.nodes[2]?.facts(of: mesh.name(0)).contains { $0.topic == interest(0) } == false)
    }

    @Test func revocationsAreFinal() throws {
        let mesh = GossipMesh(4, seed: 3)
        for node in 0..<4 { try mesh.start(node) }
        for node in 0..<3 { mesh.connect(node, node + 1) }
        mesh.run(for: .seconds(5))
        #expect(mesh.nodes[0]?.sites.count == 4)
        let word = authority.sign(try #require(Revocation(made: newYear, key: signer(3).publicKey))).bytes
        mesh.with(0) {
            _ = $0.takeChanges()
            #expect($0.handleRevocation(word, from: nil, at: mesh.now) == nil)
            #expect($0.takeChanges().contains(MeshChange(owner: mesh.name(3), topic: .pass, value: nil)))
        }
        mesh.run(for: .milliseconds(10))
        for node in 0..<3 {
            #expect(mesh.nodes[node]?.sites.contains(mesh.name(3)) == false)
            #expect(mesh.nodes[node]?.passes.problem(of: mesh.name(3), at: newYear) != nil)
        }
        // Its word is not taken any more, and it knows that it is out.
        mesh.set(3, interest(1), wanted)
        mesh.run(for: .seconds(60))
        #expect(mesh.nodes[2]?.sites.contains(mesh.name(3)) == false)
        #expect(mesh.nodes[3]?.passes.revocationCount == 1)
        #expect(mesh.summary(0) == mesh.summary(1) && mesh.summary(1) == mesh.summary(2))
        // A gateway that was away hears of it by comparison.
        mesh.stop(0)
        try mesh.start(0)
        mesh.connect(0, 2)
        mesh.run(for: .seconds(2))
        #expect(mesh.nodes[0]?.passes.revocationCount == 1)
    }

    @Test func passesEnd() throws {
        let mesh = GossipMesh(2, seed: 1)
        for node in 0..<2 { try mesh.start(node) }
        mesh.connect(0, 1)
        mesh.run(for: .seconds(1))
        #expect(mesh.nodes[0]?.sites.count == 2)
        mesh.with(0) { $0.handleTime(wall: newYear.adding(365 * UnixTime.secondsPerDay + 299), at: mesh.now) }
        #expect(mesh.nodes[0]?.sites.count == 2)
        mesh.with(0) { $0.handleTime(wall: newYear.adding(365 * UnixTime.secondsPerDay + 302), at: mesh.now) }
        #expect(mesh.nodes[0]?.sites == [mesh.name(0)])
        let renewed = authority.sign(pass(1, serial: 99, days: 800)).bytes
        mesh.with(1) { #expect($0.setPass(renewed, at: mesh.now) == nil) }
        mesh.run(for: .milliseconds(500))
        #expect(mesh.nodes[0]?.sites.count == 2 && mesh.nodes[0]?.passes.pass(of: mesh.name(1))?.pass.serial == 99)
    }

    /// A is restarted from its file; B, through which it came into the mesh, is gone.
    @Test func snapshots() throws {
        let mesh = GossipMesh(3, seed: 1)
        for node in 0..<3 { try mesh.start(node) }
        mesh.connect(0, 1)
        mesh.connect(1, 2)
        mesh.run(for: .seconds(2))
        let snapshot = try #require(mesh.nodes[0]?.snapshot)
        mesh.stop(0)
        mesh.stop(1)
        try mesh.start(0, clock: 5, snapshot: snapshot)
        #expect(mesh.nodes[0]?.sites.count == 3)
        #expect(mesh.nodes[0]?.addresses(of: mesh.name(2)) == [Endpoint(ipv4: 0xC000_0202, port: 7117)])
        #expect(mesh.nodes[0]?.passes.key(of: mesh.name(2)) == signer(2).publicKey)
        mesh.connect(0, 2)
        mesh.run(for: .seconds(20))
        #expect(mesh.isAgreed() && mesh.nodes[0]?.counters.versionJumps == 0)
        for index in stride(from: 0, to: snapshot.count, by: 13) {
            var damaged = snapshot
            damaged[index] ^= 0x10
            #expect(throws: Gossip.SnapshotProblem.damaged) { try mesh.start(0, snapshot: damaged) }
            #expect(throws: Gossip.SnapshotProblem.damaged) { try mesh.start(0, snapshot: Array(snapshot.prefix(index))) }
        }
        let other = GossipMesh(3, seed: 1, isListed: true)
        #expect(throws: Gossip.SnapshotProblem.foreignMesh) { try other.start(0, snapshot: snapshot) }
    }

    @Test func tenThousandInterests() throws {
        let mesh = GossipMesh(3, seed: 1)
        for node in 0..<3 { try mesh.start(node) }
        mesh.connect(0, 1)
        mesh.with(0) {
            for number in 0..<10_000 as Range<UInt32> {
                let isKept = $0.set(interest(number), wanted, at: mesh.now)
                #expect(isKept)
            }
        }
        mesh.run(for: .seconds(5))
        #expect(mesh.nodes[1]?.facts(of: mesh.name(0)).count == 10_000 + 4)
        // Somebody new is told all of it.
        mesh.connect(1, 2)
        mesh.run(for: .seconds(5))
        #expect(mesh.isAgreed() && mesh.nodes[2]?.facts(of: mesh.name(0)).count == 10_004)
        print("10,000 interests: \(mesh.nodes[0]?.storedPages ?? 0) pages, \(mesh.nodes[0]?.storedBytes ?? 0) octets")
    }

    @Test func limits() throws {
        let mesh = GossipMesh(6, seed: 1)
        mesh.adjust = {
            $0.ownerLimit = 4
            $0.pageLimit = 8
        }
        for node in 0..<6 { try mesh.start(node) }
        var kept: UInt32 = 0
        mesh.with(0) { while $0.set(interest(kept), wanted, at: mesh.now) { kept += 1 } }
        #expect(kept > 100 && kept < 400 && mesh.nodes[0]?.counters.limit == 1)
        for node in 1..<6 { mesh.connect(0, node) }
        mesh.run(for: .seconds(20))
        // All are in reach, so nobody's place is taken.
        #expect(mesh.nodes[0]?.sites.count == 4 && (mesh.nodes[0]?.counters.limit ?? 0) > 1)
        // One that is out of reach makes room.
        let known = (1..<6).filter { mesh.nodes[0]?.sites.contains(mesh.name($0)) == true }
        mesh.disconnect(0, known[0])
        mesh.run(for: .seconds(60))
        #expect(mesh.nodes[0]?.sites.count == 4 && mesh.nodes[0]?.sites.contains(mesh.name(known[0])) == false)
    }

    @Test func whoIsAwayTooLongIsGivenUp() throws {
        let mesh = GossipMesh(3, seed: 1)
        mesh.adjust = { $0.expiry = .seconds(100) }
        for node in 0..<3 { try mesh.start(node) }
        mesh.connect(0, 1)
        mesh.connect(1, 2)
        for number in 0..<50 as Range<UInt32> { mesh.set(2, interest(number), wanted) }
        mesh.run(for: .seconds(3))
        mesh.stop(2)
        mesh.run(for: .seconds(60))
        #expect(mesh.nodes[0]?.sites.count == 3)
        mesh.run(for: .seconds(80))
        #expect(mesh.nodes[0]?.sites.count == 2 && mesh.nodes[1]?.sites.count == 2 && mesh.isAgreed())
        // It comes back with a lost clock, below what it was given up with.
        try mesh.start(2, clock: 3)
        mesh.connect(1, 2)
        mesh.run(for: .seconds(60))
        #expect(mesh.nodes[0]?.sites.count == 3 && mesh.isAgreed() && mesh.differences() == [])
    }

    /// A slow neighbour's channel that is full is no reason to be called again at once; a rate that is used up is, later.
    @Test func whenToCallAgain() throws {
        var configuration = GossipConfiguration(
            privateKey: privateKey(0), trust: .authority(authority.key), pass: authority.sign(pass(0)).bytes, firstVersion: 1)
        configuration.rate = 1000
        configuration.burst = 200
        configuration.repairInterval = .seconds(1000)
        var random = SeededRandom(seed: 1)
        var gossip = Gossip(configuration, wall: newYear, at: seconds(1))
        gossip.handleNeighbourUp(site(1), at: seconds(1))
        gossip.handleTimeout(at: seconds(1), using: &random)
        #expect(gossip.nextTimeout == seconds(1001))
        #expect(gossip.pollMessage(for: site(1), at: seconds(1)) != nil)
        for number in 0..<100 as Range<UInt32> { gossip.set(interest(number), wanted, at: seconds(2)) }
        #expect(gossip.nextTimeout <= seconds(2))
        gossip.handleTimeout(at: seconds(2), using: &random)
        let first = gossip.pollMessage(for: site(1), at: seconds(2))
        gossip.set(.unregistered, .unregistered, at: seconds(2))
        gossip.handleTimeout(at: seconds(2.2), using: &random)
        #expect((first?.count ?? 0) > 1000 && gossip.pollMessage(for: site(1), at: seconds(2.2)) == nil)
        let due = gossip.nextTimeout
        #expect(due > seconds(2.5) && due < seconds(6))
        gossip.handleTimeout(at: due, using: &random)
        #expect(gossip.nextTimeout == seconds(1001) && gossip.pollMessage(for: site(1), at: due) != nil)
    }

    /// Owners that nobody has heard of, without end: what waits is bounded, and nothing is remembered of them.
    @Test func inventedOwners() throws {
        let mesh = GossipMesh(2, seed: 1)
        mesh.adjust = { $0.ownerLimit = 8 }
        try mesh.start(0)
        mesh.with(0) { gossip in
            gossip.handleNeighbourUp(mesh.name(1), at: mesh.now)
            for round in 0..<100 as Range<UInt64> {
                let names = (0..<50 as Range<UInt64>).map {
                    GossipMessage.OwnerDigest(owner: SiteID(high: round, low: $0), hash: 1)
                }
                gossip.handleMessage(GossipMessage.digest(revocations: 0, names).encoded, from: mesh.name(1), at: mesh.now)
                let page = GossipMessage.PageDigest(number: 0, stamp: PageStamp(version: 1, hash: 1))
                let have = GossipMessage.have(SiteID(high: round, low: 99), isAnswer: false, [page])
                gossip.handleMessage(have.encoded, from: mesh.name(1), at: mesh.now)
            }
            #expect(gossip.asked.count <= 16 && gossip.neighbours[mesh.name(1)]?.haves.count ?? 99 <= 16)
            #expect(gossip.sites.count == 1 && gossip.checkInvariants() == [])
        }
    }

    /// Any order and any repetition of the same pages gives the same.
    @Test func mergingHasNoOrder() throws {
        var random = SeededRandom(seed: 4)
        var pages: [[UInt8]] = []
        for owner in 1...3 {
            let source = GossipMesh(4, seed: 1)
            try source.start(owner, clock: UInt64.random(in: 1...3, using: &random))
            for step in 0..<6 as Range<UInt32> {
                source.set(owner, interest(.random(in: 0...3, using: &random)), step % 3 == 2 ? nil : wanted)
                source.run(for: .milliseconds(150))
                if step == 3 { try source.start(owner, clock: UInt64.random(in: 1...6, using: &random)) }
                source.with(owner) { gossip in
                    gossip.seal(at: source.now + .seconds(1))
                    pages +=
                        gossip.owners[source.name(owner)]?.pages.values.map(\.bytes).sorted { $0.lexicographicallyPrecedes($1) }
                        ?? []
                }
            }
        }
        var results: Set<[UInt8]> = []
        for _ in 0..<20 {
            let reader = GossipMesh(4, seed: 1)
            try reader.start(0)
            reader.with(0) {
                $0.handleNeighbourUp(reader.name(1), at: reader.now)
                // Identities first: without them the rest is a stranger's.
                let order = pages.shuffled(using: &random) + pages.shuffled(using: &random) + pages.shuffled(using: &random)
                for bytes in order {
                    $0.handleMessage(GossipMessage.pages([bytes]).encoded, from: reader.name(1), at: reader.now)
                }
                for bytes in order {
                    $0.handleMessage(GossipMessage.pages([bytes]).encoded, from: reader.name(1), at: reader.now)
                }
                results.insert($0.summary)
                #expect($0.sites.count == 4)
            }
        }
        #expect(results.count == 1)
    }
}

extension Gossip {
    /// Whether a message is gossip, without changing anything.
    fileprivate func handleMessageForTest(_ bytes: [UInt8], from site: SiteID) -> Bool {
        var copy = self
        return copy.handleMessage(bytes, from: site, at: .zero)
    }
}
