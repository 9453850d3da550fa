// Rights through a whole mesh of three sites (rule 44): site 0 sends, site 1 has three ports with hosts, site 2 one. What is
// denied does not leave; what a site sends all the same is dropped where it arrives; rights change while feeds flow.

import Basics
import Settings
import Switching
import Testing
import Wire

@testable import Gateway

private func v4(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) -> IPAddress {
    IPAddress(ipv4: a << 24 | b << 16 | c << 8 | d)
}

/// Groups `ScenarioMesh.group` names, 239.20.0.n, as rules of their own; sources likewise.
private func groups(_ numbers: UInt32..., from sources: [UInt32] = []) -> GroupRights {
    GroupRights(
        numbers.map { number in
            .init(IPPrefix(v4(239, 20, 0, number), length: 32)!, from: sources.map { IPPrefix(v4(192, 0, 2, $0), length: 32)! })
        })
}

@Suite struct RightsTests {
    /// Sets what the sites in `at` think of `site`, itself included.
    private func grant(_ rights: PeerRights?, to site: Int, at sites: [Int] = [0, 1, 2], _ lab: ScenarioMesh) {
        for index in sites {
            let other = lab.mesh.sites[index]
            if index == site {
                other.core.control.apply(ownRights: rights, at: lab.mesh.now)
            } else {
                other.core.control.apply(rights: rights, of: other.peer(site), at: lab.mesh.now)
            }
            lab.mesh.flush(other)
        }
        lab.mesh.run(for: .milliseconds(20))
    }

    /// Sends a frame of source 1 that has to come out at `places`; how many datagrams long enough to carry it left for `site`.
    private func left(
        for site: Int, _ lab: ScenarioMesh, group: Int = 1, reaching places: String, _ location: SourceLocation = #_sourceLocation
    ) -> Int {
        let before = lab.mesh.sent.count
        let reached = lab.reach(from: 1, group: group, location)
        #expect(reached == places, sourceLocation: location)
        return lab.mesh.sent.dropFirst(before).count { $0.to == site && $0.bytes.count > 600 && $0.bytes.count < 1_472 }
    }

    /// Sends a frame of source 1 to group 1; the sites that it crosses to, whatever becomes of it there.
    private func crossing(_ lab: ScenarioMesh) -> [Int] {
        let before = lab.mesh.sent.count
        lab.mesh.send(lab.datagram(from: lab.source(1), to: lab.group(1)), site: 0)
        lab.mesh.run(for: .milliseconds(20))
        return lab.mesh.sent.dropFirst(before).filter { $0.bytes.count > 600 && $0.bytes.count < 1_472 }.map(\.to).sorted()
    }

    private func counter(_ lab: ScenarioMesh, _ site: Int, _ peer: Int, _ counter: PeerCounter) -> UInt64 {
        lab.mesh.sites[site].core.lane.bridge.counters[lab.mesh.sites[site].peer(peer), counter]
    }

    @Test func whatASiteMayNotReceiveDoesNotLeave() throws {
        let lab = try ScenarioMesh(.v4)
        grant(PeerRights(receive: groups(2)), to: 1, at: [0], lab)
        for number in 1...2 { lab.join(group: number, at: Double(number)) }
        lab.join(group: 1, site: 2, at: 3)
        #expect(lab.wanted() == "1: EXCLUDE; 2: EXCLUDE", "the wish is known")
        let denied = left(for: 1, lab, reaching: "2.0")
        #expect(denied == 0, "not one octet of the feed")
        #expect(lab.mesh.sites[0][.notEntitledOut] == 1 && counter(lab, 0, 1, .deniedOut) == 1)
        #expect(counter(lab, 0, 2, .deniedOut) == 0 && lab.mesh.sites[1][.notEntitledIn] == 0)
        #expect(left(for: 1, lab, group: 2, reaching: "1.0") == 1, "what it may have it gets")
        #expect(lab.mesh.sites[0][.notEntitledOut] == 1)
    }

    @Test func whatASiteMayNotSendDoesNotLeave() throws {
        let lab = try ScenarioMesh(.v4)
        grant(PeerRights(send: groups(2)), to: 0, at: [0], lab)
        for site in 1...2 { lab.join(group: 1, site: site, at: Double(site)) }
        let before = lab.mesh.sent.count
        #expect(lab.reach(from: 1) == "nowhere")
        #expect(!lab.mesh.sent.dropFirst(before).contains { $0.bytes.count > 600 && $0.bytes.count < 1_472 })
        #expect(lab.mesh.sites[0][.notEntitledOut] == 2, "a copy for each site")
        grant(nil, to: 0, at: [0], lab)
        #expect(lab.reach(from: 1) == "1.0 2.0")
    }

