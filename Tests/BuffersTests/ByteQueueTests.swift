// The queue of messages between a lane and control: what fits, what wraps, and two threads.

import Buffers
import Foundation
import Testing

@Suite struct ByteQueueTests {
    /// `push` with an array: the macros cannot take spans.
    private func push(_ queue: ByteQueue, _ bytes: [UInt8], tag: UInt64, leaving reserve: Int = 0) -> Bool {
        var bytes = bytes
        return bytes.withMutableRawSpan { queue.push($0.bytes, tag: tag, leaving: reserve) }
    }

    /// The next message must be this one.
    private func expectPop(_ queue: ByteQueue, _ bytes: [UInt8], tag: UInt64) {
        let message = queue.pop()
        #expect(message?.tag == tag)
        #expect(message?.bytes == bytes)
    }

    @Test func messagesComeOutAsTheyWentInEmptyOnesToo() {
        let queue = ByteQueue(capacity: 256)
        #expect(queue.isEmpty && queue.pop() == nil)
        #expect(push(queue, [1, 2, 3], tag: 7) && push(queue, [], tag: .max) && push(queue, [4, 5, 6, 7, 8, 9, 10, 11], tag: 0))
        #expect(!queue.isEmpty)
        expectPop(queue, [1, 2, 3], tag: 7)
        expectPop(queue, [], tag: .max)
        expectPop(queue, [4, 5, 6, 7, 8, 9, 10, 11], tag: 0)
        #expect(queue.isEmpty && queue.pop() == nil)
    }

    @Test func theCapacityIsAPowerOfTwoAndHalfOfItTheLongestMessage() {
        #expect(ByteQueue(capacity: 1).largestMessage == 16)
        #expect(ByteQueue(capacity: 64).largestMessage == 16)
        #expect(ByteQueue(capacity: 65).largestMessage == 48)
        #expect(ByteQueue(capacity: 1 << 15).largestMessage == 16_368)
        #expect(ByteQueue(capacity: 1 << 20).largestMessage == 16_384)
        let queue = ByteQueue(capacity: 65)
        #expect(!push(queue, [UInt8](repeating: 1, count: 49), tag: 1) && queue.isEmpty)
        #expect(push(queue, [UInt8](repeating: 1, count: 48), tag: 1))
    }

