// Control's handshakes: sending, answering and judging them, and the sessions that come of them.

import Basics
import Tunnels

extension ControlCore {
    private static let retry = Interval.seconds(1)
    private static let slowRetry = Interval.seconds(2)
    private static let resolveRetry = Interval.seconds(5)
    /// Unanswered initiations after which the name is resolved again and the operator is told.
    private static let patience = 5

    // MARK: We begin

    mutating func initiate(_ index: Int, _ now: Instant) {
        guard let endpoint = target(index) else {
            peers[index].nextInitiation = nil
            if peers[index].hasAddress { actions.append(.resolve(PeerIndex(index))) }
            return
        }
        while peers[index].pending.count >= PeerState.pendingLimit { peers[index].pending.removeFirst() }
        peers[index].attempts += 1
        scheduleRetry(index, now)
        guard let slot = peers[index].freeSlot(peer: index) else { return }
        var noise = NoiseHandshake.initiator(
            local: configuration.identity, remote: peers[index].key, ephemeral: KeyPair.generate(using: &random),
            presharedKey: configuration.presharedKey, prologue: Initiation.prologue)
        let stream = StreamIdentifier.make(slot: slot, random: UInt32.random(in: 0 ... .max, using: &random))
        let payload = Initiation.Payload(
            timestamp: nextTimestamp(at: now), stream: stream, ciphers: configuration.ciphers, keepalive: ownKeepalive,
            lanes: UInt8(mailboxes.count))
        guard let message = noise.writeFirst(payload: payload.encoded) else { return }
        peers[index].pending.append(PeerState.Pending(noise: noise, stream: stream))
        actions.append(.datagram(Initiation.datagram(message: message, to: peers[index].key), to: endpoint))
    }

    /// Its name leads nowhere: with no other address to try, it is asked for again.
    mutating func handleUnresolved(_ index: Int, _ now: Instant) {
        if target(index) == nil { peers[index].nextInitiation = now + ControlCore.resolveRetry }
    }

    /// Where the peer is, or may be: its candidates in turn while it does not answer.
    private func target(_ index: Int) -> Endpoint? {
        let peer = peers[index]
        if peer.isUp, let endpoint = peer.endpoint { return endpoint }
        var places = peer.candidates
        // Where it was heard last is tried first.
        if let endpoint = peer.endpoint {
            places.removeAll { $0 == endpoint }
            places.insert(endpoint, at: 0)
        }
        return places.isEmpty ? nil : places[peer.attempts % places.count]
    }

    private mutating func scheduleRetry(_ index: Int, _ now: Instant) {
        let attempts = peers[index].attempts
        let jitter = Interval.milliseconds(Int64.random(in: 0..<200, using: &random))
        peers[index].nextInitiation =
            now + (attempts < 2 * ControlCore.patience ? ControlCore.retry : ControlCore.slowRetry) + jitter
        guard attempts > 0, attempts % ControlCore.patience == 0 else { return }
        if peers[index].hasAddress { actions.append(.resolve(PeerIndex(index))) }
        if let endpoint = target(index), peers[index].unansweredLimiter.admit(at: now) != nil {
            actions.append(.log(.peerUnanswered(peers[index].name, endpoint: endpoint, attempts: attempts)))
        }
    }

    private var ownKeepalive: UInt32 { UInt32(clamping: configuration.keepalive.nanoseconds / 1_000_000) }

    // MARK: They say something

    mutating func handleHandshake(_ datagram: [UInt8], from source: Endpoint, at now: Instant) {
        guard HandshakeMAC.isValid(datagram, for: configuration.identity.publicKey) else {
            return refuse(limiters.notForUs.admit(at: now).map { .notForUs(from: source, suppressed: $0) })
        }
        switch DatagramKind(rawValue: datagram[0]) {
        case .initiation: handleInitiation(datagram, source, now)
        case .response: handleResponse(datagram, source, now)
        case .sealed, nil: refuse(nil)
        }
    }

