// What is wrong with a site's settings taken together: each value is in its range, and yet no network works so. One check for
// `causeway check` and for what a scenario sets for a site. RFC 9776 sections 4.1 and 8, RFC 9777 sections 5.1 and 9.

import Basics

/// Looks at the settings of one site. A problem stands at the value of a key that the file has; where the value of a key that
/// plays a part was refused, nothing is said before it is right.
struct TuningCheck {
    private let tuning: SiteTuning
    /// What the site's keys begin with: nothing in a configuration, `site.SITE.set.` in a scenario.
    private let prefix: String
    private let reading: KeyReading
    private let places: SourceMap
    private(set) var errors: [Diagnostic] = []
    /// What is legal and hardly meant.
    private(set) var warnings: [Diagnostic] = []

    init(_ tuning: SiteTuning, keysUnder prefix: String, _ reading: KeyReading) {
        self.tuning = tuning
        self.prefix = prefix
        self.reading = reading
        places = SourceMap(reading.document)
    }

    private var multicast: MulticastSettings { tuning.multicast }

    mutating func run() {
        checkForwardMask()
        checkClasses()
        checkLiveness()
        for family in IPFamily.allCases {
            checkIntervals(family)
            checkLeaves(family)
        }
        checkStatics()
        // Without snooping there is one thing to say of the rest.
        guard multicast.snooping else { return reportIdleKeys() }
        for family in IPFamily.allCases {
            checkPresence(family)
            checkQuerier(family)
            checkCodes(family)
        }
    }

    // MARK: - Errors

    private mutating func checkLiveness() {
        let (suspect, down) = (tuning.livenessSuspect, tuning.livenessDown)
        let keys = ["liveness.down", "liveness.suspect"]
        if down <= suspect {
            report(
                .error, at: keys, "a peer would be down after \(down), before or as soon as it is suspect (\(suspect))",
                hint: "liveness.down is longer than liveness.suspect, at best three times as long")
        } else if down < suspect + suspect / 2 {
            let more = max(1, (down + suspect * -1).nanoseconds * 4 / suspect.nanoseconds)
            report(
                .warning, at: keys, "down after \(down) is little more than suspect after \(suspect)",
                hint: "a suspect peer is asked \(more) more time\(more == 1 ? "" : "s") before it is down")
        }
    }

    private mutating func checkIntervals(_ family: IPFamily) {
        let timing = multicast[family].timing
        let (k2, k3, k4) = (timing.queryInterval, timing.queryResponseInterval, timing.groupMembershipInterval)
        if k3 >= k2 {
            report(
                .error, at: keys(family, "query-response-interval", "query-interval"),
                "the query response interval (K3, \(k3)) is not below the query interval (K2, \(k2))",
                hint: "hosts spread their answers over K3, and all must have answered before the next query")
        }
        if timing.setGroupMembershipInterval != nil, k4 <= k2 + k3 {
            var derived = timing
            derived.setGroupMembershipInterval = nil
            report(
                .error, at: keys(family, "group-membership-interval", "query-interval", "query-response-interval", "robustness"),
                "the group membership interval (K4, \(k4)) is not above K2 + K3 (\(k2 + k3)): "
                    + "members would be forgotten between two queries",
                hint: "by default it is K1 x K2 + 2 x K3, \(derived.groupMembershipInterval)")
        }
    }

    /// A leave that takes longer than silence does nothing.
    private mutating func checkLeaves(_ family: IPFamily) {
        let timing = multicast[family].timing
        let k4 = timing.groupMembershipInterval
        let asked = timing.lastMemberQueryInterval * Int64(timing.lastMemberQueryCount)
        let others = [
            "robustness", "group-membership-interval", "query-interval", "query-response-interval",
        ]
        let queries = ["last-member-query-interval", "last-member-query-count"]
        let hint = "a leave would end a group no sooner than silence does"
        if timing.lastMemberQueryTime >= k4 {
            report(
                .error, at: keys(family, ["last-member-query-time"] + queries + others),
                "the last member query time (K10, \(timing.lastMemberQueryTime)) is not below "
                    + "the group membership interval (K4, \(k4))", hint: hint)
        } else if asked > k4 {
            report(
                .error, at: keys(family, queries + others),
                "the queries after a leave (K8 x K9, \(asked)) take longer than the group membership interval (K4, \(k4))",
                hint: hint)
        }
    }

