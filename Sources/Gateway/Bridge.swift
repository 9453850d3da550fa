// Switching: where one frame goes. From a LAN port to other ports and to peers; from a peer to ports only. The rules that
// make a bridge of many sites safe are these few lines: never back to the port it came from, never from the mesh to the
// mesh, never a link-constrained address, never what is addressed to the port's own interface (a LAN port on the WAN's
// interface by mistake would feed the tunnel to itself), never learned from a group or zero source.
//
//                       destination known          unknown unicast, broadcast    IP multicast
//     from a port       that port, or that peer    all other ports, all peers    ports and peers of its entry
//     from a peer       that port, or nowhere      all ports                     ports of its entry
//
// IGMP and MLD go to control, which forwards them itself; 224.0.0.0/24 and ff02::1 are flooded like broadcast.

import Basics
import Buffers
import Switching
import Tunnels
import Wire

public struct Bridge: ~Copyable {
    /// Frames for LAN ports. The driver sends them all before the lane is drained.
    public var frames: FrameArena
    /// The run of frames that the arena's record `runIndex` holds so far, if it can grow; see Bridge+Coalescing.
    var run = Coalescer()
    var runIndex = 0
    /// Ports that take super-frames of TCP; of those, the ones that take super-frames of UDP.
    var coalescing: PortSet
    var coalescingUDP: PortSet
    public internal(set) var counters: LaneCounters
    public internal(set) var macs: MACTable
    let forwarding: ForwardingTable
    /// Whether the tables that frames are looked up in are worth a look ahead.
    private(set) var hasLargeTables = false
    private let tallies: TallyBoard
    /// Whether there are other lanes, which hear of hosts through control.
    private let isOneOfMany: Bool
    private let punts: ByteQueue
    private let segments: ByteQueue
    private let events: SPSCQueue<LaneEvent>
    /// One bit for each VLAN that has been seen on a LAN and that control knows of.
    private var knownVLANs: FixedArray<UInt64>
    /// Ports whose messages control could not be given, until it has been told.
    var overflowed = PortSet.none

    private let allPorts: PortSet
    private let isSnooping: Bool
    private let forwardMask: UInt16
    /// Frames of multicast that is not IP: how many a second a port may bring, since when, and how many there were.
    struct OtherMulticast: BitwiseCopyable {
        var since = Instant.zero
        var count = 0
    }
    private let otherLimit: Int
    private var others: FixedArray<OtherMulticast>
    /// Each port's own interface; the broadcast address, which never gets that far, where it has none.
    private var portAddresses: FixedArray<MACAddress>
    /// Of the peers, then of the groups: see Bridge+Groups.
    var links: FixedArray<PeerLink>
    let peerCount: Int
    var groups: GroupBoard
    /// Places of peers that are somebody's.
    var placesTaken: PeerSet
    /// The peers with datagrams that wait, in the order they came: the first `dirtyCount` of them.
    var dirty: FixedArray<UInt16>
    var dirtyCount = 0
    /// Whether some peer's buffer has no room for all that one more call may bring.
    var isLinkFull = false
    /// What the batch has come to, in the order in which it leaves: the first `runCount`. See Bridge+Classes.
    var runs: FixedArray<RunPlace>
    var runCount = 0
    let classes: ClassMap
    /// For each peer; none where no peer has a rate.
    var pacers: FixedArray<Pacer>
    private let isPacing: Bool
    /// When the frame in hand came; kept only while there are rates.
    var clock = Instant.zero
    /// When something that waits for a peer's rate may leave.
    var nextRelease = Instant.distantFuture

