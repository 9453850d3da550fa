// A whole gateway that has one peer, under a little program of whoever is outside: datagrams as they come, or with right macs,
// initiations, annexes, responses and cookie replies made with the peer's key, a stranger's or the gateway's own, and, under
// the sessions that come of them, sealed text of any kind. One datagram has one answer at most, which is no longer than
// it; the gateway asks for no time that has passed; and at the end the real peer comes up.
//
//     | flags | steps ... |

import Basics
import Buffers
import Gateway
import Settings
import Switching
import Tunnels

enum AgreementFuzzing {
    private static let mostSteps = 60

    static func run(_ input: [UInt8]) -> [String] {
        var reader = OctetReader(input)
        var bench = AgreementBench(flags: reader.byte())
        var steps = 0
        while !reader.isAtEnd, steps < mostSteps, bench.problems.isEmpty {
            bench.step(&reader)
            steps += 1
        }
        if bench.problems.isEmpty { bench.finish() }
        return bench.problems.map { "after step \(steps): \($0)" }
    }
}

private struct AgreementBench: ~Copyable {
    private static let own = KeyPair(privateKey: [UInt8](repeating: 1, count: 32))!
    private static let peer = KeyPair(privateKey: [UInt8](repeating: 2, count: 32))!
    private static let stranger = KeyPair(privateKey: [UInt8](repeating: 4, count: 32))!
    private static let pair = KEMKeyPair(seed: [UInt8](repeating: 5, count: MLKEMLayout.seedBytes))!
    private static let wallClock: UInt64 = 1_700_000_000_000_000_000
    private static let lane: UInt16 = 0

    private struct Session {
        var stream: UInt32
        var key: Key256
        var counter: UInt64 = 0
    }

    private(set) var problems: [String] = []
    private var core: GatewayCore
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var random = SeededRandom(seed: 3)
    /// What the gateway has sent last of each kind.
    private var initiation: [UInt8]?
    private var annex: [UInt8]?
    private var replies: [[UInt8]] = []
    /// Of the peer: its last initiation, and the key whose hash that named.
    private var noise: NoiseHandshake?
    private var encapsulationKey = AgreementBench.pair.encapsulationKey
    private var stream: UInt32 = 0
    private var cookie: [UInt8]?
    private var sessions: [Session] = []
    private var newestTimestamp = AgreementBench.wallClock

    init(flags: UInt8) {
        var control = ControlConfiguration(
            identity: AgreementBench.own,
            peers: [.init(name: "peer", key: AgreementBench.peer.publicKey, hasAddress: flags & 8 != 0)],
            ciphers: [.chacha20poly1305], rekeyTime: .seconds(20))
        control.postQuantum = flags & 2 != 0 ? .required : flags & 1 != 0 ? .on : .off
        control.handshakeLoad = flags & 4 != 0 ? 2 : 200
        let lane = LaneConfiguration(ports: 1, peers: 1, lane: AgreementBench.lane, macLimit: 64)
        core = GatewayCore(
            lane: lane, control: control, random: SeededRandom(seed: 8), wallClock: AgreementBench.wallClock, at: now)
        flush()
    }

    private static func place(_ number: UInt8) -> Endpoint { Endpoint(ipv4: 0xC000_0201 + UInt32(number & 3), port: 7_117) }

    mutating func step(_ reader: inout OctetReader) {
        let choice = reader.byte()
        let source = AgreementBench.place(choice >> 6)
        switch choice & 0x0F {
        case 0: handle(reader.block(), source)
        case 1:
            let kind: UInt8 = [1, 2, 5, 3][Int(choice >> 4 & 3)]
            handle(HandshakeMAC.appended(to: [kind, 1] + reader.block(), for: AgreementBench.own.publicKey), source)
        case 2:
            initiate(
                [AgreementBench.peer, AgreementBench.peer, AgreementBench.stranger, AgreementBench.own][Int(choice >> 4 & 3)],
                reader.block(), source)
        case 3, 4: initiate(AgreementBench.peer, payload(&reader, isHybrid: choice & 0x10 != 0).encoded, source)
        case 5:
            handle(
                Annex.datagram(
                    stream: choice & 0x10 == 0 ? stream : UInt32(reader.byte()), key: encapsulationKey,
                    to: AgreementBench.own.publicKey), source)
        case 6, 7: respond(&reader, choice, source)
        case 8: replyWithCookie(&reader, choice, source)
        case 9: pass(.milliseconds(Int64(reader.byte())))
        case 10: pass(.milliseconds(Int64(reader.word())))
        case 11, 12, 13: handleSealed(&reader, choice, source)
        case 14:
            var frame = reader.block()
            frame.withMutableRawSpan { core.lane.handleFrame(&$0, offload: .none, on: PortIndex(0), at: now) }
            flush()
        default: pass(.zero)
        }
    }

