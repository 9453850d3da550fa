// Peers that the operator names and forgets while gateways run, on the virtual clock.

import Basics
import Testing
import Tunnels

@testable import Gateway

struct PeerOrderTests {
    /// Sites that know nobody, with places to spare.
    private func strangers(_ count: Int, places: Int = 4) -> VirtualMesh {
        VirtualMesh(
            (0..<count).map { _ in
                var setup = SiteSetup()
                setup.peers = []
                setup.places = places
                return setup
            })
    }

    private func key(_ mesh: VirtualMesh, _ site: Int) -> PublicKey { mesh.sites[site].identity.publicKey }

    /// As the driver does it: with the address at once.
    private func add(_ other: Int, to site: Int, of mesh: VirtualMesh, name: String? = nil, waits: Bool = false)
        throws(PeerOrderProblem)
    {
        let peer = ControlConfiguration.Peer(name: name ?? "site\(other)", key: key(mesh, other), hasAddress: !waits)
        let index = try mesh.sites[site].core.control.addPeer(peer, at: mesh.now)
        mesh.sites[site].named[index] = other
        mesh.flush(mesh.sites[site])
    }

    private func remove(_ name: String, from site: Int, of mesh: VirtualMesh) throws(PeerOrderProblem) -> PeerRemoval {
        let removal = try mesh.sites[site].core.control.removePeer(name, at: mesh.now)
        mesh.flush(mesh.sites[site])
        return removal
    }

    private func state(_ mesh: VirtualMesh, _ site: Int, _ other: Int) -> PeerSnapshot.State? {
        mesh.sites[site].member(key(mesh, other))?.state
    }

