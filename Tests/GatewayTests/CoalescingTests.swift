// Frames of a peer that leave for the LAN as super-frames: which do, in what order, and what they count as.

import Basics
import Buffers
import Testing
import Wire

@testable import Gateway

@Suite struct CoalescingTests {
    private static let both = PortSet(first: 2)

    /// What a port would send, as the frames that it stands for.
    private struct Drained: Equatable {
        /// Frames of each record of the arena.
        var records: [Int] = []
        var frames: [[UInt8]] = []
        /// By the records.
        var octets = 0
    }

    private func drain(_ lone: LoneLane) -> Drained {
        lone.lane.finishBatch(at: .zero)
        var drained = Drained()
        var output = OwnedBytes(count: 65_536)
        for index in 0..<lone.lane.bridge.frames.count {
            let record = lone.lane.bridge.frames.record(index)
            drained.records.append(Int(record.frames))
            drained.octets += Int(record.octets)
            let frame = Array(copying: lone.lane.bridge.frames.frame(index))
            #expect((record.frames > 1) == (record.offload != .none))
            if record.frames == 1 {
                drained.frames.append(frame)
                continue
            }
            var segmenter = makeSegmenter(frame, record.offload)
            #expect(segmenter?.segments == Int(record.frames))
            while let count = next(&segmenter, frame, &output) {
                drained.frames.append(Array(copying: output.bytes(at: 0, count: count)))
            }
        }
        lone.lane.drained()
        return drained
    }

    private func makeSegmenter(_ frame: [UInt8], _ offload: FrameOffload) -> Segmenter? {
        unsafe Segmenter(frame.span.bytes, offload: offload)
    }

    private func next(_ segmenter: inout Segmenter?, _ frame: [UInt8], _ output: inout OwnedBytes) -> Int? {
        var room = output.mutableBytes
        return unsafe segmenter?.next(from: frame.span.bytes, into: &room)
    }

    /// The frames in as many datagrams as it takes, ten in each.
    private func handle(_ frames: [[UInt8]], _ lone: LoneLane) {
        for start in stride(from: 0, to: frames.count, by: 10) {
            let part = frames[start..<min(start + 10, frames.count)]
            let records = part.flatMap { [UInt8($0.count >> 8), UInt8($0.count & 255)] + $0 }
            lone.handle(lone.datagram([0, 0] + records))
        }
    }

    @Test func aFlowOfAPeerIsOneSuperFrame() {
        let lone = LoneLane(coalescing: Self.both)
        let frames = (0..<25).map { segment($0, count: $0 == 24 ? 10 : 100) }
        handle(frames, lone)
        let drained = drain(lone)
        #expect(drained.records == [25])
        #expect(drained.frames == frames)
        #expect(drained.octets == frames.reduce(0) { $0 + $1.count })
        // The account is the original frames'.
        lone.lane.handleDelivered(PortIndex(1), frames: 25, bytes: drained.octets, failed: 0)
        #expect(lone.lane.bridge.counters[PortIndex(1), .framesOut] == 25)
        #expect(lone.lane.bridge.counters[PeerIndex(0), .framesIn] == 25)
        // The next batch begins anew.
        handle([segment(25, count: 10)], lone)
        #expect(drain(lone).records == [1])
    }

    @Test func withoutAPortThatTakesThemNothingIsJoined() {
        let frames = (0..<9).map { segment($0, count: 100) }
        for coalescing in [PortSet.none, PortSet(PortIndex(0)), PortSet(PortIndex(1))] {
            let lone = LoneLane(coalescing: coalescing, udp: coalescing)
            handle(frames, lone)
            // They go to both ports.
            let drained = drain(lone)
            #expect(drained.records == [Int](repeating: 1, count: 9) && drained.frames == frames)
        }
        // To the one that does, they are joined: its host is known.
        let lone = LoneLane(coalescing: PortSet(PortIndex(1)))
        var known = segment(0, count: 20, to: host(1, 1), from: host(2, 2))
        var span = known.mutableSpan
        var raw = unsafe span.mutableBytes
        lone.lane.handleFrame(&raw, offload: .none, on: PortIndex(1), at: .zero)
        _ = drain(lone)
        handle(frames, lone)
        #expect(drain(lone) == Drained(records: [9], frames: frames, octets: frames.reduce(0) { $0 + $1.count }))
    }

    @Test func datagramsOnlyWhereTheyMay() {
        let frames = (0..<9).map { datagram($0, count: 50) }
        for (udp, records) in [(Self.both, [9]), (.none, [Int](repeating: 1, count: 9))] {
            let lone = LoneLane(coalescing: Self.both, udp: udp)
            handle(frames, lone)
            let drained = drain(lone)
            #expect(drained.records == records && drained.frames == frames)
        }
        // A multicast feed that nobody snoops goes like any other.
        let lone = LoneLane(udp: Self.both)
        handle(frames, lone)
        #expect(drain(lone).records.count == 9)
    }

