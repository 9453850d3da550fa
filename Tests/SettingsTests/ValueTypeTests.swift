// Values: what each type takes, refuses, and says about it.

import Basics
import Testing

@testable import Settings

@Suite struct QuantityTests {
    private let anyDuration = ValueType<Interval>.duration(.zero ... .seconds(1_000_000))

    @Test(arguments: [
        ("1ns", 1), ("2us", 2_000), ("3ms", 3_000_000), ("4s", 4_000_000_000), ("5m", 300_000_000_000), ("5min", 300_000_000_000),
        ("1h", 3_600_000_000_000), ("1d", 86_400_000_000_000), ("0.5s", 500_000_000), ("1.25us", 1_250), ("0s", 0),
        ("007ms", 7_000_000), ("1.500000000000000000000000s", 1_500_000_000), ("1000000s", 1_000_000_000_000_000),
        ("0.000000001s", 1),
    ])
    func durations(text: String, nanoseconds: Int64) throws {
        #expect(try anyDuration.parse(text) == Interval(nanoseconds: nanoseconds))
    }

    @Test(arguments: [
        ("300", "\"300\" has no unit (add a unit, such as 300s)"),
        ("0.5", "\"0.5\" has no unit (add a unit, such as 0.5s)"),
        ("5 s", "a blank in \"5 s\" (the unit follows the number directly, as in 5s)"),
        ("5S", "unknown unit \"S\" (one of ns, us, ms, s, m, min, h, d)"),
        ("5sec", "unknown unit \"sec\" (one of ns, us, ms, s, m, min, h, d)"),
        ("5.s", "\"5.s\" is not a duration (a number and a unit, such as 5s)"),
        (".5s", "\".5s\" is not a duration (a number and a unit, such as 5s)"),
        ("-5s", "\"-5s\" is not a duration (a number and a unit, such as 5s)"),
        ("soon", "\"soon\" is not a duration (a number and a unit, such as 5s)"),
        ("1,5s", "unknown unit \",5s\" (one of ns, us, ms, s, m, min, h, d)"),
        ("0.5ns", "\"0.5ns\" is finer than 1ns"),
        ("0.0000000000000000001s", "\"0.0000000000000000001s\" is finer than 1ns"),
        ("1000000.000000001s", "\"1000000.000000001s\" is out of range (0s to 1000000s)"),
        ("999999999999999999999999999999999999d", "\"999999999999999999999999999999999999d\" is out of range (0s to 1000000s)"),
        ("99999999999999999999d", "\"99999999999999999999d\" is out of range (0s to 1000000s)"),
        (
            "999999999999999999999999999999999999999999999d",
            "\"999999999999999999999999999999999999999999999d\" is out of range (0s to 1000000s)"
        ),
    ])
    func notDurations(text: String, message: String) {
        #expect(outcome(anyDuration, text) == message)
    }

    @Test func rangesIncludeTheirBounds() {
        let type = ValueType<Interval>.duration(.milliseconds(50) ... .seconds(60))
        #expect(outcome(type, "50ms") == "50ms" && outcome(type, "1min") == "60s")
        #expect(outcome(type, "49.999999ms") == "\"49.999999ms\" is out of range (50ms to 60s)")
        #expect(outcome(type, "60.000000001s") == "\"60.000000001s\" is out of range (50ms to 60s)")
    }

