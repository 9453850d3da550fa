// What the kernel does for one lane, as it last turned out: a field of bits, which the lane stores and control reads.
//
//     | UDP segmentation 1 | UDP coalescing 1 | ... 16 | for each port: receive metadata 1, TCP 1, UDP 1 |

import Basics

public struct LaneOffloads: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt64

    public init(rawValue: UInt64 = 0) { self.rawValue = rawValue }

    /// Of one port.
    public struct Port: Hashable, Sendable, BitwiseCopyable {
        /// Frames come with what local senders left undone: unfinished checksums, super-frames.
        public var receivesMetadata: Bool
        /// Super-frames of TCP leave for the LAN.
        public var sendsTCP: Bool
        public var sendsUDP: Bool

        public init(receivesMetadata: Bool, sendsTCP: Bool, sendsUDP: Bool) {
            self.receivesMetadata = receivesMetadata
            self.sendsTCP = sendsTCP
            self.sendsUDP = sendsUDP
        }
    }

    private static let firstPort: UInt64 = 16
    private static let bitsPerPort: UInt64 = 3

    /// The kernel cuts what goes to a peer into datagrams.
    public var segmentsDatagrams: Bool {
        get { self[bit: 0] }
        set { self[bit: 0] = newValue }
    }

    /// The kernel joins datagrams of a peer.
    public var joinsDatagrams: Bool {
        get { self[bit: 1] }
        set { self[bit: 1] = newValue }
    }

    public subscript(port: PortIndex) -> Port {
        get {
            let first = LaneOffloads.firstBit(port)
            return Port(receivesMetadata: self[bit: first], sendsTCP: self[bit: first &+ 1], sendsUDP: self[bit: first &+ 2])
        }
        set {
            let first = LaneOffloads.firstBit(port)
            self[bit: first] = newValue.receivesMetadata
            self[bit: first &+ 1] = newValue.sendsTCP
            self[bit: first &+ 2] = newValue.sendsUDP
        }
    }

    /// What is in force in both.
    public func intersection(_ other: LaneOffloads) -> LaneOffloads { LaneOffloads(rawValue: rawValue & other.rawValue) }

    private static func firstBit(_ port: PortIndex) -> UInt64 {
        firstPort &+ UInt64(truncatingIfNeeded: port.index) &* bitsPerPort
    }

    private subscript(bit number: UInt64) -> Bool {
        get { rawValue >> number & 1 == 1 }
        set { rawValue = newValue ? rawValue | 1 << number : rawValue & ~(1 << number) }
    }
}

extension LaneCore {
    /// Which super-frames leave for a port.
    public func sendsSuperFrames(to port: PortIndex) -> (tcp: Bool, udp: Bool) {
        (bridge.coalescing.contains(port), bridge.coalescingUDP.contains(port))
    }
}