    init(_ configuration: LaneConfiguration, mailbox: LaneMailbox, secret: HashSecret) {
        allPorts = PortSet(first: configuration.ports)
        isSnooping = configuration.isSnooping
        forwardMask = configuration.forwardMask
        coalescing = configuration.coalescing
        coalescingUDP = PortSet(rawValue: configuration.coalescing.rawValue & configuration.coalescingUDP.rawValue)
        otherLimit = configuration.otherMulticastLimit
        forwarding = ForwardingTable(mailbox.forwarding, number: mailbox.lane)
        tallies = mailbox.forwarding.tallies[mailbox.lane]
        isOneOfMany = mailbox.crossings != nil
        punts = mailbox.punts
        segments = mailbox.segments
        events = mailbox.events
        // The untagged one is known from the start.
        knownVLANs = FixedArray(count: 128) { $0 == 0 ? 1 : 0 }
        others = FixedArray(count: configuration.ports) { _ in OtherMulticast() }
        portAddresses = FixedArray(count: configuration.ports) { index in
            index < configuration.portAddresses.count ? configuration.portAddresses[index] ?? .broadcast : .broadcast
        }
        frames = FrameArena(byteCapacity: 1 << 20, frameCapacity: 16_384)
        counters = LaneCounters(layout: mailbox.layout)
        macs = MACTable(
            limit: configuration.macLimit, ageing: configuration.macAgeing,
            locations: Location.count(peers: configuration.peers), secret: secret, isShared: mailbox.crossings != nil)
        peerCount = configuration.peers
        groups = GroupBoard(configuration)
        let linkCount = peerCount + configuration.groups
        links = FixedArray(count: linkCount) { _ in PeerLink(pathMTU: configuration.pathMTU) }
        placesTaken = PeerSet(first: configuration.placesTaken)
        dirty = FixedArray(count: linkCount) { _ in 0 }
        // A group's run goes to each of its first hops.
        runs = FixedArray(count: peerCount * (1 + configuration.groups) * TrafficClass.count) { _ in
            RunPlace(link: 0, peer: 0, trafficClass: .control)
        }
        classes = configuration.classes
        let rates = configuration.rates
        isPacing = rates.contains { $0 > 0 }
        pacers = FixedArray(count: isPacing ? configuration.peers : 0) { index in
            Pacer(rate: index < rates.count ? rates[index] : 0, pathMTU: configuration.pathMTU)
        }
    }

    /// A finished frame that a LAN port received.
    mutating func switchFromPort(_ frame: RawSpan, _ port: PortIndex, _ now: Instant) {
        guard let header = FrameHeader(frame) else { return counters.add(.runt) }
        if frame.byteCount > Limits.frameBytes { return counters.add(.oversized) }
        if isPacing { clock = now }
        learn(header, from: Location(port), now)
        if isSnooping { noteVLAN(header.vlan) }
        if isBlocked(header.destination) { return counters.add(.linkConstrained) }
        if header.destination.isGroup {
            return isSnooping ? switchGroupFromPort(frame, header, port, now) : flood(frame, header, port)
        }
        if header.destination == portAddresses[port.index] { return counters.add(.forGateway) }
        guard let place = macs.lookup(header.destination, on: header.vlan, at: now) else {
            return flood(frame, header, port)
        }
        guard let other = place.port else {
            if let peer = place.peer { pack(frame, peer.index, classes.mark(frame, header)) }
            return
        }
        if other == port { return counters.add(.sameSegment) }
        if !frames.append(frame, to: PortSet(other)) { counters.add(.deliverFull) }
    }

    @inline(__always)
    private mutating func learn(_ header: FrameHeader, from location: Location, _ now: Instant) {
        let outcome = macs.learn(header.source, on: header.vlan, from: location, at: now)
        if isOneOfMany && outcome.isNews { tell(header, location, now) }
    }

    /// The other lanes hear of it; what does not fit is told with a later frame.
    @inline(never)
    private mutating func tell(_ header: FrameHeader, _ location: Location, _ now: Instant) {
        let entry = MACEntry(address: header.source, vlan: header.vlan, location: location, seen: now)
        if !events.push(.sighted(entry), leaving: LaneMailbox.reserve) {
            macs.noteUntold(header.source, on: header.vlan)
            counters.add(.puntQueueFull)
        }
    }

