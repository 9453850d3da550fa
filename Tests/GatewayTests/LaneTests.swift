// One lane alone, with keys that the test knows: authentic datagrams whose contents are nonsense, batches as large as a kernel
// hands over, and answers that do not fit.

import Basics
import Buffers
import Testing

@testable import Gateway
@testable import Tunnels

final class LoneLane {
    static let key = Key256((0..<32).map { UInt8($0) })
    static let source = Endpoint(ipv4: 0x0A00_0009, port: 1)
    static let stream: UInt32 = 0x0001_2003 << 12 | 5

    let mailbox: LaneMailbox
    var lane: LaneCore
    private let seals: SessionKey
    private(set) var counter: UInt64 = 0
    private var generation: UInt64 = 0

    init(ports: Int = 2, coalescing: PortSet = .none, udp: PortSet = .none) {
        var random = SeededRandom(seed: 1)
        mailbox = testMailbox(ports: ports, peers: 1)
        var configuration = LaneConfiguration(ports: ports, peers: 1, macLimit: 256)
        configuration.coalescing = coalescing
        configuration.coalescingUDP = udp
        lane = LaneCore(configuration, mailbox: mailbox, secret: HashSecret(using: &random))
        seals = SessionKey(.chacha20poly1305, LoneLane.key.forLane(0))!
        install()
        // The sign of life under the new key.
        lane.finishBatch(at: .zero)
        lane.drained()
    }

    /// As control would; `isConfirmed` as for an initiator.
    func install(isConfirmed: Bool = true, peer: Int = 0, stream: UInt32 = LoneLane.stream) {
        generation += 1
        let installation = SessionInstallation(
            peer: PeerIndex(peer), localStream: stream, remoteStream: 77, sendKey: LoneLane.key, receiveKey: LoneLane.key,
            cipher: .chacha20poly1305, isConfirmed: isConfirmed, endpoint: LoneLane.source, generation: generation,
            renewAfter: 1 << 32)
        #expect(mailbox.commands.push(.install(installation)))
        lane.handleCommands(at: .zero)
    }

    /// An authentic datagram with that text.
    func datagram(_ text: [UInt8], counter chosen: UInt64? = nil) -> [UInt8] {
        let number = chosen ?? counter
        if chosen == nil { counter += 1 }
        var bytes: [UInt8] = [4, 0, 0, 0] + bigEndian(LoneLane.stream) + bigEndian(number) + text
        bytes += [UInt8](repeating: 0, count: 16)
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        seals.seal(&raw, counter: number)
        return bytes
    }

    func handle(_ bytes: [UInt8], segmentSize: Int? = nil, at now: Instant = .zero) {
        var bytes = bytes
        let size = segmentSize ?? max(bytes.count, 1)
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        lane.handleDatagrams(&raw, segmentSize: size, from: LoneLane.source, at: now)
    }

    func drain(at now: Instant = .zero) -> [[UInt8]] {
        lane.finishBatch(at: now)
        var frames: [[UInt8]] = []
        for index in 0..<lane.bridge.frames.count { frames.append(Array(copying: lane.bridge.frames.frame(index))) }
        lane.drained()
        return frames
    }

    subscript(reason: DropReason) -> UInt64 { lane.bridge.counters[reason] }
}

@Suite struct LaneTests {
    private func record(_ frame: [UInt8], kind: UInt8 = 0) -> [UInt8] {
        [kind << 6 | UInt8(frame.count >> 8), UInt8(frame.count & 255)] + frame
    }

    @Test func authenticFramesAreDelivered() {
        let lone = LoneLane()
        let frames = (0..<5 as Range<UInt32>).map { testFrame(to: .broadcast, from: host(1), number: $0, count: 60 + Int($0)) }
        lone.handle(lone.datagram([0, 0] + frames.flatMap { record($0) }))
        #expect(lone.drain() == frames)
        // Control records and kinds to come are passed over; the frames among them are not.
        lone.handle(
            lone.datagram([0, 0] + record([1, 2, 3], kind: 1) + record(frames[0]) + record([9], kind: 3) + record(frames[1])))
        #expect(lone.drain() == [frames[0], frames[1]])
        #expect(lone[.malformedPacking] == 0)
    }

