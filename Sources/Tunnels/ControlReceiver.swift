// The receiving half of a control channel: which of the peer's streams is heard, and its segments put into order.
//
//     next                                 next + 64
//     | received, in order | . x . . x x . |            x: early, kept until the ones before them come
//
// A stream is taken up only at its beginning. A segment that says that we have acknowledged what we do not have (`oldest`)
// was meant for an earlier life of this gateway: its stream is refused from then on, and the peer is asked for a new one.

import Basics

struct ControlReceiver: Sendable {
    /// Segments beyond the next one that are kept. A sender has no more underway.
    static let window = 64
    /// The least time between two resets.
    static let resetInterval = Interval.milliseconds(200)

    private struct Early: Sendable {
        var payload: [UInt8]
        var isLast: Bool
    }

    enum Arrival {
        /// Taken in.
        case fresh
        case duplicate
        /// The stream is stale, or not one that we have the beginning of.
        case refused
        /// Beyond what is kept, or the events have not been fetched: the peer has to repeat it.
        case overrun
    }

    let messageLimit: Int
    /// Unfetched messages from which on nothing more is taken in.
    let messagesLimit: Int

    /// The stream that is heard; 0: none. Always larger than `floor` unless it is 0.
    private(set) var stream: UInt64 = 0
    /// Streams up to this one are refused. Only grows.
    private var floor: UInt64 = 0
    /// All segments below have been received.
    private var next: UInt32 = 0
    /// By sequence modulo their number. Always: all are between `next` and `next` + 64.
    private var early = [Early?](repeating: nil, count: window)
    /// The beginning of a message.
    private var partial: [UInt8] = []

    /// The stream that has begun, until it is fetched.
    var begun: UInt64?
    /// Whole messages until they are fetched: at most `messagesLimit` and 64 more.
    var messages: [[UInt8]] = []
    private var owesAck = false
    private var owedReset: UInt64?
    private var noResetBefore = Instant.zero

    init(messageLimit: Int, messagesLimit: Int) {
        self.messageLimit = messageLimit
        self.messagesLimit = messagesLimit
    }

    /// Octets kept, for the tests of bounds.
    var keptBytes: Int {
        partial.count + early.reduce(0) { $0 + ($1?.payload.count ?? 0) } + messages.reduce(0) { $0 + $1.count }
    }

    mutating func handleData(
        stream: UInt64, sequence: UInt32, oldest: UInt32, isLast: Bool, payload: [UInt8], at now: Instant
    ) -> Arrival {
        // A beginning whose first segments are missing is one only within the window.
        if stream > max(self.stream, floor), oldest == 0, sequence >= UInt32(ControlReceiver.window) { return .overrun }
        guard admit(stream, oldest: oldest, at: now) else { return .refused }
        if messages.count >= messagesLimit { return .overrun }
        owesAck = true
        if sequence < next { return .duplicate }
        guard sequence &- next < UInt32(ControlReceiver.window) else { return .overrun }
        guard early[ControlReceiver.slot(sequence)] == nil else { return .duplicate }
        early[ControlReceiver.slot(sequence)] = Early(payload: payload, isLast: isLast)
        return putInOrder(at: now) ? .fresh : .refused
    }

    mutating func handleProbe(stream: UInt64, oldest: UInt32, at now: Instant) -> Arrival {
        guard admit(stream, oldest: oldest, at: now) else { return .refused }
        owesAck = true
        return .fresh
    }

    /// The peer is alive: a stream that was forgotten is asked for anew.
    mutating func handleSignOfLife(at now: Instant) {
        if stream == 0, floor > 0 { oweReset(floor, at: now) }
    }

    /// Drops the stream and what has not been fetched, and refuses it from here on.
    mutating func forget() {
        floor = max(floor, stream)
        clear(for: 0)
        begun = nil
        messages = []
    }

    /// A reset or an acknowledgement that is owed.
    mutating func pollSegment() -> ControlSegment? {
        if let stream = owedReset {
            owedReset = nil
            return .reset(stream: stream, newest: max(floor, self.stream))
        }
        guard owesAck else { return nil }
        owesAck = false
        var bitmap: UInt64 = 0
        for bit in 0..<UInt32(ControlReceiver.window - 1) where early[ControlReceiver.slot(next &+ 1 &+ bit)] != nil {
            bitmap |= 1 << UInt64(bit)
        }
        return .ack(stream: stream, next: next, bitmap: bitmap)
    }

    /// True when a segment of that stream is for what we have, or begins it.
    private mutating func admit(_ stream: UInt64, oldest: UInt32, at now: Instant) -> Bool {
        if stream > max(self.stream, floor), oldest == 0 {
            // What the stream before said is stale, fetched or not.
            forget()
            clear(for: stream)
            begun = stream
        }
        if stream == self.stream, oldest <= next { return true }
        if stream >= max(self.stream, floor) {
            forget()
            floor = stream
        }
        oweReset(stream, at: now)
        return false
    }

    /// Moves what is there in order to the messages; false when one is too long and the stream is dropped.
    private mutating func putInOrder(at now: Instant) -> Bool {
        while let segment = early[ControlReceiver.slot(next)] {
            early[ControlReceiver.slot(next)] = nil
            next &+= 1
            guard segment.payload.count <= messageLimit - partial.count else {
                let stream = self.stream
                forget()
                oweReset(stream, at: now)
                return false
            }
            partial += segment.payload
            if segment.isLast {
                messages.append(partial)
                partial = []
            }
        }
        return true
    }

    private mutating func clear(for stream: UInt64) {
        self.stream = stream
        next = 0
        early = [Early?](repeating: nil, count: ControlReceiver.window)
        partial = []
        owesAck = false
    }

    private mutating func oweReset(_ stream: UInt64, at now: Instant) {
        guard now >= noResetBefore else { return }
        owedReset = stream
        noResetBefore = now + ControlReceiver.resetInterval
    }

    private static func slot(_ sequence: UInt32) -> Int { Int(sequence % UInt32(window)) }
}
