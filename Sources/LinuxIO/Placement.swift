// Where a lane runs. Left to itself, the kernel's scheduler puts a thread that is woken on a processor that is idle, away from
// the one that wakes it, and that may be another one each time. With packets that come one by one this is the dearest choice:
// each crosses to a processor whose caches know nothing of it, and waking that one costs an interrupt between the two. So a
// lane that has little to do tries the processors that the scheduler has put it on (and, where there are few, others that are
// mostly idle), one after the other, and stays where its work costs least. As soon as there is more to do, or less, or the place
// has become dear, the scheduler has it back.
//
//     floating --(steady: 4 windows)--> trying each --(one is a tenth cheaper)--> staying --(a minute, dear)--> floating
//        ^                                  |                                         |
//        +----- more or less to do ---------+-----------------------------------------+

import Basics

/// Decides from what a lane's work costs at which processor it should stay. Pure: time and figures are handed in.
public struct Placement: Sendable {
    /// How long it looks before it decides anything: for so long if so many datagrams and frames have come by then, or longer.
    static let shortWindow = Interval.milliseconds(20)
    static let enough = 200
    static let window = Interval.milliseconds(50)
    /// Datagrams and frames after which it does not wait for the end of the window.
    static let many = 4_096
    /// Datagrams and frames a second below which it does not matter.
    static let fewest = 2_000
    /// Percents of its time that a lane may be awake, to begin with it and to go on.
    static let begin = 40
    static let end = 60
    /// Windows for which it watches where it is put.
    static let watched = 4
    /// What a place has to cost to be worth it, in percents of what it costs to be moved about.
    static let gain = 90
    /// Percents of what being moved about costs at which a trial is given up at once.
    static let hopeless = 150
    /// Percents of what a place did cost from which on it has become dear, if it does for so many windows.
    static let dear = 140
    static let dearWindows = 4
    /// For how long it tries nothing after it has found nothing, each time for twice as long; after a place has become dear,
    /// likewise; and after a trial was broken off.
    static let rest = Interval.seconds(10)
    static let longRest = Interval.seconds(320)
    static let shortRest = Interval.seconds(1)
    static let pause = Interval.milliseconds(300)
    /// How long it stays without another look at the other places.
    static let stay = Interval.seconds(60)
    /// Processors that are tried.
    static let candidateLimit = 4

    /// What a lane has done since some moment, in sums.
    public struct Account: BitwiseCopyable, Sendable {
        public var messages = 0
        public var frames = 0
        /// How long it slept.
        public var slept = Interval.zero

        public init() {}

        var events: Int { messages &+ frames }
    }

    public enum Decision: Hashable, Sendable {
        case stay(processor: Int)
        case leave
    }

    private enum Phase {
        /// Where the scheduler wants it, for so many windows that were alike.
        case floating(Int)
        /// At a candidate; its first window is only to get warm.
        case trying(Int, isWarm: Bool)
        case staying
    }

    /// A processor, and what a datagram or frame has cost there, in nanoseconds.
    private struct Candidate: BitwiseCopyable {
        var processor = 0
        var cost = Int64.max
    }

    private var phase = Phase.floating(0)
    private var since: Instant
    private var before = Account()
    private var costBefore = Interval.zero
    /// Where it has been put; the first `candidateCount`.
    private var candidates = InlineArray<4, Candidate>(repeating: Candidate())
    private var candidateCount = 0
    private var floatingCost: Int64 = 0
    /// What the place that it stays at cost when it was chosen.
    private var expected: Int64 = 0
    private var dearFor = 0
    private var stayedSince = Instant.zero
    private var restsUntil = Instant.zero
    private var nextRest = Placement.rest
    private var nextShortRest = Placement.shortRest

    public init(at now: Instant) { since = now }

    /// Whether `decide` has something to say.
    @inline(__always)
    public func isDue(_ account: Account, at now: Instant) -> Bool {
        let events = account.events &- before.events
        if events >= Placement.many { return true }
        return now - since >= (events >= Placement.enough ? Placement.shortWindow : Placement.window)
    }