    @Test func framesInsideThatAreNoFramesAreCounted() {
        let lone = LoneLane()
        let reserved = testFrame(to: MACAddress(rawValue: 0x0180_C200_0002), from: host(1))
        let long = testFrame(to: .broadcast, from: host(1), count: 9_217)
        let text = [0, 0] + record([1]) + record(reserved)
        lone.handle(lone.datagram(text))
        // The oversized frame in three datagrams.
        let body = record(long)
        lone.handle(lone.datagram([0, 0] + body[..<4_000]))
        lone.handle(lone.datagram(bigEndian(UInt16(body.count - 4_000)) + body[4_000..<8_000]))
        lone.handle(lone.datagram(bigEndian(UInt16(body.count - 8_000)) + body[8_000...]))
        #expect(lone.drain().isEmpty)
        #expect(lone[.runt] == 1 && lone[.linkConstrained] == 1 && lone[.oversized] == 1)
        #expect(lone.lane.bridge.macs.count == 0)
    }

    /// Random text under the right seal: never a trap, and no frame that is longer than what came.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func nonsenseUnderTheRightSeal(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let lone = LoneLane()
        var now = Instant.zero
        for _ in 0..<3_000 {
            var text = (0..<Int(random.next() % 300)).map { _ in UInt8(truncatingIfNeeded: random.next() >> 9) }
            if text.count > 4, random.next() % 2 == 0 {
                text[0] = 0
                text[1] = UInt8(random.next() % 8) * 20
                text[2] = 0
            }
            lone.handle(lone.datagram(text), at: now)
            now = now + .milliseconds(Int64(random.next() % 20))
            if lone.lane.nextTimeout <= now { lone.lane.handleTimeout(at: now) }
            for frame in lone.drain(at: now) { #expect(frame.count >= 14 && frame.count <= Limits.frameBytes) }
            lone.lane.bridge.macs.checkInvariants()
        }
        #expect(lone[.authenticationFailed] == 0 && lone[.replayed] == 0)
        while lone.mailbox.events.pop() != nil {}
    }

    @Test func theLastCountersOfAStream() {
        let lone = LoneLane()
        let frame = testFrame(to: .broadcast, from: host(1))
        for (counter, taken): (UInt64, Bool) in [
            (.max - 1, true), (.max, false), (.max - 1, false), (.max - 2, true), (0, false),
        ] {
            lone.handle(lone.datagram([0, 0] + record(frame), counter: counter))
            #expect(lone.drain().count == (taken ? 1 : 0), "\(counter)")
        }
        #expect(lone[.replayed] == 3)
    }

    /// 64 KiB of the smallest frames in one call, when the arena is as full as `wantsDrain` lets it be.
    @Test(arguments: [14, 60, 1_400])
    func aFullBatchFitsUntilTheLaneWantsToBeDrained(_ size: Int) {
        let small = record(Array(testFrame(to: .broadcast, from: host(1), count: size).prefix(size)))
        var text: [UInt8] = [0, 0]
        for _ in 0..<((1_472 - 34) / small.count) { text += small }
        let count = text.count + 32
        let perBatch = 65_507 / count
        var singles = 0
        let first = LoneLane()
        while !first.lane.wantsDrain && singles < 100_000 {
            first.handle(first.datagram(text))
            singles += 1
        }
        #expect(first[.deliverFull] == 0 && singles > perBatch)
        let second = LoneLane()
        for _ in 0..<max(singles - 1, 0) { second.handle(second.datagram(text)) }
        second.handle((0..<perBatch).flatMap { _ in second.datagram(text) }, segmentSize: count)
        #expect(second[.deliverFull] == 0)
    }

    @Test func runsOfDatagramsAreTakenApart() {
        let lone = LoneLane()
        let frames = (0..<10 as Range<UInt32>).map { testFrame(to: .broadcast, from: host(1), number: $0) }
        let run = frames.flatMap { lone.datagram([0, 0] + record($0)) }
        lone.handle(run + lone.datagram([0, 0]), segmentSize: run.count / 10)
        #expect(lone.drain() == frames)
        lone.handle([], segmentSize: 1)
        lone.handle([4], segmentSize: 1)
        lone.handle([0, 3, 5, 255], segmentSize: 1)
        lone.handle([UInt8](repeating: 4, count: 31))
        lone.handle([1] + [UInt8](repeating: 0, count: DatagramKind.handshakeLimit))
        // A cookie reply and an annex of one octet are control's to refuse.
        #expect(lone[.malformedDatagram] == 5)
        lone.handle([UInt8](repeating: 4, count: 32))
        #expect(lone[.unknownStream] == 1)
    }

