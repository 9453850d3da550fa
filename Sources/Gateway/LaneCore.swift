// The fast path of one gateway: what happens to a frame from the LAN and to a datagram from the WAN. Sans-IO: it is given
// bytes and the time and leaves what is to be sent in memory of its own, which the driver empties.
//
//     handleFrame ----> learn, look up --+--> frames for other ports        `bridge.frames`
//                                        +--> packed, sealed datagrams      `transmit(at:)`
//     handleDatagrams -> open, unpack ---+--> frames for the ports          `bridge.frames`
//                                        +--> handshakes                    mailbox, to control
//
// How to drive it: call `handleCommands`, then any number of `handleFrame` or `handleDatagrams`, then `finishBatch`, then
// send everything, then `drained`. When `wantsDrain` turns true in between, finish and drain before going on. Call
// `handleTimeout` when `nextTimeout` has come. One thread owns it; nothing here allocates, locks or counts references,
// except that installing a key, a few times an hour for each peer, makes small arrays and asks the
// libraries that seal for memory.

import Basics
import Buffers
import Switching
import Tunnels
import Wire

/// Which lane here takes what a lane of a peer's has sealed. Lane *i* of *n* takes the origin tags *i*, *i + n*, *i + 2n* and so
/// on, each of which has a place there. Tables, since dividing costs more.
struct OriginMap: BitwiseCopyable, Sendable {
    /// Places of each lane.
    let places: Int
    private var lanes: InlineArray<8, UInt8>
    private var placeOf: InlineArray<8, UInt8>

    init(lanes count: Int) {
        precondition(count > 0 && count <= Limits.lanes && Limits.lanes == 8)
        places = (Limits.lanes + count - 1) / count
        lanes = InlineArray { UInt8($0 % count) }
        placeOf = InlineArray { UInt8($0 / count) }
    }

    /// Precondition: `origin` is below `Limits.lanes`, as it is for that of every session.
    func lane(of origin: Int) -> UInt16 { UInt16(lanes[origin]) }
    func place(of origin: Int) -> Int { Int(placeOf[origin]) }
}

/// What a lane is made with.
public struct LaneConfiguration: Sendable {
    public var ports: Int
    /// Places for peers.
    public var peers: Int
    /// How many of them, from the first, are peers' from the start.
    public var placesTaken: Int
    public var lane: UInt16
    public var macLimit: Int
    public var macAgeing: Interval
    /// The largest packet of the underlay that is tried, in octets, from the IP header on.
    public var pathMTU: Int
    public var keepalive: Interval
    /// The address of each port's own interface, where it has one: frames to it are for this machine, and stay.
    public var portAddresses: [MACAddress?] = []
    /// False: multicast goes everywhere.
    public var isSnooping = true
    /// Frames a second of multicast that is not IP.
    public var otherMulticastLimit = 10_000
    /// Bit n lets 01:80:c2:00:00:0n through (rule 43).
    public var forwardMask: UInt16 = 0
    /// Ports that take super-frames of TCP: what peers send there is joined. None: every frame stays as it came.
    public var coalescing = PortSet.none
    /// Of those, the ports that take super-frames of UDP too.
    public var coalescingUDP = PortSet.none
    /// The traffic classes of frames, and what their datagrams say on the outside.
    public var classes = ClassMap()
    /// For each peer what this lane may send to it, in bits a second; 0, and where there is none, for no limit.
    public var rates: [UInt64] = []
    /// Audiences of several peers that can have a stream of their own at once.
    public var groups: Int
    /// Which library seals and opens. A matter of speed alone, so that only a live gateway chooses.
    public var backends = CipherBackends.sodium

    public init(
        ports: Int, peers: Int, lane: UInt16 = 0, macLimit: Int = 65_536, macAgeing: Interval = .seconds(300),
        pathMTU: Int = 1_500, keepalive: Interval = .seconds(1)
    ) {
        precondition(ports > 0 && ports <= Limits.ports && peers >= 0 && peers <= Limits.peers)
        self.ports = ports
        self.peers = peers
        placesTaken = peers
        groups = GroupLimits.groups(peers: peers)
        self.lane = lane
        self.macLimit = macLimit
        self.macAgeing = macAgeing
        self.pathMTU = pathMTU
        self.keepalive = keepalive
    }
}

