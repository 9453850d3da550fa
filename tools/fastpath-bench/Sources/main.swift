// The fast path in process, memory to memory: see Performance.md of Gateway's catalogue. Ratios of medians, measured in turns in
// one run. Run by tools/bench-fastpath, on an otherwise idle machine.
//
//     fastpath-bench [--quick]                       everything
//     fastpath-bench --instructions WHAT BATCHES     runs so many batches, for callgrind to count: draw, seal, send or carry;
//                                                    "-groups" behind it: multicast
//     fastpath-bench --allocations [--prove]         fails if a frame makes the allocator work; --prove makes one do so

import Basics
import CAllocations
import Foundation
import LinuxIO
import Tunnels

let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case nil: try measure(rounds: 15, batches: 400)
case "--quick": try measure(rounds: 5, batches: 100)
case "--instructions" where arguments.count == 3: countInstructions(arguments[1], batches: Int(arguments[2]) ?? 0)
case "--allocations": exit(countAllocations(isProof: arguments.last == "--prove") ? 0 : 1)
default:
    print("usage: fastpath-bench [--quick | --instructions draw|seal|send|carry BATCHES | --allocations [--prove]]")
    exit(2)
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func sleep(milliseconds: Int) { Thread.sleep(forTimeInterval: Double(milliseconds) / 1000) }

// MARK: Times

func measure(rounds: Int, batches: Int) throws {
    let calibrated = CipherCalibration(.aes256gcm, clock: MonotonicClock.now).backends
    print("AES-256-GCM; calibrated: \(CipherBackends.words(from: calibrated[.aes256gcm]))")
    for (name, backends) in [("libsodium", CipherBackends.sodium), ("calibrated", calibrated)] {
        print("\n150-octet frames, \(name): ns a frame, the cipher alone, ratio, million frames a second")
        for (words, kind) in [("unicast", Traffic.Kind.unicast), ("multicast", .multicast)] {
            for batch in [64, 256] {
                let path = Path(Traffic(kind: kind), batch: batch, backends: backends)
                report("send \(words), batches of \(batch)", path, rounds) { path.sendTimes(batches: batches * 64 / batch) }
                report("receive \(words), batches of \(batch)", path, rounds) { path.receiveTimes(batches: batches * 64 / batch) }
            }
        }
    }
    measureFlatness(rounds: rounds, batches: batches)
    measureOverhead()
    try measureLanes(rounds: max(3, rounds / 3), backends: calibrated)
}

/// Medians of `rounds` rounds.
func report(_ words: String, _ path: Path, _ rounds: Int, _ round: () -> (lane: Int64, bare: Int64)) {
    _ = round()
    var lane: [Double] = []
    var bare: [Double] = []
    var ratio: [Double] = []
    for _ in 0..<rounds {
        let before = path.sentFrames
        let times = round()
        let frames = Double(path.sentFrames - before)
        lane.append(Double(times.lane) / frames)
        bare.append(Double(times.bare) / frames)
        ratio.append(Double(times.lane) / Double(times.bare))
    }
    precondition(path.dropped == 0)
    print(
        String(
            format: "  %@ %6.1f %6.1f %6.2f %6.2f", words.padding(toLength: 34, withPad: " ", startingAt: 0), median(lane),
            median(bare), median(ratio), 1000 / median(lane)))
}

