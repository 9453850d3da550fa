// What a live gateway has given up, as operators see it.

/// Who a gateway acts as and what it can still do.
public struct Confinement: Sendable, Hashable {
    /// The user's name, or its number.
    public var user: String
    /// Capabilities that are left, in the kernel's words: `net_bind_service`.
    public var capabilities: [String]
    /// Whether no program that it runs can get more than it has.
    public var noNewPrivileges: Bool
    /// The version of Landlock's interface that restricts files; `nil` where they are not.
    public var landlock: Int?
    /// Whether system calls are restricted.
    public var seccomp: Bool

    public init(user: String, capabilities: [String], noNewPrivileges: Bool, landlock: Int?, seccomp: Bool) {
        self.user = user
        self.capabilities = capabilities
        self.noNewPrivileges = noNewPrivileges
        self.landlock = landlock
        self.seccomp = seccomp
    }
}
