// Every key of a gateway's configuration: one row each. The documentation, the parser, the defaults and what a scenario may
// set for a site all come from these rows.

import Basics

extension GatewaySettings {
    /// Every key, in the order in which documentation shows them.
    public static let knownKeys: [KeyDocumentation] = keys.documentation

    static let keys = KeyTable(
        keys: identityKeys + portKeys + peerKeys + meshKeys + tuningKeys + classKeys + machineKeys + multicastKeys)

    /// The underlay's MTU: an IPv4 host takes at least 576 octets (RFC 791 section 3.1).
    static let mtu = ValueType<Int>.integer(576...9_216, unit: "octets")

    private static let liveness = ValueType<Interval>.duration(.milliseconds(50) ... .seconds(60))

    static let exampleKey = "sSp2vAT8Wy/FcwoUJzrg9gKaFGWCHV/0ouPtXzz/vlY="

    private static let identityKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "site", .name, .required(example: "london"), inReplay: .decided("the sites are named in the key sites"),
            "The site's name, unique in the mesh."
        ) { $0.site = $2 },
        SettingKey(
            "key.file", .path, .required(example: "london.key"), inReplay: keysFromSeed,
            "The file with this gateway's private key, which `causeway genkey FILE` writes."
        ) { $0.keyFile = $2 },
        SettingKey(
            "listen", .endpoint, .required(example: "0.0.0.0:7117"), inReplay: noSockets,
            "The local address of the UDP socket for all tunnels; an IPv6 address stands in brackets."
        ) { $0.listen = $2 },
        SettingKey(
            "control.socket", .path, .byDefault("/run/causeway/SITE.sock"), inReplay: noSockets,
            "The socket on which `causeway show` asks the gateway."
        ) { $0.controlSocket = $2 },
        SettingKey(
            "psk.file", .path, .optional(example: "mesh.psk"), inReplay: keysFromSeed,
            "A file with 32 octets in base64, the same at every site: a second secret that handshakes need."
        ) { $0.pskFile = $2 },
        SettingKey(
            "log.level", .word, \.logLevel, inReplay: .decided("the command line decides what is logged"),
            "The least important event that is logged."),
        SettingKey(
            "peers.file", .path, .optional(example: "/var/lib/causeway/london.peers"),
            inReplay: .decided("every site is every other's peer from the start"),
            "Two files, with `.0` and `.1` behind the name: the peers that `causeway peer add` has named, for the next start."
        ) { $0.peersFile = $2 },
        SettingKey(
            "audit.file", .path, .optional(example: "/var/log/causeway/audit.log"),
            inReplay: .decided("a replay writes no audit"),
            "The file that gets a line for each decision about what sites may send and receive."
        ) { $0.auditFile = $2 },
    ]

    private static let portKeys: [SettingKey<GatewayDraft>] =
        [
            SettingKey(
                "port.NAME.kind", .word, .required(example: "packet"), inReplay: framesFromCaptures,
                "How the port gets at its LAN: AF_PACKET, a TAP device that is created, or libpcap."
            ) { $0.ports[$1[0], default: PortDraft()].kind = $2 },
            SettingKey(
                "port.NAME.device", .text("interface name"), .required(example: "eth1"), inReplay: framesFromCaptures,
                "The network interface, for this port alone."
            ) { $0.ports[$1[0], default: PortDraft()].device = $2 },
            SettingKey(
                "port.NAME.filter", .text("BPF expression"), .optional(example: "not port 22"),
                "Frames from the LAN that do not match are counted and dropped."
            ) { $0.ports[$1[0], default: PortDraft()].filter = $2 },
        ] + portMulticastKeys

    private static let peerKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "peer.NAME.key", .publicKey, .optional(example: GatewaySettings.exampleKey), inReplay: everyPairPeered,
            "The public key of another gateway, which `causeway pubkey FILE` prints there; in a mesh, passes say it."
        ) { $0.peers[$1[0], default: PeerDraft()].key = $2 },
        SettingKey(
            "peer.NAME.address", .peerAddresses, .optional(example: "nyc.example:7117"), inReplay: everyPairPeered,
            "Where the other gateway listens, tried in turn; without it, this one waits for the other to call."
        ) { $0.peers[$1[0], default: PeerDraft()].addresses = $2 },
        SettingKey(
            "peer.NAME.rate", .rate(64_000...100_000_000_000), .optional(example: "200Mbit"), inReplay: everyPairPeered,
            "The most that is sent to it, IP headers included, in bits a second; without it, as much as there is."
        ) { $0.peers[$1[0], default: PeerDraft()].rate = $2 },
    ]

    private static let tuningKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "mac.ageing", .duration(.seconds(10) ... .seconds(1_000_000)), \.tuning.macAgeing,
            "How long a MAC address stays known after its last frame."),
        SettingKey("mac.limit", .integer(16...1_048_576), \.tuning.macLimit, "The most MAC addresses known at once."),
        SettingKey(
            "path.mtu", mtu, \.tuning.pathMTU,
            "The largest IP packet that is tried on the underlay, with the IP header; what the path carries is found by probing."),
        SettingKey(
            "path.recheck", .duration(.seconds(1) ... .seconds(86_400)), \.tuning.pathRecheck,
            "How long a path's size is taken for granted before larger packets are tried again."),
        SettingKey(
            "cipher", .word, \.tuning.cipher,
            "What seals datagrams; `auto` is AES-256-GCM where both processors have instructions for it."),
        SettingKey(
            "cipher.backend", .word, \.tuning.cipherBackend,
            inReplay: .decided("a replay uses libsodium; the octets are the same"),
            "The library that seals and opens; `auto` measures at the start which is the faster for each length of datagram."),
        SettingKey(
            "keepalive", .duration(.milliseconds(50) ... .seconds(60)), \.tuning.keepalive,
            "How often a peer hears from this gateway when there is nothing to send."),
        SettingKey(
            "liveness.suspect", liveness, \.tuning.livenessSuspect,
            "How long nothing comes from a peer before it is suspect; a peer is asked four times in that."),
        SettingKey(
            "liveness.down", liveness, \.tuning.livenessDown,
            "How long nothing comes from a peer before it is down: then nothing is sent to it, and it is called again."),
        SettingKey(
            "resolve.interval", .duration(.seconds(1) ... .seconds(86_400)), \.tuning.resolveInterval,
            inReplay: .decided("a replay has no names"),
            "How often the names of peers are looked up again."),
        SettingKey(
            "rekey.time", .duration(.seconds(1) ... .seconds(3_600)), \.tuning.rekeyTime,
            "How long a key seals before a new one is agreed."),
        SettingKey(
            "rekey.datagrams", .integer(1_000...1 << 48, unit: "datagrams"), \.tuning.rekeyDatagrams,
            "How many datagrams a key seals before a new one is agreed."),
        SettingKey(
            "post-quantum", .word, \.tuning.postQuantum, inReplay: keysFromSeed,
            "Whether keys come from X25519 and ML-KEM-768 together; `required` refuses peers that cannot."),
        SettingKey(
            "handshake.load", .integer(1...100_000, unit: "handshakes a second"), \.tuning.handshakeLoad,
            inReplay: .decided("nobody floods a replay"),
            "How many handshakes a second, from all sources, are answered without asking each sender for a cookie first."),
        SettingKey(
            "bridge.forward-mask", .forwardMask, \.tuning.forwardMask,
            "Lets addresses cross that otherwise stay on their link, bit n 01:80:c2:00:00:0n: 0x4000 is LLDP."),
    ]

    private static let machineKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "lanes", .laneCount, \.machine.lanes, inReplay: noThreads,
            "How many threads carry frames; `auto` is one below 4 processors, then half of them, at most 4."),
        SettingKey(
            "lane.cpus", .processors, \.machine.laneProcessors, inReplay: noThreads,
            "The processor of each lane, in their order; `any` leaves it to the system."),
        SettingKey(
            "lane.wait", .word, \.machine.laneWait, inReplay: noThreads,
            "What a lane does while nothing comes: `sleep`, or `poll`, which keeps a processor busy and saves the time to wake."),
        SettingKey(
            "lane.gather", .duration(.zero ... .milliseconds(1)), \.machine.gather, inReplay: noThreads,
            "How long a lane that sleeps lets frames gather after each batch from the LAN: fewer, fuller datagrams."),
        SettingKey(
            "lane.settle", .boolean, \.machine.settlesLanes, inReplay: noThreads,
            "Whether a lane that has little to do stays at the processor where its work costs least."),
        SettingKey(
            "cpu.wake-up", .word, \.machine.wakeUp, inReplay: noThreads,
            "`fast` keeps idle processors from deep sleep while there is traffic; `normal` leaves them alone."),
        SettingKey(
            "offload.send", .boolean, \.machine.segmentsDatagrams, inReplay: noSockets,
            "Whether the kernel cuts what goes to a peer into datagrams (UDP_SEGMENT)."),
        SettingKey(
            "offload.receive", .boolean, \.machine.joinsDatagrams, inReplay: noSockets,
            "Whether the kernel joins datagrams of a peer (UDP_GRO)."),
        SettingKey(
            "offload.connect", .boolean, \.machine.connectsPaths, inReplay: noSockets,
            "Whether each peer has a connected socket beside the one for all, which spares looking up routes; with one lane."),
        SettingKey(
            "offload.deliver", .word, \.machine.deliversJoined, inReplay: noSockets,
            "Whose frames of one flow leave for a packet port as one super-frame, which the kernel or the card cuts: `tcp`, `all`"
                + " (UDP's too) or `off`."),
        SettingKey(
            "offload.bypass-queue", .boolean, \.machine.bypassesQueue, inReplay: noSockets,
            "Whether frames for a packet port pass by the device's queueing discipline."),
        SettingKey(
            "user", .text("user's name or number"), .optional(example: "causeway"), inReplay: noPrivileges,
            "The user that the gateway becomes once everything is open; without it, it stays whoever started it."
        ) { $0.machine.user = $2 },
        SettingKey(
            "group", .text("group's name or number"), .optional(example: "netops"), inReplay: noPrivileges,
            "The group it becomes a member of instead of the user's own; its members may ask at the control socket."
        ) { $0.machine.group = $2 },
        SettingKey(
            "sandbox", .boolean, \.machine.isSandboxed, inReplay: noPrivileges,
            "Whether the running gateway is restricted to the files and system calls that it needs."),
    ]

    /// Why a scenario cannot set a key: what stands in for it in a replay.
    private static let keysFromSeed = InReplay.decided("keys come from the seed")
    private static let noThreads = InReplay.decided("a replay has no threads")
    private static let noPrivileges = InReplay.decided("a replay runs as whoever starts it")
    private static let noSockets = InReplay.decided("a replay opens no sockets")
    private static let framesFromCaptures = InReplay.decided("frames come from site.SITE.port.PORT.capture")
    private static let everyPairPeered = InReplay.decided("every site is every other's peer; see link.A-B.delay")
}

/// A configuration while it is read: every value that has been given so far.
struct GatewayDraft: SettingsDraft {
    var site: String?
    var keyFile: String?
    var listen: Endpoint?
    var controlSocket: String?
    var pskFile: String?
    var auditFile: String?
    var peersFile: String?
    var logLevel = LogLevel.info
    var tuning = SiteTuning()
    var machine = MachineTuning()
    /// Never iterated: the order comes from the file or from sorted names.
    var ports: [String: PortDraft] = [:]
    var peers: [String: PeerDraft] = [:]
    var mesh = MeshDraft()
}

struct MeshDraft: Sendable {
    var authority: PublicKey?
    var passFile: String?
    var stateFile: String?
    var addresses: [PeerAddress] = []
    var siteLimit = MeshSettings.defaultSiteLimit
    var linkLimit = Limits.peers
    var copyCost = Interval.zero
}

struct PortDraft: Sendable {
    var kind: PortKind?
    var device: String?
    var filter: String?
    var multicast = PortMulticast()
}

struct PeerDraft: Sendable {
    var key: PublicKey?
    var addresses: [PeerAddress] = []
    var rate: UInt64?
}
