// Cookies: proof that whoever sends an initiation is where it seems to come from, for a fraction of what a handshake costs. In the
// manner of WireGuard. A responder under load answers an initiation with a cookie, keeps nothing, and does public-key work
// only for initiations that come with one.
//
//     0               1               2               3
//     +---------------+---------------+---------------+---------------+
//     | kind = 3      | version = 1   | 0             | 0             |
//     +---------------+---------------+---------------+---------------+
//     | mac of the initiation that it answers, 128 bit                 |   with the four octets above: associated data
//     +---------------------------------------------------------------+
//     | nonce, 192 bit                                                 |
//     +---------------------------------------------------------------+
//     | sealed: cookie, 128 bit                                        |
//     | tag, 128 bit                                                   |
//     +---------------------------------------------------------------+
//
// 76 octets: less than the shortest initiation, so that it amplifies nothing. It is sealed with XChaCha20-Poly1305 under
// BLAKE2b-256 of `Causeway cookie 1` and the responder's public key: whoever can see neither the initiation nor knows that key
// can make none. An initiation that has a cookie ends in a second mac, keyed with the cookie, over all before it.

import Basics

package struct CookieReply: Equatable {
    package static let nonceBytes = 24
    package static let cookieBytes = 16
    private static let macPlace = 4
    private static let noncePlace = macPlace + HandshakeMAC.bytes
    private static let sealedPlace = noncePlace + nonceBytes
    package static let bytes = sealedPlace + cookieBytes + Primitives.tagBytes

    /// The mac of the initiation that it answers.
    package let mac: [UInt8]
    private let datagram: [UInt8]

    /// `nil` for a foreign version or length.
    package init?(_ datagram: [UInt8]) {
        guard datagram.count == CookieReply.bytes, datagram[0] == DatagramKind.cookieReply.rawValue,
            datagram[1] == Initiation.version
        else { return nil }
        mac = Array(datagram[CookieReply.macPlace..<CookieReply.noncePlace])
        self.datagram = datagram
    }

    /// - Parameters:
    ///   - nonce: 24 octets, never the same twice.
    ///   - responder: whose reply it is.
    package static func datagram(cookie: [UInt8], mac: [UInt8], nonce: [UInt8], from responder: PublicKey) -> [UInt8] {
        precondition(cookie.count == cookieBytes && mac.count == HandshakeMAC.bytes && nonce.count == nonceBytes)
        let head = [DatagramKind.cookieReply.rawValue, Initiation.version, 0, 0] + mac
        return head + nonce + Primitives.encrypt(key: key(responder), nonce: nonce, associated: head, cookie)
    }

    /// `nil` when it does not authenticate as the responder's.
    package func cookie(from responder: PublicKey) -> [UInt8]? {
        Primitives.decrypt(
            key: CookieReply.key(responder), nonce: Array(datagram[CookieReply.noncePlace..<CookieReply.sealedPlace]),
            associated: Array(datagram[..<CookieReply.noncePlace]), Array(datagram[CookieReply.sealedPlace...]))
    }

    private static func key(_ responder: PublicKey) -> [UInt8] {
        Primitives.hash(Array("Causeway cookie 1".utf8) + responder.bytes, length: 32)
    }
}

/// What a responder makes cookies from: a secret that is renewed every two minutes, and the one before it.
package struct CookieSecret: Sendable {
    /// For how long an initiator may use a cookie, and how often the secret is renewed.
    package static let lifetime = Interval.seconds(120)

    private var current: [UInt8] = []
    private var previous: [UInt8] = []
    /// When `current` began.
    private var renewed = Instant.zero

    package init() {}

    /// The cookie of whoever is at `source`.
    package mutating func cookie(
        for source: Endpoint, at now: Instant, using random: inout some RandomNumberGenerator
    ) -> [UInt8] {
        renew(at: now, using: &random)
        return CookieSecret.cookie(current, source)
    }

    /// Whether an initiation ends in a mac under a cookie that was made for `source` and has not run out.
    package func accepts(_ initiation: Initiation, from source: Endpoint, at now: Instant) -> Bool {
        guard initiation.cookieMAC != nil, !current.isEmpty else { return false }
        let age = now - renewed
        if age < CookieSecret.lifetime * 2, initiation.hasCookie(CookieSecret.cookie(current, source)) { return true }
        return age < CookieSecret.lifetime && !previous.isEmpty
            && initiation.hasCookie(CookieSecret.cookie(previous, source))
    }

    private mutating func renew(at now: Instant, using random: inout some RandomNumberGenerator) {
        let age = now - renewed
        if !current.isEmpty && age < CookieSecret.lifetime { return }
        previous = age < CookieSecret.lifetime * 2 ? current : []
        current = Primitives.randomBytes(32, using: &random)
        renewed = now
    }

    private static func cookie(_ secret: [UInt8], _ source: Endpoint) -> [UInt8] {
        Primitives.hash(
            bigEndian(source.high) + bigEndian(source.low) + bigEndian(source.port) + bigEndian(source.scope), key: secret,
            length: CookieReply.cookieBytes)
    }
}
