// Values about multicast: addresses of queriers, ranges and lists of groups, moments, and the mask of addresses that stay on a
// link. Lists are sorted when they are read, so that equal meanings are equal values.

import Basics

extension ValueType<Int> {
    /// K1: a field of three bits in queries, and never 0 (RFC 9776 section 8.1, RFC 9777 section 9.1).
    static let robustness = ValueType(
        name: "number, 1 to 7",
        parse: { text throws(ValueProblem) in
            guard text.isEmpty || text.utf8.contains(where: { $0 != UInt8(ascii: "0") }) else {
                throw ValueProblem("0 is never valid: every membership would end before it is renewed", hint: "1 to 7, usually 2")
            }
            return try integer(1...7).parse(text)
        },
        print: { String($0) })
}

extension ValueType<IPAddress> {
    /// Where a family's queries come from: the lowest address is elected, and MLD's is link-local (RFC 9777 section 5.1.14).
    static func querierAddress(_ family: IPFamily) -> ValueType {
        let isV4 = family == .v4
        return ValueType(
            name: isV4 ? "IPv4 address" : "link-local IPv6 address",
            parse: { text throws(ValueProblem) in
                let hint = isV4 ? "such as 192.0.2.1" : "such as fe80::1, without a zone"
                guard let address = parseAddress(text), address.family == family else {
                    throw ValueProblem("\(quoted(text)) is not an IPv\(family.rawValue) address", hint: hint)
                }
                guard address.isUnicast else { throw ValueProblem("\(quoted(text)) is no host's address", hint: hint) }
                guard isV4 || address.isLinkLocalUnicast else {
                    throw ValueProblem("\(quoted(text)) is not link-local: hosts would ignore the queries", hint: hint)
                }
                return address
            },
            print: \.description)
    }
}

// MARK: - Ranges of groups

extension ValueType<[IPPrefix]> {
    /// Prefixes of groups with commas between; `ff3x::/32` is all sixteen from ff30::/32 to ff3f::/32.
    static let groupRanges = ValueType(
        name: "prefixes of groups with commas between, 232.0.0.0/8 or ff3x::/32 with x for every scope, at most 64; or none",
        parse: { text throws(ValueProblem) in
            if text == "none" { return [] }
            var prefixes: [IPPrefix] = []
            let items = listItems(text)
            guard items.count <= 64 else { throw ValueProblem("more than 64 ranges", offset: items[64].offset) }
            for (item, offset) in items {
                let written = try groupRange(item, offset)
                guard !prefixes.contains(where: written.contains) else {
                    throw ValueProblem("\(quoted(item)) is listed twice", offset: offset)
                }
                prefixes += written
            }
            return prefixes.sorted { ($0.address, $0.length) < ($1.address, $1.length) }
        },
        print: { prefixes in
            var printed: Set<IPPrefix> = []
            var items: [String] = []
            for prefix in prefixes where !printed.contains(prefix) {
                let scopes = everyScope(of: prefix)
                let isWhole = !scopes.isEmpty && scopes.allSatisfy { prefixes.contains($0) && !printed.contains($0) }
                printed.formUnion(isWhole ? scopes : [prefix])
                // The scope is the fourth digit of an address that begins with ff.
                let text = "\(prefix)"
                items.append(isWhole ? "\(text.prefix(3))x\(text.dropFirst(4))" : text)
            }
            return items.isEmpty ? "none" : items.joined(separator: ", ")
        })
}

/// The prefix, or the sixteen for which the letter x stands.
private func groupRange(_ text: String, _ offset: Int) throws(ValueProblem) -> [IPPrefix] {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let characters = Array(parts.first ?? "")
    let hasScopes = characters.count > 4 && "xX".contains(characters[3]) && characters[4] == ":"
    let numeric = hasScopes ? String(characters[..<3] + ["0"] + characters[4...]) : String(characters)
    guard let address = parseAddress(numeric) else {
        throw ValueProblem("\(quoted(text)) is not a prefix", hint: "such as 232.0.0.0/8 or ff3x::/32", offset: offset)
    }
    let longest = address.family == .v4 ? 32 : 128
    let shortest = address.family == .v4 ? 4 : hasScopes ? 16 : 8
    guard parts.count == 2 else {
        throw ValueProblem("\(quoted(text)) has no length", hint: "such as \(shortened(text))/\(longest)", offset: offset)
    }
    guard parts[1].utf8.allSatisfy(isDigit), let length = Int(parts[1]), shortest <= length, length <= longest,
        let prefix = IPPrefix(address, length: length)
    else {
        throw ValueProblem("\(quoted(parts[1])) is not a prefix's length", hint: "\(shortest) to \(longest)", offset: offset)
    }
    guard address.isMulticast else { throw ValueProblem("\(quoted(text)) is not a range of groups", offset: offset) }
    let first = prefix.firstAddress
    guard first == address else {
        let hint = "write \(IPPrefix(first, length: length).map { "\($0)" } ?? "")"
        throw ValueProblem("\(quoted(text)) has bits beyond its length", hint: hasScopes ? nil : hint, offset: offset)
    }
    return hasScopes ? everyScope(of: prefix) : [prefix]
}

