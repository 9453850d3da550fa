// Members of a mesh with passes, on the virtual clock: how they find each other, what they tell each other by gossip, and how
// they part.

import Basics
import Mesh
import Switching
import Testing
import Tunnels
import Wire

@testable import Gateway

struct MemberTests {
    private func setups(_ count: Int, _ change: (Int, inout MeshSetup) -> Void = { _, _ in }) -> [SiteSetup] {
        (0..<count).map { index in
            var setup = SiteSetup()
            var mesh = MeshSetup(seeds: index == 0 ? [] : [0])
            change(index, &mesh)
            setup.mesh = mesh
            return setup
        }
    }

    private func key(_ mesh: VirtualMesh, _ site: Int) -> PublicKey { mesh.sites[site].identity.publicKey }

    @Test func sixSitesFindEachOtherThroughOne() throws {
        let mesh = VirtualMesh(setups(6))
        let up = try #require(mesh.runUntilMembersUp())
        #expect(up < Instant.zero + .seconds(3))
        for site in 0..<6 { mesh.send(testFrame(to: .broadcast, from: host(site), number: UInt32(site)), site: site) }
        mesh.run(for: .milliseconds(100))
        for site in 0..<6 {
            #expect(mesh.sites[site].numbers().sorted() == (0..<6).filter { $0 != site }.map { UInt32($0) })
            // No place is counted as a peer that is down.
            #expect(mesh.sites[site][.peerDown] == 0)
        }
    }

    @Test func lossOfAThirdDelaysThemOnly() throws {
        let mesh = VirtualMesh(setups(4), wire: WireCharacter(jitter: .milliseconds(3), lossMillionths: 300_000))
        #expect(mesh.runUntilMembersUp(limit: .seconds(90)) != nil)
    }

    /// A pass with so many rules that it takes three hellos.
    @Test func longPassesComeInParts() throws {
        let rules = GroupRules.listed(
            (0..<100).map { number in
                GroupRule(IPPrefix(IPAddress(ipv4: 0xEF00_0000 | UInt32(number) << 8), length: 24)!)
            })
        let mesh = VirtualMesh(setups(3) { index, mesh in if index != 1 { mesh.send = rules } })
        #expect(mesh.runUntilMembersUp() != nil)
    }

    @Test func aMemberOfAnotherMeshIsRefusedAndNotAnswered() throws {
        let mesh = VirtualMesh(setups(2) { index, mesh in mesh.authority = UInt64(index + 1) })
        mesh.run(for: .seconds(20))
        #expect(mesh.sites[0].core.control.handshakeCounters[.foreignMesh] > 3)
        #expect(mesh.sent.allSatisfy { $0.from == 1 && $0.kind == .hello })
        #expect(mesh.sites[1].count { if case .helloUnanswered = $0 { true } else { false } } == 1)
    }

    @Test func anExpiredPassIsRefusedByNameAndTheOwnerIsTold() throws {
        let over = UnixTime(seconds: VirtualMesh.wallClock / 1_000_000_000 - 10_000)
        let mesh = VirtualMesh(setups(2) { index, mesh in if index == 1 { mesh.validUntil = over } })
        mesh.run(for: .seconds(5))
        #expect(mesh.sites[0].core.control.handshakeCounters[.badPass] > 0)
        let words = mesh.sites[0].events.map(\.event.message).first { $0.contains("refused the pass") }
        #expect(words?.contains("it expired at 2023-11-14T") == true)
        #expect(mesh.sites[1].count { if case .ownPass = $0 { true } else { false } } == 1)
        #expect(mesh.sites[0].member(key(mesh, 1)) == nil)
    }

    @Test func aPassThatEndsWhileTheyTalkEndsTheTalk() throws {
        let end = UnixTime(seconds: VirtualMesh.wallClock / 1_000_000_000 + 60)
        let mesh = VirtualMesh(setups(3) { index, mesh in if index == 2 { mesh.validUntil = end } })
        _ = try #require(mesh.runUntilMembersUp())
        mesh.run(until: .zero + .seconds(60 + Int64(PassBook.skew) - 2))
        #expect(mesh.sites[0].member(key(mesh, 2))?.state == .up)
        mesh.run(for: .seconds(5))
        #expect(mesh.sites[0].member(key(mesh, 2)) == nil && mesh.sites[1].member(key(mesh, 2)) == nil)
        #expect(mesh.sites[0].member(key(mesh, 1))?.state == .up)
        #expect(mesh.sites[2].events.contains { if case .passEnds(let days, _) = $0.event { days == 0 } else { false } })
    }

