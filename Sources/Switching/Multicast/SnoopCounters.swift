// What the snooper ignored, refused, or could not keep, counted by rule. Every message that makes no state, or less than it
// asks for, is under one of these, and `causeway show rules` shows them.

/// Each case is one counter. The name is stable: it is the key in JSON.
public enum SnoopCounter: UInt8, CaseIterable, Hashable, Sendable {
    // Messages refused as a whole.
    case badLength, badChecksum, queryLength, fragment, badGroup
    case misaddressedQuery, queryNotLinkLocal, hopLimit, noRouterAlert
    // Messages that count less than they might.
    case zeroQuery, olderQuerier
    // Records and sources left out.
    case unknownRecord, notAGroup, unsnoopedGroup, badSource
    case olderReportInSSM, excludeInSSM
    case blockInOlderMode, sourcesInOlderMode, leaveInFirstMode
    // Limits: past each of them more is forwarded.
    case groupLimit, sourceLimit, memberLimit, reportRate, queueFull, routerLimit, vlanLimit, interestLimit
    // Taken, but not to the letter.
    case cappedQuerier

    /// The number of the rule, as in the documentation's list of behaviours.
    public var rule: Int {
        switch self {
        case .badLength, .badChecksum: 8
        case .queryLength: 6
        case .fragment, .badGroup, .unknownRecord, .notAGroup, .badSource: 25
        case .misaddressedQuery, .queryNotLinkLocal, .hopLimit, .noRouterAlert: 26
        case .zeroQuery: 3
        case .olderQuerier, .cappedQuerier: 23
        case .unsnoopedGroup: 11
        case .olderReportInSSM, .excludeInSSM: 24
        case .blockInOlderMode, .sourcesInOlderMode, .leaveInFirstMode: 22
        case .groupLimit, .sourceLimit, .memberLimit, .reportRate, .queueFull, .routerLimit, .vlanLimit, .interestLimit: 29
        }
    }

    /// The stable name: lower case with hyphens.
    public var name: String {
        switch self {
        case .badLength: "bad-length"
        case .badChecksum: "bad-checksum"
        case .queryLength: "query-length"
        case .fragment: "fragment"
        case .badGroup: "bad-group"
        case .misaddressedQuery: "misaddressed-query"
        case .queryNotLinkLocal: "query-not-link-local"
        case .hopLimit: "hop-limit"
        case .noRouterAlert: "no-router-alert"
        case .zeroQuery: "zero-query"
        case .olderQuerier: "older-querier"
        case .unknownRecord: "unknown-record"
        case .notAGroup: "not-a-group"
        case .unsnoopedGroup: "unsnooped-group"
        case .badSource: "bad-source"
        case .olderReportInSSM: "older-report-in-ssm"
        case .excludeInSSM: "exclude-in-ssm"
        case .blockInOlderMode: "block-in-older-mode"
        case .sourcesInOlderMode: "sources-in-older-mode"
        case .leaveInFirstMode: "leave-in-first-mode"
        case .groupLimit: "group-limit"
        case .sourceLimit: "source-limit"
        case .memberLimit: "member-limit"
        case .reportRate: "report-rate"
        case .queueFull: "queue-full"
        case .routerLimit: "router-limit"
        case .vlanLimit: "vlan-limit"
        case .interestLimit: "interest-limit"
        case .cappedQuerier: "capped-querier"
        }
    }

    /// One sentence for an operator.
    public var explanation: String {
        switch self {
        case .badLength: "shorter than it says it is, or a broken IP header: not used, not forwarded"
        case .badChecksum: "wrong checksum: not used, not forwarded"
        case .queryLength: "a query of a length between two versions: not used, not forwarded"
        case .fragment: "a fragment of an IGMP or MLD message: not used, not forwarded"
        case .badGroup: "a query for what is no group: not used, not forwarded"
        case .misaddressedQuery: "a general query that is not addressed to 224.0.0.1 or ff02::1"
        case .queryNotLinkLocal: "an MLD query whose source is not link-local"
        case .hopLimit: "strict: TTL or hop limit is not 1"
        case .noRouterAlert: "strict: no Router Alert"
        case .zeroQuery: "a query from 0.0.0.0 or ::, which elects nobody and marks no router port"
        case .olderQuerier: "a query of an older version than ours"
        case .unknownRecord: "a group record of an unknown type; the records after it were used"
        case .notAGroup: "a group record whose address is no group that can be joined"
        case .unsnoopedGroup: "a group record for 224.0.0.0/24 or ff02::1, which go everywhere anyway"
        case .badSource: "a source that is not unicast"
        case .olderReportInSSM: "an IGMPv1, IGMPv2 or MLDv1 message for a group of the SSM range"
        case .excludeInSSM: "an EXCLUDE record for a group of the SSM range"
        case .blockInOlderMode: "a BLOCK record for a group with hosts of an older version"
        case .sourcesInOlderMode: "the sources of a TO_EX record for a group with hosts of an older version"
        case .leaveInFirstMode: "a leave for a group with IGMPv1 hosts"
        case .groupLimit: "multicast.groups.limit was reached: every group of the VLAN is forwarded to that port"
        case .sourceLimit: "multicast.sources.limit was reached: every source of the group is forwarded"
        case .memberLimit: "multicast.members.limit was reached: the host is not tracked, leaves take the last member query time"
        case .reportRate: "multicast.reports.limit (of records) was exceeded: every group of the VLAN is forwarded to that port"
        case .queueFull: "messages came faster than they could be taken: every group is forwarded to that port for a while"
        case .routerLimit: "more routers than can be kept: one of the port that has most was forgotten"
        case .vlanLimit: "more VLANs than are asked (1,024) in use: reports count there, but another querier has to ask"
        case .interestLimit: "multicast.interests.limit was reached: that site is sent every group"
        case .cappedQuerier: "a query that says a longer interval than is adopted: 8 of our own, or 1,000 s if that is more"
        }
    }
}

/// One total for each.
public struct SnoopCounters: Hashable, Sendable {
    private var totals = [UInt64](repeating: 0, count: SnoopCounter.allCases.count)

    public init() {}

    public subscript(counter: SnoopCounter) -> UInt64 { totals[Int(counter.rawValue)] }

    public mutating func add(_ counter: SnoopCounter, _ amount: Int = 1) {
        totals[Int(counter.rawValue)] &+= UInt64(clamping: amount)
    }

    public mutating func add(_ other: SnoopCounters) {
        for index in totals.indices { totals[index] &+= other.totals[index] }
    }
}
