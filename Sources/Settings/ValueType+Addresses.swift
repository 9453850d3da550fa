// Where to listen and where a peer is: `192.0.2.1:7117`, `[2001:db8::1]:7117`, and for a peer also a host name. Nothing is
// resolved here; a name stays a name.

import Basics

/// Where a peer is reached: a host name or an address, and a UDP port.
public struct PeerAddress: Hashable, Sendable {
    /// A host name (RFC 1123 section 2.1), an IPv4 address, or an IPv6 address without brackets, which may end in a zone
    /// (`fe80::1%eth0`, RFC 4007 section 11).
    public let host: String
    public let port: UInt16

    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// The address, if there is no name to resolve: neither a host's nor an interface's.
    public var endpoint: Endpoint? { numericEndpoint(host: host, port: port) }
}

extension PeerAddress: CustomStringConvertible {
    public var description: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

extension ValueType<Endpoint> {
    /// An address of this host, in numbers.
    static let endpoint = ValueType(
        name: "address and UDP port, 0.0.0.0:7117 or [::]:7117",
        parse: { text throws(ValueProblem) in
            let parts = try HostAndPort(text, usualHost: "0.0.0.0")
            guard let endpoint = numericEndpoint(host: parts.host, port: parts.port) else {
                throw ValueProblem("\(quoted(parts.host)) is not a numeric address", hint: "such as 0.0.0.0:7117 or [::]:7117")
            }
            return endpoint
        },
        print: \.description)
}

extension ValueType<PeerAddress> {
    /// A host and a UDP port.
    static let peerAddress = ValueType(
        name: "host name or address and UDP port, nyc.example:7117",
        parse: { text throws(ValueProblem) in
            let parts = try HostAndPort(text, usualHost: "nyc.example")
            let address = PeerAddress(host: parts.host, port: parts.port)
            if let endpoint = address.endpoint {
                let isUnspecified = endpoint.ipv4 == 0 || (endpoint.high == 0 && endpoint.low == 0)
                guard !isUnspecified else { throw ValueProblem("\(quoted(parts.host)) is no host's address") }
            } else if !(parts.isBracketed ? isZonedAddress(parts.host) : isHostName(parts.host)) {
                throw ValueProblem(
                    "\(quoted(parts.host)) is neither a host name nor an address",
                    hint: "such as nyc.example:7117 or [2001:db8::1]:7117")
            }
            return address
        },
        print: \.description)
}

extension ValueType<[PeerAddress]> {
    /// The most addresses that one peer can have.
    static let peerAddressLimit = 8

    /// Hosts and UDP ports with commas between, each once.
    static let peerAddresses = ValueType(
        name: "host name or address and UDP port, nyc.example:7117, or up to \(peerAddressLimit) with commas between",
        parse: { text throws(ValueProblem) in
            var addresses: [PeerAddress] = []
            for (item, offset) in listItems(text) {
                let address: PeerAddress
                do throws(ValueProblem) {
                    address = try ValueType<PeerAddress>.peerAddress.parse(item)
                } catch {
                    throw ValueProblem(error.message, hint: error.hint, offset: offset + error.offset)
                }
                guard !addresses.contains(address) else { throw ValueProblem("\(quoted(item)) is listed twice", offset: offset) }
                guard addresses.count < peerAddressLimit else {
                    throw ValueProblem("more than \(peerAddressLimit) addresses", offset: offset)
                }
                addresses.append(address)
            }
            return addresses
        },
        print: { $0.map(\.description).joined(separator: ", ") })
}

/// A text of the form `host:port` or `[address]:port`.
private struct HostAndPort {
    let host: String
    let port: UInt16
    let isBracketed: Bool

