// Control's ways through others. Members that cannot be reached, or not well, are reached through neighbours that may carry: the
// handshake travels in control messages, hop by hop, and once keys are agreed the sealed datagrams themselves, unopened. Whoever
// seals names the way and opens it first; nothing is sent into it before all on it have said that they take it.
//
//     origin                     carrier                    member
//       | open(label, B, C) ------> | open(label, C) --------> |
//       | <------------------ ready | <------------------ ready|       each once its lanes have the route
//       | ====== datagrams with R set and the label's stream =>|
//
// A way that is open stays in use until a better one is: a suspect path is better than none. The member itself is tried again
// and again where it may be, so that nobody carries for longer than needed.

import Basics
import Mesh
import Tunnels

extension ControlCore {
    /// Attempts, a second each, after which a member that nobody carries to is called beyond `linkLimit` too.
    private static let patientAttempts = 3

    // MARK: Handshakes of members that are reached through others

    /// Sends a datagram of a handshake: to an endpoint, or to a member that others carry to.
    mutating func transmit(_ datagram: [UInt8], to endpoint: Endpoint) {
        guard let place = endpoint.relayedPlace else { return actions.append(.datagram(datagram, to: endpoint)) }
        guard place < peers.count, let site = peers[place].site, let own = mesh?.gossip.site else { return }
        carry(RouteMessage.carried(hops: UInt8(Paths.hopLimit), to: site, from: own, datagram: datagram), to: site, butNot: nil)
    }

    /// Whether there is a way to a member through others.
    func hasWay(_ index: Int) -> Bool {
        guard let site = peers[index].site, let hop = mesh?.relays.paths.nextHop(to: site), hop != site else { return false }
        return neighbour(hop) != nil
    }

    /// The place of a site that is reached itself.
    func neighbour(_ site: SiteID) -> Int? {
        guard let place = mesh?.places[site], peers[place].isDirect, peers[place].isUp else { return nil }
        return place
    }

    private mutating func carry(_ message: RouteMessage, to site: SiteID, butNot teller: Int?) {
        guard let hop = mesh?.relays.paths.nextHop(to: site), let place = neighbour(hop), place != teller else {
            mesh?.relays.refused &+= 1
            return
        }
        mesh?.relays.carried &+= 1
        mesh?.relays.tell(message, to: place)
    }

    private mutating func handleCarried(
        _ hops: UInt8, _ to: SiteID, _ from: SiteID, _ datagram: [UInt8], _ index: Int, _ now: Instant
    ) {
        guard let own = mesh?.gossip.site else { return }
        if to == own {
            guard let place = place(from, now) else {
                mesh?.relays.refused &+= 1
                return
            }
            return handleHandshake(datagram, from: .relayed(place), at: now)
        }
        guard hops > 1, datagram.count <= DatagramKind.handshakeLimit, mayRelay(now) else {
            mesh?.relays.refused &+= 1
            return
        }
        carry(.carried(hops: hops - 1, to: to, from: from, datagram: datagram), to: to, butNot: index)
    }

    private func mayRelay(_ now: Instant) -> Bool {
        guard let mesh else { return false }
        return mesh.gossip.passes.entitlements(of: mesh.gossip.site, at: wall(now))?.mayRelay ?? false
    }

    // MARK: Ways to members

    /// The graph has changed: the ways that are wanted may have too.
    private mutating func updatePaths(_ now: Instant) {
        mesh?.relays.updateDue = nil
        mesh?.relays.updated = now
        guard let gossip = mesh?.gossip else { return }
        let topology = Topology(gossip, at: now)
        mesh?.relays.topology = topology
        _ = mesh?.relays.paths.update(topology)
        for index in peers.indices where peers[index].site != nil { chooseWay(index, now) }
        reviewTrees(now)
    }

    /// Opens, uses or leaves the way through others to a member, as its path is.
    mutating func chooseWay(_ index: Int, _ now: Instant) {
        guard let site = peers[index].site, mesh != nil else { return }
        let path = mesh?.relays.paths.path(to: site)?.hops ?? []
        guard path.count > 1, let via = neighbour(path[0]), via != index else {
            // It is reached itself, or not at all.
            if peers[index].isDirect && !path.isEmpty { leaveRelay(index, now) }
            if path.count <= 1 && !peers[index].isDirect && peers[index].relay?.isReady != true { leaveRelay(index, now) }
            return
        }
        guard let session = peers[index].newest ?? peers[index].sessions.last, let remote = peers[index].remoteLabel,
            session.expires > now
        else {
            // Keys first: the handshake finds its way.
            if peers[index].nextInitiation == nil && !peers[index].isUp { peers[index].nextInitiation = now }
            return
        }
        if let relay = peers[index].relay, relay.hops == path, relay.label == remote, relay.isReady || relay.retryDue > now {
            // It may have been ready before the keys were.
            if relay.isReady && (!peers[index].isRelayUsed || !peers[index].isUp) { useRelay(index, now) }
            return
        }
        open(index, path, via, remote, now)
    }

