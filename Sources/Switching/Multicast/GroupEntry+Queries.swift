// The specific queries of one entry (rule 21, RFC 9776 section 6.6.3): when a member may have been the last one, its LAN is
// asked K9 times, K8 apart, and the timers are lowered to K10, so that without an answer the entry runs out with the last
// chance to answer.
//
// What is asked in one go is a round, with a schedule of its own. A source is in one round at most: when it is asked for
// anew it moves to the new one. An answer does not end a round: the rest of it goes out with the S flag, which tells other
// routers that they need not lower their timers.

import Basics

/// A query to one port, for a group or for some of its sources.
public struct SpecificQuery: Hashable, Sendable {
    public var port: PortIndex
    public var vlan: VLAN
    public var group: IPAddress
    /// Ascending; empty: for the whole group.
    public var sources: [IPAddress]
    /// The S flag: timers are not to be lowered for it.
    public var suppress: Bool

    public init(port: PortIndex, vlan: VLAN, group: IPAddress, sources: [IPAddress] = [], suppress: Bool = false) {
        self.port = port
        self.vlan = vlan
        self.group = group
        self.sources = sources
        self.suppress = suppress
    }
}

/// What is still to be asked.
struct QueryRound: Hashable, Sendable {
    var due: Instant
    /// Queries to come, at least 1.
    var left: Int
    /// K8.
    var interval: Interval
    /// K10.
    var time: Interval
    /// Ascending; empty: the whole group.
    var sources: [IPAddress]
}

extension GroupEntry {
    /// Asks the port: lowers timers to K10, queries at once, and notes the rounds to come.
    mutating func ask(_ question: Question, _ timing: MembershipTiming, at now: Instant, _ queries: inout [SpecificQuery]) {
        if !question.sources.isEmpty { askSources(question.sources, timing, at: now, &queries) }
        if question.group { askGroup(timing, at: now, &queries) }
    }

    private mutating func askGroup(_ timing: MembershipTiming, at now: Instant, _ queries: inout [SpecificQuery]) {
        guard case .exclude(let until) = filter else { return }
        filter = .exclude(until: min(until, now + timing.lastMemberQueryTime))
        // One that is under way asks for this one too, within K8.
        if rounds.contains(where: { $0.sources.isEmpty }) { return }
        queries.append(SpecificQuery(port: port, vlan: key.vlan, group: key.group))
        note([], timing, now)
    }

    /// Only sources with more than K10 left are asked for: the others are being asked for already, or end sooner.
    private mutating func askSources(
        _ addresses: [IPAddress], _ timing: MembershipTiming, at now: Instant, _ queries: inout [SpecificQuery]
    ) {
        let asked = lower(addresses, to: now + timing.lastMemberQueryTime)
        if asked.isEmpty { return }
        for place in rounds.indices where !rounds[place].sources.isEmpty {
            rounds[place].sources.removeAll { asked.includes($0) }
            if rounds[place].sources.isEmpty { rounds[place].left = 0 }
        }
        rounds.removeAll { $0.left == 0 }
        queries.append(SpecificQuery(port: port, vlan: key.vlan, group: key.group, sources: asked))
        note(asked, timing, now)
    }

    /// Lowers the timers of `addresses` that run beyond `limit`; returns those.
    mutating func lower(_ addresses: [IPAddress], to limit: Instant) -> [IPAddress] {
        var lowered: [IPAddress] = []
        for address in addresses {
            guard let place = sources.place(of: address), let expires = sources[place].expires, expires > limit else { continue }
            sources[place].expires = limit
            lowered.append(address)
        }
        return lowered
    }

    private mutating func note(_ asked: [IPAddress], _ timing: MembershipTiming, _ now: Instant) {
        let left = timing.lastMemberQueryCount - 1
        guard left > 0 else { return }
        let round = QueryRound(
            due: now + timing.lastMemberQueryInterval, left: left, interval: timing.lastMemberQueryInterval,
            time: timing.lastMemberQueryTime, sources: asked)
        if !asked.isEmpty,
            let place = rounds.firstIndex(where: { !$0.sources.isEmpty && $0.due == round.due && $0.left == round.left })
        {
            rounds[place].sources = (rounds[place].sources + asked).ascending
        } else {
            rounds.append(round)
        }
    }

    /// Sends what is due: the sources of all rounds as two queries at most, then the group.
    mutating func askAgain(at now: Instant, _ queries: inout [SpecificQuery]) {
        var suppressed: [IPAddress] = []
        var plain: [IPAddress] = []
        var group: QueryRound?
        for place in rounds.indices where rounds[place].due <= now {
            let round = rounds[place]
            if round.sources.isEmpty { group = round }
            for address in round.sources {
                guard let source = sources.place(of: address), let expires = sources[source].expires else { continue }
                if expires > now + round.time { suppressed.append(address) } else { plain.append(address) }
            }
            rounds[place].left -= 1
            let next = round.due + round.interval
            rounds[place].due = next > now ? next : now + round.interval
        }
        rounds.removeAll { $0.left <= 0 }
        if !suppressed.isEmpty && group == nil { query(suppressed.ascending, suppress: true, &queries) }
        if !plain.isEmpty { query(plain.ascending, suppress: false, &queries) }
        if let group, case .exclude(let until) = filter { query([], suppress: until > now + group.time, &queries) }
    }

    /// Forgets the rounds of what is not there to ask for: the group in INCLUDE, sources that went or are in Y.
    mutating func dropIdleRounds() {
        for place in rounds.indices {
            if rounds[place].sources.isEmpty {
                if filter == .include { rounds[place].left = 0 }
                continue
            }
            rounds[place].sources.removeAll { address in
                sources.place(of: address).map { sources[$0].expires == nil } ?? true
            }
            if rounds[place].sources.isEmpty { rounds[place].left = 0 }
        }
        rounds.removeAll { $0.left <= 0 }
    }

    private func query(_ sources: [IPAddress], suppress: Bool, _ queries: inout [SpecificQuery]) {
        queries.append(SpecificQuery(port: port, vlan: key.vlan, group: key.group, sources: sources, suppress: suppress))
    }
}
