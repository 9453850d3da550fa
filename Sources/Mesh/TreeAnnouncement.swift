// What a site is told of a tree: its own part of it, from itself down. It passes the parts of its children on to them.
//
//     version = 1 | nodes in preorder, each:  site 16 octets | 8 bit: 128 member, the rest is the number of children
//
// The first node is the reader. It takes the stream's datagrams from whoever is its upstream, the neighbour that told it.

import Basics

public struct TreeAnnouncement: Hashable, Sendable {
    public struct Node: Hashable, Sendable {
        public var site: SiteID
        public var isMember: Bool
        /// At most 127.
        public var children: Int
    }

    /// In preorder, at least one.
    public let nodes: [Node]

    static let nodeBytes = 17
    /// Sites of one tree.
    public static let nodeLimit = Limits.peers
    private static let memberBit: UInt8 = 128

    /// The part of a tree that a site is told; `nil` if it is not in the tree, or a node has too many children.
    public init?(_ tree: DistributionTree, for site: SiteID) {
        guard let start = tree.nodes.firstIndex(where: { $0.site == site }) else { return nil }
        var children = [Int](repeating: 0, count: tree.nodes.count)
        for node in tree.nodes.dropFirst() { children[node.parent] += 1 }
        var nodes: [Node] = []
        // In preorder, a subtree ends where a parent before its root comes.
        for place in start..<tree.nodes.count {
            if place > start && tree.nodes[place].parent < start { break }
            guard children[place] < 128 else { return nil }
            nodes.append(Node(site: tree.nodes[place].site, isMember: tree.nodes[place].isMember, children: children[place]))
        }
        guard nodes.count <= TreeAnnouncement.nodeLimit else { return nil }
        self.nodes = nodes
    }

    /// Reads one; `nil` for what is no tree, names a site twice, or is deeper than `hopLimit`.
    public init?(_ bytes: [UInt8], hopLimit: Int = Paths.hopLimit) {
        var reader = OctetReader(bytes)
        guard reader.byte() == 1, reader.remaining > 0, reader.remaining % TreeAnnouncement.nodeBytes == 0,
            reader.remaining / TreeAnnouncement.nodeBytes <= TreeAnnouncement.nodeLimit
        else { return nil }
        var nodes: [Node] = []
        var seen: Set<SiteID> = []
        // Children still to come of the nodes above the next one.
        var open = [1]
        while !reader.isAtEnd {
            guard let site = reader.site(), let said = reader.byte(), seen.insert(site).inserted else { return nil }
            while open.last == 0 { open.removeLast() }
            guard let above = open.popLast() else { return nil }
            open.append(above - 1)
            let children = Int(said & ~TreeAnnouncement.memberBit)
            nodes.append(Node(site: site, isMember: said & TreeAnnouncement.memberBit != 0, children: children))
            open.append(children)
            // Above the reader is one place, and the reader itself has crossed no link of this part.
            guard children == 0 || open.count - 1 <= hopLimit else { return nil }
        }
        guard open.allSatisfy({ $0 == 0 }) else { return nil }
        self.nodes = nodes
    }

    /// A way to one site: whoever is on it passes on to the next. `nil` for an empty one, or one that is too long.
    public init?(chain: [SiteID]) {
        guard !chain.isEmpty, chain.count <= Paths.hopLimit, Set(chain).count == chain.count else { return nil }
        nodes = chain.enumerated().map { number, site in
            Node(site: site, isMember: number == chain.count - 1, children: number == chain.count - 1 ? 0 : 1)
        }
    }

    private init(nodes: [Node]) { self.nodes = nodes }

    public var encoded: [UInt8] {
        nodes.reduce(into: [1]) { bytes, node in
            bytes.append(site: node.site)
            bytes.append(UInt8(truncatingIfNeeded: node.children & 127) | (node.isMember ? TreeAnnouncement.memberBit : 0))
        }
    }

    /// The reader.
    public var site: SiteID { nodes[0].site }
    /// Whether the reader delivers the stream at its own site.
    public var isMember: Bool { nodes[0].isMember }

    /// What the reader tells each of its children, and whom it passes datagrams on to.
    public var parts: [TreeAnnouncement] {
        var parts: [TreeAnnouncement] = []
        var start = 1
        while start < nodes.count {
            var end = start
            var left = 1
            while left > 0 && end < nodes.count {
                left += nodes[end].children - 1
                end += 1
            }
            parts.append(TreeAnnouncement(nodes: Array(nodes[start..<end])))
            start = end
        }
        return parts
    }
}
