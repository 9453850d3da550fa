// The largest packet that a path carries, found by trying (RFC 8899, Datagram Packetization Layer Path MTU Discovery). ICMP is
// never asked and never believed: what does not arrive is too large, if smaller ones sent with it do arrive. Sans-IO; control
// has one for each peer, the lanes send the probes.
//
//                      +------------------ a round went unanswered, all but the smallest probe, three times ----------+
//                      v                                                                                               |
//     restart ----> base ---- base answered ----> searching ---- nothing left to try ----> complete ---- packets of the size
//                      |                             ^  ^                                     |            vanish (black hole),
//                      | base vanishes,              |  +---- `recheck` later ----------------+            or the kernel refuses
//                      v smaller arrive              |                                                     them ----> base
//                   error ---- `recheck` later ------+
//
// A round is a few probes of different sizes sent together, the largest first, and behind them one as short as can be. Once that
// one is answered, those before it that are not answered soon are lost; so a round takes about one round trip, whatever that
// is, and where nothing arrives at all nothing is concluded. What was lost in three rounds does not fit. The first round tries
// what paths usually carry, the next ones what is in between. Sizes are octets of IP packets.

import Basics

public struct PathMTUSearch: Sendable {
    /// The words of RFC 8899, section 5.2.
    public enum State: String, Sendable { case base, searching, complete, error }

    /// What every path should carry: IPv6's minimum (RFC 8200, section 5).
    public static let base = 1_280
    /// What every IPv4 host takes (RFC 791, section 3.1).
    public static let minimum = 576
    /// What paths usually carry: Ethernet, PPPoE, 802.3 with LLC, tunnels of several kinds, another WireGuard inside.
    private static let usual = [9_000, 1_500, 1_492, 1_480, 1_460, 1_420, 1_400, 1_280, 1_024]
    /// Rounds after which a size that was never answered does not fit (RFC 8899: MAX_PROBES).
    private static let attempts = 3
    /// Sizes of one round.
    private static let roundLimit = 8
    /// The search ends where it could gain fewer octets than this.
    private static let grain = 8
    /// How often a size in use is confirmed: while much is sent to the peer, and otherwise.
    private static let confirmBusy = Interval.seconds(1)
    private static let confirmIdle = Interval.seconds(15)
    /// How long a round waits for its shortest probe before it is sent again: while no round trip is known.
    private static let firstPatience = Interval.milliseconds(300)

    private struct Candidate {
        var size: Int
        var lost = 0
    }

    private struct Outstanding {
        var number: UInt32
        var size: Int
        /// Whether it has been counted.
        var isLost = false
    }

    /// The largest size that is tried: the operator's word.
    public let bound: Int
    /// How long a result is good for before larger sizes are tried again (RFC 8899: PMTU_RAISE_TIMER).
    public let recheck: Interval
    public private(set) var state = State.base
    /// What may be sent. Never above `bound`.
    public private(set) var size: Int
    /// Nothing above this has to be tried before the next recheck.
    private var upper: Int
    /// Of the round under way, the largest first.
    private var candidates: [Candidate] = []
    /// Sizes of the round that have not been given out; 0 is the short probe behind them.
    private var unsent: [Int] = []
    /// Sizes whose replies would still count; at most 64, the oldest first.
    private var outstanding: [Outstanding] = []
    /// The short probe of the round under way; `nil` before it is sent.
    private var marker: UInt32?
    /// When to look at the round: the short probe was answered, and what was not by then is lost; or it was not answered.
    private var roundDue = Instant.distantFuture
    private var markerWasAnswered = false
    /// Rounds in a row in which nothing was answered.
    private var silentRounds = 0
    private var confirmDue = Instant.distantFuture
    /// How many more times the next confirmation follows soon though nothing is sent: a path that narrows silences the stream that
    /// kept it busy.
    private var soonAgain = 0
    private var recheckDue = Instant.distantFuture
    private var isConfirming = false
    private var isRunning = false
    /// Times that packets of a size in use vanished, or were refused by the kernel.
    public private(set) var blackHoles: UInt64 = 0
    /// Probes that did not arrive since they were too long, or were not sent for that.
    public private(set) var losses: UInt64 = 0
    /// What is known of the path, from whoever measures it.
    public var patience = PathMTUSearch.firstPatience
    public var jitter = Interval.zero

