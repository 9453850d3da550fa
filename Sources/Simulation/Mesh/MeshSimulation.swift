// A whole mesh of gateways on the virtual clock, from one seed: sites with passes, NATs and wrong clocks find each other; then
// come faults, round by round; then the faults stop, and within a bound everything has to be as it should be. Checkers look at
// every frame and datagram on the way.
//
//     grow    gateways start, and each finds all others
//     break   rounds of faults, joins, leaves and frames
//     heal    all faults end: all are peers again, all know the same
//     prove   feeds and unicast reach those who are to have them, once and in order, and nobody else
//     idle    nothing is sent: what gateways cost

import Basics
import Gateway
import HeapModule
import Mesh
import Settings
import Tunnels
import Wire

public final class MeshSimulation {
    let plan: SimulationPlan
    var random: SeededRandom
    var sites: [SimulatedSite] = []
    var wire: VirtualWire
    private(set) var now = Instant.zero
    var checker: FrameChecker
    var nonces = NonceChecker()
    var report = SimulationReport()
    private var nextNumber: UInt32 = 1
    private var hostEvents = Heap<HostEvent>()
    private var eventSequence: UInt64 = 0
    /// Octets that each gateway has sent.
    private(set) var octetsSent: [UInt64]
    let authority: Authority
    var faultCounts: [Fault: Int] = [:]
    /// What stands between two sites, beside what the wire does by chance: by `from * count + to`.
    var cuts: [Bool]
    /// Which part of a partition each site is in.
    var sides: [Int]
    /// What a killed gateway has left in its state file.
    var stateFiles: [[UInt8]?]
    /// By site, the state that is to be: what the frames of the last phase came to.
    var received: [[UInt32]]
    private let log: ((String) -> Void)?

    struct HostEvent: Comparable {
        enum Kind {
            case report
            case setClock(Interval)
        }
        var at: Instant
        var sequence: UInt64
        var site: Int
        var kind: Kind
        static func < (a: HostEvent, b: HostEvent) -> Bool { (a.at, a.sequence) < (b.at, b.sequence) }
        static func == (a: HostEvent, b: HostEvent) -> Bool { a.sequence == b.sequence }
    }

    /// - Parameter log: is told of faults and phases as they come.
    public init(_ plan: SimulationPlan, log: ((String) -> Void)? = nil) {
        precondition(SimulationPlan.sites.contains(plan.count))
        self.plan = plan
        self.log = log
        var random = SeededRandom(seed: plan.seed)
        authority = Authority.generate(using: &random)
        wire = VirtualWire(sites: plan.count, seed: plan.seed ^ 0x5749_5245)
        checker = FrameChecker(sites: plan.count, groups: plan.groups)
        octetsSent = Array(repeating: 0, count: plan.count)
        cuts = Array(repeating: false, count: plan.count * plan.count)
        sides = Array(repeating: 0, count: plan.count)
        stateFiles = Array(repeating: nil, count: plan.count)
        received = Array(repeating: [], count: plan.count)
        self.random = random
        report.seed = plan.seed
        report.sites = plan.count
        makeSites()
        makeLinks()
    }

    // MARK: The mesh

    private func makeSites() {
        // The first two are in the open and carry for others, so that there is a way to everybody.
        let kinds: [NAT.Mapping?] = (0..<plan.count).map { site in
            guard site >= 2 else { return nil }
            return [nil, nil, nil, nil, .endpointIndependent, .addressAndPortDependent][Int.random(in: 0..<6, using: &random)]
        }
        for site in 0..<plan.count {
            let identity = KeyPair.generate(using: &random)
            let mayRelay = site < 2 || (kinds[site] == nil && Bool.random(using: &random))
            let (send, sendRules) = drawGroups(site)
            let (receive, receiveRules) = drawGroups(site)
            checker.maySend[site] = send
            checker.mayReceive[site] = receive
            let pass = authority.sign(
                Pass(
                    serial: UInt64(site + 1), site: "site\(site)", key: identity.publicKey,
                    validFrom: UnixTime(seconds: 1_600_000_000), validUntil: UnixTime(seconds: 1_900_000_000), send: sendRules,
                    receive: receiveRules, mayRelay: mayRelay))
            let open = (0..<site).filter { kinds[$0] == nil }
            let seeds = Set([open.randomElement(using: &random), open.first].compactMap { $0 }).sorted()
            let clock = SkewedClock(
                start: .milliseconds(Int64.random(in: 0...10_000_000, using: &random)),
                drift: Int64.random(in: -200...200, using: &random),
                wallError: .milliseconds(Int64.random(in: -120_000...120_000, using: &random)))
            sites.append(
                SimulatedSite(
                    index: site, identity: identity, pass: pass.bytes, authority: authority.key, seeds: seeds,
                    tuning: tuning, places: plan.count, links: drawLinks(), copyCost: drawCopyCost(), clock: clock,
                    nat: kinds[site].map { NAT($0, address: SimulatedSite.address(site)) }))
            report.relays += mayRelay ? 1 : 0
            report.limited += send != nil || receive != nil ? 1 : 0
            report.natted += kinds[site] != nil ? 1 : 0
            report.symmetric += kinds[site] == .addressAndPortDependent ? 1 : 0
        }
    }

