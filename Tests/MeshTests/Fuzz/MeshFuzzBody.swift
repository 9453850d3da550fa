// What the fuzzers of the mesh do with an input, also run by the tests on every file of their corpora. It is compiled twice:
// here, and instrumented, through a symbolic link, in tools/fuzz. A body never traps by itself; it returns what was wrong.

import Basics
import Mesh

/// One fuzzer.
public enum MeshFuzzBody: String, CaseIterable, Sendable {
    /// A pass, a revocation, or the text of one.
    case pass
    /// A message of gossip from a neighbour; or, behind an octet of 0xff, the facts of a page that the neighbour signs.
    case gossip
    /// A tree's announcement.
    case tree

    /// - Returns: a sentence for each property that does not hold.
    public func run(_ input: [UInt8]) -> [String] {
        switch self {
        case .pass: Self.runPass(input)
        case .gossip: Self.runGossip(input)
        case .tree: Self.runTree(input)
        }
    }

    private static func runPass(_ input: [UInt8]) -> [String] {
        var problems: [String] = []
        guard let authority = Authority(seed: [UInt8](repeating: 7, count: 32)) else { return ["no authority"] }
        _ = try? SignedPass(text: String(decoding: input, as: UTF8.self), by: authority.key)
        _ = try? SignedRevocation(input, by: authority.key)
        if let pass = try? Pass(unverified: input) {
            if !pass.isRepresentable { problems.append("a pass was read that cannot be written") }
            let signed = authority.sign(pass)
            // Only who signed it may differ.
            if pass.mesh == authority.key.mesh, Array(signed.bytes.dropLast(64)) != Array(input.dropLast(64)) {
                problems.append("a pass has two encodings")
            }
            if (try? SignedPass(signed.bytes, by: authority.key)) != signed { problems.append("a signed pass is not read back") }
            if (try? SignedPass(text: signed.text, by: authority.key)) != signed { problems.append("its text is not read back") }
            let may = pass.entitlements
            for octet in [0, 1, 127, 255] as [UInt32] {
                let group = IPAddress(ipv4: 0xEF00_0000 | octet << 16 | octet)
                let source = IPAddress(ipv4: 0x0A00_0000 | octet)
                if may.maySend(.untagged, group, from: source) && !may.maySend(.untagged, group, from: nil) {
                    problems.append("a source may, and no source may")
                }
            }
        }
        return problems
    }

    private static func key(_ octet: UInt8) -> [UInt8] { [UInt8](repeating: octet, count: 32) }

    private static func runGossip(_ input: [UInt8]) -> [String] {
        guard let one = SiteSigner(privateKey: key(1)), let two = SiteSigner(privateKey: key(2)) else { return ["no keys"] }
        let trust = MeshTrust.listed([one.publicKey, two.publicKey])
        let now = Instant(nanoseconds: 1_000_000_000)
        func make(_ octet: UInt8) -> Gossip {
            var gossip = Gossip(
                GossipConfiguration(privateKey: key(octet), trust: trust, firstVersion: 1), wall: UnixTime(seconds: 1), at: now)
            gossip.handleNeighbourUp(octet == 1 ? SiteID(two.publicKey) : SiteID(one.publicKey), at: now)
            return gossip
        }
        var reader = make(1)
        var writer = make(2)
        let (readerName, writerName) = (reader.site, writer.site)
        if input.first == 0xFF {
            // Messages as they come: its page 0, with these facts in it.
            guard let page = writer.signedForFuzzing(Array(input.dropFirst())) else { return [] }
            reader.handleMessage(page, from: writerName, at: now)
        } else {
            while let message = writer.pollMessage(for: readerName, at: now) {
                reader.handleMessage(message, from: writerName, at: now)
            }
            reader.handleMessage(input, from: writerName, at: now)
        }
        var answers = 0
        while let message = reader.pollMessage(for: writerName, at: now), answers < 100 {
            writer.handleMessage(message, from: readerName, at: now)
            answers += 1
        }
        return reader.checkInvariants() + writer.checkInvariants() + (answers < 100 ? [] : ["the answers do not end"])
    }

    private static func runTree(_ input: [UInt8]) -> [String] {
        guard let tree = TreeAnnouncement(input) else { return [] }
        var problems: [String] = []
        if tree.encoded != input { problems.append("a tree has two encodings") }
        if tree.parts.reduce(1, { $0 + $1.nodes.count }) != tree.nodes.count { problems.append("the parts are not the whole") }
        for part in tree.parts where TreeAnnouncement(part.encoded) != part { problems.append("a part is not read back") }
        return problems
    }
}
