// The open-addressing index against a plain model, with hashes that all collide as often as with good ones.

import Buffers
import Testing

@Suite struct HashIndexTests {
    /// Every entry that the index has for a hash, in probe order.
    private func entries(_ index: borrowing HashIndex, _ hash: UInt32) -> [Int] {
        var found: [Int] = []
        var position = index.first(hash)
        while let place = position {
            found.append(index.entry(at: place))
            position = index.next(after: place, hash)
        }
        return found
    }

    /// `bits`: which bits of a random number a hash keeps: with few, most are equal; with only high ones, all homes are.
    @Test(arguments: [UInt32.max, 0x0000_0003, 0x0000_0000, 0xF000_0000, 0x8000_0001, 0x0000_001F], [1, 2, 8, 100])
    func agreesWithADictionary(_ bits: UInt32, _ capacity: Int) {
        var random = SystemLike(state: UInt64(bits) + UInt64(capacity))
        var index = HashIndex(entries: capacity)
        var model: [Int: UInt32] = [:]
        var free = Array(0..<capacity)
        for step in 0..<4_000 {
            if random.next() % 2 == 0, !free.isEmpty {
                let entry = free.remove(at: Int(random.next() % UInt64(free.count)))
                let hash = UInt32(truncatingIfNeeded: random.next() >> 16) & bits
                index.insert(hash, entry: entry)
                model[entry] = hash
            } else if let (entry, hash) = model.min(by: { mixed($0.key, step) < mixed($1.key, step) }) {
                index.remove(hash, entry: entry)
                // Again: nothing happens.
                index.remove(hash, entry: entry)
                model[entry] = nil
                free.append(entry)
            }
            if step % 7 == 0 || capacity < 10 {
                for hash in Set(model.values) {
                    let expected = model.filter { $0.value == hash }.keys.sorted()
                    #expect(entries(index, hash).sorted() == expected)
                }
                let absent = UInt32(truncatingIfNeeded: random.next())
                #expect(entries(index, absent).sorted() == model.filter { $0.value == absent }.keys.sorted())
            }
        }
    }

    private func mixed(_ key: Int, _ step: Int) -> UInt64 { UInt64(key &* 31 &+ step) &* 0x9E37_79B9_7F4A_7C15 }

    @Test func hashesDependOnTheSecretAndSpread() {
        var random = SystemLike(state: 3)
        let one = HashSecret(using: &random)
        let two = HashSecret(using: &random)
        let keys = (0..<4_096 as Range<UInt64>).map { 0x0200_0000_0000 | $0 }
        #expect(keys.map { one.hash($0) } != keys.map { two.hash($0) })
        #expect(keys.map { one.hash($0) } == keys.map { one.hash($0) })
        // Neighbouring addresses, by their lowest bits: no bucket of 256 has far more than its 16.
        var buckets = [Int](repeating: 0, count: 256)
        for key in keys { buckets[Int(one.hash(key) & 255)] += 1 }
        #expect(buckets.max() ?? 0 < 48)
        #expect(Set(keys.map { one.hash($0) }).count > 4_090)
    }
}
