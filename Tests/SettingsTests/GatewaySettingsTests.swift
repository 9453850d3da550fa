// Configurations: what a correct one means, and the golden text of everything that can be wrong with one.

import Basics
import Testing

@testable import Settings

@Suite struct GatewaySettingsTests {
    @Test func theSmallestConfigurationHasEveryDefault() throws {
        let settings = try #require(parse(minimal).settings)
        let port = PortSettings(name: "lan0", kind: .packet, device: "eth1", filter: nil)
        #expect(
            settings
                == GatewaySettings(
                    site: "london", keyFile: "london.key", listen: Endpoint(ipv4: 0, port: 7117),
                    controlSocket: "/run/causeway/london.sock", ports: [port], peers: [], pskFile: nil, tuning: SiteTuning(),
                    logLevel: .info))
    }

    @Test func everyKeyArrives() throws {
        let text = """
            peer.nyc.address = nyc.example:7117, [2001:db8::7]:7117 , 192.0.2.7:7118
            peer.nyc.key = \(key(2))
            peer.ams.key = \(key(1))
            log.level = debug
            post-quantum = required
            handshake.load = 50
            rekey.datagrams = 1000
            rekey.time = 1min
            keepalive = 50ms
            liveness.suspect = 50ms
            liveness.down = 60s
            path.recheck = 1s
            resolve.interval = 86400s
            cipher = chacha20-poly1305
            cipher.backend = openssl
            path.mtu = 9000
            mac.limit = 16
            mac.ageing = 10s
            psk.file = secrets/mesh.psk
            port.lan1.device = eth1
            port.lan1.kind = pcap
            port.lan0.filter = not port 22  # no ssh
            port.lan0.device = cw0
            port.lan0.kind = tap
            control.socket = cw.sock
            listen = [::]:7118
            key.file = /etc/keys/x
            site = london
            """
        var tuning = SiteTuning()
        tuning.macAgeing = .seconds(10)
        tuning.macLimit = 16
        tuning.pathMTU = 9_000
        tuning.cipher = .chaCha20Poly1305
        tuning.cipherBackend = .openssl
        tuning.keepalive = .milliseconds(50)
        tuning.livenessSuspect = .milliseconds(50)
        tuning.livenessDown = .seconds(60)
        tuning.pathRecheck = .seconds(1)
        tuning.resolveInterval = .seconds(86_400)
        tuning.rekeyTime = .seconds(60)
        tuning.rekeyDatagrams = 1_000
        tuning.postQuantum = .required
        tuning.handshakeLoad = 50
        let expected = GatewaySettings(
            site: "london", keyFile: "/etc/keys/x", listen: Endpoint(high: 0, low: 0, port: 7118),
            controlSocket: "/etc/cw/cw.sock",
            ports: [
                PortSettings(name: "lan0", kind: .tap, device: "cw0", filter: "not port 22"),
                PortSettings(name: "lan1", kind: .pcap, device: "eth1", filter: nil),
            ],
            peers: [
                PeerSettings(name: "ams", key: key(1), addresses: []),
                PeerSettings(
                    name: "nyc", key: key(2),
                    addresses: [
                        PeerAddress(host: "nyc.example", port: 7117), PeerAddress(host: "2001:db8::7", port: 7117),
                        PeerAddress(host: "192.0.2.7", port: 7118),
                    ]),
            ],
            pskFile: "/etc/cw/secrets/mesh.psk", tuning: tuning, logLevel: .debug)
        let parsed = parse(text, file: "/etc/cw/gw.conf")
        #expect(parsed.settings == expected && parsed.diagnostics == [] && parsed.warnings == [])
        // The order of lines means nothing, and every one of them means something.
        let lines = text.split(separator: "\n")
        #expect(parse(lines.reversed().joined(separator: "\n"), file: "/etc/cw/gw.conf").settings == expected)
        for line in lines.indices {
            let without = (lines[..<line] + lines[(line + 1)...]).joined(separator: "\n")
            #expect(parse(without, file: "/etc/cw/gw.conf").settings != expected, "\(lines[line])")
        }
    }

    /// A broken file of every kind of mistake: the whole text that an operator sees.
    @Test func everythingThatIsWrongIsReportedAtOnce() {
        let text = """
            site = London
            key.file =
            listen = 7117
            port.lan0.kind = packt
            port.lan0.devise = eth1
            port.lan1.kind = tap
            port.LAN2.kind = tap
            mac.ageing = 300
            mac.ageing = 300s
            mac.limit = 15
            path-mtu = 1500
            peer.nyc.key = AAAA
            peer.tokyo.address = tokyo_1:7117
            \tkeepalive = 61s  # too long
            [logging]
            log.level: debug
            rekey.datagrams = 1e6
            nonsense = 1
            just words
            """
        let expected = """
            gw.conf:1:8: site: "L" in the name "London" (did you mean london?)
            gw.conf:2:11: key.file: no value (write one after "=", or remove the line)
            gw.conf:3:10: listen: "7117" has no host (write 0.0.0.0:7117)
            gw.conf:4:18: port.lan0.kind: "packt" is not packet, tap or pcap (did you mean packet?)
            gw.conf:5:1: unknown key "port.lan0.devise" (did you mean port.lan0.device?)
            gw.conf:6:1: missing key port.lan1.device (such as port.lan1.device = eth1)
            gw.conf:7:6: "L" in the name "LAN2" (did you mean lan2?)
            gw.conf:8:14: mac.ageing: "300" has no unit (add a unit, such as 300s)
            gw.conf:9:1: duplicate key "mac.ageing" (the first one is on line 8)
            gw.conf:10:13: mac.limit: "15" is out of range (16 to 1048576)
            gw.conf:11:1: unknown key "path-mtu" (did you mean path.mtu?)
            gw.conf:12:16: peer.nyc.key: not a public key: it has 4 characters (causeway pubkey FILE prints it, 44 characters of base64)
            gw.conf:13:1: missing key peer.tokyo.key (such as peer.tokyo.key = sSp2vAT8Wy/FcwoUJzrg9gKaFGWCHV/0ouPtXzz/vlY=)
            gw.conf:13:22: peer.tokyo.address: "tokyo_1" is neither a host name nor an address (such as nyc.example:7117 or [2001:db8::1]:7117)
            gw.conf:14:14: keepalive: "61s" is out of range (50ms to 60s)
            gw.conf:15:1: section header "[logging]" (there are no sections: write whole dotted keys, such as port.lan0.kind = packet)
            gw.conf:16:10: ":" after "log.level" (write key = value)
            gw.conf:17:19: rekey.datagrams: "1e6" is not a whole number (1000 to 281474976710656)
            gw.conf:18:1: unknown key "nonsense" (the README lists every key)
            gw.conf:19:1: no "=" in "just words" (write key = value)
            """
        let parsed = parse(text)
        #expect(parsed.diagnostics.map(\.description).joined(separator: "\n") == expected)
        #expect(parsed.settings == nil)
    }

    @Test func whatAnEmptyFileLacks() {
        #expect(
            parse("").diagnostics.map(\.description) == [
                "gw.conf:1:1: missing key key.file (such as key.file = london.key)",
                "gw.conf:1:1: missing key listen (such as listen = 0.0.0.0:7117)",
                "gw.conf:1:1: missing key site (such as site = london)",
                "gw.conf:1:1: there is no port (such as port.lan0.kind = packet and port.lan0.device = eth1)",
            ])
    }

    @Test func noPeersIsAWarning() {
        #expect(
            parse(minimal).warnings.map(\.description) == [
                "gw.conf:1:1: there is no peer: no frame leaves the site (such as peer.nyc.key = BASE64)"
            ])
        #expect(parse(minimal + "peer.nyc.key = \(key(1))").warnings == [])
    }

    @Test(arguments: [
        ("port.lan0.fliter = ip", "port.lan0.filter"), ("peer.nyc.adress = a:1", "peer.nyc.address"),
        ("mac.aging = 1s", "mac.ageing"),
        ("ageing = 1s", "mac.ageing"), ("Listen = 0.0.0.0:1", "listen"), ("psk_file = x", "psk.file"),
        ("loglevel = info", "log.level"),
        ("filter = ip", "port.NAME.filter"), ("port.lan.0.filter = ip", "port.NAME.filter"), ("mtu = 1500", "path.mtu"),
    ])
    func didYouMeanTheKey(line: String, near: String) {
        let key = line.split(separator: " ")[0]
        #expect(problems(adding: line).first == "gw.conf:6:1: unknown key \"\(key)\" (did you mean \(near)?)")
    }

    @Test func problemsHaveALimit() {
        let lines = problems(adding: (0..<5_000).map { "unknown\($0) = 1\n" }.joined())
        #expect(lines.count == SettingsDocument.maximumDiagnostics + 1)
        #expect(lines.last == "gw.conf:1006:1: too many problems: nothing from here on is read")
    }

    // MARK: - What no single value shows

    @Test func twoPortsOnOneDevice() {
        #expect(
            problems(adding: "port.b.kind = pcap\nport.b.device = eth1") == [
                "gw.conf:7:17: port.b.device: \"eth1\" is already the device of another port (see line 5)"
            ])
    }

    @Test func interfaceNames() {
        func port(_ kind: String, _ device: String) -> [String] {
            problems(adding: "port.b.kind = \(kind)\nport.b.device = \(device)")
        }
        #expect(port("tap", "a23456789012345") == [])
        for kind in ["tap", "packet"] {
            #expect(
                port(kind, "a234567890123456") == [
                    "gw.conf:7:17: port.b.device: \"a234567890123456\" cannot be an interface's name (it has at most 15 octets)"
                ])
            for name in ["a/b", "a b", "a:1", ".", ".."] {
                #expect(
                    port(kind, name) == [
                        "gw.conf:7:17: port.b.device: \"\(name)\" cannot be an interface's name (it has no \"/\", \":\" or blank)"
                    ])
            }
        }
        #expect(port("pcap", "nflog:5 and a long name") == [])
    }

    @Test func peersAreDifferentGateways() {
        #expect(
            problems(adding: "peer.a.key = \(key(1))\npeer.b.key = \(key(1))\npeer.c.key = \(key(2))") == [
                "gw.conf:7:14: peer.b.key: this is already the key of another peer (see line 6)"
            ])
        #expect(
            problems(adding: "peer.london.key = \(key(1))") == [
                "gw.conf:6:6: the peer \"london\" has this site's name (a peer has the name of its own site)"
            ])
        #expect(
            problems(adding: "peer.a.key = \(key(0))") == [
                "gw.conf:6:14: peer.a.key: the key is all zeros (causeway pubkey FILE prints it, 44 characters of base64)"
            ])
    }

    @Test func asManyPortsAndPeersAsThereAreLimits() {
        func ports(_ count: Int) -> [String] {
            problems(adding: (1..<count).map { "port.p\($0).kind = tap\nport.p\($0).device = t\($0)\n" }.joined())
        }
        #expect(ports(Limits.ports) == [])
        #expect(ports(Limits.ports + 1) == ["gw.conf:36:6: there are 17 ports (at most 16)"])
        func peers(_ count: Int) -> [String] {
            let keys = (0..<count).map {
                PublicKey(bytes: [1, UInt8($0 >> 8), UInt8($0 & 255)] + Array(repeating: 0, count: 29))!
            }
            return problems(adding: keys.enumerated().map { "peer.p\($0).key = \($1)\n" }.joined())
        }
        #expect(peers(Limits.peers) == [])
        #expect(peers(Limits.peers + 1) == ["gw.conf:262:6: there are 257 peers (at most 256)"])
    }

    @Test func theControlSocketFitsItsAddress() {
        let longest = "/" + String(repeating: "s", count: 106)
        #expect(problems(adding: "control.socket = \(longest)") == [])
        #expect(
            problems(adding: "control.socket = \(longest)s") == [
                "gw.conf:6:18: control.socket: the path has 108 octets (at most 107)"
            ])
    }

    // MARK: - What the caller finds

    @Test func placesForTheCallersProblems() {
        let parsed = parse(minimal + "port.lan0.filter = prot 22\nnonsense\nport.x.kind = tap")
        #expect(parsed.settings == nil)
        #expect(parsed.keyFile == "london.key" && parsed.pskFile == nil)
        #expect(parsed.ports.map(\.filter) == ["prot 22"])
        #expect("\(parsed.diagnostic(at: "port.lan0.filter", "syntax error", hint: "h"))" == "gw.conf:6:20: syntax error (h)")
        #expect("\(parsed.diagnostic(at: "port.x.device", "no such device"))" == "gw.conf:8:1: no such device")
        #expect("\(parsed.diagnostic(at: "control.socket", "in use"))" == "gw.conf:1:1: in use")
        #expect("\(parsed.diagnostic(at: "psk.file", "gone"))" == "gw.conf:1:1: gone")
    }

    @Test func keyFileProblems() {
        let parsed = parse(minimal + "psk.file = mesh.psk", file: "etc/gw.conf")
        func text(_ problem: KeyFileProblem, _ key: KeyFileKey) -> String { parsed.diagnostic(problem, at: key).description }
        #expect(
            text(.missing, .keyFile)
                == "etc/gw.conf:2:12: key.file: etc/london.key does not exist (causeway genkey etc/london.key writes one)")
        #expect(
            text(.unreadable("Permission denied"), .keyFile)
                == "etc/gw.conf:2:12: key.file: etc/london.key cannot be read: Permission denied (causeway must run as a user who may read it)"
        )
        #expect(
            text(.worldReadable(mode: 0o100644), .keyFile)
                == "etc/gw.conf:2:12: key.file: etc/london.key is open to other users: its mode is 0644 (chmod 600 etc/london.key)"
        )
        #expect(
            text(.notAKey("it has 12 octets"), .pskFile)
                == "etc/gw.conf:6:12: psk.file: etc/mesh.psk is not a key: it has 12 octets ((umask 077; head -c 32 /dev/urandom | base64 > etc/mesh.psk) writes one, to be copied to every site)"
        )
    }
}
