// A pass: what makes a gateway a member of a mesh, signed by the mesh's authority (Authority.swift has the form around it).
//
//     tag  value
//       1  mesh, 16 octets                              8  groups that it may receive, as 7
//       2  serial number, 64 bit                        9  VLANs: 1 for any; or 0, then ranges of two 16-bit numbers
//       3  site's name, 1 to 32 of a-z 0-9 -           10  flags, 8 bit: 1 may relay
//       4  gateway's X25519 public key, 32 octets
//       5  valid from, seconds since 1970, 64 bit
//       6  valid until, likewise
//       7  groups that it may send: 1 for any; or 0, then rules
//
//     a rule:    prefix | number of sources, 8 bit | prefix of each source
//     a prefix:  family 8 bit (4 or 6) | bits 8 bit | as many octets as hold the bits, the rest of the last one zero
//
// There is one encoding of each pass: rules are sorted, ranges joined, and a reader refuses any other.

import Basics

public struct Pass: Hashable, Sendable {
    public var mesh: MeshID
    /// Of this pass alone, in its mesh: what a revocation names.
    public var serial: UInt64
    public var site: String
    public var key: PublicKey
    public var validFrom: UnixTime
    public var validUntil: UnixTime
    public var send: GroupRules
    public var receive: GroupRules
    public var vlans: VLANRules
    public var mayRelay: Bool
    /// Fields that this version does not know and may ignore.
    var extensions = FieldList()

    /// Rules are put into their one order; the mesh is the authority's who signs.
    public init(
        serial: UInt64, site: String, key: PublicKey, validFrom: UnixTime, validUntil: UnixTime, send: GroupRules = .any,
        receive: GroupRules = .any, vlans: VLANRules = .any, mayRelay: Bool = false
    ) {
        mesh = .none
        self.serial = serial
        self.site = site
        self.key = key
        self.validFrom = validFrom
        self.validUntil = validUntil
        self.send = send.canonical
        self.receive = receive.canonical
        self.vlans = vlans
        self.mayRelay = mayRelay
    }

    public var holder: SiteID { SiteID(key) }
    public var entitlements: Entitlements { Entitlements(send: send, receive: receive, vlans: vlans, mayRelay: mayRelay) }

    /// Rules of one list.
    public static let ruleLimit = 128
    /// Sources of one rule.
    public static let sourceLimit = 64

    /// Whether it can be written: a proper name, rules within the limits, and no longer than a pass may be.
    public var isRepresentable: Bool { problem == nil }

    /// Why it cannot, in words.
    public var problem: String? {
        if !Pass.isName(site) { return "a site's name is 1 to 32 of a-z, 0-9 and -" }
        if validUntil < validFrom { return "it would end before it begins" }
        for rules in [send, receive] {
            guard case .listed(let list) = rules else { continue }
            if list.count > Pass.ruleLimit { return "more than \(Pass.ruleLimit) rules" }
            for rule in list {
                if !rule.isSensible { return "\(rule) is not a block of groups, with sources of the same family" }
            }
        }
        if SignedForm.overhead + fields.encoded.count > SignedForm.longest { return "its rules are too many for one pass" }
        return nil
    }

    static func isName(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                ($0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "z")) || ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9"))
                    || $0 == UInt8(ascii: "-")
            }
    }
}

/// A pass with the octets that the authority has signed.
public struct SignedPass: Hashable, Sendable {
    public let pass: Pass
    public let bytes: [UInt8]

    init(pass: Pass, bytes: [UInt8]) {
        self.pass = pass
        self.bytes = bytes
    }

    /// Reads a pass and checks who signed it; not when it is valid, nor for whom.
    public init(_ bytes: [UInt8], by authority: AuthorityKey) throws(PassProblem) {
        pass = try Pass(unverified: bytes)
        self.bytes = bytes
        guard pass.mesh == authority.mesh else { throw .foreignMesh(pass.mesh) }
        guard SignedForm.verify(bytes, by: authority) else { throw .tampered }
    }

    /// The same from the text of a file.
    public init(text: String, by authority: AuthorityKey) throws(PassProblem) {
        try self.init(SignedForm.octets(of: text, "pass"), by: authority)
    }

    /// The text of a file: two lines.
    public var text: String { SignedForm.armour("pass", bytes) }
}

extension Pass {
    private enum Tag {
        static let mesh: UInt8 = 1
        static let serial: UInt8 = 2
        static let site: UInt8 = 3
        static let key: UInt8 = 4
        static let validFrom: UInt8 = 5
        static let validUntil: UInt8 = 6
        static let send: UInt8 = 7
        static let receive: UInt8 = 8
        static let vlans: UInt8 = 9
        static let flags: UInt8 = 10
        static let known: ClosedRange<UInt8> = 1...10
    }

    var fields: FieldList {
        var list = extensions
        list.put(Tag.mesh, mesh.bytes)
        list.put(Tag.serial, serial)
        list.put(Tag.site, Array(site.utf8))
        list.put(Tag.key, key.bytes)
        list.put(Tag.validFrom, validFrom.seconds)
        list.put(Tag.validUntil, validUntil.seconds)
        list.put(Tag.send, send.encoded)
        list.put(Tag.receive, receive.encoded)
        list.put(Tag.vlans, vlans.encoded)
        list.put(Tag.flags, UInt8(mayRelay ? 1 : 0))
        return list
    }

