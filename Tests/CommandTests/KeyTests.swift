// `genkey`, `pubkey` and `check`: keys on disk, and everything that is wrong with a configuration at once.

import Foundation
import Testing

@Suite("Keys and configurations", .enabled(if: Program.path != nil, Program.reason))
struct KeyTests {
    private let place = Workplace()

    /// Base64 of 32 octets of one value.
    private func key(_ octet: UInt8) -> String { Data(repeating: octet, count: 32).base64EncodedString() }

    // MARK: - genkey and pubkey

    @Test func aKeyIsMadeOnce() throws {
        let made = try place.run("genkey", "a.key")
        #expect(made.status == 0 && made.err.isEmpty)
        #expect(Data(base64Encoded: made.out.trimmingCharacters(in: .newlines))?.count == 32 && made.out.count == 45)
        #expect(try place.mode("a.key") == 0o600)
        let secret = try place.text("a.key")
        #expect(Data(base64Encoded: secret.trimmingCharacters(in: .newlines))?.count == 32 && secret != made.out)
        #expect(try place.run("pubkey", "a.key").out == made.out)

        let again = try place.run("genkey", "a.key")
        #expect(again.status == 1 && again.out.isEmpty && again.err.hasPrefix("causeway: a.key: "))
        #expect(try place.text("a.key") == secret)
        let other = try place.run("genkey", "b.key")
        #expect(other.status == 0 && other.out != made.out)
    }

    @Test func aKeyIsNotMadeThroughALinkOrWhereItCannotBe() throws {
        try FileManager.default.createSymbolicLink(atPath: "\(place.path)/link", withDestinationPath: "target")
        for file in ["link", "missing/a.key", "", "."] {
            let run = try place.run("genkey", file)
            #expect(run.status == 1 && run.out.isEmpty && run.errorLines.count == 1, "\(file)")
        }
        #expect(!place.exists("target"))
    }

