// Unpacking: the records of opened datagrams, in the order the datagrams arrive. Records that lie within one datagram are
// lent from where they are. A record that runs over several is put together from pieces, each kept under the counter of
// its datagram: the pieces of one record have consecutive counters under one key, so a record can only ever be joined
// from what was one record. Nothing that arrives whole waits; a piece waits in a bounded place for a bounded time.
//
//     datagram c       ... | head of X |          piece c:   tail = head of X, total length known from its header
//     datagram c+1     | middle of X   |          piece c+1: continuation, "more follows"
//     datagram c+2     | end of X | ...           piece c+2: continuation, "the last"
//
// A piece slot is reused by the counter that is `slots` later; a piece that was still waiting then, or longer than
// `patience`, is a lost frame.

import Basics
import Buffers

/// What one opened datagram brings; walk with `Unpacker.next`.
public struct UnpackCursor: BitwiseCopyable, Sendable {
    @usableFromInline var position: Int
    @usableFromInline var end: Int

    /// Steps over the next record and says where it is, or where its beginning is if it runs on; `nil` where there is no more.
    /// For a look ahead: what is amiss is for `Reassembler.next` to say.
    public mutating func skim(_ text: RawSpan) -> (offset: Int, count: Int)? {
        guard end &- position > PackingLayout.recordHeaderBytes, text.byteCount >= end else { return nil }
        let count = Int(UInt16(bigEndianIn: text, at: position) & PackingLayout.lengthMask)
        let offset = position &+ PackingLayout.recordHeaderBytes
        if count == 0 { return nil }
        position = min(offset &+ count, end)
        return (offset, position &- offset)
    }
}

public enum UnpackStep: Sendable, BitwiseCopyable {
    /// A whole record at `offset` of the datagram.
    case record(RecordKind, offset: Int, count: Int)
    /// A record of an unknown kind was passed over.
    case skipped
    /// A record that runs on was put aside; it is the datagram's last.
    case partial
    /// The contents contradict themselves; the rest is passed over.
    case malformed
    case end
}

/// Puts records that were cut back together, for the streams that come from one peer.
public struct Reassembler: ~Copyable {
    /// Datagrams whose pieces can wait at once.
    public static let slots = 64
    /// How long a piece waits for its neighbours.
    public static let patience = Interval.milliseconds(200)

    struct Piece: BitwiseCopyable {
        var stream: UInt32 = 0
        var counter: UInt64 = 0
        var arrived = Instant.zero
        /// A continuation at the datagram's start; 0 when there is none or it is used up.
        var headCount = 0
        /// True when the record goes on behind this datagram.
        var headGoesOn = false
        /// Octets of the record that remain from this datagram on, as its packing header says.
        var headRemaining = 0
        /// The start of a record at the datagram's end; 0 when there is none or it is used up.
        var tailCount = 0
        var tailTotal = 0
        var tailKind = RecordKind.frame
        /// Octets that a datagram as long as this one, which is full, can continue a record by. Set with the tail.
        var bodyCount = 0
        /// Whether the datagram came with a congestion mark that its records take on.
        var mark: UInt8 = 0

        var isWaiting: Bool { headCount > 0 || tailCount > 0 }
        /// True when a record ends in the head.
        var hasEnd: Bool { headCount > 0 && !headGoesOn }

        /// True when the record that starts here is the one that ends in a piece `distance` datagrams on.
        func startsRecord(endingIn end: Piece, distance: Int) -> Bool {
            tailTotal &- tailCount &- (distance &- 1) &* bodyCount == end.headRemaining
        }
    }

    private let datagramSize: Int
    private var isOpen = false
    private var pieces: FixedArray<Piece>
    /// Two areas a slot: the head's octets, then the tail's.
    private var storage: OwnedBytes
    private var joined: OwnedBytes
    private var waiting = 0
    /// Of the datagrams that the last joined record came in, the strongest mark that `note` was told of; 0 for none.
    public private(set) var joinedMark: UInt8 = 0
    /// Records given up because a part never came.
    public private(set) var lost: UInt64 = 0

    /// Without memory, until `open`: a gateway has room for more streams than it ever hears.
    /// - Parameter datagramSize: the longest datagram that will be handled, in octets.
    public init(datagramSize: Int) {
        self.datagramSize = datagramSize
        pieces = FixedArray(count: 1) { _ in Piece() }
        storage = OwnedBytes(count: 1)
        joined = OwnedBytes(count: 1)
    }

    /// Takes the memory that datagrams need; nothing happens the second time. To be called before the first datagram.
    public mutating func open() {
        if isOpen { return }
        isOpen = true
        pieces = FixedArray(count: Reassembler.slots) { _ in Piece() }
        storage = OwnedBytes(count: Reassembler.slots * 2 * datagramSize)
        joined = OwnedBytes(count: Int(PackingLayout.lengthMask) + 1)
    }

