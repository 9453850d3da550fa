// What goes wrong in a simulated mesh, and its end.

import Basics
import Mesh

enum Fault: String, CaseIterable, Comparable {
    case cut, oneWayCut, loss, lossyAccess, partition, heal, crash, restart, lostClock, lateStart, newMapping, revocation, join,
        leave

    static func < (a: Fault, b: Fault) -> Bool { a.rawValue < b.rawValue }
}

extension MeshSimulation {
    /// One fault, or the end of one.
    func breakSomething() {
        let count = plan.count
        let site = Int.random(in: 0..<count, using: &random)
        let other = (site + Int.random(in: 1..<count, using: &random)) % count
        let dead = sites.filter { !$0.isAlive }.map(\.index)
        switch Int.random(in: 0..<12, using: &random) {
        case 0: cut([(site, other), (other, site)], .cut)
        case 1: cut([(site, other)], .oneWayCut)
        case 2:
            tally(.loss)
            let character = drawTrouble()
            spoil([(site, other), (other, site)], character)
            note("loss between \(site) and \(other)")
        case 3:
            tally(.lossyAccess)
            let character = drawTrouble()
            spoil((0..<count).filter { $0 != site }.flatMap { [(site, $0), ($0, site)] }, character)
            note("loss at \(site)")
        case 4: partition()
        case 5 where dead.count < max(count / 4, 1): kill(site)
        case 6:
            if let back = dead.randomElement(using: &random) { bringBack(back) }
        case 7 where sites[site].nat != nil:
            tally(.newMapping)
            sites[site].nat?.forget()
            note("new mappings for \(site)")
        case 8 where checker.banned.isEmpty && count >= 5 && Int.random(in: 0..<8, using: &random) == 0: revoke(site, by: other)
        default:
            let group = Int.random(in: 0..<plan.groups, using: &random)
            if checker.wants(site, group) {
                tally(.leave)
                leave(site, group)
            } else {
                tally(.join)
                join(site, group)
            }
        }
    }

    private func tally(_ fault: Fault) { faultCounts[fault, default: 0] += 1 }

    private func cut(_ directions: [(Int, Int)], _ fault: Fault) {
        tally(fault)
        for (from, to) in directions {
            cuts[from * plan.count + to].toggle()
            apply(from, to)
        }
        note("\(fault) from \(directions[0].0) to \(directions[0].1): \(cuts[directions[0].0 * plan.count + directions[0].1])")
    }

    private func apply(_ from: Int, _ to: Int) {
        let isCut = cuts[from * plan.count + to] || sides[from] != sides[to]
        wire.change(from: from, to: to) { $0.isCut = isCut }
    }

    private func applyAll() {
        for from in 0..<plan.count { for to in 0..<plan.count where to != from { apply(from, to) } }
    }

    /// Up to a fifth is lost; some comes late, twice, or with a wrong bit.
    private func drawTrouble() -> (loss: UInt32, jitter: Interval, duplicates: UInt32, corruption: UInt32) {
        (
            UInt32.random(in: 0...200_000, using: &random), .microseconds(Int64.random(in: 0...5_000, using: &random)),
            UInt32.random(in: 0...20_000, using: &random), UInt32.random(in: 0...10_000, using: &random)
        )
    }

    private func spoil(
        _ directions: [(Int, Int)], _ trouble: (loss: UInt32, jitter: Interval, duplicates: UInt32, corruption: UInt32)
    ) {
        for (from, to) in directions {
            wire.change(from: from, to: to) {
                $0.lossMillionths = trouble.loss
                $0.jitter = trouble.jitter
                $0.duplicateMillionths = trouble.duplicates
                $0.corruptMillionths = trouble.corruption
            }
        }
    }

    private func partition() {
        if sides.contains(1) {
            tally(.heal)
            sides = Array(repeating: 0, count: plan.count)
        } else {
            tally(.partition)
            sides = sides.map { _ in Int.random(in: 0..<3, using: &random) == 0 ? 1 : 0 }
        }
        note("sides: \(sides)")
        applyAll()
    }

    private func kill(_ site: Int) {
        guard sites[site].isAlive, !checker.banned.contains(site) else { return }
        tally(.crash)
        // Its state file survives, or is lost with the disk.
        stateFiles[site] = Int.random(in: 0..<4, using: &random) == 0 ? nil : sites[site].stateFile
        sites[site].kill()
        note("crash of \(site)")
    }

    private func bringBack(_ site: Int) {
        // Hosts stay, and say again what they want when they are asked.
        if Int.random(in: 0..<5, using: &random) == 0 {
            tally(.lostClock)
            // It begins in 1970, and is set some seconds later.
            let error = sites[site].clock.wallError
            sites[site].clock.wallError = .nanoseconds(-Int64(clamping: SkewedClock.wallClock &+ now.nanoseconds))
            schedule(.setClock(error), at: site, after: .milliseconds(Int64.random(in: 1_000...10_000, using: &random)))
        }
        tally(hasStarted(site) ? .restart : .lateStart)
        start(site, snapshots: stateFiles[site].map { [$0] } ?? [])
        note("start of \(site)")
    }

    private func hasStarted(_ site: Int) -> Bool { octetsSent[site] > 0 }

    /// The authority's word is given to one gateway that is up; the others hear of it.
    private func revoke(_ site: Int, by other: Int) {
        guard site > 1, sites[other].isAlive, sites[site].isAlive, sites[other].peersUp > 0 else { return }
        tally(.revocation)
        report.revoked += 1
        let made = UnixTime(seconds: (SkewedClock.wallClock &+ now.nanoseconds) / 1_000_000_000)
        guard let revocation = Revocation(made: made, key: sites[site].identity.publicKey) else { return }
        let signed = authority.sign(revocation)
        checker.ban(site)
        drive(other) { gateway, local in
            if !gateway.handleRevocation(signed.bytes, at: local) { self.violate("site \(other) refuses a revocation") }
        }
        note("revocation of \(site) at \(other)")
    }

    /// All faults end.
    func healAll() {
        cuts = Array(repeating: false, count: cuts.count)
        sides = Array(repeating: 0, count: sides.count)
        applyAll()
        for from in 0..<plan.count {
            for to in 0..<plan.count where to != from { spoil([(from, to)], (0, .zero, 0, 0)) }
        }
        for site in sites where !site.isAlive { bringBack(site.index) }
        note("all faults end")
    }
}
