// Two lanes on two processors beside one: they share nothing that is written, so they should be twice as fast.

import Basics
import Gateway
import LinuxIO
import Synchronization
import Tunnels

private final class Course: Sendable {
    let ready = Atomic<Int>(0)
    let isOver = Atomic<Bool>(false)
    let frames = Atomic<Int>(0)
}

/// Frames a second that `lanes` lanes send, each pinned to a processor of its own.
func lanesRate(_ traffic: Traffic, lanes: Int, backends: CipherBackends) throws(IOError) -> Double {
    let mailboxes = makeMailboxes(lanes)
    publishGroups(traffic, mailboxes[0], isSender: true)
    let course = Course()
    var threads: [LaneThreadBox] = []
    for mailbox in mailboxes {
        threads.append(
            LaneThreadBox(
                try LaneThread.start(name: "bench-\(mailbox.lane)", cpu: mailbox.lane) {
                    drive(traffic, mailbox, lanes, backends, course)
                }))
    }
    while course.ready.load(ordering: .acquiring) < lanes { sleep(milliseconds: 1) }
    let start = MonotonicClock.now()
    let before = course.frames.load(ordering: .relaxed)
    sleep(milliseconds: 300)
    let after = course.frames.load(ordering: .relaxed)
    let time = MonotonicClock.now() - start
    course.isOver.store(true, ordering: .releasing)
    for thread in threads { thread.join() }
    return Double(after - before) / Double(time.nanoseconds) * 1e9
}

private func drive(
    _ traffic: Traffic, _ mailbox: LaneMailbox, _ lanes: Int, _ backends: CipherBackends, _ course: Course
) {
    var lane = makeLane(traffic, mailbox, isSender: true, lanes: lanes, backends: backends)
    var frames = FrameBatch(traffic, count: 256, seed: UInt64(mailbox.lane) + 1)
    var turns = 0
    while !course.isOver.load(ordering: .relaxed) {
        if turns % 64 == 0 { frames.draw() }
        send(&frames, through: &lane, at: MonotonicClock.now())
        lane.drained()
        turns += 1
        // Told rarely, so that telling costs nothing.
        if turns == 256 { course.ready.wrappingAdd(1, ordering: .releasing) }
        if turns % 16 == 0 { course.frames.wrappingAdd(16 * frames.count, ordering: .relaxed) }
    }
}

/// A thread in an array.
private final class LaneThreadBox {
    private var thread: LaneThread?

    init(_ thread: consuming LaneThread) { self.thread = consume thread }

    func join() {
        guard let thread = thread.take() else { return }
        thread.join()
    }
}