    @Test func aFullQueueTakesNothingAndLosesNothing() {
        let queue = ByteQueue(capacity: 128)
        // 24 octets each: five fit into 128, and 8 remain.
        for number in 0..<5 as Range<UInt8> { #expect(push(queue, [number], tag: UInt64(number))) }
        #expect(!push(queue, [], tag: 5))
        expectPop(queue, [0], tag: 0)
        // 32 octets are free, in two parts: 8 at the end, which are skipped, and 24 at the beginning.
        #expect(!push(queue, [UInt8](repeating: 5, count: 9), tag: 5))
        #expect(push(queue, [UInt8](repeating: 5, count: 8), tag: 5))
        #expect(!push(queue, [], tag: 6))
        for number in 1..<5 as Range<UInt8> { expectPop(queue, [number], tag: UInt64(number)) }
        expectPop(queue, [UInt8](repeating: 5, count: 8), tag: 5)
        #expect(queue.isEmpty)
    }

    /// Every place in the ring that a message can begin at is followed by the longest one.
    @Test func theLongestMessageFitsIntoAnEmptyQueueWhereverItStands() {
        for steps in 0..<64 {
            let queue = ByteQueue(capacity: 512)
            for step in 0..<steps {
                #expect(push(queue, [], tag: UInt64(step)) && push(queue, [9], tag: 99))
                expectPop(queue, [], tag: UInt64(step))
                expectPop(queue, [9], tag: 99)
            }
            let longest = (0..<queue.largestMessage).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ steps) }
            #expect(push(queue, longest, tag: 1))
            expectPop(queue, longest, tag: 1)
            #expect(queue.isEmpty)
        }
    }

    @Test func aMessageThatWouldCrossTheEndIsPrecededByASkipMarker() {
        let queue = ByteQueue(capacity: 128)
        #expect(push(queue, [UInt8](repeating: 1, count: 48), tag: 1) && push(queue, [UInt8](repeating: 2, count: 24), tag: 2))
        expectPop(queue, [UInt8](repeating: 1, count: 48), tag: 1)
        // At 104: 24 octets are left before the end, 32 are needed, so 56 of the 88 free ones go.
        #expect(push(queue, [UInt8](repeating: 3, count: 16), tag: 3))
        #expect(!push(queue, [UInt8](repeating: 4, count: 17), tag: 4) && push(queue, [UInt8](repeating: 4, count: 16), tag: 4))
        #expect(!push(queue, [], tag: 5))
        expectPop(queue, [UInt8](repeating: 2, count: 24), tag: 2)
        expectPop(queue, [UInt8](repeating: 3, count: 16), tag: 3)
        expectPop(queue, [UInt8](repeating: 4, count: 16), tag: 4)
        #expect(queue.isEmpty && queue.pop() == nil)
    }

    @Test func aReserveIsKeptInOctets() {
        let queue = ByteQueue(capacity: 128)
        #expect(push(queue, [1], tag: 1, leaving: 64))
        #expect(push(queue, [2], tag: 2, leaving: 64))
        #expect(!push(queue, [3], tag: 3, leaving: 64) && push(queue, [3], tag: 3, leaving: 56))
        #expect(!push(queue, [4], tag: 4, leaving: .max))
        #expect(
            push(queue, [4], tag: 4, leaving: -1_000) && push(queue, [5], tag: 5) && !push(queue, [6], tag: 6, leaving: -1_000))
    }

    @Test func aConsumerWithABufferOfItsOwn() {
        let queue = ByteQueue(capacity: 128)
        var buffer = OwnedBytes(count: queue.largestMessage)
        #expect(push(queue, [1, 2, 3], tag: 7) && push(queue, [], tag: 8))
        let first = queue.popInto(&buffer)
        #expect(first?.tag == 7 && first?.count == 3)
        #expect([UInt8](copying: buffer.bytes(at: 0, count: 3)) == [1, 2, 3])
        let second = queue.popInto(&buffer)
        #expect(second?.tag == 8 && second?.count == 0)
        #expect(queue.popInto(&buffer) == nil && queue.isEmpty)
    }

    /// Random pushes and pops against an array, far past the ring's end.
    @Test func agreesWithAnArray() {
        var random = SystemLike(state: 2)
        let queue = ByteQueue(capacity: 1_024)
        var model: [[UInt8]] = []
        var number: UInt64 = 0
        var popped: UInt64 = 0
        for _ in 0..<20_000 {
            if random.next() % 2 == 0 {
                let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: Int(random.next() % 200))
                // What exceeds the ring never fits, skipped octets or not; an empty queue always has room.
                let used = model.reduce(0) { $0 + ($1.count + ByteQueue.overhead + 7) / 8 * 8 }
                let isIn = push(queue, bytes, tag: number)
                if used + (bytes.count + 23) / 8 * 8 > 1_024 { #expect(!isIn) }
                if used == 0 { #expect(isIn) }
                if isIn {
                    model.append(bytes)
                    number += 1
                }
            } else if model.isEmpty {
                #expect(queue.pop() == nil)
            } else {
                expectPop(queue, model.removeFirst(), tag: popped)
                popped += 1
            }
            #expect(queue.isEmpty == model.isEmpty)
        }
        #expect(popped > 5_000)
    }

    @Test func twoThreadsAHundredThousandMessagesInOrder() {
        let queue = ByteQueue(capacity: 1 << 16)
        let count: UInt64 = 100_000
        let producer = Thread {
            var random = SystemLike(state: 3)
            var bytes = [UInt8](repeating: 0, count: 2_048)
            for number in 0..<count {
                let length = Int(random.next() % 2_048)
                // The first, the last and one octet between tell of the number; the rest is whatever was there.
                bytes.withMutableRawSpan { span in
                    for place in [0, length / 2, max(length - 1, 0)] {
                        span.storeBytes(of: UInt8(truncatingIfNeeded: number), toByteOffset: place, as: UInt8.self)
                    }
                    while !queue.push(span.bytes.extracting(first: length), tag: number) { usleep(50) }
                }
            }
        }
        producer.start()
        var random = SystemLike(state: 3)
        var buffer = OwnedBytes(count: queue.largestMessage)
        var next: UInt64 = 0
        var wrong = 0
        while next < count {
            let bytes: [UInt8]
            let tag: UInt64
            // Both ways out, in turns.
            if next % 2 == 0 {
                guard let message = queue.pop() else {
                    usleep(50)
                    continue
                }
                (tag, bytes) = message
            } else {
                guard let message = queue.popInto(&buffer) else {
                    usleep(50)
                    continue
                }
                tag = message.tag
                bytes = [UInt8](copying: buffer.bytes(at: 0, count: message.count))
            }
            let length = Int(random.next() % 2_048)
            let octet = UInt8(truncatingIfNeeded: next)
            if tag != next || bytes.count != length { wrong += 1 }
            if length > 0, bytes.count == length, bytes[0] != octet || bytes[length / 2] != octet || bytes[length - 1] != octet {
                wrong += 1
            }
            next += 1
        }
        #expect(wrong == 0)
        #expect(queue.isEmpty)
    }
}
