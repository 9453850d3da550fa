// Whole paths for multicast: host – gateway – mesh – gateway – host, on the virtual clock, with hosts, groups and sources
// that are numbers, times in seconds since the scenario began, and every answer as a line of text, so that a scenario reads
// like its description. The same scenario runs for both families.
//
//     report(.isInclude, [1, 2], at: 0)      a host at site 1, port 0, says it in a real frame
//     reach(from: 1) == "1.0 2.0"            a frame of source 1 came out of port 0 at sites 1 and 2, and nowhere else
//     state() == "INCLUDE 1@270 2@270"       the group on that port, with the times at which its timers run out
//     heard() == ["@0 general v3"]           what was said on that port since it was last asked

import Basics
import Buffers
import Gateway
import Settings
import Switching
import Testing
import Wire

final class ScenarioMesh {
    let mesh: VirtualMesh
    let family: IPFamily
    /// The scope of IPv6 groups: 5 for the site, 2 for the link.
    var scope: UInt64 = 5
    private let epoch = Instant.zero + ScenarioMesh.lead
    private var number: UInt32 = 0
    /// Deliveries that `heard` has told, by site and port.
    private var told: [[Int]]

    /// What comes before a scenario's zero: sessions are up, and K1 general queries have had their K3. The next comes at 11.25.
    /// A scenario begins a second before its zero, to show what holds before anything is said.
    private static let lead = Interval.seconds(145)
    /// Octets of UDP payload: datagrams on the wire that are longer carry feeds, all others control.
    private static let payload = 600

    /// Where feeds come from, where hosts ask on three ports, and where nobody asks.
    static func threeSites(_ change: (inout MulticastSettings) -> Void = { _ in }) -> [SiteSetup] {
        [.snooping(change), .snooping(ports: 3, change), .snooping(change)]
    }

    init(_ family: IPFamily, _ setups: [SiteSetup]) throws {
        self.family = family
        mesh = VirtualMesh(setups)
        told = setups.map { [Int](repeating: 0, count: $0.ports) }
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        mesh.run(until: epoch - .seconds(1))
        for site in mesh.sites.indices { forget(site) }
    }

    convenience init(_ family: IPFamily, _ change: (inout MulticastSettings) -> Void = { _ in }) throws {
        try self.init(family, ScenarioMesh.threeSites(change))
    }

    // MARK: Names

