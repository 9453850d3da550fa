// Frames from a capture file, pcap or pcapng, in the file's order. libpcap reads the formats; what is added is what a
// replay needs on top: timestamps that no file can push out of range, every record whole (see CaptureStream), and errors
// that name the file and the frame.

import Basics
import CPcap
import Glibc

/// One record of a capture file.
public struct CapturedFrame: Hashable, Sendable {
    /// Nanoseconds since 1970, at most `CaptureReader.latestTimestamp`; 0 for records that carry none.
    public let timestamp: UInt64
    /// The octets in the file, from the Ethernet header on, at most `CaptureReader.longestFrame`; may be none.
    public let bytes: [UInt8]
    /// Octets that were on the wire, as the file says. A damaged file may say less than there are.
    public let originalLength: Int
    /// The frame's place in the file, from 1.
    public let number: Int

    /// True when the capturing program kept only the beginning.
    public var isTruncated: Bool { bytes.count < originalLength }

    public init(timestamp: UInt64, bytes: [UInt8], originalLength: Int, number: Int) {
        self.timestamp = timestamp
        self.bytes = bytes
        self.originalLength = originalLength
        self.number = number
    }
}

/// Reads one capture file from beginning to end; any precision and byte order, Ethernet only.
///
/// Timestamps are as in the file, which may step back; only their range is guaranteed. A pcap file's seconds count as
/// unsigned (1970 to 2106), a fraction of a second out of range counts as 999,999,999 ns, seconds before 1970 as 0.
public final class CaptureReader {
    /// Octets of the longest record that libpcap reads for Ethernet.
    public static let longestFrame = 262_144
    /// Timestamps from here on (the year 2116) are this one.
    public static let latestTimestamp: UInt64 = 1 << 62

    public let path: String
    private let handle: PcapHandle
    private let isPcapng: Bool
    private var count = 0
    private var end: End?

    /// Why there is nothing more to read.
    private enum End {
        case ofFile
        case error(CaptureError)
    }

    /// Opens a capture file.
    /// - Throws: `unreadable`, `notACapture` or `linkType`, naming the file.
    public init(path: String) throws(CaptureError) {
        let stream = try CaptureStream(path: path)
        guard let file = unsafe stream.makeFile() else {
            throw CaptureError(
                kind: .unreadable, subject: path, problem: "cannot be read: \(systemText(ENOMEM))", hint: "free some memory")
        }
        let (pointer, text) = unsafe withErrorBuffer { buffer in
            // SAFETY: on success libpcap owns the stream; on failure it is closed below.
            unsafe pcap_fopen_offline_with_tstamp_precision(file, UInt32(PCAP_TSTAMP_PRECISION_NANO), buffer)
        }
        guard let pointer = unsafe pointer else {
            // SAFETY: libpcap leaves a stream that it refuses to its caller.
            unsafe fclose(file)
            throw CaptureError(
                kind: .notACapture, subject: path, problem: "not a capture that can be read: \(text)",
                hint: "only pcap 2.x and pcapng 1.x; \"editcap -F pcap \(path) NEW\" converts what Wireshark can read")
        }
        handle = unsafe PcapHandle(owning: pointer)
        isPcapng = stream.isPcapng
        self.path = path
        guard handle.isEthernet else {
            throw CaptureError(
                kind: .linkType, subject: path, problem: "the link type is \(handle.linkTypeName), not Ethernet",
                hint: "only Ethernet captures can be replayed")
        }
    }

    /// The next frame, or `nil` at the end of the file.
    /// - Throws: `damaged` or `linkType` naming the file and the frame, when that one cannot be read; then again for each
    ///   further call. The frames before it have been returned.
    public func next() throws(CaptureError) -> CapturedFrame? {
        switch end {
        case .ofFile: return nil
        case .error(let error): throw error
        case nil: break
        }
        var header: UnsafeMutablePointer<pcap_pkthdr>?
        var data: UnsafePointer<UInt8>?
        // SAFETY: the handle is open; both results are libpcap's and live until the next call on the handle.
        let status = unsafe pcap_next_ex(handle.pointer, &header, &data)
        if status == PCAP_ERROR_BREAK {
            end = .ofFile
            return nil
        }
        guard status == 1, let header = unsafe header?.pointee else {
            let error = readError()
            end = .error(error)
            throw error
        }
        count += 1
        // SAFETY: libpcap holds `caplen` octets at `data` for a record that it returned.
        let bytes = unsafe [UInt8](UnsafeBufferPointer(start: data, count: Int(header.caplen)))
        return CapturedFrame(
            timestamp: Self.timestamp(seconds: header.ts.tv_sec, nanoseconds: header.ts.tv_usec, isPcapng: isPcapng),
            bytes: bytes, originalLength: Int(header.len), number: count)
    }

    private func readError() -> CaptureError {
        let text = handle.errorText
        // A pcapng file's interfaces may differ, and libpcap finds out where the second one is described.
        if text.contains("different from the type of the first interface") {
            return CaptureError(
                kind: .linkType, subject: path, frame: count + 1, problem: "not all interfaces are Ethernet: \(text)",
                hint: "only Ethernet captures can be replayed; \"tshark -r \(path) -Y 'frame.interface_id == 0' -F pcap -w NEW\" "
                    + "keeps one interface")
        }
        let hint =
            switch count {
            case 0: "there is no sound frame before it"
            case 1: "frame 1 is sound; \"editcap -r \(path) NEW 1\" keeps it"
            default: "frames 1 to \(count) are sound; \"editcap -r \(path) NEW 1-\(count)\" keeps them"
            }
        return CaptureError(
            kind: .damaged, subject: path, frame: count + 1, problem: "the file is damaged from here on: \(text)", hint: hint)
    }

    /// Libpcap's two numbers as nanoseconds since 1970. For pcap files it extends the sign of the 32-bit seconds (for one
    /// byte order), and multiplies whatever is in the file's fraction.
    static func timestamp(seconds: Int, nanoseconds: Int, isPcapng: Bool) -> UInt64 {
        let whole = isPcapng ? UInt64(max(seconds, 0)) : UInt64(UInt32(truncatingIfNeeded: seconds))
        if isPcapng && seconds < 0 { return 0 }
        let fraction = (0...999_999_999).contains(nanoseconds) ? UInt64(nanoseconds) : 999_999_999
        let (product, overflow) = whole.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow || product >= latestTimestamp { return latestTimestamp }
        return min(product + fraction, latestTimestamp)
    }
}
