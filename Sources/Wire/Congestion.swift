// Explicit congestion notification: the low two bits of an IP header's traffic class octet (RFC 3168), and what becomes of
// them where a tunnel ends (RFC 6040 section 4.2, figure 4).
//
//                      the datagram came with
//     the frame has    Not-ECT    ECT(0)     ECT(1)     CE
//     Not-ECT          Not-ECT    Not-ECT    Not-ECT    dropped
//     ECT(0)           ECT(0)     ECT(0)     ECT(1)     CE
//     ECT(1)           ECT(1)     ECT(1)     ECT(1)     CE
//     CE               CE         CE         CE         CE

import Basics

/// What an IP header says of congestion.
public enum Congestion: UInt8, CaseIterable, Hashable, Sendable, BitwiseCopyable {
    /// Not-ECT: the sender does not understand marks.
    case notCapable = 0
    /// ECT(1).
    case capable1 = 1
    /// ECT(0).
    case capable0 = 2
    /// CE: a queue on the way was too long.
    case experienced = 3

    /// Of a traffic class octet.
    @inlinable public init(octet: UInt8) {
        switch octet & 3 {
        case 0: self = .notCapable
        case 1: self = .capable1
        case 2: self = .capable0
        default: self = .experienced
        }
    }

    /// What a frame leaves a tunnel with that has this and came in a datagram with `outer`; `nil` where it must be dropped.
    @inlinable
    public func decapsulated(from outer: Congestion) -> Congestion? {
        switch (self, outer) {
        case (.notCapable, .experienced): nil
        case (.notCapable, _): .notCapable
        case (_, .experienced): .experienced
        case (.capable0, .capable1): .capable1
        default: self
        }
    }

    /// Whether a datagram with this can change a frame, or have it dropped.
    @inlinable public var changesFrames: Bool { self == .experienced || self == .capable1 }
}

/// The traffic class octet of the IP packet in a frame.
public enum TrafficOctet {
    /// DSCP in the high six bits, ECN in the low two; `nil` where the frame carries no IP, or too little of it. O(1).
    @inlinable @inline(always)
    public static func of(_ frame: RawSpan, _ header: FrameHeader) -> UInt8? {
        // In IPv4 the octet is the second; in IPv6 it lies across the first two.
        guard let word = frame.loadBE16(at: header.payloadOffset) else { return nil }
        if header.etherType == .ipv4 && word >> 12 == 4 { return UInt8(truncatingIfNeeded: word) }
        if header.etherType == .ipv6 && word >> 12 == 6 { return UInt8(truncatingIfNeeded: word >> 4) }
        return nil
    }

    /// True for a packet to an IP multicast group that routers forward: none of 224.0.0.0/24, and no IPv6 scope below 3.
    @inlinable
    public static func isRoutedMulticast(_ frame: RawSpan, _ header: FrameHeader) -> Bool {
        if header.etherType == .ipv4 {
            guard let to = frame.loadBE32(at: header.payloadOffset &+ IPv4.Field.destination) else { return false }
            return to >> 28 == 0xE && to >> 8 != 0xE0_0000
        }
        if header.etherType == .ipv6 {
            guard let to = frame.loadBE16(at: header.payloadOffset &+ IPv6.Field.destination) else { return false }
            return to >> 8 == 0xFF && to & 0x0F > 2
        }
        return false
    }

    /// Gives the IP packet of a frame what a datagram that came with `outer` leaves it with. False for a frame that must be
    /// dropped. A frame without an IP header, or with a broken one, stays as it is: it cannot carry a mark. O(1).
    public static func decapsulate(_ frame: inout MutableRawSpan, from outer: Congestion) -> Bool {
        guard let header = FrameHeader(frame.bytes), let octet = of(frame.bytes, header) else { return true }
        let offset = header.payloadOffset
        let isIPv4 = header.etherType == .ipv4
        guard frame.holds(isIPv4 ? IPv4.headerByteCount : IPv6.headerByteCount, at: offset) else { return true }
        let inner = Congestion(octet: octet)
        guard let result = inner.decapsulated(from: outer) else { return false }
        if result == inner { return true }
        // SAFETY: a whole header is there from `offset`, as checked.
        let old = unsafe frame.bytes.loadBE16(unchecked: offset)
        let shift: UInt16 = isIPv4 ? 0 : 4
        let new = old & ~(3 << shift) | UInt16(result.rawValue) << shift
        unsafe frame.storeBE16(new, unchecked: offset)
        if isIPv4 {
            // The first word is under the header's checksum, which stays as right or as wrong as it was.
            let field = unsafe frame.bytes.loadBE16(unchecked: offset &+ IPv4.Field.checksum)
            unsafe frame.storeBE16(
                Checksum.updated(field, replacing: old, with: new), unchecked: offset &+ IPv4.Field.checksum)
        }
        return true
    }
}
