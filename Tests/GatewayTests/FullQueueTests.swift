// The queue from lanes to control, really full: whatever a lane has to say finds no room, for seconds on end. No peer is down for
// that, what is forwarded is not disturbed, and what was not said is said when there is room again.

import Basics
import Buffers
import Settings
import Switching
import Testing
import Tunnels

@testable import Gateway

@Suite struct FullQueueTests {
    /// Nothing that a lane says of site 0 finds room, until `isFull` is false.
    private final class Filling {
        var isFull = true
        private(set) var times = 0

        func fill(_ mailbox: LaneMailbox) {
            guard isFull else { return }
            // Of a listing that nobody has asked for.
            while mailbox.events.push(.macRowsEnd(token: 0)) {}
            times += 1
        }
    }

    private func fill(_ mesh: LanesMesh) -> Filling {
        let filling = Filling()
        let filled = mesh.sites[0]
        mesh.beforeLane = { site, lane in if site === filled { filling.fill(site.mailboxes[lane]) } }
        return filling
    }

    /// A frame each way in every lane, each twenty milliseconds.
    private func flow(_ mesh: LanesMesh, for interval: Interval) -> Int {
        let count = Int(interval.nanoseconds / 20_000_000)
        for site in 0...1 {
            for lane in 0..<mesh.sites[site].lanes.count {
                for number in 0..<count {
                    let frame = testFrame(
                        to: .broadcast, from: host(site, 100 + lane), number: UInt32(lane * 1_000_000 + number))
                    mesh.send(frame, site: site, lane: lane, after: .milliseconds(20 * Int64(number)))
                }
            }
        }
        return count
    }

    private func expectAll(_ mesh: LanesMesh, _ count: Int) {
        for site in 0...1 {
            let numbers = mesh.sites[1 - site].numbers()
            for lane in 0..<mesh.sites[site].lanes.count {
                let own = numbers.filter { $0 / 1_000_000 == UInt32(lane) }.map { Int($0 % 1_000_000) }
                #expect(own == Array(0..<count), "site \(site), lane \(lane): \(own.count) of \(count)")
            }
        }
    }

    private func alarms(_ mesh: LanesMesh) -> Int {
        mesh.sites.reduce(0) {
            $0
                + $1.count {
                    switch $0 {
                    case .peerSuspect, .peerDown: true
                    default: false
                    }
                }
        }
    }

    private func unheard(_ mesh: LanesMesh) -> UInt64 { mesh.sites[0][.puntQueueFull] }

    @Test(arguments: [[1, 1], [2, 2], [3, 1]])
    func noFalseDown(_ lanes: [Int]) throws {
        let mesh = try LanesMesh.up(lanes)
        let filling = fill(mesh)
        let count = flow(mesh, for: .seconds(15))
        mesh.run(for: .seconds(15))
        #expect(filling.times > 700 && unheard(mesh) > 20, "\(filling.times), \(unheard(mesh))")
        #expect(alarms(mesh) == 0 && mesh.isUp)
        // Probes are not answered as far as control knows, so that it takes the path for narrow; with room it finds it again.
        filling.isFull = false
        mesh.run(for: .seconds(5))
        #expect(alarms(mesh) == 0 && mesh.isUp)
        expectAll(mesh, count)
    }

    /// Keys are renewed meanwhile. The first datagram under new keys cannot be told of, nor can the second; when one can, they
    /// are confirmed.
    @Test(arguments: [[1, 1], [2, 2]])
    func renewalsAreConfirmedInTheEnd(_ lanes: [Int]) throws {
        let mesh = LanesMesh(lanes, SiteSetup(rekeyTime: .seconds(6)))
        mesh.run(for: .seconds(2))
        try #require(mesh.isUp)
        let filling = fill(mesh)
        let count = flow(mesh, for: .seconds(20))
        mesh.run(for: .seconds(9))
        let meanwhile = mesh.sites.map { $0.control.snapshot(of: PeerIndex(0)).handshakes }
        filling.isFull = false
        mesh.run(for: .seconds(12))
        #expect(alarms(mesh) == 0 && mesh.isUp)
        expectAll(mesh, count)
        for (site, before) in zip(mesh.sites, meanwhile) {
            let peer = site.control.peers[0]
            #expect(peer.handshakes > before && peer.sessions.last?.isConfirmed == true)
        }
        #expect(mesh.sites.allSatisfy { $0[.unknownStream] == 0 })
    }

    /// The peer moves while nobody can be told: the lanes that hear it send to its new place at once, and control learns of it
    /// later.
    @Test func aMoveIsToldInTheEnd() throws {
        let mesh = try LanesMesh.up([2, 2])
        let filling = fill(mesh)
        let old = mesh.sites[1].endpoint
        mesh.sites[1].endpoint = Endpoint(ipv4: 0xC633_6401, port: 40_000)
        let count = flow(mesh, for: .seconds(3))
        mesh.run(for: .seconds(3))
        #expect(mesh.sites[0].control.snapshot(of: PeerIndex(0)).endpoint == old, "nobody could say so")
        filling.isFull = false
        mesh.run(for: .seconds(2))
        let place = mesh.sites[1].endpoint
        #expect(mesh.sites[0].control.snapshot(of: PeerIndex(0)).endpoint == place)
        #expect((0..<2).allSatisfy { mesh.sites[0].target(lane: $0) == place })
        #expect(alarms(mesh) == 0)
        expectAll(mesh, count)
    }

    /// What waits for one lane is bounded, and what is given up is counted.
    @Test func sightingsBeyondTheLimitAreCounted() throws {
        let mesh = try LanesMesh.up([2, 2])
        let site = mesh.sites[0]
        var random = SeededRandom(seed: 1)
        func sight(_ count: Int) {
            for _ in 0..<count {
                let address = MACAddress(rawValue: 0x0200_0000_0000 | random.next() & 0xFFFF_FFFF)
                let entry = MACEntry(address: address, vlan: .untagged, location: Location(PortIndex(0)), seen: mesh.now)
                #expect(site.mailboxes[0].events.push(.sighted(entry)))
            }
            site.control.handleEvents(at: mesh.now)
        }
        // 768 places of the queue to the other lane, then those that wait.
        for _ in 0..<17 { sight(3_900) }
        #expect(site.control.untoldSightings == 0)
        // All but four of these are too many, and 1,024 go at once.
        sight(4_000)
        #expect(site.control.untoldSightings == 4 * 1_024)
        // With the lanes awake all that is left is told.
        mesh.settle(0)
        #expect(site.control.untoldSightings == 4 * 1_024 && mesh.sites[0].macCount(lane: 1) > 0)
    }
}
