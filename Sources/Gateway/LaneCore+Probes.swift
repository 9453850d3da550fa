// Probes in a lane: it sends what control asks for, answers what peers ask at once, without a word to control, and says when a
// reply has come. Each probe and each reply is a datagram of its own, sealed when the batch ends and sent behind what the batch
// has brought, so that no run of equal datagrams is broken and counters leave in their order.

import Basics
import Buffers
import Tunnels

/// The probes and replies that wait to be sent, and when the last probes to each peer were sent. Whatever one peer asks, there is
/// room for the replies to all others: replies have places by peer, and probes places of their own.
struct ProbeOutbox: ~Copyable {
    /// One that waits to be sealed.
    struct Pending: BitwiseCopyable {
        var peer = PeerIndex(0)
        var probe = ProbeRecord(.request, number: 0)
        /// Octets of the IP packet; 0: as short as can be.
        var packet = 0
        /// Whether others carry it.
        var isRouted = false
        /// Where to, if not to where the peer is.
        var place: Endpoint?
    }

    /// One that is sealed and waits to be sent.
    struct Sealed: BitwiseCopyable {
        var peer = PeerIndex(0)
        var number: UInt32?
        var offset = 0
        var count = 0
        var isRouted = false
        var place: Endpoint?
    }

    struct Stamp: BitwiseCopyable {
        var number: UInt32 = 0
        var sent: Instant?
    }

    /// Replies to one peer in one batch: more than a round and what may meet it.
    static let repliesPerPeer = 16
    /// Probes of control's that wait for one peer, on average.
    private static let requestsPerPeer = 16
    /// Probes of one batch, and their octets. Others wait for the next.
    static let requestLimit = 64
    private static let requestBytes = 128 * 1024
    /// Probes to one peer whose replies are still of interest.
    private static let stampsPerPeer = 32

    /// A ring: the oldest at `first`.
    private var requests: FixedArray<Pending>
    private var first = 0
    private var requestCount = 0
    private var replies: FixedArray<Pending>
    private var replyCount = 0
    /// Of `replies`, by peer.
    private var repliesTo: FixedArray<UInt8>
    private var sealedOnes: FixedArray<Sealed>
    private(set) var sealed = 0
    private var storage: OwnedBytes
    private var used = 0
    private var stamps: FixedArray<Stamp>
    /// Probes and replies that found no place, since the start.
    private(set) var dropped: UInt64 = 0

    init(peers: Int) {
        let replyLimit = peers * ProbeOutbox.repliesPerPeer
        requests = FixedArray(count: peers * ProbeOutbox.requestsPerPeer) { _ in Pending() }
        replies = FixedArray(count: replyLimit) { _ in Pending() }
        repliesTo = FixedArray(count: peers) { _ in 0 }
        sealedOnes = FixedArray(count: replyLimit + ProbeOutbox.requestLimit) { _ in Sealed() }
        // Nothing is ever sent where there is nobody.
        storage = OwnedBytes(
            count: peers == 0 ? 1 : ProbeOutbox.requestBytes + replyLimit * ProbeRecord.datagramBytes)
        stamps = FixedArray(count: peers * ProbeOutbox.stampsPerPeer) { _ in Stamp() }
    }

    var isWaiting: Bool { replyCount > 0 || requestCount > 0 }

    /// A probe of control's: to where the peer is, through others (`isRouted`), or to a place that it may be at.
    mutating func ask(_ probe: ProbeRecord, of peer: PeerIndex, packet: Int, isRouted: Bool = false, place: Endpoint? = nil) {
        guard requestCount < requests.count else {
            dropped &+= 1
            return
        }
        requests[(first &+ requestCount) % requests.count] = Pending(
            peer: peer, probe: probe, packet: packet, isRouted: isRouted, place: place)
        requestCount &+= 1
    }

    /// The reply to a probe of a peer's.
    mutating func answer(_ probe: ProbeRecord, to peer: PeerIndex, isRouted: Bool) {
        guard Int(repliesTo[peer.index]) < ProbeOutbox.repliesPerPeer else {
            dropped &+= 1
            return
        }
        repliesTo[peer.index] &+= 1
        replies[replyCount] = Pending(peer: peer, probe: probe.reply, isRouted: isRouted)
        replyCount &+= 1
    }

    /// Seals the replies, and as many probes as one batch has room for. What finds no key or no counter counts as lost on the
    /// way.
    mutating func seal(_ links: inout FixedArray<PeerLink>, at now: Instant) {
        for index in 0..<replyCount {
            let reply = replies[index]
            repliesTo[reply.peer.index] = 0
            // There is always room, unless a batch was not drained.
            if !seal(reply, &links, at: now) { dropped &+= 1 }
        }
        replyCount = 0
        var left = ProbeOutbox.requestLimit
        while requestCount > 0 && left > 0 {
            let request = requests[first]
            if !seal(request, &links, at: now) { break }
            first = (first &+ 1) % requests.count
            requestCount &-= 1
            left &-= 1
        }
    }

    /// False, and nothing done, when there is no room.
    private mutating func seal(_ one: Pending, _ links: inout FixedArray<PeerLink>, at now: Instant) -> Bool {
        let peer = one.peer
        var probe = one.probe
        if one.packet > 0 { probe.size = UInt16(clamping: links[peer.index].payload(ofPacket: one.packet)) }
        let count = probe.datagramSize
        guard sealed < sealedOnes.count, used &+ count <= storage.count else { return false }
        var datagram = storage.mutableBytes(at: used, count: count)
        guard links[peer.index].seal(probe, isRouted: one.isRouted, into: &datagram, at: now) else { return true }
        let isRequest = probe.direction == .request
        if isRequest {
            let place = peer.index &* ProbeOutbox.stampsPerPeer &+ Int(probe.number) % ProbeOutbox.stampsPerPeer
            stamps[place] = Stamp(number: probe.number, sent: now)
        }
        sealedOnes[sealed] = Sealed(
            peer: peer, number: isRequest ? probe.number : nil, offset: used, count: count, isRouted: one.isRouted,
            place: one.place)
        sealed &+= 1
        used &+= count
        return true
    }

