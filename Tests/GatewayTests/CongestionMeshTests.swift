// Congestion marks through a whole mesh: a router on the WAN changes the ECN bits of datagrams, and the frames arrive as RFC 6040
// figure 4 says, whole ones and those that were cut over several datagrams, with their checksums right.

import Basics
import Settings
import Testing
import Wire

@testable import Gateway

@Suite struct CongestionMeshTests {
    private func makeMesh() throws -> VirtualMesh {
        let mesh = VirtualMesh(sites: 2)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        return mesh
    }

    /// Rows and columns: Not-ECT, ECT(1), ECT(0), CE by their values; `nil`: dropped.
    private static let expected: [[UInt8?]] = [
        [0, 0, 0, nil],
        [1, 1, 1, 3],
        [2, 1, 2, 3],
        [3, 3, 3, 3],
    ]

    @Test(arguments: [false, true], [[], customerTag(9)])
    func everyCombination(isIPv6: Bool, tags: [UInt8]) throws {
        for size in [90, 1_514, 4_000] {
            for inner in 0..<4 as Range<UInt8> {
                for outer in 0..<4 as Range<UInt8> {
                    let mesh = try makeMesh()
                    mesh.setOneWay(from: 0, to: 1) { $0.remark = { $0 & ~3 | outer } }
                    let before = mesh.sites[1][.congestionUnmarked]
                    var frame = IPFrame(octet: 46 << 2 | inner, isIPv6: isIPv6, tags: tags, count: size)
                    for number in 0..<5 as Range<UInt32> {
                        frame.number = number
                        mesh.send(frame.bytes, site: 0)
                    }
                    mesh.run(for: .milliseconds(20))
                    let result = Self.expected[Int(inner)][Int(outer)]
                    let arrived = mesh.sites[1].delivered[0].map(\.bytes)
                    if let result {
                        frame.octet = 46 << 2 | result
                        let wanted = (0..<5 as Range<UInt32>).map { number -> [UInt8] in
                            frame.number = number
                            return frame.bytes
                        }
                        // Octet for octet, the checksum with it.
                        #expect(arrived == wanted, "\(inner) in \(outer), \(size) octets")
                    } else {
                        #expect(arrived.isEmpty && mesh.sites[1][.congestionUnmarked] - before == 5)
                    }
                    #expect(mesh.sites[1][.authenticationFailed] == 0 && mesh.sites[1][.malformedPacking] == 0)
                }
            }
        }
    }

    /// Only one of the datagrams that a frame was cut over is marked: the frame is.
    @Test(arguments: 0..<3)
    func oneMarkedPieceIsEnough(_ piece: Int) throws {
        let mesh = try makeMesh()
        let counter = Counter()
        mesh.setOneWay(from: 0, to: 1) {
            $0.remark = { octet in
                // Only the frame's datagrams: the tunnel's own are Not-ECT.
                guard octet & 3 != 0 else { return octet }
                defer { counter.value += 1 }
                return counter.value == piece ? octet | 3 : octet
            }
        }
        var frame = IPFrame(octet: 2, count: 4_000)
        mesh.send(frame.bytes, site: 0)
        mesh.run(for: .milliseconds(5))
        frame.octet = 3
        #expect(counter.value == 3, "cut over three datagrams")
        #expect(mesh.sites[1].delivered[0].map(\.bytes) == [frame.bytes])
    }

    private final class Counter { var value = 0 }

    /// Neither frames that are no IP nor control's segments are changed or dropped, and sessions live on.
    @Test func whatCannotBeMarkedArrives() throws {
        let mesh = try makeMesh()
        mesh.setWire(0, 1) { $0.remark = { $0 | 3 } }
        let frames = (0..<5 as Range<UInt32>).map { testFrame(to: .broadcast, from: host(0), number: $0) }
        for frame in frames { mesh.send(frame, site: 0) }
        mesh.run(for: .seconds(30))
        #expect(mesh.sites[1].delivered[0].map(\.bytes) == frames)
        #expect(mesh.sites[0].state(of: 1) == .up && mesh.sites[1].state(of: 0) == .up)
        #expect(mesh.sites[1][.congestionUnmarked] == 0)
    }

    /// A datagram that came to another lane than its stream's takes its mark along.
    @Test func marksCrossLanes() throws {
        let mesh = try LanesMesh.up([2, 2])
        var frame = IPFrame(octet: 2, count: 200)
        mesh.isLost = { $0.isSealed && $0.from == 0 }
        let before = mesh.sent.count
        mesh.send(frame.bytes, site: 0, lane: 1)
        mesh.run(for: .milliseconds(10))
        let datagram = try #require(mesh.sent.dropFirst(before).first { $0.isSealed && $0.bytes.count > 150 })
        #expect(datagram.origin == 1)
        mesh.inject(datagram, site: 1, lane: 0, from: mesh.sites[0].endpoint, octet: 3)
        frame.octet = 3
        #expect(mesh.sites[1].delivered.map(\.bytes) == [frame.bytes])
    }
}
