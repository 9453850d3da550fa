// What is shown of lanes and of what the kernel does for them and for ports, and that older gateways can be read.

import Basics
import Foundation
import Gateway
import Testing

@testable import Operator

@Suite struct LaneDocumentsTests {
    private func json(_ topic: ShowTopic, _ lanes: GatewaySnapshot.Lanes?) throws -> String {
        String(decoding: try JSON.answer(topic, makeSnapshot(lanes: lanes)), as: UTF8.self)
    }

    private func text(_ topic: ShowTopic, _ lanes: GatewaySnapshot.Lanes?) throws -> String {
        try Tables.text(topic, json: JSON.answer(topic, makeSnapshot(lanes: lanes)))
    }

    @Test func statusHasEveryLane() throws {
        let shown = try json(.status, makeLanes())
        #expect(
            shown.contains(
                """
                  "lanes" : [
                    {
                      "number" : 0,
                      "udp_coalescing" : true,
                      "udp_segmentation" : true,
                      "wait" : "sleep"
                    },
                    {
                      "number" : 1,
                      "udp_coalescing" : true,
                      "udp_segmentation" : false,
                      "wait" : "sleep"
                    }
                  ],
                """), "\(shown)")
        let lines = try text(.status, makeLanes()).split(separator: "\n").filter { $0.hasPrefix("lane") }
        #expect(
            lines == [
                "lane 0      sleeps when idle; the kernel cuts datagrams: yes, joins them: yes",
                "lane 1      sleeps when idle; the kernel cuts datagrams: no, joins them: yes",
            ])
        var polls = makeLanes()
        polls.wait = "poll"
        #expect(try text(.status, polls).contains("lane 1      polls when idle"))
    }

    /// What is in force in every lane; a port that is no packet port bypasses nothing.
    @Test func portsHaveTheirOffloads() throws {
        let shown = try json(.ports, makeLanes())
        #expect(
            shown.contains(
                """
                      "offloads" : {
                        "bypass_queue" : true,
                        "receive_metadata" : true,
                        "super_frames_tcp" : true,
                        "super_frames_udp" : false
                      },
                """), "\(shown)")
        #expect(shown.components(separatedBy: "\"bypass_queue\" : false").count == 2)
        #expect(
            try text(.ports, makeLanes()) == """
                port kind   device state frames in bytes in frames out bytes out kernel drops offloads
                ---- ------ ------ ----- --------- -------- ---------- --------- ------------ ---------------------
                lan0 packet eth1   up           11       12         13        14           15 metadata, tcp, bypass
                lan1 tap    cw-tap down    1000021  1000022    1000023   1000024      1000025 none

                """)
    }

    /// A gateway of before these fields, and a replay, which has none of them.
    @Test(arguments: [ShowTopic.status, .ports]) func aGatewayWithoutThemIsRead(topic: ShowTopic) throws {
        let shown = try json(topic, nil)
        #expect(!shown.contains("lanes") && !shown.contains("offloads"))
        let shownText = try text(topic, nil)
        #expect(!shownText.contains("lane 0") && !shownText.contains("offloads"))
    }

    // MARK: Privileges

    @Test func statusSaysWhatWasGivenUp() throws {
        var snapshot = makeSnapshot()
        #expect(!String(decoding: try JSON.answer(.status, snapshot), as: UTF8.self).contains("confinement"))
        snapshot.confinement = Confinement(
            user: "causeway", capabilities: [], noNewPrivileges: true, landlock: 7, seccomp: true)
        let shown = String(decoding: try JSON.answer(.status, snapshot), as: UTF8.self)
        #expect(
            shown.contains(
                """
                  "confinement" : {
                    "capabilities" : [

                    ],
                    "landlock" : 7,
                    "no_new_privileges" : true,
                    "seccomp" : true,
                    "user" : "causeway"
                  },
                """), "\(shown)")
        func line(_ snapshot: GatewaySnapshot) throws -> Substring? {
            try Tables.text(.status, json: JSON.answer(.status, snapshot)).split(separator: "\n").first {
                $0.hasPrefix("privileges")
            }
        }
        #expect(
            try line(snapshot)
                == "privileges  user causeway, no capabilities; files restricted by Landlock 7, system calls by seccomp")
        snapshot.confinement = Confinement(
            user: "root", capabilities: ["net_admin", "net_raw"], noNewPrivileges: true, landlock: nil, seccomp: false)
        #expect(
            try line(snapshot)
                == "privileges  user root, capabilities net_admin, net_raw; files not restricted, system calls not restricted")
    }

    // MARK: The bits

    @Test func everyBitHasAPlaceOfItsOwn() {
        var seen: Set<UInt64> = []
        func note(_ change: (inout LaneOffloads) -> Void) {
            var offloads = LaneOffloads()
            change(&offloads)
            #expect(offloads.rawValue.nonzeroBitCount == 1 && seen.insert(offloads.rawValue).inserted)
        }
        note { $0.segmentsDatagrams = true }
        note { $0.joinsDatagrams = true }
        for port in (0..<Limits.ports).map({ PortIndex($0) }) {
            note { $0[port].receivesMetadata = true }
            note { $0[port].sendsTCP = true }
            note { $0[port].sendsUDP = true }
        }
        var all = LaneOffloads(rawValue: .max)
        all[PortIndex(3)] = LaneOffloads.Port(receivesMetadata: false, sendsTCP: true, sendsUDP: false)
        #expect((~all.rawValue).nonzeroBitCount == 2)
        #expect(all[PortIndex(3)] == LaneOffloads.Port(receivesMetadata: false, sendsTCP: true, sendsUDP: false))
        #expect(all.intersection(LaneOffloads()) == LaneOffloads())
    }
}
