// ML-KEM-768 against published answers, and Noise with an encapsulation in its second message.

import Basics
import Testing

@testable import Tunnels

private let absent: Comment = "Project Wycheproof's vectors are not on this machine"

private struct KEMTest: Decodable {
    var tcId: Int
    var seed: String?
    var ek: String?
    var c: String?
    var secret: String?
    var result: String

    enum CodingKeys: String, CodingKey {
        case tcId, seed, ek, c, result
        case secret = "K"
    }
}

@Suite struct PostQuantumTests {
    private var random = SeededRandom(seed: 21)

    @Test(.enabled(if: Vectors.areThere("wycheproof-mlkem_768_keygen_seed_test.json"), absent))
    func wycheproofKeys() throws {
        let file = try #require(Wycheproof<KEMTest>("wycheproof-mlkem_768_keygen_seed_test.json"))
        var ran = 0
        for test in file.testGroups.flatMap(\.tests) {
            let pair = try #require(KEMKeyPair(seed: hex(test.seed ?? "")), "tcId \(test.tcId)")
            #expect(pair.encapsulationKey == hex(test.ek ?? ""), "tcId \(test.tcId)")
            ran += 1
        }
        #expect(ran >= 100)
    }

    @Test(.enabled(if: Vectors.areThere("wycheproof-mlkem_768_test.json"), absent))
    func wycheproofDecapsulation() throws {
        let file = try #require(Wycheproof<KEMTest>("wycheproof-mlkem_768_test.json"))
        var ran = 0
        for test in file.testGroups.flatMap(\.tests) {
            let secret = KEMKeyPair(seed: hex(test.seed ?? ""))?.decapsulate(hex(test.c ?? ""))
            if test.result == "valid" {
                #expect(secret == hex(test.secret ?? ""), "tcId \(test.tcId)")
            } else {
                #expect(secret == nil, "tcId \(test.tcId)")
            }
            ran += 1
        }
        #expect(ran >= 190)
    }

    /// Keys of a wrong length or with coefficients out of range. What is encapsulated cannot be compared: the library draws it.
    @Test(.enabled(if: Vectors.areThere("wycheproof-mlkem_768_encaps_test.json"), absent))
    func wycheproofKeysToEncapsulateTo() throws {
        let file = try #require(Wycheproof<KEMTest>("wycheproof-mlkem_768_encaps_test.json"))
        var ran = 0
        for test in file.testGroups.flatMap(\.tests) {
            #expect((KEMEncapsulation(to: hex(test.ek ?? "")) != nil) == (test.result == "valid"), "tcId \(test.tcId)")
            ran += 1
        }
        #expect(ran >= 10)
    }

    @Test mutating func whatIsEncapsulatedIsDecapsulated() throws {
        let pair = try present(KEMKeyPair.generate(using: &random))
        let encapsulation = try #require(KEMEncapsulation(to: pair.encapsulationKey))
        #expect(encapsulation.ciphertext.count == 1_088 && encapsulation.secret.count == 32)
        // What is kept until the response is made is in guarded memory, and wiped with it.
        let secret: SecretBytes = encapsulation.secret
        #expect(secret.isGuarded)
        #expect(pair.decapsulate(encapsulation.ciphertext).map { SecretBytes($0) } == secret)
        var changed = encapsulation.ciphertext
        changed[7] ^= 1
        let other = try #require(pair.decapsulate(changed))
        #expect(SecretBytes(other) != encapsulation.secret)
        #expect(pair.decapsulate(Array(changed.dropLast())) == nil)
        #expect(KEMKeyPair(seed: [1, 2, 3]) == nil)
    }

    /// The same seed gives the same key: all of an initiator's octets come from its random numbers.
    @Test func keysComeFromTheSeed() throws {
        var (one, two) = (SeededRandom(seed: 5), SeededRandom(seed: 5))
        let first = try present(KEMKeyPair.generate(using: &one))
        let second = try present(KEMKeyPair.generate(using: &two))
        #expect(first.encapsulationKey == second.encapsulationKey)
    }

    // MARK: In the handshake

    private mutating func sides(psk: [UInt8] = [UInt8](repeating: 0, count: 32)) throws -> (NoiseHandshake, NoiseHandshake) {
        let (a, b) = (KeyPair.generate(using: &random), KeyPair.generate(using: &random))
        var initiator = NoiseHandshake.initiator(
            local: a, remote: b.publicKey, ephemeral: KeyPair.generate(using: &random),
            presharedKey: [UInt8](repeating: 0, count: 32), prologue: [])
        var responder = NoiseHandshake.responder(
            local: b, ephemeral: KeyPair.generate(using: &random), presharedKey: psk, prologue: [])
        let first = try present(initiator.writeFirst(payload: [1]))
        #expect(responder.readFirst(first) == [1])
        return (initiator, responder)
    }

    @Test mutating func bothSidesAgree() throws {
        var (initiator, responder) = try sides()
        let (before, classical) = (initiator, responder)
        let pair = try present(KEMKeyPair.generate(using: &random))
        let encapsulation = try #require(KEMEncapsulation(to: pair.encapsulationKey))
        let second = try present(responder.writeSecond(payload: [2, 3], encapsulation: encapsulation))
        #expect(second.count == 48 + 1_104 + 2)
        #expect(initiator.readSecond(second, encapsulatedTo: pair) == [2, 3])
        #expect(initiator.hash == responder.hash)
        #expect(initiator.split().initiator.bytes == responder.split().initiator.bytes)
        #expect(initiator.split().responder.bytes == responder.split().responder.bytes)
        // Whoever knows all of X25519 and lacks the secret has other keys.
        var other = before
        #expect(other.readSecond(second) == nil)
        other = before
        let stranger = try present(KEMKeyPair.generate(using: &random))
        #expect(other.readSecond(second, encapsulatedTo: stranger) == nil)
        // One without an encapsulation is not taken for one with it.
        var plain = classical
        let short = try present(plain.writeSecond(payload: [2, 3]))
        other = before
        #expect(other.readSecond(short, encapsulatedTo: pair) == nil)
        for place in stride(from: 0, to: second.count, by: 13) {
            var changed = second
            changed[place] ^= 0x10
            other = before
            #expect(other.readSecond(changed, encapsulatedTo: pair) == nil)
        }
        for count in stride(from: 0, to: second.count, by: 31) {
            other = before
            #expect(other.readSecond(Array(second.prefix(count)), encapsulatedTo: pair) == nil)
        }
    }

    @Test mutating func aWrongPresharedKeyIsStillFound() throws {
        var (initiator, responder) = try sides(psk: [UInt8](repeating: 1, count: 32))
        let pair = try present(KEMKeyPair.generate(using: &random))
        let encapsulation = try #require(KEMEncapsulation(to: pair.encapsulationKey))
        let second = try present(responder.writeSecond(payload: [2], encapsulation: encapsulation))
        #expect(initiator.readSecond(second, encapsulatedTo: pair) == nil)
    }
}
