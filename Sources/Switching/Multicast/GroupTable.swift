// The group table: what the hosts on this gateway's LANs want, per VLAN, port and group, for IGMP and MLD alike. It is the
// router side of RFC 9776 sections 6.4 to 6.6 and 7.3 (RFC 9777 sections 7.4 to 7.6 and 8.3 say the same of MLD).
//
// What it is. One `GroupEntry` per (VLAN, port, group), fed by reports and the clock. It says what each port wants (`wish`),
// tells when that changes (`pollChange`), and asks a port's hosts when the last of them may have left (`pollQuery`).
//
// What complicates it.
// - Every membership times out, never depending on a leave (rule 9): an entry has a timer for itself and one per source.
//   Whatever is due at `now` runs out before a call does anything else, so that the state is a function of what was heard and
//   when, and not of how often `handleTimeout` was called.
// - Hosts of three generations share a LAN, and a group falls back to the oldest (rule 22).
// - A gateway that knows every host need not ask (rule 27), one that does not must (rule 21), and must never mistake the
//   one situation for the other.
// - Anyone on a LAN can join anything. So there are limits, and past each of them *more* is forwarded rather than less
//   (rule 29): an entry with too many sources wants all of them; a group that finds no room makes its port want all groups,
//   by the *wildcard*, an entry for 0.0.0.0 or ::, outside the limits; a host that finds no room is not known, so leaves ask.
//   Each of these heals by a timer.
//
//     index: (VLAN, group) -> place       pool of entries, chained by ascending port
//        (10, 239.1.1.1) ------------> [ port 0 | next ] --> [ port 3 | -1 ]
//
//     deadlines: min-heap of (time, place). An entry's element may be too early, since timers are refreshed far more often
//     than they run out; it is put right when it comes to the top. It is never too late.
//
// A report costs O(records · (log entries + sources + log hosts)), and a change of a group's hosts at most O(hosts).

import Basics
import HeapModule
import Wire

public struct GroupTableConfiguration: Hashable, Sendable {
    /// LAN ports; reports of others are ignored.
    public var ports: Int
    /// The SSM range (rule 24), of both families.
    public var ssm: [IPPrefix]
    /// Entries of all VLANs, ports and families. Past it a port wants every group of the family on that VLAN.
    public var groupLimit: Int
    /// Sources of one entry, and of one host in it. Past it the entry is EXCLUDE{}.
    public var sourceLimit: Int
    /// Tracked hosts of all entries, and four times as many sources of theirs. Past it a host is not tracked.
    public var memberLimit: Int
    /// Ports with one host each: its leave ends the group there at once.
    public var fastLeave: PortSet
    /// Whether hosts are tracked at all (rule 27).
    public var tracking: Bool

    public init(
        ports: Int = Limits.ports, ssm: [IPPrefix] = GroupTableConfiguration.standardSSM, groupLimit: Int = 65_536,
        sourceLimit: Int = 1_024, memberLimit: Int = 262_144, fastLeave: PortSet = .none, tracking: Bool = true
    ) {
        self.ports = ports
        self.ssm = ssm
        self.groupLimit = groupLimit
        self.sourceLimit = sourceLimit
        self.memberLimit = memberLimit
        self.fastLeave = fastLeave
        self.tracking = tracking
    }

    /// Sources of all tracked hosts together.
    /// Sources of all entries together: sixteen for each that there may be. Past it an entry is EXCLUDE{}.
    var totalSourceLimit: Int { groupLimit.multipliedReportingOverflow(by: 16).overflow ? .max : groupLimit * 16 }
    var memberSourceLimit: Int { memberLimit.multipliedReportingOverflow(by: 4).overflow ? .max : memberLimit * 4 }

    /// 232.0.0.0/8, and ff3x::/32 for every scope x (RFC 4607 section 1).
    public static let standardSSM: [IPPrefix] =
        ([IPPrefix(IPAddress(ipv4: 0xE800_0000), length: 8)]
        + (0..<16).map { IPPrefix(IPAddress(high: 0xFF30_0000_0000_0000 | UInt64($0) << 48, low: 0), length: 32) })
        .compactMap { $0 }
}