    @Test func sizesAndRates() {
        let size = ValueType.size(1...1 << 40)
        #expect(outcome(size, "64KiB") == "64KiB" && outcome(size, "65536B") == "64KiB" && outcome(size, "1.5MB") == "1500KB")
        #expect((try? size.parse("1GiB")) == 1 << 30 && (try? size.parse("2GB")) == 2_000_000_000)
        #expect(outcome(size, "64") == "\"64\" has no unit (add a unit, such as 64KiB)")
        #expect(outcome(size, "64kb") == "unknown unit \"kb\" (one of B, KB, KiB, MB, MiB, GB, GiB)")
        #expect(outcome(size, "0.5B") == "\"0.5B\" is finer than 1B")
        let rate = ValueType.rate(1_000...400_000_000_000)
        #expect((try? rate.parse("200Mbit")) == 200_000_000 && (try? rate.parse("2.5Gbit")) == 2_500_000_000)
        #expect(outcome(rate, "64kbit") == "64kbit")
        #expect(outcome(rate, "999bit") == "\"999bit\" is out of range (1kbit to 400Gbit)")
        #expect(outcome(rate, "10Mbps") == "unknown unit \"Mbps\" (one of bit, kbit, Mbit, Gbit)")
    }

    @Test(arguments: [
        ("0%", 0), ("0.5%", 5_000), ("100%", 1_000_000), ("0.0001%", 1), ("99.9999%", 999_999), ("12.34%", 123_400),
        ("10%", 100_000),
    ])
    func percentages(text: String, millionths: UInt32) throws {
        #expect(try ValueType.percentage.parse(text) == millionths)
        #expect(ValueType.percentage.print(millionths) == text)
    }

    @Test func notPercentages() {
        #expect(outcome(.percentage, "0.5") == "\"0.5\" has no unit (add a unit, such as 0.5%)")
        #expect(outcome(.percentage, "100.0001%") == "\"100.0001%\" is out of range (0% to 100%)")
        #expect(outcome(.percentage, "0.00001%") == "\"0.00001%\" is finer than 0.0001%")
    }
}

@Suite struct WordTests {
    @Test func integers() {
        let type = ValueType<Int>.integer(16...1_048_576)
        #expect(outcome(type, "16") == "16" && outcome(type, "1048576") == "1048576")
        for text in ["15", "1048577", "99999999999999999999999"] {
            #expect(outcome(type, text) == "\"\(text)\" is out of range (16 to 1048576)")
        }
        for text in ["", "-20", "+20", "0x20", "2e3", "1_000", "20 ", "٢٠"] {
            #expect(outcome(type, text) == "\"\(text)\" is not a whole number (16 to 1048576)")
        }
        #expect(outcome(ValueType<UInt64>.integer(0...UInt64.max), "18446744073709551615") == "18446744073709551615")
    }

    @Test func choices() {
        #expect(outcome(ValueType<PortKind>.word, "tap") == "tap")
        #expect(outcome(ValueType<PortKind>.word, "paket") == "\"paket\" is not packet, tap or pcap (did you mean packet?)")
        #expect(outcome(ValueType<PortKind>.word, "wire") == "\"wire\" is not packet, tap or pcap")
        #expect(outcome(ValueType<PortKind>.word, "TAP") == "\"TAP\" is not packet, tap or pcap (did you mean tap?)")
        for (text, printed) in [("on", "on"), ("yes", "on"), ("off", "off"), ("no", "off")] {
            #expect(outcome(.boolean, text) == printed)
        }
        #expect(outcome(.boolean, "true") == "\"true\" is not on, off, yes or no")
    }

    @Test func names() {
        let longest = String(repeating: "a", count: 32)
        for name in ["a", "-", "lan-0", longest] { #expect(outcome(.name, name) == name) }
        #expect(outcome(.name, longest + "a") == "the name \"\(longest)a\" has 33 characters (at most 32)")
        #expect(outcome(.name, "London") == "\"L\" in the name \"London\" (did you mean london?)")
        #expect(outcome(.name, "new york") == "\" \" in the name \"new york\" (a-z, 0-9 and - only)")
        #expect(outcome(.name, "a\u{301}") == "\"\u{301}\" in the name \"a\u{301}\" (a-z, 0-9 and - only)")
        #expect(outcome(.name, "") == "empty name (a name has 1 to 32 of a-z, 0-9 and -)")
    }

    @Test func lists() {
        let type = ValueType.names(2...3, of: "sites")
        #expect(outcome(type, "a,b ,\tc") == "a, b, c")
        #expect(outcome(type, "a") == "fewer than 2 sites")
        #expect(outcome(type, "a, b, c, d") == "more than 3 sites")
        #expect(outcome(type, "a, a") == "\"a\" is listed twice")
        #expect(outcome(type, "a, ") == "empty name (a name has 1 to 32 of a-z, 0-9 and -)")
        #expect(throws: ValueProblem("\"B\" in the name \"cB\"", hint: "did you mean cb?", offset: 5)) {
            try type.parse("a,  cB")
        }
    }

