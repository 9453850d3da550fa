// The form shared by configurations and scenarios: lines of `key = value`. This file knows where keys and values stand and
// nothing about what they mean; KeyTable gives them meaning.
//
//     # a comment
//     port.lan0.filter = not port 22      # another
//     ^                  ^
//     key column         value column

/// A file of `key = value` lines, with everything that is wrong with its form.
///
/// - A line is blank, a comment, or one key, `=` and one value. The first `=` divides them; blanks around both are dropped.
/// - `#` begins a comment at the beginning of a line and after a blank, so that a value may contain it.
/// - There are no sections, no quotation marks, no continued lines. CR LF ends a line as LF does.
/// - The text is UTF-8 without a byte order mark and without control characters other than the tab.
public struct SettingsDocument: Sendable {
    /// One line with a key.
    public struct Entry: Hashable, Sendable {
        public let line: Int
        public let key: String
        public let keyColumn: Int
        /// `nil` where the form of the value is wrong; a diagnostic says how.
        public let value: String?
        public let valueColumn: Int
    }

    /// The largest file that is read, in octets.
    public static let maximumBytes = 1 << 20

    /// The most problems of form that are reported, and the most of keys and values: a file with more is something else.
    public static let maximumDiagnostics = 1_000

    public let file: String
    /// In the order of the file. Always at most one for each key: a repetition is a diagnostic and no entry.
    public private(set) var entries: [Entry] = []
    public private(set) var diagnostics: [Diagnostic] = []
    private var entryOfKey: [String: Int] = [:]

    /// - Complexity: O(*n*) in the number of octets.
    public init(_ bytes: [UInt8], file: String) {
        self.file = file
        guard bytes.count <= Self.maximumBytes else {
            report(1, 1, "the file has \(bytes.count) octets", hint: "at most \(Self.maximumBytes)")
            return
        }
        guard !bytes.starts(with: [0xFF, 0xFE]) && !bytes.starts(with: [0xFE, 0xFF]) else {
            report(1, 1, "the file is UTF-16", hint: "save it as UTF-8 without a byte order mark")
            return
        }
        var content = bytes[...]
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
            report(1, 1, "the file begins with a byte order mark", hint: "save it as UTF-8 without a byte order mark")
            content = content.dropFirst(3)
        }
        var number = 0
        for line in content.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            guard diagnostics.count < Self.maximumDiagnostics else {
                report(number, 1, "too many problems: nothing from here on is read", hint: nil)
                break
            }
            if let scalars = decode(line.last == 0x0D ? line.dropLast() : line, line: number) {
                parse(Line(scalars: scalars, number: number))
            }
        }
    }

    /// The entry of exactly this key.
    public func entry(of key: String) -> Entry? {
        entryOfKey[key].map { entries[$0] }
    }

    // MARK: - Characters

    /// The line's scalars, or `nil` and a diagnostic at the first that no line may contain.
    private mutating func decode(_ bytes: ArraySlice<UInt8>, line: Int) -> [Unicode.Scalar]? {
        var scalars: [Unicode.Scalar] = []
        var parser = Unicode.UTF8.ForwardParser()
        var iterator = bytes.makeIterator()
        while true {
            switch parser.parseScalar(from: &iterator) {
            case .emptyInput:
                return scalars
            case .error:
                report(line, scalars.count + 1, "not UTF-8 text", hint: "save the file as UTF-8")
                return nil
            case .valid(let encoded):
                let scalar = Unicode.UTF8.decode(encoded)
                if scalar.properties.generalCategory == .control && scalar != "\t" {
                    report(line, scalars.count + 1, "control character \(codePoint(scalar))", hint: "remove it")
                    return nil
                }
                scalars.append(scalar)
            }
        }
    }

    // MARK: - Lines

    private mutating func parse(_ line: Line) {
        let content = line.content
        guard let first = content.first, let last = content.last else { return }
        if let odd = content.firstIndex(where: isInvisible) {
            return report(
                line.number, odd + 1, "invisible character \(codePoint(content[odd]))", hint: "remove it, or write a plain space")
        }
        if first == "[" && last == "]" {
            let text = quoted(String(content))
            let hint = "there are no sections: write whole dotted keys, such as port.lan0.kind = packet"
            return report(line.number, content.startIndex + 1, "section header \(text)", hint: hint)
        }
        if let colon = yamlColon(content) {
            let key = String(content[..<colon])
            record(key: key, value: nil, keyColumn: content.startIndex + 1, valueColumn: colon + 1, line: line.number)
            return report(line.number, colon + 1, "\":\" after \(quoted(key))", hint: "write key = value")
        }
        guard let equals = content.firstIndex(of: "=") else {
            return report(
                line.number, content.startIndex + 1, "no \"=\" in \(quoted(String(content)))", hint: "write key = value")
        }
        parse(key: trim(content[..<equals]), value: trim(content[(equals + 1)...]), equals: equals, line: line.number)
    }

    private mutating func parse(key: ArraySlice<Unicode.Scalar>, value: ArraySlice<Unicode.Scalar>, equals: Int, line: Int) {
        guard !key.isEmpty else {
            return report(line, equals + 1, "no key before \"=\"", hint: "write key = value")
        }
        let name = String(key)
        let valueColumn = value.isEmpty ? equals + 2 : value.startIndex + 1
        if let first = entry(of: name) {
            let hint = "the first one is on line \(first.line)"
            return report(line, key.startIndex + 1, "duplicate key \(quoted(name))", hint: hint)
        }
        let flaw = flaw(ofValue: value)
        record(
            key: name, value: flaw == nil ? String(value) : nil, keyColumn: key.startIndex + 1, valueColumn: valueColumn,
            line: line)
        if let flaw {
            report(line, valueColumn, "\(shortened(name)): \(flaw.message)", hint: flaw.hint)
        }
    }

    private mutating func record(key: String, value: String?, keyColumn: Int, valueColumn: Int, line: Int) {
        guard entryOfKey[key] == nil else { return }
        entryOfKey[key] = entries.count
        entries.append(Entry(line: line, key: key, keyColumn: keyColumn, value: value, valueColumn: valueColumn))
    }

    private mutating func report(_ line: Int, _ column: Int, _ message: String, hint: String?) {
        diagnostics.append(Diagnostic(file: file, line: line, column: column, message: message, hint: hint))
    }
}