    public var isWaiting: Bool { waiting > 0 }

    /// Begins a datagram that was opened: puts a continuation at its start aside, and says where the records begin.
    /// `text` is the opened text: packing header and body. `nil` when it is no packing header, or longer than was agreed.
    public mutating func begin(_ text: RawSpan, stream: UInt32, counter: UInt64, at now: Instant) -> UnpackCursor? {
        guard text.byteCount <= datagramSize, isOpen else { return nil }
        if text.byteCount == 0 { return UnpackCursor(position: 0, end: 0) }
        guard text.byteCount >= PackingLayout.headerBytes else { return nil }
        let remaining = Int(UInt16(bigEndianIn: text, at: 0))
        let body = text.byteCount &- PackingLayout.headerBytes
        let head = min(remaining, body)
        if head > 0 {
            let slot = claim(stream, counter, now)
            let place = headOffset(slot)
            storage.copy(text.extracting(PackingLayout.headerBytes..<(PackingLayout.headerBytes &+ head)), to: place)
            pieces[slot].headCount = head
            pieces[slot].headRemaining = remaining
            pieces[slot].headGoesOn = remaining > body
        }
        return UnpackCursor(position: PackingLayout.headerBytes &+ head, end: text.byteCount)
    }

    /// The next record of a datagram that was begun.
    public mutating func next(
        _ cursor: inout UnpackCursor, _ text: RawSpan, stream: UInt32, counter: UInt64, at now: Instant
    ) -> UnpackStep {
        let left = cursor.end &- cursor.position
        guard left >= PackingLayout.recordHeaderBytes, text.byteCount >= cursor.end else { return .end }
        let word = UInt16(bigEndianIn: text, at: cursor.position)
        let count = Int(word & PackingLayout.lengthMask)
        if count == 0 {
            cursor.position = cursor.end
            return word == 0 ? .end : .malformed
        }
        let offset = cursor.position &+ PackingLayout.recordHeaderBytes
        let kind = RecordKind(rawValue: word >> 14)
        if offset &+ count <= cursor.end {
            cursor.position = offset &+ count
            guard let kind else { return .skipped }
            return .record(kind, offset: offset, count: count)
        }
        let part = cursor.end &- offset
        cursor.position = cursor.end
        guard part > 0 else { return .malformed }
        guard let kind else { return .skipped }
        let slot = claim(stream, counter, now)
        let place = tailOffset(slot)
        storage.copy(text.extracting(offset..<(offset &+ part)), to: place)
        pieces[slot].tailCount = part
        pieces[slot].tailTotal = count
        pieces[slot].tailKind = kind
        pieces[slot].bodyCount = cursor.end &- PackingLayout.headerBytes
        return .partial
    }

    /// After a datagram brought a piece: joins a record that its continuation, or its tail, completes. Call until `nil`; at
    /// most two records result. The octets are `joinedRecord(count)`.
    public mutating func join(stream: UInt32, counter: UInt64, at now: Instant) -> (kind: RecordKind, count: Int)? {
        guard let slot = find(stream, counter) else { return nil }
        if pieces[slot].headCount > 0, let result = join(from: counter &- 1, walkingBack: true, stream, now) { return result }
        if pieces[slot].tailCount > 0 { return join(from: counter, walkingBack: false, stream, now) }
        return nil
    }

    @_lifetime(borrow self)
    public func joinedRecord(_ count: Int) -> RawSpan { joined.bytes(at: 0, count: count) }

    /// The same, to change in place.
    @_lifetime(&self)
    public mutating func mutableJoinedRecord(_ count: Int) -> MutableRawSpan { joined.mutableBytes(at: 0, count: count) }

    /// The pieces that a datagram has left here take on its mark; nothing happens if it has left none.
    public mutating func note(mark: UInt8, stream: UInt32, counter: UInt64) {
        if let slot = find(stream, counter) { pieces[slot].mark = mark }
    }

    /// Gives up pieces that have waited too long.
    public mutating func handleTimeout(at now: Instant) {
        if waiting == 0 { return }
        for slot in 0..<pieces.count where pieces[slot].isWaiting && now - pieces[slot].arrived > Reassembler.patience {
            abandon(slot)
        }
    }

    // MARK: Below: pieces

    private func headOffset(_ slot: Int) -> Int { slot &* 2 &* datagramSize }
    private func tailOffset(_ slot: Int) -> Int { (slot &* 2 &+ 1) &* datagramSize }

