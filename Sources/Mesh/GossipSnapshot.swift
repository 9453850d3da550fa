// What outlives a restart: who the other gateways are and where, what was revoked, and how far our own versions have come. So
// the gateway through which we came into the mesh may be gone for good. The rest is told again by whoever answers.
//
//     'C' 'W' 'S' 1 | mesh 16 | own version 64 bit | revocations: octets 16 bit each, 0 ends | pages 0 of others, likewise
//     | BLAKE2b-128 of all of the above
//
// Everything in it proves itself like what a neighbour tells, so a file that somebody has changed can do no more than hide.

import Basics

extension Gossip {
    /// Why a snapshot was not used.
    public enum SnapshotProblem: Error, Hashable, Sendable {
        /// It is cut short, or changed, or no snapshot.
        case damaged
        case foreignMesh
    }

    private static let magic: [UInt8] = [UInt8(ascii: "C"), UInt8(ascii: "W"), UInt8(ascii: "S"), 1]
    private static let checkBytes = 16

    /// At most about 1 MB. Its content changes with each of our versions; writing it anew when `snapshotGeneration` grows, and
    /// on the way out, is enough.
    public var snapshot: [UInt8] {
        var bytes = Gossip.magic + passes.mesh.bytes
        bytes.append(big: version)
        func append(_ blocks: [[UInt8]]) {
            for block in blocks {
                bytes.append(big: UInt16(truncatingIfNeeded: block.count))
                bytes += block
            }
            bytes.append(big: UInt16(0))
        }
        append(passes.revocations.keys.sorted().compactMap { passes.revocations[$0]?.bytes })
        append(owners.keys.sorted().filter { $0 != site }.compactMap { owners[$0]?.pages[0]?.bytes })
        return bytes + MeshCryptography.hash(bytes, length: Gossip.checkBytes)
    }

    /// Takes in a snapshot of an earlier run, right after `init`. What in it no longer counts is left out.
    public mutating func restore(_ bytes: [UInt8], at now: Instant) throws(SnapshotProblem) {
        noteTime(now)
        let split = bytes.count - Gossip.checkBytes
        guard split >= Gossip.magic.count + 16 + 8,
            MeshCryptography.hash(Array(bytes[..<split]), length: Gossip.checkBytes) == Array(bytes[split...])
        else { throw .damaged }
        var reader = OctetReader(Array(bytes[..<split]))
        guard reader.take(Gossip.magic.count) == Gossip.magic, let mesh = reader.take(16),
            let stored = reader.integer(UInt64.self)
        else { throw .damaged }
        guard mesh == passes.mesh.bytes else { throw .foreignMesh }
        guard let revocations = Gossip.blocks(&reader), let pages = Gossip.blocks(&reader), reader.isAtEnd else { throw .damaged }
        version = max(version, stored)
        for revocation in revocations { handleRevocation(revocation, from: nil, at: now) }
        for bytes in pages {
            guard let page = GossipPage(bytes), page.number == 0, page.owner != site, owners[page.owner] == nil else { continue }
            if take(page, at: now) { owners[page.owner]?.lostSince = now }
        }
    }

    /// The version of its gateway that a snapshot was made at; 0 for what is none.
    public static func version(ofSnapshot bytes: [UInt8]) -> UInt64 {
        var reader = OctetReader(bytes)
        guard reader.take(magic.count) == magic, reader.take(16) != nil else { return 0 }
        return reader.integer(UInt64.self) ?? 0
    }

    private static func blocks(_ reader: inout OctetReader) -> [[UInt8]]? {
        var blocks: [[UInt8]] = []
        while let count = reader.integer(UInt16.self) {
            if count == 0 { return blocks }
            guard let block = reader.take(Int(count)) else { return nil }
            blocks.append(block)
        }
        return nil
    }
}
