// Gossip: how gateways come to know the same without a store. Each owns its facts and signs them in pages (GossipPage.swift).
// A page that is new goes at once to the neighbours, who tell it on to those of theirs that cannot have heard it; once in a
// while two random neighbours compare what they have, so that whatever was missed is made good. Merging is "the newest page of
// its owner holds": messages may be lost, repeated and overtaken, and a healed partition agrees again by itself.
//
// Sans-IO: hand messages that arrive to `handleMessage`, and after each call that brings something in, fetch `pollMessage` for
// each neighbour whose channel has room; what waits for a neighbour is names of pages, so it is bounded by what there is.
// `takeChanges` says what was learnt. Call `handleTimeout` at `nextTimeout`.
//
// Limits. Every owner has the same room, so nobody's facts push out another's. Past the limit on owners, one that has been out
// of reach longest goes, and if all are in reach the new one is refused. Each neighbour is sent, and may have checked for it,
// so much a second; what exceeds that waits, or is dropped and made good later.

import Basics

/// What a gossip is made with.
public struct GossipConfiguration: Sendable {
    /// The gateway's X25519 private key, 32 octets.
    public var privateKey: [UInt8]
    public var trust: MeshTrust
    /// Our own pass as its authority has signed it; `nil` in a mesh without one.
    public var pass: [UInt8]?
    /// Larger than any version of an earlier run if the clock is right: nanoseconds since 1970. If it is not, that is noticed.
    public var firstVersion: UInt64

    /// Owners kept, ourselves included.
    public var ownerLimit = Limits.peers
    /// Pages of one owner, and their octets.
    public var pageLimit = 1024
    public var byteLimit = 1 << 20
    /// How often `repairPartners` neighbours are compared with.
    public var repairInterval = Interval.seconds(10)
    public var repairPartners = 2
    /// The same after we have learnt something by a comparison, which others may have missed too.
    public var spreadPartners = 4
    /// How soon again after a comparison that found a difference.
    public var repairPause = Interval.seconds(1)
    /// The least time between two versions of one page of ours.
    public var pace = Interval.milliseconds(100)
    /// What an owner told is kept so long after it was last within reach.
    public var expiry = Interval.seconds(24 * 3600)
    /// Octets a second to one neighbour, and octets that may go at once.
    public var rate = 250_000
    public var burst = 256 * 1024
    /// Signatures a second that are checked for one neighbour, and at once.
    public var checkRate = 2_000
    public var checkBurst = 4_000

    public init(privateKey: [UInt8], trust: MeshTrust, pass: [UInt8]? = nil, firstVersion: UInt64) {
        self.privateKey = privateKey
        self.trust = trust
        self.pass = pass
        self.firstVersion = firstVersion
    }
}

/// What happened, in numbers.
public struct GossipCounters: Hashable, Sendable {
    public var messagesIn: UInt64 = 0
    public var messagesOut: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0
    /// Pages that were newer than what there was.
    public var pagesTaken: UInt64 = 0
    /// Pages of ours that were signed.
    public var pagesSigned: UInt64 = 0
    /// Pages that were known, or older.
    public var duplicates: UInt64 = 0
    /// Messages and pages whose lengths do not fit, or of unknown kinds.
    public var malformed: UInt64 = 0
    /// Pages whose signature is not their owner's, or whose pass does not fit.
    public var forged: UInt64 = 0
    /// Pages of owners that are no members, or whose page 0 has not come.
    public var strangers: UInt64 = 0
    /// Pages of owners that were given up, from before that.
    public var buried: UInt64 = 0
    /// Pages and owners for which there is no room, and revocations.
    public var limit: UInt64 = 0
    /// Pages that came faster than signatures are checked.
    public var checkRate: UInt64 = 0
    /// Owners given up: out of reach too long, pushed out, or no members any longer.
    public var gone: UInt64 = 0
    /// Times that our own facts were heard of in versions that we had forgotten.
    public var versionJumps: UInt64 = 0
    /// Comparisons that found a difference.
    public var repairs: UInt64 = 0

    public init() {}
}

