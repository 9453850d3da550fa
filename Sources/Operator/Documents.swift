// What an operator is shown, as documents: the JSON of `causeway show --json` and of a replay's summary. Field names are
// stable; new ones may be added. Times are seconds, sizes are octets, absent values are left out.

import Basics
import Foundation
import Gateway
import Tunnels

/// The questions that `causeway show` asks.
public enum ShowTopic: String, CaseIterable, Sendable, Codable {
    case status, peers, ports, macs, drops, groups, queriers, routers, rules, streams, mesh, paths, passes

    /// Whether the answer is about the mesh, which costs as much as that is large.
    public var isOfMesh: Bool { self == .mesh || self == .paths || self == .passes }
}

public struct StatusDocument: Codable, Sendable, Equatable {
    public struct Backend: Codable, Sendable, Equatable {
        public var cipher: String
        /// libcrypto seals and opens datagrams of so many octets and more, libsodium shorter ones; absent: libsodium all.
        public var libcryptoFrom: Int?
    }

    public struct Lane: Codable, Sendable, Equatable {
        public var number: Int
        /// What it does while nothing comes: `sleep` or `poll`.
        public var wait: String
        /// Whether the kernel cuts what goes to peers into datagrams, and joins theirs.
        public var udpSegmentation: Bool
        public var udpCoalescing: Bool
    }

    public struct Confinement: Codable, Sendable, Equatable {
        /// A name, or a number.
        public var user: String
        /// Those that are left, such as `net_bind_service`.
        public var capabilities: [String]
        public var noNewPrivileges: Bool
        /// The version of the kernel's interface; absent: files are not restricted.
        public var landlock: Int?
        /// Whether system calls are restricted.
        public var seccomp: Bool
    }

    /// Handshakes, since the start.
    public struct Handshakes: Codable, Sendable, Equatable {
        /// Sessions that both sides hold.
        public var agreed: UInt64
        /// Initiations that got public-key work.
        public var judged: UInt64
        public var cookiesSent: UInt64
        public var cookiesTaken: UInt64
        /// Peers that began sessions and confirmed none.
        public var neverConfirmed: UInt64
        /// Times that a peer's key was seen in two places in turn.
        public var rivals: UInt64
        /// Times that a lane had no memory for a session's keys.
        public var notInstalled: UInt64
        /// Sources forgotten before their time, since there were too many.
        public var sourceEvictions: UInt64
        /// By cause, every cause there is; together they are `handshake-refused` of the drops.
        public var refused: [Refusal]

        init(_ snapshot: GatewaySnapshot) {
            let counters = snapshot.handshakes
            agreed = snapshot.peers.reduce(0) { $0 + $1.handshakes }
            judged = counters.judged
            cookiesSent = counters.cookiesSent
            cookiesTaken = counters.cookiesTaken
            neverConfirmed = counters.neverConfirmed
            rivals = counters.rivals
            notInstalled = counters.notInstalled
            sourceEvictions = counters.sourceEvictions
            refused = HandshakeRefusal.allCases.map { Refusal(cause: $0.name, count: counters[$0]) }
        }
    }

    public struct Refusal: Codable, Sendable, Equatable {
        public var cause: String
        public var count: UInt64
    }

