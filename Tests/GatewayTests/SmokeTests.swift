// The first thing to run when something is broken: two gateways, one tunnel, one frame each way.

import Basics
import Testing
import Tunnels

@testable import Gateway

@Suite struct SmokeTests {
    @Test func twoSitesBecomeOneLAN() throws {
        let mesh = VirtualMesh(sites: 2)
        _ = try #require(mesh.runUntilUp(limit: .seconds(5)))
        let question = testFrame(to: .broadcast, from: host(0), number: 1)
        mesh.send(question, site: 0)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[1].delivered[0].map(\.bytes) == [question])
        #expect(mesh.sites[0].delivered[0].isEmpty)
        let answer = testFrame(to: host(0), from: host(1), number: 2)
        mesh.send(answer, site: 1)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.sites[0].delivered[0].map(\.bytes) == [answer])
        #expect(mesh.sites[1].delivered[0].count == 1)
    }
}