    private mutating func open(_ index: Int, _ path: [SiteID], _ via: Int, _ label: UInt32, _ now: Instant) {
        guard let own = mesh?.gossip.site, let sequence = mesh?.relays.nextSequence(),
            let tree = TreeAnnouncement(chain: path)
        else { return }
        if let old = peers[index].relay, old.via != via || old.label != label, peers[old.via].isUp {
            // Under way as long as the new one is not ready: then it closes by itself.
            peers[index].formerRelay = old
        }
        // What is in use goes on being used, and watched, until this one is ready.
        peers[index].relay = Relay(
            hops: path, via: via, label: label, sequence: sequence, opened: now, retryDue: now + Relay.patience)
        let opening = RouteOpening(
            stream: label, sequence: sequence, isPair: true, lanes: UInt8(mailboxes.count), origin: own, tree: tree)
        mesh?.relays.tell(.open(opening), to: via)
    }

    /// All on the way have said that they take it.
    private mutating func useRelay(_ index: Int, _ now: Instant) {
        guard let relay = peers[index].relay, relay.isReady, peers[index].newest != nil else { return }
        if let former = peers[index].formerRelay {
            peers[index].formerRelay = nil
            // What is under way there is still to be passed on.
            if former.via != relay.via { closeLater(former.label, [former.via], now) }
        }
        peers[index].isRelayUsed = true
        peers[index].relayPath.restart(at: now)
        command(.setVia(PeerIndex(index), PeerIndex(relay.via)))
        streams.noteChange(at: now)
        if !peers[index].isUp { markUp(index, now) }
        guard peers[index].loggedWay != relay.hops else { return }
        peers[index].loggedWay = relay.hops
        actions.append(.log(.relayed(peers[index].name, through: names(of: relay.hops.dropLast()))))
    }

    /// It is reached itself again, or not at all: nothing goes through others any longer.
    mutating func leaveRelay(_ index: Int, _ now: Instant) {
        guard let relay = peers[index].relay else { return }
        let wasUsed = peers[index].isRelayUsed
        if wasUsed && peers[index].isDirect {
            closeLater(relay.label, [relay.via], now)
        } else if let own = mesh?.gossip.site, peers[relay.via].isUp {
            mesh?.relays.tell(.close(stream: relay.label, origin: own), to: relay.via)
        }
        peers[index].relay = nil
        peers[index].formerRelay = nil
        peers[index].isRelayUsed = false
        peers[index].relayPath.stop()
        guard wasUsed else { return }
        command(.setVia(PeerIndex(index), nil))
        streams.noteChange(at: now)
        if peers[index].isDirect {
            peers[index].path.forgetTold()
            peers[index].loggedWay = []
            actions.append(.log(.direct(peers[index].name)))
        } else if peers[index].isUp {
            markDown(index, now)
        }
    }

    private func names(of sites: some Sequence<SiteID>) -> String {
        sites.map { site in mesh?.places[site].map { peers[$0].name } ?? "\(site)" }.joined(separator: ", ")
    }

    /// A neighbour is one no longer: nothing comes from it, nothing goes through it.
    mutating func handleNeighbourLost(_ place: Int, _ now: Instant) {
        guard mesh != nil else { return }
        mesh?.relays.messages[place] = nil
        for stream in (mesh?.relays.transits.keys.sorted() ?? []) {
            guard let transit = mesh?.relays.transits[stream] else { continue }
            if transit.upstream == place {
                remove(stream, now)
            } else if transit.children.contains(place) {
                fail(stream, now)
            } else if transit.formerChildren.contains(place) {
                mesh?.relays.transits[stream]?.formerChildren.removeAll { $0 == place }
                install(stream, now)
            }
        }
        for index in peers.indices where peers[index].relay?.via == place {
            peers[index].relay?.isReady = false
            peers[index].relay?.retryDue = now
        }
        breakTrees(through: place, now)
        mesh?.relays.noteChange(isUrgent: true, at: now)
    }

    // MARK: Carrying