    private mutating func handleInitiation(_ datagram: [UInt8], _ source: Endpoint, _ now: Instant) {
        var noise = NoiseHandshake.responder(
            local: configuration.identity, ephemeral: KeyPair.generate(using: &random),
            presharedKey: configuration.presharedKey, prologue: Initiation.prologue)
        guard let message = Initiation.message(in: datagram), let bytes = noise.readFirst(message),
            let payload = Initiation.Payload(bytes), let key = noise.remote
        else {
            return refuse(limiters.unauthentic.admit(at: now).map { .unauthenticInitiation(from: source, suppressed: $0) })
        }
        guard let index = peers.firstIndex(where: { $0.key == key }) else {
            return refuse(limiters.unknownKey.admit(at: now).map { .unknownKey(key, from: source, suppressed: $0) })
        }
        guard payload.timestamp > peers[index].lastTimestamp else {
            return refuse(
                peers[index].replayLimiter.admit(at: now).map {
                    .replayedInitiation(peers[index].name, from: source, suppressed: $0)
                })
        }
        guard let cipher = payload.ciphers.intersection(configuration.ciphers).preferred else {
            return refuse(
                peers[index].cipherLimiter.admit(at: now).map { .noCommonCipher(peers[index].name, suppressed: $0) })
        }
        peers[index].lastTimestamp = payload.timestamp
        makeRoom(index)
        guard let slot = peers[index].freeSlot(peer: index) else { return refuse(nil) }
        let stream = StreamIdentifier.make(slot: slot, random: UInt32.random(in: 0 ... .max, using: &random))
        let answer = Response.Payload(
            stream: stream, cipher: cipher, keepalive: ownKeepalive, lanes: UInt8(mailboxes.count))
        guard let second = noise.writeSecond(payload: answer.encoded) else { return refuse(nil) }
        let keys = noise.split()
        begin(
            index, local: stream, remote: payload.stream, send: keys.responder, receive: keys.initiator, cipher: cipher,
            lanes: payload.lanes, isInitiator: false, endpoint: source, now)
        actions.append(.datagram(Response.datagram(message: second, for: payload.stream, to: key), to: source))
    }

    private mutating func handleResponse(_ datagram: [UInt8], _ source: Endpoint, _ now: Instant) {
        guard let (stream, message) = Response.parse(datagram),
            let index = peers.firstIndex(where: { $0.pending.contains { $0.stream == stream } }),
            let place = peers[index].pending.firstIndex(where: { $0.stream == stream })
        else { return refuse(nil) }
        var noise = peers[index].pending[place].noise
        guard let bytes = noise.readSecond(message), let payload = Response.Payload(bytes),
            configuration.ciphers.contains(CipherSet(rawValue: payload.cipher.rawValue))
        else {
            return refuse(
                peers[index].unauthenticLimiter.admit(at: now).map {
                    .unauthenticResponse(peers[index].name, from: source, suppressed: $0)
                })
        }
        peers[index].pending = []
        peers[index].nextInitiation = nil
        makeRoom(index)
        let keys = noise.split()
        begin(
            index, local: stream, remote: payload.stream, send: keys.initiator, receive: keys.responder,
            cipher: payload.cipher, lanes: payload.lanes, isInitiator: true, endpoint: source, now)
        established(index, at: source, now)
    }

    // MARK: Sessions

    /// Retires sessions until one more fits: the oldest of the confirmed ones, as long as two generations of them remain; else
    /// the oldest unconfirmed. A young unconfirmed one may be what the other side seals with already, so it is never the
    /// first to go.
    private mutating func makeRoom(_ index: Int) {
        while peers[index].sessions.count >= PeerState.sessionLimit {
            let confirmed = peers[index].sessions.indices.filter { peers[index].sessions[$0].isConfirmed }
            let unconfirmed = peers[index].sessions.firstIndex { !$0.isConfirmed }
            let place = confirmed.count > PeerState.sessionsKept ? confirmed[0] : unconfirmed ?? 0
            command(.retire(stream: peers[index].sessions.remove(at: place).stream))
        }
    }

