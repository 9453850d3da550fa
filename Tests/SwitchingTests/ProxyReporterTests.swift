// What other sites want, told to our routers: rule 35, by RFC 9776 section 5. Default timing: each change is told twice.

import Basics
import Testing
import Wire

@testable import Switching

private struct ProxyLab {
    var proxy: ProxyReporter
    let family: IPFamily
    var timing = MembershipTiming()

    init(_ family: IPFamily = .v4, isActive: Bool = true, robustness: Int = 2, seed: UInt64 = 1) {
        self.family = family
        proxy = ProxyReporter(family: family, random: SeededRandom(seed: seed))
        timing.robustness = robustness
        if isActive { proxy.setActive(true, at: .zero) }
    }

    /// 239.1.0.n or ff05::n.
    func group(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xEF01_0000 | UInt32(number)) : IPAddress(high: 0xFF05_0000_0000_0000, low: UInt64(number))
    }

    /// 192.0.0.n or 2001:db8::n.
    func source(_ number: Int) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xC000_0000 | UInt32(number)) : IPAddress(high: 0x2001_0DB8_0000_0000, low: UInt64(number))
    }

    mutating func want(_ mode: Wish.Mode, _ sources: [Int] = [], group number: Int = 1, at seconds: Double) {
        proxy.setWish(Wish(mode, sources.map(source)), for: group(number), timing, at: GroupTableLab.time(seconds))
        proxy.checkInvariants()
    }

    mutating func ask(
        _ number: Int? = nil, _ sources: [Int] = [], within maxResponse: Interval = .seconds(10), at seconds: Double
    ) {
        proxy.handleQuery(
            MembershipQuery(group: number.map(group), sources: sources.map(source), maxResponse: maxResponse),
            at: GroupTableLab.time(seconds))
        proxy.checkInvariants()
    }

    /// What is polled at this moment: `TO_EX 1{7}` is about group 1 and source 7.
    mutating func told() -> [String] {
        let records = proxy.pollRecords() ?? []
        proxy.checkInvariants()
        return records.map { record in
            let kind =
                switch record.kind {
                case .isInclude: "IS_IN"
                case .isExclude: "IS_EX"
                case .toInclude: "TO_IN"
                case .toExclude: "TO_EX"
                case .allow: "ALLOW"
                case .block: "BLOCK"
                }
            let sources = record.sources.map { String($0.low & 0xFFFF) }.joined(separator: ",")
            return "\(kind) \(record.group.low & 0xFFFF){\(sources)}"
        }
    }

    /// What is told up to then, moment by moment.
    mutating func run(until seconds: Double) -> [(at: Instant, records: [String])] {
        var reports: [(Instant, [String])] = []
        while proxy.nextTimeout <= GroupTableLab.time(seconds) {
            let now = proxy.nextTimeout
            proxy.handleTimeout(at: now)
            reports.append((now, told()))
        }
        return reports
    }

    mutating func toldAll(until seconds: Double) -> [String] { run(until: seconds).flatMap(\.records) }
}

@Suite struct ProxyReporterTests {
    private func time(_ seconds: Double) -> Instant { GroupTableLab.time(seconds) }

    // MARK: Changes (section 5.1)

    @Test(arguments: IPFamily.allCases) func rule35AChangeOfModeIsToldAtOnceAndOnceMoreWithinASecond(_ family: IPFamily) {
        var lab = ProxyLab(family)
        lab.want(.exclude, [7], at: 10)
        #expect(lab.proxy.nextTimeout == .zero)
        #expect(lab.told() == ["TO_EX 1{7}"])
        let again = lab.run(until: 100)
        #expect(again.map(\.records) == [["TO_EX 1{7}"]])
        #expect(again.allSatisfy { $0.at > time(10) && $0.at <= time(11) })
        #expect(lab.proxy.nextTimeout == .distantFuture)
        lab.want(.include, [8], at: 200)
        #expect(lab.told() == ["TO_IN 1{8}"])
        #expect(lab.toldAll(until: 300) == ["TO_IN 1{8}"])
    }

    @Test(arguments: IPFamily.allCases) func rule35AChangeOfSourcesIsToldAsAllowAndBlock(_ family: IPFamily) {
        var lab = ProxyLab(family)
        lab.want(.include, [1, 2], at: 0)
        #expect(lab.told() == ["ALLOW 1{1,2}"])
        #expect(lab.toldAll(until: 5) == ["ALLOW 1{1,2}"])
        lab.want(.include, [2, 3], at: 10)
        #expect(lab.told() == ["ALLOW 1{3}", "BLOCK 1{1}"])
        #expect(lab.toldAll(until: 15) == ["ALLOW 1{3}", "BLOCK 1{1}"])
        lab.want(.exclude, [4, 5], at: 20)
        #expect(lab.told() == ["TO_EX 1{4,5}"])
        #expect(lab.toldAll(until: 25) == ["TO_EX 1{4,5}"])
        lab.want(.exclude, [5, 6], at: 30)
        #expect(lab.told() == ["ALLOW 1{4}", "BLOCK 1{6}"])
        #expect(lab.toldAll(until: 35) == ["ALLOW 1{4}", "BLOCK 1{6}"])
    }

