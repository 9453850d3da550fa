// Where a lane runs. Left to itself, the kernel's scheduler puts a thread that is woken on a processor that is idle, away from
// the one that wakes it, and that may be another one each time. With packets that come one by one this is the dearest choice:
// each crosses to a processor whose caches know nothing of it, and waking that one costs an interrupt between the two. So a
// lane that has little to do tries the processors that the scheduler has put it on (and, where there are few, others that are
// mostly idle), one after the other, and stays where its work costs least. As soon as there is more to do, or less, or the place has become dear, the scheduler has it back.
//
//     floating --(steady: 4 windows)--> trying each --(one is a tenth cheaper)--> staying --(a minute, dear)--> floating
//        ^                                  |                                         |
//        +----- more or less to do ---------+-----------------------------------------+

import Basics
import Buffers
import CLinux
import Glibc

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

/// The processors of the thread that makes it, and that uses it.
public struct ThreadPlace: ~Copyable {
    /// The scheduler's account of the thread; negative where there is none.
    private let account: Int32
    /// What all processors have done; negative where the kernel does not say.
    private let statistics: Int32
    private var text: OwnedBytes
    /// What each processor had been idle for at `looked`, in hundredths of a second.
    private var idleTicks = InlineArray<64, UInt64>(repeating: 0)
    private var looked = Instant.zero
    /// What the thread is given back when it leaves; what it has been given to stay; room for a third set.
    private var given: OwnedBytes
    private var chosen: OwnedBytes
    private var present: OwnedBytes
    private var isStaying = false

    public init() {
        // SAFETY: the path is read during the call.
        account = unsafe open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)
        statistics = unsafe open("/proc/stat", O_RDONLY | O_CLOEXEC)
        text = OwnedBytes(count: 8_192)
        given = OwnedBytes(count: cwl_processors_size())
        chosen = OwnedBytes(count: cwl_processors_size())
        present = OwnedBytes(count: cwl_processors_size())
    }

    deinit {
        if account >= 0 { _ = cwl_close(account) }
        if statistics >= 0 { _ = cwl_close(statistics) }
    }

    /// Keeps the thread on one of the processors it might run on otherwise. False where that is impossible.
    public mutating func stay(on processor: Int) -> Bool {
        // SAFETY: here and below, each block has room for a set.
        guard unsafe cwl_thread_processors(present.pointer) >= 0 else { return false }
        noteOthers()
        if !isStaying {
            if unsafe cwl_processors_has(present.pointer, Int32(clamping: processor)) == 0 { return false }
            keepGiven()
        } else if unsafe cwl_processors_has(given.pointer, Int32(clamping: processor)) == 0 {
            return false
        }
        guard unsafe cwl_processors_only(present.pointer, Int32(clamping: processor)) >= 0,
            unsafe cwl_thread_set_processors(present.pointer) >= 0
        else { return false }
        unsafe chosen.pointer.copyMemory(from: present.pointer, byteCount: cwl_processors_size())
        isStaying = true
        return true
    }

    /// The thread may run wherever it might otherwise: also where its cpuset has grown to meanwhile.
    public mutating func leave() {
        guard isStaying, unsafe cwl_thread_processors(present.pointer) >= 0 else { return }
        noteOthers()
        if isStaying { _ = unsafe cwl_thread_set_processors(given.pointer) }
        isStaying = false
    }

    /// Whoever else has given the thread other processors knows better.
    private mutating func noteOthers() {
        if unsafe isStaying && cwl_processors_equal(present.pointer, chosen.pointer) == 0 { isStaying = false }
    }

    /// Finds out what to give back: all processors, which the kernel takes for those of the cpuset whatever becomes of that, unless
    /// somebody has given the thread fewer than its cpuset has.
    private mutating func keepGiven() {
        unsafe cwl_processors_all(given.pointer)
        guard unsafe cwl_thread_set_processors(given.pointer) >= 0, unsafe cwl_thread_processors(chosen.pointer) >= 0,
            unsafe cwl_processors_equal(present.pointer, chosen.pointer) == 0
        else { return }
        unsafe given.pointer.copyMemory(from: present.pointer, byteCount: cwl_processors_size())
        _ = unsafe cwl_thread_set_processors(given.pointer)
    }

    /// Where the thread is.
    public var processor: Int { Int(cwl_thread_processor()) }

    /// Whether the thread may run there.
    public mutating func mayRun(on processor: Int) -> Bool {
        unsafe cwl_thread_processors(present.pointer) >= 0
            && cwl_processors_has(present.pointer, Int32(clamping: processor)) != 0
    }

    /// Of the processors that the thread may run on, those that have been idle for half of the time since this was last called, one
    /// bit each. None where there are more of them than are worth trying, or the kernel does not say. Not to be called while it
    /// stays.
    public mutating func idleProcessors(at now: Instant) -> UInt64 {
        guard statistics >= 0, usableProcessors() <= Placement.candidateLimit else { return 0 }
        // SAFETY: the block has room for as many octets.
        let count = unsafe cwl_pread(statistics, text.pointer, text.count, 0)
        guard count > 0 else { return 0 }
        // What processors do is counted in hundredths of a second (USER_HZ).
        let elapsed = UInt64(max((now - looked).nanoseconds, 0) / 10_000_000)
        looked = now
        let ticks = ProcessorLines.ticks(text.bytes(at: 0, count: Int(count)))
        var idle: UInt64 = 0
        for processor in 0..<ticks.count {
            let more = ticks[processor] &- idleTicks[processor]
            if elapsed > 0 && more <= 2 * elapsed && more * 2 >= elapsed && mayRun(on: processor) {
                idle |= 1 << UInt64(processor)
            }
        }
        idleTicks = ticks
        return idle
    }

    /// All the time that the thread has run, or has been ready to run without a processor; `nil` where the kernel does not say.
    public func cost() -> Interval? {
        if account < 0 { return nil }
        let result = cwl_thread_cost(account)
        return result <= 0 ? nil : .nanoseconds(result)
    }
}