    /// The sender's gateway does not keep to its rights: the receivers' do.
    @Test func whatArrivesAllTheSameIsDropped() throws {
        let lab = try ScenarioMesh(.v4)
        for site in 1...2 { lab.join(group: 1, site: site, at: Double(site)) }
        #expect(lab.reach(from: 1) == "1.0 2.0")
        grant(PeerRights(send: groups(2)), to: 0, at: [1], lab)
        #expect(crossing(lab) == [1, 2], "it was sent")
        #expect(lab.mesh.sites[1][.notEntitledIn] == 1 && counter(lab, 1, 0, .deniedIn) == 1)
        #expect(lab.mesh.sites[2][.notEntitledIn] == 0)
        // And what site 2 itself may not have.
        grant(PeerRights(receive: groups(3)), to: 2, at: [2], lab)
        let before = lab.mesh.sites.map { $0.delivered[0].count }
        #expect(crossing(lab) == [1, 2])
        #expect(lab.mesh.sites.map { $0.delivered[0].count } == before && lab.mesh.sites[2][.notEntitledIn] == 1)
        grant(nil, to: 0, at: [1], lab)
        grant(nil, to: 2, at: [2], lab)
        #expect(lab.reach(from: 1) == "1.0 2.0")
    }

    @Test func rightsChangeWhileAFeedFlows() throws {
        let lab = try ScenarioMesh(.v4)
        lab.join(group: 1, at: 0)
        for round in 0..<3 {
            #expect(lab.reach(from: 1) == "1.0", "round \(round)")
            grant(PeerRights(receive: .none), to: 1, at: [0], lab)
            #expect(left(for: 1, lab, reaching: "nowhere") == 0)
            grant(PeerRights(receive: groups(1, 7)), to: 1, at: [0], lab)
        }
        lab.mesh.run(for: .seconds(15))
        #expect(lab.mesh.sites[0].core.control.waitsForLane == false, "old lists are freed")
    }

    @Test func sourcesAreToldApart() throws {
        let lab = try ScenarioMesh(.v4)
        grant(PeerRights(receive: groups(1, from: [1, 3])), to: 1, lab)
        lab.join(group: 1, at: 0)
        #expect(lab.reach(from: 1) == "1.0" && lab.reach(from: 2) == "nowhere" && lab.reach(from: 3) == "1.0")
        // With sources in the entry.
        lab.report(.toInclude, [1, 2], at: 2)
        lab.wait(until: 5)
        #expect(lab.reach(from: 1) == "1.0" && lab.reach(from: 2) == "nowhere" && lab.reach(from: 3) == "nowhere")
        #expect(lab.mesh.sites[0][.notEntitledOut] == 2, "source 3 is not asked for; source 2 is, and denied")
    }

    @Test func aSiteThatWantsEverythingGetsWhatItMayHave() throws {
        let lab = try ScenarioMesh(.v4) { $0.routerSites = .all }
        lab.hello(site: 1, at: 0)
        #expect(lab.reach(from: 1) == "1.0" && lab.reach(from: 1, group: 2) == "1.0", "its router wants every group")
        grant(PeerRights(receive: groups(2)), to: 1, at: [0], lab)
        #expect(left(for: 1, lab, reaching: "nowhere") == 0, "no entry: the default is looked at")
        #expect(lab.reach(from: 1, group: 2) == "1.0")
        lab.join(group: 1, site: 2, at: 5)
        #expect(left(for: 1, lab, reaching: "2.0") == 0, "an entry of another site's")
        #expect(lab.mesh.sites[0][.notEntitledOut] == 2)
    }

    @Test func aSiteThatFloodsGetsWhatItMayHave() throws {
        var setups = ScenarioMesh.threeSites()
        setups[1].multicast.unregistered = .flood
        let lab = try ScenarioMesh(.v4, setups)
        #expect(lab.reach(from: 1) == "1.0 1.1 1.2")
        grant(PeerRights(receive: groups(2)), to: 1, at: [0], lab)
        #expect(lab.reach(from: 1) == "nowhere" && lab.reach(from: 1, group: 2) == "1.0 1.1 1.2")
    }

