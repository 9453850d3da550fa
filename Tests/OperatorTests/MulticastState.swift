// What a snooper knows, made by hand: every number different, so that a document that shows the wrong one is found out.

import Basics
import Gateway
import Wire

@testable import Switching

func v4(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) -> IPAddress {
    IPAddress(ipv4: UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d))
}

/// 2001:db8::NUMBER and the like.
func v6(_ high: UInt64, _ low: UInt64) -> IPAddress { IPAddress(high: high, low: low) }

let ten = VLAN(identifier: 10, isService: false)
let seven = VLAN(identifier: 7, isService: true)

/// 02:00:00:00:01:NUMBER.
func host(_ number: UInt64, _ address: IPAddress) -> HostIdentity {
    HostIdentity(mac: MACAddress(rawValue: 0x0200_0000_0100 | number), address: address)
}

private func totals(_ first: UInt64, _ sites: [PeerIndex: (UInt64, UInt64)] = [:]) -> GroupTotals {
    var totals = GroupTotals()
    totals.tally.framesFromLAN = first + 1
    totals.tally.bytesFromLAN = first + 2
    totals.tally.framesFromMesh = first + 3
    totals.tally.bytesFromMesh = first + 4
    for (peer, (frames, bytes)) in sites {
        totals.sites[peer] = GroupTotals.Site()
        totals.sites[peer]?.frames = frames
        totals.sites[peer]?.bytes = bytes
    }
    return totals
}

/// A group in INCLUDE mode of two sources and two hosts on lan0, and in EXCLUDE mode on lan1.
func entries(_ key: GroupKey) -> [(port: PortIndex, entry: GroupEntryView)] {
    var first = GroupEntryView(GroupEntry(key, PortIndex(0)))
    first.mode = .include
    first.groupTimer = nil
    first.sources = [
        .init(address: v4(192, 0, 2, 7), expires: now + .seconds(31)),
        .init(address: v4(192, 0, 2, 8), expires: now + .milliseconds(42_500)),
    ]
    first.generation = .third
    first.members = [
        .init(
            host: host(1, v4(10, 0, 0, 1)), generation: .third, wish: Wish(.include, [v4(192, 0, 2, 7), v4(192, 0, 2, 8)]),
            expires: now + .milliseconds(42_500))
    ]
    var second = GroupEntryView(GroupEntry(key, PortIndex(1)))
    second.mode = .exclude
    second.groupTimer = now + .seconds(200)
    second.sources = [
        .init(address: v4(192, 0, 2, 7), expires: now + .seconds(53)), .init(address: v4(192, 0, 2, 9), expires: nil),
    ]
    second.generation = .second
    second.members = [
        .init(host: host(2, v4(10, 0, 0, 2)), generation: .second, wish: Wish(.exclude), expires: now + .seconds(200)),
        .init(
            host: host(3, v4(10, 0, 0, 3)), generation: .third, wish: Wish(.exclude, [v4(192, 0, 2, 9)]),
            // Run out, and not yet seen to.
            expires: now - .seconds(1)),
    ]
    return [(PortIndex(0), first), (PortIndex(1), second)]
}

let wanted = GroupKey(ten, v4(239, 1, 1, 1))

