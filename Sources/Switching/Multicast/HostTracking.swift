// The hosts behind one group entry, and what each of them wants: explicit tracking (rule 27). It is why hosts of the third
// generation do not suppress each other's reports (RFC 9776 appendix A.2).
//
// What it is for. The tables of RFC 9776 section 6.4 know what a LAN wants, not who wants it. So when a host leaves they
// must ask the LAN, and go on forwarding until nobody has answered. A gateway that remembers every host's own wish knows
// the answer already: it stops at once, or does not ask at all.
//
// What complicates it. A host's INCLUDE list may be split over several records (RFC 9776 section 4.2.16), and nothing says
// which is the last, so each source of it has its own timer. Hosts of older generations keep silent when they hear another's
// report, so what they said proves nothing about the others. And the memory is bounded: a host whose list does not fit is
// remembered as one that wants everything, which can delay the end of a feed, never bring it about.

import Basics
import Wire

/// Who sent a report. A host is known by its MAC address: its IP address may be 0.0.0.0 at first (rule 4), and may change.
public struct HostIdentity: Hashable, Sendable {
    public var mac: MACAddress
    public var address: IPAddress

    public init(mac: MACAddress, address: IPAddress) {
        self.mac = mac
        self.address = address
    }
}

/// A host and its own wish for one group.
struct TrackedHost: Sendable {
    enum Interest: Sendable {
        /// Each source until its own time; never empty.
        case include(SourceList)
        /// Everything but these, which are ascending, until a time.
        case exclude([IPAddress], until: Instant)
        /// More sources than are kept: it counts as EXCLUDE{} until it says TO_IN{} or EXCLUDE, or falls silent.
        case overflowed(until: Instant)
    }

    var identity: HostIdentity
    /// Of its last report.
    var generation: MembershipGeneration
    var interest: Interest

    /// Sources kept for it.
    var sourceCount: Int {
        switch interest {
        case .include(let sources): sources.count
        case .exclude(let sources, _): sources.count
        case .overflowed: 0
        }
    }

    var excludes: Bool {
        if case .include = interest { false } else { true }
    }

    func wants(_ source: IPAddress) -> Bool {
        switch interest {
        case .include(let sources): sources.place(of: source) != nil
        case .exclude(let sources, _): !sources.includes(source)
        case .overflowed: true
        }
    }

    /// When the last of its wish runs out.
    var expires: Instant {
        switch interest {
        case .include(let sources): sources.reduce(.zero) { max($0, $1.expires ?? .zero) }
        case .exclude(_, let until), .overflowed(let until): until
        }
    }

    /// When the first of its wish runs out.
    var firstExpiry: Instant {
        switch interest {
        case .include(let sources): sources.reduce(.distantFuture) { min($0, $1.expires ?? .distantFuture) }
        case .exclude(_, let until), .overflowed(let until): until
        }
    }
}

/// The hosts of one entry.
struct HostTracking: Sendable {
    /// Ascending by MAC address.
    private(set) var hosts: [TrackedHost] = []
    /// Sources kept for all hosts.
    private(set) var sourceCount = 0
    /// Hosts that want everything but some sources.
    private(set) var excluding = 0
    /// Hosts by generation.
    private var byGeneration = (first: 0, second: 0, third: 0)
    /// Nothing runs out before this. May be early, never late.
    private(set) var nextExpiry = Instant.distantFuture

    /// Up to here `nextExpiry` is exact: to search it costs no more than to note the report.
    private static let few = 16

    /// What became of a report.
    enum Outcome: Sendable {
        case noted
        /// The host is new, wants something, and there is no room for it.
        case refused
        /// Its own list is too long: it counts as EXCLUDE{}.
        case overflowed
        /// All lists together are: it counts as EXCLUDE{}.
        case crowded
    }

    /// What of the table's limits is left.
    struct Room: Sendable {
        var hosts: Int
        /// Over all hosts.
        var sources: Int
        /// Of one host.
        var sourcesOfHost: Int
    }

