// A lane: the thread that carries frames. It takes what the WAN and the LAN ports have, hands it to the lane's core, sends
// what came of it, and looks again; it sleeps only when everything has been taken.
//
//     +-> UDP: up to 16 messages (each up to 64 datagrams)  --> core --> frames    --> ports
//     |   ports: up to `frameBatch` frames each             --> core --> datagrams --> UDP
//     +-- nothing left? wait for a descriptor or the alarm
//
// At a few thousand frames a second every frame comes alone, and what it costs is the calls to the kernel around it. So a
// frame costs one call to wait, one to take it (none for a packet port, whose ring is memory) and one to send it: a socket
// is asked only when it has told of something new, a batch that was not full is known to have been the last, and the next
// timeout is an alarm that is set once, not a timeout of each wait.

import Basics
import Buffers
import Captures
import Gateway
import LinuxIO
import Settings
import Synchronization

/// What control and a lane share beside the mailbox.
final class LaneLink: Sendable {
    let mailbox: LaneMailbox
    /// What the kernel does for the lane, as it last turned out: `LaneOffloads`. The lane stores it once a second.
    let offloads = Atomic<UInt64>(0)
    /// Control to lane: handshakes to send, since the lane owns the socket.
    let outgoing = HandshakeQueue()
    /// Wakes the lane.
    let lane: WakeUp.Handle
    /// Wakes control.
    let control: WakeUp.Handle
    let isStopping = Atomic<Bool>(false)

    init(mailbox: LaneMailbox, lane: WakeUp.Handle, control: WakeUp.Handle) {
        self.mailbox = mailbox
        self.lane = lane
        self.control = control
    }
}

/// Everything one lane owns. Made by control, then moved into the lane's thread.
struct Lane: ~Copyable {
    /// Frames taken from one port before the others, and the WAN, have their turn.
    private static let frameBatch = 256
    /// Frames ahead of the one in hand that is looked at, so that its entries are fetched in the meantime.
    private static let lookAhead = 3
    private static let portCheck = Interval.seconds(1)
    /// Messages and frames a second from which on there is traffic: more than the signs of life of many peers.
    private static let busy = 500
    /// About as long as falling asleep and being woken takes, the waker's part included.
    private static let shortQuiet = Interval.microseconds(8)

    private var core: LaneCore
    private var socket: UDPSocket
    private var packets: FixedArray<PlacedPort<PacketPort>>
    private var taps: FixedArray<PlacedPort<TAPPort>>
    private var lives: FixedArray<PlacedPort<LivePort>>
    private var poller: Poller
    private var alarm: Alarm
    /// `nil` where idle processors are left alone.
    private var wakeLatency: WakeLatency?
    private let wait: LaneWait
    /// Whether the socket, or a port that has to be asked, may have something that has not been taken.
    private var socketIsReady = true
    private var portsAreReady = true
    /// Whether a ring had more frames than its turn took.
    private var ringsAreReady = true
    /// Whether there are ports that have to be asked.
    private var hasPortsToAsk: Bool { taps.count + lives.count > 0 }
    /// Paths that have told of something, each once.
    private var readyPaths = InlineArray<64, UInt16>(repeating: 0)
    private var readyPathCount = 0
    private let paths: Int
    /// How long frames from the LAN may gather after a batch of them.
    private let gather: Interval
    /// The frames taken before the turn that is over.
    private var framesThen = 0
    /// Whether what there is has had time to gather.
    private var hasGathered = false
    private var account = Placement.Account()
    /// Messages and frames at the last look at the ports.
    private var accountThen = 0
    private var recent: Int { account.messages &+ account.frames &- accountThen }
    /// `nil` where it is all the same to the lane where it runs.
    private var placement: Placement?
    private var place: ThreadPlace?
    /// How long nothing came when nothing came last.
    private var lastQuiet = Interval.seconds(1)
    private let wakeUp: WakeUp
    private let link: LaneLink
    // The link's parts, held here so that reaching them counts no references.
    private let outgoing: HandshakeQueue
    private let mailbox: LaneMailbox
    private let control: WakeUp.Handle
    /// The other lanes' and this one's, by number.
    private let lanes: [WakeUp.Handle]
    private var nextPortCheck = Instant.zero
    private var nextSegmentationTry = Instant.zero
    /// Datagrams a second that may be for other lanes: roaming, and what nobody steers.
    private static let fewCrossings = 1_000

