// What control knows of the path to one peer: whether it is alive, how fast, how large.

import Basics
import Tunnels

/// How paths are watched.
public struct PathConfiguration: Sendable, Hashable {
    /// The largest IP packet that is tried, in octets.
    public var largest = 1_500
    /// A peer that was silent for so long is suspect, and one that was for so long down.
    public var suspect = Interval.seconds(1)
    public var down = Interval.seconds(3)
    /// How long the size of a path is taken for granted before larger packets are tried again.
    public var recheck = Interval.seconds(600)
    /// How often the names of peers are looked up again.
    public var resolveInterval = Interval.seconds(300)

    public init() {}
}

struct PeerPath: Sendable {
    var monitor: PathMonitor
    var search: PathMTUSearch
    var isSuspect = false
    /// A part of the way to suspect: ways of members avoid it already.
    var isDoubted = false
    /// The next probe's.
    private(set) var number: UInt32
    /// Numbers from here on are of probes that others carry, and from `tryNumbers` on of those whose answers measure nothing.
    static let relayNumbers: UInt32 = 1 << 31
    static let tryNumbers: UInt32 = 3 << 30
    /// What the lanes were told last, in octets of IP packets.
    private(set) var toldSize: Int
    /// What the log has of it.
    var loggedSize: Int
    /// When its name is to be looked up again.
    var resolveDue: Instant
    /// Octets sent to the peer when the search was last driven.
    var bytesOut: UInt64 = 0

    init(_ configuration: PathConfiguration, firstNumber: UInt32 = 0, at now: Instant) {
        number = firstNumber
        monitor = PathMonitor(suspect: configuration.suspect, down: configuration.down, at: now)
        search = PathMTUSearch(bound: configuration.largest, recheck: configuration.recheck)
        toldSize = PathMTUSearch.start(configuration.largest)
        loggedSize = toldSize
        resolveDue = now + configuration.resolveInterval
    }

    mutating func restart(at now: Instant) {
        isSuspect = false
        isDoubted = false
        monitor.restart(at: now)
        search.restart(at: now)
        // The lanes have begun anew themselves, or are about to be told.
        forgetTold()
    }

    /// Whatever the lanes were told, they may do something else.
    mutating func forgetTold() { toldSize = 0 }

    mutating func stop() {
        isSuspect = false
        isDoubted = false
        search.stop()
    }

    /// The next probe to send, and its size: octets of the IP packet, or 0.
    mutating func pollProbe(at now: Instant) -> (number: UInt32, size: Int)? {
        guard let size = search.pollProbe(number: number, at: now) ?? (monitor.isProbeDue(at: now) ? 0 : nil) else { return nil }
        if size == 0 { monitor.handleProbe(number, at: now) }
        defer { number = number & PeerPath.tryNumbers | (number &+ 1) & (1 << 30 - 1) }
        return (number, size)
    }

    /// The size that the lanes have not been told of.
    mutating func takeSize() -> Int? {
        guard search.size != toldSize else { return nil }
        toldSize = search.size
        return toldSize
    }

    func snapshot(at now: Instant) -> PathSnapshot {
        PathSnapshot(
            roundTrip: monitor.roundTrip, jitter: monitor.jitter, probesSent: monitor.probesSent,
            probesAnswered: monitor.probesAnswered, lossMillionths: monitor.lossMillionths(at: now), size: search.size,
            search: search.state,
            blackHoles: search.blackHoles)
    }
}

/// A path as operators see it.
public struct PathSnapshot: Sendable, Hashable {
    /// Of probes, as `PathMonitor` has them; `nil` before there were any answers.
    public var roundTrip: Interval?
    public var jitter: Interval?
    public var probesSent: UInt64
    public var probesAnswered: UInt64
    /// Of the last hundred probes, those in a million that were not answered.
    public var lossMillionths: UInt32?
    /// Octets of the largest IP packet that is sent.
    public var size: Int
    public var search: PathMTUSearch.State
    /// Times that packets of a size in use vanished.
    public var blackHoles: UInt64
    /// Of the probes of the last minutes; `nil` where nobody keeps a histogram.
    public var percentiles: Percentiles?

    /// Round trips that this share of the probes did not take longer than.
    public struct Percentiles: Sendable, Hashable {
        public var p50: Interval
        public var p99: Interval
        public var maximum: Interval

        public init(p50: Interval, p99: Interval, maximum: Interval) {
            self.p50 = p50
            self.p99 = p99
            self.maximum = maximum
        }
    }
}
