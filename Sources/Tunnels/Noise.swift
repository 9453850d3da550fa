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

/// Sections 5.1 and 5.2: the cipher state and the symmetric state in one.
struct SymmetricState {
    private var chainingKey: [UInt8]
    private(set) var hash: [UInt8]
    private var key: [UInt8]?
    private var counter: UInt64 = 0

    init(protocolName: String) {
        let name = Array(protocolName.utf8)
        hash =
            name.count <= Primitives.hashBytes
            ? name + [UInt8](repeating: 0, count: Primitives.hashBytes - name.count) : Primitives.hash(name)
        chainingKey = hash
    }

    mutating func mixHash(_ data: [UInt8]) { hash = Primitives.hash(hash + data) }

    mutating func mixKey(_ input: [UInt8]) {
        let outputs = derive(input, 2)
        chainingKey = outputs[0]
        key = Array(outputs[1].prefix(32))
        counter = 0
    }

    mutating func mixKeyAndHash(_ input: [UInt8]) {
        let outputs = derive(input, 3)
        chainingKey = outputs[0]
        mixHash(outputs[1])
        key = Array(outputs[2].prefix(32))
        counter = 0
    }

    mutating func encryptAndHash(_ plain: [UInt8]) -> [UInt8] {
        guard let key else {
            mixHash(plain)
            return plain
        }
        let sealed = Primitives.encrypt(key: key, counter: counter, associated: hash, plain)
        counter += 1
        mixHash(sealed)
        return sealed
    }

    /// `nil` when it does not authenticate.
    mutating func decryptAndHash(_ sealed: [UInt8]) -> [UInt8]? {
        guard let key else {
            mixHash(sealed)
            return sealed
        }
        guard let plain = Primitives.decrypt(key: key, counter: counter, associated: hash, sealed) else { return nil }
        counter += 1
        mixHash(sealed)
        return plain
    }

    /// The initiator's sending key, then the responder's.
    func split() -> (Key256, Key256) {
        let outputs = derive([], 2)
        return (Key256(Array(outputs[0].prefix(32))), Key256(Array(outputs[1].prefix(32))))
    }

    /// HKDF of section 4.3.
    private func derive(_ input: [UInt8], _ count: Int) -> [[UInt8]] {
        let temporary = Primitives.hmac(key: chainingKey, input)
        var outputs: [[UInt8]] = []
        for number in 1...count {
            outputs.append(Primitives.hmac(key: temporary, (outputs.last ?? []) + [UInt8(number)]))
        }
        return outputs
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
    private let presharedKey: [UInt8]
    private var remoteEphemeral: [UInt8] = []
    /// The other side's identity: given to an initiator, learned from the first message by a responder.
    public private(set) var remote: PublicKey?

    /// - Parameters:
    ///   - ephemeral: fresh for every handshake.
    ///   - presharedKey: 32 octets, zeros where there is none.
    public static func initiator(
        local: KeyPair, remote: PublicKey, ephemeral: KeyPair, presharedKey: [UInt8], prologue: [UInt8]
    ) -> NoiseHandshake {
        NoiseHandshake(local, remote, remote, ephemeral, presharedKey, prologue)
    }

    public static func responder(
        local: KeyPair, ephemeral: KeyPair, presharedKey: [UInt8], prologue: [UInt8]
    ) -> NoiseHandshake {
        NoiseHandshake(local, nil, local.publicKey, ephemeral, presharedKey, prologue)
    }

    private init(
        _ local: KeyPair, _ remote: PublicKey?, _ responder: PublicKey, _ ephemeral: KeyPair, _ presharedKey: [UInt8],
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

    /// `-> e, es, s, ss`. `nil` when the remote's key is not a usable point.
    public mutating func writeFirst(payload: [UInt8]) -> [UInt8]? {
        guard let remote, let es = Primitives.sharedSecret(ephemeral.privateKey, remote.bytes),
            let ss = Primitives.sharedSecret(local.privateKey, remote.bytes)
        else { return nil }
        mixEphemeral(ephemeral.publicKey.bytes)
        symmetric.mixKey(es)
        let identity = symmetric.encryptAndHash(local.publicKey.bytes)
        symmetric.mixKey(ss)
        return ephemeral.publicKey.bytes + identity + symmetric.encryptAndHash(payload)
    }

    /// The first message's payload; `nil` when it does not authenticate. Sets `remote`.
    public mutating func readFirst(_ message: [UInt8]) -> [UInt8]? {
        guard message.count >= NoiseHandshake.firstOverhead else { return nil }
        remoteEphemeral = Array(message[0..<32])
        mixEphemeral(remoteEphemeral)
        guard let es = Primitives.sharedSecret(local.privateKey, remoteEphemeral) else { return nil }
        symmetric.mixKey(es)
        guard let identity = symmetric.decryptAndHash(Array(message[32..<80])),
            let ss = Primitives.sharedSecret(local.privateKey, identity)
        else { return nil }
        symmetric.mixKey(ss)
        guard let payload = symmetric.decryptAndHash(Array(message[80...])) else { return nil }
        remote = PublicKey(bytes: identity)
        return payload
    }

    /// `<- e, ee, se, psk`, or with an encapsulation `<- e, ee, se, kem, psk`. `nil` when the initiator's keys are not usable
    /// points. Precondition: the first was read.
    public mutating func writeSecond(payload: [UInt8], encapsulation: KEMEncapsulation? = nil) -> [UInt8]? {
        guard let remote, let ee = Primitives.sharedSecret(ephemeral.privateKey, remoteEphemeral),
            let se = Primitives.sharedSecret(ephemeral.privateKey, remote.bytes)
        else { return nil }
        mixEphemeral(ephemeral.publicKey.bytes)
        symmetric.mixKey(ee)
        symmetric.mixKey(se)
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
        guard let ee = Primitives.sharedSecret(ephemeral.privateKey, other),
            let se = Primitives.sharedSecret(local.privateKey, other)
        else { return nil }
        symmetric.mixKey(ee)
        symmetric.mixKey(se)
        if let pair {
            guard let ciphertext = symmetric.decryptAndHash(Array(message[32..<payloadStart])),
                let secret = pair.decapsulate(ciphertext)
            else { return nil }
            symmetric.mixKey(secret)
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
