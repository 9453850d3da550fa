// Frames from the arena to a packet socket: sendmmsg over the octets where they are, and an account of what became of
// each frame.

import Basics
import Buffers
import CLinux
import Glibc

/// What became of the frames of one batch. Each frame is in `sent` or in `failed`.
public struct TransmitResult: Hashable, Sendable, BitwiseCopyable {
    public var sent = 0
    /// Octets of the frames sent.
    public var bytes = 0
    public var failed = 0
    /// The errno of the last failure; 0 if there was none.
    public var lastError: Int32 = 0

    public init() {}
}

/// A packet socket that sends and never receives.
struct FrameSender: ~Copyable {
    /// Frames of one system call.
    static let batch = 256
    /// The socket's send buffer, in octets: how much may wait in the device's queue.
    static let sendBuffer: Int32 = 4 << 20

    private let socket: OwnedDescriptor
    private let list: ScatterList

    init(device: String, index: Int32, bypassQueue: Bool) throws(IOError) {
        let socket = OwnedDescriptor(try check(cwl_packet_open(), "open a packet socket", device))
        _ = cwl_set_send_buffer(socket.raw, FrameSender.sendBuffer)
        // Protocol 0: this socket is handed no frames.
        try check(cwl_packet_bind(socket.raw, index, 0), "bind", device)
        if bypassQueue {
            try check(cwl_packet_bypass_queue(socket.raw), "bypass the device's queue", device)
        }
        self.socket = socket
        list = ScatterList(count: FrameSender.batch)
    }

    mutating func transmit(_ arena: borrowing FrameArena, port: PortIndex) -> TransmitResult {
        var result = TransmitResult()
        var patience = Patience(waits: 2)
        var index = 0
        while index < arena.count {
            var filled = 0
            while index < arena.count && filled < FrameSender.batch {
                if arena.record(index).ports.contains(port) {
                    // SAFETY: `arena` is borrowed until this function returns, so the octets stay where they are until
                    // `flush` has handed them to the kernel, which copies them; `filled` is below the list's count.
                    unsafe arena.frame(index).withUnsafeBytes { octets in
                        unsafe cwl_message_frame(
                            list.messages + filled, list.parts + filled, octets.baseAddress, octets.count)
                    }
                    filled += 1
                }
                index += 1
            }
            flush(filled, &result, &patience)
        }
        return result
    }

    /// Sends the first `count` messages of the list. A message that the kernel refuses is counted and stepped over.
    private mutating func flush(_ count: Int, _ result: inout TransmitResult, _ patience: inout Patience) {
        var first = 0
        var hasRetried = false
        while first < count {
            // SAFETY: `first` is below `count`, which is at most the list's; `transmit` keeps the octets alive.
            let outcome = unsafe cwl_send_messages(socket.raw, list.messages + first, UInt32(count - first))
            if outcome > 0 {
                for index in first..<first + Int(outcome) {
                    // SAFETY: `outcome` is at most `count - first`.
                    result.bytes += unsafe list.parts[index].iov_len
                }
                result.sent += Int(outcome)
                first += Int(outcome)
                hasRetried = false
                continue
            }
            let code = Int32(truncatingIfNeeded: -outcome)
            switch code {
            case EINTR:
                continue
            case EAGAIN, ENOBUFS:
                if patience.wait(socket.raw, after: code) { continue }
            case ENETDOWN, ENXIO, ENODEV:
                // The error may be an old one of the socket; the second time, the device is down or gone for all.
                if !hasRetried {
                    hasRetried = true
                    continue
                }
                result.failed += count - first
                result.lastError = code
                return
            default:
                break
            }
            result.failed += 1
            result.lastError = code
            first += 1
        }
    }
}
