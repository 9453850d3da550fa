// One site of a replay: a gateway, and the capture files that stand for its LANs.

import Basics
import Captures
import Gateway
import Mesh
import Settings
import Tunnels

final class ReplaySite {
    private let name: String
    private let ports: [GatewaySnapshot.Port]
    private var gateway: VirtualGateway
    private var writers: [CaptureWriter] = []

    /// Nanoseconds since 1970 at the virtual clock's zero: any fixed number does.
    private static let wallClock: UInt64 = 1_700_000_000_000_000_000

    init(
        _ scenario: [ScenarioSite], index: Int, identities: [KeyPair], passes: ReplayPasses?, seed: UInt64, directory: String
    ) throws(CaptureError) {
        let site = scenario[index]
        name = site.name
        ports = site.ports.map {
            GatewaySnapshot.Port(
                name: $0.name, kind: "replay", device: $0.capture?.split(separator: "/").last.map(String.init) ?? "-")
        }
        let others = scenario.indices.filter { $0 != index }
        // Members find each other, and each has the place that it is given then.
        let peers = passes == nil ? others : []
        var control = ControlConfiguration(
            site.tuning, identity: identities[index],
            peers: peers.map { .init(name: scenario[$0].name, key: identities[$0].publicKey, hasAddress: true) },
            ports: site.ports.map(\.multicast))
        // Keys come from the seed alone.
        control.postQuantum = .off
        if let passes {
            control.mesh = MeshConfiguration(
                authority: passes.authority, pass: passes.passes[index], seeds: others.map { scenario[$0].name })
            control.setPlaces(others.count)
        }
        var lane = LaneConfiguration(site.tuning, ports: site.ports.count, peers: control.peerLimit)
        lane.placesTaken = peers.count
        let endpoints = others.map(ReplaySite.endpoint)
        gateway = VirtualGateway(
            lane: lane, control: control, peers: endpoints, seeds: endpoints, seed: seed, wallClock: ReplaySite.wallClock,
            at: .zero)
        for port in site.ports { writers.append(try CaptureWriter(path: "\(directory)/\(site.name).\(port.name).pcap")) }
    }

    /// Where a site is on the virtual WAN.
    static func endpoint(of site: Int) -> Endpoint {
        Endpoint(ipv4: 0x0A00_0001 + UInt32(truncatingIfNeeded: site), port: 7117)
    }

    private static func site(at endpoint: Endpoint) -> Int? { endpoint.ipv4.map { Int($0) - 0x0A00_0001 } }

    var nextTimeout: Instant { gateway.nextTimeout }
    var wantsDrain: Bool { gateway.wantsDrain }

    func handleFrame(_ bytes: [UInt8], isRefused: Bool, on port: PortIndex, at now: Instant) {
        if isRefused { return gateway.handleRefusedFrame(on: port) }
        gateway.handleFrame(bytes, on: port, at: now)
    }

    func handleDatagram(_ bytes: [UInt8], from source: Endpoint, at now: Instant) {
        gateway.handleDatagram(bytes, from: source, at: now)
    }

    func handleTimeout(at now: Instant) { gateway.handleTimeout(at: now) }

    /// Ends a batch: frames go to the captures, datagrams and log lines wait to be taken.
    func flush(at now: Instant, since zero: Instant) throws(CaptureError) {
        gateway.flush(at: now)
        for (port, bytes) in gateway.takeFrames() {
            try writers[port.index].write(timestamp: UInt64(max(0, (now - zero).nanoseconds)), bytes: bytes)
        }
    }

    func takeDatagrams() -> [(to: Int, bytes: [UInt8])] {
        gateway.takeDatagrams().compactMap { datagram in
            ReplaySite.site(at: datagram.to).map { ($0, datagram.bytes) }
        }
    }

    func takeEvents() -> [GatewayEvent] { gateway.takeEvents() }

    func close() throws(CaptureError) {
        for writer in writers { try writer.close() }
    }

    func snapshot(at now: Instant) -> GatewaySnapshot {
        gateway.core.snapshot(site: name, started: .zero, at: now, ports: ports)
    }
}
