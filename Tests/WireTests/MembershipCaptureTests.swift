// Real IGMP, MLD and PIM: how many messages of each kind each capture holds, as tshark counts them.

import Basics
import Foundation
import Testing
import Wire

@Suite struct MembershipCaptureTests {
    /// What a frame is; `unsnooped` for reports and leaves of nothing but 224.0.0.0/24, `bad` for a wrong checksum or length.
    private static func name(_ frame: [UInt8]) -> String? {
        switch hello(frame) {
        case .hello: return "hello"
        case .badChecksum, .malformed: return "bad hello"
        case .other: break
        }
        switch parsed(frame) {
        case .other: return nil
        case .refused(_, let family): return family == .v4 ? "bad IGMP" : "bad MLD"
        case .packet(let packet):
            switch packet.message {
            case .query(let query): return query.generation.name(packet.family) + " query"
            case .report(let report):
                if report.records.isEmpty, report.ignored.unsnooped > 0 { return "unsnooped" }
                let isLeave = report.generation == .second && report.records.first?.kind == .toInclude
                return report.generation.name(packet.family) + (isLeave ? " leave" : " report")
            default: return "discovery"
            }
        }
    }

    @Test(
        .enabled(if: CaptureTests.isPresent, "the folder of captures, ../shared/captures, is not beside this package"),
        arguments: [
            ("igmp_bad_checksum_zeek", ["bad IGMP": 1, "unsnooped": 7, "IGMPv3 report": 4]),
            ("igmp_home_multicast_zeek", ["IGMPv3 query": 1, "IGMPv3 report": 1, "unsnooped": 1]),
            ("igmp_many_groups_zeek", ["IGMPv2 report": 450]),
            (
                "igmp_v123_ssm_30min_goigmp",
                ["IGMPv1 report": 15, "IGMPv2 report": 96, "IGMPv3 query": 186, "IGMPv3 report": 195, "unsnooped": 176]
            ),
            ("igmp_v1_packetlife", ["IGMPv1 query": 3, "IGMPv1 report": 15, "unsnooped": 9]),
            // The leaves were captured on the host that sent them, before its card put the IPv4 header's checksum in.
            ("igmp_v2_mld_llmnr_lan_ppp", ["bad IGMP": 2, "unsnooped": 4, "MLDv2 report": 6]),
            ("igmp_v2_query_report_packetlife", ["IGMPv2 query": 3, "IGMPv2 report": 3]),
            ("igmp_v2_v3_basic_zeek", ["unsnooped": 8, "IGMPv3 report": 4]),
            ("igmp_v3_join_leave_gsq_arkime", ["IGMPv3 query": 22, "IGMPv3 report": 7]),
            // One record for 224.0.0.9, four for unicast addresses.
            ("igmp_v3_report2_ppp", ["unsnooped": 1]),
            ("mld_v1_v2_ndp_packetlife", ["MLDv1 report": 4, "MLDv2 report": 4]),
            ("mld_v2_lldp_dcb_ets_tcpdump", ["MLDv2 report": 13]),
            // Two count a source, or words of auxiliary data, beyond the end: malformed for tshark too.
            ("mld_v2_reports_zeek_ethwrapped", ["MLDv2 report": 3, "bad MLD": 2]),
            ("pim_hello_428_arkime", ["hello": 424]),
            ("pim_sm_join_prune_packetlife", ["hello": 34]),
        ])
    func messagesOfACapture(capture: String, expected: [String: Int]) throws {
        let file = [UInt8](try Data(contentsOf: CaptureTests.folder.appending(path: capture + ".pcap")))
        var found: [String: Int] = [:]
        for record in CaptureTests.frames(of: file) {
            if let name = Self.name([UInt8](file[record])) { found[name, default: 0] += 1 }
        }
        #expect(found == expected)
    }
}
