// A LAN port on a network device: an AF_PACKET socket (packet(7)) that sees every frame the device receives, and a second
// one that sends.
//
// Frames arrive in a TPACKET_V2 ring, one status word each, so that a frame is seen as soon as it is there (the blocks of
// TPACKET_V3 retire after a millisecond at the earliest). A frame that is larger than a slot - a jumbo frame, or a
// super-frame of up to 64 KiB that a local sender or GRO made - is queued whole on the socket as well and fetched from
// there when its slot's turn comes, which keeps the order. Each frame comes with a virtio header that says what the
// kernel left undone: see `FrameOffload`.

import Basics
import Buffers
import CLinux
import Glibc

/// Captures and sends Ethernet frames on a device. Owned by one lane, which pulls:
///
///     while port.advance() {         // releases the frame before
///         let offload = port.offload // first: `frame` holds the port exclusively
///         use(port.frame, offload)   // valid until the next advance()
///     }
///
/// Lent memory: `frame` is the ring's own memory or the port's buffer. The caller may change it and has it until the
/// next `advance()`.
///
/// When the device goes down, `advance` gives false and the descriptor is not readable; frames come again when it is up.
/// When the device is removed, the port stays silent for ever: `isGone`.
@safe
public struct PacketPort: ~Copyable, @unchecked Sendable {
    /// Octets of the buffer for frames that are larger than a slot; the kernel's super-frames have up to 64 KiB.
    static let largeBytes = 128 << 10
    /// Octets in front of a large frame for its virtio header and a VLAN tag.
    private static let largeHeadroom = 32
    /// The socket's receive buffer, in octets: large frames that wait. A super-frame occupies about twice its size.
    private static let receiveBuffer: Int32 = 32 << 20

    public let device: String
    public let interfaceIndex: Int32
    public let macAddress: MACAddress

    private let socket: OwnedDescriptor
    private var ring: PacketRing
    private var large: OwnedBytes
    private var sender: FrameSender
    private var countedDrops: UInt64 = 0

    /// The current frame; always within the current slot or `large`. Empty when there is none.
    @usableFromInline var frameBase: UnsafeMutableRawPointer
    @usableFromInline var frameCount = 0

    /// What is left to be done on the current frame. Offsets count from the frame as `frame` shows it.
    public private(set) var offload = FrameOffload.none
    /// True when `frame` is only the beginning of the frame that was on the wire: the kernel had no room for the rest.
    public private(set) var isTruncated = false

    /// One of several ports on a device, among which frames are divided; each has a ring of its own.
    public struct Group: Sendable {
        fileprivate let number: Int64
    }

    /// What the other ports on the device join; `nil` where the port is alone.
    public private(set) var group: Group?
    private let filter: [FilterInstruction]?
    /// Whether frames are kept out until `beginCapturing`.
    private var isHeldBack = false

