// Cuts a super-frame, up to 64 KiB of one flow under one set of headers, into the frames that its sender's network card
// would have made of it (TSO and USO; RFC 9293 section 3.7 for what a segment may carry, RFC 3168 section 6.1.2 for CWR on
// the first only, RFC 768). Neighbours: `FrameOffload` says what to cut, the lane gives each finished segment to the packer.
//
//     super-frame   | Ethernet, tags | IP, options | TCP or UDP | payload ........................... |
//     segments      | the same headers, corrected               | segmentSize |
//                   | the same headers, corrected               | segmentSize |
//                   | the same headers, corrected               | rest   |
//
// Corrected are: IPv4 total length, identification (one more each time) and header checksum; IPv6 payload length; TCP
// sequence, FIN and PSH on the last only, CWR on the first only; UDP length; the transport checksum, computed in full.

import Basics

/// The state of cutting one super-frame. It holds no bytes: the same frame is handed to each `next`.
public struct Segmenter: Hashable, Sendable, BitwiseCopyable {
    /// The most segments that one super-frame is cut into: 64 KiB at a TCP payload of 32 octets, below Linux's smallest.
    /// A frame of more is refused, so that a hostile segment size cannot buy 65535 frames with one.
    @inlinable public static var maximumSegments: Int { 2048 }

    // Positions are octets from the frame's start, and always
    // 14 <= network < transport < payload <= cursor <= end <= the octets of the frame that `init` saw.

    /// Where the IP header begins.
    @usableFromInline let network: Int
    /// Where the TCP or UDP header begins.
    @usableFromInline let transport: Int
    /// Where the transport payload begins.
    @usableFromInline let payload: Int
    /// Where the IP packet ends. Octets after it belong to no segment.
    @usableFromInline let end: Int
    /// Octets of payload in each segment but the last; never 0.
    @usableFromInline let segmentSize: Int
    @usableFromInline let isIPv6: Bool
    @usableFromInline let isTCP: Bool
    /// The pseudo-header's sum with a length of 0.
    @usableFromInline let pseudoHeader: Checksum
    /// Where the next segment's payload begins.
    @usableFromInline var cursor: Int
    /// Segments that `next` has written.
    @usableFromInline var made: Int
    @usableFromInline var hasFailed: Bool

    /// Segments of the whole super-frame: at least 1.
    public let segments: Int
    /// Segments that are still to come.
    @inlinable public var remaining: Int { segments &- made }
    /// True once a segment did not fit the output, or the frame was not the one that `init` saw. Nothing comes after that.
    @inlinable public var failed: Bool { hasFailed }

    /// Reads the headers once; `nil` when the metadata does not fit the frame: another protocol than it says, headers or
    /// packet not there in full, a fragment, a checksum that begins elsewhere than the transport header (tunnels), a segment
    /// size of 0, more than `maximumSegments`.
    @inlinable
    public init?(_ frame: RawSpan, offload: FrameOffload) {
        guard let ethernet = FrameHeader(frame), offload.segmentSize > 0 else { return nil }
        let isTCP: Bool
        switch offload.segmentation {
        case .tcp4 where ethernet.etherType == .ipv4, .tcp6 where ethernet.etherType == .ipv6: isTCP = true
        case .udp: isTCP = false
        default: return nil
        }
        guard let found = NetworkLayer(frame, ethernet, carrying: isTCP ? .tcp : .udp, offload) else { return nil }
        let fieldOffset = isTCP ? TCP.Field.checksum : UDP.Field.checksum
        if offload.needsChecksum {
            guard Int(offload.checksumStart) == found.transport, Int(offload.checksumOffset) == fieldOffset else { return nil }
        }
        // SAFETY: NetworkLayer has checked that transport <= end <= byteCount.
        let segment = unsafe frame.slice(unchecked: found.transport, found.end)
        let headerLength: Int
        if isTCP {
            guard let tcp = TCP.View(segment) else { return nil }
            headerLength = tcp.headerLength
        } else {
            guard segment.byteCount >= UDP.headerByteCount else { return nil }
            headerLength = UDP.headerByteCount
        }
        let size = Int(offload.segmentSize)
        let payloadCount = segment.byteCount &- headerLength
        // A frame without payload is one segment of headers.
        let segments = max(1, (payloadCount &+ size &- 1) / size)
        guard segments <= Segmenter.maximumSegments else { return nil }
        network = ethernet.payloadOffset
        transport = found.transport
        payload = found.transport &+ headerLength
        end = found.end
        segmentSize = size
        isIPv6 = found.isIPv6
        self.isTCP = isTCP
        pseudoHeader = found.pseudoHeader
        cursor = payload
        made = 0
        hasFailed = false
        self.segments = segments
    }

    /// Writes the next segment to the output's start and returns its octets; `nil` when there are no more, or when it does not
    /// fit, which sets `failed`. `frame` is the one that `init` saw. The output is not padded to Ethernet's minimum. O(segment).
    @inlinable
    public mutating func next(from frame: RawSpan, into output: inout MutableRawSpan) -> Int? {
        guard remaining > 0, !hasFailed else { return nil }
        let count = min(segmentSize, end &- cursor)
        let length = payload &+ count
        guard frame.byteCount >= end, output.byteCount >= length else {
            hasFailed = true
            return nil
        }
        // SAFETY: the headers end at `payload` <= `end`, the payload at `cursor + count` <= `end`, both inside the frame;
        // `length` octets are inside the output, and every header field is before `payload` <= `length`.
        unsafe output.copy(frame.slice(unchecked: 0, payload), unchecked: 0)
        unsafe output.copy(frame.slice(unchecked: cursor, cursor &+ count), unchecked: payload)
        correctNetworkHeader(of: &output, length: length)
        correctTransportHeader(of: &output, length: length)
        cursor &+= count
        made &+= 1
        return length
    }

