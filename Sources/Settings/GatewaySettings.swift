// The configuration of one gateway as the rest of the program sees it: typed, complete, checked. How it is written in a file
// is the business of `GatewaySettings+Keys.swift`.

import Basics

/// A gateway's configuration.
public struct GatewaySettings: Hashable, Sendable {
    /// The site's name, unique in the mesh.
    public var site: String
    /// The path of the file with this gateway's private key, as seen from where the configuration's path is seen from.
    public var keyFile: String
    /// The local address of the tunnels' UDP socket.
    public var listen: Endpoint
    /// The path of the socket on which `causeway show` asks; at most 107 octets.
    public var controlSocket: String
    /// Sorted by name, at least one.
    public var ports: [PortSettings]
    /// Sorted by name. Empty for a gateway that only bridges its own ports.
    public var peers: [PeerSettings]
    /// `nil` where all peers are named with their keys.
    public var mesh: MeshSettings?
    /// The path of the file with the key that all sites share, if there is one.
    public var pskFile: String?
    public var tuning: SiteTuning
    public var machine = MachineTuning()
    public var logLevel: LogLevel
    /// The path of the file that decisions about what sites may have are added to, if there is one.
    public var auditFile: String?
    /// The path of the files with the peers that were added while the gateway ran, if they are kept.
    public var peersFile: String?
}

extension GatewaySettings {
    /// Places that peers may get while the gateway runs, where there is no mesh.
    public static let sparePlaces = 16

    /// Places for peers: in a mesh those that are found have some too.
    public var peerLimit: Int {
        mesh.map { max(peers.count, $0.siteLimit) } ?? min(peers.count + GatewaySettings.sparePlaces, Limits.peers)
    }
}

/// A LAN port.
public struct PortSettings: Hashable, Sendable {
    public var name: String
    public var kind: PortKind
    /// The network interface: with `tap` the one to create, otherwise one that exists.
    public var device: String
    /// A BPF expression that frames from the LAN must match; `nil` lets all in.
    public var filter: String?
    public var multicast = PortMulticast()
}

/// How frames are picked up and put down.
public enum PortKind: String, CaseIterable, Hashable, Sendable {
    /// AF_PACKET.
    case packet
    /// A TAP device that the gateway creates.
    case tap
    /// libpcap.
    case pcap
}

/// Another gateway.
public struct PeerSettings: Hashable, Sendable {
    public var name: String
    public var key: PublicKey
    /// Tried in turn; empty where the peer is waited for.
    public var addresses: [PeerAddress]
    /// The most that is sent to it, in bits a second with IP headers, by all lanes together; `nil` for no limit.
    public var rate: UInt64?
}

/// A mesh whose members have passes.
public struct MeshSettings: Hashable, Sendable {
    public static let defaultSiteLimit = 128

    /// The authority's Ed25519 public key: 32 octets.
    public var authority: [UInt8]
    /// The paths of the file with this gateway's pass, and of what is kept for the next start.
    public var passFile: String
    public var stateFile: String
    /// Where the others reach this gateway; empty where they find out.
    public var addresses: [Endpoint]
    /// Other sites known at once.
    public var siteLimit: Int
    /// Members that are called where they are, at most.
    public var linkLimit = Limits.peers
    /// What each further copy on our own uplink counts as, against the delay that a relay adds.
    public var copyCost = Interval.zero
    /// Gateways that are asked for the way into the mesh; sorted by name.
    public var seeds: [Seed]

    /// Some gateway of the mesh: whose, its pass says.
    public struct Seed: Hashable, Sendable {
        public var name: String
        /// Not empty.
        public var addresses: [PeerAddress]
    }
}

/// What decides how a site behaves, live or in a replay. `init()` has every default.
public struct SiteTuning: Hashable, Sendable {
    /// How long a MAC address stays known after its last frame.
    public var macAgeing = Interval.seconds(300)
    /// The most MAC addresses known at once.
    public var macLimit = 65_536
    /// The largest IP packet that is tried on the underlay, in octets with the IP header.
    public var pathMTU = 1_500
    /// How long a path's size is taken for granted before larger packets are tried again.
    public var pathRecheck = Interval.seconds(600)
    public var cipher = CipherChoice.automatic
    public var cipherBackend = CipherBackendChoice.automatic
    /// How often a peer hears from us when there is nothing to send.
    public var keepalive = Interval.seconds(1)
    /// A peer from which nothing came for so long is suspect, and one from which nothing came for so long down.
    public var livenessSuspect = Interval.seconds(1)
    public var livenessDown = Interval.seconds(3)
    /// How often the names of peers are looked up again.
    public var resolveInterval = Interval.seconds(300)
    /// The longest that one key seals for.
    public var rekeyTime = Interval.seconds(120)
    /// The most datagrams that one key seals.
    public var rekeyDatagrams: UInt64 = 1 << 32
    /// Whether ML-KEM-768 takes part in the agreement of keys.
    public var postQuantum = PostQuantumChoice.on
    /// Initiations a second, from all sources, beyond which they are answered with cookies.
    public var handshakeLoad = 200
    /// Bit *n* lets frames to 01:80:c2:00:00:0*n* cross, which a bridge keeps on its link (rule 43). Bit 1, pause, is never set.
    public var forwardMask: UInt16 = 0
    public var multicast = MulticastSettings()
    public var classes = ClassSettings()

