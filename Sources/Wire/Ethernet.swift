// The Ethernet header with its VLAN tags: what every frame is looked at for, once (IEEE 802.3 clause 3, IEEE 802.1Q-2022
// clause 9, RFC 894 and RFC 1042 for what follows). `FrameHeader` is a value, not a view: MAC addresses and tags fit in
// registers, so the hot path loads them and never comes back to the frame.
//
//     0           6           12     14     16     18
//     +-----------+-----------+------+------+------+----------
//     |destination| source    | type | payload               untagged
//     +-----------+-----------+------+------+------+----------
//     |destination| source    | TPID | TCI  | type | payload  tagged; TPID and TCI repeat for a stack
//     +-----------+-----------+------+------+------+----------

import Basics

/// What a frame carries: an EtherType (IEEE Std 802 clause 9), or, below 0x600, the length of an LLC frame.
/// Every number is a valid value; the named ones are those that Causeway looks at.
public struct EtherType: Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt16

    @inlinable @inline(always) public init(rawValue: UInt16) { self.rawValue = rawValue }

    @inlinable public static var ipv4: EtherType { EtherType(rawValue: 0x0800) }
    @inlinable public static var arp: EtherType { EtherType(rawValue: 0x0806) }
    @inlinable public static var ipv6: EtherType { EtherType(rawValue: 0x86DD) }
    /// An 802.1Q customer tag (C-TAG).
    @inlinable public static var customerTag: EtherType { EtherType(rawValue: 0x8100) }
    /// An 802.1ad service tag (S-TAG).
    @inlinable public static var serviceTag: EtherType { EtherType(rawValue: 0x88A8) }
    /// Service tags of equipment older than 802.1ad.
    @inlinable public static var legacyServiceTag: EtherType { EtherType(rawValue: 0x9100) }
    @inlinable public static var legacyServiceTag2: EtherType { EtherType(rawValue: 0x9200) }

    /// True for the four numbers that announce a VLAN tag.
    @inlinable @inline(always) public var isTag: Bool {
        // The first comparison alone decides for IPv4 and ARP.
        rawValue >= 0x8100
            && (self == .customerTag || self == .serviceTag || self == .legacyServiceTag || self == .legacyServiceTag2)
    }
}

/// The addresses, the VLAN and the type of one frame.
public struct FrameHeader: Hashable, Sendable, BitwiseCopyable {
    public var destination: MACAddress
    public var source: MACAddress
    /// The outermost tag's VLAN; `.untagged` without a tag or with a priority tag (VLAN identifier 0) outermost.
    public var vlan: VLAN
    /// The type after all tags. A tag's own number if the frame ends within that tag, or after `maximumTags` tags.
    public var etherType: EtherType
    /// Where the payload begins: octets from the frame's start, just after `etherType`. Never beyond the frame's end.
    public var payloadOffset: Int

    /// Octets of an untagged header.
    @inlinable public static var byteCount: Int { 14 }
    /// Octets of one tag.
    @inlinable public static var tagByteCount: Int { 4 }
    /// Tags that are looked through to find the type.
    @inlinable public static var maximumTags: Int { 4 }

    /// Offsets in octets.
    @usableFromInline enum Field {
        @inlinable static var destination: Int { 0 }
        /// Eight octets from here are the source address and the first type.
        @inlinable static var source: Int { 6 }
        @inlinable static var type: Int { 12 }
    }

    /// Parses the header at the frame's start; `nil` if there are fewer than 14 octets.
    @inlinable @inline(always)
    public init?(_ frame: RawSpan) {
        guard frame.byteCount >= FrameHeader.byteCount else { return nil }
        // SAFETY: 14 octets are there; the two loads end at octet 8 and at octet 14.
        let first = unsafe frame.loadBE64(unchecked: Field.destination)
        let second = unsafe frame.loadBE64(unchecked: Field.source)
        destination = MACAddress(rawValue: first >> 16)
        source = MACAddress(rawValue: second >> 16)
        let type = EtherType(rawValue: UInt16(truncatingIfNeeded: second))
        if type.isTag {
            (vlan, etherType, payloadOffset) = FrameHeader.parseTags(frame, type)
        } else {
            vlan = VLAN(rawValue: 0)
            etherType = type
            payloadOffset = FrameHeader.byteCount
        }
    }

    /// A header to emit: untagged, or with one tag of the VLAN's kind.
    @inlinable
    public init(destination: MACAddress, source: MACAddress, vlan: VLAN = VLAN(rawValue: 0), etherType: EtherType) {
        self.destination = destination
        self.source = source
        self.vlan = vlan
        self.etherType = etherType
        payloadOffset = FrameHeader.byteCount &+ (vlan.rawValue == 0 ? 0 : FrameHeader.tagByteCount)
    }

    /// True when `etherType` is the length of an LLC frame: spanning tree and the like (IEEE 802.3 clause 3.2.6).
    @inlinable public var isLLC: Bool { etherType.rawValue < 0x600 }

    /// Looks through the tags of a frame of at least 14 octets, whose first type announces one. Values in and out, so that
    /// the header of an untagged frame never leaves the registers.
    @inlinable @inline(never)
    static func parseTags(_ frame: RawSpan, _ outermost: EtherType) -> (VLAN, EtherType, Int) {
        var vlan = VLAN(rawValue: 0)
        var etherType = outermost
        var payloadOffset = FrameHeader.byteCount
        if let control = frame.loadBE16(at: payloadOffset) {
            vlan = VLAN(identifier: control, isService: outermost != .customerTag)
        }
        var tags = 0
        while tags < FrameHeader.maximumTags, etherType.isTag, let inner = frame.loadBE16(at: payloadOffset &+ 2) {
            etherType = EtherType(rawValue: inner)
            payloadOffset &+= FrameHeader.tagByteCount
            tags &+= 1
        }
        return (vlan, etherType, payloadOffset)
    }

    /// Writes the header, with one tag unless `vlan` is `.untagged`: customer tags as 0x8100, service tags as 0x88a8,
    /// priority 0. Returns where the payload begins; `nil`, and nothing written, if the header does not fit.
    @inlinable
    public func emit(into buffer: inout MutableRawSpan, at offset: Int = 0) -> Int? {
        let tagged = vlan.rawValue != 0
        let count = FrameHeader.byteCount &+ (tagged ? FrameHeader.tagByteCount : 0)
        guard buffer.holds(count, at: offset) else { return nil }
        // SAFETY: `holds` has checked `count` octets. The first store's two last octets are overwritten by the second.
        unsafe buffer.storeBE64(destination.rawValue << 16, unchecked: offset &+ Field.destination)
        unsafe buffer.storeBE64(source.rawValue << 16, unchecked: offset &+ Field.source)
        var end = offset &+ Field.type
        if tagged {
            let tag: EtherType = vlan.isService ? .serviceTag : .customerTag
            unsafe buffer.storeBE16(tag.rawValue, unchecked: end)
            unsafe buffer.storeBE16(vlan.identifier, unchecked: end &+ 2)
            end &+= FrameHeader.tagByteCount
        }
        unsafe buffer.storeBE16(etherType.rawValue, unchecked: end)
        return end &+ 2
    }
}
