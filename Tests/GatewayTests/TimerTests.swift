// Time: timers run out when something is due and not otherwise, dead peers are not stormed, and the same seed gives the same
// bytes.

import Basics
import Switching
import Testing
import Tunnels

@testable import Gateway

@Suite struct TimerTests {
    @Test func idleGatewaysSleep() throws {
        let mesh = VirtualMesh(sites: 4)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(for: .seconds(2))
        let before = mesh.sites.map(\.timeouts)
        let sent = mesh.sent.count
        mesh.run(for: .seconds(60))
        for (index, site) in mesh.sites.enumerated() {
            // Each of three peers is looked at four times a second, and counters are published after what comes.
            #expect(site.timeouts - before[index] < 60 * 14, "site \(index): \(site.timeouts - before[index])")
        }
        // 6 pairs. Whoever has heard nothing for a quarter of a second asks, and is answered: at most eight datagrams a second if
        // both ask at once; and every five seconds a probe of the control channel and its answer, both ways.
        let perPair = (mesh.sent.count - sent) / 6
        #expect(perPair >= 60 * 4 && perPair <= 60 * 16 + 4 * 13, "\(perPair)")
    }

    @Test func keepalivesPauseWhileFramesFlow() throws {
        let mesh = VirtualMesh(sites: 2)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        let start = mesh.now
        for index in 0..<200 {
            mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0, at: start + .milliseconds(50 * Int64(index)))
        }
        let before = mesh.sent.count
        mesh.run(for: .seconds(10))
        let empty = mesh.sent.dropFirst(before).count { $0.from == 0 && $0.kind == .sealed && $0.bytes.count < 40 }
        #expect(empty <= 1)
    }

    @Test func aDeadPeerIsNotStormed() throws {
        let mesh = VirtualMesh([SiteSetup(), SiteSetup()])
        mesh.kill(1)
        mesh.run(for: .seconds(60))
        let first = mesh.sent.count { $0.kind == .initiation }
        #expect(first >= 20 && first <= 60)
        mesh.run(for: .seconds(600))
        let later = mesh.sent.count { $0.kind == .initiation } - first
        #expect(later >= 200 && later <= 310, "about one in two seconds, for as long as it takes")
        #expect(mesh.sites[0].timeouts < 660 * 4)
        #expect(mesh.sites[0].events.count <= 12, "at most one line a minute")
        #expect(mesh.sites[0].resolves >= 20)
    }

    /// A peer that answers handshakes and then never confirms does not hold more and more sessions.
    @Test func halfASessionIsNotKept() throws {
        let mesh = VirtualMesh(sites: 2)
        // Responses are lost for ever, so site 1 answers again and again.
        mesh.setOneWay(from: 1, to: 0) { $0.isCut = true }
        mesh.run(for: .seconds(120))
        #expect(mesh.sites[1].core.control.peers[0].sessions.count <= PeerState.sessionLimit)
        #expect(mesh.sites[1].state(of: 0) == .connecting)
        mesh.setOneWay(from: 1, to: 0) { $0.isCut = false }
        #expect(mesh.runUntilUp(limit: .seconds(5)) != nil)
    }

    @Test func entriesAge() throws {
        let mesh = VirtualMesh(sites: 2, setup: SiteSetup(macAgeing: .seconds(10)))
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.send(testFrame(to: .broadcast, from: host(0)), site: 0)
        mesh.run(for: .seconds(9))
        #expect(mesh.sites[1].core.macRows().count == 1)
        mesh.run(for: .seconds(3))
        #expect(mesh.sites[1].core.macRows().isEmpty && mesh.sites[0].core.macRows().isEmpty)
    }

    @Test func theTableIsListedInSlices() throws {
        var setup = SiteSetup()
        setup.macLimit = 8_192
        let mesh = VirtualMesh(sites: 2, setup: setup)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        for number in 0..<6_000 { mesh.send(testFrame(to: host(1), from: host(0, number + 1)), site: 0) }
        mesh.run(for: .seconds(1))
        let site = mesh.sites[0]
        let token = site.core.control.requestMACs()
        #expect(site.core.control.requestMACs() == token, "whoever asks meanwhile gets the same listing")
        var answer: (token: UInt32, rows: [MACEntry])?
        for _ in 0..<100 where answer == nil {
            mesh.flush(site)
            mesh.run(for: .milliseconds(5))
            answer = site.core.control.pollMACs()
        }
        #expect(answer?.token == token)
        let rows = try #require(answer?.rows)
        #expect(rows == site.core.macRows() && rows.count == 6_000)
        #expect(site[.puntQueueFull] == 0)
    }

    /// Everything at once, twice.
    @Test(arguments: [1, 2] as [UInt64])
    func theSameSeedGivesTheSameBytes(_ seed: UInt64) throws {
        func run(_ seed: UInt64) -> VirtualMesh {
            var setup = SiteSetup()
            setup.rekeyTime = .seconds(3)
            setup.macLimit = 30
            let wire = WireCharacter(
                delay: .milliseconds(20), jitter: .milliseconds(30), lossMillionths: 100_000, duplicateMillionths: 50_000,
                corruptMillionths: 20_000)
            let mesh = VirtualMesh(sites: 3, seed: seed, setup: setup, wire: wire)
            var random = SeededRandom(seed: seed)
            for number in 0..<600 as Range<UInt32> {
                let site = Int(random.next() % 3)
                let destination = random.next() % 2 == 0 ? MACAddress.broadcast : host(Int(random.next() % 3), 3)
                let frame = testFrame(
                    to: destination, from: host(site, Int(random.next() % 20)), number: number,
                    count: 60 + Int(random.next() % 2_000))
                mesh.send(frame, site: site, at: .zero + .milliseconds(Int64(number) * 20))
            }
            mesh.run(for: .seconds(6))
            mesh.restart(1)
            mesh.run(for: .seconds(9))
            return mesh
        }
        let one = run(seed)
        let two = run(seed)
        let areEqual = one.sent == two.sent
        #expect(areEqual && one.sent.count > 500)
        #expect(one.sites.map { $0.delivered } == two.sites.map { $0.delivered })
        #expect(one.sites.map { $0.events.map(\.event) } == two.sites.map { $0.events.map(\.event) })
        #expect((0..<3).map(one.values) == (0..<3).map(two.values))
        let isOther = run(seed + 100).transcript != one.transcript
        #expect(isOther, "another seed gives other bytes")
    }
}
