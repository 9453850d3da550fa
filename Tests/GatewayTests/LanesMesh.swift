// The harness of tests with several lanes: two sites, each of so many `LaneCore`s and one `ControlCore`, on one virtual clock.
// The kernel's part is played here: a datagram goes to the lane that its origin tag says, or to the one that `steering` says
// instead; a frame to the lane that the test names.
//
//     send(frame, lane) --> lane 0 of 2 --+                       +--> lane 0 of 3 --> delivered
//                           lane 1 of 2 --+== origin tag % lanes =+--> lane 1 of 3 --> delivered
//                               control                           +--> lane 2 of 3 --> delivered

import Basics
import Buffers
import Settings
import Switching
import Testing
import Tunnels

@testable import Gateway

/// What a lane put on a LAN port.
struct LaneDelivery: Equatable {
    var port: Int
    var lane: Int
    var bytes: [UInt8]
}

/// A datagram that a site sent.
struct LaneDatagram: Equatable {
    var from: Int
    var bytes: [UInt8]

    var origin: Int { Int(bytes[2]) << 8 | Int(bytes[3]) }
    var isSealed: Bool { bytes[0] == DatagramKind.sealed.rawValue }
}

final class LanesSite {
    let mailboxes: [LaneMailbox]
    var lanes: FixedArray<LaneCore>
    var control: ControlCore
    var endpoint: Endpoint
    var delivered: [LaneDelivery] = []
    var events: [GatewayEvent] = []
    /// What a lane has sent and that is not on the wire yet; control's own by lane 0.
    fileprivate var outgoing: [[UInt8]] = []

    fileprivate init(_ setup: SiteSetup, lanes count: Int, _ control: ControlConfiguration, endpoint: Endpoint, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let mailboxes = LaneMailbox.make(lanes: count, ports: setup.ports, peers: 1, secret: HashSecret(using: &random))
        self.mailboxes = mailboxes
        lanes = FixedArray(count: count) { lane in
            var configuration = LaneConfiguration(
                ports: setup.ports, peers: 1, lane: UInt16(lane), macLimit: setup.macLimit, macAgeing: setup.macAgeing,
                keepalive: setup.keepalive)
            configuration.isSnooping = setup.multicast.snooping
            configuration.setRates([setup.rates[1]], lanes: count)
            return LaneCore(configuration, mailbox: mailboxes[lane], secret: HashSecret(using: &random))
        }
        self.control = ControlCore(
            control, mailboxes: mailboxes, random: random, wallClock: VirtualMesh.wallClock, at: .zero)
        self.endpoint = endpoint
    }

    var isUp: Bool { control.snapshot(of: PeerIndex(0)).state == .up }

    /// Over all lanes.
    subscript(reason: DropReason) -> UInt64 {
        (0..<lanes.count).reduce(0) { $0 + lanes[$1].bridge.counters[reason] }
    }

    func numbers(port: Int = 0) -> [UInt32] { delivered.filter { $0.port == port }.map { frameNumber($0.bytes) } }

    /// Where a lane thinks that a host is; `nil` where it would flood.
    func place(of host: MACAddress, lane: Int, at now: Instant) -> Location? {
        lanes[lane].bridge.macs.lookup(host, on: .untagged, at: now)
    }

    func seals(lane: Int) -> Bool { lanes[lane].bridge.links[0].hasSender }
    func sends(lane: Int) -> Bool { lanes[lane].bridge.links[0].isUp }
    func target(lane: Int) -> Endpoint { lanes[lane].bridge.links[0].endpoint }
    func macCount(lane: Int) -> Int { lanes[lane].bridge.macs.count }

    func count(where picks: (GatewayEvent) -> Bool) -> Int { events.count(where: picks) }
}

final class LanesMesh {
    let sites: [LanesSite]
    private(set) var now = Instant.zero
    private(set) var sent: [LaneDatagram] = []
    /// Which lane of a site gets a sealed datagram with this origin tag.
    var steering: (_ site: Int, _ origin: Int, _ lanes: Int) -> Int = { $1 % $2 }
    /// Datagrams of these vanish.
    var isLost: (LaneDatagram) -> Bool = { _ in false }
    /// Whether control does nothing: what lanes do while it is slow.
    var controlSleeps = false
    private var underWay: [(at: Instant, to: Endpoint, from: Endpoint, datagram: LaneDatagram)] = []
    /// The next last; sorted when the clock runs.
    private var frames: [(at: Instant, number: Int, site: Int, lane: Int, port: Int, bytes: [UInt8])] = []
    private var framesSent = 0
    static let delay = Interval.milliseconds(1)

