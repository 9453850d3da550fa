// Keys and what they mean: one `SettingKey` for each, with its type, its default and its sentence of documentation, and the
// loop that applies a document to a draft by such a table. To add a key is to add one row to a table.

/// One key as documentation shows it. The parser works from the same table, so the two cannot disagree.
public struct KeyDocumentation: Hashable, Sendable {
    /// The key; a part in capitals stands for a name: `port.NAME.kind`.
    public let key: String
    /// What to write, with unit and range.
    public let type: String
    /// What holds without the key. `nil` for a key that is required or that has no effect when it is left out.
    public let defaultValue: String?
    /// True if the file is refused without it (for a key with a name: once the name appears in another key).
    public let isRequired: Bool
    /// A value to show.
    public let example: String
    /// One sentence.
    public let summary: String
}

/// Whether a key must be there, and what holds when it is not.
enum Presence: Sendable {
    case required(example: String)
    case optional(example: String)
    /// The default, as it would be written. With names in capitals it is derived from them.
    case byDefault(String)
}

/// What a configuration key does when a scenario sets it for one site.
enum InReplay: Sendable {
    case applies
    /// It is refused, because the replay decides: the text says what does.
    case decided(String)
}

/// What a table's keys are applied to. `init()` holds the defaults.
protocol SettingsDraft: Sendable {
    init()
}

/// One key of a file whose values go to a `Draft`.
struct SettingKey<Draft: SettingsDraft>: Sendable {
    let pattern: KeyPattern
    let typeName: String
    let presence: Presence
    let summary: String
    let inReplay: InReplay
    /// Why files of this kind cannot have the key; `nil` for all that they can have.
    let refusal: String?
    /// Parses the value and stores it, for the names that stood in the pattern's capitals.
    let apply: @Sendable (inout Draft, [String], String) throws(ValueProblem) -> Void

    init<Value>(
        _ pattern: String, _ type: ValueType<Value>, _ presence: Presence, inReplay: InReplay = .applies, _ summary: String,
        set: @escaping @Sendable (inout Draft, [String], Value) -> Void
    ) {
        self.pattern = KeyPattern(pattern)
        typeName = type.name
        self.presence = presence
        self.summary = summary
        self.inReplay = inReplay
        refusal = nil
        apply = { (draft, names, text) throws(ValueProblem) in set(&draft, names, try type.parse(text)) }
    }

    /// A key without names whose default is the draft's.
    init<Value>(
        _ pattern: String, _ type: ValueType<Value>, _ path: any WritableKeyPath<Draft, Value> & Sendable,
        inReplay: InReplay = .applies, _ summary: String
    ) {
        self.init(
            pattern, type, .byDefault(type.print(Draft()[keyPath: path])), inReplay: inReplay, summary,
            set: { draft, _, value in draft[keyPath: path] = value })
    }

    /// The same key for a replayed site: `site.SITE.set.` and this key. A site may have any of them and needs none.
    init<Inner>(_ key: SettingKey<Inner>, under prefix: String, in path: any WritableKeyPath<Draft, [String: Inner]> & Sendable) {
        pattern = KeyPattern("\(prefix).\(key.pattern.text)")
        typeName = key.typeName
        presence = if case .required(let example) = key.presence { .optional(example: example) } else { key.presence }
        summary = key.summary
        inReplay = .applies
        refusal = if case .decided(let reason) = key.inReplay { reason } else { nil }
        apply = { (draft, names, text) throws(ValueProblem) in
            try key.apply(&draft[keyPath: path][names[0], default: Inner()], Array(names.dropFirst()), text)
        }
    }

    var documentation: KeyDocumentation {
        let (defaultValue, isRequired, example): (String?, Bool, String) =
            switch presence {
            case .required(let example): (nil, true, example)
            case .optional(let example): (nil, false, example)
            case .byDefault(let text): (text, false, text)
            }
        return KeyDocumentation(
            key: pattern.text, type: typeName, defaultValue: defaultValue, isRequired: isRequired, example: example,
            summary: summary)
    }
}

// MARK: - Patterns

/// A key with places for names: parts between dots, those in capitals for any name.
struct KeyPattern: Sendable {
    let text: String
    let parts: [String]

    init(_ text: String) {
        self.text = text
        parts = text.split(separator: ".").map(String.init)
    }

