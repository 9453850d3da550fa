// What one site has told, kept as plainly as can be: the newest of each fact, until it is withdrawn, or not repeated on a new
// stream. The fuzzer holds against it what a snooper tells and what a snooper made of what it was told.

import Basics
import Switching

struct ToldFacts {
    private var facts: [FactKey: Fact] = [:]
    /// Told on an earlier stream, and not since.
    private var stale: Set<FactKey> = []

    mutating func handle(_ message: FactMessage) {
        switch message {
        case .facts(let facts): for fact in facts { handle(fact) }
        case .allTold:
            for key in stale { facts[key] = nil }
            stale = []
        }
    }

    private mutating func handle(_ fact: Fact) {
        if let known = facts[fact.key], known.version > fact.version { return }
        facts[fact.key] = fact.value == nil ? nil : fact
        stale.remove(fact.key)
    }

    mutating func handleStreamBegan() { stale = Set(facts.keys) }

    mutating func handleDown() { self = ToldFacts() }

    /// What the site wants of a group.
    func wish(_ wanted: GroupKey) -> Wish {
        var all = Generations()
        var (listed, blocked): ([IPAddress], [IPAddress]) = ([], [])
        var wantsAny = false
        for (key, fact) in facts {
            guard case .interest(wanted.vlan, wanted.group, let source) = key,
                case .interest(let isExcluded, let generations) = fact.value
            else { continue }
            all.formUnion(generations)
            if let source {
                if isExcluded { blocked.append(source) } else { listed.append(source) }
            } else {
                wantsAny = true
            }
        }
        return Wish(wantsAny ? .exclude : .include, wantsAny ? blocked : listed, generations: all)
    }

    /// Every group that some fact is about, sorted.
    var groups: [GroupKey] {
        var keys: Set<GroupKey> = []
        for key in facts.keys {
            if case .interest(let vlan, let group, _) = key { keys.insert(GroupKey(vlan, group)) }
        }
        return keys.sorted()
    }
}
