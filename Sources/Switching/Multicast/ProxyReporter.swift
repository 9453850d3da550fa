// What other sites want, told to the multicast routers on our LAN as one IGMPv3 or MLDv2 host would tell it (rule 35; RFC 9776
// section 5 for the host's part, RFC 4605 for a proxy's). One for each VLAN and family; it speaks only while there is a
// router port, and only there. Every time at random is drawn from its own seeded generator.
//
//     a wish changes      state-change records at once, and K1 - 1 times more within 1 s of each other (section 5.1)
//     a general query     every wish as IS_IN or IS_EX, once, within its max response time (section 5.2)
//     a specific query    the group's wish, or those of the sources asked for that are wanted, likewise
//
// What complicates it. A change may come before an earlier one has been told K1 times. What is told again is then not the way
// from some older wish to the present one: a group that was joined and left within a second would come out as no change, and
// the routers, who have heard the join, would keep it for K4. So each source that changed, and the filter mode, counts its
// own reports down from K1, and each report says what is wanted of them at that moment. And a LAN can ask more than it needs:
// whatever it asks, there is one answer pending for a group, and the timers are rebuilt when most of them are stale.

import Basics
import HeapModule
import Wire

public struct ProxyReporter: Sendable {
    private enum When: Hashable, Sendable {
        case idle
        /// A deadline stands in the heap.
        case due(Instant)
        /// The group stands in `ready`, and the next poll tells it.
        case ready
    }

    /// One group that is wanted, or of which the end has still to be told.
    private struct Group: Sendable {
        var wish = Wish.nothing
        /// Reports that have yet to name the filter mode; each of them tells the whole wish.
        var modeReportsLeft = 0
        /// Sources that changed, with the reports that have yet to name each; never 0.
        var sourceReportsLeft: [IPAddress: Int] = [:]
        /// The next state-change report; idle exactly when none is left.
        var change = When.idle
        /// The answer to a query for the group.
        var answer = When.idle
        /// For which sources it was asked; empty: for the whole wish.
        var asked: [IPAddress] = []

        var isForgettable: Bool { wish.isNothing && change == .idle && answer == .idle }
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
    /// Each `due` of the table; beside them, stale ones that nobody waits for, but never at the top.
    private var deadlines = Heap<Deadline>()
    /// The answer to a general query.
    private var answerAll = When.idle
    /// Groups with something to tell, some of them twice.
    private var ready: [IPAddress] = []
    /// When something last happened.
    private var clock = Instant.zero
    /// Between two state-change reports, at most (RFC 9776 section 8.11).
    private static let unsolicitedInterval = Interval.seconds(1)
    /// Sources kept of what was asked; past them the whole wish is told.
    static let askedLimit = 256

    public init(family: IPFamily, random: SeededRandom) {
        self.family = family
        self.random = random
    }

    // MARK: In

    /// What all remote sites together want of a group; `.nothing` when none does any more. O(log groups + sources).
    public mutating func setWish(_ wish: Wish, for group: IPAddress, _ timing: MembershipTiming, at now: Instant) {
        guard group.isSnoopedGroup, group.family == family else { return }
        clock = max(clock, now)
        var entry = table[group] ?? Group()
        let old = entry.wish
        guard old.mode != wish.mode || old.sources != wish.sources else { return }
        entry.wish = wish
        guard isActive else {
            table[group] = wish.isNothing ? nil : entry
            return
        }
        let count = max(timing.robustness, 1)
        if old.mode != wish.mode {
            entry.modeReportsLeft = count
            entry.sourceReportsLeft = [:]
        } else {
            for source in wish.sources where !old.lists(source) { entry.sourceReportsLeft[source] = count }
            for source in old.sources where !wish.lists(source) { entry.sourceReportsLeft[source] = count }
        }
        entry.change = .ready
        ready.append(group)
        table[group] = entry
        settle()
    }

