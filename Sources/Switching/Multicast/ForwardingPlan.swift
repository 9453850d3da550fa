// Control's copy of the forwarding table: what is published, which tally counts it, and what each group has come to. It puts
// changed shards in place and gives a changed entry a fresh tally, so that frames are counted for the sites that they were
// sent to and no others: an entry's tally belongs to one fan-out for ever.

import Basics
import Buffers

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
        tally.add(other)
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

    /// One source of a group, or any.
    struct Entry: Hashable, Sendable {
        /// Unspecified for any source.
        var source: IPAddress
        var fanOut: FanOut
        /// The fan-out's number.
        var number: UInt16 = 0
        var cell: UInt32 = 0
    }

    let board: ForwardingBoard
    /// For each key the entry for any source first, then those of sources, ascending.
    private(set) var entries: [Key: [Entry]] = [:]
    private var shards4: Shards
    private var shards6: Shards
    private var nextCell: UInt32 = 1
    private var freeCells: [UInt32] = []
    private struct RetiredCell: Sendable {
        var marks: Marks
        var cell: UInt32
        var key: Key
        var peers: PeerSet
    }
    /// Cells of entries that were replaced, until no lane can add to them.
    private var retired: [RetiredCell] = []
    private var retiring: [RetiredCell] = []
    /// Fan-outs by number, how many entries name each, and those that nobody names until no lane can read them.
    private(set) var numbers: [FanOut: UInt16] = [:]
    /// Grows when a fan-out comes or goes.
    public private(set) var fanOutChanges: UInt64 = 0
    private var uses: [Int] = [0, 1]
    private var freeNumbers: [UInt16] = []
    private var unused: [UInt16] = []
    private var retiredNumbers: [(marks: Marks, number: UInt16)] = []
    private var totals: [Key: GroupTotals] = [:]
    /// Groups without an entry whose totals are kept.
    private static let totalsLimit = 65_536
    /// The fan-out of those that find no number: everywhere, since past a limit more is forwarded.
    private static let everywhere: UInt16 = 1

    /// Moments of the two tables.
    private struct Marks: Sendable {
        var ipv4: UInt64 = 0
        var ipv6: UInt64 = 0
        func isSeen(_ seen: Marks) -> Bool { ipv4 <= seen.ipv4 && ipv6 <= seen.ipv6 }
    }

    /// Which keys are in which shard, and which shards have changed.
    private struct Shards: Sendable {
        var keys: [[Key]]
        var dirty: [Int] = []
        var isDirty: [Bool]

        init(count: Int) {
            keys = Array(repeating: [], count: count)
            isDirty = Array(repeating: false, count: count)
        }

        mutating func mark(_ shard: Int) {
            if isDirty[shard] { return }
            isDirty[shard] = true
            dirty.append(shard)
        }

        mutating func takeDirty() -> [Int] {
            for shard in dirty { isDirty[shard] = false }
            defer { dirty.removeAll(keepingCapacity: true) }
            return dirty
        }
    }

    public init(board: ForwardingBoard, ports: Int, peers: Int) {
        self.board = board
        shards4 = Shards(count: PublishedTable<ForwardingEntry4>.shardCount)
        shards6 = Shards(count: PublishedTable<ForwardingEntry6>.shardCount)
        // Number 0 is nowhere.
        numbers[.none] = 0
        board.fanOuts[Int(Self.everywhere)] = FanOut(ports: PortSet(first: ports), peers: PeerSet(first: peers))
    }

    // MARK: Changing

    /// - Parameter sources: those that differ from `any`, ascending.
    package mutating func set(_ key: GroupKey, any: FanOut, sources: [(source: IPAddress, fanOut: FanOut)]) {
        set(Key(vlan: key.vlan, group: key.group), any, sources)
    }

    /// What holds for groups without an entry, on one VLAN or (`nil`) on those without a default of their own.
    mutating func setDefault(_ vlan: VLAN?, _ family: IPFamily, _ fanOut: FanOut) {
        set(Key(vlan: vlan, group: .unspecified(family)), fanOut, [])
    }

    mutating func remove(_ key: GroupKey) { remove(Key(vlan: key.vlan, group: key.group)) }

    private mutating func set(_ key: Key, _ any: FanOut, _ sources: [(source: IPAddress, fanOut: FanOut)]) {
        var new = [Entry(source: .unspecified(key.group.family), fanOut: any)]
        for (source, fanOut) in sources { new.append(Entry(source: source, fanOut: fanOut)) }
        let old = entries[key] ?? []
        if old.count == new.count, zip(old, new).allSatisfy({ $0.source == $1.source && $0.fanOut == $1.fanOut }) { return }
        // Entries of the group with one fan-out share its number and its tally.
        var kept: [FanOut: Entry] = [:]
        for entry in old where kept[entry.fanOut] == nil { kept[entry.fanOut] = entry }
        var made: [FanOut: Entry] = [:]
        for index in new.indices {
            let fanOut = new[index].fanOut
            let like: Entry
            if let known = made[fanOut] {
                like = known
            } else if let known = kept.removeValue(forKey: fanOut) {
                like = known
            } else {
                like = Entry(source: new[index].source, fanOut: fanOut, number: takeNumber(fanOut), cell: allocateCell())
            }
            made[fanOut] = like
            new[index].number = like.number
            new[index].cell = like.cell
        }
        for entry in old where kept.removeValue(forKey: entry.fanOut) != nil { retire(entry, key) }
        if old.isEmpty { addKey(key) }
        entries[key] = new
        markDirty(key)
    }

    private mutating func remove(_ key: Key) {
        guard let old = entries.removeValue(forKey: key) else { return }
        var seen: Set<FanOut> = []
        for entry in old where seen.insert(entry.fanOut).inserted { retire(entry, key) }
        removeKey(key)
        markDirty(key)
    }

    private func shard(_ key: Key) -> Int {
        let vlan = key.vlan?.rawValue ?? anyVLANNumber
        if let group = key.group.ipv4 {
            return PublishedTable<ForwardingEntry4>.shard(of: ForwardingEntry4.shardHash(vlan, group, board.secret))
        }
        return PublishedTable<ForwardingEntry6>.shard(of: ForwardingEntry6.shardHash(vlan, key.group, board.secret))
    }

    private mutating func addKey(_ key: Key) {
        let shard = shard(key)
        if key.group.family == .v4 { shards4.keys[shard].append(key) } else { shards6.keys[shard].append(key) }
    }

    private mutating func removeKey(_ key: Key) {
        let shard = shard(key)
        if key.group.family == .v4 {
            shards4.keys[shard].removeAll { $0 == key }
        } else {
            shards6.keys[shard].removeAll { $0 == key }
        }
    }

    private mutating func markDirty(_ key: Key) {
        let shard = shard(key)
        if key.group.family == .v4 { shards4.mark(shard) } else { shards6.mark(shard) }
    }

    /// Cell 0, which counts for nobody, when there is none left.
    private mutating func allocateCell() -> UInt32 {
        if let cell = freeCells.popLast() { return cell }
        guard Int(nextCell) < board.cellCount else { return 0 }
        defer { nextCell += 1 }
        return nextCell
    }

    /// One more use of a fan-out's number.
    private mutating func takeNumber(_ fanOut: FanOut) -> UInt16 {
        if let number = numbers[fanOut] {
            uses[Int(number)] += 1
            return number
        }
        var number = freeNumbers.popLast()
        if number == nil && uses.count < ForwardingVerdict.fanOutLimit {
            number = UInt16(uses.count)
            uses.append(0)
        }
        guard let number else { return Self.everywhere }
        numbers[fanOut] = number
        fanOutChanges &+= 1
        uses[Int(number)] = 1
        board.fanOuts[Int(number)] = fanOut
        return number
    }

    private mutating func retire(_ entry: Entry, _ key: Key) {
        if entry.cell != 0 {
            retiring.append(RetiredCell(marks: Marks(), cell: entry.cell, key: key, peers: entry.fanOut.peers))
        }
        guard entry.number > Self.everywhere else { return }
        uses[Int(entry.number)] -= 1
        if uses[Int(entry.number)] == 0 {
            numbers[entry.fanOut] = nil
            fanOutChanges &+= 1
            unused.append(entry.number)
        }
    }

    /// Puts every changed shard in place.
    public mutating func publish() {
        for shard in shards4.takeDirty() {
            var list: [ForwardingEntry4] = []
            for key in shards4.keys[shard] {
                eachEntry(key) { vlan, entry, verdict in
                    list.append(ForwardingEntry4(vlan, key.group.ipv4 ?? 0, entry.source.ipv4 ?? 0, verdict))
                }
            }
            board.ipv4.publish(list, in: shard, board.secret)
        }
        for shard in shards6.takeDirty() {
            var list: [ForwardingEntry6] = []
            for key in shards6.keys[shard] {
                eachEntry(key) { vlan, entry, verdict in list.append(ForwardingEntry6(vlan, key.group, entry.source, verdict)) }
            }
            board.ipv6.publish(list, in: shard, board.secret)
        }
        if !retiring.isEmpty || !unused.isEmpty {
            let marks = Marks(ipv4: board.ipv4.mark(), ipv6: board.ipv6.mark())
            for var cell in retiring {
                cell.marks = marks
                retired.append(cell)
            }
            retiring.removeAll(keepingCapacity: true)
            for number in unused { retiredNumbers.append((marks, number)) }
            unused.removeAll(keepingCapacity: true)
        }
        reclaim()
    }

    private func eachEntry(_ key: Key, _ body: (UInt16, Entry, ForwardingVerdict) -> Void) {
        let list = entries[key] ?? []
        for (index, entry) in list.enumerated() {
            let verdict = ForwardingVerdict(fanOut: entry.number, cell: entry.cell, hasSources: index == 0 && list.count > 1)
            body(key.vlan?.rawValue ?? anyVLANNumber, entry, verdict)
        }
    }

    /// Takes back what no lane can reach.
    public mutating func reclaim() {
        board.ipv4.reclaim()
        board.ipv6.reclaim()
        guard !retired.isEmpty || !retiredNumbers.isEmpty else { return }
        let seen = Marks(ipv4: board.ipv4.seenByAll, ipv6: board.ipv6.seenByAll)
        retired.removeAll { old in
            guard old.marks.isSeen(seen) else { return false }
            // A group that has forwarded nothing is not kept.
            let tally = board.tally(old.cell)
            if tally != Tally() {
                totals[old.key, default: GroupTotals()].add(tally, to: old.peers)
                board.clearTally(old.cell)
            }
            freeCells.append(old.cell)
            return true
        }
        retiredNumbers.removeAll { old in
            guard old.marks.isSeen(seen) else { return false }
            freeNumbers.append(old.number)
            return true
        }
        if totals.count > Self.totalsLimit + entries.count { totals = totals.filter { entries[$0.key] != nil } }
    }

    /// True while something that was replaced is not free yet.
    public var waitsForLane: Bool {
        !retired.isEmpty || !retiredNumbers.isEmpty || board.ipv4.waitsForReaders || board.ipv6.waitsForReaders
    }

    // MARK: Looking

    public var groupCount: Int { entries.count }
    /// Octets of the published table.
    public var byteCount: Int { board.ipv4.byteCount + board.ipv6.byteCount }

    /// What was forwarded for a group since the start.
    public func totals(_ key: GroupKey) -> GroupTotals { totals(Key(vlan: key.vlan, group: key.group)) }

    /// The same for groups without an entry.
    public func defaultTotals(_ vlan: VLAN?, _ family: IPFamily) -> GroupTotals {
        totals(Key(vlan: vlan, group: .unspecified(family)))
    }

    /// VLANs with a default of their own, sorted.
    var defaultVLANs: [VLAN] { Set(entries.keys.compactMap { $0.group.isUnspecified ? $0.vlan : nil }).sorted() }

    private func totals(_ key: Key) -> GroupTotals {
        var sum = totals[key] ?? GroupTotals()
        var cells: Set<UInt32> = [0]
        for entry in entries[key] ?? [] where cells.insert(entry.cell).inserted {
            sum.add(board.tally(entry.cell), to: entry.fanOut.peers)
        }
        for old in retired + retiring where old.key == key { sum.add(board.tally(old.cell), to: old.peers) }
        return sum
    }

    /// Every group that has an entry or has forwarded something, sorted.
    public var keys: [GroupKey] {
        var all = Set(entries.keys)
        for key in totals.keys { all.insert(key) }
        // What a replaced entry forwarded counts already, though its cell waits for the lanes to go on.
        for old in retired + retiring where board.tally(old.cell) != Tally() { all.insert(old.key) }
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
        return (found.dropFirst().first { $0.source == source } ?? found[0]).fanOut
    }
}
