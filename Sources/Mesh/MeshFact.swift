// What gateways tell each other: facts, each about a topic, each owned by one gateway. An owner tells at most one thing about a
// topic. Facts travel in pages that their owner signs (GossipPage.swift).
//
//      0               1               2               3
//     +---------------+---------------+---------------+---------------+
//     | kind          | octets of the body, 16 bit    | body ...      |
//     +---------------+-------------------------------+---------------+
//
//     kind  topic, then value
//       1   point: nothing; 32 octets, what the owner signs with                                     (page 0 only)
//       2   pass: nothing; the owner's pass as its authority has signed it                           (page 0 only)
//       3   address: IP address 16 (IPv4 mapped), port 16 bit; rank 8 bit, the lowest is tried first (page 0 only)
//       4   link: neighbour 16; round trip in microseconds 32 bit, loss in 1/10,000 16 bit, flags 8 bit: 1 suspect
//       5   interest: flags 8 bit (1 source, 2 IPv6), VLAN 16 bit, group, source; flags 8 bit (1 not wanted), generations 8 bit
//       6   routers: VLAN 16 bit (ffff: every one), family 8 bit; kinds 8 bit, flags 8 bit: 1 wants everything
//       7   unregistered groups are flooded at the site: nothing; nothing
//
// A kind that is not known is kept and told on: its whole body is its topic. Octets after the fields of a known one are kept
// with its value, and skipped.

import Basics

/// What a fact is about.
public enum MeshTopic: Hashable, Sendable {
    case point
    case pass
    /// Where the owner is reached from outside.
    case address(Endpoint)
    /// The owner's session with a neighbour.
    case link(SiteID)
    /// As in `Switching`'s facts: somebody at the site wants a source of a group, or every source; an unspecified group is
    /// every group of its family.
    case interest(VLAN, group: IPAddress, source: IPAddress?)
    /// Multicast routers on a VLAN, or on every one.
    case routers(VLAN?, IPFamily)
    case unregistered
    /// Of a later version.
    case other(kind: UInt8, body: [UInt8])
}

/// What is said about it.
public enum MeshValue: Hashable, Sendable {
    /// 32 octets.
    case point([UInt8])
    case pass([UInt8])
    case address(rank: UInt8)
    case link(LinkMeasure)
    /// `generations` is RFC 9251's set of version flags, as `Switching.Generations` has it.
    case interest(isExcluded: Bool, generations: UInt8)
    /// `kinds` as `Switching.RouterKinds` has them.
    case routers(kinds: UInt8, wantsEverything: Bool)
    case unregistered
    case other
}

/// What a gateway has measured of one of its links, coarse enough not to change all the time.
public struct LinkMeasure: Hashable, Sendable, BitwiseCopyable {
    public var roundTripMicroseconds: UInt32
    /// Lost datagrams in 10,000.
    public var loss: UInt16
    /// Probes go unanswered, but it does not count as down yet.
    public var isSuspect: Bool

    public init(roundTripMicroseconds: UInt32, loss: UInt16 = 0, isSuspect: Bool = false) {
        self.roundTripMicroseconds = roundTripMicroseconds
        self.loss = loss
        self.isSuspect = isSuspect
    }
}

public struct MeshFact: Hashable, Sendable {
    public var topic: MeshTopic
    public var value: MeshValue

    public init(_ topic: MeshTopic, _ value: MeshValue) {
        self.topic = topic
        self.value = value
    }
}

// MARK: - Octets

extension MeshFact {
    private enum Kind {
        static let point: UInt8 = 1
        static let pass: UInt8 = 2
        static let address: UInt8 = 3
        static let link: UInt8 = 4
        static let interest: UInt8 = 5
        static let routers: UInt8 = 6
        static let unregistered: UInt8 = 7
    }
    private static let everyVLAN: UInt16 = 0xFFFF
    static let headerBytes = 3

    /// `nil` when topic and value are not of one kind.
    var encoded: [UInt8]? {
        var body: [UInt8] = []
        let kind: UInt8
        switch (topic, value) {
        case (.point, .point(let point)): (kind, body) = (Kind.point, point)
        case (.pass, .pass(let pass)): (kind, body) = (Kind.pass, pass)
        case (.address(let endpoint), .address(let rank)):
            kind = Kind.address
            body.append(big: endpoint.high)
            body.append(big: endpoint.low)
            body.append(big: endpoint.port)
            body.append(rank)
        case (.link(let neighbour), .link(let measure)):
            kind = Kind.link
            body.append(site: neighbour)
            body.append(big: measure.roundTripMicroseconds)
            body.append(big: measure.loss)
            body.append(measure.isSuspect ? 1 : 0)
        case (.interest(let vlan, let group, let source), .interest(let isExcluded, let generations)):
            kind = Kind.interest
            body.append((source == nil ? 0 : 1) | (group.family == .v6 ? 2 : 0))
            body.append(big: vlan.rawValue)
            body.append(address: group)
            if let source { body.append(address: source) }
            body += [isExcluded ? 1 : 0, generations]
        case (.routers(let vlan, let family), .routers(let kinds, let wantsEverything)):
            kind = Kind.routers
            body.append(big: vlan?.rawValue ?? Self.everyVLAN)
            body += [family.rawValue, kinds, wantsEverything ? 1 : 0]
        case (.unregistered, .unregistered): kind = Kind.unregistered
        case (.other(let number, let octets), .other): (kind, body) = (number, octets)
        default: return nil
        }
        guard body.count <= Int(UInt16.max) else { return nil }
        var bytes: [UInt8] = [kind]
        bytes.append(big: UInt16(truncatingIfNeeded: body.count))
        return bytes + body
    }

