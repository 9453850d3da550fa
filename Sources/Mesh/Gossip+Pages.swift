// Pages that come in: whether they are their owner's, whether they are newer, and what they change.

import Basics

extension Gossip {
    mutating func handlePage(_ bytes: [UInt8], isAnswer: Bool, from neighbour: SiteID, at now: Instant) {
        guard let page = GossipPage(bytes) else {
            counters.malformed &+= 1
            return
        }
        if page.owner == site { return handleOwnPage(page, from: neighbour, at: now) }
        if let held = owners[page.owner]?.pages[page.number], held.stamp >= page.stamp {
            counters.duplicates &+= 1
            return
        }
        if let grave = graves[page.owner], page.stamp.version <= grave.proof.stamp.version {
            counters.buried &+= 1
            offerProof(of: page.owner, to: neighbour, at: now)
            return
        }
        guard allowCheck(neighbour, now) else { return }
        guard take(page, at: now) else { return }
        if asked[page.owner]?.neighbour == neighbour { asked[page.owner]?.since = now }
        quickRepairs = 8
        if isAnswer {
            // Where much was missed, telling all of it to everybody would flood the mesh. Others are asked whether they have it.
            repairDue = min(repairDue, now + configuration.repairPause)
            isSpreading = true
        } else {
            tell(page, except: neighbour)
        }
    }

    /// - Returns: whether the page was kept.
    mutating func take(_ page: GossipPage, at now: Instant) -> Bool {
        guard let facts = page.facts else {
            counters.malformed &+= 1
            return false
        }
        guard let point = page.number == 0 ? provenPoint(page, facts, now) : owners[page.owner]?.point else {
            counters.strangers &+= 1
            return false
        }
        guard page.isSigned(in: passes.mesh, by: point) else {
            counters.forged &+= 1
            return false
        }
        guard hasRoom(for: page) else {
            counters.limit &+= 1
            return false
        }
        if page.number == 0 {
            if let pass = Self.pass(in: facts) {
                do throws(PassProblem) {
                    try passes.handlePass(pass, at: wall(now))
                } catch {
                    counters.limit &+= 1
                    return false
                }
            }
            if owners[page.owner] == nil { owners[page.owner] = Owner(point: point) }
            owners[page.owner]?.point = point
            graves[page.owner] = nil
            snapshotGeneration += 1
        }
        counters.pagesTaken &+= 1
        install(page)
        return true
    }

    private static func pass(in facts: [MeshFact]) -> [UInt8]? {
        for fact in facts { if case .pass(let bytes) = fact.value { return bytes } }
        return nil
    }

    /// The signing point that a page 0 tells, if it is that of the owner's public key, and the owner is a member.
    private func provenPoint(_ page: GossipPage, _ facts: [MeshFact], _ now: Instant) -> [UInt8]? {
        var told: [UInt8]?
        for fact in facts { if case .point(let point) = fact.value { told = point } }
        guard let told else { return nil }
        let key: PublicKey
        switch passes.trust {
        case .listed:
            guard let listed = passes.key(of: page.owner) else { return nil }
            key = listed
        case .authority:
            guard let bytes = Self.pass(in: facts), let signed = try? passes.check(bytes, holder: nil, at: wall(now)),
                signed.pass.holder == page.owner
            else { return nil }
            key = signed.pass.key
        }
        return MeshCryptography.montgomery(ofPoint: told) == key.bytes ? told : nil
    }

    private mutating func hasRoom(for page: GossipPage) -> Bool {
        guard let owner = owners[page.owner] else { return makeRoom() }
        let held = owner.pages[page.number]?.bytes.count
        return Int(page.number) < configuration.pageLimit
            && owner.bytes - (held ?? 0) + page.bytes.count <= configuration.byteLimit
    }

    /// Puts a page in the place of its predecessor, and notes what that changes. Precondition: its owner is known.
    mutating func install(_ page: GossipPage) {
        guard var owner = owners.removeValue(forKey: page.owner) else { preconditionFailure("a page without an owner") }
        let before = owner.pages.updateValue(page, forKey: page.number)
        owner.bytes += page.bytes.count - (before?.bytes.count ?? 0)
        owner.digest = nil
        cachedSummary = nil
        var topics: Set<MeshTopic> = []
        var changed: [MeshTopic] = []
        for fact in page.facts ?? [] {
            topics.insert(fact.topic)
            let known = owner.facts[fact.topic]
            // Another page that says something of it, and is newer, holds.
            if let known, known.page != page.number, let other = owner.pages[known.page], other.stamp > page.stamp { continue }
            owner.facts[fact.topic] = (page.number, fact.value)
            if known?.value != fact.value { changed.append(fact.topic) }
            if case .link(let far) = fact.topic, case .link(let measure) = fact.value { owner.links[far] = measure }
        }
        for fact in before?.facts ?? [] where !topics.contains(fact.topic) && owner.facts[fact.topic]?.page == page.number {
            owner.facts[fact.topic] = nil
            changed.append(fact.topic)
            if case .link(let far) = fact.topic { owner.links[far] = nil }
        }
        owners[page.owner] = owner
        if page.owner != site {
            for topic in changed { noteChange(page.owner, topic) }
        } else if changed.contains(where: { if case .link = $0 { true } else { false } }) {
            ownLinksGeneration &+= 1
        }
    }

    /// Whether a signature may be checked for this neighbour; counts those that may not.
    mutating func allowCheck(_ neighbour: SiteID, _ now: Instant) -> Bool {
        guard var state = neighbours[neighbour] else { return false }
        let elapsed = min(max((now - state.checked).nanoseconds, 0), 60_000_000_000)
        let earned = Int(elapsed) * configuration.checkRate / 1_000_000_000
        if earned > 0 {
            state.checks = min(state.checks + earned, configuration.checkBurst)
            state.checked = now
        }
        let isAllowed = state.checks > 0
        if isAllowed { state.checks -= 1 } else { counters.checkRate &+= 1 }
        neighbours[neighbour]?.checks = state.checks
        neighbours[neighbour]?.checked = state.checked
        return isAllowed
    }

    /// Shows a neighbour the newest page of an owner that was given up, once in a while: if the owner is back with a lost
    /// clock, it learns from it how far it had come.
    mutating func offerProof(of owner: SiteID, to neighbour: SiteID, at now: Instant) {
        guard let grave = graves[owner], grave.proofDue <= now else { return }
        graves[owner]?.proofDue = now + configuration.repairPause
        neighbours[neighbour]?.proofs.append(owner)
    }
}
