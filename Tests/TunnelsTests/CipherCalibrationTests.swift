// The calibration on a clock that the tests turn: what it finds, how often it looks, when it gives up.

import Basics
import Testing

@testable import Tunnels

/// A processor whose libraries take as long as a formula says; time passes only in it.
private final class Processor {
    var now = Instant.zero + .seconds(1_000)
    private(set) var performed: [CipherCalibration.Sample] = []
    /// Nanoseconds for one datagram, sealed or opened.
    private let nanoseconds: (CipherCalibration.Sample, _ run: Int) -> Int64
    private var runs: [CipherCalibration.Sample: Int] = [:]

    init(_ nanoseconds: @escaping (CipherCalibration.Sample, Int) -> Int64) { self.nanoseconds = nanoseconds }

    func calibrate(_ ciphers: CipherSet = [.aes256gcm, .chacha20poly1305]) -> CipherCalibration {
        let start = now
        defer { duration = now - start }
        return CipherCalibration(ciphers, clock: { now }, perform: perform)
    }

    private func perform(_ sample: CipherCalibration.Sample) {
        performed.append(sample)
        let run = runs[sample, default: 0]
        runs[sample] = run + 1
        now = now + .nanoseconds(nanoseconds(sample, run) * Int64(2 * sample.count))
    }

    private(set) var duration = Interval.zero
}

/// A fixed cost and one for each octet, in thousandths of nanoseconds.
private func line(_ fixed: Int64, _ milli: Int64) -> @Sendable (Int) -> Int64 { { fixed + Int64($0) * milli / 1_000 } }

