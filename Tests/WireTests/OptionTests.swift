// The Router Alert of both families in whatever company, and headers with it.

import Basics
import Testing
import Wire

@Suite struct RouterAlertTests {
    @Test(arguments: [
        ("94040000", true), ("01019404 00000000", true), ("0704c0a8 94040000", true), ("", false), ("01010101", false),
        // Behind the end of the options.
        ("00000000 94040000", false),
        // Another value, another length.
        ("94040001", false), ("94060000 0000", false), ("94030000", false),
        // Lengths that cannot be: 0, 1, over the end, missing.
        ("8300 9404 0000", false), ("8301 9404 0000", false), ("83ff9404 0000", false), ("01010194", false), ("940400", false),
    ])
    func found(options: String, isPresent: Bool) {
        let octets = hex(options)
        #expect(RouterAlert.isPresent(in: octets.octets) == isPresent)
    }

    @Test func emitsTheHeaderOfARealReport() {
        let expected = [UInt8](Heard.v3Join[14..<38])
        let header = IPv4.Header(
            source: 0x1400_0164, destination: 0xE000_0016, transport: .igmp, timeToLive: 1, trafficClass: 0xC0,
            payloadCount: 32)
        var buffer = [UInt8](repeating: 0xEE, count: 25)
        #expect(mutate(&buffer) { header.emitWithRouterAlert(into: &$0, at: 1) } == 25)
        #expect([UInt8](buffer[1...]) == expected)
        #expect(buffer[0] == 0xEE)
        guard let view = IPv4.View(expected.octets) else {
            Issue.record("refused")
            return
        }
        #expect(view.hasRouterAlert == true)
        #expect(view.isChecksumValid == true)
    }

    @Test func whatDoesNotFitIsNotWritten() {
        var buffer = [UInt8](repeating: 0xEE, count: 24)
        var header = IPv4.Header(source: 1, destination: 2, transport: .igmp, payloadCount: 8)
        #expect(mutate(&buffer) { header.emitWithRouterAlert(into: &$0, at: 1) } == nil)
        header.payloadCount = 0xFFFF - 23
        #expect(mutate(&buffer) { header.emitWithRouterAlert(into: &$0, at: 0) } == nil)
        header.payloadCount = -1
        #expect(mutate(&buffer) { header.emitWithRouterAlert(into: &$0, at: 0) } == nil)
        #expect(buffer == [UInt8](repeating: 0xEE, count: 24))
    }
}

@Suite struct HopByHopTests {
    @Test func optionsOneAfterTheOther() {
        let octets = hex("3a01 00 c203 010203 0502 0000 0103 000000 ff")
        guard let view = HopByHop.View(octets.octets) else {
            Issue.record("refused")
            return
        }
        #expect(view.byteCount == 16 && view.nextHeader == .icmpv6)
        var offset = 2
        var found: [HopByHop.Option] = []
        while let option = view.option(at: offset) {
            found.append(option)
            offset = option.end
        }
        #expect(found.map(\.kind) == [.pad1, HopByHop.Kind(rawValue: 0xC2), .routerAlert])
        #expect(found.map(\.valueOffset) == [3, 5, 10] && found.map(\.valueCount) == [0, 3, 2])
        // The PadN runs over the header's end, though not over the octets'.
        #expect(offset == 12)
        #expect(view.routerAlert == 0)
        for offset in [Int.min, -1, 0, 1, 16, .max] { #expect(view.option(at: offset) == nil) }
    }

    @Test func routerAlertIsTwoOctets() {
        func alert(_ text: String) -> UInt16? {
            let octets = hex(text)
            return HopByHop.View(octets.octets)?.routerAlert
        }
        #expect(alert("3a00 0502 0000 0100") == 0)
        #expect(alert("3a00 0502 0102 0100") == 0x0102)
        #expect(alert("3a00 0501 00 010100") == nil)
        #expect(alert("3a00 0104 05020000") == nil)
        #expect(alert("3a00 0000 0000 0502") == nil)
        #expect(alert("3a00 0000 0005 0200") == nil)
    }

    @Test func emits() {
        var buffer = [UInt8](repeating: 0xEE, count: 8)
        #expect(mutate(&buffer) { HopByHop.emitRouterAlert(nextHeader: .icmpv6, into: &$0, at: 0) } == 8)
        #expect(buffer == hex("3a00050200000100"))
        #expect(mutate(&buffer) { HopByHop.emitRouterAlert(nextHeader: .icmpv6, into: &$0, at: 1) } == nil)
    }

    @Test func refused() {
        let cut = hex("3a00050200 0001")
        #expect(HopByHop.View(cut.octets)?.byteCount == nil)
        let long = hex("3a01050200000100 00000000000000")
        #expect(HopByHop.View(long.octets)?.byteCount == nil)
    }
}