    @Test func rule35TheEndOfAWishIsToldAndThenTheGroupIsForgotten() {
        var lab = ProxyLab()
        lab.want(.include, [1], group: 1, at: 0)
        lab.want(.exclude, group: 2, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        lab.want(.include, group: 1, at: 10)
        lab.want(.include, group: 2, at: 10)
        #expect(lab.proxy.groups.isEmpty)
        #expect(lab.told() == ["BLOCK 1{1}", "TO_IN 2{}"])
        #expect(lab.toldAll(until: 12).sorted() == ["BLOCK 1{1}", "TO_IN 2{}"])
        lab.ask(at: 20)
        #expect(lab.toldAll(until: 40) == [])
    }

    @Test func rule35EachChangeIsToldK1Times() {
        for robustness in [1, 2, 5] {
            var lab = ProxyLab(robustness: robustness)
            lab.want(.exclude, at: 0)
            let reports = [lab.told()] + lab.run(until: 60).map(\.records)
            #expect(reports == Array(repeating: ["TO_EX 1{}"], count: robustness))
        }
    }

    @Test func rule35TheTimesOfRepetitionComeFromTheSeed() {
        func times(_ seed: UInt64) -> [Instant] {
            var lab = ProxyLab(robustness: 4, seed: seed)
            lab.want(.exclude, at: 0)
            _ = lab.told()
            return lab.run(until: 60).map(\.at)
        }
        #expect(times(1) == times(1))
        #expect(times(1) != times(2))
        #expect(times(1).count == 3)
    }

    @Test func rule35TheSameWishAgainIsNoChange() {
        var lab = ProxyLab()
        lab.want(.include, [1], at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        lab.proxy.setWish(
            Wish(.include, [lab.source(1)], generations: .third), for: lab.group(1), lab.timing, at: time(10))
        #expect(lab.told() == [])
        #expect(lab.proxy.nextTimeout == .distantFuture)
    }

    @Test func rule35OnlyGroupsOfTheFamilyThatCanBeJoined() {
        var lab = ProxyLab()
        let six = ProxyLab(.v6)
        for group in [IPAddress(ipv4: 0xE000_0001), IPAddress(ipv4: 0xE000_00FB), lab.source(1), six.group(1)] {
            lab.proxy.setWish(.everything, for: group, lab.timing, at: .zero)
        }
        #expect(lab.proxy.groups.isEmpty)
        #expect(lab.told() == [])
    }

    // MARK: Changes that come while others are being told

    @Test func rule35AChangeBeforeThePollIsMergedIntoOneReport() {
        var lab = ProxyLab()
        lab.want(.include, [1], at: 0)
        lab.want(.include, [1, 2], at: 0)
        #expect(lab.told() == ["ALLOW 1{1,2}"])
        #expect(lab.toldAll(until: 5) == ["ALLOW 1{1,2}"])
    }

    @Test func rule35ALaterChangeOfSourcesIsMergedWithTheEarlierOne() {
        var lab = ProxyLab(robustness: 3)
        lab.want(.include, [1], at: 0)
        #expect(lab.told() == ["ALLOW 1{1}"])
        // Source 1 has two reports to go, source 2 three.
        lab.want(.include, [1, 2], at: 0.000_001)
        #expect(lab.told() == ["ALLOW 1{1,2}"])
        #expect(lab.run(until: 10).map(\.records) == [["ALLOW 1{1,2}"], ["ALLOW 1{2}"]])
    }

    @Test func rule35ASourceThatIsNoLongerWantedIsBlockedThoughItsAllowWasStillBeingTold() {
        var lab = ProxyLab()
        lab.want(.include, [1], at: 0)
        #expect(lab.told() == ["ALLOW 1{1}"])
        lab.want(.include, at: 0)
        #expect(lab.told() == ["BLOCK 1{1}"])
        #expect(lab.toldAll(until: 5) == ["BLOCK 1{1}"])
    }

    @Test func rule35AGroupThatIsLeftAtOnceIsLeftAlsoForTheRouters() {
        var lab = ProxyLab()
        lab.want(.exclude, at: 0)
        #expect(lab.told() == ["TO_EX 1{}"])
        lab.want(.include, at: 0)
        #expect(lab.told() == ["TO_IN 1{}"])
        lab.want(.exclude, at: 0)
        #expect(lab.told() == ["TO_EX 1{}"])
        #expect(lab.toldAll(until: 5) == ["TO_EX 1{}"])
    }

    @Test func rule35AChangeOfModeIsToldK1TimesWhateverSourcesChangeMeanwhile() {
        var lab = ProxyLab()
        lab.want(.exclude, [1], at: 0)
        #expect(lab.told() == ["TO_EX 1{1}"])
        // One report of the mode is left, which says all; then the source's second one.
        lab.want(.exclude, [1, 2], at: 0)
        #expect(lab.told() == ["TO_EX 1{1,2}"])
        #expect(lab.run(until: 5).map(\.records) == [["BLOCK 1{2}"]])
    }

    // MARK: Answers (section 5.2)

    @Test(arguments: IPFamily.allCases) func rule35AGeneralQueryIsAnsweredWithEveryWishWithinItsTime(_ family: IPFamily) {
        var delays: Set<Interval> = []
        for seed in 0..<20 as Range<UInt64> {
            var lab = ProxyLab(family, seed: seed)
            lab.want(.exclude, [7], group: 2, at: 0)
            lab.want(.include, [8, 9], group: 1, at: 0)
            _ = lab.told()
            _ = lab.run(until: 5)
            lab.ask(within: .seconds(4), at: 10)
            let answers = lab.run(until: 30)
            #expect(answers.map(\.records) == [["IS_IN 1{8,9}", "IS_EX 2{7}"]])
            #expect(answers.allSatisfy { $0.at >= time(10) && $0.at < time(14) })
            delays.formUnion(answers.map { $0.at - time(10) })
        }
        #expect(delays.count == 20)
    }

    @Test(arguments: IPFamily.allCases) func rule35AGroupQueryIsAnsweredWithThatWishOnly(_ family: IPFamily) {
        var lab = ProxyLab(family)
        lab.want(.exclude, [7], group: 1, at: 0)
        lab.want(.include, [8], group: 2, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        lab.ask(1, within: .seconds(1), at: 10)
        #expect(lab.toldAll(until: 11) == ["IS_EX 1{7}"])
        lab.ask(2, within: .seconds(1), at: 20)
        #expect(lab.toldAll(until: 21) == ["IS_IN 2{8}"])
        lab.ask(3, within: .seconds(1), at: 30)
        #expect(lab.proxy.nextTimeout == .distantFuture)
    }

    @Test(arguments: IPFamily.allCases) func rule35ASourceQueryIsAnsweredWithThoseThatAreWanted(_ family: IPFamily) {
        var lab = ProxyLab(family)
        lab.want(.include, [1, 2, 3], group: 1, at: 0)
        lab.want(.exclude, [1, 2, 3], group: 2, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        // INCLUDE(A): A·B.
        lab.ask(1, [4, 3, 2], within: .seconds(1), at: 10)
        #expect(lab.toldAll(until: 11) == ["IS_IN 1{2,3}"])
        // EXCLUDE(A): B−A.
        lab.ask(2, [5, 4, 3], within: .seconds(1), at: 20)
        #expect(lab.toldAll(until: 21) == ["IS_IN 2{4,5}"])
        // Nothing wanted: nothing said.
        lab.ask(1, [4], within: .seconds(1), at: 30)
        lab.ask(2, [1], within: .seconds(1), at: 30)
        #expect(lab.toldAll(until: 31) == [])
    }

    @Test func rule35QueriesForSourcesAreAnsweredTogether() {
        var lab = ProxyLab()
        lab.want(.include, [1, 2, 3], at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        lab.ask(1, [1], at: 10)
        let first = lab.proxy.nextTimeout
        lab.ask(1, [3], at: 10)
        #expect(lab.proxy.nextTimeout <= first)
        #expect(lab.run(until: 30).map(\.records) == [["IS_IN 1{1,3}"]])
    }

    @Test func rule35AQueryForTheGroupAbsorbsThoseForSources() {
        for order in [[[1], []], [[], [1]]] as [[[Int]]] {
            var lab = ProxyLab()
            lab.want(.include, [1, 2], at: 0)
            _ = lab.told()
            _ = lab.run(until: 5)
            for sources in order { lab.ask(1, sources, at: 10) }
            #expect(lab.run(until: 30).map(\.records) == [["IS_IN 1{1,2}"]])
        }
    }

    @Test func rule35AnAnswerToEverythingThatComesFirstAnswersTheGroupsQueryToo() {
        var lab = ProxyLab()
        lab.want(.exclude, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        lab.ask(within: .milliseconds(1), at: 10)
        lab.ask(1, within: .seconds(100), at: 10)
        #expect(lab.run(until: 200).map(\.records) == [["IS_EX 1{}"]])
        // And the other way round.
        lab.ask(1, within: .seconds(1_000), at: 300)
        lab.ask(within: .milliseconds(1), at: 300)
        #expect(lab.run(until: 2_000).map(\.records) == [["IS_EX 1{}"]])
    }

    @Test func rule35OfTwoGeneralQueriesTheEarlierAnswerCounts() {
        var lab = ProxyLab()
        lab.want(.exclude, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        lab.ask(within: .seconds(100), at: 10)
        lab.ask(within: .milliseconds(1), at: 10)
        #expect(lab.proxy.nextTimeout <= time(10.001))
        lab.ask(within: .seconds(100), at: 10)
        #expect(lab.run(until: 200).map(\.records) == [["IS_EX 1{}"]])
    }

    @Test func rule35AResponseTimeOfZeroIsAnsweredAtOnce() {
        var lab = ProxyLab(.v6)
        lab.want(.exclude, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        lab.ask(within: .zero, at: 10)
        #expect(lab.told() == ["IS_EX 1{}"])
        lab.ask(1, within: .zero, at: 11)
        #expect(lab.told() == ["IS_EX 1{}"])
    }

    @Test func rule35AFloodOfQueriesLeavesOneAnswer() {
        var lab = ProxyLab()
        lab.want(.exclude, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        for number in 0..<5_000 {
            lab.proxy.handleQuery(
                MembershipQuery(group: lab.group(1), sources: [lab.source(number)], maxResponse: .seconds(3_000)), at: time(10))
        }
        lab.proxy.checkInvariants()
        // More sources than are kept: the whole wish is told instead.
        #expect(lab.run(until: 4_000).map(\.records) == [["IS_EX 1{}"]])
    }

    @Test func rule35AnswersThatAreTakenBackLeaveNoDeadlinesBehind() {
        var lab = ProxyLab(.v6)
        lab.want(.exclude, at: 0)
        _ = lab.told()
        _ = lab.run(until: 5)
        for _ in 0..<1_000 {
            lab.ask(1, within: .seconds(8_000), at: 10)
            lab.ask(within: .zero, at: 10)
            #expect(lab.told() == ["IS_EX 1{}"])
        }
        #expect(lab.proxy.nextTimeout == .distantFuture)
    }

    // MARK: With and without routers

    @Test(arguments: IPFamily.allCases) func rule35WithoutARouterNothingIsSaid(_ family: IPFamily) {
        var lab = ProxyLab(family, isActive: false)
        lab.want(.exclude, group: 1, at: 0)
        lab.want(.include, [1], group: 2, at: 0)
        lab.ask(at: 1)
        lab.ask(1, at: 1)
        #expect(lab.proxy.nextTimeout == .distantFuture)
        #expect(lab.told() == [])
        #expect(lab.proxy.groups.map(\.group) == [lab.group(1), lab.group(2)])
        #expect(lab.proxy.groups.map(\.wish) == [.everything, Wish(.include, [lab.source(1)])])
    }

    @Test func rule35ARouterThatAppearsIsToldEverythingAtOnce() {
        var lab = ProxyLab(isActive: false)
        lab.want(.exclude, group: 2, at: 0)
        lab.want(.include, [1], group: 1, at: 0)
        lab.want(.exclude, group: 3, at: 0)
        lab.want(.include, group: 3, at: 1)
        lab.proxy.setActive(true, at: time(10))
        #expect(lab.told() == ["IS_IN 1{1}", "IS_EX 2{}"])
        lab.proxy.setActive(true, at: time(11))
        #expect(lab.told() == [])
        #expect(lab.proxy.nextTimeout == .distantFuture)
    }

    @Test func rule35WhenTheLastRouterGoesNothingIsLeftToTell() {
        var lab = ProxyLab()
        lab.want(.exclude, group: 1, at: 0)
        lab.want(.exclude, group: 2, at: 0)
        _ = lab.told()
        lab.want(.include, group: 2, at: 0)
        lab.ask(at: 0)
        lab.ask(1, at: 0)
        lab.proxy.setActive(false, at: time(0.5))
        lab.proxy.checkInvariants()
        #expect(lab.proxy.nextTimeout == .distantFuture)
        lab.proxy.handleTimeout(at: time(100))
        #expect(lab.told() == [])
        #expect(lab.proxy.groups.map(\.group) == [lab.group(1)])
        lab.proxy.setActive(true, at: time(200))
        #expect(lab.toldAll(until: 300) == ["IS_EX 1{}"])
    }

    @Test func rule35TenThousandGroupsAreToldInOrder() {
        var lab = ProxyLab()
        for number in (0..<10_000).reversed() {
            lab.proxy.setWish(.everything, for: lab.group(number), lab.timing, at: .zero)
        }
        let sorted = (0..<10_000).map { "TO_EX \($0){}" }
        #expect(lab.told() == sorted)
        var again: [String] = []
        lab.proxy.handleTimeout(at: time(1))
        again = lab.told()
        #expect(again == sorted)
        #expect(lab.proxy.nextTimeout == .distantFuture)
    }
}
