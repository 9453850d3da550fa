// AF_PACKET on a veth pair: what goes in at one end comes out at the other, octet for octet.

import Basics
import Buffers
import CLinux
import Glibc
import Testing

@testable import LinuxIO

extension LinuxIOTests {
    @Suite(.enabled(if: isRoot, needsRoot))
    struct PacketPortTests {
        @Test func framesOfEverySizeCrossUnchangedAndInOrder() throws {
            let namespace = try Namespace.withCable(mtu: 9000)
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            // 1956 octets is the largest that fits into a slot beside its headers.
            let sizes = [14, 15, 59, 60, 61, 1514, 1955, 1956, 1957, 60, 2048, 4096, 14, 9000, 9014, 100]
            let frames = sizes.enumerated().map { makeFrame($1, seed: $0) }
            let arena = makeArena(frames)

            let sent = host.transmit(arena, port: testPort)
            #expect(sent.sent == frames.count && sent.failed == 0 && sent.bytes == sizes.reduce(0, +))
            for frame in frames {
                let got = lan.next()
                #expect(got == Captured(bytes: frame, offload: .none, isTruncated: false))
            }
            // The other way; and nobody sees what it sent itself.
            let back = lan.transmit(arena, port: testPort)
            #expect(back.sent == frames.count)
            for frame in frames {
                let got = host.next()
                #expect(got?.bytes == frame)
            }
            let quiet = (lan.isQuiet(), host.isQuiet())
            #expect(quiet == (true, true))
            let drops = (lan.drops(), host.drops())
            #expect(drops == (0, 0))
        }

        @Test func framesThatWaitAreSeenAhead() throws {
            let namespace = try Namespace.withCable(mtu: 9000)
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = (0..<5).map { makeFrame(100 + $0, seed: $0) }
            func ahead(_ port: borrowing PacketPort, _ count: Int) -> [UInt8]? {
                guard let frame = port.upcoming(count) else { return nil }
                return Array(copying: frame)
            }
            #expect(ahead(lan, 1) == nil)
            _ = host.transmit(makeArena(frames), port: testPort)
            for index in frames.indices {
                let got = lan.next()
                #expect(got?.bytes == frames[index])
                // What has been seen is still to come.
                for distance in 1...3 {
                    let expected = index + distance < frames.count ? frames[index + distance] : nil
                    #expect(ahead(lan, distance) == expected)
                }
            }
        }

        @Test func vlanTagsArePutBack() throws {
            let namespace = try Namespace.withCable(mtu: 9000)
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let headers: [[UInt8]] = [
                [0x81, 0x00, 0x60, 0x0A] + experimental,
                [0x81, 0x00, 0x00, 0x00] + experimental,  // a priority tag: VLAN 0 is a tag all the same
                [0x88, 0xA8, 0x0F, 0xFF] + experimental,
                [0x88, 0xA8, 0x00, 0x64, 0x81, 0x00, 0x20, 0x05] + experimental,
                [0x81, 0x00, 0x00, 0x01, 0x81, 0x00, 0x00, 0x02, 0x81, 0x00, 0x00, 0x03] + experimental,
            ]
            var frames: [[UInt8]] = []
            for (index, header) in headers.enumerated() {
                for size in [64, 1518, 1957, 1961, 5000] { frames.append(makeFrame(size, seed: index, header: header)) }
            }
            _ = host.transmit(makeArena(frames), port: testPort)
            for frame in frames {
                let got = lan.next()
                #expect(got == Captured(bytes: frame, offload: .none, isTruncated: false))
            }
        }

        @Test func theFilterIsInForceFromTheFirstFrame() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0", filter: experimentalFilter) }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = (0..<20).map { makeFrame(80, seed: $0, header: $0 % 2 == 0 ? experimental : [0x88, 0xB6]) }
            _ = host.transmit(makeArena(frames), port: testPort)
            for index in stride(from: 0, to: 20, by: 2) {
                let got = lan.next()
                #expect(got?.bytes == frames[index])
            }
            let quiet = lan.isQuiet()
            #expect(quiet)
            let error = errorOf {
                _ = try namespace.inside { try PacketPort(device: "lan0", filter: [experimentalFilter[0]]) }
            }
            #expect(error?.code == EINVAL)
        }

