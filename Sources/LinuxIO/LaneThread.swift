// Threads of our own: a lane is a pthread, named so that `top -H` shows it and pinned if the operator wants that.

import CLinux
import Glibc

/// Processors that this process may run on.
public func usableProcessors() -> Int { max(Int(cwl_processors()), 1) }

/// A running thread. Join it, or let it go: one that is never joined runs on by itself.
public struct LaneThread: ~Copyable {
    /// The longest name that Linux keeps, in octets.
    public static let nameLimit = 15

    private let thread: pthread_t

    /// Starts a thread.
    /// - Parameters:
    ///   - name: cut to `nameLimit` octets.
    ///   - cpu: the only processor it runs on; `nil` for any.
    public static func start(
        name: String, cpu: Int? = nil, body: sending @escaping () -> Void
    ) throws(IOError) -> LaneThread {
        let start = Start(name: String(decoding: name.utf8.prefix(nameLimit), as: UTF8.self), body: body)
        // SAFETY: the retained object goes to the new thread, which takes it over; if there is none, it is released here.
        let context = unsafe Unmanaged.passRetained(start)
        var thread = pthread_t()
        let result = unsafe cwl_thread_start(
            &thread, Int32(clamping: cpu ?? -1),
            { context in
                guard let context = unsafe context else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
                _ = unsafe cwl_thread_set_name(start.name)
                start.body()
                return nil
            }, context.toOpaque())
        if result < 0 { unsafe context.release() }
        try check(result, "start the thread", name) { code in
            code == EINVAL && cpu != nil ? "this machine has no processor \(cpu ?? 0) for it" : ""
        }
        return LaneThread(thread: thread)
    }

    /// Waits until the thread's body has returned.
    public consuming func join() {
        _ = pthread_join(thread, nil)
        discard self
    }

    deinit { _ = pthread_detach(thread) }

    private final class Start {
        let name: String
        let body: () -> Void

        init(name: String, body: @escaping () -> Void) {
            self.name = name
            self.body = body
        }
    }
}