    var isEmpty: Bool { hosts.isEmpty }

    var generations: Generations {
        var result: Generations = []
        if byGeneration.first > 0 { result.insert(.first) }
        if byGeneration.second > 0 { result.insert(.second) }
        if byGeneration.third > 0 { result.insert(.third) }
        return result
    }

    /// True when another address has been heard from the host's MAC address: several hosts may be behind it, or it has moved.
    func isShared(_ identity: HostIdentity) -> Bool {
        let place = place(for: identity.mac)
        guard place < hosts.count, hosts[place].identity.mac == identity.mac else { return false }
        let known = hosts[place].identity.address
        return !known.isUnspecified && !identity.address.isUnspecified && known != identity.address
    }

    /// Notes what a host said: the record as it stood, whatever the group's compatibility makes of it.
    ///
    /// - Parameters:
    ///   - addresses: the record's sources, ascending.
    ///   - expires: until when it holds.
    mutating func note(
        _ kind: GroupRecordKind, _ addresses: [IPAddress], from identity: HostIdentity, _ generation: MembershipGeneration,
        until expires: Instant, room: Room
    ) -> Outcome {
        let place = place(for: identity.mac)
        let isKnown = place < hosts.count && hosts[place].identity.mac == identity.mac
        let former = isKnown ? hosts[place].interest : nil
        guard var interest = HostTracking.interest(former, kind, addresses, expires) else {
            if isKnown { remove(at: place) }
            return .noted
        }
        guard isKnown || room.hosts > 0 else { return .refused }
        var host = TrackedHost(identity: identity, generation: generation, interest: interest)
        let kept = isKnown ? hosts[place].sourceCount : 0
        var outcome = Outcome.noted
        let isTooLong = host.sourceCount > room.sourcesOfHost
        if isTooLong || host.sourceCount - kept > room.sources {
            interest = .overflowed(until: max(host.expires, expires))
            host.interest = interest
            outcome = isTooLong ? .overflowed : .crowded
        }
        if isKnown {
            if identity.address.isUnspecified { host.identity.address = hosts[place].identity.address }
            let wasFirst = hosts[place].firstExpiry <= nextExpiry
            count(hosts[place], -1)
            hosts[place] = host
            count(host, 1)
            if wasFirst && hosts.count <= HostTracking.few { searchNextExpiry() }
        } else {
            hosts.insert(host, at: place)
            count(host, 1)
        }
        nextExpiry = min(nextExpiry, host.firstExpiry)
        return outcome
    }

    /// A host's wish after a record; `nil` when it wants nothing.
    private static func interest(
        _ former: TrackedHost.Interest?, _ kind: GroupRecordKind, _ addresses: [IPAddress], _ expires: Instant
    ) -> TrackedHost.Interest? {
        switch kind {
        case .isExclude, .toExclude: return .exclude(addresses, until: expires)
        case .toInclude where addresses.isEmpty: return nil
        case .isInclude, .toInclude, .allow:
            if addresses.isEmpty { return former }
            switch former {
            case .include(let sources):
                return .include(refreshed(sources, addresses, expires))
            // A host in EXCLUDE answers a query for sources with IS_IN of those that it wants (RFC 9776 section 5.2): only a
            // change of its mode leaves EXCLUDE. One whose TO_IN was lost is forgotten when `until` has passed.
            case .exclude(let sources, let until) where kind != .toInclude:
                return .exclude(sources.filter { !addresses.includes($0) }, until: until)
            case .overflowed: return .overflowed(until: expires)
            case .exclude, nil: return .include(refreshed([], addresses, expires))
            }
        case .block:
            switch former {
            case .include(let sources):
                let left = sources.filter { !addresses.includes($0.address) }
                return left.isEmpty ? nil : .include(left)
            case .exclude(let sources, let until): return .exclude((sources + addresses).ascending, until: until)
            case .overflowed, nil: return former
            }
        }
    }