    private enum Token {
        static let wakeUp: UInt32 = 0
        static let alarm: UInt32 = 1
        static let socket: UInt32 = 2
        /// A port that has to be asked.
        static let port: UInt32 = 3
        /// This and the number of a packet port: its ring is looked at in any case, so it only wakes.
        static let ring: UInt32 = 4
        /// This and the number of a peer: the socket of its path.
        static let path: UInt32 = 1 << 16
    }

    /// - Parameters:
    ///   - lanes: wake every lane, by number.
    ///   - gather: how long it lets pass after a batch of frames from the LAN, if it sleeps.
    ///   - settles: whether the lane chooses its processor while it has little to do; see `Placement`.
    ///   - wakeLatency: held while there is traffic.
    init(
        core: consuming LaneCore, socket: consuming UDPSocket, ports: consuming LanePorts, wakeUp: consuming WakeUp,
        link: LaneLink, lanes: [WakeUp.Handle], wait: LaneWait, gather: Interval, settles: Bool,
        wakeLatency: consuming WakeLatency?
    ) throws(IOError) {
        let poller = try Poller()
        let alarm = try Alarm()
        try poller.addEdge(wakeUp.fileDescriptor, token: Token.wakeUp)
        try poller.addEdge(alarm.fileDescriptor, token: Token.alarm)
        try poller.add(socket.fileDescriptor, token: Token.socket)
        for index in 0..<ports.packets.count {
            try poller.addEdge(ports.packets[index].port.fileDescriptor, token: Token.ring + UInt32(index))
        }
        for index in 0..<ports.taps.count { try poller.addEdge(ports.taps[index].port.fileDescriptor, token: Token.port) }
        for index in 0..<ports.lives.count { try poller.addEdge(ports.lives[index].port.fileDescriptor, token: Token.port) }
        // Before the first frame: what is joined must not meet a port that takes it for one long frame.
        for index in 0..<ports.packets.count { Lane.noteOffload(ports.packets[index], &core) }
        for index in 0..<ports.taps.count { Lane.noteOffload(ports.taps[index], &core) }
        for index in 0..<ports.lives.count { Lane.noteOffload(ports.lives[index], &core) }
        paths = socket.pathCount
        self.poller = poller
        self.alarm = alarm
        self.wait = wait
        // What is asked for frames has no room for many.
        self.gather = ports.taps.count + ports.lives.count > 0 ? .zero : gather
        self.wakeLatency = consume wakeLatency
        // Several lanes would measure each other.
        placement = settles && wait == .sleep && lanes.count == 1 ? Placement(at: MonotonicClock.now()) : nil
        self.core = core
        self.socket = socket
        packets = ports.packets
        taps = ports.taps
        lives = ports.lives
        self.wakeUp = wakeUp
        self.link = link
        outgoing = link.outgoing
        mailbox = link.mailbox
        control = link.control
        self.lanes = lanes
    }

    /// Runs until control says stop.
    mutating func run() {
        if placement != nil { place = ThreadPlace() }
        if gather > .zero { useExactTimers() }
        var now = MonotonicClock.now()
        while !link.isStopping.load(ordering: .relaxed) {
            turn(now)
            switch wait {
            case .sleep: now = look()
            case .poll: now = lookAgain()
            }
            if placement?.isDue(account, at: now) == true { choosePlace(now) }
        }
    }

    /// Stays at a processor, or no longer.
    @inline(never)
    private mutating func choosePlace(_ now: Instant) {
        let (cost, processor) = (place?.cost(), place?.processor ?? 0)
        switch placement?.decide(
            account, cost: cost, processor: processor, at: now, idle: { place?.idleProcessors(at: now) ?? 0 })
        {
        case .stay(let processor):
            if place?.stay(on: processor) == true { return }
            place?.leave()
            placement?.noteRefused(at: now)
        case .leave: place?.leave()
        case nil: break
        }
    }

    /// Takes note of what has come; waits for something unless something is left to do. Returns the time.
    private mutating func look() -> Instant {
        // What control has left found no room: it has some after the flush.
        let isDone =
            !socketIsReady && !portsAreReady && !ringsAreReady && !mailbox.hasFramesForLane && !mailbox.hasCrossings
        if !isDone {
            lastQuiet = .zero
            noteEvents(poller.wait(timeout: .zero))
            return MonotonicClock.now()
        }
        let quietSince = MonotonicClock.now()
        if gather > .zero && account.frames != framesThen && core.nextTimeout > quietSince { return letGather(since: quietSince) }
        if lastQuiet < Lane.shortQuiet, let moment = something(within: Lane.shortQuiet, since: quietSince) { return moment }
        alarm.set(noLaterThan: min(core.nextTimeout, nextPortCheck))
        noteEvents(poller.wait(timeout: nil))
        let now = MonotonicClock.now()
        lastQuiet = now - quietSince
        account.slept = .nanoseconds(account.slept.nanoseconds &+ lastQuiet.nanoseconds)
        return now
    }

