// Distribution trees of our own streams. While every member of an audience is reached itself, its datagrams go to each of them.
// Where some are reached through others alone, or a copy on our own uplink costs more than a relay's delay, the origin computes a
// tree, opens it from the first hops down, and only then seals for the audience: until then each member gets a copy of its own.
//
//     origin --- open(stream, part) ---> first hops --- open(part) ---> ... members
//            <------------------ ready, once all below have said so
//
// A tree is kept while it stands and no other is much better. When a link of it fails, or whoever carries may not any longer,
// another is opened in its place, with the same stream and key: members take what comes from either neighbour for a while.

import Basics
import Mesh
import Tunnels

/// One group's tree.
struct GroupTree: Sendable {
    /// A stream that is to be used once the tree is ready.
    struct Pending: Sendable {
        var cipher: Cipher
        var key: SecretBytes
    }

    let audience: PeerSet
    let stream: UInt32
    /// `nil` while all members are first hops, and none was ever told of a tree.
    var tree: DistributionTree?
    /// Where datagrams are sent; and where they will be once the tree is ready.
    var firstHops: [Int]
    var nextHops: [Int] = []
    /// First hops that have not said that they are ready.
    var waiting: Set<Int> = []
    var sequence: UInt32 = 0
    var isReady: Bool
    var retryDue = Instant.distantFuture
    var pending: Pending?
    /// The tree that one which is being opened is better than, while that is so.
    var held: DistributionTree?
    /// What is opened next instead of the best there is; and what is not taken for better until then, since it was not to be had.
    var wanted: DistributionTree?
    var avoided: DistributionTree?
    var avoidedUntil = Instant.zero
    /// Of one whose group has another stream: until when members open it all the same.
    var until = Instant.distantFuture
}

extension ControlCore {
    private static let treePatience = Interval.seconds(2)
    /// For how long a better tree that was not to be had is not tried again.
    private static let treeRest = Interval.seconds(60)
    /// Trees that are looked at each second for a better one.
    private static let treesAtOnce = 8
    /// How long a stream is used after another has taken its place: less than members open it.
    private static let formerUse = AudienceBook.grace * 4 / 5
    /// Ways that were left and are still to be closed.
    static let closingLimit = 4_096
    /// What was under way on a way that is left is still passed on for so long.
    private static let treeGrace = Interval.seconds(5)

    /// All members have the key of a stream: it is used at once, or when its tree is open.
    mutating func useStream(
        _ group: Int, _ audience: PeerSet, _ stream: UInt32, _ cipher: Cipher, _ key: SecretBytes, _ now: Instant
    ) {
        let members = audience.members.map(\.index)
        if mesh == nil || (configuration.copyCost == .zero && members.allSatisfy { isReachedItself($0) }) {
            closeTree(group, now)
            streams.trees[group] = GroupTree(audience: audience, stream: stream, firstHops: members, isReady: true)
            return installGroup(group, audience, stream, cipher, key)
        }
        // The one before is used until this one's tree is open.
        if var old = streams.trees[group], old.pending == nil {
            old.until = now + ControlCore.formerUse
            streams.formerTrees[group] = old
        }
        streams.trees[group] = GroupTree(
            audience: audience, stream: stream, firstHops: [], isReady: false,
            pending: GroupTree.Pending(cipher: cipher, key: key))
        openTree(group, now)
    }

    private func isReachedItself(_ index: Int) -> Bool {
        peers[index].site == nil || (peers[index].isDirect && !peers[index].isRelayUsed)
    }

    private mutating func installGroup(
        _ group: Int, _ audience: PeerSet, _ stream: UInt32, _ cipher: Cipher, _ key: SecretBytes
    ) {
        command(
            .installGroup(
                GroupInstallation(
                    group: group, audience: audience, firstHops: hops(of: group), stream: stream, key: Key256(key),
                    cipher: cipher, renewAfter: configuration.rekeyDatagrams)))
    }

    private func hops(of group: Int) -> PeerSet {
        var hops = PeerSet.none
        for hop in streams.trees[group]?.firstHops ?? [] { hops.insert(PeerIndex(hop)) }
        return hops
    }

    private var treePolicy: TreePolicy { TreePolicy(copyCost: UInt64(clamping: configuration.copyCost.nanoseconds / 1_000)) }

    private func bestTree(_ audience: PeerSet) -> DistributionTree? {
        guard let own = mesh?.gossip.site, let topology = mesh?.relays.topology else { return nil }
        return topology.tree(from: own, to: audience.members.compactMap { peers[$0.index].site }, treePolicy)
    }

