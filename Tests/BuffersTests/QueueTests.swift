// The queue between a lane and control, and the counter board: one thread's truth, then two threads.

import Buffers
import Foundation
import Synchronization
import Testing

@Suite struct QueueTests {
    @Test func firstInFirstOutUpToItsCapacity() {
        let queue = SPSCQueue<Int>(capacity: 5)
        #expect(queue.isEmpty && queue.pop() == nil)
        // Rounded up to eight.
        for number in 0..<8 { #expect(queue.push(number)) }
        #expect(!queue.push(8) && !queue.isEmpty)
        #expect(queue.pop() == 0)
        #expect(queue.push(8) && !queue.push(9))
        #expect((0..<8).map { _ in queue.pop() } == (1...8).map { Optional($0) })
        #expect(queue.isEmpty && queue.pop() == nil)
    }

    @Test func aQueueOfOne() {
        let queue = SPSCQueue<UInt8>(capacity: 1)
        for number in 0..<10 as Range<UInt8> {
            #expect(queue.push(number) && !queue.push(99))
            #expect(queue.pop() == number && queue.pop() == nil)
        }
    }

    /// What was taken leaves zeros: a queue of two shows its places again and again.
    @Test func wipingTakesTheSameElements() {
        let queue = SPSCQueue<UInt64>(capacity: 2)
        for number in 1..<20 as Range<UInt64> {
            #expect(queue.push(number) && queue.push(.max - number))
            #expect(queue.popWiping() == number && queue.pop() == .max - number)
            #expect(queue.popWiping() == nil)
        }
        // The place that comes next was wiped before, and can be filled again.
        #expect(queue.push(7) && queue.popWiping() == 7 && queue.isEmpty)
    }

    @Test func aReserveIsKept() {
        let queue = SPSCQueue<Int>(capacity: 8)
        for number in 0..<5 { #expect(queue.push(number, leaving: 3)) }
        #expect(!queue.push(5, leaving: 3) && queue.push(5, leaving: 2))
        #expect(queue.push(6) && queue.push(7) && !queue.push(8))
        #expect(!queue.push(9, leaving: 100))
        for _ in 0..<3 { _ = queue.pop() }
        #expect(!queue.push(9, leaving: 3) && queue.push(9, leaving: 2))
    }

    /// Random pushes and pops against an array, far past the ring's end.
    @Test func agreesWithAnArray() {
        var random = SystemLike(state: 1)
        let queue = SPSCQueue<UInt64>(capacity: 16)
        var model: [UInt64] = []
        for number in 0..<50_000 as Range<UInt64> {
            if random.next() % 2 == 0 {
                let isIn = queue.push(number)
                #expect(isIn == (model.count < 16))
                if isIn { model.append(number) }
            } else {
                #expect(queue.pop() == (model.isEmpty ? nil : model.removeFirst()))
            }
            #expect(queue.isEmpty == model.isEmpty)
        }
    }

    /// Each element is larger than a register, so that a torn one would show.
    private struct Element: BitwiseCopyable, Sendable {
        var number: UInt64
        var double: UInt64
        var inverse: UInt64
    }

    @Test func twoThreadsAMillionElementsInOrder() {
        let queue = SPSCQueue<Element>(capacity: 1_024)
        let count: UInt64 = 1_000_000
        let producer = Thread {
            for number in 0..<count {
                while !queue.push(Element(number: number, double: number &* 2, inverse: ~number)) { usleep(50) }
            }
        }
        producer.start()
        var next: UInt64 = 0
        var wrong = 0
        while next < count {
            guard let element = queue.pop() else {
                usleep(50)
                continue
            }
            if element.number != next || element.double != next &* 2 || element.inverse != ~next { wrong += 1 }
            next += 1
        }
        #expect(wrong == 0)
        #expect(queue.isEmpty)
    }

    @Test func counterBoard() {
        let board = CounterBoard(count: 3)
        #expect(board.count == 3 && board.load(2) == 0)
        board.store(7, at: 0)
        board.store(.max, at: 2)
        #expect((0..<3).map { board.load($0) } == [7, 0, .max])
        #expect(CounterBoard(count: 0).count == 0)
    }
}

/// A small generator of its own, so that these tests need nothing but Buffers.
struct SystemLike: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}
