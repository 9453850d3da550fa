// Super-frames on their way out: what was joined arrives at the other end of a cable as the frames that it was made of,
// whoever cuts it: the receiver, the sending kernel, or LinuxIO where that kernel refuses.

import Basics
import Buffers
import CLinux
import Glibc
import Testing
import Wire

@testable import LinuxIO

extension LinuxIOTests {
    @Suite(.enabled(if: isRoot, needsRoot))
    struct SuperFrameTests {
        static let flows: [Flow] = [
            Flow(isIPv6: false, isTCP: true), Flow(isIPv6: true, isTCP: true), Flow(isIPv6: false, isTCP: false),
            Flow(isIPv6: true, isTCP: false), Flow(isIPv6: false, isTCP: true, tag: [0x81, 0, 0, 7]),
            Flow(isIPv6: true, isTCP: false, tag: [0x81, 0, 0, 7]), Flow(isIPv6: false, isTCP: false, tag: [0x88, 0xA8, 0, 9]),
        ]

        /// The receiver sees super-frames here, since a cable between namespaces cuts nothing.
        @Test(arguments: flows)
        func aSuperFrameArrivesWhole(_ flow: Flow) throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = flow.frames(20, of: 1000, last: 333)
            let arena = makeJoinedArena(frames)
            #expect(arena.count == 1)
            let sent = host.transmit(arena, port: testPort)
            #expect(sent.sent == 20 && sent.bytes == frames.reduce(0) { $0 + $1.count } && sent.failed == 0)
            let arrived = lan.collect(20)
            #expect(arrived.frames == frames)
            #expect(arrived.superFrames == 1)
            #expect(host.transmitOffload == [.tcp, .udp])
            let quiet = lan.isQuiet()
            #expect(quiet)
        }

        /// The kernel cuts what is longer than the device takes.
        @Test(arguments: flows)
        func theKernelCuts(_ flow: Flow) throws {
            let namespace = try Namespace.withCable()
            try namespace.ip("link set host0 gso_max_size 4000")
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = flow.frames(40, of: 1400, last: 1)
            let arena = makeJoinedArena(frames)
            #expect(arena.count == 1)
            let sent = host.transmit(arena, port: testPort)
            #expect(sent.sent == 40 && sent.failed == 0)
            let arrived = lan.collect(40)
            #expect(arrived.frames == frames)
            #expect(arrived.superFrames == 0)
            #expect(host.transmitOffload == [.tcp, .udp])
        }

