// What IGMP (RFC 1112, 2236, 9776) and MLD (RFC 2710, 9777) say, as values that are the same for both families. How they
// stand in octets is in `IGMP.swift` and `MLD.swift`; router discovery (RFC 4286) travels in the same messages.

import Basics

/// Which generation of the protocol a message, a host or a querier speaks. MLDv1 is IGMPv2 in other octets, MLDv2 IGMPv3.
public enum MembershipGeneration: UInt8, CaseIterable, Hashable, Comparable, Sendable, BitwiseCopyable {
    /// IGMPv1. MLD has no such generation.
    case first = 1
    /// IGMPv2 and MLDv1.
    case second = 2
    /// IGMPv3 and MLDv2.
    case third = 3

    public static func < (a: MembershipGeneration, b: MembershipGeneration) -> Bool { a.rawValue < b.rawValue }

    /// `IGMPv2`, `MLDv1`.
    public func name(_ family: IPFamily) -> String {
        family == .v4 ? "IGMPv\(rawValue)" : "MLDv\(max(rawValue, 2) - 1)"
    }
}

/// The type of a group record (RFC 9776 section 4.2.12).
public enum GroupRecordKind: UInt8, CaseIterable, Hashable, Sendable, BitwiseCopyable {
    case isInclude = 1
    case isExclude = 2
    case toInclude = 3
    case toExclude = 4
    case allow = 5
    case block = 6
}

/// One group record. The reports and leaves of older generations are records too: a v1 or v2 report is IS_EX{}, a leave or
/// an MLDv1 Done is TO_IN{} (RFC 9776 section 7.3.2).
public struct GroupRecord: Hashable, Sendable {
    public var kind: GroupRecordKind
    public var group: IPAddress
    /// In the order in which they stood, duplicates left out.
    public var sources: [IPAddress]

    public init(_ kind: GroupRecordKind, _ group: IPAddress, _ sources: [IPAddress] = []) {
        self.kind = kind
        self.group = group
        self.sources = sources
    }
}

/// A query.
public struct MembershipQuery: Hashable, Sendable {
    public var generation: MembershipGeneration
    /// `nil` in a general query.
    public var group: IPAddress?
    /// Only in the third generation.
    public var sources: [IPAddress]
    /// How long hosts may take to answer; the first generation's is 10 s (RFC 9776 section 7.2.1).
    public var maxResponse: Interval
    /// The S flag: routers do not lower their timers.
    public var suppress: Bool
    /// QRV: the querier's robustness, 0 to 7; 0 where it says none.
    public var robustness: UInt8
    /// QQI: the querier's query interval; zero where it says none.
    public var queryInterval: Interval

    public init(
        generation: MembershipGeneration = .third, group: IPAddress? = nil, sources: [IPAddress] = [], maxResponse: Interval,
        suppress: Bool = false, robustness: UInt8 = 0, queryInterval: Interval = .zero
    ) {
        self.generation = generation
        self.group = group
        self.sources = sources
        self.maxResponse = maxResponse
        self.suppress = suppress
        self.robustness = robustness
        self.queryInterval = queryInterval
    }
}

/// A report or a leave, with what was left out of it.
public struct MembershipReport: Hashable, Sendable {
    public var generation: MembershipGeneration
    public var records: [GroupRecord]
    public var ignored: IgnoredRecords

    public init(generation: MembershipGeneration, records: [GroupRecord], ignored: IgnoredRecords = IgnoredRecords()) {
        self.generation = generation
        self.records = records
        self.ignored = ignored
    }
}

/// Records and sources of a sound report that mean nothing here (rule 25).
public struct IgnoredRecords: Hashable, Sendable {
    /// Records of a type that is not known; those after them are used.
    public var unknownKind = 0
    /// Records whose group is not multicast, or has an invalid scope.
    public var notAGroup = 0
    /// Records for 224.0.0.0/24 or ff02::1.
    public var unsnooped = 0
    /// Sources that are not unicast. A record of which no source is left, though it had some, is left out whole.
    public var badSource = 0

    public init() {}
}

/// A message of IGMP, MLD, or router discovery.
public enum MembershipMessage: Hashable, Sendable {
    case query(MembershipQuery)
    case report(MembershipReport)
    /// Router discovery (RFC 4286): 0x30 or 151. Interval and robustness as the router advertises them.
    case advertisement(interval: Interval, queryInterval: Interval, robustness: UInt16)
    /// 0x31 or 152.
    case solicitation
    /// 0x32 or 153.
    case termination
}

/// A packet with such a message: what the headers before it say.
public struct MembershipPacket: Hashable, Sendable {
    public var source: IPAddress
    public var destination: IPAddress
    /// TTL or hop limit.
    public var hopLimit: UInt8
    /// IPv4's option, or IPv6's in a hop-by-hop header with the value for MLD (RFC 2113, RFC 2711).
    public var hasRouterAlert: Bool
    public var message: MembershipMessage

    public init(
        source: IPAddress, destination: IPAddress, hopLimit: UInt8, hasRouterAlert: Bool, message: MembershipMessage
    ) {
        self.source = source
        self.destination = destination
        self.hopLimit = hopLimit
        self.hasRouterAlert = hasRouterAlert
        self.message = message
    }

    public var family: IPFamily { destination.family }
}

/// Why a message was refused as a whole: it makes no state and is not forwarded (rules 6, 8, 25).
public enum MembershipRefusal: UInt8, CaseIterable, Hashable, Sendable {
    /// Shorter than its type or its counts say, by the IP length; or an IP header that is broken.
    case badLength
    /// IGMP's own, ICMPv6's, or that of the IPv4 header.
    case badChecksum
    /// A query of 9 to 11 octets (IGMP), or 25 to 27 (MLD).
    case queryLength
    case fragment
    /// A query for a group that is not multicast, or for one that nobody joins.
    case badGroup
}

/// What a frame turned out to be.
public enum MembershipParse: Hashable, Sendable {
    case packet(MembershipPacket)
    case refused(MembershipRefusal, IPFamily)
    /// Not IGMP, MLD or router discovery; or IGMP of a type that is not known (rule 5).
    case other
}
