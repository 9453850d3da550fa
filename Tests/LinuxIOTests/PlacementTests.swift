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
            /// Other processors that are idle, and how often that was asked.
            var idle: UInt64 = 0
            var asked = 0
            /// Everything that was decided.
            var decisions: [Placement.Decision] = []

            /// Where the scheduler puts it, in turns.
            let processors: [Int]
            private var windows = 0

            init(processors: [Int]) {
                self.processors = processors
                placement = Placement(at: Instant.zero + .seconds(5))
            }

            /// A window of 50 ms with `frames` frames that cost `each` microseconds at the processor in hand, `floating` anywhere.
            mutating func window(frames: Int = 500, floating: Int = 20, at costs: [Int: Int] = [:]) {
                windows += 1
                let processor = processors[windows % processors.count]
                let each = home.map { costs[$0] ?? floating } ?? floating
                let busy = Interval.microseconds(Int64(frames * each))
                now = now + .milliseconds(50)
                account.frames += frames
                account.slept = account.slept + .nanoseconds(max(50_000_000 - busy.nanoseconds, 0))
                cost = cost + busy
                guard placement.isDue(account, at: now) else { return }
                var asked = asked
                let decision = placement.decide(account, cost: cost, processor: home ?? processor, at: now) {
                    asked += 1
                    return idle
                }
                self.asked = asked
                switch decision {
                case .stay(let processor): home = processor
                case .leave: home = nil
                case nil: return
                }
                if let decision { decisions.append(decision) }
            }
        }

        /// What is decided while it tries processors, and chooses the one in the end.
        private func trial(_ processors: Int..., chooses chosen: Placement.Decision) -> [Placement.Decision] {
            processors.map { .stay(processor: $0) } + [chosen]
        }

        @Test func staysWhereItCostsLeast() {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<20 { machine.window(at: [0: 15, 1: 9]) }
            // Each is tried in the order in which it was put there, then the better one is kept.
            #expect(machine.decisions == trial(0, 1, chooses: .stay(processor: 1)))
            #expect(machine.home == 1)
        }

        @Test func onlyWhereItWasPutIsTried() {
            var machine = Machine(processors: [7, 9, 9])
            for _ in 0..<20 { machine.window(at: [7: 10, 9: 12, 0: 1]) }
            #expect(Set(machine.decisions) == [.stay(processor: 7), .stay(processor: 9)] && machine.home == 7)
            // Of more than four, the latest.
            var wide = Machine(processors: Array(10..<20))
            for _ in 0..<30 { wide.window(at: [10: 1, 11: 9, 12: 8, 13: 7, 14: 6, 15: 5, 16: 5]) }
            #expect(wide.decisions.count == 5)
        }

        @Test func othersThatAreIdleAreTriedToo() {
            var machine = Machine(processors: [0])
            machine.idle = 0b1010
            for _ in 0..<20 { machine.window(at: [0: 19, 1: 12, 3: 9]) }
            #expect(machine.decisions == trial(0, 1, 3, chooses: .stay(processor: 3)) && machine.asked == 2)
        }

        @Test func processorsFromTheKernelsStatistics() {
            let text = """
                cpu  10 0 20 3000 4 0 0 0 0 0
                cpu0 5 0 10 1000 1 0 0 0 0 0
                cpu2 5 0 10 18446744073709551615 3 0 7
                intr 123 cpu3 1 2 3 4 5

                """
            let bytes = Array(text.utf8)
            let ticks = unsafe ProcessorLines.ticks(bytes.span.bytes)
            #expect(ticks[0] == 1001 && ticks[1] == 0 && ticks[2] == 2 && ticks[3] == 0)
            for count in 0..<bytes.count { _ = unsafe ProcessorLines.ticks(bytes.span.extracting(0..<count).bytes) }
        }

        @Test func leavesItAsItIsWhereNothingIsWon() {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<100 { machine.window(at: [0: 19, 1: 21]) }
            #expect(machine.decisions == trial(0, 1, chooses: .leave))
            // After ten seconds once more, then after twenty.
            for _ in 0..<130 { machine.window(at: [0: 19, 1: 21]) }
            #expect(machine.decisions.count == 6 && machine.home == nil)
            for _ in 0..<350 { machine.window(at: [0: 19, 1: 21]) }
            #expect(machine.decisions.count == 6)
            for _ in 0..<100 { machine.window(at: [0: 19, 1: 21]) }
            #expect(machine.decisions.count == 9)
        }

        @Test func aHopelessPlaceIsLeftAtOnce() {
            var machine = Machine(processors: [0, 1])
            while machine.decisions.isEmpty { machine.window(at: [0: 31, 1: 9]) }
            #expect(machine.home == 0)
            machine.window(at: [0: 31, 1: 9])
            #expect(machine.home == 1)
            for _ in 0..<10 { machine.window(at: [0: 31, 1: 9]) }
            #expect(machine.home == 1 && machine.decisions == trial(0, 1, chooses: .stay(processor: 1)))
        }

        @Test func nothingIsTriedWithLittleOrMuchToDo() {
            var quiet = Machine(processors: [0, 1])
            for _ in 0..<50 { quiet.window(frames: 99, at: [0: 1, 1: 1]) }
            #expect(quiet.decisions == [])
            var busy = Machine(processors: [0, 1])
            // 1,100 frames of 20 us: awake for 44 percent.
            for _ in 0..<50 { busy.window(frames: 1_100, at: [0: 1, 1: 1]) }
            #expect(busy.decisions == [])
        }

        @Test(arguments: [(frames: 3_000, cost: 14), (frames: 20, cost: 9), (frames: 0, cost: 9)])
        func leavesWhenThereIsMoreOrLessToDo(frames: Int, cost: Int) {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<20 { machine.window(at: [0: 15, 1: 9]) }
            #expect(machine.home == 1)
            machine.window(frames: frames, at: [0: 15, 1: cost])
            #expect(machine.home == nil && machine.decisions.last == .leave)
        }

        @Test func aTrialThatIsBrokenOffIsFollowedByARest() {
            var machine = Machine(processors: [0, 1])
            while machine.decisions.isEmpty { machine.window(at: [0: 15, 1: 9]) }
            machine.window(frames: 0)
            #expect(machine.decisions == [.stay(processor: 0), .leave])
            for _ in 0..<5 { machine.window(at: [0: 15, 1: 9]) }
            #expect(machine.decisions.count == 2)
            for _ in 0..<6 { machine.window(at: [0: 15, 1: 9]) }
            #expect(machine.home == 1)
        }

        @Test func aFloodIsNoticedBeforeTheWindowEnds() {
            let start = Instant.zero + .seconds(5)
            let placement = Placement(at: start)
            var account = Placement.Account()
            account.messages = 4_000
            #expect(!placement.isDue(account, at: start + .milliseconds(5)))
            account.frames = 96
            #expect(placement.isDue(account, at: start + .milliseconds(5)))
            account = Placement.Account()
            account.frames = 199
            #expect(
                !placement.isDue(account, at: start + .milliseconds(49))
                    && placement.isDue(account, at: start + .milliseconds(50)))
            account.frames = 200
            #expect(
                !placement.isDue(account, at: start + .milliseconds(19))
                    && placement.isDue(account, at: start + .milliseconds(20)))
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
            for _ in 0..<40 { machine.window(at: [0: 10, 1: 13]) }
            #expect(machine.home == 0)
        }

        @Test func looksAgainAfterAMinute() {
            var machine = Machine(processors: [0, 1])
            for _ in 0..<20 { machine.window(at: [0: 15, 1: 9]) }
            for _ in 0..<1_230 { machine.window(at: [0: 8, 1: 9]) }
            #expect(machine.home == 0)
        }

        @Test(arguments: [nil, Interval.zero, .seconds(3)])
        func withoutAnAccountNothingIsTried(cost: Interval?) {
            var placement = Placement(at: .zero)
            var account = Placement.Account()
            var now = Instant.zero
            for _ in 0..<20 {
                now = now + .milliseconds(50)
                account.frames += 500
                account.slept = account.slept + .milliseconds(45)
                #expect(placement.decide(account, cost: cost, processor: 0, at: now) == nil)
            }
        }

        @Test func whatWasRefusedIsLeftAloneForAMinute() {
            var machine = Machine(processors: [0])
            while machine.decisions.isEmpty { machine.window(at: [0: 9]) }
            #expect(machine.decisions == [.stay(processor: 0)])
            machine.home = nil
            machine.placement.noteRefused(at: machine.now)
            for _ in 0..<1_190 { machine.window(at: [0: 9]) }
            #expect(machine.decisions == [.stay(processor: 0)])
            for _ in 0..<20 { machine.window(at: [0: 9]) }
            #expect(machine.home == 0)
        }

        @Test func aThreadStaysAndLeaves() throws {
            let thread = try LaneThread.start(name: "place") { PlacementTests.moveAbout() }
            thread.join()
        }

        /// On the thread that is moved.
        private static func moveAbout() {
            var place = ThreadPlace()
            var numbers: [Int] = []
            for number in 0..<1_100 where place.mayRun(on: number) { numbers.append(number) }
            #expect(numbers.count == usableProcessors() && !numbers.isEmpty)
            for number in numbers {
                let stays = place.stay(on: number)
                let processor = place.processor
                #expect(stays && processor == number && usableProcessors() == 1)
            }
            for number in [1_023, 100_000, -1] {
                let stays = place.stay(on: number)
                #expect(!stays)
            }
            place.leave()
            #expect(usableProcessors() == numbers.count)
            // Fewer than the cpuset has are what it is given back.
            var operators = ThreadPlace()
            let last = numbers[numbers.count - 1]
            let isGiven = operators.stay(on: last)
            let stays = place.stay(on: last)
            let goesElsewhere = numbers.count > 1 && place.stay(on: numbers[0])
            place.leave()
            #expect(isGiven && stays && !goesElsewhere && usableProcessors() == 1)
            // What somebody else has changed meanwhile stands.
            let staysAgain = place.stay(on: last)
            operators.leave()
            place.leave()
            #expect(staysAgain && usableProcessors() == numbers.count)
            let before = place.cost()
            var sum = 1
            for number in 0..<1_000_000 { sum = sum &* 31 &+ number }
            let after = place.cost()
            #expect(sum != 0 && (before == nil || after ?? .zero > before ?? .zero))
        }
    }
}
