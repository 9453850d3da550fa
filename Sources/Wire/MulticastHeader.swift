// What a frame to a group MAC address is, as far as forwarding cares: which group, which source, and whether control has to
// see it. Lanes ask this of every multicast frame, so it allocates nothing, and a datagram of a feed is classified by a
// handful of loads; only extension headers are walked, out of line.

import Basics

/// How a multicast frame is to be treated, with its group and source.
public struct MulticastHeader: BitwiseCopyable, Sendable {
    public enum Kind: UInt8, CaseIterable, Hashable, Sendable, BitwiseCopyable {
        /// A packet to a snooped group: forwarded by group and source (rule 14). Neighbour discovery too.
        case data
        /// A packet to 224.0.0.0/24 or ff02::1 (rule 11).
        case everywhere
        /// IGMP or MLD: query, report, leave. IGMP that is a fragment, cut, or behind a broken header, and first fragments of
        /// MLD too: the parser refuses and counts them.
        case membership
        /// Multicast router discovery (RFC 4286).
        case discovery
        /// PIM to 224.0.0.13 or ff02::d.
        case pim
        /// IGMP of a type that is not known: flooded (rule 5).
        case unknownIGMP
        /// A packet to an IPv6 group of scope 0 or 1: never valid (rule 15).
        case invalidScope
        /// Not a multicast packet in a frame to 01:00:5e or 33:33, or with a broken IP header.
        case other
    }

    public var kind: Kind
    /// The packet's destination; :: where `kind` is `.other`.
    public var group: IPAddress
    /// The packet's source; :: where `kind` is `.other`.
    public var source: IPAddress

    /// Classifies a frame whose header is `header`. O(1), but for extension headers.
    @inlinable @inline(always)
    public init(_ frame: RawSpan, _ header: FrameHeader) {
        kind = .other
        group = IPAddress(high: 0, low: 0)
        source = IPAddress(high: 0, low: 0)
        let offset = header.payloadOffset
        if header.etherType == .ipv4 {
            guard frame.holds(IPv4.headerByteCount, at: offset) else { return }
            classifyIPv4(frame, offset)
            if header.destination.rawValue >> 24 != 0x01_005E { keepMembership() }
        } else if header.etherType == .ipv6 {
            guard frame.holds(IPv6.headerByteCount, at: offset) else { return }
            classifyIPv6(frame, offset)
            if header.destination.rawValue >> 32 != 0x3333 { keepMembership() }
        }
    }

    /// In a frame to another MAC address, the broadcast one say, only IGMP and MLD are more than `.other`: hosts take them from
    /// such frames too, and they never cross (rule 31).
    @inlinable @inline(__always)
    mutating func keepMembership() {
        if kind == .membership { return }
        kind = .other
        group = IPAddress(high: 0, low: 0)
        source = IPAddress(high: 0, low: 0)
    }

    /// A packet whose first 20 octets are there.
    @inlinable @inline(always)
    mutating func classifyIPv4(_ frame: RawSpan, _ offset: Int) {
        // SAFETY: the caller has checked 20 octets from `offset`.
        let first = unsafe frame.loadBE32(unchecked: offset &+ IPv4.Field.versionAndLength)
        let transport = unsafe IPProtocol(rawValue: frame.loadByte(unchecked: offset &+ IPv4.Field.transport))
        let from = unsafe frame.loadBE32(unchecked: offset &+ IPv4.Field.source)
        let to = unsafe frame.loadBE32(unchecked: offset &+ IPv4.Field.destination)
        guard first >> 28 == 4, to >> 28 == 0xE else { return }
        let headerLength = Int(first >> 24 & 0x0F) &* 4
        let isSound =
            headerLength >= IPv4.headerByteCount && headerLength <= Int(first & 0xFFFF)
            && frame.holds(headerLength, at: offset)
        guard isSound || transport == .igmp else { return }
        group = IPAddress(ipv4: to)
        source = IPAddress(ipv4: from)
        if transport == .igmp {
            kind = MulticastHeader.classifyIGMP(frame, offset, headerLength, isSound)
        } else if to >> 8 == 0xE0_0000 {
            kind = transport == .pim && to == 0xE000_000D ? .pim : .everywhere
        } else {
            kind = .data
        }
    }

