// What is wrong with a configuration or a scenario, and where: one value for each problem, so that a reader hears of all of
// them at once. The parsers of this target make them; so does whoever opens the files that a configuration names.

/// One problem of a file, at one place. It prints as `FILE:LINE:COLUMN: message (hint)`, which editors and terminals jump to.
public struct Diagnostic: Hashable, Sendable {
    /// The file as the operator named it.
    public let file: String
    /// 1 is the first line. What is missing from a file as a whole is reported at line 1, column 1.
    public let line: Int
    /// 1 is the first column; columns count Unicode scalars, and a tab is one.
    public let column: Int
    /// What is wrong.
    public let message: String
    /// What to do about it, where that is known.
    public let hint: String?

    public init(file: String, line: Int, column: Int, message: String, hint: String? = nil) {
        self.file = file
        self.line = line
        self.column = column
        self.message = message
        self.hint = hint
    }
}

extension Diagnostic: CustomStringConvertible {
    public var description: String {
        "\(file):\(line):\(column): \(message)" + (hint.map { " (\($0))" } ?? "")
    }
}

extension Diagnostic: Comparable {
    /// By place, then by text: the order in which problems are listed.
    public static func < (a: Diagnostic, b: Diagnostic) -> Bool {
        (a.file, a.line, a.column, a.message, a.hint ?? "") < (b.file, b.line, b.column, b.message, b.hint ?? "")
    }
}

/// The operator's own text, quoted back in a message: in quotation marks, and cut where it would fill the screen.
func quoted(_ text: some StringProtocol) -> String {
    let longest = 60
    let scalars = text.unicodeScalars
    guard scalars.count > longest else { return "\"\(text)\"" }
    return "\"\(String(String.UnicodeScalarView(scalars.prefix(longest))))…\""
}

/// `a, b or c`.
func alternatives(_ names: [String]) -> String {
    guard names.count > 1, let last = names.last else { return names.first ?? "" }
    return names.dropLast().joined(separator: ", ") + " or " + last
}

/// The operator's own text without quotation marks, for keys at the beginning of a message.
func shortened(_ text: String) -> String { String(quoted(text).dropFirst().dropLast()) }