    /// After a batch of frames from the LAN: whatever comes within `gather` is taken together. A frame that comes later, since
    /// nothing else does, is sent at once. Returns the time.
    private mutating func letGather(since start: Instant) -> Instant {
        framesThen = account.frames
        sleep(until: min(start + gather, core.nextTimeout))
        noteEvents(poller.wait(timeout: .zero))
        hasGathered = true
        let now = MonotonicClock.now()
        lastQuiet = now - start
        account.slept = .nanoseconds(account.slept.nanoseconds &+ lastQuiet.nanoseconds)
        return now
    }

    /// Where the last quiet was shorter than it takes to fall asleep and be woken, the next is likely to be so too: keeps looking
    /// for so long, while others may run. Spares whoever sends to us the wakening as well.
    /// Returns when something came; `nil` if nothing did.
    private mutating func something(within limit: Interval, since start: Instant) -> Instant? {
        while true {
            let events = poller.wait(timeout: .zero)
            noteEvents(events)
            let now = MonotonicClock.now()
            if events > 0 {
                lastQuiet = now - start
                return now
            }
            if now - start >= limit { return nil }
            yieldProcessor()
        }
    }

    private mutating func noteEvents(_ count: Int) {
        for index in 0..<count { note(poller.token(index), isError: poller.hasError(index)) }
    }

    /// Asks everything again, without a wait.
    private mutating func lookAgain() -> Instant {
        if !socketIsReady && !portsAreReady && !ringsAreReady { yieldProcessor() }
        socketIsReady = true
        portsAreReady = hasPortsToAsk
        if paths > 0 { noteEvents(poller.wait(timeout: .zero)) }
        return MonotonicClock.now()
    }

    private mutating func note(_ token: UInt32, isError: Bool) {
        switch token {
        // A new signal is a new event, so what is counted there can stay.
        case Token.wakeUp: break
        case Token.alarm: alarm.acknowledge()
        case Token.socket: socketIsReady = true
        case Token.port: portsAreReady = true
        case Token.path...:
            if readyPathCount == readyPaths.count { return }
            readyPaths[readyPathCount] = UInt16(truncatingIfNeeded: token)
            readyPathCount += 1
        default: if isError { packets[Int(token - Token.ring)].port.clearError() }
        }
    }

    /// Takes what there is, up to a batch of each.
    private mutating func turn(_ now: Instant) {
        socket.restorePatience()
        // At long intervals datagrams come alone: if there is another after all, the poller says so again.
        let limit = wait == .poll || hasGathered || lastQuiet < Lane.shortQuiet ? UDPSocket.receiveBatch : 1
        hasGathered = false
        let messages = socketIsReady ? socket.receive(upTo: limit) : 0
        // A batch that is not full was the last.
        socketIsReady = messages == UDPSocket.receiveBatch
        // After the datagrams were taken, before they are handled: a session's keys are here before its first datagram.
        core.handleCommands(at: now)
        for index in 0..<messages {
            if core.wantsDrain { flush(now) }
            Lane.handle(index, &socket, &core, now)
        }
        account.messages &+= messages
        wakeCrossed()
        if readyPathCount > 0 { takeFromPaths(upTo: limit, now) }
        ringsAreReady = false
        for index in 0..<packets.count {
            let taken = Lane.receive(&packets[index], &core, now)
            account.frames &+= taken.count
            if taken.mayHaveMore { ringsAreReady = true }
            if core.wantsDrain { flush(now) }
        }
        if portsAreReady { takeFromPorts(now) }
        if core.nextTimeout <= now { core.handleTimeout(at: now) }
        if nextPortCheck <= now { checkPorts(now) }
        flush(now)
        if !outgoing.isEmpty { sendOutgoing() }
        if mailbox.hasWorkForControl { control.wake() }
        if recent >= Lane.busy { wakeLatency?.bound(true) }
    }

    /// What has come from peers with a path, a batch from each: if there is more, the poller says so again.
    private mutating func takeFromPaths(upTo limit: Int, _ now: Instant) {
        for place in 0..<readyPathCount { takeFromPath(Int(readyPaths[place]), upTo: limit, now) }
        readyPathCount = 0
    }

