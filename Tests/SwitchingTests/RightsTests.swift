// Rights as lists of ranges: what two sites' rights come to, what a lane finds in them, which peers of a fan-out are looked at,
// and how a denial reads. Addresses are literal; a brute-force model that goes over the rules one by one has to agree.

import Basics
import Buffers
import Testing

@testable import Switching

/// 10.x.x.x, 239.x.x.x and so on from four numbers.
private func v4(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) -> IPAddress {
    IPAddress(ipv4: a << 24 | b << 16 | c << 8 | d)
}

private func block(_ address: IPAddress, _ length: Int) -> IPPrefix { IPPrefix(address, length: length)! }

private let g1 = v4(239, 1, 1, 1)
private let g2 = v4(239, 2, 1, 1)
private let inside = v4(10, 1, 0, 5)
private let outside = v4(10, 2, 0, 5)
private let ipv6Group = IPAddress(high: 0xFF05 << 48, low: 0x20_0001)
private let ipv6Source = IPAddress(high: 0x2001_0DB8_0002_0000, low: 1)
private let site = PeerIndex(3)

/// 239.1.0.0/16 from anybody, 232.0.0.0/8 from 10.1.0.0/16.
private let someGroups = GroupRights([
    .init(block(v4(239, 1, 0, 0), 16)), .init(block(v4(232, 0, 0, 0), 8), from: [block(v4(10, 1, 0, 0), 16)]),
])

@Suite struct RightsTests {
    /// What a lane finds for one peer, from the lists that control publishes.
    private final class Lab {
        var book = RightsBook(peers: 8)
        private let board: ForwardingBoard
        private let table: ForwardingTable

        init() {
            var random = SeededRandom(seed: 7)
            board = ForwardingBoard(secret: HashSecret(using: &random))
            table = ForwardingTable(board)
        }

        func set(_ rights: PeerRights?) { publish(book.set(rights, of: site)) }
        func setOwn(_ rights: PeerRights?) { publish(book.setOwn(rights)) }

        private func publish(_ changes: [(peer: PeerIndex, list: [RightsRange])]) {
            for (peer, list) in changes { board.rights.publish(list, at: peer.index) }
            table.acknowledge()
        }

        func isLimited(_ peer: Int) -> Bool { table.rights.isLimited(peer) }
        func uses(_ vlan: UInt16) -> Bool { table.rights.mayUse(VLAN(rawValue: vlan), site.index) }

        func passes(_ group: IPAddress, _ source: IPAddress, _ direction: RightsDirection = .outward) -> Bool {
            let answer = table.rights.mayPass(group, from: source, direction, site.index)
            let words = book.denial(direction, site, .untagged, group, from: source)
            #expect(answer == (words == nil), "lanes and explanations agree")
            return answer
        }
    }

    @Test func withoutRightsNothingIsLimited() {
        let lab = Lab()
        #expect(!lab.isLimited(site.index) && lab.passes(g1, inside) && lab.uses(0))
        lab.set(PeerRights())
        #expect(!lab.isLimited(site.index), "rights to everything are none")
        lab.set(PeerRights(receive: someGroups))
        #expect(lab.isLimited(site.index) && !lab.isLimited(2))
        lab.set(nil)
        #expect(!lab.isLimited(site.index) && lab.passes(g2, outside))
    }

    @Test func whatASiteMayReceiveGoesThereAndNoMore() {
        let lab = Lab()
        lab.set(PeerRights(receive: someGroups))
        #expect(lab.passes(g1, inside) && lab.passes(g1, outside))
        #expect(lab.passes(v4(239, 1, 0, 0), inside) && lab.passes(v4(239, 1, 255, 255), inside), "the ends of the block")
        #expect(!lab.passes(v4(239, 0, 255, 255), inside) && !lab.passes(v4(239, 2, 0, 0), inside))
        #expect(lab.passes(v4(232, 5, 5, 5), inside) && !lab.passes(v4(232, 5, 5, 5), outside), "of listed sources only")
        #expect(lab.passes(v4(232, 5, 5, 5), v4(10, 1, 255, 255)) && !lab.passes(v4(232, 5, 5, 5), v4(10, 0, 255, 255)))
        #expect(!lab.passes(ipv6Group, ipv6Source), "IPv6 needs a rule of its own")
        #expect(lab.passes(g2, inside, .inward), "what it sends is not limited")
    }

