// Traffic classes, and the code points that choose them: the six bits of an IP header that say how a packet wants to be
// treated (RFC 2474). The names are those of RFC 2474, RFC 2597, RFC 3246 and RFC 8622.

/// What leaves first when not all can. Lower raw values leave first.
public enum TrafficClass: UInt8, CaseIterable, Hashable, Sendable, BitwiseCopyable {
    /// The tunnel's own: segments of control channels, signs of life, probes. Never frames.
    case control
    /// What is worthless when it is late.
    case feed
    case normal
    /// What can wait.
    case bulk

    /// How many there are.
    @inlinable public static var count: Int { 4 }

    /// By raw value: what loops on the fast path go through. Precondition: 0 to 3.
    @inlinable @inline(always)
    public init(place: Int) {
        switch place {
        case 0: self = .control
        case 1: self = .feed
        case 2: self = .normal
        case 3: self = .bulk
        default: preconditionFailure("there is no such class")
        }
    }

    @inlinable @inline(always) public var place: Int { Int(rawValue) }

    /// The stable name: a key in configurations and in JSON.
    public var name: String {
        switch self {
        case .control: "control"
        case .feed: "feed"
        case .normal: "normal"
        case .bulk: "bulk"
        }
    }
}

/// A differentiated services code point, 0 to 63.
public struct CodePoint: Hashable, Comparable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8

    /// The low six bits.
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue & 63 }

    /// Expedited forwarding.
    public static let ef = CodePoint(rawValue: 46)
    /// Class selector 6: network control.
    public static let cs6 = CodePoint(rawValue: 48)
    /// Lower effort.
    public static let le = CodePoint(rawValue: 1)
    /// Default forwarding.
    public static let cs0 = CodePoint(rawValue: 0)

    /// Every name and what it stands for; of two names for one number, the first is printed.
    public static let names: [(name: String, point: CodePoint)] =
        [("le", .le), ("ef", .ef), ("va", CodePoint(rawValue: 44))]
        + (0...7).map { ("cs\($0)", CodePoint(rawValue: UInt8($0 << 3))) }
        + (1...4).flatMap { group in
            (1...3).map { ("af\(group)\($0)", CodePoint(rawValue: UInt8(group << 3 | $0 << 1))) }
        }
        + [("default", .cs0)]

    /// A name in lower case, or a number in decimal digits; `nil` for anything else.
    public init?(_ text: String) {
        if let known = CodePoint.names.first(where: { $0.name == text }) {
            self = known.point
        } else {
            guard !text.isEmpty, text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let number = UInt8(text), number < 64 else {
                return nil
            }
            rawValue = number
        }
    }

    public static func < (a: CodePoint, b: CodePoint) -> Bool { a.rawValue < b.rawValue }
}

extension CodePoint: CustomStringConvertible {
    /// The name, or the number of one that has none.
    public var description: String { CodePoint.names.first { $0.point == self }?.name ?? "\(rawValue)" }
}

/// A set of code points.
public struct CodePointSet: Hashable, Sendable, BitwiseCopyable {
    /// Bit *n* is code point *n*.
    public private(set) var rawValue: UInt64 = 0

    public init(_ points: some Sequence<CodePoint>) {
        for point in points { insert(point) }
    }

    public func contains(_ point: CodePoint) -> Bool { rawValue >> UInt64(point.rawValue) & 1 == 1 }
    public mutating func insert(_ point: CodePoint) { rawValue |= 1 << UInt64(point.rawValue) }

    /// Ascending.
    public var points: [CodePoint] {
        (0..<64).filter { rawValue >> UInt64($0) & 1 == 1 }.map { CodePoint(rawValue: UInt8($0)) }
    }

    public func intersection(_ other: CodePointSet) -> CodePointSet {
        var both = self
        both.rawValue &= other.rawValue
        return both
    }
}
