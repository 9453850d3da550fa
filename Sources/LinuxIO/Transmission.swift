// Frames from the arena to a packet socket: sendmmsg over the octets where they are, and an account of what became of
// each frame. Before each frame goes a virtio header (PACKET_VNET_HDR), by which the kernel or the card cuts a super-frame;
// one that the kernel refuses is cut here (Wire's `Segmenter`) and sent in pieces.

import Basics
import Buffers
import CLinux
import Glibc
import Wire

/// What became of the frames of one batch. Each frame is in `sent` or in `failed`; a super-frame counts as the frames that it
/// stands for.
public struct TransmitResult: Hashable, Sendable, BitwiseCopyable {
    public var sent = 0
    /// Octets of the frames sent.
    public var bytes = 0
    public var failed = 0
    /// The errno of the last failure; 0 if there was none.
    public var lastError: Int32 = 0

    public init() {}
}

/// Which super-frames a port's kernel takes.
public struct TransmitOffload: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let tcp = TransmitOffload(rawValue: 1)
    /// UDP (Linux 6.2 and later).
    public static let udp = TransmitOffload(rawValue: 2)
}

/// A packet socket that sends and never receives.
struct FrameSender: ~Copyable {
    /// Frames of one system call.
    static let batch = 256
    /// The socket's send buffer, in octets: how much may wait in the device's queue.
    static let sendBuffer: Int32 = 4 << 20
    /// Octets for the pieces of one super-frame: 64 KiB of payload, and headers for as many as one is made of.
    private static let pieceBytes = 65_536 + Coalescer.maximumSegments * (160 + FrameArena.headroom)

    /// Which super-frames are offered to the kernel; what it refuses is taken out, for good.
    private(set) var offload: TransmitOffload
    private let socket: OwnedDescriptor
    /// The device's name and a zero, for the kernel: a String would be counted and copied with every batch.
    private var name: OwnedBytes
    private let bypassesQueue: Bool
    /// True when a virtio header goes before each frame.
    private let hasVirtio: Bool
    private let list: MessageList
    /// The pieces of a super-frame, and where they are.
    private let pieces: MessageList
    private var pieceOctets: OwnedBytes

    /// - Parameter virtio: false as if the kernel knew nothing of virtio headers.
    init(device: String, index: Int32, bypassQueue: Bool, virtio: Bool = true) throws(IOError) {
        let socket = OwnedDescriptor(try check(cwl_packet_open(), "open a packet socket", device))
        _ = cwl_set_send_buffer(socket.raw, FrameSender.sendBuffer)
        // Protocol 0: this socket is handed no frames.
        try check(cwl_packet_bind(socket.raw, index, 0), "bind", device)
        if bypassQueue {
            try check(cwl_packet_bypass_queue(socket.raw), "bypass the device's queue", device)
        }
        hasVirtio = virtio && cwl_packet_virtio_header(socket.raw) >= 0
        offload = hasVirtio ? [.tcp, .udp] : []
        bypassesQueue = bypassQueue
        name = OwnedBytes(count: device.utf8.count + 1)
        var place = 0
        for octet in device.utf8 {
            name.storeBigEndian(octet, at: place)
            place += 1
        }
        name.storeBigEndian(UInt8(0), at: place)
        self.socket = socket
        list = MessageList(count: FrameSender.batch)
        pieces = MessageList(count: Coalescer.maximumSegments)
        pieceOctets = OwnedBytes(count: FrameSender.pieceBytes)
    }

    mutating func transmit(_ arena: borrowing FrameArena, port: PortIndex) -> TransmitResult {
        var result = TransmitResult()
        var patience = Patience(waits: 2)
        var largest = -1
        var index = 0
        while index < arena.count {
            var filled = 0
            while index < arena.count && filled < FrameSender.batch {
                let record = arena.record(index)
                if record.ports.contains(port) {
                    if record.frames > 1 {
                        if largest < 0 { largest = largestFrame() }
                        if !mayOffer(record, arena.frame(index), largest) {
                            // What comes before it goes before it.
                            flush(filled, arena, &result, &patience)
                            filled = 0
                            _ = sendPieces(of: arena.frame(index), record, &result, &patience)
                            index += 1
                            continue
                        }
                    }
                    fill(list, filled, arena.frame(index), record.offload, headerLength: record.headerLength)
                    unsafe list.indices[filled] = index
                    filled += 1
                }
                index += 1
            }
            flush(filled, arena, &result, &patience)
        }
        return result
    }