    @Test func bothSitesHaveToAllowIt() {
        let lab = Lab()
        lab.setOwn(PeerRights(send: GroupRights([.init(block(v4(239, 0, 0, 0), 8))]), receive: .none))
        #expect(lab.passes(g1, inside) && lab.passes(g2, inside) && !lab.passes(v4(232, 5, 5, 5), inside))
        #expect(!lab.passes(g1, inside, .inward), "this site receives nothing")
        lab.set(PeerRights(receive: someGroups))
        #expect(lab.passes(g1, inside) && !lab.passes(g2, inside) && !lab.passes(v4(232, 5, 5, 5), inside))
        lab.setOwn(nil)
        #expect(lab.passes(v4(232, 5, 5, 5), inside) && lab.passes(g1, inside, .inward))
    }

    @Test func sourcesOfBothSitesMeet() {
        let lab = Lab()
        let group = v4(232, 9, 9, 9)
        lab.setOwn(
            PeerRights(send: GroupRights([.init(block(group, 32), from: [block(v4(10, 1, 0, 0), 24), block(outside, 32)])])))
        lab.set(PeerRights(receive: someGroups))
        #expect(lab.passes(group, inside))
        #expect(!lab.passes(group, v4(10, 1, 1, 5)), "ours may not")
        #expect(!lab.passes(group, outside), "theirs may not")
        lab.setOwn(PeerRights(send: GroupRights([.init(block(group, 32), from: [block(outside, 32)])])))
        #expect(!lab.passes(group, outside) && !lab.passes(group, inside), "nothing is left of the group")
    }

    @Test func overlappingRulesAddUp() {
        let lab = Lab()
        lab.set(
            PeerRights(
                receive: GroupRights([
                    .init(block(v4(239, 0, 0, 0), 8), from: [block(inside, 32)]), .init(block(v4(239, 1, 0, 0), 16)),
                    .init(block(v4(239, 1, 1, 0), 24), from: [block(outside, 32)]),
                ])))
        #expect(lab.passes(v4(239, 9, 9, 9), inside) && !lab.passes(v4(239, 9, 9, 9), outside))
        #expect(lab.passes(g1, outside) && lab.passes(g1, v4(192, 0, 2, 1)), "the widest rule holds")
    }

    @Test func vlansAreOneSpaceForAllFrames() {
        let lab = Lab()
        lab.set(PeerRights(vlans: [10...19, 0x1014...0x1014]))
        #expect(!lab.uses(0) && !lab.uses(9) && lab.uses(10) && lab.uses(19) && !lab.uses(20))
        #expect(lab.uses(0x1014) && !lab.uses(0x1013), "service VLANs apart")
        lab.setOwn(PeerRights(vlans: [15...30]))
        #expect(!lab.uses(14) && lab.uses(15) && !lab.uses(0x1014))
        lab.set(PeerRights(vlans: []))
        #expect(!lab.uses(15), "none at all")
    }

    /// Random rules against a model that asks each rule.
    @Test func aModelAgrees() {
        var random = SeededRandom(seed: 11)
        func rights() -> GroupRights {
            if Int.random(in: 0..<6, using: &random) == 0 { return .any }
            return GroupRights(
                (0..<Int.random(in: 0...5, using: &random)).map { _ in
                    let length = Int.random(in: 4...12, using: &random)
                    let sources = (0..<Int.random(in: 0...2, using: &random)).map { _ in
                        block(v4(10, .random(in: 0..<4, using: &random), 0, 0), .random(in: 8...16, using: &random))
                    }
                    return .init(
                        block(v4(.random(in: 224..<240, using: &random), .random(in: 0..<4, using: &random) * 64, 0, 0), length),
                        from: sources)
                })
        }
        func allows(_ rights: GroupRights, _ group: IPAddress, _ source: IPAddress) -> Bool {
            rights.rules?.contains { rule in
                rule.groups.contains(group) && (rule.sources.isEmpty || rule.sources.contains { $0.contains(source) })
            } ?? true
        }
        var passed = 0
        for _ in 0..<300 {
            let (ours, theirs) = (PeerRights(send: rights(), receive: rights()), PeerRights(send: rights(), receive: rights()))
            let lab = Lab()
            lab.setOwn(ours)
            lab.set(theirs)
            for _ in 0..<40 {
                let group = v4(
                    .random(in: 224..<240, using: &random), .random(in: 0..<256, using: &random), 1,
                    .random(in: 0...1, using: &random))
                let source = v4(10, .random(in: 0..<4, using: &random), 0, 1)
                let out = allows(ours.send, group, source) && allows(theirs.receive, group, source)
                let back = allows(theirs.send, group, source) && allows(ours.receive, group, source)
                #expect(lab.passes(group, source) == out, "\(group) from \(source), ours \(ours), theirs \(theirs)")
                #expect(lab.passes(group, source, .inward) == back, "\(group) from \(source), ours \(ours), theirs \(theirs)")
                passed += out ? 1 : 0
            }
        }
        #expect(passed > 500 && passed < 11_500, "both answers came up")
    }

