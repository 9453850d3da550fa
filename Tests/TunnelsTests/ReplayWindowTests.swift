// The replay window: a numbered truth table in the manner of WireGuard's self-test, and random counters against a set.

import Basics
import Testing

@testable import Tunnels

@Suite struct ReplayWindowTests {
    private static let size = UInt64(ReplayWindow.size)

    /// Checks as the lane does: mark only what was accepted.
    private static func take(_ window: inout ReplayWindow, _ counter: UInt64) -> Bool {
        guard window.accepts(counter) else { return false }
        window.mark(counter)
        return true
    }

    @Test func truthTable() {
        let size = ReplayWindowTests.size
        let top: UInt64 = .max
        var window = ReplayWindow()
        // The window is documented to tell *at least* `size` counters apart: up to a word more is as it likes.
        let steps: [(number: Int, counter: UInt64, accepted: Bool)] = [
            (1, 0, true), (2, 0, false), (3, 1, true), (4, 1, false),
            (5, 9, true), (6, 8, true), (7, 7, true), (8, 7, false),
            (9, 63, true), (10, 64, true), (11, 63, false), (12, 64, false),
            (13, size, true), (14, size - 1, true), (15, size - 1, false), (16, 2, true),
            (17, 2, false), (18, size + 2, true), (19, 3, true), (20, size + 2, false),
            (21, size + 16, true), (22, 17, true), (23, 17, false),
            (24, size * 4, true), (25, size * 4 - (size - 1), true), (26, 10, false),
            (27, size * 4 - (size - 1), false), (28, size * 4 - (size + 64), false),
            (29, size * 4 - (size - 2), true), (30, size * 4 + 1, true), (31, 0, false),
            (32, 1 << 40, true), (33, size * 4 + 2, false), (34, (1 << 40) - (size - 1), true),
            (35, (1 << 40) - size * 2, false), (36, 1 << 40, false), (37, (1 << 40) + 1, true),
            (38, top - 1, true), (39, top - 1, false), (40, top, false), (41, top, false),
            (42, top - 2, true), (43, top - size, true), (44, top - size, false),
            (45, top - size - 128, false), (46, 0, false), (47, (1 << 40) + 2, false),
        ]
        for step in steps {
            #expect(ReplayWindowTests.take(&window, step.counter) == step.accepted, "step \(step.number): \(step.counter)")
        }
        window.reset()
        #expect(ReplayWindowTests.take(&window, 0) && !ReplayWindowTests.take(&window, 0))
        #expect(ReplayWindowTests.take(&window, top - 1) && !ReplayWindowTests.take(&window, top))
    }

    /// The window of a stream that there is not.
    @Test func aClosedWindowAcceptsNothing() {
        let window = ReplayWindow.closed
        #expect(window.isClosed && !ReplayWindow().isClosed)
        for counter: UInt64 in [0, 1, 63, 64, 1 << 40, .max - 1, .max] {
            let accepted = window.accepts(counter)
            #expect(!accepted, "\(counter)")
        }
    }

    /// WireGuard's loops: forwards, backwards over a whole window, and with a gap at the start.
    @Test func wholeWindowBothWays() {
        let size = ReplayWindowTests.size
        var window = ReplayWindow()
        for counter in 1...size { #expect(ReplayWindowTests.take(&window, counter)) }
        #expect(ReplayWindowTests.take(&window, 0))
        #expect(!ReplayWindowTests.take(&window, 0))
        window.reset()
        for counter in (0..<size).reversed() { #expect(ReplayWindowTests.take(&window, counter)) }
        for counter in 0..<size { #expect(!ReplayWindowTests.take(&window, counter)) }
        // Every ring position is cleared before it is used again, wherever a jump lands.
        for jump in [1, 63, 64, 65, size - 1, size, size + 63, 32_767, 32_768, 32_769, 65_536] as [UInt64] {
            window.reset()
            for counter in 0..<300 as Range<UInt64> { _ = ReplayWindowTests.take(&window, counter) }
            #expect(ReplayWindowTests.take(&window, 299 + jump))
            for back in 1..<min(jump, size) where back % 7 == 1 {
                #expect(ReplayWindowTests.take(&window, 299 + jump - back), "jump \(jump), back \(back)")
            }
        }
    }

    /// Neighbours overtake each other, over several turns of the ring: no place still knows a counter of the turn before.
    @Test func overtakingOverSeveralTurns() {
        for distance in [1, 2, 63, 64, 65] as [UInt64] {
            var window = ReplayWindow()
            var refused = 0
            for block in 0..<(100_000 / (distance + 1)) {
                let first = block * (distance + 1)
                for counter in (first...(first + distance)).reversed() where !ReplayWindowTests.take(&window, counter) {
                    refused += 1
                }
            }
            #expect(refused == 0, "distance \(distance)")
        }
    }

    @Test func newestIsAboveAllThatWereMarked() {
        var window = ReplayWindow()
        #expect(window.isNewest(0) == true)
        window.mark(5)
        #expect(!window.isNewest(5) && !window.isNewest(4) && window.isNewest(6))
        window.mark(2)
        #expect(!window.isNewest(3) && window.isNewest(6))
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func agreesWithASet(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var window = ReplayWindow()
        var seen: Set<UInt64> = []
        var newest: UInt64 = 0
        let size = ReplayWindowTests.size
        for _ in 0..<60_000 {
            let counter: UInt64
            switch random.next() % 16 {
            case 0: counter = newest + random.next() % (3 * size)
            case 1...5: counter = newest + random.next() % 4
            default: counter = newest - min(newest, random.next() % (size + 200))
            }
            let accepted = ReplayWindowTests.take(&window, counter)
            if seen.contains(counter) {
                #expect(!accepted, "a counter is accepted once")
            } else if counter + size > newest {
                #expect(accepted, "a counter within the window that was not seen is accepted")
            } else if counter + size + 64 <= newest {
                #expect(!accepted, "a counter more than a word behind the window is refused")
            }
            if accepted { seen.insert(counter) }
            newest = max(newest, accepted ? counter : newest)
        }
    }
}
