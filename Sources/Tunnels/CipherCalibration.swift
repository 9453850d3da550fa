// How long libsodium and libcrypto take on this processor, and from which length of datagram on libcrypto is the faster.
// A gateway measures it once, at its start, in a few milliseconds.
//
// libsodium's time begins lower and grows faster, so one length divides the datagrams. Where measurements disagree with that,
// the length that costs the least over all sizes is taken.

import Basics
import Buffers

public struct CipherCalibration: Sendable {
    /// What a datagram costs: the mean of sealing and opening it.
    public struct Cost: Sendable, Hashable {
        /// Octets from the header to the tag.
        public var bytes: Int
        public var sodium: Interval
        public var openssl: Interval

        public init(bytes: Int, sodium: Interval, openssl: Interval) {
            self.bytes = bytes
            self.sodium = sodium
            self.openssl = openssl
        }
    }

    /// Datagrams of one length that are sealed and opened with one cipher by one library.
    struct Sample: Hashable {
        var cipher: Cipher
        var backend: CipherBackend
        var bytes: Int
        /// How many are sealed, and how many opened.
        var count: Int
    }

    /// The lengths that are measured, ascending.
    public static let sizes = [64, 128, 256, 512, 1024, 1420, 8900]
    /// Of one length. The median of so many says how long it takes, whatever interrupts some of them.
    static let runs = 15
    /// No run begins later than this: a slow machine does fewer, at least one.
    static let patience = Interval.milliseconds(25)

    /// By length, ascending; empty for a cipher that was not asked for.
    private var aes256gcm: [Cost] = []
    private var chacha20poly1305: [Cost] = []
    /// What to use. A cipher that was not measured stays libsodium's.
    public private(set) var backends = CipherBackends.sodium

    /// Measures. Where a processor or a libcrypto lacks a cipher, that cipher is left out.
    public init(_ ciphers: CipherSet = .supported, clock: () -> Instant) {
        let bench = Bench()
        self.init(ciphers.intersection(CipherBackend.openssl.ciphers), clock: clock, perform: bench.perform)
    }

    /// - Parameter perform: seals and opens what a sample asks for.
    init(_ ciphers: CipherSet, clock: () -> Instant, perform: (Sample) -> Void) {
        let samples = Cipher.allCases.filter { ciphers.contains(CipherSet($0)) }.flatMap { cipher in
            CipherCalibration.sizes.flatMap { bytes in
                CipherBackend.allCases.map {
                    Sample(cipher: cipher, backend: $0, bytes: bytes, count: max(4, min(32, 16_384 / bytes)))
                }
            }
        }
        var times: [[Int64]] = samples.map { _ in [] }
        let start = clock()
        repeat {
            for (index, sample) in samples.enumerated() {
                let before = clock()
                perform(sample)
                times[index].append((clock() - before).nanoseconds / Int64(2 * sample.count))
            }
        } while times.first.map { $0.count < CipherCalibration.runs } ?? false && clock() - start < CipherCalibration.patience
        let medians = times.map { Interval(nanoseconds: $0.sorted()[$0.count / 2]) }
        // Each length has two samples, libsodium's first.
        for index in stride(from: 0, to: samples.count, by: CipherBackend.allCases.count) {
            let cost = Cost(bytes: samples[index].bytes, sodium: medians[index], openssl: medians[index + 1])
            switch samples[index].cipher {
            case .aes256gcm: aes256gcm.append(cost)
            case .chacha20poly1305: chacha20poly1305.append(cost)
            }
        }
        for cipher in Cipher.allCases { backends[cipher] = CipherCalibration.threshold(self[cipher]) }
    }

    /// By length, ascending; empty for a cipher that was not measured.
    public subscript(cipher: Cipher) -> [Cost] {
        switch cipher {
        case .aes256gcm: aes256gcm
        case .chacha20poly1305: chacha20poly1305
        }
    }

    /// One sentence on a cipher that was measured; `nil` for another.
    public func words(_ cipher: Cipher) -> String? {
        guard let example = self[cipher].first(where: { $0.bytes == 1420 }) else { return nil }
        return "\(cipher.name): \(CipherBackends.words(from: backends[cipher])) "
            + "(\(example.bytes) octets: \(example.sodium.nanoseconds) / \(example.openssl.nanoseconds) ns)"
    }

    /// The length from which on libcrypto is used. Every size weighs the same, however long its datagrams take.
    static func threshold(_ costs: [Cost]) -> Int {
        func sodium(_ cost: Cost) -> Double { Double(max(cost.sodium.nanoseconds, 1)) }
        func openssl(_ cost: Cost) -> Double { Double(max(cost.openssl.nanoseconds, 1)) }
        /// What it costs when the first `count` sizes are libsodium's, in multiples of the faster one's time.
        func total(_ count: Int) -> Double {
            costs.enumerated().reduce(0) { sum, item in
                let (index, cost) = item
                return sum + (index < count ? sodium(cost) : openssl(cost)) / min(sodium(cost), openssl(cost))
            }
        }
        // The last of equals: libsodium unless libcrypto is the faster.
        var best = costs.count
        for count in stride(from: costs.count - 1, through: 0, by: -1) where total(count) < total(best) { best = count }
        if best == costs.count { return CipherBackends.never }
        if best == 0 { return 0 }
        // Between the two sizes both times are taken to be straight lines.
        let (below, above) = (costs[best - 1], costs[best])
        let (lead, loss) = (openssl(below) - sodium(below), sodium(above) - openssl(above))
        guard lead > 0, loss > 0 else { return above.bytes }
        return below.bytes + Int((Double(above.bytes - below.bytes) * lead / (lead + loss)).rounded(.up))
    }
}

/// The keys that are measured, and the datagrams.
private final class Bench {
    private struct Slot: ~Copyable {
        let key: SessionKey?

        func work(_ datagram: inout MutableRawSpan, _ counter: UInt64) {
            switch key {
            case .some(let key):
                key.seal(&datagram, counter: counter)
                let isAuthentic = key.open(&datagram, counter: counter)
                precondition(isAuthentic)
            case nil: break
            }
        }
    }

    private let slots: FixedArray<Slot>
    private var datagrams = CipherCalibration.sizes.map { [UInt8](repeating: 0xA5, count: $0) }
    private var counter: UInt64 = 0

    init() {
        let pairs = Cipher.allCases.flatMap { cipher in CipherBackend.allCases.map { (cipher, $0) } }
        slots = FixedArray(count: pairs.count) { index in
            let (cipher, backend) = pairs[index]
            // What is sealed here goes nowhere: any key will do.
            return Slot(key: SessionKey(cipher, Key256(Array(0..<32)), backends: backend == .sodium ? .sodium : .openssl))
        }
    }

    func perform(_ sample: CipherCalibration.Sample) {
        guard let cipher = Cipher.allCases.firstIndex(of: sample.cipher),
            let backend = CipherBackend.allCases.firstIndex(of: sample.backend),
            let size = CipherCalibration.sizes.firstIndex(of: sample.bytes)
        else { return }
        let slot = cipher * CipherBackend.allCases.count + backend
        datagrams[size].withMutableRawSpan { datagram in
            for _ in 0..<sample.count {
                counter &+= 1
                slots[slot].work(&datagram, counter)
            }
        }
    }
}
