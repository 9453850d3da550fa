// The JSON about multicast: what is in which field, what is left out, and that it survives the way.

import Basics
import Foundation
import Gateway
import Testing

@testable import Operator
@testable import Switching

@Suite struct MulticastDocumentsTests {
    // MARK: - Groups

    @Test func aGroupWithMembersOnTwoPorts() throws {
        let document = GroupsDocument(makeMulticastSnapshot())
        let shown = String(decoding: try JSON.encode(document.groups[1]), as: UTF8.self)
        #expect(
            shown == """
                {
                  "bytes_from_lan" : 502,
                  "bytes_from_mesh" : 504,
                  "frames_from_lan" : 501,
                  "frames_from_mesh" : 503,
                  "group" : "239.1.1.1",
                  "is_static" : false,
                  "ports" : [
                    {
                      "members" : [
                        {
                          "address" : "10.0.0.1",
                          "expires" : 42.5,
                          "mac" : "02:00:00:00:01:01",
                          "mode" : "include",
                          "sources" : [
                            "192.0.2.7",
                            "192.0.2.8"
                          ],
                          "version" : "IGMPv3"
                        }
                      ],
                      "mode" : "include",
                      "port" : "lan0",
                      "sources" : [
                        {
                          "address" : "192.0.2.7",
                          "expires" : 31
                        },
                        {
                          "address" : "192.0.2.8",
                          "expires" : 42.5
                        }
                      ],
                      "version" : "IGMPv3"
                    },
                    {
                      "expires" : 200,
                      "members" : [
                        {
                          "address" : "10.0.0.2",
                          "expires" : 200,
                          "mac" : "02:00:00:00:01:02",
                          "mode" : "exclude",
                          "sources" : [

                          ],
                          "version" : "IGMPv2"
                        },
                        {
                          "address" : "10.0.0.3",
                          "expires" : 0,
                          "mac" : "02:00:00:00:01:03",
                          "mode" : "exclude",
                          "sources" : [
                            "192.0.2.9"
                          ],
                          "version" : "IGMPv3"
                        }
                      ],
                      "mode" : "exclude",
                      "port" : "lan1",
                      "sources" : [
                        {
                          "address" : "192.0.2.7",
                          "expires" : 53
                        },
                        {
                          "address" : "192.0.2.9"
                        }
                      ],
                      "version" : "IGMPv2"
                    }
                  ],
                  "sites" : [
                    {
                      "bytes" : 512,
                      "frames" : 511,
                      "is_forwarded" : true,
                      "site" : "ams"
                    },
                    {
                      "bytes" : 0,
                      "frames" : 0,
                      "is_forwarded" : false,
                      "site" : "nyc",
                      "wish" : {
                        "mode" : "include",
                        "sources" : [
                          "192.0.2.8"
                        ],
                        "versions" : [
                          "IGMPv3"
                        ]
                      }
                    },
                    {
                      "bytes" : 522,
                      "frames" : 521,
                      "is_forwarded" : true,
                      "site" : "tokyo",
                      "wish" : {
                        "mode" : "exclude",
                        "sources" : [

                        ],
                        "versions" : [
                          "IGMPv1"
                        ]
                      }
                    }
                  ],
                  "vlan" : "10",
                  "wish" : {
                    "mode" : "exclude",
                    "sources" : [
                      "192.0.2.9"
                    ],
                    "versions" : [
                      "IGMPv2",
                      "IGMPv3"
                    ]
                  }
                }
                """, "\(shown)")
    }

    @Test func aConfiguredGroupAndGroupsThatNobodyJoined() {
        let document = GroupsDocument(makeMulticastSnapshot())
        let fixed = document.groups[0]
        #expect(fixed.vlan == "-" && fixed.group == "ff3e::8001" && fixed.isStatic && fixed.ports.isEmpty)
        #expect(fixed.wish?.sources == ["2001:db8::1"] && fixed.wish?.versions == [] && fixed.sites.isEmpty)
        #expect([fixed.framesFromLan, fixed.bytesFromLan, fixed.framesFromMesh, fixed.bytesFromMesh] == [901, 902, 903, 904])
        let any = document.unregistered[0]
        #expect(any.vlan == "any" && any.family == "IPv6" && any.sites.isEmpty)
        #expect([any.framesFromLan, any.bytesFromLan, any.framesFromMesh, any.bytesFromMesh] == [601, 602, 603, 604])
        let other = document.unregistered[1]
        #expect((other.vlan, other.family) == ("s7", "IPv4") && other.framesFromLan == 701 && other.bytesFromMesh == 704)
        #expect(other.sites.map(\.site) == ["nyc"] && other.sites[0].frames == 711 && other.sites[0].bytes == 712)
        #expect(other.sites[0].wish == nil && !other.sites[0].isForwarded)
        #expect(document.entries == 41 && document.sources == 42 && document.members == 43 && document.facts == 44)
        #expect(document.tableBytes == 45_678 && document.site == "london")
    }

    @Test func groupsOfIPv6AreMLDs() {
        let key = GroupKey(.untagged, v6(0xFF3E << 48, 0x8001))
        let port = GroupsDocument.port(entries(key)[1].entry, PortIndex(1), .v6, makeSnapshot())
        #expect(port.version == "MLDv1" && port.members.map(\.version) == ["MLDv1", "MLDv2"])
        #expect(WishDocument(Wish(.exclude, generations: [.second, .third]), .v6).versions == ["MLDv1", "MLDv2"])
    }

    // MARK: - Queriers and routers

    @Test func queriers() throws {
        let rows = QueriersDocument(makeMulticastSnapshot()).queriers
        #expect(
            rows[0]
                == .init(
                    vlan: "-", protocol: "MLD", state: "querier", address: "fe80::11", elected: nil, electedAge: nil,
                    electedExpires: nil, version: "MLDv2", robustness: 3, queryInterval: 61, queryResponseInterval: 7.2))
        #expect(
            rows[1]
                == .init(
                    vlan: "10", protocol: "IGMP", state: "listening", address: "192.0.2.1", elected: "10.0.0.9", electedAge: 305,
                    electedExpires: 243, version: "IGMPv1", robustness: 3, queryInterval: 61, queryResponseInterval: 7.2))
        #expect((rows[2].state, rows[2].address, rows[2].version) == ("off", "fe80::22", "MLDv1"))
        #expect(rows.count == 3)
        let json = String(decoding: try JSON.answer(.queriers, makeMulticastSnapshot()), as: UTF8.self)
        #expect(json.contains("\"query_response_interval\" : 7.2") && json.contains("\"elected_expires\" : 243"))
    }

    @Test func routers() {
        let document = RoutersDocument(makeMulticastSnapshot())
        #expect(
            document.routers == [
                .init(
                    vlan: "-", family: "IPv6", port: "lan1", kind: "discovery", address: "fe80::33", mac: "02:00:00:00:02:01",
                    age: 71, expires: 59),
                .init(
                    vlan: "10", family: "IPv4", port: "lan0", kind: "pim", address: "10.0.0.9", mac: "02:00:00:00:02:02",
                    age: 3_600, expires: nil),
            ])
        #expect(
            document.remote == [
                .init(site: "ams", vlan: "any", family: "IPv6", kinds: [], wantsEverything: true),
                .init(site: "nyc", vlan: "s7", family: "IPv4", kinds: ["querier", "pim"], wantsEverything: true),
                .init(site: "tokyo", vlan: "10", family: "IPv4", kinds: ["querier"], wantsEverything: false),
            ])
        #expect(document.configured == ["lan1"] && document.floodingSites == ["tokyo"] && document.site == "london")
        #expect(
            RoutersDocument.names([.configured, .discovery, .pim, .querier]) == ["querier", "pim", "discovery", "configured"])
    }

    // MARK: - Rules

    @Test func everyCounterIsShownUnderItsOwnName() {
        let rules = RulesDocument(makeMulticastSnapshot()).rules
        #expect(rules.count == SnoopCounter.allCases.count && Set(rules.map(\.name)).count == rules.count)
        for (index, counter) in SnoopCounter.allCases.enumerated() {
            let row = rules.first { $0.name == counter.name }
            #expect(row?.count == (index == 0 ? 0 : UInt64(1_000 + index)), "\(counter.name)")
            #expect(row?.rule == counter.rule && row?.explanation == counter.explanation)
        }
        let places = rules.map { ($0.rule, $0.name) }
        #expect(zip(places, places.dropFirst()).allSatisfy { $0 < $1 })
        #expect(rules.allSatisfy { (1...44).contains($0.rule) && !$0.explanation.isEmpty && !$0.explanation.hasSuffix(".") })
        let name = /[a-z0-9]+(-[a-z0-9]+)*/
        #expect(rules.allSatisfy { $0.name.wholeMatch(of: name) != nil })
    }

    // MARK: - All of them

    @Test func documentsSurviveTheWay() throws {
        func expectRoundTrip<Document: Codable & Equatable>(_ document: Document) throws {
            #expect(try JSON.decode(Document.self, from: JSON.encode(document)) == document)
        }
        for snapshot in [makeMulticastSnapshot(), makeSnapshot(), makeSnapshot(isEmpty: true)] {
            try expectRoundTrip(GroupsDocument(snapshot))
            try expectRoundTrip(QueriersDocument(snapshot))
            try expectRoundTrip(RoutersDocument(snapshot))
            try expectRoundTrip(RulesDocument(snapshot))
        }
    }
}
