// Packing and unpacking with faults: whatever is lost, doubled, overtaken or invented, no frame comes out that did not go
// in, none twice, and every frame whose datagrams all arrived comes out.

import Basics
import Testing

@testable import Tunnels

@Suite struct PackingFaultTests {
    /// A stream that is never heard costs no memory, and one that is not open takes nothing.
    @Test func aReassemblerTakesDatagramsOnceItIsOpen() {
        var reassembler = Reassembler(datagramSize: 1_500)
        let text: [UInt8] = [0, 0, 0, 3, 7, 8, 9]
        func begins(_ text: [UInt8]) -> Bool {
            unsafe reassembler.begin(text.span.bytes, stream: 1, counter: 0, at: .zero) != nil
        }
        let early = begins(text) || begins([]) || reassembler.isWaiting
        #expect(!early)
        reassembler.handleTimeout(at: .zero + .seconds(1))
        let joined = reassembler.join(stream: 1, counter: 0, at: .zero) != nil
        let lost = reassembler.lost
        #expect(!joined && lost == 0)
        reassembler.open()
        // A continuation waits; opening again forgets nothing.
        let taken = (begins(text), begins([0, 9, 1, 2, 3]))
        #expect(taken == (true, true))
        reassembler.open()
        let isWaiting = reassembler.isWaiting
        #expect(isWaiting)
    }

    private struct Stream {
        var frames: [[UInt8]] = []
        var datagrams: [Packed] = []
        var records: [PlainRecord] = []

        init(seed: UInt64, size: Int, longest: Int) throws {
            var random = SeededRandom(seed: seed)
            let source = FrameSource(seed: seed)
            let end = try PackingEnd(datagramSize: size)
            while frames.count < 400 {
                var batch: [[UInt8]] = []
                for _ in 0..<(1 + Int(random.next() % 30)) {
                    batch.append(source.frame(frames.count + batch.count, count: 14 + Int(random.next() % UInt64(longest))))
                }
                frames += batch
                end.pack(batch)
            }
            datagrams = end.drained
            records = try readPlainly(datagrams)
        }
    }

