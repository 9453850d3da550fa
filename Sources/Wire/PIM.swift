// PIM's Hello (RFC 7761 section 4.9.2): how multicast routers find each other, and how a switch finds them. The other
// messages of PIM are not looked into.
//
//      0               1               2               3
//     +-------+-------+---------------+-------------------------------+
//   0 | 2     | 0     | reserved      | checksum; IPv6: with pseudo-header
//     +-------+-------+---------------+-------------------------------+
//   4 | option type                   | option length                 |    1 holdtime, 19 DR priority, 20 generation id
//     +-------------------------------+-------------------------------+
//   8 | option value; more options                                    |

import Basics

/// A Hello: a multicast router lives at `source`.
public struct PIMHello: Hashable, Sendable {
    public var source: IPAddress
    /// How long the router counts without another Hello; zero when it says goodbye, `nil` for ever.
    public var holdTime: Interval?
    /// `nil` if it says none.
    public var designatedRouterPriority: UInt32?
    /// Changes when the router restarts; `nil` if it says none.
    public var generationID: UInt32?

    public init(
        source: IPAddress, holdTime: Interval? = PIM.defaultHoldTime, designatedRouterPriority: UInt32? = nil,
        generationID: UInt32? = nil
    ) {
        self.source = source
        self.holdTime = holdTime
        self.designatedRouterPriority = designatedRouterPriority
        self.generationID = generationID
    }

    /// True when the router leaves.
    public var isGoodbye: Bool { holdTime == .zero }
}

/// What a frame turned out to be.
public enum PIMParse: Hashable, Sendable {
    case hello(PIMHello)
    /// PIM's, or that of the IPv4 header.
    case badChecksum
    /// A Hello that is cut, a fragment, from an impossible source, or with an option that is not as long as it must be.
    case malformed
    /// Not PIM to all PIM routers, or not a Hello of version 2.
    case other
}

/// PIM version 2.
public enum PIM {
    /// Octets before the options.
    public static var headerByteCount: Int { 4 }
    /// What a Hello without a holdtime means (RFC 7761 section 4.11).
    public static let defaultHoldTime = Interval.seconds(105)
    /// The holdtime that never ends.
    static var endless: UInt16 { 0xFFFF }

    /// 224.0.0.13 or ff02::d.
    public static func allRouters(_ family: IPFamily) -> IPAddress {
        family == .v4 ? IPAddress(ipv4: 0xE000_000D) : IPAddress(high: 0xFF02_0000_0000_0000, low: 0xD)
    }

