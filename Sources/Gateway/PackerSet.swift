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

/// One class of one peer.
struct ClassPacker: ~Copyable {
    var packer: Packer
    /// What the frames in it have in common.
    var mark = RunMark()
}

struct PackerSet: ~Copyable {
    /// The size of a full datagram, in octets of UDP payload.
    private(set) var datagramSize: Int
    /// By the raw value of the class; none until `open`.
    private var classes = FixedArray<ClassPacker>(count: 0) { _ in ClassPacker(packer: Packer(datagramSize: 128)) }

    private static let frameCapacity = 192 * 1024
    /// The tunnel's own datagrams are few, and lost ones are sent again.
    private static let controlCapacity = 96 * 1024
    /// Octets of the tunnel's own for which there must be room.
    static let controlHeadroom = Int(PackingLayout.lengthMask) + 1

    init(datagramSize: Int) { self.datagramSize = datagramSize }

    /// Takes the memory; nothing happens the second time.
    mutating func open() {
        if classes.count > 0 { return }
        let size = datagramSize
        classes = FixedArray(count: TrafficClass.count) { number in
            let capacity = number == TrafficClass.control.place ? PackerSet.controlCapacity : PackerSet.frameCapacity
            return ClassPacker(packer: Packer(datagramSize: size, capacity: max(capacity, 8 * size)))
        }
    }

    /// Octets in finished datagrams of a class.
    func finishedBytes(_ trafficClass: TrafficClass) -> Int {
        classes.count == 0 ? 0 : classes[trafficClass.place].packer.finishedBytes
    }

    func mark(_ trafficClass: TrafficClass) -> RunMark {
        classes.count == 0 ? RunMark() : classes[trafficClass.place].mark
    }

    /// Precondition: opened.
    @_lifetime(borrow self)
    func finished(_ trafficClass: TrafficClass) -> RawSpan { classes[trafficClass.place].packer.finished() }

    func hasRoom(for bytes: Int, _ trafficClass: TrafficClass) -> Bool {
        classes.count == 0 || classes[trafficClass.place].packer.hasRoom(for: bytes)
    }

    var isEmpty: Bool {
        for number in 0..<classes.count
        where classes[number].packer.finishedBytes > 0 || classes[number].packer.hasOpenDatagram {
            return false
        }
        return true
    }

    /// Precondition: empty.
    mutating func setDatagramSize(_ size: Int) {
        datagramSize = size
        for number in 0..<classes.count { classes[number].packer.setDatagramSize(size) }
    }

    /// How many more octets are in finished datagrams than before; `nil`, and nothing changed, when there is no room or no
    /// number. Precondition: opened.
    @inline(__always)
    mutating func append(_ frame: RawSpan, _ mark: FrameMark, sender: inout StreamSender) -> Int? {
        PackerSet.append(frame, mark.octet, &classes[Int(mark.place)], &sender)
    }

    @inline(__always)
    private static func append(
        _ frame: RawSpan, _ octet: UInt8, _ place: inout ClassPacker, _ sender: inout StreamSender
    ) -> Int? {
        let finished = place.packer.finishedBytes
        guard place.packer.append(frame, sender: &sender) else { return nil }
        place.mark.add(octet)
        return place.packer.finishedBytes &- finished
    }

    /// Precondition: opened.
    mutating func append(control segment: RawSpan, sender: inout StreamSender) -> Bool {
        classes[TrafficClass.control.place].packer.append(segment, kind: .control, sender: &sender)
    }

    /// Precondition: opened.
    mutating func appendEmpty(sender: inout StreamSender) -> Bool {
        classes[TrafficClass.control.place].packer.appendEmpty(sender: &sender)
    }

    mutating func finish(sender: inout StreamSender) {
        for number in 0..<classes.count { classes[number].packer.finish(sender: &sender) }
    }

    mutating func removeAll() {
        for number in 0..<classes.count {
            classes[number].packer.removeAll()
            classes[number].mark = RunMark()
        }
    }
}
