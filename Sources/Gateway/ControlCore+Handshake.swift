// Control's handshakes: sending, answering and judging them, and the sessions that come of them.

import Basics
import Mesh
import Tunnels

extension ControlCore {
    private static let retry = Interval.seconds(1)
    private static let slowRetry = Interval.seconds(2)
    private static let memberRetry = Interval.seconds(10)
    private static let resolveRetry = Interval.seconds(5)
    /// Unanswered initiations after which the name is resolved again and the operator is told.
    private static let patience = 5
    /// An authentic initiation that is older than the newest by no more was overtaken, or sent again by somebody.
    private static let clockSlack = Interval.seconds(10)
    /// Within what time two places in turn are not one gateway that moved, at most.
    private static let rivalWindow = Interval.seconds(120)
    /// Sessions that a peer begins without confirming one before the operator is told.
    private static let unconfirmedLimit = 3
    /// The same for initiations without their annexes.
    private static let annexLimit = 3

    // MARK: We begin

    mutating func initiate(_ index: Int, _ now: Instant) {
        guard let endpoint = target(index), let key = peers[index].key else {
            if !mayDial(index) {
                // A way through others may be found by then.
                peers[index].attempts += 1
                return scheduleRetry(index, now)
            }
            peers[index].nextInitiation = nil
            if peers[index].hasAddress { askAddresses(index) }
            return
        }
        while peers[index].pending.count >= PeerState.pendingLimit { peers[index].pending.removeFirst() }
        peers[index].attempts += 1
        scheduleRetry(index, now)
        guard let slot = peers[index].freeSlot(peer: index) else { return }
        var noise = NoiseHandshake.initiator(
            local: configuration.identity, remote: key, ephemeral: KeyPair.generate(using: &random),
            presharedKey: configuration.presharedKey, prologue: Initiation.prologue)
        let stream = newStream(index, slot)
        let pair = configuration.postQuantum == .off ? nil : KEMKeyPair.generate(using: &random)
        let payload = Initiation.Payload(
            timestamp: nextTimestamp(at: now), stream: stream, ciphers: configuration.ciphers, keepalive: ownKeepalive,
            lanes: UInt8(mailboxes.count), encapsulationKeyHash: pair.map { Annex.hash(of: $0.encapsulationKey) })
        guard let message = noise.writeFirst(payload: payload.encoded) else { return }
        let cookie = peers[index].cookie.flatMap { $0.expires > now ? $0.bytes : nil }
        let datagram = Initiation.datagram(message: message, to: key, cookie: cookie)
        peers[index].pending.append(
            PeerState.Pending(
                noise: noise, stream: stream, pair: pair, mac: Initiation(datagram)?.mac, hadCookie: cookie != nil,
                expires: now + PeerState.Pending.patience, target: endpoint))
        transmit(datagram, to: endpoint)
        guard let pair else { return }
        transmit(Annex.datagram(stream: stream, key: pair.encapsulationKey, to: key), to: endpoint)
    }

    /// Its name leads nowhere: with no other address to try, it is asked for again.
    mutating func handleUnresolved(_ index: Int, _ now: Instant) {
        if target(index) == nil { peers[index].nextInitiation = now + ControlCore.resolveRetry }
    }

    /// Where the peer is, or may be: its candidates in turn while it does not answer.
    private func target(_ index: Int) -> Endpoint? {
        let peer = peers[index]
        if peer.isUp, peer.isDirect, let endpoint = peer.endpoint { return endpoint }
        if peer.isUp && peer.isRelayUsed { return .relayed(index) }
        var places = peer.candidates
        // Where it was heard last is tried first.
        if let endpoint = peer.endpoint {
            places.removeAll { $0 == endpoint }
            places.insert(endpoint, at: 0)
        }
        if !mayDial(index) { places = [] }
        guard hasWay(index) else { return places.isEmpty ? nil : places[peer.attempts % places.count] }
        // Every second time: a site behind a NAT that maps each destination apart has many addresses, and none of them leads to it.
        return places.isEmpty || peer.attempts % 2 == 1 ? .relayed(index) : places[peer.attempts / 2 % places.count]
    }

