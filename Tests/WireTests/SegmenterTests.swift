import Basics
import Testing
import Wire

@Suite struct SegmenterTests {
    /// All segments of a frame; `nil` when the metadata is refused.
    func cut(_ bytes: [UInt8], _ offload: FrameOffload, room: Int = 65_600) -> (frames: [[UInt8]], failed: Bool)? {
        guard var segmenter = Segmenter(bytes.octets, offload: offload) else { return nil }
        var frames: [[UInt8]] = []
        let announced = segmenter.segments
        var output = [UInt8](repeating: 0xEE, count: room)
        while let count = mutate(&output, { segmenter.next(from: bytes.octets, into: &$0) }) {
            frames.append(Array(output[..<count]))
            #expect(segmenter.remaining == announced - frames.count)
        }
        #expect(mutate(&output) { segmenter.next(from: bytes.octets, into: &$0) } == nil)
        return (frames, segmenter.failed)
    }

    /// Two segments of TCP over IPv4, by hand.
    @Test func literal() throws {
        // Identification 0xffff wraps; CWR, ACK, PSH and FIN are set; the sequence number wraps.
        var frame = hex(
            """
            020000000001020000000002 0800 4500002dffff40004006 0000 0a000001 0a000002
            00500051 fffffffe 00000002 5099ffff 0000 0000 0102030405
            """)
        put(be16(Int(~naiveSum(Array(frame[14..<34])))), in: &frame, at: 24)
        let offload = FrameOffload(
            segmentation: .tcp4, segmentSize: 3, needsChecksum: true, checksumStart: 34, checksumOffset: 16)
        let frames = try #require(cut(frame, offload)).frames
        try #require(frames.count == 2)
        // The first segment has CWR and ACK, the second ACK, PSH and FIN; sums computed apart from this program.
        #expect(
            frames[0]
                == hex(
                    """
                    020000000001020000000002 0800 4500002bffff40004006 26cb 0a000001 0a000002
                    00500051 fffffffe 00000002 5090ffff 96ab 0000 010203
                    """))
        #expect(
            frames[1]
                == hex(
                    """
                    020000000001020000000002 0800 4500002a000040004006 26cc 0a000001 0a000002
                    00500051 00000001 00000002 5019ffff 971e 0000 0405
                    """))
    }

    struct Kind: Sendable {
        let isIPv6: Bool
        let isTCP: Bool
    }

    @Test(arguments: [
        Kind(isIPv6: false, isTCP: true), Kind(isIPv6: true, isTCP: true), Kind(isIPv6: false, isTCP: false),
        Kind(isIPv6: true, isTCP: false),
    ])
    func equalsTheReference(_ kind: Kind) throws {
        var generator = SeededRandom(seed: 0x5E6)
        for round in 0..<60 {
            let count = Int.random(in: 0...(round % 10 == 0 ? 9_000 : 600), using: &generator)
            let size = Int.random(in: max(1, count / 40)...(count + 10), using: &generator)
            let frame = PlainFrame.random(isIPv6: kind.isIPv6, isTCP: kind.isTCP, payload: count, &generator)
            let padding = [UInt8](repeating: 0x55, count: round % 3)
            let bytes = frame.assemble(partial: true) + padding
            var offload = frame.offload(segmentSize: size)
            let result = try #require(cut(bytes, offload), "round \(round)")
            #expect(!result.failed)
            #expect(result.frames == frame.cut(segmentSize: size), "round \(round)")
            let headers = frame.link.count + frame.network.count + frame.transport.count
            #expect(result.frames.flatMap { $0[headers...] } == frame.payload)
            // Without the checksum's place the frame itself says where the transport header is.
            offload.needsChecksum = false
            offload.checksumStart = 0
            #expect(try #require(cut(bytes, offload)).frames == result.frames)
        }
    }

    @Test func theLongestSuperFrame() throws {
        var generator = SeededRandom(seed: 0x64)
        var frame = PlainFrame.random(isIPv6: false, isTCP: true, payload: 0, &generator)
        frame.payload = random(65_535 - frame.network.count - frame.transport.count, &generator)
        let bytes = frame.assemble(partial: true)
        #expect(try #require(cut(bytes, frame.offload(segmentSize: 1448))).frames == frame.cut(segmentSize: 1448))
        #expect(try #require(cut(bytes, frame.offload(segmentSize: 65_535))).frames == [frame.assemble()])
    }

    /// UDP's rule holds in segments too: of 65536 two-octet payloads one has a checksum of 0.
    @Test func zeroOfUDP() throws {
        var generator = SeededRandom(seed: 0)
        var frame = PlainFrame.random(isIPv6: false, isTCP: false, payload: 2, &generator)
        frame.payload = [0, 0]
        let finished = frame.assemble()
        let offset = frame.link.count + frame.network.count + 6
        frame.payload = [finished[offset], finished[offset + 1]]
        let frames = try #require(cut(frame.assemble(partial: true), frame.offload(segmentSize: 2))).frames
        #expect(frames == [frame.assemble()])
        #expect(Array(frames[0][offset...].prefix(2)) == [0xFF, 0xFF])
    }

    /// With segments left the pseudo-header has the routing header's address, which only the partial checksum knows.
    @Test func sourceRouted() throws {
        var generator = SeededRandom(seed: 0x5B)
        let last = random(16, &generator)
        var frame = PlainFrame.random(isIPv6: true, isTCP: true, payload: 500, &generator)
        frame.network = hex("60000000 0000 2b40") + random(32, &generator) + hex("06020201 00000000") + last
        var routed = frame
        put(last, in: &routed.network, at: 24)
        let here = frame.link.count + frame.network.count + 16
        var bytes = frame.assemble(partial: true)
        put(Array(routed.assemble(partial: true)[here...].prefix(2)), in: &bytes, at: here)
        var offload = frame.offload(segmentSize: 99)
        let frames = try #require(cut(bytes, offload)).frames
        #expect(frames.count == 6)
        for (segment, reference) in zip(frames, routed.cut(segmentSize: 99)) {
            #expect(segment[here...] == reference[here...])
        }
        offload.needsChecksum = false
        #expect(cut(bytes, offload) == nil)
    }

    @Test func outputTooSmall() throws {
        var generator = SeededRandom(seed: 0x00)
        let frame = PlainFrame.random(isIPv6: false, isTCP: false, payload: 100, &generator)
        let bytes = frame.assemble(partial: true)
        let headers = bytes.count - 100
        #expect(try #require(cut(bytes, frame.offload(segmentSize: 30), room: headers + 30)).frames.count == 4)
        let result = try #require(cut(bytes, frame.offload(segmentSize: 30), room: headers + 29))
        #expect(result.failed && result.frames.isEmpty)
    }

    @Test func anotherFrameThanTheFirst() throws {
        var generator = SeededRandom(seed: 0x0F)
        let bytes = PlainFrame.random(isIPv6: false, isTCP: true, payload: 100, &generator)
        let whole = bytes.assemble(partial: true)
        let made = Segmenter(whole.octets, offload: bytes.offload(segmentSize: 10))
        var segmenter = try #require(made)
        let shorter = Sample.udp4
        var output = [UInt8](repeating: 0, count: 2_000)
        #expect(mutate(&output) { segmenter.next(from: whole.octets, into: &$0) } != nil)
        #expect(mutate(&output) { segmenter.next(from: shorter.octets, into: &$0) } == nil)
        #expect(segmenter.failed)
        #expect(mutate(&output) { segmenter.next(from: whole.octets, into: &$0) } == nil)
    }

    @Test func bound() throws {
        var generator = SeededRandom(seed: 0xB0)
        let frame = PlainFrame.random(isIPv6: true, isTCP: true, payload: Segmenter.maximumSegments + 1, &generator)
        let bytes = frame.assemble(partial: true)
        #expect(Segmenter(bytes.octets, offload: frame.offload(segmentSize: 1)) == nil)
        #expect(Segmenter(bytes.octets, offload: frame.offload(segmentSize: 2)) != nil)
    }

    @Test func metadataThatDoesNotFit() {
        var generator = SeededRandom(seed: 0xBAD)
        let frame = PlainFrame.random(isIPv6: false, isTCP: true, payload: 100, &generator)
        let bytes = frame.assemble(partial: true)
        let good = frame.offload(segmentSize: 50)
        #expect(cut(bytes, good) != nil)
        func refused(_ change: (inout FrameOffload) -> Void) -> Bool {
            var offload = good
            change(&offload)
            return cut(bytes, offload) == nil
        }
        #expect(refused { $0.segmentSize = 0 })
        #expect(refused { $0.checksumStart += 4 })
        #expect(refused { $0.checksumStart = 0 })
        #expect(refused { $0.checksumOffset = 6 })
        for other in [.none, .tcp6, .udp, .unknown] as [FrameOffload.Segmentation] {
            #expect(refused { $0.segmentation = other })
        }
        // A frame that was cut, a fragment, another protocol.
        #expect(cut(Array(bytes.dropLast()), good) == nil)
        for (offset, octet) in [(6, 0x20), (7, 1), (9, 17), (0, 0x65)] as [(Int, UInt8)] {
            var bytes = bytes
            bytes[frame.link.count + offset] = octet
            #expect(cut(bytes, good) == nil)
        }
    }
}
