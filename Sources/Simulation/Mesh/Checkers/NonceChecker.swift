// Looks at every sealed datagram that a simulated gateway sends: no number is used for two texts under one key. What is sent to
// several sites is the same text, so a number may come again with the same octets; a stream's identifier may come again with
// another key, once its gateway has agreed on a session since, or was restarted, and its counter then begins anew.

import Basics
import Tunnels

struct NonceChecker {
    private struct Stream {
        var last: UInt64
        /// What the gateway's epoch was when the stream began.
        var epoch: UInt64
        /// Of the last numbers, each at its own place, what was sealed with them.
        var texts: [UInt64]

        init(_ counter: UInt64, _ text: UInt64, _ epoch: UInt64) {
            last = counter
            self.epoch = epoch
            texts = Array(repeating: 0, count: NonceChecker.window)
            texts[Int(counter % UInt64(NonceChecker.window))] = text
        }
    }

    /// Numbers that are remembered of a stream: copies for several sites are a batch apart.
    static let window = 128
    private var streams: [UInt64: Stream] = [:]
    private(set) var datagrams: UInt64 = 0

    /// - Parameter epoch: differs whenever the gateway may have new keys.
    /// - Returns: what is wrong with it; `nil` where nothing is, and for what is not sealed or another site's.
    mutating func handleSent(_ bytes: [UInt8], by site: Int, epoch: UInt64) -> String? {
        guard bytes.count > SealedLayout.headerBytes, DatagramKind(rawValue: bytes[0]) == .sealed else { return nil }
        // One that has been passed on was sealed elsewhere: whoever seals sets all hops.
        if bytes[1] & 0x80 != 0 && bytes[1] & 0x0F != SealedLayout.hopLimit { return nil }
        datagrams += 1
        let head = bytes[2..<8].reduce(UInt64(site)) { $0 << 8 | UInt64($1) }
        let counter = bytes[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let text = bytes[16...].reduce(UInt64(0xCBF2_9CE4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 } | 1
        guard var stream = streams[head] else {
            streams[head] = Stream(counter, text, epoch)
            return nil
        }
        let place = Int(counter % UInt64(NonceChecker.window))
        if counter > stream.last {
            // What was skipped is not known to be used.
            let skipped = min(counter - stream.last - 1, UInt64(NonceChecker.window - 1))
            for back in 0..<skipped { stream.texts[Int((counter - 1 - back) % UInt64(NonceChecker.window))] = 0 }
            stream.last = counter
            stream.texts[place] = text
            streams[head] = stream
            return nil
        }
        if stream.last - counter < UInt64(NonceChecker.window) {
            if stream.texts[place] == text { return nil }
            if stream.texts[place] == 0 {
                streams[head]?.texts[place] = text
                return nil
            }
        }
        guard counter == 0, epoch != stream.epoch else {
            return "site \(site) seals two texts with number \(counter) of stream \(head)"
        }
        streams[head] = Stream(counter, text, epoch)
        return nil
    }
}
