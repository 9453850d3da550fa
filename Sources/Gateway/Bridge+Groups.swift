// Groups: what is for several peers at once is packed and sealed once, and the same datagrams go to each of them. A group is one
// more link behind those of the peers, with a key of its own that all of its audience have; control says when there is one.
//
//     frame --> fan-out: peers A, B, C --+-- a group has this audience --> its packer --> sealed once --> A, B, C
//                                        +-- none has -------------------> a packer for each peer
//
// Peers with a rate are in no group, since what they are sent is held back for each apart: a fan-out is met by the group of its
// other peers, and pairwise copies for those. Which groups there are changes only between batches, so that what was packed for a
// group leaves before what is packed for its members, and the reverse.

import Basics
import Buffers
import Tunnels

/// The groups of one lane.
struct GroupBoard: ~Copyable {
    struct Group: BitwiseCopyable {
        var audience = PeerSet.none
        var firstHops = PeerSet.none
        /// Whether its link has a key.
        var isInstalled = false
        /// Whether the key is to go when the batch has left.
        var isEnding = false
        /// Of its link's frames, those that its members' counters have.
        var settled = InlineArray<3, UInt64>(repeating: 0)
    }

    var groups: FixedArray<Group>
    /// How many can be used.
    var active = 0
    /// The one whose audience is every peer that is up and has no rate; -1 where there is none.
    var flood = -1
    /// Peers that may be in a group.
    let shareable: PeerSet
    /// Whether something has changed that the fields above, or the sizes of datagrams, come from.
    var isStale = false
    /// Numbers of the groups that can be used, each at its audience's `place` or the next that was free.
    private var table: FixedArray<UInt8>

    private static let none: UInt8 = .max

    init(_ configuration: LaneConfiguration) {
        precondition(configuration.groups >= 0 && configuration.groups <= 128)
        var peers = PeerSet(first: configuration.peers)
        for (index, rate) in configuration.rates.enumerated() where rate > 0 { peers.remove(PeerIndex(index)) }
        shareable = peers
        groups = FixedArray(count: configuration.groups) { _ in Group() }
        table = FixedArray(count: 256) { _ in GroupBoard.none }
    }

    /// The group with exactly this audience; -1 where there is none.
    @inline(__always)
    func find(_ audience: PeerSet) -> Int {
        var place = audience.place
        while true {
            let number = table[place]
            if number == GroupBoard.none { return -1 }
            if groups[Int(number)].audience.hasSameMembers(as: audience) { return Int(number) }
            place = (place &+ 1) & 255
        }
    }

    /// Begins the table anew.
    mutating func forgetAll() {
        for place in 0..<table.count { table[place] = GroupBoard.none }
        active = 0
    }

    mutating func use(_ group: Int) {
        var place = groups[group].audience.place
        while table[place] != GroupBoard.none { place = (place &+ 1) & 255 }
        table[place] = UInt8(truncatingIfNeeded: group)
        active &+= 1
    }
}

extension Bridge {
    // MARK: Frames

    /// Packs a frame for those of the peers that have no rate, if there is a group of just these. False, and nothing is done,
    /// where there is none.
    @inline(__always)
    mutating func packGroup(_ frame: RawSpan, _ peers: PeerSet, _ mark: FrameMark) -> Bool {
        let group = groups.find(peers.intersection(groups.shareable))
        if group < 0 { return false }
        pack(frame, inGroup: group, mark)
        return true
    }

    private mutating func pack(_ frame: RawSpan, inGroup group: Int, _ mark: FrameMark) {
        let index = peerCount &+ group
        let outcome = links[index].append(frame, mark)
        note(outcome, index, mark)
    }

    /// To every peer: those that are up share datagrams. Precondition: there is a group for that.
    mutating func floodGroup(_ frame: RawSpan, _ mark: FrameMark) {
        let group = groups.flood
        pack(frame, inGroup: group, mark)
        var others = placesTaken.subtracting(groups.groups[group].audience)
        while let other = others.popFirst() { pack(frame, other, mark) }
    }

    /// To how many peers a frame in a link's packer goes.
    func copies(_ index: Int) -> UInt64 {
        index < peerCount ? 1 : UInt64(truncatingIfNeeded: groups.groups[index &- peerCount].audience.count)
    }

    /// Lists a run of a group once for each of those that it is sent to.
    mutating func listRuns(ofGroup link: UInt16, _ trafficClass: TrafficClass) {
        var hops = groups.groups[Int(link) &- peerCount].firstHops
        while let hop = hops.popFirst() { listRun(link, UInt16(truncatingIfNeeded: hop), trafficClass) }
    }

