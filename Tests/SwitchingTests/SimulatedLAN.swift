// A LAN for the property tests of `GroupTable`: hosts that do what RFC 9776 section 5 says, each with a filter of its own that
// is known to the test, and strangers that say anything. What is forwarded is held against the hosts' filters (rule 16).

import Basics
import Switching
import Wire

/// Hosts that report truthfully, lose nothing and answer what is asked, and strangers that do none of that, before one table.
struct SimulatedLAN {
    struct Limits {
        var groups: Int
        var sources: Int
        var members: Int
    }

    private struct Host {
        var identity: HostIdentity
        var vlan: VLAN
        var port: PortIndex
        var generation: MembershipGeneration
        /// RFC 9776 section 3.2: by group; INCLUDE{} where there is none.
        var filters: [IPAddress: Wish] = [:]
        /// When it tells its state unasked, which stands for its answers to general queries.
        var nextReport: Instant

        func filter(_ group: IPAddress) -> Wish { filters[group] ?? .nothing }
    }

    private struct Answer {
        var due: Instant
        var host: Int
        var group: IPAddress
        var sources: [IPAddress]
    }

    private struct Surplus: Hashable {
        var place: ReferencePlace
        var source: IPAddress
    }

    /// The longest time between two reports of a host.
    private static let reportInterval = Interval.seconds(100)

    private let cast: Cast
    private let limits: Limits?
    private let strangers: Int
    private var random: SeededRandom
    private var table: GroupTable
    private var hosts: [Host] = []
    private var answers: [Answer] = []
    private var now = Instant.zero
    private var context = MembershipContext(isQuerier: true, knowsAll: true, timing: MembershipTiming())
    /// The groups of what happened since they were last compared.
    private var touched: [GroupKey] = []
    private var comparisons = 0
    private(set) var log = OperationLog()
    /// Filters that changed; of these, changes after which less is forwarded; sources forwarded that no host wants.
    private(set) var changes = 0
    private(set) var silenced = 0
    private(set) var degraded = 0
    /// Since when what is forwarded for nobody is.
    private var surplusSince: [Surplus: Instant] = [:]

    init(_ family: IPFamily, seed: UInt64, hosts count: Int, strangers: Int, limits: Limits?) {
        cast = Cast(family)
        self.limits = limits
        self.strangers = strangers
        random = SeededRandom(seed: seed)
        var configuration = GroupTableConfiguration(ports: 2, ssm: cast.ssm)
        if let limits {
            configuration.groupLimit = limits.groups
            configuration.sourceLimit = limits.sources
            configuration.memberLimit = limits.members
        }
        table = GroupTable(configuration)
        for number in 0..<count {
            // Without limits everybody speaks the third generation.
            var generation = MembershipGeneration.third
            if limits != nil && number == 3 { generation = .second }
            if limits != nil && number == 4 { generation = family == .v4 ? .first : .second }
            hosts.append(
                Host(
                    identity: cast.host(number + 1), vlan: cast.vlans[number < 4 ? 0 : 1], port: cast.ports[number % 2],
                    generation: generation, nextReport: .zero + .seconds(Int64(number))))
        }
    }

    /// Time passes, and what hosts do by themselves; then one thing happens.
    mutating func step() -> String? {
        if let problem = pass(until: now + delay()) { return problem }
        let choice = Int.random(in: 0..<1_000, using: &random)
        if limits == nil && choice < 900 { return change() }
        switch choice {
        case 0..<350: return change()
        case 350..<900: return strange()
        case 900..<940: return hearQuery()
        case 940..<960:
            context.isQuerier.toggle()
            let isQuerier = context.isQuerier
            log.add(now, "querier: \(isQuerier)")
            for vlan in cast.vlans {
                table.handleQuerierChange(vlan: vlan, family: cast.family, isQuerier: isQuerier)
            }
            return nil
        case 960..<980:
            if limits != nil { context.knowsAll.toggle() }
            return nil
        case 980..<985: return portDown()
        default: return idle()
        }
    }

