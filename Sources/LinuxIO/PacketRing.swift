// The receive ring of a packet socket: memory that the kernel fills slot by slot and that is handed back slot by slot.
//
//     | slot 0: header, gap, virtio header, frame | slot 1 | ... | slot n-1 |     one contiguous mapping
//
// A slot whose status has the "user" bit is ours until we release it; the kernel stops at a slot that is still ours, and
// counts the frame as dropped.

import CLinux
import Glibc

/// The mapping, and where we are in it.
@safe
struct PacketRing: ~Copyable, @unchecked Sendable {
    /// Octets of a slot. What does not fit besides the headers takes the copy path.
    static let slotBytes = 2048
    /// Octets that the kernel allocates in one piece: a multiple of the page size and of `slotBytes`.
    static let blockBytes = 65536
    /// Octets kept free before the frame, so that a VLAN tag can be put back in place.
    static let reserve: Int32 = 16

    private let base: UnsafeMutableRawPointer
    private let slots: Int
    private var next = 0
    /// Whether the slot before `next` is ours and to be released.
    private var holdsSlot = false

    /// Creates and maps the ring of a socket whose options are set. `bytes` is rounded up to whole blocks.
    init(descriptor: Int32, bytes: Int, device: String) throws(IOError) {
        let blocks = min(max((bytes + PacketRing.blockBytes - 1) / PacketRing.blockBytes, 1), 16384)
        slots = blocks * (PacketRing.blockBytes / PacketRing.slotBytes)
        try check(
            cwl_ring_create(
                descriptor, UInt32(PacketRing.blockBytes), UInt32(blocks), UInt32(PacketRing.slotBytes), UInt32(slots)),
            "create a packet ring of \(blocks * PacketRing.blockBytes) octets", device)
        var address: UnsafeMutableRawPointer?
        // SAFETY: the kernel maps as many octets as were just asked for.
        try check(
            unsafe cwl_ring_map(descriptor, blocks * PacketRing.blockBytes, &address), "map the packet ring", device)
        guard let address = unsafe address else {
            throw IOError(operation: "map the packet ring", subject: device, code: ENOMEM)
        }
        unsafe base = address
    }

    deinit {
        _ = unsafe cwl_ring_unmap(base, slots * PacketRing.slotBytes)
    }

    /// Releases the slot that was taken last, and takes the next if the kernel has filled it. The slot is ours until the
    /// next call.
    mutating func take() -> Slot? {
        if holdsSlot {
            let previous = next == 0 ? slots - 1 : next - 1
            // SAFETY: `previous` is below `slots`; the slot is ours.
            unsafe cwl_slot_release(base + previous * PacketRing.slotBytes)
            holdsSlot = false
        }
        // SAFETY: `next` is below `slots`.
        let address = unsafe base + next * PacketRing.slotBytes
        let status = unsafe cwl_slot_status(address)
        guard status & cwl_status_user() != 0 else { return nil }
        holdsSlot = true
        next = next + 1 == slots ? 0 : next + 1
        return unsafe Slot(address: address, status: status)
    }

    /// A slot that the kernel has filled already and that `ahead` more calls of `take` would come to; `nil` where it has not. To
    /// look at its frame only: it is not taken. Precondition: `ahead` is positive and below the number of slots.
    func peek(ahead: Int) -> Slot? {
        let place = next &+ ahead &- 1
        // SAFETY: below `slots`, which `next` is too.
        let address = unsafe base + (place < slots ? place : place &- slots) &* PacketRing.slotBytes
        let status = unsafe cwl_slot_status(address)
        return status & cwl_status_user() == 0 ? nil : unsafe Slot(address: address, status: status)
    }

    /// A filled slot. Every offset in it comes from the kernel and is clamped to the slot all the same.
    @safe
    struct Slot {
        private let address: UnsafeMutableRawPointer
        private let status: UInt32
        /// Where the frame begins in the slot.
        private let offset: Int
        /// Octets of the frame that are in the slot.
        let captured: Int

        fileprivate init(address: UnsafeMutableRawPointer, status: UInt32) {
            unsafe self.address = unsafe address
            self.status = status
            let lowest = cwl_virtio_size() + 4
            // SAFETY: the slot is ours and begins with a tpacket2_hdr.
            offset = unsafe min(max(Int(cwl_slot_frame(address)), lowest), PacketRing.slotBytes)
            captured = unsafe min(Int(cwl_slot_captured(address)), PacketRing.slotBytes - offset)
        }

        /// Whether the whole frame waits on the socket, because it is larger than the slot.
        var isCopied: Bool { status & cwl_status_copy() != 0 }
        // SAFETY: as in init.
        var isTruncated: Bool { unsafe captured < Int(cwl_slot_length(address)) }
        /// The frame, with at least four octets before it that may be overwritten once `virtio` has been read.
        var frame: UnsafeMutableRawPointer { unsafe address + offset }
        // SAFETY: the offset is at least the header's size.
        var virtio: cwl_virtio { unsafe cwl_virtio_read(address + offset - cwl_virtio_size()) }
        // SAFETY: as in init.
        var tag: RemovedTag? {
            unsafe RemovedTag(status: status, control: cwl_slot_tag(address), protocol: cwl_slot_tag_protocol(address))
        }
    }
}

/// A VLAN tag that the kernel took off a frame and reports beside it.
struct RemovedTag {
    /// Octets of a tag.
    static let size = 4
    /// Octets before the tag: the two MAC addresses.
    static let position = 12

    private let word: UInt32

    /// `nil` when the status says that there was no tag. An unknown protocol is 802.1Q.
    init?(status: UInt32, control: UInt16, protocol identifier: UInt16) {
        guard status & cwl_status_tag() != 0 else { return nil }
        let known = status & cwl_status_tag_protocol() != 0 ? identifier : 0x8100
        word = UInt32(known) << 16 | UInt32(control)
    }

    /// Puts the tag back into the frame at `frame`, which grows by four octets towards the front; where it begins then.
    /// The caller guarantees twelve octets of frame and four before it.
    func restore(_ frame: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        // SAFETY: the caller's guarantee.
        unsafe memmove(frame - RemovedTag.size, frame, RemovedTag.position)
        unsafe (frame - RemovedTag.size + RemovedTag.position).storeBytes(of: word.bigEndian, as: UInt32.self)
        return unsafe frame - RemovedTag.size
    }
}
