// An origin's audiences: the sets of peers that have a stream of their own, and where each stands. A pure state machine: what is
// wanted, what members answer and the time go in; what to tell members and lanes comes out.
//
//     wanted --> begun: key given to every member --- all have taken it ---> in use --- renewal due ---> a new stream is begun;
//                  |  a member refused, or said nothing for `patience`         |                         in use once all took it
//                  v                                                           | a member was lost, or nobody wants it for
//               not tried again for `pause`                                    v `linger`, or others need the place more
//                                                                            gone; members are told after `grace`
//
// A stream that has lost a member is never used again: its key is wiped, and whoever is left begins anew with another. What is
// under way when a stream goes is opened for `grace`. A place stays empty for `quarantine`, so that lanes are done with it.

import Basics
import Tunnels

struct AudienceBook: Sendable {
    enum Action: Equatable {
        case give(PeerIndex, stream: UInt32, Cipher, key: SecretBytes)
        /// All members hold the key: seal with it from here on.
        case install(group: Int, PeerSet, stream: UInt32, Cipher, key: SecretBytes)
        case remove(group: Int)
        case gone(PeerIndex, stream: UInt32)
    }

    /// A stream that was begun and is not in use.
    struct Begun: Sendable {
        var stream: UInt32
        var cipher: Cipher
        /// Wiped when nobody holds it: once lanes and members have it, or the stream is given up.
        var key: SecretBytes
        /// Members that have not answered.
        var waiting: PeerSet
        var since: Instant
    }

    struct Audience: Sendable {
        let members: PeerSet
        var begun: Begun?
        /// The stream in use; `nil` while there is none.
        var stream: UInt32?
        var cipher: Cipher?
        var since = Instant.zero
        var renewAt = Instant.distantFuture
        /// When it was last wanted, and how much it was used then.
        var wanted: Instant
        var use: UInt64 = 0
    }

    struct Wish {
        var members: PeerSet
        /// Frames since a while ago; only compared with those of others.
        var use: UInt64
    }

    static let patience = Interval.seconds(10)
    static let pause = Interval.seconds(60)
    static let linger = Interval.seconds(30)
    static let grace = Interval.seconds(5)
    static let quarantine = Interval.seconds(1)
    /// Streams that are begun in place of others at one time.
    private static let renewalLimit = 4
    /// Refusals that are kept in mind.
    private static let refusalLimit = 256

    private let rekeyTime: Interval
    /// By group; `nil` where there is none.
    private(set) var audiences: [Audience?]
    /// No place from here on was ever taken: most gateways have few audiences, and are asked for the next timeout all the time.
    private var reach = 0
    /// When an empty place can be used.
    private var freeFrom: [Instant]
    /// Streams out of use that members are still to be told of.
    private var farewells: [(due: Instant, stream: UInt32, members: PeerSet)] = []
    /// Audiences that are not tried again until then, oldest first.
    private var refusals: [(members: PeerSet, until: Instant)] = []
    private var actions: [Action] = []
    /// Streams that came into use, and those that a member refused or did not answer, since the start.
    private(set) var installed: UInt64 = 0
    private(set) var failed: UInt64 = 0

    init(groups: Int, rekeyTime: Interval) {
        audiences = Array(repeating: nil, count: groups)
        freeFrom = Array(repeating: .zero, count: groups)
        self.rekeyTime = rekeyTime
    }

    mutating func pollAction() -> Action? { actions.isEmpty ? nil : actions.removeFirst() }

    // MARK: What is wanted