/// Something that another gateway has told, or does not tell any longer.
public struct MeshChange: Hashable, Sendable {
    public var owner: SiteID
    public var topic: MeshTopic
    /// `nil`: it is told no longer.
    public var value: MeshValue?
}

public struct Gossip: Sendable {
    struct PageName: Hashable, Sendable {
        var owner: SiteID
        var number: UInt16
    }

    /// One owner's pages, and what they say.
    struct Owner: Sendable {
        /// What its pages are signed with.
        var point: [UInt8]
        var pages: [UInt16: GossipPage] = [:]
        /// With the page that says it: of two pages, the newer one's word holds.
        var facts: [MeshTopic: (page: UInt16, value: MeshValue)] = [:]
        var links: [SiteID: LinkMeasure] = [:]
        var bytes = 0
        /// `nil` when it has to be made again.
        var digest: UInt64?
        /// `nil` while it is within reach.
        var lostSince: Instant?
    }

    /// An owner that was given up: what is not newer is old news.
    struct Grave: Sendable {
        /// The newest page, which proves its version to the owner, should it come back with a lost clock.
        var proof: GossipPage
        var dug: UInt64
        var proofDue = Instant.zero
    }

    public let configuration: GossipConfiguration
    public let site: SiteID
    let signer: SiteSigner
    public internal(set) var passes: PassBook
    public internal(set) var counters = GossipCounters()
    /// Grows when what `snapshot` holds of others has changed.
    public internal(set) var snapshotGeneration: UInt64 = 0
    /// Grows when what our own page says of our links has changed.
    public internal(set) var ownLinksGeneration: UInt64 = 0

    var owners: [SiteID: Owner] = [:]
    var graves: [SiteID: Grave] = [:]
    private var gravesDug: UInt64 = 0
    static let graveLimit = 256

    // Our own facts (Gossip+Own.swift).
    var version: UInt64
    var ownFacts: [MeshTopic: OwnFact] = [:]
    var ownPages: [OwnPage] = []
    var dirtyPages: Set<Int> = []
    var roomHints = [0, 0, 0]

    // Neighbours (Gossip+Exchange.swift).
    var neighbours: [SiteID: Neighbour] = [:]
    /// Sorted.
    public internal(set) var neighbourSites: [SiteID] = []
    /// Owners that a neighbour was asked about, and when; nobody else is, for a while.
    var asked: [SiteID: (neighbour: SiteID, since: Instant)] = [:]
    var repairDue: Instant
    /// Comparisons that may follow soon; each page that is taken grants some.
    var quickRepairs = 0
    /// Whether a comparison has brought something that was not passed on.
    var isSpreading = false
    var cachedSummary: [UInt8]?
    var cachedRevocations: UInt64?

    private var expelled: [SiteID: PassProblem] = [:]
    private var changes: [ChangeKey] = []
    private var isChanged: Set<ChangeKey> = []

    struct ChangeKey: Hashable, Sendable {
        var owner: SiteID
        var topic: MeshTopic
    }

    // The time of day, as it was told last.
    private var wallBase = UnixTime(seconds: 0)
    private var wallSet = Instant.zero

    /// Precondition: a private key of 32 octets.
    public init(_ configuration: GossipConfiguration, wall: UnixTime, at now: Instant) {
        guard let signer = SiteSigner(privateKey: configuration.privateKey) else {
            preconditionFailure("a private key has 32 octets")
        }
        self.configuration = configuration
        self.signer = signer
        site = SiteID(signer.publicKey)
        passes = PassBook(trust: configuration.trust, memberLimit: configuration.ownerLimit)
        version = configuration.firstVersion
        repairDue = now + configuration.repairInterval
        wallBase = wall
        wallSet = now
        owners[site] = Owner(point: signer.point)
        set(.point, .point(signer.point), at: now)
        if let pass = configuration.pass { _ = setPass(pass, at: now) }
    }

