// The control channel when an end restarts, forgets, begins again, or hears nonsense.

import Basics
import Buffers
import Testing

@testable import Tunnels

@Suite struct ControlChannelFaultTests {
    /// A data segment of one whole message.
    private func data(_ stream: UInt64, _ sequence: UInt32, oldest: UInt32 = 0, _ payload: [UInt8] = [1]) -> [UInt8] {
        ControlSegment.data(stream: stream, sequence: sequence, oldest: oldest, isLast: true, payload: payload).encoded
    }

    // MARK: Beginnings

    @Test func beginForgetsWhatWasUnderwayAndOldSegmentsDoNotResurrectIt() {
        let a = End()
        let b = End()
        a.begin(stream: 1, at: ms(0))
        for number in 0..<3 as Range<UInt8> { #expect(a.send([number], at: ms(0))) }
        let old = a.pollSegments(at: ms(0))
        b.handle(old[0], at: ms(5))
        #expect(b.pollEvents() == [.began(1), .message([0])])
        let oldAck = b.pollSegments(at: ms(5))
        a.begin(stream: 2, at: ms(6))
        #expect(a.isIdle && a.sendStream == 2 && a.send([9], at: ms(6)))
        let new = a.pollSegments(at: ms(6))
        #expect(new == [data(2, 0, [9])])
        b.handle(new[0], at: ms(10))
        #expect(b.pollEvents() == [.began(2), .message([9])])
        // The old ones arrive late: refused, and one reset for both, which its sender does not mind.
        b.handle(old[1], at: ms(11))
        b.handle(old[2], at: ms(12))
        #expect(b.pollEvents().isEmpty && b.receiveStream == 2 && b.counters.refused == 2)
        let answers = b.pollSegments(at: ms(12))
        #expect(
            answers.map { ControlSegment($0) } == [.reset(stream: 1, newest: 2), .ack(stream: 2, next: 1, bitmap: 0)])
        for answer in oldAck + answers { a.handle(answer, at: ms(15)) }
        #expect(a.pollEvents().isEmpty && a.isIdle)
    }

    @Test func aBeginningIsWithinTheWindowAndRaisedOnce() {
        let b = End()
        b.handle(data(1, 64), at: ms(0))
        #expect(b.pollEvents().isEmpty && b.receiveStream == 0 && b.counters.overruns == 1)
        b.handle(data(1, 63), at: ms(0))
        b.handle(data(1, 1), at: ms(0))
        b.handle(data(1, 1), at: ms(0))
        #expect(b.pollEvents() == [.began(1)] && b.counters.duplicates == 1)
        #expect(b.pollSegments(at: ms(0)) == [ControlSegment.ack(stream: 1, next: 0, bitmap: 1 << 62 | 1).encoded])
        b.handle(data(1, 0), at: ms(0))
        #expect(b.pollEvents() == [.message([1]), .message([1])])
        // 2 to 65 are within, 66 is not.
        b.handle(data(1, 66), at: ms(0))
        #expect(b.counters.overruns == 2)
        b.handle(data(1, 65), at: ms(0))
        #expect(b.pollSegments(at: ms(0)) == [ControlSegment.ack(stream: 1, next: 2, bitmap: 1 << 62 | 1 << 60).encoded])
    }

    @Test func aNewBeginningMakesUnfetchedMessagesStale() {
        let b = End()
        b.handle(data(1, 0, [1]), at: ms(0))
        b.handle(data(2, 0, [2]), at: ms(0))
        #expect(b.pollEvents() == [.began(2), .message([2])])
    }

    @Test func aNumberThatIsNotLargerIsReplacedByOneThatIs() {
        let a = End()
        a.begin(stream: 10, at: ms(0))
        a.begin(stream: 10, at: ms(0))
        #expect(a.sendStream == 11)
        a.begin(stream: 5, at: ms(0))
        #expect(a.sendStream == 12)
        a.begin(stream: 100, at: ms(0))
        #expect(a.sendStream == 100)
    }

    // MARK: Lost streams