    /// The place is somebody else's afterwards: nothing of the former one is left in it.
    @Test func aPlaceIsGivenToAnother() throws {
        let end = UnixTime(seconds: VirtualMesh.wallClock / 1_000_000_000 + 30)
        let mesh = VirtualMesh(
            setups(4) { index, mesh in
                mesh.places = 2
                if index == 1 { mesh.validUntil = end }
            })
        mesh.kill(3)
        _ = try #require(mesh.runUntilMembersUp([0, 1, 2]))
        mesh.restart(3)
        mesh.run(for: .seconds(5))
        #expect(mesh.sites[0].member(key(mesh, 3)) == nil)
        #expect(mesh.sites[0].count { if case .meshFull = $0 { true } else { false } } > 0)
        mesh.run(until: .zero + .seconds(30 + Int64(PassBook.skew) + 5))
        #expect(mesh.runUntilMembersUp([0, 2, 3], limit: .seconds(40)) != nil)
        mesh.send(testFrame(to: .broadcast, from: host(9), number: 9), site: 3)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[0].numbers() == [9] && mesh.sites[2].numbers() == [9])
    }

    @Test func theWayInMayBeGoneAtTheNextStart() throws {
        let mesh = VirtualMesh(setups(3))
        _ = try #require(mesh.runUntilMembersUp())
        mesh.run(for: .seconds(5))
        mesh.kill(0)
        let kept = (1..<3).map { mesh.sites[$0].core.control.meshSnapshot ?? [] }
        for site in 1..<3 { mesh.kill(site) }
        mesh.run(for: .seconds(10))
        for site in 1..<3 { mesh.restart(site) { $0.mesh?.snapshots = [kept[site - 1]] } }
        #expect(mesh.runUntilMembersUp([1, 2]) != nil)
    }

    @Test func interestComesByGossipAndGoesWithIt() throws {
        let mesh = VirtualMesh(
            (0..<3).map { index in
                var setup = SiteSetup.snooping()
                setup.mesh = MeshSetup(seeds: index == 0 ? [] : [0])
                return setup
            })
        _ = try #require(mesh.runUntilMembersUp())
        let group = IPAddress(ipv4: 0xEF01_0101)
        let join = MembershipFrame.report(
            generation: .third, group: group, source: IPAddress(ipv4: 0x0A00_0001), from: host(1), vlan: .untagged)
        mesh.send(join, site: 1)
        mesh.run(for: .seconds(1))
        func places(_ site: Int) -> [PublicKey?] {
            let control = mesh.sites[site].core.control
            return control.snooper.plan.fanOut(.untagged, group: group, source: IPAddress(ipv4: 0x0A00_0007)).peers
                .members.map { control.snapshot(of: $0).key }
        }
        #expect(places(0) == [key(mesh, 1)] && places(2) == [key(mesh, 1)])
        mesh.kill(1)
        mesh.run(for: .seconds(10))
        #expect(places(0) == [] && places(2) == [])
    }

    @Test func aPartitionHeals() throws {
        let mesh = VirtualMesh(setups(5))
        _ = try #require(mesh.runUntilMembersUp())
        for a in 0..<2 { for b in 2..<5 { mesh.setWire(a, b) { $0.isCut = true } } }
        mesh.run(for: .seconds(60))
        #expect(mesh.sites[0].member(key(mesh, 1))?.state == .up && mesh.sites[0].member(key(mesh, 3))?.state == .connecting)
        for a in 0..<2 { for b in 2..<5 { mesh.setWire(a, b) { $0.isCut = false } } }
        #expect(mesh.runUntilMembersUp(limit: .seconds(15)) != nil)
    }
}

/// Members that reach each other through others.
struct RelayTests {
    /// A line: site 0 - 1 - 2 and so on, each knowing the one before; those inside may carry. Others are cut.
    private func chain(_ count: Int, snooping: Bool = false, _ change: (inout SiteSetup) -> Void = { _ in }) -> VirtualMesh {
        let setups = (0..<count).map { index in
            var setup = snooping ? SiteSetup.snooping() : SiteSetup()
            var mesh = MeshSetup(seeds: index == 0 ? [] : [index - 1])
            mesh.mayRelay = index > 0 && index < count - 1
            setup.mesh = mesh
            change(&setup)
            return setup
        }
        let mesh = VirtualMesh(setups)
        for a in 0..<count { for b in (a + 1)..<count where b > a + 1 { mesh.setWire(a, b) { $0.isCut = true } } }
        return mesh
    }

