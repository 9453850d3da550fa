// What can be said about multicast, and how it arrives: defaults, ranges, lists, ports, scenarios.

import Basics
import Testing

@testable import Settings

/// An address that the test's author wrote.
func ip(_ text: String) -> IPAddress { parseAddress(text)! }

/// The multicast settings of a configuration of `minimal` and these lines.
private func multicast(_ lines: String) -> MulticastSettings? { parse(minimal + lines).settings?.tuning.multicast }

@Suite struct MulticastSettingsTests {
    @Test func defaults() throws {
        let settings = try #require(multicast(""))
        #expect(settings == MulticastSettings())
        #expect(settings.snooping && settings.tracking && settings.unregistered == .routers && settings.routerSites == .pim)
        #expect(settings.statics == [])
        #expect(settings.groupsLimit == 65_536 && settings.sourcesLimit == 1_024 && settings.membersLimit == 262_144)
        #expect(settings.interestsLimit == 262_144 && settings.reportsLimit == 10_000 && settings.otherLimit == 10_000)
        for family in [settings.igmp, settings.mld] {
            #expect(family.timing == MembershipTiming() && family.querier && family.querierAddress == nil && !family.strict)
        }
        #expect(settings.igmp.version == 3 && settings.mld.version == 2)
        #expect(settings[.v4] == settings.igmp && settings[.v6] == settings.mld)
        let tuning = try #require(parse(minimal).settings).tuning
        #expect(tuning.forwardMask == 0)
    }

