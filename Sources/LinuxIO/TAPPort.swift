// A LAN port that is a virtual device of this machine: a TAP device (Documentation/networking/tuntap.rst). What the
// machine's own network stack, or a bridge that the device is a member of, sends to the device arrives here, and what is
// transmitted here arrives there. Without IFF_VNET_HDR the kernel finishes checksums and cuts super-frames itself.

import Basics
import Buffers
import CLinux
import Glibc

/// Captures and sends Ethernet frames on a TAP device. Owned by one lane, which pulls as from a `PacketPort`:
///
///     while port.advance() { use(port.frame) }
///
/// Lent memory: `frame` is the port's buffer. The caller may change it and has it until the next `advance()`.
@safe
public struct TAPPort: ~Copyable, @unchecked Sendable {
    /// Octets of the buffer; the kernel's largest MTU is below 65536.
    private static let bufferBytes = 128 << 10

    public let device: String
    public let interfaceIndex: Int32
    public let macAddress: MACAddress
    /// Whether the device was there before; its MAC address was kept then.
    public let existed: Bool

    private let file: OwnedDescriptor
    private let query: OwnedDescriptor
    @usableFromInline var buffer: OwnedBytes
    @usableFromInline var frameCount = 0
    /// True when the frame did not fit into the buffer.
    public private(set) var isTruncated = false
    /// Whether the device has been removed. Its descriptor is readable for ever then: take it out of the poller.
    public private(set) var isGone = false

    /// Attaches to the TAP device of that name, or creates it (it then goes away with this value), and brings it up.
    /// - Parameters:
    ///   - macAddress: for a device that is created; `nil` lets the kernel draw one.
    ///   - filter: which frames to capture; in force before the device is up. `nil` for all.
    public init(
        device: String, macAddress: MACAddress? = nil, filter: [FilterInstruction]? = nil
    ) throws(IOError) {
        try Device.checkName(device)
        let query = OwnedDescriptor(try check(cwl_device_socket(), "open a socket", device))
        // SAFETY: the name is copied during the call.
        let existed = unsafe cwl_device_index(query.raw, device) > 0
        let file = OwnedDescriptor(try check(cwl_tap_open(), "open /dev/net/tun", device, advice: TAPPort.openAdvice))
        // SAFETY: as above.
        var attached = unsafe cwl_tap_attach(file.raw, device, 0)
        if attached == -Int64(EINVAL) {
            // A TAP device that was made with several queues takes only attachments that say so.
            attached = unsafe cwl_tap_attach(file.raw, device, 1)
        }
        try check(attached, "attach to the TAP device", device, advice: TAPPort.attachAdvice)
        try check(cwl_tap_clear_offload(file.raw), "switch offloads off", device)
        if let filter {
            try unsafe Device.attach(filter, device: device) { unsafe cwl_tap_attach_filter(file.raw, $0, $1) }
        }
        if !existed, let macAddress { try Device.setMACAddress(query.raw, device, macAddress) }
        try Device.bringUp(query.raw, device)

        let index = try Device.index(query.raw, device)
        let address = try Device.macAddress(query.raw, device)

        self.device = device
        self.existed = existed
        interfaceIndex = index
        self.macAddress = address
        self.file = file
        self.query = query
        buffer = OwnedBytes(count: TAPPort.bufferBytes)
    }

    /// Readable when a frame waits.
    public var fileDescriptor: Int32 { file.raw }

    /// Whether the device is up.
    public func isUp() -> Bool { !isGone && Device.isUp(query.raw, device, withLink: false) }

    /// Always finished: the kernel does the work.
    @inlinable public var offload: FrameOffload { .none }

    /// Ends the loan of the current frame and reads the next that waits; false when none does.
    public mutating func advance() -> Bool {
        frameCount = 0
        isTruncated = false
        // SAFETY: the buffer's own size.
        let result = unsafe cwl_read(file.raw, buffer.pointer, buffer.count)
        guard result > 0 else {
            // EBADFD: the device was removed under us. A device that is merely down gives EAGAIN.
            if result == -Int64(EBADFD) { isGone = true }
            return false
        }
        frameCount = Int(result)
        isTruncated = frameCount == buffer.count
        return true
    }

    /// The current frame, without the frame check sequence; empty when there is none. Valid until the next `advance()`.
    @inlinable public var frame: MutableRawSpan {
        @_lifetime(&self)
        mutating get { buffer.mutableBytes(at: 0, count: frameCount) }
    }

    /// Sends every frame of `arena` that goes to `port`, in order, a system call each; the arena is lent for the duration
    /// of the call. Waits at most a few milliseconds in all.
    public mutating func transmit(_ arena: borrowing FrameArena, port: PortIndex) -> TransmitResult {
        var result = TransmitResult()
        var patience = Patience(waits: 2)
        var index = 0
        while index < arena.count {
            let record = arena.record(index)
            guard record.ports.contains(port) else {
                index += 1
                continue
            }
            // SAFETY: the arena is borrowed during the call, and the kernel copies.
            let outcome = unsafe arena.frame(index).withUnsafeBytes { octets in
                unsafe cwl_write(file.raw, octets.baseAddress, octets.count)
            }
            if outcome >= 0 {
                result.sent += 1
                result.bytes += Int(record.length)
                index += 1
                continue
            }
            let code = Int32(truncatingIfNeeded: -outcome)
            if code == EINTR { continue }
            if code == EAGAIN || code == ENOBUFS, patience.wait(file.raw, after: code) { continue }
            if code == EBADFD { isGone = true }
            result.failed += 1
            result.lastError = code
            index += 1
        }
        return result
    }

    // MARK: - Errors

    private static func openAdvice(_ code: Int32) -> String {
        switch code {
        case ENOENT, ENODEV, ENXIO: "the tun module is not there: modprobe tun"
        case EPERM, EACCES: "run as root, or with CAP_NET_ADMIN and access to /dev/net/tun"
        default: IOError.generalAdvice(code)
        }
    }

    private static func attachAdvice(_ code: Int32) -> String {
        switch code {
        case EINVAL: "a device of this name exists and is not a TAP device"
        case EBUSY: "another process uses it"
        case EPERM, EACCES: "run as root or with CAP_NET_ADMIN, or have the device made for this user"
        default: IOError.generalAdvice(code)
        }
    }
}
