// From a frame's code point to its class, and from the frames of a run to what the run's datagrams say on the outside. The
// rules are in the article Classes; who asks is `Bridge`, once for each frame that leaves for a peer.
//
//     frame --> mark: class, traffic class octet --> PackerSet: one packer a class --> run: one outer octet

import Basics
import Settings
import Wire

/// What a frame's headers say of how it wants to be treated.
struct FrameMark: BitwiseCopyable {
    /// The raw value of the class: 1 to 3.
    let place: UInt8
    /// DSCP and ECN of its packet; 0 where it carries no IP.
    let octet: UInt8

    @inline(__always)
    init(place: UInt8, octet: UInt8) {
        self.place = place
        self.octet = octet
    }

    init(_ trafficClass: TrafficClass, octet: UInt8) { self.init(place: trafficClass.rawValue, octet: octet) }

    var trafficClass: TrafficClass { TrafficClass(place: Int(place)) }
    @inline(__always) var isNormal: Bool { place == TrafficClass.normal.rawValue }
}

/// The classes as they were configured, in the form in which lanes look them up.
public struct ClassMap: Sendable, BitwiseCopyable {
    /// Bit *n* is set where code point *n* belongs to the class feed; likewise for bulk. Never in both.
    private let feed: UInt64
    private let bulk: UInt64
    /// The class of routed IP multicast whose code point says nothing, by its raw value.
    private let multicast: UInt8
    /// For each class, the outer code point, or `copied`.
    private var outer: InlineArray<4, UInt8>
    private static let copied: UInt8 = 255
    /// For each class, the outer code point of frames that do not agree.
    private static let own: InlineArray<4, UInt8> = [
        CodePoint.cs6.rawValue, CodePoint.ef.rawValue, CodePoint.cs0.rawValue, CodePoint.le.rawValue,
    ]

    public init(_ settings: ClassSettings = ClassSettings()) {
        feed = settings.feed.points.rawValue
        bulk = settings.bulk.points.rawValue & ~settings.feed.points.rawValue
        let ofMulticast: TrafficClass =
            settings.feed.hasMulticast ? .feed : settings.bulk.hasMulticast ? .bulk : .normal
        multicast = ofMulticast.rawValue
        let marks = [.point(settings.controlMark), settings.feedMark, settings.normalMark, settings.bulkMark]
        outer = InlineArray { number in
            switch marks[number] {
            case .copy: ClassMap.copied
            case .point(let point): point.rawValue
            }
        }
    }

    /// The outer traffic class octet of the tunnel's own datagrams: for handshakes, which control sends.
    public var controlOctet: UInt8 { outer[TrafficClass.control.place] << 2 }

    @inline(__always)
    func mark(_ frame: RawSpan, _ header: FrameHeader) -> FrameMark {
        guard let octet = TrafficOctet.of(frame, header) else {
            return FrameMark(place: TrafficClass.normal.rawValue, octet: 0)
        }
        let point = UInt64(octet >> 2)
        // 1 is feed, 2 normal, 3 bulk: one less, or one more.
        let place = 2 &- UInt8(truncatingIfNeeded: feed &>> point & 1) &+ UInt8(truncatingIfNeeded: bulk &>> point & 1)
        if place == 2 && header.destination.isGroup && TrafficOctet.isRoutedMulticast(frame, header) {
            return FrameMark(place: multicast, octet: octet)
        }
        return FrameMark(place: place, octet: octet)
    }

    /// The outer traffic class octet of a run's datagrams.
    func outerOctet(_ trafficClass: TrafficClass, _ run: RunMark) -> UInt8 {
        let place = Int(trafficClass.rawValue)
        let point =
            outer[place] != ClassMap.copied ? outer[place] : run.commonPoint ?? ClassMap.own[place]
        return point << 2 | run.congestion.rawValue
    }
}

/// What the frames of a run have in common. A run has one outer octet, since it leaves in one call.
struct RunMark: BitwiseCopyable {
    private var all: UInt8 = 0xFF
    private var any: UInt8 = 0
    /// Bit *n* is set when a frame has the two ECN bits *n*.
    private var seen: UInt8 = 0

    @inline(__always)
    mutating func add(_ octet: UInt8) {
        all &= octet
        any |= octet
        seen |= 1 << (octet & 3)
    }

    /// The DSCP that every frame has; `nil` where they differ, or where there is none.
    var commonPoint: UInt8? { (all ^ any) >> 2 == 0 ? all >> 2 : nil }

    /// ECT only where every frame in the run takes a mark. Congestion that a frame has met before the tunnel stays in the
    /// frame alone: on the outside it would mark the others too (the choice of RFC 3168 section 9.1.1).
    var congestion: Congestion {
        func has(_ congestion: Congestion) -> Bool { seen >> congestion.rawValue & 1 == 1 }
        if seen == 0 || has(.notCapable) { return .notCapable }
        return has(.capable1) && !has(.capable0) ? .capable1 : .capable0
    }
}
