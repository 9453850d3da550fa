// Probes and replies in a lane when there are more of them than one batch takes: nobody takes another's place.

import Basics
import Buffers
import Testing

@testable import Gateway
@testable import Tunnels

@Suite struct ProbeOutboxTests {
    private static let key = Key256((0..<32).map { UInt8($0) })
    private static let source = Endpoint(ipv4: 0x0A00_0009, port: 1)

    private func stream(of peer: Int) -> UInt32 {
        StreamIdentifier.make(slot: peer * StreamIdentifier.slotsPerPeer, random: 0xABCD_0000)
    }

    /// A lane whose peers have confirmed sessions, drained.
    private func makeLane(_ mailbox: LaneMailbox, peers: Int) -> LaneCore {
        var random = SeededRandom(seed: 1)
        var lane = LaneCore(
            LaneConfiguration(ports: 1, peers: peers, macLimit: 64), mailbox: mailbox, secret: HashSecret(using: &random))
        for peer in 0..<peers {
            let isPushed = mailbox.commands.push(
                .install(
                    SessionInstallation(
                        peer: PeerIndex(peer), localStream: stream(of: peer), remoteStream: 77, sendKey: ProbeOutboxTests.key,
                        receiveKey: ProbeOutboxTests.key, cipher: .chacha20poly1305, isConfirmed: true,
                        endpoint: ProbeOutboxTests.source, generation: 1, renewAfter: 1 << 32)))
            #expect(isPushed)
        }
        lane.handleCommands(at: .zero)
        lane.finishBatch(at: .zero)
        lane.drained()
        return lane
    }

    /// Requests of a peer's, in one datagram.
    private func requests(_ count: Int, of peer: Int, counter: UInt64 = 0) throws -> [UInt8] {
        guard let key = SessionKey(.chacha20poly1305, ProbeOutboxTests.key.forLane(0)) else { throw CancellationError() }
        var bytes: [UInt8] = [4, 0, 0, 0] + bigEndian(stream(of: peer)) + bigEndian(counter) + [0, 0]
        for number in 0..<UInt32(count) { bytes += [0x80, 8, 1, 0, 0, 0] + bigEndian(number) }
        bytes += [UInt8](repeating: 0, count: 16)
        bytes.withMutableRawSpan { key.seal(&$0, counter: counter) }
        return bytes
    }

    /// How many probes and replies wait to be sent, by peer.
    private func waiting(_ lane: borrowing LaneCore, peers: Int) -> [Int] {
        var counts = [Int](repeating: 0, count: peers)
        for index in 0..<lane.transmits {
            let run = lane.transmit(at: index)
            if run.byteCount == ProbeRecord.datagramBytes { counts[run.peer.index] += 1 }
        }
        return counts
    }

    /// One peer asks as much as a datagram holds, many times over, in front of all others.
    @Test func whoAsksWithoutEndTakesNoOthersReplies() throws {
        let mailbox = testMailbox(ports: 1, peers: 80)
        var lane = makeLane(mailbox, peers: 80)
        for counter in 0..<3 as Range<UInt64> {
            var bytes = try requests(140, of: 0, counter: counter)
            bytes.withMutableRawSpan { lane.handleDatagram(&$0, from: ProbeOutboxTests.source, at: .zero) }
        }
        for peer in 1..<80 {
            var bytes = try requests(1, of: peer)
            bytes.withMutableRawSpan { lane.handleDatagram(&$0, from: ProbeOutboxTests.source, at: .zero) }
        }
        lane.finishBatch(at: .zero)
        #expect(waiting(lane, peers: 80) == [16] + [Int](repeating: 1, count: 79))
        #expect(lane.bridge.counters[.probesFull] == 3 * 140 - 16)
        lane.drained()
        // The next batch has places again.
        var bytes = try requests(2, of: 0, counter: 3)
        bytes.withMutableRawSpan { lane.handleDatagram(&$0, from: ProbeOutboxTests.source, at: .zero) }
        lane.finishBatch(at: .zero)
        #expect(waiting(lane, peers: 80)[0] == 2)
    }

    /// More probes of control's than one batch takes: the rest leaves soon after, in its order, beside replies.
    @Test func probesOfControlWait() throws {
        let mailbox = testMailbox(ports: 1, peers: 80)
        var lane = makeLane(mailbox, peers: 80)
        for number in 0..<160 as Range<UInt32> {
            #expect(mailbox.commands.push(.probe(PeerIndex(Int(number) % 80), number: number, size: 0, losses: 0)))
        }
        lane.handleCommands(at: .zero)
        var bytes = try requests(9, of: 3)
        bytes.withMutableRawSpan { lane.handleDatagram(&$0, from: ProbeOutboxTests.source, at: .zero) }
        var numbers: [UInt32] = []
        var now = Instant.zero
        while numbers.count < 160 && now < .zero + .milliseconds(1) {
            lane.finishBatch(at: now)
            for index in 0..<lane.transmits { if let number = lane.transmit(at: index).probe { numbers.append(number) } }
            if now == .zero { #expect(waiting(lane, peers: 80).reduce(0, +) == ProbeOutbox.requestLimit + 9) }
            lane.drained()
            now = max(lane.nextTimeout, now + .microseconds(1))
            lane.handleTimeout(at: now)
        }
        #expect(numbers == Array(0..<160))
        #expect(lane.bridge.counters[.probesFull] == 0)
        // What waits has an end, and what is beyond is counted.
        for number in 0..<1_000 as Range<UInt32> {
            #expect(mailbox.commands.push(.probe(PeerIndex(0), number: number, size: 0, losses: 0)))
            if number % 500 == 499 { lane.handleCommands(at: now) }
        }
        for number in 0..<900 as Range<UInt32> {
            #expect(mailbox.commands.push(.probe(PeerIndex(0), number: number, size: 0, losses: 0)))
        }
        lane.handleCommands(at: now)
        lane.finishBatch(at: now)
        #expect(lane.bridge.counters[.probesFull] == 1_900 - 80 * 16)
    }
}
