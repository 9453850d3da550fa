// What other sites want, told to the multicast routers on our LAN as one IGMPv3 or MLDv2 host would tell it (rule 35; RFC 9776
// section 5 for the host's part, RFC 4605 for a proxy's). One for each VLAN and family; it speaks only while there is a
// router port, and only there. Every time at random is drawn from its own seeded generator.
//
//     a wish changes      state-change records at once, and K1 - 1 times more within 1 s of each other (section 5.1)
//     a general query     every wish as IS_IN or IS_EX, once, within its max response time (section 5.2)
//     a specific query    the group's wish, or those of the sources asked for that are wanted, likewise

import Basics
import HeapModule
import Wire

public struct ProxyReporter: Sendable {
    /// One group: what was told last, and what has still to be told.
    private struct Group: Sendable {
        var wish: Wish
        /// The wish that routers knew before the changes that are being told.
        var toldFrom: Wish
        /// State-change records still to send, and when.
        var changesLeft = 0
        var nextChange = Instant.distantFuture
        /// When a query for the group is answered, and for which sources; empty: the whole wish.
        var answerAt = Instant.distantFuture
        var answerSources: [IPAddress] = []

        var next: Instant { min(nextChange, answerAt) }
    }

    private struct Deadline: Comparable, Sendable {
        var at: Instant
        var group: IPAddress
        static func < (a: Deadline, b: Deadline) -> Bool { (a.at, a.group) < (b.at, b.group) }
    }

    public let family: IPFamily
    private var random: SeededRandom
    private var isActive = false
    private var table: [IPAddress: Group] = [:]
    private var deadlines = Heap<Deadline>()
    /// When a general query is answered.
    private var answerAllAt = Instant.distantFuture
    private var records: [GroupRecord] = []
    /// Between two state-change records, at most (RFC 9776 section 8.11).
    private static let unsolicitedInterval = Interval.seconds(1)
    /// Sources kept of what was asked; past them the whole wish is told.
    private static let askedLimit = 256

    public init(family: IPFamily, random: SeededRandom) {
        self.family = family
        self.random = random
    }

    // MARK: In

    /// What all remote sites together want of a group; `.nothing` when none does any more.
    public mutating func setWish(_ wish: Wish, for group: IPAddress, _ timing: MembershipTiming, at now: Instant) {
        guard group.isSnoopedGroup, group.family == family else { return }
        var entry = table[group] ?? Group(wish: .nothing, toldFrom: .nothing)
        guard !isSame(entry.wish, wish) else { return }
        // While earlier changes are still being told, routers may know what was before them: the records say the way from there.
        if entry.changesLeft == 0 { entry.toldFrom = entry.wish }
        entry.wish = wish
        guard isActive else {
            table[group] = wish.isNothing ? nil : entry
            return
        }
        entry.changesLeft = max(timing.robustness, 1)
        entry.nextChange = now
        table[group] = entry
        deadlines.insert(Deadline(at: now, group: group))
        handleTimeout(at: now)
    }

    private func isSame(_ a: Wish, _ b: Wish) -> Bool { a.mode == b.mode && a.sources == b.sources }

    /// Whether there is a router to tell. One that appears is told everything at once.
    public mutating func setActive(_ isActive: Bool, at now: Instant) {
        guard isActive != self.isActive else { return }
        self.isActive = isActive
        deadlines = Heap()
        records.removeAll()
        for group in table.keys.sorted() {
            table[group]?.changesLeft = 0
            table[group]?.nextChange = .distantFuture
            table[group]?.answerAt = .distantFuture
            table[group]?.answerSources = []
            if table[group]?.wish.isNothing ?? true { table[group] = nil }
        }
        answerAllAt = isActive && !table.isEmpty ? now : .distantFuture
        handleTimeout(at: now)
    }

    /// A query of a router's (RFC 9776 section 5.2).
    public mutating func handleQuery(_ query: MembershipQuery, at now: Instant) {
        guard isActive else { return }
        let at = now + delay(below: query.maxResponse)
        guard let group = query.group else {
            // One that is due earlier anyway answers this one too.
            if !table.isEmpty { answerAllAt = min(answerAllAt, at) }
            return
        }
        guard answerAllAt > at, var entry = table[group], !entry.wish.isNothing else { return }
        let isPending = entry.answerAt != .distantFuture
        if query.sources.isEmpty {
            entry.answerSources = []
        } else if !isPending {
            entry.answerSources = Array(Set(query.sources)).sorted()
        } else if !entry.answerSources.isEmpty {
            entry.answerSources = Array(Set(entry.answerSources + query.sources)).sorted()
            if entry.answerSources.count > Self.askedLimit { entry.answerSources = [] }
        }
        let isEarlier = at < entry.answerAt
        entry.answerAt = min(entry.answerAt, at)
        table[group] = entry
        if isEarlier { deadlines.insert(Deadline(at: at, group: group)) }
    }

