// The querier and its election on the virtual clock: rules 3, 7, 23 and 28 (RFC 9776 sections 6.6.2 and 7.3). Default timing:
// K2 is 125 s, K3 10 s, K5 255 s, K6 31.25 s, K7 2, K12 350 s for IGMPv1 and v2 queries that allow 10 s, 260 s for MLDv1's.

import Basics
import Testing
import Wire

@testable import Switching

/// One querier at router address 10, and what it said.
private struct QuerierLab {
    var querier: Querier
    let family: IPFamily

    init(
        _ family: IPFamily = .v4, timing: MembershipTiming = MembershipTiming(), isEnabled: Bool = true,
        address: IPAddress? = nil,
        generation: MembershipGeneration = .third
    ) {
        self.family = family
        querier = Querier(
            QuerierConfiguration(
                family: family, timing: timing, isEnabled: isEnabled, address: address ?? QuerierLab.router(10, family),
                generation: generation), at: .zero)
    }

    /// 192.0.2.n or fe80::n.
    static func router(_ number: Int, _ family: IPFamily) -> IPAddress {
        family == .v4
            ? IPAddress(ipv4: 0xC000_0200 | UInt32(number)) : IPAddress(high: 0xFE80_0000_0000_0000, low: UInt64(number))
    }
    func router(_ number: Int) -> IPAddress { QuerierLab.router(number, family) }

    mutating func hear(
        _ generation: MembershipGeneration = .third, from source: IPAddress, group: IPAddress? = nil,
        maxResponse: Interval = .seconds(10), robustness: UInt8 = 0, interval: Interval = .zero, at seconds: Double
    ) {
        querier.handleQuery(
            MembershipQuery(
                generation: generation, group: group, maxResponse: maxResponse, robustness: robustness, queryInterval: interval),
            from: source, at: GroupTableLab.time(seconds))
    }

    mutating func queries() -> [MembershipQuery] {
        var queries: [MembershipQuery] = []
        while let (query, _) = querier.pollQuery() { queries.append(query) }
        return queries
    }

    /// Where each of the queries that wait is sent from.
    mutating func sources() -> [IPAddress] {
        var sources: [IPAddress] = []
        while let (_, source) = querier.pollQuery() { sources.append(source) }
        return sources
    }

    mutating func events() -> [QuerierEvent] {
        var events: [QuerierEvent] = []
        while let event = querier.pollEvent() { events.append(event) }
        return events
    }

    /// When queries are sent up to then, in seconds, the driver calling at each timeout.
    mutating func run(until seconds: Double) -> [Double] {
        var times: [Double] = []
        let end = GroupTableLab.time(seconds)
        var now = Instant.zero
        while true {
            times += queries().map { _ in Double(now.nanoseconds) / 1_000_000_000 }
            _ = events()
            let next = querier.nextTimeout
            guard next <= end else { return times }
            now = next
            querier.handleTimeout(at: now)
        }
    }
}

@Suite struct QuerierTests {
    private func time(_ seconds: Double) -> Instant { GroupTableLab.time(seconds) }

    // MARK: Asking

    @Test(arguments: IPFamily.allCases) func rule28StartupQueriesAreK7AndK6Apart(_ family: IPFamily) {
        var lab = QuerierLab(family)
        #expect(lab.querier.isQuerier)
        #expect(lab.run(until: 410) == [0, 31.25, 156.25, 281.25, 406.25])
    }

    @Test func rule28AsManyStartupQueriesAsTheRobustnessSays() {
        var timing = MembershipTiming()
        timing.robustness = 4
        timing.queryInterval = .seconds(20)
        var lab = QuerierLab(timing: timing)
        #expect(lab.run(until: 60) == [0, 5, 10, 15, 35, 55])
    }