    public var site: String
    public var publicKey: String
    public var listen: String?
    public var uptime: Double
    public var peersUp: Int
    public var peersConfigured: Int
    public var portsUp: Int
    public var portsConfigured: Int
    public var macEntries: UInt64
    public var framesIn: UInt64
    public var framesOut: UInt64
    public var dropped: UInt64
    /// Every cipher, in the order of preference.
    public var backends: [Backend]
    /// Absent in a replay, and where a gateway is older than this list.
    public var lanes: [Lane]?
    /// What the gateway has given up. Absent in a replay, and where a gateway is older than this object.
    public var confinement: Confinement?
    /// Absent where a gateway is older than this object.
    public var handshakes: Handshakes?

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        publicKey = snapshot.publicKey.base64
        listen = snapshot.listen?.description
        uptime = seconds(snapshot.taken - snapshot.started)
        peersUp = snapshot.peers.count { $0.state == .up || $0.state == .suspect }
        peersConfigured = snapshot.peers.count { $0.key != nil }
        let ports = snapshot.ports.indices.map { PortIndex($0) }
        portsUp = ports.count { snapshot[$0, .isUp] > 0 }
        portsConfigured = ports.count
        macEntries = snapshot[LaneGauge.macs]
        framesIn = ports.reduce(0) { $0 + snapshot[$1, .framesIn] }
        framesOut = ports.reduce(0) { $0 + snapshot[$1, .framesOut] }
        dropped = DropReason.allCases.reduce(0) { $0 + snapshot[$1] }
        backends = Cipher.allCases.map {
            let length = snapshot.backends[$0]
            return Backend(cipher: $0.name, libcryptoFrom: length == CipherBackends.never ? nil : length)
        }
        handshakes = Handshakes(snapshot)
        lanes = snapshot.lanes.map { lanes in
            lanes.offloads.enumerated().map {
                Lane(
                    number: $0, wait: lanes.wait, udpSegmentation: $1.segmentsDatagrams, udpCoalescing: $1.joinsDatagrams)
            }
        }
        confinement = snapshot.confinement.map {
            Confinement(
                user: $0.user, capabilities: $0.capabilities, noNewPrivileges: $0.noNewPrivileges, landlock: $0.landlock,
                seccomp: $0.seccomp)
        }
    }
}

public struct PeersDocument: Codable, Sendable, Equatable {
    public struct Peer: Codable, Sendable, Equatable {
        public var name: String
        public var key: String
        /// `up`; `suspect`: up, and silent for longer than it should be; `connecting`: we dial it; `waiting`: it has to dial us.
        public var state: String
        public var endpoint: String?
        public var cipher: String?
        /// `X25519`, or `X25519 + ML-KEM-768`; absent without a session, and where a gateway is older than this.
        public var keyExchange: String?
        public var lastHeardAge: Double?
        public var keysAge: Double?
        public var handshakes: UInt64
        public var datagramsIn: UInt64
        public var bytesIn: UInt64
        public var datagramsOut: UInt64
        public var bytesOut: UInt64
        /// Sealed by the peer, and not arrived.
        public var datagramsLost: UInt64
        public var framesIn: UInt64
        public var framesOut: UInt64
        /// Absent where a gateway is older than this object.
        public var control: Control?
        /// Likewise.
        public var path: Path?
        /// By class; absent where a gateway is older than this list.
        public var classes: [Class]?
        /// Octets of frames that wait for the peer's rate; absent where a gateway is older than this.
        public var waitingBytes: UInt64?
        /// What is sent to it at most, in bits a second; absent where there is no limit.
        public var rate: UInt64?
        /// Frames that the rights of the two sites kept from going there, and that came and were dropped for that; absent where a
        /// gateway is older than these.
        public var deniedOut: UInt64?
        public var deniedIn: UInt64?
    }

    /// The frames of one traffic class.
    public struct Class: Codable, Sendable, Equatable {
        /// `feed`, `normal` or `bulk`.
        public var name: String
        public var framesOut: UInt64
        /// Those that found the queue of their class full.
        public var dropped: UInt64
    }

    /// The control channel of the pair. Segments, since the start.
    public struct Control: Codable, Sendable, Equatable {
        public var segmentsIn: UInt64
        public var segmentsOut: UInt64
        public var retransmissions: UInt64
        public var duplicates: UInt64
        public var refused: UInt64
        public var overruns: UInt64
        public var malformed: UInt64
        public var unknown: UInt64
        /// Times that the peer has lost our stream.
        public var resyncs: UInt64
        /// Smoothed; absent before the first measurement.
        public var roundTripMicroseconds: Int64?

