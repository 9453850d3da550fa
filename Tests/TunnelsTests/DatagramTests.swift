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
        #expect(Initiation(datagram)?.message == DatagramTests.message)
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

    // MARK: Post-quantum

    /// The hash stands behind the lanes, after the number of ML-KEM-768; other numbers are for later versions.
    @Test func theHashOfAnEncapsulationKey() {
        let old = "0102030405060708a1b2c3d402000003e805"
        let hash = (0..<32).map { UInt8($0 + 0x40) }
        let payload = Initiation.Payload(
            timestamp: 0x0102_0304_0506_0708, stream: 0xA1B2_C3D4, ciphers: [.chacha20poly1305], keepalive: 1_000, lanes: 5,
            encapsulationKeyHash: hash)
        #expect(payload.encoded == hex(old + "01") + hash)
        #expect(Initiation.Payload(payload.encoded) == payload)
        #expect(Initiation.Payload(payload.encoded + [7]) == payload)
        #expect(Initiation.Payload(hex(old + "02") + hash)?.encapsulationKeyHash == nil)
        for count in 18..<51 {
            #expect(Initiation.Payload(Array(payload.encoded.prefix(count)))?.encapsulationKeyHash == nil)
        }
    }

    @Test func annexForm() throws {
        let key = (0..<1_184).map { UInt8(truncatingIfNeeded: $0) }
        let datagram = Annex.datagram(stream: 0x0102_0304, key: key, to: receiver)
        #expect(datagram.count == 1_208 && Array(datagram.prefix(8)) == [5, 1, 0, 0, 1, 2, 3, 4])
        #expect(Array(datagram[8..<1_192]) == key && HandshakeMAC.isValid(datagram, for: receiver))
        let parsed = try #require(Annex.parse(datagram))
        #expect(parsed.stream == 0x0102_0304 && parsed.key == key)
        for count in 0..<datagram.count { #expect(Annex.parse(Array(datagram.prefix(count))) == nil) }
        #expect(Annex.parse(datagram + [0]) == nil)
    }

    @Test func hybridResponseForm() throws {
        let message = [UInt8](repeating: 0xCD, count: NoiseHandshake.secondOverhead + NoiseHandshake.encapsulationOverhead + 10)
        let datagram = Response.datagram(message: message, for: 0x0102_0304, to: receiver, isHybrid: true)
        #expect(datagram.count == 1_186 && Array(datagram.prefix(8)) == [2, 1, 2, 0, 1, 2, 3, 4])
        let parsed = try #require(Response.parse(datagram))
        #expect(parsed.isHybrid && parsed.message == message)
    }

    // MARK: Cookies

    @Test func initiationWithACookie() throws {
        let cookie = [UInt8](repeating: 7, count: 16)
        let datagram = Initiation.datagram(message: DatagramTests.message, to: receiver, cookie: cookie)
        #expect(datagram.count == Initiation.minimumBytes + 16 && Array(datagram.prefix(4)) == [1, 1, 1, 0])
        #expect(HandshakeMAC.isValid(datagram, for: receiver))
        let initiation = try #require(Initiation(datagram))
        #expect(initiation.message == DatagramTests.message && initiation.hasCookie(cookie))
        #expect(initiation.mac == Array(datagram.dropLast(16).suffix(16)))
        #expect(initiation.cookieMAC == Array(datagram.suffix(16)))
        #expect(!initiation.hasCookie([UInt8](repeating: 8, count: 16)))
        // Without the flag the first mac would be elsewhere, and is wrong.
        var changed = datagram
        changed[2] = 0
        #expect(!HandshakeMAC.isValid(changed, for: receiver))
        // Without the second mac neither is the flag true.
        #expect(!HandshakeMAC.isValid(Array(datagram.dropLast(16)), for: receiver))
    }

    @Test func cookieReplyForm() throws {
        let cookie = [UInt8](repeating: 0xC0, count: 16)
        let mac = (0..<16).map { UInt8($0) }
        let nonce = (0..<24).map { UInt8($0 + 100) }
        let datagram = CookieReply.datagram(cookie: cookie, mac: mac, nonce: nonce, from: receiver)
        #expect(datagram.count == 76 && Array(datagram.prefix(44)) == [3, 1, 0, 0] + mac + nonce)
        #expect(datagram.count < Initiation.minimumBytes, "it amplifies nothing")
        let reply = try #require(CookieReply(datagram))
        #expect(reply.mac == mac && reply.cookie(from: receiver) == cookie && reply.cookie(from: other) == nil)
        for bit in 0..<(datagram.count * 8) {
            var changed = datagram
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(CookieReply(changed)?.cookie(from: receiver) == nil)
        }
        for count in 0..<datagram.count { #expect(CookieReply(Array(datagram.prefix(count))) == nil) }
        #expect(CookieReply(datagram + [0]) == nil)
    }

    /// Good for its address, through one renewal of the secret and not through two.
    @Test func cookiesLive() throws {
        var random = SeededRandom(seed: 2)
        var secret = CookieSecret()
        let (here, there) = (Endpoint(ipv4: 1, port: 2), Endpoint(ipv4: 1, port: 3))
        let start = Instant.zero + .seconds(1_000)
        let cookie = secret.cookie(for: here, at: start, using: &random)
        let with = try #require(Initiation(Initiation.datagram(message: DatagramTests.message, to: receiver, cookie: cookie)))
        let without = try #require(Initiation(Initiation.datagram(message: DatagramTests.message, to: receiver)))
        func accepts(_ initiation: Initiation, _ source: Endpoint, _ seconds: Int64) -> Bool {
            secret.accepts(initiation, from: source, at: start + .seconds(seconds))
        }
        #expect(accepts(with, here, 0) && !accepts(with, there, 0) && !accepts(without, here, 0))
        #expect(secret.cookie(for: here, at: start + .seconds(119), using: &random) == cookie)
        #expect(secret.cookie(for: here, at: start + .seconds(121), using: &random) != cookie)
        #expect(accepts(with, here, 121) && accepts(with, here, 240) && !accepts(with, here, 242))
    }

    @Test func otherVersionsAreRefused() {
        for version: UInt8 in [0, 2, 255] {
            var datagram = Initiation.datagram(message: DatagramTests.message, to: receiver)
            datagram[1] = version
            #expect(Initiation(datagram)?.message == nil)
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
            #expect(Initiation(cut)?.message == nil)
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
            _ = Initiation(bytes)
            _ = Response.parse(bytes)
            _ = Initiation.Payload(bytes)
            _ = Response.Payload(bytes)
            _ = Annex.parse(bytes)
            _ = CookieReply(bytes)
        }
    }
}