    /// Whatever was said: when it is over, and what counts as a flood has drained, a peer with a later clock comes up.
    mutating func finish() {
        pass(.seconds(45))
        newestTimestamp = AgreementBench.wallClock + 1 << 62
        let before = core.control.snapshot(of: PeerIndex(0)).handshakes
        for _ in 0..<3 where core.control.snapshot(of: PeerIndex(0)).handshakes == before {
            newestTimestamp += 1
            stream = 0x7000
            encapsulationKey = AgreementBench.pair.encapsulationKey
            let hash = Annex.hash(of: encapsulationKey)
            let payload = Initiation.Payload(
                timestamp: newestTimestamp, stream: stream, ciphers: [.chacha20poly1305], keepalive: 1_000,
                encapsulationKeyHash: hash)
            let known = sessions.count
            initiate(AgreementBench.peer, payload.encoded, AgreementBench.place(0))
            handle(
                Annex.datagram(stream: stream, key: encapsulationKey, to: AgreementBench.own.publicKey), AgreementBench.place(0))
            if sessions.count > known { seal([], sessions.count - 1, AgreementBench.lane, AgreementBench.place(0)) }
        }
        // The gateway can have heard a later clock, from whoever has the peer's key, and then refuses this one.
        let isRefused = core.control.handshakeCounters[.clockBack] + core.control.handshakeCounters[.replayed] > 0
        if core.control.snapshot(of: PeerIndex(0)).handshakes == before && !isRefused {
            problems.append("the peer does not come up")
        }
    }

    // MARK: What the peer says

    private mutating func payload(_ reader: inout OctetReader, isHybrid: Bool) -> Initiation.Payload {
        let flags = reader.byte()
        newestTimestamp = newestTimestamp &+ UInt64(truncatingIfNeeded: Int(Int8(bitPattern: reader.byte())) * 100_000_000)
        encapsulationKey = AgreementBench.pair.encapsulationKey
        if flags & 8 != 0 { encapsulationKey[reader.word() % encapsulationKey.count] ^= reader.byte() }
        return Initiation.Payload(
            timestamp: newestTimestamp, stream: UInt32(reader.word()), ciphers: CipherSet(rawValue: flags & 7 | 2),
            keepalive: UInt32(reader.word()), lanes: reader.byte(),
            encapsulationKeyHash: isHybrid ? Annex.hash(of: encapsulationKey) : nil)
    }

    private mutating func initiate(_ who: KeyPair, _ payload: [UInt8], _ source: Endpoint) {
        var noise = NoiseHandshake.initiator(
            local: who, remote: AgreementBench.own.publicKey, ephemeral: KeyPair.generate(using: &random),
            presharedKey: .zeros(32), prologue: Initiation.prologue)
        guard let message = noise.writeFirst(payload: payload) else { return }
        stream = Initiation.Payload(payload)?.stream ?? 0
        self.noise = noise
        handle(Initiation.datagram(message: message, to: AgreementBench.own.publicKey, cookie: cookie), source)
    }

    private mutating func respond(_ reader: inout OctetReader, _ choice: UInt8, _ source: Endpoint) {
        guard let initiation = self.initiation.flatMap({ Initiation($0) }) else { return }
        var noise = NoiseHandshake.responder(
            local: AgreementBench.peer, ephemeral: KeyPair.generate(using: &random), presharedKey: .zeros(32),
            prologue: Initiation.prologue)
        guard let bytes = noise.readFirst(initiation.message), let asked = Initiation.Payload(bytes) else { return }
        let isHybrid = choice & 0x10 != 0
        let encapsulation = isHybrid ? annex.flatMap { Annex.parse($0) }.flatMap { KEMEncapsulation(to: $0.key) } : nil
        let local = UInt32(reader.word())
        let payload =
            choice & 0x20 != 0
            ? reader.block()
            : Response.Payload(stream: local, cipher: .chacha20poly1305, keepalive: 1_000, lanes: reader.byte()).encoded
        guard var message = noise.writeSecond(payload: payload, encapsulation: encapsulation) else { return }
        if reader.byte() & 7 == 7 { message[reader.word() % message.count] ^= reader.byte() }
        let keys = noise.split()
        sessions.append(Session(stream: asked.stream, key: keys.responder))
        handle(
            Response.datagram(message: message, for: asked.stream, to: AgreementBench.own.publicKey, isHybrid: isHybrid), source)
    }

