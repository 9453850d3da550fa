// `causeway why`: the line that asks it, the verdict, the rule and the record behind it.

import Basics
import Buffers
import Gateway
import Settings
import Testing
import Tunnels

@testable import Operator
@testable import Switching

@Suite struct OperatorRequestTests {
    @Test(arguments: ShowTopic.allCases)
    func showSurvivesTheWay(topic: ShowTopic) {
        #expect(OperatorRequest.show(topic).line == "show \(topic.rawValue)\n")
        #expect(OperatorRequest(line: "show \(topic.rawValue)\n") == .show(topic))
        #expect(OperatorRequest(line: "show \(topic.rawValue)") == .show(topic))
    }

    @Test(arguments: [
        (WhyQuestion(group: v4(239, 1, 1, 1), source: nil, vlan: .untagged, site: "nyc"), "why 239.1.1.1 - 0 nyc\n"),
        (
            WhyQuestion(group: v4(232, 1, 1, 1), source: v4(192, 0, 2, 7), vlan: ten, site: "nyc"),
            "why 232.1.1.1 192.0.2.7 10 nyc\n"
        ),
        (
            WhyQuestion(group: v6(0xFF3E << 48, 1), source: v6(0x2001_0DB8 << 32, 7), vlan: seven, site: "a-b.c"),
            "why ff3e::1 2001:db8::7 4103 a-b.c\n"
        ),
    ])
    func whySurvivesTheWay(question: WhyQuestion, line: String) {
        #expect(OperatorRequest.why(question).line == line)
        #expect(OperatorRequest(line: line) == .why(question))
    }

