// Rules 18, 19, 20 and 9: every cell of RFC 9776's tables 6.4.1 and 6.4.2, and every way a timer runs out.

import Basics
import Testing
import Wire

@testable import Switching

@Suite struct GroupTableTransitionTests {
    /// One cell: the record, the state after it, the queries.
    struct Cell: Sendable, CustomTestStringConvertible {
        var kind: GroupRecordKind
        var sources: [Int]
        var state: String
        var queries: [String] = []
        var testDescription: String { "\(kind)\(sources)" }
    }

    private static func families<T>(_ values: [T]) -> [(IPFamily, T)] {
        values.flatMap { [(IPFamily.v4, $0), (IPFamily.v6, $0)] }
    }

    // MARK: Rule 18

    /// From INCLUDE(1, 2), reported at 0, at 100.
    private static let include = [
        Cell(kind: .isInclude, sources: [2, 3], state: "INCLUDE 1@270 2@370 3@370"),
        Cell(kind: .allow, sources: [2, 3], state: "INCLUDE 1@270 2@370 3@370"),
        Cell(kind: .isExclude, sources: [2, 3], state: "EXCLUDE@370 2@270 -3"),
        Cell(kind: .isExclude, sources: [], state: "EXCLUDE@370"),
        Cell(kind: .toExclude, sources: [2, 3], state: "EXCLUDE@370 2@102 -3", queries: ["0 G1 2"]),
        Cell(kind: .toExclude, sources: [3], state: "EXCLUDE@370 -3"),
        Cell(kind: .toInclude, sources: [2, 3], state: "INCLUDE 1@102 2@370 3@370", queries: ["0 G1 1"]),
        Cell(kind: .toInclude, sources: [], state: "INCLUDE 1@102 2@102", queries: ["0 G1 1,2"]),
        Cell(kind: .toInclude, sources: [1, 2], state: "INCLUDE 1@370 2@370"),
        Cell(kind: .block, sources: [2, 3], state: "INCLUDE 1@270 2@102", queries: ["0 G1 2"]),
        Cell(kind: .block, sources: [3], state: "INCLUDE 1@270 2@270"),
        Cell(kind: .isInclude, sources: [], state: "INCLUDE 1@270 2@270"),
    ]

    @Test(arguments: families(include)) func rule18Include(_ family: IPFamily, _ cell: Cell) {
        var lab = GroupTableLab(family)
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(cell.kind, cell.sources, at: 100)
        #expect(lab.state() == cell.state)
        #expect(lab.queries() == cell.queries)
    }

    /// For a group that nobody has: INCLUDE{}.
    private static let unknown = [
        Cell(kind: .isInclude, sources: [2, 1], state: "INCLUDE 1@370 2@370"),
        Cell(kind: .allow, sources: [1], state: "INCLUDE 1@370"),
        Cell(kind: .toInclude, sources: [1], state: "INCLUDE 1@370"),
        Cell(kind: .isExclude, sources: [2, 1], state: "EXCLUDE@370 -1 -2"),
        Cell(kind: .toExclude, sources: [], state: "EXCLUDE@370"),
        Cell(kind: .toInclude, sources: [], state: "none"),
        Cell(kind: .isInclude, sources: [], state: "none"),
        Cell(kind: .allow, sources: [], state: "none"),
        Cell(kind: .block, sources: [1], state: "none"),
    ]

    @Test(arguments: families(unknown)) func rule18UnknownGroupAndBlockIsNoJoin(_ family: IPFamily, _ cell: Cell) {
        var lab = GroupTableLab(family)
        lab.report(cell.kind, cell.sources, at: 100)
        #expect(lab.state() == cell.state)
        #expect(lab.queries() == [])
        #expect(lab.changes() == (cell.state == "none" ? [] : [lab.key()]))
    }

    // MARK: Rule 19

