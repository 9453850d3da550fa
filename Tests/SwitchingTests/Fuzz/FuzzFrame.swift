// Frames around octets that a fuzzer made up, with headers that are in order, so that what is fuzzed is not lost to a wrong
// length or checksum long before it is looked at.

import Basics
import Wire

/// The headers that an input chooses.
struct FuzzFrame {
    var family: IPFamily
    var source: IPAddress
    var destination: IPAddress
    var mac = MACAddress(rawValue: 0x0200_0000_0101)
    var vlan = VLAN.untagged
    var hopLimit: UInt8 = 1
    var hasRouterAlert = true
    /// The message's checksum is put right.
    var mendsChecksum = true
    /// Octets after the packet, as Ethernet pads.
    var padding = 0

    /// The frame with `message` as IGMP or ICMPv6.
    func bytes(_ message: [UInt8]) -> [UInt8] {
        var message = message
        if mendsChecksum, message.count >= 4 {
            message[2] = 0
            message[3] = 0
            let field = checksum(of: message)
            message[2] = UInt8(truncatingIfNeeded: field >> 8)
            message[3] = UInt8(truncatingIfNeeded: field)
        }
        let count = headerCount + message.count
        var frame = [UInt8](repeating: 0, count: count + padding)
        let end = frame.withMutableRawSpan { emitHeaders(message.count, into: &$0) }
        precondition(end == headerCount)
        frame.replaceSubrange(headerCount..<count, with: message)
        return frame
    }

    private var ethernet: FrameHeader {
        FrameHeader(
            destination: destination.isMulticast ? MACAddress(group: destination) : MACAddress(rawValue: 0x0200_0000_0102),
            source: mac, vlan: vlan, etherType: family == .v4 ? .ipv4 : .ipv6)
    }

    private var headerCount: Int {
        let option =
            family == .v4 ? (hasRouterAlert ? RouterAlert.byteCount : 0) : (hasRouterAlert ? HopByHop.byteCount : 0)
        return ethernet.payloadOffset + (family == .v4 ? IPv4.headerByteCount : IPv6.headerByteCount) + option
    }

    private func emitHeaders(_ count: Int, into buffer: inout MutableRawSpan) -> Int? {
        guard let start = ethernet.emit(into: &buffer) else { return nil }
        if let from = source.ipv4, let to = destination.ipv4 {
            let header = IPv4.Header(
                source: from, destination: to, transport: .igmp, timeToLive: hopLimit, trafficClass: 0xC0, payloadCount: count)
            return hasRouterAlert ? header.emitWithRouterAlert(into: &buffer, at: start) : header.emit(into: &buffer, at: start)
        }
        let option = hasRouterAlert ? HopByHop.byteCount : 0
        let header = IPv6.Header(
            source: IPv6.Address(source), destination: IPv6.Address(destination),
            nextHeader: hasRouterAlert ? .hopByHop : .icmpv6, hopLimit: hopLimit, payloadCount: option + count)
        guard let end = header.emit(into: &buffer, at: start) else { return nil }
        return hasRouterAlert ? HopByHop.emitRouterAlert(nextHeader: .icmpv6, into: &buffer, at: end) : end
    }

    private func checksum(of message: [UInt8]) -> UInt16 {
        var checksum =
            family == .v4
            ? Checksum()
            : Checksum.pseudoHeader(
                source: IPv6.Address(source), destination: IPv6.Address(destination), protocol: .icmpv6, length: message.count)
        message.withRawSpan { checksum.add($0) }
        return checksum.field
    }
}

/// The addresses that inputs choose from, by small numbers, so that a fuzzer meets the same one again.
enum FuzzAddress {
    /// 239.1.1.1 to 239.1.1.4, 232.1.1.1 and 232.1.1.2; with IPv6's ff05::1 … and ff35::1 …
    static func group(_ number: Int, _ family: IPFamily) -> IPAddress {
        let number = number % 6
        if family == .v4 {
            return IPAddress(ipv4: number < 4 ? 0xEF01_0101 + UInt32(number) : 0xE801_0101 + UInt32(number - 4))
        }
        return number < 4
            ? IPAddress(high: 0xFF05_0000_0000_0000, low: UInt64(number + 1))
            : IPAddress(high: 0xFF35_0000_0000_0000, low: UInt64(number - 3))
    }

    /// 198.51.100.n or 2001:db8::n, from 1 on.
    static func source(_ number: Int, _ family: IPFamily) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xC633_6401 + UInt32(number % 8))
            : IPAddress(high: 0x2001_0DB8_0000_0000, low: UInt64(number % 8 + 1))
    }

    /// A host or a router: the unspecified address, two below the snooper's own, two above, one that is no host's.
    static func host(_ number: Int, _ family: IPFamily) -> IPAddress {
        switch (number % 6, family) {
        case (0, _): .unspecified(family)
        case (5, .v4): IPAddress(ipv4: 0xFFFF_FFFF)
        case (5, .v6): IPAddress(high: 0x2001_0DB8_0000_0000, low: 0xFFFF)
        case (let number, .v4): IPAddress(ipv4: 0xA9FE_0000 + UInt32(number) * (number < 3 ? 1 : 0x4000))
        case (let number, .v6):
            IPAddress(high: 0xFE80_0000_0000_0000, low: UInt64(number) * (number < 3 ? 1 : 0x1000_0000_0000_0000))
        }
    }

    /// Where a message may go: everybody, a group, all reporters, all routers, a group that is no group's, one host.
    static func destination(_ number: Int, _ family: IPFamily) -> IPAddress {
        switch number % 7 {
        case 0: .allHosts(family)
        case 1: group(0, family)
        case 2: MembershipFrame.allReporters(family)
        case 3: family == .v4 ? IPAddress(ipv4: 0xE000_0002) : IPAddress(high: 0xFF02_0000_0000_0000, low: 2)
        case 4: family == .v4 ? IPAddress(ipv4: 0xE000_006A) : IPAddress(high: 0xFF02_0000_0000_0000, low: 0x6A)
        case 5: family == .v4 ? IPAddress(ipv4: 0xEFFF_FFFF) : IPAddress(high: 0xFF01_0000_0000_0000, low: 1)
        default: host(1, family)
        }
    }
}