    @Test func streamsThatDoNotExist() {
        let lone = LoneLane()
        var bytes = lone.datagram([0, 0])
        for stream: UInt32 in [0, 5, LoneLane.stream ^ 1, LoneLane.stream ^ 0x8000_0000, .max, 15, 16] {
            bytes.replaceSubrange(4..<8, with: bigEndian(stream))
            lone.handle(bytes)
        }
        #expect(lone[.unknownStream] == 7 && lone.drain().isEmpty)
    }

    /// Commands for peers and streams that do not exist are passed over.
    @Test func commandsThatNameNothing() {
        let lone = LoneLane()
        lone.install(peer: 7, stream: 0xFFFF_FFFF)
        lone.install(peer: 1)
        for command: LaneCommand in [.retire(stream: 0), .retire(stream: .max), .setPeer(PeerIndex(9), isUp: true)] {
            #expect(lone.mailbox.commands.push(command))
        }
        lone.lane.handleCommands(at: .zero)
        lone.lane.finishBatch(at: .zero)
        lone.lane.drained()
    }

    /// The mailbox is full in every direction: counted, nothing traps, and a listing goes on when there is room.
    @Test func aFullMailboxIsCounted() {
        let lone = LoneLane()
        var handshake = [UInt8](repeating: 0, count: 100)
        handshake[0] = 1
        for _ in 0..<5_000 { lone.handle(handshake) }
        let dropped = lone[.puntQueueFull]
        // 100 octets, and 44 around them in the queue.
        #expect(dropped == 5_000 - UInt64((1 << 19) / 144))
        #expect(lone.mailbox.commands.push(.listMACs(token: 3)))
        lone.lane.handleCommands(at: .zero)
        lone.handle(lone.datagram([0, 0] + record(testFrame(to: .broadcast, from: host(1)))))
        for step in 0..<20 { lone.lane.handleTimeout(at: .zero + .milliseconds(Int64(step))) }
        lone.lane.finishBatch(at: .zero)
        lone.lane.drained()
        var tokens: [UInt32] = []
        var rows = 0
        for step in 20..<60 {
            while let event = lone.mailbox.events.pop() {
                if case .macRow = event { rows += 1 }
                if case .macRowsEnd(let token) = event { tokens.append(token) }
            }
            lone.lane.handleTimeout(at: .zero + .milliseconds(Int64(step)))
            lone.lane.finishBatch(at: .zero)
            lone.lane.drained()
        }
        #expect(rows == 1 && tokens == [3])
    }

    @Test func punctualPublishing() {
        let lone = LoneLane()
        lone.handle([9])
        lone.lane.finishBatch(at: .zero)
        lone.lane.drained()
        lone.lane.handleTimeout(at: .zero + .milliseconds(10))
        #expect(lone.mailbox.board.load(lone.mailbox.layout.index(.malformedDatagram)) == 1)
        #expect(lone.mailbox.board.count == lone.mailbox.layout.count)
    }

    /// Every counter has a place of its own.
    @Test func theLayoutHasNoOverlaps() {
        let layout = CounterLayout(ports: 3, peers: 4)
        var places = DropReason.allCases.map { layout.index($0) } + LaneGauge.allCases.map { layout.index($0) }
        for port in 0..<3 { places += PortCounter.allCases.map { layout.index(PortIndex(port), $0) } }
        for peer in 0..<4 { places += PeerCounter.allCases.map { layout.index(PeerIndex(peer), $0) } }
        #expect(places.sorted() == Array(0..<layout.count))
    }

    @Test func streamIdentifiers() {
        for slot in [0, 1, 4_095] {
            for random: UInt32 in [0, 1, .max, 0xFFF, 0x1000] {
                let stream = StreamIdentifier.make(slot: slot, random: random)
                #expect(stream != 0 && StreamIdentifier.slot(of: stream) == slot)
            }
        }
        #expect(Limits.peers * StreamIdentifier.slotsPerPeer <= 4_096, "every place of every peer has a number")
    }
}
