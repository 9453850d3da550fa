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
    /// The path of the file with the key that all sites share, if there is one.
    public var pskFile: String?
    public var tuning: SiteTuning
    public var logLevel: LogLevel
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
    /// `nil` where the peer is waited for.
    public var address: PeerAddress?
}

/// What decides how a site behaves, live or in a replay. `init()` has every default.
public struct SiteTuning: Hashable, Sendable {
    /// How long a MAC address stays known after its last frame.
    public var macAgeing = Interval.seconds(300)
    /// The most MAC addresses known at once.
    public var macLimit = 65_536
    /// The largest IP packet that the underlay carries, in octets with the IP header, until it is probed.
    public var pathMTU = 1_500
    public var cipher = CipherChoice.automatic
    public var cipherBackend = CipherBackendChoice.automatic
    /// How often a peer hears from us when there is nothing to send.
    public var keepalive = Interval.seconds(1)
    /// The longest that one key seals for.
    public var rekeyTime = Interval.seconds(120)
    /// The most datagrams that one key seals.
    public var rekeyDatagrams: UInt64 = 1 << 32
    /// Bit *n* lets frames to 01:80:c2:00:00:0*n* cross, which a bridge keeps on its link (rule 43). Bit 1, pause, is never set.
    public var forwardMask: UInt16 = 0
    public var multicast = MulticastSettings()

    public init() {}
}

/// What seals datagrams.
public enum CipherChoice: String, CaseIterable, Hashable, Sendable {
    /// AES-256-GCM where both processors have instructions for it, ChaCha20-Poly1305 elsewhere.
    case automatic = "auto"
    case aes256GCM = "aes-256-gcm"
    case chaCha20Poly1305 = "chacha20-poly1305"
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
