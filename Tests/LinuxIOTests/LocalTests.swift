// Everything that needs no privilege: the local socket, key files, names, waiting, threads, clocks.

import Basics
import CLinux
import Glibc
import Testing

@testable import LinuxIO

/// A directory that is removed with all that is in it.
private final class Directory {
    let path: String

    init() throws {
        var name = Array("/tmp/cwio-XXXXXX".utf8CString)
        let made = unsafe name.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress.unsafelyUnwrapped) != nil }
        try #require(made)
        path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { _ = spawn(["rm", "-rf", path]) }

    func mode(_ name: String) -> UInt32? {
        var status = cwl_file_status()
        return unsafe cwl_status_of_path(path + "/" + name, &status) == 0 ? status.permissions : nil
    }
}

extension LinuxIOTests {
    struct LocalSocketTests {
        @Test func requestAndReply() throws {
            let directory = try Directory()
            let path = directory.path + "/run/causeway.sock"
            do {
                let mask = umask(0)
                defer { umask(mask) }
                let listener = try LocalListener(path: path)
                #expect(directory.mode("run") == 0o755)
                #expect(directory.mode("run/causeway.sock") == 0o600)
                let none = listener.accept() != nil
                #expect(!none)

                let client = try LocalConnection.connect(path: path, timeout: .seconds(1))
                #expect(waitReadable(listener.fileDescriptor))
                guard let server = listener.accept() else {
                    Issue.record("no connection")
                    return
                }
                let early = try server.read()
                #expect(early == .nothingYet)
                let wrote = try client.write(Array("status\n".utf8))
                #expect(wrote == 7)
                #expect(server.waitReadable(timeout: patience) == true)
                let request = try server.read()
                #expect(request == .bytes(Array("status\n".utf8)))

                // A reply that is larger than what the socket holds goes in parts.
                let reply = makeFrame(1 << 20, seed: 1)
                var written = 0
                var read: [UInt8] = []
                while read.count < reply.count {
                    let count = try server.write(reply[written...])
                    written += count
                    guard client.waitReadable(timeout: patience), case .bytes(let bytes) = try client.read() else { break }
                    read += bytes
                }
                #expect(read == reply)
                #expect(server.waitWritable(timeout: patience) == true)
                try hangUp(client)
                #expect(server.waitReadable(timeout: patience) == true)
                let end = try server.read()
                #expect(end == .closed)
                let broken = errorOf { _ = try server.write([1]) }
                #expect(broken?.code == EPIPE)
            }
            #expect(directory.mode("run/causeway.sock") == nil)
        }

        private func hangUp(_ connection: consuming LocalConnection) throws {}

        @Test func aLiveSocketIsRefusedAndAStaleOneReplaced() throws {
            let directory = try Directory()
            let path = directory.path + "/socket"
            let live = try LocalListener(path: path)
            let error = errorOf { _ = try LocalListener(path: path) }
            #expect(error?.advice == "another gateway uses it")
            let hadProbe = live.accept() != nil
            #expect(hadProbe)
            _ = consume live

            // What a process that was killed leaves behind.
            let dead = OwnedDescriptor(cwl_unix_open(0))
            #expect(unsafe cwl_unix_bind(dead.raw, path, 0o600) == 0)
            let refused = errorOf { _ = try LocalConnection.connect(path: path, timeout: .seconds(1)) }
            #expect(refused?.code == ECONNREFUSED)
            let next = try LocalListener(path: path)
            let client = try LocalConnection.connect(path: path, timeout: .seconds(1))
            let accepted = next.accept() != nil
            #expect(client.fileDescriptor >= 0 && accepted)
        }

        @Test func otherFilesAreNeverRemoved() throws {
            let directory = try Directory()
            let path = directory.path + "/file"
            try PrivateFile.create(path: path, [1, 2, 3])
            let error = errorOf { _ = try LocalListener(path: path) }
            #expect(error?.advice.contains("not a socket") == true)
            #expect(directory.mode("file") != nil)
            // A listener whose socket was replaced leaves the replacement alone.
            do {
                let first = try LocalListener(path: directory.path + "/socket")
                _ = unsafe cwl_unlink(directory.path + "/socket")
                try PrivateFile.create(path: directory.path + "/socket", [])
                #expect(first.fileDescriptor >= 0)
            }
            #expect(directory.mode("socket") != nil)
        }

