// What control tells a lane of group streams: audiences that it seals for once, and routed streams that it takes. How many of
// either there can be is here too, since both halves and their counters are made for as many.

import Basics
import Tunnels

public enum GroupLimits {
    /// Audiences that can have a stream at once. With fewer than two peers there are none.
    public static func groups(peers: Int) -> Int { peers < 2 ? 0 : 64 }

    /// Routed streams of one origin that are taken: as many as it has groups, and those that take the place of others.
    public static let streamsPerOrigin = 80

    /// Routed streams of all origins together whose frames are for this site.
    public static func places(peers: Int) -> Int { min(256, streamsPerOrigin * peers) }

    /// Routed streams that are known at all: those, and those that only pass through.
    static func routes(peers: Int) -> Int { peers == 0 ? 0 : places(peers: peers) + Transit.limit(peers: peers) }
}

/// A stream for an audience of several peers.
public struct GroupInstallation: Sendable, BitwiseCopyable {
    /// Which of the groups; what it was before it is no more.
    public var group: Int
    public var audience: PeerSet
    /// The peers that its datagrams are sent to: the audience, or those that forward to it.
    public var firstHops: PeerSet
    public var stream: UInt32
    public var key: Key256
    public var cipher: Cipher
    /// Datagrams after which `renewalDue` is said, of the link behind the peers' that is the group's.
    public var renewAfter: UInt64
}

/// A routed stream that comes here, to stay, to be forwarded, or both.
public struct RouteInstallation: Sendable, BitwiseCopyable {
    public var stream: UInt32
    /// Whose frames they are.
    public var origin: PeerIndex
    /// The one peer that its datagrams are taken from.
    public var upstream: PeerIndex
    /// Where they came from before.
    public var former: PeerIndex?
    /// Whether it is a pair's: the identifier stands for all whose low four bits differ.
    public var isPair = false
    /// Peers that they are forwarded to.
    public var nextHops = PeerSet.none
    /// Peers that what comes from `former` is forwarded to; where there is no `former`, all that comes, as well.
    public var formerHops = PeerSet.none
    /// Whether what opens the stream here already goes on doing so; `local` is then `nil`.
    public var keepsLocal = false
    /// What opens them, and where: `nil` where this site only forwards.
    public var local: Local?
    /// The origin's lanes: origin tags are below.
    public var lanes: UInt8

    public struct Local: Sendable, BitwiseCopyable {
        /// Below `GroupLimits.places`; no other stream's.
        public var place: Int
        public var key: Key256
        public var cipher: Cipher
    }
}
