// What a gateway keeps for its next start: opened before privileges are given up, written in the background, since a disk takes its
// time, and one after the other.

import Dispatch
import LinuxIO
import Logging

final class KeptFile: Sendable {
    private let files: StateFilePair?
    /// As it reads before "not kept for the next start".
    private let what: String
    private let logger: Logger
    private let queue = DispatchQueue(label: "kept for the next start")

    /// Opens the files, and makes them where they are not there. What cannot be opened is said once, and not kept.
    init(path: String, _ what: String, _ logger: Logger) {
        self.what = what
        self.logger = logger
        do throws(IOError) {
            files = try StateFilePair(path: path)
        } catch {
            logger.warning("\(what) are not kept for the next start: \(error)")
            files = nil
        }
    }

    var isKept: Bool { files != nil }

    /// The octets of both, with the turn in which each was or would be written.
    func read() -> [(turn: UInt64, bytes: [UInt8])] {
        (files?.read() ?? []).enumerated().map { (UInt64($0.offset), $0.element) }
    }

    func write(_ bytes: [UInt8], turn: UInt64) {
        guard let files else { return }
        queue.async { [logger, what] in
            do throws(IOError) {
                try files.write(bytes, turn: turn)
            } catch {
                logger.warning("\(what) could not be kept for the next start: \(error)")
            }
        }
    }

    /// Waits until everything is written.
    func finish() { queue.sync {} }
}
