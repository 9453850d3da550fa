// Control's part in a mesh whose members have passes. A member gets a place among the peers when its pass is known, by a hello
// or by gossip, and loses it when the pass no longer counts. Gossip travels over the control channels of neighbours; what it
// says of groups and routers goes to the snooper as the word of that member's peer.
//
//     hello <-> pass --+
//                      +--> place among the peers --> handshake --> control channel <--> gossip
//     gossip: pass ----+                                                                   |
//     gossip: addresses ----> where to dial                                                |
//     gossip: interest, routers ----> snooper       own facts, addresses, links ----> gossip

import Basics
import Mesh
import Switching
import Tunnels

extension ControlCore {
    /// For how long after others have carried from a member losses on its link say nothing.
    private static let carriedLately = Interval.seconds(10)
    /// How often a gateway of which only an address is known is asked: until it answers, and while it is not a peer that is up.
    private static let helloRetry = Interval.milliseconds(1_000)
    private static let helloSlowRetry = Interval.seconds(5)
    private static let seedResolveInterval = Interval.seconds(60)
    /// Hellos in a row before the operator is told.
    private static let helloPatience = 5

    /// At the start: members of an earlier run have their places at once.
    mutating func beginMesh(_ configuration: MeshConfiguration, _ wallClock: UInt64, _ now: Instant) {
        mesh = MeshState(
            configuration, identity: self.configuration.identity, peers: peers.count, version: wallClock, wall: wall(now), at: now
        )
        if let problem = mesh?.ownProblem { actions.append(.log(.ownPass("\(problem)"))) }
        if let pass = mesh?.gossip.passes.ownPass?.pass, let rights = PeerRights(limiting: pass) {
            snooper.apply(ownRights: rights, at: now)
        }
        tellMesh(snooper.book.keys, now)
        for site in mesh?.gossip.sites ?? [] { place(site, now) }
        _ = mesh?.gossip.takeChanges()
    }

    // MARK: Hellos

    /// The addresses of a seed's name; empty when it could not be resolved.
    public mutating func handleSeedResolved(_ seed: Int, to endpoints: [Endpoint], at now: Instant) {
        guard let state = mesh?.seeds, state.indices.contains(seed), !state[seed].name.isEmpty else { return }
        mesh?.seeds[seed].resolveDue =
            now + (endpoints.isEmpty ? ControlCore.helloSlowRetry : ControlCore.seedResolveInterval)
        if endpoints.isEmpty || endpoints == state[seed].endpoints { return }
        mesh?.seeds[seed].endpoints = Array(endpoints.prefix(PeerState.candidateLimit))
        mesh?.seeds[seed].due = now
    }

    private mutating func askSeed(_ seed: Int, _ now: Instant) {
        guard let state = mesh?.seeds[seed] else { return }
        if let site = state.site, let place = mesh?.places[site], peers[place].isUp {
            mesh?.seeds[seed].due = now + ControlCore.helloSlowRetry
            return
        }
        guard !state.endpoints.isEmpty else {
            mesh?.seeds[seed].due = .distantFuture
            return
        }
        mesh?.seeds[seed].attempts += 1
        mesh?.seeds[seed].token = random.next()
        mesh?.seeds[seed].asked = 0
        let jitter = Interval.milliseconds(Int64.random(in: 0..<200, using: &random))
        let isPatient = state.attempts >= 2 * ControlCore.helloPatience
        mesh?.seeds[seed].due = now + (isPatient ? ControlCore.helloSlowRetry : ControlCore.helloRetry) + jitter
        let endpoint = state.endpoints[state.attempts % state.endpoints.count]
        if state.attempts > 0 && state.attempts % (ControlCore.helloPatience * 6) == ControlCore.helloPatience {
            actions.append(.log(.helloUnanswered(state.name, endpoint: endpoint, attempts: state.attempts)))
        }
        let own = ((mesh?.configuration.pass.count ?? 0) + Hello.partBytes - 1) / Hello.partBytes
        sendHellos(seed, own, to: endpoint)
    }

