// The frames of a measurement: UDP in IPv4 from hosts of one site to hosts or groups of the other, in slots as a port lends
// them. Each batch is written anew before the clock is read, its addresses drawn at random from all that there are.

import Basics
import Buffers
import Wire

struct Traffic: Sendable {
    enum Kind: Sendable {
        /// To hosts that are known behind the tunnel.
        case unicast
        /// To groups that the other site wants.
        case multicast
        /// To everybody.
        case flood
    }

    var kind: Kind
    /// Hosts of both sites together, an even number.
    var hosts = 10
    var groups = 10
    /// Octets of a frame.
    var bytes = 150

    static func local(_ index: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0001_0000 + UInt64(index)) }
    static func remote(_ index: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0002_0000 + UInt64(index)) }
    static func group(_ index: Int) -> IPAddress { IPAddress(ipv4: 0xEF00_0100 + UInt32(index)) }
}

/// Frames side by side, and the generator of their addresses.
struct FrameBatch: ~Copyable {
    let count: Int
    private let traffic: Traffic
    private let stride: Int
    private var storage: OwnedBytes
    private var random: SeededRandom

    init(_ traffic: Traffic, count: Int, seed: UInt64 = 1) {
        self.traffic = traffic
        self.count = count
        // Slots of the same length whatever the frame, but not at multiples of a page's part, where caches have few places.
        stride = (traffic.bytes + 127) & ~63
        storage = OwnedBytes(count: stride * count)
        random = SeededRandom(seed: seed)
        for index in 0..<count {
            for octet in 0..<stride { storage.storeBigEndian(UInt8(0x5A), at: index * stride + octet) }
            var span = frame(index)
            let header = FrameHeader(destination: .broadcast, source: Traffic.local(0), etherType: .ipv4)
            guard let offset = header.emit(into: &span) else { continue }
            let packet = IPv4.Header(
                source: 0x0A01_0001, destination: 0x0A02_0001, transport: .udp, payloadCount: traffic.bytes - offset - 20)
            _ = packet.emit(into: &span, at: offset)
        }
    }

    @_lifetime(&self)
    mutating func frame(_ index: Int) -> MutableRawSpan {
        let (place, length) = (index * stride, traffic.bytes)
        return storage.mutableBytes(at: place, count: length)
    }

    @_lifetime(borrow self)
    func upcoming(_ index: Int) -> RawSpan { storage.bytes(at: index * stride, count: traffic.bytes) }

    /// Other addresses for every frame.
    mutating func draw() {
        for index in 0..<count {
            let source = Traffic.local(below(traffic.hosts / 2))
            let destination: MACAddress
            switch traffic.kind {
            case .unicast: destination = Traffic.remote(below(traffic.hosts / 2))
            case .multicast:
                let group = Traffic.group(below(traffic.groups))
                destination = MACAddress(group: group)
                storage.storeBigEndian(group.ipv4 ?? 0, at: index * stride + FrameHeader.byteCount + 16)
            case .flood: destination = .broadcast
            }
            storage.storeBigEndian(destination.rawValue << 16 | source.rawValue >> 32, at: index * stride)
            storage.storeBigEndian(UInt32(truncatingIfNeeded: source.rawValue), at: index * stride + 8)
        }
    }

    private mutating func below(_ limit: Int) -> Int {
        Int(truncatingIfNeeded: random.next().multipliedFullWidth(by: UInt64(limit)).high)
    }
}