/// The lines `cpuN user nice system idle iowait ...` at the start of /proc/stat (proc_stat(5)).
struct ProcessorLines: ~Escapable {
    private let text: RawSpan
    private var position = 0

    @_lifetime(copy text)
    init(_ text: RawSpan) { self.text = text }

    /// How long each of the first processors has been idle; 0 for one that is not there.
    static func ticks(_ text: RawSpan) -> InlineArray<64, UInt64> {
        var ticks = InlineArray<64, UInt64>(repeating: 0)
        var line = ProcessorLines(text)
        while let (processor, idle) = line.next(), processor < ticks.count { ticks[processor] = idle }
        return ticks
    }

    /// The next processor and how long it has been idle, waiting for devices included; `nil` behind the last.
    mutating func next() -> (processor: Int, idle: UInt64)? {
        while word() == 0x6370_75 {
            position += 3
            let processor = number()
            var fields = InlineArray<5, UInt64>(repeating: 0)
            for index in 0..<5 {
                while octet() == UInt8(ascii: " ") { position += 1 }
                fields[index] = number() ?? 0
            }
            while let last = octet(), last != UInt8(ascii: "\n") { position += 1 }
            position += 1
            // The first line is the sum of all.
            if let processor { return (Int(clamping: processor), fields[3] &+ fields[4]) }
        }
        return nil
    }

    private func octet() -> UInt8? { text.loadByte(at: position) }

    /// The next three octets; 0 where there are fewer.
    private func word() -> UInt32 {
        guard let a = text.loadByte(at: position), let b = text.loadByte(at: position + 1),
            let c = text.loadByte(at: position + 2)
        else { return 0 }
        return UInt32(a) << 16 | UInt32(b) << 8 | UInt32(c)
    }

    private mutating func number() -> UInt64? {
        var value: UInt64?
        while let digit = octet(), digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") {
            value = (value ?? 0) &* 10 &+ UInt64(digit &- UInt8(ascii: "0"))
            position += 1
        }
        return value
    }
}
