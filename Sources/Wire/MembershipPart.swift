// The parts that IGMPv3 and MLDv2 have in common but for the width of an address: group records (RFC 9776 section 4.2.4
// to 4.2.12, RFC 9777 sections 5.2.4 to 5.2.12) and the tail of a query (RFC 9776 section 4.1.5 to 4.1.9).
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//   0 | record type   | aux. length   | number of sources             |    auxiliary data is counted in words of 4 octets
//     +---------------+---------------+-------------------------------+
//   4 | group; sources; auxiliary data                                |
//     +---------------------------------------------------------------+
//
//     +-------+-+-----+---------------+-------------------------------+
//   0 | 0     |S| QRV | QQIC          | number of sources             |    the tail of a query, then its sources
//     +-------+-+-----+---------------+-------------------------------+

import Basics

extension IPFamily {
    /// Octets of an address.
    var addressByteCount: Int { self == .v4 ? 4 : 16 }
}

extension RawSpan {
    /// The address at `offset`; `nil` if it is not wholly inside. Not every IPv6 one is `.v6`: see `IPAddress`.
    func loadAddress(_ family: IPFamily, at offset: Int) -> IPAddress? {
        if family == .v4 { return loadBE32(at: offset).map { IPAddress(ipv4: $0) } }
        guard let high = loadBE64(at: offset), let low = loadBE64(at: offset &+ 8) else { return nil }
        return IPAddress(high: high, low: low)
    }
}

extension MutableRawSpan {
    /// Stores an address as its family's octets; false, and nothing sound stored, if it does not fit.
    mutating func storeAddress(_ address: IPAddress, at offset: Int) -> Bool {
        if let ipv4 = address.ipv4 { return storeBE32(ipv4, at: offset) }
        return storeBE64(address.high, at: offset) && storeBE64(address.low, at: offset &+ 8)
    }
}

/// The sources of one record or query as they are taken in: unicast, of the packet's family, each once.
struct SourceList {
    private(set) var sources: [IPAddress] = []
    /// Sources that were not unicast.
    private(set) var bad = 0
    private let family: IPFamily
    /// The sources again, past `plain` of them, so that a frame full of sources costs no square of it.
    private var seen: Set<IPAddress> = []
    private static let plain = 16

    init(_ family: IPFamily) { self.family = family }

    mutating func add(_ source: IPAddress) {
        guard source.family == family, source.isUnicast else {
            bad += 1
            return
        }
        if sources.count < SourceList.plain {
            if sources.contains(source) { return }
        } else {
            if seen.isEmpty { seen = Set(sources) }
            guard seen.insert(source).inserted else { return }
        }
        sources.append(source)
    }
}

/// Group records and query tails.
public enum MembershipPart {
    // MARK: Group records

    /// Offsets in octets from a record's start.
    enum RecordField {
        static var kind: Int { 0 }
        static var auxiliaryLength: Int { 1 }
        static var sourceCount: Int { 2 }
        static var group: Int { 4 }
    }

    /// The octets of one group record, known to be there in full.
    public struct RecordView: ~Escapable {
        let bytes: RawSpan
        public let family: IPFamily

        /// `nil` unless a whole record, its sources and auxiliary data included, begins at `offset`.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan, at offset: Int, _ family: IPFamily) {
            guard bytes.holds(RecordField.group &+ family.addressByteCount, at: offset) else { return nil }
            // SAFETY: the octets before the group have been checked.
            let auxiliary = unsafe Int(bytes.loadByte(unchecked: offset &+ RecordField.auxiliaryLength))
            let sources = unsafe Int(bytes.loadBE16(unchecked: offset &+ RecordField.sourceCount))
            let count = RecordField.group &+ (sources &+ 1) &* family.addressByteCount &+ auxiliary &* 4
            guard bytes.holds(count, at: offset) else { return nil }
            // SAFETY: `holds` has checked `count` octets from `offset`.
            self.bytes = unsafe bytes.slice(unchecked: offset, offset &+ count)
            self.family = family
        }

        // SAFETY of the accessors: `init` has checked the fixed part, the group, and as many sources as are counted.