    @discardableResult
    private mutating func takeFromPath(_ path: Int, upTo limit: Int, _ now: Instant) -> Int {
        let messages = socket.receive(onPath: path, upTo: limit)
        core.handleCommands(at: now)
        for index in 0..<messages {
            if core.wantsDrain { flush(now) }
            Lane.handle(index, &socket, &core, now)
        }
        account.messages &+= messages
        return messages
    }

    /// Takes what waits on the main socket: at most what its buffer holds.
    private mutating func takeAllFromSocket(_ now: Instant) {
        for _ in 0..<1024 {
            let messages = socket.receive()
            core.handleCommands(at: now)
            for index in 0..<messages {
                if core.wantsDrain { flush(now) }
                Lane.handle(index, &socket, &core, now)
            }
            account.messages &+= messages
            if messages == 0 { return }
        }
    }

    /// Has a path lead to where each peer is that is up.
    private mutating func checkPaths(_ now: Instant) {
        for path in 0..<paths {
            let wanted = core.endpoint(of: PeerIndex(path))
            let present = socket.pathEndpoint(path)
            if wanted == present { continue }
            if present != nil {
                // Bounded: whoever sends faster than this loses a few datagrams with the old path.
                for _ in 0..<64 where takeFromPath(path, upTo: UDPSocket.receiveBatch, now) == 0 { break }
                socket.closePath(path)
            }
            guard let wanted, let descriptor = socket.openPath(path, to: wanted) else { continue }
            // What is there on the main socket was sent before anything that the path will bring.
            takeAllFromSocket(now)
            do throws(IOError) {
                try poller.add(descriptor, token: Token.path + UInt32(path))
            } catch {
                socket.closePath(path)
            }
        }
    }

    /// Before the frames are handled: another lane's datagrams have waited already.
    @inline(__always)
    private mutating func wakeCrossed() {
        let crossed = core.takeCrossed()
        if crossed != 0 { wakeLanes(crossed) }
    }

    @inline(never)
    private func wakeLanes(_ set: UInt16) {
        for lane in lanes.indices where set >> UInt16(lane) & 1 == 1 { lanes[lane].wake() }
    }

    private mutating func takeFromPorts(_ now: Instant) {
        portsAreReady = false
        for index in 0..<taps.count { noteTaken(Lane.receive(&taps[index], &core, now), now) }
        for index in 0..<lives.count { noteTaken(Lane.receive(&lives[index], &core, now), now) }
    }

    private mutating func noteTaken(_ taken: Taken, _ now: Instant) {
        account.frames &+= taken.count
        if taken.mayHaveMore { portsAreReady = true }
        if core.wantsDrain { flush(now) }
    }

    private static func handle(_ index: Int, _ socket: inout UDPSocket, _ core: inout LaneCore, _ now: Instant) {
        let message = socket.message(index)
        if message.length == 0 { return core.handleEmptyDatagram() }
        var bytes = socket.messageBytes(index)
        core.handleDatagrams(
            &bytes, segmentSize: message.segmentSize, from: message.source, octet: message.octet, at: now)
    }

    /// What a port's turn has brought.
    private struct Taken {
        var count = 0
        /// False when the port said that it has no more.
        var mayHaveMore = true
    }

    /// Takes frames from a port until it has none, its turn is over, or there is no room for more.
    private static func receive<Port: FramePort & ~Copyable>(
        _ placed: inout PlacedPort<Port>, _ core: inout LaneCore, _ now: Instant
    ) -> Taken {
        var taken = Taken()
        while taken.count < frameBatch && !core.wantsDrain {
            guard placed.port.advance() else {
                taken.mayHaveMore = false
                break
            }
            taken.count += 1
            if core.wantsPrefetch, let frame = placed.port.upcoming(lookAhead) { core.prefetch(frame) }
            if placed.port.isTruncated {
                core.handleLostFrame(Port.truncation, on: placed.index)
                continue
            }
            if !placed.accepts() {
                core.handleLostFrame(.filtered, on: placed.index)
                continue
            }
            let offload = placed.port.offload
            var frame = placed.port.lendFrame()
            core.handleFrame(&frame, offload: offload, on: placed.index, at: now)
        }
        return taken
    }

    /// Seals and sends everything that this turn has brought.
    private mutating func flush(_ now: Instant) {
        core.finishBatch(at: now)
        for index in 0..<core.transmits { Lane.transmit(index, &core, &socket) }
        if !core.bridge.frames.isEmpty {
            for index in 0..<packets.count { Lane.deliver(&packets[index], &core) }
            for index in 0..<taps.count { Lane.deliver(&taps[index], &core) }
            for index in 0..<lives.count { Lane.deliver(&lives[index], &core) }
        }
        core.drained()
    }

