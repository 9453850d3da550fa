// The NAT that a simulated gateway is behind: it gives what leaves the site another source port, and lets in only what comes
// from where something was sent to (RFC 4787). With one mapping for all destinations, two such sites reach each other once both
// have tried; with a mapping for each destination they do not, and others have to carry for them.

import Basics

struct NAT {
    enum Mapping: String, CaseIterable, Sendable {
        /// RFC 4787 section 4.1's endpoint-independent mapping.
        case endpointIndependent
        /// Its address and port-dependent mapping, called symmetric elsewhere.
        case addressAndPortDependent
    }

    /// A mapping, or leave to come in, that nothing has used for so long is gone. RFC 4787 asks for two minutes; many give less.
    static let idle = Interval.seconds(30)

    let mapping: Mapping
    /// The NAT's public address.
    let address: UInt32
    private struct Entry {
        var port: UInt16
        var used: Instant
    }
    /// By destination; of one mapping for all, under `anywhere`.
    private var entries: [Endpoint: Entry] = [:]
    /// Where each port's datagrams have gone, and when last.
    private var leave: [UInt16: [Endpoint: Instant]] = [:]
    private var nextPort: UInt16
    private static let anywhere = Endpoint(ipv4: 0, port: 0)

    /// - Parameter firstPort: the first that a mapping gets; the others follow.
    init(_ mapping: Mapping, address: UInt32, firstPort: UInt16 = 20_000) {
        self.mapping = mapping
        self.address = address
        nextPort = firstPort
    }

    /// Something leaves for a destination. Returns where it is seen to come from.
    mutating func outbound(to destination: Endpoint, at now: Instant) -> Endpoint {
        let key = mapping == .endpointIndependent ? NAT.anywhere : destination
        let port: UInt16
        if let entry = entries[key], now - entry.used <= NAT.idle {
            port = entry.port
        } else {
            if let old = entries[key] { leave[old.port] = nil }
            port = nextPort
            nextPort = nextPort == .max ? 1_024 : nextPort + 1
        }
        entries[key] = Entry(port: port, used: now)
        leave[port, default: [:]][destination] = now
        return Endpoint(ipv4: address, port: port)
    }

    /// Whether something that has come to a port gets in.
    func admits(_ source: Endpoint, to port: UInt16, at now: Instant) -> Bool {
        guard let last = leave[port]?[source] else { return false }
        return now - last <= NAT.idle
    }

    /// It has been restarted: all mappings are gone, and the next ones have other ports.
    mutating func forget() {
        entries = [:]
        leave = [:]
        nextPort = nextPort > 60_000 ? 1_024 : nextPort + 100
    }
}
