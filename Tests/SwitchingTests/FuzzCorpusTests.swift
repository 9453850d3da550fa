// The corpora of the fuzzers in tools/fuzz, each input once: what a fuzzer has found, or found worth keeping, holds in every
// build, without instrumentation. tools/fuzz/run looks for more.

import Foundation
import Testing

@Suite struct FuzzCorpusTests {
    private static let corpora = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("tools/fuzz/corpus")

    @Test(arguments: FuzzBody.allCases)
    func everyInputHolds(_ body: FuzzBody) throws {
        let folder = Self.corpora.appendingPathComponent(body.rawValue)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(names.contains { $0.hasPrefix("seed-") })
        // The tests of every build run them all.
        #expect(names.count <= 300)
        for name in names {
            let input = try [UInt8](Data(contentsOf: folder.appendingPathComponent(name)))
            #expect(body.run(input) == [], "tools/fuzz/corpus/\(body.rawValue)/\(name)")
        }
    }
}
