// Probes: the questions that gateways ask each other about the path between them, in records beside frames. Whether the other
// side is there and how far away it is (RFC 8899 calls that a reachability confirmation), and whether a datagram of some size
// arrives (RFC 8899's probe packet). A receiver that does not know records of this kind passes them over.
//
//     record: | kind 2, 2 bit | length, 14 bit | what follows |
//
//     0               1               2               3
//     +---------------+---------------+-------------------------------+
//     | 1 request,    | losses        | size: octets of UDP payload   |   0: of whatever length the datagram is
//     | 2 reply       |               |                               |
//     +---------------+---------------+-------------------------------+
//     | number, 32 bit                                                |   the asker's; the reply has the request's
//     +---------------------------------------------------------------+
//     | whatever later versions add                                   |
//     +---------------------------------------------------------------+
//
// Losses are how many of the asker's probes did not arrive since they were too long, modulo 256: the other side sees a gap in the
// asker's counters, which is no loss of the path's. 0 in a reply.
//
// A probe travels alone in its datagram, behind it zeros to the datagram's size. A reply is as short as can be, whatever the
// size that it confirms, so that it tells of one direction alone.

import Basics

/// One probe: what a record of kind `probe` says.
public struct ProbeRecord: Hashable, Sendable, BitwiseCopyable {
    public enum Direction: UInt8, Sendable, BitwiseCopyable {
        case request = 1
        case reply = 2
    }

    /// Octets of a record, without its header.
    public static let byteCount = 8
    /// Octets of the shortest sealed datagram that holds one.
    public static let datagramBytes = PackingLayout.overhead + PackingLayout.recordHeaderBytes + byteCount

    /// What `losses` can grow by from one request to the next: the probes of a round.
    public static let roundLosses = 16

    public var direction: Direction
    /// Probes of the asker's that were too long for the path, all in all, modulo 256.
    public var losses: UInt8
    /// Octets of UDP payload that the request's datagram has to have; 0 where it does not matter.
    public var size: UInt16
    public var number: UInt32

    public init(_ direction: Direction, losses: UInt8 = 0, size: UInt16 = 0, number: UInt32) {
        self.direction = direction
        self.losses = losses
        self.size = size
        self.number = number
    }

    /// `nil` for a record that is too short, or of a direction that is not known.
    public init?(_ record: RawSpan) {
        guard record.byteCount >= ProbeRecord.byteCount else { return nil }
        // SAFETY: eight octets are there, as checked.
        let word = unsafe UInt64(bigEndian: record.unsafeLoadUnaligned(fromUncheckedByteOffset: 0, as: UInt64.self))
        guard let direction = Direction(rawValue: UInt8(truncatingIfNeeded: word >> 56)) else { return nil }
        self.init(
            direction, losses: UInt8(truncatingIfNeeded: word >> 48), size: UInt16(truncatingIfNeeded: word >> 32),
            number: UInt32(truncatingIfNeeded: word))
    }

    /// The record's octets as one number, the first the highest.
    public var word: UInt64 {
        UInt64(direction.rawValue) << 56 | UInt64(losses) << 48 | UInt64(size) << 32 | UInt64(number)
    }

    /// The answer to a request.
    public var reply: ProbeRecord { ProbeRecord(.reply, size: size, number: number) }

    /// Octets of the datagram that carries it.
    public var datagramSize: Int {
        direction == .request ? max(Int(size), ProbeRecord.datagramBytes) : ProbeRecord.datagramBytes
    }
}

extension StreamSender {
    /// Writes a probe's whole datagram and seals it; false, with nothing written, when no counter is left.
    /// Precondition: `datagram` has `probe.datagramSize` octets.
    public mutating func seal(_ probe: ProbeRecord, into datagram: inout MutableRawSpan) -> Bool {
        let count = datagram.byteCount
        precondition(count == probe.datagramSize)
        guard remaining > 0 else { return false }
        reserve()
        let counter = takeCounter()
        datagram.store(head, at: 0)
        datagram.store(counter, at: SealedLayout.counter)
        // No record runs on from the datagram before.
        datagram.store(UInt16(0), at: SealedLayout.headerBytes)
        datagram.store(RecordKind.probe.rawValue << 14 | UInt16(ProbeRecord.byteCount), at: PackingLayout.bodyStart)
        datagram.store(probe.word, at: PackingLayout.bodyStart + PackingLayout.recordHeaderBytes)
        for index in (PackingLayout.bodyStart + PackingLayout.recordHeaderBytes + ProbeRecord.byteCount)..<count {
            datagram.store(UInt8(0), at: index)
        }
        key.seal(&datagram, counter: counter)
        return true
    }
}

extension MutableRawSpan {
    /// In network order. Precondition: the octets are there.
    fileprivate mutating func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        precondition(offset >= 0 && offset &+ MemoryLayout<T>.size <= byteCount)
        // SAFETY: checked above.
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: T.self)
    }
}
