// AES-256-GCM and ChaCha20-Poly1305 by OpenSSL's libcrypto, in place, on any nonce and any associated data. A context is made
// once for each key and direction, the only time that libcrypto allocates; a datagram then changes its nonce alone.
//
// EVP_Cipher, the one-shot call, was measured too: it takes as long as the update and final calls, and is advised against.

import COpenSSL

enum OpenSSLAEAD {
    // Fetched once, since it takes microseconds and a lock, and never freed.
    // SAFETY: EVP_CIPHER is immutable, and may be used by any number of threads.
    nonisolated(unsafe) private static let aes256gcm = unsafe fetch("AES-256-GCM")
    nonisolated(unsafe) private static let chacha20poly1305 = unsafe fetch("ChaCha20-Poly1305")

    /// True once libcrypto is ready. It reads no configuration, so that nothing here depends on files, and it leaves no
    /// clean-up to the program's end, when threads may still seal.
    private static let isReady: Bool =
        OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_LOAD_CONFIG) | UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1

    private static func fetch(_ name: String) -> OpaquePointer? {
        // SAFETY: no library context and no property query are needed.
        isReady ? unsafe EVP_CIPHER_fetch(nil, name, nil) : nil
    }

    private static func algorithm(_ cipher: Cipher) -> OpaquePointer? {
        switch cipher {
        case .aes256gcm: unsafe aes256gcm
        case .chacha20poly1305: unsafe chacha20poly1305
        }
    }

    /// Whether this libcrypto has the cipher, with instructions for it or without.
    static func has(_ cipher: Cipher) -> Bool { unsafe algorithm(cipher) != nil }

    /// A context that seals, or one that opens; one thread at a time may use it. `nil` when this libcrypto lacks the cipher, or
    /// there is no memory.
    static func makeContext(_ cipher: Cipher, _ key: Key256, isSealing: Bool) -> OpaquePointer? {
        guard let algorithm = unsafe algorithm(cipher), let context = unsafe EVP_CIPHER_CTX_new() else { return nil }
        // SAFETY: the key has the 32 octets that both ciphers take; the nonce comes with each text.
        let isReady = unsafe key.withOctets { octets in
            unsafe EVP_CipherInit_ex2(context, algorithm, octets, nil, isSealing ? 1 : 0, nil) == 1
        }
        guard isReady else {
            unsafe free(context)
            return nil
        }
        return unsafe context
    }

    /// Wipes and frees a context.
    static func free(_ context: OpaquePointer) {
        // SAFETY: the context came from EVP_CIPHER_CTX_new; its key is cleansed with it.
        unsafe EVP_CIPHER_CTX_free(context)
    }

    /// Precondition: the context is one that seals.
    @inline(__always)
    static func seal(_ context: OpaquePointer, _ parts: SealedParts) {
        var count: Int32 = 0
        // SAFETY: the caller vouches for the parts; in place is allowed; neither cipher has anything to write at the end.
        let isSealed =
            unsafe EVP_EncryptInit_ex2(context, nil, nil, parts.nonce, nil) == 1
            && EVP_EncryptUpdate(context, nil, &count, parts.associated, Int32(truncatingIfNeeded: parts.associatedCount)) == 1
            && EVP_EncryptUpdate(context, parts.text, &count, parts.text, Int32(truncatingIfNeeded: parts.textCount)) == 1
            && EVP_EncryptFinal_ex(context, parts.tag, &count) == 1 && cos_take_tag(context, parts.tag) == 1
        // No input makes these calls fail; if one did, the text would leave in clear.
        precondition(isSealed)
    }

    /// False when it does not authenticate; the text is then zero. Precondition: the context is one that opens.
    @inline(__always)
    static func open(_ context: OpaquePointer, _ parts: SealedParts) -> Bool {
        var count: Int32 = 0
        // SAFETY: as in `seal`. The final call compares the tags, in constant time.
        let isAuthentic =
            unsafe cos_begin_opening(context, parts.nonce, parts.tag) == 1
            && EVP_DecryptUpdate(context, nil, &count, parts.associated, Int32(truncatingIfNeeded: parts.associatedCount)) == 1
            && EVP_DecryptUpdate(context, parts.text, &count, parts.text, Int32(truncatingIfNeeded: parts.textCount)) == 1
            && EVP_DecryptFinal_ex(context, parts.tag, &count) == 1
        // A text whose sender is not known is shown to nobody.
        if !isAuthentic { unsafe parts.text.update(repeating: 0, count: parts.textCount) }
        return isAuthentic
    }
}