    @Test func everyKeyArrivesAndNothingElseChanges() throws {
        let lines: [(String, (inout MulticastSettings) -> Void)] = [
            ("multicast.snooping = off", { $0.snooping = false }),
            ("multicast.unregistered = flood", { $0.unregistered = .flood }),
            ("multicast.router-sites = all", { $0.routerSites = .all }),
            ("multicast.router-sites = none", { $0.routerSites = RouterSites.none }),
            ("multicast.ssm = none", { $0.ssm = [] }),
            ("multicast.static = 239.1.1.1", { $0.statics = [StaticGroup(group: ip("239.1.1.1"))] }),
            ("multicast.tracking = off", { $0.tracking = false }),
            ("multicast.groups.limit = 16", { $0.groupsLimit = 16 }),
            ("multicast.sources.limit = 1", { $0.sourcesLimit = 1 }),
            ("multicast.members.limit = 0", { $0.membersLimit = 0 }),
            ("multicast.interests.limit = 16", { $0.interestsLimit = 16 }),
            ("multicast.reports.limit = 1", { $0.reportsLimit = 1 }),
            ("multicast.other.limit = 0", { $0.otherLimit = 0 }),
            ("igmp.querier.address = 192.0.2.1", { $0.igmp.querierAddress = ip("192.0.2.1") }),
            ("mld.querier.address = fe80::1", { $0.mld.querierAddress = ip("fe80::1") }),
        ]
        for (line, change) in lines { #expect(multicast(line) == changed(change), "\(line)") }
    }

    @Test(arguments: [("igmp", IPFamily.v4), ("mld", .v6)])
    func everyKeyOfAFamilyArrives(name: String, family: IPFamily) {
        let lines: [(String, (inout FamilySettings) -> Void)] = [
            ("robustness = 3", { $0.timing.robustness = 3 }),
            ("query-interval = 60s", { $0.timing.queryInterval = .seconds(60) }),
            ("query-response-interval = 5s", { $0.timing.queryResponseInterval = .seconds(5) }),
            ("last-member-query-interval = 100ms", { $0.timing.lastMemberQueryInterval = .milliseconds(100) }),
            ("group-membership-interval = 271s", { $0.timing.setGroupMembershipInterval = .seconds(271) }),
            ("other-querier-present = 256s", { $0.timing.setOtherQuerierPresent = .seconds(256) }),
            ("startup-query-interval = 1s", { $0.timing.setStartupQueryInterval = .seconds(1) }),
            ("startup-query-count = 4", { $0.timing.setStartupQueryCount = 4 }),
            ("last-member-query-count = 7", { $0.timing.setLastMemberQueryCount = 7 }),
            ("last-member-query-time = 500ms", { $0.timing.setLastMemberQueryTime = .milliseconds(500) }),
            ("older-host-present = 261s", { $0.timing.setOlderHostPresent = .seconds(261) }),
            ("older-querier-present = 351s", { $0.timing.setOlderQuerierPresent = .seconds(351) }),
            ("querier = off", { $0.querier = false }),
            ("version = 1", { $0.version = 1 }),
            ("strict = on", { $0.strict = true }),
        ]
        for (line, change) in lines {
            #expect(multicast("\(name).\(line)") == changed { change(&$0[family]) }, "\(line)")
        }
    }

    /// Both ends of each range, and what is just outside: the range that the message names is the one that holds.
    @Test(arguments: [
        ("multicast.groups.limit", "16", "1048576", "15", "1048577", "16 to 1048576"),
        ("multicast.sources.limit", "1", "65536", "0", "65537", "1 to 65536"),
        ("multicast.members.limit", "0", "4194304", "4194305", "99999999999999999999", "0 to 4194304"),
        ("multicast.interests.limit", "16", "4194304", "15", "4194305", "16 to 4194304"),
        ("multicast.reports.limit", "1", "1000000", "0", "1000001", "1 to 1000000"),
        ("multicast.other.limit", "0", "10000000", "10000001", "99999999", "0 to 10000000"),
        ("igmp.robustness", "1", "7", "8", "10", "1 to 7"), ("mld.robustness", "1", "7", "8", "10", "1 to 7"),
        ("igmp.version", "1", "3", "0", "4", "1 to 3"), ("mld.version", "1", "2", "0", "3", "1 to 2"),
        ("igmp.query-interval", "11s", "31744s", "999ms", "31745s", "1s to 31744s"),
        ("mld.query-interval", "11s", "31744s", "999ms", "31745s", "1s to 31744s"),
        ("igmp.query-response-interval", "100ms", "124.9s", "99ms", "3174401ms", "100ms to 3174400ms"),
        ("mld.query-response-interval", "100ms", "124.9s", "99ms", "8387585ms", "100ms to 8387584ms"),
        ("igmp.last-member-query-interval", "100ms", "134s", "99ms", "3175s", "100ms to 3174s"),
        ("mld.last-member-query-interval", "100ms", "134s", "99ms", "3175s", "100ms to 3174s"),
        ("igmp.group-membership-interval", "136s", "1000000s", "99ms", "1000001s", "100ms to 1000000s"),
        ("mld.group-membership-interval", "136s", "1000000s", "99ms", "1000001s", "100ms to 1000000s"),
        ("igmp.other-querier-present", "100ms", "1000000s", "99ms", "1000001s", "100ms to 1000000s"),
        ("igmp.startup-query-interval", "100ms", "31744s", "99ms", "31745s", "100ms to 31744s"),
        ("igmp.startup-query-count", "1", "100", "0", "101", "1 to 100"),
        ("igmp.last-member-query-count", "1", "7", "0", "8", "1 to 7"),
        ("igmp.last-member-query-time", "100ms", "269s", "99ms", "1000001s", "100ms to 1000000s"),
        ("igmp.older-host-present", "100ms", "1000000s", "99ms", "1000001s", "100ms to 1000000s"),
        ("igmp.older-querier-present", "100ms", "1000000s", "99ms", "1000001s", "100ms to 1000000s"),
    ])
    func ranges(key: String, low: String, high: String, below: String, above: String, range: String) {
        for value in [low, high] { #expect(problems(adding: "\(key) = \(value)") == []) }
        for value in [below, above] {
            #expect(
                problems(adding: "\(key) = \(value)") == [
                    "gw.conf:6:\(key.count + 4): \(key): \"\(value)\" is out of range (\(range))"
                ])
        }
    }

    @Test(arguments: ["0", "000"]) func robustnessZeroIsNeverValid(text: String) {
        #expect(
            problems(adding: "igmp.robustness = \(text)\nmld.robustness = two") == [
                "gw.conf:6:19: igmp.robustness: 0 is never valid: every membership would end before it is renewed (1 to 7, usually 2)",
                "gw.conf:7:18: mld.robustness: \"two\" is not a whole number (1 to 7)",
            ])
    }