    public init(bound: Int, recheck: Interval) {
        self.bound = bound
        self.recheck = recheck
        size = PathMTUSearch.start(bound)
        upper = bound
    }

    /// What is safe before anything is known.
    public static func start(_ bound: Int) -> Int { min(bound, base) }

    private var floor: Int { min(bound, PathMTUSearch.minimum) }

    // MARK: In

    /// The peer came up, or has moved: another path.
    public mutating func restart(at now: Instant) {
        isRunning = true
        outstanding = []
        patience = PathMTUSearch.firstPatience
        jitter = .zero
        silentRounds = 0
        begin(at: now)
    }

    /// The peer is down.
    public mutating func stop() {
        isRunning = false
        outstanding = []
        unsent = []
    }

    /// The path may have changed: what is in use is confirmed at once.
    public mutating func handleDoubt(at now: Instant) { confirmDue = min(confirmDue, now) }

    public mutating func handleReply(to number: UInt32, at now: Instant) {
        guard isRunning else { return }
        if number == marker {
            // All that was tried beside it may have been answered before it.
            if candidates.isEmpty { return }
            markerWasAnswered = true
            silentRounds = 0
            roundDue = now + max(.milliseconds(10), max(patience / 4, jitter * 4))
            return
        }
        guard let place = outstanding.firstIndex(where: { $0.number == number }) else { return }
        let late = outstanding.remove(at: place)
        let answered = late.size
        // It has arrived after all.
        if late.isLost { losses &-= 1 }
        if answered > upper { upper = bound }
        for index in candidates.indices where candidates[index].size == answered { candidates[index].lost = 0 }
        if isConfirming && answered >= size { return endConfirmation(at: now) }
        candidates.removeAll { $0.size <= answered }
        unsent.removeAll { $0 != 0 && $0 <= answered }
        size = max(size, answered)
        if state == .base || state == .error { state = .searching }
        if !isConfirming && candidates.isEmpty { goOn(at: now) }
    }

    /// The kernel does not send packets as long as that: the local interface's MTU, which is no rumour.
    public mutating func handleTooLong(_ number: UInt32, at now: Instant) {
        guard isRunning, let place = outstanding.firstIndex(where: { $0.number == number }) else { return }
        let refused = outstanding.remove(at: place).size
        losses &+= 1
        if refused <= size { return handleDataTooLong(refused, at: now) }
        upper = min(upper, refused - 1)
        candidates.removeAll { $0.size >= refused }
        unsent.removeAll { $0 >= refused }
        // Sizes between the refused one and those tried are the next round's.
        if candidates.isEmpty && !isConfirming { goOn(at: now) }
    }

    /// The kernel refused data of `refused` octets.
    public mutating func handleDataTooLong(_ refused: Int, at now: Instant) {
        guard isRunning, refused <= size else { return }
        collapse(at: now)
    }

    // MARK: Driving

    /// The next probe: octets of the IP packet, or 0 for one as short as can be. To be sent under `number`, which differs each
    /// time. `nil` when there is none.
    public mutating func pollProbe(number: UInt32, at now: Instant) -> Int? {
        guard isRunning, !unsent.isEmpty else { return nil }
        let next = unsent.removeFirst()
        if next == 0 {
            marker = number
            roundDue = now + backedOff
        } else {
            outstanding.append(Outstanding(number: number, size: next))
            if outstanding.count > 64 { outstanding.removeFirst() }
        }
        return next
    }

    private var backedOff: Interval { min(patience * (1 << Int64(min(silentRounds, 4))), .seconds(5)) }

    public var hasProbe: Bool { isRunning && !unsent.isEmpty }

    public var nextTimeout: Instant {
        guard isRunning else { return .distantFuture }
        if hasProbe { return .zero }
        // What is due while a round is under way begins when it has ended.
        return candidates.isEmpty ? min(roundDue, confirmDue, recheckDue) : roundDue
    }

    /// - Parameter isBusy: whether much has been sent to the peer since the last call.
    public mutating func handleTimeout(isBusy: Bool, at now: Instant) {
        guard isRunning else { return }
        if isBusy {
            soonAgain = 2
            confirmDue = min(confirmDue, now + PathMTUSearch.confirmBusy)
        }
        if roundDue <= now { endRound(at: now) }
        guard candidates.isEmpty else { return }
        if recheckDue <= now {
            upper = bound
            search(at: now)
        } else if confirmDue <= now {
            confirm(at: now)
        }
    }