    /// - Parameters:
    ///   - filter: which frames to capture; in force before the first frame can arrive. `nil` for all.
    ///   - ringBytes: memory of the ring, which bounds how many frames may wait: one for each 2048 octets.
    ///   - bypassQueue: sends past the device's queueing discipline, which is faster, but drops when the device is busy.
    ///   - sharing: how the device is shared. But for `.alone`, nothing is captured before `beginCapturing`.
    public init(
        device: String, filter: [FilterInstruction]? = nil, ringBytes: Int = 16 << 20, bypassQueue: Bool = false,
        sharing: Sharing = .alone
    ) throws(IOError) {
        try Device.checkName(device)
        // No protocol yet: nothing is captured before the filter and the ring are in place.
        let socket = OwnedDescriptor(try check(cwl_packet_open(), "open a packet socket", device))
        let index = try Device.index(socket.raw, device)
        let address = try Device.macAddress(socket.raw, device)
        // A socket sees everything from when it is bound until it has joined its group.
        if let filter = sharing.isShared ? LaneSteering.nothing : filter {
            // SAFETY: the program is copied during the call.
            try unsafe Device.attach(filter, device: device) { unsafe cwl_attach_filter(socket.raw, $0, $1) }
        }
        try check(cwl_packet_version2(socket.raw), "choose TPACKET_V2", device)
        try check(cwl_packet_virtio_header(socket.raw), "ask for offload metadata", device)
        try check(cwl_packet_reserve(socket.raw, PacketRing.reserve), "reserve room for a VLAN tag", device)
        try check(cwl_packet_copy_large(socket.raw), "ask for large frames", device)
        try check(cwl_packet_auxiliary_data(socket.raw), "ask for VLAN tags of large frames", device)
        try check(cwl_packet_ignore_outgoing(socket.raw), "ignore our own frames (Linux 4.20 or later is needed)", device)
        _ = cwl_set_receive_buffer(socket.raw, PacketPort.receiveBuffer)
        let ring = try PacketRing(descriptor: socket.raw, bytes: ringBytes, device: device)
        try check(cwl_packet_promiscuous(socket.raw, index), "make the device promiscuous", device)
        let sender = try FrameSender(device: device, index: index, bypassQueue: bypassQueue)
        try check(cwl_packet_bind(socket.raw, index, 1), "bind", device)
        switch sharing {
        case .alone: group = nil
        case .first:
            let number = try check(cwl_packet_fanout_create(socket.raw), "share the device among lanes", device)
            // SAFETY: the program is copied during the call.
            try unsafe Device.attach(LaneSteering.frames, device: device) {
                unsafe cwl_packet_fanout_program(socket.raw, $0, $1)
            }
            group = Group(number: number)
        case .another(let group):
            try check(cwl_packet_fanout_join(socket.raw, group.number), "share the device among lanes", device)
            self.group = group
        }
        isHeldBack = sharing.isShared
        self.filter = filter

        let large = OwnedBytes(count: PacketPort.largeBytes)
        unsafe frameBase = large.pointer
        self.device = device
        interfaceIndex = index
        macAddress = address
        self.socket = socket
        self.ring = ring
        self.sender = sender
        self.large = large
    }

    public enum Sharing: Sendable {
        case alone
        /// The first of a group.
        case first
        case another(in: Group)

        fileprivate var isShared: Bool {
            if case .alone = self { false } else { true }
        }
    }

    /// Lets frames in, once all ports of the device have joined the group; nothing happens the second time.
    public mutating func beginCapturing() throws(IOError) {
        guard isHeldBack else { return }
        isHeldBack = false
        // SAFETY: the program is copied during the call.
        try unsafe Device.attach(filter ?? LaneSteering.incoming, device: device) {
            unsafe cwl_attach_filter(socket.raw, $0, $1)
        }
    }

    /// Readable when a frame waits, or an error that `clearError` takes.
    public var fileDescriptor: Int32 { socket.raw }

    /// Takes an error that keeps the descriptor readable, such as that the device went down. To be called when the descriptor
    /// reports one.
    public func clearError() { _ = cwl_take_error(socket.raw) }

    /// Whether the device is up and has a link. (The kernel may report a link that came a second late.)
    public func isUp() -> Bool { !isGone && Device.isUp(socket.raw, device, withLink: true) }

    /// Whether the device has been removed. The port is of no use then, even if a device of that name comes back.
    public var isGone: Bool { cwl_device_has_index(socket.raw, interfaceIndex) < 0 }

    /// Ends the loan of the current frame and moves to the next that waits; false when none does.
    public mutating func advance() -> Bool {
        guard let slot = ring.take() else {
            clear()
            return false
        }
        if slot.isCopied && takeLarge() { return true }
        let virtio = slot.virtio
        unsafe frameBase = slot.frame
        frameCount = slot.captured
        isTruncated = slot.isTruncated
        restore(slot.tag, virtio)
        return true
    }

    /// The current frame as it was on the wire, VLAN tag included, without the frame check sequence; empty when there is
    /// none. Valid until the next `advance()`.
    @inlinable public var frame: MutableRawSpan {
        @_lifetime(&self)
        mutating get {
            // SAFETY: `frameBase` and `frameCount` describe octets of the ring or of `large`, which live as long as self
            // and are ours until the next advance(), which needs the exclusive access that the span holds.
            unsafe _overrideLifetime(MutableRawSpan(_unsafeStart: frameBase, byteCount: frameCount), mutating: &self)
        }
    }

    /// A frame that waits already, `ahead` calls of `advance` away, or what the ring has of it, without its VLAN tag; `nil` where
    /// none does. Valid until the next `advance()`.
    @_lifetime(borrow self)
    public func upcoming(_ ahead: Int) -> RawSpan? {
        guard let slot = ring.peek(ahead: ahead) else { return nil }
        // SAFETY: the octets are the ring's, which lives as long as self, and the kernel writes to no slot that is filled.
        return unsafe _overrideLifetime(RawSpan(_unsafeStart: slot.frame, byteCount: slot.captured), borrowing: self)
    }

