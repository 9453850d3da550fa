// Control's thread: it drives the control core, resolves names, writes the log, and answers operators at the local socket.

import Basics
import Dispatch
import Foundation
import Gateway
import LinuxIO
import Logging
import Operator
import Settings
import Switching
import Synchronization
import Tunnels

struct ControlLoop: ~Copyable {
    private var core: ControlCore
    private let settings: GatewaySettings
    private let listen: Endpoint
    private let backends: CipherBackends
    /// One for each lane. Control's own datagrams leave through the first.
    private let links: [LaneLink]
    private var link: LaneLink { links[0] }
    private let wakeUp: WakeUp
    private let logger: Logger
    private let limitedWarnings: LimitedWarnings
    private let started: Instant
    private let confinement: Confinement
    /// `nil` where no audit file is configured.
    private var audit: AuditLog?
    private var poller: Poller
    private let listener: LocalListener
    private var clients = OperatorClients()
    /// Addresses that were looked up; at most one look-up for each peer is under way.
    private let resolutions = Inbox<(PeerIndex, [Endpoint])>()
    private var resolving: Set<PeerIndex> = []
    /// Answers for operators, by their clients' numbers.
    private let answers = Inbox<(Int, Data)>()
    private var outgoingDrops: UInt64 = 0
    private var roundTrips: RoundTripHistograms
    /// What is kept of the mesh, and how much of it has been.
    private let state: MeshStateFile?
    private var orders: PeerOrders
    private var stateGeneration: UInt64 = 0
    private var nextStateWrite = Instant.zero
    private let seedResolutions = Inbox<(Int, [Endpoint])>()
    private var resolvingSeeds: Set<Int> = []
    private var portsUp: [Bool?]
    private var nextPortLook = Instant.zero
    private static let notEncoded = Data("{\"error\":\"this answer could not be encoded\"}".utf8)
    private static let stateInterval = Interval.seconds(2)
    private static let portLook = Interval.seconds(1)

    private enum Token {
        static let wakeUp: UInt32 = 0
        static let listener: UInt32 = 1
    }

    init(
        core: consuming ControlCore, settings: GatewaySettings, listen: Endpoint, backends: CipherBackends,
        listener: consuming LocalListener, wakeUp: consuming WakeUp, links: [LaneLink], started: Instant,
        confinement: Confinement, state: MeshStateFile?, orders: PeerOrders, audit: consuming AuditLog?, logger: Logger
    ) throws(IOError) {
        let poller = try Poller()
        try poller.add(wakeUp.fileDescriptor, token: Token.wakeUp)
        try poller.add(listener.fileDescriptor, token: Token.listener)
        self.poller = poller
        self.core = core
        self.settings = settings
        self.listen = listen
        self.backends = backends
        self.listener = listener
        self.wakeUp = wakeUp
        self.links = links
        self.started = started
        self.confinement = confinement
        self.audit = audit
        portsUp = Array(repeating: nil, count: settings.ports.count)
        self.logger = logger
        limitedWarnings = LimitedWarnings(logger)
        roundTrips = RoundTripHistograms(peers: settings.peerLimit)
        self.state = state
        self.orders = orders
        self.orders.restore(&self.core, logger, at: started)
    }

    mutating func run() {
        while !link.isStopping.load(ordering: .relaxed) {
            let now = MonotonicClock.now()
            core.handleClock(WallClock.now(), at: now)
            core.handleEvents(at: now)
            for (peer, endpoints) in resolutions.take() {
                resolving.remove(peer)
                core.handleResolved(peer, to: endpoints, at: now)
            }
            for (seed, endpoints) in seedResolutions.take() {
                resolvingSeeds.remove(seed)
                core.handleSeedResolved(seed, to: endpoints, at: now)
            }
            if core.nextTimeout <= now { core.handleTimeout(at: now) }
            keepState(now)
            for (peer, roundTrip) in core.takeRoundTrips() { roundTrips.record(roundTrip, of: peer, at: now) }
            performActions(now)
            serveOperators(now)
            if now >= nextPortLook { lookAtPorts(now) }
            // What was published waits for the lane too: it frees the old blocks.
            for link in links where link.mailbox.hasWorkForLane || core.waitsForLane || !link.outgoing.isEmpty {
                link.lane.wake()
            }
            // A command that found the lane's queue full is tried again soon.
            var timeout = core.nextTimeout == .zero ? .milliseconds(1) : core.nextTimeout - MonotonicClock.now()
            timeout = min(timeout, clients.isEmpty ? ControlLoop.portLook : .milliseconds(20))
            let events = poller.wait(timeout: links.contains { $0.mailbox.hasWorkForControl } ? .zero : max(timeout, .zero))
            for index in 0..<events where poller.token(index) == Token.wakeUp { wakeUp.drain() }
        }
        keepState(MonotonicClock.now(), isEnd: true)
        state?.finish()
        orders.finish()
    }