    // MARK: - Filling

    /// Makes message `place` one frame, with its virtio header in the headroom before it: one part, since the kernel pays for
    /// each. The octets are lent until the list has been sent.
    private func fill(
        _ list: borrowing MessageList, _ place: Int, _ frame: RawSpan, _ offload: FrameOffload, headerLength: Int
    ) {
        // SAFETY: the caller has the octets borrowed until `flush` or `sendPieces` has handed them to the kernel, which
        // copies them; `place` is below the list's count. The headroom before a frame is the sender's to write to, and longer
        // than a virtio header.
        unsafe frame.withUnsafeBytes { octets in
            guard hasVirtio, let base = octets.baseAddress else {
                return unsafe cwl_message_frame(list.messages + place, list.parts + place, octets.baseAddress, octets.count)
            }
            let virtio = unsafe UnsafeMutableRawPointer(mutating: base) - cwl_virtio_size()
            unsafe cwl_virtio_write(virtio, cwl_virtio(offload), UInt16(truncatingIfNeeded: headerLength))
            unsafe cwl_message_frame(
                list.messages + place, list.parts + place, virtio, octets.count + cwl_virtio_size())
        }
    }

    /// Whether a super-frame is worth offering to the kernel. It would not compare the pieces with the device's MTU, as it
    /// does with a frame alone: `largest` is the longest frame that it lets pass.
    private func mayOffer(_ record: FrameArena.Record, _ frame: RawSpan, _ largest: Int) -> Bool {
        let kind = TransmitOffload(record.offload.segmentation)
        guard !kind.isEmpty, offload.isSuperset(of: kind) else { return false }
        let isTagged = frame.loadBE16(at: 12) == EtherType.customerTag.rawValue
        return record.headerLength + Int(record.offload.segmentSize) <= largest + (isTagged ? FrameHeader.tagByteCount : 0)
    }

    /// Octets of the longest frame without a tag that the device's MTU allows; 0 when it cannot be told.
    private func largestFrame() -> Int {
        // SAFETY: the name ends with a zero and lives as long as self.
        let mtu = unsafe cwl_device_mtu(socket.raw, name.pointer.assumingMemoryBound(to: CChar.self))
        return mtu > 0 ? Int(mtu) + FrameHeader.byteCount : 0
    }

    // MARK: - Sending

    /// Sends the first `count` messages of the list. A message that the kernel refuses is counted and stepped over; a
    /// super-frame that it refuses is sent in pieces, in its place.
    private mutating func flush(
        _ count: Int, _ arena: borrowing FrameArena, _ result: inout TransmitResult, _ patience: inout Patience
    ) {
        var first = 0
        while first < count {
            let outcome = FrameSender.send(socket.raw, list, first, count, &patience)
            for place in first..<first + outcome.sent {
                // SAFETY: `place` is below `count`; `transmit` has filled the list.
                let record = unsafe arena.record(list.indices[place])
                result.sent += Int(record.frames)
                result.bytes += Int(record.octets)
            }
            first += outcome.sent
            if outcome.error == 0 { continue }
            let index = unsafe list.indices[first]
            let record = arena.record(index)
            if outcome.isFinal {
                for place in first..<count { result.failed += Int(unsafe arena.record(list.indices[place]).frames) }
                result.lastError = outcome.error
                return
            }
            first += 1
            // A full queue has no room for the pieces either, unless there is no queue that could cut.
            if record.frames > 1 && (bypassesQueue || (outcome.error != ENOBUFS && outcome.error != EAGAIN)) {
                let isWhole = sendPieces(of: arena.frame(index), record, &result, &patience)
                // What goes in pieces but not whole is of a kind that the kernel does not cut here.
                if isWhole && outcome.error != ENOMEM { offload.remove(TransmitOffload(record.offload.segmentation)) }
                continue
            }
            result.failed += Int(record.frames)
            result.lastError = outcome.error
        }
    }