        /// Super-frames among other frames, of several flows: everything in its order.
        @Test(arguments: [true, false])
        func theOrderStays(_ virtio: Bool) throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside {
                let index = try PacketPort(device: "host0").interfaceIndex
                return try FrameSender(device: "host0", index: index, bypassQueue: false, virtio: virtio)
            }
            #expect(host.offload == (virtio ? [.tcp, .udp] : []))
            var frames: [[UInt8]] = []
            for round in 0..<40 {
                var flow = Self.flows[round % Self.flows.count]
                flow.port = UInt16(1000 + round)
                frames += flow.frames(1 + round % 9, of: 500 + round, last: 7)
                if round % 3 == 0 { frames.append(makeFrame(60 + round, seed: round)) }
            }
            let arena = makeJoinedArena(frames)
            #expect(arena.count < frames.count / 2)
            let sent = host.transmit(arena, port: testPort)
            #expect(sent.sent == frames.count && sent.bytes == frames.reduce(0) { $0 + $1.count } && sent.failed == 0)
            let arrived = lan.collect(frames.count)
            #expect(arrived.frames == frames)
            #expect((arrived.superFrames > 0) == virtio)
        }

        /// Past the queueing discipline, nobody cuts for a device that cannot: the kernel refuses, and the pieces go from here.
        @Test func whatTheKernelRefusesGoesInPieces() throws {
            let namespace = try Namespace.withCable()
            try namespace.ip("link set host0 gso_max_size 4000")
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside { try PacketPort(device: "host0", bypassQueue: true) }
            let datagrams = Flow(isIPv6: false, isTCP: false).frames(30, of: 1200, last: 5)
            let before = makeFrame(100, seed: 1)
            let after = makeFrame(100, seed: 2)
            for round in 0..<2 {
                let arena = makeJoinedArena([before] + datagrams + [after])
                #expect(arena.count == 3)
                let sent = host.transmit(arena, port: testPort)
                #expect(sent.sent == 32 && sent.failed == 0, "round \(round)")
                let arrived = lan.collect(32)
                #expect(arrived.frames == [before] + datagrams + [after])
                #expect(arrived.superFrames == 0)
                // Only of the kind that was refused.
                #expect(host.transmitOffload == .tcp)
            }
            let segments = Flow(isIPv6: true, isTCP: true).frames(30, of: 1200, last: 5)
            let sent = host.transmit(makeJoinedArena(segments), port: testPort)
            #expect(sent.sent == 30 && sent.failed == 0)
            let arrived = lan.collect(30)
            #expect(arrived.frames == segments)
            #expect(host.transmitOffload == [])
        }

        /// A super-frame does not carry frames past an MTU that would have stopped them alone.
        @Test func theMTUHoldsForThePieces() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0", filter: experimentalFilter) }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = Flow(isIPv6: false, isTCP: true).frames(6, of: 3000, last: 3000)
            let other = makeFrame(90, seed: 4)
            let result = host.transmit(makeJoinedArena(frames + [other]), port: testPort)
            #expect(result.sent == 1 && result.failed == 6 && result.lastError == EMSGSIZE && result.bytes == 90)
            let got = lan.next()
            #expect(got?.bytes == other)
            let quiet = lan.isQuiet()
            #expect(quiet)
            #expect(host.transmitOffload == [.tcp, .udp])
            // The longest that passes, tagged.
            let longest = Flow(isIPv6: false, isTCP: true, tag: [0x81, 0, 0, 7]).frames(3, of: 1448, last: 1448)
            #expect(longest[0].count == 1518)
            let passes = host.transmit(makeJoinedArena(longest), port: testPort)
            #expect(passes.sent == 3 && passes.failed == 0)
        }

        /// A device that goes down takes no super-frame, and each of its frames counts.
        @Test func aDeviceThatIsDownFailsAllFrames() throws {
            let namespace = try Namespace.withCable()
            var host = try namespace.inside { try PacketPort(device: "host0") }
            try namespace.ip("link set host0 down")
            let arena = makeJoinedArena(Flow(isIPv6: false, isTCP: true).frames(9, of: 700, last: 9) + [makeFrame(60, seed: 1)])
            let result = host.transmit(arena, port: testPort)
            #expect(result.sent == 0 && result.failed == 10 && result.lastError == ENETDOWN)
            #expect(host.transmitOffload == [.tcp, .udp])
        }

        /// A socket that listens gets the datagrams one by one.
        @Test func aUDPSocketReceivesTheDatagrams() throws {
            let host = try Namespace()
            let lan = try Namespace.withCable(peer: host)
            try host.ip("address add 10.9.0.2/24 dev host0")
            let address = try host.inside { try PacketPort(device: "host0") }.macAddress
            var port = try lan.inside { try PacketPort(device: "lan0") }
            let receiver = try host.inside { () throws -> OwnedDescriptor in
                let receiver = OwnedDescriptor(try check(cwl_udp_open(1), "open", "udp"))
                var address = cwl_address()
                let length = unsafe cwl_address_put(&address, 1, 0, 0, 2000, 0)
                try check(unsafe cwl_udp_bind(receiver.raw, &address, length), "bind", "udp")
                return receiver
            }
            var flow = Flow(isIPv6: false, isTCP: false)
            flow.port = 2000
            flow.destination = address
            let frames = flow.frames(64, of: 900, last: 17)
            let arena = makeJoinedArena(frames)
            #expect(arena.count == 1)
            let sent = port.transmit(arena, port: testPort)
            #expect(sent.sent == 64)
            var room = [UInt8](repeating: 0, count: 65_536)
            for frame in frames {
                try #require(waitReadable(receiver.raw))
                let count = unsafe room.withUnsafeMutableBytes { unsafe cwl_read(receiver.raw, $0.baseAddress, $0.count) }
                #expect(Array(room[..<max(Int(count), 0)]) == Array(frame[42...]))
            }
        }
    }
}

/// Frames of one flow with right checksums.
struct Flow: Sendable, CustomTestStringConvertible {
    var isIPv6: Bool
    var isTCP: Bool
    var tag: [UInt8] = []
    var port: UInt16 = 9000
    var destination = MACAddress(rawValue: 0x0200_0000_0001)

    var testDescription: String { "\(isTCP ? "TCP" : "UDP")\(isIPv6 ? 6 : 4)\(tag.isEmpty ? "" : ", tagged")" }

    /// `count` frames of `size` octets of payload, the last of `last` octets.
    func frames(_ count: Int, of size: Int, last: Int) -> [[UInt8]] {
        (0..<count).map { frame($0, payload: $0 == count - 1 ? last : size, at: $0 * size, pushes: $0 == count - 1) }
    }

