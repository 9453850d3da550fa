// Router ports on the virtual clock: rules 2, 3, 30 and 36. VLAN 10 if nothing else is said.

import Basics
import Testing
import Wire

@testable import Switching

private struct RouterLab {
    var routers: RouterPorts

    init(configured: PortSet = .none, disabled: PortSet = .none, limit: Int = 1_024) {
        routers = RouterPorts(ports: 4, configured: configured, disabled: disabled, limit: limit)
    }

    static let vlan = VLAN(rawValue: 10)
    static let mac = MACAddress(rawValue: 0x0200_0000_0001)

    /// 192.0.n.m or fe80::n:m.
    static func router(_ number: Int, _ family: IPFamily = .v4) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xC000_0000 | UInt32(number)) : IPAddress(high: 0xFE80_0000_0000_0000, low: UInt64(number))
    }

    mutating func query(
        _ address: IPAddress, port: Int = 0, vlan: VLAN = RouterLab.vlan, lasting: Interval = .seconds(255), at seconds: Double
    ) {
        routers.handleQuery(
            from: address, mac: RouterLab.mac, on: PortIndex(port), vlan: vlan, expiresAfter: lasting,
            at: GroupTableLab.time(seconds))
    }

    mutating func hello(
        _ address: IPAddress, port: Int = 0, vlan: VLAN = RouterLab.vlan, hold: Interval?, at seconds: Double
    ) {
        routers.handlePIMHello(
            from: address, mac: RouterLab.mac, holdTime: hold, on: PortIndex(port), vlan: vlan, at: GroupTableLab.time(seconds))
    }

    mutating func advertise(_ address: IPAddress, port: Int = 0, every interval: Interval = .seconds(20), at seconds: Double) {
        routers.handleAdvertisement(
            from: address, mac: RouterLab.mac, interval: interval, on: PortIndex(port), vlan: RouterLab.vlan,
            at: GroupTableLab.time(seconds))
    }

    mutating func wait(until seconds: Double) { routers.handleTimeout(at: GroupTableLab.time(seconds)) }

    /// The router ports' numbers.
    func ports(_ family: IPFamily = .v4, vlan: VLAN = RouterLab.vlan) -> [Int] {
        routers.ports(vlan, family).members.map(\.index)
    }

    func kinds(_ family: IPFamily = .v4, vlan: VLAN = RouterLab.vlan) -> RouterKinds { routers.kinds(vlan, family) }

    mutating func changes() -> [String] {
        var changes: [String] = []
        while let (vlan, family) = routers.pollChange() { changes.append("\(vlan) \(family)") }
        return changes
    }
}

@Suite struct RouterPortsTests {
    private func time(_ seconds: Double) -> Instant { GroupTableLab.time(seconds) }

    @Test(arguments: IPFamily.allCases) func rule2AQueryMakesARouterPortUntilItExpires(_ family: IPFamily) {
        var lab = RouterLab()
        lab.query(RouterLab.router(1, family), port: 2, at: 10)
        #expect(lab.ports(family) == [2])
        #expect(lab.kinds(family) == .querier)
        #expect(lab.ports(family == .v4 ? .v6 : .v4) == [])
        #expect(lab.ports(family, vlan: .untagged) == [])
        #expect(lab.changes() == ["10 \(family)"])
        #expect(lab.routers.nextTimeout == time(265))
        lab.routers.handleTimeout(at: time(265) - .nanoseconds(1))
        #expect(lab.ports(family) == [2])
        lab.wait(until: 265)
        #expect(lab.ports(family) == [])
        #expect(lab.kinds(family) == [])
        #expect(lab.changes() == ["10 \(family)"])
        #expect(lab.routers.nextTimeout == .distantFuture)
    }

    @Test func rule2ARouterThatRepeatsItselfStays() {
        var lab = RouterLab()
        lab.query(RouterLab.router(1), at: 10)
        _ = lab.changes()
        lab.query(RouterLab.router(1), at: 200)
        lab.wait(until: 265)
        #expect(lab.ports() == [0])
        #expect(lab.changes() == [])
        #expect(lab.routers.rows.map(\.since) == [time(10)])
        #expect(lab.routers.rows.map(\.expires) == [time(455)])
        lab.wait(until: 455)
        #expect(lab.ports() == [])
    }

    @Test(arguments: IPFamily.allCases) func rule3AZeroSourceMakesNoRouterPort(_ family: IPFamily) {
        var lab = RouterLab()
        lab.query(.unspecified(family), at: 1)
        lab.hello(.unspecified(family), hold: .seconds(105), at: 1)
        lab.advertise(.unspecified(family), at: 1)
        #expect(lab.routers.rows == [])
        #expect(lab.ports(family) == [])
        #expect(lab.changes() == [])
    }

    @Test func rule3AnAddressThatNoHostHasMakesNoRouterPort() {
        var lab = RouterLab()
        lab.query(IPAddress(ipv4: 0x0000_0001), at: 1)
        lab.query(IPAddress(ipv4: 0xE000_0001), at: 1)
        lab.query(IPAddress(high: 0xFF02_0000_0000_0000, low: 1), at: 1)
        #expect(lab.routers.rows == [])
    }

