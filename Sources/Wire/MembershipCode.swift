// The codes in which queries say times: linear where they are small, floating point above (RFC 9776 sections 4.1.1 and
// 4.1.7, RFC 9777 sections 5.1.3 and 5.1.9). Sent linearly, as the Linux bridge does, a query interval of 200 s reads as
// 3072 s.
//
//      0   1           3   4           7         0   1       3   4                      15
//     +---+-----------+---------------+         +---+-----------+--------------------------+
//     | 1 | exponent  | mantissa      |         | 1 | exponent  | mantissa                 |
//     +---+-----------+---------------+         +---+-----------+--------------------------+
//     8 bits, from 128 on                       16 bits, from 32768 on
//
// Encoding rounds down: hosts that are given a little less time answer in time; hosts that are given more answer too late.

import Basics

/// The floating-point codes of the third generation's queries. The second generation's response times are linear in the
/// same fields.
public enum MembershipCode {
    /// The largest number that an 8-bit code says.
    public static let largest8 = 31_744
    /// The largest number that a 16-bit code says.
    public static let largest16 = 8_387_584

    /// The number that an 8-bit code stands for: 0 to `largest8`.
    @inlinable
    public static func decode8(_ code: UInt8) -> Int {
        code < 0x80 ? Int(code) : Int(code & 0x0F | 0x10) << (Int(code >> 4 & 7) &+ 3)
    }

    /// The number that a 16-bit code stands for: 0 to `largest16`.
    @inlinable
    public static func decode16(_ code: UInt16) -> Int {
        code < 0x8000 ? Int(code) : Int(code & 0x0FFF | 0x1000) << (Int(code >> 12 & 7) &+ 3)
    }

    /// The code of the largest number that is not above `number`; that of the largest there is, past it; 0 below 0.
    public static func encode8(_ number: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: encode(number, mantissaBits: 4, linearBelow: 0x80, largest: largest8))
    }

    /// The code of the largest number that is not above `number`; that of the largest there is, past it; 0 below 0.
    public static func encode16(_ number: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: encode(number, mantissaBits: 12, linearBelow: 0x8000, largest: largest16))
    }

    private static func encode(_ number: Int, mantissaBits: Int, linearBelow: Int, largest: Int) -> Int {
        let number = min(max(number, 0), largest)
        if number < linearBelow { return number }
        // The leading one is the bit that the mantissa leaves out; the exponent is what lies below the mantissa, less 3.
        let shift = number.bitWidth - 1 - number.leadingZeroBitCount - mantissaBits
        let mantissa = number >> shift & ((1 << mantissaBits) - 1)
        return linearBelow | (shift - 3) << mantissaBits | mantissa
    }

    // MARK: Times

    /// IGMPv3's Max Resp Code, in tenths of a second.
    public static func igmpMaxResponse(_ code: UInt8) -> Interval { .milliseconds(Int64(decode8(code)) * 100) }

    /// Rounded down; at most 3174.4 s.
    public static func igmpMaxResponseCode(_ time: Interval) -> UInt8 { encode8(count(time, .milliseconds(100))) }

    /// MLDv2's Maximum Response Code, in milliseconds.
    public static func mldMaxResponse(_ code: UInt16) -> Interval { .milliseconds(Int64(decode16(code))) }

    /// Rounded down; at most 8387.584 s.
    public static func mldMaxResponseCode(_ time: Interval) -> UInt16 { encode16(count(time, .milliseconds(1))) }

    /// The Querier's Query Interval Code of both, in seconds.
    public static func queryInterval(_ code: UInt8) -> Interval { .seconds(Int64(decode8(code))) }

    /// Rounded down; at most 31744 s.
    public static func queryIntervalCode(_ time: Interval) -> UInt8 { encode8(count(time, .seconds(1))) }

    /// Whole `unit`s in `time`; 0 for a negative one.
    static func count(_ time: Interval, _ unit: Interval) -> Int { Int(max(time.nanoseconds, 0) / unit.nanoseconds) }
}
