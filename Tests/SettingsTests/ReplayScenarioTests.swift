// Scenarios: sites, ports, links and settings for one site.

import Basics
import Testing

@testable import Settings

@Suite struct ReplayScenarioTests {
    @Test func theScenarioOfTheManual() throws {
        let text = """
            sites = a, b, c                            # every site has a port lan0 unless its ports are named
            site.a.port.lan0.capture = feed.pcapng
            site.b.port.lan0.capture = /captures/joins.pcap
            site.b.port.lan0.offset = 2s
            align = absolute
            settle = 6s
            linger = 0s
            link.a-b.delay = 20ms
            link.c-a.loss = 0.5%
            link.b-c.mtu = 1280
            site.a.set.mac.ageing = 60s
            site.a.set.port.lan0.filter = not port 22
            seed = 18446744073709551615
            """
        var tuning = SiteTuning()
        tuning.macAgeing = .seconds(60)
        let expected = ReplayScenario(
            sites: [
                ScenarioSite(
                    name: "a", ports: [ScenarioPort(name: "lan0", capture: "dir/feed.pcapng", filter: "not port 22")],
                    tuning: tuning),
                ScenarioSite(
                    name: "b", ports: [ScenarioPort(name: "lan0", capture: "/captures/joins.pcap", offset: .seconds(2))],
                    tuning: SiteTuning()),
                ScenarioSite(name: "c", ports: [ScenarioPort(name: "lan0")], tuning: SiteTuning()),
            ],
            links: [
                ScenarioLink(a: 0, b: 1, delay: .milliseconds(20)), ScenarioLink(a: 0, b: 2, lossMillionths: 5_000),
                ScenarioLink(a: 1, b: 2, mtu: 1_280),
            ],
            align: .absolute, settle: .seconds(6), linger: .zero, seed: .max)
        #expect(scenario(text, file: "dir/s.conf") == expected)
        #expect(scenario(text.split(separator: "\n").reversed().joined(separator: "\n"), file: "dir/s.conf") == expected)
    }

    @Test func defaults() throws {
        let replay = try #require(scenario("sites = b, a"))
        #expect(replay.sites.map(\.name) == ["b", "a"])
        #expect(replay.links == [ScenarioLink(a: 0, b: 1, delay: .zero, lossMillionths: 0, mtu: 1_500)])
        #expect(replay.align == .start && replay.settle == .seconds(5) && replay.linger == .seconds(5) && replay.seed == 1)
        #expect(replay.sites.allSatisfy { $0.ports == [ScenarioPort(name: "lan0")] && $0.tuning == SiteTuning() })
    }

    @Test func everySettingReachesItsSiteOnly() throws {
        let text = """
            sites = a, b
            site.b.set.mac.ageing = 10s
            site.b.set.mac.limit = 17
            site.b.set.path.mtu = 1280
            site.b.set.cipher = aes-256-gcm
            site.b.set.keepalive = 2s
            site.b.set.rekey.time = 3s
            site.b.set.rekey.datagrams = 4000
            """
        let tuning = try #require(scenario(text)).sites.map(\.tuning)
        #expect(tuning[0] == SiteTuning())
        let b = tuning[1]
        #expect(b.macAgeing == .seconds(10) && b.macLimit == 17 && b.pathMTU == 1_280 && b.cipher == .aes256GCM)
        #expect(b.keepalive == .seconds(2) && b.rekeyTime == .seconds(3) && b.rekeyDatagrams == 4_000)
    }

