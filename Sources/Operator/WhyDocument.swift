// `causeway why`: whether a frame of a group goes to a site, and the rule and the record that decide.

import Basics
import Gateway
import Switching
import Wire

public struct WhyDocument: Codable, Sendable, Equatable {
    public var site: String
    public var vlan: String
    public var group: String
    public var source: String?
    public var to: String
    /// Whether such a frame would go there.
    public var isForwarded: Bool
    /// The number of the rule that decides, in the list of behaviours.
    public var rule: Int
    /// Plain words, a sentence each: the verdict first, then the records behind it.
    public var sentences: [String]

    /// - Parameter explanation: as `Snooper.explain` gives it, for the same gateway as `snapshot`.
    public init(_ explanation: ForwardingExplanation, to name: String, _ snapshot: GatewaySnapshot) {
        let family = explanation.key.family
        site = snapshot.site
        vlan = explanation.key.vlan.description
        group = explanation.key.group.description
        source = explanation.source?.description
        to = name
        let frame = "A frame from \(source ?? "a source that nobody names") to \(group)"
        switch explanation.scope {
        case .notMulticast:
            (isForwarded, rule) = (false, 14)
            sentences = ["\(group) is not a multicast group: such frames follow the MAC table (see `causeway show macs`)."]
            return
        case .everywhere:
            (isForwarded, rule) = (true, 11)
            sentences = ["\(frame) goes to \(name): 224.0.0.0/24 and ff02::1 go everywhere, always (rule 11)."]
        case .snoopingOff:
            (isForwarded, rule) = (true, 12)
            sentences = ["\(frame) goes to \(name): multicast.snooping is off here, so every group goes everywhere."]
        case .invalidScope:
            (isForwarded, rule) = (false, 15)
            sentences = ["\(frame) does not go to \(name): groups of scope 0 and 1 never leave a host (rule 15)."]
        case .snooped:
            let decisive = explanation.decisions.first { $0.reason.isForwarded } ?? explanation.decisions.first
            let reason = decisive?.reason ?? .nobody
            isForwarded = reason.isForwarded
            rule = reason.rule(isSite: explanation.peer != nil)
            let verb = isForwarded ? "goes" : "does not go"
            let words = Self.words(reason, name, isSite: explanation.peer != nil)
            sentences = ["\(frame) \(verb) to \(name): \(words) (rule \(rule))."]
            for (port, reason) in explanation.decisions {
                guard let port else { continue }
                sentences.append(
                    "Port \(snapshot.name(of: Location(port))): \(reason.isForwarded ? "yes" : "no"), "
                        + "\(Self.words(reason, "the port", isSite: false)) (rule \(reason.rule(isSite: false))).")
            }
        }
        if let denial = explanation.denial, isForwarded {
            let words = denial.words(site: name, explanation.key.vlan, explanation.key.group, from: explanation.source)
            (isForwarded, rule) = (false, 44)
            sentences[0] = "\(frame) does not go to \(name): \(words) (rule 44)."
        } else if let denial = explanation.denial {
            let words = denial.words(site: name, explanation.key.vlan, explanation.key.group, from: explanation.source)
            sentences.append("It could not go there either way: \(words) (rule 44).")
        }
        sentences += Self.records(explanation, name, snapshot, family)
    }

    private static func words(_ reason: ForwardingReason, _ name: String, isSite: Bool) -> String {
        switch reason {
        case .member: isSite ? "a fact that \(name) told asks for it" : "a member wants it"
        case .configured: "multicast.static has it"
        case .routerPort: "a multicast router is there"
        case .lostCount: "a limit was passed there, so every group of the VLAN is wanted"
        case .flooded: "nobody there has joined the group, and multicast.unregistered = flood there"
        case .routerSite(let kinds):
            "the site wants every group, for its routers (\(RoutersDocument.names(kinds).joined(separator: ", "))) or since it does "
                + "not snoop"
        case .tooManyFacts: "the site has told more facts than multicast.interests.limit, so it is sent every group"
        case .otherSources: isSite ? "\(name) asks for the group, but not for this source" : "members want other sources only"
        case .nobody: isSite ? "no fact of \(name) asks for it, and no router there wants everything" : "nobody there has joined"
        }
    }

    /// The record behind the verdict: what the site told, or our members.
    private static func records(
        _ explanation: ForwardingExplanation, _ name: String, _ snapshot: GatewaySnapshot, _ family: IPFamily
    ) -> [String] {
        var records: [String] = []
        if let peer = explanation.peer {
            if !explanation.wish.isNothing {
                records.append("Record: \(name) told that it wants \(Tables.words(WishDocument(explanation.wish, family))).")
            }
            if peer.index < snapshot.peers.count, snapshot.peers[peer.index].state != .up {
                records.append("The tunnel to \(name) is not up: nothing goes there until it is.")
            }
            return records
        }
        for (port, entry) in explanation.members {
            let port = GroupsDocument.port(entry, port, family, snapshot)
            let members = port.members.map { "\($0.address) (\($0.mac), \($0.version))" }.joined(separator: ", ")
            records.append(
                "Record: port \(port.port) is in \(port.mode.uppercased()) with \(port.sources.count) sources, "
                    + (members.isEmpty ? "no host is tracked." : "members \(members)."))
        }
        return records
    }
}

extension WhyDocument {
    /// How a frame gets there: through whom, and sealed for whom.
    /// - Parameter audience: whom one stream may carry the frame to; `nil` for a frame that goes everywhere.
    static func ways(to peer: PeerIndex, _ audience: PeerSet?, _ snapshot: GatewaySnapshot) -> [String] {
        guard peer.index < snapshot.peers.count else { return [] }
        let name = snapshot.peers[peer.index].name
        var words: [String] = []
        switch snapshot.mesh?.ways.first(where: { $0.name == name }) {
        case let way? where way.state == .relayed:
            words.append("\(name) is reached through \(way.hops.dropLast().joined(separator: ", ")).")
        case let way? where way.state == .opening:
            words.append("A way to \(name) through \(way.hops.dropLast().joined(separator: ", ")) is being opened.")
        default: break
        }
        guard let audience else { return words }
        let stream = snapshot.streams.sealed.first { $0.state != .begun && PeerSet($0.members) == audience }
        if let stream, audience.contains(peer) {
            let names = stream.members.map { $0.index < snapshot.peers.count ? snapshot.peers[$0.index].name : "?" }
            words.append(
                "It is sealed once for \(names.joined(separator: ", ")): the group stream \(hexadecimal(stream.stream)) carries it."
            )
        } else {
            words.append("A copy that is sealed for \(name) alone carries it.")
        }
        return words
    }
}

extension ForwardingReason {
    func rule(isSite: Bool) -> Int {
        switch self {
        case .member, .otherSources: isSite ? 37 : 16
        case .configured: 16
        case .routerPort: 10
        case .lostCount, .tooManyFacts: 29
        case .flooded, .nobody: isSite ? 37 : 12
        case .routerSite: 36
        }
    }
}

extension Tables {
    public static func text(_ document: WhyDocument) -> String {
        document.sentences.map { $0 + "\n" }.joined()
    }
}
