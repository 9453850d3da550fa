// What control knows of reaching members through others, and of carrying for them.

import Basics
import Mesh
import Tunnels

/// How one member is reached through others.
struct Relay: Sendable {
    /// From the neighbour that carries first to the member itself.
    var hops: [SiteID]
    /// The neighbour's place among the peers.
    var via: Int
    /// The member's streams without their low bits: what carriers know the route by.
    var label: UInt32
    var sequence: UInt32
    var opened: Instant
    /// Whether all on the way take what is sent.
    var isReady = false
    /// When it is opened anew, if it is not ready by then.
    var retryDue: Instant

    /// For everybody on the way to answer.
    static let patience = Interval.seconds(2)
}

/// A stream of another site's that comes through here, or comes here through others.
struct Transit: Sendable {
    var opening: RouteOpening
    /// The neighbour that it comes from, and the one that it came from before, for so long.
    var upstream: Int
    var former: Int?
    var formerUntil = Instant.distantFuture
    /// Those that it is passed on to; and those that it was passed on to before, who still get it for so long: until all on the
    /// new way are ready, the origin sends as before.
    var children: [Int]
    var formerChildren: [Int] = []
    /// Children that have not said that they are ready.
    var waiting: Set<Int>
    /// Whether the lanes have been told, and the neighbour that all are ready.
    var isInstalled = false
    var isTold = false

    var isChanging: Bool { former != nil || !formerChildren.isEmpty }

    /// How long what was under way on the former way is still taken, and passed on.
    static let grace = Interval.seconds(5)
    /// Streams that are carried or taken at once: with many sites, some for each.
    static func limit(peers: Int) -> Int { max(384, 24 * peers) }
    /// Of these, that come from one neighbour.
    static func limitOfNeighbour(peers: Int) -> Int { limit(peers: peers) * 2 / 3 }
}

/// The part of a mesh's state that is about ways.
struct RelayBook: Sendable {
    var paths: Paths
    var topology: Topology
    /// Of our own links, what the graph has been made of.
    var ownLinks: UInt64 = 0
    /// When the graph was looked at last, and will be again; `nil` while nothing has changed.
    var updated = Instant.zero
    var updateDue: Instant?
    /// By stream.
    var transits: [UInt32: Transit] = [:]
    /// When the first of those whose way is changing is through with it, or earlier.
    var changesDue = Instant.distantFuture
    var sequence: UInt32 = 1
    /// For each peer what it is still to be told, in order.
    var messages: [Int: [[UInt8]]] = [:]
    /// As many as there are streams to be closed when a neighbour is lost, twice.
    static func messageLimit(peers: Int) -> Int { 2 * Transit.limit(peers: peers) }
    private let messageLimit: Int
    /// When the lanes are looked at, before neighbours are told.
    var lanesDue = Instant.distantFuture
    /// How often members that are reached through others were tried themselves, and which was the last; and when they are again.
    var tries: UInt32 = 0
    var lastTried = 0
    var tryDue: Instant
    /// Handshakes of others that were passed on; and what was refused, or found its neighbour's queue full.
    var carried: UInt64 = 0
    var refused: UInt64 = 0

    /// Several changes are looked at together.
    static let settling = Interval.milliseconds(20)
    /// Between looks at the graph, each of which costs a step for every link: of a hundred sites 4,950, all of which are news while
    /// the mesh comes together.
    static func pause(sites: Int) -> Interval { sites <= 16 ? settling : .milliseconds(4 * Int64(sites)) }
    static let tryInterval = Interval.seconds(5)

    init(site: SiteID, peers: Int, at now: Instant) {
        messageLimit = RelayBook.messageLimit(peers: peers)
        paths = Paths(source: site)
        topology = Topology(sites: [], links: [])
        tryDue = now + RelayBook.tryInterval
    }

    var nextTimeout: Instant {
        min(updateDue ?? .distantFuture, lanesDue, tryDue, changesDue)
    }

    /// - Parameter isUrgent: a link of our own is in doubt, or is no longer: what goes over it waits for no pause.
    mutating func noteChange(isUrgent: Bool = false, at now: Instant) {
        let due = now + RelayBook.settling
        let later = max(due, updated + RelayBook.pause(sites: topology.sites.count))
        updateDue = min(updateDue ?? .distantFuture, isUrgent ? due : later)
    }

    mutating func tell(_ message: RouteMessage, to peer: Int) {
        guard messages[peer, default: []].count < messageLimit else {
            refused &+= 1
            return
        }
        messages[peer, default: []].append(message.encoded)
    }

    mutating func takeMessage(for peer: Int) -> [UInt8]? {
        guard let message = messages[peer]?.first else { return nil }
        messages[peer]?.removeFirst()
        if messages[peer]?.isEmpty == true { messages[peer] = nil }
        return message
    }

    mutating func nextSequence() -> UInt32 {
        sequence &+= 1
        return sequence
    }
}

extension Endpoint {
    /// Stands for a member that is reached through others, by its place: an address of the discard prefix (RFC 6666).
    static func relayed(_ place: Int) -> Endpoint { Endpoint(high: 0x0100 << 48, low: UInt64(place), port: 1) }

    /// The place; `nil` for a real endpoint. Nothing that comes from the network has one: see `takeHandshakes`.
    var relayedPlace: Int? { high == 0x0100 << 48 && port == 1 && low < Limits.peers ? Int(low) : nil }
}
