// Reading capture files: literal files of every kind, timestamps out of range, damage, and what is not a capture.

import Glibc
import Testing

@testable import Captures

@Suite("Capture reader")
struct CaptureReaderTests {
    let directory = TemporaryDirectory()

    /// Two octets as one record of a pcap file whose header is given.
    private func timestamp(_ header: String, _ time: String, bigEndian: Bool) -> UInt64? {
        let lengths = bigEndian ? "00000002 00000002" : "02000000 02000000"
        return readAll(directory.file("t.pcap", hex(header + time + lengths + "abcd"))).frames.first?.timestamp
    }

    private static let microLittle = "d4c3b2a1 02000400 00000000 00000000 00000400 01000000"
    private static let nanoLittle = "4d3cb2a1 02000400 00000000 00000000 00000400 01000000"
    private static let microBig = "a1b2c3d4 00020004 00000000 00000000 00040000 00000001"
    private static let nanoBig = "a1b23c4d 00020004 00000000 00000000 00040000 00000001"

    @Test func microsecondsLittleEndian() {
        let path = directory.file(
            "a.pcap",
            hex(
                Self.microLittle + """
                    01000000 02000000 03000000 40000000 aabbcc
                    05000000 3f420f00 00000000 00000000
                    """))
        let (frames, error) = readAll(path)
        #expect(error == nil)
        #expect(
            frames == [
                CapturedFrame(timestamp: 1_000_002_000, bytes: [0xAA, 0xBB, 0xCC], originalLength: 64, number: 1),
                CapturedFrame(timestamp: 5_999_999_000, bytes: [], originalLength: 0, number: 2),
            ])
        #expect(frames.map(\.isTruncated) == [true, false])
    }

    @Test func everyPrecisionAndByteOrder() {
        #expect(timestamp(Self.microLittle, "01000000 02000000", bigEndian: false) == 1_000_002_000)
        #expect(timestamp(Self.nanoLittle, "01000000 02000000", bigEndian: false) == 1_000_000_002)
        #expect(timestamp(Self.microBig, "00000001 00000002", bigEndian: true) == 1_000_002_000)
        #expect(timestamp(Self.nanoBig, "00000001 00000002", bigEndian: true) == 1_000_000_002)
    }

    @Test func secondsAreUnsigned() {
        for (header, big) in [(Self.microLittle, false), (Self.nanoLittle, false), (Self.microBig, true), (Self.nanoBig, true)] {
            let fraction = "00000000"
            #expect(timestamp(header, (big ? "80000000" : "00000080") + fraction, bigEndian: big) == 2_147_483_648_000_000_000)
            #expect(timestamp(header, "ffffffff" + fraction, bigEndian: big) == 4_294_967_295_000_000_000)
        }
    }

    @Test func fractionsOutOfRangeAreClamped() {
        // 10^6 µs, 2^32 - 1 µs, 10^9 ns, 2^32 - 1 ns.
        #expect(timestamp(Self.microLittle, "01000000 40420f00", bigEndian: false) == 1_999_999_999)
        #expect(timestamp(Self.microLittle, "01000000 ffffffff", bigEndian: false) == 1_999_999_999)
        #expect(timestamp(Self.microBig, "00000001 ffffffff", bigEndian: true) == 1_999_999_999)
        #expect(timestamp(Self.nanoLittle, "01000000 00ca9a3b", bigEndian: false) == 1_999_999_999)
        #expect(timestamp(Self.nanoLittle, "01000000 ffffffff", bigEndian: false) == 1_999_999_999)
        #expect(timestamp(Self.nanoLittle, "ffffffff ffffffff", bigEndian: false) == 4_294_967_295_999_999_999)
    }

    /// Two interfaces, microseconds and nanoseconds, as the octets of a little-endian file.
    @Test func pcapngLiteral() {
        let path = directory.file(
            "a.pcapng",
            hex(
                """
                0a0d0d0a 1c000000 4d3c2b1a 01000000 ffffffffffffffff 1c000000
                01000000 14000000 01000000 00000400 14000000
                01000000 20000000 01000000 00000400 09000100 09000000 00000000 20000000
                06000000 24000000 00000000 00000000 40420f00 02000000 3c000000 abcd0000 24000000
                06000000 24000000 01000000 01000000 00000000 04000000 04000000 01020304 24000000
                """))
        let (frames, error) = readAll(path)
        #expect(error == nil)
        #expect(
            frames == [
                CapturedFrame(timestamp: 1_000_000_000, bytes: [0xAB, 0xCD], originalLength: 60, number: 1),
                CapturedFrame(timestamp: 1 << 32, bytes: [1, 2, 3, 4], originalLength: 4, number: 2),
            ])
    }

    @Test(arguments: [false, true])
    func pcapngResolutionsAndLimits(isBigEndian: Bool) {
        var file = PcapngFile(isBigEndian: isBigEndian)
        file.interface(resolution: 0)
        file.interface(resolution: 12)
        file.interface(resolution: 0x80 | 10)
        file.interface(resolution: 6, offset: -10)
        file.packet(interface: 0, timestamp: 7, [1])
        file.packet(interface: 0, timestamp: 4_611_686_018, [2])
        file.packet(interface: 0, timestamp: 5_000_000_000, [3])
        file.packet(interface: 1, timestamp: 1_000_000_001_999, [4])
        file.packet(interface: 2, timestamp: 1_536, [5])
        file.packet(interface: 3, timestamp: 9_000_000, [6])
        file.packet(interface: 3, timestamp: 11_000_001, [7])
        let (frames, error) = readAll(directory.file("b.pcapng", file.bytes))
        #expect(error == nil)
        #expect(
            frames.map(\.timestamp) == [
                7_000_000_000, 4_611_686_018_000_000_000, 1 << 62, 1_000_000_001, 1_500_000_000, 0, 1_000_001_000,
            ])
        #expect(frames.map(\.bytes) == (1...7).map { [$0] })
        #expect(CaptureReader.timestamp(seconds: .max, nanoseconds: 999_999_999, isPcapng: true) == 1 << 62)
        #expect(CaptureReader.timestamp(seconds: .min, nanoseconds: 5, isPcapng: true) == 0)
        #expect(CaptureReader.timestamp(seconds: -1, nanoseconds: -1, isPcapng: false) == 4_294_967_295_999_999_999)
    }

    /// libpcap alone cuts the first to two octets, and refuses the second for its different lengths.
    @Test(arguments: [false, true])
    func snapshotLengthsDoNotCut(isBigEndian: Bool) {
        var pcap = Octets(isBigEndian: isBigEndian)
        let fields: [UInt32] = [0xA1B2_C3D4, isBigEndian ? 0x0002_0004 : 0x0004_0002, 0, 0, 2, 1, 1, 0, 5, 5]
        for field in fields { pcap.put(field) }
        pcap.bytes += [1, 2, 3, 4, 5]
        #expect(readAll(directory.file("s.pcap", pcap.bytes)).frames.map(\.bytes) == [[1, 2, 3, 4, 5]])

        var pcapng = PcapngFile(isBigEndian: isBigEndian)
        pcapng.interface(snapshotLength: 2)
        pcapng.packet(interface: 0, timestamp: 1, [1, 2, 3])
        pcapng.interface(snapshotLength: 96)
        pcapng.packet(interface: 1, timestamp: 2, [4, 5, 6, 7])
        pcapng.section()
        pcapng.interface(snapshotLength: 1)
        pcapng.packet(interface: 0, timestamp: 3, [8, 9])
        let (frames, error) = readAll(directory.file("s.pcapng", pcapng.bytes))
        #expect(error == nil)
        #expect(frames.map(\.bytes) == [[1, 2, 3], [4, 5, 6, 7], [8, 9]])
    }

    @Test func longestFrame() throws {
        let path = "\(directory.path)/long.pcap"
        let frame = [UInt8](repeating: 0xA5, count: CaptureReader.longestFrame)
        let writer = try CaptureWriter(path: path)
        try writer.write(timestamp: 1, bytes: frame)
        try writer.close()
        #expect(readAll(path).frames.map(\.bytes) == [frame])
    }

    @Test func everyTruncationDeliversWhatIsWhole() {
        let record = "01000000 00000000 04000000 04000000 01020304"
        let whole = hex(Self.microLittle + record + record)
        for length in 24...whole.count {
            let path = directory.file("cut.pcap", Array(whole[..<length]))
            let (frames, error) = readAll(path)
            #expect(frames.count == (length - 24) / 20)
            #expect((error == nil) == ((length - 24) % 20 == 0))
            if let error {
                #expect(error.kind == .damaged && error.frame == frames.count + 1 && error.subject == path)
            }
        }
        for length in 1..<24 {
            let (frames, error) = readAll(directory.file("cut.pcap", Array(whole[..<length])))
            #expect(frames.isEmpty && error?.kind == .notACapture)
        }
    }

    @Test func everyTruncationOfPcapngDeliversWhatIsWhole() {
        var file = PcapngFile(isBigEndian: false)
        file.interface()
        let first = file.bytes.count
        file.packet(interface: 0, timestamp: 1, [1, 2, 3, 4])
        let second = file.bytes.count
        file.packet(interface: 0, timestamp: 2, [5, 6, 7])
        for length in 1...file.bytes.count {
            let (frames, error) = readAll(directory.file("cut.pcapng", Array(file.bytes[..<length])))
            #expect(frames.count == (length < second ? 0 : length < file.bytes.count ? 1 : 2))
            #expect((error == nil) == [first, second, file.bytes.count].contains(length))
            if let error { #expect(error.kind == (length < first ? .notACapture : .damaged)) }
        }
    }

    @Test func damageIsNamedAndStays() throws {
        let record = "01000000 00000000 02000000 02000000 abcd"
        let path = directory.file("d.pcap", hex(Self.microLittle + record + record + "01000000 00000000 ffffff7f ffffff7f 00"))
        let reader = try CaptureReader(path: path)
        #expect(try reader.next()?.number == 1)
        #expect(try reader.next()?.number == 2)
        for _ in 0..<2 {
            let error = #expect(throws: CaptureError.self) { try reader.next() }
            #expect(
                error?.description == "\(path): frame 3: the file is damaged from here on: invalid packet capture length "
                    + "2147483647, bigger than snaplen of 262144 (frames 1 to 2 are sound; "
                    + "\"editcap -r \(path) NEW 1-2\" keeps them)")
        }
    }

    @Test func endStaysTheEnd() throws {
        let reader = try CaptureReader(path: directory.file("e.pcap", hex(Self.microLittle)))
        #expect(try reader.next() == nil)
        #expect(try reader.next() == nil)
    }

    @Test func wrongLinkTypes() {
        let sll = directory.file("sll.pcap", hex("d4c3b2a1 02000400 00000000 00000000 00000400 71000000"))
        #expect(
            readAll(sll).error?.description
                == "\(sll): the link type is LINUX_SLL, not Ethernet (only Ethernet captures can be replayed)")
        let unknown = directory.file("unknown.pcap", hex("d4c3b2a1 02000400 00000000 00000000 00000400 feff0000"))
        #expect(readAll(unknown).error?.kind == .linkType)

        var mixed = PcapngFile(isBigEndian: false)
        mixed.interface()
        mixed.packet(interface: 0, timestamp: 1, [1])
        mixed.interface(linkType: 0)
        mixed.packet(interface: 1, timestamp: 1, [2])
        let path = directory.file("mixed.pcapng", mixed.bytes)
        let (frames, error) = readAll(path)
        #expect(frames.map(\.bytes) == [[1]])
        #expect(error?.kind == .linkType && error?.frame == 2)
        #expect(error?.problem.hasPrefix("not all interfaces are Ethernet: an interface has a type 0") == true)
    }

    @Test func notCaptures() {
        let empty = directory.file("empty.pcap", [])
        #expect(readAll(empty).error?.description == "\(empty): the file is empty (name a pcap or pcapng file)")
        let text = directory.file("text.pcap", Array("this is not a capture file at all\n".utf8))
        #expect(
            readAll(text).error?.description == """
                \(text): not a capture that can be read: unknown file format (only pcap 2.x and pcapng 1.x; \
                "editcap -F pcap \(text) NEW" converts what Wireshark can read)
                """)
        let random = directory.file("random", (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) })
        #expect(readAll(random).error?.kind == .notACapture)
    }

    @Test func unreadableFiles() {
        let missing = "\(directory.path)/missing.pcap"
        #expect(
            readAll(missing).error?.description
                == "\(missing): cannot be read: No such file or directory (check the path)")
        #expect(
            readAll(directory.path).error?.description
                == "\(directory.path): cannot be read: Is a directory (name a file in it)")
        #expect(readAll("\(directory.file("plain", [1]))/inside").error?.kind == .unreadable)
    }

    @Test func notPermitted() {
        let path = directory.file("secret.pcap", hex(Self.microLittle))
        unsafe chmod(path, 0)
        let check = {
            #expect(
                readAll(path).error?.description
                    == "\(path): cannot be read: Permission denied (give the user of this process read permission)")
        }
        if geteuid() == 0 { asNobody(check) } else { check() }
    }

    /// Damage in every octet of a small file: no trap, no endless loop, frames and at most one error.
    @Test(arguments: [false, true])
    func flippedOctets(isPcapng: Bool) {
        var file = PcapngFile(isBigEndian: false)
        file.interface()
        for index in 0..<3 { file.packet(interface: 0, timestamp: 1, [UInt8](repeating: 7, count: index * 5)) }
        let whole =
            isPcapng
            ? file.bytes
            : hex(Self.microLittle + "01000000 00000000 04000000 04000000 01020304 01000000 00000000 02000000 02000000 0102")
        for index in whole.indices {
            for value in [0x00, 0x01, 0x7F, 0x80, 0xFF] as [UInt8] {
                var bytes = whole
                bytes[index] = value
                #expect(readAll(directory.file("flip", bytes)).frames.count <= 8)
            }
        }
    }
}
