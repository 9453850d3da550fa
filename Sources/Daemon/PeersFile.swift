// The peers that the operator has named while the gateway ran, kept for the next start: two files that are written in turn, so
// that one is whole whatever happens while the other is written. They are opened before privileges are given up.
//
//     causeway peers 1 VERSION
//     NAME KEY|- ADDRESS...
//     end LINES

import Basics
import Dispatch
import LinuxIO
import Logging
import Settings

final class PeersFile: Sendable {
    private let files: [StateFile]
    private let logger: Logger
    private let queue = DispatchQueue(label: "peers file")

    /// Opens the files, and makes them where they are not there. What cannot be opened is said once, and not kept.
    init(path: String, _ logger: Logger) {
        self.logger = logger
        var files: [StateFile] = []
        do throws(IOError) {
            for number in 0..<2 { files.append(try StateFile(path: "\(path).\(number)")) }
        } catch {
            logger.warning("peers that are added are not kept for the next start: \(error)")
            files = []
        }
        self.files = files
    }

    var isKept: Bool { !files.isEmpty }

    /// What is in the newest file that is whole, and its version; 0 where there is none.
    func read() -> (version: UInt64, orders: [PeerOrder]) {
        files.map { PeersFile.parse($0.read()) }.max { $0.version < $1.version } ?? (0, [])
    }

    /// In the background, since a disk takes its time; one after the other.
    func write(_ orders: [PeerOrder], version: UInt64) {
        if files.isEmpty { return }
        let file = files[Int(version % UInt64(files.count))]
        let bytes = PeersFile.text(orders, version: version)
        queue.async { [logger] in
            do throws(IOError) {
                try file.write(bytes)
            } catch {
                logger.warning("the peers that were added could not be kept for the next start: \(error)")
            }
        }
    }

    /// Waits until everything is written.
    func finish() { queue.sync {} }

    static func text(_ orders: [PeerOrder], version: UInt64) -> [UInt8] {
        Array((["causeway peers 1 \(version)"] + orders.map(\.line) + ["end \(orders.count)"]).map { $0 + "\n" }.joined().utf8)
    }

    /// A file that is cut short, or whose lines are not all orders, is worth nothing: the other one holds.
    static func parse(_ bytes: [UInt8]) -> (version: UInt64, orders: [PeerOrder]) {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        guard lines.count >= 2, lines[0].hasPrefix("causeway peers 1 "), let version = UInt64(lines[0].dropFirst(17)),
            lines[lines.count - 1] == "end \(lines.count - 2)", bytes.last == UInt8(ascii: "\n")
        else { return (0, []) }
        let orders = lines[1..<(lines.count - 1)].compactMap { PeerOrder(line: String($0)) }
        return orders.count == lines.count - 2 ? (version, orders) : (0, [])
    }
}
