// The Internet Group Management Protocol: how hosts tell routers which IPv4 groups and sources they want (RFC 1112
// appendix I, RFC 2236, RFC 9776 section 4; router discovery by RFC 4286). Group records and the tail of a query are in
// `MembershipPart.swift`.
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//   0 | type          | max resp code | checksum, of the whole IP payload
//     +---------------+---------------+-------------------------------+
//   4 | group                                                         |    v1 and v2 end here
//     +---------------------------------------------------------------+
//   8 | a v3 query's tail                                             |
//
//     +---------------+---------------+-------------------------------+
//   0 | 0x22          | reserved      | checksum                      |
//     +---------------+---------------+-------------------------------+
//   4 | reserved                      | number of records             |
//     +-------------------------------+-------------------------------+
//   8 | records                                                       |

import Basics

/// What the octets of an IGMP or MLD message say.
public enum MembershipMessageParse: Hashable, Sendable {
    case message(MembershipMessage)
    case refused(MembershipRefusal)
    /// A type that is not known (rule 5), or that is not MLD.
    case unknown
}

/// IGMP of every version.
public enum IGMP {
    /// Octets of a v1 or v2 message, and the least of a v3 one.
    public static var byteCount: Int { 8 }
    /// Octets of a v3 query without sources.
    static var queryByteCount: Int { 12 }

    /// The message's type. Every number is a valid value.
    public struct Kind: Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt8
        @inlinable @inline(always) public init(rawValue: UInt8) { self.rawValue = rawValue }
        @inlinable public static var query: Kind { Kind(rawValue: 0x11) }
        @inlinable public static var v1Report: Kind { Kind(rawValue: 0x12) }
        @inlinable public static var v2Report: Kind { Kind(rawValue: 0x16) }
        @inlinable public static var leave: Kind { Kind(rawValue: 0x17) }
        @inlinable public static var v3Report: Kind { Kind(rawValue: 0x22) }
        @inlinable public static var advertisement: Kind { Kind(rawValue: 0x30) }
        @inlinable public static var solicitation: Kind { Kind(rawValue: 0x31) }
        @inlinable public static var termination: Kind { Kind(rawValue: 0x32) }

        /// Queries, reports, leaves.
        @inlinable public var isMembership: Bool {
            switch self {
            case .query, .v1Report, .v2Report, .leave, .v3Report: true
            default: false
            }
        }

