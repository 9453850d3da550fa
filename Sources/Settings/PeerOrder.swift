// A peer that the operator names while the gateway runs (`causeway peer add`): as the command line gives it, as it goes over the
// control socket, and as it is kept for the next start. One line: the name, the key in base64 or `-`, and addresses.

import Basics

public struct PeerOrder: Hashable, Sendable {
    public var name: String
    /// `nil`: some member of the mesh, to find the others by.
    public var key: PublicKey?
    /// Tried in turn, at most 8; empty where its call is waited for.
    public var addresses: [PeerAddress]

    /// Why a text is no order.
    public struct Mistake: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    /// - Parameter key: base64, or `-`.
    public init(name: String, key: String, addresses: [String]) throws(Mistake) {
        do throws(ValueProblem) {
            self.name = try ValueType<String>.name.parse(name)
            self.key = key == "-" ? nil : try ValueType<PublicKey>.publicKey.parse(key)
            self.addresses =
                addresses.isEmpty ? [] : try ValueType<[PeerAddress]>.peerAddresses.parse(addresses.joined(separator: ","))
        } catch {
            throw Mistake(description: error.message + (error.hint.map { " (\($0))" } ?? ""))
        }
        if self.key == nil && addresses.isEmpty {
            throw Mistake(description: "a peer without a key is a member of the mesh, to find the others by: give its address")
        }
    }

    /// `nil` for a line that is none.
    public init?(line: String) {
        let words: [String] = line.split { $0 == " " }.map(String.init)
        guard words.count >= 2 else { return nil }
        do throws(Mistake) {
            try self.init(name: words[0], key: words[1], addresses: Array(words.dropFirst(2)))
        } catch { return nil }
    }

    /// Without a line's end.
    public var line: String { ([name, key?.base64 ?? "-"] + addresses.map(\.description)).joined(separator: " ") }
}
