// The snooper's ear and mouth on the LAN: what each message does, where it goes on, and what we say ourselves.

import Basics
import Buffers
import Wire

extension Snooper {
    /// A frame that a lane punted: IGMP, MLD, router discovery or PIM, as the port received it. IGMP and MLD are ours to
    /// forward, the rest the lane has forwarded already.
    public mutating func handleFrame(_ bytes: [UInt8], on port: PortIndex, at now: Instant) {
        take(bytes, on: port, at: now)
        settle(now)
    }

    /// Several at once, with the port of each: what follows from them is worked out once.
    public mutating func handleFrames(_ frames: [(bytes: [UInt8], port: PortIndex)], at now: Instant) {
        for frame in frames { take(frame.bytes, on: frame.port, at: now) }
        settle(now)
    }

    private mutating func take(_ bytes: [UInt8], on port: PortIndex, at now: Instant) {
        guard configuration.isEnabled, port.index < configuration.ports else { return }
        let (header, parsed, hello) = parse(bytes)
        guard let header else { return }
        if let hello {
            let key = SegmentKey(vlan: header.vlan, family: hello.source.family)
            addSegment(key, now)
            routers.handlePIMHello(
                from: hello.source, mac: header.source, holdTime: hello.holdTime, on: port, vlan: header.vlan, at: now)
            return
        }
        switch parsed {
        case .packet(let packet): handle(packet, header, bytes, port, now)
        case .refused(let refusal, _): count(counter(for: refusal), at: now)
        case .other: break
        }
    }

    private func parse(_ bytes: [UInt8]) -> (FrameHeader?, MembershipParse, PIMHello?) {
        bytes.withRawSpan { frame in
            guard let header = FrameHeader(frame) else { return (nil, .other, nil) }
            if let hello = PIM.parseHello(frame, header) { return (header, .other, hello) }
            return (header, MembershipPacket.parse(frame, header), nil)
        }
    }

    private func counter(for refusal: MembershipRefusal) -> SnoopCounter {
        switch refusal {
        case .badLength: .badLength
        case .badChecksum: .badChecksum
        case .queryLength: .queryLength
        case .fragment: .fragment
        case .badGroup: .badGroup
        }
    }

    private mutating func handle(
        _ packet: MembershipPacket, _ header: FrameHeader, _ bytes: [UInt8], _ port: PortIndex, _ now: Instant
    ) {
        let key = SegmentKey(vlan: header.vlan, family: packet.family)
        if configuration[key.family].isStrict {
            if packet.hopLimit != 1 { return count(.hopLimit, at: now) }
            if !packet.hasRouterAlert && !isFirstGeneration(packet.message) { return count(.noRouterAlert, at: now) }
        }
        switch packet.message {
        case .query(let query): handle(query, packet, header, bytes, port, key, now)
        case .report(let report): handle(report, packet, header, bytes, port, key, now)
        case .advertisement(let interval, _, _):
            addSegment(key, now)
            routers.handleAdvertisement(
                from: packet.source, mac: header.source, interval: interval, on: port, vlan: header.vlan, at: now)
        case .termination:
            routers.handleTermination(from: packet.source, on: port, vlan: header.vlan, at: now)
        case .solicitation: break
        }
    }

    /// IGMPv1 knows no Router Alert (RFC 1112).
    private func isFirstGeneration(_ message: MembershipMessage) -> Bool {
        switch message {
        case .query(let query): query.generation == .first
        case .report(let report): report.generation == .first
        case .advertisement, .solicitation, .termination: false
        }
    }

    // MARK: Queries

