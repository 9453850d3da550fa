// What the Linux bridge's self-tests of IGMPv3 and MLDv2 reports show, rebuilt for both families: one host at site 1 goes
// through the transitions of RFC 9776 section 6.4, and feeds from site 0 follow. Where a transition queries, it is shown
// twice: with hosts that are not tracked, asked as the kernel asks them, and with tracked ones, whose answer is known.

import Basics
import Settings
import Testing
import Wire

@Suite struct BridgeReportScenarios {
    /// INCLUDE(1, 2, 3).
    private func included(_ family: IPFamily, tracking: Bool = true) throws -> ScenarioMesh {
        let lab = try ScenarioMesh(family) { $0.tracking = tracking }
        lab.scope = 2
        lab.report(.isInclude, [1, 2, 3], at: 0)
        #expect(lab.state() == "INCLUDE 1@270 2@270 3@270")
        return lab
    }

    /// EXCLUDE({1, 2}, {20, 21}), from INCLUDE(1, 2, 3).
    private func excluded(_ family: IPFamily, tracking: Bool = true) throws -> ScenarioMesh {
        let lab = try included(family, tracking: tracking)
        lab.report(.isExclude, [1, 2, 20, 21], at: 1)
        #expect(lab.state() == "EXCLUDE@271 1@270 2@270 -20 -21")
        return lab
    }

    @Test(arguments: IPFamily.allCases)
    func includeIsForwardedAndNothingElse_rules16and18(_ family: IPFamily) throws {
        let lab = try included(family)
        #expect(lab.wanted() == "1: INCLUDE 1,2,3")
        #expect(lab.passing([1, 2, 3, 100]) == [1, 2, 3])
        #expect(lab.heard().isEmpty, "nothing is asked")
    }

    @Test(arguments: IPFamily.allCases, [GroupRecordKind.allow, .isInclude])
    func includeThenAllowOrIsInclude_rule18(_ family: IPFamily, _ kind: GroupRecordKind) throws {
        let lab = try included(family)
        lab.report(kind, [10, 11, 12], at: 1)
        #expect(lab.state() == "INCLUDE 1@270 2@270 3@270 10@271 11@271 12@271")
        #expect(lab.wanted() == "1: INCLUDE 1,2,3,10,11,12")
        #expect(lab.passing([1, 2, 3, 10, 11, 12, 100]) == [1, 2, 3, 10, 11, 12])
    }

    @Test(arguments: IPFamily.allCases)
    func includeThenIsExclude_rule18(_ family: IPFamily) throws {
        let lab = try excluded(family)
        #expect(lab.wanted() == "1: EXCLUDE 20,21", "one host's list, and no source of it crosses")
        #expect(lab.passing([1, 2, 3, 20, 21, 100]) == [1, 2, 3, 100])
        #expect(lab.heard().isEmpty)
    }

    @Test(arguments: IPFamily.allCases)
    func includeThenToExcludeAsks_rules18and21(_ family: IPFamily) throws {
        let lab = try included(family, tracking: false)
        lab.report(.toExclude, [1, 20, 30], at: 1)
        #expect(lab.state() == "EXCLUDE@271 1@3 -20 -30", "2 and 3 are gone, 1 has K10")
        #expect(lab.passing([1, 2, 3, 20, 30, 100]) == [1, 2, 3, 100])
        lab.wait(until: 3)
        #expect(lab.state() == "EXCLUDE@271 -1 -20 -30")
        #expect(lab.heard() == ["@1 query G1 1", "@2 query G1 1"])
        #expect(lab.passing([1, 2, 3, 20, 30, 100]) == [2, 3, 100])
    }

    @Test(arguments: IPFamily.allCases)
    func includeThenToExcludeIsKnown_rule27(_ family: IPFamily) throws {
        let lab = try included(family)
        lab.report(.toExclude, [1, 20, 30], at: 1)
        #expect(lab.state() == "EXCLUDE@271 -1 -20 -30")
        #expect(lab.passing([1, 2, 3, 20, 30, 100]) == [2, 3, 100])
        #expect(lab.heard().isEmpty)
    }

