// The MAC table: which port or peer a unicast address was last heard from, per VLAN.
//
// What it is. A map from (VLAN, MAC address) to a `Location`, filled from the source addresses of frames and consulted
// for their destinations (IEEE 802.1Q clauses 8.7 and 8.8).
//
// What complicates it. Hosts move, so the newest sighting always wins. Hosts vanish, so an entry dies `ageing` after it
// was last seen. And anyone on a LAN can invent source addresses: a table that simply evicted its oldest entry would let
// one noisy port push out everybody else's hosts, and their traffic would be flooded over the WAN. So a full table
// evicts the oldest entry of the location that holds the *most* entries. A flooding port then displaces only itself.
//
//     by key: location, seen, place         pool of entries, each in two lists at most:
//     [..][..][ port 0, 12:01, 7 ][..]      - its location's list, most recently seen first
//                              |            - the free list
//                              +--> entry 7: key, location, seen, newer <-> older
//
// Lookups and learning are O(1); eviction is O(locations); ageing looks at the old end of each location's list only. What a
// frame asks is answered by one place of the table by key: with many hosts that is the one cold cache line of a look-up. The pool
// says the same once more, and is touched only when a host is new, has moved, or is seen again after a while.

import Basics
import Buffers

/// Where a host is: behind a LAN port of this gateway, or behind a peer.
public struct Location: Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt16

    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
    @inlinable public init(_ port: PortIndex) { rawValue = UInt16(port.rawValue) }
    @inlinable public init(_ peer: PeerIndex) { rawValue = UInt16(Limits.ports) &+ peer.rawValue }

    @inlinable public var index: Int { Int(rawValue) }
    /// `nil` when it is a peer.
    @inlinable public var port: PortIndex? { index < Limits.ports ? PortIndex(index) : nil }
    /// `nil` when it is a port.
    @inlinable public var peer: PeerIndex? { index < Limits.ports ? nil : PeerIndex(index &- Limits.ports) }

    /// How many locations a gateway with that many peers has.
    public static func count(peers: Int) -> Int { Limits.ports + peers }
}

/// A row of the table, for operators.
public struct MACEntry: Hashable, Sendable, BitwiseCopyable {
    public var address: MACAddress
    public var vlan: VLAN
    public var location: Location
    /// When a frame from the address was last seen, to within a second or 1/64 of the ageing time.
    public var seen: Instant

    public init(address: MACAddress, vlan: VLAN, location: Location, seen: Instant) {
        self.address = address
        self.vlan = vlan
        self.location = location
        self.seen = seen
    }
}

public struct MACTable: ~Copyable {
    /// What is known of an address.
    @usableFromInline
    struct Sighting: BitwiseCopyable, Sendable {
        @usableFromInline var seen: Instant
        /// The entry's place in the pool.
        @usableFromInline var place: Int32
        /// When the other lanes were told, in seconds, and one more; 0 when they were not. Only where the table is shared.
        @usableFromInline var told: UInt32
        @usableFromInline var location: UInt16
    }

    struct Entry: BitwiseCopyable {
        /// VLAN in bits 48–60, address below. Only meaningful while the entry is in a location's list.
        var key: UInt64 = 0
        /// As in the key's sighting.
        var seen: Instant = .zero
        /// The neighbour seen more recently, or -1. Also unused on the free list.
        var newer: Int32 = -1
        /// The neighbour seen less recently, or -1. On the free list: the next free entry.
        var older: Int32 = -1
        /// As in the key's sighting; `vacant` on the free list.
        var location: UInt16 = Entry.vacant

        static let vacant = UInt16.max
    }

    /// One location's entries, as the ends of their list.
    struct List: BitwiseCopyable {
        var newest: Int32 = -1
        var oldest: Int32 = -1
        var count: Int32 = 0
    }

    public enum Outcome: Sendable {
        case learned
        case refreshed
        case moved(from: Location)
        /// Seen again, and it is time that the other lanes hear of it. Only where the table is shared.
        case refreshedLate
        /// A group or zero address, which is nobody's.
        case ignored

        /// Whether other lanes are to be told.
        @inlinable public var isNews: Bool {
            switch self {
            case .learned, .moved, .refreshedLate: true
            case .refreshed, .ignored: false
            }
        }
    }

    /// The most entries it holds.
    public let limit: Int
    /// How long an entry outlives its last sighting.
    public let ageing: Interval
    /// Entries held.
    public private(set) var count = 0
    public private(set) var moves: UInt64 = 0
    /// Entries pushed out because the table was full.
    public private(set) var evictions: UInt64 = 0

    /// A sighting closer than this to the last one changes nothing: keeps the hot path from writing.
    @usableFromInline let granularity: Interval
    /// How often other lanes hear of a host that stays, in seconds; 0 where there are none.
    private let tellPeriod: UInt32
    /// Entries that are looked at for the place of one that another lane saw.
    private static let searchLimit = 32
    @usableFromInline var sightings: KeyedTable<Sighting>
    private var entries: FixedArray<Entry>
    private var lists: FixedArray<List>
    private var free: Int32

