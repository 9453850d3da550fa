// Packing: frames laid end to end into datagrams of exactly the path's size, in the manner of RFC 9347's aggregation and
// fragmentation. A frame that does not fit runs on into the next datagram, so a busy stream yields full, equal datagrams,
// which is what UDP segmentation offload wants, and a long frame crosses a short path without IP fragments.
//
//     | header 16 | offset | record | record | record ...   | tag 16 |   datagram n: full
//     | header 16 | offset | ...record | record |   | tag 16 |           datagram n+1: as long as it needs to be
//                     |                  ^
//                     +--- octets until the first record that starts here (may point beyond this datagram)
//
//     record = | kind, 2 bit | length, 14 bit | octets |        kind 0: frame, 1: control message, 2: probe, others: skipped
//     length 0, or fewer than two octets left: padding to the end
//
// No frame waits: what is open when a batch ends is closed, short, and sent. Datagrams are sealed then, all at once: several
// packers may share a stream, one for each traffic class, and the pieces of a record need consecutive counters.

import Basics
import Buffers

/// The form of the packed part, in octets.
public enum PackingLayout {
    public static let headerBytes = 2
    public static let recordHeaderBytes = 2
    public static let lengthMask: UInt16 = 0x3FFF
    /// Octets of a sealed datagram before the first packed octet.
    public static let bodyStart = SealedLayout.headerBytes + headerBytes
    /// What a datagram adds to the records in it.
    public static let overhead = SealedLayout.overhead + headerBytes
}

public enum RecordKind: UInt16, Sendable, BitwiseCopyable {
    case frame = 0
    case control = 1
    case probe = 2
}

/// What a packer needs of the stream that its datagrams go out on.
public struct StreamSender: ~Copyable {
    public let key: SessionKey
    /// The identifier the receiver chose; for a routed stream the one that this side did.
    public let stream: UInt32
    public let originTag: UInt16
    /// Octet 1 of every datagram: `SealedLayout.routed` and a hop count, or 0.
    public let flags: UInt8
    /// The next counter. Only ever grows; never reaches `limit`.
    public private(set) var counter: UInt64 = 0
    /// The key is to be renewed once this many datagrams have been sealed.
    public let renewAfter: UInt64
    /// Counters at and above this one are never used.
    public let limit: UInt64
    private var renewalWasSaid = false
    /// Datagrams that have been begun and are not sealed yet, of all packers together.
    private var reserved: UInt64 = 0

    /// Datagrams that may still be sealed while a renewal is under way.
    public static let grace: UInt64 = 1 << 24
    /// Far below the counter's end, so that no arithmetic on it can wrap.
    public static let hardLimit: UInt64 = 1 << 62

    public init(
        key: consuming SessionKey, stream: UInt32, originTag: UInt16, flags: UInt8 = 0, renewAfter: UInt64 = hardLimit
    ) {
        self.key = key
        self.flags = flags
        self.stream = stream
        self.originTag = originTag
        self.renewAfter = min(renewAfter, StreamSender.hardLimit)
        limit = self.renewAfter + StreamSender.grace
    }

    /// The first eight octets of every datagram, as one number.
    var head: UInt64 {
        UInt64(DatagramKind.sealed.rawValue) << 56 | UInt64(flags) << 48 | UInt64(originTag) << 32 | UInt64(stream)
    }

    /// True from when `renewAfter` has been reached until `noteRenewalSaid`.
    public var isRenewalDue: Bool { counter >= renewAfter && !renewalWasSaid }

    public mutating func noteRenewalSaid() { renewalWasSaid = true }

    /// How many datagrams may still be begun.
    public var remaining: UInt64 { limit &- counter &- reserved }

    /// One of `remaining` is begun.
    mutating func reserve() { reserved &+= 1 }

    /// For a datagram that was begun.
    mutating func takeCounter() -> UInt64 {
        defer { counter &+= 1 }
        reserved &-= 1
        return counter
    }
}

/// The datagrams being built for one peer. All that are finished lie end to end from the start of its memory, each
/// `datagramSize` long but the last.
public struct Packer: ~Copyable {
    /// The size of a full datagram, in octets of UDP payload.
    public private(set) var datagramSize: Int
    private var storage: OwnedBytes
    /// Where the open datagram starts; everything before is finished.
    private var start = 0
    /// Up to where finished datagrams are sealed: always at a datagram's start, and never beyond `start`.
    private var sealed = 0
    /// Where the next octet goes; equal to `start` when no datagram is open.
    private var cursor = 0
    /// True behind a datagram that is shorter than the full size: nothing may follow it until the driver has drained, since
    /// a run that is sent at once has equal datagrams, only the last of them shorter.
    private var endsShort = false

    /// - Parameters:
    ///   - datagramSize: octets of UDP payload; at least 128.
    ///   - capacity: octets that may wait between two drains.
    public init(datagramSize: Int, capacity: Int = 192 * 1024) {
        precondition(datagramSize >= 128 && datagramSize <= 65_507 && capacity >= 2 * datagramSize)
        self.datagramSize = datagramSize
        storage = OwnedBytes(count: capacity)
    }

    /// Changes the size of full datagrams. Precondition: nothing is finished or open; sizes as in `init`.
    public mutating func setDatagramSize(_ size: Int) {
        precondition(start == 0 && !hasOpenDatagram && size >= 128 && size <= 65_507 && storage.count >= 2 * size)
        datagramSize = size
    }

