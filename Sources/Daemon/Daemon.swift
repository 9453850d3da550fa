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
    private let link: LaneLink
    private let lane: HandOver<Lane>
    private let control: HandOver<ControlLoop>
    private let site: String
    private let logger: Logger

    /// Threads that run; join them by `stop`.
    public struct Running: ~Copyable {
        let lane: LaneThread
        let control: LaneThread
    }

    /// Opens the control socket, the UDP socket and the ports.
    /// - Parameter presharedKey: 32 octets.
    /// - Throws: `IOError`, `CaptureError`: what could not be opened, and what to do.
    public init(_ settings: GatewaySettings, identity: KeyPair, presharedKey: [UInt8]?, logger: Logger) throws {
        site = settings.site
        self.logger = logger
        let listener = try LocalListener(path: settings.controlSocket)
        let socket = try UDPSocket(bind: settings.listen)
        let ports = try LanePorts.open(settings, identity: identity.publicKey)
        for warning in ports.warnings { logger.warning("\(warning)") }
        let laneWake = try WakeUp()
        let controlWake = try WakeUp()
        var random = SystemRandomNumberGenerator()
        let mailbox = LaneMailbox(
            ports: settings.ports.count, peers: settings.peers.count, secret: HashSecret(using: &random))
        link = LaneLink(mailbox: mailbox, lane: laneWake.handle, control: controlWake.handle)
        var configuration = LaneConfiguration(
            settings.tuning, ports: settings.ports.count, peers: settings.peers.count)
        configuration.portAddresses = ports.addresses
        configuration.backends = Daemon.backends(settings.tuning, logger)
        let core = LaneCore(
            configuration, mailbox: mailbox, secret: HashSecret(using: &random))
        let now = MonotonicClock.now()
        let peers = settings.peers.map {
            ControlConfiguration.Peer(name: $0.name, key: $0.key, hasAddress: $0.address != nil)
        }
        let control = ControlCore(
            ControlConfiguration(
                settings.tuning, identity: identity, presharedKey: presharedKey, peers: peers,
                ports: settings.ports.map(\.multicast), addresses: ports.addresses),
            mailbox: mailbox, random: random, wallClock: WallClock.now(), at: now)
        let listen = socket.localEndpoint
        lane = HandOver(try Lane(core: core, socket: socket, ports: ports, wakeUp: laneWake, link: link))
        self.control = HandOver(
            try ControlLoop(
                core: control, settings: settings, listen: listen, backends: configuration.backends, listener: listener,
                wakeUp: controlWake, link: link, started: now, logger: logger))
        logger.notice("site \(site) listens at \(listen), public key \(identity.publicKey)")
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

    /// Starts the threads: `control` and `lane 0`.
    public func start() throws -> Running {
        let control = try LaneThread.start(name: "control") { [control] in
            if var loop = control.take() { loop.run() }
        }
        let lane = try LaneThread.start(name: "lane 0") { [lane] in
            if var lane = lane.take() { lane.run() }
        }
        return Running(lane: lane, control: control)
    }

    /// Ends both threads, closes everything and removes the control socket.
    public func stop(_ running: consuming Running) {
        link.isStopping.store(true, ordering: .relaxed)
        link.lane.wake()
        link.control.wake()
        running.join()
        logger.notice("site \(site) has stopped")
    }
}

extension Daemon.Running {
    fileprivate consuming func join() {
        lane.join()
        control.join()
    }
}