    @Test func twoThatAreNamedToEachOtherConnect() throws {
        let mesh = strangers(2)
        mesh.run(for: .seconds(1))
        try add(1, to: 0, of: mesh)
        try add(0, to: 1, of: mesh, waits: true)
        mesh.run(for: .seconds(5))
        #expect(state(mesh, 0, 1) == .up && state(mesh, 1, 0) == .up)
        mesh.send(testFrame(to: .broadcast, from: host(1), number: 7), site: 0)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[1].numbers() == [7])
    }

    @Test func whoIsRemovedHearsNothingMoreAtOnce() throws {
        let mesh = strangers(3)
        for (site, other) in [(0, 1), (1, 0), (0, 2), (2, 0)] { try add(other, to: site, of: mesh) }
        mesh.run(for: .seconds(5))
        #expect(state(mesh, 0, 1) == .up && state(mesh, 0, 2) == .up)
        #expect(try remove("site1", from: 0, of: mesh) == .ended(PeerIndex(0), isConfigured: false))
        #expect(state(mesh, 0, 1) == nil)
        mesh.send(testFrame(to: .broadcast, from: host(1), number: 8), site: 0)
        mesh.send(testFrame(to: .broadcast, from: host(2), number: 9), site: 1)
        mesh.run(for: .milliseconds(100))
        // What it still sends has no session any more.
        #expect(mesh.sites[1].numbers() == [] && mesh.sites[2].numbers() == [8] && mesh.sites[0].numbers() == [])
        mesh.run(for: .seconds(20))
        #expect(state(mesh, 0, 1) == nil && state(mesh, 1, 0) != .up && state(mesh, 0, 2) == .up)
        // The place is free for another one, or the same.
        try add(1, to: 0, of: mesh)
        mesh.run(for: .seconds(20))
        #expect(state(mesh, 0, 1) == .up)
    }

    /// Whatever does not go together is refused, and what is there goes on.
    @Test func conflictsAreErrorsAndDropNothing() throws {
        let mesh = strangers(3, places: 2)
        for (site, other) in [(0, 1), (1, 0)] { try add(other, to: site, of: mesh) }
        mesh.run(for: .seconds(5))
        #expect(throws: PeerOrderProblem.nameTaken("site1")) { try add(2, to: 0, of: mesh, name: "site1") }
        #expect(throws: PeerOrderProblem.keyTaken(by: "site1")) { try add(1, to: 0, of: mesh, name: "other") }
        #expect(throws: PeerOrderProblem.ownKey) { try add(0, to: 0, of: mesh, name: "self") }
        #expect(throws: PeerOrderProblem.unknown("nobody")) { _ = try remove("nobody", from: 0, of: mesh) }
        #expect(throws: PeerOrderProblem.unknown("")) { _ = try remove("", from: 0, of: mesh) }
        #expect(throws: PeerOrderProblem.noMesh) { _ = try mesh.sites[0].core.control.addSeed("hub", at: mesh.now) }
        try add(2, to: 0, of: mesh)
        let fourth = ControlConfiguration.Peer(
            name: "x", key: PublicKey(bytes: Array(repeating: 9, count: 32))!, hasAddress: false)
        #expect(throws: PeerOrderProblem.full(limit: 2)) { _ = try mesh.sites[0].core.control.addPeer(fourth, at: mesh.now) }
        mesh.run(for: .seconds(3))
        #expect(state(mesh, 0, 1) == .up)
        #expect(mesh.sites[0].count { if case .peerDown = $0 { true } else { false } } == 0)
    }

    @Test func aConfiguredPeerIsRemovedUntilTheNextStart() throws {
        let mesh = VirtualMesh(sites: 2)
        #expect(mesh.runUntilUp() != nil)
        #expect(try remove("site1", from: 0, of: mesh) == .ended(PeerIndex(0), isConfigured: true))
        mesh.run(for: .seconds(10))
        #expect(state(mesh, 0, 1) == nil && state(mesh, 1, 0) != .up)
    }

    // MARK: With passes

    private func members(_ count: Int, seeds: (Int) -> [Int]) -> VirtualMesh {
        VirtualMesh(
            (0..<count).map { index in
                var setup = SiteSetup()
                setup.mesh = MeshSetup(seeds: seeds(index))
                return setup
            })
    }

    @Test func aSeedThatIsAddedLeadsIntoTheMesh() throws {
        let mesh = members(3) { $0 == 1 ? [0] : [] }
        mesh.run(for: .seconds(5))
        #expect(state(mesh, 2, 0) == nil)
        let hub = try mesh.sites[2].core.control.addSeed("hub", at: mesh.now)
        #expect(hub == 0)
        mesh.sites[2].setup.mesh?.seeds = [0]
        #expect(mesh.runUntilMembersUp(limit: .seconds(10)) != nil)
        #expect(throws: PeerOrderProblem.nameTaken("hub")) { _ = try mesh.sites[2].core.control.addSeed("hub", at: mesh.now) }
        #expect(try remove("hub", from: 2, of: mesh) == .seed(0))
        #expect(throws: PeerOrderProblem.member("site0")) { _ = try remove("site0", from: 2, of: mesh) }
        #expect(throws: PeerOrderProblem.memberKey(of: "site0")) { try add(0, to: 2, of: mesh, name: "again") }
        mesh.run(for: .seconds(5))
        #expect(state(mesh, 2, 0) == .up)
        // Its number is free for another one.
        let other = try mesh.sites[2].core.control.addSeed("other", at: mesh.now)
        #expect(other == 0)
    }

    /// A peer with a key in a mesh has a place beside the members.
    @Test func aPlainPeerBesideAMesh() throws {
        var setups: [SiteSetup] = (0..<3).map { _ in SiteSetup() }
        setups[0].mesh = MeshSetup(seeds: [])
        setups[1].mesh = MeshSetup(seeds: [0])
        setups[2].peers = []
        setups[2].places = 2
        let mesh = VirtualMesh(setups)
        #expect(mesh.runUntilMembersUp([0, 1]) != nil)
        try add(2, to: 0, of: mesh)
        try add(0, to: 2, of: mesh)
        mesh.run(for: .seconds(5))
        #expect(state(mesh, 0, 2) == .up && state(mesh, 0, 1) == .up)
        #expect(try remove("site2", from: 0, of: mesh) == .ended(PeerIndex(1), isConfigured: false))
        mesh.run(for: .seconds(1))
        #expect(state(mesh, 0, 2) == nil && state(mesh, 0, 1) == .up)
    }
}
