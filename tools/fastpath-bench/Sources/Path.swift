// The fast path from one LAN to another, in memory: a lane that switches frames and seals, one that opens and delivers, and
// beside each the cipher alone on the very same datagrams. What is done between two readings of the clock is the lane's or the
// cipher's work and nothing else.

import Basics
import Buffers
import Gateway
import LinuxIO
import Switching
import Tunnels

let key = Key256((0..<32).map { UInt8($0) })
private let underlay = Endpoint(ipv4: 0x0A00_0001, port: 7117)

/// A lane in a session with one peer, that knows all hosts and groups of a traffic.
func makeLane(_ traffic: Traffic, _ mailbox: LaneMailbox, isSender: Bool, lanes: Int = 1, backends: CipherBackends) -> LaneCore {
    var random = SeededRandom(seed: 7)
    let now = MonotonicClock.now()
    var configuration = LaneConfiguration(ports: 1, peers: 1, lane: UInt16(mailbox.lane))
    configuration.backends = backends
    var lane = LaneCore(configuration, mailbox: mailbox, secret: HashSecret(using: &random))
    let session = SessionInstallation(bothWays: key, cipher: .aes256gcm, lanes: lanes, endpoint: underlay)
    precondition(mailbox.commands.push(.install(session)))
    // No control is there to find out what the path carries.
    precondition(mailbox.commands.push(.setPath(PeerIndex(0), size: 1_500)))
    for index in 0..<(traffic.hosts / 2) {
        let (near, far) = (Location(PortIndex(0)), Location(PeerIndex(0)))
        for (address, place) in [
            (Traffic.local(index), isSender ? near : far), (Traffic.remote(index), isSender ? far : near),
        ] {
            let entry = MACEntry(address: address, vlan: .untagged, location: place, seen: now)
            while !mailbox.commands.push(.sighted(entry)) { lane.handleCommands(at: now) }
        }
    }
    lane.handleCommands(at: now)
    lane.finishBatch(at: now)
    lane.drained()
    return lane
}

/// Everything that `traffic` asks for goes to the peer, or comes to the port.
func publishGroups(_ traffic: Traffic, _ mailbox: LaneMailbox, isSender: Bool) {
    var plan = ForwardingPlan(board: mailbox.forwarding, ports: 1, peers: 1)
    let fanOut = isSender ? FanOut(peers: PeerSet(first: 1)) : FanOut(ports: PortSet(first: 1))
    for index in 0..<traffic.groups { plan.set(GroupKey(.untagged, Traffic.group(index)), any: fanOut, sources: []) }
    plan.publish()
}

func makeMailboxes(_ count: Int) -> [LaneMailbox] {
    var random = SeededRandom(seed: 3)
    return LaneMailbox.make(lanes: count, ports: 1, peers: 1, secret: HashSecret(using: &random))
}

/// What a lane does in one turn with frames from a port.
@inline(never)
func send(_ frames: inout FrameBatch, through lane: inout LaneCore, at now: Instant) {
    lane.handleCommands(at: now)
    for index in 0..<frames.count {
        if lane.wantsPrefetch && index + 3 < frames.count { lane.prefetch(frames.upcoming(index + 3)) }
        var frame = frames.frame(index)
        lane.handleFrame(&frame, offload: .none, on: PortIndex(0), at: now)
        precondition(!lane.wantsDrain)
    }
    lane.finishBatch(at: now)
}

/// What a lane does in one turn with one message of the socket's.
@inline(never)
func receive(_ datagrams: inout MutableRawSpan, segmentSize: Int, through lane: inout LaneCore, at now: Instant) {
    lane.handleCommands(at: now)
    lane.handleDatagrams(&datagrams, segmentSize: segmentSize, from: underlay, at: now)
    lane.finishBatch(at: now)
}

/// A run of datagrams, end to end.
struct Run: ~Copyable {
    private(set) var segmentSize = 1
    private(set) var count = 0
    private var storage = OwnedBytes(count: 256 * 1024)
    private var counter: UInt64 = 0

    @_lifetime(&self)
    mutating func bytes() -> MutableRawSpan {
        let count = count
        return storage.mutableBytes(at: 0, count: count)
    }

    mutating func take(_ octets: RawSpan, segmentSize: Int) {
        storage.copy(octets, to: 0)
        count = octets.byteCount
        self.segmentSize = segmentSize
    }

    mutating func take(_ other: borrowing Run) {
        let length = other.count
        storage.copy(from: other.storage, at: 0, count: length, to: 0)
        count = length
        segmentSize = other.segmentSize
    }

    var datagrams: Int { (count + segmentSize - 1) / segmentSize }

    @inline(never)
    mutating func seal(_ key: borrowing SessionKey) {
        var offset = 0
        while offset < count {
            let length = min(segmentSize, count &- offset)
            let number = counter
            counter &+= 1
            var datagram = storage.mutableBytes(at: offset, count: length)
            key.seal(&datagram, counter: number)
            offset &+= length
        }
    }

    /// Precondition: the datagrams bear counters from `first` on.
    @inline(never)
    mutating func open(_ key: borrowing SessionKey, first: UInt64) {
        var offset = 0
        var counter = first
        while offset < count {
            let length = min(segmentSize, count &- offset)
            var datagram = storage.mutableBytes(at: offset, count: length)
            let isAuthentic = key.open(&datagram, counter: counter)
            precondition(isAuthentic)
            counter &+= 1
            offset &+= length
        }
    }

