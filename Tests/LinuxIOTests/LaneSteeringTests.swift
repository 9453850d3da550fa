// Several ports on one device and several sockets at one address: which lane gets what, that a flow stays in its lane, and
// that nothing is lost or seen twice.

import Basics
import Buffers
import CLinux
import Glibc
import Synchronization
import Testing

@testable import LinuxIO

/// Ports that share lan0.
private struct PortGroup: ~Copyable {
    var ports: FixedArray<PacketPort?>

    init(_ lanes: Int, in namespace: Namespace, ringBytes: Int = 4 << 20) throws {
        ports = FixedArray(count: lanes) { _ in nil }
        for lane in 0..<lanes { try open(lane, in: namespace, ringBytes) }
        try begin()
    }

    /// Ports that are not open yet.
    init(closed lanes: Int) { ports = FixedArray(count: lanes) { _ in nil } }

    mutating func open(_ lane: Int, in namespace: Namespace, _ ringBytes: Int = 4 << 20) throws {
        var sharing = PacketPort.Sharing.first
        if lane > 0, let group = ports[0]?.group { sharing = .another(in: group) }
        ports[lane] = try namespace.inside { try PacketPort(device: "lan0", ringBytes: ringBytes, sharing: sharing) }
    }

    mutating func begin() throws { for lane in 0..<ports.count { try ports[lane]?.beginCapturing() } }

    /// Everything that waits, by lane.
    mutating func taken() -> [[[UInt8]]] {
        (0..<ports.count).map { lane in
            var frames: [[UInt8]] = []
            while let captured = ports[lane]?.next(for: .zero) { frames.append(captured.bytes) }
            return frames
        }
    }

    /// The lane of each of `frames`, in order, once all of them have come.
    mutating func lanes(of frames: [[UInt8]]) -> [Int?] {
        var all = taken()
        let end = MonotonicClock.now() + patience
        while all.reduce(0, { $0 + $1.count }) < frames.count && MonotonicClock.now() < end {
            usleep(1000)
            for (lane, more) in taken().enumerated() { all[lane] += more }
        }
        var place: [[UInt8]: Int] = [:]
        for (lane, some) in all.enumerated() {
            for frame in some {
                #expect(place[frame] == nil, "seen twice")
                place[frame] = lane
            }
        }
        #expect(place.count == frames.count)
        return frames.map { place[$0] }
    }
}

/// Frames of flows; what the program does not look at differs from frame to frame.
private enum FlowFrame {
    static let ethernet: [UInt8] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2]

    static func big(_ value: UInt32, _ octets: Int) -> [UInt8] {
        (0..<octets).reversed().map { UInt8(value >> UInt32($0 * 8) & 255) }
    }

    static func ipv4(
        _ kind: UInt8, from: UInt32, to: UInt32, ports: (UInt32, UInt32) = (0, 0), seed: UInt32, fragment: UInt32 = 0,
        options: Int = 0, tag: [UInt8] = [], count: Int = 60
    ) -> [UInt8] {
        var frame = ethernet + tag + [0x08, 0x00]
        frame +=
            [0x45 + UInt8(options), 0] + big(UInt32(max(count, 60) - 14 - tag.count), 2) + big(seed & 0xFFFF, 2)
            + big(fragment, 2)
        frame += [UInt8(seed & 63) + 1, kind, 0, 0] + big(from, 4) + big(to, 4) + [UInt8](repeating: 1, count: options * 4)
        frame += big(ports.0, 2) + big(ports.1, 2) + big(seed, 4)
        return frame + [UInt8](repeating: UInt8(seed & 255), count: max(0, count - frame.count))
    }

    static func ipv6(
        _ kind: UInt8, from: UInt32, to: UInt32, ports: (UInt32, UInt32) = (0, 0), seed: UInt32, tag: [UInt8] = []
    ) -> [UInt8] {
        var frame = ethernet + tag + [0x86, 0xDD, 0x60, 0] + big(seed & 0xFFFF, 2) + [0, 26, kind, UInt8(seed & 63) + 1]
        for host in [from, to] { frame += [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0] + big(host, 4) }
        return frame + big(ports.0, 2) + big(ports.1, 2) + big(seed, 4) + [UInt8](repeating: 0, count: 18)
    }
}

