// Whole meshes of gateways under faults, from one seed: sites crash and come back, links are cut and lose, clocks are wrong, hosts
// join and leave. Then the faults stop, and within a bound everything has to be as it should be.
//
// The checkers: no frame reaches a port twice or goes back to its site; no number is sealed twice under one key; no table is past
// its limit. After the faults: every site has every other as a peer that is up, all know the same, a feed reaches who has joined,
// once, and nobody else.

import Basics
import Mesh
import Switching
import Testing
import Tunnels
import Wire

@testable import Gateway

struct MeshChaosTests {
    private let group = IPAddress(ipv4: 0xEF01_0101)

    @Test(arguments: [(5, 1), (5, 2), (9, 4)] as [(Int, UInt64)])
    func everythingIsRightOnceFaultsStop(_ count: Int, _ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let setups = (0..<count).map { index in
            var setup = SiteSetup.snooping()
            // Two thirds may carry; each knows one or two others.
            let seeds = index == 0 ? [] : Array(Set([0, Int.random(in: 0..<index, using: &random)])).sorted()
            setup.mesh = MeshSetup(seeds: seeds, mayRelay: index % 3 != 2)
            setup.rekeyTime = .seconds(20)
            return setup
        }
        let mesh = VirtualMesh(setups, seed: seed)
        #expect(mesh.runUntilMembersUp(limit: .seconds(60)) != nil)
        var joined = [Bool](repeating: false, count: count)
        var dead: Set<Int> = []
        var number: UInt32 = 0
        for _ in 0..<40 {
            fault(mesh, &random, &joined, &dead)
            for site in 0..<count where !dead.contains(site) && Int.random(in: 0..<3, using: &random) == 0 {
                number += 1
                mesh.send(testFrame(to: .broadcast, from: host(site + 1), number: number), site: site)
            }
            mesh.run(for: .milliseconds(Int64.random(in: 100...1_500, using: &random)))
            checkFrames(mesh)
        }
        for site in dead.sorted() {
            mesh.restart(site)
            joined[site] = false
        }
        for a in 0..<count { for b in 0..<a { mesh.setWire(a, b) { $0 = WireCharacter() } } }
        #expect(mesh.runUntilMembersUp(limit: .seconds(60)) != nil, "all are peers again")
        // Who has joined says so again, as after a query.
        for site in 0..<count where joined[site] { mesh.send(report(site, joins: true), site: site) }
        mesh.run(for: .seconds(20))
        #expect(knowTheSame(mesh), "all know the same")
        for site in 0..<count { mesh.sites[site].delivered[0] = [] }
        for frame in 0..<20 {
            mesh.send(feed(frame), site: 0)
            mesh.run(for: .milliseconds(20))
        }
        mesh.run(for: .milliseconds(200))
        for site in 1..<count {
            let numbers = mesh.sites[site].delivered[0].filter { $0.bytes.count == feed(0).count }.map { Int($0.bytes[43]) }
            #expect(numbers == (joined[site] ? Array(0..<20) : []), "site \(site), joined: \(joined[site])")
        }
        checkFrames(mesh)
        checkNonces(mesh)
        checkLimits(mesh)
    }

    /// At some moment of ten seconds: what a link is like is told anew now and then, and is under way for some milliseconds.
    private func knowTheSame(_ mesh: VirtualMesh) -> Bool {
        for _ in 0..<200 {
            let summaries = mesh.sites.map { site -> [UInt8] in site.core.control.mesh?.gossip.summary ?? [] }
            if Set(summaries).count == 1 { return true }
            mesh.run(for: .milliseconds(50))
        }
        return false
    }

    private func fault(_ mesh: VirtualMesh, _ random: inout SeededRandom, _ joined: inout [Bool], _ dead: inout Set<Int>) {
        let count = joined.count
        let site = Int.random(in: 0..<count, using: &random)
        let other = (site + Int.random(in: 1..<count, using: &random)) % count
        switch Int.random(in: 0..<7, using: &random) {
        case 0: mesh.setWire(site, other) { $0.isCut.toggle() }
        case 1: mesh.setOneWay(from: site, to: other) { $0.isCut.toggle() }
        case 2:
            let loss = UInt32.random(in: 0...200_000, using: &random)
            mesh.setWire(site, other) {
                $0.lossMillionths = loss
                $0.jitter = .milliseconds(3)
            }
        case 3 where dead.count < count / 3:
            mesh.kill(site)
            dead.insert(site)
            joined[site] = false
        case 4:
            if let back = dead.min() {
                dead.remove(back)
                mesh.restart(back)
            }
        default:
            guard !dead.contains(site) else { return }
            joined[site].toggle()
            mesh.send(report(site, joins: joined[site]), site: site)
        }
    }

