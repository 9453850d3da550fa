// The socket that an operator's commands talk to a running gateway through: a unix stream socket that only its owner may
// open.

import Basics
import CLinux
import Glibc

/// Listens at a path. The socket has its mode from the moment it exists, and is removed at the end of this value's life, as far as
/// the user who runs the gateway then may.
public struct LocalListener: ~Copyable {
    /// Connections that may wait to be accepted.
    private static let backlog: Int32 = 16

    public let path: String
    private let socket: OwnedDescriptor
    /// What we made at `path`: something else there later is not ours to remove.
    private let identity: cwl_file_status
    /// Whether the socket's directory was not there.
    private let hasMadeDirectory: Bool

    /// Binds and listens. A missing parent directory is created with mode 0755; a socket that a dead process left is
    /// replaced; one that answers is an error, and so is anything else at `path`.
    /// - Parameter forGroup: whether the socket's group may connect too: mode 0660 instead of 0600.
    public init(path: String, forGroup: Bool = false) throws(IOError) {
        try LocalSocketPath.check(path)
        let hasMadeDirectory = try LocalSocketPath.makeParent(path)
        let mode: mode_t = forGroup ? 0o660 : 0o600
        let socket = OwnedDescriptor(try IOCheck.open(path))
        // SAFETY: here and below, the path is copied during the call.
        var result = unsafe cwl_unix_bind(socket.raw, path, mode)
        if result == -Int64(EADDRINUSE) {
            try LocalListener.removeStale(path)
            result = unsafe cwl_unix_bind(socket.raw, path, mode)
        }
        try check(result, "bind the local socket", path) { code in
            switch code {
            case EADDRINUSE: "another gateway uses it"
            case EACCES, EPERM: "the directory must be writable for this user"
            case EROFS: "the file system is read-only"
            default: ""
            }
        }
        var identity = cwl_file_status()
        try check(unsafe cwl_status_of_path(path, &identity), "look at the local socket", path, advice: IOError.noAdvice)
        try check(cwl_unix_listen(socket.raw, LocalListener.backlog), "listen", path, advice: IOError.noAdvice)
        self.path = path
        self.socket = socket
        self.identity = identity
        self.hasMadeDirectory = hasMadeDirectory
    }

    deinit {
        var found = cwl_file_status()
        if unsafe cwl_status_of_path(path, &found) == 0, found.device == identity.device, found.inode == identity.inode {
            _ = unsafe cwl_unlink(path)
        }
    }

    /// Makes the socket another user's, and the directory if it was made for it: so that this user can remove it.
    public func give(to account: Account) throws(IOError) {
        var known = identity
        // SAFETY: here and below, the path and what is known of it are read during the call.
        try check(
            unsafe cwl_give_path(path, &known, account.user, account.group), "give the local socket to \(account)", path,
            advice: Account.advice)
        guard hasMadeDirectory, let parent = LocalSocketPath.parent(path) else { return }
        guard unsafe cwl_status_of_path(parent, &known) == 0 else { return }
        _ = unsafe cwl_give_path(parent, &known, account.user, account.group)
    }

    /// Readable when a connection waits.
    public var fileDescriptor: Int32 { socket.raw }

    /// The next connection that waits; `nil` when none does.
    public func accept() -> LocalConnection? {
        // ECONNABORTED and the like: that client is gone, the next may be there.
        for _ in 0..<4 {
            let result = cwl_accept(socket.raw)
            if result >= 0 { return LocalConnection(OwnedDescriptor(result), path: path) }
            if result == -Int64(EAGAIN) { return nil }
        }
        return nil
    }

    /// Removes a socket that nobody listens at.
    private static func removeStale(_ path: String) throws(IOError) {
        var found = cwl_file_status()
        let status = unsafe cwl_status_of_path(path, &found)
        if status == -Int64(ENOENT) { return }
        guard status == 0, found.is_socket != 0 else {
            throw IOError(
                operation: "bind the local socket", subject: path, code: EADDRINUSE,
                advice: "there is something at this path that is not a socket; remove it or choose another path")
        }
        let probe = OwnedDescriptor(try IOCheck.open(path))
        let outcome = unsafe cwl_unix_connect(probe.raw, path)
        guard outcome == -Int64(ECONNREFUSED) else {
            throw IOError(
                operation: "bind the local socket", subject: path, code: EADDRINUSE, advice: "another gateway uses it")
        }
        try check(unsafe cwl_unlink(path), "remove the stale local socket", path, advice: IOError.noAdvice)
    }
}

/// One connection, on either side. Reading and writing never block; wait with `waitReadable` or a `Poller`.
public struct LocalConnection: ~Copyable {
    /// What a read gives.
    public enum Input: Equatable, Sendable {
        /// At least one octet.
        case bytes([UInt8])
        case nothingYet
        /// The other side has finished, or is gone.
        case closed
    }