    private static func transmit(_ index: Int, _ core: inout LaneCore, _ socket: inout UDPSocket) {
        let run = core.transmit(at: index)
        let result = socket.send(
            core.transmitBytes(at: index), segmentSize: run.segmentSize, to: run.endpoint, path: run.peer.index,
            octet: run.octet)
        let isWhole = result.datagramsFailed == 0
        // A probe that is too long is an answer, not a loss.
        let failed = result.isTooLong && run.probe != nil ? 0 : result.datagramsFailed
        core.handleTransmitted(
            run.peer, datagrams: result.datagramsSent,
            bytes: isWhole ? run.byteCount : result.datagramsSent * run.segmentSize, failed: failed)
        if result.isTooLong { core.handleTooLong(run) }
    }

    private static func deliver<Port: FramePort & ~Copyable>(_ placed: inout PlacedPort<Port>, _ core: inout LaneCore) {
        let result = placed.port.transmit(core.bridge.frames, port: placed.index)
        core.handleDelivered(placed.index, frames: result.sent, bytes: result.bytes, failed: result.failed)
    }

    /// Control's datagrams: handshakes, a few an hour for each peer.
    @inline(never)
    private mutating func sendOutgoing() {
        let octet = core.configuration.classes.controlOctet
        while let (datagram, endpoint) = outgoing.pop() {
            let result = Lane.send(datagram, &socket, to: endpoint, octet)
            if result.datagramsFailed > 0 { core.handleUnsent(datagrams: result.datagramsFailed) }
        }
    }

    private static func send(
        _ bytes: [UInt8], _ socket: inout UDPSocket, to endpoint: Endpoint, _ octet: UInt8
    ) -> SendResult {
        var bytes = bytes
        let count = bytes.count
        return bytes.withMutableRawSpan { socket.send($0.bytes, segmentSize: max(count, 1), to: endpoint, octet: octet) }
    }

    // MARK: Once a second

    private mutating func checkPorts(_ now: Instant) {
        nextPortCheck = now + Lane.portCheck
        if recent < Lane.busy { wakeLatency?.bound(false) }
        accountThen = account.messages &+ account.frames
        if paths > 0 { checkPaths(now) }
        core.handleSocketState(receiveDrops: socket.drops())
        // The kernel joins what different lanes have sent after all: their order would suffer.
        if core.takeCrossings() > Lane.fewCrossings { socket.stopCoalescing() }
        if nextSegmentationTry <= now {
            nextSegmentationTry = now + .seconds(60)
            socket.restoreSegmentation()
        }
        var offloads = LaneOffloads()
        offloads.segmentsDatagrams = socket.hasSegmentation
        offloads.joinsDatagrams = socket.hasCoalescing
        for index in 0..<packets.count { Lane.check(&packets[index], &core, poller, &offloads) }
        for index in 0..<taps.count { Lane.check(&taps[index], &core, poller, &offloads) }
        for index in 0..<lives.count { Lane.check(&lives[index], &core, poller, &offloads) }
        link.offloads.store(offloads.rawValue, ordering: .relaxed)
    }

    private static func check<Port: FramePort & ~Copyable>(
        _ placed: inout PlacedPort<Port>, _ core: inout LaneCore, _ poller: borrowing Poller, _ offloads: inout LaneOffloads
    ) {
        // The descriptor of a device that was removed stays readable for ever.
        if placed.port.isGone { poller.remove(placed.port.fileDescriptor) }
        placed.port.clearError()
        core.handlePortState(placed.index, isUp: placed.port.isUp(), captureDrops: placed.port.drops())
        noteOffload(placed, &core)
        let sends = core.sendsSuperFrames(to: placed.index)
        offloads[placed.index] = LaneOffloads.Port(
            receivesMetadata: Port.receivesMetadata, sendsTCP: sends.tcp, sendsUDP: sends.udp)
    }

    private static func noteOffload<Port: FramePort & ~Copyable>(
        _ placed: borrowing PlacedPort<Port>, _ core: inout LaneCore
    ) {
        let offload = placed.port.transmitOffload
        core.handleCoalescing(placed.index, tcp: offload.contains(.tcp), udp: offload.contains(.udp))
    }
}

/// The ports of a lane, by kind.
struct LanePorts: ~Copyable {
    var packets: FixedArray<PlacedPort<PacketPort>>
    var taps: FixedArray<PlacedPort<TAPPort>>
    var lives: FixedArray<PlacedPort<LivePort>>
}
