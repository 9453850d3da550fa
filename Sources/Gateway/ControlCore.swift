// Control: who the peers are, whether they are there, and which keys are shared with them. Sans-IO: events and the time
// go in, actions come out. One thread owns it; it may allocate.
//
// A peer's sessions, and when each timer does what:
//
//     nothing --- initiation sent ---> pending --- response ---> session (we initiated), confirmed at once
//        |                                ^ |
//        |                   retry 1 s ---+ +--- after 3: the oldest pending one is forgotten
//        +--- initiation received -----------------------------> session (they initiated), confirmed by its first datagram
//
//     renewal       when the newest session is `rekeyTime` old, or has sealed `rekeyDatagrams`: a new initiation, by the side
//                   with the lower key; the other side a little later, if nothing came. Old sessions go on opening.
//     expiry        a session is forgotten 1.5 x `rekeyTime` + 10 s after it began.
//     liveness      nothing authentic for `paths.suspect`: the peer is suspect; for `paths.down`: it is down, and initiations
//                   begin. See ControlCore+Paths.
//     answers       an initiation that is not answered in `Pending.patience` is forgotten, and when a session comes about.
//     annex         an initiation whose ML-KEM key has not come in `Waiting.patience` is forgotten.
//     resolution    names are resolved at the start, again after every five unanswered initiations, and every
//                   `paths.resolveInterval`; a name that leads nowhere, again every five seconds.

import Basics
import Buffers
import Mesh
import Settings
import Switching
import Tunnels

/// What control is made with.
public struct ControlConfiguration: Sendable {
    public struct Peer: Sendable {
        public var name: String
        public var key: PublicKey
        /// Whether an address is configured, so that we dial it; the driver resolves it.
        public var hasAddress: Bool

        public init(name: String, key: PublicKey, hasAddress: Bool) {
            self.name = name
            self.key = key
            self.hasAddress = hasAddress
        }
    }

    public var identity: KeyPair
    /// 32 octets; zeros where there is none.
    public var presharedKey: SecretBytes
    public var peers: [Peer]
    public var ciphers: CipherSet
    public var keepalive: Interval
    public var rekeyTime: Interval
    public var rekeyDatagrams: UInt64
    public var paths = PathConfiguration()
    /// Off where the same seed has to give the same octets: encapsulation draws from no seed.
    public var postQuantum = PostQuantumChoice.off
    /// Initiations a second, from all sources, beyond which they are answered with cookies.
    public var handshakeLoad = 200
    /// `nil` without passes.
    public var mesh: MeshConfiguration?
    /// Places for peers: those of the configuration, and behind them those of members that are found. As many as the lanes have.
    public var peerLimit: Int
    /// Audiences of several peers that can have a stream of their own.
    public var groups: Int
    /// What each further copy on our own uplink counts as, against the delay that a relay adds.
    public var copyCost = Interval.zero
    /// Members that are called where they are, at most: the others are reached through those that carry, or call us.
    public var linkLimit = Limits.peers
    /// Peers whose rate is limited: each gets a copy of its own.
    public var ratedPeers = PeerSet.none
    /// Its `peers` are as many as the peers here.
    public var snooping: SnoopingConfiguration

    public init(
        identity: KeyPair, presharedKey: SecretBytes? = nil, peers: [Peer], ciphers: CipherSet = .supported,
        keepalive: Interval = .seconds(1), rekeyTime: Interval = .seconds(120), rekeyDatagrams: UInt64 = 1 << 32,
        snooping: SnoopingConfiguration? = nil, ports: Int = 1,
        peerLimit: Int? = nil
    ) {
        self.peerLimit = max(peerLimit ?? 0, peers.count)
        self.identity = identity
        self.presharedKey = presharedKey ?? .zeros(32)
        self.peers = peers
        groups = GroupLimits.groups(peers: self.peerLimit)
        self.ciphers = ciphers
        self.keepalive = keepalive
        self.rekeyTime = rekeyTime
        self.rekeyDatagrams = rekeyDatagrams
        self.snooping = snooping ?? SnoopingConfiguration(ports: ports, peers: self.peerLimit)
    }
}

