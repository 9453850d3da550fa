// Values about traffic classes: code points by name or number, and lists of them.

import Basics

extension ValueType<CodePoint> {
    private static let hint = "ef, va, le, cs0 to cs7, af11 to af43, or a number from 0 to 63"

    /// A code point by name or number.
    static let codePoint = ValueType(
        name: "code point: \(hint)",
        parse: { text throws(ValueProblem) in
            if let point = CodePoint(text) { return point }
            if let number = Int(text), text.utf8.allSatisfy(isDigit) {
                let isOctet = number < 256 && number % 4 == 0
                throw ValueProblem(
                    "\(quoted(text)) is out of range",
                    hint: isOctet ? "0 to 63; the octet \(number) has the code point \(number / 4)" : "0 to 63")
            }
            let near = nearest(to: text, among: CodePoint.names.map(\.name))
            throw ValueProblem("\(quoted(text)) is not a code point", hint: near.map(didYouMean) ?? hint)
        },
        print: \.description)
}

extension ValueType<OuterMark> {
    /// `copy`, or a code point.
    static let outerMark = ValueType(
        name: "copy, or a code point by name or number",
        parse: { text throws(ValueProblem) in
            text == "copy" ? .copy : .point(try ValueType<CodePoint>.codePoint.parse(text))
        },
        print: { mark in
            switch mark {
            case .copy: "copy"
            case .point(let point): point.description
            }
        })
}

extension ValueType<ClassMembers> {
    /// Code points with commas between them, each once, and `multicast`; or `none`.
    static let classMembers = ValueType(
        name: "code points with commas between, and multicast; or none",
        parse: { text throws(ValueProblem) in
            var members = ClassMembers(CodePointSet([]), hasMulticast: false)
            if text == "none" { return members }
            for (item, offset) in listItems(text) {
                let isThere: Bool
                if item == "multicast" {
                    isThere = members.hasMulticast
                    members.hasMulticast = true
                } else {
                    do throws(ValueProblem) {
                        let point = try ValueType<CodePoint>.codePoint.parse(item)
                        isThere = members.points.contains(point)
                        members.points.insert(point)
                    } catch {
                        throw ValueProblem(error.message, hint: error.hint, offset: offset + error.offset)
                    }
                }
                if isThere { throw ValueProblem("\(quoted(item)) is listed twice", offset: offset) }
            }
            return members
        },
        print: { members in
            let words = members.points.points.map(\.description) + (members.hasMulticast ? ["multicast"] : [])
            return words.isEmpty ? "none" : words.joined(separator: ", ")
        })
}
