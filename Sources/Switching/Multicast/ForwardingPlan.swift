// Control's copy of the forwarding table: what is published, which tally counts it, and what each group has come to. It puts
// changed shards in place and gives a changed entry a fresh tally, so that frames are counted for the sites that they were
// sent to and no others: an entry's tally belongs to one fan-out for ever.

import Basics
import Buffers

/// Where frames go.
public struct FanOut: Hashable, Sendable, BitwiseCopyable {
    public var ports: PortSet
    public var peers: PeerSet

    public init(ports: PortSet = .none, peers: PeerSet = .none) {
        self.ports = ports
        self.peers = peers
    }

    public static let none = FanOut()
}

/// What was forwarded for one group, or for groups without an entry of their own.
public struct GroupTotals: Hashable, Sendable {
    public struct Site: Hashable, Sendable {
        public var frames: UInt64 = 0
        public var bytes: UInt64 = 0

        public init() {}
    }
    /// Each frame counted once; bytes are octets of frames.
    public var tally = Tally()
    /// What was meant for each site, by peer; one whose tunnel was full or down is among the drops too.
    public var sites: [PeerIndex: Site] = [:]

    public init() {}

    mutating func add(_ other: Tally, to peers: PeerSet) {
        tally.framesFromLAN &+= other.framesFromLAN
        tally.bytesFromLAN &+= other.bytesFromLAN
        tally.framesFromMesh &+= other.framesFromMesh
        tally.bytesFromMesh &+= other.bytesFromMesh
        guard other.framesFromLAN > 0 else { return }
        for peer in peers.members {
            sites[peer, default: Site()].frames &+= other.framesFromLAN
            sites[peer, default: Site()].bytes &+= other.bytesFromLAN
        }
    }
}

public struct ForwardingPlan: Sendable {
    /// A group on a VLAN, or every group (unspecified) on one VLAN or on every other one (`nil`).
    struct Key: Hashable, Sendable {
        var vlan: VLAN?
        var group: IPAddress
    }

    private let table: PublishedTable<ForwardingEntry>
    private let tallies: TallyBoard
    private let secret: HashSecret
    /// For each key the entry for any source first, then those of sources, ascending.
    private var entries: [Key: [ForwardingEntry]] = [:]
    private var keysOfShard: [[Key]]
    private var dirty: [Int] = []
    private var isDirty: [Bool]
    private var nextCell: UInt32 = 1
    private var freeCells: [UInt32] = []
    private struct RetiredCell: Sendable {
        var mark: UInt64
        var cell: UInt32
        var key: Key
        var peers: PeerSet
    }
    /// Cells of entries that were replaced, until no lane can add to them.
    private var retired: [RetiredCell] = []
    private var retiring: [RetiredCell] = []
    private var totals: [Key: GroupTotals] = [:]
    /// Groups without an entry whose totals are kept.
    private static let totalsLimit = 65_536

    public init(table: PublishedTable<ForwardingEntry>, tallies: TallyBoard, secret: HashSecret) {
        self.table = table
        self.tallies = tallies
        self.secret = secret
        keysOfShard = Array(repeating: [], count: PublishedTable<ForwardingEntry>.shardCount)
        isDirty = Array(repeating: false, count: keysOfShard.count)
    }

    // MARK: Changing

    /// - Parameter sources: those that differ from `any`, ascending.
    mutating func set(_ key: GroupKey, any: FanOut, sources: [(source: IPAddress, fanOut: FanOut)]) {
        set(Key(vlan: key.vlan, group: key.group), any, sources)
    }

    /// What holds for groups without an entry, on one VLAN or (`nil`) on those without a default of their own.
    mutating func setDefault(_ vlan: VLAN?, _ family: IPFamily, _ fanOut: FanOut) {
        set(Key(vlan: vlan, group: .unspecified(family)), fanOut, [])
    }

    mutating func remove(_ key: GroupKey) { remove(Key(vlan: key.vlan, group: key.group)) }

    mutating func removeDefault(_ vlan: VLAN, _ family: IPFamily) { remove(Key(vlan: vlan, group: .unspecified(family))) }

