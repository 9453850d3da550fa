// What the self-test of the VXLAN device's group table shows, rebuilt: there an operator installs remote tunnel endpoints for
// (*,G) and (S,G), here the sites tell each other what their hosts want. Site 0 has the feeds, sites 1 to 3 the hosts. What
// crosses is counted on the wire by `reach` itself: one datagram for each site that wants the frame, none for the others.

import Basics
import Settings
import Switching
import Testing
import Wire

@Suite struct VXLANMDBScenarios {
    private func fourSites(_ family: IPFamily, _ change: (Int, inout SiteSetup) -> Void = { _, _ in }) throws -> ScenarioMesh {
        var setups = (0..<4).map { _ in SiteSetup.snooping() }
        for index in setups.indices { change(index, &setups[index]) }
        return try ScenarioMesh(family, setups)
    }

    // MARK: (*,G) and (S,G)

    @Test(arguments: IPFamily.allCases)
    func eachVLANsGroupGoesToTheSiteThatWantsItThere_rules32and37(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        let ten = VLAN(rawValue: 10)
        let twenty = VLAN(rawValue: 20)
        lab.join(site: 1, vlan: ten, at: 0)
        lab.join(site: 2, vlan: twenty, at: 0.1)
        #expect(lab.reach(from: 1, vlan: ten) == "1.0")
        #expect(lab.reach(from: 1, vlan: twenty) == "2.0")
        #expect(lab.reach(from: 1) == "nowhere")
    }

    @Test(arguments: IPFamily.allCases)
    func anExcludedSourceCrossesToNoSite_rules16and37(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        lab.report(.isExclude, [2], site: 1, at: 0)
        lab.report(.isExclude, [2], site: 2, at: 0.1)
        #expect(lab.wanted() == "1: EXCLUDE 2; 2: EXCLUDE 2")
        #expect(lab.reach(from: 2) == "nowhere")
        #expect(lab.reach(from: 1) == "1.0 2.0")
        lab.leave(site: 2, at: 1)
        #expect(lab.reach(from: 2) == "nowhere")
        #expect(lab.reach(from: 1) == "1.0")
    }

    @Test(arguments: IPFamily.allCases)
    func onlyAnIncludedSourceCrosses_rules16and37(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        lab.report(.isInclude, [1], site: 1, at: 0)
        lab.report(.isInclude, [1], site: 2, at: 0.1)
        #expect(lab.wanted() == "1: INCLUDE 1; 2: INCLUDE 1")
        #expect(lab.reach(from: 2) == "nowhere")
        #expect(lab.reach(from: 1) == "1.0 2.0")
        lab.report(.block, [1], site: 2, at: 1)
        #expect(lab.reach(from: 2) == "nowhere")
        #expect(lab.reach(from: 1) == "1.0")
    }

    @Test(arguments: IPFamily.allCases)
    func sitesThatDifferAboutASourceEachGetTheirOwn_rules16and37(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        lab.report(.isInclude, [1, 2], site: 1, at: 0)
        lab.report(.isExclude, [2, 3], site: 2, at: 0.1)
        lab.report(.isInclude, [3], site: 3, at: 0.2)
        #expect(lab.reach(from: 1) == "1.0 2.0")
        #expect(lab.reach(from: 2) == "1.0")
        #expect(lab.reach(from: 3) == "3.0")
        #expect(lab.reach(from: 4) == "2.0")
    }

    /// The kernel's point-to-multipoint cases end when a receiver stops listening without a word to the sender.
    @Test(arguments: IPFamily.allCases, [true, false])
    func aSiteWhoseReceiverFallsSilentGetsNothingMore_rules9and34(_ family: IPFamily, _ isExclude: Bool) throws {
        let lab = try fourSites(family)
        lab.report(isExclude ? .isExclude : .isInclude, [isExclude ? 2 : 1], site: 1, at: 0)
        #expect(lab.passing([1, 2]) == [1])
        lab.wait(until: 269)
        #expect(lab.passing([1, 2]) == [1])
        lab.wait(until: 270)
        #expect(lab.wanted() == "nobody" && lab.passing([1, 2]) == [])
    }

