// The control channel of a pair session: messages of any length, reliable, in order, each delivered once, over records
// that are lost, repeated and reordered. What gateways tell each other travels here: interest, keys, names.
//
// The channel outlives renewals of the session's keys, but not the process: what was told is bound to a *stream*, which the
// sender begins with a number larger than any before. A receiver hears one stream at a time. When the peer begins another,
// all that it said before is stale; when we have lost the peer's stream (we restarted, or it was down and its facts were
// dropped), it is told so, and begins anew by telling everything again.
//
//     sender              peer                                       sender              peer
//       | begin(7)          |                                          | data 7, #40       | (restarted: knows no stream)
//       | data 7, #0 ------>| .began(7)                                |------------------>|
//       | data 7, #1 --X    |                                          |<------- reset 7 --|
//       | data 7, #2 ------>| (kept)                                   | .resyncWanted     |
//       |<----- ack 7, 1, 1 |                                          | begin(8)          |
//       | data 7, #1 ------>| .message, .message                       | data 8, #0 ------>| .began(8)
//
// `ControlSegment` is the wire format, `ControlSender` and `ControlReceiver` are the two halves.

import Basics
import Buffers

/// One side of a control channel. It does no I/O. After each call that brings something in (`begin`, `send`, `forget`,
/// `handleSegment`, `handleTimeout`) fetch `pollEvent` and `pollSegment` until they give nothing; call `handleTimeout`, then
/// poll, when `nextTimeout` has come. `nextTimeout` does not tell of segments that have not been fetched.
///
/// Memory is bounded: `queueLimit` messages of `messageLimit` octets and `window` segments on the sending side, as much again
/// on the receiving side, where 64 segments of whatever length a record has may wait for earlier ones.
public struct ControlChannel: Sendable {
    public enum Event: Equatable, Sendable {
        /// The peer's stream is a new one: what it told before is stale. Its messages follow.
        case began(UInt64)
        case message([UInt8])
        /// The peer has lost our stream, or its sequences are used up: `begin` a new one. Nothing is sent until then.
        case resyncWanted
    }

    public struct Counters: Hashable, Sendable {
        /// Segments given out by `pollSegment`, of every kind.
        public var segmentsOut: UInt64 = 0
        /// Data segments among them that had been given out before.
        public var retransmissions: UInt64 = 0
        /// Segments handled, whatever came of them.
        public var segmentsIn: UInt64 = 0
        /// Data segments that had been received before.
        public var duplicates: UInt64 = 0
        /// Segments too short, with numbers out of range, or acknowledging what was never sent.
        public var malformed: UInt64 = 0
        /// Segments of a kind that this version does not know.
        public var unknown: UInt64 = 0
        /// Segments of streams that are stale, were forgotten or lost, and streams dropped for a message beyond the limit.
        public var refused: UInt64 = 0
        /// Data segments beyond the window, or that came while `queueLimit` messages had not been fetched: the peer repeats them.
        public var overruns: UInt64 = 0
        /// Streams of ours that the peer has lost.
        public var resyncs: UInt64 = 0
    }

    /// The most segments underway.
    public static let windowLimit = ControlReceiver.window

    private var sender: ControlSender
    private var receiver: ControlReceiver
    private var counts = Counters()

    /// - Parameters:
    ///   - maximumSegment: the longest segment given out, in octets, 64 to 16,383.
    ///   - window: data segments underway at most, 1 to 64.
    ///   - queueLimit: messages that wait to be sent, and messages that wait to be fetched.
    ///   - messageLimit: the longest message, in octets, in both directions.
    public init(maximumSegment: Int = 1_200, window: Int = 64, queueLimit: Int = 256, messageLimit: Int = 65_536) {
        precondition(maximumSegment >= 64 && maximumSegment < 1 << 14)
        precondition(window >= 1 && window <= ControlChannel.windowLimit && queueLimit >= 1 && messageLimit >= 0)
        sender = ControlSender(
            payloadLimit: maximumSegment - ControlSegment.dataHeader, window: window, queueLimit: queueLimit,
            messageLimit: messageLimit)
        receiver = ControlReceiver(messageLimit: messageLimit, messagesLimit: queueLimit)
    }

    // MARK: Sending

