// What Open vSwitch's tests of multicast snooping show, rebuilt: trunks, broken checksums, flooding by port and by site, where
// reports go, ports that vanish, a switch that does not snoop, and the table as text at each step. Its flags for a port,
// "all groups" and "all reports", are `router = on` and `flood-reports = on` here.

import Basics
import Settings
import Switching
import Testing
import Wire

@Suite struct OVSScenarios {
    /// Site 1 has three ports that `change` sets.
    private func ports(
        _ change: (inout [PortMulticast]) -> Void, _ multicast: (inout MulticastSettings) -> Void = { _ in }
    ) -> [SiteSetup] {
        var setups = ScenarioMesh.threeSites()
        multicast(&setups[1].multicast)
        setups[1].portMulticast = [PortMulticast(), PortMulticast(), PortMulticast()]
        change(&setups[1].portMulticast)
        return setups
    }

    // MARK: Trunks and queriers

    @Test(arguments: IPFamily.allCases)
    func aTrunkWithAQuerierOnTwoVLANsGetsEachFrameOnce_rules2and10(_ family: IPFamily) throws {
        let access = VLAN(rawValue: 1725)
        let other = VLAN(rawValue: 1728)
        let lab = try ScenarioMesh(family) { $0.routerSites = .all }
        lab.query(from: 1, port: 1, vlan: access, at: 0)
        lab.query(from: 2, port: 1, vlan: other, at: 1)
        #expect(lab.routerPorts(vlan: access) == [1] && lab.routerPorts(vlan: other) == [1])
        let rows = lab.mesh.sites[1].core.control.snooper.routers.rows
        #expect(rows.map(\.vlan) == [access, other] && rows.map(\.address) == [lab.address(1), lab.address(2)])
        #expect(lab.reach(from: 1, site: 1, port: 0, vlan: access) == "1.1", "octet for octet, so with its tag, and once")
        #expect(lab.reach(from: 1, vlan: access) == "1.1", "from another site too")
        #expect(lab.reach(from: 1, vlan: VLAN(rawValue: 1726)) == "nowhere")
    }

    // MARK: Broken messages

    /// Turns over one bit of a message's checksum, which is two octets into it.
    private func broken(_ frame: [UInt8], _ family: IPFamily, tagged: Bool = false) -> [UInt8] {
        var frame = frame
        frame[(tagged ? 18 : 14) + (family == .v4 ? 24 : 48) + 2] ^= 0x04
        return frame
    }

    @Test(arguments: IPFamily.allCases)
    func aQueryWithAWrongChecksumIsNone_rule8(_ family: IPFamily) throws {
        let vlan = VLAN(rawValue: 1725)
        let lab = try ScenarioMesh(family)
        let frame = MembershipFrame.query(
            MembershipQuery(maxResponse: .seconds(10)), source: lab.address(1), from: host(1, 201), vlan: vlan)
        lab.put(broken(frame, family, tagged: true), port: 1, at: 0)
        #expect(lab.routerPorts(vlan: vlan) == [] && lab.counter(.badChecksum) == 1)
        let heard = lab.packets() + lab.packets(port: 1)
        #expect(heard.allSatisfy { $0.packet.source != lab.address(1) }, "not carried on; the VLAN's hosts are asked by us")
        lab.put(frame, port: 1, at: 1)
        #expect(lab.routerPorts(vlan: vlan) == [1] && lab.counter(.badChecksum) == 1)
    }

    @Test(arguments: IPFamily.allCases)
    func aReportWithAWrongChecksumMakesNoGroup_rules4and8(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        let frame = MembershipFrame.report(
            generation: .second, group: lab.group(1), source: .unspecified(family), from: host(1, 1), vlan: .untagged)
        lab.put(broken(frame, family), at: 0)
        #expect(lab.state() == "none" && lab.wanted() == "nobody" && lab.counter(.badChecksum) == 1)
        lab.put(frame, at: 1)
        #expect(lab.state() == "EXCLUDE@271" && lab.wanted() == "1: EXCLUDE")
    }

    @Test(arguments: IPFamily.allCases)
    func recordsBehindOneOfAnUnknownTypeCount_rule25(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        let records = [
            GroupRecord(.isInclude, lab.group(1), [lab.source(1), lab.source(2)]),
            GroupRecord(.allow, lab.group(2), [lab.source(3)]), GroupRecord(.isExclude, lab.group(3)),
        ]
        var frame = MembershipFrame.reports(records, source: lab.address(1), from: host(1, 1), vlan: .untagged)[0]
        let message = 14 + (family == .v4 ? 24 : 48)
        let second = message + 8 + 4 + 3 * (family == .v4 ? 4 : 16)
        #expect(frame[second] == 5)
        frame[second] = 9
        let field = UInt16(frame[message + 2]) << 8 | UInt16(frame[message + 3])
        let checksum = Checksum.updated(field, replacing: UInt16(0x0500), with: UInt16(0x0900))
        frame[message + 2] = UInt8(checksum >> 8)
        frame[message + 3] = UInt8(checksum & 0xFF)
        lab.put(frame, at: 0)
        #expect(lab.state(1) == "INCLUDE 1@270 2@270" && lab.state(2) == "none" && lab.state(3) == "EXCLUDE@270")
        #expect(lab.counter(.unknownRecord) == 1)
        #expect(lab.reach(from: 9, group: 3) == "1.0" && lab.reach(from: 3, group: 2) == "nowhere")
    }