    @Test(arguments: IPFamily.allCases) func rule28AGeneralQuerySaysK1K2AndK3(_ family: IPFamily) throws {
        var lab = QuerierLab(family)
        let polled = lab.querier.pollQuery()
        let (query, source) = try #require(polled)
        #expect(
            query
                == MembershipQuery(
                    generation: .third, maxResponse: .seconds(10), suppress: false, robustness: 2, queryInterval: .seconds(125)))
        #expect(source == lab.router(10))
    }

    @Test func rule28ARobustnessAbove7IsNotSaid() {
        var timing = MembershipTiming()
        timing.robustness = 8
        var lab = QuerierLab(timing: timing)
        #expect(lab.queries().map(\.robustness) == [0])
    }

    @Test func rule28ALateDriverSendsOneQueryNotAllThatWereMissed() {
        var lab = QuerierLab()
        _ = lab.queries()
        lab.querier.handleTimeout(at: time(1000))
        #expect(lab.queries().count == 1)
        #expect(lab.events() == [.becameQuerier])
        #expect(lab.querier.nextTimeout == time(1125))
    }

    @Test func rule28OneThatIsSwitchedOffSaysNothing() {
        var lab = QuerierLab(isEnabled: false)
        #expect(!lab.querier.isQuerier)
        #expect(lab.querier.nextTimeout == .distantFuture)
        lab.querier.requestQuery(at: time(5))
        lab.querier.handleTimeout(at: time(500))
        #expect(lab.queries() == [])
        #expect(lab.events() == [])
    }

    // MARK: Election

    @Test(arguments: IPFamily.allCases) func rule23TheLowestAddressWins(_ family: IPFamily) throws {
        var lab = QuerierLab(family)
        _ = lab.queries()
        lab.hear(from: lab.router(11), at: 1)
        #expect(lab.querier.isQuerier)
        lab.hear(from: lab.router(9), at: 2)
        #expect(!lab.querier.isQuerier)
        #expect(lab.querier.elected?.address == lab.router(9))
        lab.hear(from: lab.router(10), at: 3)
        lab.hear(from: lab.router(11), at: 4)
        #expect(lab.querier.elected?.address == lab.router(9))
        #expect(lab.querier.elected?.lastQuery == time(2))
        lab.hear(from: lab.router(7), at: 5)
        let elected = try #require(lab.querier.elected)
        #expect(elected.address == lab.router(7))
        #expect(elected.since == time(5))
        #expect(elected.expires == time(260))
        #expect(lab.events() == [.becameQuerier, .gaveWay(to: lab.router(9)), .gaveWay(to: lab.router(7))])
        #expect(lab.queries() == [])
    }

    @Test(arguments: IPFamily.allCases) func rule23OurOwnQueryComesBackAndElectsNobody(_ family: IPFamily) {
        var lab = QuerierLab(family)
        _ = lab.queries()
        lab.hear(from: lab.router(10), at: 1)
        #expect(lab.querier.isQuerier)
        #expect(lab.querier.elected == nil)
        #expect(lab.events() == [.becameQuerier])
    }

    @Test func rule23AQueryForAGroupElectsNobodyAndKeepsNobodyElected() {
        var lab = QuerierLab()
        let group = IPAddress(ipv4: 0xEF01_0001)
        lab.hear(from: lab.router(5), group: group, at: 1)
        #expect(lab.querier.isQuerier)
        lab.hear(from: lab.router(5), at: 10)
        lab.hear(from: lab.router(5), group: group, at: 100)
        #expect(lab.querier.elected?.expires == time(265))
    }

    @Test(arguments: IPFamily.allCases) func rule3AZeroSourceTakesNoPart(_ family: IPFamily) {
        var lab = QuerierLab(family)
        lab.hear(from: .unspecified(family), at: 1)
        #expect(lab.querier.isQuerier)
        // Nor does it keep alive whom the others elected.
        lab.hear(from: lab.router(9), at: 10)
        lab.hear(from: .unspecified(family), at: 100)
        #expect(lab.querier.elected?.address == lab.router(9))
        #expect(lab.querier.elected?.expires == time(265))
    }

    @Test func rule3AnAddressThatNoHostHasTakesNoPart() {
        var lab = QuerierLab()
        for address in [0x0000_0001, 0x0000_00FF, 0xE000_0001, 0xFFFF_FFFF] as [UInt32] {
            lab.hear(from: IPAddress(ipv4: address), at: 1)
        }
        // The other family is another election.
        lab.hear(from: QuerierLab.router(1, .v6), at: 1)
        #expect(lab.querier.isQuerier)
        #expect(lab.querier.generation == .third)
        var other = QuerierLab(.v6)
        other.hear(from: QuerierLab.router(1, .v4), at: 1)
        #expect(other.querier.isQuerier)
    }

    @Test(arguments: IPFamily.allCases) func rule3WithoutAnAddressAnybodyRealWins(_ family: IPFamily) {
        var lab = QuerierLab(family, address: .unspecified(family))
        #expect(lab.querier.isQuerier)
        #expect(lab.sources() == [.unspecified(family)])
        lab.hear(from: .unspecified(family), at: 1)
        #expect(lab.querier.isQuerier)
        lab.hear(from: lab.router(200), at: 2)
        #expect(lab.querier.elected?.address == lab.router(200))
    }

    @Test func rule28OneThatIsSwitchedOffHearsWhoIsElected() {
        var lab = QuerierLab(isEnabled: false)
        lab.hear(from: lab.router(50), interval: .seconds(60), at: 0)
        lab.hear(from: lab.router(60), at: 1)
        lab.hear(from: lab.router(40), interval: .seconds(30), at: 2)
        #expect(lab.querier.elected?.address == lab.router(40))
        #expect(lab.querier.timing.queryInterval == .seconds(30))
        lab.querier.handleTimeout(at: time(2 + 65))
        #expect(lab.querier.elected == nil)
        #expect(!lab.querier.isQuerier)
        #expect(lab.queries() == [])
        #expect(lab.querier.timing == MembershipTiming())
    }

    // MARK: Taking over

    @Test(arguments: IPFamily.allCases) func rule28TakesOverAfterExactlyK5(_ family: IPFamily) {
        var lab = QuerierLab(family)
        _ = lab.queries()
        lab.hear(from: lab.router(9), at: 10)
        _ = lab.events()
        #expect(lab.querier.nextTimeout == time(265))
        lab.querier.handleTimeout(at: time(265) - .nanoseconds(1))
        #expect(!lab.querier.isQuerier)
        #expect(lab.queries() == [])
        lab.querier.handleTimeout(at: time(265))
        #expect(lab.querier.isQuerier)
        #expect(lab.sources() == [lab.router(10)])
        #expect(lab.events() == [.tookOver(from: lab.router(9))])
        // No startup: the next one is K2 later.
        #expect(lab.querier.nextTimeout == time(390))
    }

    @Test func rule28EachQueryOfTheElectedOneBeginsK5Anew() {
        var lab = QuerierLab()
        lab.hear(from: lab.router(9), at: 10)
        lab.hear(from: lab.router(9), at: 200)
        #expect(lab.querier.elected?.since == time(10))
        #expect(lab.querier.elected?.lastQuery == time(200))
        #expect(lab.querier.elected?.expires == time(455))
    }

    @Test func rule28AQueryThatWaitsIsNotSentByOneThatGaveWay() {
        var lab = QuerierLab()
        lab.hear(from: lab.router(9), at: 0)
        #expect(lab.queries() == [])
        _ = lab.events()
        #expect(lab.querier.nextTimeout == time(255))
    }

    // MARK: Adopted timing

    @Test(arguments: IPFamily.allCases) func rule28RobustnessAndIntervalOfTheElectedOneAreAdopted(_ family: IPFamily) {
        var lab = QuerierLab(family)
        lab.hear(from: lab.router(9), robustness: 3, interval: .seconds(20), at: 10)
        #expect(lab.querier.timing.robustness == 3)
        #expect(lab.querier.timing.queryInterval == .seconds(20))
        #expect(lab.querier.timing.groupMembershipInterval == .seconds(80))
        // K5 too: 3 x 20 s + 5 s.
        #expect(lab.querier.elected?.expires == time(75))
        lab.querier.handleTimeout(at: time(75))
        #expect(lab.querier.timing == MembershipTiming())
        #expect(lab.queries().map(\.queryInterval) == [.seconds(125)])
    }

    @Test func rule28WhatTheElectedOneDoesNotSayStaysOurs() {
        var lab = QuerierLab()
        lab.hear(from: lab.router(9), robustness: 3, interval: .seconds(20), at: 10)
        lab.hear(from: lab.router(9), robustness: 0, interval: .zero, at: 20)
        #expect(lab.querier.timing == MembershipTiming())
        #expect(lab.querier.elected?.expires == time(275))
    }

    @Test func rule28OneThatLostAdoptsNothing() {
        var lab = QuerierLab()
        lab.hear(from: lab.router(11), robustness: 3, interval: .seconds(20), at: 10)
        #expect(lab.querier.timing == MembershipTiming())
    }

    /// QQIC's largest value, from anybody: 7 x 31,744 s would be two days and a half.
    @Test(arguments: IPFamily.allCases) func rule23NoIntervalBeyondTheCapIsAdopted(_ family: IPFamily) throws {
        var lab = QuerierLab(family)
        _ = lab.queries()
        #expect(lab.querier.longestAdopted == .seconds(1_000))
        lab.hear(from: lab.router(9), robustness: 7, interval: .seconds(31_744), at: 10)
        #expect(lab.querier.timing.queryInterval == .seconds(1_000) && lab.querier.timing.robustness == 7)
        #expect(lab.querier.elected?.expires == time(10 + 7 * 1_000 + 5))
        #expect(lab.querier.timing.groupMembershipInterval == .seconds(7_020))
        // What we say in its stead is no longer either.
        lab.querier.requestQuery(at: time(20))
        #expect(lab.queries().map(\.queryInterval) == [.seconds(1_000)])
        lab.hear(from: lab.router(9), robustness: 2, interval: .seconds(1_000), at: 30)
        #expect(lab.querier.timing.queryInterval == .seconds(1_000))
        lab.hear(from: lab.router(9), robustness: 2, interval: .seconds(999), at: 40)
        #expect(lab.querier.timing.queryInterval == .seconds(999))
    }

    @Test func rule23TheCapGrowsWithOurOwnInterval() {
        var timing = MembershipTiming()
        timing.queryInterval = .seconds(600)
        var lab = QuerierLab(timing: timing)
        lab.hear(from: lab.router(9), robustness: 2, interval: .seconds(31_744), at: 10)
        #expect(lab.querier.timing.queryInterval == .seconds(4_800))
        #expect(lab.querier.elected?.expires == time(10 + 2 * 4_800 + 5))
    }

    // MARK: Older queriers

    @Test func rule23AnOlderIGMPQuerierIsFollowedForK12() {
        var lab = QuerierLab()
        // Its address is higher: we go on asking, in its form.
        lab.hear(.second, from: lab.router(11), maxResponse: .seconds(10), at: 100)
        #expect(lab.querier.isQuerier)
        #expect(lab.querier.generation == .second)
        lab.querier.handleTimeout(at: time(100 + 350) - .nanoseconds(1))
        #expect(lab.querier.generation == .second)
        #expect(lab.queries().last == MembershipQuery(generation: .second, maxResponse: .seconds(10)))
        lab.querier.handleTimeout(at: time(450))
        #expect(lab.querier.generation == .third)
    }

    @Test func rule23K12CountsTenTimesTheResponseTimeForIGMPOnly() {
        var four = QuerierLab(.v4)
        four.hear(.second, from: four.router(9), maxResponse: .seconds(2), at: 0)
        four.querier.handleTimeout(at: time(270) - .nanoseconds(1))
        #expect(four.querier.generation == .second)
        four.querier.handleTimeout(at: time(270))
        #expect(four.querier.generation == .third)
        var six = QuerierLab(.v6)
        six.hear(.second, from: six.router(9), maxResponse: .seconds(2), at: 0)
        six.querier.handleTimeout(at: time(260) - .nanoseconds(1))
        #expect(six.querier.generation == .second)
        six.querier.handleTimeout(at: time(260))
        #expect(six.querier.generation == .third)
    }

    @Test func rule23TheOldestOfSeveralCountsThenTheNext() {
        var lab = QuerierLab()
        lab.hear(.first, from: lab.router(11), at: 0)
        lab.hear(.second, from: lab.router(12), at: 100)
        #expect(lab.querier.generation == .first)
        lab.querier.handleTimeout(at: time(31.25))
        #expect(lab.queries().last == MembershipQuery(generation: .first, maxResponse: .seconds(10)))
        lab.querier.handleTimeout(at: time(350))
        #expect(lab.querier.generation == .second)
        lab.querier.handleTimeout(at: time(450))
        #expect(lab.querier.generation == .third)
    }

    @Test func rule23AConfiguredOlderGenerationIsSpokenAndNotWarnedOf() {
        var lab = QuerierLab(generation: .second)
        #expect(lab.queries() == [MembershipQuery(generation: .second, maxResponse: .seconds(10))])
        lab.hear(.second, from: lab.router(11), at: 1)
        lab.hear(.third, from: lab.router(11), at: 2)
        #expect(lab.querier.generation == .second)
        #expect(lab.events() == [.becameQuerier])
    }

    @Test func rule23OlderQueriersAreWarnedOfOnceIn60Seconds() {
        var lab = QuerierLab()
        _ = lab.events()
        let old = lab.router(11)
        lab.hear(.second, from: old, at: 10)
        lab.hear(.second, from: old, at: 11)
        lab.hear(.first, from: old, at: 69.999)
        #expect(lab.events() == [.olderQuerier(.second, from: old, suppressed: 0)])
        lab.hear(.first, from: old, at: 70)
        #expect(lab.events() == [.olderQuerier(.first, from: old, suppressed: 2)])
        lab.hear(.second, from: old, at: 130)
        #expect(lab.events() == [.olderQuerier(.second, from: old, suppressed: 0)])
    }

    @Test func rule3AnOlderQueryFromNowhereHoldsNobodyBack() {
        var lab = QuerierLab()
        lab.hear(.second, from: .unspecified(.v4), at: 1)
        #expect(lab.querier.generation == .third)
        #expect(lab.events() == [.becameQuerier])
    }

    // MARK: Queries on request

    @Test func rule7TheQuerierAsksAtOnceAndKeepsItsCycle() {
        var lab = QuerierLab()
        #expect(lab.run(until: 200) == [0, 31.25, 156.25])
        lab.querier.requestQuery(at: time(200))
        #expect(lab.sources() == [lab.router(10)])
        #expect(lab.querier.nextTimeout == time(281.25))
    }

    @Test(arguments: IPFamily.allCases) func rule7OneThatListensAsksFromNowhereWithTheElectedOnesParameters(_ family: IPFamily)
        throws
    {
        var lab = QuerierLab(family)
        _ = lab.queries()
        lab.hear(from: lab.router(9), maxResponse: .seconds(4), robustness: 3, interval: .seconds(60), at: 10)
        lab.querier.requestQuery(at: time(20))
        let polled = lab.querier.pollQuery()
        let (query, source) = try #require(polled)
        #expect(query == MembershipQuery(maxResponse: .seconds(4), robustness: 3, queryInterval: .seconds(60)))
        #expect(source == .unspecified(family))
        #expect(lab.querier.elected?.lastQuery == time(10))
    }

    @Test func rule7AnOlderElectedOneIsImitatedInItsForm() {
        var lab = QuerierLab()
        lab.hear(.first, from: lab.router(9), at: 10)
        lab.querier.requestQuery(at: time(20))
        #expect(lab.queries() == [MembershipQuery(generation: .first, maxResponse: .seconds(10))])
    }

    @Test func rule7RequestsAreASecondApartAndNoneIsForgotten() {
        var lab = QuerierLab()
        _ = lab.run(until: 200)
        lab.querier.requestQuery(at: time(200))
        // At the very moment: the same query asks for both.
        lab.querier.requestQuery(at: time(200))
        #expect(lab.queries().count == 1)
        lab.querier.requestQuery(at: time(200.3))
        lab.querier.requestQuery(at: time(200.9))
        #expect(lab.queries() == [])
        #expect(lab.querier.nextTimeout == time(201))
        lab.querier.handleTimeout(at: time(201))
        #expect(lab.queries().count == 1)
        #expect(lab.querier.nextTimeout == time(281.25))
    }

    @Test func rule7AQueryOfTheCycleAnswersARequestThatWaits() {
        var lab = QuerierLab()
        _ = lab.run(until: 280)
        lab.querier.requestQuery(at: time(281))
        lab.querier.requestQuery(at: time(281.1))
        #expect(lab.queries().count == 1)
        lab.querier.handleTimeout(at: time(281.25))
        #expect(lab.queries().count == 1)
        #expect(lab.querier.nextTimeout == time(406.25))
    }

    // MARK: Knowing all

    /// At 0 and 31.25 s, with 10 s for the answers.
    @Test(arguments: IPFamily.allCases) func rule27KnowsAllWhenK1GeneralQueriesHaveBeenAnswered(_ family: IPFamily) {
        var lab = QuerierLab(family)
        #expect(!lab.querier.knowsAll(at: time(10)))
        _ = lab.run(until: 41)
        #expect(!lab.querier.knowsAll(at: time(41.249)))
        #expect(lab.querier.knowsAll(at: time(41.25)))
        #expect(lab.run(until: 200).count == 1)
        #expect(lab.querier.knowsAll(at: time(200)))
        var timing = MembershipTiming()
        timing.robustness = 3
        var careful = QuerierLab(family, timing: timing)
        _ = careful.run(until: 62)
        #expect(!careful.querier.knowsAll(at: time(72.499)))
        _ = careful.run(until: 63)
        #expect(!careful.querier.knowsAll(at: time(72.499)) && careful.querier.knowsAll(at: time(72.5)))
    }

    /// Whatever another querier says of its own robustness.
    @Test func rule27OurOwnK1Counts() {
        var lab = QuerierLab()
        lab.hear(from: lab.router(9), robustness: 1, at: 1)
        #expect(lab.querier.timing.robustness == 1)
        #expect(!lab.querier.knowsAll(at: time(100)))
        lab.hear(from: lab.router(9), robustness: 1, at: 100)
        #expect(!lab.querier.knowsAll(at: time(109.999)) && lab.querier.knowsAll(at: time(110)))
    }

    /// Nor does one that allows hours hold the answers to ours back.
    @Test func rule27TheEarliestTimeForAnswersCounts() {
        var lab = QuerierLab()
        lab.hear(from: lab.router(11), maxResponse: .seconds(3_174), at: 5)
        lab.hear(from: lab.router(11), maxResponse: .seconds(3_174), at: 11)
        _ = lab.run(until: 32)
        #expect(!lab.querier.knowsAll(at: time(41.249)) && lab.querier.knowsAll(at: time(41.25)))
    }

    @Test(arguments: IPFamily.allCases) func rule27AnybodysGeneralQueriesCount(_ family: IPFamily) {
        let lab = QuerierLab(family)
        // Anybody's general query is answered, also a switch's.
        for source in [lab.router(9), .unspecified(family)] {
            var silent = QuerierLab(family, isEnabled: false)
            let group = family == .v4 ? IPAddress(ipv4: 0xEF01_0001) : IPAddress(high: 0xFF05_0000_0000_0000, low: 1)
            silent.hear(from: source, group: group, at: 5)
            #expect(!silent.querier.knowsAll(at: time(1_000)))
            silent.hear(from: source, maxResponse: .seconds(3), at: 2_000)
            // Within the response time a host answers both with one report.
            silent.hear(from: source, maxResponse: .seconds(3), at: 2_002)
            silent.hear(from: source, maxResponse: .seconds(3), at: 2_009.999)
            #expect(!silent.querier.knowsAll(at: time(3_000)))
            silent.hear(from: source, maxResponse: .seconds(3), at: 3_000)
            // Not before our own K3: a query that asks for answers at once proves nothing about hosts that did not hear it.
            #expect(!silent.querier.knowsAll(at: time(3_009.999)))
            #expect(silent.querier.knowsAll(at: time(3_010)))
        }
    }
}
