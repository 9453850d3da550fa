// A live gateway: one lane's thread, one control thread, and what they share. Everything that can go wrong at the start
// goes wrong in `init`, before a thread runs.

import Basics
import Buffers
import Gateway
import LinuxIO
import Logging
import Settings
import Tunnels

/// A gateway. `start` it once, and `stop` it once.
public final class Daemon: Sendable {
    private let links: [LaneLink]
    private let lanes: [HandOver<Lane>]
    private let control: HandOver<ControlLoop>
    private let processors: [Int]
    private let site: String
    private let logger: Logger

    /// Threads that run; join them by `stop`.
    public struct Running: ~Copyable {
        fileprivate var lanes: FixedArray<LaneThread?>
        fileprivate let control: LaneThread
    }

    /// Opens the control socket, the UDP sockets and the ports.
    /// - Parameter presharedKey: 32 octets.
    /// - Throws: `IOError`, `CaptureError`: what could not be opened, and what to do.
    public init(_ settings: GatewaySettings, identity: KeyPair, presharedKey: SecretBytes?, logger: Logger) throws {
        let account = try settings.machine.account()
        site = settings.site
        processors = settings.machine.laneProcessors
        self.logger = logger
        let count = settings.machine.laneCount(processors: usableProcessors(), ports: settings.ports.map(\.kind))
        let listener = try LocalListener(path: settings.controlSocket, forGroup: settings.machine.group != nil)
        var parts = try LaneParts.open(settings, lanes: count, identity: identity.publicKey)
        for warning in parts[0].ports.warnings { logger.warning("\(warning)") }
        if let account {
            try listener.give(to: account)
            for lane in 0..<count { try parts[lane].socket.give(to: account) }
        }
        let controlWake = try WakeUp()
        var random = SystemRandomNumberGenerator()
        let mailboxes = LaneMailbox.make(
            lanes: count, ports: settings.ports.count, peers: settings.peerLimit, secret: HashSecret(using: &random))
        let addresses = parts[0].ports.addresses
        let backends = Daemon.backends(settings.tuning, logger)
        var wakeUps: [WakeUp.Handle] = []
        for lane in 0..<count { wakeUps.append(parts[lane].wakeUp.handle) }
        links = mailboxes.map { LaneLink(mailbox: $0, lane: wakeUps[$0.lane], control: controlWake.handle) }
        let listen = parts[0].socket.localEndpoint
        var lanes: [HandOver<Lane>] = []
        for lane in 0..<count {
            var configuration = LaneConfiguration(
                settings.tuning, ports: settings.ports.count, peers: settings.peerLimit)
            configuration.placesTaken = settings.peers.count
            configuration.lane = UInt16(lane)
            configuration.setRates(settings.peers.map(\.rate), lanes: count)
            configuration.portAddresses = addresses
            configuration.backends = backends
            // The lane takes out the ports that cannot.
            let joined = settings.machine.deliversJoined
            if joined != .off { configuration.coalescing = PortSet(first: settings.ports.count) }
            if joined == .all { configuration.coalescingUDP = configuration.coalescing }
            let core = LaneCore(configuration, mailbox: mailboxes[lane], secret: HashSecret(using: &random))
            let part = parts.take(lane)
            lanes.append(
                HandOver(
                    try Lane(
                        core: core, socket: part.socket, ports: part.ports, wakeUp: part.wakeUp, link: links[lane],
                        lanes: wakeUps, wait: settings.machine.laneWait,
                        gather: settings.machine.gather,
                        settles: settings.machine.settlesLanes && processors.isEmpty,
                        wakeLatency: Daemon.wakeLatency(settings.machine, logger))))
        }
        self.lanes = lanes
        let now = MonotonicClock.now()
        let peers = settings.peers.map {
            ControlConfiguration.Peer(name: $0.name, key: $0.key, hasAddress: !$0.addresses.isEmpty)
        }
        var configuration = ControlConfiguration(
            settings.tuning, identity: identity, presharedKey: presharedKey, peers: peers,
            ports: settings.ports.map(\.multicast), addresses: addresses, peerLimit: settings.peerLimit)
        configuration.setRates(settings.peers.map(\.rate))
        configuration.linkLimit = settings.mesh?.linkLimit ?? Limits.peers
        configuration.copyCost = settings.mesh?.copyCost ?? .zero
        let state = settings.mesh.map { MeshStateFile(path: $0.stateFile, logger) }
        let peersFile = settings.peersFile.map { PeersFile(path: $0, logger) }
        if let mesh = settings.mesh { configuration.mesh = try MeshConfiguration(mesh, state?.read() ?? []) }
        let control = ControlCore(
            configuration, mailboxes: mailboxes, random: random, wallClock: WallClock.now(), at: now)
        var audit: AuditLog?
        if let path = settings.auditFile { audit = try AuditLog(path: path, logger) }
        // Everything is open, and no thread has been started.
        let confinement = try Daemon.confine(settings, as: account, logger)
        self.control = HandOver(
            try ControlLoop(
                core: control, settings: settings, listen: listen, backends: backends, listener: listener,
                wakeUp: controlWake, links: links, started: now, confinement: confinement,
                state: state, orders: PeerOrders(settings, peersFile), audit: audit, logger: logger))
        logger.notice("site \(site) listens at \(listen), public key \(identity.publicKey)")
        if count > 1 { logger.notice("\(count) lanes carry frames") }
    }

