// What an operator is shown of group streams: the answer to `causeway show streams`.

import Basics
import Foundation
import Gateway
import TextTable
import Tunnels

public struct StreamsDocument: Codable, Sendable, Equatable {
    /// A stream that this gateway seals for several sites.
    public struct Sealed: Codable, Sendable, Equatable {
        /// Eight hexadecimal digits.
        public var identifier: String
        /// Names of sites.
        public var audience: [String]
        /// `begun`: some site has still to say that it has the key; `in-use`; `renewing`: in use, and to be replaced.
        public var state: String
        public var cipher: String
        public var age: Double
        /// Since the audience has a stream: each counted once, however many sites there are.
        public var frames: UInt64
        public var datagrams: UInt64
        public var bytes: UInt64
    }

    /// A stream of another site's that is taken here.
    public struct Taken: Codable, Sendable, Equatable {
        public var identifier: String
        public var origin: String
    }

    public var site: String
    public var sealed: [Sealed]
    public var taken: [Taken]
    /// Streams that came into use since the start, and those that a site refused or did not answer.
    public var installed: UInt64
    public var failed: UInt64
    /// Streams of other sites that were refused here.
    public var refused: UInt64
    /// Datagrams of other sites' streams that were forwarded, each once for each site that it went to.
    public var relayed: UInt64

    public init(_ snapshot: GatewaySnapshot) {
        let streams = snapshot.streams
        site = snapshot.site
        sealed = streams.sealed.map { stream in
            Sealed(
                identifier: hexadecimal(stream.stream),
                audience: stream.members.map { $0.index < snapshot.peers.count ? snapshot.peers[$0.index].name : "?" },
                state: stream.state.rawValue, cipher: stream.cipher.name, age: seconds(snapshot.taken - stream.since),
                frames: snapshot[group: stream.group, .framesOut], datagrams: snapshot[group: stream.group, .datagramsOut],
                bytes: snapshot[group: stream.group, .bytesOut])
        }
        taken = streams.taken.map {
            Taken(
                identifier: hexadecimal($0.stream),
                origin: $0.origin.index < snapshot.peers.count ? snapshot.peers[$0.origin.index].name : "?")
        }
        (installed, failed, refused) = (streams.installed, streams.failed, streams.refused)
        relayed = snapshot[LaneGauge.relayed]
    }
}

func hexadecimal(_ stream: UInt32) -> String {
    let digits = String(stream, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
}

extension Tables {
    public static func text(_ document: StreamsDocument) -> String {
        var text = ""
        if document.sealed.isEmpty {
            text += "no audience of several sites has a stream: each gets copies of its own\n"
        } else {
            let table = TextTable<StreamsDocument.Sealed> {
                [
                    Column(title: "stream", value: $0.identifier),
                    Column(title: "audience", value: $0.audience.joined(separator: ", ")),
                    Column(title: "state", value: $0.state),
                    Column(title: "cipher", value: $0.cipher),
                    Column(title: "since", value: age($0.age), align: .right),
                    Column(title: "frames", value: $0.frames, align: .right),
                    Column(title: "datagrams", value: $0.datagrams, align: .right),
                    Column(title: "octets", value: $0.bytes, align: .right),
                ]
            }
            text += lines(table.string(for: document.sealed))
        }
        for stream in document.taken { text += "stream \(stream.identifier) of site \(stream.origin) is taken\n" }
        text += "\(document.installed) came into use, \(document.failed) failed, \(document.refused) of other sites refused"
        return text + (document.relayed > 0 ? ", \(document.relayed) datagrams forwarded\n" : "\n")
    }
}