    mutating func handleRouteMessage(_ bytes: [UInt8], _ index: Int, _ now: Instant) {
        guard peers[index].isDirect else { return }
        switch RouteMessage(bytes) {
        case .observed(let endpoint): mesh?.noteObserved(endpoint, at: now)
        case .carried(let hops, let to, let from, let datagram): handleCarried(hops, to, from, datagram, index, now)
        case .open(let opening): handleOpen(opening, index, now)
        case .ready(let stream, let sequence): handleAnswer(stream, sequence, isReady: true, index, now)
        case .failed(let stream, let sequence): handleAnswer(stream, sequence, isReady: false, index, now)
        case .close(let stream, let origin):
            guard let transit = mesh?.relays.transits[stream], transit.opening.origin == origin else { return }
            if transit.upstream == index {
                remove(stream, now)
            } else if transit.former == index {
                mesh?.relays.transits[stream]?.formerUntil = now
                mesh?.relays.changesDue = now
            }
        case nil: unknownMessages &+= 1
        }
    }

    private mutating func handleOpen(_ opening: RouteOpening, _ index: Int, _ now: Instant) {
        let known = mesh?.relays.transits[opening.stream]
        let refusal = RouteMessage.failed(stream: opening.stream, sequence: opening.sequence)
        guard let own = mesh?.gossip.site, opening.tree.site == own, opening.origin != own,
            mesh?.places[opening.origin] != nil || place(opening.origin, now) != nil
        else { return refuse(refusal, index) }
        if let known {
            guard known.opening.origin == opening.origin, known.opening.sequence < opening.sequence else {
                return refuse(refusal, index)
            }
        } else {
            let all = mesh?.relays.transits.values
            guard (all?.count ?? 0) < Transit.limit(peers: peers.count),
                (all?.count { $0.upstream == index } ?? 0) < Transit.limitOfNeighbour(peers: peers.count),
                // An identifier of one of our own sessions is no stranger's.
                (opening.isPair && opening.tree.isMember)
                    || !peers.contains(where: { $0.sessions.contains { $0.stream == opening.stream } })
            else { return refuse(refusal, index) }
        }
        let parts = opening.tree.parts
        let children = parts.compactMap { neighbour($0.site) }
        guard children.count == parts.count, !children.contains(index), parts.isEmpty || mayRelay(now) else {
            return refuse(refusal, index)
        }
        // What ends here is either a pair's, whose label is ours, or a group's.
        if opening.tree.isMember && opening.isPair {
            guard let place = mesh?.places[opening.origin], peers[place].label == opening.stream else {
                return refuse(refusal, index)
            }
        }
        if opening.tree.isMember && !opening.isPair {
            guard let place = mesh?.places[opening.origin],
                streams.taken.contains(where: { $0.stream == opening.stream && $0.origin == place })
            else { return refuse(refusal, index) }
        }
        var transit = Transit(
            opening: opening, upstream: index, children: children,
            waiting: Set(children.filter { !peers[$0].path.isDoubted && !peers[$0].path.isSuspect }))
        // What came from elsewhere before, from its origin itself where nobody carried it, still comes for a while.
        var former = known?.upstream ?? (opening.isPair ? nil : mesh?.places[opening.origin])
        // Opened again before it was used: the origin still sends by the way before.
        if former == index { former = known?.former }
        if let former, former != index {
            transit.former = former
            transit.formerUntil = now + Transit.grace
        }
        if let known {
            let isSecond = known.upstream == index && known.isChanging
            let all = isSecond ? known.formerChildren : known.children
            transit.formerChildren = all.filter { peers[$0].isUp && peers[$0].isDirect }
            if !transit.formerChildren.isEmpty { transit.formerUntil = now + Transit.grace }
        }
        mesh?.relays.transits[opening.stream] = transit
        if transit.isChanging, let due = mesh?.relays.changesDue { mesh?.relays.changesDue = min(due, transit.formerUntil) }
        for (child, part) in zip(children, parts) {
            var below = opening
            below.tree = part
            mesh?.relays.tell(.open(below), to: child)
        }
        install(opening.stream, now)
    }

    private mutating func refuse(_ refusal: RouteMessage, _ index: Int) {
        mesh?.relays.refused &+= 1
        mesh?.relays.tell(refusal, to: index)
    }

    private mutating func handleAnswer(_ stream: UInt32, _ sequence: UInt32, isReady: Bool, _ index: Int, _ now: Instant) {
        if handleTreeAnswer(stream, sequence, isReady: isReady, index, now) { return }
        if let place = peers.firstIndex(where: { $0.relay?.label == stream && $0.relay?.sequence == sequence }) {
            guard peers[place].relay?.via == index else { return }
            if isReady {
                guard peers[place].relay?.isReady == false else { return }
                peers[place].relay?.isReady = true
                return useRelay(place, now)
            }
            peers[place].relay?.isReady = false
            peers[place].relay?.retryDue = now + Relay.patience / 4
            return
        }
        guard let transit = mesh?.relays.transits[stream], transit.opening.sequence == sequence, transit.children.contains(index)
        else { return }
        if !isReady { return fail(stream, now) }
        mesh?.relays.transits[stream]?.waiting.remove(index)
        mesh?.relays.lanesDue = now
    }

