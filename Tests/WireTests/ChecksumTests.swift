import Basics
import Testing
import Wire

@Suite struct ChecksumTests {
    func sum(_ bytes: [UInt8]) -> Checksum {
        var checksum = Checksum()
        checksum.add(bytes.octets)
        return checksum
    }

    /// RFC 1071 section 3.
    @Test func exampleOfRFC1071() {
        #expect(sum(hex("0001 f203 f4f5 f6f7")).folded == 0xDDF2)
        #expect(sum(hex("0001 f203 f4f5 f6f7")).field == 0x220D)
    }

    /// RFC 1624 section 4: the case that earlier incremental updates got wrong.
    @Test func exampleOfRFC1624() {
        #expect(Checksum.updated(0xDD2F, replacing: 0x5555 as UInt16, with: 0x3285) == 0x0000)
    }

    @Test func wellKnownIPv4Header() {
        #expect(sum(hex("45000073000040004011b861c0a80001c0a800c7")).isValid)
        #expect(sum(hex("450000730000400040110000c0a80001c0a800c7")).field == 0xB861)
    }

    @Test func everyLengthEqualsTheNaiveSum() {
        var generator = SeededRandom(seed: 0xC5)
        for count in 0...200 {
            let bytes = random(count, &generator)
            #expect(sum(bytes).folded == naiveSum(bytes), "count \(count)")
            // Carries out of every word.
            let ones = [UInt8](repeating: 0xFF, count: count)
            #expect(sum(ones).folded == naiveSum(ones), "ones \(count)")
        }
        let long = random(65_535, &generator)
        #expect(sum(long).folded == naiveSum(long))
    }

    @Test func piecesAddUp() {
        var generator = SeededRandom(seed: 0xADD)
        for _ in 0..<200 {
            let bytes = random(64, &generator)
            let span = bytes.octets
            var checksum = Checksum()
            checksum.add(span.loadBE64(at: 0)!)
            checksum.add(span.loadBE32(at: 8)!)
            checksum.add(span.loadBE16(at: 12)!)
            checksum.add(span.extracting(14..<64))
            #expect(checksum.folded == naiveSum(bytes))
        }
    }

    @Test func incrementalEqualsRecomputed() {
        var generator = SeededRandom(seed: 0x1624)
        for _ in 0..<1_000 {
            var bytes = random(40, &generator)
            let before = sum(bytes).field
            let old16 = bytes.octets.loadBE16(at: 6)!
            let old32 = bytes.octets.loadBE32(at: 12)!
            let new16 = UInt16.random(in: 0...UInt16.max, using: &generator)
            let new32 = UInt32.random(in: 0...UInt32.max, using: &generator)
            put(be16(Int(new16)), in: &bytes, at: 6)
            let between = Checksum.updated(before, replacing: old16, with: new16)
            #expect(between == sum(bytes).field)
            put(be32(new32), in: &bytes, at: 12)
            #expect(Checksum.updated(between, replacing: old32, with: new32) == sum(bytes).field)
        }
    }

    @Test func pseudoHeaders() {
        // Both sum to what their octets sum to.
        let v4 = Checksum.pseudoHeader(source: 0xC0A8_0102, destination: 0xD4F2_2123, protocol: .udp, length: 13)
        #expect(v4.folded == naiveSum(hex("c0a80102 d4f22123 0011 000d")))
        let source = IPv6.Address(high: 0x2001_06F8_102D_0000, low: 0x02D0_09FF_FEE3_E8DE)
        let destination = IPv6.Address(high: 0x2001_06F8_0900_07C0, low: 2)
        let v6 = Checksum.pseudoHeader(source: source, destination: destination, protocol: .tcp, length: 0x1_0014)
        #expect(
            v6.folded
                == naiveSum(hex("200106f8102d000002d009fffee3e8de 200106f8090007c00000000000000002 00010014 00000006")))
    }
}
