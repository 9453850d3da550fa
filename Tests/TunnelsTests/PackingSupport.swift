// A stream for the packing tests: frames in at one end, sealed datagrams in the middle, frames out at the other end. And a
// second, plain reading of the packed form, to say which datagrams each frame touches.

import Basics
import Buffers
import Testing

@testable import Tunnels

/// One datagram of a stream, as tests move it about.
struct Packed {
    var counter: UInt64
    var bytes: [UInt8]
}

/// The sending end.
final class PackingEnd {
    static let key = Key256((0..<32).map { UInt8($0) })
    static let stream: UInt32 = 0xABCD_E001

    private var packer: Packer
    private var sender: StreamSender
    private(set) var drained: [Packed] = []
    private let capacity: Int

    init(datagramSize: Int, capacity: Int = 192 * 1024, renewAfter: UInt64 = StreamSender.hardLimit) throws {
        self.capacity = capacity
        packer = Packer(datagramSize: datagramSize, capacity: capacity)
        sender = StreamSender(
            key: try sessionKey(.chacha20poly1305, PackingEnd.key), stream: PackingEnd.stream, originTag: 7,
            renewAfter: renewAfter)
    }

    var nextCounter: UInt64 { sender.counter }
    var datagramSize: Int { packer.datagramSize }

    func append(_ frame: [UInt8], kind: RecordKind = .frame) -> Bool {
        let span = frame.span
        return unsafe packer.append(span.bytes, kind: kind, sender: &sender)
    }

    func appendEmpty() -> Bool { packer.appendEmpty(sender: &sender) }
    func hasRoom(for bytes: Int) -> Bool { packer.hasRoom(for: bytes) }
    func takeRenewalDue() -> Bool {
        guard sender.isRenewalDue else { return false }
        sender.noteRenewalSaid()
        return true
    }

    /// Ends the batch. Returns its datagrams; all but the last are full.
    @discardableResult
    func drain() -> [Packed] {
        packer.finish(sender: &sender)
        var run: [Packed] = []
        let all = Array(copying: packer.finished())
        #expect(all.count == packer.finishedBytes && all.count <= capacity)
        for start in stride(from: 0, to: all.count, by: packer.datagramSize) {
            let bytes = Array(all[start..<min(start + packer.datagramSize, all.count)])
            run.append(Packed(counter: integer(bytes[8..<16]), bytes: bytes))
        }
        packer.removeAll()
        drained += run
        return run
    }

    /// Packs frames, draining when there is no room.
    func pack(_ frames: some Sequence<[UInt8]>) {
        for frame in frames where !append(frame) {
            drain()
            let isIn = append(frame)
            #expect(isIn, "an empty packer takes any frame")
        }
        drain()
    }
}

/// The receiving end: opens, refuses what the replay window refuses, and unpacks, as the lane does.
final class UnpackingEnd {
    private var reassembler: Reassembler
    private var window = ReplayWindow()
    private let key: SessionKey
    private(set) var malformed = 0
    private(set) var skipped = 0
    private(set) var refused = 0

    init(datagramSize: Int = Limits.frameBytes) throws {
        reassembler = Reassembler(datagramSize: datagramSize)
        reassembler.open()
        key = try sessionKey(.chacha20poly1305, PackingEnd.key)
    }

    var lost: UInt64 { reassembler.lost }
    var isWaiting: Bool { reassembler.isWaiting }
    func handleTimeout(at now: Instant) { reassembler.handleTimeout(at: now) }

    func handle(_ datagram: Packed, at now: Instant = .zero) -> [[UInt8]] {
        guard window.accepts(datagram.counter), let text = opened(key, datagram.bytes, counter: datagram.counter) else {
            refused += 1
            return []
        }
        window.mark(datagram.counter)
        return unpack(text, stream: PackingEnd.stream, counter: datagram.counter, at: now)
    }

    /// Records of any kind, in the order they come out.
    func unpack(_ text: [UInt8], stream: UInt32, counter: UInt64, at now: Instant) -> [[UInt8]] {
        var out: [[UInt8]] = []
        let span = unsafe text.span.bytes
        guard var cursor = reassembler.begin(span, stream: stream, counter: counter, at: now) else {
            malformed += 1
            return []
        }
        joinAll(stream, counter, now, &out)
        // Each step takes at least two octets.
        for _ in 0...(text.count / 2 + 1) {
            switch reassembler.next(&cursor, span, stream: stream, counter: counter, at: now) {
            case .record(_, let offset, let count):
                #expect(count > 0 && offset + count <= text.count)
                out.append(Array(text[offset..<(offset + count)]))
            case .skipped: skipped += 1
            case .partial: joinAll(stream, counter, now, &out)
            case .malformed:
                malformed += 1
                return out
            case .end: return out
            }
        }
        Issue.record("a datagram's records do not end")
        return out
    }

    private func joinAll(_ stream: UInt32, _ counter: UInt64, _ now: Instant, _ out: inout [[UInt8]]) {
        for _ in 0..<3 {
            guard let (_, count) = reassembler.join(stream: stream, counter: counter, at: now) else { return }
            #expect(count > 0 && count <= Int(PackingLayout.lengthMask))
            out.append(Array(copying: reassembler.joinedRecord(count)))
        }
        Issue.record("more than two records were joined by one datagram")
    }
}

/// A record, as the plain reading finds it: its octets, and the counters of the first and the last datagram it touches.
struct PlainRecord {
    var bytes: [UInt8]
    var first: UInt64
    var last: UInt64
}

/// Reads a whole, undamaged stream as its picture says: one body after the other, padding left out.
func readPlainly(_ datagrams: [Packed]) throws -> [PlainRecord] {
    let key = try sessionKey(.chacha20poly1305, PackingEnd.key)
    var records: [PlainRecord] = []
    var missing = 0
    for datagram in datagrams {
        let text = try present(opened(key, datagram.bytes, counter: datagram.counter))
        let offset = Int(text[0]) << 8 | Int(text[1])
        #expect(offset == missing, "the packing header says how much of the record before is still to come")
        var position = 2
        while position < text.count {
            if missing == 0 {
                if position + 2 > text.count { break }
                let word = Int(text[position]) << 8 | Int(text[position + 1])
                if word == 0 { break }
                missing = word & 0x3FFF
                position += 2
                #expect(position < text.count, "a record starts only where one octet fits")
                records.append(PlainRecord(bytes: [], first: datagram.counter, last: datagram.counter))
            }
            let part = min(missing, text.count - position)
            records[records.count - 1].bytes += text[position..<(position + part)]
            records[records.count - 1].last = datagram.counter
            position += part
            missing -= part
        }
    }
    #expect(missing == 0)
    return records
}

/// Frames whose contents depend on a number, cut from one block of random octets.
struct FrameSource {
    private let block: [UInt8]

    init(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        block = randomBytes(Limits.frameBytes + 256, &random)
    }

    /// The number first, as far as it fits, then a window of the block that depends on it.
    func frame(_ number: Int, count: Int) -> [UInt8] {
        let start = number % 251
        return Array((bigEndian(UInt32(truncatingIfNeeded: number)) + block[start..<(start + count)]).prefix(count))
    }
}
