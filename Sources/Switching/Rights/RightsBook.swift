// Control's record of rights: this site's own and each peer's, what comes of them for the way to and from each peer, and in
// which words a denial is explained.

import Basics

public struct RightsBook: Sendable {
    /// What holds for one peer, both sites' rights taken together.
    private struct Joint: Sendable {
        var vlans: [NumberRange]
        var outward: GroupRanges
        var inward: GroupRanges

        var list: [RightsRange] { RightsRange.list(vlans: vlans, outward: outward, inward: inward) }
    }

    /// One site's, with its groups laid out.
    private struct Held: Sendable {
        var rights: PeerRights
        var send: GroupRanges
        var receive: GroupRanges

        init?(_ rights: PeerRights?) {
            guard let rights else { return nil }
            self.rights = rights
            send = GroupRanges(rights.send)
            receive = GroupRanges(rights.receive)
        }
    }

    private var held: Held?
    private var peers: [Held?]
    /// `nil`: nothing limits what goes to that peer or comes from it.
    private var joint: [Joint?]
    /// Peers for which something is.
    public private(set) var limited = PeerSet()

    public init(peers count: Int) {
        peers = Array(repeating: nil, count: count)
        joint = Array(repeating: nil, count: count)
    }

    /// `nil`: nothing limits this site.
    public var own: PeerRights? { held?.rights }

    public subscript(peer: PeerIndex) -> PeerRights? { theirs(peer)?.rights }

    private func theirs(_ peer: PeerIndex) -> Held? { peer.index < peers.count ? peers[peer.index] : nil }

    // MARK: Changing

    /// The peers whose list changes by it, with their new lists; empty for an unlimited one.
    mutating func setOwn(_ rights: PeerRights?) -> [(peer: PeerIndex, list: [RightsRange])] {
        if own == rights { return [] }
        held = Held(rights)
        return peers.indices.map { (PeerIndex($0), join($0)) }
    }

    /// The same; empty too when the peer is not one.
    mutating func set(_ rights: PeerRights?, of peer: PeerIndex) -> [(peer: PeerIndex, list: [RightsRange])] {
        guard peer.index < peers.count, self[peer] != rights else { return [] }
        peers[peer.index] = Held(rights)
        return [(peer, join(peer.index))]
    }

    private mutating func join(_ index: Int) -> [RightsRange] {
        let (ours, theirs) = (held, peers[index])
        let vlans = NumberRange.intersection(ours?.rights.vlanRanges ?? [.all], theirs?.rights.vlanRanges ?? [.all])
        let outward = (ours?.send ?? .all).intersection(theirs?.receive ?? .all)
        let inward = (theirs?.send ?? .all).intersection(ours?.receive ?? .all)
        if vlans == [.all] && outward.isEverything && inward.isEverything {
            joint[index] = nil
            limited.remove(PeerIndex(index))
            return []
        }
        let result = Joint(vlans: vlans, outward: outward, inward: inward)
        joint[index] = result
        limited.insert(PeerIndex(index))
        return result.list
    }

    // MARK: Deciding

    /// Moves the peers of a fan-out whose frames lanes have to look at to `checked`: all but those to which every frame that meets
    /// the entry may go.
    /// - Parameters:
    ///   - vlan: `nil` for any VLAN.
    ///   - group: `nil` for any group.
    ///   - source: `nil` for any source.
    func sorted(_ fanOut: FanOut, _ vlan: VLAN?, _ group: IPAddress?, from source: IPAddress?) -> FanOut {
        if limited.isEmpty { return fanOut }
        var sorted = fanOut
        for peer in fanOut.peers.members where limited.contains(peer) && !mayAlwaysReceive(peer, vlan, group, source) {
            sorted.peers.remove(peer)
            sorted.checked.insert(peer)
        }
        return sorted
    }

