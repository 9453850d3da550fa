// What a lane knows of multicast: for each (VLAN, group, source) the ports and the peers that a frame goes to. Control compiles
// the entries and publishes them; a lane finds one with at most four probes and decides nothing itself.
//
//     1  (VLAN, group, any source)        found, and no source of the group differs: this one
//     2  (VLAN, group, source)            found: this one; otherwise the one of 1
//     3  (VLAN, every group of a family)  routers, sites that want everything, sites that flood
//     4  (any VLAN, every group)          the same for a VLAN of which nothing is known
//
// Entries are small, since each frame of a large set of feeds finds its own cold: four of IPv4 are a cache line, and the places
// of 1 and 2 depend on nothing but the frame, so that both are fetched at once. They name their fan-out and their tally by
// number; fan-outs are few and stay warm.

import Basics
import Buffers

/// Where frames go.
public struct FanOut: Hashable, Sendable, BitwiseCopyable {
    public var ports: PortSet
    /// Every frame goes to these.
    public var peers: PeerSet
    /// A frame goes to these if the rights of both sites allow it, which the lane looks up (rule 44). None of them is in `peers`.
    public var checked: PeerSet

    public init(ports: PortSet = .none, peers: PeerSet = .none, checked: PeerSet = .none) {
        self.ports = ports
        self.peers = peers
        self.checked = checked
    }

    public static let none = FanOut()
}

/// What an entry says.
public struct ForwardingVerdict: Hashable, Sendable, BitwiseCopyable {
    /// The number of the fan-out.
    @usableFromInline var number: UInt16
    /// The number of the tally; the high bit: some source of the group has an entry of its own.
    @usableFromInline var word: UInt32

    @inlinable @inline(__always)
    init(number: UInt16, word: UInt32) {
        self.number = number
        self.word = word
    }

    public init(fanOut: UInt16, cell: UInt32, hasSources: Bool) {
        number = fanOut
        word = cell & Self.cellMask | (hasSources ? ~Self.cellMask : 0)
    }

    @inlinable public var fanOut: Int { Int(number) }
    @inlinable public var cell: UInt32 { word & Self.cellMask }
    @inlinable var hasSources: Bool { word & ~Self.cellMask != 0 }

    @usableFromInline static var cellMask: UInt32 { 0x7FFF_FFFF }
    /// Fan-outs that can be numbered.
    public static var fanOutLimit: Int { 0x1_0000 }
}

/// The VLAN number of entries for any VLAN, and of empty places.
@usableFromInline let anyVLANNumber: UInt16 = 0xFFFF
@usableFromInline let noVLANNumber: UInt16 = 0xFFFE

/// An IPv4 entry; 16 octets. Group 0: every group. Source 0: any source.
public struct ForwardingEntry4: PublishedEntry, Hashable {
    @usableFromInline var group: UInt32
    @usableFromInline var source: UInt32
    @usableFromInline var word: UInt32
    @usableFromInline var vlan: UInt16
    @usableFromInline var number: UInt16

    public static var empty: ForwardingEntry4 {
        ForwardingEntry4(noVLANNumber, 0, 0, ForwardingVerdict(fanOut: 0, cell: 0, hasSources: false))
    }

    @usableFromInline init(_ vlan: UInt16, _ group: UInt32, _ source: UInt32, _ verdict: ForwardingVerdict) {
        self.vlan = vlan
        self.group = group
        self.source = source
        number = verdict.number
        word = verdict.word
    }

    @inlinable public var isOccupied: Bool { vlan != noVLANNumber }

    @inlinable @inline(__always)
    var verdict: ForwardingVerdict { ForwardingVerdict(number: number, word: word) }

    /// Everything of a group is in one shard, so that a change of it is one change.
    @inlinable @inline(__always)
    static func shardHash(_ vlan: UInt16, _ group: UInt32, _ secret: HashSecret) -> UInt32 {
        secret.hash(UInt64(group) << 16 | UInt64(vlan))
    }

