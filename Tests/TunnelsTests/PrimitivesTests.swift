// libsodium's functions as this target wraps them, against Project Wycheproof's vectors where those are on the machine, and
// against literals computed with another library.

import Basics
import Testing

@testable import Tunnels

private let absent: Comment = "the Wycheproof vectors are not on this machine"

@Suite struct PrimitivesTests {
    @Test(.enabled(if: Vectors.areThere("wycheproof-x25519_test.json"), absent))
    func wycheproofX25519() throws {
        let file = try #require(Wycheproof<XDHTest>("wycheproof-x25519_test.json"))
        var ran = 0
        for test in file.testGroups.flatMap(\.tests) {
            let shared = hex(test.shared)
            let expected = shared.allSatisfy { $0 == 0 } ? nil : shared
            #expect(Primitives.sharedSecret(SecretBytes(hex(test.private)), hex(test.public)) == expected, "tcId \(test.tcId)")
            ran += 1
        }
        #expect(ran > 500)
    }

    /// Noise's nonce is four zero octets and a little-endian counter; only vectors of that form can run.
    @Test(.enabled(if: Vectors.areThere("wycheproof-chacha20_poly1305_test.json"), absent))
    func wycheproofChaCha20Poly1305() throws {
        let file = try #require(Wycheproof<AEADTest>("wycheproof-chacha20_poly1305_test.json"))
        var ran = 0
        for test in file.testGroups.filter({ $0.ivSize == 96 && $0.keySize == 256 }).flatMap(\.tests) {
            let nonce = hex(test.iv)
            guard nonce.prefix(4).allSatisfy({ $0 == 0 }) else { continue }
            let counter = nonce.suffix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let sealed = hex(test.ct) + hex(test.tag)
            let opened = Primitives.decrypt(key: hex(test.key), counter: counter, associated: hex(test.aad), sealed)
            if test.result == "valid" {
                #expect(opened == hex(test.msg), "tcId \(test.tcId)")
                #expect(
                    Primitives.encrypt(key: hex(test.key), counter: counter, associated: hex(test.aad), hex(test.msg))
                        == sealed, "tcId \(test.tcId)")
            } else {
                #expect(opened == nil, "tcId \(test.tcId)")
            }
            ran += 1
        }
        // Ten vectors of 316 have such a nonce.
        #expect(ran >= 10)
    }

    /// `SessionKey` fixes the nonce's first half and what is authenticated beside the text. A vector with a fitting nonce
    /// still says what the ciphertext is, which does not depend on the associated data; its tag cannot be compared.
    @Test(
        .enabled(if: Vectors.areThere("wycheproof-aes_gcm_test.json"), absent),
        .enabled(if: CipherSet.supported.contains(.aes256gcm), "this processor has no AES instructions"))
    func wycheproofAES256GCMCiphertext() throws { try sessionCiphertexts("wycheproof-aes_gcm_test.json", .aes256gcm, atLeast: 1) }

    @Test(.enabled(if: Vectors.areThere("wycheproof-chacha20_poly1305_test.json"), absent))
    func wycheproofChaCha20Ciphertext() throws {
        try sessionCiphertexts("wycheproof-chacha20_poly1305_test.json", .chacha20poly1305, atLeast: 5)
    }

    private func sessionCiphertexts(_ name: String, _ cipher: Cipher, atLeast: Int) throws {
        let file = try #require(Wycheproof<AEADTest>(name))
        var ran = 0
        for test in file.testGroups.filter({ $0.ivSize == 96 && $0.keySize == 256 }).flatMap(\.tests) {
            let nonce = hex(test.iv)
            guard test.result == "valid", nonce.prefix(4).allSatisfy({ $0 == 0 }) else { continue }
            let counter: UInt64 = integer(nonce[4...])
            guard let key = SessionKey(cipher, Key256(hex(test.key))) else { continue }
            let datagram = sealed(key, header: header(stream: 1, counter: counter), text: hex(test.msg), counter: counter)
            #expect(Array(datagram.dropFirst(16).dropLast(16)) == hex(test.ct), "tcId \(test.tcId)")
            ran += 1
        }
        #expect(ran >= atLeast)
    }

    /// RFC 7693 appendix A.
    @Test func blake2b() {
        #expect(
            Primitives.hash(Array("abc".utf8))
                == hex(
                    "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
                        + "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"))
    }

    /// Computed with another implementation (pyca/cryptography): the nonce is four zero octets and the big-endian counter, the
    /// associated data is the header with its hop count zero.
    @Test(arguments: [
        (
            Cipher.aes256gcm,
            "69301765b89529fa62eb9ccf79085c835a9632a1b2f5271a8c8974240352ff9a6e66bf807b19b0a3c8d7ba1a7939b1238651"
        ),
        (
            .chacha20poly1305,
            "8287d793c0f888f871cb89f6ed83422db5e30a32796d476a7ea71496048d85d2765eae1e5300bf3cab98e61667d32d0507fa"
        ),
    ])
    func sessionKeyLiterals(_ cipher: Cipher, _ expected: String) throws {
        guard let key = SessionKey(cipher, Key256(Array(0..<32))) else {
            #expect(cipher == .aes256gcm && !CipherSet.supported.contains(.aes256gcm))
            return
        }
        let counter: UInt64 = 0x0102_0304_0506_0708
        let text = Array("market data goes once over the WAN".utf8)
        let head = header(flags: 0xA7, tag: 0x1234, stream: 0xDEAD_BEEF, counter: counter)
        let datagram = sealed(key, header: head, text: text, counter: counter)
        #expect(Array(datagram.prefix(16)) == head, "sealing leaves the header alone")
        #expect(Array(datagram.dropFirst(16)) == hex(expected))
    }
}