    @Test func rule2ConfiguredPortsAreRouterPortsOfEveryVLANForEver() {
        var lab = RouterLab(configured: PortSet(PortIndex(3)))
        for family in IPFamily.allCases {
            #expect(lab.ports(family) == [3])
            #expect(lab.ports(family, vlan: VLAN(rawValue: 4_000)) == [3])
            #expect(lab.kinds(family) == .configured)
        }
        lab.query(RouterLab.router(1), port: 1, at: 0)
        #expect(lab.ports() == [1, 3])
        #expect(lab.kinds() == [.querier, .configured])
        lab.routers.handlePortDown(PortIndex(3), at: time(1))
        lab.wait(until: 1_000_000)
        #expect(lab.ports() == [3])
    }

    @Test func rule2ADisabledPortIsNeverARouterPort() {
        var lab = RouterLab(disabled: PortSet(PortIndex(1)))
        lab.query(RouterLab.router(1), port: 1, at: 0)
        lab.hello(RouterLab.router(1), port: 1, hold: nil, at: 0)
        lab.advertise(RouterLab.router(1), port: 1, at: 0)
        #expect(lab.ports() == [])
        #expect(lab.kinds() == [])
        #expect(lab.changes() == [])
    }

    @Test func rule2AMessageFromAPortThatThereIsNotIsNothing() {
        var lab = RouterLab()
        lab.query(RouterLab.router(1), port: 4, at: 0)
        #expect(lab.routers.rows == [])
    }

    // MARK: PIM

    @Test(arguments: IPFamily.allCases) func rule36APIMHelloHoldsForItsTime(_ family: IPFamily) {
        var lab = RouterLab()
        lab.hello(RouterLab.router(1, family), port: 1, hold: .seconds(105), at: 10)
        #expect(lab.kinds(family) == .pim)
        lab.wait(until: 114.999)
        #expect(lab.ports(family) == [1])
        lab.wait(until: 115)
        #expect(lab.ports(family) == [])
    }

    @Test func rule36AHoldTimeOfZeroIsAGoodbyeOfThatRouterOnly() {
        var lab = RouterLab()
        lab.hello(RouterLab.router(1), hold: .seconds(105), at: 10)
        lab.hello(RouterLab.router(2), hold: .seconds(105), at: 10)
        lab.query(RouterLab.router(1), at: 10)
        lab.hello(RouterLab.router(1), hold: .zero, at: 20)
        #expect(lab.routers.rows.map { "\($0.address) \($0.kind.rawValue)" } == ["192.0.0.1 1", "192.0.0.2 2"])
        lab.hello(RouterLab.router(2), hold: .zero, at: 21)
        #expect(lab.kinds() == .querier)
        // From one that nobody knows.
        lab.hello(RouterLab.router(3), hold: .zero, at: 22)
        #expect(lab.routers.rows.count == 1)
    }

    @Test func rule36AHelloWithoutEndStaysUntilItsGoodbye() {
        var lab = RouterLab()
        lab.hello(RouterLab.router(1), hold: nil, at: 10)
        #expect(lab.routers.nextTimeout == .distantFuture)
        lab.wait(until: 1_000_000)
        #expect(lab.ports() == [0])
        #expect(lab.routers.rows.map(\.expires) == [nil])
        lab.hello(RouterLab.router(1), hold: .zero, at: 1_000_001)
        #expect(lab.ports() == [])
    }

    @Test func rule36ANewHoldTimeReplacesTheOld() {
        var lab = RouterLab()
        lab.hello(RouterLab.router(1), hold: nil, at: 10)
        lab.hello(RouterLab.router(1), hold: .seconds(5), at: 20)
        #expect(lab.routers.nextTimeout == time(25))
        lab.wait(until: 25)
        #expect(lab.ports() == [])
    }

    // MARK: Router discovery

    @Test(arguments: IPFamily.allCases) func rule30AnAdvertisementIsDeadAfterThreeIntervals(_ family: IPFamily) {
        var lab = RouterLab()
        lab.advertise(RouterLab.router(1, family), every: .seconds(20), at: 100)
        #expect(lab.kinds(family) == .discovery)
        lab.wait(until: 159.999)
        #expect(lab.ports(family) == [0])
        lab.wait(until: 160)
        #expect(lab.ports(family) == [])
    }

    @Test func rule30AnIntervalOfZeroCountsAsTheShortestThereIs() {
        var lab = RouterLab()
        lab.advertise(RouterLab.router(1), every: .zero, at: 100)
        #expect(lab.routers.nextTimeout == time(112))
    }

    @Test func rule30ATerminationEndsWhatWasAdvertisedAndNothingElse() {
        var lab = RouterLab()
        lab.advertise(RouterLab.router(1), at: 0)
        lab.advertise(RouterLab.router(2), at: 0)
        lab.query(RouterLab.router(1), at: 0)
        lab.routers.handleTermination(from: RouterLab.router(1), on: PortIndex(1), vlan: RouterLab.vlan, at: time(1))
        #expect(lab.routers.rows.count == 3)
        lab.routers.handleTermination(from: RouterLab.router(1), on: PortIndex(0), vlan: RouterLab.vlan, at: time(1))
        #expect(lab.routers.rows.map { "\($0.address) \($0.kind.rawValue)" } == ["192.0.0.1 1", "192.0.0.2 4"])
        lab.routers.handleTermination(from: RouterLab.router(2), on: PortIndex(0), vlan: RouterLab.vlan, at: time(1))
        #expect(lab.kinds() == .querier)
    }