    /// Opens the best tree there is; tries again later where there is none.
    private mutating func openTree(_ group: Int, _ now: Instant) {
        guard let old = streams.trees[group], let own = mesh?.gossip.site,
            let tree = old.wanted.flatMap({ stands($0) ? $0 : nil }) ?? bestTree(old.audience)
        else { return }
        streams.trees[group]?.wanted = nil
        streams.trees[group]?.retryDue = now + ControlCore.treePatience
        let members = old.audience.members.map(\.index)
        let parts = tree.nodes.filter { $0.parent == 0 && $0.site != own }.map(\.site)
        let hops = parts.compactMap { neighbour($0) }
        guard tree.unreachable.isEmpty, hops.count == parts.count, let sequence = mesh?.relays.nextSequence() else { return }
        let announcements = parts.map { TreeAnnouncement(tree, for: $0) }
        guard !announcements.contains(nil) else { return }
        // Those without a pass are reached themselves, and need no telling.
        let others = members.filter { peers[$0].site == nil }
        streams.trees[group]?.tree = tree
        streams.trees[group]?.sequence = sequence
        // A suspect one is sent to, and not waited for.
        streams.trees[group]?.waiting = Set(hops.filter { !peers[$0].path.isDoubted && !peers[$0].path.isSuspect })
        streams.trees[group]?.isReady = false
        streams.trees[group]?.nextHops = hops + others
        for (hop, part) in zip(hops, announcements) {
            guard let part else { continue }
            let opening = RouteOpening(
                stream: old.stream, sequence: sequence, isPair: false, lanes: UInt8(mailboxes.count), origin: own, tree: part)
            mesh?.relays.tell(.open(opening), to: hop)
        }
        if streams.trees[group]?.waiting.isEmpty == true { useTree(group, now) }
    }

    /// A first hop has answered. False where the stream is none of ours.
    mutating func handleTreeAnswer(
        _ stream: UInt32, _ sequence: UInt32, isReady: Bool, _ index: Int, _ now: Instant
    ) -> Bool {
        guard let group = streams.trees.first(where: { $0.value.stream == stream })?.key else { return false }
        guard let tree = streams.trees[group], tree.sequence == sequence else { return true }
        if !isReady {
            fallBack(group, now)
            streams.trees[group]?.isReady = false
            streams.trees[group]?.retryDue = now + ControlCore.treePatience / 4
            return true
        }
        guard tree.waiting.contains(index) else { return true }
        streams.trees[group]?.waiting.remove(index)
        if streams.trees[group]?.waiting.isEmpty == true && !tree.isReady { useTree(group, now) }
        return true
    }

    /// A tree that is being opened in the place of one in use is not to be had at present: each member gets a copy of its own.
    private mutating func fallBack(_ group: Int, _ now: Instant) {
        guard let tree = streams.trees[group], tree.pending == nil else { return }
        command(.setFirstHops(group: group, .none))
        // It was to take the place of one that stood: that one again, and this one not for a while.
        guard let held = tree.held else { return }
        streams.trees[group]?.held = nil
        streams.trees[group]?.wanted = held
        streams.trees[group]?.avoided = tree.tree
        streams.trees[group]?.avoidedUntil = now + ControlCore.treeRest
    }

    /// A neighbour has forgotten what it carried, or is gone: each member gets a copy of its own until another tree is open.
    mutating func breakTrees(through place: Int, _ now: Instant) {
        for group in streams.trees.keys.sorted() {
            guard let tree = streams.trees[group], tree.tree != nil else { continue }
            let isInUse = tree.firstHops.contains(place) || streams.formerTrees[group]?.firstHops.contains(place) == true
            if isInUse { command(.setFirstHops(group: group, .none)) }
            guard isInUse || tree.nextHops.contains(place) else { continue }
            streams.trees[group]?.isReady = false
            streams.trees[group]?.retryDue = now
        }
    }

    /// All first hops take it, as far as they can be heard.
    private mutating func useTree(_ group: Int, _ now: Instant) {
        guard let tree = streams.trees[group] else { return }
        let (old, new) = (tree.firstHops, tree.nextHops)
        streams.trees[group]?.isReady = true
        streams.trees[group]?.retryDue = .distantFuture
        streams.trees[group]?.firstHops = new
        streams.trees[group]?.pending = nil
        streams.trees[group]?.held = nil
        if let pending = tree.pending {
            installGroup(group, tree.audience, tree.stream, pending.cipher, pending.key)
        } else {
            command(.setFirstHops(group: group, hops(of: group)))
        }
        closeLater(tree.stream, old.filter { !new.contains($0) }, now)
        if let former = streams.formerTrees.removeValue(forKey: group) { close(former, now) }
    }

    /// The group's stream is not used any longer.
    mutating func closeTree(_ group: Int, _ now: Instant) {
        for old in [streams.trees.removeValue(forKey: group), streams.formerTrees.removeValue(forKey: group)] {
            if let old { close(old, now) }
        }
    }

    private mutating func close(_ old: GroupTree, _ now: Instant) {
        guard old.tree != nil else { return }
        closeLater(old.stream, Set(old.firstHops + old.nextHops).sorted(), now)
    }

