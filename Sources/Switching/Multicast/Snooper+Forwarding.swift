// Who gets what: the site's own wish as facts for the others, and the others' wishes with our own ports as forwarding entries.
// One function, `decide`, holds the rules; the published entries and `why` both come from it.
//
//     a port gets a frame     it has a member that wants (group, source)                      rule 10, 16
//                             it leads to a multicast router                                  rule 10
//                             it has lost count: a limit was passed                           rule 29
//                             nobody at the site joined the group, and the site floods        rule 12
//     a site gets a frame     a fact of its says that it wants (group, source)                rule 37
//                             it wants everything: routers, or lost count                     rule 36, 29
//                             it has no wish for the group, and floods                        rule 12, 37
//                             and in each of these cases its rights and ours allow it         rule 44

import Basics
import Wire

/// Why a frame goes to a port or a site, or does not.
public enum ForwardingReason: Hashable, Sendable {
    /// A member wants it.
    case member
    /// The configuration does.
    case configured
    case routerPort
    /// A port or a site that has lost count of its groups.
    case lostCount
    /// Nobody there joined the group, and what nobody joined is flooded there.
    case flooded
    /// The site's routers join by PIM or its setting says so: it gets everything.
    case routerSite(RouterKinds)
    /// The site told more facts than are kept.
    case tooManyFacts
    /// Members, but not of this source.
    case otherSources
    /// Nobody there has asked.
    case nobody

    public var isForwarded: Bool {
        switch self {
        case .otherSources, .nobody: false
        default: true
        }
    }
}

extension Snooper {
    // MARK: The site's own wish

    /// What the site wants of a group: its members on all ports, and what is configured.
    public func ownWish(_ key: GroupKey) -> Wish {
        let members = groups.wish(of: key)
        guard let fixed = statics[key] else { return members }
        return members.isNothing ? fixed : members.union(fixed)
    }

    /// Brings the facts about a group into line with the site's wish. The first member makes one fact, the second none.
    mutating func noteWish(of key: GroupKey) {
        let wish = ownWish(key)
        let star = FactKey.interest(key.vlan, group: key.group, source: nil)
        let told = toldSources[key] ?? []
        // What is wanted is told before what is not: in between, more is sent.
        if wish.mode == .exclude { set(star, .interest(isExcluded: false, wish.generations)) }
        for source in wish.sources {
            set(
                .interest(key.vlan, group: key.group, source: source),
                .interest(isExcluded: wish.mode == .exclude, wish.generations))
        }
        if wish.mode == .include { set(star, nil) }
        for source in told where !wish.lists(source) {
            set(.interest(key.vlan, group: key.group, source: source), nil)
        }
        toldSources[key] = wish.sources.isEmpty ? nil : wish.sources
    }

    // MARK: The other sites' wishes

    /// All other sites' wishes for a group, together.
    func remoteWish(_ key: GroupKey) -> Wish {
        interests.wishes(for: key).reduce(.nothing) { sum, site in sum.isNothing ? site.wish : sum.union(site.wish) }
    }

    /// Tells the proxy what to report to our routers.
    mutating func noteRemoteWish(_ key: GroupKey, _ now: Instant) {
        guard key.group.isSnoopedGroup else { return }
        let segment = SegmentKey(vlan: key.vlan, family: key.family)
        // The first wish for a VLAN: its routers are to hear of it, and its hosts are asked.
        guard segments[segment] != nil else { return addSegment(segment, now) }
        segments[segment]?.lastUsed = now
        let timing = configuration[key.family].timing
        let wish = remoteWish(key)
        segments[segment]?.proxy.setWish(wish, for: key.group, timing, at: now)
    }

    // MARK: Deciding

    /// What decides about a group, gathered once.
    struct Deciding {
        var key: GroupKey
        var local: [(port: PortIndex, wish: Wish)]
        var fixed: Wish?
        var remote: [(peer: PeerIndex, wish: Wish)]
        var routerPorts: PortSet
        var lostPorts: PortSet

        var isRegisteredHere: Bool { !local.isEmpty || fixed != nil }
    }

    func deciding(_ key: GroupKey) -> Deciding {
        Deciding(
            key: key, local: groups.ports(with: key).members.map { ($0, groups.wish(of: key, on: $0)) }, fixed: statics[key],
            remote: interests.wishes(for: key), routerPorts: routers.ports(key.vlan, key.family),
            lostPorts: lostPorts(key.vlan, key.family))
    }

    private func lostPorts(_ vlan: VLAN, _ family: IPFamily) -> PortSet {
        groups.ports(with: GroupKey(vlan, .unspecified(family)))
    }

