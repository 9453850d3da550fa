// Control's side of group streams. As an origin it decides which audiences get one (`AudienceBook`), hands keys out and has the
// lanes use them; as a member it takes the streams of others, and says so once its lanes have them.
//
//     origin: control -- key ------> member: control -- installRoute --> its lanes
//             control <- taken ----- member: control <- their queues are empty
//             control -- installGroup --> lanes, once every member has taken it
//
// Streams live no longer than what the pair's control channel tells: whoever begins to tell anew, or goes down, has no part in
// any stream, and every stream with it ends.

import Basics
import Switching
import Tunnels

/// What control knows of streams for several peers.
struct StreamControl: Sendable {
    /// A stream of another site's that the lanes take.
    struct Taken: Sendable {
        var stream: UInt32
        var origin: Int
        /// Which place of the lanes' it has.
        var place: Int
        /// Whether the origin has been told.
        var isTold = false
    }

    /// After a change of who is there, so that not each of many changes begins streams.
    static let settling = Interval.milliseconds(200)
    /// Between looks at what is wanted.
    static let lookInterval = Interval.seconds(5)
    /// Between looks at whether the lanes have done what they were asked.
    static let laneInterval = Interval.milliseconds(1)

    var book: AudienceBook
    /// Peers that may share a stream.
    let shareable: PeerSet
    /// At most `GroupLimits.streamsPerOrigin` of each origin, and `GroupLimits.places` in all.
    var taken: [Taken] = []
    /// Streams of others that were refused.
    var refused: UInt64 = 0
    var lookDue = Instant.distantFuture
    var fanOutChanges: UInt64 = 0
    /// Frames that each audience had been sent at the last look.
    var framesSent: [PeerSet: UInt64] = [:]
    /// For each peer what it is still to be told, in order.
    private var messages: [[[UInt8]]]
    var lanesDue = Instant.distantFuture
    /// By group, of streams that are in use or will be.
    var trees: [Int: GroupTree] = [:]
    /// Those that are used while the group's next is opened.
    var formerTrees: [Int: GroupTree] = [:]
    /// The last group whose tree was looked at for a better one.
    var lastImproved = -1
    /// First hops that are still to be told that a stream does not come their way, in order.
    var closings: [(due: Instant, stream: UInt32, hops: [Int])] = []

    init(_ configuration: ControlConfiguration) {
        book = AudienceBook(groups: configuration.groups, rekeyTime: configuration.rekeyTime)
        shareable = PeerSet(first: configuration.peerLimit).subtracting(configuration.ratedPeers)
        messages = Array(repeating: [], count: configuration.peerLimit)
    }

    var isOrigin: Bool { !book.audiences.isEmpty }

    var nextTimeout: Instant { min(book.nextTimeout, lookDue, lanesDue) }

    /// Something has changed that audiences depend on.
    mutating func noteChange(at now: Instant) {
        if isOrigin { lookDue = min(lookDue, now + StreamControl.settling) }
    }

    mutating func tell(_ message: StreamMessage, to peer: Int) { messages[peer].append(message.encoded) }

    /// The next message for a peer, when there is one; whoever asks sends it.
    mutating func takeMessage(for peer: Int) -> [UInt8]? { messages[peer].isEmpty ? nil : messages[peer].removeFirst() }

    mutating func forgetMessages(for peer: Int) {
        for index in messages[peer].indices { Wipe.octets(&messages[peer][index]) }
        messages[peer] = []
    }

    func freePlace(peers: Int) -> Int? {
        let used = Set(taken.map(\.place))
        return (0..<GroupLimits.places(peers: peers)).first { !used.contains($0) }
    }
}

extension ControlCore {
    // MARK: What happens to peers

    /// A peer has begun to tell anew, or is down: neither its streams nor ours with it are any good.
    mutating func handleBegan(_ index: Int, _ now: Instant) {
        dropRoutes(from: index, now)
        forgetMember(index, now)
    }

    /// We tell a peer everything anew: it takes nothing for granted that it was told before.
    mutating func forgetMember(_ index: Int, _ now: Instant) {
        streams.forgetMessages(for: index)
        streams.book.handleLost(PeerIndex(index), at: now)
        streams.noteChange(at: now)
    }

    private mutating func dropRoutes(from index: Int, _ now: Instant) {
        for route in streams.taken where route.origin == index {
            forgetTransit(route.stream, now)
            command(.removeRoute(stream: route.stream))
        }
        streams.taken.removeAll { $0.origin == index }
    }

    /// A key has sealed as much as it should: a peer's, or behind those a group's.
    mutating func handleRenewalDue(_ link: Int, _ now: Instant) {
        if link < peers.count {
            peers[link].nextInitiation = now
        } else {
            streams.book.handleRenewalDue(link - peers.count, at: now)
        }
    }

    // MARK: What peers say

    mutating func handleStreamMessage(_ bytes: [UInt8], _ index: Int, _ now: Instant) {
        let peer = PeerIndex(index)
        switch StreamMessage(bytes) {
        case .key(let stream, let cipher, let lanes, let key): take(stream, cipher, lanes, key, of: index, now)
        case .taken(let stream): streams.book.handleTaken(stream, by: peer, at: now)
        case .refused(let stream): streams.book.handleRefused(stream, by: peer, at: now)
        case .gone(let stream):
            guard let place = streams.taken.firstIndex(where: { $0.stream == stream && $0.origin == index }) else { return }
            streams.taken.remove(at: place)
            forgetTransit(stream, now)
            command(.removeRoute(stream: stream))
        case nil: unknownMessages &+= 1
        }
    }