    @Test func wordsOfMulticast() {
        #expect(
            problems(adding: "multicast.unregistered = flod\nmulticast.router-sites = on\nport.lan0.router = yes") == [
                "gw.conf:6:26: multicast.unregistered: \"flod\" is not routers or flood (did you mean flood?)",
                "gw.conf:7:26: multicast.router-sites: \"on\" is not pim, all or none",
                "gw.conf:8:20: port.lan0.router: \"yes\" is not auto, on or off",
            ])
    }

    @Test func queriersHaveAddressesOfTheirFamily() {
        let isV4 = " (such as 192.0.2.1)"
        let isV6 = " (such as fe80::1, without a zone)"
        for (key, text, message) in [
            ("igmp", "fe80::1", "\"fe80::1\" is not an IPv4 address" + isV4),
            ("igmp", "::ffff:192.0.2.1", "\"::ffff:192.0.2.1\" is not an IPv4 address" + isV4),
            ("igmp", "224.0.0.1", "\"224.0.0.1\" is no host's address" + isV4),
            ("igmp", "0.0.0.0", "\"0.0.0.0\" is no host's address" + isV4),
            ("igmp", "255.255.255.255", "\"255.255.255.255\" is no host's address" + isV4),
            ("mld", "192.0.2.1", "\"192.0.2.1\" is not an IPv6 address" + isV6),
            ("mld", "fe80::1%eth0", "\"fe80::1%eth0\" is not an IPv6 address" + isV6),
            ("mld", "ff02::1", "\"ff02::1\" is no host's address" + isV6),
            ("mld", "::", "\"::\" is no host's address" + isV6),
            ("mld", "2001:db8::1", "\"2001:db8::1\" is not link-local: hosts would ignore the queries" + isV6),
        ] {
            let key = "\(key).querier.address"
            #expect(problems(adding: "\(key) = \(text)") == ["gw.conf:6:\(key.count + 4): \(key): \(message)"])
        }
    }

    @Test func whatPortsDoWithMulticast() throws {
        let lines = """
            port.lan0.router = on
            port.lan0.fast-leave = on
            port.lan0.flood-reports = on
            port.lan1.kind = tap
            port.lan1.device = t1
            port.lan1.router = off
            port.lan2.kind = tap
            port.lan2.device = t2
            """
        let ports = try #require(parse(minimal + lines).settings).ports.map(\.multicast)
        #expect(ports.map(\.router) == [.on, .off, .auto])
        #expect(ports.map(\.fastLeave) == [true, false, false] && ports.map(\.floodReports) == [true, false, false])
        #expect(ports[2] == PortMulticast())
    }

    @Test func theForwardMask() {
        func mask(_ text: String) -> UInt16? { parse(minimal + "bridge.forward-mask = \(text)").settings?.tuning.forwardMask }
        #expect(mask("0x4000") == 0x4000 && mask("0xfffd") == 0xFFFD && mask("0x0") == 0 && mask("0x00004000") == 0x4000)
        func problem(_ text: String) -> String? { problems(adding: "bridge.forward-mask = \(text)").first }
        let place = "gw.conf:6:23: bridge.forward-mask: "
        for text in ["16384", "0x", "4000h", "0xg", "-0x1"] {
            #expect(
                problem(text) == place
                    + "\"\(text)\" is not a hexadecimal number (such as 0x4000, which lets LLDP through)")
        }
        #expect(problem("0x10000") == place + "\"0x10000\" is out of range (0x0000 to 0xffff)")
        #expect(
            problem("0x4003") == place
                + "bit 1 would let pause frames (01:80:c2:00:00:01) through, and one slow port would stop every site (write 0x4001)"
        )
        #expect(outcome(.forwardMask, "0X40") == "\"0X40\" is not a hexadecimal number (such as 0x4000, which lets LLDP through)")
        #expect(outcome(.forwardMask, "0xE0") == "0x00e0")
    }

    private func changed(_ change: (inout MulticastSettings) -> Void) -> MulticastSettings {
        var settings = MulticastSettings()
        change(&settings)
        return settings
    }
}

@Suite struct GroupListTests {
    @Test func theUsualRangeIsOfSeventeenPrefixes() throws {
        let ssm = MulticastSettings().ssm
        #expect(ssm.map(\.description).prefix(2) == ["232.0.0.0/8", "ff30::/32"] && ssm.last?.description == "ff3f::/32")
        #expect(ssm.count == 17)
        #expect(ValueType<[IPPrefix]>.groupRanges.print(ssm) == "232.0.0.0/8, ff3x::/32")
        #expect(try ValueType<[IPPrefix]>.groupRanges.parse("ff3x::/32, 232.0.0.0/8") == ssm)
        let settings = MulticastSettings()
        for group in ["232.0.0.0", "232.255.255.255", "ff30::1", "ff3e::8000:1", "ff3f:0:1::2"] {
            #expect(settings.isSourceSpecific(ip(group)), "\(group)")
        }
        for group in ["231.255.255.255", "233.0.0.0", "ff2e::1", "ff40::1", "ff3e:1::1"] {
            #expect(!settings.isSourceSpecific(ip(group)), "\(group)")
        }
    }

