// Replay: a whole mesh of sites in one process, fed from capture files, on the virtual clock. The gateways are the same
// cores that run live, with the same handshakes and the same bytes; only the ports and the WAN are virtual.
//
//     captures --> port --> gateway a ==== virtual wire ==== gateway b --> port --> b.lan0.pcap
//
// Virtual time starts at `Instant.zero`; what a scenario calls 0 comes `settle` later. At one instant, datagrams arrive
// first, then timers run out, then hosts send, each in the order of sites, so the same scenario and seed give the same
// bytes. A silence of hours in a capture is not lived through: see `Replay.longSilence`.

import Basics
import Captures
import Gateway
import Settings
import Tunnels

/// What a replay came to, for summaries.
public struct ReplayResult: Sendable {
    public struct Port: Sendable {
        public var name: String
        public var capture: String?
        /// Frames that the capture holds only a part of.
        public var cutFrames: UInt64
        /// Frames put on this LAN.
        public var framesOut: UInt64
    }

    public struct Site: Sendable {
        public var snapshot: GatewaySnapshot
        public var ports: [Port]
    }

    public struct Link: Sendable {
        public var from: String
        public var to: String
        public var tally: LinkTally
    }

    public var seed: UInt64
    /// Virtual time from 0 to the end.
    public var duration: Interval
    public var sites: [Site]
    public var links: [Link]
    /// Every site at the moments that the scenario names, ascending.
    public var snapshots: [(at: Interval, sites: [GatewaySnapshot])]
    /// Log lines in order, with virtual time from 0 (negative while settling).
    public var events: [(at: Interval, site: String, event: GatewayEvent)]
    /// Captures that ended early, and why.
    public var errors: [CaptureError]
}

public final class Replay {
    /// A silence longer than this, and longer than any site's `mac.ageing`, is shortened: gateways live through
    /// `silenceLived` of it, and again through the scenario's `settle` (at least 5 s) before the next frame, so that timers
    /// run out and tunnels stand again. Timestamps keep the whole silence.
    public static let longSilence = Interval.seconds(3600)
    static let silenceLived = Interval.seconds(60)

    private let scenario: ReplayScenario
    private let seed: UInt64
    private let zero: Instant
    private var sites: [ReplaySite] = []
    private var feeds: [CaptureFeed] = []
    private var wire: VirtualWire
    private var events: [(at: Interval, site: String, event: GatewayEvent)] = []
    private var snapshots: [(at: Interval, sites: [GatewaySnapshot])] = []

    /// Opens every capture and makes every gateway.
    /// - Parameters:
    ///   - outputDirectory: exists; receives `SITE.PORT.pcap` for every port.
    /// - Throws: `CaptureError` for a file that cannot be read as an Ethernet capture, or an output that cannot be written.
    public init(_ scenario: ReplayScenario, seed: UInt64, outputDirectory: String) throws(CaptureError) {
        self.scenario = scenario
        self.seed = seed
        zero = Instant.zero + scenario.settle
        wire = VirtualWire(sites: scenario.sites.count, seed: seed ^ 0x5749_5245)
        for link in scenario.links {
            let cuts =
                link.isUp ? link.cuts.map { zero + $0.from..<zero + $0.until } : [Instant.zero..<Instant.distantFuture]
            wire.setLink(
                link.a, link.b,
                LinkCharacter(delay: link.delay, lossMillionths: link.lossMillionths, mtu: link.mtu, cuts: cuts))
        }
        // Before any output is created: a file that cannot be read leaves the outputs of an earlier replay as they are.
        for index in scenario.sites.indices { try openFeeds(index) }
        alignFeeds()
        var random = SeededRandom(seed: seed)
        let identities = scenario.sites.map { _ in KeyPair.generate(using: &random) }
        let passes = scenario.hasPasses ? ReplayPasses(scenario.sites, identities, seed: seed) : nil
        for index in scenario.sites.indices {
            sites.append(
                try ReplaySite(
                    scenario.sites, index: index, identities: identities, passes: passes, seed: random.next(),
                    directory: outputDirectory))
        }
    }

    private func openFeeds(_ index: Int) throws(CaptureError) {
        for (number, port) in scenario.sites[index].ports.enumerated() {
            guard let capture = port.capture else { continue }
            var filter: PacketFilter?
            if let expression = port.filter { filter = try PacketFilter(expression: expression) }
            feeds.append(
                try CaptureFeed(
                    path: capture, site: index, port: PortIndex(number), filter: filter, offset: port.offset))
        }
    }

