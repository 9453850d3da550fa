// How multicast scales, in process: 10,000 groups of 16 sources with 1,000 hosts beside 10 groups of 16. Prints memory, time per
// report, and time per forwarded frame; the last is a ratio of medians measured in turns in one run. Run by
// tools/bench-multicast, on an otherwise idle machine.

import Basics
import Buffers
import Foundation
import Gateway
import LinuxIO
import Settings
import Switching
import Tunnels
import Wire

let groupCounts = [10, 10_000]
let sourcesPerGroup = 16
let hosts = 1_000
let hostsPerGroup = 4
let framesPerRound = 200_000
let rounds = 9

/// Two gateways with one tunnel between them: hosts of `b` join, a host of `a` sends.
final class Pair {
    var a: GatewayCore
    var b: GatewayCore
    private(set) var now = Instant.zero
    private static let endpoints = [Endpoint(ipv4: 0x0A00_0001, port: 7117), Endpoint(ipv4: 0x0A00_0002, port: 7117)]

    init() {
        var random = SeededRandom(seed: 1)
        let identities = [KeyPair.generate(using: &random), KeyPair.generate(using: &random)]
        func make(_ index: Int) -> GatewayCore {
            var tuning = SiteTuning()
            tuning.multicast.reportsLimit = 1_000_000
            return GatewayCore(
                lane: LaneConfiguration(tuning, ports: 1, peers: 1),
                control: ControlConfiguration(
                    tuning, identity: identities[index],
                    peers: [.init(name: "peer", key: identities[1 - index].publicKey, hasAddress: true)],
                    ports: [PortMulticast()]),
                random: SeededRandom(seed: UInt64(index) + 10), wallClock: 1_700_000_000_000_000_000, at: .zero)
        }
        a = make(0)
        b = make(1)
    }

    /// Carries what either has to send until both are silent.
    func settle() {
        var quiet = 0
        while quiet < 2 {
            let sent = flush(&a, 0).map { (1, $0) } + flush(&b, 1).map { (0, $0) }
            for (to, var bytes) in sent {
                bytes.withMutableRawSpan {
                    if to == 0 {
                        a.lane.handleDatagram(&$0, from: Self.endpoints[1], at: now)
                    } else {
                        b.lane.handleDatagram(&$0, from: Self.endpoints[0], at: now)
                    }
                }
            }
            quiet = sent.isEmpty ? quiet + 1 : 0
        }
    }

    private func flush(_ core: inout GatewayCore, _ index: Int) -> [[UInt8]] {
        var sent: [[UInt8]] = []
        core.settle(at: now)
        while let action = core.control.pollAction() {
            switch action {
            case .datagram(let bytes, _): sent.append(bytes)
            case .resolve(let peer): core.control.handleResolved(peer, to: [Self.endpoints[1 - index]], at: now)
            case .resolveSeed, .log: break
            }
        }
        for number in 0..<core.lane.transmits {
            let run = core.lane.transmit(at: number)
            for start in stride(from: 0, to: run.byteCount, by: run.segmentSize) {
                let end = min(start + run.segmentSize, run.byteCount)
                sent.append(Array(copying: core.lane.transmitBytes(at: number).extracting(start..<end)))
            }
        }
        core.lane.drained()
        return sent
    }

    func advance(_ interval: Interval) {
        let end = now + interval
        while now < end {
            now = min(end, max(now + .milliseconds(1), min(a.nextTimeout, b.nextTimeout)))
            a.handleTimeout(at: now)
            b.handleTimeout(at: now)
            settle()
        }
    }
}

func group(_ index: Int) -> IPAddress { IPAddress(ipv4: 0xEF00_0000 + UInt32(index) + 256) }
func source(_ index: Int) -> IPAddress { IPAddress(ipv4: 0xC633_6400 + UInt32(index) + 1) }

/// A UDP datagram of 78 octets in a frame of 120.
func dataFrame(_ group: IPAddress, _ source: IPAddress) -> [UInt8] {
    var bytes = [UInt8](repeating: 0x5A, count: 120)
    bytes.withMutableRawSpan { span in
        let header = FrameHeader(
            destination: MACAddress(group: group), source: MACAddress(rawValue: 0x0200_0000_0077), etherType: .ipv4)
        guard let offset = header.emit(into: &span) else { return }
        let packet = IPv4.Header(
            source: source.ipv4 ?? 0, destination: group.ipv4 ?? 0, transport: .udp, payloadCount: 120 - offset - 20)
        _ = packet.emit(into: &span, at: offset)
    }
    return bytes
}