    /// Says when a port's device has come up or gone down.
    private mutating func lookAtPorts(_ now: Instant) {
        nextPortLook = now + ControlLoop.portLook
        for (number, port) in settings.ports.enumerated() {
            let isUp = link.mailbox.board.load(link.mailbox.layout.index(PortIndex(number), .isUp)) > 0
            if portsUp[number] == isUp || now - started < ControlLoop.portLook * 2 { continue }
            // A port that is up when it is first looked at has been asked by the startup queries.
            if !isUp || portsUp[number] != nil { core.handlePort(PortIndex(number), isUp: isUp, at: now) }
            portsUp[number] = isUp
            if isUp {
                logger.notice("port \(port.name) (\(port.device)) is up")
            } else if interfaceExists(port.device) {
                logger.warning("port \(port.name) (\(port.device)) is down")
            } else {
                logger.error("port \(port.name): \(port.device) was removed; restart the gateway once it is back")
            }
        }
    }

    // MARK: What the core asks for

    private mutating func performActions(_ now: Instant) {
        while let action = core.pollAction() {
            switch action {
            case .datagram(let bytes, let endpoint): send(bytes, endpoint)
            case .resolve(let peer): resolve(peer, now)
            case .resolveSeed(let seed): resolveSeed(seed, now)
            case .log(let event): logger.log(level: Logger.Level(event.level), "\(event.message)")
            case .audit(let event): audit?.append(event.line, at: now)
            }
        }
    }

    private mutating func send(_ bytes: [UInt8], _ endpoint: Endpoint) {
        if !link.outgoing.push(bytes, endpoint) { outgoingDrops += 1 }
    }

    /// Looks a peer's names up, in the background unless all are addresses already.
    private mutating func resolve(_ peer: PeerIndex, _ now: Instant) {
        // It may have been removed since it was asked.
        guard let (name, addresses) = orders.peers[peer] else { return }
        let endpoints = addresses.compactMap(\.endpoint)
        if endpoints.count == addresses.count { return core.handleResolved(peer, to: endpoints, at: now) }
        guard resolving.insert(peer).inserted else { return }
        let (resolutions, wake) = (resolutions, link.control)
        lookUp(addresses, of: name) { endpoints in
            resolutions.put((peer, endpoints))
            wake.wake()
        }
    }

    /// The same of a gateway that is asked for the way into the mesh.
    private mutating func resolveSeed(_ seed: Int, _ now: Instant) {
        guard let (name, addresses) = orders.seeds[seed], resolvingSeeds.insert(seed).inserted else { return }
        let (resolutions, wake) = (seedResolutions, link.control)
        lookUp(addresses, of: name) { endpoints in
            resolutions.put((seed, endpoints))
            wake.wake()
        }
    }

    private func lookUp(_ addresses: [PeerAddress], of name: String, _ done: @escaping @Sendable ([Endpoint]) -> Void) {
        let (warnings, isIPv4Only) = (limitedWarnings, listen.ipv4 != nil)
        DispatchQueue.global().async {
            var endpoints: [Endpoint] = []
            for address in addresses {
                do throws(IOError) {
                    let found =
                        if let endpoint = address.endpoint { [endpoint] } else {
                            try LinuxIO.resolve(host: address.host, port: address.port)
                        }
                    endpoints += found.filter { (!isIPv4Only || $0.ipv4 != nil) && !endpoints.contains($0) }
                } catch {
                    warnings.warn(of: "\(address)", "the address \(address) of peer \(name) could not be resolved: \(error)")
                }
            }
            done(endpoints)
        }
    }

    /// Keeps what the next start needs: at most once in `stateInterval`, and at the end.
    private mutating func keepState(_ now: Instant, isEnd: Bool = false) {
        guard let state, isEnd || (core.meshGeneration != stateGeneration && now >= nextStateWrite) else { return }
        stateGeneration = core.meshGeneration
        nextStateWrite = now + ControlLoop.stateInterval
        if let snapshot = core.meshSnapshot { state.write(snapshot) }
    }

    // MARK: Operators

