// Frames of one flow that arrive from the mesh back to back leave for the LAN as one super-frame, for a kernel takes 64 KiB
// as fast as it takes 64 octets. A frame joins only the record before it, so the order stays what it was, and only what this
// batch brings: nothing waits. Neighbours: Wire's `Coalescer` says what may join, `FrameArena` holds it, LinuxIO sends it.

import Basics
import Buffers
import Wire

extension Bridge {
    /// Puts a peer's frame into the arena: behind the frame before it, if that is of the same flow and for the same ports and
    /// all of these take super-frames. False when there is no room.
    mutating func deliver(_ frame: RawSpan, _ header: FrameHeader, to ports: PortSet) -> Bool {
        if !ports.isSubset(of: coalescing) { return frames.append(frame, to: ports) }
        if run.frames > 0 {
            // Something else may have been put behind the run.
            if runIndex == frames.count &- 1, frames.record(runIndex).ports == ports,
                Bridge.extend(&run, in: &frames, with: frame)
            {
                return true
            }
            closeRun()
        }
        guard frames.append(frame, to: ports) else { return false }
        if let run = Coalescer(frame, header, udp: ports.isSubset(of: coalescingUDP)) {
            self.run = run
            runIndex = frames.count &- 1
        }
        return true
    }

    /// True when the frame has joined the run, which is the arena's last record.
    private static func extend(_ run: inout Coalescer, in frames: inout FrameArena, with frame: RawSpan) -> Bool {
        guard run.admits(frame, after: frames.frame(frames.count &- 1)),
            frames.extendLast(with: frame, skipping: run.payloadOffset)
        else { return false }
        run.join(frame)
        return true
    }

    /// Ends the run: its headers become those of a super-frame, if it is one. Before the driver looks at the arena, always.
    mutating func closeRun() {
        if run.frames > 1 { Bridge.finish(run, in: &frames, at: runIndex) }
        run = Coalescer()
    }

    private static func finish(_ run: Coalescer, in frames: inout FrameArena, at index: Int) {
        var octets = frames.mutableFrame(index)
        let offload = run.finish(&octets)
        frames.setOffload(offload, of: index)
    }

    /// Empties the arena.
    mutating func removeFrames() {
        frames.removeAll()
        run = Coalescer()
    }
}
