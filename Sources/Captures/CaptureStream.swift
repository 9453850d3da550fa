// A capture file as libpcap gets to read it: octet for octet, except that every snapshot length says "no limit".
//
// A snapshot length in a header is what the capturing program was told, not what the records hold. libpcap believes it
// and (1.10) cuts longer records of a pcap file down to it, refuses longer ones of a pcapng file, and refuses a
// pcapng file whose interfaces have different ones. A replay needs the frames that are in the file. Zero is the
// formats' own way to say "no limit", so the field is zeroed on the way; it is at a fixed place in both, and zero reads
// the same in both byte orders. Nothing else is interpreted: what the blocks mean, and whether they are sound, is libpcap's.
//
//     pcap header      magic(4) version(4) zone(4) figures(4) SNAPLEN(4) link(4)
//     pcapng block     type(4) length(4) body... length(4)
//       section        0a0d0d0a length(4) byte order(4)...
//       interface      00000001 length(4) link(2) reserved(2) SNAPLEN(4)...

import CPcap
import Glibc

/// Reads one file for libpcap, through stdio's custom streams (fopencookie).
final class CaptureStream {
    /// True for the formats of tcpdump, whose seconds are 32 bits wide.
    private(set) var isPcapng = false

    private let descriptor: Int32
    /// Octets read from the file: those in `start..<end` are still to be delivered.
    private var buffer = [UInt8](repeating: 0, count: 65_536)
    private var start = 0
    private var end = 0
    /// Octets of the current block that are still to be delivered; a pcap file's body is one endless block.
    private var blockRemainder = 0
    private var isBigEndian = false
    private var isAtBeginning = true

    /// What must be seen of a block at once: its type, its length, and the field that is changed.
    private static let peekLength = 20
    private static let sectionType: [UInt8] = [0x0A, 0x0D, 0x0D, 0x0A]

    /// Opens the file and reads its beginning.
    /// - Throws: `unreadable`, or `notACapture` for an empty file.
    init(path: String) throws(CaptureError) {
        // SAFETY: open reads a terminated string that lives during the call.
        descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        let opened = errno
        guard descriptor >= 0 else { throw Self.unreadable(path, opened) }
        guard let count = fill(to: Self.peekLength) else { throw Self.unreadable(path, errno) }
        if count == 0 {
            throw CaptureError(
                kind: .notACapture, subject: path, problem: "the file is empty", hint: "name a pcap or pcapng file")
        }
        isPcapng = buffer[..<end].starts(with: Self.sectionType)
    }

    deinit { close(descriptor) }

    /// A stdio stream over self, to be closed by whoever gets it; `nil` where memory is exhausted.
    func makeFile() -> UnsafeMutablePointer<FILE>? {
        let functions = unsafe cpcap_stream_functions(
            read: { cookie, destination, count in
                // SAFETY: the cookie is the retained stream below, and stdio lends `count` octets during the call.
                unsafe Unmanaged<CaptureStream>.fromOpaque(cookie.unsafelyUnwrapped).takeUnretainedValue()
                    .read(into: UnsafeMutableRawBufferPointer(start: destination, count: count))
            },
            write: nil, seek: nil,
            close: { cookie in
                // SAFETY: balances the retain below; stdio calls this once.
                unsafe Unmanaged<CaptureStream>.fromOpaque(cookie.unsafelyUnwrapped).release()
                return 0
            })
        let cookie = unsafe Unmanaged.passRetained(self)
        // SAFETY: the functions are static, and the cookie stays retained until the close function runs.
        guard let file = unsafe cpcap_open_stream(cookie.toOpaque(), "rb", functions) else {
            unsafe cookie.release()
            return nil
        }
        return unsafe file
    }

    /// Delivers up to `destination.count` octets; 0 at the end, -1 with `errno` set when the file cannot be read.
    private func read(into destination: UnsafeMutableRawBufferPointer) -> Int {
        var delivered = 0
        while delivered < destination.count {
            if blockRemainder == 0 && !beginBlock() { return delivered > 0 ? delivered : -1 }
            if start == end {
                guard let count = fill(to: 1) else { return delivered > 0 ? delivered : -1 }
                if count == 0 { break }
            }
            let count = min(destination.count - delivered, end - start, blockRemainder)
            // SAFETY: `count` is within both, as computed above.
            unsafe buffer.withUnsafeBytes { source in
                unsafe destination[delivered...].copyBytes(from: source[start..<start + count])
            }
            start += count
            delivered += count
            blockRemainder -= count
        }
        return delivered
    }

    /// Zeroes the snapshot length of the header or block that begins at `start`, and finds where it ends.
    private func beginBlock() -> Bool {
        guard let count = fill(to: Self.peekLength) else { return false }
        // A block that is cut short or has an impossible length is the last one looked at: libpcap has words for it.
        blockRemainder = Int.max
        if isPcapng {
            guard count >= 16 else { return true }
            if buffer[start..<start + 4].elementsEqual(Self.sectionType) { isBigEndian = buffer[start + 8] == 0x1A }
            if word(at: 0) == 1 { clear(at: 12) }
            if word(at: 4) >= 12 && word(at: 4) % 4 == 0 { blockRemainder = Int(word(at: 4)) }
        } else if isAtBeginning && count >= 20 {
            clear(at: 16)
        }
        isAtBeginning = false
        return true
    }

    private func clear(at offset: Int) {
        for index in start + offset..<start + offset + 4 { buffer[index] = 0 }
    }

    private func word(at offset: Int) -> UInt32 {
        let octets = buffer[start + offset..<start + offset + 4]
        let value = octets.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return isBigEndian ? value : value.byteSwapped
    }

    /// Reads until `wanted` octets are to be delivered or the file ends; returns how many there are, `nil` for an error.
    /// Precondition: at most `peekLength`.
    private func fill(to wanted: Int) -> Int? {
        if end - start >= wanted { return end - start }
        // What is left is shorter than a peek.
        for index in start..<end { buffer[index - start] = buffer[index] }
        end -= start
        start = 0
        while end < wanted {
            // SAFETY: read writes at most as many octets as there are behind `end`.
            let status = unsafe buffer.withUnsafeMutableBytes { space in
                unsafe Glibc.read(descriptor, space.baseAddress.unsafelyUnwrapped + end, space.count - end)
            }
            if status < 0 && errno == EINTR { continue }
            if status < 0 { return nil }
            if status == 0 { break }
            end += status
        }
        return end - start
    }

    private static func unreadable(_ path: String, _ code: Int32) -> CaptureError {
        let hint =
            switch code {
            case ENOENT, ENOTDIR: "check the path"
            case EACCES, EPERM: "give the user of this process read permission"
            case EISDIR: "name a file in it"
            default: "check the file and the disk it is on"
            }
        return CaptureError(kind: .unreadable, subject: path, problem: "cannot be read: \(systemText(code))", hint: hint)
    }
}
