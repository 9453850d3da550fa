// Scenarios of the Linux bridge that are MLD's own: MLDv1 listeners, which groups are snooped, and what our queries look like.
// MLDv2's transitions are in BridgeReportScenarios, with IGMPv3's.

import Basics
import Testing
import Wire

@Suite struct BridgeMLDScenarios {
    @Test func aVersion1ReportAndItsDone_rules10and21and22() throws {
        let lab = try ScenarioMesh(.v6)
        #expect(lab.reach(from: 1) == "nowhere")
        lab.join(.second, at: 1)
        #expect(lab.state() == "EXCLUDE@271" && lab.entry()?.generation == .second)
        #expect(lab.wanted() == "1: EXCLUDE" && lab.reach(from: 1) == "1.0")
        lab.leave(.second, at: 5)
        #expect(lab.state() == "EXCLUDE@7")
        lab.wait(until: 7)
        #expect(lab.heard() == ["@5 query G1", "@6 query G1"])
        #expect(lab.state() == "none" && lab.wanted() == "nobody" && lab.reach(from: 1) == "nowhere")
    }

    @Test func groupsOfTheLinkAreSnoopedAllNodesIsNot_rules11and15() throws {
        let lab = try ScenarioMesh(.v6)
        lab.scope = 2
        #expect(lab.reach(from: 1) == "nowhere")
        lab.report(.isInclude, [1], at: 0)
        #expect(lab.reach(from: 1) == "1.0" && lab.reach(from: 2) == "nowhere")
        let everybody = lab.datagram(from: lab.source(1), to: .allHosts(.v6))
        #expect(lab.reach(everybody) == "1.0 1.1 1.2 2.0")
    }

    @Test func groupsOfAHostOrOfNoScopeNeverLeave_rule15() throws {
        let lab = try ScenarioMesh(.v6)
        for scope in [UInt64(0), 1] {
            lab.scope = scope
            lab.report(.isExclude, at: 1 + Double(scope))
            #expect(lab.state() == "none" && lab.reach(from: 1) == "nowhere")
        }
        #expect(lab.counter(.notAGroup) == 2 && lab.mesh.sites[0][.invalidScope] == 2)
    }

    @Test func aReportFromTheUnspecifiedAddressCounts_rule4() throws {
        let lab = try ScenarioMesh(.v6)
        let report = MembershipFrame.report(
            generation: .second, group: lab.group(1), source: .unspecified(.v6), from: host(1, 1), vlan: .untagged)
        lab.put(report, at: 0)
        #expect(lab.state() == "EXCLUDE@270" && lab.reach(from: 1) == "1.0")
    }

    @Test func queriesComeFromALinkLocalAddressWithRouterAlert_rule26() throws {
        let lab = try ScenarioMesh(.v6) { $0.tracking = false }
        lab.report(.isInclude, [1], at: 0)
        lab.report(.block, [1], at: 1)
        lab.wait(until: 15)
        let packets = lab.packets().map(\.packet)
        #expect(packets.count == 3, "two about the source, one general")
        for packet in packets {
            #expect(packet.source.isLinkLocalUnicast && packet.hopLimit == 1 && packet.hasRouterAlert)
        }
        #expect(packets.map(\.destination) == [lab.group(1), lab.group(1), .allHosts(.v6)])
    }
}