    @Test(arguments: [
        ("none", "none"), ("232.0.0.0/8", "232.0.0.0/8"), ("239.232.0.0/16,232.0.0.0/8", "232.0.0.0/8, 239.232.0.0/16"),
        ("FF3X::/32", "ff3x::/32"), ("ff3x:0:8000::/96", "ff3x:0:8000::/96"), ("ff3e::/32, ff3x::/96", "ff3x::/96, ff3e::/32"),
        ("ff35::/32", "ff35::/32"), ("ff30::/32", "ff30::/32"), ("ff00::/8", "ff00::/8"), ("224.0.0.0/4", "224.0.0.0/4"),
        ("ff0x::/16", "ff0x::/16"), ("232.1.1.1/32", "232.1.1.1/32"), ("ff3e::1/128", "ff3e::1/128"),
        ("ff30::/32, ff3x::/96", "ff30::/32, ff3x::/96"),
        (
            (0..<16).map { "ff3\(String($0, radix: 16))::/32" }.reversed().joined(separator: ", "),
            "ff3x::/32"
        ),
    ])
    func rangesPrintTheShortestWay(text: String, printed: String) throws {
        #expect(outcome(.groupRanges, text) == printed)
        #expect(try ValueType<[IPPrefix]>.groupRanges.parse(printed) == ValueType<[IPPrefix]>.groupRanges.parse(text))
    }

    @Test func notRanges() {
        for (text, message, offset) in [
            ("", "\"\" is not a prefix (such as 232.0.0.0/8 or ff3x::/32)", 0),
            ("232/8", "\"232/8\" is not a prefix (such as 232.0.0.0/8 or ff3x::/32)", 0),
            ("fx30::/32", "\"fx30::/32\" is not a prefix (such as 232.0.0.0/8 or ff3x::/32)", 0),
            ("ff3x::x/128", "\"ff3x::x/128\" is not a prefix (such as 232.0.0.0/8 or ff3x::/32)", 0),
            ("none, 232.0.0.0/8", "\"none\" is not a prefix (such as 232.0.0.0/8 or ff3x::/32)", 0),
            ("232.0.0.0/8,  232.1.1.1", "\"232.1.1.1\" has no length (such as 232.1.1.1/32)", 14),
            ("ff3x::", "\"ff3x::\" has no length (such as ff3x::/128)", 0),
            ("224.0.0.0/3", "\"3\" is not a prefix's length (4 to 32)", 0),
            ("232.0.0.0/33", "\"33\" is not a prefix's length (4 to 32)", 0),
            ("232.0.0.0/", "\"\" is not a prefix's length (4 to 32)", 0),
            ("232.0.0.0/8/8", "\"8/8\" is not a prefix's length (4 to 32)", 0),
            ("ff00::/7", "\"7\" is not a prefix's length (8 to 128)", 0),
            ("ff3x::/12", "\"12\" is not a prefix's length (16 to 128)", 0),
            ("ff3e::/129", "\"129\" is not a prefix's length (8 to 128)", 0),
            ("192.0.2.0/24", "\"192.0.2.0/24\" is not a range of groups", 0),
            ("2001:db8::/32", "\"2001:db8::/32\" is not a range of groups", 0),
            ("232.0.0.1/8", "\"232.0.0.1/8\" has bits beyond its length (write 232.0.0.0/8)", 0),
            ("ff3e:0:1::/32", "\"ff3e:0:1::/32\" has bits beyond its length (write ff3e::/32)", 0),
            ("ff3x::1/96", "\"ff3x::1/96\" has bits beyond its length", 0),
            ("232.0.0.0/8, 232.0.0.0/8", "\"232.0.0.0/8\" is listed twice", 13),
            ("ff3x::/32, ff35::/32", "\"ff35::/32\" is listed twice", 11),
            ("ff35::/32, ff3x::/32", "\"ff3x::/32\" is listed twice", 11),
        ] {
            #expect(outcome(.groupRanges, text) == message)
            #expect(offsetOfProblem(.groupRanges, text) == offset, "\(text)")
        }
        let many = (0...64).map { "232.0.\($0).0/24" }
        #expect(outcome(.groupRanges, many.dropLast().joined(separator: ", ")) == many.dropLast().joined(separator: ", "))
        #expect(outcome(.groupRanges, many.joined(separator: ", ")) == "more than 64 ranges")
    }