    /// Asks for parts of the seed's pass until so many were, and tells as many of ours.
    private mutating func sendHellos(_ seed: Int, _ count: Int, to endpoint: Endpoint) {
        guard let pass = mesh?.configuration.pass, let token = mesh?.seeds[seed].token else { return }
        let own = (pass.count + Hello.partBytes - 1) / Hello.partBytes
        while let asked = mesh?.seeds[seed].asked, asked < count, own > 0 {
            mesh?.seeds[seed].asked += 1
            let hello = Hello(isReply: false, token: token, pass: pass, part: asked % own, wanted: asked)
            if let hello { send(hello, to: endpoint) }
        }
    }

    private mutating func send(_ hello: Hello, to endpoint: Endpoint) {
        guard let authority = mesh?.configuration.authority.bytes else { return }
        let nonce = (0..<CookieReply.nonceBytes).map { _ in UInt8.random(in: 0 ... .max, using: &random) }
        actions.append(.datagram(hello.datagram(nonce: nonce, mesh: authority), to: endpoint))
    }

    mutating func handleHello(_ datagram: [UInt8], _ source: Endpoint, _ now: Instant) {
        guard let authority = mesh?.configuration.authority.bytes else { return refuse(.malformed) }
        // Its seal costs next to nothing: who does not know the mesh takes nothing from the limits of those who do.
        guard let hello = Hello(datagram, mesh: authority) else {
            return refuse(.foreignMesh, limiters.foreignMesh.admit(at: now).map { .foreignMesh(from: source, suppressed: $0) })
        }
        guard case .work = handshakeGuard.judge(proof: nil, from: source, at: now) else { return refuse(.rateLimited) }
        if hello.isReply {
            handleHelloReply(hello, source, now)
        } else {
            if let pass = mesh?.parts.handle(hello, at: now) { _ = admit(pass, from: source, now) }
            answer(hello, source)
        }
    }

    private mutating func answer(_ hello: Hello, _ source: Endpoint) {
        guard let pass = mesh?.configuration.pass else { return }
        let parts = (pass.count + Hello.partBytes - 1) / Hello.partBytes
        guard
            let reply = Hello(
                isReply: true, token: hello.token, place: source, pass: pass, part: min(hello.wanted, max(parts - 1, 0)),
                wanted: 0)
        else { return }
        mesh?.hellosAnswered &+= 1
        send(reply, to: source)
    }

    private mutating func handleHelloReply(_ hello: Hello, _ source: Endpoint, _ now: Instant) {
        guard let seed = mesh?.seeds.firstIndex(where: { $0.token == hello.token && $0.asked > 0 }) else {
            return refuse(.strayResponse)
        }
        if let place = hello.place { mesh?.noteObserved(place, at: now) }
        mesh?.seeds[seed].attempts = 0
        guard let pass = mesh?.parts.handle(hello, at: now) else { return sendHellos(seed, hello.parts, to: source) }
        guard let site = admit(pass, from: source, now), let place = mesh?.places[site] else { return }
        mesh?.seeds[seed].site = site
        offer(source, to: place, now)
    }

    /// Somewhere to dial a peer that is not up.
    private mutating func offer(_ endpoint: Endpoint, to index: Int, _ now: Instant) {
        if !peers[index].candidates.contains(endpoint) {
            peers[index].candidates.insert(endpoint, at: 0)
            if peers[index].candidates.count > PeerState.candidateLimit { peers[index].candidates.removeLast() }
        }
        if !peers[index].isUp && peers[index].nextInitiation == nil {
            peers[index].attempts = 0
            peers[index].nextInitiation = now
        }
    }

    // MARK: Members

