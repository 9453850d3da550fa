// What a thread waits on: a set of descriptors (epoll(7)), an event that other threads raise (eventfd(2)), and a moment
// (timerfd_create(2)).

import Basics
import Buffers
import CLinux
import Glibc

/// A set of descriptors with a token each. Owned by one thread. A descriptor that is closed leaves the set by itself.
///
/// Level-triggered, a descriptor is reported as long as it is ready. Edge-triggered, it is reported when something new has
/// come, and whoever is told takes all there is: that spares the kernel a second look at each wait.
public struct Poller: ~Copyable {
    /// Events of one `wait`.
    public static let batch = 64

    private let epoll: OwnedDescriptor
    private let events: OwnedBytes
    private var held = 0

    public init() throws(IOError) {
        epoll = OwnedDescriptor(try check(cwl_epoll_create(), "create", "epoll"))
        events = OwnedBytes(count: Poller.batch * cwl_epoll_event_size())
    }

    /// Watches a descriptor until it can be read (or has an error), or also until it can be written.
    public func add(_ descriptor: Int32, token: UInt32, forWriting: Bool = false) throws(IOError) {
        try check(
            cwl_epoll_add(epoll.raw, descriptor, Poller.interest(forWriting), token), "watch", "descriptor \(descriptor)")
    }

    /// Watches a descriptor for whatever newly comes in.
    public func addEdge(_ descriptor: Int32, token: UInt32) throws(IOError) {
        try check(
            cwl_epoll_add(epoll.raw, descriptor, cwl_epoll_in() | cwl_epoll_edge(), token), "watch", "descriptor \(descriptor)")
    }

    /// Changes the token or the interest of a descriptor that is in the set.
    public func change(_ descriptor: Int32, token: UInt32, forWriting: Bool) throws(IOError) {
        try check(
            cwl_epoll_change(epoll.raw, descriptor, Poller.interest(forWriting), token), "watch", "descriptor \(descriptor)")
    }

    /// Takes a descriptor out of the set; nothing happens if it is not in it.
    public func remove(_ descriptor: Int32) { _ = cwl_epoll_remove(epoll.raw, descriptor) }

    /// Waits until something is ready, or `timeout` is over; how many events there are, 0 after the time or a signal.
    /// - Parameter timeout: `nil` waits for ever; zero or less does not wait.
    public mutating func wait(timeout: Interval?) -> Int {
        let nanoseconds = timeout.map { max($0.nanoseconds, 0) } ?? -1
        // SAFETY: the block has room for `batch` events.
        let result = unsafe cwl_epoll_wait(epoll.raw, events.pointer, Int32(Poller.batch), nanoseconds)
        held = max(Int(result), 0)
        return held
    }

    /// The token of a descriptor that is ready. Precondition: `index` is below the result of the last `wait`.
    public func token(_ index: Int) -> UInt32 {
        precondition(index >= 0 && index < held)
        // SAFETY: the kernel filled `held` events.
        return unsafe cwl_epoll_token(events.pointer, Int32(index))
    }

    /// Whether the descriptor has an error to tell. Precondition: as for `token`.
    public func hasError(_ index: Int) -> Bool {
        precondition(index >= 0 && index < held)
        // SAFETY: the kernel filled `held` events.
        return unsafe cwl_epoll_events(events.pointer, Int32(index)) & cwl_epoll_error() != 0
    }

    private static func interest(_ forWriting: Bool) -> UInt32 {
        forWriting ? cwl_epoll_in() | cwl_epoll_out() : cwl_epoll_in()
    }
}

/// The waiting side of an event. Its descriptor is readable from a `wake()` until `drain()`.
public struct WakeUp: ~Copyable {
    /// The raising side; any thread may hold one, and it outlives the waiting side safely.
    public final class Handle: Sendable {
        fileprivate let descriptor: OwnedDescriptor

        fileprivate init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

        /// Wakes the waiting thread; many calls before it drains are one event. Never blocks.
        public func wake() { _ = cwl_eventfd_signal(descriptor.raw) }
    }

    public let handle: Handle

    public init() throws(IOError) {
        handle = Handle(OwnedDescriptor(try check(cwl_eventfd(), "create", "eventfd")))
    }

    public var fileDescriptor: Int32 { handle.descriptor.raw }

    /// Ends the event. Look at what the other threads left after this, not before, and none is missed.
    public func drain() { _ = cwl_eventfd_drain(handle.descriptor.raw) }
}

/// A moment to wait for. Its descriptor tells of it in an edge-triggered `Poller`.
///
/// A wait that is given a timeout programs the processor's timer each time it begins and again when it ends, which costs more
/// than the wait itself where a hypervisor has to be asked. A moment that stays what it was costs nothing.
public struct Alarm: ~Copyable {
    private let timer: OwnedDescriptor
    private var moment = Instant.distantFuture

    public init() throws(IOError) { timer = OwnedDescriptor(try check(cwl_timer_create(), "create", "timer")) }

    public var fileDescriptor: Int32 { timer.raw }

    /// The alarm has rung.
    public mutating func acknowledge() { moment = .distantFuture }

    /// It rings at `instant` or before: a later moment than the one that is set leaves that one.
    public mutating func set(noLaterThan instant: Instant) {
        if moment <= instant { return }
        moment = instant
        _ = cwl_timer_set(timer.raw, UInt64(max(instant.nanoseconds, 1)))
    }
}

/// A bound on how long an idle processor may take to wake (Documentation/power/pm_qos_interface.rst).
///
/// Processors that have gone to sleep take tens of microseconds to come back, and waking them costs the waker an interrupt. While
/// the bound is zero, idle processors wait with their eyes open.
public struct WakeLatency: ~Copyable {
    private let file: OwnedDescriptor
    private var isBounded = false
    /// What the kernel takes for no wish, in microseconds (PM_QOS_CPU_LATENCY_DEFAULT_VALUE).
    private static let any: Int32 = 2_000_000_000

    /// Fails without root, and where the kernel does not offer it.
    public init() throws(IOError) {
        file = OwnedDescriptor(try check(cwl_idle_latency_open(), "open", "/dev/cpu_dma_latency"))
        _ = cwl_idle_latency_set(file.raw, WakeLatency.any)
    }

    /// Asks for processors that wake at once, or no longer.
    public mutating func bound(_ isBounded: Bool) {
        if isBounded == self.isBounded { return }
        self.isBounded = isBounded
        _ = cwl_idle_latency_set(file.raw, isBounded ? 0 : WakeLatency.any)
    }
}

/// Lets the thread sleep until then, whatever comes.
public func sleep(until instant: Instant) { _ = cwl_thread_sleep_until(instant.nanoseconds) }

/// Has the thread's timers expire when they should, and not up to 50 us later (timer slack, prctl(2)).
public func useExactTimers() { _ = cwl_thread_exact_timers() }

/// Lets whoever else waits for this processor run.
public func yieldProcessor() { cwl_yield() }
