// Accounts, capabilities and the sandbox. What cannot be taken back is done in a process of its own.

import CLinux
import Foundation
import Testing

@testable import LinuxIO

@Suite struct PrivilegesTests {
    private func problem(_ name: String, group: String? = nil) -> String? {
        do throws(IOError) {
            _ = try Account(name, group: group)
            return nil
        } catch {
            return error.description
        }
    }

    @Test func accounts() throws {
        let root = try Account("root")
        #expect(root.user == 0 && root.group == 0 && root.description == "user root")
        // A number is its name's, with the group of that.
        #expect(try Account("0").group == 0)
        let other = try Account("54321", group: "12345")
        #expect(other.user == 54321 && other.group == 12345)
        #expect(try Account("root", group: "7").group == 7)
        let nameless = "this number has no name, and so no group of its own: set group as well"
        #expect(problem("54321") == "user 54321: cannot run as this user: \(nameless)")
        #expect(problem("no-such-user-here")?.contains("there is no such user; useradd --system") == true)
        #expect(problem("root", group: "no-such-group")?.contains("there is no such group") == true)
        // The number that stands for nobody in system calls is a name like any other.
        #expect(problem("4294967295")?.contains("there is no such user") == true)
        #expect(problem("-1")?.contains("there is no such user") == true)
        #expect(Account.isRoot == (Account.current == "root"))
    }

    @Test func capabilitiesHaveTheKernelsNames() {
        #expect(CapabilitySet.netBindService.names == ["net_bind_service"])
        #expect(CapabilitySet(rawValue: 1 | 1 << 12 | 1 << 40).names == ["chown", "net_admin", "checkpoint_restore"])
        #expect(CapabilitySet(rawValue: 1 << 63).names == ["capability-63"] && CapabilitySet().names == [])
    }

