// Whole Ethernet frames of IGMP, MLD, router discovery and PIM Hello, as a gateway, its simulator and its tests put them on a
// LAN: TTL or hop limit 1, Router Alert, TOS 0xc0 (RFC 9776 section 4, RFC 9777 section 5; rule 26). The IPv6 traffic class
// is 0, as the Linux kernel sends MLD. Nothing is padded. A report that does not fit is split (RFC 9776 section 4.2.16).

import Basics

extension MACAddress {
    /// The group address on the LAN of an IP group: 01:00:5e and 23 bits (RFC 1112 section 6.4), or 33:33 and 32 bits (RFC 2464
    /// section 7).
    @inlinable
    public init(group: IPAddress) {
        if let ipv4 = group.ipv4 {
            self.init(rawValue: 0x0100_5E00_0000 | UInt64(ipv4 & 0x7F_FFFF))
        } else {
            self.init(rawValue: 0x3333_0000_0000 | group.low & 0xFFFF_FFFF)
        }
    }
}

/// Encoders of whole frames. `source` decides the family; every group and source list is of that family (precondition).
public enum MembershipFrame {
    /// Octets of IP packet that every frame may hold, whatever `mtu` says: room for one record with one source.
    public static let leastMTU = 128

    /// Where IGMPv3 and MLDv2 reports go: 224.0.0.22 or ff02::16.
    public static func allReporters(_ family: IPFamily) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0xE000_0016) : IPAddress(high: 0xFF02_0000_0000_0000, low: 0x16)
    }

    // MARK: Queries

    /// Sources that one query of the third generation can name within `mtu` octets of IP packet.
    public static func maximumQuerySources(_ family: IPFamily, mtu: Int = 1500) -> Int {
        let fixed = family == .v4 ? IGMP.queryByteCount : MLD.queryByteCount
        return (room(family, mtu: mtu) - fixed) / family.addressByteCount
    }

    /// A query in its generation's form, to everybody or to its group. Precondition: at most
    /// `maximumQuerySources(_:mtu: 65535)` sources; who keeps to a LAN's own limit splits the list by `maximumQuerySources`.
    public static func query(
        _ query: MembershipQuery, source: IPAddress, from mac: MACAddress, vlan: VLAN
    ) -> [UInt8] {
        let family = source.family
        // A first generation's query has no group.
        let group = family == .v4 && query.generation == .first ? nil : query.group
        let destination = group ?? .allHosts(family)
        if family == .v4 {
            return igmp(IGMP.byteCount(of: query), source, destination, mac, vlan) { buffer, offset in
                IGMP.emit(query, into: &buffer, at: offset)
            }
        }
        return mld(MLD.byteCount(of: query), source, destination, mac, vlan) { pseudoHeader, buffer, offset in
            MLD.emit(query, pseudoHeader, into: &buffer, at: offset)
        }
    }

    // MARK: Reports

    /// IGMPv3 or MLDv2 reports with all records, in as many packets of at most `mtu` octets of IP as it takes, in the records'
    /// order. A record too long for a packet is split, but for EXCLUDE, of which the last sources are left out: their data
    /// comes though it need not.
    public static func reports(
        _ records: [GroupRecord], source: IPAddress, from mac: MACAddress, vlan: VLAN, mtu: Int = 1500
    ) -> [[UInt8]] {
        let family = source.family
        return split(records, family, room: room(family, mtu: mtu) - IGMP.byteCount).map { records in
            let count = records.reduce(IGMP.byteCount) {
                $0 + MembershipPart.byteCount(sources: $1.sources.count, family)
            }
            if family == .v4 {
                return igmp(count, source, allReporters(family), mac, vlan) { buffer, offset in
                    IGMP.emit(records, into: &buffer, at: offset)
                }
            }
            return mld(count, source, allReporters(family), mac, vlan) { pseudoHeader, buffer, offset in
                MLD.emit(records, pseudoHeader, into: &buffer, at: offset)
            }
        }
    }

    /// A host's join in its generation's form: IS_EX{} for the third. MLD's first generation is the second.
    public static func report(
        generation: MembershipGeneration, group: IPAddress, source: IPAddress, from mac: MACAddress, vlan: VLAN
    ) -> [UInt8] {
        if generation == .third { return single(GroupRecord(.isExclude, group), source, mac, vlan) }
        if let ipv4 = group.ipv4 {
            return igmp(IGMP.byteCount, source, group, mac, vlan) { buffer, offset in
                IGMP.emit(generation == .first ? .v1Report : .v2Report, group: ipv4, into: &buffer, at: offset)
            }
        }
        return mld(MLD.byteCount, source, group, mac, vlan) { pseudoHeader, buffer, offset in
            MLD.emit(.listenerReport, group: group, pseudoHeader, into: &buffer, at: offset)
        }
    }

    /// A host's leave to all routers: IGMPv2's or MLDv1's Done; TO_IN{} for the third generation. IGMPv1 has none, so the
    /// first generation's is the second's.
    public static func leave(
        generation: MembershipGeneration = .second, group: IPAddress, source: IPAddress, from mac: MACAddress, vlan: VLAN
    ) -> [UInt8] {
        if generation == .third { return single(GroupRecord(.toInclude, group), source, mac, vlan) }
        let destination = RouterDiscovery.allRouters(source.family)
        if let ipv4 = group.ipv4 {
            return igmp(IGMP.byteCount, source, destination, mac, vlan) { buffer, offset in
                IGMP.emit(.leave, group: ipv4, into: &buffer, at: offset)
            }
        }
        return mld(MLD.byteCount, source, destination, mac, vlan) { pseudoHeader, buffer, offset in
            MLD.emit(.listenerDone, group: group, pseudoHeader, into: &buffer, at: offset)
        }
    }

    // MARK: Routers

    /// A multicast router's advertisement to all snoopers; times in whole seconds.
    public static func advertisement(
        interval: Interval, queryInterval: Interval, robustness: UInt16, source: IPAddress, from mac: MACAddress, vlan: VLAN
    ) -> [UInt8] {
        let count = RouterDiscovery.advertisementByteCount
        return discovery(
            count, .advertisement, .multicastRouterAdvertisement, RouterDiscovery.allSnoopers(source.family), source, mac, vlan
        ) { kind, buffer, offset in
            RouterDiscovery.emitAdvertisement(
                kind, interval: interval, queryInterval: queryInterval, robustness: robustness, into: &buffer, at: offset)
        }
    }

    /// A request for advertisements, to all routers.
    public static func solicitation(source: IPAddress, from mac: MACAddress, vlan: VLAN) -> [UInt8] {
        discovery(
            RouterDiscovery.shortByteCount, .solicitation, .multicastRouterSolicitation,
            RouterDiscovery.allRouters(source.family), source, mac, vlan
        ) { kind, buffer, offset in RouterDiscovery.emitShort(kind, into: &buffer, at: offset) }
    }

    /// A multicast router's goodbye to all snoopers.
    public static func termination(source: IPAddress, from mac: MACAddress, vlan: VLAN) -> [UInt8] {
        discovery(
            RouterDiscovery.shortByteCount, .termination, .multicastRouterTermination,
            RouterDiscovery.allSnoopers(source.family), source, mac, vlan
        ) { kind, buffer, offset in RouterDiscovery.emitShort(kind, into: &buffer, at: offset) }
    }

    /// A PIM Hello from `hello.source` to all PIM routers. PIM has no Router Alert.
    public static func pimHello(_ hello: PIMHello, from mac: MACAddress, vlan: VLAN) -> [UInt8] {
        let destination = PIM.allRouters(hello.source.family)
        let count = PIM.byteCount(of: hello)
        let header = FrameHeader(
            destination: MACAddress(group: destination), source: mac, vlan: vlan,
            etherType: hello.source.family == .v4 ? .ipv4 : .ipv6)
        if let from = hello.source.ipv4, let to = destination.ipv4 {
            let packet = IPv4.Header(
                source: from, destination: to, transport: .pim, timeToLive: 1, trafficClass: 0xC0, payloadCount: count)
            return build(header, IPv4.headerByteCount + count) { buffer, offset in
                guard let start = packet.emit(into: &buffer, at: offset) else { return nil }
                return PIM.emit(hello, Checksum(), into: &buffer, at: start)
            }
        }
        let packet = IPv6.Header(
            source: IPv6.Address(hello.source), destination: IPv6.Address(destination), nextHeader: .pim, hopLimit: 1,
            payloadCount: count)
        let pseudoHeader = Checksum.pseudoHeader(
            source: packet.source, destination: packet.destination, protocol: .pim, length: count)
        return build(header, IPv6.headerByteCount + count) { buffer, offset in
            guard let start = packet.emit(into: &buffer, at: offset) else { return nil }
            return PIM.emit(hello, pseudoHeader, into: &buffer, at: start)
        }
    }

    // MARK: Splitting

    /// Octets of IGMP or ICMPv6 message in a packet of `mtu` octets.
    private static func room(_ family: IPFamily, mtu: Int) -> Int {
        let headers =
            family == .v4 ? IPv4.headerByteCount + RouterAlert.byteCount : IPv6.headerByteCount + HopByHop.byteCount
        return min(max(mtu, leastMTU), 0xFFFF) - headers
    }

    /// The records of each report, none longer than `room` octets.
    private static func split(_ records: [GroupRecord], _ family: IPFamily, room: Int) -> [[GroupRecord]] {
        var reports: [[GroupRecord]] = []
        var used = room
        func append(_ record: GroupRecord) {
            let count = MembershipPart.byteCount(sources: record.sources.count, family)
            if used + count > room {
                reports.append([])
                used = 0
            }
            reports[reports.count - 1].append(record)
            used += count
        }
        let most = (room - MembershipPart.byteCount(sources: 0, family)) / family.addressByteCount
        for record in records {
            if record.sources.count <= most {
                append(record)
            } else if record.kind == .isExclude || record.kind == .toExclude {
                append(GroupRecord(record.kind, record.group, Array(record.sources.prefix(most))))
            } else {
                for start in stride(from: 0, to: record.sources.count, by: most) {
                    append(GroupRecord(record.kind, record.group, Array(record.sources[start...].prefix(most))))
                }
            }
        }
        return reports
    }

    // MARK: Headers

    private static func single(
        _ record: GroupRecord, _ source: IPAddress, _ mac: MACAddress, _ vlan: VLAN
    ) -> [UInt8] {
        reports([record], source: source, from: mac, vlan: vlan)[0]
    }

    /// A message of router discovery in either family.
    private static func discovery(
        _ count: Int, _ igmpKind: IGMP.Kind, _ icmpKind: ICMPv6.Kind, _ destination: IPAddress, _ source: IPAddress,
        _ mac: MACAddress, _ vlan: VLAN, _ body: (UInt8, inout MutableRawSpan, Int) -> Int?
    ) -> [UInt8] {
        if source.family == .v4 {
            return igmp(count, source, destination, mac, vlan) { buffer, offset in
                guard let end = body(igmpKind.rawValue, &buffer, offset) else { return nil }
                return IGMP.storeChecksum(in: &buffer, at: offset, end: end)
            }
        }
        return mld(count, source, destination, mac, vlan) { pseudoHeader, buffer, offset in
            guard let end = body(icmpKind.rawValue, &buffer, offset) else { return nil }
            return ICMPv6.storeChecksum(in: &buffer, at: offset, end: end, pseudoHeader)
        }
    }

    /// A frame with `count` octets of IGMP, which `body` writes.
    private static func igmp(
        _ count: Int, _ source: IPAddress, _ destination: IPAddress, _ mac: MACAddress, _ vlan: VLAN,
        _ body: (inout MutableRawSpan, Int) -> Int?
    ) -> [UInt8] {
        guard let from = source.ipv4, let to = destination.ipv4 else { preconditionFailure("IGMP needs IPv4 addresses") }
        let header = FrameHeader(
            destination: MACAddress(group: destination), source: mac, vlan: vlan, etherType: .ipv4)
        // Identification 0 and DF, as the Linux kernel sends IGMP: atomic datagrams need no identification (RFC 6864).
        let packet = IPv4.Header(
            source: from, destination: to, transport: .igmp, timeToLive: 1, trafficClass: 0xC0, payloadCount: count)
        return build(header, IPv4.headerByteCount + RouterAlert.byteCount + count) { buffer, offset in
            guard let start = packet.emitWithRouterAlert(into: &buffer, at: offset) else { return nil }
            return body(&buffer, start)
        }
    }

    /// A frame with `count` octets of ICMPv6 behind a hop-by-hop header, which `body` writes.
    private static func mld(
        _ count: Int, _ source: IPAddress, _ destination: IPAddress, _ mac: MACAddress, _ vlan: VLAN,
        _ body: (Checksum, inout MutableRawSpan, Int) -> Int?
    ) -> [UInt8] {
        precondition(source.family == .v6 && destination.family == .v6, "MLD needs IPv6 addresses")
        let header = FrameHeader(
            destination: MACAddress(group: destination), source: mac, vlan: vlan, etherType: .ipv6)
        let packet = IPv6.Header(
            source: IPv6.Address(source), destination: IPv6.Address(destination), nextHeader: .hopByHop, hopLimit: 1,
            payloadCount: HopByHop.byteCount + count)
        let pseudoHeader = Checksum.pseudoHeader(
            source: packet.source, destination: packet.destination, protocol: .icmpv6, length: count)
        return build(header, IPv6.headerByteCount + HopByHop.byteCount + count) { buffer, offset in
            guard let options = packet.emit(into: &buffer, at: offset),
                let start = HopByHop.emitRouterAlert(nextHeader: .icmpv6, into: &buffer, at: options)
            else { return nil }
            return body(pseudoHeader, &buffer, start)
        }
    }

    /// A frame of exactly `count` octets after the Ethernet header, which `body` writes.
    private static func build(
        _ header: FrameHeader, _ count: Int, _ body: (inout MutableRawSpan, Int) -> Int?
    ) -> [UInt8] {
        var frame = [UInt8](repeating: 0, count: header.payloadOffset + count)
        var octets = frame.mutableSpan
        // SAFETY: octets have no padding and every value of one is valid.
        var bytes = unsafe octets.mutableBytes
        let end = header.emit(into: &bytes, at: 0).flatMap { body(&bytes, $0) }
        precondition(end == bytes.byteCount, "an address of the other family, or a packet over 65535 octets")
        return frame
    }
}
