// Values that do not go together: the whole text of each problem, its place, and that one check serves a configuration and each
// site of a scenario.

import Basics
import Testing

@testable import Settings

/// The warnings of a configuration of `minimal`, a peer, and these lines, the first of which is line 7.
private func warnings(_ lines: String) -> [String] {
    let parsed = parse(minimal + "peer.a.key = \(key(1))\n" + lines)
    #expect(parsed.diagnostics == [])
    return parsed.warnings.map(\.description)
}

@Suite struct TuningCheckTests {
    // MARK: - Errors

    @Test(arguments: ["igmp", "mld"]) func answersComeBeforeTheNextQuery(name: String) {
        let says = "the query response interval (K3, 125s) is not below the query interval (K2, 125s)"
        let hint = "hosts spread their answers over K3, and all must have answered before the next query"
        #expect(
            problems(adding: "\(name).query-response-interval = 125s") == [
                "gw.conf:6:\(name.count + 28): \(name).query-response-interval: \(says) (\(hint))"
            ])
        #expect(problems(adding: "\(name).query-response-interval = 124900ms") == [])
        // The place is the key that the file has.
        #expect(
            problems(adding: "\(name).query-interval = 10s") == [
                "gw.conf:6:\(name.count + 19): \(name).query-interval: "
                    + "the query response interval (K3, 10s) is not below the query interval (K2, 10s) (\(hint))"
            ])
    }

    @Test func oneWrongValueIsOneProblem() {
        #expect(problems(adding: "igmp.query-interval = 99999s\nigmp.query-response-interval = 200s").count == 1)
        #expect(problems(adding: "igmp.query-interval =\nigmp.query-response-interval = 200s").count == 1)
        #expect(problems(adding: "multicast.ssm = x\nmulticast.static = 232.1.1.1").count == 1)
    }

    @Test func membershipsOutliveTheNextQuery() {
        let message =
            "the group membership interval (K4, 135s) is not above K2 + K3 (135s): "
            + "members would be forgotten between two queries (by default it is K1 x K2 + 2 x K3, 270s)"
        #expect(
            problems(adding: "igmp.group-membership-interval = 135s") == [
                "gw.conf:6:34: igmp.group-membership-interval: " + message
            ])
        #expect(problems(adding: "igmp.group-membership-interval = 135001ms") == [])
        // With K1 = 1 the derived interval is longer than that.
        #expect(problems(adding: "mld.robustness = 1") == [])
    }

    @Test func leavesAreFasterThanSilence() {
        let hint = " (a leave would end a group no sooner than silence does)"
        #expect(
            problems(adding: "igmp.last-member-query-time = 270s") == [
                "gw.conf:6:31: igmp.last-member-query-time: the last member query time (K10, 270s) is not below "
                    + "the group membership interval (K4, 270s)" + hint
            ])
        #expect(
            problems(adding: "mld.last-member-query-interval = 135s") == [
                "gw.conf:6:34: mld.last-member-query-interval: the last member query time (K10, 270s) is not below "
                    + "the group membership interval (K4, 270s)" + hint
            ])
        #expect(
            problems(adding: "igmp.last-member-query-time = 1s\nigmp.last-member-query-interval = 136s") == [
                "gw.conf:7:35: igmp.last-member-query-interval: the queries after a leave (K8 x K9, 272s) take longer than "
                    + "the group membership interval (K4, 270s)" + hint
            ])
        #expect(problems(adding: "igmp.last-member-query-time = 1s\nigmp.last-member-query-interval = 135s") == [])
    }

    @Test func sourceSpecificGroupsHaveASource() {
        let text = "multicast.static = 239.1.1.1, 232.1.1.1 on 10,   232.1.1.1, 232.1.1.2 from 192.0.2.7, ff3e::1"
        func says(_ group: String) -> String {
            "multicast.static: \(group) is in the source-specific range (multicast.ssm) (name its source: \(group) from SOURCE)"
        }
        #expect(
            problems(adding: text) == [
                "gw.conf:6:31: \(says("232.1.1.1"))", "gw.conf:6:50: \(says("232.1.1.1"))", "gw.conf:6:87: \(says("ff3e::1"))",
            ])
        #expect(problems(adding: text + "\nmulticast.ssm = none") == [])
        #expect(problems(adding: text + "\nmulticast.ssm = ff3x::/32") == ["gw.conf:6:87: \(says("ff3e::1"))"])
    }

    // MARK: - Warnings

    @Test func robustnessOne() {
        #expect(
            warnings("igmp.robustness = 1\nmld.robustness = 1") == [
                "gw.conf:7:19: igmp.robustness: with 1, one lost report ends a membership (2 or more; see RFC 9776 section 8.1)",
                "gw.conf:8:18: mld.robustness: with 1, one lost report ends a membership (2 or more; see RFC 9777 section 9.1)",
            ])
        #expect(warnings("igmp.robustness = 7") == [])
    }

    @Test func nothingIsForgottenBetweenTwoQueries() {
        #expect(
            warnings("igmp.other-querier-present = 125s\nigmp.older-host-present = 124s\nmld.older-querier-present = 124s") == [
                "gw.conf:7:30: igmp.other-querier-present: other querier present (K5, 125s) is not above "
                    + "the query interval (K2, 125s) (the elected querier would be forgotten between two of its queries)",
                "gw.conf:8:27: igmp.older-host-present: older host present (K11, 124s) is below "
                    + "the query interval (K2, 125s) (an older host would be forgotten between two of its reports)",
                "gw.conf:9:29: mld.older-querier-present: older querier present (K12, 124s) is below "
                    + "the query interval (K2, 125s) (an older querier would be forgotten between two of its queries)",
            ])
        #expect(
            warnings("igmp.other-querier-present = 126s\nigmp.older-host-present = 125s\nmld.older-querier-present = 125s") == [])
    }

    @Test func anAddressWithoutAQuerier() {
        #expect(
            warnings("mld.querier = off\nmld.querier.address = fe80::1") == [
                "gw.conf:8:23: mld.querier.address: there is an address for queries, and mld.querier is off (remove one of the two)"
            ])
        #expect(warnings("mld.querier = off\nigmp.querier.address = 192.0.2.1") == [])
    }

    @Test func versionOneKnowsNoLeaves() {
        #expect(
            warnings("igmp.version = 1") == [
                "gw.conf:7:16: igmp.version: in version 1 there are no leaves "
                    + "(a feed goes on for 270s after its last receiver, with version 3 for 2s)"
            ])
        #expect(warnings("mld.version = 1\nigmp.version = 2") == [])
    }

    @Test func spanningTreeOverTheWAN() {
        #expect(
            warnings("bridge.forward-mask = 0x4001") == [
                "gw.conf:7:23: bridge.forward-mask: bit 0 makes one spanning tree of all sites "
                    + "(a change at one site then stops ports at the others; write 0x4000)"
            ])
        #expect(warnings("bridge.forward-mask = 0x4000") == [])
    }

    @Test func withoutSnoopingTheRestIsIdle() {
        #expect(warnings("multicast.snooping = off") == [])
        #expect(
            warnings("igmp.robustness = 1\nmulticast.snooping = off\nport.lan0.router = on\nmulticast.tracking = on") == [
                "gw.conf:8:22: multicast.snooping: while it is off, 3 other keys have no effect (the first is igmp.robustness on line 7)"
            ])
        #expect(
            warnings("multicast.snooping = off\nport.lan0.fast-leave = on\nport.lan0.filter = ip\nmac.limit = 16") == [
                "gw.conf:7:22: multicast.snooping: while it is off, another key has no effect (port.lan0.fast-leave on line 8)"
            ])
        // What is wrong stays wrong.
        #expect(problems(adding: "multicast.snooping = off\nigmp.query-interval = 5s").count == 1)
    }

    // MARK: - What a query can say

    /// The Linux bridge sends 200 s as 3072 s; here every value that cannot be said exactly is named.
    @Test(
        arguments: [
            // The query interval: seconds, 8 bits (RFC 9776 section 4.1.7, RFC 9777 section 5.1.9).
            ("igmp.query-interval", "127s", nil), ("igmp.query-interval", "128s", nil), ("igmp.query-interval", "129s", "128s"),
            ("igmp.query-interval", "200s", nil), ("igmp.query-interval", "201s", "200s"),
            ("igmp.query-interval", "255s", "248s"),
            ("igmp.query-interval", "256s", nil), ("igmp.query-interval", "31744s", nil),
            ("mld.query-interval", "3000s", "2944s"),
            ("mld.query-interval", "31743s", "30720s"), ("mld.query-interval", "20500ms", "20s"),
            // IGMP's response: tenths of a second, 8 bits (RFC 9776 section 4.1.1).
            ("igmp.query-response-interval", "12.7s", nil), ("igmp.query-response-interval", "12.8s", nil),
            ("igmp.query-response-interval", "12.9s", "12800ms"), ("igmp.query-response-interval", "150ms", "100ms"),
            ("igmp.last-member-query-interval", "1.25s", "1200ms"), ("igmp.last-member-query-interval", "20s", nil),
            ("igmp.last-member-query-interval", "20.1s", "20s"),
            // MLD's: milliseconds, 16 bits (RFC 9777 section 5.1.3).
            ("mld.query-response-interval", "32767ms", nil), ("mld.query-response-interval", "32768ms", nil),
            ("mld.query-response-interval", "32769ms", "32768ms"), ("mld.query-response-interval", "65535ms", "65528ms"),
            ("mld.query-response-interval", "65551ms", "65536ms"), ("mld.query-response-interval", "100500us", "100ms"),
            ("mld.last-member-query-interval", "40001ms", "40s"),
        ] as [(String, String, String?)])
    func whatHostsRead(key: String, value: String, read: String?) throws {
        let lines = "\(key) = \(value)"
        guard let read else { return #expect(warnings(lines) == []) }
        let written = try ValueType<Interval>.duration(.zero ... .seconds(100_000)).parse(value)
        let version = key.hasPrefix("igmp") ? "IGMP version 3" : "MLD version 2"
        #expect(
            warnings(lines) == [
                "gw.conf:7:\(key.count + 4): \(key): a query cannot say \(written): hosts will read \(read) "
                    + "(\(read) is the nearest that a query of \(version) says)"
            ])
    }

    /// Fields of the older versions are linear, and there is none for the query interval.
    @Test func whatHostsReadInOlderVersions() {
        #expect(warnings("igmp.version = 2\nigmp.query-interval = 201s\nigmp.query-response-interval = 25.5s") == [])
        #expect(
            warnings("igmp.version = 2\nigmp.query-response-interval = 25.6s") == [
                "gw.conf:8:32: igmp.query-response-interval: a query cannot say 25600ms: hosts will read 25500ms "
                    + "(25500ms is the nearest that a query of IGMP version 2 says)"
            ])
        #expect(warnings("mld.version = 1\nmld.query-response-interval = 65535ms") == [])
        #expect(
            warnings("mld.version = 1\nmld.query-response-interval = 65536ms") == [
                "gw.conf:8:31: mld.query-response-interval: a query cannot say 65536ms: hosts will read 65535ms "
                    + "(65535ms is the nearest that a query of MLD version 1 says)"
            ])
        #expect(
            warnings("igmp.version = 1\nigmp.query-response-interval = 5s\nigmp.last-member-query-interval = 1.25s").last
                == "gw.conf:8:32: igmp.query-response-interval: a query cannot say 5s: hosts will read 10s "
                + "(10s is the nearest that a query of IGMP version 1 says)")
    }

    // MARK: - Scenarios

    @Test func aScenarioHearsTheSameOfEachSite() {
        let text = """
            sites = a, b
            site.a.set.igmp.query-response-interval = 130s
            site.b.set.igmp.robustness = 1
            site.b.set.multicast.static = 239.1.1.1, 232.1.1.1
            site.a.set.mld.query-interval = 201s
            """
        let parsed = ReplayScenario.parse(Array(text.utf8), file: "s")
        #expect(
            parsed.diagnostics.map(\.description) == [
                "s:2:43: site.a.set.igmp.query-response-interval: the query response interval (K3, 130s) is not below "
                    + "the query interval (K2, 125s) (hosts spread their answers over K3, and all must have answered before the next query)",
                "s:4:42: site.b.set.multicast.static: 232.1.1.1 is in the source-specific range (multicast.ssm) "
                    + "(name its source: 232.1.1.1 from SOURCE)",
            ])
        #expect(
            parsed.warnings.map(\.description) == [
                "s:2:43: site.a.set.igmp.query-response-interval: a query cannot say 130s: hosts will read 128s "
                    + "(128s is the nearest that a query of IGMP version 3 says)",
                "s:3:30: site.b.set.igmp.robustness: with 1, one lost report ends a membership (2 or more; see RFC 9776 section 8.1)",
                "s:5:33: site.a.set.mld.query-interval: a query cannot say 201s: hosts will read 200s "
                    + "(200s is the nearest that a query of MLD version 2 says)",
            ])
    }

    @Test func theSwitchOfOneSiteIsNotThatOfAnother() {
        let text = "sites = a, b\nsite.a.set.multicast.snooping = off\nsite.b.set.igmp.querier = off"
        #expect(ReplayScenario.parse(Array(text.utf8), file: "s").warnings == [])
        let both = text + "\nsite.a.set.port.lan0.router = on"
        #expect(
            ReplayScenario.parse(Array(both.utf8), file: "s").warnings.map(\.description) == [
                "s:2:33: site.a.set.multicast.snooping: while it is off, another key has no effect (site.a.set.port.lan0.router on line 4)"
            ])
    }
}
