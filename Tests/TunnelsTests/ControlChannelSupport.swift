// Two control channels and a wire between them, on a virtual clock: segments are lost, repeated and delayed from one seed.

import Basics
import Buffers
import Testing

@testable import Tunnels

/// A channel by reference, so that the test macros can take calls that change it.
final class End {
    private(set) var channel: ControlChannel

    init(_ channel: ControlChannel) { self.channel = channel }

    init(maximumSegment: Int = 1_200, window: Int = 64, queueLimit: Int = 256, messageLimit: Int = 65_536) {
        channel = ControlChannel(
            maximumSegment: maximumSegment, window: window, queueLimit: queueLimit, messageLimit: messageLimit)
    }

    var sendStream: UInt64 { channel.sendStream }
    var receiveStream: UInt64 { channel.receiveStream }
    var hasRoom: Bool { channel.hasRoom }
    var isIdle: Bool { channel.isIdle }
    var nextTimeout: Instant { channel.nextTimeout }
    var counters: ControlChannel.Counters { channel.counters }
    var roundTrip: Interval? { channel.roundTrip }
    var keptBytes: Int { channel.keptBytes }

    func begin(stream: UInt64, at now: Instant) { channel.begin(stream: stream, at: now) }
    func send(_ message: [UInt8], at now: Instant) -> Bool { channel.send(message, at: now) }
    func forget(at now: Instant) { channel.forget(at: now) }
    func handleTimeout(at now: Instant) { channel.handleTimeout(at: now) }
    func limitSequences(to limit: UInt32) { channel.limitSequences(to: limit) }
    func pollSegment(at now: Instant) -> [UInt8]? { channel.pollSegment(at: now) }

    func handle(_ segment: [UInt8], at now: Instant) {
        var segment = segment
        segment.withMutableRawSpan { channel.handleSegment($0.bytes, at: now) }
    }

    func pollSegments(at now: Instant) -> [[UInt8]] {
        var segments: [[UInt8]] = []
        while let segment = pollSegment(at: now) { segments.append(segment) }
        return segments
    }

    func pollEvents() -> [ControlChannel.Event] {
        var events: [ControlChannel.Event] = []
        while let event = channel.pollEvent() { events.append(event) }
        return events
    }
}

/// Milliseconds after the origin.
func ms(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

/// Two ends, 0 and 1. What they say about time is checked after every step.
struct ControlWire {
    struct Faults {
        /// In 1,000,000.
        var loss: UInt32 = 0
        var duplication: UInt32 = 0
        /// The least and the greatest delay; anything between reorders.
        var delay: ClosedRange<Int64> = 5...5
    }

    struct Flight {
        var arrival: Instant
        var end: Int
        var bytes: [UInt8]
    }

    var ends: [End]
    var events: [[ControlChannel.Event]] = [[], []]
    var faults: Faults
    var random: SeededRandom
    var now = Instant.zero
    /// By arrival, and by departure where that is equal.
    private(set) var flights: [Flight] = []
    private(set) var segments = 0
    private(set) var longest = 0
    /// Steps after which an end wanted to be called at once, or had something to send before the time it named.
    private(set) var dishonest = 0

    init(seed: UInt64 = 1, faults: Faults = Faults()) {
        ends = [End(), End()]
        self.faults = faults
        random = SeededRandom(seed: seed)
    }

    /// Fetches all that an end gives.
    mutating func settle(_ end: Int) {
        events[end] += ends[end].pollEvents()
        while let segment = ends[end].pollSegment(at: now) { depart(segment, to: 1 - end) }
    }

    /// Goes on to the next arrival or timeout; false when there is none up to `limit`, which is then the time.
    mutating func step(until limit: Instant) -> Bool {
        let next = min(flights.first?.arrival ?? .distantFuture, ends[0].nextTimeout, ends[1].nextTimeout)
        guard next <= limit else {
            now = max(now, limit)
            return false
        }
        now = max(now, next)
        while let flight = flights.first, flight.arrival <= now {
            flights.removeFirst()
            ends[flight.end].handle(flight.bytes, at: now)
            settle(flight.end)
        }
        for end in 0..<2 where ends[end].nextTimeout <= now {
            ends[end].handleTimeout(at: now)
            settle(end)
        }
        for end in 0..<2 where !isHonest(end) { dishonest += 1 }
        return true
    }

    mutating func run(until limit: Instant) { while step(until: limit) {} }

    /// Nothing is due before `nextTimeout`, which is in the future.
    private func isHonest(_ end: Int) -> Bool {
        guard ends[end].nextTimeout > now else { return false }
        // A look into the future is dear: at every eighth departure.
        guard segments % 8 == 0 else { return true }
        var copy = ends[end].channel
        let before = copy.nextTimeout - .nanoseconds(1)
        copy.handleTimeout(at: before)
        return copy.nextTimeout == .distantFuture || copy.pollSegment(at: before) == nil
    }

    private mutating func depart(_ bytes: [UInt8], to end: Int) {
        segments += 1
        longest = max(longest, bytes.count)
        for _ in 0..<(random.chance(millionths: faults.duplication) ? 2 : 1) where !random.chance(millionths: faults.loss) {
            let delay = Int64.random(in: faults.delay, using: &random)
            let flight = Flight(arrival: now + .milliseconds(delay), end: end, bytes: bytes)
            let place = (flights.lastIndex { $0.arrival <= flight.arrival } ?? -1) + 1
            flights.insert(flight, at: place)
        }
    }
}

/// Messages that tell their number and length, cut from one block.
struct MessageSource {
    private let block: [UInt8]
    private let lengths: [Int]

    init(seed: UInt64, count: Int, upTo most: Int) {
        var random = SeededRandom(seed: seed)
        block = randomBytes(most + 256, &random)
        lengths = (0..<count).map { _ in Int.random(in: 0...most, using: &random) }
    }

    var count: Int { lengths.count }

    func message(_ number: Int) -> [UInt8] {
        let start = number % 251
        return Array(
            (bigEndian(UInt32(truncatingIfNeeded: number)) + block[start..<(start + lengths[number])]).prefix(lengths[number]))
    }
}