    /// Whether there is a router to tell. One that appears is told everything at once; without one, nothing is left to tell.
    public mutating func setActive(_ isActive: Bool, at now: Instant) {
        guard isActive != self.isActive else { return }
        clock = max(clock, now)
        self.isActive = isActive
        deadlines = Heap()
        ready.removeAll()
        table = table.filter { !$0.value.wish.isNothing }.mapValues { Group(wish: $0.wish) }
        answerAll = isActive && !table.isEmpty ? .ready : .idle
    }

    /// A query of a router's (RFC 9776 section 5.2).
    public mutating func handleQuery(_ query: MembershipQuery, at now: Instant) {
        guard isActive else { return }
        let at = now + (query.maxResponse > .zero ? delay(0..<query.maxResponse.nanoseconds) : .zero)
        // What is told of everything before that answers this query too.
        if !table.isEmpty, !comesBefore(answerAll, at) {
            if let group = query.group { ask(group, query.sources, at) } else { answerAll = .due(at) }
        }
        handleTimeout(at: now)
    }

    public mutating func handleTimeout(at now: Instant) {
        clock = max(clock, now)
        if case .due(let at) = answerAll, at <= now { answerAll = .ready }
        while let top = deadlines.min, top.at <= now {
            deadlines.removeMin()
            guard var entry = table[top.group] else { continue }
            if entry.change == .due(top.at) { entry.change = .ready }
            if entry.answer == .due(top.at) { entry.answer = .ready }
            table[top.group] = entry
            ready.append(top.group)
        }
        settle()
    }

    /// `.distantFuture` when nothing is to be waited for, `.zero` while there is something to poll.
    public var nextTimeout: Instant {
        if !ready.isEmpty || answerAll == .ready { return .zero }
        let next = deadlines.min?.at ?? .distantFuture
        if case .due(let at) = answerAll { return min(at, next) }
        return next
    }

    // MARK: Out

    /// Records for reports to the router ports, sorted by group; `nil` when there are none.
    public mutating func pollRecords() -> [GroupRecord]? {
        let tellsAll = answerAll == .ready
        if !tellsAll && ready.isEmpty { return nil }
        let groups = tellsAll ? Array(table.keys) : Array(Set(ready))
        ready.removeAll(keepingCapacity: true)
        if tellsAll { answerAll = .idle }
        var records: [GroupRecord] = []
        for group in groups.sorted() {
            guard var entry = table[group] else { continue }
            records += tell(group, &entry, isAsked: tellsAll)
            table[group] = entry.isForgettable ? nil : entry
        }
        settle()
        return records.isEmpty ? nil : records
    }

    /// What is told, sorted by group. O(n log n).
    public var groups: [(group: IPAddress, wish: Wish)] {
        table.keys.sorted().compactMap { group in
            table[group].flatMap { $0.wish.isNothing ? nil : (group, $0.wish) }
        }
    }

    // MARK: Being asked

    /// Whether it happens at `at` or sooner.
    private func comesBefore(_ when: When, _ at: Instant) -> Bool {
        switch when {
        case .idle: false
        case .due(let due): due <= at
        case .ready: true
        }
    }

    /// A query for a group, with or without sources. Groups that nobody wants are not answered for.
    private mutating func ask(_ group: IPAddress, _ sources: [IPAddress], _ at: Instant) {
        guard var entry = table[group], !entry.wish.isNothing else { return }
        // An empty list is the whole wish, and stays so.
        if sources.isEmpty {
            entry.asked = []
        } else if entry.answer == .idle || !entry.asked.isEmpty {
            let asked = Set(entry.asked).union(sources)
            entry.asked = asked.count > Self.askedLimit ? [] : asked.sorted()
        }
        if !comesBefore(entry.answer, at) {
            entry.answer = .due(at)
            deadlines.insert(Deadline(at: at, group: group))
        }
        table[group] = entry
    }

    // MARK: Telling

