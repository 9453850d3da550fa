// Rights laid out for look-ups: ranges of numbers that do not overlap, ascending. Two sites' rights become one list by
// intersection, so that what may go from one to the other is a single search. An address is a number of 128 bits; IPv4 and IPv6
// never meet, since IPv4 is held as mapped.

import Basics

struct NumberRange: Hashable, Sendable {
    var first: UInt128
    var last: UInt128

    static let all = NumberRange(first: 0, last: .max)

    func intersection(_ other: NumberRange) -> NumberRange? {
        let (first, last) = (max(first, other.first), min(last, other.last))
        return first <= last ? NumberRange(first: first, last: last) : nil
    }

    /// Ascending and apart, whatever the order of `ranges`. O(n log n).
    static func joined(_ ranges: [NumberRange]) -> [NumberRange] {
        var joined: [NumberRange] = []
        for range in ranges.sorted(by: { ($0.first, $0.last) < ($1.first, $1.last) }) {
            if let last = joined.last, last.last == .max || range.first <= last.last + 1 {
                joined[joined.count - 1].last = max(last.last, range.last)
            } else {
                joined.append(range)
            }
        }
        return joined
    }

    /// What is in both of two lists that are ascending and apart. O(n + m).
    static func intersection(_ a: [NumberRange], _ b: [NumberRange]) -> [NumberRange] {
        var (i, j) = (0, 0)
        var both: [NumberRange] = []
        while i < a.count && j < b.count {
            if let common = a[i].intersection(b[j]) { both.append(common) }
            if a[i].last < b[j].last { i += 1 } else { j += 1 }
        }
        return both
    }

    static func contains(_ ranges: [NumberRange], _ number: UInt128) -> Bool {
        ranges.contains { $0.first <= number && number <= $0.last }
    }
}

/// Groups, each range with its sources.
struct GroupRanges: Hashable, Sendable {
    struct Range: Hashable, Sendable {
        var groups: NumberRange
        /// Ascending and apart; `nil`: every source. Never empty.
        var sources: [NumberRange]?
    }

    /// How much of a group's traffic is meant.
    enum Reach: Hashable, Sendable {
        case everySource
        case someSources
        case nothing
    }

    private(set) var ranges: [Range]

    static let all = GroupRanges(ranges: [Range(groups: .all, sources: nil)])

    private init(ranges: [Range]) { self.ranges = ranges }

    /// O(n²) in rules.
    init(_ rights: GroupRights) {
        guard let rules = rights.rules else {
            self = .all
            return
        }
        let blocks = rules.map { (groups: $0.groups.numbers, sources: $0.sources.map(\.numbers)) }
        // Each number at which the set of rules that hold may change.
        var starts: Set<UInt128> = []
        for block in blocks {
            starts.insert(block.groups.first)
            if block.groups.last < .max { starts.insert(block.groups.last + 1) }
        }
        ranges = []
        let edges = starts.sorted()
        for (index, first) in edges.enumerated() {
            let last = index + 1 < edges.count ? edges[index + 1] - 1 : .max
            let holding = blocks.filter { $0.groups.first <= first && last <= $0.groups.last }
            if holding.isEmpty { continue }
            let isOpen = holding.contains { $0.sources.isEmpty }
            let sources = isOpen ? nil : NumberRange.joined(holding.flatMap(\.sources))
            ranges.append(Range(groups: NumberRange(first: first, last: last), sources: sources))
        }
    }

    /// What both allow. O(n + m) in ranges, and likewise in sources of each.
    func intersection(_ other: GroupRanges) -> GroupRanges {
        var (i, j) = (0, 0)
        var both: [Range] = []
        while i < ranges.count && j < other.ranges.count {
            let (a, b) = (ranges[i], other.ranges[j])
            if let groups = a.groups.intersection(b.groups) {
                switch (a.sources, b.sources) {
                case (nil, let sources), (let sources, nil): both.append(Range(groups: groups, sources: sources))
                case (let one?, let two?):
                    let sources = NumberRange.intersection(one, two)
                    if !sources.isEmpty { both.append(Range(groups: groups, sources: sources)) }
                }
            }
            if a.groups.last < b.groups.last { i += 1 } else { j += 1 }
        }
        return GroupRanges(ranges: both)
    }

    var isEverything: Bool { self == .all }

    /// - Parameter source: `nil` asks about all of them.
    func reach(_ group: IPAddress, from source: IPAddress?) -> Reach {
        guard let range = ranges.first(where: { $0.groups.first <= group.number && group.number <= $0.groups.last }) else {
            return .nothing
        }
        guard let sources = range.sources else { return .everySource }
        guard let source else { return .someSources }
        return NumberRange.contains(sources, source.number) ? .everySource : .nothing
    }
}

extension IPAddress {
    @inlinable @inline(__always)
    var number: UInt128 { UInt128(truncatingIfNeeded: high) << 64 | UInt128(truncatingIfNeeded: low) }
}

extension IPPrefix {
    var numbers: NumberRange {
        let bits = (address.family == .v4 ? 32 : 128) - length
        let mask: UInt128 = bits == 128 ? .max : (1 << UInt128(bits)) - 1
        return NumberRange(first: address.number & ~mask, last: address.number | mask)
    }
}