/// What the VLAN and family of a message are like when it comes.
public struct MembershipContext: Hashable, Sendable {
    /// We are the querier: only he asks, and lowers timers for it.
    public var isQuerier: Bool
    /// A whole query cycle has been heard, so that every host has reported since.
    public var knowsAll: Bool
    public var timing: MembershipTiming

    public init(isQuerier: Bool, knowsAll: Bool, timing: MembershipTiming) {
        self.isQuerier = isQuerier
        self.knowsAll = knowsAll
        self.timing = timing
    }
}

public struct GroupTable: Sendable {
    struct Deadline: Comparable, Sendable {
        var at: Instant
        var place: Int32

        static func < (a: Deadline, b: Deadline) -> Bool { (a.at, a.place) < (b.at, b.place) }
    }

    public let configuration: GroupTableConfiguration
    public internal(set) var counters = SnoopCounters()
    /// Entries, without wildcards.
    public internal(set) var entryCount = 0
    /// Sources of all entries, X and Y.
    public internal(set) var sourceCount = 0
    /// Tracked hosts of all entries.
    public internal(set) var memberCount = 0

    /// Sources kept for tracked hosts.
    var memberSourceCount = 0
    /// The pool. What stands in a free place means nothing.
    var entries: [GroupEntry] = []
    var isOccupied: [Bool] = []
    var free: [Int32] = []
    /// The place of the entry on the lowest port.
    var index: [GroupKey: Int32] = [:]
    var deadlines = Heap<Deadline>()
    /// For each place the time of its element in `deadlines` that counts; `distantFuture`: it has none.
    var scheduled: [Instant] = []
    /// The latest time of any call. Everything due then has run out.
    var clock = Instant.zero
    var queries = ArrayQueue<SpecificQuery>()
    var changes = ArrayQueue<GroupKey>()
    /// Those in `changes`.
    var changed: Set<GroupKey> = []

    public init(_ configuration: GroupTableConfiguration) {
        self.configuration = configuration
    }

    // MARK: In

    /// A report or a leave of a host. Older generations' stand in it as the records they mean (RFC 9776 section 7.3.2).
    public mutating func handleReport(
        _ report: MembershipReport, from host: HostIdentity, on port: PortIndex, vlan: VLAN, _ context: MembershipContext,
        at now: Instant
    ) {
        handleTimeout(at: now)
        guard port.index < configuration.ports, port.index < Limits.ports else { return }
        for record in report.records {
            handle(record, report.generation, host, port, vlan, context)
        }
        settleDeadlines()
    }

    /// A query of another querier for a group or for sources of it: with the S flag clear, timers are lowered to K10 on
    /// every port, as his are (RFC 9776 section 6.6.1). A general query changes nothing.
    public mutating func handleQuery(
        _ query: MembershipQuery, vlan: VLAN, _ context: MembershipContext, at now: Instant
    ) {
        handleTimeout(at: now)
        guard let group = query.group, !query.suppress, !group.isUnspecified else { return }
        let limit = clock + context.timing.lastMemberQueryTime
        let addresses = query.sources.ascending
        for place in places(of: GroupKey(vlan, group)) {
            let before = face(place)
            if !addresses.isEmpty {
                _ = entries[place].lower(addresses, to: limit)
            } else if case .exclude(let until) = entries[place].filter {
                entries[place].filter = .exclude(until: min(until, limit))
            }
            finish(place, before)
        }
        settleDeadlines()
    }

    /// Reports were lost, so everything is wanted on a port until K4 from `now` on: the wildcard.
    public mutating func overflow(
        vlan: VLAN, family: IPFamily, port: PortIndex, _ context: MembershipContext, at now: Instant
    ) {
        handleTimeout(at: now)
        guard port.index < configuration.ports, port.index < Limits.ports else { return }
        refreshWildcard(vlan, family, port, context)
        settleDeadlines()
    }

