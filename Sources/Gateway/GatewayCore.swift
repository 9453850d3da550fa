// One whole gateway without I/O: a lane and control, with the mailbox between them emptied in the same thread. Replay,
// simulation and tests drive it; a live gateway runs the same two halves in two threads.
//
// How to drive it: hand in frames and datagrams through `lane`, call `settle`, then take what is to be sent: actions from
// `control.pollAction`, runs of datagrams and frames from `lane`; then `lane.drained()`. When `nextTimeout` has come, call
// `handleTimeout` and settle again.

import Basics
import Buffers

public struct GatewayCore: ~Copyable {
    public var lane: LaneCore
    public var control: ControlCore
    private let mailbox: LaneMailbox

    /// - Parameters:
    ///   - random: where keys, identifiers and the tables' secret come from.
    ///   - wallClock: nanoseconds since 1970 at `now`.
    public init(
        lane configuration: LaneConfiguration, control: ControlConfiguration, random: any RandomNumberGenerator & Sendable,
        wallClock: UInt64, at now: Instant
    ) {
        var random = random
        mailbox = LaneMailbox(
            ports: configuration.ports, peers: configuration.peers, secret: HashSecret(using: &random))
        lane = LaneCore(configuration, mailbox: mailbox, secret: HashSecret(using: &random))
        self.control = ControlCore(control, mailbox: mailbox, random: random, wallClock: wallClock, at: now)
    }

    /// `.zero` while frames wait for a drained lane.
    public var nextTimeout: Instant {
        mutating get { mailbox.outbound.isEmpty ? min(lane.nextTimeout, control.nextTimeout) : .zero }
    }

    public mutating func handleTimeout(at now: Instant) {
        if control.nextTimeout <= now { control.handleTimeout(at: now) }
        if lane.nextTimeout <= now { lane.handleTimeout(at: now) }
    }

    /// Carries messages between the halves until both are silent, then ends the lane's batch.
    public mutating func settle(at now: Instant) {
        repeat {
            // Control looks at every peer, which the datagrams that are the lane's alone need not wait for.
            if mailbox.hasWorkForControl { control.handleEvents(at: now) }
            lane.handleCommands(at: now)
            // What waits for a drained lane waits for the next call.
        } while mailbox.hasWorkForControl || !mailbox.commands.isEmpty || (!mailbox.outbound.isEmpty && !lane.wantsDrain)
        lane.finishBatch(at: now)
    }
}
