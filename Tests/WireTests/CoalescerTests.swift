import Basics
import Testing
import Wire

/// Joins frames as the gateway does: each joins the one before it, or begins anew.
private struct Joiner {
    struct Run: Equatable {
        var bytes: [UInt8]
        var frames: Int
        var offload: FrameOffload
    }

    var udp = true
    private var run = Coalescer()
    private var bytes: [UInt8] = []
    private var runs: [Run] = []

    init(udp: Bool = true) { self.udp = udp }

    mutating func add(_ frame: [UInt8]) {
        let soFar = bytes
        if run.frames > 0, run.admits(frame.octets, after: soFar.octets) {
            bytes += frame[run.payloadOffset...]
            run.join(frame.octets)
            return
        }
        end()
        bytes = frame
        guard let header = FrameHeader(frame.octets), let begun = Coalescer(frame.octets, header, udp: udp) else { return end() }
        run = begun
    }

    private mutating func end() {
        guard !bytes.isEmpty else { return }
        let ended = run
        let offload = ended.frames > 1 ? mutate(&bytes) { ended.finish(&$0) } : FrameOffload.none
        runs.append(Run(bytes: bytes, frames: max(run.frames, 1), offload: offload))
        run = Coalescer()
        bytes = []
    }

    static func join(_ frames: [[UInt8]], udp: Bool = true) -> [Run] {
        var joiner = Joiner(udp: udp)
        for frame in frames { joiner.add(frame) }
        joiner.end()
        return joiner.runs
    }
}

/// The frames that a super-frame stands for.
private func cut(_ run: Joiner.Run) -> [[UInt8]]? {
    if run.offload == .none { return [run.bytes] }
    guard var segmenter = Segmenter(run.bytes.octets, offload: run.offload) else { return nil }
    var frames: [[UInt8]] = []
    var output = [UInt8](repeating: 0xEE, count: 65_600)
    while let count = mutate(&output, { segmenter.next(from: run.bytes.octets, into: &$0) }) {
        frames.append(Array(output[..<count]))
    }
    return segmenter.failed ? nil : frames
}

extension PlainFrame {
    /// A frame without options, extension headers or CWR, as most are: `tags` tags that Linux knows, and flags ACK and,
    /// on the last of what `cut` makes, PSH.
    fileprivate static func plain(
        isIPv6: Bool, isTCP: Bool, payload count: Int, tags: Int = 0, options: Int = 0, pushes: Bool = false,
        _ generator: inout SeededRandom
    ) -> PlainFrame {
        func octets(_ count: Int) -> [UInt8] { WireTests.random(count, &generator) }
        var link = octets(12)
        for index in 0..<tags { link += (index == 0 && tags > 1 ? [0x88, 0xA8] : [0x81, 0]) + octets(2) }
        link += isIPv6 ? [0x86, 0xDD] : [0x08, 0x00]
        let kind: UInt8 = isTCP ? 6 : 17
        var network: [UInt8] = isIPv6 ? [0x60 | octets(1)[0] & 15] + octets(3) + [0, 0, kind, 64] + octets(32) : []
        if !isIPv6 { network = [0x45] + octets(1) + [0, 0] + octets(2) + [0x40, 0, 64, kind, 0, 0] + octets(8) }
        var transport = octets(8)
        if isTCP {
            transport += octets(4) + [UInt8((20 + options) / 4) << 4, pushes ? 0x18 : 0x10] + octets(2) + [0, 0, 0, 0]
            transport += octets(options)
        }
        return PlainFrame(
            link: link, network: network, transport: transport, payload: octets(count), isIPv6: isIPv6, isTCP: isTCP)
    }
}

@Suite struct CoalescerTests {
    /// Two segments of TCP over IPv4, by hand: those that the Segmenter's test cuts, without CWR and FIN.
    static let first = hex(
        """
        020000000001020000000002 0800 4500002bffff40004006 26cb 0a000001 0a000002
        00500051 fffffffe 00000002 5010ffff 972b 0000 010203
        """)
    static let second = hex(
        """
        020000000001020000000002 0800 4500002a000040004006 26cc 0a000001 0a000002
        00500051 00000001 00000002 5018ffff 971f 0000 0405
        """)