    /// Sets our own pass: at the start, and when it is renewed.
    /// - Returns: what is wrong with it. It is told all the same if it is ours: clocks differ, and others judge by theirs.
    @discardableResult
    public mutating func setPass(_ bytes: [UInt8], at now: Instant) -> PassProblem? {
        var problem: PassProblem?
        do throws(PassProblem) {
            try passes.setOwnPass(bytes, holder: signer.publicKey, at: wall(now))
        } catch {
            problem = error
        }
        switch problem {
        case nil, .expired, .notYetValid, .revoked: set(.pass, .pass(bytes), at: now)
        default: break
        }
        return problem
    }

    /// Takes in a pass that came in another way than by gossip.
    @discardableResult
    public mutating func handlePass(_ bytes: [UInt8], at now: Instant) throws(PassProblem) -> SignedPass {
        try passes.handlePass(bytes, at: wall(now))
    }

    /// As `PassBook.pollWarning`.
    public mutating func pollPassWarning(at now: Instant) -> (daysLeft: UInt64, until: UnixTime)? {
        passes.pollWarning(at: wall(now))
    }

    // MARK: Time

    /// Tells the time of day: at the start, and when it may have been set. Whose pass is over is no member.
    public mutating func handleTime(wall: UnixTime, at now: Instant) {
        wallBase = wall
        wallSet = now
        dropNonMembers()
    }

    /// The time of day.
    public func wall(_ now: Instant) -> UnixTime {
        wallBase.adding(UInt64(max((now - wallSet).nanoseconds, 0)) / 1_000_000_000)
    }

    public mutating func handleTimeout(at now: Instant, using random: inout some RandomNumberGenerator) {
        seal(at: now)
        let configuration = configuration
        for neighbour in neighbourSites { neighbours[neighbour]?.refill(configuration, at: now) }
        guard repairDue <= now else { return }
        let spread = configuration.repairInterval.nanoseconds / 4
        let jitter = Int64.random(in: 0...spread, using: &random)
        repairDue = now + configuration.repairInterval + .nanoseconds(jitter)
        dropNonMembers()
        noteReach(at: now)
        var candidates = neighbourSites
        let partners = isSpreading ? configuration.spreadPartners : configuration.repairPartners
        isSpreading = false
        for _ in 0..<min(partners, candidates.count) {
            let index = Int.random(in: candidates.indices, using: &random)
            neighbours[candidates[index]]?.isSummaryDue = true
            candidates.remove(at: index)
        }
    }

    /// When to call `handleTimeout` and then `pollMessage`, if nothing happens before. What waits for room in a neighbour's
    /// channel is no reason: the driver knows when there is some.
    public var nextTimeout: Instant {
        var next = repairDue
        for number in dirtyPages { next = min(next, ownPages[number].due) }
        for neighbour in neighbours.values where neighbour.allowance <= 0 && neighbour.hasWork {
            next = min(next, neighbour.allowanceTime(configuration))
        }
        return next
    }

    // MARK: What is known

    /// What has changed since the last call, each fact once, in the order of first changes.
    public mutating func takeChanges() -> [MeshChange] {
        defer {
            changes.removeAll()
            isChanged.removeAll()
        }
        return changes.map { MeshChange(owner: $0.owner, topic: $0.topic, value: owners[$0.owner]?.facts[$0.topic]?.value) }
    }

    func ordered(_ topics: some Sequence<MeshTopic>) -> [MeshTopic] { topics.sorted() }

    mutating func noteChange(_ owner: SiteID, _ topic: MeshTopic) {
        let key = ChangeKey(owner: owner, topic: topic)
        if isChanged.insert(key).inserted { changes.append(key) }
    }

    /// Everybody of whom something is known, ourselves among them; sorted.
    public var sites: [SiteID] { owners.keys.sorted() }

    public func value(of topic: MeshTopic, from owner: SiteID) -> MeshValue? { owners[owner]?.facts[topic]?.value }

    /// What an owner tells, sorted by topic. O(n log n).
    public func facts(of owner: SiteID) -> [MeshFact] {
        guard let facts = owners[owner]?.facts else { return [] }
        return facts.map { MeshFact($0.key, $0.value.value) }.sorted { $0.topic < $1.topic }
    }

