// Multicast Listener Discovery: IGMP's task for IPv6, in ICMPv6 (MLDv1 by RFC 2710 section 3, MLDv2 by RFC 9777 section 5;
// router discovery by RFC 4286). Group records and the tail of a query are in `MembershipPart.swift`.
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//   0 | type          | code          | checksum                      |
//     +---------------+---------------+-------------------------------+
//   4 | maximum response code         | reserved                      |
//     +-------------------------------+-------------------------------+
//   8 | group, 16 octets                                              |    v1 ends here
//     +---------------------------------------------------------------+
//  24 | a v2 query's tail                                             |
//
//     +---------------+---------------+-------------------------------+
//   0 | 143           | reserved      | checksum                      |
//     +---------------+---------------+-------------------------------+
//   4 | reserved                      | number of records             |
//     +-------------------------------+-------------------------------+
//   8 | records                                                       |

import Basics

/// MLD of both versions.
public enum MLD {
    /// Octets of an MLDv1 message, and the least of a query.
    public static var byteCount: Int { 24 }
    /// Octets of an MLDv2 query without sources.
    static var queryByteCount: Int { 28 }
    /// Octets of an MLDv2 report without records.
    static var reportByteCount: Int { 8 }

    /// Offsets in octets from the message's start.
    enum Field {
        static var maxResponse: Int { 4 }
        static var group: Int { 8 }
        static var queryTail: Int { 24 }
        static var recordCount: Int { 6 }
        static var records: Int { 8 }
    }

    /// A query, an MLDv1 report or a Done, known to be there in MLDv1's length.
    public struct View: ~Escapable {
        let bytes: RawSpan

        /// `nil` for fewer than 24 octets. `bytes` are all of the ICMPv6 message. The type is not looked at.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= MLD.byteCount else { return nil }
            self.bytes = bytes
        }

        // SAFETY of the accessors: `init` has checked 24 octets.