    @Test func theDriverMayTakeItBack() {
        let lone = LoneLane(coalescing: Self.both, udp: PortSet(PortIndex(0)))
        let segments = (0..<4).map { segment($0, count: 30, size: 30) }
        let datagrams = (0..<4).map { datagram($0, count: 30) }
        lone.lane.handleCoalescing(PortIndex(1), tcp: true, udp: true)
        handle(segments + datagrams, lone)
        #expect(drain(lone).records == [4, 1, 1, 1, 1])
        lone.lane.handleCoalescing(PortIndex(1), tcp: false, udp: false)
        handle(segments + datagrams, lone)
        #expect(drain(lone).records == [Int](repeating: 1, count: 8))
        lone.lane.handleCoalescing(PortIndex(1), tcp: true, udp: false)
        handle(segments, lone)
        #expect(drain(lone).records == [4])
    }

    /// A frame of a LAN port between two of a peer: the order is that of arrival.
    @Test func whatComesBetweenStaysBetween() {
        let lone = LoneLane(coalescing: Self.both)
        let frames = (0..<6).map { segment($0, count: 100) }
        handle(Array(frames[..<3]), lone)
        let other = testFrame(to: .broadcast, from: host(3), count: 64)
        var bytes = other
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        lone.lane.handleFrame(&raw, offload: .none, on: PortIndex(0), at: .zero)
        handle(Array(frames[3...]), lone)
        let drained = drain(lone)
        #expect(drained.records == [3, 1, 3])
        #expect(drained.frames == frames[..<3] + [other] + frames[3...])
    }

    /// Flows mixed at random, up to what the arena holds and beyond: the same frames as without joining.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func nothingElseChanges(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let with = LoneLane(coalescing: Self.both, udp: Self.both)
        let without = LoneLane()
        var joined = 0
        for _ in 0..<15 {
            var frames: [[UInt8]] = []
            while frames.count < 300 {
                let size = Int.random(in: 1...1_400, using: &random)
                let first = Int.random(in: 0...60_000, using: &random)
                for number in first..<(first + Int.random(in: 1...60, using: &random)) {
                    let count = Int.random(in: 0...20, using: &random) == 0 ? max(1, size / 2) : size
                    frames.append(first % 2 == 0 ? segment(number, count: count, size: size) : datagram(number, count: count))
                    if Int.random(in: 0...9, using: &random) == 0 { frames[frames.count - 1][41] ^= 1 }
                }
            }
            while !frames.isEmpty {
                let part = Array(frames.prefix(10))
                frames.removeFirst(part.count)
                if with.lane.wantsDrain || without.lane.wantsDrain || frames.isEmpty {
                    handle(part, with)
                    handle(part, without)
                    let drained = (drain(with), drain(without))
                    #expect(drained.0.frames == drained.1.frames && drained.0.octets == drained.1.octets)
                    joined += drained.1.records.count - drained.0.records.count
                    continue
                }
                handle(part, with)
                handle(part, without)
            }
        }
        #expect(joined > 1_500)
        #expect(with[.deliverFull] == 0 && without[.deliverFull] == 0)
    }
}

private func big16(_ number: Int) -> [UInt8] { [UInt8(number >> 8 & 255), UInt8(number & 255)] }

private func onesComplement(_ bytes: [UInt8]) -> [UInt8] {
    var sum = 0
    for (index, octet) in bytes.enumerated() { sum += index % 2 == 0 ? Int(octet) << 8 : Int(octet) }
    while sum >> 16 != 0 { sum = sum & 0xFFFF + sum >> 16 }
    return big16(~sum)
}

/// An IPv4 frame with right checksums; the `number`th of its flow.
private func packet(
    _ number: Int, _ kind: UInt8, _ header: [UInt8], checksumAt field: Int, count: Int, to: MACAddress, from: MACAddress
) -> [UInt8] {
    let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ number) }
    let addresses: [UInt8] = [10, 0, 0, 1, 10, 0, 0, 2]
    var transport = header + payload
    let sum = onesComplement(addresses + [0, kind] + big16(transport.count) + transport)
    transport.replaceSubrange(field..<(field + 2), with: kind == 17 && sum == [0, 0] ? [0xFF, 0xFF] : sum)
    var network: [UInt8] = [0x45, 0] + big16(20 + transport.count) + big16(number)
    network += [0x40, 0, 64, kind, 0, 0] + addresses
    network.replaceSubrange(10..<12, with: onesComplement(network))
    let link = [UInt8](testFrame(to: to, from: from, count: 0)[..<12])
    return link + [0x08, 0x00] + network + transport
}

private func segment(
    _ number: Int, count: Int, size: Int = 100, to: MACAddress = host(2, 2), from: MACAddress = host(1, 1)
) -> [UInt8] {
    let sequence = number * size
    let header = big16(5000) + big16(80) + big16(sequence >> 16) + big16(sequence) + [0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]
    return packet(number, 6, header, checksumAt: 16, count: count, to: to, from: from)
}

private func datagram(_ number: Int, count: Int) -> [UInt8] {
    packet(
        number, 17, big16(5000) + big16(81) + big16(8 + count) + [0, 0], checksumAt: 6, count: count, to: host(2, 2),
        from: host(1, 1))
}
