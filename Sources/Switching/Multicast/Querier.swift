// Who asks the hosts of a VLAN what they want: us, or a querier with a lower address (rules 7, 23, 28; RFC 9776 sections 6.6.2
// and 7.3.2, RFC 9777 section 7.6.2). One for each VLAN and family.
//
//     start --> asking --- general query from a lower address --> listening --- K5 of silence --> asking
//
// Asking: K7 general queries K6 apart, then one each K2. Listening: none, but what rule 7 allows: a query with the unspecified
// source and the elected one's parameters when hosts have just become reachable. A querier without an address of its own
// gives way to every real one. An older querier that is heard makes us speak its version until K12 after its last query.
//
// What an elected querier says of itself is adopted within bounds: QQIC reaches 31,744 s, and one forged query that says so
// would otherwise keep everybody from asking for two days, and every membership for as long.

import Basics
import Wire

public struct QuerierConfiguration: Hashable, Sendable {
    public var family: IPFamily
    public var timing: MembershipTiming
    /// False: never asks of its own accord.
    public var isEnabled: Bool
    /// Where our queries come from; unspecified where there is no real address, and then everybody else wins.
    public var address: IPAddress
    /// The newest generation to ask in.
    public var generation: MembershipGeneration

    public init(
        family: IPFamily, timing: MembershipTiming, isEnabled: Bool, address: IPAddress,
        generation: MembershipGeneration = .third
    ) {
        self.family = family
        self.timing = timing
        self.isEnabled = isEnabled
        self.address = address
        self.generation = generation
    }
}

/// What happened to a querier that operators should read about.
public enum QuerierEvent: Hashable, Sendable {
    case becameQuerier
    case gaveWay(to: IPAddress)
    /// After the elected one's silence.
    case tookOver(from: IPAddress)
    case olderQuerier(MembershipGeneration, from: IPAddress, suppressed: Int)
}

public struct Querier: Sendable {
    /// Another querier that was elected.
    public struct Elected: Hashable, Sendable {
        public var address: IPAddress
        public var since: Instant
        public var lastQuery: Instant
        public var expires: Instant
        public var generation: MembershipGeneration
        /// Of its last general query.
        public var maxResponse: Interval
        public var robustness: UInt8
        /// At most `longestAdopted`.
        public var queryInterval: Interval
    }

    public let configuration: QuerierConfiguration
    public private(set) var elected: Elected?
    // The end of K12 after the last query of each older generation; far when none was heard.
    private var firstExpires = Instant.distantFuture
    private var secondExpires = Instant.distantFuture
    /// When the next general query of ours is due.
    private var nextQuery = Instant.distantFuture
    private var startupQueriesLeft = 0
    /// General queries that have had their response time, one after the other: at most K1, which is as many as count.
    private var answeredQueries = 0
    /// When the general query under way will have had its response time; far while there is none.
    private var answeredAt = Instant.distantFuture
    private var lastRequested: Instant?
    /// When a query is due that was asked for too soon after the one before.
    private var requestDue = Instant.distantFuture
    private var due: [(query: MembershipQuery, source: IPAddress)] = []
    private var events: [QuerierEvent] = []
    private var lastWarning: Instant?
    private var suppressedWarnings = 0
    private static let warningPeriod = Interval.seconds(60)
    private static let requestPeriod = Interval.seconds(1)
    /// Of another querier's interval as many of our own K2 are adopted at most, but always as much as `adoptedAtLeast`: a
    /// LAN's queriers may well be configured differently, but not by orders of magnitude.
    static let adoptedFactor: Int64 = 8
    static let adoptedAtLeast = Interval.seconds(1_000)

    public init(_ configuration: QuerierConfiguration, at now: Instant) {
        self.configuration = configuration
        guard configuration.isEnabled else { return }
        events.append(.becameQuerier)
        startupQueriesLeft = max(configuration.timing.startupQueryCount, 1)
        ask(now)
    }

    // MARK: Facts

    public var isQuerier: Bool { configuration.isEnabled && elected == nil }

