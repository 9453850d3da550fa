// Group streams between whole gateways: sealed once for several sites, delivered once at each, whatever happens to the members.
// Every test ends with a look at all that was sent: no counter was used twice under one key.

import Basics
import Buffers
import Settings
import Testing
import Tunnels

@testable import Gateway

extension SentDatagram {
    var isRouted: Bool { kind == .sealed && bytes[1] & SealedLayout.routed != 0 }
    var stream: UInt32 { bytes[4..<8].reduce(0) { $0 << 8 | UInt32($1) } }
    /// What no two different datagrams of an origin may share: kind, origin tag, stream and counter.
    var number: [UInt8] { [bytes[1] & 0xF0] + bytes[2..<16] }
}

extension VirtualMesh {
    /// Streams that a site has sealed with, in the order in which they came.
    func streams(of site: Int) -> [UInt32] {
        sent.filter { $0.from == site && $0.isRouted }.reduce(into: []) { if !$0.contains($1.stream) { $0.append($1.stream) } }
    }

    /// One datagram under each counter of each stream of each site.
    func checkNonces(_ location: SourceLocation = #_sourceLocation) {
        var seen: [[UInt8]: [UInt8]] = [:]
        var reused = 0
        for datagram in sent where datagram.kind == .sealed && datagram.isRouted {
            let number = [UInt8(datagram.from)] + datagram.number
            if let bytes = seen[number], bytes != datagram.bytes { reused += 1 }
            seen[number] = datagram.bytes
        }
        #expect(reused == 0, "a counter was used twice under one key", sourceLocation: location)
        for site in sites { site.core.control.streams.book.checkInvariants() }
    }
}

extension VirtualSite {
    /// Groups that the lane can use.
    var groups: Int { core.lane.bridge.groups.active }
}

