// `causeway peer` as a program, without a gateway: what it takes, and what it says to mistakes.

import Foundation
import Testing

@Suite("Peers", .enabled(if: Program.path != nil, Program.reason))
struct PeerTests {
    private let place = Workplace()
    private let key = Data(repeating: 7, count: 32).base64EncodedString()

    @Test func withoutAGateway() throws {
        let socket = "\(place.path)/none.sock"
        for words in [["add", "nyc", key, "nyc.example:7117"], ["add", "hub", "-", "192.0.2.1:7117"], ["remove", "nyc"]] {
            let run = try place.start(["peer"] + words + ["--socket", socket])
            #expect(run.status == 1 && run.out.isEmpty)
            #expect(run.errorLines.count == 1 && run.err.hasPrefix("causeway: \(socket): "))
        }
    }

    @Test func mistakesAreTold() throws {
        let mistakes = [
            (["add", "NYC", key], "did you mean nyc?"), (["add", "nyc", "short"], "not a public key"),
            (["add", "hub", "-"], "give its address"), (["add", "nyc", key, "nowhere"], "nowhere"), (["add", "nyc"], "key"),
            (["remove"], "name"), (["frobnicate"], "frobnicate"),
        ]
        for (words, hint) in mistakes {
            let run = try place.start(["peer"] + words)
            #expect(run.status == 2 && run.out.isEmpty && run.err.contains(hint), "\(words): \(run.err)")
        }
    }
}
