// What control knows of one peer.

import Basics
import Mesh
import Switching
import Tunnels

struct PeerState: Sendable {
    /// A session that the lane opens datagrams of.
    struct Session: Sendable {
        var stream: UInt32
        var cipher: Cipher
        /// Whether its keys come from ML-KEM-768 too.
        var isHybrid: Bool
        var began: Instant
        /// When a new one is to be agreed: later for the side with the higher key.
        var renewAt: Instant
        var expires: Instant
        /// Whether the other side is known to hold the keys.
        var isConfirmed: Bool
    }

    /// An initiation that was sent and may still be answered.
    struct Pending: Sendable {
        /// How long an answer may take: what somebody kept back for longer is worth nothing.
        static let patience = Interval.seconds(5)

        var noise: NoiseHandshake
        var stream: UInt32
        /// What the other side may encapsulate to.
        var pair: KEMKeyPair?
        /// The initiation's mac, as a cookie reply names it; `nil` once one has.
        var mac: [UInt8]?
        /// Whether the initiation had a cookie.
        var hadCookie: Bool
        /// From then on it is not answered any more.
        var expires: Instant
        /// Where it was sent.
        var target: Endpoint
    }

    /// An initiation whose answer is of no use any longer.
    struct Overtaken: Sendable {
        var stream: UInt32
        var expires: Instant
        /// Where it went.
        var target: Endpoint
    }

    /// An initiation that was authentic and new, and whose annex has still to come. At most one for each peer, the newest.
    struct Waiting: Sendable {
        static let patience = Interval.seconds(3)

        var noise: NoiseHandshake
        var payload: Initiation.Payload
        var cipher: Cipher
        /// Where the initiation came from, and the response goes.
        var source: Endpoint
        var expires: Instant
    }

    /// From where a session that the peer had begun was confirmed, and when.
    struct Sighting: Sendable {
        var endpoint: Endpoint
        var at: Instant
    }

    /// What the peer gave us to show where we are.
    struct Cookie: Sendable {
        var bytes: [UInt8]
        var expires: Instant
    }

    static let pendingLimit = 3
    static let sessionLimit = StreamIdentifier.slotsPerPeer - pendingLimit
    /// Confirmed sessions that stay while unconfirmed ones could go: when both sides begin at once a generation is two, and
    /// datagrams of the one before are still under way.
    static let sessionsKept = 4
    /// Unconfirmed sessions that are kept: an initiator takes no answer to one that is older than its last three. Each takes
    /// pages of memory in every lane, and whoever has a wrong pre-shared key begins one a second.
    static let unconfirmedKept = pendingLimit
    static let candidateLimit = 32