    /// Octets in finished datagrams.
    public var finishedBytes: Int { start }
    public var hasOpenDatagram: Bool { cursor > start }

    /// Octets of records that a full datagram holds.
    private var bodySize: Int { datagramSize &- PackingLayout.overhead }

    /// True while records of `bytes` octets in all, record headers included, are sure to fit.
    public func hasRoom(for bytes: Int) -> Bool {
        // The open datagram, what the records fill at two octets of padding each, and what `append` asks for beyond that.
        let needed = bytes / (bodySize &- PackingLayout.recordHeaderBytes) &+ 4
        return !endsShort && start &+ needed &* datagramSize <= storage.count
    }

    /// Adds one record. False, with nothing changed, when there is no room or the key has no counters left.
    /// Precondition: 1 to 16,383 octets.
    public mutating func append(_ record: RawSpan, kind: RecordKind = .frame, sender: inout StreamSender) -> Bool {
        let count = record.byteCount
        precondition(count > 0 && count <= Int(PackingLayout.lengthMask))
        // What most records meet: an open datagram that has room for more than this one. What is asked of the memory and the
        // counters is what is asked below.
        if hasOpenDatagram && count &+ PackingLayout.recordHeaderBytes < room && start &+ 2 &* datagramSize <= storage.count
            && sender.remaining > 2
        {
            putHeader(kind, count)
            storage.copy(record, to: cursor)
            cursor &+= count
            return true
        }
        return appendAcross(record, kind, &sender)
    }

    /// The same where a datagram is to be opened or closed.
    @inline(never)
    private mutating func appendAcross(_ record: RawSpan, _ kind: RecordKind, _ sender: inout StreamSender) -> Bool {
        let count = record.byteCount
        // The open datagram, and those that the record fills if it starts behind it.
        let touched = 1 &+ (count &+ PackingLayout.recordHeaderBytes &+ bodySize &- 1) / bodySize
        guard !endsShort, start &+ touched &* datagramSize <= storage.count,
            sender.remaining > UInt64(truncatingIfNeeded: touched)
        else { return false }
        // A record starts only where its header and at least one octet fit.
        if hasOpenDatagram && room < PackingLayout.recordHeaderBytes &+ 1 { closeFull() }
        if !hasOpenDatagram { open(continuing: 0, &sender) }
        putHeader(kind, count)
        var taken = 0
        while true {
            let part = min(room, count &- taken)
            storage.copy(record.extracting(taken..<(taken &+ part)), to: cursor)
            cursor &+= part
            taken &+= part
            if taken == count { break }
            closeFull()
            open(continuing: count &- taken, &sender)
        }
        if room == 0 { closeFull() }
        return true
    }

    @inline(__always)
    private mutating func putHeader(_ kind: RecordKind, _ count: Int) {
        storage.storeBigEndian(kind.rawValue << 14 | UInt16(truncatingIfNeeded: count), at: cursor)
        cursor &+= PackingLayout.recordHeaderBytes
    }

    /// Ends the batch: closes the open datagram, as short as it is, and seals all that are not sealed.
    public mutating func finish(sender: inout StreamSender) {
        if hasOpenDatagram { close() }
        while sealed < start { seal(&sender) }
    }

    /// A datagram without records: a sign of life. False when there is no room or no counter.
    public mutating func appendEmpty(sender: inout StreamSender) -> Bool {
        guard !hasOpenDatagram, !endsShort, start &+ datagramSize <= storage.count, sender.remaining > 0 else { return false }
        open(continuing: 0, &sender)
        finish(sender: &sender)
        return true
    }

    /// The finished datagrams, end to end: lent until the next change. Sealed after `finish`.
    @_lifetime(borrow self)
    public func finished() -> RawSpan { storage.bytes(at: 0, count: start) }

    /// Forgets the finished datagrams. Precondition: none is open.
    public mutating func removeAll() {
        precondition(!hasOpenDatagram)
        precondition(sealed == start)
        start = 0
        sealed = 0
        cursor = 0
        endsShort = false
    }

    // MARK: Below: one datagram

    /// Octets that still fit into the open datagram.
    private var room: Int { start &+ datagramSize &- SealedLayout.tagBytes &- cursor }

    private mutating func open(continuing rest: Int, _ sender: inout StreamSender) {
        sender.reserve()
        storage.storeBigEndian(UInt16(truncatingIfNeeded: rest), at: start &+ SealedLayout.headerBytes)
        cursor = start &+ PackingLayout.bodyStart
    }

    /// Pads to the full size and closes.
    private mutating func closeFull() {
        while room > 0 {
            storage.storeBigEndian(UInt8(0), at: cursor)
            cursor &+= 1
        }
        close()
    }

    private mutating func close() {
        let length = cursor &+ SealedLayout.tagBytes &- start
        start &+= length
        cursor = start
        endsShort = length < datagramSize
    }

    /// Seals the first of the finished datagrams that are not. Only the last of them can be short.
    private mutating func seal(_ sender: inout StreamSender) {
        let counter = sender.takeCounter()
        storage.storeBigEndian(sender.head, at: sealed)
        storage.storeBigEndian(counter, at: sealed &+ SealedLayout.counter)
        let length = min(datagramSize, start &- sealed)
        var datagram = storage.mutableBytes(at: sealed, count: length)
        sender.key.seal(&datagram, counter: counter)
        sealed &+= length
    }
}
