// `causeway run`: the gateway in the foreground.

import ArgumentParser
import Captures
import Daemon
import LinuxIO
import Logging
import ServiceLifecycle
import Settings

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a gateway in the foreground, until SIGTERM or SIGINT.",
        discussion: "Logs to standard error, one line an event.")

    @Argument(help: "The configuration file.", completion: .file())
    var file: String

    func run() async throws { try await serve(try prepare()) }

    /// Reads and opens everything, and gives privileges up: to be called before the process has a second thread.
    func prepare() throws -> Daemon {
        Daemon.prepareForSecrets(Logger(label: "causeway", factory: StreamLogHandler.standardError(label:)))
        let loaded = try LoadedSettings(path: file)
        guard loaded.problems.isEmpty, let settings = loaded.settings, let identity = loaded.identity else {
            for problem in loaded.problems { StandardError.write("\(problem)\n") }
            throw ExitCode(1)
        }
        var logger = Logger(label: "causeway", factory: StreamLogHandler.standardError(label:))
        logger.logLevel = Logger.Level(settings.logLevel)
        for warning in loaded.warnings { logger.warning("\(warning)") }
        do {
            return try Daemon(settings, identity: identity, presharedKey: loaded.presharedKey, logger: logger)
        } catch let error as IOError {
            throw Failure(error)
        } catch let error as CaptureError {
            throw Failure(error)
        }
    }

    func serve(_ daemon: Daemon) async throws {
        var quiet = Logger(label: "lifecycle", factory: StreamLogHandler.standardError(label:))
        quiet.logLevel = .error
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: GatewayService(daemon: daemon))], gracefulShutdownSignals: [.sigterm, .sigint],
                logger: quiet))
        try await group.run()
    }
}

/// The daemon as a service: it runs until it is asked to stop.
private struct GatewayService: Service {
    let daemon: Daemon

    func run() async throws {
        let running = try daemon.start()
        try? await gracefulShutdown()
        daemon.stop(running)
    }
}