        /// Router discovery.
        @inlinable public var isDiscovery: Bool { rawValue >= 0x30 && rawValue <= 0x32 }
    }

    /// Offsets in octets from the message's start.
    enum Field {
        static var kind: Int { 0 }
        static var code: Int { 1 }
        static var checksum: Int { 2 }
        static var group: Int { 4 }
        static var queryTail: Int { 8 }
        static var recordCount: Int { 6 }
        static var records: Int { 8 }
    }

    /// What every message begins with, known to be there.
    public struct View: ~Escapable {
        let bytes: RawSpan

        /// `nil` for fewer than 4 octets. `bytes` are all of the IP payload: the checksum is over them.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= Field.group else { return nil }
            self.bytes = bytes
        }

        // SAFETY of the accessors: `init` has checked 4 octets.

        public var kind: Kind { unsafe Kind(rawValue: bytes.loadByte(unchecked: Field.kind)) }
        /// Max Resp Code as it stands; 0 in a v1 query; reserved in reports.
        public var code: UInt8 { unsafe bytes.loadByte(unchecked: Field.code) }
        public var checksum: UInt16 { unsafe bytes.loadBE16(unchecked: Field.checksum) }
        /// Octets of the message.
        public var byteCount: Int { bytes.byteCount }

        /// The group of a query, a v1 or v2 report, a leave; `nil` if the message ends before.
        public var group: IPAddress? { bytes.loadAddress(.v4, at: Field.group) }
        /// How many records a v3 report counts; `nil` if the message ends before.
        public var recordCount: Int? { bytes.loadBE16(at: Field.recordCount).map { Int($0) } }

        public var isChecksumValid: Bool {
            var checksum = Checksum()
            checksum.add(bytes)
            return checksum.isValid
        }
    }

    // MARK: Parsing

    /// What an IP payload says. Refuses by length first, then by checksum, then by what it says. O(octets).
    public static func parse(_ bytes: RawSpan) -> MembershipMessageParse {
        guard let first = bytes.loadByte(at: Field.kind) else { return .refused(.badLength) }
        let kind = Kind(rawValue: first)
        guard kind.isMembership || kind.isDiscovery else { return .unknown }
        // RFC 4286 ends these two after the checksum.
        let isShort = kind == .solicitation || kind == .termination
        guard let view = View(bytes), isShort || bytes.byteCount >= byteCount else { return .refused(.badLength) }
        guard view.isChecksumValid else { return .refused(.badChecksum) }
        switch kind {
        case .query: return query(view)
        case .v3Report: return report(view)
        case .v1Report: return report(view, .first, .isExclude)
        case .v2Report: return report(view, .second, .isExclude)
        case .leave: return report(view, .second, .toInclude)
        case .solicitation: return .message(.solicitation)
        case .termination: return .message(.termination)
        default:
            guard let advertisement = RouterDiscovery.AdvertisementView(bytes) else { return .refused(.badLength) }
            return .message(advertisement.message)
        }
    }

    /// RFC 9776 section 7.1: the version of a query is its length, and the code of a short one.
    private static func query(_ view: borrowing View) -> MembershipMessageParse {
        guard let group = view.group else { return .refused(.badLength) }
        if view.byteCount >= queryByteCount {
            guard let tail = MembershipPart.QueryTailView(view.bytes, at: Field.queryTail, .v4) else {
                return .refused(.badLength)
            }
            return MembershipPart.query(
                group: group, maxResponse: MembershipCode.igmpMaxResponse(view.code), tail)
        }
        guard view.byteCount == byteCount else { return .refused(.queryLength) }
        // The group of a v1 query is ignored (RFC 1112 appendix I).
        if view.code == 0 { return .message(.query(MembershipQuery(generation: .first, maxResponse: .seconds(10)))) }
        guard let asked = QueriedGroup(group, .v4) else { return .refused(.badGroup) }
        // RFC 2236 knows no floating point.
        return .message(
            .query(
                MembershipQuery(
                    generation: .second, group: asked.group, maxResponse: .milliseconds(Int64(view.code) * 100))))
    }

    private static func report(_ view: borrowing View) -> MembershipMessageParse {
        guard let count = view.recordCount,
            let (records, ignored) = MembershipPart.records(view.bytes, at: Field.records, count: count, .v4)
        else { return .refused(.badLength) }
        return .message(.report(MembershipReport(generation: .third, records: records, ignored: ignored)))
    }

    private static func report(
        _ view: borrowing View, _ generation: MembershipGeneration, _ kind: GroupRecordKind
    ) -> MembershipMessageParse {
        guard let group = view.group else { return .refused(.badLength) }
        var report = MembershipReport(generation: generation, records: [])
        if MembershipPart.isUsable(group, .v4, &report.ignored) { report.records = [GroupRecord(kind, group)] }
        return .message(.report(report))
    }

    // MARK: Writing

    /// Octets of a query in its generation's form.
    public static func byteCount(of query: MembershipQuery) -> Int {
        query.generation == .third
            ? Field.queryTail + MembershipPart.tailByteCount(sources: query.sources.count, .v4) : byteCount
    }

    /// Writes a query in its generation's form. v1 and v2 leave out what they cannot say; v2's response time is at least
    /// 0.1 s, since 0 is v1's. Returns where it ends; `nil` if it does not fit or an address is not IPv4.
    public static func emit(_ query: MembershipQuery, into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
        let tenths = MembershipCode.count(query.maxResponse, .milliseconds(100))
        let code: UInt8 =
            switch query.generation {
            case .first: 0
            case .second: UInt8(clamping: max(tenths, 1))
            case .third: MembershipCode.encode8(tenths)
            }
        let group = query.generation == .first ? nil : query.group
        guard let group = (group ?? .unspecified(.v4)).ipv4,
            var end = emitFixed(.query, code: code, group: group, into: &buffer, at: offset)
        else { return nil }
        if query.generation == .third {
            guard let tail = MembershipPart.emitTail(of: query, .v4, into: &buffer, at: end) else { return nil }
            end = tail
        }
        return storeChecksum(in: &buffer, at: offset, end: end)
    }

    /// Writes a v1 or v2 report or a leave: 8 octets. Returns where it ends; `nil` if it does not fit.
    public static func emit(_ kind: Kind, group: UInt32, into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
        guard let end = emitFixed(kind, code: 0, group: group, into: &buffer, at: offset) else { return nil }
        return storeChecksum(in: &buffer, at: offset, end: end)
    }

    /// Writes a v3 report. Returns where it ends; `nil` if it does not fit, has over 65535 records, or an address is not IPv4.
    public static func emit(_ records: [GroupRecord], into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
        guard let count = UInt16(exactly: records.count),
            var end = emitFixed(.v3Report, code: 0, group: UInt32(count), into: &buffer, at: offset)
        else { return nil }
        for record in records {
            guard let next = MembershipPart.emit(record, .v4, into: &buffer, at: end) else { return nil }
            end = next
        }
        return storeChecksum(in: &buffer, at: offset, end: end)
    }

    /// Type, code, a checksum of 0, and the word that follows.
    private static func emitFixed(
        _ kind: Kind, code: UInt8, group: UInt32, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        guard buffer.storeByte(kind.rawValue, at: offset + Field.kind), buffer.storeByte(code, at: offset + Field.code),
            buffer.storeBE16(0, at: offset + Field.checksum), buffer.storeBE32(group, at: offset + Field.group)
        else { return nil }
        return offset + byteCount
    }

    /// Computes and stores the checksum of the message in `offset..<end`. Returns `end`; `nil` if that is not inside.
    static func storeChecksum(in buffer: inout MutableRawSpan, at offset: Int, end: Int) -> Int? {
        Checksum.store(
            in: &buffer, at: offset, end: end, fieldOffset: Field.checksum, Checksum(), zeroMeansNone: false) ? end : nil
    }
}
