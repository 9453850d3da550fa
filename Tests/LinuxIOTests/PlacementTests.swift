// Where a lane stays: decided from figures alone, here literal ones; and the thread's own calls on this machine.

import Basics
import Testing

@testable import LinuxIO

extension LinuxIOTests {
    struct PlacementTests {
        /// A lane on a machine of so many processors, whose work costs what each test says.
        private struct Machine {
            var placement: Placement
            var now = Instant.zero + .seconds(5)
            var account = Placement.Account()
            var cost = Interval.zero
            /// Where it was put; `nil` for wherever.
            var home: Int?
            /// Everything that was decided.
            var decisions: [Placement.Decision] = []

            init(processors: [Int], lanes: Int = 1) {
                placement = Placement(lanes: lanes, processors: processors, at: Instant.zero + .seconds(5))
            }

            /// A window of 50 ms with `frames` frames that cost `each` microseconds at the processor in hand, `floating` anywhere.
            mutating func window(frames: Int = 500, floating: Int = 20, at costs: [Int: Int] = [:], seen processor: Int = 0) {
                let each = home.map { costs[$0] ?? floating } ?? floating
                let busy = Interval.microseconds(Int64(frames * each))
                now = now + .milliseconds(50)
                account.frames += frames
                account.slept = account.slept + .nanoseconds(max(50_000_000 - busy.nanoseconds, 0))
                cost = cost + busy
                guard placement.isDue(account, at: now) else { return }
                let decision = placement.decide(account, cost: cost, processor: home ?? processor, at: now)
                switch decision {
                case .stay(let processor): home = processor
                case .leave: home = nil
                case nil: return
                }
                decision.map { decisions.append($0) }
            }
        }

        @Test func staysWhereItCostsLeast() {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<20 { machine.window(at: [0: 15, 1: 9]) }
            // Each is tried, then the better one is kept.
            #expect(machine.decisions == [.stay(processor: 0), .stay(processor: 1), .stay(processor: 1)])
            #expect(machine.home == 1)
        }

        @Test func leavesItAsItIsWhereNothingIsWon() {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<100 { machine.window(at: [0: 19, 1: 21]) }
            #expect(machine.decisions == [.stay(processor: 0), .stay(processor: 1), .leave])
            // After ten seconds once more.
            for _ in 0..<120 { machine.window(at: [0: 19, 1: 21]) }
            #expect(machine.decisions.count == 6 && machine.home == nil)
        }

        @Test func nothingIsTriedWithLittleOrMuchToDo() {
            var quiet = Machine(processors: [0, 1])
            for _ in 0..<50 { quiet.window(frames: 99, at: [0: 1, 1: 1]) }
            #expect(quiet.decisions == [])
            var busy = Machine(processors: [0, 1])
            // 1,100 frames of 20 us: awake for 44 percent.
            for _ in 0..<50 { busy.window(frames: 1_100, at: [0: 1, 1: 1]) }
            #expect(busy.decisions == [])
            // The same for each of two lanes at the half of that.
            var shared = Machine(processors: [0, 1], lanes: 2)
            for _ in 0..<50 { shared.window(frames: 550, at: [0: 1, 1: 1]) }
            #expect(shared.decisions == [])
        }

        @Test(arguments: [(frames: 3_000, cost: 14), (frames: 20, cost: 9), (frames: 0, cost: 9)])
        func leavesWhenThereIsMoreOrLessToDo(frames: Int, cost: Int) {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<20 { machine.window(at: [0: 15, 1: 9]) }
            #expect(machine.home == 1)
            machine.window(frames: frames, at: [0: 15, 1: cost])
            #expect(machine.home == nil && machine.decisions.last == .leave)
        }

        @Test func aFloodIsNoticedBeforeTheWindowEnds() {
            let start = Instant.zero + .seconds(5)
            let placement = Placement(processors: [0], at: start)
            var account = Placement.Account()
            account.messages = 4_000
            #expect(!placement.isDue(account, at: start + .milliseconds(5)))
            account.frames = 96
            #expect(placement.isDue(account, at: start + .milliseconds(5)))
            #expect(placement.isDue(Placement.Account(), at: start + .milliseconds(50)))
        }

        @Test func leavesAPlaceThatHasBecomeDear() {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<20 { machine.window(at: [0: 15, 1: 9]) }
            // Three windows are chance.
            for _ in 0..<3 { machine.window(at: [0: 15, 1: 13]) }
            machine.window(at: [0: 15, 1: 9])
            #expect(machine.home == 1)
            for _ in 0..<4 { machine.window(at: [0: 15, 1: 13]) }
            #expect(machine.home == nil && machine.decisions.last == .leave)
            // A second later it looks again, and finds the other one.
            for _ in 0..<30 { machine.window(at: [0: 10, 1: 13]) }
            #expect(machine.home == 0)
        }

        @Test func looksAgainAfterAMinute() {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<20 { machine.window(at: [0: 15, 1: 9]) }
            for _ in 0..<1_220 { machine.window(at: [0: 8, 1: 9]) }
            #expect(machine.home == 0)
        }

        @Test func ofManyProcessorsThoseItWasSeenAtAreTried() {
            var machine = Machine(processors: Array(0..<64))
            // The first window is only where counting begins.
            machine.window()
            machine.window(seen: 7)
            machine.window(seen: 9)
            for _ in 0..<10 { machine.window(at: [7: 10, 9: 12], seen: 9) }
            #expect(machine.decisions == [.stay(processor: 7), .stay(processor: 9), .stay(processor: 7)])
        }

        @Test func withoutAnAccountOrAPlaceNothingIsTried() {
            var placement = Placement(processors: [0, 1], at: .zero)
            var account = Placement.Account()
            var now = Instant.zero
            for _ in 0..<10 {
                now = now + .milliseconds(50)
                account.frames += 500
                account.slept = account.slept + .milliseconds(45)
                #expect(placement.decide(account, cost: nil, processor: 0, at: now) == nil)
            }
            var machine = Machine(processors: [0, 1])
            for _ in 0..<3 { machine.window() }
            #expect(machine.decisions == [.stay(processor: 0)])
            machine.home = nil
            machine.placement.noteRefused(at: machine.now)
            for _ in 0..<100 { machine.window() }
            #expect(machine.decisions == [.stay(processor: 0)])
        }

        @Test func aThreadStaysAndLeaves() throws {
            let numbers = usableProcessorNumbers()
            #expect(numbers.count == usableProcessors())
            let thread = try LaneThread.start(name: "place") {
                let place = ThreadPlace()
                for number in numbers {
                    let stays = place.stay(on: number)
                    let processor = place.processor
                    #expect(stays && processor == number && usableProcessorNumbers() == [number])
                }
                let isRefused = !place.stay(on: 1_023) && !place.stay(on: 100_000)
                #expect(isRefused)
                place.leave()
                #expect(usableProcessorNumbers() == numbers)
                let before = place.cost()
                var sum = 1
                for number in 0..<1_000_000 { sum = sum &* 31 &+ number }
                let after = place.cost()
                #expect(sum != 0 && (before == nil || after ?? .zero > before ?? .zero))
            }
            thread.join()
        }
    }
}
