// Two lanes of a gateway under a little program: runs of datagrams that somebody made up, runs that the peer has sealed rightly,
// whatever is in them, frames of the LAN, commands of control, and time. Every datagram is counted once, everything that is
// sent opens under its key, no counter is used twice, and no frame that goes to the LAN is one that no LAN carries.
//
//     | flags | steps ... |

import Basics
import Buffers
import Gateway
import Switching
import Tunnels

enum LaneFuzzing {
    private static let mostSteps = 100

    static func run(_ input: [UInt8]) -> [String] {
        var reader = OctetReader(input)
        var bench = LaneBench(flags: reader.byte())
        var steps = 0
        while !reader.isAtEnd, steps < mostSteps, bench.problems.isEmpty {
            bench.step(&reader)
            steps += 1
        }
        return bench.problems.map { "after step \(steps): \($0)" }
    }
}

/// A sealed datagram of a lane of the peer's.
func sealedDatagram(
    _ text: [UInt8], under key: Key256, stream: UInt32, origin: UInt16, counter: UInt64, hops: UInt8 = 0
) -> [UInt8] {
    var datagram = [DatagramKind.sealed.rawValue, hops] + octets(origin) + octets(stream) + octets(counter) + text
    datagram += [UInt8](repeating: 0, count: SealedLayout.tagBytes)
    if let key = SessionKey(.chacha20poly1305, key.forLane(origin)) {
        datagram.withMutableRawSpan { key.seal(&$0, counter: counter) }
    }
    return datagram
}

private struct LaneBench: ~Copyable {
    private static let key = Key256([UInt8](repeating: 9, count: 32))
    private static let peer = PeerIndex(0)

    private(set) var problems: [String] = []
    private let mailboxes: [LaneMailbox]
    private var first: LaneCore
    private var second: LaneCore
    private let stream: UInt32
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var counters: [UInt64] = [0, 0, 0]
    private var generation: UInt64 = 1
    private var handed: UInt64 = 0
    private var handshakes: UInt64 = 0
    /// Counters that each lane has sealed with.
    private var usedByFirst: Set<UInt64> = []
    private var usedBySecond: Set<UInt64> = []

    init(flags: UInt8) {
        var random = SeededRandom(seed: 5)
        let mailboxes = LaneMailbox.make(lanes: 2, ports: 2, peers: 1, secret: HashSecret(using: &random))
        func make(_ lane: Int) -> LaneCore {
            var configuration = LaneConfiguration(ports: 2, peers: 1, lane: UInt16(lane), macLimit: 64, pathMTU: 1_500)
            configuration.isSnooping = flags & 1 == 0
            if flags & 2 != 0 { configuration.coalescing = PortSet(rawValue: 3) }
            if flags & 4 != 0 { configuration.coalescingUDP = PortSet(rawValue: 3) }
            if flags & 8 != 0 { configuration.rates = [1_000_000] }
            return LaneCore(configuration, mailbox: mailboxes[lane], secret: HashSecret(using: &random))
        }
        self.mailboxes = mailboxes
        first = make(0)
        second = make(1)
        var session = SessionInstallation(
            bothWays: LaneBench.key, cipher: .chacha20poly1305, lanes: 3, endpoint: LaneBench.place(0))
        session.isConfirmed = flags & 16 == 0
        session.renewAfter = flags & 32 == 0 ? 1 << 20 : 3
        stream = session.localStream
        for mailbox in mailboxes {
            _ = mailbox.commands.push(.install(session))
            _ = mailbox.commands.push(.setPeer(LaneBench.peer, isUp: true))
        }
        flush()
    }

    private static func place(_ number: UInt8) -> Endpoint {
        number & 4 == 0
            ? Endpoint(ipv4: 0xC000_0201 + UInt32(number & 3), port: 7_117)
            : Endpoint(high: 0x2001_0DB8 << 32, low: UInt64(number & 3), port: 7_117)
    }

    mutating func step(_ reader: inout OctetReader) {
        let choice = reader.byte()
        let lane = Int(choice >> 7)
        switch choice & 7 {
        case 0:
            let size = reader.word() + 1
            handle(reader.block(), segmentSize: size, lane, reader.byte())
        case 1, 2: handleSealed(&reader, choice, lane)
        case 3:
            var frame = reader.block()
            frame.withMutableRawSpan { bytes in
                if lane == 0 {
                    first.handleFrame(&bytes, offload: .none, on: PortIndex(Int(choice >> 6 & 1)), at: now)
                } else {
                    second.handleFrame(&bytes, offload: .none, on: PortIndex(Int(choice >> 6 & 1)), at: now)
                }
            }
        case 4: now = now + .microseconds(Int64(reader.word()))
        case 5: now = now + .milliseconds(Int64(reader.word()))
        default: command(&reader, choice, lane)
        }
        flush()
        if first.nextTimeout <= now { first.handleTimeout(at: now) }
        if second.nextTimeout <= now { second.handleTimeout(at: now) }
        flush()
    }

    /// Datagrams of one run: as long as the first but for the last.
    private mutating func handleSealed(_ reader: inout OctetReader, _ choice: UInt8, _ lane: Int) {
        let shape = reader.byte()
        let count = Int(shape & 3) + 1
        var run: [UInt8] = []
        var length = 0
        for number in 0..<count {
            let move = reader.byte()
            let origin = Int(move % 3)
            var text = reader.block()
            // In front of it a header that says that a record begins at once, and a record's as long as the rest.
            if choice & 8 != 0 { text = [0, 0] + octets(UInt16(move & 0xC0) << 8 | UInt16(text.count)) + text }
            if number == 0 { length = text.count }
            text = Array(text.prefix(length))
            if number < count - 1 { text += [UInt8](repeating: 0, count: length - text.count) }
            counters[origin] &+= shape & 4 == 0 ? 1 : UInt64(truncatingIfNeeded: Int(Int8(bitPattern: reader.byte())))
            run += sealedDatagram(
                text, under: LaneBench.key, stream: stream, origin: UInt16(origin), counter: counters[origin],
                hops: shape >> 3 & 0x1F)
        }
        handle(run, segmentSize: length + SealedLayout.overhead, lane, reader.byte())
    }