    init(_ lanes: [Int], _ setup: SiteSetup = SiteSetup(), setups: [SiteSetup]? = nil, seed: UInt64 = 1) {
        var random = SeededRandom(seed: seed)
        let identities = (0..<2).map { _ in KeyPair.generate(using: &random) }
        let setups = setups ?? [setup, setup]
        sites = lanes.enumerated().map { index, count in
            var tuning = SiteTuning()
            tuning.keepalive = setups[index].keepalive
            tuning.rekeyTime = setups[index].rekeyTime
            tuning.rekeyDatagrams = setups[index].rekeyDatagrams
            tuning.multicast = setups[index].multicast
            var control = ControlConfiguration(
                tuning, identity: identities[index],
                peers: [.init(name: "site\(1 - index)", key: identities[1 - index].publicKey, hasAddress: setups[index].dials)],
                ports: (0..<setups[index].ports).map { _ in PortMulticast() })
            control.ciphers = [.chacha20poly1305]
            return LanesSite(
                setups[index], lanes: count, control, endpoint: VirtualSite.home(index), seed: random.next())
        }
        for site in sites.indices { settle(site) }
    }

    /// Both sites up; a second more for every lane's first keepalive.
    static func up(_ lanes: [Int], _ setup: SiteSetup = SiteSetup(), seed: UInt64 = 1) throws -> LanesMesh {
        let mesh = LanesMesh(lanes, setup, seed: seed)
        mesh.run(for: .seconds(2))
        try #require(mesh.isUp)
        return mesh
    }

    var isUp: Bool { sites[0].isUp && sites[1].isUp }

    // MARK: What tests do

    /// A host sends a frame that the kernel gives to `lane`; frames of one instant are one batch of each lane.
    func send(_ bytes: [UInt8], site: Int, lane: Int, port: Int = 0, after delay: Interval = .zero) {
        frames.append((now + delay, framesSent, site, lane, port, bytes))
        framesSent += 1
    }

    func run(for interval: Interval) {
        let end = now + interval
        frames.sort { ($0.at, $0.number) > ($1.at, $1.number) }
        while true {
            let next = min(
                frames.last?.at ?? .distantFuture, underWay.first?.at ?? .distantFuture,
                sites.indices.map(nextTimeout).min() ?? .distantFuture)
            if next > end { break }
            now = max(now, next)
            if let first = underWay.first, first.at <= now {
                underWay.removeFirst()
                arrive(first.to, first.from, first.datagram)
            } else if let first = frames.last, first.at <= now {
                sendBatch()
            } else {
                for site in sites.indices where nextTimeout(of: site) <= now { handleTimeout(site) }
            }
        }
        now = end
    }

    /// Puts a datagram in front of one lane, as if it came from `source`, and lets what follows from it happen.
    func inject(_ datagram: LaneDatagram, site: Int, lane: Int, from source: Endpoint, octet: UInt8 = 0) {
        var bytes = datagram.bytes
        bytes.withMutableRawSpan { sites[site].lanes[lane].handleDatagram(&$0, from: source, octet: octet, at: now) }
        settle(site)
    }

    /// The MAC table as `show macs` has it.
    func macs(_ site: Int) -> [MACEntry] {
        _ = sites[site].control.requestMACs()
        run(for: .seconds(1))
        return sites[site].control.pollMACs()?.rows ?? []
    }

    // MARK: Below: one step

    private func nextTimeout(of site: Int) -> Instant {
        let site = sites[site]
        return (0..<site.lanes.count).map { site.lanes[$0].nextTimeout }.reduce(site.control.nextTimeout, min)
    }

