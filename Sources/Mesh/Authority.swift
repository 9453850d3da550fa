// The authority of a mesh: an Ed25519 key (RFC 8032) that is kept off the gateways and signs passes and revocations. Gateways
// know its public half; the mesh's identifier is made from that, so that there is nothing else to agree on.
//
//      0               1               2               3
//     +---------------+---------------+---------------+---------------+
//     | 'C'           | 'W'           | kind          | version = 1   |     kind: 1 pass, 2 revocation
//     +---------------+---------------+---------------+---------------+
//     | octets of the fields, 16 bit  | fields ...                    |
//     +-------------------------------+-------------------------------+
//     | signature, 64 octets, over "Causeway authority 1" and all of the above
//     +---------------------------------------------------------------+
//
//     a field:   tag 8 bit | octets of the value, 16 bit | value          tags ascend, each at most once
//
// A reader refuses a tag below 128 that it does not know: a restriction that is not understood must not be ignored. It skips,
// and keeps, those from 128 on.

import Basics

/// The public half of an authority.
public struct AuthorityKey: Hashable, Sendable {
    /// 32 octets.
    public let bytes: [UInt8]

    /// `nil` unless there are exactly 32 octets.
    public init?(bytes: [UInt8]) {
        guard bytes.count == MeshCryptography.keyBytes else { return nil }
        self.bytes = bytes
    }

    /// Parses the 44 characters of base64; `nil` for anything else.
    public init?(base64 text: String) {
        guard let bytes = Base64.decode(text) else { return nil }
        self.init(bytes: bytes)
    }

    public var base64: String { Base64.encode(bytes) }

    public var mesh: MeshID { MeshID(MeshCryptography.hash(Array("Causeway mesh 1".utf8) + bytes, length: 16)) }
}

/// A mesh: BLAKE2b-128 of its authority's public key.
public struct MeshID: Hashable, Sendable, CustomStringConvertible {
    /// 16 octets.
    public let bytes: [UInt8]

    /// Of a mesh without an authority.
    public static let none = MeshID([UInt8](repeating: 0, count: 16))

    init(_ bytes: [UInt8]) {
        precondition(bytes.count == 16)
        self.bytes = bytes
    }

    /// 32 hexadecimal digits.
    public var description: String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}

/// Both halves of an authority.
public struct Authority: Sendable {
    /// 32 octets: what is kept secret.
    public let seed: [UInt8]
    public let key: AuthorityKey
    private let secret: [UInt8]

    /// `nil` unless there are 32 octets.
    public init?(seed: [UInt8]) {
        guard let keys = MeshCryptography.signingKeys(seed: seed), let key = AuthorityKey(bytes: keys.public) else { return nil }
        self.seed = seed
        self.key = key
        secret = keys.secret
    }

    /// - Parameter random: the system's, in a program that is not a test.
    public static func generate(using random: inout some RandomNumberGenerator) -> Authority {
        let seed = (0..<32).map { _ in UInt8(truncatingIfNeeded: random.next() >> 24) }
        guard let authority = Authority(seed: seed) else { preconditionFailure("libsodium is not ready") }
        return authority
    }

    /// `pass.mesh` becomes this authority's. Precondition: `pass.isRepresentable`.
    public func sign(_ pass: Pass) -> SignedPass {
        precondition(pass.isRepresentable)
        var pass = pass
        pass.mesh = key.mesh
        return SignedPass(pass: pass, bytes: signed(.pass, pass.fields))
    }

    /// `revocation.mesh` becomes this authority's.
    public func sign(_ revocation: Revocation) -> SignedRevocation {
        var revocation = revocation
        revocation.mesh = key.mesh
        return SignedRevocation(revocation: revocation, bytes: signed(.revocation, revocation.fields))
    }

    private func signed(_ kind: SignedForm.Kind, _ fields: FieldList) -> [UInt8] {
        let bytes = SignedForm.header(kind, fields)
        return bytes + MeshCryptography.sign(SignedForm.context + bytes, secret: secret)
    }
}

/// Why a pass or a revocation does not count.
public enum PassProblem: Error, Hashable, Sendable {
    /// Not in the form above; in words.
    case malformed(String)
    /// It has a field that this version must not ignore.
    case unknownRestriction(tag: UInt8)
    /// Another mesh's authority has signed it.
    case foreignMesh(MeshID)
    /// It is our mesh's, but the signature is not the authority's: it was changed, or made up.
    case tampered
    case notYetValid(from: UnixTime)
    case expired(at: UnixTime)
    case revoked(serial: UInt64)
    /// It is for another gateway's key.
    case wrongHolder(PublicKey)
    /// No room for another one.
    case limit
}

extension PassProblem: CustomStringConvertible {
    public var description: String {
        switch self {
        case .malformed(let why): "it is malformed: \(why)"
        case .unknownRestriction(let tag): "it has a restriction (field \(tag)) that this version does not know"
        case .foreignMesh(let mesh): "it belongs to another mesh, \(mesh)"
        case .tampered: "its signature is not the authority's: it was changed, or made up"
        case .notYetValid(let from): "it is not valid before \(from) (is the clock right?)"
        case .expired(let at): "it expired at \(at)"
        case .revoked(let serial): "it was revoked (serial number \(serial))"
        case .wrongHolder(let key): "it is for another gateway, with the key \(key)"
        case .limit: "no more are kept"
        }
    }
}

