// Peers that the operator names, and forgets, while the gateway runs. A named peer has a place behind those of the configuration;
// nothing that is there already ever makes room for it: what does not go together is refused, and said.

import Basics
import Mesh
import Tunnels

/// Why a peer was not added, or not removed.
public enum PeerOrderProblem: Error, Hashable, Sendable, CustomStringConvertible {
    case nameTaken(String)
    case keyTaken(by: String)
    case memberKey(of: String)
    case ownKey
    case full(limit: Int)
    case noMesh
    case unknown(String)
    case member(String)

    public var description: String {
        switch self {
        case .nameTaken(let name): "there is a peer \(name) already: remove it first, or take another name"
        case .keyTaken(let name): "that is the key of the peer \(name), which stays as it is"
        case .memberKey(let name): "that is the key of \(name), a member of the mesh, which is a peer already"
        case .ownKey: "that is this gateway's own key"
        case .full(let limit): "all \(limit) places for peers are taken"
        case .noMesh: "this gateway is in no mesh with passes: name the peer's key"
        case .unknown(let name): "there is no peer \(name)"
        case .member(let name): "\(name) is a member of the mesh by its pass: a revocation ends that (causeway mesh revoke)"
        }
    }
}

/// What became of a peer that was to be removed.
public enum PeerRemoval: Hashable, Sendable {
    /// Its sessions have ended. A configured one is there again at the next start.
    case ended(PeerIndex, isConfigured: Bool)
    /// It is a member of the mesh by its pass and stays one; what the operator said of it is forgotten.
    case stays(PeerIndex, isConfigured: Bool)
    /// It is asked for the way into the mesh no longer.
    case seed(Int)
}

extension ControlCore {
    /// Seeds of the mesh at once, the configuration's included.
    static let seedLimit = 64

    /// Gives a peer a place. Its addresses are asked for by an action, as those of configured peers.
    public mutating func addPeer(_ peer: ControlConfiguration.Peer, at now: Instant) throws(PeerOrderProblem) -> PeerIndex {
        try checkName(peer.name)
        guard peer.key != configuration.identity.publicKey else { throw .ownKey }
        if let known = peers.first(where: { $0.key == peer.key }) {
            throw known.isNamed ? .keyTaken(by: known.name) : .memberKey(of: known.name)
        }
        let free = peers.indices.first { $0 >= configuration.peers.count && peers[$0].key == nil }
        guard let index = free else { throw .full(limit: peers.count) }
        var state = PeerState(peer, paths: configuration.paths, at: now)
        state.isNamed = true
        state.generation = peers[index].generation
        peers[index] = state
        command(.setPlace(PeerIndex(index), isTaken: true))
        if state.hasAddress { actions.append(.resolve(PeerIndex(index))) }
        // Its pass may be known, and there was no place for it.
        place(SiteID(peer.key), now)
        drive(at: now)
        return PeerIndex(index)
    }

    /// Asks one more gateway for the way into the mesh.
    /// - Returns: its number, as `ControlAction.resolveSeed` has it.
    public mutating func addSeed(_ name: String, at now: Instant) throws(PeerOrderProblem) -> Int {
        guard let seeds = mesh?.seeds else { throw .noMesh }
        try checkName(name)
        let seed = MeshState.Seed(name: name, due: .distantFuture, resolveDue: now)
        if let free = seeds.firstIndex(where: \.name.isEmpty) {
            mesh?.seeds[free] = seed
            return free
        }
        guard seeds.count < ControlCore.seedLimit else { throw .full(limit: ControlCore.seedLimit) }
        mesh?.seeds.append(seed)
        return seeds.count
    }

    private func checkName(_ name: String) throws(PeerOrderProblem) {
        let isTaken = peers.contains { $0.key != nil && $0.name == name } || mesh?.seeds.contains { $0.name == name } ?? false
        if isTaken { throw .nameTaken(name) }
    }

    /// Forgets a peer that the configuration or the operator has named. Its sessions end at once.
    public mutating func removePeer(_ name: String, at now: Instant) throws(PeerOrderProblem) -> PeerRemoval {
        if let seed = mesh?.seeds.firstIndex(where: { $0.name == name }), !name.isEmpty {
            mesh?.seeds[seed] = MeshState.Seed(name: "", due: .distantFuture, resolveDue: .distantFuture)
            return .seed(seed)
        }
        guard let index = peers.firstIndex(where: { $0.key != nil && $0.name == name }) else { throw .unknown(name) }
        guard peers[index].isNamed else { throw .member(name) }
        let isConfigured = index < configuration.peers.count
        if let site = peers[index].site {
            peers[index].isNamed = false
            peers[index].candidates = Array((mesh?.gossip.addresses(of: site) ?? []).prefix(PeerState.candidateLimit))
            return .stays(PeerIndex(index), isConfigured: isConfigured)
        }
        if peers[index].isUp { markDown(index, now) }
        vacate(index, now)
        drive(at: now)
        return .ended(PeerIndex(index), isConfigured: isConfigured)
    }
}
