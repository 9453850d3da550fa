// Scenarios of the Linux bridge that are IGMP's own, and those of its group table that are about forwarding: reports and
// leaves of older hosts, groups that are joined by configuration, ports that go down, limits.

import Basics
import Settings
import Switching
import Testing
import Wire

@Suite struct BridgeIGMPScenarios {
    @Test func aVersion2ReportAndItsLeave_rules10and21and22() throws {
        let lab = try ScenarioMesh(.v4)
        #expect(lab.reach(from: 1) == "nowhere")
        lab.join(.second, at: 1)
        #expect(lab.state() == "EXCLUDE@271" && lab.entry()?.generation == .second)
        #expect(lab.wanted() == "1: EXCLUDE" && lab.reach(from: 1) == "1.0")
        lab.leave(.second, at: 5)
        #expect(lab.state() == "EXCLUDE@7", "an older host may have kept silent: it is asked")
        lab.wait(until: 6.9)
        #expect(lab.reach(from: 1) == "1.0")
        lab.wait(until: 7)
        #expect(lab.state() == "none")
        #expect(lab.heard() == ["@5 query G1", "@6 query G1"])
        #expect(lab.heard(port: 1).isEmpty, "other ports are not asked")
        #expect(lab.wanted() == "nobody" && lab.reach(from: 1) == "nowhere")
    }

    @Test func aVersion2LeaveWhileAnotherListens_rules1and21and32() throws {
        let lab = try ScenarioMesh(.v4)
        lab.join(.second, host: 1, at: 0)
        lab.join(.second, host: 2, at: 1)
        let facts = lab.mesh.sites[0].core.control.snooper.book.keys
        lab.leave(.second, host: 1, at: 5)
        #expect(lab.heard() == ["@5 query G1"])
        for tenth in 52...60 {
            lab.wait(until: Double(tenth) / 10)
            #expect(lab.reach(from: 1) == "1.0", "no gap")
        }
        lab.join(.second, host: 2, at: 6.5)
        for second in 7...9 {
            lab.wait(until: Double(second))
            #expect(lab.state() == "EXCLUDE@276.5" && lab.wanted() == "1: EXCLUDE")
            #expect(lab.reach(from: 1) == "1.0")
        }
        #expect(lab.mesh.sites[0].core.control.snooper.book.keys == facts && lab.heard(site: 0).isEmpty)
    }

