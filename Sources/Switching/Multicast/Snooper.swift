// The multicast side of one gateway, sans-IO, on control: it is given the IGMP, MLD, PIM and router discovery messages that
// lanes punt and the facts that other sites tell, and it leaves frames for the LAN, facts for the peers, and a forwarding
// table that lanes read.
//
//     LAN --- report, query, hello ---> GroupTable, RouterPorts, Querier --- own wish ---> FactBook ---> peers
//                                                |
//                                                v
//     lanes <--- published entries --- ForwardingPlan <--- InterestStore <--- facts --- peers
//                                                                |
//     LAN's routers <--- v3 reports --- ProxyReporter <----------+
//
// What it says on the LAN it says as a querier (rule 28) and as a proxy for the other sites (rule 35); neither reports nor
// queries ever leave for a peer (rule 31).

import Basics
import Buffers
import Wire

/// A frame for LAN ports.
public struct SnooperFrame: Hashable, Sendable {
    public var bytes: [UInt8]
    public var ports: PortSet

    public init(_ bytes: [UInt8], to ports: PortSet) {
        self.bytes = bytes
        self.ports = ports
    }
}

public struct Snooper: Sendable {
    public let configuration: SnoopingConfiguration
    public internal(set) var groups: GroupTable
    public internal(set) var routers: RouterPorts
    var interests: InterestStore
    /// What this site and the others may send and receive.
    public internal(set) var rights: RightsBook
    var wishAudit = WishAudit()
    public internal(set) var book: FactBook
    public internal(set) var plan: ForwardingPlan
    /// Iterated in `segmentKeys`' order.
    var segments: [SegmentKey: Segment] = [:]
    var segmentKeys: [SegmentKey] = []
    var room = SegmentRoom()
    var random: SeededRandom
    /// Statics by group; the list is short.
    let statics: [GroupKey: Wish]
    /// Frames for the LAN that have not been fetched; appended to by `send`.
    private var frames: [SnooperFrame] = []
    /// Frames that found `frames` full.
    public private(set) var droppedFrames: UInt64 = 0
    private static let frameLimit = 65_536
    private var nextFrame = 0
    private var events: [SnoopEvent] = []
    var ownCounters = SnoopCounters()
    private var limiters: [SnoopCounter: (since: Instant, suppressed: Int)] = [:]
    private var reportBuckets: [ReportBucket]
    /// Keys whose entry has to be compiled again.
    private var stale: [GroupKey] = []
    private var isStale: Set<GroupKey> = []
    /// The sources that facts name, by group: those that have to be withdrawn are found here.
    var toldSources: [GroupKey: [IPAddress]] = [:]
    /// Keys of own facts that changed and that no feed has been told of.
    private var changedFacts: [FactKey] = []
    private var lastCounters = SnoopCounters()
    private var isBatching = false
    private var needsSettling = false
    /// Routers that come and go are told of at a limited rate.
    private var lastRouterEvent: Instant?
    var querierRoles: [SegmentKey: Bool] = [:]

    public init(
        _ configuration: SnoopingConfiguration, plan: ForwardingPlan, version: UInt64,
        random: inout some RandomNumberGenerator, at now: Instant
    ) {
        self.configuration = configuration
        self.plan = plan
        groups = GroupTable(configuration.groups)
        routers = RouterPorts(
            ports: configuration.ports, configured: configuration.routerPorts, disabled: configuration.routerlessPorts)
        interests = InterestStore(peers: configuration.peers, limit: configuration.interestLimit)
        rights = RightsBook(peers: configuration.peers)
        book = FactBook(version: version)
        self.random = SeededRandom(seed: random.next())
        reportBuckets = (0..<configuration.ports).map { _ in ReportBucket() }
        var statics: [GroupKey: Wish] = [:]
        for fixed in configuration.statics {
            let wish = fixed.source.map { Wish(.include, [$0]) } ?? .everything
            statics[fixed.key] = statics[fixed.key].map { $0.union(wish) } ?? wish
        }
        self.statics = statics
        guard configuration.isEnabled else {
            for family in IPFamily.allCases { set(.routers(nil, family), .routers([], wantsEverything: true)) }
            compileDefaults()
            self.plan.publish()
            return
        }
        if configuration.floodsUnregistered { set(.unregistered, .unregistered) }
        for family in IPFamily.allCases {
            if configuration.routerSites == .all && !configuration.routerPorts.isEmpty {
                set(.routers(nil, family), .routers(.configured, wantsEverything: true))
            }
            addSegment(SegmentKey(vlan: .untagged, family: family), now)
        }
        for key in statics.keys.sorted() {
            addSegment(SegmentKey(vlan: key.vlan, family: key.family), now)
            noteWish(of: key)
            noteStale(key)
        }
        compileDefaults()
        settle(now)
    }

