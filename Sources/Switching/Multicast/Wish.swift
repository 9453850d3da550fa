// What somebody wants of a group: a host, a port, a site, or all sites together. It is RFC 9776's filter (section 3.2): a
// list of sources that are wanted, or of those that are not. Merging wishes forwards what any of them wants (rule 16).

import Basics
import Wire

/// Which generations of the protocol the members of a group speak: RFC 9251's flags.
public struct Generations: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public init(_ generation: MembershipGeneration) { rawValue = 1 << (generation.rawValue - 1) }

    public static let first = Generations(.first)
    public static let second = Generations(.second)
    public static let third = Generations(.third)
}

public struct Wish: Hashable, Sendable {
    public enum Mode: UInt8, Hashable, Sendable {
        case include = 1
        case exclude = 2
    }

    public var mode: Mode
    /// Ascending, without duplicates. INCLUDE: those wanted. EXCLUDE: those not wanted.
    public var sources: [IPAddress]
    public var generations: Generations

    /// - Parameter sources: in any order.
    public init(_ mode: Mode, _ sources: [IPAddress] = [], generations: Generations = []) {
        self.mode = mode
        self.sources = Array(Set(sources)).sorted()
        self.generations = generations
    }

    /// INCLUDE{}: nothing.
    public static let nothing = Wish(.include)
    /// EXCLUDE{}: every source.
    public static let everything = Wish(.exclude)

    public var isNothing: Bool { mode == .include && sources.isEmpty }

    /// Whether frames from `source` are wanted.
    public func wants(_ source: IPAddress) -> Bool { lists(source) == (mode == .include) }

    /// Whether the source is in the list, O(log n).
    public func lists(_ source: IPAddress) -> Bool {
        var low = 0
        var high = sources.count
        while low < high {
            let middle = (low + high) / 2
            if sources[middle] == source { return true }
            if sources[middle] < source { low = middle + 1 } else { high = middle }
        }
        return false
    }

    /// What either wants (RFC 9776 section 3.2). O(n log n).
    public func union(_ other: Wish) -> Wish {
        let generations = generations.union(other.generations)
        switch (mode, other.mode) {
        case (.include, .include): return Wish(.include, sources + other.sources, generations: generations)
        case (.exclude, .exclude):
            return Wish(.exclude, sources.filter { other.lists($0) }, generations: generations)
        case (.exclude, .include):
            return Wish(.exclude, sources.filter { !other.lists($0) }, generations: generations)
        case (.include, .exclude):
            return Wish(.exclude, other.sources.filter { !lists($0) }, generations: generations)
        }
    }
}

/// A group on a VLAN: what wishes, members and feeds are kept by.
public struct GroupKey: Hashable, Comparable, Sendable, BitwiseCopyable {
    public var vlan: VLAN
    public var group: IPAddress

    public init(_ vlan: VLAN, _ group: IPAddress) {
        self.vlan = vlan
        self.group = group
    }

    public var family: IPFamily { group.family }

    public static func < (a: GroupKey, b: GroupKey) -> Bool { (a.vlan, a.group) < (b.vlan, b.group) }
}
