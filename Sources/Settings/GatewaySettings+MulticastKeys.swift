// The keys of a configuration that are about multicast: one row each, those of IGMP and MLD from one list.

import Basics

extension GatewaySettings {
    static let multicastKeys = groupKeys + limitKeys + FamilyKeys.igmp.keys + FamilyKeys.mld.keys

    private static let groupKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "multicast.snooping", .boolean, \.tuning.multicast.snooping,
            "Whether groups go where they were joined; off, every multicast frame goes to every port and site."),
        SettingKey(
            "multicast.unregistered", .word, \.tuning.multicast.unregistered,
            "What this site gets of groups that nobody at it has joined: `routers` sends them to ports with a multicast router."),
        SettingKey(
            "multicast.router-sites", .word, \.tuning.multicast.routerSites,
            "Which sites get every group: `pim` those where PIM or router discovery was heard, `all` those with any router."
        ),
        SettingKey(
            "multicast.ssm", .groupRanges, \.tuning.multicast.ssm,
            "Groups that are joined by source only; reports of older versions for them are ignored."),
        SettingKey(
            "multicast.static", .staticGroups,
            .optional(example: "239.1.1.1, 232.1.1.1 from 192.0.2.7, ff3e::8000:1 from 2001:db8::1 on 10"),
            "Groups that this site gets before anyone asks for them."
        ) { $0.tuning.multicast.statics = $2 },
        SettingKey(
            "multicast.tracking", .boolean, \.tuning.multicast.tracking,
            "Whether hosts are tracked in their groups, so that the last one's leave takes effect at once."),
    ]

    private static let limitKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "multicast.groups.limit", .integer(16...1_048_576), \.tuning.multicast.groupsLimit,
            "The most groups kept, one for each port and VLAN; beyond it more is forwarded, never less."),
        SettingKey(
            "multicast.sources.limit", .integer(1...65_536), \.tuning.multicast.sourcesLimit,
            "The most sources kept of one group on one port; beyond it all sources are forwarded."),
        SettingKey(
            "multicast.members.limit", .integer(0...4_194_304), \.tuning.multicast.membersLimit,
            "The most hosts tracked, each once for each group that it is in; leaves of others take effect later."),
        SettingKey(
            "multicast.interests.limit", .integer(16...4_194_304), \.tuning.multicast.interestsLimit,
            "The most groups and sources that one other site may ask this one for; beyond it that site gets more."),
        SettingKey(
            "multicast.reports.limit", .integer(1...1_000_000, unit: "group records a second"), \.tuning.multicast.reportsLimit,
            "The most group records in reports that one port takes; a report counts as one at least."),
        SettingKey(
            "multicast.other.limit", .integer(0...10_000_000, unit: "frames a second"), \.tuning.multicast.otherLimit,
            "The most multicast that is not IP that one port takes; what is above it is dropped and counted."),
    ]

    fileprivate static let routerPortType = ValueType<RouterPort>.word

    static let portMulticastKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "port.NAME.router", routerPortType, .byDefault(routerPortType.print(PortMulticast().router)),
            "Whether a multicast router is behind the port; `auto` learns it from queries, PIM and router discovery."
        ) { $0.ports[$1[0], default: PortDraft()].multicast.router = $2 },
        SettingKey(
            "port.NAME.fast-leave", .boolean, .byDefault(ValueType.boolean.print(PortMulticast().fastLeave)),
            "Whether a leave ends a group on the port at once, whoever else listens: for ports with a single host."
        ) { $0.ports[$1[0], default: PortDraft()].multicast.fastLeave = $2 },
        SettingKey(
            "port.NAME.flood-reports", .boolean, .byDefault(ValueType.boolean.print(PortMulticast().floodReports)),
            "Whether the port's hosts hear reports of others, which makes hosts of the older versions silent."
        ) { $0.ports[$1[0], default: PortDraft()].multicast.floodReports = $2 },
    ]
}

/// The rows of IGMP or of MLD. The constants are those of RFC 9776 section 8 and RFC 9777 section 9.
private struct FamilyKeys {
    let prefix: String
    let family: IPFamily
    let path: any WritableKeyPath<GatewayDraft, FamilySettings> & Sendable
    let versions: ClosedRange<Int>
    /// The most that a query's code can say: 8 bits of floating point in tenths of a second, or 16 in milliseconds.
    let longestResponse: Interval
    /// What K12 is unless it is set.
    let olderQuerier: String
    /// Examples of what has no fixed default.
    let examples: (address: String, olderQuerier: String)