    /// A port is down: its hosts are forgotten. O(entries).
    public mutating func handlePortDown(_ port: PortIndex, at now: Instant) {
        handleTimeout(at: now)
        for place in entries.indices where isOccupied[place] && entries[place].port == port { remove(place) }
        settleDeadlines()
    }

    /// Queries that are under way stop when we are not the querier (any more). O(entries).
    public mutating func handleQuerierChange(vlan: VLAN, family: IPFamily, isQuerier: Bool) {
        guard !isQuerier else { return }
        for place in entries.indices
        where isOccupied[place] && entries[place].key.vlan == vlan && entries[place].key.family == family {
            entries[place].rounds = []
        }
        queries.removeAll { $0.vlan == vlan && $0.group.family == family }
        settleDeadlines()
    }

    /// Lets run out what has run out, and queries what is due.
    public mutating func handleTimeout(at now: Instant) {
        // A clock that steps back changes nothing: what has run out has.
        clock = max(clock, now)
        while let top = deadlines.min, top.at <= clock {
            _ = deadlines.popMin()
            let place = Int(top.place)
            guard scheduled[place] == top.at else { continue }
            scheduled[place] = .distantFuture
            guard isOccupied[place] else { continue }
            let before = face(place)
            entries[place].advance(to: clock, &queries.items)
            finish(place, before)
        }
        settleDeadlines()
    }

    // MARK: Out

    /// When to call `handleTimeout`; `distantFuture` when nothing runs. It may be too early where a port has many hosts.
    public var nextTimeout: Instant { deadlines.min?.at ?? .distantFuture }

    /// The next query that is due, in the order in which they became so.
    public mutating func pollQuery() -> SpecificQuery? { queries.removeFirst() }

    /// The next group of which a port's wish has changed since it was last returned, in the order of first change.
    public mutating func pollChange() -> GroupKey? {
        guard let key = changes.removeFirst() else { return nil }
        changed.remove(key)
        return key
    }

    /// What all ports together want of a group, without the wildcard, which is a group of its own.
    public func wish(of key: GroupKey) -> Wish {
        var result: Wish?
        for place in places(of: key) {
            let wish = entries[place].wish
            result = result?.union(wish) ?? wish
        }
        return result ?? .nothing
    }

    public func wish(of key: GroupKey, on port: PortIndex) -> Wish {
        place(of: key, port).map { entries[$0].wish } ?? .nothing
    }

    /// The ports with an entry of the group.
    public func ports(with key: GroupKey) -> PortSet {
        places(of: key).reduce(PortSet.none) { PortSet(rawValue: $0.rawValue | PortSet(entries[$1].port).rawValue) }
    }

    /// Every group and wildcard, ascending. O(n log n).
    public var keys: [GroupKey] { index.keys.sorted() }

    /// An entry for display; `nil` where the port has none.
    public func entry(_ key: GroupKey, on port: PortIndex) -> GroupEntryView? {
        place(of: key, port).map { GroupEntryView(entries[$0]) }
    }
}

/// First in, first out.
struct ArrayQueue<Element: Sendable>: Sendable {
    /// From `first` on; what stands before has been taken.
    var items: [Element] = []
    private var first = 0

    /// Those not taken yet.
    var waiting: ArraySlice<Element> { items[first...] }

    mutating func removeFirst() -> Element? {
        guard first < items.count else { return nil }
        let item = items[first]
        first += 1
        if first == items.count {
            items.removeAll(keepingCapacity: first <= 1_024)
            first = 0
        } else if first > 1_024 && first > items.count / 2 {
            items.removeSubrange(..<first)
            first = 0
        }
        return item
    }

    mutating func removeAll(where predicate: (Element) -> Bool) {
        items.removeSubrange(..<first)
        first = 0
        items.removeAll(where: predicate)
    }
}
