// The Noise protocol framework (revision 34), as far as a pair of gateways needs it: the pattern IKpsk2 with X25519,
// ChaCha20-Poly1305 and BLAKE2b.
//
//     IKpsk2:  <- s                the initiator knows the responder's static key
//              ...
//              -> e, es, s, ss     one message each way, then both split into two keys
//              <- e, ee, se, psk
//
// Where both sides want it, the second message is `<- e, ee, se, kem, psk`: the responder encapsulates to a key of the
// initiator's whose hash was in the first message's payload. `kem` is EncryptAndHash(ciphertext) and then MixKey(secret), as
// `ekem1` of Noise's hybrid forward secrecy, so that the session keys fall only with X25519 and ML-KEM-768 together.

import Basics
import CSodium

/// Sections 5.1 and 5.2: the cipher state and the symmetric state in one. A value: what is secret is never changed in place.
struct SymmetricState {
    /// The chaining key, and behind it the cipher's key once there is one.
    private var secrets: SecretBytes
    private(set) var hash: [UInt8]
    private var hasKey = false
    private var counter: UInt64 = 0

    init(protocolName: String) {
        let name = Array(protocolName.utf8)
        hash =
            name.count <= Primitives.hashBytes
            ? name + [UInt8](repeating: 0, count: Primitives.hashBytes - name.count) : Primitives.hash(name)
        secrets = SecretBytes(hash)
    }

    mutating func mixHash(_ data: [UInt8]) { hash = Primitives.hash(hash + data) }

    mutating func mixKey(_ input: [UInt8]) {
        secrets = unsafe derive(input, 2) { outputs in unsafe SymmetricState.secrets(outputs, keyAt: 64) }
        hasKey = true
        counter = 0
    }

    /// A secret that stays where it is.
    mutating func mixKey(_ secret: SecretBytes) {
        var input = unsafe secret.withOctets { unsafe Array(UnsafeBufferPointer(start: $0, count: secret.count)) }
        mixKey(input)
        Wipe.octets(&input)
    }

    mutating func mixKeyAndHash(_ input: [UInt8]) {
        // The middle output goes into the hash, which everybody may know.
        let (next, middle) = unsafe derive(input, 3) { outputs in
            unsafe (SymmetricState.secrets(outputs, keyAt: 128), Array(outputs[64..<128]))
        }
        mixHash(middle)
        secrets = next
        hasKey = true
        counter = 0
    }

    /// A secret that stays where it is.
    mutating func mixKeyAndHash(_ secret: SecretBytes) {
        var input = unsafe secret.withOctets { unsafe Array(UnsafeBufferPointer(start: $0, count: secret.count)) }
        mixKeyAndHash(input)
        Wipe.octets(&input)
    }

    mutating func encryptAndHash(_ plain: [UInt8]) -> [UInt8] {
        guard hasKey else {
            mixHash(plain)
            return plain
        }
        let sealed = unsafe secrets.withOctets { octets in
            unsafe Primitives.encrypt(key: octets + Primitives.hashBytes, counter: counter, associated: hash, plain)
        }
        counter += 1
        mixHash(sealed)
        return sealed
    }

    /// `nil` when it does not authenticate.
    mutating func decryptAndHash(_ sealed: [UInt8]) -> [UInt8]? {
        guard hasKey else {
            mixHash(sealed)
            return sealed
        }
        let plain = unsafe secrets.withOctets { octets in
            unsafe Primitives.decrypt(key: octets + Primitives.hashBytes, counter: counter, associated: hash, sealed)
        }
        guard let plain else { return nil }
        counter += 1
        mixHash(sealed)
        return plain
    }

    /// The initiator's sending key, then the responder's.
    func split() -> (Key256, Key256) {
        unsafe derive([], 2) { outputs in
            // SAFETY: two outputs of 64 octets.
            let start = unsafe UnsafeRawPointer(outputs.baseAddress.unsafelyUnwrapped)
            return unsafe (Key256(copying: start), Key256(copying: start + Primitives.hashBytes))
        }
    }

