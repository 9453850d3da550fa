// `GroupTable` under random reports, queries and clocks: against the reference model of RFC 9776 section 6.4, against the true
// filters of the hosts that speak to it, and against hosts that flood tables that are far too small. A failure prints the
// family, the seed, the step and the operations before it; the same seed gives the same run on any machine.

import Basics
import Switching
import Testing
import Wire

@Suite struct GroupTablePropertyTests {
    /// The machine is the same for both families, so they share the seeds, which stand for different timings.
    static let runs: [(IPFamily, UInt64)] = [(.v4, 1), (.v6, 2), (.v4, 3), (.v6, 4)]
    /// Steps by seed, for the comparison with the model: a quarter of a millisecond each in a debug build.
    static let steps: [UInt64: Int] = [1: 25_000, 2: 100_000, 3: 100_000, 4: 25_000]

    /// Rules 18 to 22 and 24: the same state, the same forwarding and the same queries as the reference model, at every step.
    @Test(arguments: runs)
    func theTableDoesWhatTheTablesOfTheRFCSay(_ family: IPFamily, _ seed: UInt64) {
        var run = ModelComparison(family, seed: seed)
        for step in 0..<(GroupTablePropertyTests.steps[seed] ?? 100_000) {
            if let problem = run.step(step) {
                Issue.record("\(family), seed \(seed), step \(step): \(problem)\n\(run.log.text)")
                return
            }
        }
        // The run went where it was meant to go.
        for (event, count) in run.seen.sorted(by: { $0.key < $1.key }) { #expect(count > 20, "\(event)") }
        #expect(run.seen.count == (family == .v4 ? 13 : 11), "\(run.seen)")
    }

    /// Rules 16 and 27: with all hosts known and no loss, what is forwarded is what the hosts' filters say, no more and no
    /// less, at every step: a leave takes effect at once, and never for a source that another host wants. Nor does the answer of
    /// a host in EXCLUDE mode to a source query, which is an IS_IN (RFC 9776 section 5.2), make it one in INCLUDE mode.
    @Test(arguments: runs)
    func whatIsForwardedIsWhatTheHostsWant(_ family: IPFamily, _ seed: UInt64) {
        var lan = SimulatedLAN(family, seed: seed, hosts: 6, strangers: 0, limits: nil)
        for step in 0..<10_000 {
            if let problem = lan.step() {
                Issue.record("\(family), seed \(seed), step \(step): \(problem)\n\(lan.log.text)")
                return
            }
        }
        #expect(lan.changes > 2_500 && lan.silenced > 1_000)
    }

    /// Rule 29: past every limit more is forwarded, never less, and the tables stay bounded, whatever strangers invent and
    /// whoever is the querier.
    @Test(arguments: runs)
    func pastALimitNothingWantedIsLost(_ family: IPFamily, _ seed: UInt64) {
        var lan = SimulatedLAN(
            family, seed: seed, hosts: 6, strangers: 8, limits: SimulatedLAN.Limits(groups: 4, sources: 3, members: 5))
        for step in 0..<10_000 {
            if let problem = lan.step() {
                Issue.record("\(family), seed \(seed), step \(step): \(problem)\n\(lan.log.text)")
                return
            }
        }
        #expect(lan.changes > 1_500 && lan.degraded > 1_000)
    }
}

/// The last operations of a run, to be read beside its seed. They become text only when somebody reads them.
struct OperationLog {
    private var lines: [(at: Instant, text: () -> String)] = []

    mutating func add(_ now: Instant, _ text: @autoclosure @escaping () -> String) {
        if lines.count >= 24 { lines.removeFirst(8) }
        lines.append((now, text))
    }

    var text: String { lines.map { "    \($0.at - .zero): \($0.text())" }.joined(separator: "\n") }
}

extension GroupRecord {
    var text: String { "\(kind) \(group) \(sources)" }
}

/// The addresses that a run is about.
struct Cast {
    let family: IPFamily
    let vlans: [VLAN] = [.untagged, VLAN(rawValue: 10)]
    let ports = [PortIndex(0), PortIndex(1)]
    /// 232.0.0.0/8 or ff38::/32 (rule 24).
    let ssm: [IPPrefix]
    /// The last one is in the SSM range.
    private(set) var groups: [IPAddress] = []
    /// Six, in the order of their numbers.
    private(set) var sources: [IPAddress] = []
    /// And one that nobody names, which stands for all others.
    private(set) var allSources: [IPAddress] = []
    /// Every group on every VLAN.
    private(set) var keys: [GroupKey] = []