    @Test(arguments: IPFamily.allCases, [GroupRecordKind.allow, .isInclude])
    func excludeThenAllowOrIsInclude_rule19(_ family: IPFamily, _ kind: GroupRecordKind) throws {
        let lab = try excluded(family)
        lab.report(kind, [20, 30], at: 2)
        #expect(lab.state() == "EXCLUDE@271 1@270 2@270 20@272 -21 30@272")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [1, 2, 20, 30, 100])
    }

    @Test(arguments: IPFamily.allCases)
    func excludeThenIsExclude_rule19(_ family: IPFamily) throws {
        let lab = try excluded(family)
        lab.report(.isExclude, [20, 30], at: 2)
        #expect(lab.state() == "EXCLUDE@272 -20 30@272")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [1, 2, 21, 30, 100])
    }

    @Test(arguments: IPFamily.allCases)
    func excludeThenToExcludeAsks_rules19and21(_ family: IPFamily) throws {
        let lab = try excluded(family, tracking: false)
        lab.report(.toExclude, [1, 20, 30], at: 2)
        #expect(lab.state() == "EXCLUDE@272 1@4 -20 30@4")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [1, 2, 21, 30, 100])
        lab.wait(until: 4)
        #expect(lab.state() == "EXCLUDE@272 -1 -20 -30")
        #expect(lab.heard() == ["@2 query G1 1,30", "@3 query G1 1,30"])
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [2, 21, 100])
    }

    @Test(arguments: IPFamily.allCases)
    func excludeThenToExcludeIsKnown_rule27(_ family: IPFamily) throws {
        let lab = try excluded(family)
        lab.report(.toExclude, [1, 20, 30], at: 2)
        #expect(lab.state() == "EXCLUDE@272 -1 -20 -30")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [2, 21, 100])
        #expect(lab.heard().isEmpty)
    }

    @Test(arguments: IPFamily.allCases)
    func includeThenBlockAsks_rules18and21(_ family: IPFamily) throws {
        let lab = try included(family, tracking: false)
        lab.report(.block, [1, 20, 30], at: 1)
        #expect(lab.state() == "INCLUDE 1@3 2@270 3@270", "what was not wanted is not asked for")
        #expect(lab.passing([1, 2, 3, 100]) == [1, 2, 3])
        lab.wait(until: 3)
        #expect(lab.state() == "INCLUDE 2@270 3@270")
        #expect(lab.heard() == ["@1 query G1 1", "@2 query G1 1"])
        #expect(lab.passing([1, 2, 3, 20, 30, 100]) == [2, 3])
    }

    @Test(arguments: IPFamily.allCases)
    func includeThenBlockIsKnown_rule27(_ family: IPFamily) throws {
        let lab = try included(family)
        lab.report(.block, [1, 20, 30], at: 1)
        #expect(lab.state() == "INCLUDE 2@270 3@270")
        #expect(lab.passing([1, 2, 3, 20, 30, 100]) == [2, 3])
        #expect(lab.heard().isEmpty)
    }

    @Test(arguments: IPFamily.allCases)
    func excludeThenBlockAsks_rules19and21(_ family: IPFamily) throws {
        let lab = try excluded(family, tracking: false)
        lab.report(.block, [1, 20, 30], at: 2)
        #expect(lab.state() == "EXCLUDE@271 1@4 2@270 -20 -21 30@4")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [1, 2, 30, 100])
        lab.wait(until: 4)
        #expect(lab.state() == "EXCLUDE@271 -1 2@270 -20 -21 -30")
        #expect(lab.heard() == ["@2 query G1 1,30", "@3 query G1 1,30"])
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [2, 100])
    }

    @Test(arguments: IPFamily.allCases)
    func excludeThenBlockIsKnown_rule27(_ family: IPFamily) throws {
        let lab = try excluded(family)
        lab.report(.block, [1, 20, 30], at: 2)
        #expect(lab.state() == "EXCLUDE@271 -1 2@270 -20 -21 -30")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [2, 100])
        #expect(lab.heard().isEmpty)
    }

    @Test(arguments: IPFamily.allCases)
    func includeThenToIncludeAsks_rules18and21(_ family: IPFamily) throws {
        let lab = try included(family, tracking: false)
        lab.report(.toInclude, [3, 4], at: 1)
        #expect(lab.state() == "INCLUDE 1@3 2@3 3@271 4@271")
        #expect(lab.passing([1, 2, 3, 4, 100]) == [1, 2, 3, 4])
        lab.wait(until: 3)
        #expect(lab.state() == "INCLUDE 3@271 4@271")
        #expect(lab.heard() == ["@1 query G1 1,2", "@2 query G1 1,2"])
        #expect(lab.passing([1, 2, 3, 4, 100]) == [3, 4])
    }

    @Test(arguments: IPFamily.allCases)
    func excludeThenToIncludeAsks_rules19to21(_ family: IPFamily) throws {
        let lab = try excluded(family, tracking: false)
        lab.report(.toInclude, [20, 30], at: 2)
        #expect(lab.state() == "EXCLUDE@4 1@4 2@4 20@272 -21 30@272")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [1, 2, 20, 30, 100])
        lab.wait(until: 4)
        #expect(lab.state() == "INCLUDE 20@272 30@272")
        #expect(lab.heard() == ["@2 query G1 1,2", "@2 query G1", "@3 query G1 1,2", "@3 query G1"])
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [20, 30])
    }

    @Test(arguments: IPFamily.allCases)
    func excludeThenToIncludeIsKnown_rule27(_ family: IPFamily) throws {
        let lab = try excluded(family)
        lab.report(.toInclude, [20, 30], at: 2)
        #expect(lab.state() == "INCLUDE 20@272 30@272")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [20, 30])
        #expect(lab.heard().isEmpty)
    }

    @Test(arguments: IPFamily.allCases)
    func aMemberThatAnswersKeepsItsSource_rule21(_ family: IPFamily) throws {
        let lab = try included(family, tracking: false)
        lab.report(.block, [1, 2], at: 1)
        lab.report(.isInclude, [1], host: 2, at: 1.5)
        #expect(lab.state() == "INCLUDE 1@271.5 2@3 3@270")
        lab.wait(until: 3)
        #expect(lab.state() == "INCLUDE 1@271.5 3@270")
        #expect(lab.heard() == ["@1 query G1 1,2", "@2 query G1 1 S", "@2 query G1 2"])
        #expect(lab.passing([1, 2, 3]) == [1, 3])
    }

    @Test(arguments: IPFamily.allCases)
    func theGroupTimerRunsOutAndLeavesTheSources_rule20(_ family: IPFamily) throws {
        let lab = try excluded(family)
        lab.report(.allow, [20, 30], at: 2)
        lab.wait(until: 270)
        #expect(lab.state() == "EXCLUDE@271 -1 -2 20@272 -21 30@272", "a source of X that runs out is blocked")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [20, 30, 100])
        lab.wait(until: 271)
        #expect(lab.state() == "INCLUDE 20@272 30@272")
        #expect(lab.passing([1, 2, 20, 21, 30, 100]) == [20, 30])
        lab.wait(until: 272)
        #expect(lab.state() == "none")
        #expect(lab.passing([1, 20, 30, 100]) == [])
        #expect(lab.wanted() == "nobody" && lab.wanted(at: 2) == "nobody")
    }

    @Test(arguments: IPFamily.allCases)
    func aSourceThatOnePortNamesGoesToThePortThatExcludesOthersToo_rule16(_ family: IPFamily) throws {
        let lab = try excluded(family)
        lab.report(.isInclude, [1, 2, 3], port: 1, host: 2, at: 2)
        #expect(lab.state(port: 1) == "INCLUDE 1@272 2@272 3@272")
        #expect(lab.wanted() == "1: EXCLUDE 20,21")
        for source in 1...3 { #expect(lab.reach(from: source) == "1.0 1.1") }
        #expect(lab.reach(from: 100) == "1.0")
        #expect(lab.reach(from: 20) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases)
    func aSourceThatOnePortBlocksIsSentForTheOther_rule16(_ family: IPFamily) throws {
        let lab = try excluded(family)
        lab.report(.isInclude, [20], port: 1, host: 2, at: 2)
        #expect(lab.wanted() == "1: EXCLUDE 21", "the site wants what any of its ports wants")
        #expect(lab.reach(from: 20) == "1.1")
        #expect(lab.reach(from: 21) == "nowhere")
    }
}
