// What a thread waits on: a set of descriptors (epoll(7)), and an event that other threads raise (eventfd(2)).

import Basics
import Buffers
import CLinux
import Glibc

/// A set of descriptors with a token each. Level-triggered: a descriptor is reported as long as it is ready. Owned by one
/// thread. A descriptor that is closed leaves the set by itself.
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
