// The words of `causeway mesh`: rules as they are typed, passes as they are shown.

import Basics
import Foundation
import Mesh
import Settings

struct RuleProblem: Error, CustomStringConvertible {
    let description: String
}

enum MeshText {
    /// A file that is no secret.
    static func file(_ path: String) throws -> String {
        let data: Data
        do { data = try Data(contentsOf: URL(filePath: path)) } catch {
            throw Failure("\(path): cannot be read: \(systemWords(error))")
        }
        guard data.count <= 65_536 else { throw Failure("\(path): it is too long for a pass") }
        return String(decoding: data, as: UTF8.self)
    }

    // MARK: Reading

    /// `any`, `none`, or `239.1.0.0/16, 232.1.1.1 from 192.0.2.7`.
    static func groups(_ text: String) throws(RuleProblem) -> GroupRules {
        switch text {
        case "any": return .any
        case "none": return .none
        default:
            var rules: [GroupRule] = []
            for item in text.split(separator: ",", omittingEmptySubsequences: false) {
                let words = item.split(separator: " ").map(String.init)
                guard let first = words.first else { throw RuleProblem(description: "an empty item in \"\(text)\"") }
                let groups = try prefix(first)
                guard groups.address.isMulticast, groups.length >= (groups.address.family == .v4 ? 4 : 8) else {
                    throw RuleProblem(description: "\(first) is not a block of groups")
                }
                if words.count == 1 {
                    rules.append(GroupRule(groups))
                    continue
                }
                guard words[1] == "from", words.count > 2 else {
                    throw RuleProblem(description: "\"\(item)\" is not GROUPS from SOURCES")
                }
                var sources: [IPPrefix] = []
                for word in words[2...] {
                    let source = try prefix(word)
                    guard source.address.family == groups.address.family, !source.address.isMulticast else {
                        throw RuleProblem(description: "\(word) is no block of sources of \(first)")
                    }
                    sources.append(source)
                }
                rules.append(GroupRule(groups, from: sources))
            }
            return .listed(rules)
        }
    }

    private static func prefix(_ text: String) throws(RuleProblem) -> IPPrefix {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = parseAddress(String(parts[0])) else { throw RuleProblem(description: "\(text) is not an address") }
        let whole = address.family == .v4 ? 32 : 128
        guard parts.count == 1 || parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let length = parts.count == 2 ? Int(parts[1]) : whole, let prefix = IPPrefix(address, length: length)
        else { throw RuleProblem(description: "\(text) has no proper prefix length") }
        return prefix
    }

    /// `any`, `none`, or `-, 10, 100-199, s20`.
    static func vlans(_ text: String) throws(RuleProblem) -> VLANRules {
        switch text {
        case "any": return .any
        case "none": return .listed([])
        default:
            var ranges: [ClosedRange<UInt16>] = []
            for item in text.split(separator: ",", omittingEmptySubsequences: false) {
                var word = item.drop { $0 == " " }
                while word.last == " " { word.removeLast() }
                if word == "-" {
                    ranges.append(0...0)
                    continue
                }
                let isService = word.first == "s"
                let numbers = isService ? word.dropFirst() : word
                let ends = numbers.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
                guard (1...2).contains(ends.count), let low = ends[0], let high = ends[ends.count - 1], low <= high, low >= 1,
                    high <= 4094
                else { throw RuleProblem(description: "\"\(item)\" is no VLAN: -, 10, 100-199 or s20") }
                let base: UInt16 = isService ? 0x1000 : 0
                ranges.append((base + low)...(base + high))
            }
            return VLANRules(ranges)
        }
    }

    // MARK: Showing

    static func describe(_ pass: Pass) -> [String] {
        [
            "pass for      \(pass.site)", "gateway       \(pass.key)", "mesh          \(pass.mesh)",
            "serial        \(pass.serial)", "valid from    \(pass.validFrom)", "valid until   \(pass.validUntil)",
            "may send      \(pass.send)", "may receive   \(pass.receive)", "on VLANs      \(pass.vlans)",
            "may relay     \(pass.mayRelay ? "yes" : "no")",
        ]
    }

    static func describe(_ revocation: Revocation) -> [String] {
        var lines = ["revocation    final", "mesh          \(revocation.mesh)", "made          \(revocation.made)"]
        if let serial = revocation.serial { lines.append("of the pass   with the serial number \(serial)") }
        if let key = revocation.key { lines.append("of every pass of the gateway \(key)") }
        if let end = revocation.matters { lines.append("that ends     \(end)") }
        return lines
    }
}
