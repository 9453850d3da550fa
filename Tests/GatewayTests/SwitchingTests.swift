// Where frames go, seen from the hosts: three sites and what arrives on their LANs, octet by octet.

import Basics
import Testing

@testable import Gateway

@Suite struct GatewaySwitchingTests {
    /// Three sites, up, with two ports at the first.
    private func threeSites() throws -> VirtualMesh {
        var first = SiteSetup()
        first.ports = 2
        let mesh = VirtualMesh([first, SiteSetup(), SiteSetup()])
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        return mesh
    }

    private func send(_ mesh: VirtualMesh, _ bytes: [UInt8], site: Int, port: Int = 0) {
        mesh.send(bytes, site: site, port: port)
        mesh.run(for: .milliseconds(20))
    }

    @Test func floodsUnknownBroadcastAndMulticast() throws {
        let mesh = try threeSites()
        let destinations = [MACAddress.broadcast, someGroup, host(9), MACAddress(rawValue: 0x3333_0000_0001)]
        for (number, destination) in destinations.enumerated() {
            send(mesh, testFrame(to: destination, from: host(0), number: UInt32(number)), site: 0)
        }
        #expect(mesh.sites[0].numbers(port: 0).isEmpty, "never back to the port it came from")
        for lan in [mesh.sites[0].numbers(port: 1), mesh.sites[1].numbers(), mesh.sites[2].numbers()] {
            #expect(lan == [0, 1, 2, 3])
        }
    }

    @Test func knownUnicastGoesToOnePlaceOnly() throws {
        let mesh = try threeSites()
        send(mesh, testFrame(to: .broadcast, from: host(1), number: 1), site: 1)
        send(mesh, testFrame(to: host(1), from: host(0), number: 2), site: 0)
        #expect(mesh.sites[1].numbers() == [2])
        #expect(mesh.sites[2].numbers() == [1])
        #expect(mesh.sites[0].numbers(port: 1) == [1])
        // The answer, and then between two ports of one site.
        send(mesh, testFrame(to: host(0), from: host(1), number: 3), site: 1)
        #expect(mesh.sites[0].numbers(port: 0) == [1, 3])
        let before = mesh.sent.count { $0.kind == .sealed && $0.bytes.count > 40 }
        send(mesh, testFrame(to: host(0), from: host(0, 7), number: 4), site: 0, port: 1)
        #expect(mesh.sites[0].numbers(port: 0) == [1, 3, 4])
        send(mesh, testFrame(to: host(0, 7), from: host(0), number: 5), site: 0, port: 0)
        #expect(mesh.sites[0].numbers(port: 1) == [1, 5])
        #expect(mesh.sent.count { $0.kind == .sealed && $0.bytes.count > 40 } == before, "local traffic stays local")
    }

    @Test func aHostOnTheSameSegmentIsLeftAlone() throws {
        let mesh = try threeSites()
        send(mesh, testFrame(to: .broadcast, from: host(0, 1), number: 1), site: 0)
        send(mesh, testFrame(to: host(0, 1), from: host(0, 2), number: 2), site: 0)
        #expect(mesh.sites[0][.sameSegment] == 1)
        #expect(mesh.sites[1].numbers() == [1] && mesh.sites[0].numbers(port: 1) == [1])
    }

    @Test func linkConstrainedAddressesNeverCross() throws {
        let mesh = try threeSites()
        for low in 0...15 as ClosedRange<UInt64> {
            send(mesh, testFrame(to: MACAddress(rawValue: 0x0180_C200_0000 | low), from: host(0), number: 1), site: 0)
        }
        #expect(mesh.sites[0][.linkConstrained] == 16)
        #expect(mesh.sites[1].numbers().isEmpty && mesh.sites[0].numbers(port: 1).isEmpty)
        send(mesh, testFrame(to: MACAddress(rawValue: 0x0180_C200_0010), from: host(0), number: 2), site: 0)
        send(mesh, testFrame(to: MACAddress(rawValue: 0x0180_C200_0020), from: host(0), number: 3), site: 0)
        #expect(mesh.sites[1].numbers() == [2, 3])
    }

