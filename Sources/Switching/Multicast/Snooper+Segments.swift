// The VLANs and families that a querier asks on. One begins with the first frame of the VLAN, the first message on it, or the
// first wish of another site for it, and there is room for 1,024 VLANs.
//
// A segment does not end by age alone: a VLAN whose hosts have joined nothing would then be forgotten, noticed with its next
// frame, and asked anew with a burst of startup queries, every few minutes for ever. It is only when there is no room for another
// that the one that was used longest ago gives way, and only one that nobody has used for K4 + K2: no message, member, router,
// other site's wish, or static group. So somebody who sends frames with every tag there is cannot keep the others' VLANs out
// for longer than that, nor make the table churn: it changes at most once in K4 + K2.
//
//     full --- a new VLAN ---> the longest idle one goes; the lane forgets it, and says so when a frame of it comes
//                         \--> none is idle: refused, counted; the lane forgets it a minute later, so that it is tried again

import Basics
import Wire

extension Snooper {
    /// What is kept for each VLAN and family.
    struct Segment: Sendable {
        var querier: Querier
        var proxy: ProxyReporter
        /// When a message came last, another site's wish changed, or a lane noticed the VLAN.
        var lastUsed: Instant
    }

    struct SegmentKey: Hashable, Comparable, Sendable {
        var vlan: VLAN
        var family: IPFamily
        static func < (a: SegmentKey, b: SegmentKey) -> Bool { (a.vlan, a.family) < (b.vlan, b.family) }
    }

    /// How room is made when there is none.
    struct SegmentRoom: Sendable {
        /// Found idle by the last look, the one that was used longest ago last. Those used since are passed over.
        var idle: [(key: SegmentKey, lastUsed: Instant)] = []
        /// A look goes over all groups and all wishes: one in `lookPeriod` is enough.
        var nextLook = Instant.zero
        /// VLANs that found no room.
        var refused: Set<VLAN> = []
        /// Refused ones whose minute is over, and when the next of them are to be forgotten; far when there are none.
        var reconsidered: [VLAN] = []
        var reconsiderAt = Instant.distantFuture
        /// VLANs that lanes are to notice anew.
        var forgotten: [VLAN] = []
    }

    /// VLANs and families that a querier asks on; past it reports count, but nobody is asked.
    static let segmentLimit = 2_048
    private static let lookPeriod = Interval.seconds(10)
    private static let refusalPeriod = Interval.seconds(60)
    /// VLANs that are noticed anew in one second.
    private static let reconsiderBudget = 256

    /// The querier and the proxy of a VLAN and family begin with the first message on it. Every other message keeps them.
    mutating func addSegment(_ key: SegmentKey, _ now: Instant) {
        if segments[key] != nil {
            segments[key]?.lastUsed = now
            return
        }
        guard segments.count < Self.segmentLimit || evictSegment(now) else { return refuse(key.vlan, now) }
        let family = configuration[key.family]
        let querier = Querier(
            QuerierConfiguration(
                family: key.family, timing: family.timing, isEnabled: family.isQuerier,
                address: configuration.source(key.family), generation: family.generation), at: now)
        let proxy = ProxyReporter(family: key.family, random: SeededRandom(seed: random.next()))
        segments[key] = Segment(querier: querier, proxy: proxy, lastUsed: now)
        segmentKeys.insert(key, at: segmentKeys.firstIndex { key < $0 } ?? segmentKeys.count)
        for group in interests.keys(on: key.vlan, key.family) { noteRemoteWish(group, now) }
        segments[key]?.proxy.setActive(!routers.ports(key.vlan, key.family).isEmpty, at: now)
    }

    /// A lane has seen a VLAN for the first time: its hosts are asked what they have joined.
    public mutating func handleVLAN(_ vlan: VLAN, at now: Instant) {
        guard configuration.isEnabled else { return }
        for family in IPFamily.allCases { addSegment(SegmentKey(vlan: vlan, family: family), now) }
        settle(now)
    }

    /// VLANs that lanes have noticed and are to notice anew.
    public mutating func takeForgottenVLANs() -> [VLAN] {
        defer { room.forgotten.removeAll() }
        return room.forgotten
    }

    // MARK: Room

    private mutating func refuse(_ vlan: VLAN, _ now: Instant) {
        count(.vlanLimit, at: now)
        room.refused.insert(vlan)
        if room.reconsiderAt == .distantFuture { room.reconsiderAt = now + Self.refusalPeriod }
    }

    mutating func handleRefusalTimeout(_ now: Instant) {
        guard room.reconsiderAt <= now else { return }
        if room.reconsidered.isEmpty {
            room.reconsidered = room.refused.sorted()
            room.refused = []
        }
        for _ in 0..<Self.reconsiderBudget {
            guard let vlan = room.reconsidered.popLast() else { break }
            room.forgotten.append(vlan)
        }
        let period: Interval? =
            !room.reconsidered.isEmpty ? .seconds(1) : room.refused.isEmpty ? nil : Self.refusalPeriod
        room.reconsiderAt = period.map { now + $0 } ?? .distantFuture
    }

    /// Makes room for one; false when none may go.
    private mutating func evictSegment(_ now: Instant) -> Bool {
        if evictIdle() { return true }
        guard now >= room.nextLook else { return false }
        room.nextLook = now + Self.lookPeriod
        lookForIdle(now)
        return evictIdle()
    }

    private mutating func evictIdle() -> Bool {
        while let (key, lastUsed) = room.idle.popLast() {
            guard segments[key]?.lastUsed == lastUsed else { continue }
            segments[key] = nil
            segmentKeys.removeAll { $0 == key }
            querierRoles[key] = nil
            room.forgotten.append(key.vlan)
            return true
        }
        return false
    }

    /// O(segments log segments + groups + wishes).
    private mutating func lookForIdle(_ now: Instant) {
        var used = Set(statics.keys.map { SegmentKey(vlan: $0.vlan, family: $0.family) })
        for key in groups.index.keys { used.insert(SegmentKey(vlan: key.vlan, family: key.family)) }
        for row in routers.rows { used.insert(SegmentKey(vlan: row.vlan, family: row.address.family)) }
        interests.eachKey { used.insert(SegmentKey(vlan: $0.vlan, family: $0.family)) }
        room.idle = segmentKeys.compactMap { key in
            guard key.vlan != .untagged, !used.contains(key), let segment = segments[key] else { return nil }
            let timing = segment.querier.timing
            guard now - segment.lastUsed >= timing.groupMembershipInterval + timing.queryInterval else { return nil }
            return (key, segment.lastUsed)
        }
        room.idle.sort { ($0.lastUsed, $0.key) > ($1.lastUsed, $1.key) }
    }
}