@Suite struct CipherCalibrationTests {
    @Test func findsWhereTheLinesCross() {
        // 100 + 0.5 n meets 200 + 0.2 n at 333.3: between the sizes 256 and 512.
        let sodium = line(100, 500)
        let openssl = line(200, 200)
        let processor = Processor { sample, _ in (sample.backend == .sodium ? sodium : openssl)(sample.bytes) }
        let calibration = processor.calibrate([.aes256gcm])
        #expect((330...337).contains(calibration.backends.aes256gcm), "\(calibration.backends)")
        #expect(calibration.backends.chacha20poly1305 == CipherBackends.never)
        #expect(calibration[.chacha20poly1305].isEmpty && calibration.words(.chacha20poly1305) == nil)
        #expect(
            calibration[.aes256gcm]
                == [64, 128, 256, 512, 1024, 1420, 8900].map {
                    .init(bytes: $0, sodium: .nanoseconds(sodium($0)), openssl: .nanoseconds(openssl($0)))
                })
        #expect(
            calibration.words(.aes256gcm)
                == "aes-256-gcm: libsodium below \(calibration.backends.aes256gcm) octets, libcrypto from there on "
                + "(1420 octets: 810 / 484 ns)")
    }

    @Test func eachCipherHasItsOwn() {
        let processor = Processor { sample, _ in
            let isSodium = sample.backend == .sodium
            return sample.cipher == .aes256gcm ? (isSodium ? 200 : 100) : (isSodium ? 100 : 200)
        }
        let calibration = processor.calibrate()
        #expect(calibration.backends == CipherBackends(aes256gcm: 0, chacha20poly1305: CipherBackends.never))
        #expect(calibration.words(.aes256gcm) == "aes-256-gcm: libcrypto (1420 octets: 200 / 100 ns)")
        #expect(calibration.words(.chacha20poly1305) == "chacha20-poly1305: libsodium (1420 octets: 100 / 200 ns)")
    }

    /// Six of fifteen runs are interrupted, libcrypto's alone.
    @Test func interruptionsDoNoHarm() {
        let sodium = line(100, 500)
        let openssl = line(200, 200)
        let processor = Processor { sample, run in
            sample.backend == .sodium ? sodium(sample.bytes) : openssl(sample.bytes) * (run % 5 < 2 ? 3 : 1)
        }
        #expect((330...337).contains(processor.calibrate([.aes256gcm]).backends.aes256gcm))
    }

    @Test func everySampleIsTakenAsOften() {
        let processor = Processor { _, _ in 100 }
        #expect(processor.calibrate().backends == .sodium, "libsodium where both are as fast")
        let samples = Dictionary(grouping: processor.performed) { $0 }.mapValues(\.count)
        #expect(samples.count == 2 * 2 * CipherCalibration.sizes.count)
        #expect(samples.values.allSatisfy { $0 == CipherCalibration.runs })
        for sample in samples.keys { #expect(sample.count >= 4 && sample.count * sample.bytes <= 36_000) }
    }

    /// A processor that takes a microsecond for an octet has one run, one that takes ten nanoseconds a few; none begins late.
    @Test(arguments: [(1_000, 1...1), (10, 2...15), (1, 15...15)] as [(Int64, ClosedRange<Int>)])
    func patienceEnds(_ nanoseconds: Int64, _ runs: ClosedRange<Int>) {
        let processor = Processor { sample, _ in Int64(sample.bytes) * nanoseconds * (sample.backend == .sodium ? 2 : 1) }
        let calibration = processor.calibrate()
        let ran = processor.performed.count / (4 * CipherCalibration.sizes.count)
        #expect(runs.contains(ran), "\(ran) runs")
        #expect(calibration.backends == .openssl)
        let one = processor.duration / Int64(ran)
        #expect(processor.duration <= CipherCalibration.patience + one)
    }

    @Test func nothingToMeasure() {
        let processor = Processor { _, _ in 1 }
        let calibration = processor.calibrate([])
        #expect(calibration.backends == .sodium && processor.performed.isEmpty)
        #expect(Cipher.allCases.allSatisfy { calibration.words($0) == nil })
    }

    /// A clock that stands still says nothing, and does no harm.
    @Test func aClockThatStandsStill() {
        #expect(CipherCalibration(clock: { .zero }).backends == .sodium)
    }

    @Test func thresholds() {
        func threshold(_ costs: (Int, Int64, Int64)...) -> Int {
            CipherCalibration.threshold(
                costs.map { .init(bytes: $0.0, sodium: .nanoseconds($0.1), openssl: .nanoseconds($0.2)) })
        }
        #expect(threshold() == CipherBackends.never)
        #expect(threshold((64, 10, 11)) == CipherBackends.never && threshold((64, 11, 10)) == 0)
        #expect(threshold((100, 10, 20), (200, 20, 10)) == 150)
        #expect(threshold((100, 10, 40), (200, 20, 10)) == 175)
        #expect(threshold((64, 10, 20), (128, 20, 30), (256, 30, 30)) == CipherBackends.never)
        // One size that is out of line changes nothing; where it comes to a draw at the boundary, the size itself is taken.
        #expect(threshold((64, 10, 20), (128, 21, 20), (256, 10, 20), (512, 40, 20), (1024, 80, 40)) == 342)
        #expect(threshold((64, 20, 10), (128, 20, 20), (256, 40, 20)) == 0)
        #expect(threshold((64, 10, 20), (128, 20, 20), (256, 40, 20)) == 256)
        // No time at all is no reason to divide by it.
        #expect(threshold((64, 0, 0), (128, 0, 0)) == CipherBackends.never)
    }

    /// The real thing: it ends, and whatever it finds gives the same octets.
    @Test func measuringForReal() throws {
        var ticks: UInt64 = 0
        let calibration = CipherCalibration {
            ticks += 1_000
            return Instant(nanoseconds: ticks)
        }
        for cipher in Cipher.allCases where CipherBackend.openssl.ciphers.contains(CipherSet(cipher)) {
            #expect(calibration[cipher].map(\.bytes) == CipherCalibration.sizes)
            let plain = try sessionKey(cipher, Key256(Array(0..<32)))
            let chosen = try sessionKey(cipher, Key256(Array(0..<32)), calibration.backends)
            let datagram = sealed(plain, header: header(stream: 1, counter: 1), text: Array(1...99), counter: 1)
            #expect(opened(chosen, datagram, counter: 1) == Array(1...99))
        }
    }
}
