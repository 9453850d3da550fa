// A page: some facts of one owner, with a version, signed by it. What an owner tells is the set of its pages; each is replaced
// as a whole, and the newest from its owner holds, so order and repetition do not matter, and nobody on the way can change or
// make up anything. A fact that is withdrawn is no longer in its page: nothing has to be kept to say so.
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//     | version = 1   | 0             | page's number                 |
//     +---------------+---------------+-------------------------------+
//     | owner, 16 octets                                              |
//     +---------------------------------------------------------------+
//     | version, 64 bit: grows with each page that the owner signs    |
//     +---------------------------------------------------------------+
//     | facts ...                                                     |
//     +---------------------------------------------------------------+
//     | signature, 64 octets, over "Causeway page 1", the mesh, and all of the above
//     +---------------------------------------------------------------+
//
// Page 0 holds the owner's signing point and, in a mesh with an authority, its pass: it proves itself, and the others.

import Basics

/// Which of two contents of a page holds: the larger. Two contents never have one version, unless their owner has lost its
/// clock; then the hash decides, everywhere alike.
struct PageStamp: Hashable, Comparable, Sendable, BitwiseCopyable {
    var version: UInt64
    var hash: UInt64

    static func < (a: PageStamp, b: PageStamp) -> Bool { a.version != b.version ? a.version < b.version : a.hash < b.hash }
}

struct GossipPage: Hashable, Sendable {
    var owner: SiteID
    var number: UInt16
    var stamp: PageStamp
    /// All of it, as it is told on.
    var bytes: [UInt8]

    static let headerBytes = 28
    static let overhead = headerBytes + MeshCryptography.signatureBytes
    /// Octets of the longest page.
    static let longest = 4096
    private static let context = Array("Causeway page 1".utf8)

    /// `nil` for what is no page. The signature is not looked at.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.overhead, bytes.count <= Self.longest else { return nil }
        var reader = OctetReader(bytes)
        guard reader.byte() == 1, reader.byte() == 0, let number = reader.integer(UInt16.self), let owner = reader.site(),
            let version = reader.integer(UInt64.self)
        else { return nil }
        self.owner = owner
        self.number = number
        self.bytes = bytes
        stamp = PageStamp(version: version, hash: MeshCryptography.shortHash(bytes))
    }

    /// Signs a page.
    init(owner: SiteID, number: UInt16, version: UInt64, facts: [UInt8], mesh: MeshID, by signer: SiteSigner) {
        var bytes: [UInt8] = [1, 0]
        bytes.append(big: number)
        bytes.append(site: owner)
        bytes.append(big: version)
        bytes += facts
        bytes += signer.sign(Self.context + mesh.bytes + bytes)
        self.owner = owner
        self.number = number
        self.bytes = bytes
        stamp = PageStamp(version: version, hash: MeshCryptography.shortHash(bytes))
    }

    /// `nil` when the facts' lengths do not fit.
    var facts: [MeshFact]? {
        var reader = OctetReader(bytes)
        guard reader.slice(Self.headerBytes) != nil,
            var body = reader.slice(bytes.count - Self.overhead)
        else { return nil }
        return MeshFact.parseAll(&body)
    }

    func isSigned(in mesh: MeshID, by point: [UInt8]) -> Bool {
        let split = bytes.count - MeshCryptography.signatureBytes
        return MeshCryptography.verify(Array(bytes[split...]), Self.context + mesh.bytes + bytes[..<split], by: point)
    }
}

extension Gossip {
    /// A message with a page 0 of ours that says what the caller likes: for adversaries in tests.
    public func signedForFuzzing(_ facts: [UInt8]) -> [UInt8]? {
        guard facts.count <= 2048, let point = MeshFact(.point, .point(signer.point)).encoded else { return nil }
        let page = GossipPage(owner: site, number: 0, version: 1 << 40, facts: point + facts, mesh: passes.mesh, by: signer)
        return GossipMessage.pages([page.bytes]).encoded
    }
}