    private mutating func replyWithCookie(_ reader: inout OctetReader, _ choice: UInt8, _ source: Endpoint) {
        let mac = initiation.flatMap { Initiation($0) }?.mac ?? [UInt8](repeating: 0, count: HandshakeMAC.bytes)
        var reply = CookieReply.datagram(
            cookie: [UInt8](repeating: choice, count: CookieReply.cookieBytes), mac: mac,
            nonce: [UInt8](repeating: choice, count: CookieReply.nonceBytes), from: AgreementBench.peer.publicKey)
        if choice & 0x10 != 0 { reply[reader.number(reply.count)] ^= reader.byte() }
        handle(reply, source)
    }

    private mutating func handleSealed(_ reader: inout OctetReader, _ choice: UInt8, _ source: Endpoint) {
        guard !sessions.isEmpty else { return }
        let shape = reader.byte()
        let place = choice & 0x10 == 0 ? sessions.count - 1 : Int(shape) % sessions.count
        let body = reader.block()
        // As it comes, or one whole record.
        let text = choice & 0x20 == 0 ? body : [0, 0] + octets(UInt16(shape & 0xC0) << 8 | UInt16(body.count)) + body
        seal(text, place, UInt16(shape & 7), source)
    }

    private mutating func seal(_ text: [UInt8], _ place: Int, _ origin: UInt16, _ source: Endpoint) {
        sessions[place].counter += 1
        handle(
            sealedDatagram(
                text, under: sessions[place].key, stream: sessions[place].stream, origin: origin,
                counter: sessions[place].counter), source)
    }

    // MARK: What the gateway does

    private mutating func handle(_ datagram: [UInt8], _ source: Endpoint) {
        replies = []
        var bytes = datagram
        bytes.withMutableRawSpan { core.lane.handleDatagram(&$0, from: source, at: now) }
        flush()
        if replies.count > 1 { problems.append("\(replies.count) answers to one datagram") }
        for reply in replies where reply.count > datagram.count {
            problems.append("\(reply.count) octets in answer to \(datagram.count)")
        }
    }

    private mutating func pass(_ interval: Interval) {
        let end = now + interval
        // In steps, as timers run out.
        var left = 400
        while core.nextTimeout <= end, left > 0 {
            left -= 1
            now = max(now, core.nextTimeout)
            core.handleTimeout(at: now)
            flush()
            if core.nextTimeout > now { continue }
            core.handleTimeout(at: now)
            flush()
            if core.nextTimeout <= now {
                problems.append("a time that has passed is asked for again and again")
                return
            }
        }
        now = max(now, end)
    }

    private mutating func flush() {
        core.settle(at: now)
        while let action = core.control.pollAction() {
            switch action {
            case .datagram(let bytes, _): note(bytes)
            case .resolve(let peer): core.control.handleResolved(peer, to: [AgreementBench.place(1)], at: now)
            case .resolveSeed, .log, .audit: break
            }
        }
        for index in 0..<core.lane.transmits {
            let run = core.lane.transmit(at: index)
            core.lane.handleTransmitted(run.peer, datagrams: run.datagrams, bytes: run.byteCount, failed: 0)
        }
        core.lane.drained()
    }

    private mutating func note(_ bytes: [UInt8]) {
        if bytes.count > DatagramKind.handshakeLimit { problems.append("a datagram of \(bytes.count) octets") }
        switch bytes.first.flatMap(DatagramKind.init) {
        case .initiation: initiation = bytes
        case .annex: annex = bytes
        case .cookieReply:
            replies.append(bytes)
            cookie = CookieReply(bytes)?.cookie(from: AgreementBench.own.publicKey) ?? cookie
        case .response:
            replies.append(bytes)
            guard var noise, let (_, message, isHybrid) = Response.parse(bytes),
                let opened = noise.readSecond(message, encapsulatedTo: isHybrid ? AgreementBench.pair : nil),
                let payload = Response.Payload(opened)
            else { return }
            sessions.append(Session(stream: payload.stream, key: noise.split().initiator))
        case .hello, .sealed, nil: problems.append("control sends a datagram of no kind of its own")
        }
    }
}
