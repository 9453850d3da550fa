// Faults that other snoopers are known to have (the Linux bridge, Open vSwitch, mrouted), each as a whole path that shows that
// this one does not have it. Frames that no encoder of ours writes are put together by hand.

import Basics
import Switching
import Testing
import Wire

@Suite struct KnownFaults {
    /// An IGMPv3 report of host 1 at site 1 with these octets as its records.
    private func report(records: [[UInt8]]) -> [UInt8] {
        var message: [UInt8] = [0x22, 0, 0, 0, 0, 0, 0, UInt8(records.count)] + records.flatMap { $0 }
        let sum = checksum(message)
        message[2] = UInt8(sum >> 8)
        message[3] = UInt8(sum & 0xFF)
        let total = 24 + message.count
        var header: [UInt8] = [
            0x46, 0xC0, UInt8(total >> 8), UInt8(total & 0xFF), 0, 0, 0x40, 0, 1, 2, 0, 0, 10, 0, 0, 1, 224, 0, 0, 22,
            0x94, 4, 0, 0,
        ]
        let headerSum = checksum(header)
        header[10] = UInt8(headerSum >> 8)
        header[11] = UInt8(headerSum & 0xFF)
        return [0x01, 0x00, 0x5E, 0, 0, 22, 0x02, 0, 0, 1, 0, 1, 0x08, 0x00] + header + message
    }

