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
        var nextHops = PeerSet.none
        /// Which of the places for routed streams opens it; -1 where none does.
        var place = -1
        /// Origin tags are below.
        var origins = 0
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
        routes[number] = Route()
        for place in 0..<table.count { table[place] = RouteTable.none }
        for number in 0..<routes.count where routes[number].stream != 0 { enter(number) }
        return route
    }

    private mutating func enter(_ number: Int) {
        var place = home(routes[number].stream)
        while table[place] != RouteTable.none { place = (place &+ 1) & mask }
        table[place] = UInt16(truncatingIfNeeded: number)
    }
}
