// `causeway check`, and the loading of a configuration that `run` shares with it.

import ArgumentParser
import Basics
import Captures
import Daemon
import Foundation
import Gateway
import Mesh
import Settings
import Tunnels

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Reads a configuration and prints every problem in it.",
        discussion: "Problems are printed as FILE:LINE:COLUMN: message (hint). Key files and filters are checked as well.")

    @Argument(help: "The configuration file.", completion: .file())
    var file: String

    func run() throws {
        let loaded = try LoadedSettings(path: file)
        for warning in loaded.warnings { StandardError.write("\(warning) [warning]\n") }
        for problem in loaded.problems { StandardError.write("\(problem)\n") }
        guard loaded.problems.isEmpty else { throw ExitCode(1) }
        print("\(file): no problems")
    }
}

/// A configuration with the files that it names.
struct LoadedSettings {
    let settings: GatewaySettings?
    let identity: KeyPair?
    let presharedKey: SecretBytes?
    let problems: [Diagnostic]
    let warnings: [Diagnostic]

    init(path: String) throws {
        let parsed = GatewaySettings.parse(try readFile(path), file: path)
        var problems = parsed.diagnostics
        var identity: KeyPair?
        var presharedKey: SecretBytes?
        if let file = parsed.keyFile {
            do throws(KeyFileProblem) { identity = try KeyFile.read(file) } catch { problems.append(parsed.diagnostic(error)) }
        }
        if let file = parsed.pskFile {
            do throws(KeyFileProblem) {
                presharedKey = try KeyFile.readSecret(file)
            } catch {
                problems.append(parsed.diagnostic(error, at: .pskFile))
            }
        }
        for port in parsed.ports {
            guard let filter = port.filter else { continue }
            do throws(CaptureError) {
                _ = try PacketFilter(expression: filter)
            } catch {
                problems.append(parsed.diagnostic(at: "port.\(port.name).filter", error.problem, hint: error.hint))
            }
        }
        if let identity, let own = parsed.peers.first(where: { $0.key == identity.publicKey }) {
            problems.append(
                parsed.diagnostic(
                    at: "peer.\(own.name).key", "this is our own public key",
                    hint: "each gateway has a key of its own; causeway pubkey FILE prints the peer's"))
        }
        if let settings = parsed.settings, let mesh = settings.mesh {
            do throws(PassFileProblem) {
                let pass = try MeshConfiguration.pass(of: mesh)
                if let identity, pass.pass.key != identity.publicKey {
                    problems.append(
                        parsed.diagnostic(
                            at: "pass.file", "the pass is for another gateway, with the key \(pass.pass.key)",
                            hint: "this gateway's key is \(identity.publicKey)"))
                } else if pass.pass.site != settings.site {
                    problems.append(
                        parsed.diagnostic(
                            at: "site", "the pass is for the site \(pass.pass.site)", hint: "the others know it by that"))
                }
            } catch {
                problems.append(parsed.diagnostic(at: "pass.file", error.message, hint: "causeway mesh show says what is in it"))
            }
        }
        if let settings = parsed.settings, CipherSet(settings.tuning.cipher).isEmpty {
            problems.append(
                parsed.diagnostic(
                    at: "cipher", "this processor has no instructions for \(settings.tuning.cipher.rawValue)",
                    hint: "use auto or chacha20-poly1305"))
        }
        if let tuning = parsed.settings?.tuning, tuning.cipherBackend == .openssl {
            let lacking = CipherSet(tuning.cipher).subtracting(CipherBackend.openssl.ciphers)
            for cipher in Cipher.allCases where lacking.contains(CipherSet(cipher)) {
                problems.append(
                    parsed.diagnostic(
                        at: "cipher.backend", "this machine's libcrypto does not have \(cipher.name)",
                        hint: "use auto or sodium"))
            }
        }
        settings = parsed.settings
        self.identity = identity
        self.presharedKey = presharedKey
        self.problems = problems.sorted()
        warnings = parsed.warnings
    }
}

/// The octets of a file that the operator named.
func readFile(_ path: String) throws -> [UInt8] {
    do {
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
        throw Failure("\(path): cannot be read: \(systemWords(error))")
    }
}
