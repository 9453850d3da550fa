// Passes and revocations: their one encoding, who has signed them, what is wrong with them, and what they allow.

import Basics
import Testing

@testable import Mesh

@Suite struct PassTests {
    private let small = Pass(
        serial: 0x0102, site: "nyc", key: signer(1).publicKey, validFrom: UnixTime(seconds: 1), validUntil: UnixTime(seconds: 2),
        send: .listed([GroupRule(block(239, 1, 0, 0, 16), from: [block(192, 0, 2, 7, 32)])]), receive: .none,
        vlans: VLANRules([10...10]), mayRelay: true)

    /// Every octet of a pass, except the digests and the signature.
    @Test func octets() {
        let signed = authority.sign(small)
        let expected =
            "43570101" + "007c"
            + "010010" + hex(authority.key.mesh.bytes) + "020008" + "0000000000000102" + "030003" + "6e7963"
            + "040020" + hex(signer(1).publicKey.bytes) + "050008" + "0000000000000001" + "060008" + "0000000000000002"
            + "07000c" + "00" + "0410ef01" + "01" + "0420c0000207" + "080001" + "00" + "090005" + "00000a000a" + "0a0001" + "01"
        #expect(hex(signed.bytes.dropLast(64)) == expected)
        #expect(signed.bytes.count == 6 + 0x7c + 64)
    }

