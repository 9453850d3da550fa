// `replay`: what it writes and prints, that it says the same everywhere, and how it fails.

import Foundation
import Testing

@Suite("Replay", .enabled(if: Program.path != nil, Program.reason))
struct ReplayCommandTests {
    private let place = Workplace()

    /// A scenario of three sites over links that delay and lose, in a directory here.
    private func prepare(_ directory: String, _ more: String = "", damaged: Bool = false) throws {
        try place.makeDirectory(directory)
        var feed = pcap(frames(60))
        if damaged { feed.removeLast(3) }
        try place.write("\(directory)/feed.pcap", feed)
        try place.write(
            "\(directory)/s.conf",
            """
            sites = a, b, c
            site.a.port.lan0.capture = feed.pcap
            site.b.port.lan1.capture = feed.pcap
            link.a-b.delay = 20ms
            link.a-c.loss = 10%
            site.a.set.multicast.snooping = off
            site.b.set.multicast.snooping = off
            site.c.set.multicast.snooping = off

            """ + more)
    }

    private struct Summary: Decodable {
        struct Site: Decodable {
            var name: String
            var framesIn: UInt64
            var framesDelivered: UInt64
            var framesDropped: UInt64
            var drops: [String: UInt64]
            var multicast: Multicast
        }
        struct Multicast: Decodable {
            struct Group: Decodable {
                struct Site: Decodable {
                    var site: String
                    var frames: UInt64
                }
                var vlan: String
                var framesFromLan: UInt64
                var framesFromMesh: UInt64
                var sites: [Site]
            }
            var groups: [Group]
        }
        struct Link: Decodable {
            var from: String
            var to: String
            var datagrams: UInt64
            var lost: UInt64
            var underWay: UInt64
        }
        var seed: UInt64
        var sites: [Site]
        var links: [Link]
        var errors: [String]
    }

