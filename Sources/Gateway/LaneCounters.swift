// A lane's counters: plain integers in one flat row, so that publishing them is one pass. The layout names the places.

import Basics
import Buffers

public enum PortCounter: Int, CaseIterable, Sendable {
    case framesIn, bytesIn, framesOut, bytesOut
    /// Frames that the kernel could not hand over, by its own count.
    case captureDrops
    /// 1 while the device is up.
    case isUp
}

public enum PeerCounter: Int, CaseIterable, Sendable {
    case datagramsIn, bytesIn, datagramsOut, bytesOut, framesIn, framesOut
    /// Datagrams that the peer sealed and that have not arrived.
    case datagramsLost
    /// Of `framesOut`, those of the class feed and of the class bulk.
    case feedOut, bulkOut
    /// Frames that found the queue of their class full.
    case feedDropped, normalDropped, bulkDropped
    /// Octets of frames that wait for the peer's rate.
    case waiting
}

/// What a lane holds, rather than counts.
public enum LaneGauge: Int, CaseIterable, Sendable {
    /// Entries of the MAC table, and how often one moved or was pushed out since the start.
    case macs, macMoves, macEvictions
    /// Frames that were handed to the snooper.
    case snooped
}

/// Where each counter stands: drops first, then gauges, ports, peers. Bytes of ports are frames' octets without the frame
/// check sequence; bytes of peers are UDP payload.
public struct CounterLayout: Hashable, Sendable {
    public let ports: Int
    public let peers: Int
    /// Groups of peers, whose rows are behind those of the peers and like them.
    public let groups: Int
    /// How many places there are.
    public let count: Int
    private let firstGauge: Int
    private let firstPort: Int
    private let firstPeer: Int
    private let perPort: Int
    private let perPeer: Int

    public init(ports: Int, peers: Int, groups: Int = 0) {
        self.ports = ports
        self.peers = peers
        self.groups = groups
        // Stored, since `allCases.count` is looked up anew by each use.
        perPort = PortCounter.allCases.count
        perPeer = PeerCounter.allCases.count
        firstGauge = DropReason.allCases.count
        firstPort = firstGauge + LaneGauge.allCases.count
        firstPeer = firstPort + ports * perPort
        count = firstPeer + (peers + groups) * perPeer
    }

    @inline(__always)
    public func index(_ reason: DropReason) -> Int { Int(reason.rawValue) }

    @inline(__always)
    public func index(_ gauge: LaneGauge) -> Int { firstGauge &+ gauge.rawValue }

    @inline(__always)
    public func index(_ port: PortIndex, _ counter: PortCounter) -> Int {
        firstPort &+ port.index &* perPort &+ counter.rawValue
    }

    @inline(__always)
    public func index(_ peer: PeerIndex, _ counter: PeerCounter) -> Int {
        firstPeer &+ peer.index &* perPeer &+ counter.rawValue
    }
}

/// The lane's own copy, which only the lane writes.
public struct LaneCounters: ~Copyable {
    public let layout: CounterLayout
    private var totals: FixedArray<UInt64>

    init(layout: CounterLayout) {
        self.layout = layout
        totals = FixedArray(count: layout.count) { _ in 0 }
    }

    public subscript(reason: DropReason) -> UInt64 { totals[layout.index(reason)] }
    public subscript(port: PortIndex, counter: PortCounter) -> UInt64 { totals[layout.index(port, counter)] }
    public subscript(peer: PeerIndex, counter: PeerCounter) -> UInt64 { totals[layout.index(peer, counter)] }

    @inline(__always)
    mutating func add(_ reason: DropReason, _ amount: UInt64 = 1) { totals[layout.index(reason)] &+= amount }

    /// A datagram that had counted as lost has arrived late.
    @inline(__always)
    mutating func takeBackLoss(_ peer: PeerIndex) { takeBackLosses(peer, 1) }

    /// So many of what counted as lost do not count, as far as so many do.
    mutating func takeBackLosses(_ peer: PeerIndex, _ count: UInt64) {
        let count = min(count, totals[layout.index(peer, .datagramsLost)])
        totals[layout.index(.lostOnWAN)] &-= count
        totals[layout.index(peer, .datagramsLost)] &-= count
    }

    @inline(__always)
    mutating func set(_ reason: DropReason, to total: UInt64) { totals[layout.index(reason)] = total }

    @inline(__always)
    mutating func set(_ port: PortIndex, _ counter: PortCounter, to value: UInt64) {
        totals[layout.index(port, counter)] = value
    }

    @inline(__always)
    mutating func set(_ peer: PeerIndex, _ counter: PeerCounter, to value: UInt64) {
        totals[layout.index(peer, counter)] = value
    }

    @inline(__always)
    mutating func set(_ gauge: LaneGauge, to value: UInt64) { totals[layout.index(gauge)] = value }

    @inline(__always)
    mutating func addSnooped() { totals[layout.index(.snooped)] &+= 1 }

    @inline(__always)
    mutating func add(_ port: PortIndex, _ counter: PortCounter, _ amount: UInt64 = 1) {
        totals[layout.index(port, counter)] &+= amount
    }

    @inline(__always)
    mutating func add(_ peer: PeerIndex, _ counter: PeerCounter, _ amount: UInt64 = 1) {
        totals[layout.index(peer, counter)] &+= amount
    }

    /// A copy of every total, in the layout's order.
    public var values: [UInt64] { (0..<totals.count).map { totals[$0] } }

    /// Stores every total on the board, one relaxed store each.
    func publish(to board: CounterBoard) {
        for index in 0..<totals.count { board.store(totals[index], at: index) }
    }
}

extension CounterLayout {
    /// The totals of all lanes together: sums, but for what every lane holds alike.
    public func combine(_ boards: [CounterBoard]) -> [UInt64] {
        var totals = [UInt64](repeating: 0, count: count)
        for index in 0..<count { totals[index] = boards.reduce(0) { $0 &+ $1.load(index) } }
        for gauge in [LaneGauge.macs, .macMoves, .macEvictions] {
            totals[self.index(gauge)] = boards.map { $0.load(self.index(gauge)) }.max() ?? 0
        }
        return totals
    }
}
