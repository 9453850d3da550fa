// The annex to an initiation: the initiator's ML-KEM-768 key, in a datagram of its own so that neither exceeds what an IPv6
// path of 1,280 octets carries.
//
//     0               1               2               3
//     +---------------+---------------+---------------+---------------+
//     | kind = 5      | version = 1   | 0             | 0             |
//     +---------------+---------------+---------------+---------------+
//     | the initiator's stream identifier, as sealed in the initiation |
//     +---------------------------------------------------------------+
//     | ML-KEM-768 encapsulation key, 1,184 octets                     |
//     +---------------------------------------------------------------+
//     | mac, 128 bit                                                   |
//     +---------------------------------------------------------------+
//
// Nothing in it is secret or authentic by itself: the initiation's sealed payload has the key's hash.

import Basics

package enum Annex {
    package static let headerBytes = 8
    package static let bytes = headerBytes + MLKEMLayout.keyBytes + HandshakeMAC.bytes
    /// Octets of the hash by which the initiation names the key.
    package static let hashBytes = 32

    package static func datagram(stream: UInt32, key: [UInt8], to receiver: PublicKey) -> [UInt8] {
        let head = [DatagramKind.annex.rawValue, Initiation.version, 0, 0] + bigEndian(stream)
        return HandshakeMAC.appended(to: head + key, for: receiver)
    }

    /// The stream it belongs to and the key; `nil` for a foreign version or length.
    package static func parse(_ datagram: [UInt8]) -> (stream: UInt32, key: [UInt8])? {
        guard datagram.count == bytes, datagram[1] == Initiation.version else { return nil }
        return (integer(datagram[4..<8]), Array(datagram[headerBytes..<(headerBytes + MLKEMLayout.keyBytes)]))
    }

    /// BLAKE2b-256.
    package static func hash(of key: [UInt8]) -> [UInt8] { Primitives.hash(key, length: hashBytes) }
}