    /// A pass came in a hello.
    private mutating func admit(_ bytes: [UInt8], from source: Endpoint, _ now: Instant) -> SiteID? {
        do throws(PassProblem) {
            guard let signed = try mesh?.gossip.handlePass(bytes, at: now) else { return nil }
            let site = signed.pass.holder
            guard site != mesh?.gossip.site else {
                refuse(.ownKey, limiters.ownKey.admit(at: now).map { .ownKey(from: source, suppressed: $0) })
                return nil
            }
            return place(site, now) == nil ? nil : site
        } catch {
            mesh?.passesRefused &+= 1
            refuse(
                .badPass,
                limiters.badPass.admit(at: now).map { .badPass("\(error)", from: source, suppressed: $0) })
            return nil
        }
    }

    /// The place of a member among the peers; a new one gets one. `nil` when there is none, or it is no member.
    @discardableResult
    mutating func place(_ site: SiteID, _ now: Instant) -> Int? {
        if let place = mesh?.places[site] { return place }
        guard site != mesh?.gossip.site, let signed = mesh?.gossip.passes.pass(of: site),
            mesh?.gossip.passes.isMember(site, at: wall(now)) ?? false
        else { return nil }
        let key = signed.pass.key
        if let configured = peers.firstIndex(where: { $0.key == key }) {
            peers[configured].site = site
            peers[configured].label =
                UInt32.random(in: 0 ... .max, using: &random) & ~0xFFF | UInt32(configured * StreamIdentifier.slotsPerPeer)
            mesh?.places[site] = configured
            applyRights(configured, now)
            return configured
        }
        guard let index = freePlace(now) else {
            mesh?.placesRefused &+= 1
            if let suppressed = mesh?.fullLimiter.admit(at: now) {
                actions.append(.log(.meshFull(signed.pass.site, limit: peers.count, suppressed: suppressed)))
            }
            return nil
        }
        var state = PeerState(
            ControlConfiguration.Peer(name: uniqueName(signed.pass.site, site), key: key, hasAddress: true),
            paths: configuration.paths, at: now)
        state.site = site
        state.generation = peers[index].generation
        state.label = UInt32.random(in: 0 ... .max, using: &random) & ~0xFFF | UInt32(index * StreamIdentifier.slotsPerPeer)
        state.candidates = Array((mesh?.gossip.addresses(of: site) ?? []).prefix(PeerState.candidateLimit))
        if !state.candidates.isEmpty { state.nextInitiation = now }
        peers[index] = state
        command(.setPlace(PeerIndex(index), isTaken: true))
        mesh?.places[site] = index
        applyRights(index, now)
        actions.append(.log(.memberKnown(state.name, key: key)))
        return index
    }

    /// What its pass says of a member (rule 44).
    private mutating func applyRights(_ index: Int, _ now: Instant) {
        guard let site = peers[index].site, let pass = mesh?.gossip.passes.pass(of: site)?.pass else { return }
        let rights = PeerRights(limiting: pass)
        if snooper.rights[PeerIndex(index)] == rights { return }
        snooper.apply(rights: rights, of: PeerIndex(index), at: now)
        auditGrants(at: now)
    }

    /// A place that nobody has; failing that, that of the member which has been away longest.
    private mutating func freePlace(_ now: Instant) -> Int? {
        // Those of the configuration keep what it says of them, such as a rate.
        let free = peers.indices.first { $0 >= configuration.peers.count && peers[$0].key == nil }
        if let free { return free }
        let away = peers.indices.filter {
            $0 >= configuration.peers.count && !peers[$0].isNamed && !peers[$0].isUp && peers[$0].sessions.isEmpty
        }
        guard let oldest = away.min(by: { (lastHeard($0) ?? .zero, $0) < (lastHeard($1) ?? .zero, $1) }),
            lastHeard(oldest) != nil
        else { return nil }
        vacate(oldest, now)
        return oldest
    }

