// What the gateways make of real IGMP, MLD and PIM: captures of the project's collection are replayed at site a of two, and
// the multicast tables of both sites at named moments are compared with `Tests/Golden/NAME.txt`.
//
// Such a file holds, in this order, for each capture:
//
//     # what tshark shows in the capture, and why the tables below are right
//     > capture = NAME.pcap
//     > a line of the scenario, as many as there are
//     == site a at 3s
//     what `tables.txt` says of multicast there and then
//
// Lines with `#` are for people and are written by hand; `>` is what is replayed; the rest is what must come out. To make a
// new one, write its `#` and `>` lines; to make the rest again, run these tests with CAUSEWAY_WRITE_GOLDEN=1, which fail for
// what has changed. Then check every changed table against tshark's reading (tshark -V -r CAPTURE) before it is committed:
// the test knows only what was written. The captures are not the project's to publish, so no octet of them is here.

import Foundation
import Testing

@Suite("Golden captures", .enabled(if: Program.path != nil, Program.reason))
struct GoldenCapturesTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    static let names: [String] = {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: root.appending(path: "Golden").path)) ?? []
        return files.filter { $0.hasSuffix(".txt") }.sorted()
    }()

    /// Beside the checkout, wherever that is.
    static let captures: String? = {
        var place = root
        while place.path != "/" {
            place = place.deletingLastPathComponent()
            let candidate = place.appending(path: "shared/captures").path
            if FileManager.default.fileExists(atPath: candidate + "/MANIFEST.tsv") { return candidate }
        }
        return nil
    }()
    static let isMissing: Comment = "there is no shared/captures in any directory above this checkout"

    /// A golden file, taken apart.
    private struct Golden {
        /// Comments and scenario, as they stand.
        var head: [Substring] = []
        var capture = ""
        var scenario: [String] = []
        var tables = ""

        init(_ text: String) {
            for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
                if line.hasPrefix("#") {
                    head.append(line)
                } else if line.hasPrefix("> capture = ") {
                    head.append(line)
                    capture = String(line.dropFirst("> capture = ".count))
                } else if line.hasPrefix("> ") {
                    head.append(line)
                    scenario.append(String(line.dropFirst(2)))
                } else {
                    tables += line + "\n"
                }
            }
            // The last line's end begins no line of its own.
            tables.removeLast()
        }
    }

    /// What holds for every capture that does not say otherwise. Addresses of queriers are given, since they would follow from
    /// the keys.
    private static let common = [
        "sites = a, b",
        "site.a.set.igmp.querier.address = 192.0.2.1",
        "site.b.set.igmp.querier.address = 192.0.2.2",
        "site.a.set.mld.querier.address = fe80::a",
        "site.b.set.mld.querier.address = fe80::b",
    ]

    /// The multicast part of `tables.txt` at the moments of `snapshot.at`.
    private func replay(_ golden: Golden) throws -> String {
        let place = Workplace()
        let directory = try #require(Self.captures)
        let own = Set(golden.scenario.map(key))
        let scenario =
            Self.common.filter { !own.contains(key($0)) } + ["site.a.port.lan0.capture = \(directory)/\(golden.capture)"]
            + golden.scenario
        try place.write("s.conf", scenario.map { $0 + "\n" }.joined())
        let run = try place.run("replay", "s.conf", "--out", "out")
        try #require(run.status == 0, "\(run.err)")
        var isWanted = false
        var text = ""
        for line in try place.text("out/tables.txt").split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("== ") { isWanted = line.hasPrefix("== site ") && line.contains(" at ") }
            if isWanted { text += line + "\n" }
        }
        return text
    }

    private func key(_ line: String) -> String { String(line.prefix { $0 != " " }) }

    @Test(.disabled(if: captures == nil, isMissing), arguments: names)
    func theTablesAreThoseThatWereChecked(name: String) throws {
        let file = Self.root.appending(path: "Golden/\(name)")
        let golden = Golden(try String(contentsOf: file, encoding: .utf8))
        try #require(!golden.capture.isEmpty && golden.head.contains { $0.hasPrefix("#") })
        let tables = try replay(golden)
        if ProcessInfo.processInfo.environment["CAUSEWAY_WRITE_GOLDEN"] == "1" {
            let text = golden.head.map { $0 + "\n" }.joined() + tables
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        try #require(!tables.isEmpty, "no snapshot.at in \(name)")
        for (moment, other) in zip(moments(tables), moments(golden.tables)) { #expect(moment == other, "\(name)") }
        #expect(tables == golden.tables, "\(name): CAUSEWAY_WRITE_GOLDEN=1 writes it again")
    }

    private func moments(_ tables: String) -> [Substring] { tables.split(separator: "== site ") }

    /// Every capture of the collection that is about IGMP, MLD or PIM is here.
    @Test(.disabled(if: captures == nil, isMissing)) func noCaptureIsForgotten() throws {
        let directory = try #require(Self.captures)
        let wanted = try FileManager.default.contentsOfDirectory(atPath: directory).filter { file in
            ["igmp_", "mld_", "pim_"].contains { file.hasPrefix($0) }
        }
        let replayed = try Self.names.map { name in
            Golden(try String(contentsOf: Self.root.appending(path: "Golden/\(name)"), encoding: .utf8)).capture
        }
        #expect(!wanted.isEmpty && Set(wanted).isSubset(of: replayed))
    }
}
