// What a gateway tells the others about its site: facts, each owned by that gateway and numbered by it. Merging is "the newest
// from its owner", so that order and repetition do not matter (rule 32); RFC 9251's SMET route is the model of an interest.
//
//     a message:  kind 1 (facts)      fact ...
//                 kind 2 (all told)   nothing: what was told on an earlier stream and not on this one holds no longer
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//     | fact's kind   | flags: 1 gone | octets of what follows        |
//     +---------------+---------------+-------------------------------+
//     | version, 64 bit                                               |
//     +---------------------------------------------------------------+
//     | kind 1, an interest: flags 1 source, 2 not wanted; generations|
//     |   VLAN 16 bit, family 8 bit, group, source if there is one    |
//     | kind 2, routers: VLAN 16 bit (ffff: every one), family, kinds,|
//     |   flags 1 wants everything                                    |
//     | kind 3, unregistered groups are flooded: nothing              |
//     +---------------------------------------------------------------+
//
// Kinds that are not known are skipped by their length, and so are octets after the fields of a known one.

import Basics

/// What a fact is about. A site has at most one fact for each key.
public enum FactKey: Hashable, Sendable {
    /// Somebody at the site wants a source of a group (or `nil`: every source). An unspecified group is every group of its
    /// family, for a site that can no longer tell.
    case interest(VLAN, group: IPAddress, source: IPAddress?)
    /// Multicast routers on a VLAN; `nil` for every VLAN.
    case routers(VLAN?, IPFamily)
    /// Groups that nobody at the site has joined are flooded there.
    case unregistered

    /// The group that an interest is about.
    var groupKey: GroupKey? {
        guard case .interest(let vlan, let group, _) = self else { return nil }
        return GroupKey(vlan, group)
    }
}

extension FactKey: Comparable {
    public static func < (a: FactKey, b: FactKey) -> Bool {
        switch (a, b) {
        case (.interest(let vlan, let group, let source), .interest(let otherVLAN, let otherGroup, let otherSource)):
            if (vlan, group) != (otherVLAN, otherGroup) { return (vlan, group) < (otherVLAN, otherGroup) }
            guard let otherSource else { return false }
            return source.map { $0 < otherSource } ?? true
        case (.routers(let vlan, let family), .routers(let otherVLAN, let otherFamily)):
            return (vlan.map { Int($0.rawValue) } ?? -1, family) < (otherVLAN.map { Int($0.rawValue) } ?? -1, otherFamily)
        default: return a.rank < b.rank
        }
    }

    private var rank: Int {
        switch self {
        case .unregistered: 0
        case .routers: 1
        case .interest: 2
        }
    }
}

/// What is said of the key.
public enum FactValue: Hashable, Sendable {
    /// `isExcluded` only with a source: everything of the group but this.
    case interest(isExcluded: Bool, Generations)
    case routers(RouterKinds, wantsEverything: Bool)
    case unregistered
}

public struct Fact: Hashable, Sendable {
    public var key: FactKey
    /// Grows with each change that the owner makes, also over its restarts.
    public var version: UInt64
    /// `nil`: it holds no longer.
    public var value: FactValue?

    public init(_ key: FactKey, version: UInt64, _ value: FactValue?) {
        self.key = key
        self.version = version
        self.value = value
    }

    /// Of two facts with one key and one owner, the one that holds.
    public static func newest(_ a: Fact, _ b: Fact) -> Fact { a.version >= b.version ? a : b }
}

/// A control message about facts.
public enum FactMessage: Hashable, Sendable {
    case facts([Fact])
    case allTold

    enum Kind {
        static let facts: UInt8 = 1
        static let allTold: UInt8 = 2
    }

    /// - Returns: the octets of one message.
    public var encoded: [UInt8] {
        switch self {
        case .facts(let facts): facts.reduce(into: [Kind.facts]) { $1.encode(into: &$0) }
        case .allTold: [Kind.allTold]
        }
    }

    /// `nil` for a message of another kind, or one whose lengths do not fit.
    public static func parse(_ bytes: [UInt8]) -> FactMessage? {
        var reader = FactReader(bytes)
        switch reader.byte() {
        case Kind.facts:
            var facts: [Fact] = []
            while !reader.isAtEnd {
                guard let fact = Fact.parse(&reader) else { return nil }
                if let fact = fact { facts.append(fact) }
            }
            return .facts(facts)
        case Kind.allTold: return .allTold
        default: return nil
        }
    }
}

// MARK: - Octets

extension Fact {
    private enum Kind {
        static let interest: UInt8 = 1
        static let routers: UInt8 = 2
        static let unregistered: UInt8 = 3
    }
    private static let gone: UInt8 = 1
    private static let hasSource: UInt8 = 1
    private static let isExcluded: UInt8 = 2
    private static let wantsEverything: UInt8 = 1
    private static let everyVLAN: UInt16 = 0xFFFF

