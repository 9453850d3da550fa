// The keys of a mesh whose members have passes.

import Basics

extension GatewaySettings {
    private static let noPasses = InReplay.decided("passes of a replay come from the seed; see site.SITE.pass.send")

    static let meshKeys: [SettingKey<GatewayDraft>] = [
        SettingKey(
            "mesh.authority", .publicKey, .optional(example: exampleKey), inReplay: noPasses,
            "The public key of the mesh's authority, which `causeway mesh create` prints: who has a pass of it is a member."
        ) { $0.mesh.authority = $2 },
        SettingKey(
            "pass.file", .path, .optional(example: "london.pass"), inReplay: noPasses,
            "The file with this gateway's pass, which `causeway mesh admit` prints."
        ) { $0.mesh.passFile = $2 },
        SettingKey(
            "mesh.state", .path, .byDefault("/var/lib/causeway/SITE.mesh"), inReplay: noPasses,
            "Two files, with `.0` and `.1` behind the name: the members and where they were, for the next start."
        ) { $0.mesh.stateFile = $2 },
        SettingKey(
            "mesh.address", .peerAddresses, .optional(example: "192.0.2.1:7117"), inReplay: noPasses,
            "Where the other members reach this gateway, as addresses; without it, where they see it."
        ) { $0.mesh.addresses = $2 },
        SettingKey(
            "mesh.sites", .integer(2...Limits.peers, unit: "sites"), \.mesh.siteLimit, inReplay: noPasses,
            "The most other sites that are known at once, those with keys of their own in the file included."),
        SettingKey(
            "mesh.links", .integer(1...Limits.peers, unit: "sites"), \.mesh.linkLimit, inReplay: noPasses,
            "The most members that this gateway calls itself; the others are reached through those that carry, or call it."),
        SettingKey(
            "mesh.copy-cost", .duration(.zero ... .seconds(10)), \.mesh.copyCost, inReplay: noPasses,
            "What each further copy of a feed on this site's own uplink counts as, against the delay that a relay adds."),
    ]
}
