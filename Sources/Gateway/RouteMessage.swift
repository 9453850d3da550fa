// What members tell their neighbours about what is carried for others, over the control channels of pairs.
//
//     kind 0x20  observed   address 16, port 16 bit                                     where the sender sees the receiver
//     kind 0x21  carried    hops 8 bit | to 16 | from 16 | a datagram of a handshake    for a site that is not reached itself
//     kind 0x22  open       flags 8 bit: 1 pair | lanes 8 bit | 0 | stream 32 bit | sequence 32 bit | origin 16 | tree
//     kind 0x23  ready      stream 32 bit | sequence 32 bit                             back up: all below take it
//     kind 0x24  failed     stream 32 bit | sequence 32 bit                             back up: somebody below cannot
//     kind 0x25  close      stream 32 bit | origin 16                                   down: not used any longer
//
// An origin opens a route with the part of its tree below a first hop (`TreeAnnouncement`), who passes the parts of its children
// on. Octets behind these are whatever later versions add, but for the tree and the datagram, which go to the end.

import Basics
import Mesh

enum RouteMessage: Equatable {
    case observed(Endpoint)
    case carried(hops: UInt8, to: SiteID, from: SiteID, datagram: [UInt8])
    case open(RouteOpening)
    case ready(stream: UInt32, sequence: UInt32)
    case failed(stream: UInt32, sequence: UInt32)
    case close(stream: UInt32, origin: SiteID)

    private enum Kind {
        static let observed: UInt8 = 0x20
        static let carried: UInt8 = 0x21
        static let open: UInt8 = 0x22
        static let ready: UInt8 = 0x23
        static let failed: UInt8 = 0x24
        static let close: UInt8 = 0x25
    }

    /// Whether a message is one of these, whatever is in it.
    static func isKind(of message: [UInt8]) -> Bool {
        guard let kind = message.first else { return false }
        return kind >= Kind.observed && kind <= Kind.close
    }

    var encoded: [UInt8] {
        switch self {
        case .observed(let endpoint): [Kind.observed] + octets(endpoint.high) + octets(endpoint.low) + octets(endpoint.port)
        case .carried(let hops, let to, let from, let datagram): [Kind.carried, hops] + octets(to) + octets(from) + datagram
        case .open(let opening):
            [Kind.open, opening.isPair ? 1 : 0, opening.lanes, 0] + octets(opening.stream) + octets(opening.sequence)
                + octets(opening.origin) + opening.tree.encoded
        case .ready(let stream, let sequence): [Kind.ready] + octets(stream) + octets(sequence)
        case .failed(let stream, let sequence): [Kind.failed] + octets(stream) + octets(sequence)
        case .close(let stream, let origin): [Kind.close] + octets(stream) + octets(origin)
        }
    }

    /// `nil` for a message of another kind, or one whose lengths or numbers do not fit.
    init?(_ bytes: [UInt8]) {
        guard let kind = bytes.first else { return nil }
        func number(_ start: Int, _ count: Int) -> UInt64? {
            bytes.count < start + count ? nil : bytes[start..<(start + count)].reduce(0) { $0 << 8 | UInt64($1) }
        }
        func word(_ start: Int) -> UInt32? { number(start, 4).map { UInt32(truncatingIfNeeded: $0) } }
        func site(_ start: Int) -> SiteID? {
            guard let high = number(start, 8), let low = number(start + 8, 8) else { return nil }
            return SiteID(high: high, low: low)
        }
        switch kind {
        case Kind.observed:
            guard let high = number(1, 8), let low = number(9, 8), let port = number(17, 2), port > 0,
                IPAddress(high: high, low: low).isUnicast
            else { return nil }
            self = .observed(Endpoint(high: high, low: low, port: UInt16(truncatingIfNeeded: port)))
        case Kind.carried:
            guard let to = site(2), let from = site(18), bytes.count > 34 else { return nil }
            self = .carried(hops: bytes[1], to: to, from: from, datagram: Array(bytes[34...]))
        case Kind.open:
            guard let stream = word(4), let sequence = word(8), let origin = site(12), stream != 0, bytes[2] >= 1,
                bytes[2] <= UInt8(Limits.lanes), let tree = TreeAnnouncement(Array(bytes[28...]))
            else { return nil }
            self = .open(
                RouteOpening(
                    stream: stream, sequence: sequence, isPair: bytes[1] & 1 != 0, lanes: bytes[2], origin: origin, tree: tree))
        case Kind.ready, Kind.failed:
            guard let stream = word(1), let sequence = word(5) else { return nil }
            self = kind == Kind.ready ? .ready(stream: stream, sequence: sequence) : .failed(stream: stream, sequence: sequence)
        case Kind.close:
            guard let stream = word(1), let origin = site(5) else { return nil }
            self = .close(stream: stream, origin: origin)
        default: return nil
        }
    }
}

/// What an origin says of a stream that others carry.
struct RouteOpening: Equatable, Sendable {
    /// For a pair all whose low four bits differ: what the receiver's sessions are told apart by.
    var stream: UInt32
    /// Grows with every opening of the stream.
    var sequence: UInt32
    var isPair: Bool
    var lanes: UInt8
    var origin: SiteID
    /// The reader's part.
    var tree: TreeAnnouncement
}

private func octets<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<MemoryLayout<T>.size).reversed().map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
}

private func octets(_ site: SiteID) -> [UInt8] { octets(site.high) + octets(site.low) }
