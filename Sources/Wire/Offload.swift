// What a local sender's kernel left undone on a frame, read from the header that AF_PACKET and TAP put before it, and the
// half of that work that needs no cutting: the unfinished checksum (virtio 1.2 section 5.1.6, `struct virtio_net_hdr`;
// the rule for a zero is Linux's skb_checksum_help). `Segmenter` does the other half.
//
//     0       1          2            4             6             8              10
//     +-------+----------+------------+-------------+-------------+--------------+
//     | flags | GSO type | header len | segment len | sum's start | field offset |  16-bit numbers little-endian
//     +-------+----------+------------+-------------+-------------+--------------+

import Basics

extension FrameOffload {
    /// Octets of the header that `init(virtioHeader:)` reads.
    @inlinable public static var virtioHeaderByteCount: Int { 10 }

    /// Offsets in octets from the virtio header's start.
    @usableFromInline enum VirtioField {
        @inlinable static var flags: Int { 0 }
        @inlinable static var segmentation: Int { 1 }
        @inlinable static var segmentSize: Int { 4 }
        @inlinable static var checksumStart: Int { 6 }
        @inlinable static var checksumOffset: Int { 8 }
    }

    /// VIRTIO_NET_HDR_F_NEEDS_CSUM. The other flag, DATA_VALID, says nothing that is still to be done.
    @inlinable static var needsChecksumFlag: UInt8 { 1 }
    /// VIRTIO_NET_HDR_GSO_ECN: the first segment has CWR set. `Segmenter` sees that for itself.
    @inlinable static var ecnFlag: UInt8 { 0x80 }

    /// Reads a virtio network header; `nil` if there are fewer than 10 octets. Kinds of segmentation that are not known, UFO
    /// and tunnels among them, become `.unknown`. Fields without a meaning for the frame become 0. The claimed header length
    /// is not read: it is a hint, and the frame itself says.
    @inlinable
    public init?(virtioHeader: RawSpan) {
        guard virtioHeader.byteCount >= FrameOffload.virtioHeaderByteCount else { return nil }
        // SAFETY: 10 octets are there.
        let flags = unsafe virtioHeader.loadByte(unchecked: VirtioField.flags)
        let kind = unsafe virtioHeader.loadByte(unchecked: VirtioField.segmentation) & ~FrameOffload.ecnFlag
        let size = unsafe virtioHeader.loadBE16(unchecked: VirtioField.segmentSize).byteSwapped
        let start = unsafe virtioHeader.loadBE16(unchecked: VirtioField.checksumStart).byteSwapped
        let offset = unsafe virtioHeader.loadBE16(unchecked: VirtioField.checksumOffset).byteSwapped
        let segmentation: Segmentation =
            switch kind {
            case 0: .none
            case 1: .tcp4
            case 4: .tcp6
            case 5: .udp
            default: .unknown
            }
        let needsChecksum = flags & FrameOffload.needsChecksumFlag != 0
        self.init(
            segmentation: segmentation, segmentSize: segmentation == .none ? 0 : size, needsChecksum: needsChecksum,
            checksumStart: needsChecksum ? start : 0, checksumOffset: needsChecksum ? offset : 0)
    }

    /// The same work on a frame that has grown by `octets` before its network header, as by a VLAN tag that is put back in;
    /// negative when it has shrunk. A start that leaves 0...65535 is clamped, and then fits no frame.
    @inlinable
    public func shifted(by octets: Int) -> FrameOffload {
        guard needsChecksum else { return self }
        var shifted = self
        let (start, overflow) = Int(checksumStart).addingReportingOverflow(octets)
        shifted.checksumStart = overflow ? .max : UInt16(clamping: start)
        return shifted
    }
}

/// Computes the checksum that the metadata says is unfinished, over everything from `checksumStart` to the frame's end; the
/// field holds the pseudo-header's sum until then. A checksum field at offset 6 is UDP's: there, 0 is stored as 0xffff.
/// True with nothing done if no checksum is needed; false with nothing done if the metadata does not fit the frame. O(frame).
@inlinable
public func finishChecksum(of frame: inout MutableRawSpan, _ offload: FrameOffload) -> Bool {
    guard offload.needsChecksum else { return true }
    let start = Int(offload.checksumStart)
    let offset = Int(offload.checksumOffset)
    // A start inside the Ethernet header, or one that `shifted` has clamped, was not made for this frame.
    guard start >= FrameHeader.byteCount, start < Int(UInt16.max),
        let partial = frame.bytes.loadBE16(at: start &+ offset)
    else { return false }
    var seed = Checksum()
    seed.add(partial)
    return Checksum.store(
        in: &frame, at: start, end: frame.byteCount, fieldOffset: offset, seed, zeroMeansNone: offset == UDP.Field.checksum)
}
