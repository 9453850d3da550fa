// `causeway peer`: peers of a running gateway, named and forgotten over its local socket.

import ArgumentParser
import Foundation
import Operator
import Settings

struct PeerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peer", abstract: "Connects a running gateway with another one, or forgets it.",
        subcommands: [AddPeer.self, RemovePeer.self])
}

struct SocketOption: ParsableArguments {
    @Option(help: "The gateway's control.socket. Not needed while /run/causeway holds only one.", completion: .file())
    var socket: String?

    /// Prints what the gateway has done.
    func ask(_ request: OperatorRequest) throws {
        let answer = try JSON.decode([String: String].self, from: OperatorSocket.ask(request, at: socket))
        print(answer["result"] ?? "done")
    }
}

struct AddPeer: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Names one more gateway.",
        discussion: """
            The other gateway has to name this one as well, unless both have passes of one authority. With - for the key it is \
            some member of the mesh, to find the others by. With peers.file in the configuration it is there after the next start.
            """)

    @Argument(help: "A name for it.") var name: String
    @Argument(help: "Its public key, as causeway genkey prints it, or -.") var key: String
    @Argument(help: "Where it listens: HOST:PORT, up to 8. Without one, its call is waited for.") var addresses: [String] = []
    @OptionGroup var gateway: SocketOption

    func validate() throws { _ = try order() }

    private func order() throws -> PeerOrder {
        do throws(PeerOrder.Mistake) {
            return try PeerOrder(name: name, key: key, addresses: addresses)
        } catch { throw ValidationError(error.description) }
    }

    func run() throws { try gateway.ask(.addPeer(try order())) }
}

struct RemovePeer: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Forgets a gateway; its sessions end at once.",
        discussion: "One that the configuration file names is there again at the next start.")

    @Argument(help: "The peer's name.") var name: String
    @OptionGroup var gateway: SocketOption

    func validate() throws {
        guard !name.isEmpty, !name.contains(where: \.isWhitespace) else { throw ValidationError("'\(name)' is not a name") }
    }

    func run() throws { try gateway.ask(.removePeer(name)) }
}