    /// 239.20.0.n or ff05::20:n.
    func group(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xEF14_0000 | UInt32(number))
            : IPAddress(high: 0xFF00_0000_0000_0000 | scope << 48, low: 0x20_0000 | UInt64(number))
    }

    /// 192.0.2.n or 2001:db8:2::n.
    func source(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xC000_0200 | UInt32(number)) : IPAddress(high: 0x2001_0DB8_0002_0000, low: UInt64(number))
    }

    /// 10.0.0.n or fe80::n: the hosts', and those of queriers and routers.
    func address(_ number: Int) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0x0A00_0000 | UInt32(number)) : IPAddress(high: 0xFE80 << 48, low: UInt64(number))
    }

    private func mac(_ site: Int, _ number: Int) -> MACAddress { host(site, number) }

    func key(_ number: Int = 1, vlan: VLAN = .untagged) -> GroupKey { GroupKey(vlan, group(number)) }

    /// An instant as seconds since the scenario began: `271`, `31.25`.
    func text(_ instant: Instant) -> String {
        let milliseconds = (instant - epoch).nanoseconds / 1_000_000
        let rest = abs(milliseconds % 1000)
        if rest == 0 { return "\(milliseconds / 1000)" }
        var digits = String(String(1000 + rest).dropFirst())
        while digits.hasSuffix("0") { digits.removeLast() }
        return "\(milliseconds / 1000).\(digits)"
    }

    private func number(_ address: IPAddress) -> Int { Int(address.low & (address.isMulticast ? 0xFFFF : 0xFF)) }
    private func list(_ addresses: [IPAddress]) -> String { addresses.map { "\(number($0))" }.joined(separator: ",") }

    // MARK: The clock

    /// Runs to that time, and lets what follows from it get to every site.
    func wait(until seconds: Double) {
        advance(to: seconds)
        mesh.run(for: .milliseconds(20))
    }

    private func advance(to seconds: Double) {
        let instant = epoch + .milliseconds(Int64((seconds * 1000).rounded()))
        if instant < mesh.now { Issue.record("\(seconds) s is over: it is \(text(mesh.now)) s") }
        mesh.run(until: instant)
    }

    // MARK: What hosts and routers say

    /// Puts a frame on a LAN, and lets what follows from it get to every site.
    func put(_ frame: [UInt8], site: Int = 1, port: Int = 0, at seconds: Double) {
        advance(to: seconds)
        mesh.send(frame, site: site, port: port)
        mesh.run(for: .milliseconds(20))
    }

    /// A report of the third generation with one record.
    func report(
        _ kind: GroupRecordKind, _ sources: [Int] = [], group number: Int = 1, site: Int = 1, port: Int = 0, host: Int = 1,
        vlan: VLAN = .untagged, at seconds: Double
    ) {
        let frames = MembershipFrame.reports(
            [GroupRecord(kind, group(number), sources.map(source))], source: address(host), from: mac(site, host),
            vlan: vlan)
        for frame in frames { put(frame, site: site, port: port, at: seconds) }
    }

    /// A join as a host of a generation says it.
    func join(
        _ generation: MembershipGeneration = .third, group number: Int = 1, site: Int = 1, port: Int = 0, host: Int = 1,
        vlan: VLAN = .untagged, at seconds: Double
    ) {
        put(
            MembershipFrame.report(
                generation: generation, group: group(number), source: address(host), from: mac(site, host), vlan: vlan),
            site: site, port: port, at: seconds)
    }

    func leave(
        _ generation: MembershipGeneration = .third, group number: Int = 1, site: Int = 1, port: Int = 0, host: Int = 1,
        vlan: VLAN = .untagged, at seconds: Double
    ) {
        put(
            MembershipFrame.leave(
                generation: generation, group: group(number), source: address(host), from: mac(site, host), vlan: vlan),
            site: site, port: port, at: seconds)
    }

    /// A general query of another querier, or a specific one.
    func query(
        _ generation: MembershipGeneration = .third, group number: Int? = nil, from querier: Int = 1, site: Int = 1,
        port: Int = 0, vlan: VLAN = .untagged, at seconds: Double
    ) {
        let query = MembershipQuery(
            generation: generation, group: number.map(group), maxResponse: .seconds(10),
            robustness: generation == .third ? 2 : 0, queryInterval: generation == .third ? .seconds(125) : .zero)
        put(
            MembershipFrame.query(query, source: address(querier), from: mac(site, 200 + querier), vlan: vlan),
            site: site, port: port, at: seconds)
    }

    func hello(site: Int, port: Int = 0, vlan: VLAN = .untagged, holdTime: Interval? = .seconds(105), at seconds: Double) {
        put(
            MembershipFrame.pimHello(
                PIMHello(source: address(250), holdTime: holdTime), from: mac(site, 250), vlan: vlan),
            site: site, port: port, at: seconds)
    }

    /// A port's device goes down or comes up.
    func setPort(_ port: Int, site: Int = 1, isUp: Bool, at seconds: Double) {
        advance(to: seconds)
        mesh.sites[site].core.control.handlePort(PortIndex(port), isUp: isUp, at: mesh.now)
        mesh.flush(mesh.sites[site])
        mesh.run(for: .milliseconds(20))
    }

    // MARK: Feeds

    /// A UDP datagram of a source to a group.
    func datagram(
        from source: IPAddress, to group: IPAddress, vlan: VLAN = .untagged, destination: MACAddress? = nil
    ) -> [UInt8] {
        number += 1
        let header = FrameHeader(
            destination: destination ?? MACAddress(group: group), source: mac(0, 100), vlan: vlan,
            etherType: source.family == .v4 ? .ipv4 : .ipv6)
        let network = source.family == .v4 ? IPv4.headerByteCount : IPv6.headerByteCount
        let count = header.payloadOffset + network + UDP.headerByteCount + ScenarioMesh.payload
        var frame = [UInt8](repeating: 0, count: count)
        for index in 0..<4 { frame[count - 4 + index] = UInt8(truncatingIfNeeded: number >> UInt32(24 - 8 * index)) }
        frame.withMutableRawSpan { bytes in
            guard let offset = header.emit(into: &bytes), let start = emit(source, group, into: &bytes, at: offset) else {
                return
            }
            let datagram = UDP.Header(sourcePort: 40_000, destinationPort: 50_000, payloadCount: ScenarioMesh.payload)
            _ = datagram.emit(into: &bytes, at: start)
            _ = UDP.storeChecksum(in: &bytes, at: start, end: count, pseudoHeader(source, group))
        }
        return frame
    }

    private func emit(_ source: IPAddress, _ group: IPAddress, into bytes: inout MutableRawSpan, at offset: Int) -> Int? {
        let count = UDP.headerByteCount + ScenarioMesh.payload
        if let from = source.ipv4, let to = group.ipv4 {
            return IPv4.Header(source: from, destination: to, transport: .udp, payloadCount: count).emit(into: &bytes, at: offset)
        }
        return IPv6.Header(
            source: IPv6.Address(source), destination: IPv6.Address(group), nextHeader: .udp, payloadCount: count
        ).emit(into: &bytes, at: offset)
    }

    private func pseudoHeader(_ source: IPAddress, _ group: IPAddress) -> Checksum {
        let length = UDP.headerByteCount + ScenarioMesh.payload
        if let from = source.ipv4, let to = group.ipv4 {
            return .pseudoHeader(source: from, destination: to, protocol: .udp, length: length)
        }
        return .pseudoHeader(
            source: IPv6.Address(source), destination: IPv6.Address(group), protocol: .udp, length: length)
    }

    /// Sends one frame of a source to a group and says which ports it came out of, octet for octet: `1.0 2.0`, or `nowhere`.
    func reach(
        from source: Int, group number: Int = 1, site: Int = 0, port: Int = 0, vlan: VLAN = .untagged,
        _ location: SourceLocation = #_sourceLocation
    ) -> String {
        reach(datagram(from: self.source(source), to: group(number), vlan: vlan), site: site, port: port, location)
    }

    /// The same for any frame of more than 600 octets.
    ///
    /// Whatever the scenario, a frame crosses to a site once, only from where it was sent, and only if it is wanted there:
    /// what crossed must have come out of a port there, and what came out must have crossed.
    func reach(
        _ frame: [UInt8], site: Int = 0, port: Int = 0, _ location: SourceLocation = #_sourceLocation
    ) -> String {
        let counts = mesh.sites.map { $0.delivered.map(\.count) }
        let sent = mesh.sent.count
        mesh.send(frame, site: site, port: port)
        mesh.run(for: .milliseconds(20))
        var places: [String] = []
        var reached: [Int] = []
        for other in mesh.sites {
            for port in other.delivered.indices {
                let copies = other.delivered[port][counts[other.index][port]...].count { $0.bytes == frame }
                if copies == 0 { continue }
                places += Array(repeating: "\(other.index).\(port)", count: copies)
                if other.index != site && !reached.contains(other.index) { reached.append(other.index) }
            }
        }
        // A datagram that fills the path is a probe of its size: no frame of these is as long.
        let crossed = mesh.sent[sent...].filter { $0.bytes.count > ScenarioMesh.payload && $0.bytes.count < 1_472 }
        #expect(
            crossed.map(\.to).sorted() == reached, "sites it crossed to, and sites that put it on a LAN", sourceLocation: location
        )
        #expect(crossed.allSatisfy { $0.from == site }, "from the mesh never to the mesh", sourceLocation: location)
        return places.isEmpty ? "nowhere" : places.joined(separator: " ")
    }

    /// Those of `sources` whose frames come out of exactly `place`; the others' come out nowhere.
    func passing(
        _ sources: [Int], to place: String = "1.0", _ location: SourceLocation = #_sourceLocation
    ) -> [Int] {
        sources.filter { source in
            let reached = reach(from: source, location)
            #expect(reached == place || reached == "nowhere", sourceLocation: location)
            return reached == place
        }
    }

    // MARK: What is known

    /// `INCLUDE 1@270 2@270`; `EXCLUDE@320 1@270 -3`, where the sources with a minus are blocked; `none`.
    func state(_ number: Int = 1, site: Int = 1, port: Int = 0, vlan: VLAN = .untagged) -> String {
        guard let view = entry(number, site: site, port: port, vlan: vlan) else { return "none" }
        let head = view.mode == .include ? "INCLUDE" : "EXCLUDE@" + (view.groupTimer.map(text) ?? "never")
        let sources = view.sources.map { source in
            source.expires.map { "\(self.number(source.address))@\(text($0))" } ?? "-\(self.number(source.address))"
        }
        return ([head] + sources).joined(separator: " ")
    }

    func entry(_ number: Int = 1, site: Int = 1, port: Int = 0, vlan: VLAN = .untagged) -> GroupEntryView? {
        mesh.sites[site].core.control.snooper.groups.entry(key(number, vlan: vlan), on: PortIndex(port))
    }

    /// What a site knows that the others want of a group: `1: INCLUDE 1,2; 2: EXCLUDE 3`, or `nobody`.
    func wanted(_ number: Int = 1, at site: Int = 0, vlan: VLAN = .untagged) -> String {
        let snapshot = mesh.sites[site].core.control.snooper.snapshot(withGroups: true, at: mesh.now)
        let wishes = snapshot.groups.first { $0.key == key(number, vlan: vlan) }?.sites ?? []
        if wishes.isEmpty { return "nobody" }
        return wishes.map { peer, wish in
            let sources = wish.sources.isEmpty ? "" : " " + list(wish.sources)
            return "\(mesh.sites[site].peers[peer.index]): \(wish.mode == .include ? "INCLUDE" : "EXCLUDE")\(sources)"
        }.joined(separator: "; ")
    }

    func counter(_ counter: SnoopCounter, site: Int = 1) -> UInt64 {
        mesh.sites[site].core.control.snooper.counters[counter]
    }

    /// Facts that a site tells the others.
    func facts(site: Int = 1) -> Int { mesh.sites[site].core.control.snooper.book.count }

    /// The VLAN's router ports.
    func routerPorts(site: Int = 1, vlan: VLAN = .untagged) -> [Int] {
        mesh.sites[site].core.control.snooper.routers.ports(vlan, family).members.map(\.index)
    }

    // MARK: What is said on a LAN

    /// Forgets what was said at a site so far.
    func forget(_ site: Int = 1) { told[site] = mesh.sites[site].delivered.map(\.count) }

    /// IGMP and MLD that came out of a port since it was last asked, with times: `@5 query G1 2,3 S`, `@0 general v3`,
    /// `@7 IS_EX G1 4`, `@7 report v2 G1`, `@8 leave G1`. Tagged ones have their VLAN behind the time.
    func heard(site: Int = 1, port: Int = 0) -> [String] {
        packets(site: site, port: port).map { at, header, packet in
            let vlan = header.vlan == .untagged ? "" : " \(header.vlan):"
            return "@\(text(at))\(vlan) \(describe(packet))"
        }
    }

    /// The same as values.
    func packets(site: Int = 1, port: Int = 0) -> [(at: Instant, header: FrameHeader, packet: MembershipPacket)] {
        let deliveries = mesh.sites[site].delivered[port]
        defer { told[site][port] = deliveries.count }
        return deliveries[told[site][port]...].compactMap { delivery in
            delivery.bytes.withRawSpan { frame in
                guard let header = FrameHeader(frame), case .packet(let packet) = MembershipPacket.parse(frame, header),
                    packet.family == family
                else { return nil }
                return (delivery.at, header, packet)
            }
        }
    }

    private func describe(_ packet: MembershipPacket) -> String {
        switch packet.message {
        case .query(let query):
            guard let group = query.group else {
                return "general v\(query.generation.rawValue)" + (packet.source.isUnspecified ? " from nobody" : "")
            }
            let sources = query.sources.isEmpty ? "" : " " + list(query.sources)
            return "query G\(number(group))\(sources)\(query.suppress ? " S" : "")"
        case .report(let report):
            if report.generation < .third, let record = report.records.first {
                let what = record.kind == .toInclude ? "leave" : "report v\(report.generation.rawValue)"
                return "\(what) G\(number(record.group))"
            }
            return report.records.map { record in
                let sources = record.sources.isEmpty ? "" : " " + list(record.sources)
                return "\(ScenarioMesh.name(record.kind)) G\(number(record.group))\(sources)"
            }.joined(separator: ", ")
        case .advertisement: return "advertisement"
        case .solicitation: return "solicitation"
        case .termination: return "termination"
        }
    }

    private static func name(_ kind: GroupRecordKind) -> String {
        switch kind {
        case .isInclude: "IS_IN"
        case .isExclude: "IS_EX"
        case .toInclude: "TO_IN"
        case .toExclude: "TO_EX"
        case .allow: "ALLOW"
        case .block: "BLOCK"
        }
    }
}
