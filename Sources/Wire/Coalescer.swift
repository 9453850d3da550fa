// Joins frames of one flow that follow each other into a super-frame, which a kernel or a network card cuts again: the
// inverse of `Segmenter`, under the rules of Linux's GRO (RFC 9293 section 3.7 for segments, RFC 3168 for ECN, RFC 6864 for
// the identification, RFC 768). A frame joins only if cutting gives it back octet for octet, its checksums included.
//
//     frames        | Ethernet, tags | IP | TCP or UDP | segmentSize |
//                   | the same headers, but for ...    | segmentSize |
//                   | lengths, sequence, checksums     | rest   |
//     super-frame   | Ethernet, tags | IP | TCP or UDP | payload ........................... |
//
// Everything in the headers must be equal, except: IPv4 identification, one more each time, because that is how a
// super-frame is cut; TCP sequence, which goes on where the frame before ended; PSH, on the last frame only; lengths and
// checksums. Every frame's checksums are verified before it joins: cutting computes new ones, and a corrupt frame must not
// get a good one. What is out of the ordinary does not join: padding, options of IPv4, extension headers of IPv6, fragments,
// FIN, SYN, RST, URG and CWR, datagrams without a checksum.

import Basics

/// The state of one run of frames. It holds no bytes: the caller keeps the super-frame, to whose end it appends the payload
/// of each frame that joins.
///
/// In this order: `init` with the first frame; for each next frame `admits`, then `join`; at last, if `frames` is more than
/// 1, `finish`. Until then the super-frame's headers are those of the first frame.
public struct Coalescer: Hashable, Sendable, BitwiseCopyable {
    /// The most octets of a super-frame, Ethernet header included: from 64 KiB on, Linux cuts in software whatever the card
    /// can do.
    @inlinable public static var maximumOctets: Int { 65_535 }
    /// The most datagrams of a super-frame: UDP_MAX_SEGMENTS of the kernels that cut UDP first.
    @inlinable public static var maximumDatagrams: Int { 64 }
    /// The most TCP segments of a super-frame: 64 KiB of segments of 512 octets.
    @inlinable public static var maximumSegments: Int { 128 }
    /// Tags of a super-frame: deeper stacks are cut by no card.
    @inlinable static var maximumTags: Int { 2 }

    // Positions are octets from the frame's start, and always, once a run has begun,
    // 14 <= network < transport < payload < the octets of every frame of the run.

    /// Where the IP header begins.
    @usableFromInline var network = 0
    /// Where the TCP or UDP header begins.
    @usableFromInline var transport = 0
    @usableFromInline var payload = 0
    /// Octets of payload of the first frame; no other has more, and only the last may have fewer.
    @usableFromInline var segmentSize = 0
    /// Where the next frame begins in the TCP stream.
    @usableFromInline var nextSequence: UInt32 = 0
    /// What the next frame's IPv4 identification must be.
    @usableFromInline var nextIdentification: UInt16 = 0
    @usableFromInline var isIPv6 = false
    @usableFromInline var isTCP = false
    /// Whether the first frame's checksums have been looked at: only when a second frame comes.
    @usableFromInline var isVerified = false
    /// True once nothing more may join: a shorter frame or one with PSH did, or the first is corrupt.
    @usableFromInline var isClosed = false
    /// Whether the last frame that joined has PSH.
    @usableFromInline var pushes = false
    @usableFromInline var joined = 0

    /// Frames of the run: 0 when none has begun.
    @inlinable public var frames: Int { joined }
    /// Where the transport payload begins, in the super-frame and in each of its frames: octets from the start.
    @inlinable public var payloadOffset: Int { payload }

    /// No run.
    @inlinable public init() {}

