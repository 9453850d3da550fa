// libsodium's primitives, with Swift types around them; with SodiumAEAD.swift the only file that touches its pointers.
// Everything here is a pure function of its arguments.
//
// X25519 is RFC 7748, ChaCha20-Poly1305 is RFC 8439, BLAKE2b is RFC 7693, AES-256-GCM is NIST SP 800-38D.

import Basics
import CSodium

/// 256 bits of key, as a plain value so that it can cross a lane's queue. Whoever has taken one out of memory that lives on
/// wipes that memory.
public struct Key256: Sendable, BitwiseCopyable {
    // The octets in their order, whatever the processor's.
    @usableFromInline var a: UInt64 = 0
    @usableFromInline var b: UInt64 = 0
    @usableFromInline var c: UInt64 = 0
    @usableFromInline var d: UInt64 = 0

    /// Precondition: 32 octets.
    public init(_ bytes: [UInt8]) {
        precondition(bytes.count == 32)
        // SAFETY: 32 octets, by the precondition.
        unsafe bytes.withUnsafeBytes { octets in
            unsafe withUnsafeMutableBytes(of: &self) { unsafe $0.copyMemory(from: octets) }
        }
    }

    /// Precondition: 32 octets are there.
    init(copying octets: UnsafeRawPointer) {
        // SAFETY: the caller vouches for 32 octets.
        unsafe withUnsafeMutableBytes(of: &self) { unsafe $0.copyMemory(from: UnsafeRawBufferPointer(start: octets, count: 32)) }
    }

    /// For tests and published vectors: the array is not wiped.
    public var bytes: [UInt8] {
        unsafe withOctets { octets in unsafe Array(UnsafeBufferPointer(start: octets, count: 32)) }
    }

    /// The octets, valid during the call, and wiped after it.
    func withOctets<R>(_ body: (UnsafePointer<UInt8>) -> R) -> R {
        var copy = self
        // SAFETY: the copy has 32 octets and lives on this frame.
        return unsafe withUnsafeMutableBytes(of: &copy) { octets in
            let start = unsafe octets.baseAddress.unsafelyUnwrapped
            defer { unsafe sodium_memzero(start, 32) }
            return unsafe body(start.assumingMemoryBound(to: UInt8.self))
        }
    }
}

/// A gateway's identity: an X25519 key pair.
public struct KeyPair: Sendable {
    public let privateKey: SecretBytes
    public let publicKey: PublicKey

    /// `nil` unless there are 32 octets.
    public init?(privateKey: SecretBytes) {
        guard privateKey.count == 32, let point = Primitives.publicKey(for: privateKey),
            let publicKey = PublicKey(bytes: point)
        else { return nil }
        self.privateKey = privateKey
        self.publicKey = publicKey
    }

    /// Of octets that the caller wipes. `nil` unless there are 32.
    public init?(privateKey: [UInt8]) {
        guard privateKey.count == 32 else { return nil }
        self.init(privateKey: SecretBytes(privateKey))
    }

    public static func generate(using random: inout some RandomNumberGenerator) -> KeyPair {
        // Any 32 octets are a private key: X25519 clamps them.
        let secret = SecretBytes(count: 32) { room in
            for index in 0..<32 {
                room.storeBytes(of: UInt8(truncatingIfNeeded: random.next() >> 24), toByteOffset: index, as: UInt8.self)
            }
        }
        return KeyPair(privateKey: secret).unsafelyTaken
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

    static func publicKey(for privateKey: SecretBytes) -> [UInt8]? {
        var point = [UInt8](repeating: 0, count: 32)
        defer { Wipe.stack() }
        // SAFETY: both hold 32 octets.
        return unsafe privateKey.withOctets { key in unsafe crypto_scalarmult_base(&point, key) == 0 } ? point : nil
    }

    /// `nil` when the result is zero: the other side's point has a small order. The caller wipes it.
    static func sharedSecret(_ privateKey: SecretBytes, _ publicKey: [UInt8]) -> [UInt8]? {
        guard privateKey.count == 32, publicKey.count == 32 else { return nil }
        var secret = [UInt8](repeating: 0, count: 32)
        defer { Wipe.stack() }
        // SAFETY: all three hold 32 octets.
        return unsafe privateKey.withOctets { key in unsafe crypto_scalarmult(&secret, key, publicKey) == 0 } ? secret : nil
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

    /// BLAKE2b-512 of two parts, one of them secret at least: 64 octets go to `digest`.
    private static func hash(
        _ first: UnsafeBufferPointer<UInt8>, _ second: UnsafeBufferPointer<UInt8>, to digest: UnsafeMutablePointer<UInt8>
    ) {
        let size = crypto_generichash_blake2b_statebytes()
        // SAFETY: the state has the size and the alignment that libsodium asks for; the lengths are those of the parts; the state
        // is wiped, since it holds what was hashed.
        unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: 64) { room in
            let start = unsafe room.baseAddress.unsafelyUnwrapped
            let state = OpaquePointer(start)
            unsafe crypto_generichash_blake2b_init(state, nil, 0, hashBytes)
            unsafe crypto_generichash_blake2b_update(state, first.baseAddress, UInt64(first.count))
            unsafe crypto_generichash_blake2b_update(state, second.baseAddress, UInt64(second.count))
            unsafe crypto_generichash_blake2b_final(state, digest, hashBytes)
            unsafe sodium_memzero(start, size)
        }
    }

    /// HMAC (RFC 2104) over BLAKE2b-512, block length 128, as Noise section 4.3 asks: `hashBytes` go to `digest`.
    /// Precondition: the key has at most 128 octets.
    static func hmac(
        key: UnsafePointer<UInt8>, keyCount: Int, _ input: [UInt8], to digest: UnsafeMutablePointer<UInt8>
    ) {
        precondition(keyCount <= 128)
        // SAFETY: the pad has 128 octets, the inner digest 64 behind it; both are wiped.
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 128 + hashBytes) { room in
            let start = unsafe room.baseAddress.unsafelyUnwrapped
            defer { unsafe sodium_memzero(start, 128 + hashBytes) }
            let pad = unsafe UnsafeBufferPointer(start: start, count: 128)
            let inner = unsafe UnsafeBufferPointer(start: start + 128, count: hashBytes)
            for index in 0..<128 { unsafe room[index] = (index < keyCount ? key[index] : 0) ^ 0x36 }
            unsafe input.withUnsafeBufferPointer { unsafe hash(pad, $0, to: start + 128) }
            for index in 0..<128 { unsafe room[index] ^= 0x36 ^ 0x5C }
            unsafe hash(pad, inner, to: digest)
        }
    }

