// Memory for secrets: what it holds, that it is guarded, and that nothing prints it.

import Foundation
import Testing

@testable import Tunnels

@Suite struct SecretBytesTests {
    private func octets(_ secret: SecretBytes) -> [UInt8] {
        unsafe secret.withOctets { unsafe Array(UnsafeBufferPointer(start: $0, count: secret.count)) }
    }

    @Test func holdsWhatItWasMadeOf() {
        let secret = SecretBytes([1, 2, 3])
        #expect(octets(secret) == [1, 2, 3] && secret.count == 3)
        #expect(octets(SecretBytes.zeros(5)) == [0, 0, 0, 0, 0])
        // Octets that are not filled are zeros, never what was there.
        #expect(octets(SecretBytes(count: 4) { $0.storeBytes(of: 9, toByteOffset: 2, as: UInt8.self) }) == [0, 0, 9, 0])
        #expect(secret == SecretBytes([1, 2, 3]))
        #expect(secret != SecretBytes([1, 2, 4]) && secret != SecretBytes([1, 2]))
    }

    @Test func isNeverPrinted() {
        #expect("\(SecretBytes([0xAB, 0xCD]))" == "2 secret octets")
        let pair = KeyPair(privateKey: [UInt8](repeating: 7, count: 32))
        #expect(pair != nil && !"\(String(describing: pair))".contains("7, 7"))
    }

    /// Its page is read-only and no core dump has it; what is beside it cannot be touched.
    @Test func livesBetweenGuards() throws {
        let secret = SecretBytes([UInt8](repeating: 0x5A, count: 32))
        let place = unsafe secret.withOctets { UInt(bitPattern: $0) }
        let file = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
        let maps = try String(decoding: #require(try file.readToEnd()), as: UTF8.self).split(separator: "\n")
        var (permissions, flags, around) = ("", "", [UInt: String]())
        var isOurs = false
        for line in maps {
            let words = line.split(separator: " ")
            let ends = words[0].split(separator: "-")
            if ends.count == 2, let from = UInt(ends[0], radix: 16), let to = UInt(ends[1], radix: 16) {
                isOurs = from <= place && place < to
                if isOurs { permissions = String(words[1]) }
                around[from] = String(words[1])
            } else if isOurs, words[0] == "VmFlags:" {
                flags = line + " "
            }
        }
        withExtendedLifetime(secret) {}
        #expect(permissions.hasPrefix("r--") && flags.contains(" dd "), "\(permissions) \(flags)")
        // 32 octets end where the guard begins.
        #expect(around[place + 32]?.hasPrefix("---") == true)
    }

    /// More keys than the kernel has areas of memory for, were each to have its own: they share blocks, and are apart.
    @Test func manyKeysShareBlocks() async {
        await #expect(processExitsWith: .success) {
            var keys: [KeptKey] = []
            var secrets: [SecretBytes] = []
            for number in 0..<20_000 {
                let octets = (0..<32).map { UInt8(truncatingIfNeeded: number >> ($0 & 15)) }
                guard let key = SessionKey(.chacha20poly1305, Key256(octets)) else { exit(2) }
                keys.append(KeptKey(key))
                secrets.append(SecretBytes(octets))
                if !secrets[number].isGuarded { exit(3) }
            }
            for (number, secret) in secrets.enumerated() {
                let right = (0..<32).allSatisfy { place in
                    unsafe secret.withOctets { unsafe $0[place] } == UInt8(truncatingIfNeeded: number >> (place & 15))
                }
                if !right { exit(4) }
            }
            withExtendedLifetime(keys) {}
            exit(0)
        }
    }

    /// The kernel has no areas of memory left: secrets are not guarded, and all of them are there.
    @Test func secretsWithoutGuards() async {
        await #expect(processExitsWith: .success) {
            var secrets: [SecretBytes] = []
            secrets.reserveCapacity(20_000)
            var areas: [UInt] = []
            areas.reserveCapacity(200_000)
            while areas.count < 200_000 {
                // Neighbours with the same rights would be one area.
                let rights = areas.count % 2 == 0 ? PROT_READ : PROT_NONE
                let area = unsafe UInt(bitPattern: mmap(nil, 4_096, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
                if area == UInt.max { break }
                areas.append(area)
            }
            if areas.count == 200_000 { exit(0) }
            while secrets.count < 20_000, secrets.last?.isGuarded != false {
                secrets.append(SecretBytes([UInt8](repeating: UInt8(secrets.count & 255), count: 32)))
            }
            if secrets.count == 20_000 { exit(6) }
            if SessionKey(.chacha20poly1305, Key256([UInt8](repeating: 1, count: 32))) != nil { exit(2) }
            let more = SecretBytes([5, 6, 7])
            if more.isGuarded || more != SecretBytes([5, 6, 7]) { exit(3) }
            for (number, secret) in secrets.enumerated() {
                if unsafe secret.withOctets({ unsafe $0[0] != UInt8(number & 255) || $0[31] != UInt8(number & 255) }) { exit(4) }
            }
            secrets = []
            for area in areas { unsafe munmap(UnsafeMutableRawPointer(bitPattern: area), 4_096) }
            if !SecretBytes([1]).isGuarded { exit(5) }
            exit(0)
        }
    }

    @Test func wipingOverwritesInPlace() {
        var bytes: [UInt8] = [1, 2, 3, 4]
        let before = unsafe bytes.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
        Wipe.octets(&bytes)
        #expect(bytes == [0, 0, 0, 0])
        #expect(unsafe bytes.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) } == before)
        var none: [UInt8] = []
        Wipe.octets(&none)
        #expect(none == [])
    }

    /// A copy of a handshake is a state to return to: what is done to one does not change the other.
    @Test func statesAreValues() throws {
        var first = SymmetricState(protocolName: "Noise_test")
        first.mixKey([1, 2, 3])
        var second = first
        second.mixKey([4])
        #expect(first.split().0.bytes != second.split().0.bytes)
        var third = first
        first.mixKeyAndHash([5])
        third.mixKeyAndHash(SecretBytes([5]))
        #expect(first.hash == third.hash && first.split().1.bytes == third.split().1.bytes)
    }
}

/// A key that an array can hold.
private final class KeptKey {
    let key: SessionKey
    init(_ key: consuming SessionKey) { self.key = key }
}