    /// Which library seals and opens: as it was set, or as measured.
    private static func backends(_ tuning: SiteTuning, _ logger: Logger) -> CipherBackends {
        switch tuning.cipherBackend {
        case .sodium: return .sodium
        case .openssl: return .openssl
        case .automatic:
            let ciphers = CipherSet(tuning.cipher)
            let calibration = CipherCalibration(ciphers) { MonotonicClock.now() }
            let words = Cipher.allCases.compactMap { calibration.words($0) }
            if !words.isEmpty { logger.notice("\(words.joined(separator: "; "))") }
            return calibration.backends
        }
    }

    private static func wakeLatency(_ machine: MachineTuning, _ logger: Logger) -> WakeLatency? {
        guard machine.wakeUp == .fast && machine.laneWait == .sleep else { return nil }
        do throws(IOError) {
            return try WakeLatency()
        } catch {
            logger.info("idle processors are left alone: \(error)")
            return nil
        }
    }

    /// Starts the threads: `control` and `lane 0`, `lane 1` and so on.
    public func start() throws -> Running {
        let control = try LaneThread.start(name: "control") { [control] in
            if var loop = control.take() { loop.run() }
        }
        var threads = FixedArray<LaneThread?>(count: lanes.count) { _ in nil }
        for (number, lane) in lanes.enumerated() {
            let processor = number < processors.count ? processors[number] : nil
            do {
                threads[number] = try LaneThread.start(name: "lane \(number)", cpu: processor) {
                    if var lane = lane.take() { lane.run() }
                }
            } catch {
                stop(Running(lanes: threads, control: control))
                throw error
            }
        }
        return Running(lanes: threads, control: control)
    }

    /// Ends all threads, closes everything and removes the control socket.
    public func stop(_ running: consuming Running) {
        for link in links {
            link.isStopping.store(true, ordering: .relaxed)
            link.lane.wake()
            link.control.wake()
        }
        running.join()
        logger.notice("site \(site) has stopped")
    }
}

extension Daemon.Running {
    fileprivate consuming func join() {
        for index in 0..<lanes.count {
            if let lane = lanes[index].take() { lane.join() }
        }
        control.join()
    }
}

/// What a lane owns of the system.
struct LaneParts: ~Copyable {
    var socket: UDPSocket
    var ports: LanePorts
    let wakeUp: WakeUp

    /// For each lane; frames and datagrams are divided among them from here on.
    static func open(_ settings: GatewaySettings, lanes: Int, identity: PublicKey) throws -> AllLaneParts {
        var all = AllLaneParts(count: lanes)
        var bind = settings.listen
        // A connected socket takes all that a peer sends, so that several lanes cannot divide it.
        let paths = lanes == 1 && settings.machine.connectsPaths ? min(settings.peers.count, UDPSocket.pathLimit) : 0
        let isShared = lanes > 1 || paths > 0
        if isShared { try UDPSocket.checkIsFree(bind) }
        // A hop less for each lane: what one sends is not joined with what another does, so that it arrives where it belongs.
        for lane in 0..<lanes {
            let socket = try UDPSocket(
                bind: bind, segmentation: settings.machine.segmentsDatagrams, coalescing: settings.machine.joinsDatagrams,
                hops: UDPSocket.hops - lane, isShared: isShared, paths: paths)
            // The port that the kernel chose for the first, if it was left open, is the others' as well.
            bind = socket.localEndpoint
            let groups: [PacketPort.Group]? = lanes == 1 ? nil : lane == 0 ? [] : all[0].ports.groups
            let ports = try LanePorts.open(settings, identity: identity, groups: groups)
            all.put(LaneParts(socket: socket, ports: ports, wakeUp: try WakeUp()), lane)
        }
        if lanes > 1 { try all[0].socket.steer(among: lanes) }
        for lane in 0..<lanes { try all.beginCapturing(lane) }
        return all
    }
}

/// The parts of every lane, until its lane takes them.
struct AllLaneParts: ~Copyable {
    private var parts: FixedArray<LaneParts?>

    init(count: Int) { parts = FixedArray(count: count) { _ in nil } }

    mutating func put(_ part: consuming LaneParts, _ lane: Int) { parts[lane] = consume part }

    /// Precondition: it is there.
    subscript(lane: Int) -> LaneParts {
        _read {
            guard parts[lane] != nil else { preconditionFailure("a lane's parts were taken twice") }
            yield parts[lane]!
        }
    }

    mutating func beginCapturing(_ lane: Int) throws(IOError) { try parts[lane]?.ports.beginCapturing() }

    mutating func take(_ lane: Int) -> LaneParts {
        guard let part = parts[lane].take() else { preconditionFailure("a lane's parts were taken twice") }
        return part
    }
}
