// The queue of frames that wait: against a plain array, in memory so small that it wraps all the time.

import Basics
import Testing

@testable import Buffers

@Suite struct FrameRingTests {
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func theSameAsAnArray(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let capacity = 64 + Int(random.next() % 400)
        let limit = 1 + Int(random.next() % 12)
        var ring = FrameRing(capacity: capacity, limit: limit)
        var plain: [(bytes: [UInt8], tag: UInt16)] = []
        var refused = 0
        for step in 0..<4_000 {
            if random.next() % 5 < 3 {
                let bytes = (0..<(1 + Int(random.next() % 60))).map { UInt8(truncatingIfNeeded: $0 &+ step) }
                let tag = UInt16(truncatingIfNeeded: random.next())
                let isIn = unsafe ring.push(bytes.span.bytes, tag: tag)
                if isIn { plain.append((bytes, tag)) } else { refused += 1 }
                // A frame as large as all of it fits when nothing waits.
                if !isIn && plain.isEmpty { Issue.record("an empty ring refused \(bytes.count) octets of \(capacity)") }
                if isIn { #expect(plain.count <= limit) }
            } else if !plain.isEmpty {
                let first = plain.removeFirst()
                let (bytes, tag) = (Array(copying: ring.front()), ring.frontTag)
                #expect(bytes == first.bytes && tag == first.tag)
                ring.pop()
            }
            let (count, octets, isEmpty) = (ring.count, ring.octets, ring.isEmpty)
            #expect(count == plain.count && isEmpty == plain.isEmpty && octets == plain.reduce(0) { $0 + $1.bytes.count })
        }
        #expect(refused > 0)
    }

    @Test func theLastOctetIsUsed() {
        var ring = FrameRing(capacity: 64, limit: 10)
        let bytes = [UInt8](repeating: 1, count: 28)
        for _ in 0..<5 {
            let first = unsafe ring.push(bytes.span.bytes, tag: 1)
            let second = unsafe ring.push(bytes.span.bytes, tag: 2)
            let third = unsafe ring.push(bytes.span.bytes, tag: 3)
            #expect(first && second && !third)
            ring.pop()
            let again = unsafe ring.push(bytes.span.bytes, tag: 4)
            let tag = ring.frontTag
            #expect(again && tag == 2)
            ring.pop()
            ring.pop()
            let isEmpty = ring.isEmpty
            #expect(isEmpty)
        }
    }
}
