// What a group record does to the table: which group it is for, whether it counts, what the host is noted to want, what the
// entry makes of it, and whether the hosts must be asked for it.
//
//     record --> SSM range? --> entry (or none, or no room) --> note the host --> compatibility --> transition --> question
//                rule 24                 rule 29                  rule 27           rule 22        rules 18, 19   rules 21, 27

import Basics
import Wire

extension GroupTable {
    /// One record of a report that was sent in `generation`, at `clock`.
    mutating func handle(
        _ record: GroupRecord, _ generation: MembershipGeneration, _ host: HostIdentity, _ port: PortIndex, _ vlan: VLAN,
        _ context: MembershipContext
    ) {
        guard counts(record, generation) else { return }
        // MLD has no first generation.
        let generation = record.group.family == .v6 ? max(generation, .second) : generation
        let addresses = record.sources.ascending
        let key = GroupKey(vlan, record.group)
        let isLeave = record.kind == .toInclude && addresses.isEmpty
        let known = place(of: key, port)
        if isLeave && configuration.fastLeave.contains(port) {
            if let known { remove(known) }
            return
        }
        let isJoin =
            switch record.kind {
            case .isExclude, .toExclude: true
            case .isInclude, .toInclude, .allow: !addresses.isEmpty
            case .block: false
            }
        // A BLOCK or a leave is not a join.
        guard known != nil || isJoin else { return }
        guard known != nil || entryCount < configuration.groupLimit else {
            counters.add(.groupLimit)
            refreshWildcard(vlan, key.family, port, context)
            return
        }
        let place = known ?? insert(key, port)
        let before = face(place)
        if generation < .third && record.kind == .isExclude { armOlderHost(generation, place, context) }
        note(record.kind, addresses, host, generation, place, context)
        if !context.isQuerier { entries[place].rounds = [] }
        apply(record.kind, addresses, place, context)
        finish(place, before)
    }

    /// Whether a record may make state at all: its group can be joined, and the SSM range is left to the third generation's
    /// INCLUDE (rule 24).
    private mutating func counts(_ record: GroupRecord, _ generation: MembershipGeneration) -> Bool {
        guard record.group.isSnoopedGroup else {
            counters.add(record.group.isUnsnoopedGroup ? .unsnoopedGroup : .notAGroup)
            return false
        }
        guard configuration.ssm.contains(where: { $0.contains(record.group) }) else { return true }
        if generation < .third {
            counters.add(.olderReportInSSM)
            return false
        }
        if record.kind == .isExclude || record.kind == .toExclude {
            counters.add(.excludeInSSM)
            return false
        }
        return true
    }

    private mutating func armOlderHost(_ generation: MembershipGeneration, _ place: Int, _ context: MembershipContext) {
        let until = clock + context.timing.olderHostPresent
        if generation == .first { entries[place].firstUntil = until } else { entries[place].secondUntil = until }
    }

    /// Remembers what the host said, or that there is a host that is not remembered (rules 27 and 29).
    private mutating func note(
        _ kind: GroupRecordKind, _ addresses: [IPAddress], _ host: HostIdentity, _ generation: MembershipGeneration,
        _ place: Int, _ context: MembershipContext
    ) {
        guard configuration.tracking else { return }
        let membership = clock + context.timing.groupMembershipInterval
        let room = HostTracking.Room(
            hosts: configuration.memberLimit - memberCount, sources: configuration.memberSourceLimit - memberSourceCount,
            sourcesOfHost: configuration.sourceLimit)
        // Behind a wireless bridge or a hypervisor several hosts have one MAC address: one's leave is not the others'.
        if entries[place].hosts.isShared(host) { entries[place].untrackedUntil = membership }
        switch entries[place].hosts.note(kind, addresses, from: host, generation, until: membership, room: room) {
        case .noted, .overflowed: break
        case .crowded: counters.add(.memberLimit)
        case .refused:
            counters.add(.memberLimit)
            entries[place].untrackedUntil = membership
        }
    }

    /// The record as the group's compatibility mode takes it (rule 22), and what follows from it.
    private mutating func apply(
        _ kind: GroupRecordKind, _ addresses: [IPAddress], _ place: Int, _ context: MembershipContext
    ) {
        var addresses = addresses
        let mode = entries[place].generation
        if mode < .third && kind == .block {
            counters.add(.blockInOlderMode)
            return
        }
        if mode == .first && kind == .toInclude {
            counters.add(.leaveInFirstMode)
            return
        }
        if mode < .third && kind == .toExclude && !addresses.isEmpty {
            counters.add(.sourcesInOlderMode)
            addresses = []
        }
        let membership = clock + context.timing.groupMembershipInterval
        let question = entries[place].apply(kind, addresses, until: membership)
        let isFull = sourceCount + entries[place].sources.count > configuration.totalSourceLimit
        if entries[place].sources.count > configuration.sourceLimit || (isFull && !addresses.isEmpty) {
            counters.add(.sourceLimit)
            entries[place].overflow(until: membership)
        } else if !question.isEmpty {
            answer(question, place, context)
        }
    }

    private mutating func answer(_ question: GroupEntry.Question, _ place: Int, _ context: MembershipContext) {
        if configuration.tracking && context.knowsAll && entries[place].isTracked(clock) {
            entries[place].settle(question, limit: configuration.sourceLimit)
        } else if context.isQuerier {
            entries[place].ask(question, context.timing, at: clock, &queries.items)
        }
    }

    /// Every group of a family is wanted on the port until K4 from `clock` on.
    mutating func refreshWildcard(_ vlan: VLAN, _ family: IPFamily, _ port: PortIndex, _ context: MembershipContext) {
        let key = GroupKey(vlan, .unspecified(family))
        let place = place(of: key, port) ?? insert(key, port)
        let before = face(place)
        entries[place].filter = .exclude(until: clock + context.timing.groupMembershipInterval)
        finish(place, before)
    }
}
