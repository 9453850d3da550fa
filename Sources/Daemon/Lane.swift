// A lane: the thread that carries frames. It takes what the WAN and the LAN ports have, hands it to the lane's core, sends
// what came of it, and looks again; it sleeps only when nothing was there.
//
//     +-> UDP: up to 16 messages (each up to 64 datagrams)  --> core --> frames    --> ports
//     |   ports: up to `frameBatch` frames each             --> core --> datagrams --> UDP
//     +-- nothing there? wait for a descriptor or the next timeout

import Basics
import Buffers
import Captures
import Gateway
import LinuxIO
import Synchronization

/// A datagram of control's that the lane sends for it: the lane owns the socket.
struct OutgoingDatagram: Sendable, BitwiseCopyable {
    var datagram: PuntedDatagram
    var endpoint: Endpoint
}

/// What control and a lane share beside the mailbox.
final class LaneLink: Sendable {
    let mailbox: LaneMailbox
    let outgoing = SPSCQueue<OutgoingDatagram>(capacity: 1024)
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
    private static let portCheck = Interval.seconds(1)

    private var core: LaneCore
    private var socket: UDPSocket
    private var packets: FixedArray<PlacedPort<PacketPort>>
    private var taps: FixedArray<PlacedPort<TAPPort>>
    private var lives: FixedArray<PlacedPort<LivePort>>
    private var poller: Poller
    private let wakeUp: WakeUp
    private let link: LaneLink
    // The link's parts, held here so that reaching them counts no references.
    private let outgoing: SPSCQueue<OutgoingDatagram>
    private let mailbox: LaneMailbox
    private let control: WakeUp.Handle
    private var nextPortCheck = Instant.zero

    private enum Token {
        static let wakeUp: UInt32 = 0
        static let other: UInt32 = 1
    }

    init(
        core: consuming LaneCore, socket: consuming UDPSocket, ports: consuming LanePorts, wakeUp: consuming WakeUp,
        link: LaneLink
    ) throws(IOError) {
        let poller = try Poller()
        try poller.add(wakeUp.fileDescriptor, token: Token.wakeUp)
        try poller.add(socket.fileDescriptor, token: Token.other)
        for index in 0..<ports.packets.count { try poller.add(ports.packets[index].port.fileDescriptor, token: Token.other) }
        for index in 0..<ports.taps.count { try poller.add(ports.taps[index].port.fileDescriptor, token: Token.other) }
        for index in 0..<ports.lives.count { try poller.add(ports.lives[index].port.fileDescriptor, token: Token.other) }
        // Before the first frame: what is joined must not meet a port that takes it for one long frame.
        for index in 0..<ports.packets.count { Lane.noteOffload(ports.packets[index], &core) }
        for index in 0..<ports.taps.count { Lane.noteOffload(ports.taps[index], &core) }
        for index in 0..<ports.lives.count { Lane.noteOffload(ports.lives[index], &core) }
        self.poller = poller
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
    }

    /// Runs until control says stop.
    mutating func run() {
        var now = MonotonicClock.now()
        while !link.isStopping.load(ordering: .relaxed) {
            let worked = turn(now)
            now = MonotonicClock.now()
            if worked { continue }
            let timeout = min(core.nextTimeout, nextPortCheck) - now
            if timeout > .zero { sleep(timeout) }
            now = MonotonicClock.now()
        }
    }

    private mutating func sleep(_ timeout: Interval) {
        let events = poller.wait(timeout: timeout)
        for index in 0..<events where poller.token(index) == Token.wakeUp { wakeUp.drain() }
    }

