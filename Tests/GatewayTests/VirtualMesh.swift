// The harness of these tests: gateways on one virtual clock, joined by a wire that delays, loses, doubles, reorders and
// corrupts, all from one seed. It drives `GatewayCore` as a live gateway would (hand in, settle, take, drain) and keeps
// everything that was sent, delivered and said, for tests to look at.
//
//     send(frame) --> site 0 (GatewayCore) == WireCharacter per direction == site 1 (GatewayCore) --> delivered[port]

import Basics
import Buffers
import Gateway
import Mesh
import Settings
import Testing
import Tunnels

/// What one direction of the wire does to datagrams.
struct WireCharacter {
    var delay = Interval.milliseconds(1)
    /// Added to the delay, evenly distributed: with more than the distance of two datagrams, they overtake each other.
    var jitter = Interval.zero
    var lossMillionths: UInt32 = 0
    var duplicateMillionths: UInt32 = 0
    var corruptMillionths: UInt32 = 0
    /// Octets of UDP payload that fit; longer datagrams vanish and are counted.
    var limit = 65_507
    var isCut = false
    /// What becomes of the traffic class octet of the datagrams' IP headers.
    var remark: (UInt8) -> UInt8 = { $0 }
}

/// How one site is made.
struct SiteSetup {
    var ports = 1
    var pathMTU = 1_500
    var macLimit = 1_024
    var macAgeing = Interval.seconds(300)
    var keepalive = Interval.seconds(1)
    var paths = PathConfiguration()
    var ciphers = CipherSet([.chacha20poly1305])
    var backends = CipherBackends.sodium
    /// Off, so that the same seed gives the same octets: encapsulation draws from no seed.
    var postQuantum = PostQuantumChoice.off
    var handshakeLoad = 200
    var presharedKey: [UInt8]?
    var rekeyTime = Interval.seconds(120)
    var rekeyDatagrams: UInt64 = 1 << 32
    /// Whether peers' addresses are configured.
    var dials = true
    /// The sites it is configured with; `nil`: all others.
    var peers: [Int]?
    /// Public keys configured for peers instead of their own, by site.
    var wrongKeys: [Int: PublicKey] = [:]
    /// Whether its IPv6 address is used instead of its IPv4 one.
    var isIPv6 = false
    /// What it does with multicast; by default it does not snoop, so that tests of other things see frames only of theirs.
    var multicast: MulticastSettings = {
        var settings = MulticastSettings()
        settings.snooping = false
        return settings
    }()
    /// Of each port; defaults where there are fewer.
    var portMulticast: [PortMulticast] = []
    var forwardMask: UInt16 = 0
    var classes = ClassSettings()
    /// Bits a second to other sites.
    var rates: [Int: UInt64] = [:]
    /// Places for peers that are named later.
    var places = 0
    /// Of a member with a pass; `peers` are then none, unless they are given.
    var mesh: MeshSetup?
    /// Of each further copy that leaves it, against a relay's delay.
    var copyCost = Interval.zero

    /// The same with snooping, as `change` leaves it.
    static func snooping(ports: Int = 1, _ change: (inout MulticastSettings) -> Void = { _ in }) -> SiteSetup {
        var setup = SiteSetup(ports: ports)
        setup.multicast = MulticastSettings()
        change(&setup.multicast)
        return setup
    }

    fileprivate var tuning: SiteTuning {
        var tuning = SiteTuning()
        tuning.macLimit = macLimit
        tuning.macAgeing = macAgeing
        tuning.pathMTU = pathMTU
        tuning.keepalive = keepalive
        tuning.livenessSuspect = paths.suspect
        tuning.livenessDown = paths.down
        tuning.pathRecheck = paths.recheck
        tuning.resolveInterval = paths.resolveInterval
        tuning.rekeyTime = rekeyTime
        tuning.rekeyDatagrams = rekeyDatagrams
        tuning.multicast = multicast
        tuning.forwardMask = forwardMask
        tuning.classes = classes
        tuning.postQuantum = postQuantum
        tuning.handshakeLoad = handshakeLoad
        return tuning
    }

    fileprivate var allPorts: [PortMulticast] {
        (0..<ports).map { $0 < portMulticast.count ? portMulticast[$0] : PortMulticast() }
    }
}