    /// Tells the lanes of a stream.
    private mutating func install(_ stream: UInt32, _ now: Instant) {
        guard let transit = mesh?.relays.transits[stream], let origin = mesh?.places[transit.opening.origin] else { return }
        let opening = transit.opening
        var hops = PeerSet.none
        for child in transit.children { hops.insert(PeerIndex(child)) }
        var formerHops = PeerSet.none
        for child in transit.formerChildren { formerHops.insert(PeerIndex(child)) }
        command(
            .installRoute(
                RouteInstallation(
                    stream: stream, origin: PeerIndex(origin), upstream: PeerIndex(transit.upstream),
                    former: transit.former.map { PeerIndex($0) }, isPair: opening.isPair, nextHops: hops,
                    formerHops: formerHops, keepsLocal: opening.tree.isMember && !opening.isPair, lanes: opening.lanes)))
        mesh?.relays.transits[stream]?.isInstalled = true
        mesh?.relays.lanesDue = now
    }

    /// Somebody below cannot take it: who is above finds another way.
    private mutating func fail(_ stream: UInt32, _ now: Instant) {
        guard let transit = mesh?.relays.transits[stream] else { return }
        mesh?.relays.tell(.failed(stream: stream, sequence: transit.opening.sequence), to: transit.upstream)
        remove(stream, now)
    }

    private mutating func remove(_ stream: UInt32, _ now: Instant) {
        guard let transit = mesh?.relays.transits.removeValue(forKey: stream) else { return }
        sayClosed(transit, to: transit.children + transit.formerChildren)
        guard transit.isInstalled else { return }
        guard let origin = mesh?.places[transit.opening.origin],
            streams.taken.contains(where: { $0.stream == stream && $0.origin == origin })
        else { return command(.removeRoute(stream: stream)) }
        // It is still ours to open: from the origin itself, as before there was a tree.
        command(
            .installRoute(
                RouteInstallation(
                    stream: stream, origin: PeerIndex(origin), upstream: PeerIndex(origin), keepsLocal: true,
                    lanes: transit.opening.lanes)))
    }

    /// The stream is no more.
    mutating func forgetTransit(_ stream: UInt32, _ now: Instant) {
        guard let transit = mesh?.relays.transits.removeValue(forKey: stream) else { return }
        sayClosed(transit, to: transit.children + transit.formerChildren)
    }

    private mutating func sayClosed(_ transit: Transit, to children: [Int]) {
        for child in children where peers[child].isUp {
            mesh?.relays.tell(.close(stream: transit.opening.stream, origin: transit.opening.origin), to: child)
        }
    }

    // MARK: Time

    mutating func handleRelayTimeout(_ now: Instant) {
        guard mesh != nil else { return }
        if let due = mesh?.relays.updateDue, due <= now { updatePaths(now) }
        if let due = mesh?.relays.changesDue, due <= now { finishChanges(now) }
        for index in peers.indices where peers[index].key != nil {
            checkRelay(index, now)
            guard let relay = peers[index].relay, !relay.isReady, relay.retryDue <= now else { continue }
            chooseWay(index, now)
            // Where there is no way at present, it is looked for again.
            if let relay = peers[index].relay, !relay.isReady, relay.retryDue <= now {
                peers[index].relay?.retryDue = now + Relay.patience / 4
            }
        }
        if let due = mesh?.relays.tryDue, due <= now {
            mesh?.relays.tryDue = now + RelayBook.tryInterval
            tryMembers()
        }
        if let due = mesh?.relays.lanesDue, due <= now { answerNeighbours(now) }
    }

    /// Members that are reached themselves.
    private var directLinks: Int { peers.count { $0.isUp && $0.isDirect && $0.site != nil } }

    /// Whether a member may be called where it is: while there are fewer links than wanted, those that are being made included. One
    /// that nobody carries to is called all the same, after some time for a way to be found.
    func mayDial(_ index: Int) -> Bool {
        guard configuration.linkLimit < Limits.peers, peers[index].site != nil, !peers[index].isNamed else { return true }
        let patience = hasWay(index) ? 4 * ControlCore.patientAttempts : ControlCore.patientAttempts
        if peers[index].attempts >= patience { return true }
        let dialled = peers.indices.count { other in
            other != index && peers[other].site != nil && !peers[other].isUp
                && peers[other].pending.contains { $0.target.relayedPlace == nil }
        }
        return directLinks + dialled < configuration.linkLimit
    }

