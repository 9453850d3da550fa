// What the tests of LinuxIO share: network namespaces without a name (they go when the test does, however it ends), veth
// pairs in them, frames, and waiting that ends.

import Basics
import Buffers
import CLinux
import Glibc
import Testing

@testable import LinuxIO

/// All tests, one at a time: a process that one test starts holds, for a moment, the descriptors of every other, and
/// umask and the thread's namespace are shared too.
@Suite(.serialized) enum LinuxIOTests {}

/// Namespaces, packet sockets and devices need root.
let isRoot = geteuid() == 0
let canMakeTAP = unsafe isRoot && access("/dev/net/tun", R_OK | W_OK) == 0
let needsRoot: Comment = "needs root for network namespaces"

/// The ethertype of the tests' frames (IEEE 802 local experimental 1).
let experimental: [UInt8] = [0x88, 0xB5]

/// The longest that any wait of a test takes when something is broken.
let patience = Interval.seconds(5)

/// A network namespace without a name, and without IPv6 so that nobody talks in it but the test.
final class Namespace {
    let descriptor: Int32

    init() throws {
        let box = Box<Int64>(-1)
        try LaneThread.start(name: "namespace") {
            box.value = cwl_namespace_create()
            for path in ["/proc/sys/net/ipv6/conf/all/disable_ipv6", "/proc/sys/net/ipv6/conf/default/disable_ipv6"] {
                let file = unsafe open(path, O_WRONLY)
                _ = unsafe write(file, "1", 1)
                close(file)
            }
        }.join()
        try check(box.value, "create", "namespace")
        descriptor = Int32(box.value)
    }

    deinit { close(descriptor) }

    /// Runs `body` on this thread inside the namespace. Sockets and devices made there stay there.
    func inside<R: ~Copyable>(_ body: () throws -> R) throws -> R {
        let home = Int32(try check(cwl_namespace_current(), "find", "namespace"))
        try check(cwl_namespace_enter(descriptor), "enter", "namespace")
        defer {
            precondition(cwl_namespace_enter(home) == 0)
            close(home)
        }
        return try body()
    }

    /// Runs `ip` with these words inside the namespace.
    func ip(_ words: String) throws { try run("ip " + words) }

    func run(_ words: String) throws {
        let status = try inside { spawn(words.split(separator: " ").map(String.init)) }
        try #require(status == 0, "\(words)")
    }

    /// A path that names the namespace to a child process.
    var path: String { "/proc/\(getpid())/fd/\(descriptor)" }

    /// A namespace with the two ends of a cable, both up: lan0 and host0 in `peer`, or here.
    static func withCable(mtu: Int = 1500, peer: Namespace? = nil) throws -> Namespace {
        let namespace = try Namespace()
        try namespace.ip("link add lan0 mtu \(mtu) type veth peer name host0 mtu \(mtu)")
        if let peer { try namespace.ip("link set host0 netns \(peer.path)") }
        try namespace.ip("link set lan0 up")
        try (peer ?? namespace).ip("link set host0 up")
        return namespace
    }
}

/// A value that a thread leaves for whoever joins it.
final class Box<T>: @unchecked Sendable {
    var value: T
    init(_ value: T) { self.value = value }
}

/// Runs a program to its end; its exit status. Its output goes nowhere.
func spawn(_ words: [String]) -> Int32 {
    var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) } + [nil]
    defer { for index in unsafe arguments.indices { unsafe free(arguments[index]) } }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    unsafe posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    var child: pid_t = 0
    guard unsafe posix_spawnp(&child, words[0], &actions, nil, &arguments, environ) == 0 else { return -1 }
    var status: Int32 = 0
    while unsafe waitpid(child, &status, 0) < 0 && errno == EINTR {}
    return status
}

/// True once `descriptor` is readable; false after the tests' patience.
func waitReadable(_ descriptor: Int32, for time: Interval = patience) -> Bool {
    cwl_poll(descriptor, Int16(POLLIN), time.nanoseconds) > 0
}

/// True once `condition` holds, looked at every millisecond; false after the tests' patience.
func eventually(_ condition: () -> Bool) -> Bool {
    let end = MonotonicClock.now() + patience
    while !condition() {
        if MonotonicClock.now() > end { return false }
        usleep(1000)
    }
    return true
}

extension [UInt8] {
    var raw: RawSpan {
        @_lifetime(borrow self)
        // SAFETY: octets have no padding.
        get { unsafe span.bytes }
    }
}

extension RawSpan {
    var array: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }
}

extension MutableRawSpan {
    var array: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }
}

/// A frame that is captured, copied out.
struct Captured: Equatable {
    var bytes: [UInt8]
    var offload: FrameOffload
    var isTruncated: Bool
}

extension PacketPort {
    /// The next frame, waited for; `nil` after the tests' patience.
    mutating func next(for time: Interval = patience) -> Captured? {
        let end = MonotonicClock.now() + time
        while true {
            if advance() {
                let about = (offload, isTruncated)
                return Captured(bytes: frame.array, offload: about.0, isTruncated: about.1)
            }
            let left = end - MonotonicClock.now()
            if left <= .zero { return nil }
            _ = waitReadable(fileDescriptor, for: left)
        }
    }

    /// True when nothing waits and nothing comes for a moment.
    mutating func isQuiet() -> Bool { next(for: .milliseconds(30)) == nil }
}

extension TAPPort {
    mutating func next(for time: Interval = patience) -> [UInt8]? {
        let end = MonotonicClock.now() + time
        while true {
            if advance() { return frame.array }
            let left = end - MonotonicClock.now()
            if left <= .zero { return nil }
            _ = waitReadable(fileDescriptor, for: left)
        }
    }
}

/// A frame of `count` octets with the tests' ethertype (or `header`) and a pattern that depends on `seed`.
func makeFrame(_ count: Int, seed: Int, header: [UInt8] = experimental) -> [UInt8] {
    var frame: [UInt8] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2] + header
    frame.reserveCapacity(count)
    var state = UInt32(truncatingIfNeeded: seed) &* 2_654_435_761 | 1
    while frame.count < count {
        state = state &* 1_664_525 &+ 1_013_904_223
        frame.append(UInt8(truncatingIfNeeded: state >> 24))
    }
    return frame
}

/// An arena with these frames, all for port 3.
func makeArena(_ frames: [[UInt8]]) -> FrameArena {
    var arena = FrameArena(byteCapacity: frames.reduce(64) { $0 + $1.count + 32 }, frameCapacity: frames.count + 1)
    for frame in frames { precondition(arena.append(frame.raw, to: PortSet(testPort))) }
    return arena
}

let testPort = PortIndex(3)

/// Captures only frames with the tests' ethertype: ldh [12]; jeq #0x88b5; ret #262144; ret #0.
let experimentalFilter = [
    FilterInstruction(code: 0x28, jumpTrue: 0, jumpFalse: 0, k: 12),
    FilterInstruction(code: 0x15, jumpTrue: 0, jumpFalse: 1, k: 0x88B5),
    FilterInstruction(code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 262_144),
    FilterInstruction(code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 0),
]

/// The error of a call that must fail.
func errorOf(_ body: () throws -> Void) -> IOError? {
    do {
        try body()
        return nil
    } catch {
        return error as? IOError
    }
}
