// What the driver tells a lane beside frames and datagrams: what became of what it was given to send, and what the kernel says of
// ports and sockets. All of it is counted; none of it decides where a frame goes.

import Basics
import Switching

extension LaneCore {
    /// What became of a run.
    public mutating func handleTransmitted(_ peer: PeerIndex, datagrams: Int, bytes: Int, failed: Int) {
        bridge.counters.add(peer, .datagramsOut, UInt64(truncatingIfNeeded: datagrams))
        bridge.counters.add(peer, .bytesOut, UInt64(truncatingIfNeeded: bytes))
        if failed > 0 { bridge.counters.add(.sendFailed, UInt64(truncatingIfNeeded: failed)) }
    }

    /// Datagrams of control's that could not be sent.
    public mutating func handleUnsent(datagrams: Int) {
        isActive = true
        bridge.counters.add(.sendFailed, UInt64(truncatingIfNeeded: datagrams))
    }

    /// A datagram without a single octet.
    public mutating func handleEmptyDatagram() {
        isActive = true
        bridge.counters.add(.malformedDatagram)
    }

    /// What became of the frames for a port; a super-frame counts as the frames that it stands for.
    public mutating func handleDelivered(_ port: PortIndex, frames: Int, bytes: Int, failed: Int) {
        bridge.counters.add(port, .framesOut, UInt64(truncatingIfNeeded: frames))
        bridge.counters.add(port, .bytesOut, UInt64(truncatingIfNeeded: bytes))
        if failed > 0 { bridge.counters.add(.portSendFailed, UInt64(truncatingIfNeeded: failed)) }
    }

    /// What a port takes from here on, within what the configuration allows: a driver may find out late that the kernel cuts
    /// no super-frames there. What is already joined stays so.
    public mutating func handleCoalescing(_ port: PortIndex, tcp: Bool, udp: Bool) {
        func changed(_ set: PortSet, _ allowed: PortSet, _ takes: Bool) -> PortSet {
            takes && allowed.contains(port) ? set.inserting(port) : set.removing(port)
        }
        bridge.coalescing = changed(bridge.coalescing, configuration.coalescing, tcp)
        bridge.coalescingUDP = changed(bridge.coalescingUDP, configuration.coalescingUDP, tcp && udp)
    }

    /// A port handed over only a part of a frame, or its filter refused one: the frame goes nowhere.
    public mutating func handleLostFrame(_ reason: DropReason, on port: PortIndex) {
        bridge.counters.add(port, .framesIn)
        bridge.counters.add(reason)
    }

    /// What the kernel says of a port: whether it is up, and how many frames it could not hand over since the start.
    public mutating func handlePortState(_ port: PortIndex, isUp: Bool, captureDrops: UInt64) {
        bridge.counters.set(port, .isUp, to: isUp ? 1 : 0)
        bridge.counters.set(port, .captureDrops, to: captureDrops)
        var total: UInt64 = 0
        for index in 0..<configuration.ports { total &+= bridge.counters[PortIndex(index), .captureDrops] }
        bridge.counters.set(.captureOverrun, to: total)
        isActive = true
    }

    /// The kernel's count of datagrams that it could not hand over since the start.
    public mutating func handleSocketState(receiveDrops: UInt64) {
        bridge.counters.set(.receiveOverrun, to: receiveDrops)
        isActive = true
    }
}
