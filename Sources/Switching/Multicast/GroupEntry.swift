// One group on one port of one VLAN: the filter of RFC 9776 section 6.4 with its timers, the compatibility mode of section
// 7.3, the specific queries of section 6.6.3 that are under way, and the tracked hosts. MLDv2's machine (RFC 9777 section
// 7.4) is the same, word for word, so the family appears nowhere here.
//
//                       IS_EX(B), TO_EX(B)
//     +------------+ -----------------------> +----------------+
//     | INCLUDE(A) |                          | EXCLUDE(X, Y)  |
//     +------------+ <----------------------- +----------------+
//        |            group timer runs out       |
//        v            (X stays, Y goes)          v
//      no source left: the entry goes         X forwarded, timers run; Y blocked; all others forwarded
//
// An entry never chooses whether to ask or to know: a record's transition says what the tables would query, and the table
// answers it either from the tracked hosts (`settle`) or by queries (`ask`).

import Basics
import Wire

struct GroupEntry: Sendable {
    enum Filter: Hashable, Sendable {
        /// The sources are A: every timer runs, and there is at least one.
        case include
        /// The sources are X, where the timer runs, and Y. `until` is the group timer.
        case exclude(until: Instant)

        var mode: Wish.Mode { self == .include ? .include : .exclude }
    }

    /// What a transition would query.
    struct Question: Hashable, Sendable {
        /// Q(G).
        var group = false
        /// Q(G, A); ascending.
        var sources: [IPAddress] = []

        var isEmpty: Bool { !group && sources.isEmpty }
    }

    let key: GroupKey
    let port: PortIndex
    /// The pool place of the same group's entry on the next higher port; -1: none.
    var next: Int32 = -1
    var filter = Filter.include
    var sources = SourceList()
    /// A v1 host is there until then; never set for IPv6.
    var firstUntil: Instant?
    /// A v2 or MLDv1 host is there until then.
    var secondUntil: Instant?
    var rounds: [QueryRound] = []
    var hosts = HostTracking()
    /// A host that is not among `hosts` may be a member until then.
    var untrackedUntil = Instant.zero

    init(_ key: GroupKey, _ port: PortIndex) {
        self.key = key
        self.port = port
    }

    /// True for the entry that stands for all groups of a family.
    var isWildcard: Bool { key.group.isUnspecified }

    /// INCLUDE{}: nothing to keep.
    var isNothing: Bool { filter == .include && sources.isEmpty }

    /// The compatibility mode (RFC 9776 section 7.3.2).
    var generation: MembershipGeneration { firstUntil != nil ? .first : secondUntil != nil ? .second : .third }

    /// What is known of the members' generations. Hosts that are not tracked speak the third where no timer says otherwise.
    var generations: Generations {
        var result = hosts.generations
        if firstUntil != nil { result.insert(.first) }
        if secondUntil != nil { result.insert(.second) }
        return result.isEmpty && !isWildcard ? .third : result
    }

    /// O(sources).
    var wish: Wish {
        var wish = Wish(filter.mode, generations: generations)
        wish.sources = filter == .include ? sources.addresses : sources.blocked
        return wish
    }

    /// When something runs out or is due. May be early by a host's (`HostTracking.nextExpiry`), never late. O(sources).
    var deadline: Instant {
        var result = hosts.nextExpiry
        if case .exclude(let until) = filter { result = min(result, until) }
        for source in sources { if let expires = source.expires { result = min(result, expires) } }
        for round in rounds { result = min(result, round.due) }
        if let firstUntil { result = min(result, firstUntil) }
        if let secondUntil { result = min(result, secondUntil) }
        return result
    }

    // MARK: Records (rules 18 and 19)

    /// Applies one record and says what is to be queried for it.
    ///
    /// - Parameters:
    ///   - addresses: ascending.
    ///   - membership: K4 from `now` on.
    mutating func apply(_ kind: GroupRecordKind, _ addresses: [IPAddress], until membership: Instant) -> Question {
        switch filter {
        case .include: applyInInclude(kind, addresses, membership)
        case .exclude(let group): applyInExclude(kind, addresses, membership, group)
        }
    }

    private mutating func applyInInclude(
        _ kind: GroupRecordKind, _ addresses: [IPAddress], _ membership: Instant
    ) -> Question {
        switch kind {
        case .isInclude, .allow:
            want(addresses, until: membership)
            return Question()
        case .toInclude:
            // Query A−B.
            let others = sources.addresses.filter { !addresses.includes($0) }
            want(addresses, until: membership)
            return Question(sources: others)
        case .block:
            // Query A·B.
            return Question(sources: addresses.filter { sources.place(of: $0) != nil })
        case .isExclude, .toExclude:
            // EXCLUDE(A·B, B−A); A−B goes. X keeps its timers.
            sources = sources.merged(
                with: addresses, both: { $0 }, kept: { _ in nil }, added: { TimedSource(address: $0, expires: nil) })
            filter = .exclude(until: membership)
            return kind == .toExclude ? Question(sources: sources.running) : Question()
        }
    }

