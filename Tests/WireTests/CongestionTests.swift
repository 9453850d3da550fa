// RFC 6040 figure 4, entry by entry, on values and on frames of both families, whose other octets stay as they were.

import Basics
import Testing

@testable import Wire

@Suite struct CongestionTests {
    /// Rows: the frame has Not-ECT, ECT(0), ECT(1), CE. Columns: the datagram came with Not-ECT, ECT(0), ECT(1), CE. -1: dropped.
    private static let figure4: [[Int]] = [
        [0b00, 0b00, 0b00, -1],
        [0b10, 0b10, 0b01, 0b11],
        [0b01, 0b01, 0b01, 0b11],
        [0b11, 0b11, 0b11, 0b11],
    ]
    private static let order: [Congestion] = [.notCapable, .capable0, .capable1, .experienced]

    @Test func theBitsOfRFC3168() {
        #expect(Congestion.notCapable.rawValue == 0 && Congestion.capable1.rawValue == 1)
        #expect(Congestion.capable0.rawValue == 2 && Congestion.experienced.rawValue == 3)
        for octet in 0...255 as ClosedRange<UInt8> { #expect(Congestion(octet: octet).rawValue == octet & 3) }
    }

    @Test func everyEntryOfTheTable() {
        for (row, inner) in Self.order.enumerated() {
            for (column, outer) in Self.order.enumerated() {
                let expected = Self.figure4[row][column]
                #expect(inner.decapsulated(from: outer).map { Int($0.rawValue) } ?? -1 == expected, "\(inner), \(outer)")
                // What is said to change nothing changes nothing.
                if !outer.changesFrames { #expect(inner.decapsulated(from: outer) == inner) }
            }
        }
    }

    /// A packet of RFC 1071's example header, with this octet and the checksum that belongs to it.
    private func ipv4(_ octet: UInt8, tags: [UInt8] = []) -> [UInt8] {
        var header: [UInt8] = [
            0x45, octet, 0x00, 0x1C, 0xBE, 0xEF, 0x40, 0x00, 0x40, 0x11, 0, 0, 192, 0, 2, 1, 233, 252, 0, 7,
        ]
        var sum = stride(from: 0, to: 20, by: 2).reduce(0) { $0 + Int(header[$1]) << 8 + Int(header[$1 + 1]) }
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        header[10] = UInt8(~sum >> 8 & 0xFF)
        header[11] = UInt8(~sum & 0xFF)
        return [1, 0, 0x5E, 0x7C, 0, 7, 2, 0, 0, 0, 0, 1] + tags + [0x08, 0x00] + header + [1, 2, 3, 4, 0, 8, 0, 0]
    }

    private func ipv6(_ octet: UInt8, tags: [UInt8] = []) -> [UInt8] {
        var bytes: [UInt8] = [0x33, 0x33, 0, 0, 0, 7, 2, 0, 0, 0, 0, 1] + tags + [0x86, 0xDD]
        bytes += [0x60 | octet >> 4, octet << 4 | 0x0A, 0xBC, 0xDE, 0, 8, 17, 9]
        bytes += [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [1]
        bytes += [0xFF, 0x3E] + [UInt8](repeating: 0, count: 13) + [7]
        return bytes + [1, 2, 3, 4, 0, 8, 0, 0]
    }

    private func decapsulate(_ frame: [UInt8], _ outer: Congestion) -> [UInt8]? {
        var bytes = frame
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        let stays = TrafficOctet.decapsulate(&raw, from: outer)
        if !stays { #expect(bytes == frame) }
        return stays ? bytes : nil
    }

    @Test(arguments: [[], [0x81, 0x00, 0xA0, 0x0A], [0x88, 0xA8, 0, 5, 0x81, 0, 0, 6]] as [[UInt8]])
    func everyEntryOnFrames(tags: [UInt8]) {
        for point in [0, 46, 63] as [UInt8] {
            for (row, inner) in Self.order.enumerated() {
                for (column, outer) in Self.order.enumerated() {
                    let (was, result) = (point << 2 | inner.rawValue, Self.figure4[row][column])
                    let expected = result < 0 ? nil : point << 2 | UInt8(result)
                    // With the whole checksum computed anew: the incremental update must come to the same.
                    #expect(decapsulate(ipv4(was, tags: tags), outer) == expected.map { ipv4($0, tags: tags) })
                    #expect(decapsulate(ipv6(was, tags: tags), outer) == expected.map { ipv6($0, tags: tags) })
                }
            }
        }
    }

    /// A checksum that was wrong is as wrong afterwards.
    @Test func brokenChecksumsStayBroken() throws {
        var broken = ipv4(2)
        broken[24] ^= 0x55
        let after = try #require(decapsulate(broken, .experienced))
        var expected = ipv4(3)
        #expect(after[15] == 3 && after[24...25] != expected[24...25])
        expected[24...25] = after[24...25]
        #expect(after == expected)
    }

    @Test func whatIsNoPacketStays() {
        let arp: [UInt8] = [UInt8](repeating: 0xFF, count: 6) + [2, 0, 0, 0, 0, 1, 8, 6] + [UInt8](repeating: 7, count: 28)
        var wrongVersion = ipv4(2)
        wrongVersion[14] = 0x65
        let cut = [Array(ipv4(2).prefix(15)), Array(ipv4(2).prefix(33)), Array(ipv6(2).prefix(53))]
        for frame in [arp, [], [1, 2, 3], wrongVersion] + cut {
            #expect(decapsulate(frame, .experienced) == frame)
        }
    }

    @Test func theOctetOfAFrame() {
        func octet(_ frame: [UInt8]) -> UInt8? {
            unsafe FrameHeader(frame.span.bytes).flatMap { unsafe TrafficOctet.of(frame.span.bytes, $0) }
        }
        for value in 0...255 as ClosedRange<UInt8> {
            #expect(octet(ipv4(value)) == value && octet(ipv6(value)) == value)
            #expect(octet(ipv4(value, tags: [0x81, 0, 0, 9])) == value && octet(ipv6(value, tags: [0x88, 0xA8, 0, 9])) == value)
        }
        #expect(octet(Array(ipv4(184).prefix(15))) == nil && octet(Array(ipv4(184).prefix(16))) == 184)
    }

    @Test func routedMulticast() {
        func isRouted(_ frame: [UInt8]) -> Bool? {
            unsafe FrameHeader(frame.span.bytes).map { unsafe TrafficOctet.isRoutedMulticast(frame.span.bytes, $0) }
        }
        for (address, expected): ([UInt8], Bool) in [
            ([239, 1, 1, 1], true), ([224, 0, 1, 0], true), ([224, 0, 0, 251], false), ([224, 0, 0, 1], false),
            ([223, 255, 255, 255], false), ([240, 0, 0, 1], false), ([255, 255, 255, 255], false),
        ] {
            var frame = ipv4(0)
            frame.replaceSubrange(30..<34, with: address)
            #expect(isRouted(frame) == expected, "\(address)")
        }
        for (second, expected): (UInt8, Bool) in [
            (0x02, false), (0x12, false), (0x01, false), (0x05, true), (0x3E, true), (0x38, true), (0x03, true),
        ] {
            var frame = ipv6(0)
            frame[39] = second
            #expect(isRouted(frame) == expected, "\(second)")
            frame[38] = 0xFE
            #expect(isRouted(frame) == false)
        }
        #expect(isRouted(Array(ipv4(0).prefix(33))) == false && isRouted(Array(ipv6(0).prefix(39))) == false)
    }
}