    /// Delivers datagrams and checks what comes out. Returns the numbers of the frames.
    private func deliver(_ arrivals: [Packed], of stream: Stream, into other: UnpackingEnd) -> [Int] {
        var numbers: [Int] = []
        for (place, datagram) in arrivals.enumerated() {
            for frame in other.handle(datagram, at: Instant(nanoseconds: UInt64(place) * 1_000)) {
                let number = Int(frame.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
                let isRight = number < stream.frames.count && stream.frames[number] == frame
                #expect(isRight, "a frame that was not sent came out")
                numbers.append(number)
            }
        }
        #expect(Set(numbers).count == numbers.count, "a frame came out twice")
        return numbers
    }

    private static let cases: [(size: Int, longest: Int)] = [(548, 200), (548, 9_200), (1_472, 1_500), (1_252, 1_500)]

    @Test(arguments: 0..<4, 1...6 as ClosedRange<UInt64>)
    func dropsDuplicatesAndDisorder(_ which: Int, _ seed: UInt64) throws {
        let (size, longest) = PackingFaultTests.cases[which]
        let stream = try Stream(seed: seed, size: size, longest: longest)
        var random = SeededRandom(seed: seed &* 77)
        // Loss of none, few, a third or most; each datagram moves back by at most `reach` places.
        let loss: UInt32 = [0, 20_000, 300_000, 700_000][Int(seed % 4)]
        let reach = [1, 4, 20][Int(seed % 3)]
        var order: [(key: Double, datagram: Packed)] = []
        for (place, datagram) in stream.datagrams.enumerated() {
            if random.chance(millionths: loss) { continue }
            let copies = random.chance(millionths: 100_000) ? 2 : 1
            for _ in 0..<copies {
                order.append((Double(place) + Double.random(in: 0..<Double(reach), using: &random), datagram))
            }
        }
        let arrivals = order.sorted { $0.key < $1.key }.map(\.datagram)
        let other = try UnpackingEnd()
        let numbers = Set(deliver(arrivals, of: stream, into: other))
        let arrived = Set(arrivals.map(\.counter))
        var mustLose = 0
        for (number, record) in stream.records.enumerated() {
            let isWhole = (record.first...record.last).allSatisfy(arrived.contains)
            #expect(numbers.contains(number) == isWhole, "frame \(number) in \(record.first)...\(record.last)")
            if !isWhole { mustLose += 1 }
        }
        // Long after: nothing waits, and the count of lost frames is one for each that left a trace.
        other.handleTimeout(at: Instant(nanoseconds: 10_000_000_000))
        #expect(!other.isWaiting)
        let traced = stream.records.count { record in
            let touched = (record.first...record.last).map(arrived.contains)
            return touched.contains(false) && (touched.first == true || touched.last == true)
        }
        #expect(Int(other.lost) <= mustLose, "no frame is counted as lost twice")
        #expect(Int(other.lost) >= (reach == 1 ? traced : 0))
    }

    @Test func reversedWithinTheSlots() throws {
        let stream = try Stream(seed: 8, size: 548, longest: 3_000)
        var arrivals: [Packed] = []
        for start in stride(from: 0, to: stream.datagrams.count, by: 30) {
            arrivals += stream.datagrams[start..<min(start + 30, stream.datagrams.count)].reversed()
        }
        let other = try UnpackingEnd()
        #expect(Set(deliver(arrivals, of: stream, into: other)).count == stream.frames.count)
        #expect(other.lost == 0)
    }

    /// Reordering beyond what can be waited for costs frames, and never makes one.
    @Test func wildDisorder() throws {
        let stream = try Stream(seed: 9, size: 548, longest: 3_000)
        var random = SeededRandom(seed: 10)
        let other = try UnpackingEnd()
        let numbers = Set(deliver(stream.datagrams.shuffled(using: &random), of: stream, into: other))
        for (number, record) in stream.records.enumerated() where record.first == record.last {
            #expect(numbers.contains(number), "a frame that lies within one datagram never waits")
        }
        #expect(numbers.count < stream.frames.count)
    }

    /// Pieces wait at most `patience`, in at most `slots` places.
    @Test func piecesAreBounded() throws {
        let other = try UnpackingEnd()
        // Datagrams that hold the head of a frame whose end never comes.
        let head: [UInt8] = [0, 0, 0x05, 0xDC] + [UInt8](repeating: 1, count: 100)
        for counter in 0..<5_000 as Range<UInt64> {
            #expect(other.unpack(head, stream: 3, counter: counter, at: .zero).isEmpty)
        }
        #expect(other.lost == 5_000 - UInt64(Reassembler.slots))
        #expect(other.isWaiting)
        other.handleTimeout(at: .zero + Reassembler.patience)
        #expect(other.lost == 5_000 - UInt64(Reassembler.slots) && other.isWaiting)
        other.handleTimeout(at: .zero + Reassembler.patience + .nanoseconds(1))
        #expect(other.lost == 5_000 && !other.isWaiting)
        other.handleTimeout(at: .distantFuture)
        #expect(other.lost == 5_000)
    }

    /// The same counter under another stream is another datagram: keys change in the middle of traffic.
    @Test func piecesOfTwoStreamsAreNotMixed() throws {
        let other = try UnpackingEnd()
        let head: [UInt8] = [0, 0, 0x00, 0x06, 1, 2, 3]
        let rest: [UInt8] = [0, 3, 4, 5, 6]
        #expect(other.unpack(head, stream: 1, counter: 10, at: .zero).isEmpty)
        #expect(other.unpack(rest, stream: 2, counter: 11, at: .zero).isEmpty)
        #expect(other.unpack(rest, stream: 1, counter: 11, at: .zero) == [[1, 2, 3, 4, 5, 6]])
    }

    /// Authentic text from a peer that does not keep to the form: never a trap, never octets from beyond the text.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func inventedText(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let other = try UnpackingEnd()
        var counter: UInt64 = seed == 4 ? .max - 300 : 0
        for _ in 0..<4_000 {
            var text = randomBytes(Int(random.next() % 90), &random)
            // Mostly small offsets and lengths, so that pieces really meet.
            if random.next() % 4 != 0 {
                if text.count > 1 { (text[0], text[1]) = (0, UInt8(random.next() % 100)) }
                if text.count > 3 { text[2] &= UInt8(truncatingIfNeeded: random.next()) & 0x40 }
            }
            let now = Instant(nanoseconds: random.next() % 1_000_000_000)
            _ = other.unpack(text, stream: UInt32(random.next() % 2), counter: counter, at: now)
            counter &+= random.next() % 3
            if random.next() % 100 == 0 { other.handleTimeout(at: now) }
        }
    }