    /// The records of one group that are ready, or all of it if everything is told.
    private mutating func tell(_ group: IPAddress, _ entry: inout Group, isAsked: Bool) -> [GroupRecord] {
        var records: [GroupRecord] = []
        var isWhole = false
        if entry.change == .ready {
            isWhole = entry.modeReportsLeft > 0
            records = change(group, &entry)
        }
        if isAsked || entry.answer == .ready {
            // A record of the filter mode has said everything.
            if !isWhole, let record = answer(group, entry, isAsked ? [] : entry.asked) { records.append(record) }
            entry.answer = .idle
            entry.asked = []
        }
        return records
    }

    /// A state-change report's records (RFC 9776 section 5.1); the next one is drawn.
    private mutating func change(_ group: IPAddress, _ entry: inout Group) -> [GroupRecord] {
        var records: [GroupRecord] = []
        let wish = entry.wish
        if entry.modeReportsLeft > 0 {
            entry.modeReportsLeft -= 1
            records.append(GroupRecord(wish.mode == .include ? .toInclude : .toExclude, group, wish.sources))
        } else {
            let sources = entry.sourceReportsLeft.keys.sorted()
            let allowed = sources.filter { wish.wants($0) }
            let blocked = sources.filter { !wish.wants($0) }
            if !allowed.isEmpty { records.append(GroupRecord(.allow, group, allowed)) }
            if !blocked.isEmpty { records.append(GroupRecord(.block, group, blocked)) }
        }
        entry.sourceReportsLeft = entry.sourceReportsLeft.compactMapValues { $0 > 1 ? $0 - 1 : nil }
        if entry.modeReportsLeft > 0 || !entry.sourceReportsLeft.isEmpty {
            let at = clock + delay(1..<Self.unsolicitedInterval.nanoseconds + 1)
            entry.change = .due(at)
            deadlines.insert(Deadline(at: at, group: group))
        } else {
            entry.change = .idle
        }
        return records
    }

    /// The current-state record (the table of RFC 9776 section 5.2); `nil` when there is nothing to say.
    private func answer(_ group: IPAddress, _ entry: Group, _ asked: [IPAddress]) -> GroupRecord? {
        if entry.wish.isNothing { return nil }
        guard !asked.isEmpty else {
            return GroupRecord(entry.wish.mode == .include ? .isInclude : .isExclude, group, entry.wish.sources)
        }
        let wanted = asked.filter { entry.wish.wants($0) }
        return wanted.isEmpty ? nil : GroupRecord(.isInclude, group, wanted)
    }

    private mutating func delay(_ nanoseconds: Range<Int64>) -> Interval {
        Interval(nanoseconds: Int64.random(in: nanoseconds, using: &random))
    }

    // MARK: Deadlines

    private func isLive(_ deadline: Deadline) -> Bool {
        guard let entry = table[deadline.group] else { return false }
        return entry.change == .due(deadline.at) || entry.answer == .due(deadline.at)
    }

    /// Keeps the top alive, and the stale ones few: there are at most two live ones for each group.
    private mutating func settle() {
        while let top = deadlines.min, !isLive(top) { deadlines.removeMin() }
        guard deadlines.count > 4 * table.count + 64 else { return }
        deadlines = Heap(deadlines.unordered.filter { isLive($0) })
    }

    /// Debug and tests: every sentence about the fields above.
    func checkInvariants() {
        precondition(deadlines.count <= 4 * table.count + 64)
        if let top = deadlines.min { precondition(isLive(top)) }
        let armed = Set(deadlines.unordered.map { "\($0.at.nanoseconds) \($0.group)" })
        for (group, entry) in table {
            precondition(!entry.isForgettable && entry.asked.count <= Self.askedLimit)
            precondition((entry.modeReportsLeft > 0 || !entry.sourceReportsLeft.isEmpty) == (entry.change != .idle))
            precondition(isActive || (entry.change == .idle && entry.answer == .idle))
            for when in [entry.change, entry.answer] {
                if case .due(let at) = when { precondition(armed.contains("\(at.nanoseconds) \(group)")) }
                if when == .ready { precondition(ready.contains(group)) }
            }
        }
    }
}