    private mutating func handle(_ run: [UInt8], segmentSize: Int, _ lane: Int, _ octet: UInt8) {
        var run = run
        handed += UInt64((run.count + segmentSize - 1) / segmentSize)
        let source = LaneBench.place(octet >> 2 & 7)
        run.withMutableRawSpan { bytes in
            if lane == 0 {
                first.handleDatagrams(&bytes, segmentSize: segmentSize, from: source, octet: octet, at: now)
            } else {
                second.handleDatagrams(&bytes, segmentSize: segmentSize, from: source, octet: octet, at: now)
            }
        }
    }

    private mutating func command(_ reader: inout OctetReader, _ choice: UInt8, _ lane: Int) {
        let commands = mailboxes[lane].commands
        switch choice >> 3 & 7 {
        case 0:
            _ = commands.push(
                .probe(
                    LaneBench.peer, number: UInt32(reader.byte()), size: UInt16(reader.word()), losses: reader.byte(),
                    isRouted: reader.byte() & 1 != 0))
        case 1: _ = commands.push(.setPath(LaneBench.peer, size: UInt16(reader.word())))
        case 2: _ = commands.push(.move(LaneBench.peer, to: LaneBench.place(reader.byte())))
        case 3: _ = commands.push(.setPeer(LaneBench.peer, isUp: reader.byte() & 1 == 0))
        case 4: _ = commands.push(.listMACs(token: 1))
        case 5: _ = commands.push(.forgetVLAN(.untagged))
        case 6: _ = commands.push(.confirm(stream: stream, at: LaneBench.place(reader.byte()), isRouted: reader.byte() & 1 != 0))
        default: break
        }
    }

    // MARK: What comes of it

    private mutating func flush() {
        for _ in 0..<3 {
            first.handleCommands(at: now)
            LaneBench.take(&first, 0, &usedByFirst, &problems, now)
            second.handleCommands(at: now)
            LaneBench.take(&second, 1, &usedBySecond, &problems, now)
        }
        for mailbox in mailboxes {
            while mailbox.events.pop() != nil {}
            while mailbox.handshakes.pop() != nil { handshakes += 1 }
        }
        checkCounts()
    }

    /// A datagram that crosses is the other lane's to count.
    private mutating func checkCounts() {
        func count(_ lane: borrowing LaneCore) -> UInt64 {
            var total = lane.bridge.counters[LaneBench.peer, .datagramsIn]
            for reason in [.malformedDatagram, .unknownStream, .replayed, .authenticationFailed] as [DropReason] {
                total += lane.bridge.counters[reason]
            }
            return total
        }
        let counted = count(first) + count(second) + handshakes
        if counted != handed { problems.append("\(handed) datagrams came, \(counted) are accounted for") }
    }

    /// Takes what a lane would send and deliver.
    private static func take(
        _ lane: inout LaneCore, _ number: UInt16, _ used: inout Set<UInt64>, _ problems: inout [String], _ now: Instant
    ) {
        lane.finishBatch(at: now)
        for index in 0..<lane.transmits {
            let run = lane.transmit(at: index)
            if run.byteCount <= 0 || run.segmentSize < SealedLayout.overhead { problems.append("an empty run") }
            let bytes = [UInt8](copying: lane.transmitBytes(at: index))
            if bytes.count != run.byteCount { problems.append("a run of \(bytes.count) octets, not \(run.byteCount)") }
            for start in stride(from: 0, to: bytes.count, by: max(run.segmentSize, 1)) {
                let datagram = Array(bytes[start..<min(start + run.segmentSize, bytes.count)])
                guard datagram.count >= SealedLayout.overhead else {
                    problems.append("a datagram too short")
                    continue
                }
                let counter = datagram[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
                if !used.insert(counter).inserted { problems.append("counter \(counter) is used twice") }
                check(datagram, counter, number, &problems)
            }
            lane.handleTransmitted(run.peer, datagrams: run.datagrams, bytes: run.byteCount, failed: 0)
        }
        for index in 0..<lane.bridge.frames.count {
            let ports = lane.bridge.frames.record(index).ports
            let count = lane.bridge.frames.frame(index).byteCount
            if ports.isEmpty || ports.rawValue > 3 { problems.append("a frame for ports \(ports.rawValue)") }
            if count < 14 || count > 65_550 { problems.append("a frame of \(count) octets") }
        }
        lane.drained()
        _ = lane.takeCrossed()
    }

    private static func check(_ datagram: [UInt8], _ counter: UInt64, _ number: UInt16, _ problems: inout [String]) {
        // What control asks for through others has R set, and all its hops before it.
        let hasFlags = datagram[1] == 0 || datagram[1] == SealedLayout.routed | SealedLayout.hopLimit
        if datagram[0] != DatagramKind.sealed.rawValue || !hasFlags || datagram[2..<4] != octets(number)[...] {
            problems.append("a datagram of another origin")
        }
        guard let key = SessionKey(.chacha20poly1305, LaneBench.key.forLane(number)) else { return }
        var copy = datagram
        if !copy.withMutableRawSpan({ key.open(&$0, counter: counter) }) { problems.append("a datagram that does not open") }
    }
}