/// How a member of the mesh with passes is made.
struct MeshSetup {
    /// Sites whose addresses it knows.
    var seeds: [Int]
    var mayRelay = false
    var send = GroupRules.any
    var receive = GroupRules.any
    var vlans = VLANRules.any
    var validUntil = UnixTime(seconds: 4_000_000_000)
    /// The seed of the authority's key.
    var authority: UInt64 = 1
    /// Places for other sites.
    var places = 16
    /// Members that it calls itself.
    var links = Limits.peers
    /// What an earlier run has left.
    var snapshots: [[UInt8]] = []

    func pass(of site: Int, _ key: PublicKey) -> (AuthorityKey, [UInt8]) {
        var random = SeededRandom(seed: authority)
        let authority = Authority.generate(using: &random)
        let pass = Pass(
            serial: UInt64(site + 1), site: "site\(site)", key: key, validFrom: UnixTime(seconds: 0), validUntil: validUntil,
            send: send, receive: receive, vlans: vlans, mayRelay: mayRelay)
        return (authority.key, authority.sign(pass).bytes)
    }
}

/// A mailbox whose table has a fixed secret.
func testMailbox(ports: Int, peers: Int) -> LaneMailbox {
    var random = SeededRandom(seed: 7)
    return LaneMailbox(ports: ports, peers: peers, secret: HashSecret(using: &random))
}

struct Delivery: Equatable {
    var at: Instant
    var bytes: [UInt8]
}

struct SentDatagram: Equatable {
    var at: Instant
    var from: Int
    var to: Int
    var bytes: [UInt8]
    /// The traffic class octet of its IP header, as it was sent; 0 for control's.
    var octet: UInt8 = 0

    var kind: DatagramKind? { DatagramKind(rawValue: bytes[0]) }
    /// By its length, which no frame's has: a short probe, or a reply.
    var isProbe: Bool { kind == .sealed && bytes.count == ProbeRecord.datagramBytes }
}

final class VirtualSite {
    var setup: SiteSetup
    let index: Int
    let identity: KeyPair
    /// Sites by this site's peer number.
    let peers: [Int]
    /// Sites by the numbers of peers that were named since the start.
    var named: [PeerIndex: Int] = [:]
    var endpoint: Endpoint
    /// Behind a NAT: the address that it forwards for good, and that names lead to. What the site sends comes from `endpoint`.
    var forwarded: Endpoint?
    var core: GatewayCore
    /// What each LAN port was given.
    var delivered: [[Delivery]]
    var events: [(at: Instant, event: GatewayEvent)] = []
    /// Lines for its audit file.
    var audit: [String] = []
    /// How often a timer ran out.
    var timeouts = 0
    /// Peers' addresses it asked for.
    var resolves = 0
    /// False: names lead nowhere.
    var resolverWorks = true
    var isAlive = true
    fileprivate var outgoing: [(to: Endpoint, bytes: [UInt8], octet: UInt8)] = []

    fileprivate init(index: Int, setup: SiteSetup, identity: KeyPair, peers: [Int], core: consuming GatewayCore) {
        self.index = index
        self.setup = setup
        self.identity = identity
        self.peers = peers
        self.core = core
        endpoint = VirtualSite.home(index, isIPv6: setup.isIPv6)
        delivered = Array(repeating: [], count: setup.ports)
    }

    func isReached(at place: Endpoint) -> Bool { place == endpoint || place == forwarded }

    static func home(_ index: Int, isIPv6: Bool = false) -> Endpoint {
        isIPv6
            ? Endpoint(high: 0x2001_0DB8_0000_0000, low: UInt64(index + 1), port: 7117)
            : Endpoint(ipv4: 0x0A00_0001 + UInt32(index), port: 7117)
    }

    /// This site's number for another site.
    func peer(_ site: Int) -> PeerIndex { PeerIndex(peers.firstIndex(of: site)!) }

    func state(of site: Int) -> PeerSnapshot.State { core.control.snapshot(of: peer(site)).state }

    /// What it knows of a member; `nil` where it has no place.
    func member(_ key: PublicKey) -> PeerSnapshot? {
        (0..<core.control.peerPlaces).lazy.map { self.core.control.snapshot(of: PeerIndex($0)) }.first { $0.key == key }
    }

