// From a scenario's octets to a replay: reads the keys, then gives every site its ports and every pair of sites its link.

import Basics

/// What a scenario says, and everything that is wrong with it.
public struct ParsedScenario: Sendable {
    /// `nil` if and only if there are diagnostics.
    public let scenario: ReplayScenario?
    /// Sorted by place. Each of them is an error.
    public let diagnostics: [Diagnostic]
    /// Sorted by place. What is legal and hardly meant.
    public let warnings: [Diagnostic]
    private let sources: SourceMap

    /// A problem that the caller found with what a key names, such as a capture that is not one: at the key's value.
    public func diagnostic(at key: String, _ message: String, hint: String? = nil) -> Diagnostic {
        sources.diagnostic(at: key, message, hint: hint)
    }

    fileprivate init(_ scenario: ReplayScenario, _ check: ScenarioCheck) {
        diagnostics = check.reading.diagnostics.sorted()
        warnings = check.warnings.sorted()
        sources = SourceMap(check.reading.document)
        self.scenario = diagnostics.isEmpty ? scenario : nil
    }
}

extension ReplayScenario {
    /// Reads a scenario. Relative paths in it are resolved beside `file`.
    public static func parse(_ bytes: [UInt8], file: String) -> ParsedScenario {
        var draft = ScenarioDraft()
        let reading = keys.read(SettingsDocument(bytes, file: file), into: &draft)
        var check = ScenarioCheck(draft: draft, reading: reading)
        check.checkSites()
        check.checkTuning()
        let scenario = ReplayScenario(
            sites: check.sites(), links: check.links(), align: draft.align, settle: draft.settle, linger: draft.linger,
            seed: draft.seed, snapshots: draft.snapshots)
        return ParsedScenario(scenario, check)
    }
}

/// A scenario whose keys have been read, on its way to a replay. Keys about sites are not judged while the list of sites is
/// itself missing or wrong.
private struct ScenarioCheck {
    let draft: ScenarioDraft
    var reading: KeyReading
    var warnings: [Diagnostic] = []

    // MARK: - Sites

    mutating func checkSites() {
        guard let sites = draft.sites else { return }
        if sites.count == 1 {
            let message = "sites: there is only one: no frame crosses the mesh"
            warnings.append(SourceMap(reading.document).diagnostic(at: "sites", message, hint: "such as sites = a, b"))
        }
        for match in reading.matches where match.pattern.hasPrefix("site.SITE.") && match.outcome != .misnamed {
            let name = match.names[0]
            guard !sites.contains(name.text) else { continue }
            reading.report(
                match.entry.line, name.column, "unknown site \(quoted(name.text))",
                hint: nearest(to: name.text, among: sites).map(didYouMean) ?? "add it to sites")
        }
    }

    /// What `causeway check` would say of each site's settings.
    mutating func checkTuning() {
        for site in draft.sites ?? [] {
            guard let settings = draft.settings[site] else { continue }
            var check = TuningCheck(settings.tuning, keysUnder: "site.\(site).set.", reading)
            check.run()
            reading.diagnostics += check.errors
            warnings += check.warnings
        }
    }

    mutating func sites() -> [ScenarioSite] {
        (draft.sites ?? []).map { name in
            ScenarioSite(
                name: name, ports: ports(of: name), tuning: draft.settings[name]?.tuning ?? SiteTuning(),
                pass: draft.passes[name])
        }
    }

    /// The ports that are listed or have a key of their own; failing both, `lan0`.
    private mutating func ports(of site: String) -> [ScenarioPort] {
        let keyed = matches(under: "site.SITE.port.", of: site).map(\.names[1].text)
        var names = Set((draft.ports[site] ?? []) + keyed).sorted()
        if names.isEmpty { names = ["lan0"] }
        if names.count > Limits.ports, let last = matches(under: "site.SITE.port.", of: site).last {
            let message = "the site \(quoted(site)) has \(names.count) ports"
            reading.report(last.entry.line, last.names[1].column, message, hint: "at most \(Limits.ports)")
        }
        checkPortSettings(of: site, ports: names)
        return names.map { name in
            var port = draft.capturePorts[site]?[name] ?? ScenarioPort(name: name)
            port.capture = port.capture.map { resolve(path: $0, besideFile: reading.document.file) }
            let settings = draft.settings[site]?.ports[name]
            port.filter = settings?.filter
            port.multicast = settings?.multicast ?? PortMulticast()
            return port
        }
    }

