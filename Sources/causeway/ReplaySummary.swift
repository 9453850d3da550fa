// What a replay came to, as `summary.json` and as `tables.txt`.

import Basics
import Gateway
import Operator
import Simulation
import TextTable

struct ReplaySummary: Codable {
    struct Port: Codable {
        var name: String
        var framesIn: UInt64
        var bytesIn: UInt64
        var framesOut: UInt64
        var bytesOut: UInt64
        /// Frames of which the capture holds only a part; the part was replayed.
        var framesCutInCapture: UInt64
    }

    struct Peer: Codable {
        var name: String
        var state: String
        var handshakes: UInt64
        var framesIn: UInt64
        var framesOut: UInt64
    }

    struct Site: Codable {
        var name: String
        var publicKey: String
        /// From this site's captures.
        var framesIn: UInt64
        /// Put on this site's LANs.
        var framesDelivered: UInt64
        var framesDropped: UInt64
        /// Every reason that counted something.
        var drops: [String: UInt64]
        var ports: [Port]
        var peers: [Peer]
        var macs: [MACsDocument.Entry]
        var multicast: Multicast
        /// Absent in a replay without passes.
        var ways: [Way]?
    }

    /// What a site knows of multicast.
    struct Multicast: Codable {
        var groups: [GroupsDocument.Group]
        /// Groups that nobody has joined, counted together.
        var unregistered: [GroupsDocument.Other]
        var queriers: [QueriersDocument.Querier]
        var routers: [RoutersDocument.Router]
        var remoteRouters: [RoutersDocument.Remote]
        /// Every counter of what was ignored or refused that counted something.
        var rules: [String: UInt64]

        init(_ snapshot: GatewaySnapshot) {
            let document = GroupsDocument(snapshot)
            groups = document.groups
            unregistered = document.unregistered
            queriers = QueriersDocument(snapshot).queriers
            let routing = RoutersDocument(snapshot)
            routers = routing.routers
            remoteRouters = routing.remote
            let counted = RulesDocument(snapshot).rules.filter { $0.count > 0 }
            rules = Dictionary(uniqueKeysWithValues: counted.map { ($0.name, $0.count) })
        }
    }

    /// Every site at one moment.
    struct Moment: Codable {
        struct Site: Codable {
            var name: String
            var multicast: Multicast
        }
        /// Seconds from the scenario's 0.
        var at: Double
        var sites: [Site]
    }

    struct Link: Codable {
        var from: String
        var to: String
        /// What the sender put on the link, and its octets of UDP payload.
        var datagrams: UInt64
        var bytes: UInt64
        /// Of these: lost by chance, longer than the link's MTU, and still under way when the replay ended.
        var lost: UInt64
        var tooLong: UInt64
        var underWay: UInt64
        /// Sent while there was no link; absent where that was nothing.
        var cut: UInt64?
    }

    /// How one site is reached by another at the end.
    struct Way: Codable {
        var to: String
        /// As `causeway show paths` has it.
        var state: String
        /// Names of sites, from the first hop to the site itself.
        var hops: [String]
    }

    struct Event: Codable {
        /// Seconds from the scenario's 0; negative while it settles.
        var at: Double
        var site: String
        var message: String
    }

    var seed: UInt64
    /// Seconds of virtual time from 0 to the end.
    var duration: Double
    var sites: [Site]
    var links: [Link]
    /// The moments of `snapshot.at`.
    var snapshots: [Moment]
    var events: [Event]
    /// Captures that ended before their file did, and why. Without the directories that they are in: a summary says the same
    /// wherever the scenario is.
    var errors: [String]

    init(_ result: ReplayResult) {
        seed = result.seed
        duration = ReplaySummary.seconds(result.duration)
        sites = result.sites.map { ReplaySummary.site($0) }
        links = result.links.map {
            Link(
                from: $0.from, to: $0.to, datagrams: $0.tally.datagrams, bytes: $0.tally.bytes, lost: $0.tally.lost,
                tooLong: $0.tally.tooLong, underWay: $0.tally.underWay,
                cut: $0.tally.cut > 0 ? $0.tally.cut : nil)
        }
        snapshots = result.snapshots.map { moment in
            Moment(
                at: ReplaySummary.seconds(moment.at),
                sites: moment.sites.map { Moment.Site(name: $0.site, multicast: Multicast($0)) })
        }
        // The cipher depends on the processor, and a summary must not.
        events = result.events.map {
            Event(at: ReplaySummary.seconds($0.at), site: $0.site, message: $0.event.withoutCipher.message)
        }
        errors = result.errors.map { error in
            let name = error.subject.split(separator: "/").last.map(String.init) ?? error.subject
            return error.description.replacing(error.subject, with: name)
        }
    }

