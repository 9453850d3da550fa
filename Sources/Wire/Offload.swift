// What a local sender's kernel left undone on a frame, and the half of that work that needs no cutting: the unfinished
// checksum (virtio 1.2 section 5.1.6; the rule for a zero is Linux's skb_checksum_help). `Segmenter` does the other half.

import Basics

/// Computes the checksum that the metadata says is unfinished, over everything from `checksumStart` to the frame's end; the
/// field holds the pseudo-header's sum until then. A checksum field at offset 6 is UDP's: there, 0 is stored as 0xffff.
/// True with nothing done if no checksum is needed; false with nothing done if the metadata does not fit the frame. O(frame).
@inlinable
public func finishChecksum(of frame: inout MutableRawSpan, _ offload: FrameOffload) -> Bool {
    guard offload.needsChecksum else { return true }
    let start = Int(offload.checksumStart)
    let offset = Int(offload.checksumOffset)
    // A start inside the Ethernet header, or one that a shift has carried around, was not made for this frame.
    guard start >= FrameHeader.byteCount, start < Int(UInt16.max),
        let partial = frame.bytes.loadBE16(at: start &+ offset)
    else { return false }
    var seed = Checksum()
    seed.add(partial)
    return Checksum.store(
        in: &frame, at: start, end: frame.byteCount, fieldOffset: offset, seed, zeroMeansNone: offset == UDP.Field.checksum)
}