    /// A setting does not make a port: a mistyped name would go unnoticed.
    private mutating func checkPortSettings(of site: String, ports: [String]) {
        for match in matches(under: "site.SITE.set.port.NAME.", of: site) {
            let name = match.names[1]
            guard match.outcome == .applied, !ports.contains(name.text) else { continue }
            let near = nearest(to: name.text, among: ports).map(didYouMean)
            reading.report(
                match.entry.line, name.column, "the site \(quoted(site)) has no port \(quoted(name.text))",
                hint: near ?? "it has \(ports.joined(separator: ", "))")
        }
    }

    private func matches(under prefix: String, of site: String) -> [KeyMatch] {
        reading.matches.filter { $0.pattern.hasPrefix(prefix) && $0.outcome != .misnamed && $0.names[0].text == site }
    }

    // MARK: - Links

    /// Every pair's link; a key's attribute goes to the pair that its name stands for.
    mutating func links() -> [ScenarioLink] {
        guard let sites = draft.sites else { return [] }
        var links = sites.indices.flatMap { a in sites.indices.dropFirst(a + 1).map { b in ScenarioLink(a: a, b: b) } }
        var firstOfAttribute: [String: SettingsDocument.Entry] = [:]
        for match in reading.matches where match.pattern.hasPrefix("link.A-B.") && match.outcome != .misnamed {
            guard
                let index = pair(named: match.names[0], match.entry, sites).flatMap({ pair in
                    links.firstIndex { $0.a == pair.a && $0.b == pair.b }
                })
            else { continue }
            let attribute = "\(index) \(match.pattern)"
            if let first = firstOfAttribute[attribute] {
                let hint = "the same link as \(first.key) on line \(first.line)"
                reading.report(match.entry.line, match.entry.keyColumn, "duplicate key \(quoted(match.entry.key))", hint: hint)
                continue
            }
            firstOfAttribute[attribute] = match.entry
            guard let given = draft.links[match.names[0].text] else { continue }
            switch match.pattern {
            case "link.A-B.delay": links[index].delay = given.delay
            case "link.A-B.loss": links[index].lossMillionths = given.lossMillionths
            case "link.A-B.up": links[index].isUp = given.isUp
            case "link.A-B.cut": links[index].cuts = given.cuts
            default: links[index].mtu = given.mtu
            }
        }
        return links
    }

    /// The two sites that `A-B` names; site names may have hyphens of their own, so every hyphen is tried.
    private mutating func pair(
        named name: KeyName, _ entry: SettingsDocument.Entry, _ sites: [String]
    ) -> (a: Int, b: Int)? {
        let readings = hyphenSplits(name.text)
        var pairs: [(a: Int, b: Int)] = []
        for (left, right) in readings {
            guard let i = sites.firstIndex(of: left), let j = sites.firstIndex(of: right) else { continue }
            if !pairs.contains(where: { $0 == (min(i, j), max(i, j)) }) { pairs.append((min(i, j), max(i, j))) }
        }
        let (message, hint): (String, String?) =
            switch pairs.count {
            case 0: ("no two sites make the link \(quoted(name.text))", linkSuggestion(readings, sites))
            case 1 where pairs[0].a == pairs[0].b: ("the link \(quoted(name.text)) joins a site with itself", nil)
            case 1: ("", nil)
            default:
                (
                    "the link \(quoted(name.text)) is ambiguous",
                    pairs.map { "\(sites[$0.a]) and \(sites[$0.b])" }.joined(separator: ", or ") + "; rename a site"
                )
            }
        guard !message.isEmpty else { return pairs[0] }
        reading.report(entry.line, name.column, message, hint: hint)
        return nil
    }

    private func hyphenSplits(_ text: String) -> [(left: String, right: String)] {
        text.indices.filter { text[$0] == "-" }.map { (String(text[..<$0]), String(text[text.index(after: $0)...])) }
    }

    private func linkSuggestion(_ readings: [(left: String, right: String)], _ sites: [String]) -> String {
        for (left, right) in readings {
            guard let a = nearest(to: left, among: sites), let b = nearest(to: right, among: sites), a != b else { continue }
            return didYouMean("\(a)-\(b)")
        }
        return readings.isEmpty
            ? "a link is named by two sites with a hyphen between, as in a-b" : "the sites are listed in sites"
    }
}