/// One line's scalars; the index of a scalar is its column less one.
private struct Line {
    let scalars: [Unicode.Scalar]
    let number: Int

    /// Without the comment and the blanks around.
    var content: ArraySlice<Unicode.Scalar> {
        var end = scalars.count
        for index in scalars.indices where scalars[index] == "#" && (index == 0 || isBlank(scalars[index - 1])) {
            end = index
            break
        }
        return trim(scalars[..<end])
    }
}

/// What is wrong with the form of a value, whatever its key.
private func flaw(ofValue value: ArraySlice<Unicode.Scalar>) -> (message: String, hint: String)? {
    guard let first = value.first, let last = value.last else {
        return ("no value", "write one after \"=\", or remove the line")
    }
    if value.count > 1 && first == last && (first == "\"" || first == "'") {
        return ("quotation marks around the value", "values are written without them")
    }
    if last == "\\" {
        return ("\"\\\" at the end of the line", "a value is one line, however long")
    }
    return nil
}

/// Where the colon of `key: value` is, in a line that is not `key = value`.
private func yamlColon(_ content: ArraySlice<Unicode.Scalar>) -> Int? {
    let word = content.prefix(while: isWordScalar)
    guard !word.isEmpty, word.endIndex < content.endIndex, content[word.endIndex] == ":" else { return nil }
    let next = word.endIndex + 1
    return next == content.endIndex || isBlank(content[next]) ? word.endIndex : nil
}

private func isWordScalar(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", ".", "-", "_": true
    default: false
    }
}

private func trim(_ scalars: ArraySlice<Unicode.Scalar>) -> ArraySlice<Unicode.Scalar> {
    var trimmed = scalars.drop(while: isBlank)
    while let last = trimmed.last, isBlank(last) { trimmed.removeLast() }
    return trimmed
}

private func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" }

/// Format characters and odd spaces: what a copy from a web page brings along and no operator sees.
private func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .format, .lineSeparator, .paragraphSeparator: true
    case .spaceSeparator: scalar != " "
    default: false
    }
}

private func codePoint(_ scalar: Unicode.Scalar) -> String {
    let digits = String(scalar.value, radix: 16, uppercase: true)
    return "U+" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}

extension String {
    fileprivate init(_ scalars: ArraySlice<Unicode.Scalar>) {
        self.init(String.UnicodeScalarView(scalars))
    }
}