    /// - Parameters:
    ///   - limit: entries; at least 1.
    ///   - locations: `Location.count(peers:)`.
    ///   - isShared: whether other tables are to know the same hosts: see `Outcome.isNews` and `adopt`.
    public init(limit: Int, ageing: Interval, locations: Int, secret: HashSecret, isShared: Bool = false) {
        precondition(limit > 0 && limit <= 1 << 24)
        self.limit = limit
        self.ageing = ageing
        granularity = min(.seconds(1), ageing / 64)
        tellPeriod = isShared ? UInt32(clamping: max(ageing.nanoseconds / 8_000_000_000, 1)) : 0
        sightings = KeyedTable(
            entries: limit, empty: Sighting(seen: .zero, place: 0, told: 0, location: Entry.vacant), secret: secret)
        entries = FixedArray(count: limit) { place in
            var entry = Entry()
            entry.older = place + 1 < limit ? Int32(place + 1) : -1
            return entry
        }
        lists = FixedArray(count: locations) { _ in List() }
        free = 0
    }

    @inlinable @inline(__always)
    static func key(_ address: MACAddress, _ vlan: VLAN) -> UInt64 {
        UInt64(vlan.rawValue) << 48 | address.rawValue
    }

    /// Where to send a frame for `address`; `nil` when unknown or too old.
    @inlinable @inline(__always)
    public func lookup(_ address: MACAddress, on vlan: VLAN, at now: Instant) -> Location? {
        guard let found = sightings.find(MACTable.key(address, vlan)), now - sightings[found].seen <= ageing else { return nil }
        return Location(rawValue: sightings[found].location)
    }

    /// Asks the processor to fetch what `lookup` and `learn` will look at.
    @inlinable @inline(__always)
    public func prefetch(_ address: MACAddress, on vlan: VLAN) { sightings.prefetch(MACTable.key(address, vlan)) }

    /// Notes that a frame from `address` came from `location`.
    @inlinable @inline(__always)
    public mutating func learn(_ address: MACAddress, on vlan: VLAN, from location: Location, at now: Instant) -> Outcome {
        if address.isGroup || address.rawValue == 0 { return .ignored }
        let key = MACTable.key(address, vlan)
        let found = sightings.find(key)
        // What nearly every frame of a host says that stays where it is.
        if let found, sightings[found].location == location.rawValue, now - sightings[found].seen < granularity {
            return .refreshed
        }
        return note(key, at: found, location, now)
    }

    /// A host that is new, has moved, or was not seen for a while.
    @usableFromInline @inline(never)
    mutating func note(_ key: UInt64, at found: Int?, _ location: Location, _ now: Instant) -> Outcome {
        guard let found else {
            insert(key, location, now)
            return .learned
        }
        let former = sightings[found].location
        let place = Int(sightings[found].place)
        sightings[found].seen = now
        entries[place].seen = now
        if former == location.rawValue {
            if lists[Int(former)].newest != sightings[found].place {
                unlink(place)
                link(place, to: former)
                sightings[found].seen = entries[place].seen
            }
            return tellPeriod > 0 && isDueToTell(found, now) ? .refreshedLate : .refreshed
        }
        unlink(place)
        link(place, to: location.rawValue)
        sightings[found].location = location.rawValue
        sightings[found].seen = entries[place].seen
        noteTold(found, now)
        moves &+= 1
        return .moved(from: Location(rawValue: former))
    }

    // MARK: Sharing

    /// Takes over what another table has learned, unless this one knows better.
    public mutating func adopt(_ entry: MACEntry, at now: Instant) {
        guard now - entry.seen <= ageing else { return }
        let key = MACTable.key(entry.address, entry.vlan)
        guard let found = sightings.find(key) else { return insert(key, entry.location, entry.seen) }
        if sightings[found].seen >= entry.seen { return }
        let former = sightings[found].location
        if former != entry.location.rawValue { moves &+= 1 }
        let place = Int(sightings[found].place)
        unlink(place)
        entries[place].seen = entry.seen
        link(place, to: entry.location.rawValue)
        sightings[found].location = entry.location.rawValue
        sightings[found].seen = entries[place].seen
        noteTold(found, entry.seen)
    }

    /// The others could not be told of what was learned last: they are with the next sighting that counts.
    public mutating func noteUntold(_ address: MACAddress, on vlan: VLAN) {
        if let found = sightings.find(MACTable.key(address, vlan)) { sightings[found].told = 0 }
    }

    private mutating func isDueToTell(_ found: Int, _ now: Instant) -> Bool {
        let told = sightings[found].told
        if told > 0 && MACTable.second(now) &- told < tellPeriod { return false }
        noteTold(found, now)
        return true
    }

    private mutating func noteTold(_ found: Int, _ now: Instant) {
        if tellPeriod > 0 { sightings[found].told = MACTable.second(now) }
    }