    /// - Parameters:
    ///   - wishes: each audience once, the most wanted first.
    ///   - cipher: what all of an audience can open; `nil` for nothing.
    mutating func handleWishes(
        _ wishes: [Wish], cipher: (PeerSet) -> Cipher?, random: inout some RandomNumberGenerator, at now: Instant
    ) {
        refusals.removeAll { $0.until <= now }
        var unmet: [Wish] = []
        for wish in wishes {
            if let group = audiences.firstIndex(where: { $0?.members == wish.members }) {
                audiences[group]?.wanted = now
                audiences[group]?.use = wish.use
            } else if !refusals.contains(where: { $0.members == wish.members }) {
                unmet.append(wish)
            }
        }
        for group in audiences.indices {
            if let audience = audiences[group], now - audience.wanted >= AudienceBook.linger { remove(group, now) }
        }
        for wish in unmet {
            guard let group = audiences.indices.first(where: { audiences[$0] == nil && freeFrom[$0] <= now }) else {
                if !makeRoom(for: wish, now) { break }
                continue
            }
            guard let cipher = cipher(wish.members) else { continue }
            audiences[group] = Audience(members: wish.members, wanted: now, use: wish.use)
            reach = max(reach, group + 1)
            begin(group, cipher, &random, now)
        }
    }

    /// Gives a place up for one that is wanted more: that of an audience that nobody wants, else that of the least used if this
    /// one is used twice as much. Someone comes to have it once the quarantine is over. False: all others are as good.
    private mutating func makeRoom(for wish: Wish, _ now: Instant) -> Bool {
        var least: (group: Int, use: UInt64)?
        for group in audiences.indices {
            guard let audience = audiences[group] else { continue }
            let use = audience.wanted < now ? 0 : audience.use
            if audience.wanted < now || wish.use / 2 > use, use <= least?.use ?? .max { least = (group, use) }
        }
        guard let least else { return false }
        remove(least.group, now)
        return true
    }

    private mutating func begin(_ group: Int, _ cipher: Cipher, _ random: inout some RandomNumberGenerator, _ now: Instant) {
        guard let members = audiences[group]?.members else { return }
        var stream = UInt32.random(in: 1 ... .max, using: &random)
        while isUsed(stream) { stream = UInt32.random(in: 1 ... .max, using: &random) }
        let key = SecretBytes.key(using: &random)
        audiences[group]?.begun = Begun(stream: stream, cipher: cipher, key: key, waiting: members, since: now)
        for peer in members.members { actions.append(.give(peer, stream: stream, cipher, key: key)) }
    }

    private func isUsed(_ stream: UInt32) -> Bool {
        audiences.contains { $0?.stream == stream || $0?.begun?.stream == stream } || farewells.contains { $0.stream == stream }
    }

    // MARK: What members say

    mutating func handleTaken(_ stream: UInt32, by peer: PeerIndex, at now: Instant) {
        guard let group = group(beginning: stream) else { return }
        audiences[group]?.begun?.waiting.remove(peer)
        guard var audience = audiences[group], let begun = audience.begun, begun.waiting.isEmpty else { return }
        if let former = audience.stream { sayFarewell(former, audience.members, now) }
        actions.append(.install(group: group, audience.members, stream: stream, begun.cipher, key: begun.key))
        audience.begun = nil
        audience.stream = stream
        audience.cipher = begun.cipher
        audience.since = now
        audience.renewAt = now + rekeyTime
        audiences[group] = audience
        installed &+= 1
    }

    mutating func handleRefused(_ stream: UInt32, by peer: PeerIndex, at now: Instant) {
        if let group = group(beginning: stream), audiences[group]?.members.contains(peer) ?? false { giveUp(group, now) }
    }

    private func group(beginning stream: UInt32) -> Int? { audiences.firstIndex { $0?.begun?.stream == stream } }

    /// The stream that was begun is not to be. One that is in use stays so for the time being.
    private mutating func giveUp(_ group: Int, _ now: Instant) {
        guard let members = audiences[group]?.members else { return }
        failed &+= 1
        dropBegun(group)
        if audiences[group]?.stream != nil {
            audiences[group]?.renewAt = now + AudienceBook.patience
            return
        }
        audiences[group] = nil
        if refusals.count >= AudienceBook.refusalLimit { refusals.removeFirst() }
        refusals.append((members, now + AudienceBook.pause))
    }

