// Rights on the lane (rule 44): frames for peers that something limits are looked at before they are packed, and frames of such
// peers before anything is learned from them. Control has sorted the peers of groups' entries: those that may have everything of
// an entry are not looked at. Neighbours: `RightsTable` answers, `DenialLog` remembers what to tell control.

import Basics
import Buffers
import Switching
import Tunnels
import Wire

extension Bridge {
    /// Whether a frame may go to a limited peer; it has been counted when not.
    @inline(never)
    mutating func admitsOutward(_ frame: RawSpan, _ header: FrameHeader, _ peer: Int) -> Bool {
        if admits(frame, header, .outward, peer) { return true }
        counters.add(.notEntitledOut)
        counters.add(PeerIndex(peer), .deniedOut)
        return false
    }

    /// Whether a frame of a limited peer is taken; it has been counted when not.
    @inline(never)
    mutating func admitsInward(_ frame: RawSpan, _ header: FrameHeader, _ peer: Int) -> Bool {
        if admits(frame, header, .inward, peer) { return true }
        counters.add(.notEntitledIn)
        counters.add(PeerIndex(peer), .deniedIn)
        return false
    }

    /// To those of the peers that may have a frame of a group.
    /// - Parameter cell: counts the frame if it goes to any; `nil` when it is counted already.
    @inline(never)
    mutating func packChecked(_ frame: RawSpan, _ header: FrameHeader, _ peers: PeerSet, _ cell: UInt32?) {
        let mark = classes.mark(frame, header)
        var packed = false
        for word in 0..<PeerSet.wordCount {
            var bits = peers.word(word)
            while bits != 0 {
                let peer = word &* 64 &+ bits.trailingZeroBitCount
                bits &= bits &- 1
                if peer >= links.count || forwarding.rights.isLimited(peer) && !admitsOutward(frame, header, peer) { continue }
                pack(frame, peer, mark)
                packed = true
            }
        }
        if packed, let cell { tallies.add(cell, bytes: frame.byteCount, fromMesh: false) }
    }

    /// Unicast, broadcast, groups that go everywhere and multicast that is not IP need the VLAN; other groups a rule as well.
    private mutating func admits(
        _ frame: RawSpan, _ header: FrameHeader, _ direction: RightsDirection, _ peer: Int
    ) -> Bool {
        let mayUse = forwarding.rights.mayUse(header.vlan, peer)
        let nothing = IPAddress(high: 0, low: 0)
        var feed = DeniedFeed(direction: direction, peer: PeerIndex(peer), vlan: header.vlan, group: nothing, source: nothing)
        if header.destination.isGroup, case let multicast = MulticastHeader(frame, header), multicast.kind == .data {
            if mayUse && forwarding.rights.mayPass(multicast.group, from: multicast.source, direction, peer) { return true }
            feed.group = multicast.group
            feed.source = multicast.source
        } else if mayUse {
            return true
        }
        denials.note(feed)
        return false
    }
}

extension LaneCore {
    /// Tells control which feeds were denied, at a limited rate.
    @inline(never)
    mutating func reportDenials(at now: Instant) {
        let events = events
        bridge.denials.report(at: now) { events.push(.denied($0), leaving: LaneMailbox.reserve) }
    }
}
