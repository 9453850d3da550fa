// The MAC table: the same answers as a plain model over random histories, and its promises one by one.

import Basics
import Buffers
import Testing

@testable import Switching

@Suite struct MACTableTests {
    private static func table(limit: Int, ageing: Interval = .seconds(300), peers: Int = 4, seed: UInt64 = 1) -> MACTable {
        var random = SeededRandom(seed: seed)
        return MACTable(
            limit: limit, ageing: ageing, locations: Location.count(peers: peers), secret: HashSecret(using: &random))
    }

    private static func address(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0000_0000 | UInt64(number)) }
    private static func port(_ number: Int) -> Location { Location(PortIndex(number)) }
    private static func peer(_ number: Int) -> Location { Location(PeerIndex(number)) }

    private static func name(_ outcome: MACTable.Outcome) -> String {
        switch outcome {
        case .learned: "learned"
        case .refreshed: "refreshed"
        case .refreshedLate: "refreshed late"
        case .moved(let from): "moved from \(from.rawValue)"
        case .ignored: "ignored"
        }
    }

    private static func rows(_ table: borrowing MACTable) -> [MACEntry] {
        (0..<table.limit).compactMap { table.row($0) }
    }

    /// How one history is made: a small table is full all the time, a large one ages.
    struct History: Sendable {
        var seed: UInt64
        var limit: Int
        var addresses: UInt64
        var ageing: Interval
    }

    private static let histories = [
        History(seed: 1, limit: 1, addresses: 4, ageing: .seconds(10)),
        History(seed: 2, limit: 7, addresses: 20, ageing: .seconds(60)),
        History(seed: 3, limit: 100, addresses: 150, ageing: .milliseconds(500)),
        History(seed: 4, limit: 64, addresses: 40, ageing: .nanoseconds(50)),
    ]

    @Test(arguments: histories)
    func agreesWithAPlainModel(_ history: History) {
        var random = SeededRandom(seed: history.seed)
        let locations = Location.count(peers: 4)
        var table = MACTableTests.table(limit: history.limit, ageing: history.ageing, seed: history.seed)
        var model = PlainTable(limit: history.limit, ageing: history.ageing, locations: locations)
        var now = Instant(nanoseconds: 5)
        for step in 0..<100_000 {
            // Time stands still, creeps, or jumps.
            switch random.next() % 64 {
            case 0: now = now + history.ageing / 2
            case 1: now = now + history.ageing + .nanoseconds(1)
            case 2...10: now = now + history.ageing / 100
            case 11...20: now = now + history.ageing / 64
            default: break
            }
            var address = MACTableTests.address(Int(random.next() % history.addresses))
            if random.next() % 50 == 0 {
                address = [.zero, .broadcast, MACAddress(rawValue: 0x0100_5E00_0001)][Int(random.next() % 3)]
            }
            let vlan = [VLAN.untagged, VLAN(rawValue: 10), VLAN(identifier: 10, isService: true)][Int(random.next() % 3)]
            let key = PlainKey(address: address, vlan: vlan)
            let location = Location(rawValue: UInt16(random.next() % 3 == 0 ? random.next() % UInt64(locations) : 1))
            switch random.next() % 100 {
            case 0:
                let budget = Int(random.next() % 5)
                #expect(table.expire(at: now, budget: budget) == model.expire(at: now, budget: budget))
            case 1 where random.next() % 8 == 0:
                table.forget(location)
                model.forget(location)
                #expect(table.count(at: location) == 0)
            case 2...49: #expect(table.lookup(address, on: vlan, at: now) == model.lookup(key, at: now))
            default:
                let outcome = MACTableTests.name(table.learn(address, on: vlan, from: location, at: now))
                #expect(outcome == model.learn(key, from: location, at: now))
            }
            if step % 997 == 0 {
                table.checkInvariants()
                #expect(Set(MACTableTests.rows(table)) == model.entries && MACTableTests.rows(table).count == model.count)
            }
        }
        #expect(table.count == model.count && table.moves == model.moves && table.evictions == model.evictions)
        for index in 0..<locations {
            let location = Location(rawValue: UInt16(index))
            #expect(table.count(at: location) == model.count(at: location))
        }
        #expect(history.limit > 60 || table.evictions > 1_000)
    }

    // MARK: Promises

    @Test func locations() {
        #expect(MACTableTests.port(15).port == PortIndex(15) && MACTableTests.port(15).peer == nil)
        #expect(MACTableTests.peer(0).peer == PeerIndex(0) && MACTableTests.peer(0).port == nil)
        #expect(MACTableTests.peer(255).index == Location.count(peers: 256) - 1)
        #expect(MACTableTests.port(0) != MACTableTests.peer(0))
    }

    @Test func groupAndZeroSourcesAreNobodys() {
        var table = MACTableTests.table(limit: 4)
        for raw: UInt64 in [0, 0xFFFF_FFFF_FFFF, 0x0100_5E00_0001, 0x3333_0000_0001, 0x0180_C200_0000, 0x0300_0000_0000] {
            let outcome = table.learn(MACAddress(rawValue: raw), on: .untagged, from: MACTableTests.port(0), at: .zero)
            #expect(MACTableTests.name(outcome) == "ignored")
            #expect(table.lookup(MACAddress(rawValue: raw), on: .untagged, at: .zero) == nil)
        }
        #expect(table.count == 0)
    }

    @Test func vlansAreSeparate() {
        var table = MACTableTests.table(limit: 8)
        let vlans = [
            VLAN.untagged, VLAN(rawValue: 10), VLAN(rawValue: 11), VLAN(identifier: 10, isService: true), VLAN(rawValue: 4_095),
        ]
        for (index, vlan) in vlans.enumerated() {
            _ = table.learn(MACTableTests.address(1), on: vlan, from: MACTableTests.port(index), at: .zero)
        }
        for (index, vlan) in vlans.enumerated() {
            #expect(table.lookup(MACTableTests.address(1), on: vlan, at: .zero) == MACTableTests.port(index))
        }
        #expect(table.count == 5 && table.moves == 0)
        #expect(table.lookup(MACTableTests.address(1), on: VLAN(rawValue: 12), at: .zero) == nil)
        #expect(Set(MACTableTests.rows(table).map(\.vlan)) == Set(vlans))
    }

    /// An entry dies `ageing` after it was last seen, to within the granularity of a sighting.
    @Test func ageingIsExactToItsGranularity() {
        let ageing = Interval.seconds(64)
        var table = MACTableTests.table(limit: 4, ageing: ageing)
        let one = MACTableTests.address(1)
        func lookup(_ at: Instant) -> Bool { table.lookup(one, on: .untagged, at: at) != nil }
        let start = Instant(nanoseconds: 1_000)
        _ = table.learn(one, on: .untagged, from: MACTableTests.port(0), at: start)
        #expect(lookup(start + ageing) && !lookup(start + ageing + .nanoseconds(1)))
        // A sighting closer than a second to the last changes nothing, one at a second does.
        _ = table.learn(one, on: .untagged, from: MACTableTests.port(0), at: start + .seconds(1) - .nanoseconds(1))
        #expect(!lookup(start + ageing + .nanoseconds(1)))
        _ = table.learn(one, on: .untagged, from: MACTableTests.port(0), at: start + .seconds(1))
        #expect(lookup(start + ageing + .seconds(1)) && !lookup(start + ageing + .seconds(1) + .nanoseconds(1)))
        #expect(table.expire(at: start + ageing + .seconds(1), budget: 9) == 0)
        #expect(table.expire(at: start + ageing + .seconds(1) + .nanoseconds(1), budget: 9) == 1)
        #expect(table.count == 0)
        table.checkInvariants()
        // A move counts as a sighting at once.
        _ = table.learn(one, on: .untagged, from: MACTableTests.port(0), at: start)
        _ = table.learn(one, on: .untagged, from: MACTableTests.port(1), at: start + .nanoseconds(9))
        #expect(lookup(start + ageing + .nanoseconds(9)) && !lookup(start + ageing + .nanoseconds(10)))
        table.checkInvariants()
    }

    @Test func expiryKeepsToItsBudget() {
        var table = MACTableTests.table(limit: 100, ageing: .seconds(1))
        for number in 0..<100 {
            _ = table.learn(MACTableTests.address(number), on: .untagged, from: MACTableTests.port(number % 3), at: .zero)
        }
        let late = Instant.zero + .seconds(2)
        #expect(table.expire(at: late, budget: 0) == 0)
        #expect(table.expire(at: late, budget: 33) == 33)
        table.checkInvariants()
        #expect(table.expire(at: late, budget: 1_000) == 67 && table.count == 0)
        table.checkInvariants()
    }

    /// A port that invents sources pushes out its own entries only, as long as it has the most.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func aFloodingPortDisplacesOnlyItself(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var table = MACTableTests.table(limit: 1_000, seed: seed)
        let attacker = MACTableTests.port(2)
        // Honest hosts: 200 on each of two ports, 300 behind a peer, never seen again.
        let honest = (0..<700).map { number in
            (MACTableTests.address(number), number < 400 ? MACTableTests.port(number % 2) : MACTableTests.peer(1))
        }
        for (address, location) in honest { _ = table.learn(address, on: .untagged, from: location, at: .zero) }
        var now = Instant.zero
        var evictionsBefore: UInt64 = 0
        for step in 0..<20_000 {
            now = now + .microseconds(10)
            let invented = MACAddress(rawValue: 0x0600_0000_0000 | random.next() % (1 << 40))
            // While the attacker has the most, everybody else keeps what he has.
            let hadMost = table.count(at: attacker) > 300
            let others = table.count - table.count(at: attacker)
            _ = table.learn(invented, on: .untagged, from: attacker, at: now)
            if hadMost { #expect(table.count - table.count(at: attacker) == others) }
            if step % 1_000 == 0 { table.checkInvariants() }
            evictionsBefore = table.evictions
        }
        #expect(table.count == 1_000 && evictionsBefore > 19_000)
        // At the moment when both have 300, one entry of the peer's may go; no more.
        let gone = honest.count { table.lookup($0.0, on: .untagged, at: now) != $0.1 }
        #expect(gone <= 1)
        #expect(table.lookup(MACTableTests.address(0), on: .untagged, at: now) == MACTableTests.port(0))
    }

    /// Several flooding ports end up with equal shares, and an honest port below its share keeps everything.
    @Test func floodingPortsShare() {
        var random = SeededRandom(seed: 4)
        var table = MACTableTests.table(limit: 900)
        for number in 0..<200 {
            _ = table.learn(MACTableTests.address(number), on: .untagged, from: MACTableTests.port(0), at: .zero)
        }
        for step in 0..<30_000 {
            let invented = MACAddress(rawValue: 0x0600_0000_0000 | random.next() % (1 << 40))
            _ = table.learn(
                invented, on: .untagged, from: MACTableTests.port(1 + step % 2), at: .zero + .microseconds(Int64(step)))
        }
        #expect(table.count(at: MACTableTests.port(0)) == 200)
        #expect(abs(table.count(at: MACTableTests.port(1)) - 350) <= 1 && abs(table.count(at: MACTableTests.port(2)) - 350) <= 1)
        table.checkInvariants()
    }

    /// The oldest goes first: what is seen again and again stays.
    @Test func whatIsSeenOftenStays() {
        var table = MACTableTests.table(limit: 10)
        let faithful = MACTableTests.address(0)
        for step in 0..<1_000 {
            let now = Instant.zero + .seconds(Int64(step) * 2)
            _ = table.learn(faithful, on: .untagged, from: MACTableTests.port(0), at: now)
            _ = table.learn(MACTableTests.address(step + 1), on: .untagged, from: MACTableTests.port(0), at: now)
        }
        #expect(table.lookup(faithful, on: .untagged, at: .zero + .seconds(2_000)) == MACTableTests.port(0))
        #expect(table.evictions == 991 && table.count == 10)
    }

    @Test func forgettingALocationFreesItsPlaces() {
        var table = MACTableTests.table(limit: 50)
        for number in 0..<50 {
            _ = table.learn(MACTableTests.address(number), on: .untagged, from: MACTableTests.peer(number % 2), at: .zero)
        }
        table.forget(MACTableTests.peer(0))
        table.forget(MACTableTests.peer(0))
        table.forget(MACTableTests.port(0))
        table.checkInvariants()
        #expect(table.count == 25 && table.evictions == 0)
        for number in 0..<50 {
            let place = table.lookup(MACTableTests.address(number), on: .untagged, at: .zero)
            #expect(place == (number % 2 == 0 ? nil : MACTableTests.peer(1)))
        }
        for number in 100..<125 {
            _ = table.learn(MACTableTests.address(number), on: .untagged, from: MACTableTests.port(0), at: .zero)
        }
        #expect(table.count == 50 && table.evictions == 0)
        table.checkInvariants()
    }
}