    /// One look at everything; true when there was something.
    private mutating func turn(_ now: Instant) -> Bool {
        let messages = socket.receive()
        // After the datagrams were taken, before they are handled: a session's keys are here before its first datagram.
        core.handleCommands(at: now)
        for index in 0..<messages {
            if core.wantsDrain { flush(now) }
            Lane.handle(index, &socket, &core, now)
        }
        var frames = 0
        for index in 0..<packets.count {
            frames += Lane.receive(&packets[index], &core, now)
            if core.wantsDrain { flush(now) }
        }
        for index in 0..<taps.count {
            frames += Lane.receive(&taps[index], &core, now)
            if core.wantsDrain { flush(now) }
        }
        for index in 0..<lives.count {
            frames += Lane.receive(&lives[index], &core, now)
            if core.wantsDrain { flush(now) }
        }
        if core.nextTimeout <= now { core.handleTimeout(at: now) }
        if nextPortCheck <= now { checkPorts(now) }
        flush(now)
        if !outgoing.isEmpty { sendOutgoing() }
        if mailbox.hasWorkForControl { control.wake() }
        // What control has left found no room: it has some after the flush.
        return messages > 0 || frames > 0 || mailbox.hasFramesForLane
    }

    private static func handle(_ index: Int, _ socket: inout UDPSocket, _ core: inout LaneCore, _ now: Instant) {
        let message = socket.message(index)
        if message.length == 0 { return core.handleEmptyDatagram() }
        var bytes = socket.messageBytes(index)
        core.handleDatagrams(&bytes, segmentSize: message.segmentSize, from: message.source, at: now)
    }

    /// Takes frames from a port until it has none, its turn is over, or there is no room for more; how many.
    private static func receive<Port: FramePort & ~Copyable>(
        _ placed: inout PlacedPort<Port>, _ core: inout LaneCore, _ now: Instant
    ) -> Int {
        var count = 0
        while count < frameBatch && !core.wantsDrain && placed.port.advance() {
            count += 1
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
        return count
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
        let result = socket.send(core.transmitBytes(at: index), segmentSize: run.segmentSize, to: run.endpoint)
        let isWhole = result.datagramsFailed == 0
        core.handleTransmitted(
            run.peer, datagrams: result.datagramsSent,
            bytes: isWhole ? run.byteCount : result.datagramsSent * run.segmentSize, failed: result.datagramsFailed)
    }

    private static func deliver<Port: FramePort & ~Copyable>(_ placed: inout PlacedPort<Port>, _ core: inout LaneCore) {
        let result = placed.port.transmit(core.bridge.frames, port: placed.index)
        core.handleDelivered(placed.index, frames: result.sent, bytes: result.bytes, failed: result.failed)
    }

    /// Control's datagrams: handshakes, a few an hour for each peer.
    @inline(never)
    private mutating func sendOutgoing() {
        while let datagram = outgoing.pop() { send(datagram) }
    }

    private mutating func send(_ outgoing: OutgoingDatagram) {
        let result = Lane.send(outgoing.datagram.bytes, &socket, to: outgoing.endpoint)
        if result.datagramsFailed > 0 { core.handleUnsent(datagrams: result.datagramsFailed) }
    }

    private static func send(_ bytes: [UInt8], _ socket: inout UDPSocket, to endpoint: Endpoint) -> SendResult {
        var bytes = bytes
        let count = bytes.count
        return bytes.withMutableRawSpan { socket.send($0.bytes, segmentSize: max(count, 1), to: endpoint) }
    }

    // MARK: Once a second

    private mutating func checkPorts(_ now: Instant) {
        nextPortCheck = now + Lane.portCheck
        core.handleSocketState(receiveDrops: socket.drops())
        for index in 0..<packets.count { Lane.check(&packets[index], &core, poller) }
        for index in 0..<taps.count { Lane.check(&taps[index], &core, poller) }
        for index in 0..<lives.count { Lane.check(&lives[index], &core, poller) }
    }

    private static func check<Port: FramePort & ~Copyable>(
        _ placed: inout PlacedPort<Port>, _ core: inout LaneCore, _ poller: borrowing Poller
    ) {
        // The descriptor of a device that was removed stays readable for ever.
        if placed.port.isGone { poller.remove(placed.port.fileDescriptor) }
        core.handlePortState(placed.index, isUp: placed.port.isUp(), captureDrops: placed.port.drops())
        noteOffload(placed, &core)
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
