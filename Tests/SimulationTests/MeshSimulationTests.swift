// The simulation of whole meshes: its parts, that its checkers find what they look for, and small meshes through all phases. Large
// ones are run by tools/check-simulation.

import Basics
import Testing
import Tunnels

@testable import Simulation

@Suite struct NATTests {
    private let here: UInt32 = 0xC612_0001
    private let a = Endpoint(ipv4: 0xC612_0002, port: 7117)
    private let b = Endpoint(ipv4: 0xC612_0003, port: 7117)
    private func at(_ seconds: Int64) -> Instant { .zero + .seconds(seconds) }

    @Test func oneMappingForAllDestinations() {
        var nat = NAT(.endpointIndependent, address: here, firstPort: 20_000)
        #expect(nat.outbound(to: a, at: at(0)) == Endpoint(ipv4: here, port: 20_000))
        #expect(nat.outbound(to: b, at: at(1)) == Endpoint(ipv4: here, port: 20_000))
        // Only from where something was sent to, and only for so long.
        #expect(nat.admits(a, to: 20_000, at: at(30)) && !nat.admits(a, to: 20_000, at: at(31)))
        #expect(nat.admits(b, to: 20_000, at: at(31)))
        #expect(!nat.admits(Endpoint(ipv4: 0xC612_0003, port: 7118), to: 20_000, at: at(2)))
        #expect(!nat.admits(a, to: 20_001, at: at(2)) && !nat.admits(a, to: 7117, at: at(2)))
    }

    @Test func aMappingForEachDestination() {
        var nat = NAT(.addressAndPortDependent, address: here, firstPort: 20_000)
        #expect(nat.outbound(to: a, at: at(0)) == Endpoint(ipv4: here, port: 20_000))
        #expect(nat.outbound(to: b, at: at(0)) == Endpoint(ipv4: here, port: 20_001))
        #expect(nat.outbound(to: a, at: at(20)) == Endpoint(ipv4: here, port: 20_000))
        #expect(nat.admits(a, to: 20_000, at: at(1)) && !nat.admits(b, to: 20_000, at: at(1)))
    }

    @Test func mappingsEndByTimeAndByARestart() {
        var nat = NAT(.endpointIndependent, address: here, firstPort: 20_000)
        _ = nat.outbound(to: a, at: at(0))
        #expect(nat.outbound(to: b, at: at(31)) == Endpoint(ipv4: here, port: 20_001))
        #expect(!nat.admits(a, to: 20_000, at: at(31)) && !nat.admits(a, to: 20_001, at: at(31)))
        nat.forget()
        #expect(!nat.admits(b, to: 20_001, at: at(31)))
        #expect(nat.outbound(to: b, at: at(31)) == Endpoint(ipv4: here, port: 20_102))
    }
}

@Suite struct SkewedClockTests {
    @Test(arguments: [-1_000, -200, 0, 7, 1_000] as [Int64])
    func timersRunOutWhenTheGatewaysClockSaysSo(_ drift: Int64) {
        let clock = SkewedClock(start: .seconds(5_000), drift: drift, wallError: .seconds(-60))
        for nanoseconds in [0, 1, 999_999, 1_000_000, 1_000_001, 123_456_789_012] as [UInt64] {
            let instant = Instant(nanoseconds: nanoseconds)
            let local = clock.local(instant)
            let back = clock.global(local)
            #expect(back <= instant + .microseconds(1) && clock.local(back) >= local, "\(nanoseconds)")
        }
        #expect(clock.global(.distantFuture) == .distantFuture && clock.global(.zero) == .zero)
        #expect(clock.wall(.zero + .seconds(1)) == SkewedClock.wallClock - 59_000_000_000)
    }

    @Test func aFasterClockShowsMore() {
        let clock = SkewedClock(start: .zero, drift: 200, wallError: .zero)
        #expect(clock.local(.zero + .seconds(1_000)) == .zero + .seconds(1_000) + .milliseconds(200))
        let lost = SkewedClock(start: .zero, drift: 0, wallError: .nanoseconds(.min + 1))
        #expect(lost.wall(.zero) == 0)
    }
}

@Suite struct SimulatedFrameTests {
    @Test(arguments: [.broadcast, .feed(3), .unicast(7)] as [SimulatedFrame.Kind])
    func aFrameSaysWhoseItIs(_ kind: SimulatedFrame.Kind) throws {
        let frame = SimulatedFrame(kind, from: 99, number: 0x0102_0304)
        let bytes = frame.bytes
        #expect(SimulatedFrame(bytes) == frame)
        #expect(Array(bytes[6..<12]) == [0x02, 0, 0, 0, 0, 100])
        #expect(SimulatedFrame(Array(bytes.dropLast(bytes.count - 59))) == nil)
    }

    @Test func aFeedIsGoodIPv4() {
        let bytes = SimulatedFrame(.feed(3), from: 1, number: 5).bytes
        #expect(Array(bytes[0..<6]) == [0x01, 0x00, 0x5E, 0x01, 0x00, 0x03])
        #expect(Array(bytes[26..<34]) == [10, 128, 0, 2, 239, 1, 0, 3])
        let sum = stride(from: 14, to: 34, by: 2).reduce(0) { $0 + Int(bytes[$1]) << 8 + Int(bytes[$1 + 1]) }
        #expect(sum & 0xFFFF + sum >> 16 == 0xFFFF)
        #expect(Int(bytes[16]) << 8 + Int(bytes[17]) == bytes.count - 14)
    }
}

@Suite struct CheckerTests {
    private func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

