// What a lane and control say to each other, as plain values over bounded queues. A lane never waits for control, and
// control never touches what a lane owns. Lanes know of each other only what control passes on, and the datagrams that came
// to the wrong one of them.
//
//     lane ---- LaneEvent ----> control        sightings, counts
//     lane ---- datagrams ----> control        `HandshakeQueue`
//     lane <--- LaneCommand --- control        keys, states, questions, what other lanes have seen
//     lane ---- datagrams ----> lane           `LaneCrossings`

import Basics
import Buffers
import Switching
import Tunnels

/// From a lane to control.
public enum LaneEvent: Sendable, BitwiseCopyable {
    /// The first datagram opened under a session that control had installed as unconfirmed: the lane seals with it from here on.
    /// `isRouted`: it came through others, and `at` is where the last of them is.
    case confirmed(PeerIndex, stream: UInt32, at: Endpoint, isRouted: Bool)
    /// Something authentic came from the peer; said at most twice a keepalive interval. `from` is where the peer is: the lane
    /// sends there. `hasMoved`: it was elsewhere since this was last said, perhaps for a moment only, and the lane takes nothing
    /// for known of the path.
    case heard(PeerIndex, at: Instant, from: Endpoint, hasMoved: Bool)
    /// The same of what came through others.
    case heardRouted(PeerIndex, at: Instant)
    /// There was no memory for the keys of a session with the peer.
    case notInstalled(PeerIndex)
    /// The key towards the peer has sealed as many datagrams as it should.
    case renewalDue(PeerIndex)
    /// One row of the MAC table, asked for by `listMACs`.
    case macRow(MACEntry)
    /// All rows of that listing have been said.
    case macRowsEnd(token: UInt32)
    /// IGMP or MLD messages of these ports found the queue to control full.
    case snoopOverflow(PortSet)
    /// The first frame of a VLAN, or the first since `forgetVLAN`.
    case vlanSeen(VLAN)
    /// A host was seen that the other lanes may not know, or not there.
    case sighted(MACEntry)
    /// The peer has answered a probe.
    case probeAnswered(PeerIndex, number: UInt32, after: Interval)
    /// The kernel does not send a packet as long as this probe's.
    case probeTooLong(PeerIndex, number: UInt32)
    /// The kernel does not send packets of data of so many octets.
    case dataTooLong(PeerIndex, size: UInt16)
    /// Frames were denied; said of each kind of them at most once a few seconds.
    case denied(DeniedFeed)
}

/// What a message in the two byte queues between a lane and control is.
enum QueuedBytes {
    /// A frame: from a port to control, or from control to a set of ports.
    case frame(UInt32)
    /// A segment of a peer's control channel, either way.
    case segment(PeerIndex)

    var tag: UInt64 {
        switch self {
        case .frame(let ports): UInt64(ports)
        case .segment(let peer): 1 << 32 | UInt64(peer.rawValue)
        }
    }

    init(tag: UInt64) {
        let low = UInt32(truncatingIfNeeded: tag)
        self = tag >> 32 == 0 ? .frame(low) : .segment(PeerIndex(Int(low)))
    }
}

/// A session's keys and numbers, as control agreed them.
public struct SessionInstallation: Sendable, BitwiseCopyable {
    public var peer: PeerIndex
    /// Where the session lives in the lane's table: the low bits of `localStream`.
    public var localStream: UInt32
    public var remoteStream: UInt32
    public var sendKey: Key256
    public var receiveKey: Key256
    public var cipher: Cipher
    /// The other side's lanes: origin tags are below.
    public var remoteLanes: UInt8 = 1
    /// Whether the other side is known to hold the keys: true for the initiator.
    public var isConfirmed: Bool
    public var endpoint: Endpoint
    /// Grows with every session of the peer.
    public var generation: UInt64
    /// Datagrams after which `renewalDue` is said.
    public var renewAfter: UInt64
}

extension SessionInstallation {
    /// One session with the first peer that both sides hold, with one key for both directions: for benchmarks, which have no
    /// control. `lanes` is how many either side has.
    package init(bothWays key: Key256, cipher: Cipher, lanes: Int, endpoint: Endpoint) {
        let stream = StreamIdentifier.make(slot: 0, random: 0)
        self.init(
            peer: PeerIndex(0), localStream: stream, remoteStream: stream, sendKey: key, receiveKey: key, cipher: cipher,
            remoteLanes: UInt8(lanes), isConfirmed: true, endpoint: endpoint, generation: 1, renewAfter: StreamSender.hardLimit)
    }
}