    /// A peer's stream has us in its audience.
    private mutating func take(
        _ stream: UInt32, _ cipher: UInt8, _ lanes: UInt8, _ key: [UInt8], of index: Int, _ now: Instant
    ) {
        guard stream != 0, let cipher = Cipher(rawValue: cipher), configuration.ciphers.contains(CipherSet(cipher)), lanes > 0,
            lanes <= Limits.lanes, !streams.taken.contains(where: { $0.stream == stream }),
            streams.taken.count(where: { $0.origin == index }) < GroupLimits.streamsPerOrigin,
            let place = streams.freePlace(peers: peers.count)
        else {
            streams.refused &+= 1
            return streams.tell(.refused(stream: stream), to: index)
        }
        streams.taken.append(StreamControl.Taken(stream: stream, origin: index, place: place))
        command(
            .installRoute(
                RouteInstallation(
                    stream: stream, origin: PeerIndex(index), upstream: PeerIndex(index),
                    local: RouteInstallation.Local(place: place, key: Key256(key), cipher: cipher), lanes: lanes)))
        streams.lanesDue = now
    }

    // MARK: Driving

    /// Carries on whatever the last events have left. Part of `drive`.
    mutating func driveStreams(at now: Instant) {
        if snooper.plan.fanOutChanges != streams.fanOutChanges {
            streams.fanOutChanges = snooper.plan.fanOutChanges
            streams.noteChange(at: now)
        }
        if streams.lookDue <= now { lookAtAudiences(now) }
        handleTreeTimeout(now)
        if streams.book.nextTimeout <= now {
            let ciphers = CommonCipher(self)
            streams.book.handleTimeout(cipher: ciphers.find, random: &random, at: now)
        }
        while let action = streams.book.pollAction() { perform(action, now) }
        if streams.lanesDue <= now { answerOrigins(now) }
    }

    private mutating func perform(_ action: AudienceBook.Action, _ now: Instant) {
        switch action {
        case .give(let peer, let stream, let cipher, let key):
            let lanes = UInt8(mailboxes.count)
            streams.tell(.key(stream: stream, cipher: cipher.rawValue, lanes: lanes, key: key.copy), to: peer.index)
        case .install(let group, let audience, let stream, let cipher, let key):
            useStream(group, audience, stream, cipher, key, now)
        case .remove(let group):
            closeTree(group, now)
            command(.removeGroup(group))
        case .gone(let peer, let stream):
            // One that is down has forgotten it.
            if peers[peer.index].isUp { streams.tell(.gone(stream: stream), to: peer.index) }
        }
    }

    /// Which audiences are worth a stream: all that are there, for what is flooded, then those that groups have.
    private mutating func lookAtAudiences(_ now: Instant) {
        var present = PeerSet.none
        for index in peers.indices
        where peers[index].isUp && streams.shareable.contains(PeerIndex(index)) {
            present.insert(PeerIndex(index))
        }
        streams.lookDue = present.count > 1 ? now + StreamControl.lookInterval : .distantFuture
        var sets = snooper.plan.audiences(among: streams.shareable).filter { $0.isSubset(of: present) }
        if present.count > 1 && !sets.contains(present) { sets.append(present) }
        var wishes = sets.map { AudienceBook.Wish(members: $0, use: 0) }
        // Who gets a place is a question only where there are too few.
        if sets.count > streams.book.audiences.count {
            let sent = snooper.plan.framesSent(to: sets, among: streams.shareable)
            for index in wishes.indices {
                let total = sent[wishes[index].members] ?? 0
                wishes[index].use = total &- min(total, streams.framesSent[wishes[index].members] ?? 0)
            }
            streams.framesSent = sent
        }
        // What is flooded is for everybody, and nobody counts it.
        if let place = wishes.firstIndex(where: { $0.members == present }) { wishes[place].use = .max }
        wishes.sort { ($1.use, $0.members) < ($0.use, $1.members) }
        let ciphers = CommonCipher(self)
        streams.book.handleWishes(wishes, cipher: ciphers.find, random: &random, at: now)
    }

    /// What all of an audience open: AES-256-GCM if each pair's session uses it, else ChaCha20-Poly1305. A member that is told to
    /// use nothing but AES-256-GCM refuses that.
    private struct CommonCipher {
        private let sessions: [Cipher?]
        private let allowed: CipherSet

        init(_ control: borrowing ControlCore) {
            sessions = control.peers.map { $0.newest?.cipher }
            allowed = control.configuration.ciphers
        }

        func find(_ members: PeerSet) -> Cipher? {
            let ciphers = members.members.map { sessions[$0.index] }
            let cipher: Cipher = ciphers.allSatisfy { $0 == .aes256gcm } ? .aes256gcm : .chacha20poly1305
            return allowed.contains(CipherSet(cipher)) ? cipher : nil
        }
    }

    /// Tells origins that their streams are taken, once the lanes have them: their queues are empty, and what a lane has taken
    /// from its queue it does before it looks at a datagram.
    private mutating func answerOrigins(_ now: Instant) {
        guard held.allSatisfy(\.isEmpty), mailboxes.allSatisfy(\.commands.isEmpty) else {
            streams.lanesDue = now + StreamControl.laneInterval
            return
        }
        streams.lanesDue = .distantFuture
        for index in streams.taken.indices where !streams.taken[index].isTold {
            streams.taken[index].isTold = true
            streams.tell(.taken(stream: streams.taken[index].stream), to: streams.taken[index].origin)
        }
    }
}
