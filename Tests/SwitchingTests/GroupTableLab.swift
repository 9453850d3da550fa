// One gateway's group table with hosts and sources that are numbers, times in seconds, and the state as one line of text,
// so that a test reads like a row of RFC 9776's tables. The same test runs for both families.

import Basics
import Testing
import Wire

@testable import Switching

struct GroupTableLab {
    var table: GroupTable
    let family: IPFamily
    var context: MembershipContext
    let vlan = VLAN(rawValue: 10)

    /// Default timing: K4 is 270 s, K8 1 s, K9 2, K10 2 s, K11 260 s. We are the querier and know nobody's hosts.
    init(
        _ family: IPFamily = .v4, _ configuration: GroupTableConfiguration = GroupTableConfiguration(), isQuerier: Bool = true,
        knowsAll: Bool = false
    ) {
        table = GroupTable(configuration)
        self.family = family
        context = MembershipContext(isQuerier: isQuerier, knowsAll: knowsAll, timing: MembershipTiming())
    }

    static func time(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1000) * 1_000_000) }

    /// 239.1.0.n or ff05::n.
    func group(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xEF01_0000 | UInt32(number)) : IPAddress(high: 0xFF05_0000_0000_0000, low: UInt64(number))
    }

    /// 232.1.0.n or ff35::n.
    func ssmGroup(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xE801_0000 | UInt32(number)) : IPAddress(high: 0xFF35_0000_0000_0000, low: UInt64(number))
    }

    /// 192.0.0.n or 2001:db8::n.
    func source(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xC000_0000 | UInt32(number)) : IPAddress(high: 0x2001_0DB8_0000_0000, low: UInt64(number))
    }

    static func mac(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0000_0000 | UInt64(number)) }

    func host(_ number: Int) -> HostIdentity {
        HostIdentity(
            mac: GroupTableLab.mac(number),
            address: family == .v4
                ? IPAddress(ipv4: 0x0A00_0000 | UInt32(number)) : IPAddress(high: 0xFE80_0000_0000_0000, low: UInt64(number)))
    }

    func key(_ number: Int = 1) -> GroupKey { GroupKey(vlan, group(number)) }
    var wildcard: GroupKey { GroupKey(vlan, .unspecified(family)) }

    // MARK: In

    mutating func report(
        _ kind: GroupRecordKind, _ sources: [Int] = [], of address: IPAddress, from host: Int = 1, port: Int = 0,
        as generation: MembershipGeneration = .third, isChecked: Bool = true, at seconds: Double
    ) {
        let record = GroupRecord(kind, address, sources.map(source))
        table.handleReport(
            MembershipReport(generation: generation, records: [record]), from: self.host(host), on: PortIndex(port),
            vlan: vlan, context, at: GroupTableLab.time(seconds))
        if isChecked { #expect(table.checkInvariants() == []) }
    }

    mutating func report(
        _ kind: GroupRecordKind, _ sources: [Int] = [], group number: Int = 1, from host: Int = 1, port: Int = 0,
        as generation: MembershipGeneration = .third, isChecked: Bool = true, at seconds: Double
    ) {
        report(
            kind, sources, of: group(number), from: host, port: port, as: generation, isChecked: isChecked, at: seconds)
    }

    /// The query of another querier.
    mutating func heard(_ number: Int?, _ sources: [Int] = [], suppress: Bool = false, at seconds: Double) {
        let query = MembershipQuery(
            group: number.map(group), sources: sources.map(source), maxResponse: .seconds(1), suppress: suppress)
        table.handleQuery(query, vlan: vlan, context, at: GroupTableLab.time(seconds))
        #expect(table.checkInvariants() == [])
    }

    mutating func overflow(port: Int = 0, at seconds: Double) {
        table.overflow(vlan: vlan, family: family, port: PortIndex(port), context, at: GroupTableLab.time(seconds))
        #expect(table.checkInvariants() == [])
    }

    mutating func wait(until seconds: Double) {
        table.handleTimeout(at: GroupTableLab.time(seconds))
        #expect(table.checkInvariants() == [])
    }

    // MARK: Out

    /// `INCLUDE 1@270 2@370`; `EXCLUDE@320 1@270 -3`, where the sources with a minus are blocked; `none`.
    func state(_ number: Int = 1, port: Int = 0) -> String { state(of: group(number), port: port) }

    func state(of address: IPAddress, port: Int = 0) -> String {
        guard let view = table.entry(GroupKey(vlan, address), on: PortIndex(port)) else { return "none" }
        let head = view.mode == .include ? "INCLUDE" : "EXCLUDE@" + (view.groupTimer.map(GroupTableLab.text) ?? "never")
        let sources = view.sources.map { source in
            source.expires.map { "\(number(source.address))@\(GroupTableLab.text($0))" } ?? "-\(number(source.address))"
        }
        return ([head] + sources).joined(separator: " ")
    }

    /// `3: INCLUDE 1 2 until 270` for each tracked host.
    func members(_ number: Int = 1, port: Int = 0) -> [String] {
        (table.entry(key(number), on: PortIndex(port))?.members ?? []).map { member in
            "\(member.host.mac.rawValue & 0xFFFF): \(text(member.wish)) until \(GroupTableLab.text(member.expires))"
        }
    }

    /// `INCLUDE 1 2`, `EXCLUDE 3`, `EXCLUDE`.
    func text(_ wish: Wish) -> String {
        ([wish.mode == .include ? "INCLUDE" : "EXCLUDE"] + wish.sources.map { "\(number($0))" }).joined(separator: " ")
    }

    func wish(_ number: Int = 1) -> String { text(table.wish(of: key(number))) }

    /// `0 G1` for group 1 on port 0, `0 G1 2,5` for two of its sources; `S` behind it for the S flag.
    mutating func queries() -> [String] {
        var result: [String] = []
        while let query = table.pollQuery() {
            let sources = query.sources.isEmpty ? "" : " " + query.sources.map { "\(number($0))" }.joined(separator: ",")
            result.append("\(query.port.index) G\(number(query.group))\(sources)\(query.suppress ? " S" : "")")
        }
        return result
    }

    mutating func changes() -> [GroupKey] {
        var result: [GroupKey] = []
        while let key = table.pollChange() { result.append(key) }
        return result
    }

    func number(_ address: IPAddress) -> Int { Int(address.low & 0xFFFF) }

    static func text(_ time: Instant) -> String {
        let milliseconds = time.nanoseconds / 1_000_000
        let rest = milliseconds % 1000
        return "\(milliseconds / 1000)" + (rest == 0 ? "" : "." + String(1000 + rest).dropFirst())
    }
}
