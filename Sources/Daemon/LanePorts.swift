// Opening the LAN ports that a configuration names.

import Basics
import Buffers
import Captures
import LinuxIO
import Settings
import Tunnels

extension LanePorts {
    /// Opens every port, for one of several lanes if `groups` is not `nil`: these are the groups that the first lane's packet
    /// ports have made, in their order, and empty for the first lane. Then no packet port captures before `beginCapturing`. The
    /// index of a port is its place in `settings.ports`.
    static func open(_ settings: GatewaySettings, identity: PublicKey, groups: [PacketPort.Group]? = nil) throws -> LanePorts {
        var joined = 0
        return LanePorts(
            packets: try collect(settings, .packet) { port, index in
                var sharing = PacketPort.Sharing.alone
                if let groups {
                    sharing = joined < groups.count ? .another(in: groups[joined]) : .first
                    joined += 1
                }
                let opened = try PacketPort(
                    device: port.device, bypassQueue: settings.machine.bypassesQueue, sharing: sharing)
                return PlacedPort(index: index, port: opened, filter: try filter(port))
            },
            taps: try collect(settings, .tap) { port, index in
                PlacedPort(
                    index: index,
                    port: try TAPPort(device: port.device, macAddress: stableAddress(identity, port.name)),
                    filter: try filter(port))
            },
            lives: try collect(settings, .pcap) { port, index in
                PlacedPort(index: index, port: try LivePort(device: port.device), filter: try filter(port))
            })
    }

    /// What the other lanes' packet ports are to join.
    var groups: [PacketPort.Group] { (0..<packets.count).compactMap { packets[$0].port.group } }

    mutating func beginCapturing() throws(IOError) {
        for index in 0..<packets.count { try packets[index].port.beginCapturing() }
    }

    /// What libpcap had to say about ports that it opened all the same.
    var warnings: [String] {
        (0..<lives.count).compactMap { index in
            lives[index].port.warning.map { "\(lives[index].port.device): \($0)" }
        }
    }

    private static func filter(_ port: PortSettings) throws -> LaneFilter? {
        guard let expression = port.filter else { return nil }
        return try LaneFilter(expression: expression)
    }

    private static func collect<Port: ~Copyable>(
        _ settings: GatewaySettings, _ kind: PortKind, _ open: (PortSettings, PortIndex) throws -> Port
    ) throws -> FixedArray<Port> {
        var opened = Opened<Port>()
        for (number, port) in settings.ports.enumerated() where port.kind == kind {
            opened.append(try open(port, PortIndex(number)))
        }
        return opened.finish()
    }

    /// The address of each port's own interface, for the ports that sit on one that this machine uses as well.
    var addresses: [MACAddress?] {
        var addresses = [MACAddress?](repeating: nil, count: Limits.ports)
        for index in 0..<packets.count { addresses[packets[index].index.index] = packets[index].port.macAddress }
        for index in 0..<lives.count { addresses[lives[index].index.index] = interfaceAddress(lives[index].port.device) }
        return addresses
    }

    /// A locally administered address that a TAP port has whenever this gateway makes it: from the key and the port's name.
    private static func stableAddress(_ identity: PublicKey, _ port: String) -> MACAddress {
        let digest = identity.bytes + Array(port.utf8)
        // FNV-1a, 64 bit: any spread of the bits does.
        let hash = digest.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
        return MACAddress(rawValue: (hash & 0x00FF_FFFF_FFFF) | 0x0200_0000_0000)
    }
}

/// Move-only values gathered one by one; `FixedArray` wants them all at once.
private struct Opened<Element: ~Copyable>: ~Copyable {
    private var count = 0
    private var slots = FixedArray<Element?>(count: Limits.ports) { _ in nil }

    mutating func append(_ element: consuming Element) {
        slots[count] = consume element
        count += 1
    }

    consuming func finish() -> FixedArray<Element> {
        var slots = slots
        return FixedArray(count: count) { index in
            guard let element = slots[index].take() else { preconditionFailure("every slot below the count is filled") }
            return element
        }
    }
}
