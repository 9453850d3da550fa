// The peers that the operator has named while the gateway ran, kept for the next start.
//
//     causeway peers 1 VERSION
//     NAME KEY|- ADDRESS...
//     end LINES

import Basics
import LinuxIO
import Logging
import Settings

final class PeersFile: Sendable {
    private let file: KeptFile

    init(path: String, _ logger: Logger) { file = KeptFile(path: path, "peers that are added", logger) }

    var isKept: Bool { file.isKept }

    /// What is in the newest file that is whole, and its version; 0 where there is none.
    func read() -> (version: UInt64, orders: [PeerOrder]) {
        file.read().map { PeersFile.parse($0.bytes) }.max { $0.version < $1.version } ?? (0, [])
    }

    func write(_ orders: [PeerOrder], version: UInt64) {
        file.write(PeersFile.text(orders, version: version), turn: version)
    }

    /// Waits until everything is written.
    func finish() { file.finish() }

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
