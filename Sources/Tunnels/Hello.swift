// Hellos: how two members of a mesh that know nothing but an address get to know each other's passes, before the handshake
// that needs the other's public key. The asker sends its pass in parts and asks for parts of the other's; each request is
// answered by one reply that is no longer than it, so that nothing is amplified.
//
//     0               1               2               3
//     +---------------+---------------+---------------+---------------+
//     | kind = 6      | version = 1   | flags: 1 reply| 0             |
//     +---------------+---------------+---------------+---------------+
//     | nonce, 192 bit                                                |    with the four octets above: associated data
//     +---------------------------------------------------------------+
//     | sealed: token 64 bit | place 16 + port 16 bit | hash of the sender's pass 128 bit | part, parts, wanted: 8 bit each
//     |         | octets of the part, 16 bit | the part | zeros
//     | tag, 128 bit                                                  |
//     +---------------------------------------------------------------+
//
// Sealed with XChaCha20-Poly1305 under BLAKE2b-256 of `Causeway hello 1` and the authority's public key: whoever does not know
// the mesh sees neither sites nor groups, and is refused before any signature is checked. It is no proof of anything else:
// what counts is the authority's signature on the pass, and then the handshake.
//
// `token` is the asker's, repeated in the reply. `place` is, in a reply, where the asker's request came from: behind a NAT
// nobody else could tell it.

import Basics

package struct Hello: Equatable {
    /// Octets of a pass in one hello.
    package static let partBytes = 1_024
    /// 4,096 octets: more than the longest pass.
    package static let partLimit = 4
    private static let headerBytes = 4 + CookieReply.nonceBytes
    private static let fieldBytes = 8 + 18 + 16 + 3 + 2
    /// All hellos are equally long, in octets of UDP payload.
    package static let bytes = headerBytes + fieldBytes + partBytes + Primitives.tagBytes

    package var isReply: Bool
    package var token: UInt64
    /// Where the asker is, in a reply.
    package var place: Endpoint?
    /// BLAKE2b-128 of the sender's pass: parts of one pass have one.
    package var hash: [UInt8]
    package var part: Int
    package var parts: Int
    /// The part of the other's pass that a request wants.
    package var wanted: Int
    package var octets: [UInt8]

    /// One part of a pass. `nil` for a pass without octets, or one that is too long, or a part that it does not have.
    package init?(isReply: Bool, token: UInt64, place: Endpoint? = nil, pass: [UInt8], part: Int, wanted: Int) {
        let parts = (pass.count + Hello.partBytes - 1) / Hello.partBytes
        guard parts >= 1, parts <= Hello.partLimit, (0..<parts).contains(part), (0..<Hello.partLimit).contains(wanted) else {
            return nil
        }
        self.isReply = isReply
        self.token = token
        self.place = place
        hash = Primitives.hash(pass, length: 16)
        self.part = part
        self.parts = parts
        self.wanted = wanted
        octets = Array(pass[(part * Hello.partBytes)..<min((part + 1) * Hello.partBytes, pass.count)])
    }

    /// - Parameters:
    ///   - nonce: 24 octets, never the same twice.
    ///   - mesh: the authority's public key.
    package func datagram(nonce: [UInt8], mesh: [UInt8]) -> [UInt8] {
        precondition(nonce.count == CookieReply.nonceBytes && octets.count <= Hello.partBytes)
        let head = [DatagramKind.hello.rawValue, Initiation.version, isReply ? 1 : 0, 0] + nonce
        let at = place ?? Endpoint(high: 0, low: 0, port: 0)
        var text = bigEndian(token) + bigEndian(at.high) + bigEndian(at.low) + bigEndian(at.port) + hash
        text += [UInt8(part), UInt8(parts), UInt8(wanted)] + bigEndian(UInt16(octets.count)) + octets
        text += [UInt8](repeating: 0, count: Hello.fieldBytes + Hello.partBytes - text.count)
        return head + Primitives.encrypt(key: Hello.key(mesh), nonce: nonce, associated: head, text)
    }

    /// `nil` for what is not a hello of this version and of the mesh, or whose numbers do not fit.
    package init?(_ datagram: [UInt8], mesh: [UInt8]) {
        guard datagram.count == Hello.bytes, datagram[0] == DatagramKind.hello.rawValue, datagram[1] == Initiation.version
        else { return nil }
        let head = Array(datagram[..<Hello.headerBytes])
        guard
            let text = Primitives.decrypt(
                key: Hello.key(mesh), nonce: Array(head[4...]), associated: head, Array(datagram[Hello.headerBytes...]))
        else { return nil }
        isReply = datagram[2] & 1 != 0
        token = integer(text[0..<8])
        let at = Endpoint(high: integer(text[8..<16]), low: integer(text[16..<24]), port: integer(text[24..<26]))
        place = at.port == 0 ? nil : at
        hash = Array(text[26..<42])
        (part, parts, wanted) = (Int(text[42]), Int(text[43]), Int(text[44]))
        let count = Int(integer(text[45..<47]) as UInt16)
        guard parts >= 1, parts <= Hello.partLimit, part < parts, wanted < Hello.partLimit, count >= 1,
            count <= Hello.partBytes, part == parts - 1 || count == Hello.partBytes
        else { return nil }
        octets = Array(text[Hello.fieldBytes..<(Hello.fieldBytes + count)])
    }

    private static func key(_ mesh: [UInt8]) -> [UInt8] {
        Primitives.hash(Array("Causeway hello 1".utf8) + mesh, length: 32)
    }
}

/// Passes that come in parts: a few at a time, each for a short while. Whoever sends parts knows the mesh, and may be lying.
package struct HelloParts: Sendable {
    private struct Incoming: Sendable {
        var hash: [UInt8]
        var parts: [[UInt8]?]
        var since: Instant
    }

    package static let limit = 32
    private static let patience = Interval.seconds(10)
    private var incoming: [Incoming] = []

    package init() {}

    /// The whole pass, once its last part has come.
    package mutating func handle(_ hello: Hello, at now: Instant) -> [UInt8]? {
        incoming.removeAll { now - $0.since >= HelloParts.patience }
        let place: Int
        if let known = incoming.firstIndex(where: { $0.hash == hello.hash && $0.parts.count == hello.parts }) {
            place = known
        } else {
            if incoming.count >= HelloParts.limit { incoming.removeFirst() }
            incoming.append(Incoming(hash: hello.hash, parts: Array(repeating: nil, count: hello.parts), since: now))
            place = incoming.count - 1
        }
        incoming[place].parts[hello.part] = hello.octets
        let parts = incoming[place].parts.compactMap { $0 }
        guard parts.count == hello.parts else { return nil }
        incoming.remove(at: place)
        let pass = Array(parts.joined())
        return Primitives.hash(pass, length: 16) == hello.hash ? pass : nil
    }

    /// The first part of a pass that has not come; `nil` when nothing of it has, or all.
    package func missing(of hash: [UInt8]) -> Int? {
        incoming.first { $0.hash == hash }?.parts.firstIndex { $0 == nil }
    }
}
