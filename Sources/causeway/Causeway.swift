// The command line. Exit codes: 0 fine, 1 it failed, 2 it was called wrongly.

import ArgumentParser
import Foundation
import LinuxIO

@main
struct Causeway: AsyncParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "causeway",
        abstract: "Joins Ethernet segments at several sites into one, over encrypted tunnels.",
        version: version,
        subcommands: [
            GenerateKey.self, PublicKeyCommand.self, Check.self, Run.self, Show.self, Why.self, ReplayCommand.self,
            SimulateCommand.self,
            MeshCommand.self, PeerCommand.self,
        ])

    @MainActor static func main() async {
        do {
            var command = try parseAsRoot()
            if let run = command as? Run {
                // Until the first `await` there is one thread, which is what giving privileges up needs.
                let daemon = try run.prepare()
                try await run.serve(daemon)
            } else if var command = command as? AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as ExitCode {
            exit(withError: error)
        } catch let error as Failure {
            error.report()
            exit(withError: ExitCode(1))
        } catch {
            // ArgumentParser's own code for wrong usage is 64 (EX_USAGE); ours is 2.
            let code = exitCode(for: error)
            if code == .success { exit(withError: error) }
            if code == .validationFailure {
                StandardError.write(fullMessage(for: error) + "\n")
                exit(withError: ExitCode(2))
            }
            exit(withError: error)
        }
    }
}

/// Something that went wrong, in lines for the operator.
struct Failure: Error {
    let lines: [String]

    init(_ lines: [String]) { self.lines = lines }
    init(_ line: some CustomStringConvertible) { lines = [line.description] }

    func report() {
        for line in lines { StandardError.write("causeway: \(line)\n") }
    }
}

enum StandardError {
    static func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}

/// The system's reason behind an error of Foundation's, whose own words are often only a number.
func systemWords(_ error: any Error) -> String {
    let error = error as NSError
    let cause = (error.userInfo[NSUnderlyingErrorKey] as? any Error).map { $0 as NSError } ?? error
    return cause.domain == NSPOSIXErrorDomain ? IOError.text(Int32(cause.code)) : cause.localizedDescription
}