    static let igmp = FamilyKeys(
        prefix: "igmp", family: .v4, path: \.tuning.multicast.igmp, versions: 1...3, longestResponse: .milliseconds(3_174_400),
        olderQuerier: "K1 x K2 + 10 x the response time of its last query", examples: ("192.0.2.1", "350s"))
    static let mld = FamilyKeys(
        prefix: "mld", family: .v6, path: \.tuning.multicast.mld, versions: 1...2, longestResponse: .milliseconds(8_387_584),
        olderQuerier: "K1 x K2 + K3", examples: ("fe80::1", "260s"))

    var keys: [SettingKey<GatewayDraft>] { givenKeys + membershipKeys + queryKeys + electionKeys }

    private var givenKeys: [SettingKey<GatewayDraft>] {
        [
            row(
                "robustness", .robustness, \.timing.robustness,
                "K1, the robustness variable: one less is the number of losses in a row that do no harm."),
            row(
                "query-interval", .duration(.seconds(1) ... .seconds(31_744)), \.timing.queryInterval,
                "K2, how often hosts are asked what they want."),
            row(
                "query-response-interval", .duration(.milliseconds(100)...longestResponse), \.timing.queryResponseInterval,
                "K3, how long hosts may take to answer; below K2."),
            row(
                "last-member-query-interval", .duration(.milliseconds(100) ... .seconds(3_174)), \.timing.lastMemberQueryInterval,
                "K8, how far apart the queries after a leave are."),
        ]
    }

    private var membershipKeys: [SettingKey<GatewayDraft>] {
        [
            row(
                "group-membership-interval", anyTime, \.timing.setGroupMembershipInterval, example: "270s",
                "K4, how long a membership holds after its last report, by default K1 x K2 + 2 x K3."),
            row(
                "last-member-query-count", .integer(1...7), \.timing.setLastMemberQueryCount, example: "2",
                "K9, how many queries follow a leave, by default K1."),
            row(
                "last-member-query-time", anyTime, \.timing.setLastMemberQueryTime, example: "2s",
                "K10, how long members that stay have to answer after a leave, by default K8 x K9."),
            row(
                "older-host-present", anyTime, \.timing.setOlderHostPresent, example: "260s",
                "K11, how long a group stays in an older version's mode after a report of it, by default K1 x K2 + K3."),
        ]
    }

    private var queryKeys: [SettingKey<GatewayDraft>] {
        [
            row(
                "startup-query-interval", .duration(.milliseconds(100) ... .seconds(31_744)), \.timing.setStartupQueryInterval,
                example: "31250ms", "K6, how far apart a querier's first queries are, by default K2 / 4."),
            row(
                "startup-query-count", .integer(1...100), \.timing.setStartupQueryCount, example: "2",
                "K7, how many queries are K6 apart when a querier starts, by default K1."),
            row(
                "querier", .boolean, \.querier,
                "Whether the gateway asks hosts what they want, on each VLAN where no other querier does."),
            row(
                "querier.address", .querierAddress(family), \.querierAddress, example: examples.address,
                "The source of queries, and of reports to multicast routers; without it one is found."),
        ]
    }

    private var electionKeys: [SettingKey<GatewayDraft>] {
        [
            row(
                "other-querier-present", anyTime, \.timing.setOtherQuerierPresent, example: "255s",
                "K5, how long an elected querier may be silent, by default K1 x K2 + K3 / 2."),
            row(
                "older-querier-present", anyTime, \.timing.setOlderQuerierPresent, example: examples.olderQuerier,
                "K12, how long a querier of an older version counts after its last query, by default \(olderQuerier)."),
            row(
                "version", .integer(versions), \.version,
                "The version of the gateway's queries; hosts of every version are understood."),
            row(
                "strict", .boolean, \.strict,
                "Whether only messages with hop limit 1 and Router Alert count."),
        ]
    }

    private var anyTime: ValueType<Interval> { .duration(.milliseconds(100) ... .seconds(1_000_000)) }

    /// A key with a default.
    private func row<Value>(
        _ name: String, _ type: ValueType<Value>, _ member: any WritableKeyPath<FamilySettings, Value> & Sendable,
        _ summary: String
    ) -> SettingKey<GatewayDraft> {
        let path = path
        let usual = type.print(FamilySettings(family)[keyPath: member])
        return SettingKey("\(prefix).\(name)", type, .byDefault(usual), summary) { $0[keyPath: path][keyPath: member] = $2 }
    }

    /// A key without which a value follows from others.
    private func row<Value>(
        _ name: String, _ type: ValueType<Value>, _ member: any WritableKeyPath<FamilySettings, Value?> & Sendable,
        example: String, _ summary: String
    ) -> SettingKey<GatewayDraft> {
        let path = path
        return SettingKey("\(prefix).\(name)", type, .optional(example: example), summary) {
            $0[keyPath: path][keyPath: member] = $2
        }
    }
}
