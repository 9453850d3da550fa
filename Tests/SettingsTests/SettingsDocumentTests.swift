// The form of files: lines, comments, columns, characters.

import Basics
import Testing

@testable import Settings

@Suite struct SettingsDocumentTests {
    private func document(_ text: String) -> SettingsDocument { SettingsDocument(Array(text.utf8), file: "f") }

    /// `line:keyColumn key|valueColumn value` for each entry.
    private func entries(_ text: String) -> [String] {
        document(text).entries.map { "\($0.line):\($0.keyColumn) \($0.key)|\($0.valueColumn) \($0.value ?? "nil")" }
    }

    private func problems(_ bytes: [UInt8]) -> [String] { SettingsDocument(bytes, file: "f").diagnostics.map(\.description) }
    private func problems(_ text: String) -> [String] { problems(Array(text.utf8)) }

    @Test func keysAndValuesWithTheirColumns() {
        #expect(entries("a = b\n\n  c.d\t=\te f  \ng=h") == ["1:1 a|5 b", "3:3 c.d|9 e f", "4:1 g|3 h"])
    }

    @Test func onlyABlankOrTheLineStartMakesAComment() {
        #expect(entries("# a = b\n \t# c = d\ne = f#g # h\ni = j\t#k\nl =#m") == ["3:1 e|5 f#g", "4:1 i|5 j", "5:1 l|4 #m"])
    }

    @Test func theFirstEqualsSignDivides() {
        #expect(entries("peer.a.key = AAA=\nf = tcp[13] == 2") == ["1:1 peer.a.key|14 AAA=", "2:1 f|5 tcp[13] == 2"])
    }

    @Test func carriageReturnsBelongToTheLineEnd() {
        #expect(entries("a = b\r\nc = d\r\n") == ["1:1 a|5 b", "2:1 c|5 d"])
        #expect(problems("a = b\r\n\r\nc = d") == [])
        #expect(problems("a = b\rc = d") == ["f:1:6: control character U+000D (remove it)"])
    }

    @Test func columnsCountScalars() {
        // One flag of two scalars, one letter with a combining accent: three graphemes would be one less.
        #expect(entries("🇩🇪e\u{301} = x") == ["1:1 🇩🇪e\u{301}|8 x"])
    }

    @Test func emptyFilesHaveNothing() {
        for text in ["", "\n", "\r\n", "   \n\t\n", "# only a comment"] {
            #expect(entries(text) == [] && problems(text) == [], "\(text.debugDescription)")
        }
    }

    @Test func forbiddenCharacters() {
        #expect(problems([0x61, 0x00]) == ["f:1:2: control character U+0000 (remove it)"])
        #expect(problems("ok = 1\n# \u{7}") == ["f:2:3: control character U+0007 (remove it)"])
        #expect(problems("é = \u{85}") == ["f:1:5: control character U+0085 (remove it)"])
        #expect(problems([0xC3, 0xA9, 0x3D, 0xFF]) == ["f:1:3: not UTF-8 text (save the file as UTF-8)"])
        #expect(problems([0x61, 0xC0, 0x80]) == ["f:1:2: not UTF-8 text (save the file as UTF-8)"])
        #expect(problems([0xED, 0xA0, 0x80]) == ["f:1:1: not UTF-8 text (save the file as UTF-8)"])
        #expect(problems("a\u{A0}= b") == ["f:1:2: invisible character U+00A0 (remove it, or write a plain space)"])
        #expect(problems("a = b\u{200B}") == ["f:1:6: invisible character U+200B (remove it, or write a plain space)"])
        #expect(problems("a = b # \u{A0}\u{200B} in a comment") == [])
    }

    @Test func byteOrderMarks() {
        let marked = SettingsDocument([0xEF, 0xBB, 0xBF] + Array("a = b".utf8), file: "f")
        #expect(
            marked.diagnostics.map(\.description) == [
                "f:1:1: the file begins with a byte order mark (save it as UTF-8 without a byte order mark)"
            ])
        #expect(marked.entries.map(\.keyColumn) == [1])
        for bytes: [UInt8] in [[0xFF, 0xFE, 0x61, 0x00], [0xFE, 0xFF, 0x00, 0x61]] {
            #expect(problems(bytes) == ["f:1:1: the file is UTF-16 (save it as UTF-8 without a byte order mark)"])
        }
    }

    @Test func linesThatAreNotKeyAndValue() {
        #expect(problems("hello") == ["f:1:1: no \"=\" in \"hello\" (write key = value)"])
        #expect(problems(" = b") == ["f:1:2: no key before \"=\" (write key = value)"])
        #expect(problems("a.b =  # c") == ["f:1:6: a.b: no value (write one after \"=\", or remove the line)"])
        #expect(
            problems("  [peers]")
                == [
                    "f:1:3: section header \"[peers]\" (there are no sections: write whole dotted keys, such as port.lan0.kind = packet)"
                ])
        #expect(problems("a: b") == ["f:1:2: \":\" after \"a\" (write key = value)"])
        #expect(problems("a:") == ["f:1:2: \":\" after \"a\" (write key = value)"])
        #expect(problems("peer.a.key: AAA=") == ["f:1:11: \":\" after \"peer.a.key\" (write key = value)"])
        #expect(problems("a = \"b\"") == ["f:1:5: a: quotation marks around the value (values are written without them)"])
        #expect(problems("a = b \\") == ["f:1:5: a: \"\\\" at the end of the line (a value is one line, however long)"])
    }

    @Test func repetitionsNameTheFirst() {
        #expect(
            problems("a = 1\nb = 2\n a = 3\na = 4") == [
                "f:3:2: duplicate key \"a\" (the first one is on line 1)",
                "f:4:1: duplicate key \"a\" (the first one is on line 1)",
            ])
        #expect(entries("a = 1\na = 2") == ["1:1 a|5 1"])
    }

    @Test func limits() {
        let largest = [UInt8](repeating: UInt8(ascii: "#"), count: SettingsDocument.maximumBytes)
        #expect(problems(largest) == [])
        #expect(problems(largest + [10]) == ["f:1:1: the file has 1048577 octets (at most 1048576)"])
        let broken = problems([UInt8](repeating: 10, count: 3) + Array(String(repeating: "x\n", count: 5_000).utf8))
        #expect(broken.count == SettingsDocument.maximumDiagnostics + 1)
        #expect(broken.last == "f:1004:1: too many problems: nothing from here on is read")
    }

    @Test func longTextIsCutInMessages() {
        let long = String(repeating: "x", count: 5_000)
        #expect(problems(long) == ["f:1:1: no \"=\" in \"\(String(repeating: "x", count: 60))…\" (write key = value)"])
    }
}
