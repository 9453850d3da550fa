// What `causeway replay` runs: sites, the captures that their hosts send, and the links between. The model; how it is written
// is the business of `ReplayScenario+Keys.swift`.

import Basics

/// A replay: all sites of a mesh, every pair of them linked and peered.
public struct ReplayScenario: Hashable, Sendable {
    /// In the order of the file, 1 to 100.
    public var sites: [ScenarioSite]
    /// One for each pair of sites, ordered by `a`, then by `b`.
    public var links: [ScenarioLink]
    public var align: CaptureAlignment
    /// Virtual time before 0, for tunnels to come up.
    public var settle: Interval
    /// Virtual time after the last frame.
    public var linger: Interval
    /// Keys and all randomness come from it.
    public var seed: UInt64
    /// The moments whose tables are kept, as virtual time since 0; ascending, none twice, at most 100.
    public var snapshots: [Interval] = []
}

/// A site of a replay.
public struct ScenarioSite: Hashable, Sendable {
    public var name: String
    /// Sorted by name, 1 to `Limits.ports`.
    public var ports: [ScenarioPort]
    public var tuning: SiteTuning
    /// `nil` where no key speaks of it.
    public var pass: ScenarioPass?
}

/// A LAN port of a replayed site.
public struct ScenarioPort: Hashable, Sendable {
    public var name: String
    /// The path of the capture that hosts on this LAN send, resolved; `nil` where they only listen.
    public var capture: String?
    /// How much later than the alignment says; never negative.
    public var offset = Interval.zero
    /// A BPF expression that frames from the LAN must match.
    public var filter: String?
    public var multicast = PortMulticast()
}

/// What captures have in common at virtual time 0.
public enum CaptureAlignment: String, CaseIterable, Hashable, Sendable {
    /// Each capture's first frame is at 0.
    case start
    /// 0 is the earliest timestamp of all; the captures' clocks agree.
    case absolute
}

/// The path between two sites, the same in both directions.
public struct ScenarioLink: Hashable, Sendable {
    /// Indices into `sites`; `a` is always less than `b`.
    public var a: Int
    public var b: Int
    /// One way.
    public var delay = Interval.zero
    /// The share of datagrams that are lost, in millionths.
    public var lossMillionths: UInt32 = 0
    /// The largest IP packet, in octets with the IP header.
    public var mtu = 1_500
    /// False: it never carries anything.
    public var isUp = true
    /// Periods in which it does not; ascending, at most 8.
    public var cuts: [ScenarioCut] = []
}