    @Test(arguments: IPFamily.allCases)
    func aWishThatIsReplacedIsToldAsItIsNow_rule32(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        lab.join(site: 1, at: 0)
        #expect(lab.wanted() == "1: EXCLUDE" && lab.passing([1, 2, 3, 9]) == [1, 2, 3, 9], "without a list, every source")
        lab.report(.toInclude, [1], site: 1, at: 1)
        #expect(lab.wanted() == "1: INCLUDE 1" && lab.passing([1, 2, 3, 9]) == [1])
        lab.report(.toExclude, [1], site: 1, at: 2)
        #expect(lab.wanted() == "1: EXCLUDE 1" && lab.passing([1, 2, 3, 9]) == [2, 3, 9])
        lab.report(.toExclude, [1, 2, 3], site: 1, at: 3)
        #expect(lab.wanted() == "1: EXCLUDE 1,2,3" && lab.passing([1, 2, 3, 9]) == [9])
        lab.report(.isExclude, [1, 3], site: 1, at: 4)
        #expect(lab.wanted() == "1: EXCLUDE 1,3" && lab.passing([1, 2, 3, 9]) == [2, 9])
        lab.leave(site: 1, at: 5)
        #expect(lab.wanted() == "nobody" && lab.passing([1, 2, 3, 9]) == [] && lab.facts() == 0)
    }

    @Test(arguments: IPFamily.allCases)
    func fiftyHostsOfOneGroupAreOneFact_rules27and32and34(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        for number in 1...50 { lab.join(site: 1, host: number, at: Double(number)) }
        #expect(lab.facts() == 1 && lab.entry()?.members.count == 50)
        for number in 1...49 { lab.leave(site: 1, host: number, at: 50 + Double(number)) }
        #expect(lab.facts() == 1 && lab.reach(from: 1) == "1.0", "one host still listens")
        lab.leave(site: 1, host: 50, at: 110)
        #expect(lab.facts() == 0 && lab.wanted() == "nobody" && lab.reach(from: 1) == "nowhere")
        #expect(lab.heard().allSatisfy { $0.hasSuffix("general v3") }, "nobody had to be asked")
    }

    @Test(arguments: IPFamily.allCases)
    func hundredsOfGroupsAreAllTold_rule32(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        lab.wait(until: 0)
        for first in stride(from: 0, to: 600, by: 50) {
            let records = (first..<(first + 50)).map { GroupRecord(.isInclude, lab.group($0), [lab.source(1)]) }
            let reports = MembershipFrame.reports(records, source: lab.address(1), from: host(1, 1), vlan: .untagged)
            for report in reports { lab.mesh.send(report, site: 1) }
        }
        lab.wait(until: 1)
        #expect(lab.facts() == 600)
        for site in [0, 2, 3] {
            let groups = lab.mesh.sites[site].core.control.snooper.snapshot(withGroups: true, at: lab.mesh.now).groups
            #expect(groups.map(\.key.group) == (0..<600).map { lab.group($0) })
            #expect(groups.allSatisfy { $0.sites.count == 1 && $0.sites[0].wish.sources == [lab.source(1)] })
        }
        #expect(lab.reach(from: 1, group: 599) == "1.0" && lab.reach(from: 2, group: 599) == "nowhere")
    }

    // MARK: Sites that want what nobody named: the all-zeros entry

    /// Site 1 wants everything of IPv4, site 2 of IPv6; site 3 joins one group of each family.
    private func withCatchAlls(_ family: IPFamily) throws -> ScenarioMesh {
        let lab = try fourSites(family)
        lab.put(hello(.v4, site: 1), site: 1, at: 0)
        lab.put(hello(.v6, site: 2), site: 2, at: 0.1)
        lab.join(site: 3, at: 0.2)
        return lab
    }

    private func hello(_ family: IPFamily, site: Int) -> [UInt8] {
        let source = family == .v4 ? IPAddress(ipv4: 0x0A00_00FA) : IPAddress(high: 0xFE80 << 48, low: 250)
        return MembershipFrame.pimHello(PIMHello(source: source), from: host(site, 250), vlan: .untagged)
    }

