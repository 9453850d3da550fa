// Looks at every frame that a simulated LAN is given: none comes twice, none comes back to its site, and of a group's only what
// somebody there wants, and both sites may have.

import Basics

struct FrameChecker {
    /// What a site's host wants of one group.
    enum Wish: Hashable {
        case never
        case joined
        case left(Instant)
    }

    /// What may still come after a host has left: as many last member queries as a querier asks, a second apart (RFC 9776
    /// section 8.8), and what is under way.
    static let leaveBound = Interval.seconds(3)

    /// By site and group.
    private(set) var wishes: [[Wish]]
    /// By site: groups it may send and receive; `nil` for all.
    var maySend: [Set<Int>?]
    var mayReceive: [Set<Int>?]
    /// Sites that were revoked; and whether all are to know by now, so that their frames arrive nowhere and they get none.
    private(set) var banned: Set<Int> = []
    var isBanKnown = false
    /// By site, numbers.
    private var seen: [Set<UInt32>]
    private(set) var delivered: UInt64 = 0

    init(sites: Int, groups: Int) {
        wishes = Array(repeating: Array(repeating: .never, count: groups), count: sites)
        maySend = Array(repeating: nil, count: sites)
        mayReceive = Array(repeating: nil, count: sites)
        seen = Array(repeating: [], count: sites)
    }

    mutating func ban(_ site: Int) { banned.insert(site) }

    mutating func join(_ site: Int, _ group: Int) { wishes[site][group] = .joined }

    mutating func leave(_ site: Int, _ group: Int, at now: Instant) { wishes[site][group] = .left(now) }

    func wants(_ site: Int, _ group: Int) -> Bool { wishes[site][group] == .joined }

    /// Whether a group's frames of one site are for another's host.
    func isEntitled(_ site: Int, to group: Int, of origin: Int) -> Bool {
        (maySend[origin]?.contains(group) ?? true) && (mayReceive[site]?.contains(group) ?? true)
    }

    /// - Returns: what is wrong with it; `nil` where nothing is.
    mutating func handleDelivered(_ frame: SimulatedFrame, to site: Int, at now: Instant) -> String? {
        delivered += 1
        let name = "frame \(frame.number) of site \(frame.origin)"
        guard seen[site].insert(frame.number).inserted else { return "\(name) came twice to site \(site)" }
        if frame.origin == site { return "\(name) came back to it" }
        if isBanKnown && banned.contains(frame.origin) { return "\(name), which is revoked, came to site \(site)" }
        if isBanKnown && banned.contains(site) { return "\(name) came to site \(site), which is revoked" }
        guard case .feed(let group) = frame.kind else { return nil }
        guard isEntitled(site, to: group, of: frame.origin) else {
            return "\(name) of group \(group) came to site \(site), and its pass or the sender's does not allow that"
        }
        switch wishes[site][group] {
        case .joined: return nil
        case .left(let at) where now - at <= FrameChecker.leaveBound: return nil
        case .left, .never: return "\(name) of group \(group) came to site \(site), where nobody wants it"
        }
    }
}
