// The facts that this gateway owns, and what each peer has still to be told of them. State, not messages, waits for a peer: a
// fact that changes five times while the peer is slow is told once, as it then is, so what waits is bounded by the facts.

import Basics

/// Our own facts.
public struct FactBook: Sendable {
    private var values: [FactKey: (version: UInt64, value: FactValue)] = [:]
    private var version: UInt64

    /// - Parameter version: larger than any that this gateway has used before: taken from a clock.
    public init(version: UInt64) { self.version = version }

    /// Sets or withdraws a fact. False when it says what it said.
    @discardableResult
    public mutating func set(_ key: FactKey, _ value: FactValue?) -> Bool {
        if values[key]?.value == value { return false }
        version += 1
        values[key] = value.map { (version, $0) }
        return true
    }

    public subscript(key: FactKey) -> FactValue? { values[key]?.value }
    public var count: Int { values.count }
    /// Sorted.
    public var keys: [FactKey] { values.keys.sorted() }

    /// As the peers are told it: withdrawn, in the newest version, if it is not there.
    func fact(_ key: FactKey) -> Fact {
        guard let (version, value) = values[key] else { return Fact(key, version: version, nil) }
        return Fact(key, version: version, value)
    }
}

/// What one peer has still to be told.
public struct FactFeed: Sendable {
    private var queue: [FactKey] = []
    private var next = 0
    private var queued: Set<FactKey> = []
    /// Whether the peer is being told everything anew.
    private var isTellingAll = false
    public private(set) var factsTold: UInt64 = 0
    /// Octets of facts in one message.
    private static let messageBytes = 16 * 1024

    public init() {}

    /// The peer's stream begins anew: everything is told, then that it was everything.
    public mutating func restart(_ book: FactBook) {
        queue = book.keys
        next = 0
        queued = Set(queue)
        isTellingAll = true
    }

    /// Nothing is told: the peer is away.
    public mutating func stop() {
        self = FactFeed()
    }

    public mutating func note(_ key: FactKey) {
        if queued.insert(key).inserted { queue.append(key) }
    }

    public var isEmpty: Bool { next == queue.count && !isTellingAll }
    public var waiting: Int { queue.count - next }

    /// The next message to send; `nil` when everything is told.
    public mutating func pollMessage(_ book: FactBook) -> [UInt8]? {
        guard next < queue.count else {
            guard isTellingAll else { return nil }
            isTellingAll = false
            return FactMessage.allTold.encoded
        }
        var bytes: [UInt8] = [FactMessage.Kind.facts]
        while next < queue.count, bytes.count + Fact.longest <= Self.messageBytes {
            let key = queue[next]
            next += 1
            queued.remove(key)
            factsTold += 1
            book.fact(key).encode(into: &bytes)
        }
        if next == queue.count || next > 4096 {
            queue.removeFirst(next)
            next = 0
        }
        return bytes
    }
}