    @Test func paths() {
        #expect(outcome(.path, "a/b c.key") == "a/b c.key")
        #expect(outcome(.path, "~/a") == "\"~\" is not expanded (write the whole path)")
        #expect(outcome(.path, "keys/") == "\"keys/\" is a directory (name a file)")
        #expect(resolve(path: "k", besideFile: "gw.conf") == "k")
        #expect(resolve(path: "k", besideFile: "/etc/causeway/gw.conf") == "/etc/causeway/k")
        #expect(resolve(path: "../k", besideFile: "etc/gw.conf") == "etc/../k")
        #expect(resolve(path: "k", besideFile: "/gw.conf") == "/k")
        #expect(resolve(path: "/k", besideFile: "/etc/gw.conf") == "/k")
    }

    @Test func publicKeys() {
        let text = key(7).base64
        #expect(outcome(.publicKey, text) == text)
        let hint = " (causeway pubkey FILE prints it, 44 characters of base64)"
        #expect(outcome(.publicKey, String(text.dropLast())) == "not a public key: it has 43 characters" + hint)
        #expect(outcome(.publicKey, "!" + text.dropFirst()) == "not a public key" + hint)
        #expect(outcome(.publicKey, key(0).base64) == "the key is all zeros" + hint)
    }
}

@Suite struct AddressTests {
    @Test(arguments: [
        "0.0.0.0:7117", "192.0.2.1:1", "255.255.255.255:65535", "[::]:7117", "[::1]:7117", "[2001:db8::1]:7117", "[1::]:7117",
        "[1:2:3:4:5:6:7:8]:7117", "[fe80::1%2]:7117", "[1:2:3:4:5:6:0:8]:7117",
    ])
    func endpointsPrintAsTheyAreWritten(text: String) {
        #expect(outcome(.endpoint, text) == text)
    }