        init(_ peer: PeerSnapshot) {
            let counters = peer.control
            segmentsIn = counters.segmentsIn
            segmentsOut = counters.segmentsOut
            retransmissions = counters.retransmissions
            duplicates = counters.duplicates
            refused = counters.refused
            overruns = counters.overruns
            malformed = counters.malformed
            unknown = counters.unknown
            resyncs = counters.resyncs
            roundTripMicroseconds = peer.controlRoundTrip.map { $0.nanoseconds / 1_000 }
        }
    }

    public var site: String
    public var peers: [Peer]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        peers = snapshot.peers.enumerated().compactMap { number, peer in
            guard let key = peer.key else { return nil }
            let index = PeerIndex(number)
            return Peer(
                name: peer.name, key: key.base64, state: peer.state.rawValue, endpoint: peer.endpoint?.description,
                cipher: peer.cipher?.name, keyExchange: peer.isHybrid.map { NoiseHandshake.agreement(isHybrid: $0) },
                lastHeardAge: peer.lastHeard.map { seconds(snapshot.taken - $0) },
                keysAge: peer.keysSince.map { seconds(snapshot.taken - $0) }, handshakes: peer.handshakes,
                datagramsIn: snapshot[index, .datagramsIn], bytesIn: snapshot[index, .bytesIn],
                datagramsOut: snapshot[index, .datagramsOut], bytesOut: snapshot[index, .bytesOut],
                datagramsLost: snapshot[index, .datagramsLost], framesIn: snapshot[index, .framesIn],
                framesOut: snapshot[index, .framesOut],
                control: Control(peer), path: Path(peer.path),
                classes: PeersDocument.classes(of: index, snapshot), waitingBytes: snapshot[index, .waiting],
                rate: peer.rate, deniedOut: snapshot[index, .deniedOut], deniedIn: snapshot[index, .deniedIn])
        }
    }
}

extension PeersDocument {
    static func classes(of peer: PeerIndex, _ snapshot: GatewaySnapshot) -> [Class] {
        // Lanes publish one counter after the other: the parts may be ahead of their sum.
        let (feed, bulk) = (snapshot[peer, .feedOut], snapshot[peer, .bulkOut])
        let normal = snapshot[peer, .framesOut] - min(feed + bulk, snapshot[peer, .framesOut])
        return [
            Class(name: TrafficClass.feed.name, framesOut: feed, dropped: snapshot[peer, .feedDropped]),
            Class(name: TrafficClass.normal.name, framesOut: normal, dropped: snapshot[peer, .normalDropped]),
            Class(name: TrafficClass.bulk.name, framesOut: bulk, dropped: snapshot[peer, .bulkDropped]),
        ]
    }
}

public struct PortsDocument: Codable, Sendable, Equatable {
    public struct Port: Codable, Sendable, Equatable {
        public var name: String
        public var kind: String
        public var device: String
        /// `up` or `down`.
        public var state: String
        public var framesIn: UInt64
        public var bytesIn: UInt64
        public var framesOut: UInt64
        public var bytesOut: UInt64
        public var captureDrops: UInt64
        /// Absent in a replay, and where a gateway is older than this object.
        public var offloads: Offloads?
    }

    /// What is in force at a port, in every lane.
    public struct Offloads: Codable, Sendable, Equatable {
        /// Frames come with what local senders left undone: checksums, super-frames.
        public var receiveMetadata: Bool
        /// Super-frames leave for the LAN.
        public var superFramesTcp: Bool
        public var superFramesUdp: Bool
        /// Frames for the LAN pass by the device's queueing discipline.
        public var bypassQueue: Bool
    }

