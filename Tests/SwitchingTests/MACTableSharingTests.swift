// Several MAC tables that are to know the same hosts: what is news to the others, how often, and that the newest sighting wins
// in whatever order the news comes.

import Basics
import Buffers
import Testing

@testable import Switching

@Suite struct MACTableSharingTests {
    private static func table(limit: Int = 64, ageing: Interval = .seconds(80), isShared: Bool = true) -> MACTable {
        var random = SeededRandom(seed: 3)
        return MACTable(
            limit: limit, ageing: ageing, locations: Location.count(peers: 2), secret: HashSecret(using: &random),
            isShared: isShared)
    }

    private static func address(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0000_0000 | UInt64(number)) }
    private static let port = Location(PortIndex(0))
    private static let other = Location(PortIndex(1))
    private static let peer = Location(PeerIndex(1))

    private static func entry(_ number: Int, _ location: Location, seen: Instant) -> MACEntry {
        MACEntry(address: address(number), vlan: .untagged, location: location, seen: seen)
    }

    private static func second(_ number: Int64) -> Instant { .zero + .seconds(number) }

    /// What is news of one host that sends at these seconds.
    private func news(_ table: inout MACTable, at seconds: [Int64], from location: Location = port) -> [Int64] {
        seconds.filter {
            table.learn(Self.address(1), on: .untagged, from: location, at: Self.second($0)).isNews
        }
    }

    @Test func outcomesThatAreNews() {
        typealias Outcome = MACTable.Outcome
        #expect(Outcome.learned.isNews && Outcome.moved(from: Self.port).isNews && Outcome.refreshedLate.isNews)
        #expect(!Outcome.refreshed.isNews && !Outcome.ignored.isNews)
    }

    /// The others hear of a host at once, and then of one that stays each eighth of the ageing time.
    @Test func aHostThatStaysIsNewsNowAndThen() {
        var table = Self.table()
        let heard = news(&table, at: Array(0...40))
        #expect(heard == [0, 10, 20, 30, 40])
        var alone = Self.table(isShared: false)
        let unshared = news(&alone, at: Array(0...40))
        #expect(unshared == [0])
    }

    @Test func aMoveIsNewsAndBeginsAnew() {
        var table = Self.table()
        let first = news(&table, at: [0, 5])
        let moved = news(&table, at: [6, 9, 15, 16], from: Self.peer)
        #expect(first == [0] && moved == [6, 16])
    }

    @Test func shortAgeingIsToldEachSecond() {
        var table = Self.table(ageing: .seconds(4))
        let heard = news(&table, at: [0, 1, 2, 3])
        #expect(heard == [0, 1, 2, 3])
    }

    /// What could not be told is told with the next sighting that counts.
    @Test func whatWasNotToldIsToldNext() {
        var table = Self.table()
        _ = table.learn(Self.address(1), on: .untagged, from: Self.port, at: Self.second(0))
        table.noteUntold(Self.address(1), on: .untagged)
        let heard = news(&table, at: [1, 2, 3, 11])
        #expect(heard == [1, 11])
        table.noteUntold(Self.address(9), on: .untagged)  // unknown: nothing happens
        #expect(table.count == 1)
    }

    // MARK: adopt

    @Test func whatIsAdoptedIsKnownAndNoNewsForTheOthers() {
        var table = Self.table()
        table.adopt(Self.entry(1, Self.peer, seen: Self.second(1)), at: Self.second(2))
        #expect(table.lookup(Self.address(1), on: .untagged, at: Self.second(2)) == Self.peer)
        #expect(table.count == 1 && table.moves == 0)
        // Told by another when it was seen: this one has its turn an eighth of the ageing time later.
        let heard = news(&table, at: [3, 11, 12, 13], from: Self.peer)
        #expect(heard == [11])
    }

    @Test func theNewestSightingWins() {
        var table = Self.table()
        _ = table.learn(Self.address(1), on: .untagged, from: Self.port, at: Self.second(10))
        table.adopt(Self.entry(1, Self.peer, seen: Self.second(9)), at: Self.second(11))
        #expect(table.lookup(Self.address(1), on: .untagged, at: Self.second(11)) == Self.port, "older news")
        table.adopt(Self.entry(1, Self.peer, seen: Self.second(10)), at: Self.second(11))
        #expect(table.lookup(Self.address(1), on: .untagged, at: Self.second(11)) == Self.port, "as old")
        table.adopt(Self.entry(1, Self.peer, seen: Self.second(11)), at: Self.second(12))
        #expect(table.lookup(Self.address(1), on: .untagged, at: Self.second(12)) == Self.peer)
        #expect(table.moves == 1 && table.count(at: Self.port) == 0 && table.count(at: Self.peer) == 1)
    }

    /// News that is late is as old as it is: the move behind it wins though both are adopted at one moment.
    @Test func lateNewsIsNotNew() {
        var table = Self.table()
        table.adopt(Self.entry(1, Self.port, seen: Self.second(1)), at: Self.second(5))
        table.adopt(Self.entry(1, Self.other, seen: Self.second(2)), at: Self.second(5))
        #expect(table.lookup(Self.address(1), on: .untagged, at: Self.second(5)) == Self.other)
        // And a sighting of our own between the two is older than the move, and newer than what came before.
        _ = table.learn(Self.address(2), on: .untagged, from: Self.port, at: Self.second(6))
        table.adopt(Self.entry(2, Self.other, seen: Self.second(5)), at: Self.second(9))
        #expect(table.lookup(Self.address(2), on: .untagged, at: Self.second(9)) == Self.port)
        table.checkInvariants()
    }

    @Test func newsFromBeforeTheAgeingTimeIsNone() {
        var table = Self.table()
        table.adopt(Self.entry(1, Self.port, seen: Self.second(0)), at: Self.second(81))
        #expect(table.count == 0)
    }

    /// Entries age by when they were seen, not by when this table heard of them.
    @Test func adoptedEntriesAgeInOrder() {
        var table = Self.table()
        _ = table.learn(Self.address(1), on: .untagged, from: Self.port, at: Self.second(10))
        table.adopt(Self.entry(2, Self.port, seen: Self.second(3)), at: Self.second(11))
        table.adopt(Self.entry(3, Self.port, seen: Self.second(7)), at: Self.second(11))
        table.checkInvariants()
        #expect(table.expire(at: Self.second(84), budget: 10) == 1)
        #expect(table.lookup(Self.address(2), on: .untagged, at: Self.second(84)) == nil)
        #expect(table.expire(at: Self.second(88), budget: 10) == 1 && table.count == 1)
    }

    /// Two tables, hosts that move about, news up to half a second late and in any order: both end with the newest sighting, as
    /// long as no host is seen again before the news of it has come. (Else the next news of it puts it right.)
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func tablesAgree(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var a = Self.table(limit: 1_000)
        var b = Self.table(limit: 1_000)
        var untold: [(isForA: Bool, entry: MACEntry)] = []
        var newest: [Int: (location: Location, seen: Instant)] = [:]
        var now = Instant.zero
        for step in 0..<5_000 {
            now = now + .milliseconds(Int64(random.next() % 20) + 1)
            let number = Int(random.next() % 200)
            let location = [Self.port, Self.other, Self.peer][Int(random.next() % 3)]
            let isA = random.next() % 2 == 0
            if now - (newest[number]?.seen ?? .zero - .seconds(9)) > .milliseconds(1_100) {
                let outcome =
                    isA
                    ? a.learn(Self.address(number), on: .untagged, from: location, at: now)
                    : b.learn(Self.address(number), on: .untagged, from: location, at: now)
                newest[number] = (location, now)
                if outcome.isNews { untold.append((!isA, Self.entry(number, location, seen: now))) }
            }
            guard step % 40 == 0 || step == 4_999 else { continue }
            untold.shuffle(using: &random)
            while let (isForA, entry) = untold.popLast() {
                if isForA { a.adopt(entry, at: now) } else { b.adopt(entry, at: now) }
            }
            a.checkInvariants()
            b.checkInvariants()
            for (number, host) in newest where now - host.seen < .seconds(60) {
                let (inA, inB) = (
                    a.lookup(Self.address(number), on: .untagged, at: now),
                    b.lookup(Self.address(number), on: .untagged, at: now)
                )
                #expect(inA == host.location && inB == host.location, "host \(number) at \(now)")
            }
        }
        #expect(a.moves > 100 && b.moves > 100)
    }
}
