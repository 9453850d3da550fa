// `causeway simulate`: whole meshes of gateways under faults, from one seed, on a virtual clock.

import ArgumentParser
import Basics
import Simulation

struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs a mesh of gateways through faults on a virtual clock, and checks that all becomes right again.",
        discussion: """
            Gateways with passes, some of them behind NATs and all with wrong clocks, find each other; links fail and lose, \
            sites crash and come back, the mesh is parted and healed, hosts join and leave. Checkers look at every frame and \
            datagram. The same seed gives the same run. Exits with 1 if anything was not as it has to be.
            """)

    @Option(help: ArgumentHelp("How many gateways, 2 to 100.", valueName: "count"))
    var sites = 20

    @Option(help: "The run's seed; a random one by default.")
    var seed: UInt64?

    @Option(help: ArgumentHelp("Rounds of faults, 0 to 10000.", valueName: "count"))
    var rounds = 40

    @Flag(help: "Says what happens, as it happens.")
    var verbose = false

    func validate() throws {
        guard SimulationPlan.sites.contains(sites) else { throw ValidationError("--sites takes 2 to 100, not \(sites)") }
        guard (0...10_000).contains(rounds) else { throw ValidationError("--rounds takes 0 to 10000, not \(rounds)") }
    }

    func run() throws {
        let plan = SimulationPlan(count: sites, seed: seed ?? UInt64.random(in: 0 ... .max), rounds: rounds)
        // Before anything can go wrong.
        print("seed \(plan.seed): \(plan.count) sites, \(plan.rounds) rounds")
        let simulation = MeshSimulation(plan, log: verbose ? { print($0) } : nil)
        let report = simulation.run()
        for line in report.lines { print(line) }
        guard report.isRight else {
            throw Failure(
                report.violations + [
                    "\(report.violationCount) in all: causeway simulate --sites \(plan.count) --seed \(plan.seed) --rounds \(plan.rounds) --verbose shows how it came about"
                ])
        }
    }
}

extension SimulationReport {
    fileprivate var lines: [String] {
        func seconds(_ interval: Interval?) -> String { interval.map { "\($0)" } ?? "never" }
        func bits(_ rate: (mean: Double, most: Double)) -> String {
            "\(Int(rate.mean.rounded())) bit/s a gateway, \(Int(rate.most.rounded())) at most"
        }
        return [
            "sites      \(sites): \(natted) behind NATs, \(symmetric) of these with a mapping for each destination; \(relays) may carry, \(limited) have limited passes, \(revoked) revoked",
            "faults     " + faults.map { "\($0.name) \($0.count)" }.joined(separator: ", "),
            "time       \(duration) in all; all were peers after \(seconds(upAfter)); after the faults again after \(seconds(healedAfter)), and knew the same after \(seconds(agreedAfter))",
            "frames     \(framesSent) sent, \(framesDelivered) delivered",
            "datagrams  \(datagrams), \(sealed) of them sealed by their senders",
            "ways       \(relayedPairs) of \((sites - revoked) * (sites - revoked - 1)) lead through others",
            "idle       \(bits(idleBits)); gossip \(bits(gossipBits))",
            isRight ? "right      nothing was amiss" : "WRONG      \(violationCount) times",
        ]
    }
}
