// Packing and unpacking without faults: every frame size at every usual datagram size comes back, datagrams are full and
// equal, counters only grow.

import Basics
import Testing

@testable import Tunnels

@Suite struct PackingTests {
    private static let sizes = [548, 1_252, 1_472, 8_972]

    @Test(arguments: sizes)
    func everyFrameSizeInOneStream(_ size: Int) throws {
        let end = try PackingEnd(datagramSize: size)
        let other = try UnpackingEnd()
        let source = FrameSource(seed: 1)
        var sent = 14
        var received = 14
        func deliver() {
            let run = end.drain()
            for datagram in run.dropLast() { #expect(datagram.bytes.count == size) }
            if let last = run.last { #expect(last.bytes.count <= size) }
            for frame in run.flatMap({ other.handle($0) }) {
                // Compared one by one: an expectation with two long arrays is slow to write down.
                let isRight = frame == source.frame(received, count: received)
                #expect(isRight, "frame of \(received) octets")
                received += 1
            }
        }
        while sent <= Limits.frameBytes {
            if end.append(source.frame(sent, count: sent)) { sent += 1 } else { deliver() }
        }
        deliver()
        #expect(received == Limits.frameBytes + 1)
        #expect(other.lost == 0 && !other.isWaiting && other.malformed == 0 && other.refused == 0)
    }

    @Test(arguments: sizes)
    func mixesInRandomBatches(_ size: Int) throws {
        var random = SeededRandom(seed: UInt64(size))
        let end = try PackingEnd(datagramSize: size)
        let other = try UnpackingEnd()
        let source = FrameSource(seed: 2)
        var frames: [[UInt8]] = []
        var delivered: [[UInt8]] = []
        while frames.count < 3_000 {
            var batch: [[UInt8]] = []
            for _ in 0..<Int(random.next() % 60) {
                // The captures' mix: mostly near 118 octets, some full, few jumbo, some that just end or miss a datagram.
                let count: Int
                switch random.next() % 10 {
                case 0...5: count = 60 + Int(random.next() % 120)
                case 6...7: count = 1_400 + Int(random.next() % 119)
                case 8: count = max(14, size - 60 + Int(random.next() % 40))
                default: count = 14 + Int(random.next() % 9_203)
                }
                batch.append(source.frame(frames.count + batch.count, count: count))
            }
            end.pack(batch)
            frames += batch
        }
        for datagram in end.drained { delivered += other.handle(datagram) }
        #expect(delivered.count == frames.count)
        #expect(delivered == frames)
        #expect(other.lost == 0 && !other.isWaiting)
        let plain = try readPlainly(end.drained).map(\.bytes)
        #expect(plain == frames)
        for (index, datagram) in end.drained.enumerated() { #expect(datagram.counter == UInt64(index)) }
    }

    /// What GSO wants: with more to send than fits, every datagram but the last is exactly the path's size.
    @Test(arguments: sizes)
    func aFullBatchIsFullDatagrams(_ size: Int) throws {
        let end = try PackingEnd(datagramSize: size)
        let source = FrameSource(seed: 3)
        var number = 0
        while end.append(source.frame(number, count: 60 + number % 200)) { number += 1 }
        let run = end.drain()
        #expect(run.count > 10)
        for datagram in run.dropLast() { #expect(datagram.bytes.count == size) }
        for datagram in run { #expect(Array(datagram.bytes[0..<8]) == [4, 0, 0, 7, 0xAB, 0xCD, 0xE0, 0x01]) }
    }

    /// Frames that leave 0 to 8 octets in a datagram: where the next record's header does not fit with an octet, there is padding.
    @Test(arguments: sizes)
    func everyRestAtTheEndOfADatagram(_ size: Int) throws {
        let source = FrameSource(seed: 4)
        let body = size - PackingLayout.overhead
        for rest in 0...8 {
            let end = try PackingEnd(datagramSize: size)
            let other = try UnpackingEnd()
            let frames = [source.frame(1, count: body - 2 - rest), source.frame(2, count: 300), source.frame(3, count: 14)]
            end.pack(frames)
            #expect(end.drained.flatMap { other.handle($0) } == frames)
            #expect(end.drained.first?.bytes.count == size)
            let plain = try readPlainly(end.drained)
            #expect(plain.map(\.bytes) == frames)
            #expect(plain[1].first == (rest >= 3 ? 0 : 1), "rest \(rest)")
        }
    }

    @Test func oneShortFrameIsOneShortDatagram() throws {
        let end = try PackingEnd(datagramSize: 1_472)
        #expect(end.append([UInt8](repeating: 5, count: 60)))
        let run = end.drain()
        #expect(run.map(\.bytes.count) == [PackingLayout.overhead + PackingLayout.recordHeaderBytes + 60])
        #expect(end.drain().isEmpty, "nothing is sent twice")
    }

    /// After a short datagram nothing follows until the driver has drained, since a run has equal datagrams.
    @Test func nothingFollowsAShortDatagram() throws {
        let end = try PackingEnd(datagramSize: 1_472)
        #expect(end.appendEmpty())
        #expect(!end.append([1]) && !end.appendEmpty() && !end.hasRoom(for: 1))
        let run = end.drain()
        #expect(run.count == 1)
        #expect(run[0].bytes.count == PackingLayout.overhead)
        #expect(end.append([1]))
        #expect(!end.appendEmpty(), "a datagram is open")
        let other = try UnpackingEnd()
        #expect(other.handle(run[0]).isEmpty)
        #expect(other.malformed == 0)
    }

    /// `hasRoom` keeps its word: what it promises can be appended, whatever the sizes.
    @Test(arguments: sizes)
    func roomThatIsPromisedIsThere(_ size: Int) throws {
        var random = SeededRandom(seed: 9)
        for _ in 0..<40 {
            let end = try PackingEnd(datagramSize: size)
            var budget = 80 * 1024
            while random.next() % 50 != 0, end.append([UInt8](repeating: 1, count: 1 + Int(random.next() % 9_216))) {}
            guard end.hasRoom(for: budget) else { continue }
            while true {
                let count = min(1 + Int(random.next() % 3_000), budget - 2)
                if count < 1 { break }
                let isIn = end.append([UInt8](repeating: 2, count: count))
                #expect(isIn)
                budget -= count + 2
            }
        }
    }

    @Test func smallestAndLargestDatagramAndRecord() throws {
        // A record may touch at most as many datagrams as pieces can wait for: at 128 octets a datagram, 94 of them its own.
        for (size, count) in [(128, 94 * (Reassembler.slots - 1) - 10), (576, 9_216), (9_216, 9_216), (65_507, 9_216)] {
            let end = try PackingEnd(datagramSize: size)
            let other = try UnpackingEnd(datagramSize: size)
            let frames: [[UInt8]] = [[7], FrameSource(seed: 5).frame(1, count: count), [8]]
            for frame in frames { #expect(end.append(frame)) }
            #expect(end.drain().flatMap { other.handle($0) } == frames)
        }
        let end = try PackingEnd(datagramSize: 548)
        let other = try UnpackingEnd()
        let longest = (0..<16_383).map { UInt8(truncatingIfNeeded: $0 / 7) }
        #expect(end.append(longest))
        #expect(end.drain().flatMap { other.handle($0) } == [longest])
    }

    @Test func renewalIsDueOnce() throws {
        let end = try PackingEnd(datagramSize: 548, renewAfter: 3)
        for _ in 0..<3 {
            #expect(!end.takeRenewalDue())
            #expect(end.appendEmpty())
            end.drain()
        }
        #expect(end.takeRenewalDue())
        #expect(!end.takeRenewalDue())
        #expect(end.appendEmpty(), "a key goes on sealing while its successor is agreed")
        #expect(end.drain().map(\.counter) == [3])
    }

    @Test func textsThatAreTooLongOrTooShort() throws {
        let other = try UnpackingEnd(datagramSize: 100)
        #expect(other.unpack([UInt8](repeating: 0, count: 101), stream: 1, counter: 0, at: .zero).isEmpty)
        #expect(other.malformed == 1)
        #expect(other.unpack([0], stream: 1, counter: 1, at: .zero).isEmpty)
        #expect(other.malformed == 2)
        #expect(other.unpack([], stream: 1, counter: 2, at: .zero).isEmpty)
        #expect(other.unpack([0, 0], stream: 1, counter: 3, at: .zero).isEmpty)
        #expect(other.malformed == 2, "an empty datagram is a sign of life")
    }
}
