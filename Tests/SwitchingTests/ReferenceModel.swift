// The router side of IGMPv3 and MLDv2 as one would write it on a blackboard: the tables of RFC 9776 section 6.4 with their
// sets called A, B, X and Y as there, timers as the moments at which they run out, the specific queries of section 6.6.3,
// compatibility of section 7.3 for each group. RFC 9777 section 7.4 is the same in other words, so one model serves both
// families. Slow and obvious, without hosts and without limits; `GroupTable` must give the same answers.

import Basics
import Switching
import Wire

/// Where one state machine lives: a snooper has one for each port.
struct ReferencePlace: Hashable, Comparable {
    var vlan: VLAN
    var group: IPAddress
    var port: PortIndex

    var key: GroupKey { GroupKey(vlan, group) }

    static func < (a: ReferencePlace, b: ReferencePlace) -> Bool {
        (a.vlan, a.group, a.port) < (b.vlan, b.group, b.port)
    }
}

/// Sendings of a specific query that are still to come, at least one, and when the next one is due. The RFC leaves open how
/// the sendings of overlapping questions fall together; here each source is asked about K9 times, K8 apart.
struct ReferenceQuestion: Equatable {
    var left: Int
    var due: Instant
}

/// The state of one group at one place.
struct ReferenceGroup: Equatable {
    var mode: Wish.Mode = .include
    /// A in INCLUDE mode, X in EXCLUDE mode, and when each runs out.
    var timers: [IPAddress: Instant] = [:]
    /// Y in EXCLUDE mode; empty in INCLUDE mode.
    var blocked: Set<IPAddress> = []
    /// Runs in EXCLUDE mode only.
    var groupTimer: Instant?
    /// Until when hosts of the first and of the second generation are taken to be there (K11 after their last report).
    var firstUntil: Instant?
    var secondUntil: Instant?
    /// What is being asked about: the group, and sources of it.
    var groupQuestion: ReferenceQuestion?
    var sourceQuestions: [IPAddress: ReferenceQuestion] = [:]

    var running: Set<IPAddress> { Set(timers.keys) }
    var isNothing: Bool { mode == .include && timers.isEmpty }

    /// The group compatibility mode (RFC 9776 section 7.3.2).
    var compatibility: MembershipGeneration {
        if firstUntil != nil { return .first }
        return secondUntil != nil ? .second : .third
    }

    /// Whether frames from `source` are forwarded (RFC 9776 section 6.3).
    func forwards(_ source: IPAddress) -> Bool {
        mode == .include ? timers[source] != nil : !blocked.contains(source)
    }

    func wish(_ generations: Generations) -> Wish {
        Wish(mode, mode == .include ? Array(timers.keys) : Array(blocked), generations: generations)
    }

    /// When a query is due; `distantFuture` if none is.
    var nextQuery: Instant {
        var soonest = groupQuestion?.due ?? .distantFuture
        for question in sourceQuestions.values { soonest = min(soonest, question.due) }
        return soonest
    }

    /// When something happens by itself; `distantFuture` if nothing will.
    var nextEvent: Instant {
        var soonest = nextQuery
        for expiry in timers.values { soonest = min(soonest, expiry) }
        if let groupTimer { soonest = min(soonest, groupTimer) }
        if let firstUntil { soonest = min(soonest, firstUntil) }
        if let secondUntil { soonest = min(soonest, secondUntil) }
        return soonest
    }
}

struct ReferenceModel {
    let ssm: [IPPrefix]
    let timing: MembershipTiming
    private(set) var groups: [ReferencePlace: ReferenceGroup] = [:]
    /// What was sent since this was last emptied, in the order of sending.
    var sent: [SpecificQuery] = []

    init(ssm: [IPPrefix], timing: MembershipTiming) {
        self.ssm = ssm
        self.timing = timing
    }

    private var membership: Interval { timing.groupMembershipInterval }
    private var lastMember: Interval { timing.lastMemberQueryTime }

    /// `distantFuture` if nothing will happen.
    var nextEvent: Instant {
        var soonest = Instant.distantFuture
        for state in groups.values { soonest = min(soonest, state.nextEvent) }
        return soonest
    }

    /// `distantFuture` if no query is due.
    var nextQuery: Instant {
        var soonest = Instant.distantFuture
        for state in groups.values { soonest = min(soonest, state.nextQuery) }
        return soonest
    }

    func forwards(_ place: ReferencePlace, _ source: IPAddress) -> Bool { groups[place]?.forwards(source) ?? false }

    // MARK: Time

    /// Everything that is due until `now`, moment by moment.
    mutating func advance(to now: Instant) {
        while true {
            let moment = nextEvent
            if moment > now { return }
            for place in groups.keys.sorted() {
                guard var state = groups[place] else { continue }
                expire(&state, at: moment)
                if state.isNothing {
                    groups[place] = nil
                    continue
                }
                send(&state, place, at: moment)
                groups[place] = state
            }
        }
    }

