// A whole snooper under a little program: messages of hosts and routers on two ports, facts of two peers, ports and peers that
// come and go, and time. After each step the tables' invariants hold, limits are kept, timers lie ahead, and whatever is said
// on the LAN can be read. At the end the published forwarding table says what `explain` says, and what
// was told is what is wanted, in both directions.

enum SnooperFuzzing {
    static let ports = 2
    static let peers = 2
    /// Steps of one program; what follows is not run.
    static let mostSteps = 256

    static func run(_ input: [UInt8]) -> [String] {
        var reader = FuzzReader(input)
        var bench = SnooperBench(&reader)
        var step = 0
        while !reader.isAtEnd, step < mostSteps, bench.problems.isEmpty {
            bench.step(&reader)
            step += 1
        }
        if bench.problems.isEmpty { bench.finish() }
        return bench.problems.map { "after step \(step): \($0)" }
    }
}