    func decide(_ deciding: Deciding, _ source: IPAddress?, to port: PortIndex) -> ForwardingReason {
        let wish = deciding.local.first { $0.port == port }?.wish
        if let wish, wants(wish, source) { return .member }
        if let fixed = deciding.fixed, wants(fixed, source) { return .configured }
        if deciding.routerPorts.contains(port) { return .routerPort }
        if deciding.lostPorts.contains(port) { return .lostCount }
        if wish != nil { return .otherSources }
        if !deciding.isRegisteredHere && configuration.floodsUnregistered { return .flooded }
        return .nobody
    }

    func decide(_ deciding: Deciding, _ source: IPAddress?, to peer: PeerIndex) -> ForwardingReason {
        let wish = deciding.remote.first { $0.peer == peer }?.wish
        if let wish, wants(wish, source) { return .member }
        switch interests.reasonForEverything(peer, deciding.key.vlan, deciding.key.family) {
        case .routers(let kinds): return .routerSite(kinds)
        case .lostCount: return .lostCount
        case .tooManyFacts: return .tooManyFacts
        case nil: break
        }
        if wish != nil { return .otherSources }
        return interests.floods(peer) ? .flooded : .nobody
    }

    /// `nil` is a source that no wish lists.
    private func wants(_ wish: Wish, _ source: IPAddress?) -> Bool {
        source.map { wish.wants($0) } ?? (wish.mode == .exclude)
    }

    // MARK: Compiling

    /// Brings the published entry of a group into line.
    mutating func compile(_ key: GroupKey) {
        if key.group.isUnspecified { return compileVLAN(key.vlan, key.family) }
        let deciding = deciding(key)
        noteWishDecisions(deciding)
        if !deciding.isRegisteredHere && deciding.remote.isEmpty { return plan.remove(key) }
        let everything = interests.wantsEverything(key.vlan, key.family)
        let flooding = interests.floodingSites
        let any = fanOut(deciding, nil, everything, flooding)
        var listed: [IPAddress] = deciding.fixed?.sources ?? []
        for (_, wish) in deciding.local { listed += wish.sources }
        for (_, wish) in deciding.remote { listed += wish.sources }
        let sources = Set(listed).sorted().map { ($0, fanOut(deciding, $0, everything, flooding)) }.filter { $0.1 != any }
        plan.set(key, any: any, sources: sources)
    }

    private func fanOut(_ deciding: Deciding, _ source: IPAddress?, _ everything: PeerSet, _ flooding: PeerSet) -> FanOut {
        var ports = PortSet.none
        for index in 0..<configuration.ports where decide(deciding, source, to: PortIndex(index)).isForwarded {
            ports = ports.inserting(PortIndex(index))
        }
        var peers = everything
        // A site that floods gets what it has no wish for.
        var silent = flooding
        for (peer, wish) in deciding.remote {
            silent.remove(peer)
            if wants(wish, source) { peers.insert(peer) }
        }
        let fanOut = FanOut(ports: ports, peers: peers.union(silent))
        return rights.sorted(fanOut, deciding.key.vlan, deciding.key.group, from: source)
    }

    /// The default of a VLAN, and every group on it: routers or ports that have lost count concern them all.
    mutating func compileVLAN(_ vlan: VLAN, _ family: IPFamily) {
        compileDefault(vlan, family)
        for key in plan.keys where key.vlan == vlan && key.family == family { noteStale(key) }
        for key in groups.keys where key.vlan == vlan && key.family == family { noteStale(key) }
    }

    /// All defaults: what other sites want without naming groups has changed.
    mutating func compileDefaults() {
        var vlans = Set(segmentKeys.map(\.vlan))
        vlans.formUnion(interests.vlans)
        // Those of which nobody speaks any more too.
        vlans.formUnion(plan.defaultVLANs)
        for family in IPFamily.allCases {
            plan.setDefault(nil, family, everyGroup(nil, family))
            for vlan in vlans.sorted() { compileDefault(vlan, family) }
        }
        for key in plan.keys { noteStale(key) }
    }

    private mutating func compileDefault(_ vlan: VLAN, _ family: IPFamily) {
        plan.setDefault(vlan, family, everyGroup(vlan, family))
    }

    /// Where a group goes that nobody has joined.
    private func everyGroup(_ vlan: VLAN?, _ family: IPFamily) -> FanOut {
        let all = PortSet(first: configuration.ports)
        let peers = interests.wantsEverything(vlan, family).union(interests.floodingSites)
        guard configuration.isEnabled else {
            return rights.sorted(FanOut(ports: all, peers: peers), vlan, nil, from: nil)
        }
        var ports = configuration.floodsUnregistered ? all : configuration.routerPorts
        if let vlan { ports = ports.union(routers.ports(vlan, family)).union(lostPorts(vlan, family)) }
        return rights.sorted(FanOut(ports: ports, peers: peers), vlan, nil, from: nil)
    }
}
