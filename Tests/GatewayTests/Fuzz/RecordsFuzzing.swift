// Opened text of several datagrams in front of one reassembler: counters that jump, come twice or go back, two streams, time.
//
//     | size | then for each datagram: flags, counter's step, milliseconds, length (16 bit), octets |

import Basics
import Buffers
import Tunnels

enum RecordsFuzzing {
    private static let mostDatagrams = 200

    static func run(_ input: [UInt8]) -> [String] {
        var reader = OctetReader(input)
        let size = 64 + Int(reader.byte()) * 8
        var reassembler = Reassembler(datagramSize: size)
        reassembler.open()
        var problems: [String] = []
        var counters: [UInt64] = [1 << 20, UInt64.max - 40]
        var now = Instant.zero
        var (handled, given) = (0, 0)
        while !reader.isAtEnd, handled < mostDatagrams, problems.isEmpty {
            handled += 1
            let flags = reader.byte()
            let stream = Int(flags & 1)
            let step = UInt64(truncatingIfNeeded: Int(Int8(bitPattern: reader.byte())))
            // Mostly the next one.
            counters[stream] = counters[stream] &+ (flags & 2 == 0 ? 1 : step)
            now = now + .milliseconds(Int64(flags & 4 == 0 ? 0 : reader.byte()))
            let text = reader.block()
            let before = reassembler.lost
            let octets = text.withRawSpan {
                take($0, &reassembler, UInt32(stream + 1), counters[stream], mark: flags >> 6, now, &problems)
            }
            given += octets
            if reassembler.lost < before { problems.append("losses were taken back") }
            if flags & 8 != 0 { reassembler.handleTimeout(at: now) }
        }
        // Whatever is given was there once, and what is counted as lost had an octet.
        if given > input.count { problems.append("\(given) octets of records from \(input.count)") }
        if reassembler.lost > 2 * UInt64(handled) { problems.append("\(reassembler.lost) lost in \(handled) datagrams") }
        reassembler.handleTimeout(at: now + .seconds(1))
        if reassembler.isWaiting { problems.append("pieces wait for ever") }
        return problems
    }

    /// - Returns: octets of records that came of it.
    private static func take(
        _ text: RawSpan, _ reassembler: inout Reassembler, _ stream: UInt32, _ counter: UInt64, mark: UInt8, _ now: Instant,
        _ problems: inout [String]
    ) -> Int {
        guard var cursor = reassembler.begin(text, stream: stream, counter: counter, at: now) else { return 0 }
        reassembler.note(mark: mark, stream: stream, counter: counter)
        var octets = 0
        var joins = 0
        func join() {
            while let (_, count) = reassembler.join(stream: stream, counter: counter, at: now) {
                joins += 1
                octets += count
                if count == 0 || count > Int(PackingLayout.lengthMask) { problems.append("a joined record of \(count) octets") }
                if reassembler.joinedRecord(count).byteCount != count { problems.append("a joined record is shorter") }
                if joins > 2 { return problems.append("more than two joined records of one datagram") }
            }
        }
        join()
        var ahead = cursor
        while ahead.skim(text) != nil {}
        for _ in 0...text.byteCount {
            switch reassembler.next(&cursor, text, stream: stream, counter: counter, at: now) {
            case .record(_, let offset, let count):
                octets += count
                if count == 0 || offset < PackingLayout.headerBytes || offset + count > text.byteCount {
                    problems.append("a record at \(offset) of \(count) octets in \(text.byteCount)")
                }
            case .skipped: break
            case .partial:
                reassembler.note(mark: mark, stream: stream, counter: counter)
                join()
            case .malformed: return octets
            case .end: return octets
            }
        }
        problems.append("a datagram's records do not end")
        return octets
    }
}
