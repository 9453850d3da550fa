// The address of a block of memory, for calls to the kernel.

import Buffers

extension OwnedBytes {
    /// The first octet; valid as long as the block lives.
    var pointer: UnsafeMutableRawPointer {
        // SAFETY: the block never moves; whoever uses the address owns the block and keeps to its size.
        unsafe bytes.withUnsafeBytes { unsafe UnsafeMutableRawPointer(mutating: $0.baseAddress.unsafelyUnwrapped) }
    }
}