    /// RFC 9776 sections 6.3, 6.5 and 7.3.2: what runs out. Rule 20.
    private func expire(_ state: inout ReferenceGroup, at now: Instant) {
        if let until = state.firstUntil, until <= now { state.firstUntil = nil }
        if let until = state.secondUntil, until <= now { state.secondUntil = nil }
        for (source, expiry) in state.timers where expiry <= now {
            remove([source], from: &state)
            if state.mode == .exclude { state.blocked.insert(source) }
        }
        if let expiry = state.groupTimer, expiry <= now {
            state.mode = .include
            state.blocked = []
            state.groupTimer = nil
            state.groupQuestion = nil
        }
    }

    // MARK: Reports

    mutating func report(
        _ report: MembershipReport, on port: PortIndex, vlan: VLAN, isQuerier: Bool, at now: Instant
    ) {
        advance(to: now)
        for record in report.records {
            let place = ReferencePlace(vlan: vlan, group: record.group, port: port)
            var state = groups[place] ?? ReferenceGroup()
            guard let (kind, sources) = translated(record, of: report.generation, &state, at: now) else {
                if groups[place] != nil { groups[place] = state }
                continue
            }
            let asks: (sources: Set<IPAddress>, group: Bool)
            if state.mode == .include {
                asks = (inInclude(&state, kind, sources, at: now), false)
            } else {
                asks = inExclude(&state, kind, sources, at: now)
            }
            if isQuerier { ask(&state, place, asks.sources, group: asks.group, at: now) }
            groups[place] = state.isNothing ? nil : state
        }
    }

    /// What a record counts as, and which older hosts it shows (rules 22 and 24); `nil` if it is ignored.
    private func translated(
        _ record: GroupRecord, of generation: MembershipGeneration, _ state: inout ReferenceGroup, at now: Instant
    ) -> (GroupRecordKind, Set<IPAddress>)? {
        let sources = Set(record.sources)
        if ssm.contains(where: { $0.contains(record.group) }) {
            if generation != .third || record.kind == .isExclude || record.kind == .toExclude { return nil }
        }
        if generation == .first { state.firstUntil = now + timing.olderHostPresent }
        if generation == .second && record.kind == .isExclude { state.secondUntil = now + timing.olderHostPresent }
        switch (state.compatibility, record.kind) {
        case (.third, _): return (record.kind, sources)
        case (_, .block): return nil
        case (_, .toExclude): return (.toExclude, [])
        case (.first, .toInclude): return nil
        default: return (record.kind, sources)
        }
    }

    /// The table's rows for INCLUDE (A). Returns the sources to ask about. Rule 18.
    private func inInclude(
        _ state: inout ReferenceGroup, _ kind: GroupRecordKind, _ b: Set<IPAddress>, at now: Instant
    ) -> Set<IPAddress> {
        let a = state.running
        switch kind {
        case .isInclude, .allow:
            // INCLUDE (A+B); (B) = GMI
            run(b, until: now + membership, in: &state)
            return []
        case .block:
            // INCLUDE (A); send Q(G, A*B)
            return a.intersection(b)
        case .toInclude:
            // INCLUDE (A+B); (B) = GMI; send Q(G, A-B)
            run(b, until: now + membership, in: &state)
            return a.subtracting(b)
        case .isExclude, .toExclude:
            // EXCLUDE (A*B, B-A); (B-A) = 0; delete (A-B); group timer = GMI; after TO_EX send Q(G, A*B)
            state.mode = .exclude
            state.blocked = b.subtracting(a)
            remove(a.subtracting(b), from: &state)
            state.groupTimer = now + membership
            return kind == .toExclude ? a.intersection(b) : []
        }
    }

    /// The table's rows for EXCLUDE (X,Y). Returns the sources to ask about, and whether to ask about the group. Rule 19.
    private func inExclude(
        _ state: inout ReferenceGroup, _ kind: GroupRecordKind, _ a: Set<IPAddress>, at now: Instant
    ) -> (Set<IPAddress>, Bool) {
        let x = state.running
        let y = state.blocked
        // It runs always in this mode.
        let groupTimer = state.groupTimer ?? now
        switch kind {
        case .isInclude, .allow:
            // EXCLUDE (X+A, Y-A); (A) = GMI
            run(a, until: now + membership, in: &state)
            state.blocked = y.subtracting(a)
            return ([], false)
        case .toInclude:
            // EXCLUDE (X+A, Y-A); (A) = GMI; send Q(G, X-A); send Q(G)
            run(a, until: now + membership, in: &state)
            state.blocked = y.subtracting(a)
            return (x.subtracting(a), true)
        case .block:
            // EXCLUDE (X+(A-Y), Y); (A-X-Y) = group timer; send Q(G, A-Y)
            run(a.subtracting(x).subtracting(y), until: groupTimer, in: &state)
            return (a.subtracting(y), false)
        case .isExclude, .toExclude:
            // EXCLUDE (A-Y, Y*A); (A-X-Y) = GMI after IS_EX, = group timer after TO_EX; delete (X-A); delete (Y-A);
            // group timer = GMI; after TO_EX send Q(G, A-Y)
            let until = kind == .isExclude ? now + membership : groupTimer
            run(a.subtracting(x).subtracting(y), until: until, in: &state)
            remove(x.subtracting(a), from: &state)
            state.blocked = y.intersection(a)
            state.groupTimer = now + membership
            return (kind == .toExclude ? a.subtracting(y) : [], false)
        }
    }