    static func isName(_ part: String) -> Bool { part.utf8.first.map { $0 &- UInt8(ascii: "A") < 26 } ?? false }

    /// A place for a name may be for two with a hyphen between.
    static func maximumLength(ofName part: String) -> Int {
        part.utf8.contains(UInt8(ascii: "-")) ? 2 * maximumNameLength + 1 : maximumNameLength
    }

    /// The indices of the parts that are names, if the key has this pattern.
    func names(in key: [String]) -> [Int]? {
        guard key.count == parts.count else { return nil }
        var names: [Int] = []
        for (index, part) in parts.enumerated() {
            if Self.isName(part) { names.append(index) } else if part != key[index] { return nil }
        }
        return names
    }

    /// The pattern with the key's own parts as names, where it has as many parts.
    func filled(from key: [String]) -> String {
        guard key.count == parts.count else { return text }
        return zip(parts, key).map { Self.isName($0) ? $1 : $0 }.joined(separator: ".")
    }
}

/// A name inside a key, and its column.
struct KeyName: Hashable, Sendable {
    let text: String
    let column: Int
}

/// An entry whose key is known.
struct KeyMatch: Sendable {
    enum Outcome: Sendable {
        case applied
        /// The value, or the key in this file, was refused.
        case refused
        /// A name in the key is not one.
        case misnamed
    }

    let pattern: String
    let names: [KeyName]
    let entry: SettingsDocument.Entry
    let outcome: Outcome
}

// MARK: - Reading

/// All keys of one kind of file.
struct KeyTable<Draft: SettingsDraft>: Sendable {
    let keys: [SettingKey<Draft>]

    /// The rows that a file may contain, in the order of the table.
    var documentation: [KeyDocumentation] { offered.map(\.documentation) }

    private var offered: [SettingKey<Draft>] {
        keys.filter { $0.refusal == nil }
    }

    /// Applies every entry of the document, and looks for required keys that are not there.
    func read(_ document: SettingsDocument, into draft: inout Draft) -> KeyReading {
        var reading = KeyReading(document: document)
        let most = document.diagnostics.count + SettingsDocument.maximumDiagnostics
        for entry in document.entries {
            guard reading.diagnostics.count < most else {
                reading.report(entry.line, 1, "too many problems: nothing from here on is read")
                return reading
            }
            let parts = entry.key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
            if let (key, indices) = find(parts) {
                apply(
                    key, names: indices.map { (parts[$0], column(of: $0, in: parts, entry), key.pattern.parts[$0]) }, entry,
                    to: &draft, &reading)
            } else {
                reportUnknown(entry, parts, &reading)
            }
        }
        for key in keys {
            if case .required(let example) = key.presence { reportMissing(key, example: example, &reading) }
        }
        return reading
    }

    private func find(_ parts: [String]) -> (SettingKey<Draft>, names: [Int])? {
        for key in keys {
            if let names = key.pattern.names(in: parts) { return (key, names) }
        }
        return nil
    }

    private func column(of part: Int, in parts: [String], _ entry: SettingsDocument.Entry) -> Int {
        entry.keyColumn + parts[..<part].reduce(0) { $0 + $1.unicodeScalars.count + 1 }
    }

    private func apply(
        _ key: SettingKey<Draft>, names: [(text: String, column: Int, place: String)], _ entry: SettingsDocument.Entry,
        to draft: inout Draft, _ reading: inout KeyReading
    ) {
        var outcome = KeyMatch.Outcome.applied
        if let refusal = key.refusal {
            reading.report(entry.line, entry.keyColumn, "\(shortened(entry.key)) cannot be set in a replay", hint: refusal)
            outcome = .refused
        }
        for name in names {
            guard let problem = problem(ofName: name.text, maximum: KeyPattern.maximumLength(ofName: name.place)) else {
                continue
            }
            reading.report(entry.line, name.column + problem.offset, problem.message, hint: problem.hint)
            outcome = .misnamed
        }
        if outcome == .applied {
            do throws(ValueProblem) {
                if let value = entry.value {
                    try key.apply(&draft, names.map(\.text), value)
                } else {
                    outcome = .refused
                }
            } catch {
                reading.report(
                    entry.line, entry.valueColumn + error.offset, "\(shortened(entry.key)): \(error.message)", hint: error.hint)
                outcome = .refused
            }
        }
        if outcome != .applied { reading.refused.insert(entry.key) }
        let matched = names.map { KeyName(text: $0.text, column: $0.column) }
        reading.matches.append(KeyMatch(pattern: key.pattern.text, names: matched, entry: entry, outcome: outcome))
    }

