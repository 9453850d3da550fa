// A lane's side of one peer: the datagrams being built for it, the key that seals them, and where it is.

import Basics
import Buffers
import Tunnels

/// How a stream identifier names a place in the lane's session table: its low twelve bits are the place, the rest is random,
/// so that an old or invented identifier is very likely none.
public enum StreamIdentifier {
    /// Sessions and pending handshakes that one peer can have at once.
    public static let slotsPerPeer = 16
    static let slotBits: UInt32 = 12

    @inline(__always)
    public static func slot(of stream: UInt32) -> Int { Int(stream & (1 << slotBits - 1)) }

    static func make(slot: Int, random: UInt32) -> UInt32 {
        let high = random & ~(1 << slotBits - 1)
        return (high == 0 ? 1 << slotBits : high) | UInt32(truncatingIfNeeded: slot)
    }
}

struct PeerLink: ~Copyable {
    enum Outcome {
        case packed
        /// The same, and there is less room than before.
        case packedMore
        case full
        case exhausted
    }

    private var packer: PackerSet
    private var sender: StreamSender?
    /// The session that `sender` belongs to, by this side's stream identifier; 0 when there is none.
    private(set) var session: UInt32 = 0
    /// That session's generation; sessions of lower ones seal no more.
    private(set) var generation: UInt64 = 0
    private(set) var endpoint = Endpoint(high: 0, low: 0, port: 0)
    /// What the path carries, as far as it is known, and the most that is ever tried: octets of IP packets.
    private var pathMTU: Int
    private let bound: Int
    /// Whether frames are sent to it: control's word, and true from the first datagram that confirms a session.
    var isUp = false
    /// Whether it is in the lane's list of peers with datagrams that wait.
    var isDirty = false
    /// When a datagram was last sealed for it.
    var sent = Instant.zero
    /// When control was last told that it was heard.
    var reported = Instant.zero
    /// When something authentic last came from it.
    var heard = Instant.zero
    /// The newest session that it was heard under: where datagrams of older ones come from is of no account.
    var heardGeneration: UInt64 = 0
    /// What the peer has said of probes of its own that were lost.
    var probeLosses: UInt8 = 0
    /// True while control does not know where it has moved to.
    var moveIsUntold = false

    init(pathMTU: Int) {
        bound = pathMTU
        self.pathMTU = PathMTUSearch.start(pathMTU)
        packer = PackerSet(datagramSize: PeerLink.datagramSize(self.pathMTU, ipv4: true))
    }

    /// Octets of IP and UDP headers of each datagram to the endpoint.
    var packetOverhead: Int { endpoint.ipv4 != nil ? 28 : 48 }

    /// UDP payload of a datagram that fills the path: IPv4's header is 20 octets, IPv6's 40, UDP's 8.
    static func datagramSize(_ pathMTU: Int, ipv4: Bool) -> Int { pathMTU - (ipv4 ? 28 : 48) }

    var hasSender: Bool { sender != nil }
    var datagramSize: Int { packer.datagramSize }
    func finishedBytes(_ trafficClass: TrafficClass) -> Int { packer.finishedBytes(trafficClass) }

    func hasRoom(for bytes: Int, _ trafficClass: TrafficClass) -> Bool { packer.hasRoom(for: bytes, trafficClass) }

    func mark(_ trafficClass: TrafficClass) -> RunMark { packer.mark(trafficClass) }

    @_lifetime(borrow self)
    func finished(_ trafficClass: TrafficClass) -> RawSpan { packer.finished(trafficClass) }

    /// From here on, seals with `sender`. What was packed before is sealed with the key that it was packed for.
    mutating func install(_ sender: consuming StreamSender, session: UInt32, generation: UInt64, endpoint: Endpoint) {
        sealPacked()
        packer.open()
        self.session = session
        self.generation = generation
        self.sender = consume sender
        move(to: endpoint)
    }

    /// The same for a group, whose full datagrams have `payload` octets; it has many endpoints, and none of its own.
    mutating func install(group sender: consuming StreamSender, payload: Int) {
        sealPacked()
        packer.open()
        endpoint = Endpoint(ipv4: 0, port: 0)
        self.sender = consume sender
        isUp = true
        setPayload(payload)
    }

    /// For a group: as many octets of UDP payload as all paths to its first hops carry.
    mutating func setPayload(_ size: Int) {
        pathMTU = size + packetOverhead
        fitPath()
    }

    mutating func removeSender() {
        sealPacked()
        sender = nil
        session = 0
    }

