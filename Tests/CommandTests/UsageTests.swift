// Help, version, usage errors, and the commands that need a gateway which is not there. Exit codes: 0 fine, 1 it failed,
// 2 it was called wrongly.

import Foundation
import Testing

@Suite("Usage", .enabled(if: Program.path != nil, Program.reason))
struct UsageTests {
    private let place = Workplace()

    @Test(arguments: ["", "genkey", "pubkey", "check", "run", "show", "why", "replay", "mesh", "peer"])
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
        for command in ["genkey", "pubkey", "check", "run", "show", "why", "replay", "mesh"] {
            #expect(run.out.contains("  \(command) "))
        }
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
        ["run"], ["show"], ["show", "bogus"], ["show", "status", "more"], ["show", "status", "--socket"],
        ["show", "group"], ["show", "groups", "239.1.1.1"], ["show", "rules", "--jsn"], ["replay"],
        ["why"], ["why", "239.1.1.1"], ["why", "--to", "nyc"], ["why", "239.1.1.1", "--to"],
        ["why", "239.1.1.1", "192.0.2.7", "--to", "nyc"], ["why", "239.1.1.1", "--to", "nyc", "--vlan"],
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

    @Test(arguments: [
        (["bogus", "--to", "nyc"], "'bogus' is not a group"), (["239.1.1", "--to", "nyc"], "'239.1.1' is not a group"),
        (["", "--to", "nyc"], "'' is not a group"),
        (["239.1.1.1,192.0.2.1,192.0.2.2", "--to", "nyc"], "'239.1.1.1,192.0.2.1,192.0.2.2' is not a group"),
        (["192.0.2.1", "--to", "nyc"], "192.0.2.1 is not a multicast group"),
        (["2001:db8::1", "--to", "nyc"], "2001:db8::1 is not a multicast group"),
        (["239.1.1.1,", "--to", "nyc"], "'' is not the address of a source of 239.1.1.1"),
        (["239.1.1.1,239.1.1.2", "--to", "nyc"], "'239.1.1.2' is not the address of a source"),
        (["239.1.1.1,2001:db8::1", "--to", "nyc"], "'2001:db8::1' is not the address of a source"),
        (["239.1.1.1", "--to", ""], "'' is not a site's name"), (["239.1.1.1", "--to", "a b"], "'a b' is not a site's name"),
        (["239.1.1.1", "--to", "nyc", "--vlan", "0"], "'0' is not a VLAN"),
        (["239.1.1.1", "--to", "nyc", "--vlan", "4095"], "'4095' is not a VLAN"),
        (["239.1.1.1", "--to", "nyc", "--vlan", "s"], "'s' is not a VLAN"),
        (["239.1.1.1", "--to", "nyc", "--vlan", "x10"], "'x10' is not a VLAN"),
    ])
    func aQuestionThatIsWrong(arguments: [String], words: String) throws {
        let run = try place.start(["why"] + arguments + ["--socket", "\(place.path)/none.sock"])
        #expect(run.status == 2 && run.out.isEmpty)
        #expect(run.err.hasPrefix("Error: \(words)") && run.err.contains("Usage: causeway why"), "\(run.err)")
    }

    @Test(arguments: [
        ["239.1.1.1"], ["232.1.1.1,192.0.2.7", "--vlan", "10"], ["ff3e::1,2001:db8::7", "--vlan", "s4094"],
    ])
    func whyWithoutAGateway(arguments: [String]) throws {
        let socket = "\(place.path)/none.sock"
        for more in [[], ["--json"]] {
            let run = try place.start(["why"] + arguments + ["--to", "nyc", "--socket", socket] + more)
            #expect(run.status == 1 && run.out.isEmpty)
            #expect(run.errorLines.count == 1 && run.err.hasPrefix("causeway: \(socket): "))
        }
    }

    @Test(arguments: [
        "status", "peers", "ports", "macs", "drops", "groups", "queriers", "routers", "rules", "streams", "mesh",
        "paths", "passes",
    ])
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