    private let socket: OwnedDescriptor
    private let path: String

    init(_ socket: consuming OwnedDescriptor, path: String) {
        self.socket = socket
        self.path = path
    }

    /// Connects to a listener; waits up to `timeout` while its queue is full.
    public static func connect(path: String, timeout: Interval) throws(IOError) -> LocalConnection {
        try LocalSocketPath.check(path)
        let socket = OwnedDescriptor(try check(cwl_unix_open(0), "open a local socket", path, advice: IOError.noAdvice))
        try check(
            cwl_set_send_timeout(socket.raw, max(timeout.nanoseconds, 1_000_000)), "set a timeout", path,
            advice: IOError.noAdvice)
        // SAFETY: the path is copied during the call.
        try check(unsafe cwl_unix_connect(socket.raw, path), "connect", path) { code in
            switch code {
            case ENOENT: "no gateway runs with this control socket"
            case ECONNREFUSED: "the gateway that made this socket is not running any more"
            case EACCES, EPERM: "only root, the user who runs the gateway, and the members of its group, where one is set, may"
            case EAGAIN: "the gateway does not answer"
            default: ""
            }
        }
        try check(cwl_set_non_blocking(socket.raw), "stop blocking", path, advice: IOError.noAdvice)
        return LocalConnection(socket, path: path)
    }

    public var fileDescriptor: Int32 { socket.raw }

    /// Reads what is there, at most `limit` octets.
    public func read(limit: Int = 65536) throws(IOError) -> Input {
        var bytes = [UInt8](repeating: 0, count: max(limit, 1))
        // SAFETY: the room is the array's own.
        let outcome = unsafe bytes.withUnsafeMutableBytes { room in
            unsafe cwl_stream_receive(socket.raw, room.baseAddress, room.count)
        }
        if outcome == 0 || outcome == -Int64(ECONNRESET) { return .closed }
        if outcome == -Int64(EAGAIN) || outcome == -Int64(EINTR) { return .nothingYet }
        try check(outcome, "read", path, advice: IOError.noAdvice)
        bytes.removeLast(bytes.count - Int(outcome))
        return .bytes(bytes)
    }

    /// Writes what the other side has room for; how many octets. 0 when there is none.
    public func write(_ bytes: some Collection<UInt8>) throws(IOError) -> Int {
        let octets = ContiguousArray(bytes)
        if octets.isEmpty { return 0 }
        // SAFETY: the array lives during the call.
        let outcome = unsafe octets.withUnsafeBytes { unsafe cwl_stream_send(socket.raw, $0.baseAddress, $0.count) }
        if outcome == -Int64(EAGAIN) || outcome == -Int64(EINTR) { return 0 }
        return Int(
            try check(outcome, "write", path) { code in
                code == EPIPE || code == ECONNRESET ? "the other side has closed the connection" : ""
            })
    }

    /// Waits until there is something to read, or the other side is gone; false when `timeout` is over first.
    public func waitReadable(timeout: Interval) -> Bool {
        cwl_poll(socket.raw, Int16(POLLIN), max(timeout.nanoseconds, 0)) > 0
    }

    /// Waits until something can be written, or the other side is gone; false when `timeout` is over first.
    public func waitWritable(timeout: Interval) -> Bool {
        cwl_poll(socket.raw, Int16(POLLOUT), max(timeout.nanoseconds, 0)) > 0
    }
}

private enum IOCheck {
    static func open(_ path: String) throws(IOError) -> Int64 {
        try check(cwl_unix_open(1), "open a local socket", path, advice: IOError.noAdvice)
    }
}

/// The rules for paths of unix sockets.
private enum LocalSocketPath {
    static func check(_ path: String) throws(IOError) {
        let limit = cwl_unix_path_limit()
        if path.isEmpty || path.utf8.contains(0) {
            throw IOError(operation: "use the local socket", subject: path, code: 0, advice: "this is not a path")
        }
        if path.utf8.count > limit {
            throw IOError(
                operation: "use the local socket", subject: path, code: 0,
                advice: "a socket's path has at most \(limit) octets, this one has \(path.utf8.count)")
        }
    }

    static func parent(_ path: String) -> String? {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return nil }
        return String(path[..<slash])
    }

    /// Whether it was not there.
    static func makeParent(_ path: String) throws(IOError) -> Bool {
        guard let parent = parent(path) else { return false }
        // SAFETY: the path is copied during the call.
        let result = unsafe cwl_mkdir(parent, 0o755)
        if result == -Int64(EEXIST) { return false }
        try LinuxIO.check(result, "create the directory of the local socket", parent) { code in
            switch code {
            case ENOENT: "its parent directory does not exist either"
            case EACCES, EPERM: "create it, or run as root"
            default: ""
            }
        }
        return true
    }
}
