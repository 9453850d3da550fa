// What a lane remembers of frames that rights kept from passing, so that control hears of each feed once in a while and not of
// each frame: a table of fixed size, where a feed that finds its place taken by another that waits is counted and not told of.

import Basics
import Buffers
import Switching

/// Frames that were denied alike.
public struct DeniedFeed: Hashable, Sendable, BitwiseCopyable {
    public var direction: RightsDirection
    public var peer: PeerIndex
    public var vlan: VLAN
    /// Unspecified: the VLAN is denied, whatever the frame is.
    public var group: IPAddress
    public var source: IPAddress
}

struct DenialLog: ~Copyable {
    struct Place: BitwiseCopyable {
        var feed: DeniedFeed
        /// Denied, and not told since.
        var isWaiting = false
        var told: Instant?
    }

    /// Whether some feed is to be told of.
    private(set) var isWaiting = false
    private var places: FixedArray<Place>
    private var nextReport = Instant.zero
    private static let count = 64
    /// Between looks at the table.
    private static let reportInterval = Interval.milliseconds(100)
    /// Between two reports of one feed.
    private static let repeatInterval = Interval.seconds(10)

    init() {
        let nothing = IPAddress.unspecified(.v6)
        let none = DeniedFeed(direction: .outward, peer: PeerIndex(0), vlan: .untagged, group: nothing, source: nothing)
        places = FixedArray(count: DenialLog.count) { _ in Place(feed: none) }
    }

    mutating func note(_ feed: DeniedFeed) {
        var mixed = feed.group.low ^ feed.source.low &* 0x9E37_79B9_7F4A_7C15
        mixed ^= (UInt64(feed.vlan.rawValue) << 17 | UInt64(feed.peer.rawValue) << 1 | UInt64(feed.direction.rawValue))
        let index = Int(truncatingIfNeeded: (mixed &* 0x9E37_79B9_7F4A_7C15) >> 58)
        if places[index].feed != feed {
            if places[index].isWaiting { return }
            places[index] = Place(feed: feed)
        }
        places[index].isWaiting = true
        isWaiting = true
    }

    /// Gives each feed that is due to `tell`, which says whether it could.
    mutating func report(at now: Instant, _ tell: (DeniedFeed) -> Bool) {
        guard now >= nextReport else { return }
        nextReport = now + DenialLog.reportInterval
        isWaiting = false
        for index in 0..<DenialLog.count where places[index].isWaiting {
            if let told = places[index].told, now - told < DenialLog.repeatInterval {
                places[index].isWaiting = false
            } else if tell(places[index].feed) {
                places[index].isWaiting = false
                places[index].told = now
            } else {
                isWaiting = true
            }
        }
    }
}
