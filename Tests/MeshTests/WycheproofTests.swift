// Ed25519 as passes, revocations and gossip are signed and verified with it, against Project Wycheproof's vectors where those are
// on the machine. They are not copied into the project: they are looked for in a `shared/vectors` folder beside or above it.

import Foundation
import Testing

@testable import Mesh

private let absent: Comment = "Project Wycheproof's vectors are not on this machine"

private struct SignatureVectors: Decodable {
    struct Key: Decodable {
        var pk: String
    }

    struct Vector: Decodable {
        var tcId: Int
        var comment: String
        var msg: String
        var sig: String
        var result: String
    }

    struct Group: Decodable {
        var publicKey: Key
        var tests: [Vector]
    }

    var testGroups: [Group]

    static func data() -> Data? {
        var folder = URL(filePath: #filePath)
        while folder.path.count > 1 {
            folder.deleteLastPathComponent()
            let file = folder.appending(path: "shared/vectors/wycheproof-ed25519_test.json")
            if let data = try? Data(contentsOf: file) { return data }
        }
        return nil
    }

    static func read() throws -> SignatureVectors {
        try JSONDecoder().decode(SignatureVectors.self, from: try #require(data()))
    }
}

private func octets(_ text: String) -> [UInt8] {
    let digits = text.utf8.map { UInt8($0 < 58 ? $0 - 48 : ($0 | 32) - 87) }
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

@Suite struct WycheproofTests {
    /// Every vector, and every valid one with a bit changed in its signature, its message and its key.
    @Test(.enabled(if: SignatureVectors.data() != nil, absent))
    func signatures() throws {
        var (valid, invalid) = (0, 0)
        for group in try SignatureVectors.read().testGroups {
            let key = octets(group.publicKey.pk)
            for vector in group.tests {
                let (message, signature) = (octets(vector.msg), octets(vector.sig))
                let isRight = MeshCryptography.verify(signature, message, by: key)
                #expect(isRight == (vector.result == "valid"), "tcId \(vector.tcId): \(vector.comment)")
                guard isRight else {
                    invalid += 1
                    continue
                }
                valid += 1
                for place in [0, 31, 32, 63] {
                    var changed = signature
                    changed[place] ^= 1
                    #expect(!MeshCryptography.verify(changed, message, by: key), "tcId \(vector.tcId), octet \(place)")
                }
                #expect(!MeshCryptography.verify(signature, message + [0], by: key), "tcId \(vector.tcId), a longer message")
                var other = key
                other[1] ^= 1
                #expect(!MeshCryptography.verify(signature, message, by: other), "tcId \(vector.tcId), another key")
            }
        }
        #expect(valid >= 80 && invalid >= 60, "\(valid) valid, \(invalid) not")
    }

    /// RFC 8032, section 7.1, tests 1 and 2: an authority signs as published.
    @Test(
        arguments: [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
                    + "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                    + "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ])
    func signing(_ seed: String, _ key: String, _ message: String, _ signature: String) throws {
        let keys = try #require(MeshCryptography.signingKeys(seed: octets(seed)))
        #expect(keys.public == octets(key))
        #expect(MeshCryptography.sign(octets(message), secret: keys.secret) == octets(signature))
    }

    /// The published keys are points of the prime-order subgroup, as those that gateways sign with have to be.
    @Test(.enabled(if: SignatureVectors.data() != nil, absent))
    func keysHaveAnImage() throws {
        for group in try SignatureVectors.read().testGroups where group.tests.contains(where: { $0.result == "valid" }) {
            #expect(MeshCryptography.montgomery(ofPoint: octets(group.publicKey.pk)) != nil)
        }
    }
}