    @Test func forgetThenResetThenResyncThenBegin() {
        var wire = ControlWire()
        wire.ends[0].begin(stream: 1, at: ms(0))
        #expect(wire.ends[0].send([1], at: ms(0)))
        wire.settle(0)
        wire.run(until: ms(100))
        #expect(wire.events[1] == [.began(1), .message([1])])
        wire.ends[1].forget(at: ms(100))
        #expect(wire.ends[1].receiveStream == 0)
        // The idle sender's probe finds it out.
        wire.run(until: ms(5_100))
        #expect(wire.events[0] == [.resyncWanted] && wire.ends[0].counters.resyncs == 1)
        #expect(!wire.ends[0].hasRoom && wire.ends[0].isIdle)
        // Until the new beginning, silence.
        let segments = wire.segments
        wire.run(until: ms(60_000))
        #expect(wire.segments == segments && wire.events[0].count == 1)
        wire.ends[0].begin(stream: 2, at: wire.now)
        #expect(wire.ends[0].send([2], at: wire.now))
        wire.settle(0)
        wire.run(until: ms(60_100))
        #expect(wire.events[1] == [.began(1), .message([1]), .began(2), .message([2])])
        #expect(wire.events[0].count == 1 && wire.dishonest == 0)
    }

    @Test func aForgottenStreamIsRefusedWhateverComesOfIt() {
        let b = End()
        b.handle(data(5, 0), at: ms(0))
        b.handle(data(5, 2), at: ms(0))
        b.forget(at: ms(0))
        // Neither what was not fetched nor an acknowledgement that was owed.
        #expect(b.pollEvents().isEmpty && b.pollSegments(at: ms(0)).isEmpty)
        let reset = ControlSegment.reset(stream: 5, newest: 5).encoded
        // At most one reset in 200 ms; of older streams too.
        b.handle(data(5, 0), at: ms(1_000))
        b.handle(ControlSegment.probe(stream: 5, oldest: 0).encoded, at: ms(1_100))
        #expect(b.pollSegments(at: ms(1_100)) == [reset])
        b.handle(data(5, 1), at: ms(1_199))
        #expect(b.pollSegments(at: ms(1_199)).isEmpty)
        b.handle(ControlSegment.probe(stream: 5, oldest: 1).encoded, at: ms(1_200))
        #expect(b.pollSegments(at: ms(1_200)) == [reset])
        b.handle(data(4, 0), at: ms(1_400))
        #expect(b.pollSegments(at: ms(1_400)) == [ControlSegment.reset(stream: 4, newest: 5).encoded])
        #expect(b.counters.refused == 5 && b.pollEvents().isEmpty && b.receiveStream == 0)
        // Any other sign of life makes it ask too; a reset does not, or two that have forgotten would never be quiet.
        b.handle(ControlSegment.reset(stream: 9, newest: 9).encoded, at: ms(2_000))
        #expect(b.pollSegments(at: ms(2_000)).isEmpty)
        b.handle(ControlSegment.ack(stream: 9, next: 0, bitmap: 0).encoded, at: ms(2_000))
        #expect(b.pollSegments(at: ms(2_000)) == [reset])
        b.handle(data(6, 0, [7]), at: ms(2_100))
        #expect(b.pollEvents() == [.began(6), .message([7])])
    }

    @Test func resyncIsWantedOnceAStream() {
        let a = End()
        a.begin(stream: 5, at: ms(0))
        #expect(a.send([1], at: ms(0)) && a.pollSegments(at: ms(0)).count == 1)
        for stream in [4, 6, 5, 5] as [UInt64] {
            a.handle(ControlSegment.reset(stream: stream, newest: 20).encoded, at: ms(1))
        }
        #expect(a.pollEvents() == [.resyncWanted] && a.isIdle && !a.send([1], at: ms(1)))
        #expect(a.nextTimeout == .distantFuture && a.pollSegments(at: ms(9_000)).isEmpty)
        // The peer has said what it would refuse.
        a.begin(stream: 6, at: ms(9_000))
        #expect(a.sendStream == 21)
    }