    /// A packet whose first 40 octets are there.
    @inlinable @inline(always)
    mutating func classifyIPv6(_ frame: RawSpan, _ offset: Int) {
        // SAFETY: the caller has checked 40 octets from `offset`.
        let to = unsafe IPAddress(
            high: frame.loadBE64(unchecked: offset &+ IPv6.Field.destination),
            low: frame.loadBE64(unchecked: offset &+ IPv6.Field.destination &+ 8))
        let from = unsafe IPAddress(
            high: frame.loadBE64(unchecked: offset &+ IPv6.Field.source),
            low: frame.loadBE64(unchecked: offset &+ IPv6.Field.source &+ 8))
        let version = unsafe frame.loadByte(unchecked: offset &+ IPv6.Field.versionClassFlow) >> 4
        guard version == 6, to.high >> 56 == 0xFF else { return }
        let next = unsafe IPProtocol(rawValue: frame.loadByte(unchecked: offset &+ IPv6.Field.nextHeader))
        // A mapped source would be taken for IPv4's. MLD from one is left to the parser, which refuses it.
        let isMapped = from.high == 0 && from.low >> 32 == 0xFFFF
        var kind: Kind
        if to.isInvalidScopeGroup {
            kind = .invalidScope
        } else {
            kind = to.high == 0xFF02_0000_0000_0000 && to.low == 1 ? .everywhere : .data
            switch next {
            case .icmpv6, .hopByHop, .destinationOptions, .routing, .authentication, .fragment, .pim:
                kind = MulticastHeader.classifyIPv6Control(frame, offset, to) ?? kind
            default: break
            }
        }
        guard !isMapped || kind == .membership || kind == .discovery else { return }
        self.kind = kind
        group = to
        source = from
    }

    /// IGMP by its type; what cannot be read is for the parser to refuse.
    @inlinable @inline(never)
    static func classifyIGMP(_ frame: RawSpan, _ offset: Int, _ headerLength: Int, _ isSound: Bool) -> Kind {
        guard isSound, let fragment = frame.loadBE16(at: offset &+ IPv4.Field.fragment), fragment & 0x3FFF == 0,
            let total = frame.loadBE16(at: offset &+ IPv4.Field.totalLength), Int(total) > headerLength,
            let type = frame.loadByte(at: offset &+ headerLength)
        else { return .membership }
        let kind = IGMP.Kind(rawValue: type)
        return kind.isMembership ? .membership : kind.isDiscovery ? .discovery : .unknownIGMP
    }

    /// MLD, router discovery and PIM behind whatever extension headers; `nil` for anything else, neighbour discovery above all.
    @inlinable @inline(never)
    static func classifyIPv6Control(_ frame: RawSpan, _ offset: Int, _ to: IPAddress) -> Kind? {
        guard frame.holds(IPv6.headerByteCount, at: offset) else { return nil }
        // SAFETY: `holds` has checked that the packet begins inside the frame.
        let packet = unsafe frame.slice(unchecked: offset, frame.byteCount)
        guard let view = IPv6.View(packet), let found = view.findTransport(), found.fragmentOffset == 0 else { return nil }
        if found.transport == .pim { return to.high == 0xFF02_0000_0000_0000 && to.low == 0xD ? .pim : nil }
        guard found.transport == .icmpv6, let type = view.payload(of: found).loadByte(at: 0) else { return nil }
        let kind = ICMPv6.Kind(rawValue: type)
        return kind.isMembership ? .membership : kind.isDiscovery ? .discovery : nil
    }
}