    private mutating func set(_ key: Key, _ any: FanOut, _ sources: [(source: IPAddress, fanOut: FanOut)]) {
        let old = entries[key]
        var new = [
            ForwardingEntry(key.vlan, group: key.group, ports: any.ports, peers: any.peers, hasSources: !sources.isEmpty)
        ]
        for (source, fanOut) in sources {
            new.append(
                ForwardingEntry(key.vlan, group: key.group, source: source, ports: fanOut.ports, peers: fanOut.peers))
        }
        var leftOver = Dictionary(uniqueKeysWithValues: (old ?? []).map { ($0.source, $0) })
        for index in new.indices {
            guard let entry = leftOver.removeValue(forKey: new[index].source) else { continue }
            if (entry.ports, entry.peers) == (new[index].ports, new[index].peers) {
                new[index].cell = entry.cell
            } else {
                retire(entry, key)
            }
        }
        for entry in old ?? [] where leftOver[entry.source] != nil { retire(entry, key) }
        if let old, old == new { return }
        for index in new.indices where new[index].cell == 0 { new[index].cell = allocateCell() }
        let shard = new[0].shard(secret)
        if old == nil { keysOfShard[shard].append(key) }
        entries[key] = new
        markDirty(shard)
    }

    private mutating func remove(_ key: Key) {
        guard let old = entries.removeValue(forKey: key) else { return }
        for entry in old { retire(entry, key) }
        let shard = old[0].shard(secret)
        keysOfShard[shard].removeAll { $0 == key }
        markDirty(shard)
    }

    private mutating func markDirty(_ shard: Int) {
        if isDirty[shard] { return }
        isDirty[shard] = true
        dirty.append(shard)
    }

    /// Cell 0, which counts for nobody, when there is none left.
    private mutating func allocateCell() -> UInt32 {
        if let cell = freeCells.popLast() { return cell }
        guard Int(nextCell) < tallies.count else { return 0 }
        defer { nextCell += 1 }
        return nextCell
    }

    private mutating func retire(_ entry: ForwardingEntry, _ key: Key) {
        if entry.cell != 0 { retiring.append(RetiredCell(mark: 0, cell: entry.cell, key: key, peers: entry.peers)) }
    }

    /// Puts every changed shard in place.
    public mutating func publish() {
        if !dirty.isEmpty {
            for shard in dirty {
                isDirty[shard] = false
                table.publish(keysOfShard[shard].flatMap { entries[$0] ?? [] }, in: shard, secret)
            }
            dirty.removeAll()
        }
        if !retiring.isEmpty {
            let mark = table.mark()
            for var cell in retiring {
                cell.mark = mark
                retired.append(cell)
            }
            retiring.removeAll()
        }
        reclaim()
    }

    /// Takes back what no lane can reach. True when lanes still have to say that they have gone on.
    @discardableResult
    public mutating func reclaim() -> Bool {
        let isClear = table.reclaim()
        guard !retired.isEmpty else { return !isClear }
        let seen = table.seenByAll
        retired.removeAll { old in
            guard old.mark <= seen else { return false }
            totals[old.key, default: GroupTotals()].add(tallies[old.cell], to: old.peers)
            tallies.clear(old.cell)
            freeCells.append(old.cell)
            return true
        }
        if totals.count > Self.totalsLimit + entries.count { totals = totals.filter { entries[$0.key] != nil } }
        return !isClear || !retired.isEmpty
    }

    /// True while something that was replaced is not free yet.
    public var waitsForLane: Bool { !retired.isEmpty || table.waitsForReaders }

    // MARK: Looking

    public var groupCount: Int { entries.count }
    /// Octets of the published table.
    public var byteCount: Int { table.byteCount }

    /// What was forwarded for a group since the start.
    public func totals(_ key: GroupKey) -> GroupTotals { totals(Key(vlan: key.vlan, group: key.group)) }

    /// The same for groups without an entry.
    public func defaultTotals(_ vlan: VLAN?, _ family: IPFamily) -> GroupTotals {
        totals(Key(vlan: vlan, group: .unspecified(family)))
    }

    private func totals(_ key: Key) -> GroupTotals {
        var sum = totals[key] ?? GroupTotals()
        for entry in entries[key] ?? [] where entry.cell != 0 { sum.add(tallies[entry.cell], to: entry.peers) }
        for old in retired + retiring where old.key == key { sum.add(tallies[old.cell], to: old.peers) }
        return sum
    }

    /// Every group that has an entry or has forwarded something, sorted.
    public var keys: [GroupKey] {
        var all = Set(entries.keys)
        for key in totals.keys { all.insert(key) }
        return all.compactMap { key in
            key.group.isUnspecified ? nil : key.vlan.map { GroupKey($0, key.group) }
        }.sorted()
    }

    /// What frames of a source meet; for `why` and for tests.
    public func fanOut(_ vlan: VLAN, group: IPAddress, source: IPAddress) -> FanOut {
        let found =
            entries[Key(vlan: vlan, group: group)] ?? entries[Key(vlan: vlan, group: .unspecified(group.family))]
            ?? entries[Key(vlan: nil, group: .unspecified(group.family))]
        guard let found else { return .none }
        let entry = found.dropFirst().first { $0.source == source } ?? found[0]
        return FanOut(ports: entry.ports, peers: entry.peers)
    }
}