    /// A run that begins with `frame`, whose header is `header`; `nil` if nothing can join that frame. Checksums are not
    /// looked at yet. With `udp` false, only TCP makes runs. O(1), a few nanoseconds.
    @inlinable
    public init?(_ frame: RawSpan, _ header: FrameHeader, udp: Bool) {
        let network = header.payloadOffset
        let kind: IPProtocol
        if header.etherType == .ipv4 {
            guard frame.holds(IPv4.headerByteCount &+ UDP.headerByteCount, at: network) else { return nil }
            // SAFETY: 28 octets are there from `network`.
            guard unsafe frame.loadByte(unchecked: network &+ IPv4.Field.versionAndLength) == 0x45,
                unsafe Int(frame.loadBE16(unchecked: network &+ IPv4.Field.totalLength)) == frame.byteCount &- network,
                unsafe frame.loadBE16(unchecked: network &+ IPv4.Field.fragment) & 0xBFFF == 0
            else { return nil }
            kind = unsafe IPProtocol(rawValue: frame.loadByte(unchecked: network &+ IPv4.Field.transport))
            nextIdentification = unsafe frame.loadBE16(unchecked: network &+ IPv4.Field.identification) &+ 1
            transport = network &+ IPv4.headerByteCount
        } else if header.etherType == .ipv6 {
            guard frame.holds(IPv6.headerByteCount &+ UDP.headerByteCount, at: network) else { return nil }
            // SAFETY: 48 octets are there from `network`.
            guard unsafe frame.loadByte(unchecked: network &+ IPv6.Field.versionClassFlow) >> 4 == 6,
                unsafe Int(frame.loadBE16(unchecked: network &+ IPv6.Field.payloadLength))
                    == frame.byteCount &- network &- IPv6.headerByteCount
            else { return nil }
            kind = unsafe IPProtocol(rawValue: frame.loadByte(unchecked: network &+ IPv6.Field.nextHeader))
            transport = network &+ IPv6.headerByteCount
            isIPv6 = true
        } else {
            return nil
        }
        // SAFETY of what follows: 8 octets are there from `transport`, and for TCP 20, as checked.
        if kind == .tcp {
            guard frame.holds(TCP.headerByteCount, at: transport) else { return nil }
            // The low half of this octet is reserved, and bits that a card does not know must not be multiplied.
            let offset = unsafe frame.loadByte(unchecked: transport &+ TCP.Field.dataOffset)
            let flags = unsafe TCP.Flags(rawValue: frame.loadByte(unchecked: transport &+ TCP.Field.flags))
            guard offset & 0x0F == 0, offset >= 0x50, flags.subtracting(.ece) == .ack else { return nil }
            payload = transport &+ Int(offset >> 4) &* 4
            isTCP = true
        } else if kind == .udp && udp {
            guard unsafe Int(frame.loadBE16(unchecked: transport &+ UDP.Field.length)) == frame.byteCount &- transport else {
                return nil
            }
            payload = transport &+ UDP.headerByteCount
        } else {
            return nil
        }
        guard frame.byteCount > payload, frame.byteCount < Coalescer.maximumOctets else { return nil }
        if network > FrameHeader.byteCount, !Coalescer.hasCommonTags(frame, before: network) { return nil }
        self.network = network
        segmentSize = frame.byteCount &- payload
        if isTCP {
            nextSequence = unsafe frame.loadBE32(unchecked: transport &+ TCP.Field.sequence)
            nextSequence &+= UInt32(truncatingIfNeeded: segmentSize)
        }
        joined = 1
    }

    /// True when the tags are those that Linux knows: it cannot cut behind others.
    @inlinable
    static func hasCommonTags(_ frame: RawSpan, before network: Int) -> Bool {
        guard network <= FrameHeader.byteCount &+ maximumTags &* FrameHeader.tagByteCount else { return false }
        var offset = FrameHeader.Field.type
        while offset &+ 2 < network {
            guard let type = frame.loadBE16(at: offset),
                type == EtherType.customerTag.rawValue || type == EtherType.serviceTag.rawValue
            else { return false }
            offset &+= FrameHeader.tagByteCount
        }
        return true
    }

    /// True when `frame` may join the run, whose super-frame is `run` so far; then append what follows `payloadOffset` to it
    /// and call `join`. Nothing is changed but for what is known of the first frame. O(1) for a frame of another flow, O(frame)
    /// for one that joins: its checksum is verified.
    @inlinable
    public mutating func admits(_ frame: RawSpan, after run: RawSpan) -> Bool {
        let count = frame.byteCount &- payload
        guard joined > 0, !isClosed, count > 0, count <= segmentSize, run.byteCount >= payload,
            run.byteCount &+ count <= Coalescer.maximumOctets,
            joined < (isTCP ? Coalescer.maximumSegments : Coalescer.maximumDatagrams)
        else { return false }
        // SAFETY: both spans hold more than `payload` octets or as many, and all of the headers lie before that.
        guard unsafe equal4(frame, run, transport), hasEqualLink(frame, run), hasEqualNetwork(frame, run) else { return false }
        guard isTCP ? continuesStream(frame, run) : continuesDatagrams(frame) else { return false }
        if !isVerified {
            isVerified = true
            // Only the first frame is there yet.
            if !isIntact(run) {
                isClosed = true
                return false
            }
        }
        return isIntact(frame)
    }