    @Test func aSenderRestartsWithALargerStream() {
        var wire = ControlWire()
        wire.ends[0].begin(stream: 1, at: ms(0))
        for number in 0..<100 as Range<UInt8> { #expect(wire.ends[0].send([number], at: ms(0))) }
        wire.settle(0)
        wire.run(until: ms(7))
        wire.ends[0] = End()
        wire.ends[0].begin(stream: 2, at: wire.now)
        #expect(wire.ends[0].send([200], at: wire.now))
        wire.settle(0)
        wire.run(until: ms(20_000))
        #expect(wire.events[1].suffix(2) == [.began(2), .message([200])])
        #expect(wire.events[0].isEmpty && wire.ends[0].isIdle)
    }

    /// Its clock was set back: the peer's reset says what to begin above.
    @Test func aSenderRestartsWithASmallerStream() {
        var wire = ControlWire()
        wire.ends[0].begin(stream: 1_000, at: ms(0))
        wire.settle(0)
        wire.run(until: ms(100))
        wire.ends[0] = End()
        wire.ends[0].begin(stream: 10, at: wire.now)
        wire.settle(0)
        wire.run(until: ms(200))
        #expect(wire.events == [[.resyncWanted], [.began(1_000)]])
        wire.ends[0].begin(stream: 11, at: wire.now)
        wire.settle(0)
        wire.run(until: ms(300))
        #expect(wire.events[1] == [.began(1_000), .began(1_001)])
    }

    @Test func aReceiverThatRestartsWhileIdleIsFoundByAProbe() {
        var wire = ControlWire()
        wire.ends[0].begin(stream: 1, at: ms(0))
        #expect(wire.ends[0].send([1], at: ms(0)))
        wire.settle(0)
        wire.run(until: ms(100))
        wire.ends[1] = End()
        wire.run(until: ms(5_100))
        #expect(wire.events[0] == [.resyncWanted] && wire.ends[1].counters.refused == 1)
    }

    /// The new life of the receiver hears old copies of the stream's first segments and takes them for a beginning; what the
    /// sender says was acknowledged shows that it is not.
    @Test func aReceiverThatRestartedTakesNothingForABeginningForLong() {
        let a = End()
        var b = End()
        a.begin(stream: 1, at: ms(0))
        for number in 0..<3 as Range<UInt8> { #expect(a.send([number], at: ms(0))) }
        let old = a.pollSegments(at: ms(0))
        for segment in old { b.handle(segment, at: ms(5)) }
        for ack in b.pollSegments(at: ms(5)) { a.handle(ack, at: ms(10)) }
        #expect(a.isIdle)
        b = End()
        b.handle(old[1], at: ms(20))
        #expect(b.pollEvents() == [.began(1)])
        for ack in b.pollSegments(at: ms(20)) { a.handle(ack, at: ms(25)) }
        #expect(a.isIdle && a.pollEvents().isEmpty)
        #expect(a.send([3], at: ms(30)))
        for segment in a.pollSegments(at: ms(30)) { b.handle(segment, at: ms(35)) }
        #expect(b.pollEvents().isEmpty && b.receiveStream == 0)
        // Late copies do not bring it back.
        b.handle(old[0], at: ms(36))
        #expect(b.pollEvents().isEmpty)
        for reset in b.pollSegments(at: ms(36)) { a.handle(reset, at: ms(40)) }
        #expect(a.pollEvents() == [.resyncWanted])
    }

    /// It had acknowledged later segments but not the first one: all are sent again.
    @Test func aReceiverThatRestartedBeforeTheFirstSegmentCameGetsTheWholeStream() {
        let a = End()
        var b = End()
        a.begin(stream: 1, at: ms(0))
        for number in 0..<4 as Range<UInt8> { #expect(a.send([number], at: ms(0))) }
        for segment in a.pollSegments(at: ms(0)).dropFirst() { b.handle(segment, at: ms(5)) }
        for ack in b.pollSegments(at: ms(5)) { a.handle(ack, at: ms(10)) }
        b = End()
        var events: [ControlChannel.Event] = []
        for round in 0..<3 as Range<Int64> {
            for segment in a.pollSegments(at: ms(10 + round * 10)) { b.handle(segment, at: ms(15 + round * 10)) }
            events += b.pollEvents()
            for ack in b.pollSegments(at: ms(15 + round * 10)) { a.handle(ack, at: ms(20 + round * 10)) }
        }
        #expect(events == [.began(1), .message([0]), .message([1]), .message([2]), .message([3])])
        #expect(a.isIdle)
    }

    /// Instead of a wrap: the stream ends and another is wanted.
    @Test func aStreamEndsWhenItsSequencesAreUsedUp() {
        var wire = ControlWire()
        wire.ends[0].limitSequences(to: 10)
        wire.ends[0].begin(stream: 1, at: ms(0))
        for number in 0..<12 as Range<UInt8> { #expect(wire.ends[0].send([number], at: ms(0))) }
        wire.settle(0)
        // The event is the last poll's doing.
        wire.run(until: ms(100))
        wire.settle(0)
        #expect(wire.events[0] == [.resyncWanted])
        wire.ends[0].begin(stream: 2, at: wire.now)
        #expect(wire.ends[0].send([11], at: wire.now))
        wire.settle(0)
        wire.run(until: ms(200))
        #expect(wire.events[1].suffix(2) == [.began(2), .message([11])])
    }

    // MARK: Bounds

    @Test func aMessageBeyondTheLimitDropsTheStream() {
        let a = End(messageLimit: 200)
        let b = End(messageLimit: 100)
        a.begin(stream: 1, at: ms(0))
        #expect(a.send([UInt8](repeating: 1, count: 100), at: ms(0)) && a.send([UInt8](repeating: 2, count: 101), at: ms(0)))
        let segments = a.pollSegments(at: ms(0))
        b.handle(segments[0], at: ms(1))
        #expect(b.pollEvents() == [.began(1), .message([UInt8](repeating: 1, count: 100))])
        b.handle(segments[1], at: ms(1))
        #expect(b.pollEvents().isEmpty && b.counters.refused == 1 && b.receiveStream == 0 && b.keptBytes == 0)
        for reset in b.pollSegments(at: ms(1)) { a.handle(reset, at: ms(2)) }
        #expect(a.pollEvents() == [.resyncWanted])
    }

    @Test func whatIsKeptEarlyIsOneWindow() {
        let b = End()
        for sequence in 1..<1_000 as Range<UInt32> {
            b.handle(data(1, sequence, [UInt8](repeating: 1, count: 1_000)), at: ms(0))
        }
        #expect(b.keptBytes == 63 * 1_000 && b.counters.overruns == 999 - 63)
    }

    @Test func messagesThatNobodyFetchesStopTheStreamUntilSomebodyDoes() {
        let a = End()
        let b = End(queueLimit: 4)
        a.begin(stream: 1, at: ms(0))
        for number in 0..<8 as Range<UInt8> { #expect(a.send([number], at: ms(0))) }
        for segment in a.pollSegments(at: ms(0)) { b.handle(segment, at: ms(5)) }
        #expect(b.counters.overruns == 4)
        for ack in b.pollSegments(at: ms(5)) { a.handle(ack, at: ms(10)) }
        #expect(b.pollEvents() == [.began(1)] + (0..<4 as Range<UInt8>).map { .message([$0]) })
        a.handleTimeout(at: a.nextTimeout)
        for segment in a.pollSegments(at: ms(400)) { b.handle(segment, at: ms(405)) }
        #expect(b.pollEvents() == (4..<8 as Range<UInt8>).map { .message([$0]) })
    }

    // MARK: Nonsense

    @Test func everyTruncationIsMalformedOrUnderstood() {
        let segments: [(ControlSegment, Int)] = [
            (.data(stream: 1, sequence: 0, oldest: 0, isLast: true, payload: [1, 2, 3]), 18),
            (.ack(stream: 1, next: 0, bitmap: 1), 21),
            (.reset(stream: 1, newest: 1), 17), (.probe(stream: 1, oldest: 0), 13),
        ]
        for (segment, least) in segments {
            for count in 0...segment.encoded.count {
                let channel = End()
                channel.handle(Array(segment.encoded.prefix(count)), at: ms(0))
                #expect(channel.counters.malformed == (count < least ? 1 : 0) && channel.counters.segmentsIn == 1)
            }
        }
        let channel = End()
        for kind in 5...255 as ClosedRange<UInt8> { channel.handle([kind], at: ms(0)) }
        #expect(channel.counters.unknown == 251 && channel.counters.malformed == 0 && channel.pollSegments(at: ms(0)).isEmpty)
    }

    /// Mutated segments and octets at random, into channels at work: no trap, no growth, and an honest clock.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func nonsenseIsSurvived(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let ends = [
            End(maximumSegment: 100, queueLimit: 8, messageLimit: 500),
            End(maximumSegment: 100, queueLimit: 8, messageLimit: 500),
        ]
        var heard: [[UInt8]] = [[1]]
        var most = 0
        var now = ms(0)
        for step in 0..<5_000 {
            now = now + .milliseconds(Int64.random(in: 0...50, using: &random))
            for end in 0..<2 {
                if ends[end].pollEvents().contains(.resyncWanted) || step == 0 {
                    ends[end].begin(stream: UInt64(step + 1), at: now)
                }
                if step % 2 == 0 { _ = ends[end].send([UInt8](repeating: 1, count: step % 500), at: now) }
                ends[end].handleTimeout(at: now)
                for segment in ends[end].pollSegments(at: now) {
                    if heard.count > 50 { heard.removeFirst() }
                    heard.append(segment)
                    ends[1 - end].handle(segment, at: now)
                }
                var bytes = heard[Int.random(in: 0..<heard.count, using: &random)]
                switch random.next() % 4 {
                case 0: bytes = randomBytes(Int.random(in: 0...40, using: &random), &random)
                case 1: bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random)))
                case 2: bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8(truncatingIfNeeded: random.next() >> 8)
                default: bytes[Int.random(in: 0..<min(18, bytes.count), using: &random)] ^= 1 << UInt8(random.next() % 8)
                }
                ends[end].handle(bytes, at: now)
                most = max(most, ends[end].keptBytes)
                // A shorter measured round trip may make a segment due at once.
                ends[end].handleTimeout(at: now)
                _ = ends[end].pollSegments(at: now)
                #expect(ends[end].nextTimeout > now)
            }
        }
        // Two queues of 8, two windows, a message in parts.
        #expect(most <= 16 * 500 + 128 * 100 + 64 * 500 + 500)
        #expect(ends.allSatisfy { $0.counters.malformed > 100 && $0.counters.unknown > 100 && $0.counters.segmentsIn > 5_000 })
    }

