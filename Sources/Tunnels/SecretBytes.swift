// Memory for secrets. libsodium puts each block between pages that nobody may touch, keeps it out of core dumps and, as far as the
// machine allows (RLIMIT_MEMLOCK), out of the swap, and wipes it before it is given back.
//
//     | no access | canary, octets |  no access |       the octets end where the second guard begins
//
// A block takes four pages, so that long-lived keys live here, and what is derived from them for a moment is wiped where it was.
// The kernel gives a process only so many areas of memory (vm.max_map_count), of which a block takes four: beyond `blockLimit`
// secrets share blocks (see SecretSlab). One that finds no guarded memory at all lives in ordinary memory, and is wiped all the
// same: the tunnels that stand are worth more than its guards.

import CSodium
import Synchronization

/// A secret of a fixed number of octets. Never written after it was made, so any thread may read it.
@safe
public final class SecretBytes: @unchecked Sendable {
    public let count: Int
    private let octets: UnsafeMutableRawPointer
    private enum Home { case block, slab, ordinary }
    private let home: Home
    /// Whether it is in guarded memory, of its own or shared.
    var isGuarded: Bool { home != .ordinary }

    /// Blocks of their own at once: half of the areas that the kernel gives a process.
    static let blockLimit = 8_192
    private static let blocks = Atomic<Int>(0)

    /// `fill` writes all of the octets; they are read-only from then on.
    /// Precondition: libsodium is ready.
    public init(count: Int, filledBy fill: (inout MutableRawSpan) -> Void) {
        precondition(Primitives.isReady, "libsodium could not be initialised")
        precondition(count > 0)
        // SAFETY: `deinit` gives each back as it was taken.
        let octets: UnsafeMutableRawPointer
        if let block = unsafe SecretBytes.takeBlock(count) {
            unsafe octets = unsafe block
            home = .block
        } else if count <= SecretSlab.slotBytes, let slot = unsafe SecretSlab.take() {
            unsafe octets = unsafe slot
            home = .slab
        } else {
            unsafe octets = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
            home = .ordinary
        }
        self.count = count
        unsafe self.octets = unsafe octets
        // SAFETY: the block has `count` octets, and the span does not outlive the call.
        var span = unsafe MutableRawSpan(_unsafeStart: octets, byteCount: count)
        for index in 0..<count { span.storeBytes(of: 0, toByteOffset: index, as: UInt8.self) }
        fill(&span)
        if home == .block { _ = unsafe sodium_mprotect_readonly(octets) }
    }

    /// A copy of some octets; the caller wipes its own.
    /// Precondition: there is at least one.
    public convenience init(_ bytes: [UInt8]) {
        self.init(count: bytes.count) { room in
            for (index, octet) in bytes.enumerated() { room.storeBytes(of: octet, toByteOffset: index, as: UInt8.self) }
        }
    }

    /// Octets that are no secret: what stands for a key where there is none.
    public static func zeros(_ count: Int) -> SecretBytes { SecretBytes(count: count) { _ in } }

    private static func takeBlock(_ count: Int) -> UnsafeMutableRawPointer? {
        guard blocks.add(1, ordering: .relaxed).newValue <= blockLimit, let block = unsafe sodium_malloc(count) else {
            blocks.subtract(1, ordering: .relaxed)
            return nil
        }
        return unsafe block
    }

    deinit {
        // SAFETY: nobody has the octets any more.
        switch home {
        case .block:
            unsafe sodium_free(octets)
            SecretBytes.blocks.subtract(1, ordering: .relaxed)
        case .slab: unsafe SecretSlab.giveBack(octets)
        case .ordinary:
            unsafe sodium_memzero(octets, count)
            unsafe octets.deallocate()
        }
    }

    /// The octets, valid during the call.
    public func withOctets<R, E: Error>(_ body: (UnsafePointer<UInt8>) throws(E) -> R) throws(E) -> R {
        // SAFETY: the block lives as long as self, and is initialised.
        try unsafe body(UnsafePointer(octets.assumingMemoryBound(to: UInt8.self)))
    }
}

extension SecretBytes: Equatable {
    /// In time that does not depend on the contents.
    public static func == (a: SecretBytes, b: SecretBytes) -> Bool {
        // SAFETY: both have `a.count` octets.
        guard a.count == b.count else { return false }
        return unsafe a.withOctets { x in unsafe b.withOctets { y in unsafe sodium_memcmp(x, y, a.count) == 0 } }
    }
}

extension SecretBytes: CustomStringConvertible {
    /// Never what it holds: a description ends in logs.
    public var description: String { "\(count) secret octets" }
}

/// Wiping what was a secret for a moment.
public enum Wipe {
    /// Overwrites an array with zeros, in place if nobody else holds it.
    public static func octets(_ bytes: inout [UInt8]) {
        // SAFETY: the room is the array's own.
        unsafe bytes.withUnsafeMutableBytes { room in
            if let start = room.baseAddress { unsafe sodium_memzero(start, room.count) }
        }
    }

    /// Overwrites what calls that have returned may have left on the stack.
    @inline(never)
    static func stack() {
        // SAFETY: it touches only what lies below the caller's frame.
        sodium_stackzero(4096)
    }
}
