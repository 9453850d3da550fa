// The key of one direction of one stream, ready for use: AES-256-GCM with its round keys computed once, or
// ChaCha20-Poly1305. Lanes hold them; nothing here allocates after the key is made.

import Basics
import Buffers
import CSodium

/// The AEADs a stream may be sealed with; the number is the wire's.
public enum Cipher: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case aes256gcm = 1
    case chacha20poly1305 = 2

    /// As in the configuration.
    public var name: String {
        switch self {
        case .aes256gcm: "aes-256-gcm"
        case .chacha20poly1305: "chacha20-poly1305"
        }
    }
}

/// Which ciphers a gateway can use: one bit each.
public struct CipherSet: OptionSet, Sendable, BitwiseCopyable, Hashable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let aes256gcm = CipherSet(rawValue: 1)
    public static let chacha20poly1305 = CipherSet(rawValue: 2)

    /// What this processor can do: ChaCha20-Poly1305 always, AES-256-GCM where it has the instructions.
    public static var supported: CipherSet {
        Primitives.isReady && crypto_aead_aes256gcm_is_available() == 1 ? [.aes256gcm, .chacha20poly1305] : [.chacha20poly1305]
    }

    /// The one to use when both sides have these; AES-256-GCM before ChaCha20-Poly1305; `nil` when there is none.
    public var preferred: Cipher? {
        contains(.aes256gcm) ? .aes256gcm : contains(.chacha20poly1305) ? .chacha20poly1305 : nil
    }
}

/// One AEAD key. The nonce is four zero octets and the datagram's 64-bit counter, so a counter must never repeat under it.
@safe
public struct SessionKey: ~Copyable {
    public let cipher: Cipher
    /// Guarded memory of libsodium's: the AES state (512 octets, 16-aligned), or the 32 octets of a ChaCha20 key.
    private let state: UnsafeMutableRawPointer

    /// `nil` when the processor lacks the instructions, or there is no memory.
    public init?(_ cipher: Cipher, _ key: Key256) {
        guard Primitives.isReady, cipher != .aes256gcm || crypto_aead_aes256gcm_is_available() == 1,
            let memory = unsafe sodium_malloc(crypto_aead_aes256gcm_statebytes())
        else { return nil }
        self.cipher = cipher
        unsafe state = memory
        let bytes = key.bytes
        switch cipher {
        case .aes256gcm:
            // SAFETY: the state has `statebytes` octets, a multiple of its alignment, which sodium_malloc therefore keeps.
            _ = unsafe crypto_aead_aes256gcm_beforenm(memory.assumingMemoryBound(to: crypto_aead_aes256gcm_state.self), bytes)
        case .chacha20poly1305:
            // SAFETY: the state is longer than 32 octets.
            unsafe memory.copyMemory(from: bytes, byteCount: 32)
        }
    }

    // SAFETY: the state came from sodium_malloc; sodium_free wipes it.
    deinit { unsafe sodium_free(state) }

    /// Seals in place. `datagram` is a whole one: header (already written), text, and 16 octets for the tag.
    /// Precondition: at least `SealedLayout.overhead` octets.
    public func seal(_ datagram: inout MutableRawSpan, counter: UInt64) {
        precondition(datagram.byteCount >= SealedLayout.overhead)
        // SAFETY: the parts lie within the datagram; in place is allowed by both functions; the state holds this cipher's.
        _ = unsafe withParts(of: &datagram, counter) { parts in
            switch cipher {
            case .aes256gcm:
                unsafe crypto_aead_aes256gcm_encrypt_detached_afternm(
                    parts.text, parts.tag, nil, parts.text, parts.textCount, parts.associated, Parts.associatedCount, nil,
                    parts.nonce, state.assumingMemoryBound(to: crypto_aead_aes256gcm_state.self))
            case .chacha20poly1305:
                unsafe crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                    parts.text, parts.tag, nil, parts.text, parts.textCount, parts.associated, Parts.associatedCount, nil,
                    parts.nonce, state.assumingMemoryBound(to: UInt8.self))
            }
        }
    }

    /// Opens in place; the text is then at `SealedLayout.headerBytes`. False when it does not authenticate, or is too short.
    public func open(_ datagram: inout MutableRawSpan, counter: UInt64) -> Bool {
        guard datagram.byteCount >= SealedLayout.overhead else { return false }
        // SAFETY: as in `seal`.
        return unsafe withParts(of: &datagram, counter) { parts in
            switch cipher {
            case .aes256gcm:
                unsafe crypto_aead_aes256gcm_decrypt_detached_afternm(
                    parts.text, nil, parts.text, parts.textCount, parts.tag, parts.associated, Parts.associatedCount,
                    parts.nonce, state.assumingMemoryBound(to: crypto_aead_aes256gcm_state.self))
            case .chacha20poly1305:
                unsafe crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                    parts.text, nil, parts.text, parts.textCount, parts.tag, parts.associated, Parts.associatedCount,
                    parts.nonce, state.assumingMemoryBound(to: UInt8.self))
            }
        } == 0
    }

    /// Where libsodium finds what it works on; valid during one call.
    @unsafe
    private struct Parts {
        static let associatedCount = UInt64(SealedLayout.headerBytes)

        let text: UnsafeMutablePointer<UInt8>
        let textCount: UInt64
        let tag: UnsafeMutablePointer<UInt8>
        let associated: UnsafePointer<UInt8>
        let nonce: UnsafePointer<UInt8>
    }

    /// Lends the parts of a datagram. Precondition: it has at least `SealedLayout.overhead` octets.
    @inline(__always)
    private func withParts(of datagram: inout MutableRawSpan, _ counter: UInt64, _ body: (Parts) -> Int32) -> Int32 {
        let textCount = datagram.byteCount &- SealedLayout.overhead
        // SAFETY: header, text and tag lie within the datagram by the precondition; header and nonce live on this frame.
        return unsafe datagram.withUnsafeMutableBytes { buffer in
            let start = unsafe buffer.baseAddress.unsafelyUnwrapped
            let text = unsafe (start + SealedLayout.headerBytes).assumingMemoryBound(to: UInt8.self)
            var header = unsafe Header(start)
            var nonce = Nonce(counter)
            return unsafe withUnsafeBytes(of: &header) { associated in
                unsafe withUnsafeBytes(of: &nonce) { number in
                    unsafe body(
                        Parts(
                            text: text, textCount: UInt64(textCount), tag: text + textCount,
                            associated: associated.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self),
                            nonce: number.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)))
                }
            }
        }
    }

    /// The sixteen octets that are authenticated beside the text: the header without its hop count.
    private struct Header: BitwiseCopyable {
        var first: UInt64
        var second: UInt64

        init(_ start: UnsafeRawPointer) {
            // SAFETY: the caller has checked that a header is there.
            first = unsafe start.loadUnaligned(as: UInt64.self)
            second = unsafe start.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            first &= UInt64(0xFFF0_FFFF_FFFF_FFFF).bigEndian
        }
    }

    private struct Nonce: BitwiseCopyable {
        let zero: UInt32 = 0
        let high: UInt32
        let low: UInt32

        init(_ counter: UInt64) {
            high = UInt32(truncatingIfNeeded: counter >> 32).bigEndian
            low = UInt32(truncatingIfNeeded: counter).bigEndian
        }
    }
}

extension Key256 {
    /// The key of one lane's stream under a session's key, so that lanes count on their own and no nonce is used twice.
    public func forLane(_ lane: UInt16) -> Key256 {
        Key256(Primitives.hash(Array("Causeway lane".utf8) + bigEndian(lane), key: bytes, length: 32))
    }
}