    // MARK: Everything at once

    /// Each end tells a list of facts on every beginning, and adds to it now and then. For a minute the wire is bad and ends
    /// restart, forget and begin again; then the wire is good, and each end must know exactly the other's list.
    @Test(arguments: 1...10 as ClosedRange<UInt64>) func afterAllFaultsBothEndsAgree(seed: UInt64) {
        var random = SeededRandom(seed: seed &* 1_000)
        var wire = ControlWire(seed: seed, faults: .init(loss: 300_000, duplication: 200_000, delay: 1...400))
        var facts: [[[UInt8]]] = [[], []]
        /// What each end has been told since the other's last beginning.
        var told: [[[UInt8]]] = [[], []]

        func retell(_ end: Int) {
            wire.ends[end].begin(stream: wire.now.nanoseconds + 1, at: wire.now)
            for fact in facts[end] { #expect(wire.ends[end].send(fact, at: wire.now)) }
            wire.settle(end)
        }
        func take(_ end: Int) {
            let events = wire.events[end]
            wire.events[end] = []
            for event in events {
                switch event {
                case .began: told[end] = []
                case .message(let fact): told[end].append(fact)
                case .resyncWanted: retell(end)
                }
            }
        }
        for end in 0..<2 { retell(end) }
        for turn in 0..<600 {
            wire.run(until: ms(Int64(turn) * 100))
            for end in 0..<2 {
                take(end)
                switch random.next() % 64 {
                case 0:
                    wire.ends[end] = End()
                    told[end] = []
                    retell(end)
                case 1:
                    wire.ends[end].forget(at: wire.now)
                    told[end] = []
                case 2: retell(end)
                case 3..<10 where facts[end].count < 60:
                    let fact = randomBytes(Int.random(in: 0...3_000, using: &random), &random)
                    facts[end].append(fact)
                    // A stream that has ended is told the whole list when it begins again.
                    _ = wire.ends[end].send(fact, at: wire.now)
                    wire.settle(end)
                default: break
                }
                take(end)
            }
        }
        wire.faults = .init(delay: 5...10)
        for second in 60..<100 as Range<Int64> {
            wire.run(until: ms(second * 1_000))
            for end in 0..<2 { take(end) }
        }
        #expect(facts.allSatisfy { $0.count > 5 } && wire.dishonest == 0)
        for end in 0..<2 {
            #expect(told[end] == facts[1 - end])
            #expect(wire.ends[end].receiveStream == wire.ends[1 - end].sendStream && wire.ends[end].isIdle)
        }
    }
}
