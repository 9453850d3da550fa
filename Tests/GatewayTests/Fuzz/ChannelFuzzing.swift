// Two ends of a control channel under a little program: messages and new streams on either side, segments that are carried, lost
// or carried twice, and segments of every kind that neither has made. Memory stays bounded, nothing asks for a time that has
// passed for ever, and what the parser takes can be written.

import Basics
import Buffers
import Tunnels

enum ChannelFuzzing {
    private static let mostSteps = 200
    private static let (queue, message, segment) = (4, 700, 128)
    /// Of one end: messages that wait, that were not fetched, and segments in their windows, which a stranger makes as long as
    /// the longest block.
    private static let mostKept = (queue + queue + 64 + 1) * message + 64 * segment + 64 * 2_048

    static func run(_ input: [UInt8]) -> [String] {
        var program = Program(OctetReader(input))
        var steps = 0
        while !program.reader.isAtEnd, steps < mostSteps, program.problems.isEmpty {
            program.step()
            steps += 1
        }
        return program.problems.map { "after step \(steps): \($0)" }
    }

    private struct Program {
        var reader: OctetReader
        var problems: [String] = []
        private var ends = (0..<2).map { _ in
            ControlChannel(maximumSegment: segment, window: 16, queueLimit: queue, messageLimit: message)
        }
        private var now = Instant(nanoseconds: 1_000_000_000)

        init(_ reader: OctetReader) { self.reader = reader }

        mutating func step() {
            let choice = reader.byte()
            let end = Int(choice >> 7)
            switch choice & 0x0F {
            case 0: handle(reader.block(), end)
            case 1:
                let sequence = number()
                let oldest = reader.byte() & 1 == 0 ? min(sequence, number()) : 0
                let segment = ControlSegment.data(
                    stream: stream(), sequence: sequence, oldest: oldest, isLast: choice & 0x10 != 0, payload: reader.block())
                handle(segment.encoded, end)
            case 2:
                let bitmap = UInt64(reader.word()) << 48 | UInt64(reader.word())
                handle(ControlSegment.ack(stream: stream(), next: number(), bitmap: bitmap).encoded, end)
            case 3: handle(ControlSegment.reset(stream: stream(), newest: stream()).encoded, end)
            case 4: handle(ControlSegment.probe(stream: stream(), oldest: number()).encoded, end)
            case 5: _ = ends[end].send([UInt8](repeating: choice, count: reader.word() % (message + 2)), at: now)
            case 6: ends[end].begin(stream: stream(), at: now)
            case 7: ends[end].forget(at: now)
            case 8: now = now + .milliseconds(Int64(reader.byte()))
            case 9: now = now + .milliseconds(Int64(reader.word()))
            case 10: carry(from: end, lost: reader.byte(), twice: reader.byte())
            case 11: while ends[end].pollEvent() != nil {}
            default: carry(from: end, lost: 0, twice: 0)
            }
            if choice & 0x40 != 0 { while ends[end].pollEvent() != nil {} }
            handleTimeouts()
            for end in ends where end.keptBytes > mostKept { problems.append("\(end.keptBytes) octets are kept") }
        }

        private mutating func stream() -> UInt64 {
            let choice = reader.byte()
            switch choice >> 6 {
            case 0: return UInt64(choice) + 1
            case 1: return min(max(ends[Int(choice & 1)].sendStream, 1) + UInt64(choice >> 1 & 1), 1 << 63 - 1)
            case 2: return max(ends[Int(choice & 1)].receiveStream, 1)
            default: return 1 << 63 - 1 - UInt64(choice & 0x1F)
            }
        }

        private mutating func number() -> UInt32 {
            let choice = reader.byte()
            return choice < 0xF0 ? UInt32(choice) : UInt32.max - UInt32(choice & 0x0F)
        }

        private mutating func handle(_ bytes: [UInt8], _ end: Int) {
            if let segment = ControlSegment(bytes), ControlSegment(segment.encoded) != segment {
                problems.append("a segment is not read back")
            }
            bytes.withRawSpan { ends[end].handleSegment($0, at: now) }
        }

        private mutating func carry(from end: Int, lost: UInt8, twice: UInt8) {
            for place in 0..<500 {
                guard let bytes = ends[end].pollSegment(at: now) else { return }
                if bytes.count > segment { problems.append("a segment of \(bytes.count) octets") }
                if ControlSegment(bytes) == nil { problems.append("a segment that is none") }
                if lost >> UInt8(place & 7) & 1 != 0 { continue }
                for _ in 0...(twice >> UInt8(place & 7) & 1) { bytes.withRawSpan { ends[1 - end].handleSegment($0, at: now) } }
            }
            problems.append("the segments do not end")
        }

        private mutating func handleTimeouts() {
            for end in 0..<2 where ends[end].nextTimeout <= now {
                ends[end].handleTimeout(at: now)
                carry(from: end, lost: reader.byte(), twice: 0)
                if ends[end].nextTimeout <= now { problems.append("a time that has passed is asked for") }
            }
        }
    }
}
