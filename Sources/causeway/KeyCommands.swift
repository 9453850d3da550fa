// `causeway genkey` and `causeway pubkey`: a gateway's identity.

import ArgumentParser
import Basics
import LinuxIO
import Settings
import Tunnels

struct GenerateKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "genkey",
        abstract: "Writes a new private key to FILE and prints its public key.",
        discussion: "FILE is created with mode 0600. A file that exists is never overwritten.")

    @Argument(help: "The file to create.", completion: .file())
    var file: String

    func run() throws {
        var random = SystemRandomNumberGenerator()
        let pair = KeyPair.generate(using: &random)
        do throws(IOError) {
            var text = pair.privateKey.base64Line
            defer { Wipe.octets(&text) }
            try PrivateFile.create(path: file, text)
        } catch {
            throw Failure(error)
        }
        print(pair.publicKey.base64)
    }
}

struct PublicKeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pubkey", abstract: "Prints the public key of the private key in FILE.")

    @Argument(help: "A file that genkey has written.", completion: .file())
    var file: String

    func run() throws {
        do throws(KeyFileProblem) {
            print(try KeyFile.read(file).publicKey.base64)
        } catch {
            throw Failure("\(file): \(error.sentence(for: file))")
        }
    }
}

/// Files with 32 octets in base64: a private key, or a pre-shared key.
enum KeyFile {
    static func read(_ path: String) throws(KeyFileProblem) -> KeyPair {
        guard let pair = KeyPair(privateKey: try readSecret(path)) else { throw .notAKey("its octets are not a private key") }
        return pair
    }

    static func readSecret(_ path: String) throws(KeyFileProblem) -> SecretBytes {
        var bytes: [UInt8]
        do throws(PrivateFile.Problem) {
            bytes = try PrivateFile.read(path: path, limit: 4096)
        } catch {
            switch error {
            case .missing: throw .missing
            case .unreadable(let code): throw .unreadable(IOError.text(code))
            case .worldReadable(let mode): throw .worldReadable(mode: UInt16(truncatingIfNeeded: mode))
            case .foreignOwner(let owner): throw .foreignOwner(owner)
            case .openDirectory(let directory): throw .openDirectory(directory)
            case .notRegularFile: throw .notAKey("it is not a regular file")
            case .tooLong: throw .notAKey("it is too long")
            }
        }
        defer { Wipe.octets(&bytes) }
        guard let secret = SecretBytes(base64Line: bytes), secret.count == 32 else {
            throw .notAKey("it should hold one line, 32 octets in base64")
        }
        return secret
    }
}

extension SecretBytes {
    /// One word of base64 with blanks around it. The octets it is made of are wiped.
    convenience init?(base64Line text: [UInt8]) {
        func isBlank(_ octet: UInt8) -> Bool { octet == 0x20 || (0x09...0x0D).contains(octet) }
        guard let first = text.firstIndex(where: { !isBlank($0) }), let last = text.lastIndex(where: { !isBlank($0) }),
            var octets = Base64.decode(text[first...last])
        else { return nil }
        defer { Wipe.octets(&octets) }
        if octets.isEmpty { return nil }
        self.init(octets)
    }

    /// In base64, with an end of line. The caller wipes it.
    var base64Line: [UInt8] {
        // SAFETY: the octets are as many as the secret has.
        var octets = unsafe withOctets { unsafe Array(UnsafeBufferPointer(start: $0, count: count)) }
        defer { Wipe.octets(&octets) }
        return Base64.encoded(octets) + [UInt8(ascii: "\n")]
    }
}

extension KeyFileProblem {
    func sentence(for path: String) -> String {
        switch self {
        case .missing: "there is no such file (causeway genkey \(path) makes one)"
        case .unreadable(let reason): "cannot be read: \(reason)"
        case .worldReadable(let mode):
            "mode 0\(String(mode & 0o777, radix: 8)) lets others read or change it (chmod 600 \(path))"
        case .foreignOwner(let owner):
            "belongs to user \(owner), who is neither root nor the user who reads it (chown it)"
        case .openDirectory(let directory):
            "could be replaced by others: \(directory) is writable for them (chmod go-w \(directory))"
        case .notAKey(let reason): "is not a key: \(reason)"
        }
    }
}