    /// What a text says, whoever has signed it: for showing it, never for trusting it.
    public init(unverifiedText text: String) throws(PassProblem) {
        try self.init(unverified: SignedForm.octets(of: text, "pass"))
    }

    /// What the octets say, whoever has signed them.
    public init(unverified bytes: [UInt8]) throws(PassProblem) {
        let list = try SignedForm.fields(of: bytes, .pass, known: Tag.known)
        guard let mesh = list[Tag.mesh], mesh.count == 16, let serial = list.number(Tag.serial, UInt64.self),
            let name = list[Tag.site], let key = list[Tag.key].flatMap(PublicKey.init(bytes:)),
            let validFrom = list.number(Tag.validFrom, UInt64.self), let validUntil = list.number(Tag.validUntil, UInt64.self),
            let send = list[Tag.send].flatMap(GroupRules.parse), let receive = list[Tag.receive].flatMap(GroupRules.parse),
            let vlans = list[Tag.vlans].flatMap(VLANRules.parse), let flags = list.number(Tag.flags, UInt8.self)
        else { throw .malformed("a field is missing, or makes no sense") }
        self.init(
            serial: serial, site: String(decoding: name, as: UTF8.self), key: key, validFrom: UnixTime(seconds: validFrom),
            validUntil: UnixTime(seconds: validUntil), send: send, receive: receive, vlans: vlans, mayRelay: flags & 1 != 0)
        self.mesh = MeshID(mesh)
        extensions = list.extensions
        guard isRepresentable else { throw .malformed("its name or a rule is not allowed") }
        guard fields == list else { throw .malformed("it is not in its one encoding") }
    }
}

// MARK: - Octets of rules

extension GroupRule {
    var isSensible: Bool {
        let least = groups.address.family == .v4 ? 4 : 8
        return groups.address.isMulticast && groups.length >= least && sources.count <= Pass.sourceLimit
            && sources.allSatisfy { $0.address.family == groups.address.family && !$0.address.isMulticast }
    }

    var canonical: GroupRule {
        let sources = Set(sources.map(\.canonical)).sorted { $0.order < $1.order }
        return GroupRule(groups.canonical, from: sources)
    }
}

extension GroupRules {
    var canonical: GroupRules {
        guard case .listed(let rules) = self else { return .any }
        return .listed(Set(rules.map(\.canonical)).sorted())
    }

    var encoded: [UInt8] {
        guard case .listed(let rules) = self else { return [1] }
        return rules.reduce(into: [0]) { bytes, rule in
            rule.groups.encode(into: &bytes)
            bytes.append(UInt8(truncatingIfNeeded: rule.sources.count))
            for source in rule.sources { source.encode(into: &bytes) }
        }
    }

    static func parse(_ bytes: [UInt8]) -> GroupRules? {
        var reader = OctetReader(bytes)
        switch reader.byte() {
        case 1: return reader.isAtEnd ? .any : nil
        case 0:
            var rules: [GroupRule] = []
            while !reader.isAtEnd {
                guard let groups = IPPrefix.parse(&reader), let count = reader.byte() else { return nil }
                var sources: [IPPrefix] = []
                for _ in 0..<count {
                    guard let source = IPPrefix.parse(&reader) else { return nil }
                    sources.append(source)
                }
                rules.append(GroupRule(groups, from: sources))
            }
            return .listed(rules)
        default: return nil
        }
    }
}

extension VLANRules {
    var encoded: [UInt8] {
        guard case .listed(let ranges) = self else { return [1] }
        return ranges.reduce(into: [0]) { bytes, range in
            bytes.append(big: range.lowerBound)
            bytes.append(big: range.upperBound)
        }
    }

    static func parse(_ bytes: [UInt8]) -> VLANRules? {
        var reader = OctetReader(bytes)
        switch reader.byte() {
        case 1: return reader.isAtEnd ? .any : nil
        case 0:
            var ranges: [ClosedRange<UInt16>] = []
            while !reader.isAtEnd {
                guard let first = reader.integer(UInt16.self), let last = reader.integer(UInt16.self), first <= last,
                    last < 0x2000, (first < 0x1000) == (last < 0x1000)
                else { return nil }
                ranges.append(first...last)
            }
            return VLANRules(ranges)
        default: return nil
        }
    }
}

extension IPPrefix {
    func encode(into bytes: inout [UInt8]) {
        bytes += [address.family.rawValue, UInt8(truncatingIfNeeded: length)]
        var octets: [UInt8] = []
        octets.append(address: canonical.address)
        bytes += octets.prefix((length + 7) / 8)
    }

    static func parse(_ reader: inout OctetReader) -> IPPrefix? {
        guard let family = reader.byte().flatMap(IPFamily.init(rawValue:)), let length = reader.byte(),
            Int(length) <= (family == .v4 ? 32 : 128), let octets = reader.take((Int(length) + 7) / 8)
        else { return nil }
        var whole = OctetReader(octets + [UInt8](repeating: 0, count: 16))
        return whole.address(family).flatMap { IPPrefix($0, length: Int(length)) }
    }
}
