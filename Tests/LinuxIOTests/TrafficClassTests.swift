// What datagrams say of their class on the way through the kernel: sent and received in one piece and cut, by either family, from
// the main socket and from one that is connected.

import Basics
import Buffers
import CLinux
import Glibc
import Testing

@testable import LinuxIO

extension LinuxIOTests {
    struct TrafficClassTests {
        /// Every datagram that arrives within a second, with its octet.
        private func gather(_ socket: inout UDPSocket, _ count: Int, upTo limit: Int) -> [(octet: UInt8, bytes: [UInt8])] {
            var found: [(octet: UInt8, bytes: [UInt8])] = []
            while found.count < count, waitReadable(socket.fileDescriptor) {
                for index in 0..<socket.receive(upTo: limit) {
                    let message = socket.message(index)
                    let bytes = socket.messageBytes(index).array
                    for start in stride(from: 0, to: bytes.count, by: message.segmentSize) {
                        found.append((message.octet, Array(bytes[start..<min(start + message.segmentSize, bytes.count)])))
                    }
                }
            }
            return found
        }

        @Test(arguments: [false, true], [1, UDPSocket.receiveBatch])
        func octetsArrive(offloads: Bool, limit: Int) throws {
            let any6 = Endpoint(high: 0, low: 0, port: 0)
            for (bind, isIPv6) in [(Endpoint(ipv4: 0x7F00_0001, port: 0), false), (any6, false), (any6, true)] {
                var from = try UDPSocket(bind: bind, segmentation: offloads, coalescing: offloads)
                var to = try UDPSocket(bind: bind, segmentation: offloads, coalescing: offloads)
                let port = to.localEndpoint.port
                let destination = isIPv6 ? Endpoint(high: 0, low: 1, port: port) : Endpoint(ipv4: 0x7F00_0001, port: port)
                for octet in [0, 1, 2, 46 << 2, 46 << 2 | 1, 255, 0] as [UInt8] {
                    for (size, count) in [(300, 1), (1_000, 7), (1_000, 3)] {
                        let payload = makeFrame(size * count - 9, seed: Int(octet))
                        let result = from.send(payload.raw, segmentSize: size, to: destination, octet: octet)
                        #expect(result.datagramsSent == count && result.datagramsFailed == 0)
                        let found = gather(&to, count, upTo: limit)
                        #expect(found.map(\.octet) == Array(repeating: octet, count: count), "\(octet), \(size)")
                        #expect(found.flatMap(\.bytes) == payload)
                    }
                }
            }
        }

        /// Runs of two classes back to back are not joined into one message.
        @Test func joiningKeepsClassesApart() throws {
            var from = try UDPSocket(bind: Endpoint(ipv4: 0x7F00_0001, port: 0))
            var to = try UDPSocket(bind: Endpoint(ipv4: 0x7F00_0001, port: 0))
            let payload = makeFrame(5_000, seed: 3)
            for octet in [184, 0, 4] as [UInt8] {
                _ = from.send(payload.raw, segmentSize: 1_000, to: to.localEndpoint, octet: octet)
            }
            let found = gather(&to, 15, upTo: UDPSocket.receiveBatch)
            #expect(found.map(\.octet) == [184, 0, 4].flatMap { [UInt8](repeating: $0, count: 5) })
        }

        @Test func connectedSocketsSayItToo() throws {
            var server = try UDPSocket(bind: Endpoint(ipv4: 0x7F00_0001, port: 0))
            var client = try UDPSocket(bind: Endpoint(ipv4: 0x7F00_0001, port: 0), isShared: true, paths: 1)
            let opened = client.openPath(0, to: server.localEndpoint)
            _ = try #require(opened)
            for (size, count) in [(500, 1), (1_000, 9)] {
                let payload = makeFrame(size * count, seed: 1)
                let result = client.send(payload.raw, segmentSize: size, to: server.localEndpoint, path: 0, octet: 186)
                #expect(result.datagramsSent == count)
                #expect(gather(&server, count, upTo: 16).map(\.octet) == [UInt8](repeating: 186, count: count))
                // And on the way in.
                _ = server.send(payload.raw, segmentSize: size, to: client.localEndpoint, octet: 7)
                var seen: [UInt8] = []
                var datagrams = 0
                for _ in 0..<100 where datagrams < count {
                    for index in 0..<client.receive(onPath: 0) {
                        let message = client.message(index)
                        seen.append(message.octet)
                        datagrams += (message.length + message.segmentSize - 1) / message.segmentSize
                    }
                    usleep(1_000)
                }
                #expect(datagrams == count && Set(seen) == [7])
            }
        }
    }
}