        @Test func impossiblePathsGiveClearErrors() throws {
            let long = errorOf { _ = try LocalListener(path: "/tmp/" + String(repeating: "x", count: 103)) }
            #expect(long?.advice == "a socket's path has at most 107 octets, this one has 108")
            let nowhere = errorOf { _ = try LocalListener(path: "/tmp/cwio-none/none/socket") }
            #expect(nowhere?.advice == "its parent directory does not exist either")
            let missing = errorOf { _ = try LocalConnection.connect(path: "/tmp/cwio-none", timeout: .seconds(1)) }
            #expect(missing?.advice == "no gateway runs with this control socket")
        }

        @Test func aListenerThatDoesNotAcceptTimesOut() throws {
            let directory = try Directory()
            let listener = try LocalListener(path: directory.path + "/socket")
            var connections: [Box<Int32>] = []
            var error: IOError?
            let start = MonotonicClock.now()
            for _ in 0..<64 where error == nil {
                error = errorOf {
                    let connection = try LocalConnection.connect(path: listener.path, timeout: .milliseconds(20))
                    connections.append(Box(dup(connection.fileDescriptor)))
                }
            }
            #expect(error?.code == EAGAIN)
            #expect(MonotonicClock.now() - start < patience)
            for connection in connections { close(connection.value) }
        }
    }
}

extension LinuxIOTests {
    struct PrivateFileTests {
        private func problem(_ path: String, limit: Int = 100) -> PrivateFile.Problem? {
            do {
                _ = try PrivateFile.read(path: path, limit: limit)
                return nil
            } catch {
                return error
            }
        }

        @Test func filesAreMadePrivateAndNeverOverwritten() throws {
            let directory = try Directory()
            let path = directory.path + "/key"
            let mask = umask(0)
            try PrivateFile.create(path: path, Array("secret".utf8))
            umask(mask)
            #expect(directory.mode("key") == 0o600)
            #expect(try PrivateFile.read(path: path, limit: 6) == Array("secret".utf8))
            #expect(problem(path, limit: 5) == .tooLong(limit: 5))
            let again = errorOf { try PrivateFile.create(path: path, [1]) }
            #expect(again?.code == EEXIST)
            #expect(try PrivateFile.read(path: path, limit: 100) == Array("secret".utf8))
            let nowhere = errorOf { try PrivateFile.create(path: directory.path + "/none/key", [1]) }
            #expect(nowhere?.advice == "its directory does not exist")
        }

        @Test func whatIsNotPrivateIsNotRead() throws {
            let directory = try Directory()
            let path = directory.path + "/key"
            try PrivateFile.create(path: path, [1])
            for mode: mode_t in [0o644, 0o640, 0o602, 0o601, 0o620] {
                #expect(unsafe chmod(path, mode) == 0)
                #expect(problem(path) == .worldReadable(mode: mode))
            }
            #expect(unsafe chmod(path, 0o400) == 0)
            #expect(problem(path) == nil)
            // Whoever may put another file there could change the key as well.
            #expect(unsafe chmod(directory.path, 0o777) == 0)
            #expect(problem(path) == .openDirectory(directory.path))
            #expect(unsafe chmod(directory.path, 0o1777) == 0)
            #expect(problem(path) == nil)
            #expect(unsafe mkdir(directory.path + "/open", 0o700) == 0)
            try PrivateFile.create(path: directory.path + "/open/key", [1])
            #expect(unsafe symlink("open/key", directory.path + "/link") == 0)
            #expect(problem(directory.path + "/link") == nil)
            #expect(unsafe chmod(directory.path + "/open", 0o707) == 0)
            #expect(problem(directory.path + "/link") == .openDirectory(directory.path + "/open"))
            if getuid() == 0 {
                #expect(unsafe chown(path, 54321, 0) == 0)
                #expect(problem(path) == .foreignOwner(54321))
                #expect(unsafe chown(path, 0, 0) == 0)
            }
            #expect(problem(directory.path + "/none") == .missing)
            #expect(problem(path + "/none") == .missing)
            #expect(problem(directory.path) == .notRegularFile)
            #expect(unsafe mkfifo(directory.path + "/pipe", 0o600) == 0)
            #expect(problem(directory.path + "/pipe") == .notRegularFile)
            #expect(problem("/proc/self/mem") != nil)
            #expect(unsafe symlink("loop", directory.path + "/loop") == 0)
            #expect(problem(directory.path + "/loop") == .unreadable(ELOOP))
        }
    }
}

