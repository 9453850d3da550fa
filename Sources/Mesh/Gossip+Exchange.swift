// Neighbours: what waits for each, and the comparison that makes good what was missed (GossipMessage.swift has the picture).

import Basics

/// Things that wait, each once, in the order in which they came.
struct PendingQueue<Element: Hashable & Sendable>: Sendable {
    private var queue: [Element] = []
    private var next = 0
    private var queued: Set<Element> = []

    var isEmpty: Bool { queued.isEmpty }
    var count: Int { queued.count }

    mutating func append(_ element: Element) {
        if queued.insert(element).inserted { queue.append(element) }
    }

    mutating func popFirst() -> Element? {
        guard next < queue.count else { return nil }
        let element = queue[next]
        next += 1
        queued.remove(element)
        if next == queue.count || next > 4096 {
            queue.removeFirst(next)
            next = 0
        }
        return element
    }
}

extension Gossip {
    /// A gateway with which we have a session.
    struct Neighbour: Sendable {
        /// Pages that are new.
        var pages = PendingQueue<PageName>()
        /// Pages that it asked for.
        var answerPages = PendingQueue<PageName>()
        var haves = PendingQueue<SiteID>()
        /// Of `haves`, those that answer one.
        var answers: Set<SiteID> = []
        var revocations = PendingQueue<RevocationID>()
        var proofs = PendingQueue<SiteID>()
        /// `true` if what revocations we have is told as an answer.
        var heldDue: Bool?
        var isDigestDue = false
        var isSummaryDue = false
        /// Octets that may be sent at once; below zero after a long message.
        var allowance: Int
        var refilled: Instant
        var checks: Int
        var checked: Instant

        /// Octets are earned with time, up to the burst.
        mutating func refill(_ configuration: GossipConfiguration, at now: Instant) {
            let elapsed = min(max((now - refilled).nanoseconds, 0), 60_000_000_000)
            let earned = Int(elapsed) / 1000 * configuration.rate / 1_000_000
            guard earned > 0 else { return }
            allowance = min(allowance + earned, configuration.burst)
            refilled = now
        }

        /// When something may be sent again. Precondition: the allowance is used up.
        func allowanceTime(_ configuration: GossipConfiguration) -> Instant {
            refilled + .microseconds(Int64(1 - allowance) * 1_000_000 / Int64(max(configuration.rate, 1)) + 2)
        }

        /// Says what we have of an owner, which asks for the rest. A neighbour that names owners without end is not asked
        /// about all of them.
        mutating func ask(about owner: SiteID, isAnswer: Bool, limit: Int) {
            guard haves.count < limit else { return }
            haves.append(owner)
            if isAnswer { answers.insert(owner) }
        }

        var hasWork: Bool {
            !pages.isEmpty || !answerPages.isEmpty || !haves.isEmpty || !revocations.isEmpty || !proofs.isEmpty || heldDue != nil
                || isDigestDue
                || isSummaryDue
        }
    }

    /// How long nobody else is asked about an owner.
    private static let patience = Interval.seconds(2)
    /// Owners that may be asked about at once: ours, and as many again that we do not know.
    private var askLimit: Int { 2 * configuration.ownerLimit }

    // MARK: In

    /// A session with a neighbour stands. What either has missed is compared at once, by the one whose name is lower.
    public mutating func handleNeighbourUp(_ neighbour: SiteID, at now: Instant) {
        noteTime(now)
        guard neighbour != site else { return }
        neighbours[neighbour] = Neighbour(
            allowance: configuration.burst, refilled: now, checks: configuration.checkBurst, checked: now)
        if let index = neighbourSites.firstIndex(where: { $0 >= neighbour }) {
            if neighbourSites[index] != neighbour { neighbourSites.insert(neighbour, at: index) }
        } else {
            neighbourSites.append(neighbour)
        }
        if site < neighbour { neighbours[neighbour]?.isSummaryDue = true }
    }

    /// What waited for the neighbour is forgotten: it is compared with when it is back. What it told is kept.
    public mutating func handleNeighbourDown(_ neighbour: SiteID, at now: Instant) {
        noteTime(now)
        neighbours[neighbour] = nil
        neighbourSites.removeAll { $0 == neighbour }
        asked = asked.filter { $0.value.neighbour != neighbour }
    }

