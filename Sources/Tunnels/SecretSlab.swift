// Guarded memory that many secrets share. A block of libsodium's of its own takes four areas of memory, of which the kernel gives
// a process 65,530 (vm.max_map_count), and five system calls; a gateway with hundreds of peers and several lanes has tens of
// thousands of keys. So what a key is computed into lives here, a hundred to a block: between pages that nobody may touch, out of
// core dumps and the swap like the others, wiped when it is given back, but not read-only.
//
//     | no access | canary, slot, slot, ... slot | no access |

import CSodium
import Synchronization

enum SecretSlab {
    /// Octets of a slot, and their alignment: as long as libsodium's AES state.
    static let slotBytes = 512
    static let slotsPerSlab = 120

    /// Addresses of slots that nobody has. Slabs are kept.
    private static let free = Mutex<[UInt]>([])

    /// A slot, zeros; `nil` when there is no memory. Precondition: libsodium is ready.
    static func take() -> UnsafeMutableRawPointer? {
        let address = free.withLock { free in
            if free.isEmpty {
                guard let slab = unsafe sodium_malloc(slotBytes * slotsPerSlab) else { return UInt(0) }
                // libsodium fills what it gives with a pattern.
                unsafe sodium_memzero(slab, slotBytes * slotsPerSlab)
                // It ends with a page, so that each slot is aligned as its size.
                let start = UInt(bitPattern: slab)
                for slot in (0..<slotsPerSlab).reversed() { free.append(start + UInt(slot * slotBytes)) }
            }
            return free.removeLast()
        }
        // SAFETY: it is the address of a slot of a slab that is never given back, and nobody else has it; 0 is `nil`.
        return unsafe UnsafeMutableRawPointer(bitPattern: address)
    }

    /// Wipes a slot and takes it back.
    static func giveBack(_ slot: UnsafeMutableRawPointer) {
        // SAFETY: the caller had it from `take`, and does not use it any more.
        unsafe sodium_memzero(slot, slotBytes)
        let address = UInt(bitPattern: slot)
        free.withLock { $0.append(address) }
    }
}