        /// The record type as it stands.
        public var kindNumber: UInt8 { unsafe bytes.loadByte(unchecked: RecordField.kind) }
        /// `nil` for a type that is not known.
        public var kind: GroupRecordKind? { GroupRecordKind(rawValue: kindNumber) }
        public var sourceCount: Int { unsafe Int(bytes.loadBE16(unchecked: RecordField.sourceCount)) }
        /// Octets of auxiliary data.
        public var auxiliaryByteCount: Int { unsafe Int(bytes.loadByte(unchecked: RecordField.auxiliaryLength)) &* 4 }
        /// Octets of the record with its sources and auxiliary data.
        public var byteCount: Int { bytes.byteCount }
        /// Whatever address stands there; `family` may differ for a mapped one.
        public var group: IPAddress {
            bytes.loadAddress(family, at: RecordField.group) ?? .unspecified(family)
        }

        /// Whatever address stands there; `nil` beyond the last.
        public func source(at index: Int) -> IPAddress? {
            guard index >= 0, index < sourceCount else { return nil }
            return bytes.loadAddress(family, at: RecordField.group &+ (index &+ 1) &* family.addressByteCount)
        }
    }

    /// Reads `count` records from `offset` on. What means nothing is left out and counted; `nil` if a record is not there in
    /// full. O(octets).
    static func records(
        _ bytes: RawSpan, at offset: Int, count: Int, _ family: IPFamily
    ) -> (records: [GroupRecord], ignored: IgnoredRecords)? {
        var offset = offset
        var records: [GroupRecord] = []
        var ignored = IgnoredRecords()
        for _ in 0..<count {
            guard let view = RecordView(bytes, at: offset, family) else { return nil }
            offset &+= view.byteCount
            if let record = record(view, &ignored) { records.append(record) }
        }
        return (records, ignored)
    }

    /// The value of one record; `nil`, and counted, if it means nothing.
    private static func record(_ view: borrowing RecordView, _ ignored: inout IgnoredRecords) -> GroupRecord? {
        guard let kind = view.kind else {
            ignored.unknownKind += 1
            return nil
        }
        let group = view.group
        guard isUsable(group, view.family, &ignored) else { return nil }
        var list = SourceList(view.family)
        for index in 0..<view.sourceCount {
            if let source = view.source(at: index) { list.add(source) }
        }
        ignored.badSource += list.bad
        // Without its sources the record would say something else: EXCLUDE{} for EXCLUDE{a}.
        if list.bad > 0, list.sources.isEmpty { return nil }
        return GroupRecord(kind, group, list.sources)
    }

    /// True for a group that is snooped; counts another one.
    static func isUsable(_ group: IPAddress, _ family: IPFamily, _ ignored: inout IgnoredRecords) -> Bool {
        if group.family == family, group.isSnoopedGroup { return true }
        if group.family == family, group.isUnsnoopedGroup {
            ignored.unsnooped += 1
        } else {
            ignored.notAGroup += 1
        }
        return false
    }

    /// Octets of a record without auxiliary data.
    static func byteCount(sources: Int, _ family: IPFamily) -> Int {
        RecordField.group + (sources + 1) * family.addressByteCount
    }

    /// Writes one record. Returns where it ends; `nil` if it does not fit, has over 65535 sources, or an address is of the
    /// other family.
    static func emit(
        _ record: GroupRecord, _ family: IPFamily, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        guard record.group.family == family, let sources = UInt16(exactly: record.sources.count),
            buffer.storeByte(record.kind.rawValue, at: offset + RecordField.kind),
            buffer.storeByte(0, at: offset + RecordField.auxiliaryLength),
            buffer.storeBE16(sources, at: offset + RecordField.sourceCount),
            buffer.storeAddress(record.group, at: offset + RecordField.group)
        else { return nil }
        return emit(record.sources, family, into: &buffer, at: offset + RecordField.group + family.addressByteCount)
    }

    private static func emit(
        _ sources: [IPAddress], _ family: IPFamily, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        var end = offset
        for source in sources {
            guard source.family == family, buffer.storeAddress(source, at: end) else { return nil }
            end += family.addressByteCount
        }
        return end
    }

    // MARK: The tail of a query

    /// Offsets in octets from the tail's start.
    enum TailField {
        /// S, and QRV in the low three bits.
        static var flags: Int { 0 }
        static var queryIntervalCode: Int { 1 }
        static var sourceCount: Int { 2 }
        static var sources: Int { 4 }
    }

    /// The S flag in `TailField.flags`.
    static var suppressFlag: UInt8 { 0x08 }
    /// QRV in `TailField.flags`.
    static var robustnessMask: UInt8 { 0x07 }

    /// What a query of the third generation says after its group; known to be there in full.
    public struct QueryTailView: ~Escapable {
        let bytes: RawSpan
        public let family: IPFamily

        /// `nil` unless the tail with all its sources begins at `offset`. Octets after it are left alone.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan, at offset: Int, _ family: IPFamily) {
            guard bytes.holds(TailField.sources, at: offset) else { return nil }
            // SAFETY: 4 octets from `offset` have been checked.
            let sources = unsafe Int(bytes.loadBE16(unchecked: offset &+ TailField.sourceCount))
            let count = TailField.sources &+ sources &* family.addressByteCount
            guard bytes.holds(count, at: offset) else { return nil }
            // SAFETY: `holds` has checked `count` octets from `offset`.
            self.bytes = unsafe bytes.slice(unchecked: offset, offset &+ count)
            self.family = family
        }

        // SAFETY of the accessors: `init` has checked 4 octets and as many sources as are counted.

        /// The S flag: routers do not lower their timers.
        public var suppress: Bool { unsafe bytes.loadByte(unchecked: TailField.flags) & suppressFlag != 0 }
        /// QRV, 0 to 7.
        public var robustness: UInt8 { unsafe bytes.loadByte(unchecked: TailField.flags) & robustnessMask }
        /// QQIC, as it stands.
        public var queryIntervalCode: UInt8 { unsafe bytes.loadByte(unchecked: TailField.queryIntervalCode) }
        public var sourceCount: Int { unsafe Int(bytes.loadBE16(unchecked: TailField.sourceCount)) }

        /// Whatever address stands there; `nil` beyond the last.
        public func source(at index: Int) -> IPAddress? {
            guard index >= 0, index < sourceCount else { return nil }
            return bytes.loadAddress(family, at: TailField.sources &+ index &* family.addressByteCount)
        }
    }

    /// The query that group, response time and tail make; refused if the group is not one that can be asked for. Sources of
    /// a general query mean nothing.
    static func query(
        group: IPAddress, maxResponse: Interval, _ tail: borrowing QueryTailView
    ) -> MembershipMessageParse {
        guard let asked = QueriedGroup(group, tail.family) else { return .refused(.badGroup) }
        var list = SourceList(tail.family)
        if asked.group != nil {
            for index in 0..<tail.sourceCount {
                if let source = tail.source(at: index) { list.add(source) }
            }
            // Without its sources the query would ask for the whole group.
            if list.bad > 0, list.sources.isEmpty { return .refused(.badGroup) }
        }
        return .message(
            .query(
                MembershipQuery(
                    generation: .third, group: asked.group, sources: list.sources, maxResponse: maxResponse,
                    suppress: tail.suppress, robustness: tail.robustness,
                    queryInterval: MembershipCode.queryInterval(tail.queryIntervalCode))))
    }

    /// Octets of a tail.
    static func tailByteCount(sources: Int, _ family: IPFamily) -> Int {
        TailField.sources + sources * family.addressByteCount
    }

    /// Writes the tail of a query. Returns where it ends; `nil` if it does not fit, has over 65535 sources, or one of them is
    /// of the other family.
    static func emitTail(
        of query: MembershipQuery, _ family: IPFamily, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        // A robustness that the field cannot hold is said as none (RFC 9776 section 4.1.6).
        let robustness = query.robustness <= robustnessMask ? query.robustness : 0
        guard let sources = UInt16(exactly: query.sources.count),
            buffer.storeByte((query.suppress ? suppressFlag : 0) | robustness, at: offset + TailField.flags),
            buffer.storeByte(
                MembershipCode.queryIntervalCode(query.queryInterval), at: offset + TailField.queryIntervalCode),
            buffer.storeBE16(sources, at: offset + TailField.sourceCount)
        else { return nil }
        return emit(query.sources, family, into: &buffer, at: offset + TailField.sources)
    }
}

/// Who a query asks for: nobody in particular, or a group that is snooped.
struct QueriedGroup {
    /// `nil` in a general query.
    let group: IPAddress?

    /// `nil` for an address that is neither unspecified nor a snooped group of the family.
    init?(_ address: IPAddress, _ family: IPFamily) {
        if address == .unspecified(family) {
            group = nil
        } else if address.family == family, address.isSnoopedGroup {
            group = address
        } else {
            return nil
        }
    }
}
