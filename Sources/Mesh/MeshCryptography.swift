// What the mesh needs of libsodium: BLAKE2b (RFC 7693), SHA-512 (RFC 6234), Ed25519 (RFC 8032). Pure functions of their
// arguments, and the only file of this target that touches libsodium's pointers.
//
// A gateway's one identity is its X25519 key pair, and it signs with that too, so that a pass need not name a second key. The
// two curves are one in two forms: the private scalar `a` is the same, the signing point is A = aB on the Edwards form, and its
// image on the Montgomery form is the public key. Whoever verifies is told A, and checks that it maps to the public key that
// the pass names. This is Signal's XEdDSA, except that A is told instead of computed (both of its signs map to one public
// key, and only the holder of `a` can sign for either), and that the nonce is derived as RFC 8032 derives its own.

import Basics
import CSodium

enum MeshCryptography {
    static let signatureBytes = 64
    static let keyBytes = 32

    /// True once libsodium is ready; its self-initialisation is thread-safe and idempotent.
    static let isReady: Bool = sodium_init() >= 0

    /// BLAKE2b of `length` octets, 16 to 64, with an optional key of 16 to 64.
    static func hash(_ input: [UInt8], key: [UInt8] = [], length: Int) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: length)
        // SAFETY: the lengths passed are those of the arrays.
        let result = unsafe crypto_generichash_blake2b(
            &digest, length, input, UInt64(input.count), key.isEmpty ? nil : key, key.count)
        precondition(result == 0)
        return digest
    }

    /// The first 64 bits of BLAKE2b-128: tells contents apart that nobody gains from confusing.
    static func shortHash(_ input: [UInt8]) -> UInt64 {
        var reader = OctetReader(hash(input, length: 16))
        return reader.integer(UInt64.self) ?? 0
    }

    /// Whether an Ed25519 signature is right. False for a key of small order, and for encodings that are not canonical.
    static func verify(_ signature: [UInt8], _ message: [UInt8], by key: [UInt8]) -> Bool {
        guard isReady, signature.count == signatureBytes, key.count == keyBytes else { return false }
        // SAFETY: the signature has 64 octets, the key 32, and the message's length is passed.
        return unsafe crypto_sign_verify_detached(signature, message, UInt64(message.count), key) == 0
    }

    /// An Ed25519 key pair from a seed of 32 octets: the secret key of 64 that libsodium signs with, and the public key.
    static func signingKeys(seed: [UInt8]) -> (secret: [UInt8], public: [UInt8])? {
        guard isReady, seed.count == 32 else { return nil }
        var secret = [UInt8](repeating: 0, count: 64)
        var key = [UInt8](repeating: 0, count: 32)
        // SAFETY: the arrays hold the 32, 64 and 32 octets that the function takes.
        return unsafe crypto_sign_seed_keypair(&key, &secret, seed) == 0 ? (secret, key) : nil
    }

    /// Precondition: a secret key of 64 octets.
    static func sign(_ message: [UInt8], secret: [UInt8]) -> [UInt8] {
        precondition(secret.count == 64)
        var signature = [UInt8](repeating: 0, count: signatureBytes)
        // SAFETY: 64 octets each for the signature and the secret; the message's length is passed.
        _ = unsafe crypto_sign_detached(&signature, nil, message, UInt64(message.count), secret)
        return signature
    }

    static func sha512(_ parts: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 64)
        // SAFETY: 64 octets of digest; the input's length is passed.
        _ = unsafe crypto_hash_sha512(&digest, parts, UInt64(parts.count))
        return digest
    }

    /// The public key (on the Montgomery form) of a point of the prime-order subgroup; `nil` for any other octets.
    static func montgomery(ofPoint point: [UInt8]) -> [UInt8]? {
        guard isReady, point.count == 32 else { return nil }
        var key = [UInt8](repeating: 0, count: 32)
        // SAFETY: both arrays hold 32 octets.
        return unsafe crypto_sign_ed25519_pk_to_curve25519(&key, point) == 0 ? key : nil
    }
}

/// What a gateway signs its facts with, made from its X25519 private key.
public struct SiteSigner: Sendable {
    private let scalar: [UInt8]
    private let prefix: [UInt8]
    /// The signing point, 32 octets.
    public let point: [UInt8]
    public let publicKey: PublicKey

    /// `nil` unless there are 32 octets.
    public init?(privateKey: [UInt8]) {
        guard MeshCryptography.isReady, privateKey.count == 32 else { return nil }
        var clamped = privateKey
        clamped[0] &= 248
        clamped[31] = clamped[31] & 127 | 64
        scalar = Self.reduce(clamped + [UInt8](repeating: 0, count: 32))
        prefix = MeshCryptography.hash(Array("Causeway signature nonce 1".utf8), key: privateKey, length: 64)
        guard let point = Self.multiplyBase(scalar), let key = MeshCryptography.montgomery(ofPoint: point),
            let publicKey = PublicKey(bytes: key)
        else { return nil }
        self.point = point
        self.publicKey = publicKey
    }

    /// An Ed25519 signature for `point`: 64 octets, the same for the same message.
    public func sign(_ message: [UInt8]) -> [UInt8] {
        let nonce = Self.reduce(MeshCryptography.sha512(prefix + message))
        guard let commitment = Self.multiplyBase(nonce) else { preconditionFailure("a nonce of zero") }
        let challenge = Self.reduce(MeshCryptography.sha512(commitment + point + message))
        var product = [UInt8](repeating: 0, count: 32)
        var response = product
        // SAFETY: every array holds the 32 octets of a scalar.
        unsafe crypto_core_ed25519_scalar_mul(&product, challenge, scalar)
        unsafe crypto_core_ed25519_scalar_add(&response, product, nonce)
        return commitment + response
    }

    private static func reduce(_ wide: [UInt8]) -> [UInt8] {
        precondition(wide.count == 64)
        var narrow = [UInt8](repeating: 0, count: 32)
        // SAFETY: 64 octets in, 32 out.
        unsafe crypto_core_ed25519_scalar_reduce(&narrow, wide)
        return narrow
    }

    private static func multiplyBase(_ scalar: [UInt8]) -> [UInt8]? {
        var point = [UInt8](repeating: 0, count: 32)
        // SAFETY: both arrays hold 32 octets.
        return unsafe crypto_scalarmult_ed25519_base_noclamp(&point, scalar) == 0 ? point : nil
    }
}
