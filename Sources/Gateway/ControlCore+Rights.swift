// Control's side of rights (rule 44): whoever knows what sites may do says so here, at any time. The snooper sorts the peers of
// its entries by it and gives lanes their lists; what lanes and the snooper deny is told to the audit file.
//
//     passes ---> apply(rights:of:at:) ---> Snooper ---> entries and lists ---> lanes
//                                              |                                  |
//     audit file <------ AuditEvent <----------+---------- DeniedFeed <-----------+

import Basics
import Switching

extension ControlCore {
    /// What a peer's site may send and receive from here on; `nil`: everything.
    public mutating func apply(rights: PeerRights?, of peer: PeerIndex, at now: Instant) {
        snooper.apply(rights: rights, of: peer, at: now)
        auditGrants(at: now)
        drive(at: now)
    }

    /// The same for this site.
    public mutating func apply(ownRights: PeerRights?, at now: Instant) {
        snooper.apply(ownRights: ownRights, at: now)
        auditGrants(at: now)
        drive(at: now)
    }

    /// What limits a peer's site; `nil`: nothing.
    public func rights(of peer: PeerIndex) -> PeerRights? { snooper.rights[peer] }

    // MARK: The audit

    mutating func handleDenied(_ feed: DeniedFeed, _ now: Instant) {
        guard feed.peer.index < peers.count, audit.note(feed, at: now) else { return }
        // The rights may have changed since.
        guard let denial = denial(feed) else { return audit.forget(feed) }
        append(feed, denial, now)
    }

    private func denial(_ feed: DeniedFeed) -> Denial? {
        let isVLAN = feed.group.isUnspecified
        return snooper.rights.denial(
            feed.direction, feed.peer, feed.vlan, isVLAN ? nil : feed.group, from: isVLAN ? nil : feed.source)
    }

    private mutating func append(_ feed: DeniedFeed, _ denial: Denial?, _ now: Instant) {
        let isVLAN = feed.group.isUnspecified
        append(
            AuditEvent(
                time: 0, kind: .feed, direction: feed.direction, site: peers[feed.peer.index].name, vlan: feed.vlan,
                group: isVLAN ? nil : feed.group, source: isVLAN ? nil : feed.source, denial: denial), now)
    }

    private mutating func append(_ event: AuditEvent, _ now: Instant) {
        guard let suppressed = audit.admit(at: now) else { return }
        var event = event
        event.time = wallClockAtZero &+ now.nanoseconds
        event.suppressed = suppressed
        actions.append(.audit(event))
    }

    /// Feeds that were denied and may pass now, in an order of their own.
    mutating func auditGrants(at now: Instant) {
        let granted = audit.feeds.keys.filter { denial($0) == nil }.sorted { $0.order < $1.order }
        for feed in granted {
            audit.forget(feed)
            append(feed, nil, now)
        }
    }

    mutating func auditWishes(at now: Instant) {
        let (decisions, untold) = snooper.takeWishDecisions()
        if untold > 0 { audit.noteUntold(untold) }
        for decision in decisions {
            append(
                AuditEvent(
                    time: 0, kind: .wish, direction: decision.peer == nil ? .inward : .outward,
                    site: decision.peer.map { peers[$0.index].name }, vlan: decision.key.vlan, group: decision.key.group,
                    source: decision.source, denial: decision.denial), now)
        }
    }
}

extension DeniedFeed {
    fileprivate var order: (PeerIndex, VLAN, IPAddress, IPAddress, UInt8) {
        (peer, vlan, group, source, direction.rawValue)
    }
}
