// Rule 21: specific queries, their schedule and S flag, and the queries of another querier (RFC 9776 sections 6.6.1, 6.6.3).

import Basics
import Testing
import Wire

@testable import Switching

@Suite struct GroupTableQueryTests {
    @Test(arguments: IPFamily.allCases) func rule21AGroupIsAskedForTwiceAndGoesAfterK10(_ family: IPFamily) {
        var lab = GroupTableLab(family)
        lab.report(.isExclude, port: 2, at: 0)
        lab.report(.toInclude, port: 2, at: 100)
        #expect(lab.queries() == ["2 G1"])
        #expect(lab.state(port: 2) == "EXCLUDE@102")
        #expect(lab.table.nextTimeout == GroupTableLab.time(101))
        lab.wait(until: 100.999)
        #expect(lab.queries() == [])
        lab.wait(until: 101)
        #expect(lab.queries() == ["2 G1"])
        _ = lab.changes()
        lab.wait(until: 101.999)
        #expect(lab.wish() == "EXCLUDE")
        lab.wait(until: 102)
        #expect(lab.wish() == "INCLUDE")
        #expect(lab.changes() == [lab.key()])
        lab.wait(until: 200)
        #expect(lab.queries() == [])
    }

    @Test func rule21AnAnswerDoesNotStopTheQueriesButSetsTheSFlag() {
        var lab = GroupTableLab()
        lab.report(.isExclude, at: 0)
        lab.report(.toInclude, at: 100)
        lab.report(.isExclude, from: 2, at: 100.5)
        #expect(lab.state() == "EXCLUDE@370.500")
        #expect(lab.queries() == ["0 G1"])
        lab.wait(until: 101)
        #expect(lab.queries() == ["0 G1 S"])
        lab.wait(until: 200)
        #expect(lab.queries() == [])
    }

    @Test func rule21APendingGroupQueryAbsorbsANewOne() {
        var lab = GroupTableLab()
        lab.report(.isExclude, at: 0)
        lab.report(.toInclude, at: 100)
        lab.report(.isExclude, from: 2, at: 100.5)
        lab.report(.toInclude, from: 2, at: 100.75)
        #expect(lab.state() == "EXCLUDE@102.750")
        #expect(lab.queries() == ["0 G1"])
        lab.wait(until: 101)
        #expect(lab.queries() == ["0 G1"])
        lab.wait(until: 102.75)
        #expect(lab.queries() == [])
        #expect(lab.state() == "none")
    }

