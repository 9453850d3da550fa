// Rules 22 and 24: hosts of older generations, group by group (RFC 9776 section 7.3), and the SSM range (RFC 4604).

import Basics
import Testing
import Wire

@testable import Switching

@Suite struct GroupTableCompatibilityTests {
    private func view(_ lab: GroupTableLab, _ number: Int = 1) throws -> GroupEntryView {
        try #require(lab.table.entry(lab.key(number), on: PortIndex(0)))
    }

    @Test(arguments: IPFamily.allCases) func rule22AnOlderReportIsExcludeNothingAndArmsItsTimer(_ family: IPFamily) throws {
        var lab = GroupTableLab(family)
        lab.report(.isExclude, as: .second, at: 10)
        #expect(lab.state() == "EXCLUDE@280")
        let view = try view(lab)
        #expect(view.generation == .second)
        #expect(view.secondUntil == GroupTableLab.time(270))
        #expect(view.firstUntil == nil)
        #expect(lab.table.wish(of: lab.key()).generations == .second)
    }

    @Test func rule22AnOlderLeaveIsToIncludeNothing() {
        var lab = GroupTableLab()
        lab.report(.isExclude, as: .second, at: 0)
        lab.report(.toInclude, as: .second, at: 100)
        #expect(lab.state() == "EXCLUDE@102")
        #expect(lab.queries() == ["0 G1"])
        lab.wait(until: 102)
        #expect(lab.state() == "none")
    }

    @Test func rule22ALeaveOfAnUnknownGroupIsNothing() {
        var lab = GroupTableLab()
        lab.report(.toInclude, as: .second, at: 0)
        #expect(lab.state() == "none")
        #expect(lab.queries() == [])
    }

    @Test func rule22InSecondModeBlockIsIgnoredAndToExcludeLosesItsSources() {
        for family in IPFamily.allCases {
            var lab = GroupTableLab(family)
            lab.report(.isExclude, as: .second, at: 0)
            lab.report(.block, [1], from: 2, at: 10)
            #expect(lab.state() == "EXCLUDE@270")
            #expect(lab.table.counters[.blockInOlderMode] == 1)
            lab.report(.toExclude, [1, 2], from: 2, at: 20)
            #expect(lab.state() == "EXCLUDE@290")
            #expect(lab.table.counters[.sourcesInOlderMode] == 1)
            lab.report(.toExclude, from: 2, at: 21)
            #expect(lab.table.counters[.sourcesInOlderMode] == 1)
            // The others mean what they say.
            lab.report(.isInclude, [3], from: 2, at: 30)
            #expect(lab.state() == "EXCLUDE@291 3@300")
            lab.report(.toInclude, [4], from: 2, at: 40)
            #expect(lab.state() == "EXCLUDE@42 3@42 4@310")
            #expect(lab.queries() == ["0 G1 3", "0 G1"])
        }
    }

    @Test func rule22InFirstModeLeavesAreIgnoredToo() throws {
        var lab = GroupTableLab()
        lab.report(.isExclude, as: .first, at: 0)
        #expect(try view(lab).generation == .first)
        #expect(try view(lab).firstUntil == GroupTableLab.time(260))
        lab.report(.toInclude, from: 2, as: .second, at: 10)
        lab.report(.toInclude, from: 3, at: 10)
        lab.report(.toInclude, [1], from: 3, at: 10)
        lab.report(.block, [1], from: 3, at: 10)
        lab.report(.toExclude, [1], from: 3, at: 20)
        #expect(lab.state() == "EXCLUDE@290")
        #expect(lab.table.counters[.leaveInFirstMode] == 3)
        #expect(lab.table.counters[.blockInOlderMode] == 1)
        #expect(lab.table.counters[.sourcesInOlderMode] == 1)
        #expect(lab.queries() == [])
    }

    /// A v1 report, then a leave: the group stays.
    @Test func rule22AFirstGenerationHostOutlivesAnothersLeave() {
        var lab = GroupTableLab()
        lab.report(.isExclude, from: 2, as: .second, at: 0)
        lab.report(.isExclude, as: .first, at: 1)
        lab.report(.toInclude, from: 2, as: .second, at: 2)
        lab.wait(until: 260)
        #expect(lab.wish() == "EXCLUDE")
        lab.wait(until: 271)
        #expect(lab.wish() == "INCLUDE")
    }