    private static func refreshed(_ sources: SourceList, _ addresses: [IPAddress], _ expires: Instant) -> SourceList {
        sources.merged(
            with: addresses,
            both: { TimedSource(address: $0.address, expires: expires) }, kept: { $0 },
            added: { TimedSource(address: $0, expires: expires) })
    }

    /// Forgets what has run out. Returns whether a host went.
    mutating func advance(to now: Instant) -> Bool {
        guard nextExpiry <= now else { return false }
        let before = hosts.count
        for place in hosts.indices.reversed() where hosts[place].firstExpiry <= now {
            guard hosts[place].expires > now, case .include(let sources) = hosts[place].interest else {
                remove(at: place)
                continue
            }
            count(hosts[place], -1)
            hosts[place].interest = .include(sources.filter { $0.expires.map { $0 > now } ?? false })
            count(hosts[place], 1)
        }
        searchNextExpiry()
        return hosts.count != before
    }

    /// Those of `addresses` that no host wants. O(hosts · addresses).
    func unwanted(_ addresses: [IPAddress]) -> [IPAddress] {
        var rest = addresses
        for host in hosts where !rest.isEmpty { rest.removeAll { host.wants($0) } }
        return rest
    }

    /// Every source that stands in a host's INCLUDE list, ascending, with the time until which the last of them wants it.
    func included() -> SourceList {
        var all = SourceList()
        for host in hosts {
            if case .include(let sources) = host.interest { all += sources }
        }
        all.sort { $0.address < $1.address }
        var result = SourceList()
        for source in all {
            if let last = result.last, last.address == source.address {
                if let expires = source.expires, last.expires.map({ $0 < expires }) ?? true {
                    result[result.count - 1].expires = expires
                }
            } else {
                result.append(source)
            }
        }
        return result
    }

    // MARK: Below: the sorted array and its counts

    private func place(for mac: MACAddress) -> Int {
        var low = 0
        var high = hosts.count
        while low < high {
            let middle = (low + high) / 2
            if hosts[middle].identity.mac < mac { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private mutating func remove(at place: Int) {
        count(hosts[place], -1)
        hosts.remove(at: place)
        if hosts.count <= HostTracking.few { searchNextExpiry() }
    }

    private mutating func count(_ host: TrackedHost, _ sign: Int) {
        sourceCount += sign * host.sourceCount
        if host.excludes { excluding += sign }
        switch host.generation {
        case .first: byGeneration.first += sign
        case .second: byGeneration.second += sign
        case .third: byGeneration.third += sign
        }
    }

    private mutating func searchNextExpiry() {
        nextExpiry = hosts.reduce(.distantFuture) { min($0, $1.firstExpiry) }
    }

    /// One sentence for each invariant that is broken.
    func checkInvariants() -> [String] {
        var problems: [String] = []
        if !zip(hosts, hosts.dropFirst()).allSatisfy({ $0.identity.mac < $1.identity.mac }) {
            problems.append("hosts are not ascending")
        }
        if sourceCount != hosts.reduce(0, { $0 + $1.sourceCount }) { problems.append("sources of hosts are miscounted") }
        if excluding != hosts.filter(\.excludes).count { problems.append("excluding hosts are miscounted") }
        if generations != hosts.reduce([], { $0.union(Generations($1.generation)) }) {
            problems.append("generations of hosts are miscounted")
        }
        for host in hosts {
            if host.firstExpiry < nextExpiry { problems.append("host \(host.identity.mac) runs out unnoticed") }
            switch host.interest {
            case .include(let sources):
                if sources.isEmpty || !sources.isAscending || !sources.blocked.isEmpty {
                    problems.append("host \(host.identity.mac) has a broken INCLUDE list")
                }
            case .exclude(let sources, _):
                if !zip(sources, sources.dropFirst()).allSatisfy({ $0 < $1 }) {
                    problems.append("host \(host.identity.mac) has a broken EXCLUDE list")
                }
            case .overflowed: break
            }
        }
        return problems
    }
}
