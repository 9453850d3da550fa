// The libpcap port on a pair of virtual devices, in a network namespace that goes away with the thread.

import Captures
import Glibc
import Testing

/// A port that Swift Testing's macros can look at: they cannot take move-only values.
private final class TestPort {
    private var port: LivePort

    init(_ device: String, filter: String? = nil, snapshotLength: Int = 9_216) throws(CaptureError) {
        port = try LivePort(device: device, filter: filter, snapshotLength: snapshotLength)
    }

    var warning: String? { port.warning }
    var failure: String? { port.failure }
    var originalLength: Int { port.originalLength }
    var timestamp: UInt64 { port.timestamp }
    var isTruncated: Bool { port.isTruncated }
    var drops: UInt64 { port.drops() }

    func advance() -> Bool { port.advance() }

    var frame: [UInt8] {
        func copy(_ port: inout LivePort) -> [UInt8] {
            let frame = port.frame
            // SAFETY: the span is alive during the call.
            return unsafe frame.withUnsafeBytes { unsafe Array($0) }
        }
        return copy(&port)
    }

    /// Waits up to two seconds for a frame.
    func receive() -> [UInt8]? {
        for _ in 0..<20 {
            if port.advance() { return frame }
            var wait = pollfd(fd: port.fileDescriptor, events: Int16(POLLIN), revents: 0)
            // SAFETY: one element, alive during the call.
            unsafe poll(&wait, 1, 100)
        }
        return nil
    }

    func inject(_ frame: [UInt8]) -> Bool {
        // SAFETY: octets have no padding.
        unsafe port.inject(frame.span.bytes)
    }

    /// Writes to the lent frame.
    func overwriteFirst(_ value: UInt8) {
        func overwrite(_ port: inout LivePort) {
            var frame = port.frame
            frame.storeBytes(of: value, toByteOffset: 0, as: UInt8.self)
        }
        overwrite(&port)
    }
}

@Suite("Live port", .enabled(if: Namespace.isAvailable, "needs root, network namespaces and ip(8)"))
struct LivePortTests {
    private static let header = hex("020000000002 020000000001 88b5")

    @Test func framesCross() {
        Namespace.withPair(mtu: 9_202) {
            let (left, right) = (try TestPort("left"), try TestPort("right"))
            #expect(left.warning == nil && right.warning == nil)
            for size in [14, 15, 59, 60, 64, 128, 1_514, 1_518, 9_215, 9_216] {
                let frame = Self.header + (0..<size - 14).map { UInt8(truncatingIfNeeded: $0 &* 7) }
                #expect(left.inject(frame))
                #expect(right.receive() == frame)
                #expect(right.originalLength == size && !right.isTruncated && right.failure == nil)
                #expect(right.timestamp > 1_600_000_000_000_000_000)
            }
            // What a port injects does not come back to it.
            #expect(!left.advance() && left.frame.isEmpty)
            #expect(left.drops == 0 && right.drops == 0)
            // Longer than the device carries.
            #expect(!left.inject(Self.header + [UInt8](repeating: 0, count: 9_300)))
        }
    }

    @Test func frameMayBeWrittenTo() {
        Namespace.withPair {
            let (left, right) = (try TestPort("left"), try TestPort("right"))
            #expect(left.inject(Self.header))
            #expect(right.receive() == Self.header)
            right.overwriteFirst(0xFF)
            #expect(right.frame == [0xFF] + Self.header[1...])
            #expect(!right.advance() && right.frame.isEmpty)
        }
    }

    @Test func tagsAreIntact() {
        Namespace.withPair {
            let (left, right) = (try TestPort("left"), try TestPort("right"))
            for tags in ["8100 000a", "88a8 0064", "88a8 0064 8100 e00a", "8100 0001 8100 0002 8100 0003"] {
                let frame = Array(Self.header[..<12]) + hex(tags) + Self.header[12...] + [UInt8](repeating: 9, count: 46)
                #expect(left.inject(frame))
                #expect(right.receive() == frame)
            }
        }
    }

    @Test func filtersAndCuts() {
        Namespace.withPair {
            let (left, right) = (try TestPort("left"), try TestPort("right", filter: "ether proto 0x88b6", snapshotLength: 64))
            let wanted = Array(Self.header[..<13]) + [0xB6] + [UInt8](repeating: 5, count: 86)
            #expect(left.inject(Self.header))
            #expect(left.inject(wanted))
            #expect(right.receive() == Array(wanted[..<64]))
            #expect(right.isTruncated && right.originalLength == 100)
            #expect(!right.advance())
        }
    }

    /// A filter sees the tag that the kernel keeps beside the frame.
    @Test func filtersByTag() {
        Namespace.withPair {
            let (left, right) = (try TestPort("left"), try TestPort("right", filter: "vlan 10"))
            let tagged = { (tag: String) in
                Array(Self.header[..<12]) + hex("8100" + tag) + Self.header[12...] + [UInt8](repeating: 0, count: 46)
            }
            #expect(left.inject(Self.header))
            #expect(left.inject(tagged("000b")))
            #expect(left.inject(tagged("000a")))
            #expect(right.receive() == tagged("000a"))
            #expect(!right.advance())
        }
    }

    @Test func burstsFitAndDropsAreCounted() {
        Namespace.withPair {
            let (left, right) = (try TestPort("left"), try TestPort("right"))
            let frame = Self.header + [UInt8](repeating: 1, count: 86)
            let sent = 3_000
            for _ in 0..<sent { while !left.inject(frame) {} }
            var received = 0
            while right.advance() { received += 1 }
            #expect(received >= 1_000 && received < sent)
            #expect(right.drops == UInt64(sent - received))
            #expect(right.drops == UInt64(sent - received))
        }
    }

    /// libpcap waits for a device that is down, and gives up one that is gone.
    @Test func downAndGone() {
        Namespace.withPair {
            let (left, right) = (try TestPort("left"), try TestPort("right"))
            Namespace.ip("link set right down")
            #expect(right.receive() == nil)
            #expect(!right.inject(Self.header))
            Namespace.ip("link set right up")
            _ = right.advance()
            #expect(left.inject(Self.header))
            #expect(right.receive() == Self.header)
            #expect(right.failure == nil)
            Namespace.ip("link del right")
            #expect(right.receive() == nil)
            #expect(right.failure != nil)
        }
    }

    @Test func refusals() {
        Namespace.withPair {
            func text(_ device: String, _ filter: String? = nil) -> String {
                do throws(CaptureError) {
                    _ = try LivePort(device: device, filter: filter)
                    return "opened"
                } catch {
                    return error.description
                }
            }
            #expect(text("nosuch").hasPrefix("device nosuch: No such device exists"))
            #expect(text("any").hasPrefix("device any: the link type is LINUX_SLL, not Ethernet (only Ethernet"))
            #expect(text("left", "(arp").contains("syntax error"))
            Namespace.ip("link set left down")
            #expect(text("left").hasPrefix("device left: "))
            #expect(text("left").hasSuffix("(\"ip link set left up\" first)"))
        }
    }
}
