// `causeway replay`: capture files through a whole mesh in this process.

import ArgumentParser
import Basics
import Captures
import Foundation
import Gateway
import Operator
import Settings
import Simulation
import Tunnels

struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Replays capture files through a whole mesh of gateways, without any network.",
        discussion: """
            Writes to DIR: SITE.PORT.pcap for every LAN port (all frames its gateway put on that LAN), summary.json and \
            tables.txt. The same scenario and seed give the same octets.
            """)

    @Argument(help: "The scenario file.", completion: .file())
    var scenario: String

    @Option(name: .customLong("out"), help: ArgumentHelp("The directory to write to.", valueName: "dir"))
    var directory: String

    @Option(help: "Takes the place of the scenario's seed.")
    var seed: UInt64?

    func run() throws {
        let parsed = ReplayScenario.parse(try readFile(scenario), file: scenario)
        for warning in parsed.warnings { StandardError.write("\(warning) [warning]\n") }
        guard let plan = parsed.scenario else {
            for problem in parsed.diagnostics { StandardError.write("\(problem)\n") }
            throw ExitCode(1)
        }
        let problems = problems(in: plan, parsed)
        for problem in problems { StandardError.write("\(problem)\n") }
        guard problems.isEmpty else { throw ExitCode(1) }
        if let site = plan.sites.first(where: { CipherSet($0.tuning.cipher).isEmpty }) {
            throw Failure("\(scenario): site \(site.name) asks for \(site.tuning.cipher.rawValue), which this processor lacks")
        }
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        } catch {
            throw Failure("\(directory): cannot be created: \(systemWords(error))")
        }
        let result: ReplayResult
        do throws(CaptureError) {
            result = try Replay(plan, seed: seed ?? plan.seed, outputDirectory: directory).run()
        } catch {
            throw Failure(error)
        }
        let summary = ReplaySummary(result)
        try write(try JSON.encode(summary) + Data("\n".utf8), to: "summary.json")
        try write(Data(summary.text(result).utf8), to: "tables.txt")
        print(summary.line(result))
        guard result.errors.isEmpty else { throw Failure(result.errors.map(\.description)) }
    }

    /// What is wrong with filters, also of ports that only listen, and captures that this replay would overwrite.
    private func problems(in plan: ReplayScenario, _ parsed: ParsedScenario) -> [Diagnostic] {
        let outputs = plan.sites.flatMap { site in site.ports.map { resolved("\(directory)/\(site.name).\($0.name).pcap") } }
        var problems: [Diagnostic] = []
        for site in plan.sites {
            for port in site.ports {
                do throws(CaptureError) {
                    if let filter = port.filter { _ = try PacketFilter(expression: filter) }
                } catch {
                    let key = "site.\(site.name).set.port.\(port.name).filter"
                    problems.append(parsed.diagnostic(at: key, error.problem, hint: error.hint))
                }
                if let capture = port.capture, outputs.contains(resolved(capture)) {
                    let key = "site.\(site.name).port.\(port.name).capture"
                    let message = "\(key): this replay would write over it"
                    problems.append(parsed.diagnostic(at: key, message, hint: "name another directory with --out"))
                }
            }
        }
        return problems.sorted()
    }

    private func resolved(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }

    private func write(_ data: Data, to name: String) throws {
        do {
            try data.write(to: URL(fileURLWithPath: directory).appendingPathComponent(name))
        } catch {
            throw Failure("\(directory)/\(name): cannot be written: \(systemWords(error))")
        }
    }
}
