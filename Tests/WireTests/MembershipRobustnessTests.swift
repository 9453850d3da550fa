// Nothing from the network traps the parsers of memberships, or makes state when a checksum is wrong: every prefix and every
// mutation of one octet of sample frames, and seeded noise.

import Basics
import Testing
import Wire

@Suite struct MembershipRobustnessTests {
    static let frames: [[UInt8]] = {
        let mac = MACAddress(rawValue: 0x02_00_00_00_00_07)
        var frames = Heard.all
        for (source, group) in [
            (v4("192.0.2.7"), v4("239.1.1.1")), (v6(0xFE80_0000_0000_0000, 7), v6(0xFF0E_0000_0000_0000, 0x101)),
        ] {
            frames.append(
                MembershipFrame.query(
                    MembershipQuery(
                        group: group, sources: [source, source], maxResponse: .seconds(1), robustness: 2,
                        queryInterval: .seconds(125)), source: source, from: mac, vlan: VLAN(rawValue: 10)))
            frames += MembershipFrame.reports(
                [
                    GroupRecord(.isInclude, group, [source]), GroupRecord(.toExclude, group),
                    GroupRecord(.block, group, [source]),
                ], source: source, from: mac, vlan: .untagged)
            for generation in [MembershipGeneration.first, .second] {
                frames.append(
                    MembershipFrame.report(
                        generation: generation, group: group, source: source, from: mac, vlan: .untagged))
                frames.append(
                    MembershipFrame.query(
                        MembershipQuery(generation: generation, maxResponse: .seconds(10)), source: source, from: mac,
                        vlan: .untagged))
            }
            frames.append(
                MembershipFrame.advertisement(
                    interval: .seconds(20), queryInterval: .seconds(125), robustness: 2, source: source, from: mac,
                    vlan: .untagged))
            frames.append(MembershipFrame.termination(source: source, from: mac, vlan: .untagged))
            frames.append(
                MembershipFrame.pimHello(
                    PIMHello(source: source, designatedRouterPriority: 1, generationID: 2), from: mac, vlan: .untagged))
        }
        return frames
    }()

    /// What a frame says, by both parsers, after the classifier has looked at it too.
    private func said(_ frame: [UInt8]) -> (membership: MembershipPacket?, hello: PIMHello?) {
        _ = multicast(frame)
        var packet: MembershipPacket?
        var heard: PIMHello?
        if case .packet(let parsed) = parsed(frame) { packet = parsed }
        if case .hello(let parsed) = hello(frame) { heard = parsed }
        return (packet, heard)
    }

    @Test func theSamplesAreSound() {
        for frame in Self.frames {
            let said = said(frame)
            #expect((said.membership == nil) != (said.hello == nil))
            let kind = multicast(frame)?.kind
            #expect(said.hello == nil ? kind == .membership || kind == .discovery : kind == .pim)
        }
    }

    @Test func noPrefixSaysAnything() {
        for frame in Self.frames {
            for count in 0..<frame.count {
                let said = said([UInt8](frame.prefix(count)))
                #expect(said.membership == nil && said.hello == nil)
            }
        }
    }

    /// Whatever octet of the packet changes, and to whatever: nothing is said, or it is said by octets that no checksum covers.
    @Test func noMutationOfWhatIsSummedSaysAnything() {
        var tried = 0
        for frame in Self.frames {
            guard let header = FrameHeader(frame.octets) else {
                Issue.record("no frame")
                return
            }
            let isIPv4 = header.etherType == .ipv4
            // IPv4's header is summed whole; of IPv6's the addresses, and what follows the hop-by-hop header.
            let isBehindOptions = frame[header.payloadOffset + 6] == 0
            let summed = { (offset: Int) in isIPv4 || offset >= 8 && (offset < 40 || !isBehindOptions || offset >= 48) }
            for place in header.payloadOffset..<frame.count where summed(place - header.payloadOffset) {
                for change in UInt8(1)...255 {
                    var mutated = frame
                    mutated[place] ^= change
                    let said = said(mutated)
                    tried += 1
                    guard said.membership == nil, said.hello == nil else {
                        Issue.record("octet \(place) of \(frame) changed by \(change)")
                        return
                    }
                }
            }
        }
        #expect(tried > 300_000)
    }

    /// Mutations with a checksum made right again, so that what is behind it is reached.
    @Test func noiseBehindASoundChecksum() {
        var generator = SeededRandom(seed: 0x1639)
        var packets = 0
        var refused = 0
        for round in 0..<60_000 {
            let isIPv4 = round % 2 == 0
            let kinds: [UInt8] = isIPv4 ? [0x11, 0x12, 0x16, 0x17, 0x22, 0x30] : [130, 131, 132, 143, 151]
            var octets = random(Int.random(in: 4...80, using: &generator), &generator)
            octets[0] = kinds.randomElement(using: &generator)!
            // Small counts, so that some records fit.
            if octets.count >= 16 {
                put([0, UInt8.random(in: 0...3, using: &generator)], in: &octets, at: 6)
                put([UInt8.random(in: 0...7, using: &generator), 0, 0], in: &octets, at: 8)
                octets[11] &= 3
                octets[12] = isIPv4 ? 0xEF : 0xFF
            }
            let text = octets.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            switch parsed(isIPv4 ? igmp4(text) : icmp6(text)) {
            case .packet: packets += 1
            case .refused(let refusal, let family):
                #expect(refusal != .badChecksum && refusal != .fragment && family == (isIPv4 ? .v4 : .v6))
                refused += 1
            case .other: Issue.record("\(text) is neither read nor refused")
            }
        }
        #expect(packets > 10_000 && refused > 10_000)
    }

    @Test func noise() {
        var generator = SeededRandom(seed: 0x9776)
        var kinds: [MulticastHeader.Kind: Int] = [:]
        for round in 0..<100_000 {
            var frame = Self.frames[round % Self.frames.count]
            for _ in 0...Int.random(in: 0...3, using: &generator) {
                let place = Int.random(in: 0..<frame.count, using: &generator)
                frame[place] = UInt8.random(in: 0...255, using: &generator)
            }
            if round % 4 == 0 { frame = [UInt8](frame.prefix(Int.random(in: 14...frame.count, using: &generator))) }
            _ = said(frame)
            if let kind = multicast(frame)?.kind { kinds[kind, default: 0] += 1 }
        }
        #expect(MulticastHeader.Kind.allCases.allSatisfy { kinds[$0, default: 0] > 0 })
    }
}
