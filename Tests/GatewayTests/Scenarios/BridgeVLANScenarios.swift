// What the Linux bridge's self-test of multicast per VLAN shows, rebuilt: a querier for each VLAN, its versions, counts and
// intervals, router ports, and snooping switched off. A gateway's VLANs need no configuration: a VLAN's querier begins with
// the first message on it. Times are therefore counted from that message, at 0.

import Basics
import Settings
import Switching
import Testing
import Wire

@Suite struct BridgeVLANScenarios {
    private let ten = VLAN(rawValue: 10)
    private let eleven = VLAN(rawValue: 11)

    /// Three sites whose timing `change` alters.
    private func timed(
        _ family: IPFamily, _ change: (inout MembershipTiming) -> Void
    ) throws -> ScenarioMesh {
        try ScenarioMesh(family) { change(&$0[family].timing) }
    }

    /// The VLAN is seen, with a report that makes no group.
    private func begin(_ lab: ScenarioMesh, at seconds: Double = 0) {
        lab.report(.isInclude, vlan: ten, at: seconds)
        #expect(lab.state(vlan: ten) == "none")
    }

    // MARK: Groups

    @Test(arguments: IPFamily.allCases)
    func aJoinConcernsItsVLANOnly_rules10and14(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.join(.second, vlan: ten, at: 0)
        #expect(lab.state(vlan: ten) == "EXCLUDE@270" && lab.state(vlan: eleven) == "none" && lab.state() == "none")
        #expect(lab.wanted(vlan: ten) == "1: EXCLUDE" && lab.wanted(vlan: eleven) == "nobody")
        #expect(lab.reach(from: 1, vlan: ten) == "1.0", "with its tag: octet for octet")
        #expect(lab.reach(from: 1, vlan: eleven) == "nowhere" && lab.reach(from: 1) == "nowhere")
        lab.leave(.second, vlan: ten, at: 5)
        lab.wait(until: 7)
        #expect(lab.state(vlan: ten) == "none" && lab.reach(from: 1, vlan: ten) == "nowhere")
    }