    private static func secrets(_ outputs: UnsafeMutableBufferPointer<UInt8>, keyAt place: Int) -> SecretBytes {
        SecretBytes(count: Primitives.hashBytes + 32) { room in
            for index in 0..<room.byteCount {
                let from = index < Primitives.hashBytes ? index : place + index - Primitives.hashBytes
                room.storeBytes(of: unsafe outputs[from], toByteOffset: index, as: UInt8.self)
            }
        }
    }

    /// HKDF of section 4.3: lends `count` outputs of 64 octets, one after the other, and wipes them.
    private func derive<R>(_ input: [UInt8], _ count: Int, _ body: (UnsafeMutableBufferPointer<UInt8>) -> R) -> R {
        let size = Primitives.hashBytes
        // The temporary key, an input (the output before and its number), and the outputs.
        // SAFETY: every part lies within the room, which is wiped before it is given up.
        return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: (1 + count) * size) { room in
            let temporary = unsafe room.baseAddress.unsafelyUnwrapped
            defer { unsafe sodium_memzero(temporary, (1 + count) * size) }
            unsafe secrets.withOctets { key in
                unsafe Primitives.hmac(key: key, keyCount: size, input, to: temporary)
            }
            for number in 1...count {
                let output = unsafe temporary + number * size
                var material: [UInt8] = []
                material.reserveCapacity(size + 1)
                if number > 1 { for index in 0..<size { material.append(unsafe output[index - size]) } }
                material.append(UInt8(number))
                unsafe Primitives.hmac(key: temporary, keyCount: size, material, to: output)
                Wipe.octets(&material)
            }
            return unsafe body(UnsafeMutableBufferPointer(rebasing: room[size...]))
        }
    }
}

/// One side of one IKpsk2 handshake. A value: a copy taken before a message is read is the state to return to when the
/// message does not authenticate.
public struct NoiseHandshake: Sendable {
    public static let protocolName = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b"
    /// Octets that the first message adds to its payload: e, the sealed s, and the payload's tag.
    public static let firstOverhead = 32 + 48 + 16
    /// Octets that the second message adds to its payload: e and the payload's tag.
    public static let secondOverhead = 32 + 16
    /// Octets that an encapsulation adds to the second message.
    public static let encapsulationOverhead = MLKEMLayout.ciphertextBytes + 16

    /// What keys are agreed with, in an operator's words.
    public static func agreement(isHybrid: Bool) -> String { isHybrid ? "X25519 + ML-KEM-768" : "X25519" }

    private var symmetric: SymmetricState
    private let local: KeyPair
    private let ephemeral: KeyPair
    private let presharedKey: SecretBytes
    private var remoteEphemeral: [UInt8] = []
    /// The other side's identity: given to an initiator, learned from the first message by a responder.
    public private(set) var remote: PublicKey?

    /// - Parameters:
    ///   - ephemeral: fresh for every handshake.
    ///   - presharedKey: 32 octets, zeros where there is none.
    public static func initiator(
        local: KeyPair, remote: PublicKey, ephemeral: KeyPair, presharedKey: SecretBytes, prologue: [UInt8]
    ) -> NoiseHandshake {
        NoiseHandshake(local, remote, remote, ephemeral, presharedKey, prologue)
    }

    public static func responder(
        local: KeyPair, ephemeral: KeyPair, presharedKey: SecretBytes, prologue: [UInt8]
    ) -> NoiseHandshake {
        NoiseHandshake(local, nil, local.publicKey, ephemeral, presharedKey, prologue)
    }

    private init(
        _ local: KeyPair, _ remote: PublicKey?, _ responder: PublicKey, _ ephemeral: KeyPair, _ presharedKey: SecretBytes,
        _ prologue: [UInt8]
    ) {
        precondition(presharedKey.count == 32)
        precondition(Primitives.isReady, "libsodium could not be initialised")
        self.local = local
        self.remote = remote
        self.ephemeral = ephemeral
        self.presharedKey = presharedKey
        symmetric = SymmetricState(protocolName: NoiseHandshake.protocolName)
        symmetric.mixHash(prologue)
        symmetric.mixHash(responder.bytes)
    }

    /// The hash of all that was said: the same on both sides after the second message.
    public var hash: [UInt8] { symmetric.hash }

    /// Mixes a shared secret in, and wipes it.
    private mutating func mixKey(wiping secret: inout [UInt8]) {
        symmetric.mixKey(secret)
        Wipe.octets(&secret)
    }

