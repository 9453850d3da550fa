// What happens in a gateway that an operator should read about: one value an event, one line in the log.

import Basics
import Settings
import Switching

/// Peers by their configured names. `suppressed` counts events of the same kind that were not said because of the rate limit.
public enum GatewayEvent: Sendable, Hashable {
    /// `keys`: what the session's keys were agreed with.
    case peerUp(String, endpoint: Endpoint, cipher: String?, keys: String?)
    case peerDown(String, silentFor: Interval)
    case peerSuspect(String, silentFor: Interval, suppressed: Int)
    case peerRecovered(String, silentFor: Interval, suppressed: Int)
    /// What the path carries, in octets of IP packets, once the search has ended or begun anew.
    case pathChanged(String, size: Int, from: Int)
    case peerRoamed(String, to: Endpoint, suppressed: Int)
    case keysRenewed(String)
    case peerUnanswered(String, endpoint: Endpoint, attempts: Int)
    case unknownKey(PublicKey, from: Endpoint, suppressed: Int)
    case notForUs(from: Endpoint, suppressed: Int)
    case unauthenticInitiation(from: Endpoint, suppressed: Int)
    case unauthenticResponse(String, from: Endpoint, suppressed: Int)
    case replayedInitiation(String, from: Endpoint, suppressed: Int)
    case noCommonCipher(String, suppressed: Int)
    case clockBack(String, by: Interval, from: Endpoint, suppressed: Int)
    case ownKey(from: Endpoint, suppressed: Int)
    /// One key in two places in turn.
    case rivals(String, Endpoint, Endpoint, suppressed: Int)
    case neverConfirmed(String, sessions: Int, from: Endpoint, suppressed: Int)
    case noPostQuantum(String, from: Endpoint, suppressed: Int)
    case annexMissing(String, from: Endpoint, suppressed: Int)
    case underLoad(perSecond: Int, suppressed: Int)
    case rateLimited(from: Endpoint, suppressed: Int)
    /// A lane had no memory for keys.
    case notInstalled(String, suppressed: Int)
    case multicast(SnoopEvent)
    /// A member of the mesh that was not known.
    case memberKnown(String, key: PublicKey)
    case memberGone(String, reason: String)
    case meshFull(String, limit: Int, suppressed: Int)
    case foreignMesh(from: Endpoint, suppressed: Int)
    case badPass(String, from: Endpoint, suppressed: Int)
    case helloUnanswered(String, endpoint: Endpoint, attempts: Int)
    /// A member is reached through others.
    case relayed(String, through: String)
    /// A member that others carried to is reached itself again.
    case direct(String)
    /// A member that others carry to is not reached itself any longer.
    case directLost(String, silentFor: Interval)
    /// What is wrong with our own pass.
    case ownPass(String)
    case passEnds(days: UInt64, until: String)

    public var level: LogLevel {
        switch self {
        case .peerUp, .peerRoamed, .peerRecovered: .notice
        case .pathChanged(_, let size, let former): size < former ? .notice : .info
        case .keysRenewed: .debug
        case .peerDown, .peerSuspect, .peerUnanswered, .unknownKey, .notForUs, .unauthenticInitiation, .unauthenticResponse,
            .replayedInitiation, .clockBack, .neverConfirmed, .annexMissing, .underLoad, .rateLimited:
            .warning
        case .noCommonCipher, .ownKey, .rivals, .noPostQuantum, .ownPass, .notInstalled: .error
        case .memberKnown, .relayed, .direct, .directLost: .notice
        case .memberGone, .meshFull, .foreignMesh, .badPass, .helloUnanswered, .passEnds: .warning
        case .multicast(let event): event.level
        }
    }

