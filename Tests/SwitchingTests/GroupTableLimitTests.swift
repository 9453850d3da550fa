// Rule 29: past every limit more is forwarded, and it heals; the wildcard; and the table at its size.

import Basics
import Testing
import Wire

@testable import Switching

@Suite struct GroupTableLimitTests {
    // MARK: Sources

    @Test(arguments: IPFamily.allCases) func rule29TooManySourcesAreAllSources(_ family: IPFamily) {
        var lab = GroupTableLab(family, GroupTableConfiguration(sourceLimit: 4))
        lab.report(.isInclude, [1, 2, 3, 4], at: 0)
        #expect(lab.table.counters[.sourceLimit] == 0)
        lab.report(.isInclude, [5], from: 2, at: 10)
        #expect(lab.state() == "EXCLUDE@280")
        #expect(lab.table.counters[.sourceLimit] == 1)
        #expect(lab.table.sourceCount == 0)
        // Nobody refreshes EXCLUDE: what is reported meanwhile remains.
        lab.report(.isInclude, [1, 2, 3], at: 125)
        lab.wait(until: 280)
        #expect(lab.state() == "INCLUDE 1@395 2@395 3@395")
    }

    @Test func rule29TooManySourcesInTheFirstRecord() {
        var lab = GroupTableLab(.v4, GroupTableConfiguration(sourceLimit: 4))
        lab.report(.isInclude, [1, 2, 3, 4, 5], group: 1, at: 0)
        lab.report(.isExclude, [1, 2, 3, 4, 5], group: 2, at: 0)
        #expect(lab.state(1) == "EXCLUDE@270")
        #expect(lab.state(2) == "EXCLUDE@270")
        #expect(lab.table.counters[.sourceLimit] == 2)
        #expect(lab.members(1) == ["1: EXCLUDE until 270"])
    }

    /// The Linux bridge drops the 33rd source.
    @Test func rule29The33rdSource() {
        var lab = GroupTableLab()
        for source in 1...33 { lab.report(.allow, [source], at: 0) }
        #expect(lab.table.wish(of: lab.key()).wants(lab.source(33)))
        #expect(lab.table.sourceCount == 33)
    }

    @Test func rule29AHostWithTooManySourcesIsTrackedAsWantingAll() {
        var lab = GroupTableLab(.v4, GroupTableConfiguration(sourceLimit: 4), knowsAll: true)
        lab.report(.isInclude, [1, 2, 3], at: 0)
        lab.report(.isInclude, [4, 5, 6], at: 0)
        lab.report(.isInclude, [7], at: 1)
        #expect(lab.members() == ["1: EXCLUDE until 271"])
        // So nothing that it may want is stopped for another's leave.
        lab.report(.allow, [7], from: 2, at: 2)
        lab.report(.block, [7], from: 2, at: 3)
        #expect(lab.state() == "EXCLUDE@270 7@272")
        lab.report(.toInclude, at: 4)
        #expect(lab.state() == "none")
    }

    @Test func rule29TrackedHostsThatTogetherWantTooManyKeepExclude() {
        var lab = GroupTableLab(.v4, GroupTableConfiguration(sourceLimit: 4), knowsAll: true)
        lab.report(.isInclude, [1, 2, 3], from: 1, at: 0)
        lab.report(.isInclude, [4, 5, 6], from: 2, at: 0)
        lab.report(.isExclude, from: 3, at: 0)
        lab.report(.toInclude, from: 3, at: 1)
        #expect(lab.state() == "EXCLUDE@270")
        lab.report(.block, [5, 6], from: 2, at: 2)
        // 5 and 6 are wanted by nobody; once all lists fit, a leave of the group is INCLUDE again.
        #expect(lab.state() == "EXCLUDE@270 -5 -6")
        lab.report(.isExclude, from: 3, at: 3)
        lab.report(.toInclude, from: 3, at: 4)
        #expect(lab.state() == "INCLUDE 1@270 2@270 3@270 4@270")
    }

    @Test func rule29SourcesOfTrackedHostsHaveALimitToo() {
        var lab = GroupTableLab(.v4, GroupTableConfiguration(memberLimit: 2), knowsAll: true)
        lab.report(.isInclude, [1, 2, 3, 4, 5], from: 1, at: 0)
        #expect(lab.members() == ["1: INCLUDE 1 2 3 4 5 until 270"])
        lab.report(.isInclude, [6, 7, 8, 9], from: 2, at: 0)
        #expect(lab.members() == ["1: INCLUDE 1 2 3 4 5 until 270", "2: EXCLUDE until 270"])
        #expect(lab.state() == "INCLUDE 1@270 2@270 3@270 4@270 5@270 6@270 7@270 8@270 9@270")
        #expect(lab.table.counters[.memberLimit] == 1)
    }

    // MARK: Groups