    private var tuning: SiteTuning {
        var tuning = SiteTuning()
        tuning.livenessSuspect = plan.livenessSuspect
        tuning.livenessDown = plan.livenessSuspect * 3
        // Often, so that every run sees renewals under faults.
        tuning.rekeyTime = .seconds(45)
        tuning.macLimit = 1_024
        return tuning
    }

    /// One in eight sites calls a few others alone.
    private func drawLinks() -> Int {
        Int.random(in: 0..<8, using: &random) == 0 ? Int.random(in: 2...8, using: &random) : Limits.peers
    }

    /// One in four has copies made by others, where that is less of a detour than this.
    private func drawCopyCost() -> Interval {
        Int.random(in: 0..<4, using: &random) == 0 ? .milliseconds(Int64.random(in: 5...100, using: &random)) : .zero
    }

    /// Three of four sites may have everything; the others a half of the groups.
    private func drawGroups(_ site: Int) -> (Set<Int>?, GroupRules) {
        guard site > 0, Int.random(in: 0..<4, using: &random) == 0 else { return (nil, .any) }
        let groups = (0..<plan.groups).filter { _ in Bool.random(using: &random) }
        let rules = groups.compactMap { IPPrefix(SimulatedFrame.group($0), length: 32).map { GroupRule($0) } }
        return (Set(groups), .listed(rules.sorted()))
    }

    /// Sites are places on a map, 40 ms wide and high.
    private func makeLinks() {
        let places = sites.map { _ in
            (x: Double.random(in: 0..<40, using: &random), y: Double.random(in: 0..<40, using: &random))
        }
        for a in 0..<plan.count {
            for b in 0..<a {
                let (x, y) = (places[a].x - places[b].x, places[a].y - places[b].y)
                let distance = (x * x + y * y).squareRoot() * 1_000
                wire.setLink(a, b, LinkCharacter(delay: .microseconds(500 + Int64(distance))))
            }
        }
    }

    /// Those that are to be there: not the revoked.
    var members: [Int] { sites.indices.filter { !checker.banned.contains($0) } }

    func note(_ text: @autoclosure () -> String) { log?("\(time) \(text())") }

    var time: String {
        let milliseconds = now.nanoseconds / 1_000_000
        let fraction = "\(milliseconds % 1_000)"
        return "\(milliseconds / 1_000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction)s"
    }

    func violate(_ text: String) {
        report.violationCount += 1
        guard report.violations.count < SimulationReport.violationLimit else { return }
        report.violations.append("\(time) \(text)")
        note("VIOLATION: \(text)")
    }

    // MARK: What happens

    /// A frame with a number of its own.
    func makeFrame(_ kind: SimulatedFrame.Kind, from site: Int) -> SimulatedFrame {
        defer { nextNumber += 1 }
        return SimulatedFrame(kind, from: site, number: nextNumber)
    }

    /// A host sends a frame.
    func send(_ frame: SimulatedFrame) {
        report.framesSent += 1
        put([frame.bytes], on: frame.origin)
    }

    private func put(_ frames: [[UInt8]], on site: Int) {
        guard sites[site].isAlive else { return }
        drive(site) { gateway, local in
            for bytes in frames { gateway.handleFrame(bytes, on: PortIndex(0), at: local) }
        }
    }

    func join(_ site: Int, _ group: Int) {
        checker.join(site, group)
        put([report(site, group, joins: true)], on: site)
    }

    func leave(_ site: Int, _ group: Int) {
        checker.leave(site, group, at: now)
        put([report(site, group, joins: false)], on: site)
    }

    private func report(_ site: Int, _ group: Int, joins: Bool) -> [UInt8] {
        let (group, source) = (SimulatedFrame.group(group), SimulatedFrame.address(site))
        let host = SimulatedFrame.host(site)
        return joins
            ? MembershipFrame.report(generation: .third, group: group, source: source, from: host, vlan: .untagged)
            : MembershipFrame.leave(generation: .third, group: group, source: source, from: host, vlan: .untagged)
    }

    func schedule(_ kind: HostEvent.Kind, at site: Int, after delay: Interval) {
        hostEvents.insert(HostEvent(at: now + delay, sequence: eventSequence, site: site, kind: kind))
        eventSequence += 1
    }