    public init() {}
}

/// How the gateway uses the machine that it runs on. `init()` has every default.
public struct MachineTuning: Hashable, Sendable {
    /// `nil` for as many as the machine is good for.
    public var lanes: Int?
    /// The processor of each lane; empty where the system chooses.
    public var laneProcessors: [Int] = []
    public var laneWait = LaneWait.sleep
    /// How long a lane waits after a batch of frames from the LAN before it takes the next.
    public var gather = Interval.zero
    /// Whether a lane that has little to do stays at the processor where its work costs least.
    public var settlesLanes = true
    public var wakeUp = WakeUpChoice.fast
    /// Whether the kernel cuts what is sent to a peer into datagrams (UDP_SEGMENT).
    public var segmentsDatagrams = true
    /// Whether the kernel joins datagrams of a peer (UDP_GRO).
    public var joinsDatagrams = true
    /// Whether there is a connected socket for each peer beside the one for all.
    public var connectsPaths = false
    public var deliversJoined = JoinedDelivery.tcp
    /// Whether frames for the LAN pass by the device's queueing discipline.
    public var bypassesQueue = false
    /// The name or number of the user to become once everything is open; `nil` stays whoever started the gateway.
    public var user: String?
    /// The name or number of the group to become a member of, and whose members may ask; `nil` for the user's own, which may not.
    /// Only where there is a user.
    public var group: String?
    /// Whether files and system calls are restricted once everything is open.
    public var isSandboxed = true

    /// The lanes of a machine with so many processors, whose ports are of these kinds: one below 4 processors, then a half, at most
    /// 4, since the hosts' side of the machine needs some too. Only packet ports can be shared by lanes.
    public func laneCount(processors: Int, ports: [PortKind]) -> Int {
        guard ports.allSatisfy({ $0 == .packet }) else { return 1 }
        return lanes ?? (processors < 4 ? 1 : min(processors / 2, 4))
    }

    public init() {}
}

/// What a lane does while there is nothing to carry.
public enum LaneWait: String, CaseIterable, Hashable, Sendable {
    /// It sleeps until the kernel wakes it.
    case sleep
    /// It asks again and again, and keeps its processor busy.
    case poll
}

/// Which frames of one flow leave for the LAN as super-frames.
public enum JoinedDelivery: String, CaseIterable, Hashable, Sendable {
    /// TCP's alone: its hosts join segments of their own, and nobody counts them.
    case tcp
    /// UDP's too. What looks at a virtual device's frames (a packet capture behind a veth pair) then sees several datagrams as
    /// one frame; sockets, and what is behind a card, do not.
    case all
    case off
}

/// What idle processors do while there is traffic.
public enum WakeUpChoice: String, CaseIterable, Hashable, Sendable {
    /// They stay awake, so that a frame never waits for one and waking it costs nothing.
    case fast
    /// What the machine does by itself.
    case normal
}

/// What seals datagrams.
public enum CipherChoice: String, CaseIterable, Hashable, Sendable {
    /// AES-256-GCM where both processors have instructions for it, ChaCha20-Poly1305 elsewhere.
    case automatic = "auto"
    case aes256GCM = "aes-256-gcm"
    case chaCha20Poly1305 = "chacha20-poly1305"
}

/// Whether keys are agreed by X25519 and ML-KEM-768 together.
public enum PostQuantumChoice: String, CaseIterable, Hashable, Sendable {
    /// With every peer that wants it too.
    case on
    case off
    /// With every peer; one that does not want it is refused.
    case required
}

/// Which library seals and opens datagrams.
public enum CipherBackendChoice: String, CaseIterable, Hashable, Sendable {
    /// The faster one for each length of datagram, as measured at the start.
    case automatic = "auto"
    case sodium
    case openssl
}

/// How important an event is, the least important first; as a setting, the least important that is logged.
public enum LogLevel: String, CaseIterable, Hashable, Sendable, Comparable {
    case debug, info, notice, warning, error

    private var rank: Int {
        switch self {
        case .debug: 0
        case .info: 1
        case .notice: 2
        case .warning: 3
        case .error: 4
        }
    }

    public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rank < b.rank }
}
