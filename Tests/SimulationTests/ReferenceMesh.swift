// The rules of switching once more, as plainly as they can be written: what every LAN sees, and what is counted, when hosts
// send given frames at given times. Nothing is shared with the program but the numbers of `DropReason`; tables are
// dictionaries, frames are arrays, and links lose nothing.

import Basics
import Foundation

/// A mesh of sites that behaves as the issue says, one frame at a time.
struct ReferenceMesh {
    struct Host: Hashable {
        var vlan: String
        var address: [UInt8]
    }

    enum Place: Hashable {
        case port(Int)
        case peer(Int)
    }

    struct Site {
        let ports: Int
        var ageing = UInt64(300) * second
        var table: [Host: (place: Place, seen: UInt64)] = [:]
        /// By port.
        var lans: [[Seen]]
        var framesIn = 0
        var delivered = 0
        var toPeers: [Int]
        var fromPeers: [Int]
        var drops: [DropReason: UInt64] = [:]
    }

    struct Sent {
        var time: UInt64
        var site: Int
        var port: Int
        var bytes: [UInt8]
    }

    private struct Arrival {
        var time: UInt64
        var from: Int
        var to: Int
        var bytes: [UInt8]
    }

    private(set) var sites: [Site]
    /// Nanoseconds between two sites, by the lower and the higher number; 0 where it is not set.
    var delays: [[Int]: UInt64] = [:]
    private var underWay: [Arrival] = []

    /// - Parameter ports: how many each site has.
    init(ports: [Int], ageing: UInt64 = 300 * second) {
        sites = ports.map {
            Site(
                ports: $0, ageing: ageing, lans: Array(repeating: [], count: $0),
                toPeers: Array(repeating: 0, count: ports.count), fromPeers: Array(repeating: 0, count: ports.count))
        }
    }

    /// Lets hosts send, in order of time, then of site, then of port; what is under way at one instant arrives before that.
    mutating func run(_ frames: [Sent]) {
        var rest = frames.enumerated().sorted { a, b in
            let (x, y) = (a.element, b.element)
            return (x.time, x.site, x.port, a.offset) < (y.time, y.site, y.port, b.offset)
        }.map(\.element)[...]
        while true {
            let next = rest.first?.time
            if let arrival = underWay.min(by: { $0.time < $1.time })?.time, next == nil || arrival <= next! {
                let due = underWay.filter { $0.time == arrival }
                underWay.removeAll { $0.time == arrival }
                for each in due { arrive(each) }
            } else if let next {
                while let first = rest.first, first.time == next { send(rest.removeFirst(), first.bytes) }
            } else {
                return
            }
        }
    }

    private mutating func send(_ sent: Sent, _ bytes: [UInt8]) {
        let (me, port) = (sent.site, sent.port)
        sites[me].framesIn += 1
        if bytes.count < 14 { return drop(me, .runt) }
        if bytes.count > 9216 { return drop(me, .oversized) }
        learn(me, bytes, .port(port), sent.time)
        let destination = Array(bytes[0..<6])
        if destination[0..<5] == [0x01, 0x80, 0xC2, 0, 0] && destination[5] < 16 { return drop(me, .linkConstrained) }
        switch lookUp(me, bytes, sent.time) {
        case .port(port): drop(me, .sameSegment)
        case .port(let other): deliver(me, other, bytes, sent.time)
        case .peer(let peer): carry(me, peer, bytes, sent.time)
        case nil:
            for other in 0..<sites[me].ports where other != port { deliver(me, other, bytes, sent.time) }
            for peer in sites.indices where peer != me { carry(me, peer, bytes, sent.time) }
            if sites.count == 1 && sites[me].ports == 1 { drop(me, .noReceiver) }
        }
    }

    private mutating func arrive(_ arrival: Arrival) {
        let (me, bytes) = (arrival.to, arrival.bytes)
        sites[me].fromPeers[arrival.from] += 1
        learn(me, bytes, .peer(arrival.from), arrival.time)
        switch lookUp(me, bytes, arrival.time) {
        case .port(let port): deliver(me, port, bytes, arrival.time)
        case .peer: drop(me, .splitHorizon)
        case nil: for port in 0..<sites[me].ports { deliver(me, port, bytes, arrival.time) }
        }
    }

    private mutating func deliver(_ site: Int, _ port: Int, _ bytes: [UInt8], _ time: UInt64) {
        sites[site].lans[port].append(Seen(time: time, bytes: bytes))
        sites[site].delivered += 1
    }

    private mutating func carry(_ from: Int, _ to: Int, _ bytes: [UInt8], _ time: UInt64) {
        sites[from].toPeers[to] += 1
        let delay = delays[[min(from, to), max(from, to)]] ?? 0
        underWay.append(Arrival(time: time + delay, from: from, to: to, bytes: bytes))
    }

    private mutating func drop(_ site: Int, _ reason: DropReason) { sites[site].drops[reason, default: 0] += 1 }

    // MARK: - Who is where

    private mutating func learn(_ site: Int, _ bytes: [UInt8], _ place: Place, _ time: UInt64) {
        let source = Array(bytes[6..<12])
        if source[0] % 2 == 1 || source.allSatisfy({ $0 == 0 }) { return }
        sites[site].table[Host(vlan: vlan(of: bytes), address: source)] = (place, time)
    }

    private func lookUp(_ site: Int, _ bytes: [UInt8], _ time: UInt64) -> Place? {
        let destination = Array(bytes[0..<6])
        if destination[0] % 2 == 1 { return nil }
        guard let entry = sites[site].table[Host(vlan: vlan(of: bytes), address: destination)] else { return nil }
        return time - entry.seen > sites[site].ageing ? nil : entry.place
    }

    /// The outermost tag, customer's and service's apart; VLAN 0 is no VLAN.
    private func vlan(of bytes: [UInt8]) -> String {
        guard bytes.count >= 16 else { return "-" }
        let number = (Int(bytes[14]) << 8 | Int(bytes[15])) & 0xFFF
        if number == 0 { return "-" }
        switch (bytes[12], bytes[13]) {
        case (0x81, 0x00): return "\(number)"
        case (0x88, 0xA8), (0x91, 0x00), (0x92, 0x00): return "s\(number)"
        default: return "-"
        }
    }
}
