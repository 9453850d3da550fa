// What the operator has said about peers: those of the configuration, and those that were added since. Where each is reached, by
// its place or by its number among the seeds, and what is kept of it for the next start.

import Basics
import Gateway
import Logging
import Settings

struct PeerOrders {
    /// Those that were added, in order.
    private(set) var added: [PeerOrder] = []
    /// Names and addresses, by place.
    private(set) var peers: [PeerIndex: (name: String, addresses: [PeerAddress])] = [:]
    /// The same of gateways that are asked for the way into the mesh, by their numbers.
    private(set) var seeds: [Int: (name: String, addresses: [PeerAddress])] = [:]
    private let file: PeersFile?
    private var version: UInt64 = 0
    private let ownName: String

    init(_ settings: GatewaySettings, _ file: PeersFile?) {
        self.file = file
        ownName = settings.site
        for (index, peer) in settings.peers.enumerated() { peers[PeerIndex(index)] = (peer.name, peer.addresses) }
        for (number, seed) in (settings.mesh?.seeds ?? []).enumerated() { seeds[number] = (seed.name, seed.addresses) }
    }

    /// What an earlier run has kept. What no longer goes together with the configuration is said, and forgotten.
    mutating func restore(_ core: inout ControlCore, _ logger: Logger, at now: Instant) {
        guard let file else { return }
        let kept = file.read()
        version = kept.version
        for order in kept.orders {
            if let problem = add(order, to: &core, at: now) {
                logger.warning("the peer \(order.name), which was added in an earlier run, is forgotten: \(problem)")
            } else {
                logger.notice("the peer \(order.name) was added in an earlier run")
            }
        }
        if added != kept.orders { keep() }
    }

    /// - Returns: why not.
    mutating func handleAdd(_ order: PeerOrder, to core: inout ControlCore, at now: Instant) -> String? {
        let problem = add(order, to: &core, at: now)
        if problem == nil { keep() }
        return problem
    }

    private mutating func add(_ order: PeerOrder, to core: inout ControlCore, at now: Instant) -> String? {
        if order.name == ownName { return "\(ownName) is this site's own name" }
        do throws(PeerOrderProblem) {
            if let key = order.key {
                let peer = ControlConfiguration.Peer(name: order.name, key: key, hasAddress: !order.addresses.isEmpty)
                peers[try core.addPeer(peer, at: now)] = (order.name, order.addresses)
            } else {
                seeds[try core.addSeed(order.name, at: now)] = (order.name, order.addresses)
            }
        } catch { return "\(error)" }
        added.append(order)
        return nil
    }

    /// - Returns: what was done, in words.
    mutating func handleRemove(_ name: String, from core: inout ControlCore, at now: Instant) throws(PeerOrderProblem) -> String {
        let removal = try core.removePeer(name, at: now)
        let wasAdded = added.contains { $0.name == name }
        if wasAdded {
            added.removeAll { $0.name == name }
            keep()
        }
        let (words, isConfigured): (String, Bool)
        switch removal {
        case .ended(let index, let configured):
            peers[index] = nil
            (words, isConfigured) = ("removed; its sessions have ended", configured)
        case .stays(let index, let configured):
            peers[index] = nil
            (words, isConfigured) = (
                "it is a member of the mesh by its pass, and stays one; its addresses come from the mesh", configured
            )
        case .seed(let number):
            seeds[number] = nil
            (words, isConfigured) = ("removed; it is asked for the way into the mesh no longer", !wasAdded)
        }
        return words + (isConfigured ? "; the configuration file names it, so it is there again at the next start" : "")
    }

    /// Whether what is added is there after the next start.
    var isKept: Bool { file?.isKept ?? false }

    private mutating func keep() {
        version += 1
        file?.write(added, version: version)
    }

    func finish() { file?.finish() }
}
