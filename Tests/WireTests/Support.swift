// What the Wire tests share: hexadecimal, a checksum written the slow and plain way, a super-frame builder on arrays, and a
// walk through every view. None of it uses the code under test to make what it compares with.

import Basics
import Wire

/// The octets of a text in hexadecimal; spaces are ignored.
func hex(_ text: String) -> [UInt8] {
    let digits = text.filter { !$0.isWhitespace }.map { UInt8($0.hexDigitValue!) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// Lends the array's octets for writing.
func mutate<R>(_ bytes: inout [UInt8], _ body: (inout MutableRawSpan) -> R) -> R {
    var elements = bytes.mutableSpan
    // SAFETY: any octets are valid elements of [UInt8].
    var raw = unsafe elements.mutableBytes
    return body(&raw)
}

extension [UInt8] {
    /// The array's octets as a span.
    var octets: RawSpan {
        // SAFETY: UInt8 has no padding.
        @_lifetime(borrow self) get { unsafe span.bytes }
    }
}

/// The octets of a span.
func array(_ span: RawSpan) -> [UInt8] {
    span.byteOffsets.map { span.loadByte(at: $0)! }
}

func random(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
}

func be16(_ number: Int) -> [UInt8] { [UInt8(number >> 8 & 255), UInt8(number & 255)] }
func be32(_ number: UInt32) -> [UInt8] { be16(Int(number >> 16)) + be16(Int(number & 0xFFFF)) }

/// RFC 1071, one word at a time: the folded sum.
func naiveSum(_ bytes: [UInt8]) -> UInt16 {
    var sum = 0
    for index in bytes.indices {
        sum += index % 2 == 0 ? Int(bytes[index]) << 8 : Int(bytes[index])
        if sum > 0xFFFF { sum -= 0xFFFF }
    }
    return UInt16(sum)
}

func put(_ value: [UInt8], in bytes: inout [UInt8], at offset: Int) {
    for (index, octet) in value.enumerated() { bytes[offset + index] = octet }
}

/// A frame in its parts, so that a test can cut it without parsing.
struct PlainFrame {
    /// Ethernet header and tags.
    var link: [UInt8]
    /// IPv4 header with options or IPv6 header with extension headers; lengths and checksum are filled in by `assemble`.
    var network: [UInt8]
    /// TCP header with options or UDP header.
    var transport: [UInt8]
    var payload: [UInt8]
    var isIPv6: Bool
    var isTCP: Bool

    /// Source and destination address, protocol and length as they are summed.
    var pseudoHeader: [UInt8] {
        let addresses = isIPv6 ? network[8..<40] : network[12..<20]
        return addresses + be32(UInt32(transport.count + payload.count)) + [0, isTCP ? 6 : 17]
    }

    /// The frame's octets with right lengths and IPv4 header checksum; the transport checksum complete, or, as a kernel leaves
    /// it for its card, only the pseudo-header's sum.
    func assemble(partial: Bool = false) -> [UInt8] {
        var network = network
        var transport = transport
        if isIPv6 {
            put(be16(network.count - 40 + transport.count + payload.count), in: &network, at: 4)
        } else {
            put(be16(network.count + transport.count + payload.count), in: &network, at: 2)
            put([0, 0], in: &network, at: 10)
            put(be16(Int(~naiveSum(network))), in: &network, at: 10)
        }
        if !isTCP { put(be16(8 + payload.count), in: &transport, at: 4) }
        let field = isTCP ? 16 : 6
        put([0, 0], in: &transport, at: field)
        var checksum = naiveSum(pseudoHeader)
        if !partial {
            checksum = ~naiveSum(pseudoHeader + transport + payload)
            if !isTCP && checksum == 0 { checksum = 0xFFFF }
        }
        put(be16(Int(checksum)), in: &transport, at: field)
        return link + network + transport + payload
    }

    /// The metadata of the frame as a kernel would hand it over.
    func offload(segmentSize: Int) -> FrameOffload {
        FrameOffload(
            segmentation: isTCP ? (isIPv6 ? .tcp6 : .tcp4) : .udp, segmentSize: UInt16(segmentSize), needsChecksum: true,
            checksumStart: UInt16(link.count + network.count), checksumOffset: isTCP ? 16 : 6)
    }

    /// The reference: the finished frames that the super-frame stands for.
    func cut(segmentSize: Int) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        var start = 0
        repeat {
            let end = min(start + segmentSize, payload.count)
            var part = self
            part.payload = Array(payload[start..<end])
            if !isIPv6 {
                let identification = Int(network[4]) << 8 | Int(network[5])
                put(be16((identification + frames.count) & 0xFFFF), in: &part.network, at: 4)
            }
            if isTCP {
                let sequence = transport[4..<8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                put(be32(sequence &+ UInt32(start)), in: &part.transport, at: 4)
                if start > 0 { part.transport[13] &= 0x7F }
                if end < payload.count { part.transport[13] &= 0xF6 }
            }
            frames.append(part.assemble())
            start = end
        } while start < payload.count
        return frames
    }

    /// A frame with random addresses, tags, options and extension headers.
    static func random(isIPv6: Bool, isTCP: Bool, payload count: Int, _ generator: inout SeededRandom) -> PlainFrame {
        func octets(_ count: Int) -> [UInt8] { WireTests.random(count, &generator) }
        let tags = Int.random(in: 0...2, using: &generator)
        let tpids: [[UInt8]] = [[0x81, 0], [0x88, 0xA8], [0x91, 0], [0x92, 0]]
        var link = octets(12)
        for _ in 0..<tags { link += tpids.randomElement(using: &generator)! + octets(2) }
        link += isIPv6 ? [0x86, 0xDD] : [0x08, 0x00]
        var network: [UInt8]
        if isIPv6 {
            // Hop-by-hop, destination options, and a routing header with no segments left, each of 8 or 16 octets.
            let kinds = [UInt8](([0, 43, 60] as [UInt8]).prefix(Int.random(in: 0...3, using: &generator)))
            let chain = kinds + [isTCP ? 6 : 17]
            network = [0x60 | octets(1)[0] & 15] + octets(3) + [0, 0, chain[0], 64] + octets(32)
            for index in kinds.indices {
                let extra = Int.random(in: 0...1, using: &generator)
                network += [chain[index + 1], UInt8(extra), 0, 0] + octets(4 + 8 * extra)
            }
        } else {
            let options = 4 * Int.random(in: 0...10, using: &generator)
            network = [0x45 + UInt8(options / 4), octets(1)[0], 0, 0] + octets(2) + [0x40, 0, 64, isTCP ? 6 : 17, 0, 0]
            network += octets(8 + options)
        }
        var transport = octets(8)
        if isTCP {
            let options = 4 * Int.random(in: 0...10, using: &generator)
            transport += octets(4) + [UInt8((20 + options) / 4) << 4] + octets(7 + options)
        }
        return PlainFrame(
            link: link, network: network, transport: transport, payload: octets(count), isIPv6: isIPv6, isTCP: isTCP)
    }
}

/// What a walk through the views has seen, so that nothing is optimised away and tests can ask for more than "no trap".
struct Seen: Equatable {
    var frames = 0
    var arp = 0
    var ipv4 = 0
    var ipv4Valid = 0
    var ipv6 = 0
    var ipv6Transport = 0
    var udp = 0
    var tcp = 0
    /// Datagrams and segments that are there in full, have a checksum, and whose checksum is right or wrong.
    var transportValid = 0
    var transportInvalid = 0
    /// The sum of everything read.
    var digest: UInt64 = 0

    mutating func mix(_ number: some BinaryInteger) { digest = digest &* 31 &+ UInt64(truncatingIfNeeded: number) }
    mutating func mix(_ checksum: Checksum) { mix(checksum.field) }

    /// Reads every accessor of every view that the frame allows.
    mutating func walk(_ frame: RawSpan) {
        guard let header = FrameHeader(frame) else { return }
        frames += 1
        mix(header.destination.rawValue ^ header.source.rawValue ^ UInt64(header.vlan.rawValue))
        precondition((14...frame.byteCount).contains(header.payloadOffset))
        let packet = frame.extracting(header.payloadOffset..<frame.byteCount)
        // Every view is tried on every payload: a view must not rely on the type that led to it.
        walkARP(packet)
        walkIPv4(packet)
        walkIPv6(packet)
        mix(MulticastHeader(frame, header).kind.rawValue)
        mix(MembershipPacket.parse(frame, header) == .other ? 1 : 0)
        mix(PIM.parse(frame, header) == .other ? 1 : 0)
    }

    mutating func walkARP(_ packet: RawSpan) {
        guard let view = ARP.View(packet) else { return }
        arp += 1
        mix(ARP.Packet(view).hashValue)
        mix(view.isGratuitous ? 1 : 0)
    }

    mutating func walkIPv4(_ packet: RawSpan) {
        guard let view = IPv4.View(packet) else { return }
        ipv4 += 1
        if view.isChecksumValid { ipv4Valid += 1 }
        mix(view.fragmentOffset + view.options.byteCount + view.payload.byteCount + view.headerLength)
        mix(view.headerChecksum)
        mix(view.source ^ view.destination)
        mix(view.moreFragments || view.dontFragment ? 1 : 0)
        mix(UInt16(view.trafficClass) + UInt16(view.timeToLive) + view.identification / 4)
        _ = IPv4.Header(view)
        let whole = view.totalLength <= packet.byteCount && !view.isFragment
        walkTransport(view.transport, view.payload, whole, view.pseudoHeader(length: view.payload.byteCount))
    }

    mutating func walkIPv6(_ packet: RawSpan) {
        guard let view = IPv6.View(packet) else { return }
        ipv6 += 1
        mix(view.source.high ^ view.destination.low)
        mix(view.flowLabel)
        mix(view.payload.byteCount)
        mix(view.trafficClass ^ view.hopLimit)
        mix(view.source.isMulticast ? 1 : 0)
        _ = IPv6.Header(view)
        guard let found = view.findTransport() else { return }
        ipv6Transport += 1
        mix(found.offset)
        let segment = view.payload(of: found)
        let whole = 40 + view.payloadLength <= packet.byteCount && !found.isFragment && !found.isSourceRouted
        walkTransport(
            found.transport, segment, whole, view.pseudoHeader(for: found.transport, length: segment.byteCount))
    }

    mutating func walkTransport(_ kind: IPProtocol, _ segment: RawSpan, _ whole: Bool, _ pseudoHeader: Checksum) {
        if let view = UDP.View(segment) {
            let valid = view.isChecksumValid(pseudoHeader)
            mix(view.sourcePort ^ view.destinationPort ^ view.checksum)
            mix(view.payload.byteCount)
            mix(UDP.Header(view).payloadCount)
            if kind == .udp {
                udp += 1
                count(valid, if: whole && view.checksum != 0 && view.length == segment.byteCount)
            }
        }
        if let view = TCP.View(segment) {
            let valid = view.isChecksumValid(pseudoHeader)
            mix(view.options.byteCount + view.payload.byteCount + view.headerLength)
            mix(TCP.Header(view).hashValue)
            mix(view.checksum)
            if kind == .tcp {
                tcp += 1
                count(valid, if: whole)
            }
        }
    }

    private mutating func count(_ valid: Bool, if counts: Bool) {
        guard counts else { return }
        if valid { transportValid += 1 } else { transportInvalid += 1 }
    }
}

/// Frames as they were on a wire (public captures), in hexadecimal, without tags.
enum Sample {
    static let arpGratuitous = hex(
        "ffffffffffff00e0ed016ebd0806000108000604000100e0ed016ebdc0a80102000000000000c0a80101")
    static let udp4 = hex(
        "00305400345600e0ed016ebd0800450000216a520000801118bac0a80102d4f2212313c413c4000dc04b2020202020")
    static let tcp4 = hex(
        "00305400345600e0ed016ebd08004500002869b240008006398cc0a8010293ea01fd0aa00015af9dc32ce51f9606501041231e7a0000")
    static let udp6 = hex(
        """
        0060970769ea0000860580da86dd 6000000000141101 3ffe050700000001020086fffe0580da 3ffe05010410000002c0dffffe47033e
        a075829b0014828b 01010000f9c8e736f5ed0800
        """)
    static let tcp6 = hex(
        """
        0011258295b500d009e3e8de86dd 6000000000140640 200106f8102d000002d009fffee3e8de 200106f8090007c00000000000000002
        e7410050abdcd661014a739f5010168057280000
        """)
    /// An MLDv1 report behind a hop-by-hop header with a router alert.
    static let mld6 = hex(
        """
        3333ff0e4c67000c290e4c6786dd 6000000000200001 00000000000000000000000000000000 ff0200000000000000000001ff0e4c67
        3a00050200000100 8300e7b800000000ff0200000000000000000001ff0e4c67
        """)

    static let all = [arpGratuitous, udp4, tcp4, udp6, tcp6, mld6]

    /// The frame with tags after its addresses: pairs of TPID and TCI.
    static func tagged(_ frame: [UInt8], _ tags: [(Int, Int)]) -> [UInt8] {
        frame[..<12] + tags.flatMap { be16($0.0) + be16($0.1) } + frame[12...]
    }
}
