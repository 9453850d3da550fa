// Control's watch over the paths to its peers: probes, whether a peer is suspect or down, what size of packet a path carries,
// and when names are looked up again. What a path is like, `PathMonitor` and `PathMTUSearch` say; here it meets the lanes.
//
//     control ---- probe, setPath ----> lane ==== request ====> the peer's lane
//        ^------ probeAnswered -------- lane <=== reply ======= at once, without its control
//
// Whether anything was heard, the lanes say on a board of instants, which no full queue can keep from control.

import Basics
import Tunnels

extension ControlCore {
    /// Round trips that nobody has fetched; the oldest go first.
    private static let roundTripLimit = 4_096
    /// So much is sent between two looks at a path in use.
    private static let busyBytes: UInt64 = 16_384
    /// Probes of one peer at one time.
    private static let probeBudget = 32

    // MARK: The lanes say

    mutating func handleReply(_ index: Int, _ number: UInt32, after sample: Interval, _ now: Instant) {
        guard index < peers.count, number < PeerPath.tryNumbers else { return }
        if number >= PeerPath.relayNumbers {
            // The way there carries, whichever way the reply came.
            peers[index].relayPath.monitor.handleHeard(at: now)
            peers[index].relayPath.monitor.handleReply(to: number, after: sample)
            if peers[index].relayPath.monitor.roundTrip != nil {
                peers[index].relayPath.search.patience = peers[index].relayPath.monitor.patience
                peers[index].relayPath.search.jitter = peers[index].relayPath.monitor.jitter ?? .zero
            }
            peers[index].relayPath.search.handleReply(to: number, at: now)
            if peers[index].isRelayUsed { followRelay(index, now) }
            return
        }
        peers[index].path.monitor.handleReply(to: number, after: sample)
        handleMemberRoundTrip(index, sample, now)
        if peers[index].path.monitor.roundTrip != nil {
            peers[index].path.search.patience = peers[index].path.monitor.patience
            peers[index].path.search.jitter = peers[index].path.monitor.jitter ?? .zero
        }
        peers[index].path.search.handleReply(to: number, at: now)
        if roundTrips.count >= ControlCore.roundTripLimit { roundTrips.removeFirst(ControlCore.roundTripLimit / 2) }
        roundTrips.append((PeerIndex(index), sample))
        followSearch(index, now)
    }

    mutating func handleTooLong(_ index: Int, _ number: UInt32, _ now: Instant) {
        guard index < peers.count, number < PeerPath.tryNumbers else { return }
        if number >= PeerPath.relayNumbers { return peers[index].relayPath.search.handleTooLong(number, at: now) }
        peers[index].path.search.handleTooLong(number, at: now)
        followSearch(index, now)
    }

    mutating func handleDataTooLong(_ index: Int, _ size: Int, _ now: Instant) {
        guard index < peers.count else { return }
        if peers[index].isRelayUsed {
            peers[index].relayPath.search.handleDataTooLong(size, at: now)
            peers[index].relayPath.forgetTold()
            return followRelay(index, now)
        }
        peers[index].path.search.handleDataTooLong(size, at: now)
        // The lane uses smaller ones by itself, and may have gone below what is known.
        peers[index].path.forgetTold()
        followSearch(index, now)
    }

    // MARK: What happens to a peer

    /// It came up, or is elsewhere: nothing is known of the path.
    mutating func restartPath(_ index: Int, _ now: Instant) {
        peers[index].path.restart(at: now)
        followSearch(index, now)
    }

    /// It was elsewhere for a moment, and is back: a lane has gone to the base, and the path is the one that is known.
    mutating func tellPathAgain(_ index: Int, _ now: Instant) {
        peers[index].path.forgetTold()
        followSearch(index, now)
    }

    /// Something authentic came from a peer that is up.
    mutating func handleSign(_ index: Int, _ now: Instant) {
        let before = peers[index].path.monitor.heard
        noteHeard(index)
        guard peers[index].path.isDoubted || peers[index].path.isSuspect, peers[index].path.monitor.heard > before else { return }
        let wasSuspect = peers[index].path.isSuspect
        peers[index].path.isSuspect = false
        peers[index].path.isDoubted = false
        noteDoubt(index, now)
        guard wasSuspect else { return }
        peers[index].path.search.handleDoubt(at: now)
        guard let suppressed = peers[index].recoveredLimiter.admit(at: now) else { return }
        let silence = peers[index].path.monitor.heard - before
        actions.append(.log(.peerRecovered(peers[index].name, silentFor: silence.milliseconds, suppressed: suppressed)))
    }

