// The underlay's socket: over loopback, where datagrams are not lost, and over a cable with a small MTU.

import Basics
import Buffers
import CLinux
import Glibc
import Testing

@testable import LinuxIO

extension LinuxIOTests {
    struct UDPSocketTests {
        static let loopback4: UInt32 = 0x7F00_0001
        static let any6 = Endpoint(high: 0, low: 0, port: 0)

        @Test(arguments: [false, true], [false, true])
        func datagramsOfOneSizeArriveWhole(sendOffload: Bool, receiveOffload: Bool) throws {
            var from = try UDPSocket(
                bind: Endpoint(ipv4: Self.loopback4, port: 0), segmentation: sendOffload, coalescing: sendOffload)
            var to = try UDPSocket(
                bind: Endpoint(ipv4: Self.loopback4, port: 0), segmentation: receiveOffload, coalescing: receiveOffload)
            #expect(to.hasCoalescing == receiveOffload)
            #expect(from.localEndpoint.port != 0)
            for (size, count, last) in [
                (1400, 150, 333), (100, 1, 100), (1, 65, 1), (9000, 20, 8999), (1472, 64, 1472), (40_000, 3, 7),
            ] {
                let payload = makeFrame(size * (count - 1) + last, seed: size)
                let result = from.send(payload.raw, segmentSize: size, to: to.localEndpoint)
                #expect(result.datagramsSent == count && result.datagramsFailed == 0, "size \(size)")
                let datagrams = to.gather(count, from: from.localEndpoint)
                #expect(datagrams.count == count)
                #expect(datagrams.dropLast().allSatisfy { $0.count == size })
                #expect(datagrams.last?.count == last)
                #expect(Array(datagrams.joined()) == payload, "size \(size)")
            }
            #expect(from.hasSegmentation == sendOffload)
            let drops = to.drops()
            #expect(drops == 0)
        }

        @Test func coalescedMessagesSayTheSizeOfTheirSegments() throws {
            var from = try UDPSocket(bind: Endpoint(ipv4: Self.loopback4, port: 0))
            var to = try UDPSocket(bind: Endpoint(ipv4: Self.loopback4, port: 0))
            try #require(from.hasSegmentation && to.hasCoalescing)
            let payload = makeFrame(1000 * 10 + 1, seed: 1)
            _ = from.send(payload.raw, segmentSize: 1000, to: to.localEndpoint)
            #expect(waitReadable(to.fileDescriptor))
            let count = to.receive()
            #expect(count == 1)
            let message = to.message(0)
            #expect(message == UDPSocket.Message(source: from.localEndpoint, length: 10_001, segmentSize: 1000, octet: 0))
            let bytes = to.messageBytes(0).array
            #expect(bytes == payload)
            let none = to.receive()
            #expect(none == 0)
        }

        @Test func theIPv6WildcardTakesBothFamilies() throws {
            var server = try UDPSocket(bind: Self.any6)
            let port = server.localEndpoint.port
            #expect(server.localEndpoint.ipv4 == nil)
            for address in [Endpoint(ipv4: Self.loopback4, port: port), Endpoint(high: 0, low: 1, port: port)] {
                let own = address.ipv4 != nil ? Endpoint(ipv4: Self.loopback4, port: 0) : Endpoint(high: 0, low: 1, port: 0)
                var client = try UDPSocket(bind: own)
                let payload = makeFrame(300, seed: 1)
                let sent = client.send(payload.raw, segmentSize: 100, to: address)
                #expect(sent.datagramsSent == 3)
                let got = server.gather(3, from: client.localEndpoint)
                #expect(Array(got.joined()) == payload)
                // And back, to the endpoint that it came from.
                let back = server.send(payload.raw, segmentSize: 100, to: client.localEndpoint)
                #expect(back.datagramsSent == 3)
                let returned = client.gather(3, from: address)
                #expect(Array(returned.joined()) == payload)
            }
        }

        @Test func whatCannotBeSentIsCounted() throws {
            var from = try UDPSocket(bind: Endpoint(ipv4: Self.loopback4, port: 0))
            let payload = makeFrame(70_000 * 2 + 100, seed: 1)
            let to = try UDPSocket(bind: Endpoint(ipv4: Self.loopback4, port: 0))
            // Two datagrams that UDP cannot carry, and one that it can.
            let result = from.send(payload.raw, segmentSize: 70_000, to: to.localEndpoint)
            #expect(result.datagramsSent == 1 && result.datagramsFailed == 2 && result.lastError == EMSGSIZE)
            let wrongFamily = from.send(payload.raw, segmentSize: 1000, to: Endpoint(high: 0, low: 1, port: 9))
            #expect(wrongFamily.datagramsSent == 0 && wrongFamily.datagramsFailed == 141)
            #expect(wrongFamily.lastError == EAFNOSUPPORT)
            let empty = from.send([UInt8]().raw, segmentSize: 1000, to: to.localEndpoint)
            #expect(empty == SendResult())
        }

        @Test func datagramsOverflowingTheBufferAreCounted() throws {
            var from = try UDPSocket(bind: Endpoint(ipv4: Self.loopback4, port: 0), segmentation: false, coalescing: false)
            var to = try UDPSocket(
                bind: Endpoint(ipv4: Self.loopback4, port: 0), receiveBuffer: 4096, segmentation: false, coalescing: false)
            let payload = makeFrame(1000 * 200, seed: 1)
            let sent = from.send(payload.raw, segmentSize: 1000, to: to.localEndpoint)
            #expect(sent.datagramsSent == 200)
            var received = 0
            while true {
                let count = to.receive()
                if count == 0 { break }
                received += count
            }
            let drops = to.drops()
            #expect(received > 0 && drops > 0 && received + Int(drops) == 200)
        }