    private mutating func applyInExclude(
        _ kind: GroupRecordKind, _ addresses: [IPAddress], _ membership: Instant, _ group: Instant
    ) -> Question {
        switch kind {
        case .isInclude, .allow:
            want(addresses, until: membership)
            return Question()
        case .toInclude:
            // Query X−A, and the group.
            let others = sources.running.filter { !addresses.includes($0) }
            want(addresses, until: membership)
            return Question(group: true, sources: others)
        case .isExclude, .toExclude:
            // (A−Y, Y·A): what is not in A goes. New sources get K4; those of TO_EX what the group timer had left.
            let expires = kind == .isExclude ? membership : group
            sources = sources.merged(
                with: addresses, both: { $0 }, kept: { _ in nil }, added: { TimedSource(address: $0, expires: expires) })
            filter = .exclude(until: membership)
            return kind == .toExclude ? Question(sources: sources.running) : Question()
        case .block:
            // (X+(A−Y), Y): new sources get what the group timer has left. Query A−Y.
            sources = sources.merged(
                with: addresses, both: { $0 }, kept: { $0 }, added: { TimedSource(address: $0, expires: group) })
            return Question(sources: addresses.filter { sources.place(of: $0).map { sources[$0].expires != nil } ?? false })
        }
    }

    /// A+B with (B)=K4; in EXCLUDE the same: (X+A, Y−A), (A)=K4.
    private mutating func want(_ addresses: [IPAddress], until membership: Instant) {
        sources = sources.merged(
            with: addresses,
            both: { TimedSource(address: $0.address, expires: membership) }, kept: { $0 },
            added: { TimedSource(address: $0, expires: membership) })
    }

    /// More sources than are kept: EXCLUDE{}, which forwards more. It heals when nobody refreshes the group timer (rule 29).
    mutating func overflow(until membership: Instant) {
        sources = []
        rounds.removeAll { !$0.sources.isEmpty }
        filter = .exclude(until: membership)
    }

    // MARK: Time (rule 20)

    /// Lets everything run out that has run out at `now`, then queries what is due. Which of several simultaneous timers is
    /// looked at first makes no difference.
    mutating func advance(to now: Instant, _ queries: inout [SpecificQuery]) {
        if case .exclude(let until) = filter, until <= now {
            // X stays as far as it lives, Y goes. No group query is left to send.
            filter = .include
            sources.removeAll { source in source.expires.map { $0 <= now } ?? true }
            rounds.removeAll { $0.sources.isEmpty }
        } else if sources.contains(where: { source in source.expires.map { $0 <= now } ?? false }) {
            switch filter {
            case .include: sources.removeAll { source in source.expires.map { $0 <= now } ?? true }
            case .exclude:
                for place in sources.indices {
                    if let expires = sources[place].expires, expires <= now { sources[place].expires = nil }
                }
            }
        }
        if let until = firstUntil, until <= now { firstUntil = nil }
        if let until = secondUntil, until <= now { secondUntil = nil }
        _ = hosts.advance(to: now)
        if !rounds.isEmpty { askAgain(at: now, &queries) }
    }

    // MARK: Hosts that are known (rule 27)

    /// Whether the tracked hosts are all the members there are, and each of them says what it wants.
    func isTracked(_ now: Instant) -> Bool {
        generation == .third && untrackedUntil <= now && hosts.generations.isSubset(of: .third)
    }

    /// Answers a question from the tracked hosts: what none of them wants stops at once, what one of them wants goes on.
    ///
    /// - Parameter limit: the most sources of an entry. Where the hosts want more, EXCLUDE stays until its timer runs out.
    mutating func settle(_ question: Question, limit: Int) {
        if question.group && hosts.excluding == 0 {
            let included = hosts.included()
            if included.count <= limit {
                // A source of X keeps its timer where that is the later one.
                sources = included.map { source in
                    guard let place = sources.place(of: source.address), let mine = sources[place].expires,
                        let theirs = source.expires
                    else { return source }
                    return TimedSource(address: source.address, expires: max(mine, theirs))
                }
                filter = .include
                rounds.removeAll()
                return
            }
        }
        let unwanted = hosts.unwanted(question.sources)
        if unwanted.isEmpty { return }
        let isInclude = filter == .include
        sources = sources.merged(
            with: unwanted, both: { isInclude ? nil : TimedSource(address: $0.address, expires: nil) }, kept: { $0 },
            added: { _ in nil })
    }
}
