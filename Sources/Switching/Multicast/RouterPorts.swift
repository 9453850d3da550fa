// Which LAN ports lead to a multicast router, by VLAN and family (rules 2, 3, 30): learned from queries with a real source, PIM
// Hello (RFC 7761), router advertisements (RFC 4286), and configuration. Every learned row expires by what its message said.
// The table is bounded: past its limit, the VLAN and port that hold the most rows lose the one of them that expires first. So
// invented routers push out each other, however long they claim to stay, and a port with one true router remains a router port.

import Basics

/// How a router was learned.
public struct RouterKinds: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let querier = RouterKinds(rawValue: 1)
    public static let pim = RouterKinds(rawValue: 2)
    public static let discovery = RouterKinds(rawValue: 4)
    public static let configured = RouterKinds(rawValue: 8)
}

public struct RouterPorts: Sendable {
    /// One router, as one kind of message showed it.
    public struct Row: Hashable, Sendable {
        public var vlan: VLAN
        public var family: IPFamily
        public var port: PortIndex
        public var address: IPAddress
        /// One of `querier`, `pim`, `discovery`.
        public var kind: RouterKinds
        public var mac: MACAddress
        public var since: Instant
        /// `nil`: it said that it stays.
        public var expires: Instant?
    }

    struct Key: Hashable, Comparable, Sendable {
        var vlan: VLAN
        var family: IPFamily
        var port: PortIndex
        var address: IPAddress
        var kind: UInt8

        var lanPlace: LANPlace { LANPlace(vlan: vlan, family: family, port: port) }

        static func < (a: Key, b: Key) -> Bool {
            (a.vlan, a.family, a.port, a.address, a.kind) < (b.vlan, b.family, b.port, b.address, b.kind)
        }
    }

    struct Place: Hashable, Comparable, Sendable {
        var vlan: VLAN
        var family: IPFamily
        static func < (a: Place, b: Place) -> Bool { (a.vlan, a.family) < (b.vlan, b.family) }
    }

    /// What each place is entitled to keep one router of, when there is not enough room.
    struct LANPlace: Hashable {
        var vlan: VLAN
        var family: IPFamily
        var port: PortIndex
    }

    private let portCount: Int
    private let configured: PortSet
    private let disabled: PortSet
    private let limit: Int
    private var table: [Key: Row] = [:]
    /// What `ports` and `kinds` answer without configuration.
    private var summary: [Place: (ports: PortSet, kinds: RouterKinds)] = [:]
    private var changes: [Place] = []
    private var earliest = Instant.distantFuture
    public private(set) var counters = SnoopCounters()

    /// - Parameters:
    ///   - configured: router ports on every VLAN, for ever.
    ///   - disabled: never router ports, whatever is heard there.
    ///   - limit: learned rows.
    public init(ports: Int, configured: PortSet, disabled: PortSet, limit: Int = 1_024) {
        portCount = ports
        self.configured = configured
        self.disabled = disabled
        self.limit = max(limit, 1)
    }

    // MARK: In

    /// A query. An unspecified source makes no router port (rule 3).
    public mutating func handleQuery(
        from address: IPAddress, mac: MACAddress, on port: PortIndex, vlan: VLAN, expiresAfter: Interval, at now: Instant
    ) {
        learn(address, mac, .querier, port, vlan, expires: now + expiresAfter, now)
    }

    /// - Parameter holdTime: `nil` for ever; zero says goodbye (RFC 7761 section 4.3.1).
    public mutating func handlePIMHello(
        from address: IPAddress, mac: MACAddress, holdTime: Interval?, on port: PortIndex, vlan: VLAN, at now: Instant
    ) {
        if holdTime == .zero { return forget(address, .pim, port, vlan) }
        learn(address, mac, .pim, port, vlan, expires: holdTime.map { now + $0 }, now)
    }

    /// A router advertisement: its sender is gone after three of its intervals (RFC 4286 section 5).
    public mutating func handleAdvertisement(
        from address: IPAddress, mac: MACAddress, interval: Interval, on port: PortIndex, vlan: VLAN, at now: Instant
    ) {
        // The interval is 4 s at least (RFC 4286 section 4); an advertisement with 0 is not gone at once.
        learn(address, mac, .discovery, port, vlan, expires: now + max(interval, .seconds(4)) * 3, now)
    }

