// What `causeway why` asks beside the forwarding plan: in which stream a frame leaves.

import Basics
import Switching

extension ControlCore {
    /// The peers that would share one stream of such a frame, if there is a stream for just them: those that it goes to and that
    /// have no rate.
    /// - Parameter source: `nil` for one that no wish lists.
    public func audience(of key: GroupKey, source: IPAddress?) -> PeerSet {
        snooper.plan.fanOut(key.vlan, group: key.group, source: source ?? .unspecified(key.group.family)).peers
            .intersection(streams.shareable)
    }
}
