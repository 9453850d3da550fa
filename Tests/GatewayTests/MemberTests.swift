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