    // MARK: Fan-outs

    @Test func onlyPeersInDoubtAreLookedAt() {
        var book = RightsBook(peers: 8)
        let everybody = FanOut(peers: PeerSet(first: 8))
        #expect(book.sorted(everybody, nil, nil, from: nil) == everybody)
        _ = book.set(PeerRights(receive: someGroups), of: site)
        func checked(_ vlan: VLAN?, _ group: IPAddress?, _ source: IPAddress?) -> [Int] {
            let sorted = book.sorted(everybody, vlan, group, from: source)
            #expect(sorted.peers.union(sorted.checked) == everybody.peers && sorted.peers.count + sorted.checked.count == 8)
            return sorted.checked.members.map(\.index)
        }
        #expect(checked(.untagged, nil, nil) == [3], "some group may be denied")
        #expect(checked(.untagged, g1, nil) == [], "every source of it is allowed")
        #expect(checked(.untagged, g2, nil) == [3])
        #expect(checked(.untagged, v4(232, 1, 1, 1), nil) == [3], "it depends on the source")
        #expect(checked(.untagged, v4(232, 1, 1, 1), inside) == [] && checked(.untagged, v4(232, 1, 1, 1), outside) == [3])
        _ = book.set(PeerRights(vlans: [10...10]), of: PeerIndex(5))
        #expect(checked(VLAN(rawValue: 10), g1, nil) == [] && checked(VLAN(rawValue: 11), g1, nil) == [5])
        #expect(checked(nil, nil, nil) == [3, 5])
        _ = book.setOwn(PeerRights(send: .none))
        #expect(checked(VLAN(rawValue: 10), g1, nil) == Array(0..<8))
    }

    // MARK: Words

    @Test func denialsNameTheSiteTheActionAndWhatIsListed() throws {
        var book = RightsBook(peers: 8)
        _ = book.set(PeerRights(send: .none, receive: someGroups, vlans: [0...0, 10...19, 0x1014...0x1014]), of: site)
        let ten = VLAN(rawValue: 10)
        func words(_ direction: RightsDirection, _ vlan: VLAN, _ group: IPAddress?, _ source: IPAddress? = nil) -> String? {
            book.denial(direction, site, vlan, group, from: source)?.words(site: "nyc", vlan, group ?? g1, from: source)
        }
        #expect(words(.outward, ten, g1) == nil)
        #expect(
            words(.outward, ten, g2)
                == "site nyc may not receive 239.2.1.1 on VLAN 10: its pass lists 239.1.0.0/16, 232.0.0.0/8 from 10.1.0.0/16")
        #expect(words(.outward, .untagged, v4(232, 1, 1, 1)) == nil, "some source is allowed")
        #expect(
            words(.outward, .untagged, v4(232, 1, 1, 1), outside)
                == "site nyc may not receive 232.1.1.1 from 10.2.0.5 on the untagged VLAN: its pass lists 239.1.0.0/16, "
                + "232.0.0.0/8 from 10.1.0.0/16")
        #expect(words(.inward, ten, g1) == "site nyc may not send 239.1.1.1 on VLAN 10: its pass lists none")
        #expect(words(.outward, VLAN(rawValue: 20), nil) == "site nyc may not use VLAN 20: its pass lists -, 10-19, s20")
        _ = book.setOwn(PeerRights(send: .none, receive: .none, vlans: [10...10]))
        #expect(words(.outward, ten, g1) == "this site may not send 239.1.1.1 on VLAN 10: its pass lists none")
        #expect(words(.outward, VLAN(rawValue: 11), nil) == "this site may not use VLAN 11: its pass lists 10")
        _ = book.set(nil, of: site)
        #expect(words(.inward, ten, g1) == "this site may not receive 239.1.1.1 on VLAN 10: its pass lists none")
    }

    @Test func longListsAreCut() {
        let many = GroupRights((1...11).map { .init(block(v4(239, UInt32($0), 0, 0), 16)) })
        #expect(many.listed.hasSuffix("239.8.0.0/16, and 3 more") && many.listed.hasPrefix("239.1.0.0/16, "))
        #expect(GroupRights.any.listed == "any" && GroupRights.none.listed == "none")
    }
}
