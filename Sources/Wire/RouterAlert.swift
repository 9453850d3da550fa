// The Router Alert option of IPv4, by which routers look into packets that are not for them (RFC 2113; the option list by
// RFC 791 section 3.1). Every IGMP message carries it (RFC 9776 section 4); those of IGMPv1 may not. IPv6's is in
// `HopByHop.swift`.
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//     | 0x94          | length: 4     | value: 0                      |
//     +---------------+---------------+-------------------------------+

/// IPv4's Router Alert option.
public enum RouterAlert {
    /// Octets of the option.
    @inlinable public static var byteCount: Int { 4 }
    /// The option's kind, length and value as one word.
    static var word: UInt32 { 0x9404_0000 }

    /// The kinds of an IPv4 option that matter to the walk: two without a length, and the one looked for.
    enum Kind {
        static var end: UInt8 { 0 }
        static var noOperation: UInt8 { 1 }
        static var routerAlert: UInt8 { 0x94 }
    }

    /// True if the options of an IPv4 header hold a Router Alert with value 0. The walk ends at the first option whose length
    /// is not possible. O(octets).
    public static func isPresent(in options: RawSpan) -> Bool {
        var offset = 0
        while let kind = options.loadByte(at: offset), kind != Kind.end {
            if kind == Kind.noOperation {
                offset += 1
                continue
            }
            guard let length = options.loadByte(at: offset + 1), length >= 2, options.holds(Int(length), at: offset) else {
                return false
            }
            if kind == Kind.routerAlert, length == 4, options.loadBE16(at: offset + 2) == 0 { return true }
            offset += Int(length)
        }
        return false
    }
}

extension IPv4.View {
    /// True if the header has a Router Alert option with value 0.
    public var hasRouterAlert: Bool { RouterAlert.isPresent(in: options) }
}

extension IPv4.Header {
    /// Writes 24 octets: the header with a Router Alert option, and its checksum. Returns where the payload begins; `nil`, and
    /// nothing written, if they do not fit or the packet would be longer than 65535 octets.
    public func emitWithRouterAlert(into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
        let count = IPv4.headerByteCount + RouterAlert.byteCount
        guard payloadCount >= 0, payloadCount <= 0xFFFF - count, buffer.holds(count, at: offset) else { return nil }
        guard let options = emit(into: &buffer, at: offset),
            buffer.storeByte(0x46, at: offset + IPv4.Field.versionAndLength),
            buffer.storeBE16(UInt16(payloadCount + count), at: offset + IPv4.Field.totalLength),
            buffer.storeBE32(RouterAlert.word, at: options),
            Checksum.store(
                in: &buffer, at: offset, end: offset + count, fieldOffset: IPv4.Field.checksum, Checksum(),
                zeroMeansNone: false)
        else { return nil }
        return offset + count
    }
}