    private func alignFeeds() {
        let earliest = feeds.compactMap(\.firstTimestamp).min() ?? 0
        for feed in feeds {
            let origin = scenario.align == .absolute ? earliest : feed.firstTimestamp ?? 0
            feed.align(origin: origin, zero: zero)
        }
    }

    /// Runs to the end and closes the outputs.
    public func run() throws(CaptureError) -> ReplayResult {
        var lastFrame = zero
        var now = Instant.zero
        // While a long silence is skipped, no timer runs out before this.
        var floor = Instant.zero
        let longSilence = max(Replay.longSilence, scenario.sites.map(\.tuning.macAgeing).max() ?? .zero)
        let lingerLived = scenario.linger > longSilence ? Replay.silenceLived : scenario.linger
        while true {
            let nextFrame = feeds.map(\.nextFrame).min() ?? .distantFuture
            let nextTimer = sites.map(\.nextTimeout).min() ?? .distantFuture
            if nextFrame != .distantFuture && nextFrame - lastFrame > longSilence {
                let pause = max(scenario.settle, .seconds(5))
                if now - lastFrame > Replay.silenceLived { floor = max(floor, nextFrame - pause) }
            }
            // What is under way arrives when it is due, and is answered, before the clock leaps: afterwards sessions are gone.
            now = max(now, min(wire.nextArrival, max(floor, min(nextFrame, nextTimer))))
            let isOver = nextFrame == .distantFuture && now > lastFrame + lingerLived
            takeSnapshots(before: isOver ? lastFrame + lingerLived : now)
            if isOver { break }
            if let arrival = wire.nextArrived(by: now) {
                sites[arrival.to].handleDatagram(arrival.bytes, from: arrival.source, at: now)
                try flush(arrival.to, now)
            } else if nextTimer <= now {
                for index in sites.indices where sites[index].nextTimeout <= now {
                    sites[index].handleTimeout(at: now)
                    try flush(index, now)
                }
            } else {
                try sendFrames(now)
                lastFrame = now
            }
        }
        return try finish(at: lastFrame + scenario.linger)
    }

    /// Looks at every site at the moments that are named and have passed: after all that happened at that moment.
    private func takeSnapshots(before now: Instant) {
        while snapshots.count < scenario.snapshots.count {
            let at = scenario.snapshots[snapshots.count]
            guard zero + at < now else { return }
            snapshots.append((at, sites.map { $0.snapshot(at: zero + at) }))
        }
    }

    /// All frames that hosts send at this instant.
    private func sendFrames(_ now: Instant) throws(CaptureError) {
        for feed in feeds {
            while feed.nextFrame <= now, let frame = feed.takeFrame() {
                sites[feed.site].handleFrame(frame.bytes, isRefused: frame.isRefused, on: feed.port, at: now)
                if sites[feed.site].wantsDrain { try flush(feed.site, now) }
            }
        }
        for index in sites.indices { try flush(index, now) }
    }

    private func flush(_ index: Int, _ now: Instant) throws(CaptureError) {
        try sites[index].flush(at: now, since: zero)
        for (to, bytes) in sites[index].takeDatagrams() {
            wire.carry(bytes, from: index, to: to, source: ReplaySite.endpoint(of: index), at: now)
        }
        for event in sites[index].takeEvents() { events.append((now - zero, scenario.sites[index].name, event)) }
    }

    private func finish(at end: Instant) throws(CaptureError) -> ReplayResult {
        // Those from the end on show the end.
        takeSnapshots(before: .distantFuture)
        var results: [ReplayResult.Site] = []
        for index in sites.indices {
            try sites[index].close()
            let snapshot = sites[index].snapshot(at: end)
            let ports = scenario.sites[index].ports.enumerated().map { number, port in
                ReplayResult.Port(
                    name: port.name, capture: port.capture,
                    cutFrames: feeds.first { $0.site == index && $0.port.index == number }?.cutFrames ?? 0,
                    framesOut: snapshot[PortIndex(number), .framesOut])
            }
            results.append(ReplayResult.Site(snapshot: snapshot, ports: ports))
        }
        var links: [ReplayResult.Link] = []
        for from in sites.indices {
            for to in sites.indices where to != from {
                links.append(
                    ReplayResult.Link(
                        from: scenario.sites[from].name, to: scenario.sites[to].name, tally: wire.tally(from: from, to: to)))
            }
        }
        return ReplayResult(
            seed: seed, duration: end - zero, sites: results, links: links, snapshots: snapshots, events: events,
            errors: feeds.compactMap(\.error))
    }
}