    @Test func staticGroups() throws {
        let text = "232.1.1.1 from 192.0.2.7,239.1.1.1, ff3e::8000:1 from 2001:db8::1 on 10, 239.1.1.1 \t on  s4094"
        #expect(
            try ValueType<[StaticGroup]>.staticGroups.parse(text) == [
                StaticGroup(group: ip("232.1.1.1"), source: ip("192.0.2.7")), StaticGroup(group: ip("239.1.1.1")),
                StaticGroup(vlan: VLAN(rawValue: 10), group: ip("ff3e::8000:1"), source: ip("2001:db8::1")),
                StaticGroup(vlan: VLAN(identifier: 4_094, isService: true), group: ip("239.1.1.1")),
            ])
        let printed = "232.1.1.1 from 192.0.2.7, 239.1.1.1, ff3e::8000:1 from 2001:db8::1 on 10, 239.1.1.1 on s4094"
        #expect(outcome(.staticGroups, text) == printed && outcome(.staticGroups, printed) == printed)
        #expect(outcome(.staticGroups, "239.1.1.1 on 1 from 192.0.2.7") == "239.1.1.1 from 192.0.2.7 on 1")
        #expect(outcome(.staticGroups, "none") == "none")
        // A group for all sources comes before the same group from one.
        #expect(
            outcome(.staticGroups, "239.1.1.1 from 192.0.2.8, 239.1.1.1 from 192.0.2.7, 239.1.1.1")
                == "239.1.1.1, 239.1.1.1 from 192.0.2.7, 239.1.1.1 from 192.0.2.8")
    }

    @Test func notStaticGroups() {
        let form = " (write GROUP from SOURCE on VLAN)"
        let vlan = " (1 to 4094, or s1 to s4094 for a service tag; leave \"on\" out for untagged frames)"
        for (text, message, offset) in [
            ("", "empty item (such as 239.1.1.1, or 232.1.1.1 from 192.0.2.7 on 10)", 0),
            ("239.1.1.1,", "empty item (such as 239.1.1.1, or 232.1.1.1 from 192.0.2.7 on 10)", 10),
            ("239.1.1.1, 239.1.1", "\"239.1.1\" is not an address (such as 239.1.1.1)", 11),
            ("192.0.2.1", "\"192.0.2.1\" is not a group (such as 239.1.1.1)", 0),
            ("224.0.0.251", "\"224.0.0.251\" is not a group that can be joined (such as 239.1.1.1)", 0),
            ("ff02::1", "\"ff02::1\" is not a group that can be joined (such as 239.1.1.1)", 0),
            ("ff01::5", "\"ff01::5\" is not a group that can be joined (such as 239.1.1.1)", 0),
            ("239.1.1.1 192.0.2.1", "\"192.0.2.1\" after a group" + form, 10),
            ("239.1.1.1 from", "nothing after \"from\"" + form, 10),
            ("239.1.1.1 on 1 on 2", "\"on\" after a group" + form, 15),
            ("239.1.1.1  from 239.1.1.2", "\"239.1.1.2\" is no host's address (such as 192.0.2.7)", 16),
            ("239.1.1.1 from x", "\"x\" is no host's address (such as 192.0.2.7)", 15),
            ("239.1.1.1 from 0.0.0.0", "\"0.0.0.0\" is no host's address (such as 192.0.2.7)", 15),
            (
                "239.1.1.1 from fe80::1",
                "\"fe80::1\" sends no frames to 239.1.1.1 (239.1.1.1 is IPv4, fe80::1 is IPv6)", 15
            ),
            ("239.1.1.1 on 0", "\"0\" is not a VLAN" + vlan, 13), ("239.1.1.1 on 4095", "\"4095\" is not a VLAN" + vlan, 13),
            ("239.1.1.1 on s", "\"s\" is not a VLAN" + vlan, 13), ("239.1.1.1 on c10", "\"c10\" is not a VLAN" + vlan, 13),
            ("239.1.1.1 on s65537", "\"s65537\" is not a VLAN" + vlan, 13),
            ("239.1.1.1 on 7, 239.1.1.1  on 07", "\"239.1.1.1 on 7\" is listed twice", 16),
        ] {
            #expect(outcome(.staticGroups, text) == message)
            #expect(offsetOfProblem(.staticGroups, text) == offset, "\(text)")
        }
        let many = (0...1_024).map { "239.1.\($0 / 256).\($0 % 256)" }
        #expect(try! ValueType<[StaticGroup]>.staticGroups.parse(many.dropLast().joined(separator: ",")).count == 1_024)
        #expect(outcome(.staticGroups, many.joined(separator: ", ")) == "more than 1024 groups")
    }

    @Test func addressesOfTheCommandLine() {
        #expect(parseAddress("192.0.2.1") == IPAddress(ipv4: 0xC000_0201))
        #expect(parseAddress("2001:DB8::1") == IPAddress(high: 0x2001_0DB8_0000_0000, low: 1))
        #expect(parseAddress("64:ff9b::192.0.2.1") == IPAddress(high: 0x0064_FF9B_0000_0000, low: 0xC000_0201))
        #expect(parseAddress("::") == IPAddress(high: 0, low: 0))
        for text in ["", "1.2.3", "01.2.3.4", "fe80::1%2", "[::1]", "192.0.2.1:7", "::ffff:192.0.2.1", "host", " ::1"] {
            #expect(parseAddress(text) == nil, "\(text)")
        }
    }

    private func offsetOfProblem<Value>(_ type: ValueType<Value>, _ text: String) -> Int? {
        do throws(ValueProblem) {
            _ = try type.parse(text)
            return nil
        } catch {
            return error.offset
        }
    }
}

