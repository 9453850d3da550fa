// What can be wrong with a file that holds a secret. The caller looks at the file; the words and the place are here.

/// What is wrong with a key file.
public enum KeyFileProblem: Error, Hashable, Sendable {
    case missing
    /// The reason, in the system's words.
    case unreadable(String)
    /// Others than its owner may read or write it; the permission bits.
    case worldReadable(mode: UInt16)
    /// It belongs to neither root nor whoever reads it; the owner's number.
    case foreignOwner(UInt32)
    /// A directory on the way to it, in which others may put another file in its place.
    case openDirectory(String)
    /// It does not contain a key; how so, in a few words.
    case notAKey(String)
}

/// The keys of a configuration that name a secret's file.
public enum KeyFileKey: String, CaseIterable, Sendable {
    case keyFile = "key.file"
    case pskFile = "psk.file"
}

extension ParsedSettings {
    /// The problem at the value of the key that names the file.
    public func diagnostic(_ problem: KeyFileProblem, at key: KeyFileKey = .keyFile) -> Diagnostic {
        let path = (key == .keyFile ? keyFile : pskFile) ?? "FILE"
        let (what, hint) = words(problem, key, path)
        return diagnostic(at: key.rawValue, "\(key.rawValue): \(path) \(what)", hint: hint)
    }

    private func words(_ problem: KeyFileProblem, _ key: KeyFileKey, _ path: String) -> (what: String, hint: String) {
        let make =
            switch key {
            case .keyFile: "causeway genkey \(path) writes one"
            case .pskFile: "(umask 077; head -c 32 /dev/urandom | base64 > \(path)) writes one, to be copied to every site"
            }
        return switch problem {
        case .missing: ("does not exist", make)
        case .unreadable(let reason): ("cannot be read: \(reason)", "causeway must run as a user who may read it")
        case .worldReadable(let mode):
            ("is open to other users: its mode is \(octal(mode))", "chmod 600 \(path)")
        case .foreignOwner(let owner):
            ("belongs to user \(owner), who is neither root nor the user who reads it", "chown it to one of them")
        case .openDirectory(let directory):
            ("could be replaced by other users: \(directory) is writable for them", "chmod go-w \(directory)")
        case .notAKey(let reason): ("is not a key: \(reason)", make)
        }
    }

    private func octal(_ mode: UInt16) -> String {
        let digits = String(mode & 0o7777, radix: 8)
        return String(repeating: "0", count: 4 - digits.count) + digits
    }
}
