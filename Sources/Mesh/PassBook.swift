// Who is a member: the passes that a gateway has seen, what the authority has revoked, and what each member may do. Sans-IO:
// the time of day is an argument, since validity is in calendar time, and clocks of gateways differ by `skew` at most.
//
// In a mesh without an authority the members are those whose keys the configuration names, and nothing limits them.

import Basics

/// On what a gateway founds its trust.
public enum MeshTrust: Hashable, Sendable {
    case authority(AuthorityKey)
    /// Public keys of the configuration, our own among them.
    case listed([PublicKey])
}

public struct PassBook: Sendable {
    /// What is owed to clocks that are wrong: a pass counts so many seconds before and after its time.
    public static let skew: UInt64 = 300
    /// Days before the end of our own pass at which there is a warning.
    public static let warningDays: [UInt64] = [30, 7, 1]

    private struct Member: Sendable {
        var signed: SignedPass
        var entitlements: Entitlements
    }

    public let trust: MeshTrust
    /// Members known at once.
    private let memberLimit: Int
    private let revocationLimit: Int
    private var members: [SiteID: Member] = [:]
    private var listed: [SiteID: PublicKey] = [:]
    private(set) var revocations: [RevocationID: SignedRevocation] = [:]
    private var revokedSerials: Set<UInt64> = []
    private var revokedKeys: Set<PublicKey> = []
    private let everything = Entitlements.everything
    /// Our own pass, whatever is thought of it.
    public private(set) var ownPass: SignedPass?
    /// Of `warningDays`, those that have been given for the present pass.
    private var warningsGiven = 0
    public private(set) var refused: UInt64 = 0

    public init(trust: MeshTrust, memberLimit: Int = Limits.peers, revocationLimit: Int = 2048) {
        self.trust = trust
        self.memberLimit = memberLimit
        self.revocationLimit = revocationLimit
        if case .listed(let keys) = trust { for key in keys { listed[SiteID(key)] = key } }
    }

    public var mesh: MeshID {
        if case .authority(let key) = trust { key.mesh } else { .none }
    }

    // MARK: Checking

    /// Reads a pass and says everything that may be wrong with it, without keeping it.
    public func check(_ bytes: [UInt8], holder: PublicKey?, at wall: UnixTime) throws(PassProblem) -> SignedPass {
        guard case .authority(let key) = trust else { throw .malformed("this mesh has no authority") }
        let signed = try SignedPass(bytes, by: key)
        if let holder, signed.pass.key != holder { throw .wrongHolder(signed.pass.key) }
        try check(signed.pass, at: wall)
        return signed
    }

    private func check(_ pass: Pass, at wall: UnixTime) throws(PassProblem) {
        // Revoked first: it is final, the others pass.
        if revokedSerials.contains(pass.serial) || revokedKeys.contains(pass.key) { throw .revoked(serial: pass.serial) }
        if wall.adding(PassBook.skew) < pass.validFrom { throw .notYetValid(from: pass.validFrom) }
        if wall > pass.validUntil.adding(PassBook.skew) { throw .expired(at: pass.validUntil) }
    }

    // MARK: Taking in

    /// Sets our own pass. It is kept even if it does not count, so that it can be shown.
    public mutating func setOwnPass(_ bytes: [UInt8], holder: PublicKey, at wall: UnixTime) throws(PassProblem) {
        guard case .authority(let key) = trust else { throw .malformed("this mesh has no authority") }
        let signed = try SignedPass(bytes, by: key)
        ownPass = signed
        warningsGiven = 0
        if signed.pass.key != holder { throw .wrongHolder(signed.pass.key) }
        try check(signed.pass, at: wall)
        members[signed.pass.holder] = Member(signed: signed, entitlements: signed.pass.entitlements)
    }

    /// Keeps a pass that counts, in place of the holder's last one. A holder may go back to an older pass as long as that is
    /// neither over nor revoked: which one holds must not depend on the order in which they are heard of.
    @discardableResult
    public mutating func handlePass(_ bytes: [UInt8], at wall: UnixTime) throws(PassProblem) -> SignedPass {
        do throws(PassProblem) {
            let signed = try check(bytes, holder: nil, at: wall)
            let holder = signed.pass.holder
            if let known = members[holder] {
                if known.signed == signed { return signed }
            } else if members.count >= memberLimit {
                throw .limit
            }
            members[holder] = Member(signed: signed, entitlements: signed.pass.entitlements)
            return signed
        } catch {
            refused &+= 1
            throw error
        }
    }

