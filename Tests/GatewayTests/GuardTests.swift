// Guards that only show when something is odd: a LAN port on the wrong interface, a first datagram that comes late, a full
// event queue, more handshakes than control should take at once.

import Basics
import Buffers
import Testing

@testable import Gateway
@testable import Tunnels

@Suite struct GuardTests {
    private static let key = Key256((0..<32).map { UInt8($0) })
    private static let source = Endpoint(ipv4: 0x0A00_0009, port: 1)

    private func stream(_ slot: Int) -> UInt32 { StreamIdentifier.make(slot: slot, random: 0xABCD_0000) }

    private func makeLane(_ mailbox: LaneMailbox, portAddresses: [MACAddress?] = []) -> LaneCore {
        var random = SeededRandom(seed: 1)
        var configuration = LaneConfiguration(ports: mailbox.layout.ports, peers: 1, macLimit: 64)
        configuration.portAddresses = portAddresses
        return LaneCore(configuration, mailbox: mailbox, secret: HashSecret(using: &random))
    }

    private func installation(_ slot: Int, generation: UInt64, isConfirmed: Bool) -> LaneCommand {
        .install(
            SessionInstallation(
                peer: PeerIndex(0), localStream: stream(slot), remoteStream: 77, sendKey: GuardTests.key,
                receiveKey: GuardTests.key, cipher: .chacha20poly1305, isConfirmed: isConfirmed,
                endpoint: GuardTests.source, generation: generation, renewAfter: 1 << 32))
    }

    /// An authentic sign of life for the session in `slot`.
    private func signOfLife(_ slot: Int, counter: UInt64) throws -> [UInt8] {
        guard let key = SessionKey(.chacha20poly1305, GuardTests.key.forLane(0)) else { throw CancellationError() }
        var bytes: [UInt8] = [4, 0, 0, 0] + bigEndian(stream(slot)) + bigEndian(counter) + [UInt8](repeating: 0, count: 16)
        bytes.withMutableRawSpan { key.seal(&$0, counter: counter) }
        return bytes
    }

    @Test func whatIsForThePortsOwnInterfaceStays() {
        let mailbox = testMailbox(ports: 2, peers: 1)
        let own = MACAddress(rawValue: 0x02AA_0000_0001)
        var lane = makeLane(mailbox, portAddresses: [own, nil])
        func carries(_ destination: MACAddress, from port: Int) -> Bool {
            var frame = testFrame(to: destination, from: host(1))
            frame.withMutableRawSpan { lane.handleFrame(&$0, offload: .none, on: PortIndex(port), at: .zero) }
            lane.finishBatch(at: .zero)
            defer { lane.drained() }
            return lane.bridge.frames.count == 1
        }
        #expect(!carries(own, from: 0))
        #expect(lane.bridge.counters[.forGateway] == 1)
        // Another port's interface is a host like any other, and so is everybody on a port without one.
        #expect(
            carries(own, from: 1) && carries(host(2), from: 0) && carries(.broadcast, from: 0) && carries(.broadcast, from: 1))
        #expect(lane.bridge.counters[.forGateway] == 1)
    }

    /// A session that was agreed before the one in use is confirmed by a late datagram, and does not take its place.
    @Test(arguments: [(1, 2), (2, 1)] as [(UInt64, UInt64)])
    func aLateFirstDatagramTakesNothingBack(responded: UInt64, initiated: UInt64) throws {
        let mailbox = testMailbox(ports: 1, peers: 1)
        var lane = makeLane(mailbox)
        #expect(mailbox.commands.push(installation(1, generation: responded, isConfirmed: false)))
        #expect(mailbox.commands.push(installation(2, generation: initiated, isConfirmed: true)))
        lane.handleCommands(at: .zero)
        lane.finishBatch(at: .zero)
        lane.drained()
        var late = try signOfLife(1, counter: 0)
        late.withMutableRawSpan { lane.handleDatagram(&$0, from: GuardTests.source, at: .zero) }
        #expect(lane.bridge.links[0].session == stream(responded > initiated ? 1 : 2))
        var confirmed = 0
        while let event = mailbox.events.pop() { if case .confirmed(_, stream(1), _, _) = event { confirmed += 1 } }
        #expect(confirmed == 1)
    }

    /// What control cannot be told has not happened: the next datagram confirms.
    @Test func confirmationWaitsForRoom() throws {
        let mailbox = testMailbox(ports: 1, peers: 1)
        var lane = makeLane(mailbox)
        #expect(mailbox.commands.push(installation(1, generation: 1, isConfirmed: false)))
        lane.handleCommands(at: .zero)
        while mailbox.events.push(.renewalDue(PeerIndex(0))) {}
        var first = try signOfLife(1, counter: 0)
        first.withMutableRawSpan { lane.handleDatagram(&$0, from: GuardTests.source, at: .zero) }
        #expect(lane.bridge.links[0].session == 0 && lane.bridge.counters[.puntQueueFull] > 0)
        while mailbox.events.pop() != nil {}
        var second = try signOfLife(1, counter: 1)
        second.withMutableRawSpan { lane.handleDatagram(&$0, from: GuardTests.source, at: .zero) }
        #expect(lane.bridge.links[0].session == stream(1))
    }

    /// A flood of handshakes does not keep control from its timers.
    @Test func controlTakesSoManyHandshakesAtOnce() throws {
        let mailbox = testMailbox(ports: 1, peers: 1)
        let identity = try #require(KeyPair(privateKey: [UInt8](repeating: 7, count: 32)))
        var control = ControlCore(
            ControlConfiguration(identity: identity, peers: []), mailbox: mailbox, random: SeededRandom(seed: 1), wallClock: 0,
            at: .zero)
        let garbage = [UInt8](repeating: 1, count: 129)
        for _ in 0..<100 { #expect(mailbox.handshakes.push(garbage, GuardTests.source)) }
        control.handleEvents(at: .zero)
        #expect(control.refusedHandshakes == 64 && !mailbox.handshakes.isEmpty)
        control.handleEvents(at: .zero)
        #expect(control.refusedHandshakes == 100 && mailbox.handshakes.isEmpty)
    }
}