    /// The message's type, in the low four bits of the first octet. Every number is a valid value.
    public struct Kind: Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        public static var hello: Kind { Kind(rawValue: 0) }
    }

    /// A Hello option's type. Every number is a valid value.
    public struct OptionKind: Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt16
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        public static var holdTime: OptionKind { OptionKind(rawValue: 1) }
        public static var designatedRouterPriority: OptionKind { OptionKind(rawValue: 19) }
        public static var generationID: OptionKind { OptionKind(rawValue: 20) }
    }

    /// Offsets in octets from the message's start.
    enum Field {
        static var versionAndKind: Int { 0 }
        static var checksum: Int { 2 }
        static var options: Int { 4 }
    }

    /// Offsets in octets from an option's start.
    enum OptionField {
        static var kind: Int { 0 }
        static var length: Int { 2 }
        static var value: Int { 4 }
    }

    /// The header of a message, known to be there.
    public struct View: ~Escapable {
        let bytes: RawSpan

        /// `nil` for fewer than 4 octets. `bytes` are all of the IP payload: a Hello's checksum is over them.
        @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= PIM.headerByteCount else { return nil }
            self.bytes = bytes
        }

        // SAFETY of the accessors: `init` has checked 4 octets.

        public var version: UInt8 { unsafe bytes.loadByte(unchecked: Field.versionAndKind) >> 4 }
        public var kind: Kind { unsafe Kind(rawValue: bytes.loadByte(unchecked: Field.versionAndKind) & 0x0F) }
        public var checksum: UInt16 { unsafe bytes.loadBE16(unchecked: Field.checksum) }

        /// True when the checksum of a Hello is right; `pseudoHeader` is empty for IPv4.
        public func isChecksumValid(_ pseudoHeader: Checksum) -> Bool {
            var checksum = pseudoHeader
            checksum.add(bytes)
            return checksum.isValid
        }
    }

    // MARK: Parsing

    /// The Hello in a whole Ethernet frame; `nil` for anything else and anything wrong.
    public static func parseHello(_ frame: RawSpan, _ header: FrameHeader) -> PIMHello? {
        if case .hello(let hello) = parse(frame, header) { return hello }
        return nil
    }

    /// What a whole Ethernet frame says of PIM. Bounds are those of IP; octets after the packet are ignored. O(octets).
    public static func parse(_ frame: RawSpan, _ header: FrameHeader) -> PIMParse {
        guard frame.holds(0, at: header.payloadOffset) else { return .other }
        // SAFETY: `holds` has checked that the payload begins inside the frame.
        let packet = unsafe frame.slice(unchecked: header.payloadOffset, frame.byteCount)
        switch header.etherType {
        case .ipv4: return parseIPv4(packet)
        case .ipv6: return parseIPv6(packet)
        default: return .other
        }
    }

    private static func parseIPv4(_ packet: RawSpan) -> PIMParse {
        guard let view = IPv4.View(packet), view.transport == .pim, IPAddress(ipv4: view.destination) == allRouters(.v4)
        else { return .other }
        guard view.totalLength <= packet.byteCount else { return .malformed }
        guard view.isChecksumValid else { return .badChecksum }
        guard !view.isFragment else { return .malformed }
        return parse(view.payload, Checksum(), source: IPAddress(ipv4: view.source), .v4)
    }

    private static func parseIPv6(_ packet: RawSpan) -> PIMParse {
        guard let view = IPv6.View(packet), IPAddress(view.destination) == allRouters(.v6),
            let transport = view.findTransport(), transport.transport == .pim, transport.fragmentOffset == 0
        else { return .other }
        guard view.payloadLength <= packet.byteCount - IPv6.headerByteCount, !transport.isFragment else { return .malformed }
        let message = view.payload(of: transport)
        return parse(
            message, view.pseudoHeader(for: .pim, length: message.byteCount), source: IPAddress(view.source), .v6)
    }

    private static func parse(
        _ message: RawSpan, _ pseudoHeader: Checksum, source: IPAddress, _ family: IPFamily
    ) -> PIMParse {
        guard let view = View(message) else { return .malformed }
        guard view.version == 2, view.kind == .hello else { return .other }
        guard view.isChecksumValid(pseudoHeader) else { return .badChecksum }
        guard source.family == family, source.isUnicast else { return .malformed }
        var hello = PIMHello(source: source)
        return readOptions(message, into: &hello) ? .hello(hello) : .malformed
    }

    /// False if an option runs over the end, or a known one is not as long as it must be. The last of equal options counts.
    private static func readOptions(_ message: RawSpan, into hello: inout PIMHello) -> Bool {
        var offset = Field.options
        while offset < message.byteCount {
            guard let kind = message.loadBE16(at: offset + OptionField.kind),
                let length = message.loadBE16(at: offset + OptionField.length),
                message.holds(Int(length), at: offset + OptionField.value)
            else { return false }
            let value = offset + OptionField.value
            switch OptionKind(rawValue: kind) {
            case .holdTime:
                guard length == 2, let seconds = message.loadBE16(at: value) else { return false }
                hello.holdTime = seconds == endless ? nil : .seconds(Int64(seconds))
            case .designatedRouterPriority:
                guard length == 4, let priority = message.loadBE32(at: value) else { return false }
                hello.designatedRouterPriority = priority
            case .generationID:
                guard length == 4, let identifier = message.loadBE32(at: value) else { return false }
                hello.generationID = identifier
            default: break
            }
            offset = value + Int(length)
        }
        return true
    }

    // MARK: Writing

    /// Octets of a Hello.
    public static func byteCount(of hello: PIMHello) -> Int {
        headerByteCount + OptionField.value + 2
            + (hello.designatedRouterPriority == nil ? 0 : OptionField.value + 4)
            + (hello.generationID == nil ? 0 : OptionField.value + 4)
    }

    /// Writes a Hello; the holdtime in whole seconds, rounded down, at most 65534 s. `pseudoHeader` is empty for IPv4 and made
    /// for `byteCount(of:)` octets for IPv6. Returns where it ends; `nil` if it does not fit.
    public static func emit(
        _ hello: PIMHello, _ pseudoHeader: Checksum, into buffer: inout MutableRawSpan, at offset: Int
    ) -> Int? {
        let seconds = hello.holdTime.map { min(UInt16(clamping: MembershipCode.count($0, .seconds(1))), endless - 1) }
        var end = offset + Field.options
        guard buffer.storeBE32(0x2000_0000, at: offset),
            emitOption(.holdTime, length: 2, into: &buffer, at: &end),
            buffer.storeBE16(seconds ?? endless, at: end - 2)
        else { return nil }
        if let priority = hello.designatedRouterPriority {
            guard emitOption(.designatedRouterPriority, length: 4, into: &buffer, at: &end),
                buffer.storeBE32(priority, at: end - 4)
            else { return nil }
        }
        if let identifier = hello.generationID {
            guard emitOption(.generationID, length: 4, into: &buffer, at: &end), buffer.storeBE32(identifier, at: end - 4)
            else { return nil }
        }
        return Checksum.store(
            in: &buffer, at: offset, end: end, fieldOffset: Field.checksum, pseudoHeader, zeroMeansNone: false) ? end : nil
    }

    /// Writes an option's type and length, and moves `end` past its value. False if they do not fit.
    private static func emitOption(
        _ kind: OptionKind, length: UInt16, into buffer: inout MutableRawSpan, at end: inout Int
    ) -> Bool {
        guard buffer.storeBE16(kind.rawValue, at: end + OptionField.kind),
            buffer.storeBE16(length, at: end + OptionField.length)
        else { return false }
        end += OptionField.value + Int(length)
        return true
    }
}