    private func report(_ site: Int, joins: Bool) -> [UInt8] {
        let source = IPAddress(ipv4: 0x0A00_0001 + UInt32(site))
        return joins
            ? MembershipFrame.report(generation: .third, group: group, source: source, from: host(site + 1), vlan: .untagged)
            : MembershipFrame.leave(generation: .third, group: group, source: source, from: host(site + 1), vlan: .untagged)
    }

    private func feed(_ number: Int) -> [UInt8] {
        // 192.0.2.1 to 239.1.1.1, UDP port 5000, 200 octets; the second is the number. No UDP checksum.
        var bytes: [UInt8] = [0x01, 0x00, 0x5E, 0x01, 0x01, 0x01, 0x02, 0, 0, 0, 0, 0x64, 0x08, 0x00]
        bytes += [0x45, 0, 0x00, 0xE4, 0, 0, 0, 0, 8, 17, 0, 0, 192, 0, 2, 1, 239, 1, 1, 1]
        let sum = stride(from: 14, to: 34, by: 2).reduce(0) { $0 + Int(bytes[$1]) << 8 + Int(bytes[$1 + 1]) }
        let checksum = ~((sum & 0xFFFF) + sum >> 16)
        bytes[24] = UInt8(truncatingIfNeeded: checksum >> 8)
        bytes[25] = UInt8(truncatingIfNeeded: checksum)
        bytes += [0x13, 0x88, 0x13, 0x88, 0x00, 0xD0, 0, 0, 0, UInt8(truncatingIfNeeded: number)]
        return bytes + [UInt8](repeating: 0x55, count: 198)
    }

    // MARK: Checkers

    /// No broadcast comes twice to a port, and none to the site that it is of.
    private func checkFrames(_ mesh: VirtualMesh) {
        for site in mesh.sites {
            let frames = site.delivered[0].filter { $0.bytes.count == 60 && $0.bytes[12] == 0x88 }
            let numbers = frames.map { frameNumber($0.bytes) }
            #expect(Set(numbers).count == numbers.count, "twice at site \(site.index)")
            #expect(!frames.contains { $0.bytes[8] == UInt8(site.index + 1) }, "back at site \(site.index)")
        }
    }

    /// Two datagrams of one sender with one stream, lane and counter are the same octets, but for the hop count. A stream's identifier
    /// comes again with another key, a session later: then its counters begin anew.
    private func checkNonces(_ mesh: VirtualMesh) {
        struct Stream: Hashable {
            var from: Int
            var head: [UInt8]
        }
        var seen: [Stream: [UInt64: Int]] = [:]
        for datagram in mesh.sent where datagram.kind == .sealed {
            // Forwarded ones are somebody else's.
            let isForwarded = datagram.bytes[1] & 0x80 != 0 && datagram.bytes[1] & 0x0F != SealedLayout.hopLimit
            if isForwarded { continue }
            let stream = Stream(from: datagram.from, head: Array(datagram.bytes[2..<8]))
            let counter = datagram.bytes[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let text = datagram.bytes[16...].hashValue
            if let before = seen[stream]?[counter], before != text {
                guard counter == 0 else {
                    Issue.record("site \(datagram.from) seals two texts with one number, \(counter) of \(stream.head)")
                    return
                }
                seen[stream] = [:]
            }
            seen[stream, default: [:]][counter] = text
        }
    }

    private func checkLimits(_ mesh: VirtualMesh) {
        for site in mesh.sites {
            let control = site.core.control
            #expect((control.mesh?.relays.transits.count ?? 0) <= Transit.limit)
            #expect(control.streams.taken.count <= GroupLimits.places(peers: control.peerPlaces))
            for peer in control.peers {
                #expect(peer.sessions.count <= PeerState.sessionLimit && peer.pending.count <= PeerState.pendingLimit)
            }
        }
    }
}