    @Test func aServiceVLANOfTheSameNumberIsAnother_rule10() throws {
        let lab = try ScenarioMesh(.v4)
        let service = VLAN(identifier: 10, isService: true)
        lab.join(vlan: service, at: 0)
        #expect(lab.reach(from: 1, vlan: service) == "1.0" && lab.reach(from: 1, vlan: ten) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases)
    func withSnoopingOffASiteGetsEverythingAndKeepsNothing(_ family: IPFamily) throws {
        var setups = ScenarioMesh.threeSites()
        setups[1].multicast.snooping = false
        let lab = try ScenarioMesh(family, setups)
        lab.join(vlan: ten, at: 0)
        #expect(lab.state(vlan: ten) == "none" && lab.heard().isEmpty)
        for vlan in [ten, eleven, .untagged] { #expect(lab.reach(from: 1, vlan: vlan) == "1.0 1.1 1.2") }
    }

    // MARK: The querier

    @Test(arguments: IPFamily.allCases)
    func aVLANIsAskedWithItsTagFromItsFirstMessageOn_rules28and31(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        begin(lab)
        #expect(lab.heard() == ["@0 10: general v3"] && lab.heard(port: 2) == ["@0 10: general v3"])
        lab.wait(until: 290)
        let tagged = lab.heard().filter { $0.contains("10:") }
        #expect(tagged == ["@31.25 10: general v3", "@156.25 10: general v3", "@281.25 10: general v3"], "K6, then K2")
        #expect(lab.heard(site: 0).allSatisfy { !$0.contains("10:") }, "queries do not cross")
    }

    @Test(arguments: IPFamily.allCases)
    func aSiteThatIsNotToAskDoesNot_rule28(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family) { $0[family].querier = false }
        lab.join(vlan: ten, at: 0)
        lab.leave(.second, vlan: ten, at: 5)
        lab.wait(until: 300)
        #expect(lab.heard().isEmpty)
    }

    @Test(arguments: [(IPFamily.v4, 1, 1), (.v4, 2, 2), (.v4, 3, 3), (.v6, 1, 2), (.v6, 2, 3)])
    func theVersionOfQueriesIsASetting_rule6(_ family: IPFamily, _ version: Int, _ generation: Int) throws {
        let lab = try ScenarioMesh(family) { $0[family].version = version }
        begin(lab)
        #expect(lab.heard() == ["@0 10: general v\(generation)"])
    }

    @Test(arguments: IPFamily.allCases)
    func theLastMemberIsAskedForAsOftenAsItIsSet_rule21(_ family: IPFamily) throws {
        let usual = try ScenarioMesh(family)
        usual.join(.second, vlan: ten, at: 0)
        usual.forget()
        usual.leave(.second, vlan: ten, at: 5)
        usual.wait(until: 10)
        #expect(usual.heard() == ["@5 10: query G1", "@6 10: query G1"], "K8 is 1 s, K9 is 2")

        let lab = try timed(family) {
            $0.setLastMemberQueryCount = 3
            $0.lastMemberQueryInterval = .seconds(2)
        }
        lab.join(.second, vlan: ten, at: 0)
        lab.forget()
        lab.leave(.second, vlan: ten, at: 5)
        #expect(lab.state(vlan: ten) == "EXCLUDE@11", "K10 = K8 · K9")
        lab.wait(until: 10)
        #expect(lab.reach(from: 1, vlan: ten) == "1.0")
        lab.wait(until: 11)
        #expect(lab.heard() == ["@5 10: query G1", "@7 10: query G1", "@9 10: query G1"])
        #expect(lab.reach(from: 1, vlan: ten) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases)
    func startupQueriesAreAsManyAndAsFarApartAsTheyAreSet_rule28(_ family: IPFamily) throws {
        let lab = try timed(family) {
            $0.setStartupQueryInterval = .seconds(1)
            $0.setStartupQueryCount = 3
        }
        begin(lab)
        lab.wait(until: 130)
        #expect(
            lab.heard().filter { $0.contains("10:") }
                == ["@0", "@1", "@2", "@127"].map { "\($0) 10: general v3" })
    }

    @Test(arguments: IPFamily.allCases)
    func aMembershipRunsOutAfterItsIntervalWithoutALeave_rules9and34(_ family: IPFamily) throws {
        let usual = try ScenarioMesh(family)
        usual.join(.second, vlan: ten, at: 0)
        usual.wait(until: 269)
        #expect(usual.reach(from: 1, vlan: ten) == "1.0")
        usual.wait(until: 270)
        #expect(usual.state(vlan: ten) == "none" && usual.wanted(vlan: ten) == "nobody", "K4 is 270 s")

        let lab = try timed(family) { $0.setGroupMembershipInterval = .seconds(2) }
        lab.join(.second, vlan: ten, at: 0)
        #expect(lab.state(vlan: ten) == "EXCLUDE@2")
        lab.wait(until: 1.9)
        #expect(lab.reach(from: 1, vlan: ten) == "1.0")
        lab.wait(until: 2)
        #expect(lab.state(vlan: ten) == "none" && lab.wanted(vlan: ten) == "nobody")
        #expect(lab.reach(from: 1, vlan: ten) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases)
    func aQuerierThatFallsSilentIsReplacedAfterItsInterval_rules23and28(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family) {
            $0[family].querierAddress = family == .v4 ? IPAddress(ipv4: 0x0A00_0064) : IPAddress(high: 0xFE80 << 48, low: 100)
            $0[family].timing.setOtherQuerierPresent = .seconds(3)
        }
        begin(lab)
        lab.query(from: 1, port: 2, vlan: ten, at: 30)
        lab.wait(until: 32)
        #expect(
            lab.heard().filter { $0.contains("10:") } == ["@0 10: general v3", "@30 10: general v3"],
            "his, which is carried on; ours of 31.25 s stays away")
        #expect(lab.heard(port: 2).filter { $0.contains("10:") } == ["@0 10: general v3"], "not back to where it came from")
        lab.wait(until: 160)
        #expect(lab.heard(port: 2).filter { $0.contains("10:") } == ["@33 10: general v3", "@158 10: general v3"])
        #expect(lab.heard(site: 0).allSatisfy { !$0.contains("10:") })
        // A higher address does not make us silent.
        lab.query(from: 200, port: 2, vlan: ten, at: 280)
        lab.wait(until: 284)
        #expect(lab.heard(port: 2).filter { $0.contains("10:") } == ["@283 10: general v3"])
    }

