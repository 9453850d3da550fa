// Help, version, usage errors, and the commands that need a gateway which is not there. Exit codes: 0 fine, 1 it failed,
// 2 it was called wrongly.

import Foundation
import Testing

@Suite("Usage", .enabled(if: Program.path != nil, Program.reason))
struct UsageTests {
    private let place = Workplace()

    @Test(arguments: ["", "genkey", "pubkey", "check", "run", "show", "replay"])
    func helpEverywhere(command: String) throws {
        for flag in ["--help", "-h"] {
            let run = command.isEmpty ? try place.run(flag) : try place.run(command, flag)
            #expect(run.status == 0 && run.err.isEmpty)
            #expect(run.out.contains("USAGE: causeway\(command.isEmpty ? "" : " \(command)")") && run.out.contains("OVERVIEW: "))
        }
        if !command.isEmpty {
            let help = try place.run("help", command)
            #expect(try help.status == 0 && help.out == place.run(command, "--help").out)
        }
    }

    @Test func helpNamesEveryCommand() throws {
        let run = try place.run()
        #expect(run.status == 0)
        for command in ["genkey", "pubkey", "check", "run", "show", "replay"] { #expect(run.out.contains("  \(command) ")) }
    }

    @Test func version() throws {
        let run = try place.run("--version")
        #expect(run.status == 0 && run.err.isEmpty)
        let numbers = run.out.dropLast().split(separator: ".", omittingEmptySubsequences: false)
        #expect(run.out.hasSuffix("\n") && numbers.count == 3 && numbers.allSatisfy { Int($0) != nil })
    }

    @Test(arguments: [
        ["bogus"], ["--bogus"], ["genkey"], ["genkey", "a", "b"], ["pubkey"], ["pubkey", "--json", "a"], ["check"],
        ["check", "a", "b"],
        ["run"], ["show"], ["show", "bogus"], ["show", "status", "more"], ["show", "status", "--socket"], ["replay"],
        ["replay", "s.conf"], ["replay", "--out", "o"], ["replay", "s.conf", "--out"],
        ["replay", "s.conf", "--out", "o", "--seed", "x"],
        ["replay", "s.conf", "--out", "o", "--seed", "-1"], ["replay", "s.conf", "--out", "o", "--seed", "18446744073709551616"],
    ])
    func wrongUsageIsTwo(arguments: [String]) throws {
        let run = try place.start(arguments)
        #expect(run.status == 2 && run.out.isEmpty)
        #expect(run.err.hasPrefix("Error: ") && run.err.contains("Usage: causeway"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.path).isEmpty)
    }

    // MARK: - Without a gateway

    @Test(arguments: ["status", "peers", "ports", "macs", "drops"])
    func showWithoutAGateway(topic: String) throws {
        let socket = "\(place.path)/none.sock"
        for more in [[], ["--json"]] {
            let run = try place.start(["show", topic, "--socket", socket] + more)
            #expect(run.status == 1 && run.out.isEmpty)
            #expect(run.errorLines.count == 1 && run.err.hasPrefix("causeway: \(socket): "))
        }
    }

    @Test func showOfWhatIsNoSocket() throws {
        try place.write("file", "x")
        try place.makeDirectory("directory")
        for name in ["file", "directory"] {
            let run = try place.run("show", "status", "--socket", "\(place.path)/\(name)")
            #expect(run.status == 1 && run.err.hasPrefix("causeway: \(place.path)/\(name): "))
        }
        let long = "/tmp/" + String(repeating: "x", count: 200)
        let run = try place.run("show", "status", "--socket", long)
        #expect(run.status == 1 && run.err.contains(long))
    }

    @Test func runWithABadConfiguration() throws {
        let key = Data(repeating: 1, count: 32).base64EncodedString()
        try place.write("bad.conf", "site = london\nkey.file = none.key\nbogus = 1\npeer.nyc.key = \(key)\n")
        let run = try place.run("run", "bad.conf")
        #expect(run.status == 1 && run.out.isEmpty)
        // The same words as check's.
        #expect(try run.err == place.run("check", "bad.conf").err)
        #expect(run.err.contains("bad.conf:3:1: unknown key \"bogus\""))
        let missing = try place.run("run", "none.conf")
        #expect(missing.status == 1 && missing.err == "causeway: none.conf: cannot be read: No such file or directory\n")
    }
}