    /// Cuts a super-frame and sends its frames; true when all of them went.
    private mutating func sendPieces(
        of frame: RawSpan, _ record: FrameArena.Record, _ result: inout TransmitResult, _ patience: inout Patience
    ) -> Bool {
        let count = cut(frame, record)
        var first = 0
        var failed = Int(record.frames) - count
        while first < count {
            let outcome = FrameSender.send(socket.raw, pieces, first, count, &patience)
            for place in first..<first + outcome.sent {
                // SAFETY: `place` is below `count`, and `cut` has filled that many.
                result.bytes += unsafe pieces.parts[place].iov_len - (hasVirtio ? cwl_virtio_size() : 0)
            }
            result.sent += outcome.sent
            first += outcome.sent
            if outcome.error == 0 { continue }
            result.lastError = outcome.error
            failed += outcome.isFinal ? count - first : 1
            first = outcome.isFinal ? count : first + 1
        }
        result.failed += failed
        return failed == 0
    }

    /// Fills the list of pieces; how many there are.
    private mutating func cut(_ frame: RawSpan, _ record: FrameArena.Record) -> Int {
        guard var segmenter = Segmenter(frame, offload: record.offload) else { return 0 }
        var place = 0
        var start = FrameArena.headroom
        while place < pieces.count, let length = next(&segmenter, frame, at: start) {
            fill(pieces, place, pieceOctets.bytes(at: start, count: length), .none, headerLength: 0)
            place += 1
            start += length + FrameArena.headroom
        }
        return place
    }

    private mutating func next(_ segmenter: inout Segmenter, _ frame: RawSpan, at offset: Int) -> Int? {
        guard offset < pieceOctets.count else { return nil }
        var output = pieceOctets.mutableBytes(at: offset, count: pieceOctets.count - offset)
        return segmenter.next(from: frame, into: &output)
    }

    struct Outcome {
        var sent = 0
        /// Why the message behind those that were sent was not; 0 if all were.
        var error: Int32 = 0
        /// True when it would be the same with all the others.
        var isFinal = false
    }

    /// Sends the messages `first..<count` of a list, up to the first that the kernel refuses.
    private static func send(
        _ descriptor: Int32, _ list: borrowing MessageList, _ first: Int, _ count: Int, _ patience: inout Patience
    ) -> Outcome {
        var outcome = Outcome()
        var hasRetried = false
        while first + outcome.sent < count {
            let next = first + outcome.sent
            // SAFETY: `next` is below `count`, which is at most the list's; the caller keeps the octets alive.
            let isLast = next + 1 == count
            let sent =
                unsafe isLast
                ? cwl_send_one(descriptor, list.messages + next)
                : cwl_send_messages(descriptor, list.messages + next, UInt32(count - next))
            if sent > 0 {
                outcome.sent += isLast ? 1 : Int(sent)
                hasRetried = false
                continue
            }
            let code = Int32(truncatingIfNeeded: -sent)
            switch code {
            case EINTR: continue
            case EAGAIN, ENOBUFS:
                if patience.wait(descriptor, after: code) { continue }
            case ENETDOWN, ENXIO, ENODEV:
                // The error may be an old one of the socket; the second time, the device is down or gone for all.
                if !hasRetried {
                    hasRetried = true
                    continue
                }
                outcome.isFinal = true
            default: break
            }
            outcome.error = code
            return outcome
        }
        return outcome
    }
}

extension TransmitOffload {
    /// What the kernel must be able to cut; empty for a kind that nobody is asked to cut.
    init(_ segmentation: FrameOffload.Segmentation) {
        switch segmentation {
        case .tcp4, .tcp6: self = .tcp
        case .udp: self = .udp
        case .none, .unknown: self = []
        }
    }
}

extension cwl_virtio {
    init(_ offload: FrameOffload) {
        let kind: UInt8 =
            switch offload.segmentation {
            case .tcp4: VirtioKind.tcp4
            case .tcp6: VirtioKind.tcp6
            case .udp: VirtioKind.udp
            case .none, .unknown: 0
            }
        self.init(
            flags: offload.needsChecksum ? cwl_virtio_needs_checksum() : 0, kind: kind, segment_size: offload.segmentSize,
            checksum_start: offload.checksumStart, checksum_offset: offload.checksumOffset)
    }
}