func residentBytes() -> Int {
    let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return pages * 4096
}

func seconds(_ body: () -> Void) -> Double {
    let start = MonotonicClock.now()
    body()
    return Double((MonotonicClock.now() - start).nanoseconds) / 1e9
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

/// Joins `groups` groups at b, and returns seconds per report.
func join(_ pair: Pair, groups: Int) -> Double {
    let sources = (0..<sourcesPerGroup).map { source($0) }
    var reports: [[UInt8]] = []
    for index in 0..<groups {
        for member in 0..<hostsPerGroup {
            let host = (index * hostsPerGroup + member) % hosts
            reports += MembershipFrame.reports(
                [GroupRecord(.allow, group(index), sources)], source: IPAddress(ipv4: 0x0A01_0000 + UInt32(host) + 1),
                from: MACAddress(rawValue: 0x0200_0001_0000 + UInt64(host)), vlan: .untagged)
        }
    }
    let time = seconds {
        for (number, var report) in reports.enumerated() {
            report.withMutableRawSpan { pair.b.lane.handleFrame(&$0, offload: .none, on: PortIndex(0), at: pair.now) }
            if number % 64 == 63 { pair.settle() }
        }
        pair.settle()
    }
    return time / Double(reports.count)
}

/// Seconds per frame from a's LAN into sealed datagrams, over all groups and sources at random.
func forward(_ pair: Pair, _ frames: inout [[UInt8]], _ random: inout SeededRandom) -> Double {
    let order = (0..<framesPerRound).map { _ in Int.random(in: 0..<frames.count, using: &random) }
    let time = seconds {
        for (number, index) in order.enumerated() {
            frames[index].withMutableRawSpan { pair.a.lane.handleFrame(&$0, offload: .none, on: PortIndex(0), at: pair.now) }
            if number % 64 == 63 || pair.a.lane.wantsDrain {
                pair.a.lane.finishBatch(at: pair.now)
                pair.a.lane.drained()
            }
        }
    }
    pair.a.lane.finishBatch(at: pair.now)
    pair.a.lane.drained()
    return time / Double(framesPerRound)
}

/// As many frames in memory for each pattern, so that only the tables differ: over `busy` groups and all their sources.
func feed(busy: Int) -> [[UInt8]] {
    (0..<4096).map { number in dataFrame(group((number * 2_654_435 + number / busy) % busy), source(number % sourcesPerGroup)) }
}

var pairs: [Pair] = []
for count in groupCounts {
    let before = residentBytes()
    let pair = Pair()
    pair.advance(.seconds(3))
    let empty = residentBytes()
    let perReport = join(pair, groups: count)
    pair.advance(.seconds(2))
    let snooper = pair.b.control.snooper
    print("\(count) groups: \(snooper.groups.entryCount) entries, \(snooper.groups.sourceCount) sources, ", terminator: "")
    print("\(snooper.groups.memberCount) members, \(snooper.book.count) facts")
    print(
        "    memory      two gateways \((empty - before) >> 10) KiB empty, \((residentBytes() - empty) >> 10) KiB more with all of it;"
    )
    print("                forwarding table of the sender \(pair.a.control.snooper.plan.byteCount >> 10) KiB")
    print(String(format: "    report      %.2f us (parse, track, publish, tell the other site, compile there)", perReport * 1e6))
    pairs.append(pair)
}
var random = SeededRandom(seed: 3)
// Frames of 10 groups with 10 known, of 10 groups with 10,000 known, and of all 10,000 in no order at all.
let patterns: [(pair: Int, busy: Int)] = [(0, groupCounts[0]), (1, groupCounts[0]), (1, groupCounts[1])]
var frames = patterns.map { feed(busy: $0.busy) }
var times = patterns.map { _ in [Double]() }
for _ in 0..<rounds {
    for (index, pattern) in patterns.enumerated() {
        times[index].append(forward(pairs[pattern.pair], &frames[index], &random))
    }
}
for (index, pattern) in patterns.enumerated() {
    var dropped: UInt64 = 0
    for reason in DropReason.allCases { dropped += pairs[pattern.pair].a.lane.bridge.counters[reason] }
    print(
        String(
            format: "%d groups known, %d busy: %.1f ns a frame (median of %d), %.3f of the first; %d dropped",
            groupCounts[pattern.pair], pattern.busy, median(times[index]) * 1e9, rounds, median(times[index]) / median(times[0]),
            Int(dropped)))
}