    /// One line; what happened first, then what to do about it.
    public var message: String {
        switch self {
        case .peerUp(let name, let endpoint, let cipher, let keys):
            "peer \(name) is up at \(endpoint)" + (cipher.map { ", sealed with \($0)" } ?? "")
                + (keys.map { ", keys from \($0)" } ?? "")
        case .peerDown(let name, let silence): "peer \(name) is down: nothing authentic from it for \(silence)"
        case .peerSuspect(let name, let silence, let suppressed):
            "peer \(name) is suspect: nothing authentic from it for \(silence)" + again(suppressed)
        case .peerRecovered(let name, let silence, let suppressed):
            "peer \(name) is heard again, after \(silence) of silence" + again(suppressed)
        case .pathChanged(let name, let size, let former):
            "the path to peer \(name) carries packets of \(size) octets, "
                + (size < former ? "fewer than the \(former) before" : "up from \(former)")
        case .peerRoamed(let name, let endpoint, let suppressed):
            "peer \(name) is at \(endpoint), no longer where it was" + again(suppressed)
        case .keysRenewed(let name): "keys with peer \(name) were renewed"
        case .peerUnanswered(let name, let endpoint, let attempts):
            "peer \(name) at \(endpoint) has not answered \(attempts) handshakes: check its address, that it runs, and that it "
                + "has our public key"
        case .unknownKey(let key, let source, let suppressed):
            "refused a handshake from \(source): its public key \(key) is not that of any configured peer" + again(suppressed)
        case .notForUs(let source, let suppressed):
            "refused a handshake from \(source): it is addressed to another public key than ours" + again(suppressed)
        case .unauthenticInitiation(let source, let suppressed):
            "refused a handshake from \(source): it does not authenticate" + again(suppressed)
        case .unauthenticResponse(let name, let source, let suppressed):
            "refused a response from peer \(name) at \(source): it does not authenticate; do both sides have the same psk.file?"
                + again(suppressed)
        case .replayedInitiation(let name, let source, let suppressed):
            "refused a handshake of peer \(name) from \(source): it is not newer than its last; a replay, or its clock went back"
                + again(suppressed)
        case .noCommonCipher(let name, let suppressed):
            "no cipher in common with peer \(name): check `cipher` on both sides" + again(suppressed)
        case .clockBack(let name, let interval, let source, let suppressed):
            "refused a handshake of peer \(name) from \(source): it is \(interval / 1_000_000_000 * 1_000_000_000) older than "
                + "its last; old or replayed, or its clock went back: then set the clock there, or restart this gateway"
                + again(suppressed)
        case .ownKey(let source, let suppressed):
            "refused a handshake from \(source): it has this gateway's own public key; do two gateways have the same key.file?"
                + again(suppressed)
        case .rivals(let name, let one, let other, let suppressed):
            "peer \(name) begins sessions from \(one) and from \(other) in turn: do two gateways have the same key.file?"
                + again(suppressed)
        case .neverConfirmed(let name, let sessions, let source, let suppressed):
            "peer \(name) at \(source) has begun \(sessions) sessions and confirmed none: its psk.file is most likely another, "
                + "else our answers do not reach it" + again(suppressed)
        case .noPostQuantum(let name, let source, let suppressed):
            "refused a handshake of peer \(name) at \(source): it does without ML-KEM-768, and post-quantum = required here"
                + again(suppressed)
        case .annexMissing(let name, let source, let suppressed):
            "handshakes of peer \(name) from \(source) come without the ML-KEM-768 key that they announce: does the path carry "
                + "packets of 1280 octets?" + again(suppressed)
        case .underLoad(let perSecond, let suppressed):
            "more than \(perSecond) handshakes a second (handshake.load): every sender is asked for a cookie first"
                + again(suppressed)
        case .rateLimited(let source, let suppressed):
            "refused a handshake from \(source): too many from its network, cookies and all" + again(suppressed)
        case .notInstalled(let name, let suppressed):
            "there is no guarded memory for the keys of a session with peer \(name): raise vm.max_map_count" + again(suppressed)
        case .multicast(let event): event.message
        case .memberKnown(let name, let key): "\(name) is a member of the mesh, with the public key \(key)"
        case .memberGone(let name, let reason): "\(name) is no member of the mesh any longer: \(reason)"
        case .meshFull(let name, let limit, let suppressed):
            "no room for member \(name): \(limit) sites are known, set mesh.sites higher" + again(suppressed)
        case .foreignMesh(let source, let suppressed):
            "refused a hello from \(source): it is of another mesh; is mesh.authority the same on both sides?" + again(suppressed)
        case .badPass(let problem, let source, let suppressed):
            "refused the pass of the gateway at \(source): \(problem)" + again(suppressed)
        case .helloUnanswered(let name, let endpoint, let attempts):
            "\(name) at \(endpoint) has not answered \(attempts) hellos: check its address, that it runs, and that its "
                + "mesh.authority is ours"
        case .relayed(let name, let others): "peer \(name) is reached through \(others)"
        case .direct(let name): "peer \(name) is reached itself again"
        case .directLost(let name, let silence):
            "peer \(name) is not reached itself any longer, after \(silence) of silence; others carry"
        case .ownPass(let problem): "this gateway's own pass does not count: \(problem)"
        case .passEnds(let days, let until):
            days == 0
                ? "this gateway's pass ended at \(until): the others refuse it; ask for a new one"
                : "this gateway's pass ends in \(days) day\(days == 1 ? "" : "s"), at \(until): ask for a new one"
        }
    }

    /// The same without what depends on the processor: for output that must be the same on every machine.
    public var withoutCipher: GatewayEvent {
        guard case .peerUp(let name, let endpoint, _, _) = self else { return self }
        return .peerUp(name, endpoint: endpoint, cipher: nil, keys: nil)
    }

    private func again(_ suppressed: Int) -> String {
        suppressed == 0 ? "" : " (and \(suppressed) more like this since the last line)"
    }
}

/// Lets one event through a period and counts the rest.
public struct RateLimiter: Sendable {
    let period: Interval
    private var last: Instant?
    private var suppressed = 0

    public init(period: Interval) { self.period = period }

    /// How many were held back since the last that passed, when this one passes; `nil` when it is held back.
    public mutating func admit(at now: Instant) -> Int? {
        if let last, now - last < period {
            suppressed += 1
            return nil
        }
        last = now
        defer { suppressed = 0 }
        return suppressed
    }
}
