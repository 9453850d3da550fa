// What is shown of group streams: the JSON with its keys, and the table.

import Basics
import Foundation
import Testing

@testable import Gateway
@testable import Operator

@Suite struct StreamsDocumentTests {
    private func snapshot() -> GatewaySnapshot {
        var snapshot = makeSnapshot()
        snapshot.streams.sealed = [
            StreamSnapshot.Sealed(
                group: 3, stream: 0x00AB_CDEF, members: [PeerIndex(0), PeerIndex(2)], state: .renewing, cipher: .aes256gcm,
                since: snapshot.taken - .seconds(61))
        ]
        snapshot.streams.taken = [StreamSnapshot.Taken(stream: 7, origin: PeerIndex(1))]
        (snapshot.streams.installed, snapshot.streams.failed, snapshot.streams.refused) = (11, 12, 13)
        let link = PeerIndex(snapshot.layout.peers + 3)
        snapshot.counters[snapshot.layout.index(link, .framesOut)] = 901
        snapshot.counters[snapshot.layout.index(link, .datagramsOut)] = 902
        snapshot.counters[snapshot.layout.index(link, .bytesOut)] = 903
        snapshot.counters[snapshot.layout.index(LaneGauge.relayed)] = 14
        return snapshot
    }

    @Test func documentHasWhatWasCounted() throws {
        let document = try JSON.decode(StreamsDocument.self, from: JSON.answer(.streams, snapshot()))
        #expect(
            document.sealed == [
                StreamsDocument.Sealed(
                    identifier: "00abcdef", audience: ["ams", "tokyo"], state: "renewing", cipher: "aes-256-gcm", age: 61,
                    frames: 901, datagrams: 902, bytes: 903)
            ])
        #expect(document.taken == [StreamsDocument.Taken(identifier: "00000007", origin: "nyc")])
        #expect([document.installed, document.failed, document.refused, document.relayed] == [11, 12, 13, 14])
    }

    @Test func tableIsForPeople() throws {
        let lines = try Tables.text(.streams, json: JSON.answer(.streams, snapshot())).split(separator: "\n")
        #expect(lines.contains { $0.contains("00abcdef") && $0.contains("ams, tokyo") && $0.contains("903") })
        #expect(lines.contains("stream 00000007 of site nyc is taken"))
        #expect(lines.last == "11 came into use, 12 failed, 13 of other sites refused, 14 datagrams forwarded")
        let empty = try Tables.text(.streams, json: JSON.answer(.streams, makeSnapshot(isEmpty: true)))
        #expect(empty.hasPrefix("no audience of several sites has a stream"))
    }
}