    private func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum = Checksum()
        bytes.withRawSpan { sum.add($0) }
        return sum.field
    }

    /// A record for group 239.20.0.`group` with the sources 192.0.2.n, and whole words of auxiliary data.
    private func record(_ kind: UInt8, group: UInt8, _ sources: [UInt8] = [], auxiliaryWords: Int = 0) -> [UInt8] {
        [kind, UInt8(auxiliaryWords), 0, UInt8(sources.count), 239, 20, 0, group] + sources.flatMap { [192, 0, 2, $0] }
            + [UInt8](repeating: 0xEF, count: auxiliaryWords * 4)
    }

    /// The Linux bridge takes auxiliary data for the next record, Open vSwitch counts it in octets.
    @Test func auxiliaryDataIsSkippedInWords_rule25() throws {
        let lab = try ScenarioMesh(.v4)
        lab.put(report(records: [record(4, group: 1, auxiliaryWords: 3), record(4, group: 2)]), at: 0)
        #expect(lab.state(1) == "EXCLUDE@270" && lab.state(2) == "EXCLUDE@270")
        #expect(lab.reach(from: 1, group: 2) == "1.0")
        #expect(lab.counter(.badLength) == 0 && lab.counter(.notAGroup) == 0)
    }

    /// Open vSwitch gives up at a record of a type that it does not know.
    @Test func recordsAfterAnUnknownTypeAreUsed_rule25() throws {
        let lab = try ScenarioMesh(.v4)
        let records = [record(9, group: 3, [1]), record(4, group: 1), record(200, group: 4), record(5, group: 2, [7])]
        lab.put(report(records: records), at: 0)
        #expect(lab.state(1) == "EXCLUDE@270" && lab.state(2) == "INCLUDE 7@270")
        #expect(lab.state(3) == "none" && lab.state(4) == "none" && lab.counter(.unknownRecord) == 2)
        #expect(lab.reach(from: 1) == "1.0" && lab.passing([1]) == [1])
    }

    /// Open vSwitch takes every record that is not a leave for a join.
    @Test(arguments: IPFamily.allCases) func blockIsNotAJoin_rule18(family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.report(.block, [1, 2], at: 0)
        #expect(lab.state() == "none" && lab.wanted() == "nobody" && lab.reach(from: 1) == "nowhere")
        #expect(lab.facts() == 0)
    }

    /// One old host makes other snoopers treat every group as its version does.
    @Test func compatibilityIsPerGroup_rule22() throws {
        let lab = try ScenarioMesh(.v4)
        lab.join(.second, group: 1, host: 1, at: 0)
        lab.report(.allow, [3], group: 2, host: 2, at: 1)
        lab.report(.block, [3], group: 2, host: 2, at: 2)
        #expect(lab.entry(1)?.generation == .second)
        #expect(lab.state(2) == "none" && lab.counter(.blockInOlderMode) == 0, "a BLOCK counts in the other group")
        lab.report(.allow, [3], group: 2, host: 2, at: 3)
        #expect(lab.entry(2)?.generation == .third && lab.reach(from: 4, group: 2) == "nowhere")
    }

    /// The Linux bridge writes 200 s into the code as if it were linear: hosts then read 3,072 s.
    @Test(arguments: IPFamily.allCases) func aQueryIntervalOf200SecondsIsSaid_codes(family: IPFamily) throws {
        let lab = try ScenarioMesh(family) { settings in
            settings[family].timing.queryInterval = .seconds(200)
            settings[family].timing.queryResponseInterval = .seconds(100)
            settings[family].timing.setStartupQueryInterval = .seconds(30)
        }
        lab.forget()
        lab.wait(until: 260)
        let queries = lab.packets().compactMap { packet -> MembershipQuery? in
            if case .query(let query) = packet.packet.message { query } else { nil }
        }
        #expect(!queries.isEmpty)
        for query in queries {
            #expect(query.queryInterval == .seconds(200))
            // 1,000 tenths are (0x1F | 0x10) << 5 = 992 at most; 100,000 ms are exact in 16 bits as 0x1868 << 4.
            #expect(query.maxResponse == (family == .v4 ? .milliseconds(99_200) : .seconds(100)))
        }
    }

    /// The Linux bridge drops the 33rd source of a group.
    @Test(arguments: IPFamily.allCases) func the33rdSourceIsWantedToo_rule29(family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.report(.allow, Array(1...40), at: 0)
        #expect(lab.passing([1, 32, 33, 34, 40]) == [1, 32, 33, 34, 40])
        #expect(lab.reach(from: 41) == "nowhere" && lab.counter(.sourceLimit) == 0)
    }

    /// Past our own limit every source is forwarded, and none is lost.
    @Test func pastTheLimitMoreIsForwarded_rule29() throws {
        let lab = try ScenarioMesh(.v4) { $0.sourcesLimit = 32 }
        lab.report(.allow, Array(1...33), at: 0)
        #expect(lab.state() == "EXCLUDE@270" && lab.counter(.sourceLimit) == 1)
        #expect(lab.passing([1, 33, 99]) == [1, 33, 99])
    }

    /// mrouted's issue 42: one host leaves while another listens.
    @Test(arguments: IPFamily.allCases) func aLeaveWhileAnotherListens_rules27and31(family: IPFamily) throws {
        let lab = try ScenarioMesh(family)
        lab.join(.third, host: 1, at: 0)
        lab.join(.third, host: 2, at: 1)
        lab.forget()
        for site in [0, 2] { lab.forget(site) }
        let version = lab.facts()
        lab.leave(.third, host: 1, at: 5)
        for tenth in 51...90 {
            lab.wait(until: Double(tenth) / 10)
            #expect(lab.reach(from: 1) == "1.0", "no gap")
        }
        #expect(lab.heard().isEmpty && lab.heard(site: 0).isEmpty && lab.heard(site: 2).isEmpty, "nothing was asked or crossed")
        #expect(lab.facts() == version && lab.wanted() == "1: EXCLUDE")
        lab.leave(.third, host: 2, at: 10)
        #expect(lab.reach(from: 1) == "nowhere" && lab.wanted() == "nobody", "the last one's takes effect at once")
    }

    /// A host of an older version that hears another's report keeps its own to itself.
    @Test func reportsAreNotFloodedToHosts_rule1() throws {
        let lab = try ScenarioMesh(.v4)
        lab.query(from: 1, port: 2, at: 0)
        lab.forget()
        lab.join(.second, port: 0, host: 1, at: 1)
        #expect(lab.heard(port: 1).isEmpty, "a port with hosts only")
        #expect(lab.heard(port: 2) == ["@1 report v2 G1"], "the port with the querier")
        #expect(lab.heard(site: 0).isEmpty && lab.heard(site: 2).isEmpty)
    }

    /// Fifty joins at a site are one fact, and the others hear of it once.
    @Test func fiftyJoinsAreOneFact_rule32() throws {
        let lab = try ScenarioMesh(.v4)
        lab.join(.third, host: 1, at: 0)
        #expect(lab.facts() == 1)
        lab.wait(until: 1)
        let told = lab.mesh.sites[1].core.control.snooper.book.keys
        for host in 2...50 { lab.join(.third, host: host, at: 1 + Double(host) / 10) }
        #expect(lab.facts() == 1 && lab.mesh.sites[1].core.control.snooper.book.keys == told)
        #expect(lab.entry()?.members.count == 50)
    }
}