    public var site: String
    public var ports: [Port]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        ports = snapshot.ports.enumerated().map { number, port in
            let index = PortIndex(number)
            return Port(
                name: port.name, kind: port.kind, device: port.device, state: snapshot[index, .isUp] > 0 ? "up" : "down",
                framesIn: snapshot[index, .framesIn], bytesIn: snapshot[index, .bytesIn],
                framesOut: snapshot[index, .framesOut], bytesOut: snapshot[index, .bytesOut],
                captureDrops: snapshot[index, .captureDrops], offloads: PortsDocument.offloads(of: index, port, snapshot.lanes))
        }
    }

    private static func offloads(
        of index: PortIndex, _ port: GatewaySnapshot.Port, _ lanes: GatewaySnapshot.Lanes?
    ) -> Offloads? {
        guard let lanes, let first = lanes.offloads.first else { return nil }
        let inForce = lanes.offloads.reduce(first) { $0.intersection($1) }[index]
        return Offloads(
            receiveMetadata: inForce.receivesMetadata, superFramesTcp: inForce.sendsTCP, superFramesUdp: inForce.sendsUDP,
            bypassQueue: lanes.bypassesQueue && port.kind == "packet")
    }
}

public struct MACsDocument: Codable, Sendable, Equatable {
    public struct Entry: Codable, Sendable, Equatable {
        /// `-` for untagged, `10` for 802.1Q, `s10` for 802.1ad.
        public var vlan: String
        public var mac: String
        /// The port it is behind, where it is one of ours; else `peer` is there.
        public var port: String?
        public var peer: String?
        public var age: Double
    }

    public var site: String
    public var entries: UInt64
    /// Since the start.
    public var moves: UInt64
    public var evictions: UInt64
    /// Hosts that one lane saw and another was never told of; absent where a gateway is older than this.
    public var untold: UInt64?
    public var macs: [Entry]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        entries = snapshot[LaneGauge.macs]
        moves = snapshot[LaneGauge.macMoves]
        evictions = snapshot[LaneGauge.macEvictions]
        untold = snapshot.untoldSightings
        macs = (snapshot.macs ?? []).map { row in
            let name = snapshot.name(of: row.location)
            let isPort = row.location.port != nil
            return Entry(
                vlan: row.vlan.description, mac: row.address.description, port: isPort ? name : nil,
                peer: isPort ? nil : name, age: seconds(snapshot.taken - row.seen))
        }
    }
}

public struct DropsDocument: Codable, Sendable, Equatable {
    public struct Drop: Codable, Sendable, Equatable {
        public var reason: String
        public var count: UInt64
        /// `frames`, `copies` (a frame that goes to several places is a copy for each) or `datagrams`.
        public var unit: String
        public var explanation: String
    }

    public var site: String
    public var total: UInt64
    /// Every reason there is, also those with 0.
    public var drops: [Drop]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        drops = DropReason.allCases.map {
            Drop(reason: $0.name, count: snapshot[$0], unit: $0.unit, explanation: $0.explanation)
        }
        total = drops.reduce(0) { $0 + $1.count }
    }
}

/// An interval as JSON has it: seconds, to the millisecond.
func seconds(_ interval: Interval) -> Double {
    Double(interval.nanoseconds / 1_000_000) / 1000
}

/// The one way that documents become JSON: sorted keys in snake case, so that the same document gives the same octets.
public enum JSON {
    public static func encode(_ document: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return try encoder.encode(document)
    }

    public static func decode<Document: Decodable>(_ type: Document.Type, from data: Data) throws -> Document {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(type, from: data)
    }

    /// The document that answers a topic, encoded.
    public static func answer(_ topic: ShowTopic, _ snapshot: GatewaySnapshot) throws -> Data {
        switch topic {
        case .status: try encode(StatusDocument(snapshot))
        case .peers: try encode(PeersDocument(snapshot))
        case .ports: try encode(PortsDocument(snapshot))
        case .macs: try encode(MACsDocument(snapshot))
        case .drops: try encode(DropsDocument(snapshot))
        case .groups: try encode(GroupsDocument(snapshot))
        case .queriers: try encode(QueriersDocument(snapshot))
        case .routers: try encode(RoutersDocument(snapshot))
        case .rules: try encode(RulesDocument(snapshot))
        case .streams: try encode(StreamsDocument(snapshot))
        case .mesh: try encode(MeshDocument(snapshot))
        case .paths: try encode(PathsDocument(snapshot))
        case .passes: try encode(PassesDocument(snapshot))
        }
    }
}