    /// Those who carried a stream hear that it is over once nothing of it is under way any more.
    mutating func closeLater(_ stream: UInt32, _ hops: [Int], _ now: Instant) {
        if hops.isEmpty { return }
        // Ways that waver faster than that are closed earlier, the oldest first.
        while streams.closings.count >= ControlCore.closingLimit { sayFirstClosing() }
        streams.closings.append((now + ControlCore.treeGrace, stream, hops))
    }

    /// Tells of ways that were left a while ago.
    private mutating func sayClosings(_ now: Instant) {
        while let first = streams.closings.first, first.due <= now { sayFirstClosing() }
    }

    private mutating func sayFirstClosing() {
        let (_, stream, hops) = streams.closings.removeFirst()
        guard let own = mesh?.gossip.site else { return }
        for hop in hops where peers[hop].isUp && peers[hop].site != nil {
            // It may be one of the way's again.
            let isUsed =
                streams.trees.values.contains {
                    $0.stream == stream && ($0.firstHops.contains(hop) || $0.nextHops.contains(hop))
                }
                || peers.contains { $0.relay?.label == stream && $0.relay?.via == hop }
            if !isUsed { mesh?.relays.tell(.close(stream: stream, origin: own), to: hop) }
        }
    }

    /// The graph has changed: trees that do not stand any longer are opened anew.
    mutating func reviewTrees(_ now: Instant) {
        for group in streams.trees.keys.sorted() {
            guard let tree = streams.trees[group], !stands(tree) else { continue }
            // One that is being opened gives way too: whoever is waited for may be the one that is gone.
            if tree.isReady || (tree.tree != nil && bestTree(tree.audience) != tree.tree) {
                openTree(group, now)
            } else {
                stopWaiting(group, now)
            }
        }
    }

    /// A suspect one is sent to, and not waited for.
    private mutating func stopWaiting(_ group: Int, _ now: Instant) {
        guard let tree = streams.trees[group], !tree.waiting.isEmpty else { return }
        let waiting = tree.waiting.filter { !peers[$0].path.isDoubted && !peers[$0].path.isSuspect }
        streams.trees[group]?.waiting = waiting
        if waiting.isEmpty { useTree(group, now) }
    }

    /// Looks at some of the trees that stand, in turn: one gives way to another that is better by a margin. Measurements waver,
    /// and a tree takes all of a feed along, so the margin is the same as for paths.
    mutating func improveTrees(_ now: Instant) {
        let groups = streams.trees.keys.sorted()
        let start = groups.firstIndex { $0 > streams.lastImproved } ?? 0
        for number in 0..<min(groups.count, ControlCore.treesAtOnce) {
            let group = groups[(start + number) % groups.count]
            streams.lastImproved = group
            guard let tree = streams.trees[group], tree.isReady, tree.pending == nil, let held = tree.tree,
                let price = mesh?.relays.topology.price(of: held, treePolicy), let best = bestTree(tree.audience),
                best.unreachable.isEmpty, best != held, let other = mesh?.relays.topology.price(of: best, treePolicy)
            else { continue }
            let isShorter = best.relayedLinks < held.relayedLinks
            guard Paths.isWorth(other, insteadOf: price, hasFewerHops: isShorter),
                tree.avoided != best || tree.avoidedUntil <= now
            else { continue }
            streams.trees[group]?.held = held
            openTree(group, now)
        }
    }

    mutating func handleTreeTimeout(_ now: Instant) {
        sayClosings(now)
        for group in streams.formerTrees.keys.sorted() {
            guard let former = streams.formerTrees[group], former.until <= now else { continue }
            // The next one's tree is not to be had at present: each member gets a copy of its own.
            streams.formerTrees[group] = nil
            command(.setFirstHops(group: group, .none))
            close(former, now)
        }
        for group in streams.trees.keys.sorted() {
            guard let tree = streams.trees[group], !tree.isReady, tree.retryDue <= now else { continue }
            // Members may have been told of the one that is not to be had, and take nothing by the way before for much longer.
            fallBack(group, now)
            openTree(group, now)
        }
    }

    var treeTimeout: Instant {
        let former = streams.formerTrees.values.map(\.until).min() ?? .distantFuture
        return streams.trees.values.reduce(min(streams.closings.first?.due ?? .distantFuture, former)) {
            $1.isReady ? $0 : min($0, $1.retryDue)
        }
    }

    private func stands(_ group: GroupTree) -> Bool {
        group.tree.map { stands($0) } ?? group.firstHops.allSatisfy { isReachedItself($0) }
    }

    private func stands(_ tree: DistributionTree) -> Bool {
        guard let topology = mesh?.relays.topology else { return false }
        for node in tree.nodes.dropFirst() {
            let above = tree.nodes[node.parent].site
            guard topology.cost(from: above, to: node.site) != nil, !topology.isSuspect(from: above, to: node.site),
                node.parent == 0 || topology.mayRelay(above)
            else { return false }
        }
        return true
    }
}