// MARK: - The common form

/// Fields by their tags, ascending.
struct FieldList: Hashable, Sendable {
    private(set) var fields: [(tag: UInt8, value: [UInt8])] = []

    static func == (a: FieldList, b: FieldList) -> Bool {
        a.fields.count == b.fields.count && zip(a.fields, b.fields).allSatisfy { $0.tag == $1.tag && $0.value == $1.value }
    }

    func hash(into hasher: inout Hasher) {
        for field in fields {
            hasher.combine(field.tag)
            hasher.combine(field.value)
        }
    }

    subscript(tag: UInt8) -> [UInt8]? { fields.first { $0.tag == tag }?.value }

    mutating func put(_ tag: UInt8, _ value: [UInt8]) {
        fields.removeAll { $0.tag == tag }
        fields.insert((tag, value), at: fields.firstIndex { $0.tag > tag } ?? fields.count)
    }

    mutating func put(_ tag: UInt8, _ value: some FixedWidthInteger & UnsignedInteger) {
        var bytes: [UInt8] = []
        bytes.append(big: value)
        put(tag, bytes)
    }

    func number<T: FixedWidthInteger & UnsignedInteger>(_ tag: UInt8, _: T.Type) -> T? {
        guard let value = self[tag], value.count == T.bitWidth / 8 else { return nil }
        var reader = OctetReader(value)
        return reader.integer(T.self)
    }

    /// Those from 128 on.
    var extensions: FieldList {
        var list = FieldList()
        list.fields = fields.filter { $0.tag >= 128 }
        return list
    }

    var encoded: [UInt8] {
        fields.reduce(into: []) { bytes, field in
            bytes.append(field.tag)
            bytes.append(big: UInt16(truncatingIfNeeded: field.value.count))
            bytes += field.value
        }
    }

    /// `nil` when lengths do not fit or tags do not ascend.
    init?(_ reader: inout OctetReader) {
        while !reader.isAtEnd {
            guard let tag = reader.byte(), tag > fields.last?.tag ?? 0, let count = reader.integer(UInt16.self),
                let value = reader.take(Int(count))
            else { return nil }
            fields.append((tag, value))
        }
    }

    init() {}
}

/// What passes and revocations have in common.
enum SignedForm {
    enum Kind: UInt8 {
        case pass = 1
        case revocation = 2
    }

    static let version: UInt8 = 1
    static let context = Array("Causeway authority 1".utf8)
    /// Octets of the longest one.
    static let longest = 3072
    static let overhead = 6 + MeshCryptography.signatureBytes

    static func header(_ kind: Kind, _ fields: FieldList) -> [UInt8] {
        let body = fields.encoded
        var bytes: [UInt8] = [UInt8(ascii: "C"), UInt8(ascii: "W"), kind.rawValue, version]
        bytes.append(big: UInt16(truncatingIfNeeded: body.count))
        return bytes + body
    }

    /// The fields, unverified.
    static func fields(of bytes: [UInt8], _ kind: Kind, known: ClosedRange<UInt8>) throws(PassProblem) -> FieldList {
        guard bytes.count <= longest else { throw .malformed("it is too long") }
        var reader = OctetReader(bytes)
        guard reader.byte() == UInt8(ascii: "C"), reader.byte() == UInt8(ascii: "W"), reader.byte() == kind.rawValue else {
            throw .malformed("it does not begin as one")
        }
        guard reader.byte() == version else { throw .malformed("its version is not known") }
        guard let count = reader.integer(UInt16.self), var body = reader.slice(Int(count)),
            reader.remaining == MeshCryptography.signatureBytes
        else { throw .malformed("its length is wrong") }
        guard let fields = FieldList(&body) else { throw .malformed("its fields are out of order, or cut short") }
        if let unknown = fields.fields.first(where: { $0.tag < 128 && !known.contains($0.tag) }) {
            throw .unknownRestriction(tag: unknown.tag)
        }
        return fields
    }

    static func verify(_ bytes: [UInt8], by authority: AuthorityKey) -> Bool {
        guard bytes.count > overhead else { return false }
        let split = bytes.count - MeshCryptography.signatureBytes
        return MeshCryptography.verify(Array(bytes[split...]), context + bytes[..<split], by: authority.bytes)
    }

    // MARK: Armour

    /// Two lines: what it is, and base64.
    static func armour(_ name: String, _ bytes: [UInt8]) -> String { "causeway \(name) 1\n\(Base64.encode(bytes))\n" }

    /// The octets in such a text. Blank lines around and blanks at the ends of lines are ignored, nothing else.
    static func octets(of text: String, _ name: String) throws(PassProblem) -> [UInt8] {
        guard text.utf8.count <= 2 * longest else { throw .malformed("it is too long") }
        let lines = text.split(whereSeparator: \.isNewline).map { line in
            line.split(separator: " ").joined(separator: " ").split(separator: "\t").joined()
        }.filter { !$0.isEmpty }
        guard lines.first == "causeway \(name) 1" else { throw .malformed("its first line is not \"causeway \(name) 1\"") }
        guard lines.count == 2, let bytes = Base64.decode(lines[1]) else {
            throw .malformed("after its first line there must be one line of base64")
        }
        return bytes
    }
}