    private static func site(_ site: ReplayResult.Site) -> Site {
        let status = StatusDocument(site.snapshot)
        let drops = DropsDocument(site.snapshot).drops.filter { $0.count > 0 }
        return Site(
            name: status.site, publicKey: status.publicKey, framesIn: status.framesIn, framesDelivered: status.framesOut,
            framesDropped: status.dropped, drops: Dictionary(uniqueKeysWithValues: drops.map { ($0.reason, $0.count) }),
            ports: zip(PortsDocument(site.snapshot).ports, site.ports).map { port, replayed in
                Port(
                    name: port.name, framesIn: port.framesIn, bytesIn: port.bytesIn, framesOut: port.framesOut,
                    bytesOut: port.bytesOut, framesCutInCapture: replayed.cutFrames)
            },
            peers: PeersDocument(site.snapshot).peers.map {
                Peer(
                    name: $0.name, state: $0.state, handshakes: $0.handshakes, framesIn: $0.framesIn, framesOut: $0.framesOut)
            },
            macs: MACsDocument(site.snapshot).macs, multicast: Multicast(site.snapshot),
            ways: site.snapshot.mesh?.authority == nil
                ? nil
                : PathsDocument(site.snapshot).ways.map { Way(to: $0.to, state: $0.state, hops: $0.hops) })
    }

    private static func seconds(_ interval: Interval) -> Double { Double(interval.nanoseconds / 1000) / 1_000_000 }

    /// One line for the terminal.
    func line(_ result: ReplayResult) -> String {
        let framesIn = sites.reduce(0) { $0 + $1.framesIn }
        let delivered = sites.reduce(0) { $0 + $1.framesDelivered }
        return
            "\(sites.count) sites, \(framesIn) frames in, \(delivered) delivered, \(result.duration) of virtual time, seed \(seed)"
    }

    /// `tables.txt`.
    func text(_ result: ReplayResult) -> String {
        var text = line(result) + "\n"
        for (summary, site) in zip(sites, result.sites) {
            text += "\n== site \(summary.name)\n\n"
            text += Tables.text(PortsDocument(site.snapshot)) + "\n"
            text += peersTable(summary.peers) + "\n"
            text += Tables.text(MACsDocument(site.snapshot)) + "\n"
            text += Tables.text(DropsDocument(site.snapshot)) + "\n"
            if summary.ways != nil { text += Tables.text(PathsDocument(site.snapshot)) + "\n" }
            text += multicastText(site.snapshot)
        }
        for moment in result.snapshots {
            for site in moment.sites { text += "\n== site \(site.site) at \(moment.at)\n\n" + multicastText(site) }
        }
        text += "\n== links\n\n" + linksTable
        if !events.isEmpty {
            text += "\n== events\n\n" + events.map { "\($0.at)s \($0.site): \($0.message)\n" }.joined()
        }
        if !errors.isEmpty { text += "\n== errors\n\n" + errors.map { $0 + "\n" }.joined() }
        return text
    }

    private func multicastText(_ snapshot: GatewaySnapshot) -> String {
        Tables.text(GroupsDocument(snapshot)) + "\n" + Tables.text(QueriersDocument(snapshot)) + "\n"
            + Tables.text(RoutersDocument(snapshot)) + "\n" + Tables.text(RulesDocument(snapshot))
    }

    private func peersTable(_ peers: [Peer]) -> String {
        let table = TextTable<Peer> {
            [
                Column(title: "peer", value: $0.name),
                Column(title: "state", value: $0.state),
                Column(title: "handshakes", value: $0.handshakes, align: .right),
                Column(title: "frames in", value: $0.framesIn, align: .right),
                Column(title: "frames out", value: $0.framesOut, align: .right),
            ]
        }
        return peers.isEmpty ? "no peers\n" : Tables.lines(table.string(for: peers))
    }

    private var linksTable: String {
        let table = TextTable<Link> {
            [
                Column(title: "from", value: $0.from),
                Column(title: "to", value: $0.to),
                Column(title: "datagrams", value: $0.datagrams, align: .right),
                Column(title: "bytes", value: $0.bytes, align: .right),
                Column(title: "lost", value: $0.lost, align: .right),
                Column(title: "too long", value: $0.tooLong, align: .right),
                Column(title: "under way", value: $0.underWay, align: .right),
            ]
        }
        return links.isEmpty ? "none\n" : Tables.lines(table.string(for: links))
    }
}
