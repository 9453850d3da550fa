// The same documents as text for people.

import Foundation
import TextTable
import Tunnels

public enum Tables {
    /// The text for a topic's JSON, as a running gateway sent it.
    public static func text(_ topic: ShowTopic, json: Data) throws -> String {
        switch topic {
        case .status: text(try JSON.decode(StatusDocument.self, from: json))
        case .peers: text(try JSON.decode(PeersDocument.self, from: json))
        case .ports: text(try JSON.decode(PortsDocument.self, from: json))
        case .macs: text(try JSON.decode(MACsDocument.self, from: json))
        case .drops: text(try JSON.decode(DropsDocument.self, from: json))
        case .groups: text(try JSON.decode(GroupsDocument.self, from: json))
        case .queriers: text(try JSON.decode(QueriersDocument.self, from: json))
        case .routers: text(try JSON.decode(RoutersDocument.self, from: json))
        case .rules: text(try JSON.decode(RulesDocument.self, from: json))
        case .streams: text(try JSON.decode(StreamsDocument.self, from: json))
        case .mesh: text(try JSON.decode(MeshDocument.self, from: json))
        case .paths: text(try JSON.decode(PathsDocument.self, from: json))
        case .passes: text(try JSON.decode(PassesDocument.self, from: json))
        }
    }

    public static func text(_ status: StatusDocument) -> String {
        var lines = [
            "site        \(status.site)",
            "public key  \(status.publicKey)",
        ]
        if let listen = status.listen { lines.append("listen      \(listen)") }
        lines += [
            "uptime      \(age(status.uptime))",
            "peers       \(status.peersUp) of \(status.peersConfigured) up",
            "ports       \(status.portsUp) of \(status.portsConfigured) up",
            "MAC table   \(status.macEntries) entries",
            "frames      \(status.framesIn) in, \(status.framesOut) out, \(status.dropped) dropped (all reasons)",
        ]
        for backend in status.backends {
            let words = CipherBackends.words(from: backend.libcryptoFrom ?? CipherBackends.never)
            lines.append("sealing     \(backend.cipher): \(words)")
        }
        for lane in status.lanes ?? [] {
            lines.append(
                "lane \(lane.number)      \(lane.wait)s when idle; the kernel cuts datagrams: \(yes(lane.udpSegmentation)), "
                    + "joins them: \(yes(lane.udpCoalescing))")
        }
        if let confinement = status.confinement { lines.append("privileges  \(words(confinement))") }
        if let handshakes = status.handshakes { lines += text(handshakes) }
        return lines.joined(separator: "\n") + "\n"
    }

    /// `user causeway, no capabilities; files restricted by Landlock 7, system calls by seccomp`
    private static func words(_ confinement: StatusDocument.Confinement) -> String {
        let names = confinement.capabilities
        let capabilities = names.isEmpty ? "no capabilities" : "capabilities \(names.joined(separator: ", "))"
        let files = confinement.landlock.map { "files restricted by Landlock \($0)" } ?? "files not restricted"
        let calls = confinement.seccomp ? "system calls by seccomp" : "system calls not restricted"
        return "user \(confinement.user), \(capabilities); \(files), \(calls)"
    }

    /// The causes that have counted something.
    private static func text(_ handshakes: StatusDocument.Handshakes) -> [String] {
        let causes = handshakes.refused.filter { $0.count > 0 }.map { "\($0.count) \($0.cause)" }
        let refused = causes.isEmpty ? "none" : causes.joined(separator: ", ")
        var lines = ["handshakes  \(handshakes.agreed) agreed, refused: \(refused)"]
        if handshakes.cookiesSent + handshakes.cookiesTaken > 0 {
            lines.append("cookies     \(handshakes.cookiesSent) sent, \(handshakes.cookiesTaken) taken")
        }
        if handshakes.neverConfirmed > 0 {
            lines.append("            \(handshakes.neverConfirmed) times a peer confirmed none of its sessions")
        }
        if handshakes.rivals > 0 { lines.append("            \(handshakes.rivals) times a key was in two places in turn") }
        if handshakes.notInstalled > 0 {
            lines.append("            \(handshakes.notInstalled) times there was no memory for a session's keys")
        }
        return lines
    }

