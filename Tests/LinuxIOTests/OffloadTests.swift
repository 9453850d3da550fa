// What local senders leave undone: unfinished checksums and super-frames, from real sockets at the other end of a cable.

import Basics
import Buffers
import CLinux
import Glibc
import Testing

@testable import LinuxIO

extension LinuxIOTests {
    @Suite(.enabled(if: isRoot, needsRoot))
    struct OffloadTests {
        /// Two machines on one cable: lan0 is 10.9.0.1, host0 is 10.9.0.2.
        struct Pair {
            let lan: Namespace
            let host: Namespace

            init() throws {
                host = try Namespace()
                lan = try Namespace.withCable(peer: host)
                try lan.ip("address add 10.9.0.1/24 dev lan0")
                try host.ip("address add 10.9.0.2/24 dev host0")
            }
        }

        static let lanAddress: UInt32 = 0x0A09_0001

        @Test func aUDPSendersUnfinishedChecksumIsDescribed() throws {
            let pair = try Pair()
            var lan = try pair.lan.inside { try PacketPort(device: "lan0") }
            var sender = try pair.host.inside { try UDPSocket(bind: Endpoint(ipv4: 0, port: 0)) }
            let payload = [UInt8]((0..<201).map { UInt8($0) })
            _ = sender.send(payload.raw, segmentSize: 201, to: Endpoint(ipv4: Self.lanAddress, port: 9))
            let frameCaptured = lan.nextUDP()
            let frame = try #require(frameCaptured)
            #expect(frame.offload == FrameOffload(needsChecksum: true, checksumStart: 34, checksumOffset: 6))
            #expect(Array(frame.bytes[42...]) == payload)
            // Finishing the sum from where the header says gives a datagram that verifies.
            var bytes = frame.bytes
            finishChecksum(&bytes, frame.offload)
            #expect(udpSum(bytes) == 0xFFFF)
        }

        @Test func theChecksumStartCountsTheTagThatWasPutBack() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            let raw = try namespace.inside {
                let raw = OwnedDescriptor(try check(cwl_packet_open(), "open", "raw"))
                let index = try Device.index(raw.raw, "host0")
                try check(cwl_packet_virtio_header(raw.raw), "virtio", "raw")
                try check(cwl_packet_bind(raw.raw, index, 0), "bind", "raw")
                return raw
            }
            // virtio: needs a checksum, at 4 + 34 + 6, in a tagged IPv4 UDP frame whose field holds the pseudo-header's sum.
            let virtio: [UInt8] = [1, 0, 0, 0, 0, 0, 38, 0, 6, 0]
            var frame = makeFrame(38, seed: 1, header: [0x81, 0x00, 0x00, 0x0A, 0x08, 0x00])
            frame.replaceSubrange(
                18..., with: [0x45, 0, 0, 40, 0, 1, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1] as [UInt8])
            frame += [0x10, 0, 0x20, 0, 0, 20, 0, 0] + (1...12)
            let sum = 0x0A09 + 0x0002 + 0x0A09 + 0x0001 + 17 + 20
            frame[44] = UInt8(sum >> 8)
            frame[45] = UInt8(sum & 0xFF)
            let message = virtio + frame
            let written = unsafe message.withUnsafeBytes { unsafe cwl_write(raw.raw, $0.baseAddress, $0.count) }
            #expect(written == Int64(message.count))

            let gotCaptured = lan.next()
            let got = try #require(gotCaptured)
            #expect(got.bytes == frame)
            #expect(got.offload == FrameOffload(needsChecksum: true, checksumStart: 38, checksumOffset: 6))
            // The same, through the copy path: a tagged super-frame.
            var large = frame + makeFrame(8000, seed: 3)
            large[20] = 0x1F
            let segmented: [UInt8] = [1, 5, 46, 0, 0x78, 0x05, 38, 0, 6, 0]
            let second = segmented + large
            let again = unsafe second.withUnsafeBytes { unsafe cwl_write(raw.raw, $0.baseAddress, $0.count) }
            #expect(again == Int64(second.count))
            let super0Captured = lan.next()
            let super0 = try #require(super0Captured)
            #expect(super0.bytes == large)
            #expect(
                super0.offload
                    == FrameOffload(
                        segmentation: .udp, segmentSize: 1400, needsChecksum: true, checksumStart: 38, checksumOffset: 6))
        }

        @Test func aTCPSendersSuperFramesArriveWholeAndInOrder() throws {
            let pair = try Pair()
            var lan = try pair.lan.inside { try PacketPort(device: "lan0") }
            let total = 3 << 20
            let listener = try pair.lan.inside { try TCP.listen() }
            let receiver = try LaneThread.start(name: "receiver") { TCP.drain(listener, total) }
            let client = try pair.host.inside { try TCP.connect(Self.lanAddress, TCP.port(listener)) }
            let sender = try LaneThread.start(name: "sender") { TCP.feed(client, total) }

            var expected: UInt32?
            var received = 0
            var largest = 0
            var superFrames = 0
            while received < total {
                guard let frame = lan.next() else { break }
                #expect(!frame.isTruncated)
                let bytes = frame.bytes
                guard bytes.count >= 54, bytes[12] == 8, bytes[23] == 6, bytes[29] == 2 else { continue }
                let header = 34 + Int(bytes[46] >> 4) * 4
                let payload = bytes[header..<(14 + Int(bytes[16]) << 8 + Int(bytes[17]))]
                let sequence = bytes[38..<42].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                if bytes[47] & 2 != 0 {
                    expected = sequence &+ 1
                    continue
                }
                guard !payload.isEmpty, sequence == expected else { continue }
                let isPattern = payload.enumerated().allSatisfy { $1 == TCP.octet(received + $0) }
                #expect(isPattern, "at \(received)")
                if payload.count > 1460 {
                    superFrames += 1
                    #expect(frame.offload.segmentation == .tcp4)
                    #expect((1000...1460).contains(frame.offload.segmentSize))
                    #expect(frame.offload.needsChecksum)
                    #expect(frame.offload.checksumStart == 34 && frame.offload.checksumOffset == 16)
                }
                largest = max(largest, bytes.count)
                received += payload.count
                expected = sequence &+ UInt32(payload.count)
            }
            sender.join()
            receiver.join()
            let drops = lan.drops()
            #expect(received == total)
            #expect(drops == 0)
            #expect(superFrames > 10)
            #expect(largest > 20_000)
        }

        @Test func aUDPSendersSuperFrameIsDescribed() throws {
            let pair = try Pair()
            var lan = try pair.lan.inside { try PacketPort(device: "lan0") }
            var sender = try pair.host.inside { try UDPSocket(bind: Endpoint(ipv4: 0, port: 0)) }
            let payload = makeFrame(1400 * 20 + 77, seed: 5)
            let result = sender.send(payload.raw, segmentSize: 1400, to: Endpoint(ipv4: Self.lanAddress, port: 9))
            #expect(result.datagramsSent == 21)
            let frameCaptured = lan.nextUDP()
            let frame = try #require(frameCaptured)
            #expect(frame.bytes.count == 42 + payload.count)
            #expect(Array(frame.bytes[42...]) == payload)
            #expect(
                frame.offload
                    == FrameOffload(
                        segmentation: .udp, segmentSize: 1400, needsChecksum: true, checksumStart: 34, checksumOffset: 6))
        }
    }
}

