// Gossip alone, on a virtual clock, over wires that lose, delay and reorder, from one seed. Nodes join, leave, crash, forget
// their clocks, and are cut off from each other; when that stops, all must know the same within a bound.

import Basics

@testable import Mesh

final class GossipMesh {
    struct Faults {
        /// Messages lost in a million.
        var loss: UInt32 = 0
        /// Delays are between these; a spread reorders.
        var delay: ClosedRange<Int64> = 1_000_000...1_000_000
    }

    private struct Flight: Comparable {
        var at: Instant
        var order: Int
        var from: Int
        var to: Int
        /// Sessions that ended in between take what was under way with them.
        var session: Int
        var bytes: [UInt8]

        static func < (a: Flight, b: Flight) -> Bool { (a.at, a.order) < (b.at, b.order) }
    }

    struct Link: Hashable {
        var low: Int
        var high: Int
        init(_ a: Int, _ b: Int) { (low, high) = (min(a, b), max(a, b)) }
    }

    let isListed: Bool
    private(set) var nodes: [Int: Gossip] = [:]
    private(set) var now = seconds(1)
    private(set) var links: Set<Link> = []
    private var sessions: [Link: Int] = [:]
    /// A binary heap, the first to arrive on top.
    private var flights: [Flight] = []
    private var order = 0
    var random: SeededRandom
    var faults = Faults()
    /// Octets of messages that were sent.
    private(set) var bytesSent = 0
    private(set) var messagesSent = 0
    private let count: Int
    /// Applied to each configuration.
    var adjust: (inout GossipConfiguration) -> Void = { _ in }

    init(_ count: Int, seed: UInt64, isListed: Bool = false) {
        self.count = count
        self.isListed = isListed
        random = SeededRandom(seed: seed)
    }

    private lazy var keys = (0..<count).map { signer($0).publicKey }
    private lazy var names = keys.map { SiteID($0) }
    private lazy var numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
    /// Of each node, as of its last call.
    private lazy var timeouts = [Instant](repeating: .distantFuture, count: count)
    private lazy var passes = (0..<count).map { authority.sign(pass($0)).bytes }

    func name(_ node: Int) -> SiteID { names[node] }

    // MARK: Life

    /// - Parameter clock: what the node takes for the time, in nanoseconds; small for one that has lost it.
    func start(_ node: Int, clock: UInt64? = nil, snapshot: [UInt8]? = nil) throws {
        var configuration = GossipConfiguration(
            privateKey: privateKey(node), trust: isListed ? .listed(keys) : .authority(authority.key),
            pass: isListed ? nil : passes[node],
            firstVersion: clock ?? newYear.seconds * 1_000_000_000 + now.nanoseconds)
        adjust(&configuration)
        var gossip = Gossip(configuration, wall: newYear.adding(now.nanoseconds / 1_000_000_000), at: now)
        if let snapshot { try gossip.restore(snapshot, at: now) }
        gossip.set(.address(Endpoint(ipv4: 0xC000_0200 + UInt32(node), port: 7117)), .address(rank: 0), at: now)
        nodes[node] = gossip
        pump(node)
    }

    func stop(_ node: Int) {
        for link in links.sorted(by: { ($0.low, $0.high) < ($1.low, $1.high) }) where link.low == node || link.high == node {
            disconnect(link.low, link.high)
        }
        nodes[node] = nil
        timeouts[node] = .distantFuture
    }

    func connect(_ a: Int, _ b: Int) {
        guard a != b, nodes[a] != nil, nodes[b] != nil, links.insert(Link(a, b)).inserted else { return }
        sessions[Link(a, b), default: 0] += 1
        for (one, other) in [(a, b), (b, a)] {
            nodes[one]?.handleNeighbourUp(name(other), at: now)
            nodes[one]?.set(.link(name(other)), .link(LinkMeasure(roundTripMicroseconds: 10_000)), at: now)
        }
        pump(a)
        pump(b)
    }

    func disconnect(_ a: Int, _ b: Int) {
        guard links.remove(Link(a, b)) != nil else { return }
        sessions[Link(a, b), default: 0] += 1
        for (one, other) in [(a, b), (b, a)] {
            nodes[one]?.handleNeighbourDown(name(other), at: now)
            nodes[one]?.set(.link(name(other)), nil, at: now)
        }
        pump(a)
        pump(b)
    }

    func set(_ node: Int, _ topic: MeshTopic, _ value: MeshValue?) {
        nodes[node]?.set(topic, value, at: now)
        pump(node)
    }

