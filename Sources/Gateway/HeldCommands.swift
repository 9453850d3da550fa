// Commands that found a lane's queue full, in order. Some hold a session's keys, so they wait in the same kind of queue: what is
// taken is wiped where it was, and nothing is moved to other memory to make room, which would leave a copy behind.

import Buffers

struct HeldCommands: Sendable {
    private static let chunk = 64

    /// The oldest commands in the first; none is empty.
    private var chunks: [SPSCQueue<LaneCommand>] = []

    var isEmpty: Bool { chunks.isEmpty }

    /// Gives the lane what is before it, and then the command; what does not fit waits here.
    mutating func push(_ command: LaneCommand, to lane: SPSCQueue<LaneCommand>) {
        flush(to: lane)
        if isEmpty && lane.push(command) { return }
        if let last = chunks.last, last.push(command) { return }
        let more = SPSCQueue<LaneCommand>(capacity: HeldCommands.chunk)
        _ = more.push(command)
        chunks.append(more)
    }

    /// Gives the lane what it has room for.
    mutating func flush(to lane: SPSCQueue<LaneCommand>) {
        while let first = chunks.first {
            while !lane.isFull, let command = first.popWiping() { _ = lane.push(command) }
            if !first.isEmpty { return }
            chunks.removeFirst()
        }
    }
}
