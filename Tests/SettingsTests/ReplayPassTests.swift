// Scenarios with passes, and with links that are missing or fail.

import Basics
import Testing

@testable import Settings

@Suite struct ReplayPassTests {
    private func block(_ text: String) -> IPPrefix {
        let parts = text.split(separator: "/")
        return IPPrefix(parseAddress(String(parts[0]))!, length: Int(parts[1])!)!
    }

    @Test func linksFail() throws {
        let replay = try #require(scenario("sites = a, b, c\nlink.a-c.up = no\nlink.c-b.cut = 3s..9s, 20s..21.5s"))
        #expect(
            replay.links == [
                ScenarioLink(a: 0, b: 1), ScenarioLink(a: 0, b: 2, isUp: false),
                ScenarioLink(
                    a: 1, b: 2,
                    cuts: [
                        ScenarioCut(from: .seconds(3), until: .seconds(9)),
                        ScenarioCut(from: .seconds(20), until: .milliseconds(21_500)),
                    ]),
            ])
        #expect(replay.hasPasses)
    }

    @Test func passesAreWhatKeysSay() throws {
        let replay = try #require(
            scenario(
                """
                sites = a, b
                site.a.pass.relay = no
                site.a.pass.send = 239.1.0.0/16, 232.1.1.1 from 192.0.2.7 10.0.0.0/8
                site.a.pass.receive = none
                site.a.pass.vlans = -, 10, 100-199, s20
                """))
        var pass = ScenarioPass()
        pass.mayRelay = false
        pass.send = [
            ScenarioPass.Groups(groups: block("239.1.0.0/16")),
            ScenarioPass.Groups(groups: block("232.1.1.1/32"), sources: [block("192.0.2.7/32"), block("10.0.0.0/8")]),
        ]
        pass.receive = []
        pass.vlans = [0...0, 10...10, 100...199, 4_116...4_116]
        #expect(replay.sites.map(\.pass) == [pass, nil] && replay.hasPasses)
        #expect(scenario("sites = a, b\nsite.a.pass.send = any")?.sites[0].pass == ScenarioPass())
    }

    /// What was written before there were passes is what it was.
    @Test func withoutTheseKeysThereAreNoPasses() throws {
        #expect(scenario("sites = a, b\nlink.a-b.loss = 1%\nlink.a-b.up = yes")?.hasPasses == false)
    }

    private static let mistakes: [(String, String)] = [
        ("link.a-b.up = maybe", "\"maybe\" is not on, off, yes or no"),
        ("link.a-b.cut = 3s", "\"3s\" is no period (such as 3s..9s)"),
        ("link.a-b.cut = 9s..3s", "\"9s..3s\" does not end after it begins, or not after the one before"),
        ("link.a-b.cut = 1s..3s, 3s..4s", "\"3s..4s\" does not end after it begins, or not after the one before"),
        ("link.a-b.cut = 0s..1s, 2s..3s, 4s..5s, 6s..7s, 8s..9s, 10s..11s, 12s..13s, 14s..15s, 16s..17s", "more than 8 periods"),
        ("site.a.pass.send = 10.0.0.0/8", "\"10.0.0.0/8\" is not a block of groups (such as 239.1.0.0/16)"),
        ("site.a.pass.send = 239.1.0.0/16 to 10.0.0.1", "\"239.1.0.0/16 to 10.0.0.1\" is not GROUPS from SOURCES"),
        ("site.a.pass.receive = 239.1.0.0/16 from ff3e::1", "\"ff3e::1\" is no block of sources of 239.1.0.0/16"),
        ("site.a.pass.receive = 239.1.0.0/33", "\"239.1.0.0/33\" has no proper prefix length (0 to 32)"),
        ("site.a.pass.vlans = 0", "\"0\" is no VLAN (-, 10, 100-199 or s20)"),
        ("site.a.pass.vlans = 10-9", "\"10-9\" is no VLAN (-, 10, 100-199 or s20)"),
    ]

    @Test(arguments: mistakes)
    func mistakesAreSaid(line: String, problem: String) {
        let problems = problems(ofScenario: "sites = a, b\n" + line)
        #expect(problems.count == 1 && problems[0].hasPrefix("s:2:") && problems[0].contains(problem), "\(problems)")
    }

    @Test func whatIsPrintedIsRead() throws {
        for text in ["any", "none", "239.1.0.0/16, 232.1.1.1/32 from 192.0.2.7/32", "ff3e::/32"] {
            let type = ValueType<[ScenarioPass.Groups]?>.passGroups
            #expect(try type.print(type.parse(text)) == text)
        }
        for text in ["any", "none", "-, 10, 100-199, s20, s30-40"] {
            let type = ValueType<[ClosedRange<UInt16>]?>.passVLANs
            #expect(try type.print(type.parse(text)) == text)
        }
        let cuts = ValueType<[ScenarioCut]>.cuts(.zero ... .seconds(100), limit: 8)
        #expect(try cuts.print(cuts.parse("3s..9s, 10s..11s")) == "3s..9s, 10s..11s")
    }
}
