// The pool of entries under the group table: finding, adding and removing them, noticing what an operation changed, and the
// heap of deadlines.

import Basics
import Wire

/// The part of an entry whose change is news, and what the table counts of it: taken before an operation, compared after.
struct EntryFace {
    var mode: Wish.Mode
    var sources: SourceList
    var generations: Generations
    var members: Int
    var memberSources: Int
    /// It was there, and its wish known.
    var isNothing: Bool

    init(_ entry: GroupEntry) {
        mode = entry.filter.mode
        sources = entry.sources
        generations = entry.generations
        members = entry.hosts.hosts.count
        memberSources = entry.hosts.sourceCount
        isNothing = entry.isNothing
    }

    /// Whether the entry still wants the same. O(sources).
    func isWish(of entry: GroupEntry) -> Bool {
        guard mode == entry.filter.mode, generations == entry.generations else { return false }
        if mode == .exclude { return sources.blocked == entry.sources.blocked }
        return sources.count == entry.sources.count && zip(sources, entry.sources).allSatisfy { $0.address == $1.address }
    }
}

extension GroupTable {
    // MARK: Finding

    /// The places of a group's entries, by ascending port. O(ports).
    func places(of key: GroupKey) -> [Int] {
        var result: [Int] = []
        var next = index[key] ?? -1
        while next >= 0 {
            result.append(Int(next))
            next = entries[Int(next)].next
        }
        return result
    }

    func place(of key: GroupKey, _ port: PortIndex) -> Int? {
        var next = index[key] ?? -1
        while next >= 0 {
            let place = Int(next)
            if entries[place].port == port { return place }
            next = entries[place].next
        }
        return nil
    }

    // MARK: Adding, changing, removing

    /// A new entry that wants nothing yet. Precondition: there is none, and it is made to want something by the same call.
    mutating func insert(_ key: GroupKey, _ port: PortIndex) -> Int {
        let place: Int
        if let vacant = free.popLast() {
            place = Int(vacant)
            entries[place] = GroupEntry(key, port)
            isOccupied[place] = true
        } else {
            place = entries.count
            entries.append(GroupEntry(key, port))
            isOccupied.append(true)
            scheduled.append(.distantFuture)
        }
        var former: Int?
        var next = index[key] ?? -1
        while next >= 0, entries[Int(next)].port < port {
            former = Int(next)
            next = entries[Int(next)].next
        }
        entries[place].next = next
        if let former { entries[former].next = Int32(place) } else { index[key] = Int32(place) }
        if !key.group.isUnspecified { entryCount += 1 }
        return place
    }

    func face(_ place: Int) -> EntryFace { EntryFace(entries[place]) }

    /// After an operation on an entry: counts, reports the change, and removes it if nothing is left.
    mutating func finish(_ place: Int, _ before: EntryFace) {
        sourceCount += entries[place].sources.count - before.sources.count
        memberCount += entries[place].hosts.hosts.count - before.members
        memberSourceCount += entries[place].hosts.sourceCount - before.memberSources
        if entries[place].isNothing {
            remove(place, isNews: !before.isNothing)
            return
        }
        if !entries[place].rounds.isEmpty { entries[place].dropIdleRounds() }
        if before.isNothing || !before.isWish(of: entries[place]) { noteChange(entries[place].key) }
        schedule(place)
    }

    /// - Parameter isNews: whether it wanted something.
    mutating func remove(_ place: Int, isNews: Bool = true) {
        let entry = entries[place]
        sourceCount -= entry.sources.count
        memberCount -= entry.hosts.hosts.count
        memberSourceCount -= entry.hosts.sourceCount
        if !entry.isWildcard { entryCount -= 1 }
        unlink(place)
        entries[place] = GroupEntry(entry.key, entry.port)
        isOccupied[place] = false
        free.append(Int32(place))
        if isNews { noteChange(entry.key) }
    }

    private mutating func unlink(_ place: Int) {
        let key = entries[place].key
        let next = entries[place].next
        var former = Int(index[key] ?? -1)
        if former == place {
            index[key] = next >= 0 ? next : nil
            return
        }
        while former >= 0, Int(entries[former].next) != place { former = Int(entries[former].next) }
        if former >= 0 { entries[former].next = next }
    }

    private mutating func noteChange(_ key: GroupKey) {
        if changed.insert(key).inserted { changes.items.append(key) }
    }

    // MARK: Deadlines

    private func deadline(_ place: Int) -> Instant { isOccupied[place] ? entries[place].deadline : .distantFuture }

    /// Makes sure that the heap has an element for the entry that is not too late.
    mutating func schedule(_ place: Int) {
        let deadline = deadline(place)
        guard deadline < scheduled[place] else { return }
        scheduled[place] = deadline
        deadlines.insert(Deadline(at: deadline, place: Int32(place)))
        // Elements that do not count stay until they come up. That there are never many keeps the heap's size bounded.
        if deadlines.count > 2 * entries.count + 64 { rebuildDeadlines() }
    }

    private mutating func rebuildDeadlines() {
        var exact: [Deadline] = []
        for place in entries.indices {
            scheduled[place] = deadline(place)
            if scheduled[place] != .distantFuture { exact.append(Deadline(at: scheduled[place], place: Int32(place))) }
        }
        deadlines = .init(exact)
    }

    /// Puts the heap's top right, so that `nextTimeout` is.
    mutating func settleDeadlines() {
        while let top = deadlines.min {
            let place = Int(top.place)
            if scheduled[place] == top.at {
                let exact = deadline(place)
                if exact <= top.at { return }
                scheduled[place] = exact
                if exact != .distantFuture {
                    deadlines.replaceMin(with: Deadline(at: exact, place: top.place))
                    continue
                }
            }
            _ = deadlines.popMin()
        }
    }
}
