// Lists that one thread replaces while others look through them.

import Buffers
import Foundation
import Synchronization
import Testing

private final class Shared: Sendable {
    let isDone = Atomic<Bool>(false)
    let bad = Atomic<Int>(0)
    let looks = Atomic<Int>(0)
}

@Suite struct PublishedBlocksTests {
    private func list(_ reader: borrowing PublishedBlocksReader<UInt64>, _ index: Int) -> [UInt64] {
        reader.withList(index) { list in (0..<list.count).map { list[$0] } }
    }

    @Test func aListIsReplacedAsAWhole() {
        let blocks = PublishedBlocks<UInt64>(count: 3, readers: 1)
        let reader = PublishedBlocksReader(blocks)
        #expect(list(reader, 1) == [])
        let hadList = reader.hasList(1)
        #expect(!hadList)
        blocks.publish([7, 8, 9], at: 1)
        let hasList = (reader.hasList(0), reader.hasList(1), reader.hasList(2), reader.hasList(3))
        #expect(hasList == (false, true, false, false))
        #expect(list(reader, 1) == [7, 8, 9] && list(reader, 0) == [] && list(reader, 3) == [], "also beyond the last")
        blocks.publish([1], at: 1)
        #expect(list(reader, 1) == [1])
        blocks.publish([], at: 1)
        #expect(list(reader, 1) == [])
    }

    @Test func whatWasReplacedWaitsForEveryReader() {
        let blocks = PublishedBlocks<UInt64>(count: 1, readers: 2)
        let first = PublishedBlocksReader(blocks, number: 0)
        let second = PublishedBlocksReader(blocks, number: 1)
        blocks.publish([1], at: 0)
        #expect(!blocks.waitsForReaders, "nothing was there")
        blocks.publish([2], at: 0)
        #expect(blocks.waitsForReaders)
        first.acknowledge()
        blocks.reclaim()
        #expect(blocks.waitsForReaders)
        second.acknowledge()
        blocks.reclaim()
        #expect(!blocks.waitsForReaders)
    }

    /// Each list says its own length, in every element: a reader never sees half of one.
    @Test func readersSeeWholeLists() {
        let blocks = PublishedBlocks<UInt64>(count: 4, readers: 1)
        let shared = Shared()
        let isOver = DispatchSemaphore(value: 0)
        let reading = Thread {
            let reader = PublishedBlocksReader(blocks)
            while !shared.isDone.load(ordering: .acquiring) {
                for index in 0..<4 {
                    let isGood = reader.withList(index) { list in
                        (0..<list.count).allSatisfy { list[$0] == UInt64(list.count) }
                    }
                    if !isGood { shared.bad.add(1, ordering: .relaxed) }
                }
                shared.looks.add(1, ordering: .relaxed)
                reader.acknowledge()
            }
            isOver.signal()
        }
        reading.start()
        var round = 0
        while round < 20_000 || shared.looks.load(ordering: .relaxed) < 100 {
            let count = round % 17
            blocks.publish([UInt64](repeating: UInt64(count), count: count), at: round % 4)
            round += 1
        }
        shared.isDone.store(true, ordering: .releasing)
        isOver.wait()
        #expect(shared.bad.load(ordering: .relaxed) == 0)
    }
}