    init(_ family: IPFamily) {
        self.family = family
        let ssmGroup =
            family == .v4 ? IPAddress(ipv4: 0xE801_0101) : IPAddress(high: 0xFF38 << 48, low: 0x8000_0001)
        ssm = [IPPrefix(ssmGroup, length: family == .v4 ? 8 : 32)].compactMap(\.self)
        groups = [group(1), group(2), ssmGroup]
        sources = (1...6).map(source)
        allSources = (1...7).map(source)
        keys = groups.flatMap { group in vlans.map { GroupKey($0, group) } }
    }

    /// 239.1.1.`number` or ff05::`number`.
    func group(_ number: Int) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0xEF01_0100 + UInt32(number)) : IPAddress(high: 0xFF05 << 48, low: UInt64(number))
    }

    /// 192.0.2.`number` or 2001:db8::`number`.
    func source(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xC000_0200 + UInt32(number)) : IPAddress(high: 0x2001_0DB8 << 32, low: UInt64(number))
    }

    func host(_ number: Int) -> HostIdentity {
        let address =
            family == .v4
            ? IPAddress(ipv4: 0xC633_6400 + UInt32(number)) : IPAddress(high: 0xFE80 << 48, low: UInt64(number))
        return HostIdentity(mac: MACAddress(rawValue: 0x0200_0000_0000 + UInt64(number)), address: address)
    }

    func subset(upTo limit: Int, using random: inout SeededRandom) -> [IPAddress] {
        Array(sources.shuffled(using: &random).prefix(Int.random(in: 0...limit, using: &random)))
    }
}

/// The real table and the reference model, driven alike.
struct ModelComparison {
    private let cast: Cast
    private var random: SeededRandom
    private var table: GroupTable
    private var model: ReferenceModel
    private var now = Instant.zero
    /// By place in `cast.vlans`.
    private var isQuerier = [true, true]
    private let timing: MembershipTiming
    /// Whether the table is called whenever a query is due. Where it is not, late queries are left out of the comparison: a
    /// table may send fewer of them. The state must be the same all the same.
    private let isPunctual: Bool
    private(set) var log = OperationLog()
    /// How often the run met what it is meant to meet.
    private(set) var seen: [String: Int] = [:]
    /// The wishes as they were when they were last compared, and the changes that the table has told of since.
    private var wishes: [GroupKey: Wish] = [:]
    private var changed: Set<GroupKey> = []

    init(_ family: IPFamily, seed: UInt64) {
        cast = Cast(family)
        random = SeededRandom(seed: seed)
        timing = ModelComparison.timing(seed)
        isPunctual = seed % 4 != 0
        model = ReferenceModel(ssm: cast.ssm, timing: timing)
        table = GroupTable(GroupTableConfiguration(ports: 2, ssm: cast.ssm, tracking: false))
    }

    /// The defaults; more of everything; a last member query time that is not the product, and short memberships.
    private static func timing(_ seed: UInt64) -> MembershipTiming {
        var timing = MembershipTiming()
        if seed % 3 == 2 {
            timing.robustness = 3
            timing.lastMemberQueryInterval = .milliseconds(750)
        } else if seed % 3 == 0 {
            timing.queryInterval = .seconds(20)
            timing.setLastMemberQueryTime = .milliseconds(2_500)
        }
        return timing
    }

    /// One operation; what differs afterwards, if anything does.
    mutating func step(_ step: Int) -> String? {
        if let problem = moveClock() { return problem }
        let touched = operate(step)
        if let problem = compareQueries() { return problem }
        let next = model.nextEvent
        if table.nextTimeout <= now || (isPunctual && table.nextTimeout > next) {
            return "next timeout \(table.nextTimeout - .zero), expected \(next - .zero)"
        }
        // What a step did not touch is looked at now and then: a fault stays.
        if step % 8 == 0 {
            let problems = table.checkInvariants()
            if !problems.isEmpty { return "invariants: \(problems)" }
        }
        for key in step % 64 == 0 ? cast.keys : touched.keys {
            if let problem = compare(key, on: step % 64 == 0 ? cast.ports : touched.ports) {
                return "\(key.group) in VLAN \(key.vlan): \(problem)"
            }
        }
        return nil
    }

    private mutating func saw(_ event: String) { seen[event, default: 0] += 1 }
}

