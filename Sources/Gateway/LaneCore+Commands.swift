// What control asks of a lane: keys, the state of peers, VLANs to notice anew, and the MAC table in slices.

import Basics
import Switching
import Tunnels

/// A walk over the MAC table, a slice at a time, so that a full table never holds the lane up.
struct MACListing: BitwiseCopyable {
    var token: UInt32
    var place = 0
}

extension LaneCore {
    /// Does what control has asked for since the last call. Call it after datagrams have been taken from the socket and before
    /// they are handled: a session is installed before its first datagram can have been sent.
    public mutating func handleCommands(at now: Instant) {
        while let command = commands.popWiping() {
            switch command {
            case .install(let session):
                if !install(session, now) { report(.notInstalled(session.peer)) }
            case .retire(let stream): retire(stream)
            case .setPeer(let peer, let isUp): setPeer(peer, isUp)
            case .setPlace(let peer, let isTaken): bridge.setPlace(peer, isTaken)
            case .listMACs(let token):
                listing = MACListing(token: token)
                scheduleTimeout(at: now)
            case .confirm(let stream, let endpoint, let isRouted): noteConfirmed(stream, endpoint, isRouted)
            case .move(let peer, let endpoint): move(peer, to: endpoint)
            case .sighted(let entry): bridge.macs.adopt(entry, at: now)
            case .forgetVLAN(let vlan): bridge.forgetVLAN(vlan)
            case .probe(let peer, let number, let size, let losses, let isRouted):
                queueProbe(to: peer, number, size: Int(size), losses: losses, isRouted: isRouted)
            case .tryPlace(let peer, let number, let endpoint): queueTry(to: peer, number, at: endpoint)
            case .setVia(let peer, let via): setVia(peer, via)
            case .setPath(let peer, let size):
                if peer.index < configuration.peers { bridge.links[peer.index].setPath(Int(size)) }
                bridge.groups.isStale = true
            case .installGroup(let group): install(group)
            case .removeGroup(let group): bridge.removeGroup(group)
            case .setFirstHops(let group, let hops): bridge.setFirstHops(group, hops)
            case .installRoute(let route): install(route)
            case .removeRoute(let stream): removeRoute(stream)
            }
        }
        if bridge.groups.isStale && bridge.dirtyCount == 0 { bridge.applyGroups() }
        if crossingQueues != nil { handleCrossings(at: now) }
        bridge.forwarding.acknowledge()
        bridge.noteTables()
        handleOutbound()
    }

    /// False, and nothing installed, when a key could not be made.
    private mutating func install(_ session: SessionInstallation, _ now: Instant) -> Bool {
        let slot = StreamIdentifier.slot(of: session.localStream)
        let lane = configuration.lane
        guard slot < sessions.count, session.peer.index < configuration.peers, session.remoteLanes <= Limits.lanes,
            let sendKey = SessionKey(session.cipher, session.sendKey.forLane(lane), backends: configuration.backends)
        else { return false }
        for origin in 0..<Int(session.remoteLanes) where origins.lane(of: origin) == lane {
            let secret = session.receiveKey.forLane(UInt16(origin))
            guard let key = SessionKey(session.cipher, secret, backends: configuration.backends) else {
                for place in 0..<origins.places { streams[slot * origins.places + place].clear() }
                return false
            }
            let place = origins.place(of: origin)
            streams[slot * origins.places + place].install(key)
            reassemblers[session.peer.index * origins.places + place].open()
        }
        let sender = StreamSender(
            key: sendKey, stream: session.remoteStream, originTag: lane, renewAfter: session.renewAfter)
        let peer = session.peer.index
        guard session.isConfirmed else {
            sessions[slot].install(session, sender: sender)
            return true
        }
        sessions[slot].install(session, sender: nil)
        bridge.links[peer].install(
            sender, session: session.localStream, generation: session.generation, endpoint: session.endpoint)
        bridge.noteRoom(peer)
        bridge.links[peer].isUp = true
        bridge.groups.isStale = true
        // The other side may seal with the new key only once it has heard from us under it.
        keepAlive(peer, now)
        scheduleTimeout(at: now + configuration.keepalive)
        return true
    }

    private mutating func retire(_ stream: UInt32) {
        let slot = StreamIdentifier.slot(of: stream)
        guard slot < sessions.count, sessions[slot].stream == stream else { return }
        let peer = sessions[slot].peer.index
        if bridge.links[peer].session == stream {
            bridge.links[peer].removeSender()
            bridge.noteRoom(peer)
            bridge.groups.isStale = true
        }
        sessions[slot].clear()
        for place in 0..<origins.places { streams[slot * origins.places + place].clear() }
    }

    /// Another lane has heard under the session: the other side holds the keys.
    private mutating func noteConfirmed(_ stream: UInt32, _ endpoint: Endpoint, _ isRouted: Bool) {
        let slot = StreamIdentifier.slot(of: stream)
        guard slot < sessions.count, sessions[slot].stream == stream, !sessions[slot].isConfirmed else { return }
        beginSealing(slot, isRouted ? bridge.links[sessions[slot].peer.index].endpoint : endpoint)
    }

    private mutating func move(_ peer: PeerIndex, to endpoint: Endpoint) {
        guard peer.index < configuration.peers, bridge.links[peer.index].endpoint != endpoint else { return }
        bridge.links[peer.index].move(to: endpoint)
        bridge.groups.isStale = true
    }

    private mutating func setPeer(_ peer: PeerIndex, _ isUp: Bool) {
        guard peer.index < configuration.peers else { return }
        bridge.links[peer.index].isUp = isUp
        bridge.groups.isStale = true
        if !isUp { bridge.macs.forget(Location(peer)) }
        doChoresSoon()
    }

    /// Says the next rows of a listing that was asked for. True while there is more to say.
    mutating func continueListing() -> Bool {
        guard var walk = listing else { return false }
        let slice = 1024
        for _ in 0..<slice where walk.place < bridge.macs.limit {
            if let row = bridge.macs.row(walk.place), !events.push(.macRow(row), leaving: LaneMailbox.reserve) {
                listing = walk
                return true
            }
            walk.place += 1
        }
        listing = walk
        guard walk.place >= bridge.macs.limit, events.push(.macRowsEnd(token: walk.token)) else { return true }
        listing = nil
        return false
    }
}
