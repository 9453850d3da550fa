// Which audiences have a stream, with whom, and for how long: the book by itself, and a walk through random events that has to
// keep its invariants.

import Basics
import Testing
import Tunnels

@testable import Gateway

/// A book and a clock.
private struct Lab {
    var book: AudienceBook
    var now = Instant.zero
    var random = SeededRandom(seed: 3)
    var actions: [AudienceBook.Action] = []

    init(groups: Int = 4, rekeyTime: Interval = .seconds(120)) { book = AudienceBook(groups: groups, rekeyTime: rekeyTime) }

    mutating func wish(_ sets: [[Int]], uses: [UInt64] = []) {
        let wishes = sets.enumerated().map {
            AudienceBook.Wish(members: audience($1), use: $0 < uses.count ? uses[$0] : 0)
        }
        book.handleWishes(wishes, cipher: { _ in .chacha20poly1305 }, random: &random, at: now)
        take()
    }

    mutating func pass(_ interval: Interval) {
        let end = now + interval
        while book.nextTimeout <= end {
            now = max(now, book.nextTimeout)
            book.handleTimeout(cipher: { _ in .chacha20poly1305 }, random: &random, at: now)
            take()
        }
        now = end
    }

    /// All that were given a key say that they have it.
    mutating func answer() {
        for case .give(let peer, let stream, _, _) in actions { book.handleTaken(stream, by: peer, at: now) }
        take()
    }

    private mutating func take() {
        while let action = book.pollAction() { actions.append(action) }
        book.checkInvariants()
    }

    mutating func took() -> [AudienceBook.Action] {
        defer { actions = [] }
        while let action = book.pollAction() { actions.append(action) }
        return actions
    }

    /// Members of the audiences in use, in order.
    var inUse: [PeerSet] { book.audiences.compactMap { $0?.stream == nil ? nil : $0?.members }.sorted() }
}

private func audience(_ members: [Int]) -> PeerSet { PeerSet(members.map { PeerIndex($0) }) }

