// ML-KEM-768 (FIPS 203), by swift-crypto: what makes a recorded handshake useless to whoever can one day break X25519.
//
// Key pairs are pure functions of a seed. Encapsulation is not: the library draws its 32 octets itself and takes none, so
// whatever has to give the same octets again (a replay, a simulation) does without ML-KEM.

import Basics
import Crypto

/// Sizes in octets.
public enum MLKEMLayout {
    public static let seedBytes = 64
    /// An encapsulation key: what the initiator sends.
    public static let keyBytes = 1_184
    /// A ciphertext: what the responder answers with.
    public static let ciphertextBytes = 1_088
    public static let secretBytes = 32
}

/// An initiator's key pair, fresh for every handshake. Only its seed is kept: the rest follows from it in microseconds.
public struct KEMKeyPair: Sendable {
    private let seed: SecretBytes
    /// What the other side encapsulates to.
    public let encapsulationKey: [UInt8]

    /// - Parameter seed: `d || z` of FIPS 203, 64 octets; `nil` for any other number.
    public init?(seed: [UInt8]) {
        guard seed.count == MLKEMLayout.seedBytes,
            let key = try? MLKEM768.PrivateKey(seedRepresentation: seed, publicKey: nil)
        else { return nil }
        self.seed = SecretBytes(seed)
        encapsulationKey = [UInt8](key.publicKey.rawRepresentation)
    }

    public static func generate(using random: inout some RandomNumberGenerator) -> KEMKeyPair? {
        var seed = Primitives.randomBytes(MLKEMLayout.seedBytes, using: &random)
        defer { Wipe.octets(&seed) }
        return KEMKeyPair(seed: seed)
    }

    /// The shared secret. A ciphertext of the right length that nobody made for this key gives a secret that nobody else has;
    /// `nil` for another length.
    public func decapsulate(_ ciphertext: [UInt8]) -> [UInt8]? {
        var octets = unsafe seed.withOctets { unsafe Array(UnsafeBufferPointer(start: $0, count: seed.count)) }
        defer { Wipe.octets(&octets) }
        guard ciphertext.count == MLKEMLayout.ciphertextBytes,
            let key = try? MLKEM768.PrivateKey(seedRepresentation: octets, publicKey: nil),
            let secret = try? key.decapsulate(ciphertext)
        else { return nil }
        return secret.octets
    }
}

/// What a responder makes from an initiator's key.
public struct KEMEncapsulation: Sendable {
    public let ciphertext: [UInt8]
    public let secret: SecretBytes

    /// `nil` when the key is not one: another length, or coefficients out of range.
    public init?(to encapsulationKey: [UInt8]) {
        guard encapsulationKey.count == MLKEMLayout.keyBytes,
            let key = try? MLKEM768.PublicKey(rawRepresentation: encapsulationKey), let result = try? key.encapsulate()
        else { return nil }
        ciphertext = [UInt8](result.encapsulated)
        var octets = result.sharedSecret.octets
        secret = SecretBytes(octets)
        Wipe.octets(&octets)
    }
}

extension SymmetricKey {
    fileprivate var octets: [UInt8] {
        // SAFETY: the buffer is copied within the call.
        unsafe withUnsafeBytes { unsafe [UInt8]($0) }
    }
}
