// From what an operator wrote to what the two halves are made with: the same for a live gateway and for a replay.

import Settings
import Tunnels

extension LaneConfiguration {
    public init(_ tuning: SiteTuning, ports: Int, peers: Int) {
        self.init(
            ports: ports, peers: peers, macLimit: tuning.macLimit, macAgeing: tuning.macAgeing, pathMTU: tuning.pathMTU,
            keepalive: tuning.keepalive)
    }
}

extension ControlConfiguration {
    public init(_ tuning: SiteTuning, identity: KeyPair, presharedKey: [UInt8]? = nil, peers: [Peer]) {
        self.init(
            identity: identity, presharedKey: presharedKey, peers: peers, ciphers: CipherSet(tuning.cipher),
            keepalive: tuning.keepalive, rekeyTime: tuning.rekeyTime, rekeyDatagrams: tuning.rekeyDatagrams)
    }
}

extension CipherSet {
    /// The ciphers that a setting allows on this processor; empty when it asks for one that the processor lacks.
    public init(_ choice: CipherChoice) {
        switch choice {
        case .automatic: self = .supported
        case .aes256GCM: self = CipherSet.supported.intersection(.aes256gcm)
        case .chaCha20Poly1305: self = .chacha20poly1305
        }
    }
}
