// The passes of a replay: an authority from the seed, and a pass for each site. Only scenarios in which links fail, or which
// speak of passes, have them; in all others every site knows every other one's key.

import Basics
import Mesh
import Settings
import Tunnels

struct ReplayPasses {
    let authority: AuthorityKey
    /// By site, as the authority has signed them.
    let passes: [[UInt8]]

    /// Whose draws keep off those that identities come from.
    private static let salt: UInt64 = 0x4155_5448

    init(_ sites: [ScenarioSite], _ identities: [KeyPair], seed: UInt64) {
        var random = SeededRandom(seed: seed ^ ReplayPasses.salt)
        let authority = Authority.generate(using: &random)
        self.authority = authority.key
        passes = zip(sites, identities).enumerated().map { number, pair in
            let (site, identity) = pair
            let says = site.pass ?? ScenarioPass()
            return authority.sign(
                Pass(
                    serial: UInt64(number + 1), site: site.name, key: identity.publicKey, validFrom: UnixTime(seconds: 0),
                    validUntil: .distantFuture, send: GroupRules(says.send), receive: GroupRules(says.receive),
                    vlans: says.vlans.map { VLANRules($0) } ?? .any, mayRelay: says.mayRelay)
            ).bytes
        }
    }
}

extension GroupRules {
    fileprivate init(_ rules: [ScenarioPass.Groups]?) {
        guard let rules else {
            self = .any
            return
        }
        self = .listed(rules.map { GroupRule($0.groups, from: $0.sources) })
    }
}