    /// Whoever is the account already still loses other groups, and real and saved numbers that are not the account's.
    @Test(.enabled(if: isRoot, needsRoot))
    func whoIsThatUserAlreadyGivesUpTheRest() async {
        await #expect(processExitsWith: .success) {
            guard unsafe setgroups(2, [7, 8]) == 0, let root = try? Account("root") else { exit(2) }
            guard let kept = try? Privileges.drop(to: root, keeping: []), kept == 0 else { exit(3) }
            if getgroups(0, nil) != 0 { exit(4) }
            exit(0)
        }
        await #expect(processExitsWith: .success) {
            let number: UInt32 = 54_321
            guard unsafe setgroups(3, [7, 8, number]) == 0, let account = try? Account("54321", group: "54321"),
                setGroups(0, number, 0) == 0, setUsers(0, number, 0) == 0
            else { exit(2) }
            // It may not give its groups up, and says how many are not its own.
            guard let kept = try? Privileges.drop(to: account, keeping: []), kept == 2 else { exit(3) }
            if setUsers(0, 0, 0) == 0 || setGroups(0, 0, 0) == 0 || seteuid(0) == 0 || setegid(0) == 0 { exit(4) }
            if getuid() != number || getgid() != number { exit(5) }
            exit(0)
        }
    }

    /// In the sandbox: what a gateway needs is there, and what it does not need is refused. Each number is a refusal that failed.
    @Test func theSandboxRefuses() async {
        // In there nothing can be removed, and the process has another number than this one.
        defer { try? FileManager.default.removeItem(atPath: NSTemporaryDirectory() + "cw-sandbox-\(getpid())") }
        await #expect(processExitsWith: .success) {
            func code(_ result: Int64) -> Int32 { Int32(truncatingIfNeeded: result < 0 ? -result : 0) }
            func opens(_ path: String) -> Bool {
                let result = unsafe cwl_open_read(path)
                if result >= 0 { _ = cwl_close(Int32(truncatingIfNeeded: result)) }
                return result >= 0
            }
            let place = NSTemporaryDirectory() + "cw-sandbox-\(getppid())"
            guard unsafe mkdir(place, 0o700) == 0 else { exit(2) }
            for name in ["socket", "other"] where unsafe cwl_create_exclusive("\(place)/\(name)", 0o600) < 0 { exit(9) }
            guard opens("\(place)/other"), opens("/etc/hosts") else { exit(3) }
            // Opened before, as the file of a mesh is: written afterwards all the same.
            let file = unsafe open("\(place)/other", O_RDWR)
            // Somebody else's service, which only the sandbox keeps out of reach.
            let service = Int32(truncatingIfNeeded: cwl_unix_open(0))
            guard unsafe cwl_unix_bind(service, "\(place)/service", 0o600) == 0, cwl_unix_listen(service, 1) == 0 else { exit(6) }
            do { try Privileges.drop(to: nil, keeping: []) } catch { exit(4) }
            guard CapabilitySet.current.isEmpty, Privileges.hasNoNewPrivileges else { exit(5) }
            let sandbox = Sandbox.enter(socket: "\(place)/socket")
            if sandbox.landlock != nil {
                if opens("\(place)/other") { exit(10) }
                if opens("/etc/hosts") == false { exit(11) }
                if unsafe cwl_create_exclusive("\(place)/new", 0o600) >= 0 { exit(12) }
                if unsafe cwl_create_exclusive("/etc/cw-new", 0o600) >= 0 { exit(13) }
                if unsafe cwl_unlink("\(place)/socket") != 0 { exit(14) }
                if unsafe cwl_unlink("/etc/hosts") == 0 { exit(15) }
            } else if cwl_landlock_version() > 0 {
                exit(19)
            }
            guard sandbox.hasSeccomp else { exit(20) }
            if code(cwl_namespace_create()) != EPERM { exit(21) }
            if unsafe execve("/bin/true", [nil], [nil]) != -1 || errno != EPERM { exit(22) }
            // Without the filter: a bad descriptor.
            if code(cwl_namespace_enter(-1)) != EPERM { exit(23) }
            if setuid(getuid()) != -1 || errno != EPERM { exit(25) }
            var child: pid_t = 0
            if unsafe posix_spawn(&child, "/bin/true", nil, nil, [nil], [nil]) != EPERM { exit(26) }
            if unsafe chmod("\(place)/other", 0o644) != -1 || errno != EPERM { exit(40) }
            if fchmod(file, 0o644) != -1 || errno != EPERM { exit(41) }
            if unsafe fchmodat(AT_FDCWD, "\(place)/other", 0o644, 0) != -1 || errno != EPERM { exit(42) }
            // By its number, since C libraries learn of it late; with no filter a bad descriptor or no such call.
            if unsafe kernelCall(452, -1, "x", 0o644, 0) != -1 || errno != EPERM { exit(43) }
            if unsafe chown("\(place)/other", getuid(), getgid()) != -1 || errno != EPERM { exit(44) }
            if unsafe lchown("\(place)/other", getuid(), getgid()) != -1 || errno != EPERM { exit(45) }
            if fchown(file, getuid(), getgid()) != -1 || errno != EPERM { exit(46) }
            if unsafe fchownat(AT_FDCWD, "\(place)/other", getuid(), getgid(), 0) != -1 || errno != EPERM { exit(47) }
            if unsafe removeAttribute("\(place)/other", "user.x") != -1 || errno != EPERM { exit(48) }
            if unsafe removeAttributeOf(file, "user.x") != -1 || errno != EPERM { exit(49) }
            if futimens(file, nil) != -1 || errno != EPERM { exit(50) }
            if unsafe utimensat(AT_FDCWD, "\(place)/other", nil, 0) != -1 || errno != EPERM { exit(51) }
            // A socket that is open goes on: what is refused is another one, to reach other services with.
            if cwl_unix_open(0) != -Int64(EPERM) { exit(52) }
            var two: (Int32, Int32) = (-1, -1)
            let pair = unsafe withUnsafeMutableBytes(of: &two) { room in
                unsafe socketpair(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0, room.assumingMemoryBound(to: Int32.self).baseAddress!)
            }
            if pair != -1 || errno != EPERM { exit(53) }
            if socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) < 0 { exit(54) }
            if socket(AF_NETLINK, Int32(SOCK_RAW.rawValue), 0) < 0 { exit(55) }
            if cwl_unix_listen(service, 2) != 0 || !interfaceExists("lo") { exit(56) }
            if unsafe ftruncate(file, 2) != 0 || pwrite(file, "ab", 2, 0) != 2 || fdatasync(file) != 0 { exit(57) }
            // A thread is no process.
            do {
                let done = WakeFlag()
                let thread = try LaneThread.start(name: "thread") { done.isSet = true }
                thread.join()
                if !done.isSet { exit(27) }
            } catch { exit(28) }
            exit(0)
        }
    }
}

private final class WakeFlag: @unchecked Sendable { var isSet = false }

// What Swift's module of the C library does not have.
@_silgen_name("removexattr")
private func removeAttribute(_ path: UnsafePointer<CChar>, _ name: UnsafePointer<CChar>) -> Int32
@_silgen_name("fremovexattr")
private func removeAttributeOf(_ file: Int32, _ name: UnsafePointer<CChar>) -> Int32
@_silgen_name("syscall")
private func kernelCall(_ number: Int, _ a: Int, _ b: UnsafePointer<CChar>, _ c: Int, _ d: Int) -> Int
@_silgen_name("setresuid")
private func setUsers(_ real: UInt32, _ effective: UInt32, _ saved: UInt32) -> Int32
@_silgen_name("setresgid")
private func setGroups(_ real: UInt32, _ effective: UInt32, _ saved: UInt32) -> Int32
