// An entry of the group table as operators and tests see it.

import Basics
import Wire

public struct GroupEntryView: Hashable, Sendable {
    public struct Source: Hashable, Sendable {
        public var address: IPAddress
        /// When its timer runs out; `nil`: it has none, the source is blocked (it is in Y).
        public var expires: Instant?

        public init(address: IPAddress, expires: Instant?) {
            self.address = address
            self.expires = expires
        }
    }

    /// A tracked host.
    public struct Member: Hashable, Sendable {
        public var host: HostIdentity
        /// Of its last report.
        public var generation: MembershipGeneration
        /// Its own, with its generation.
        public var wish: Wish
        /// When the last of its wish runs out.
        public var expires: Instant

        public init(host: HostIdentity, generation: MembershipGeneration, wish: Wish, expires: Instant) {
            self.host = host
            self.generation = generation
            self.wish = wish
            self.expires = expires
        }
    }

    public var mode: Wish.Mode
    /// Only in EXCLUDE.
    public var groupTimer: Instant?
    /// Ascending.
    public var sources: [Source]
    /// The compatibility mode (rule 22).
    public var generation: MembershipGeneration
    /// Until when an IGMPv1 host is taken to be there.
    public var firstUntil: Instant?
    /// Until when an IGMPv2 or MLDv1 host is taken to be there.
    public var secondUntil: Instant?
    /// Ascending by MAC address.
    public var members: [Member]

    init(_ entry: GroupEntry) {
        mode = entry.filter.mode
        if case .exclude(let until) = entry.filter { groupTimer = until }
        sources = entry.sources.map { Source(address: $0.address, expires: $0.expires) }
        generation = entry.generation
        firstUntil = entry.firstUntil
        secondUntil = entry.secondUntil
        members = entry.hosts.hosts.map { host in
            let generations = Generations(host.generation)
            let wish =
                switch host.interest {
                case .include(let sources): Wish(.include, sources.addresses, generations: generations)
                case .exclude(let sources, _): Wish(.exclude, sources, generations: generations)
                case .overflowed: Wish(.exclude, generations: generations)
                }
            return Member(host: host.identity, generation: host.generation, wish: wish, expires: host.expires)
        }
    }
}
