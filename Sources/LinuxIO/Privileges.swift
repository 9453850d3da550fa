// What a gateway gives up once everything is open: the user that it was started as, its capabilities, and core dumps. Sandbox.swift
// is about what it can reach from then on.
//
// Linux keeps capabilities, Landlock's rules and no_new_privs for each thread, and gives a new thread those of the one that starts
// it. So all of this is done by the only thread that there is, before it starts another.

import CLinux
import Glibc

/// A user of this machine, and a group.
public struct Account: Hashable, Sendable, CustomStringConvertible {
    public let name: String
    public let user: UInt32
    public let group: UInt32

    /// - Parameters:
    ///   - name: a user's name, or its number.
    ///   - group: a group's name or number; `nil` for the user's own. A user that is a number without a name needs one.
    public init(_ name: String, group: String? = nil) throws(IOError) {
        var found: (user: UInt32, group: UInt32?)
        if let number = Account.number(name) {
            found = (number, nil)
            let known = Account.name(of: number)
            if let known, let entry = try Account.find(known) { found.group = entry.group }
        } else {
            guard let entry = try Account.find(name) else {
                throw IOError(
                    operation: "run as this user", subject: "user \(name)", code: 0,
                    advice: "there is no such user; useradd --system --no-create-home --shell /usr/sbin/nologin \(name)")
            }
            found = (entry.user, entry.group)
        }
        if let group {
            if let number = Account.number(group) { found.group = number } else { found.group = try Account.findGroup(group) }
        }
        guard let group = found.group else {
            throw IOError(
                operation: "run as this user", subject: "user \(name)", code: 0,
                advice: "this number has no name, and so no group of its own: set group as well")
        }
        self.name = name
        user = found.user
        self.group = group
    }

    /// Whom the calling thread acts as: its name, or its number where it has none.
    public static var current: String {
        let number = UInt32(truncatingIfNeeded: cwl_user_effective())
        return name(of: number) ?? String(number)
    }

    public static var isRoot: Bool { cwl_user_effective() == 0 }

    public var description: String { "user \(name)" }

    static func advice(_ code: Int32) -> String {
        code == EPERM ? "start the gateway as root, or as that user with CAP_NET_RAW and CAP_NET_ADMIN" : ""
    }

    private static func number(_ text: String) -> UInt32? {
        // The largest number means "nobody in particular" to the kernel.
        guard let number = UInt32(text), number != .max else { return nil }
        return number
    }

    private static func find(_ name: String) throws(IOError) -> (user: UInt32, group: UInt32)? {
        var (user, group): (UInt32, UInt32) = (0, 0)
        // SAFETY: the name is copied during the call, which writes both numbers.
        let result = unsafe cwl_user_find(name, &user, &group)
        if result == -Int64(ENOENT) { return nil }
        try check(result, "look the user up", "user \(name)", advice: IOError.noAdvice)
        return (user, group)
    }

    private static func findGroup(_ name: String) throws(IOError) -> UInt32 {
        // SAFETY: the name is copied during the call.
        let result = unsafe cwl_group_find(name)
        try check(result, "look the group up", "group \(name)") { code in
            code == ENOENT ? "there is no such group; groupadd --system \(name)" : ""
        }
        return UInt32(truncatingIfNeeded: result)
    }

    private static func name(of user: UInt32) -> String? {
        var room = [CChar](repeating: 0, count: 256)
        // SAFETY: the call writes at most the array's count, with the end.
        guard unsafe cwl_user_name(user, &room, room.count) == 0 else { return nil }
        return String(decoding: room.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Capabilities, one bit each (capabilities(7)).
public struct CapabilitySet: OptionSet, Hashable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// To bind sockets to ports below 1024.
    public static let netBindService = CapabilitySet(rawValue: 1 << 10)

    /// The calling thread's effective ones.
    public static var current: CapabilitySet {
        var effective: UInt64 = 0
        // SAFETY: the call writes the number.
        return unsafe cwl_capabilities(&effective) < 0 ? [] : CapabilitySet(rawValue: effective)
    }

    /// As the kernel's headers have them, without the prefix and in lower case; sorted by number.
    public var names: [String] {
        (0..<64).filter { rawValue >> UInt64($0) & 1 == 1 }.map { number in
            number < CapabilitySet.known.count ? CapabilitySet.known[number] : "capability-\(number)"
        }
    }

    private static let known = [
        "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
        "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio",
        "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time",
        "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
        "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
    ]
}

/// Giving up what the process was started with.
public enum Privileges {
    /// Octets of memory that a gateway may want locked: a page for each key of the largest mesh.
    public static let lockedBytes: UInt64 = 64 << 20
    /// Below this, keys of a mesh of middling size are not all locked.
    public static let lockedBytesWanted = 1 << 20

    /// No core dumps, and no looking into this process by others of its user. To be called before secrets are read.
    public static func forbidDumps() throws(IOError) {
        try check(cwl_no_dumps(), "forbid core dumps", "this process", advice: IOError.noAdvice)
    }

    /// Raises the limit of locked memory as far as that is allowed; the limit in octets.
    public static func raiseLockLimit() -> Int { Int(clamping: cwl_memory_lock_limit(lockedBytes)) }

    /// How many threads the process has; 0 where that cannot be known.
    public static var threads: Int { max(Int(cwl_thread_count()), 0) }

    /// Becomes the account, if one is given, and keeps no capability but those of `kept`. Supplementary groups that could not be
    /// given up, because the account is who runs already.
    @discardableResult
    public static func drop(to account: Account?, keeping kept: CapabilitySet) throws(IOError) -> Int {
        var groups = 0
        // Refused to whoever has nothing to give up here.
        _ = cwl_capabilities_bound(kept.rawValue)
        if let account {
            // Also who acts as that user already: real and saved numbers may be others, and groups are to go.
            groups = Int(
                try check(
                    cwl_become(account.user, account.group, kept.isEmpty ? 0 : 1), "become this user", "\(account)",
                    advice: Account.advice))
            // Another user means the machine's default again (fs.suid_dumpable).
            try forbidDumps()
        }
        try check(
            cwl_capabilities_limit(kept.rawValue), "give up capabilities", "this process", advice: IOError.noAdvice)
        try check(cwl_no_new_privileges(), "forbid new privileges", "this process", advice: IOError.noAdvice)
        return groups
    }

    /// Whether no program that is run from here on can get more than this process has.
    public static var hasNoNewPrivileges: Bool { cwl_has_no_new_privileges() == 1 }
}
