// What a site may send and receive (rule 44): ranges of groups, each with the sources that it is for, and VLANs. `GroupRules`
// and `VLANRules` are as a pass says it; `Entitlements` is the same laid out for look-ups: a binary search over ranges that do
// not overlap, without allocation.

import Basics

/// A block of groups, and the sources that it is for.
public struct GroupRule: Hashable, Comparable, Sendable {
    public var groups: IPPrefix
    /// Blocks of unicast addresses, of the groups' family; empty: every source.
    public var sources: [IPPrefix]

    public init(_ groups: IPPrefix, from sources: [IPPrefix] = []) {
        self.groups = groups
        self.sources = sources
    }

    public static func < (a: GroupRule, b: GroupRule) -> Bool {
        if a.groups != b.groups { return a.groups.order < b.groups.order }
        return a.sources.lexicographicallyPrecedes(b.sources) { $0.order < $1.order }
    }
}

extension GroupRule: CustomStringConvertible {
    public var description: String {
        "\(groups)" + (sources.isEmpty ? "" : " from " + sources.map(\.description).joined(separator: " "))
    }
}

/// Which groups.
public enum GroupRules: Hashable, Sendable {
    case any
    /// Sorted; an empty list is nothing.
    case listed([GroupRule])

    public static let none = GroupRules.listed([])
}

extension GroupRules: CustomStringConvertible {
    public var description: String {
        switch self {
        case .any: "any"
        case .listed(let rules): rules.isEmpty ? "none" : rules.map(\.description).joined(separator: ", ")
        }
    }
}

/// Which VLANs.
public enum VLANRules: Hashable, Sendable {
    case any
    /// Ascending ranges of `VLAN.rawValue` that do not touch each other; no range has customer and service VLANs.
    case listed([ClosedRange<UInt16>])

    /// Sorts and joins ranges.
    public init(_ ranges: [ClosedRange<UInt16>]) {
        var joined: [ClosedRange<UInt16>] = []
        for range in ranges.sorted(by: { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }) {
            if let last = joined.last, range.lowerBound <= last.upperBound || range.lowerBound == last.upperBound &+ 1,
                range.lowerBound != 0x1000
            {
                joined[joined.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
        self = .listed(joined)
    }
}

extension VLANRules: CustomStringConvertible {
    /// `any`, `none`, or such as `-, 10, 100-199, s20`; `-` is untagged.
    public var description: String {
        switch self {
        case .any: return "any"
        case .listed(let ranges):
            if ranges.isEmpty { return "none" }
            return ranges.flatMap { range -> [String] in
                var range = range
                var items: [String] = []
                if range.lowerBound == 0 {
                    items.append("-")
                    if range.upperBound == 0 { return items }
                    range = 1...range.upperBound
                }
                let first = VLAN(rawValue: range.lowerBound)
                items.append(range.count == 1 ? "\(first)" : "\(first)-\(VLAN(rawValue: range.upperBound).identifier)")
                return items
            }.joined(separator: ", ")
        }
    }
}

// MARK: - For look-ups

/// Group rules as ranges that do not overlap. A look-up is O(log n) in ranges and then in sources.
public struct CompiledGroups: Sendable {
    /// One range of groups, and where its sources are in `sources`; an empty place: every source.
    private struct Range: Sendable {
        var first: UInt128
        var last: UInt128
        var sourcesFrom: Int
        var sourcesTo: Int
    }
    private let isAny: Bool
    private var ranges: [Range] = []
    private var sources: [(first: UInt128, last: UInt128)] = []

    /// O(n²) in rules.
    public init(_ rules: GroupRules) {
        guard case .listed(let rules) = rules else {
            isAny = true
            return
        }
        isAny = false
        // Each address at which the set of rules that hold may change.
        var edges: Set<UInt128> = []
        for rule in rules {
            edges.insert(rule.groups.first)
            if rule.groups.last < .max { edges.insert(rule.groups.last + 1) }
        }
        let starts = edges.sorted()
        for (index, first) in starts.enumerated() {
            let last = index + 1 < starts.count ? starts[index + 1] - 1 : .max
            let holding = rules.filter { $0.groups.first <= first && last <= $0.groups.last }
            if holding.isEmpty { continue }
            let from = sources.count
            if !holding.contains(where: \.sources.isEmpty) {
                sources += Self.joined(holding.flatMap(\.sources))
            }
            ranges.append(Range(first: first, last: last, sourcesFrom: from, sourcesTo: sources.count))
        }
    }

    private static func joined(_ prefixes: [IPPrefix]) -> [(first: UInt128, last: UInt128)] {
        var joined: [(first: UInt128, last: UInt128)] = []
        for prefix in prefixes.sorted(by: { ($0.first, $0.last) < ($1.first, $1.last) }) {
            if let last = joined.last, prefix.first <= last.last {
                joined[joined.count - 1].last = max(last.last, prefix.last)
            } else {
                joined.append((prefix.first, prefix.last))
            }
        }
        return joined
    }

    /// - Parameter source: `nil` asks whether there is any source from which the group is allowed.
    public func allows(_ group: IPAddress, from source: IPAddress?) -> Bool {
        if isAny { return true }
        let address = group.number
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].last < address { low = middle + 1 } else { high = middle }
        }
        guard low < ranges.count, ranges[low].first <= address else { return false }
        let range = ranges[low]
        guard let source, range.sourcesFrom < range.sourcesTo else { return true }
        let origin = source.number
        low = range.sourcesFrom
        high = range.sourcesTo
        while low < high {
            let middle = (low + high) / 2
            if sources[middle].last < origin { low = middle + 1 } else { high = middle }
        }
        return low < range.sourcesTo && sources[low].first <= origin
    }
}

/// What one site may do, for look-ups.
public struct Entitlements: Sendable {
    private let send: CompiledGroups
    private let receive: CompiledGroups
    /// A bit for each `VLAN.rawValue`.
    private let vlans: [UInt64]
    public let mayRelay: Bool
    /// What it was made from, as the pass says it.
    public let sendRules: GroupRules
    public let receiveRules: GroupRules
    public let vlanRules: VLANRules

