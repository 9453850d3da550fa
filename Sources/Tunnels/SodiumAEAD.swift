// AES-256-GCM and ChaCha20-Poly1305 by libsodium, in place, on any nonce and any associated data. What a key is computed into
// is made once and only read from then on.

import CSodium

/// Where an AEAD finds what it works on; valid during one call.
@unsafe
struct SealedParts {
    let text: UnsafeMutablePointer<UInt8>
    let textCount: Int
    /// 16 octets.
    let tag: UnsafeMutablePointer<UInt8>
    let associated: UnsafePointer<UInt8>
    let associatedCount: Int
    /// 12 octets.
    let nonce: UnsafePointer<UInt8>
}

enum SodiumAEAD {
    /// A slot of guarded memory: the AES state (512 octets, 16-aligned), or the 32 octets of a ChaCha20 key. `nil` when the
    /// processor lacks the instructions, or there is no memory.
    static func makeState(_ cipher: Cipher, _ key: Key256) -> UnsafeMutableRawPointer? {
        guard Primitives.isReady, cipher != .aes256gcm || crypto_aead_aes256gcm_is_available() == 1,
            crypto_aead_aes256gcm_statebytes() <= SecretSlab.slotBytes, let state = unsafe SecretSlab.take()
        else { return nil }
        unsafe key.withOctets { octets in
            switch cipher {
            case .aes256gcm:
                // SAFETY: the slot has room for `statebytes` octets, and is aligned as its size.
                _ = unsafe crypto_aead_aes256gcm_beforenm(
                    state.assumingMemoryBound(to: crypto_aead_aes256gcm_state.self), octets)
            case .chacha20poly1305:
                // SAFETY: the state is longer than 32 octets.
                unsafe state.copyMemory(from: octets, byteCount: 32)
            }
        }
        return unsafe state
    }

    /// Wipes and frees a state.
    static func free(_ state: UnsafeMutableRawPointer) {
        // SAFETY: the state is a slot.
        unsafe SecretSlab.giveBack(state)
    }

    @inline(__always)
    static func seal(_ cipher: Cipher, _ state: UnsafeMutableRawPointer, _ parts: SealedParts) {
        // SAFETY: the caller vouches for the parts; in place is allowed by both functions; the state holds this cipher's.
        switch cipher {
        case .aes256gcm:
            _ = unsafe crypto_aead_aes256gcm_encrypt_detached_afternm(
                parts.text, parts.tag, nil, parts.text, UInt64(parts.textCount), parts.associated,
                UInt64(parts.associatedCount), nil, parts.nonce,
                state.assumingMemoryBound(to: crypto_aead_aes256gcm_state.self))
        case .chacha20poly1305:
            _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                parts.text, parts.tag, nil, parts.text, UInt64(parts.textCount), parts.associated,
                UInt64(parts.associatedCount), nil, parts.nonce, state.assumingMemoryBound(to: UInt8.self))
        }
    }

    @inline(__always)
    static func open(_ cipher: Cipher, _ state: UnsafeMutableRawPointer, _ parts: SealedParts) -> Bool {
        // SAFETY: as in `seal`.
        switch cipher {
        case .aes256gcm:
            unsafe crypto_aead_aes256gcm_decrypt_detached_afternm(
                parts.text, nil, parts.text, UInt64(parts.textCount), parts.tag, parts.associated,
                UInt64(parts.associatedCount), parts.nonce,
                state.assumingMemoryBound(to: crypto_aead_aes256gcm_state.self)) == 0
        case .chacha20poly1305:
            unsafe crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                parts.text, nil, parts.text, UInt64(parts.textCount), parts.tag, parts.associated,
                UInt64(parts.associatedCount), parts.nonce, state.assumingMemoryBound(to: UInt8.self)) == 0
        }
    }
}
