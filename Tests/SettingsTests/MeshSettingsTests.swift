// The keys of a mesh with passes: who is a peer, who is only asked for the way in, and what is missing.

import Basics
import Settings
import Testing

struct MeshSettingsTests {
    private let key = "sSp2vAT8Wy/FcwoUJzrg9gKaFGWCHV/0ouPtXzz/vlY="

    private func parse(_ lines: String) -> ParsedSettings {
        let start = """
            site = london
            key.file = london.key
            listen = 0.0.0.0:7117
            port.lan0.kind = packet
            port.lan0.device = eth1

            """
        return GatewaySettings.parse(Array((start + lines).utf8), file: "gw.conf")
    }

    private func problems(_ lines: String) -> [String] { parse(lines).diagnostics.map(\.description) }

    @Test func aPeerWithoutAKeyIsAskedForTheWayIn() throws {
        let settings = try #require(
            parse(
                """
                mesh.authority = \(key)
                pass.file = london.pass
                peer.paris.address = paris.example:7117, 192.0.2.1:7118
                peer.tokyo.key = L1PzXColCNVo8bfyPIWti/CmIbU+4y3WYqfhPYKgqS0=
                """
            ).settings)
        let mesh = try #require(settings.mesh)
        #expect(settings.peers.map(\.name) == ["tokyo"])
        #expect(mesh.seeds.map(\.name) == ["paris"] && mesh.seeds[0].addresses.count == 2)
        #expect(mesh.passFile == "london.pass" && mesh.stateFile == "/var/lib/causeway/london.mesh")
        #expect(
            mesh.authority.count == 32 && mesh.addresses == [] && mesh.siteLimit == 128 && mesh.copyCost == .zero
                && mesh.linkLimit == 256)
        #expect(settings.peerLimit == 128)
    }

    @Test func withoutAMeshEveryPeerHasAKey() {
        #expect(
            problems("peer.paris.address = paris.example:7117") == [
                "gw.conf:6:1: missing key peer.paris.key (such as peer.paris.key = \(key))"
            ])
        #expect(parse("peer.tokyo.key = \(key)").settings?.mesh == nil)
    }

    @Test func whatIsMissingIsSaidWhereItShouldBe() {
        #expect(
            problems("pass.file = london.pass") == [
                "gw.conf:6:13: pass.file: there is no mesh.authority (causeway mesh create prints it)"
            ])
        #expect(
            problems("mesh.authority = \(key)") == [
                "gw.conf:6:18: mesh.authority: this gateway has no pass (set pass.file, such as pass.file = london.pass)"
            ])
        let mesh = "mesh.authority = \(key)\npass.file = london.pass\n"
        #expect(
            problems(mesh + "mesh.address = london.example:7117") == [
                "gw.conf:8:16: mesh.address: \"london.example\" is no address (the others do not look names up)"
            ])
        let rate = problems(mesh + "peer.paris.rate = 1Mbit").first ?? ""
        #expect(rate.hasPrefix("gw.conf:8:1: peer.paris has neither a key nor an address ("))
        #expect(
            problems(mesh + "mesh.sites = 2\npeer.a.key = \(key)\npeer.b.key = L1PzXColCNVo8bfyPIWti/CmIbU+4y3WYqfhPYKgqS0=") == [
                "gw.conf:8:14: mesh.sites: 2 peers with keys leave no room for members (at most 256)"
            ])
    }
}
