// What must hold when reports are lost, when a querier says strange things, and past limits.

import Basics
import Settings
import Switching
import Testing
import Wire

@testable import Gateway

@Suite struct LimitScenarios {
    /// Two hosts listen from the start; the answer of one to the first query is lost. When the other leaves, the feed goes on
    /// until the one that was not heard has been asked, which it answers.
    @Test(arguments: IPFamily.allCases) func aLostReportHidesNobody_rule27(family: IPFamily) throws {
        let lab = try ScenarioMesh(family) { settings in
            // The scenario begins 145 s after the start: one query by then, the next at 35.
            for path in [\MulticastSettings.igmp, \MulticastSettings.mld] {
                settings[keyPath: path].timing.setStartupQueryInterval = .seconds(180)
            }
        }
        lab.join(host: 1, at: 0)
        lab.leave(host: 1, at: 1)
        #expect(lab.reach(from: 1) == "1.0", "host 2 has not been heard yet")
        lab.join(host: 2, at: 2)
        lab.wait(until: 10)
        #expect(lab.reach(from: 1) == "1.0")
        // After the second query and its K3 everybody has been heard: the last one's leave ends it at once.
        lab.leave(host: 2, at: 46)
        #expect(lab.reach(from: 1) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases) func oneQueryDoesNotSilenceEverybodyForDays_rule23(family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        let query = MembershipQuery(maxResponse: .seconds(10), robustness: 7, queryInterval: .seconds(31_744))
        let lowest = family == .v4 ? IPAddress(ipv4: 0x0100_0001) : IPAddress(high: 0xFE80_0000_0000_0000, low: 1)
        lab.put(MembershipFrame.query(query, source: lowest, from: host(1, 201), vlan: .untagged), at: 0)
        let snooper = lab.mesh.sites[1].core.control.snooper
        let row = snooper.snapshot(withGroups: false, at: lab.mesh.now).queriers.first { $0.family == family }
        #expect(row?.isQuerier == false && row?.timing.queryInterval == .seconds(1_000))
        #expect(lab.counter(.cappedQuerier) == 1)
        lab.join(at: 1)
        #expect(lab.state() == "EXCLUDE@7021")
        lab.query(at: 2)
        #expect(lab.counter(.cappedQuerier) == 1)
    }

    /// Three records a second are allowed: three reports of one, or one report of three.
    @Test(arguments: IPFamily.allCases) func recordsCountNotReports_rule29(family: IPFamily) throws {
        func report(_ lab: ScenarioMesh, _ groups: ClosedRange<Int>) -> [UInt8] {
            let records = groups.map { GroupRecord(.isExclude, lab.group($0), []) }
            return MembershipFrame.reports(records, source: lab.address(1), from: host(1, 1), vlan: .untagged)[0]
        }
        let lab = try ScenarioMesh(family) { $0.reportsLimit = 3 }
        lab.put(report(lab, 1...3), at: 0)
        #expect(lab.state(3) == "EXCLUDE@270" && lab.counter(.reportRate) == 0)
        lab.put(report(lab, 4...4), at: 0.5)
        #expect(lab.state(4) == "none" && lab.counter(.reportRate) == 1)
        #expect(lab.reach(from: 1, group: 9) == "1.0", "the port has lost count: it gets every group")
        lab.put(report(lab, 5...6), at: 2)
        lab.put(report(lab, 7...8), at: 2.5)
        #expect(lab.state(6) == "EXCLUDE@272" && lab.state(7) == "none" && lab.counter(.reportRate) == 2)
    }

    /// A frame of each of 1,100 VLANs, then silence: those that found no room are asked once the others are idle, and one that
    /// gave way is noticed anew by its next frame.
    @Test func aVLANThatGaveWayIsNoticedAnew() throws {
        let mesh = VirtualMesh([.snooping()])
        func frame(_ number: Int) -> [UInt8] {
            var frame = testFrame(to: host(0, 2), from: host(0, 1), number: UInt32(number))
            frame.insert(contentsOf: [0x81, 0x00, UInt8(number >> 8), UInt8(number & 0xFF)], at: 12)
            return frame
        }
        func isAsked(_ number: Int) -> Bool {
            let rows = mesh.sites[0].core.control.snooper.snapshot(withGroups: false, at: mesh.now).queriers
            return rows.contains { $0.family == .v4 && $0.vlan == VLAN(identifier: UInt16(number), isService: false) }
        }
        for number in 1...1_100 { mesh.send(frame(number), site: 0) }
        mesh.run(for: .seconds(1))
        #expect(isAsked(1) && isAsked(1_023) && !isAsked(1_024) && !isAsked(1_100))
        // A minute later the lane has forgotten them, but there is no room yet.
        mesh.run(for: .seconds(62))
        mesh.send(frame(1_100), site: 0)
        mesh.run(for: .seconds(340))
        #expect(!isAsked(1_100))
        mesh.send(frame(1_100), site: 0)
        mesh.run(for: .seconds(1))
        #expect(isAsked(1_100) && !isAsked(1) && isAsked(2))
        mesh.send(frame(1), site: 0)
        mesh.run(for: .seconds(1))
        #expect(isAsked(1) && !isAsked(2) && isAsked(1_100))
    }
}
