// What a lane knows of rights: for each peer that something limits, one list of ranges; for every other peer, nothing. What a
// peer may be sent is what this site may send and that one receive; what may come from it is what that one may send and this
// site receive; a VLAN has to be allowed to both. So either question is one search, and a peer without a list costs a branch.
//
//     [0]     where the parts begin
//     VLANs   ranges of VLAN.rawValue                                  both ways
//     groups  ranges of groups, and where each one's sources are       towards the peer
//     groups  the same                                                 from the peer
//     sources ranges of addresses

import Basics
import Buffers

/// One element of a peer's list.
public struct RightsRange: Hashable, Sendable, BitwiseCopyable {
    @usableFromInline var first: UInt128
    @usableFromInline var last: UInt128
    /// The places of the range's sources, from here to before there; equal: every source. Of element 0: where the two parts of
    /// groups begin, and `last` is where the sources do.
    @usableFromInline var from: UInt32
    @usableFromInline var to: UInt32

    init(_ range: NumberRange, from: Int = 0, to: Int = 0) {
        first = range.first
        last = range.last
        self.from = UInt32(from)
        self.to = UInt32(to)
    }

    /// A peer's list.
    static func list(vlans: [NumberRange], outward: GroupRanges, inward: GroupRanges) -> [RightsRange] {
        let firstOutward = 1 + vlans.count
        let firstInward = firstOutward + outward.ranges.count
        let firstSource = firstInward + inward.ranges.count
        var list = [RightsRange(NumberRange(first: 0, last: UInt128(firstSource)), from: firstOutward, to: firstInward)]
        for range in vlans { list.append(RightsRange(range)) }
        var sources: [RightsRange] = []
        for range in outward.ranges + inward.ranges {
            let from = firstSource + sources.count
            for source in range.sources ?? [] { sources.append(RightsRange(source)) }
            list.append(RightsRange(range.groups, from: from, to: firstSource + sources.count))
        }
        return list + sources
    }
}

/// Which way frames go.
public enum RightsDirection: UInt8, Hashable, Sendable, BitwiseCopyable, CaseIterable {
    /// To the other site, and from it.
    case outward, inward
}

/// A lane's view.
public struct RightsTable: ~Copyable {
    @usableFromInline let lists: PublishedBlocksReader<RightsRange>

    init(_ lists: PublishedBlocks<RightsRange>, number: Int) { self.lists = PublishedBlocksReader(lists, number: number) }

    func acknowledge() { lists.acknowledge() }

    /// Whether there is anything that may not go to the peer or come from it.
    @inlinable @inline(__always)
    public func isLimited(_ peer: Int) -> Bool { lists.hasList(peer) }

    /// Whether frames of the VLAN go either way.
    public func mayUse(_ vlan: VLAN, _ peer: Int) -> Bool {
        lists.withList(peer) { list in
            if list.isEmpty { return true }
            return RightsTable.find(UInt128(vlan.rawValue), list, 1, Int(list[0].from)) != nil
        }
    }

    /// Whether frames of the group from the source do, on a VLAN that may be used. O(log n) in ranges, then in sources.
    public func mayPass(_ group: IPAddress, from source: IPAddress, _ direction: RightsDirection, _ peer: Int) -> Bool {
        lists.withList(peer) { list in
            if list.isEmpty { return true }
            let head = list[0]
            let (low, high) =
                direction == .outward
                ? (Int(head.from), Int(head.to)) : (Int(head.to), Int(truncatingIfNeeded: head.last))
            guard let place = RightsTable.find(group.number, list, low, high) else { return false }
            let range = list[place]
            return range.from == range.to || RightsTable.find(source.number, list, Int(range.from), Int(range.to)) != nil
        }
    }

    /// The place of the range that holds `number`, of those from `low` to before `high`, which are ascending and apart.
    private static func find(_ number: UInt128, _ list: Span<RightsRange>, _ low: Int, _ high: Int) -> Int? {
        var (low, end) = (low, high)
        while low < end {
            let middle = (low &+ end) / 2
            if list[middle].last < number { low = middle &+ 1 } else { end = middle }
        }
        return low < high && list[low].first <= number ? low : nil
    }
}