/// Large tables beside small ones, all of them visited at random.
func measureFlatness(rounds: Int, batches: Int) {
    print("\n65,536 hosts and 10,000 groups beside 10 of each, libsodium: ns a frame, few, many, ratio")
    for (words, kind) in [("unicast", Traffic.Kind.unicast), ("multicast", .multicast)] {
        let few = Path(Traffic(kind: kind), batch: 256)
        let many = Path(Traffic(kind: kind, hosts: 65_536, groups: 10_000), batch: 256)
        for isSending in [true, false] {
            var times: [[Double]] = [[], []]
            for round in 0...rounds {
                for (index, path) in [few, many].enumerated() {
                    let before = path.sentFrames
                    let count = batches / 4
                    let time = isSending ? path.sendTimes(batches: count).lane : path.receiveTimes(batches: count).lane
                    if round > 0 { times[index].append(Double(time) / Double(path.sentFrames - before)) }
                }
            }
            precondition(few.dropped == 0 && many.dropped == 0)
            let name = (isSending ? "send " : "receive ") + words
            print(
                String(
                    format: "  %@ %6.1f %6.1f %6.2f", name.padding(toLength: 34, withPad: " ", startingAt: 0), median(times[0]),
                    median(times[1]), median(zip(times[0], times[1]).map { $1 / $0 })))
        }
    }
}

/// Octets on the underlay, from Ethernet up, over octets of frames.
func measureOverhead() {
    print("\noctets on the underlay, Ethernet, IPv4 and UDP headers included, for each octet of a frame")
    for (bytes, batch) in [(100, 256), (100, 64), (100, 16), (118, 256), (1514, 64)] {
        let path = Path(Traffic(kind: .multicast, bytes: bytes), batch: batch)
        path.send(batches: 100)
        let underlay = path.sentBytes + path.sentDatagrams * (14 + 20 + 8)
        let name = "frames of \(bytes), batches of \(batch)"
        print(
            String(
                format: "  %@ %6.3f", name.padding(toLength: 34, withPad: " ", startingAt: 0),
                Double(underlay) / Double(path.sentFrames * bytes)))
    }
}

func measureLanes(rounds: Int, backends: CipherBackends) throws {
    guard usableProcessors() > 1 else { return print("\none processor only: no second lane") }
    let traffic = Traffic(kind: .unicast)
    var rates: [[Double]] = [[], []]
    for _ in 0..<rounds {
        for lanes in 1...2 { rates[lanes - 1].append(try lanesRate(traffic, lanes: lanes, backends: backends)) }
    }
    print("\nlanes that send, calibrated: million frames a second of one, of two, ratio")
    print(
        String(
            format: "  %@ %6.2f %6.2f %6.2f", "unicast".padding(toLength: 34, withPad: " ", startingAt: 0),
            median(rates[0]) / 1e6, median(rates[1]) / 1e6, median(zip(rates[0], rates[1]).map { $1 / $0 })))
}

// MARK: Counts

func countInstructions(_ what: String, batches: Int) {
    // valgrind knows the instructions that libsodium uses.
    let path = Path(Traffic(kind: what.hasSuffix("-groups") ? .multicast : .unicast), batch: 256)
    switch what {
    case "draw", "draw-groups": path.draw(batches: batches)
    case "seal": path.seal(batches: batches)
    case "send", "send-groups": path.send(batches: batches)
    case "carry", "carry-groups": path.carry(batches: batches)
    default: fatalError("nothing is called \(what)")
    }
}

/// A million frames each way: hosts, groups, everybody, and frames that run over several datagrams.
func countAllocations(isProof: Bool) -> Bool {
    let traffics: [(String, Traffic)] = [
        ("unicast", Traffic(kind: .unicast)), ("multicast", Traffic(kind: .multicast)), ("flood", Traffic(kind: .flood)),
        ("long unicast", Traffic(kind: .unicast, bytes: 1514)),
    ]
    var total: UInt64 = 0
    var frames = 0
    for (words, traffic) in traffics {
        let path = Path(traffic, batch: 50)
        _ = path.allocations(batches: 20, count: cal_allocations)
        let found = path.allocations(batches: 5000) {
            if isProof { withExtendedLifetime([UInt8](repeating: 0, count: Int.random(in: 1...100))) {} }
            return cal_allocations()
        }
        precondition(path.dropped == 0)
        print("\(words): \(found.sending) allocations sending, \(found.receiving) receiving")
        total += found.sending + found.receiving
        frames += 5000 * path.batch
    }
    print("\(total) allocations over \(frames) frames each way")
    return total == 0
}
