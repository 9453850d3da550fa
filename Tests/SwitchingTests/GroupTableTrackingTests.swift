// Rule 27: what tracked hosts make unnecessary to ask, when they may be trusted, and fast leave.

import Basics
import Testing
import Wire

@testable import Switching

@Suite struct GroupTableTrackingTests {
    private static func lab(_ family: IPFamily = .v4, fastLeave: PortSet = .none, memberLimit: Int = 1000) -> GroupTableLab {
        GroupTableLab(
            family, GroupTableConfiguration(memberLimit: memberLimit, fastLeave: fastLeave), knowsAll: true)
    }

    // MARK: At once

    @Test(arguments: IPFamily.allCases) func rule27TheLastHostLeavesAndTheGroupEndsAtOnce(_ family: IPFamily) {
        var lab = Self.lab(family)
        lab.report(.isExclude, from: 1, at: 0)
        lab.report(.toExclude, from: 2, at: 0)
        _ = lab.changes()
        lab.report(.toInclude, from: 1, at: 100)
        #expect(lab.state() == "EXCLUDE@270")
        #expect(lab.changes() == [])
        lab.report(.toInclude, from: 2, at: 101)
        #expect(lab.state() == "none")
        #expect(lab.changes() == [lab.key()])
        #expect(lab.queries() == [])
    }

    @Test(arguments: IPFamily.allCases) func rule27ASourceThatNobodyWantsEndsAtOnce(_ family: IPFamily) {
        var lab = Self.lab(family)
        lab.report(.isInclude, [1, 2, 3], from: 1, at: 0)
        lab.report(.allow, [2], from: 2, at: 10)
        lab.report(.block, [1, 2], from: 1, at: 100)
        // 2 is wanted by host 2: neither asked for nor lowered.
        #expect(lab.state() == "INCLUDE 2@280 3@270")
        lab.report(.toInclude, from: 1, at: 101)
        #expect(lab.state() == "INCLUDE 2@280")
        lab.report(.allow, [5], from: 2, at: 102)
        #expect(lab.state() == "INCLUDE 2@280 5@372")
        lab.report(.block, [2, 5], from: 2, at: 103)
        #expect(lab.state() == "none")
        #expect(lab.queries() == [])
    }

    @Test func rule27TheLastExcludingHostLeavesAndIncludeRemains() {
        var lab = Self.lab()
        lab.report(.isExclude, [9], from: 1, at: 0)
        lab.report(.isInclude, [1, 2], from: 2, at: 10)
        lab.report(.isExclude, [9], from: 1, at: 20)
        // The second IS_EX has taken 1 and 2 out of X.
        #expect(lab.state() == "EXCLUDE@290 -9")
        lab.report(.toInclude, from: 1, at: 100)
        #expect(lab.state() == "INCLUDE 1@280 2@280")
        #expect(lab.wish() == "INCLUDE 1 2")
        #expect(lab.queries() == [])
    }

    @Test func rule27AnExcludingHostTurnsToIncludeAndOthersKeepTheirs() {
        var lab = Self.lab()
        lab.report(.isExclude, [9], from: 1, at: 0)
        lab.report(.isInclude, [1], from: 2, at: 10)
        lab.report(.toInclude, [3], from: 1, at: 100)
        #expect(lab.state() == "INCLUDE 1@280 3@370")
        #expect(lab.queries() == [])
    }

    @Test func rule27InExcludeASourceThatNobodyWantsIsBlockedAtOnce() {
        var lab = Self.lab()
        lab.report(.isExclude, from: 1, at: 0)
        lab.report(.isInclude, [2], from: 2, at: 0)
        lab.report(.block, [1, 2], from: 1, at: 100)
        #expect(lab.state() == "EXCLUDE@270 -1 2@270")
        // While another host excludes less, nothing is blocked.
        lab.report(.isExclude, from: 3, at: 101)
        #expect(lab.state() == "EXCLUDE@371")
        lab.report(.block, [5], from: 1, at: 102)
        #expect(lab.state() == "EXCLUDE@371 5@371")
        #expect(lab.queries() == [])
    }

    @Test func rule27IncludeTurnsToExcludeAndSourcesThatNobodyWantsAreBlockedAtOnce() {
        var lab = Self.lab()
        lab.report(.isInclude, [1, 2], from: 1, at: 0)
        lab.report(.isInclude, [2], from: 2, at: 0)
        lab.report(.toExclude, [1, 2, 3], from: 1, at: 100)
        #expect(lab.state() == "EXCLUDE@370 -1 2@270 -3")
        #expect(lab.queries() == [])
    }

