// What a site may send and receive (rule 44), as the rest of the program says it: plain values, whoever granted them. Where
// nothing limits a site (a peer that is named by its key alone), there is no such value at all.

import Basics

/// Which groups, and from which sources.
public struct GroupRights: Hashable, Sendable {
    public struct Rule: Hashable, Sendable {
        public var groups: IPPrefix
        /// Of the groups' family; empty: every source.
        public var sources: [IPPrefix]

        public init(_ groups: IPPrefix, from sources: [IPPrefix] = []) {
            self.groups = groups
            self.sources = sources
        }
    }

    /// `nil`: every group. Empty: none.
    public var rules: [Rule]?

    public init(_ rules: [Rule]?) { self.rules = rules }

    public static let any = GroupRights(nil)
    public static let none = GroupRights([])
}

public struct PeerRights: Hashable, Sendable {
    public var send: GroupRights
    public var receive: GroupRights
    /// Ranges of `VLAN.rawValue`; `nil`: every VLAN.
    public var vlans: [ClosedRange<UInt16>]?

    public init(send: GroupRights = .any, receive: GroupRights = .any, vlans: [ClosedRange<UInt16>]? = nil) {
        self.send = send
        self.receive = receive
        self.vlans = vlans
    }

    public func mayUse(_ vlan: VLAN) -> Bool { vlans?.contains { $0.contains(vlan.rawValue) } ?? true }
}

/// Why something is denied, for operators.
public struct Denial: Hashable, Sendable {
    public enum Cause: String, Hashable, Sendable, CaseIterable {
        /// This site, or the other one, may not use the VLAN.
        case ownVLAN, siteVLAN
        /// Towards the other site: this one may not send the group, or that one not receive it.
        case ownSend, siteReceive
        /// From the other site: that one may not send it, or this one not receive it.
        case siteSend, ownReceive
    }

    public var cause: Cause
    /// What the pass that decides lists instead.
    public var listed: String

    public init(_ cause: Cause, listed: String) {
        self.cause = cause
        self.listed = listed
    }

    /// One clause: `site nyc may not receive 239.1.1.1 on VLAN 10: its pass lists 239.2.0.0/16`.
    public func words(site: String, _ vlan: VLAN, _ group: IPAddress, from source: IPAddress?) -> String {
        let what = group.description + (source.map { " from \($0)" } ?? "")
        let place = vlan == .untagged ? "the untagged VLAN" : "VLAN \(vlan)"
        let isOwn = cause == .ownVLAN || cause == .ownSend || cause == .ownReceive
        let action =
            switch cause {
            case .ownVLAN, .siteVLAN: "use \(place)"
            case .ownSend, .siteSend: "send \(what) on \(place)"
            case .ownReceive, .siteReceive: "receive \(what) on \(place)"
            }
        return "\(isOwn ? "this site" : "site \(site)") may not \(action): its pass lists \(listed)"
    }
}

extension GroupRights {
    /// Rules of a list that is shown.
    private static let shownRules = 8

    /// `any`, `none`, or such as `239.1.0.0/16, 232.0.0.0/8 from 192.0.2.0/24`; a long list is cut.
    public var listed: String {
        guard let rules else { return "any" }
        if rules.isEmpty { return "none" }
        let shown = rules.prefix(Self.shownRules).map { rule in
            let sources = rule.sources.prefix(Self.shownRules).map(\.description).joined(separator: " ")
            return "\(rule.groups)" + (rule.sources.isEmpty ? "" : " from \(sources)")
                + (rule.sources.count > Self.shownRules ? " and \(rule.sources.count - Self.shownRules) more" : "")
        }
        return shown.joined(separator: ", ") + (rules.count > shown.count ? ", and \(rules.count - shown.count) more" : "")
    }
}

extension PeerRights {
    private static let shownRanges = 16

    /// The VLANs: `any`, `none`, or such as `-, 10, 100-199, s20`.
    public var listedVLANs: String {
        guard let vlans else { return "any" }
        if vlans.isEmpty { return "none" }
        let items = vlans.sorted { $0.lowerBound < $1.lowerBound }.flatMap { range -> [String] in
            let untagged = range.lowerBound == 0 ? ["-"] : []
            let first = VLAN(rawValue: max(range.lowerBound, 1))
            let last = VLAN(rawValue: range.upperBound)
            if range.upperBound == 0 { return untagged }
            return untagged + [first == last ? "\(first)" : "\(first)-\(last.identifier)"]
        }
        let shown = items.prefix(Self.shownRanges)
        return shown.joined(separator: ", ") + (items.count > shown.count ? ", and \(items.count - shown.count) more" : "")
    }
}
