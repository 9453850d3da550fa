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
        /// It belongs to neither root nor this user; the owner's number.
        case foreignOwner(UInt32)
        /// The directory that it is in, or that a link to it is in, is writable for others, who could put another file there.
        case openDirectory(String)
        /// A directory, a pipe, a device.
        case notRegularFile
        /// It has more octets than the limit.
        case tooLong(limit: Int)
    }

    /// Reads a file whole, at most `limit` octets; the caller wipes them. The file is this user's or root's, and so is whoever may
    /// put another in its place:
    ///
    /// - its mode is 0600 or less. A file of root's may also be open to its group for reading (0640), if it is not root who reads:
    ///   then the group is how it was given to this user;
    /// - not everybody may write to the directory of the path, nor to that of the file if the path is a symbolic link, unless it is
    ///   sticky as /tmp is.
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
        let user = UInt32(truncatingIfNeeded: cwl_user_effective())
        let isGivenByGroup = status.owner == 0 && user != 0
        guard status.permissions & (isGivenByGroup ? 0o037 : 0o077) == 0 else {
            throw .worldReadable(mode: status.permissions)
        }
        guard status.owner == 0 || status.owner == user else { throw .foreignOwner(status.owner) }
        try checkDirectories(of: path)
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

    /// Throws where others may replace what `path` names: in its directory, and in those that symbolic links lead to.
    private static func checkDirectories(of path: String) throws(Problem) {
        for name in [path, resolved(path)] {
            guard let name else { continue }
            let slash = name.lastIndex(of: "/")
            let directory = slash.map { $0 == name.startIndex ? "/" : String(name[..<$0]) } ?? "."
            var status = cwl_file_status()
            // SAFETY: here and below, the path is copied during the call.
            let opened = unsafe cwl_open_directory(directory)
            let looked: Int64
            if opened >= 0 {
                let open = OwnedDescriptor(opened)
                looked = unsafe cwl_status_of_descriptor(open.raw, &status)
            } else {
                // Without the right to list it, it is looked at by its name.
                looked = unsafe cwl_status_of_path(directory, &status)
            }
            if looked < 0 { throw .unreadable(Int32(truncatingIfNeeded: -looked)) }
            let isSticky = status.permissions & 0o1000 != 0
            // A group that is its owner's alone is common, and the file's owner was looked at: only everybody's directories are bad.
            if status.permissions & 0o002 != 0 && !isSticky { throw .openDirectory(directory) }
        }
    }

    /// Where a path leads once its symbolic links are followed.
    private static func resolved(_ path: String) -> String? {
        // SAFETY: the C library allocates the result, which is freed here.
        guard let text = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(text) }
        return unsafe String(cString: text)
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
        if directory >= 0 {
            let open = OwnedDescriptor(directory)
            _ = cwl_fsync(open.raw)
        }
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