    private mutating func handle(
        _ query: MembershipQuery, _ packet: MembershipPacket, _ header: FrameHeader, _ bytes: [UInt8], _ port: PortIndex,
        _ key: SegmentKey, _ now: Instant
    ) {
        if query.group == nil && packet.destination != .allHosts(key.family) { return count(.misaddressedQuery, at: now) }
        if key.family == .v6 && !packet.source.isUnspecified && !packet.source.isLinkLocalUnicast {
            return count(.queryNotLinkLocal, at: now)
        }
        addSegment(key, now)
        if packet.source.isUnspecified {
            count(.zeroQuery, at: now)
        } else if let querier = segments[key]?.querier, packet.source != querier.address {
            if querier.caps(query) { count(.cappedQuerier, at: now) }
            routers.handleQuery(
                from: packet.source, mac: header.source, on: port, vlan: header.vlan,
                expiresAfter: querier.expiry(query), at: now)
        }
        // Not against what we speak at the moment: an older querier has made us speak its version.
        if query.generation < configuration[key.family].generation { count(.olderQuerier, at: now) }
        segments[key]?.querier.handleQuery(query, from: packet.source, at: now)
        if query.group != nil, let querier = segments[key]?.querier, !querier.isQuerier {
            // His hosts have as long to answer as he gives them, which may be longer than our K10 (RFC 2236 section 3).
            var context = context(key, at: now)
            let answered = query.maxResponse * Int64(context.timing.lastMemberQueryCount)
            context.timing.setLastMemberQueryTime = max(context.timing.lastMemberQueryTime, answered)
            groups.handleQuery(query, vlan: header.vlan, context, at: now)
        }
        if query.group == nil || routers.ports(header.vlan, key.family).contains(port) {
            segments[key]?.proxy.handleQuery(query, at: now)
        }
        // Hosts on every other port have to hear it.
        let others = PortSet(first: configuration.ports).removing(port)
        send(bytes, to: others)
    }

    // MARK: Reports

    private mutating func handle(
        _ report: MembershipReport, _ packet: MembershipPacket, _ header: FrameHeader, _ bytes: [UInt8], _ port: PortIndex,
        _ key: SegmentKey, _ now: Instant
    ) {
        addSegment(key, now)
        // To routers, never to hosts: a host that hears another's report keeps its own (rule 1).
        let toRouters = routers.ports(header.vlan, key.family).union(configuration.reportFloodPorts).removing(port)
        send(bytes, to: toRouters)
        guard admit(report, on: port, at: now) else {
            count(.reportRate, at: now)
            return groups.overflow(
                vlan: header.vlan, family: key.family, port: port, context(key, at: now), at: now)
        }
        count(.unknownRecord, report.ignored.unknownKind, at: now)
        count(.notAGroup, report.ignored.notAGroup, at: now)
        count(.unsnoopedGroup, report.ignored.unsnooped, at: now)
        count(.badSource, report.ignored.badSource, at: now)
        groups.handleReport(
            report, from: HostIdentity(mac: header.source, address: packet.source), on: port, vlan: header.vlan,
            context(key, at: now), at: now)
    }

    // MARK: What we say

    mutating func sendGeneral(_ query: MembershipQuery, _ source: IPAddress, _ key: SegmentKey) {
        for index in 0..<configuration.ports { send(query, source, key, PortIndex(index)) }
    }

    mutating func sendSpecific(_ query: SpecificQuery, _ now: Instant) {
        let key = SegmentKey(vlan: query.vlan, family: query.group.family)
        guard let querier = segments[key]?.querier, querier.isQuerier else { return }
        let timing = querier.timing
        // An older version knows no question about sources: the group's hosts are asked.
        let message = MembershipQuery(
            generation: querier.generation, group: query.group, sources: querier.generation == .third ? query.sources : [],
            maxResponse: timing.lastMemberQueryInterval, suppress: query.suppress,
            robustness: timing.robustness > 7 ? 0 : UInt8(timing.robustness), queryInterval: timing.queryInterval)
        // As many as a LAN's MTU takes in one query (RFC 9776 section 4.1.8).
        let most = MembershipFrame.maximumQuerySources(key.family)
        guard message.sources.count > most else { return send(message, querier.address, key, query.port) }
        for start in stride(from: 0, to: message.sources.count, by: most) {
            var part = message
            part.sources = Array(message.sources[start..<min(start + most, message.sources.count)])
            send(part, querier.address, key, query.port)
        }
    }

    private mutating func send(_ query: MembershipQuery, _ source: IPAddress, _ key: SegmentKey, _ port: PortIndex) {
        let bytes = MembershipFrame.query(query, source: source, from: configuration.address(on: port), vlan: key.vlan)
        send(bytes, to: PortSet(port))
    }

    /// As an IGMPv3 or MLDv2 host, to router ports only (rule 35).
    mutating func sendReports(_ records: [GroupRecord], _ key: SegmentKey) {
        for port in routers.ports(key.vlan, key.family).members {
            let reports = MembershipFrame.reports(
                records, source: configuration.source(key.family), from: configuration.address(on: port), vlan: key.vlan)
            for bytes in reports { send(bytes, to: PortSet(port)) }
        }
    }
}
