// Giving up privileges: between the last thing that needs them and the first thread. What is open stays open; what a gateway does
// from then on (carry frames, ask devices how they are, resolve names, answer operators, connect sockets) needs none.

import Gateway
import LinuxIO
import Logging
import Settings

extension Daemon {
    /// Before secrets are read: nothing of this process is to reach a disk or another process of its user.
    public static func prepareForSecrets(_ logger: Logger) {
        do throws(IOError) { try Privileges.forbidDumps() } catch { logger.warning("\(error)") }
        let limit = Privileges.raiseLockLimit()
        if limit < Privileges.lockedBytesWanted {
            logger.notice(
                "only \(limit >> 10) KiB may be locked in memory (ulimit -l): keys beyond that could be swapped to a disk")
        }
    }

    static func confine(_ settings: GatewaySettings, as account: Account?, _ logger: Logger) throws(IOError) -> Confinement {
        let machine = settings.machine
        // Sockets of paths are bound while the gateway runs, to the port that it listens at.
        let binds = machine.connectsPaths && settings.listen.port < 1024
        if Privileges.threads > 1 {
            let others = Privileges.threads - 1
            logger.warning("\(others) threads were started before privileges are given up, and may keep some")
        }
        let groups = try Privileges.drop(to: account, keeping: binds ? .netBindService : [])
        if groups > 0, let account {
            logger.warning(
                """
                \(account) keeps \(groups) supplementary \(groups == 1 ? "group" : "groups"): who is that user already may not \
                give them up without CAP_SETGID
                """)
        }
        let sandbox = machine.isSandboxed ? Sandbox.enter(socket: settings.controlSocket) : Sandbox()
        for problem in sandbox.problems { logger.notice("\(problem)") }
        let confinement = Confinement(
            user: Account.current, capabilities: CapabilitySet.current.names, noNewPrivileges: Privileges.hasNoNewPrivileges,
            landlock: sandbox.landlock, seccomp: sandbox.hasSeccomp)
        if Account.isRoot {
            logger.warning("the gateway runs as root: let it become a user of its own, such as user = causeway")
        } else {
            logger.info("the gateway runs as user \(confinement.user)")
        }
        return confinement
    }
}

extension MachineTuning {
    /// The account that the settings name.
    func account() throws(IOError) -> Account? {
        guard let user else { return nil }
        return try Account(user, group: group)
    }
}