    private func frame(_ number: Int, payload count: Int, at offset: Int, pushes: Bool) -> [UInt8] {
        let source: [UInt8] = isIPv6 ? [0xFD] + [UInt8](repeating: 0, count: 14) + [1] : [10, 9, 0, 1]
        let target: [UInt8] = isIPv6 ? [0xFD] + [UInt8](repeating: 0, count: 14) + [2] : [10, 9, 0, 2]
        let payload = makeFrame(count + 14, seed: number + Int(port))[14...]
        var transport = big16(5555) + big16(Int(port))
        if isTCP {
            transport += big16(0xFFFF) + big16(0xF000)
            let sequence = UInt32(0xFFFF_F000) &+ UInt32(offset)
            transport.replaceSubrange(4..., with: big16(Int(sequence >> 16)) + big16(Int(sequence & 0xFFFF)))
            transport += [0, 0, 0, 9, 0x80, pushes ? 0x18 : 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
        } else {
            transport += big16(8 + count) + [0, 0]
        }
        let length = transport.count + count
        let kind: UInt8 = isTCP ? 6 : 17
        let sum = ~onesComplementSum(source + target + [0, kind] + big16(length) + transport + payload) & 0xFFFF
        transport.replaceSubrange((isTCP ? 16 : 6)..<(isTCP ? 18 : 8), with: big16(sum))
        var network: [UInt8]
        if isIPv6 {
            network = [0x60, 0, 0, 1] + big16(length) + [kind, 64] + source + target
        } else {
            network = [0x45, 0] + big16(20 + length) + big16(0xFFFC + number) + [0x40, 0, 64, kind, 0, 0] + source + target
            network.replaceSubrange(10..<12, with: big16(~onesComplementSum(network) & 0xFFFF))
        }
        var frame: [UInt8] = big16(Int(destination.rawValue >> 32)) + big16(Int(destination.rawValue >> 16 & 0xFFFF))
        frame += big16(Int(destination.rawValue & 0xFFFF)) + [0x02, 0, 0, 0, 0, 2] + tag
        return frame + (isIPv6 ? [0x86, 0xDD] : [0x08, 0x00]) + network + transport + payload
    }
}

private func big16(_ number: Int) -> [UInt8] { [UInt8(number >> 8 & 0xFF), UInt8(number & 0xFF)] }

private func onesComplementSum(_ bytes: [UInt8]) -> Int {
    var sum = 0
    for (index, octet) in bytes.enumerated() { sum += index % 2 == 0 ? Int(octet) << 8 : Int(octet) }
    while sum >> 16 != 0 { sum = sum & 0xFFFF + sum >> 16 }
    return sum
}

/// An arena with these frames, all for port 3, in which those of a flow that follow each other are joined.
func makeJoinedArena(_ frames: [[UInt8]]) -> FrameArena {
    var arena = FrameArena(byteCapacity: frames.reduce(64) { $0 + $1.count + 32 }, frameCapacity: frames.count + 1)
    var run = Coalescer()
    for frame in frames {
        if run.frames > 0, run.admits(frame.raw, after: arena.frame(arena.count - 1)) {
            precondition(arena.extendLast(with: frame.raw, skipping: run.payloadOffset))
            run.join(frame.raw)
            continue
        }
        close(run, in: &arena)
        precondition(arena.append(frame.raw, to: PortSet(testPort)))
        run = Coalescer()
        if let header = FrameHeader(frame.raw), let begun = Coalescer(frame.raw, header, udp: true) { run = begun }
    }
    close(run, in: &arena)
    return arena
}

private func close(_ run: Coalescer, in arena: inout FrameArena) {
    guard run.frames > 1 else { return }
    var octets = arena.mutableFrame(arena.count - 1)
    let offload = run.finish(&octets)
    arena.setOffload(offload, of: arena.count - 1)
}

extension PacketPort {
    /// The next `count` frames, finished and cut as a lane does; and how many super-frames there were.
    mutating func collect(_ count: Int) -> (frames: [[UInt8]], superFrames: Int) {
        var frames: [[UInt8]] = []
        var superFrames = 0
        var output = OwnedBytes(count: 65_536)
        while frames.count < count, let next = next() {
            if var segmenter = Segmenter(next.bytes.raw, offload: next.offload) {
                superFrames += 1
                while true {
                    var segment = output.mutableBytes
                    guard let length = segmenter.next(from: next.bytes.raw, into: &segment) else { break }
                    frames.append(output.bytes(at: 0, count: length).array)
                }
                continue
            }
            output.copy(next.bytes.raw, to: 0)
            var whole = output.mutableBytes(at: 0, count: next.bytes.count)
            #expect(Wire.finishChecksum(of: &whole, next.offload))
            frames.append(whole.array)
        }
        return (frames, superFrames)
    }
}