    public mutating func handleTimeout(at now: Instant) {
        if answerAllAt <= now {
            answerAllAt = .distantFuture
            answerAll()
        }
        while let top = deadlines.min, top.at <= now {
            _ = deadlines.popMin()
            guard let entry = table[top.group] else { continue }
            guard entry.next == top.at else {
                // Something else of the group is due later, and may have no element of its own.
                if entry.next > top.at && entry.next != .distantFuture {
                    deadlines.insert(Deadline(at: entry.next, group: top.group))
                }
                continue
            }
            if entry.answerAt <= now { answer(top.group) }
            if entry.nextChange <= now { tellChange(top.group, now) }
            if let next = table[top.group]?.next, next != .distantFuture {
                deadlines.insert(Deadline(at: next, group: top.group))
            }
        }
    }

    public var nextTimeout: Instant {
        records.isEmpty ? min(answerAllAt, deadlines.min?.at ?? .distantFuture) : .zero
    }

    // MARK: Out

    /// Records for reports to the router ports; `nil` when there are none.
    public mutating func pollRecords() -> [GroupRecord]? {
        guard !records.isEmpty else { return nil }
        defer { records.removeAll() }
        return records
    }

    /// What is told, sorted by group.
    public var groups: [(group: IPAddress, wish: Wish)] {
        table.keys.sorted().compactMap { group in
            table[group].flatMap { $0.wish.isNothing ? nil : (group, $0.wish) }
        }
    }

    // MARK: Below

    private mutating func delay(below limit: Interval) -> Interval {
        limit <= .zero ? .zero : Interval(nanoseconds: Int64.random(in: 0..<limit.nanoseconds, using: &random))
    }

    private mutating func answerAll() {
        for group in table.keys.sorted() {
            guard let entry = table[group], !entry.wish.isNothing else { continue }
            records.append(GroupRecord(entry.wish.mode == .include ? .isInclude : .isExclude, group, entry.wish.sources))
            table[group]?.answerAt = .distantFuture
            table[group]?.answerSources = []
        }
    }

    /// The table of RFC 9776 section 5.2.
    private mutating func answer(_ group: IPAddress) {
        guard let entry = table[group] else { return }
        table[group]?.answerAt = .distantFuture
        table[group]?.answerSources = []
        if entry.wish.isNothing { return }
        guard !entry.answerSources.isEmpty else {
            records.append(GroupRecord(entry.wish.mode == .include ? .isInclude : .isExclude, group, entry.wish.sources))
            return
        }
        let wanted = entry.answerSources.filter { entry.wish.wants($0) }
        if !wanted.isEmpty { records.append(GroupRecord(.isInclude, group, wanted)) }
    }

    private mutating func tellChange(_ group: IPAddress, _ now: Instant) {
        guard var entry = table[group] else { return }
        entry.changesLeft -= 1
        records += Self.change(group, from: entry.toldFrom, to: entry.wish)
        entry.nextChange = entry.changesLeft > 0 ? now + delay(below: Self.unsolicitedInterval) + .nanoseconds(1) : .distantFuture
        if entry.changesLeft == 0 && entry.wish.isNothing {
            table[group] = nil
            return
        }
        table[group] = entry
    }

    /// The way from one wish to another (RFC 9776 section 5.1).
    private static func change(_ group: IPAddress, from old: Wish, to new: Wish) -> [GroupRecord] {
        switch (old.mode, new.mode) {
        case (.include, .exclude): return [GroupRecord(.toExclude, group, new.sources)]
        case (.exclude, .include): return [GroupRecord(.toInclude, group, new.sources)]
        case (.include, .include):
            return lists(
                group, allow: new.sources.filter { !old.lists($0) }, block: old.sources.filter { !new.lists($0) })
        case (.exclude, .exclude):
            return lists(
                group, allow: old.sources.filter { !new.lists($0) }, block: new.sources.filter { !old.lists($0) })
        }
    }

    private static func lists(_ group: IPAddress, allow: [IPAddress], block: [IPAddress]) -> [GroupRecord] {
        var records: [GroupRecord] = []
        if !allow.isEmpty { records.append(GroupRecord(.allow, group, allow)) }
        if !block.isEmpty { records.append(GroupRecord(.block, group, block)) }
        return records
    }
}
