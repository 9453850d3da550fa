// The corpora of the fuzzers of what comes over the WAN, each input once, seeds damaged a little, and inputs drawn at random:
// what a fuzzer has found, or found worth keeping, holds in every build. tools/fuzz/run looks for more.

import Basics
import Foundation
import Testing

@Suite struct GatewayFuzzCorpusTests {
    private static let corpora = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("tools/fuzz/corpus")

    /// Those that make a whole gateway for each input, which takes its time where nothing is optimised.
    private static func isWhole(_ body: GatewayFuzzBody) -> Bool { body == .agreement || body == .lane }

    @Test(arguments: GatewayFuzzBody.allCases)
    func everyInputHolds(_ body: GatewayFuzzBody) throws {
        let folder = Self.corpora.appendingPathComponent(body.rawValue)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(names.contains { $0.hasPrefix("seed-") })
        #expect(names.count <= 300)
        var random = SeededRandom(seed: 1)
        for name in names {
            let input = try [UInt8](Data(contentsOf: folder.appendingPathComponent(name)))
            #expect(body.run(input) == [], "tools/fuzz/corpus/\(body.rawValue)/\(name)")
            if !name.hasPrefix("seed-") || input.isEmpty { continue }
            for _ in 0..<(Self.isWhole(body) ? 0 : 5) {
                var damaged = input
                for _ in 0..<3 {
                    damaged[.random(in: damaged.indices, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
                }
                if random.chance(millionths: 300_000) { damaged.removeLast(.random(in: 1...damaged.count, using: &random)) }
                #expect(body.run(damaged) == [], "\(name), damaged: \(damaged)")
            }
        }
    }

    @Test(arguments: GatewayFuzzBody.allCases)
    func randomOctetsHold(_ body: GatewayFuzzBody) {
        var random = SeededRandom(seed: 2)
        for _ in 0..<(Self.isWhole(body) ? 5 : 200) {
            let count = Int.random(in: 0...400, using: &random)
            let input = (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            #expect(body.run(input) == [], "\(input)")
        }
    }
}
