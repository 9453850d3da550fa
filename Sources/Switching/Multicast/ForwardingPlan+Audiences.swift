// Which sites get the same frames: the sets of peers that fan-outs name. A gateway may seal once for a whole set, and wants to
// know which sets there are and how much each is sent.

import Basics

extension ForwardingPlan {
    /// The sets of two and more of `peers` that fan-outs name, ascending: fan-outs count for their members among `peers`.
    public func audiences(among peers: PeerSet) -> [PeerSet] {
        var sets: Set<PeerSet> = []
        for fanOut in numbers.keys {
            let set = fanOut.peers.intersection(peers)
            if set.count > 1 { sets.insert(set) }
        }
        return sets.sorted()
    }

    /// Frames that were sent to each of these sets, by the entries that there are: O(entries).
    public func framesSent(to audiences: [PeerSet], among peers: PeerSet) -> [PeerSet: UInt64] {
        var frames: [PeerSet: UInt64] = [:]
        for audience in audiences { frames[audience] = 0 }
        // Sums do not depend on the order.
        for list in entries.values {
            var cells: Set<UInt32> = [0]
            for entry in list where cells.insert(entry.cell).inserted {
                let set = entry.fanOut.peers.intersection(peers)
                guard let sum = frames[set] else { continue }
                frames[set] = sum &+ board.tally(entry.cell).framesFromLAN
            }
        }
        return frames
    }
}