    @inlinable @inline(__always)
    static func hash(_ shardHash: UInt32, _ source: UInt32, _ secret: HashSecret) -> UInt32 {
        secret.hash(UInt64(shardHash) << 32 | UInt64(source))
    }

    public func hash(_ secret: HashSecret) -> UInt32 {
        let shard = Self.shardHash(vlan, group, secret)
        return source == 0 ? shard : Self.hash(shard, source, secret)
    }
}

/// An IPv6 entry; 40 octets. Group ::, every group. Source ::, any source.
public struct ForwardingEntry6: PublishedEntry, Hashable {
    @usableFromInline var group: IPAddress
    @usableFromInline var source: IPAddress
    @usableFromInline var word: UInt32
    @usableFromInline var vlan: UInt16
    @usableFromInline var number: UInt16

    public static var empty: ForwardingEntry6 {
        let nothing = IPAddress(high: 0, low: 0)
        return ForwardingEntry6(noVLANNumber, nothing, nothing, ForwardingVerdict(fanOut: 0, cell: 0, hasSources: false))
    }

    @usableFromInline init(_ vlan: UInt16, _ group: IPAddress, _ source: IPAddress, _ verdict: ForwardingVerdict) {
        self.vlan = vlan
        self.group = group
        self.source = source
        number = verdict.number
        word = verdict.word
    }

    @inlinable public var isOccupied: Bool { vlan != noVLANNumber }

    @inlinable @inline(__always)
    var verdict: ForwardingVerdict { ForwardingVerdict(number: number, word: word) }

    @inlinable @inline(__always)
    static func shardHash(_ vlan: UInt16, _ group: IPAddress, _ secret: HashSecret) -> UInt32 {
        let first = secret.hash(group.high ^ UInt64(vlan) &* 0x9E37_79B9_7F4A_7C15)
        return secret.hash(group.low ^ UInt64(first) << 32)
    }

    @inlinable @inline(__always)
    static func hash(_ shardHash: UInt32, _ source: IPAddress, _ secret: HashSecret) -> UInt32 {
        let first = secret.hash(source.high ^ UInt64(shardHash) << 32)
        return secret.hash(source.low ^ UInt64(first) << 32)
    }

    public func hash(_ secret: HashSecret) -> UInt32 {
        let shard = Self.shardHash(vlan, group, secret)
        return source.high | source.low == 0 ? shard : Self.hash(shard, source, secret)
    }
}

/// Everything that control publishes and lanes read, and the tallies that go the other way.
public final class ForwardingBoard: Sendable {
    public let ipv4: PublishedTable<ForwardingEntry4>
    public let ipv6: PublishedTable<ForwardingEntry6>
    /// By number; a number is given out again only after all readers have gone on.
    public let fanOuts: PublishedArray<FanOut>
    /// For each peer that something limits, what may go to it and come from it.
    let rights: PublishedBlocks<RightsRange>
    /// One for each lane, since a lane counts without looking at what the others count.
    public let tallies: [TallyBoard]
    public let secret: HashSecret

    /// - Parameters:
    ///   - readers: lanes.
    ///   - tallies: cells; entries beyond them are not counted apart.
    public init(readers: Int = 1, tallies: Int = 1 << 17, secret: HashSecret) {
        ipv4 = PublishedTable(readers: readers)
        ipv6 = PublishedTable(readers: readers)
        fanOuts = PublishedArray(count: ForwardingVerdict.fanOutLimit, initial: .none)
        rights = PublishedBlocks(count: Limits.peers, readers: readers)
        self.tallies = (0..<readers).map { _ in TallyBoard(count: tallies) }
        self.secret = secret
    }

    /// Cells of each lane's board.
    var cellCount: Int { tallies[0].count }

    /// What all lanes have counted under a cell.
    func tally(_ cell: UInt32) -> Tally { tallies.reduce(into: Tally()) { $0.add($1[cell]) } }

