// Where a lane runs. Left to itself, the kernel's scheduler puts a thread that is woken on a processor that is idle, away from
// the one that wakes it, and that may be another one each time. With a packet now and then this is the dearest choice: each
// packet crosses to a processor whose caches know nothing of it, and waking that one costs an interrupt between the two. So a
// lane that has little to do tries the processors it is put on, one after the other, and stays where its work costs least. As
// soon as there is more to do, or less, or the place has become dear, the scheduler has it back.

import Basics
import CLinux
import Glibc

/// Decides from what a lane's work costs at which processor it should stay. Pure: time and figures are handed in.
public struct Placement: Sendable {
    /// How long it looks before it decides anything, unless much comes.
    static let window = Interval.milliseconds(50)
    /// Datagrams and frames after which it does not wait for the end of the window.
    static let many = 4_096
    /// Datagrams and frames a second below which it does not matter.
    static let fewest = 2_000
    /// What a place has to cost to be worth it, in percents of what it costs to be moved about.
    static let gain = 90
    /// Percents of what a place did cost from which on it has become dear, if it does for so many windows.
    static let dear = 140
    static let dearWindows = 4
    /// For how long it tries nothing after it has found nothing; and at first after a place has become dear.
    static let rest = Interval.seconds(10)
    static let shortRest = Interval.seconds(1)
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

    public enum Decision: Equatable, Sendable {
        case stay(processor: Int)
        case leave
    }

    private enum Phase {
        /// Where the scheduler wants it; whether the window before this one was like it.
        case floating(isSteady: Bool)
        /// At a candidate; its first window is only to get warm.
        case trying(Int, isWarm: Bool)
        case staying
    }

    /// Percents of its time that a lane may be awake, to begin with it and to go on.
    private let begin: Int
    private let end: Int
    private var phase = Phase.floating(isSteady: false)
    private var since: Instant
    private var before = Account()
    private var costBefore: Interval?
    /// Where it has been, the latest last.
    private var candidates: [Int] = []
    private var costs: [Int64] = []
    private var floatingCost: Int64 = 0
    /// What the place that it stays at cost when it was chosen, in nanoseconds for each datagram or frame.
    private var expected: Int64 = 0
    private var dearFor = 0
    private var stayedSince = Instant.zero
    private var restsUntil = Instant.zero
    private var nextRest = Placement.shortRest

    /// - Parameters:
    ///   - lanes: they share processors, so that each may do so much less.
    ///   - processors: all those that it can be put on, where they are few enough to try each.
    public init(lanes: Int = 1, processors: [Int] = [], at now: Instant) {
        begin = 40 / max(lanes, 1)
        end = 60 / max(lanes, 1)
        since = now
        if processors.count <= Placement.candidateLimit { candidates = processors }
    }

    /// Whether `decide` has something to say.
    @inline(__always)
    public func isDue(_ account: Account, at now: Instant) -> Bool {
        now - since >= Placement.window || account.events &- before.events >= Placement.many
    }

    /// - Parameters:
    ///   - account: all that the lane has done so far.
    ///   - cost: all the time that it has run so far, or was ready to run and waited for a processor; `nil` if that is not known,
    ///     which leaves it to the scheduler.
    ///   - processor: where it is.
    /// - Returns: `nil` to leave everything as it is.
    public mutating func decide(_ account: Account, cost: Interval?, processor: Int, at now: Instant) -> Decision? {
        let span = max((now - since).nanoseconds, 1)
        let events = Int64(account.events &- before.events)
        let slept = account.slept.nanoseconds &- before.slept.nanoseconds
        let awake = Int(100 - min(max(slept, 0), span) * 100 / span)
        let spent = costBefore.flatMap { before in cost.map { $0.nanoseconds &- before.nanoseconds } }
        since = now
        before = account
        costBefore = cost
        let isStill: Bool
        if case .floating = phase { isStill = awake <= begin } else { isStill = awake <= end }
        guard isStill, let spent, spent >= 0, events * 1_000_000_000 / span >= Int64(Placement.fewest) else { return leave() }
        let each = spent / max(events, 1)
        switch phase {
        case .floating(let isSteady):
            note(processor)
            if !isSteady || now < restsUntil {
                phase = .floating(isSteady: true)
                return nil
            }
            floatingCost = each
            costs = []
            return tryCandidate(0)
        case .trying(let index, let isWarm):
            if !isWarm {
                phase = .trying(index, isWarm: true)
                return nil
            }
            costs.append(each)
            return index + 1 < candidates.count ? tryCandidate(index + 1) : choose(now)
        case .staying:
            dearFor = each * 100 > expected * Int64(Placement.dear) ? dearFor + 1 : 0
            if dearFor >= Placement.dearWindows {
                restsUntil = now + nextRest
                nextRest = min(nextRest * 2, Placement.stay)
                return leave()
            }
            if now - stayedSince >= Placement.stay { return leave() }
            return nil
        }
    }

    /// The lane could not be put there.
    public mutating func noteRefused(at now: Instant) {
        candidates = []
        phase = .floating(isSteady: false)
        restsUntil = now + Placement.stay
    }

    private mutating func note(_ processor: Int) {
        if candidates.contains(processor) { return }
        if candidates.count == Placement.candidateLimit { candidates.removeFirst() }
        candidates.append(processor)
    }

    private mutating func tryCandidate(_ index: Int) -> Decision? {
        phase = .trying(index, isWarm: false)
        return .stay(processor: candidates[index])
    }

    /// Stays where it was the cheapest, if it is worth it.
    private mutating func choose(_ now: Instant) -> Decision? {
        var best = 0
        for index in costs.indices where costs[index] < costs[best] { best = index }
        guard costs[best] * 100 <= floatingCost * Int64(Placement.gain) else {
            restsUntil = now + Placement.rest
            return leave()
        }
        phase = .staying
        expected = costs[best]
        dearFor = 0
        if now - stayedSince > Placement.stay { nextRest = Placement.shortRest }
        stayedSince = now
        return .stay(processor: candidates[best])
    }

    private mutating func leave() -> Decision? {
        defer { phase = .floating(isSteady: false) }
        if case .floating = phase { return nil }
        return .leave
    }
}

/// The processors of the thread that makes it.
public struct ThreadPlace: ~Copyable {
    /// The scheduler's account of the thread; negative where there is none.
    private let account: Int32

    public init() {
        // SAFETY: the path is read during the call.
        let file = unsafe open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)
        account = file
    }

    deinit { if account >= 0 { _ = cwl_close(account) } }

    /// Keeps the thread on one of the processors it might run on so far. False where that is impossible.
    public func stay(on processor: Int) -> Bool { cwl_thread_stay_on(Int32(clamping: processor)) >= 0 }

    /// The thread may run wherever it might before.
    public func leave() { _ = cwl_thread_stay_on(-1) }

    /// Where the thread is.
    public var processor: Int { Int(cwl_thread_processor()) }

    /// All the time that the thread has run, or has been ready to run without a processor; `nil` where the kernel does not say.
    public func cost() -> Interval? {
        if account < 0 { return nil }
        let result = cwl_thread_cost(account)
        return result < 0 ? nil : .nanoseconds(result)
    }
}
