// A LAN port through libpcap: the portable kind, slower than a packet socket and told less. libpcap puts VLAN tags back
// that the kernel took off, but says nothing about unfinished checksums and super-frames of local senders: switch
// offloads off on such a device ("ethtool -K DEVICE tso off gso off gro off tx off"), or use the packet kind.

import Basics
import Buffers
import CPcap

/// One device, open to receive every frame that comes in and to send.
///
/// One owner at a time uses it. Frames are copied once, out of the kernel's ring into a buffer of the port's own, so that
/// whoever gets them may write to them.
@safe
public struct LivePort: ~Copyable, @unchecked Sendable {
    /// Octets of the kernel's receive ring.
    public static let ringBytes = 16 << 20

    public let device: String
    /// Becomes readable when a frame is there. Owned by the port.
    public let fileDescriptor: Int32
    /// What libpcap remarked while opening the device; `nil` where it had nothing to say.
    public let warning: String?
    /// Octets of the current frame on the wire; more than there are in `frame` when that is truncated.
    public private(set) var originalLength = 0
    /// Nanoseconds since 1970 at which the kernel took the current frame in.
    public private(set) var timestamp: UInt64 = 0
    /// What libpcap said when receiving last failed, as when the device is gone; `nil` again once a frame comes. A device
    /// that is merely down is no failure: it goes on when it is up again.
    public private(set) var failure: String?

    private let handle: PcapHandle
    private var buffer: OwnedBytes
    /// Octets in the buffer that are the current frame.
    private var length = 0
    private let timestampScale: UInt64
    private var dropTotal: UInt64 = 0
    private var lastDropCount: UInt32 = 0

    /// Opens a device: promiscuous, non-blocking, without delay, inbound frames only, so that what is injected here does
    /// not come back. Needs CAP_NET_RAW.
    ///
    /// - Parameter filter: an expression of pcap-filter(7), run by the kernel where it can.
    /// - Parameter snapshotLength: octets kept of each frame, at most 65535. Every slot of the ring is that large, so it is
    ///   also what decides how many frames a burst may have, whatever their size: measured, 1805 with the default and 256
    ///   with 65535, which only super-frames would fill.
    /// - Throws: `device` or `filter`.
    public init(device: String, filter: String? = nil, snapshotLength: Int = Limits.frameBytes) throws(CaptureError) {
        precondition((1...65_535).contains(snapshotLength))
        let (created, text) = unsafe withErrorBuffer { buffer in
            // SAFETY: the device is a terminated string during the call.
            unsafe pcap_create(device, buffer)
        }
        guard let created = unsafe created else {
            throw Self.error(device, text, hint: "check the name: \"ip link\" lists devices")
        }
        let handle = unsafe PcapHandle(owning: created)
        let warning = try Self.activate(handle, device: device, snapshotLength: snapshotLength)
        guard handle.isEthernet else {
            throw Self.error(
                device, "the link type is \(handle.linkTypeName), not Ethernet", hint: "only Ethernet devices can be bridged")
        }
        // SAFETY: these take the open handle and plain values, or a buffer for an error text.
        guard unsafe pcap_setdirection(handle.pointer, PCAP_D_IN) == 0 else {
            throw Self.error(
                device, "libpcap cannot keep to inbound frames here: \(handle.errorText)",
                hint: "frames sent here would come back; use a port of kind packet")
        }
        let (status, blockText) = unsafe withErrorBuffer { unsafe pcap_setnonblock(handle.pointer, 1, $0) }
        guard status == 0 else { throw Self.error(device, blockText, hint: "use a port of kind packet") }
        let descriptor = unsafe pcap_get_selectable_fd(handle.pointer)
        guard descriptor >= 0 else {
            throw Self.error(device, "libpcap cannot wait for frames here", hint: "use a port of kind packet")
        }
        if let filter {
            var program = try CompiledProgram(filter, for: handle)
            guard program.attach(to: handle) else {
                throw CaptureError(
                    kind: .filter, subject: "filter \"\(filter)\"", problem: "\(device) refuses it: \(handle.errorText)",
                    hint: "try a shorter expression")
            }
        }
        buffer = OwnedBytes(count: snapshotLength)
        // SAFETY: as above.
        timestampScale = unsafe pcap_get_tstamp_precision(handle.pointer) == PCAP_TSTAMP_PRECISION_NANO ? 1 : 1_000
        fileDescriptor = descriptor
        self.warning = warning
        self.device = device
        self.handle = handle
    }