@Suite struct GroupStreamTests {
    /// Sites that are up, and have had the time to make streams of all that is flooded.
    private func mesh(_ count: Int, _ setup: SiteSetup = SiteSetup(), wire: WireCharacter = WireCharacter()) throws -> VirtualMesh {
        let mesh = VirtualMesh(sites: count, setup: setup, wire: wire)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(2))
        return mesh
    }

    private func broadcast(_ mesh: VirtualMesh, _ number: UInt32, site: Int = 0, count: Int = 60, at instant: Instant? = nil) {
        mesh.send(testFrame(to: .broadcast, from: host(site), number: number, count: count), site: site, at: instant)
    }

    @Test func oneSealServesFourReceivers() throws {
        let mesh = try mesh(5)
        let before = mesh.sent.count
        for number in 0..<40 { broadcast(mesh, UInt32(number), count: 1_000) }
        mesh.run(for: .milliseconds(20))
        let sent = mesh.sent[before...].filter { $0.from == 0 && $0.bytes.count > 100 }
        #expect(sent.allSatisfy { $0.isRouted }, "nothing goes pairwise")
        let copies = Dictionary(grouping: sent, by: \.bytes)
        #expect(copies.count >= 40 * 1_000 / 1_500 && copies.count <= 40, "full datagrams")
        for (_, datagrams) in copies { #expect(Set(datagrams.map(\.to)) == [1, 2, 3, 4] && datagrams.count == 4) }
        for site in 1..<5 { #expect(mesh.sites[site].numbers() == Array(0..<40)) }
        #expect(mesh.sites[0].numbers().isEmpty)
        mesh.checkNonces()
    }

    @Test func countersSayWhatEachMemberWasSent() throws {
        let mesh = try mesh(3)
        func counters(_ link: PeerIndex, _ counter: PeerCounter) -> UInt64 {
            mesh.sites[0].core.lane.bridge.counters[link, counter]
        }
        let before = (counters(PeerIndex(1), .framesOut), counters(PeerIndex(1), .datagramsOut))
        for number in 0..<10 { broadcast(mesh, UInt32(number)) }
        mesh.run(for: .milliseconds(20))
        #expect(counters(PeerIndex(1), .framesOut) - before.0 == 10)
        #expect(counters(PeerIndex(1), .datagramsOut) > before.1)
        let group = (0..<64).first { counters(PeerIndex(2 + $0), .framesOut) > 0 }
        let link = try #require(group.map { PeerIndex(2 + $0) })
        #expect(counters(link, .framesOut) == 10 && counters(link, .datagramsOut) == 1)
        let bytes = mesh.sent.last { $0.from == 0 && $0.isRouted }?.bytes.count ?? 0
        #expect(counters(link, .bytesOut) == UInt64(bytes))
        #expect(mesh.sites[1].core.lane.bridge.counters[mesh.sites[1].peer(0), .framesIn] == 10)
    }

    @Test func copiesArePairwiseUntilEveryMemberHasTheKey() throws {
        let mesh = VirtualMesh(sites: 4)
        // Nothing that is long enough to carry an answer leaves site 3 for site 0.
        mesh.setOneWay(from: 3, to: 0) { $0.delay = .milliseconds(700) }
        _ = try #require(mesh.runUntilUp(limit: .seconds(10)))
        mesh.run(for: .milliseconds(800))
        #expect(mesh.sites[0].groups == 0, "the last answer is under way")
        broadcast(mesh, 1)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.streams(of: 0).isEmpty)
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == [1]) }
        mesh.run(for: .seconds(5))
        #expect(mesh.sites[0].groups > 0)
        broadcast(mesh, 2)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.streams(of: 0).count == 1)
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == [1, 2]) }
        mesh.checkNonces()
    }

    @Test func twoSitesHaveNoGroups() throws {
        let mesh = try mesh(2)
        broadcast(mesh, 1)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[1].numbers() == [1])
        #expect(mesh.sent.count { $0.isRouted } == 0)
    }

    @Test func aMemberThatIsDownEndsTheStream() throws {
        let mesh = try mesh(5)
        broadcast(mesh, 1)
        mesh.run(for: .milliseconds(50))
        let first = try #require(mesh.streams(of: 0).last)
        mesh.kill(4)
        mesh.run(for: .seconds(6))
        let before = mesh.sent.count
        broadcast(mesh, 2)
        mesh.run(for: .milliseconds(50))
        let later = mesh.sent[before...].filter { $0.from == 0 && $0.isRouted }
        #expect(!later.isEmpty && later.allSatisfy { $0.stream != first && $0.to != 4 })
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == [1, 2]) }
        // It comes back, and knows none of the keys that it had.
        mesh.restart(4)
        _ = mesh.runUntilUp(limit: .seconds(20))
        mesh.run(for: .seconds(2))
        let again = mesh.sent.count
        broadcast(mesh, 3)
        mesh.run(for: .milliseconds(50))
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == [1, 2, 3]) }
        #expect(mesh.sites[4].numbers() == [1, 3])
        let last = mesh.sent[again...].filter { $0.from == 0 && $0.isRouted }
        #expect(last.count == 4 && last.allSatisfy { $0.stream != first && $0.stream != later[0].stream })
        mesh.checkNonces()
    }

    @Test func aMemberThatRestartsUnnoticedIsGivenNewKeys() throws {
        let mesh = try mesh(4)
        broadcast(mesh, 1)
        mesh.run(for: .milliseconds(50))
        let first = try #require(mesh.streams(of: 0).last)
        mesh.restart(3)
        mesh.run(for: .seconds(4))
        broadcast(mesh, 2)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[3].numbers() == [1, 2])
        #expect(mesh.streams(of: 0).last != first)
        mesh.checkNonces()
    }

    @Test func anOriginThatRestartsBeginsWithNewKeys() throws {
        let mesh = try mesh(4)
        broadcast(mesh, 1)
        mesh.run(for: .milliseconds(50))
        mesh.restart(0)
        mesh.run(for: .seconds(4))
        broadcast(mesh, 2)
        mesh.run(for: .milliseconds(50))
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == [1, 2]) }
        #expect(mesh.streams(of: 0).count == 2)
        for site in 1..<4 { #expect(mesh.sites[site].core.control.streams.taken.count { $0.origin == 0 } <= 2) }
        mesh.checkNonces()
    }

    @Test(arguments: [false, true]) func renewalsUnderTrafficLoseDoubleAndReorderNothing(byCount: Bool) throws {
        var setup = SiteSetup()
        if byCount { setup.rekeyDatagrams = 2_000 } else { setup.rekeyTime = .seconds(5) }
        let mesh = try mesh(4, setup)
        let count: UInt32 = 12_000
        for number in 0..<count {
            broadcast(mesh, number, count: number % 7 == 0 ? 1_400 : 80, at: mesh.now + .milliseconds(Int64(number)))
        }
        mesh.run(for: .seconds(13))
        let streams = mesh.streams(of: 0)
        #expect(streams.count >= 3, "\(streams.count) streams")
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == Array(0..<count)) }
        #expect(mesh.sites[1][.unknownStream] == 0 && mesh.sites[1][.replayed] == 0 && mesh.sites[1][.lostOnWAN] == 0)
        // Old ones are forgotten.
        mesh.run(for: .seconds(8))
        #expect(mesh.sites[1].core.control.streams.taken.count { $0.origin == 0 } <= 2)
        mesh.checkNonces()
    }

    @Test func onlyTheUpstreamIsBelieved() throws {
        let mesh = try mesh(3)
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        broadcast(mesh, 1)
        mesh.run(for: .milliseconds(20))
        let datagram = try #require(mesh.sent.last { $0.from == 0 && $0.to == 1 && $0.isRouted })
        #expect(mesh.sites[1].numbers().isEmpty)
        // Another member has the key, and any other endpoint may have the octets.
        for source in [mesh.sites[2].endpoint, Endpoint(ipv4: 0x0A00_0001, port: 9)] {
            mesh.inject(datagram.bytes, to: 1, from: source)
        }
        #expect(mesh.sites[1].numbers().isEmpty && mesh.sites[1][.wrongUpstream] == 2)
        var changed = datagram.bytes
        changed[20] ^= 1
        mesh.inject(changed, to: 1, from: mesh.sites[0].endpoint)
        #expect(mesh.sites[1][.authenticationFailed] == 1)
        // The hop count is a relay's to change; nothing else of the header is.
        var hopped = datagram.bytes
        hopped[1] = hopped[1] & 0xF0 | 3
        mesh.inject(hopped, to: 1, from: mesh.sites[0].endpoint)
        #expect(mesh.sites[1].numbers() == [1])
        mesh.inject(datagram.bytes, to: 1, from: mesh.sites[0].endpoint)
        #expect(mesh.sites[1].numbers() == [1] && mesh.sites[1][.replayed] == 1)
        // A pair's stream is none of the routed ones, whatever the bit says.
        var foreign = datagram.bytes
        foreign[7] ^= 1
        mesh.inject(foreign, to: 1, from: mesh.sites[0].endpoint)
        #expect(mesh.sites[1][.unknownStream] == 1)
    }

    @Test func aGroupDatagramIsNoSignOfLife() throws {
        let mesh = try mesh(3)
        mesh.setOneWay(from: 0, to: 1) { $0.isCut = true }
        for number in 0..<5_000 { broadcast(mesh, UInt32(number), at: mesh.now + .milliseconds(Int64(number))) }
        for _ in 0..<500 {
            mesh.run(for: .milliseconds(10))
            // Only the group's datagrams get through.
            for datagram in mesh.sent.suffix(20).filter({ $0.from == 0 && $0.to == 1 && $0.isRouted }) {
                mesh.inject(datagram.bytes, to: 1, from: mesh.sites[0].endpoint)
            }
        }
        #expect(mesh.sites[1].state(of: 0) != .up)
    }

    @Test func onlyTheSitesThatWantAGroupAreSentIt() throws {
        var wants = SiteSetup.snooping()
        wants.multicast.statics = [StaticGroup(group: IPAddress(ipv4: 0xEF01_0107))]
        let mesh = VirtualMesh([.snooping(), wants, .snooping(), wants, .snooping()])
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(3))
        let before = mesh.sent.count
        for number in 0..<3 { mesh.send(IPFrame(number: UInt32(number), isMulticast: true).bytes, site: 0) }
        mesh.run(for: .milliseconds(50))
        let sent = mesh.sent[before...].filter { $0.from == 0 && $0.bytes.count > 300 }
        #expect(sent.map(\.to) == [1, 3] && sent.allSatisfy(\.isRouted) && sent.first?.bytes == sent.last?.bytes)
        for site in [1, 3] { #expect(mesh.sites[site].delivered[0].compactMap { flowAndNumber($0.bytes)?.number } == [0, 1, 2]) }
        for site in [2, 4] { #expect(mesh.sites[site].delivered[0].count { flowAndNumber($0.bytes) != nil } == 0) }
        // The stream's key is with those two alone.
        let stream = try #require(sent.first?.stream)
        for site in 1..<5 {
            let hasKey = mesh.sites[site].core.control.streams.taken.contains(where: { $0.stream == stream })
            #expect(hasKey == (site == 1 || site == 3))
        }
        mesh.checkNonces()
    }

    @Test func aPeerWithARateGetsCopiesOfItsOwn() throws {
        var paced = SiteSetup()
        paced.rates = [2: 100_000_000]
        let mesh = VirtualMesh([paced, SiteSetup(), SiteSetup(), SiteSetup()])
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(2))
        let before = mesh.sent.count
        broadcast(mesh, 1, count: 500)
        mesh.run(for: .milliseconds(50))
        let sent = mesh.sent[before...].filter { $0.from == 0 && $0.bytes.count > 400 }
        #expect(Set(sent.filter(\.isRouted).map(\.to)) == [1, 3])
        #expect(sent.filter { !$0.isRouted }.map(\.to) == [2])
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == [1]) }
    }

    @Test func datagramsFitTheSmallestPath() throws {
        let mesh = VirtualMesh(sites: 4)
        mesh.setWire(0, 2) { $0.limit = 1_340 }
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(20))
        let before = mesh.sent.count
        for number in 0..<40 { broadcast(mesh, UInt32(number), count: 1_000) }
        mesh.run(for: .milliseconds(50))
        let sizes = mesh.sent[before...].filter { $0.from == 0 && $0.isRouted }.map(\.bytes.count)
        #expect(sizes.max() ?? 0 <= 1_340 && sizes.max() ?? 0 >= 1_252)
        for site in 1..<4 { #expect(mesh.sites[site].numbers() == Array(0..<40)) }
        // It shrinks later, too.
        mesh.setWire(0, 3) { $0.limit = 1_260 }
        for number in 0..<200 { broadcast(mesh, UInt32(number), count: 1_400, at: mesh.now + .milliseconds(100 * Int64(number))) }
        mesh.run(for: .seconds(25))
        let last = mesh.sent.count
        for number in 1_000..<1_010 { broadcast(mesh, UInt32(number), count: 1_400) }
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sent[last...].filter { $0.from == 0 && $0.isRouted }.map(\.bytes.count).max() ?? 9_999 <= 1_260)
        #expect(mesh.sites[3].numbers().suffix(10) == Array(1_000..<1_010))
    }

    @Test func lossAndReorderingCostOnlyWhatWasLost() throws {
        var wire = WireCharacter()
        wire.jitter = .milliseconds(3)
        wire.duplicateMillionths = 100_000
        let mesh = try mesh(4, wire: wire)
        for number in 0..<3_000 { broadcast(mesh, UInt32(number), count: 700, at: mesh.now + .microseconds(300 * Int64(number))) }
        mesh.run(for: .seconds(3))
        #expect(!mesh.streams(of: 0).isEmpty)
        for site in 1..<4 { #expect(mesh.sites[site].numbers().sorted() == Array(0..<3_000), "each exactly once") }
        mesh.checkNonces()
    }

    @Test func everyoneFloodsAtOnce() throws {
        let mesh = try mesh(5)
        for number in 0..<50 {
            for site in 0..<5 { broadcast(mesh, UInt32(site * 100 + number), site: site, at: mesh.now + .milliseconds(Int64(number))) }
        }
        mesh.run(for: .seconds(1))
        for site in 0..<5 {
            let expected = (0..<5).filter { $0 != site }.flatMap { other in (0..<50).map { UInt32(other * 100 + $0) } }
            #expect(mesh.sites[site].numbers().sorted() == expected)
        }
        mesh.checkNonces()
    }

    @Test func hostsAreLearnedWhereTheirSiteIs() throws {
        let mesh = try mesh(4)
        broadcast(mesh, 1, site: 2)
        mesh.run(for: .milliseconds(50))
        mesh.send(testFrame(to: host(2), from: host(0), number: 2), site: 0)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[2].numbers() == [2])
        #expect(mesh.sites[1].numbers() == [1] && mesh.sites[3].numbers() == [1])
    }

    @Test func withoutChannelsThatAnswerCopiesStayPairwise() throws {
        // Site 3 has no groups of its own and refuses everybody's streams: it may use none but another cipher.
        var other = SiteSetup()
        other.ciphers = CipherSet.supported
        try #require(CipherSet.supported.contains(.aes256gcm))
        var strict = SiteSetup()
        strict.ciphers = .aes256gcm
        // Sites 0 and 3 agree on AES, 0 and 1 on ChaCha20: there is nothing that all three have.
        let mesh = VirtualMesh([other, SiteSetup(), other, strict])
        mesh.run(for: .seconds(4))
        broadcast(mesh, 1)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.sites[1].numbers() == [1] && mesh.sites[3].numbers() == [1])
        #expect(mesh.streams(of: 0).isEmpty && mesh.sites[3].core.control.streams.refused > 0)
    }
}