    private func handleTimeout(_ index: Int) {
        let site = sites[index]
        if site.control.nextTimeout <= now { site.control.handleTimeout(at: now) }
        for lane in 0..<site.lanes.count where site.lanes[lane].nextTimeout <= now { site.lanes[lane].handleTimeout(at: now) }
        settle(index)
        // What is due at once, a listing's next rows for one, comes a moment later.
        if nextTimeout(of: index) <= now { now = now + .microseconds(1) }
    }

    private func sendBatch() {
        var touched: Set<Int> = []
        while let frame = frames.last, frame.at <= now {
            frames.removeLast()
            var bytes = frame.bytes
            bytes.withMutableRawSpan {
                sites[frame.site].lanes[frame.lane].handleFrame(&$0, offload: .none, on: PortIndex(frame.port), at: now)
            }
            if sites[frame.site].lanes[frame.lane].wantsDrain { settle(frame.site) }
            touched.insert(frame.site)
        }
        for site in touched.sorted() { settle(site) }
    }

    private func arrive(_ to: Endpoint, _ from: Endpoint, _ datagram: LaneDatagram) {
        guard let index = sites.firstIndex(where: { $0.endpoint == to }) else { return }
        let site = sites[index]
        let lane = datagram.isSealed ? steering(index, datagram.origin, site.lanes.count) : 0
        var bytes = datagram.bytes
        // As the driver does: commands after the datagrams were taken and before they are handled.
        site.lanes[lane].handleCommands(at: now)
        bytes.withMutableRawSpan { site.lanes[lane].handleDatagram(&$0, from: from, at: now) }
        settle(index)
    }

    /// Carries messages between the halves and between the lanes until all are silent, then takes what is to be sent.
    func settle(_ index: Int) {
        let site = sites[index]
        repeat {
            if !controlSleeps { site.control.handleEvents(at: now) }
            for lane in 0..<site.lanes.count {
                site.lanes[lane].handleCommands(at: now)
                flush(site, lane)
                _ = site.lanes[lane].takeCrossed()
            }
            performActions(site)
        } while site.mailboxes.contains(where: { ($0.hasWorkForControl && !controlSleeps) || $0.hasWorkForLane })
        let outgoing = site.outgoing
        site.outgoing = []
        for bytes in outgoing {
            let datagram = LaneDatagram(from: index, bytes: bytes)
            sent.append(datagram)
            if !isLost(datagram) { underWay.append((now + LanesMesh.delay, sites[1 - index].endpoint, site.endpoint, datagram)) }
        }
    }

    private func performActions(_ site: LanesSite) {
        while let action = site.control.pollAction() {
            switch action {
            case .datagram(let bytes, _): site.outgoing.append(bytes)
            case .resolve(let peer):
                let other = sites.isEmpty ? nil : sites.first { $0 !== site }
                site.control.handleResolved(peer, to: [other?.endpoint ?? VirtualSite.home(1)], at: now)
            case .resolveSeed: break
            case .log(let event): site.events.append(event)
            }
        }
    }

    private func flush(_ site: LanesSite, _ lane: Int) {
        site.lanes[lane].finishBatch(at: now)
        for index in 0..<site.lanes[lane].transmits {
            let run = site.lanes[lane].transmit(at: index)
            for start in stride(from: 0, to: run.byteCount, by: run.segmentSize) {
                let end = min(start + run.segmentSize, run.byteCount)
                site.outgoing.append(site.lanes[lane].datagram(of: index, start..<end))
            }
            site.lanes[lane].handleTransmitted(run.peer, datagrams: run.datagrams, bytes: run.byteCount, failed: 0)
        }
        for index in 0..<site.lanes[lane].bridge.frames.count {
            let ports = site.lanes[lane].bridge.frames.record(index).ports
            let bytes = site.lanes[lane].bridge.copyFrame(index)
            for port in 0..<16 where ports.contains(PortIndex(port)) {
                site.delivered.append(LaneDelivery(port: port, lane: lane, bytes: bytes))
            }
        }
        site.lanes[lane].drained()
    }
}

extension LaneCore {
    /// The octets of a run in a range.
    fileprivate func datagram(of run: Int, _ range: Range<Int>) -> [UInt8] {
        Array(copying: transmitBytes(at: run).extracting(range))
    }
}

extension Bridge {
    fileprivate func copyFrame(_ index: Int) -> [UInt8] { Array(copying: frames.frame(index)) }
}
