// The open-addressing table against a dictionary, with keys that nearly all have one home as often as with good ones.

import Buffers
import Testing

@Suite struct KeyedTableTests {
    /// A key with one of `homes` homes, as far as the table's own hash allows: keys are drawn until one fits.
    private func key(_ secret: HashSecret, homes: UInt32, _ random: inout SystemLike) -> UInt64 {
        while true {
            let key = random.next() >> 8 | 1
            if secret.hash(key) & 255 < homes { return key }
        }
    }

    @Test(arguments: [1, 2, 256] as [UInt32], [1, 2, 8, 100])
    func agreesWithADictionary(_ homes: UInt32, _ capacity: Int) {
        var random = SystemLike(state: UInt64(homes) + UInt64(capacity))
        let secret = HashSecret(using: &random)
        var table = KeyedTable<UInt32>(entries: capacity, empty: 0, secret: secret)
        var model: [UInt64: UInt32] = [:]
        var gone: [UInt64] = []
        for step in 0..<4_000 {
            let value = UInt32(step)
            if random.next() % 2 == 0, model.count < capacity {
                let key = key(secret, homes: homes, &random)
                guard model[key] == nil else { continue }
                table.insert(key, value)
                model[key] = value
            } else if let key = model.keys.min(by: { mixed($0, step) < mixed($1, step) }) {
                table.remove(key)
                // Again: nothing happens.
                table.remove(key)
                model[key] = nil
                gone.append(key)
            }
            if step % 3 == 0, let key = model.keys.max(by: { mixed($0, step) < mixed($1, step) }), let place = table.find(key) {
                table[place] = value
                model[key] = value
            }
            if step % 7 == 0 || capacity < 10 {
                for (key, value) in model { #expect(table.find(key).map { table[$0] } == value) }
                for key in gone.suffix(8) where model[key] == nil { #expect(table.find(key) == nil) }
            }
        }
        #expect(gone.count > 1_000)
    }

    private func mixed(_ key: UInt64, _ step: Int) -> UInt64 { (key &* 31 &+ UInt64(step)) &* 0x9E37_79B9_7F4A_7C15 }

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