    subscript(reason: DropReason) -> UInt64 { core.lane.bridge.counters[reason] }

    /// Events that a pattern picks.
    func count(where picks: (GatewayEvent) -> Bool) -> Int { events.count { picks($0.event) } }

    /// Numbers of the frames delivered to a port, as `testFrame` wrote them.
    func numbers(port: Int = 0) -> [UInt32] { delivered[port].map { frameNumber($0.bytes) } }
}

final class VirtualMesh {
    private(set) var sites: [VirtualSite] = []
    private(set) var now = Instant.zero
    /// Every datagram that a gateway sent, before the wire did anything to it.
    private(set) var sent: [SentDatagram] = []
    /// Datagrams longer than the wire's limit.
    private(set) var tooLong = 0
    /// Directions by `from * sites + to`.
    private var characters: [WireCharacter]
    private var random: SeededRandom
    private var underWay: [(at: Instant, to: Endpoint, from: Endpoint, bytes: [UInt8], octet: UInt8)] = []
    private var frames: [(at: Instant, site: Int, port: Int, bytes: [UInt8])] = []

    /// Nanoseconds since 1970 at the virtual clock's zero.
    static let wallClock: UInt64 = 1_700_000_000_000_000_000

    init(_ setups: [SiteSetup], seed: UInt64 = 1, wire: WireCharacter = WireCharacter()) {
        random = SeededRandom(seed: seed)
        characters = Array(repeating: wire, count: setups.count * setups.count)
        let identities = setups.map { _ in KeyPair.generate(using: &random) }
        for (index, setup) in setups.enumerated() {
            let peers = setup.peers ?? (setup.mesh == nil ? setups.indices.filter { $0 != index } : [])
            let core = VirtualMesh.makeCore(setup, index, identities, peers, seed: random.next(), at: now)
            sites.append(VirtualSite(index: index, setup: setup, identity: identities[index], peers: peers, core: core))
        }
        for site in sites { flush(site) }
    }

    convenience init(sites count: Int, seed: UInt64 = 1, setup: SiteSetup = SiteSetup(), wire: WireCharacter = WireCharacter()) {
        self.init(Array(repeating: setup, count: count), seed: seed, wire: wire)
    }

    private static func makeCore(
        _ setup: SiteSetup, _ index: Int, _ identities: [KeyPair], _ peers: [Int], seed: UInt64, at now: Instant
    ) -> GatewayCore {
        var control = ControlConfiguration(
            setup.tuning, identity: identities[index], presharedKey: setup.presharedKey.map { SecretBytes($0) },
            peers: peers.map {
                .init(name: "site\($0)", key: setup.wrongKeys[$0] ?? identities[$0].publicKey, hasAddress: setup.dials)
            }, ports: setup.allPorts)
        control.ciphers = setup.ciphers
        if let mesh = setup.mesh {
            let (authority, pass) = mesh.pass(of: index, identities[index].publicKey)
            control.mesh = MeshConfiguration(
                authority: authority, pass: pass, seeds: mesh.seeds.map { "seed\($0)" }, snapshots: mesh.snapshots)
            control.setPlaces(peers.count + mesh.places)
            control.copyCost = setup.copyCost
            control.linkLimit = mesh.links
        }
        if setup.mesh == nil { control.setPlaces(peers.count + setup.places) }
        var lane = LaneConfiguration(setup.tuning, ports: setup.ports, peers: control.peerLimit)
        lane.placesTaken = peers.count
        lane.backends = setup.backends
        lane.setRates(peers.map { setup.rates[$0] }, lanes: 1)
        control.setRates(peers.map { setup.rates[$0] })
        return GatewayCore(
            lane: lane, control: control, random: SeededRandom(seed: seed), wallClock: wallClock + now.nanoseconds, at: now)
    }

    // MARK: What tests do

    /// Changes both directions between two sites.
    func setWire(_ a: Int, _ b: Int, _ change: (inout WireCharacter) -> Void) {
        change(&characters[a * sites.count + b])
        change(&characters[b * sites.count + a])
    }

    /// Changes one direction.
    func setOneWay(from: Int, to: Int, _ change: (inout WireCharacter) -> Void) {
        change(&characters[from * sites.count + to])
    }

