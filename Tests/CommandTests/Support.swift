// The built program as a black box: runs it with arguments, and keeps what it printed and how it ended.

import Foundation
import Testing

/// How one run ended.
struct Run {
    var status: Int32
    var out: String
    var err: String

    var errorLines: [String] { err.split(separator: "\n").map(String.init) }
}

enum Program {
    static let path = find("causeway")

    /// Beside this test bundle: `swift build --build-tests` builds all of them.
    static func find(_ name: String) -> String? {
        let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        var places = [URL(filePath: bundle).deletingLastPathComponent()]
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        places.append(root.appending(path: ".build/debug"))
        return places.map { $0.appending(path: name).path }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    static let reason: Comment = "there is no causeway beside the test bundle: swift build --product causeway makes it"
}

/// A directory with files in it, in which the program runs; it goes away with the value.
final class Workplace {
    let path: String

    init() {
        // What the program prints is compared, so the name has no symbolic link in it.
        path = FileManager.default.temporaryDirectory.resolvingSymlinksInPath().path + "/causeway-command-\(UUID().uuidString)"
        #expect(throws: Never.self) {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func run(_ arguments: String..., in directory: String? = nil) throws -> Run { try start(arguments, in: directory) }

    /// Runs the program in this directory and waits for it.
    func start(_ arguments: [String], in directory: String? = nil, program: String? = Program.path) throws -> Run {
        let process = Process()
        process.executableURL = URL(filePath: try #require(program))
        process.arguments = arguments
        process.currentDirectoryURL = URL(filePath: directory ?? path)
        process.standardInput = FileHandle.nullDevice
        // Files, not pipes: nobody has to read while the program writes.
        let name = UUID().uuidString
        let outputs = ["out", "err"].map { FileManager.default.temporaryDirectory.path + "/causeway-\(name).\($0)" }
        defer { for output in outputs { try? FileManager.default.removeItem(atPath: output) } }
        for output in outputs { try #require(FileManager.default.createFile(atPath: output, contents: nil)) }
        process.standardOutput = try FileHandle(forWritingTo: URL(filePath: outputs[0]))
        process.standardError = try FileHandle(forWritingTo: URL(filePath: outputs[1]))
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationReason == .exit)
        let texts = try outputs.map { String(decoding: try Data(contentsOf: URL(filePath: $0)), as: UTF8.self) }
        return Run(status: process.terminationStatus, out: texts[0], err: texts[1])
    }

    @discardableResult
    func write(_ name: String, _ text: String, mode: Int = 0o644) throws -> String {
        try write(name, Array(text.utf8), mode: mode)
    }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8], mode: Int = 0o644) throws -> String {
        let file = "\(path)/\(name)"
        try Data(bytes).write(to: URL(filePath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
        return file
    }

    func makeDirectory(_ name: String) throws {
        try FileManager.default.createDirectory(atPath: "\(path)/\(name)", withIntermediateDirectories: true)
    }

    func contents(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: "\(path)/\(name)"))) }

    func text(_ name: String) throws -> String { String(decoding: try contents(name), as: UTF8.self) }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(path)/\(name)") }

    func mode(_ name: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: "\(path)/\(name)")[.posixPermissions] as? Int
    }

    /// Every file under a directory here.
    func files(_ directory: String) throws -> [String: [UInt8]] {
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(path)/\(directory)")
        return try Dictionary(uniqueKeysWithValues: names.map { ($0, try contents("\(directory)/\($0)")) })
    }
}

// MARK: - Captures

/// A little-endian nanosecond pcap of these frames, a millisecond apart.
func pcap(_ frames: [[UInt8]]) -> [UInt8] {
    func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
    var bytes = word(0xA1B2_3C4D) + [2, 0, 4, 0] + word(0) + word(0) + word(262_144) + word(1)
    for (number, frame) in frames.enumerated() {
        bytes += word(1_700_000_000) + word(UInt32(number) * 1_000_000) + word(UInt32(frame.count)) + word(UInt32(frame.count))
        bytes += frame
    }
    return bytes
}

/// Multicast frames that are all different.
func frames(_ count: Int, length: Int = 100) -> [[UInt8]] {
    (0..<count).map { number in
        let header: [UInt8] = [1, 0, 0x5E, 1, 2, 3, 2, 0, 0, 0, 0, 1, 0x88, 0xB5]
        return header + (0..<length - 14).map { UInt8(truncatingIfNeeded: $0 * number + number) }
    }
}