    /// `-> e, es, s, ss`. `nil` when the remote's key is not a usable point.
    public mutating func writeFirst(payload: [UInt8]) -> [UInt8]? {
        guard let remote, var es = Primitives.sharedSecret(ephemeral.privateKey, remote.bytes),
            var ss = Primitives.sharedSecret(local.privateKey, remote.bytes)
        else { return nil }
        mixEphemeral(ephemeral.publicKey.bytes)
        mixKey(wiping: &es)
        let identity = symmetric.encryptAndHash(local.publicKey.bytes)
        mixKey(wiping: &ss)
        return ephemeral.publicKey.bytes + identity + symmetric.encryptAndHash(payload)
    }

    /// The first message's payload; `nil` when it does not authenticate. Sets `remote`.
    public mutating func readFirst(_ message: [UInt8]) -> [UInt8]? {
        guard message.count >= NoiseHandshake.firstOverhead else { return nil }
        remoteEphemeral = Array(message[0..<32])
        mixEphemeral(remoteEphemeral)
        guard var es = Primitives.sharedSecret(local.privateKey, remoteEphemeral) else { return nil }
        mixKey(wiping: &es)
        guard let identity = symmetric.decryptAndHash(Array(message[32..<80])),
            var ss = Primitives.sharedSecret(local.privateKey, identity)
        else { return nil }
        mixKey(wiping: &ss)
        guard let payload = symmetric.decryptAndHash(Array(message[80...])) else { return nil }
        remote = PublicKey(bytes: identity)
        return payload
    }

    /// `<- e, ee, se, psk`, or with an encapsulation `<- e, ee, se, kem, psk`. `nil` when the initiator's keys are not usable
    /// points. Precondition: the first was read.
    public mutating func writeSecond(payload: [UInt8], encapsulation: KEMEncapsulation? = nil) -> [UInt8]? {
        guard let remote, var ee = Primitives.sharedSecret(ephemeral.privateKey, remoteEphemeral),
            var se = Primitives.sharedSecret(ephemeral.privateKey, remote.bytes)
        else { return nil }
        mixEphemeral(ephemeral.publicKey.bytes)
        mixKey(wiping: &ee)
        mixKey(wiping: &se)
        var sealed: [UInt8] = []
        if let encapsulation {
            sealed = symmetric.encryptAndHash(encapsulation.ciphertext)
            symmetric.mixKey(encapsulation.secret)
        }
        symmetric.mixKeyAndHash(presharedKey)
        return ephemeral.publicKey.bytes + sealed + symmetric.encryptAndHash(payload)
    }

    /// The second message's payload; `nil` when it does not authenticate. With a key pair, the message has to hold an
    /// encapsulation to it; without one, none.
    public mutating func readSecond(_ message: [UInt8], encapsulatedTo pair: KEMKeyPair? = nil) -> [UInt8]? {
        let payloadStart = 32 + (pair == nil ? 0 : NoiseHandshake.encapsulationOverhead)
        guard message.count >= payloadStart + 16 else { return nil }
        let other = Array(message[0..<32])
        mixEphemeral(other)
        guard var ee = Primitives.sharedSecret(ephemeral.privateKey, other),
            var se = Primitives.sharedSecret(local.privateKey, other)
        else { return nil }
        mixKey(wiping: &ee)
        mixKey(wiping: &se)
        if let pair {
            guard let ciphertext = symmetric.decryptAndHash(Array(message[32..<payloadStart])),
                var secret = pair.decapsulate(ciphertext)
            else { return nil }
            mixKey(wiping: &secret)
        }
        symmetric.mixKeyAndHash(presharedKey)
        return symmetric.decryptAndHash(Array(message[payloadStart...]))
    }

    /// The two keys, after the second message: what the initiator seals with, what the responder seals with.
    public func split() -> (initiator: Key256, responder: Key256) { symmetric.split() }

    /// Section 9.2: with a pre-shared key in the pattern, an ephemeral key is also mixed into the cipher's key.
    private mutating func mixEphemeral(_ point: [UInt8]) {
        symmetric.mixHash(point)
        symmetric.mixKey(point)
    }
}
