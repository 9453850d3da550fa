// The packers of one peer, one for each traffic class: no datagram mixes classes, and what is urgent is sealed and sent first.
// All seal on one stream, in the order in which the runs leave, so that counters arrive in order.
//
//     append(feed)   --> | packer: feed   |  --+
//     append(normal) --> | packer: normal |  --+--> finish: control, feed, normal, bulk
//     append(bulk)   --> | packer: bulk   |  --+
//
// Memory is taken with the first session: a gateway may have many peers that it never hears. What a packer holds is a megabyte's
// fraction of address space, of which the machine gives what has been written to.

import Basics
import Buffers
import Tunnels

struct PackerSet: ~Copyable {
    /// The size of a full datagram, in octets of UDP payload.
    private(set) var datagramSize: Int
    /// By the raw value of the class; none until `open`.
    private var packers = FixedArray<Packer>(count: 0) { _ in Packer(datagramSize: 128) }
    private var marks = FixedArray<RunMark>(count: TrafficClass.count) { _ in RunMark() }

    private static let frameCapacity = 192 * 1024
    /// The tunnel's own datagrams are few, and lost ones are sent again.
    private static let controlCapacity = 96 * 1024
    /// Octets of the tunnel's own for which there must be room.
    static let controlHeadroom = Int(PackingLayout.lengthMask) + 1

    init(datagramSize: Int) { self.datagramSize = datagramSize }

    /// Takes the memory; nothing happens the second time.
    mutating func open() {
        if packers.count > 0 { return }
        let size = datagramSize
        packers = FixedArray(count: TrafficClass.count) { number in
            let isControl = number == TrafficClass.control.place
            return Packer(
                datagramSize: size, capacity: max(isControl ? PackerSet.controlCapacity : PackerSet.frameCapacity, 8 * size))
        }
    }

    func finishedBytes(_ trafficClass: TrafficClass) -> Int {
        packers.count == 0 ? 0 : packers[trafficClass.place].finishedBytes
    }

    func mark(_ trafficClass: TrafficClass) -> RunMark { marks[trafficClass.place] }

    /// Precondition: opened.
    @_lifetime(borrow self)
    func finished(_ trafficClass: TrafficClass) -> RawSpan { packers[trafficClass.place].finished() }

    func hasRoom(for bytes: Int, _ trafficClass: TrafficClass) -> Bool {
        packers.count == 0 || packers[trafficClass.place].hasRoom(for: bytes)
    }

    var isEmpty: Bool {
        for number in 0..<packers.count where packers[number].finishedBytes > 0 || packers[number].hasOpenDatagram {
            return false
        }
        return true
    }

    /// Precondition: empty.
    mutating func setDatagramSize(_ size: Int) {
        datagramSize = size
        for number in 0..<packers.count { packers[number].setDatagramSize(size) }
    }

    /// Precondition: opened.
    @inline(__always)
    mutating func append(_ frame: RawSpan, _ mark: FrameMark, sender: inout StreamSender) -> Bool {
        let place = mark.trafficClass.place
        guard packers[place].append(frame, sender: &sender) else { return false }
        marks[place].add(mark.octet)
        return true
    }

    /// Precondition: opened.
    mutating func append(control segment: RawSpan, sender: inout StreamSender) -> Bool {
        packers[TrafficClass.control.place].append(segment, kind: .control, sender: &sender)
    }

    /// Precondition: opened.
    mutating func appendEmpty(sender: inout StreamSender) -> Bool { packers[TrafficClass.control.place].appendEmpty(sender: &sender) }

    mutating func finish(sender: inout StreamSender) {
        for number in 0..<packers.count { packers[number].finish(sender: &sender) }
    }

    mutating func removeAll() {
        for number in 0..<packers.count {
            packers[number].removeAll()
            marks[number] = RunMark()
        }
    }
}
