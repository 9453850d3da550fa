// Sites, keys and addresses for the tests.

import Basics

@testable import Mesh

func address(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) -> IPAddress { IPAddress(ipv4: a << 24 | b << 16 | c << 8 | d) }

func block(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ length: Int) -> IPPrefix {
    guard let prefix = IPPrefix(address(a, b, c, d), length: length) else { preconditionFailure("a prefix that is too long") }
    return prefix
}

/// A private key that a number stands for.
func privateKey(_ number: Int) -> [UInt8] { MeshCryptography.hash(Array("key \(number)".utf8), length: 32) }

func signer(_ number: Int) -> SiteSigner {
    guard let signer = SiteSigner(privateKey: privateKey(number)) else { preconditionFailure("32 octets are a key") }
    return signer
}

func site(_ number: Int) -> SiteID { SiteID(signer(number).publicKey) }

let authority: Authority = {
    guard let authority = Authority(seed: [UInt8](repeating: 7, count: 32)) else { preconditionFailure("32 octets are a seed") }
    return authority
}()

/// 2026-01-01T00:00:00Z
let newYear = UnixTime(seconds: 1_767_225_600)

func pass(_ number: Int, serial: UInt64? = nil, days: UInt64 = 365, from: UnixTime = newYear, relay: Bool = true) -> Pass {
    Pass(
        serial: serial ?? UInt64(number) + 1, site: "site-\(number)", key: signer(number).publicKey, validFrom: from,
        validUntil: from.adding(days * UnixTime.secondsPerDay), mayRelay: relay)
}

func seconds(_ count: Double) -> Instant { Instant(nanoseconds: UInt64(count * 1_000_000_000)) }

func hex(_ bytes: some Sequence<UInt8>) -> String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
