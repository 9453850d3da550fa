// What an operator's program asks over the local socket: one line, `show TOPIC`, `why GROUP SOURCE VLAN SITE`, `revoke BASE64`,
// `peer add NAME KEY ADDRESS...` or `peer remove NAME`, answered by one JSON document.

import Basics
import Gateway
import Settings
import Switching

/// The question that `causeway why` asks.
public struct WhyQuestion: Hashable, Sendable {
    public var group: IPAddress
    /// `nil`: a source that no wish lists.
    public var source: IPAddress?
    public var vlan: VLAN
    /// The name of a site: a peer's, or this gateway's own.
    public var site: String

    public init(group: IPAddress, source: IPAddress?, vlan: VLAN, site: String) {
        self.group = group
        self.source = source
        self.vlan = vlan
        self.site = site
    }
}

public enum OperatorRequest: Hashable, Sendable {
    case show(ShowTopic)
    case why(WhyQuestion)
    /// Octets of a revocation, to be told to the whole mesh.
    case revoke([UInt8])
    case addPeer(PeerOrder)
    /// The name of a peer that is to be forgotten.
    case removePeer(String)

    /// The line, with its end.
    public var line: String {
        switch self {
        case .revoke(let bytes): "revoke \(Base64.encode(bytes))\n"
        case .addPeer(let order): "peer add \(order.line)\n"
        case .removePeer(let name): "peer remove \(name)\n"
        case .show(let topic): "show \(topic.rawValue)\n"
        case .why(let question):
            "why \(question.group) \(question.source?.description ?? "-") \(question.vlan.rawValue) \(question.site)\n"
        }
    }

    /// `nil` when the line is no request; the line's end may be missing.
    public init?(line: String) {
        let words: [String] = line.split { $0 == " " || $0 == "\n" }.map(String.init)
        switch (words.first, words.count) {
        case ("show", 2):
            guard let topic = ShowTopic(rawValue: words[1]) else { return nil }
            self = .show(topic)
        case ("revoke", 2):
            guard let bytes = Base64.decode(words[1]) else { return nil }
            self = .revoke(bytes)
        case ("peer", 4...) where words[1] == "add":
            guard let order = PeerOrder(line: words.dropFirst(2).joined(separator: " ")) else { return nil }
            self = .addPeer(order)
        case ("peer", 3) where words[1] == "remove": self = .removePeer(words[2])
        case ("why", 5):
            guard let group = parseAddress(words[1]), let number = UInt16(words[3]), number <= 0x1FFF else { return nil }
            var source: IPAddress?
            if words[2] != "-" {
                source = parseAddress(words[2])
                guard source != nil else { return nil }
            }
            self = .why(WhyQuestion(group: group, source: source, vlan: VLAN(rawValue: number), site: words[4]))
        default: return nil
        }
    }
}

extension WhyDocument {
    /// `nil` when no site has that name.
    public init?(_ question: WhyQuestion, _ control: ControlCore, _ snapshot: GatewaySnapshot) {
        let key = GroupKey(question.vlan, question.group)
        let peer = snapshot.peers.firstIndex { $0.key != nil && $0.name == question.site }.map { PeerIndex($0) }
        guard peer != nil || question.site == snapshot.site else { return nil }
        let explanation = control.snooper.explain(key, source: question.source, to: peer)
        self.init(explanation, to: question.site, snapshot)
        guard let peer, isForwarded else { return }
        let audience = explanation.scope == .snooped ? control.audience(of: key, source: question.source) : nil
        sentences += Self.ways(to: peer, audience, snapshot)
    }
}
