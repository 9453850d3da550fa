// Nothing from the network traps: every truncation of every sample, seeded noise, and every captured frame.

import Basics
import Foundation
import Testing
import Wire

/// Everything that reads a frame, on one frame.
private func exercise(_ frame: RawSpan, _ offload: FrameOffload, into output: inout MutableRawSpan, _ seen: inout Seen) {
    seen.walk(frame)
    guard var segmenter = Segmenter(frame, offload: offload) else { return }
    while let count = segmenter.next(from: frame, into: &output) { seen.mix(count) }
}

@Suite struct RobustnessTests {
    /// Samples with and without tags, and super-frames of each kind.
    static let frames: [[UInt8]] = {
        var generator = SeededRandom(seed: 7)
        var frames = Sample.all
        frames += Sample.all.map { Sample.tagged($0, [(0x8100, 10)]) }
        frames += Sample.all.map { Sample.tagged($0, [(0x88A8, 100), (0x8100, 10)]) }
        for isIPv6 in [false, true] {
            for isTCP in [false, true] {
                frames.append(PlainFrame.random(isIPv6: isIPv6, isTCP: isTCP, payload: 60, &generator).assemble(partial: true))
            }
        }
        return frames
    }()

    static let kinds: [FrameOffload.Segmentation] = [.none, .tcp4, .tcp6, .udp, .unknown]

    @Test func everyTruncation() {
        var seen = Seen()
        var output = [UInt8](repeating: 0, count: 2_048)
        mutate(&output) { output in
            for frame in Self.frames {
                for count in 0...frame.count {
                    for kind in Self.kinds {
                        let offload = FrameOffload(segmentation: kind, segmentSize: 7)
                        exercise(frame.octets.extracting(first: count), offload, into: &output, &seen)
                    }
                }
            }
        }
        #expect(seen.frames > 0 && seen.tcp > 0 && seen.udp > 0 && seen.arp > 0)
    }

    @Test func noise() {
        var generator = SeededRandom(seed: 0xF022)
        var seen = Seen()
        var output = [UInt8](repeating: 0, count: 2_048)
        var frame = [UInt8](repeating: 0, count: 256)
        var template = Self.frames[0]
        for round in 0..<100_000 {
            // A frame with some octets changed, often where lengths and types are; cut anywhere. A new one now and then.
            if round % 16 == 0 {
                template = Self.frames[Int(truncatingIfNeeded: generator.next() % UInt64(Self.frames.count))]
                if round % 160 == 0 { template = random(64, &generator) }
                frame = template
            }
            let bits = generator.next()
            let place = Int(truncatingIfNeeded: bits & 0xFFFF)
            frame[bits & 1 << 60 == 0 ? place % frame.count : place % min(frame.count, 72)] = UInt8(
                truncatingIfNeeded: bits >> 16)
            let count = bits & 3 << 61 == 0 ? Int(truncatingIfNeeded: bits >> 24 & 0xFFFF) % (frame.count + 1) : frame.count
            let offload = FrameOffload(
                segmentation: Self.kinds[Int(truncatingIfNeeded: bits >> 40 & 0xFF) % 5],
                segmentSize: UInt16(truncatingIfNeeded: bits >> 32 & 63), needsChecksum: bits & 1 << 63 != 0,
                checksumStart: UInt16(truncatingIfNeeded: bits >> 48 & 127), checksumOffset: bits & 1 << 59 == 0 ? 6 : 16)
            let span = frame.octets.extracting(first: count)
            mutate(&output) { exercise(span, offload, into: &$0, &seen) }
            if round % 8 == 0 {
                var copy = frame
                seen.mix(mutate(&copy) { finishChecksum(of: &$0, offload) } ? 1 : 0)
            }
        }
        #expect(seen.frames > 50_000 && seen.ipv4 > 1_000 && seen.ipv6Transport > 1_000)
    }
}

/// Real frames: the captures beside the package, where they are.
@Suite struct CaptureTests {
    static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "../shared/captures").standardizedFileURL
    static let isPresent = FileManager.default.fileExists(atPath: folder.path)

    /// The records of a classic capture file with Ethernet frames; empty for another format. A record that runs past the end
    /// ends the list.
    static func frames(of file: [UInt8]) -> [Range<Int>] {
        let span = file.octets
        guard let magic = span.loadBE32(at: 0) else { return [] }
        let swapped: Bool
        switch magic {
        case 0xA1B2_C3D4, 0xA1B2_3C4D: swapped = false
        case 0xD4C3_B2A1, 0x4D3C_B2A1: swapped = true
        default: return []
        }
        func number(_ offset: Int) -> Int? {
            span.loadBE32(at: offset).map { Int(swapped ? $0.byteSwapped : $0) }
        }
        guard let link = number(20), link & 0xFFFF == 1 else { return [] }
        var records: [Range<Int>] = []
        var offset = 24
        while let count = number(offset + 8), count <= file.count - offset - 16 {
            records.append(offset + 16..<offset + 16 + count)
            offset += 16 + count
        }
        return records
    }

    @Test(.enabled(if: isPresent, "the folder of captures, ../shared/captures, is not beside this package"))
    func everyCapturedFrame() throws {
        var total = Seen()
        // Captures whose addresses were changed afterwards and whose transport checksums were not.
        var rewritten = Seen()
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).filter { $0.hasSuffix(".pcap") }
        for name in names.sorted() {
            let file = [UInt8](try Data(contentsOf: Self.folder.appending(path: name)))
            let isRewritten = name.hasPrefix("md_nyse") || name.hasPrefix("bad_")
            for record in Self.frames(of: file) {
                let frame = file.octets.extracting(record)
                if isRewritten { rewritten.walk(frame) } else { total.walk(frame) }
            }
        }
        // Sanity of the views: on real traffic nearly every header and checksum is right.
        #expect(total.frames > 10_000 && total.arp > 100 && total.ipv6 > 100)
        #expect(total.ipv4Valid * 100 > total.ipv4 * 99, "\(total)")
        #expect(total.transportValid * 100 > (total.transportValid + total.transportInvalid) * 98, "\(total)")
    }
}