    /// The same for a frame in the first `count` octets of a block.
    mutating func switchFromPort(in block: borrowing OwnedBytes, count: Int, _ port: PortIndex, _ now: Instant) {
        switchFromPort(block.bytes(at: 0, count: count), port, now)
    }

    // MARK: Looking ahead

    /// Octets of tables that a core's nearest cache holds beside everything else.
    private static let smallTables = 1 << 16

    /// To be called between batches: whether the tables have become large.
    mutating func noteTables() {
        // A cache line for each host.
        hasLargeTables = macs.count &* 64 &+ forwarding.byteCount > Bridge.smallTables
    }

    /// Asks the processor to fetch what a frame will be looked up in, a few frames before its turn. Changes nothing.
    func prefetch(_ frame: RawSpan) {
        guard let header = FrameHeader(frame) else { return }
        macs.prefetch(header.source, on: header.vlan)
        if !header.destination.isGroup {
            macs.prefetch(header.destination, on: header.vlan)
        } else if isSnooping && header.etherType == .ipv4,
            let source = frame.loadBE32(at: header.payloadOffset &+ 12),
            let group = frame.loadBE32(at: header.payloadOffset &+ 16)
        {
            forwarding.prefetch(header.vlan, group: group, source: source)
        }
    }

    // MARK: Multicast

    private func isBlocked(_ destination: MACAddress) -> Bool {
        destination.isLinkConstrained && forwardMask >> UInt16(truncatingIfNeeded: destination.rawValue & 15) & 1 == 0
    }

    private mutating func switchGroupFromPort(_ frame: RawSpan, _ header: FrameHeader, _ port: PortIndex, _ now: Instant) {
        let multicast = MulticastHeader(frame, header)
        switch multicast.kind {
        case .data: forward(frame, header, multicast, port)
        case .everywhere, .unknownIGMP: flood(frame, header, port)
        case .membership: punt(frame, port)
        case .discovery, .pim:
            punt(frame, port)
            flood(frame, header, port)
        case .invalidScope: counters.add(.invalidScope)
        case .other:
            if header.destination == .broadcast || admitOther(port, now) {
                flood(frame, header, port)
            } else {
                counters.add(.multicastRate)
            }
        }
    }

    /// To the ports and the peers of the entry.
    private mutating func forward(_ frame: RawSpan, _ header: FrameHeader, _ multicast: MulticastHeader, _ port: PortIndex) {
        guard let verdict = forwarding.find(header.vlan, group: multicast.group, source: multicast.source) else {
            return counters.add(.unwanted)
        }
        let fanOut = forwarding.fanOut(verdict)
        let ports = fanOut.ports.removing(port)
        if ports.isEmpty && fanOut.peers.isEmpty {
            return counters.add(fanOut.ports.isEmpty ? .unwanted : .sameSegment)
        }
        tallies.add(verdict.cell, bytes: frame.byteCount, fromMesh: false)
        if !ports.isEmpty && !frames.append(frame, to: ports) {
            counters.add(.deliverFull, UInt64(truncatingIfNeeded: ports.count))
        }
        if fanOut.peers.isEmpty { return }
        let mark = classes.mark(frame, header)
        var peers = fanOut.peers
        if groups.active > 0 && packGroup(frame, peers, mark) { peers = peers.subtracting(groups.shareable) }
        pack(frame, peers.word(0), from: 0, mark)
        if peerCount > 64 {
            for index in 1..<PeerSet.wordCount { pack(frame, peers.word(index), from: index &* 64, mark) }
        }
    }

    /// To peers from `first` on: one bit each.
    @inline(__always)
    private mutating func pack(_ frame: RawSpan, _ peers: UInt64, from first: Int, _ mark: FrameMark) {
        var bits = peers
        while bits != 0 {
            let peer = first &+ bits.trailingZeroBitCount
            bits &= bits &- 1
            if peer < peerCount { pack(frame, peer, mark) }
        }
    }

