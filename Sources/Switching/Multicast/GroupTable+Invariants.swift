// The group table's invariants as code: run after every simulated step.

import Basics
import Wire

extension GroupTable {
    /// One sentence for each invariant that is broken; empty when all hold. O(entries · (sources + hosts)).
    public func checkInvariants() -> [String] {
        var problems = checkPool()
        for place in entries.indices where isOccupied[place] {
            let entry = entries[place]
            problems += check(entry).map { "\(entry.key.group) on VLAN \(entry.key.vlan), port \(entry.port.index): \($0)" }
        }
        return problems + checkDeadlines()
    }

    private func checkPool() -> [String] {
        var problems: [String] = []
        let occupied = entries.indices.filter { isOccupied[$0] }.map { entries[$0] }
        let groups = occupied.filter { !$0.isWildcard }
        if entryCount != groups.count { problems.append("entries are miscounted") }
        if sourceCount != occupied.reduce(0, { $0 + $1.sources.count }) { problems.append("sources are miscounted") }
        if memberCount != occupied.reduce(0, { $0 + $1.hosts.hosts.count }) { problems.append("members are miscounted") }
        if memberSourceCount != occupied.reduce(0, { $0 + $1.hosts.sourceCount }) {
            problems.append("sources of members are miscounted")
        }
        if entryCount > configuration.groupLimit { problems.append("more entries than the limit") }
        if memberCount > configuration.memberLimit { problems.append("more members than the limit") }
        if memberSourceCount > configuration.memberSourceLimit { problems.append("more sources of members than the limit") }
        if occupied.count + free.count != entries.count || free.contains(where: { isOccupied[Int($0)] }) {
            problems.append("the free list and the entries are not the pool")
        }
        var chained = 0
        for key in keys {
            let chain = places(of: key)
            chained += chain.count
            if chain.isEmpty || chain.contains(where: { !isOccupied[$0] || entries[$0].key != key }) {
                problems.append("the chain of \(key.group) on VLAN \(key.vlan) is broken")
            }
            if !zip(chain, chain.dropFirst()).allSatisfy({ entries[$0].port < entries[$1].port }) {
                problems.append("the chain of \(key.group) on VLAN \(key.vlan) is not ascending")
            }
        }
        if chained != occupied.count { problems.append("an entry is in no chain") }
        if changed != Set(changes.waiting) || changed.count != changes.waiting.count {
            problems.append("the queue of changes does not hold each once")
        }
        return problems
    }

    private func check(_ entry: GroupEntry) -> [String] {
        var problems = entry.hosts.checkInvariants()
        if entry.isNothing { problems.append("wants nothing and is there") }
        if !entry.sources.isAscending { problems.append("sources are not ascending") }
        if entry.sources.count > configuration.sourceLimit { problems.append("more sources than the limit") }
        if entry.filter == .include && !entry.sources.blocked.isEmpty { problems.append("INCLUDE has a blocked source") }
        if entry.deadline <= clock { problems.append("a timer has run out and runs") }
        if entry.key.family == .v6 && entry.firstUntil != nil { problems.append("MLD has a first generation") }
        if entry.isWildcard && (!entry.sources.isEmpty || !entry.rounds.isEmpty || !entry.hosts.isEmpty) {
            problems.append("the wildcard has more than a timer")
        }
        if entry.rounds.filter({ $0.sources.isEmpty }).count > 1 { problems.append("the group is asked for twice") }
        let asked = entry.rounds.flatMap(\.sources)
        if Set(asked).count != asked.count { problems.append("a source is asked for twice") }
        if asked.contains(where: { entry.sources.place(of: $0) == nil }) { problems.append("a source that is gone is asked for") }
        return problems
    }

    private func checkDeadlines() -> [String] {
        var problems: [String] = []
        let elements = Set(deadlines.unordered.map { HeapElement(at: $0.at, place: $0.place) })
        for place in entries.indices {
            if isOccupied[place] && entries[place].deadline < scheduled[place] {
                problems.append("place \(place) is scheduled too late")
            }
            if scheduled[place] != .distantFuture
                && !elements.contains(HeapElement(at: scheduled[place], place: Int32(truncatingIfNeeded: place)))
            {
                problems.append("place \(place) is not in the heap")
            }
        }
        if deadlines.count > 2 * entries.count + 64 { problems.append("the heap is larger than its bound") }
        return problems
    }

    private struct HeapElement: Hashable {
        var at: Instant
        var place: Int32
    }
}
