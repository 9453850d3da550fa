// One lane with peers whose rates the test chooses, on a virtual clock of its own: what it sends, when, in which class, and how
// much that is on the wire. Frames are opened again, so that it is seen which ones left.

import Basics
import Buffers
import Testing

@testable import Gateway
@testable import Tunnels

/// A run as it left.
struct PacedRun {
    var at: Instant
    var peer: Int
    var trafficClass: TrafficClass
    var octet: UInt8
    /// Octets of IP packets.
    var wire: Int
    /// Flow and number of each frame that was completed.
    var frames: [(flow: UInt8, number: UInt32)]
}

final class PacedLane {
    static let key = Key256((0..<32).map { UInt8($0 + 7) })

    let mailbox: LaneMailbox
    var lane: LaneCore
    private(set) var now = Instant.zero
    private(set) var runs: [PacedRun] = []
    private let opens = SessionKey(.chacha20poly1305, PacedLane.key.forLane(0))!
    private var reassemblers: FixedArray<Reassembler>
    /// Whether frames are opened again; without it only sizes are seen.
    var opensDatagrams = true

    init(rates: [UInt64], pathMTU: Int = 1_500, classes: ClassMap = ClassMap()) {
        var random = SeededRandom(seed: 1)
        mailbox = testMailbox(ports: 1, peers: rates.count)
        var configuration = LaneConfiguration(ports: 1, peers: rates.count, macLimit: 256, pathMTU: pathMTU)
        configuration.isSnooping = false
        configuration.keepalive = .seconds(60)
        configuration.rates = rates
        configuration.classes = classes
        lane = LaneCore(configuration, mailbox: mailbox, secret: HashSecret(using: &random))
        reassemblers = FixedArray(count: rates.count) { _ in
            var reassembler = Reassembler(datagramSize: 9_216)
            reassembler.open()
            return reassembler
        }
        for peer in rates.indices { install(peer) }
        flush()
        runs = []
    }

    private func install(_ peer: Int) {
        let stream = StreamIdentifier.make(slot: peer * StreamIdentifier.slotsPerPeer, random: 0x5555_5000)
        let installation = SessionInstallation(
            peer: PeerIndex(peer), localStream: stream, remoteStream: UInt32(peer), sendKey: PacedLane.key,
            receiveKey: PacedLane.key, cipher: .chacha20poly1305, isConfirmed: true,
            endpoint: Endpoint(ipv4: 0x0A00_0009 + UInt32(peer), port: 1), generation: 1, renewAfter: 1 << 40)
        #expect(mailbox.commands.push(.install(installation)))
        lane.handleCommands(at: now)
    }

    func command(_ command: LaneCommand) {
        #expect(mailbox.commands.push(command))
        lane.handleCommands(at: now)
    }

    /// A frame of the batch in hand.
    func handle(_ frame: [UInt8]) {
        if lane.wantsDrain { flush() }
        var bytes = frame
        bytes.withMutableRawSpan { lane.handleFrame(&$0, offload: .none, on: PortIndex(0), at: now) }
    }

    /// Lets time pass until `end`; what waits leaves when the lane says so.
    func run(until end: Instant) {
        flush()
        for _ in 0..<2_000_000 {
            let next = lane.nextTimeout
            if next > end { break }
            now = max(now, next)
            lane.handleTimeout(at: now)
            flush()
        }
        now = max(now, end)
        while mailbox.events.pop() != nil {}
    }

    /// Ends the batch and takes what it has come to.
    func flush() {
        lane.finishBatch(at: now)
        for index in 0..<lane.transmits {
            let run = lane.transmit(at: index)
            var frames: [(flow: UInt8, number: UInt32)] = []
            if opensDatagrams {
                for start in stride(from: 0, to: run.byteCount, by: run.segmentSize) {
                    let end = min(start + run.segmentSize, run.byteCount)
                    frames += open(Array(copying: lane.transmitBytes(at: index).extracting(start..<end)), run.peer.index)
                }
            }
            runs.append(
                PacedRun(
                    at: now, peer: run.peer.index, trafficClass: run.trafficClass, octet: run.octet,
                    wire: run.byteCount + run.datagrams * 28, frames: frames))
        }
        lane.drained()
    }

    private func open(_ datagram: [UInt8], _ peer: Int) -> [(flow: UInt8, number: UInt32)] {
        let counter = datagram[8..<16].reduce(0) { $0 << 8 | UInt64($1) }
        let text = opened(opens, datagram, counter: counter)
        return text.map { unpack($0, counter, &reassemblers[peer]) } ?? []
    }

    private func unpack(_ text: [UInt8], _ counter: UInt64, _ reassembler: inout Reassembler) -> [(flow: UInt8, number: UInt32)] {
        var found: [[UInt8]] = []
        let span = unsafe text.span.bytes
        guard var cursor = reassembler.begin(span, stream: 1, counter: counter, at: now) else { return [] }
        while let (_, count) = reassembler.join(stream: 1, counter: counter, at: now) {
            found.append(Array(copying: reassembler.joinedRecord(count)))
        }
        loop: while true {
            switch reassembler.next(&cursor, span, stream: 1, counter: counter, at: now) {
            case .record(_, let offset, let count): found.append(Array(text[offset..<(offset + count)]))
            case .partial:
                while let (_, count) = reassembler.join(stream: 1, counter: counter, at: now) {
                    found.append(Array(copying: reassembler.joinedRecord(count)))
                }
            case .skipped: break
            case .malformed, .end: break loop
            }
        }
        return found.compactMap { flowAndNumber($0) }
    }

    /// The text of a datagram; `nil` if its seal does not open.
    private func opened(_ key: borrowing SessionKey, _ datagram: [UInt8], counter: UInt64) -> [UInt8]? {
        var bytes = datagram
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        guard key.open(&raw, counter: counter) else { return nil }
        return Array(bytes[SealedLayout.headerBytes..<(bytes.count - SealedLayout.tagBytes)])
    }

    /// A segment of control's for a peer.
    func pushSegment(_ peer: Int) {
        let segment: [UInt8] = [1, 2, 3, 4]
        let isIn = unsafe mailbox.outbound.push(segment.span.bytes, tag: QueuedBytes.segment(PeerIndex(peer)).tag)
        #expect(isIn)
        lane.handleCommands(at: now)
    }

    /// Octets of frames that wait for a peer's rate.
    func waiting(_ peer: Int) -> Int { lane.bridge.pacers[peer].waiting }

    /// Forgets what has left.
    func forgetRuns() { runs = [] }

    subscript(reason: DropReason) -> UInt64 { lane.bridge.counters[reason] }
    subscript(peer: Int, counter: PeerCounter) -> UInt64 { lane.bridge.counters[PeerIndex(peer), counter] }
}
