// The probe's record, octet by octet, and whatever else may come as one.

import Basics
import Testing

@testable import Tunnels

@Suite struct ProbeRecordTests {
    private func parse(_ octets: [UInt8]) -> ProbeRecord? { unsafe ProbeRecord(octets.span.bytes) }

    @Test func literalOctets() {
        #expect(parse([1, 0, 0x05, 0xC0, 0xA1, 0xB2, 0xC3, 0xD4]) == ProbeRecord(.request, size: 1_472, number: 0xA1B2_C3D4))
        #expect(parse([2, 0, 0, 0, 0, 0, 0, 7]) == ProbeRecord(.reply, number: 7))
        #expect(ProbeRecord(.request, size: 1_472, number: 0xA1B2_C3D4).word == 0x0100_05C0_A1B2_C3D4)
        #expect(ProbeRecord(.request, size: 9, number: 5).reply == ProbeRecord(.reply, size: 9, number: 5))
        #expect(ProbeRecord.datagramBytes == 44)
    }

    @Test func laterVersionsMayAddAndOthersArePassedOver() {
        #expect(parse([1, 255, 0, 0, 0, 0, 0, 7, 99, 98])?.number == 7)
        #expect(parse([3, 0, 0, 0, 0, 0, 0, 7]) == nil && parse([0, 0, 0, 0, 0, 0, 0, 7]) == nil)
        for count in 0..<8 { #expect(parse(Array(repeating: 1, count: count)) == nil) }
    }

    /// Whatever octets come, nothing traps, and what is understood is what is written.
    @Test func anyOctets() {
        var random = SeededRandom(seed: 5)
        for _ in 0..<20_000 {
            let octets = (0..<Int(random.next() % 20)).map { _ in UInt8(truncatingIfNeeded: random.next() >> 9) & 0x83 }
            guard let probe = parse(octets) else { continue }
            #expect(
                probe.word & 0xFF00_FFFF_FFFF_FFFF == octets[0..<8].reduce(0) { $0 << 8 | UInt64($1) } & 0xFF00_FFFF_FFFF_FFFF)
        }
    }
}
