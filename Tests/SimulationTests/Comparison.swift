// A replay against the reference: the same frames, octet for octet, in the same order and at the same times, and the same
// numbers in every counter.

import Basics
import Captures
import Gateway
import Settings
import Testing

@testable import Simulation

extension Outcome {
    /// What the reference mesh makes of the captures of this scenario; links must lose nothing.
    func reference(ageing: UInt64 = 300 * second) -> ReferenceMesh {
        var mesh = ReferenceMesh(ports: plan.sites.map(\.ports.count), ageing: ageing)
        for link in plan.links { mesh.delays[[link.a, link.b]] = UInt64(link.delay.nanoseconds) }
        var sent: [ReferenceMesh.Sent] = []
        let firsts = plan.sites.flatMap(\.ports).compactMap { lan in lan.capture.flatMap { readAll($0).frames.first?.timestamp } }
        for (site, described) in plan.sites.enumerated() {
            for (port, lan) in described.ports.enumerated() {
                guard let capture = lan.capture else { continue }
                let frames = readAll(capture).frames
                let origin = plan.align == .absolute ? firsts.min() ?? 0 : frames.first?.timestamp ?? 0
                var now: UInt64 = 0
                for frame in frames {
                    now = max(now, frame.timestamp - min(frame.timestamp, origin))
                    let time = now + UInt64(lan.offset.nanoseconds)
                    sent.append(ReferenceMesh.Sent(time: time, site: site, port: port, bytes: frame.bytes))
                }
            }
        }
        mesh.run(sent)
        return mesh
    }

    /// Expects that this is what the reference says, and nothing else.
    func expectEqual(to mesh: ReferenceMesh, sourceLocation: SourceLocation = #_sourceLocation) {
        for (number, site) in plan.sites.enumerated() {
            let (expected, snapshot) = (mesh.sites[number], result.sites[number].snapshot)
            for port in site.ports.indices {
                let difference = firstDifference(frames[number][port], expected.lans[port])
                #expect(difference == nil, "\(site.name), port \(port)", sourceLocation: sourceLocation)
                #expect(result.sites[number].ports[port].framesOut == UInt64(expected.lans[port].count))
            }
            let ports = site.ports.indices.map { PortIndex($0) }
            #expect(ports.reduce(0) { $0 + snapshot[$1, .framesIn] } == UInt64(expected.framesIn), "\(site.name)")
            #expect(ports.reduce(0) { $0 + snapshot[$1, .framesOut] } == UInt64(expected.delivered), "\(site.name)")
            #expect(allDrops(snapshot) == expected.drops, "\(site.name)", sourceLocation: sourceLocation)
            let others = plan.sites.indices.filter { $0 != number }
            for (index, other) in others.enumerated() {
                #expect(snapshot[PeerIndex(index), .framesOut] == UInt64(expected.toPeers[other]), "\(site.name)")
                #expect(snapshot[PeerIndex(index), .framesIn] == UInt64(expected.fromPeers[other]), "\(site.name)")
            }
        }
    }

    /// The first place where two lists differ, in words.
    private func firstDifference(_ actual: [Seen], _ expected: [Seen]) -> String? {
        for (index, pair) in zip(actual, expected).enumerated() where pair.0 != pair.1 {
            let (was, should) = pair
            return "frame \(index + 1) of \(actual.count): \(was.bytes.count) octets at \(was.time), "
                + "expected \(should.bytes.count) octets at \(should.time)"
                + (was.bytes == should.bytes ? "" : ", other octets")
        }
        return actual.count == expected.count ? nil : "\(actual.count) frames, expected \(expected.count)"
    }
}
