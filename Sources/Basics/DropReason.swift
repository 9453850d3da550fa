// Why a frame or a datagram went nowhere. Every frame that comes in is delivered or counted under one of these, and
// every one of these can be seen with `causeway show drops`.

/// Each case is one counter. The name is stable: it is the key in JSON.
public enum DropReason: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    // Frames on their way in from a LAN.
    case runt
    case oversized
    case captureOverrun
    case captureTruncated
    case badOffload
    case filtered
    // Switching.
    case linkConstrained
    case unwanted
    case invalidScope
    case multicastRate
    case membershipFromMesh
    case snoopQueueFull
    case forGateway
    case sameSegment
    case splitHorizon
    case noReceiver
    // Rights of sites.
    case notEntitledOut
    case notEntitledIn
    // Towards a peer.
    case peerDown
    case transmitFull
    case keyExhausted
    case sendFailed
    case feedQueueFull
    case normalQueueFull
    case bulkQueueFull
    // Datagrams from the WAN.
    case receiveOverrun
    case malformedDatagram
    case unknownStream
    case authenticationFailed
    case replayed
    case wrongUpstream
    case hopLimit
    case relayFull
    case puntQueueFull
    case crossingFull
    case handshakeRefused
    case malformedPacking
    case lostOnWAN
    case fragmentLost
    case congestionUnmarked
    // Towards a LAN.
    case deliverFull
    case portSendFailed
    // What gateways ask each other.
    case probesFull

    /// The stable name: lower case with hyphens.
    public var name: String {
        switch self {
        case .runt: "runt"
        case .oversized: "oversized"
        case .captureOverrun: "capture-overrun"
        case .captureTruncated: "capture-truncated"
        case .badOffload: "bad-offload"
        case .filtered: "filtered"
        case .linkConstrained: "link-constrained"
        case .unwanted: "unwanted"
        case .invalidScope: "invalid-scope"
        case .multicastRate: "multicast-rate"
        case .membershipFromMesh: "membership-from-mesh"
        case .snoopQueueFull: "snoop-queue-full"
        case .forGateway: "for-gateway"
        case .sameSegment: "same-segment"
        case .splitHorizon: "split-horizon"
        case .noReceiver: "no-receiver"
        case .notEntitledOut: "not-entitled-out"
        case .notEntitledIn: "not-entitled-in"
        case .peerDown: "peer-down"
        case .transmitFull: "transmit-full"
        case .keyExhausted: "key-exhausted"
        case .sendFailed: "send-failed"
        case .feedQueueFull: "feed-queue-full"
        case .normalQueueFull: "normal-queue-full"
        case .bulkQueueFull: "bulk-queue-full"
        case .receiveOverrun: "receive-overrun"
        case .malformedDatagram: "malformed-datagram"
        case .unknownStream: "unknown-stream"
        case .authenticationFailed: "authentication-failed"
        case .replayed: "replayed"
        case .wrongUpstream: "wrong-upstream"
        case .hopLimit: "hop-limit"
        case .relayFull: "relay-full"
        case .puntQueueFull: "punt-queue-full"
        case .crossingFull: "crossing-full"
        case .handshakeRefused: "handshake-refused"
        case .malformedPacking: "malformed-packing"
        case .lostOnWAN: "lost-on-wan"
        case .fragmentLost: "fragment-lost"
        case .congestionUnmarked: "congestion-unmarked"
        case .deliverFull: "deliver-full"
        case .portSendFailed: "port-send-failed"
        case .probesFull: "probes-full"
        }
    }

    /// What was dropped: the unit of the counter.
    public var unit: String {
        switch self {
        case .receiveOverrun, .malformedDatagram, .unknownStream, .authenticationFailed, .replayed, .wrongUpstream,
            .hopLimit, .puntQueueFull, .crossingFull, .handshakeRefused, .malformedPacking, .lostOnWAN, .sendFailed,
            .probesFull:
            "datagrams"
        case .notEntitledOut, .peerDown, .transmitFull, .relayFull, .keyExhausted, .feedQueueFull, .normalQueueFull,
            .bulkQueueFull, .deliverFull,
            .portSendFailed:
            "copies"
        default:
            "frames"
        }
    }

    /// One sentence for an operator.
    public var explanation: String {
        switch self {
        case .runt: "shorter than an Ethernet header"
        case .oversized: "longer than \(Limits.frameBytes) octets"
        case .captureOverrun: "the LAN port's receive buffer was full (the kernel's count)"
        case .captureTruncated: "the LAN port handed over only a part of the frame"
        case .badOffload: "offload metadata that does not fit the frame"
        case .filtered: "the port's filter refused it"
        case .linkConstrained: "sent to 01:80:c2:00:00:00-0f, which cross only where bridge.forward-mask lets them"
        case .unwanted: "multicast that no other port and no site has asked for"
        case .invalidScope: "an IPv6 group of scope 0 or 1, which never leaves a host"
        case .multicastRate: "multicast that is not IP, beyond multicast.other.limit"
        case .membershipFromMesh: "an IGMP or MLD message from another site: they never cross a tunnel"
        case .snoopQueueFull: "more IGMP and MLD messages than control could take"
        case .forGateway: "addressed to the LAN port's own interface: this machine's business, not the segment's"
        case .sameSegment: "the destination is on the port it came from"
        case .splitHorizon: "came from the mesh for a host at another site"
        case .notEntitledOut: "for a site that may not have it: its pass or ours does not list the group, source or VLAN"
        case .notEntitledIn: "from a site that may not send it, or that this site may not have: see its pass and ours"
        case .noReceiver: "there was no other port and no peer to send it to"
        case .peerDown: "no tunnel stood to that peer"
        case .transmitFull: "the buffer towards that peer was full"
        case .keyExhausted: "that peer's key had reached its limit and no new one was agreed"
        case .sendFailed: "the kernel refused to send it"
        case .feedQueueFull: "a peer's rate was used up, and the frames of class feed that wait for it were too many"
        case .normalQueueFull: "a peer's rate was used up, and the frames of class normal that wait for it were too many"
        case .bulkQueueFull: "a peer's rate was used up, and the frames of class bulk that wait for it were too many"
        case .receiveOverrun: "the UDP socket's receive buffer was full (the kernel's count)"
        case .malformedDatagram: "not a datagram of this protocol"
        case .unknownStream: "for a session that does not exist here"
        case .authenticationFailed: "its seal did not open: wrong key or changed on the way"
        case .replayed: "already received, or too old to tell"
        case .hopLimit: "to be forwarded to other sites, and forwarded too often already"
        case .relayFull: "to be forwarded to another site, and too much waited for that"
        case .wrongUpstream: "of a group's stream, and not from the gateway that it has to come from"
        case .puntQueueFull: "more handshakes, control messages or other news than control could take"
        case .crossingFull: "came to another lane than its stream's, which could not be given more"
        case .handshakeRefused: "a handshake that did not authenticate, was replayed, or is for somebody else"
        case .malformedPacking: "authentic, but its contents could not be parsed"
        case .lostOnWAN: "a peer sealed it, and it has not arrived: a gap in the peer's numbers (a late one closes it)"
        case .fragmentLost: "a part of the frame was lost on the WAN"
        case .congestionUnmarked: "its datagram came marked as congested, and its own header takes no mark (RFC 6040)"
        case .deliverFull: "the buffer towards the LAN port was full"
        case .portSendFailed: "the LAN port refused it"
        case .probesFull: "a probe or a reply to one: more at one time than a peer has places for"
        }
    }
}