    @Test func extremeOffsetsAndLengths() throws {
        let extremes: [[UInt8]] = [
            [0, 0], [0, 1], [0x3F, 0xFF], [0x40, 0x00], [0x40, 0x01], [0x7F, 0xFF], [0x80, 0x01], [0xFF, 0xFF],
        ]
        let other = try UnpackingEnd()
        var counter: UInt64 = 0
        for offset in extremes {
            for length in extremes {
                for count in [0, 1, 2, 3, 40] {
                    for next in [0, 1, 63, 64, 65, UInt64.max - 1] {
                        let text = offset + length + [UInt8](repeating: 0xFF, count: count)
                        _ = other.unpack(text, stream: 1, counter: counter &+ next, at: .zero)
                    }
                    counter += 3
                }
            }
        }
    }

    /// A continuation at counter 0 has nothing before it, whatever its header says.
    @Test func continuationBeforeTheFirstDatagram() throws {
        let other = try UnpackingEnd()
        #expect(other.unpack([0, 0, 0, 9, 1, 2], stream: 1, counter: .max, at: .zero).isEmpty)
        #expect(other.unpack([0, 2, 1, 2], stream: 1, counter: 0, at: .zero).isEmpty)
        #expect(other.unpack([0, 9, 1, 2], stream: 1, counter: 64, at: .zero).isEmpty)
    }

    /// The same for one in the middle, of which only the announced rest is wrong.
    /// A record over the end of the counters, which no replay window lets through: it is joined, or not, and that is all.
    @Test func acrossTheEndOfTheCounters() {
        var reassembler = Reassembler(datagramSize: 200)
        reassembler.open()
        func take(_ text: [UInt8], _ counter: UInt64) -> [Int] {
            text.withRawSpan { text in
                guard var cursor = reassembler.begin(text, stream: 1, counter: counter, at: .zero) else { return [] }
                while case .record = reassembler.next(&cursor, text, stream: 1, counter: counter, at: .zero) {}
                var joined: [Int] = []
                while joined.count < 5, let (_, count) = reassembler.join(stream: 1, counter: counter, at: .zero) {
                    joined.append(count)
                }
                return joined
            }
        }
        #expect(take([0, 0, 0x00, 0x06, 1, 2, 3], .max) == [])
        #expect(take([0, 3, 4, 5, 6], 0) == [6])
        let isWaiting = reassembler.isWaiting
        #expect(!isWaiting)
    }

    @Test(arguments: [4, 5, 6, 7, 100] as [UInt8])
    func middlesThatDoNotFit(_ rest: UInt8) throws {
        let other = try UnpackingEnd()
        #expect(other.unpack([0, 0, 0x00, 0x09, 1, 2, 3], stream: 1, counter: 0, at: .zero).isEmpty)
        #expect(other.unpack([0, rest, 4, 5, 6], stream: 1, counter: 1, at: .zero).isEmpty)
        let out = other.unpack([0, 3, 7, 8, 9], stream: 1, counter: 2, at: .zero)
        #expect(out == (rest == 6 ? [[1, 2, 3, 4, 5, 6, 7, 8, 9]] : []))
    }

    /// A continuation that says another rest than the record needs is never joined to it.
    @Test func continuationsThatDoNotFit() throws {
        for (rest, body): (UInt8, Int) in [(4, 3), (3, 2), (2, 3), (250, 3), (0, 3)] {
            let other = try UnpackingEnd()
            #expect(other.unpack([0, 0, 0x00, 0x06, 1, 2, 3], stream: 1, counter: 0, at: .zero).isEmpty)
            let text = [0, rest] + [UInt8](repeating: 0, count: body)
            let out = other.unpack(text, stream: 1, counter: 1, at: .zero)
            #expect(!out.contains { $0.count == 6 || $0.prefix(3) == [1, 2, 3] }, "rest \(rest), body \(body)")
        }
    }
}
