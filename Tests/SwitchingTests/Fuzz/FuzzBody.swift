// What the fuzzers do with an input, also run by the tests on every file of the fuzzers' corpora. It is compiled twice: here,
// and instrumented, through a symbolic link, in tools/fuzz. A body never traps by itself; it returns what was wrong.

/// One fuzzer.
public enum FuzzBody: String, CaseIterable, Sendable {
    /// Two octets of flags and what follows as the payload of an IPv4 packet with IGMP; or a whole frame.
    case igmp
    /// The same for IPv6 with MLD behind a hop-by-hop header.
    case mld
    /// A little program that drives a whole snooper.
    case snooper

    /// - Returns: a sentence for each property that does not hold.
    public func run(_ input: [UInt8]) -> [String] {
        switch self {
        case .igmp: MembershipFuzzing.run(input, .v4)
        case .mld: MembershipFuzzing.run(input, .v6)
        case .snooper: SnooperFuzzing.run(input)
        }
    }
}

/// Takes an input apart from its front; zeros follow its end.
struct FuzzReader {
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

    mutating func rest() -> [UInt8] { take(input.count) }
}