    @Test func literalTCP() throws {
        let runs = Joiner.join([Self.first, Self.second])
        try #require(runs.count == 1)
        // Total length 45 with its header checksum; PSH; the pseudo-header's sum 0a00+0001+0a00+0002+6+25.
        #expect(
            runs[0].bytes
                == hex(
                    """
                    020000000001020000000002 0800 4500002dffff40004006 26c9 0a000001 0a000002
                    00500051 fffffffe 00000002 5018ffff 1422 0000 0102030405
                    """))
        #expect(
            runs[0].offload
                == FrameOffload(
                    segmentation: .tcp4, segmentSize: 3, needsChecksum: true, checksumStart: 34, checksumOffset: 16))
        #expect(cut(runs[0]) == [Self.first, Self.second])
    }

    /// Two datagrams of UDP over IPv6, tagged.
    @Test func literalUDP() throws {
        let link = "3333ff000001020000000002 8100200a 86dd"
        let addresses = "20010db8000000000000000000000001 ff3e0000000000000000000000000001"
        // Sums computed apart from this program.
        let one = hex("\(link) 60000000 000c 11 40 \(addresses) 1388 1389 000c a7c5 01020304")
        let two = hex("\(link) 60000000 000a 11 40 \(addresses) 1388 1389 000a a6c9 0506")
        let runs = Joiner.join([one, two])
        try #require(runs.count == 1 && runs[0].frames == 2)
        #expect(runs[0].bytes == hex("\(link) 60000000 000e 11 40 \(addresses) 1388 1389 000e 2d19 010203040506"))
        #expect(
            runs[0].offload
                == FrameOffload(
                    segmentation: .udp, segmentSize: 4, needsChecksum: true, checksumStart: 58, checksumOffset: 6))
        #expect(cut(runs[0]) == [one, two])
        // Not where the caller wants none.
        #expect(Joiner.join([one, two], udp: false).map(\.bytes) == [one, two])
        #expect(Joiner.join([Self.first, Self.second], udp: false).count == 1)
    }

    struct Kind: Sendable {
        let isIPv6: Bool
        let isTCP: Bool
        static let all = [false, true].flatMap { six in [false, true].map { Kind(isIPv6: six, isTCP: $0) } }
    }

    /// Streams of all shapes, mixed: what is cut again is what went in, in order; and a stream alone is one run.
    @Test(arguments: Kind.all)
    func cuttingGivesBackWhatWentIn(_ kind: Kind) throws {
        var generator = SeededRandom(seed: 0xC0A)
        for round in 0..<150 {
            let size = Int.random(in: 1...1_500, using: &generator)
            let count = size * Int.random(in: 0...12, using: &generator) + Int.random(in: 1...size, using: &generator)
            let stream = PlainFrame.plain(
                isIPv6: kind.isIPv6, isTCP: kind.isTCP, payload: count, tags: round % 3,
                options: kind.isTCP ? round % 4 * 12 % 40 : 0, pushes: round % 2 == 0, &generator)
            let frames = stream.cut(segmentSize: size)
            let runs = Joiner.join(frames)
            let isOrdinary = frames.allSatisfy { hasOrdinaryChecksums($0, stream) }
            if isOrdinary {
                try #require(runs.count == 1, "round \(round)")
                #expect(runs[0].frames == frames.count)
                if frames.count > 1 {
                    #expect(runs[0].bytes == stream.assemble(partial: true), "round \(round)")
                    #expect(runs[0].offload == stream.offload(segmentSize: size))
                }
            }
            #expect(runs.compactMap(cut).flatMap { $0 } == frames, "round \(round)")
        }
    }

    /// Frames in which octets are changed, frames that are missing, that come twice or in another order: never a frame that
    /// did not go in, never a trap.
    @Test(arguments: Kind.all)
    func mutationsNeverChangeAFrame(_ kind: Kind) throws {
        var generator = SeededRandom(seed: 0xBAD5)
        var joined = 0
        for round in 0..<400 {
            let size = Int.random(in: 1...120, using: &generator)
            let stream =
                round % 5 == 0
                ? PlainFrame.random(isIPv6: kind.isIPv6, isTCP: kind.isTCP, payload: size * 8, &generator)
                : PlainFrame.plain(
                    isIPv6: kind.isIPv6, isTCP: kind.isTCP, payload: size * 8, tags: round % 3, pushes: true, &generator)
            var frames = stream.cut(segmentSize: size)
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                let index = Int.random(in: 0..<frames.count, using: &generator)
                switch Int.random(in: 0...5, using: &generator) {
                case 0: frames.remove(at: index)
                case 1: frames.insert(frames[index], at: index)
                case 2: frames.swapAt(index, (index + 1) % frames.count)
                case 3: frames[index] += [0, 0]
                case 4: frames[index].removeLast()
                default:
                    let headers = stream.link.count + stream.network.count + stream.transport.count
                    let place = Int.random(in: 0..<min(headers + 4, frames[index].count), using: &generator)
                    frames[index][place] ^= 1 << UInt8.random(in: 0...7, using: &generator)
                }
            }
            let runs = Joiner.join(frames)
            joined += runs.filter { $0.frames > 1 }.count
            #expect(runs.compactMap(cut).flatMap { $0 } == frames, "round \(round)")
            #expect(runs.reduce(0) { $0 + $1.frames } == frames.count)
        }
        #expect(joined > 300)
    }

    /// Random octets and captures are left alone.
    @Test func othersStayAlone() {
        var generator = SeededRandom(seed: 3)
        let frames =
            Sample.all + Sample.all.map { Sample.tagged($0, [(0x8100, 5)]) }
            + (0..<500).map { _ in random(Int.random(in: 0...90, using: &generator), &generator) }
        let nonempty = frames.filter { !$0.isEmpty }
        #expect(Joiner.join(nonempty).map(\.bytes) == nonempty)
    }

    /// A corrupt frame stays corrupt, wherever it is in the run.
    @Test(arguments: Kind.all)
    func corruptFramesNeverJoin(_ kind: Kind) throws {
        var generator = SeededRandom(seed: 0xC0)
        let stream = PlainFrame.plain(isIPv6: kind.isIPv6, isTCP: kind.isTCP, payload: 400, &generator)
        let good = stream.cut(segmentSize: 100)
        try #require(good.allSatisfy { hasOrdinaryChecksums($0, stream) })
        #expect(Joiner.join(good).count == 1)
        for index in good.indices {
            var frames = good
            frames[index][frames[index].count - 1] ^= 1
            let runs = Joiner.join(frames)
            #expect(runs.contains(Joiner.Run(bytes: frames[index], frames: 1, offload: .none)), "frame \(index)")
            #expect(runs.compactMap(cut).flatMap { $0 } == frames)
        }
        guard !kind.isIPv6 else { return }
        // The header's own checksum.
        var frames = good
        frames[1][24] ^= 0x40
        #expect(Joiner.join(frames).contains(Joiner.Run(bytes: frames[1], frames: 1, offload: .none)))
    }

    /// Each rule, alone: two frames that join, then the second with one thing changed and all checksums right.
    @Test(arguments: Kind.all)
    func rules(_ kind: Kind) throws {
        var generator = SeededRandom(seed: 0x401E5)
        let stream = PlainFrame.plain(
            isIPv6: kind.isIPv6, isTCP: kind.isTCP, payload: 200, tags: 1, options: kind.isTCP ? 12 : 0, &generator)
        func part(_ index: Int) -> PlainFrame {
            var part = stream
            part.payload = Array(stream.payload[(index * 100)..<(index * 100 + 100)])
            if !kind.isIPv6 {
                let identification = Int(part.network[4]) << 8 | Int(part.network[5])
                put(be16((identification + index) & 0xFFFF), in: &part.network, at: 4)
            }
            if kind.isTCP {
                let sequence = part.transport[4..<8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                put(be32(sequence &+ UInt32(100 * index)), in: &part.transport, at: 4)
            }
            return part
        }
        func joins(_ change: (inout PlainFrame) -> Void) -> Bool {
            var second = part(1)
            change(&second)
            let frames = [part(0).assemble(), second.assemble()]
            let runs = Joiner.join(frames)
            #expect(runs.compactMap(cut).flatMap { $0 } == frames)
            return runs.count == 1
        }
        #expect(joins { _ in })
        #expect(joins { $0.payload.removeLast() })
        #expect(!joins { $0.payload.append(0) })
        #expect(!joins { $0.payload.removeAll() })
        for offset in 0..<16 { #expect(!joins { $0.link[offset] ^= 1 }, "link \(offset)") }
        let fields = kind.isIPv6 ? [0, 1, 2, 3, 7] + Array(8..<40) : [1, 4, 5, 6, 8] + Array(12..<20)
        for offset in fields { #expect(!joins { $0.network[offset] ^= 1 }, "network \(offset)") }
        if !kind.isIPv6 { #expect(!joins { $0.network[6] ^= 0x20 } && !joins { $0.network[7] ^= 1 }) }
        if !kind.isTCP {
            for offset in 0..<4 { #expect(!joins { $0.transport[offset] ^= 1 }, "transport \(offset)") }
            return
        }
        for offset in Array(0..<13) + [14, 15, 18, 19] + Array(20..<32) {
            #expect(!joins { $0.transport[offset] ^= 1 }, "transport \(offset)")
        }
        #expect(joins { $0.transport[13] |= 0x08 })
        for flag in [0x01, 0x02, 0x04, 0x10, 0x20, 0x40, 0x80] as [UInt8] {
            #expect(!joins { $0.transport[13] ^= flag }, "flag \(flag)")
        }
    }

    /// After a shorter frame or one with PSH, the next begins a run of its own.
    @Test func whatEndsARun() throws {
        var generator = SeededRandom(seed: 0xE4D)
        var stream = PlainFrame.plain(isIPv6: true, isTCP: true, payload: 400, &generator)
        var frames = stream.cut(segmentSize: 100)
        let pushed = frames[1].count - 100 - 20 + 13
        frames[1][pushed] |= 0x08
        let field = frames[1].count - 100 - 20 + 16
        let old = Int(frames[1][field]) << 8 | Int(frames[1][field + 1])
        put(be16((old - 8 + 0xFFFF) % 0xFFFF), in: &frames[1], at: field)
        let runs = Joiner.join(frames)
        #expect(runs.map(\.frames) == [2, 2])
        #expect(runs.compactMap(cut).flatMap { $0 } == frames)
        // A first frame with PSH, FIN or CWR takes nothing.
        for flags in [0x18, 0x11, 0x90, 0x12, 0x14, 0x30, 0x00] as [UInt8] {
            stream.transport[13] = flags
            let first = { (frame: PlainFrame) in
                var frame = frame
                frame.payload.removeLast(200)
                return frame.assemble()
            }(stream)
            #expect(!begins(first), "flags \(flags)")
        }
    }

    @Test func limits() {
        var generator = SeededRandom(seed: 0x11)
        // 65 datagrams: 64 and 1.
        let datagrams = PlainFrame.plain(isIPv6: false, isTCP: false, payload: 65 * 20, &generator).cut(segmentSize: 20)
        #expect(Joiner.join(datagrams).map(\.frames) == [64, 1])
        let segments = PlainFrame.plain(isIPv6: false, isTCP: true, payload: 129 * 20, &generator).cut(segmentSize: 20)
        #expect(Joiner.join(segments).map(\.frames) == [128, 1])
        // 45 segments of 1448 octets are the most below 64 KiB.
        let large = PlainFrame.plain(isIPv6: true, isTCP: true, payload: 60_000, &generator).cut(segmentSize: 1_448)
        #expect(Joiner.join(large).map(\.frames) == [42])
        let jumbo = PlainFrame.plain(isIPv6: true, isTCP: true, payload: 60_000, &generator)
        var next = jumbo
        put(
            be32(jumbo.transport[4..<8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } &+ 60_000), in: &next.transport, at: 4)
        let runs = Joiner.join(jumbo.cut(segmentSize: 9_000) + next.cut(segmentSize: 9_000))
        #expect(runs.allSatisfy { $0.bytes.count <= 65_535 })
        #expect(runs.map(\.frames) == [7, 7])
    }

    /// Where ones' complement has two zeros, the sum that cutting computes may not be the sender's.
    @Test func theOtherZeroStaysAlone() throws {
        var generator = SeededRandom(seed: 0x2E60)
        for kind in Kind.all {
            var stream = PlainFrame.plain(isIPv6: kind.isIPv6, isTCP: kind.isTCP, payload: 200, &generator)
            // The payload's first word such that the first frame's sum comes to zero.
            put([0, 0], in: &stream.payload, at: 0)
            let probe = stream.cut(segmentSize: 100)[0]
            let field = probe.count - 100 - stream.transport.count + (kind.isTCP ? 16 : 6)
            put([probe[field], probe[field + 1]], in: &stream.payload, at: 0)
            var frames = stream.cut(segmentSize: 100)
            let sum = Array(frames[0][field..<(field + 2)])
            try #require(sum == (kind.isTCP ? [0, 0] : [0xFF, 0xFF]))
            // UDP's 0xffff is the only one it may have.
            #expect(Joiner.join(frames).count == (kind.isTCP ? 2 : 1))
            put(kind.isTCP ? [0xFF, 0xFF] : [0, 0], in: &frames[0], at: field)
            #expect(Joiner.join(frames).map(\.bytes) == frames)
        }
    }

    @Test func unknownTagsStayAlone() {
        let good = [Self.first, Self.second]
        #expect(Joiner.join(good.map { Sample.tagged($0, [(0x88A8, 1), (0x8100, 2)]) }).count == 1)
        for tags in [[(0x9100, 1)], [(0x8100, 1), (0x9200, 2)], [(0x8100, 1), (0x8100, 1), (0x8100, 1)]] {
            #expect(Joiner.join(good.map { Sample.tagged($0, tags) }).count == 2)
        }
    }
}

/// Whether a run can begin with the frame.
private func begins(_ frame: [UInt8]) -> Bool {
    guard let header = FrameHeader(frame.octets) else { return false }
    return Coalescer(frame.octets, header, udp: true) != nil
}

/// False when a checksum of the frame is one of the zeros that do not join.
private func hasOrdinaryChecksums(_ frame: [UInt8], _ stream: PlainFrame) -> Bool {
    guard stream.isTCP else { return true }
    let field = stream.link.count + stream.network.count + 16
    let sum = Int(frame[field]) << 8 | Int(frame[field + 1])
    return sum != 0 && sum != 0xFFFF
}
