// What an operator is shown of multicast: groups, queriers, routers, and what was ignored or refused, by rule. The conventions
// are those of `Documents.swift`; timers are seconds that are left.

import Basics
import Gateway
import Switching
import Wire

/// What is wanted of a group.
public struct WishDocument: Codable, Sendable, Equatable {
    /// `include`: only the sources; `exclude`: all but the sources.
    public var mode: String
    public var sources: [String]
    /// `IGMPv3`, `MLDv1`: what its members speak.
    public var versions: [String]

    init(_ wish: Wish, _ family: IPFamily) {
        mode = wish.mode == .include ? "include" : "exclude"
        sources = wish.sources.map(\.description)
        versions = MembershipGeneration.allCases.filter { wish.generations.contains(Generations($0)) }.map { $0.name(family) }
    }
}

public struct GroupsDocument: Codable, Sendable, Equatable {
    public struct Source: Codable, Sendable, Equatable {
        public var address: String
        /// Absent for a source that is not forwarded.
        public var expires: Double?
    }

    public struct Member: Codable, Sendable, Equatable {
        public var mac: String
        public var address: String
        public var version: String
        public var mode: String
        public var sources: [String]
        public var expires: Double
    }

    public struct Port: Codable, Sendable, Equatable {
        public var port: String
        public var mode: String
        /// Only with mode `exclude`.
        public var expires: Double?
        public var sources: [Source]
        /// The version that the group is treated by: the oldest that was heard of late.
        public var version: String
        public var members: [Member]
    }

    public struct Site: Codable, Sendable, Equatable {
        public var site: String
        /// What its facts ask for; absent for one that is sent the group for another reason.
        public var wish: WishDocument?
        /// Whether frames of a source that no wish lists go there.
        public var isForwarded: Bool
        public var frames: UInt64
        public var bytes: UInt64
    }

    public struct Group: Codable, Sendable, Equatable {
        public var vlan: String
        public var group: String
        /// What this site tells the others; absent when it wants nothing.
        public var wish: WishDocument?
        /// Configured with `multicast.static`.
        public var isStatic: Bool
        public var ports: [Port]
        public var sites: [Site]
        public var framesFromLan: UInt64
        public var bytesFromLan: UInt64
        public var framesFromMesh: UInt64
        public var bytesFromMesh: UInt64
    }

    /// Groups that nobody has joined, counted together.
    public struct Other: Codable, Sendable, Equatable {
        /// `any` for VLANs on which no message was seen.
        public var vlan: String
        public var family: String
        public var sites: [Site]
        public var framesFromLan: UInt64
        public var bytesFromLan: UInt64
        public var framesFromMesh: UInt64
        public var bytesFromMesh: UInt64
    }

    public var site: String
    public var groups: [Group]
    public var unregistered: [Other]
    /// What is kept: entries of ports, sources of entries, tracked hosts of entries, facts told, octets that lanes read.
    public var entries: Int
    public var sources: Int
    public var members: Int
    public var facts: Int
    public var tableBytes: Int

    public init(_ snapshot: GatewaySnapshot) {
        let multicast = snapshot.multicast
        site = snapshot.site
        groups = multicast.groups.map { Self.group($0, snapshot) }
        unregistered = multicast.defaults.map { other in
            Other(
                vlan: other.vlan?.description ?? "any", family: familyName(other.family),
                sites: Self.sites([], .none, other.totals, other.family, snapshot),
                framesFromLan: other.totals.tally.framesFromLAN,
                bytesFromLan: other.totals.tally.bytesFromLAN, framesFromMesh: other.totals.tally.framesFromMesh,
                bytesFromMesh: other.totals.tally.bytesFromMesh)
        }
        entries = multicast.entryCount
        sources = multicast.sourceCount
        members = multicast.memberCount
        facts = multicast.factCount
        tableBytes = multicast.tableBytes
    }

    private static func group(_ group: SnoopSnapshot.Group, _ snapshot: GatewaySnapshot) -> Group {
        let family = group.key.family
        return Group(
            vlan: group.key.vlan.description, group: group.key.group.description,
            wish: group.wish.isNothing ? nil : WishDocument(group.wish, family), isStatic: group.fixed != nil,
            ports: group.ports.map { port($0.entry, $0.port, family, snapshot) },
            sites: sites(group.sites, group.fanOut.peers, group.totals, family, snapshot),
            framesFromLan: group.totals.tally.framesFromLAN, bytesFromLan: group.totals.tally.bytesFromLAN,
            framesFromMesh: group.totals.tally.framesFromMesh, bytesFromMesh: group.totals.tally.bytesFromMesh)
    }

    static func port(_ entry: GroupEntryView, _ port: PortIndex, _ family: IPFamily, _ snapshot: GatewaySnapshot) -> Port {
        Port(
            port: snapshot.name(of: Location(port)), mode: entry.mode == .include ? "include" : "exclude",
            expires: entry.groupTimer.map { secondsLeft($0, snapshot.taken) },
            sources: entry.sources.map { source in
                Source(address: source.address.description, expires: source.expires.map { secondsLeft($0, snapshot.taken) })
            },
            version: entry.generation.name(family),
            members: entry.members.map { member in
                Member(
                    mac: member.host.mac.description, address: member.host.address.description,
                    version: member.generation.name(family), mode: member.wish.mode == .include ? "include" : "exclude",
                    sources: member.wish.sources.map(\.description), expires: secondsLeft(member.expires, snapshot.taken))
            })
    }