    private mutating func begin(
        _ index: Int, local: UInt32, remote: UInt32, send: Key256, receive: Key256, cipher: Cipher, lanes: UInt8,
        isInitiator: Bool, endpoint: Endpoint, _ now: Instant
    ) {
        let rekey = configuration.rekeyTime
        peers[index].generation &+= 1
        // The side with the higher key waits longer, so that normally only one begins anew, whoever began before.
        let slack = configuration.identity.publicKey < peers[index].key ? Interval.zero : rekey / 8
        peers[index].sessions.append(
            PeerState.Session(
                stream: local, cipher: cipher, began: now, renewAt: now + rekey + slack,
                expires: now + rekey + rekey / 2 + .seconds(10), isConfirmed: isInitiator))
        command(
            .install(
                SessionInstallation(
                    peer: PeerIndex(index), localStream: local, remoteStream: remote, sendKey: send, receiveKey: receive,
                    cipher: cipher, remoteLanes: min(max(lanes, 1), UInt8(Limits.lanes)), isConfirmed: isInitiator,
                    endpoint: endpoint, generation: peers[index].generation,
                    renewAfter: configuration.rekeyDatagrams)))
    }

    mutating func handleConfirmed(_ index: Int, _ stream: UInt32, _ endpoint: Endpoint, _ now: Instant) {
        // Several lanes may say so of one session.
        guard let place = peers[index].sessions.firstIndex(where: { $0.stream == stream }),
            !peers[index].sessions[place].isConfirmed
        else { return }
        peers[index].sessions[place].isConfirmed = true
        established(index, at: endpoint, now)
    }

    /// Both sides hold a new session's keys.
    private mutating func established(_ index: Int, at endpoint: Endpoint, _ now: Instant) {
        let hasMoved = peers[index].endpoint.map { $0 != endpoint } ?? false
        peers[index].endpoint = endpoint
        peers[index].attempts = 0
        peers[index].nextInitiation = nil
        peers[index].handshakes &+= 1
        peers[index].lastHeard = now
        peers[index].path.monitor.handleHeard(at: now)
        if hasMoved && peers[index].isUp { restartPath(index, now) }
        if peers[index].isUp {
            actions.append(.log(.keysRenewed(peers[index].name)))
        } else {
            markUp(index, now)
        }
    }

    private mutating func markUp(_ index: Int, _ now: Instant) {
        peers[index].isUp = true
        peers[index].nextInitiation = nil
        peers[index].attempts = 0
        command(.setPeer(PeerIndex(index), isUp: true))
        restartPath(index, now)
        handlePeerUp(index, now)
        guard let endpoint = peers[index].endpoint, let cipher = peers[index].newest?.cipher else { return }
        actions.append(.log(.peerUp(peers[index].name, endpoint: endpoint, cipher: cipher.name)))
    }

    mutating func handleHeard(_ index: Int, _ instant: Instant, _ endpoint: Endpoint, _ now: Instant) {
        peers[index].lastHeard = max(peers[index].lastHeard ?? .zero, instant)
        let hasMoved = peers[index].endpoint.map { $0 != endpoint } ?? false
        peers[index].endpoint = endpoint
        if !peers[index].isUp {
            if peers[index].newest != nil { markUp(index, now) }
        } else {
            handleSign(index, now)
            guard hasMoved else { return }
            restartPath(index, now)
            guard let suppressed = peers[index].roamingLimiter.admit(at: now) else { return }
            actions.append(.log(.peerRoamed(peers[index].name, to: endpoint, suppressed: suppressed)))
        }
    }

    // MARK: Timers

    mutating func expireSessions(_ index: Int, _ now: Instant) {
        while let place = peers[index].sessions.firstIndex(where: { $0.expires <= now }) {
            command(.retire(stream: peers[index].sessions.remove(at: place).stream))
        }
        if peers[index].isUp && peers[index].newest == nil { markDown(index, now) }
    }

    mutating func markDown(_ index: Int, _ now: Instant) {
        let silence = lastHeard(index).map { now - $0 } ?? .zero
        peers[index].isUp = false
        peers[index].attempts = 0
        peers[index].path.stop()
        command(.setPeer(PeerIndex(index), isUp: false))
        handlePeerDown(index, now)
        actions.append(.log(.peerDown(peers[index].name, silentFor: silence / 1_000_000 * 1_000_000)))
        peers[index].nextInitiation = now
    }

    mutating func checkRenewal(_ index: Int, _ now: Instant) {
        guard peers[index].isUp, peers[index].nextInitiation == nil, let newest = peers[index].newest, newest.renewAt <= now
        else { return }
        peers[index].nextInitiation = now
    }
}
