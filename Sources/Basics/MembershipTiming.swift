// The constants of IGMP and MLD (RFC 9776 section 8, RFC 9777 section 9): those that are set, and those that follow from
// them unless they are set too. A gateway has one of these for each family.

public struct MembershipTiming: Hashable, Sendable {
    /// K1, the robustness variable: how many losses in a row do no harm. Never 0.
    public var robustness = 2
    /// K2.
    public var queryInterval = Interval.seconds(125)
    /// K3; below K2.
    public var queryResponseInterval = Interval.seconds(10)
    /// K8.
    public var lastMemberQueryInterval = Interval.seconds(1)

    // Each of these is derived where it is nil.
    public var setGroupMembershipInterval: Interval?
    public var setOtherQuerierPresent: Interval?
    public var setStartupQueryInterval: Interval?
    public var setStartupQueryCount: Int?
    public var setLastMemberQueryCount: Int?
    public var setLastMemberQueryTime: Interval?
    public var setOlderHostPresent: Interval?
    public var setOlderQuerierPresent: Interval?

    public init() {}

    /// K4: how long a membership holds after its last report.
    public var groupMembershipInterval: Interval {
        setGroupMembershipInterval ?? queryInterval * Int64(robustness) + queryResponseInterval * 2
    }
    /// K5: how long an elected querier may be silent.
    public var otherQuerierPresent: Interval {
        setOtherQuerierPresent ?? queryInterval * Int64(robustness) + queryResponseInterval / 2
    }
    /// K6.
    public var startupQueryInterval: Interval { setStartupQueryInterval ?? queryInterval / 4 }
    /// K7.
    public var startupQueryCount: Int { setStartupQueryCount ?? robustness }
    /// K9.
    public var lastMemberQueryCount: Int { setLastMemberQueryCount ?? robustness }
    /// K10: how long the last members have to answer.
    public var lastMemberQueryTime: Interval {
        setLastMemberQueryTime ?? lastMemberQueryInterval * Int64(lastMemberQueryCount)
    }
    /// K11: how long a group stays in an older version's mode.
    public var olderHostPresent: Interval {
        setOlderHostPresent ?? queryInterval * Int64(robustness) + queryResponseInterval
    }

    /// K12: how long an older querier counts after a query of its that allowed `maxResponse`.
    public func olderQuerierPresent(_ family: IPFamily, maxResponse: Interval) -> Interval {
        if let setOlderQuerierPresent { return setOlderQuerierPresent }
        let last = family == .v4 ? maxResponse * 10 : queryResponseInterval
        return queryInterval * Int64(robustness) + last
    }
}
