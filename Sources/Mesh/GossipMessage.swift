// What neighbours say to each other about facts. Each message stands for itself: it may be lost, repeated and overtaken.
//
//     kind 1, pages:         page's octets 16 bit, page; and again            a change, which is told on at once
//     kind 2, summary:       hash of all that the sender has, 16              once in a while; what is equal needs no answer
//     kind 3, digest:        hash of its revocations 64 bit, then for each owner: owner 16, hash 64 bit
//     kind 4, have:          flags 8 bit (1 is an answer), owner 16, then for each page: number 16 bit, version 64 bit,
//                            hash 64 bit
//     kind 5, revocations:   octets 16 bit, revocation; and again
//     kind 6, revocations held:  flags 8 bit (1 is an answer), then names of 16 octets
//     kind 7, answers:       as kind 1                                        pages that were asked for
//
//     A                                    B
//     | summary -------------------------> |  equal: that was it
//     | <-------------------------- digest |  not equal
//     | have (owner that differs) -------> |
//     | <-------- pages that are newer at B |
//     | <----------------- have (an answer) |  only if A has newer ones
//     | pages that are newer at A -------> |

import Basics

/// A message of gossip.
enum GossipMessage: Hashable, Sendable {
    case pages([[UInt8]])
    case answers([[UInt8]])
    case summary([UInt8])
    case digest(revocations: UInt64, [OwnerDigest])
    case have(SiteID, isAnswer: Bool, [PageDigest])
    case revocations([[UInt8]])
    case revocationsHeld(isAnswer: Bool, [RevocationID])

    struct OwnerDigest: Hashable, Sendable {
        var owner: SiteID
        var hash: UInt64
    }

    struct PageDigest: Hashable, Sendable {
        var number: UInt16
        var stamp: PageStamp
    }

    private enum Kind {
        static let pages: UInt8 = 1
        static let summary: UInt8 = 2
        static let digest: UInt8 = 3
        static let have: UInt8 = 4
        static let revocations: UInt8 = 5
        static let revocationsHeld: UInt8 = 6
        static let answers: UInt8 = 7
    }

    /// The first octet of every message of gossip has this bit, so that it can share a channel with other messages.
    static let mark: UInt8 = 0x40
    static let hashBytes = 16
    /// Octets that a message with several pages or revocations is filled to; at least one of them always goes into one.
    static let fullBytes = 16 * 1024
    /// The longest message that is looked at.
    static let longest = 64 * 1024

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .pages(let pages): bytes = Self.encode(Kind.pages, pages)
        case .answers(let pages): bytes = Self.encode(Kind.answers, pages)
        case .summary(let hash): bytes = [Self.mark | Kind.summary] + hash
        case .digest(let revocations, let owners):
            bytes = [Self.mark | Kind.digest]
            bytes.append(big: revocations)
            for owner in owners {
                bytes.append(site: owner.owner)
                bytes.append(big: owner.hash)
            }
        case .have(let owner, let isAnswer, let pages):
            bytes = [Self.mark | Kind.have, isAnswer ? 1 : 0]
            bytes.append(site: owner)
            for page in pages {
                bytes.append(big: page.number)
                bytes.append(big: page.stamp.version)
                bytes.append(big: page.stamp.hash)
            }
        case .revocations(let revocations): bytes = Self.encode(Kind.revocations, revocations)
        case .revocationsHeld(let isAnswer, let names):
            bytes = [Self.mark | Kind.revocationsHeld, isAnswer ? 1 : 0]
            for name in names { bytes.append(site: name) }
        }
        return bytes
    }

    private static func encode(_ kind: UInt8, _ blocks: [[UInt8]]) -> [UInt8] {
        blocks.reduce(into: [mark | kind]) { bytes, block in
            bytes.append(big: UInt16(truncatingIfNeeded: block.count))
            bytes += block
        }
    }

    /// `nil` for a message of another kind, or one whose lengths do not fit. What it holds is not checked further.
    static func parse(_ bytes: [UInt8]) -> GossipMessage? {
        guard bytes.count <= longest else { return nil }
        var reader = OctetReader(bytes)
        guard let first = reader.byte(), first & mark != 0 else { return nil }
        switch first & ~mark {
        case Kind.pages: return blocks(&reader).map { .pages($0) }
        case Kind.answers: return blocks(&reader).map { .answers($0) }
        case Kind.summary: return reader.remaining == hashBytes ? .summary(reader.rest()) : nil
        case Kind.digest:
            guard let revocations = reader.integer(UInt64.self) else { return nil }
            var owners: [OwnerDigest] = []
            while !reader.isAtEnd {
                guard let owner = reader.site(), let hash = reader.integer(UInt64.self) else { return nil }
                owners.append(OwnerDigest(owner: owner, hash: hash))
            }
            return .digest(revocations: revocations, owners)
        case Kind.have:
            guard let flags = reader.byte(), let owner = reader.site() else { return nil }
            var pages: [PageDigest] = []
            while !reader.isAtEnd {
                guard let number = reader.integer(UInt16.self), let version = reader.integer(UInt64.self),
                    let hash = reader.integer(UInt64.self)
                else { return nil }
                pages.append(PageDigest(number: number, stamp: PageStamp(version: version, hash: hash)))
            }
            return .have(owner, isAnswer: flags & 1 != 0, pages)
        case Kind.revocations: return blocks(&reader).map { .revocations($0) }
        case Kind.revocationsHeld:
            guard let flags = reader.byte() else { return nil }
            var names: [RevocationID] = []
            while !reader.isAtEnd {
                guard let name = reader.site() else { return nil }
                names.append(name)
            }
            return .revocationsHeld(isAnswer: flags & 1 != 0, names)
        default: return nil
        }
    }

    private static func blocks(_ reader: inout OctetReader) -> [[UInt8]]? {
        var blocks: [[UInt8]] = []
        while !reader.isAtEnd {
            guard let count = reader.integer(UInt16.self), let block = reader.take(Int(count)) else { return nil }
            blocks.append(block)
        }
        return blocks
    }
}