    /// The facts of a page; `nil` when lengths do not fit. What makes no sense is left out.
    static func parseAll(_ reader: inout OctetReader) -> [MeshFact]? {
        var facts: [MeshFact] = []
        while !reader.isAtEnd {
            guard let kind = reader.byte(), let count = reader.integer(UInt16.self), let body = reader.slice(Int(count)) else {
                return nil
            }
            if let fact = parse(kind, body) { facts.append(fact) }
        }
        return facts
    }

    private static func parse(_ kind: UInt8, _ body: OctetReader) -> MeshFact? {
        var body = body
        switch kind {
        case Kind.point: return body.take(32).map { MeshFact(.point, .point($0)) }
        case Kind.pass: return MeshFact(.pass, .pass(body.rest()))
        case Kind.address:
            guard let high = body.integer(UInt64.self), let low = body.integer(UInt64.self),
                let port = body.integer(UInt16.self), let rank = body.byte(), port > 0, IPAddress(high: high, low: low).isUnicast
            else { return nil }
            return MeshFact(.address(Endpoint(high: high, low: low, port: port)), .address(rank: rank))
        case Kind.link:
            guard let neighbour = body.site(), let roundTrip = body.integer(UInt32.self), let loss = body.integer(UInt16.self),
                let flags = body.byte()
            else { return nil }
            return MeshFact(
                .link(neighbour),
                .link(LinkMeasure(roundTripMicroseconds: roundTrip, loss: min(loss, 10_000), isSuspect: flags & 1 != 0)))
        case Kind.interest: return parseInterest(&body)
        case Kind.routers:
            guard let number = body.integer(UInt16.self), let family = body.byte().flatMap(IPFamily.init(rawValue:)),
                let kinds = body.byte(), let flags = body.byte(), number <= 0x1FFF || number == everyVLAN
            else { return nil }
            return MeshFact(
                .routers(number == everyVLAN ? nil : VLAN(rawValue: number), family),
                .routers(kinds: kinds, wantsEverything: flags & 1 != 0))
        case Kind.unregistered: return MeshFact(.unregistered, .unregistered)
        default: return MeshFact(.other(kind: kind, body: body.rest()), .other)
        }
    }

    private static func parseInterest(_ body: inout OctetReader) -> MeshFact? {
        guard let flags = body.byte(), let number = body.integer(UInt16.self), number <= 0x1FFF else { return nil }
        let family: IPFamily = flags & 2 != 0 ? .v6 : .v4
        guard let group = body.address(family), group.isSnoopedGroup || (group.isUnspecified && flags & 1 == 0) else {
            return nil
        }
        var source: IPAddress?
        if flags & 1 != 0 {
            source = body.address(family)
            guard let source, source.isUnicast else { return nil }
        }
        guard let said = body.byte(), let generations = body.byte() else { return nil }
        return MeshFact(
            .interest(VLAN(rawValue: number), group: group, source: source),
            .interest(isExcluded: said & 1 != 0 && source != nil, generations: generations & 7))
    }
}

extension MeshTopic: Comparable {
    private var rank: UInt8 {
        switch self {
        case .point: 1
        case .pass: 2
        case .address: 3
        case .link: 4
        case .interest: 5
        case .routers: 6
        case .unregistered: 7
        case .other(let kind, _): kind
        }
    }

    public static func < (a: MeshTopic, b: MeshTopic) -> Bool {
        switch (a, b) {
        case (.address(let one), .address(let other)): return one < other
        case (.link(let one), .link(let other)): return one < other
        case (.interest(let vlan, let group, let source), .interest(let otherVLAN, let otherGroup, let otherSource)):
            if vlan != otherVLAN { return vlan < otherVLAN }
            if group != otherGroup { return group < otherGroup }
            guard let otherSource else { return false }
            return source.map { $0 < otherSource } ?? true
        case (.routers(let vlan, let family), .routers(let otherVLAN, let otherFamily)):
            let (number, otherNumber) = (vlan.map { Int($0.rawValue) } ?? -1, otherVLAN.map { Int($0.rawValue) } ?? -1)
            return (number, family) < (otherNumber, otherFamily)
        case (.other(let kind, let body), .other(let otherKind, let otherBody)):
            return kind != otherKind ? kind < otherKind : body.lexicographicallyPrecedes(otherBody)
        default: return a.rank < b.rank
        }
    }

    /// Which pages a fact is put in: what changes seldom is kept from what changes often.
    var shelf: Shelf {
        switch self {
        case .point, .pass, .address: .identity
        case .link: .links
        default: .wishes
        }
    }

    enum Shelf: Int, CaseIterable {
        /// Page 0, and no other.
        case identity
        case links
        case wishes

        /// Octets of facts that a page is filled to. Each change sends a page: small ones cost less for a change, large ones
        /// less for everything.
        var budget: Int {
            switch self {
            case .identity: GossipPage.longest - GossipPage.overhead
            case .links: 188
            case .wishes: 420
            }
        }
    }
}
