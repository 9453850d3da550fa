import Basics
import Testing
import Wire

@Suite struct EthernetTests {
    static let addresses = "01005e000001 020000000002"

    func parse(_ text: String) -> FrameHeader? {
        let bytes = hex(Self.addresses + text)
        return FrameHeader(bytes.octets)
    }

    @Test func untagged() throws {
        let header = try #require(parse("0800 4500"))
        #expect(header.destination == MACAddress("01:00:5e:00:00:01"))
        #expect(header.source == MACAddress("02:00:00:00:00:02"))
        #expect(header.vlan == .untagged)
        #expect(header.etherType == .ipv4)
        #expect(header.payloadOffset == 14)
        #expect(!header.isLLC)
    }

    @Test func runt() {
        let bytes = hex(Self.addresses + "0800")
        #expect(FrameHeader(bytes.octets) != nil)
        for count in 0..<14 { #expect(FrameHeader(bytes.octets.extracting(first: count)) == nil) }
    }

    struct TagCase: Sendable {
        let octets: String
        let vlan: String
        let type: UInt16
        let payload: Int
    }

    /// The table of what the outermost tag decides.
    @Test(arguments: [
        TagCase(octets: "8100 000a 0800", vlan: "10", type: 0x0800, payload: 18),
        TagCase(octets: "8100 f00a 86dd", vlan: "10", type: 0x86DD, payload: 18),
        TagCase(octets: "88a8 0064 0806", vlan: "s100", type: 0x0806, payload: 18),
        TagCase(octets: "9100 0064 0800", vlan: "s100", type: 0x0800, payload: 18),
        TagCase(octets: "9200 0fff 0800", vlan: "s4095", type: 0x0800, payload: 18),
        // Priority tags are untagged, whatever comes after them.
        TagCase(octets: "8100 e000 0800", vlan: "-", type: 0x0800, payload: 18),
        TagCase(octets: "88a8 e000 8100 000a 0800", vlan: "-", type: 0x0800, payload: 22),
        // Stacks.
        TagCase(octets: "88a8 0064 8100 000a 0800", vlan: "s100", type: 0x0800, payload: 22),
        TagCase(octets: "8100 0064 8100 000a 0800", vlan: "100", type: 0x0800, payload: 22),
        TagCase(octets: "8100 0001 8100 0002 8100 0003 8100 0004 0800", vlan: "1", type: 0x0800, payload: 30),
        TagCase(octets: "8100 0001 8100 0002 8100 0003 8100 0004 8100 0005 0800", vlan: "1", type: 0x8100, payload: 30),
        // A frame that ends inside a tag keeps the tag's number.
        TagCase(octets: "8100", vlan: "-", type: 0x8100, payload: 14),
        TagCase(octets: "8100 00", vlan: "-", type: 0x8100, payload: 14),
        TagCase(octets: "8100 000a", vlan: "10", type: 0x8100, payload: 14),
        TagCase(octets: "8100 000a 08", vlan: "10", type: 0x8100, payload: 14),
        TagCase(octets: "88a8 0064 8100 000a 08", vlan: "s100", type: 0x8100, payload: 18),
    ])
    func tags(_ row: TagCase) throws {
        let header = try #require(parse(row.octets))
        #expect(header.vlan.description == row.vlan)
        #expect(header.etherType.rawValue == row.type)
        #expect(header.payloadOffset == row.payload)
    }

    @Test func neighboursOfTagNumbersAreNotTags() {
        for type in [0x80FF, 0x8101, 0x88A7, 0x88A9, 0x90FF, 0x9101, 0x9201, 0x9300, 0xFFFF, 0] as [UInt16] {
            #expect(!EtherType(rawValue: type).isTag)
        }
    }

    @Test func lengthFieldIsLLC() throws {
        #expect(try #require(parse("0026 424203")).isLLC)
        #expect(try #require(parse("05ff")).isLLC)
        #expect(try !#require(parse("0600")).isLLC)
    }

    @Test func emits() throws {
        let plain = FrameHeader(
            destination: MACAddress("01:00:5e:00:00:01")!, source: MACAddress("02:00:00:00:00:02")!, etherType: .ipv4)
        var buffer = [UInt8](repeating: 0xEE, count: 20)
        #expect(mutate(&buffer) { plain.emit(into: &$0, at: 1) } == 15)
        #expect(buffer == hex("ee" + Self.addresses + "0800 eeeeeeeeee"))
        for (vlan, text) in [
            (VLAN(identifier: 10, isService: false), "8100 000a"), (VLAN(identifier: 100, isService: true), "88a8 0064"),
        ] {
            var header = plain
            header.vlan = vlan
            header.payloadOffset = 18
            var buffer = [UInt8](repeating: 0xEE, count: 18)
            #expect(mutate(&buffer) { header.emit(into: &$0) } == 18)
            #expect(buffer == hex(Self.addresses + text + "0800"))
            #expect(FrameHeader(buffer.octets) == header)
            #expect(
                FrameHeader(destination: plain.destination, source: plain.source, vlan: vlan, etherType: .ipv4) == header)
            #expect(mutate(&buffer) { header.emit(into: &$0, at: 1) } == nil)
            #expect(mutate(&buffer) { header.emit(into: &$0, at: -1) } == nil)
        }
    }
}