    @Test(arguments: 3...5) func theEndsOfALineReachEachOther(count: Int) throws {
        let mesh = chain(count)
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        mesh.run(for: .seconds(1))
        mesh.send(testFrame(to: .broadcast, from: host(1), number: 7), site: 0)
        mesh.run(for: .milliseconds(100))
        for site in 1..<count { #expect(mesh.sites[site].numbers() == [7], "site \(site)") }
        // Known unicast back: through those between, which deliver nothing of it.
        mesh.send(testFrame(to: host(1), from: host(9), number: 8), site: count - 1)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[0].numbers() == [8])
        for site in 1..<(count - 1) { #expect(mesh.sites[site].numbers() == [7]) }
        #expect(mesh.sites[0].events.contains { if case .relayed = $0.event { true } else { false } })
    }

    @Test func nobodyCarriesWithoutThePassThatAllowsIt() throws {
        let mesh = chain(3) { $0.mesh?.mayRelay = false }
        mesh.run(for: .seconds(30))
        #expect(mesh.sites[0].member(mesh.sites[1].identity.publicKey)?.state == .up)
        #expect(mesh.sites[0].member(mesh.sites[2].identity.publicKey)?.state != .up)
    }

    /// Sessions are renewed over the way, and a numbered stream of frames crosses without loss.
    @Test func renewalsThroughOthersLoseNothing() throws {
        let mesh = chain(3) { $0.rekeyTime = .seconds(10) }
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        mesh.run(for: .seconds(2))
        let began = mesh.now
        for number in 0..<2_000 {
            mesh.send(
                testFrame(to: .broadcast, from: host(1), number: UInt32(number)), site: 0,
                at: began + .milliseconds(Int64(number) * 20))
        }
        mesh.run(for: .seconds(45))
        #expect(mesh.sites[2].numbers() == (0..<2_000).map { UInt32($0) })
        #expect((mesh.sites[0].member(mesh.sites[2].identity.publicKey)?.handshakes ?? 0) >= 4)
    }

    /// The direct path dies while a feed crosses, and comes back: others carry in between.
    @Test func theDirectPathDiesAndComesBack() throws {
        let setups = (0..<3).map { index in
            var setup = SiteSetup()
            setup.mesh = MeshSetup(seeds: index == 0 ? [] : [0], mayRelay: index == 2)
            return setup
        }
        let mesh = VirtualMesh(setups)
        _ = try #require(mesh.runUntilMembersUp())
        mesh.run(for: .seconds(3))
        let began = mesh.now
        for number in 0..<4_000 {
            mesh.send(
                testFrame(to: .broadcast, from: host(1), number: UInt32(number)), site: 0,
                at: began + .milliseconds(Int64(number) * 10))
        }
        mesh.run(for: .seconds(5))
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .seconds(15))
        let name = mesh.sites[0].member(mesh.sites[1].identity.publicKey)?.name ?? "?"
        #expect(mesh.sites[0].events.contains { $0.event == .relayed(name, through: "site2") })
        mesh.setWire(0, 1) { $0.isCut = false }
        mesh.run(for: .seconds(25))
        #expect(mesh.sites[0].events.contains { $0.event == .direct(name) })
        let numbers = mesh.sites[1].numbers()
        #expect(Set(numbers).count == numbers.count, "nothing comes twice")
        let lost = 4_000 - numbers.count
        // A second and a bit at a hundred a second, and nothing at the way back.
        #expect(lost < 115, "\(lost) lost")
        #expect(mesh.sites[2].numbers().count == 4_000)
        #expect(!mesh.sites[0].events.contains { if case .peerDown = $0.event { true } else { false } })
    }
}

