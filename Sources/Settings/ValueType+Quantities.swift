// Quantities with units: durations, sizes, rates and shares. A number without its unit is refused, and so is one that
// cannot be held exactly: nothing is rounded behind the operator's back.

import Basics

extension ValueType<Interval> {
    /// A length of time, `300s`, `0.5s` or `20ms`; held in nanoseconds.
    static func duration(_ range: ClosedRange<Interval>) -> ValueType {
        let limits = "\(range.lowerBound) to \(range.upperBound)"
        return ValueType(
            name: "duration, \(limits)",
            parse: { text throws(ValueProblem) in
                let value = Interval(nanoseconds: Int64(clamping: try UnitTable.duration.parse(text)))
                guard range.contains(value) else { throw ValueProblem("\(quoted(text)) is out of range", hint: limits) }
                return value
            },
            print: \.description)
    }
}

extension ValueType<UInt64> {
    /// A number of octets, `64KiB` or `1.5MB`.
    static func size(_ range: ClosedRange<UInt64>) -> ValueType { quantity(.size, range) }

    /// Bits a second, `200Mbit`.
    static func rate(_ range: ClosedRange<UInt64>) -> ValueType { quantity(.rate, range) }

    private static func quantity(_ units: UnitTable, _ range: ClosedRange<UInt64>) -> ValueType {
        let limits = "\(units.print(range.lowerBound)) to \(units.print(range.upperBound))"
        return ValueType(
            name: "\(units.quantity), \(limits)",
            parse: { text throws(ValueProblem) in
                let value = try units.parse(text)
                guard range.contains(value) else { throw ValueProblem("\(quoted(text)) is out of range", hint: limits) }
                return value
            },
            print: { units.print($0) })
    }
}

extension ValueType<UInt32> {
    /// A share from `0%` to `100%`, held in millionths: `0.5%` is 5000.
    static let percentage = ValueType(
        name: "percentage, 0% to 100%",
        parse: { text throws(ValueProblem) in
            let value = try UnitTable.percentage.parse(text)
            guard value <= 1_000_000 else { throw ValueProblem("\(quoted(text)) is out of range", hint: "0% to 100%") }
            return UInt32(value)
        },
        print: { value in
            var fraction = String(10_000 + value % 10_000).dropFirst()
            while fraction.last == "0" { fraction.removeLast() }
            return "\(value / 10_000)\(fraction.isEmpty ? "" : ".")\(fraction)%"
        })
}

/// The units of one kind of quantity.
struct UnitTable: Sendable {
    /// `duration`: what messages call it.
    let quantity: String
    /// Each unit, in what the quantity is held in; ascending.
    let units: [(name: String, scale: UInt64)]
    /// The unit of the hint for a bare number.
    let usual: String
    /// What the quantity is held in, as the message for a finer number says.
    let finest: String

    static let duration = UnitTable(
        quantity: "duration",
        units: [
            ("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("min", 60_000_000_000),
            ("h", 3_600_000_000_000), ("d", 86_400_000_000_000),
        ],
        usual: "s", finest: "1ns")

    static let size = UnitTable(
        quantity: "size",
        units: [
            ("B", 1), ("KB", 1_000), ("KiB", 1 << 10), ("MB", 1_000_000), ("MiB", 1 << 20), ("GB", 1_000_000_000),
            ("GiB", 1 << 30),
        ],
        usual: "KiB", finest: "1B")

    static let rate = UnitTable(
        quantity: "rate", units: [("bit", 1), ("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)],
        usual: "Mbit", finest: "1bit")

    static let percentage = UnitTable(quantity: "percentage", units: [("%", 10_000)], usual: "%", finest: "0.0001%")

    /// The quantity, exactly; `UInt64.max` for what is larger.
    func parse(_ text: String) throws(ValueProblem) -> UInt64 {
        let octets = Array(text.utf8)
        let whole = octets.prefix(while: isDigit)
        var rest = octets.dropFirst(whole.count)
        var fraction = rest.prefix(0)
        if rest.first == UInt8(ascii: "."), !whole.isEmpty {
            fraction = rest.dropFirst().prefix(while: isDigit)
            rest = rest.dropFirst(1 + fraction.count)
            guard !fraction.isEmpty else { throw notAQuantity(text) }
        }
        guard !whole.isEmpty else { throw notAQuantity(text) }
        let unit = String(decoding: rest, as: UTF8.self)
        guard !unit.isEmpty else {
            throw ValueProblem("\(quoted(text)) has no unit", hint: "add a unit, such as \(shortened(text))\(usual)")
        }
        guard let scale = units.first(where: { $0.name == unit })?.scale else { throw unknownUnit(unit, in: text) }
        return try value(whole: whole, fraction: fraction, scale: scale, text: text)
    }

    /// 128 bits hold 20 digits of the largest unit, and 18 digits of a fraction of it.
    private func value(
        whole: ArraySlice<UInt8>, fraction: ArraySlice<UInt8>, scale: UInt64, text: String
    ) throws(ValueProblem) -> UInt64 {
        let significant = whole.drop { $0 == UInt8(ascii: "0") }
        guard significant.count <= 20 else { return .max }
        var decimals = fraction
        while decimals.last == UInt8(ascii: "0") { decimals.removeLast() }
        let tooFine = ValueProblem("\(quoted(text)) is finer than \(finest)")
        guard decimals.count <= 18 else { throw tooFine }
        let divisor = decimals.reduce(UInt128(1)) { power, _ in power * 10 }
        let (parts, remainder) = (number(decimals) * UInt128(scale)).quotientAndRemainder(dividingBy: divisor)
        guard remainder == 0 else { throw tooFine }
        return UInt64(clamping: number(significant) * UInt128(scale) + parts)
    }

    private func number(_ digits: ArraySlice<UInt8>) -> UInt128 {
        digits.reduce(0) { $0 * 10 + UInt128($1 - UInt8(ascii: "0")) }
    }

    private func notAQuantity(_ text: String) -> ValueProblem {
        ValueProblem("\(quoted(text)) is not a \(quantity)", hint: "a number and a unit, such as 5\(usual)")
    }

    private func unknownUnit(_ unit: String, in text: String) -> ValueProblem {
        if unit.hasPrefix(" ") || unit.hasPrefix("\t") {
            return ValueProblem("a blank in \(quoted(text))", hint: "the unit follows the number directly, as in 5\(usual)")
        }
        return ValueProblem("unknown unit \(quoted(unit))", hint: "one of " + units.map(\.name).joined(separator: ", "))
    }

    /// A whole number of the largest unit that leaves no rest.
    func print(_ value: UInt64) -> String {
        let unit = units.last { value != 0 && value % $0.scale == 0 } ?? units[0]
        return "\(value / unit.scale)\(unit.name)"
    }
}