    /// Where an owner says that it is reached, the best first.
    public func addresses(of owner: SiteID) -> [Endpoint] {
        guard let facts = owners[owner]?.facts else { return [] }
        return facts.compactMap { topic, fact -> (UInt8, Endpoint)? in
            guard case .address(let endpoint) = topic, case .address(let rank) = fact.value else { return nil }
            return (rank, endpoint)
        }.sorted { $0 < $1 }.map(\.1)
    }

    /// What an owner tells of its links. What counts as a link needs both ends' word: see `Topology`.
    public func links(of owner: SiteID) -> [SiteID: LinkMeasure] { owners[owner]?.links ?? [:] }

    /// Octets of pages kept.
    public var storedBytes: Int { owners.values.reduce(0) { $0 + $1.bytes } }
    public var storedPages: Int { owners.values.reduce(0) { $0 + $1.pages.count } }

    // MARK: Reach and expiry

    /// Whether both say that they are neighbours.
    func areLinked(_ a: SiteID, _ b: SiteID) -> Bool { owners[a]?.links[b] != nil && owners[b]?.links[a] != nil }

    /// Whether either says so: good enough for guessing who has been told.
    func mayBeLinked(_ a: SiteID, _ b: SiteID) -> Bool { owners[a]?.links[b] != nil || owners[b]?.links[a] != nil }

    /// Marks who is within reach over links that both ends tell of, and gives up who has not been for too long. O(V + E).
    mutating func noteReach(at now: Instant) {
        var reached: Set<SiteID> = [site]
        var queue = [site]
        for neighbour in neighbourSites where reached.insert(neighbour).inserted { queue.append(neighbour) }
        while let next = queue.popLast() {
            guard let links = owners[next]?.links else { continue }
            for far in links.keys where !reached.contains(far) && areLinked(next, far) {
                reached.insert(far)
                queue.append(far)
            }
        }
        for owner in owners.keys.sorted() where owner != site {
            if reached.contains(owner) {
                owners[owner]?.lostSince = nil
            } else if let since = owners[owner]?.lostSince {
                if now - since >= configuration.expiry { bury(owner) }
            } else {
                owners[owner]?.lostSince = now
            }
        }
    }

    private mutating func bury(_ owner: SiteID) {
        guard let newest = owners[owner]?.pages.values.max(by: { $0.stamp < $1.stamp }) else { return }
        removeOwner(owner)
        if graves.count >= Gossip.graveLimit, let oldest = graves.min(by: { $0.value.dug < $1.value.dug }) {
            graves[oldest.key] = nil
        }
        gravesDug += 1
        graves[owner] = Grave(proof: newest, dug: gravesDug)
    }

    /// Everything that the owner told is withdrawn.
    mutating func removeOwner(_ owner: SiteID) {
        guard owner != site, let gone = owners.removeValue(forKey: owner) else { return }
        counters.gone &+= 1
        for topic in ordered(gone.facts.keys) { noteChange(owner, topic) }
        passes.forget(owner)
        asked[owner] = nil
        cachedSummary = nil
        snapshotGeneration += 1
    }

    /// Room for one more owner: takes the place of the one that has been out of reach longest.
    mutating func makeRoom() -> Bool {
        if owners.count < configuration.ownerLimit { return true }
        let lost = owners.filter { $0.value.lostSince != nil && $0.key != site }
        guard
            let oldest = lost.min(by: {
                ($0.value.lostSince ?? .zero, $0.key) < ($1.value.lostSince ?? .zero, $1.key)
            })
        else { return false }
        removeOwner(oldest.key)
        return true
    }

    /// Gives up owners whose passes have ended or were revoked.
    mutating func dropNonMembers() {
        let wall = wall(currentFloor)
        for owner in owners.keys.sorted() where owner != site {
            guard let problem = passes.problem(of: owner, at: wall) else { continue }
            expelled[owner] = problem
            removeOwner(owner)
        }
    }

    /// Who was given up since the last call for a pass that does not count any longer, and why.
    public mutating func takeExpelled() -> [SiteID: PassProblem] {
        defer { expelled = [:] }
        return expelled
    }

    /// The latest moment that any call has brought.
    var currentFloor: Instant { latest }
    private var latest = Instant.zero

    mutating func noteTime(_ now: Instant) { if now > latest { latest = now } }
}