@Suite struct MulticastScenarioTests {
    @Test func settingsReachTheirSiteAndPort() throws {
        let text = """
            sites = a, b
            site.b.ports = x, y
            site.b.set.multicast.static = 239.1.1.1
            site.b.set.igmp.query-interval = 60s
            site.b.set.bridge.forward-mask = 0x4000
            site.b.set.port.y.router = on
            site.b.set.port.y.fast-leave = on
            site.b.set.port.x.flood-reports = on
            """
        let sites = try #require(scenario(text)).sites
        #expect(sites[0].tuning == SiteTuning() && sites[0].ports.map(\.multicast) == [PortMulticast()])
        #expect(sites[1].tuning.multicast.statics == [StaticGroup(group: ip("239.1.1.1"))])
        #expect(sites[1].tuning.multicast.igmp.timing.queryInterval == .seconds(60) && sites[1].tuning.forwardMask == 0x4000)
        let (x, y) = (sites[1].ports[0].multicast, sites[1].ports[1].multicast)
        #expect(x.router == .auto && !x.fastLeave && x.floodReports)
        #expect(y.router == .on && y.fastLeave && !y.floodReports)
    }

    @Test func aSettingDoesNotMakeAPort() {
        #expect(
            problems(ofScenario: "sites = a\nsite.a.set.port.lan1.router = on\nsite.a.set.port.x.fast-leave = on") == [
                "s:2:17: the site \"a\" has no port \"lan1\" (did you mean lan0?)",
                "s:3:17: the site \"a\" has no port \"x\" (it has lan0)",
            ])
    }

    @Test func momentsOfSnapshots() throws {
        func snapshots(_ text: String) -> [Interval]? { scenario("sites = a, b\nsnapshot.at = \(text)")?.snapshots }
        #expect(scenario("sites = a, b")?.snapshots == [])
        #expect(snapshots("3s, 10s") == [.seconds(3), .seconds(10)])
        #expect(snapshots("10s,0s ,  1500ms, 1000000s") == [.zero, .milliseconds(1_500), .seconds(10), .seconds(1_000_000)])
        func problem(_ text: String) -> [String] { problems(ofScenario: "sites = a, b\nsnapshot.at = \(text)") }
        #expect(problem("3s, 3000ms") == ["s:2:19: snapshot.at: 3s is listed twice"])
        #expect(problem("3s, 4") == ["s:2:19: snapshot.at: \"4\" has no unit (add a unit, such as 4s)"])
        #expect(problem("3s,, 4s") == ["s:2:18: snapshot.at: \"\" is not a duration (a number and a unit, such as 5s)"])
        #expect(problem("1000001s") == ["s:2:15: snapshot.at: \"1000001s\" is out of range (0s to 1000000s)"])
        let many = (0...100).map { "\($0)s" }
        #expect(snapshots(many.dropLast().joined(separator: ","))?.count == 100)
        #expect(problem(many.joined(separator: ",")) == ["s:2:405: snapshot.at: more than 100 moments"])
    }
}