extension LinuxIOTests {
    @Suite(.enabled(if: isRoot, needsRoot))
    struct FrameSteeringTests {
        /// Three frames of each of many flows.
        private func expectFlowsStay(_ lanes: Int, _ make: (_ flow: UInt32, _ seed: UInt32) -> [UInt8]) throws {
            let namespace = try Namespace.withCable(mtu: 9000)
            var group = try PortGroup(lanes, in: namespace)
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let flows: UInt32 = 200
            let frames = (0..<(3 * flows)).map { make($0 % flows, $0 + 1) }
            let sent = host.transmit(makeArena(frames), port: testPort)
            #expect(sent.sent == frames.count)
            let found = group.lanes(of: frames)
            var counts = [Int](repeating: 0, count: lanes)
            for flow in 0..<Int(flows) {
                let lane = found[flow]
                #expect(lane != nil && lane == found[flow + Int(flows)] && lane == found[flow + 2 * Int(flows)], "flow \(flow)")
                counts[lane ?? 0] += 1
            }
            for lane in 0..<lanes { #expect(counts[lane] > Int(flows) / lanes / 2, "\(counts)") }
        }

        @Test(arguments: [2, 3, 4, 8]) func tcpIsDividedByPorts(lanes: Int) throws {
            try expectFlowsStay(lanes) { flow, seed in
                FlowFrame.ipv4(6, from: 0x0A00_0001, to: 0x0A00_0002, ports: (40_000 + flow, 443), seed: seed)
            }
        }

        @Test func headersWithOptionsAndLongFramesToo() throws {
            try expectFlowsStay(2) { flow, seed in
                FlowFrame.ipv4(
                    6, from: 0x0A00_0001, to: 0x0A00_0002, ports: (40_000 + flow, 443), seed: seed,
                    options: Int(flow % 4), count: flow % 5 == 0 ? 5_000 : 100)
            }
        }

        @Test(arguments: [2, 3]) func udpIsDividedByAddresses(lanes: Int) throws {
            try expectFlowsStay(lanes) { flow, seed in
                // Every frame of other ports, and each third a later fragment, which has none.
                FlowFrame.ipv4(
                    17, from: 0xC0A8_0000 + flow, to: 0xEF01_0203, ports: (seed, seed * 7 & 0xFFFF), seed: seed,
                    fragment: [0, 0x2000, 0x00B9][Int(seed % 3)])
            }
        }

        @Test(arguments: [2, 3]) func tcpOfIPv6(lanes: Int) throws {
            try expectFlowsStay(lanes) { flow, seed in
                FlowFrame.ipv6(6, from: 1, to: 2, ports: (50_000 + flow, 80), seed: seed)
            }
        }

        @Test(arguments: [2, 3]) func udpOfIPv6(lanes: Int) throws {
            try expectFlowsStay(lanes) { flow, seed in
                FlowFrame.ipv6(17, from: 77, to: 0xFF00 + flow, ports: (seed & 0xFFFF, 9), seed: seed)
            }
        }

        /// Fragments of TCP have no ports but in the first: they go by their addresses.
        @Test func fragmentsOfTCPGoTogether() throws {
            let namespace = try Namespace.withCable()
            var group = try PortGroup(4, in: namespace)
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = (0..<60).map {
                FlowFrame.ipv4(
                    6, from: 1, to: 2, ports: ($0 &* 977 & 0xFFFF, $0), seed: $0,
                    fragment: $0 % 3 == 0 ? 0x2000 : 0x2000 | $0)
            }
            _ = host.transmit(makeArena(frames), port: testPort)
            let found = Set(group.lanes(of: frames))
            #expect(found.count == 1)
        }

        /// A tag changes nothing: a flow has its lane on every VLAN.
        @Test(arguments: [[0x81, 0x00, 0x00, 0x0A], [0x88, 0xA8, 0x20, 0x64]] as [[UInt8]])
        func taggedFramesGoWhereUntaggedOnesGo(tag: [UInt8]) throws {
            let namespace = try Namespace.withCable()
            var group = try PortGroup(3, in: namespace)
            var host = try namespace.inside { try PacketPort(device: "host0") }
            var frames: [[UInt8]] = []
            for flow in 0..<UInt32(40) {
                for tag in [[], tag] {
                    frames.append(FlowFrame.ipv4(6, from: 1, to: 2, ports: (flow, 9), seed: flow, tag: tag))
                    frames.append(FlowFrame.ipv4(17, from: flow, to: 2, ports: (flow, 9), seed: flow, tag: tag))
                    frames.append(FlowFrame.ipv6(6, from: 1, to: 2, ports: (flow, 9), seed: flow, tag: tag))
                    frames.append(FlowFrame.ipv6(17, from: flow, to: 2, ports: (flow, 9), seed: flow, tag: tag))
                    frames.append(FlowFrame.ipv4(2, from: flow, to: 2, seed: flow, tag: tag))
                }
            }
            _ = host.transmit(makeArena(frames), port: testPort)
            let found = group.lanes(of: frames)
            for flow in 0..<40 {
                for kind in 0..<5 {
                    #expect(found[10 * flow + kind] == found[10 * flow + 5 + kind], "flow \(flow), kind \(kind)")
                }
                #expect(found[10 * flow + 4] == 0)
            }
            #expect(Set(found).count == 3)
        }

        /// What control hears, what has no flow, and what is too short: in order, in lane 0.
        @Test func theRestGoesToLaneZero() throws {
            let namespace = try Namespace.withCable()
            var group = try PortGroup(4, in: namespace)
            var host = try namespace.inside { try PacketPort(device: "host0") }
            var frames: [[UInt8]] = []
            for seed in 1...UInt32(20) {
                frames.append(FlowFrame.ipv4(2, from: 0x0A00_0000 + seed, to: 0xE000_0016, seed: seed, options: 1))  // IGMP
                frames.append(FlowFrame.ipv4(103, from: 0x0A00_0000 + seed, to: 0xE000_000D, seed: seed))  // PIM
                frames.append(FlowFrame.ipv6(0, from: seed, to: 0x16, seed: seed))  // MLD, behind hop-by-hop options
                frames.append(FlowFrame.ipv6(58, from: seed, to: 1, seed: seed))  // ICMPv6
                frames.append(FlowFrame.ipv6(103, from: seed, to: 0x0D, seed: seed))
                frames.append(makeFrame(60, seed: Int(seed), header: [0x08, 0x06]))  // ARP
                frames.append(makeFrame(60, seed: Int(seed), header: [0x00, 0x2E]))  // LLC
                frames.append(makeFrame(80, seed: Int(seed)))
                frames.append(FlowFrame.ethernet + [0x08, 0x00, 0x45, UInt8(seed)])  // cut short
                frames.append(FlowFrame.ethernet + [0x86, 0xDD, 0x60, UInt8(seed)])
            }
            _ = host.transmit(makeArena(frames), port: testPort)
            let found = group.lanes(of: frames)
            for (index, lane) in found.enumerated() { #expect(lane == 0, "kind \(index % 10)") }
        }

        /// A gateway that saw what it sends would send it round for ever.
        @Test func noPortSeesWhatAnotherSends() throws {
            let namespace = try Namespace.withCable()
            var group = try PortGroup(2, in: namespace)
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = (0..<200).map { FlowFrame.ipv4(6, from: 1, to: 2, ports: (UInt32($0), 9), seed: UInt32($0)) }
            for lane in 0..<2 {
                let sent = group.ports[lane]?.transmit(makeArena(frames), port: testPort).sent
                #expect(sent == 200)
                for frame in frames {
                    let got = host.next()
                    #expect(got?.bytes == frame)
                }
            }
            usleep(20_000)
            let own = group.taken()
            #expect(own == [[], []])
            let drops = (group.ports[0]?.drops(), group.ports[1]?.drops())
            #expect(drops == (0, 0))
        }

        /// Frames flow while ports open and join: none is seen before all have joined, none twice, and none is missing after.
        @Test func nothingIsSeenTwiceWhilePortsJoin() throws {
            let namespace = try Namespace.withCable()
            let isDone = AtomicCount()
            let sent = AtomicCount()
            let thread = try namespace.inside {
                let sender = HandedOver(try PacketPort(device: "host0"))
                return try LaneThread.start(name: "sender") {
                    guard var port = sender.take() else { return }
                    while isDone.value == 0 {
                        let first = UInt32(sent.value)
                        let frames = (first..<(first + 8)).map {
                            FlowFrame.ipv4(6, from: 1, to: 2, ports: ($0 % 16, 9), seed: $0)
                        }
                        _ = port.transmit(makeArena(frames), port: testPort)
                        sent.set(Int(first) + 8)
                        usleep(200)
                    }
                }
            }
            var group = PortGroup(closed: 3)
            for lane in 0..<3 {
                try group.open(lane, in: namespace, 16 << 20)
                usleep(10_000)
            }
            let early = group.taken()
            #expect(early == [[], [], []], "captured before all had joined")
            try group.begin()
            let from = sent.value + 8
            usleep(200_000)
            let until = sent.value
            usleep(20_000)
            isDone.set(1)
            thread.join()
            let taken = group.taken()
            func number(_ frame: [UInt8]) -> Int { frame[38..<42].reduce(0) { $0 << 8 | Int($1) } }
            let numbers = taken.map { $0.filter { $0.count >= 60 && $0[12] == 8 && $0[23] == 6 }.map(number) }
            #expect(until - from > 500)
            let all = numbers.joined().sorted()
            #expect(Set(all).count == all.count, "seen twice")
            #expect(all.filter { (from..<until).contains($0) } == Array(from..<until))
            for own in numbers {
                #expect(own == own.sorted() && !own.isEmpty)
            }
        }

        @Test func aDeviceThatGoesDownAndUpIsStillShared() throws {
            let namespace = try Namespace.withCable()
            var group = try PortGroup(2, in: namespace)
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = (0..<100).map { FlowFrame.ipv4(6, from: 1, to: 2, ports: (UInt32($0), 9), seed: UInt32($0)) }
            for _ in 0..<3 {
                try namespace.ip("link set lan0 down")
                try namespace.ip("link set lan0 up")
                for lane in 0..<2 { group.ports[lane]?.clearError() }
                #expect(eventually { group.ports[0]?.isUp() == true })
                _ = group.taken()
                let sent = host.transmit(makeArena(frames), port: testPort)
                #expect(sent.sent == 100)
                let found = group.lanes(of: frames)
                #expect(Set(found) == [0, 1])
                // Lane 0 may be another one from here on, as long as it is one.
            }
        }

        @Test func aFilterHoldsInAGroupToo() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0", filter: experimentalFilter, sharing: .first) }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = (0..<6).map { makeFrame(80, seed: $0, header: $0 % 2 == 0 ? experimental : [0x88, 0xB6]) }
            _ = host.transmit(makeArena(frames), port: testPort)
            let before = lan.isQuiet()
            #expect(before)
            try lan.beginCapturing()
            try lan.beginCapturing()
            _ = host.transmit(makeArena(frames), port: testPort)
            for index in [0, 2, 4] {
                let got = lan.next()
                #expect(got?.bytes == frames[index])
            }
            let after = lan.isQuiet()
            #expect(after)
        }
    }

