// A gateway core and what drives it on a virtual clock: frames, datagrams and timers go in; what it sends, delivers and says
// waits to be taken. Where names lead is known from the start. Replay and the simulation of meshes put their own LANs and WAN
// around it.

import Basics
import Buffers
import Gateway

struct VirtualGateway: ~Copyable {
    var core: GatewayCore
    private let ports: Int
    /// Where the names of configured peers lead, by their numbers, and those of gateways that are asked for the way in.
    private let peers: [Endpoint]
    private let seeds: [Endpoint]
    private var datagrams: [(to: Endpoint, bytes: [UInt8])] = []
    private var frames: [(port: PortIndex, bytes: [UInt8])] = []
    private var events: [GatewayEvent] = []

    /// - Parameters:
    ///   - seed: where its keys and identifiers come from.
    ///   - wallClock: nanoseconds since 1970 at `now`.
    init(
        lane: LaneConfiguration, control: ControlConfiguration, peers: [Endpoint], seeds: [Endpoint], seed: UInt64,
        wallClock: UInt64, at now: Instant
    ) {
        ports = lane.ports
        self.peers = peers
        self.seeds = seeds
        core = GatewayCore(
            lane: lane, control: control, random: SeededRandom(seed: seed), wallClock: wallClock, at: now)
        for number in 0..<ports { core.lane.handlePortState(PortIndex(number), isUp: true, captureDrops: 0) }
    }

    var nextTimeout: Instant {
        mutating get { core.nextTimeout }
    }
    var wantsDrain: Bool { core.lane.wantsDrain }

    mutating func handleFrame(_ bytes: [UInt8], on port: PortIndex, at now: Instant) {
        var bytes = bytes
        bytes.withMutableRawSpan { core.lane.handleFrame(&$0, offload: .none, on: port, at: now) }
    }

    /// A frame that the port's filter refuses.
    mutating func handleRefusedFrame(on port: PortIndex) { core.lane.handleLostFrame(.filtered, on: port) }

    mutating func handleDatagram(_ bytes: [UInt8], from source: Endpoint, at now: Instant) {
        var bytes = bytes
        bytes.withMutableRawSpan { core.lane.handleDatagram(&$0, from: source, at: now) }
    }

    mutating func handleTimeout(at now: Instant) {
        // After a long silence timers are late: sessions that control gives up must not carry the lane's keepalives.
        if core.control.nextTimeout <= now {
            core.control.handleTimeout(at: now)
            core.lane.handleCommands(at: now)
        }
        core.handleTimeout(at: now)
    }

    /// The machine's clock is set: nanoseconds since 1970 at `now`.
    mutating func handleClock(_ wallClock: UInt64, at now: Instant) { core.control.handleClock(wallClock, at: now) }

    /// A revocation that the authority has signed, from the operator. False where it is refused.
    mutating func handleRevocation(_ bytes: [UInt8], at now: Instant) -> Bool {
        core.control.handleRevocation(bytes, at: now) == nil
    }

    /// Ends a batch: what is to go out waits to be taken.
    mutating func flush(at now: Instant) {
        core.settle(at: now)
        while let action = core.control.pollAction() {
            switch action {
            case .datagram(let bytes, let endpoint): datagrams.append((endpoint, bytes))
            case .resolve(let peer):
                core.control.handleResolved(peer, to: peer.index < peers.count ? [peers[peer.index]] : [], at: now)
            case .resolveSeed(let seed): core.control.handleSeedResolved(seed, to: [seeds[seed]], at: now)
            case .log(let event): events.append(event)
            case .audit: break
            }
        }
        takeTransmits()
        takeDeliveries()
        core.lane.drained()
    }

    private mutating func takeTransmits() {
        for index in 0..<core.lane.transmits {
            let run = core.lane.transmit(at: index)
            for start in stride(from: 0, to: run.byteCount, by: run.segmentSize) {
                let end = min(start + run.segmentSize, run.byteCount)
                let bytes = core.lane.transmitBytes(at: index).extracting(start..<end)
                datagrams.append((run.endpoint, Array(copying: bytes)))
            }
            core.lane.handleTransmitted(run.peer, datagrams: run.datagrams, bytes: run.byteCount, failed: 0)
        }
    }

    private mutating func takeDeliveries() {
        for index in 0..<core.lane.bridge.frames.count {
            let record = core.lane.bridge.frames.record(index)
            let bytes = Array(copying: core.lane.bridge.frames.frame(index))
            for port in 0..<ports where record.ports.contains(PortIndex(port)) {
                frames.append((PortIndex(port), bytes))
                core.lane.handleDelivered(PortIndex(port), frames: 1, bytes: bytes.count, failed: 0)
            }
        }
    }

    mutating func takeDatagrams() -> [(to: Endpoint, bytes: [UInt8])] {
        defer { datagrams = [] }
        return datagrams
    }

    mutating func takeFrames() -> [(port: PortIndex, bytes: [UInt8])] {
        defer { frames = [] }
        return frames
    }

    mutating func takeEvents() -> [GatewayEvent] {
        defer { events = [] }
        return events
    }
}
