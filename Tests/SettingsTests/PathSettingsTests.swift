// The keys about paths: what goes together, and the text of what does not.

import Basics
import Testing

@testable import Settings

@Suite struct PathSettingsTests {
    @Test func downIsLaterThanSuspect() {
        #expect(problems(adding: "liveness.suspect = 300ms\nliveness.down = 900ms") == [])
        #expect(
            problems(adding: "liveness.down = 1s") == [
                "gw.conf:6:17: liveness.down: a peer would be down after 1s, before or as soon as it is suspect (1s) "
                    + "(liveness.down is longer than liveness.suspect, at best three times as long)"
            ])
        let warnings = parse(minimal + "liveness.down = 1200ms").warnings.map(\.message)
        #expect(warnings.contains("liveness.down: down after 1200ms is little more than suspect after 1s"), "\(warnings)")
        #expect(problems(adding: "liveness.suspect = 49ms").count == 1 && problems(adding: "liveness.down = 61s").count == 1)
    }

    @Test func severalAddresses() throws {
        let lines = "peer.nyc.key = \(String(repeating: "A", count: 42))E=\npeer.nyc.address = "
        let settings = try #require(parse(minimal + lines + "nyc.example:7117, [2001:db8::1]:7118,192.0.2.1:7119").settings)
        #expect(settings.peers.first?.addresses.count == 3)
        let nine = Array(repeating: "192.0.2.1:7117", count: 9).joined(separator: ", ")
        #expect(problems(adding: lines + nine).count == 1 && problems(adding: lines + "192.0.2.1:7117,").count == 1)
    }
}
