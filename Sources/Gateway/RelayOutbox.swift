// What a lane forwards for others: datagrams of routed streams, unopened, each kept once however many sites it goes to next.
// They leave behind the lane's own runs. Datagrams of one length lie end to end, as those of a packer do, so that a run costs
// one call.
//
//     storage  | 1400 | 1400 | 1400 | 310 |  1400 | 1400 | ...          run: same stream, each as long as the first but the last
//     sends    run 0 to peer 3, run 0 to peer 5, run 1 to peer 3 ...

import Basics
import Buffers
import Tunnels

struct RelayOutbox: ~Copyable {
    struct Run: BitwiseCopyable {
        var stream: UInt32 = 0
        var octet: UInt8 = 0
        /// Whether it came by a former way, and goes on by that.
        var isFormer = false
        var offset = 0
        var segmentSize = 0
        var byteCount = 0
        /// Whether the last datagram is as long as the others.
        var isGrowing = false
    }

    struct Send: BitwiseCopyable {
        var run: UInt16 = 0
        var peer: UInt16 = 0
    }

    private static let capacity = 1 << 20
    private static let runLimit = 1_024
    private static let sendLimit = 8_192

    private var storage = OwnedBytes(count: 1)
    private var runs = FixedArray<Run>(count: 0) { _ in Run() }
    private var sendList = FixedArray<Send>(count: 0) { _ in Send() }
    private var runCount = 0
    /// How many runs there are to be sent, those to several peers once for each.
    private(set) var sends = 0
    private var used = 0

    /// Takes the memory; nothing happens the second time. To be called before anything is to be forwarded.
    mutating func open() {
        if runs.count > 0 { return }
        storage = OwnedBytes(count: RelayOutbox.capacity)
        runs = FixedArray(count: RelayOutbox.runLimit) { _ in Run() }
        sendList = FixedArray(count: RelayOutbox.sendLimit) { _ in Send() }
    }

    /// Whether one more call may bring more than there is room for.
    var isNearlyFull: Bool { used > RelayOutbox.capacity &- LaneCore.headroom }

    /// Keeps a datagram for `hops`, with `flags` for its flags and hop count; false, and nothing is kept, when there is no room.
    mutating func append(
        _ datagram: RawSpan, stream: UInt32, isFormer: Bool, octet: UInt8, flags: UInt8, to hops: PeerSet
    ) -> Bool {
        let count = datagram.byteCount
        guard used &+ count <= storage.count else { return false }
        if runCount > 0, case let last = runs[runCount &- 1], last.isGrowing, last.stream == stream, last.octet == octet,
            last.isFormer == isFormer, count <= last.segmentSize
        {
            runs[runCount &- 1].isGrowing = count == last.segmentSize
        } else {
            guard begin(stream, isFormer, octet, count, hops) else { return false }
        }
        storage.copy(datagram, to: used)
        storage.storeBigEndian(flags, at: used &+ SealedLayout.flags)
        used &+= count
        runs[runCount &- 1].byteCount &+= count
        return true
    }

    private mutating func begin(_ stream: UInt32, _ isFormer: Bool, _ octet: UInt8, _ count: Int, _ hops: PeerSet) -> Bool {
        guard runCount < runs.count, sends &+ hops.count <= sendList.count else { return false }
        runs[runCount] = Run(
            stream: stream, octet: octet, isFormer: isFormer, offset: used, segmentSize: count, byteCount: 0, isGrowing: true)
        var hops = hops
        while let hop = hops.popFirst() {
            sendList[sends] = Send(run: UInt16(truncatingIfNeeded: runCount), peer: UInt16(truncatingIfNeeded: hop))
            sends &+= 1
        }
        runCount &+= 1
        return true
    }

    /// Precondition for all of these: `index` is below `sends`.
    func peer(at index: Int) -> PeerIndex { PeerIndex(Int(sendList[index].peer)) }
    func octet(at index: Int) -> UInt8 { runs[Int(sendList[index].run)].octet }
    func segmentSize(at index: Int) -> Int { runs[Int(sendList[index].run)].segmentSize }
    func byteCount(at index: Int) -> Int { runs[Int(sendList[index].run)].byteCount }

    @_lifetime(borrow self)
    func bytes(at index: Int) -> RawSpan {
        precondition(index < sends)
        return storage.bytes(at: runs[Int(sendList[index].run)].offset, count: runs[Int(sendList[index].run)].byteCount)
    }

    mutating func drained() {
        runCount = 0
        sends = 0
        used = 0
    }
}

extension LaneCore {
    /// Passes a datagram on, sealed as it is.
    mutating func forward(_ datagram: RawSpan, _ route: RouteTable.Route, _ isFormer: Bool, _ octet: UInt8) {
        let hops = route.hops(isFormer)
        // SAFETY: a whole header is there, as checked.
        let flags = unsafe datagram.unsafeLoad(fromUncheckedByteOffset: SealedLayout.flags, as: UInt8.self)
        if flags & SealedLayout.hopsMask == 0 { return bridge.counters.add(.hopLimit) }
        if relays.append(datagram, stream: route.stream, isFormer: isFormer, octet: octet, flags: flags &- 1, to: hops) {
            bridge.counters.addRelayed(hops.count)
        } else {
            bridge.counters.add(.relayFull, UInt64(truncatingIfNeeded: hops.count))
        }
    }

    /// What leaves behind the batch's own runs.
    func laterTransmit(at index: Int) -> Transmit {
        if index >= relays.sends { return probeTransmit(at: index &- relays.sends) }
        let peer = relays.peer(at: index)
        return Transmit(
            peer: peer, endpoint: bridge.links[peer.index].endpoint, segmentSize: relays.segmentSize(at: index),
            byteCount: relays.byteCount(at: index), trafficClass: .normal, octet: relays.octet(at: index))
    }
}