    /// A host sends a frame at an instant; frames of one instant are one batch.
    func send(_ bytes: [UInt8], site: Int, port: Int = 0, at instant: Instant? = nil) {
        let at = instant ?? now
        let place = frames.lastIndex { $0.at <= at }.map { $0 + 1 } ?? 0
        frames.insert((at, site, port, bytes), at: place)
    }

    /// Puts a datagram in front of a gateway, as if it came from `source`.
    func inject(_ bytes: [UInt8], to site: Int, from source: Endpoint) {
        handle(bytes, sites[site], source)
        flush(sites[site])
    }

    /// Kills a gateway: nothing is heard from it or by it until it is restarted.
    func kill(_ site: Int) { sites[site].isAlive = false }

    /// Starts a gateway anew with the same identity; `change` may alter its setup.
    func restart(_ index: Int, _ change: (inout SiteSetup) -> Void = { _ in }) {
        let site = sites[index]
        change(&site.setup)
        let identities = sites.map(\.identity)
        site.core = VirtualMesh.makeCore(site.setup, index, identities, site.peers, seed: random.next(), at: now)
        site.outgoing = []
        site.isAlive = true
        flush(site)
    }

    /// Runs until both directions of every configured pair are up, at most until `limit`. Returns when, or `nil`.
    func runUntilUp(limit: Interval = .seconds(30)) -> Instant? {
        let end = now + limit
        while now < end {
            if sites.allSatisfy({ site in site.peers.allSatisfy { site.state(of: $0) == .up } }) { return now }
            run(until: min(end, now + .milliseconds(10)))
        }
        return nil
    }

    /// Runs until each of these sites, all of them by default, has all others as members that are up.
    func runUntilMembersUp(_ among: [Int]? = nil, limit: Interval = .seconds(30)) -> Instant? {
        let (end, group) = (now + limit, among ?? Array(sites.indices))
        while now < end {
            let isComplete = group.allSatisfy { site in
                group.allSatisfy { $0 == site || sites[site].member(sites[$0].identity.publicKey)?.state == .up }
            }
            if isComplete { return now }
            run(until: min(end, now + .milliseconds(10)))
        }
        return nil
    }

    func run(for interval: Interval) { run(until: now + interval) }

    func run(until end: Instant) {
        while true {
            let timers = sites.filter(\.isAlive).map { $0.core.nextTimeout }
            var next = min(frames.first?.at ?? .distantFuture, underWay.first?.at ?? .distantFuture)
            next = min(next, timers.min() ?? .distantFuture)
            if next > end { break }
            now = max(now, next)
            if let arrival = underWay.first, arrival.at <= now {
                underWay.removeFirst()
                arrive(arrival.to, arrival.from, arrival.bytes, arrival.octet)
            } else if let first = frames.first, first.at <= now {
                sendBatch()
            } else {
                guard runTimers() else { return }
            }
        }
        now = max(now, end)
    }

    /// A view of one gateway's counters without a flush.
    func values(_ site: Int) -> [UInt64] { sites[site].core.lane.bridge.counters.values }

    /// Everything the sent datagrams contain, in order: for comparing two runs.
    var transcript: [UInt8] { sent.flatMap(\.bytes) }

    // MARK: Below: one step

    private func runTimers() -> Bool {
        for site in sites where site.isAlive && site.core.nextTimeout <= now {
            site.timeouts += 1
            site.core.handleTimeout(at: now)
            flush(site)
            if site.core.nextTimeout <= now {
                // Once more may be needed; a third time without the clock moving is a busy loop.
                site.core.handleTimeout(at: now)
                flush(site)
                guard site.core.nextTimeout > now else {
                    Issue.record("site \(site.index) asks for a timeout that has passed, again and again, at \(now)")
                    return false
                }
            }
        }
        return true
    }

    private func sendBatch() {
        var touched: [Int] = []
        while let frame = frames.first, frame.at <= now {
            frames.removeFirst()
            let site = sites[frame.site]
            if !site.isAlive { continue }
            var bytes = frame.bytes
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            site.core.lane.handleFrame(&raw, offload: .none, on: PortIndex(frame.port), at: now)
            if site.core.lane.wantsDrain { flush(site) }
            if !touched.contains(frame.site) { touched.append(frame.site) }
        }
        for index in touched { flush(sites[index]) }
    }