extension LinuxIOTests {
    struct WaitingTests {
        @Test func aThreadWakesThePoller() throws {
            var poller = try Poller()
            let wakeUp = try WakeUp()
            try poller.add(wakeUp.fileDescriptor, token: 0xFFFF_FFFE)
            let none = poller.wait(timeout: .zero)
            #expect(none == 0)
            let handle = wakeUp.handle
            let thread = try LaneThread.start(name: "waker") {
                handle.wake()
                handle.wake()
            }
            let count = poller.wait(timeout: patience)
            #expect(count == 1 && poller.token(0) == 0xFFFF_FFFE)
            thread.join()
            wakeUp.drain()
            let drained = poller.wait(timeout: .zero)
            #expect(drained == 0)
            handle.wake()
            poller.remove(wakeUp.fileDescriptor)
            poller.remove(wakeUp.fileDescriptor)
            let removed = poller.wait(timeout: .zero)
            #expect(removed == 0)
        }

        @Test func aTimeoutIsPreciseToMicroseconds() throws {
            var poller = try Poller()
            let start = MonotonicClock.now()
            let count = poller.wait(timeout: .microseconds(300))
            let took = MonotonicClock.now() - start
            #expect(count == 0 && took >= .microseconds(300))
        }

        @Test func writingIsAnInterestOfItsOwn() throws {
            var poller = try Poller()
            let udp = try UDPSocket(bind: Endpoint(ipv4: 0x7F00_0001, port: 0))
            try poller.add(udp.fileDescriptor, token: 1)
            let reading = poller.wait(timeout: .zero)
            try poller.change(udp.fileDescriptor, token: 2, forWriting: true)
            let writing = poller.wait(timeout: .zero)
            #expect(reading == 0 && writing == 1 && poller.token(0) == 2)
            let error = errorOf { try poller.add(-1, token: 0) }
            #expect(error?.code == EBADF)
        }

        @Test func clocksRun() {
            let first = MonotonicClock.now()
            #expect(first > .zero && MonotonicClock.now() >= first)
            #expect(WallClock.now() > 1_700_000_000_000_000_000)
        }

        @Test func threadsHaveNamesAndProcessors() throws {
            let name = Box("")
            try LaneThread.start(name: "a-name-that-is-far-too-long", cpu: 0) {
                var text = [UInt8](repeating: 0, count: 32)
                let file = openOwnName()
                let count = unsafe text.withUnsafeMutableBytes { unsafe cwl_read(file, $0.baseAddress, $0.count) }
                _ = cwl_close(file)
                name.value = String(decoding: text.prefix(max(Int(count), 0)), as: UTF8.self)
            }.join()
            #expect(name.value == "a-name-that-is-\n")
            let error = errorOf { try LaneThread.start(name: "x", cpu: 1023) {}.join() }
            #expect(error?.code == EINVAL)
        }

        private func openOwnName() -> Int32 { Int32(unsafe cwl_open_read("/proc/thread-self/comm")) }

        @Test func namesResolve() throws {
            #expect(try resolve(host: "192.0.2.7", port: 7117) == [Endpoint(ipv4: 0xC000_0207, port: 7117)])
            #expect(try resolve(host: "2001:db8::1", port: 1) == [Endpoint(high: 0x2001_0DB8_0000_0000, low: 1, port: 1)])
            let local = try resolve(host: "localhost", port: 9)
            #expect(local.contains(Endpoint(ipv4: 0x7F00_0001, port: 9)))
            #expect(Set(local).count == local.count)
            let error = errorOf { _ = try resolve(host: "300.300.300.300.invalid..", port: 1) }
            #expect(error?.code == 0 && error?.advice.isEmpty == false)
        }
    }
}