    private mutating func scheduleRetry(_ index: Int, _ now: Instant) {
        let attempts = peers[index].attempts
        let jitter = Interval.milliseconds(Int64.random(in: 0..<200, using: &random))
        peers[index].nextInitiation =
            now + (attempts < 2 * ControlCore.patience ? ControlCore.retry : slowRetry(index)) + jitter
        guard attempts > 0, attempts % ControlCore.patience == 0 else { return }
        if peers[index].hasAddress { askAddresses(index) }
        // A member that cannot be reached from here may be where nobody is to blame for it.
        if peers[index].site != nil && attempts > ControlCore.patience { return }
        if let endpoint = target(index), peers[index].unansweredLimiter.admit(at: now) != nil {
            actions.append(.log(.peerUnanswered(peers[index].name, endpoint: endpoint, attempts: attempts)))
        }
    }

    /// Members that cannot be reached from here are many, and reached through others.
    private func slowRetry(_ index: Int) -> Interval {
        peers[index].site != nil && !peers[index].isNamed ? ControlCore.memberRetry : ControlCore.slowRetry
    }

    private var ownKeepalive: UInt32 { UInt32(clamping: configuration.keepalive.nanoseconds / 1_000_000) }

    // MARK: They say something

    /// Takes datagrams from the lanes in turn, so that a flood at one keeps none of the others from being heard.
    mutating func takeHandshakes(at now: Instant) {
        var left = ControlCore.handshakeBudget
        var isEmpty = false
        while left > 0 && !isEmpty {
            isEmpty = true
            for mailbox in mailboxes where left > 0 {
                guard let (datagram, source) = mailbox.handshakes.pop() else { continue }
                // What stands for a way through others is nobody's address.
                if source.relayedPlace == nil { handleHandshake(datagram, from: source, at: now) } else { refuse(.malformed) }
                left -= 1
                isEmpty = false
            }
        }
    }

    mutating func handleHandshake(_ datagram: [UInt8], from source: Endpoint, at now: Instant) {
        guard let first = datagram.first else { return refuse(.malformed) }
        let kind = DatagramKind(rawValue: first)
        // A cookie reply has no mac of ours: whoever makes it does not know who we are yet.
        if kind == .cookieReply { return handleCookieReply(datagram, now) }
        // A hello has no key of ours to be addressed to.
        if kind == .hello { return handleHello(datagram, source, now) }
        guard HandshakeMAC.isValid(datagram, for: configuration.identity.publicKey) else {
            return refuse(.notForUs, limiters.notForUs.admit(at: now).map { .notForUs(from: source, suppressed: $0) })
        }
        switch kind {
        case .initiation: handleInitiation(datagram, source, now)
        case .response: handleResponse(datagram, source, now)
        case .annex: handleAnnex(datagram, now)
        case .cookieReply, .hello, .sealed, nil: refuse(.malformed)
        }
    }

    private mutating func handleInitiation(_ datagram: [UInt8], _ source: Endpoint, _ now: Instant) {
        guard let initiation = Initiation(datagram) else { return refuse(.malformed) }
        let proof = cookieSecret.accepts(initiation, from: source, at: now) ? initiation.cookieMAC : nil
        switch handshakeGuard.judge(proof: proof, from: source, at: now) {
        case .work: judge(initiation, source, now)
        case .demandCookie(let isLoad):
            demandCookie(initiation, source, now)
            let said = isLoad ? limiters.underLoad.admit(at: now) : nil
            refuse(.underLoad, said.map { .underLoad(perSecond: configuration.handshakeLoad, suppressed: $0) })
        case .copy: refuse(.replayed)
        case .refuse:
            refuse(.rateLimited, limiters.rateLimited.admit(at: now).map { .rateLimited(from: source, suppressed: $0) })
        }
    }

    private mutating func demandCookie(_ initiation: Initiation, _ source: Endpoint, _ now: Instant) {
        let cookie = cookieSecret.cookie(for: source, at: now, using: &random)
        let nonce = (0..<CookieReply.nonceBytes).map { _ in UInt8.random(in: 0 ... .max, using: &random) }
        let reply = CookieReply.datagram(
            cookie: cookie, mac: initiation.mac, nonce: nonce, from: configuration.identity.publicKey)
        handshakeCounters.cookiesSent &+= 1
        transmit(reply, to: source)
    }

