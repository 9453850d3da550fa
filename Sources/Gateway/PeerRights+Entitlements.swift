// From what a pass says to what the fast path asks.

import Basics
import Mesh
import Switching

extension PeerRights {
    public init(_ entitlements: Entitlements) {
        self.init(
            send: GroupRights(entitlements.sendRules), receive: GroupRights(entitlements.receiveRules),
            vlans: entitlements.vlanRules.ranges)
    }
}

extension PeerRights {
    /// `nil` where the pass limits nothing.
    init?(limiting pass: Pass) {
        if pass.send == .any && pass.receive == .any && pass.vlans == .any { return nil }
        self.init(pass.entitlements)
    }
}

extension GroupRights {
    public init(_ rules: GroupRules) {
        switch rules {
        case .any: self = .any
        case .listed(let rules): self.init(rules.map { Rule($0.groups, from: $0.sources) })
        }
    }
}

extension VLANRules {
    /// `nil` for every VLAN.
    fileprivate var ranges: [ClosedRange<UInt16>]? {
        switch self {
        case .any: nil
        case .listed(let ranges): ranges
        }
    }
}
