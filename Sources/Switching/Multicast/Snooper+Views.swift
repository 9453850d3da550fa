// What operators can see of the snooper, as plain values: groups with members and what they forwarded, queriers, routers,
// counters, and why a frame goes to a site or does not.

import Basics
import Wire

public struct SnoopSnapshot: Sendable {
    /// A group that somebody wants, or that has been forwarded.
    public struct Group: Sendable {
        public var key: GroupKey
        /// Ports with members.
        public var ports: [(port: PortIndex, entry: GroupEntryView)]
        /// What the configuration wants.
        public var fixed: Wish?
        /// What this site tells the others.
        public var wish: Wish
        /// The sites that want something of it.
        public var sites: [(peer: PeerIndex, wish: Wish)]
        /// Where frames go whose source no wish lists; `peers` has those that may have it of some source.
        public var fanOut: FanOut
        public var totals: GroupTotals
    }

    /// Groups without an entry.
    public struct Default: Sendable {
        /// `nil` for VLANs without a default of their own.
        public var vlan: VLAN?
        public var family: IPFamily
        public var totals: GroupTotals
    }

    public struct QuerierRow: Sendable {
        public var vlan: VLAN
        public var family: IPFamily
        public var isEnabled: Bool
        public var isQuerier: Bool
        /// Ours.
        public var address: IPAddress
        public var elected: Querier.Elected?
        public var generation: MembershipGeneration
        public var timing: MembershipTiming
    }

    /// Routers at another site, as it tells.
    public struct RemoteRouters: Sendable {
        public var peer: PeerIndex
        /// `nil` for every VLAN.
        public var vlan: VLAN?
        public var family: IPFamily
        public var kinds: RouterKinds
        public var wantsEverything: Bool
    }

    public var isEnabled: Bool
    /// Sorted by VLAN and group; empty when they were not asked for.
    public var groups: [Group]
    public var defaults: [Default]
    public var queriers: [QuerierRow]
    public var routers: [RouterPorts.Row]
    public var routerPorts: PortSet
    public var remoteRouters: [RemoteRouters]
    /// Sites that flood what nobody there has joined.
    public var flooding: PeerSet
    public var counters: SnoopCounters
    /// Entries, sources and members kept, facts of ours, octets of the forwarding table.
    public var entryCount: Int
    public var sourceCount: Int
    public var memberCount: Int
    public var factCount: Int
    public var tableBytes: Int
}

/// Why frames of a group go to a site, or to a port of this one.
public struct ForwardingExplanation: Sendable {
    /// What is decided before anybody's wish counts.
    public enum Scope: Hashable, Sendable {
        case snooped
        /// 224.0.0.0/24 and ff02::1 (rule 11).
        case everywhere
        /// ff00::/15 and the like (rule 15).
        case invalidScope
        case notMulticast
        /// `multicast.snooping = off` here.
        case snoopingOff
    }

    public var key: GroupKey
    public var source: IPAddress?
    public var scope: Scope
    /// The other site that was asked about; `nil` for this one.
    public var peer: PeerIndex?
    /// What the site wants, by its facts or by our own members.
    public var wish: Wish
    /// For another site, one; for this one, each port.
    public var decisions: [(port: PortIndex?, reason: ForwardingReason)]
    /// Why such a frame may not go there, whatever was decided (rule 44).
    public var denial: Denial?
    /// Members on this site's ports.
    public var members: [(port: PortIndex, entry: GroupEntryView)]
}