    func with(_ node: Int, _ body: (inout Gossip) -> Void) {
        if nodes[node] != nil { body(&nodes[node]!) }
        pump(node)
    }

    // MARK: Time

    private func pump(_ node: Int) {
        guard let neighbours = nodes[node]?.neighbourSites else {
            timeouts[node] = .distantFuture
            return
        }
        defer { timeouts[node] = nodes[node]?.nextTimeout ?? .distantFuture }
        for other in neighbours {
            guard let to = numbers[other] else { continue }
            while let bytes = nodes[node]?.pollMessage(for: other, at: now) {
                bytesSent += bytes.count
                messagesSent += 1
                if random.chance(millionths: faults.loss) { continue }
                order += 1
                let delay = Int64.random(in: faults.delay, using: &random)
                insert(
                    Flight(
                        at: now + .nanoseconds(delay), order: order, from: node, to: to, session: sessions[Link(node, to)] ?? 0,
                        bytes: bytes))
            }
        }
    }

    private func insert(_ flight: Flight) {
        flights.append(flight)
        var at = flights.count - 1
        while at > 0, flights[at] < flights[(at - 1) / 2] {
            flights.swapAt(at, (at - 1) / 2)
            at = (at - 1) / 2
        }
    }

    private func popFlight() -> Flight {
        flights.swapAt(0, flights.count - 1)
        let first = flights.removeLast()
        var at = 0
        while 2 * at + 1 < flights.count {
            var child = 2 * at + 1
            if child + 1 < flights.count && flights[child + 1] < flights[child] { child += 1 }
            if flights[at] < flights[child] { break }
            flights.swapAt(at, child)
            at = child
        }
        return first
    }

    func run(for interval: Interval) { run(until: now + interval) { false } }

    /// - Returns: whether the condition came true; it is looked at every second.
    @discardableResult
    func run(until end: Instant, _ isDone: () -> Bool) -> Bool {
        var look = now + .seconds(1)
        while true {
            var next = end
            for timeout in timeouts { next = min(next, timeout) }
            if let flight = flights.first { next = min(next, flight.at) }
            next = max(next, now)
            if next >= look {
                if isDone() { return true }
                look = next + .seconds(1)
            }
            if next >= end {
                now = end
                return isDone()
            }
            // A clock that stands still would never end.
            now = next == now ? now + .nanoseconds(1_000) : next
            while let first = flights.first, first.at <= now {
                let flight = popFlight()
                guard flight.session == sessions[Link(flight.from, flight.to)], nodes[flight.to] != nil else { continue }
                nodes[flight.to]?.handleMessage(flight.bytes, from: name(flight.from), at: now)
                pump(flight.to)
            }
            for number in timeouts.indices where timeouts[number] <= now {
                nodes[number]?.handleTimeout(at: now, using: &random)
                pump(number)
            }
        }
    }

    // MARK: Checks

    /// Groups of nodes that links join, each sorted.
    var parts: [[Int]] {
        var parts: [[Int]] = []
        var seen: Set<Int> = []
        for start in nodes.keys.sorted() where seen.insert(start).inserted {
            var part = [start]
            var queue = [start]
            while let at = queue.popLast() {
                for link in links where link.low == at || link.high == at {
                    let far = link.low == at ? link.high : link.low
                    if seen.insert(far).inserted {
                        part.append(far)
                        queue.append(far)
                    }
                }
            }
            parts.append(part.sorted())
        }
        return parts
    }

    /// Whether all that can reach each other know the same.
    func isAgreed() -> Bool {
        for part in parts {
            let first = summary(part[0])
            if !part.allSatisfy({ summary($0) == first }) { return false }
        }
        return true
    }

    func summary(_ node: Int) -> [UInt8] { nodes[node]?.summary ?? [] }

    /// What everybody says of itself and what everybody else has of it, compared fact by fact; problems in words.
    func differences() -> [String] {
        var problems: [String] = []
        for part in parts {
            for owner in part {
                guard let own = nodes[owner] else { continue }
                let told = own.ownTopics
                for reader in part where reader != owner {
                    let known = nodes[reader]?.facts(of: name(owner)).map(\.topic) ?? []
                    if known != told { problems.append("\(reader) has \(known.count) of the \(told.count) facts of \(owner)") }
                    for topic in told.prefix(20)
                    where nodes[reader]?.value(of: topic, from: name(owner)) != own.ownFacts[topic]?.value {
                        problems.append("\(reader) has another value of \(topic) of \(owner)")
                    }
                }
            }
        }
        return problems
    }
}