    /// When something authentic last came from the peer, in any lane.
    func lastHeard(_ index: Int) -> Instant? {
        let nanoseconds = mailboxes.reduce(UInt64(0)) { max($0, $1.heard.load(index)) }
        let onBoard = nanoseconds == 0 ? nil : Instant(nanoseconds: nanoseconds)
        guard let told = peers[index].lastHeard else { return onBoard }
        return max(told, onBoard ?? .zero)
    }

    private mutating func noteHeard(_ index: Int) {
        if let heard = lastHeard(index) { peers[index].path.monitor.handleHeard(at: heard) }
    }

    // MARK: Time

    /// What is due on the path to a peer, and whether the peer is still there.
    mutating func checkPath(_ index: Int, _ now: Instant) {
        resolveIfDue(index, now)
        guard peers[index].isUp, peers[index].isDirect else { return }
        handleSign(index, now)
        switch peers[index].path.monitor.verdict(at: now) {
        case .alive where !peers[index].path.isDoubted && peers[index].path.monitor.isDoubtful(at: now):
            peers[index].path.isDoubted = true
            noteDoubt(index, now)
        case .alive: break
        case .suspect where !peers[index].path.isSuspect:
            peers[index].path.isSuspect = true
            peers[index].path.isDoubted = true
            noteDoubt(index, now)
            guard let suppressed = peers[index].suspectLimiter.admit(at: now) else { break }
            let silence = now - peers[index].path.monitor.heard
            actions.append(.log(.peerSuspect(peers[index].name, silentFor: silence.milliseconds, suppressed: suppressed)))
        case .suspect: break
        case .down: return loseDirect(index, now)
        }
        if peers[index].path.search.nextTimeout <= now || peers[index].path.monitor.isProbeDue(at: now) {
            peers[index].path.search.handleTimeout(isBusy: isBusy(index), at: now)
        }
        followSearch(index, now)
    }

    /// Whether much was sent to the peer since this was last asked.
    private mutating func isBusy(_ index: Int) -> Bool {
        let place = mailbox.layout.index(PeerIndex(index), .bytesOut)
        let total = mailboxes.reduce(UInt64(0)) { $0 &+ $1.board.load(place) }
        defer { peers[index].path.bytesOut = total }
        return total &- peers[index].path.bytesOut >= ControlCore.busyBytes
    }

    /// A peer that is up is where it was last heard; what its name leads to is for when it is not.
    private mutating func resolveIfDue(_ index: Int, _ now: Instant) {
        guard peers[index].hasAddress, peers[index].path.resolveDue <= now else { return }
        peers[index].path.resolveDue = now + configuration.paths.resolveInterval
        askAddresses(index)
    }

    // MARK: To the lanes

    /// Probes that are due, and what the search has found out.
    private mutating func followSearch(_ index: Int, _ now: Instant) {
        guard peers[index].isUp, peers[index].isDirect else { return }
        for _ in 0..<ControlCore.probeBudget {
            guard let (number, size) = peers[index].path.pollProbe(at: now) else { break }
            // Only one lane asks: what it hears of the path is true of all.
            let losses = UInt8(truncatingIfNeeded: peers[index].path.search.losses)
            command(
                .probe(PeerIndex(index), number: number, size: UInt16(clamping: size), losses: losses, isRouted: false), to: 0)
        }
        if !peers[index].isRelayUsed, let size = peers[index].path.takeSize() {
            command(.setPath(PeerIndex(index), size: UInt16(clamping: size)))
        }
        let (size, logged) = (peers[index].path.search.size, peers[index].path.loggedSize)
        let isFound = peers[index].path.search.state == .complete || peers[index].path.search.state == .error
        if size != logged && (isFound || size < logged) {
            peers[index].path.loggedSize = size
            actions.append(.log(.pathChanged(peers[index].name, size: size, from: logged)))
        }
    }

    // MARK: Out

    /// A round trip that a lane has measured, for whoever keeps account; the oldest are forgotten where nobody does.
    public mutating func takeRoundTrips() -> [(peer: PeerIndex, roundTrip: Interval)] {
        defer { roundTrips.removeAll(keepingCapacity: true) }
        return roundTrips
    }
}

extension Interval {
    /// Without what is below a millisecond, for people.
    fileprivate var milliseconds: Interval { self / 1_000_000 * 1_000_000 }
}