    @Test(arguments: IPFamily.allCases)
    func queriesComeAtTheirInterval_rule28(_ family: IPFamily) throws {
        let lab = try timed(family) {
            $0.setStartupQueryCount = 1
            $0.queryInterval = .seconds(2)
            $0.queryResponseInterval = .seconds(1)
        }
        begin(lab)
        lab.wait(until: 5)
        #expect(
            lab.heard().filter { $0.contains("10:") }
                == ["@0 10: general v3", "@2 10: general v3", "@4 10: general v3"])
    }

    @Test(arguments: IPFamily.allCases)
    func queriesSayHowLongHostsMayTake_rules6and28(_ family: IPFamily) throws {
        let lab = try timed(family) {
            $0.queryResponseInterval = .seconds(2)
            $0.queryInterval = .seconds(200)
            $0.robustness = 3
        }
        begin(lab)
        let query = try #require(lab.packets().last { $0.header.vlan == ten })
        let said = MembershipQuery(maxResponse: .seconds(2), robustness: 3, queryInterval: .seconds(200))
        // 200 is beyond 127: as a floating-point code it is 0x89, which is 200 again.
        #expect(query.packet.message == .query(said))
        #expect(query.packet.destination == .allHosts(family))
    }

    // MARK: Router ports

    @Test(arguments: IPFamily.allCases)
    func unregisteredGroupsGoToConfiguredRouterPortsOnly_rules2and10and12(_ family: IPFamily) throws {
        var setups = ScenarioMesh.threeSites { $0.routerSites = .all }
        setups[1].portMulticast = [PortMulticast(), PortMulticast(), PortMulticast()]
        setups[1].portMulticast[1].router = .on
        setups[1].portMulticast[2].router = .off
        let lab = try ScenarioMesh(family, setups)
        lab.query(from: 1, port: 2, vlan: ten, at: 0)
        #expect(lab.routerPorts(vlan: ten) == [1], "what is heard on port 2 makes no router of it")
        for _ in 0..<10 {
            #expect(lab.reach(from: 1, vlan: ten) == "1.1")
            #expect(lab.reach(from: 1, site: 1, port: 0, vlan: ten) == "1.1")
            #expect(lab.reach(from: 1, site: 1, port: 1, vlan: ten) == "nowhere")
        }
    }

    @Test(arguments: IPFamily.allCases)
    func aRouterPortIsLearnedForItsVLANAndRunsOut_rules2and10(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.query(from: 1, port: 1, vlan: ten, at: 0)
        #expect(lab.routerPorts(vlan: ten) == [1] && lab.routerPorts(vlan: eleven) == [] && lab.routerPorts() == [])
        #expect(lab.reach(from: 1, site: 1, port: 0, vlan: ten) == "1.1")
        #expect(lab.reach(from: 1, site: 1, port: 0, vlan: eleven) == "nowhere")
        #expect(lab.reach(from: 1, vlan: ten) == "nowhere", "a querier alone does not make a site want everything")
        lab.join(port: 0, vlan: ten, at: 10)
        #expect(lab.reach(from: 1, vlan: ten) == "1.0 1.1", "what comes for a member, the router sees")
        #expect(lab.heard(port: 1).contains("@10 10: IS_EX G1") && !lab.heard(port: 2).contains { $0.contains("IS_EX") })
        lab.wait(until: 255)
        #expect(lab.routerPorts(vlan: ten) == [], "K5")
        #expect(lab.reach(from: 1, vlan: ten) == "1.0")
    }

    @Test(arguments: IPFamily.allCases)
    func aQueryFromNobodyMakesNoRouterPort_rule3(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        let query = MembershipQuery(maxResponse: .seconds(10))
        lab.put(
            MembershipFrame.query(query, source: .unspecified(family), from: host(1, 9), vlan: ten), port: 1, at: 0)
        #expect(lab.routerPorts(vlan: ten) == [] && lab.counter(.zeroQuery) == 1)
        lab.wait(until: 32)
        #expect(lab.heard(port: 1).filter { $0.contains("10:") } == ["@0 10: general v3", "@31.25 10: general v3"])
    }

    @Test(arguments: IPFamily.allCases)
    func aPortWithFastLeaveIsNotAsked_rule27(_ family: IPFamily) throws {
        var setups = ScenarioMesh.threeSites()
        setups[1].portMulticast = [PortMulticast()]
        setups[1].portMulticast[0].fastLeave = true
        let lab = try ScenarioMesh(family, setups)
        lab.join(.second, port: 0, vlan: ten, at: 0)
        lab.join(.second, port: 1, host: 2, vlan: ten, at: 1)
        lab.forget()
        lab.leave(.second, port: 0, vlan: ten, at: 5)
        #expect(lab.state(vlan: ten) == "none" && lab.reach(from: 1, vlan: ten) == "1.1")
        lab.leave(.second, port: 1, host: 2, vlan: ten, at: 6)
        #expect(lab.state(port: 1, vlan: ten) == "EXCLUDE@8")
        lab.wait(until: 8)
        #expect(lab.heard(port: 0).isEmpty && lab.heard(port: 1) == ["@6 10: query G1", "@7 10: query G1"])
    }
}