    /// A peer that still believes a host to be here, when it is at a third site: the frame stops.
    @Test func neverFromTheMeshToTheMesh() throws {
        let mesh = try threeSites()
        // The host is heard at site 2, but site 0 does not learn of it; site 1 has learned that it is at site 2.
        mesh.setWire(0, 2) { $0.isCut = true }
        send(mesh, testFrame(to: .broadcast, from: host(2), number: 1), site: 2)
        mesh.setWire(0, 2) { $0.isCut = false }
        #expect(mesh.sites[1].numbers() == [1] && mesh.sites[0].numbers().isEmpty)
        // Site 0 floods to both: site 2 delivers, site 1 knows better than to put it on its LAN or back on the mesh.
        let before = mesh.sent.count { $0.from == 1 && $0.bytes.count > 50 }
        send(mesh, testFrame(to: host(2), from: host(0), number: 2), site: 0)
        #expect(mesh.sites[2].numbers() == [2])
        #expect(mesh.sites[1].numbers() == [1])
        #expect(mesh.sites[1][.splitHorizon] == 1)
        #expect(mesh.sent.count { $0.from == 1 && $0.bytes.count > 50 } == before)
    }

    @Test func tagsAreCarriedIntactAndVLANsAreSeparate() throws {
        let mesh = try threeSites()
        let tags = [[], customerTag(10), customerTag(11), serviceTag(10), serviceTag(10) + customerTag(5), customerTag(0)]
        let frames = tags.enumerated().map {
            testFrame(to: .broadcast, from: host(0), tags: $0.element, number: UInt32($0.offset))
        }
        for frame in frames { send(mesh, frame, site: 0) }
        #expect(mesh.sites[1].delivered[0].map(\.bytes) == frames)
        // VLAN 10, VLAN 11, service VLAN 10, and untagged: the priority tag is no VLAN, and the outermost tag decides.
        let rows = mesh.sites[1].core.macRows()
        #expect(rows.map(\.vlan) == [.untagged, VLAN(rawValue: 10), VLAN(rawValue: 11), VLAN(identifier: 10, isService: true)])
        #expect(rows.allSatisfy { $0.address == host(0) && $0.location.peer == mesh.sites[1].peer(0) })
        // Known in VLAN 10 is unknown in VLAN 12.
        send(mesh, testFrame(to: host(0), from: host(1), tags: customerTag(12), number: 90), site: 1)
        send(mesh, testFrame(to: host(0), from: host(1), tags: customerTag(10), number: 91), site: 1)
        #expect(mesh.sites[2].numbers().suffix(1) == [90])
        #expect(mesh.sites[0].numbers(port: 0) == [90, 91])
    }

    @Test func aHostThatMovesIsFollowed() throws {
        let mesh = try threeSites()
        send(mesh, testFrame(to: .broadcast, from: host(5), number: 1), site: 1)
        send(mesh, testFrame(to: .broadcast, from: host(5), number: 2), site: 2)
        send(mesh, testFrame(to: host(5), from: host(0), number: 3), site: 0)
        #expect(mesh.sites[2].numbers() == [1, 3])
        #expect(mesh.sites[1].numbers() == [2])
        mesh.sites[0].core.lane.bridge.macs.checkInvariants()
    }

    @Test func runtsAndOversizedFramesAreCounted() throws {
        let mesh = try threeSites()
        send(mesh, [], site: 0)
        send(mesh, [UInt8](repeating: 2, count: 13), site: 0)
        send(mesh, testFrame(to: .broadcast, from: host(0), number: 1, count: 9_217), site: 0)
        #expect(mesh.sites[0][.runt] == 2 && mesh.sites[0][.oversized] == 1)
        #expect(mesh.sites[0].core.lane.bridge.macs.count == 0, "nothing is learned from what is not carried")
        let longest = testFrame(to: .broadcast, from: host(0), number: 2, count: 9_216)
        let shortest = Array(testFrame(to: .broadcast, from: host(0)).prefix(14))
        send(mesh, longest, site: 0)
        send(mesh, shortest, site: 0)
        #expect(mesh.sites[1].delivered[0].map(\.bytes) == [longest, shortest])
    }

    @Test func groupAndZeroSourcesAreForwardedAndNotLearned() throws {
        let mesh = try threeSites()
        send(mesh, testFrame(to: .broadcast, from: someGroup, number: 1), site: 0)
        send(mesh, testFrame(to: .broadcast, from: .zero, number: 2), site: 0)
        send(mesh, testFrame(to: .broadcast, from: .broadcast, number: 3), site: 0)
        #expect(mesh.sites[1].numbers() == [1, 2, 3])
        #expect(mesh.sites[0].core.lane.bridge.macs.count == 0 && mesh.sites[1].core.lane.bridge.macs.count == 0)
    }

    @Test func nowhereToGoIsCounted() {
        let mesh = VirtualMesh([SiteSetup()])
        send(mesh, testFrame(to: .broadcast, from: host(0)), site: 0)
        #expect(mesh.sites[0][.noReceiver] == 1)
    }

