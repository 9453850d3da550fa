// Writing capture files: the very octets, what comes back, and a disk that has no room.

import Captures
import Glibc
import Testing

@Suite("Capture writer")
struct CaptureWriterTests {
    let directory = TemporaryDirectory()

    @Test func goldenOctets() throws {
        let path = "\(directory.path)/golden.pcap"
        let writer = try CaptureWriter(path: path)
        try writer.write(timestamp: 1_500_000_007, bytes: [0xAA, 0xBB, 0xCC])
        try writer.write(timestamp: 0, bytes: [])
        try writer.write(timestamp: 2_147_483_648_999_999_999, bytes: [1])
        try writer.write(timestamp: .max, bytes: [2])
        try writer.close()
        #expect(
            contents(of: path)
                == hex(
                    """
                    4d3cb2a1 0200 0400 00000000 00000000 00000400 01000000
                    01000000 0765cd1d 03000000 03000000 aabbcc
                    00000000 00000000 00000000 00000000
                    00000080 ffc99a3b 01000000 01000000 01
                    ffffffff ffc99a3b 01000000 01000000 02
                    """))
    }

    @Test func everySizeComesBack() throws {
        let path = "\(directory.path)/sizes.pcap"
        let block = (0..<65_535 + 251).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 7) }
        let sizes = Array(0...9_216) + [65_535]
        let frame = { (size: Int) in Array(block[(size % 251)...].prefix(size)) }
        let writer = try CaptureWriter(path: path)
        for (index, size) in sizes.enumerated() { try writer.write(timestamp: UInt64(index) * 1_000_000_007, bytes: frame(size)) }
        try writer.close()
        let reader = try CaptureReader(path: path)
        for (index, size) in sizes.enumerated() {
            let read = try #require(try reader.next())
            #expect(read.bytes == frame(size) && read.originalLength == size && read.number == index + 1)
            #expect(read.timestamp == UInt64(index) * 1_000_000_007)
        }
        #expect(try reader.next() == nil)
    }

    @Test func replacesWhatIsThere() throws {
        let path = directory.file("old.pcap", [UInt8](repeating: 1, count: 1_000))
        try CaptureWriter(path: path).close()
        #expect(contents(of: path).count == 24)
    }

    @Test func secondCloseDoesNothing() throws {
        let writer = try CaptureWriter(path: "\(directory.path)/twice.pcap")
        try writer.close()
        try writer.close()
    }

    @Test func diskFull() throws {
        // The collected octets fail at the close.
        let short = try CaptureWriter(path: "/dev/full")
        try short.write(timestamp: 0, bytes: [1])
        let error = #expect(throws: CaptureError.self) { try short.close() }
        #expect(error?.description == "/dev/full: cannot be written: No space left on device (make room on the disk)")
        try short.close()

        // With more than can be collected, the write that first meets the disk fails, and all that follow.
        let long = try CaptureWriter(path: "/dev/full")
        let frame = [UInt8](repeating: 0, count: 65_535)
        #expect(throws: CaptureError.self) { for _ in 0..<100 { try long.write(timestamp: 0, bytes: frame) } }
        #expect(throws: CaptureError.self) { try long.write(timestamp: 0, bytes: [1]) }
        #expect(throws: CaptureError.self) { try long.close() }
    }

    @Test func unwritablePaths() {
        let missing = "\(directory.path)/no/such.pcap"
        #expect(
            throws: CaptureError(
                kind: .unwritable, subject: missing, problem: "cannot be written: No such file or directory",
                hint: "create the directory first")
        ) { try CaptureWriter(path: missing) }
        #expect(
            throws: CaptureError(
                kind: .unwritable, subject: directory.path, problem: "cannot be written: Is a directory",
                hint: "name a file, not a directory")
        ) { try CaptureWriter(path: directory.path) }
    }
}
