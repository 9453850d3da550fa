// The keys about traffic classes and rates: what each may be, the whole text of what is wrong, and what goes together.

import Basics
import Testing

@testable import Settings

@Suite struct ClassSettingsTests {
    private func classes(_ lines: String) -> ClassSettings? { parse(minimal + lines).settings?.tuning.classes }

    @Test func defaults() {
        let classes = classes("")
        #expect(classes == ClassSettings())
        #expect(classes?.feed.points.points.map(\.rawValue) == [34, 40, 46, 48, 56] && classes?.feed.hasMulticast == true)
        #expect(classes?.bulk.points.points.map(\.rawValue) == [1, 8] && classes?.bulk.hasMulticast == false)
        #expect(classes?.feedMark == .copy && classes?.normalMark == .copy && classes?.bulkMark == .copy)
        #expect(classes?.controlMark == .cs6)
    }

    @Test func everyKeyArrives() {
        let lines = [
            "class.feed = ef, 5", "class.bulk = af11, multicast", "class.feed.dscp = ef", "class.normal.dscp = 10",
            "class.bulk.dscp = cs1", "class.control.dscp = af41",
        ]
        var expected = ClassSettings()
        expected.feed = ClassMembers(CodePointSet([.ef, CodePoint(rawValue: 5)]), hasMulticast: false)
        expected.bulk = ClassMembers(CodePointSet([CodePoint(rawValue: 10)]), hasMulticast: true)
        expected.feedMark = .point(.ef)
        expected.normalMark = .point(CodePoint(rawValue: 10))
        expected.bulkMark = .point(CodePoint(rawValue: 8))
        expected.controlMark = CodePoint(rawValue: 34)
        #expect(classes(lines.joined(separator: "\n")) == expected)
        for line in lines.indices where line > 1 {
            var others = lines
            others.remove(at: line)
            #expect(classes(others.joined(separator: "\n")) != expected, "\(lines[line])")
        }
    }

    /// RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622.
    @Test func names() {
        for (name, number): (String, UInt8) in [
            ("le", 1), ("ef", 46), ("va", 44), ("cs0", 0), ("cs1", 8), ("cs2", 16), ("cs3", 24), ("cs4", 32), ("cs5", 40),
            ("cs6", 48), ("cs7", 56), ("af11", 10), ("af12", 12), ("af13", 14), ("af21", 18), ("af22", 20), ("af23", 22),
            ("af31", 26), ("af32", 28), ("af33", 30), ("af41", 34), ("af42", 36), ("af43", 38), ("default", 0),
        ] { #expect(CodePoint(name)?.rawValue == number, "\(name)") }
        for number in 0..<64 as Range<UInt8> {
            let point = CodePoint(rawValue: number)
            #expect(CodePoint("\(number)") == point && CodePoint(point.description) == point)
        }
        #expect(CodePoint(rawValue: 5).description == "5" && CodePoint.cs0.description == "cs0")
        for wrong in ["", "64", "-1", "EF", "af14", "af51", "cs8", "0x2e", "1e", "999", " ef"] {
            #expect(CodePoint(wrong) == nil)
        }
    }

    @Test(arguments: [
        ("none", "none"), ("ef", "ef"), ("46", "ef"), ("multicast", "multicast"), ("8 ,multicast, 5", "5, cs1, multicast"),
    ])
    func goodLists(value: String, printed: String) { #expect(outcome(.classMembers, value) == printed) }

    @Test(arguments: [("copy", "copy"), ("46", "ef"), ("default", "cs0"), ("7", "7")])
    func goodMarks(value: String, printed: String) { #expect(outcome(.outerMark, value) == printed) }

    private static let points = "ef, va, le, cs0 to cs7, af11 to af43, or a number from 0 to 63"

    @Test(arguments: [
        ("class.feed = ef, eff", 18, "class.feed: \"eff\" is not a code point (did you mean ef?)"),
        ("class.feed = ef, 46", 18, "class.feed: \"46\" is listed twice"),
        ("class.feed = multicast, multicast", 25, "class.feed: \"multicast\" is listed twice"),
        ("class.feed = 184", 14, "class.feed: \"184\" is out of range (0 to 63; the octet 184 has the code point 46)"),
        ("class.feed.dscp = 65", 19, "class.feed.dscp: \"65\" is out of range (0 to 63)"),
        ("class.feed = ef,", 17, "class.feed: \"\" is not a code point (\(points))"),
        ("class.control.dscp = copy", 22, "class.control.dscp: \"copy\" is not a code point (\(points))"),
        (
            "class.feed = cs1", 14,
            "class.feed: cs1 in class.feed and in class.bulk (take cs1 out of one of the two; both have defaults)"
        ),
        (
            "class.bulk = ef, multicast", 14,
            "class.bulk: ef, multicast in class.feed and in class.bulk (take them out of one of the two; both have defaults)"
        ),
    ])
    func badValues(line: String, column: Int, message: String) {
        #expect(problems(adding: line) == ["gw.conf:6:\(column): \(message)"])
    }

    @Test func rates() {
        let peer = "peer.nyc.key = \(key(1).base64)\npeer.nyc.rate = "
        func rate(_ text: String) -> UInt64? { parse(minimal + peer + text).settings?.peers.first?.rate }
        #expect(parse(minimal + "peer.nyc.key = \(key(1).base64)").settings?.peers.first?.rate == nil)
        #expect(rate("200Mbit") == 200_000_000 && rate("1.5Gbit") == 1_500_000_000 && rate("64kbit") == 64_000)
        #expect(rate("100Gbit") == 100_000_000_000 && rate("1000000bit") == 1_000_000)
        for (text, message) in [
            ("200", "\"200\" has no unit (add a unit, such as 200Mbit)"),
            ("63kbit", "\"63kbit\" is out of range (64kbit to 100Gbit)"),
            ("101Gbit", "\"101Gbit\" is out of range (64kbit to 100Gbit)"),
            ("200Mb", "unknown unit \"Mb\" (one of bit, kbit, Mbit, Gbit)"),
        ] { #expect(problems(adding: peer + text) == ["gw.conf:7:17: peer.nyc.rate: \(message)"]) }
    }

    @Test func aScenarioHasClassesAndNoRates() {
        let parsed = scenario("sites = a, b\nsite.a.set.class.feed = none")
        #expect(parsed?.sites[0].tuning.classes.feed.points.points == [])
        #expect(parsed?.sites[1].tuning.classes == ClassSettings())
        #expect(problems(ofScenario: "sites = a, b\nsite.a.set.class.feed = le").count == 1)
        #expect(problems(ofScenario: "sites = a, b\nsite.a.set.peer.b.rate = 1Mbit").count == 1)
    }
}
