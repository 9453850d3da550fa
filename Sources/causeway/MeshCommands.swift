// `causeway mesh`: the authority of a mesh, and the passes and revocations that it signs. What is
// printed goes into a file; only `announce` talks to a gateway.

import ArgumentParser
import Basics
import Foundation
import LinuxIO
import Mesh
import Settings
import Tunnels

struct MeshCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mesh", abstract: "Makes a mesh's authority, and signs passes for its gateways.",
        subcommands: [CreateMesh.self, AdmitSite.self, RevokePass.self, AnnounceRevocation.self, ShowPass.self])
}

struct CreateMesh: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Makes an authority in DIR: authority.key and authority.pub.",
        discussion: """
            authority.key is secret: whoever has it can admit anybody. Keep it off the gateways. What authority.pub says is \
            printed too, and goes into each gateway's configuration. Files that exist are never overwritten.
            """)

    @Argument(help: "A directory; it is made, for you alone, if it is not there.", completion: .directory)
    var directory: String

    func run() throws {
        var random = SystemRandomNumberGenerator()
        let authority = Authority.generate(using: &random)
        if !FileManager.default.fileExists(atPath: directory) {
            do {
                try FileManager.default.createDirectory(
                    atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            } catch { throw Failure("\(directory): cannot be made: \(systemWords(error))") }
        }
        do throws(IOError) {
            try PrivateFile.create(path: directory + "/authority.key", Array((Base64.encode(authority.seed) + "\n").utf8))
            try PrivateFile.create(path: directory + "/authority.pub", Array((authority.key.base64 + "\n").utf8))
        } catch {
            throw Failure(error)
        }
        print(authority.key.base64)
    }
}

struct AuthorityOption: ParsableArguments {
    @Option(name: .customLong("authority"), help: "The authority.key of the mesh.", completion: .file())
    var file: String

    func read() throws -> Authority {
        do throws(KeyFileProblem) {
            let secret = try KeyFile.readSecret(file)
            var seed = unsafe secret.withOctets { unsafe Array(UnsafeBufferPointer(start: $0, count: secret.count)) }
            defer { Wipe.octets(&seed) }
            guard let authority = Authority(seed: seed) else { throw .notAKey("its octets are no seed") }
            return authority
        } catch {
            // The usual hint names a command that makes another kind of key.
            if case .missing = error { throw Failure("\(file): there is no such file (causeway mesh create DIR makes one)") }
            throw Failure("\(file): \(error.sentence(for: file))")
        }
    }
}

/// Now, in seconds since 1970.
private var today: UnixTime { UnixTime(seconds: WallClock.now() / 1_000_000_000) }

struct AdmitSite: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "admit", abstract: "Prints a pass for a gateway, to be kept in a file at its site.",
        discussion: """
            GROUPS is any, none, or blocks of groups with commas between, each with the sources that it is for: \
            "239.1.0.0/16, 232.1.1.1 from 192.0.2.7 10.0.0.0/8". LIST is any, none, or VLANs: "-, 10, 100-199, s20", where - is \
            untagged. What is left out is any.
            """)

    @OptionGroup var authority: AuthorityOption
    @Option(help: "The site's name.") var site: String
    @Option(help: "The gateway's public key, as causeway genkey prints it.") var key: String
    @Option(help: ArgumentHelp("What it may send.", valueName: "groups")) var send = "any"
    @Option(help: ArgumentHelp("What it may receive.", valueName: "groups")) var receive = "any"
    // Unconditional: the list may begin with the - of untagged frames.
    @Option(parsing: .unconditional, help: ArgumentHelp("The VLANs that it may use.", valueName: "list")) var vlans = "any"
    @Flag(help: "It may carry for others.") var relay = false
    @Option(help: "How long the pass is valid.") var days: UInt64 = 365

    func validate() throws {
        guard PublicKey(base64: key) != nil else { throw ValidationError("--key: \(key) is not a public key in base64") }
        guard (1...36_500).contains(days) else { throw ValidationError("--days: 1 to 36500") }
        do throws(RuleProblem) {
            _ = try (MeshText.groups(send), MeshText.groups(receive), MeshText.vlans(vlans))
        } catch { throw ValidationError(error.description) }
        if let problem = try pass(serial: 1, now: today).problem { throw ValidationError(problem) }
    }

    private func pass(serial: UInt64, now: UnixTime) throws -> Pass {
        guard let key = PublicKey(base64: key) else { throw ValidationError("--key is no key") }
        return Pass(
            serial: serial, site: site, key: key, validFrom: now, validUntil: now.adding(days * UnixTime.secondsPerDay),
            send: try MeshText.groups(send), receive: try MeshText.groups(receive), vlans: try MeshText.vlans(vlans),
            mayRelay: relay)
    }

    func run() throws {
        let signed = authority
        // Nanoseconds since 1970: no two passes of an authority have one.
        print(try signed.read().sign(pass(serial: WallClock.now(), now: today)).text, terminator: "")
    }
}

