// The JSON that operators' scripts rely on: golden text for each topic, stable and sorted keys, what is left out.

import Basics
import Foundation
import Gateway
import Testing

@testable import Operator

@Suite struct DocumentsTests {
    private func json(_ topic: ShowTopic, _ snapshot: GatewaySnapshot = makeSnapshot()) throws -> String {
        String(decoding: try JSON.answer(topic, snapshot), as: UTF8.self)
    }

    @Test func status() throws {
        let shown = try json(.status)
        let refused = [
            "not-for-us", "malformed", "under-load", "rate-limited", "unauthentic", "unknown-key", "own-key", "replayed",
            "clock-back", "no-common-cipher", "no-post-quantum", "annex-missing", "annex-mismatch", "stray-annex",
            "stray-response", "stray-cookie", "wrong-psk", "no-place", "foreign-mesh", "bad-pass", "too-many-responses",
        ].enumerated().map { number, cause in
            "      {\n        \"cause\" : \"\(cause)\",\n        \"count\" : \(number + 1)\n      }"
        }.joined(separator: ",\n")
        #expect(
            shown == """
                {
                  "backends" : [
                    {
                      "cipher" : "aes-256-gcm",
                      "libcrypto_from" : 300
                    },
                    {
                      "cipher" : "chacha20-poly1305"
                    }
                  ],
                  "dropped" : 1234610,
                  "frames_in" : 1000032,
                  "frames_out" : 1000036,
                  "handshakes" : {
                    "agreed" : 753,
                    "cookies_sent" : 81,
                    "cookies_taken" : 82,
                    "judged" : 83,
                    "never_confirmed" : 84,
                    "not_installed" : 87,
                    "refused" : [
                \(refused)
                    ],
                    "rivals" : 85,
                    "source_evictions" : 86
                  },
                  "listen" : "0.0.0.0:7117",
                  "mac_entries" : 3,
                  "peers_configured" : 3,
                  "peers_up" : 1,
                  "ports_configured" : 2,
                  "ports_up" : 1,
                  "public_key" : "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=",
                  "site" : "london",
                  "uptime" : 90061
                }
                """)
    }

    @Test func peers() throws {
        let text = try json(.peers)
        let first = """
            {
              "peers" : [
                {
                  "bytes_in" : 101,
                  "bytes_out" : 103,
                  "cipher" : "aes-256-gcm",
                  "classes" : [
                    {
                      "dropped" : 109,
                      "frames_out" : 107,
                      "name" : "feed"
                    },
                    {
                      "dropped" : 110,
                      "frames_out" : 1000000,
                      "name" : "normal"
                    },
                    {
                      "dropped" : 111,
                      "frames_out" : 108,
                      "name" : "bulk"
                    }
                  ],
                  "control" : {
                    "duplicates" : 514,
                    "malformed" : 515,
                    "overruns" : 518,
                    "refused" : 517,
                    "resyncs" : 519,
                    "retransmissions" : 512,
                    "round_trip_microseconds" : 7310,
                    "segments_in" : 513,
                    "segments_out" : 511,
                    "unknown" : 516
                  },
                  "datagrams_in" : 100,
                  "datagrams_lost" : 106,
                  "datagrams_out" : 102,
                  "denied_in" : 114,
                  "denied_out" : 113,
                  "endpoint" : "192.0.2.1:7117",
                  "frames_in" : 104,
                  "frames_out" : 1000215,
                  "handshakes" : 751,
                  "key" : "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
                  "key_exchange" : "X25519 + ML-KEM-768",
                  "keys_age" : 61,
                  "last_heard_age" : 0.34,
                  "name" : "ams",
                  "path" : {
                    "black_holes" : 706,
                    "jitter_microseconds" : 702,
                    "loss_millionths" : 12345,
                    "mtu" : 1492,
                    "mtu_search" : "complete",
                    "probes_answered" : 704,
                    "probes_sent" : 703,
                    "round_trip_high_microseconds" : 1708,
                    "round_trip_maximum_microseconds" : 1709,
                    "round_trip_median_microseconds" : 1707,
                    "round_trip_microseconds" : 1701
                  },
                  "rate" : 200000000,
                  "state" : "up",
                  "waiting_bytes" : 112
                },
            """
        #expect(text.hasPrefix(first), "\(text)")
        #expect(text.contains("\"endpoint\" : \"[2001:db8::1]:7118\""))
        // What is not known is left out: the third peer has never been heard.
        let last = """
                {
                  "bytes_in" : 301,
                  "bytes_out" : 303,
                  "classes" : [
                    {
                      "dropped" : 0,
                      "frames_out" : 307,
                      "name" : "feed"
                    },
                    {
                      "dropped" : 0,
                      "frames_out" : 0,
                      "name" : "normal"
                    },
                    {
                      "dropped" : 0,
                      "frames_out" : 308,
                      "name" : "bulk"
                    }
                  ],
                  "control" : {
                    "duplicates" : 0,
                    "malformed" : 0,
                    "overruns" : 0,
                    "refused" : 0,
                    "resyncs" : 0,
                    "retransmissions" : 0,
                    "segments_in" : 0,
                    "segments_out" : 0,
                    "unknown" : 0
                  },
                  "datagrams_in" : 300,
                  "datagrams_lost" : 306,
                  "datagrams_out" : 302,
                  "denied_in" : 0,
                  "denied_out" : 0,
                  "frames_in" : 304,
                  "frames_out" : 305,
                  "handshakes" : 0,
                  "key" : "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
                  "name" : "tokyo",
                  "path" : {
                    "black_holes" : 0,
                    "mtu" : 1280,
                    "mtu_search" : "base",
                    "probes_answered" : 0,
                    "probes_sent" : 0
                  },
                  "state" : "waiting",
                  "waiting_bytes" : 312
                }
              ],
              "site" : "london"
            }
            """
        #expect(text.hasSuffix(last), "\(text)")
    }

    @Test func ports() throws {
        let shown = try json(.ports)
        #expect(
            shown == """
                {
                  "ports" : [
                    {
                      "bytes_in" : 12,
                      "bytes_out" : 14,
                      "capture_drops" : 15,
                      "device" : "eth1",
                      "frames_in" : 11,
                      "frames_out" : 13,
                      "kind" : "packet",
                      "name" : "lan0",
                      "state" : "up"
                    },
                    {
                      "bytes_in" : 1000022,
                      "bytes_out" : 1000024,
                      "capture_drops" : 1000025,
                      "device" : "cw-tap",
                      "frames_in" : 1000021,
                      "frames_out" : 1000023,
                      "kind" : "tap",
                      "name" : "lan1",
                      "state" : "down"
                    }
                  ],
                  "site" : "london"
                }
                """)
    }

    @Test func macs() throws {
        let shown = try json(.macs)
        #expect(
            shown == """
                {
                  "entries" : 3,
                  "evictions" : 7,
                  "macs" : [
                    {
                      "age" : 0,
                      "mac" : "02:00:00:00:00:01",
                      "port" : "lan1",
                      "vlan" : "-"
                    },
                    {
                      "age" : 5.25,
                      "mac" : "02:00:00:00:00:02",
                      "peer" : "nyc",
                      "vlan" : "10"
                    },
                    {
                      "age" : 200,
                      "mac" : "02:ab:cd:ef:00:03",
                      "port" : "lan0",
                      "vlan" : "s4094"
                    }
                  ],
                  "moves" : 5,
                  "site" : "london",
                  "untold" : 2048
                }
                """)
    }

    /// Every reason is there, in the order of `DropReason`, with its unit and its sentence.
    @Test func drops() throws {
        let document = try JSON.decode(DropsDocument.self, from: Data(try json(.drops).utf8))
        #expect(document.drops.map(\.reason) == DropReason.allCases.map(\.name) && document.total == 1_234_610)
        #expect(document.drops.filter { $0.count > 0 }.map(\.reason) == ["runt", "same-segment", "peer-down"])
        for drop in document.drops {
            #expect(drop.reason.allSatisfy { $0.isLowercase || $0 == "-" } && !drop.explanation.isEmpty)
            #expect(["frames", "copies", "datagrams"].contains(drop.unit))
        }
        #expect(Set(document.drops.map(\.reason)).count == document.drops.count)
        #expect(
            try json(.drops).hasPrefix(
                """
                {
                  "drops" : [
                    {
                      "count" : 3,
                      "explanation" : "shorter than an Ethernet header",
                      "reason" : "runt",
                      "unit" : "frames"
                    },
                """))
    }

    // MARK: - Every topic

    /// The keys of every object, in the order of the text.
    private func keys(_ text: String) -> [(depth: Int, key: String)] {
        text.split(separator: "\n").compactMap { line in
            let content = line.drop { $0 == " " }
            guard content.first == "\"", let end = content.range(of: "\" : ") else { return nil }
            return (line.count - content.count, String(content[content.index(after: content.startIndex)..<end.lowerBound]))
        }
    }

    @Test(arguments: ShowTopic.allCases, [false, true])
    func keysAreInSnakeCaseAndSorted(topic: ShowTopic, isEmpty: Bool) throws {
        let text = try json(topic, makeSnapshot(isEmpty: isEmpty))
        let found = keys(text)
        #expect(found.contains { $0.key == "site" })
        for (_, key) in found { #expect(key.allSatisfy { ($0.isASCII && $0.isLowercase) || $0 == "_" }, "\(key)") }
        // Within one object: neighbours at the same depth with nothing shallower between them.
        for (previous, next) in zip(found, found.dropFirst()) where previous.depth == next.depth {
            #expect(previous.key < next.key || isNewObject(text, previous.key, next.key), "\(previous.key) before \(next.key)")
        }
        #expect(!text.split(separator: "\n").contains { $0.hasSuffix(" ") })
    }

    /// True when a brace closes between the two keys somewhere: they belong to two objects of an array.
    private func isNewObject(_ text: String, _ last: String, _ first: String) -> Bool {
        text.contains(try! Regex("\"\(last)\" : [^\\n]*\\n *\\},\\n *\\{\\n *\"\(first)\" : "))
    }

    @Test func theSameStateGivesTheSameOctets() throws {
        for topic in ShowTopic.allCases { #expect(try json(topic) == json(topic)) }
    }

    @Test func documentsSurviveTheWay() throws {
        let snapshot = makeSnapshot()
        func expectRoundTrip<Document: Codable & Equatable>(_ document: Document) throws {
            #expect(try JSON.decode(Document.self, from: JSON.encode(document)) == document)
        }
        try expectRoundTrip(StatusDocument(snapshot))
        try expectRoundTrip(StatusDocument(makeSnapshot(listen: nil)))
        try expectRoundTrip(PeersDocument(snapshot))
        try expectRoundTrip(PortsDocument(snapshot))
        try expectRoundTrip(MACsDocument(snapshot))
        try expectRoundTrip(DropsDocument(snapshot))
    }

    /// A newer gateway's JSON has keys that an older client does not know.
    @Test func unknownKeysAreNoError() throws {
        for topic in ShowTopic.allCases {
            let text = try json(topic).replacing("\"site\"", with: "\"a_new_key\" : [1, {}],\n  \"site\"", maxReplacements: 1)
            #expect(try Tables.text(topic, json: Data(text.utf8)) == Tables.text(topic, json: Data(try json(topic).utf8)))
        }
    }

    @Test func whatIsNoAnswerThrows() {
        for topic in ShowTopic.allCases {
            for text in ["", "{", "[]", "{}", "null", "{\"site\" : 1}"] {
                #expect(throws: (any Error).self) { try Tables.text(topic, json: Data(text.utf8)) }
            }
        }
    }

    @Test func nothingAtAll() throws {
        let snapshot = makeSnapshot(isEmpty: true, listen: nil)
        #expect(try json(.peers, snapshot) == "{\n  \"peers\" : [\n\n  ],\n  \"site\" : \"london\"\n}")
        #expect(try !json(.status, snapshot).contains("listen"))
        #expect(MACsDocument(snapshot).macs.isEmpty && DropsDocument(snapshot).total == 0)
    }
}