/// A run of datagrams for one peer: `byteCount` octets end to end, each `segmentSize` long but the last.
public struct Transmit: Sendable, BitwiseCopyable {
    public var peer: PeerIndex
    public var endpoint: Endpoint
    public var segmentSize: Int
    public var byteCount: Int
    public var trafficClass: TrafficClass
    /// What the IP headers of all its datagrams say: DSCP in the high six bits, ECN in the low two.
    public var octet: UInt8
    /// The number of the probe that it is; `nil` for what carries frames, and for replies.
    public var probe: UInt32?

    public var datagrams: Int { (byteCount &+ segmentSize &- 1) / segmentSize }
}

public struct LaneCore: ~Copyable {
    public let configuration: LaneConfiguration
    /// Switching, and what it writes to: the MAC table, the frames for LAN ports, the datagrams for peers, the bridge.counters.
    public var bridge: Bridge

    // The mailbox's parts, held here so that reaching them counts no references.
    let events: SPSCQueue<LaneEvent>
    private let handshakes: HandshakeQueue
    let commands: SPSCQueue<LaneCommand>
    let crossingQueues: LaneCrossings?
    private let outbound: ByteQueue
    private let board: CounterBoard
    let heard: CounterBoard
    /// Whether what is being unpacked came through others.
    var cameRouted = false
    var sessions: FixedArray<ReceiveSession>
    /// For each session, then for each lane of the other side whose datagrams come to this lane. Behind them the same for
    /// routed streams, by place.
    var streams: FixedArray<ReceiveStream>
    /// For each peer, then likewise; and behind them for routed streams.
    var reassemblers: FixedArray<Reassembler>
    /// Routed streams that come here; see LaneCore+Routes.
    var routes: RouteTable
    /// What is forwarded to other sites unopened.
    var relays = RelayOutbox()
    /// Which of the lanes here has the datagrams of a lane of a peer's, and in which of its places.
    let origins: OriginMap
    /// Segments of a super-frame, one at a time.
    private var segment: OwnedBytes
    /// What control sends, one message at a time; what goes to another lane likewise.
    var scratch: OwnedBytes
    /// What came from another lane; there are none where it is `nil`.
    var foreign: OwnedBytes?
    /// Lanes that were handed datagrams, one bit each.
    var crossed: UInt16 = 0
    /// Datagrams that were handed to them since the driver asked.
    var crossings = 0
    /// When something must be done though nothing arrives.
    public var nextTimeout: Instant { min(nextPublication, min(nextChore, bridge.nextRelease)) }
    /// The same for all but what a peer's rate holds back, and counters.
    private var nextChore = Instant.zero
    /// When counters that have changed are published.
    private var nextPublication = Instant.distantFuture
    var listing: MACListing?
    /// Probes and replies, and when probes were sent.
    var probes: ProbeOutbox
    private var published = Instant.zero
    /// True when something has been counted since counters were published.
    var isActive = false

    /// Octets that the arena and a packer keep free for what one call can bring: a 64 KB super-frame in segments.
    static let headroom = 80 * 1024
    /// Frames that one call can bring: a 64 KB run of datagrams full of the shortest frames.
    private static let frameHeadroom = 65_536 / (Limits.runtBytes + PackingLayout.recordHeaderBytes)
    /// MAC entries that one timeout removes at most.
    private static let expiryBudget = 1024
    private static let publishInterval = Interval.milliseconds(10)

    public init(_ configuration: LaneConfiguration, mailbox: LaneMailbox, secret: HashSecret) {
        self.configuration = configuration
        events = mailbox.events
        handshakes = mailbox.handshakes
        commands = mailbox.commands
        crossingQueues = mailbox.crossings
        let origins = OriginMap(lanes: mailbox.crossings?.lanes ?? 1)
        self.origins = origins
        board = mailbox.board
        heard = mailbox.heard
        probes = ProbeOutbox(peers: configuration.peers)
        outbound = mailbox.outbound
        bridge = Bridge(configuration, mailbox: mailbox, secret: secret)
        precondition(mailbox.layout.groups >= configuration.groups)
        let places = GroupLimits.places(peers: configuration.peers)
        routes = RouteTable(peers: configuration.peers, secret: secret)
        reassemblers = FixedArray(count: (configuration.peers + places) * origins.places) { _ in
            Reassembler(datagramSize: Limits.frameBytes)
        }
        let slots = configuration.peers * StreamIdentifier.slotsPerPeer
        sessions = FixedArray(count: slots) { _ in ReceiveSession() }
        streams = FixedArray(count: (slots + places) * origins.places) { _ in ReceiveStream() }
        foreign = mailbox.crossings == nil ? nil : OwnedBytes(count: ByteQueue.messageLimit)
        segment = OwnedBytes(count: Limits.frameBytes)
        scratch = OwnedBytes(count: mailbox.outbound.largestMessage)
    }