/// The sixteen prefixes that differ from this one in nothing but the scope, by scope; nothing for one that is not of scope 0
/// and IPv6.
private func everyScope(of prefix: IPPrefix) -> [IPPrefix] {
    let address = prefix.address
    guard address.family == .v6, address.high >> 48 & 0xF == 0, prefix.length >= 16 else { return [] }
    return (0..<16).compactMap { scope in
        IPPrefix(IPAddress(high: address.high | scope << 48, low: address.low), length: prefix.length)
    }
}

extension IPPrefix {
    /// The address without the bits beyond the length.
    fileprivate var firstAddress: IPAddress {
        let bits = address.family == .v4 ? length + 96 : length
        return IPAddress(
            high: bits >= 64 ? address.high : address.high & ~(UInt64.max >> UInt64(bits)),
            low: bits <= 64 ? 0 : address.low & ~(bits == 128 ? 0 : UInt64.max >> UInt64(bits - 64)))
    }
}

// MARK: - Static groups

extension ValueType<[StaticGroup]> {
    /// `239.1.1.1, 232.1.1.1 from 192.0.2.7, ff3e::8000:1 from 2001:db8::1 on 10`.
    static let staticGroups = ValueType(
        name: "groups with commas between, each GROUP, from SOURCE, on VLAN (10, or s10 for a service tag), "
            + "at most \(MulticastSettings.maximumStatics); or none",
        parse: { text throws(ValueProblem) in
            if text == "none" { return [] }
            let items = listItems(text)
            let most = MulticastSettings.maximumStatics
            guard items.count <= most else { throw ValueProblem("more than \(most) groups", offset: items[most].offset) }
            var seen: Set<StaticGroup> = []
            for (item, offset) in items {
                let group = try staticGroup(item, offset)
                guard seen.insert(group).inserted else { throw ValueProblem("\"\(group)\" is listed twice", offset: offset) }
            }
            return seen.sorted()
        },
        print: { $0.isEmpty ? "none" : $0.map(\.description).joined(separator: ", ") })
}

/// One item: a group, and in any order what follows `from` and `on`.
private func staticGroup(_ text: String, _ offset: Int) throws(ValueProblem) -> StaticGroup {
    let words = words(of: text, at: offset)
    guard let first = words.first else {
        throw ValueProblem("empty item", hint: "such as 239.1.1.1, or 232.1.1.1 from 192.0.2.7 on 10", offset: offset)
    }
    guard let group = parseAddress(first.text) else {
        throw ValueProblem("\(quoted(first.text)) is not an address", hint: "such as 239.1.1.1", offset: first.offset)
    }
    guard group.isSnoopedGroup else {
        let why = group.isMulticast ? "is not a group that can be joined" : "is not a group"
        throw ValueProblem("\(quoted(first.text)) \(why)", hint: "such as 239.1.1.1", offset: first.offset)
    }
    var result = StaticGroup(group: group)
    var seen: [String] = []
    for index in stride(from: 1, to: words.count, by: 2) {
        let word = words[index]
        guard ["from", "on"].contains(word.text), !seen.contains(word.text) else {
            throw ValueProblem("\(quoted(word.text)) after a group", hint: "write GROUP from SOURCE on VLAN", offset: word.offset)
        }
        guard index + 1 < words.count else {
            throw ValueProblem("nothing after \"\(word.text)\"", hint: "write GROUP from SOURCE on VLAN", offset: word.offset)
        }
        seen.append(word.text)
        let value = words[index + 1]
        if word.text == "on" {
            result.vlan = try vlan(value.text, value.offset)
        } else {
            result.source = try source(value.text, of: group, value.offset)
        }
    }
    return result
}