    @Test func rule21ASourceQueryIsSplitInTwo() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1, 2, 3], at: 0)
        lab.report(.block, [1, 2], at: 100)
        #expect(lab.queries() == ["0 G1 1,2"])
        lab.report(.isInclude, [2], from: 2, at: 100.5)
        lab.wait(until: 101)
        #expect(lab.queries() == ["0 G1 2 S", "0 G1 1"])
        lab.wait(until: 102)
        #expect(lab.state() == "INCLUDE 2@370.500 3@270")
        #expect(lab.queries() == [])
    }

    @Test func rule21AnEmptyHalfIsNotSent() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.block, [1, 2], at: 100)
        lab.report(.isInclude, [1, 2], from: 2, at: 100.5)
        _ = lab.queries()
        lab.wait(until: 101)
        #expect(lab.queries() == ["0 G1 1,2 S"])
    }

    @Test func rule21TheSuppressedHalfGivesWayToTheGroupQuery() {
        var lab = GroupTableLab()
        lab.report(.isExclude, at: 0)
        lab.report(.allow, [1, 2], at: 0)
        lab.report(.toInclude, at: 100)
        #expect(lab.queries() == ["0 G1 1,2", "0 G1"])
        lab.report(.isInclude, [2], from: 2, at: 100.5)
        lab.wait(until: 101)
        #expect(lab.queries() == ["0 G1 1", "0 G1"])
        lab.wait(until: 102)
        #expect(lab.state() == "INCLUDE 2@370.500")
    }

    @Test func rule21OnlySourcesWithMoreThanK10LeftAreAskedFor() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.block, [1], at: 100)
        #expect(lab.queries() == ["0 G1 1"])
        lab.report(.block, [1, 2], from: 2, at: 100.5)
        #expect(lab.queries() == ["0 G1 2"])
        #expect(lab.state() == "INCLUDE 1@102 2@102.500")
        // Each keeps its own schedule.
        lab.wait(until: 101)
        #expect(lab.queries() == ["0 G1 1"])
        lab.wait(until: 101.5)
        #expect(lab.queries() == ["0 G1 2"])
        lab.wait(until: 103)
        #expect(lab.queries() == [])
        #expect(lab.state() == "none")
    }

    @Test func rule21ASourceAskedForAnewStartsOver() {
        var lab = GroupTableLab()
        lab.context.timing.robustness = 3
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.block, [1, 2], at: 100)
        lab.report(.isInclude, [1], at: 100.25)
        lab.report(.block, [1], at: 100.5)
        #expect(lab.queries() == ["0 G1 1,2", "0 G1 1"])
        for (time, expected) in [(101, ["0 G1 2"]), (101.5, ["0 G1 1"]), (102, ["0 G1 2"]), (102.5, ["0 G1 1"])] {
            lab.wait(until: time)
            #expect(lab.queries() == expected)
        }
        lab.wait(until: 103.5)
        #expect(lab.queries() == [])
        #expect(lab.state() == "none")
    }

    @Test func rule21AskedOnceWithARobustnessOfOne() {
        var lab = GroupTableLab()
        lab.context.timing.robustness = 1
        lab.report(.isExclude, at: 0)
        lab.report(.toInclude, at: 100)
        #expect(lab.queries() == ["0 G1"])
        #expect(lab.state() == "EXCLUDE@101")
        lab.wait(until: 101)
        #expect(lab.state() == "none")
        #expect(lab.queries() == [])
    }

    @Test func rule21ASourceThatIsGoneIsNotAskedForAgain() {
        var lab = GroupTableLab()
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.block, [1, 2], at: 100)
        lab.report(.isExclude, [2], at: 100.5)
        lab.report(.isExclude, [], at: 100.75)
        #expect(lab.queries() == ["0 G1 1,2"])
        lab.wait(until: 101)
        #expect(lab.queries() == [])
        #expect(lab.state() == "EXCLUDE@370.750")
    }

    @Test func rule21EachPortIsAskedForItself() {
        var lab = GroupTableLab()
        lab.report(.isExclude, port: 0, at: 0)
        lab.report(.isExclude, from: 2, port: 1, at: 0)
        lab.report(.toInclude, from: 2, port: 1, at: 100)
        #expect(lab.queries() == ["1 G1"])
        lab.wait(until: 101)
        #expect(lab.queries() == ["1 G1"])
        lab.wait(until: 102)
        #expect(lab.state(port: 0) == "EXCLUDE@270")
        #expect(lab.state(port: 1) == "none")
        #expect(lab.wish() == "EXCLUDE")
    }

    @Test func rule21WhoIsNoLongerTheQuerierAsksNoMore() {
        var lab = GroupTableLab()
        lab.report(.isExclude, group: 1, at: 0)
        lab.report(.isExclude, group: 2, at: 0)
        lab.report(.toInclude, group: 1, at: 100)
        lab.report(.toInclude, group: 2, at: 100)
        lab.table.handleQuerierChange(vlan: lab.vlan, family: .v6, isQuerier: false)
        lab.table.handleQuerierChange(vlan: .untagged, family: .v4, isQuerier: false)
        #expect(lab.queries() == ["0 G1", "0 G2"])
        lab.table.handleQuerierChange(vlan: lab.vlan, family: .v4, isQuerier: false)
        #expect(lab.table.checkInvariants() == [])
        lab.wait(until: 101)
        #expect(lab.queries() == [])
        // The timers stay lowered: somebody was asked once.
        #expect(lab.state() == "EXCLUDE@102")
    }

    @Test func rule21AReportAsNonQuerierEndsTheRounds() {
        var lab = GroupTableLab()
        lab.report(.isExclude, at: 0)
        lab.report(.toInclude, at: 100)
        _ = lab.queries()
        lab.context.isQuerier = false
        lab.report(.isExclude, from: 2, at: 100.5)
        lab.wait(until: 110)
        #expect(lab.queries() == [])
    }

    @Test(arguments: IPFamily.allCases) func rule21AnothersQueryLowersTimersOnAllPorts(_ family: IPFamily) {
        var lab = GroupTableLab(family, isQuerier: false)
        lab.report(.isExclude, [4], port: 0, at: 0)
        lab.report(.isExclude, from: 2, port: 1, at: 0)
        lab.report(.isInclude, [1, 2], from: 3, port: 2, at: 0)
        lab.report(.isExclude, group: 2, at: 0)
        lab.heard(1, at: 100)
        #expect(lab.state(port: 0) == "EXCLUDE@102 -4")
        #expect(lab.state(port: 1) == "EXCLUDE@102")
        #expect(lab.state(port: 2) == "INCLUDE 1@270 2@270")
        #expect(lab.state(2) == "EXCLUDE@270")
        lab.heard(1, [2, 4, 7], at: 101)
        #expect(lab.state(port: 0) == "EXCLUDE@102 -4")
        #expect(lab.state(port: 2) == "INCLUDE 1@270 2@103")
        #expect(lab.table.nextTimeout == GroupTableLab.time(102))
        #expect(lab.queries() == [])
    }

    @Test func rule21TheSFlagAndGeneralQueriesLowerNothing() {
        var lab = GroupTableLab(isQuerier: false)
        lab.report(.isExclude, at: 0)
        lab.report(.isInclude, [1], group: 2, at: 0)
        lab.heard(1, suppress: true, at: 100)
        lab.heard(2, [1], suppress: true, at: 100)
        lab.heard(nil, at: 100)
        lab.heard(3, at: 100)
        #expect(lab.state(1) == "EXCLUDE@270")
        #expect(lab.state(2) == "INCLUDE 1@270")
        // Lowering never raises.
        lab.heard(1, at: 269)
        #expect(lab.state(1) == "EXCLUDE@270")
    }

    @Test func severalGroupsAreAskedForInOrder() {
        var lab = GroupTableLab()
        for number in 1...4 { lab.report(.isExclude, group: number, at: 0) }
        let records = [3, 1, 4, 2].map { GroupRecord(.toInclude, lab.group($0)) }
        lab.table.handleReport(
            MembershipReport(generation: .third, records: records), from: lab.host(1), on: PortIndex(0), vlan: lab.vlan,
            lab.context, at: GroupTableLab.time(100))
        #expect(lab.queries() == ["0 G3", "0 G1", "0 G4", "0 G2"])
        lab.wait(until: 101)
        #expect(lab.queries() == ["0 G1", "0 G2", "0 G3", "0 G4"])
    }
}
