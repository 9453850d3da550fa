// What an operator is shown of the mesh: the answer to `causeway show mesh`.

import Basics
import Foundation
import Gateway
import Mesh
import TextTable

public struct MeshDocument: Codable, Sendable, Equatable {
    public struct Site: Codable, Sendable, Equatable {
        public var name: String
        /// Base64; absent where its pass is not known.
        public var key: String?
        /// `own`, `direct`, `through` or `away`.
        public var state: String
        /// Names of the sites that carry, in order.
        public var through: [String]
        /// Seconds since it came up or went down; absent where it was never up, and for this site.
        public var age: Double?
        /// Where it says that it is reached, the best first.
        public var addresses: [String]
        public var mayRelay: Bool
    }

    public struct Link: Codable, Sendable, Equatable {
        /// Names of two sites.
        public var between: [String]
        /// The longer round trip, and the larger share of lost datagrams in a million, of those that its ends tell.
        public var roundTripMicroseconds: UInt32
        public var lossMillionths: UInt32
        /// Whether either end doubts it, and whether only one of them tells of it: then nothing goes that way.
        public var isSuspect: Bool
        public var isOneSided: Bool
        /// In microseconds, with what loss and doubt add; absent where the link is one-sided.
        public var cost: UInt32?

        init(_ link: MeshSnapshot.Link) {
            let said = [link.measures.0, link.measures.1].compactMap(\.self)
            between = [link.ends.0, link.ends.1]
            roundTripMicroseconds = said.map(\.roundTripMicroseconds).max() ?? 0
            lossMillionths = UInt32(said.map(\.loss).max() ?? 0) * 100
            isSuspect = said.contains(where: \.isSuspect)
            isOneSided = said.count < 2
            cost = link.cost
        }
    }

    /// Since the start.
    public struct Gossip: Codable, Sendable, Equatable {
        public var neighbours: Int
        /// What is kept.
        public var pages: Int
        public var pageBytes: Int
        public var messagesIn: UInt64
        public var messagesOut: UInt64
        public var bytesIn: UInt64
        public var bytesOut: UInt64
        public var pagesTaken: UInt64
        public var pagesSigned: UInt64
        /// Pages that were known already.
        public var duplicates: UInt64
        public var malformed: UInt64
        /// Pages whose signature is not their owner's.
        public var forged: UInt64
        /// Pages of owners that are no members.
        public var strangers: UInt64
        /// Pages from before their owner was given up.
        public var buried: UInt64
        /// Pages, owners and revocations for which there was no room.
        public var limit: UInt64
        /// Pages that came faster than signatures are checked.
        public var checkRate: UInt64
        /// Owners given up.
        public var gone: UInt64
        public var versionJumps: UInt64
        /// Comparisons that found a difference.
        public var repairs: UInt64
    }

    public struct Hellos: Codable, Sendable, Equatable {
        /// Names of the gateways that are asked for the way in.
        public var seeds: [String]
        public var answered: UInt64
        /// Passes that came in hellos and were not good.
        public var passesRefused: UInt64
        /// Members for whom there was no place.
        public var placesRefused: UInt64
    }

    /// Handshakes of others.
    public struct Carrying: Codable, Sendable, Equatable {
        public var handshakes: UInt64
        public var refused: UInt64
        /// Streams of others that are carried now, or come through others.
        public var streams: Int
        /// Datagrams of others that were forwarded, each once for each site that it went to.
        public var datagrams: UInt64
    }

    public var site: String
    /// Base64; absent: this gateway is in no mesh with passes, and all else is empty.
    public var authority: String?
    public var sites: [Site]
    public var links: [Link]
    /// Places for peers, and those that somebody has.
    public var places: Int
    public var placesTaken: Int
    public var gossip: Gossip
    public var hellos: Hellos
    public var carrying: Carrying

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        let mesh = snapshot.mesh
        authority = mesh?.authority
        sites = (mesh?.sites ?? []).map { Site($0, at: snapshot.taken) }
        links = (mesh?.links ?? []).map { Link($0) }
        (places, placesTaken) = (mesh?.places ?? 0, mesh?.placesTaken ?? 0)
        let counters = mesh?.gossip ?? GossipCounters()
        gossip = Gossip(
            neighbours: mesh?.neighbours ?? 0, pages: mesh?.pages ?? 0, pageBytes: mesh?.pageBytes ?? 0,
            messagesIn: counters.messagesIn, messagesOut: counters.messagesOut, bytesIn: counters.bytesIn,
            bytesOut: counters.bytesOut, pagesTaken: counters.pagesTaken, pagesSigned: counters.pagesSigned,
            duplicates: counters.duplicates, malformed: counters.malformed, forged: counters.forged,
            strangers: counters.strangers, buried: counters.buried, limit: counters.limit, checkRate: counters.checkRate,
            gone: counters.gone, versionJumps: counters.versionJumps, repairs: counters.repairs)
        hellos = Hellos(
            seeds: mesh?.seeds ?? [], answered: mesh?.hellosAnswered ?? 0, passesRefused: mesh?.passesRefused ?? 0,
            placesRefused: mesh?.placesRefused ?? 0)
        carrying = Carrying(
            handshakes: mesh?.carried ?? 0, refused: mesh?.carryingRefused ?? 0, streams: mesh?.transits.count ?? 0,
            datagrams: snapshot[LaneGauge.relayed])
    }
}