    @Test func withoutSnoopingRightsHoldToo() throws {
        let lab = try ScenarioMesh(.v4) { $0.snooping = false }
        #expect(lab.reach(from: 1) == "1.0 1.1 1.2 2.0")
        grant(PeerRights(receive: groups(2)), to: 1, lab)
        #expect(left(for: 1, lab, reaching: "2.0") == 0)
        #expect(lab.reach(from: 1, group: 2) == "1.0 1.1 1.2 2.0")
    }

    @Test func groupsThatGoEverywhereNeedNoRule() throws {
        let lab = try ScenarioMesh(.v4)
        grant(PeerRights(send: .none, receive: .none), to: 1, lab)
        grant(PeerRights(send: .none, receive: .none), to: 0, lab)
        let frame = lab.datagram(from: lab.source(1), to: v4(224, 0, 0, 5))
        #expect(lab.reach(frame) == "1.0 1.1 1.2 2.0")
        let other = testFrame(to: MACAddress(rawValue: 0x0102_0304_0506), from: host(0, 100), number: 77, count: 700)
        #expect(lab.reach(other) == "1.0 1.1 1.2 2.0", "multicast that is not IP needs the VLAN alone")
    }

    // MARK: VLANs

    @Test func vlansHoldForUnicastAndBroadcast() throws {
        let lab = try ScenarioMesh(.v4)
        let (near, far) = (host(0, 1), host(1, 1))
        func frame(_ to: MACAddress, _ from: MACAddress, _ vlan: UInt16, _ number: UInt32) -> [UInt8] {
            testFrame(to: to, from: from, tags: customerTag(vlan), number: number, count: 700)
        }
        // Both sites have seen both hosts on both VLANs.
        for vlan: UInt16 in [10, 11] {
            lab.mesh.send(frame(.broadcast, near, vlan, 1), site: 0)
            lab.mesh.send(frame(.broadcast, far, vlan, 2), site: 1)
        }
        lab.mesh.run(for: .milliseconds(20))
        grant(PeerRights(vlans: [10...10]), to: 1, at: [0], lab)
        #expect(lab.reach(frame(far, near, 10, 3)) == "1.0" && lab.reach(frame(.broadcast, near, 10, 4)) == "1.0 1.1 1.2 2.0")
        // `reach` looks at what crossed as well as at what came out.
        #expect(lab.reach(frame(far, near, 11, 5)) == "nowhere", "known unicast")
        #expect(lab.reach(frame(host(1, 9), near, 11, 6)) == "2.0", "unknown unicast")
        #expect(lab.reach(frame(.broadcast, near, 11, 7)) == "2.0", "broadcast")
        #expect(counter(lab, 0, 1, .deniedOut) == 3)
        // What comes from there is dropped, and nothing is learned from it.
        lab.mesh.send(frame(.broadcast, host(1, 50), 11, 8), site: 1)
        lab.mesh.run(for: .milliseconds(20))
        #expect(lab.mesh.sites[0][.notEntitledIn] == 1 && !lab.mesh.sites[0].numbers().contains(8))
        #expect(lab.mesh.sites[0].core.lane.bridge.macs.lookup(host(1, 50), on: VLAN(rawValue: 11), at: lab.mesh.now) == nil)
        lab.mesh.send(frame(.broadcast, host(1, 50), 10, 9), site: 1)
        lab.mesh.run(for: .milliseconds(20))
        #expect(lab.mesh.sites[0].numbers().contains(9))
    }

    /// Rights concern the mesh, not a site's own ports.
    @Test func portsOfTheSiteAreNotLimited() throws {
        let lab = try ScenarioMesh(.v4)
        for site in 0...2 { grant(PeerRights(send: .none, receive: .none, vlans: []), to: site, lab) }
        lab.join(group: 1, port: 1, at: 0)
        lab.mesh.send(lab.datagram(from: lab.source(1), to: lab.group(1)), site: 1, port: 0)
        let broadcast = testFrame(to: .broadcast, from: host(1, 70), number: 4242, count: 700)
        lab.mesh.send(broadcast, site: 1, port: 0)
        let before = lab.mesh.sites[1].delivered.map(\.count)
        lab.mesh.run(for: .milliseconds(20))
        let after = lab.mesh.sites[1].delivered.map(\.count)
        #expect(zip(after, before).map { $0 - $1 } == [0, 2, 1])
        #expect(lab.mesh.sites[0].delivered[0].last?.bytes != broadcast && lab.mesh.sites[1][.notEntitledOut] == 2)
    }

