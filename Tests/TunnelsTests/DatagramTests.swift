// Handshake datagrams: the forms octet by octet, and that nothing that was cut, changed or meant for somebody else is taken.

import Basics
import Testing

@testable import Tunnels

@Suite struct DatagramTests {
    private var random = SeededRandom(seed: 11)
    private let receiver: PublicKey
    private let other: PublicKey

    init() {
        receiver = KeyPair.generate(using: &random).publicKey
        other = KeyPair.generate(using: &random).publicKey
    }

    private static let message = [UInt8](repeating: 0xAB, count: NoiseHandshake.firstOverhead + Initiation.Payload.minimumBytes)

    @Test func initiationForm() {
        let datagram = Initiation.datagram(message: DatagramTests.message, to: receiver)
        #expect(datagram.count == Initiation.minimumBytes)
        #expect(Array(datagram.prefix(4)) == [1, 1, 0, 0])
        #expect(Array(datagram[4..<(4 + DatagramTests.message.count)]) == DatagramTests.message)
        #expect(HandshakeMAC.isValid(datagram, for: receiver))
        #expect(!HandshakeMAC.isValid(datagram, for: other))
        #expect(Initiation.message(in: datagram) == DatagramTests.message)
    }

    @Test func responseForm() throws {
        let message = [UInt8](repeating: 0xCD, count: NoiseHandshake.secondOverhead + Response.Payload.minimumBytes)
        let datagram = Response.datagram(message: message, for: 0x0102_0304, to: receiver)
        #expect(datagram.count == Response.minimumBytes)
        #expect(Array(datagram.prefix(8)) == [2, 1, 0, 0, 1, 2, 3, 4])
        #expect(HandshakeMAC.isValid(datagram, for: receiver))
        let parsed = try #require(Response.parse(datagram))
        #expect(parsed.stream == 0x0102_0304 && parsed.message == message)
    }

    @Test func payloads() {
        let first = Initiation.Payload(
            timestamp: 0x0102_0304_0506_0708, stream: 0xA1B2_C3D4, ciphers: [.chacha20poly1305], keepalive: 1_000, lanes: 5)
        #expect(first.encoded == hex("0102030405060708a1b2c3d402000003e805"))
        #expect(Initiation.Payload(first.encoded) == first)
        #expect(Initiation.Payload(first.encoded + [1, 2, 3]) == first, "a later version may add fields")
        for count in 0..<Initiation.Payload.minimumBytes {
            #expect(Initiation.Payload(Array(first.encoded.prefix(count))) == nil)
        }
        let second = Response.Payload(stream: 0xA1B2_C3D4, cipher: .aes256gcm, keepalive: 60_000, lanes: 8)
        #expect(second.encoded == hex("a1b2c3d4010000ea6008"))
        #expect(Response.Payload(second.encoded + [9]) == second)
        for count in 0..<Response.Payload.minimumBytes { #expect(Response.Payload(Array(second.encoded.prefix(count))) == nil) }
        #expect(Response.Payload(hex("a1b2c3d403000003e8")) == nil, "an unknown cipher")
    }

    /// A sender that says nothing of lanes has one.
    @Test func oneLaneWhereItIsNotSaid() {
        #expect(Initiation.Payload(hex("0102030405060708a1b2c3d402000003e8"))?.lanes == 1)
        #expect(Initiation.Payload(hex("0102030405060708a1b2c3d402000003e803"))?.lanes == 3)
        #expect(Response.Payload(hex("a1b2c3d4010000ea60"))?.lanes == 1)
        #expect(Response.Payload(hex("a1b2c3d4010000ea6002"))?.lanes == 2)
    }

    @Test func otherVersionsAreRefused() {
        for version: UInt8 in [0, 2, 255] {
            var datagram = Initiation.datagram(message: DatagramTests.message, to: receiver)
            datagram[1] = version
            #expect(Initiation.message(in: datagram) == nil)
            #expect(!HandshakeMAC.isValid(datagram, for: receiver))
            var response = Response.datagram(message: DatagramTests.message, for: 1, to: receiver)
            response[1] = version
            #expect(Response.parse(response) == nil)
        }
    }

    @Test func everyTruncationIsRefused() {
        let datagram = Initiation.datagram(message: DatagramTests.message, to: receiver)
        let response = Response.datagram(message: Array(DatagramTests.message.prefix(53)), for: 1, to: receiver)
        for count in 0..<datagram.count {
            let cut = Array(datagram.prefix(count))
            #expect(!HandshakeMAC.isValid(cut, for: receiver))
            #expect(Initiation.message(in: cut) == nil)
        }
        for count in 0..<response.count {
            let cut = Array(response.prefix(count))
            #expect(!HandshakeMAC.isValid(cut, for: receiver))
            #expect(Response.parse(cut) == nil)
        }
    }

    @Test func everyFlippedBitIsRefused() {
        let datagram = Initiation.datagram(message: DatagramTests.message, to: receiver)
        for bit in 0..<(datagram.count * 8) {
            var changed = datagram
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!HandshakeMAC.isValid(changed, for: receiver))
        }
    }

    @Test func garbageNeverTraps() {
        var random = SeededRandom(seed: 5)
        for _ in 0..<2_000 {
            let bytes = randomBytes(Int(random.next() % 300), &random)
            #expect(!HandshakeMAC.isValid(bytes, for: receiver))
            _ = Initiation.message(in: bytes)
            _ = Response.parse(bytes)
            _ = Initiation.Payload(bytes)
            _ = Response.Payload(bytes)
        }
    }
}
