// Files that hold secrets: read only if nobody else may read them, written once and never over another file.

import CLinux
import Glibc

/// Key files.
public enum PrivateFile {
    /// Why a secret is not taken from a file.
    public enum Problem: Error, Hashable, Sendable {
        case missing
        /// The errno.
        case unreadable(Int32)
        /// Group or others may read or change it; its permission bits, such as 0o644.
        case worldReadable(mode: UInt32)
        /// A directory, a pipe, a device.
        case notRegularFile
        /// It has more octets than the limit.
        case tooLong(limit: Int)
    }

    /// Reads a file whole, at most `limit` octets.
    public static func read(path: String, limit: Int) throws(Problem) -> [UInt8] {
        // SAFETY: the path is copied during the call.
        let opened = unsafe cwl_open_read(path)
        if opened == -Int64(ENOENT) || opened == -Int64(ENOTDIR) { throw .missing }
        if opened < 0 { throw .unreadable(Int32(truncatingIfNeeded: -opened)) }
        let file = OwnedDescriptor(opened)
        var status = cwl_file_status()
        let looked = unsafe cwl_status_of_descriptor(file.raw, &status)
        if looked < 0 { throw .unreadable(Int32(truncatingIfNeeded: -looked)) }
        guard status.is_regular != 0 else { throw .notRegularFile }
        guard status.permissions & 0o077 == 0 else { throw .worldReadable(mode: status.permissions) }
        guard status.size <= Int64(limit) else { throw .tooLong(limit: limit) }

        var bytes = [UInt8](repeating: 0, count: limit + 1)
        var count = 0
        while count < bytes.count {
            // SAFETY: the room is the rest of the array.
            let got = unsafe bytes.withUnsafeMutableBytes { room in
                unsafe cwl_read(file.raw, room.baseAddress.map { unsafe $0 + count }, room.count - count)
            }
            if got == -Int64(EINTR) { continue }
            if got < 0 { throw .unreadable(Int32(truncatingIfNeeded: -got)) }
            if got == 0 { break }
            count += Int(got)
        }
        guard count <= limit else { throw .tooLong(limit: limit) }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// Creates a file with mode 0600 and these octets, on the disk when this returns. A file that exists is never touched.
    public static func create(path: String, _ bytes: [UInt8]) throws(IOError) {
        // SAFETY: here and below, the path is copied during the call.
        let opened = try check(unsafe cwl_create_exclusive(path, 0o600), "create the file", path) { code in
            switch code {
            case EEXIST: "it is never overwritten; choose another name, or remove it if it is not needed"
            case ENOENT: "its directory does not exist"
            case EACCES, EPERM: "its directory must be writable for this user"
            default: ""
            }
        }
        let file = OwnedDescriptor(opened)
        do {
            try write(bytes, to: file.raw, path)
            try check(cwl_fsync(file.raw), "write to the disk", path, advice: IOError.noAdvice)
        } catch {
            _ = unsafe cwl_unlink(path)
            throw error
        }
        // The name is on the disk only when the directory is. Some file systems cannot be asked for that.
        let slash = path.lastIndex(of: "/")
        let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let directory = unsafe cwl_open_directory(parent)
        if directory >= 0 { _ = cwl_fsync(OwnedDescriptor(directory).raw) }
    }

    private static func write(_ bytes: [UInt8], to file: Int32, _ path: String) throws(IOError) {
        var count = 0
        while count < bytes.count {
            // SAFETY: the octets are the rest of the array.
            let put = unsafe bytes.withUnsafeBytes { octets in
                unsafe cwl_write(file, octets.baseAddress.map { unsafe $0 + count }, octets.count - count)
            }
            if put == -Int64(EINTR) { continue }
            count += Int(try check(put, "write", path, advice: IOError.noAdvice))
        }
    }
}
