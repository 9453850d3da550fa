// The operators' side of control: connections to the local socket. A request is one line (`OperatorRequest`); the answer is one
// JSON document, and then the connection is closed. Nothing here ever blocks: a client that does not read is dropped after a
// few seconds, and there are only so many at once.

import Basics
import Foundation
import LinuxIO
import Operator

struct OperatorClients: ~Copyable {
    private static let limit = 16
    private static let requestLimit = 8_192
    /// For sending a request, and for taking the next part of an answer.
    private static let patience = Interval.seconds(5)
    /// For making an answer.
    private static let workLimit = Interval.seconds(60)

    private final class Client {
        let number: Int
        let connection: LocalConnection
        /// The last progress.
        var since: Instant
        var request: [UInt8] = []
        var isRead = false
        /// The MAC listing that it waits for.
        var token: UInt32?
        var answer: Data?
        var written = 0
        var isDone = false

        init(_ number: Int, _ connection: consuming LocalConnection, _ now: Instant) {
            self.number = number
            self.connection = connection
            since = now
        }
    }

    private var clients: [Client] = []
    private var next = 0

    var isEmpty: Bool { clients.isEmpty }

    mutating func accept(from listener: borrowing LocalListener) {
        while let connection = listener.accept() {
            // One too many is closed at once; it reads that as no answer.
            if clients.count >= OperatorClients.limit { continue }
            clients.append(Client(next, connection, MonotonicClock.now()))
            next += 1
        }
    }

    /// The requests that have come in whole, each with its client's number.
    mutating func readRequests() -> [(Int, OperatorRequest)] {
        var requests: [(Int, OperatorRequest)] = []
        for client in clients where !client.isRead {
            guard let line = read(client) else { continue }
            client.isRead = true
            if let request = OperatorRequest(line: line) {
                requests.append((client.number, request))
            } else {
                let topics = ShowTopic.allCases.map(\.rawValue).joined(separator: ", ")
                let forms =
                    "'show' and one of \(topics), or 'why', group, source, VLAN and site, or 'revoke' and a revocation, "
                    + "or 'peer add', name, key and addresses, or 'peer remove' and a name"
                client.answer = Data("{\"error\":\"a request is \(forms)\"}\n".utf8)
            }
        }
        return requests
    }

    /// The request's line, once it is whole.
    private func read(_ client: Client) -> String? {
        do throws(IOError) {
            switch try client.connection.read(limit: OperatorClients.requestLimit) {
            case .bytes(let bytes): client.request += bytes
            case .nothingYet: break
            case .closed: client.isDone = true
            }
        } catch {
            client.isDone = true
        }
        if client.request.count > OperatorClients.requestLimit { client.isDone = true }
        guard let end = client.request.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        return String(decoding: client.request[..<end], as: UTF8.self)
    }

    mutating func wait(_ number: Int, for token: UInt32) {
        clients.first { $0.number == number }?.token = token
    }

    mutating func answer(_ number: Int, _ answer: Data) {
        guard let client = clients.first(where: { $0.number == number }) else { return }
        client.answer = answer
        client.since = MonotonicClock.now()
    }

    /// The clients that wait for a MAC listing.
    func numbers(waitingFor token: UInt32) -> [Int] { clients.filter { $0.token == token }.map(\.number) }

    /// Writes what clients have room for, and lets those go that are done or have taken too long.
    mutating func write(at now: Instant) {
        for client in clients {
            if let answer = client.answer { write(answer, to: client) }
            if now - client.since > (client.isRead && client.answer == nil ? OperatorClients.workLimit : OperatorClients.patience)
            {
                client.isDone = true
            }
        }
        clients.removeAll(where: \.isDone)
    }

    private func write(_ answer: Data, to client: Client) {
        do throws(IOError) {
            while client.written < answer.count {
                let count = try client.connection.write(answer[client.written...])
                if count == 0 { return }
                client.written += count
                client.since = MonotonicClock.now()
            }
        } catch {}
        client.isDone = true
    }
}