    public init(send: GroupRules, receive: GroupRules, vlans: VLANRules, mayRelay: Bool) {
        self.send = CompiledGroups(send)
        self.receive = CompiledGroups(receive)
        self.mayRelay = mayRelay
        sendRules = send
        receiveRules = receive
        vlanRules = vlans
        switch vlans {
        case .any: self.vlans = [UInt64](repeating: .max, count: 128)
        case .listed(let ranges):
            var bits = [UInt64](repeating: 0, count: 128)
            for range in ranges {
                for number in range where number < 0x2000 { bits[Int(number) >> 6] |= 1 << UInt64(number & 63) }
            }
            self.vlans = bits
        }
    }

    /// Of a site that nothing limits: one that is named with its key, in a mesh without an authority.
    public static let everything = Entitlements(send: .any, receive: .any, vlans: .any, mayRelay: true)

    public func mayUse(_ vlan: VLAN) -> Bool { vlans[Int(vlan.rawValue) >> 6] >> UInt64(vlan.rawValue & 63) & 1 != 0 }

    /// Whether frames to the group, from the source, may come from the site. Groups that go everywhere, such as 224.0.0.1,
    /// are the caller's to let through: no rule need name them.
    public func maySend(_ vlan: VLAN, _ group: IPAddress, from source: IPAddress?) -> Bool {
        mayUse(vlan) && send.allows(group, from: source)
    }

    /// Whether such frames may go to the site.
    public func mayReceive(_ vlan: VLAN, _ group: IPAddress, from source: IPAddress?) -> Bool {
        mayUse(vlan) && receive.allows(group, from: source)
    }
}

extension IPAddress {
    /// As one number; IPv4 and IPv6 addresses never meet, since IPv4 is held as mapped.
    var number: UInt128 { UInt128(high) << 64 | UInt128(low) }
}

extension IPPrefix {
    private var hostBits: Int { (address.family == .v4 ? 32 : 128) - length }
    private var hostMask: UInt128 { hostBits == 128 ? .max : (1 << UInt128(hostBits)) - 1 }
    var first: UInt128 { address.number & ~hostMask }
    var last: UInt128 { address.number | hostMask }

    /// IPv4 first, then by address, then the wider one.
    var order: (UInt8, UInt128, Int) { (address.family.rawValue, first, length) }

    /// The same block with the bits beyond the length cleared.
    var canonical: IPPrefix {
        let cleared = IPAddress(high: UInt64(truncatingIfNeeded: first >> 64), low: UInt64(truncatingIfNeeded: first))
        return IPPrefix(cleared, length: length) ?? self
    }
}