    private func run(_ sources: Set<IPAddress>, until expiry: Instant, in state: inout ReferenceGroup) {
        for source in sources { state.timers[source] = expiry }
    }

    /// A source whose record goes is asked about no more.
    private func remove(_ sources: Set<IPAddress>, from state: inout ReferenceGroup) {
        for source in sources {
            state.timers[source] = nil
            state.sourceQuestions[source] = nil
        }
    }

    // MARK: Specific queries, rule 21

    /// RFC 9776 sections 6.6.3.1 and 6.6.3.2: timers are lowered, and the first query goes at once.
    private mutating func ask(
        _ state: inout ReferenceGroup, _ place: ReferencePlace, _ sources: Set<IPAddress>, group: Bool, at now: Instant
    ) {
        let question = ReferenceQuestion(left: timing.lastMemberQueryCount, due: now)
        for source in sources {
            guard let expiry = state.timers[source], expiry > now + lastMember else { continue }
            state.timers[source] = now + lastMember
            state.sourceQuestions[source] = question
        }
        if group {
            lowerGroupTimer(&state, at: now)
            // One that is under way absorbs this one.
            if state.groupQuestion == nil { state.groupQuestion = question }
        }
        send(&state, place, at: now)
    }

    private func lowerGroupTimer(_ state: inout ReferenceGroup, at now: Instant) {
        if let expiry = state.groupTimer { state.groupTimer = min(expiry, now + lastMember) }
    }

    /// Sends what is due. Sources go in two queries, by whether their timers were raised meanwhile; that of the raised ones
    /// is left out beside a group query.
    private mutating func send(_ state: inout ReferenceGroup, _ place: ReferencePlace, at now: Instant) {
        let limit = now + lastMember
        var raised: [IPAddress] = []
        var low: [IPAddress] = []
        for (source, question) in state.sourceQuestions where question.due <= now {
            let expiry = state.timers[source] ?? now
            if expiry > limit { raised.append(source) } else { low.append(source) }
            state.sourceQuestions[source] = next(question, at: now)
        }
        var asksGroup = false
        if let question = state.groupQuestion, question.due <= now {
            asksGroup = true
            state.groupQuestion = next(question, at: now)
        }
        func query(_ sources: [IPAddress], suppress: Bool) -> SpecificQuery {
            SpecificQuery(
                port: place.port, vlan: place.vlan, group: place.group, sources: sources.sorted(), suppress: suppress)
        }
        if !raised.isEmpty && !asksGroup { sent.append(query(raised, suppress: true)) }
        if !low.isEmpty { sent.append(query(low, suppress: false)) }
        if asksGroup { sent.append(query([], suppress: (state.groupTimer ?? now) > limit)) }
    }

    private func next(_ question: ReferenceQuestion, at now: Instant) -> ReferenceQuestion? {
        if question.left <= 1 { return nil }
        return ReferenceQuestion(left: question.left - 1, due: now + timing.lastMemberQueryInterval)
    }

    /// Another router has become the querier: what is under way is asked no more.
    mutating func stopAsking(vlan: VLAN) {
        for place in groups.keys where place.vlan == vlan {
            groups[place]?.groupQuestion = nil
            groups[place]?.sourceQuestions = [:]
        }
    }

    /// Another querier's specific query (RFC 9776 section 6.6.1): without the S flag, timers are lowered on every port.
    mutating func query(_ query: MembershipQuery, vlan: VLAN, at now: Instant) {
        advance(to: now)
        guard let group = query.group, !query.suppress else { return }
        for place in groups.keys where place.vlan == vlan && place.group == group {
            guard var state = groups[place] else { continue }
            if query.sources.isEmpty { lowerGroupTimer(&state, at: now) }
            for source in query.sources {
                if let expiry = state.timers[source] { state.timers[source] = min(expiry, now + lastMember) }
            }
            groups[place] = state
        }
    }

    mutating func portDown(_ port: PortIndex, at now: Instant) {
        advance(to: now)
        for place in groups.keys where place.port == port { groups[place] = nil }
    }
}
