// One site of a replay: a gateway core, and the capture files that stand for its LANs.

import Basics
import Buffers
import Captures
import Gateway
import Mesh
import Settings
import Tunnels

final class ReplaySite {
    private let name: String
    private let ports: [GatewaySnapshot.Port]
    private var core: GatewayCore
    private var writers: [CaptureWriter] = []
    /// The scenario's numbers of the other sites: of peers by their numbers here, or of those that are asked for the way in.
    private let peerSites: [Int]
    private var datagrams: [(to: Int, bytes: [UInt8])] = []
    private var events: [GatewayEvent] = []

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
        peerSites = scenario.indices.filter { $0 != index }
        // Members find each other, and each has the place that it is given then.
        let peers = passes == nil ? peerSites : []
        var control = ControlConfiguration(
            site.tuning, identity: identities[index],
            peers: peers.map { .init(name: scenario[$0].name, key: identities[$0].publicKey, hasAddress: true) },
            ports: site.ports.map(\.multicast))
        // Keys come from the seed alone.
        control.postQuantum = .off
        if let passes {
            control.mesh = MeshConfiguration(
                authority: passes.authority, pass: passes.passes[index], seeds: peerSites.map { scenario[$0].name })
            control.setPlaces(peerSites.count)
        }
        var lane = LaneConfiguration(site.tuning, ports: site.ports.count, peers: control.peerLimit)
        lane.placesTaken = peers.count
        core = GatewayCore(
            lane: lane, control: control,
            random: SeededRandom(seed: seed), wallClock: ReplaySite.wallClock, at: .zero)
        for number in site.ports.indices { core.lane.handlePortState(PortIndex(number), isUp: true, captureDrops: 0) }
        for port in site.ports { writers.append(try CaptureWriter(path: "\(directory)/\(site.name).\(port.name).pcap")) }
    }

    /// Where a site is on the virtual WAN.
    private static func endpoint(of site: Int) -> Endpoint {
        Endpoint(ipv4: 0x0A00_0001 + UInt32(truncatingIfNeeded: site), port: 7117)
    }

    private static func site(at endpoint: Endpoint) -> Int? { endpoint.ipv4.map { Int($0) - 0x0A00_0001 } }

    var nextTimeout: Instant { core.nextTimeout }
    var wantsDrain: Bool { core.lane.wantsDrain }

    func handleFrame(_ bytes: [UInt8], isRefused: Bool, on port: PortIndex, at now: Instant) {
        if isRefused { return core.lane.handleLostFrame(.filtered, on: port) }
        var bytes = bytes
        bytes.withMutableRawSpan { core.lane.handleFrame(&$0, offload: .none, on: port, at: now) }
    }

    func handleDatagram(_ bytes: [UInt8], from site: Int, at now: Instant) {
        var bytes = bytes
        bytes.withMutableRawSpan { core.lane.handleDatagram(&$0, from: ReplaySite.endpoint(of: site), at: now) }
    }

    func handleTimeout(at now: Instant) {
        // After a long silence timers are late: sessions that control gives up must not carry the lane's keepalives.
        if core.control.nextTimeout <= now {
            core.control.handleTimeout(at: now)
            core.lane.handleCommands(at: now)
        }
        core.handleTimeout(at: now)
    }

    /// Ends a batch: frames go to the captures, datagrams and log lines wait to be taken.
    func flush(at now: Instant, since zero: Instant) throws(CaptureError) {
        core.settle(at: now)
        while let action = core.control.pollAction() {
            switch action {
            case .datagram(let bytes, let endpoint):
                if let site = ReplaySite.site(at: endpoint) { datagrams.append((site, bytes)) }
            case .resolve(let peer):
                core.control.handleResolved(peer, to: [ReplaySite.endpoint(of: peerSites[peer.index])], at: now)
            case .resolveSeed(let seed):
                core.control.handleSeedResolved(seed, to: [ReplaySite.endpoint(of: peerSites[seed])], at: now)
            case .log(let event): events.append(event)
            case .audit: break
            }
        }
        takeTransmits()
        try writeFrames(now, zero)
        core.lane.drained()
    }

    private func takeTransmits() {
        for index in 0..<core.lane.transmits {
            let run = core.lane.transmit(at: index)
            guard let to = ReplaySite.site(at: run.endpoint) else { continue }
            for start in stride(from: 0, to: run.byteCount, by: run.segmentSize) {
                let end = min(start + run.segmentSize, run.byteCount)
                let bytes = core.lane.transmitBytes(at: index).extracting(start..<end)
                datagrams.append((to, Array(copying: bytes)))
            }
            core.lane.handleTransmitted(run.peer, datagrams: run.datagrams, bytes: run.byteCount, failed: 0)
        }
    }

    private func writeFrames(_ now: Instant, _ zero: Instant) throws(CaptureError) {
        for index in 0..<core.lane.bridge.frames.count {
            let record = core.lane.bridge.frames.record(index)
            let bytes = Array(copying: core.lane.bridge.frames.frame(index))
            for port in 0..<writers.count where record.ports.contains(PortIndex(port)) {
                try writers[port].write(timestamp: UInt64(max(0, (now - zero).nanoseconds)), bytes: bytes)
                core.lane.handleDelivered(PortIndex(port), frames: 1, bytes: bytes.count, failed: 0)
            }
        }
    }

    func takeDatagrams() -> [(to: Int, bytes: [UInt8])] {
        defer { datagrams = [] }
        return datagrams
    }

    func takeEvents() -> [GatewayEvent] {
        defer { events = [] }
        return events
    }

    func close() throws(CaptureError) {
        for writer in writers { try writer.close() }
    }

    func snapshot(at now: Instant) -> GatewaySnapshot {
        core.snapshot(site: name, started: .zero, at: now, ports: ports)
    }
}
