// The tables of keys against each other, the shipped files and random input.

import Basics
import Foundation
import Testing

@testable import Settings

@Suite struct KeyTableTests {
    /// The key with its names filled in for a two-site example.
    private func filled(_ key: String) -> String {
        let names = ["NAME": "lan0", "SITE": "a", "PORT": "lan0", "A-B": "a-b"]
        return key.split(separator: ".").map { names[String($0)] ?? String($0) }.joined(separator: ".")
    }

    @Test func rowsAreDistinctAndComplete() {
        for keys in [GatewaySettings.knownKeys, ReplayScenario.knownKeys] {
            #expect(Set(keys.map(\.key)).count == keys.count)
            for key in keys {
                #expect(key.summary.hasSuffix(".") && !key.type.isEmpty && !key.example.isEmpty, "\(key.key)")
                #expect(!(key.isRequired && key.defaultValue != nil), "\(key.key)")
            }
        }
        #expect(GatewaySettings.knownKeys.count == 103)
        // A replay decides who a gateway is, where its frames come from and who its peers are; all else a site may have.
        let inReplay = ReplayScenario.knownKeys.map(\.key).filter { $0.hasPrefix("site.SITE.set.") }.map { $0.dropFirst(14) }
        #expect(
            inReplay.prefix(21) == [
                "port.NAME.filter", "port.NAME.router", "port.NAME.fast-leave", "port.NAME.flood-reports", "mac.ageing",
                "mac.limit", "path.mtu", "path.recheck", "cipher", "keepalive", "liveness.suspect", "liveness.down",
                "rekey.time", "rekey.datagrams", "bridge.forward-mask",
                "class.feed", "class.bulk", "class.feed.dscp", "class.normal.dscp", "class.bulk.dscp", "class.control.dscp",
            ])
        let multicast = ["multicast", "igmp", "mld"]
        let rest = GatewaySettings.knownKeys.filter { multicast.contains($0.key.split(separator: ".")[0].description) }
        #expect(inReplay.dropFirst(21).map(String.init) == rest.map(\.key) && rest.count == 44)
    }

    @Test func whatIsDocumentedAsDefaultIsTheDefault() throws {
        for key in GatewaySettings.knownKeys {
            guard let value = key.defaultValue?.replacing("SITE", with: "london") else { continue }
            #expect(parse(minimal + "\(filled(key.key)) = \(value)").settings == parse(minimal).settings, "\(key.key)")
        }
        for key in ReplayScenario.knownKeys {
            guard let value = key.defaultValue else { continue }
            let plain = try #require(scenario("sites = a, b"))
            #expect(scenario("sites = a, b\n\(filled(key.key)) = \(value)") == plain, "\(key.key)")
        }
    }

    @Test func examplesParse() {
        let gateway = GatewaySettings.knownKeys.map { "\(filled($0.key)) = \($0.example.replacing("SITE", with: "a"))\n" }
        #expect(parse(gateway.joined()).diagnostics == [])
        let replay = ReplayScenario.knownKeys.map { "\(filled($0.key)) = \($0.example)\n" }
        #expect(problems(ofScenario: replay.joined()) == [])
    }

    @Test func aKeyThatIsMissingIsReportedIfAndOnlyIfItIsRequired() {
        let lines = GatewaySettings.knownKeys.map { "\(filled($0.key)) = \($0.example.replacing("SITE", with: "a"))\n" }
        for (index, key) in GatewaySettings.knownKeys.enumerated() {
            var others = lines
            others.remove(at: index)
            let messages = parse(others.joined()).diagnostics.map(\.message)
            // Of keys that another one needs.
            let misses: [String: [String]] = [
                "user": ["group: there is no user"],
                "peer.NAME.key": ["peer.lan0.rate: whose rate it is is not known without a key"],
                "mesh.authority": ["pass.file: there is no mesh.authority"],
                "pass.file": ["mesh.authority: this gateway has no pass"],
            ]
            #expect(messages == (key.isRequired ? ["missing key \(filled(key.key))"] : misses[key.key] ?? []), "\(key.key)")
        }
    }

    // MARK: - Shipped files

    private func shipped(_ name: String) throws -> [UInt8] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return Array(try Data(contentsOf: root.appending(path: "configs/\(name)")))
    }

    @Test(arguments: ["london.conf", "nyc.conf", "every-key.conf"])
    func shippedConfigurationsHaveNothingWrong(name: String) throws {
        let parsed = GatewaySettings.parse(try shipped(name), file: name)
        #expect(parsed.settings != nil && parsed.diagnostics == [] && parsed.warnings == [])
    }

    @Test func theTwoSitesMatch() throws {
        let london = try #require(GatewaySettings.parse(try shipped("london.conf"), file: "l").settings)
        let nyc = try #require(GatewaySettings.parse(try shipped("nyc.conf"), file: "n").settings)
        #expect(london.peers.map(\.name) == [nyc.site] && nyc.peers.map(\.name) == [london.site])
        #expect(london.peers[0].key != nyc.peers[0].key && london.tuning == nyc.tuning)
    }

    @Test func everyKeyIsShown() throws {
        let document = SettingsDocument(try shipped("every-key.conf"), file: "every-key.conf")
        let keys = document.entries.map { $0.key.split(separator: ".").map(String.init) }
        for row in GatewaySettings.knownKeys {
            let pattern = KeyPattern(row.key)
            #expect(keys.contains { pattern.names(in: $0) != nil }, "\(row.key)")
            guard let value = row.defaultValue else { continue }
            #expect(document.entry(of: filled(row.key))?.value == value.replacing("SITE", with: "london"), "\(row.key)")
        }
    }

    @Test func theManualListsEveryKey() throws {
        let manual = String(decoding: try shipped("../README.md"), as: UTF8.self)
        for key in GatewaySettings.knownKeys.map(\.key) + ReplayScenario.knownKeys.map(\.key) {
            guard !key.hasPrefix("mld."), !key.hasPrefix("site.SITE.set.") else { continue }
            #expect(manual.contains("| `\(key)` |"), "\(key)")
        }
    }

    // MARK: - Random input

    @Test func randomOctetsNeverTrap() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<400 {
            let length = Int.random(in: 0..<300, using: &random)
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            checkBoth(bytes)
        }
    }

    /// Pieces of real files in any order come nearer to the corners than octets do.
    @Test func randomPiecesNeverTrap() {
        let pieces =
            GatewaySettings.knownKeys.map { filled($0.key) } + ReplayScenario.knownKeys.map { filled($0.key) } + [
                " = ", "=", "\n", "\r\n", "#", " ", "\t", ".", "..", "-", ",", ":", "[", "]", "%", "::", "0.0.0.0:7117", "1s",
                "99999999999999999999",
                "0.0000000000000000000001", "d", "\u{0}", "é", "e\u{301}", "\u{FEFF}", "a", "b", "a, b", "sites = a, b, a-b\n",
                "A", "\"", "\\", "~", "/", "ff3x::/32", "232.1.1.1", " from ", " on ", "s10", "fe80::1", "0x", "none", "off", "0",
                "7",
            ]
        var random = SeededRandom(seed: 2)
        for _ in 0..<1_500 {
            let count = Int.random(in: 0..<40, using: &random)
            checkBoth(Array((0..<count).map { _ in pieces.randomElement(using: &random) ?? "" }.joined().utf8))
        }
    }

    private func checkBoth(_ bytes: [UInt8]) {
        let gateway = GatewaySettings.parse(bytes, file: "f")
        let replay = ReplayScenario.parse(bytes, file: "f")
        #expect((gateway.settings == nil) == !gateway.diagnostics.isEmpty)
        #expect((replay.scenario == nil) == !replay.diagnostics.isEmpty)
        for diagnostics in [gateway.diagnostics, replay.diagnostics] {
            #expect(diagnostics == diagnostics.sorted())
            #expect(diagnostics.allSatisfy { $0.line >= 1 && $0.column >= 1 && !$0.description.utf8.contains(10) })
        }
    }
}
