// A small file of the gateway's own that stays open: it is written after privileges were given up, where its path may be out of
// reach. Only its owner may read it.

import CLinux
import Glibc

public struct StateFile: Sendable {
    private let path: String
    private let file: SharedDescriptor
    private static let limit = 16 << 20

    private final class SharedDescriptor: Sendable {
        let descriptor: Int32
        init(_ descriptor: Int32) { self.descriptor = descriptor }
        deinit { close(descriptor) }
    }

    /// Opens it for reading and writing; it is made, and its directory, where they are not there.
    public init(path: String) throws(IOError) {
        self.path = path
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            // SAFETY: a path with its end.
            _ = unsafe mkdir(String(path[..<slash]), 0o700)
        }
        // SAFETY: the same.
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw IOError(operation: "open", subject: path, code: errno) }
        file = SharedDescriptor(descriptor)
    }

    /// What it holds; nothing where it cannot be read, or is far too long.
    public func read() -> [UInt8] {
        var status = stat()
        // SAFETY: the structure outlives the call.
        guard unsafe fstat(file.descriptor, &status) == 0, status.st_size > 0, status.st_size <= StateFile.limit else {
            return []
        }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var done = 0
        while done < bytes.count {
            let room = bytes.count - done
            // SAFETY: `room` octets from `done` on are the array's.
            let count = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe pread(file.descriptor, buffer.baseAddress.unsafelyUnwrapped + done, room, off_t(done))
            }
            if count <= 0 { return [] }
            done += count
        }
        return bytes
    }

    /// Replaces what it holds, and waits until it is on the disk.
    public func write(_ bytes: [UInt8]) throws(IOError) {
        guard ftruncate(file.descriptor, 0) == 0 else { throw IOError(operation: "shorten", subject: path, code: errno) }
        var done = 0
        while done < bytes.count {
            let room = bytes.count - done
            // SAFETY: `room` octets from `done` on are the array's.
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe pwrite(file.descriptor, buffer.baseAddress.unsafelyUnwrapped + done, room, off_t(done))
            }
            guard count > 0 else { throw IOError(operation: "write", subject: path, code: errno) }
            done += count
        }
        guard fdatasync(file.descriptor) == 0 else { throw IOError(operation: "flush", subject: path, code: errno) }
    }
}

/// The octets of a file that the operator named, at most `limit` of them.
public func readWhole(_ path: String, limit: Int) throws(IOError) -> [UInt8] {
    // SAFETY: a path with its end.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw IOError(operation: "read", subject: path, code: errno) }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: limit)
    // SAFETY: the array holds `limit` octets.
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, limit) }
    guard count >= 0 else { throw IOError(operation: "read", subject: path, code: errno) }
    return Array(bytes.prefix(count))
}

/// Two such files that are written in turn, `.0` and `.1` behind one name, so that one is whole whatever happens while the other is
/// written. Who reads them tells by their contents which is the newer and whether it is whole.
public struct StateFilePair: Sendable {
    private let files: [StateFile]

    public init(path: String) throws(IOError) { files = [try StateFile(path: "\(path).0"), try StateFile(path: "\(path).1")] }

    public func read() -> [[UInt8]] { files.map { $0.read() } }

    /// - Parameter turn: one more each time, and for the first time one more than that of the newer of what `read` gave.
    public func write(_ bytes: [UInt8], turn: UInt64) throws(IOError) { try files[Int(turn & 1)].write(bytes) }
}
