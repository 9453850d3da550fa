// Pairs that reach each other through others, in a lane. What is sealed for a peer is the same; the R bit is set in its header,
// and it is sent to the neighbour that carries it on. The receiver takes it from the neighbour that its route names, and learns
// that the peer is there, but not where.

import Basics
import Buffers
import Tunnels
import Wire

extension Bridge {
    /// Where what is for a peer is sent: to it, or to the peer that carries for it.
    @inline(__always)
    func destination(_ peer: Int) -> Endpoint {
        let via = links[peer].via
        return links[via < 0 ? peer : via].endpoint
    }
}

extension LaneCore {
    mutating func setVia(_ peer: PeerIndex, _ via: PeerIndex?) {
        guard peer.index < configuration.peers, (via?.index ?? 0) < configuration.peers, via != peer else { return }
        bridge.links[peer.index].setVia(via?.index ?? -1)
        bridge.groups.isStale = true
    }

    /// A datagram of a pair's session that others have carried. It has come from where it should.
    mutating func openPair(
        _ datagram: inout MutableRawSpan, _ congestion: Congestion, _ stream: UInt32, _ counter: UInt64, _ origin: Int,
        _ source: Endpoint, _ now: Instant
    ) {
        let count = datagram.byteCount
        let slot = StreamIdentifier.slot(of: stream)
        guard slot < sessions.count, sessions[slot].stream == stream, origin < sessions[slot].origins else {
            return bridge.counters.add(.unknownStream)
        }
        let place = slot &* origins.places &+ origins.place(of: origin)
        guard streams[place].window.accepts(counter) else { return bridge.counters.add(.replayed) }
        guard streams[place].open(&datagram, counter: counter) else { return bridge.counters.add(.authenticationFailed) }
        let peer = sessions[slot].peer
        _ = noteCounter(counter, place, peer)
        bridge.counters.add(peer, .datagramsIn)
        bridge.counters.add(peer, .bytesIn, UInt64(truncatingIfNeeded: count))
        if !sessions[slot].isConfirmed { confirm(slot, source, isRouted: true) }
        noteHeardRouted(peer, now)
        let pieces = peer.index &* origins.places &+ origins.place(of: origin)
        cameRouted = true
        unpackOpened(
            &datagram, peer, Stretch(reassembler: pieces, stream: stream, counter: counter, instant: now), congestion)
        cameRouted = false
    }

    private mutating func noteHeardRouted(_ peer: PeerIndex, _ now: Instant) {
        heard.store(now.nanoseconds, at: configuration.peers &+ peer.index)
        guard now - bridge.links[peer.index].reportedRouted >= configuration.keepalive / 2 else { return }
        bridge.links[peer.index].reportedRouted = now
        report(.heardRouted(peer, at: now))
    }
}