    @Test func framesForAPeerThatIsNotThereAreCounted() {
        let mesh = VirtualMesh(sites: 3, wire: WireCharacter(isCut: true))
        mesh.run(for: .seconds(1))
        send(mesh, testFrame(to: .broadcast, from: host(0)), site: 0)
        #expect(mesh.sites[0][.peerDown] == 2)
    }

    /// Every frame in is delivered or counted, on wires that lose nothing.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func countersAddUp(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var setup = SiteSetup()
        setup.ports = 2
        setup.macLimit = 40
        let mesh = VirtualMesh(sites: 3, seed: seed, setup: setup)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        let hosts = (0..<3).flatMap { site in (0..<20).map { host(site, $0) } }
        let sent = 3_000
        for number in 0..<sent {
            let site = Int(random.next() % 3)
            var destination = hosts.randomElement(using: &random)!
            if random.next() % 8 == 0 { destination = .broadcast }
            if random.next() % 50 == 0 { destination = MACAddress(rawValue: 0x0180_C200_0003) }
            let count = random.next() % 40 == 0 ? 9_217 : 24 + Int(random.next() % 1_500)
            var bytes = testFrame(
                to: destination, from: host(site, Int(random.next() % 20)), number: UInt32(number), count: count)
            if random.next() % 60 == 0 { bytes = Array(bytes.prefix(Int(random.next() % 14))) }
            mesh.send(bytes, site: site, port: Int(random.next() % 2), at: mesh.now + .microseconds(Int64(number) * 50))
        }
        mesh.run(for: .seconds(1))
        func port(_ site: Int, _ counter: PortCounter) -> UInt64 {
            (0..<2).reduce(0) { $0 + mesh.sites[site].core.lane.bridge.counters[PortIndex($1), counter] }
        }
        func peer(_ site: Int, _ counter: PeerCounter) -> UInt64 {
            (0..<2).reduce(0) { $0 + mesh.sites[site].core.lane.bridge.counters[PeerIndex($1), counter] }
        }
        #expect((0..<3).reduce(0) { $0 + port($1, .framesIn) } == UInt64(sent))
        #expect((0..<3).reduce(0) { $0 + peer($1, .framesOut) } == (0..<3).reduce(0) { $0 + peer($1, .framesIn) })
        #expect((0..<3).reduce(0) { $0 + peer($1, .datagramsOut) } == (0..<3).reduce(0) { $0 + peer($1, .datagramsIn) })
        #expect((0..<3).reduce(0) { $0 + peer($1, .bytesOut) } == (0..<3).reduce(0) { $0 + peer($1, .bytesIn) })
        for index in 0..<3 {
            let site = mesh.sites[index]
            #expect(port(index, .framesOut) == UInt64(site.delivered.reduce(0) { $0 + $1.count }))
            // A frame goes to one place, or a copy to each of three (the other port, two peers), or to a counter; from the
            // mesh it goes to one port, or a copy to each of two, or to a counter.
            let one: [DropReason] = [.runt, .oversized, .linkConstrained, .sameSegment, .splitHorizon]
            let dropped = one.reduce(0) { $0 + site[$1] }
            let came = port(index, .framesIn) + peer(index, .framesIn)
            let left = port(index, .framesOut) + peer(index, .framesOut)
            #expect(left + dropped >= came, "nothing vanishes")
            let others = DropReason.allCases.filter { !one.contains($0) && $0 != .handshakeRefused }
            #expect(others.allSatisfy { site[$0] == 0 })
            let floods = left + dropped - came
            #expect(floods > 0 && floods <= 2 * came)
            site.core.lane.bridge.macs.checkInvariants()
        }
    }

    /// Offload metadata: an unfinished checksum is finished, a super-frame comes out in segments, nonsense is counted.
    @Test func offloadThatDoesNotFitIsCounted() throws {
        let mesh = try threeSites()
        var bytes = testFrame(to: .broadcast, from: host(0))
        for offload in [
            FrameOffload(needsChecksum: true, checksumStart: 60, checksumOffset: 0),
            FrameOffload(needsChecksum: true, checksumStart: .max, checksumOffset: .max),
            FrameOffload(segmentation: .tcp4, segmentSize: 0), FrameOffload(segmentation: .udp, segmentSize: 10),
            FrameOffload(segmentation: .unknown, segmentSize: 1_000),
        ] {
            let before = mesh.sites[0][.badOffload]
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            mesh.sites[0].core.lane.handleFrame(&raw, offload: offload, on: PortIndex(0), at: mesh.now)
            #expect(mesh.sites[0][.badOffload] == before + 1)
        }
        mesh.flush(mesh.sites[0])
        mesh.run(for: .milliseconds(20))
        #expect(mesh.sites[1].numbers().isEmpty)
    }
}
