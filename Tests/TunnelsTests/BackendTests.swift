// libsodium and libcrypto against published vectors and against each other: the same octets, the same refusals.

import Basics
import Testing

@testable import Tunnels

private let ciphers = Cipher.allCases.filter { CipherSet.supported.contains(CipherSet($0)) }
private let secret = Key256((0..<32).map { UInt8($0 * 7 + 1) })
private let absent: Comment = "the Wycheproof vectors are not on this machine"

/// What both backends do with any nonce and any associated data; the last 16 octets are the tag's.
private struct RawAEAD {
    let backend: CipherBackend
    let cipher: Cipher
    let key: [UInt8]
    let nonce: [UInt8]
    let associated: [UInt8]

    func seal(_ text: [UInt8]) -> [UInt8] {
        unsafe withParts(text + [UInt8](repeating: 0xEE, count: 16)) { parts in
            switch backend {
            case .sodium:
                guard let state = unsafe SodiumAEAD.makeState(cipher, Key256(key)) else { return false }
                unsafe SodiumAEAD.seal(cipher, state, parts)
                unsafe SodiumAEAD.free(state)
            case .openssl:
                guard let context = unsafe OpenSSLAEAD.makeContext(cipher, Key256(key), isSealing: true) else { return false }
                unsafe OpenSSLAEAD.seal(context, parts)
                unsafe OpenSSLAEAD.free(context)
            }
            return true
        } ?? []
    }

    /// The text; `nil` when it does not authenticate.
    func open(_ sealed: [UInt8]) -> [UInt8]? {
        let opened = unsafe withParts(sealed) { parts in
            switch backend {
            case .sodium:
                guard let state = unsafe SodiumAEAD.makeState(cipher, Key256(key)) else { return false }
                defer { unsafe SodiumAEAD.free(state) }
                return unsafe SodiumAEAD.open(cipher, state, parts)
            case .openssl:
                guard let context = unsafe OpenSSLAEAD.makeContext(cipher, Key256(key), isSealing: false) else { return false }
                defer { unsafe OpenSSLAEAD.free(context) }
                return unsafe OpenSSLAEAD.open(context, parts)
            }
        }
        return opened.map { Array($0.dropLast(16)) }
    }

    /// What `body` has made of `whole`; `nil` when it returned false.
    private func withParts(_ whole: [UInt8], _ body: (SealedParts) -> Bool) -> [UInt8]? {
        precondition(whole.count >= 16 && nonce.count == 12)
        var whole = whole
        let textCount = whole.count - 16
        // SAFETY: all lie within arrays that live on; an empty array would have no address.
        let isDone = unsafe whole.withUnsafeMutableBufferPointer { whole in
            unsafe nonce.withUnsafeBufferPointer { nonce in
                unsafe (associated + [0]).withUnsafeBufferPointer { padded in
                    unsafe body(
                        SealedParts(
                            text: whole.baseAddress!, textCount: textCount, tag: whole.baseAddress! + textCount,
                            associated: padded.baseAddress!, associatedCount: associated.count, nonce: nonce.baseAddress!))
                }
            }
        }
        return isDone ? whole : nil
    }
}

@Suite struct BackendTests {
    // MARK: - Published vectors

    /// The test cases of McGrew and Viega's "The Galois/Counter Mode of Operation" (the submission to NIST) with 256-bit keys
    /// and 96-bit nonces, and the example of RFC 8439 section 2.8.2.
    private struct Literal: Sendable, CustomTestStringConvertible {
        let name: String
        let cipher: Cipher
        let key: String
        let nonce: String
        var associated = ""
        var text = ""
        let sealed: String

        var testDescription: String { name }
    }

