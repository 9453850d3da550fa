// What a local sender's kernel left undone on a frame, and the half of that work that needs no cutting: the unfinished
// checksum (virtio 1.2 section 5.1.6; the rule for a zero is Linux's skb_checksum_help). `Segmenter` does the other half.

import Basics

/// Computes the checksum that the metadata says is unfinished, over everything from `checksumStart` to the frame's end; the
/// field holds the pseudo-header's sum until then. A checksum field at offset 6 is UDP's: there, 0 is stored as 0xffff. One at
/// offset 8 is SCTP's, which is a CRC32c (RFC 9260, appendix A).
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
    if offset == SCTP.checksumOffset { return finishSCTP(of: &frame, from: start) }
    var seed = Checksum()
    seed.add(partial)
    return Checksum.store(
        in: &frame, at: start, end: frame.byteCount, fieldOffset: offset, seed, zeroMeansNone: offset == UDP.Field.checksum)
}

/// What is of interest of SCTP, whose checksum is no sum: the metadata does not say so, only the field's place does.
@usableFromInline enum SCTP {
    /// Of the common header's four octets, from the header's start.
    @usableFromInline static let checksumOffset = 8
    static let headerBytes = 12
    /// CRC32c's polynomial (Castagnoli), bits reversed.
    static let polynomial: UInt32 = 0x82F6_3B78
}

/// Computes SCTP's checksum over everything from `start` to the frame's end, bit by bit: few who bridge have such traffic from a
/// sender of the same machine, which alone leaves it undone. False with nothing done when no header is there.
@inline(never) @usableFromInline
func finishSCTP(of frame: inout MutableRawSpan, from start: Int) -> Bool {
    let field = start &+ SCTP.checksumOffset
    guard start &+ SCTP.headerBytes <= frame.byteCount else { return false }
    var register = UInt32.max
    for index in start..<frame.byteCount {
        // The field counts as zero.
        if index < field || index >= field &+ 4 {
            // SAFETY: the index is below the frame's end.
            register ^= UInt32(unsafe frame.bytes.unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self))
        }
        for _ in 0..<8 { register = register & 1 == 1 ? register >> 1 ^ SCTP.polynomial : register >> 1 }
    }
    // The lowest octet first, unlike everything else on the wire.
    frame.storeBytes(of: (~register).littleEndian, toByteOffset: field, as: UInt32.self)
    return true
}