extension ModelComparison {
    /// In quarters of a second, so that moments often coincide.
    private mutating func delay() -> Interval {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<35: return .zero
        case 35..<60: return .milliseconds(250 * Int64.random(in: 1...6, using: &random))
        case 60..<78:
            // Exactly to the next event, or to the nanosecond before it.
            let next = model.nextEvent
            if next == .distantFuture { return .zero }
            return max(.zero, next - .nanoseconds(Int64.random(in: 0...1, using: &random)) - now)
        case 78..<95: return .milliseconds(250 * Int64.random(in: 4...20, using: &random))
        case 95..<99: return .seconds(Int64.random(in: 5...60, using: &random))
        default: return .seconds(Int64.random(in: 60...300, using: &random))
        }
    }

    /// Time passes; what differs in the queries that are sent meanwhile, if anything does.
    private mutating func moveClock() -> String? {
        let end = now + delay()
        while isPunctual && model.nextQuery <= end {
            now = model.nextQuery
            table.handleTimeout(at: now)
            model.advance(to: now)
            if let problem = compareQueries() { return problem }
        }
        now = end
        return nil
    }

    /// Does one thing to both; returns the groups and ports that it was about.
    private mutating func operate(_ step: Int) -> (keys: [GroupKey], ports: [PortIndex]) {
        switch Int.random(in: 0..<1_000, using: &random) {
        case 0..<5:
            let index = Int.random(in: 0...1, using: &random)
            isQuerier[index].toggle()
            let (vlan, isNow) = (cast.vlans[index], isQuerier[index])
            log.add(now, "VLAN \(vlan): querier \(isNow)")
            // It says no time: what is due goes before.
            table.handleTimeout(at: now)
            model.advance(to: now)
            table.handleQuerierChange(vlan: cast.vlans[index], family: cast.family, isQuerier: isQuerier[index])
            if !isQuerier[index] { model.stopAsking(vlan: cast.vlans[index]) }
        case 5..<8:
            let port = cast.ports[Int.random(in: 0...1, using: &random)]
            log.add(now, "port \(port.index) down")
            saw("port down")
            table.handlePortDown(port, at: now)
            model.portDown(port, at: now)
            return (cast.keys, cast.ports)
        case 8..<60: return hearQuery()
        case 60..<140:
            log.add(now, "timeout")
            table.handleTimeout(at: now)
            model.advance(to: now)
            return ([], [])
        default: break
        }
        return hearReport(step)
    }

    private func context(_ isQuerier: Bool) -> MembershipContext {
        MembershipContext(isQuerier: isQuerier, knowsAll: false, timing: timing)
    }

    private mutating func hearQuery() -> (keys: [GroupKey], ports: [PortIndex]) {
        let key = GroupKey(cast.vlans[Int.random(in: 0...1, using: &random)], cast.groups[Int.random(in: 0...2, using: &random)])
        let sources = Bool.random(using: &random) ? [] : cast.subset(upTo: 3, using: &random)
        let query = MembershipQuery(
            group: key.group, sources: sources, maxResponse: .seconds(1),
            suppress: random.chance(millionths: 300_000), robustness: 2, queryInterval: .seconds(125))
        log.add(now, "query \(key.group) VLAN \(key.vlan) \(sources)\(query.suppress ? " S" : "")")
        table.handleQuery(query, vlan: key.vlan, context(false), at: now)
        model.query(query, vlan: key.vlan, at: now)
        return ([key], cast.ports)
    }

    private mutating func hearReport(_ step: Int) -> (keys: [GroupKey], ports: [PortIndex]) {
        let index = Int.random(in: 0...1, using: &random)
        let (vlan, isQuerier) = (cast.vlans[index], isQuerier[index])
        let port = cast.ports[Int.random(in: 0...1, using: &random)]
        let host = cast.host(Int.random(in: 1...4, using: &random))
        let report = randomReport(phase: step / 2_000 % 4)
        log.add(now, "\(report.generation) report, VLAN \(vlan), port \(port.index): \(report.records.map(\.text))")
        table.handleReport(report, from: host, on: port, vlan: vlan, context(isQuerier), at: now)
        model.report(report, on: port, vlan: vlan, isQuerier: isQuerier, at: now)
        saw("generation \(report.generation.rawValue)")
        return (report.records.map { GroupKey(vlan, $0.group) }, [port])
    }

    /// In the first and the third phase only the third generation speaks; older hosts are rare enough in the others for their
    /// timers to run out (K11 is hundreds of steps).
    private mutating func randomReport(phase: Int) -> MembershipReport {
        let group = cast.groups[Int.random(in: 0...2, using: &random)]
        if phase % 2 == 1 {
            if random.chance(millionths: 10_000) && cast.family == .v4 && phase == 3 {
                return MembershipReport(generation: .first, records: [GroupRecord(.isExclude, group)])
            }
            if random.chance(millionths: 40_000) {
                return MembershipReport(generation: .second, records: [GroupRecord(.isExclude, group)])
            }
        }
        if random.chance(millionths: 20_000) {
            return MembershipReport(generation: .second, records: [GroupRecord(.toInclude, group)])
        }
        let records = (0..<Int.random(in: 1...2, using: &random)).map { _ in
            GroupRecord(
                GroupRecordKind.allCases.randomElement(using: &random) ?? .allow,
                cast.groups[Int.random(in: 0...2, using: &random)], cast.subset(upTo: 4, using: &random))
        }
        return MembershipReport(generation: .third, records: records)
    }

    // MARK: Comparing

    /// The same queries since this was last compared, which are those of one moment. Places may come in any order.
    private mutating func compareQueries() -> String? {
        var theirs: [SpecificQuery] = []
        while let query = table.pollQuery() { theirs.append(query) }
        while let key = table.pollChange() { changed.insert(key) }
        let ours = model.sent
        model.sent = []
        if ours.isEmpty && theirs.isEmpty { return nil }
        for query in ours {
            saw(query.sources.isEmpty ? "group query" : query.suppress ? "S source query" : "source query")
            if query.sources.isEmpty && query.suppress { saw("S group query") }
        }
        func text(_ queries: [SpecificQuery]) -> [String] {
            queries.map {
                "\($0.vlan) \($0.port.index) \($0.group) \($0.sources.sorted())\($0.suppress ? " S" : "")"
            }.sorted()
        }
        let isSame = ours == theirs || text(ours) == text(theirs)
        return !isPunctual || isSame ? nil : "queries \(text(theirs)), expected \(text(ours))"
    }

    private mutating func compare(_ key: GroupKey, on ports: [PortIndex]) -> String? {
        let states = cast.ports.map { model.groups[ReferencePlace(vlan: key.vlan, group: key.group, port: $0)] }
        for port in ports {
            if let problem = compare(key, on: port, states[port.index]) { return "on port \(port.index): \(problem)" }
        }
        let merged = table.wish(of: key)
        for source in cast.allSources {
            let isWanted = states.contains { $0?.forwards(source) ?? false }
            if merged.wants(source) != isWanted { return "\(source) is wanted on all ports: \(!isWanted)" }
        }
        let mode: Wish.Mode = states.contains { $0?.mode == .exclude } ? .exclude : .include
        if merged.mode != mode { return "all ports: \(merged.mode), expected \(mode)" }
        // Nobody is told of what changed and changed back; and generations are not compared.
        let before = wishes[key] ?? .nothing
        if (before.mode, before.sources) != (merged.mode, merged.sources) && !changed.contains(key) {
            return "the wish changed from \(before) to \(merged), and nobody was told"
        }
        wishes[key] = merged
        changed.remove(key)
        return nil
    }

    private mutating func compare(_ key: GroupKey, on port: PortIndex, _ state: ReferenceGroup?) -> String? {
        let entry = table.entry(key, on: port)
        let wish = table.wish(of: key, on: port)
        guard let state, let entry else {
            if (state == nil) != (entry == nil) { return "an entry: \(entry != nil), expected \(state != nil)" }
            return wish.isNothing ? nil : "\(wish), expected nothing"
        }
        saw(state.mode == .include ? "include" : "exclude")
        saw("compatibility \(state.compatibility.rawValue)")
        if entry.mode != state.mode { return "mode \(entry.mode), expected \(state.mode)" }
        if entry.groupTimer != state.groupTimer {
            return "group timer \(entry.groupTimer as Any), expected \(state.groupTimer as Any)"
        }
        if entry.generation != state.compatibility {
            return "compatibility \(entry.generation), expected \(state.compatibility)"
        }
        if entry.firstUntil != state.firstUntil || entry.secondUntil != state.secondUntil {
            return "older hosts until \((entry.firstUntil, entry.secondUntil)), expected \((state.firstUntil, state.secondUntil))"
        }
        let (running, blocked) = (entry.sources.filter { $0.expires != nil }, entry.sources.filter { $0.expires == nil })
        let isSame =
            running.count == state.timers.count && running.allSatisfy { state.timers[$0.address] == $0.expires }
            && blocked.count == state.blocked.count && blocked.allSatisfy { state.blocked.contains($0.address) }
        if !isSame { return "\(running) and \(blocked), expected \(state.timers) and \(state.blocked)" }
        for source in cast.allSources where wish.wants(source) != state.forwards(source) {
            return "\(source) is forwarded: \(wish.wants(source))"
        }
        return wish == state.wish(wish.generations) ? nil : "\(wish), expected \(state.wish(wish.generations))"
    }
}
