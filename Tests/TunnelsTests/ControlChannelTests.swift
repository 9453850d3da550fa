// The control channel: octets on the wire, order, repetition, timers. What restarts and garbage do is in
// ControlChannelFaultTests.

import Basics
import Buffers
import Testing

@testable import Tunnels

@Suite struct ControlChannelTests {
    // MARK: Octets

    @Test func segmentsOnTheWire() {
        let data = ControlSegment.data(
            stream: 0x0102_0304_0506_0708, sequence: 0x0A0B_0C0D, oldest: 0x0A0B_0C00, isLast: true, payload: [0xEE, 0xFF])
        #expect(data.encoded == hex("01 0102030405060708 0a0b0c0d 0a0b0c00 01 eeff".filter { $0 != " " }))
        let ack = ControlSegment.ack(stream: 7, next: 5, bitmap: 0x8000_0000_0000_0003)
        #expect(ack.encoded == hex("02 0000000000000007 00000005 8000000000000003".filter { $0 != " " }))
        let reset = ControlSegment.reset(stream: 7, newest: 9)
        #expect(reset.encoded == hex("03 0000000000000007 0000000000000009".filter { $0 != " " }))
        let probe = ControlSegment.probe(stream: 7, oldest: 5)
        #expect(probe.encoded == hex("04 0000000000000007 00000005".filter { $0 != " " }))
        for segment in [data, ack, reset, probe] { #expect(ControlSegment(segment.encoded) == segment) }
        // Later versions may add octets.
        for segment in [ack, reset, probe] { #expect(ControlSegment(segment.encoded + [1, 2, 3]) == segment) }
        #expect(ControlSegment([5]) == .unknown(kind: 5) && ControlSegment([0, 1]) == .unknown(kind: 0))
    }

    @Test func numbersOutOfRangeAreMalformed() {
        let limit = ControlSegment.streamLimit
        func data(_ stream: UInt64, _ sequence: UInt32, _ oldest: UInt32) -> ControlSegment? {
            ControlSegment(
                ControlSegment.data(stream: stream, sequence: sequence, oldest: oldest, isLast: true, payload: []).encoded)
        }
        #expect(data(1, 0, 0) != nil && data(limit, 0xFFFE_FFFF, 0xFFFE_FFFF) != nil)
        #expect(data(0, 0, 0) == nil && data(limit + 1, 0, 0) == nil && data(1, 0xFFFF_0000, 0) == nil && data(1, 4, 5) == nil)
        #expect(ControlSegment(ControlSegment.reset(stream: 1, newest: limit + 1).encoded) == nil)
        #expect(ControlSegment(ControlSegment.ack(stream: 0, next: 0, bitmap: 0).encoded) == nil)
        #expect(ControlSegment([]) == nil)
    }

    @Test func whatTwoMessagesLookLike() {
        let a = End(maximumSegment: 64)
        let b = End()
        a.begin(stream: 7, at: ms(0))
        let long = (0..<50).map { UInt8($0) }
        #expect(a.send(long, at: ms(0)) && a.send([], at: ms(0)))
        let segments = a.pollSegments(at: ms(0))
        #expect(
            segments.map { ControlSegment($0) } == [
                .data(stream: 7, sequence: 0, oldest: 0, isLast: false, payload: Array(long[..<46])),
                .data(stream: 7, sequence: 1, oldest: 0, isLast: true, payload: Array(long[46...])),
                .data(stream: 7, sequence: 2, oldest: 0, isLast: true, payload: []),
            ])
        // The last first: it is kept and acknowledged by its bit. One acknowledgement for all that came before a poll.
        b.handle(segments[2], at: ms(1))
        #expect(b.pollEvents() == [.began(7)])
        #expect(b.pollSegments(at: ms(1)).map { ControlSegment($0) } == [.ack(stream: 7, next: 0, bitmap: 2)])
        b.handle(segments[0], at: ms(2))
        b.handle(segments[1], at: ms(2))
        #expect(b.pollEvents() == [.message(long), .message([])])
        let acks = b.pollSegments(at: ms(2))
        #expect(acks.map { ControlSegment($0) } == [.ack(stream: 7, next: 3, bitmap: 0)])
        #expect(!a.isIdle)
        a.handle(acks[0], at: ms(3))
        #expect(a.isIdle && a.pollSegments(at: ms(3)).isEmpty && b.pollSegments(at: ms(3)).isEmpty)
        #expect(a.roundTrip == .milliseconds(3))
        #expect(a.counters == .init(with: { ($0.segmentsOut, $0.segmentsIn) = (3, 1) }))
        #expect(b.counters == .init(with: { ($0.segmentsOut, $0.segmentsIn) = (2, 3) }))
    }

    // MARK: Rules of the sending side

    @Test func nothingIsSentBeforeABeginning() {
        let a = End()
        #expect(!a.hasRoom && !a.send([1], at: ms(0)) && a.sendStream == 0 && a.isIdle)
        #expect(a.pollSegment(at: ms(100_000)) == nil && a.nextTimeout == .distantFuture)
        a.begin(stream: 3, at: ms(0))
        #expect(a.hasRoom && a.send([1], at: ms(0)) && a.sendStream == 3 && !a.isIdle)
    }

    @Test func limitsOfTheQueueAndOfMessages() {
        let a = End(window: 2, queueLimit: 3, messageLimit: 10)
        a.begin(stream: 1, at: ms(0))
        #expect(!a.send([UInt8](repeating: 1, count: 11), at: ms(0)))
        for _ in 0..<3 { #expect(a.hasRoom && a.send([UInt8](repeating: 1, count: 10), at: ms(0))) }
        #expect(!a.hasRoom && !a.send([], at: ms(0)))
        // Two go underway and make room.
        #expect(a.pollSegments(at: ms(0)).count == 2)
        #expect(a.send([], at: ms(0)) && a.send([], at: ms(0)) && !a.send([], at: ms(0)))
    }

    @Test func theWindowBoundsWhatIsUnderway() {
        let a = End(window: 20)
        a.begin(stream: 1, at: ms(0))
        for _ in 0..<100 { #expect(a.send([1], at: ms(0))) }
        // Sixteen at first, two more for two acknowledged, and never more than the window.
        #expect(a.pollSegments(at: ms(0)).count == 16)
        a.handle(ControlSegment.ack(stream: 1, next: 2, bitmap: 0).encoded, at: ms(1))
        #expect(a.pollSegments(at: ms(1)).count == 4)
        a.handle(ControlSegment.ack(stream: 1, next: 20, bitmap: 0).encoded, at: ms(2))
        #expect(a.pollSegments(at: ms(2)).count == 20)
    }

    @Test func aSegmentIsLostWhenThreeLaterOnesAreAcknowledged() {
        let a = End()
        a.begin(stream: 1, at: ms(0))
        for number in 0..<6 as Range<UInt8> { #expect(a.send([number], at: ms(0))) }
        let segments = a.pollSegments(at: ms(0))
        // 1 and 2, then 3: bits 0, 1, 2 behind 0.
        a.handle(ControlSegment.ack(stream: 1, next: 0, bitmap: 0b11).encoded, at: ms(10))
        #expect(a.pollSegments(at: ms(10)).isEmpty)
        a.handle(ControlSegment.ack(stream: 1, next: 0, bitmap: 0b111).encoded, at: ms(11))
        #expect(a.pollSegments(at: ms(11)) == [segments[0]])
        // The same again, and 4 and 5, which were sent before the repetition, say nothing about it.
        a.handle(ControlSegment.ack(stream: 1, next: 0, bitmap: 0b11111).encoded, at: ms(12))
        #expect(a.pollSegments(at: ms(12)).isEmpty)
        #expect(a.counters.retransmissions == 1)
        a.handle(ControlSegment.ack(stream: 1, next: 6, bitmap: 0).encoded, at: ms(13))
        #expect(a.isIdle)
    }

    /// RFC 6298: 300 ms before a measurement, then doubled up to 2 s.
    @Test func theTimerBacksOff() {
        let a = End()
        a.begin(stream: 1, at: ms(0))
        #expect(a.send([1], at: ms(0)))
        let segment = a.pollSegments(at: ms(0))
        #expect(segment.count == 1)
        var times: [Instant] = []
        for _ in 0..<6 {
            times.append(a.nextTimeout)
            a.handleTimeout(at: a.nextTimeout - .nanoseconds(1))
            #expect(a.pollSegments(at: a.nextTimeout - .nanoseconds(1)).isEmpty)
            a.handleTimeout(at: times[times.count - 1])
            #expect(a.pollSegments(at: times[times.count - 1]) == segment)
        }
        #expect(times == [300, 900, 2_100, 4_100, 6_100, 8_100].map { ms($0) })
        // Karn: the acknowledgement of a repeated segment measures nothing, and the timer stays backed off.
        a.handle(ControlSegment.ack(stream: 1, next: 1, bitmap: 0).encoded, at: ms(8_110))
        #expect(a.roundTrip == nil && a.isIdle)
        #expect(a.send([2], at: ms(8_200)) && a.pollSegments(at: ms(8_200)).count == 1)
        #expect(a.nextTimeout == ms(10_200))
        a.handle(ControlSegment.ack(stream: 1, next: 2, bitmap: 0).encoded, at: ms(8_240))
        #expect(a.roundTrip == .milliseconds(40))
        // 40 ms and four times 20 ms.
        #expect(a.send([3], at: ms(9_000)) && a.pollSegments(at: ms(9_000)).count == 1)
        #expect(a.nextTimeout == ms(9_120))
    }

    @Test func theTimerIsNeverShorterThan100Milliseconds() {
        let a = End()
        a.begin(stream: 1, at: ms(0))
        for number in 0..<50 as Range<UInt32> {
            #expect(a.send([1], at: ms(Int64(number))) && a.pollSegments(at: ms(Int64(number))).count == 1)
            a.handle(ControlSegment.ack(stream: 1, next: number + 1, bitmap: 0).encoded, at: ms(Int64(number)))
        }
        #expect(a.roundTrip == .zero)
        #expect(a.send([1], at: ms(60)) && a.pollSegments(at: ms(60)).count == 1)
        #expect(a.nextTimeout == ms(160))
    }

    @Test func aPathThatIsGoneSeesOneSegmentInTwoSeconds() {
        let a = End()
        a.begin(stream: 1, at: ms(0))
        while a.send([UInt8](repeating: 1, count: 65_536), at: a.nextTimeout == .distantFuture ? ms(0) : a.nextTimeout) {}
        var now = ms(0)
        var sent: [Int] = []
        while now < ms(120_000) {
            sent.append(a.pollSegments(at: now).count)
            #expect(a.nextTimeout > now)
            now = a.nextTimeout
            a.handleTimeout(at: now)
        }
        #expect(sent.prefix(5) == [16, 8, 4, 2, 1])
        #expect(sent.dropFirst(5).allSatisfy { $0 == 1 } && sent.count < 70)
        // Queued: 256 messages; cut up: at most 16 segments of the first one.
        #expect(a.keptBytes <= 257 * 65_536 && !a.hasRoom)
        #expect(a.counters.retransmissions == UInt64(sent.reduce(0, +) - 16))
    }

    @Test func anOldAcknowledgementSaysNothingNewAndAFalseOneIsMalformed() {
        let a = End()
        a.begin(stream: 2, at: ms(0))
        for _ in 0..<3 { #expect(a.send([1], at: ms(0))) }
        #expect(a.pollSegments(at: ms(0)).count == 3)
        a.handle(ControlSegment.ack(stream: 2, next: 2, bitmap: 0).encoded, at: ms(1))
        a.handle(ControlSegment.ack(stream: 2, next: 1, bitmap: .max).encoded, at: ms(2))
        a.handle(ControlSegment.ack(stream: 1, next: 3, bitmap: 0).encoded, at: ms(2))
        #expect(!a.isIdle && a.counters.malformed == 0)
        a.handle(ControlSegment.ack(stream: 2, next: 4, bitmap: 0).encoded, at: ms(3))
        #expect(!a.isIdle && a.counters.malformed == 1)
        a.handle(ControlSegment.ack(stream: 2, next: 3, bitmap: .max).encoded, at: ms(4))
        #expect(a.isIdle)
    }

    // MARK: Probes

    @Test func aBeginningWithoutMessagesIsToldByAProbe() {
        var wire = ControlWire()
        wire.ends[0].begin(stream: 5, at: ms(0))
        wire.settle(0)
        wire.run(until: ms(20))
        #expect(wire.events[1] == [.began(5)] && wire.ends[1].receiveStream == 5)
        // A probe and an acknowledgement; from then on one of each in five seconds.
        #expect(wire.segments == 2)
        wire.run(until: ms(60_000))
        #expect(wire.segments == 2 + 2 * 11 && wire.dishonest == 0)
        #expect(wire.events[1] == [.began(5)] && wire.events[0].isEmpty)
    }

    @Test func anUnansweredBeginningProbesLessAndLess() {
        let a = End()
        a.begin(stream: 5, at: ms(0))
        var times: [Instant] = []
        for _ in 0..<8 {
            times.append(a.nextTimeout)
            #expect(a.pollSegments(at: a.nextTimeout) == [ControlSegment.probe(stream: 5, oldest: 0).encoded])
        }
        #expect(times == [0, 300, 900, 2_100, 4_500, 9_300, 14_300, 19_300].map { ms($0) })
    }

    /// One that was restarted does not know our stream. It begins its own, and we ask at once whether it has ours, not when the
    /// next probe is due: the message that it lost is told again within round trips of 10 ms.
    @Test func aPeerThatBeginsAnewIsProbedAtOnce() {
        var wire = ControlWire()
        for end in 0..<2 { wire.ends[end].begin(stream: 5, at: ms(0)) }
        #expect(wire.ends[0].send([1], at: ms(0)))
        for end in 0..<2 { wire.settle(end) }
        wire.run(until: ms(1_000))
        #expect(wire.events == [[.began(5)], [.began(5), .message([1])]])
        wire.events = [[], []]
        wire.ends[1] = End()
        wire.ends[1].begin(stream: 6, at: ms(1_000))
        wire.settle(1)
        let before = wire.segments
        wire.run(until: ms(1_015))
        // Its probe, our acknowledgement and probe, its reset.
        #expect(wire.events == [[.began(6), .resyncWanted], []] && wire.segments - before == 4 - 1)
        wire.ends[0].begin(stream: 7, at: ms(1_015))
        #expect(wire.ends[0].send([1], at: ms(1_015)))
        wire.settle(0)
        wire.run(until: ms(1_040))
        #expect(wire.events[1] == [.began(7), .message([1])])
        // Our beginning made it probe in turn; that one has what it asks about, and there it ends.
        let quiet = wire.segments
        wire.run(until: ms(5_900))
        #expect(wire.segments == quiet)
        wire.run(until: ms(60_000))
        #expect(wire.events[0] == [.began(6), .resyncWanted] && wire.dishonest == 0)
    }

    /// The probe that is sent at once may be lost: the next ones do not wait for five seconds.
    @Test func aProbeForABeginningIsRepeatedSoon() {
        let a = End()
        a.begin(stream: 5, at: ms(0))
        #expect(a.pollSegments(at: ms(0)).count == 1)
        a.handle(ControlSegment.ack(stream: 5, next: 0, bitmap: 0).encoded, at: ms(10))
        #expect(a.nextTimeout == ms(5_010))
        a.handle(ControlSegment.probe(stream: 9, oldest: 0).encoded, at: ms(1_000))
        let probe = ControlSegment.probe(stream: 5, oldest: 0).encoded
        #expect(a.pollSegments(at: ms(1_000)) == [ControlSegment.ack(stream: 9, next: 0, bitmap: 0).encoded, probe])
        #expect(a.nextTimeout == ms(1_300))
        #expect(a.pollSegments(at: ms(1_300)) == [probe] && a.nextTimeout == ms(1_900))
        // The same stream's next segments are no beginning.
        a.handle(ControlSegment.ack(stream: 5, next: 0, bitmap: 0).encoded, at: ms(1_310))
        a.handle(ControlSegment.probe(stream: 9, oldest: 0).encoded, at: ms(1_320))
        #expect(a.pollSegments(at: ms(1_320)).count == 1 && a.nextTimeout == ms(6_310))
    }

    // MARK: The whole

    @Test(
        arguments: [(0, 0, 5...5), (10, 0, 5...5), (30, 20, 1...80)] as [(UInt32, UInt32, ClosedRange<Int64>)])
    func tenThousandMessagesInOrderExactlyOnce(loss: UInt32, duplication: UInt32, delay: ClosedRange<Int64>) {
        let faults = ControlWire.Faults(loss: loss * 10_000, duplication: duplication * 10_000, delay: delay)
        var wire = ControlWire(seed: UInt64(loss) + 1, faults: faults)
        let sources = [MessageSource(seed: 11, count: 10_000, upTo: 5_000), MessageSource(seed: 12, count: 1_000, upTo: 5_000)]
        var sent = [0, 0]
        var arrived = [0, 0]
        var wrong = 0
        for end in 0..<2 { wire.ends[end].begin(stream: UInt64(100 + end), at: wire.now) }
        repeat {
            for end in 0..<2 {
                while sent[end] < sources[end].count, wire.ends[end].hasRoom {
                    if !wire.ends[end].send(sources[end].message(sent[end]), at: wire.now) { wrong += 1 }
                    sent[end] += 1
                }
                wire.settle(end)
                for event in wire.events[end] {
                    switch event {
                    case .began(let stream): if stream != UInt64(101 - end) || arrived[1 - end] != 0 { wrong += 1 }
                    case .message(let bytes):
                        if arrived[1 - end] >= sources[1 - end].count || bytes != sources[1 - end].message(arrived[1 - end]) {
                            wrong += 1
                        }
                        arrived[1 - end] += 1
                    case .resyncWanted: wrong += 1
                    }
                }
                wire.events[end] = []
            }
        } while wire.step(until: ms(3_600_000)) && !(wire.ends[0].isIdle && wire.ends[1].isIdle)
        wire.run(until: wire.now + .seconds(30))
        #expect(wire.events == [[], []])
        #expect(arrived == [10_000, 1_000] && wrong == 0 && wire.dishonest == 0)
        #expect(wire.longest == 1_200)
        let counters = wire.ends.map(\.counters)
        #expect(counters.allSatisfy { $0.malformed == 0 && $0.refused == 0 && $0.overruns == 0 && $0.unknown == 0 })
        if loss == 0 { #expect(counters.allSatisfy { $0.retransmissions == 0 && $0.duplicates == 0 }) }
        // What is repeated is what was lost, and little more, unless the wire reorders what belongs to one burst.
        let percent = delay.count == 1 ? UInt64(loss) * 3 / 2 : 60
        #expect(counters[0].retransmissions <= counters[0].segmentsOut * percent / 100)
    }
}

extension ControlChannel.Counters {
    init(with change: (inout Self) -> Void) {
        self.init()
        change(&self)
    }
}