struct RevokePass: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Prints a revocation. It is final.",
        discussion: "A pass is revoked by its file or its serial number; --key revokes every pass of a gateway, for ever.")

    @OptionGroup var authority: AuthorityOption
    @Option(name: .customLong("pass"), help: "The pass, in its file.", completion: .file()) var file: String?
    @Option(help: "The serial number of a pass.") var serial: UInt64?
    @Option(help: "A gateway's public key.") var key: String?

    func validate() throws {
        guard [file != nil, serial != nil, key != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("one of --pass, --serial and --key says what is revoked")
        }
        if let key, PublicKey(base64: key) == nil { throw ValidationError("--key: \(key) is not a public key in base64") }
    }

    func run() throws {
        let authority = try authority.read()
        var serial = serial
        var end: UnixTime?
        if let file {
            let text = try MeshText.file(file)
            do throws(PassProblem) {
                let pass = try SignedPass(text: text, by: authority.key).pass
                (serial, end) = (pass.serial, pass.validUntil)
            } catch { throw Failure("\(file): \(error)") }
        }
        let gateway = key.flatMap { PublicKey(base64: $0) }
        guard let revocation = Revocation(made: today, serial: serial, key: gateway, matters: end) else {
            throw Failure("nothing to revoke")
        }
        print(authority.sign(revocation).text, terminator: "")
    }
}

struct AnnounceRevocation: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "announce", abstract: "Hands a revocation to a running gateway, which tells the whole mesh.")

    @Argument(help: "A file with a revocation.", completion: .file()) var file: String
    @Option(help: "The gateway's control.socket. Not needed while /run/causeway holds only one.", completion: .file())
    var socket: String?

    func run() throws {
        let text = try MeshText.file(file)
        let bytes: [UInt8]
        do throws(PassProblem) {
            _ = try Revocation(unverifiedText: text)
            bytes = try SignedRevocation.octets(ofText: text)
        } catch { throw Failure("\(file): \(error)") }
        _ = try OperatorSocket.ask(.revoke(bytes), at: socket)
        print("announced")
    }
}

struct ShowPass: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Says in plain words what a pass or a revocation says.",
        discussion: "With --authority it also says whether that authority has signed it; the exit is 1 if not, or if it is over.")

    @Argument(help: "A file with a pass or a revocation.", completion: .file()) var file: String
    @Option(help: "The authority's public key, as causeway mesh create prints it.") var authority: String?

    func validate() throws {
        if let authority, AuthorityKey(base64: authority) == nil {
            throw ValidationError("--authority: \(authority) is not a public key in base64")
        }
    }

    func run() throws {
        let key = authority.flatMap { AuthorityKey(base64: $0) }
        let text = try MeshText.file(file)
        do throws(PassProblem) {
            if let revocation = try? Revocation(unverifiedText: text) {
                for line in MeshText.describe(revocation) { print(line) }
                if let key { _ = try SignedRevocation(text: text, by: key) }
            } else {
                for line in MeshText.describe(try Pass(unverifiedText: text)) { print(line) }
                if let key {
                    let signed = try SignedPass(text: text, by: key)
                    _ = try PassBook(trust: .authority(key)).check(signed.bytes, holder: nil, at: today)
                }
            }
        } catch { throw Failure("\(file): \(error)") }
        print(key == nil ? "signature     not checked (--authority KEY checks it)" : "signature     the authority's")
    }
}