@Suite struct AudienceBookTests {
    @Test func everyMemberIsAskedAndTheStreamIsUsedOnceAllHaveIt() {
        var lab = Lab()
        lab.wish([[1, 2, 5]])
        let given = lab.took()
        #expect(given.count == 3)
        guard case .give(let first, let stream, _, let key) = given[0] else { return #expect(Bool(false)) }
        #expect(first == PeerIndex(1))
        lab.book.handleTaken(stream, by: PeerIndex(1), at: lab.now)
        lab.book.handleTaken(stream, by: PeerIndex(1), at: lab.now)
        lab.book.handleTaken(stream, by: PeerIndex(7), at: lab.now)
        lab.book.handleTaken(stream, by: PeerIndex(5), at: lab.now)
        #expect(lab.took().isEmpty && lab.inUse.isEmpty)
        lab.book.handleTaken(stream, by: PeerIndex(2), at: lab.now)
        #expect(lab.took() == [.install(group: 0, audience([1, 2, 5]), stream: stream, .chacha20poly1305, key: key)])
        #expect(lab.inUse == [audience([1, 2, 5])])
    }

    @Test func aRefusalEndsTheAttemptForAWhile() {
        var lab = Lab()
        lab.wish([[1, 2]])
        guard case .give(_, let stream, _, _) = lab.took()[0] else { return #expect(Bool(false)) }
        lab.book.handleTaken(stream, by: PeerIndex(1), at: lab.now)
        lab.book.handleRefused(stream, by: PeerIndex(2), at: lab.now)
        #expect(lab.took() == [.gone(PeerIndex(1), stream: stream), .gone(PeerIndex(2), stream: stream)])
        lab.pass(.seconds(59))
        lab.wish([[1, 2]])
        #expect(lab.took().isEmpty)
        lab.pass(.seconds(1))
        lab.wish([[1, 2]])
        #expect(lab.took().count == 2)
    }

    @Test func whoSaysNothingHasRefused() {
        var lab = Lab()
        lab.wish([[1, 2]])
        #expect(lab.took().count == 2)
        lab.pass(.seconds(9))
        #expect(lab.took().isEmpty)
        lab.pass(.seconds(2))
        #expect(lab.took().count == 2 && lab.book.failed == 1)
        lab.answer()
        #expect(lab.inUse.isEmpty)
    }

    @Test func aLostMemberEndsAllItsStreams() {
        var lab = Lab()
        lab.wish([[1, 2], [2, 3], [1, 3]])
        lab.answer()
        #expect(lab.inUse.count == 3)
        let former = Set(lab.book.audiences.compactMap { $0?.stream })
        _ = lab.took()
        lab.book.handleLost(PeerIndex(2), at: lab.now)
        #expect(lab.inUse == [audience([1, 3])])
        let removed = lab.took().filter { if case .remove = $0 { true } else { false } }
        #expect(removed == [.remove(group: 0), .remove(group: 1)])
        // All are told later: what is under way can still be opened, and the lost one may have been sent the key just now.
        #expect(lab.took().isEmpty)
        lab.pass(.seconds(5))
        #expect(lab.took().count { if case .gone = $0 { true } else { false } } == 4)
        lab.wish([[1, 2], [2, 3], [1, 3]])
        lab.answer()
        #expect(lab.inUse.count == 3)
        #expect(former.intersection(lab.book.audiences.compactMap { $0?.stream }).count == 1, "a new number for each new key")
    }

    @Test func aMemberThatIsLostBeforeItAnswersIsAskedAnew() {
        var lab = Lab()
        lab.wish([[1, 2]])
        lab.book.handleLost(PeerIndex(1), at: lab.now)
        lab.answer()
        #expect(lab.inUse.isEmpty)
        _ = lab.took()
        lab.wish([[1, 2]])
        #expect(lab.took().count == 2)
    }

    @Test func renewalsOverlap() {
        var lab = Lab(rekeyTime: .seconds(60))
        lab.wish([[1, 2]])
        lab.answer()
        let first = lab.book.audiences[0]?.stream
        _ = lab.took()
        for _ in 0..<12 {
            lab.pass(.seconds(5))
            lab.wish([[1, 2]])
        }
        let given = lab.took()
        #expect(given.count == 2, "\(given)")
        #expect(lab.book.audiences[0]?.stream == first, "the old one is used until all have the new one")
        for case .give(let peer, let stream, _, _) in given { lab.book.handleTaken(stream, by: peer, at: lab.now) }
        #expect(lab.took().count == 1 && lab.book.audiences[0]?.stream != first)
        lab.pass(.seconds(5))
        #expect(lab.took() == [.gone(PeerIndex(1), stream: first!), .gone(PeerIndex(2), stream: first!)])
    }

    @Test func aRenewalThatFailsLeavesTheOldKeyUntilItsEnd() {
        var lab = Lab(rekeyTime: .seconds(60))
        lab.wish([[1, 2]])
        lab.answer()
        for _ in 0..<18 {
            lab.pass(.seconds(5))
            lab.wish([[1, 2]])
            #expect(lab.inUse.count == 1)
        }
        for _ in 0..<4 {
            lab.pass(.seconds(5))
            lab.wish([[1, 2]])
        }
        #expect(lab.inUse.isEmpty, "a key has an end")
    }

    @Test func onlyFewAreRenewedAtOnce() {
        var lab = Lab(groups: 16, rekeyTime: .seconds(60))
        let sets = (1...12).map { [0, $0] }
        lab.wish(sets)
        lab.answer()
        #expect(lab.inUse.count == 12)
        _ = lab.took()
        for _ in 0..<12 {
            lab.pass(.seconds(5))
            lab.wish(sets)
        }
        #expect(lab.book.audiences.count { $0?.begun != nil } == 4)
        for _ in 0..<3 {
            lab.answer()
            lab.pass(.seconds(1))
        }
        lab.answer()
        #expect(lab.inUse.count == 12 && lab.book.installed == 24)
    }

    @Test func placesAreForThoseThatAreUsedMost() {
        var lab = Lab(groups: 2)
        lab.wish([[1, 2], [1, 3], [1, 4]], uses: [10, 10, 10])
        lab.answer()
        #expect(lab.inUse == [audience([1, 2]), audience([1, 3])].sorted())
        // A little more is no reason.
        lab.pass(.seconds(5))
        lab.wish([[1, 4], [1, 2], [1, 3]], uses: [19, 10, 10])
        lab.answer()
        #expect(lab.inUse == [audience([1, 2]), audience([1, 3])].sorted())
        lab.pass(.seconds(5))
        lab.wish([[1, 4], [1, 2], [1, 3]], uses: [100, 20, 10])
        #expect(lab.inUse == [audience([1, 2])])
        lab.pass(.seconds(5))
        lab.wish([[1, 4], [1, 2], [1, 3]], uses: [100, 20, 10])
        lab.answer()
        #expect(lab.inUse == [audience([1, 2]), audience([1, 4])].sorted())
    }

    @Test func whatNobodyWantsGoesAfterAWhile() {
        var lab = Lab()
        lab.wish([[1, 2], [1, 3]])
        lab.answer()
        for _ in 0..<5 {
            lab.pass(.seconds(5))
            lab.wish([[1, 2]])
        }
        #expect(lab.inUse.count == 2, "somebody may want it again")
        lab.pass(.seconds(5))
        lab.wish([[1, 2]])
        #expect(lab.inUse == [audience([1, 2])])
    }

    @Test func withoutACommonCipherThereIsNoStream() {
        var lab = Lab()
        lab.book.handleWishes(
            [AudienceBook.Wish(members: audience([1, 2]), use: 1)], cipher: { _ in nil }, random: &lab.random, at: lab.now)
        #expect(lab.took().isEmpty)
        lab.book.checkInvariants()
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>) func randomEventsKeepTheInvariants(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var lab = Lab(groups: 5, rekeyTime: .seconds(20))
        var keys: [UInt32: Int] = [:]
        var used: Set<UInt32> = []
        var gone: Set<UInt32> = []
        for step in 0..<2_000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0, 1:
                let sets = Set(
                    (0..<8).map { _ in
                        PeerSet(
                            (0..<Int.random(in: 2...4, using: &random)).map { _ in
                                PeerIndex(Int.random(in: 0..<6, using: &random))
                            })
                    }
                ).filter { $0.count > 1 }.sorted()
                lab.wish(sets.map { $0.members.map(\.index) }, uses: sets.map { _ in UInt64.random(in: 0..<100, using: &random) })
            case 2: lab.book.handleLost(PeerIndex(Int.random(in: 0..<6, using: &random)), at: lab.now)
            case 3: lab.pass(.milliseconds(Int64.random(in: 0..<8_000, using: &random)))
            case 4: lab.book.handleRenewalDue(Int.random(in: 0..<6, using: &random), at: lab.now)
            default:
                let begun = lab.book.audiences.compactMap { $0?.begun }
                guard let one = begun.randomElement(using: &random) else { continue }
                let peer = PeerIndex(Int.random(in: 0..<6, using: &random))
                if Int.random(in: 0..<12, using: &random) == 0 {
                    lab.book.handleRefused(one.stream, by: peer, at: lab.now)
                } else {
                    lab.book.handleTaken(one.stream, by: peer, at: lab.now)
                }
            }
            for action in lab.took() {
                switch action {
                case .give(_, let stream, _, _): keys[stream] = step
                case .install(_, _, let stream, _, _):
                    #expect(keys[stream] != nil && used.insert(stream).inserted && !gone.contains(stream))
                case .gone(_, let stream): gone.insert(stream)
                case .remove: break
                }
            }
            lab.book.checkInvariants()
        }
        #expect(used.count > 10, "\(used.count) streams were used")
    }
}
