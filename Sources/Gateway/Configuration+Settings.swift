// From what an operator wrote to what the two halves are made with: the same for a live gateway and for a replay.

import Basics
import Settings
import Switching
import Tunnels
import Wire

extension LaneConfiguration {
    public init(_ tuning: SiteTuning, ports: Int, peers: Int) {
        self.init(
            ports: ports, peers: peers, macLimit: tuning.macLimit, macAgeing: tuning.macAgeing, pathMTU: tuning.pathMTU,
            keepalive: tuning.keepalive)
        isSnooping = tuning.multicast.snooping
        otherMulticastLimit = tuning.multicast.otherLimit
        forwardMask = tuning.forwardMask
        classes = ClassMap(tuning.classes)
    }

    /// Sets what each peer may be sent; every lane has an equal part of it.
    public mutating func setRates(_ rates: [UInt64?], lanes: Int) {
        self.rates = rates.map { ($0 ?? 0) / UInt64(lanes) }
    }
}

extension ControlConfiguration {
    /// What each peer may be sent: those with a rate get copies of their own.
    public mutating func setRates(_ rates: [UInt64?]) {
        ratedPeers = PeerSet(rates.indices.filter { (rates[$0] ?? 0) > 0 }.map { PeerIndex($0) })
    }

    /// - Parameters:
    ///   - ports: what the LAN ports do with multicast, in their order.
    ///   - addresses: the MAC addresses of the ports' own interfaces, as far as they have any.
    public init(
        _ tuning: SiteTuning, identity: KeyPair, presharedKey: SecretBytes? = nil, peers: [Peer], ports: [PortMulticast],
        addresses: [MACAddress?] = [], peerLimit: Int? = nil
    ) {
        let places = max(peerLimit ?? 0, peers.count)
        var snooping = SnoopingConfiguration(tuning.multicast, ports: ports, peers: places)
        snooping.addresses = addresses
        snooping.fallbackAddress = MACAddress(of: identity.publicKey)
        self.init(
            identity: identity, presharedKey: presharedKey, peers: peers, ciphers: CipherSet(tuning.cipher),
            keepalive: tuning.keepalive, rekeyTime: tuning.rekeyTime, rekeyDatagrams: tuning.rekeyDatagrams, snooping: snooping,
            peerLimit: places)
        paths.largest = tuning.pathMTU
        paths.recheck = tuning.pathRecheck
        paths.suspect = tuning.livenessSuspect
        paths.down = tuning.livenessDown
        paths.resolveInterval = tuning.resolveInterval
        postQuantum = tuning.postQuantum
        handshakeLoad = tuning.handshakeLoad
    }
}

extension SnoopingConfiguration {
    init(_ settings: MulticastSettings, ports: [PortMulticast], peers: Int) {
        self.init(ports: ports.count, peers: peers)
        isEnabled = settings.snooping
        igmp = Family(settings.igmp, generation: MembershipGeneration(rawValue: UInt8(clamping: settings.igmp.version)))
        mld = Family(settings.mld, generation: settings.mld.version == 1 ? .second : .third)
        floodsUnregistered = settings.unregistered == .flood
        routerSites =
            switch settings.routerSites {
            case .pim: .pim
            case .all: .all
            case .none: .none
            }
        statics = settings.statics.map { Static(GroupKey($0.vlan, $0.group), source: $0.source) }
        interestLimit = settings.interestsLimit
        reportLimit = settings.reportsLimit
        groups.ssm = settings.ssm
        groups.groupLimit = settings.groupsLimit
        groups.sourceLimit = settings.sourcesLimit
        groups.memberLimit = settings.membersLimit
        groups.tracking = settings.tracking
        for (number, port) in ports.enumerated() {
            let set = PortSet(PortIndex(number))
            switch port.router {
            case .auto: break
            case .on: routerPorts = routerPorts.union(set)
            case .off: routerlessPorts = routerlessPorts.union(set)
            }
            if port.fastLeave { groups.fastLeave = groups.fastLeave.union(set) }
            if port.floodReports { reportFloodPorts = reportFloodPorts.union(set) }
        }
    }
}

extension SnoopingConfiguration.Family {
    fileprivate init(_ settings: FamilySettings, generation: MembershipGeneration?) {
        self.init()
        timing = settings.timing
        isQuerier = settings.querier
        address = settings.querierAddress
        self.generation = generation ?? .third
        isStrict = settings.strict
    }
}

extension MACAddress {
    /// A locally administered address from a gateway's public key, for ports whose interface has none.
    fileprivate init(of key: PublicKey) {
        let octets = key.bytes.prefix(5).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        self.init(rawValue: 0x0200_0000_0000 | octets)
    }
}

extension CipherSet {
    /// The ciphers that a setting allows on this processor; empty when it asks for one that the processor lacks.
    public init(_ choice: CipherChoice) {
        switch choice {
        case .automatic: self = .supported
        case .aes256GCM: self = CipherSet.supported.intersection(.aes256gcm)
        case .chaCha20Poly1305: self = .chacha20poly1305
        }
    }
}
