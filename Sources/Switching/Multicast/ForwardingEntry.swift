// What a lane knows of multicast: for each (VLAN, group, source) the ports and the peers that a frame goes to. Control
// compiles the entries and publishes them; a lane finds one with at most four probes and decides nothing itself.
//
//     1  (VLAN, group, any source)        found, and no source of the group differs: this one
//     2  (VLAN, group, source)            found: this one; otherwise the one of 1
//     3  (VLAN, every group of a family)  routers, sites that want everything, sites that flood
//     4  (any VLAN, every group)          the same for a VLAN of which nothing is known

import Basics
import Buffers

public struct ForwardingEntry: PublishedEntry, Hashable {
    /// Unspecified for every group of the family.
    public var group: IPAddress
    /// Unspecified for any source.
    public var source: IPAddress
    public var peers: PeerSet
    /// The place of its tally.
    public var cell: UInt32
    /// The VLAN's raw value, or `anyVLAN`.
    @usableFromInline var vlan: UInt16
    public var ports: PortSet
    /// 0 where the place is empty.
    @usableFromInline var occupied: UInt8
    /// Whether some source of the group has an entry of its own; only with any source.
    public var hasSources: Bool

    @usableFromInline static var anyVLAN: UInt16 { .max }

    public static var empty: ForwardingEntry {
        var entry = ForwardingEntry(nil, group: IPAddress(high: 0, low: 0), ports: .none, peers: .none)
        entry.occupied = 0
        return entry
    }

    /// - Parameters:
    ///   - vlan: `nil` for any.
    ///   - source: `nil` for any.
    public init(
        _ vlan: VLAN?, group: IPAddress, source: IPAddress? = nil, ports: PortSet, peers: PeerSet, cell: UInt32 = 0,
        hasSources: Bool = false
    ) {
        self.vlan = vlan?.rawValue ?? Self.anyVLAN
        self.group = group
        self.source = source ?? .unspecified(group.family)
        self.ports = ports
        self.peers = peers
        self.cell = cell
        self.hasSources = hasSources
        occupied = 1
    }

    public var isOccupied: Bool { occupied != 0 }

    /// Everything of a group is in one shard, so that a change of it is one change.
    @inlinable @inline(__always)
    public static func shardHash(_ vlan: UInt16, _ group: IPAddress, _ secret: HashSecret) -> UInt32 {
        let first = secret.hash(group.high ^ UInt64(vlan) &* 0x9E37_79B9_7F4A_7C15)
        return secret.hash(group.low ^ UInt64(first) << 32)
    }

    @inlinable @inline(__always)
    public static func hash(_ shardHash: UInt32, _ source: IPAddress, _ secret: HashSecret) -> UInt32 {
        secret.hash(source.low ^ (source.high &* 0x9E37_79B9_7F4A_7C15) ^ UInt64(shardHash) << 32)
    }

    public func hash(_ secret: HashSecret) -> UInt32 {
        let shard = Self.shardHash(vlan, group, secret)
        return hasAnySource ? shard : Self.hash(shard, source, secret)
    }

    var hasAnySource: Bool { source.isUnspecified }

    public func shard(_ secret: HashSecret) -> Int {
        PublishedTable<ForwardingEntry>.shard(of: Self.shardHash(vlan, group, secret))
    }
}

/// A lane's view of the forwarding table.
public struct ForwardingTable: ~Copyable {
    @usableFromInline let reader: PublishedTableReader<ForwardingEntry>
    @usableFromInline let secret: HashSecret

    public init(_ table: PublishedTable<ForwardingEntry>, number: Int = 0, secret: HashSecret) {
        reader = PublishedTableReader(table, number: number)
        self.secret = secret
    }

    /// Between batches: control may free what it has replaced.
    public func acknowledge() { reader.acknowledge() }

    /// The entry that decides about a frame; `nil` before control has published anything.
    @inlinable
    public func find(_ vlan: VLAN, group: IPAddress, source: IPAddress) -> ForwardingEntry? {
        let shard = ForwardingEntry.shardHash(vlan.rawValue, group, secret)
        let number = vlan.rawValue
        let found = reader.find(shard, in: shard) { $0.group == group && $0.vlan == number && $0.source.isUnspecified }
        guard let found else { return findDefault(vlan, group.family) }
        if !found.hasSources { return found }
        let hash = ForwardingEntry.hash(shard, source, secret)
        return reader.find(hash, in: shard) { $0.group == group && $0.vlan == number && $0.source == source } ?? found
    }

    @inlinable
    func findDefault(_ vlan: VLAN, _ family: IPFamily) -> ForwardingEntry? {
        let every = IPAddress.unspecified(family)
        return findEvery(vlan.rawValue, every) ?? findEvery(ForwardingEntry.anyVLAN, every)
    }

    @inlinable
    func findEvery(_ vlan: UInt16, _ group: IPAddress) -> ForwardingEntry? {
        let shard = ForwardingEntry.shardHash(vlan, group, secret)
        return reader.find(shard, in: shard) { $0.group == group && $0.vlan == vlan && $0.source.isUnspecified }
    }
}
