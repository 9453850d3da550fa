// One snooper on the bench: the steps that an input may ask for, and what is
// looked at after each. `SnooperFuzzing` runs it.

import Basics
import Buffers
import Switching
import Wire

struct SnooperBench: ~Copyable {
    private var snooper: Snooper
    private let lane: ForwardingTable
    private var now = Instant(nanoseconds: 1_000_000_000)
    /// What the peer has still to be told.
    private var feed = FactFeed()
    /// What it has been told.
    private var told = ToldFacts()
    /// What each peer has told.
    private var heard = [ToldFacts](repeating: ToldFacts(), count: SnooperFuzzing.peers)
    private(set) var problems: [String] = []
    /// 146 years. A clock that is as far as time can say has timers that cannot lie ahead of it.
    private static let end = Instant(nanoseconds: 1 << 62)
    /// From then on what runs is not waited for.
    private static let nearEnd = Instant(nanoseconds: 1 << 61)

    /// - Parameter reader: three octets of configuration, then steps.
    init(_ reader: inout FuzzReader) {
        let board: ForwardingBoard
        (snooper, board) = SnooperBench.make(SnooperBench.configuration(&reader), at: now)
        lane = ForwardingTable(board)
        feed.restart(snooper.book)
        look("made", from: nil, .none)
    }

    /// With few tallies, so that there are sometimes none left.
    private static func make(_ configuration: SnoopingConfiguration, at now: Instant) -> (Snooper, ForwardingBoard) {
        var random = SeededRandom(seed: 1)
        let board = ForwardingBoard(tallies: 16, secret: HashSecret(using: &random))
        let plan = ForwardingPlan(board: board, ports: configuration.ports, peers: configuration.peers)
        return (Snooper(configuration, plan: plan, version: 1, random: &random, at: now), board)
    }

    private static func configuration(_ reader: inout FuzzReader) -> SnoopingConfiguration {
        var configuration = SnoopingConfiguration(ports: SnooperFuzzing.ports, peers: SnooperFuzzing.peers)
        let switches = reader.byte()
        let limits = reader.byte()
        let more = reader.byte()
        configuration.isEnabled = switches & 0x3F != 0x3F
        configuration.igmp.isQuerier = switches & 1 == 0
        configuration.mld.isQuerier = switches & 1 == 0
        configuration.igmp.isStrict = switches & 2 != 0
        configuration.mld.isStrict = switches & 2 != 0
        configuration.floodsUnregistered = switches & 4 != 0
        configuration.groups.tracking = switches & 8 == 0
        configuration.groups.fastLeave = switches & 16 != 0 ? PortSet(PortIndex(1)) : .none
        configuration.igmp.generation = switches & 32 != 0 ? .second : .third
        configuration.mld.generation = configuration.igmp.generation
        configuration.routerSites = SnoopingConfiguration.RouterSites.allCases[Int(switches >> 6) % 3]
        configuration.groups.groupLimit = [3, 1, 6, 64][Int(limits & 3)]
        configuration.groups.sourceLimit = [3, 1, 5, 64][Int(limits >> 2 & 3)]
        configuration.groups.memberLimit = [4, 1, 8, 64][Int(limits >> 4 & 3)]
        configuration.interestLimit = [4, 1, 12, 64][Int(limits >> 6)]
        configuration.reportLimit = more & 1 != 0 ? 4 : 64
        configuration.routerPorts = more & 2 != 0 ? PortSet(PortIndex(0)) : .none
        configuration.routerlessPorts = more & 4 != 0 ? PortSet(PortIndex(1)) : .none
        configuration.reportFloodPorts = more & 8 != 0 ? PortSet(PortIndex(1)) : .none
        if more & 16 != 0 {
            for family in IPFamily.allCases {
                configuration.statics += [
                    .init(GroupKey(.untagged, FuzzAddress.group(1, family)), source: nil),
                    .init(GroupKey(.untagged, FuzzAddress.group(4, family)), source: FuzzAddress.source(0, family)),
                    .init(GroupKey(VLAN(rawValue: 10), FuzzAddress.group(1, family)), source: FuzzAddress.source(1, family)),
                ]
            }
        }
        if more & 32 != 0 {
            configuration.igmp.timing.robustness = 1
            configuration.mld.timing.robustness = 1
        }
        return configuration
    }