extension ControlConfiguration {
    /// So many places for peers, and no fewer than there are peers.
    public mutating func setPlaces(_ count: Int) {
        peerLimit = max(count, peers.count)
        snooping.peers = peerLimit
        groups = GroupLimits.groups(peers: peerLimit)
    }
}

/// What the driver has to do for control.
public enum ControlAction: Sendable {
    case datagram([UInt8], to: Endpoint)
    /// Look the peer's configured address up and call `handleResolved`.
    case resolve(PeerIndex)
    /// The same for a seed of the mesh and `handleSeedResolved`.
    case resolveSeed(Int)
    case log(GatewayEvent)
    /// A line for the audit file.
    case audit(AuditEvent)
}

/// A peer as operators see it.
public struct PeerSnapshot: Sendable, Hashable {
    /// `suspect`: up, and silent for so long that it may not be there.
    public enum State: String, Sendable { case up, suspect, connecting, waiting }

    public var name: String
    /// `nil` for a place that no peer has.
    public var key: PublicKey?
    public var state: State
    public var endpoint: Endpoint?
    public var cipher: Cipher?
    /// Whether the newest session's keys come from ML-KEM-768 too; `nil` without a session.
    public var isHybrid: Bool?
    /// When something authentic last came from it.
    public var lastHeard: Instant?
    /// When the newest session began.
    public var keysSince: Instant?
    /// Sessions agreed since the start.
    public var handshakes: UInt64
    /// Of the control channel: what facts travel in.
    public var control: ControlChannel.Counters
    /// The channel's smoothed round trip; `nil` before the first measurement.
    public var controlRoundTrip: Interval?
    public var path: PathSnapshot
    /// What is sent to it at most, in bits a second, as configured; `nil` for no limit.
    public var rate: UInt64?
}

public struct ControlCore: Sendable {
    public let configuration: ControlConfiguration
    var peers: [PeerState]
    /// Multicast: groups, routers, queriers, and what other sites want.
    public internal(set) var snooper: Snooper
    /// `nil` without passes.
    var mesh: MeshState?
    /// Streams for several peers at once; see ControlCore+Streams.
    var streams: StreamControl
    var random: any RandomNumberGenerator & Sendable
    /// One for each lane. Frames and segments leave through the first.
    let mailboxes: [LaneMailbox]
    var mailbox: LaneMailbox { mailboxes[0] }
    /// A frame of ours that found the queue to the lane full.
    var waitingFrame: SnooperFrame?
    /// Control messages of kinds that are not known here.
    public internal(set) var unknownMessages: UInt64 = 0
    /// Nanoseconds since 1970 at the driver's `Instant.zero`.
    private(set) var wallClockAtZero: UInt64
    private var lastTimestamp: UInt64 = 0
    var actions: [ControlAction] = []
    /// Measured and not fetched.
    var roundTrips: [(peer: PeerIndex, roundTrip: Interval)] = []
    /// For each lane the commands that did not fit into its queue yet, in order.
    private(set) var held: [HeldCommands]
    /// For each lane the hosts that it is still to be told of, in order.
    private var sightings: [[MACEntry]]
    /// Sightings that one lane was never told of, since too many waited for it.
    public private(set) var untoldSightings: UInt64 = 0
    private var listing: [MACEntry] = []
    private var listings: [(token: UInt32, rows: [MACEntry])] = []
    private var nextToken: UInt32 = 1
    /// The listing under way, and how many lanes have not said all of theirs.
    private var listingToken: UInt32?
    private var listingLanes = 0
    static let handshakeBudget = 64
    /// Events of one lane before the others have their turn: as many as its queue holds.
    private static let eventBudget = 4096
    /// Sightings that wait for one lane at most.
    private static let sightingLimit = 65_536
    /// How many of them make room at once.
    private static let sightingsForgotten = 1_024
    /// Places of a lane's queue that sightings may not take, so that keys and states of peers find room.
    private static let commandReserve = 256
    var limiters = Limiters()
    /// What the audit file is told.
    var audit = AuditTrail()
    /// Judges initiations before anything is computed for them.
    var handshakeGuard: HandshakeGuard
    var cookieSecret = CookieSecret()
    /// What became of handshake datagrams.
    public internal(set) var handshakeCounters = HandshakeCounters()
    /// Handshakes that were refused, by any cause.
    public var refusedHandshakes: UInt64 { handshakeCounters.refused }