    /// Makes the copied IP header that of a segment of `length` octets.
    @inlinable @inline(always)
    func correctNetworkHeader(of output: inout MutableRawSpan, length: Int) {
        // SAFETY: `next` has checked that the output holds `length`, and the IP header lies in network..<transport before it.
        // Both lengths fit 16 bits because the super-frame's did.
        if isIPv6 {
            let payloadLength = UInt16(truncatingIfNeeded: length &- network &- IPv6.headerByteCount)
            unsafe output.storeBE16(payloadLength, unchecked: network &+ IPv6.Field.payloadLength)
            return
        }
        let totalLength = UInt16(truncatingIfNeeded: length &- network)
        let identification = unsafe output.bytes.loadBE16(unchecked: network &+ IPv4.Field.identification)
        let later = identification &+ UInt16(truncatingIfNeeded: made)
        unsafe output.storeBE16(totalLength, unchecked: network &+ IPv4.Field.totalLength)
        unsafe output.storeBE16(later, unchecked: network &+ IPv4.Field.identification)
        _ = Checksum.store(
            in: &output, at: network, end: transport, fieldOffset: IPv4.Field.checksum, Checksum(), zeroMeansNone: false)
    }

    /// Makes the copied TCP or UDP header that of a segment of `length` octets, whose payload is in place.
    @inlinable @inline(always)
    func correctTransportHeader(of output: inout MutableRawSpan, length: Int) {
        // SAFETY: `next` has checked that the output holds `length`, and the header lies in transport..<payload before it.
        var seed = pseudoHeader
        seed.add(UInt32(truncatingIfNeeded: length &- transport))
        let fieldOffset: Int
        if isTCP {
            fieldOffset = TCP.Field.checksum
            let sequence = unsafe output.bytes.loadBE32(unchecked: transport &+ TCP.Field.sequence)
            let later = sequence &+ UInt32(truncatingIfNeeded: cursor &- payload)
            unsafe output.storeBE32(later, unchecked: transport &+ TCP.Field.sequence)
            var flags = unsafe TCP.Flags(rawValue: output.bytes.loadByte(unchecked: transport &+ TCP.Field.flags))
            if made > 0 { flags.remove(.cwr) }
            if remaining > 1 { flags.subtract([.fin, .psh]) }
            unsafe output.storeByte(flags.rawValue, unchecked: transport &+ TCP.Field.flags)
        } else {
            fieldOffset = UDP.Field.checksum
            let udpLength = UInt16(truncatingIfNeeded: length &- transport)
            unsafe output.storeBE16(udpLength, unchecked: transport &+ UDP.Field.length)
        }
        _ = Checksum.store(
            in: &output, at: transport, end: length, fieldOffset: fieldOffset, seed, zeroMeansNone: !isTCP)
    }
}

/// What `Segmenter` needs to know of a super-frame's IP header.
@usableFromInline
struct NetworkLayer: BitwiseCopyable {
    /// Octets from the frame's start; transport <= end <= the frame's octets.
    @usableFromInline let transport: Int
    @usableFromInline let end: Int
    @usableFromInline let isIPv6: Bool
    /// With a length of 0.
    @usableFromInline let pseudoHeader: Checksum

    /// `nil` unless the frame holds one whole, unfragmented IP packet that carries `wanted`.
    @inlinable
    init?(_ frame: RawSpan, _ ethernet: FrameHeader, carrying wanted: IPProtocol, _ offload: FrameOffload) {
        let start = ethernet.payloadOffset
        // SAFETY: FrameHeader guarantees a payload offset inside the frame.
        let bytes = unsafe frame.slice(unchecked: start, frame.byteCount)
        if ethernet.etherType == .ipv4 {
            guard let packet = IPv4.View(bytes), !packet.isFragment, packet.transport == wanted,
                packet.totalLength <= bytes.byteCount
            else { return nil }
            transport = start &+ packet.headerLength
            end = start &+ packet.totalLength
            isIPv6 = false
            pseudoHeader = packet.pseudoHeader(length: 0)
            return
        }
        guard ethernet.etherType == .ipv6, let packet = IPv6.View(bytes), packet.payloadLength > 0,
            IPv6.headerByteCount &+ packet.payloadLength <= bytes.byteCount,
            let found = packet.findTransport(), !found.isFragment, found.transport == wanted
        else { return nil }
        transport = start &+ found.offset
        end = start &+ IPv6.headerByteCount &+ packet.payloadLength
        isIPv6 = true
        if !found.isSourceRouted {
            pseudoHeader = packet.pseudoHeader(for: wanted, length: 0)
            return
        }
        // The last destination is inside the routing header; the sender's kernel has summed it into the checksum field, with
        // the super-frame's length, which is taken out again.
        let fieldOffset = wanted == .tcp ? TCP.Field.checksum : UDP.Field.checksum
        guard offload.needsChecksum, let partial = frame.loadBE16(at: transport &+ fieldOffset) else { return nil }
        var sum = Checksum()
        sum.add(partial)
        sum.add(~UInt16(truncatingIfNeeded: end &- transport))
        pseudoHeader = sum
    }
}