    public var address: IPAddress { configuration.address }

    /// What is in effect: the elected querier's robustness and interval are adopted where it says them (RFC 9776 sections 4.1.6
    /// and 4.1.7), the interval up to `longestAdopted`.
    public var timing: MembershipTiming {
        elected.map { adopting($0.robustness, $0.queryInterval) } ?? configuration.timing
    }

    /// The longest query interval that is taken over from another querier.
    public var longestAdopted: Interval {
        max(configuration.timing.queryInterval * Querier.adoptedFactor, Querier.adoptedAtLeast)
    }

    /// Whether a query says a longer interval than is adopted.
    func caps(_ query: MembershipQuery) -> Bool { query.queryInterval > longestAdopted }

    private func adopting(_ robustness: UInt8, _ queryInterval: Interval) -> MembershipTiming {
        var timing = configuration.timing
        // Three bits on the wire: at most 7.
        if robustness > 0 { timing.robustness = Int(robustness) }
        if queryInterval > .zero { timing.queryInterval = min(queryInterval, longestAdopted) }
        return timing
    }

    /// In which queries are to be sent.
    public var generation: MembershipGeneration {
        if firstExpires != .distantFuture { return .first }
        return secondExpires != .distantFuture ? min(.second, configuration.generation) : configuration.generation
    }

    /// Whether every host has been heard since we began to listen: each has had the time to answer K1 general queries, one
    /// after the other, so that K1 - 1 lost reports hide nobody (rule 27). Our own K1 counts; another querier may say 1.
    public func knowsAll(at now: Instant) -> Bool {
        answeredQueries + (answeredAt <= now ? 1 : 0) >= configuration.timing.robustness
    }

    // MARK: In

    /// A query that was heard. General ones elect; an older generation of any kind holds us back for K12.
    public mutating func handleQuery(_ query: MembershipQuery, from source: IPAddress, at now: Instant) {
        handleTimeout(at: now)
        // Rule 3: nobody is elected by a query from nowhere, nor from what is no host's address, such as 0.0.0.1, which would
        // win for ever. Our own address is our own query, come back.
        guard source.isUnicast, source.family == configuration.family, source != configuration.address else {
            return noteAsked(query, now)
        }
        noteOlder(query, source, now)
        guard query.group == nil else { return }
        noteAsked(query, now)
        guard wins(source) else { return }
        let expires = now + expiry(query)
        let since = elected?.address == source ? elected?.since : nil
        if elected?.address != source { events.append(.gaveWay(to: source)) }
        elected = Elected(
            address: source, since: since ?? now, lastQuery: now, expires: expires, generation: query.generation,
            maxResponse: query.maxResponse, robustness: query.robustness,
            queryInterval: min(query.queryInterval, longestAdopted))
        nextQuery = .distantFuture
        startupQueriesLeft = 0
        due.removeAll { $0.query.group == nil && !$0.source.isUnspecified }
    }

    /// Whether a querier with this address takes precedence over the one there is, which may be us.
    private func wins(_ source: IPAddress) -> Bool {
        if let elected { return source <= elected.address }
        // One that does not ask listens to anybody.
        return !configuration.isEnabled || configuration.address.isUnspecified || source < configuration.address
    }

    /// K5 with what is adopted of the query's robustness and interval: for how long its sender counts as present.
    func expiry(_ query: MembershipQuery) -> Interval {
        adopting(query.robustness, query.queryInterval).otherQuerierPresent
    }

    private mutating func noteOlder(_ query: MembershipQuery, _ source: IPAddress, _ now: Instant) {
        guard query.generation < configuration.generation else { return }
        let expires = now + configuration.timing.olderQuerierPresent(configuration.family, maxResponse: query.maxResponse)
        if query.generation == .first { firstExpires = expires } else { secondExpires = expires }
        if let lastWarning, now - lastWarning < Self.warningPeriod {
            suppressedWarnings += 1
            return
        }
        events.append(.olderQuerier(query.generation, from: source, suppressed: suppressedWarnings))
        lastWarning = now
        suppressedWarnings = 0
    }

