// The floating-point codes against a table worked out by hand from the formula of RFC 9776 and RFC 9777.

import Basics
import Testing
import Wire

@Suite struct MembershipCodeTests {
    @Test(
        arguments: [
            (0, 0), (1, 1), (126, 126), (127, 127), (0x80, 128), (0x81, 136), (0x8F, 248), (0x90, 256), (0x91, 272), (0x9F, 496),
            (0xA0, 512), (0xC8, 3_072), (0xF0, 16_384), (0xFE, 30_720), (0xFF, 31_744),
        ] as [(UInt8, Int)])
    func eightBits(code: UInt8, number: Int) {
        #expect(MembershipCode.decode8(code) == number)
        #expect(MembershipCode.encode8(number) == code)
    }

    @Test(
        arguments: [
            (0, 0), (1, 1), (0x7FFF, 32_767), (0x8000, 32_768), (0x8001, 32_776), (0x8FFF, 65_528), (0x9000, 65_536),
            (0x9001, 65_552), (0xF000, 4_194_304), (0xFFFE, 8_386_560), (0xFFFF, 8_387_584),
        ] as [(UInt16, Int)])
    func sixteenBits(code: UInt16, number: Int) {
        #expect(MembershipCode.decode16(code) == number)
        #expect(MembershipCode.encode16(number) == code)
    }

    /// Each code is the largest that does not say more than was asked for.
    @Test func everyNumberIsRoundedDown() {
        for number in 0...31_744 {
            let code = MembershipCode.encode8(number)
            let next = code == 0xFF ? Int.max : MembershipCode.decode8(code + 1)
            guard MembershipCode.decode8(code) <= number, number < next else {
                Issue.record("\(number) became \(code)")
                return
            }
        }
        for code in UInt16.min...UInt16.max {
            let number = MembershipCode.decode16(code)
            let before = number == 0 ? code : MembershipCode.encode16(number - 1)
            guard MembershipCode.encode16(number) == code, number == 0 || before == code - 1 else {
                Issue.record("\(number) is not \(code)")
                return
            }
        }
    }

    @Test func saturates() {
        #expect(MembershipCode.encode8(31_745) == 0xFF && MembershipCode.encode8(.max) == 0xFF)
        #expect(MembershipCode.encode16(8_387_585) == 0xFFFF && MembershipCode.encode16(.max) == 0xFFFF)
        #expect(MembershipCode.encode8(-1) == 0 && MembershipCode.encode16(.min) == 0)
        #expect(MembershipCode.queryIntervalCode(Interval(nanoseconds: .max)) == 0xFF)
        #expect(MembershipCode.mldMaxResponseCode(Interval(nanoseconds: .min)) == 0)
    }

    /// The kernel's fault: a bridge that writes 200 into the code has said 3072 s.
    @Test func twoHundredSecondsInAQueryCode() {
        #expect(MembershipCode.queryIntervalCode(.seconds(200)) == 0x89)
        #expect(MembershipCode.queryInterval(0x89) == .seconds(200))
        #expect(MembershipCode.queryInterval(200) == .seconds(3_072))
        // 2000 tenths lie between 1984 and 2048.
        #expect(MembershipCode.igmpMaxResponseCode(.seconds(200)) == 0xBF)
        #expect(MembershipCode.igmpMaxResponse(0xBF) == .milliseconds(198_400))
    }

    @Test func units() {
        #expect(MembershipCode.igmpMaxResponse(100) == .seconds(10))
        #expect(MembershipCode.igmpMaxResponseCode(.milliseconds(10_099)) == 100)
        #expect(MembershipCode.mldMaxResponse(10_000) == .seconds(10))
        #expect(MembershipCode.mldMaxResponseCode(.microseconds(10_000_999)) == 10_000)
        #expect(MembershipCode.mldMaxResponse(0x8FA0) == .milliseconds(64_768))
        #expect(MembershipCode.queryInterval(125) == .seconds(125))
        #expect(MembershipCode.queryIntervalCode(.milliseconds(125_999)) == 125)
    }
}
