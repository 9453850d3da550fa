// `causeway show`: asks a running gateway over its local socket.

import ArgumentParser
import Basics
import Foundation
import LinuxIO
import Operator

extension ShowTopic: ExpressibleByArgument {}

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows what a running gateway knows and has counted.",
        discussion: """
            status  the gateway at a glance
            peers   the other gateways: state, address, cipher, traffic
            ports   the LAN ports: device, state, traffic
            macs    which host is behind which port or peer
            drops   what was dropped, and why
            """)

    @Argument(help: "One of: \(ShowTopic.allCases.map(\.rawValue).joined(separator: ", ")).")
    var topic: ShowTopic

    @Option(help: "The gateway's control.socket. Not needed while /run/causeway holds only one.", completion: .file())
    var socket: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let answer = try ask(try socket ?? onlySocket())
        guard let object = try? JSONSerialization.jsonObject(with: answer) as? [String: Any] else {
            throw Failure("the gateway's answer ended early (\(answer.count) octets): try again")
        }
        if let error = object["error"] as? String { throw Failure("the gateway refuses: \(error)") }
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

    private static let directory = "/run/causeway"

    private func onlySocket() throws -> String {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: Show.directory)) ?? []
        let sockets = names.filter { $0.hasSuffix(".sock") }.sorted()
        switch sockets.count {
        case 1: return "\(Show.directory)/\(sockets[0])"
        case 0: throw Failure("no gateway has a socket in \(Show.directory): name it with --socket PATH")
        default:
            throw Failure(
                "several gateways have sockets in \(Show.directory) (\(sockets.joined(separator: ", "))): name one with --socket PATH"
            )
        }
    }

    /// Sends the request and reads the whole answer, for at most a minute of silence.
    private func ask(_ path: String) throws -> Data {
        do throws(IOError) {
            let connection = try LocalConnection.connect(path: path, timeout: .seconds(2))
            _ = try connection.write(Array("show \(topic.rawValue)\n".utf8))
            var answer = Data()
            var end = MonotonicClock.now() + .seconds(60)
            while MonotonicClock.now() < end {
                guard connection.waitReadable(timeout: .seconds(1)) else { continue }
                switch try connection.read(limit: 1 << 20) {
                case .bytes(let bytes):
                    answer.append(contentsOf: bytes)
                    end = MonotonicClock.now() + .seconds(60)
                case .nothingYet: continue
                case .closed: return answer
                }
            }
        } catch {
            throw Failure(error)
        }
        throw Failure("\(path): the gateway has not answered within a minute")
    }
}
