// Keys that wait to be used: long-lived ones in guarded memory, as plain values only on their way to a lane.

import Basics

extension SecretBytes {
    /// 32 octets of a generator's.
    public static func key(using random: inout some RandomNumberGenerator) -> SecretBytes {
        SecretBytes(count: 32) { room in
            for index in 0..<room.byteCount {
                room.storeBytes(of: UInt8.random(in: 0 ... .max, using: &random), toByteOffset: index, as: UInt8.self)
            }
        }
    }

    /// A copy, for a message; the caller wipes it.
    public var copy: [UInt8] {
        // SAFETY: there are `count` octets, for as long as the call.
        unsafe withOctets { octets in unsafe Array(UnsafeBufferPointer(start: octets, count: count)) }
    }
}

extension Key256 {
    /// Precondition: 32 octets.
    public init(_ secret: SecretBytes) {
        precondition(secret.count == 32)
        // SAFETY: there are 32 octets.
        self = unsafe secret.withOctets { octets in unsafe Key256(copying: UnsafeRawPointer(octets)) }
    }
}
