// The parsers of handshake datagrams, of what is inside them, and of probes: whatever is read can be written and is read again,
// and nothing that was not made with a key passes for it.

import Basics
import Buffers
import Tunnels

enum HandshakeFuzzing {
    private static let key = KeyPair(privateKey: [UInt8](repeating: 3, count: 32))!.publicKey

    static func run(_ input: [UInt8]) -> [String] {
        var problems: [String] = []
        func check(_ holds: Bool, _ what: String) { if !holds { problems.append(what) } }

        if let initiation = Initiation(input) {
            check(initiation.message.count + Initiation.headerBytes + HandshakeMAC.bytes <= input.count, "an initiation grew")
            check(initiation.mac.count == HandshakeMAC.bytes, "a mac of another length")
            check(!initiation.hasCookie([UInt8](repeating: 1, count: 16)), "a cookie that nobody gave")
            let again = Initiation(Initiation.datagram(message: initiation.message, to: key))
            check(again?.message == initiation.message && again?.cookieMAC == nil, "an initiation is not read back")
        }
        if let (stream, message, isHybrid) = Response.parse(input) {
            let again = Response.parse(Response.datagram(message: message, for: stream, to: key, isHybrid: isHybrid))
            check(again.map { $0 == (stream, message, isHybrid) } ?? false, "a response is not read back")
        }
        if let reply = CookieReply(input) {
            check(reply.cookie(from: key) == nil, "a cookie reply that nobody made")
            check(reply.mac == Array(input[4..<20]), "another initiation's mac")
        }
        if let (stream, encapsulationKey) = Annex.parse(input) {
            let again = Annex.parse(Annex.datagram(stream: stream, key: encapsulationKey, to: key))
            check(again.map { $0 == (stream, encapsulationKey) } ?? false, "an annex is not read back")
        }
        if let payload = Initiation.Payload(input) {
            check(Initiation.Payload(payload.encoded) == payload, "an initiation's payload is not read back")
        }
        if let payload = Response.Payload(input) {
            check(Response.Payload(payload.encoded) == payload, "a response's payload is not read back")
        }
        check(!HandshakeMAC.isValid(input, for: key), "a mac that nobody made")
        let claimsCookie = input.count > 2 && input[0] == DatagramKind.initiation.rawValue && input[2] & 1 != 0
        // Every kind has a header of four octets.
        if input.count >= 4 && !claimsCookie {
            check(HandshakeMAC.isValid(HandshakeMAC.appended(to: input, for: key), for: key), "a right mac is refused")
        }
        if let probe = input.withRawSpan({ ProbeRecord($0) }) {
            check(octets(probe.word) == Array(input.prefix(8)), "a probe is not written as it was read")
            check(probe.datagramSize >= ProbeRecord.datagramBytes && probe.datagramSize <= 65_535, "a probe's datagram")
            check(probe.reply.datagramSize == ProbeRecord.datagramBytes, "a reply is longer than it need be")
        }
        return problems
    }
}