    struct Limiters {
        var underLoad = RateLimiter(period: .seconds(10))
        var rateLimited = RateLimiter(period: .seconds(10))
        var ownKey = RateLimiter(period: .seconds(10))
        var unknownKey = RateLimiter(period: .seconds(10))
        var notForUs = RateLimiter(period: .seconds(10))
        var unauthentic = RateLimiter(period: .seconds(10))
        var foreignMesh = RateLimiter(period: .seconds(10))
        var badPass = RateLimiter(period: .seconds(10))
        var notInstalled = RateLimiter(period: .seconds(60))
    }

    /// For a gateway with one lane.
    public init(
        _ configuration: ControlConfiguration, mailbox: LaneMailbox, random: any RandomNumberGenerator & Sendable,
        wallClock: UInt64, at now: Instant
    ) {
        self.init(configuration, mailboxes: [mailbox], random: random, wallClock: wallClock, at: now)
    }

    /// - Parameters:
    ///   - mailboxes: one for each lane, as `LaneMailbox.make` gives them.
    ///   - random: where keys come from: the system's when live, a seeded one in replay and tests.
    ///   - wallClock: nanoseconds since 1970 at `now`.
    public init(
        _ configuration: ControlConfiguration, mailboxes: [LaneMailbox], random: any RandomNumberGenerator & Sendable,
        wallClock: UInt64, at now: Instant
    ) {
        precondition(!mailboxes.isEmpty && mailboxes.count <= Limits.lanes)
        self.configuration = configuration
        self.mailboxes = mailboxes
        held = mailboxes.map { _ in HeldCommands() }
        sightings = mailboxes.map { _ in [] }
        self.random = random
        wallClockAtZero = wallClock &- now.nanoseconds
        peers = configuration.peers.map { PeerState($0, paths: configuration.paths, at: now) }
        for index in peers.indices { peers[index].isNamed = true }
        for _ in configuration.peers.count..<configuration.peerLimit {
            peers.append(PeerState(vacantFrom: now, paths: configuration.paths))
        }
        precondition(configuration.snooping.peers == peers.count)
        let plan = ForwardingPlan(
            board: mailboxes[0].forwarding, ports: configuration.snooping.ports, peers: peers.count)
        var seeds = SeededRandom(seed: self.random.next())
        snooper = Snooper(
            configuration.snooping, plan: plan, version: wallClock, random: &seeds, at: now)
        streams = StreamControl(configuration)
        handshakeGuard = HandshakeGuard(load: configuration.handshakeLoad, secret: HashSecret(using: &seeds))
        for index in peers.indices where peers[index].hasAddress { actions.append(.resolve(PeerIndex(index))) }
        if let mesh = configuration.mesh { beginMesh(mesh, wallClock, now) }
    }

    // MARK: In

    /// Takes what the lane has said.
    ///
    /// Handshakes cost public-key work, so that a flood of them could keep control here for ever: after `handshakeBudget` of
    /// them it returns, and whoever drives it sees to timers and operators before the next call.
    public mutating func handleEvents(at now: Instant) {
        snooper.beginBatch()
        for lane in mailboxes.indices {
            for _ in 0..<ControlCore.eventBudget {
                guard let event = mailboxes[lane].events.pop() else { break }
                handle(event, of: lane, now)
            }
        }
        takeHandshakes(at: now)
        // After the events: a peer whose segments came behind its first datagram is up by then.
        handlePunts(at: now)
        snooper.endBatch(at: now)
        drive(at: now)
        flushCommands()
    }