extension MeshDocument.Site {
    init(_ site: MeshSnapshot.Site, at now: Instant) {
        name = site.name
        key = site.key?.base64
        through = []
        switch site.reach {
        case .own: state = "own"
        case .direct: state = "direct"
        case .through(let names): (state, through) = ("through", names)
        case .away: state = "away"
        }
        age = site.since.map { seconds(now - $0) }
        addresses = site.addresses.map { "\($0)" }
        mayRelay = site.mayRelay
    }
}

extension Tables {
    /// What every table about passes says where there are none.
    static let noMesh = "this gateway is in no mesh with passes: its peers are those of its configuration (causeway show peers)\n"

    public static func text(_ document: MeshDocument) -> String {
        guard document.authority != nil else { return noMesh }
        let sites = TextTable<MeshDocument.Site> {
            [
                Column(title: "site", value: $0.name),
                Column(title: "key", value: $0.key.map { "\($0.prefix(8))…" } ?? "-"),
                Column(title: "reached", value: reached($0)),
                Column(title: "since", value: $0.age.map { age($0) } ?? "-", align: .right),
                Column(title: "carries for others", value: $0.mayRelay ? "yes" : "no"),
                Column(title: "addresses", value: $0.addresses.isEmpty ? "-" : $0.addresses.joined(separator: ", ")),
            ]
        }
        let links = TextTable<MeshDocument.Link> {
            [
                Column(title: "link", value: $0.between.joined(separator: " - ")),
                Column(title: "round trip", value: milliseconds($0.roundTripMicroseconds), align: .right),
                Column(title: "loss", value: String(format: "%.2f%%", Double($0.lossMillionths) / 10_000), align: .right),
                Column(title: "state", value: $0.isOneSided ? "one side only" : $0.isSuspect ? "suspect" : "good"),
                Column(title: "cost", value: $0.cost.map { "\($0)" } ?? "-", align: .right),
            ]
        }
        return lines(sites.string(for: document.sites)) + "\n"
            + (document.links.isEmpty ? "no links are known\n" : lines(links.string(for: document.links))) + "\n"
            + counts(document)
    }

    /// `itself`, `directly`, `through b, c`, `away`.
    private static func reached(_ site: MeshDocument.Site) -> String {
        switch site.state {
        case "own": "itself"
        case "direct": "directly"
        case "through": "through \(site.through.joined(separator: ", "))"
        default: site.state
        }
    }

    static func milliseconds(_ microseconds: some BinaryInteger) -> String {
        String(format: "%.2f ms", Double(microseconds) / 1_000)
    }

    private static func counts(_ document: MeshDocument) -> String {
        let gossip = document.gossip
        let refused = [
            (gossip.forged, "forged"), (gossip.strangers, "of strangers"), (gossip.malformed, "malformed"),
            (gossip.buried, "of the past"), (gossip.limit, "for want of room"), (gossip.checkRate, "too many a second"),
        ].filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
        let (hellos, carrying) = (document.hellos, document.carrying)
        let asked = hellos.seeds.isEmpty ? "" : "; asked: \(hellos.seeds.joined(separator: ", "))"
        let unplaced = "\(hellos.placesRefused) without a place"
        var lines = [
            "authority   \(document.authority ?? "-")", "places      \(document.placesTaken) of \(document.places) taken",
            "gossip      with \(gossip.neighbours) neighbours",
        ]
        lines.append("messages    \(gossip.messagesIn) in (\(gossip.bytesIn) octets)")
        lines.append("            \(gossip.messagesOut) out (\(gossip.bytesOut) octets)")
        lines.append(
            "pages       \(gossip.pages) kept (\(gossip.pageBytes) octets), \(gossip.pagesTaken) taken, "
                + "\(gossip.pagesSigned) signed, \(gossip.duplicates) known already")
        lines.append("refused     \(refused.isEmpty ? "none" : refused.joined(separator: ", "))")
        lines.append(
            "repairs     \(gossip.repairs) differences found, \(gossip.gone) sites given up, "
                + "\(gossip.versionJumps) version jumps")
        lines.append("hellos      \(hellos.answered) answered, \(hellos.passesRefused) passes refused, \(unplaced)\(asked)")
        lines.append("carried     \(carrying.handshakes) handshakes, \(carrying.refused) refused")
        lines.append("forwarded   \(carrying.datagrams) datagrams, of \(carrying.streams) streams at present")
        return lines.map { $0 + "\n" }.joined()
    }
}