    /// The same with those peers among `peers` that may have the group of some source.
    func allowed(_ fanOut: FanOut, _ vlan: VLAN, _ group: IPAddress) -> FanOut {
        if fanOut.checked.isEmpty { return fanOut }
        var allowed = fanOut
        for peer in fanOut.checked.members where denial(.outward, peer, vlan, group, from: nil) == nil {
            allowed.peers.insert(peer)
            allowed.checked.remove(peer)
        }
        return allowed
    }

    private func mayAlwaysReceive(_ peer: PeerIndex, _ vlan: VLAN?, _ group: IPAddress?, _ source: IPAddress?) -> Bool {
        guard let joint = joint[peer.index] else { return true }
        let isOnVLAN = vlan.map { NumberRange.contains(joint.vlans, UInt128($0.rawValue)) } ?? (joint.vlans == [.all])
        if !isOnVLAN { return false }
        return group.map { joint.outward.reach($0, from: source) == .everySource } ?? joint.outward.isEverything
    }

    // MARK: Explaining

    /// Why frames do not go to a peer or come from it; `nil` when they may.
    /// - Parameter source: `nil`: denied only if it is for every source.
    public func denial(
        _ direction: RightsDirection, _ peer: PeerIndex, _ vlan: VLAN, _ group: IPAddress?, from source: IPAddress?
    ) -> Denial? {
        let (ours, theirs) = (held, theirs(peer))
        if let denial = Self.vlanDenial(ours, vlan, .ownVLAN) ?? Self.vlanDenial(theirs, vlan, .siteVLAN) { return denial }
        guard let group else { return nil }
        switch direction {
        case .outward:
            return Self.sendDenial(ours, group, source, .ownSend) ?? Self.receiveDenial(theirs, group, source, .siteReceive)
        case .inward:
            return Self.sendDenial(theirs, group, source, .siteSend) ?? Self.receiveDenial(ours, group, source, .ownReceive)
        }
    }

    /// Why frames from any site do not come to this one; `nil` when they may.
    func ownDenial(_ vlan: VLAN, _ group: IPAddress?, from source: IPAddress?) -> Denial? {
        Self.vlanDenial(held, vlan, .ownVLAN) ?? group.flatMap { Self.receiveDenial(held, $0, source, .ownReceive) }
    }

    /// Why a site that asks for a group may not have it, whoever sends it; `nil` for this site.
    func wishDenial(_ peer: PeerIndex?, _ key: GroupKey, from source: IPAddress?) -> Denial? {
        guard let peer else {
            return Self.vlanDenial(held, key.vlan, .ownVLAN) ?? Self.receiveDenial(held, key.group, source, .ownReceive)
        }
        let theirs = theirs(peer)
        return Self.vlanDenial(theirs, key.vlan, .siteVLAN) ?? Self.receiveDenial(theirs, key.group, source, .siteReceive)
    }

    private static func vlanDenial(_ site: Held?, _ vlan: VLAN, _ cause: Denial.Cause) -> Denial? {
        guard let site, !site.rights.mayUse(vlan) else { return nil }
        return Denial(cause, listed: site.rights.listedVLANs)
    }

    private static func sendDenial(_ site: Held?, _ group: IPAddress, _ source: IPAddress?, _ cause: Denial.Cause) -> Denial? {
        guard let site, site.send.reach(group, from: source) == .nothing else { return nil }
        return Denial(cause, listed: site.rights.send.listed)
    }

    private static func receiveDenial(
        _ site: Held?, _ group: IPAddress, _ source: IPAddress?, _ cause: Denial.Cause
    ) -> Denial? {
        guard let site, site.receive.reach(group, from: source) == .nothing else { return nil }
        return Denial(cause, listed: site.rights.receive.listed)
    }
}

extension PeerRights {
    fileprivate var vlanRanges: [NumberRange] {
        guard let vlans else { return [.all] }
        return NumberRange.joined(vlans.map { NumberRange(first: UInt128($0.lowerBound), last: UInt128($0.upperBound)) })
    }
}
