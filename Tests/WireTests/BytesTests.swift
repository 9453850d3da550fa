import Testing
import Wire

@Suite struct BytesTests {
    let bytes = hex("0102030405060708 09")

    @Test func loadsAreBigEndian() {
        let span = bytes.octets
        #expect(span.loadByte(at: 8) == 9)
        #expect(span.loadBE16(at: 1) == 0x0203)
        #expect(span.loadBE32(at: 5) == 0x0607_0809)
        #expect(span.loadBE64(at: 1) == 0x0203_0405_0607_0809)
    }

    @Test(arguments: [-1, 9, 10, Int.max, Int.min, Int.max - 1]) func loadsOutsideAreNil(offset: Int) {
        let span = bytes.octets
        #expect(span.loadByte(at: offset) == nil)
        #expect(span.loadBE16(at: offset) == nil)
        #expect(span.loadBE32(at: offset) == nil)
        #expect(span.loadBE64(at: offset) == nil)
    }

    @Test func loadsAcrossTheEndAreNil() {
        let span = bytes.octets
        #expect(span.loadBE16(at: 8) == nil)
        #expect(span.loadBE32(at: 6) == nil)
        #expect(span.loadBE64(at: 2) == nil)
        #expect(RawSpan().loadByte(at: 0) == nil)
        #expect(RawSpan().loadBE64(at: 0) == nil)
    }

    @Test func storesAreBigEndianAndChecked() {
        var buffer = [UInt8](repeating: 0, count: 9)
        let results = mutate(&buffer) { span in
            [
                span.storeBE64(0x0102_0304_0506_0708, at: 0), span.storeByte(9, at: 8),
                span.storeBE16(0xFFFF, at: 8), span.storeBE32(0xFFFF_FFFF, at: 6), span.storeBE64(.max, at: 2),
                span.storeByte(0xFF, at: 9), span.storeByte(0xFF, at: -1), span.storeBE16(0xFFFF, at: .max),
                span.storeBE32(1, at: .min), span.storeBytes([1, 2].octets, at: 8),
            ]
        }
        #expect(results == [true, true] + [Bool](repeating: false, count: 8))
        #expect(buffer == bytes)
        #expect(mutate(&buffer) { $0.storeBE16(0xAABB, at: 7) && $0.storeBE32(0x1122_3344, at: 1) } == true)
        #expect(buffer == hex("0111223344060 7aabb"))
        #expect(mutate(&buffer) { $0.storeBytes([1, 2].octets, at: 7) && $0.storeBytes(RawSpan(), at: 9) } == true)
        #expect(buffer == hex("01112233440607 0102"))
    }
}