    /// Counts what the batch has come to: frames for each member, and the datagrams that were sealed. Before the packers are
    /// emptied.
    mutating func settleGroups() {
        for place in 0..<dirtyCount where Int(dirty[place]) >= peerCount { settleGroup(Int(dirty[place])) }
    }

    private mutating func settleGroup(_ index: Int) {
        let link = PeerIndex(index)
        settle(.framesOut, 0, link)
        settle(.feedOut, 1, link)
        settle(.bulkOut, 2, link)
        let size = links[index].datagramSize
        for number in 0..<TrafficClass.count {
            let bytes = links[index].finishedBytes(TrafficClass(place: number))
            counters.add(link, .datagramsOut, UInt64(truncatingIfNeeded: (bytes &+ size &- 1) / size))
            counters.add(link, .bytesOut, UInt64(truncatingIfNeeded: bytes))
        }
    }

    /// Gives a counter's growth to each member.
    private mutating func settle(_ counter: PeerCounter, _ number: Int, _ link: PeerIndex) {
        let group = link.index &- peerCount
        let total = counters[link, counter]
        let more = total &- groups.groups[group].settled[number]
        if more == 0 { return }
        groups.groups[group].settled[number] = total
        var members = groups.groups[group].audience
        while let member = members.popFirst() { counters.add(PeerIndex(member), counter, more) }
    }

    // MARK: Which there are

    /// A group has this stream. What it has packed goes with the stream before.
    mutating func install(_ sender: consuming StreamSender, _ installation: GroupInstallation) {
        let group = installation.group
        if groups.groups[group].isEnding { endGroup(group) }
        if !groups.groups[group].isInstalled {
            // In use from the next batch on.
            groups.groups[group].audience = installation.audience
            groups.groups[group].settled = InlineArray(repeating: 0)
            counters.clear(PeerIndex(peerCount + group))
            groups.groups[group].isInstalled = true
        }
        groups.groups[group].firstHops = installation.firstHops
        links[peerCount + group].install(group: sender, payload: payload(installation.firstHops))
        noteRoom(peerCount + group)
        groups.isStale = true
    }

    /// From the next batch on.
    mutating func setFirstHops(_ group: Int, _ hops: PeerSet) {
        guard group >= 0, group < groups.groups.count, groups.groups[group].isInstalled else { return }
        groups.groups[group].firstHops = hops
        groups.isStale = true
    }

    /// From the next batch on there is no such group.
    mutating func removeGroup(_ group: Int) {
        guard group >= 0, group < groups.groups.count, groups.groups[group].isInstalled else { return }
        groups.groups[group].isEnding = true
        groups.isStale = true
    }

    private mutating func endGroup(_ group: Int) {
        links[peerCount + group].removeSender()
        links[peerCount + group].isUp = false
        groups.groups[group].isInstalled = false
        groups.groups[group].isEnding = false
    }

    /// Octets of UDP payload that the paths to all of these carry.
    private func payload(_ hops: PeerSet) -> Int {
        var hops = hops
        var size = Int.max
        while let hop = hops.popFirst() { size = min(size, links[hop].datagramSize) }
        return size == .max ? PeerLink.datagramSize(PathMTUSearch.minimum, ipv4: false) : size
    }

    /// Takes up all that has changed. Between batches: nothing is packed.
    @inline(never)
    mutating func applyGroups() {
        groups.isStale = false
        groups.flood = -1
        if groups.groups.count == 0 { return }
        groups.forgetAll()
        var (up, direct) = (PeerSet.none, PeerSet.none)
        // Who is reached through others can be no first hop.
        for index in 0..<peerCount where links[index].isUp && links[index].hasSender {
            up.insert(PeerIndex(index))
            if links[index].via < 0 { direct.insert(PeerIndex(index)) }
        }
        for group in 0..<groups.groups.count where groups.groups[group].isInstalled {
            if groups.groups[group].isEnding {
                endGroup(group)
                continue
            }
            let (audience, hops) = (groups.groups[group].audience, groups.groups[group].firstHops)
            links[peerCount + group].setPayload(payload(hops))
            if audience.isSubset(of: up) && audience.isSubset(of: groups.shareable) && !hops.isEmpty
                && hops.isSubset(of: direct)
            {
                groups.use(group)
            }
        }
        let reached = up.intersection(groups.shareable)
        if groups.active > 0 && reached.count > 1 { groups.flood = groups.find(reached) }
    }
}