    /// - Parameters:
    ///   - account: all that the lane has done so far.
    ///   - cost: all the time that it has run so far, or was ready to run and waited for a processor; `nil` if that is not known,
    ///     which leaves it to the scheduler.
    ///   - processor: where it is.
    ///   - idle: other processors that are worth a try, one bit each: asked twice in each search, for those that have been mostly
    ///     idle since the first time.
    /// - Returns: `nil` to leave everything as it is.
    public mutating func decide(
        _ account: Account, cost: Interval?, processor: Int, at now: Instant, idle: () -> UInt64 = { 0 }
    ) -> Decision? {
        let span = max((now - since).nanoseconds, 1)
        let events = Int64(account.events &- before.events)
        let slept = account.slept.nanoseconds &- before.slept.nanoseconds
        let awake = Int(100 - min(max(slept, 0), span) * 100 / span)
        // Nothing spent is an account that is not kept, or the first look at it.
        let spent = costBefore == .zero ? 0 : (cost ?? .zero).nanoseconds &- costBefore.nanoseconds
        since = now
        before = account
        costBefore = cost ?? .zero
        let isStill: Bool
        if case .floating = phase { isStill = awake <= Placement.begin } else { isStill = awake <= Placement.end }
        guard isStill, spent > 0, events * 1_000_000_000 / span >= Int64(Placement.fewest) else {
            if case .trying = phase { restsUntil = now + Placement.pause }
            return leave()
        }
        let each = spent / max(events, 1)
        switch phase {
        case .floating(let windows):
            note(processor)
            floatingCost = each
            // The first window that counts: the search begins.
            if now < restsUntil { return nil }
            if windows == 0 { _ = idle() }
            if windows + 1 < Placement.watched {
                phase = .floating(windows + 1)
                return nil
            }
            var others = idle()
            while others != 0 && candidateCount < Placement.candidateLimit {
                note(others.trailingZeroBitCount)
                others &= others &- 1
            }
            return tryCandidate(0)
        case .trying(let index, let isWarm):
            let isHopeless = each * 100 > floatingCost * Int64(Placement.hopeless)
            if !isWarm && !isHopeless {
                phase = .trying(index, isWarm: true)
                return nil
            }
            candidates[index].cost = each
            return index + 1 < candidateCount ? tryCandidate(index + 1) : choose(now)
        case .staying:
            dearFor = each * 100 > expected * Int64(Placement.dear) ? dearFor + 1 : 0
            if dearFor >= Placement.dearWindows {
                restsUntil = now + nextShortRest
                nextShortRest = min(nextShortRest * 2, Placement.stay)
                return leave()
            }
            return now - stayedSince >= Placement.stay ? leave() : nil
        }
    }

    /// The lane could not be put there.
    public mutating func noteRefused(at now: Instant) {
        phase = .floating(0)
        candidateCount = 0
        restsUntil = now + Placement.stay
    }

    private mutating func note(_ processor: Int) {
        for index in 0..<candidateCount where candidates[index].processor == processor { return }
        if candidateCount == Placement.candidateLimit {
            for index in 1..<candidateCount { candidates[index - 1] = candidates[index] }
            candidateCount -= 1
        }
        candidates[candidateCount] = Candidate(processor: processor)
        candidateCount += 1
    }

    private mutating func tryCandidate(_ index: Int) -> Decision? {
        phase = .trying(index, isWarm: false)
        return .stay(processor: candidates[index].processor)
    }

    /// Stays where it was the cheapest, if it is worth it.
    private mutating func choose(_ now: Instant) -> Decision? {
        var best = candidates[0]
        for index in 1..<max(candidateCount, 1) where candidates[index].cost < best.cost { best = candidates[index] }
        // Where it is put may have changed when it looks again.
        candidateCount = 0
        guard best.cost * 100 <= floatingCost * Int64(Placement.gain) else {
            restsUntil = now + nextRest
            nextRest = min(nextRest * 2, Placement.longRest)
            return leave()
        }
        phase = .staying
        expected = best.cost
        dearFor = 0
        nextRest = Placement.rest
        if now - stayedSince > Placement.stay { nextShortRest = Placement.shortRest }
        stayedSince = now
        return .stay(processor: best.processor)
    }

    private mutating func leave() -> Decision? {
        defer { phase = .floating(0) }
        if case .floating = phase { return nil }
        return .leave
    }
}
