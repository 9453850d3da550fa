// Routed streams that a lane takes, by stream identifier. Identifiers are the origins' choice, so the hash has a secret: nobody
// can make a chain of them. Control sees to it that there are no two alike, and that the table is never full.

import Basics
import Buffers

struct RouteTable: ~Copyable {
    struct Route: BitwiseCopyable {
        /// 0 in an empty place.
        var stream: UInt32 = 0
        var origin = PeerIndex(0)
        var upstream = PeerIndex(0)
        /// Where it came from before, and may still come from while the way changes; the same as `upstream` where there is none.
        var former = PeerIndex(0)
        /// Whether it is a pair's, whose sessions are told apart by the low bits of the identifier.
        var isPair = false
        /// Whether it ends here.
        var isLocal = false
        var nextHops = PeerSet.none
        /// Where what comes from `former` goes, where that is another peer than `upstream`.
        var formerHops = PeerSet.none
        /// Which of the places for routed streams opens it; -1 where none does.
        var place = -1
        /// Origin tags are below.
        var origins = 0

        /// Where it goes from here, by where it came from.
        func hops(_ isFormer: Bool) -> PeerSet { isFormer ? formerHops : nextHops }
    }

    private(set) var routes: FixedArray<Route>
    /// Numbers of routes, each at its stream's hash or the next place that was free; at most half are taken.
    private var table: FixedArray<UInt16>
    private let mask: Int
    private let secret: HashSecret
    private static let none = UInt16.max

    init(peers: Int, secret: HashSecret) {
        let count = GroupLimits.routes(peers: peers)
        var size = 2
        while size < 2 * count { size <<= 1 }
        routes = FixedArray(count: count) { _ in Route() }
        table = FixedArray(count: size) { _ in RouteTable.none }
        mask = size - 1
        self.secret = secret
    }

    private func home(_ stream: UInt32) -> Int { Int(truncatingIfNeeded: secret.hash(UInt64(stream))) & mask }

    /// The number of a stream's route; -1 where there is none.
    @inline(__always)
    func find(_ stream: UInt32) -> Int {
        if stream == 0 { return -1 }
        var place = home(stream)
        while true {
            let number = table[place]
            if number == RouteTable.none { return -1 }
            if routes[Int(number)].stream == stream { return Int(number) }
            place = (place &+ 1) & mask
        }
    }

    /// False when there is no room. A stream that is there is replaced.
    mutating func insert(_ route: Route) -> Bool {
        if case let number = find(route.stream), number >= 0 {
            routes[number] = route
            return true
        }
        guard let number = (0..<routes.count).first(where: { routes[$0].stream == 0 }), route.stream != 0 else { return false }
        routes[number] = route
        enter(number)
        return true
    }

    /// What there was of the stream.
    mutating func remove(_ stream: UInt32) -> Route? {
        let number = find(stream)
        if number < 0 { return nil }
        let route = routes[number]
        vacate(place(of: number))
        routes[number] = Route()
        return route
    }

    /// Where a number that is there is in the table.
    private func place(of number: Int) -> Int {
        var place = home(routes[number].stream)
        while Int(table[place]) != number { place = (place &+ 1) & mask }
        return place
    }

    /// Empties a place, and moves up what had to go further for it (Knuth, The Art of Computer Programming 3, algorithm 6.4R).
    private mutating func vacate(_ place: Int) {
        var gap = place
        var next = place
        while true {
            table[gap] = RouteTable.none
            while true {
                next = (next &+ 1) & mask
                let number = table[next]
                if number == RouteTable.none { return }
                // It may go to the gap unless its own place lies behind that.
                let own = home(routes[Int(number)].stream)
                if (next &- own) & mask >= (next &- gap) & mask { break }
            }
            table[gap] = table[next]
            gap = next
        }
    }

    private mutating func enter(_ number: Int) {
        var place = home(routes[number].stream)
        while table[place] != RouteTable.none { place = (place &+ 1) & mask }
        table[place] = UInt16(truncatingIfNeeded: number)
    }
}
