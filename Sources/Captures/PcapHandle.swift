// The one owner of a libpcap handle: closed exactly once, whichever way its user ends.

import CPcap

/// A `pcap_t`, closed with the value.
@safe
struct PcapHandle: ~Copyable {
    /// Never null, and open for as long as self lives.
    let pointer: OpaquePointer

    /// Takes over an open handle.
    init(owning pointer: OpaquePointer) {
        // SAFETY: the caller gives the handle away.
        unsafe self.pointer = unsafe pointer
    }

    /// A handle without a file or device, to compile filters and write files for Ethernet with; nanosecond timestamps.
    init(deadWithSnapshotLength length: Int) {
        // SAFETY: takes and returns plain values; it fails only where memory is exhausted.
        guard
            let pointer = unsafe pcap_open_dead_with_tstamp_precision(
                Int32(DLT_EN10MB), Int32(length), UInt32(PCAP_TSTAMP_PRECISION_NANO))
        else { preconditionFailure("out of memory") }
        unsafe self.pointer = unsafe pointer
    }

    deinit {
        // SAFETY: this value is the only owner.
        unsafe pcap_close(pointer)
    }

    /// libpcap's words for the last failure of this handle.
    var errorText: String {
        // SAFETY: pcap_geterr returns the handle's own terminated buffer, which is copied here.
        unsafe String(cString: pcap_geterr(pointer))
    }

    /// libpcap's name for the link type, such as `EN10MB` or `LINUX_SLL`.
    var linkTypeName: String {
        // SAFETY: the handle is open; the names are static strings, or null for values without one.
        let value = unsafe pcap_datalink(pointer)
        guard let name = unsafe pcap_datalink_val_to_name(value) else { return "DLT \(value)" }
        return unsafe String(cString: name)
    }

    var isEthernet: Bool {
        // SAFETY: the handle is open.
        unsafe pcap_datalink(pointer) == DLT_EN10MB
    }
}

/// Calls `body` with a buffer for libpcap's error text; returns the result and the text, which is empty where there is none.
func withErrorBuffer<R>(_ body: (UnsafeMutablePointer<CChar>) -> R) -> (result: R, text: String) {
    var buffer = [CChar](repeating: 0, count: Int(PCAP_ERRBUF_SIZE))
    // SAFETY: libpcap writes at most PCAP_ERRBUF_SIZE octets with a terminator; the text is copied before the buffer goes.
    return unsafe buffer.withUnsafeMutableBufferPointer { buffer in
        let start = unsafe buffer.baseAddress.unsafelyUnwrapped
        let result = unsafe body(start)
        return unsafe (result, String(cString: start))
    }
}