    /// Keeps a revocation.
    /// - Returns: `false` for one that is known already.
    @discardableResult
    public mutating func handleRevocation(_ bytes: [UInt8], at wall: UnixTime) throws(PassProblem) -> Bool {
        guard case .authority(let key) = trust else { throw .malformed("this mesh has no authority") }
        do throws(PassProblem) {
            let signed = try SignedRevocation(bytes, by: key)
            if revocations[signed.identifier] != nil { return false }
            if revocations.count >= revocationLimit {
                // One whose pass is over changes nothing; without such, the new one is refused, and counted.
                let over = revocations.filter { ($0.value.revocation.matters ?? .distantFuture).adding(PassBook.skew) < wall }
                guard let oldest = over.min(by: { ($0.value.revocation.made, $0.key) < ($1.value.revocation.made, $1.key) })
                else { throw .limit }
                revocations[oldest.key] = nil
                if let serial = oldest.value.revocation.serial { revokedSerials.remove(serial) }
                if let key = oldest.value.revocation.key { revokedKeys.remove(key) }
            }
            revocations[signed.identifier] = signed
            if let serial = signed.revocation.serial { revokedSerials.insert(serial) }
            if let key = signed.revocation.key { revokedKeys.insert(key) }
            return true
        } catch {
            refused &+= 1
            throw error
        }
    }

    /// Forgets what is kept of a member, to make room. Revocations stay.
    public mutating func forget(_ site: SiteID) { members[site] = nil }

    // MARK: Asking

    public func pass(of site: SiteID) -> SignedPass? { members[site]?.signed }

    public func key(of site: SiteID) -> PublicKey? { listed[site] ?? members[site]?.signed.pass.key }

    /// Members of which a pass is kept, sorted; some may have expired.
    public var sites: [SiteID] { Set(members.keys).union(listed.keys).sorted() }

    /// `nil` when the site is a member; otherwise why not.
    public func problem(of site: SiteID, at wall: UnixTime) -> PassProblem? {
        if listed[site] != nil { return nil }
        guard let member = members[site] else { return .malformed("no pass of it is known") }
        do throws(PassProblem) {
            try check(member.signed.pass, at: wall)
            return nil
        } catch { return error }
    }

    public func isMember(_ site: SiteID, at wall: UnixTime) -> Bool { problem(of: site, at: wall) == nil }

    /// What a member may do; `nil` for others.
    public func entitlements(of site: SiteID, at wall: UnixTime) -> Entitlements? {
        if listed[site] != nil { return everything }
        guard let member = members[site], isMember(site, at: wall) else { return nil }
        return member.entitlements
    }

    /// Rule 44, as the sender's gateway asks it.
    public func maySend(_ site: SiteID, _ vlan: VLAN, _ group: IPAddress, from source: IPAddress?, at wall: UnixTime) -> Bool {
        entitlements(of: site, at: wall)?.maySend(vlan, group, from: source) ?? false
    }

    public func mayReceive(_ site: SiteID, _ vlan: VLAN, _ group: IPAddress, from source: IPAddress?, at wall: UnixTime) -> Bool {
        entitlements(of: site, at: wall)?.mayReceive(vlan, group, from: source) ?? false
    }

    public var revocationCount: Int { revocations.count }

    // MARK: Time

    /// Days that our own pass has left, rounded up, once for each of `warningDays` that has been passed; 0: it is over.
    public mutating func pollWarning(at wall: UnixTime) -> (daysLeft: UInt64, until: UnixTime)? {
        guard let pass = ownPass?.pass, warningsGiven <= PassBook.warningDays.count, wall >= warning(warningsGiven, pass)
        else { return nil }
        while warningsGiven <= PassBook.warningDays.count, wall >= warning(warningsGiven, pass) { warningsGiven += 1 }
        let left = pass.validUntil.seconds > wall.seconds ? pass.validUntil.seconds - wall.seconds : 0
        return ((left + UnixTime.secondsPerDay - 1) / UnixTime.secondsPerDay, pass.validUntil)
    }

    /// When the warning is due; the last one is the end itself.
    private func warning(_ index: Int, _ pass: Pass) -> UnixTime {
        guard index < PassBook.warningDays.count else { return pass.validUntil }
        return pass.validUntil.subtracting(PassBook.warningDays[index] * UnixTime.secondsPerDay)
    }

    /// When to call `pollWarning`, or ask about members, again: a warning is due, or a pass that is kept begins or ends.
    public func nextTimeout(after wall: UnixTime) -> UnixTime {
        var next = UnixTime.distantFuture
        if let pass = ownPass?.pass, warningsGiven <= PassBook.warningDays.count { next = warning(warningsGiven, pass) }
        for member in members.values {
            let end = member.signed.pass.validUntil.adding(PassBook.skew + 1)
            if end > wall { next = min(next, end) }
        }
        return next
    }
}