    /// Frames that the kernel dropped at this port since it was opened: no slot was free, or the frame was of a kind that
    /// a virtio header cannot describe. A system call.
    public mutating func drops() -> UInt64 {
        // Reading resets the kernel's counter.
        let fresh = cwl_packet_take_drops(socket.raw)
        if fresh > 0 { countedDrops += UInt64(fresh) }
        return countedDrops
    }

    /// Which super-frames the kernel cuts at this device; what it refuses is cut here, and not offered again.
    public var transmitOffload: TransmitOffload { sender.offload }

    /// Sends every frame of `arena` that goes to `port`, in order, from where it is; the arena is lent for the duration of
    /// the call. Super-frames arrive as the frames that they stand for. Frames larger than the device's MTU allows fail.
    /// Waits at most a few milliseconds in all.
    public mutating func transmit(_ arena: borrowing FrameArena, port: PortIndex) -> TransmitResult {
        sender.transmit(arena, port: port)
    }

    // MARK: - Frames

    private mutating func clear() {
        unsafe frameBase = large.pointer
        frameCount = 0
        offload = .none
        isTruncated = false
    }

    /// Fetches a frame that is larger than its slot; false when it is not there after all.
    private mutating func takeLarge() -> Bool {
        let headroom = PacketPort.largeHeadroom
        var about = cwl_large_frame()
        var result: Int64 = -1
        // A pending error of the socket (the device went down) is reported first, once, and leaves the frame queued.
        for _ in 0..<3 {
            // SAFETY: the header has ten octets and ends where the frame begins; the room is the rest of the buffer.
            result = unsafe cwl_packet_receive(
                socket.raw, large.pointer, large.pointer + headroom, large.count - headroom, &about)
            if result >= 0 || result == -Int64(EAGAIN) { break }
        }
        guard result >= Int64(cwl_virtio_size()) else { return false }
        unsafe frameBase = large.pointer + headroom
        frameCount = Int(result) - cwl_virtio_size()
        isTruncated = about.is_truncated != 0
        let tag = RemovedTag(status: about.status, control: about.tag, protocol: about.tag_protocol)
        // SAFETY: the header's ten octets are at the front of the buffer.
        restore(tag, unsafe cwl_virtio_read(large.pointer))
        return true
    }

    /// Puts a tag back into the current frame, and translates its virtio header.
    private mutating func restore(_ tag: RemovedTag?, _ virtio: cwl_virtio) {
        var shift: UInt16 = 0
        if let tag, frameCount >= RemovedTag.position {
            // SAFETY: at least twelve octets of frame, and four before it: the slot's reserve or the buffer's headroom.
            unsafe frameBase = tag.restore(frameBase)
            frameCount += RemovedTag.size
            shift = UInt16(RemovedTag.size)
        }
        offload = FrameOffload(virtio, shift: shift)
    }
}

extension FrameOffload {
    /// - Parameter shift: octets that were put into the frame, before the transport header, since the kernel wrote the
    ///   header: it counts from the frame without its tag.
    init(_ virtio: cwl_virtio, shift: UInt16) {
        let needsChecksum = virtio.flags & cwl_virtio_needs_checksum() != 0
        let segmentation: Segmentation =
            switch virtio.kind & 0x7F {  // 0x80 is VIRTIO_NET_HDR_GSO_ECN
            case 0: .none
            case VirtioKind.tcp4: .tcp4
            case VirtioKind.tcp6: .tcp6
            case VirtioKind.udp: .udp
            default: .unknown
            }
        self.init(
            segmentation: segmentation, segmentSize: segmentation == .none ? 0 : virtio.segment_size,
            needsChecksum: needsChecksum, checksumStart: needsChecksum ? virtio.checksum_start &+ shift : 0,
            checksumOffset: needsChecksum ? virtio.checksum_offset : 0)
    }
}

/// virtio's names of what is to be cut (VIRTIO_NET_HDR_GSO_…).
enum VirtioKind {
    static let tcp4: UInt8 = 1
    static let tcp6: UInt8 = 4
    static let udp: UInt8 = 5
}
