// From a frame's code point to its class, and from the frames of a run to what the run's datagrams say on the outside. The
// rules are in the article Classes; who asks is `Bridge`, once for each frame that leaves for a peer.
//
//     frame --> mark: class, traffic class octet --> PackerSet: one packer a class --> run: one outer octet

import Basics
import Settings
import Wire

/// What a frame's headers say of how it wants to be treated.
struct FrameMark: BitwiseCopyable {
    var trafficClass: TrafficClass
    /// DSCP and ECN of its packet; 0 where it carries no IP.
    var octet: UInt8
}

/// The classes as they were configured, in the form in which lanes look them up.
public struct ClassMap: Sendable, BitwiseCopyable {
    /// The class of each code point.
    private var classes: InlineArray<64, TrafficClass>
    /// The class of routed IP multicast whose code point says nothing.
    private var multicast: TrafficClass
    /// For each class, the outer code point, or `copied`.
    private var outer: InlineArray<4, UInt8>
    private static let copied: UInt8 = 255
    /// For each class, the outer code point of frames that do not agree.
    private static let own: InlineArray<4, UInt8> = [
        CodePoint.cs6.rawValue, CodePoint.ef.rawValue, CodePoint.cs0.rawValue, CodePoint.le.rawValue,
    ]

    public init(_ settings: ClassSettings = ClassSettings()) {
        classes = InlineArray { number in
            let point = CodePoint(rawValue: UInt8(number))
            return settings.feed.points.contains(point) ? .feed : settings.bulk.points.contains(point) ? .bulk : .normal
        }
        multicast = settings.feed.hasMulticast ? .feed : settings.bulk.hasMulticast ? .bulk : .normal
        let marks = [.point(settings.controlMark), settings.feedMark, settings.normalMark, settings.bulkMark]
        outer = InlineArray { number in
            switch marks[number] {
            case .copy: ClassMap.copied
            case .point(let point): point.rawValue
            }
        }
    }

    @inline(__always)
    func mark(_ frame: RawSpan, _ header: FrameHeader) -> FrameMark {
        guard let octet = TrafficOctet.of(frame, header) else { return FrameMark(trafficClass: .normal, octet: 0) }
        var trafficClass = classes[Int(octet >> 2)]
        if trafficClass == .normal && header.destination.isGroup && TrafficOctet.isRoutedMulticast(frame, header) {
            trafficClass = multicast
        }
        return FrameMark(trafficClass: trafficClass, octet: octet)
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