    /// The slot for a datagram's pieces, cleared of what an earlier one left.
    private mutating func claim(_ stream: UInt32, _ counter: UInt64, _ now: Instant) -> Int {
        let slot = Int(counter % UInt64(Reassembler.slots))
        if pieces[slot].isWaiting {
            if pieces[slot].stream == stream && pieces[slot].counter == counter { return slot }
            abandon(slot)
        }
        pieces[slot] = Piece()
        pieces[slot].stream = stream
        pieces[slot].counter = counter
        pieces[slot].arrived = now
        waiting &+= 1
        return slot
    }

    /// Gives a piece up and counts the records that are lost with it: one that started here, one that would have ended here.
    /// A record of which both ends wait and the middle never came counts once, with its start.
    private mutating func abandon(_ slot: Int) {
        let piece = pieces[slot]
        pieces[slot].headCount = 0
        pieces[slot].tailCount = 0
        waiting &-= 1
        if piece.tailCount > 0 {
            lost &+= 1
            forgetEnd(of: piece)
        }
        if piece.hasEnd && !isStartWaiting(forEndIn: piece) { lost &+= 1 }
    }

    /// Frees the end of the record that starts in `piece`, if it waits.
    private mutating func forgetEnd(of piece: Piece) {
        for distance in 1..<Reassembler.slots {
            guard let slot = find(piece.stream, piece.counter &+ UInt64(distance)), pieces[slot].hasEnd else { continue }
            if piece.startsRecord(endingIn: pieces[slot], distance: distance) {
                pieces[slot].headCount = 0
                if !pieces[slot].isWaiting { waiting &-= 1 }
                return
            }
        }
    }

    private func isStartWaiting(forEndIn piece: Piece) -> Bool {
        (1..<Reassembler.slots).contains { distance in
            guard let slot = find(piece.stream, piece.counter &- UInt64(distance)), pieces[slot].tailCount > 0 else {
                return false
            }
            return pieces[slot].startsRecord(endingIn: piece, distance: distance)
        }
    }

    private func find(_ stream: UInt32, _ counter: UInt64) -> Int? {
        let slot = Int(counter % UInt64(Reassembler.slots))
        let piece = pieces[slot]
        return piece.isWaiting && piece.stream == stream && piece.counter == counter ? slot : nil
    }

    /// Finds the record's first piece at or before `counter`, then follows its continuations to the last.
    private mutating func join(
        from counter: UInt64, walkingBack: Bool, _ stream: UInt32, _ now: Instant
    ) -> (kind: RecordKind, count: Int)? {
        var first = counter
        if walkingBack {
            var steps = 0
            while let slot = find(stream, first), pieces[slot].tailCount == 0, pieces[slot].headGoesOn, steps < Reassembler.slots
            {
                first &-= 1
                steps &+= 1
            }
        }
        guard let start = find(stream, first), pieces[start].tailCount > 0 else { return nil }
        let total = pieces[start].tailTotal
        var have = pieces[start].tailCount
        var last = first
        while have < total {
            last &+= 1
            guard last &- first < UInt64(Reassembler.slots), let slot = find(stream, last),
                pieces[slot].headCount > 0, pieces[slot].headRemaining == total &- have
            else { return nil }
            have &+= pieces[slot].headCount
            if pieces[slot].headGoesOn != (have < total) { return nil }
        }
        return (pieces[start].tailKind, collect(first, last, stream))
    }

    /// Copies the pieces together and frees their parts.
    private mutating func collect(_ first: UInt64, _ last: UInt64, _ stream: UInt32) -> Int {
        var count = 0
        var counter = first
        joinedMark = 0
        // Counters from anywhere: no stream has the last one, and still nothing here may go on for ever if one came.
        while true {
            let slot = Int(counter % UInt64(Reassembler.slots))
            let isTail = counter == first
            joinedMark = max(joinedMark, pieces[slot].mark)
            let part = isTail ? pieces[slot].tailCount : pieces[slot].headCount
            let offset = isTail ? tailOffset(slot) : headOffset(slot)
            joined.copy(from: storage, at: offset, count: part, to: count)
            count &+= part
            if isTail { pieces[slot].tailCount = 0 } else { pieces[slot].headCount = 0 }
            if !pieces[slot].isWaiting { waiting &-= 1 }
            if counter == last { return count }
            counter &+= 1
        }
    }
}

extension UInt16 {
    /// Precondition: two octets are there.
    @inline(__always)
    init(bigEndianIn span: RawSpan, at offset: Int) {
        precondition(offset >= 0 && offset &+ 2 <= span.byteCount)
        // SAFETY: checked above.
        self = unsafe UInt16(bigEndian: span.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self))
    }
}
