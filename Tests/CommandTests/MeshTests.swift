// `mesh create`, `admit`, `revoke` and `show`: files on disk, what is printed, and everything that is called wrongly.

import Foundation
import Testing

@Suite("Mesh commands", .enabled(if: Program.path != nil, Program.reason))
struct MeshCommandTests {
    private let place = Workplace()
    private let key = Data(repeating: 9, count: 32).base64EncodedString()

    private func line(_ text: String, _ name: String) -> String? {
        text.split(separator: "\n").first { $0.hasPrefix(name) }.map {
            $0.dropFirst(name.count).trimmingCharacters(in: .whitespaces)
        }
    }

    @Test func anAuthorityIsMadeOnce() throws {
        let made = try place.run("mesh", "create", ".")
        #expect(made.status == 0 && made.err.isEmpty && made.out.count == 45)
        #expect(try place.text("authority.pub") == made.out)
        #expect(try place.mode("authority.key") == 0o600)
        let secret = try place.text("authority.key")
        #expect(secret != made.out)
        let again = try place.run("mesh", "create", ".")
        #expect(again.status == 1 && again.out.isEmpty && again.errorLines.count == 1)
        #expect(try place.text("authority.key") == secret)
        // A directory that is not there is made, for its owner alone; what is in the way is not touched.
        #expect(try place.run("mesh", "create", "new/mesh").status == 0)
        #expect(try place.mode("new/mesh") == 0o700 && place.mode("new/mesh/authority.key") == 0o600)
        #expect(try place.run("mesh", "create", "authority.key/below").status == 1)
    }

    @Test func aPassInPlainWords() throws {
        let authority = try place.run("mesh", "create", ".").out.trimmingCharacters(in: .newlines)
        let admitted = try place.run(
            "mesh", "admit", "--authority", "authority.key", "--site", "nyc", "--key", key, "--send",
            "239.1.2.3/16, 232.1.1.1 from 192.0.2.7 10.0.0.0/8", "--receive", "none", "--vlans", "-,10, 100-199,s20", "--relay",
            "--days", "30")
        #expect(admitted.status == 0 && admitted.err.isEmpty && admitted.out.hasPrefix("causeway pass 1\n"))
        #expect(admitted.out.split(separator: "\n").count == 2)
        try place.write("nyc.pass", admitted.out)
        let shown = try place.run("mesh", "show", "nyc.pass", "--authority", authority)
        #expect(shown.status == 0 && shown.err.isEmpty)
        for (name, value) in [
            ("pass for", "nyc"), ("gateway", key), ("may send", "232.1.1.1/32 from 10.0.0.0/8 192.0.2.7/32, 239.1.0.0/16"),
            ("may receive", "none"), ("on VLANs", "-, 10, 100-199, s20"), ("may relay", "yes"), ("signature", "the authority's"),
        ] { #expect(line(shown.out, name) == value, "\(name)") }
        #expect(try line(place.run("mesh", "show", "nyc.pass").out, "signature")?.hasPrefix("not checked") == true)

        // Another authority's, and one that somebody has changed.
        try place.makeDirectory("other")
        let other = try place.run("mesh", "create", "other").out.trimmingCharacters(in: .newlines)
        let foreign = try place.run("mesh", "show", "nyc.pass", "--authority", other)
        #expect(foreign.status == 1 && foreign.err.contains("another mesh"))
        var bytes = try #require(Data(base64Encoded: String(admitted.out.split(separator: "\n")[1])))
        bytes[bytes.count - 70] ^= 1
        try place.write("bad.pass", "causeway pass 1\n" + bytes.base64EncodedString() + "\n")
        let bad = try place.run("mesh", "show", "bad.pass", "--authority", authority)
        #expect(bad.status == 1)
        try place.write("short.pass", "causeway pass 1\nAAAA\n")
        #expect(
            try place.run("mesh", "show", "short.pass").err == "causeway: short.pass: it is malformed: it does not begin as one\n"
        )
        let none = try place.run("mesh", "show", "none.pass")
        #expect(none.status == 1 && none.err == "causeway: none.pass: cannot be read: No such file or directory\n")
    }

    @Test func aRevocation() throws {
        let authority = try place.run("mesh", "create", ".").out.trimmingCharacters(in: .newlines)
        let admitted = try place.run("mesh", "admit", "--authority", "authority.key", "--site", "a", "--key", key)
        try place.write("a.pass", admitted.out)
        let serial = try #require(line(try place.run("mesh", "show", "a.pass").out, "serial"))
        for arguments in [["--pass", "a.pass"], ["--serial", serial]] {
            let revoked = try place.start(["mesh", "revoke", "--authority", "authority.key"] + arguments)
            #expect(revoked.status == 0 && revoked.out.hasPrefix("causeway revocation 1\n"))
            try place.write("a.revocation", revoked.out)
            let shown = try place.run("mesh", "show", "a.revocation", "--authority", authority)
            #expect(shown.status == 0 && line(shown.out, "of the pass") == "with the serial number \(serial)")
        }
        let byKey = try place.run("mesh", "revoke", "--authority", "authority.key", "--key", key)
        try place.write("k.revocation", byKey.out)
        #expect(try place.run("mesh", "show", "k.revocation").out.contains("of every pass of the gateway \(key)"))
    }

    @Test func calledWrongly() throws {
        _ = try place.run("mesh", "create", ".")
        let admit = ["mesh", "admit", "--authority", "authority.key", "--site", "a", "--key", key]
        for more in [
            ["--key", "AAAA"], ["--site", "New York"], ["--days", "0"], ["--send", "10.0.0.0/8"],
            ["--send", "239.1.1.1 of 10.0.0.1"],
            ["--send", "239.1.1.1 from ff02::1"], ["--receive", ""], ["--receive", "239.0.0.0/33"], ["--vlans", "4095"],
            ["--vlans", "20-10"], ["--vlans", "10,,20"],
        ] {
            let run = try place.start(admit + more)
            #expect(run.status == 2 && run.out.isEmpty, "\(more)")
        }
        let revoke = ["mesh", "revoke", "--authority", "authority.key"]
        #expect(try place.start(revoke).status == 2 && place.start(revoke + ["--serial", "1", "--key", key]).status == 2)
        let missing = try place.run("mesh", "revoke", "--authority", "none.key", "--serial", "1")
        #expect(missing.status == 1 && missing.err.contains("causeway mesh create"))
        try place.write("open.key", key, mode: 0o644)
        #expect(try place.run("mesh", "revoke", "--authority", "open.key", "--serial", "1").err.contains("mode 0644"))
    }
}
