// The datagrams that cross the WAN, octet by octet. Everything is in network order.
//
//     0               1               2               3
//     +---------------+---------------+-------------------------------+
//     | kind = 4      |R| 0   | hops  | origin tag: the sending lane  |   sealed datagram
//     +---------------+---------------+-------------------------------+
//     | stream identifier: the receiver's choice in the handshake; if |
//     | R(outed) is set the origin's, the same for all of an audience |
//     +---------------------------------------------------------------+
//     | counter, 64 bit: never repeats under one key                  |
//     +---------------------------------------------------------------+
//     | sealed: packing header, frames, padding                       |
//     +---------------------------------------------------------------+
//     | tag, 128 bit                                                  |
//     +---------------------------------------------------------------+
//
//     kind = 1, version, flags, 0 | Noise message 1 | mac, 128 bit                      initiation
//     kind = 1, version, 1, 0 | Noise message 1 | mac | mac under a cookie              initiation with a cookie
//     kind = 2, version, flags, 0 | receiver's stream identifier | Noise message 2 | mac  response
//     kind = 3                                                                         `CookieReply`
//     kind = 5                                                                         `Annex`
//     kind = 6                                                                         `Hello`
//
// The first sixteen octets of a sealed datagram are authenticated with the hop count (the low half of octet 1) taken as
// zero: it is the one field that a relay may change. The mac of a handshake datagram is keyed with the receiver's public
// key: whoever does not know whom he is talking to is refused before any public-key work.

import Basics

public enum DatagramKind: UInt8, Sendable {
    case initiation = 1
    case response = 2
    case cookieReply = 3
    case sealed = 4
    case annex = 5
    case hello = 6

    /// The longest datagram of a handshake, in octets of UDP payload: what an IPv6 path of 1,280 octets carries.
    public static let handshakeLimit = 1_232
}

/// Field offsets and sizes of a sealed datagram, in octets.
public enum SealedLayout {
    public static let kind = 0
    public static let flags = 1
    public static let originTag = 2
    public static let stream = 4
    public static let counter = 8
    public static let headerBytes = 16
    public static let tagBytes = 16
    /// What sealing adds to the packed frames.
    public static let overhead = headerBytes + tagBytes
    /// The mask that takes the hop count out of octet 1.
    public static let flagsMask: UInt8 = 0xF0
    /// Of octet 1: the stream identifier is that of a group's stream, and no pair session's.
    public static let routed: UInt8 = 0x80
    /// The part of octet 1 that says how often relays may still forward a routed datagram.
    public static let hopsMask: UInt8 = 0x0F
    /// The hop count that an origin begins with.
    public static let hopLimit: UInt8 = 7
}

/// A handshake's first datagram.
package struct Initiation: Equatable {
    package static let version: UInt8 = 1
    package static let prologue = Array("Causeway pair session 1".utf8)

    /// What is inside the Noise message. Longer payloads are accepted: later versions may add fields.
    package struct Payload: Equatable {
        /// Nanoseconds since 1970 by the sender's clock: an initiation that is not newer than the last is refused.
        package var timestamp: UInt64
        /// Where the sender wants sealed datagrams to be addressed.
        package var stream: UInt32
        /// The ciphers the sender can use.
        package var ciphers: CipherSet
        /// How often the sender will be heard when it has nothing to send, in milliseconds.
        package var keepalive: UInt32
        /// With how many lanes the sender seals: their origin tags are all below. 1 where it is not said.
        package var lanes: UInt8
        /// `Annex.hash` of the ML-KEM-768 key that follows in an annex; `nil` where the sender wants no ML-KEM.
        package var encapsulationKeyHash: [UInt8]?

        package static let minimumBytes = 17
        /// The number of ML-KEM-768, before the hash of its key.
        private static let mlkem768: UInt8 = 1
        private static let hashPlace = 19

        package var encoded: [UInt8] {
            bigEndian(timestamp) + bigEndian(stream) + [ciphers.rawValue] + bigEndian(keepalive) + [lanes]
                + (encapsulationKeyHash.map { [Payload.mlkem768] + $0 } ?? [])
        }

        package init(
            timestamp: UInt64, stream: UInt32, ciphers: CipherSet, keepalive: UInt32, lanes: UInt8 = 1,
            encapsulationKeyHash: [UInt8]? = nil
        ) {
            precondition(encapsulationKeyHash == nil || encapsulationKeyHash?.count == Annex.hashBytes)
            self.encapsulationKeyHash = encapsulationKeyHash
            self.timestamp = timestamp
            self.stream = stream
            self.ciphers = ciphers
            self.keepalive = keepalive
            self.lanes = lanes
        }

        package init?(_ bytes: [UInt8]) {
            guard bytes.count >= Payload.minimumBytes else { return nil }
            timestamp = integer(bytes[0..<8])
            stream = integer(bytes[8..<12])
            ciphers = CipherSet(rawValue: bytes[12])
            keepalive = integer(bytes[13..<17])
            lanes = bytes.count > 17 ? bytes[17] : 1
            let hashEnd = Payload.hashPlace + Annex.hashBytes
            let hasHash = bytes.count >= hashEnd && bytes[Payload.hashPlace - 1] == Payload.mlkem768
            encapsulationKeyHash = hasHash ? Array(bytes[Payload.hashPlace..<hashEnd]) : nil
        }
    }

    package static let headerBytes = 4
    package static let minimumBytes = headerBytes + NoiseHandshake.firstOverhead + Payload.minimumBytes + HandshakeMAC.bytes

    /// Of octet 2: a mac under a cookie follows the mac.
    private static let cookieFlag: UInt8 = 1

    /// - Parameter cookie: that the receiver has sent before, if it is still good.
    package static func datagram(message: [UInt8], to receiver: PublicKey, cookie: [UInt8]? = nil) -> [UInt8] {
        let flags = cookie == nil ? 0 : cookieFlag
        let datagram = HandshakeMAC.appended(
            to: [DatagramKind.initiation.rawValue, version, flags, 0] + message, for: receiver)
        guard let cookie else { return datagram }
        return datagram + Primitives.hash(datagram, key: cookie, length: HandshakeMAC.bytes)
    }

    /// The Noise message inside.
    package let message: [UInt8]
    /// All that `cookieMAC` covers: the datagram with its first mac.
    private let covered: [UInt8]
    /// The mac under a cookie, where there is one.
    package let cookieMAC: [UInt8]?

    /// `nil` for a foreign version or length.
    package init?(_ datagram: [UInt8]) {
        let covered = HandshakeMAC.withoutCookie(datagram)
        guard covered.count >= Initiation.minimumBytes, datagram[1] == Initiation.version else { return nil }
        message = Array(covered[Initiation.headerBytes..<(covered.count - HandshakeMAC.bytes)])
        cookieMAC = covered.count == datagram.count ? nil : Array(datagram[covered.count...])
        self.covered = Array(covered)
    }

    /// The first mac: what a cookie reply names.
    package var mac: [UInt8] { Array(covered.suffix(HandshakeMAC.bytes)) }

    /// Whether it was made with this cookie.
    package func hasCookie(_ cookie: [UInt8]) -> Bool {
        guard let cookieMAC else { return false }
        return Primitives.equal(Primitives.hash(covered, key: cookie, length: HandshakeMAC.bytes), cookieMAC)
    }

    /// Whether a datagram says that a mac under a cookie follows the first.
    fileprivate static func claimsCookie(_ datagram: [UInt8]) -> Bool {
        datagram.count > HandshakeMAC.bytes && datagram[0] == DatagramKind.initiation.rawValue && datagram[2] & cookieFlag != 0
    }
}