    /// The name of its pass; with the start of its identifier behind it where another has that name.
    private func uniqueName(_ name: String, _ site: SiteID) -> String {
        peers.contains { $0.key != nil && $0.name == name } ? "\(name)-\(site)" : name
    }

    /// Takes the place of a member away: its sessions are forgotten at once.
    mutating func vacate(_ index: Int, _ now: Instant) {
        for session in peers[index].sessions { command(.retire(stream: session.stream)) }
        if let site = peers[index].site { mesh?.places[site] = nil }
        if snooper.rights[PeerIndex(index)] != nil { snooper.apply(rights: nil, of: PeerIndex(index), at: now) }
        let generation = peers[index].generation
        command(.setPlace(PeerIndex(index), isTaken: false))
        peers[index] = PeerState(vacantFrom: .zero, paths: configuration.paths)
        peers[index].generation = generation
    }

    /// A member whose pass does not count any longer.
    private mutating func expel(_ index: Int, _ problem: String, _ now: Instant) {
        actions.append(.log(.memberGone(peers[index].name, reason: problem)))
        if peers[index].isUp { markDown(index, now) }
        if peers[index].isNamed {
            // Its key was named: it stays a peer, without what its pass allowed.
            leaveRelay(index, now)
            if let site = peers[index].site { mesh?.places[site] = nil }
            peers[index].site = nil
        } else {
            vacate(index, now)
        }
    }

    /// Looks through the members: whose pass has ended or was revoked is none.
    private mutating func lookThroughMembers(_ now: Instant) {
        let wall = wall(now)
        let expelled = mesh?.gossip.takeExpelled() ?? [:]
        for index in peers.indices {
            guard let site = peers[index].site else { continue }
            if let problem = expelled[site] ?? mesh?.gossip.passes.problem(of: site, at: wall) {
                expel(index, "its pass: \(problem)", now)
            }
        }
    }

    // MARK: What peers do

    mutating func handleMemberUp(_ index: Int, _ now: Instant) {
        guard let site = peers[index].site, mesh != nil else { return }
        handleNeighbourUp(index, now)
        let peer = PeerIndex(index)
        snooper.handleStreamBegan(by: peer)
        snooper.handleFacts(facts(of: site), from: peer, at: now)
        snooper.handleAllTold(by: peer, at: now)
    }

    /// A member that is up is reached itself: what we know is compared.
    mutating func handleNeighbourUp(_ index: Int, _ now: Instant) {
        guard let site = peers[index].site, mesh != nil, peers[index].isDirect else { return }
        // Whoever begins anew has forgotten what it carried.
        handleNeighbourLost(index, now)
        mesh?.gossip.handleNeighbourUp(site, at: now)
        mesh?.meters[site] = LinkMeter()
        mesh?.samples[site] = nil
        if let endpoint = peers[index].endpoint { mesh?.relays.tell(.observed(endpoint), to: index) }
    }

    mutating func handleNeighbourDown(_ index: Int, _ now: Instant) {
        guard let site = peers[index].site, mesh != nil else { return }
        mesh?.gossip.handleNeighbourDown(site, at: now)
        mesh?.meters[site] = nil
        mesh?.gossip.set(.link(site), nil, at: now)
        handleNeighbourLost(index, now)
    }

    mutating func handleHeardRouted(_ index: Int, _ now: Instant) {
        guard peers[index].newest != nil, !peers[index].isUp else { return }
        chooseWay(index, now)
    }

    /// A link is suspect, or is no longer: it is told at once, and the ways may change.
    mutating func noteDoubt(_ index: Int, _ now: Instant) {
        guard let site = peers[index].site, mesh != nil else { return }
        mesh?.samples[site]?.base = nil
        tellLink(index, site, now)
        mesh?.relays.noteChange(isUrgent: true, at: now)
    }

