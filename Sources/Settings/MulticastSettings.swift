// What a site does with multicast, as the rest of the program sees it: snooping, its querier's constants, what crosses to other
// sites, and every limit. How it is written in a file is the business of `GatewaySettings+MulticastKeys.swift`; which values do
// not go together, that of `TuningCheck`. RFC 4541, RFC 9776, RFC 9777.

import Basics

/// A site's multicast. `init()` has every default.
public struct MulticastSettings: Hashable, Sendable {
    /// Off: every multicast frame goes to every port and every site, as in a plain bridge.
    public var snooping = true
    public var igmp = FamilySettings(.v4)
    public var mld = FamilySettings(.v6)
    /// What this site gets of groups that nobody at it has joined (rule 12).
    public var unregistered = UnregisteredGroups.routers
    /// Which sites get every group (rule 36).
    public var routerSites = RouterSites.pim
    /// The groups that are joined by source only (RFC 4607, RFC 4604, rule 24). Sorted by address, then by length; none twice.
    public var ssm = sourceSpecificRange
    /// Joined before anyone asks, and for good. Sorted, none twice, at most `maximumStatics`.
    public var statics: [StaticGroup] = []
    /// The most groups that are kept: one for each port and VLAN that a group was joined on.
    public var groupsLimit = 65_536
    /// The most sources of one group on one port.
    public var sourcesLimit = 1_024
    /// The most hosts that are tracked, each once for each group that it is in; 0 tracks none.
    public var membersLimit = 262_144
    /// The most facts of interest that are kept of one other site.
    public var interestsLimit = 262_144
    /// The most reports that a port takes, in messages a second.
    public var reportsLimit = 10_000
    /// The most multicast that is not IP, in frames a second a port (rule 13); 0 lets none through.
    public var otherLimit = 10_000
    /// Whether hosts are tracked in their groups, so that the last one's leave takes effect at once (rule 27).
    public var tracking = true

    public init() {}

    /// The most entries of `statics`.
    public static let maximumStatics = 1_024

    /// The settings of IGMP or of MLD.
    public subscript(_ family: IPFamily) -> FamilySettings {
        get { family == .v4 ? igmp : mld }
        set { if family == .v4 { igmp = newValue } else { mld = newValue } }
    }

    /// Whether the group is joined by source only.
    /// - Complexity: O(*n*) in the number of prefixes.
    public func isSourceSpecific(_ group: IPAddress) -> Bool { ssm.contains { $0.contains(group) } }

    /// 232.0.0.0/8 and ff3x::/32 (RFC 4607 section 1).
    private static let sourceSpecificRange: [IPPrefix] =
        ([IPPrefix(IPAddress(ipv4: 0xE800_0000), length: 8)]
        + (0..<16).map { IPPrefix(IPAddress(high: 0xFF30_0000_0000_0000 | $0 << 48, low: 0), length: 32) })
        .compactMap { $0 }
}

/// IGMP or MLD at a site.
public struct FamilySettings: Hashable, Sendable {
    /// The constants K1 to K12.
    public var timing = MembershipTiming()
    /// Whether the gateway asks hosts what they want, where no other querier does (rule 28).
    public var querier = true
    /// The source of queries and of reports to routers: IPv4 unicast, or link-local IPv6 unicast. `nil` leaves it to the gateway.
    public var querierAddress: IPAddress?
    /// The version of the queries: 1 to 3 for IGMP, 1 or 2 for MLD. Hosts of every version are understood whatever it is.
    public var version: Int
    /// Whether messages need a hop limit of 1 and the Router Alert option (rule 26).
    public var strict = false

    /// The defaults of IGMP or of MLD: the newest version.
    public init(_ family: IPFamily) { version = family == .v4 ? 3 : 2 }
}

/// Where groups go that nobody at a site has joined.
public enum UnregisteredGroups: String, CaseIterable, Hashable, Sendable {
    /// To ports with a multicast router.
    case routers
    /// To every port, and from every other site to this one.
    case flood
}

/// Which sites get every group, asked for or not.
public enum RouterSites: String, CaseIterable, Hashable, Sendable {
    /// Those where a PIM Hello or a router advertisement was heard: such a router joins by PIM, not by reports.
    case pim
    /// Those with a port that counts as a router's, for whatever reason.
    case all
    /// No site.
    case none
}

/// A group that is joined by configuration.
public struct StaticGroup: Hashable, Comparable, Sendable {
    public var vlan: VLAN
    public var group: IPAddress
    /// The one source that is wanted, of the group's family; `nil` for all.
    public var source: IPAddress?

    public init(vlan: VLAN = .untagged, group: IPAddress, source: IPAddress? = nil) {
        self.vlan = vlan
        self.group = group
        self.source = source
    }

    /// By VLAN, then by group, then by source, without one first.
    public static func < (a: StaticGroup, b: StaticGroup) -> Bool {
        if a.vlan != b.vlan { return a.vlan < b.vlan }
        if a.group != b.group { return a.group < b.group }
        guard let first = a.source, let second = b.source else { return a.source == nil && b.source != nil }
        return first < second
    }
}

extension StaticGroup: CustomStringConvertible {
    /// `232.1.1.1 from 192.0.2.7 on 10`: as it is written in a configuration.
    public var description: String {
        "\(group)" + (source.map { " from \($0)" } ?? "") + (vlan == .untagged ? "" : " on \(vlan)")
    }
}

/// What a LAN port does with multicast. `init()` has every default.
public struct PortMulticast: Hashable, Sendable {
    public var router = RouterPort.auto
    /// Whether a leave ends a group on this port at once, whoever else listens: for ports with one host (rule 27).
    public var fastLeave = false
    /// Whether hosts on this port hear the reports of others, which makes those of versions 1 and 2 silent (rule 1).
    public var floodReports = false

    public init() {}
}

/// Whether a port has a multicast router behind it.
public enum RouterPort: String, CaseIterable, Hashable, Sendable {
    /// It has one while queries, PIM Hellos or router advertisements come from it (rule 2).
    case auto
    case on
    case off
}