    // MARK: Driving

    public var nextTimeout: Instant {
        guard configuration.isEnabled else { return .distantFuture }
        var next = min(groups.nextTimeout, routers.nextTimeout, room.reconsiderAt)
        for segment in segments.values { next = min(next, segment.querier.nextTimeout, segment.proxy.nextTimeout) }
        return next
    }

    public mutating func handleTimeout(at now: Instant) {
        guard configuration.isEnabled else { return }
        groups.handleTimeout(at: now)
        routers.handleTimeout(at: now)
        handleRefusalTimeout(now)
        for key in segmentKeys {
            segments[key]?.querier.handleTimeout(at: now)
            segments[key]?.proxy.handleTimeout(at: now)
        }
        settle(now)
    }

    /// Leaves a frame for LAN ports.
    mutating func send(_ bytes: [UInt8], to ports: PortSet) {
        if ports.isEmpty { return }
        if frames.count - nextFrame >= Self.frameLimit {
            droppedFrames &+= 1
            return
        }
        frames.append(SnooperFrame(bytes, to: ports))
    }

    /// A frame to put on LAN ports.
    public mutating func pollFrame() -> SnooperFrame? {
        guard nextFrame < frames.count else {
            frames.removeAll(keepingCapacity: true)
            nextFrame = 0
            return nil
        }
        defer { nextFrame += 1 }
        return frames[nextFrame]
    }

    public mutating func pollEvent() -> SnoopEvent? { events.isEmpty ? nil : events.removeFirst() }

    /// Own facts that have changed; whoever feeds peers takes them all.
    public mutating func takeChangedFacts() -> [FactKey] {
        defer { changedFacts.removeAll() }
        return changedFacts
    }

    /// Everything that was ignored, refused, or could not be kept.
    public var counters: SnoopCounters {
        var sum = ownCounters
        sum.add(groups.counters)
        sum.add(routers.counters)
        sum.add(interests.counters)
        return sum
    }

    // MARK: Segments

    func context(_ key: SegmentKey, at now: Instant) -> MembershipContext {
        guard let querier = segments[key]?.querier else {
            return MembershipContext(isQuerier: false, knowsAll: false, timing: configuration[key.family].timing)
        }
        // The first version has no questions about one group: nobody is asked, and no timer lowered.
        return MembershipContext(
            isQuerier: querier.isQuerier && querier.generation > .first, knowsAll: querier.knowsAll(at: now),
            timing: querier.timing)
    }

    // MARK: Ports and sites that come and go

    /// A port's device came up: its hosts are asked at once (rule 7). Down: what was known of them goes.
    public mutating func handlePort(_ port: PortIndex, isUp: Bool, at now: Instant) {
        guard configuration.isEnabled else { return }
        if isUp {
            for key in segmentKeys { segments[key]?.querier.requestQuery(at: now) }
        } else {
            groups.handlePortDown(port, at: now)
            routers.handlePortDown(port, at: now)
        }
        settle(now)
    }

    /// A lane could not hand over all messages of a port: every group counts as wanted there until the next query cycle has
    /// shown who wants what (rule 29).
    public mutating func handleOverflow(on port: PortIndex, at now: Instant) {
        guard configuration.isEnabled else { return }
        count(.queueFull, at: now)
        for key in segmentKeys { groups.overflow(vlan: key.vlan, family: key.family, port: port, context(key, at: now), at: now) }
        settle(now)
    }

    // MARK: What others tell

    public mutating func handleFacts(_ facts: [Fact], from peer: PeerIndex, at now: Instant) {
        for fact in facts { interests.handleFact(fact, from: peer) }
        settle(now)
    }

    public mutating func handleStreamBegan(by peer: PeerIndex) { interests.handleStreamBegan(by: peer) }

    public mutating func handleAllTold(by peer: PeerIndex, at now: Instant) {
        interests.handleAllTold(by: peer)
        settle(now)
    }

    public mutating func handlePeerDown(_ peer: PeerIndex, at now: Instant) {
        interests.handlePeerDown(peer)
        settle(now)
    }

    // MARK: Settling

    /// Takes back what lanes have gone on from since the forwarding table last changed.
    public mutating func reclaim() {
        if plan.waitsForLane { plan.reclaim() }
    }

    /// Several events follow: what comes of them is worked out once, in `endBatch`.
    public mutating func beginBatch() { isBatching = true }

    public mutating func endBatch(at now: Instant) {
        isBatching = false
        if needsSettling { settle(now) }
    }