    /// From EXCLUDE(X: 1, 2; Y: 3, 4) with the timers of X at 270 and that of the group at 320, at 100.
    private static let exclude = [
        Cell(kind: .isInclude, sources: [2, 4, 5], state: "EXCLUDE@320 1@270 2@370 -3 4@370 5@370"),
        Cell(kind: .allow, sources: [2, 4, 5], state: "EXCLUDE@320 1@270 2@370 -3 4@370 5@370"),
        Cell(kind: .isExclude, sources: [2, 4, 5], state: "EXCLUDE@370 2@270 -4 5@370"),
        Cell(kind: .isExclude, sources: [], state: "EXCLUDE@370"),
        Cell(kind: .toExclude, sources: [2, 4, 5], state: "EXCLUDE@370 2@102 -4 5@102", queries: ["0 G1 2,5"]),
        Cell(kind: .toExclude, sources: [], state: "EXCLUDE@370"),
        Cell(kind: .block, sources: [2, 4, 5], state: "EXCLUDE@320 1@270 2@102 -3 -4 5@102", queries: ["0 G1 2,5"]),
        Cell(kind: .block, sources: [3, 4], state: "EXCLUDE@320 1@270 2@270 -3 -4"),
        Cell(
            kind: .toInclude, sources: [2, 4, 5], state: "EXCLUDE@102 1@102 2@370 -3 4@370 5@370",
            queries: ["0 G1 1", "0 G1"]),
        Cell(kind: .toInclude, sources: [], state: "EXCLUDE@102 1@102 2@102 -3 -4", queries: ["0 G1 1,2", "0 G1"]),
    ]

