// Handshake datagrams between a lane and control, either way: they are few, but among the longest that control takes, so they
// have a queue of octets of their own. A flood of them fills this queue and no other.
//
//     | endpoint: high 8 | low 8 | port 4 | scope 4 | datagram ... |      one message, in network order

import Basics
import Buffers
import Tunnels

/// Exactly one thread may push, and exactly one pop. The endpoint is where the datagram came from, or goes to.
public final class HandshakeQueue: Sendable {
    private static let headerBytes = 24
    private static let capacity = 1 << 19
    /// The longest message: what `push` needs of scratch memory.
    static let messageBytes = headerBytes + DatagramKind.handshakeLimit

    private let queue = ByteQueue(capacity: capacity)

    public init() {}

    /// Either side: a moment's view.
    public var isEmpty: Bool { queue.isEmpty }

    /// Producer: false, and nothing queued, when it is full, or the datagram longer than `DatagramKind.handshakeLimit`. Does not
    /// allocate. Precondition: `scratch` holds `messageBytes`.
    func push(_ datagram: RawSpan, _ endpoint: Endpoint, using scratch: inout OwnedBytes) -> Bool {
        guard datagram.byteCount <= DatagramKind.handshakeLimit else { return false }
        scratch.storeBigEndian(endpoint.high, at: 0)
        scratch.storeBigEndian(endpoint.low, at: 8)
        scratch.storeBigEndian(UInt32(endpoint.port), at: 16)
        scratch.storeBigEndian(endpoint.scope, at: 20)
        scratch.copy(datagram, to: HandshakeQueue.headerBytes)
        return queue.push(scratch.bytes(at: 0, count: HandshakeQueue.headerBytes + datagram.byteCount), tag: 0)
    }

    /// The same for a producer that may allocate.
    public func push(_ datagram: [UInt8], _ endpoint: Endpoint) -> Bool {
        var scratch = OwnedBytes(count: HandshakeQueue.messageBytes)
        return datagram.withRawSpan { push($0, endpoint, using: &scratch) }
    }

    /// Consumer: `nil` when there is none. Allocates.
    public func pop() -> (datagram: [UInt8], endpoint: Endpoint)? {
        guard let (_, bytes) = queue.pop() else { return nil }
        func integer(_ range: Range<Int>) -> UInt64 { bytes[range].reduce(0) { $0 << 8 | UInt64($1) } }
        let endpoint = Endpoint(
            high: integer(0..<8), low: integer(8..<16), port: UInt16(truncatingIfNeeded: integer(16..<20)),
            scope: UInt32(truncatingIfNeeded: integer(20..<24)))
        return (Array(bytes.dropFirst(HandshakeQueue.headerBytes)), endpoint)
    }
}