    private func summary(_ directory: String) throws -> Summary {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Summary.self, from: Data(try place.contents("\(directory)/summary.json")))
    }

    // MARK: - What it writes

    @Test func everythingIsWritten() throws {
        try prepare("in")
        let run = try place.run("replay", "in/s.conf", "--out", "deep/er/out")
        #expect(
            run.status == 0 && run.err.isEmpty && run.out.hasPrefix("3 sites, 120 frames in, ") && run.out.hasSuffix(", seed 1\n")
        )
        #expect(
            try place.files("deep/er/out").keys.sorted() == [
                "a.lan0.pcap", "b.lan1.pcap", "c.lan0.pcap", "summary.json", "tables.txt",
            ])
        let summary = try summary("deep/er/out")
        #expect(summary.sites.map(\.name) == ["a", "b", "c"] && summary.sites.map(\.framesIn) == [60, 60, 0])
        #expect(summary.sites[0].framesDelivered == 60 && summary.errors == [] && summary.seed == 1)
        #expect(summary.links.count == 6 && summary.links.allSatisfy { $0.lost + $0.underWay < $0.datagrams })
        #expect(summary.links.first { $0.from == "a" && $0.to == "b" }?.lost == 0)
        let text = try place.text("deep/er/out/summary.json")
        #expect(text.hasSuffix("}\n") && text.contains("\"public_key\" : \"") && !text.contains(place.path))
        let tables = try place.text("deep/er/out/tables.txt")
        #expect(tables.hasPrefix(run.out) && !tables.contains(place.path))
        #expect(!tables.split(separator: "\n").contains { $0.hasSuffix(" ") })
    }

    @Test func theSameEverywhere() throws {
        try prepare("one")
        try prepare("other/two")
        _ = try place.run("replay", "one/s.conf", "--out", "out1", "--seed", "7")
        _ = try place.run("replay", "\(place.path)/one/s.conf", "--out", "\(place.path)/out2", "--seed", "7", in: "/")
        _ = try place.run("replay", "two/s.conf", "--out", "../out3", "--seed", "7", in: "\(place.path)/other")
        try place.write("one/seed.conf", try place.text("one/s.conf") + "seed = 7\n")
        _ = try place.run("replay", "one/seed.conf", "--out", "out4")
        _ = try place.run("replay", "one/seed.conf", "--out", "out4")
        let expected = try place.files("out1")
        #expect(expected.count == 5)
        for directory in ["out2", "out3", "out4"] { #expect(try place.files(directory) == expected, "\(directory)") }
        // The option takes the place of the scenario's seed.
        _ = try place.run("replay", "one/seed.conf", "--out", "out5", "--seed", "18446744073709551615")
        #expect(try summary("out5").seed == .max && place.files("out5") != expected)
    }

    @Test func theCipherChangesNothing() throws {
        for cipher in ["aes-256-gcm", "chacha20-poly1305"] {
            try prepare(cipher, ["a", "b", "c"].map { "site.\($0).set.cipher = \(cipher)\n" }.joined())
            #expect(try place.run("replay", "\(cipher)/s.conf", "--out", "out-\(cipher)").status == 0)
        }
        #expect(try place.files("out-aes-256-gcm") == place.files("out-chacha20-poly1305"))
    }

    @Test func theShippedScenarios() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        for name in ["two-sites", "three-sites"] {
            let run = try place.run("replay", root.appending(path: "configs/replay/\(name).conf").path, "--out", name)
            #expect(run.status == 0 && run.err.isEmpty)
            #expect(try summary(name).sites.allSatisfy { $0.framesIn + $0.framesDelivered > 0 })
        }
        let two = try summary("two-sites").sites
        // The feed went to the site that joined, all of it; no report and no query went anywhere but to a LAN.
        #expect(two.allSatisfy { $0.framesDropped == 0 && $0.drops == [:] })
        #expect(two[0].multicast.groups.count == 4 && two[1].multicast.groups.count == 4)
        for group in two[0].multicast.groups {
            #expect(group.sites.map(\.site) == ["b"] && group.sites[0].frames == group.framesFromLan)
        }
        #expect(two[0].multicast.groups.reduce(0) { $0 + $1.framesFromLan } == two[0].framesIn)
        #expect(two[1].multicast.groups.reduce(0) { $0 + $1.framesFromMesh } == two[0].framesIn)
        // Nobody joined the groups of a's second LAN.
        let three = try summary("three-sites").sites
        #expect(three[0].drops["unwanted"] == 300)
        #expect(three[0].multicast.groups.allSatisfy { $0.vlan == "100" && $0.sites.map(\.site) == ["c"] })
        #expect(three[1].multicast.groups.allSatisfy { $0.framesFromLan == 0 && $0.framesFromMesh == 0 })
    }

    // MARK: - How it fails

    @Test func aScenarioThatIsWrong() throws {
        let missing = try place.run("replay", "none.conf", "--out", "o")
        #expect(missing.status == 1 && missing.err == "causeway: none.conf: cannot be read: No such file or directory\n")
        try place.write("s.conf", "sites = a, b\nlink.a-c.delay = 1ms\nsettle = 5\n")
        let run = try place.run("replay", "s.conf", "--out", "o")
        #expect(run.status == 1 && run.out.isEmpty && run.errorLines.map { $0.prefix(10) } == ["s.conf:2:6", "s.conf:3:1"])
        #expect(!place.exists("o"))
    }

    @Test func aFilterThatIsWrong() throws {
        try prepare("in", "site.c.set.port.lan0.filter = ether bogus\nsite.a.set.port.lan0.filter = ((\n")
        let run = try place.run("replay", "in/s.conf", "--out", "o")
        #expect(run.status == 1 && run.errorLines.map { $0.prefix(15) } == ["in/s.conf:9:31:", "in/s.conf:10:31"])
        #expect(run.errorLines.allSatisfy { $0.hasSuffix("(the syntax is that of tcpdump: man 7 pcap-filter)") })
        #expect(!place.exists("o"))
    }

    @Test(arguments: [
        ("missing", "in/feed.pcap: cannot be read: No such file or directory (check the path)"),
        ("directory", "in/feed.pcap: cannot be read: Is a directory (name a file in it)"),
        ("empty", "in/feed.pcap: the file is empty (name a pcap or pcapng file)"),
        ("text", "in/feed.pcap: not a capture that can be read: "),
        ("link type", "in/feed.pcap: the link type is "),
    ])
    func aCaptureThatCannotBeReplayed(kind: String, words: String) throws {
        try prepare("in")
        try FileManager.default.removeItem(atPath: "\(place.path)/in/feed.pcap")
        var other = pcap(frames(2))
        other[20] = 113
        switch kind {
        case "missing": break
        case "directory": try place.makeDirectory("in/feed.pcap")
        case "empty": try place.write("in/feed.pcap", "")
        case "text": try place.write("in/feed.pcap", "this is no capture, whatever its name may be\n")
        default: try place.write("in/feed.pcap", other)
        }
        let run = try place.run("replay", "in/s.conf", "--out", "o")
        #expect(run.status == 1 && run.out.isEmpty && run.errorLines.count == 1)
        #expect(run.err.hasPrefix("causeway: " + words), "\(run.err)")
        #expect(try place.files("o").isEmpty)
    }

    /// The frames before the damage have been replayed, and everything is written; the exit code says that it is not all.
    @Test func aDamagedCapture() throws {
        try prepare("in", damaged: true)
        let run = try place.run("replay", "in/s.conf", "--out", "out")
        #expect(run.status == 1 && run.errorLines.count == 2)
        #expect(
            run.errorLines.allSatisfy { $0.hasPrefix("causeway: in/feed.pcap: frame 60: the file is damaged from here on: ") })
        #expect(try place.files("out").count == 5)
        #expect(try summary("out").sites.map(\.framesIn) == [59, 59, 0])
        #expect(try summary("out").errors.allSatisfy { $0.hasPrefix("feed.pcap: frame 60: ") })
        #expect(try place.text("out/tables.txt").contains("== errors\n\nfeed.pcap: frame 60: "))
        _ = try place.run("replay", "\(place.path)/in/s.conf", "--out", "again")
        #expect(try place.files("again") == place.files("out"))
    }

    @Test func anOutputThatCannotBe() throws {
        try prepare("in")
        try place.write("file", "x")
        let run = try place.run("replay", "in/s.conf", "--out", "file/out")
        #expect(run.status == 1 && run.err == "causeway: file/out: cannot be created: Not a directory\n")
        let file = try place.run("replay", "in/s.conf", "--out", "file")
        #expect(file.status == 1 && file.errorLines.count == 1 && file.err.hasPrefix("causeway: file"))
        try place.makeDirectory("taken/b.lan1.pcap")
        let taken = try place.run("replay", "in/s.conf", "--out", "taken")
        #expect(taken.status == 1)
        #expect(taken.err == "causeway: taken/b.lan1.pcap: cannot be written: Is a directory (name a file, not a directory)\n")
        try place.makeDirectory("summary/summary.json")
        #expect(
            try place.run("replay", "in/s.conf", "--out", "summary").err.hasPrefix(
                "causeway: summary/summary.json: cannot be written: "))
    }

    /// The output of one replay is the input of the next, in the same directory: it must not be emptied before it is read.
    @Test func aCaptureIsNeverWrittenOver() throws {
        try prepare("in")
        _ = try place.run("replay", "in/s.conf", "--out", "in")
        let kept = try place.contents("in/c.lan0.pcap")
        try FileManager.default.createSymbolicLink(atPath: "\(place.path)/link", withDestinationPath: "in")
        try place.write("in/next.conf", "sites = c, d\nsite.c.port.lan0.capture = c.lan0.pcap\n")
        for directory in ["in", "link", "\(place.path)/in/", "./in/../in"] {
            let run = try place.run("replay", "in/next.conf", "--out", directory)
            #expect(run.status == 1 && run.out.isEmpty)
            #expect(
                run.err == "in/next.conf:2:28: site.c.port.lan0.capture: this replay would write over it "
                    + "(name another directory with --out)\n")
        }
        #expect(try place.contents("in/c.lan0.pcap") == kept && !kept.isEmpty)
        #expect(try place.run("replay", "in/next.conf", "--out", "elsewhere").status == 0)
    }
}
