// `causeway show` and `causeway why`: questions to a running gateway.

import ArgumentParser
import Basics
import Foundation
import Operator
import Settings

extension ShowTopic: ExpressibleByArgument {}

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows what a running gateway knows and has counted.",
        discussion: """
            status    the gateway at a glance
            peers     the other gateways: state, address, cipher, traffic
            ports     the LAN ports: device, state, traffic
            macs      which host is behind which port or peer
            drops     what was dropped, and why
            groups    multicast groups: members, sites that want them, traffic
            queriers  who asks for memberships on each VLAN
            routers   where multicast routers are, here and at other sites
            rules     what was ignored or refused in IGMP and MLD, by rule
            streams   what is sealed once for several sites, and whose streams are taken
            mesh      the members of the mesh, the links between them, and what gossip has counted
            paths     the way to each site, and what is carried here for others
            passes    what each site may send and receive, and until when
            """)

    @Argument(help: "One of: \(ShowTopic.allCases.map(\.rawValue).joined(separator: ", ")).")
    var topic: ShowTopic

    @Option(help: "The gateway's control.socket. Not needed while /run/causeway holds only one.", completion: .file())
    var socket: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let answer = try OperatorSocket.ask(.show(topic), at: socket)
        if json {
            FileHandle.standardOutput.write(answer)
            print("")
            return
        }
        do {
            print(try Tables.text(topic, json: answer), terminator: "")
        } catch {
            throw Failure(
                "the gateway's answer cannot be read: is it of another version? Its words: \(String(decoding: answer, as: UTF8.self))"
            )
        }
    }
}

struct Why: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says whether frames of a multicast group go to a site, and why.",
        discussion: """
            Asks this site's gateway, where what leaves for another site is decided. Example: causeway why 239.1.1.1 --to nyc
            """)

    @Argument(help: ArgumentHelp("The group, and the source if it matters.", valueName: "group[,source]"))
    var feed: String

    @Option(name: .customLong("to"), help: "The name of a peer, or of this site for what its LAN ports get.")
    var site: String

    @Option(help: "The VLAN: 1 to 4094, or s1 to s4094 for a service VLAN; untagged without it.")
    var vlan: String?

    @Option(help: "The gateway's control.socket. Not needed while /run/causeway holds only one.", completion: .file())
    var socket: String?

    @Flag(help: "Print JSON.")
    var json = false

    /// A question that is wrong is told with this command's usage.
    func validate() throws { _ = try question() }

    func run() throws {
        let answer = try OperatorSocket.ask(.why(try question()), at: socket)
        if json {
            FileHandle.standardOutput.write(answer)
            print("")
            return
        }
        guard let document = try? JSON.decode(WhyDocument.self, from: answer) else {
            throw Failure("the gateway's answer cannot be read: is it of another version?")
        }
        print(Tables.text(document), terminator: "")
    }

    private func question() throws -> WhyQuestion {
        let parts = feed.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, let group = parseAddress(parts[0]) else {
            throw ValidationError("'\(feed)' is not a group, nor GROUP,SOURCE: such as 239.1.1.1 or ff3e::1,2001:db8::7")
        }
        guard group.isMulticast else { throw ValidationError("\(group) is not a multicast group") }
        var source: IPAddress?
        if parts.count == 2 {
            source = parseAddress(parts[1])
            guard let source, source.isUnicast, source.family == group.family else {
                throw ValidationError("'\(parts[1])' is not the address of a source of \(group)")
            }
        }
        guard !site.isEmpty, !site.contains(where: \.isWhitespace) else {
            throw ValidationError("'\(site)' is not a site's name")
        }
        return WhyQuestion(group: group, source: source, vlan: try number(), site: site)
    }

    private func number() throws -> VLAN {
        guard let vlan else { return .untagged }
        let isService = vlan.hasPrefix("s")
        guard let identifier = UInt16(isService ? vlan.dropFirst() : vlan[...]), (1...4094).contains(identifier) else {
            throw ValidationError("'\(vlan)' is not a VLAN: 1 to 4094, or s1 to s4094")
        }
        return VLAN(identifier: identifier, isService: isService)
    }
}