    private static func sites(
        _ wishes: [(peer: PeerIndex, wish: Wish)], _ forwarded: PeerSet, _ totals: GroupTotals, _ family: IPFamily,
        _ snapshot: GatewaySnapshot
    ) -> [Site] {
        var peers = forwarded
        for (peer, _) in wishes { peers.insert(peer) }
        for peer in totals.sites.keys { peers.insert(peer) }
        return peers.members.map { peer in
            let total = totals.sites[peer] ?? GroupTotals.Site()
            return Site(
                site: snapshot.name(of: Location(peer)),
                wish: wishes.first { $0.peer == peer }.map { WishDocument($0.wish, family) },
                isForwarded: forwarded.contains(peer), frames: total.frames, bytes: total.bytes)
        }
    }
}

public struct QueriersDocument: Codable, Sendable, Equatable {
    public struct Querier: Codable, Sendable, Equatable {
        public var vlan: String
        /// `IGMP` or `MLD`.
        public var `protocol`: String
        /// `querier`, `listening` to another, or `off`.
        public var state: String
        /// Where our queries come from.
        public var address: String
        /// The querier on this LAN, where it is another.
        public var elected: String?
        public var electedAge: Double?
        public var electedExpires: Double?
        /// In which queries are sent.
        public var version: String
        public var robustness: Int
        public var queryInterval: Double
        public var queryResponseInterval: Double
    }

    public var site: String
    public var queriers: [Querier]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        queriers = snapshot.multicast.queriers.map { row in
            Querier(
                vlan: row.vlan.description, protocol: row.family == .v4 ? "IGMP" : "MLD",
                state: row.isQuerier ? "querier" : row.elected != nil ? "listening" : "off", address: row.address.description,
                elected: row.elected?.address.description,
                electedAge: row.elected.map { seconds(snapshot.taken - $0.since) },
                electedExpires: row.elected.map { secondsLeft($0.expires, snapshot.taken) },
                version: row.generation.name(row.family), robustness: row.timing.robustness,
                queryInterval: seconds(row.timing.queryInterval),
                queryResponseInterval: seconds(row.timing.queryResponseInterval))
        }
    }
}

public struct RoutersDocument: Codable, Sendable, Equatable {
    public struct Router: Codable, Sendable, Equatable {
        public var vlan: String
        public var family: String
        public var port: String
        /// `querier`, `pim` or `discovery`: how it was learned.
        public var kind: String
        public var address: String
        public var mac: String
        public var age: Double
        /// Absent for one that said that it stays.
        public var expires: Double?
    }

    public struct Remote: Codable, Sendable, Equatable {
        public var site: String
        /// `any` for every VLAN.
        public var vlan: String
        public var family: String
        public var kinds: [String]
        /// Every group is sent there.
        public var wantsEverything: Bool
    }

    public var site: String
    public var routers: [Router]
    /// Ports that the configuration says have a router.
    public var configured: [String]
    /// Routers at other sites, as these tell.
    public var remote: [Remote]
    /// Sites that flood groups nobody there has joined.
    public var floodingSites: [String]

    public init(_ snapshot: GatewaySnapshot) {
        let multicast = snapshot.multicast
        site = snapshot.site
        routers = multicast.routers.map { row in
            Router(
                vlan: row.vlan.description, family: familyName(row.family), port: snapshot.name(of: Location(row.port)),
                kind: Self.names(row.kind).first ?? "?", address: row.address.description, mac: row.mac.description,
                age: seconds(snapshot.taken - row.since), expires: row.expires.map { secondsLeft($0, snapshot.taken) })
        }
        configured = multicast.routerPorts.members.map { snapshot.name(of: Location($0)) }
        remote = multicast.remoteRouters.map { row in
            Remote(
                site: snapshot.name(of: Location(row.peer)), vlan: row.vlan?.description ?? "any",
                family: familyName(row.family), kinds: Self.names(row.kinds), wantsEverything: row.wantsEverything)
        }
        floodingSites = multicast.flooding.members.map { snapshot.name(of: Location($0)) }
    }

    static func names(_ kinds: RouterKinds) -> [String] {
        [(RouterKinds.querier, "querier"), (.pim, "pim"), (.discovery, "discovery"), (.configured, "configured")]
            .filter { kinds.contains($0.0) }.map(\.1)
    }
}

public struct RulesDocument: Codable, Sendable, Equatable {
    public struct Rule: Codable, Sendable, Equatable {
        /// The number in the list of behaviours.
        public var rule: Int
        public var name: String
        public var count: UInt64
        public var explanation: String
    }

    public var site: String
    /// Every counter there is, also those with 0, by rule.
    public var rules: [Rule]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        rules = SnoopCounter.allCases.map {
            Rule(rule: $0.rule, name: $0.name, count: snapshot.multicast.counters[$0], explanation: $0.explanation)
        }.sorted { ($0.rule, $0.name) < ($1.rule, $1.name) }
    }
}

/// `IPv4` or `IPv6`.
func familyName(_ family: IPFamily) -> String { family == .v4 ? "IPv4" : "IPv6" }

/// What is left until `instant`; 0 when it has passed.
func secondsLeft(_ instant: Instant, _ now: Instant) -> Double { max(0, seconds(instant - now)) }