    /// A group of the source-specific range is wanted from a source, or not at all (RFC 4604 section 2.2).
    private mutating func checkStatics() {
        let key = prefix + "multicast.static"
        guard let entry = reading.document.entry(of: key), let value = entry.value, !reading.refused.contains(key),
            !reading.refused.contains(prefix + "multicast.ssm")
        else { return }
        for item in multicast.statics where item.source == nil && multicast.isSourceSpecific(item.group) {
            errors.append(
                Diagnostic(
                    file: reading.document.file, line: entry.line, column: entry.valueColumn + offset(ofStatic: item, in: value),
                    message: "\(key): \(item.group) is in the source-specific range (multicast.ssm)",
                    hint: "name its source: \(item.group) from SOURCE"))
        }
    }

    /// A frame belongs to one class.
    private mutating func checkClasses() {
        let (feed, bulk) = (tuning.classes.feed, tuning.classes.bulk)
        let both =
            feed.points.intersection(bulk.points).points.map(\.description)
            + (feed.hasMulticast && bulk.hasMulticast ? ["multicast"] : [])
        guard let first = both.first else { return }
        report(
            .error, at: ["class.feed", "class.bulk"], "\(both.joined(separator: ", ")) in class.feed and in class.bulk",
            hint: "take \(both.count == 1 ? first : "them") out of one of the two; both have defaults")
    }

    // MARK: - Warnings

    private mutating func checkForwardMask() {
        guard tuning.forwardMask & 1 != 0 else { return }
        report(
            .warning, at: ["bridge.forward-mask"], "bit 0 makes one spanning tree of all sites",
            hint: "a change at one site then stops ports at the others; write \(hexadecimal(tuning.forwardMask & ~1))")
    }

    private mutating func reportIdleKeys() {
        let ofPorts = ["router", "fast-leave", "flood-reports"]
        let switchKey = "multicast.snooping"
        let idle = reading.matches.map(\.entry).filter { entry in
            guard entry.key.hasPrefix(prefix) else { return false }
            let parts = entry.key.dropFirst(prefix.count).split(separator: ".")
            guard let first = parts.first, let last = parts.last else { return false }
            return ["multicast", "igmp", "mld"].contains(first) && entry.key != prefix + switchKey
                || first == "port" && ofPorts.contains(String(last))
        }
        guard let first = idle.first else { return }
        let count = idle.count == 1 ? "another key has" : "\(idle.count) other keys have"
        report(
            .warning, at: [switchKey], "while it is off, \(count) no effect",
            hint: "\(idle.count == 1 ? "" : "the first is ")\(first.key) on line \(first.line)")
    }

    /// What is forgotten between two of the messages that renew it.
    private mutating func checkPresence(_ family: IPFamily) {
        let timing = multicast[family].timing
        let k2 = timing.queryInterval
        if timing.robustness == 1 {
            report(
                .warning, at: keys(family, "robustness"), "with 1, one lost report ends a membership",
                hint: "2 or more; see RFC \(family == .v4 ? "9776 section 8.1" : "9777 section 9.1")")
        }
        if let k5 = timing.setOtherQuerierPresent, k5 <= k2 {
            report(
                .warning, at: keys(family, "other-querier-present", "query-interval"),
                "other querier present (K5, \(k5)) is not above the query interval (K2, \(k2))",
                hint: "the elected querier would be forgotten between two of its queries")
        }
        if let k11 = timing.setOlderHostPresent, k11 < k2 {
            report(
                .warning, at: keys(family, "older-host-present", "query-interval"),
                "older host present (K11, \(k11)) is below the query interval (K2, \(k2))",
                hint: "an older host would be forgotten between two of its reports")
        }
        if let k12 = timing.setOlderQuerierPresent, k12 < k2 {
            report(
                .warning, at: keys(family, "older-querier-present", "query-interval"),
                "older querier present (K12, \(k12)) is below the query interval (K2, \(k2))",
                hint: "an older querier would be forgotten between two of its queries")
        }
    }

