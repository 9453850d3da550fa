// Public keys in base64, and endpoints in the text form of RFC 5952.

import Basics
import Testing

@Suite struct Base64Tests {
    /// RFC 4648 section 10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func published(_ plain: String, _ text: String) {
        #expect(Base64.encode(Array(plain.utf8)) == text)
        #expect(Base64.decode(text) == Array(plain.utf8))
    }

    @Test(arguments: [
        "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9v ", " Zm9v", "Zm9\n", "Zm-_", "=Zm9", "Z=m9", "Zm9v====", "====",
        "Zg==Zg==",
        "é===",
    ])
    func refused(_ text: String) { #expect(Base64.decode(text) == nil) }

    @Test func everyLengthRoundTrips() {
        var random = SeededRandom(seed: 2)
        for count in 0..<200 {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 11) }
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        }
        let all = (0...255).map { UInt8($0) }
        #expect(Base64.encode(all).hasPrefix("AAECAwQFBgcICQ") && Base64.encode(all).hasSuffix("+fr7/P3+/w=="))
    }
}

@Suite struct PublicKeyTests {
    @Test func exactly32Octets() throws {
        let bytes = (0..<32).map { UInt8($0) }
        let key = try #require(PublicKey(bytes: bytes))
        #expect(key.base64 == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        #expect(key.base64.utf8.count == 44 && key.description == key.base64)
        #expect(PublicKey(base64: key.base64) == key)
        #expect(PublicKey(bytes: Array(bytes.dropLast())) == nil && PublicKey(bytes: bytes + [0]) == nil)
        #expect(PublicKey(base64: Base64.encode(bytes + [0])) == nil)
        #expect(PublicKey(base64: "") == nil && PublicKey(base64: key.base64 + "\n") == nil)
    }

    @Test func orderIsThatOfTheOctets() throws {
        let zero = [UInt8](repeating: 0, count: 32)
        let low = try #require(PublicKey(bytes: zero))
        let middle = try #require(PublicKey(bytes: zero.dropLast() + [255]))
        let high = try #require(PublicKey(bytes: [1] + zero.dropLast()))
        #expect(low < middle && middle < high && !(high < low) && !(low < low))
    }
}

@Suite struct EndpointTests {
    @Test func ipv4() {
        let endpoint = Endpoint(ipv4: 0xC000_0201, port: 7117)
        #expect(endpoint.description == "192.0.2.1:7117")
        #expect(endpoint.ipv4 == 0xC000_0201)
        #expect(endpoint == Endpoint(high: 0, low: 0x0000_FFFF_C000_0201, port: 7117), "the mapped form is the same endpoint")
        #expect(Endpoint(ipv4: 0, port: 0).description == "0.0.0.0:0")
        #expect(Endpoint(ipv4: .max, port: .max).description == "255.255.255.255:65535")
        #expect(Endpoint(high: 0, low: 0x0001_0000_0000_0001, port: 1).ipv4 == nil)
    }

    /// RFC 5952 sections 4.1 to 4.3 and 5, with the examples given there.
    @Test(arguments: [
        // 4.1: leading zeros go.
        (UInt64(0x2001_0DB8_0000_0000), UInt64(0x0000_0000_0000_0001), "[2001:db8::1]:53"),
        // 4.2.1: as short as possible.
        (0x2001_0DB8_0000_0000, 0x0000_0000_0002_0001, "[2001:db8::2:1]:53"),
        // 4.2.2: one group alone is not shortened.
        (0x2001_0DB8_0000_0001, 0x0001_0001_0001_0001, "[2001:db8:0:1:1:1:1:1]:53"),
        // 4.2.3: the longest run; the first of equal ones.
        (0x2001_0000_0000_0001, 0x0000_0000_0000_0001, "[2001:0:0:1::1]:53"),
        (0x2001_0DB8_0000_0000, 0x0001_0000_0000_0001, "[2001:db8::1:0:0:1]:53"),
        // 4.3: lower case.
        (0x2001_0DB8_0000_AAAA, 0xABCD_EF00_0000_0001, "[2001:db8:0:aaaa:abcd:ef00:0:1]:53"),
        (0, 0, "[::]:53"), (0, 1, "[::1]:53"), (0xFE80_0000_0000_0000, 0, "[fe80::]:53"),
        (0x0001_0002_0003_0004, 0x0005_0006_0007_0008, "[1:2:3:4:5:6:7:8]:53"),
        (0x0001_0002_0003_0004, 0x0005_0006_0000_0000, "[1:2:3:4:5:6::]:53"),
        (0x0000_0000_0003_0004, 0x0005_0006_0007_0008, "[::3:4:5:6:7:8]:53"),
        (0x0000_0002_0003_0004, 0x0005_0006_0007_0000, "[0:2:3:4:5:6:7:0]:53"),
    ])
    func ipv6(_ high: UInt64, _ low: UInt64, _ text: String) {
        #expect(Endpoint(high: high, low: low, port: 53).description == text)
    }

    @Test func aLinkLocalAddressHasItsInterface() {
        let endpoint = Endpoint(high: 0xFE80_0000_0000_0000, low: 1, port: 7117, scope: 3)
        #expect(endpoint.description == "[fe80::1%3]:7117")
        #expect(endpoint != Endpoint(high: 0xFE80_0000_0000_0000, low: 1, port: 7117, scope: 4))
    }

    @Test func order() {
        let one = Endpoint(ipv4: 1, port: 5)
        #expect(one < Endpoint(ipv4: 2, port: 1) && one < Endpoint(ipv4: 1, port: 6) && !(one < one))
        #expect(one < Endpoint(high: 1, low: 0, port: 0))
    }
}
