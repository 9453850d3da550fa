import Basics
import Testing
import Wire

@Suite struct OffloadTests {
    @Test func finishesEveryKindOfFrame() {
        var generator = SeededRandom(seed: 0xF1)
        for round in 0..<400 {
            let isTCP = round % 2 == 0
            let count = Int.random(in: 0...120, using: &generator)
            let frame = PlainFrame.random(isIPv6: round % 4 < 2, isTCP: isTCP, payload: count, &generator)
            var bytes = frame.assemble(partial: true)
            var offload = frame.offload(segmentSize: 0)
            offload.segmentation = .none
            #expect(mutate(&bytes) { finishChecksum(of: &$0, offload) })
            #expect(bytes == frame.assemble(), "round \(round)")
        }
    }

    @Test func theTagComesBackAfterTheMetadata() {
        let untagged = Sample.tcp4
        var bytes = Sample.tagged(untagged, [(0x8100, 10)])
        put(be16(Int(naiveSum(hex("c0a80102 93ea01fd 0006 0014")))), in: &bytes, at: 54)
        let offload = FrameOffload(needsChecksum: true, checksumStart: 34 + 4, checksumOffset: 16)
        #expect(mutate(&bytes) { finishChecksum(of: &$0, offload) })
        #expect(bytes == Sample.tagged(untagged, [(0x8100, 10)]))
    }

    @Test func zeroOfUDPIsStoredAsOnesAndOfTCPIsNot() {
        // From octet 14: words that sum, with the partial checksum, to 0xffff.
        for (offset, stored) in [(6, 0xFFFF), (16, 0)] as [(UInt16, Int)] {
            var bytes = [UInt8](repeating: 0, count: 14 + 20)
            put(be16(0x1234), in: &bytes, at: 14 + Int(offset))
            put(be16(0xFFFF - 0x1234), in: &bytes, at: 14 + 2)
            let offload = FrameOffload(needsChecksum: true, checksumStart: 14, checksumOffset: offset)
            #expect(mutate(&bytes) { finishChecksum(of: &$0, offload) })
            #expect(Array(bytes[(14 + Int(offset))...].prefix(2)) == be16(stored))
        }
    }

    /// RFC 9260, appendix A: CRC32c, its lowest octet first. "123456789" has e3069283 in every list of check values.
    @Test func theChecksumOfSCTPIsNoSum() {
        // A common header and nine octets that make the whole, with the field as zero, what the check value is of.
        var bytes = [UInt8](repeating: 0, count: 34) + hex("1389 1389 00000001 ffffffff 0a000005 2b")
        let offload = FrameOffload(needsChecksum: true, checksumStart: 34, checksumOffset: 8)
        #expect(mutate(&bytes) { finishChecksum(of: &$0, offload) })
        var zeroed = Array(bytes[34...])
        zeroed.replaceSubrange(8..<12, with: [0, 0, 0, 0])
        let crc = castagnoli(zeroed)
        #expect(Array(bytes[42..<46]) == (0..<4).map { UInt8(truncatingIfNeeded: crc >> (8 * $0)) })
        #expect(castagnoli(Array("123456789".utf8)) == 0xE306_9283)
        var short = Array(bytes[..<45])
        #expect(!mutate(&short) { finishChecksum(of: &$0, offload) } && short == Array(bytes[..<45]))
    }

    private func castagnoli(_ bytes: [UInt8]) -> UInt32 {
        let table = (0..<256).map { (start: UInt32) in (0..<8).reduce(start) { word, _ in word >> 1 ^ (word & 1) &* 0x82F6_3B78 }
        }
        return ~bytes.reduce(UInt32.max) { $0 >> 8 ^ table[Int(($0 ^ UInt32($1)) & 255)] }
    }

    @Test func nothingToFinish() {
        var bytes = Sample.tcp4
        #expect(mutate(&bytes) { finishChecksum(of: &$0, .none) })
        #expect(bytes == Sample.tcp4)
    }

    @Test(arguments: [(0, 16), (13, 6), (39, 16), (54, 0), (34, 19), (34, 65_535), (65_535, 65_535), (65_535, 0)])
    func misfit(start: Int, offset: Int) {
        var bytes = Sample.tcp4
        let offload = FrameOffload(
            needsChecksum: true, checksumStart: UInt16(start), checksumOffset: UInt16(offset))
        #expect(!mutate(&bytes) { finishChecksum(of: &$0, offload) })
        #expect(bytes == Sample.tcp4)
    }
}
