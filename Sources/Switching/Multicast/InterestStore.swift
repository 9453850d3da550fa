// What the other sites have told: which groups each wants, where its routers are, whether it floods what nobody joined. One
// thread, control's, owns it. A peer's facts go when it is down (rule 38), and those that it does not repeat on a new stream.

import Basics

/// One site's interest in one group, put together from its facts.
struct SiteInterest: Hashable, Sendable {
    struct Stamp: Hashable, Sendable {
        var version: UInt64
        var generations: Generations
        var isExcluded = false
        /// Told before the peer's stream began anew, and not since.
        var isStale = false
    }
    var any: Stamp?
    /// Few; unordered uses only.
    var sources: [IPAddress: Stamp] = [:]

    var isEmpty: Bool { any == nil && sources.isEmpty }
    var count: Int { sources.count + (any == nil ? 0 : 1) }

    var wish: Wish {
        let generations = sources.values.reduce(any?.generations ?? []) { $0.union($1.generations) }
        if any != nil {
            return Wish(.exclude, sources.filter { $0.value.isExcluded }.map(\.key), generations: generations)
        }
        return Wish(.include, sources.filter { !$0.value.isExcluded }.map(\.key), generations: generations)
    }
}

public struct InterestStore: Sendable {
    /// Where a site has routers.
    struct Routers: Sendable {
        var kinds: RouterKinds
        var wantsEverything: Bool
        var version: UInt64
        var isStale = false
    }

    private struct Site: Sendable {
        var groups: [GroupKey: SiteInterest] = [:]
        /// With `nil` for every VLAN.
        var routers: [RouterPlace: Routers] = [:]
        var floods: (version: UInt64, isStale: Bool)?
        var factCount = 0
        /// It has told more than is kept: it is sent everything, until it has told all anew and it fitted.
        var isOverfull = false
        /// Something that it told since its stream began was not kept.
        var hasRefused = false
    }

    struct RouterPlace: Hashable, Sendable {
        var vlan: VLAN?
        var family: IPFamily
    }

    private var sites: [Site]
    /// Peers with an interest in the group, ascending.
    private var peersOfGroup: [GroupKey: [PeerIndex]] = [:]
    private let limit: Int
    private var changed: [GroupKey] = []
    private var isChanged: Set<GroupKey> = []
    /// Defaults of every VLAN may differ: routers, floods, overflow.
    private var defaultsChanged = false
    public private(set) var counters = SnoopCounters()

    /// - Parameter limit: facts of interest that one peer may tell.
    public init(peers: Int, limit: Int) {
        sites = (0..<peers).map { _ in Site() }
        self.limit = limit
    }

    // MARK: In

    public mutating func handleFact(_ fact: Fact, from peer: PeerIndex) {
        guard peer.index < sites.count else { return }
        switch fact.key {
        case .interest(let vlan, let group, let source):
            handleInterest(fact, GroupKey(vlan, group), source, peer)
        case .routers(let vlan, let family):
            let place = RouterPlace(vlan: vlan, family: family)
            // What a new stream repeats holds, whatever its number: its owner's clock may have been set back.
            let known = sites[peer.index].routers[place]
            if let known, known.version > fact.version && !known.isStale { return }
            if case .routers(let kinds, let everything) = fact.value {
                guard sites[peer.index].routers[place] != nil || sites[peer.index].routers.count < 2 * 8192 else { return }
                sites[peer.index].routers[place] = Routers(kinds: kinds, wantsEverything: everything, version: fact.version)
                if let known, known.kinds == kinds, known.wantsEverything == everything { return }
            } else {
                sites[peer.index].routers[place] = nil
            }
            defaultsChanged = true
        case .unregistered:
            if let known = sites[peer.index].floods, known.version > fact.version && !known.isStale { return }
            sites[peer.index].floods = fact.value == nil ? nil : (fact.version, false)
            defaultsChanged = true
        }
    }