    /// The ports for a group frame of a peer; `nil` when it goes nowhere, and has been counted.
    private mutating func portsForGroup(_ frame: RawSpan, _ header: FrameHeader) -> PortSet? {
        let multicast = MulticastHeader(frame, header)
        switch multicast.kind {
        case .data:
            let verdict = forwarding.find(header.vlan, group: multicast.group, source: multicast.source)
            guard let verdict, case let ports = forwarding.fanOut(verdict).ports, !ports.isEmpty else {
                counters.add(.unwanted)
                return nil
            }
            tallies.add(verdict.cell, bytes: frame.byteCount, fromMesh: true)
            return ports
        case .membership:
            counters.add(.membershipFromMesh)
            return nil
        case .invalidScope:
            counters.add(.invalidScope)
            return nil
        case .everywhere, .unknownIGMP, .discovery, .pim, .other: return allPorts
        }
    }

    private mutating func admitOther(_ port: PortIndex, _ now: Instant) -> Bool {
        if now - others[port.index].since >= .seconds(1) { others[port.index] = OtherMulticast(since: now, count: 0) }
        others[port.index].count &+= 1
        return others[port.index].count <= otherLimit
    }

    /// Control asks the hosts of a VLAN what they have joined once it knows of the VLAN.
    @inline(__always)
    private mutating func noteVLAN(_ vlan: VLAN) {
        // The untagged one is always known.
        if vlan.rawValue != 0 { noteTaggedVLAN(vlan) }
    }

    private mutating func noteTaggedVLAN(_ vlan: VLAN) {
        let word = Int(vlan.rawValue >> 6)
        let bit: UInt64 = 1 << UInt64(vlan.rawValue & 63)
        if knownVLANs[word] & bit == 0 && events.push(.vlanSeen(vlan), leaving: LaneMailbox.reserve) { knownVLANs[word] |= bit }
    }

    /// The VLAN's next frame is news to control. The untagged VLAN is always known.
    mutating func forgetVLAN(_ vlan: VLAN) {
        if vlan != .untagged { knownVLANs[Int(vlan.rawValue >> 6)] &= ~(1 << UInt64(vlan.rawValue & 63)) }
    }

    /// Hands a frame to the snooper.
    private mutating func punt(_ frame: RawSpan, _ port: PortIndex) {
        if punts.push(frame, tag: QueuedBytes.frame(UInt32(port.rawValue)).tag) {
            counters.addSnooped()
        } else {
            counters.add(.snoopQueueFull)
            overflowed = overflowed.inserting(port)
        }
    }

    /// Hands a segment of a peer's control channel to control; what does not fit is sent again.
    mutating func punt(segment: RawSpan, from peer: PeerIndex) {
        if !segments.push(segment, tag: QueuedBytes.segment(peer).tag) { counters.add(.puntQueueFull) }
    }

    mutating func punt(
        segmentIn reassemblers: borrowing FixedArray<Reassembler>, at place: Int, count: Int, from peer: PeerIndex
    ) {
        punt(segment: reassemblers[place].joinedRecord(count), from: peer)
    }

    /// A frame of control's, in the first `count` octets of a block, for LAN ports.
    mutating func deliver(_ block: borrowing OwnedBytes, count: Int, to ports: PortSet) {
        let ports = PortSet(rawValue: ports.rawValue & allPorts.rawValue)
        if !ports.isEmpty && !frames.append(block.bytes(at: 0, count: count), to: ports) {
            counters.add(.deliverFull, UInt64(truncatingIfNeeded: ports.count))
        }
    }

    /// A segment of our control channel to a peer; lost while there is no session, and sent again by the channel.
    mutating func pack(segmentIn block: borrowing OwnedBytes, count: Int, for peer: PeerIndex) {
        guard peer.index < peerCount, links[peer.index].hasSender, count > 0 else { return }
        guard links[peer.index].append(control: block.bytes(at: 0, count: count)) else { return }
        if !links[peer.index].isDirty { markDirty(peer.index) }
        noteRoom(peer.index, .control)
    }