    private mutating func handle(_ event: LaneEvent, of lane: Int, _ now: Instant) {
        switch event {
        case .confirmed(let peer, let stream, let endpoint, let isRouted):
            handleConfirmed(peer.index, stream, isRouted ? .relayed(peer.index) : endpoint, now)
            command(.confirm(stream: stream, at: endpoint, isRouted: isRouted), butNot: lane)
        case .heardRouted(let peer, _): handleHeardRouted(peer.index, now)
        case .heard(let peer, let instant, let endpoint, let hasMoved):
            let former = peers[peer.index].endpoint
            handleHeard(peer.index, instant, endpoint, now)
            if former != endpoint { command(.move(peer, to: endpoint), butNot: lane) }
            if hasMoved && former == endpoint { tellPathAgain(peer.index, now) }
        case .notInstalled(let peer): handleNotInstalled(peer.index, now)
        case .renewalDue(let link): handleRenewalDue(link.index, now)
        case .macRow(let row): listing.append(row)
        case .macRowsEnd(let token): handleListingEnd(token)
        case .snoopOverflow(let ports): handleOverflow(ports, now)
        case .vlanSeen(let vlan): handleVLAN(vlan, now)
        case .sighted(let entry): pass(entry, from: lane)
        case .probeAnswered(let peer, let number, let sample): handleReply(peer.index, number, after: sample, now)
        case .probeTooLong(let peer, let number): handleTooLong(peer.index, number, now)
        case .dataTooLong(let peer, let size): handleDataTooLong(peer.index, Int(size), now)
        case .denied(let feed): handleDenied(feed, now)
        }
    }

    /// Tells the other lanes of a host. What does not fit waits for room.
    private mutating func pass(_ entry: MACEntry, from lane: Int) {
        // The lanes have forgotten the hosts of a peer that is down.
        if let peer = entry.location.peer, !peers[peer.index].isUp { return }
        for other in mailboxes.indices where other != lane {
            if !sightings[other].isEmpty || !tell(entry, to: other) {
                // The oldest are told again by and by by the lane that has seen them.
                if sightings[other].count >= ControlCore.sightingLimit {
                    sightings[other].removeFirst(ControlCore.sightingsForgotten)
                    untoldSightings &+= UInt64(ControlCore.sightingsForgotten)
                }
                sightings[other].append(entry)
            }
        }
    }

    private func tell(_ entry: MACEntry, to lane: Int) -> Bool {
        mailboxes[lane].commands.push(.sighted(entry), leaving: ControlCore.commandReserve)
    }

    private mutating func handleListingEnd(_ token: UInt32) {
        guard listingToken == token else { return }
        listingLanes -= 1
        if listingLanes > 0 { return }
        listings.append((token, listing))
        listing = []
        listingToken = nil
    }

    /// The addresses of a peer's name, best first; empty when it could not be resolved.
    public mutating func handleResolved(_ peer: PeerIndex, to endpoints: [Endpoint], at now: Instant) {
        guard peer.index < peers.count, peers[peer.index].isNamed else { return }
        if endpoints.isEmpty { return handleUnresolved(peer.index, now) }
        peers[peer.index].candidates = Array(endpoints.prefix(PeerState.candidateLimit))
        if !peers[peer.index].isUp && peers[peer.index].nextInitiation == nil { peers[peer.index].nextInitiation = now }
    }

    /// The machine's clock may have been set: nanoseconds since 1970 at `now`.
    public mutating func handleClock(_ wallClock: UInt64, at now: Instant) {
        wallClockAtZero = wallClock &- now.nanoseconds
    }

    public mutating func handleTimeout(at now: Instant) {
        for index in peers.indices {
            expireSessions(index, now)
            checkPath(index, now)
            checkRenewal(index, now)
            expireWaiting(index, now)
            expirePending(index, now)
            if let due = peers[index].nextInitiation, due <= now { initiate(index, now) }
        }
        handleMeshTimeout(now)
        handleRelayTimeout(now)
        handleMulticastTimeout(now)
        drive(at: now)
        flushCommands()
    }