    private mutating func delay() -> Interval {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<3: .zero
        case 3..<8: .milliseconds(Int64.random(in: 1...1_500, using: &random))
        case 8: .milliseconds(250 * Int64.random(in: 1...20, using: &random))
        default: .seconds(Int64.random(in: 5...40, using: &random))
        }
    }

    /// The hosts' answers and unasked reports until `end`, in the order of time.
    private mutating func pass(until end: Instant) -> String? {
        while true {
            let answer = answers.indices.min { answers[$0].due < answers[$1].due }
            let host = hosts.indices.min { hosts[$0].nextReport < hosts[$1].nextReport }
            let answerDue = answer.map { answers[$0].due } ?? .distantFuture
            let reportDue = host.map { hosts[$0].nextReport } ?? .distantFuture
            guard min(answerDue, reportDue) <= end else { break }
            now = max(now, min(answerDue, reportDue))
            if answerDue <= reportDue, let answer {
                let asked = answers.remove(at: answer)
                self.answer(asked)
            } else if let host {
                hosts[host].nextReport = now + .milliseconds(Int64.random(in: 60_000...100_000, using: &random))
                reportAll(host)
            }
            if let problem = compare() { return problem }
        }
        now = end
        return nil
    }

    private mutating func report(_ records: [GroupRecord], by host: Int) {
        guard !records.isEmpty else { return }
        let speaker = hosts[host]
        let report = MembershipReport(generation: speaker.generation, records: records)
        log.add(
            now,
            "host \(host + 1) (\(speaker.generation), VLAN \(speaker.vlan), port \(speaker.port.index)): \(records.map(\.text))")
        touched += records.map { GroupKey(speaker.vlan, $0.group) }
        table.handleReport(report, from: speaker.identity, on: speaker.port, vlan: speaker.vlan, context, at: now)
    }

    /// The current state (RFC 9776 section 5.2), all groups in one report; older hosts send a report a group.
    private mutating func reportAll(_ host: Int) {
        let records = cast.groups.compactMap { group -> GroupRecord? in
            let filter = hosts[host].filter(group)
            if filter.isNothing { return nil }
            return GroupRecord(filter.mode == .include ? .isInclude : .isExclude, group, filter.sources)
        }
        if hosts[host].generation == .third { return report(records, by: host) }
        for record in records { report([record], by: host) }
    }

    /// RFC 9776 section 5.2: to a query with sources, those of them that are wanted, in IS_IN whatever the own filter is.
    private mutating func answer(_ asked: Answer) {
        let host = hosts[asked.host]
        let filter = host.filter(asked.group)
        if filter.isNothing { return }
        if host.generation == .third && !asked.sources.isEmpty {
            let wanted = asked.sources.filter { filter.wants($0) }
            return wanted.isEmpty ? () : report([GroupRecord(.isInclude, asked.group, wanted)], by: asked.host)
        }
        let kind: GroupRecordKind = filter.mode == .include ? .isInclude : .isExclude
        report([GroupRecord(kind, asked.group, filter.sources)], by: asked.host)
    }

    /// Hosts that hear a specific query answer within a second. One of the first generation does not know such queries.
    private mutating func ask(_ group: IPAddress, _ sources: [IPAddress], vlan: VLAN, port: PortIndex?) {
        for (index, host) in hosts.enumerated() where host.vlan == vlan && host.generation != .first {
            if let port, host.port != port { continue }
            let due = now + .milliseconds(Int64.random(in: 1...1_000, using: &random))
            answers.append(Answer(due: due, host: index, group: group, sources: sources))
        }
    }

    // MARK: What happens

    private mutating func idle() -> String? {
        log.add(now, "timeout")
        table.handleTimeout(at: now)
        return compare()
    }

    private mutating func change() -> String? {
        let index = Int.random(in: 0..<hosts.count, using: &random)
        let group = cast.groups[Int.random(in: 0...2, using: &random)]
        let host = hosts[index]
        let before = host.filter(group)
        let after = randomFilter(group, of: host.generation)
        if before == after { return nil }
        hosts[index].filters[group] = after
        changes += 1
        if !cast.allSources.allSatisfy({ after.wants($0) || !before.wants($0) }) { silenced += 1 }
        switch (host.generation, after.isNothing) {
        case (.third, _): report(SimulatedLAN.changes(group, from: before, to: after), by: index)
        case (.second, true): report([GroupRecord(.toInclude, group)], by: index)
        case (.first, true): break
        default: report([GroupRecord(.isExclude, group)], by: index)
        }
        return compare()
    }

    private mutating func randomFilter(_ group: IPAddress, of generation: MembershipGeneration) -> Wish {
        let choice = Int.random(in: 0..<100, using: &random)
        let isSSM = cast.ssm.contains { $0.contains(group) }
        if choice < 35 || (isSSM && generation != .third) { return .nothing }
        if generation != .third { return .everything }
        let sources = cast.subset(upTo: 4, using: &random)
        return choice < 70 || isSSM ? Wish(.include, sources) : Wish(.exclude, sources)
    }

    /// RFC 9776 section 5.1: the records that tell of a change.
    private static func changes(_ group: IPAddress, from old: Wish, to new: Wish) -> [GroupRecord] {
        guard old.mode == new.mode else {
            return [GroupRecord(new.mode == .include ? .toInclude : .toExclude, group, new.sources)]
        }
        let added = new.sources.filter { !old.sources.contains($0) }
        let removed = old.sources.filter { !new.sources.contains($0) }
        let (allowed, blocked) = new.mode == .include ? (added, removed) : (removed, added)
        let records = [GroupRecord(.allow, group, allowed), GroupRecord(.block, group, blocked)]
        return records.filter { !$0.sources.isEmpty }
    }

    /// A report that means nothing, about many groups and sources, in the name of somebody else than the hosts.
    private mutating func strange() -> String? {
        let number = 100 + Int.random(in: 0..<strangers, using: &random)
        let vlan = cast.vlans[Int.random(in: 0...1, using: &random)]
        let port = cast.ports[Int.random(in: 0...1, using: &random)]
        let generation: MembershipGeneration =
            random.chance(millionths: 900_000)
            ? .third : random.chance(millionths: 500_000) || cast.family == .v6 ? .second : .first
        let kinds: [GroupRecordKind] =
            switch generation {
            case .first: [.isExclude]
            case .second: [.isExclude, .toInclude]
            case .third: GroupRecordKind.allCases
            }
        let records = (0..<(generation == .third ? 2 : 1)).map { _ in
            let groups = cast.groups + (3...9).map(cast.group)
            let sources = (0..<Int.random(in: 0...5, using: &random)).map { _ in
                cast.source(Int.random(in: 1...12, using: &random))
            }
            return GroupRecord(
                kinds[Int.random(in: 0..<kinds.count, using: &random)],
                groups[Int.random(in: 0..<groups.count, using: &random)],
                generation == .third ? Array(Set(sources)).sorted() : [])
        }
        let report = MembershipReport(generation: generation, records: records)
        log.add(now, "stranger \(number) (\(generation), VLAN \(vlan), port \(port.index)): \(records.map(\.text))")
        touched += records.map { GroupKey(vlan, $0.group) }
        table.handleReport(report, from: cast.host(number), on: port, vlan: vlan, context, at: now)
        return compare()
    }

    /// Another querier asks, and the hosts hear it. It never asks for groups of hosts that could not answer.
    private mutating func hearQuery() -> String? {
        let vlan = cast.vlans[Int.random(in: 0...1, using: &random)]
        let group = cast.groups[Int.random(in: 0...2, using: &random)]
        if hosts.contains(where: { $0.generation == .first && $0.vlan == vlan && !$0.filter(group).isNothing }) { return nil }
        let sources = Bool.random(using: &random) ? [] : cast.subset(upTo: 3, using: &random)
        log.add(now, "query \(group) VLAN \(vlan) \(sources)")
        let query = MembershipQuery(group: group, sources: sources, maxResponse: .seconds(1), robustness: 2)
        touched.append(GroupKey(vlan, group))
        table.handleQuery(query, vlan: vlan, context, at: now)
        ask(group, sources, vlan: vlan, port: nil)
        return compare()
    }

    /// Its hosts report again when it is up again, which is at once.
    private mutating func portDown() -> String? {
        let port = cast.ports[Int.random(in: 0...1, using: &random)]
        log.add(now, "port \(port.index) down")
        touched = cast.keys
        table.handlePortDown(port, at: now)
        let filters = hosts.map(\.filters)
        for index in hosts.indices where hosts[index].port == port { hosts[index].filters = [:] }
        if let problem = compare() { return problem }
        for index in hosts.indices where hosts[index].port == port {
            hosts[index].filters = filters[index]
            reportAll(index)
        }
        return compare()
    }

    // MARK: What must hold

    private mutating func compare() -> String? {
        while let query = table.pollQuery() { ask(query.group, query.sources, vlan: query.vlan, port: query.port) }
        while table.pollChange() != nil {}
        // What nothing touched is looked at now and then: a fault stays.
        comparisons += 1
        let isThorough = comparisons % 8 == 0
        if isThorough {
            let problems = table.checkInvariants()
            if !problems.isEmpty { return "invariants: \(problems)" }
        }
        if let limits {
            if table.entryCount > limits.groups { return "\(table.entryCount) entries" }
            if table.memberCount > limits.members { return "\(table.memberCount) members" }
        }
        defer { touched = [] }
        for key in cast.keys where isThorough || touched.contains(key) {
            let merged = table.wish(of: key)
            for port in cast.ports {
                if let problem = compare(key, on: port, merged) {
                    return "\(key.group) in VLAN \(key.vlan) on port \(port.index): \(problem)"
                }
            }
        }
        return nil
    }

    private mutating func compare(_ key: GroupKey, on port: PortIndex, _ merged: Wish) -> String? {
        let filters = hosts.filter { $0.vlan == key.vlan && $0.port == port }.map { $0.filter(key.group) }
        let own = table.wish(of: key, on: port)
        var forwarded = own
        if limits != nil {
            let every = GroupKey(key.vlan, .unspecified(cast.family))
            if !table.wish(of: every, on: port).isNothing { forwarded = .everything }
        }
        var surplus: Set<IPAddress> = []
        for source in cast.allSources {
            let isForwarded = forwarded.wants(source)
            let isWanted = filters.contains { $0.wants(source) }
            if own.wants(source) && !merged.wants(source) { return "\(source) is not in the merged wish" }
            if isWanted && !isForwarded { return "\(source) is wanted and lost" }
            if isForwarded && !isWanted { surplus.insert(source) }
        }
        degraded += surplus.count
        if limits != nil { return nil }
        // What a leave leaves behind in EXCLUDE mode, where only the RFC's tables know what to do with it: a source that all
        // hosts block that are left. Their next report puts it into X, which runs out after K4.
        let limit = SimulatedLAN.reportInterval + context.timing.groupMembershipInterval
        for source in cast.allSources {
            let item = Surplus(place: ReferencePlace(vlan: key.vlan, group: key.group, port: port), source: source)
            guard surplus.contains(source) else {
                surplusSince[item] = nil
                continue
            }
            if !filters.contains(where: { $0.mode == .exclude }) { return "\(source) is forwarded for nobody" }
            let since = surplusSince[item] ?? now
            surplusSince[item] = since
            if now - since > limit { return "\(source) is forwarded for nobody since \(since - .zero)" }
        }
        return nil
    }
}
