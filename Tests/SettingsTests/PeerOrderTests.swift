// Peers that are named while a gateway runs: what is said of them, and where they are kept.

import Basics
import Testing

@testable import Settings

@Suite struct PeerOrderTests {
    private let key = PublicKey(bytes: Array(repeating: 7, count: 32))!

    @Test func anOrderIsOneLine() throws {
        let order = try PeerOrder(name: "new-york", key: key.base64, addresses: ["nyc.example:7117", "[2001:db8::1]:7118"])
        #expect(order.key == key && order.addresses.count == 2)
        #expect(order.line == "new-york \(key.base64) nyc.example:7117 [2001:db8::1]:7118")
        #expect(PeerOrder(line: order.line) == order)
        #expect(PeerOrder(line: "nyc \(key.base64)")?.addresses == [])
        #expect(PeerOrder(line: "hub - 192.0.2.1:7117").map { $0.key } == .some(nil))
    }

    private static let mistakes: [(String, String, [String], String)] = [
        ("NYC", "-", ["a:1"], "did you mean nyc?"), ("nyc", "xyz", [], "not a public key"),
        ("nyc", "-", [], "give its address"), ("nyc", "-", ["a"], "has no port"), ("", "-", ["a:1"], "empty name"),
        ("nyc", "-", ["a:1", "a:2", "a:3", "a:4", "a:5", "a:6", "a:7", "a:8", "a:9"], "more than 8 addresses"),
        ("nyc", "-", ["a:1", "a:1"], "listed twice"),
    ]

    @Test(arguments: mistakes)
    func mistakesAreSaid(name: String, key: String, addresses: [String], words: String) {
        #expect(throws: PeerOrder.Mistake.self) { try PeerOrder(name: name, key: key, addresses: addresses) }
        do throws(PeerOrder.Mistake) { _ = try PeerOrder(name: name, key: key, addresses: addresses) } catch {
            #expect(error.description.contains(words), "\(error)")
        }
    }

    @Test(arguments: ["", "nyc", "nyc -", "nyc nothing", "NYC - a:1"])
    func whatIsNoOrder(line: String) { #expect(PeerOrder(line: line) == nil) }

    @Test func theFileIsNamedInTheConfiguration() {
        #expect(parse(minimal).settings.map(\.peersFile) == .some(nil))
        #expect(parse(minimal + "peers.file = x.peers", file: "dir/f").settings?.peersFile == "dir/x.peers")
    }

    /// Room for those that are named later, where there is no mesh.
    @Test func thereArePlacesToSpare() {
        #expect(parse(minimal).settings?.peerLimit == GatewaySettings.sparePlaces)
    }
}