    /// A host answers queries that come within one response time with one report, so these count once; by the earliest of the
    /// times that they allow, as its answer comes by then.
    private mutating func noteAsked(_ query: MembershipQuery, _ now: Instant) {
        guard query.group == nil else { return }
        if answeredAt <= now {
            answeredQueries = min(answeredQueries + 1, configuration.timing.robustness)
            answeredAt = .distantFuture
        }
        answeredAt = min(answeredAt, now + max(query.maxResponse, configuration.timing.queryResponseInterval))
    }

    /// Hosts have become reachable that may not have heard the last query (rule 7): they are asked at once, or a second after
    /// the last query that was asked for so. One that does not ask and knows no querier has no parameters to ask with.
    public mutating func requestQuery(at now: Instant) {
        handleTimeout(at: now)
        if let lastRequested, now - lastRequested < Self.requestPeriod {
            // The query of this very moment reaches them too.
            if now > lastRequested { requestDue = lastRequested + Self.requestPeriod }
            return
        }
        askOnRequest(now)
    }

    private mutating func askOnRequest(_ now: Instant) {
        requestDue = .distantFuture
        if isQuerier {
            lastRequested = now
            send(now)
        } else if let elected {
            lastRequested = now
            let query = form(
                min(elected.generation, generation), maxResponse: elected.maxResponse, robustness: elected.robustness,
                queryInterval: elected.queryInterval)
            due.append((query, .unspecified(configuration.family)))
            noteAsked(query, now)
        }
    }

    public mutating func handleTimeout(at now: Instant) {
        if firstExpires <= now { firstExpires = .distantFuture }
        if secondExpires <= now { secondExpires = .distantFuture }
        if let elected, elected.expires <= now {
            self.elected = nil
            if configuration.isEnabled {
                events.append(.tookOver(from: elected.address))
                nextQuery = now
            }
        }
        // However late we are, one query is due, not all those that were missed.
        if isQuerier && nextQuery <= now {
            // It answers every request too.
            requestDue = .distantFuture
            ask(now)
        }
        if requestDue <= now { askOnRequest(now) }
    }

    public var nextTimeout: Instant {
        var next = min(elected?.expires ?? .distantFuture, firstExpires, secondExpires, requestDue)
        if isQuerier { next = min(next, nextQuery) }
        return due.isEmpty && events.isEmpty ? next : .zero
    }

    // MARK: Out

    /// A general query to send on every port.
    public mutating func pollQuery() -> (query: MembershipQuery, source: IPAddress)? {
        due.isEmpty ? nil : due.removeFirst()
    }

    public mutating func pollEvent() -> QuerierEvent? { events.isEmpty ? nil : events.removeFirst() }

    // MARK: Below

    private mutating func ask(_ now: Instant) {
        send(now)
        if startupQueriesLeft > 0 { startupQueriesLeft -= 1 }
        let timing = configuration.timing
        nextQuery = now + (startupQueriesLeft > 0 ? timing.startupQueryInterval : timing.queryInterval)
    }

    private mutating func send(_ now: Instant) {
        let timing = configuration.timing
        let query = form(
            generation, maxResponse: timing.queryResponseInterval,
            robustness: timing.robustness > 7 ? 0 : UInt8(clamping: timing.robustness), queryInterval: timing.queryInterval)
        due.append((query, configuration.address))
        noteAsked(query, now)
    }

    /// A general query with what its generation can say: v1's hosts take 10 s, and only the third knows QRV and QQI.
    private func form(
        _ generation: MembershipGeneration, maxResponse: Interval, robustness: UInt8, queryInterval: Interval
    ) -> MembershipQuery {
        MembershipQuery(
            generation: generation, maxResponse: generation == .first ? .seconds(10) : maxResponse,
            robustness: generation == .third ? robustness : 0, queryInterval: generation == .third ? queryInterval : .zero)
    }
}
