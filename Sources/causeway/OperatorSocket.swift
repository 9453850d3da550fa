// How the command line reaches a running gateway: its local socket.

import Basics
import Foundation
import LinuxIO
import Operator

enum OperatorSocket {
    /// The gateway's answer: JSON that is no error.
    /// - Parameter path: `nil`: the only socket there is.
    static func ask(_ request: OperatorRequest, at path: String?) throws -> Data {
        let answer = try exchange(request, try path ?? onlySocket())
        guard let object = try? JSONSerialization.jsonObject(with: answer) as? [String: Any] else {
            throw Failure("the gateway's answer ended early (\(answer.count) octets): try again")
        }
        if let error = object["error"] as? String { throw Failure("the gateway refuses: \(error)") }
        return answer
    }

    private static let directory = "/run/causeway"

    private static func onlySocket() throws -> String {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        let sockets = names.filter { $0.hasSuffix(".sock") }.sorted()
        switch sockets.count {
        case 1: return "\(directory)/\(sockets[0])"
        case 0: throw Failure("no gateway has a socket in \(directory): name it with --socket PATH")
        default:
            throw Failure(
                "several gateways have sockets in \(directory) (\(sockets.joined(separator: ", "))): name one with --socket PATH"
            )
        }
    }

    /// Sends the request and reads the whole answer, for at most a minute of silence.
    private static func exchange(_ request: OperatorRequest, _ path: String) throws -> Data {
        do throws(IOError) {
            let connection = try LocalConnection.connect(path: path, timeout: .seconds(2))
            _ = try connection.write(Array(request.line.utf8))
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