    /// Notes that the payload of `frame`, which `admits` has let in, was appended to the super-frame.
    @inlinable
    public mutating func join(_ frame: RawSpan) {
        let count = frame.byteCount &- payload
        if isTCP, let flags = frame.loadByte(at: transport &+ TCP.Field.flags) {
            pushes = TCP.Flags(rawValue: flags).contains(.psh)
        }
        nextSequence &+= UInt32(truncatingIfNeeded: count)
        nextIdentification &+= 1
        joined &+= 1
        if count < segmentSize || pushes { isClosed = true }
    }

    /// Makes the headers of the super-frame, all of `run`, those of what it holds, with a checksum field as a card expects
    /// it: the pseudo-header's sum. What is to be done with it; `.none`, and nothing changed, if this is not the run.
    @inlinable
    public func finish(_ run: inout MutableRawSpan) -> FrameOffload {
        guard joined > 1, run.byteCount > payload, run.byteCount <= Coalescer.maximumOctets else { return .none }
        // SAFETY: the headers lie before `payload`, which is inside `run`.
        let length = run.byteCount &- transport
        if isIPv6 {
            unsafe run.storeBE16(UInt16(truncatingIfNeeded: length), unchecked: network &+ IPv6.Field.payloadLength)
        } else {
            let total = UInt16(truncatingIfNeeded: run.byteCount &- network)
            unsafe run.storeBE16(total, unchecked: network &+ IPv4.Field.totalLength)
            _ = Checksum.store(
                in: &run, at: network, end: transport, fieldOffset: IPv4.Field.checksum, Checksum(), zeroMeansNone: false)
        }
        if isTCP {
            if pushes {
                let flags = unsafe run.bytes.loadByte(unchecked: transport &+ TCP.Field.flags)
                unsafe run.storeByte(flags | TCP.Flags.psh.rawValue, unchecked: transport &+ TCP.Field.flags)
            }
        } else {
            unsafe run.storeBE16(UInt16(truncatingIfNeeded: length), unchecked: transport &+ UDP.Field.length)
        }
        let field = isTCP ? TCP.Field.checksum : UDP.Field.checksum
        let sum = pseudoHeader(run.bytes, length: length)
        unsafe run.storeBE16(sum.folded, unchecked: transport &+ field)
        return FrameOffload(
            segmentation: isTCP ? (isIPv6 ? .tcp6 : .tcp4) : .udp, segmentSize: UInt16(truncatingIfNeeded: segmentSize),
            needsChecksum: true, checksumStart: UInt16(truncatingIfNeeded: transport),
            checksumOffset: UInt16(truncatingIfNeeded: field))
    }

    // MARK: Comparing

    // SAFETY of what follows: `admits` has checked that both spans hold `payload` octets, and the headers lie before that.

    @unsafe @inlinable @inline(always)
    func equal4(_ a: RawSpan, _ b: RawSpan, _ offset: Int) -> Bool {
        unsafe a.loadBE32(unchecked: offset) == b.loadBE32(unchecked: offset)
    }

    @unsafe @inlinable @inline(always)
    func equal8(_ a: RawSpan, _ b: RawSpan, _ offset: Int) -> Bool {
        unsafe a.loadBE64(unchecked: offset) == b.loadBE64(unchecked: offset)
    }

    /// Addresses, tags and type.
    @inlinable @inline(always)
    func hasEqualLink(_ frame: RawSpan, _ run: RawSpan) -> Bool {
        guard unsafe equal8(frame, run, 0) && equal8(frame, run, FrameHeader.Field.source) else { return false }
        var offset = FrameHeader.byteCount
        while offset < network {
            guard unsafe equal4(frame, run, offset) else { return false }
            offset &+= FrameHeader.tagByteCount
        }
        return true
    }

