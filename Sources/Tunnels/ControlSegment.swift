// The segments of the control channel, octet by octet. Everything is in network order. One record of the packing layer
// carries one segment; the datagram around it is authenticated, so there is no checksum here.
//
//     0               1                               9               13              17
//     +---------------+-------------------------------+---------------+---------------+-------+-----------+
//     | kind = 1      | stream, 64 bit                | sequence      | oldest        | flags | payload   |   data
//     +---------------+-------------------------------+---------------+---------------+-------+-----------+
//     | kind = 2      | stream                        | next          | bitmap, 64 bit        | ...       |   ack
//     +---------------+-------------------------------+---------------+-----------------------+-----------+
//     | kind = 3      | stream                        | newest, 64 bit                | ...               |   reset
//     +---------------+-------------------------------+---------------+---------------+-------------------+
//     | kind = 4      | stream                        | oldest        | ...                               |   probe
//     +---------------+-------------------------------+---------------+-----------------------------------+
//
// - stream numbers one beginning of one sender; a larger one replaces all smaller ones. 1 to 2^63 - 1.
// - sequence counts the stream's data segments from 0. It never wraps: a stream ends before 2^32 - 2^16.
// - oldest: the receiver has acknowledged all segments below it. A receiver that lacks one of those has lost the stream.
// - flags: bit 0 says that the message ends here; the others are ignored.
// - next: all segments below it have been received. Bit i of the bitmap, the lowest being bit 0: next + 1 + i has too.
// - newest: streams up to this one are refused, so a new one must be larger.
//
// Octets after the known fields of kinds 2 to 4 are ignored, and so are unknown kinds: later versions may add both.

import Basics

/// One segment of a ``ControlChannel``.
package enum ControlSegment: Equatable, Sendable {
    /// A piece of a message.
    case data(stream: UInt64, sequence: UInt32, oldest: UInt32, isLast: Bool, payload: [UInt8])
    /// What has been received of a stream.
    case ack(stream: UInt64, next: UInt32, bitmap: UInt64)
    /// "I do not have this stream and never will: begin a new one, larger than `newest`."
    case reset(stream: UInt64, newest: UInt64)
    /// "I have nothing underway; if you have all below `oldest` of this stream, acknowledge it."
    case probe(stream: UInt64, oldest: UInt32)
    /// A later version's.
    case unknown(kind: UInt8)

    /// Octets before a data segment's payload.
    package static let dataHeader = 18
    /// Data segments of one stream end before this sequence.
    package static let sequenceLimit: UInt32 = 0xFFFF_0000
    /// The largest stream, and the largest `newest`.
    package static let streamLimit: UInt64 = 1 << 63 - 1

    private enum Kind: UInt8 {
        case data = 1
        case ack = 2
        case reset = 3
        case probe = 4
    }

    private static let lastFlag: UInt8 = 1

    /// `nil` when the segment is too short for its kind, or a number is outside its range.
    package init?(_ bytes: [UInt8]) {
        guard let first = bytes.first else { return nil }
        guard let kind = Kind(rawValue: first) else {
            self = .unknown(kind: first)
            return
        }
        let needed =
            switch kind {
            case .data: ControlSegment.dataHeader
            case .ack: 21
            case .reset: 17
            case .probe: 13
            }
        guard bytes.count >= needed else { return nil }
        let stream: UInt64 = integer(bytes[1..<9])
        guard stream > 0, stream <= ControlSegment.streamLimit else { return nil }
        switch kind {
        case .data:
            let sequence: UInt32 = integer(bytes[9..<13])
            let oldest: UInt32 = integer(bytes[13..<17])
            guard sequence < ControlSegment.sequenceLimit, oldest <= sequence else { return nil }
            let payload = [UInt8](bytes[ControlSegment.dataHeader...])
            self = .data(
                stream: stream, sequence: sequence, oldest: oldest, isLast: bytes[17] & ControlSegment.lastFlag != 0,
                payload: payload)
        case .ack: self = .ack(stream: stream, next: integer(bytes[9..<13]), bitmap: integer(bytes[13..<21]))
        case .reset:
            let newest: UInt64 = integer(bytes[9..<17])
            guard newest <= ControlSegment.streamLimit else { return nil }
            self = .reset(stream: stream, newest: newest)
        case .probe: self = .probe(stream: stream, oldest: integer(bytes[9..<13]))
        }
    }

    /// The octets on the wire.
    package var encoded: [UInt8] {
        switch self {
        case .data(let stream, let sequence, let oldest, let isLast, let payload):
            var bytes = [Kind.data.rawValue]
            bytes.reserveCapacity(ControlSegment.dataHeader + payload.count)
            bytes += bigEndian(stream)
            bytes += bigEndian(sequence)
            bytes += bigEndian(oldest)
            bytes.append(isLast ? ControlSegment.lastFlag : 0)
            bytes += payload
            return bytes
        case .ack(let stream, let next, let bitmap):
            return [Kind.ack.rawValue] + bigEndian(stream) + bigEndian(next) + bigEndian(bitmap)
        case .reset(let stream, let newest): return [Kind.reset.rawValue] + bigEndian(stream) + bigEndian(newest)
        case .probe(let stream, let oldest): return [Kind.probe.rawValue] + bigEndian(stream) + bigEndian(oldest)
        case .unknown(let kind): return [kind]
        }
    }
}
