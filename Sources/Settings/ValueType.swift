// What a value may be: one description, one parser and one printer for each type, used by configurations and scenarios
// alike. Quantities with units and addresses have their own files.

import Basics

/// Why a text is not a value of its type. The key and the place are added by who knows them.
struct ValueProblem: Error, Hashable {
    let message: String
    let hint: String?
    /// Where in the value, in Unicode scalars from its beginning.
    let offset: Int

    init(_ message: String, hint: String? = nil, offset: Int = 0) {
        self.message = message
        self.hint = hint
        self.offset = offset
    }
}

/// A type of values. `parse(print(value))` is always `value`.
struct ValueType<Value: Sendable>: Sendable {
    /// For documentation: what to write, with units and range.
    let name: String
    let parse: @Sendable (String) throws(ValueProblem) -> Value
    let print: @Sendable (Value) -> String
}

extension ValueType where Value: FixedWidthInteger {
    /// A whole number in decimal digits.
    static func integer(_ range: ClosedRange<Value>, unit: String? = nil) -> ValueType {
        let limits = "\(range.lowerBound) to \(range.upperBound)"
        return ValueType(
            name: "number" + (unit.map { " of \($0)" } ?? "") + ", \(limits)",
            parse: { text throws(ValueProblem) in
                guard !text.isEmpty, text.utf8.allSatisfy(isDigit) else {
                    throw ValueProblem("\(quoted(text)) is not a whole number", hint: limits)
                }
                guard let value = Value(text), range.contains(value) else {
                    throw ValueProblem("\(quoted(text)) is out of range", hint: limits)
                }
                return value
            },
            print: { String($0) })
    }
}

extension ValueType where Value: Equatable {
    /// One of a few words. Each word stands for one value; of several words for one value, the first is printed.
    static func choice(_ choices: [(word: String, value: Value)]) -> ValueType {
        let words = alternatives(choices.map(\.word))
        return ValueType(
            name: words,
            parse: { text throws(ValueProblem) in
                if let choice = choices.first(where: { $0.word == text }) { return choice.value }
                let near = nearest(to: text, among: choices.map(\.word))
                throw ValueProblem("\(quoted(text)) is not \(words)", hint: near.map(didYouMean))
            },
            print: { value in choices.first { $0.value == value }?.word ?? "" })
    }
}

extension ValueType where Value: CaseIterable & RawRepresentable & Equatable, Value.RawValue == String {
    /// One of the enumeration's words.
    static var word: ValueType { choice(Value.allCases.map { ($0.rawValue, $0) }) }
}

extension ValueType<Bool> {
    static let boolean = ValueType.choice([("on", true), ("off", false), ("yes", true), ("no", false)])
}

extension ValueType<String> {
    /// A path, as it is written; `resolve(path:besideFile:)` makes it whole.
    static let path = ValueType(
        name: "path, relative to the file's directory",
        parse: { text throws(ValueProblem) in
            guard !text.hasPrefix("~") else { throw ValueProblem("\"~\" is not expanded", hint: "write the whole path") }
            guard !text.hasSuffix("/") else { throw ValueProblem("\(quoted(text)) is a directory", hint: "name a file") }
            return text
        },
        print: { $0 })

    /// Text that somebody else understands.
    static func text(_ name: String) -> ValueType { ValueType(name: name, parse: { text in text }, print: { $0 }) }

    /// The name of a site, a port or a peer.
    static let name = ValueType(
        name: "name of a-z, 0-9 and -, at most \(maximumNameLength)",
        parse: { text throws(ValueProblem) in
            if let problem = problem(ofName: text, maximum: maximumNameLength) { throw problem }
            return text
        },
        print: { $0 })
}

extension ValueType<[String]> {
    /// Names with commas between them, each once.
    static func names(_ count: ClosedRange<Int>, of what: String) -> ValueType {
        ValueType(
            name: "names of \(what) with commas between, \(count.lowerBound) to \(count.upperBound)",
            parse: { text throws(ValueProblem) in
                var names: [String] = []
                for (name, offset) in listItems(text) {
                    if let problem = problem(ofName: name, maximum: maximumNameLength) {
                        throw ValueProblem(problem.message, hint: problem.hint, offset: offset + problem.offset)
                    }
                    guard !names.contains(name) else { throw ValueProblem("\(quoted(name)) is listed twice", offset: offset) }
                    guard names.count < count.upperBound else {
                        throw ValueProblem("more than \(count.upperBound) \(what)", offset: offset)
                    }
                    names.append(name)
                }
                guard names.count >= count.lowerBound else { throw ValueProblem("fewer than \(count.lowerBound) \(what)") }
                return names
            },
            print: { $0.joined(separator: ", ") })
    }
}

extension ValueType<PublicKey> {
    /// A public key in base64. The text is never quoted back: it may be a private key that was pasted by mistake.
    static let publicKey = ValueType(
        name: "public key in base64",
        parse: { text throws(ValueProblem) in
            let hint = "causeway pubkey FILE prints it, 44 characters of base64"
            guard let key = PublicKey(base64: text) else {
                let length = text.unicodeScalars.count
                throw ValueProblem("not a public key\(length == 44 ? "" : ": it has \(length) characters")", hint: hint)
            }
            guard key.bytes.contains(where: { $0 != 0 }) else { throw ValueProblem("the key is all zeros", hint: hint) }
            return key
        },
        print: { $0.base64 })
}

// MARK: - Names and paths

/// The longest name of a site, a port or a peer, in characters.
let maximumNameLength = 32

/// Why a text is not a name of a-z, 0-9 and `-`.
func problem(ofName text: String, maximum: Int) -> ValueProblem? {
    let scalars = text.unicodeScalars
    guard !scalars.isEmpty else { return ValueProblem("empty name", hint: "a name has 1 to \(maximum) of a-z, 0-9 and -") }
    for (offset, scalar) in scalars.enumerated() where !isNameScalar(scalar) {
        let lowered = text.lowercased()
        let hint = lowered.unicodeScalars.allSatisfy(isNameScalar) ? didYouMean(shortened(lowered)) : "a-z, 0-9 and - only"
        return ValueProblem("\(quoted(String(scalar))) in the name \(quoted(text))", hint: hint, offset: offset)
    }
    guard scalars.count <= maximum else {
        return ValueProblem("the name \(quoted(text)) has \(scalars.count) characters", hint: "at most \(maximum)")
    }
    return nil
}

private func isNameScalar(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "0"..."9", "-": true
    default: false
    }
}

/// The items between commas without the blanks around them, and where each begins, in scalars.
func listItems(_ text: String) -> [(text: String, offset: Int)] {
    let scalars = Array(text.unicodeScalars)
    return scalars.split(separator: ",", omittingEmptySubsequences: false).map { part in
        var item = part.drop { $0 == " " || $0 == "\t" }
        while item.last == " " || item.last == "\t" { item.removeLast() }
        return (String(String.UnicodeScalarView(item)), item.startIndex)
    }
}

/// The path as seen from where `file` is seen from: a relative one begins in the file's directory. Nothing is looked up.
func resolve(path: String, besideFile file: String) -> String {
    guard !path.utf8.starts(with: "/".utf8), let slash = file.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
    return String(file[...slash]) + path
}

@inline(always) func isDigit(_ octet: UInt8) -> Bool { octet &- UInt8(ascii: "0") < 10 }
