// What is in a datagram that was opened: records for the bridge, for control and for the path, and parts of records that run on.

import Basics
import Buffers
import Tunnels
import Wire

extension LaneCore {
    /// Takes what is in an opened datagram.
    @inline(__always)
    mutating func unpackOpened(_ datagram: inout MutableRawSpan, _ peer: PeerIndex, _ stretch: Stretch, _ congestion: Congestion)
    {
        let body = SealedLayout.headerBytes..<(datagram.byteCount &- SealedLayout.tagBytes)
        if congestion.changesFrames {
            var text = datagram._mutatingExtracting(body)
            unpack(&text, peer, stretch, congestion)
        } else {
            unpack(datagram.bytes.extracting(body), peer, stretch)
        }
    }

    /// Where in which stream a datagram stands.
    struct Stretch: BitwiseCopyable {
        var reassembler: Int
        var stream: UInt32
        var counter: UInt64
        var instant: Instant
    }

    mutating func unpack(_ text: RawSpan, _ peer: PeerIndex, _ at: Stretch) {
        guard
            var cursor = reassemblers[at.reassembler].begin(text, stream: at.stream, counter: at.counter, at: at.instant)
        else { return bridge.counters.add(.malformedPacking) }
        if bridge.hasLargeTables { prefetch(text, cursor) }
        // A record that ends at this datagram's start comes before those that begin in it.
        if reassemblers[at.reassembler].isWaiting { notePartial(peer, at) }
        while true {
            switch reassemblers[at.reassembler].next(&cursor, text, stream: at.stream, counter: at.counter, at: at.instant) {
            case .record(.frame, let offset, let count):
                bridge.switchFromPeer(text.extracting(offset..<(offset &+ count)), peer, at.instant)
            // Any member could have made them where the stream is a group's.
            case .record where isRouted(at): break
            case .record(.control, let offset, let count):
                bridge.punt(segment: text.extracting(offset..<(offset &+ count)), from: peer)
            case .record(.probe, let offset, let count):
                handleProbe(text.extracting(offset..<(offset &+ count)), from: peer, datagram: text.byteCount, at.instant)
            case .skipped: break
            case .partial: notePartial(peer, at)
            case .malformed: return bridge.counters.add(.malformedPacking)
            case .end: return
            }
        }
    }

    /// The same as `prefetch` for the records of a datagram, as many as a processor fetches for at once. One that runs on is among
    /// them: it is joined when the next datagram comes.
    private func prefetch(_ text: RawSpan, _ records: UnpackCursor) {
        var records = records
        var left = 12
        while left > 0, let record = records.skim(text) {
            bridge.prefetch(text.extracting(record.offset..<(record.offset &+ record.count)))
            left &-= 1
        }
    }

    /// There are parts of records, whose other parts are there or will come.
    mutating func notePartial(_ peer: PeerIndex, _ at: Stretch) {
        scheduleTimeout(at: at.instant + Reassembler.patience / 2)
        deliverJoined(peer, at)
    }

    mutating func deliverJoined(_ peer: PeerIndex, _ at: Stretch) {
        while let (kind, count) = reassemblers[at.reassembler].join(stream: at.stream, counter: at.counter, at: at.instant) {
            if kind == .frame {
                // Other parts of it may have come marked.
                if reassemblers[at.reassembler].joinedMark != 0 && !markJoined(count, peer, at) { continue }
                bridge.switchFromPeer(joinedIn: reassemblers, at: at.reassembler, count: count, peer, at.instant)
            } else if kind == .control && !isRouted(at) {
                bridge.punt(segmentIn: reassemblers, at: at.reassembler, count: count, from: peer)
            }
        }
    }
}