    private mutating func finishChanges(_ now: Instant) {
        var next = Instant.distantFuture
        for stream in (mesh?.relays.transits.keys.sorted() ?? []) {
            guard let transit = mesh?.relays.transits[stream], transit.isChanging else { continue }
            guard transit.formerUntil <= now else {
                next = min(next, transit.formerUntil)
                continue
            }
            sayClosed(transit, to: transit.formerChildren.filter { !transit.children.contains($0) })
            mesh?.relays.transits[stream]?.former = nil
            mesh?.relays.transits[stream]?.formerChildren = []
            install(stream, now)
        }
        mesh?.relays.changesDue = next
    }

    /// Members with keys that are not reached themselves are tried where they may be, in turn as far as more links are wanted.
    private mutating func tryMembers() {
        var room = configuration.linkLimit - directLinks
        let start = mesh?.relays.lastTried ?? 0
        for number in 1...max(peers.count, 1) {
            let index = (start + number) % max(peers.count, 1)
            guard peers.indices.contains(index), peers[index].key != nil, peers[index].newest != nil, !peers[index].isDirect,
                peers[index].isUp || peers[index].relay != nil
            else { continue }
            if !peers[index].isNamed {
                if room <= 0 { continue }
                room -= 1
                mesh?.relays.lastTried = index
            }
            tryPlaces(index)
        }
        mesh?.relays.tries &+= 1
    }

    /// Where a member may be reached itself, something is sent, so that it answers from there.
    private mutating func tryPlaces(_ index: Int) {
        // Four at a time: of those that it has, the next ones each time.
        let all = peers[index].candidates
        let start = Int(mesh?.relays.tries ?? 0) * 4
        for number in 0..<min(all.count, 4) {
            let endpoint = all[(start + number) % all.count]
            if endpoint.relayedPlace != nil { continue }
            command(.tryPlace(PeerIndex(index), number: PeerPath.tryNumbers, endpoint), to: 0)
        }
    }

    /// Neighbours hear that a stream is taken once the lanes have it, and all below have said the same.
    private mutating func answerNeighbours(_ now: Instant) {
        guard held.allSatisfy(\.isEmpty), mailboxes.allSatisfy(\.commands.isEmpty) else {
            mesh?.relays.lanesDue = now + StreamControl.laneInterval
            return
        }
        mesh?.relays.lanesDue = .distantFuture
        for stream in (mesh?.relays.transits.keys.sorted() ?? []) {
            guard let transit = mesh?.relays.transits[stream], transit.isInstalled, !transit.isTold, transit.waiting.isEmpty
            else { continue }
            mesh?.relays.transits[stream]?.isTold = true
            mesh?.relays.tell(.ready(stream: stream, sequence: transit.opening.sequence), to: transit.upstream)
        }
    }

    // MARK: The path through others

    mutating func checkRelay(_ index: Int, _ now: Instant) {
        guard peers[index].isRelayUsed else { return }
        peers[index].relayPath.monitor.handleHeard(at: lastHeardRouted(index))
        switch peers[index].relayPath.monitor.verdict(at: now) {
        case .alive: peers[index].relayPath.isSuspect = false
        case .suspect where !peers[index].relayPath.isSuspect:
            peers[index].relayPath.isSuspect = true
        case .suspect: break
        case .down: return leaveRelay(index, now)
        }
        if peers[index].relayPath.search.nextTimeout <= now || peers[index].relayPath.monitor.isProbeDue(at: now) {
            peers[index].relayPath.search.handleTimeout(isBusy: false, at: now)
        }
        followRelay(index, now)
    }

    func lastHeardRouted(_ index: Int) -> Instant {
        Instant(nanoseconds: mailboxes.reduce(UInt64(0)) { max($0, $1.heard.load(peers.count + index)) })
    }

    mutating func followRelay(_ index: Int, _ now: Instant) {
        for _ in 0..<32 {
            guard let (number, size) = peers[index].relayPath.pollProbe(at: now) else { break }
            let losses = UInt8(truncatingIfNeeded: peers[index].relayPath.search.losses)
            command(
                .probe(PeerIndex(index), number: number, size: UInt16(clamping: size), losses: losses, isRouted: true), to: 0)
        }
        if let size = peers[index].relayPath.takeSize() {
            command(.setPath(PeerIndex(index), size: UInt16(clamping: size)))
        }
    }
}