    private mutating func checkQuerier(_ family: IPFamily) {
        let settings = multicast[family]
        if !settings.querier, settings.querierAddress != nil {
            report(
                .warning, at: keys(family, "querier.address", "querier"),
                "there is an address for queries, and \(name(family)).querier is off", hint: "remove one of the two")
        }
        if family == .v4, settings.version == 1 {
            let timing = settings.timing
            report(
                .warning, at: keys(family, "version"), "in version 1 there are no leaves",
                hint: "a feed goes on for \(timing.groupMembershipInterval) after its last receiver, "
                    + "with version 3 for \(timing.lastMemberQueryTime)")
        }
    }

    // MARK: - What a query can say

    /// Times that hosts read otherwise from a query than the file says.
    private mutating func checkCodes(_ family: IPFamily) {
        let (settings, timing) = (multicast[family], multicast[family].timing)
        let code = ResponseCode(family: family, version: settings.version)
        if settings.version == (family == .v4 ? 3 : 2) {
            let seconds = UInt64(clamping: timing.queryInterval.nanoseconds / 1_000_000_000)
            compare(
                family, "query-interval", timing.queryInterval,
                read: .seconds(Int64(clamping: floatingPoint(seconds, from: 128, significant: 5))))
        }
        compare(
            family, "query-response-interval", timing.queryResponseInterval, read: code.read(timing.queryResponseInterval))
        if code.hasSpecificQueries {
            compare(
                family, "last-member-query-interval", timing.lastMemberQueryInterval,
                read: code.read(timing.lastMemberQueryInterval))
        }
    }

    private mutating func compare(_ family: IPFamily, _ key: String, _ written: Interval, read: Interval) {
        guard written != read else { return }
        let version = "a query of \(name(family).uppercased()) version \(multicast[family].version)"
        report(
            .warning, at: keys(family, key, "version"), "a query cannot say \(written): hosts will read \(read)",
            hint: "\(read) is the nearest that \(version) says")
    }

    // MARK: - Reports

    private enum Severity { case error, warning }

    /// A problem between keys: at the first of them that the file has.
    private mutating func report(_ severity: Severity, at keys: [String], _ message: String, hint: String) {
        let whole = keys.map { prefix + $0 }
        guard !whole.contains(where: reading.refused.contains) else { return }
        let key = whole.first { reading.document.entry(of: $0) != nil } ?? whole[0]
        let diagnostic = places.diagnostic(at: key, "\(shortened(key)): \(message)", hint: hint)
        switch severity {
        case .error: errors.append(diagnostic)
        case .warning: warnings.append(diagnostic)
        }
    }

    private func name(_ family: IPFamily) -> String { family == .v4 ? "igmp" : "mld" }
    private func keys(_ family: IPFamily, _ names: String...) -> [String] { keys(family, names) }
    private func keys(_ family: IPFamily, _ names: [String]) -> [String] { names.map { "\(name(family)).\($0)" } }
}

/// The field of a query that says how long hosts may take: eight bits in tenths of a second for IGMP, sixteen in milliseconds
/// for MLD; floating point in the newest version, as large as it fits before.
private struct ResponseCode {
    let family: IPFamily
    let version: Int

    var hasSpecificQueries: Bool { family == .v6 || version > 1 }

    /// What hosts read from the code of this time, which is rounded down.
    func read(_ time: Interval) -> Interval {
        let unit: Interval = family == .v4 ? .milliseconds(100) : .milliseconds(1)
        let count = UInt64(clamping: time.nanoseconds / unit.nanoseconds)
        let said: UInt64
        switch (family, version) {
        // The field of version 1 is 0, and stands for 10 s (RFC 2236 section 4).
        case (.v4, 1): said = 100
        case (.v4, 2): said = min(count, 0xFF)
        case (.v4, _): said = floatingPoint(count, from: 128, significant: 5)
        case (.v6, 1): said = min(count, 0xFFFF)
        case (.v6, _): said = floatingPoint(count, from: 32_768, significant: 13)
        }
        return unit * Int64(clamping: said)
    }
}

/// The most that a code says without exceeding the value: itself below `linear`, else its leading bits, of which the first is
/// not written (RFC 9776 section 4.1.1, RFC 9777 section 5.1.3).
private func floatingPoint(_ value: UInt64, from linear: UInt64, significant bits: Int) -> UInt64 {
    guard value >= linear else { return value }
    // The exponent has three bits, and 3 is added to it.
    let shift = min(UInt64.bitWidth - value.leadingZeroBitCount - bits, 10)
    return min(value >> UInt64(shift), 1 << UInt64(bits) - 1) << UInt64(shift)
}
