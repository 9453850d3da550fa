// Frames with IP in them: of a flow, with a number, and with a traffic class octet.

import Basics

@testable import Tunnels

/// What `ipFrame` makes.
struct IPFrame {
    /// The host's number in the source, and the number of the flow among its frames.
    var flow: UInt8 = 1
    var number: UInt32 = 0
    /// DSCP in the high six bits, ECN in the low two.
    var octet: UInt8 = 0
    var isIPv6 = false
    var isMulticast = false
    var tags: [UInt8] = []
    var count = 100
    var destination: MACAddress?

    /// Ethernet, tags, IP, UDP; the number is the first of the payload.
    var bytes: [UInt8] {
        let group = isIPv6 ? MACAddress(rawValue: 0x3333_0000_0007) : MACAddress(rawValue: 0x0100_5E01_0107)
        let to = destination ?? (isMulticast ? group : host(1, 9))
        var bytes: [UInt8] = []
        for address in [to, host(0, Int(flow))] {
            for shift in stride(from: UInt64(40), through: 0, by: -8) { bytes.append(UInt8(address.rawValue >> shift & 0xFF)) }
        }
        bytes += tags + (isIPv6 ? [0x86, 0xDD] : [0x08, 0x00])
        let length = max(count - bytes.count, isIPv6 ? 52 : 32)
        bytes += isIPv6 ? ipv6Header(length - 40) : ipv4Header(length)
        let rest = length - (isIPv6 ? 40 : 20)
        bytes += [0x67, flow, 0x67, 0x20]
        bytes += bigEndian(UInt16(rest)) + [0, 0]
        bytes += bigEndian(number)
        bytes += (0..<(rest - 12)).map { UInt8(truncatingIfNeeded: UInt32($0) &* 7 &+ number) }
        return bytes
    }

    private func ipv4Header(_ length: Int) -> [UInt8] {
        var header: [UInt8] = [0x45, octet]
        header += bigEndian(UInt16(length))
        header += [0x12, 0x34, 0x40, 0, 16, 17, 0, 0, 10, 0, 0, flow]
        header += isMulticast ? [239, 1, 1, 7] : [10, 0, 1, 9]
        var sum = stride(from: 0, to: 20, by: 2).reduce(0) { $0 + Int(header[$1]) << 8 + Int(header[$1 + 1]) }
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        header.replaceSubrange(10..<12, with: bigEndian(UInt16(~sum & 0xFFFF)))
        return header
    }

    private func ipv6Header(_ length: Int) -> [UInt8] {
        let prefix: [UInt8] = [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11)
        let group: [UInt8] = [0xFF, 0x3E] + [UInt8](repeating: 0, count: 13)
        var header: [UInt8] = [0x60 | octet >> 4, octet << 4, 0, 0]
        header += bigEndian(UInt16(length)) + [17, 16] + prefix + [flow]
        header += isMulticast ? group + [7] : prefix + [9]
        return header
    }
}

/// Flow and number of a frame that `IPFrame` made; `nil` for another.
func flowAndNumber(_ bytes: [UInt8]) -> (flow: UInt8, number: UInt32)? {
    for offset in stride(from: 12, to: min(bytes.count - 1, 24), by: 4) {
        let type = Int(bytes[offset]) << 8 | Int(bytes[offset + 1])
        guard type == 0x0800 || type == 0x86DD else { continue }
        let udp = offset + 2 + (type == 0x0800 ? 20 : 40)
        guard bytes.count >= udp + 12 else { return nil }
        return (bytes[udp + 1], bytes[(udp + 8)..<(udp + 12)].reduce(0) { $0 << 8 | UInt32($1) })
    }
    return nil
}
