// What a scenario says of passes, and of links that fail.

import Basics

/// What a site's pass says in a replay. `init()` is a pass without limits.
public struct ScenarioPass: Hashable, Sendable {
    /// A block of groups, and the sources that it is for; none: every source.
    public struct Groups: Hashable, Sendable {
        public var groups: IPPrefix
        public var sources: [IPPrefix]

        public init(groups: IPPrefix, sources: [IPPrefix] = []) {
            self.groups = groups
            self.sources = sources
        }
    }

    public var mayRelay = true
    /// `nil`: any.
    public var send: [Groups]?
    public var receive: [Groups]?
    /// Ranges of VLANs, 0 for untagged, service VLANs from 4096 on; `nil`: any.
    public var vlans: [ClosedRange<UInt16>]?

    public init() {}
}

/// A period in which a link carries nothing, as virtual time since 0.
public struct ScenarioCut: Hashable, Sendable {
    public var from: Interval
    public var until: Interval

    public init(from: Interval, until: Interval) {
        self.from = from
        self.until = until
    }
}

extension ReplayScenario {
    /// Whether the sites have passes, and carry for each other: where a key says so, or a link fails.
    public var hasPasses: Bool {
        sites.contains { $0.pass != nil } || links.contains { !$0.isUp || !$0.cuts.isEmpty }
    }
}