    /// Public-key work begins here.
    private mutating func judge(_ initiation: Initiation, _ source: Endpoint, _ now: Instant) {
        handshakeCounters.judged &+= 1
        var noise = NoiseHandshake.responder(
            local: configuration.identity, ephemeral: KeyPair.generate(using: &random),
            presharedKey: configuration.presharedKey, prologue: Initiation.prologue)
        guard let bytes = noise.readFirst(initiation.message), let payload = Initiation.Payload(bytes), let key = noise.remote
        else {
            return refuse(
                .unauthentic, limiters.unauthentic.admit(at: now).map { .unauthenticInitiation(from: source, suppressed: $0) })
        }
        guard key != configuration.identity.publicKey else {
            return refuse(.ownKey, limiters.ownKey.admit(at: now).map { .ownKey(from: source, suppressed: $0) })
        }
        guard let index = peers.firstIndex(where: { $0.key == key }) ?? place(SiteID(key), now) else {
            return refuse(
                .unknownKey, limiters.unknownKey.admit(at: now).map { .unknownKey(key, from: source, suppressed: $0) })
        }
        guard payload.timestamp > peers[index].lastTimestamp else { return refuseOld(index, payload.timestamp, source, now) }
        guard let cipher = payload.ciphers.intersection(configuration.ciphers).preferred else {
            return refuse(
                .noCommonCipher,
                peers[index].cipherLimiter.admit(at: now).map { .noCommonCipher(peers[index].name, suppressed: $0) })
        }
        let wantsHybrid = configuration.postQuantum != .off && payload.encapsulationKeyHash != nil
        guard wantsHybrid || configuration.postQuantum != .required else { return refuseClassical(index, source, now) }
        peers[index].lastTimestamp = payload.timestamp
        peers[index].acceptedTimestamps.append(payload.timestamp)
        if peers[index].acceptedTimestamps.count > PeerState.timestampsKept { peers[index].acceptedTimestamps.removeFirst() }
        // Only the newest initiation of a peer may still be waiting: one that is replaced has lost its annex.
        missAnnex(index, now)
        guard wantsHybrid else { return respond(index, noise, payload, cipher, nil, source, now) }
        peers[index].waiting = PeerState.Waiting(
            noise: noise, payload: payload, cipher: cipher, source: source, expires: now + PeerState.Waiting.patience)
    }

    /// An authentic initiation that is not newer than the newest. One that was accepted before is a replay; a clock that went
    /// back makes new ones with old times.
    private mutating func refuseOld(_ index: Int, _ timestamp: UInt64, _ source: Endpoint, _ now: Instant) {
        let behind = Interval.nanoseconds(Int64(clamping: peers[index].lastTimestamp - timestamp))
        if peers[index].acceptedTimestamps.contains(timestamp) || behind <= ControlCore.clockSlack {
            return refuse(
                .replayed,
                peers[index].replayLimiter.admit(at: now).map {
                    .replayedInitiation(peers[index].name, from: source, suppressed: $0)
                })
        }
        // Where it comes from says nothing of where the peer is: anybody can send an old one again.
        refuse(
            .clockBack,
            peers[index].clockLimiter.admit(at: now).map {
                .clockBack(peers[index].name, by: behind, from: source, suppressed: $0)
            })
    }

    private mutating func refuseClassical(_ index: Int, _ source: Endpoint, _ now: Instant) {
        refuse(
            .noPostQuantum,
            peers[index].postQuantumLimiter.admit(at: now).map {
                .noPostQuantum(peers[index].name, from: source, suppressed: $0)
            })
    }

    /// Sessions that it began and confirmed at A, B, A, B, faster than one gateway renews them: two that take each other's
    /// place. Initiations alone say nothing: a gateway with several addresses, or that tries several of ours, sends them from
    /// each in turn while it has no answer, and anybody can send them again from anywhere.
    private mutating func noteSighting(_ index: Int, _ source: Endpoint, _ now: Instant) {
        peers[index].sightings.append(PeerState.Sighting(endpoint: source, at: now))
        if peers[index].sightings.count > 4 { peers[index].sightings.removeFirst() }
        let seen = peers[index].sightings
        let window = min(ControlCore.rivalWindow, configuration.rekeyTime * 2)
        guard seen.count == 4, now - seen[0].at <= window, seen[0].endpoint == seen[2].endpoint,
            seen[1].endpoint == seen[3].endpoint, seen[0].endpoint != seen[1].endpoint
        else { return }
        handshakeCounters.rivals &+= 1
        peers[index].sightings = []
        if let suppressed = peers[index].rivalLimiter.admit(at: now) {
            let places = (min(seen[0].endpoint, seen[1].endpoint), max(seen[0].endpoint, seen[1].endpoint))
            actions.append(.log(.rivals(peers[index].name, places.0, places.1, suppressed: suppressed)))
        }
    }