    /// Once no lane can reach the cell.
    func clearTally(_ cell: UInt32) { for board in tallies { board.clear(cell) } }
}

/// A lane's view of the board.
public struct ForwardingTable: ~Copyable {
    @usableFromInline let ipv4: PublishedTableReader<ForwardingEntry4>
    @usableFromInline let ipv6: PublishedTableReader<ForwardingEntry6>
    @usableFromInline let fanOuts: PublishedArrayReader<FanOut>
    public let rights: RightsTable
    @usableFromInline let secret: HashSecret

    public init(_ board: ForwardingBoard, number: Int = 0) {
        ipv4 = PublishedTableReader(board.ipv4, number: number)
        ipv6 = PublishedTableReader(board.ipv6, number: number)
        fanOuts = PublishedArrayReader(board.fanOuts)
        rights = RightsTable(board.rights, number: number)
        secret = board.secret
    }

    /// Between batches: control may free what it has replaced.
    public func acknowledge() {
        ipv4.acknowledge()
        ipv6.acknowledge()
        rights.acknowledge()
    }

    /// Octets of what control has published.
    public var byteCount: Int { ipv4.byteCount &+ ipv6.byteCount }

    /// Asks the processor to fetch what `find` will look at. Only IPv4: feeds of many groups are.
    @inlinable @inline(__always)
    public func prefetch(_ vlan: VLAN, group: UInt32, source: UInt32) {
        let shard = ForwardingEntry4.shardHash(vlan.rawValue, group, secret)
        ipv4.prefetch(shard, in: shard)
        ipv4.prefetch(ForwardingEntry4.hash(shard, source, secret), in: shard)
    }

    /// Where the frames of a verdict go.
    @inlinable @inline(__always)
    public func fanOut(_ verdict: ForwardingVerdict) -> FanOut { fanOuts[verdict.fanOut] }

    /// What decides about a frame; `nil` before control has published anything.
    @inlinable
    public func find(_ vlan: VLAN, group: IPAddress, source: IPAddress) -> ForwardingVerdict? {
        let number = vlan.rawValue
        if let group = group.ipv4 {
            // A source of the other family is no source of this group.
            return find4(number, group, source.ipv4 ?? 0) ?? find4(number, 0, 0) ?? find4(anyVLANNumber, 0, 0)
        }
        let every = IPAddress(high: 0, low: 0)
        return find6(number, group, source) ?? find6(number, every, every) ?? find6(anyVLANNumber, every, every)
    }

    @inlinable @inline(__always)
    func find4(_ vlan: UInt16, _ group: UInt32, _ source: UInt32) -> ForwardingVerdict? {
        let shard = ForwardingEntry4.shardHash(vlan, group, secret)
        guard let any = ipv4.find(shard, in: shard, { $0.group == group && $0.source == 0 && $0.vlan == vlan })?.verdict else {
            return nil
        }
        if !any.hasSources || source == 0 { return any }
        let hash = ForwardingEntry4.hash(shard, source, secret)
        return ipv4.find(hash, in: shard, { $0.group == group && $0.source == source && $0.vlan == vlan })?.verdict ?? any
    }

    @inlinable @inline(__always)
    func find6(_ vlan: UInt16, _ group: IPAddress, _ source: IPAddress) -> ForwardingVerdict? {
        let shard = ForwardingEntry6.shardHash(vlan, group, secret)
        let found = ipv6.find(shard, in: shard) { $0.group == group && $0.source.high | $0.source.low == 0 && $0.vlan == vlan }
        guard let any = found?.verdict else { return nil }
        if !any.hasSources || source.high | source.low == 0 { return any }
        let hash = ForwardingEntry6.hash(shard, source, secret)
        return ipv6.find(hash, in: shard, { $0.group == group && $0.source == source && $0.vlan == vlan })?.verdict ?? any
    }
}
