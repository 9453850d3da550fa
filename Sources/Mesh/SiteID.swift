// How gateways, meshes and moments are named in passes and gossip.

import Basics

/// A gateway, as gossip and trees name it: BLAKE2b-128 of its public key. A flat value, where the key is an array.
public struct SiteID: Hashable, Comparable, Sendable, BitwiseCopyable {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public init(_ key: PublicKey) {
        var reader = OctetReader(MeshCryptography.hash(Array("Causeway site 1".utf8) + key.bytes, length: 16))
        self = reader.site() ?? SiteID(high: 0, low: 0)
    }

    public static func < (a: SiteID, b: SiteID) -> Bool { a.high != b.high ? a.high < b.high : a.low < b.low }
}

extension SiteID: CustomStringConvertible {
    /// The first eight hexadecimal digits, enough to tell gateways apart in a log.
    public var description: String {
        let text = String(high >> 32, radix: 16)
        return String(repeating: "0", count: 8 - text.count) + text
    }
}

/// Seconds since 1970-01-01T00:00:00Z. Clocks of gateways differ; what compares them allows for `PassBook.skew`.
public struct UnixTime: Hashable, Comparable, Sendable, BitwiseCopyable {
    public var seconds: UInt64

    public init(seconds: UInt64) { self.seconds = seconds }

    /// Later than every moment.
    public static let distantFuture = UnixTime(seconds: .max)
    public static let secondsPerDay: UInt64 = 86_400

    public static func < (a: UnixTime, b: UnixTime) -> Bool { a.seconds < b.seconds }

    public func adding(_ count: UInt64) -> UnixTime {
        let (sum, overflow) = seconds.addingReportingOverflow(count)
        return UnixTime(seconds: overflow ? .max : sum)
    }

    public func subtracting(_ count: UInt64) -> UnixTime { UnixTime(seconds: seconds > count ? seconds - count : 0) }
}

extension UnixTime: CustomStringConvertible {
    /// `2026-11-25T13:30:00Z`, by the proleptic Gregorian calendar; `never` for the distant future.
    public var description: String {
        if seconds > 253_402_300_799 { return "never" }
        // Civil-from-days: days are counted from 0000-03-01, so that a leap day ends its year.
        let days = Int(seconds / UnixTime.secondsPerDay) + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shifted + 2) / 5 + 1
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let second = Int(seconds % UnixTime.secondsPerDay)
        func padded(_ number: Int, _ width: Int = 2) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        return "\(padded(year, 4))-\(padded(month))-\(padded(day))"
            + "T\(padded(second / 3600)):\(padded(second / 60 % 60)):\(padded(second % 60))Z"
    }
}