    // MARK: The audit

    @Test func deniedWishesAreToldOnceAndGrantsToo() throws {
        let lab = try ScenarioMesh(.v4)
        grant(PeerRights(receive: groups(2)), to: 1, at: [0], lab)
        lab.mesh.sites[0].audit = []
        lab.join(group: 1, at: 0)
        lab.join(group: 2, host: 2, at: 1)
        lab.join(group: 1, port: 1, host: 3, at: 2)
        #expect(
            lab.mesh.sites[0].audit == [
                "2023-11-14T22:15:45.001Z denied kind=wish direction=out site=site1 vlan=- group=239.20.0.1 source=any "
                    + "reason=\"site site1 may not receive 239.20.0.1 on the untagged VLAN: its pass lists 239.20.0.2/32\""
            ])
        grant(nil, to: 1, at: [0], lab)
        #expect(lab.mesh.sites[0].audit.count == 2)
        #expect(
            lab.mesh.sites[0].audit.last?.hasSuffix(
                "granted kind=wish direction=out site=site1 vlan=- group=239.20.0.1 source=any "
                    + "reason=\"its pass lists it now, or nothing limits the site\"") == true)
        #expect(lab.mesh.sites[1].audit.isEmpty && lab.mesh.sites[2].audit.isEmpty)
    }

    @Test func deniedFeedsAreToldOnceWhileTheyGoOn() throws {
        let lab = try ScenarioMesh(.v4)
        lab.join(group: 1, at: 0)
        grant(PeerRights(send: groups(2)), to: 0, at: [1], lab)
        lab.mesh.sites[1].audit = []
        for tenth in 0..<300 {
            lab.wait(until: 2 + Double(tenth) / 10)
            #expect(crossing(lab) == [1])
        }
        lab.wait(until: 40)
        #expect(lab.mesh.sites[1][.notEntitledIn] == 300)
        #expect(lab.mesh.sites[1].audit.count == 1)
        #expect(
            lab.mesh.sites[1].audit.first?.contains(
                "denied kind=feed direction=in site=site0 vlan=- group=239.20.0.1 source=192.0.2.1 "
                    + "reason=\"site site0 may not send 239.20.0.1 from 192.0.2.1 on the untagged VLAN: its pass lists 239.20.0.2/32\""
            )
                == true)
        grant(PeerRights(send: groups(1)), to: 0, at: [1], lab)
        #expect(lab.mesh.sites[1].audit.count == 2 && lab.mesh.sites[1].audit.last?.contains("Z granted kind=feed") == true)
        #expect(lab.reach(from: 1) == "1.0")
    }

    @Test func aFloodOfDeniedFeedsMakesFewLines() throws {
        let lab = try ScenarioMesh(.v4) { $0.snooping = false }
        grant(PeerRights(receive: .none), to: 1, at: [0], lab)
        for number in 0..<5_000 {
            lab.mesh.send(lab.datagram(from: lab.source(1), to: IPAddress(ipv4: 0xEF20_0000 + UInt32(number))), site: 0)
            if number % 500 == 499 { lab.mesh.run(for: .milliseconds(100)) }
        }
        lab.mesh.run(for: .seconds(1))
        #expect(lab.mesh.sites[0][.notEntitledOut] == 5_000)
        let lines = lab.mesh.sites[0].audit.count
        #expect(lines >= 64 && lines <= 2 * AuditTrail.lineLimit)
    }

    @Test func utcIsWhatItSays() {
        #expect(UTC.text(0) == "1970-01-01T00:00:00.000Z")
        #expect(UTC.text(951_782_399_999_000_000) == "2000-02-28T23:59:59.999Z")
        #expect(UTC.text(951_782_400_000_000_000) == "2000-02-29T00:00:00.000Z")
        #expect(UTC.text(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123Z")
        #expect(UTC.text(1_735_689_599_999_999_999) == "2024-12-31T23:59:59.999Z")
        #expect(UTC.text(4_102_444_800_000_000_000) == "2100-01-01T00:00:00.000Z")
    }
}
