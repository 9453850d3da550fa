// The frames that simulated hosts send: each says whose it is and has a number of its own, so that whoever gets it knows whether
// it should have, and whether it has it already.

import Basics
import Wire

struct SimulatedFrame: Hashable {
    enum Kind: Hashable {
        case broadcast
        /// To a group, by its number.
        case feed(Int)
        /// To the host of a site.
        case unicast(Int)
    }

    var kind: Kind
    /// The site whose host sends it.
    var origin: Int
    /// No two frames have the same.
    var number: UInt32

    private static let mark: [UInt8] = Array("CWSM".utf8)
    /// Local experimental Ethertype 1 (RFC 9542).
    private static let etherType: [UInt8] = [0x88, 0xB5]
    /// 239.1.0.0 and a group's number.
    static func group(_ number: Int) -> IPAddress { IPAddress(ipv4: 0xEF01_0000 + UInt32(number)) }
    /// The address of a site's host.
    static func address(_ site: Int) -> IPAddress { IPAddress(ipv4: 0x0A80_0001 + UInt32(site)) }
    static func host(_ site: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0000_0000 + UInt64(site + 1)) }

    /// The whole Ethernet frame.
    var bytes: [UInt8] {
        let body = SimulatedFrame.mark + big(UInt32(origin), 2) + big(number, 4)
        switch kind {
        case .broadcast: return padded(header(.broadcast) + SimulatedFrame.etherType + body + big(0xFFFF, 2))
        case .unicast(let site):
            return padded(header(SimulatedFrame.host(site)) + SimulatedFrame.etherType + body + big(UInt32(site), 2))
        case .feed(let group):
            let payload = body + [UInt8](repeating: 0x55, count: 90)
            // No UDP checksum (RFC 768): zero.
            let udp = big(5_000, 2) + big(5_000, 2) + big(UInt32(8 + payload.count), 2) + [0, 0] + payload
            var ip: [UInt8] = [0x45, 0] + big(UInt32(20 + udp.count), 2) + [0, 0, 0, 0, 8, 17, 0, 0]
            ip += big(UInt32(SimulatedFrame.address(origin).ipv4 ?? 0), 4) + big(0xEF01_0000 + UInt32(group), 4)
            let sum = stride(from: 0, to: 20, by: 2).reduce(0) { $0 + UInt32(ip[$1]) << 8 + UInt32(ip[$1 + 1]) }
            let folded = sum & 0xFFFF + sum >> 16
            ip.replaceSubrange(10..<12, with: big(~(folded & 0xFFFF + folded >> 16) & 0xFFFF, 2))
            return header(MACAddress(group: SimulatedFrame.group(group))) + [0x08, 0x00] + ip + udp
        }
    }

    init(_ kind: Kind, from origin: Int, number: UInt32) {
        self.kind = kind
        self.origin = origin
        self.number = number
    }

    /// `nil` for a frame that no simulated host has sent.
    init?(_ bytes: [UInt8]) {
        func value(_ at: Int, _ count: Int) -> Int { bytes[at..<(at + count)].reduce(0) { $0 << 8 | Int($1) } }
        guard bytes.count >= 60 else { return nil }
        let isFeed = value(12, 2) == 0x0800 && bytes[14] == 0x45 && bytes[23] == 17
        let start = isFeed ? 42 : 14
        guard isFeed || Array(bytes[12..<14]) == SimulatedFrame.etherType,
            Array(bytes[start..<(start + 4)]) == SimulatedFrame.mark
        else { return nil }
        origin = value(start + 4, 2)
        number = UInt32(value(start + 6, 4))
        let target = value(start + 10, 2)
        kind = isFeed ? .feed(value(30, 4) - 0xEF01_0000) : target == 0xFFFF ? .broadcast : .unicast(target)
    }

    private func header(_ destination: MACAddress) -> [UInt8] {
        let (to, from) = (destination.rawValue, SimulatedFrame.host(origin).rawValue)
        return (0..<6).map { UInt8(truncatingIfNeeded: to >> (40 - 8 * $0)) }
            + (0..<6).map { UInt8(truncatingIfNeeded: from >> (40 - 8 * $0)) }
    }

    private func padded(_ bytes: [UInt8]) -> [UInt8] { bytes + [UInt8](repeating: 0, count: max(0, 60 - bytes.count)) }

    private func big(_ value: UInt32, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * (count - 1 - $0))) }
    }
}