/// Streams for several members of whom some are reached through others.
struct TreeTests {
    /// Sites 1, 2 and 3 are wanted by what `cuts` leaves; 1 may carry.
    fileprivate func mesh(copyCost: Interval = .zero, cuts: [(Int, Int)]) -> VirtualMesh {
        let setups = (0..<4).map { index in
            var setup = SiteSetup.snooping()
            setup.mesh = MeshSetup(seeds: index == 0 ? [] : index == 1 ? [0] : [1], mayRelay: index == 1)
            setup.copyCost = copyCost
            return setup
        }
        let mesh = VirtualMesh(setups)
        for (a, b) in cuts { mesh.setWire(a, b) { $0.isCut = true } }
        return mesh
    }

    private let group = IPAddress(ipv4: 0xEF01_0101)

    fileprivate func join(_ mesh: VirtualMesh, _ sites: [Int]) {
        for site in sites {
            mesh.send(
                MembershipFrame.report(
                    generation: .third, group: group, source: IPAddress(ipv4: 0x0A00_0000 | UInt32(site)), from: host(site),
                    vlan: .untagged), site: site)
        }
    }

    private func feed(_ number: Int) -> [UInt8] {
        // 192.0.2.1 to 239.1.1.1, UDP port 5000, 1,000 octets that begin with the number; no UDP checksum.
        var bytes: [UInt8] = [0x01, 0x00, 0x5E, 0x01, 0x01, 0x01, 0x02, 0, 0, 0, 0, 0x64, 0x08, 0x00]
        bytes += [0x45, 0, 0x04, 0x04, 0, 0, 0, 0, 8, 17, 0, 0, 192, 0, 2, 1, 239, 1, 1, 1]
        let sum = stride(from: 14, to: 34, by: 2).reduce(0) { $0 + Int(bytes[$1]) << 8 + Int(bytes[$1 + 1]) }
        let checksum = ~((sum & 0xFFFF) + sum >> 16)
        bytes[24] = UInt8(truncatingIfNeeded: checksum >> 8)
        bytes[25] = UInt8(truncatingIfNeeded: checksum)
        bytes += [0x13, 0x88, 0x13, 0x88, 0x03, 0xF0, 0, 0]
        bytes += [UInt8(truncatingIfNeeded: number >> 8), UInt8(truncatingIfNeeded: number)]
        return bytes + [UInt8](repeating: 0x55, count: 998)
    }

    /// The feed's numbers at a site's port.
    fileprivate func numbers(_ mesh: VirtualMesh, _ site: Int) -> [Int] {
        mesh.sites[site].delivered[0].filter { $0.bytes.count > 1_000 }.map { Int($0.bytes[42]) << 8 | Int($0.bytes[43]) }
    }

    /// Octets of data that a site has sent to another since an instant.
    fileprivate func bytes(_ mesh: VirtualMesh, from: Int, to: Int, since: Instant) -> Int {
        mesh.sent.filter { $0.at >= since && $0.from == from && $0.to == to && $0.kind == .sealed && $0.bytes.count > 600 }
            .reduce(0) { $0 + $1.bytes.count }
    }

    fileprivate func run(_ mesh: VirtualMesh, _ count: Int, from first: Int = 0) -> Instant {
        let began = mesh.now
        for number in first..<(first + count) {
            mesh.send(feed(number), site: 0, at: began + .milliseconds(Int64(number - first) * 5))
        }
        mesh.run(for: .milliseconds(Int64(count) * 5 + 200))
        return began
    }

    @Test func oneCopyGoesToTheOneThatCarries() throws {
        let mesh = mesh(cuts: [(0, 2), (0, 3)])
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        join(mesh, [1, 2, 3])
        mesh.run(for: .seconds(15))
        let began = run(mesh, 200)
        for site in 1..<4 { #expect(numbers(mesh, site) == Array(0..<200), "site \(site)") }
        let uplink = bytes(mesh, from: 0, to: 1, since: began)
        // A frame of 1,042 octets, once, and what sealing adds.
        #expect(uplink > 200 * 1_042 && uplink < 200 * 1_042 * 115 / 100, "\(uplink) octets")
        #expect(
            bytes(mesh, from: 1, to: 2, since: began) > 200 * 1_042 && bytes(mesh, from: 1, to: 3, since: began) > 200 * 1_042)
    }

