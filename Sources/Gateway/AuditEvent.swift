// Lines of the audit file: one for each decision about what sites may have that changes, and for each feed that is denied while
// frames of it come. A line is a time, a verdict, and `name=value` pairs, so that it can be read and cut by programs.
//
//     2026-11-25T16:43:13.120Z denied kind=wish direction=out site=nyc vlan=10 group=239.1.1.1 source=any reason="site nyc may not
//     receive 239.1.1.1 on VLAN 10: its pass lists 239.2.0.0/16"

import Basics
import Mesh
import Switching

public struct AuditEvent: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        /// A site has asked for a group.
        case wish
        /// Frames came.
        case feed
    }

    /// Nanoseconds since 1970.
    public var time: UInt64
    public var kind: Kind
    /// `outward`: to the site. A wish of this site is `inward`.
    public var direction: RightsDirection
    /// The other site; `nil`: this one.
    public var site: String?
    public var vlan: VLAN
    /// `nil`: anything on the VLAN.
    public var group: IPAddress?
    /// `nil`: any.
    public var source: IPAddress?
    /// `nil`: granted, which was denied before.
    public var denial: Denial?
    /// Lines that were not written since the last one, since there were too many.
    public var suppressed = 0

    /// Without the line's end. Names of sites hold no spaces or quotes, as settings and passes check.
    public var line: String {
        let who = site ?? "this-site"
        let groupOrAny = group ?? .unspecified(.v4)
        let words =
            denial?.words(site: site ?? "", vlan, groupOrAny, from: source) ?? "its pass lists it now, or nothing limits the site"
        return "\(UTC.text(time)) \(denial == nil ? "granted" : "denied") kind=\(kind.rawValue) "
            + "direction=\(direction == .outward ? "out" : "in") site=\(who) vlan=\(vlan) "
            + "group=\(group.map { "\($0)" } ?? "any") "
            + "source=\(source.map { "\($0)" } ?? "any") reason=\"\(words)\""
            + (suppressed == 0 ? "" : " suppressed=\(suppressed)")
    }
}

enum UTC {
    /// RFC 3339 with milliseconds: `1970-01-01T00:00:00.000Z`.
    static func text(_ nanoseconds: UInt64) -> String {
        let digits = String(1_000 + nanoseconds / 1_000_000 % 1_000).dropFirst()
        return "\(UnixTime(seconds: nanoseconds / 1_000_000_000))".dropLast() + ".\(digits)Z"
    }
}

/// What has been told, so that each feed is told of once while it goes on, and no more than so many lines a second.
struct AuditTrail: Sendable {
    /// Denied feeds, and when a lane last told of each.
    private(set) var feeds: [DeniedFeed: Instant] = [:]
    private var windowBegan = Instant.zero
    private var inWindow = 0
    private var suppressed = 0
    /// Feeds that are kept, and how long after its last report one is forgotten, to be news again.
    private static let feedLimit = 4_096
    private static let memory = Interval.seconds(600)
    /// Lines a second.
    static let lineLimit = 100

    /// True when the feed is news.
    mutating func note(_ feed: DeniedFeed, at now: Instant) -> Bool {
        if let last = feeds.updateValue(now, forKey: feed), now - last < Self.memory { return false }
        if feeds.count > Self.feedLimit {
            feeds = feeds.filter { now - $0.value < Self.memory }
            // Still too many: all are forgotten, and news once more; the limit of lines holds.
            if feeds.count > Self.feedLimit { feeds = [feed: now] }
        }
        return true
    }

    mutating func forget(_ feed: DeniedFeed) { feeds[feed] = nil }

    /// How many lines were held back before the one that passes; `nil` when it is held back.
    mutating func admit(at now: Instant) -> Int? {
        if now - windowBegan >= .seconds(1) {
            windowBegan = now
            inWindow = 0
        }
        if inWindow >= Self.lineLimit {
            suppressed += 1
            return nil
        }
        inWindow += 1
        defer { suppressed = 0 }
        return suppressed
    }

    mutating func noteUntold(_ count: Int) { suppressed += count }
}