    @Test(arguments: IPFamily.allCases) func rule29TooManyGroupsAreAllGroupsOfThePort(_ family: IPFamily) {
        var lab = GroupTableLab(family, GroupTableConfiguration(groupLimit: 2))
        lab.report(.isExclude, group: 1, at: 0)
        lab.report(.isInclude, [1], group: 2, port: 1, at: 0)
        _ = lab.changes()
        lab.report(.isInclude, [1], group: 3, port: 1, at: 10)
        #expect(lab.state(3, port: 1) == "none")
        #expect(lab.state(of: lab.wildcard.group, port: 1) == "EXCLUDE@280")
        #expect(lab.state(of: lab.wildcard.group, port: 0) == "none")
        #expect(lab.table.wish(of: lab.wildcard) == .everything)
        #expect(lab.table.ports(with: lab.wildcard) == PortSet(PortIndex(1)))
        #expect(lab.table.keys == [lab.wildcard, lab.key(1), lab.key(2)])
        #expect(lab.table.counters[.groupLimit] == 1)
        #expect(lab.table.entryCount == 2)
        #expect(lab.changes() == [lab.wildcard])
        // A refused join refreshes it, and that is no news. What is there is still kept; what is no join refreshes nothing.
        lab.report(.isExclude, group: 4, port: 1, at: 20)
        lab.report(.toInclude, group: 5, port: 1, at: 30)
        lab.report(.block, [1], group: 5, port: 1, at: 30)
        lab.report(.isExclude, group: 1, at: 30)
        #expect(lab.state(of: lab.wildcard.group, port: 1) == "EXCLUDE@290")
        #expect(lab.state(1) == "EXCLUDE@300")
        #expect(lab.table.counters[.groupLimit] == 2)
        #expect(lab.changes() == [])
        // Room again: a join gets its entry, and the wildcard runs out.
        lab.wait(until: 270)
        lab.report(.isInclude, [1], group: 3, port: 1, at: 275)
        #expect(lab.state(3, port: 1) == "INCLUDE 1@545")
        _ = lab.changes()
        lab.wait(until: 290)
        #expect(lab.table.wish(of: lab.wildcard) == .nothing)
        #expect(lab.changes() == [lab.wildcard])
    }

    @Test func rule29WildcardsAreOfOneVLANAndFamily() {
        var lab = GroupTableLab(.v4, GroupTableConfiguration(groupLimit: 0))
        lab.report(.isExclude, at: 0)
        #expect(lab.table.wish(of: GroupKey(.untagged, .unspecified(.v4))) == .nothing)
        #expect(lab.table.wish(of: GroupKey(lab.vlan, .unspecified(.v6))) == .nothing)
        #expect(lab.table.wish(of: lab.wildcard) == .everything)
    }

    @Test func rule29OverflowMakesAndRefreshesTheWildcard() {
        var lab = GroupTableLab()
        lab.overflow(at: 0)
        lab.overflow(at: 100)
        #expect(lab.state(of: lab.wildcard.group) == "EXCLUDE@370")
        #expect(lab.changes() == [lab.wildcard])
        #expect(lab.table.entryCount == 0)
        lab.heard(nil, at: 101)
        lab.wait(until: 370)
        #expect(lab.table.keys == [])
        #expect(lab.changes() == [lab.wildcard])
    }

    @Test func aPortThatGoesDownTakesItsWildcardAlong() {
        var lab = GroupTableLab()
        lab.overflow(port: 1, at: 0)
        lab.report(.isExclude, port: 1, at: 0)
        lab.report(.isExclude, group: 2, port: 0, at: 0)
        _ = lab.changes()
        lab.table.handlePortDown(PortIndex(1), at: GroupTableLab.time(1))
        #expect(lab.changes() == [lab.wildcard, lab.key(1)])
        #expect(lab.table.keys == [lab.key(2)])
        #expect(lab.table.memberCount == 1)
        #expect(lab.table.checkInvariants() == [])
    }

    // MARK: Size and disorder

    @Test func tenThousandGroupsOfSixteenSources() {
        var lab = GroupTableLab()
        let sources = (1...16).map(lab.source)
        func everybody(at seconds: Double) {
            for first in stride(from: 0, to: 10_000, by: 50) {
                let records = (first..<first + 50).map { GroupRecord(.isInclude, lab.group($0), sources) }
                lab.table.handleReport(
                    MembershipReport(generation: .third, records: records), from: lab.host(first / 50), on: PortIndex(0),
                    vlan: lab.vlan, lab.context, at: GroupTableLab.time(seconds))
            }
        }
        everybody(at: 0)
        #expect(lab.table.entryCount == 10_000)
        #expect(lab.table.sourceCount == 160_000)
        #expect(lab.table.memberCount == 10_000)
        #expect(lab.changes().count == 10_000)
        for cycle in 1...2 { everybody(at: Double(cycle) * 125) }
        #expect(lab.changes() == [])
        #expect(lab.table.nextTimeout == GroupTableLab.time(520))
        #expect(lab.table.checkInvariants() == [])
        lab.wait(until: 520)
        #expect(lab.table.keys == [])
        #expect(lab.changes().count == 10_000)
    }