    private static let feed = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
    private static let zero = String(repeating: "0", count: 64)
    private static let gcmText =
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    private static let gcmSealed =
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    private static let literals = [
        Literal(
            name: "GCM 13", cipher: .aes256gcm, key: zero, nonce: "000000000000000000000000",
            sealed: "530f8afbc74536b9a963b4f1c4cb738b"),
        Literal(
            name: "GCM 14", cipher: .aes256gcm, key: zero, nonce: "000000000000000000000000",
            text: "00000000000000000000000000000000",
            sealed: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
        Literal(
            name: "GCM 15", cipher: .aes256gcm, key: feed, nonce: "cafebabefacedbaddecaf888", text: gcmText + "1aafd255",
            sealed: gcmSealed + "898015ad" + "b094dac5d93471bdec1a502270e3cc6c"),
        Literal(
            name: "GCM 16", cipher: .aes256gcm, key: feed, nonce: "cafebabefacedbaddecaf888",
            associated: "feedfacedeadbeeffeedfacedeadbeefabaddad2", text: gcmText,
            sealed: gcmSealed + "76fc6ece0f4e1768cddf8853bb2d551b"),
        Literal(
            name: "RFC 8439", cipher: .chacha20poly1305,
            key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", nonce: "070000004041424344454647",
            associated: "50515253c0c1c2c3c4c5c6c7",
            text: "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64"
                + "206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f"
                + "756c642062652069742e",
            sealed: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a"
                + "9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9d"
                + "e576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"),
    ]

    @Test(arguments: literals, CipherBackend.allCases)
    private func publishedLiterals(_ test: Literal, _ backend: CipherBackend) {
        guard backend.ciphers.contains(CipherSet(test.cipher)) else { return }
        let aead = RawAEAD(
            backend: backend, cipher: test.cipher, key: hex(test.key), nonce: hex(test.nonce), associated: hex(test.associated))
        #expect(aead.seal(hex(test.text)) == hex(test.sealed))
        #expect(aead.open(hex(test.sealed)) == hex(test.text))
    }

    @Test(.enabled(if: Vectors.areThere("wycheproof-aes_gcm_test.json"), absent), arguments: CipherBackend.allCases)
    func wycheproofAES256GCM(_ backend: CipherBackend) throws {
        try wycheproof("wycheproof-aes_gcm_test.json", .aes256gcm, backend, count: 66)
    }

    @Test(.enabled(if: Vectors.areThere("wycheproof-chacha20_poly1305_test.json"), absent), arguments: CipherBackend.allCases)
    func wycheproofChaCha20Poly1305(_ backend: CipherBackend) throws {
        try wycheproof("wycheproof-chacha20_poly1305_test.json", .chacha20poly1305, backend, count: 316)
    }

    private func wycheproof(_ name: String, _ cipher: Cipher, _ backend: CipherBackend, count: Int) throws {
        guard backend.ciphers.contains(CipherSet(cipher)) else { return }
        let file = try #require(Wycheproof<AEADTest>(name))
        let groups = file.testGroups.filter { $0.ivSize == 96 && $0.keySize == 256 && $0.tagSize == 128 }
        var ran = 0
        for test in groups.flatMap(\.tests) {
            let aead = RawAEAD(
                backend: backend, cipher: cipher, key: hex(test.key), nonce: hex(test.iv), associated: hex(test.aad))
            let sealed = hex(test.ct) + hex(test.tag)
            if test.result == "valid" {
                #expect(aead.seal(hex(test.msg)) == sealed, "tcId \(test.tcId)")
                #expect(aead.open(sealed) == hex(test.msg), "tcId \(test.tcId)")
            } else {
                #expect(aead.open(sealed) == nil, "tcId \(test.tcId)")
            }
            ran += 1
        }
        #expect(ran >= count)
    }

    // MARK: - Against each other

    /// One datagram by both: the same octets, each opens the other's, and neither takes one with a bit changed in any part, or
    /// one under another counter.
    private func compare(
        _ sodium: borrowing SessionKey, _ openssl: borrowing SessionKey, _ text: [UInt8], counter: UInt64,
        _ random: inout SeededRandom
    ) {
        let head = header(flags: 0x20, tag: 7, stream: 9, counter: counter)
        let datagram = sealed(sodium, header: head, text: text, counter: counter)
        #expect(sealed(openssl, header: head, text: text, counter: counter) == datagram, "\(text.count) octets")
        #expect(opened(openssl, datagram, counter: counter) == text, "\(text.count) octets")
        #expect(opened(sodium, datagram, counter: counter) == text, "\(text.count) octets")
        #expect(opened(openssl, datagram, counter: counter ^ 1) == nil && opened(sodium, datagram, counter: counter ^ 1) == nil)
        let parts = [0..<1, 2..<16, 16..<(16 + text.count), (16 + text.count)..<datagram.count]
        for part in parts where !part.isEmpty {
            var changed = datagram
            let place = Int.random(in: part, using: &random)
            changed[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            #expect(opened(openssl, changed, counter: counter) == nil, "\(text.count) octets, changed at \(place)")
            #expect(opened(sodium, changed, counter: counter) == nil, "\(text.count) octets, changed at \(place)")
        }
    }

    @Test(arguments: ciphers)
    func everyLength(_ cipher: Cipher) throws {
        let sodium = try sessionKey(cipher, secret)
        let openssl = try sessionKey(cipher, secret, .openssl)
        var random = SeededRandom(seed: 11)
        let octets = randomBytes(12_000, &random)
        for count in 0...2_048 {
            compare(sodium, openssl, Array(octets[count..<(2 * count)]), counter: UInt64(count), &random)
        }
        for _ in 0..<200 {
            let count = Int.random(in: 2_049...9_000, using: &random)
            let start = Int.random(in: 0...(octets.count - count), using: &random)
            compare(sodium, openssl, Array(octets[start..<(start + count)]), counter: random.next(), &random)
        }
    }

    /// A context carries nothing over: sealing and opening in any order, and refusals between.
    @Test(arguments: ciphers)
    func anyOrder(_ cipher: Cipher) throws {
        let sodium = try sessionKey(cipher, secret)
        let openssl = try sessionKey(cipher, secret, .openssl)
        var random = SeededRandom(seed: 12)
        for _ in 0..<500 {
            let counter = UInt64.random(in: 0...3, using: &random)
            let text = randomBytes(Int.random(in: 0...70, using: &random), &random)
            let head = header(stream: 1, counter: counter)
            let datagram = sealed(sodium, header: head, text: text, counter: counter)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: #expect(sealed(openssl, header: head, text: text, counter: counter) == datagram)
            case 1: #expect(opened(openssl, datagram, counter: counter) == text)
            default: #expect(opened(openssl, datagram.dropLast() + [datagram[datagram.count - 1] ^ 1], counter: counter) == nil)
            }
        }
    }

    /// The text that a refused datagram would have had stays unknown.
    @Test(arguments: ciphers, CipherBackend.allCases)
    func whatIsRefusedIsNotDeciphered(_ cipher: Cipher, _ backend: CipherBackend) throws {
        let key = try sessionKey(cipher, secret, backend == .sodium ? .sodium : .openssl)
        let text = [UInt8](repeating: 0x5A, count: 100)
        var bytes = sealed(key, header: header(stream: 1, counter: 1), text: text, counter: 1)
        bytes[bytes.count - 1] ^= 1
        let isAuthentic = bytes.withMutableRawSpan { key.open(&$0, counter: 1) }
        #expect(!isAuthentic && !bytes.contains(sequence: [0x5A, 0x5A, 0x5A]))
    }

    // MARK: - Which one

    @Test func policies() {
        #expect(CipherBackends.sodium == CipherBackends(aes256gcm: .max, chacha20poly1305: .max))
        #expect(CipherBackends.openssl == CipherBackends(aes256gcm: 0, chacha20poly1305: 0))
        var backends = CipherBackends.sodium
        backends[.chacha20poly1305] = 700
        #expect(backends == CipherBackends(aes256gcm: .max, chacha20poly1305: 700))
        #expect(backends[.aes256gcm] == .max && backends[.chacha20poly1305] == 700)
        #expect(CipherBackends.words(from: 0) == "libcrypto" && CipherBackends.words(from: .max) == "libsodium")
        #expect(CipherBackends.words(from: 300) == "libsodium below 300 octets, libcrypto from there on")
        // Debian's libcrypto has both ciphers, so nothing in these tests is passed over in silence.
        #expect(CipherBackend.openssl.ciphers == .supported && CipherBackend.sodium.ciphers == .supported)
    }

    @Test(arguments: ciphers)
    func theLengthDecides(_ cipher: Cipher) throws {
        var backends = CipherBackends.sodium
        backends[cipher] = 300
        let key = try sessionKey(cipher, secret, backends)
        let sodium = try sessionKey(cipher, secret)
        #expect(key.backend(forDatagramOf: 299) == .sodium && key.backend(forDatagramOf: 300) == .openssl)
        #expect(sodium.backend(forDatagramOf: 65_535) == .sodium)
        let openssl = try sessionKey(cipher, secret, .openssl)
        #expect(openssl.backend(forDatagramOf: SealedLayout.overhead) == .openssl)
        var random = SeededRandom(seed: 13)
        for count in 250...280 { compare(sodium, key, randomBytes(count, &random), counter: 5, &random) }
        // The other cipher's length has no say.
        for other in ciphers where other != cipher {
            let other = try sessionKey(other, secret, backends)
            #expect(other.backend(forDatagramOf: 65_535) == .sodium)
        }
    }

    /// Lengths at which one library does everything: no datagram is shorter than the overhead.
    @Test(arguments: ciphers, [Int.min, 0, 31, 32, 33, Int.max - 1, Int.max])
    func lengthsAtTheEdge(_ cipher: Cipher, _ length: Int) throws {
        var backends = CipherBackends.sodium
        backends[cipher] = length
        let key = try sessionKey(cipher, secret, backends)
        let sodium = try sessionKey(cipher, secret)
        var random = SeededRandom(seed: 14)
        for count in [0, 1, 2, 1_400] { compare(sodium, key, randomBytes(count, &random), counter: 5, &random) }
    }
}

extension [UInt8] {
    fileprivate func contains(sequence: [UInt8]) -> Bool {
        indices.dropLast(sequence.count - 1).contains { Array(self[$0..<($0 + sequence.count)]) == sequence }
    }
}
