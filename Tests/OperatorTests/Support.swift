// A gateway's state made by hand, every number different, so that a document that shows the wrong one is found out.

import Basics
import Buffers
import Switching
import Tunnels

@testable import Gateway

/// 32 octets of one value.
func key(_ octet: UInt8) -> PublicKey { PublicKey(bytes: Array(repeating: octet, count: 32))! }

let now = Instant.zero + .seconds(100_000)

/// Two ports, three peers, three MAC addresses; or none of each.
func makeSnapshot(
    isEmpty: Bool = false, listen: Endpoint? = Endpoint(ipv4: 0, port: 7117), lanes: GatewaySnapshot.Lanes? = nil
) -> GatewaySnapshot {
    var random = SeededRandom(seed: 1)
    let names = isEmpty ? [] : ["ams", "nyc", "tokyo"]
    let ports =
        isEmpty
        ? []
        : [
            GatewaySnapshot.Port(name: "lan0", kind: "packet", device: "eth1"),
            GatewaySnapshot.Port(name: "lan1", kind: "tap", device: "cw-tap"),
        ]
    let mailbox = LaneMailbox(
        ports: max(ports.count, 1), peers: names.count, secret: HashSecret(using: &random))
    let control = ControlCore(
        ControlConfiguration(
            identity: KeyPair.generate(using: &random),
            peers: names.enumerated().map { .init(name: $1, key: key(UInt8($0 + 1)), hasAddress: $0 < 2) }),
        mailbox: mailbox, random: random, wallClock: 0, at: .zero)
    let layout = mailbox.layout
    var counters = [UInt64](repeating: 0, count: layout.count)
    if !isEmpty {
        for (number, counter) in PortCounter.allCases.enumerated() {
            counters[layout.index(PortIndex(0), counter)] = UInt64(11 + number)
            counters[layout.index(PortIndex(1), counter)] = UInt64(1_000_021 + number)
        }
        counters[layout.index(PortIndex(0), .isUp)] = 1
        counters[layout.index(PortIndex(1), .isUp)] = 0
        for peer in 0..<3 {
            for (number, counter) in PeerCounter.allCases.enumerated() {
                counters[layout.index(PeerIndex(peer), counter)] = UInt64((peer + 1) * 100 + number)
            }
        }
        // More than those of two classes together; and a peer that no queue has dropped a frame of, and nothing was denied to.
        counters[layout.index(PeerIndex(0), .framesOut)] = 1_000_215
        for counter in [PeerCounter.feedDropped, .normalDropped, .bulkDropped, .deniedOut, .deniedIn] {
            counters[layout.index(PeerIndex(2), counter)] = 0
        }
        counters[layout.index(.runt)] = 3
        counters[layout.index(.sameSegment)] = 1_234_567
        counters[layout.index(.peerDown)] = 40
        counters[layout.index(LaneGauge.macs)] = 3
        counters[layout.index(LaneGauge.macMoves)] = 5
        counters[layout.index(LaneGauge.macEvictions)] = 7
    }
    let macs =
        isEmpty
        ? nil
        : [
            MACEntry(
                address: MACAddress(rawValue: 0x0200_0000_0001), vlan: .untagged, location: Location(PortIndex(1)), seen: now),
            MACEntry(
                address: MACAddress(rawValue: 0x0200_0000_0002), vlan: VLAN(identifier: 10, isService: false),
                location: Location(PeerIndex(1)), seen: now - .milliseconds(5_250)),
            MACEntry(
                address: MACAddress(rawValue: 0x02AB_CDEF_0003), vlan: VLAN(identifier: 4_094, isService: true),
                location: Location(PortIndex(0)), seen: now - .seconds(200)),
        ]
    var snapshot = GatewaySnapshot(
        site: "london", listen: listen, started: now - .seconds(90_061), taken: now, ports: ports, control: control,
        backends: CipherBackends(aes256gcm: 300, chacha20poly1305: CipherBackends.never), layout: layout, counters: counters,
        macs: macs, withGroups: true)
    snapshot.publicKey = key(9)
    if !isEmpty {
        for (number, refusal) in HandshakeRefusal.allCases.enumerated() {
            for _ in 0...number { snapshot.handshakes.count(refusal) }
        }
        snapshot.handshakes.cookiesSent = 81
        snapshot.handshakes.cookiesTaken = 82
        snapshot.handshakes.judged = 83
        snapshot.handshakes.neverConfirmed = 84
        snapshot.handshakes.rivals = 85
        snapshot.handshakes.sourceEvictions = 86
        snapshot.handshakes.notInstalled = 87
    }
    snapshot.lanes = lanes
    if !isEmpty {
        snapshot.untoldSightings = 2_048
        snapshot.peers[0].rate = 200_000_000
        snapshot.peers[1].rate = 64_500
        snapshot.peers[0].state = .up
        snapshot.peers[0].endpoint = Endpoint(ipv4: 0xC000_0201, port: 7117)
        snapshot.peers[0].cipher = .aes256gcm
        snapshot.peers[0].isHybrid = true
        snapshot.peers[0].lastHeard = now - .milliseconds(340)
        snapshot.peers[0].keysSince = now - .seconds(61)
        snapshot.peers[0].handshakes = 751
        snapshot.peers[0].control.segmentsOut = 511
        snapshot.peers[0].control.retransmissions = 512
        snapshot.peers[0].control.segmentsIn = 513
        snapshot.peers[0].control.duplicates = 514
        snapshot.peers[0].control.malformed = 515
        snapshot.peers[0].control.unknown = 516
        snapshot.peers[0].control.refused = 517
        snapshot.peers[0].control.overruns = 518
        snapshot.peers[0].control.resyncs = 519
        snapshot.peers[0].controlRoundTrip = .microseconds(7_310) + .nanoseconds(999)
        snapshot.peers[0].path.roundTrip = .microseconds(1_701)
        snapshot.peers[0].path.jitter = .microseconds(702)
        snapshot.peers[0].path.probesSent = 703
        snapshot.peers[0].path.probesAnswered = 704
        snapshot.peers[0].path.lossMillionths = 12_345
        snapshot.peers[0].path.size = 1_492
        snapshot.peers[0].path.search = .complete
        snapshot.peers[0].path.blackHoles = 706
        snapshot.peers[0].path.percentiles = PathSnapshot.Percentiles(
            p50: .microseconds(1_707), p99: .microseconds(1_708), maximum: .microseconds(1_709))
        snapshot.peers[1].endpoint = Endpoint(high: 0x2001_0DB8_0000_0000, low: 1, port: 7118)
        snapshot.peers[1].lastHeard = now - .seconds(3_725)
        snapshot.peers[1].handshakes = 2
    }
    return snapshot
}

/// Two lanes that sleep. Port 0 has everything in lane 0 and no UDP in lane 1; port 1 has nothing.
func makeLanes(bypassesQueue: Bool = true) -> GatewaySnapshot.Lanes {
    var first = LaneOffloads()
    first.segmentsDatagrams = true
    first.joinsDatagrams = true
    first[PortIndex(0)] = LaneOffloads.Port(receivesMetadata: true, sendsTCP: true, sendsUDP: true)
    var second = first
    second.segmentsDatagrams = false
    second[PortIndex(0)].sendsUDP = false
    return GatewaySnapshot.Lanes(wait: "sleep", bypassesQueue: bypassesQueue, offloads: [first, second])
}