    /// `usualHost` is the host of the hints.
    init(_ text: String, usualHost: String) throws(ValueProblem) {
        let octets = Array(text.utf8)
        guard let colon = octets.lastIndex(of: UInt8(ascii: ":")), octets.last != UInt8(ascii: "]") else {
            let isPort = octets.allSatisfy(isDigit)
            let example = isPort ? "\(usualHost):\(shortened(text))" : "\(shortened(text)):7117"
            throw ValueProblem("\(quoted(text)) has no \(isPort ? "host" : "port")", hint: "write \(example)")
        }
        var host = octets[..<colon]
        isBracketed = host.first == UInt8(ascii: "[") && host.last == UInt8(ascii: "]")
        if isBracketed { host = host.dropFirst().dropLast() }
        self.host = String(decoding: host, as: UTF8.self)
        guard !host.isEmpty else { throw ValueProblem("\(quoted(text)) has no host", hint: "such as \(usualHost):7117") }
        guard isBracketed == host.contains(UInt8(ascii: ":")) else {
            throw ValueProblem(
                "\(quoted(text)) is not HOST:PORT", hint: "brackets go around an IPv6 address, as in [2001:db8::1]:7117")
        }
        let digits = octets[(colon + 1)...]
        let port = String(decoding: digits, as: UTF8.self)
        guard !digits.isEmpty, digits.allSatisfy(isDigit), let number = UInt16(port), number > 0 else {
            let offset = String(decoding: octets[...colon], as: UTF8.self).unicodeScalars.count
            throw ValueProblem("\(quoted(port)) is not a UDP port", hint: "1 to 65535", offset: offset)
        }
        self.port = number
    }
}

// MARK: - Numeric addresses

/// The address that a text stands for: a dotted quad without leading zeros, or IPv6 in a form of RFC 4291 section 2.2 without
/// a zone. `nil` for anything else, and for an IPv4-mapped address, which no packet has (RFC 4291 section 2.5.5.2).
public func parseAddress(_ text: String) -> IPAddress? {
    if let address = ipv4(text[...]) { return IPAddress(ipv4: address) }
    guard let (high, low) = ipv6(text[...]) else { return nil }
    let address = IPAddress(high: high, low: low)
    return address.family == .v6 ? address : nil
}

/// The endpoint of an address in numbers, IPv6 without brackets and with an interface's index as its zone.
func numericEndpoint(host: String, port: UInt16) -> Endpoint? {
    if let address = ipv4(host[...]) { return Endpoint(ipv4: address, port: port) }
    let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    guard let (high, low) = ipv6(parts[0]) else { return nil }
    guard parts.count == 2 else { return Endpoint(high: high, low: low, port: port) }
    guard parts[1].utf8.allSatisfy(isDigit), let scope = UInt32(parts[1]), scope > 0 else { return nil }
    return Endpoint(high: high, low: low, port: port, scope: scope)
}

/// Four decimal octets without leading zeros, in host order.
private func ipv4(_ text: Substring) -> UInt32? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var address: UInt32 = 0
    for part in parts {
        guard part.utf8.allSatisfy(isDigit), part == "0" || part.first != "0", let octet = UInt8(part) else { return nil }
        address = address << 8 | UInt32(octet)
    }
    return address
}

/// The text forms of RFC 4291 section 2.2: eight groups, `::` once for zeros, the last two groups as an IPv4 address.
private func ipv6(_ text: Substring) -> (high: UInt64, low: UInt64)? {
    var halves: [[UInt16]] = [[]]
    var parts = text.split(separator: ":", omittingEmptySubsequences: false)[...]
    guard parts.count >= 3, text.hasPrefix("::") || !text.hasPrefix(":"), text.hasSuffix("::") || !text.hasSuffix(":") else {
        return nil
    }
    // An empty part is then the "::"; at an end of the text it comes with a second one.
    if text.hasPrefix("::") { parts = parts.dropFirst() }
    if text.hasSuffix("::") { parts = parts.dropLast() }
    for (index, part) in parts.enumerated() {
        if part.isEmpty {
            halves.append([])
        } else if index == parts.count - 1, let address = ipv4(part) {
            halves[halves.count - 1] += [UInt16(address >> 16), UInt16(truncatingIfNeeded: address)]
        } else {
            guard part.utf8.count <= 4, part.utf8.allSatisfy(isHexDigit), let group = UInt16(part, radix: 16) else { return nil }
            halves[halves.count - 1].append(group)
        }
    }
    let given = halves.reduce(0) { $0 + $1.count }
    guard halves.count == 1 ? given == 8 : halves.count == 2 && given <= 7 else { return nil }
    let groups = halves[0] + Array(repeating: 0, count: 8 - given) + (halves.count == 2 ? halves[1] : [])
    let halvesOfAddress = [groups[..<4], groups[4...]].map { $0.reduce(UInt64(0)) { $0 << 16 | UInt64($1) } }
    return (halvesOfAddress[0], halvesOfAddress[1])
}

func isHexDigit(_ octet: UInt8) -> Bool {
    isDigit(octet) || (octet | 0x20) &- UInt8(ascii: "a") < 6
}

// MARK: - Names

/// An IPv6 address with an interface's name as its zone.
private func isZonedAddress(_ host: String) -> Bool {
    let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, ipv6(parts[0]) != nil else { return false }
    return problem(ofDevice: String(parts[1])) == nil && !parts[1].utf8.allSatisfy(isDigit)
}

/// Labels of letters, digits and inner hyphens, at most 63 each and 253 in all, the last one not all digits (RFC 1123
/// section 2.1); one dot at the end is the root's.
private func isHostName(_ host: String) -> Bool {
    let name = host.utf8.last == UInt8(ascii: ".") ? host.utf8.dropLast() : host.utf8[...]
    guard (1...253).contains(name.count) else { return false }
    let labels = name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let hyphen = UInt8(ascii: "-")
    return labels.allSatisfy { label in
        (1...63).contains(label.count) && label.first != hyphen && label.last != hyphen
            && label.allSatisfy { isDigit($0) || $0 == hyphen || ($0 | 0x20) &- UInt8(ascii: "a") < 26 }
    } && !(labels.last?.allSatisfy(isDigit) ?? true)
}

/// Why a text is not the name of a network interface: Linux takes at most 15 octets without `/`, `:` and blanks.
func problem(ofDevice name: String) -> ValueProblem? {
    guard name != ".", name != "..", !name.utf8.contains(where: { "/: \t".utf8.contains($0) }) else {
        return ValueProblem("\(quoted(name)) cannot be an interface's name", hint: "it has no \"/\", \":\" or blank")
    }
    guard name.utf8.count <= 15 else {
        return ValueProblem("\(quoted(name)) cannot be an interface's name", hint: "it has at most 15 octets")
    }
    return name.isEmpty ? ValueProblem("empty interface name") : nil
}
