// Frames for these tests: an Ethernet header, a number that says which frame it is, and a filling that depends on it, so
// that a frame that was mixed up with another one can be told.

import Basics

/// A frame of `count` octets, at least 24 with its tags.
func testFrame(
    to destination: MACAddress, from source: MACAddress, tags: [UInt8] = [], number: UInt32 = 0, count: Int = 60
) -> [UInt8] {
    var bytes: [UInt8] = []
    for address in [destination, source] {
        for shift in stride(from: UInt64(40), through: 0, by: -8) { bytes.append(UInt8(address.rawValue >> shift & 0xFF)) }
    }
    bytes += tags
    // An EtherType for local experiments (IEEE 802), then the number.
    bytes += [0x88, 0xB5]
    for shift in stride(from: UInt32(24), through: 0, by: -8) { bytes.append(UInt8(number >> shift & 0xFF)) }
    while bytes.count < count { bytes.append(UInt8(truncatingIfNeeded: UInt32(bytes.count) &* 7 &+ number)) }
    return bytes
}

/// The number in an untagged or tagged frame of `testFrame`.
func frameNumber(_ bytes: [UInt8]) -> UInt32 {
    var offset = 12
    while offset + 6 <= bytes.count, bytes[offset] != 0x88 || bytes[offset + 1] != 0xB5 { offset += 4 }
    guard offset + 6 <= bytes.count else { return .max }
    return bytes[(offset + 2)..<(offset + 6)].reduce(0) { $0 << 8 | UInt32($1) }
}

/// An 802.1Q tag.
func customerTag(_ vlan: UInt16) -> [UInt8] { [0x81, 0x00, UInt8(vlan >> 8), UInt8(vlan & 0xFF)] }

/// An 802.1ad tag.
func serviceTag(_ vlan: UInt16) -> [UInt8] { [0x88, 0xA8, UInt8(vlan >> 8), UInt8(vlan & 0xFF)] }

/// A host's address: locally administered, with the site and the host's number in it.
func host(_ site: Int, _ number: Int = 0) -> MACAddress {
    MACAddress(rawValue: 0x0200_0000_0000 | UInt64(site) << 16 | UInt64(number))
}

/// A multicast group's address.
let someGroup = MACAddress(rawValue: 0x0100_5E01_0203)