    @Test(arguments: families(exclude)) func rule19Exclude(_ family: IPFamily, _ cell: Cell) {
        var lab = GroupTableLab(family)
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.isExclude, [1, 2, 3, 4], at: 50)
        #expect(lab.state() == "EXCLUDE@320 1@270 2@270 -3 -4")
        lab.report(cell.kind, cell.sources, at: 100)
        #expect(lab.state() == cell.state)
        #expect(lab.queries() == cell.queries)
    }

    /// Who is not the querier neither asks nor lowers: what the transitions alone set, and (A−X−Y) = group timer.
    private static let unasked = [
        Cell(kind: .toExclude, sources: [2, 4, 5], state: "EXCLUDE@370 2@270 -4 5@320"),
        Cell(kind: .block, sources: [2, 4, 5], state: "EXCLUDE@320 1@270 2@270 -3 -4 5@320"),
        Cell(kind: .toInclude, sources: [2, 4, 5], state: "EXCLUDE@320 1@270 2@370 -3 4@370 5@370"),
    ]

    @Test(arguments: families(unasked)) func rule19WithoutTheQuerier(_ family: IPFamily, _ cell: Cell) {
        var lab = GroupTableLab(family, isQuerier: false)
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.isExclude, [1, 2, 3, 4], at: 50)
        lab.report(cell.kind, cell.sources, at: 100)
        #expect(lab.state() == cell.state)
        #expect(lab.queries() == [])
    }

    // MARK: Rules 9 and 20

    @Test(arguments: IPFamily.allCases) func rule9MembershipsTimeOutWithoutALeave(_ family: IPFamily) {
        var lab = GroupTableLab(family)
        lab.report(.isInclude, [1], group: 1, at: 0)
        lab.report(.isExclude, [1], group: 2, at: 0)
        #expect(lab.table.nextTimeout == GroupTableLab.time(270))
        lab.wait(until: 269.999)
        #expect(lab.state(1) == "INCLUDE 1@270")
        #expect(lab.state(2) == "EXCLUDE@270 -1")
        lab.wait(until: 270)
        #expect(lab.state(1) == "none")
        #expect(lab.state(2) == "none")
        #expect(lab.table.nextTimeout == .distantFuture)
        #expect(lab.table.entryCount == 0 && lab.table.sourceCount == 0 && lab.table.memberCount == 0)
        #expect(lab.queries() == [])
    }

    @Test func rule20GroupTimerLeavesTheLiveSourcesOfX() {
        var lab = GroupTableLab()
        lab.report(.isExclude, [1, 2], at: 0)
        lab.report(.allow, [2, 3], at: 100)
        #expect(lab.state() == "EXCLUDE@270 -1 2@370 3@370")
        lab.wait(until: 270)
        #expect(lab.state() == "INCLUDE 2@370 3@370")
        lab.wait(until: 370)
        #expect(lab.state() == "none")
    }

    @Test func rule20SourceOfXWhoseTimerRunsOutIsBlocked() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1], at: 0)
        lab.report(.isExclude, [1], at: 100)
        #expect(lab.state() == "EXCLUDE@370 1@270")
        #expect(lab.wish() == "EXCLUDE")
        _ = lab.changes()
        lab.wait(until: 270)
        #expect(lab.state() == "EXCLUDE@370 -1")
        #expect(lab.wish() == "EXCLUDE 1")
        #expect(lab.changes() == [lab.key()])
    }

    @Test func rule20SourceOfIncludeGoesAndTheLastTakesTheGroupAlong() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1], at: 0)
        lab.report(.isInclude, [2], at: 10)
        _ = lab.changes()
        lab.wait(until: 270)
        #expect(lab.state() == "INCLUDE 2@280")
        lab.wait(until: 280)
        #expect(lab.state() == "none")
        #expect(lab.changes() == [lab.key()])
    }

    @Test func rule20SimultaneousTimersOfGroupAndSource() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1], at: 0)
        lab.report(.isExclude, [1, 2], at: 0)
        #expect(lab.state() == "EXCLUDE@270 1@270 -2")
        lab.wait(until: 270)
        #expect(lab.state() == "none")
    }

    /// A report at the very moment at which the entry runs out meets none.
    @Test func rule20WhatIsDueRunsOutBeforeTheReport() {
        var punctual = GroupTableLab()
        var late = GroupTableLab()
        punctual.report(.isExclude, [1], at: 0)
        late.report(.isExclude, [1], at: 0)
        punctual.wait(until: 270)
        punctual.report(.isInclude, [2], at: 270)
        late.report(.isInclude, [2], at: 270)
        #expect(punctual.state() == "INCLUDE 2@540")
        #expect(late.state() == "INCLUDE 2@540")
    }

    @Test func aClockThatStepsBackRevivesNothing() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1], at: 0)
        lab.wait(until: 270)
        lab.report(.isInclude, [2], at: 100)
        #expect(lab.state() == "INCLUDE 2@540")
    }

    // MARK: Rules 4 and 16

    @Test func rule4AReportFromTheUnspecifiedAddressCounts() {
        for family in IPFamily.allCases {
            var lab = GroupTableLab(family)
            let nobody = HostIdentity(mac: GroupTableLab.mac(7), address: .unspecified(family))
            let report = MembershipReport(generation: .third, records: [GroupRecord(.isExclude, lab.group(1))])
            lab.table.handleReport(report, from: nobody, on: PortIndex(0), vlan: lab.vlan, lab.context, at: .zero)
            #expect(lab.state() == "EXCLUDE@270")
            // The same host with its address, then without: one member, and its address is kept.
            lab.report(.isExclude, from: 7, at: 1)
            lab.table.handleReport(
                report, from: nobody, on: PortIndex(0), vlan: lab.vlan, lab.context, at: GroupTableLab.time(2))
            let members = lab.table.entry(lab.key(), on: PortIndex(0))?.members
            #expect(members?.map(\.host) == [lab.host(7)])
        }
    }

    @Test func rule16TheWishOfAGroupIsTheUnionOverPorts() {
        var lab = GroupTableLab()
        lab.report(.isExclude, [1, 2], port: 3, at: 0)
        lab.report(.isInclude, [2, 9], port: 0, at: 0)
        lab.report(.isExclude, [1, 3], port: 1, at: 0)
        #expect(lab.wish() == "EXCLUDE 1")
        #expect(lab.text(lab.table.wish(of: lab.key(), on: PortIndex(0))) == "INCLUDE 2 9")
        #expect(lab.text(lab.table.wish(of: lab.key(), on: PortIndex(2))) == "INCLUDE")
        #expect(lab.table.ports(with: lab.key()) == PortSet(rawValue: 0b1011))
        #expect(lab.table.wish(of: lab.key(2)) == .nothing)
        #expect(lab.table.keys == [lab.key()])
        #expect(lab.table.entryCount == 3 && lab.table.sourceCount == 6)
        lab.table.handlePortDown(PortIndex(1), at: GroupTableLab.time(1))
        #expect(lab.wish() == "EXCLUDE 1")
        lab.table.handlePortDown(PortIndex(3), at: GroupTableLab.time(1))
        #expect(lab.wish() == "INCLUDE 2 9")
        #expect(lab.table.ports(with: lab.key()) == PortSet(rawValue: 1))
        #expect(lab.table.checkInvariants() == [])
    }

    @Test func aPortThatIsNotThereAndAGroupThatIsNoneAreIgnored() {
        var lab = GroupTableLab(.v4, GroupTableConfiguration(ports: 2))
        lab.report(.isExclude, port: 2, at: 0)
        lab.overflow(port: 200, at: 0)
        lab.report(.isExclude, of: .unspecified(.v4), at: 0)
        lab.report(.isExclude, of: lab.source(1), at: 0)
        lab.report(.isExclude, of: .allHosts(.v4), at: 0)
        #expect(lab.table.keys == [])
        #expect(lab.table.counters[.notAGroup] == 2 && lab.table.counters[.unsnoopedGroup] == 1)
    }

    // MARK: Changes

    @Test func onlyARealChangeOfTheWishIsAChange() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.isExclude, [5], group: 2, at: 0)
        #expect(lab.changes() == [lab.key(1), lab.key(2)])
        lab.report(.isInclude, [1, 2], at: 10)
        lab.report(.isExclude, [5], group: 2, at: 10)
        // A second host of the same kind that wants the same; a BLOCK that only starts the questions.
        lab.report(.isInclude, [2], from: 2, at: 11)
        lab.report(.block, [1], at: 12)
        lab.report(.isInclude, [1], at: 12.5)
        #expect(lab.changes() == [])
        // X is not part of what is wanted: EXCLUDE(X: 6; Y: 5) and EXCLUDE(; Y: 5) forward the same.
        lab.report(.isInclude, [6], group: 2, from: 2, at: 13)
        #expect(lab.changes() == [])
        // Each group once, in the order of its first change.
        lab.report(.isExclude, [], group: 2, at: 20)
        lab.report(.allow, [3], group: 1, at: 20)
        lab.report(.allow, [4], group: 1, at: 20)
        lab.report(.isExclude, [7], group: 3, at: 20)
        #expect(lab.changes() == [lab.key(2), lab.key(1), lab.key(3)])
    }

    @Test func aMemberOfAnotherGenerationIsAChangeAndItsEndToo() {
        var lab = GroupTableLab()
        lab.report(.isExclude, at: 0)
        #expect(lab.table.wish(of: lab.key()).generations == .third)
        _ = lab.changes()
        lab.report(.isExclude, from: 2, as: .second, at: 1)
        #expect(lab.table.wish(of: lab.key()).generations == [.second, .third])
        #expect(lab.changes() == [lab.key()])
        lab.report(.isExclude, from: 1, at: 200)
        lab.wait(until: 261)
        #expect(lab.changes() == [])
        lab.wait(until: 271)
        #expect(lab.table.wish(of: lab.key()).generations == .third)
        #expect(lab.changes() == [lab.key()])
    }
}
