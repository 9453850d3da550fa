// A revocation: the authority's word that a pass, or every pass of a key, counts no more. It is final: nothing takes it back,
// and a gateway that has it keeps it and tells it on.
//
//     tag  value
//       1  mesh, 16 octets
//       2  when it was made, seconds since 1970, 64 bit
//       3  serial number of the pass, 64 bit            one of 3 and 4, or both
//       4  gateway's public key, 32 octets: all its passes, those that come later too
//       5  until when it matters, seconds since 1970, 64 bit: the end of the pass; absent: for ever

import Basics

public struct Revocation: Hashable, Sendable {
    public var mesh = MeshID.none
    public var made: UnixTime
    public var serial: UInt64?
    public var key: PublicKey?
    /// Afterwards it may be forgotten, if there is no room for another one: what it is about is over anyway.
    public var matters: UnixTime?
    var extensions = FieldList()

    /// `nil` if it would revoke nothing.
    public init?(made: UnixTime, serial: UInt64? = nil, key: PublicKey? = nil, matters: UnixTime? = nil) {
        guard serial != nil || key != nil else { return nil }
        self.made = made
        self.serial = serial
        self.key = key
        self.matters = matters
    }

    public func covers(_ pass: Pass) -> Bool { serial == pass.serial || key == pass.key }
}

/// A revocation with the octets that the authority has signed.
public struct SignedRevocation: Hashable, Sendable {
    public let revocation: Revocation
    public let bytes: [UInt8]

    init(revocation: Revocation, bytes: [UInt8]) {
        self.revocation = revocation
        self.bytes = bytes
    }

    /// Reads it and checks who signed it.
    public init(_ bytes: [UInt8], by authority: AuthorityKey) throws(PassProblem) {
        revocation = try Revocation(unverified: bytes)
        self.bytes = bytes
        guard revocation.mesh == authority.mesh else { throw .foreignMesh(revocation.mesh) }
        guard SignedForm.verify(bytes, by: authority) else { throw .tampered }
    }

    public init(text: String, by authority: AuthorityKey) throws(PassProblem) {
        try self.init(SignedForm.octets(of: text, "revocation"), by: authority)
    }

    /// The octets in the text of a file, whoever has signed them.
    public static func octets(ofText text: String) throws(PassProblem) -> [UInt8] {
        try SignedForm.octets(of: text, "revocation")
    }

    public var text: String { SignedForm.armour("revocation", bytes) }

    /// What gateways name it by when they compare what they have.
    var identifier: RevocationID {
        var reader = OctetReader(MeshCryptography.hash(bytes, length: 16))
        return reader.site() ?? RevocationID(high: 0, low: 0)
    }
}

/// BLAKE2b-128 of a revocation's octets, in the same flat form as a site's name.
typealias RevocationID = SiteID

extension Revocation {
    private enum Tag {
        static let mesh: UInt8 = 1
        static let made: UInt8 = 2
        static let serial: UInt8 = 3
        static let key: UInt8 = 4
        static let matters: UInt8 = 5
        static let known: ClosedRange<UInt8> = 1...5
    }

    var fields: FieldList {
        var list = extensions
        list.put(Tag.mesh, mesh.bytes)
        list.put(Tag.made, made.seconds)
        if let serial { list.put(Tag.serial, serial) }
        if let key { list.put(Tag.key, key.bytes) }
        if let matters { list.put(Tag.matters, matters.seconds) }
        return list
    }

    public init(unverifiedText text: String) throws(PassProblem) {
        try self.init(unverified: SignedForm.octets(of: text, "revocation"))
    }

    init(unverified bytes: [UInt8]) throws(PassProblem) {
        let list = try SignedForm.fields(of: bytes, .revocation, known: Tag.known)
        guard let mesh = list[Tag.mesh], mesh.count == 16, let made = list.number(Tag.made, UInt64.self),
            let revocation = Revocation(
                made: UnixTime(seconds: made), serial: list.number(Tag.serial, UInt64.self),
                key: list[Tag.key].flatMap(PublicKey.init(bytes:)),
                matters: list.number(Tag.matters, UInt64.self).map { UnixTime(seconds: $0) })
        else { throw .malformed("a field is missing, or makes no sense") }
        self = revocation
        self.mesh = MeshID(mesh)
        extensions = list.extensions
        guard fields == list else { throw .malformed("it is not in its one encoding") }
    }
}
