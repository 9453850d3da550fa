// What is shown of the mesh, of ways and of passes: the JSON with its keys, and the tables.

import Basics
import Foundation
import Mesh
import Testing

@testable import Gateway
@testable import Operator

@Suite struct MeshDocumentsTests {
    private static let day = UnixTime.secondsPerDay
    private let wall = UnixTime(seconds: 1_700_000_000)

    private func pass(_ site: String, _ octet: UInt8, days: UInt64 = 90, relay: Bool = false, send: GroupRules = .any) -> Pass {
        Pass(
            serial: UInt64(octet) + 100, site: site, key: key(octet), validFrom: UnixTime(seconds: 1_690_000_000),
            validUntil: wall.adding(days * Self.day), send: send, vlans: VLANRules([10...10, 0...0]), mayRelay: relay)
    }

    private func site(_ name: String, _ octet: UInt8, _ reach: MeshSnapshot.Reach, _ pass: Pass?) -> MeshSnapshot.Site {
        MeshSnapshot.Site(
            name: name, site: SiteID(key(octet)), key: pass?.key, reach: reach,
            since: reach == .own ? nil : now - .seconds(Int64(octet) * 60),
            addresses: [Endpoint(ipv4: 0xC000_0200 + UInt32(octet), port: 7117)],
            mayRelay: pass?.mayRelay ?? false, pass: pass, problem: nil)
    }

    private func way(_ name: String, _ state: MeshSnapshot.Way.State, _ hops: [String], size: Int) -> MeshSnapshot.Way {
        var path = PeerPath(PathConfiguration(), at: .zero).snapshot(at: now)
        path.size = size
        path.roundTrip = .microseconds(Int64(size))
        return MeshSnapshot.Way(
            name: name, state: state, hops: hops, better: state == .relayed ? ["nyc", name] : [], cost: UInt64(size) * 10,
            path: path, isSuspect: state == .direct, label: state == .relayed ? 0x00AB_C000 : nil,
            opened: state == .relayed ? now - .seconds(9) : nil)
    }

    private func snapshot() throws -> GatewaySnapshot {
        var snapshot = makeSnapshot()
        var mesh = try #require(snapshot.mesh)
        mesh.authority = "AUTHORITY"
        mesh.wall = wall
        var lost = pass("osaka", 3, days: 0)
        lost.validUntil = wall.subtracting(1)
        mesh.sites = [
            site("london", 9, .own, pass("london", 9)),
            site("ams", 1, .direct, pass("ams", 1, relay: true)),
            site("nyc", 2, .through(["ams", "tokyo"]), pass("nyc", 2, days: 1, send: .none)),
            site("osaka", 3, .away, lost), site("unknown", 4, .away, nil),
        ]
        mesh.sites[3].problem = "it expired"
        let good = LinkMeasure(roundTripMicroseconds: 1_500, loss: 25)
        mesh.links = [
            MeshSnapshot.Link(
                ends: ("ams", "london"), measures: (good, LinkMeasure(roundTripMicroseconds: 1_700, isSuspect: true)), cost: 951),
            MeshSnapshot.Link(ends: ("ams", "nyc"), measures: (nil, good), cost: nil),
        ]
        mesh.ways = [way("ams", .direct, ["ams"], size: 1_492), way("nyc", .relayed, ["ams", "tokyo", "nyc"], size: 1_280)]
        mesh.transits = [
            MeshSnapshot.Transit(
                stream: 0x1234_5000, isPair: true, origin: "ams", upstream: "ams", nextHops: ["nyc"], isTaken: false,
                isReady: true),
            MeshSnapshot.Transit(
                stream: 7, isPair: false, origin: "nyc", upstream: "tokyo", nextHops: ["ams"], isTaken: true, isReady: false),
        ]
        mesh.revocations = [
            Revocation(made: wall, serial: 102, key: nil, matters: wall.adding(5))!,
            Revocation(made: wall.adding(1), key: key(77))!,
        ]
        mesh.gossip.messagesIn = 21
        mesh.gossip.messagesOut = 22
        mesh.gossip.bytesIn = 23
        mesh.gossip.bytesOut = 24
        mesh.gossip.pagesTaken = 25
        mesh.gossip.pagesSigned = 26
        mesh.gossip.duplicates = 27
        mesh.gossip.malformed = 28
        mesh.gossip.forged = 29
        mesh.gossip.strangers = 30
        mesh.gossip.buried = 31
        mesh.gossip.limit = 32
        mesh.gossip.checkRate = 33
        mesh.gossip.gone = 34
        mesh.gossip.versionJumps = 35
        mesh.gossip.repairs = 36
        (mesh.neighbours, mesh.pages, mesh.pageBytes) = (41, 42, 43)
        (mesh.seeds, mesh.hellosAnswered, mesh.passesRefused, mesh.placesRefused) = (["hub"], 44, 45, 46)
        (mesh.places, mesh.placesTaken, mesh.carried, mesh.carryingRefused) = (128, 47, 48, 49)
        snapshot.mesh = mesh
        snapshot.counters[snapshot.layout.index(LaneGauge.relayed)] = 50
        return snapshot
    }