    @Test func otherFormsOfTheSameAddress() throws {
        #expect(try ValueType.endpoint.parse("[::ffff:192.0.2.1]:7117") == Endpoint(ipv4: 0xC000_0201, port: 7117))
        #expect(
            try ValueType.endpoint.parse("[64:ff9b::192.0.2.1]:7117")
                == Endpoint(high: 0x0064_ff9b_0000_0000, low: 0xC000_0201, port: 7117))
        #expect(outcome(.endpoint, "[2001:0DB8:0:0:0:0:0:1]:07117") == "[2001:db8::1]:7117")
        #expect(outcome(.endpoint, "[1:2:3:4:5:6:7::]:7117") == "[1:2:3:4:5:6:7:0]:7117")
    }

    @Test(arguments: [
        "1.2.3:1", "1.2.3.256:1", "01.2.3.4:1", "1.2.3.4.5:1", "1..2.3:1", "1.2.3.+4:1", "localhost:1", "[1:2:3:4:5:6:7]:1",
        "[1:2:3:4:5:6:7:8:9]:1", "[1::2::3]:1", "[:::]:1", "[:1:2:3:4:5:6:7]:1", "[1:2:3:4:5:6:7:]:1", "[12345::]:1", "[g::]:1",
        "[::1.2.3]:1", "[1.2.3.4::]:1", "[:1", "[1:2:3:4:5:6:7::8]:1", "[fe80::1%0]:1", "[fe80::1%]:1", "[fe80::1%eth0]:1",
    ])
    func notAddresses(text: String) {
        #expect(outcome(.endpoint, text).hasSuffix("is not a numeric address (such as 0.0.0.0:7117 or [::]:7117)"))
    }

    @Test(arguments: [
        ("7117", "\"7117\" has no host (write 0.0.0.0:7117)"),
        (":7117", "\":7117\" has no host (such as 0.0.0.0:7117)"),
        ("0.0.0.0", "\"0.0.0.0\" has no port (write 0.0.0.0:7117)"),
        ("[::]", "\"[::]\" has no port (write [::]:7117)"),
        ("::1:7117", "\"::1:7117\" is not HOST:PORT (brackets go around an IPv6 address, as in [2001:db8::1]:7117)"),
        ("[1.2.3.4]:7117", "\"[1.2.3.4]:7117\" is not HOST:PORT (brackets go around an IPv6 address, as in [2001:db8::1]:7117)"),
        ("0.0.0.0:0", "\"0\" is not a UDP port (1 to 65535)"), ("0.0.0.0:65536", "\"65536\" is not a UDP port (1 to 65535)"),
        ("0.0.0.0:", "\"\" is not a UDP port (1 to 65535)"), ("[::]:x", "\"x\" is not a UDP port (1 to 65535)"),
    ])
    func problemsOfForm(text: String, message: String) {
        #expect(outcome(.endpoint, text) == message)
    }

    @Test(arguments: [
        "nyc.example:7117", "NYC:1", "a-b.example.:7117", "3com.example:7117", "192.0.2.1:7117", "[2001:db8::1]:7117",
        "[fe80::1%eth0]:7117", "\(String(repeating: "a", count: 63)).example:1",
    ])
    func peerAddresses(text: String) {
        #expect(outcome(.peerAddress, text) == text)
    }

    @Test(arguments: [
        "-a.example", "a-.example", "a..b", ".", "a_b.example", "10.0.0.300", "1.2.3", "a b", "é.example", "a.example..",
        "\(String(repeating: "a", count: 64)).example", String(repeating: "a.", count: 127) + "a", "[fe80::1%a/b]", "[::g]",
    ])
    func notPeerAddresses(host: String) {
        #expect(
            outcome(.peerAddress, host + ":7117").hasSuffix(
                "is neither a host name nor an address (such as nyc.example:7117 or [2001:db8::1]:7117)"))
    }

    @Test func peersAreSomewhere() {
        #expect(outcome(.peerAddress, "0.0.0.0:1") == "\"0.0.0.0\" is no host's address")
        #expect(outcome(.peerAddress, "[::]:1") == "\"::\" is no host's address")
    }

    @Test func onlyNumbersAreEndpointsAlready() {
        #expect(PeerAddress(host: "192.0.2.1", port: 9).endpoint == Endpoint(ipv4: 0xC000_0201, port: 9))
        #expect(PeerAddress(host: "fe80::1%2", port: 9).endpoint?.scope == 2)
        #expect(PeerAddress(host: "fe80::1%eth0", port: 9).endpoint == nil)
        #expect(PeerAddress(host: "nyc.example", port: 9).endpoint == nil)
    }
}

@Suite struct SuggestionTests {
    @Test func distances() {
        for (a, b, distance) in [
            ("", "", 0), ("abc", "abc", 0), ("ABC", "abc", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3), ("ca", "abc", 3), ("device", "devise", 1), ("address", "adress", 1),
        ] {
            #expect(editDistance(a, b) == distance && editDistance(b, a) == distance, "\(a) \(b)")
        }
    }

    @Test func theNearestAndTheFirstOfEquals() {
        #expect(nearest(to: "lpn", among: ["lan", "lon", "len"]) == "lan")
        #expect(nearest(to: "lomdon", among: ["lan", "london"]) == "london")
        #expect(nearest(to: "tokyo", among: ["london", "nyc"]) == nil)
        #expect(nearest(to: String(repeating: "a", count: 101), among: [String(repeating: "a", count: 101)]) == nil)
    }
}
