// Randomness as an argument: the seeded generator that replay, simulation and tests pass where a live gateway
// passes the system's.

/// xoshiro256** (Blackman and Vigna), seeded through SplitMix64: the same seed gives the same numbers on any machine.
/// Never a source of keys outside replay and tests.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var s0: UInt64
    private var s1: UInt64
    private var s2: UInt64
    private var s3: UInt64

    public init(seed: UInt64) {
        var state = seed
        func split() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        s0 = split()
        s1 = split()
        s2 = split()
        s3 = split()
    }

    public mutating func next() -> UInt64 {
        func rotate(_ x: UInt64, _ k: UInt64) -> UInt64 { (x << k) | (x >> (64 - k)) }
        let result = rotate(s1 &* 5, 7) &* 9
        let t = s1 << 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = rotate(s3, 45)
        return result
    }

    /// True with a probability of `millionths` in 1,000,000.
    public mutating func chance(millionths: UInt32) -> Bool {
        millionths > 0 && UInt32.random(in: 0..<1_000_000, using: &self) < millionths
    }
}
