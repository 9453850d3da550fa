// What always holds of control's tables, as sentences for simulations and tests to find untrue.

import Basics
import Mesh

extension ControlCore {
    /// - Returns: a sentence for each property that does not hold. O(everything).
    public func checkInvariants() -> [String] {
        var problems = mesh?.gossip.checkInvariants() ?? []
        func expect(_ holds: Bool, _ sentence: @autoclosure () -> String) { if !holds { problems.append(sentence()) } }
        expect((mesh?.relays.transits.count ?? 0) <= Transit.limit(peers: peerPlaces), "more streams are carried than the limit")
        expect(streams.taken.count <= GroupLimits.places(peers: peerPlaces), "more streams are taken than there are places")
        expect(streams.closings.count <= ControlCore.closingLimit, "more ways are to be closed than the limit")
        streams.book.checkInvariants()
        for (index, peer) in peers.enumerated() {
            expect(peer.sessions.count <= PeerState.sessionLimit, "peer \(index) has more sessions than the limit")
            expect(peer.pending.count <= PeerState.pendingLimit, "peer \(index) has more initiations under way than the limit")
            expect(peer.candidates.count <= PeerState.candidateLimit, "peer \(index) has more addresses than the limit")
            expect(!peer.isUp || peer.newest != nil, "peer \(index) is up without keys")
            expect(!peer.isRelayUsed || peer.relay != nil, "peer \(index) is reached by a way that is not known")
            expect(
                (mesh?.relays.messages[index]?.count ?? 0) <= RelayBook.messageLimit(peers: peerPlaces),
                "peer \(index) is to be told too much")
        }
        for (site, place) in (mesh?.places ?? [:]).sorted(by: { $0.key < $1.key }) {
            expect(peers[place].site == site, "the place of \(site) is another's")
        }
        return problems
    }

    /// Sessions that were agreed on, with all peers that have a place.
    public var sessionsBegun: UInt64 { peers.indices.reduce(0) { $0 &+ peers[$1].generation } }

    /// Peers that are up.
    public var peersUp: Int { peers.count { $0.isUp } }

    /// What is known of the mesh, in short: gateways with the same know the same. Empty without passes.
    public var meshSummary: [UInt8] {
        mutating get { mesh?.gossip.summary ?? [] }
    }
}