    /// RFC 8032 section 7.1, test 1: the authority's signatures are Ed25519.
    @Test func ed25519() throws {
        let seed: [UInt8] = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
            0x69,
            0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ]
        let keys = try #require(MeshCryptography.signingKeys(seed: seed))
        #expect(hex(keys.public) == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        let signature = MeshCryptography.sign([], secret: keys.secret)
        #expect(
            hex(signature) == "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
                + "d25bf5f0595bbe24655141438e7a100b")
        #expect(MeshCryptography.verify(signature, [], by: keys.public))
        #expect(!MeshCryptography.verify(signature, [0], by: keys.public))
    }

    /// A gateway's X25519 key signs: RFC 7748 section 6.1's keys, and Ed25519's own verification.
    @Test func siteSignatures() throws {
        let alice = try #require(Base64.decode("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="))
        let signer = try #require(SiteSigner(privateKey: alice))
        #expect(signer.publicKey.base64 == "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=")
        for message in [[], [1], [UInt8](repeating: 3, count: 1000)] as [[UInt8]] {
            let signature = signer.sign(message)
            #expect(signature == signer.sign(message))
            #expect(MeshCryptography.verify(signature, message, by: signer.point))
            #expect(!MeshCryptography.verify(signature, message + [0], by: signer.point))
            #expect(!MeshCryptography.verify(signature, message, by: other.point))
        }
        #expect(MeshCryptography.montgomery(ofPoint: [UInt8](repeating: 0, count: 32)) == nil)
        #expect(SiteSigner(privateKey: [1, 2, 3]) == nil)
    }
    private let other = signer(2)

    @Test func armour() throws {
        let signed = authority.sign(small)
        #expect(signed.text == "causeway pass 1\n" + Base64.encode(signed.bytes) + "\n")
        #expect(try SignedPass(text: signed.text, by: authority.key) == signed)
        #expect(try SignedPass(text: "\n causeway pass 1 \r\n\(Base64.encode(signed.bytes))  \n\n", by: authority.key) == signed)
        for text in [
            "", "causeway pass 1", "causeway pass 2\n" + Base64.encode(signed.bytes), signed.text + "AAAA\n",
            "causeway revocation 1\n" + Base64.encode(signed.bytes), Base64.encode(signed.bytes),
        ] {
            #expect(throws: PassProblem.self) { try SignedPass(text: text, by: authority.key) }
        }
    }

    @Test func roundTrips() throws {
        let rules = GroupRules.listed([
            GroupRule(block(239, 1, 2, 3, 16)),
            GroupRule(block(232, 0, 0, 0, 8), from: [block(10, 0, 0, 0, 8), block(10, 0, 0, 0, 8)]),
            GroupRule(block(239, 1, 0, 0, 16)),
        ])
        let pass = Pass(
            serial: .max, site: "a-9", key: signer(1).publicKey, validFrom: newYear, validUntil: newYear, send: rules,
            vlans: VLANRules([5...7, 8...9, 0x1005...0x1006, 0...0]))
        let read = try SignedPass(authority.sign(pass).bytes, by: authority.key).pass
        #expect(read.send.description == "232.0.0.0/8 from 10.0.0.0/8, 239.1.0.0/16")
        #expect(read.vlans.description == "-, 5-9, s5-6")
        #expect(read.receive == .any && read.receive.description == "any" && !read.mayRelay && read.serial == .max)
        #expect(read.mesh == authority.key.mesh)
    }

    @Test func everyChangedBitIsNoticed() throws {
        let signed = authority.sign(small)
        for bit in 0..<signed.bytes.count * 8 {
            var bytes = signed.bytes
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: PassProblem.self) { try SignedPass(bytes, by: authority.key) }
        }
        for count in 0..<signed.bytes.count {
            #expect(throws: PassProblem.self) { try SignedPass(Array(signed.bytes.prefix(count)), by: authority.key) }
        }
    }

    @Test func distinctProblems() throws {
        let other = try #require(Authority(seed: [UInt8](repeating: 9, count: 32)))
        var book = PassBook(trust: .authority(authority.key))
        func problem(_ bytes: [UInt8], _ wall: UnixTime = newYear, holder: Int = 1) -> PassProblem? {
            do throws(PassProblem) {
                _ = try book.check(bytes, holder: signer(holder).publicKey, at: wall)
                return nil
            } catch { return error }
        }
        let good = authority.sign(pass(1, days: 10))
        let end = newYear.adding(10 * UnixTime.secondsPerDay)
        #expect(problem(good.bytes) == nil)
        // A clock may be five minutes off.
        #expect(problem(good.bytes, newYear.subtracting(300)) == nil)
        #expect(problem(good.bytes, newYear.subtracting(301)) == .notYetValid(from: newYear))
        #expect(problem(good.bytes, end.adding(300)) == nil)
        #expect(problem(good.bytes, end.adding(301)) == .expired(at: end))
        #expect(problem(good.bytes, holder: 2) == .wrongHolder(signer(1).publicKey))
        #expect(problem(other.sign(pass(1)).bytes) == .foreignMesh(other.key.mesh))
        var tampered = good.bytes
        tampered[tampered.count - 1] ^= 1
        #expect(problem(tampered) == .tampered)
        var restricted = pass(1)
        restricted.extensions.put(99, [1])
        #expect(problem(authority.sign(restricted).bytes) == .unknownRestriction(tag: 99))
        var extended = pass(1)
        extended.extensions.put(200, [1])
        #expect(problem(authority.sign(extended).bytes) == nil)
        let revocation = try #require(Revocation(made: newYear, serial: 2))
        #expect(try book.handleRevocation(authority.sign(revocation).bytes, at: newYear))
        #expect(try !book.handleRevocation(authority.sign(revocation).bytes, at: newYear))
        #expect(problem(good.bytes) == .revoked(serial: 2))
        #expect(problem(good.bytes, end.adding(999)) == .revoked(serial: 2))
        #expect(problem(authority.sign(pass(1, serial: 3)).bytes) == nil)
        let forever = try #require(Revocation(made: newYear, key: signer(1).publicKey))
        #expect(throws: PassProblem.foreignMesh(other.key.mesh)) {
            try book.handleRevocation(other.sign(forever).bytes, at: newYear)
        }
        try book.handleRevocation(authority.sign(forever).bytes, at: newYear)
        #expect(problem(authority.sign(pass(1, serial: 3)).bytes) == .revoked(serial: 3))
        #expect(Revocation(made: newYear) == nil)
    }

    @Test func revocationsAreBounded() throws {
        var book = PassBook(trust: .authority(authority.key), revocationLimit: 2)
        for serial in 1...2 as ClosedRange<UInt64> {
            let over = try #require(Revocation(made: newYear, serial: serial, matters: newYear.adding(serial * 1000)))
            try book.handleRevocation(authority.sign(over).bytes, at: newYear)
        }
        let third = authority.sign(try #require(Revocation(made: newYear, serial: 3))).bytes
        #expect(throws: PassProblem.limit) { try book.handleRevocation(third, at: newYear) }
        #expect(book.refused == 1)
        // The first has nothing left to revoke: its place is free.
        #expect(try book.handleRevocation(third, at: newYear.adding(1500)))
        #expect(book.revocationCount == 2)
    }

    @Test func warnings() throws {
        var book = PassBook(trust: .authority(authority.key))
        try book.setOwnPass(authority.sign(pass(1, days: 90)).bytes, holder: signer(1).publicKey, at: newYear)
        func day(_ count: UInt64) -> UnixTime { newYear.adding(count * UnixTime.secondsPerDay) }
        #expect(book.pollWarning(at: day(59)) == nil && book.nextTimeout(after: day(59)) == day(60))
        #expect(book.pollWarning(at: day(60))?.daysLeft == 30 && book.pollWarning(at: day(60)) == nil)
        #expect(book.nextTimeout(after: day(60)) == day(83))
        // Two at once are one.
        #expect(book.pollWarning(at: day(89))?.daysLeft == 1 && book.pollWarning(at: day(89)) == nil)
        #expect(book.nextTimeout(after: day(89)) == day(90))
        #expect(book.pollWarning(at: day(90))?.daysLeft == 0 && book.pollWarning(at: day(99)) == nil)
        try book.setOwnPass(authority.sign(pass(1, serial: 8, days: 200)).bytes, holder: signer(1).publicKey, at: day(99))
        #expect(book.pollWarning(at: day(99)) == nil && book.nextTimeout(after: day(99)) == day(170))
    }

    @Test func withoutAnAuthority() {
        let book = PassBook(trust: .listed([signer(1).publicKey]))
        #expect(book.isMember(site(1), at: newYear) && !book.isMember(site(2), at: newYear))
        #expect(book.maySend(site(1), .untagged, address(239, 1, 1, 1), from: nil, at: newYear))
        #expect(!book.maySend(site(2), .untagged, address(239, 1, 1, 1), from: nil, at: newYear))
    }

    @Test func times() {
        #expect("\(newYear)" == "2026-01-01T00:00:00Z" && "\(UnixTime(seconds: 0))" == "1970-01-01T00:00:00Z")
        #expect("\(UnixTime(seconds: 951_868_799))" == "2000-02-29T23:59:59Z" && "\(UnixTime.distantFuture)" == "never")
    }

    // MARK: - Entitlements

    /// Look-ups against the rules read plainly, one after another.
    @Test func compiledRulesAgreeWithPlainOnes() {
        var random = SeededRandom(seed: 11)
        for _ in 0..<200 {
            let rules = (0..<Int.random(in: 0...6, using: &random)).map { _ in
                let groups = block(
                    239, .random(in: 0...1, using: &random), .random(in: 0...3, using: &random), 0,
                    .random(in: 14...24, using: &random))
                let sources = (0..<Int.random(in: 0...2, using: &random)).map { _ in
                    block(10, 0, .random(in: 0...3, using: &random), 0, .random(in: 21...24, using: &random))
                }
                return GroupRule(groups, from: sources)
            }
            let compiled = CompiledGroups(GroupRules.listed(rules).canonical)
            for _ in 0..<200 {
                let group = address(239, .random(in: 0...2, using: &random), .random(in: 0...4, using: &random), 1)
                let source = address(10, 0, .random(in: 0...8, using: &random), 9)
                let plain = rules.contains {
                    $0.groups.contains(group) && ($0.sources.isEmpty || $0.sources.contains { $0.contains(source) })
                }
                #expect(compiled.allows(group, from: source) == plain)
                #expect(compiled.allows(group, from: nil) == rules.contains { $0.groups.contains(group) })
            }
        }
    }

    @Test func familiesDoNotMix() throws {
        let ssm = try #require(IPPrefix(IPAddress(high: 0xFF3E_0000_0000_0000, low: 0), length: 32))
        let all = try #require(IPPrefix(IPAddress(high: 0, low: 0), length: 0))
        let may = Entitlements(
            send: .listed([GroupRule(ssm, from: [all])]), receive: .none, vlans: VLANRules([0...0, 0x100A...0x100A]),
            mayRelay: false)
        let group = IPAddress(high: 0xFF3E_0000_0000_0000, low: 1)
        #expect(may.maySend(.untagged, group, from: IPAddress(high: 0x2001_0DB8_0000_0000, low: 1)))
        #expect(may.maySend(VLAN(identifier: 10, isService: true), group, from: nil))
        #expect(!may.maySend(VLAN(rawValue: 10), group, from: nil))
        #expect(!may.maySend(.untagged, address(232, 1, 1, 1), from: nil))
        #expect(!may.mayReceive(.untagged, group, from: nil))
        #expect(Entitlements.everything.mayReceive(VLAN(rawValue: 0x1FFF), group, from: nil))
    }
}