    let name: String
    /// `nil` for a place that no peer has.
    let key: PublicKey?
    let hasAddress: Bool
    /// Whether the configuration or the operator names it; others are members that were found.
    var isNamed = false
    /// Of a member of the mesh: what it tells comes by gossip.
    var site: SiteID?
    /// Where its addresses led to, tried in turn; at most `candidateLimit`.
    var candidates: [Endpoint] = []
    /// Where it was last heard from.
    var endpoint: Endpoint?
    var isUp = false
    /// Whether it is reached itself; a peer without a pass is in no other way.
    var isDirect = false
    /// How it is reached through others, being opened or open, and the way before while the new one is not.
    var relay: Relay?
    var formerRelay: Relay?
    /// Whether what is for it goes through others: from when the first way is ready until `leaveRelay`, also while another is opened.
    var isRelayUsed = false
    /// Of the way through others.
    var relayPath: PeerPath
    /// What our streams for it have in common, and what its for us have; `nil` without a pass, and before the first session.
    var label: UInt32?
    var remoteLabel: UInt32?
    /// The way that the log has spoken of.
    var loggedWay: [SiteID] = []
    var lastHeard: Instant?
    /// When it last came up or went down; `nil` before it was up.
    var stateSince: Instant?
    /// Oldest first; at most `sessionLimit`.
    var sessions: [Session] = []
    /// Oldest first; at most `pendingLimit`.
    var pending: [Pending] = []
    /// What bounds the work for responses to them.
    var responses = ResponseGuard()
    /// Streams of initiations that were under way when a session came about in another way: one answer to each is nothing amiss.
    var overtaken: [Overtaken] = []
    var waiting: Waiting?
    var cookie: Cookie?
    /// When to send the next initiation; `nil` when none is wanted.
    var nextInitiation: Instant?
    /// Initiations sent since one was last answered.
    var attempts = 0
    /// The newest timestamp that it has sent in an initiation.
    var lastTimestamp: UInt64 = 0
    /// The newest timestamps that were accepted: at most `timestampsKept`.
    var acceptedTimestamps: [UInt64] = []
    static let timestampsKept = 8
    /// At most four.
    var sightings: [Sighting] = []
    /// Sessions that it has begun since it last confirmed one.
    var unconfirmed = 0
    /// Initiations in a row whose annex did not come.
    var missedAnnexes = 0
    var handshakes: UInt64 = 0
    /// The control channel of the pair, and what it has still to tell.
    /// A few messages ahead: facts that wait are told as they are when their turn comes, not as they were.
    var channel = ControlChannel(queueLimit: 64)
    var feed = FactFeed()
    var retelling = Retelling()
    var path: PeerPath
    /// Sessions begun.
    var generation: UInt64 = 0
    var suspectLimiter = RateLimiter(period: .seconds(10))
    var recoveredLimiter = RateLimiter(period: .seconds(10))
    var roamingLimiter = RateLimiter(period: .seconds(10))
    var unauthenticLimiter = RateLimiter(period: .seconds(10))
    var replayLimiter = RateLimiter(period: .seconds(10))
    var cipherLimiter = RateLimiter(period: .seconds(60))
    var unansweredLimiter = RateLimiter(period: .seconds(60))
    var clockLimiter = RateLimiter(period: .seconds(60))
    var rivalLimiter = RateLimiter(period: .seconds(60))
    var unconfirmedLimiter = RateLimiter(period: .seconds(60))
    var postQuantumLimiter = RateLimiter(period: .seconds(60))
    var annexLimiter = RateLimiter(period: .seconds(60))

    init(_ configuration: ControlConfiguration.Peer, paths: PathConfiguration, at now: Instant) {
        path = PeerPath(paths, at: now)
        relayPath = PeerPath(paths, firstNumber: PeerPath.relayNumbers, at: now)
        name = configuration.name
        key = configuration.key
        hasAddress = configuration.hasAddress
    }

    /// A place for a member that may be found.
    init(vacantFrom now: Instant, paths: PathConfiguration) {
        path = PeerPath(paths, at: now)
        relayPath = PeerPath(paths, firstNumber: PeerPath.relayNumbers, at: now)
        name = ""
        key = nil
        hasAddress = false
    }

    /// The newest session that both sides hold.
    var newest: Session? { sessions.last(where: \.isConfirmed) }

    /// A place of the lane's table that no session and no pending handshake of this peer uses.
    func freeSlot(peer: Int) -> Int? {
        let used = Set(sessions.map(\.stream) + pending.map(\.stream)).map(StreamIdentifier.slot(of:))
        let first = peer * StreamIdentifier.slotsPerPeer
        return (first..<(first + StreamIdentifier.slotsPerPeer)).first { !used.contains($0) }
    }

    /// When control has to look at it next. It changes nothing, and is `mutating` since a call that is not copies all of a peer's
    /// state: that took half of a large mesh's time.
    mutating func nextTimeout() -> Instant {
        var next = nextInitiation ?? .distantFuture
        if let waiting { next = min(next, waiting.expires) }
        if !pending.isEmpty { next = min(next, pending[0].expires) }
        for index in sessions.indices { next = min(next, sessions[index].expires) }
        if isUp, nextInitiation == nil, let newest { next = min(next, newest.renewAt) }
        if hasAddress { next = min(next, path.resolveDue) }
        if isUp && isDirect {
            next = min(next, path.search.nextTimeout, path.monitor.nextTimeout(isSuspect: path.isSuspect))
        }
        if let relay, !relay.isReady { next = min(next, relay.retryDue) }
        guard isRelayUsed else { return next }
        return min(next, relayPath.search.nextTimeout, relayPath.monitor.nextTimeout(isSuspect: relayPath.isSuspect))
    }
}