    @Test func theMeshHasWhatIsKnown() throws {
        let document = try JSON.decode(MeshDocument.self, from: JSON.answer(.mesh, snapshot()))
        #expect(document.site == "london" && document.authority == "AUTHORITY")
        #expect(document.sites.map(\.state) == ["own", "direct", "through", "away", "away"])
        #expect(document.sites[2].through == ["ams", "tokyo"] && document.sites[2].age == 120)
        #expect(document.sites[1].addresses == ["192.0.2.1:7117"] && document.sites.map(\.mayRelay)[1])
        #expect(document.sites[0].age == nil && document.sites[4].key == nil && document.sites[1].key == key(1).base64)
        let (first, second) = (document.links[0], document.links[1])
        #expect(first.between == ["ams", "london"] && first.roundTripMicroseconds == 1_700 && first.lossMillionths == 2_500)
        #expect(first.isSuspect && !first.isOneSided && first.cost == 951)
        #expect(second.isOneSided && second.cost == nil && second.roundTripMicroseconds == 1_500)
        let gossip = document.gossip
        #expect(
            [
                gossip.messagesIn, gossip.messagesOut, gossip.bytesIn, gossip.bytesOut, gossip.pagesTaken, gossip.pagesSigned,
                gossip.duplicates, gossip.malformed, gossip.forged, gossip.strangers, gossip.buried, gossip.limit,
                gossip.checkRate, gossip.gone, gossip.versionJumps, gossip.repairs,
            ] == Array(21...36))
        #expect(gossip.neighbours == 41 && gossip.pages == 42 && gossip.pageBytes == 43)
        #expect(document.hellos == MeshDocument.Hellos(seeds: ["hub"], answered: 44, passesRefused: 45, placesRefused: 46))
        #expect(document.placesTaken == 47 && document.places == 128)
        #expect(document.carrying == MeshDocument.Carrying(handshakes: 48, refused: 49, streams: 2, datagrams: 50))
    }

    @Test func theMeshAsATable() throws {
        let text = try Tables.text(.mesh, json: JSON.answer(.mesh, snapshot()))
        let lines = text.split(separator: "\n")
        #expect(lines.contains { $0.hasPrefix("nyc") && $0.contains("through ams, tokyo") && $0.contains("2m0s") })
        #expect(
            lines.contains {
                $0.hasPrefix("ams - london") && $0.contains("1.70 ms") && $0.contains("0.25%") && $0.contains("suspect")
            })
        #expect(lines.contains { $0.hasPrefix("ams - nyc") && $0.contains("one side only") })
        #expect(
            lines.contains(
                "refused     29 forged, 30 of strangers, 28 malformed, 31 of the past, 32 for want of room, 33 too many a second")
        )
        #expect(lines.contains("carried     48 handshakes, 49 refused"))
        #expect(lines.contains("forwarded   50 datagrams, of 2 streams at present"))
    }

    @Test func waysHaveTheirHops() throws {
        let document = try JSON.decode(PathsDocument.self, from: JSON.answer(.paths, snapshot()))
        #expect(document.isMember && document.ways.map(\.to) == ["ams", "nyc"])
        let (direct, relayed) = (document.ways[0], document.ways[1])
        #expect(direct.state == "direct" && direct.hops == ["ams"] && direct.isSuspect && direct.label == nil)
        #expect(direct.path.mtu == 1_492 && direct.cost == 14_920 && direct.better == [])
        #expect(relayed.state == "relayed" && relayed.hops == ["ams", "tokyo", "nyc"] && relayed.better == ["nyc", "nyc"])
        #expect(relayed.label == "00abc000" && relayed.age == 9 && relayed.path.roundTripMicroseconds == 1_280)
        #expect(
            document.transits == [
                PathsDocument.Transit(
                    identifier: "12345000", kind: "pair", origin: "ams", upstream: "ams", nextHops: ["nyc"], isTaken: false,
                    isReady: true),
                PathsDocument.Transit(
                    identifier: "00000007", kind: "group", origin: "nyc", upstream: "tokyo", nextHops: ["ams"], isTaken: true,
                    isReady: false),
            ])
        let lines = Tables.text(document).split(separator: "\n")
        #expect(lines.contains { $0.hasPrefix("nyc") && $0.contains("ams > tokyo > nyc") && $0.contains("1.28 ms") })
        #expect(lines.contains { $0.hasPrefix("ams") && $0.contains("direct, suspect") && $0.contains("1492") })
        #expect(lines.contains { $0.hasPrefix("00000007") && $0.contains("ams, taken here") })
    }

    @Test func passesAreSaidInPlainWords() throws {
        let document = try JSON.decode(PassesDocument.self, from: JSON.answer(.passes, snapshot()))
        #expect(document.passes.map(\.site) == ["london", "ams", "nyc", "osaka"])
        #expect(
            document.passes.map(\.daysLeft) == [90, 90, 1, 0] && document.passes.map(\.isOwn) == [true, false, false, false])
        #expect(document.passes[3].problem == "it expired" && document.passes[0].problem == nil)
        #expect(document.passes[2].send == "none" && document.passes[2].receive == "any" && document.passes[2].vlans == "-, 10")
        #expect(document.passes[1].mayRelay && document.passes[1].serial == 101 && document.passes[1].key == key(1).base64)
        #expect(document.revocations.map(\.serial) == [102, nil] && document.revocations.map(\.site) == ["nyc", nil])
        #expect(document.revocations[1].key == key(77).base64 && document.revocations[0].until == "2023-11-14T22:13:25Z")
        let lines = Tables.text(document).split(separator: "\n").map(String.init)
        #expect(lines.contains("london (this site)") && lines.contains("  may send      none"))
        #expect(lines.contains { $0.hasSuffix("1 day left") } && lines.contains { $0.hasSuffix(", over") })
        #expect(lines.contains("  does not count: it expired"))
        #expect(lines.contains("revoked on 2023-11-14T22:13:20Z: the pass with the serial number 102 (site nyc)"))
    }

    /// A gateway without passes still has ways to its peers.
    @Test func aGatewayWithoutAMeshSaysSo() throws {
        for topic in [ShowTopic.mesh, .passes] {
            #expect(try Tables.text(topic, json: JSON.answer(topic, makeSnapshot())) == Tables.noMesh)
        }
        let paths = try Tables.text(.paths, json: JSON.answer(.paths, makeSnapshot()))
        #expect(paths.hasSuffix(Tables.noMesh) && paths.contains("tokyo") && paths.contains("away"))
        let empty = try Tables.text(.paths, json: JSON.answer(.paths, makeSnapshot(isEmpty: true)))
        #expect(empty.hasPrefix("no other site is known\n"))
    }

    @Test func whyNamesThoseThatCarry() throws {
        var snapshot = try snapshot()
        snapshot.streams.sealed = [
            StreamSnapshot.Sealed(
                group: 0, stream: 0xAB, members: [PeerIndex(0), PeerIndex(1)], state: .inUse, cipher: .aes256gcm, since: now)
        ]
        let audience = PeerSet([PeerIndex(0), PeerIndex(1)])
        #expect(
            WhyDocument.ways(to: PeerIndex(1), audience, snapshot) == [
                "nyc is reached through ams, tokyo.",
                "It is sealed once for ams, nyc: the group stream 000000ab carries it.",
            ])
        #expect(
            WhyDocument.ways(to: PeerIndex(0), PeerSet([PeerIndex(0)]), snapshot) == [
                "A copy that is sealed for ams alone carries it."
            ])
        snapshot.streams.sealed[0].state = .begun
        #expect(WhyDocument.ways(to: PeerIndex(0), audience, snapshot).last == "A copy that is sealed for ams alone carries it.")
        #expect(WhyDocument.ways(to: PeerIndex(0), nil, snapshot) == [])
    }
}