    private func arrive(_ to: Endpoint, _ from: Endpoint, _ bytes: [UInt8], _ octet: UInt8) {
        guard let site = sites.first(where: { $0.isReached(at: to) }), site.isAlive else { return }
        handle(bytes, site, from, octet)
        flush(site)
    }

    private func handle(_ bytes: [UInt8], _ site: VirtualSite, _ source: Endpoint, _ octet: UInt8 = 0) {
        var bytes = bytes
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        site.core.lane.handleDatagram(&raw, from: source, octet: octet, at: now)
    }

    /// Ends a batch and carries away what is to be sent. Tests that drive a core by hand call it afterwards.
    func flush(_ site: VirtualSite) {
        site.core.settle(at: now)
        while let action = site.core.control.pollAction() {
            switch action {
            case .datagram(let bytes, let endpoint): site.outgoing.append((endpoint, bytes, 0))
            case .resolve(let peer):
                site.resolves += 1
                // One that is just being added is the next named.
                guard let other = peer.index < site.peers.count ? site.peers[peer.index] : site.named[peer] else { continue }
                let found = sites.count > other && site.resolverWorks ? [sites[other].forwarded ?? sites[other].endpoint] : []
                let home = VirtualSite.home(other)
                site.core.control.handleResolved(
                    peer, to: site.resolverWorks ? (found.isEmpty ? [home] : found) : [], at: now)
            case .resolveSeed(let seed):
                let other = site.setup.mesh?.seeds[seed] ?? 0
                site.core.control.handleSeedResolved(
                    seed, to: [sites.count > other ? sites[other].endpoint : VirtualSite.home(other)], at: now)
            case .log(let event): site.events.append((now, event))
            case .audit(let event): site.audit.append(event.line)
            }
        }
        for index in 0..<site.core.lane.transmits {
            let run = site.core.lane.transmit(at: index)
            for start in stride(from: 0, to: run.byteCount, by: run.segmentSize) {
                let end = min(start + run.segmentSize, run.byteCount)
                let bytes = Array(copying: site.core.lane.transmitBytes(at: index).extracting(start..<end))
                site.outgoing.append((run.endpoint, bytes, run.octet))
            }
            site.core.lane.handleTransmitted(run.peer, datagrams: run.datagrams, bytes: run.byteCount, failed: 0)
        }
        for index in 0..<site.core.lane.bridge.frames.count {
            let ports = site.core.lane.bridge.frames.record(index).ports
            let bytes = Array(copying: site.core.lane.bridge.frames.frame(index))
            for port in 0..<site.delivered.count where ports.contains(PortIndex(port)) {
                site.delivered[port].append(Delivery(at: now, bytes: bytes))
                site.core.lane.handleDelivered(PortIndex(port), frames: 1, bytes: bytes.count, failed: 0)
            }
        }
        site.core.lane.drained()
        let outgoing = site.outgoing
        site.outgoing = []
        for (to, bytes, octet) in outgoing { carry(bytes, octet, from: site, to: to) }
    }

    private func carry(_ bytes: [UInt8], _ octet: UInt8, from: VirtualSite, to: Endpoint) {
        let target = sites.firstIndex { $0.isReached(at: to) }
        sent.append(SentDatagram(at: now, from: from.index, to: target ?? -1, bytes: bytes, octet: octet))
        guard let target else { return }
        let wire = characters[from.index * sites.count + target]
        if bytes.count > wire.limit {
            tooLong += 1
            return
        }
        let copies = random.chance(millionths: wire.duplicateMillionths) ? 2 : 1
        for _ in 0..<copies {
            if wire.isCut || random.chance(millionths: wire.lossMillionths) { continue }
            var carried = bytes
            if random.chance(millionths: wire.corruptMillionths) {
                carried[Int.random(in: 0..<carried.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            var at = now + wire.delay
            if wire.jitter > .zero {
                at = at + .nanoseconds(Int64.random(in: 0...wire.jitter.nanoseconds, using: &random))
            }
            let place = underWay.lastIndex { $0.at <= at }.map { $0 + 1 } ?? 0
            underWay.insert((at, to, from.endpoint, carried, wire.remark(octet)), at: place)
        }
    }
}
