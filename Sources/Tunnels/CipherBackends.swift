// Which library seals and opens a datagram. Both give the same octets, so this is a matter of speed alone: libsodium costs less
// for each datagram, libcrypto less for each octet, by how much depends on the processor. See `CipherCalibration`.

/// A library that seals and opens.
public enum CipherBackend: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case sodium
    case openssl

    /// The library's name.
    public var name: String {
        switch self {
        case .sodium: "libsodium"
        case .openssl: "libcrypto"
        }
    }

    /// The ciphers that the library has, on this processor.
    public var ciphers: CipherSet {
        switch self {
        case .sodium: .supported
        case .openssl:
            Cipher.allCases.reduce(CipherSet()) { OpenSSLAEAD.has($1) ? $0.union(CipherSet($1)) : $0 }.intersection(.supported)
        }
    }
}

/// For each cipher, how long a datagram has to be for libcrypto rather than libsodium: octets from its header to its tag.
public struct CipherBackends: Sendable, BitwiseCopyable, Hashable {
    /// Longer than every datagram: libsodium alone.
    public static let never = Int.max

    /// The length from which on libcrypto is used; 0 for every datagram, `never` for none.
    public var aes256gcm: Int
    public var chacha20poly1305: Int

    public init(aes256gcm: Int, chacha20poly1305: Int) {
        self.aes256gcm = aes256gcm
        self.chacha20poly1305 = chacha20poly1305
    }

    /// libsodium alone.
    public static let sodium = CipherBackends(aes256gcm: never, chacha20poly1305: never)
    /// libcrypto alone.
    public static let openssl = CipherBackends(aes256gcm: 0, chacha20poly1305: 0)

    public subscript(cipher: Cipher) -> Int {
        get {
            switch cipher {
            case .aes256gcm: aes256gcm
            case .chacha20poly1305: chacha20poly1305
            }
        }
        set {
            switch cipher {
            case .aes256gcm: aes256gcm = newValue
            case .chacha20poly1305: chacha20poly1305 = newValue
            }
        }
    }

    /// A length from which on libcrypto is used, in words.
    public static func words(from length: Int) -> String {
        switch length {
        case ...0: CipherBackend.openssl.name
        case never: CipherBackend.sodium.name
        default: "\(CipherBackend.sodium.name) below \(length) octets, \(CipherBackend.openssl.name) from there on"
        }
    }
}