    @Test func rule27AlsoWithoutBeingTheQuerier() {
        var lab = Self.lab()
        lab.context.isQuerier = false
        lab.report(.isExclude, at: 0)
        lab.report(.toInclude, at: 100)
        #expect(lab.state() == "none")
    }

    @Test func rule27PendingQueriesOfWhatEndsAreForgotten() {
        var lab = Self.lab()
        lab.context.knowsAll = false
        lab.report(.isInclude, [1, 2], from: 1, at: 0)
        lab.report(.block, [1], from: 1, at: 100)
        #expect(lab.queries() == ["0 G1 1"])
        lab.context.knowsAll = true
        lab.report(.block, [1], from: 1, at: 100.5)
        #expect(lab.state() == "INCLUDE 2@270")
        lab.wait(until: 101)
        #expect(lab.queries() == [])
    }

    // MARK: When not

    @Test func rule27NotBeforeEveryHostIsKnown() {
        var lab = GroupTableLab()
        lab.report(.isExclude, at: 0)
        lab.report(.toInclude, at: 100)
        #expect(lab.state() == "EXCLUDE@102")
        #expect(lab.queries() == ["0 G1"])
    }

    @Test func rule27NotWithTrackingOff() {
        var lab = GroupTableLab(.v4, GroupTableConfiguration(tracking: false), knowsAll: true)
        lab.report(.isExclude, at: 0)
        lab.report(.isExclude, from: 2, at: 0)
        lab.report(.toInclude, at: 100)
        #expect(lab.state() == "EXCLUDE@102")
        #expect(lab.queries() == ["0 G1"])
        #expect(lab.table.memberCount == 0)
    }

    @Test func rule27NotWhileAnOlderHostIsThere() {
        var lab = Self.lab()
        lab.report(.isExclude, from: 1, at: 0)
        lab.report(.isExclude, from: 2, as: .second, at: 1)
        lab.report(.toInclude, from: 1, at: 100)
        #expect(lab.state() == "EXCLUDE@102")
        #expect(lab.queries() == ["0 G1"])
        // K11 later the mode has risen, and K4 later the host is forgotten: only then are hosts trusted again.
        lab.report(.isExclude, from: 3, at: 101)
        lab.report(.isExclude, from: 3, at: 250)
        _ = lab.queries()
        lab.report(.isExclude, from: 4, at: 262)
        lab.report(.toInclude, from: 4, at: 263)
        #expect(lab.state() == "EXCLUDE@265")
        #expect(lab.queries() == ["0 G1"])
        lab.report(.isExclude, from: 3, at: 264)
        lab.report(.isExclude, from: 4, at: 271)
        _ = lab.queries()
        lab.report(.toInclude, from: 4, at: 272)
        #expect(lab.state() == "EXCLUDE@541")
        lab.report(.toInclude, from: 3, at: 273)
        #expect(lab.state() == "none")
    }

    @Test func rule27NotWhileAHostIsUntracked() {
        var lab = Self.lab(memberLimit: 2)
        for host in 1...3 { lab.report(.isExclude, from: host, at: 0) }
        #expect(lab.table.counters[.memberLimit] == 1)
        #expect(lab.table.memberCount == 2)
        lab.report(.toInclude, from: 1, at: 100)
        #expect(lab.state() == "EXCLUDE@102")
        #expect(lab.queries() == ["0 G1"])
        lab.report(.isExclude, from: 2, at: 101)
        lab.wait(until: 270)
        _ = lab.queries()
        // The third has been silent for K4, so only the second is left.
        lab.report(.toInclude, from: 2, at: 271)
        #expect(lab.state() == "none")
    }

    // MARK: What is remembered of a host

    @Test func rule27AnIncludeListMayBeSplitOverRecords() {
        var lab = Self.lab()
        lab.report(.isInclude, [1, 2], at: 0)
        lab.report(.isInclude, [5], at: 1)
        lab.report(.toInclude, [3, 4], at: 2)
        // TO_IN of the second record does not end what the first one lists: the host still wants 1, 2 and 5.
        #expect(lab.members() == ["1: INCLUDE 1 2 3 4 5 until 272"])
        #expect(lab.state() == "INCLUDE 1@270 2@270 3@272 4@272 5@271")
        lab.report(.isInclude, [1], at: 100)
        lab.wait(until: 270)
        #expect(lab.members() == ["1: INCLUDE 1 3 4 5 until 370"])
        lab.wait(until: 272)
        #expect(lab.members() == ["1: INCLUDE 1 until 370"])
    }