    /// Takes in a message of a neighbour. Nothing in it can trap.
    /// - Returns: `false` when it is not gossip at all: another part's message on the same channel.
    @discardableResult
    public mutating func handleMessage(_ bytes: [UInt8], from neighbour: SiteID, at now: Instant) -> Bool {
        guard let first = bytes.first, first & GossipMessage.mark != 0 else { return false }
        noteTime(now)
        counters.messagesIn &+= 1
        counters.bytesIn &+= UInt64(bytes.count)
        guard neighbours[neighbour] != nil, let message = GossipMessage.parse(bytes) else {
            counters.malformed &+= 1
            return true
        }
        switch message {
        case .pages(let pages): for page in pages { handlePage(page, isAnswer: false, from: neighbour, at: now) }
        case .answers(let pages): for page in pages { handlePage(page, isAnswer: true, from: neighbour, at: now) }
        case .summary(let hash): if hash != summary { neighbours[neighbour]?.isDigestDue = true }
        case .digest(let revocations, let digests): handleDigest(revocations, digests, neighbour, now)
        case .have(let owner, let isAnswer, let pages): handleHave(owner, isAnswer, pages, neighbour, now)
        case .revocations(let revocations): for bytes in revocations { handleRevocation(bytes, from: neighbour, at: now) }
        case .revocationsHeld(let isAnswer, let names): handleHeld(isAnswer, names, neighbour)
        }
        return true
    }

    /// A revocation came from a neighbour, or (`nil`) from the operator.
    /// - Returns: what is wrong with it.
    @discardableResult
    public mutating func handleRevocation(_ bytes: [UInt8], from neighbour: SiteID?, at now: Instant) -> PassProblem? {
        noteTime(now)
        if let neighbour, !allowCheck(neighbour, now) { return .limit }
        do throws(PassProblem) {
            guard try passes.handleRevocation(bytes, at: wall(now)) else { return nil }
        } catch {
            if error == .limit { counters.limit &+= 1 } else { counters.forged &+= 1 }
            return error
        }
        cachedRevocations = nil
        cachedSummary = nil
        snapshotGeneration += 1
        guard case .authority(let key) = passes.trust, let name = (try? SignedRevocation(bytes, by: key))?.identifier else {
            return nil
        }
        for other in neighbourSites where other != neighbour { neighbours[other]?.revocations.append(name) }
        dropNonMembers()
        return nil
    }

    private mutating func handleDigest(
        _ revocations: UInt64, _ digests: [GossipMessage.OwnerDigest], _ neighbour: SiteID, _ now: Instant
    ) {
        if revocations != revocationHash { neighbours[neighbour]?.heldDue = false }
        var theirs: [SiteID: UInt64] = [:]
        for digest in digests.prefix(askLimit) { theirs[digest.owner] = digest.hash }
        var hasDifference = false
        for owner in Set(theirs.keys).union(owners.keys).sorted() where theirs[owner] != digest(of: owner) {
            if graves[owner] != nil {
                offerProof(of: owner, to: neighbour, at: now)
                continue
            }
            hasDifference = true
            if let question = asked[owner], question.neighbour != neighbour, now - question.since < Self.patience,
                owner != site
            {
                continue
            }
            let limit = askLimit
            if asked.count >= limit { asked = asked.filter { now - $0.value.since < Self.patience } }
            if asked.count < limit { asked[owner] = (neighbour, now) }
            neighbours[neighbour]?.ask(about: owner, isAnswer: false, limit: limit)
        }
        guard hasDifference else { return }
        counters.repairs &+= 1
        if quickRepairs > 0 {
            quickRepairs -= 1
            repairDue = min(repairDue, now + configuration.repairPause)
        }
    }

    private mutating func handleHave(
        _ owner: SiteID, _ isAnswer: Bool, _ theirs: [GossipMessage.PageDigest], _ neighbour: SiteID, _ now: Instant
    ) {
        if graves[owner] != nil { return offerProof(of: owner, to: neighbour, at: now) }
        var unknown: [UInt16: PageStamp] = [:]
        for page in theirs.prefix(configuration.pageLimit) { unknown[page.number] = page.stamp }
        var isBehind = false
        for number in (owners[owner]?.pages.keys).map({ $0.sorted() }) ?? [] {
            guard let ours = owners[owner]?.pages[number] else { continue }
            guard let stamp = unknown.removeValue(forKey: number), stamp >= ours.stamp else {
                neighbours[neighbour]?.answerPages.append(PageName(owner: owner, number: number))
                continue
            }
            if stamp > ours.stamp { isBehind = true }
        }
        if !isAnswer && (isBehind || !unknown.isEmpty) {
            let limit = askLimit
            neighbours[neighbour]?.ask(about: owner, isAnswer: true, limit: limit)
        }
    }

    private mutating func handleHeld(_ isAnswer: Bool, _ names: [RevocationID], _ neighbour: SiteID) {
        let theirs = Set(names)
        for name in passes.revocations.keys.sorted() where !theirs.contains(name) {
            neighbours[neighbour]?.revocations.append(name)
        }
        if !isAnswer, theirs.contains(where: { passes.revocations[$0] == nil }) { neighbours[neighbour]?.heldDue = true }
    }

    // MARK: Out

    /// Tells a new page to the neighbours that cannot have heard it: not to those who are neighbours of whoever told us, or of
    /// its owner, since those told them. If they did not after all, the next comparison finds it.
    mutating func tell(_ page: GossipPage, except teller: SiteID?) {
        let name = PageName(owner: page.owner, number: page.number)
        for neighbour in neighbourSites where neighbour != teller && neighbour != page.owner {
            if let teller, mayBeLinked(neighbour, teller) || mayBeLinked(neighbour, page.owner) { continue }
            neighbours[neighbour]?.pages.append(name)
        }
    }

