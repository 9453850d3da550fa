// Handshakes with a pre-shared key that is an array, as published vectors have it. A gateway's own never is.

import Basics

extension NoiseHandshake {
    /// - Parameter presharedKey: 32 octets, which the caller wipes.
    public static func initiator(
        local: KeyPair, remote: PublicKey, ephemeral: KeyPair, presharedKey: [UInt8], prologue: [UInt8]
    ) -> NoiseHandshake {
        .initiator(
            local: local, remote: remote, ephemeral: ephemeral, presharedKey: SecretBytes(presharedKey), prologue: prologue)
    }

    public static func responder(
        local: KeyPair, ephemeral: KeyPair, presharedKey: [UInt8], prologue: [UInt8]
    ) -> NoiseHandshake {
        .responder(local: local, ephemeral: ephemeral, presharedKey: SecretBytes(presharedKey), prologue: prologue)
    }
}
