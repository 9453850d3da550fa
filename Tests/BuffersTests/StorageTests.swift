// Blocks, arrays and the frame arena: bounds, contents, and that everything made is destroyed once.

import Basics
import Buffers
import Synchronization
import Testing

@Suite struct FixedArrayTests {
    private final class Tally: Sendable {
        let made = Atomic<Int>(0)
        let destroyed = Atomic<Int>(0)
    }

    /// Move-only, and counted.
    private struct Thing: ~Copyable {
        var value: Int
        let tally: Tally

        init(_ value: Int, _ tally: Tally) {
            self.value = value
            self.tally = tally
            tally.made.add(1, ordering: .relaxed)
        }

        deinit { tally.destroyed.add(1, ordering: .relaxed) }
    }

    private func counts(_ tally: Tally) -> [Int] {
        [tally.made.load(ordering: .relaxed), tally.destroyed.load(ordering: .relaxed)]
    }

    private func use(_ tally: Tally) -> Int {
        var array = FixedArray(count: 10) { Thing($0, tally) }
        for index in 0..<array.count { array[index].value += 100 }
        array[3] = Thing(1_000, tally)
        #expect(counts(tally) == [11, 1], "what is replaced is destroyed")
        var sum = 0
        for index in 0..<array.count { sum += array[index].value }
        return sum
    }

    @Test func elementsAreMadeAndDestroyedOnce() {
        let tally = Tally()
        #expect(use(tally) == (0..<10).reduce(0) { $0 + $1 + 100 } - 103 + 1_000)
        #expect(counts(tally) == [11, 11])
    }

    @Test func anEmptyArray() {
        let array = FixedArray<Int>(count: 0) { $0 }
        let count = array.count
        #expect(count == 0)
    }

    @Test func elementsAreInOrderAndChangedInPlace() {
        var array = FixedArray(count: 100) { $0 * $0 }
        for index in 0..<100 { #expect(array[index] == index * index) }
        array[99] += 1
        swapEnds(&array)
        #expect(array[0] == 9_802 && array[99] == 0)
    }

    private func swapEnds(_ array: inout FixedArray<Int>) {
        let first = array[0]
        array[0] = array[array.count - 1]
        array[array.count - 1] = first
    }

    @Test func indicesOutsideTrap() async {
        await #expect(processExitsWith: .failure) {
            let array = FixedArray(count: 3) { $0 }
            _ = array[3]
        }
        await #expect(processExitsWith: .failure) {
            var array = FixedArray(count: 3) { $0 }
            array[-1] = 0
        }
    }
}

@Suite struct OwnedBytesTests {
    @Test func copyingAndIntegers() {
        var block = OwnedBytes(count: 32)
        for index in 0..<32 { block.storeBigEndian(UInt8(index), at: index) }
        block.storeBigEndian(UInt16(0xA1B2), at: 30)
        block.storeBigEndian(UInt64(0x0102_0304_0506_0708), at: 3)
        #expect(Array(copying: block.bytes(at: 0, count: 12)) == [0, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 11])
        #expect(Array(copying: block.bytes(at: 30, count: 2)) == [0xA1, 0xB2])
        var other = OwnedBytes(count: 8)
        other.copy(from: block, at: 3, count: 8, to: 0)
        #expect(Array(copying: other.bytes) == [1, 2, 3, 4, 5, 6, 7, 8])
        other.copy(other0([9, 9]), to: 6)
        #expect(Array(copying: other.bytes) == [1, 2, 3, 4, 5, 6, 9, 9])
        #expect(Array(copying: block.bytes(at: 32, count: 0)).isEmpty)
    }

    private let two: [UInt8] = [9, 9]
    @_lifetime(borrow bytes)
    private func other0(_ bytes: borrowing [UInt8]) -> RawSpan { unsafe bytes.span.bytes }

    @Test func accessOutsideTraps() async {
        await #expect(processExitsWith: .failure) {
            let block = OwnedBytes(count: 8)
            _ = block.bytes(at: 1, count: 8).byteCount
        }
        await #expect(processExitsWith: .failure) {
            let block = OwnedBytes(count: 8)
            _ = block.bytes(at: .max, count: .max).byteCount
        }
        await #expect(processExitsWith: .failure) {
            var block = OwnedBytes(count: 8)
            block.storeBigEndian(UInt64(1), at: 1)
        }
        await #expect(processExitsWith: .failure) {
            var block = OwnedBytes(count: 8)
            block.storeBigEndian(UInt64(1), at: .max)
        }
        await #expect(processExitsWith: .failure) {
            var block = OwnedBytes(count: 8)
            let nine = [UInt8](repeating: 1, count: 9)
            block.copy(unsafe nine.span.bytes, to: 0)
        }
    }
}

@Suite struct FrameArenaTests {
    private func append(_ arena: inout FrameArena, _ bytes: [UInt8], to ports: PortSet) -> Bool {
        let span = bytes.span
        return unsafe arena.append(span.bytes, to: ports)
    }

    private func extend(_ arena: inout FrameArena, _ bytes: [UInt8], skipping count: Int) -> Bool {
        let span = bytes.span
        return unsafe arena.extendLast(with: span.bytes, skipping: count)
    }