    /// The counter in the first header.
    func firstCounter() -> UInt64 {
        let header = storage.bytes(at: SealedLayout.counter, count: 8)
        return (0..<8).reduce(0) { value, index in
            // SAFETY: eight octets are there.
            value << 8 | UInt64(unsafe header.unsafeLoad(fromByteOffset: index, as: UInt8.self))
        }
    }
}

/// Both ends of a tunnel, with one kind of traffic.
final class Path {
    let traffic: Traffic
    private var sender: LaneCore
    private var receiver: LaneCore
    private var frames: FrameBatch
    private var run = Run()
    private var spare = Run()
    private let bare: SessionKey
    let batch: Int
    /// Octets of UDP payload and datagrams of all batches so far, and frames.
    private(set) var sentBytes = 0
    private(set) var sentDatagrams = 0
    private(set) var sentFrames = 0

    init(_ traffic: Traffic, batch: Int, backends: CipherBackends = .sodium) {
        self.traffic = traffic
        self.batch = batch
        let (here, there) = (makeMailboxes(1)[0], makeMailboxes(1)[0])
        publishGroups(traffic, here, isSender: true)
        publishGroups(traffic, there, isSender: false)
        sender = makeLane(traffic, here, isSender: true, backends: backends)
        receiver = makeLane(traffic, there, isSender: false, backends: backends)
        frames = FrameBatch(traffic, count: batch)
        guard let bare = SessionKey(.aes256gcm, key.forLane(0), backends: backends) else {
            fatalError("this processor has no instructions for AES")
        }
        self.bare = bare
    }

    /// Nanoseconds that `batches` batches take through the sending lane, and through the cipher alone.
    func sendTimes(batches: Int) -> (lane: Int64, bare: Int64) {
        var times: (lane: Int64, bare: Int64) = (0, 0)
        for _ in 0..<batches {
            times.lane += sendBatch()
            let start = MonotonicClock.now()
            run.seal(bare)
            times.bare += (MonotonicClock.now() - start).nanoseconds
        }
        return times
    }

    /// The same for the receiving lane.
    func receiveTimes(batches: Int) -> (lane: Int64, bare: Int64) {
        var times: (lane: Int64, bare: Int64) = (0, 0)
        for _ in 0..<batches {
            _ = sendBatch()
            spare.take(run)
            times.lane += receiveBatch()
            let start = MonotonicClock.now()
            spare.open(bare, first: spare.firstCounter())
            times.bare += (MonotonicClock.now() - start).nanoseconds
        }
        return times
    }

    /// Only the sender's part of `frames`, for counting instructions.
    func send(batches: Int) { for _ in 0..<batches { _ = sendBatch() } }

    /// The sender's part and the receiver's.
    func carry(batches: Int) {
        for _ in 0..<batches {
            _ = sendBatch()
            _ = receiveBatch()
        }
    }

    /// Only the cipher, on the datagrams of one batch again and again.
    func seal(batches: Int) {
        _ = sendBatch()
        for _ in 0..<batches { run.seal(bare) }
    }

    /// Only what the measurements do besides.
    func draw(batches: Int) { for _ in 0..<batches { frames.draw() } }

    private func sendBatch() -> Int64 {
        frames.draw()
        let start = MonotonicClock.now()
        fastpath_bench.send(&frames, through: &sender, at: start)
        let end = MonotonicClock.now()
        precondition(sender.transmits == 1)
        let transmit = sender.transmit(at: 0)
        run.take(sender.transmitBytes(at: 0), segmentSize: transmit.segmentSize)
        sentBytes += transmit.byteCount
        sentDatagrams += transmit.datagrams
        sentFrames += frames.count
        let before = MonotonicClock.now()
        sender.drained()
        return (end - start + (MonotonicClock.now() - before)).nanoseconds
    }

    private func receiveBatch() -> Int64 {
        let segmentSize = run.segmentSize
        let start = MonotonicClock.now()
        var bytes = run.bytes()
        fastpath_bench.receive(&bytes, segmentSize: segmentSize, through: &receiver, at: start)
        let end = MonotonicClock.now()
        precondition(receiver.bridge.frames.count == frames.count)
        let before = MonotonicClock.now()
        receiver.drained()
        return (end - start + (MonotonicClock.now() - before)).nanoseconds
    }

    /// Blocks of memory that `batches` batches made the two lanes ask for.
    func allocations(batches: Int, count: () -> UInt64) -> (sending: UInt64, receiving: UInt64) {
        var found: (sending: UInt64, receiving: UInt64) = (0, 0)
        for _ in 0..<batches {
            frames.draw()
            let now = MonotonicClock.now()
            let start = count()
            fastpath_bench.send(&frames, through: &sender, at: now)
            let sent = count()
            run.take(sender.transmitBytes(at: 0), segmentSize: sender.transmit(at: 0).segmentSize)
            sender.drained()
            let segmentSize = run.segmentSize
            var bytes = run.bytes()
            let taken = count()
            fastpath_bench.receive(&bytes, segmentSize: segmentSize, through: &receiver, at: now)
            precondition(receiver.bridge.frames.count == frames.count)
            receiver.drained()
            found.sending += sent - start
            found.receiving += count() - taken
        }
        return found
    }

    /// What either lane dropped. Datagrams that are missed are not among them: only what is measured receiving is received.
    var dropped: UInt64 {
        DropReason.allCases.filter { $0 != .lostOnWAN }
            .reduce(0) { $0 + sender.bridge.counters[$1] + receiver.bridge.counters[$1] }
    }
}