extension PacketPort {
    /// The next IPv4 UDP frame: resolving the address comes first.
    fileprivate mutating func nextUDP() -> Captured? {
        while let frame = next() {
            if frame.bytes.count > 42 && frame.bytes[12] == 8 && frame.bytes[13] == 0 && frame.bytes[23] == 17 { return frame }
        }
        return nil
    }
}

private func onesSum(_ bytes: ArraySlice<UInt8>, _ start: Int = 0) -> Int {
    var sum = start
    for (index, octet) in bytes.enumerated() { sum += index % 2 == 0 ? Int(octet) << 8 : Int(octet) }
    while sum >> 16 != 0 { sum = sum & 0xFFFF + sum >> 16 }
    return sum
}

private func finishChecksum(_ frame: inout [UInt8], _ offload: FrameOffload) {
    let start = Int(offload.checksumStart)
    let field = start + Int(offload.checksumOffset)
    let sum = ~onesSum(frame[start...]) & 0xFFFF
    frame[field] = UInt8(sum >> 8)
    frame[field + 1] = UInt8(sum & 0xFF)
}

/// 0xffff for an untagged IPv4 UDP frame whose checksum is right.
private func udpSum(_ frame: [UInt8]) -> Int {
    onesSum(frame[34...], onesSum(frame[26..<34], 17 + frame.count - 34))
}

/// A plain TCP connection that carries a pattern.
private enum TCP {
    static func octet(_ position: Int) -> UInt8 { UInt8(truncatingIfNeeded: position &* 31 &+ position >> 8) }

    static func listen() throws -> Int32 {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = cwl_address()
        let length = unsafe cwl_address_put(&address, 1, 0, UInt64(LinuxIOTests.OffloadTests.lanAddress), 0, 0)
        try check(unsafe cwl_udp_bind(listener, &address, length), "bind", "tcp")
        try #require(Glibc.listen(listener, 1) == 0)
        return listener
    }

    static func port(_ listener: Int32) -> UInt16 {
        var address = cwl_address()
        _ = unsafe cwl_udp_local(listener, &address)
        return Endpoint(address)?.port ?? 0
    }

    static func connect(_ host: UInt32, _ port: UInt16) throws -> Int32 {
        let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        _ = cwl_set_send_timeout(client, patience.nanoseconds)
        var address = cwl_address()
        let length = unsafe cwl_address_put(&address, 1, 0, UInt64(host), port, 0)
        let result = unsafe withUnsafePointer(to: &address.of.any) { unsafe Glibc.connect(client, $0, length) }
        try #require(result == 0)
        return client
    }

    static func feed(_ client: Int32, _ total: Int) {
        let bytes = (0..<total).map(octet)
        var sent = 0
        while sent < total {
            let result = unsafe bytes.withUnsafeBytes {
                unsafe send(client, $0.baseAddress.unsafelyUnwrapped + sent, min(total - sent, 1 << 20), Int32(MSG_NOSIGNAL))
            }
            if result <= 0 { break }
            sent += result
        }
        close(client)
    }

    static func drain(_ listener: Int32, _ total: Int) {
        let connection = cwl_accept(waitReadable(listener) ? listener : -1)
        var room = [UInt8](repeating: 0, count: 1 << 18)
        while connection >= 0 && waitReadable(Int32(connection)) {
            let result = unsafe room.withUnsafeMutableBytes { unsafe cwl_read(Int32(connection), $0.baseAddress, $0.count) }
            if result <= 0 { break }
        }
        _ = cwl_close(Int32(connection))
        close(listener)
    }
}
