// The source list of a group as the small sorted array that it is: the sets A, B, X and Y of RFC 9776 section 6.4 with
// their timers. Every cell of its tables is one merge of two ascending lists, in which each source belongs to one of three
// cases: in both, only in the list, only in the record.

import Basics

/// A source of a group, and its timer.
struct TimedSource: Hashable, Sendable {
    var address: IPAddress
    /// When it runs out. `nil`: it does not run, which is what makes a source of EXCLUDE one of Y, the blocked ones.
    var expires: Instant?
}

/// Always ascending by address, without duplicates.
typealias SourceList = [TimedSource]

extension SourceList {
    /// Where `address` is; `nil` when it is not. O(log n).
    func place(of address: IPAddress) -> Int? {
        let place = place(for: address)
        return place < count && self[place].address == address ? place : nil
    }

    /// Where `address` is or would have to be. O(log n).
    func place(for address: IPAddress) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle].address < address { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The list with every source replaced by what its case says, or left out where that is `nil`. O(n + m).
    ///
    /// - Parameters:
    ///   - addresses: ascending, without duplicates.
    ///   - both: for a source of the list that is among `addresses`.
    ///   - kept: for a source of the list that is not.
    ///   - added: for one of `addresses` that is not in the list.
    func merged(
        with addresses: [IPAddress], both: (TimedSource) -> TimedSource?, kept: (TimedSource) -> TimedSource?,
        added: (IPAddress) -> TimedSource?
    ) -> SourceList {
        var result = SourceList()
        result.reserveCapacity(count + addresses.count)
        var mine = 0
        var theirs = 0
        while mine < count || theirs < addresses.count {
            let source: TimedSource?
            if theirs == addresses.count || mine < count && self[mine].address < addresses[theirs] {
                source = kept(self[mine])
                mine += 1
            } else if mine == count || addresses[theirs] < self[mine].address {
                source = added(addresses[theirs])
                theirs += 1
            } else {
                source = both(self[mine])
                mine += 1
                theirs += 1
            }
            if let source { result.append(source) }
        }
        return result
    }

    /// The addresses, ascending.
    var addresses: [IPAddress] { map(\.address) }

    /// The addresses whose timer runs, ascending: X, or A.
    var running: [IPAddress] { compactMap { $0.expires == nil ? nil : $0.address } }

    /// The addresses whose timer does not run, ascending: Y.
    var blocked: [IPAddress] { compactMap { $0.expires == nil ? $0.address : nil } }

    var isAscending: Bool { zip(self, dropFirst()).allSatisfy { $0.address < $1.address } }
}

extension [IPAddress] {
    /// Ascending, without duplicates: the form in which sets of addresses are merged. O(n) where it is so already.
    var ascending: [IPAddress] {
        if zip(self, dropFirst()).allSatisfy({ $0 < $1 }) { return self }
        var result: [IPAddress] = []
        result.reserveCapacity(count)
        for address in sorted() where result.last != address { result.append(address) }
        return result
    }

    /// Whether `address` is in this ascending list. O(log n).
    func includes(_ address: IPAddress) -> Bool {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] == address { return true }
            if self[middle] < address { low = middle + 1 } else { high = middle }
        }
        return false
    }
}