    private mutating func respond(
        _ index: Int, _ noise: NoiseHandshake, _ payload: Initiation.Payload, _ cipher: Cipher,
        _ encapsulation: KEMEncapsulation?, _ source: Endpoint, _ now: Instant
    ) {
        var noise = noise
        retireUnconfirmed(index)
        makeRoom(index)
        guard let slot = peers[index].freeSlot(peer: index) else { return refuse(.noPlace) }
        let stream = newStream(index, slot)
        let answer = Response.Payload(
            stream: stream, cipher: cipher, keepalive: ownKeepalive, lanes: UInt8(mailboxes.count))
        guard let second = noise.writeSecond(payload: answer.encoded, encapsulation: encapsulation) else {
            return refuse(.unauthentic)
        }
        let keys = noise.split()
        begin(
            index, local: stream, remote: payload.stream, send: keys.responder, receive: keys.initiator, cipher: cipher,
            lanes: payload.lanes, isInitiator: false, isHybrid: encapsulation != nil, endpoint: source, now)
        transmit(
            Response.datagram(
                message: second, for: payload.stream, to: noise.remote ?? configuration.identity.publicKey,
                isHybrid: encapsulation != nil), to: source)
        peers[index].unconfirmed += 1
        if peers[index].unconfirmed >= ControlCore.unconfirmedLimit { sayUnconfirmed(index, source, now) }
    }

    private mutating func sayUnconfirmed(_ index: Int, _ source: Endpoint, _ now: Instant) {
        if peers[index].unconfirmed == ControlCore.unconfirmedLimit { handshakeCounters.neverConfirmed &+= 1 }
        guard let suppressed = peers[index].unconfirmedLimiter.admit(at: now) else { return }
        actions.append(
            .log(
                .neverConfirmed(
                    peers[index].name, sessions: peers[index].unconfirmed, from: source, suppressed: suppressed)))
    }

    // MARK: Annexes

    private mutating func handleAnnex(_ datagram: [UInt8], _ now: Instant) {
        guard let (stream, key) = Annex.parse(datagram) else { return refuse(.malformed) }
        let hash = Annex.hash(of: key)
        guard
            let index = peers.firstIndex(where: {
                $0.waiting?.payload.stream == stream && $0.waiting?.payload.encapsulationKeyHash == hash
            }), let waiting = peers[index].waiting
        else {
            return refuse(peers.contains { $0.waiting?.payload.stream == stream } ? .annexMismatch : .strayAnnex)
        }
        peers[index].waiting = nil
        peers[index].missedAnnexes = 0
        guard let encapsulation = KEMEncapsulation(to: key) else { return refuse(.annexMismatch) }
        respond(index, waiting.noise, waiting.payload, waiting.cipher, encapsulation, waiting.source, now)
    }

    /// Initiations that were not answered in time are forgotten, keys and all.
    mutating func expirePending(_ index: Int, _ now: Instant) { peers[index].pending.removeAll { $0.expires <= now } }

    mutating func expireWaiting(_ index: Int, _ now: Instant) {
        if let waiting = peers[index].waiting, waiting.expires <= now { missAnnex(index, now) }
    }

    /// The initiation that waits, if one does, waits no more.
    private mutating func missAnnex(_ index: Int, _ now: Instant) {
        guard let waiting = peers[index].waiting.take() else { return }
        peers[index].missedAnnexes += 1
        // One alone may have been lost like any datagram.
        let isLasting = peers[index].missedAnnexes >= ControlCore.annexLimit
        refuse(
            .annexMissing,
            isLasting
                ? peers[index].annexLimiter.admit(at: now).map {
                    .annexMissing(peers[index].name, from: waiting.source, suppressed: $0)
                } : nil)
    }

    // MARK: They answer

    private mutating func handleCookieReply(_ datagram: [UInt8], _ now: Instant) {
        guard let reply = CookieReply(datagram) else { return refuse(.malformed) }
        guard let index = peers.firstIndex(where: { $0.pending.contains { $0.mac == reply.mac } }),
            let place = peers[index].pending.firstIndex(where: { $0.mac == reply.mac }),
            let key = peers[index].key, let cookie = reply.cookie(from: key)
        else { return refuse(.strayCookie) }
        handshakeCounters.cookiesTaken &+= 1
        peers[index].cookie = PeerState.Cookie(bytes: cookie, expires: now + CookieSecret.lifetime)
        peers[index].pending[place].mac = nil
        // At once, to where the peer has just answered from. A cookie that does not help waits for its turn.
        guard !peers[index].pending[place].hadCookie, peers[index].nextInitiation != nil else { return }
        peers[index].attempts = max(peers[index].attempts - 1, 0)
        peers[index].nextInitiation = now
    }