    func start(_ site: Int, snapshots: [[UInt8]] = []) {
        sites[site].start(snapshots: snapshots, seed: random.next(), at: now)
        drive(site) { _, _ in }
    }

    func drive(_ site: Int, _ body: (inout VirtualGateway, Instant) -> Void) {
        sites[site].drive(at: now, body)
        carryAway(site)
    }

    /// What a batch has left goes to the LAN and the WAN.
    private func carryAway(_ index: Int) {
        let site = sites[index]
        for (_, bytes) in site.takeFrames() { deliver(bytes, index) }
        for (to, bytes) in site.takeDatagrams() {
            octetsSent[index] += UInt64(bytes.count)
            report.datagrams += 1
            if let problem = nonces.handleSent(bytes, by: index, epoch: site.epoch) { violate(problem) }
            guard let address = to.ipv4 else { continue }
            let target = SimulatedSite.site(at: address)
            let source = site.nat?.outbound(to: to, at: now) ?? SimulatedSite.endpoint(index)
            guard sites.indices.contains(target), target != index, admits(target, to.port, source) else { continue }
            wire.carry(bytes, from: index, to: target, source: source, at: now)
        }
        for event in site.takeEvents() { note("site \(index): \(event)") }
    }

    private func admits(_ target: Int, _ port: UInt16, _ source: Endpoint) -> Bool {
        sites[target].nat?.admits(source, to: port, at: now) ?? (port == SimulatedSite.port)
    }

    private func deliver(_ bytes: [UInt8], _ site: Int) {
        if let frame = SimulatedFrame(bytes) {
            if let problem = checker.handleDelivered(frame, to: site, at: now) { violate(problem) }
            received[site].append(frame.number)
            return
        }
        // IPv4 with Router Alert, IGMP, a query.
        guard bytes.count > 38, bytes[12] == 0x08, bytes[13] == 0, bytes[23] == 2, bytes[14 + Int(bytes[14] & 15) * 4] == 0x11
        else { return }
        schedule(.report, at: site, after: .milliseconds(Int64.random(in: 10...500, using: &random)))
    }

    // MARK: Time

    func run(for interval: Interval) { run(until: now + interval) }

    func run(until end: Instant) {
        while true {
            var due = Instant.distantFuture
            for site in sites where site.nextTimeout < due { due = site.nextTimeout }
            let next = coarse(min(wire.nextArrival, due, hostEvents.min?.at ?? .distantFuture))
            guard next <= end else { break }
            now = max(now, next)
            arriveAll()
            while let event = hostEvents.min, event.at <= now {
                hostEvents.removeMin()
                happen(event)
            }
            for site in sites.indices where sites[site].nextTimeout <= now {
                drive(site) { gateway, local in gateway.handleTimeout(at: local) }
                countTurn(site)
            }
        }
        now = max(now, end)
    }

    private func coarse(_ instant: Instant) -> Instant {
        let grain = UInt64(plan.grain.nanoseconds)
        if grain == 1 || instant == .distantFuture { return instant }
        return Instant(nanoseconds: (instant.nanoseconds + grain - 1) / grain * grain)
    }

    /// All that arrives at this moment, each site's as one batch.
    private func arriveAll() {
        var batches = [[VirtualWire.Arrival]](repeating: [], count: plan.count)
        var touched: [Int] = []
        while let datagram = wire.nextArrived(by: now) {
            guard sites[datagram.to].isAlive else { continue }
            if batches[datagram.to].isEmpty { touched.append(datagram.to) }
            batches[datagram.to].append(datagram)
        }
        for site in touched {
            drive(site) { gateway, local in
                for datagram in batches[site] {
                    gateway.handleDatagram(datagram.bytes, from: datagram.source, at: local)
                    if gateway.wantsDrain { gateway.flush(at: local) }
                }
            }
        }
    }

    /// Timers that have run out one after the other at one instant.
    private var turns = (at: Instant.zero, count: 0)

    /// A gateway that asks for the same moment again and again would never let time pass.
    private func countTurn(_ site: Int) {
        turns = turns.at == now ? (now, turns.count + 1) : (now, 1)
        guard turns.count > 100 * plan.count else { return }
        violate("site \(site) asks for a timeout that has passed, again and again")
        sites[site].kill()
        turns.count = 0
    }

    private func happen(_ event: HostEvent) {
        switch event.kind {
        case .report:
            let groups = (0..<plan.groups).filter { checker.wants(event.site, $0) }
            put(groups.map { report(event.site, $0, joins: true) }, on: event.site)
        case .setClock(let error):
            guard sites[event.site].isAlive else { return }
            sites[event.site].setClock(error, at: now)
            carryAway(event.site)
        }
    }
}