    private mutating func handleInterest(_ fact: Fact, _ key: GroupKey, _ source: IPAddress?, _ peer: PeerIndex) {
        var interest = sites[peer.index].groups[key] ?? SiteInterest()
        let before = (count: interest.count, isEmpty: interest.isEmpty)
        let known = if let source { interest.sources[source] } else { interest.any }
        if let known, known.version > fact.version && !known.isStale { return }
        var stamp: SiteInterest.Stamp?
        if case .interest(let isExcluded, let generations) = fact.value {
            stamp = SiteInterest.Stamp(version: fact.version, generations: generations, isExcluded: isExcluded)
        }
        if stamp != nil && known == nil && sites[peer.index].factCount >= limit {
            counters.add(.interestLimit)
            if !sites[peer.index].isOverfull { defaultsChanged = true }
            sites[peer.index].isOverfull = true
            sites[peer.index].hasRefused = true
            return
        }
        // More sources of one group than anybody lists: all of them are wanted.
        if source != nil && stamp != nil && known == nil && interest.sources.count >= Self.sourceLimit {
            interest.any = stamp.map { SiteInterest.Stamp(version: $0.version, generations: $0.generations) }
        } else if let source {
            interest.sources[source] = stamp
        } else {
            interest.any = stamp
        }
        let isSame = known.map { ($0.generations, $0.isExcluded) == (stamp?.generations, stamp?.isExcluded) } ?? false
        put(interest, before.count, key, peer, isSame: isSame && stamp != nil)
    }

    /// Sources of one group that a site may name.
    private static let sourceLimit = 4_096

    private mutating func put(
        _ interest: SiteInterest, _ before: Int, _ key: GroupKey, _ peer: PeerIndex, isSame: Bool = false
    ) {
        sites[peer.index].factCount += interest.count - before
        if interest.isEmpty {
            sites[peer.index].groups[key] = nil
            peersOfGroup[key]?.removeAll { $0 == peer }
            if peersOfGroup[key]?.isEmpty == true { peersOfGroup[key] = nil }
        } else {
            sites[peer.index].groups[key] = interest
            if before == 0 {
                var peers = peersOfGroup[key] ?? []
                peers.insert(peer, at: peers.firstIndex { $0 > peer } ?? peers.count)
                peersOfGroup[key] = peers
            }
        }
        if !isSame { noteChange(key) }
    }

    private mutating func noteChange(_ key: GroupKey) {
        if key.group.isUnspecified { defaultsChanged = true }
        if isChanged.insert(key).inserted { changed.append(key) }
    }

    /// The peer tells everything anew: what it does not repeat until `handleAllTold` holds no longer.
    public mutating func handleStreamBegan(by peer: PeerIndex) {
        guard peer.index < sites.count else { return }
        sites[peer.index].groups = sites[peer.index].groups.mapValues { interest in
            var interest = interest
            interest.any?.isStale = true
            interest.sources = interest.sources.mapValues {
                var stamp = $0
                stamp.isStale = true
                return stamp
            }
            return interest
        }
        for place in sites[peer.index].routers.keys { sites[peer.index].routers[place]?.isStale = true }
        sites[peer.index].floods?.isStale = true
        sites[peer.index].hasRefused = false
    }

    public mutating func handleAllTold(by peer: PeerIndex) {
        guard peer.index < sites.count else { return }
        for key in sites[peer.index].groups.keys.sorted() {
            guard let before = sites[peer.index].groups[key] else { continue }
            var interest = before
            if interest.any?.isStale == true { interest.any = nil }
            interest.sources = interest.sources.filter { !$0.value.isStale }
            if interest != before { put(interest, before.count, key, peer) }
        }
        let stale = sites[peer.index].routers.filter(\.value.isStale)
        if !stale.isEmpty || sites[peer.index].floods?.isStale == true || sites[peer.index].isOverfull {
            defaultsChanged = true
        }
        sites[peer.index].routers = sites[peer.index].routers.filter { !$0.value.isStale }
        if sites[peer.index].floods?.isStale == true { sites[peer.index].floods = nil }
        sites[peer.index].isOverfull = sites[peer.index].hasRefused
    }