    /// The current frame, lent until the next `advance()`; empty where there is none.
    public var frame: MutableRawSpan {
        @_lifetime(&self)
        mutating get { buffer.mutableBytes(at: 0, count: length) }
    }

    /// True when only the beginning of the current frame is there.
    public var isTruncated: Bool { length < originalLength }

    /// Takes the next frame that has come in; false where there is none, or receiving failed (see `failure`).
    public mutating func advance() -> Bool {
        var header: UnsafeMutablePointer<pcap_pkthdr>?
        var data: UnsafePointer<UInt8>?
        // SAFETY: the handle is open; both results are libpcap's and live until the next call on the handle.
        let status = unsafe pcap_next_ex(handle.pointer, &header, &data)
        guard status == 1, let header = unsafe header?.pointee else {
            length = 0
            originalLength = 0
            if status < 0 { failure = handle.errorText }
            return false
        }
        if failure != nil { failure = nil }
        length = min(Int(header.caplen), buffer.count)
        originalLength = Int(header.len)
        timestamp = UInt64(clamping: header.ts.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: header.ts.tv_usec) &* timestampScale
        // SAFETY: libpcap holds `caplen` octets at `data`, of which `length` are read.
        unsafe buffer.copy(RawSpan(_unsafeStart: UnsafeRawPointer(data.unsafelyUnwrapped), byteCount: length), to: 0)
        return true
    }

    /// Sends a frame, without its frame check sequence. False where the device or its queue refused it.
    public mutating func inject(_ frame: RawSpan) -> Bool {
        // SAFETY: the handle is open, and the span is alive during the call, which copies it.
        unsafe frame.withUnsafeBytes { octets in
            unsafe pcap_inject(handle.pointer, octets.baseAddress, octets.count) == octets.count
        }
    }

    /// Frames that found the ring full since the port was opened. Reads files of sysfs: for once a second, not per batch.
    public mutating func drops() -> UInt64 {
        var counts = pcap_stat()
        // SAFETY: the handle is open, and the counts are ours.
        guard unsafe pcap_stats(handle.pointer, &counts) == 0 else { return dropTotal }
        // libpcap counts in 32 bits, which wrap.
        dropTotal += UInt64(counts.ps_drop &- lastDropCount)
        lastDropCount = counts.ps_drop
        return dropTotal
    }

    /// Sets the handle up and starts it.
    /// - Returns: libpcap's warning.
    private static func activate(
        _ handle: borrowing PcapHandle, device: String, snapshotLength: Int
    ) throws(CaptureError) -> String? {
        // SAFETY: the handle is created and not active; these store plain values, and fail only where it is active.
        // Without support for nanoseconds it stays with microseconds.
        unsafe pcap_set_snaplen(handle.pointer, Int32(snapshotLength))
        unsafe pcap_set_promisc(handle.pointer, 1)
        unsafe pcap_set_immediate_mode(handle.pointer, 1)
        unsafe pcap_set_buffer_size(handle.pointer, Int32(ringBytes))
        unsafe pcap_set_tstamp_precision(handle.pointer, PCAP_TSTAMP_PRECISION_NANO)
        let status = unsafe pcap_activate(handle.pointer)
        if status == 0 { return nil }
        // SAFETY: the status texts are static strings.
        let general = unsafe String(cString: pcap_statustostr(status))
        let detail = handle.errorText
        let text = status == PCAP_ERROR || status == PCAP_WARNING ? detail : detail.isEmpty ? general : "\(general): \(detail)"
        if status > 0 { return text }
        let hint =
            switch status {
            case PCAP_ERROR_NO_SUCH_DEVICE: "check the name: \"ip link\" lists devices"
            case PCAP_ERROR_PERM_DENIED, PCAP_ERROR_PROMISC_PERM_DENIED: "run as root, or with CAP_NET_RAW"
            case PCAP_ERROR_IFACE_NOT_UP: "\"ip link set \(device) up\" first"
            default: "check the device with \"ip link show \(device)\""
            }
        throw error(device, text, hint: hint)
    }

    private static func error(_ device: String, _ problem: String, hint: String) -> CaptureError {
        CaptureError(kind: .device, subject: "device \(device)", problem: problem, hint: hint)
    }
}
