// Control's multicast side: it gives the snooper what lanes punt and what peers tell, and carries what comes of it: frames to
// the lane's ports, facts to the peers over their control channels.
//
//     lane --- punts ---> frame:   Snooper ------- frames ----------> lane
//                         segment: ControlChannel --- FactMessage --> Snooper --- changed facts --> FactFeed of each peer
//                                                                                                       |
//     lane <--- segments of each peer's ControlChannel <--- messages -----------------------------------+

import Basics
import Buffers
import Switching
import Tunnels

extension ControlCore {
    /// Frames and segments handled before timers and operators have their turn.
    private static let puntBudget = 1024

    /// Takes what the lane has punted, as much as one turn of control has time for.
    mutating func handlePunts(at now: Instant) {
        var frames: [(bytes: [UInt8], port: PortIndex)] = []
        for mailbox in mailboxes {
            for _ in 0..<ControlCore.puntBudget {
                guard let (tag, bytes) = mailbox.punts.pop() else { break }
                if case .frame(let port) = QueuedBytes(tag: tag) { frames.append((bytes, PortIndex(Int(port)))) }
            }
            for _ in 0..<ControlCore.puntBudget {
                guard let (tag, bytes) = mailbox.segments.pop() else { break }
                if case .segment(let peer) = QueuedBytes(tag: tag) { handleSegment(bytes, peer.index, now) }
            }
        }
        if !frames.isEmpty { snooper.handleFrames(frames, at: now) }
    }

    private mutating func handleSegment(_ bytes: [UInt8], _ index: Int, _ now: Instant) {
        // A segment of a peer that does not count as up yet is sent again.
        guard index < peers.count, peers[index].isUp else { return }
        bytes.withRawSpan { peers[index].channel.handleSegment($0, at: now) }
        let peer = PeerIndex(index)
        while let event = peers[index].channel.pollEvent() {
            switch event {
            case .began:
                handleBegan(index, now)
                if peers[index].site == nil { snooper.handleStreamBegan(by: peer) } else { handleMemberUp(index, now) }
            case .message(let message):
                if StreamMessage.isKind(of: message) {
                    handleStreamMessage(message, index, now)
                    continue
                }
                if peers[index].site != nil {
                    if !handleMeshMessage(message, index, now) { unknownMessages &+= 1 }
                    continue
                }
                switch FactMessage.parse(message) {
                case .facts(let facts): snooper.handleFacts(facts, from: peer, at: now)
                case .allTold: snooper.handleAllTold(by: peer, at: now)
                case nil: unknownMessages &+= 1
                }
            case .resyncWanted:
                peers[index].retelling.handleWish(at: now)
                tellIfDue(index, now)
            }
        }
    }

    private mutating func tellIfDue(_ index: Int, _ now: Instant) {
        if peers[index].isUp && peers[index].retelling.due <= now { beginTelling(index, now) }
    }

    /// Tells a peer everything from the beginning.
    private mutating func beginTelling(_ index: Int, _ now: Instant) {
        peers[index].retelling.handleTold(at: now)
        peers[index].channel.begin(stream: nextTimestamp(at: now), at: now)
        if peers[index].site == nil { peers[index].feed.restart(snooper.book) } else { handleMemberUp(index, now) }
        forgetMember(index, now)
    }

    mutating func handlePeerUp(_ index: Int, _ now: Instant) { beginTelling(index, now) }

    mutating func handlePeerDown(_ index: Int, _ now: Instant) {
        peers[index].channel.forget(at: now)
        peers[index].feed.stop()
        peers[index].retelling.cancel()
        handleNeighbourDown(index, now)
        handleBegan(index, now)
        snooper.handlePeerDown(PeerIndex(index), at: now)
    }

    /// A port's device came up or went down.
    public mutating func handlePort(_ port: PortIndex, isUp: Bool, at now: Instant) {
        snooper.handlePort(port, isUp: isUp, at: now)
        drive(at: now)
    }

    mutating func handleOverflow(_ ports: PortSet, _ now: Instant) {
        for port in ports.members { snooper.handleOverflow(on: port, at: now) }
    }

    mutating func handleVLAN(_ vlan: VLAN, _ now: Instant) { snooper.handleVLAN(vlan, at: now) }

    mutating func handleMulticastTimeout(_ now: Instant) {
        // Answers that are here already count before the timers that they answer to run out.
        let due = snooper.nextTimeout
        if due <= now && (mailboxes.allSatisfy(\.punts.isEmpty) || now - due >= .milliseconds(200)) {
            snooper.handleTimeout(at: now)
        }
        for index in peers.indices where peers[index].isUp {
            tellIfDue(index, now)
            if peers[index].channel.nextTimeout <= now { peers[index].channel.handleTimeout(at: now) }
        }
    }

    /// True while what was replaced in the forwarding table waits for the lane to go on.
    public var waitsForLane: Bool { snooper.plan.waitsForLane }

    var nextMulticastTimeout: Instant {
        var next = snooper.nextTimeout
        for peer in peers where peer.isUp { next = min(next, peer.channel.nextTimeout, peer.retelling.due) }
        return next
    }

    /// Carries on whatever the last events have left: at the end of each call from the driver.
    mutating func drive(at now: Instant) {
        driveStreams(at: now)
        for vlan in snooper.takeForgottenVLANs() { command(.forgetVLAN(vlan)) }
        driveMesh(now)
        let changed = snooper.takeChangedFacts()
        tellMesh(changed, now)
        let hasRoutes = mesh?.relays.messages.isEmpty == false
        for index in peers.indices where peers[index].isUp {
            let isMember = peers[index].site != nil
            if !isMember { for key in changed { peers[index].feed.note(key) } }
            // Churn can make more facts to withdraw than there are: telling all anew is then shorter.
            // While nothing can be told it only begins to be kept anew.
            if peers[index].feed.waiting > 2 * snooper.book.count + 65_536 {
                if peers[index].retelling.due == .distantFuture {
                    beginTelling(index, now)
                } else {
                    peers[index].feed.restart(snooper.book)
                }
            }
            while hasRoutes, peers[index].channel.hasRoom, let message = mesh?.relays.takeMessage(for: index) {
                _ = peers[index].channel.send(message, at: now)
            }
            while peers[index].channel.hasRoom, let message = streams.takeMessage(for: index) {
                _ = peers[index].channel.send(message, at: now)
            }
            while peers[index].channel.hasRoom,
                let message = isMember
                    ? peers[index].isDirect ? pollGossip(for: index, now) : nil : peers[index].feed.pollMessage(snooper.book)
            {
                _ = peers[index].channel.send(message, at: now)
            }
            while let segment = peers[index].channel.pollSegment(at: now) {
                // What finds the queue full is lost, and sent again by the channel.
                if !push(segment, .segment(PeerIndex(index))) { break }
            }
        }
        while let frame = waitingFrame ?? snooper.pollFrame() {
            waitingFrame = nil
            if push(frame.bytes, .frame(UInt32(frame.ports.rawValue))) { continue }
            // It waits for room; the snooper keeps those behind it, up to a limit.
            waitingFrame = frame
            break
        }
        snooper.reclaim()
        auditWishes(at: now)
        while let event = snooper.pollEvent() { actions.append(.log(.multicast(event))) }
    }

    private func push(_ bytes: [UInt8], _ kind: QueuedBytes) -> Bool {
        bytes.withRawSpan { mailbox.outbound.push($0, tag: kind.tag) }
    }
}