        @Test func aFullRingCountsDropsAndRecovers() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0", ringBytes: 65536) }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frames = (0..<100).map { makeFrame(200, seed: $0) }
            for round in 0..<3 {
                _ = host.transmit(makeArena(frames), port: testPort)
                for index in 0..<32 {
                    let got = lan.next()
                    #expect(got?.bytes == frames[index], "round \(round)")
                }
                let quiet = lan.isQuiet()
                let drops = (lan.drops(), lan.drops())
                #expect(quiet)
                #expect(drops == (UInt64(68 * (round + 1)), UInt64(68 * (round + 1))))
            }
        }

        @Test func onlyThePortsFramesGoAndOversizedOnesFailAlone() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0", filter: experimentalFilter) }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            var arena = FrameArena(byteCapacity: 1 << 20, frameCapacity: 1024)
            var expected: [[UInt8]] = []
            for index in 0..<700 {
                let isMine = index % 3 != 0
                let frame = makeFrame(index % 100 == 50 ? 3000 : 60 + index, seed: index)
                precondition(arena.append(frame.raw, to: PortSet(isMine ? testPort : PortIndex(1))))
                if isMine && frame.count <= 1514 { expected.append(frame) }
            }
            let result = host.transmit(arena, port: testPort)
            #expect(result.sent == expected.count)
            #expect(result.bytes == expected.reduce(0) { $0 + $1.count })
            #expect(result.failed == 466 - expected.count)
            #expect(result.lastError == EMSGSIZE)
            for frame in expected {
                let got = lan.next()
                #expect(got?.bytes == frame)
            }
            let quiet = lan.isQuiet()
            #expect(quiet)
            let nothing = host.transmit(arena, port: PortIndex(9))
            #expect(nothing == TransmitResult())
        }

        @Test func aFullQueueFailsInBoundedTime() throws {
            let namespace = try Namespace.withCable()
            try namespace.run("tc qdisc add dev host0 root tbf rate 100kbit burst 3000 limit 6000")
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let arena = makeArena((0..<200).map { makeFrame(1000, seed: $0) })
            let start = MonotonicClock.now()
            let result = host.transmit(arena, port: testPort)
            let took = MonotonicClock.now() - start
            #expect(result.sent >= 2 && result.failed > 0 && result.sent + result.failed == 200)
            #expect(result.lastError == ENOBUFS)
            #expect(took < .milliseconds(200))
        }

        @Test func bypassingTheQueueSends() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0") }
            var host = try namespace.inside { try PacketPort(device: "host0", bypassQueue: true) }
            let frame = makeFrame(300, seed: 1)
            let result = host.transmit(makeArena([frame]), port: testPort)
            #expect(result.sent == 1)
            let got = lan.next()
            #expect(got?.bytes == frame)
        }

        @Test func linkDownIsSilentAndLinkUpResumes() throws {
            let namespace = try Namespace.withCable()
            var lan = try namespace.inside { try PacketPort(device: "lan0", filter: experimentalFilter) }
            var host = try namespace.inside { try PacketPort(device: "host0") }
            let frame = makeFrame(300, seed: 1)
            let arena = makeArena([frame, frame])
            let wasUp = eventually { lan.isUp() }
            #expect(wasUp)
            // A large frame that waits while the device goes down is still delivered.
            try namespace.ip("link set lan0 mtu 9000")
            try namespace.ip("link set host0 mtu 9000")
            let large = makeFrame(5000, seed: 2)
            _ = host.transmit(makeArena([large, frame]), port: testPort)
            #expect(waitReadable(lan.fileDescriptor))
            try namespace.ip("link set lan0 down")
            let rest = (lan.next(), lan.next())
            #expect(rest.0?.bytes == large)
            #expect(rest.1?.bytes == frame)

            #expect(lan.isUp() == false)
            #expect(lan.isGone == false)
            // The error makes the descriptor readable; two calls of advance() end that.
            let empty = (lan.advance(), lan.advance())
            #expect(empty == (false, false))
            #expect(!waitReadable(lan.fileDescriptor, for: .milliseconds(20)))
            let failed = lan.transmit(arena, port: testPort)
            #expect(failed.sent == 0 && failed.failed == 2 && failed.lastError == ENETDOWN)

            try namespace.ip("link set lan0 up")
            let isUp = eventually { lan.isUp() }
            #expect(isUp)
            let sent = host.transmit(arena, port: testPort)
            #expect(sent.sent == 2)
            let got = lan.next()
            #expect(got?.bytes == frame)
            let resumed = lan.transmit(arena, port: testPort)
            #expect(resumed.sent == 2)

            try namespace.ip("link delete lan0")
            while lan.advance() {}
            let gone = lan.advance()
            #expect(!gone)
            #expect(lan.isGone == true)
            #expect(lan.isUp() == false)
            lan.clearError()
            #expect(!waitReadable(lan.fileDescriptor, for: .milliseconds(20)))
            let lost = lan.transmit(arena, port: testPort)
            #expect(lost.failed == 2)
        }

        @Test func unusableDevicesGiveClearErrors() throws {
            let namespace = try Namespace()
            func error(_ name: String) -> String? {
                errorOf { _ = try namespace.inside { try PacketPort(device: name) } }?.description
            }
            #expect(
                error("nowhere0") == "nowhere0: cannot find the device: No such device (`ip link` lists the devices there are)")
            #expect(error("lo") == "lo: cannot use the device: it is not an Ethernet device")
            #expect(error("a name that is too long")?.contains("1 to 15 octets") == true)
            #expect(error("tap%d")?.contains("without spaces") == true)
            #expect(error("") != nil)
            let exists = try namespace.inside { (interfaceExists("lo"), interfaceExists("nowhere0"), interfaceExists("")) }
            #expect(exists == (true, false, false))
        }

        @Test func theAddressOfTheDeviceIsKnown() throws {
            let namespace = try Namespace.withCable()
            try namespace.ip("link set lan0 address 02:12:34:56:78:9a")
            let lan = try namespace.inside { try PacketPort(device: "lan0") }
            #expect(lan.macAddress == MACAddress("02:12:34:56:78:9a"))
            #expect(lan.interfaceIndex > 0)
        }
    }
}
