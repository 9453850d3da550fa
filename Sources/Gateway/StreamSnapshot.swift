// Group streams as operators see them: what is sealed for several sites at once, and whose streams are taken here.

import Basics
import Tunnels

public struct StreamSnapshot: Sendable, Hashable {
    /// Of an audience here.
    public enum State: String, Sendable {
        /// Some member has still to say that it has the key; each gets a copy of its own.
        case begun
        case inUse = "in-use"
        /// In use, and another stream that is to take its place has been begun.
        case renewing
    }

    public struct Sealed: Sendable, Hashable {
        /// Counters are those of the link behind the peers' that has this number.
        public var group: Int
        public var stream: UInt32
        public var members: [PeerIndex]
        public var state: State
        public var cipher: Cipher
        public var since: Instant
    }

    public struct Taken: Sendable, Hashable {
        public var stream: UInt32
        public var origin: PeerIndex
    }

    public var sealed: [Sealed]
    public var taken: [Taken]
    /// Streams that came into use since the start, and those that a member refused or did not answer.
    public var installed: UInt64
    public var failed: UInt64
    /// Streams of other sites that were refused here.
    public var refused: UInt64

    init(_ control: ControlCore) {
        let book = control.streams.book
        sealed = book.audiences.enumerated().compactMap { group, audience in
            guard let audience, let stream = audience.stream ?? audience.begun?.stream,
                let cipher = audience.cipher ?? audience.begun?.cipher
            else { return nil }
            let state: State = audience.stream == nil ? .begun : audience.begun == nil ? .inUse : .renewing
            return Sealed(
                group: group, stream: stream, members: audience.members.members, state: state, cipher: cipher,
                since: audience.stream == nil ? audience.begun?.since ?? .zero : audience.since)
        }
        taken = control.streams.taken.map { Taken(stream: $0.stream, origin: PeerIndex($0.origin)) }
        (installed, failed, refused) = (book.installed, book.failed, control.streams.refused)
    }
}

extension GatewaySnapshot {
    /// What a group's link has counted since it has the audience that it has.
    public subscript(group group: Int, counter: PeerCounter) -> UInt64 {
        guard group < layout.groups else { return 0 }
        return counters[layout.index(PeerIndex(layout.peers + group), counter)]
    }
}