    // MARK: From the LAN

    /// A frame that `port` received. It may be changed: an unfinished checksum is finished in place.
    public mutating func handleFrame(
        _ frame: inout MutableRawSpan, offload: FrameOffload, on port: PortIndex, at now: Instant
    ) {
        isActive = true
        bridge.counters.add(port, .framesIn)
        bridge.counters.add(port, .bytesIn, UInt64(truncatingIfNeeded: frame.byteCount))
        if offload.isFinished {
            bridge.switchFromPort(frame.bytes, port, now)
        } else if offload.segmentation == .none {
            if finishChecksum(of: &frame, offload) {
                bridge.switchFromPort(frame.bytes, port, now)
            } else {
                bridge.counters.add(.badOffload)
            }
        } else {
            handleSuperFrame(frame.bytes, offload, port, now)
        }
    }

    /// Whether `prefetch` is of use: with small tables everything is at hand.
    public var wantsPrefetch: Bool { bridge.hasLargeTables }

    /// A frame that `handleFrame` will be given a few frames later: asks the processor to fetch what it will be looked up in.
    public func prefetch(_ frame: RawSpan) { bridge.prefetch(frame) }

    /// Cuts a local sender's super-frame into the segments that a wire would have carried.
    private mutating func handleSuperFrame(
        _ frame: RawSpan, _ offload: FrameOffload, _ port: PortIndex, _ now: Instant
    ) {
        guard var segmenter = Segmenter(frame, offload: offload) else { return bridge.counters.add(.badOffload) }
        var count = 0
        while let length = nextSegment(&segmenter, of: frame) {
            count &+= 1
            bridge.switchFromPort(in: segment, count: length, port, now)
        }
        // The super-frame was counted once on its way in; what it stands for is its segments.
        if count > 1 { bridge.counters.add(port, .framesIn, UInt64(truncatingIfNeeded: count &- 1)) }
        if segmenter.failed || count == 0 { bridge.counters.add(.badOffload) }
    }

    private mutating func nextSegment(_ segmenter: inout Segmenter, of frame: RawSpan) -> Int? {
        var output = segment.mutableBytes
        return segmenter.next(from: frame, into: &output)
    }

    // MARK: From the WAN

    /// Datagrams of one source, end to end, each `segmentSize` octets but the last. They are opened in place.
    /// Precondition: `segmentSize` is positive.
    /// `octet` is what their IP headers said: DSCP in the high six bits, ECN in the low two.
    public mutating func handleDatagrams(
        _ bytes: inout MutableRawSpan, segmentSize: Int, from source: Endpoint, octet: UInt8 = 0, at now: Instant
    ) {
        precondition(segmentSize > 0)
        var offset = 0
        let total = bytes.byteCount
        while offset < total {
            let end = min(offset &+ segmentSize, total)
            var datagram = bytes._mutatingExtracting(offset..<end)
            handleDatagram(&datagram, from: source, octet: octet, at: now)
            offset = end
        }
    }

    /// One datagram. It is opened in place.
    public mutating func handleDatagram(
        _ datagram: inout MutableRawSpan, from source: Endpoint, octet: UInt8 = 0, at now: Instant
    ) {
        isActive = true
        let count = datagram.byteCount
        guard count >= 1 else { return bridge.counters.add(.malformedDatagram) }
        // SAFETY: at least one octet is there.
        switch DatagramKind(rawValue: unsafe datagram.bytes.unsafeLoad(fromUncheckedByteOffset: 0, as: UInt8.self)) {
        case .sealed: handleSealed(&datagram, source, octet, now)
        case .initiation, .response, .cookieReply, .annex, .hello:
            guard count <= DatagramKind.handshakeLimit else { return bridge.counters.add(.malformedDatagram) }
            if !handshakes.push(datagram.bytes, source, using: &scratch) { bridge.counters.add(.puntQueueFull) }
        case nil: bridge.counters.add(.malformedDatagram)
        }
    }

