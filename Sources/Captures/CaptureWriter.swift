// Frames into a capture file: classic pcap with nanoseconds, the form that every tool reads. The same frames give the
// same octets on every machine this program is built for, all of which are little-endian.
//
//     header   4d3cb2a1 0200 0400 00000000 00000000 00000400 01000000   (nanoseconds, 2.4, snaplen 262144, Ethernet)
//     record   seconds(4) nanoseconds(4) captured(4) original(4) octets

import Basics
import CPcap
import Glibc

/// Writes one capture file. What was written is only certain to be on disk after `close()`.
@safe
public final class CaptureWriter {
    /// Octets of the longest frame that a reader accepts.
    public static let longestFrame = 262_144

    public let path: String
    private let handle = PcapHandle(deadWithSnapshotLength: CaptureWriter.longestFrame)
    /// Null once the file is closed.
    private var dumper: OpaquePointer?
    /// What the first failed write was about: octets behind it would not be a capture.
    private var failure: CaptureError?

    /// Creates the file, or empties one that is there.
    /// - Throws: `unwritable`, naming the file.
    public init(path: String) throws(CaptureError) {
        self.path = path
        // To libpcap "-" alone means the standard output.
        // SAFETY: the handle is open, and the path is a terminated string during the call.
        unsafe dumper = unsafe pcap_dump_open(handle.pointer, path == "-" ? "./-" : path)
        let code = errno
        guard unsafe dumper != nil else { throw Self.unwritable(path, code) }
    }

    deinit {
        // SAFETY: the dumper is open where it is not null, and this is its only owner.
        if let dumper = unsafe dumper { unsafe pcap_dump_close(dumper) }
    }

    /// Appends a frame.
    /// - Parameter timestamp: nanoseconds; from 2^32 seconds on it becomes the last that the format has.
    /// - Parameter bytes: from the Ethernet header on. Precondition: at most `longestFrame`, and the file is not closed.
    /// - Throws: `unwritable`, now or at a later call, since octets are collected before they go to the disk.
    public func write(timestamp: UInt64, bytes: RawSpan) throws(CaptureError) {
        precondition(bytes.byteCount <= Self.longestFrame)
        if let failure { throw failure }
        guard let dumper = unsafe dumper else { preconditionFailure("written to after close") }
        let (seconds, nanoseconds) = timestamp.quotientAndRemainder(dividingBy: 1_000_000_000)
        let length = UInt32(bytes.byteCount)
        let isLate = seconds > UInt64(UInt32.max)
        let time = timeval(tv_sec: isLate ? Int(UInt32.max) : Int(seconds), tv_usec: isLate ? 999_999_999 : Int(nanoseconds))
        var header = pcap_pkthdr(ts: time, caplen: length, len: length)
        // SAFETY: the dumper is open; `caplen` is the span's length, and the span is alive during the call.
        let hasFailed = unsafe bytes.withUnsafeBytes { octets in
            var nothing: UInt8 = 0
            return unsafe withUnsafePointer(to: &nothing) { none in
                let start = unsafe octets.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? none
                unsafe pcap_dump(UnsafeMutablePointer<UInt8>(dumper), &header, start)
                return unsafe ferror(pcap_dump_file(dumper)) != 0
            }
        }
        if hasFailed { try fail(errno) }
    }

    /// Appends a frame. See `write(timestamp:bytes:)`.
    public func write(timestamp: UInt64, bytes: [UInt8]) throws(CaptureError) {
        // SAFETY: an octet has no padding, so every one of the span is initialised.
        unsafe try write(timestamp: timestamp, bytes: bytes.span.bytes)
    }

    /// Hands everything to the system and closes the file. A second call does nothing.
    /// - Throws: `unwritable` where not every octet could be written, as on a full disk.
    public func close() throws(CaptureError) {
        guard let dumper = unsafe dumper else { return }
        // SAFETY: the dumper is open, closed once, and not used after.
        let hasFailed = unsafe pcap_dump_flush(dumper) != 0 || ferror(pcap_dump_file(dumper)) != 0
        let code = errno
        unsafe pcap_dump_close(dumper)
        unsafe self.dumper = nil
        if let failure { throw failure }
        if hasFailed { try fail(code) }
    }

    private func fail(_ code: Int32) throws(CaptureError) {
        let error = Self.unwritable(path, code)
        failure = error
        throw error
    }

    private static func unwritable(_ path: String, _ code: Int32) -> CaptureError {
        let hint =
            switch code {
            case ENOENT, ENOTDIR: "create the directory first"
            case EACCES, EPERM, EROFS: "give the user of this process write permission"
            case EISDIR: "name a file, not a directory"
            case ENOSPC, EDQUOT: "make room on the disk"
            default: "check the path and the disk it is on"
            }
        return CaptureError(kind: .unwritable, subject: path, problem: "cannot be written: \(systemText(code))", hint: hint)
    }
}
