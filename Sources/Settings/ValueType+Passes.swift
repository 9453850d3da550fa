// Values of scenarios about passes and about links that fail: blocks of groups with their sources, VLANs, and periods.

import Basics

extension ValueType<[ScenarioPass.Groups]?> {
    /// `any`, `none`, or `239.1.0.0/16, 232.1.1.1 from 192.0.2.7 10.0.0.0/8`, as `causeway mesh admit` takes them; `nil` is any.
    static let passGroups = ValueType(
        name: "any, none, or blocks of groups with commas between, each with from and sources behind it where they matter",
        parse: { text throws(ValueProblem) in
            if text == "any" { return nil }
            if text == "none" { return [] }
            var rules: [ScenarioPass.Groups] = []
            for (item, offset) in listItems(text) {
                let words = item.split { $0 == " " || $0 == "\t" }.map(String.init)
                guard let first = words.first else { throw ValueProblem("an empty item", offset: offset) }
                let groups = try block(first, offset)
                guard groups.address.isMulticast, groups.length >= (groups.address.family == .v4 ? 4 : 8) else {
                    throw ValueProblem("\(quoted(first)) is not a block of groups", hint: "such as 239.1.0.0/16", offset: offset)
                }
                guard words.count == 1 || (words.count > 2 && words[1] == "from") else {
                    throw ValueProblem("\(quoted(item)) is not GROUPS from SOURCES", offset: offset)
                }
                var sources: [IPPrefix] = []
                for word in words.dropFirst(2) {
                    let source = try block(word, offset)
                    guard source.address.family == groups.address.family, !source.address.isMulticast else {
                        throw ValueProblem("\(quoted(word)) is no block of sources of \(first)", offset: offset)
                    }
                    sources.append(source)
                }
                rules.append(ScenarioPass.Groups(groups: groups, sources: sources))
            }
            return rules
        },
        print: { rules in
            guard let rules else { return "any" }
            if rules.isEmpty { return "none" }
            return rules.map { rule in
                "\(rule.groups)" + (rule.sources.isEmpty ? "" : " from " + rule.sources.map(\.description).joined(separator: " "))
            }.joined(separator: ", ")
        })
}

/// A prefix, or an address alone.
private func block(_ text: String, _ offset: Int) throws(ValueProblem) -> IPPrefix {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard let address = parseAddress(parts[0]) else { throw ValueProblem("\(quoted(text)) is not an address", offset: offset) }
    let whole = address.family == .v4 ? 32 : 128
    guard parts.count == 1 || (parts[1].utf8.allSatisfy(isDigit) && !parts[1].isEmpty),
        let length = parts.count == 2 ? Int(parts[1]) : whole, let prefix = IPPrefix(address, length: length)
    else { throw ValueProblem("\(quoted(text)) has no proper prefix length", hint: "0 to \(whole)", offset: offset) }
    return prefix
}

extension ValueType<[ClosedRange<UInt16>]?> {
    /// `any`, `none`, or `-, 10, 100-199, s20`, where `-` is untagged; `nil` is any. Service VLANs are 4096 higher.
    static let passVLANs = ValueType(
        name: "any, none, or VLANs with commas between: - (untagged), 10, 100-199, s20",
        parse: { text throws(ValueProblem) in
            if text == "any" { return nil }
            if text == "none" { return [] }
            var ranges: [ClosedRange<UInt16>] = []
            for (item, offset) in listItems(text) {
                if item == "-" {
                    ranges.append(0...0)
                    continue
                }
                let isService = item.first == "s"
                let ends = (isService ? item.dropFirst() : item[...]).split(separator: "-", omittingEmptySubsequences: false)
                    .map { part in part.utf8.allSatisfy(isDigit) ? UInt16(part) : nil }
                guard (1...2).contains(ends.count), let low = ends[0], let high = ends[ends.count - 1], low >= 1, low <= high,
                    high <= 4_094
                else { throw ValueProblem("\(quoted(item)) is no VLAN", hint: "-, 10, 100-199 or s20", offset: offset) }
                let base: UInt16 = isService ? 4_096 : 0
                ranges.append((base + low)...(base + high))
            }
            return ranges
        },
        print: { ranges in
            guard let ranges else { return "any" }
            if ranges.isEmpty { return "none" }
            return ranges.map { range in
                if range == 0...0 { return "-" }
                let base: UInt16 = range.lowerBound > 4_096 ? 4_096 : 0
                let first = (base > 0 ? "s" : "") + "\(range.lowerBound - base)"
                return range.count == 1 ? first : first + "-\(range.upperBound - base)"
            }.joined(separator: ", ")
        })
}

extension ValueType<[ScenarioCut]> {
    /// `3s..9s, 20s..21s`: periods that follow each other.
    static func cuts(_ range: ClosedRange<Interval>, limit: Int) -> ValueType {
        let moment = ValueType<Interval>.duration(range)
        return ValueType(
            name: "periods with commas between, such as 3s..9s, \(range.lowerBound) to \(range.upperBound), at most \(limit)",
            parse: { text throws(ValueProblem) in
                let items = listItems(text)
                guard items.count <= limit else { throw ValueProblem("more than \(limit) periods", offset: items[limit].offset) }
                var cuts: [ScenarioCut] = []
                for (item, offset) in items {
                    guard let dots = item.firstRange(of: "..") else {
                        throw ValueProblem("\(quoted(item)) is no period", hint: "such as 3s..9s", offset: offset)
                    }
                    let (from, until): (Interval, Interval)
                    do throws(ValueProblem) {
                        from = try moment.parse(String(item[..<dots.lowerBound]))
                        until = try moment.parse(String(item[dots.upperBound...]))
                    } catch {
                        throw ValueProblem(error.message, hint: error.hint, offset: offset)
                    }
                    guard from < until, cuts.last.map({ $0.until < from }) ?? true else {
                        throw ValueProblem(
                            "\(quoted(item)) does not end after it begins, or not after the one before", offset: offset)
                    }
                    cuts.append(ScenarioCut(from: from, until: until))
                }
                return cuts
            },
            print: { $0.map { "\($0.from)..\($0.until)" }.joined(separator: ", ") })
    }
}
