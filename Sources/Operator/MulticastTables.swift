// The documents about multicast as text for people.

import TextTable

extension Tables {
    public static func text(_ document: GroupsDocument) -> String {
        var text = ""
        for group in document.groups { text += self.text(group) }
        if document.groups.isEmpty { text += "nobody has joined a group\n" }
        for other in document.unregistered {
            text += "\(other.family) groups that nobody joined, \(place(other.vlan)):\n"
            for site in other.sites { text += "    site \(site.site): sent \(traffic(site.frames, site.bytes))\n" }
            text += forwarded(other.framesFromLan, other.bytesFromLan, other.framesFromMesh, other.bytesFromMesh)
        }
        return text + "\(count(document.entries, "entry", "entries")), \(count(document.sources, "source", "sources")), "
            + "\(count(document.members, "member", "members")), \(count(document.facts, "fact", "facts")) told\n"
    }

    private static func text(_ group: GroupsDocument.Group) -> String {
        // What stands for every group of a family, where a limit has been passed.
        let name = ["0.0.0.0": "every IPv4 group", "::": "every IPv6 group"][group.group] ?? group.group
        var text = "\(name), \(place(group.vlan)): "
        text += group.wish.map { "this site wants \(words($0))" } ?? "nobody at this site wants it"
        text += group.isStatic ? ", configured\n" : "\n"
        for port in group.ports {
            text += "    port \(port.port): \(port.mode)"
            if let expires = port.expires { text += ", expires in \(age(expires))" }
            text += ", \(port.version)\n"
            for source in port.sources {
                text += "        source \(source.address): "
                text += (source.expires.map { "expires in \(age($0))" } ?? "not forwarded") + "\n"
            }
            for member in port.members {
                text += "        member \(member.address) (\(member.mac)), \(member.version), "
                text += "\(filter(member.mode, member.sources)), expires in \(age(member.expires))\n"
            }
        }
        for site in group.sites {
            text += "    site \(site.site): " + (site.wish.map { "wants \(words($0))" } ?? "has not asked")
            text += site.wish == nil && site.isForwarded ? ", is sent it all the same" : ""
            text += "; sent \(traffic(site.frames, site.bytes))\n"
        }
        return text + forwarded(group.framesFromLan, group.bytesFromLan, group.framesFromMesh, group.bytesFromMesh)
    }

    static func words(_ wish: WishDocument) -> String {
        filter(wish.mode, wish.sources) + (wish.versions.isEmpty ? "" : " (\(wish.versions.joined(separator: ", ")))")
    }

    private static func filter(_ mode: String, _ sources: [String]) -> String {
        let list = sources.prefix(8).joined(separator: ", ") + (sources.count > 8 ? " and \(sources.count - 8) more" : "")
        if mode == "include" { return sources.isEmpty ? "nothing" : "sources \(list)" }
        return sources.isEmpty ? "every source" : "every source but \(list)"
    }

    private static func traffic(_ frames: UInt64, _ bytes: UInt64) -> String {
        "\(count(frames, "frame", "frames")), \(count(bytes, "byte", "bytes"))"
    }

    private static func forwarded(
        _ framesFromLAN: UInt64, _ bytesFromLAN: UInt64, _ framesFromMesh: UInt64, _ bytesFromMesh: UInt64
    ) -> String {
        "    forwarded from the LAN \(traffic(framesFromLAN, bytesFromLAN)); "
            + "from the mesh \(traffic(framesFromMesh, bytesFromMesh))\n"
    }

    private static func count<Number: BinaryInteger>(_ number: Number, _ one: String, _ many: String) -> String {
        "\(number) \(number == 1 ? one : many)"
    }

    /// A document's VLAN in a sentence.
    private static func place(_ vlan: String) -> String {
        switch vlan {
        case "-": "untagged"
        case "any": "every other VLAN"
        default: "VLAN \(vlan)"
        }
    }

    public static func text(_ document: QueriersDocument) -> String {
        if document.queriers.isEmpty { return "multicast.snooping is off\n" }
        let table = TextTable<QueriersDocument.Querier> {
            [
                Column(title: "vlan", value: $0.vlan),
                Column(title: "protocol", value: $0.protocol),
                Column(title: "state", value: $0.state),
                Column(title: "querier", value: $0.elected ?? ($0.state == "querier" ? $0.address : "-")),
                Column(title: "expires", value: $0.electedExpires.map { "in " + age($0) } ?? "-", align: .right),
                Column(title: "version", value: $0.version),
                Column(title: "robustness", value: $0.robustness, align: .right),
                Column(title: "interval", value: age($0.queryInterval), align: .right),
                Column(title: "response", value: age($0.queryResponseInterval), align: .right),
            ]
        }
        return lines(table.string(for: document.queriers))
    }

    public static func text(_ document: RoutersDocument) -> String {
        var text = ""
        let table = TextTable<RoutersDocument.Router> {
            [
                Column(title: "vlan", value: $0.vlan),
                Column(title: "family", value: $0.family),
                Column(title: "port", value: $0.port),
                Column(title: "learned from", value: $0.kind),
                Column(title: "address", value: $0.address),
                Column(title: "mac", value: $0.mac),
                Column(title: "expires", value: $0.expires.map { "in " + age($0) } ?? "never", align: .right),
            ]
        }
        text += document.routers.isEmpty ? "no multicast router was heard\n" : lines(table.string(for: document.routers))
        if !document.configured.isEmpty { text += "configured: " + document.configured.joined(separator: ", ") + "\n" }
        for row in document.remote {
            text += "site \(row.site), \(row.vlan == "any" ? "every VLAN" : place(row.vlan)), \(row.family): "
            text += row.kinds.isEmpty ? "no router" : row.kinds.joined(separator: ", ")
            text += row.wantsEverything ? "; is sent every group\n" : "; is sent only what it asks for\n"
        }
        for site in document.floodingSites { text += "site \(site) floods groups that nobody there has joined\n" }
        return text
    }

    /// Only what has counted something.
    public static func text(_ document: RulesDocument) -> String {
        let rules = document.rules.filter { $0.count > 0 }
        if rules.isEmpty { return "nothing was ignored or refused\n" }
        let table = TextTable<RulesDocument.Rule> {
            [
                Column(title: "rule", value: $0.rule, align: .right),
                Column(title: "name", value: $0.name),
                Column(title: "count", value: $0.count, align: .right),
                Column(title: "explanation", value: $0.explanation),
            ]
        }
        return lines(table.string(for: rules))
    }
}