    /// Carries every change to where it matters: facts, forwarding, proxies, frames. Called at the end of each event.
    mutating func settle(_ now: Instant) {
        needsSettling = isBatching
        if isBatching { return }
        guard configuration.isEnabled else {
            if interests.pollDefaultsChange() || !interests.takeChanges().isEmpty { compileDefaults() }
            return plan.publish()
        }
        while let query = groups.pollQuery() { sendSpecific(query, now) }
        while let (vlan, family) = routers.pollChange() { handleRouterChange(SegmentKey(vlan: vlan, family: family), now) }
        if interests.pollDefaultsChange() { compileDefaults() }
        for key in interests.takeChanges() {
            noteRemoteWish(key, now)
            noteStale(key)
        }
        while let key = groups.pollChange() {
            noteWish(of: key)
            if key.group.isUnspecified { compileVLAN(key.vlan, key.family) } else { noteStale(key) }
        }
        for key in segmentKeys { driveSegment(key, now) }
        for key in stale { compile(key) }
        stale.removeAll(keepingCapacity: true)
        isStale.removeAll(keepingCapacity: true)
        plan.publish()
        noteLimits(now)
    }

    private mutating func driveSegment(_ key: SegmentKey, _ now: Instant) {
        while let (query, source) = segments[key]?.querier.pollQuery() {
            sendGeneral(query, source, key)
            // Routers that listen to our queries forget what nobody repeats (RFC 4605 section 4.1).
            segments[key]?.proxy.handleQuery(query, at: now)
        }
        while let event = segments[key]?.querier.pollEvent() { events.append(.querier(key.vlan, key.family, event)) }
        if let role = segments[key]?.querier.isQuerier, querierRoles[key] != role {
            querierRoles[key] = role
            groups.handleQuerierChange(vlan: key.vlan, family: key.family, isQuerier: role)
        }
        while let records = segments[key]?.proxy.pollRecords() { sendReports(records, key) }
    }

    mutating func noteStale(_ key: GroupKey) {
        if isStale.insert(key).inserted { stale.append(key) }
    }

    mutating func set(_ key: FactKey, _ value: FactValue?) {
        if book.set(key, value) { changedFacts.append(key) }
    }

    /// A router port came, went, or changed its kind.
    private mutating func handleRouterChange(_ key: SegmentKey, _ now: Instant) {
        let ports = routers.ports(key.vlan, key.family)
        let kinds = routers.kinds(key.vlan, key.family)
        let everything: Bool =
            switch configuration.routerSites {
            case .pim: !kinds.isDisjoint(with: [.pim, .discovery])
            case .all: !kinds.isEmpty
            case .none: false
            }
        set(.routers(key.vlan, key.family), kinds.isEmpty ? nil : .routers(kinds, wantsEverything: everything))
        segments[key]?.proxy.setActive(!ports.isEmpty, at: now)
        if lastRouterEvent.map({ now - $0 >= .seconds(10) }) ?? true {
            lastRouterEvent = now
            events.append(.routerPort(key.vlan, key.family, ports))
        }
        compileVLAN(key.vlan, key.family)
    }

    // MARK: Counting

    /// Counts, and says so at a limited rate where an operator should know.
    mutating func count(_ counter: SnoopCounter, _ amount: Int = 1, at now: Instant) {
        if amount > 0 { ownCounters.add(counter, amount) }
    }

    private mutating func noteLimits(_ now: Instant) {
        let counters = counters
        guard counters != lastCounters else { return }
        for counter in SnoopCounter.allCases where counter.rule == 29 && counters[counter] > lastCounters[counter] {
            if let last = limiters[counter], now - last.since < .seconds(60) {
                limiters[counter]?.suppressed += 1
            } else {
                events.append(.limit(counter, suppressed: limiters[counter]?.suppressed ?? 0))
                limiters[counter] = (now, 0)
            }
        }
        lastCounters = counters
    }

    /// True while the port may still bring as many records this second. The whole report counts at once: what could be taken of
    /// one that goes beyond the limit is part of what is forwarded then anyway.
    mutating func admit(_ report: MembershipReport, on port: PortIndex, at now: Instant) -> Bool {
        let ignored = report.ignored
        let records = report.records.count + ignored.unknownKind + ignored.notAGroup + ignored.unsnooped
        return reportBuckets[port.index].admit(max(records, 1), limit: configuration.reportLimit, at: now)
    }
}

/// Group records of one port in one second.
struct ReportBucket: Sendable {
    private var began = Instant.zero
    private var count = 0

    mutating func admit(_ records: Int, limit: Int, at now: Instant) -> Bool {
        if now - began >= .seconds(1) || count == 0 {
            began = now
            count = 0
        }
        count += records
        return count <= limit
    }
}
