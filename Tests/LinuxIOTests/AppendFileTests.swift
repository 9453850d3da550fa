// The audit file: lines are added, whatever was there, and what cannot be opened or written says why.

import CLinux
import Glibc
import Testing

@testable import LinuxIO

extension LinuxIOTests {
    struct AppendFileTests {
        /// Runs `body` with a directory that is removed afterwards.
        private func withDirectory(_ body: (String) throws -> Void) throws {
            var name = Array("/tmp/cwio-XXXXXX".utf8CString)
            let made = unsafe name.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress.unsafelyUnwrapped) != nil }
            try #require(made)
            let path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            defer { _ = spawn(["rm", "-rf", path]) }
            try body(path)
        }

        private func text(_ path: String) throws -> String {
            String(decoding: try PrivateFile.read(path: path, limit: 4_096), as: UTF8.self)
        }

        @Test func linesAreAdded() throws {
            try withDirectory { directory in
                let path = directory + "/audit.log"
                let first = try AppendFile(path: path)
                var status = cwl_file_status()
                #expect(unsafe cwl_status_of_path(path, &status) == 0 && status.permissions & 0o137 == 0)
                _ = unsafe chmod(path, 0o600)
                try first.append("one")
                let second = try AppendFile(path: path)
                try second.append("two")
                try first.append("three")
                #expect(try text(path) == "one\ntwo\nthree\n")
                // Cut by whoever rotates it: the next line is its first.
                _ = unsafe truncate(path, 0)
                try second.append("four")
                #expect(try text(path) == "four\n")
            }
        }

        @Test func whatCannotBeOpenedSaysWhy() throws {
            try withDirectory { directory in
                let gone = #expect(throws: IOError.self) { _ = try AppendFile(path: directory + "/none/audit.log").isOpen }
                #expect(gone?.advice == "its directory does not exist" && gone?.code == ENOENT)
                _ = unsafe symlink("elsewhere", directory + "/link")
                let link = #expect(throws: IOError.self) { _ = try AppendFile(path: directory + "/link").isOpen }
                #expect(link?.advice == "it is a symbolic link; name the file itself")
            }
        }

        /// /dev/full takes nothing.
        @Test func aFullDiskIsAnError() throws {
            let file = try AppendFile(path: "/dev/full")
            var code: Int32 = 0
            do throws(IOError) { try file.append("one") } catch { code = error.code }
            #expect(code == ENOSPC)
        }
    }
}

extension AppendFile {
    fileprivate var isOpen: Bool { true }
}