    private static func yes(_ isSo: Bool) -> String { isSo ? "yes" : "no" }

    /// `metadata, tcp, udp, bypass`: those that are in force.
    private static func words(_ offloads: PortsDocument.Offloads) -> String {
        let names = [
            (offloads.receiveMetadata, "metadata"), (offloads.superFramesTcp, "tcp"), (offloads.superFramesUdp, "udp"),
            (offloads.bypassQueue, "bypass"),
        ].filter(\.0).map(\.1)
        return names.isEmpty ? "none" : names.joined(separator: ", ")
    }

    public static func text(_ document: PeersDocument) -> String {
        if document.peers.isEmpty { return "no peers are configured\n" }
        let isDenying = document.peers.contains { denied($0) != "-" }
        let table = TextTable<PeersDocument.Peer> {
            [
                Column(title: "peer", value: $0.name),
                Column(title: "state", value: $0.state),
                Column(title: "endpoint", value: $0.endpoint ?? "-"),
                Column(title: "cipher", value: $0.cipher ?? "-"),
                Column(title: "keys", value: $0.keyExchange ?? "-"),
                Column(title: "heard", value: $0.lastHeardAge.map { age($0) + " ago" } ?? "never", align: .right),
                Column(title: "frames in", value: $0.framesIn, align: .right),
                Column(title: "frames out", value: $0.framesOut, align: .right),
                Column(title: "datagrams in", value: $0.datagramsIn, align: .right),
                Column(title: "datagrams out", value: $0.datagramsOut, align: .right),
                Column(title: "lost", value: $0.datagramsLost, align: .right),
                Column(title: "rate", value: $0.rate.map(rate) ?? "-", align: .right),
                Column(title: "queue drops", value: queueDrops($0)),
            ] + (isDenying ? [Column(title: "denied", value: denied($0))] : [])
        }
        return lines(table.string(for: document.peers)) + pathsTable(document.peers)
    }

    /// `3 out, 1 in`: frames that rights kept from passing; `-` where there are none.
    static func denied(_ peer: PeersDocument.Peer) -> String {
        let counts = [(peer.deniedOut, "out"), (peer.deniedIn, "in")].compactMap { count, way in
            count.flatMap { $0 > 0 ? "\($0) \(way)" : nil }
        }
        return counts.isEmpty ? "-" : counts.joined(separator: ", ")
    }

    /// The paths to the peers, where the gateway tells of any.
    private static func pathsTable(_ peers: [PeersDocument.Peer]) -> String {
        let paths = peers.compactMap { peer in peer.path.map { (name: peer.name, path: $0) } }
        if paths.isEmpty { return "" }
        let table = TextTable<(name: String, path: PeersDocument.Path)> {
            [
                Column(title: "path to", value: $0.name),
                Column(title: "mtu", value: $0.path.mtu, align: .right),
                Column(title: "search", value: $0.path.mtuSearch),
                Column(
                    title: "rtt p50", value: milliseconds($0.path.roundTripMedianMicroseconds ?? $0.path.roundTripMicroseconds),
                    align: .right),
                Column(title: "rtt p99", value: milliseconds($0.path.roundTripHighMicroseconds), align: .right),
                Column(title: "jitter", value: milliseconds($0.path.jitterMicroseconds), align: .right),
                Column(
                    title: "loss", value: $0.path.lossMillionths.map { String(format: "%.1f%%", Double($0) / 10_000) } ?? "-",
                    align: .right),
                Column(title: "probes", value: $0.path.probesSent, align: .right),
                Column(title: "answered", value: $0.path.probesAnswered, align: .right),
                Column(title: "black holes", value: $0.path.blackHoles, align: .right),
            ]
        }
        return "\n" + lines(table.string(for: paths))
    }