    // MARK: Steps

    mutating func step(_ reader: inout FuzzReader) {
        switch reader.number(14) {
        case 0: pass(.milliseconds(Int64(reader.word())))
        case 1: pass(.seconds(Int64(reader.byte())))
        case 2: waitForTimer()
        case 3: pass(.nanoseconds(1 << Int64(reader.byte() % 63)))
        case 4: hear(report(&reader), &reader)
        case 5: hear(oldReport(&reader), &reader)
        case 6: hear(query(&reader), &reader)
        case 7: hear(router(&reader), &reader)
        case 8:
            let head = frame(&reader)
            hear(head.bytes(reader.take(reader.number(256))), &reader)
        case 9: hear(reader.take(reader.number(256)), &reader)
        case 10: beTold(&reader)
        case 11: beTold(octets: reader.take(reader.number(256)), PeerIndex(reader.number(SnooperFuzzing.peers + 1)))
        case 12: changePeer(&reader)
        default: changePort(&reader)
        }
    }

    private mutating func pass(_ interval: Interval) {
        now = min(now + interval, SnooperBench.end)
        settle("\(interval) passed")
    }

    private mutating func waitForTimer() {
        let next = snooper.nextTimeout
        if next > SnooperBench.end { return }
        now = max(now, next)
        settle("a timer ran out")
    }

    /// A frame on one port.
    private mutating func hear(_ frame: [UInt8], _ reader: inout FuzzReader) {
        let port = PortIndex(reader.number(SnooperFuzzing.ports))
        let before = routerPorts(frame)
        snooper.handleFrame(frame, on: port, at: now)
        look("a frame", from: port, before)
    }

    private mutating func beTold(octets: [UInt8], _ peer: PeerIndex) {
        let message = FactMessage.parse(octets)
        if let message, peer.index < heard.count { heard[peer.index].handle(message) }
        switch message {
        case .facts(let facts):
            if FactMessage.parse(FactMessage.facts(facts).encoded) != .facts(facts) {
                problems.append("facts are not told as read")
            }
            snooper.handleFacts(facts, from: peer, at: now)
        case .allTold: snooper.handleAllTold(by: peer, at: now)
        case nil: break
        }
        look("facts", from: nil, .none)
    }

    private mutating func beTold(_ reader: inout FuzzReader) {
        let choice = reader.byte()
        let family = SnooperBench.family(choice)
        let vlan = SnooperBench.vlan(choice)
        let number = reader.number(256)
        let group = FuzzAddress.group(number & 7, family)
        let source = number & 8 != 0 ? FuzzAddress.source(number >> 4, family) : nil
        let version = UInt64(reader.byte())
        let isGone = choice & 4 != 0
        let fact =
            switch choice >> 4 & 7 {
            case 0: Fact(.unregistered, version: version, isGone ? nil : .unregistered)
            case 1:
                Fact(
                    .routers(number & 1 == 0 ? vlan : nil, family), version: version,
                    isGone ? nil : .routers(RouterKinds(rawValue: UInt8(number >> 4)), wantsEverything: number & 2 != 0))
            case 2:
                Fact(
                    .interest(vlan, group: .unspecified(family), source: nil), version: version,
                    isGone ? nil : .interest(isExcluded: false, .third))
            default:
                Fact(
                    .interest(vlan, group: group, source: source), version: version,
                    isGone ? nil : .interest(isExcluded: choice & 8 != 0 && source != nil, .second))
            }
        beTold(octets: FactMessage.facts([fact]).encoded, PeerIndex(reader.number(SnooperFuzzing.peers)))
    }

    private mutating func changePeer(_ reader: inout FuzzReader) {
        let choice = reader.byte()
        let peer = PeerIndex(Int(choice >> 2) % (SnooperFuzzing.peers + 1))
        let isThere = peer.index < heard.count
        switch choice & 3 {
        case 0:
            snooper.handlePeerDown(peer, at: now)
            if isThere { heard[peer.index].handleDown() }
        case 1:
            snooper.handleStreamBegan(by: peer)
            if isThere { heard[peer.index].handleStreamBegan() }
        case 2:
            snooper.handleAllTold(by: peer, at: now)
            if isThere { heard[peer.index].handle(.allTold) }
        default:
            // A peer that is told of us comes back, and is told everything anew.
            feed.restart(snooper.book)
            told.handleStreamBegan()
        }
        look("a peer", from: nil, .none)
    }