/// A handshake's second datagram.
package struct Response {
    package struct Payload: Equatable {
        package var stream: UInt32
        package var cipher: Cipher
        /// As in the initiation.
        package var keepalive: UInt32
        /// As in the initiation.
        package var lanes: UInt8

        package static let minimumBytes = 9

        package var encoded: [UInt8] { bigEndian(stream) + [cipher.rawValue] + bigEndian(keepalive) + [lanes] }

        package init(stream: UInt32, cipher: Cipher, keepalive: UInt32, lanes: UInt8 = 1) {
            self.stream = stream
            self.cipher = cipher
            self.keepalive = keepalive
            self.lanes = lanes
        }

        package init?(_ bytes: [UInt8]) {
            guard bytes.count >= Payload.minimumBytes, let cipher = Cipher(rawValue: bytes[4]) else { return nil }
            stream = integer(bytes[0..<4])
            self.cipher = cipher
            keepalive = integer(bytes[5..<9])
            lanes = bytes.count > 9 ? bytes[9] : 1
        }
    }

    package static let headerBytes = 8
    package static let minimumBytes = headerBytes + NoiseHandshake.secondOverhead + Payload.minimumBytes + HandshakeMAC.bytes

    /// Of octet 2: the Noise message holds an encapsulation. In clear, since it says how to read the rest: who changes it
    /// makes a message that does not authenticate.
    private static let hybridFlag: UInt8 = 2

    package static func datagram(
        message: [UInt8], for stream: UInt32, to receiver: PublicKey, isHybrid: Bool = false
    ) -> [UInt8] {
        let flags = isHybrid ? hybridFlag : 0
        let head = [DatagramKind.response.rawValue, Initiation.version, flags, 0] + bigEndian(stream)
        return HandshakeMAC.appended(to: head + message, for: receiver)
    }

    /// The stream it answers to, the Noise message, and whether that holds an encapsulation; `nil` for a foreign version or
    /// length.
    package static func parse(_ datagram: [UInt8]) -> (stream: UInt32, message: [UInt8], isHybrid: Bool)? {
        guard datagram.count >= minimumBytes, datagram[1] == Initiation.version else { return nil }
        return (
            integer(datagram[4..<8]), Array(datagram[headerBytes..<(datagram.count - HandshakeMAC.bytes)]),
            datagram[2] & hybridFlag != 0
        )
    }
}

/// The 128-bit mac of handshake datagrams: BLAKE2b keyed by a hash of the receiver's public key. It is their end, but for an
/// initiation's mac under a cookie.
package enum HandshakeMAC {
    package static let bytes = 16

    private static func key(_ receiver: PublicKey) -> [UInt8] {
        Primitives.hash(Array("Causeway handshake mac 1".utf8) + receiver.bytes, length: 32)
    }

    package static func appended(to datagram: [UInt8], for receiver: PublicKey) -> [UInt8] {
        datagram + Primitives.hash(datagram, key: key(receiver), length: bytes)
    }

    package static func isValid(_ datagram: [UInt8], for receiver: PublicKey) -> Bool {
        let covered = withoutCookie(datagram)
        guard covered.count > bytes else { return false }
        let expected = Primitives.hash(Array(covered.dropLast(bytes)), key: key(receiver), length: bytes)
        return Primitives.equal(expected, Array(covered.suffix(bytes)))
    }

    /// A handshake datagram without its mac under a cookie.
    fileprivate static func withoutCookie(_ datagram: [UInt8]) -> ArraySlice<UInt8> {
        Initiation.claimsCookie(datagram) ? datagram.dropLast(bytes) : datagram[...]
    }
}

func bigEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<MemoryLayout<T>.size).reversed().map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
}

func integer<T: FixedWidthInteger>(_ bytes: ArraySlice<UInt8>) -> T {
    bytes.reduce(0) { $0 << 8 | T($1) }
}