    struct DatagramSteeringTests {
        private static let loopback: UInt32 = 0x7F00_0001

        /// A sealed datagram's beginning, and a pattern.
        private func datagram(origin: Int, number: Int, count: Int) -> [UInt8] {
            [4, 0, UInt8(origin >> 8), UInt8(origin & 255)] + FlowFrame.big(UInt32(number), 4)
                + [UInt8](repeating: UInt8(origin), count: count - 8)
        }

        private func sockets(_ lanes: Int, coalescing: Bool = true, at address: Endpoint) throws -> FixedArray<UDPSocket?> {
            var sockets = FixedArray<UDPSocket?>(count: lanes) { _ in nil }
            var bind = address
            for lane in 0..<lanes {
                let socket = try UDPSocket(bind: bind, coalescing: coalescing, isShared: true)
                bind = socket.localEndpoint
                sockets[lane] = consume socket
            }
            try sockets[0]?.steer(among: lanes)
            return sockets
        }

        private func taken(_ socket: inout UDPSocket?) -> [[UInt8]] {
            var datagrams: [[UInt8]] = []
            while let count = socket?.receive(), count > 0 {
                for index in 0..<count {
                    guard let (message, bytes) = socket?.copy(index) else { continue }
                    for start in stride(from: 0, to: bytes.count, by: max(message.segmentSize, 1)) {
                        datagrams.append(Array(bytes[start..<min(start + message.segmentSize, bytes.count)]))
                    }
                }
            }
            return datagrams
        }