    @Test func peersSurviveTheWay() throws {
        let key = Base64.encode(Array(repeating: 7, count: 32))
        let lines = [
            "peer add nyc \(key) nyc.example:7117 192.0.2.1:7118\n", "peer add nyc \(key)\n", "peer add hub - 192.0.2.1:7117\n",
            "peer remove nyc\n",
        ]
        for line in lines { #expect(OperatorRequest(line: line)?.line == line) }
        let order = try PeerOrder(name: "hub", key: "-", addresses: ["192.0.2.1:7117"])
        #expect(OperatorRequest(line: lines[2]) == .addPeer(order))
        for line in [
            "peer", "peer add", "peer add nyc", "peer add hub -", "peer add NYC \(key)", "peer add nyc key a:1", "peer remove",
            "peer remove a b", "peer add nyc \(key) nowhere",
        ] { #expect(OperatorRequest(line: line) == nil, "\(line)") }
    }

    @Test(arguments: [
        "", "\n", " ", "show", "show\n", "show bogus", "show status peers", "SHOW status", "show Status", "status", "why",
        "why 239.1.1.1", "why 239.1.1.1 - 0", "why 239.1.1.1 - 0 nyc more", "why group - 0 nyc", "why 239.1.1 - 0 nyc",
        "why 239.1.1.1 source 0 nyc", "why 239.1.1.1 192.0.2.256 0 nyc", "why 239.1.1.1 - ten nyc", "why 239.1.1.1 - -1 nyc",
        "why 239.1.1.1 - 8192 nyc", "why 239.1.1.1 - 65536 nyc", "why 239.1.1.1 - 99999999999999999999 nyc", "why - - - -",
        "why 239.1.1.1 - 0x10 nyc", "\0", "show \0", "show status\0", "\u{FFFD}\u{FFFD}", "show\tstatus",
        "show status\nshow peers\n", String(repeating: "why ", count: 10_000), String(repeating: "x", count: 100_000),
    ])
    func whatIsNoRequest(line: String) { #expect(OperatorRequest(line: line) == nil) }
}

@Suite struct WhyDocumentTests {
    private func explain(
        _ reason: ForwardingReason, to peer: PeerIndex? = PeerIndex(1), source: IPAddress? = nil, wish: Wish = .nothing,
        scope: ForwardingExplanation.Scope = .snooped, denial: Denial? = nil
    ) -> WhyDocument {
        let explanation = ForwardingExplanation(
            key: wanted, source: source, scope: scope, peer: peer, wish: wish,
            decisions: peer == nil ? [(PortIndex(0), reason), (PortIndex(1), .nobody)] : [(nil, reason)], denial: denial,
            members: peer == nil ? entries(wanted) : [])
        return WhyDocument(explanation, to: peer == nil ? "london" : "nyc", makeMulticastSnapshot())
    }

    @Test func aDenialDecides() {
        let denial = Denial(.siteReceive, listed: "239.2.0.0/16")
        let why = explain(.member, source: v4(192, 0, 2, 7), wish: .everything, denial: denial)
        #expect(!why.isForwarded && why.rule == 44)
        #expect(
            why.sentences.first
                == "A frame from 192.0.2.7 to 239.1.1.1 does not go to nyc: site nyc may not receive 239.1.1.1 from "
                + "192.0.2.7 on VLAN 10: its pass lists 239.2.0.0/16 (rule 44).")
        let unasked = explain(.nobody, denial: denial)
        #expect(!unasked.isForwarded && unasked.rule == 37)
        #expect(
            unasked.sentences.contains(
                "It could not go there either way: site nyc may not receive 239.1.1.1 on VLAN 10: its pass lists 239.2.0.0/16 "
                    + "(rule 44)."))
        let here = explain(.member, to: nil, denial: Denial(.ownReceive, listed: "none"))
        #expect(
            !here.isForwarded && here.sentences[0].contains("this site may not receive 239.1.1.1 on VLAN 10: its pass lists none")
        )
        #expect(
            explain(.member, scope: .snoopingOff, denial: denial).rule == 44, "without snooping here too")
    }

    @Test(arguments: [
        (ForwardingReason.member, true, 37, "a fact that nyc told asks for it"),
        (.lostCount, true, 29, "a limit was passed there"), (.flooded, true, 37, "multicast.unregistered = flood"),
        (.routerSite([.pim, .discovery]), true, 36, "for its routers (pim, discovery)"),
        (.tooManyFacts, true, 29, "multicast.interests.limit"), (.otherSources, false, 37, "but not for this source"),
        (.nobody, false, 37, "no fact of nyc asks for it"),
    ])
    func theVerdictForASite(reason: ForwardingReason, isForwarded: Bool, rule: Int, words: String) {
        let why = explain(reason)
        #expect(why.isForwarded == isForwarded && why.rule == rule)
        let verb = isForwarded ? "goes" : "does not go"
        let start = "A frame from a source that nobody names to 239.1.1.1 \(verb) to nyc: "
        #expect(why.sentences[0].hasPrefix(start) && why.sentences[0].hasSuffix(" (rule \(rule))."))
        #expect(why.sentences[0].contains(words), "\(why.sentences[0])")
        #expect([why.site, why.vlan, why.group, why.to] == ["london", "10", "239.1.1.1", "nyc"] && why.source == nil)
    }

    @Test func theRecordOfASite() {
        let wish = Wish(.include, [v4(192, 0, 2, 8)], generations: .third)
        let why = explain(.member, source: v4(192, 0, 2, 8), wish: wish)
        #expect(why.source == "192.0.2.8")
        #expect(
            why.sentences == [
                "A frame from 192.0.2.8 to 239.1.1.1 goes to nyc: a fact that nyc told asks for it (rule 37).",
                "Record: nyc told that it wants sources 192.0.2.8 (IGMPv3).",
                "The tunnel to nyc is not up: nothing goes there until it is.",
            ])
        // ams is up, and has told nothing.
        #expect(explain(.nobody, to: PeerIndex(0)).sentences.count == 1)
        #expect(Tables.text(why) == why.sentences.map { $0 + "\n" }.joined())
    }

    @Test(arguments: [
        (ForwardingReason.member, true, 16, "a member wants it"), (.configured, true, 16, "multicast.static has it"),
        (.routerPort, true, 10, "a multicast router is there"), (.lostCount, true, 29, "a limit was passed there"),
        (.flooded, true, 12, "multicast.unregistered = flood"), (.otherSources, false, 16, "members want other sources only"),
        (.nobody, false, 12, "nobody there has joined"),
    ])
    func theVerdictForThisSite(reason: ForwardingReason, isForwarded: Bool, rule: Int, words: String) {
        let why = explain(reason, to: nil)
        #expect(why.isForwarded == isForwarded && why.rule == rule && why.to == "london")
        #expect(why.sentences[0].contains(words) && why.sentences[0].contains("to london: "))
        #expect(why.sentences[1].hasPrefix("Port lan0: \(isForwarded ? "yes" : "no"), ") && why.sentences[1].contains(words))
        #expect(why.sentences[2] == "Port lan1: no, nobody there has joined (rule 12).")
        #expect(
            why.sentences[3...] == [
                "Record: port lan0 is in INCLUDE with 2 sources, members 10.0.0.1 (02:00:00:00:01:01, IGMPv3).",
                "Record: port lan1 is in EXCLUDE with 2 sources, members 10.0.0.2 (02:00:00:00:01:02, IGMPv2), "
                    + "10.0.0.3 (02:00:00:00:01:03, IGMPv3).",
            ])
    }

    /// What is decided before anybody's wish counts.
    @Test(arguments: [
        (ForwardingExplanation.Scope.everywhere, true, 11, "go everywhere, always"),
        (.snoopingOff, true, 12, "multicast.snooping is off"), (.invalidScope, false, 15, "scope 0 and 1"),
        (.notMulticast, false, 14, "is not a multicast group"),
    ])
    func theScopeDecidesFirst(scope: ForwardingExplanation.Scope, isForwarded: Bool, rule: Int, words: String) {
        // The wish says the contrary.
        let why = explain(isForwarded ? .nobody : .member, scope: scope)
        #expect(why.isForwarded == isForwarded && why.rule == rule && why.sentences[0].contains(words), "\(why.sentences)")
    }

    @Test func aSurveyOfAGatewayThatKnowsNothing() throws {
        var random = SeededRandom(seed: 3)
        let mailbox = LaneMailbox(ports: 1, peers: 1, secret: HashSecret(using: &random))
        let control = ControlCore(
            ControlConfiguration(
                identity: KeyPair.generate(using: &random), peers: [.init(name: "nyc", key: key(1), hasAddress: true)]),
            mailbox: mailbox, random: random, wallClock: 0, at: .zero)
        let snapshot = GatewaySnapshot(
            site: "london", listen: nil, started: .zero, taken: now,
            ports: [GatewaySnapshot.Port(name: "lan0", kind: "tap", device: "t")], control: control, backends: .sodium,
            layout: mailbox.layout, counters: [UInt64](repeating: 0, count: mailbox.layout.count), macs: nil, withGroups: true)
        func why(_ group: IPAddress, _ site: String) -> WhyDocument? {
            WhyDocument(WhyQuestion(group: group, source: nil, vlan: ten, site: site), control, snapshot)
        }
        #expect(why(v4(239, 1, 1, 1), "paris") == nil && why(v4(239, 1, 1, 1), "") == nil)
        let far = try #require(why(v4(239, 1, 1, 1), "nyc"))
        #expect((far.isForwarded, far.rule, far.vlan, far.to) == (false, 37, "10", "nyc"))
        let here = try #require(why(v4(239, 1, 1, 1), "london"))
        #expect((here.isForwarded, here.rule) == (false, 12))
        #expect(try #require(why(v4(224, 0, 0, 5), "nyc")).rule == 11)
        #expect(try #require(why(v6(0xFF01 << 48, 1), "nyc")).rule == 15)
        #expect(try #require(why(v4(192, 0, 2, 1), "nyc")).rule == 14)
        #expect(try JSON.decode(WhyDocument.self, from: JSON.encode(far)) == far)
    }
}
