// Reading and appending octets in network order. What is read came from a network or a file: nothing here traps.

import Basics

/// Takes octets from the front.
struct OctetReader {
    private let bytes: [UInt8]
    private(set) var position: Int
    private let end: Int

    init(_ bytes: [UInt8]) { self.init(bytes, 0..<bytes.count) }

    private init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    var remaining: Int { end - position }
    var isAtEnd: Bool { position == end }

    mutating func byte() -> UInt8? { integer(UInt8.self) }

    mutating func integer<T: FixedWidthInteger & UnsignedInteger>(_: T.Type) -> T? {
        let count = T.bitWidth / 8
        guard remaining >= count else { return nil }
        defer { position += count }
        var value: UInt64 = 0
        for index in position..<(position + count) { value = value << 8 | UInt64(bytes[index]) }
        return T(truncatingIfNeeded: value)
    }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard count >= 0, remaining >= count else { return nil }
        defer { position += count }
        return Array(bytes[position..<(position + count)])
    }

    mutating func rest() -> [UInt8] { take(remaining) ?? [] }

    mutating func slice(_ count: Int) -> OctetReader? {
        guard count >= 0, remaining >= count else { return nil }
        defer { position += count }
        return OctetReader(bytes, position..<(position + count))
    }

    mutating func address(_ family: IPFamily) -> IPAddress? {
        if family == .v4 { return integer(UInt32.self).map { IPAddress(ipv4: $0) } }
        guard let high = integer(UInt64.self), let low = integer(UInt64.self) else { return nil }
        let address = IPAddress(high: high, low: low)
        // An IPv4-mapped address is IPv4 here, and would be written in four octets.
        return address.family == .v6 ? address : nil
    }

    mutating func site() -> SiteID? {
        guard let high = integer(UInt64.self), let low = integer(UInt64.self) else { return nil }
        return SiteID(high: high, low: low)
    }
}

extension [UInt8] {
    mutating func append(big value: some FixedWidthInteger & UnsignedInteger) {
        var shift = value.bitWidth
        while shift > 0 {
            shift -= 8
            append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func append(address: IPAddress) {
        if let ipv4 = address.ipv4 { return append(big: ipv4) }
        append(big: address.high)
        append(big: address.low)
    }

    mutating func append(site: SiteID) {
        append(big: site.high)
        append(big: site.low)
    }
}
