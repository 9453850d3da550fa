// Our own facts: which page each is in, and when a page is signed anew. A page is signed at once after a quiet time, and at
// most once in `pace` while its facts go on changing, so what a change costs the mesh is bounded however restless the site is.
//
// A gateway that has lost its clock, and its state file with it, numbers its pages below those that the others remember. They
// tell it: its own pages come back to it from them, in larger versions. It then goes above the largest that it has seen, and
// signs everything anew, with empty pages in the place of those that it does not use.

import Basics

extension Gossip {
    struct OwnFact: Sendable {
        var page: Int
        var value: MeshValue
        var bytes: Int
    }

    /// What is in one page of ours, or will be when it is signed.
    struct OwnPage: Sendable {
        let shelf: MeshTopic.Shelf
        var topics: Set<MeshTopic> = []
        var bytes = 0
        var due = Instant.zero
        var signed: Instant?
    }

    /// Sets one of our facts, or withdraws it.
    /// - Returns: `false` when there is no room for it, or topic and value are of different kinds; then nothing has changed.
    @discardableResult
    public mutating func set(_ topic: MeshTopic, _ value: MeshValue?, at now: Instant) -> Bool {
        noteTime(now)
        let known = ownFacts[topic]
        if known?.value == value { return true }
        guard let value else {
            guard let known else { return true }
            ownFacts[topic] = nil
            remove(topic, known.bytes, from: known.page, now)
            return true
        }
        guard let octets = MeshFact(topic, value).encoded?.count else { return false }
        if let known {
            guard ownPages[known.page].bytes - known.bytes + octets <= GossipPage.longest - GossipPage.overhead else {
                return false
            }
            ownPages[known.page].bytes += octets - known.bytes
            ownFacts[topic] = OwnFact(page: known.page, value: value, bytes: octets)
            markDirty(known.page, now)
            return true
        }
        guard let page = pageWithRoom(topic.shelf, octets) else {
            counters.limit &+= 1
            return false
        }
        ownFacts[topic] = OwnFact(page: page, value: value, bytes: octets)
        ownPages[page].topics.insert(topic)
        ownPages[page].bytes += octets
        markDirty(page, now)
        return true
    }

    /// Our own facts, sorted by topic.
    public var ownTopics: [MeshTopic] { ownFacts.keys.sorted() }

    private mutating func remove(_ topic: MeshTopic, _ bytes: Int, from page: Int, _ now: Instant) {
        ownPages[page].topics.remove(topic)
        ownPages[page].bytes -= bytes
        let shelf = ownPages[page].shelf.rawValue
        roomHints[shelf] = min(roomHints[shelf], page)
        markDirty(page, now)
    }

    private mutating func pageWithRoom(_ shelf: MeshTopic.Shelf, _ octets: Int) -> Int? {
        if octets > GossipPage.longest - GossipPage.overhead { return nil }
        if shelf == .identity {
            if ownPages.isEmpty { ownPages.append(OwnPage(shelf: .identity)) }
            return ownPages[0].bytes + octets <= shelf.budget ? 0 : nil
        }
        var index = max(roomHints[shelf.rawValue], 1)
        while index < ownPages.count {
            let page = ownPages[index]
            // A fact beyond the budget has a page of its own.
            if page.shelf == shelf && (page.bytes + octets <= shelf.budget || page.topics.isEmpty) {
                roomHints[shelf.rawValue] = index
                return index
            }
            index += 1
        }
        // All our pages, were they full, are within the octets that others grant us.
        let room = configuration.byteLimit / (MeshTopic.Shelf.wishes.budget + GossipPage.overhead)
        guard ownPages.count < min(configuration.pageLimit, room) else { return nil }
        ownPages.append(OwnPage(shelf: shelf))
        roomHints[shelf.rawValue] = ownPages.count - 1
        return ownPages.count - 1
    }

    private mutating func markDirty(_ page: Int, _ now: Instant) {
        if !dirtyPages.insert(page).inserted { return }
        ownPages[page].due = ownPages[page].signed.map { max(now, $0 + configuration.pace) } ?? now
    }

    /// Signs what has changed and is due, and tells the neighbours.
    mutating func seal(at now: Instant) {
        noteTime(now)
        if dirtyPages.isEmpty { return }
        for number in dirtyPages.sorted() where ownPages[number].due <= now {
            dirtyPages.remove(number)
            ownPages[number].signed = now
            var facts: [UInt8] = []
            for topic in ownPages[number].topics.sorted() {
                guard let fact = ownFacts[topic], let octets = MeshFact(topic, fact.value).encoded else { continue }
                facts += octets
            }
            version = version == .max ? .max : version + 1
            let page = GossipPage(
                owner: site, number: UInt16(truncatingIfNeeded: number), version: version, facts: facts, mesh: passes.mesh,
                by: signer)
            counters.pagesSigned &+= 1
            install(page)
            tell(page, except: nil)
        }
    }

    /// A page of ours came from elsewhere. If it is not what we say, it is from an earlier life: we go above it.
    mutating func handleOwnPage(_ page: GossipPage, from neighbour: SiteID, at now: Instant) {
        let ours = owners[site]?.pages[page.number]
        if let ours, ours.stamp >= page.stamp {
            counters.duplicates &+= 1
            if ours.stamp > page.stamp { neighbours[neighbour]?.answerPages.append(PageName(owner: site, number: page.number)) }
            return
        }
        guard allowCheck(neighbour, now) else { return }
        guard page.isSigned(in: passes.mesh, by: signer.point) else {
            counters.forged &+= 1
            return
        }
        counters.versionJumps &+= 1
        let isJump = page.stamp.version > version
        version = max(version, page.stamp.version)
        while ownPages.count <= Int(page.number), ownPages.count < configuration.pageLimit {
            ownPages.append(OwnPage(shelf: ownPages.isEmpty ? .identity : .wishes))
            markDirty(ownPages.count - 1, now)
        }
        if Int(page.number) < ownPages.count { markDirty(Int(page.number), now) }
        // Others may have refused those of ours that are below what they remember.
        if isJump { for number in ownPages.indices { markDirty(number, now) } }
    }
}