        /// Maximum Response Code as it stands; MLDv1's Maximum Response Delay in milliseconds.
        public var maxResponseCode: UInt16 { unsafe bytes.loadBE16(unchecked: Field.maxResponse) }
        /// Whatever address stands there; `family` may be `.v4` for a mapped one.
        public var group: IPAddress {
            unsafe IPAddress(
                high: bytes.loadBE64(unchecked: Field.group), low: bytes.loadBE64(unchecked: Field.group &+ 8))
        }
        /// Octets of the message.
        public var byteCount: Int { bytes.byteCount }
    }

    // MARK: Parsing

    /// What an ICMPv6 message says; `pseudoHeader` as `ICMPv6.View.isChecksumValid` wants it. Refuses by length first, then by
    /// checksum, then by what it says. O(octets).
    public static func parse(_ bytes: RawSpan, _ pseudoHeader: Checksum) -> MembershipMessageParse {
        guard let first = bytes.loadByte(at: ICMPv6.Field.kind) else { return .unknown }
        let kind = ICMPv6.Kind(rawValue: first)
        let least: Int
        switch kind {
        case .listenerQuery, .listenerReport, .listenerDone: least = byteCount
        case .listenerReportV2: least = reportByteCount
        case .multicastRouterAdvertisement: least = RouterDiscovery.advertisementByteCount
        case .multicastRouterSolicitation, .multicastRouterTermination: least = RouterDiscovery.shortByteCount
        default: return .unknown
        }
        guard bytes.byteCount >= least, let header = ICMPv6.View(bytes) else { return .refused(.badLength) }
        guard header.isChecksumValid(pseudoHeader) else { return .refused(.badChecksum) }
        switch kind {
        case .listenerQuery: return query(bytes)
        case .listenerReport: return report(bytes, .isExclude)
        case .listenerDone: return report(bytes, .toInclude)
        case .multicastRouterSolicitation: return .message(.solicitation)
        case .multicastRouterTermination: return .message(.termination)
        case .multicastRouterAdvertisement:
            guard let advertisement = RouterDiscovery.AdvertisementView(bytes) else { return .refused(.badLength) }
            return .message(advertisement.message)
        default:
            guard let count = bytes.loadBE16(at: Field.recordCount),
                let (records, ignored) = MembershipPart.records(bytes, at: Field.records, count: Int(count), .v6)
            else { return .refused(.badLength) }
            return .message(.report(MembershipReport(generation: .third, records: records, ignored: ignored)))
        }
    }

    /// RFC 9777 section 8.1: the version of a query is its length.
    private static func query(_ bytes: RawSpan) -> MembershipMessageParse {
        guard let view = View(bytes) else { return .refused(.badLength) }
        if view.byteCount >= queryByteCount {
            guard let tail = MembershipPart.QueryTailView(bytes, at: Field.queryTail, .v6) else {
                return .refused(.badLength)
            }
            return MembershipPart.query(
                group: view.group, maxResponse: MembershipCode.mldMaxResponse(view.maxResponseCode), tail)
        }
        guard view.byteCount == byteCount else { return .refused(.queryLength) }
        guard let asked = QueriedGroup(view.group, .v6) else { return .refused(.badGroup) }
        // RFC 2710 knows no floating point.
        return .message(
            .query(
                MembershipQuery(
                    generation: .second, group: asked.group, maxResponse: .milliseconds(Int64(view.maxResponseCode)))))
    }

    private static func report(_ bytes: RawSpan, _ kind: GroupRecordKind) -> MembershipMessageParse {
        guard let view = View(bytes) else { return .refused(.badLength) }
        var report = MembershipReport(generation: .second, records: [])
        let group = view.group
        if MembershipPart.isUsable(group, .v6, &report.ignored) { report.records = [GroupRecord(kind, group)] }
        return .message(.report(report))
    }

    // MARK: Writing

    /// Octets of a query in its generation's form.
    public static func byteCount(of query: MembershipQuery) -> Int {
        query.generation == .third
            ? Field.queryTail + MembershipPart.tailByteCount(sources: query.sources.count, .v6) : byteCount
    }

    /// Writes a query: MLDv2's for the third generation, MLDv1's for the others, which leaves out what it cannot say.
    /// `pseudoHeader` is made for `byteCount(of:)` octets. Returns where it ends; `nil` if it does not fit or an address is not
    /// IPv6.
    public static func emit(
        _ query: MembershipQuery, _ pseudoHeader: Checksum, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        let isV2 = query.generation == .third
        let milliseconds = MembershipCode.count(query.maxResponse, .milliseconds(1))
        let code = isV2 ? MembershipCode.encode16(milliseconds) : UInt16(clamping: milliseconds)
        guard
            var end = emitFixed(
                .listenerQuery, code: code, group: query.group ?? .unspecified(.v6), into: &buffer, at: offset)
        else { return nil }
        if isV2 {
            guard let tail = MembershipPart.emitTail(of: query, .v6, into: &buffer, at: end) else { return nil }
            end = tail
        }
        return ICMPv6.storeChecksum(in: &buffer, at: offset, end: end, pseudoHeader)
    }

    /// Writes an MLDv1 report or Done: 24 octets, for which `pseudoHeader` is made. Returns where it ends; `nil` if it does not
    /// fit or `group` is not IPv6.
    public static func emit(
        _ kind: ICMPv6.Kind, group: IPAddress, _ pseudoHeader: Checksum, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        guard let end = emitFixed(kind, code: 0, group: group, into: &buffer, at: offset) else { return nil }
        return ICMPv6.storeChecksum(in: &buffer, at: offset, end: end, pseudoHeader)
    }

    /// Writes an MLDv2 report, for whose length `pseudoHeader` is made. Returns where it ends; `nil` if it does not fit, has
    /// over 65535 records, or an address is not IPv6.
    public static func emit(
        _ records: [GroupRecord], _ pseudoHeader: Checksum, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        guard let count = UInt16(exactly: records.count),
            buffer.storeBE32(UInt32(ICMPv6.Kind.listenerReportV2.rawValue) << 24, at: offset),
            buffer.storeBE32(UInt32(count), at: offset + Field.maxResponse)
        else { return nil }
        var end = offset + Field.records
        for record in records {
            guard let next = MembershipPart.emit(record, .v6, into: &buffer, at: end) else { return nil }
            end = next
        }
        return ICMPv6.storeChecksum(in: &buffer, at: offset, end: end, pseudoHeader)
    }

    /// The first 24 octets, with a checksum of 0.
    private static func emitFixed(
        _ kind: ICMPv6.Kind, code: UInt16, group: IPAddress, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        guard group.family == .v6, buffer.storeBE32(UInt32(kind.rawValue) << 24, at: offset),
            buffer.storeBE32(UInt32(code) << 16, at: offset + Field.maxResponse),
            buffer.storeAddress(group, at: offset + Field.group)
        else { return nil }
        return offset + byteCount
    }
}