    /// The peer is down: its facts go.
    public mutating func handlePeerDown(_ peer: PeerIndex) {
        guard peer.index < sites.count else { return }
        for key in sites[peer.index].groups.keys.sorted() {
            guard let before = sites[peer.index].groups[key] else { continue }
            put(SiteInterest(), before.count, key, peer)
        }
        sites[peer.index] = Site()
        defaultsChanged = true
    }

    // MARK: Out

    /// The groups that some site's wish has changed for; each once, in the order of first changes.
    mutating func takeChanges() -> [GroupKey] {
        defer {
            changed.removeAll()
            isChanged.removeAll()
        }
        return changed
    }

    /// True once after what is sent without an interest in the group may differ.
    mutating func pollDefaultsChange() -> Bool {
        defer { defaultsChanged = false }
        return defaultsChanged
    }

    /// Who wants something of a group, ascending.
    func wishes(for key: GroupKey) -> [(peer: PeerIndex, wish: Wish)] {
        (peersOfGroup[key] ?? []).compactMap { peer in
            sites[peer.index].groups[key].map { (peer, $0.wish) }
        }
    }

    func wish(of peer: PeerIndex, for key: GroupKey) -> Wish {
        peer.index < sites.count ? sites[peer.index].groups[key]?.wish ?? .nothing : .nothing
    }

    /// Groups that some site has told of, sorted.
    var keys: [GroupKey] { peersOfGroup.keys.sorted() }

    /// The same in no order, for uses that have none.
    func eachKey(_ body: (GroupKey) -> Void) {
        for key in peersOfGroup.keys { body(key) }
    }

    /// Those on one VLAN, of one family; sorted.
    func keys(on vlan: VLAN, _ family: IPFamily) -> [GroupKey] {
        peersOfGroup.keys.filter { $0.vlan == vlan && $0.family == family }.sorted()
    }

    /// Facts of interest that the peer's site has told.
    func factCount(of peer: PeerIndex) -> Int { peer.index < sites.count ? sites[peer.index].factCount : 0 }

    /// Sites that are sent every group of a VLAN: for their routers, or because they or we have lost count.
    func wantsEverything(_ vlan: VLAN?, _ family: IPFamily) -> PeerSet {
        var set = PeerSet()
        for index in sites.indices where reasonForEverything(PeerIndex(index), vlan, family) != nil {
            set.insert(PeerIndex(index))
        }
        return set
    }

    enum EverythingReason: Sendable {
        case routers(RouterKinds)
        case lostCount
        case tooManyFacts
    }

    func reasonForEverything(_ peer: PeerIndex, _ vlan: VLAN?, _ family: IPFamily) -> EverythingReason? {
        let site = sites[peer.index]
        for place in [RouterPlace(vlan: nil, family: family), RouterPlace(vlan: vlan, family: family)] {
            if let routers = site.routers[place], routers.wantsEverything { return .routers(routers.kinds) }
        }
        if site.isOverfull { return .tooManyFacts }
        if let vlan, site.groups[GroupKey(vlan, .unspecified(family))]?.any != nil { return .lostCount }
        return nil
    }

    func routers(of peer: PeerIndex) -> [(vlan: VLAN?, family: IPFamily, kinds: RouterKinds, wantsEverything: Bool)] {
        guard peer.index < sites.count else { return [] }
        return sites[peer.index].routers
            .map { ($0.key.vlan, $0.key.family, $0.value.kinds, $0.value.wantsEverything) }
            .sorted { (($0.0).map { Int($0.rawValue) } ?? -1, $0.1) < (($1.0).map { Int($0.rawValue) } ?? -1, $1.1) }
    }

    func floods(_ peer: PeerIndex) -> Bool { peer.index < sites.count && sites[peer.index].floods != nil }

    var floodingSites: PeerSet {
        var set = PeerSet()
        for index in sites.indices where sites[index].floods != nil { set.insert(PeerIndex(index)) }
        return set
    }

    /// VLANs of which some site has said anything, sorted.
    var vlans: [VLAN] {
        var all: Set<VLAN> = []
        for site in sites { for place in site.routers.keys { if let vlan = place.vlan { all.insert(vlan) } } }
        for key in peersOfGroup.keys { all.insert(key.vlan) }
        return all.sorted()
    }
}