    @Test func aVersion1ReportOutlivesALeave_rule22() throws {
        let lab = try ScenarioMesh(.v4)
        lab.join(.first, host: 1, at: 0)
        #expect(lab.entry()?.generation == .first)
        lab.leave(.second, host: 2, at: 5)
        #expect(lab.state() == "EXCLUDE@270" && lab.counter(.leaveInFirstMode) == 1)
        #expect(lab.heard().isEmpty, "a host that knows no leave is not asked")
        lab.wait(until: 259)
        #expect(lab.entry()?.generation == .first && lab.reach(from: 1) == "1.0")
        lab.wait(until: 260)
        #expect(lab.entry()?.generation == .third, "K11")
        lab.wait(until: 270)
        #expect(lab.state() == "none" && lab.reach(from: 1) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases)
    func nothingBeforeThenIncludeThenEverythingThenNothing_rules10and18(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        #expect(lab.passing([1, 2]) == [])
        lab.report(.isInclude, [1], at: 1)
        #expect(lab.passing([1, 2]) == [1])
        lab.report(.toExclude, at: 2)
        #expect(lab.passing([1, 2]) == [1, 2])
        lab.leave(at: 3)
        #expect(lab.passing([1, 2]) == [])
        #expect(lab.mesh.sites[0][.unwanted] == 5, "each of them is counted where it came from")
    }

    @Test(arguments: IPFamily.allCases)
    func nothingBeforeThenExcludeThenEverythingThenNothing_rules10and18(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.report(.isExclude, [2], at: 1)
        #expect(lab.passing([1, 2]) == [1])
        lab.report(.isExclude, at: 2)
        #expect(lab.passing([1, 2]) == [1, 2])
        lab.leave(at: 3)
        #expect(lab.passing([1, 2]) == [])
    }

    @Test(arguments: IPFamily.allCases)
    func aStaticGroupIsWantedWhateverHostsSay(_ family: IPFamily) throws {
        let group = IPFamily.v4 == family ? IPAddress(ipv4: 0xEF14_0001) : IPAddress(high: 0xFF05 << 48, low: 0x20_0001)
        var setups = ScenarioMesh.threeSites()
        setups[1].multicast.statics = [StaticGroup(group: group)]
        let lab = try ScenarioMesh(family, setups)
        #expect(lab.wanted() == "1: EXCLUDE" && lab.reach(from: 1) == "1.0 1.1 1.2", "before anybody asks")
        lab.report(.isInclude, [2], at: 1)
        #expect(lab.wanted() == "1: EXCLUDE")
        lab.leave(at: 2)
        #expect(lab.state() == "none")
        #expect(lab.reach(from: 1) == "1.0 1.1 1.2", "a leave does not end what is configured")
        #expect(lab.reach(from: 1, group: 2) == "nowhere")
    }

    @Test func multicastThatIsNotIPGoesEverywhere_rule13() throws {
        let lab = try ScenarioMesh(.v4)
        lab.join(at: 0)
        let frame = testFrame(to: MACAddress(rawValue: 0x0102_0304_0506), from: host(0, 100), count: 700)
        #expect(lab.reach(frame) == "1.0 1.1 1.2 2.0")
        // Precision Time Protocol over Ethernet (IEEE 1588 annex E).
        let clock = testFrame(to: MACAddress(rawValue: 0x011B_1900_0000), from: host(0, 100), number: 1, count: 700)
        #expect(lab.reach(clock) == "1.0 1.1 1.2 2.0")
    }

    // MARK: Limits

    @Test(arguments: IPFamily.allCases)
    func groupsPastTheLimitAreAllForwardedToThatPort_rule29(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family) { $0.groupsLimit = 4 }
        for number in 1...6 { lab.join(group: number, host: number, at: Double(number)) }
        #expect((1...6).map { lab.state($0) != "none" } == [true, true, true, true, false, false])
        #expect(lab.counter(.groupLimit) == 2)
        for number in 1...7 { #expect(lab.reach(from: 1, group: number) == "1.0", "nothing wanted is lost") }
        for number in 1...6 { lab.leave(group: number, host: number, at: 10 + Double(number)) }
        #expect(lab.reach(from: 1, group: 5) == "1.0", "who wants it is not known")
        lab.wait(until: 276)
        #expect(lab.reach(from: 1, group: 5) == "nowhere", "K4 after the last one that found no room")
        lab.join(group: 5, at: 280)
        #expect(lab.state(5) == "EXCLUDE@550")
    }

    @Test(arguments: IPFamily.allCases)
    func aLimitOnOneVLANAndPortConcernsNoOther_rule29(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family) { $0.groupsLimit = 2 }
        let ten = VLAN(rawValue: 10)
        let eleven = VLAN(rawValue: 11)
        lab.join(group: 1, port: 1, vlan: eleven, at: 0)
        lab.join(group: 1, port: 0, vlan: ten, at: 1)
        lab.join(group: 2, port: 0, vlan: ten, at: 2)
        #expect(lab.reach(from: 1, group: 2, vlan: ten) == "1.0")
        #expect(lab.reach(from: 1, group: 9, vlan: ten) == "1.0")
        #expect(lab.reach(from: 1, group: 1, vlan: eleven) == "1.1")
        #expect(lab.reach(from: 1, group: 9, vlan: eleven) == "nowhere")
        #expect(lab.reach(from: 1, group: 9) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases)
    func sourcesPastTheLimitAreAllForwarded_rule29(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family) { $0.sourcesLimit = 4 }
        lab.report(.isInclude, [1, 2, 3, 4], at: 0)
        #expect(lab.state() == "INCLUDE 1@270 2@270 3@270 4@270")
        lab.report(.allow, [5], at: 1)
        #expect(lab.state() == "EXCLUDE@271" && lab.counter(.sourceLimit) == 1)
        #expect(lab.passing([1, 2, 3, 4, 5, 100]) == [1, 2, 3, 4, 5, 100])
        lab.wait(until: 271)
        #expect(lab.state() == "none", "it heals when nobody asks")
    }

    // MARK: Ports

    @Test(arguments: IPFamily.allCases)
    func aPortThatGoesDownForgetsItsGroupsAndAsksWhenItIsUp_rules7and32(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.join(port: 0, at: 0)
        lab.join(group: 2, port: 1, host: 2, at: 1)
        lab.setPort(0, isUp: false, at: 2)
        #expect(lab.state() == "none" && lab.state(2, port: 1) == "EXCLUDE@271")
        #expect(lab.wanted() == "nobody" && lab.wanted(2) == "1: EXCLUDE")
        #expect(lab.reach(from: 1) == "nowhere" && lab.reach(from: 1, group: 2) == "1.1")
        lab.forget()
        lab.setPort(0, isUp: true, at: 5)
        #expect(lab.heard() == ["@5 general v3"])
        lab.join(port: 0, at: 6)
        #expect(lab.reach(from: 1) == "1.0")
    }
}