/// From control to a lane.
public enum LaneCommand: Sendable, BitwiseCopyable {
    case install(SessionInstallation)
    /// Forget a session's keys.
    case retire(stream: UInt32)
    /// Frames are sent to a peer only while it is up; a peer that goes down takes its MAC entries with it.
    case setPeer(PeerIndex, isUp: Bool)
    /// Whether the place is a peer's: where it is not, nothing is sent and nothing is missed.
    case setPlace(PeerIndex, isTaken: Bool)
    case listMACs(token: UInt32)
    /// Another lane has heard from the other side under a session, and from where.
    case confirm(stream: UInt32, at: Endpoint, isRouted: Bool)
    /// Another lane has heard the peer elsewhere.
    case move(PeerIndex, to: Endpoint)
    /// Another lane has seen a host.
    case sighted(MACEntry)
    /// Control does not ask on a VLAN any more: say `vlanSeen` with its next frame.
    case forgetVLAN(VLAN)
    /// Send a probe: an IP packet of `size` octets, or as short as can be where that is 0. `losses` as in `ProbeRecord`.
    case probe(PeerIndex, number: UInt32, size: UInt16, losses: UInt8, isRouted: Bool = false)
    /// Send a short probe to where the peer may be reached itself.
    case tryPlace(PeerIndex, number: UInt32, Endpoint)
    /// What is for the peer goes through another one; `nil`: to itself.
    case setVia(PeerIndex, PeerIndex?)
    /// The path to the peer carries packets of so many octets.
    case setPath(PeerIndex, size: UInt16)
    /// Seal what is for a group's audience with this stream from here on, once for all.
    case installGroup(GroupInstallation)
    /// Each member of a group's audience gets a copy of its own from the next batch on; the key is forgotten.
    case removeGroup(Int)
    /// A group's datagrams are sent elsewhere from here on.
    case setFirstHops(group: Int, PeerSet)
    /// Take a routed stream's datagrams.
    case installRoute(RouteInstallation)
    case removeRoute(stream: UInt32)
}

/// The wires between one lane and control. The lane pushes events and pops commands; control does the opposite.
public final class LaneMailbox: Sendable {
    public let events: SPSCQueue<LaneEvent>
    public let commands: SPSCQueue<LaneCommand>
    public let board: CounterBoard
    /// For each peer when something authentic last came from it, in nanoseconds: said at once, and never lost in a queue. Then
    /// for each peer the same of what came through others.
    let heard: CounterBoard
    public let layout: CounterLayout
    /// Lane to control: datagrams of the handshake's kinds, as they came.
    public let handshakes = HandshakeQueue()
    /// Lane to control: frames for the snooper.
    let punts: ByteQueue
    /// Lane to control: segments of peers' control channels, apart, so that a flood on a LAN keeps no peer from being heard.
    let segments: ByteQueue
    /// Control to lane: frames for ports, segments for peers.
    let outbound: ByteQueue
    /// Control publishes, the lanes read: where multicast goes. Each lane counts, control reads: what was forwarded.
    package let forwarding: ForwardingBoard
    /// The lane's number.
    public let lane: Int
    /// To and from the other lanes; `nil` where there are none.
    let crossings: LaneCrossings?

    /// Places of `events` that neither sightings nor rows of a listing may take: a flood of those must not keep control from
    /// hearing that a peer is there.
    static let reserve = 1024

    /// True while the lane has something to do for control.
    public var hasWorkForLane: Bool { !commands.isEmpty || !outbound.isEmpty || hasCrossings }
    /// True while datagrams wait that came to another lane.
    public var hasCrossings: Bool { crossings?.isWaiting(for: lane) ?? false }
    /// True while frames or segments of control's wait for the lane.
    public var hasFramesForLane: Bool { !outbound.isEmpty }
    /// True while control has something to hear.
    public var hasWorkForControl: Bool {
        !events.isEmpty || !handshakes.isEmpty || !punts.isEmpty || !segments.isEmpty
    }

    /// For the only lane of a gateway.
    /// - Parameter secret: keys the hashes of the forwarding table.
    public convenience init(ports: Int, peers: Int, groups: Int? = nil, secret: HashSecret) {
        self.init(
            ports: ports, peers: peers, groups: groups, lane: 0, forwarding: ForwardingBoard(secret: secret), crossings: nil)
    }

    /// One for each of `lanes`, 1 to `Limits.lanes`.
    public static func make(lanes: Int, ports: Int, peers: Int, groups: Int? = nil, secret: HashSecret) -> [LaneMailbox] {
        precondition(lanes >= 1 && lanes <= Limits.lanes)
        let forwarding = ForwardingBoard(readers: lanes, secret: secret)
        let crossings = lanes > 1 ? LaneCrossings(lanes: lanes) : nil
        return (0..<lanes).map {
            LaneMailbox(
                ports: ports, peers: peers, groups: groups, lane: $0, forwarding: forwarding, crossings: crossings)
        }
    }

    private init(
        ports: Int, peers: Int, groups: Int?, lane: Int, forwarding: ForwardingBoard, crossings: LaneCrossings?
    ) {
        punts = ByteQueue(capacity: 1 << 20)
        segments = ByteQueue(capacity: 1 << 20)
        outbound = ByteQueue(capacity: 1 << 20)
        self.forwarding = forwarding
        self.lane = lane
        self.crossings = crossings
        layout = CounterLayout(ports: ports, peers: peers, groups: groups ?? GroupLimits.groups(peers: peers))
        events = SPSCQueue(capacity: 4096)
        commands = SPSCQueue(capacity: 1024)
        board = CounterBoard(count: layout.count)
        heard = CounterBoard(count: 2 * peers)
    }
}
