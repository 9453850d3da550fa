// What the tests of this target share: a directory for outputs, captures made of frames that are all different, a replay
// from a scenario's text to what every LAN saw, and the project's collection of captures.

import Basics
import Captures
import Foundation
import Gateway
import Settings
import Testing

@testable import Simulation

extension VirtualWire {
    /// From nowhere in particular.
    mutating func carry(_ bytes: [UInt8], from: Int, to: Int, at now: Instant) {
        carry(bytes, from: from, to: to, source: Endpoint(ipv4: 0, port: 0), at: now)
    }
}

/// A directory that goes away with the value.
final class Workplace {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.appending(path: "causeway-simulation-\(UUID().uuidString)").path
        #expect(throws: Never.self) {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Writes a capture and returns its path. Times are nanoseconds since 1970.
    @discardableResult
    func capture(_ name: String, _ frames: [(time: UInt64, bytes: [UInt8])]) throws -> String {
        let writer = try CaptureWriter(path: "\(path)/\(name)")
        for frame in frames { try writer.write(timestamp: frame.time, bytes: frame.bytes) }
        try writer.close()
        return "\(path)/\(name)"
    }

    func contents(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: "\(path)/\(name)"))) }

    /// Runs a scenario whose captures are in this directory, and reads back what it wrote into `outputs` there.
    /// - Parameter snooping: false where a test is about other things: every frame then goes everywhere, and gateways say
    ///   nothing on LANs.
    /// - Parameter classes: false where a test compares the order of whole LANs: then all frames have one class, and none that
    ///   was sent at the same instant overtakes another.
    func replay(
        _ scenario: String, seed: UInt64? = nil, outputs: String = "out", snooping: Bool = false, classes: Bool = false
    ) throws -> Outcome {
        let parsed = ReplayScenario.parse(Array(scenario.utf8), file: "\(path)/scenario.conf")
        try #require(parsed.diagnostics == [])
        var plan = try #require(parsed.scenario)
        if !snooping { for index in plan.sites.indices { plan.sites[index].tuning.multicast.snooping = false } }
        if !classes {
            for index in plan.sites.indices {
                plan.sites[index].tuning.classes.feed = ClassMembers(CodePointSet([]), hasMulticast: false)
                plan.sites[index].tuning.classes.bulk = ClassMembers(CodePointSet([]), hasMulticast: false)
            }
        }
        let directory = "\(path)/\(outputs)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let result = try Replay(plan, seed: seed ?? plan.seed, outputDirectory: directory).run()
        var frames: [[[Seen]]] = []
        for site in plan.sites {
            frames.append(
                try site.ports.map { port in
                    let (seen, error) = readAll("\(directory)/\(site.name).\(port.name).pcap")
                    try #require(error == nil)
                    return seen.map { Seen(time: $0.timestamp, bytes: $0.bytes) }
                })
        }
        return Outcome(plan: plan, result: result, frames: frames)
    }
}

/// A frame on a LAN, with virtual time from 0 in nanoseconds.
struct Seen: Hashable {
    var time: UInt64
    var bytes: [UInt8]
}

/// A replay that has run.
struct Outcome {
    let plan: ReplayScenario
    let result: ReplayResult
    /// By site and port, what the gateway put on the LAN.
    let frames: [[[Seen]]]

    /// What the gateway put on the first port of a site.
    func lan(_ site: String, port: Int = 0) -> [Seen] { frames[index(site)][port] }

    func snapshot(_ site: String) -> GatewaySnapshot { result.sites[index(site)].snapshot }

    func drops(_ site: String) -> [DropReason: UInt64] { allDrops(snapshot(site)) }

    func link(_ from: String, _ to: String) -> LinkTally {
        result.links.first { $0.from == from && $0.to == to }?.tally ?? LinkTally()
    }

    func index(_ site: String) -> Int { plan.sites.firstIndex { $0.name == site } ?? 0 }
}

/// Every reason that has counted something.
func allDrops(_ snapshot: GatewaySnapshot) -> [DropReason: UInt64] {
    var drops: [DropReason: UInt64] = [:]
    for reason in DropReason.allCases where snapshot[reason] > 0 { drops[reason] = snapshot[reason] }
    return drops
}

/// Reads to the end or the first error.
func readAll(_ path: String) -> (frames: [CapturedFrame], error: CaptureError?) {
    var frames: [CapturedFrame] = []
    do throws(CaptureError) {
        let reader = try CaptureReader(path: path)
        while let frame = try reader.next() { frames.append(frame) }
        return (frames, nil)
    } catch {
        return (frames, error)
    }
}

// MARK: - Frames

/// Addresses of made-up hosts: 02:00:00:00:00:NN.
func host(_ number: UInt8) -> [UInt8] { [2, 0, 0, 0, 0, number] }

let everyone: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]
let group: [UInt8] = [1, 0, 0x5E, 1, 2, 3]

/// A frame that no other number gives: the payload repeats `number`.
func frame(
    _ number: Int, from source: [UInt8] = host(1), to destination: [UInt8] = group, length: Int = 118, vlan: UInt16? = nil
) -> [UInt8] {
    var bytes = destination + source
    if let vlan { bytes += [0x81, 0x00, UInt8(vlan >> 8), UInt8(vlan & 255)] }
    bytes += [0x88, 0xB5]
    var state = UInt64(number)
    while bytes.count < length {
        bytes += octets(of: state)
        state = state &* 0x5851_F42D_4C95_7F2D &+ 0x1405_7B7E_F767_814F
    }
    return Array(bytes.prefix(length))
}

private func octets(of value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
}

let millisecond: UInt64 = 1_000_000
let second: UInt64 = 1_000_000_000

/// A feed of `count` frames of mixed sizes, `spacing` apart, in bursts of `burst` at one instant.
func feed(
    _ count: Int, spacing: UInt64 = millisecond, burst: Int = 1, lengths: [Int] = [60, 118, 142, 93, 1514, 302, 9000],
    first: Int = 0, start: UInt64 = 1_700_000_000 * second
) -> [(time: UInt64, bytes: [UInt8])] {
    (0..<count).map { (start + UInt64($0 / burst) * spacing, frame(first + $0, length: lengths[$0 % lengths.count])) }
}

// MARK: - The collection

enum Collection {
    /// Beside the checkout, wherever that is: the first `shared/captures` on the way up from this file.
    static let directory: String? = {
        var place = URL(filePath: #filePath)
        while place.path != "/" {
            place = place.deletingLastPathComponent()
            let candidate = place.appending(path: "shared/captures").path
            if FileManager.default.fileExists(atPath: candidate + "/MANIFEST.tsv") { return candidate }
        }
        return nil
    }()

    /// File and kind, the manifest's first two columns.
    static let entries: [(file: String, kind: String)] = {
        guard let directory, let data = FileManager.default.contents(atPath: directory + "/MANIFEST.tsv") else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: "\n").dropFirst().compactMap { line in
            let columns = line.split(separator: "\t", omittingEmptySubsequences: false)
            return columns.count > 1 ? (String(columns[0]), String(columns[1])) : nil
        }
    }()

    static func files(_ isWanted: (String) -> Bool) -> [String] { entries.filter { isWanted($0.kind) }.map(\.file) }

    static var isMissing: Bool { entries.isEmpty }
    static let reason: Comment = "there is no shared/captures in any directory above this checkout"
}