    // MARK: Changes and rows

    @Test func aChangeIsToldOnceAndOnlyWherePortsOrKindsChanged() {
        var lab = RouterLab()
        lab.query(RouterLab.router(1), at: 0)
        lab.hello(RouterLab.router(1), hold: .seconds(105), at: 0)
        lab.hello(RouterLab.router(1, .v6), vlan: .untagged, hold: .seconds(105), at: 0)
        #expect(lab.changes() == ["10 v4", "- v6"])
        // A second router of the same kind on the same port.
        lab.query(RouterLab.router(2), at: 1)
        #expect(lab.changes() == [])
        lab.query(RouterLab.router(2), port: 1, at: 2)
        #expect(lab.changes() == ["10 v4"])
        lab.hello(RouterLab.router(1), hold: .zero, at: 3)
        #expect(lab.changes() == ["10 v4"])
    }

    @Test func rule2APortThatGoesDownTakesItsRoutersWithIt() {
        var lab = RouterLab()
        lab.query(RouterLab.router(1), port: 0, at: 0)
        lab.query(RouterLab.router(2), port: 1, at: 0)
        lab.hello(RouterLab.router(2, .v6), port: 1, hold: nil, at: 0)
        _ = lab.changes()
        lab.routers.handlePortDown(PortIndex(1), at: time(1))
        #expect(lab.ports() == [0])
        #expect(lab.ports(.v6) == [])
        #expect(lab.changes() == ["10 v4", "10 v6"])
    }

    @Test func rowsAreSortedByVLANFamilyPortAddressAndKind() {
        var lab = RouterLab()
        lab.hello(RouterLab.router(1, .v6), hold: nil, at: 0)
        lab.query(RouterLab.router(2), vlan: VLAN(rawValue: 11), at: 1)
        lab.hello(RouterLab.router(2), port: 1, hold: nil, at: 2)
        lab.query(RouterLab.router(2), port: 1, at: 3)
        lab.query(RouterLab.router(3), port: 0, at: 4)
        lab.query(RouterLab.router(1), port: 1, at: 5)
        let rows = lab.routers.rows.map { "\($0.vlan) \($0.port.index) \($0.address) \($0.kind.rawValue)" }
        #expect(
            rows == [
                "10 0 192.0.0.3 1", "10 1 192.0.0.1 1", "10 1 192.0.0.2 1", "10 1 192.0.0.2 2", "10 0 fe80::1 2",
                "11 0 192.0.0.2 1",
            ])
    }

    // MARK: The limit

    @Test func rule29PastTheLimitTheRowThatExpiresFirstIsForgotten() {
        var lab = RouterLab(limit: 3)
        lab.query(RouterLab.router(1), lasting: .seconds(30), at: 0)
        lab.query(RouterLab.router(2), lasting: .seconds(10), at: 0)
        lab.query(RouterLab.router(3), lasting: .seconds(20), at: 0)
        #expect(lab.routers.counters[.routerLimit] == 0)
        lab.query(RouterLab.router(4), lasting: .seconds(40), at: 1)
        #expect(lab.routers.rows.map(\.address) == [RouterLab.router(1), RouterLab.router(3), RouterLab.router(4)])
        #expect(lab.routers.counters[.routerLimit] == 1)
        // One that is known already needs no room.
        lab.query(RouterLab.router(1), lasting: .seconds(50), at: 2)
        #expect(lab.routers.counters[.routerLimit] == 1)
    }

    @Test func rule29WhatHasExpiredMakesRoomFirst() {
        var lab = RouterLab(limit: 2)
        lab.query(RouterLab.router(1), port: 1, lasting: .seconds(10), at: 0)
        lab.query(RouterLab.router(2), port: 0, lasting: .seconds(50), at: 0)
        lab.query(RouterLab.router(3), port: 0, lasting: .seconds(50), at: 10)
        #expect(lab.routers.rows.map(\.address) == [RouterLab.router(2), RouterLab.router(3)])
        #expect(lab.routers.counters[.routerLimit] == 0)
    }

    @Test func rule29RoutersInventedOnOnePortDoNotPushOutTheOthers() {
        var lab = RouterLab(limit: 8)
        lab.query(RouterLab.router(1), port: 1, at: 0)
        lab.hello(RouterLab.router(2), port: 2, hold: .seconds(105), at: 0)
        for number in 0..<1_000 { lab.hello(RouterLab.router(256 + number), port: 0, hold: nil, at: 1) }
        #expect(lab.ports() == [0, 1, 2])
        #expect(lab.routers.rows.count == 8)
        #expect(lab.routers.counters[.routerLimit] == 994)
    }
}