    private mutating func changePort(_ reader: inout FuzzReader) {
        let choice = reader.byte()
        let port = PortIndex(Int(choice >> 2) % SnooperFuzzing.ports)
        switch choice & 3 {
        case 0: snooper.handlePort(port, isUp: true, at: now)
        case 1: snooper.handlePort(port, isUp: false, at: now)
        case 2: snooper.handleOverflow(on: port, at: now)
        default:
            if choice & 4 != 0 { lane.acknowledge() }
            checkTables()
        }
        look("a port", from: nil, .none)
    }

    // MARK: Frames

    private static func family(_ choice: UInt8) -> IPFamily { choice & 1 == 0 ? .v4 : .v6 }
    private static func vlan(_ choice: UInt8) -> VLAN { choice & 2 == 0 ? .untagged : VLAN(rawValue: 10) }
    private static func mac(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0000_0200 + UInt64(number)) }

    private func frame(_ reader: inout FuzzReader) -> FuzzFrame {
        let choice = reader.byte()
        let family = SnooperBench.family(choice)
        var frame = FuzzFrame(
            family: family, source: FuzzAddress.host(Int(choice >> 4), family),
            destination: FuzzAddress.destination(reader.number(7), family))
        frame.vlan = SnooperBench.vlan(choice)
        frame.hasRouterAlert = choice & 4 == 0
        frame.mac = SnooperBench.mac(Int(choice >> 4))
        return frame
    }

    /// A report of the third generation: a head, then records of a kind, a group and a mask of sources.
    private func report(_ reader: inout FuzzReader) -> [UInt8] {
        let choice = reader.byte()
        let family = SnooperBench.family(choice)
        var records: [GroupRecord] = []
        for _ in 0...(choice >> 2 & 3) {
            let what = reader.number(256)
            let mask = reader.byte()
            records.append(
                GroupRecord(
                    GroupRecordKind.allCases[what % 6], FuzzAddress.group(what / 6, family),
                    (0..<8).filter { mask >> $0 & 1 != 0 }.map { FuzzAddress.source($0, family) }))
        }
        let host = Int(choice >> 4)
        return MembershipFrame.reports(
            records, source: FuzzAddress.host(host, family), from: SnooperBench.mac(host), vlan: SnooperBench.vlan(choice))[0]
    }

    private func oldReport(_ reader: inout FuzzReader) -> [UInt8] {
        let choice = reader.byte()
        let family = SnooperBench.family(choice)
        let what = reader.number(256)
        let host = Int(choice >> 4)
        let (group, source) = (FuzzAddress.group(what / 4, family), FuzzAddress.host(host, family))
        let generation: MembershipGeneration = choice & 4 == 0 ? .second : .first
        if choice & 8 != 0 {
            return MembershipFrame.leave(
                group: group, source: source, from: SnooperBench.mac(host), vlan: SnooperBench.vlan(choice))
        }
        return MembershipFrame.report(
            generation: generation, group: group, source: source, from: SnooperBench.mac(host), vlan: SnooperBench.vlan(choice))
    }

    private func query(_ reader: inout FuzzReader) -> [UInt8] {
        let choice = reader.byte()
        let family = SnooperBench.family(choice)
        let what = reader.number(256)
        let mask = reader.byte()
        let time = reader.byte()
        let generation = MembershipGeneration(rawValue: UInt8(what & 3)) ?? .third
        let group: IPAddress? = what & 4 == 0 ? nil : FuzzAddress.group(what >> 4, family)
        let query = MembershipQuery(
            generation: generation, group: group,
            sources: generation == .third && group != nil
                ? (0..<8).filter { mask >> $0 & 1 != 0 }.map { FuzzAddress.source($0, family) } : [],
            maxResponse: MembershipCode.igmpMaxResponse(time), suppress: what & 8 != 0, robustness: UInt8(what >> 4 & 7),
            queryInterval: MembershipCode.queryInterval(mask ^ time))
        let router = Int(choice >> 4)
        return MembershipFrame.query(
            query, source: FuzzAddress.host(router, family), from: SnooperBench.mac(router), vlan: SnooperBench.vlan(choice))
    }

    private func router(_ reader: inout FuzzReader) -> [UInt8] {
        let choice = reader.byte()
        let family = SnooperBench.family(choice)
        let time = reader.byte()
        let number = Int(choice >> 4)
        let (source, mac, vlan) = (FuzzAddress.host(number, family), SnooperBench.mac(number), SnooperBench.vlan(choice))
        switch choice >> 2 & 3 {
        case 0:
            let holdTime: Interval? = time == 255 ? nil : .seconds(Int64(time))
            return MembershipFrame.pimHello(PIMHello(source: source, holdTime: holdTime), from: mac, vlan: vlan)
        case 1:
            return MembershipFrame.advertisement(
                interval: .seconds(Int64(time)), queryInterval: .seconds(125), robustness: 2, source: source, from: mac,
                vlan: vlan)
        case 2: return MembershipFrame.termination(source: source, from: mac, vlan: vlan)
        default: return MembershipFrame.solicitation(source: source, from: mac, vlan: vlan)
        }
    }

    // MARK: Looking

    /// Lets what is due run out, as a driver does, and looks.
    private mutating func settle(_ what: String) {
        let before = PortSet(first: SnooperFuzzing.ports)
        if snooper.nextTimeout <= now { snooper.handleTimeout(at: now) }
        if snooper.nextTimeout <= now {
            problems.append("\(what), and a timer that is due is left behind")
        }
        look(what, from: nil, before)
    }

    /// - Parameters:
    ///   - port: where the frame came from that was just heard.
    ///   - routers: ports with routers before.
    private mutating func look(_ what: String, from port: PortIndex?, _ routers: PortSet) {
        var found = snooper.groups.checkInvariants()
        let limits = snooper.configuration.groups
        if snooper.groups.entryCount > limits.groupLimit { found.append("\(snooper.groups.entryCount) entries") }
        if snooper.groups.memberCount > limits.memberLimit { found.append("\(snooper.groups.memberCount) members") }
        if snooper.routers.rows.count > 1_024 { found.append("\(snooper.routers.rows.count) routers") }
        var frames = 0
        while let frame = snooper.pollFrame() {
            found += check(frame, from: port, routers)
            frames += 1
        }
        if frames > 64 * SnooperFuzzing.ports { found.append("\(frames) frames at once") }
        while snooper.pollEvent() != nil {}
        for key in snooper.takeChangedFacts() { feed.note(key) }
        tell(&found)
        problems += found.map { "\(what): \($0)" }
    }

    /// Ports of the frame's VLAN and family that lead to routers.
    private func routerPorts(_ frame: [UInt8]) -> PortSet {
        frame.withRawSpan { frame -> PortSet in
            guard let header = FrameHeader(frame) else { return .none }
            return snooper.routers.ports(header.vlan, header.etherType == .ipv4 ? .v4 : .v6)
        }
    }

    private func check(_ frame: SnooperFrame, from port: PortIndex?, _ routers: PortSet) -> [String] {
        var found: [String] = []
        let all = PortSet(first: SnooperFuzzing.ports)
        if frame.ports.isEmpty || frame.ports.union(all) != all { found.append("a frame for ports \(frame.ports.rawValue)") }
        let parse = frame.bytes.withRawSpan { bytes in
            FrameHeader(bytes).map { MembershipPacket.parse(bytes, $0) } ?? .other
        }
        guard case .packet(let packet) = parse else { return found + ["a frame that is not read: \(parse)"] }
        switch packet.message {
        case .query: break
        case .report:
            // Rules 1 and 35: to routers, and where the configuration says so.
            let allowed = routerPorts(frame.bytes).union(routers).union(snooper.configuration.reportFloodPorts)
            if frame.ports.union(allowed) != allowed { found.append("a report for hosts on ports \(frame.ports.rawValue)") }
        case .advertisement, .solicitation, .termination: found.append("a frame that the lane forwards: \(packet.message)")
        }
        // What came in goes on elsewhere; what is ours is from our address.
        let isOurs = frame.bytes.withRawSpan { FrameHeader($0)?.source } == snooper.configuration.fallbackAddress
        if let port, !isOurs, frame.ports.contains(port) { found.append("a frame goes back to where it came from") }
        return found
    }

    /// Tells a peer the next message.
    private mutating func tell(_ found: inout [String]) {
        guard let octets = feed.pollMessage(snooper.book) else { return }
        if let message = FactMessage.parse(octets) { told.handle(message) } else { found.append("facts that are not read") }
    }

    // MARK: At the end

    mutating func finish() {
        var found: [String] = []
        while !feed.isEmpty { tell(&found) }
        problems += found
        checkTables()
        checkTold()
        // All that hosts wanted runs out when nobody repeats it.
        guard now < SnooperBench.nearEnd else { return }
        for _ in 0..<10_000 where snooper.groups.nextTimeout != .distantFuture { waitForTimer() }
        if !snooper.groups.keys.isEmpty { problems.append("a membership that nobody repeats never ends") }
    }

    /// A peer knows of every group what this site wants, and this one what each peer wants.
    private mutating func checkTold() {
        // Without snooping it wants everything, and tells only that.
        guard snooper.configuration.isEnabled else { return }
        let rows = snooper.snapshot(withGroups: true, at: now).groups
        let known = Set(snooper.groups.keys + rows.map(\.key))
        for key in known.union(told.groups).sorted() where told.wish(key) != snooper.ownWish(key) {
            problems.append("\(key.group): wants \(snooper.ownWish(key)), told \(told.wish(key))")
        }
        guard snooper.counters[.interestLimit] == 0 else { return }
        for (index, facts) in heard.enumerated() {
            for key in known.union(facts.groups).sorted() {
                let wish = snooper.explain(key, source: nil, to: PeerIndex(index)).wish
                if facts.wish(key) != wish { problems.append("\(key.group): told \(facts.wish(key)), known \(wish)") }
            }
        }
    }

    /// The published table, control's copy of it and `explain` are of one mind, and only of ports and peers that there are.
    private mutating func checkTables() {
        guard snooper.configuration.isEnabled else { return }
        let snapshot = snooper.snapshot(withGroups: true, at: now)
        for index in 0..<SnooperFuzzing.peers {
            let peer = PeerIndex(index)
            let facts = snapshot.groups.reduce(0) { sum, row in
                sum + (row.sites.first { $0.peer == peer }.map { $0.wish.sources.count } ?? 0)
            }
            if facts > snooper.configuration.interestLimit { problems.append("\(facts) facts of interest of peer \(index)") }
        }
        for row in snapshot.groups where !row.key.group.isUnspecified {
            var sources: [IPAddress?] = [nil]
            for number in 0..<8 { sources.append(FuzzAddress.source(number, row.key.family)) }
            for source in sources {
                let real = source ?? .unspecified(row.key.family)
                let planned = snooper.plan.fanOut(row.key.vlan, group: row.key.group, source: real)
                let found = lane.find(row.key.vlan, group: row.key.group, source: real).map { lane.fanOut($0) }
                if found != planned {
                    problems.append("\(row.key.group): a lane's entry is not the planned one")
                }
                if planned != expected(row.key, source) {
                    problems.append("\(row.key.group) from \(real): planned \(planned), explained \(expected(row.key, source))")
                }
            }
        }
    }

    /// What `explain` says of each port and each peer.
    private func expected(_ key: GroupKey, _ source: IPAddress?) -> FanOut {
        var fanOut = FanOut.none
        for decision in snooper.explain(key, source: source, to: nil).decisions {
            if let port = decision.port, decision.reason.isForwarded { fanOut.ports = fanOut.ports.inserting(port) }
        }
        for index in 0..<SnooperFuzzing.peers {
            let decisions = snooper.explain(key, source: source, to: PeerIndex(index)).decisions
            if decisions.first?.reason.isForwarded == true { fanOut.peers.insert(PeerIndex(index)) }
        }
        return fanOut
    }
}
