// A MAC table as one would write it on a blackboard: a dictionary, and a list for each location, most recently seen first. Slow
// and obvious; `MACTable` must give the same answers.

import Basics
import Switching

struct PlainKey: Hashable {
    var address: MACAddress
    var vlan: VLAN
}

struct PlainTable {
    private struct Row {
        var location: Location
        var seen: Instant
    }

    let limit: Int
    let ageing: Interval
    let granularity: Interval
    private var rows: [PlainKey: Row] = [:]
    /// By location's number: keys, most recently seen first.
    private var lists: [[PlainKey]]
    private(set) var moves: UInt64 = 0
    private(set) var evictions: UInt64 = 0
    /// The key that was last pushed out, and from where.
    private(set) var evicted: (key: PlainKey, location: Location)?

    init(limit: Int, ageing: Interval, locations: Int) {
        self.limit = limit
        self.ageing = ageing
        // As documented on `MACEntry.seen`.
        granularity = min(.seconds(1), ageing / 64)
        lists = Array(repeating: [], count: locations)
    }

    var count: Int { rows.count }
    func count(at location: Location) -> Int { lists[location.index].count }

    func lookup(_ key: PlainKey, at now: Instant) -> Location? {
        guard let row = rows[key], now - row.seen <= ageing else { return nil }
        return row.location
    }

    mutating func learn(_ key: PlainKey, from location: Location, at now: Instant) -> String {
        if key.address.isGroup || key.address == .zero { return "ignored" }
        guard let row = rows[key] else {
            if rows.count == limit { evict() }
            put(key, location, now)
            return "learned"
        }
        if row.location == location {
            if now - row.seen >= granularity {
                take(key)
                put(key, location, now)
            }
            return "refreshed"
        }
        take(key)
        put(key, location, now)
        moves += 1
        return "moved from \(row.location.rawValue)"
    }

    /// The oldest of the location that has the most; the lowest location of equals.
    private mutating func evict() {
        let most = lists.map(\.count).max() ?? 0
        guard let fullest = lists.firstIndex(where: { $0.count == most }), let key = lists[fullest].last else { return }
        evicted = (key, Location(rawValue: UInt16(fullest)))
        take(key)
        evictions += 1
    }

    mutating func expire(at now: Instant, budget: Int) -> Int {
        var removed = 0
        for location in lists.indices {
            while removed < budget, let key = lists[location].last, let row = rows[key], now - row.seen > ageing {
                take(key)
                removed += 1
            }
        }
        return removed
    }

    mutating func forget(_ location: Location) {
        for key in lists[location.index] { take(key) }
    }

    var entries: Set<MACEntry> {
        Set(rows.map { MACEntry(address: $0.key.address, vlan: $0.key.vlan, location: $0.value.location, seen: $0.value.seen) })
    }

    private mutating func put(_ key: PlainKey, _ location: Location, _ now: Instant) {
        rows[key] = Row(location: location, seen: now)
        lists[location.index].insert(key, at: 0)
    }

    private mutating func take(_ key: PlainKey) {
        guard let row = rows.removeValue(forKey: key) else { return }
        lists[row.location.index].removeAll { $0 == key }
    }
}
