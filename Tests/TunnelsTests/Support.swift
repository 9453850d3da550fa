// What the tests of this target share: hexadecimal, published vectors, and spans over arrays.

import Basics
import Buffers
import Foundation
import Testing

@testable import Tunnels

/// Octets written in hexadecimal. Precondition: an even number of digits.
func hex(_ text: String) -> [UInt8] {
    let digits = text.utf8.map { UInt8($0 < 58 ? $0 - 48 : ($0 | 32) - 87) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// Published vectors: not copied into the project, but in a `shared/vectors` folder beside or above the package.
enum Vectors {
    static func data(_ name: String) -> Data? {
        var folder = URL(filePath: #filePath)
        while folder.path.count > 1 {
            folder.deleteLastPathComponent()
            let file = folder.appending(path: "shared/vectors").appending(path: name)
            if let data = try? Data(contentsOf: file) { return data }
        }
        return nil
    }

    static func areThere(_ name: String) -> Bool { data(name) != nil }
}

struct NoiseVectors: Decodable {
    struct Message: Decodable {
        var payload: String
        var ciphertext: String
    }

    struct Vector: Decodable {
        var protocolName: String
        var initPrologue: String
        var initPsks: [String]?
        var initStatic: String?
        var initEphemeral: String?
        var initRemoteStatic: String?
        var respStatic: String?
        var respEphemeral: String?
        var handshakeHash: String
        var messages: [Message]
    }

    var vectors: [Vector]
}

/// Wycheproof's files, as far as these tests look into them.
struct Wycheproof<Test: Decodable>: Decodable {
    struct Group: Decodable {
        var ivSize: Int?
        var keySize: Int?
        var tagSize: Int?
        var tests: [Test]
    }

    var testGroups: [Group]

    init?(_ name: String) {
        guard let data = Vectors.data(name), let file = try? JSONDecoder().decode(Self.self, from: data) else { return nil }
        self = file
    }
}

struct AEADTest: Decodable {
    var tcId: Int
    var key: String
    var iv: String
    var aad: String
    var msg: String
    var ct: String
    var tag: String
    var result: String
}

struct XDHTest: Decodable {
    var tcId: Int
    var flags: [String]
    var `public`: String
    var `private`: String
    var shared: String
    var result: String
}

/// A sealed datagram's header.
func header(_ first: UInt8 = 4, flags: UInt8 = 0, tag: UInt16 = 0, stream: UInt32, counter: UInt64) -> [UInt8] {
    [first, flags] + bigEndian(tag) + bigEndian(stream) + bigEndian(counter)
}

/// Seals `text` behind `header`.
func sealed(_ key: borrowing SessionKey, header: [UInt8], text: [UInt8], counter: UInt64) -> [UInt8] {
    var bytes = header + text + [UInt8](repeating: 0, count: SealedLayout.tagBytes)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    key.seal(&raw, counter: counter)
    return bytes
}

/// The text of a datagram; `nil` when it does not open.
func opened(_ key: borrowing SessionKey, _ datagram: [UInt8], counter: UInt64) -> [UInt8]? {
    var bytes = datagram
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    guard key.open(&raw, counter: counter) else { return nil }
    return Array(bytes.dropFirst(SealedLayout.headerBytes).dropLast(SealedLayout.tagBytes))
}

func randomBytes(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 32) }
}

struct NoSuchCipher: Error {}

/// A key that must be there: `#require` does not take move-only values.
func sessionKey(_ cipher: Cipher, _ key: Key256, _ backends: CipherBackends = .sodium) throws -> SessionKey {
    guard let key = SessionKey(cipher, key, backends: backends) else { throw NoSuchCipher() }
    return key
}

/// `#require` for the result of a mutating call, which the macro itself cannot take apart.
func present<Value>(_ value: Value?) throws -> Value { try #require(value) }
