// Names of things: what parses, what does not, and how each is printed.

import Basics
import Testing

@Suite struct IdentifierTests {
    @Test func macAddressesParseAndPrint() {
        #expect(MACAddress("02:00:5e:10:00:ff")?.rawValue == 0x0200_5E10_00FF)
        #expect(MACAddress("02-00-5E-10-00-FF")?.description == "02:00:5e:10:00:ff")
        #expect(MACAddress("ff:ff:ff:ff:ff:ff") == .broadcast)
        #expect(MACAddress("00:00:00:00:00:00") == .zero)
        #expect(MACAddress(rawValue: .max) == .broadcast)
        #expect(MACAddress(rawValue: 0x0102_0304_0506).description == "01:02:03:04:05:06")
    }

    @Test(arguments: [
        "", ":::::", "02:00:5e:10:00", "02:00:5e:10:00:ff:00", "2:00:5e:10:00:ff", "002:00:5e:10:00:ff", "02:00:5e:10:00:fg",
        "02005e1000ff", "02:00:5e:10:00:ff ", " 02:00:5e:10:00:ff", "02:00:5e:10:00:+f", "02:00:5e:10:00:-1", "02:00:5e:10:00:",
        "02:00:5e:10:00:0x", "０2:00:5e:10:00:ff", "02.00.5e.10.00.ff", "02:00:5e:10:00:ｆf",
    ])
    func theseAreNoMACAddresses(_ text: String) { #expect(MACAddress(text) == nil) }

    @Test func everyOctetPrintsAndParses() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<500 {
            let address = MACAddress(rawValue: random.next())
            #expect(MACAddress(address.description) == address)
        }
    }

    @Test func kindsOfMACAddress() throws {
        #expect(MACAddress.broadcast.isGroup && !MACAddress.zero.isGroup)
        #expect(try #require(MACAddress("01:00:5e:00:00:01")).isGroup)
        #expect(try !#require(MACAddress("fe:ff:ff:ff:ff:ff")).isGroup)
        for low in 0...15 as ClosedRange<UInt64> { #expect(MACAddress(rawValue: 0x0180_C200_0000 | low).isLinkConstrained) }
        for raw: UInt64 in [0x0180_C200_0010, 0x0180_C1FF_FFFF, 0x0080_C200_0000, 0x0180_C200_0100] {
            #expect(!MACAddress(rawValue: raw).isLinkConstrained)
        }
    }

    @Test func vlans() {
        #expect(VLAN(identifier: 10, isService: false).description == "10")
        #expect(VLAN(identifier: 10, isService: true).description == "s10")
        #expect(VLAN.untagged.description == "-")
        #expect(VLAN(identifier: 10, isService: false) != VLAN(identifier: 10, isService: true))
        // Priority and drop eligibility are no part of it; VLAN 0 is a priority tag, whichever protocol.
        #expect(VLAN(identifier: 0xF00A, isService: false).identifier == 10)
        #expect(VLAN(identifier: 0xE000, isService: true) == .untagged)
        #expect(VLAN(rawValue: 0xFFFF).identifier == 4_095 && VLAN(rawValue: 0xFFFF).isService)
        #expect(VLAN(identifier: 4_095, isService: false) < VLAN(identifier: 1, isService: true))
    }

    @Test func portSets() {
        #expect(PortSet(first: 0) == .none && PortSet(first: -1) == .none)
        #expect(PortSet(first: 3).count == 3 && PortSet(first: 16).count == 16 && PortSet(first: 99).count == 16)
        let three = PortSet(first: 3)
        #expect(three.contains(PortIndex(2)) && !three.contains(PortIndex(3)))
        #expect(three.removing(PortIndex(1)).count == 2 && three.removing(PortIndex(9)) == three)
        #expect(PortSet(PortIndex(15)).rawValue == 0x8000)
        #expect(PortSet.none.isEmpty)
    }

    @Test func dropReasonsAreNamedOnce() {
        let names = DropReason.allCases.map(\.name)
        #expect(Set(names).count == names.count)
        for reason in DropReason.allCases {
            #expect(reason.name.utf8.allSatisfy { (97...122).contains($0) || $0 == 45 })
            #expect(!reason.explanation.isEmpty && ["frames", "copies", "datagrams"].contains(reason.unit))
            #expect(DropReason.allCases[Int(reason.rawValue)] == reason, "counters are laid out by the raw value")
        }
    }
}
