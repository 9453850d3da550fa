// What the snooper of one gateway is made with.

import Basics
import Wire

public struct SnoopingConfiguration: Hashable, Sendable {
    /// One family's part.
    public struct Family: Hashable, Sendable {
        public var timing = MembershipTiming()
        public var isQuerier = true
        /// Where our queries and reports come from; `nil`: a link-local address made from the gateway's MAC address.
        public var address: IPAddress?
        /// The newest generation in which we ask.
        public var generation = MembershipGeneration.third
        /// Only messages with hop limit 1 and Router Alert count.
        public var isStrict = false

        public init() {}
    }

    /// Which of a site's routers make it want every group (rule 36).
    public enum RouterSites: String, Hashable, Sendable, CaseIterable { case pim, all, none }

    /// A group that the site wants before anybody asks.
    public struct Static: Hashable, Sendable {
        public var key: GroupKey
        /// `nil`: every source.
        public var source: IPAddress?

        public init(_ key: GroupKey, source: IPAddress?) {
            self.key = key
            self.source = source
        }
    }

    public var ports: Int
    public var peers: Int
    /// False: every multicast frame goes everywhere, as in a plain bridge.
    public var isEnabled = true
    public var igmp = Family()
    public var mld = Family()
    public var groups: GroupTableConfiguration
    public var floodsUnregistered = false
    public var routerSites = RouterSites.pim
    public var statics: [Static] = []
    /// Ports with a multicast router for certain, and those that never have one.
    public var routerPorts = PortSet.none
    public var routerlessPorts = PortSet.none
    /// Ports on which reports go to hosts too (rule 1).
    public var reportFloodPorts = PortSet.none
    /// Facts of interest that one peer may tell.
    public var interestLimit = 262_144
    /// Group records a second that one port may bring in reports: each costs as much as a report of one group.
    public var reportLimit = 10_000
    /// Our MAC address on each port; where there is none, one made from the public key.
    public var addresses: [MACAddress?] = []
    public var fallbackAddress = MACAddress(rawValue: 0x0200_0000_0001)

    public init(ports: Int, peers: Int) {
        self.ports = ports
        self.peers = peers
        groups = GroupTableConfiguration(ports: ports)
    }

    public subscript(family: IPFamily) -> Family { family == .v4 ? igmp : mld }

    /// What a frame that we send on a port comes from.
    func address(on port: PortIndex) -> MACAddress {
        port.index < addresses.count ? addresses[port.index] ?? fallbackAddress : fallbackAddress
    }

    /// The address of our queries and reports: configured, or link-local, made from the first port's MAC address (IPv4: RFC
    /// 3927's block, from the low octets; IPv6: RFC 4291 appendix A).
    public func source(_ family: IPFamily) -> IPAddress {
        if let address = self[family].address { return address }
        let mac = address(on: PortIndex(0)).rawValue
        if family == .v4 {
            // 169.254.0.0/24 and 169.254.255.0/24 are reserved.
            let host = UInt32(truncatingIfNeeded: mac & 0xFFFF) % 0xFE00
            return IPAddress(ipv4: 0xA9FE_0100 + host)
        }
        let high = (mac >> 24 ^ 0x02_0000) & 0xFF_FFFF
        return IPAddress(high: 0xFE80_0000_0000_0000, low: high << 40 | 0xFF_FE00_0000 | mac & 0xFF_FFFF)
    }
}

/// What the snooper tells operators.
public enum SnoopEvent: Hashable, Sendable {
    case querier(VLAN, IPFamily, QuerierEvent)
    case routerPort(VLAN, IPFamily, PortSet)
    /// A limit was reached, the first time in a while.
    case limit(SnoopCounter, suppressed: Int)
}