    // MARK: Unknown and missing keys

    private func reportUnknown(_ entry: SettingsDocument.Entry, _ parts: [String], _ reading: inout KeyReading) {
        let near = suggestion(for: entry.key, parts)
        if let near { reading.meant.insert(near) }
        reading.report(
            entry.line, entry.keyColumn, "unknown key \(quoted(entry.key))",
            hint: near.map(didYouMean) ?? "the README lists every key")
    }

    /// The nearest key; failing that, the only one that ends in the whole of this one, or else in the same word.
    private func suggestion(for key: String, _ parts: [String]) -> String? {
        let patterns = offered.map(\.pattern)
        if let near = nearest(to: key, among: patterns.map { $0.filled(from: parts) }) { return near }
        for end in [parts[...], parts.suffix(1)] {
            let sameEnd = patterns.filter { $0.parts.suffix(end.count) == end }
            if !sameEnd.isEmpty { return sameEnd.count == 1 ? sameEnd[0].text : nil }
        }
        return nil
    }

    /// A key without names is missing if it is nowhere; one with a name, for each name that other keys mention.
    private func reportMissing(_ key: SettingKey<Draft>, example: String, _ reading: inout KeyReading) {
        let parts = key.pattern.parts
        guard parts.count > 1, KeyPattern.isName(parts[1]) else {
            return reading.reportMissing(key.pattern.text, example: example)
        }
        for name in reading.names(under: "\(parts[0]).\(parts[1]).", at: 0) {
            reading.reportMissing(key.pattern.filled(from: [parts[0], name.text] + parts.dropFirst(2)), example: example)
        }
    }
}

/// What became of a document: which keys were there, and what was wrong with them.
struct KeyReading {
    let document: SettingsDocument
    /// In the order of the file.
    var matches: [KeyMatch] = []
    /// The keys among them whose value does not count. Never iterated.
    var refused: Set<String> = []
    var diagnostics: [Diagnostic]
    /// Keys that unknown ones were probably meant to be: they are not missing as well.
    var meant: Set<String> = []

    init(document: SettingsDocument) {
        self.document = document
        diagnostics = document.diagnostics
    }

    /// Each name in the given place of the keys whose pattern begins so, once, in the order of the file.
    func names(under prefix: String, at index: Int) -> [KeyName] {
        var seen: Set<String> = []
        return matches.filter { $0.pattern.hasPrefix(prefix) && $0.outcome != .misnamed }
            .map { $0.names[index] }
            .filter { seen.insert($0.text).inserted }
    }

    mutating func report(_ line: Int, _ column: Int, _ message: String, hint: String? = nil) {
        diagnostics.append(Diagnostic(file: document.file, line: line, column: column, message: message, hint: hint))
    }

    /// A problem of the value of this key, or of the place where the key should be.
    mutating func report(at key: String, _ message: String, hint: String? = nil) {
        diagnostics.append(SourceMap(document).diagnostic(at: key, message, hint: hint))
    }

    fileprivate mutating func reportMissing(_ key: String, example: String) {
        guard document.entry(of: key) == nil, !meant.contains(key) else { return }
        report(at: key, "missing key \(key)", hint: "such as \(key) = \(example)")
    }
}

/// Where each key of a file is.
struct SourceMap: Sendable {
    private let document: SettingsDocument

    init(_ document: SettingsDocument) { self.document = document }

    /// At the key's value; for a key that is not in the file, at the first key about the same thing (`port.lan0.device` for
    /// `port.lan0.filter`); failing that, at line 1, column 1.
    func diagnostic(at key: String, _ message: String, hint: String?) -> Diagnostic {
        var (line, column) = (1, 1)
        let parts = key.split(separator: ".")
        if let entry = document.entry(of: key) {
            (line, column) = (entry.line, entry.valueColumn)
        } else if parts.count > 2 {
            let subject = parts.prefix(2).joined(separator: ".") + "."
            if let entry = document.entries.first(where: { $0.key.hasPrefix(subject) }) {
                (line, column) = (entry.line, entry.keyColumn)
            }
        }
        return Diagnostic(file: document.file, line: line, column: column, message: message, hint: hint)
    }
}
