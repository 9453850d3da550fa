// Which counters of a stream have been received: a ring of bits, in the manner of RFC 6479. A counter is checked before
// the seal is opened, and marked only after it has opened, so that a forged datagram can never move the window.
//
//     words of 64 counters, a ring:  ... [ oldest ] ... [ newest ] [ one spare, so that a word is cleared before use ]
//     in the window: newest word and the `words - 1` before it

import Basics
import Buffers

/// The last 16,384 counters and more of one stream. Counters start at 0 and end before `UInt64.max`.
public struct ReplayWindow: ~Copyable {
    /// The least number of counters behind the newest that are told apart.
    public static let size = 16_384

    private static let words = size / 64 + 1
    private static let ringSize = 512

    private var ring: FixedArray<UInt64>
    /// One above the newest counter marked; 0 when none is.
    private var end: UInt64 = 0

    public init() { ring = FixedArray(count: ReplayWindow.ringSize) { _ in 0 } }

    public mutating func reset() {
        end = 0
        for index in 0..<ring.count { ring[index] = 0 }
    }

    /// True for a window that accepts nothing.
    public var isClosed: Bool { ring.count == 0 }

    /// A window without memory, for a stream that there is not: it accepts nothing.
    public static var closed: ReplayWindow { ReplayWindow(ring: FixedArray(count: 0) { _ in 0 }) }

    private init(ring: consuming FixedArray<UInt64>) { self.ring = ring }

    /// How many counters lie between the newest that was marked and `counter`: those that are missing, for now at least, once
    /// it is marked. Precondition: `isNewest(counter)`.
    public func gap(before counter: UInt64) -> UInt64 { counter &- end }

    /// True when `counter` is newer than all that were marked.
    public func isNewest(_ counter: UInt64) -> Bool { counter >= end }

    /// True when a datagram with that counter may be accepted: not marked, not too old, and not the forbidden last one.
    public func accepts(_ counter: UInt64) -> Bool {
        if counter == .max || ring.count == 0 { return false }
        if counter >= end { return true }
        if (end &- 1) / 64 &- counter / 64 >= UInt64(ReplayWindow.words) { return false }
        return ring[ReplayWindow.slot(counter)] & ReplayWindow.bit(counter) == 0
    }

    /// Marks a counter as received. Precondition: `accepts(counter)`.
    public mutating func mark(_ counter: UInt64) {
        if counter >= end {
            // Words between the newest and this one hold counters from a turn of the ring ago.
            let newest = end == 0 ? 0 : (end &- 1) / 64
            let steps = min(counter / 64 &- newest, UInt64(ReplayWindow.ringSize))
            var step: UInt64 = 0
            // Not a range, whose iterator takes memory where it is not optimised.
            while step < steps {
                ring[Int((counter / 64 &- step) % UInt64(ReplayWindow.ringSize))] = 0
                step &+= 1
            }
            end = counter &+ 1
        }
        ring[ReplayWindow.slot(counter)] |= ReplayWindow.bit(counter)
    }

    private static func slot(_ counter: UInt64) -> Int { Int(counter / 64 % UInt64(ringSize)) }
    private static func bit(_ counter: UInt64) -> UInt64 { 1 << (counter % 64) }
}