    public mutating func handleTermination(from address: IPAddress, on port: PortIndex, vlan: VLAN, at now: Instant) {
        forget(address, .discovery, port, vlan)
    }

    public mutating func handlePortDown(_ port: PortIndex, at now: Instant) {
        for key in table.keys.filter({ $0.port == port }).sorted() { remove(key) }
    }

    public mutating func handleTimeout(at now: Instant) {
        guard now >= earliest else { return }
        for key in table.filter({ $0.value.expires.map { $0 <= now } ?? false }).keys.sorted() { remove(key) }
        earliest = table.values.compactMap(\.expires).min() ?? .distantFuture
    }

    public var nextTimeout: Instant { earliest }

    // MARK: Out

    public func ports(_ vlan: VLAN, _ family: IPFamily) -> PortSet {
        configured.union(summary[Place(vlan: vlan, family: family)]?.ports ?? .none)
    }

    public func kinds(_ vlan: VLAN, _ family: IPFamily) -> RouterKinds {
        let learned = summary[Place(vlan: vlan, family: family)]?.kinds ?? []
        return configured.isEmpty ? learned : learned.union(.configured)
    }

    /// Learned rows, sorted by VLAN, family, port and address.
    public var rows: [Row] { table.keys.sorted().compactMap { table[$0] } }

    /// A VLAN and family whose ports or kinds have changed; each once, in the order of first changes.
    public mutating func pollChange() -> (vlan: VLAN, family: IPFamily)? {
        guard !changes.isEmpty else { return nil }
        let place = changes.removeFirst()
        return (place.vlan, place.family)
    }

    // MARK: Below

    private mutating func learn(
        _ address: IPAddress, _ mac: MACAddress, _ kind: RouterKinds, _ port: PortIndex, _ vlan: VLAN, expires: Instant?,
        _ now: Instant
    ) {
        guard address.isUnicast, port.index < portCount, !disabled.contains(port) else { return }
        let key = Key(vlan: vlan, family: address.family, port: port, address: address, kind: kind.rawValue)
        if table[key] != nil {
            if let expires { earliest = min(earliest, expires) }
            table[key]?.expires = expires
            table[key]?.mac = mac
            return
        }
        if table.count >= limit { handleTimeout(at: now) }
        table[key] = Row(
            vlan: vlan, family: address.family, port: port, address: address, kind: kind, mac: mac, since: now, expires: expires)
        if let expires { earliest = min(earliest, expires) }
        if table.count > limit { forgetOne() }
        summarise(Place(vlan: vlan, family: address.family))
    }

    /// Takes the row that expires first from the VLAN and port that hold the most. O(rows).
    private mutating func forgetOne() {
        counters.add(.routerLimit)
        var counts: [LANPlace: Int] = [:]
        for key in table.keys { counts[key.lanPlace, default: 0] += 1 }
        let most = counts.values.max()
        let first = table.filter { counts[$0.key.lanPlace] == most }.min { a, b in
            (a.value.expires ?? .distantFuture, a.key) < (b.value.expires ?? .distantFuture, b.key)
        }
        if let first { remove(first.key) }
    }

    private mutating func forget(_ address: IPAddress, _ kind: RouterKinds, _ port: PortIndex, _ vlan: VLAN) {
        remove(Key(vlan: vlan, family: address.family, port: port, address: address, kind: kind.rawValue))
    }

    private mutating func remove(_ key: Key) {
        guard table.removeValue(forKey: key) != nil else { return }
        summarise(Place(vlan: key.vlan, family: key.family))
    }

    /// Brings the answers for a VLAN and family into line. O(rows), and rows are few.
    private mutating func summarise(_ place: Place) {
        var ports = PortSet.none
        var kinds: RouterKinds = []
        for row in table.values where row.vlan == place.vlan && row.family == place.family {
            ports = ports.inserting(row.port)
            kinds.formUnion(row.kind)
        }
        let old = summary[place]
        if old?.ports ?? .none == ports && old?.kinds ?? [] == kinds { return }
        summary[place] = ports.isEmpty ? nil : (ports, kinds)
        if !changes.contains(place) { changes.append(place) }
    }
}
