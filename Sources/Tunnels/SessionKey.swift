// The key of one direction of one stream, ready for use: AES-256-GCM with its round keys computed once, or
// ChaCha20-Poly1305, by libsodium for short datagrams and by libcrypto for long ones. Lanes hold them; nothing here allocates
// after the key is made.

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
    public init(_ cipher: Cipher) { rawValue = cipher.rawValue }

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
/// One thread at a time may seal or open with it.
@safe
public struct SessionKey: ~Copyable {
    public let cipher: Cipher
    /// Datagrams of so many octets and more are libcrypto's, shorter ones libsodium's.
    private let threshold: Int
    /// libsodium's; absent only when every datagram is libcrypto's.
    private let state: UnsafeMutableRawPointer?
    /// libcrypto's; absent only when no datagram is.
    private let sealing: OpaquePointer?
    private let opening: OpaquePointer?

    /// Where this libcrypto lacks the cipher, libsodium does all of it.
    ///
    /// `nil` when the processor lacks the instructions, or there is no memory.
    public init?(_ cipher: Cipher, _ key: Key256, backends: CipherBackends = .sodium) {
        guard CipherSet.supported.contains(CipherSet(cipher)) else { return nil }
        let threshold = CipherBackend.openssl.ciphers.contains(CipherSet(cipher)) ? backends[cipher] : CipherBackends.never
        let needsState = threshold > SealedLayout.overhead
        let needsContexts = threshold < CipherBackends.never
        let state = needsState ? unsafe SodiumAEAD.makeState(cipher, key) : nil
        let sealing = needsContexts ? unsafe OpenSSLAEAD.makeContext(cipher, key, isSealing: true) : nil
        let opening = needsContexts ? unsafe OpenSSLAEAD.makeContext(cipher, key, isSealing: false) : nil
        guard unsafe (state != nil) == needsState, unsafe (sealing != nil) == needsContexts,
            unsafe (opening != nil) == needsContexts
        else {
            unsafe SessionKey.free(state, sealing, opening)
            return nil
        }
        self.cipher = cipher
        self.threshold = threshold
        unsafe self.state = state
        unsafe self.sealing = sealing
        unsafe self.opening = opening
    }

    deinit { unsafe SessionKey.free(state, sealing, opening) }

    private static func free(_ state: UnsafeMutableRawPointer?, _ sealing: OpaquePointer?, _ opening: OpaquePointer?) {
        if let state = unsafe state { unsafe SodiumAEAD.free(state) }
        if let sealing = unsafe sealing { unsafe OpenSSLAEAD.free(sealing) }
        if let opening = unsafe opening { unsafe OpenSSLAEAD.free(opening) }
    }

    /// What a datagram of so many octets is sealed and opened by.
    @inline(__always)
    func backend(forDatagramOf count: Int) -> CipherBackend { count >= threshold ? .openssl : .sodium }

    /// Seals in place. `datagram` is a whole one: header (already written), text, and 16 octets for the tag.
    /// Precondition: at least `SealedLayout.overhead` octets.
    public func seal(_ datagram: inout MutableRawSpan, counter: UInt64) {
        let count = datagram.byteCount
        precondition(count >= SealedLayout.overhead)
        // SAFETY: the parts lie within the datagram; `init` has made what the datagram's length calls for.
        unsafe withParts(of: &datagram, counter) { parts in
            switch backend(forDatagramOf: count) {
            case .openssl: unsafe OpenSSLAEAD.seal(sealing.unsafelyUnwrapped, parts)
            case .sodium: unsafe SodiumAEAD.seal(cipher, state.unsafelyUnwrapped, parts)
            }
        }
    }

    /// Opens in place; the text is then at `SealedLayout.headerBytes`. False when it does not authenticate, or is too short:
    /// the text and the tag are then of no use to anyone, and may have changed.
    public func open(_ datagram: inout MutableRawSpan, counter: UInt64) -> Bool {
        let count = datagram.byteCount
        guard count >= SealedLayout.overhead else { return false }
        // SAFETY: as in `seal`.
        return unsafe withParts(of: &datagram, counter) { parts in
            switch backend(forDatagramOf: count) {
            case .openssl: unsafe OpenSSLAEAD.open(opening.unsafelyUnwrapped, parts)
            case .sodium: unsafe SodiumAEAD.open(cipher, state.unsafelyUnwrapped, parts)
            }
        }
    }

    /// Lends the parts of a datagram. Precondition: it has at least `SealedLayout.overhead` octets.
    @inline(__always)
    private func withParts<R>(of datagram: inout MutableRawSpan, _ counter: UInt64, _ body: (SealedParts) -> R) -> R {
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
                        SealedParts(
                            text: text, textCount: textCount, tag: text + textCount,
                            associated: associated.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self),
                            associatedCount: SealedLayout.headerBytes,
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
        let label = Array("Causeway lane".utf8) + bigEndian(lane)
        return unsafe withOctets { octets in unsafe Primitives.derivedKey(from: octets, label) }
    }
}
