// What operators are told of a pass book, beside its passes.

import Basics

extension PassBook {
    /// All that are kept, the oldest first.
    public var allRevocations: [Revocation] {
        revocations.keys.sorted().compactMap { revocations[$0]?.revocation }.sorted { $0.made < $1.made }
    }
}

extension Gossip {
    /// Since when nothing is within reach that leads to an owner; `nil` while it is.
    public func lostSince(_ owner: SiteID) -> Instant? { owners[owner]?.lostSince }
}
