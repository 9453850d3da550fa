// A look ahead over a datagram's records: each is found, as far as it is in the datagram.

import Buffers
import Testing

@testable import Tunnels

@Suite struct SkimTests {
    /// Where the records of `text` are, from octet `start` on.
    private func skim(_ text: [UInt8], from start: Int = 2) -> [[Int]] {
        text.withRawSpan { span in
            var cursor = UnpackCursor(position: start, end: span.byteCount)
            var found: [[Int]] = []
            while let record = cursor.skim(span) { found.append([record.offset, record.count]) }
            return found
        }
    }

    @Test func recordsAreFound() {
        #expect(skim([0, 0, 0, 3, 1, 2, 3, 0x40, 1, 9, 0, 2, 7, 7]) == [[4, 3], [9, 1], [12, 2]])
        // Behind a continuation of two octets.
        #expect(skim([0, 2, 8, 8, 0, 1, 5], from: 4) == [[6, 1]])
    }

    @Test func theLookEndsAtPaddingAndWithTheDatagram() {
        #expect(skim([0, 0, 0, 1, 5, 0, 0, 0, 0]) == [[4, 1]])
        #expect(skim([0, 0, 0, 1, 5, 0, 3, 1, 2]) == [[4, 1], [7, 2]])
        #expect(skim([0, 0, 0, 1, 5, 0]) == [[4, 1]])
        #expect(skim([0, 0, 0x3F, 0xFF, 1]) == [[4, 1]])
        #expect(skim([0, 0, 0x3F, 0xFF]) == [])
        #expect(skim([0, 0]) == [])
        #expect(skim([], from: 0) == [])
    }
}
