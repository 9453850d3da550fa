// Values that name parts of the machine: how many lanes, and which processors.

import Basics

extension ValueType<Int?> {
    /// A number of lanes, or `auto`.
    static let laneCount = ValueType(
        name: "auto, or a number of lanes, 1 to \(Limits.lanes)",
        parse: { text throws(ValueProblem) in
            text == "auto" ? nil : try ValueType<Int>.integer(1...Limits.lanes, unit: "lanes").parse(text)
        },
        print: { $0.map { String($0) } ?? "auto" })
}

extension ValueType<[Int]> {
    /// Numbers of processors with commas between them, each once, or `any`.
    static let processors = ValueType(
        name: "any, or numbers of processors with commas between",
        parse: { text throws(ValueProblem) in
            if text == "any" { return [] }
            var processors: [Int] = []
            for (item, offset) in listItems(text) {
                let processor: Int
                do throws(ValueProblem) {
                    processor = try ValueType<Int>.integer(0...1_023).parse(item)
                } catch {
                    throw ValueProblem(error.message, hint: "such as 2, 3; or any", offset: offset + error.offset)
                }
                guard !processors.contains(processor) else {
                    throw ValueProblem("processor \(processor) is listed twice", offset: offset)
                }
                processors.append(processor)
            }
            return processors
        },
        print: { $0.isEmpty ? "any" : $0.map { String($0) }.joined(separator: ", ") })
}
