// From a whole Ethernet frame to what it says of memberships or router discovery: the headers before the message, and why it
// is refused if it is (rules 6, 8, 17 and 25; RFC 9776 section 4, RFC 9777 section 5). Lenient where real senders are lax:
// the Router Alert, the hop limit and the source are reported, not required.

import Basics

extension MembershipPacket {
    /// What a frame turned out to be. Bounds are those of IP: octets after the packet are ignored. O(octets).
    public static func parse(_ frame: RawSpan, _ header: FrameHeader) -> MembershipParse {
        guard frame.holds(0, at: header.payloadOffset) else { return .other }
        // SAFETY: `holds` has checked that the payload begins inside the frame.
        let packet = unsafe frame.slice(unchecked: header.payloadOffset, frame.byteCount)
        switch header.etherType {
        case .ipv4: return parseIPv4(packet)
        case .ipv6: return parseIPv6(packet)
        default: return .other
        }
    }

    private static func parseIPv4(_ packet: RawSpan) -> MembershipParse {
        guard let view = IPv4.View(packet) else {
            // Version 4 and IGMP can be read, but not how long the header or the packet is.
            let isIGMP = packet.loadByte(at: IPv4.Field.transport) == IPProtocol.igmp.rawValue
            let isVersion4 = packet.loadByte(at: IPv4.Field.versionAndLength).map { $0 >> 4 == 4 } ?? false
            return isIGMP && isVersion4 ? .refused(.badLength, .v4) : .other
        }
        guard view.transport == .igmp else { return .other }
        guard view.totalLength <= packet.byteCount else { return .refused(.badLength, .v4) }
        guard view.isChecksumValid else { return .refused(.badChecksum, .v4) }
        guard !view.isFragment else { return .refused(.fragment, .v4) }
        switch IGMP.parse(view.payload) {
        case .unknown: return .other
        case .refused(let refusal): return .refused(refusal, .v4)
        case .message(let message):
            return .packet(
                MembershipPacket(
                    source: IPAddress(ipv4: view.source), destination: IPAddress(ipv4: view.destination),
                    hopLimit: view.timeToLive, hasRouterAlert: view.hasRouterAlert, message: message))
        }
    }

    private static func parseIPv6(_ packet: RawSpan) -> MembershipParse {
        guard let view = IPv6.View(packet), let transport = view.findTransport(), transport.transport == .icmpv6,
            transport.fragmentOffset == 0
        else { return .other }
        let message = view.payload(of: transport)
        guard let first = message.loadByte(at: ICMPv6.Field.kind) else { return .other }
        let kind = ICMPv6.Kind(rawValue: first)
        guard kind.isMembership || kind.isDiscovery else { return .other }
        guard !transport.isFragment else { return .refused(.fragment, .v6) }
        guard view.payloadLength <= packet.byteCount - IPv6.headerByteCount else { return .refused(.badLength, .v6) }
        let source = IPAddress(view.source)
        let destination = IPAddress(view.destination)
        // A mapped address in an IPv6 header would be taken for IPv4's (RFC 4291 section 2.5.5.2).
        guard source.family == .v6, destination.family == .v6 else { return .refused(.badLength, .v6) }
        switch MLD.parse(message, view.pseudoHeader(for: .icmpv6, length: message.byteCount)) {
        case .unknown: return .other
        case .refused(let refusal): return .refused(refusal, .v6)
        case .message(let message):
            return .packet(
                MembershipPacket(
                    source: source, destination: destination, hopLimit: view.hopLimit,
                    hasRouterAlert: view.hasMulticastRouterAlert, message: message))
        }
    }
}