private func source(_ text: String, of group: IPAddress, _ offset: Int) throws(ValueProblem) -> IPAddress {
    guard let source = parseAddress(text), source.isUnicast else {
        throw ValueProblem("\(quoted(text)) is no host's address", hint: "such as 192.0.2.7", offset: offset)
    }
    guard source.family == group.family else {
        let hint = "\(group) is IPv\(group.family.rawValue), \(source) is IPv\(source.family.rawValue)"
        throw ValueProblem("\(quoted(text)) sends no frames to \(group)", hint: hint, offset: offset)
    }
    return source
}

/// `10` for an 802.1Q VLAN, `s10` for an 802.1ad one.
private func vlan(_ text: String, _ offset: Int) throws(ValueProblem) -> VLAN {
    let isService = text.hasPrefix("s")
    let digits = isService ? text.dropFirst() : text[...]
    guard !digits.isEmpty, digits.utf8.allSatisfy(isDigit), let number = UInt16(digits), (1...4_094).contains(number) else {
        let hint = "1 to 4094, or s1 to s4094 for a service tag; leave \"on\" out for untagged frames"
        throw ValueProblem("\(quoted(text)) is not a VLAN", hint: hint, offset: offset)
    }
    return VLAN(identifier: number, isService: isService)
}

/// Where in the value of `multicast.static` a group stands, in scalars; 0 if it is nowhere.
func offset(ofStatic group: StaticGroup, in value: String) -> Int {
    listItems(value).first { (try? staticGroup($0.text, $0.offset)) == group }?.offset ?? 0
}

/// What blanks divide, and where each word begins, in scalars; `offset` is where the text begins.
private func words(of text: String, at offset: Int) -> [(text: String, offset: Int)] {
    Array(text.unicodeScalars).split { $0 == " " || $0 == "\t" }.map { word in
        (String(String.UnicodeScalarView(word)), offset + word.startIndex)
    }
}

// MARK: - Moments and masks

extension ValueType<[Interval]> {
    /// Durations with commas between, in any order; held ascending.
    static func moments(_ range: ClosedRange<Interval>, limit: Int) -> ValueType {
        let moment = ValueType<Interval>.duration(range)
        return ValueType(
            name: "durations with commas between, \(range.lowerBound) to \(range.upperBound), at most \(limit)",
            parse: { text throws(ValueProblem) in
                let items = listItems(text)
                guard items.count <= limit else { throw ValueProblem("more than \(limit) moments", offset: items[limit].offset) }
                var moments: [Interval] = []
                for (item, offset) in items {
                    let value: Interval
                    do throws(ValueProblem) {
                        value = try moment.parse(item)
                    } catch {
                        throw ValueProblem(error.message, hint: error.hint, offset: offset + error.offset)
                    }
                    guard !moments.contains(value) else { throw ValueProblem("\(value) is listed twice", offset: offset) }
                    moments.append(value)
                }
                return moments.sorted()
            },
            print: { $0.map(\.description).joined(separator: ", ") })
    }
}

extension ValueType<UInt16> {
    /// Bit *n* stands for 01:80:c2:00:00:0*n*. Pause (IEEE 802.3 annex 31B) stops whoever hears it, and is for one link.
    static let forwardMask = ValueType(
        name: "mask of 16 bits, 0x0000 to 0xffff, bit n for 01:80:c2:00:00:0n, without bit 1",
        parse: { text throws(ValueProblem) in
            let digits = text.hasPrefix("0x") ? text.dropFirst(2) : ""
            guard !digits.isEmpty, digits.utf8.allSatisfy(isHexDigit) else {
                throw ValueProblem("\(quoted(text)) is not a hexadecimal number", hint: "such as 0x4000, which lets LLDP through")
            }
            guard let mask = UInt16(digits, radix: 16) else {
                throw ValueProblem("\(quoted(text)) is out of range", hint: "0x0000 to 0xffff")
            }
            guard mask & 2 == 0 else {
                let message = "bit 1 would let pause frames (01:80:c2:00:00:01) through, and one slow port would stop every site"
                throw ValueProblem(message, hint: "write \(hexadecimal(mask & ~2))")
            }
            return mask
        },
        print: hexadecimal)
}

/// `0x4000`: a mask as it is written.
@Sendable func hexadecimal(_ mask: UInt16) -> String {
    let digits = String(mask, radix: 16)
    return "0x" + String(repeating: "0", count: 4 - digits.count) + digits
}
