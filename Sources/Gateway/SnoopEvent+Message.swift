// What the snooper has to say, in one line of the log each.

import Basics
import Settings
import Switching
import Wire

extension SnoopEvent {
    var level: LogLevel {
        switch self {
        case .querier(_, _, let event):
            if case .olderQuerier = event { .warning } else { .info }
        case .routerPort: .info
        case .limit: .warning
        }
    }

    var message: String {
        switch self {
        case .querier(let vlan, let family, let event):
            "\(SnoopEvent.protocolName(family)) on VLAN \(vlan): \(event.words(family))"
        case .routerPort(let vlan, let family, let ports):
            "\(SnoopEvent.protocolName(family)) on VLAN \(vlan): "
                + (ports.isEmpty ? "no port has a multicast router" : "multicast routers are on \(ports.count) of the ports")
        case .limit(let counter, let suppressed):
            "multicast: \(counter.explanation)"
                + (suppressed == 0 ? "" : " (and \(suppressed) more times since the last line)")
        }
    }

    static func protocolName(_ family: IPFamily) -> String { family == .v4 ? "IGMP" : "MLD" }
}

extension QuerierEvent {
    fileprivate func words(_ family: IPFamily) -> String {
        switch self {
        case .becameQuerier: "this gateway is the querier"
        case .gaveWay(let address): "\(address) is the querier: its address is lower"
        case .tookOver(let address): "this gateway is the querier: \(address) has been silent"
        case .olderQuerier(let generation, let address, let suppressed):
            "querier \(address) speaks \(generation.name(family)): so does this gateway while it is heard"
                + (suppressed == 0 ? "" : " (and \(suppressed) more since the last line)")
        }
    }
}
