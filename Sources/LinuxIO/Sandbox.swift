// What a gateway can reach once it runs, whoever has taken control of it: few files (Landlock), and no system call that it never
// makes (seccomp). Both are the kernel's, both are for good, and a kernel that lacks one of them leaves the other.

import CLinux
import Glibc

/// The sandbox, as far as the kernel has it.
public struct Sandbox: Hashable, Sendable {
    /// The version of Landlock's interface that is in force.
    public private(set) var landlock: Int?
    public private(set) var hasSeccomp = false
    /// What the kernel does not offer, or refused; a sentence each.
    public private(set) var problems: [String] = []

    /// No sandbox.
    public init() {}

    /// What may be done at a path and below.
    private enum Access {
        static let read = Int32(CWL_ALLOW_READ)
        static let list = Int32(CWL_ALLOW_LIST)
        static let write = Int32(CWL_ALLOW_WRITE)
        static let remove = Int32(CWL_ALLOW_REMOVE)
    }

    /// What is read after the start, all of it for looking names up or by the C library and libpcap. Directories and not files,
    /// where a file is replaced when it changes.
    private static let paths: [(path: String, what: Int32)] = [
        ("/etc", Access.read),  // resolv.conf, hosts, nsswitch.conf, gai.conf, services
        ("/run/systemd/resolve", Access.read), ("/run/resolvconf", Access.read), ("/run/NetworkManager", Access.read),
        ("/usr/lib", Access.read | Access.list), ("/lib", Access.read | Access.list), ("/lib64", Access.read | Access.list),
        ("/usr/share/zoneinfo", Access.read),
        ("/sys/class/net", Access.read | Access.list), ("/sys/devices", Access.read | Access.list),  // libpcap's counters
        // All of it: a rule belongs to an inode, and the kernel makes those of a process's own folder anew whenever it likes.
        // libdispatch ends the process when it cannot look at its threads there.
        ("/proc", Access.read | Access.list),
        ("/dev/null", Access.read | Access.write), ("/dev/urandom", Access.read),
    ]

    /// Enters the sandbox. `Privileges.drop` comes before.
    /// - Parameter socket: the path of the control socket, which is removed at the end.
    public static func enter(socket: String) -> Sandbox {
        var sandbox = Sandbox()
        do throws(IOError) {
            sandbox.landlock = try limitFiles(socket)
        } catch {
            sandbox.problems.append("files are not restricted: \(error)")
        }
        do throws(IOError) {
            try check(cwl_seccomp_enforce(), "enforce a filter of system calls", "seccomp") { code in
                code == ENOSYS || code == EINVAL ? "this kernel or processor does not have it" : ""
            }
            sandbox.hasSeccomp = cwl_seccomp_mode() == 2
        } catch {
            sandbox.problems.append("system calls are not restricted: \(error)")
        }
        return sandbox
    }

    private static func limitFiles(_ socket: String) throws(IOError) -> Int {
        let version = try check(cwl_landlock_version(), "restrict files", "Landlock") { code in
            code == ENOSYS || code == EOPNOTSUPP ? "this kernel does not have it" : ""
        }
        let rules = OwnedDescriptor(try check(cwl_landlock_create(version), "make rules", "Landlock"))
        for (path, what) in paths { try allow(path, what, rules, version) }
        let slash = socket.lastIndex(of: "/")
        let directory = slash.map { $0 == socket.startIndex ? "/" : String(socket[..<$0]) } ?? "."
        try allow(directory, Access.remove, rules, version)
        try check(cwl_landlock_enforce(rules.raw), "enforce the rules", "Landlock", advice: IOError.noAdvice)
        return Int(version)
    }

    private static func allow(
        _ path: String, _ what: Int32, _ rules: borrowing OwnedDescriptor, _ version: Int64
    ) throws(IOError) {
        // SAFETY: the path is copied during the call.
        let result = unsafe cwl_landlock_allow(rules.raw, version, path, what)
        // What is not there, or not to be reached by this user, need not be allowed.
        if result == -Int64(ENOENT) || result == -Int64(EACCES) { return }
        try check(result, "allow a path", path, advice: IOError.noAdvice)
    }
}