    /// Another place is another path, of which nothing is known.
    mutating func move(to endpoint: Endpoint) {
        if endpoint != self.endpoint { pathMTU = min(pathMTU, PathMTUSearch.start(bound)) }
        self.endpoint = endpoint
        fitPath()
    }

    /// What is packed and not sealed always has a sender.
    private mutating func sealPacked() {
        if sender != nil { packer.finish(sender: &sender!) }
    }

    /// From the next datagrams on.
    mutating func setPath(_ size: Int) {
        pathMTU = max(min(size, bound), min(bound, PathMTUSearch.minimum))
        fitPath()
    }

    /// The kernel does not send packets as long as they are.
    mutating func shrinkPath() {
        setPath(pathMTU > PathMTUSearch.base ? PathMTUSearch.base : PathMTUSearch.minimum)
    }

    /// Octets of UDP payload in a packet to the peer.
    func payload(ofPacket size: Int) -> Int { PeerLink.datagramSize(size, ipv4: endpoint.ipv4 != nil) }

    /// Octets of the IP packet of a datagram to the peer.
    func packet(ofPayload size: Int) -> Int { size + packetOverhead }

    /// Seals a probe's datagram. False when there is no sender or no counter.
    mutating func seal(_ probe: ProbeRecord, into datagram: inout MutableRawSpan, at now: Instant) -> Bool {
        guard sender != nil, sender!.seal(probe, into: &datagram) else { return false }
        sent = now
        return true
    }

    /// Full datagrams are as long as the path to the endpoint takes; datagrams that wait keep the size they have.
    private mutating func fitPath() {
        let size = PeerLink.datagramSize(pathMTU, ipv4: endpoint.ipv4 != nil)
        if size != packer.datagramSize && packer.isEmpty { packer.setDatagramSize(size) }
    }

    /// Datagrams that may still be sealed.
    private var remaining: UInt64 {
        switch sender {
        case .some(let sender): sender.remaining
        case .none: 0
        }
    }

    /// Precondition: there is a sender.
    @inline(__always)
    mutating func append(_ frame: RawSpan, _ mark: FrameMark) -> Outcome {
        if let more = packer.append(frame, mark, sender: &sender!) { return more == 0 ? .packed : .packedMore }
        return remaining <= 64 ? .exhausted : .full
    }

    /// A segment of control's. Precondition: there is a sender.
    mutating func append(control segment: RawSpan) -> Bool { packer.append(control: segment, sender: &sender!) }

    /// A datagram without records. False when there is no room or no counter; the next try is a keepalive later all the same.
    mutating func appendEmpty(at now: Instant) -> Bool {
        sent = now
        return packer.appendEmpty(sender: &sender!)
    }

    mutating func finish(at now: Instant) {
        if sender == nil { return }
        packer.finish(sender: &sender!)
        sent = now
    }

    /// True while the key has sealed enough and nobody was told.
    var isRenewalDue: Bool {
        switch sender {
        case .some(let sender): sender.isRenewalDue
        case .none: false
        }
    }

    /// Precondition: there is a sender.
    mutating func noteRenewalSaid() { sender!.noteRenewalSaid() }

    mutating func drained() {
        packer.removeAll()
        isDirty = false
        fitPath()
    }
}

/// What a lane knows of one session. An empty place has stream 0.
struct ReceiveSession: ~Copyable {
    var stream: UInt32 = 0
    var peer = PeerIndex(0)
    var isConfirmed = false
    private(set) var generation: UInt64 = 0
    /// The other side's lanes: origin tags are below.
    private(set) var origins = 0
    /// What will seal once the session is confirmed.
    private var sender: StreamSender?

    mutating func install(_ session: SessionInstallation, sender: consuming StreamSender?) {
        stream = session.localStream
        generation = session.generation
        peer = session.peer
        isConfirmed = session.isConfirmed
        origins = Int(session.remoteLanes)
        self.sender = consume sender
    }

    mutating func clear() {
        stream = 0
        sender = nil
    }

    mutating func takeSender() -> StreamSender? { sender.take() }
}

/// What opens the datagrams that one lane of the other side has sealed under one session. An empty place accepts nothing.
struct ReceiveStream: ~Copyable {
    var window = ReplayWindow.closed
    private var key: SessionKey?

    mutating func install(_ key: consuming SessionKey) {
        self.key = consume key
        if window.isClosed { window = ReplayWindow() } else { window.reset() }
    }

    mutating func clear() { key = nil }

    func open(_ datagram: inout MutableRawSpan, counter: UInt64) -> Bool {
        switch key {
        case .some(let key): key.open(&datagram, counter: counter)
        case .none: false
        }
    }
}
