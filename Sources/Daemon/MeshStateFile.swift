// What a gateway keeps of the mesh over a restart: two files that are written in turn, so that one is whole whatever happens
// while the other is written. They are opened before privileges are given up, and stay open.

import Basics
import Dispatch
import Gateway
import LinuxIO
import Logging
import Mesh
import Settings
import Synchronization

final class MeshStateFile: Sendable {
    private let files: [StateFile]
    private let writes = Atomic<Int>(0)
    private let path: String
    private let logger: Logger
    private let queue = DispatchQueue(label: "mesh state")

    /// Opens the files, and makes them where they are not there. What cannot be opened is said once, and not kept.
    init(path: String, _ logger: Logger) {
        self.path = path
        self.logger = logger
        var files: [StateFile] = []
        do throws(IOError) {
            for number in 0..<2 { files.append(try StateFile(path: "\(path).\(number)")) }
        } catch {
            logger.warning("the mesh's members are not kept for the next start: \(error)")
            files = []
        }
        self.files = files
    }

    /// What is in the files, the newest first. What is damaged is for the reader to find.
    func read() -> [[UInt8]] {
        files.map { $0.read() }.filter { !$0.isEmpty }.sorted { Gossip.version(ofSnapshot: $0) > Gossip.version(ofSnapshot: $1) }
    }

    /// In the background, since a disk takes its time; one after the other.
    func write(_ bytes: [UInt8]) {
        if files.isEmpty { return }
        let file = files[writes.wrappingAdd(1, ordering: .relaxed).oldValue % files.count]
        queue.async { [logger] in
            do throws(IOError) {
                try file.write(bytes)
            } catch {
                logger.warning("the mesh's members could not be kept for the next start: \(error)")
            }
        }
    }

    /// Waits until everything is written.
    func finish() { queue.sync {} }
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