    private mutating func handleSealed(
        _ datagram: inout MutableRawSpan, _ source: Endpoint, _ octet: UInt8, _ now: Instant
    ) {
        let count = datagram.byteCount
        guard count >= SealedLayout.overhead else { return bridge.counters.add(.malformedDatagram) }
        // SAFETY: a whole header is there, as checked.
        let stream = unsafe UInt32(
            bigEndian: datagram.bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: SealedLayout.stream, as: UInt32.self))
        let counter = unsafe UInt64(
            bigEndian: datagram.bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: SealedLayout.counter, as: UInt64.self))
        let head = unsafe UInt32(bigEndian: datagram.bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: 0, as: UInt32.self))
        let origin = Int(head & 0xFFFF)
        if head & LaneCore.routedBit != 0 {
            return handleRouted(&datagram, source, octet, stream, counter, origin, now)
        }
        let slot = StreamIdentifier.slot(of: stream)
        guard slot < sessions.count, sessions[slot].stream == stream, stream != 0, origin < sessions[slot].origins else {
            return bridge.counters.add(.unknownStream)
        }
        let lane = origins.lane(of: origin)
        if lane != configuration.lane {
            return cross(datagram.bytes, from: source, octet: octet, to: Int(lane))
        }
        let place = slot &* origins.places &+ origins.place(of: origin)
        guard streams[place].window.accepts(counter) else { return bridge.counters.add(.replayed) }
        guard streams[place].open(&datagram, counter: counter) else { return bridge.counters.add(.authenticationFailed) }
        let peer = sessions[slot].peer
        let isNewest = noteCounter(counter, place, peer)
        bridge.counters.add(peer, .datagramsIn)
        bridge.counters.add(peer, .bytesIn, UInt64(truncatingIfNeeded: count))
        if !sessions[slot].isConfirmed { confirm(slot, source, isRouted: false) }
        noteHeard(slot, isNewest, source, now)
        cameRouted = false
        let pieces = peer.index &* origins.places &+ origins.place(of: origin)
        let stretch = Stretch(reassembler: pieces, stream: stream, counter: counter, instant: now)
        unpackOpened(&datagram, peer, stretch, Congestion(octet: octet))
    }

    /// Marks the counter of what has just opened; true if it is newer than all before. A gap before it counts as lost.
    @inline(__always)
    mutating func noteCounter(_ counter: UInt64, _ place: Int, _ peer: PeerIndex) -> Bool {
        let isNewest = streams[place].window.isNewest(counter)
        if isNewest {
            let gap = streams[place].window.gap(before: counter)
            if gap > 0 {
                bridge.counters.add(.lostOnWAN, gap)
                bridge.counters.add(peer, .datagramsLost, gap)
            }
        } else {
            bridge.counters.takeBackLoss(peer)
        }
        streams[place].window.mark(counter)
        return isNewest
    }

    /// The other side has shown that it holds an installed session's keys: seal with them from here on.
    mutating func confirm(_ slot: Int, _ source: Endpoint, isRouted: Bool) {
        let peer = sessions[slot].peer
        // Control has to know; if it cannot be told, the next datagram is the first.
        guard events.push(.confirmed(peer, stream: sessions[slot].stream, at: source, isRouted: isRouted)) else {
            return bridge.counters.add(.puntQueueFull)
        }
        beginSealing(slot, isRouted ? bridge.links[peer.index].endpoint : source)
    }

    /// Seals with a session's keys from here on, if it was not done before.
    mutating func beginSealing(_ slot: Int, _ source: Endpoint) {
        let peer = sessions[slot].peer
        sessions[slot].isConfirmed = true
        let sender = sessions[slot].takeSender()
        // A first datagram may be late: a session that is newer than this one goes on sealing.
        if let sender, sessions[slot].generation > bridge.links[peer.index].generation {
            bridge.links[peer.index].install(
                sender, session: sessions[slot].stream, generation: sessions[slot].generation, endpoint: source)
            bridge.noteRoom(peer.index)
        }
        bridge.links[peer.index].isUp = true
        bridge.groups.isStale = true
        doChoresSoon()
    }

    private mutating func noteHeard(_ slot: Int, _ isNewest: Bool, _ source: Endpoint, _ now: Instant) {
        let peer = sessions[slot].peer
        // Once for all that comes at one time.
        if now != bridge.links[peer.index].heard {
            bridge.links[peer.index].heard = now
            heard.store(now.nanoseconds, at: peer.index)
        }
        let generation = sessions[slot].generation
        if isNewest && generation >= bridge.links[peer.index].heardGeneration {
            bridge.links[peer.index].heardGeneration = generation
            if source != bridge.links[peer.index].endpoint {
                bridge.links[peer.index].move(to: source)
                bridge.groups.isStale = true
                bridge.links[peer.index].moveIsUntold = true
            }
        }
        let silence = now - bridge.links[peer.index].reported
        if silence >= configuration.keepalive / 2
            || (bridge.links[peer.index].moveIsUntold && silence >= LaneCore.publishInterval)
        {
            bridge.links[peer.index].reported = now
            let hasMoved = bridge.links[peer.index].moveIsUntold
            let isTold = events.push(.heard(peer, at: now, from: bridge.links[peer.index].endpoint, hasMoved: hasMoved))
            if isTold { bridge.links[peer.index].moveIsUntold = false } else { bridge.counters.add(.puntQueueFull) }
        }
    }

    // MARK: The end of a batch

    /// True when another call might bring more than there is room for: finish the batch and drain before it.
    public var wantsDrain: Bool {
        bridge.isLinkFull || relays.isNearlyFull
            || !bridge.frames.hasRoom(frames: LaneCore.frameHeadroom, bytes: LaneCore.headroom)
    }

    /// Seals what is still open. Nothing waits for a fuller datagram, nor for more frames of a run.
    public mutating func finishBatch(at now: Instant) {
        bridge.closeRun()
        for index in 0..<bridge.dirtyCount {
            let peer = Int(bridge.dirty[index])
            bridge.links[peer].finish(at: now)
            bridge.noteRoom(peer)
            if bridge.links[peer].isRenewalDue && events.push(.renewalDue(PeerIndex(peer))) {
                bridge.links[peer].noteRenewalSaid()
            }
        }
        bridge.listRuns()
        if probes.isWaiting { sealProbes(at: now) }
        if bridge.denials.isWaiting { reportDenials(at: now) }
        if !bridge.overflowed.isEmpty && events.push(.snoopOverflow(bridge.overflowed)) { bridge.overflowed = .none }
        guard isActive else { return }
        if now - published >= LaneCore.publishInterval {
            publish(at: now)
        } else {
            nextPublication = published + LaneCore.publishInterval
        }
    }

    /// Where a peer is that frames are sent to; `nil` for one that is down.
    public func endpoint(of peer: PeerIndex) -> Endpoint? {
        precondition(peer.index < configuration.peers)
        return bridge.links[peer.index].isUp ? bridge.links[peer.index].endpoint : nil
    }

    /// Runs of datagrams that wait to be sent: what is most urgent first, then what is only forwarded, and at the end probes,
    /// each alone.
    public var transmits: Int { bridge.runCount &+ relays.sends &+ probes.sealed }

    /// Precondition: `index` is below `transmits`, and the batch is finished.
    public func transmit(at index: Int) -> Transmit {
        if index >= bridge.runCount { return laterTransmit(at: index &- bridge.runCount) }
        let run = bridge.runs[index]
        let (link, peer) = (Int(run.link), Int(run.peer))
        return Transmit(
            peer: PeerIndex(peer), endpoint: bridge.destination(peer), segmentSize: bridge.links[link].datagramSize,
            byteCount: bridge.links[link].finishedBytes(run.trafficClass), trafficClass: run.trafficClass,
            octet: bridge.classes.outerOctet(run.trafficClass, bridge.links[link].mark(run.trafficClass)))
    }

    /// The run's octets; lent until `drained`.
    @_lifetime(borrow self)
    public func transmitBytes(at index: Int) -> RawSpan {
        if index >= bridge.runCount &+ relays.sends { return probes.bytes(at: index &- bridge.runCount &- relays.sends) }
        if index >= bridge.runCount { return relays.bytes(at: index &- bridge.runCount) }
        let run = bridge.runs[index]
        return bridge.links[Int(run.link)].finished(run.trafficClass)
    }

    /// Everything was sent: the memory is free again.
    public mutating func drained() {
        if bridge.pacers.count > 0 {
            bridge.settlePacers()
            chargeProbes()
        }
        if bridge.groups.active > 0 { bridge.settleGroups() }
        for index in 0..<bridge.dirtyCount { bridge.links[Int(bridge.dirty[index])].drained() }
        bridge.dirtyCount = 0
        bridge.runCount = 0
        if bridge.groups.isStale { bridge.applyGroups() }
        probes.drained()
        relays.drained()
        bridge.isLinkFull = false
        bridge.removeFrames()
    }

    // MARK: From control

    /// Frames that control puts on ports, and segments of its channels. Stops when there is no room for more.
    mutating func handleOutbound() {
        while !outbound.isEmpty && !wantsDrain {
            guard let (tag, count) = outbound.popInto(&scratch) else { return }
            switch QueuedBytes(tag: tag) {
            case .frame(let ports):
                bridge.deliver(scratch, count: count, to: PortSet(rawValue: UInt16(truncatingIfNeeded: ports)))
            case .segment(let peer): bridge.pack(segmentIn: scratch, count: count, for: peer)
            }
        }
    }

    // MARK: Time

    /// Keepalives, ageing, pieces that waited too long, rows that were asked for. Then finish the batch and drain.
    public mutating func handleTimeout(at now: Instant) {
        if bridge.nextRelease <= now {
            bridge.release(at: now)
            isActive = true
        }
        if nextPublication <= now { publish(at: now) }
        // Releases and counters come often, and the rest need not: it looks at everything that there is.
        if now < nextChore { return }
        var next = now + .seconds(1)
        var lost: UInt64 = 0
        for index in 0..<reassemblers.count {
            reassemblers[index].handleTimeout(at: now)
            lost &+= reassemblers[index].lost
            if reassemblers[index].isWaiting { next = min(next, now + Reassembler.patience / 2) }
        }
        for index in 0..<configuration.peers {
            // Who hears nothing says nothing either: where only one direction works, the other side has to notice.
            guard bridge.links[index].hasSender && bridge.links[index].isUp else { continue }
            if now >= bridge.links[index].sent + configuration.keepalive { keepAlive(index, now) }
            next = min(next, bridge.links[index].sent + configuration.keepalive)
        }
        bridge.counters.set(.fragmentLost, to: lost)
        if bridge.macs.expire(at: now, budget: LaneCore.expiryBudget) == LaneCore.expiryBudget {
            next = now + .milliseconds(1)
        }
        if continueListing() { next = now + .milliseconds(1) }
        publish(at: now)
        nextChore = max(next, now + .microseconds(100))
    }

    mutating func keepAlive(_ index: Int, _ now: Instant) {
        guard !bridge.links[index].isDirty && bridge.links[index].appendEmpty(at: now) else { return }
        bridge.markDirty(index)
        bridge.noteRoom(index, .control)
    }

    private mutating func publish(at now: Instant) {
        published = now
        nextPublication = .distantFuture
        isActive = false
        updateGauges()
        bridge.counters.publish(to: board)
    }

    mutating func updateGauges() {
        bridge.counters.set(.macs, to: UInt64(truncatingIfNeeded: bridge.macs.count))
        bridge.counters.set(.macMoves, to: bridge.macs.moves)
        bridge.counters.set(.macEvictions, to: bridge.macs.evictions)
        bridge.notePaced()
    }

    /// Says something to control; what does not fit is lost, and said again where it matters.
    mutating func report(_ event: LaneEvent) {
        if !events.push(event) { bridge.counters.add(.puntQueueFull) }
    }

    mutating func scheduleTimeout(at instant: Instant) { nextChore = min(nextChore, instant) }

    /// Signs of life are due to whoever has just become a peer.
    mutating func doChoresSoon() { nextChore = .zero }
}