    /// When to call `handleTimeout` next.
    public var nextTimeout: Instant {
        mutating get {
            var next = min(nextMulticastTimeout, mesh?.nextTimeout ?? .distantFuture)
            for index in peers.indices where peers[index].key != nil { next = min(next, peers[index].nextTimeout()) }
            next = min(next, streams.nextTimeout, treeTimeout)
            return held.allSatisfy(\.isEmpty) && sightings.allSatisfy(\.isEmpty) && waitingFrame == nil ? next : .zero
        }
    }

    /// Asks the lane for its MAC table; the token names the answer that `pollMACs` gives.
    /// While one listing is under way, whoever asks gets its token.
    public mutating func requestMACs() -> UInt32 {
        if let listingToken { return listingToken }
        let token = nextToken
        nextToken &+= 1
        listingToken = token
        listingLanes = mailboxes.count
        command(.listMACs(token: token))
        return token
    }

    // MARK: Out

    public mutating func pollAction() -> ControlAction? {
        actions.isEmpty ? nil : actions.removeFirst()
    }

    /// A MAC table that was asked for, sorted by VLAN and address.
    public mutating func pollMACs() -> (token: UInt32, rows: [MACEntry])? {
        guard !listings.isEmpty else { return nil }
        var answer = listings.removeFirst()
        answer.rows.sort { ($0.vlan, $0.address, $1.seen) < ($1.vlan, $1.address, $0.seen) }
        guard mailboxes.count > 1 else { return answer }
        // Of what several lanes know, the newest sighting.
        var rows: [MACEntry] = []
        for row in answer.rows where rows.last?.vlan != row.vlan || rows.last?.address != row.address { rows.append(row) }
        return (answer.token, rows)
    }

    /// Places for peers, taken or not.
    public var peerPlaces: Int { peers.count }

    /// - Parameter now: what was asked long enough before this, and not answered, counts as lost.
    public func snapshot(of peer: PeerIndex, at now: Instant = .zero) -> PeerSnapshot {
        let state = peers[peer.index]
        return PeerSnapshot(
            name: state.name, key: state.key,
            state: state.isUp ? (state.path.isSuspect ? .suspect : .up) : state.hasAddress ? .connecting : .waiting,
            endpoint: state.endpoint ?? state.candidates.first, cipher: state.newest?.cipher,
            isHybrid: state.newest?.isHybrid, lastHeard: lastHeard(peer.index),
            keysSince: state.newest?.began, handshakes: state.handshakes, control: state.channel.counters,
            controlRoundTrip: state.channel.roundTrip, path: state.path.snapshot(at: now))
    }

    // MARK: Below

    /// This side's clock, for the timestamp of an initiation: always later than the last.
    mutating func nextTimestamp(at now: Instant) -> UInt64 {
        lastTimestamp = max(lastTimestamp &+ 1, wallClockAtZero &+ now.nanoseconds)
        return lastTimestamp
    }

    /// To every lane, or to all but one.
    mutating func command(_ command: LaneCommand, butNot excepted: Int? = nil) {
        for lane in mailboxes.indices where lane != excepted { self.command(command, to: lane) }
        flushCommands()
    }

    /// To one lane.
    mutating func command(_ command: LaneCommand, to lane: Int) { held[lane].push(command, to: mailboxes[lane].commands) }

    private mutating func flushCommands() {
        for lane in mailboxes.indices {
            held[lane].flush(to: mailboxes[lane].commands)
            let told = sightings[lane].firstIndex { !tell($0, to: lane) } ?? sightings[lane].count
            if told > 0 { sightings[lane].removeFirst(told) }
        }
    }

    /// The time of day.
    func wall(_ now: Instant) -> UnixTime { UnixTime(seconds: (wallClockAtZero &+ now.nanoseconds) / 1_000_000_000) }

    /// Asks for the addresses of a peer that is to be dialled. Of a member, gossip says them unasked.
    mutating func askAddresses(_ index: Int) {
        if peers[index].isNamed { actions.append(.resolve(PeerIndex(index))) }
    }

    mutating func refuse(_ cause: HandshakeRefusal, _ event: GatewayEvent? = nil) {
        handshakeCounters.count(cause)
        if let event { actions.append(.log(event)) }
    }
}
