// libsodium's primitives, with Swift types around them; with SodiumAEAD.swift the only file that touches its pointers.
// Everything here is a pure function of its arguments.
//
// X25519 is RFC 7748, ChaCha20-Poly1305 is RFC 8439, BLAKE2b is RFC 7693, AES-256-GCM is NIST SP 800-38D.

import Basics
import CSodium

/// 256 bits of key, as a plain value so that it can cross a lane's queue.
public struct Key256: Sendable, BitwiseCopyable {
    @usableFromInline var a: UInt64 = 0
    @usableFromInline var b: UInt64 = 0
    @usableFromInline var c: UInt64 = 0
    @usableFromInline var d: UInt64 = 0

    /// Precondition: 32 octets.
    public init(_ bytes: [UInt8]) {
        precondition(bytes.count == 32)
        func word(_ index: Int) -> UInt64 {
            (0..<8).reduce(0) { $0 | UInt64(bytes[index * 8 + $1]) << UInt64(8 * $1) }
        }
        (a, b, c, d) = (word(0), word(1), word(2), word(3))
    }

    public var bytes: [UInt8] {
        [a, b, c, d].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) } }
    }
}

/// A gateway's identity: an X25519 key pair.
public struct KeyPair: Sendable {
    public let privateKey: [UInt8]
    public let publicKey: PublicKey

    /// `nil` unless there are 32 octets.
    public init?(privateKey: [UInt8]) {
        guard privateKey.count == 32, let point = Primitives.publicKey(for: privateKey),
            let publicKey = PublicKey(bytes: point)
        else { return nil }
        self.privateKey = privateKey
        self.publicKey = publicKey
    }

    public static func generate(using random: inout some RandomNumberGenerator) -> KeyPair {
        // Any 32 octets are a private key: X25519 clamps them.
        KeyPair(privateKey: Primitives.randomBytes(32, using: &random)).unsafelyTaken
    }
}

extension Optional {
    /// The value, where the line above has shown that there is one.
    fileprivate var unsafelyTaken: Wrapped {
        guard let value = self else { preconditionFailure("a value that must exist does not") }
        return value
    }
}

/// The functions that Noise is made of.
enum Primitives {
    static let hashBytes = 64
    static let tagBytes = 16

    /// True once libsodium is ready; its self-initialisation is thread-safe and idempotent.
    static let isReady: Bool = sodium_init() >= 0

    static func randomBytes(_ count: Int, using random: inout some RandomNumberGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 24) }
    }

    static func publicKey(for privateKey: [UInt8]) -> [UInt8]? {
        var point = [UInt8](repeating: 0, count: 32)
        // SAFETY: both arrays hold 32 octets.
        return unsafe crypto_scalarmult_base(&point, privateKey) == 0 ? point : nil
    }

    /// `nil` when the result is zero: the other side's point has a small order.
    static func sharedSecret(_ privateKey: [UInt8], _ publicKey: [UInt8]) -> [UInt8]? {
        guard privateKey.count == 32, publicKey.count == 32 else { return nil }
        var secret = [UInt8](repeating: 0, count: 32)
        // SAFETY: all three arrays hold 32 octets.
        return unsafe crypto_scalarmult(&secret, privateKey, publicKey) == 0 ? secret : nil
    }

    /// BLAKE2b of `length` octets, 16 to 64, with an optional key of 16 to 64.
    static func hash(_ input: [UInt8], key: [UInt8] = [], length: Int = hashBytes) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: length)
        // SAFETY: the lengths passed are those of the arrays.
        let result = unsafe crypto_generichash_blake2b(
            &digest, length, input, UInt64(input.count), key.isEmpty ? nil : key, key.count)
        precondition(result == 0)
        return digest
    }

    /// HMAC (RFC 2104) over BLAKE2b-512, block length 128, as Noise section 4.3 asks.
    static func hmac(key: [UInt8], _ input: [UInt8]) -> [UInt8] {
        precondition(key.count <= 128)
        let padded = key + [UInt8](repeating: 0, count: 128 - key.count)
        return hash(padded.map { $0 ^ 0x5C } + hash(padded.map { $0 ^ 0x36 } + input))
    }

    private static func nonce(_ counter: UInt64) -> [UInt8] {
        [0, 0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: counter >> UInt64(8 * $0)) }
    }

    static func encrypt(key: [UInt8], counter: UInt64, associated: [UInt8], _ plain: [UInt8]) -> [UInt8] {
        var sealed = [UInt8](repeating: 0, count: plain.count + tagBytes)
        var length: UInt64 = 0
        // SAFETY: `sealed` has room for the text and the tag; the other lengths are those of the arrays.
        let result = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
            &sealed, &length, plain, UInt64(plain.count), associated, UInt64(associated.count), nil, nonce(counter), key)
        precondition(result == 0 && length == UInt64(sealed.count))
        return sealed
    }

    /// `nil` when it does not authenticate.
    static func decrypt(key: [UInt8], counter: UInt64, associated: [UInt8], _ sealed: [UInt8]) -> [UInt8]? {
        guard sealed.count >= tagBytes else { return nil }
        var plain = [UInt8](repeating: 0, count: max(sealed.count - tagBytes, 1))
        var length: UInt64 = 0
        // SAFETY: `plain` has room for the text; the other lengths are those of the arrays.
        let result = unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
            &plain, &length, nil, sealed, UInt64(sealed.count), associated, UInt64(associated.count), nonce(counter), key)
        guard result == 0 else { return nil }
        return Array(plain.prefix(Int(length)))
    }

    /// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha). Precondition: the nonce has 24 octets.
    static func encrypt(key: [UInt8], nonce: [UInt8], associated: [UInt8], _ plain: [UInt8]) -> [UInt8] {
        precondition(key.count == 32 && nonce.count == 24)
        var sealed = [UInt8](repeating: 0, count: plain.count + tagBytes)
        var length: UInt64 = 0
        // SAFETY: `sealed` has room for the text and the tag; the other lengths are those of the arrays.
        let result = unsafe crypto_aead_xchacha20poly1305_ietf_encrypt(
            &sealed, &length, plain, UInt64(plain.count), associated, UInt64(associated.count), nil, nonce, key)
        precondition(result == 0 && length == UInt64(sealed.count))
        return sealed
    }

    /// `nil` when it does not authenticate. Precondition: the nonce has 24 octets.
    static func decrypt(key: [UInt8], nonce: [UInt8], associated: [UInt8], _ sealed: [UInt8]) -> [UInt8]? {
        precondition(key.count == 32 && nonce.count == 24)
        guard sealed.count >= tagBytes else { return nil }
        var plain = [UInt8](repeating: 0, count: max(sealed.count - tagBytes, 1))
        var length: UInt64 = 0
        // SAFETY: `plain` has room for the text; the other lengths are those of the arrays.
        let result = unsafe crypto_aead_xchacha20poly1305_ietf_decrypt(
            &plain, &length, nil, sealed, UInt64(sealed.count), associated, UInt64(associated.count), nonce, key)
        guard result == 0 else { return nil }
        return Array(plain.prefix(Int(length)))
    }

    /// Equality in time that does not depend on the contents.
    static func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        guard a.count == b.count else { return false }
        // SAFETY: both have `a.count` octets.
        return unsafe sodium_memcmp(a, b, a.count) == 0
    }
}