        @Test func addressesInUseOrElsewhereGiveClearErrors() throws {
            let first = try UDPSocket(bind: Endpoint(ipv4: Self.loopback4, port: 0))
            let endpoint = first.localEndpoint
            let inUse = errorOf { _ = try UDPSocket(bind: endpoint) }
            #expect(inUse?.description == "\(endpoint): cannot bind: Address already in use (another program uses this port)")
            let elsewhere = errorOf { _ = try UDPSocket(bind: Endpoint(ipv4: 0xC000_0201, port: 0)) }
            #expect(elsewhere?.code == EADDRNOTAVAIL)
        }

        /// A datagram that is larger than the interface's MTU is refused, and says why: nothing is fragmented.
        @Test(.enabled(if: isRoot, needsRoot), arguments: [false, true])
        func whatIsLargerThanTheMTUIsRefused(isIPv6: Bool) throws {
            let host = try Namespace()
            let lan = try Namespace.withCable(peer: host)
            let family = isIPv6 ? "fd09::" : "10.9.0."
            let prefix = isIPv6 ? "/64 nodad" : "/24"
            for (namespace, device, number) in [(lan, "lan0", 1), (host, "host0", 2)] {
                if isIPv6 { try namespace.enableIPv6(device) }
                try namespace.ip("address add \(family)\(number)\(prefix) dev \(device)")
            }
            func endpoint(_ number: UInt64) -> Endpoint {
                isIPv6
                    ? Endpoint(high: 0xFD09 << 48, low: number, port: 7117)
                    : Endpoint(ipv4: 0x0A09_0000 | UInt32(number), port: 7117)
            }
            var from = try host.inside { try UDPSocket(bind: endpoint(2)) }
            var to = try lan.inside { try UDPSocket(bind: endpoint(1)) }
            let largest = isIPv6 ? 1452 : 1472
            for (size, count) in [(40, 1), (largest, 50), (1400, 50), (largest, 1)] {
                let payload = makeFrame(size * count - 5, seed: size)
                let result = from.send(payload.raw, segmentSize: size, to: endpoint(1))
                #expect(result.datagramsSent == count && result.datagramsFailed == 0, "size \(size): \(result)")
                let datagrams = to.gather(count, from: endpoint(2))
                #expect(Array(datagrams.joined()) == payload, "size \(size)")
            }
            for (size, count) in [(3000, 5), (largest + 1, 1), (largest + 1, 50)] {
                let result = from.send(makeFrame(size * count, seed: size).raw, segmentSize: size, to: endpoint(1))
                #expect(result.datagramsSent == 0 && result.datagramsFailed == count, "size \(size): \(result)")
                #expect(result.isTooLong)
            }
            #expect(from.hasSegmentation == true)
            // No route: counted, at once.
            let lost = from.send(makeFrame(3000, seed: 1).raw, segmentSize: 1000, to: Endpoint(high: 1 << 61, low: 1, port: 1))
            #expect(lost.datagramsSent == 0 && lost.datagramsFailed == 3)
        }

        /// A slow device: the call gives up in bounded time, and every datagram is accounted for.
        @Test(.enabled(if: isRoot, needsRoot)) func aFullDeviceQueueFailsInBoundedTime() throws {
            let host = try Namespace()
            let lan = try Namespace.withCable(peer: host)
            try lan.ip("address add 10.9.0.1/24 dev lan0")
            try host.ip("address add 10.9.0.2/24 dev host0")
            try host.run("tc qdisc add dev host0 root tbf rate 100kbit burst 3000 limit 60000")
            var from = try host.inside {
                try UDPSocket(bind: Endpoint(ipv4: 0, port: 0), sendBuffer: 20_000, segmentation: false, coalescing: false)
            }
            let start = MonotonicClock.now()
            let result = from.send(
                makeFrame(1000 * 100, seed: 1).raw, segmentSize: 1000, to: Endpoint(ipv4: 0x0A09_0001, port: 9))
            let took = MonotonicClock.now() - start
            #expect(result.datagramsSent + result.datagramsFailed == 100)
            #expect(result.datagramsFailed > 0 && result.lastError == EAGAIN)
            #expect(took < .milliseconds(200))
        }
    }
}

extension UDPSocket {
    /// The next `count` datagrams, taken apart; fewer after the tests' patience.
    mutating func gather(_ count: Int, from source: Endpoint) -> [[UInt8]] {
        var datagrams: [[UInt8]] = []
        while datagrams.count < count && waitReadable(fileDescriptor) {
            let messages = receive()
            #expect(messages <= UDPSocket.receiveBatch)
            for index in 0..<messages {
                let message = message(index)
                #expect(message.source == source)
                let bytes = messageBytes(index).array
                #expect(bytes.count == message.length)
                for start in stride(from: 0, to: bytes.count, by: max(message.segmentSize, 1)) {
                    datagrams.append(Array(bytes[start..<min(start + message.segmentSize, bytes.count)]))
                }
            }
        }
        return datagrams
    }
}

extension Namespace {
    func enableIPv6(_ device: String) throws {
        try inside {
            let file = unsafe open("/proc/sys/net/ipv6/conf/\(device)/disable_ipv6", O_WRONLY)
            _ = unsafe write(file, "0", 1)
            close(file)
        }
    }
}