    /// Octets of the longest fact.
    static let longest = 4 + 8 + 2 + 2 + 1 + 32

    func encode(into bytes: inout [UInt8]) {
        var body: [UInt8] = []
        append(version, to: &body)
        let kind: UInt8
        switch key {
        case .interest(let vlan, let group, let source):
            kind = Kind.interest
            var flags: UInt8 = source == nil ? 0 : Self.hasSource
            var generations: UInt8 = 0
            if case .interest(let excluded, let spoken) = value {
                if excluded { flags |= Self.isExcluded }
                generations = spoken.rawValue
            }
            body += [flags, generations]
            append(vlan.rawValue, to: &body)
            body.append(group.family.rawValue)
            append(group, to: &body)
            if let source { append(source, to: &body) }
        case .routers(let vlan, let family):
            kind = Kind.routers
            append(vlan?.rawValue ?? Self.everyVLAN, to: &body)
            body.append(family.rawValue)
            if case .routers(let kinds, let everything) = value {
                body += [kinds.rawValue, everything ? Self.wantsEverything : 0]
            } else {
                body += [0, 0]
            }
        case .unregistered: kind = Kind.unregistered
        }
        bytes += [kind, value == nil ? Self.gone : 0]
        append(UInt16(truncatingIfNeeded: body.count), to: &bytes)
        bytes += body
    }

    private func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        var shift = value.bitWidth
        while shift > 0 {
            shift -= 8
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    private func append(_ address: IPAddress, to bytes: inout [UInt8]) {
        if let ipv4 = address.ipv4 { return append(ipv4, to: &bytes) }
        append(address.high, to: &bytes)
        append(address.low, to: &bytes)
    }

    /// `nil`: the octets make no sense. `.some(nil)`: a fact of an unknown kind, or about what no gateway of this version
    /// would say; it is skipped.
    static func parse(_ reader: inout FactReader) -> Fact?? {
        guard let kind = reader.byte(), let flags = reader.byte(), let count = reader.integer(UInt16.self),
            var body = reader.slice(Int(count))
        else { return nil }
        guard kind >= Kind.interest && kind <= Kind.unregistered else { return .some(nil) }
        guard let version = body.integer(UInt64.self) else { return .some(nil) }
        let isGone = flags & Self.gone != 0
        switch kind {
        case Kind.interest:
            guard let flags = body.byte(), let generations = body.byte(), let number = body.integer(UInt16.self),
                let family = body.byte().flatMap(IPFamily.init(rawValue:)), let group = body.address(family)
            else { return .some(nil) }
            var source: IPAddress?
            if flags & Self.hasSource != 0 {
                source = body.address(family)
                guard source != nil else { return .some(nil) }
            }
            guard number <= 0x1FFF, group.family == family, group.isSnoopedGroup || (group.isUnspecified && source == nil),
                source?.isUnicast ?? true, source?.family ?? family == family
            else { return .some(nil) }
            let excluded = flags & Self.isExcluded != 0 && source != nil
            return Fact(
                .interest(VLAN(rawValue: number), group: group, source: source), version: version,
                isGone ? nil : .interest(isExcluded: excluded, Generations(rawValue: generations & 7)))
        case Kind.routers:
            guard let number = body.integer(UInt16.self), let family = body.byte().flatMap(IPFamily.init(rawValue:)),
                let kinds = body.byte(), let flags = body.byte()
            else { return .some(nil) }
            guard number <= 0x1FFF || number == Self.everyVLAN else { return .some(nil) }
            return Fact(
                .routers(number == Self.everyVLAN ? nil : VLAN(rawValue: number), family), version: version,
                isGone ? nil : .routers(RouterKinds(rawValue: kinds), wantsEverything: flags & Self.wantsEverything != 0))
        default: return Fact(.unregistered, version: version, isGone ? nil : .unregistered)
        }
    }
}

/// Reads octets from the front; nothing here traps.
struct FactReader {
    private let bytes: [UInt8]
    private var position: Int
    private let end: Int

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        position = 0
        end = bytes.count
    }

    private init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    var isAtEnd: Bool { position == end }

    mutating func byte() -> UInt8? { integer(UInt8.self) }

    mutating func integer<T: FixedWidthInteger>(_: T.Type) -> T? {
        let count = T.bitWidth / 8
        guard end - position >= count else { return nil }
        defer { position += count }
        return bytes[position..<(position + count)].reduce(0) { $0 &<< 8 | T(truncatingIfNeeded: $1) }
    }

    mutating func address(_ family: IPFamily) -> IPAddress? {
        if family == .v4 { return integer(UInt32.self).map { IPAddress(ipv4: $0) } }
        guard let high = integer(UInt64.self), let low = integer(UInt64.self) else { return nil }
        return IPAddress(high: high, low: low)
    }

    mutating func slice(_ count: Int) -> FactReader? {
        guard end - position >= count else { return nil }
        defer { position += count }
        return FactReader(bytes, position..<(position + count))
    }
}
