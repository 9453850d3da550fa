// Datagrams that came to another lane than the one that has their stream's replay window: the kernel joined datagrams of
// several lanes into one message, or could not steer them. They are handed over whole, over one bounded queue for each pair
// of lanes; a full one is a counted drop.
//
//     | endpoint: high 8 | low 8 | port 4 | scope 4 | datagram ... |      one message, in network order; its tag the class octet

import Basics
import Buffers
import Wire

final class LaneCrossings: Sendable {
    static let headerBytes = 24
    private static let capacity = 1 << 21

    let lanes: Int
    /// From one lane, in the order of the lanes they lead to.
    private let queues: [ByteQueue]

    init(lanes: Int) {
        self.lanes = lanes
        queues = (0..<(lanes * lanes)).map { place in
            ByteQueue(capacity: place / lanes == place % lanes ? 64 : LaneCrossings.capacity)
        }
    }

    func queue(from: Int, to: Int) -> ByteQueue { queues[from * lanes + to] }

    func isWaiting(for lane: Int) -> Bool {
        for from in 0..<lanes where from != lane && !queue(from: from, to: lane).isEmpty { return true }
        return false
    }
}

extension LaneCore {
    /// Hands a datagram over to the lane that has its stream.
    @inline(never)
    mutating func cross(_ datagram: RawSpan, from source: Endpoint, octet: UInt8, to lane: Int) {
        guard let ways = crossingQueues, datagram.byteCount + LaneCrossings.headerBytes <= scratch.count else {
            return bridge.counters.add(.malformedDatagram)
        }
        scratch.storeBigEndian(source.high, at: 0)
        scratch.storeBigEndian(source.low, at: 8)
        scratch.storeBigEndian(UInt32(source.port), at: 16)
        scratch.storeBigEndian(source.scope, at: 20)
        scratch.copy(datagram, to: LaneCrossings.headerBytes)
        let count = LaneCrossings.headerBytes + datagram.byteCount
        let queue = ways.queue(from: Int(configuration.lane), to: lane)
        if queue.push(scratch.bytes(at: 0, count: count), tag: UInt64(octet)) {
            crossed |= 1 << UInt16(truncatingIfNeeded: lane)
            crossings &+= 1
        } else {
            bridge.counters.add(.crossingFull)
        }
    }

    /// Lanes that have been handed datagrams since the last call, one bit each: the driver wakes them.
    public mutating func takeCrossed() -> UInt16 {
        defer { crossed = 0 }
        return crossed
    }

    /// Datagrams that were handed over since the last call.
    public mutating func takeCrossings() -> Int {
        defer { crossings = 0 }
        return crossings
    }

    /// Takes what other lanes have handed over, as long as there is room. Part of `handleCommands`.
    @inline(never)
    mutating func handleCrossings(at now: Instant) {
        guard let crossings = crossingQueues, var block = foreign.take() else { return }
        let lane = Int(configuration.lane)
        for from in 0..<crossings.lanes where from != lane {
            let queue = crossings.queue(from: from, to: lane)
            while !wantsDrain, let (tag, count) = queue.popInto(&block) {
                handleCrossing(&block, count, UInt8(truncatingIfNeeded: tag), now)
            }
        }
        foreign = consume block
    }

    private mutating func handleCrossing(_ block: inout OwnedBytes, _ count: Int, _ octet: UInt8, _ now: Instant) {
        let source = Endpoint(crossingHeader: block.bytes(at: 0, count: LaneCrossings.headerBytes))
        var datagram = block.mutableBytes(at: LaneCrossings.headerBytes, count: count - LaneCrossings.headerBytes)
        handleDatagram(&datagram, from: source, octet: octet, at: now)
    }
}

extension Endpoint {
    /// Precondition: a whole header.
    fileprivate init(crossingHeader header: RawSpan) {
        let last = UInt64(bigEndianIn: header, at: 16)
        self.init(
            high: UInt64(bigEndianIn: header, at: 0), low: UInt64(bigEndianIn: header, at: 8),
            port: UInt16(truncatingIfNeeded: last >> 32), scope: UInt32(truncatingIfNeeded: last))
    }
}

extension UInt64 {
    /// Precondition: eight octets are there.
    fileprivate init(bigEndianIn span: RawSpan, at offset: Int) {
        precondition(offset >= 0 && offset + 8 <= span.byteCount)
        // SAFETY: checked above.
        self = unsafe UInt64(bigEndian: span.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
    }
}
