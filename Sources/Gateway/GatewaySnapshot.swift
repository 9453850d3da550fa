// Everything an operator can ask about one gateway, at one moment, as plain values. A live gateway and a replay make the
// same ones.

import Basics
import Switching
import Tunnels

public struct GatewaySnapshot: Sendable {
    public struct Port: Sendable, Hashable {
        public var name: String
        /// As in the configuration: `packet`, `tap`, `pcap`; `replay` in a replay.
        public var kind: String
        public var device: String

        public init(name: String, kind: String, device: String) {
            self.name = name
            self.kind = kind
            self.device = device
        }
    }

    /// The lanes of a live gateway.
    public struct Lanes: Sendable, Hashable {
        /// As in the configuration: `sleep` or `poll`.
        public var wait: String
        /// Whether frames for packet ports pass by the device's queueing discipline.
        public var bypassesQueue: Bool
        /// Of each lane.
        public var offloads: [LaneOffloads]

        public init(wait: String, bypassesQueue: Bool, offloads: [LaneOffloads]) {
            self.wait = wait
            self.bypassesQueue = bypassesQueue
            self.offloads = offloads
        }
    }

    public var site: String
    public var publicKey: PublicKey
    public var listen: Endpoint?
    public var started: Instant
    public var taken: Instant
    public var ports: [Port]
    /// `nil` in a replay.
    public var lanes: Lanes?
    /// `nil` in a replay.
    public var confinement: Confinement?
    public var peers: [PeerSnapshot]
    /// `nil` where nobody asked for it: it costs as much as the mesh is large.
    public var mesh: MeshSnapshot?
    public var handshakes: HandshakeCounters
    /// Hosts that one lane saw and another was never told of, since too many waited to be told.
    public var untoldSightings: UInt64
    /// Which library seals and opens.
    public var backends: CipherBackends
    public var layout: CounterLayout
    /// The lane's totals in the layout's order, with control's own refusals among the drops.
    public var counters: [UInt64]
    /// The MAC table, sorted by VLAN and address; `nil` when it was not asked for.
    public var macs: [MACEntry]?
    public var streams: StreamSnapshot
    /// Without groups when these were not asked for.
    public var multicast: SnoopSnapshot

    public init(
        site: String, listen: Endpoint?, started: Instant, taken: Instant, ports: [Port], control: ControlCore,
        backends: CipherBackends, layout: CounterLayout, counters: [UInt64], macs: [MACEntry]?, withGroups: Bool,
        withMesh: Bool = true
    ) {
        self.site = site
        publicKey = control.configuration.identity.publicKey
        self.listen = listen
        self.started = started
        self.taken = taken
        self.ports = ports
        peers = control.peers.indices.map { control.snapshot(of: PeerIndex($0), at: taken) }
        handshakes = control.handshakeCounters
        handshakes.sourceEvictions = control.handshakeGuard.sources.evictions
        untoldSightings = control.untoldSightings
        self.backends = backends
        self.layout = layout
        self.counters = counters
        self.counters[layout.index(.handshakeRefused)] &+= control.refusedHandshakes
        self.counters[layout.index(.deliverFull)] &+= control.snooper.droppedFrames
        self.macs = macs
        streams = StreamSnapshot(control)
        mesh = withMesh ? MeshSnapshot(control, at: taken) : nil
        multicast = control.snooper.snapshot(withGroups: withGroups, at: taken)
    }

    public subscript(reason: DropReason) -> UInt64 { counters[layout.index(reason)] }
    public subscript(gauge: LaneGauge) -> UInt64 { counters[layout.index(gauge)] }
    public subscript(port: PortIndex, counter: PortCounter) -> UInt64 { counters[layout.index(port, counter)] }
    public subscript(peer: PeerIndex, counter: PeerCounter) -> UInt64 { counters[layout.index(peer, counter)] }

    /// The configured name behind a location.
    public func name(of location: Location) -> String {
        if let port = location.port { return port.index < ports.count ? ports[port.index].name : "?" }
        guard let peer = location.peer, peer.index < peers.count else { return "?" }
        return peers[peer.index].name
    }
}

extension GatewayCore {
    /// The whole table, sorted by VLAN and address.
    func macRows() -> [MACEntry] {
        (0..<lane.bridge.macs.limit).compactMap { lane.bridge.macs.row($0) }
            .sorted { ($0.vlan, $0.address) < ($1.vlan, $1.address) }
    }

    public mutating func snapshot(site: String, started: Instant, at now: Instant, ports: [GatewaySnapshot.Port])
        -> GatewaySnapshot
    {
        lane.bridge.macs.expire(at: now, budget: lane.bridge.macs.limit)
        lane.updateGauges()
        var snapshot = GatewaySnapshot(
            site: site, listen: nil, started: started, taken: now, ports: ports, control: control,
            backends: lane.configuration.backends, layout: lane.bridge.counters.layout,
            counters: lane.bridge.counters.values, macs: macRows(), withGroups: true)
        // The one lane has all of it.
        for (index, rate) in lane.configuration.rates.enumerated() where rate > 0 { snapshot.peers[index].rate = rate }
        return snapshot
    }
}