    /// Our side starts anew: everything queued or unacknowledged is forgotten, and the peer will take what it was told before
    /// as stale, even if nothing is told afterwards. `stream`, 1 to 2^63 - 1, is best taken from a clock, so that it is larger
    /// than those of this gateway's earlier lives. A number that is not larger than one that was used, or that the peer is
    /// known to refuse, is replaced by the next larger one; see `sendStream`.
    public mutating func begin(stream: UInt64, at now: Instant) {
        precondition(stream > 0 && stream <= ControlSegment.streamLimit)
        sender.begin(stream: stream, at: now)
    }

    /// The stream that was begun last; 0: none.
    public var sendStream: UInt64 { sender.stream }

    /// True when a message can be queued: a stream has begun, the peer has not lost it, and fewer than `queueLimit` messages
    /// wait.
    public var hasRoom: Bool { sender.hasRoom }

    /// Queues a message; false, and nothing is queued, when there is no room or it is longer than `messageLimit`.
    public mutating func send(_ message: [UInt8], at now: Instant) -> Bool { sender.queue(message) }

    /// True when every message that was queued has been acknowledged, or forgotten by `begin` or the stream's end.
    public var isIdle: Bool { sender.isIdle }

    // MARK: Receiving

    /// The stream of the peer that is heard; 0: none.
    public var receiveStream: UInt64 { receiver.stream }

    /// Takes in what the peer's `pollSegment` has given. Nothing in it can trap.
    public mutating func handleSegment(_ bytes: RawSpan, at now: Instant) {
        counts.segmentsIn &+= 1
        guard let segment = ControlSegment([UInt8](copying: bytes)) else {
            counts.malformed &+= 1
            return
        }
        let heard = receiver.stream
        switch segment {
        case .data(let stream, let sequence, let oldest, let isLast, let payload):
            count(
                receiver.handleData(
                    stream: stream, sequence: sequence, oldest: oldest, isLast: isLast, payload: payload, at: now))
        case .probe(let stream, let oldest): count(receiver.handleProbe(stream: stream, oldest: oldest, at: now))
        case .ack(let stream, let next, let bitmap):
            if !sender.handleAck(stream: stream, next: next, bitmap: bitmap, at: now) { counts.malformed &+= 1 }
            receiver.handleSignOfLife(at: now)
        case .reset(let stream, let newest): sender.handleReset(stream: stream, newest: newest)
        case .unknown: counts.unknown &+= 1
        }
        // A peer that begins anew may have begun its life anew: whether it still has our stream is asked at once.
        if receiver.stream > heard { sender.handlePeerBegan(at: now) }
    }

    /// What happened, and has not been fetched: a wish for a new stream of ours, the peer's beginning, its messages in order.
    public mutating func pollEvent() -> Event? {
        if sender.isResyncWanted {
            sender.isResyncWanted = false
            counts.resyncs &+= 1
            return .resyncWanted
        }
        if let stream = receiver.begun {
            receiver.begun = nil
            return .began(stream)
        }
        return receiver.messages.isEmpty ? nil : .message(receiver.messages.removeFirst())
    }

    /// The peer went down and what it told was dropped: its stream, and any before it, is never heard again, events not
    /// fetched included. When something of the peer's is heard, it is asked for a new stream.
    public mutating func forget(at now: Instant) { receiver.forget() }

    // MARK: Driving

    /// The next segment to transmit: a reset, an acknowledgement, a retransmission, data, or a probe.
    public mutating func pollSegment(at now: Instant) -> [UInt8]? {
        guard let segment = receiver.pollSegment() ?? sender.pollSegment(at: now) else { return nil }
        counts.segmentsOut &+= 1
        return segment.encoded
    }

    public mutating func handleTimeout(at now: Instant) { sender.handleTimeout(at: now) }

    /// When to call `handleTimeout` and then `pollSegment`, if nothing happens before.
    public var nextTimeout: Instant { sender.nextTimeout }

    public var counters: Counters {
        var counters = counts
        counters.retransmissions = sender.retransmissions
        return counters
    }

    /// The smoothed round trip of RFC 6298; `nil` before the first measurement.
    public var roundTrip: Interval? { sender.roundTrip }

    /// Octets of messages kept, in both directions, for the tests of bounds.
    package var keptBytes: Int { sender.keptBytes + receiver.keptBytes }

    /// Where our streams end, for the test of what happens there.
    mutating func limitSequences(to limit: UInt32) { sender.sequenceLimit = limit }

    private mutating func count(_ arrival: ControlReceiver.Arrival) {
        switch arrival {
        case .fresh: break
        case .duplicate: counts.duplicates &+= 1
        case .refused: counts.refused &+= 1
        case .overrun: counts.overruns &+= 1
        }
    }
}
