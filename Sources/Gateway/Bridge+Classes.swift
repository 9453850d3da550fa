// What traffic classes mean for the way to a peer: the order in which runs leave, and what a peer's rate holds back. Neighbours:
// `ClassMap` chooses the class, `PackerSet` packs by class, `Pacer` says what has to wait.

import Basics
import Buffers
import Tunnels

/// One run that waits to be sent.
struct RunPlace: BitwiseCopyable {
    /// Whose packers hold it: a peer's or a group's.
    var link: UInt16
    /// Whom it goes to.
    var peer: UInt16
    var trafficClass: TrafficClass
}

extension Bridge {
    // MARK: The order of runs

    /// Lists what the batch has come to: all of the tunnels' own, then all feeds, then the rest.
    mutating func listRuns() {
        runCount = 0
        for number in 0..<TrafficClass.count {
            let trafficClass = TrafficClass(place: number)
            for place in 0..<dirtyCount where links[Int(dirty[place])].finishedBytes(trafficClass) > 0 {
                let link = dirty[place]
                if Int(link) >= peerCount { listRuns(ofGroup: link, trafficClass) } else { listRun(link, link, trafficClass) }
            }
        }
    }

    @inline(__always)
    mutating func listRun(_ link: UInt16, _ peer: UInt16, _ trafficClass: TrafficClass) {
        runs[runCount] = RunPlace(link: link, peer: peer, trafficClass: trafficClass)
        runCount &+= 1
    }

    // MARK: Rates

    /// True when a frame may be packed; it has been counted, or it waits, when not.
    @inline(never)
    mutating func admit(_ frame: RawSpan, _ index: Int, _ mark: FrameMark) -> Bool {
        if !pacers[index].isPaced { return true }
        switch pacers[index].admit(frame, mark, at: clock) {
        case .leaves: return true
        case .waits: nextRelease = min(nextRelease, pacers[index].releaseAt)
        case .dropped: countFull(PeerIndex(index), mark.trafficClass)
        }
        return false
    }

    private mutating func countFull(_ peer: PeerIndex, _ trafficClass: TrafficClass) {
        switch trafficClass {
        case .control: break
        case .feed:
            counters.add(.feedQueueFull)
            counters.add(peer, .feedDropped)
        case .normal:
            counters.add(.normalQueueFull)
            counters.add(peer, .normalDropped)
        case .bulk:
            counters.add(.bulkQueueFull)
            counters.add(peer, .bulkDropped)
        }
    }

    /// Packs what may leave by now of what waited.
    mutating func release(at now: Instant) {
        clock = now
        nextRelease = .distantFuture
        for index in 0..<pacers.count where pacers[index].isPaced {
            if pacers[index].releaseAt <= now { release(index, now) }
            nextRelease = min(nextRelease, pacers[index].releaseAt)
        }
    }

    private mutating func release(_ index: Int, _ now: Instant) {
        if !links[index].isUp || !links[index].hasSender {
            return counters.add(.peerDown, UInt64(truncatingIfNeeded: pacers[index].removeAll()))
        }
        while let trafficClass = pacers[index].next(at: now) {
            let mark = pacers[index].frontMark(trafficClass)
            if !links[index].hasRoom(for: LaneCore.headroom, trafficClass) { return pacers[index].postpone(from: now) }
            let outcome = Bridge.append(frontOf: pacers, index, mark, to: &links)
            note(outcome, index, mark)
            pacers[index].take(trafficClass)
        }
    }

    private static func append(
        frontOf pacers: borrowing FixedArray<Pacer>, _ index: Int, _ mark: FrameMark, to links: inout FixedArray<PeerLink>
    ) -> PeerLink.Outcome {
        links[index].append(pacers[index].front(mark.trafficClass), mark)
    }

    /// Takes what the batch has come to from the peers' credit. Before the packers are emptied.
    mutating func settlePacers() {
        for place in 0..<dirtyCount {
            let index = Int(dirty[place])
            // Peers with a rate are in no group.
            if index >= pacers.count || !pacers[index].isPaced { continue }
            let size = links[index].datagramSize
            var octets = 0
            for number in 0..<TrafficClass.count {
                let bytes = links[index].finishedBytes(TrafficClass(place: number))
                octets &+= bytes &+ (bytes &+ size &- 1) / size &* links[index].packetOverhead
            }
            pacers[index].settle(octets: octets)
            nextRelease = min(nextRelease, pacers[index].releaseAt)
        }
    }

    /// Takes from a peer's credit what leaves beside the packers: octets of an IP packet. Once what the batch has come to is
    /// settled.
    mutating func chargePacer(_ index: Int, octets: Int) {
        if !pacers[index].isPaced { return }
        pacers[index].settle(octets: octets)
        nextRelease = min(nextRelease, pacers[index].releaseAt)
    }

    /// Octets of frames that wait for each peer, for who looks at the counters.
    mutating func notePaced() {
        for index in 0..<pacers.count where pacers[index].isPaced {
            counters.set(PeerIndex(index), .waiting, to: UInt64(truncatingIfNeeded: pacers[index].waiting))
        }
    }
}