        /// Each lane gets the datagrams of its origin tags, from whichever port they come, joined by the kernel or not.
        @Test(arguments: [2, 3, 8], [true, false])
        func originTagsDecide(lanes: Int, offloads: Bool) throws {
            for address in [Endpoint(ipv4: Self.loopback, port: 0), Endpoint(high: 0, low: 1, port: 0)] {
                var sockets = try sockets(lanes, coalescing: offloads, at: address)
                let to = sockets[0]?.localEndpoint ?? address
                var expected = [[[UInt8]]](repeating: [], count: lanes)
                for sender in 0..<5 {
                    var from = try UDPSocket(bind: address, segmentation: offloads)
                    for origin in 0..<9 {
                        let run = (0..<20).map { datagram(origin: origin, number: sender * 100 + $0, count: 400) }
                        let result = from.send(Array(run.joined()).raw, segmentSize: 400, to: to)
                        #expect(result.datagramsSent == 20)
                        expected[origin % lanes] += run
                    }
                }
                for lane in 0..<lanes {
                    let got = taken(&sockets[lane])
                    #expect(got == expected[lane], "lane \(lane)")
                }
            }
        }

        /// Handshakes may have anything where the tag is, such as the mark of a cookie; what is too short to have one goes there
        /// too.
        @Test(arguments: [3, 4, 5, 6, 7]) func whatHasNoTagGoesToLaneZero(lanes: Int) throws {
            var sockets = try sockets(lanes, at: Endpoint(ipv4: Self.loopback, port: 0))
            let to = sockets[0]?.localEndpoint ?? Endpoint(ipv4: 0, port: 0)
            var sent: [[UInt8]] = []
            for _ in 0..<6 {
                var from = try UDPSocket(bind: Endpoint(ipv4: Self.loopback, port: 0))
                let handshakes: [[UInt8]] = [
                    [1, 1, 0, 0], [1, 1, 1, 0], [2, 1, 0, 0], [2, 1, 2, 0], [5, 1, 0, 0], [3, 1, 0, 1], [9, 9, 9, 9],
                ].map { $0 + [UInt8](repeating: 9, count: 120) }
                for payload in handshakes + [[2, 1, 1], [4], [4, 0], [4, 0, 0]] {
                    _ = from.send(payload.raw, segmentSize: payload.count, to: to)
                    sent.append(payload)
                }
            }
            let got = taken(&sockets[0])
            #expect(got == sent)
            for lane in 1..<lanes {
                let others = taken(&sockets[lane])
                #expect(others.isEmpty)
            }
        }