    private mutating func serveOperators(_ now: Instant) {
        clients.accept(from: listener)
        for (number, request) in clients.readRequests() {
            switch request {
            case .show(.macs): clients.wait(number, for: core.requestMACs())
            case .show(let topic):
                encode(topic, snapshot(nil, now, withGroups: topic == .groups, withMesh: topic.isOfMesh), for: number)
            case .revoke(let bytes): clients.answer(number, revoke(bytes, now))
            case .addPeer(let order): clients.answer(number, add(order, now))
            case .removePeer(let name): clients.answer(number, remove(name, now))
            case .why(let question): clients.answer(number, answer(question, now))
            }
        }
        while let (token, rows) = core.pollMACs() {
            for number in clients.numbers(waitingFor: token) { encode(.macs, snapshot(rows, now), for: number) }
        }
        for (number, answer) in answers.take() { clients.answer(number, answer) }
        clients.write(at: now)
    }

    private mutating func revoke(_ bytes: [UInt8], _ now: Instant) -> Data {
        let problem = core.handleRevocation(bytes, at: now)
        if problem == nil { logger.notice("a revocation was announced at the control socket") }
        let answer = problem.map { ["error": "the revocation does not count: \($0)"] } ?? ["result": "announced"]
        return encoded(answer)
    }

    private mutating func add(_ order: PeerOrder, _ now: Instant) -> Data {
        let problem = orders.handleAdd(order, to: &core, at: now)
        if problem == nil { logger.notice("the peer \(order.name) was added at the control socket") }
        let note = orders.isKept ? "added" : "added, until the next start: the configuration has no peers.file"
        return encoded(problem.map { ["error": $0] } ?? ["result": note])
    }

    private mutating func remove(_ name: String, _ now: Instant) -> Data {
        let answer: [String: String]
        do throws(PeerOrderProblem) {
            answer = ["result": try orders.handleRemove(name, from: &core, at: now)]
            logger.notice("the peer \(name) was removed at the control socket")
        } catch {
            answer = ["error": "\(error)"]
        }
        return encoded(answer)
    }

    private func encoded(_ answer: some Encodable) -> Data { (try? JSON.encode(answer)) ?? ControlLoop.notEncoded }

    private func answer(_ question: WhyQuestion, _ now: Instant) -> Data {
        guard let document = WhyDocument(question, core, snapshot(nil, now, withMesh: true)) else {
            let peers = snapshot(nil, now).peers.filter { $0.key != nil }
            let names = ([settings.site] + peers.map(\.name)).joined(separator: ", ")
            return encoded(["error": "there is no site \(question.site); the sites are \(names)"])
        }
        return encoded(document)
    }

    /// Encodes in the background: a large MAC table takes a second, and handshakes cannot wait for that.
    private func encode(_ topic: ShowTopic, _ snapshot: GatewaySnapshot, for number: Int) {
        let (answers, wake) = (answers, link.control)
        DispatchQueue.global().async {
            answers.put((number, (try? JSON.answer(topic, snapshot)) ?? ControlLoop.notEncoded))
            wake.wake()
        }
    }

    private func snapshot(
        _ macs: [MACEntry]?, _ now: Instant, withGroups: Bool = false, withMesh: Bool = false
    ) -> GatewaySnapshot {
        var counters = link.mailbox.layout.combine(links.map(\.mailbox.board))
        counters[link.mailbox.layout.index(.sendFailed)] &+= outgoingDrops
        var snapshot = GatewaySnapshot(
            site: settings.site, listen: listen, started: started, taken: now,
            ports: settings.ports.map { .init(name: $0.name, kind: $0.kind.rawValue, device: $0.device) },
            control: core, backends: backends, layout: link.mailbox.layout, counters: counters, macs: macs,
            withGroups: withGroups, withMesh: withMesh)
        for index in snapshot.peers.indices {
            // Those that are found have no settings.
            if index < settings.peers.count { snapshot.peers[index].rate = settings.peers[index].rate }
            snapshot.peers[index].path.percentiles = roundTrips.percentiles(of: PeerIndex(index), at: now)
        }
        snapshot.lanes = GatewaySnapshot.Lanes(
            wait: settings.machine.laneWait.rawValue, bypassesQueue: settings.machine.bypassesQueue,
            offloads: links.map { LaneOffloads(rawValue: $0.offloads.load(ordering: .relaxed)) })
        snapshot.confinement = confinement
        return snapshot
    }
}

/// What background work leaves for control.
private final class Inbox<Item: Sendable>: Sendable {
    private let items = Mutex<[Item]>([])

    func put(_ item: Item) { items.withLock { $0.append(item) } }

    func take() -> [Item] {
        items.withLock { items in
            defer { items = [] }
            return items
        }
    }
}

extension Logger.Level {
    public init(_ level: LogLevel) {
        switch level {
        case .debug: self = .debug
        case .info: self = .info
        case .notice: self = .notice
        case .warning: self = .warning
        case .error: self = .error
        }
    }
}