    private static func second(_ now: Instant) -> UInt32 {
        UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000_000) &+ 1
    }

    /// Removes entries that are too old, at most `budget` of them. Returns how many went.
    @discardableResult
    public mutating func expire(at now: Instant, budget: Int) -> Int {
        var removed = 0
        for location in 0..<lists.count {
            while removed < budget {
                let oldest = Int(lists[location].oldest)
                guard oldest >= 0, now - entries[oldest].seen > ageing else { break }
                remove(oldest)
                removed += 1
            }
        }
        return removed
    }

    /// Removes every entry of a location: its peer is down, its port is gone. O(entries removed).
    public mutating func forget(_ location: Location) {
        while lists[location.index].newest >= 0 { remove(Int(lists[location.index].newest)) }
    }

    public func count(at location: Location) -> Int { Int(lists[location.index].count) }

    /// The row in pool place `place`, below `limit`; `nil` where the place is free. Walking all places lists the table.
    public func row(_ place: Int) -> MACEntry? {
        let entry = entries[place]
        guard entry.location != Entry.vacant else { return nil }
        return MACEntry(
            address: MACAddress(rawValue: entry.key), vlan: VLAN(rawValue: UInt16(truncatingIfNeeded: entry.key >> 48)),
            location: Location(rawValue: entry.location), seen: entry.seen)
    }

    // MARK: Below: the pool and its lists

    private mutating func insert(_ key: UInt64, _ location: Location, _ now: Instant) {
        if free < 0 {
            evict()
        }
        let place = Int(free)
        free = entries[place].older
        entries[place].key = key
        entries[place].seen = now
        link(place, to: location.rawValue)
        sightings.insert(
            key,
            Sighting(
                seen: entries[place].seen, place: Int32(truncatingIfNeeded: place),
                told: tellPeriod > 0 ? MACTable.second(now) : 0, location: location.rawValue))
        count &+= 1
    }

    /// Frees one entry: the oldest of the location with the most, the lowest such location among equals.
    private mutating func evict() {
        var fullest = 0
        for location in 1..<lists.count where lists[location].count > lists[fullest].count { fullest = location }
        remove(Int(lists[fullest].oldest))
        evictions &+= 1
    }

    private mutating func remove(_ place: Int) {
        sightings.remove(entries[place].key)
        unlink(place)
        entries[place].location = Entry.vacant
        entries[place].older = free
        free = Int32(truncatingIfNeeded: place)
        count &-= 1
    }

    private mutating func link(_ place: Int, to location: UInt16) {
        let list = Int(location)
        entries[place].location = location
        let (newer, older) = neighbours(of: place, in: list)
        entries[place].newer = newer
        entries[place].older = older
        let this = Int32(truncatingIfNeeded: place)
        if older >= 0 { entries[Int(older)].newer = this } else { lists[list].oldest = this }
        if newer >= 0 { entries[Int(newer)].older = this } else { lists[list].newest = this }
        lists[list].count &+= 1
    }

    /// Between which entries of a list one belongs that is not linked. What was seen here is the newest; what another lane saw is
    /// some messages old. One that is older than so many others counts as seen with them.
    @inline(__always)
    private mutating func neighbours(of place: Int, in list: Int) -> (newer: Int32, older: Int32) {
        var newer: Int32 = -1
        var older = lists[list].newest
        var steps = 0
        while older >= 0 && entries[Int(older)].seen > entries[place].seen {
            if steps == MACTable.searchLimit {
                entries[place].seen = entries[Int(older)].seen
                break
            }
            steps &+= 1
            newer = older
            older = entries[Int(older)].older
        }
        return (newer, older)
    }

    private mutating func unlink(_ place: Int) {
        let entry = entries[place]
        let list = Int(entry.location)
        if entry.newer >= 0 { entries[Int(entry.newer)].older = entry.older } else { lists[list].newest = entry.older }
        if entry.older >= 0 { entries[Int(entry.older)].newer = entry.newer } else { lists[list].oldest = entry.newer }
        lists[list].count &-= 1
    }

    /// Debug and tests: every invariant of the picture above.
    public func checkInvariants() {
        var listed = 0
        for location in 0..<lists.count {
            var place = lists[location].newest
            var newer: Int32 = -1
            var length: Int32 = 0
            while place >= 0 {
                let entry = entries[Int(place)]
                precondition(Int(entry.location) == location && entry.newer == newer)
                precondition(newer < 0 || entries[Int(newer)].seen >= entry.seen, "a list is ordered by last sighting")
                guard let found = sightings.find(entry.key), case let sighting = sightings[found] else {
                    preconditionFailure("every entry is found by its key")
                }
                precondition(sighting.place == place && sighting.seen == entry.seen && sighting.location == entry.location)
                newer = place
                place = entry.older
                length += 1
            }
            precondition(length == lists[location].count && lists[location].oldest == newer)
            listed += Int(length)
        }
        precondition(listed == count && count <= limit)
    }
}