    private mutating func dropBegun(_ group: Int) {
        guard let stream = audiences[group]?.begun?.stream, let members = audiences[group]?.members else { return }
        audiences[group]?.begun = nil
        actions.removeAll { action in
            if case .give(_, stream, _, _) = action { return true }
            return false
        }
        for peer in members.members { actions.append(.gone(peer, stream: stream)) }
    }

    // MARK: What happens to members and streams

    /// A peer went down or lost what it was told: nothing is sealed for audiences with it any more. It is told so like the
    /// others: a key may be under way to it.
    mutating func handleLost(_ peer: PeerIndex, at now: Instant) {
        for group in audiences.indices where audiences[group]?.members.contains(peer) ?? false { remove(group, now) }
        refusals.removeAll { $0.members.contains(peer) }
        actions.removeAll { action in
            if case .give(peer, _, _, _) = action { true } else { false }
        }
    }

    /// A lane has sealed as many datagrams with a group's key as it should.
    mutating func handleRenewalDue(_ group: Int, at now: Instant) {
        if audiences.indices.contains(group), audiences[group]?.stream != nil { audiences[group]?.renewAt = now }
    }

    private mutating func remove(_ group: Int, _ now: Instant) {
        guard let audience = audiences[group] else { return }
        dropBegun(group)
        audiences[group] = nil
        guard let stream = audience.stream else { return }
        freeFrom[group] = now + AudienceBook.quarantine
        actions.append(.remove(group: group))
        sayFarewell(stream, audience.members, now)
    }

    private mutating func sayFarewell(_ stream: UInt32, _ members: PeerSet, _ now: Instant) {
        farewells.append((now + AudienceBook.grace, stream, members))
    }

    // MARK: Time

    mutating func handleTimeout(
        cipher: (PeerSet) -> Cipher?, random: inout some RandomNumberGenerator, at now: Instant
    ) {
        for farewell in farewells where farewell.due <= now {
            for peer in farewell.members.members { actions.append(.gone(peer, stream: farewell.stream)) }
        }
        farewells.removeAll { $0.due <= now }
        for group in audiences.indices {
            if let begun = audiences[group]?.begun, now - begun.since >= AudienceBook.patience { giveUp(group, now) }
        }
        for group in audiences.indices {
            guard let audience = audiences[group], audience.stream != nil, audience.renewAt <= now else { continue }
            if now - audience.since >= lifetime {
                remove(group, now)
            } else if audience.begun == nil, renewals < AudienceBook.renewalLimit {
                if let cipher = cipher(audience.members) { begin(group, cipher, &random, now) } else { remove(group, now) }
            }
        }
    }

    /// How long a key seals at most.
    private var lifetime: Interval { rekeyTime + rekeyTime / 2 + .seconds(10) }

    private var renewals: Int { audiences[..<reach].count { $0?.stream != nil && $0?.begun != nil } }

    var nextTimeout: Instant {
        var next = farewells.map(\.due).min() ?? .distantFuture
        let mayRenew = renewals < AudienceBook.renewalLimit
        for case .some(let audience) in audiences[..<reach] {
            if let begun = audience.begun { next = min(next, begun.since + AudienceBook.patience) }
            guard audience.stream != nil else { continue }
            if audience.begun == nil && mayRenew { next = min(next, audience.renewAt) }
            next = min(next, max(audience.renewAt, audience.since + lifetime))
        }
        return next
    }

    func checkInvariants() {
        var seen: Set<PeerSet> = []
        for case .some(let audience) in audiences {
            precondition(audience.members.count > 1, "an audience has members")
            precondition(seen.insert(audience.members).inserted, "no audience is there twice")
            precondition(audience.stream != nil || audience.begun != nil, "an audience has a stream, or is about to")
            if let begun = audience.begun {
                precondition(begun.waiting.isSubset(of: audience.members) && !begun.waiting.isEmpty)
                precondition(begun.stream != audience.stream)
            }
        }
    }
}
