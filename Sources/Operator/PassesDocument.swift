// What an operator is shown of passes and revocations: the answer to `causeway show passes`.

import Basics
import Foundation
import Gateway
import Mesh

public struct PassesDocument: Codable, Sendable, Equatable {
    public struct Pass: Codable, Sendable, Equatable {
        public var site: String
        /// Base64.
        public var key: String
        public var serial: UInt64
        public var isOwn: Bool
        /// As `causeway mesh admit` takes them: `any`, `none`, or groups with their sources; VLANs.
        public var send: String
        public var receive: String
        public var vlans: String
        public var mayRelay: Bool
        /// Such as `2027-01-01T00:00:00Z`.
        public var validFrom: String
        public var validUntil: String
        /// Begun ones count; 0: it is over.
        public var daysLeft: UInt64
        /// Why it does not count; absent where it does.
        public var problem: String?

        init(_ pass: Mesh.Pass, _ site: MeshSnapshot.Site, at wall: UnixTime) {
            self.site = site.name
            key = pass.key.base64
            serial = pass.serial
            isOwn = site.reach == .own
            (send, receive, vlans) = ("\(pass.send)", "\(pass.receive)", "\(pass.vlans)")
            mayRelay = pass.mayRelay
            (validFrom, validUntil) = ("\(pass.validFrom)", "\(pass.validUntil)")
            let left = pass.validUntil.seconds > wall.seconds ? pass.validUntil.seconds - wall.seconds : 0
            daysLeft = left / UnixTime.secondsPerDay + (left % UnixTime.secondsPerDay > 0 ? 1 : 0)
            problem = site.problem
        }
    }

    public struct Revoked: Codable, Sendable, Equatable {
        public var made: String
        /// What is revoked: the pass with this number, or every pass of this gateway, or both.
        public var serial: UInt64?
        public var key: String?
        /// When the pass would have ended; absent: it matters for ever.
        public var until: String?
        /// The site whose pass it is about, if that is known.
        public var site: String?
    }

    public var site: String
    /// Base64; absent: this gateway is in no mesh with passes.
    public var authority: String?
    /// Our own first, then by name.
    public var passes: [Pass]
    /// The oldest first.
    public var revocations: [Revoked]

    public init(_ snapshot: GatewaySnapshot) {
        site = snapshot.site
        authority = snapshot.mesh?.authority
        let sites = snapshot.mesh?.sites ?? []
        let wall = snapshot.mesh?.wall ?? UnixTime(seconds: 0)
        passes = sites.compactMap { site in site.pass.map { Pass($0, site, at: wall) } }
        revocations = (snapshot.mesh?.revocations ?? []).map { revocation in
            Revoked(
                made: "\(revocation.made)", serial: revocation.serial, key: revocation.key?.base64,
                until: revocation.matters.map { "\($0)" },
                site: sites.first { $0.pass.map { revocation.covers($0) } ?? false }?.name)
        }
    }
}

extension Tables {
    public static func text(_ document: PassesDocument) -> String {
        guard document.authority != nil else { return noMesh }
        var text = document.passes.map { words($0) }.joined(separator: "\n")
        if document.passes.isEmpty { text += "no pass is known\n" }
        text += "\n" + (document.revocations.isEmpty ? "nothing was revoked\n" : "")
        for revocation in document.revocations {
            var what: [String] = []
            if let serial = revocation.serial { what.append("the pass with the serial number \(serial)") }
            if let key = revocation.key { what.append("every pass of the gateway \(key)") }
            text +=
                "revoked on \(revocation.made): \(what.joined(separator: ", and "))"
                + (revocation.site.map { " (site \($0))" } ?? "") + "\n"
        }
        return text
    }

    private static func words(_ pass: PassesDocument.Pass) -> String {
        let days = pass.daysLeft == 1 ? "1 day" : "\(pass.daysLeft) days"
        return [
            "\(pass.site)\(pass.isOwn ? " (this site)" : "")",
            "  may send      \(pass.send)", "  may receive   \(pass.receive)", "  on VLANs      \(pass.vlans)",
            "  may relay     \(pass.mayRelay ? "yes" : "no")",
            "  valid         \(pass.validFrom) to \(pass.validUntil), " + (pass.daysLeft == 0 ? "over" : "\(days) left"),
            "  gateway       \(pass.key), serial \(pass.serial)",
        ].map { $0 + "\n" }.joined() + (pass.problem.map { "  does not count: \($0)\n" } ?? "")
    }
}