    @Test func rule22TheModeRisesByItself() throws {
        var lab = GroupTableLab()
        lab.report(.isExclude, as: .first, at: 0)
        lab.report(.isExclude, from: 2, as: .second, at: 100)
        #expect(try view(lab).generation == .first)
        lab.report(.isExclude, from: 3, at: 250)
        lab.wait(until: 260)
        #expect(try view(lab).generation == .second)
        #expect(try view(lab).firstUntil == nil)
        lab.wait(until: 360)
        #expect(try view(lab).generation == .third)
        lab.report(.block, [1], from: 3, at: 361)
        #expect(lab.table.counters[.blockInOlderMode] == 0)
        #expect(lab.state() == "EXCLUDE@520 1@363")
    }

    @Test func rule22CompatibilityIsPerGroupAndPort() throws {
        var lab = GroupTableLab()
        lab.report(.isExclude, as: .second, at: 0)
        lab.report(.isExclude, [1], group: 2, from: 2, at: 0)
        lab.report(.isExclude, from: 3, port: 1, at: 0)
        #expect(try view(lab, 1).generation == .second)
        #expect(try view(lab, 2).generation == .third)
        lab.report(.block, [2], from: 3, port: 1, at: 1)
        lab.report(.block, [2], group: 2, from: 2, at: 1)
        #expect(lab.state(1, port: 1) == "EXCLUDE@270 2@3")
        #expect(lab.state(2) == "EXCLUDE@270 -1 2@3")
    }

    @Test func rule22MLDHasNoFirstGeneration() throws {
        var lab = GroupTableLab(.v6)
        lab.report(.isExclude, as: .first, at: 0)
        #expect(try view(lab).generation == .second)
        #expect(try view(lab).firstUntil == nil)
    }

    // MARK: Rule 24

    @Test(arguments: IPFamily.allCases) func rule24InTheSSMRangeOnlyIncludeCounts(_ family: IPFamily) {
        var lab = GroupTableLab(family)
        let group = lab.ssmGroup(1)
        lab.report(.isExclude, of: group, as: .second, at: 0)
        lab.report(.toInclude, of: group, as: .second, at: 0)
        lab.report(.isExclude, [1], of: group, at: 0)
        lab.report(.toExclude, of: group, at: 0)
        #expect(lab.state(of: group) == "none")
        #expect(lab.table.counters[.olderReportInSSM] == 2)
        #expect(lab.table.counters[.excludeInSSM] == 2)
        lab.report(.allow, [1, 2], of: group, at: 10)
        lab.report(.isExclude, of: group, from: 2, as: .second, at: 11)
        lab.report(.toExclude, of: group, from: 2, at: 12)
        #expect(lab.state(of: group) == "INCLUDE 1@280 2@280")
        lab.report(.block, [2], of: group, at: 13)
        #expect(lab.state(of: group) == "INCLUDE 1@280 2@15")
        #expect(lab.table.entry(GroupKey(lab.vlan, group), on: PortIndex(0))?.generation == .third)
    }

    @Test func rule24TheRangeIsASetting() throws {
        let range = try #require(IPPrefix(IPAddress(ipv4: 0xEF01_0000), length: 16))
        var lab = GroupTableLab(.v4, GroupTableConfiguration(ssm: [range]))
        lab.report(.isExclude, at: 0)
        lab.report(.isExclude, of: lab.ssmGroup(1), at: 0)
        #expect(lab.state() == "none")
        #expect(lab.state(of: lab.ssmGroup(1)) == "EXCLUDE@270")
    }

    @Test func rule24TheStandardRange() {
        let ranges = GroupTableConfiguration.standardSSM
        #expect(ranges.count == 17)
        #expect(ranges.map(\.description).first == "232.0.0.0/8")
        #expect(ranges.contains { $0.contains(IPAddress(high: 0xFF3E_0000_0000_0000, low: 1)) })
        #expect(!ranges.contains { $0.contains(IPAddress(high: 0xFF3E_0020_0000_0000, low: 1)) })
        #expect(!ranges.contains { $0.contains(IPAddress(high: 0xFF05_0000_0000_0000, low: 1)) })
        #expect(!ranges.contains { $0.contains(IPAddress(ipv4: 0xE900_0000)) })
    }
}