    @Test func portsAreListedOrNamed() throws {
        func ports(_ lines: String) -> [String]? { scenario("sites = a, b\n" + lines)?.sites[0].ports.map(\.name) }
        #expect(ports("site.a.ports = y, x") == ["x", "y"])
        #expect(ports("site.a.port.x.capture = f") == ["x"])
        #expect(ports("site.a.port.x.offset = 1s\nsite.a.ports = lan0") == ["lan0", "x"])
        #expect(ports("site.b.ports = x") == ["lan0"])
        #expect(
            problems(ofScenario: "sites = a\nsite.a.set.port.lan1.filter = ip\nsite.a.set.port.x.filter = ip") == [
                "s:2:17: the site \"a\" has no port \"lan1\" (did you mean lan0?)",
                "s:3:17: the site \"a\" has no port \"x\" (it has lan0)",
            ])
        func many(_ count: Int) -> [String] {
            problems(ofScenario: "sites = a\n" + (0..<count).map { "site.a.port.p\($0).offset = 1s\n" }.joined())
        }
        #expect(many(Limits.ports) == [])
        #expect(many(Limits.ports + 1) == ["s:18:13: the site \"a\" has 17 ports (at most 16)"])
    }

    @Test func theListOfSites() {
        #expect(problems(ofScenario: "") == ["s:1:1: missing key sites (such as sites = a, b, c)"])
        #expect(problems(ofScenario: "sites = a, b, a") == ["s:1:15: sites: \"a\" is listed twice"])
        let many = (0...ReplayScenario.maximumSites).map { "s\($0)" }
        #expect(problems(ofScenario: "sites = " + many.dropLast().joined(separator: ", ")) == [])
        #expect(scenario("sites = " + many.dropLast().joined(separator: ","))?.links.count == 4_950)
        #expect(problems(ofScenario: "sites = " + many.joined(separator: ",")) == ["s:1:399: sites: more than 100 sites"])
        let one = ReplayScenario.parse(Array("sites = a".utf8), file: "s")
        #expect(
            one.scenario?.links == []
                && one.warnings.map(\.description) == [
                    "s:1:9: sites: there is only one: no frame crosses the mesh (such as sites = a, b)"
                ])
    }

    @Test func unknownSites() {
        #expect(
            problems(ofScenario: "sites = london, nyc\nsite.lodnon.ports = a\nsite.x.set.mac.limit = 16") == [
                "s:2:6: unknown site \"lodnon\" (did you mean london?)", "s:3:6: unknown site \"x\" (add it to sites)",
            ])
        // Without a list there is one mistake, not one for each key.
        #expect(problems(ofScenario: "sites = \nsite.x.ports = a\nlink.a-b.mtu = 1280").count == 1)
    }

    @Test func linkNames() {
        func link(_ sites: String, _ lines: String) -> [String] { problems(ofScenario: "sites = \(sites)\n" + lines) }
        #expect(link("a, b", "link.a-b.delay = 1ms\nlink.b-a.loss = 1%") == [])
        #expect(
            link("a, b", "link.a-b.delay = 1ms\nlink.b-a.delay = 1ms") == [
                "s:3:1: duplicate key \"link.b-a.delay\" (the same link as link.a-b.delay on line 2)"
            ])
        #expect(
            link("nyc, london", "link.nyc-lodon.mtu = 1280") == [
                "s:2:6: no two sites make the link \"nyc-lodon\" (did you mean nyc-london?)"
            ])
        #expect(
            link("a, b", "link.ab.mtu = 1280") == [
                "s:2:6: no two sites make the link \"ab\" (a link is named by two sites with a hyphen between, as in a-b)"
            ])
        #expect(
            link("a, b", "link.tokyo-paris.mtu = 1280") == [
                "s:2:6: no two sites make the link \"tokyo-paris\" (the sites are listed in sites)"
            ])
        #expect(link("a, b", "link.a-a.mtu = 1280") == ["s:2:6: the link \"a-a\" joins a site with itself"])
        #expect(link("a, b", "link.a-B.mtu = 1280") == ["s:2:8: \"B\" in the name \"a-B\" (did you mean a-b?)"])
    }

    @Test func siteNamesWithHyphens() throws {
        let replay = try #require(scenario("sites = new-york, x, a, a-a\nlink.x-new-york.mtu = 1280\nlink.a-a-a.mtu = 1281"))
        #expect(
            replay.links.filter { $0.mtu != 1_500 } == [
                ScenarioLink(a: 0, b: 1, mtu: 1_280), ScenarioLink(a: 2, b: 3, mtu: 1_281),
            ])
        #expect(
            problems(ofScenario: "sites = a, a-b, c, b-c\nlink.a-b-c.mtu = 1280") == [
                "s:2:6: the link \"a-b-c\" is ambiguous (a and b-c, or a-b and c; rename a site)"
            ])
    }

    @Test func whatAReplayDecides() {
        let text = """
            sites = a, b
            site.a.set.site = a
            site.a.set.key.file = x
            site.a.set.listen = 0.0.0.0:1
            site.a.set.control.socket = x
            site.a.set.psk.file = x
            site.a.set.log.level = debug
            site.a.set.port.lan0.kind = tap
            site.a.set.port.lan0.device = x
            site.a.set.peer.b.key = x
            site.a.set.peer.b.address = x
            site.a.set.cipher.backend = sodium
            """
        let reasons = [
            "site cannot be set in a replay (the sites are named in the key sites)",
            "key.file cannot be set in a replay (keys come from the seed)",
            "listen cannot be set in a replay (a replay opens no sockets)",
            "control.socket cannot be set in a replay (a replay opens no sockets)",
            "psk.file cannot be set in a replay (keys come from the seed)",
            "log.level cannot be set in a replay (the command line decides what is logged)",
            "port.lan0.kind cannot be set in a replay (frames come from site.SITE.port.PORT.capture)",
            "port.lan0.device cannot be set in a replay (frames come from site.SITE.port.PORT.capture)",
            "peer.b.key cannot be set in a replay (every site is every other's peer; see link.A-B.delay)",
            "peer.b.address cannot be set in a replay (every site is every other's peer; see link.A-B.delay)",
            "cipher.backend cannot be set in a replay (a replay uses libsodium; the octets are the same)",
        ]
        #expect(problems(ofScenario: text) == zip(2..., reasons).map { "s:\($0):1: site.a.set.\($1)" })
    }

    @Test func valuesAndKeysHaveTheRulesOfConfigurations() {
        #expect(
            problems(
                ofScenario:
                    "sites = a, b\nsite.a.set.mac.ageing = 60\nsite.a.set.mac.agein = 1s\nlink.a-b.delay = 61s\nmac.limit = 16")
                == [
                    "s:2:25: site.a.set.mac.ageing: \"60\" has no unit (add a unit, such as 60s)",
                    "s:3:1: unknown key \"site.a.set.mac.agein\" (did you mean site.a.set.mac.ageing?)",
                    "s:4:18: link.a-b.delay: \"61s\" is out of range (0s to 60s)",
                    "s:5:1: unknown key \"mac.limit\" (did you mean site.SITE.set.mac.limit?)",
                ])
        let parsed = ReplayScenario.parse(Array("sites = a\nsite.a.port.lan0.capture = f".utf8), file: "s")
        #expect("\(parsed.diagnostic(at: "site.a.port.lan0.capture", "frame 3 is damaged"))" == "s:2:28: frame 3 is damaged")
    }
}