    /// The heap of deadlines stays small however often hosts come and go, refresh and leave.
    @Test func comingAndGoingLeavesNothingBehind() {
        var lab = GroupTableLab(knowsAll: true)
        for round in 0..<20_000 {
            lab.table.handleReport(
                MembershipReport(
                    generation: .third,
                    records: [
                        GroupRecord(round % 2 == 0 ? .toExclude : .toInclude, lab.group(round / 2 % 3)),
                        GroupRecord(.isExclude, lab.group(9)), GroupRecord(.block, lab.group(9), [lab.source(1)]),
                    ]),
                from: lab.host(1), on: PortIndex(0), vlan: lab.vlan, lab.context, at: GroupTableLab.time(Double(round) / 1000))
        }
        #expect(lab.table.checkInvariants() == [])
        #expect(lab.table.deadlines.count < 200)
    }

    /// Random reports of all kinds, small limits, and a clock that stands, creeps and jumps: the invariants hold throughout,
    /// and a table that is called at every timer has the same entries as one that is called by reports only.
    @Test(arguments: [1, 2, 3, 4]) func randomReportsKeepTheInvariants(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let family: IPFamily = seed % 2 == 0 ? .v4 : .v6
        let configuration = GroupTableConfiguration(
            ports: 3, groupLimit: 7, sourceLimit: 6, memberLimit: 10, fastLeave: PortSet(PortIndex(2)))
        var prompt = GroupTableLab(family, configuration)
        var lazy = GroupTableLab(family, configuration)
        let vlan = prompt.vlan
        var now = Instant.zero
        var wishes: [GroupKey: [Wish]] = [:]
        func pick(_ count: UInt64) -> Int { Int(random.next() % count) }
        for step in 0..<1_500 {
            now = now + .milliseconds([0, 0, 1, 500, 1_000, 2_000, 30_000, 130_000][pick(8)])
            while prompt.table.nextTimeout <= now { prompt.table.handleTimeout(at: prompt.table.nextTimeout) }
            let context = MembershipContext(isQuerier: pick(4) > 0, knowsAll: pick(2) > 0, timing: MembershipTiming())
            let group = pick(8) == 0 ? prompt.ssmGroup(1) : prompt.group(pick(5))
            let sources = (0..<pick(4)).map { _ in prompt.source(1 + pick(8)) }
            let generation = MembershipGeneration.allCases[[0, 1, 2, 2, 2, 2, 2, 2][pick(8)]]
            let kind: GroupRecordKind =
                generation == .third ? GroupRecordKind.allCases[pick(6)] : pick(2) == 0 ? .isExclude : .toInclude
            let record = GroupRecord(kind, group, generation == .third ? sources : [])
            let host = prompt.host(1 + pick(6))
            let port = PortIndex(pick(3))
            let what = pick(20)
            func apply(_ table: inout GroupTable) {
                switch what {
                case 0:
                    let query = MembershipQuery(group: group, sources: sources, maxResponse: .seconds(1))
                    table.handleQuery(query, vlan: vlan, context, at: now)
                case 1 where step % 10 == 0: table.handlePortDown(port, at: now)
                case 2: table.overflow(vlan: vlan, family: family, port: port, context, at: now)
                case 3:
                    table.handleTimeout(at: now)
                    table.handleQuerierChange(vlan: vlan, family: family, isQuerier: context.isQuerier)
                default:
                    table.handleReport(
                        MembershipReport(generation: generation, records: [record]), from: host, on: port, vlan: vlan,
                        context, at: now)
                }
            }
            apply(&prompt.table)
            apply(&lazy.table)
            #expect(prompt.table.checkInvariants() == [])
            #expect(lazy.table.checkInvariants() == [])
            #expect(prompt.table.keys == lazy.table.keys)
            for key in prompt.table.keys {
                for port in 0..<3 {
                    #expect(prompt.table.entry(key, on: PortIndex(port)) == lazy.table.entry(key, on: PortIndex(port)))
                }
            }
            #expect(prompt.table.counters == lazy.table.counters)
            // Whatever any port wants otherwise than before was told.
            var current: [GroupKey: [Wish]] = [:]
            for key in lazy.table.keys { current[key] = (0..<3).map { lazy.table.wish(of: key, on: PortIndex($0)) } }
            let told = Set(lazy.changes())
            for key in Set(current.keys).union(wishes.keys) where current[key] != wishes[key] { #expect(told.contains(key)) }
            wishes = current
            _ = (prompt.queries(), prompt.changes(), lazy.queries())
        }
    }
}