/// As `makeSnapshot`, with groups, queriers, routers and counts.
func makeMulticastSnapshot() -> GatewaySnapshot {
    var snapshot = makeSnapshot()
    let six = GroupKey(.untagged, v6(0xFF3E << 48, 0x8001))
    snapshot.multicast.groups = [
        SnoopSnapshot.Group(
            key: six, ports: [], fixed: Wish(.include, [v6(0x2001_0DB8 << 32, 1)]),
            wish: Wish(.include, [v6(0x2001_0DB8 << 32, 1)]), sites: [], fanOut: .none, totals: totals(900)),
        SnoopSnapshot.Group(
            key: wanted, ports: entries(wanted), fixed: nil,
            wish: Wish(.exclude, [v4(192, 0, 2, 9)], generations: [.second, .third]),
            sites: [
                (PeerIndex(1), Wish(.include, [v4(192, 0, 2, 8)], generations: .third)),
                (PeerIndex(2), Wish(.exclude, generations: .first)),
            ],
            fanOut: FanOut(
                ports: PortSet(PortIndex(1)), peers: [PeerIndex(0), PeerIndex(2)].reduce(into: PeerSet()) { $0.insert($1) }),
            totals: totals(500, [PeerIndex(0): (511, 512), PeerIndex(2): (521, 522)])),
    ]
    snapshot.multicast.defaults = [
        SnoopSnapshot.Default(vlan: nil, family: .v6, totals: totals(600)),
        SnoopSnapshot.Default(vlan: seven, family: .v4, totals: totals(700, [PeerIndex(1): (711, 712)])),
    ]
    snapshot.multicast.entryCount = 41
    snapshot.multicast.sourceCount = 42
    snapshot.multicast.memberCount = 43
    snapshot.multicast.factCount = 44
    snapshot.multicast.tableBytes = 45_678
    addQueriers(to: &snapshot)
    addRouters(to: &snapshot)
    for (index, counter) in SnoopCounter.allCases.enumerated() where index > 0 {
        snapshot.multicast.counters.add(counter, 1_000 + index - Int(snapshot.multicast.counters[counter]))
    }
    return snapshot
}

private func addQueriers(to snapshot: inout GatewaySnapshot) {
    var timing = MembershipTiming()
    timing.robustness = 3
    timing.queryInterval = .seconds(61)
    timing.queryResponseInterval = .milliseconds(7_200)
    func row(_ vlan: VLAN, _ family: IPFamily, _ address: IPAddress) -> SnoopSnapshot.QuerierRow {
        SnoopSnapshot.QuerierRow(
            vlan: vlan, family: family, isEnabled: true, isQuerier: true, address: address, elected: nil, generation: .third,
            timing: timing)
    }
    var listening = row(ten, .v4, v4(192, 0, 2, 1))
    listening.isQuerier = false
    listening.generation = .first
    listening.elected = Querier.Elected(
        address: v4(10, 0, 0, 9), since: now - .seconds(305), lastQuery: now - .seconds(12), expires: now + .seconds(243),
        generation: .first, maxResponse: .seconds(10), robustness: 5, queryInterval: .seconds(99))
    var off = row(ten, .v6, v6(0xFE80 << 48, 0x22))
    off.isEnabled = false
    off.isQuerier = false
    off.generation = .second
    snapshot.multicast.queriers = [row(.untagged, .v6, v6(0xFE80 << 48, 0x11)), listening, off]
}

private func addRouters(to snapshot: inout GatewaySnapshot) {
    snapshot.multicast.routers = [
        RouterPorts.Row(
            vlan: .untagged, family: .v6, port: PortIndex(1), address: v6(0xFE80 << 48, 0x33), kind: .discovery,
            mac: MACAddress(rawValue: 0x0200_0000_0201), since: now - .seconds(71), expires: now + .seconds(59)),
        RouterPorts.Row(
            vlan: ten, family: .v4, port: PortIndex(0), address: v4(10, 0, 0, 9), kind: .pim,
            mac: MACAddress(rawValue: 0x0200_0000_0202), since: now - .seconds(3_600), expires: nil),
    ]
    snapshot.multicast.routerPorts = PortSet(PortIndex(1))
    snapshot.multicast.remoteRouters = [
        SnoopSnapshot.RemoteRouters(peer: PeerIndex(0), vlan: nil, family: .v6, kinds: [], wantsEverything: true),
        SnoopSnapshot.RemoteRouters(
            peer: PeerIndex(1), vlan: seven, family: .v4, kinds: [.querier, .pim], wantsEverything: true),
        SnoopSnapshot.RemoteRouters(peer: PeerIndex(2), vlan: ten, family: .v4, kinds: .querier, wantsEverything: false),
    ]
    snapshot.multicast.flooding.insert(PeerIndex(2))
}