    /// When a probe was sent that has not been answered; it counts as answered from here on.
    mutating func takeStamp(_ peer: PeerIndex, _ number: UInt32) -> Instant? {
        let place = peer.index &* ProbeOutbox.stampsPerPeer &+ Int(number) % ProbeOutbox.stampsPerPeer
        guard stamps[place].number == number, let sent = stamps[place].sent else { return nil }
        stamps[place].sent = nil
        return sent
    }

    /// Precondition for all of these: `index` is below `sealed`.
    func peer(at index: Int) -> PeerIndex { sealedOnes[index].peer }
    func number(at index: Int) -> UInt32? { sealedOnes[index].number }
    func count(at index: Int) -> Int { sealedOnes[index].count }
    func isRouted(at index: Int) -> Bool { sealedOnes[index].isRouted }
    func place(at index: Int) -> Endpoint? { sealedOnes[index].place }

    @_lifetime(borrow self)
    func bytes(at index: Int) -> RawSpan {
        precondition(index < sealed)
        return storage.bytes(at: sealedOnes[index].offset, count: sealedOnes[index].count)
    }

    mutating func drained() {
        sealed = 0
        used = 0
    }
}

extension LaneCore {
    /// Between two batches of probes, where there are more than fit into one.
    private static let probePause = Interval.microseconds(100)

    /// Control wants to know.
    mutating func queueProbe(to peer: PeerIndex, _ number: UInt32, size: Int, losses: UInt8, isRouted: Bool) {
        guard peer.index < configuration.peers, bridge.links[peer.index].hasSender else { return }
        probes.ask(ProbeRecord(.request, losses: losses, number: number), of: peer, packet: size, isRouted: isRouted)
    }

    /// Control wants to know whether the peer is reached at this place.
    mutating func queueTry(to peer: PeerIndex, _ number: UInt32, at place: Endpoint) {
        guard peer.index < configuration.peers, bridge.links[peer.index].hasSender else { return }
        probes.ask(ProbeRecord(.request, losses: 0, number: number), of: peer, packet: 0, place: place)
    }

    /// A peer's record. `datagram` is how many octets its datagram's text has.
    @inline(never)
    mutating func handleProbe(_ record: RawSpan, from peer: PeerIndex, datagram: Int, _ now: Instant) {
        guard let probe = ProbeRecord(record) else { return }
        switch probe.direction {
        case .request:
            noteProbeLosses(peer, probe.losses)
            // One that says that it is longer than it is confirms nothing.
            let isWhole = datagram &+ SealedLayout.overhead >= Int(probe.size)
            if isWhole && bridge.links[peer.index].hasSender {
                // Whom nobody carries to is answered where it is, whichever way it asked.
                probes.answer(probe, to: peer, isRouted: cameRouted && bridge.links[peer.index].via >= 0)
            }
        case .reply:
            guard let sent = probes.takeStamp(peer, probe.number) else { return }
            report(.probeAnswered(peer, number: probe.number, after: now - sent))
        }
    }

    /// What was lost in order to find a path's size is no loss of the path's: the peer says how many those are, all in all. A number
    /// that is far from the last begins anew: the peer has.
    private mutating func noteProbeLosses(_ peer: PeerIndex, _ losses: UInt8) {
        let more = Int8(bitPattern: losses &- bridge.links[peer.index].probeLosses)
        bridge.links[peer.index].probeLosses = losses
        if more > 0 && more <= ProbeRecord.roundLosses { bridge.counters.takeBackLosses(peer, UInt64(more)) }
    }

    @inline(never)
    mutating func sealProbes(at now: Instant) {
        probes.seal(&bridge.links, at: now)
        bridge.counters.set(.probesFull, to: probes.dropped)
        isActive = true
        if probes.isWaiting { scheduleTimeout(at: now + LaneCore.probePause) }
    }

    /// Probes and replies leave at once, and are paid for like the rest.
    mutating func chargeProbes() {
        for index in 0..<probes.sealed {
            let peer = probes.peer(at: index).index
            bridge.chargePacer(peer, octets: probes.count(at: index) &+ bridge.links[peer].packetOverhead)
        }
    }

    func probeTransmit(at index: Int) -> Transmit {
        precondition(index < probes.sealed)
        let peer = probes.peer(at: index)
        let count = probes.count(at: index)
        let here = bridge.links[peer.index].endpoint
        let endpoint = probes.place(at: index) ?? (probes.isRouted(at: index) ? bridge.destination(peer.index) : here)
        return Transmit(
            peer: peer, endpoint: endpoint, segmentSize: count, byteCount: count,
            trafficClass: .control, octet: configuration.classes.controlOctet, probe: probes.number(at: index))
    }

    /// The kernel did not send a run since its datagrams are longer than what it sends in one piece. To be said beside
    /// `handleTransmitted`, which counts them. Shorter ones from the next batch on, and control finds out what fits.
    public mutating func handleTooLong(_ run: Transmit) {
        if let number = run.probe { return report(.probeTooLong(run.peer, number: number)) }
        let size = bridge.links[run.peer.index].packet(ofPayload: run.segmentSize)
        report(.dataTooLong(run.peer, size: UInt16(clamping: size)))
        bridge.links[run.peer.index].shrinkPath()
        bridge.groups.isStale = true
    }
}
