// The arrays that sendmmsg and recvmmsg work on, allocated once and filled in place: for datagrams, and for frames.

import CLinux
import Glibc

/// `count` messages of one part each. The memory that a part points at is lent: whoever fills the list keeps it alive
/// until the call that uses the list has returned.
@safe
struct ScatterList: ~Copyable, @unchecked Sendable {
    let messages: UnsafeMutablePointer<cwl_message>
    let parts: UnsafeMutablePointer<iovec>
    let addresses: UnsafeMutablePointer<cwl_address>
    let controls: UnsafeMutablePointer<cwl_control>
    let count: Int

    init(count: Int) {
        self.count = count
        // SAFETY: each array is initialised for `count` elements and stays so until deinit; its elements are plain C values.
        unsafe messages = .allocate(capacity: count)
        unsafe parts = .allocate(capacity: count)
        unsafe addresses = .allocate(capacity: count)
        unsafe controls = .allocate(capacity: count)
        unsafe messages.initialize(repeating: cwl_message(), count: count)
        unsafe parts.initialize(repeating: iovec(), count: count)
        unsafe addresses.initialize(repeating: cwl_address(), count: count)
        unsafe controls.initialize(repeating: cwl_control(), count: count)
    }

    deinit {
        // SAFETY: allocated in init, by this value alone.
        unsafe messages.deallocate()
        unsafe parts.deallocate()
        unsafe addresses.deallocate()
        unsafe controls.deallocate()
    }
}

/// `count` messages of one part each, and the arena's record that each of them is. The
/// memory that a part points at is lent: whoever fills the list keeps it alive until the list has been sent.
@safe
struct MessageList: ~Copyable, @unchecked Sendable {
    let messages: UnsafeMutablePointer<cwl_message>
    let parts: UnsafeMutablePointer<iovec>
    let indices: UnsafeMutablePointer<Int>
    let count: Int

    init(count: Int) {
        self.count = count
        // SAFETY: each array is initialised for `count` messages and stays so until deinit; its elements are plain C values.
        unsafe messages = .allocate(capacity: count)
        unsafe parts = .allocate(capacity: count)
        unsafe indices = .allocate(capacity: count)
        unsafe messages.initialize(repeating: cwl_message(), count: count)
        unsafe parts.initialize(repeating: iovec(), count: count)
        unsafe indices.initialize(repeating: 0, count: count)
    }

    deinit {
        // SAFETY: allocated in init, by this value alone.
        unsafe messages.deallocate()
        unsafe parts.deallocate()
        unsafe indices.deallocate()
    }
}
