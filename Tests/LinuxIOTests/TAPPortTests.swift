// TAP devices: made, kept, refused, and frames both ways between the device and the machine's own stack.

import Basics
import Buffers
import CLinux
import Glibc
import Testing

@testable import LinuxIO

extension LinuxIOTests {
    @Suite(.enabled(if: canMakeTAP, "needs root and /dev/net/tun"))
    struct TAPPortTests {
        @Test func aDeviceIsMadeWithItsAddressAndGoesWithThePort() throws {
            let namespace = try Namespace()
            let address = try #require(MACAddress("02:00:5e:00:53:01"))
            do {
                let tap = try namespace.inside { try TAPPort(device: "tap7", macAddress: address) }
                #expect(tap.existed == false)
                #expect(tap.macAddress == address)
                #expect(tap.isUp() == true)
                #expect(tap.device == "tap7" && tap.interfaceIndex > 0)
            }
            let exists = try namespace.inside { interfaceExists("tap7") }
            #expect(!exists)
            let drawn = try namespace.inside { try TAPPort(device: "tap8") }
            #expect(drawn.macAddress != .zero && !drawn.macAddress.isGroup)
        }

        @Test func aPersistentDeviceKeepsItsAddress() throws {
            let namespace = try Namespace()
            for (name, kind) in [("tap7", ""), ("tap8", " multi_queue")] {
                try namespace.ip("tuntap add dev \(name) mode tap\(kind)")
                try namespace.ip("link set \(name) address 02:00:5e:00:53:07")
                for _ in 0..<2 {
                    let tap = try namespace.inside {
                        try TAPPort(device: name, macAddress: MACAddress(rawValue: 0x0200_0000_0001))
                    }
                    #expect(tap.existed == true)
                    #expect(tap.macAddress == MACAddress("02:00:5e:00:53:07"))
                    #expect(tap.isUp() == true)
                }
            }
        }

        @Test func framesCrossUnchanged() throws {
            let namespace = try Namespace()
            var tap = try namespace.inside { try TAPPort(device: "tap7") }
            try namespace.ip("link set tap7 mtu 9000")
            var stack = try namespace.inside { try PacketPort(device: "tap7") }
            let tagged: [UInt8] = [0x81, 0x00, 0x20, 0x05] + experimental
            let frames =
                [60, 1514, 1956, 1957, 9014, 64].enumerated().map { makeFrame($1, seed: $0) }
                + [64, 3000].enumerated().map { makeFrame($1, seed: $0, header: tagged) }
            let arena = makeArena(frames)
            let out = tap.transmit(arena, port: testPort)
            #expect(out.sent == frames.count && out.failed == 0)
            #expect(out.bytes == frames.reduce(0) { $0 + $1.count })
            for frame in frames {
                let got = stack.next()
                #expect(got?.bytes == frame)
            }
            let back = stack.transmit(arena, port: testPort)
            #expect(back.sent == frames.count)
            for frame in frames {
                let got = tap.next()
                #expect(got == frame)
            }
            let more = tap.advance()
            #expect(!more && !tap.isTruncated && tap.frame.isEmpty)
            let other = tap.transmit(arena, port: PortIndex(0))
            #expect(other == TransmitResult())
        }

        @Test func theFilterKeepsFramesOut() throws {
            let namespace = try Namespace()
            var tap = try namespace.inside { try TAPPort(device: "tap7", filter: experimentalFilter) }
            var stack = try namespace.inside { try PacketPort(device: "tap7") }
            let wanted = makeFrame(100, seed: 2)
            _ = stack.transmit(makeArena([makeFrame(100, seed: 1, header: [0x88, 0xB6]), wanted]), port: testPort)
            let got = tap.next()
            #expect(got == wanted)
            let more = tap.advance()
            #expect(!more)
        }

        @Test func unusableDevicesGiveClearErrors() throws {
            let namespace = try Namespace.withCable()
            func error(_ name: String) -> String? {
                errorOf { _ = try namespace.inside { try TAPPort(device: name) } }?.description
            }
            #expect(error("lan0")?.contains("exists and is not a TAP device") == true)
            try namespace.ip("tuntap add dev tun3 mode tun")
            #expect(error("tun3")?.contains("exists and is not a TAP device") == true)
            let tap = try namespace.inside { try TAPPort(device: "tap7") }
            #expect(error("tap7")?.contains("another process uses it") == true)
            #expect(error("tap/7") != nil)
            #expect(tap.isUp() == true)
            let group = errorOf {
                _ = try namespace.inside { try TAPPort(device: "tap9", macAddress: MACAddress(rawValue: 0x0100_0000_0001)) }
            }
            #expect(group?.description.contains("individual address") == true)
        }

        @Test func aDownOrRemovedDeviceCountsFailures() throws {
            let namespace = try Namespace()
            var tap = try namespace.inside { try TAPPort(device: "tap7") }
            let arena = makeArena([makeFrame(100, seed: 1)])
            try namespace.ip("link set tap7 down")
            let down = tap.transmit(arena, port: testPort)
            #expect(down.failed == 1 && down.lastError == EIO)
            #expect(tap.isUp() == false)
            let nothing = tap.advance()
            #expect(!nothing && !tap.isGone)
            try namespace.ip("link set tap7 up")
            let up = tap.transmit(arena, port: testPort)
            #expect(up.sent == 1)
            try namespace.ip("link delete tap7")
            let gone = tap.advance()
            #expect(!gone && tap.isGone)
        }
    }
}
