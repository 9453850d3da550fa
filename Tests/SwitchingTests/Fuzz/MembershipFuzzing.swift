// The parsers of IGMP, MLD, router discovery and PIM Hello against their encoders and against the lanes' classifier: whatever
// is understood can be said again and is understood the same, and what a lane hands to control is what control understands.

import Basics
import Buffers
import Wire

enum MembershipFuzzing {
    /// Flags of an input's first octet.
    private enum Flag {
        /// What follows the two octets is a whole frame.
        static let isFrame: UInt8 = 0x01
        static let mendsChecksum: UInt8 = 0x02
        static let lacksRouterAlert: UInt8 = 0x04
        static let isTagged: UInt8 = 0x08
        static let isPadded: UInt8 = 0x10
        /// The high three bits choose the source, the second octet the destination.
        static let sourceShift: UInt8 = 5
    }

    static func run(_ input: [UInt8], _ family: IPFamily) -> [String] {
        var reader = FuzzReader(input)
        let flags = reader.byte()
        let destination = reader.number(256)
        let rest = reader.rest()
        if flags & Flag.isFrame != 0 { return check(frame: rest) }
        var frame = FuzzFrame(
            family: family, source: FuzzAddress.host(Int(flags >> Flag.sourceShift), family),
            destination: FuzzAddress.destination(destination, family))
        frame.mendsChecksum = flags & Flag.mendsChecksum != 0
        frame.hasRouterAlert = flags & Flag.lacksRouterAlert == 0
        if flags & Flag.isTagged != 0 { frame.vlan = VLAN(rawValue: 10) }
        if flags & Flag.isPadded != 0 { frame.padding = 18 }
        return check(frame: frame.bytes(rest))
    }

    /// What one frame is found to be, by everybody who looks at it.
    private struct Reading {
        var header: FrameHeader
        var parse: MembershipParse
        var pim: PIMParse
        var seen: MulticastHeader
    }

    private static func read(_ frame: [UInt8]) -> Reading? {
        frame.withRawSpan { frame in
            FrameHeader(frame).map { header in
                Reading(
                    header: header, parse: MembershipPacket.parse(frame, header), pim: PIM.parse(frame, header),
                    seen: MulticastHeader(frame, header))
            }
        }
    }

    static func check(frame: [UInt8]) -> [String] {
        guard let reading = read(frame) else { return frame.count < 14 ? [] : ["a frame of \(frame.count) octets has no header"] }
        var problems = checkClassifier(reading)
        if case .packet(let packet) = reading.parse { problems += check(packet, reading.header) }
        if case .hello(let hello) = reading.pim { problems += check(hello, reading.header) }
        return problems
    }

    // MARK: The lanes' classifier

    private static func checkClassifier(_ reading: Reading) -> [String] {
        let seen = reading.seen
        let isPunted = seen.kind == .membership || seen.kind == .discovery
        switch reading.parse {
        case .packet(let packet):
            let prefix = reading.header.destination.rawValue
            let isGroupFrame = packet.family == .v4 ? prefix >> 24 == 0x01_005E : prefix >> 32 == 0x3333
            guard isGroupFrame, packet.destination.isMulticast, !packet.destination.isInvalidScopeGroup else { return [] }
            if !isPunted { return ["\(seen.kind) to a lane, a message to control"] }
            return seen.group == packet.destination && seen.source == packet.source
                ? [] : ["the lane sees \(seen.group) from \(seen.source), control \(packet.destination) from \(packet.source)"]
        case .refused:
            // To a lane it must not be something that it forwards (rule 8). A type that is not known is: for that a lane does not
            // look whether the packet is whole and its header's checksum right, as it does not for data.
            switch seen.kind {
            case .membership, .discovery, .unknownIGMP, .invalidScope, .other: return []
            case .data, .everywhere, .pim: return ["\(seen.kind) to a lane, refused by control"]
            }
        case .other:
            return isPunted ? ["\(seen.kind) to a lane, nothing to control, and counted by nobody"] : []
        }
    }

    // MARK: Messages

    private static func check(_ packet: MembershipPacket, _ header: FrameHeader) -> [String] {
        var problems: [String] = []
        if packet.source.family != packet.family { problems.append("from \(packet.source) to \(packet.destination)") }
        let source = packet.source
        let (mac, vlan) = (header.source, header.vlan)
        switch packet.message {
        case .query(let query):
            problems += check(query, packet.family)
            let frame = MembershipFrame.query(query, source: source, from: mac, vlan: vlan)
            problems += expect(.query(query), in: frame, packet, header)
        case .report(let report):
            problems += check(report, packet, header)
        case .advertisement(let interval, let queryInterval, let robustness):
            let frame = MembershipFrame.advertisement(
                interval: interval, queryInterval: queryInterval, robustness: robustness, source: source, from: mac, vlan: vlan)
            problems += expect(packet.message, in: frame, packet, header)
        case .solicitation:
            problems += expect(
                packet.message, in: MembershipFrame.solicitation(source: source, from: mac, vlan: vlan), packet, header)
        case .termination:
            problems += expect(
                packet.message, in: MembershipFrame.termination(source: source, from: mac, vlan: vlan), packet, header)
        }
        return problems
    }

