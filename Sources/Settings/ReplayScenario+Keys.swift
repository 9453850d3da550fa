// Every key of a scenario: one row each, and for each site every key of a configuration (see `GatewaySettings+Keys.swift`).

import Basics

extension ReplayScenario {
    /// The most sites of one replay.
    public static let maximumSites = 100

    /// Every key, in the order in which documentation shows them.
    public static let knownKeys: [KeyDocumentation] = keys.documentation

    static let keys = KeyTable(keys: scenarioKeys + siteKeys + linkKeys + siteSettingKeys)

    private static let scenarioKeys: [SettingKey<ScenarioDraft>] = [
        SettingKey(
            "sites", .names(1...maximumSites, of: "sites"), .required(example: "a, b, c"),
            "The sites; every pair of them is linked and peered."
        ) { $0.sites = $2 },
        SettingKey(
            "align", .word, \.align,
            "`start` puts each capture's first frame at 0, `absolute` the earliest timestamp of all captures."),
        SettingKey(
            "settle", .duration(.zero ... .seconds(3_600)), \.settle, "Virtual time before 0, for tunnels to come up."),
        SettingKey("linger", .duration(.zero ... .seconds(1_000_000)), \.linger, "Virtual time after the last frame."),
        SettingKey(
            "seed", .integer(0...UInt64.max), \.seed, "Keys and all randomness come from it: the same seed, the same output."),
        SettingKey(
            "snapshot.at", .moments(.zero ... .seconds(1_000_000), limit: 100), .optional(example: "3s, 10s"),
            "The moments of virtual time at which the output shows every table, besides the end."
        ) { $0.snapshots = $2 },
    ]

    private static let siteKeys: [SettingKey<ScenarioDraft>] = [
        SettingKey(
            "site.SITE.ports", .names(1...Limits.ports, of: "ports"), .byDefault("lan0"),
            "The site's LAN ports; a port that another key names is there without being listed."
        ) { $0.ports[$1[0]] = $2 },
        SettingKey(
            "site.SITE.port.PORT.capture", .path, .optional(example: "feed.pcapng"),
            "The frames that hosts on this LAN send, pcap or pcapng; without it they only listen."
        ) { $0.capturePorts[$1[0], default: [:]][$1[1], default: ScenarioPort(name: $1[1])].capture = $2 },
        SettingKey(
            "site.SITE.port.PORT.offset", .duration(.zero ... .seconds(1_000_000)), .byDefault("\(Interval.zero)"),
            "How much later than the alignment says the capture begins."
        ) { $0.capturePorts[$1[0], default: [:]][$1[1], default: ScenarioPort(name: $1[1])].offset = $2 },
        SettingKey("site.SITE.pass.relay", .boolean, .optional(example: "off"), "Whether the site may carry for others.") {
            $0.passes[$1[0], default: ScenarioPass()].mayRelay = $2
        },
        SettingKey("site.SITE.pass.send", .passGroups, .optional(example: "239.1.0.0/16"), "What its pass says that it may send.")
        {
            $0.passes[$1[0], default: ScenarioPass()].send = $2
        },
        SettingKey("site.SITE.pass.receive", .passGroups, .optional(example: "none"), "What its pass says that it may receive.") {
            $0.passes[$1[0], default: ScenarioPass()].receive = $2
        },
        SettingKey("site.SITE.pass.vlans", .passVLANs, .optional(example: "10, 20"), "The VLANs that its pass names.") {
            $0.passes[$1[0], default: ScenarioPass()].vlans = $2
        },
    ]

    private static let linkKeys: [SettingKey<ScenarioDraft>] = [
        SettingKey("link.A-B.delay", delay, .byDefault(delay.print(perfect.delay)), "The link's delay, one way.") {
            $0.links[$1[0], default: perfect].delay = $2
        },
        SettingKey(
            "link.A-B.loss", .percentage, .byDefault(ValueType.percentage.print(perfect.lossMillionths)),
            "The share of datagrams that the link loses."
        ) { $0.links[$1[0], default: perfect].lossMillionths = $2 },
        SettingKey(
            "link.A-B.mtu", GatewaySettings.mtu, .byDefault(GatewaySettings.mtu.print(perfect.mtu)),
            "The largest IP packet that the link carries, with the IP header."
        ) { $0.links[$1[0], default: perfect].mtu = $2 },
        SettingKey("link.A-B.up", .boolean, .byDefault("on"), "Whether there is a link; where one is missing, others carry.") {
            $0.links[$1[0], default: perfect].isUp = $2
        },
        SettingKey(
            "link.A-B.cut", .cuts(.zero ... .seconds(1_000_000), limit: 8), .optional(example: "3s..9s"),
            "Periods of virtual time in which the link carries nothing."
        ) { $0.links[$1[0], default: perfect].cuts = $2 },
    ]

    private static let delay = ValueType<Interval>.duration(.zero ... .seconds(60))
    /// Every link until a key says otherwise.
    private static let perfect = ScenarioLink(a: 0, b: 0)

    private static let siteSettingKeys: [SettingKey<ScenarioDraft>] = GatewaySettings.keys.keys.map {
        SettingKey($0, under: "site.SITE.set", in: \.settings)
    }
}

/// A scenario while it is read. Dictionaries have site names or `A-B` as keys and are never iterated.
struct ScenarioDraft: SettingsDraft {
    var sites: [String]?
    var align = CaptureAlignment.start
    var settle = Interval.seconds(5)
    var linger = Interval.seconds(5)
    var seed: UInt64 = 1
    var snapshots: [Interval] = []
    var ports: [String: [String]] = [:]
    var capturePorts: [String: [String: ScenarioPort]] = [:]
    var links: [String: ScenarioLink] = [:]
    var settings: [String: GatewayDraft] = [:]
    var passes: [String: ScenarioPass] = [:]
}
