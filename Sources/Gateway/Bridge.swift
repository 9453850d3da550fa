// Switching: where one frame goes. From a LAN port to other ports and to peers; from a peer to ports only. The rules that
// make a bridge of many sites safe are these few lines: never back to the port it came from, never from the mesh to the
// mesh, never a link-constrained address, never what is addressed to the port's own interface (a LAN port on the WAN's
// interface by mistake would feed the tunnel to itself), never learned from a group or zero source.
//
//                       destination known          unknown unicast, broadcast, multicast
//     from a port       that port, or that peer    all other ports and all peers
//     from a peer       that port, or nowhere      all ports

import Basics
import Buffers
import Switching
import Tunnels
import Wire

public struct Bridge: ~Copyable {
    /// Frames for LAN ports. The driver sends them all before the lane is drained.
    public var frames: FrameArena
    public internal(set) var counters: LaneCounters
    public internal(set) var macs: MACTable

    private let allPorts: PortSet
    /// Each port's own interface; the broadcast address, which never gets that far, where it has none.
    private var portAddresses: FixedArray<MACAddress>
    var links: FixedArray<PeerLink>
    /// The peers with datagrams that wait, in the order they came: the first `dirtyCount` of them.
    var dirty: FixedArray<UInt16>
    var dirtyCount = 0

    init(_ configuration: LaneConfiguration, layout: CounterLayout, secret: HashSecret) {
        allPorts = PortSet(first: configuration.ports)
        portAddresses = FixedArray(count: configuration.ports) { index in
            index < configuration.portAddresses.count ? configuration.portAddresses[index] ?? .broadcast : .broadcast
        }
        frames = FrameArena(byteCapacity: 1 << 20, frameCapacity: 16_384)
        counters = LaneCounters(layout: layout)
        macs = MACTable(
            limit: configuration.macLimit, ageing: configuration.macAgeing,
            locations: Location.count(peers: configuration.peers), secret: secret)
        links = FixedArray(count: configuration.peers) { _ in PeerLink(pathMTU: configuration.pathMTU) }
        dirty = FixedArray(count: configuration.peers) { _ in 0 }
    }

    /// A finished frame that a LAN port received.
    mutating func switchFromPort(_ frame: RawSpan, _ port: PortIndex, _ now: Instant) {
        guard let header = FrameHeader(frame) else { return counters.add(.runt) }
        if frame.byteCount > Limits.frameBytes { return counters.add(.oversized) }
        _ = macs.learn(header.source, on: header.vlan, from: Location(port), at: now)
        if header.destination.isLinkConstrained { return counters.add(.linkConstrained) }
        if header.destination.isGroup { return flood(frame, port) }
        if header.destination == portAddresses[port.index] { return counters.add(.forGateway) }
        guard let place = macs.lookup(header.destination, on: header.vlan, at: now) else { return flood(frame, port) }
        guard let other = place.port else {
            if let peer = place.peer { pack(frame, peer.index) }
            return
        }
        if other == port { return counters.add(.sameSegment) }
        if !frames.append(frame, to: PortSet(other)) { counters.add(.deliverFull) }
    }

    /// The same for a frame in the first `count` octets of a block.
    mutating func switchFromPort(in block: borrowing OwnedBytes, count: Int, _ port: PortIndex, _ now: Instant) {
        switchFromPort(block.bytes(at: 0, count: count), port, now)
    }

    private mutating func flood(_ frame: RawSpan, _ port: PortIndex) {
        let others = allPorts.removing(port)
        if others.isEmpty && links.count == 0 { return counters.add(.noReceiver) }
        if !others.isEmpty && !frames.append(frame, to: others) {
            counters.add(.deliverFull, UInt64(truncatingIfNeeded: others.count))
        }
        for index in 0..<links.count { pack(frame, index) }
    }

    private mutating func pack(_ frame: RawSpan, _ index: Int) {
        if !links[index].isUp || !links[index].hasSender { return counters.add(.peerDown) }
        switch links[index].append(frame) {
        case .packed:
            counters.add(PeerIndex(index), .framesOut)
            if !links[index].isDirty { markDirty(index) }
        case .full: counters.add(.transmitFull)
        case .exhausted: counters.add(.keyExhausted)
        }
    }

    /// Precondition: the peer is not marked yet.
    mutating func markDirty(_ index: Int) {
        links[index].isDirty = true
        dirty[dirtyCount] = UInt16(truncatingIfNeeded: index)
        dirtyCount &+= 1
    }

    /// A frame that a peer sent: to a LAN port or to none, never back to the mesh.
    mutating func switchFromPeer(_ frame: RawSpan, _ peer: PeerIndex, _ now: Instant) {
        counters.add(peer, .framesIn)
        guard let header = FrameHeader(frame) else { return counters.add(.runt) }
        if frame.byteCount > Limits.frameBytes { return counters.add(.oversized) }
        if header.destination.isLinkConstrained { return counters.add(.linkConstrained) }
        _ = macs.learn(header.source, on: header.vlan, from: Location(peer), at: now)
        var ports = allPorts
        if !header.destination.isGroup, let place = macs.lookup(header.destination, on: header.vlan, at: now) {
            guard let port = place.port else { return counters.add(.splitHorizon) }
            ports = PortSet(port)
        }
        if !frames.append(frame, to: ports) { counters.add(.deliverFull, UInt64(truncatingIfNeeded: ports.count)) }
    }

    /// The same for a frame that was put together from pieces.
    mutating func switchFromPeer(
        joinedIn reassemblers: borrowing FixedArray<Reassembler>, count: Int, _ peer: PeerIndex, _ now: Instant
    ) {
        switchFromPeer(reassemblers[peer.index].joinedRecord(count), peer, now)
    }
}