    /// What we write is read as it was meant, with the headers that rule 26 wants.
    private static func expect(
        _ message: MembershipMessage, in frame: [UInt8], _ original: MembershipPacket, _ header: FrameHeader
    ) -> [String] {
        guard let reading = read(frame), case .packet(let packet) = reading.parse else {
            return ["what was written is not read: \(message)"]
        }
        var problems = checkClassifier(reading)
        if packet.message != message { problems.append("\(message) was written, \(packet.message) is read") }
        if packet.hopLimit != 1 || !packet.hasRouterAlert { problems.append("written with hop limit \(packet.hopLimit)") }
        if packet.source != original.source { problems.append("written from \(packet.source) instead of \(original.source)") }
        if reading.header.source != header.source || reading.header.vlan.identifier != header.vlan.identifier {
            problems.append("written with other Ethernet addresses or another VLAN")
        }
        return problems
    }

    private static func check(_ query: MembershipQuery, _ family: IPFamily) -> [String] {
        var problems = check(query.sources, family)
        if let group = query.group, group.family != family || !group.isSnoopedGroup { problems.append("a query for \(group)") }
        if query.generation != .third && !query.sources.isEmpty { problems.append("an old query with sources") }
        if query.group == nil && !query.sources.isEmpty { problems.append("a general query with sources") }
        if query.maxResponse < .zero || query.queryInterval < .zero { problems.append("a query with a time below 0") }
        return problems
    }

    private static func check(_ sources: [IPAddress], _ family: IPFamily) -> [String] {
        var problems: [String] = []
        if Set(sources).count != sources.count { problems.append("a source is there twice") }
        for source in sources where source.family != family || !source.isUnicast { problems.append("\(source) as a source") }
        return problems
    }

    private static func check(_ report: MembershipReport, _ packet: MembershipPacket, _ header: FrameHeader) -> [String] {
        var problems: [String] = []
        for record in report.records {
            problems += check(record.sources, packet.family)
            if record.group.family != packet.family || !record.group.isSnoopedGroup {
                problems.append("a record for \(record.group)")
            }
        }
        guard report.generation == .third else { return problems + checkOld(report, packet, header) }
        let again = MembershipReport(generation: .third, records: report.records)
        let whole = MembershipFrame.reports(
            report.records, source: packet.source, from: header.source, vlan: header.vlan, mtu: 65_535)
        if whole.count != (report.records.isEmpty ? 0 : 1) { problems.append("\(whole.count) frames instead of one") }
        for frame in whole { problems += expect(.report(again), in: frame, packet, header) }
        for mtu in [MembershipFrame.leastMTU, 1_500] { problems += checkSplit(report.records, mtu, packet, header) }
        return problems
    }

    private static func checkOld(
        _ report: MembershipReport, _ packet: MembershipPacket, _ header: FrameHeader
    ) -> [String] {
        guard let record = report.records.first else { return [] }
        guard report.records.count == 1, record.sources.isEmpty else { return ["an old report with more than a group"] }
        let again = MembershipReport(generation: report.generation, records: report.records)
        let frame =
            record.kind == .toInclude
            ? MembershipFrame.leave(
                generation: report.generation, group: record.group, source: packet.source, from: header.source, vlan: header.vlan)
            : MembershipFrame.report(
                generation: report.generation, group: record.group, source: packet.source, from: header.source,
                vlan: header.vlan)
        return expect(.report(again), in: frame, packet, header)
    }

    /// Split reports fit, and say the same together: of an EXCLUDE record one part only, with fewer sources at most.
    private static func checkSplit(
        _ records: [GroupRecord], _ mtu: Int, _ packet: MembershipPacket, _ header: FrameHeader
    ) -> [String] {
        var problems: [String] = []
        var parts: [GroupRecord] = []
        let frames = MembershipFrame.reports(records, source: packet.source, from: header.source, vlan: header.vlan, mtu: mtu)
        for frame in frames {
            guard let reading = read(frame), case .packet(let part) = reading.parse, case .report(let report) = part.message,
                report.ignored == IgnoredRecords()
            else { return ["a part of a split report is not read"] }
            if frame.count - reading.header.payloadOffset > mtu { problems.append("a part is longer than \(mtu) octets") }
            parts += report.records
        }
        var next = 0
        for record in records {
            var sources: [IPAddress] = []
            repeat {
                guard next < parts.count, parts[next].kind == record.kind, parts[next].group == record.group else {
                    return problems + ["a record is missing from the parts"]
                }
                sources += parts[next].sources
                next += 1
                // A record that is followed by its like cannot be told from its parts by looking: count its sources.
            } while isSplit(record.kind) && sources.count < record.sources.count
            let isWhole = isSplit(record.kind) ? sources == record.sources : record.sources.starts(with: sources)
            if !isWhole { problems.append("the parts of a record are not its sources") }
        }
        if next != parts.count { problems.append("the parts hold more than was said") }
        return problems
    }

    private static func isSplit(_ kind: GroupRecordKind) -> Bool { kind != .isExclude && kind != .toExclude }

    // MARK: PIM

    private static func check(_ hello: PIMHello, _ header: FrameHeader) -> [String] {
        let frame = MembershipFrame.pimHello(hello, from: header.source, vlan: header.vlan)
        guard let reading = read(frame), case .hello(let again) = reading.pim else {
            return ["a hello that was written is not read"]
        }
        var problems: [String] = []
        if again != hello { problems.append("\(hello) was written, \(again) is read") }
        if reading.seen.kind != .pim { problems.append("\(reading.seen.kind) to a lane, a hello to control") }
        return problems
    }
}