    @Test func rule27MembersByRecord() {
        var lab = Self.lab()
        lab.report(.isExclude, [7], from: 9, at: 0)
        lab.report(.block, [1], from: 1, at: 0)
        #expect(lab.members() == ["9: EXCLUDE 7 until 270"])
        lab.report(.allow, [1, 2], from: 1, at: 1)
        lab.report(.block, [2, 3], from: 1, at: 2)
        #expect(lab.members() == ["1: INCLUDE 1 until 271", "9: EXCLUDE 7 until 270"])
        lab.report(.toExclude, [4, 3], from: 1, at: 3)
        lab.report(.block, [5], from: 1, at: 4)
        lab.report(.allow, [3], from: 1, at: 5)
        #expect(lab.members() == ["1: EXCLUDE 4 5 until 273", "9: EXCLUDE 7 until 270"])
        lab.report(.isExclude, [6], from: 1, at: 6)
        #expect(lab.members() == ["1: EXCLUDE 6 until 276", "9: EXCLUDE 7 until 270"])
        // The answer to a query for sources 6 and 8 of a host that has begun to want them: it is in EXCLUDE all the same.
        lab.report(.isInclude, [6, 8], from: 1, at: 6)
        #expect(lab.members() == ["1: EXCLUDE until 276", "9: EXCLUDE 7 until 270"])
        lab.report(.toInclude, [8], from: 1, at: 7)
        #expect(lab.members() == ["1: INCLUDE 8 until 277", "9: EXCLUDE 7 until 270"])
        lab.report(.block, [8], from: 1, at: 8)
        #expect(lab.members() == ["9: EXCLUDE 7 until 270"])
        lab.report(.isExclude, from: 3, as: .second, at: 9)
        #expect(lab.members() == ["3: EXCLUDE until 279", "9: EXCLUDE 7 until 270"])
        #expect(lab.table.memberCount == 2)
        lab.report(.toInclude, from: 3, as: .second, at: 10)
        #expect(lab.members() == ["9: EXCLUDE 7 until 270"])
    }

    @Test func rule27AHostThatFallsSilentIsForgotten() {
        var lab = Self.lab()
        lab.report(.isExclude, from: 1, at: 0)
        lab.report(.isExclude, from: 2, at: 100)
        lab.wait(until: 270)
        #expect(lab.members() == ["2: EXCLUDE until 370"])
        lab.report(.toInclude, from: 2, at: 271)
        #expect(lab.state() == "none")
    }

    @Test func rule27AThousandHosts() {
        var lab = Self.lab()
        for host in 1...1000 { lab.report(.isExclude, from: host * 17 % 1001, isChecked: false, at: 0) }
        #expect(lab.table.memberCount == 1000)
        for host in 1...999 { lab.report(.toInclude, from: host, isChecked: false, at: 1) }
        #expect(lab.state() == "EXCLUDE@270")
        lab.report(.toInclude, from: 1000, at: 2)
        #expect(lab.state() == "none")
        #expect(lab.queries() == [])
        #expect(lab.table.memberCount == 0)
    }

    // MARK: Fast leave

    @Test(arguments: [MembershipGeneration.second, .third])
    func rule27FastLeaveEndsTheGroupOfThePortAtOnce(_ generation: MembershipGeneration) {
        var lab = Self.lab(fastLeave: PortSet(PortIndex(1)))
        lab.context.knowsAll = false
        for port in 0...1 {
            lab.report(.isExclude, from: 1, port: port, as: generation, at: 0)
            lab.report(.isInclude, [1], from: 2, port: port, at: 0)
        }
        lab.report(.toInclude, from: 1, port: 1, as: generation, at: 100)
        #expect(lab.state(port: 1) == "none")
        #expect(lab.queries() == [])
        lab.report(.toInclude, from: 1, port: 0, as: generation, at: 100)
        #expect(lab.state(port: 0) == "EXCLUDE@102 1@102")
        // Not a leave.
        lab.report(.isInclude, [1, 2], from: 1, port: 1, at: 101)
        lab.report(.toInclude, [1], from: 1, port: 1, at: 102)
        #expect(lab.state(port: 1) == "INCLUDE 1@372 2@104")
    }
}
