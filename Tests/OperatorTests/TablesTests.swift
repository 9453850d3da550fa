// The same for people: golden tables, ages, and the cases in which there is nothing to show.

import Basics
import Foundation
import Gateway
import Testing

@testable import Operator

@Suite struct TablesTests {
    private func text(_ topic: ShowTopic, _ snapshot: GatewaySnapshot = makeSnapshot()) throws -> String {
        try Tables.text(topic, json: JSON.answer(topic, snapshot))
    }

    @Test func status() throws {
        let shown = try text(.status)
        #expect(
            shown == """
                site        london
                public key  CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=
                listen      0.0.0.0:7117
                uptime      1d1h
                peers       1 of 3 up
                ports       1 of 2 up
                MAC table   3 entries
                frames      1000032 in, 1000036 out, 1234610 dropped (all reasons)
                sealing     aes-256-gcm: libsodium below 300 octets, libcrypto from there on
                sealing     chacha20-poly1305: libsodium
                handshakes  753 agreed, refused: 1 not-for-us, 2 malformed, 3 under-load, 4 rate-limited, 5 unauthentic, \
                6 unknown-key, 7 own-key, 8 replayed, 9 clock-back, 10 no-common-cipher, 11 no-post-quantum, \
                12 annex-missing, 13 annex-mismatch, 14 stray-annex, 15 stray-response, 16 stray-cookie, 17 wrong-psk, \
                18 no-place, 19 foreign-mesh, 20 bad-pass, 21 too-many-responses
                cookies     81 sent, 82 taken
                            84 times a peer confirmed none of its sessions
                            85 times a key was in two places in turn
                            87 times there was no memory for a session's keys

                """)
        #expect(try !text(.status, makeSnapshot(listen: nil)).contains("listen"))
    }

    @Test func peers() throws {
        let shown = try text(.peers)
        #expect(
            shown == """
                peer  state      endpoint           cipher      keys                   heard frames in frames out datagrams in datagrams out lost     rate queue drops                    denied
                ----- ---------- ------------------ ----------- ------------------- -------- --------- ---------- ------------ ------------- ---- -------- ------------------------------ ---------------
                ams   up         192.0.2.1:7117     aes-256-gcm X25519 + ML-KEM-768 0.3s ago       104    1000215          100           102  106  200Mbit feed 109, normal 110, bulk 111 113 out, 114 in
                nyc   connecting [2001:db8::1]:7118 -           -                   1h2m ago       204        205          200           202  206 64500bit feed 209, normal 210, bulk 211 213 out, 214 in
                tokyo waiting    -                  -           -                      never       304        305          300           302  306        - -                              -

                path to  mtu search   rtt p50 rtt p99  jitter loss probes answered black holes
                ------- ---- -------- ------- ------- ------- ---- ------ -------- -----------
                ams     1492 complete 1.707ms 1.708ms 0.702ms 1.2%    703      704         706
                nyc     1280 base           -       -       -    -      0        0           0
                tokyo   1280 base           -       -       -    -      0        0           0

                """)
    }

    @Test func nobodyIsDeniedAnything() throws {
        var document = PeersDocument(makeSnapshot())
        for index in document.peers.indices { (document.peers[index].deniedOut, document.peers[index].deniedIn) = (0, nil) }
        #expect(!Tables.text(document).contains("denied"), "the column is there only when it says something")
        document.peers[1].deniedIn = 7
        let lines = Tables.text(document).split(separator: "\n")
        #expect(lines[0].hasSuffix(" denied") && lines[3].hasSuffix(" 7 in"))
    }

    @Test func ports() throws {
        let shown = try text(.ports)
        #expect(
            shown == """
                port kind   device state frames in bytes in frames out bytes out kernel drops
                ---- ------ ------ ----- --------- -------- ---------- --------- ------------
                lan0 packet eth1   up           11       12         13        14           15
                lan1 tap    cw-tap down    1000021  1000022    1000023   1000024      1000025

                """)
    }

    @Test func macs() throws {
        let shown = try text(.macs)
        #expect(
            shown == """
                vlan  mac               behind         seen
                ----- ----------------- --------- ---------
                -     02:00:00:00:00:01 port lan1  0.0s ago
                10    02:00:00:00:00:02 peer nyc   5.2s ago
                s4094 02:ab:cd:ef:00:03 port lan0 3m20s ago
                3 entries, 5 moves, 7 evictions, 2048 sightings that a lane was not told of

                """)
    }

    @Test func drops() throws {
        let shown = try text(.drops)
        #expect(
            shown == """
                reason         count unit   explanation
                ------------ ------- ------ -------------------------------------------
                runt               3 frames shorter than an Ethernet header
                same-segment 1234567 frames the destination is on the port it came from
                peer-down         40 copies no tunnel stood to that peer

                """)
    }

    // MARK: - Nothing to show

    @Test func nothingToShow() throws {
        let empty = makeSnapshot(isEmpty: true, listen: nil)
        #expect(try text(.peers, empty) == "no peers are configured\n")
        #expect(try text(.ports, empty) == "no ports are configured\n")
        #expect(try text(.macs, empty) == "0 entries, 0 moves, 0 evictions\n")
        #expect(try text(.drops, empty) == "nothing was dropped\n")
        #expect(try text(.status, empty).contains("peers       0 of 0 up\n"))
    }

    @Test(arguments: ShowTopic.allCases, [false, true])
    func everyLineEndsAndNoneInBlanks(topic: ShowTopic, isEmpty: Bool) throws {
        let text = try text(topic, makeSnapshot(isEmpty: isEmpty))
        #expect(text.hasSuffix("\n") && !text.hasSuffix("\n\n"))
        #expect(!text.split(separator: "\n").contains { $0.hasSuffix(" ") || $0.hasSuffix("\t") })
    }

    // MARK: - Ages

    @Test(arguments: [
        (0, "0.0s"), (0.04, "0.0s"), (0.05, "0.1s"), (5.2, "5.2s"), (59.9, "59.9s"), (59.94, "59.9s"), (59.95, "1m0s"),
        (60, "1m0s"), (61, "1m1s"), (200, "3m20s"), (3_599, "59m59s"), (3_600, "1h0m"), (7_500, "2h5m"), (86_399, "23h59m"),
        (86_400, "1d0h"), (356_400, "4d3h"), (1e9, "11574d1h"), (1e300, "?"), (.infinity, "?"), (.nan, "?"),
    ])
    func ages(seconds: Double, words: String) { #expect(Tables.age(seconds) == words) }
}