    /// What a member is known to want.
    private mutating func facts(of site: SiteID) -> [Fact] {
        mesh?.factVersion &+= 1
        let version = mesh?.factVersion ?? 0
        return (mesh?.gossip.facts(of: site) ?? []).compactMap { fact in
            fact.topic.factKey.map { Fact($0, version: version, fact.value.factValue) }
        }
    }

    /// A message of a member's channel. False for one that is not the mesh's.
    mutating func handleMeshMessage(_ message: [UInt8], _ index: Int, _ now: Instant) -> Bool {
        guard let site = peers[index].site, mesh != nil else { return false }
        if RouteMessage.isKind(of: message) {
            handleRouteMessage(message, index, now)
            return true
        }
        return mesh?.gossip.handleMessage(message, from: site, at: now) ?? false
    }

    mutating func handleMemberRoundTrip(_ index: Int, _ sample: Interval, _ now: Instant) {
        guard let site = peers[index].site else { return }
        let isFirst = mesh?.meters[site]?.measure == nil
        mesh?.meters[site]?.handleRoundTrip(sample)
        guard isFirst else { return }
        tellLink(index, site, now)
        mesh?.relays.noteChange(at: now)
    }

    // MARK: The operator

    /// A revocation that the authority has signed: it is told to everybody.
    /// - Returns: what is wrong with it.
    public mutating func handleRevocation(_ bytes: [UInt8], at now: Instant) -> PassProblem? {
        guard mesh != nil else { return .malformed("this gateway is in no mesh with an authority") }
        let problem = mesh?.gossip.handleRevocation(bytes, from: nil, at: now)
        driveMesh(now)
        drive(at: now)
        return problem
    }

    // MARK: Time

    mutating func handleMeshTimeout(_ now: Instant) {
        guard let seeds = mesh?.seeds else { return }
        for (seed, state) in seeds.enumerated() {
            if state.resolveDue <= now {
                mesh?.seeds[seed].resolveDue = now + ControlCore.seedResolveInterval
                actions.append(.resolveSeed(seed))
            }
            if state.due <= now { askSeed(seed, now) }
        }
        if let look = mesh?.nextLook, look <= now {
            mesh?.nextLook = now + MeshState.look
            let wall = wall(now)
            mesh?.gossip.handleTime(wall: wall, at: now)
            lookThroughMembers(now)
            measureLinks(now)
            improveTrees(now)
            checkOwnPass(now)
        }
        guard let due = mesh?.gossip.nextTimeout, due <= now else { return }
        var draws = SeededRandom(seed: random.next())
        mesh?.gossip.handleTimeout(at: now, using: &draws)
    }

    private mutating func checkOwnPass(_ now: Instant) {
        if let (days, until) = mesh?.gossip.pollPassWarning(at: now) {
            actions.append(.log(.passEnds(days: days, until: "\(until)")))
        }
        guard let site = mesh?.gossip.site else { return }
        if case .notYetValid = mesh?.ownProblem, let pass = mesh?.configuration.pass {
            let problem = mesh?.gossip.setPass(pass, at: now)
            mesh?.ownProblem = problem
        }
        // One that has never counted was spoken of at the start.
        guard mesh?.gossip.passes.pass(of: site) != nil else { return }
        let problem = mesh?.gossip.passes.problem(of: site, at: wall(now))
        if problem == mesh?.ownProblem { return }
        mesh?.ownProblem = problem
        if let problem { actions.append(.log(.ownPass("\(problem)"))) }
    }