    private mutating func handleResponse(_ datagram: [UInt8], _ source: Endpoint, _ now: Instant) {
        guard let (stream, message, isHybrid) = Response.parse(datagram) else { return refuse(.malformed) }
        // Both sides began at once, and the other one's session stands.
        let index = peers.firstIndex {
            $0.overtaken.contains { $0.stream == stream && $0.expires > now && $0.target == source }
        }
        if let index {
            peers[index].overtaken.removeAll { $0.stream == stream }
            return
        }
        guard let index = peers.firstIndex(where: { $0.pending.contains { $0.stream == stream } }),
            let pending = peers[index].pending.first(where: { $0.stream == stream && $0.expires > now }),
            !isHybrid || pending.pair != nil
        else { return refuse(.strayResponse) }
        guard peers[index].responses.take(isExpected: pending.target == source, at: now) else { return refuse(.tooManyResponses) }
        var noise = pending.noise
        guard let bytes = noise.readSecond(message, encapsulatedTo: isHybrid ? pending.pair : nil),
            let payload = Response.Payload(bytes),
            configuration.ciphers.contains(CipherSet(rawValue: payload.cipher.rawValue))
        else {
            return refuse(
                .wrongPresharedKey,
                peers[index].unauthenticLimiter.admit(at: now).map {
                    .unauthenticResponse(peers[index].name, from: source, suppressed: $0)
                })
        }
        guard isHybrid || configuration.postQuantum != .required else { return refuseClassical(index, source, now) }
        makeRoom(index)
        let keys = noise.split()
        begin(
            index, local: stream, remote: payload.stream, send: keys.initiator, receive: keys.responder,
            cipher: payload.cipher, lanes: payload.lanes, isInitiator: true, isHybrid: isHybrid, endpoint: source, now)
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

    /// Before another one comes: the oldest go.
    private mutating func retireUnconfirmed(_ index: Int) {
        let unconfirmed = peers[index].sessions.filter { !$0.isConfirmed }
        for session in unconfirmed.dropLast(PeerState.unconfirmedKept - 1) {
            peers[index].sessions.removeAll { $0.stream == session.stream }
            command(.retire(stream: session.stream))
        }
    }

    private mutating func begin(
        _ index: Int, local: UInt32, remote: UInt32, send: Key256, receive: Key256, cipher: Cipher, lanes: UInt8,
        isInitiator: Bool, isHybrid: Bool, endpoint: Endpoint, _ now: Instant
    ) {
        let rekey = configuration.rekeyTime
        peers[index].generation &+= 1
        peers[index].remoteLabel = remote & ~UInt32(StreamIdentifier.slotsPerPeer - 1)
        // The side with the higher key waits longer, so that normally only one begins anew, whoever began before.
        let slack = peers[index].key.map { configuration.identity.publicKey < $0 } ?? false ? Interval.zero : rekey / 8
        peers[index].sessions.append(
            PeerState.Session(
                stream: local, cipher: cipher, isHybrid: isHybrid, began: now, renewAt: now + rekey + slack,
                expires: now + rekey + rekey / 2 + .seconds(10), isConfirmed: isInitiator))
        command(
            .install(
                SessionInstallation(
                    peer: PeerIndex(index), localStream: local, remoteStream: remote, sendKey: send, receiveKey: receive,
                    cipher: cipher, remoteLanes: min(max(lanes, 1), UInt8(Limits.lanes)), isConfirmed: isInitiator,
                    endpoint: endpoint.relayedPlace == nil ? endpoint : peers[index].endpoint ?? .nowhere,
                    generation: peers[index].generation,
                    renewAfter: configuration.rekeyDatagrams)))
    }

    /// A member's streams differ in their low bits alone, so that who carries them knows all by one label.
    private mutating func newStream(_ index: Int, _ slot: Int) -> UInt32 {
        StreamIdentifier.make(slot: slot, random: peers[index].label ?? UInt32.random(in: 0 ... .max, using: &random))
    }

    mutating func handleConfirmed(_ index: Int, _ stream: UInt32, _ endpoint: Endpoint, _ now: Instant) {
        // Several lanes may say so of one session.
        guard let place = peers[index].sessions.firstIndex(where: { $0.stream == stream }),
            !peers[index].sessions[place].isConfirmed
        else { return }
        peers[index].sessions[place].isConfirmed = true
        noteSighting(index, endpoint, now)
        established(index, at: endpoint, now)
    }

    /// Both sides hold a new session's keys.
    private mutating func established(_ index: Int, at endpoint: Endpoint, _ now: Instant) {
        let isRelayed = endpoint.relayedPlace != nil
        let hasMoved = !isRelayed && peers[index].endpoint.map { $0 != endpoint } ?? false
        if !isRelayed { peers[index].endpoint = endpoint }
        peers[index].attempts = 0
        // Whoever answers one that is still under way, and was kept back, is not to take this session's place.
        peers[index].overtaken = peers[index].pending.map {
            PeerState.Overtaken(stream: $0.stream, expires: $0.expires, target: $0.target)
        }
        peers[index].pending = []
        peers[index].nextInitiation = nil
        peers[index].unconfirmed = 0
        peers[index].handshakes &+= 1
        if isRelayed {
            // The way that the handshake came is one for datagrams once it is open.
            if peers[index].isUp { actions.append(.log(.keysRenewed(peers[index].name))) }
            return chooseWay(index, now)
        }
        peers[index].lastHeard = now
        peers[index].path.monitor.handleHeard(at: now)
        noteDirect(index, now)
        if hasMoved && peers[index].isUp { restartPath(index, now) }
        if peers[index].isUp {
            actions.append(.log(.keysRenewed(peers[index].name)))
        } else {
            markUp(index, now)
        }
    }

    /// Something authentic has come from the peer itself.
    private mutating func noteDirect(_ index: Int, _ now: Instant) {
        if peers[index].isDirect { return }
        peers[index].isDirect = true
        guard peers[index].isUp else { return }
        restartPath(index, now)
        handleNeighbourUp(index, now)
    }

    mutating func markUp(_ index: Int, _ now: Instant) {
        peers[index].isUp = true
        peers[index].stateSince = now
        peers[index].nextInitiation = nil
        peers[index].attempts = 0
        command(.setPeer(PeerIndex(index), isUp: true))
        if peers[index].isDirect { restartPath(index, now) }
        handlePeerUp(index, now)
        guard peers[index].isDirect, let endpoint = peers[index].endpoint, let newest = peers[index].newest else { return }
        actions.append(
            .log(
                .peerUp(
                    peers[index].name, endpoint: endpoint, cipher: newest.cipher.name,
                    keys: NoiseHandshake.agreement(isHybrid: newest.isHybrid))))
    }

    mutating func handleHeard(_ index: Int, _ instant: Instant, _ endpoint: Endpoint, _ now: Instant) {
        peers[index].lastHeard = max(peers[index].lastHeard ?? .zero, instant)
        let hasMoved = peers[index].endpoint.map { $0 != endpoint } ?? false
        peers[index].endpoint = endpoint
        if peers[index].newest != nil { noteDirect(index, now) }
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

    /// A lane had no memory for a session's keys: it goes on with those that it has.
    mutating func handleNotInstalled(_ index: Int, _ now: Instant) {
        handshakeCounters.notInstalled &+= 1
        guard let suppressed = limiters.notInstalled.admit(at: now) else { return }
        actions.append(.log(.notInstalled(peers[index].name, suppressed: suppressed)))
    }

    // MARK: Timers

    mutating func expireSessions(_ index: Int, _ now: Instant) {
        while let place = peers[index].sessions.firstIndex(where: { $0.expires <= now }) {
            command(.retire(stream: peers[index].sessions.remove(at: place).stream))
        }
        if peers[index].isUp && peers[index].newest == nil { markDown(index, now) }
    }

    /// Nothing comes from the peer itself any longer; others may carry.
    mutating func loseDirect(_ index: Int, _ now: Instant) {
        guard peers[index].isRelayUsed else { return markDown(index, now) }
        let silence = lastHeard(index).map { now - $0 } ?? .zero
        peers[index].isDirect = false
        peers[index].path.stop()
        handleNeighbourDown(index, now)
        actions.append(.log(.directLost(peers[index].name, silentFor: silence / 1_000_000 * 1_000_000)))
    }

    mutating func markDown(_ index: Int, _ now: Instant) {
        let silence = lastHeard(index).map { now - $0 } ?? .zero
        peers[index].isUp = false
        peers[index].stateSince = now
        peers[index].isDirect = false
        peers[index].attempts = 0
        peers[index].path.stop()
        leaveRelay(index, now)
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