    /// After each change of what waits for a peer; behind a short datagram there is no room either.
    @inline(__always)
    mutating func noteRoom(_ index: Int, _ trafficClass: TrafficClass) {
        let needed = trafficClass == .control ? PackerSet.controlHeadroom : LaneCore.headroom
        if !links[index].hasRoom(for: needed, trafficClass) { isLinkFull = true }
    }

    /// The same for all classes.
    mutating func noteRoom(_ index: Int) {
        for number in 0..<TrafficClass.count { noteRoom(index, TrafficClass(place: number)) }
    }

    // MARK: Flooding

    private mutating func flood(_ frame: RawSpan, _ header: FrameHeader, _ port: PortIndex) {
        let others = allPorts.removing(port)
        if others.isEmpty && placesTaken.isEmpty { return counters.add(.noReceiver) }
        if !others.isEmpty && !frames.append(frame, to: others) {
            counters.add(.deliverFull, UInt64(truncatingIfNeeded: others.count))
        }
        let mark = classes.mark(frame, header)
        if groups.flood >= 0 { return floodGroup(frame, mark) }
        pack(frame, placesTaken.word(0), from: 0, mark)
        if peerCount > 64 {
            for index in 1..<PeerSet.wordCount { pack(frame, placesTaken.word(index), from: index &* 64, mark) }
        }
    }

    /// Somebody has a place, or has left it.
    mutating func setPlace(_ peer: PeerIndex, _ isTaken: Bool) {
        guard peer.index < peerCount else { return }
        if isTaken { placesTaken.insert(peer) } else { placesTaken.remove(peer) }
    }

    mutating func pack(_ frame: RawSpan, _ index: Int, _ mark: FrameMark) {
        if !links[index].isUp || !links[index].hasSender { return notePeerDown(index) }
        if isPacing && !admit(frame, index, mark) { return }
        let outcome = links[index].append(frame, mark)
        note(outcome, index, mark)
    }

    @inline(never)
    private mutating func notePeerDown(_ index: Int) {
        if placesTaken.contains(PeerIndex(index)) { counters.add(.peerDown) }
    }

    /// What became of a frame for a peer.
    @inline(__always)
    mutating func note(_ outcome: PeerLink.Outcome, _ index: Int, _ mark: FrameMark) {
        switch outcome {
        case .packed, .packedMore:
            counters.add(PeerIndex(index), .framesOut)
            if !mark.isNormal { noteClass(index, mark) }
            // There is less room only once a datagram is finished.
            if !links[index].isDirty {
                markDirty(index)
                noteRoom(index, mark.trafficClass)
            } else if outcome == .packedMore {
                noteRoom(index, mark.trafficClass)
            }
        case .full: counters.add(.transmitFull, copies(index))
        case .exhausted: counters.add(.keyExhausted, copies(index))
        }
    }

    @inline(__always)
    private mutating func noteClass(_ index: Int, _ mark: FrameMark) {
        counters.add(PeerIndex(index), mark.place == TrafficClass.feed.rawValue ? .feedOut : .bulkOut)
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
        if isBlocked(header.destination) { return counters.add(.linkConstrained) }
        learn(header, from: Location(peer), now)
        var ports = allPorts
        if header.destination.isGroup {
            if isSnooping {
                guard let members = portsForGroup(frame, header) else { return }
                ports = members
            }
        } else if let place = macs.lookup(header.destination, on: header.vlan, at: now) {
            guard let port = place.port else { return counters.add(.splitHorizon) }
            ports = PortSet(port)
        }
        if !deliver(frame, header, to: ports) { counters.add(.deliverFull, UInt64(truncatingIfNeeded: ports.count)) }
    }

    /// The same for a frame that was put together from pieces.
    mutating func switchFromPeer(
        joinedIn reassemblers: borrowing FixedArray<Reassembler>, at place: Int, count: Int, _ peer: PeerIndex,
        _ now: Instant
    ) {
        switchFromPeer(reassemblers[place].joinedRecord(count), peer, now)
    }
}
