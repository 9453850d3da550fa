// What an operator is shown of ways: the answer to `causeway show paths`.

import Basics
import Foundation
import Gateway
import TextTable

public struct PathsDocument: Codable, Sendable, Equatable {
    /// How a site is reached.
    public struct Way: Codable, Sendable, Equatable {
        public var to: String
        /// `direct`; `relayed`: through others; `opening`: those that are to carry have not all said that they do; `away`.
        public var state: String
        /// Names of sites, from the first hop to the site itself.
        public var hops: [String]
        /// The cheapest way as the mesh tells of its links, where another one is in use.
        public var better: [String]
        /// Of the cheapest way in microseconds, with what loss and doubt add; absent without passes, and out of reach.
        public var cost: UInt64?
        /// Of the way in use, as in the document on peers.
        public var path: PeersDocument.Path
        public var isSuspect: Bool
        /// What carriers know the way by, eight hexadecimal digits; absent where nobody carries.
        public var label: String?
        /// Seconds since it was opened; absent where nobody carries.
        public var age: Double?
    }

    /// A stream of another site's that is carried here, or comes here through others.
    public struct Transit: Codable, Sendable, Equatable {
        public var identifier: String
        /// `pair` or `group`.
        public var kind: String
        public var origin: String
        /// The site that it comes from.
        public var upstream: String
        public var nextHops: [String]
        /// Whether it ends here.
        public var isTaken: Bool
        /// Whether all behind this gateway take it.
        public var isReady: Bool
    }

    public var site: String
    /// Whether this gateway is in a mesh with passes.
    public var isMember: Bool
    public var ways: [Way]
    public var transits: [Transit]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        isMember = snapshot.mesh?.authority != nil
        ways = (snapshot.mesh?.ways ?? []).map { Way($0, at: snapshot.taken) }
        transits = (snapshot.mesh?.transits ?? []).map { Transit($0) }
    }
}

extension PathsDocument.Way {
    init(_ way: MeshSnapshot.Way, at now: Instant) {
        to = way.name
        state = way.state.rawValue
        (hops, better, cost) = (way.hops, way.better, way.cost)
        path = PeersDocument.Path(way.path)
        isSuspect = way.isSuspect
        label = way.label.map(hexadecimal)
        age = way.opened.map { seconds(now - $0) }
    }
}

extension PathsDocument.Transit {
    init(_ transit: MeshSnapshot.Transit) {
        identifier = hexadecimal(transit.stream)
        kind = transit.isPair ? "pair" : "group"
        (origin, upstream, nextHops) = (transit.origin, transit.upstream, transit.nextHops)
        (isTaken, isReady) = (transit.isTaken, transit.isReady)
    }
}

extension Tables {
    public static func text(_ document: PathsDocument) -> String {
        var text = ""
        if document.ways.isEmpty {
            text += "no other site is known\n"
        } else {
            let table = TextTable<PathsDocument.Way> {
                [
                    Column(title: "to", value: $0.to),
                    Column(title: "state", value: $0.isSuspect ? "\($0.state), suspect" : $0.state),
                    Column(title: "way", value: $0.hops.isEmpty ? "-" : $0.hops.joined(separator: " > ")),
                    Column(title: "round trip", value: $0.path.roundTripMicroseconds.map(milliseconds) ?? "-", align: .right),
                    Column(title: "size", value: $0.path.mtu, align: .right),
                    Column(title: "cost", value: $0.cost.map { "\($0)" } ?? "-", align: .right),
                    Column(title: "better", value: $0.better.isEmpty ? "-" : $0.better.joined(separator: " > ")),
                    Column(title: "opened", value: $0.age.map { age($0) + " ago" } ?? "-", align: .right),
                ]
            }
            text += lines(table.string(for: document.ways))
        }
        guard document.isMember else { return text + "nobody carries for others: " + noMesh }
        if document.transits.isEmpty { return text + "nothing is carried here for others\n" }
        let table = TextTable<PathsDocument.Transit> {
            [
                Column(title: "stream", value: $0.identifier),
                Column(title: "of", value: $0.kind),
                Column(title: "origin", value: $0.origin),
                Column(title: "from", value: $0.upstream),
                Column(title: "to", value: destinations($0)),
                Column(title: "ready", value: $0.isReady ? "yes" : "no"),
            ]
        }
        return text + "\n" + lines(table.string(for: document.transits))
    }

    /// `nyc, paris, taken here`
    private static func destinations(_ transit: PathsDocument.Transit) -> String {
        (transit.nextHops + (transit.isTaken ? ["taken here"] : [])).joined(separator: ", ")
    }
}