    @Test(arguments: [(IPFamily.v4, "1.0"), (.v6, "2.0")])
    func aSiteThatWantsEverythingGetsItsFamily_rules13and36(_ family: IPFamily, _ catchAll: String) throws {
        let lab = try withCatchAlls(family)
        #expect(lab.reach(from: 1) == (family == .v4 ? "1.0 3.0" : "2.0 3.0"), "its routers join by PIM, so it gets this too")
        #expect(lab.reach(from: 1, group: 2) == catchAll)
    }

    @Test(arguments: IPFamily.allCases)
    func aSiteThatFloodsGetsWhatItDidNotJoin_rules12and37(_ family: IPFamily) throws {
        let lab = try fourSites(family) { if $0 == 1 || $0 == 2 { $1.multicast.unregistered = .flood } }
        lab.report(.isInclude, [1], site: 1, at: 0)
        #expect(lab.reach(from: 1) == "1.0 2.0")
        #expect(lab.reach(from: 2) == "2.0", "where somebody joined, the list counts")
        #expect(lab.reach(from: 1, group: 2) == "1.0 2.0")
    }

    @Test(arguments: IPFamily.allCases)
    func linkLocalGroupsAndGroupsBehindOtherAddressesGoWhereFramesDo_rules11and14(_ family: IPFamily) throws {
        let lab = try withCatchAlls(family)
        let link = family == .v4 ? IPAddress(ipv4: 0xE000_0064) : .allHosts(.v6)
        #expect(lab.reach(lab.datagram(from: lab.source(1), to: link)) == "1.0 2.0 3.0")
        // Unicast and broadcast MAC addresses are no multicast, whatever the packet in the frame is addressed to.
        let unknown = lab.datagram(from: lab.source(1), to: lab.group(2), destination: host(3, 77))
        #expect(lab.reach(unknown) == "1.0 2.0 3.0")
        let broadcast = lab.datagram(from: lab.source(1), to: lab.group(2), destination: .broadcast)
        #expect(lab.reach(broadcast) == "1.0 2.0 3.0")
        lab.put(testFrame(to: .broadcast, from: host(3, 77)), site: 3, at: 1)
        let known = lab.datagram(from: lab.source(1), to: lab.group(2), destination: host(3, 77))
        #expect(lab.reach(known) == "3.0")
    }

    @Test(arguments: IPFamily.allCases)
    func groupsFollowTheirEntryBroadcastsTheMACTable_rules10and12(_ family: IPFamily) throws {
        let lab = try fourSites(family) { if $0 == 2 { $1.multicast.unregistered = .flood } }
        lab.report(.isInclude, [1], site: 1, at: 0)
        lab.report(.isInclude, [2], site: 2, host: 2, at: 0.1)
        #expect(lab.reach(from: 1) == "1.0")
        let broadcast = lab.datagram(from: lab.source(1), to: lab.group(1), destination: .broadcast)
        #expect(lab.reach(broadcast) == "1.0 2.0 3.0")
        lab.report(.block, [1], site: 1, at: 1)
        lab.report(.block, [2], site: 2, host: 2, at: 1.1)
        #expect(lab.reach(from: 1) == "2.0", "nobody wants it any more, so it goes where such groups are flooded")
    }

    // MARK: Churn

    @Test(arguments: IPFamily.allCases)
    func feedsFollowWishesThatChangeAllTheTime_rule37(_ family: IPFamily) throws {
        let lab = try fourSites(family)
        var random = SeededRandom(seed: 20)
        var wants: [Int: Set<Int>] = [:]
        for step in 0..<150 {
            let site = Int.random(in: 1...3, using: &random)
            let source = Int.random(in: 1...4, using: &random)
            let isWanted = wants[site, default: []].contains(source)
            lab.report(isWanted ? .block : .allow, [source], site: site, at: Double(step) / 4)
            if isWanted { wants[site]?.remove(source) } else { wants[site, default: []].insert(source) }
            for source in 1...4 {
                let sites = (1...3).filter { wants[$0]?.contains(source) ?? false }
                let expected = sites.isEmpty ? "nowhere" : sites.map { "\($0).0" }.joined(separator: " ")
                #expect(lab.reach(from: source) == expected)
            }
        }
        for site in lab.mesh.sites { #expect(site.core.control.snooper.groups.checkInvariants() == []) }
    }
}