    /// RFC 7748 section 6.1: Alice's and Bob's keys.
    @Test(arguments: [
        ("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="),
        ("XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=", "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="),
    ])
    func knownAnswers(secret: String, publicKey: String) throws {
        for text in [secret, secret + "\n", " \t\n" + secret + "\r\n\n"] {
            try place.write("a.key", text, mode: 0o600)
            let run = try place.run("pubkey", "a.key")
            #expect(run.status == 0 && run.out == publicKey + "\n" && run.err.isEmpty)
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o400], ofItemAtPath: "\(place.path)/a.key")
        #expect(try place.run("pubkey", "a.key").status == 0)
    }

    @Test func whatIsNoKey() throws {
        func problem(_ file: String) throws -> String {
            let run = try place.run("pubkey", file)
            #expect(run.status == 1 && run.out.isEmpty && run.errorLines.count == 1)
            return run.err
        }
        #expect(try problem("none.key") == "causeway: none.key: there is no such file (causeway genkey none.key makes one)\n")
        #expect(try problem("/") == "causeway: /: is not a key: it is not a regular file\n")
        for (name, text) in [
            ("empty", ""), ("garbage", "hello\n"), ("short", "AAAA\n"), ("long", String(repeating: "A", count: 4_000)),
            ("two", key(1) + "\n" + key(2)), ("unpadded", String(key(1).dropLast())), ("zero", "\0\0\0"),
        ] {
            try place.write(name, text, mode: 0o600)
            #expect(try problem(name) == "causeway: \(name): is not a key: it should hold one line, 32 octets in base64\n")
        }
        try place.write("huge", String(repeating: "A", count: 100_000), mode: 0o600)
        #expect(try problem("huge") == "causeway: huge: is not a key: it is too long\n")
        for mode in [0o644, 0o640, 0o604, 0o620, 0o660, 0o601] {
            try place.write("open", key(1), mode: mode)
            let octal = "0" + String(mode, radix: 8)
            #expect(try problem("open") == "causeway: open: mode \(octal) lets others read or change it (chmod 600 open)\n")
        }
    }

    // MARK: - check

    private func configuration(_ more: String = "") -> String {
        """
        site = london
        key.file = london.key
        listen = 0.0.0.0:7117
        port.lan0.kind = packet
        port.lan0.device = eth1
        peer.nyc.key = \(key(1))
        peer.nyc.address = nyc.example:7117

        """ + more
    }

    @Test func aGoodFileHasNoProblems() throws {
        _ = try place.run("genkey", "london.key")
        try place.write("london.conf", configuration("port.lan0.filter = not port 22 # no ssh\n"))
        let run = try place.run("check", "london.conf")
        #expect(run.status == 0 && run.out == "london.conf: no problems\n" && run.err.isEmpty)
        // Key files are beside the configuration, wherever the program runs.
        #expect(try place.run("check", "\(place.path)/london.conf", in: "/").status == 0)
    }

    @Test func cipherBackends() throws {
        _ = try place.run("genkey", "london.key")
        for backend in ["auto", "sodium", "openssl"] {
            try place.write("london.conf", configuration("cipher.backend = \(backend)\n"))
            #expect(try place.run("check", "london.conf").status == 0, "\(backend)")
        }
        try place.write("london.conf", configuration("cipher.backend = opensll\n"))
        let run = try place.run("check", "london.conf")
        #expect(run.status == 1)
        #expect(
            run.err
                == "london.conf:8:18: cipher.backend: \"opensll\" is not auto, sodium or openssl (did you mean openssl?)\n")
    }

    @Test func aWarningIsNoProblem() throws {
        _ = try place.run("genkey", "london.key")
        try place.write(
            "london.conf", configuration().split(separator: "\n").filter { !$0.hasPrefix("peer") }.joined(separator: "\n"))
        let run = try place.run("check", "london.conf")
        #expect(run.status == 0 && run.errorLines.count == 1 && run.err.hasSuffix("[warning]\n"))
    }

    @Test func everyProblemAtOnce() throws {
        try place.write("open.key", key(3), mode: 0o644)
        try place.write(
            "bad.conf",
            """
            site = London
            key.file = open.key
            psk.file = none.psk
            listen = 7117
            port.lan0.kind = packet
            port.lan0.device = eth1
            port.lan0.filter = not (port 22
            port.lan1.kind = tap
            port.lan1.device = cw0
              port.lan1.filter   =  ether bogus
            mac.ageing = 300
            mac.ageing = 300s
            lisen = 1
            """)
        let run = try place.run("check", "bad.conf")
        #expect(run.status == 1 && run.out.isEmpty)
        let expected = """
            bad.conf:1:1: there is no peer: no frame leaves the site (such as peer.nyc.key = BASE64) [warning]
            bad.conf:1:8: site: "L" in the name "London" (did you mean london?)
            bad.conf:2:12: key.file: open.key is open to other users: its mode is 0644 (chmod 600 open.key)
            bad.conf:3:12: psk.file: none.psk does not exist ((umask 077; head -c 32 /dev/urandom | base64 > none.psk) \
            writes one, to be copied to every site)
            bad.conf:4:10: listen: "7117" has no host (write 0.0.0.0:7117)
            bad.conf:7:20: FILTER (the syntax is that of tcpdump: man 7 pcap-filter)
            bad.conf:10:25: FILTER (the syntax is that of tcpdump: man 7 pcap-filter)
            bad.conf:11:14: mac.ageing: "300" has no unit (add a unit, such as 300s)
            bad.conf:12:1: duplicate key "mac.ageing" (the first one is on line 11)
            bad.conf:13:1: unknown key "lisen" (did you mean listen?)
            """
        // libpcap's own words differ from version to version.
        let actual = run.errorLines.map { line in
            let place = line.split(separator: " ")[0] + " "
            guard let hint = line.range(of: " (the syntax is that") else { return line }
            return place + "FILTER" + line[hint.lowerBound...]
        }
        #expect(actual.joined(separator: "\n") == expected)
        #expect(run.err.contains("syntax error"))
    }

    @Test func keyFilesOfEveryKindOfWrong() throws {
        try place.write("gw.conf", configuration())
        func problem() throws -> String {
            let run = try place.run("check", "gw.conf")
            #expect(run.status == 1 && run.out.isEmpty && run.errorLines.count == 1)
            return run.err
        }
        let make = "(causeway genkey london.key writes one)\n"
        #expect(try problem() == "gw.conf:2:12: key.file: london.key does not exist " + make)
        try place.makeDirectory("london.key")
        #expect(try problem() == "gw.conf:2:12: key.file: london.key is not a key: it is not a regular file " + make)
        try FileManager.default.removeItem(atPath: "\(place.path)/london.key")
        try place.write("london.key", "not a key", mode: 0o600)
        #expect(try problem().hasPrefix("gw.conf:2:12: key.file: london.key is not a key: "))
    }

    @Test func ourOwnKeyAsPeer() throws {
        let own = try place.run("genkey", "london.key").out.trimmingCharacters(in: .newlines)
        try place.write("gw.conf", configuration("peer.ams.key = \(own)\n"))
        let run = try place.run("check", "gw.conf")
        #expect(run.status == 1)
        #expect(
            run.err == "gw.conf:8:16: this is our own public key "
                + "(each gateway has a key of its own; causeway pubkey FILE prints the peer's)\n")
        // It is one of several problems, not the last one to be found.
        try place.write("gw.conf", configuration("peer.ams.key = \(own)\nlisen = 1\n"))
        let both = try place.run("check", "gw.conf").err
        #expect(both.contains("gw.conf:8:16: this is our own public key") && both.contains("unknown key \"lisen\""))
    }

    @Test func whatCannotBeRead() throws {
        #expect(try place.run("check", "none.conf").err == "causeway: none.conf: cannot be read: No such file or directory\n")
        let run = try place.run("check", ".")
        #expect(run.status == 1 && run.err == "causeway: .: cannot be read: Is a directory\n")
        try place.write("binary.conf", (0...255).map { UInt8($0) })
        #expect(try place.run("check", "binary.conf").status == 1)
        try place.write("empty.conf", "")
        #expect(try place.run("check", "empty.conf").errorLines.count >= 4)
    }
}
