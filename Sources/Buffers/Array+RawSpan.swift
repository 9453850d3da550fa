// Copying between spans and arrays, for code off the fast path.

extension [UInt8] {
    /// A copy of the octets.
    public init(copying bytes: RawSpan) {
        unsafe self.init(unsafeUninitializedCapacity: bytes.byteCount) { buffer, count in
            // SAFETY: the buffer has room for as many octets as the span has.
            unsafe bytes.withUnsafeBytes { unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
            count = bytes.byteCount
        }
    }
}

extension [UInt8] {
    /// Lends the octets, to read.
    public func withRawSpan<R>(_ body: (RawSpan) -> R) -> R {
        // SAFETY: octets have no padding; the span lives no longer than the call.
        unsafe body(span.bytes)
    }

    /// Lends the octets, to change in place.
    public mutating func withMutableRawSpan<R>(_ body: (inout MutableRawSpan) -> R) -> R {
        var span = mutableSpan
        // SAFETY: octets have no padding and every value of one is valid.
        var bytes = unsafe span.mutableBytes
        return body(&bytes)
    }
}