    @Test func whatComesTwiceOrBackIsFound() {
        var checker = FrameChecker(sites: 3, groups: 2)
        let frame = SimulatedFrame(.broadcast, from: 0, number: 1)
        #expect(checker.handleDelivered(frame, to: 1, at: at(0)) == nil)
        #expect(checker.handleDelivered(frame, to: 2, at: at(0)) == nil)
        #expect(checker.handleDelivered(frame, to: 1, at: at(9))?.contains("twice") == true)
        #expect(checker.handleDelivered(frame, to: 0, at: at(9))?.contains("came back") == true)
        #expect(checker.delivered == 4)
    }

    @Test func whatNobodyWantsIsFound() {
        var checker = FrameChecker(sites: 2, groups: 1)
        func frame(_ number: UInt32) -> SimulatedFrame { SimulatedFrame(.feed(0), from: 0, number: number) }
        #expect(checker.handleDelivered(frame(1), to: 1, at: at(0))?.contains("nobody wants") == true)
        checker.join(1, 0)
        #expect(checker.handleDelivered(frame(2), to: 1, at: at(0)) == nil)
        checker.leave(1, 0, at: at(1_000))
        #expect(checker.handleDelivered(frame(3), to: 1, at: at(4_000)) == nil)
        #expect(checker.handleDelivered(frame(4), to: 1, at: at(4_001))?.contains("nobody wants") == true)
    }

    @Test func whatPassesForbidIsFound() {
        var checker = FrameChecker(sites: 3, groups: 2)
        checker.maySend[0] = [0]
        checker.mayReceive[1] = [1]
        for site in 1..<3 { for group in 0..<2 { checker.join(site, group) } }
        func problem(_ group: Int, _ site: Int, _ number: UInt32) -> String? {
            checker.handleDelivered(SimulatedFrame(.feed(group), from: 0, number: number), to: site, at: at(0))
        }
        #expect(problem(0, 2, 1) == nil)
        #expect(problem(0, 1, 2)?.contains("pass") == true && problem(1, 2, 3)?.contains("pass") == true)
        checker.ban(2)
        #expect(problem(0, 2, 4) == nil)
        checker.isBanKnown = true
        #expect(problem(0, 2, 5)?.contains("revoked") == true)
        let theirs = SimulatedFrame(.broadcast, from: 2, number: 6)
        #expect(checker.handleDelivered(theirs, to: 0, at: at(0))?.contains("revoked") == true)
    }

    /// A sealed datagram of a stream, lane 1.
    private func sealed(_ counter: UInt8, _ text: UInt8, flags: UInt8 = 0) -> [UInt8] {
        [DatagramKind.sealed.rawValue, flags, 0, 1, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, counter, text, text]
    }

    @Test func aNumberUsedTwiceIsFound() {
        var checker = NonceChecker()
        for counter in 0..<5 as Range<UInt8> { #expect(checker.handleSent(sealed(counter, counter), by: 0, epoch: 1) == nil) }
        // A copy for another site, and another gateway with the same numbers.
        #expect(checker.handleSent(sealed(3, 3), by: 0, epoch: 1) == nil)
        #expect(checker.handleSent(sealed(3, 77), by: 1, epoch: 1) == nil)
        #expect(checker.handleSent(sealed(3, 4), by: 0, epoch: 1) != nil)
        // One that was passed on is another's; its sender has set all hops.
        #expect(checker.handleSent(sealed(3, 5, flags: 0x80 | (SealedLayout.hopLimit - 1)), by: 0, epoch: 1) == nil)
        #expect(checker.handleSent(sealed(4, 5, flags: 0x80 | SealedLayout.hopLimit), by: 0, epoch: 1) != nil)
        // The same key from the beginning; and a new session's under the same identifier.
        #expect(checker.handleSent(sealed(0, 9), by: 0, epoch: 1) != nil)
        #expect(
            checker.handleSent(sealed(0, 9), by: 0, epoch: 2) == nil && checker.handleSent(sealed(1, 9), by: 0, epoch: 2) == nil)
        #expect(checker.handleSent(sealed(0, 9), by: 0, epoch: 2) == nil)
        #expect(checker.handleSent(sealed(1, 8), by: 0, epoch: 3) != nil)
    }

    @Test func numbersThatWereSkippedMayComeLater() {
        var checker = NonceChecker()
        #expect(checker.handleSent(sealed(0, 1), by: 0, epoch: 1) == nil)
        #expect(checker.handleSent(sealed(200, 2), by: 0, epoch: 1) == nil)
        #expect(checker.handleSent(sealed(150, 3), by: 0, epoch: 1) == nil)
        #expect(checker.handleSent(sealed(150, 4), by: 0, epoch: 1) != nil)
        // Further back than is remembered.
        #expect(checker.handleSent(sealed(20, 5), by: 0, epoch: 1) != nil)
    }
}

@Suite struct MeshSimulationTests {
    @Test(arguments: [(2, 3), (5, 1)] as [(Int, UInt64)])
    func everythingIsRightOnceFaultsStop(_ count: Int, _ seed: UInt64) {
        let report = MeshSimulation(SimulationPlan(count: count, seed: seed, rounds: 12)).run()
        #expect(report.violations == [])
        #expect(report.upAfter != nil && report.healedAfter != nil && report.agreedAfter != nil)
        #expect(report.framesSent > 20 && report.framesDelivered > 20 && !report.faults.isEmpty)
    }

    @Test func theSameSeedGivesTheSameRun() {
        func run(_ seed: UInt64) -> [String] {
            var lines: [String] = []
            let report = MeshSimulation(SimulationPlan(count: 3, seed: seed, rounds: 5)) { lines.append($0) }.run()
            return lines + ["\(report.datagrams) \(report.duration) \(report.idleBits)"]
        }
        let first = run(11)
        #expect(first == run(11))
        #expect(first != run(12))
    }
}
