// What happens to the frames of a datagram that a congested router on the WAN has marked: they leave the tunnel as RFC 6040
// says, so that the mark gets to who can slow down. It happens where the datagram was opened, before frames are switched.
// Segments of control channels and frames that are not IP carry no mark, and nothing becomes of them.

import Basics
import Buffers
import Tunnels
import Wire

extension LaneCore {
    /// The same as `unpack` for a datagram that came with `congestion`, which changes frames.
    @inline(never)
    mutating func unpack(_ text: inout MutableRawSpan, _ peer: PeerIndex, _ at: Stretch, _ congestion: Congestion) {
        let place = at.reassembler
        guard var cursor = reassemblers[place].begin(text.bytes, stream: at.stream, counter: at.counter, at: at.instant) else {
            return bridge.counters.add(.malformedPacking)
        }
        reassemblers[place].note(mark: congestion.rawValue, stream: at.stream, counter: at.counter)
        if reassemblers[place].isWaiting { notePartial(peer, at) }
        while true {
            switch reassemblers[place].next(&cursor, text.bytes, stream: at.stream, counter: at.counter, at: at.instant) {
            case .record(.frame, let offset, let count):
                var frame = text._mutatingExtracting(offset..<(offset &+ count))
                if TrafficOctet.decapsulate(&frame, from: congestion) {
                    bridge.switchFromPeer(frame.bytes, peer, at.instant)
                } else {
                    countUnmarked(peer)
                }
            case .record where isRouted(at): break
            case .record(.control, let offset, let count):
                bridge.punt(segment: text.bytes.extracting(offset..<(offset &+ count)), from: peer)
            case .record(.probe, let offset, let count):
                let size = text.byteCount
                handleProbe(text.bytes.extracting(offset..<(offset &+ count)), from: peer, datagram: size, at.instant)
            case .skipped: break
            case .partial:
                reassemblers[place].note(mark: congestion.rawValue, stream: at.stream, counter: at.counter)
                notePartial(peer, at)
            case .malformed: return bridge.counters.add(.malformedPacking)
            case .end: return
            }
        }
    }

    /// The same for a frame that was just joined from pieces, some of which came marked. False for one that must be dropped,
    /// which has been counted.
    @inline(never)
    mutating func markJoined(_ count: Int, _ peer: PeerIndex, _ at: Stretch) -> Bool {
        let congestion = Congestion(octet: reassemblers[at.reassembler].joinedMark)
        if LaneCore.decapsulate(&reassemblers[at.reassembler], count, congestion) { return true }
        countUnmarked(peer)
        return false
    }

    private static func decapsulate(_ reassembler: inout Reassembler, _ count: Int, _ congestion: Congestion) -> Bool {
        var frame = reassembler.mutableJoinedRecord(count)
        return TrafficOctet.decapsulate(&frame, from: congestion)
    }

    private mutating func countUnmarked(_ peer: PeerIndex) {
        bridge.counters.add(peer, .framesIn)
        bridge.counters.add(.congestionUnmarked)
    }
}
