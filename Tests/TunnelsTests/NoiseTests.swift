// The handshake against published vectors (cacophony's, for IKpsk2 with X25519, ChaCha20-Poly1305 and BLAKE2b), and what
// it must refuse.

import Basics
import Foundation
import Testing

@testable import Tunnels

private let file = "noise-25519-chachapoly-blake2b.json"

@Suite struct NoiseTests {
    /// Plays both sides of a vector and compares every octet that is published.
    private func play(_ vector: NoiseVectors.Vector) throws {
        let psk = hex(vector.initPsks?.first ?? "")
        let prologue = hex(vector.initPrologue)
        func pair(_ text: String?) throws -> KeyPair { try #require(text.flatMap { KeyPair(privateKey: hex($0)) }) }
        let remote = try #require(PublicKey(bytes: hex(vector.initRemoteStatic ?? "")))
        let responderStatic = try pair(vector.respStatic)
        #expect(responderStatic.publicKey == remote)
        let initiatorStatic = try pair(vector.initStatic)
        var initiator = NoiseHandshake.initiator(
            local: initiatorStatic, remote: remote, ephemeral: try pair(vector.initEphemeral), presharedKey: psk,
            prologue: prologue)
        var responder = NoiseHandshake.responder(
            local: responderStatic, ephemeral: try pair(vector.respEphemeral), presharedKey: psk, prologue: prologue)
        let first = try present(initiator.writeFirst(payload: hex(vector.messages[0].payload)))
        #expect(first == hex(vector.messages[0].ciphertext))
        #expect(responder.readFirst(first) == hex(vector.messages[0].payload))
        #expect(responder.remote == initiatorStatic.publicKey)
        let second = try present(responder.writeSecond(payload: hex(vector.messages[1].payload)))
        #expect(second == hex(vector.messages[1].ciphertext))
        #expect(initiator.readSecond(second) == hex(vector.messages[1].payload))
        #expect(initiator.hash == hex(vector.handshakeHash))
        #expect(responder.hash == hex(vector.handshakeHash))
        try transport(vector, initiator.split(), responder.split())
    }

    /// Transport messages: the initiator's and the responder's in turn, each side with its own counter.
    private func transport(
        _ vector: NoiseVectors.Vector, _ ours: (initiator: Key256, responder: Key256),
        _ theirs: (initiator: Key256, responder: Key256)
    ) throws {
        #expect(ours.initiator.bytes == theirs.initiator.bytes && ours.responder.bytes == theirs.responder.bytes)
        for (index, message) in vector.messages.dropFirst(2).enumerated() {
            let key = index % 2 == 0 ? ours.initiator.bytes : theirs.responder.bytes
            let counter = UInt64(index / 2)
            let sealed = Primitives.encrypt(key: key, counter: counter, associated: [], hex(message.payload))
            #expect(sealed == hex(message.ciphertext))
            #expect(Primitives.decrypt(key: key, counter: counter, associated: [], sealed) == hex(message.payload))
        }
    }

    @Test(.enabled(if: Vectors.areThere(file), "the published Noise vectors are not on this machine"))
    func publishedVectors() throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let all = try decoder.decode(NoiseVectors.self, from: try #require(Vectors.data(file))).vectors
        let ours = all.filter { $0.protocolName == NoiseHandshake.protocolName }
        #expect(ours.count >= 1)
        for vector in ours { try play(vector) }
    }

    /// The same vector as a literal, so that there is always one.
    @Test func literalVector() throws {
        let psk = "54686973206973206d7920417573747269616e20706572737065637469766521"
        let vector = NoiseVectors.Vector(
            protocolName: NoiseHandshake.protocolName, initPrologue: "4a6f686e2047616c74", initPsks: [psk],
            initStatic: "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
            initEphemeral: "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
            initRemoteStatic: "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62",
            respStatic: "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
            respEphemeral: "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
            handshakeHash: "ed837c9084f2f0333a7ec60b9bcacd9921394858de8ced118b5966d1147ba390"
                + "084dab42326c565a309c29317a6079be30aa1d790d25a517b43287426cb1d36a",
            messages: [
                .init(
                    payload: "4c756477696720766f6e204d69736573",
                    ciphertext: "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
                        + "b6fe0240b839afac809de1630eaf99d8f9b941394f0512c0554633bbb021d151"
                        + "76135c0a20e7fdb9a9ed066f22f054b47625b1d5061cb27d6a17f053273db7c2"
                        + "5216a5addc506ee321bc0618feb5849d"),
                .init(
                    payload: "4d757272617920526f746862617264",
                    ciphertext: "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
                        + "8f627e69fc120006f746b9d420bf4056cf8481ab32d9e904ffaeeaa56a5290"),
                .init(
                    payload: "462e20412e20486179656b",
                    ciphertext: "07fc0034398a5f1010322be193d62f94bebf2948a20b3e15d681fe"),
                .init(
                    payload: "4361726c204d656e676572",
                    ciphertext: "2ea5400f5b8a16971c8b67bde75aeb7987d454b1c0beeb2566932d"),
            ])
        try play(vector)
    }

    /// Two sides that agree; tests change one thing.
    private struct Sides {
        var random = SeededRandom(seed: 7)
        let initiatorStatic: KeyPair
        let responderStatic: KeyPair
        var initiator: NoiseHandshake
        var responder: NoiseHandshake

        init(psk: [UInt8], otherPSK: [UInt8], prologue: [UInt8] = [1], otherPrologue: [UInt8] = [1]) {
            initiatorStatic = .generate(using: &random)
            responderStatic = .generate(using: &random)
            initiator = .initiator(
                local: initiatorStatic, remote: responderStatic.publicKey, ephemeral: .generate(using: &random),
                presharedKey: psk, prologue: prologue)
            responder = .responder(
                local: responderStatic, ephemeral: .generate(using: &random), presharedKey: otherPSK,
                prologue: otherPrologue)
        }
    }

    private static let zeros = [UInt8](repeating: 0, count: 32)

    @Test func anotherPresharedKeyFailsInTheSecondMessage() throws {
        var sides = Sides(psk: NoiseTests.zeros, otherPSK: NoiseTests.zeros.dropLast() + [1])
        let first = try present(sides.initiator.writeFirst(payload: [9]))
        #expect(sides.responder.readFirst(first) == [9])
        let second = try present(sides.responder.writeSecond(payload: [8]))
        #expect(sides.initiator.readSecond(second) == nil)
    }

    @Test func anotherPrologueFailsInTheFirstMessage() throws {
        var sides = Sides(psk: NoiseTests.zeros, otherPSK: NoiseTests.zeros, otherPrologue: [2])
        let first = try present(sides.initiator.writeFirst(payload: [9]))
        #expect(sides.responder.readFirst(first) == nil)
    }

    /// Every bit of both messages is authenticated, and a copy taken before a refused message can go on.
    @Test func everyFlippedBitAndTruncationIsRefused() throws {
        var sides = Sides(psk: NoiseTests.zeros, otherPSK: NoiseTests.zeros)
        let first = try present(sides.initiator.writeFirst(payload: [1, 2, 3]))
        for bit in 0..<(first.count * 8) {
            var message = first
            message[bit / 8] ^= 1 << UInt8(bit % 8)
            var copy = sides.responder
            // X25519 ignores the last bit of a point (RFC 7748 section 5), but the hash does not.
            #expect(copy.readFirst(message) == nil)
        }
        for count in 0..<first.count {
            var copy = sides.responder
            #expect(copy.readFirst(Array(first.prefix(count))) == nil)
        }
        #expect(sides.responder.readFirst(first) == [1, 2, 3])
        let second = try present(sides.responder.writeSecond(payload: [4]))
        for bit in 0..<(second.count * 8) {
            var message = second
            message[bit / 8] ^= 1 << UInt8(bit % 8)
            var copy = sides.initiator
            #expect(copy.readSecond(message) == nil)
        }
        for count in 0..<second.count {
            var copy = sides.initiator
            #expect(copy.readSecond(Array(second.prefix(count))) == nil)
        }
        #expect(sides.initiator.readSecond(second) == [4])
        #expect(sides.initiator.split().initiator.bytes == sides.responder.split().initiator.bytes)
        #expect(sides.initiator.split().initiator.bytes != sides.initiator.split().responder.bytes)
    }

    @Test func pointsOfSmallOrderAreRefused() throws {
        var random = SeededRandom(seed: 3)
        let local = KeyPair.generate(using: &random)
        for point in [NoiseTests.zeros, [1] + NoiseTests.zeros.dropLast()] {
            let remote = try #require(PublicKey(bytes: point))
            var handshake = NoiseHandshake.initiator(
                local: local, remote: remote, ephemeral: .generate(using: &random), presharedKey: NoiseTests.zeros,
                prologue: [])
            #expect(handshake.writeFirst(payload: []) == nil)
            var other = NoiseHandshake.responder(
                local: local, ephemeral: .generate(using: &random), presharedKey: NoiseTests.zeros, prologue: [])
            #expect(other.readFirst(point + [UInt8](repeating: 5, count: 80)) == nil)
        }
    }
}
