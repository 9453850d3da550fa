// The corpora of the mesh's fuzzers in tools/fuzz, each input once, and each input damaged a little: what a fuzzer has found, or
// found worth keeping, holds in every build. tools/fuzz/run looks for more.

import Basics
import Foundation
import Testing

@Suite struct MeshFuzzCorpusTests {
    private static let corpora = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("tools/fuzz/corpus")

    @Test(arguments: MeshFuzzBody.allCases)
    func everyInputHolds(_ body: MeshFuzzBody) throws {
        let folder = Self.corpora.appendingPathComponent(body.rawValue)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(names.contains { $0.hasPrefix("seed-") })
        #expect(names.count <= 300)
        var random = SeededRandom(seed: 1)
        for name in names {
            let input = try [UInt8](Data(contentsOf: folder.appendingPathComponent(name)))
            #expect(body.run(input) == [], "tools/fuzz/corpus/\(body.rawValue)/\(name)")
            if !name.hasPrefix("seed-") || input.isEmpty { continue }
            for _ in 0..<20 {
                var damaged = input
                for _ in 0..<3 {
                    damaged[.random(in: damaged.indices, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
                }
                if random.chance(millionths: 300_000) { damaged.removeLast(.random(in: 1...damaged.count, using: &random)) }
                #expect(body.run(damaged) == [], "\(name), damaged: \(hex(damaged))")
            }
        }
    }
}
