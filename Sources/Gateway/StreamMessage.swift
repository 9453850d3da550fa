// What gateways tell each other of group streams, over the control channels of pairs: an origin hands the key of a stream to each
// member of its audience, and each says that it takes what is sealed with it from here on, or that it does not.
//
//     kind 16, key       cipher 8 bit | lanes 8 bit | 0 | stream 32 bit | key, 32 octets       origin to member
//     kind 17, taken     stream 32 bit                                                         member to origin
//     kind 18, refused   stream 32 bit                                                         member to origin
//     kind 19, gone      stream 32 bit                                                         origin to member
//
// Octets behind these are whatever later versions add. Bit 6 of a kind is clear: messages of gossip have it set.

import Basics
import Tunnels

enum StreamMessage: Equatable {
    /// `key` has 32 octets. `lanes`: the origin's.
    case key(stream: UInt32, cipher: UInt8, lanes: UInt8, key: [UInt8])
    case taken(stream: UInt32)
    case refused(stream: UInt32)
    case gone(stream: UInt32)

    private enum Kind {
        static let key: UInt8 = 16
        static let taken: UInt8 = 17
        static let refused: UInt8 = 18
        static let gone: UInt8 = 19
    }

    static let keyBytes = 32

    /// Whether a message is one of these, whatever is in it.
    static func isKind(of message: [UInt8]) -> Bool {
        guard let kind = message.first else { return false }
        return kind >= Kind.key && kind <= Kind.gone
    }

    var encoded: [UInt8] {
        switch self {
        case .key(let stream, let cipher, let lanes, let key):
            [Kind.key, cipher, lanes, 0] + StreamMessage.octets(stream) + key
        case .taken(let stream): [Kind.taken] + StreamMessage.octets(stream)
        case .refused(let stream): [Kind.refused] + StreamMessage.octets(stream)
        case .gone(let stream): [Kind.gone] + StreamMessage.octets(stream)
        }
    }

    /// `nil` for a message of another kind, or one that is too short.
    init?(_ bytes: [UInt8]) {
        guard let kind = bytes.first else { return nil }
        let start = kind == Kind.key ? 4 : 1
        guard bytes.count >= start + 4 else { return nil }
        let stream = bytes[start..<(start + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        switch kind {
        case Kind.key:
            guard bytes.count >= 8 + StreamMessage.keyBytes else { return nil }
            self = .key(stream: stream, cipher: bytes[1], lanes: bytes[2], key: Array(bytes[8..<(8 + StreamMessage.keyBytes)]))
        case Kind.taken: self = .taken(stream: stream)
        case Kind.refused: self = .refused(stream: stream)
        case Kind.gone: self = .gone(stream: stream)
        default: return nil
        }
    }

    private static func octets(_ stream: UInt32) -> [UInt8] {
        stride(from: UInt32(24), through: 0, by: -8).map { UInt8(truncatingIfNeeded: stream >> $0) }
    }
}
