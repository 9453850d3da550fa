// One site of a simulated mesh: a gateway with a pass, its clock, the NAT that it may be behind, and one host.

import Basics
import Gateway
import Mesh
import Settings
import Tunnels

final class SimulatedSite {
    let index: Int
    let identity: KeyPair
    let pass: [UInt8]
    let authority: AuthorityKey
    /// Sites whose address it is given.
    let seeds: [Int]
    let tuning: SiteTuning
    let places: Int
    /// Members that it calls itself, and what a copy on its uplink costs.
    let links: Int
    let copyCost: Interval
    var clock: SkewedClock
    var nat: NAT?
    private(set) var gateway: VirtualGateway
    var isAlive = false
    /// When the gateway's next timer runs out, by the simulation's clock; `distantFuture` while it is dead.
    private(set) var nextTimeout = Instant.distantFuture

    init(
        index: Int, identity: KeyPair, pass: [UInt8], authority: AuthorityKey, seeds: [Int], tuning: SiteTuning, places: Int,
        links: Int, copyCost: Interval, clock: SkewedClock, nat: NAT?
    ) {
        self.index = index
        self.identity = identity
        self.pass = pass
        self.authority = authority
        self.seeds = seeds
        self.tuning = tuning
        self.places = places
        self.links = links
        self.copyCost = copyCost
        self.clock = clock
        self.nat = nat
        gateway = SimulatedSite.makeGateway(
            identity, pass, authority, seeds, tuning, places, links, copyCost, snapshots: [], seed: 0,
            wallClock: clock.wall(.zero),
            at: clock.local(.zero))
    }

    /// A public address; that of its NAT where there is one.
    static func address(_ site: Int) -> UInt32 { 0xC612_0001 + UInt32(site) }
    static func site(at address: UInt32) -> Int { Int(address) - 0xC612_0001 }
    static let port: UInt16 = 7117
    static func endpoint(_ site: Int) -> Endpoint { Endpoint(ipv4: address(site), port: port) }

    private static func makeGateway(
        _ identity: KeyPair, _ pass: [UInt8], _ authority: AuthorityKey, _ seeds: [Int], _ tuning: SiteTuning, _ places: Int,
        _ links: Int, _ copyCost: Interval, snapshots: [[UInt8]], seed: UInt64, wallClock: UInt64, at now: Instant
    ) -> VirtualGateway {
        var control = ControlConfiguration(tuning, identity: identity, peers: [], ports: [PortMulticast()])
        // Keys come from the seed alone.
        control.postQuantum = .off
        control.mesh = MeshConfiguration(
            authority: authority, pass: pass, seeds: seeds.map { "site\($0)" }, snapshots: snapshots)
        control.setPlaces(places)
        control.linkLimit = links
        control.copyCost = copyCost
        var lane = LaneConfiguration(tuning, ports: 1, peers: control.peerLimit)
        lane.placesTaken = 0
        return VirtualGateway(
            lane: lane, control: control, peers: [], seeds: seeds.map { endpoint($0) }, seed: seed, wallClock: wallClock, at: now)
    }

    /// The gateway starts, with what an earlier run has left.
    func start(snapshots: [[UInt8]], seed: UInt64, at now: Instant) {
        gateway = SimulatedSite.makeGateway(
            identity, pass, authority, seeds, tuning, places, links, copyCost, snapshots: snapshots, seed: seed,
            wallClock: clock.wall(now),
            at: clock.local(now))
        isAlive = true
        starts += 1
        noteTimeout()
    }

    func kill() {
        isAlive = false
        nextTimeout = .distantFuture
    }

    /// Does something with the gateway at an instant of its own clock, and ends the batch.
    func drive(at now: Instant, _ body: (inout VirtualGateway, Instant) -> Void) {
        let local = clock.local(now)
        body(&gateway, local)
        gateway.flush(at: local)
        noteTimeout()
    }

    private func noteTimeout() { nextTimeout = clock.global(gateway.nextTimeout) }

    /// The clock is set: it is right but for what it was off by at first.
    func setClock(_ error: Interval, at now: Instant) {
        clock.wallError = error
        drive(at: now) { gateway, local in gateway.handleClock(self.clock.wall(now), at: local) }
    }

    func takeDatagrams() -> [(to: Endpoint, bytes: [UInt8])] { gateway.takeDatagrams() }
    func takeFrames() -> [(port: PortIndex, bytes: [UInt8])] { gateway.takeFrames() }
    func takeEvents() -> [GatewayEvent] { gateway.takeEvents() }

    /// Differs whenever its gateway may have new keys: starts, and sessions agreed on.
    var epoch: UInt64 { starts << 40 | gateway.core.control.sessionsBegun }
    private var starts: UInt64 = 0
    /// Other sites that are up as peers.
    var peersUp: Int { gateway.core.control.peersUp }
    /// What it knows of the mesh, in short: two gateways with the same know the same.
    var knowledge: [UInt8] { gateway.core.control.meshSummary }
    var stateFile: [UInt8]? { gateway.core.control.meshSnapshot }
    func checkInvariants() -> [String] { gateway.core.control.checkInvariants() }
    func meshSnapshot(at now: Instant) -> MeshSnapshot { MeshSnapshot(gateway.core.control, at: clock.local(now)) }
}