    /// BLAKE2b-256 of a label, keyed. Precondition: the key has 32 octets.
    static func derivedKey(from key: UnsafePointer<UInt8>, _ label: [UInt8]) -> Key256 {
        // SAFETY: the room has 32 octets, and is wiped.
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32) { room in
            let start = unsafe room.baseAddress.unsafelyUnwrapped
            let result = unsafe crypto_generichash_blake2b(start, 32, label, UInt64(label.count), key, 32)
            precondition(result == 0)
            defer { unsafe sodium_memzero(start, 32) }
            return unsafe Key256(copying: start)
        }
    }

    private static func nonce(_ counter: UInt64) -> [UInt8] {
        [0, 0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: counter >> UInt64(8 * $0)) }
    }

    static func encrypt(key: [UInt8], counter: UInt64, associated: [UInt8], _ plain: [UInt8]) -> [UInt8] {
        precondition(key.count == 32)
        // SAFETY: the array lives during the call.
        return unsafe key.withUnsafeBufferPointer { key in
            unsafe encrypt(key: key.baseAddress.unsafelyUnwrapped, counter: counter, associated: associated, plain)
        }
    }

    static func decrypt(key: [UInt8], counter: UInt64, associated: [UInt8], _ sealed: [UInt8]) -> [UInt8]? {
        precondition(key.count == 32)
        // SAFETY: the array lives during the call.
        return unsafe key.withUnsafeBufferPointer { key in
            unsafe decrypt(key: key.baseAddress.unsafelyUnwrapped, counter: counter, associated: associated, sealed)
        }
    }

    /// Precondition: the key has 32 octets.
    static func encrypt(key: UnsafePointer<UInt8>, counter: UInt64, associated: [UInt8], _ plain: [UInt8]) -> [UInt8] {
        var sealed = [UInt8](repeating: 0, count: plain.count + tagBytes)
        var length: UInt64 = 0
        // SAFETY: `sealed` has room for the text and the tag; the other lengths are those of the arrays.
        let result = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
            &sealed, &length, plain, UInt64(plain.count), associated, UInt64(associated.count), nil, nonce(counter), key)
        precondition(result == 0 && length == UInt64(sealed.count))
        return sealed
    }

    /// `nil` when it does not authenticate. Precondition: the key has 32 octets.
    static func decrypt(
        key: UnsafePointer<UInt8>, counter: UInt64, associated: [UInt8], _ sealed: [UInt8]
    ) -> [UInt8]? {
        guard sealed.count >= tagBytes else { return nil }
        var plain = [UInt8](repeating: 0, count: max(sealed.count - tagBytes, 1))
        var length: UInt64 = 0
        // SAFETY: `plain` has room for the text; the other lengths are those of the arrays.
        let result = unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
            &plain, &length, nil, sealed, UInt64(sealed.count), associated, UInt64(associated.count), nonce(counter), key)
        guard result == 0 else { return nil }
        return Array(plain.prefix(Int(length)))
    }

    static func randomBytes(_ count: Int, using random: inout some RandomNumberGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 24) }
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
