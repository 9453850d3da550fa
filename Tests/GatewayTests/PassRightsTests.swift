// What a pass says and what lanes look up are the same: entitlements, turned into rights, allow what they allowed.

import Basics
import Mesh
import Switching
import Testing
import Tunnels

@testable import Gateway

@Suite struct PassRightsTests {
    private func block(_ a: UInt32, _ b: UInt32, _ length: Int) -> IPPrefix {
        IPPrefix(IPAddress(ipv4: a << 24 | b << 16), length: length)!
    }

    @Test func everythingIsNoLimit() {
        #expect(PeerRights(.everything) == PeerRights())
    }

    @Test func nothingIsNothing() {
        let rights = PeerRights(Entitlements(send: .none, receive: .none, vlans: .listed([]), mayRelay: false))
        #expect(rights == PeerRights(send: .none, receive: .none, vlans: []))
    }

    @Test func bothAllowTheSame() {
        let entitlements = Entitlements(
            send: .listed([
                GroupRule(block(239, 1, 16)), GroupRule(block(232, 0, 8), from: [block(10, 1, 16), block(10, 3, 16)]),
            ]),
            receive: .listed([GroupRule(block(239, 0, 8), from: [block(10, 2, 16)])]), vlans: VLANRules([0...0, 10...19]),
            mayRelay: true)
        var random = SeededRandom(seed: 3)
        let mailbox = testMailbox(ports: 1, peers: 1)
        let (identity, other) = (KeyPair.generate(using: &random), KeyPair.generate(using: &random))
        var control = ControlCore(
            ControlConfiguration(identity: identity, peers: [.init(name: "nyc", key: other.publicKey, hasAddress: false)]),
            mailbox: mailbox, random: random, wallClock: 0, at: .zero)
        control.apply(rights: PeerRights(entitlements), of: PeerIndex(0), at: .zero)
        #expect(control.rights(of: PeerIndex(0)) == PeerRights(entitlements))
        let table = ForwardingTable(mailbox.forwarding)
        var allowed = 0
        for vlan: UInt16 in [0, 9, 10, 19, 20, 0x100A] {
            for first: UInt32 in [232, 233, 239] {
                for second: UInt32 in 0..<3 {
                    for network: UInt32 in 0..<5 {
                        let group = IPAddress(ipv4: first << 24 | second << 16 | 7)
                        let source = IPAddress(ipv4: 10 << 24 | network << 16 | 9)
                        let on = VLAN(rawValue: vlan)
                        let mayUse = table.rights.mayUse(on, 0)
                        #expect(mayUse == entitlements.mayUse(on))
                        let may = (
                            receive: mayUse && table.rights.mayPass(group, from: source, .outward, 0),
                            send: mayUse && table.rights.mayPass(group, from: source, .inward, 0)
                        )
                        #expect(may.receive == entitlements.mayReceive(on, group, from: source))
                        #expect(may.send == entitlements.maySend(on, group, from: source))
                        allowed += (may.receive ? 1 : 0) + (may.send ? 1 : 0)
                    }
                }
            }
        }
        // On three VLANs: 239.x received from 10.2, 239.1 sent, 232.x sent from two networks.
        #expect(allowed == 3 * (3 + 5 + 3 * 2))
    }
}
