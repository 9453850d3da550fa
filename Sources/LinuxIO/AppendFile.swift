// A file that lines are added to, such as the audit file: open from the start, before privileges are given up, and written to at
// its end, wherever that is. Whoever rotates it by copying and cutting it (`copytruncate`) finds each line whole.

import CLinux
import Glibc

public struct AppendFile: ~Copyable, Sendable {
    private let file: OwnedDescriptor
    private let path: String

    /// Opens the file, or creates it with mode 0640. Its last name is no symbolic link.
    public init(path: String) throws(IOError) {
        // SAFETY: the path is copied during the call.
        let opened = try check(unsafe cwl_open_append(path, 0o640), "open it to add lines", path) { code in
            switch code {
            case ENOENT: "its directory does not exist"
            case ELOOP: "it is a symbolic link; name the file itself"
            case ENXIO: "it is a pipe that nobody reads"
            case EACCES, EPERM: "its directory must be writable for whoever starts the gateway"
            default: ""
            }
        }
        file = OwnedDescriptor(opened)
        self.path = path
    }

    /// Adds a line in one write, so that lines of several gateways in one file stay whole. What is cut short, as on a full
    /// disk, is an error.
    public func append(_ line: String) throws(IOError) {
        let bytes = Array((line + "\n").utf8)
        // SAFETY: the octets are the array's.
        let put = unsafe bytes.withUnsafeBytes { unsafe cwl_write(file.raw, $0.baseAddress, $0.count) }
        let count = try check(put, "write", path, advice: IOError.noAdvice)
        if count < bytes.count { throw IOError(operation: "write a whole line", subject: path, code: ENOSPC) }
    }
}
