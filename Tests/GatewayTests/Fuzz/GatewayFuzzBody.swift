// What the fuzzers of all that comes over the WAN do with an input, also run by the tests on every file of their corpora. It is
// compiled twice: here, and instrumented, through a symbolic link, in tools/fuzz. A body never traps by itself; it returns what
// was wrong.

import Switching

/// One fuzzer.
public enum GatewayFuzzBody: String, CaseIterable, Sendable {
    /// A datagram of a handshake, of any kind, its payload, or a probe's record: the parsers alone.
    case handshake
    /// A little program of handshakes with a whole gateway, with right macs and keys, so that what is behind them is reached.
    case agreement
    /// Opened text of several datagrams: what packing put together, taken apart.
    case records
    /// A little program with two ends of a control channel, and segments that neither of them has made.
    case channel
    /// A control message with facts.
    case facts
    /// A little program with two lanes: datagrams that somebody made up, and such as are sealed rightly, whatever is in them.
    case lane

    /// - Returns: a sentence for each property that does not hold.
    public func run(_ input: [UInt8]) -> [String] {
        switch self {
        case .handshake: HandshakeFuzzing.run(input)
        case .agreement: AgreementFuzzing.run(input)
        case .records: RecordsFuzzing.run(input)
        case .channel: ChannelFuzzing.run(input)
        case .facts: Self.runFacts(input)
        case .lane: LaneFuzzing.run(input)
        }
    }

    private static func runFacts(_ input: [UInt8]) -> [String] {
        guard let message = FactMessage.parse(input) else { return [] }
        var problems: [String] = []
        if FactMessage.parse(message.encoded) != message { problems.append("a message is not read back") }
        if case .facts(let facts) = message {
            // A fact has four octets before its length, and a version.
            if facts.count * 12 > input.count { problems.append("\(facts.count) facts in \(input.count) octets") }
            if facts.sorted(by: { $0.key < $1.key }).count != facts.count { problems.append("facts cannot be sorted") }
        }
        return problems
    }
}

/// Takes an input apart from its front; zeros follow its end.
struct OctetReader {
    private let input: [UInt8]
    private var position = 0

    init(_ input: [UInt8]) { self.input = input }

    var isAtEnd: Bool { position >= input.count }

    mutating func byte() -> UInt8 {
        guard position < input.count else { return 0 }
        defer { position += 1 }
        return input[position]
    }

    /// A number below `count`.
    mutating func number(_ count: Int) -> Int { Int(byte()) % count }

    mutating func word() -> Int { Int(byte()) << 8 | Int(byte()) }

    /// As many octets as there are, at most `count`, in an array without room to spare: a sanitizer sees reads beyond it.
    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(position + count, input.count)
        defer { position = end }
        return Array(input[min(position, end)..<end])
    }

    /// Octets with their number before them.
    mutating func block() -> [UInt8] { take(word() & 0x7FF) }

    mutating func rest() -> [UInt8] { take(input.count) }
}

/// In network order.
func octets<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<(T.bitWidth / 8)).reversed().map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
}