    /// The same IP header, as the next frame of the run has it, for a packet that ends where the frame does.
    @inlinable @inline(always)
    func hasEqualNetwork(_ frame: RawSpan, _ run: RawSpan) -> Bool {
        let octets = frame.byteCount &- network
        if isIPv6 {
            // Version, class, label; next header and hop limit beside the length; addresses.
            let length = unsafe Int(frame.loadBE16(unchecked: network &+ IPv6.Field.payloadLength))
            let kind = unsafe frame.loadBE16(unchecked: network &+ IPv6.Field.nextHeader)
            let sameKind = unsafe kind == run.loadBE16(unchecked: network &+ IPv6.Field.nextHeader)
            return unsafe sameKind && length == octets &- IPv6.headerByteCount && equal4(frame, run, network)
                && equal8(frame, run, network &+ 8) && equal8(frame, run, network &+ 16)
                && equal8(frame, run, network &+ 24) && equal8(frame, run, network &+ 32)
        }
        let identification = unsafe frame.loadBE16(unchecked: network &+ IPv4.Field.identification)
        let length = unsafe Int(frame.loadBE16(unchecked: network &+ IPv4.Field.totalLength))
        // Version, header length and class; fragmentation, time to live and protocol; addresses.
        let first = unsafe frame.loadBE16(unchecked: network &+ IPv4.Field.versionAndLength)
        let sameFirst = unsafe first == run.loadBE16(unchecked: network &+ IPv4.Field.versionAndLength)
        return unsafe sameFirst && length == octets && identification == nextIdentification
            && equal4(frame, run, network &+ IPv4.Field.fragment) && equal8(frame, run, network &+ IPv4.Field.source)
    }

    /// True for a TCP header that goes on where the run ends. The ports have been compared.
    @inlinable @inline(always)
    func continuesStream(_ frame: RawSpan, _ run: RawSpan) -> Bool {
        // Offset, reserved bits, flags and window in one; PSH may be on a frame's, never on the first's.
        let mine = unsafe frame.loadBE32(unchecked: transport &+ TCP.Field.dataOffset)
        let first = unsafe run.loadBE32(unchecked: transport &+ TCP.Field.dataOffset)
        let push = UInt32(TCP.Flags.psh.rawValue) << 16
        guard unsafe frame.loadBE32(unchecked: transport &+ TCP.Field.sequence) == nextSequence, mine & ~push == first,
            unsafe equal4(frame, run, transport &+ TCP.Field.acknowledgement)
        else { return false }
        let urgent = unsafe frame.loadBE16(unchecked: transport &+ TCP.Field.urgentPointer)
        guard unsafe urgent == run.loadBE16(unchecked: transport &+ TCP.Field.urgentPointer) else { return false }
        var offset = transport &+ TCP.Field.options
        while offset < payload {
            guard unsafe equal4(frame, run, offset) else { return false }
            offset &+= 4
        }
        return true
    }

    /// True for a UDP header whose length is the frame's. The ports have been compared.
    @inlinable @inline(always)
    func continuesDatagrams(_ frame: RawSpan) -> Bool {
        unsafe Int(frame.loadBE16(unchecked: transport &+ UDP.Field.length)) == frame.byteCount &- transport
    }

    // MARK: Verifying

    /// True when a frame of the run has right checksums, and those are the ones that cutting computes. In ones' complement
    /// 0 and 0xffff are the same number: IPv4 gets a 0 where a sender may have put 0xffff, TCP one or the other, as the
    /// card pleases, and UDP never 0.
    @inlinable
    func isIntact(_ frame: RawSpan) -> Bool {
        let length = frame.byteCount &- transport
        if !isIPv6 {
            guard unsafe frame.loadBE16(unchecked: network &+ IPv4.Field.checksum) != 0xFFFF else { return false }
            var header = Checksum()
            unsafe header.add(frame.slice(unchecked: network, transport))
            guard header.isValid else { return false }
        }
        let field = unsafe frame.loadBE16(unchecked: transport &+ (isTCP ? TCP.Field.checksum : UDP.Field.checksum))
        guard field != 0, !(isTCP && field == 0xFFFF) else { return false }
        var sum = pseudoHeader(frame, length: length)
        unsafe sum.add(frame.slice(unchecked: transport, frame.byteCount))
        return sum.isValid
    }

    @inlinable @inline(always)
    func pseudoHeader(_ frame: RawSpan, length: Int) -> Checksum {
        var sum = Checksum()
        let addresses = network &+ (isIPv6 ? IPv6.Field.source : IPv4.Field.source)
        unsafe sum.add(frame.slice(unchecked: addresses, transport))
        sum.add(UInt16((isTCP ? IPProtocol.tcp : IPProtocol.udp).rawValue))
        sum.add(UInt32(truncatingIfNeeded: length))
        return sum
    }
}
