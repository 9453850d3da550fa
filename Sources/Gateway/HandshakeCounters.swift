// What became of handshake datagrams, by cause: `causeway show status` shows them, the log says the first of each kind.

/// Why a handshake datagram was refused. The name is stable: it is the key in JSON.
public enum HandshakeRefusal: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case notForUs
    case malformed
    /// Answered with a cookie, all the same.
    case underLoad
    case rateLimited
    case unauthentic
    case unknownKey
    case ownKey
    case replayed
    case clockBack
    case noCommonCipher
    case noPostQuantum
    case annexMissing
    case annexMismatch
    case strayAnnex
    case strayResponse
    case strayCookie
    case wrongPresharedKey
    case noPlace
    case foreignMesh
    case badPass
    case tooManyResponses

    /// The stable name: lower case with hyphens.
    public var name: String {
        switch self {
        case .notForUs: "not-for-us"
        case .malformed: "malformed"
        case .underLoad: "under-load"
        case .rateLimited: "rate-limited"
        case .unauthentic: "unauthentic"
        case .unknownKey: "unknown-key"
        case .ownKey: "own-key"
        case .replayed: "replayed"
        case .clockBack: "clock-back"
        case .noCommonCipher: "no-common-cipher"
        case .noPostQuantum: "no-post-quantum"
        case .annexMissing: "annex-missing"
        case .annexMismatch: "annex-mismatch"
        case .strayAnnex: "stray-annex"
        case .strayResponse: "stray-response"
        case .strayCookie: "stray-cookie"
        case .wrongPresharedKey: "wrong-psk"
        case .noPlace: "no-place"
        case .foreignMesh: "foreign-mesh"
        case .badPass: "bad-pass"
        case .tooManyResponses: "too-many-responses"
        }
    }
}

public struct HandshakeCounters: Sendable, Hashable {
    private var refusals = [UInt64](repeating: 0, count: HandshakeRefusal.allCases.count)
    /// Initiations that got public-key work.
    public internal(set) var judged: UInt64 = 0
    /// Cookie replies sent.
    public internal(set) var cookiesSent: UInt64 = 0
    /// Cookies of peers that were taken.
    public internal(set) var cookiesTaken: UInt64 = 0
    /// Peers that were found to begin sessions and to confirm none.
    public internal(set) var neverConfirmed: UInt64 = 0
    /// Times that a peer's key was seen in two places in turn.
    public internal(set) var rivals: UInt64 = 0
    /// Times that a lane had no memory for a session's keys.
    public internal(set) var notInstalled: UInt64 = 0
    /// Buckets of sources that were given up before they were full.
    public internal(set) var sourceEvictions: UInt64 = 0

    public subscript(refusal: HandshakeRefusal) -> UInt64 { refusals[Int(refusal.rawValue)] }
    public var refused: UInt64 { refusals.reduce(0, &+) }

    mutating func count(_ refusal: HandshakeRefusal) { refusals[Int(refusal.rawValue)] &+= 1 }
}
