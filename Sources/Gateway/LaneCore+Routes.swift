// Group streams in a lane: sealing for an audience, and taking what another site has sealed for one. A routed datagram is taken
// only from the one peer that it has to come from: within an audience everybody has the key, so that the seal alone says no more
// than that some member made it. For the same reason it shows neither that its origin is there nor where it is, and brings
// nothing but frames.
//
//     datagram, R set --> stream known? --> this lane's? --> from its upstream? --> window, open --> frames, of the origin
//                              |               | no: cross        | no                                   |
//                        unknown-stream                     wrong-upstream                         LAN ports only

import Basics
import Buffers
import Tunnels
import Wire

extension LaneCore {
    /// Of a datagram's first four octets.
    static let routedBit = UInt32(SealedLayout.routed) << 16

    /// Whether what is being unpacked is of a routed stream.
    @inline(__always)
    func isRouted(_ at: Stretch) -> Bool { at.reassembler >= configuration.peers &* origins.places }

    /// Where the parts of a routed stream's place begin among the streams and among the reassemblers.
    private func firstStream(ofPlace place: Int) -> Int {
        (configuration.peers &* StreamIdentifier.slotsPerPeer &+ place) &* origins.places
    }

    private func firstReassembler(ofPlace place: Int) -> Int { (configuration.peers &+ place) &* origins.places }

    @inline(never)
    mutating func handleRouted(
        _ datagram: inout MutableRawSpan, _ source: Endpoint, _ octet: UInt8, _ stream: UInt32, _ counter: UInt64, _ origin: Int,
        _ now: Instant
    ) {
        var number = routes.find(stream)
        if number < 0 {
            // One of a pair's: its route has none of the low bits, which tell its sessions apart.
            number = routes.find(stream & ~UInt32(StreamIdentifier.slotsPerPeer - 1))
            if number >= 0 && !routes.routes[number].isPair { number = -1 }
        }
        guard number >= 0, origin < routes.routes[number].origins else { return bridge.counters.add(.unknownStream) }
        let lane = origins.lane(of: origin)
        if lane != configuration.lane { return cross(datagram.bytes, from: source, octet: octet, to: Int(lane)) }
        let upstream = routes.routes[number].upstream
        let isFormer = bridge.links[upstream.index].endpoint != source
        guard !isFormer || comesFromFormer(number, source) else { return bridge.counters.add(.wrongUpstream) }
        // Before it is opened, which changes it.
        if !routes.routes[number].hops(isFormer).isEmpty { forward(datagram.bytes, routes.routes[number], isFormer, octet) }
        if routes.routes[number].isPair && routes.routes[number].isLocal {
            return openPair(&datagram, Congestion(octet: octet), stream, counter, origin, source, now)
        }
        if routes.routes[number].place >= 0 {
            open(&datagram, of: routes.routes[number], Congestion(octet: octet), counter, origin, now)
        }
    }

    /// Whether it comes from where the route's datagrams came from before.
    private func comesFromFormer(_ number: Int, _ source: Endpoint) -> Bool {
        bridge.links[routes.routes[number].former.index].endpoint == source
    }

    private mutating func open(
        _ datagram: inout MutableRawSpan, of route: RouteTable.Route, _ congestion: Congestion, _ counter: UInt64, _ origin: Int,
        _ now: Instant
    ) {
        let count = datagram.byteCount
        let part = origins.place(of: origin)
        let place = firstStream(ofPlace: route.place) &+ part
        guard streams[place].window.accepts(counter) else { return bridge.counters.add(.replayed) }
        guard streams[place].open(&datagram, counter: counter) else { return bridge.counters.add(.authenticationFailed) }
        // What is missing was lost on the way here: it says nothing of a link with the origin that it did not come by.
        _ = noteCounter(counter, place, route.upstream)
        bridge.counters.add(route.upstream, .datagramsIn)
        bridge.counters.add(route.upstream, .bytesIn, UInt64(truncatingIfNeeded: count))
        let stretch = Stretch(
            reassembler: firstReassembler(ofPlace: route.place) &+ part, stream: route.stream, counter: counter, instant: now)
        unpackOpened(&datagram, route.origin, stretch, congestion)
    }

    // MARK: Control says

    mutating func install(_ group: GroupInstallation) {
        guard group.group >= 0, group.group < bridge.groups.groups.count,
            let key = SessionKey(group.cipher, group.key.forLane(configuration.lane), backends: configuration.backends)
        else { return }
        let sender = StreamSender(
            key: key, stream: group.stream, originTag: configuration.lane,
            flags: SealedLayout.routed | SealedLayout.hopLimit, renewAfter: group.renewAfter)
        bridge.install(sender, group)
    }

    mutating func install(_ route: RouteInstallation) {
        guard route.lanes <= Limits.lanes, route.origin.index < configuration.peers, route.upstream.index < configuration.peers
        else { return }
        var entry = RouteTable.Route(
            stream: route.stream, origin: route.origin, upstream: route.upstream,
            nextHops: route.nextHops.intersection(PeerSet(first: configuration.peers)), origins: Int(route.lanes))
        entry.formerHops = route.formerHops.intersection(PeerSet(first: configuration.peers))
        entry.former = route.former ?? route.upstream
        // What comes by the new way goes on by the new one, and what comes by the old one by the old one: a mixture of both could
        // go in circles.
        if entry.former == entry.upstream { entry.nextHops = entry.nextHops.union(entry.formerHops) }
        entry.nextHops.remove(entry.upstream)
        entry.formerHops.remove(entry.former)
        if !entry.nextHops.isEmpty || !entry.formerHops.isEmpty { relays.open() }
        entry.isPair = route.isPair
        entry.isLocal = route.local != nil || (route.isPair && route.nextHops.isEmpty)
        if route.keepsLocal, case let known = routes.find(route.stream), known >= 0 {
            entry.place = routes.routes[known].place
            entry.isLocal = entry.place >= 0
        }
        if let local = route.local {
            guard local.place >= 0, local.place < GroupLimits.places(peers: configuration.peers) else { return }
            entry.place = local.place
            for origin in 0..<Int(route.lanes) where origins.lane(of: origin) == configuration.lane {
                let secret = local.key.forLane(UInt16(origin))
                guard let key = SessionKey(local.cipher, secret, backends: configuration.backends) else { return }
                let part = origins.place(of: origin)
                streams[firstStream(ofPlace: local.place) + part].install(key)
                reassemblers[firstReassembler(ofPlace: local.place) + part].open()
            }
        }
        _ = routes.insert(entry)
    }

    mutating func removeRoute(_ stream: UInt32) {
        guard let route = routes.remove(stream), route.place >= 0 else { return }
        for part in 0..<origins.places { streams[firstStream(ofPlace: route.place) + part].clear() }
    }
}