        @Test func anAddressThatIsNotSharedIsTaken() throws {
            let shared = try UDPSocket(bind: Endpoint(ipv4: Self.loopback, port: 0), isShared: true)
            let error = errorOf { _ = try UDPSocket(bind: shared.localEndpoint) }
            #expect(error?.code == EADDRINUSE)
        }
    }

    struct LaneWaitingTests {
        @Test func anEdgeIsReportedOnce() throws {
            var poller = try Poller()
            var to = try UDPSocket(bind: Endpoint(ipv4: 0x7F00_0001, port: 0))
            var from = try UDPSocket(bind: Endpoint(ipv4: 0x7F00_0001, port: 0))
            try poller.addEdge(to.fileDescriptor, token: 7)
            for _ in 0..<3 {
                _ = from.send([1, 2, 3].raw, segmentSize: 3, to: to.localEndpoint)
                let first = poller.wait(timeout: patience)
                #expect(first == 1 && poller.token(0) == 7 && !poller.hasError(0))
                let second = poller.wait(timeout: .milliseconds(5))
                #expect(second == 0, "nothing new has come")
            }
            // What was there before it was watched is an edge too.
            var late = try Poller()
            try late.addEdge(to.fileDescriptor, token: 8)
            let there = late.wait(timeout: patience)
            #expect(there == 1)
            var count = 0
            while case let more = to.receive(), more > 0 { count += more }
            #expect(count == 3)
            let rest = poller.wait(timeout: .milliseconds(5))
            #expect(rest == 0)
        }