    @Test func framesAreKeptWithHeadroom() {
        var arena = FrameArena(byteCapacity: 4_096, frameCapacity: 8)
        let frames: [[UInt8]] = [[1, 2, 3], [], [UInt8](repeating: 7, count: 1_000), [4]]
        for (index, frame) in frames.enumerated() {
            let isIn = append(&arena, frame, to: PortSet(PortIndex(index)))
            #expect(isIn)
        }
        var end = 0
        for (index, frame) in frames.enumerated() {
            let record = arena.record(index)
            #expect(Array(copying: arena.frame(index)) == frame)
            #expect(record.ports == PortSet(PortIndex(index)) && Int(record.length) == frame.count)
            #expect(Int(record.offset) >= end + FrameArena.headroom && record.offset % 8 == 0)
            end = Int(record.offset) + frame.count
        }
        arena.removeAll()
        let isEmpty = arena.isEmpty
        #expect(isEmpty)
    }

    @Test func fullByFramesAndByOctets() {
        var few = FrameArena(byteCapacity: 4_096, frameCapacity: 2)
        let taken = (0..<3).map { _ in append(&few, [1], to: .none) }
        #expect(taken == [true, true, false])
        for count in [0, 1, 7, 8, 100, 101] {
            var arena = FrameArena(byteCapacity: 2_000, frameCapacity: 4_000)
            var held = 0
            while true {
                let hasRoom = arena.hasRoom(for: count)
                let isIn = append(&arena, [UInt8](repeating: 1, count: count), to: .none)
                #expect(hasRoom == isIn)
                if !isIn { break }
                held += 1
                #expect(arena.count == held)
            }
            let last = arena.record(held - 1)
            #expect(Int(last.offset) + Int(last.length) <= 2_000 && held >= 2_000 / (count + 16 + 8) && arena.count == held)
        }
        var exact = FrameArena(byteCapacity: 116, frameCapacity: 4)
        let fits = append(&exact, [UInt8](repeating: 1, count: 100), to: .none)
        let more = append(&exact, [], to: .none)
        #expect(fits && !more)
    }

    /// `hasRoom(frames:bytes:)` keeps its word, whatever the sizes.
    @Test func roomThatIsPromisedIsThere() {
        var random = SystemLike(state: 5)
        for _ in 0..<200 {
            var arena = FrameArena(byteCapacity: 20_000, frameCapacity: 200)
            while random.next() % 20 != 0, append(&arena, [UInt8](repeating: 1, count: Int(random.next() % 300)), to: .none) {}
            var frames = Int(random.next() % 100)
            var bytes = Int(random.next() % 10_000)
            guard arena.hasRoom(frames: frames, bytes: bytes) else { continue }
            while frames > 0 {
                let count = min(Int(random.next() % 400), bytes)
                let frame = [UInt8](repeating: 1, count: count)
                // A frame that joins the last record never needs more.
                let joins = random.next() % 2 == 0 && arena.count > 0
                let isIn =
                    joins
                    ? extend(&arena, frame, skipping: Int(random.next() % UInt64(count + 1)))
                    : append(&arena, frame, to: .none)
                #expect(isIn)
                frames -= 1
                bytes -= count
            }
        }
    }

    @Test func theLastRecordGrows() {
        var arena = FrameArena(byteCapacity: 256, frameCapacity: 4)
        let frames: [[UInt8]] = [[9], [1, 2, 3, 4, 5], [1, 2, 6, 7], [1, 2], [8]]
        let taken = (append(&arena, frames[0], to: .none), append(&arena, frames[1], to: PortSet(PortIndex(2))))
        let grown = (extend(&arena, frames[2], skipping: 2), extend(&arena, frames[3], skipping: 2))
        arena.setOffload(FrameOffload(segmentation: .udp, segmentSize: 3), of: 1)
        var octets = arena.mutableFrame(1)
        octets.storeBytes(of: 0xAA, toByteOffset: 0, as: UInt8.self)
        let more = append(&arena, frames[4], to: .none)
        #expect(taken == (true, true) && grown == (true, true) && more)
        let record = arena.record(1)
        #expect(Array(copying: arena.frame(1)) == [0xAA, 2, 3, 4, 5, 6, 7])
        #expect(record.length == 7 && record.octets == 11 && record.frames == 3 && record.headerLength == 2)
        #expect(record.offload == FrameOffload(segmentation: .udp, segmentSize: 3) && record.ports == PortSet(PortIndex(2)))
        // Its neighbours are what they were.
        let others = (Array(copying: arena.frame(0)), Array(copying: arena.frame(2)))
        #expect(others == ([9], [8]))
        let alone = arena.record(2)
        #expect(alone.frames == 1 && alone.octets == 1 && alone.headerLength == 0 && alone.offload == .none)
    }

    @Test func growingEndsWithTheBlock() {
        let frame = [UInt8](repeating: 3, count: 30)
        // Headroom, 30 octets, and 2 times 25 more.
        for (capacity, expected) in [(95, [true, false]), (96, [true, true])] {
            var arena = FrameArena(byteCapacity: capacity, frameCapacity: 4)
            let isIn = append(&arena, frame, to: .none)
            let grown = (0..<2).map { _ in extend(&arena, frame, skipping: 5) }
            let length = arena.record(0).length
            #expect(isIn && grown == expected && length == (expected[1] ? 80 : 55))
        }
    }

    @Test func recordsOutsideTrap() async {
        await #expect(processExitsWith: .failure) {
            var arena = FrameArena(byteCapacity: 100, frameCapacity: 4)
            let one: [UInt8] = [1]
            _ = arena.append(unsafe one.span.bytes, to: .none)
            _ = arena.record(1)
        }
    }
}
