// What a gateway keeps of the mesh over a restart, and how it reads its pass.

import Basics
import Gateway
import LinuxIO
import Logging
import Mesh
import Settings
import Synchronization

final class MeshStateFile: Sendable {
    private let file: KeptFile
    private let turn = Atomic<UInt64>(0)

    init(path: String, _ logger: Logger) { file = KeptFile(path: path, "the mesh's members", logger) }

    /// What is in the files, the newest first. What is damaged is for the reader to find.
    func read() -> [[UInt8]] {
        let kept = file.read().sorted { Gossip.version(ofSnapshot: $0.bytes) > Gossip.version(ofSnapshot: $1.bytes) }
        // The older one is written next.
        turn.store((kept.first?.turn ?? 0) &+ 1, ordering: .relaxed)
        return kept.map(\.bytes).filter { !$0.isEmpty }
    }

    func write(_ bytes: [UInt8]) { file.write(bytes, turn: turn.wrappingAdd(1, ordering: .relaxed).oldValue) }

    /// Waits until everything is written.
    func finish() { file.finish() }
}

extension MeshConfiguration {
    /// - Throws: what is wrong with the pass's file.
    init(_ settings: MeshSettings, _ snapshots: [[UInt8]]) throws(PassFileProblem) {
        let pass = try MeshConfiguration.pass(of: settings)
        guard let authority = AuthorityKey(bytes: settings.authority) else {
            throw PassFileProblem(message: "mesh.authority is not a key")
        }
        self.init(
            authority: authority, pass: pass.bytes, addresses: settings.addresses, seeds: settings.seeds.map(\.name),
            snapshots: snapshots)
    }

    /// The pass in the file, signed by the authority; whether it is valid today, and for whom, is not looked at.
    public static func pass(of settings: MeshSettings) throws(PassFileProblem) -> SignedPass {
        guard let authority = AuthorityKey(bytes: settings.authority) else {
            throw PassFileProblem(message: "mesh.authority is not a key")
        }
        let bytes: [UInt8]
        do throws(IOError) {
            bytes = try readWhole(settings.passFile, limit: 16_384)
        } catch {
            throw PassFileProblem(message: "\(error)")
        }
        do throws(PassProblem) {
            return try SignedPass(text: String(decoding: bytes, as: UTF8.self), by: authority)
        } catch {
            throw PassFileProblem(message: "\(settings.passFile): the pass does not count: \(error)")
        }
    }
}

/// Why a gateway does not start with its pass.
public struct PassFileProblem: Error, CustomStringConvertible {
    public let message: String
    public var description: String { message }
}
