// Probes in a lane: it sends what control asks for, answers what peers ask at once, without a word to control, and says when a
// reply has come. Each probe and each reply is a datagram of its own, sealed when the batch ends and sent behind what the batch
// has brought, so that no run of equal datagrams is broken and counters leave in their order.

import Basics
import Buffers
import Tunnels

/// The probes and replies of one batch, and when the last probes to each peer were sent.
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

    /// Of one batch. What is beyond counts as lost on the way.
    private static let limit = 64
    private static let capacity = 128 * 1024
    /// Probes to one peer whose replies are still of interest.
    private static let stampsPerPeer = 32

    private var pending = FixedArray<Pending>(count: limit) { _ in Pending() }
    private var waiting = 0
    private var sealedOnes = FixedArray<Sealed>(count: limit) { _ in Sealed() }
    private(set) var sealed = 0
    private var storage: OwnedBytes
    private var used = 0
    private var stamps: FixedArray<Stamp>

    init(peers: Int) {
        // Nothing is ever sent where there is nobody.
        storage = OwnedBytes(count: peers == 0 ? 1 : ProbeOutbox.capacity)
        stamps = FixedArray(count: peers * ProbeOutbox.stampsPerPeer) { _ in Stamp() }
    }

    var isWaiting: Bool { waiting > 0 }

    mutating func queue(
        _ probe: ProbeRecord, to peer: PeerIndex, packet: Int, isRouted: Bool = false, place: Endpoint? = nil
    ) {
        guard waiting < ProbeOutbox.limit else { return }
        pending[waiting] = Pending(peer: peer, probe: probe, packet: packet, isRouted: isRouted, place: place)
        waiting &+= 1
    }

    /// Seals what waits. What finds no room, no key or no counter counts as lost on the way.
    mutating func seal(_ links: inout FixedArray<PeerLink>, at now: Instant) {
        for index in 0..<waiting {
            let (peer, packet) = (pending[index].peer, pending[index].packet)
            var probe = pending[index].probe
            if packet > 0 { probe.size = UInt16(clamping: links[peer.index].payload(ofPacket: packet)) }
            let count = probe.datagramSize
            guard sealed < ProbeOutbox.limit, used &+ count <= storage.count else { break }
            let (isRouted, at) = (pending[index].isRouted, pending[index].place)
            var datagram = storage.mutableBytes(at: used, count: count)
            guard links[peer.index].seal(probe, isRouted: isRouted, into: &datagram, at: now) else { continue }
            let isRequest = probe.direction == .request
            if isRequest {
                let place = peer.index &* ProbeOutbox.stampsPerPeer &+ Int(probe.number) % ProbeOutbox.stampsPerPeer
                stamps[place] = Stamp(number: probe.number, sent: now)
            }
            sealedOnes[sealed] = Sealed(
                peer: peer, number: isRequest ? probe.number : nil, offset: used, count: count, isRouted: isRouted, place: at)
            sealed &+= 1
            used &+= count
        }
        waiting = 0
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
    /// Control wants to know.
    mutating func queueProbe(to peer: PeerIndex, _ number: UInt32, size: Int, losses: UInt8, isRouted: Bool) {
        guard peer.index < configuration.peers, bridge.links[peer.index].hasSender else { return }
        probes.queue(ProbeRecord(.request, losses: losses, number: number), to: peer, packet: size, isRouted: isRouted)
    }

    /// Control wants to know whether the peer is reached at this place.
    mutating func queueTry(to peer: PeerIndex, _ number: UInt32, at place: Endpoint) {
        guard peer.index < configuration.peers, bridge.links[peer.index].hasSender else { return }
        probes.queue(ProbeRecord(.request, losses: 0, number: number), to: peer, packet: 0, place: place)
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
                probes.queue(probe.reply, to: peer, packet: 0, isRouted: cameRouted)
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
        isActive = true
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