    /// All are reached, but copies have a price: one relay makes them.
    @Test func aRelayCopiesWhereCopiesHaveAPrice() throws {
        let mesh = mesh(copyCost: .milliseconds(50), cuts: [])
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        join(mesh, [1, 2, 3])
        mesh.run(for: .seconds(15))
        let began = run(mesh, 200)
        for site in 1..<4 { #expect(numbers(mesh, site) == Array(0..<200), "site \(site)") }
        #expect(bytes(mesh, from: 0, to: 1, since: began) < 200 * 1_042 * 115 / 100)
        #expect(bytes(mesh, from: 0, to: 2, since: began) == 0 && bytes(mesh, from: 0, to: 3, since: began) == 0)
    }

    /// Ten sites that call two others each: fewer than half of all links are made, and everybody is reached all the same.
    @Test func fewLinksAreMadeWhereFewAreWanted() throws {
        let setups = (0..<10).map { index in
            var setup = SiteSetup.snooping()
            setup.mesh = MeshSetup(seeds: index == 0 ? [] : [index - 1], mayRelay: true, links: 2)
            return setup
        }
        let mesh = VirtualMesh(setups)
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        // Long enough for members that are reached through others to be tried themselves.
        mesh.run(for: .seconds(30))
        let links = mesh.sites.map { site in
            MeshSnapshot(site.core.control, at: mesh.now).ways.count { $0.state == .direct }
        }
        // Each is counted at both ends.
        #expect(links.reduce(0, +) <= 2 * 10 * 2, "links by site: \(links)")
        join(mesh, Array(1..<10))
        mesh.run(for: .seconds(15))
        _ = run(mesh, 50)
        for site in 1..<10 { #expect(numbers(mesh, site) == Array(0..<50), "site \(site)") }
    }

    /// A tree that stands gives way to a much better one, and back, while a feed runs: nothing is lost, doubled or overtaken.
    @Test func aTreeGivesWayToABetterOne() throws {
        // Copies have a price below the way by the relay while that is far from the others.
        let mesh = mesh(copyCost: .milliseconds(50), cuts: [])
        func setFar(_ delay: Interval) { for site in 2..<4 { mesh.setWire(1, site) { $0.delay = delay } } }
        setFar(.milliseconds(150))
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        join(mesh, [1, 2, 3])
        mesh.run(for: .seconds(15))
        var began = run(mesh, 200)
        for site in 1..<4 { #expect(bytes(mesh, from: 0, to: site, since: began) > 200 * 1_042, "a copy for site \(site)") }
        // Smoothed round trips and what gossip tells of them follow within some tens of seconds.
        setFar(.milliseconds(1))
        _ = run(mesh, 8_000, from: 200)
        began = run(mesh, 200, from: 8_200)
        #expect(bytes(mesh, from: 0, to: 1, since: began) < 200 * 1_042 * 115 / 100)
        #expect(bytes(mesh, from: 0, to: 2, since: began) == 0 && bytes(mesh, from: 0, to: 3, since: began) == 0)
        setFar(.milliseconds(150))
        _ = run(mesh, 8_000, from: 8_400)
        began = run(mesh, 200, from: 16_400)
        for site in 1..<4 { #expect(bytes(mesh, from: 0, to: site, since: began) > 200 * 1_042, "a copy for site \(site)") }
        mesh.run(for: .seconds(1))
        for site in 1..<4 {
            let seen = numbers(mesh, site)
            #expect(Set(seen).count == seen.count, "nothing comes twice at site \(site)")
            #expect(Set(seen) == Set(0..<16_600), "\(16_600 - seen.count) lost at site \(site)")
            // Nothing overtakes what went the shorter way, but for what was under way when the ways changed.
            let overtaken = zip(seen, seen.dropFirst()).count { $0 > $1 }
            #expect(overtaken < 50, "\(overtaken) out of order at site \(site)")
        }
    }

    /// Who carries dies while a feed runs: its members are reached itself by then, and nothing comes twice.
    @Test func aTreeThatBreaksIsReplaced() throws {
        let mesh = mesh(copyCost: .milliseconds(50), cuts: [])
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        join(mesh, [1, 2, 3])
        mesh.run(for: .seconds(15))
        _ = run(mesh, 200)
        mesh.kill(1)
        _ = run(mesh, 1_000, from: 200)
        for site in 2..<4 {
            let seen = numbers(mesh, site)
            #expect(Set(seen).count == seen.count, "nothing comes twice")
            #expect(seen.last == 1_199)
            // A second of silence, and what it takes to find another way, at 200 a second.
            #expect(1_200 - seen.count < 300, "\(1_200 - seen.count) lost at site \(site)")
        }
    }
}

/// What comes from who knows the mesh, or from a neighbour, and makes no sense.
struct MeshGarbageTests {
    @Test func hellosOfAnyTextDoNothing() throws {
        let authority = [UInt8](repeating: 7, count: 32)
        var random = SeededRandom(seed: 3)
        let pass = (0..<2_500).map { _ in UInt8.random(in: 0...255, using: &random) }
        for part in 0..<3 {
            let hello = try #require(Hello(isReply: false, token: 9, pass: pass, part: part, wanted: 2))
            let datagram = hello.datagram(nonce: [UInt8](repeating: UInt8(part), count: 24), mesh: authority)
            #expect(datagram.count == Hello.bytes && datagram.count <= DatagramKind.handshakeLimit)
            #expect(Hello(datagram, mesh: authority) == hello)
            #expect(Hello(datagram, mesh: [UInt8](repeating: 8, count: 32)) == nil)
            for _ in 0..<200 {
                var changed = datagram
                changed[Int.random(in: 0..<changed.count, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
                #expect(Hello(changed, mesh: authority) == nil)
            }
            for count in stride(from: 0, to: datagram.count, by: 41) {
                #expect(Hello(Array(datagram[..<count]), mesh: authority) == nil)
            }
        }
        var parts = HelloParts()
        for round in 0..<200 {
            let other = (0..<1_500).map { _ in UInt8.random(in: 0...255, using: &random) }
            let hello = try #require(Hello(isReply: false, token: 1, pass: other, part: round % 2, wanted: 0))
            #expect(parts.handle(hello, at: .zero) == nil, "half a pass is none, however many there are")
        }
        #expect(Hello(isReply: false, token: 1, pass: [], part: 0, wanted: 0) == nil)
        #expect(Hello(isReply: false, token: 1, pass: [UInt8](repeating: 0, count: 4_097), part: 0, wanted: 0) == nil)
    }

    /// A neighbour's messages about ways: any octets, and right ones cut short or changed. Nothing traps, and it is a peer still.
    @Test func messagesAboutWaysOfAnyOctetsDoNothing() throws {
        let setups = (0..<3).map { index in
            var setup = SiteSetup()
            setup.mesh = MeshSetup(seeds: index == 0 ? [] : [0], mayRelay: true)
            return setup
        }
        let mesh = VirtualMesh(setups)
        _ = try #require(mesh.runUntilMembersUp())
        var random = SeededRandom(seed: 5)
        let sites = mesh.sites.map { SiteID($0.identity.publicKey) }
        let tree = try #require(TreeAnnouncement(chain: [sites[0], sites[2]]))
        let right: [RouteMessage] = [
            .observed(mesh.sites[1].endpoint), .ready(stream: 7, sequence: 1), .failed(stream: 7, sequence: 1),
            .close(stream: 7, origin: sites[1]), .carried(hops: 3, to: sites[0], from: sites[1], datagram: [1, 2, 3]),
            .carried(hops: 3, to: sites[2], from: sites[1], datagram: [UInt8](repeating: 1, count: 1_300)),
            .open(RouteOpening(stream: 77, sequence: 1, isPair: false, lanes: 1, origin: sites[1], tree: tree)),
            .open(RouteOpening(stream: 77, sequence: 2, isPair: true, lanes: 8, origin: sites[1], tree: tree)),
        ]
        for message in right { #expect(RouteMessage(message.encoded) == message) }
        let place = try #require(mesh.sites[0].core.control.peers.firstIndex { $0.site == sites[1] })
        for round in 0..<4_000 {
            var bytes: [UInt8]
            if round % 2 == 0 {
                bytes = (0..<Int.random(in: 1..<120, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
                bytes[0] = 0x20 + UInt8.random(in: 0...5, using: &random)
            } else {
                bytes = right[round / 2 % right.count].encoded
                bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= UInt8.random(in: 0...255, using: &random)
                bytes = Array(bytes.prefix(Int.random(in: 1...bytes.count, using: &random)))
            }
            mesh.sites[0].core.control.handleRouteMessage(bytes, place, mesh.now)
            if round % 100 == 0 { mesh.run(for: .milliseconds(20)) }
        }
        mesh.run(for: .seconds(5))
        #expect(
            (mesh.sites[0].core.control.mesh?.relays.transits.count ?? .max)
                <= Transit.limit(peers: mesh.sites[0].core.control.peerPlaces))
        #expect(mesh.sites[0].member(mesh.sites[1].identity.publicKey)?.state == .up)
        mesh.send(testFrame(to: .broadcast, from: host(1), number: 4), site: 1)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[0].numbers() == [4] && mesh.sites[2].numbers() == [4])
    }
}

/// What happens where ways fail at an unlucky moment.
struct BrokenWayTests {
    private func triangle(_ change: (inout SiteSetup) -> Void = { _ in }) -> VirtualMesh {
        VirtualMesh(
            (0..<3).map { index in
                var setup = SiteSetup()
                setup.mesh = MeshSetup(seeds: index == 0 ? [] : [0], mayRelay: index == 2)
                change(&setup)
                return setup
            })
    }

    /// The carrier dies, and no other way is there: the member is down after a while, and reached itself once its link is back.
    @Test func theOnlyCarrierDies() throws {
        let mesh = triangle()
        _ = try #require(mesh.runUntilMembersUp())
        mesh.run(for: .seconds(3))
        let key = mesh.sites[1].identity.publicKey
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .seconds(8))
        #expect(mesh.sites[0].member(key)?.state == .up)
        mesh.kill(2)
        mesh.run(for: .seconds(8))
        #expect(mesh.sites[0].member(key)?.state == .connecting)
        mesh.setWire(0, 1) { $0.isCut = false }
        #expect(mesh.runUntilMembersUp([0, 1], limit: .seconds(20)) != nil)
        mesh.send(testFrame(to: .broadcast, from: host(1), number: 3), site: 0)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[1].numbers() == [3])
    }

    /// The same, and the link is back before the carrier counts as down: what is sent does not stay with the dead carrier.
    @Test func theLinkIsBackWhileTheCarrierDies() throws {
        let mesh = triangle()
        _ = try #require(mesh.runUntilMembersUp())
        mesh.run(for: .seconds(3))
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .seconds(8))
        mesh.kill(2)
        mesh.run(for: .milliseconds(1_500))
        mesh.setWire(0, 1) { $0.isCut = false }
        mesh.run(for: .seconds(20))
        for number in 0..<5 { mesh.send(testFrame(to: .broadcast, from: host(1), number: UInt32(number)), site: 0) }
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[1].numbers() == [0, 1, 2, 3, 4])
    }

    /// The carrier dies, and the next one before it has answered; then the link is back. What is sent stays with neither.
    @Test func theNextCarrierDiesBeforeItAnswers() throws {
        let mesh = VirtualMesh(
            (0..<4).map { index in
                var setup = SiteSetup()
                setup.mesh = MeshSetup(seeds: index == 0 ? [] : [0], mayRelay: index >= 2)
                return setup
            })
        _ = try #require(mesh.runUntilMembersUp())
        mesh.run(for: .seconds(3))
        mesh.setWire(0, 1) { $0.isCut = true }
        mesh.run(for: .seconds(8))
        let member = try #require(mesh.sites[0].core.control.peers.first { $0.key == mesh.sites[1].identity.publicKey })
        let first = try #require(member.relay?.hops.first)
        let carrier = SiteID(mesh.sites[2].identity.publicKey) == first ? 2 : 3
        mesh.kill(carrier)
        mesh.run(for: .milliseconds(600))
        mesh.kill(5 - carrier)
        mesh.run(for: .milliseconds(2_300))
        mesh.setWire(0, 1) { $0.isCut = false }
        mesh.run(for: .seconds(20))
        for number in 0..<5 { mesh.send(testFrame(to: .broadcast, from: host(1), number: UInt32(number)), site: 0) }
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[1].numbers() == [0, 1, 2, 3, 4])
    }

    /// An IPv6 source that stands for a way through others, with any place, comes from nowhere: neither under load nor else.
    @Test(arguments: [0, 255, 256, UInt64.max]) func sourcesThatStandForWaysAreRefused(place: UInt64) throws {
        let mesh = triangle { $0.handshakeLoad = 1 }
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        let source = Endpoint(high: 0x0100 << 48, low: place, port: 1)
        let initiation = try #require(mesh.sent.last { $0.kind == .initiation && $0.to == 0 }).bytes
        let hello = try #require(mesh.sent.last { $0.kind == .hello && $0.to == 0 }).bytes
        let before = mesh.sites[0].core.control.handshakeCounters[.malformed]
        let sent = mesh.sent.count { $0.from == 0 && ($0.kind == .cookieReply || $0.kind == .hello) }
        for _ in 0..<20 { for bytes in [initiation, hello] { mesh.inject(bytes, to: 0, from: source) } }
        let expected: UInt64 = place < UInt64(Limits.peers) ? 40 : 0
        #expect(mesh.sites[0].core.control.handshakeCounters[.malformed] - before == expected)
        if expected > 0 {
            #expect(mesh.sent.count { $0.from == 0 && ($0.kind == .cookieReply || $0.kind == .hello) } == sent)
        }
        mesh.run(for: .seconds(3))
        #expect(mesh.sites[0].member(mesh.sites[1].identity.publicKey)?.state == .up)
    }

    /// Garbage that looks like hellos takes nothing from those who know the mesh.
    @Test func aFloodOfInventedHellosKeepsNobodyOut() throws {
        let mesh = triangle()
        mesh.kill(1)
        _ = try #require(mesh.runUntilMembersUp([0, 2]))
        mesh.restart(1)
        var garbage = [UInt8](repeating: 0xA5, count: Hello.bytes)
        garbage[0] = DatagramKind.hello.rawValue
        garbage[1] = 1
        for round in 0..<100 {
            for number in 0..<20 {
                mesh.inject(garbage, to: 0, from: Endpoint(ipv4: 0xC633_6400 | UInt32(round * 20 + number), port: 9))
            }
            mesh.run(for: .milliseconds(20))
        }
        #expect(mesh.sites[0].member(mesh.sites[1].identity.publicKey)?.state == .up)
        #expect(mesh.sites[0].core.control.handshakeCounters[.foreignMesh] == 2_000)
        #expect(mesh.sites[0].core.control.handshakeCounters.cookiesSent == 0)
    }
}

extension TreeTests {
    /// Who carries has no room for the stream that takes the place of one that it carries: members get copies of their own in time.
    @Test func aCarrierThatRefusesTheNextKeyLosesNothing() throws {
        let mesh = mesh(copyCost: .milliseconds(50), cuts: [])
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        join(mesh, [2, 3])
        mesh.run(for: .seconds(15))
        let began = run(mesh, 100)
        #expect(bytes(mesh, from: 0, to: 1, since: began) > 100_000, "it carries")
        let origin = SiteID(mesh.sites[3].identity.publicKey)
        let tree = try #require(TreeAnnouncement(chain: [SiteID(mesh.sites[1].identity.publicKey)]))
        for number in 0..<UInt32(Transit.limit(peers: 0)) {
            let opening = RouteOpening(stream: 1_000 + number, sequence: 1, isPair: true, lanes: 1, origin: origin, tree: tree)
            mesh.sites[1].core.control.mesh?.relays.transits[opening.stream] = Transit(
                opening: opening, upstream: 15, children: [], waiting: [])
        }
        let group = try #require(mesh.sites[0].core.control.streams.trees.first { $0.value.audience.count == 2 }?.key)
        mesh.sites[0].core.control.streams.book.handleRenewalDue(group, at: mesh.now)
        for site in 2..<4 { mesh.sites[site].delivered[0] = [] }
        let second = run(mesh, 3_000, from: 100)
        for site in 2..<4 { #expect(numbers(mesh, site) == Array(100..<3_100), "site \(site)") }
        #expect(bytes(mesh, from: 0, to: 2, since: second + .seconds(6)) > 1_000_000, "copies of their own")
    }

    /// Who only carries is started anew, and has forgotten what it carried: its links never went down.
    @Test func aCarrierThatForgotIsReplacedAtOnce() throws {
        let mesh = mesh(copyCost: .milliseconds(50), cuts: [])
        _ = try #require(mesh.runUntilMembersUp(limit: .seconds(60)))
        join(mesh, [2, 3])
        mesh.run(for: .seconds(15))
        var began = run(mesh, 100)
        #expect(bytes(mesh, from: 0, to: 1, since: began) > 100_000, "it carries")
        mesh.restart(1)
        _ = run(mesh, 600, from: 100)
        mesh.run(for: .seconds(5))
        for site in 2..<4 { mesh.sites[site].delivered[0] = [] }
        began = run(mesh, 100, from: 700)
        for site in 2..<4 { #expect(numbers(mesh, site) == Array(700..<800), "site \(site)") }
    }
}