        /// A lane never drains its wake-up: each signal is an edge of its own.
        @Test func everyWakeIsAnEdge() throws {
            var poller = try Poller()
            let wakeUp = try WakeUp()
            try poller.addEdge(wakeUp.fileDescriptor, token: 0)
            for _ in 0..<5 {
                wakeUp.handle.wake()
                let woken = poller.wait(timeout: patience)
                #expect(woken == 1)
                let quiet = poller.wait(timeout: .zero)
                #expect(quiet == 0)
            }
        }

        @Test func anAlarmRingsOnceAndInTime() throws {
            var poller = try Poller()
            var alarm = try Alarm()
            try poller.addEdge(alarm.fileDescriptor, token: 1)
            for _ in 0..<3 {
                let start = MonotonicClock.now()
                alarm.set(noLaterThan: start + .milliseconds(3))
                // A later moment leaves the earlier one.
                alarm.set(noLaterThan: start + .seconds(60))
                let rung = poller.wait(timeout: patience)
                let took = MonotonicClock.now() - start
                #expect(rung == 1 && took >= .milliseconds(3) && took < .seconds(1))
                alarm.acknowledge()
                let quiet = poller.wait(timeout: .milliseconds(8))
                #expect(quiet == 0)
            }
            // An earlier moment replaces a later one, and one that is over rings at once.
            alarm.set(noLaterThan: MonotonicClock.now() + .seconds(60))
            alarm.set(noLaterThan: MonotonicClock.now() - .seconds(1))
            let past = poller.wait(timeout: patience)
            #expect(past == 1)
            alarm.acknowledge()
            alarm.set(noLaterThan: .zero)
            let zero = poller.wait(timeout: patience)
            #expect(zero == 1)
        }

        /// The kernel tells the bound that is in force, which other programs may lower.
        @Test(.enabled(if: canBoundLatency, "/dev/cpu_dma_latency cannot be opened"))
        func idleProcessorsAreBoundAndLetGo() throws {
            func bound() -> Int32 {
                let file = unsafe cwl_open_read("/dev/cpu_dma_latency")
                defer { _ = cwl_close(Int32(file)) }
                var value: Int32 = -1
                _ = unsafe withUnsafeMutableBytes(of: &value) { unsafe cwl_read(Int32(file), $0.baseAddress, $0.count) }
                return value
            }
            let before = bound()
            do {
                var latency = try WakeLatency()
                #expect(before == 0 || bound() != 0)
                latency.bound(true)
                latency.bound(true)
                #expect(bound() == 0)
                latency.bound(false)
                #expect(before == 0 || bound() != 0)
                latency.bound(true)
            }
            #expect(before == 0 || bound() != 0)
        }
    }
}

private let canBoundLatency = unsafe access("/dev/cpu_dma_latency", R_OK | W_OK) == 0

/// A flag and a count that a thread and a test share.
private final class AtomicCount: Sendable {
    private let count = Atomic<Int>(0)
    var value: Int { count.load(ordering: .acquiring) }
    func set(_ value: Int) { count.store(value, ordering: .releasing) }
}

extension UDPSocket {
    /// A message and its octets.
    fileprivate mutating func copy(_ index: Int) -> (Message, [UInt8]) { (message(index), messageBytes(index).array) }
}

/// A value that goes into a thread.
private final class HandedOver<Value: ~Copyable>: @unchecked Sendable {
    private var value: Value?
    init(_ value: consuming Value) { self.value = consume value }
    func take() -> Value? { value.take() }
}