    private mutating func measureLinks(_ now: Instant) {
        for index in peers.indices {
            guard let site = peers[index].site, peers[index].isUp, peers[index].isDirect else { continue }
            let layout = mailbox.layout
            func total(_ counter: PeerCounter) -> UInt64 {
                let place = layout.index(PeerIndex(index), counter)
                return mailboxes.reduce(UInt64(0)) { $0 &+ $1.board.load(place) }
            }
            let (count, lost) = (total(.datagramsIn), total(.datagramsLost))
            // What a silence has swallowed is not what the link loses when it carries: a cut of a second would count as some
            // percent for minutes.
            if peers[index].path.isDoubted || peers[index].path.isSuspect {
                mesh?.samples[site]?.base = nil
                tellLink(index, site, now)
                continue
            }
            // What is lost while others carry from there too is not this link's: both ways have one sequence of numbers.
            if now - lastHeardRouted(index) < ControlCore.carriedLately {
                mesh?.samples[site]?.base = nil
                tellLink(index, site, now)
                continue
            }
            if let (all, gone) = mesh?.samples[site, default: LossSample()].take(count, lost) {
                mesh?.meters[site]?.handleDatagrams(all, lost: gone)
            }
            tellLink(index, site, now)
        }
    }

    /// Tells what a link is like, if that is news.
    mutating func tellLink(_ index: Int, _ site: SiteID, _ now: Instant) {
        mesh?.meters[site]?.handleSuspect(peers[index].path.isDoubted)
        if let measure = mesh?.meters[site]?.pollMeasure(at: now) { mesh?.gossip.set(.link(site), .link(measure), at: now) }
    }

    // MARK: Carrying on

    /// Takes what gossip has learnt. Before the channels are driven.
    mutating func driveMesh(_ now: Instant) {
        guard mesh != nil else { return }
        var told: [Int: [Fact]] = [:]
        for change in mesh?.gossip.takeChanges() ?? [] where change.owner != mesh?.gossip.site {
            switch change.topic {
            case .pass:
                if change.value != nil, let index = place(change.owner, now) { applyRights(index, now) }
            case .address: noteAddresses(of: change.owner, now)
            case .link: mesh?.relays.noteChange(at: now)
            default:
                guard let key = change.topic.factKey, let index = mesh?.places[change.owner], peers[index].isUp else { break }
                mesh?.factVersion &+= 1
                told[index, default: []].append(Fact(key, version: mesh?.factVersion ?? 0, change.value?.factValue))
            }
        }
        if let generation = mesh?.gossip.ownLinksGeneration, generation != mesh?.relays.ownLinks {
            mesh?.relays.ownLinks = generation
            mesh?.relays.noteChange(at: now)
        }
        for index in told.keys.sorted() { snooper.handleFacts(told[index] ?? [], from: PeerIndex(index), at: now) }
        if let generation = mesh?.gossip.snapshotGeneration, generation != mesh?.lookedAt {
            mesh?.lookedAt = generation
            lookThroughMembers(now)
        }
    }

    private mutating func noteAddresses(of site: SiteID, _ now: Instant) {
        guard let index = place(site, now), let addresses = mesh?.gossip.addresses(of: site) else { return }
        var all = addresses.filter { $0.relayedPlace == nil }
        // Where it was found without gossip is tried after that.
        for candidate in peers[index].candidates where !all.contains(candidate) { all.append(candidate) }
        peers[index].candidates = Array(all.prefix(PeerState.candidateLimit))
        if !peers[index].isUp && peers[index].nextInitiation == nil && !all.isEmpty { peers[index].nextInitiation = now }
    }

    /// Our own facts, for the others.
    mutating func tellMesh(_ changed: [FactKey], _ now: Instant) {
        guard mesh != nil else { return }
        for key in changed { mesh?.gossip.set(MeshTopic(key), snooper.book[key].map { MeshValue($0) }, at: now) }
    }

    /// The next message for a member's channel.
    mutating func pollGossip(for index: Int, _ now: Instant) -> [UInt8]? {
        guard let site = peers[index].site else { return nil }
        return mesh?.gossip.pollMessage(for: site, at: now)
    }

    /// Grows when what is worth keeping for the next start has changed.
    public var meshGeneration: UInt64 { mesh?.gossip.snapshotGeneration ?? 0 }
    /// What to give to the next run.
    public var meshSnapshot: [UInt8]? { mesh?.gossip.snapshot }
}