    /// The next message for a neighbour; `nil` when there is none, or it has been sent enough for the moment.
    public mutating func pollMessage(for neighbour: SiteID, at now: Instant) -> [UInt8]? {
        seal(at: now)
        guard neighbours[neighbour]?.hasWork == true else { return nil }
        // Taken out of the table, so that its queues are changed where they are.
        guard var state = neighbours.removeValue(forKey: neighbour) else { return nil }
        state.refill(configuration, at: now)
        var message: [UInt8]?
        if state.allowance > 0 { message = next(&state) }
        if let message {
            state.allowance -= message.count
            counters.messagesOut &+= 1
            counters.bytesOut &+= UInt64(message.count)
        }
        neighbours[neighbour] = state
        return message
    }

    private mutating func next(_ state: inout Neighbour) -> [UInt8]? {
        var blocks: [[UInt8]] = []
        var bytes = 0
        while bytes < GossipMessage.fullBytes - SignedForm.longest, let name = state.revocations.popFirst() {
            guard let revocation = passes.revocations[name]?.bytes else { continue }
            blocks.append(revocation)
            bytes += revocation.count
        }
        if !blocks.isEmpty { return GossipMessage.revocations(blocks).encoded }
        if let isAnswer = state.heldDue {
            state.heldDue = nil
            return GossipMessage.revocationsHeld(isAnswer: isAnswer, passes.revocations.keys.sorted()).encoded
        }
        if let blocks = takePages(&state.pages) { return GossipMessage.pages(blocks).encoded }
        while bytes < GossipMessage.fullBytes - GossipPage.longest, let owner = state.proofs.popFirst() {
            guard let proof = graves[owner]?.proof.bytes else { continue }
            blocks.append(proof)
            bytes += proof.count
        }
        if let pages = takePages(&state.answerPages) { blocks += pages }
        if !blocks.isEmpty { return GossipMessage.answers(blocks).encoded }
        if let owner = state.haves.popFirst() {
            let isAnswer = state.answers.remove(owner) != nil
            return GossipMessage.have(owner, isAnswer: isAnswer, pageDigests(of: owner)).encoded
        }
        if state.isDigestDue {
            state.isDigestDue = false
            let digests = owners.keys.sorted().map { GossipMessage.OwnerDigest(owner: $0, hash: digest(of: $0) ?? 0) }
            return GossipMessage.digest(revocations: revocationHash, digests).encoded
        }
        if state.isSummaryDue {
            state.isSummaryDue = false
            return GossipMessage.summary(summary).encoded
        }
        return nil
    }

    /// As many as one message is filled with, if there are any.
    private func takePages(_ queue: inout PendingQueue<PageName>) -> [[UInt8]]? {
        var blocks: [[UInt8]] = []
        var bytes = 0
        while bytes < GossipMessage.fullBytes - GossipPage.longest, let name = queue.popFirst() {
            guard let page = owners[name.owner]?.pages[name.number]?.bytes else { continue }
            blocks.append(page)
            bytes += page.count
        }
        return blocks.isEmpty ? nil : blocks
    }

    private func pageDigests(of owner: SiteID) -> [GossipMessage.PageDigest] {
        guard let pages = owners[owner]?.pages else { return [] }
        return pages.keys.sorted().compactMap { number in
            pages[number].map { GossipMessage.PageDigest(number: number, stamp: $0.stamp) }
        }
    }

    // MARK: Hashes

    /// Of an owner's pages: equal where they are the same ones. `nil` for who is not known.
    mutating func digest(of owner: SiteID) -> UInt64? {
        guard let state = owners[owner] else { return nil }
        if let digest = state.digest { return digest }
        var bytes: [UInt8] = []
        for page in pageDigests(of: owner) {
            bytes.append(big: page.number)
            bytes.append(big: page.stamp.version)
            bytes.append(big: page.stamp.hash)
        }
        let digest = MeshCryptography.shortHash(bytes)
        owners[owner]?.digest = digest
        return digest
    }

    var revocationHash: UInt64 {
        mutating get {
            if let hash = cachedRevocations { return hash }
            var bytes: [UInt8] = []
            for name in passes.revocations.keys.sorted() { bytes.append(site: name) }
            let hash = MeshCryptography.shortHash(bytes)
            cachedRevocations = hash
            return hash
        }
    }

    /// Of all that is known: equal on gateways that know the same.
    public var summary: [UInt8] {
        mutating get {
            if let summary = cachedSummary { return summary }
            var bytes: [UInt8] = []
            bytes.append(big: revocationHash)
            for owner in owners.keys.sorted() {
                bytes.append(site: owner)
                bytes.append(big: digest(of: owner) ?? 0)
            }
            let summary = MeshCryptography.hash(bytes, length: GossipMessage.hashBytes)
            cachedSummary = summary
            return summary
        }
    }
}