    // MARK: Below: rounds

    /// From the beginning.
    private mutating func begin(at now: Instant) {
        state = .base
        size = PathMTUSearch.start(bound)
        upper = bound
        isConfirming = false
        recheckDue = .distantFuture
        confirmDue = .distantFuture
        // The base is tried beside what is hoped for.
        start(sizes(above: size) + [size], at: now)
    }

    private mutating func search(at now: Instant) {
        isConfirming = false
        recheckDue = .distantFuture
        confirmDue = .distantFuture
        if state != .error { state = .searching }
        let sizes = sizes(above: size)
        if sizes.isEmpty { complete(at: now) } else { start(sizes, at: now) }
    }

    private mutating func confirm(at now: Instant) {
        confirmDue = .distantFuture
        isConfirming = true
        start([size], at: now)
    }

    private mutating func start(_ sizes: [Int], at now: Instant) {
        candidates = sizes.map { Candidate(size: $0) }
        sendRound()
    }

    private mutating func sendRound() {
        marker = nil
        markerWasAnswered = false
        roundDue = .distantFuture
        unsent = candidates.map(\.size) + [0]
    }

    /// What is worth trying between `low` and what is known not to fit, the largest first.
    private func sizes(above low: Int) -> [Int] {
        guard upper - low >= PathMTUSearch.grain || (upper == bound && upper > low) else { return [] }
        var sizes = PathMTUSearch.usual.filter { $0 > low && $0 < upper }
        if upper == bound {
            sizes.insert(upper, at: 0)
        } else if sizes.isEmpty {
            let gap = upper - low
            sizes = [upper, low + gap * 3 / 4, low + gap / 2, low + gap / 4].filter { $0 > low }
        }
        return Array(sizes.prefix(PathMTUSearch.roundLimit))
    }

    private mutating func endRound(at now: Instant) {
        roundDue = .distantFuture
        guard markerWasAnswered else {
            silentRounds += 1
            return sendRound()
        }
        for index in candidates.indices { candidates[index].lost += 1 }
        for index in outstanding.indices where !outstanding[index].isLost {
            outstanding[index].isLost = true
            losses &+= 1
        }
        let lost = candidates.filter { $0.lost >= PathMTUSearch.attempts }
        guard let smallest = lost.last?.size else {
            if candidates.isEmpty { goOn(at: now) } else { sendRound() }
            return
        }
        if smallest <= size { return collapse(at: now) }
        upper = min(upper, smallest - 1)
        candidates.removeAll { $0.size >= smallest }
        if candidates.isEmpty { goOn(at: now) } else { sendRound() }
    }

    /// A round is over, and all of its sizes are decided.
    private mutating func goOn(at now: Instant) {
        candidates = []
        roundDue = .distantFuture
        unsent = []
        let sizes = sizes(above: size)
        if sizes.isEmpty { complete(at: now) } else { start(sizes, at: now) }
    }

    private mutating func scheduleConfirmation(at now: Instant) {
        confirmDue = now + (soonAgain > 0 ? PathMTUSearch.confirmBusy : PathMTUSearch.confirmIdle)
        soonAgain = max(soonAgain - 1, 0)
    }

    private mutating func endConfirmation(at now: Instant) {
        isConfirming = false
        candidates = []
        unsent = []
        roundDue = .distantFuture
        scheduleConfirmation(at: now)
    }

    private mutating func complete(at now: Instant) {
        state = state == .error ? .error : .complete
        candidates = []
        unsent = []
        roundDue = .distantFuture
        scheduleConfirmation(at: now)
        recheckDue = now + recheck
    }

    /// Packets of the size in use do not arrive: back to the base, or from there to the minimum, and up again.
    private mutating func collapse(at now: Instant) {
        outstanding = []
        blackHoles &+= 1
        if size > PathMTUSearch.start(bound) { return begin(at: now) }
        let failed = size
        size = floor
        upper = max(floor, failed - 1)
        state = .error
        isConfirming = false
        recheckDue = .distantFuture
        confirmDue = .distantFuture
        let sizes = sizes(above: size)
        if sizes.isEmpty { complete(at: now) } else { start(sizes, at: now) }
    }
}