    // MARK: Flooding

    @Test(arguments: IPFamily.allCases)
    func unregisteredGroupsFloodUntilSomebodyJoins_rule12(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family, ports({ _ in }, { $0.unregistered = .flood }))
        #expect(lab.reach(from: 1, site: 1, port: 2) == "1.0 1.1", "never back to its port")
        #expect(lab.reach(from: 1) == "1.0 1.1 1.2", "the other site does not flood")
        lab.join(.second, at: 0)
        #expect(lab.state() == "EXCLUDE@270")
        #expect(lab.reach(from: 1, site: 1, port: 2) == "1.0")
        #expect(lab.reach(from: 1) == "1.0")
        #expect(lab.reach(from: 1, group: 2) == "1.0 1.1 1.2")
    }

    @Test(arguments: IPFamily.allCases)
    func aPortSetToGetAllGroupsGetsThemButItsOwn_rules2and10(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family, ports({ $0[1].router = .on }, { $0.unregistered = .flood }))
        lab.join(.second, at: 0)
        #expect(lab.reach(from: 1, site: 1, port: 2) == "1.0 1.1")
        #expect(lab.reach(from: 1, site: 1, port: 1) == "1.0")
        #expect(lab.reach(from: 1) == "1.0 1.1")

        let both = try ScenarioMesh(
            family,
            ports(
                {
                    $0[1].router = .on
                    $0[2].router = .on
                }, { $0.unregistered = .flood }))
        both.join(.second, at: 0)
        #expect(both.reach(from: 1, site: 1, port: 2) == "1.0 1.1")
        #expect(both.reach(from: 1) == "1.0 1.1 1.2")
    }

    @Test(arguments: IPFamily.allCases)
    func withoutFloodingUnregisteredGroupsGoToThosePortsOnly_rules10and12(_ family: IPFamily) throws {
        let plain = try ScenarioMesh(family)
        #expect(plain.reach(from: 1, site: 1, port: 2) == "nowhere")
        #expect(plain.mesh.sites[1][.unwanted] == 1, "and counted")

        let lab = try ScenarioMesh(family, ports { $0[1].router = .on })
        #expect(lab.reach(from: 1, site: 1, port: 2) == "1.1")
        #expect(lab.reach(from: 1, site: 1, port: 1) == "nowhere")
        #expect(lab.mesh.sites[1][.sameSegment] == 1)
    }

    // MARK: Reports

    @Test(arguments: IPFamily.allCases, MembershipGeneration.allCases)
    func reportsGoToNoHost_rules1and31(_ family: IPFamily, _ generation: MembershipGeneration) throws {
        let lab = try ScenarioMesh(family)
        lab.join(generation, at: 0)
        #expect(lab.state() == "EXCLUDE@270" && lab.reach(from: 1) == "1.0")
        for port in 0..<3 { #expect(lab.heard(port: port).isEmpty) }
        for site in [0, 2] { #expect(lab.heard(site: site).isEmpty, "nor over the mesh") }
    }

    @Test(arguments: IPFamily.allCases)
    func reportsGoToPortsThatAreSetSo_rule1(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family, ports { $0[2].floodReports = true })
        lab.join(.second, at: 0)
        #expect(lab.heard(port: 0).isEmpty && lab.heard(port: 1).isEmpty && lab.heard(port: 2) == ["@0 report v2 G1"])

        let all = try ScenarioMesh(
            family,
            ports {
                for port in 0..<3 { $0[port].floodReports = true }
            })
        all.join(.second, at: 0)
        #expect(all.heard(port: 0).isEmpty, "not back to the port it came from")
        #expect(all.heard(port: 1) == ["@0 report v2 G1"] && all.heard(port: 2) == ["@0 report v2 G1"])
        #expect(all.heard(site: 0).isEmpty)
    }

    @Test(arguments: IPFamily.allCases)
    func reportsGoToRouterPortsAndAreSaidAnewAtOtherSites_rules1and31and35(_ family: IPFamily) throws {
        var setups = ScenarioMesh.threeSites()
        setups[0].ports = 2
        let lab = try ScenarioMesh(family, setups)
        lab.query(from: 1, site: 1, port: 2, at: 0)
        lab.query(from: 1, site: 0, port: 1, at: 0.1)
        for site in 0...1 { lab.forget(site) }
        lab.report(.isInclude, [1], at: 1)
        #expect(lab.heard(port: 2) == ["@1 IS_IN G1 1"], "the host's own")
        lab.wait(until: 3)
        let told = lab.packets(site: 0, port: 1)
        let record = GroupRecord(.allow, lab.group(1), [lab.source(1)])
        #expect(told.count == 2, "a change is said K1 times")
        for (_, header, packet) in told {
            #expect(packet.message == .report(MembershipReport(generation: .third, records: [record])))
            #expect(packet.source != lab.address(1) && header.source != host(1, 1), "by the gateway in its own name")
        }
        #expect(lab.heard(site: 0, port: 0).isEmpty && lab.heard(site: 2).isEmpty, "never to hosts")
        #expect(lab.reach(from: 1) == "0.1 1.0 1.2" && lab.reach(from: 2) == "0.1", "routers see what comes to their LAN")
        lab.query(from: 1, site: 0, port: 1, at: 5)
        lab.wait(until: 15)
        let answer = lab.heard(site: 0, port: 1)
        #expect(answer.count == 1 && answer[0].hasSuffix(" IS_IN G1 1"))
        lab.leave(at: 16)
        lab.wait(until: 20)
        #expect(lab.heard(site: 0, port: 1).allSatisfy { $0.hasSuffix(" BLOCK G1 1") })
        #expect(lab.reach(from: 1) == "0.1")
    }

    // MARK: Ports and the table

    @Test(arguments: IPFamily.allCases)
    func aPortThatIsGoneTakesItsRoutersNotTheOthersGroups_rule2(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        let vlans = [VLAN(rawValue: 1), VLAN(rawValue: 2)]
        for vlan in vlans { lab.join(.second, vlan: vlan, at: Double(vlan.rawValue)) }
        for vlan in vlans { lab.query(.second, from: 1, port: 1, vlan: vlan, at: 2 + Double(vlan.rawValue)) }
        #expect(vlans.map { lab.state(vlan: $0) } == ["EXCLUDE@271", "EXCLUDE@272"])
        #expect(vlans.map { lab.routerPorts(vlan: $0) } == [[1], [1]])
        lab.setPort(1, isUp: false, at: 5)
        #expect(vlans.map { lab.state(vlan: $0) } == ["EXCLUDE@271", "EXCLUDE@272"])
        #expect(vlans.map { lab.routerPorts(vlan: $0) } == [[], []])
        #expect(vlans.map { lab.reach(from: 1, vlan: $0) } == ["1.0", "1.0"])
    }

    @Test(arguments: IPFamily.allCases)
    func aGatewayThatStartsAnewForgetsAndAsks_rules7and32(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.join(at: 0)
        #expect(lab.wanted() == "1: EXCLUDE" && lab.wanted(at: 2) == "1: EXCLUDE")
        lab.wait(until: 10)
        lab.mesh.restart(1)
        lab.wait(until: 12)
        #expect(lab.heard() == ["@10.02 general v3"])
        #expect(lab.state() == "none" && lab.wanted() == "nobody" && lab.wanted(at: 2) == "nobody")
        #expect(lab.reach(from: 1) == "nowhere")
        lab.report(.isExclude, [2], at: 13)
        #expect(lab.wanted() == "1: EXCLUDE 2" && lab.passing([1, 2]) == [1])
    }

    // MARK: Without snooping

    @Test(arguments: IPFamily.allCases)
    func withoutSnoopingReportsAreFramesLikeOthers_rules5and31(_ family: IPFamily) throws {
        var setups = ScenarioMesh.threeSites()
        for site in 0...1 { setups[site].multicast.snooping = false }
        let lab = try ScenarioMesh(family, setups)
        lab.join(.second, site: 0, at: 0)
        for port in 0..<3 { #expect(lab.heard(port: port) == ["@0.001 report v2 G1"]) }
        #expect(lab.heard(site: 2).isEmpty, "a site that snoops takes none from the mesh")
        #expect(lab.mesh.sites[2][.membershipFromMesh] == 1)
        // And unicast in the other direction finds its way.
        let answer = testFrame(to: host(0, 1), from: host(1, 2), count: 700)
        #expect(lab.reach(answer, site: 1) == "0.0")
    }

    @Test(arguments: IPFamily.allCases)
    func aReportBehindAnAddressThatIsNoGroupsDoesNotCross_rule31(_ family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        var frame = MembershipFrame.report(
            generation: .third, group: lab.group(1), source: lab.address(1), from: host(1, 1), vlan: .untagged)
        frame.replaceSubrange(0..<6, with: [0x01, 0x01, 0x00, 0x0C, 0x29, 0xA0])
        lab.put(frame, at: 0)
        #expect(lab.state() == "EXCLUDE@270" && lab.counter(.badLength) == 0, "hosts take it from such a frame too")
        for place in [(0, 0), (1, 1), (1, 2), (2, 0)] { #expect(lab.heard(site: place.0, port: place.1).isEmpty) }
    }
}
