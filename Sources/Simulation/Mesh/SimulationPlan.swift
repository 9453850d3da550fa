// What a simulated mesh is to be like, and what came of it.

import Basics

public struct SimulationPlan: Sendable, Hashable {
    public static let sites = 2...100
    /// How many gateways.
    public var count: Int
    public var seed: UInt64
    /// Each with faults, frames and a moment of time.
    public var rounds: Int
    public var groups = 8
    /// Arrivals and timers come at multiples of this: in a large mesh many at once, as a busy gateway takes them.
    public var grain: Interval { count > 30 ? .milliseconds(4) : .nanoseconds(1) }
    /// Each gateway's `liveness.suspect`: every pair is probed four times in it, and a hundred sites have 4,950 pairs.
    public var livenessSuspect: Interval { count > 30 ? .seconds(4) : .seconds(1) }
    /// Virtual time for everything to be right again once faults have stopped.
    public var bound = Interval.seconds(90)

    public init(count: Int, seed: UInt64, rounds: Int = 40) {
        self.count = count
        self.seed = seed
        self.rounds = rounds
    }
}

public struct SimulationReport: Sendable {
    public var seed: UInt64 = 0
    /// Sites, and those behind each kind of NAT, that may carry, whose pass is limited, and that were revoked.
    public var sites = 0
    public var natted = 0
    public var symmetric = 0
    public var relays = 0
    public var limited = 0
    public var revoked = 0
    /// Virtual time in all.
    public var duration = Interval.zero
    /// From the first start until each had all others as peers; `nil` if that was not so within the bound.
    public var upAfter: Interval?
    /// From the end of the faults until each had all others, and until all knew the same.
    public var healedAfter: Interval?
    public var agreedAfter: Interval?
    /// How often each fault came, by name.
    public var faults: [(name: String, count: Int)] = []
    /// Frames of hosts, and those that LANs were given.
    public var framesSent: UInt64 = 0
    public var framesDelivered: UInt64 = 0
    /// Sealed datagrams of origins, and all datagrams.
    public var sealed: UInt64 = 0
    public var datagrams: UInt64 = 0
    /// Pairs of sites that are reached through others at the end, both ways.
    public var relayedPairs = 0
    /// Bits a second that a gateway sends while no host does: UDP payload of everything, and of gossip alone.
    public var idleBits: (mean: Double, most: Double) = (0, 0)
    public var gossipBits: (mean: Double, most: Double) = (0, 0)
    /// What was not as it has to be, with the virtual time; at most `violationLimit`.
    public var violations: [String] = []
    public static let violationLimit = 50
    public var violationCount = 0

    public var isRight: Bool { violationCount == 0 }

    public init() {}
}
