// One direction's key: what opens, what must not, with both ciphers.

import Basics
import Testing

@testable import Tunnels

private let ciphers = Cipher.allCases.filter { CipherSet.supported.contains(CipherSet(rawValue: $0.rawValue)) }

@Suite struct SessionKeyTests {
    private let secret = Key256((0..<32).map { UInt8($0 * 7 + 1) })

    @Test(arguments: ciphers, [0, 1, 15, 16, 17, 1440])
    func opensWhatWasSealed(_ cipher: Cipher, _ count: Int) throws {
        let key = try sessionKey(cipher, secret)
        let text = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let datagram = sealed(key, header: header(stream: 9, counter: 77), text: text, counter: 77)
        #expect(datagram.count == count + SealedLayout.overhead)
        #expect(opened(key, datagram, counter: 77) == text)
        if count > 15 { #expect(Array(datagram.dropFirst(16).prefix(count)) != text) }
    }

    @Test(arguments: ciphers)
    func theHopCountMayChangeAndNoOtherBit(_ cipher: Cipher) throws {
        let key = try sessionKey(cipher, secret)
        let text: [UInt8] = Array(1...20)
        let datagram = sealed(key, header: header(flags: 0x30, stream: 5, counter: 1), text: text, counter: 1)
        for bit in 0..<(datagram.count * 8) {
            var changed = datagram
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            let isHopCount = bit / 8 == SealedLayout.flags && bit % 8 < 4
            #expect(opened(key, changed, counter: 1) == (isHopCount ? text : nil), "bit \(bit)")
        }
    }

    @Test(arguments: ciphers)
    func everyTruncationAndExtensionIsRefused(_ cipher: Cipher) throws {
        let key = try sessionKey(cipher, secret)
        let datagram = sealed(key, header: header(stream: 5, counter: 1), text: Array(1...20), counter: 1)
        for count in 0..<datagram.count { #expect(opened(key, Array(datagram.prefix(count)), counter: 1) == nil) }
        #expect(opened(key, datagram + [0], counter: 1) == nil)
    }

    @Test(arguments: ciphers)
    func anotherCounterKeyOrCipherIsRefused(_ cipher: Cipher) throws {
        let key = try sessionKey(cipher, secret)
        let datagram = sealed(key, header: header(stream: 5, counter: 1), text: Array(1...20), counter: 1)
        for counter: UInt64 in [0, 2, 1 << 32, 1 << 56, .max] { #expect(opened(key, datagram, counter: counter) == nil) }
        let otherKey = try sessionKey(cipher, Key256(secret.bytes.dropLast() + [0]))
        #expect(opened(otherKey, datagram, counter: 1) == nil)
        for other in ciphers where other != cipher {
            let otherCipher = try sessionKey(other, secret)
            #expect(opened(otherCipher, datagram, counter: 1) == nil)
        }
    }

    @Test func lanesHaveTheirOwnKeys() {
        let keys = (0..<64).map { secret.forLane($0).bytes }
        #expect(Set(keys).count == 64)
        #expect(!keys.contains(secret.bytes))
        #expect(secret.forLane(3).bytes == keys[3])
    }

    @Test func preferredCipher() {
        #expect(CipherSet([.aes256gcm, .chacha20poly1305]).preferred == .aes256gcm)
        #expect(CipherSet([.chacha20poly1305]).preferred == .chacha20poly1305)
        #expect(CipherSet([]).preferred == nil)
        // Bits of ciphers that are not known yet are passed over.
        #expect(CipherSet(rawValue: 0xFC).preferred == nil)
        #expect(CipherSet(rawValue: 0xFF).intersection(.chacha20poly1305).preferred == .chacha20poly1305)
        #expect(CipherSet.supported.contains(.chacha20poly1305))
    }

    @Test func key256KeepsItsOctets() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<20 {
            let bytes = randomBytes(32, &random)
            #expect(Key256(bytes).bytes == bytes)
        }
    }
}