extension Snooper {
    /// - Parameter withGroups: groups may be many; they are copied only if wanted.
    public func snapshot(withGroups: Bool, at now: Instant) -> SnoopSnapshot {
        SnoopSnapshot(
            isEnabled: configuration.isEnabled, groups: withGroups ? groupRows() : [], defaults: withGroups ? defaultRows() : [],
            queriers: segmentKeys.compactMap { key in
                segments[key].map { segment in
                    SnoopSnapshot.QuerierRow(
                        vlan: key.vlan, family: key.family, isEnabled: configuration[key.family].isQuerier,
                        isQuerier: segment.querier.isQuerier, address: segment.querier.address,
                        elected: segment.querier.elected, generation: segment.querier.generation,
                        timing: segment.querier.timing)
                }
            },
            routers: routers.rows, routerPorts: configuration.routerPorts,
            remoteRouters: (0..<configuration.peers).flatMap { index in
                interests.routers(of: PeerIndex(index)).map {
                    SnoopSnapshot.RemoteRouters(
                        peer: PeerIndex(index), vlan: $0.vlan, family: $0.family, kinds: $0.kinds,
                        wantsEverything: $0.wantsEverything)
                }
            },
            flooding: interests.floodingSites, counters: counters, entryCount: groups.entryCount,
            sourceCount: groups.sourceCount, memberCount: groups.memberCount, factCount: book.count, tableBytes: plan.byteCount)
    }

    private func groupRows() -> [SnoopSnapshot.Group] {
        var keys = Set(plan.keys)
        keys.formUnion(groups.keys)
        keys.formUnion(statics.keys)
        keys.formUnion(interests.keys)
        return keys.sorted().map { key in
            SnoopSnapshot.Group(
                key: key, ports: memberPorts(key), fixed: statics[key], wish: ownWish(key), sites: interests.wishes(for: key),
                fanOut: rights.allowed(
                    plan.fanOut(key.vlan, group: key.group, source: .unspecified(key.family)), key.vlan, key.group),
                totals: plan.totals(key))
        }
    }

    private func memberPorts(_ key: GroupKey) -> [(port: PortIndex, entry: GroupEntryView)] {
        groups.ports(with: key).members.compactMap { port in groups.entry(key, on: port).map { (port, $0) } }
    }

    private func defaultRows() -> [SnoopSnapshot.Default] {
        let vlans: [VLAN?] = [nil] + Set(segmentKeys.map(\.vlan) + interests.vlans).sorted().map { $0 }
        return vlans.flatMap { vlan in
            IPFamily.allCases.map {
                SnoopSnapshot.Default(vlan: vlan, family: $0, totals: plan.defaultTotals(vlan, $0))
            }
        }.filter { $0.totals != GroupTotals() }
    }

    /// Why a frame to `group` would or would not go to a site.
    /// - Parameters:
    ///   - source: `nil`: one that no wish lists.
    ///   - peer: the site; `nil`: the ports of this one, for frames from the mesh.
    public func explain(_ key: GroupKey, source: IPAddress?, to peer: PeerIndex?) -> ForwardingExplanation {
        let deciding = deciding(key)
        let scope: ForwardingExplanation.Scope =
            !key.group.isMulticast
            ? .notMulticast
            : !configuration.isEnabled
                ? .snoopingOff
                : key.group.isUnsnoopedGroup ? .everywhere : key.group.isInvalidScopeGroup ? .invalidScope : .snooped
        let decisions: [(PortIndex?, ForwardingReason)] =
            if let peer {
                [(nil, decide(deciding, source, to: peer))]
            } else {
                (0..<configuration.ports).map { (PortIndex($0), decide(deciding, source, to: PortIndex($0))) }
            }
        return ForwardingExplanation(
            key: key, source: source, scope: scope, peer: peer,
            wish: peer.map { interests.wish(of: $0, for: key) } ?? ownWish(key), decisions: decisions,
            denial: denial(key, source, scope, peer), members: memberPorts(key))
    }

    private func denial(
        _ key: GroupKey, _ source: IPAddress?, _ scope: ForwardingExplanation.Scope, _ peer: PeerIndex?
    ) -> Denial? {
        // What goes everywhere and is in no rule needs the VLAN alone.
        let group = scope == .everywhere || key.group.isUnsnoopedGroup ? nil : key.group
        if let peer { return rights.denial(.outward, peer, key.vlan, group, from: source) }
        return rights.ownDenial(key.vlan, group, from: source)
    }
}
