// Traffic classes as an operator sets them: which frames belong to which, and what their datagrams say on the WAN.

import Basics

/// A site's traffic classes. `init()` has every default.
public struct ClassSettings: Hashable, Sendable {
    /// What leaves first. Network control is among it, without which nothing else gets through.
    public var feed = ClassMembers(
        CodePointSet([.ef, CodePoint(rawValue: 34), CodePoint(rawValue: 40), .cs6, CodePoint(rawValue: 56)]), hasMulticast: true)
    /// What leaves last.
    public var bulk = ClassMembers(CodePointSet([.le, CodePoint(rawValue: 8)]), hasMulticast: false)
    public var feedMark = OuterMark.copy
    public var normalMark = OuterMark.copy
    public var bulkMark = OuterMark.copy
    /// Of the tunnel's own datagrams.
    public var controlMark = CodePoint.cs6

    public init() {}
}

/// Which frames belong to a class.
public struct ClassMembers: Hashable, Sendable {
    public var points: CodePointSet
    /// Whether routed IP multicast belongs to it whose code point is in neither list.
    public var hasMulticast: Bool

    public init(_ points: CodePointSet, hasMulticast: Bool) {
        self.points = points
        self.hasMulticast = hasMulticast
    }
}

/// The code point of a class's datagrams.
public enum OuterMark: Hashable, Sendable {
    /// That of the frames; the class's own where the frames of a run differ.
    case copy
    case point(CodePoint)
}