    /// `1.234ms`, or `-`.
    private static func milliseconds(_ microseconds: Int64?) -> String {
        microseconds.map { String(format: "%.3fms", Double($0) / 1_000) } ?? "-"
    }

    /// `200Mbit`: as the configuration takes it, in the largest unit that gives a whole number.
    private static func rate(_ bits: UInt64) -> String {
        for (unit, size) in [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000)] as [(String, UInt64)]
        where bits >= size && bits % size == 0 {
            return "\(bits / size)\(unit)"
        }
        return "\(bits)bit"
    }

    /// `feed 3, bulk 120`: frames that a full queue dropped, by class.
    private static func queueDrops(_ peer: PeersDocument.Peer) -> String {
        guard let classes = peer.classes else { return "?" }
        let parts = classes.filter { $0.dropped > 0 }.map { "\($0.name) \($0.dropped)" }
        return parts.isEmpty ? "-" : parts.joined(separator: ", ")
    }

    public static func text(_ document: PortsDocument) -> String {
        if document.ports.isEmpty { return "no ports are configured\n" }
        let showsOffloads = document.ports.contains { $0.offloads != nil }
        let table = TextTable<PortsDocument.Port> { port in
            let offloads = showsOffloads ? [Column(title: "offloads", value: port.offloads.map { words($0) } ?? "?")] : []
            return [
                Column(title: "port", value: port.name),
                Column(title: "kind", value: port.kind),
                Column(title: "device", value: port.device),
                Column(title: "state", value: port.state),
                Column(title: "frames in", value: port.framesIn, align: .right),
                Column(title: "bytes in", value: port.bytesIn, align: .right),
                Column(title: "frames out", value: port.framesOut, align: .right),
                Column(title: "bytes out", value: port.bytesOut, align: .right),
                Column(title: "kernel drops", value: port.captureDrops, align: .right),
            ] + offloads
        }
        return lines(table.string(for: document.ports))
    }

    public static func text(_ document: MACsDocument) -> String {
        let untold = document.untold ?? 0
        let counts =
            "\(document.entries) entries, \(document.moves) moves, \(document.evictions) evictions"
            + (untold > 0 ? ", \(untold) sightings that a lane was not told of\n" : "\n")
        if document.macs.isEmpty { return counts }
        let table = TextTable<MACsDocument.Entry> {
            [
                Column(title: "vlan", value: $0.vlan),
                Column(title: "mac", value: $0.mac),
                Column(title: "behind", value: $0.port.map { "port \($0)" } ?? "peer \($0.peer ?? "?")"),
                Column(title: "seen", value: age($0.age) + " ago", align: .right),
            ]
        }
        return lines(table.string(for: document.macs)) + counts
    }

    /// Only the reasons that have counted something.
    public static func text(_ document: DropsDocument) -> String {
        let drops = document.drops.filter { $0.count > 0 }
        if drops.isEmpty { return "nothing was dropped\n" }
        let table = TextTable<DropsDocument.Drop> {
            [
                Column(title: "reason", value: $0.reason),
                Column(title: "count", value: $0.count, align: .right),
                Column(title: "unit", value: $0.unit),
                Column(title: "explanation", value: $0.explanation),
            ]
        }
        return lines(table.string(for: drops))
    }

    /// `5.2s`, `3m20s`, `2h5m`, `4d3h`.
    static func age(_ seconds: Double) -> String {
        guard seconds < 1e15 else { return "?" }
        // 59.96 would print as 60.0.
        if seconds < 59.95 { return String(format: "%.1fs", seconds) }
        let whole = Int(seconds.rounded())
        if whole < 3600 { return "\(whole / 60)m\(whole % 60)s" }
        if whole < 86400 { return "\(whole / 3600)h\(whole % 3600 / 60)m" }
        return "\(whole / 86400)d\(whole % 86400 / 3600)h"
    }

    /// Every line ends, and none ends in spaces.
    public static func lines(_ text: String?) -> String {
        (text ?? "").split(separator: "\n").map { line in
            String(line.reversed().drop { $0 == " " }.reversed()) + "\n"
        }.joined()
    }
}
