// Rights that change, and what an auditor is told of wishes: that a site asks for what it may not have, and that it may have it
// after all. One decision for each site, group and source that is denied; nothing is kept of what is granted at once.

import Basics

/// A site's wish that is denied, or was and is granted.
public struct WishDecision: Hashable, Sendable {
    /// Whose wish; `nil`: this site's.
    public var peer: PeerIndex?
    public var key: GroupKey
    /// `nil`: the wish names none, or names those that are not wanted.
    public var source: IPAddress?
    /// `nil`: granted.
    public var denial: Denial?
}

/// The denied wishes, and the decisions that nobody has fetched.
struct WishAudit: Sendable {
    struct Place: Hashable, Sendable {
        var peer: PeerIndex?
        var source: IPAddress?
    }

    /// By group, so that one group's are brought into line at a time.
    private(set) var denied: [GroupKey: [Place: Denial]] = [:]
    private var count = 0
    private(set) var decisions: [WishDecision] = []
    /// Decisions that found no room.
    var untold = 0
    /// Denied wishes that are kept; those beyond are denied all the same, and not told of.
    private static let limit = 65_536
    private static let decisionLimit = 1_024

    /// - Parameter wished: everything that is asked for, with why it is denied; `nil` where it is granted. Sorted.
    mutating func note(_ key: GroupKey, _ wished: [(place: Place, denial: Denial?)]) {
        let old = denied[key] ?? [:]
        var new: [Place: Denial] = [:]
        for (place, denial) in wished {
            if let denial, old[place] != nil || count - old.count + new.count < Self.limit { new[place] = denial }
            if denial != old[place], denial == nil || new[place] != nil {
                tell(WishDecision(peer: place.peer, key: key, source: place.source, denial: denial))
            }
        }
        count += new.count - old.count
        denied[key] = new.isEmpty ? nil : new
    }

    private mutating func tell(_ decision: WishDecision) {
        if decisions.count < Self.decisionLimit { decisions.append(decision) } else { untold += 1 }
    }

    mutating func take() -> (decisions: [WishDecision], untold: Int) {
        defer {
            decisions.removeAll()
            untold = 0
        }
        return (decisions, untold)
    }
}

extension Snooper {
    /// What a peer's site may send and receive; `nil`: everything.
    public mutating func apply(rights new: PeerRights?, of peer: PeerIndex, at now: Instant) {
        publish(rights.set(new, of: peer), now)
    }

    /// The same for this site.
    public mutating func apply(ownRights new: PeerRights?, at now: Instant) { publish(rights.setOwn(new), now) }

    private mutating func publish(_ changes: [(peer: PeerIndex, list: [RightsRange])], _ now: Instant) {
        if changes.isEmpty { return }
        // Lists first: entries that are older than they are name peers that lanes ask nothing about for a moment more.
        for (peer, list) in changes { plan.publish(list, of: peer) }
        compileDefaults()
        settle(now)
        if !configuration.isEnabled { plan.publish() }
    }

    /// Wishes that were denied, and denied ones that were granted, since the last call; and how many more there were.
    public mutating func takeWishDecisions() -> (decisions: [WishDecision], untold: Int) { wishAudit.take() }

    mutating func noteWishDecisions(_ deciding: Deciding) {
        let key = deciding.key
        if rights.limited.isEmpty && wishAudit.denied[key] == nil { return }
        guard key.group.isSnoopedGroup else { return }
        var wished: [(WishAudit.Place, Denial?)] = []
        let own = ownWish(key)
        if rights.own != nil || wishAudit.denied[key] != nil { append(own, of: nil, key, to: &wished) }
        for (peer, wish) in deciding.remote { append(wish, of: peer, key, to: &wished) }
        wishAudit.note(key, wished)
    }

    private func append(
        _ wish: Wish, of peer: PeerIndex?, _ key: GroupKey, to wished: inout [(WishAudit.Place, Denial?)]
    ) {
        if wish.isNothing { return }
        let sources: [IPAddress?] = wish.mode == .include ? wish.sources : [nil]
        for source in sources {
            wished.append((WishAudit.Place(peer: peer, source: source), rights.wishDenial(peer, key, from: source)))
        }
    }
}
